"""The slot ledger by hand: who holds a slot, and until when."""

from __future__ import annotations

import math

import pytest

from actors.core.quantity import Quota
from actors.core.quota import CLOCK_SLEW_MAX, Ledger

TIMEOUT_S, LATENESS_S, WINDOW_S = 10.0, 2.0, 1.0
HOLD_S = WINDOW_S * (1 + CLOCK_SLEW_MAX)


def ledger(calls: int = 2, window_s: float = WINDOW_S) -> Ledger:
    made = Ledger(Quota(calls, window_s), TIMEOUT_S, LATENESS_S)
    made.cold_start(0.0, 0.0)
    return made


def test_a_slot_is_held_from_the_send_until_one_window_after_the_reply() -> None:
    """The backend counts the arrival, which may be as late as the reply: from the send would be too early."""
    made = ledger(calls=1)
    made.take(5.0, "a", ("u",))
    for at, expected in ((5.0, 0), (5.9, 0), (100.0, 0)):
        assert expected == made.free(at)
    made.release("a", 100.0, unknown=False)
    assert made.next_free_at(100.5) == pytest.approx(100.0 + HOLD_S, abs=1e-8)

    for at, expected in ((100.0, 0), (100.0 + WINDOW_S, 0), (100.0 + HOLD_S, 0), (100.0 + HOLD_S + 1e-8, 1)):
        assert expected == made.free(at)


def test_a_slot_of_unknown_outcome_is_held_until_it_cannot_arrive_any_more() -> None:
    """A timed-out call may sit in a queue on the way: timeout + lateness + W from the send."""
    made = ledger(calls=1)
    made.take(0.0, "a", ("u",))
    slot = made.release("a", 3.0, unknown=True)

    assert TIMEOUT_S + LATENESS_S == slot.may_arrive_until_s
    assert 0 == made.free(TIMEOUT_S + LATENESS_S + WINDOW_S)
    assert 1 == made.free(TIMEOUT_S + LATENESS_S + HOLD_S + 1e-6)


def test_a_slot_that_ends_late_is_held_from_its_end() -> None:
    """An executor may have begun the call long after its slot was taken."""
    made = ledger(calls=1)
    made.take(0.0, "a", ("u",))

    assert 30.0 + LATENESS_S == made.release("a", 30.0, unknown=True).may_arrive_until_s


def test_next_free_at_is_an_instant_at_which_a_slot_is_free() -> None:
    """A timer set to it must not fire a nanosecond early and again and again."""
    made = ledger(calls=1, window_s=0.1)
    now = 0.0
    for number in range(300):
        assert 1 == made.free(now)
        made.take(now, str(number), ())
        made.release(str(number), now + 0.0123456789, unknown=False)
        before = math.nextafter(made.next_free_at(now), 0)
        now = made.next_free_at(now)
        assert 0 == made.free(before - 2e-9)


def test_with_only_open_calls_nothing_but_a_release_can_free_a_slot() -> None:
    """No timer is needed then."""
    made = ledger(calls=1)
    made.take(0.0, "a", ())

    assert math.inf == made.next_free_at(1.0)


def test_a_cold_start_waits_for_the_calls_of_an_earlier_process() -> None:
    """They may arrive until timeout + lateness from now, and count for a window from then."""
    made = Ledger(Quota(2, WINDOW_S), TIMEOUT_S, LATENESS_S)
    assert not made.started
    assert (0, math.inf) == (made.free(1e6), made.next_free_at(1e6)), "not started: closed"

    made.cold_start(7.0)
    wait_s = TIMEOUT_S + LATENESS_S + HOLD_S
    assert 0 == made.free(7.0 + wait_s - 1e-6)
    assert 2 == made.free(made.next_free_at(7.0))
    assert made.next_free_at(7.0) == pytest.approx(7.0 + wait_s)


def test_the_operator_may_say_that_nobody_sent_before() -> None:
    """A demo or a test should not wait, and the choice is the operator's."""
    made = Ledger(Quota(2, WINDOW_S), TIMEOUT_S, LATENESS_S)
    made.cold_start(7.0, 0.0)

    assert 2 == made.free(7.0)


def test_open_calls_of_a_dead_gateway_count_as_unknown_from_now() -> None:
    """Its executor may be sending one in this very moment."""
    made = ledger()
    made.take(0.0, "a", ("u1", "u2"))
    made.take(1.0, "b", ("u3",))
    assert {"u1": math.inf, "u2": math.inf, "u3": math.inf} == made.open_items(1.0)

    assert 2 == len(made.abandon_open(5.0))
    end_s = 5.0 + TIMEOUT_S + LATENESS_S
    assert {"u1": end_s, "u2": end_s, "u3": end_s} == made.open_items(5.0)
    assert {} == made.open_items(end_s)
    assert 0 == made.free(end_s + WINDOW_S)
    assert 2 == made.free(end_s + HOLD_S + 1e-6)


def test_answered_calls_leave_no_items_in_flight() -> None:
    """They may be asked for again at once."""
    made = ledger()
    made.take(0.0, "a", ("u",))
    made.release("a", 1.0, unknown=False)

    assert {} == made.open_items(1.0)


def test_the_quota_is_idle_one_and_a_half_intervals_after_the_last_send() -> None:
    """Then a partial batch takes nothing from anybody."""
    made = ledger(calls=3, window_s=6.0)
    assert made.idle(0.0)

    made.take(1.0, "a", ())
    assert [False, False, True] == [made.idle(at) for at in (1.0, 3.9, 4.0)]


def test_taking_without_a_free_slot_is_a_bug_of_the_caller() -> None:
    """It must never be papered over: the quota is a contract."""
    made = ledger(calls=1)
    made.take(0.0, "a", ())

    with pytest.raises(AssertionError, match="no slot is free"):
        made.take(0.0, "b", ())


def test_statistics_change_nothing_and_count_as_free_does() -> None:
    """They are read from another thread."""
    made = ledger()
    made.take(0.0, "a", ())
    made.release("a", 0.1, unknown=False)
    made.take(0.2, "b", ())

    told = made.statistics(0.5)

    assert {
        "quota": "2/1s",
        "max": 2,
        "free": 0,
        "open": 1,
        "spent": 1,
        "cold": False,
        "ceiling": 2,
        "ceiling_for_s": 0.0,
    } == {name: value for name, value in told.items() if name != "next_free_s"}
    assert told["next_free_s"] == pytest.approx(0.6, abs=0.001)
    assert 1 == made.statistics(2.0)["free"] == made.free(2.0)


def test_statistics_and_the_ledger_agree_at_every_edge() -> None:
    """Closed before the start and in the cold start; open in the very instant in which a timer would fire."""
    made = Ledger(Quota(2, WINDOW_S), TIMEOUT_S, LATENESS_S)
    closed = {
        "quota": "2/1s",
        "max": 2,
        "free": 0,
        "open": 0,
        "spent": 0,
        "cold": True,
        "ceiling": 2,
        "ceiling_for_s": 0.0,
    }
    assert closed | {"next_free_s": None} == made.statistics(1e6)

    made.cold_start(7.0)
    opens_s = made.next_free_at(7.0)
    just_before_s = math.nextafter(opens_s, 0.0) - 1e-9
    assert closed | {"next_free_s": opens_s - just_before_s} == made.statistics(just_before_s)
    closed |= {"next_free_s": 0.0}
    assert closed | {"free": 2, "cold": False} == made.statistics(opens_s)

    made.take(opens_s, "a", ())
    made.release("a", opens_s, unknown=False)
    made.take(opens_s, "b", ())
    free_s = made.next_free_at(opens_s)
    assert closed | {"free": 1, "open": 1, "cold": False} == made.statistics(free_s)
    assert 1 == made.free(free_s)


def test_of_two_calls_that_went_missing_with_an_item_the_later_counts() -> None:
    """It was sent again under another parent; the second may arrive after the first."""
    made = ledger(calls=3)
    for number, sent_s in enumerate((3.0, 0.0, 1.0)):
        made.take(sent_s, str(number), ("u", f"u{number}"))
        made.release(str(number), 4.0, unknown=True)
    end_s = TIMEOUT_S + LATENESS_S

    assert {"u": 3.0 + end_s, "u0": 3.0 + end_s, "u1": end_s, "u2": 1.0 + end_s} == made.open_items(4.0)
    made.take(20.0, "again", ("u",))
    assert {"u": math.inf} == made.open_items(20.0)


def test_calls_that_went_missing_are_forgotten_when_they_cannot_arrive_any_more() -> None:
    """A backend may be silent for a week."""
    made = ledger(calls=3)
    for number in range(200):
        now = made.next_free_at(20.0 * number)
        made.take(now, str(number), ("u",))
        made.release(str(number), now + TIMEOUT_S, unknown=True)

    assert len(made._lost) <= 2


@pytest.mark.parametrize(
    ("quota", "timeout_s", "lateness_s"),
    [(Quota(0, 1.0), 10.0, 2.0), (Quota(1, 0.0), 10.0, 2.0), (Quota(1, 1.0), 0.0, 2.0), (Quota(1, 1.0), 10.0, -1.0)],
)
def test_a_quota_that_means_nothing_is_a_bug_of_the_caller(quota: Quota, timeout_s: float, lateness_s: float) -> None:
    """People's mistakes are refused where the settings are read."""
    with pytest.raises(AssertionError):
        Ledger(quota, timeout_s, lateness_s)


def test_a_backend_beside_us_has_no_lateness() -> None:
    """Zero is a setting like any other."""
    made = Ledger(Quota(1, 1.0), 10.0, 0.0)
    made.cold_start(0.0, 0.0)
    made.take(0.0, "a", ())

    assert 10.0 == made.release("a", 3.0, unknown=True).may_arrive_until_s


# --- a ceiling --------------------------------------------------------------------------------------------------------
def test_a_ceiling_holds_calls_back_until_it_ends_by_itself() -> None:
    made = ledger(calls=3)
    made.limit(1, until_s=10.0)
    made.take(0.0, "a", ())

    assert (made.free(0.0), made.free(9.9), made.free(10.0)) == (0, 0, 2)
    assert made.next_free_at(0.0) == 10.0

    made.release("a", 0.5, unknown=False)
    freed_s = made.next_free_at(0.5)

    assert 1.5 <= freed_s < 1.6
    assert made.free(freed_s) == 1
    assert made.statistics(freed_s)["ceiling_for_s"] == pytest.approx(10.0 - freed_s)


def test_a_ceiling_of_nothing_is_a_pause_and_one_above_the_quota_is_the_quota() -> None:
    made = ledger(calls=2)
    made.limit(0, until_s=5.0)

    assert (made.free(0.0), made.next_free_at(0.0), made.free(5.0)) == (0, 5.0, 2)

    made.limit(99, until_s=9.0)

    assert made.free(0.0) == 2


def test_below_a_ceiling_so_many_slots_must_be_free_again_that_one_is() -> None:
    """Three are spent when the ceiling comes down to one: the first that is free again does not help yet."""
    made = ledger(calls=3)
    for number, name in enumerate("abc"):
        made.take(0.1 * number, name, ())
        made.release(name, 0.1 * number, unknown=False)
    made.limit(1, until_s=100.0)
    at_s = made.next_free_at(0.3)

    assert 1.2 <= at_s < 1.3
    assert made.statistics(0.3)["next_free_s"] == pytest.approx(at_s - 0.3)
    assert (made.free(at_s - 0.001), made.free(at_s)) == (0, 1)


def test_when_a_ceiling_ends_what_is_spent_still_counts() -> None:
    made = ledger(calls=1)
    made.take(0.0, "a", ())
    made.release("a", 4.5, unknown=False)
    made.limit(0, until_s=5.0)

    assert 5.5 <= made.next_free_at(4.6) < 5.6
