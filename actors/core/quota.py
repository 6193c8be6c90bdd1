"""The slot ledger: at most R calls in any window of W seconds, counted where the backend counts them.

The backend counts arrivals, and all we know of an arrival is that it lies between our send and the reply. So a slot is
taken just before the send and is free again one window after the *reply*. Where no reply came, the call may still
arrive until its timeout plus the lateness allowed, and the window starts then. A log stamped at the send let 17 of 10
calls through at the server under two seconds of jitter; this is exact, at the price of one round trip per window.

A backend that counts completions has completed a call when it replies, so nothing else changes; where no reply came, the
longest that it works on a call is part of the lateness.

All stamps are whole nanoseconds: a send is rounded down and an end is rounded up, so that no float rounding shortens a
window. What is handed back as a float is rounded up to an instant at which the answer holds, so a timer set to it
fires once.

The ledger outlives the gateway that uses it: a restarted gateway finds its slots spent. It is not shared between
threads; only the gateway's actor touches it. Cost: O(log R) per call, nothing per item.
"""

from __future__ import annotations

import heapq
import math

from attrs import define, field

from .quantity import Quota

_NS = 1_000_000_000

# The backend measures the window with its own clock. Linux slews a clock by at most 500 ppm (adjtimex(2)), so one that
# runs slow by that much still sees a full window. It costs 0.05 % of the rate; the drain promise allows 3 %.
CLOCK_SLEW_MAX = 500e-6

# A quota counts as idle when no call left for this many mean intervals W/R; a partial batch waits as long (RELIABILITY
# §4.3: mean wait 12.5 s → 3.7 s with half the calls, the best of the five policies measured).
SPACING = 1.5


def _ns_down(at_s: float) -> int:
    return math.floor(at_s * _NS)


def _ns_up(at_s: float) -> int:
    return math.ceil(at_s * _NS)


def reached_s(at_ns: int) -> float:
    """The first float instant that ``_ns_down`` puts at or after ``at_ns``."""
    at_s = at_ns / _NS
    while _ns_down(at_s) < at_ns:
        at_s = math.nextafter(at_s, math.inf)
    return at_s


@define(eq=False)
class Slot:
    """One call's place in the quota. ``stamp_ns`` is the send on the ledger's clock: what the fuse goes by.

    ``may_arrive_until_s`` is set once the call has ended: until then the backend may still receive it (the end itself
    where a reply proves that it had arrived). ``keys`` are its items' where the backend honours none.
    """

    call_id: str
    uids: tuple[str, ...]
    taken_s: float
    stamp_ns: int
    may_arrive_until_s: float = math.inf
    keys: tuple[str, ...] = ()


@define(eq=False)
class Ledger:
    """Slots of one quota. A call lasts ``timeout_s`` at most and may still arrive ``lateness_s`` after that.

    Fails closed: until ``cold_start`` has been called nothing is free. ``now`` must not go back.
    """

    quota: Quota
    timeout_s: float
    lateness_s: float
    _hold_ns: int = field(init=False)
    _opens_ns: int | None = field(init=False, default=None)
    _open: dict[str, Slot] = field(init=False, factory=dict)
    _spent: list[int] = field(init=False, factory=list)  # heap: when each spent slot is free again
    _lost: list[Slot] = field(init=False, factory=list)  # ended without a reply, may still arrive
    _last_taken_s: float = field(init=False, default=-math.inf)
    _ceiling: int = field(init=False, default=0)  # counts until then; see ``limit``
    _ceiling_until_s: float = field(init=False, default=-math.inf)

    def __attrs_post_init__(self) -> None:
        assert self.quota.calls >= 1
        assert self.quota.window_s > 0
        assert self.timeout_s > 0
        assert self.lateness_s >= 0
        # One more nanosecond, so that two arrivals a window apart are not both in it, however its ends are counted.
        self._hold_ns = _ns_up(self.quota.window_s * (1 + CLOCK_SLEW_MAX)) + 1

    @property
    def started(self) -> bool:
        """Whether ``cold_start`` has been called in this process."""
        return self._opens_ns is not None

    @property
    def window_ns(self) -> int:
        """The quota's window in whole nanoseconds, the fuse's period: never longer than a slot is held."""
        return _ns_down(self.quota.window_s)

    @property
    def spacing_s(self) -> float:
        """1.5 W/R: how long the quota must rest to be idle, and how long a partial batch waits at most."""
        return SPACING * self.quota.window_s / self.quota.calls

    def cold_start(self, now: float, wait_s: float | None = None) -> None:
        """Begin: an earlier process may have spent the quota, and its last calls may arrive yet.

        Waits W + timeout + lateness; ``wait_s`` overrides it (0: the operator says that nobody sent before us).
        """
        full_ns = self._hold_ns + _ns_up(self.timeout_s + self.lateness_s)
        self._opens_ns = _ns_down(now) + (full_ns if wait_s is None else _ns_up(wait_s))

    def free(self, now: float) -> int:
        """How many calls may be sent at this instant."""
        now_ns = _ns_down(now)
        if self._opens_ns is None or now_ns < self._opens_ns:
            return 0
        spent = self._spent
        while spent and spent[0] <= now_ns:
            heapq.heappop(spent)
        return max(0, self._in_force(now) - len(self._open) - len(spent))

    def next_free_at(self, now: float) -> float:
        """When the next call may be sent: ``now`` if one may; infinity if only a release (or the start) can tell."""
        if self.free(now) > 0:
            return now
        if self._opens_ns is None:
            return math.inf
        if _ns_down(now) < self._opens_ns:
            return reached_s(self._opens_ns)
        return self._next_at(now, len(self._open), self._spent)

    def limit(self, calls: int, until_s: float) -> None:
        """Until then only so many of the quota's calls are used (0: none leaves): a person's wish, never above the quota.

        By the clock, so it ends by itself, also where whoever asked for it is not there any more. The newest counts.
        """
        self._ceiling, self._ceiling_until_s = max(0, min(calls, self.quota.calls)), until_s

    def _in_force(self, now: float) -> int:
        return self._ceiling if now < self._ceiling_until_s else self.quota.calls

    def _next_at(self, now: float, opened: int, spent: list[int]) -> float:
        """When a slot is free, with nothing free now: enough spent ones are free again, or the ceiling ends."""

        def freed_at(calls: int) -> float:
            wanted = opened + len(spent) - calls + 1  # of the spent ones: so many must be free again
            if wanted <= 0:
                return now
            return reached_s(heapq.nsmallest(wanted, spent)[-1]) if wanted <= len(spent) else math.inf

        at_s = freed_at(self._in_force(now))
        if now < self._ceiling_until_s:
            at_s = min(at_s, max(self._ceiling_until_s, freed_at(self.quota.calls)))
        return at_s

    def take(self, now: float, call_id: str, item_uids: tuple[str, ...], keys: tuple[str, ...] = ()) -> Slot:
        """Spend a slot, immediately before the send. There must be a free one."""
        assert self.free(now) > 0, f"call {call_id}: no slot is free"
        assert call_id not in self._open, f"call {call_id} has a slot already"
        slot = Slot(call_id, item_uids, now, _ns_down(now), keys=keys)
        self._open[call_id] = slot
        self._last_taken_s = now
        return slot

    def release(self, call_id: str, now: float, *, unknown: bool) -> Slot:
        """The call has ended. ``unknown``: no reply proves that it arrived, so it may until timeout + lateness."""
        slot = self._open.pop(call_id)
        slot.may_arrive_until_s = now
        if unknown:
            # Not before now + lateness: an executor may have begun the call later than its slot was taken.
            slot.may_arrive_until_s = max(slot.taken_s + self.timeout_s, now) + self.lateness_s
            self._lost = [each for each in self._lost if each.may_arrive_until_s > now]
            self._lost.append(slot)
        heapq.heappush(self._spent, _ns_up(slot.may_arrive_until_s) + self._hold_ns)
        return slot

    def abandon_open(self, now: float) -> tuple[Slot, ...]:
        """The gateway was restarted: nobody will tell how the open calls end, and one may be leaving in this moment."""
        abandoned = tuple(self._open.values())
        for slot in abandoned:
            slot.taken_s = now
            self.release(slot.call_id, now, unknown=True)
        return abandoned

    def open_items(self, now: float) -> dict[str, float]:
        """Items that may still be in flight, by uid, and until when (infinity while their call is open)."""
        items = {uid: math.inf for slot in self._open.values() for uid in slot.uids}
        for slot in self._lost:
            if slot.may_arrive_until_s > now:
                for uid in slot.uids:
                    items[uid] = max(slot.may_arrive_until_s, items.get(uid, 0.0))
        return items

    def idle(self, now: float) -> bool:
        """Whether no call has left in the last 1.5 W/R: then a partial batch takes nothing from anybody."""
        return now - self._last_taken_s >= self.spacing_s

    def statistics(self, now: float) -> dict[str, object]:
        """Slots by state (any thread; changes nothing)."""
        now_ns, opened, opens_ns = _ns_down(now), len(self._open), self._opens_ns
        spent = [until_ns for until_ns in list(self._spent) if until_ns > now_ns]
        waits = opens_ns is None or now_ns < opens_ns
        free = 0 if waits else max(0, self._in_force(now) - opened - len(spent))
        if free:
            next_s = now
        elif waits:
            next_s = math.inf if opens_ns is None else reached_s(opens_ns)
        else:
            next_s = self._next_at(now, opened, spent)
        return {
            "quota": str(self.quota),
            "max": self.quota.calls,
            "free": free,
            "open": opened,
            "spent": len(spent),
            "cold": waits,
            "next_free_s": None if next_s == math.inf else max(0.0, next_s - now),
            "ceiling": self._in_force(now),
            "ceiling_for_s": max(0.0, self._ceiling_until_s - now),
        }
