"""What becomes of the items, the quota and the parents when the backend, or the gateway itself, is not well."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from actors.core.errors import CallTimeout, Malformed, Refused, Throttled, Unavailable
from actors.core.events import BackendPaused, BreakerMoved, FuseTripped
from actors.core.ports import Call, ItemResult, Reply
from actors.core.quantity import Quota
from actors.core.quota import Ledger
from actors.messages import ItemAnswer

Make = Callable[..., Any]  # makes a bench: see conftest


def accept(call: Call, _number: int) -> Reply:
    return Reply(results={item.key: ItemResult(status="accepted") for item in call.items})


def test_a_throttle_pauses_the_operation_once_and_keeps_the_items(bench: Make) -> None:
    """One refusal costs one retry of the call, not one per item, and not one per call in flight."""

    def script(call: Call, number: int) -> Reply | Exception:
        return Throttled("slow down", retry_after_s=3.0) if number <= 4 else accept(call, number)

    b = bench(script)
    b.ask("p", *[b.item("p", f"n{n}") for n in range(40)])
    b.world.run_for(10)

    times = [at for at, _ in b.backend.calls]
    assert [10] * 8 == b.sizes()
    assert times[4] == pytest.approx(3.02, abs=1e-6)
    assert times[5] == pytest.approx(3.04, abs=1e-6), "after a pause one call tries alone"
    assert 1 == len(b.world.seen(BackendPaused))
    assert 40 == len(b.answers("p"))


def test_throttles_without_a_wish_back_off_between_one_interval_and_one_window(bench: Make) -> None:
    """429 without Retry-After is common; hammering is rude, and after W the quota has certainly been refilled."""

    def script(call: Call, number: int) -> Reply | Exception:
        return Throttled("no") if number <= 8 else accept(call, number)

    b = bench(script, quota=Quota(10, 10.0))
    b.ask("p", b.item("p", "n"))
    b.world.run_for(200)

    gaps = [later[0] - earlier[0] for earlier, later in zip(b.backend.calls, b.backend.calls[1:], strict=False)]
    assert 9 == len(b.backend.calls)
    assert all(1.0 <= gap <= 10.03 for gap in gaps)
    assert gaps[-1] >= 5.0


@pytest.mark.parametrize("error", [CallTimeout("late"), Unavailable("503"), Malformed("what?"), RuntimeError("bug")])
def test_items_of_unknown_outcome_are_sent_again_with_the_same_keys(bench: Make, error: Exception) -> None:
    """They may have been repaired: only the same key lets the backend see that."""
    b = bench(lambda call, number: error if number == 1 else accept(call, number))
    items = [b.item("p", f"n{n}") for n in range(3)]
    b.ask("p", *items)
    b.world.run_for(60)

    first, second = (call for _, call in b.backend.calls)
    assert {item.key for item in items} == {item.key for item in first.items} == {item.key for item in second.items}
    assert first.id != second.id
    assert {(ItemAnswer.DONE, "")} == set(b.answers("p").values())


def test_after_a_timeout_an_item_waits_until_it_cannot_be_in_flight_any_more(bench: Make) -> None:
    """A node is in at most one call in flight, and a call may arrive for the lateness allowed after its timeout."""
    b = bench(
        lambda call, number: CallTimeout("late") if number == 1 else accept(call, number),
        call_timeout_s=10.0, lateness_s=3.0, retry_base_s=0.001, retry_max_s=0.001,
    )  # fmt: skip
    item = b.item("p", "n")
    b.ask("p", item)
    b.world.run_for(11)
    b.ask("p")
    b.ask("p", item)  # withdrawn and wanted again: the wait holds
    b.world.run_for(20)

    assert 2 == len(b.backend.calls)
    assert b.backend.calls[1][0] - b.backend.calls[0][0] >= 13.0


def test_a_withdrawn_item_in_flight_is_not_retried(bench: Make) -> None:
    """Nobody wants it any more; but every item gets an answer, or its parent would wait for one."""
    b = bench(lambda call, number: Unavailable("x") if number == 1 else accept(call, number))
    item = b.item("p", "n")
    b.ask("p", item)
    b.world.run_for(0.06)
    b.ask("p")
    b.world.run_for(120)

    assert [1] == b.sizes()
    assert {item.key: (ItemAnswer.WITHDRAWN, "withdrawn")} == b.answers("p")
    assert b.gateway._askers == {}


def test_failures_in_a_row_open_the_breaker_and_a_single_probe_closes_it(bench: Make) -> None:
    """A failing backend is not helped by a queue's worth of calls, nor by all of them at once when it is back."""
    down_until_s = 60.0

    def script(call: Call, number: int) -> Reply | Exception:
        return Unavailable("down") if b.world.clock.now() < down_until_s else accept(call, number)

    b = bench(script, breaker_failures=3, breaker_base_s=2.0, breaker_max_s=16.0, lateness_s=0.1, call_timeout_s=0.5)
    b.ask("p", *[b.item("p", f"n{n}") for n in range(100)])
    b.world.run_for(down_until_s)
    during = len(b.backend.calls)
    b.world.run_for(60)

    assert during <= 10 + 12, "ten in the first volley, then only probes"
    moves = [fact.state for fact in b.world.seen(BreakerMoved)]
    assert ["open", "half-open", "open"] == moves[:3]
    assert "closed" == moves[-1]
    assert 100 == len(b.answers("p"))


def test_parents_hear_of_the_backend_when_it_changes_and_only_then(bench: Make) -> None:
    """The state is a condition in their status: each message may be a write."""
    down = [False]

    def script(call: Call, number: int) -> Reply | Exception:
        return Unavailable("down") if down[0] else accept(call, number)

    b = bench(script, lateness_s=0.1, call_timeout_s=0.5, retry_base_s=0.1, retry_max_s=0.2, breaker_max_s=4.0)
    b.ask("p", b.item("p", "n1"))
    b.world.run_for(1)
    b.ask("p", b.item("p", "n2"))
    b.world.run_for(1)
    assert [(True, "Answers")] == b.states("p")

    down[0] = True
    b.ask("p", b.item("p", "n3"))
    b.ask("q", b.item("q", "m1"))
    b.world.run_for(10)
    assert [(True, "Answers"), (False, "Unavailable")] == b.states("p")
    assert [(False, "Unavailable")] == b.states("q")

    b.ask("late", b.item("late", "k1"))
    assert [(False, "Unavailable")] == b.states("late")

    b.ask("late")  # it wants nothing any more, and must hear of the return all the same
    down[0] = False
    b.world.run_for(30)
    assert [(True, "Answers"), (False, "Unavailable"), (True, "Answers")] == b.states("p")
    assert [(False, "Unavailable"), (True, "Answers")] == b.states("q") == b.states("late")


def test_who_has_forgotten_how_the_backend_is_is_told_again(bench: Make) -> None:
    """An actor that slept, or died, says so; nothing would have changed for it until the next outage."""
    b = bench()
    b.ask("p", b.item("p", "n1"), told=False)
    b.world.run_for(1)
    b.ask("p", b.item("p", "n1"), b.item("p", "n2"), told=True)
    b.world.run_for(1)
    assert [(True, "Answers")] == b.states("p")

    b.ask("p", b.item("p", "n1"), b.item("p", "n2"), successor=True, told=False)
    assert [(True, "Answers")] * 2 == b.states("p")


def test_one_poisoned_item_fails_alone(bench: Make) -> None:
    """A 4xx of a whole batch says nothing of the other ninety-nine."""
    poison: list[str] = []

    def script(call: Call, number: int) -> Reply | Exception:
        if any(item.key in poison for item in call.items):
            return Refused("422: bad name")
        return accept(call, number)

    b = bench(script, batch_max=100)
    items = [b.item("p", f"n{n}") for n in range(100)]
    poison.append(items[37].key)
    b.ask("p", *items)
    b.world.run_for(30)

    answers = b.answers("p")
    assert (ItemAnswer.FAILED, "422: bad name") == answers.pop(items[37].key)
    assert {(ItemAnswer.DONE, "")} == set(answers.values())
    assert 99 == len(answers)
    assert len(b.backend.calls) <= 2 * math.ceil(math.log2(100)) + 1


def test_healthy_batches_go_on_while_a_poisoned_one_is_taken_apart(bench: Make) -> None:
    """Trouble of one parent must not delay the others' repairs."""

    def script(call: Call, number: int) -> Reply | Exception:
        return Refused("422") if any("bad" in item.uid for item in call.items) else accept(call, number)

    b = bench(script, quota=Quota(1, 1.0), batch_max=8)
    b.ask("p", *[b.item("p", f"bad{n}") for n in range(8)])
    b.ask("q", *[b.item("q", f"n{n}") for n in range(24)])
    b.world.run_for(8)

    assert 24 == len(b.answers("q"))


def test_the_search_for_poisoned_items_does_not_open_the_breaker(bench: Make) -> None:
    """That half of a refused batch is refused too is no news: twelve bad nodes of one parent had all others wait."""

    def script(call: Call, number: int) -> Reply | Exception:
        return Refused("422") if any("bad" in item.uid for item in call.items) else accept(call, number)

    b = bench(script, batch_max=20)
    b.ask("p", *[b.item("p", f"bad{n}") for n in range(12)])
    b.world.run_for(1)
    b.ask("q", b.item("q", "n1"))
    b.world.run_for(0.5)

    assert 1 == len(b.answers("q"))
    assert [] == b.world.seen(BreakerMoved)
    assert b.states("q") == [(True, "Answers")]
    b.world.run_for(3)
    assert 12 == len(b.answers("p"))


def test_a_fresh_batch_is_the_probe_and_not_what_is_left_of_a_search(bench: Make) -> None:
    """A part would be refused, well backend or not, and everybody would wait for longer."""

    def script(call: Call, number: int) -> Reply | Exception:
        return Refused("422") if any("bad" in item.uid for item in call.items) else accept(call, number)

    b = bench(script, batch_max=8, breaker_failures=1, breaker_base_s=4.0, breaker_max_s=60.0)
    b.ask("p", *[b.item("p", f"bad{n}") for n in range(8)])
    b.world.run_for(1.0)
    b.ask("q", b.item("q", "n1"))
    b.world.run_for(3.2)

    assert 1 == len(b.answers("q"))
    assert ["open", "half-open", "closed"] == [fact.state for fact in b.world.seen(BreakerMoved)]
    b.world.run_for(3.0)
    assert 8 == len(b.answers("p"))


def test_a_backend_that_refuses_everything_is_not_flooded(bench: Make) -> None:
    """A wrong path or token refuses every call; taking every batch apart at full quota would help nobody."""
    b = bench(lambda call, number: Refused("404: wrong path"), breaker_max_s=30.0)
    b.ask("p", *[b.item("p", f"n{n}") for n in range(500)])
    b.world.run_for(120)

    assert len(b.backend.calls) < 40
    assert (False, "Refused") == b.states("p")[-1]


def test_a_restarted_gateway_keeps_the_quota_and_does_not_double_what_is_in_flight(bench: Make) -> None:
    """The ledger outlives the behaviour; calls of the dead incarnation may arrive yet."""
    b = bench(rtt_s=5.0, call_timeout_s=10.0, lateness_s=2.0)
    items = [b.item("p", f"n{n}") for n in range(100)]
    b.ask("p", *items)
    assert 10 == len(b.backend.calls)

    b.crash()
    b.ask("p", *items)
    b.world.run_for(11.9)
    assert 10 == len(b.backend.calls)

    b.world.run_for(40)
    assert 20 == len(b.backend.calls)
    assert b.backend.calls[10][0] >= 13.0
    assert 100 == len(b.answers("p"))


def test_a_call_that_has_not_begun_when_its_gateway_dies_never_begins(bench: Make) -> None:
    """An executor may hold a call back; sent after its slot is counted as over, it would break the quota."""
    held: list[Callable[[], Any]] = []
    b = bench()
    b.world.submit = lambda pool, call, done: held.append(call)
    b.ask("p", b.item("p", "n"))
    b.world.run_for(0.1)
    b.crash()

    assert 1 == len(held)
    with pytest.raises(Unavailable, match="given up"):
        held[0]()
    assert [] == b.backend.calls


def test_a_call_that_never_ends_is_given_up_as_unknown(bench: Make) -> None:
    """A stuck thread must cost one slot and one delay, not the items."""
    b = bench(call_timeout_s=1.0, lateness_s=1.0)
    real = b.world.submit
    b.world.submit = lambda pool, call, done: None
    item = b.item("p", "n")
    b.ask("p", item)
    b.world.run_for(0.1)
    b.world.submit = real
    b.world.run_for(60)

    assert [1] == b.sizes()
    assert b.backend.calls[0][0] >= 4.0, "lost at 2 s, may arrive until 4 s"
    assert {item.key: (ItemAnswer.DONE, "")} == b.answers("p")
    assert 1 == b.gateway.statistics()["counts"]["overdue"]


def test_an_unstarted_ledger_is_started_cold(bench: Make) -> None:
    """An earlier process may have spent the quota a moment ago: W + timeout + lateness, then calls."""
    b = bench(cold_start_s=None, call_timeout_s=3.0, lateness_s=2.0)
    b.ask("p", b.item("p", "n"))
    b.world.run_for(30)

    assert b.backend.calls[0][0] == pytest.approx(6.0, rel=1e-3)
    assert b.backend.calls[0][0] >= 6.0


def test_a_tripped_fuse_is_a_fact_and_costs_no_item(bench: Make) -> None:
    """If the ledger has a bug, the quota still holds and somebody hears of it."""

    class Broken(Ledger):
        bug = True

        def free(self, now: float) -> int:
            return 99 if self.bug else super().free(now)

    b = bench()
    b.ledger = b.gateway._ledger = Broken(b.settings.quota, 10.0, 2.0)
    b.ledger.cold_start(0.0, 0.0)
    b.ask("p", *[b.item("p", f"n{n}") for n in range(150)])

    assert 10 == len(b.backend.calls)
    assert 1 == len(b.world.seen(FuseTripped))

    Broken.bug = False
    b.world.run_for(30)
    assert 150 == len(b.answers("p"))
