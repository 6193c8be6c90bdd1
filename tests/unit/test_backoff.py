"""Backoff, pause and breaker: tables of instants."""

from __future__ import annotations

import math
import random

import pytest

from actors.core.backoff import Breaker, BreakerState, Pause, bound_s, full_jitter_s


class Always:
    """A Random that always draws the same share of a range."""

    def __init__(self, share: float) -> None:
        self.share = share

    def random(self) -> float:
        return self.share

    def uniform(self, a: float, b: float) -> float:
        return a + (b - a) * self.share


def test_the_bound_doubles_up_to_its_maximum() -> None:
    """Exponential, and finite for any number of attempts."""
    assert [1, 2, 4, 8, 10, 10] == [bound_s(1.0, 10.0, n) for n in range(6)]
    assert 10 == bound_s(1.0, 10.0, 10**9)


def test_full_jitter_draws_from_the_whole_range() -> None:
    """Clients that failed together must not come back together."""
    drawn = [full_jitter_s(random.Random(1), 1.0, 60.0, 3) for _ in range(1)]
    drawn += [full_jitter_s(random.Random(seed), 1.0, 60.0, 3) for seed in range(200)]

    assert 0 <= min(drawn) < 1
    assert 7 < max(drawn) <= 8


@pytest.mark.parametrize(
    ("asked_s", "expected_s"), [(5.0, 5.0), (600.0, 600.0), (1e9, 3600.0), (0.0, 0.1), (0.05, 0.1)]
)
def test_a_pause_is_as_long_as_the_backend_asks_within_reason(asked_s: float, expected_s: float) -> None:
    """Zero would be a hot loop; a typing error of years must not stop repairs for years."""
    pause = Pause(0.1, 1.0, 3600.0, Always(0.0))

    assert expected_s == pause.refused(100.0, 99.0, asked_s)
    assert 100.0 + expected_s == pause.until_s


def test_a_volley_of_refusals_is_one_pause() -> None:
    """Ten calls refused for one reason must not count as ten refusals in a row."""
    pause = Pause(0.1, 10.0, 3600.0, Always(1.0))
    first = pause.refused(1.0, 0.9, None)

    assert 0.1 == first
    assert [0.0] * 5 == [pause.refused(1.0 + n / 100, 0.95, None) for n in range(5)]
    assert 1.1 == pause.until_s

    assert 0.0 == pause.refused(1.05, 0.95, 7.0), "the same refusal, but it asks for more"
    assert 8.05 == pause.until_s


def test_a_call_that_left_in_the_instant_of_the_pause_is_of_its_volley() -> None:
    """In virtual time, and by a coarse clock, ten calls leave in one instant."""
    pause = Pause(1.0, 10.0, 3600.0, Always(1.0))
    pause.refused(5.0, 5.0, None)

    assert 0.0 == pause.refused(5.0, 5.0, None)
    pause.answered(5.0)
    assert pause.probing, "nor does the answer to such a call prove anything"


def test_a_pause_without_a_wish_is_drawn_from_the_upper_half() -> None:
    """Before W/R there is nothing new to win; and clients that were refused together come back apart."""
    pause = Pause(1.0, 16.0, 3600.0, Always(0.0))
    now, seen = 0.0, []
    for _ in range(6):
        sent = max(now, pause.until_s)
        now = sent + 0.01
        seen.append(pause.refused(now, sent, None))

    assert [1, 1, 2, 4, 8, 8] == seen


def test_refusals_without_a_wish_grow_from_one_interval_to_one_window() -> None:
    """Documented bounds: at least W/R, at most W."""
    pause = Pause(1.0, 10.0, 3600.0, Always(1.0))
    now, seen = 0.0, []
    for _ in range(6):
        sent = max(now, pause.until_s)
        now = sent + 0.01
        seen.append(pause.refused(now, sent, None))

    assert [1, 2, 4, 8, 10, 10] == seen


def test_after_a_pause_one_call_tries_until_an_answer_is_no_refusal() -> None:
    """A late answer to a call from before the pause proves nothing."""
    pause = Pause(1.0, 10.0, 3600.0, Always(1.0))
    pause.refused(1.0, 0.5, None)
    seen = []
    for sent_s in (0.6, 2.5):
        pause.answered(sent_s)
        seen.append(pause.probing)

    assert [True, False] == seen
    assert 1.0 == pause.refused(9.0, 8.0, None), "a first refusal again"


def test_the_breaker_goes_through_its_table() -> None:
    """closed → open → half-open → open, longer → half-open → closed."""
    breaker = Breaker(3, 2.0, 16.0, Always(1.0))
    assert [False, False, True] == [breaker.failed(f"c{n}", 10.0) for n in range(3)]
    assert (BreakerState.OPEN, 12.0) == (breaker.state, breaker.opens_at())

    assert breaker.sent("probe")
    assert (BreakerState.HALF_OPEN, math.inf) == (breaker.state, breaker.opens_at())
    assert not breaker.failed("older call", 12.1), "it left before the breaker opened"
    assert breaker.failed("probe", 12.5)
    assert 16.5 == breaker.opens_at()

    breaker.sent("probe2")
    assert breaker.answered()
    assert (BreakerState.CLOSED, -math.inf, 0) == (breaker.state, breaker.opens_at(), breaker.failures)
    assert not breaker.answered()


def test_the_breakers_wait_is_drawn_from_the_upper_half() -> None:
    """Half of the bound at least, or a felled backend would be asked at once."""
    breaker = Breaker(1, 2.0, 16.0, Always(0.0))
    breaker.failed("a", 10.0)
    first_s = breaker.opens_at()
    breaker.sent("probe")
    breaker.failed("probe", 20.0)

    assert (11.0, 22.0) == (first_s, breaker.opens_at())


def test_an_answer_between_failures_keeps_the_breaker_closed() -> None:
    """In a row means in a row."""
    breaker = Breaker(2, 2.0, 16.0, Always(1.0))
    for _ in range(10):
        assert not breaker.failed("a", 0.0)
        breaker.answered()


def test_a_part_that_is_refused_again_is_no_failure() -> None:
    """The search for a poisoned item must not stop everybody's calls; as a probe it costs the shortest wait."""
    breaker = Breaker(3, 2.0, 16.0, Always(1.0))
    assert not any(breaker.refused_again(f"c{n}", 0.0) for n in range(10))
    assert (BreakerState.CLOSED, 0) == (breaker.state, breaker.failures)

    for n in range(3):
        breaker.failed(f"c{n}", 10.0)
    breaker.sent("probe")
    breaker.failed("probe", 12.0)
    assert 16.0 == breaker.opens_at(), "longer"
    breaker.sent("part")
    assert not breaker.refused_again("older", 16.0)
    assert breaker.refused_again("part", 16.0)
    assert (BreakerState.OPEN, 18.0) == (breaker.state, breaker.opens_at())


def test_the_breaker_forgets_old_openings_after_calm() -> None:
    """Two outages a day apart are each a first one."""
    breaker = Breaker(1, 2.0, 16.0, Always(1.0))
    now = 0.0
    for expected in (2.0, 4.0, 8.0):
        breaker.failed("a", now)
        assert now + expected == breaker.until_s
        now = breaker.until_s
        breaker.sent("p")
        breaker.answered()
    breaker.failed("a", now + 16.0)

    assert now + 18.0 == breaker.until_s
