"""The promise *quota*, where the backend counts: at the arrivals, which lie anywhere between send and end."""

from __future__ import annotations

import heapq
import math
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st
from ratelimit import limits

from actors.core.quantity import Quota
from actors.core.quota import Ledger

TIMEOUT_S, LATENESS_S = 4.0, 1.5


@st.composite
def fates(draw: st.DrawFn) -> list[tuple[str, float, float, float]]:
    """What becomes of each call: (fate, duration, where in it the arrival lies, pause before the next try to send)."""
    share = st.floats(0, 1)
    one = st.tuples(
        st.sampled_from(["reply", "reply", "reply", "timeout", "crash"]),
        st.floats(0, TIMEOUT_S),
        share,
        st.sampled_from([0.0, 0.0, 0.0, 1e-9, 0.01, 0.3, 1.7]),
    )
    return draw(st.lists(one, min_size=20, max_size=80))


def _drive(quota: Quota, plan: list[tuple[str, float, float, float]], start_s: float) -> tuple[list[float], list[int]]:
    """Send as fast as the ledger lets us; the arrivals at the backend, and the slots' stamps in order."""
    ledger = Ledger(quota, TIMEOUT_S, LATENESS_S)
    now = start_s
    ledger.cold_start(now, 0.0)
    ends: list[tuple[float, str, bool]] = []
    arrivals: list[float] = []
    stamps: list[int] = []
    for number, (fate, duration_s, share, pause_s) in enumerate(plan):
        now += pause_s
        while True:
            while ends and ends[0][0] <= now:
                at_s, name, unknown = heapq.heappop(ends)
                ledger.release(name, max(at_s, now), unknown=unknown)
            if ledger.free(now):
                break
            next_s = min(ledger.next_free_at(now), ends[0][0] if ends else math.inf)
            assert next_s < math.inf, "starved: no slot will ever be free"
            assert next_s > now, "a hot loop: the next instant is this one"
            now = next_s
        stamps.append(ledger.take(now, str(number), ()).stamp_ns)
        if fate == "timeout":
            arrivals.append(now + share * (TIMEOUT_S + LATENESS_S))
            heapq.heappush(ends, (now + TIMEOUT_S, str(number), True))
        elif (
            fate == "crash"
        ):  # the gateway dies while this call waits on the executor, from where it may leave just now
            arrivals.append(now + share * (TIMEOUT_S + LATENESS_S))
            ledger.abandon_open(now)
            ends.clear()
        else:
            arrivals.append(now + share * duration_s)
            heapq.heappush(ends, (now + duration_s, str(number), False))
    return arrivals, stamps


def _fullest(arrivals: list[float], window_s: float) -> int:
    """The most arrivals in any window, both of its ends included, in exact arithmetic."""
    exact = sorted(Fraction(at) for at in arrivals)
    window, first, most = Fraction(window_s), 0, 0
    for last, at in enumerate(exact):
        while at - exact[first] > window:
            first += 1
        most = max(most, last - first + 1)
    return most


@settings(max_examples=150, deadline=None)
@given(
    plan=fates(),
    calls=st.integers(1, 6),
    window_s=st.sampled_from([0.01, 0.1, 0.3, 1.0, 7.0]),
    start_s=st.sampled_from([0.0, 1e-3, 12_345.678_9, 3e7]),
)
def test_no_window_at_the_backend_holds_more_calls_than_the_quota(
    plan: list[tuple[str, float, float, float]], calls: int, window_s: float, start_s: float
) -> None:
    """A log stamped at the send let 17 of 10 through under 2 s of jitter; and nobody may starve for being exact."""
    quota = Quota(calls, window_s)
    arrivals, stamps = _drive(quota, plan, start_s)

    assert _fullest(arrivals, window_s) <= calls
    assert len(arrivals) == len(plan)

    # The fuse is a fixed window on the same stamps and may never be stricter than the ledger, restarts included.
    clock = [0]
    ledger = Ledger(quota, TIMEOUT_S, LATENESS_S)
    for born in (0, len(stamps) // 2):
        clock[0] = 0  # as in the gateway: a fresh fuse has seen no stamp
        fuse = limits(calls=calls, period=ledger.window_ns, clock=lambda: clock[0])(lambda: None)
        for stamp in stamps[born:]:
            clock[0] = stamp
            fuse()  # raises if it trips


@settings(max_examples=30, deadline=None)
@given(calls=st.integers(1, 5), window_s=st.sampled_from([0.1, 1.0, 60.0]), rtt_share=st.floats(0, 0.2))
def test_the_ledger_gives_away_less_than_three_per_cent(calls: int, window_s: float, rtt_share: float) -> None:
    """Exactness costs the round trip, which is the physical limit, and next to nothing more."""
    rtt_s = rtt_share * min(window_s, 4.0)
    rounds = 20
    _, stamps = _drive(Quota(calls, window_s), [("reply", rtt_s, 1.0, 0.0)] * (calls * rounds), 0.0)
    limit_s = (rounds - 1) * (window_s + rtt_s)

    assert stamps[-1] / 1e9 <= limit_s * 1.03
