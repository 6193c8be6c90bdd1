"""What leaves, when, in which call, and who hears of it, while the backend is well."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from actors.core.events import CallAnswered, CallSent, ItemsWithdrawn
from actors.core.model import Child, Item, ParentKey
from actors.core.ports import Call, ItemResult, Reply
from actors.core.quantity import Quota
from actors.messages import DrainWanted, ItemAnswer, ItemsAnswered

Make = Callable[..., Any]  # makes a bench: see conftest


def accept(call: Call, _number: int) -> Reply:
    return Reply(results={item.key: ItemResult(status="accepted") for item in call.items})


def test_items_of_many_parents_share_one_call(bench: Make) -> None:
    """The backend counts calls, not items: one bad node in each of a hundred clusters must not be a hundred calls."""
    b = bench(batch_max=100)
    for number in range(100):
        b.ask(f"p{number}", b.item(f"p{number}", f"n{number}"))
    b.world.run_for(1)

    assert b.sizes() == [100]
    assert all(list(b.answers(f"p{n}").values()) == [(ItemAnswer.DONE, "")] for n in range(100))


def test_a_full_batch_leaves_at_once_and_a_partial_one_after_the_quiet_time(bench: Make) -> None:
    """Waiting costs time and saves calls; a full batch has nothing to save."""
    b = bench(batch_quiet_s=0.05)
    b.ask("p", *[b.item("p", f"n{n}") for n in range(25)])

    assert b.sizes() == [10, 10]

    b.world.run_for(0.049)
    assert b.sizes() == [10, 10]

    b.world.run_for(0.002)
    assert b.sizes() == [10, 10, 5]


def test_partial_batches_are_spaced_while_the_quota_is_in_use(bench: Make) -> None:
    """A trickle would spend a slot per item, and a failure that comes then would find none."""
    b = bench(batch_quiet_s=0.01)
    wanted: list[Item] = []
    for number in range(30):  # one each 20 ms
        wanted.append(b.item("p", f"n{number}"))
        b.ask("p", *wanted)
        b.world.run_for(0.02)
    b.world.run_for(1)

    gaps = [later[0] - earlier[0] for earlier, later in zip(b.backend.calls, b.backend.calls[1:], strict=False)]
    assert 30 == sum(b.sizes())
    assert min(gaps) >= 1.5 * 1.0 / 10 - 1e-9


def test_the_same_repair_asked_twice_is_one_item(bench: Make) -> None:
    """Parents state their whole wish at each reconcile; that must not multiply repairs."""
    b = bench()
    items = [b.item("p", f"n{n}") for n in range(3)]
    b.ask("p", *items)
    b.ask("p", *items)
    b.world.run_for(0.06)
    b.ask("p", *items)  # in flight
    b.world.run_for(1)

    assert b.sizes() == [3]


def test_the_farewell_of_an_actor_whose_successor_has_asked_changes_nothing(bench: Make) -> None:
    """A stopping ClusterActor withdraws everything; its successor's wish may have come first."""
    b = bench()
    b.ask("p", b.item("p", "n"))
    old = b.refs["p"]
    b.ask("p", b.item("p", "n"), successor=True)
    b.refs["p"] = old
    b.ask("p")
    b.world.run_for(1)

    assert [1] == b.sizes()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda child: None, "gone"),
        (lambda child: _with(child, healthy=True), "recovered"),
        (lambda child: _with(child, since="t1"), "changed"),
        (lambda child: _with(child, parent=ParentKey("default", "other")), "gone"),
    ],
)
def test_an_item_whose_record_has_changed_is_withdrawn_at_dispatch(
    bench: Make, change: Callable[[Child], Child | None], why: str
) -> None:
    """Cancel messages alone let recovered nodes be repaired in 116 of 200 simulated runs."""
    b = bench()
    stale, good = b.item("p", "stale"), b.item("p", "good")
    b.ask("p", stale, good)
    changed = change(b.nodes.by_uid[stale.uid])
    if changed is None:
        del b.nodes.by_uid[stale.uid]
    else:
        b.nodes.by_uid[stale.uid] = changed
    b.world.run_for(1)

    assert [[good.key]] == [[item.key for item in call.items] for _, call in b.backend.calls]
    assert {stale.key: (ItemAnswer.WITHDRAWN, why), good.key: (ItemAnswer.DONE, "")} == b.answers("p")
    assert [why] == [fact.why for fact in b.world.seen(ItemsWithdrawn)]


def test_a_batch_of_which_nothing_is_left_is_no_call(bench: Make) -> None:
    """An empty call would spend a slot for nothing."""
    b = bench()
    b.ask("p", *[b.item("p", f"n{n}") for n in range(3)])
    b.nodes.by_uid.clear()
    b.world.run_for(5)

    assert b.sizes() == []
    assert b.ledger.free(b.world.clock.now()) == 10


def test_what_is_missing_in_the_next_wish_is_withdrawn_from_the_queue(bench: Make) -> None:
    """The wanted set is whole: there are no cancel messages that could be lost."""
    b = bench()
    items = [b.item("p", f"n{n}") for n in range(5)]
    b.ask("p", *items)
    b.ask("p", *items[:2])
    b.world.run_for(1)

    assert [2] == b.sizes()
    assert {(ItemAnswer.WITHDRAWN, "withdrawn")} == {b.answers("p")[item.key] for item in items[2:]}


def test_every_status_of_an_item_has_its_answer_or_its_retry(bench: Make) -> None:
    """accepted → done, failed → failed; throttled and missing are sent again, in their time, and an unknown one counts."""

    def script(call: Call, number: int) -> Reply:
        if number > 1:
            return accept(call, number)
        ok, bad, later, _missing = (item.key for item in call.items)
        results = {
            ok: ItemResult(status="accepted"), bad: ItemResult(status="failed", message="no spare"),
            later: ItemResult(status="throttled", retry_after_s=5.0),
        }  # fmt: skip
        return Reply(results=results, unknown_count=1)

    b = bench(script, retry_base_s=1.0)
    items = [b.item("p", name) for name in ("ok", "bad", "later", "missing")]
    b.ask("p", *items)
    b.world.run_for(0.5)
    ok, bad, later, missing = (item.key for item in items)

    assert {ok: (ItemAnswer.DONE, ""), bad: (ItemAnswer.FAILED, "no spare")} == b.answers("p")

    b.world.run_for(10)
    sent = {item.key: at for at, call in b.backend.calls[1:] for item in call.items}
    assert {later, missing} == set(sent)
    assert sent[later] >= 5.0
    assert sent[missing] < 1.5
    assert {ok, bad, later, missing} == set(b.answers("p"))
    assert b.world.seen(CallAnswered)[0].unknown == 1


def test_an_answered_item_still_wanted_is_answered_again_and_not_sent(bench: Make) -> None:
    """The answer may have been lost with the parent's actor; the instant stays the first one, cooldowns count from it."""
    b = bench()
    item = b.item("p", "n")
    b.ask("p", item)
    b.world.run_for(1)
    first = [m for m in b.told["p"] if isinstance(m, ItemsAnswered)]
    b.told["p"].clear()
    b.ask("p", item)
    b.world.run_for(5)

    assert [1] == b.sizes()
    assert first == [m for m in b.told["p"] if isinstance(m, ItemsAnswered)]

    b.ask("p", b.item("p", "n", round_number=1))
    b.world.run_for(5)
    assert [1, 1] == b.sizes()


def test_a_drain_starts_nothing_new_and_ends_when_nothing_is_in_flight(bench: Make) -> None:
    """On shutdown a call under way is worth waiting for, one that has not left is not."""
    drained: list[float] = []
    b = bench(rtt_s=0.5)
    b.ask("p", *[b.item("p", f"n{n}") for n in range(15)])
    b.cell.tell(DrainWanted(reply=lambda: drained.append(b.world.clock.now())))
    b.world.run_for(10)

    assert [10] == b.sizes()
    assert [0.5] == drained
    assert 10 == len(b.answers("p"))

    b.cell.tell(DrainWanted(reply=lambda: drained.append(-1)))
    b.world.settle()
    assert [0.5, -1] == drained


def test_nothing_wanted_sets_no_timer(bench: Make) -> None:
    """An idle operator must not wake up."""
    b = bench()
    b.ask("p", b.item("p", "n"))
    b.world.run_for(5)
    b.ask("p")
    turns = b.world.turn_count
    b.world.run_for(3600)

    assert turns == b.world.turn_count
    assert {} == b.gateway._askers


def test_statistics_tell_the_queue_the_slots_and_the_counters(bench: Make) -> None:
    """It is all that people see of the gateway."""
    b = bench(quota=Quota(1, 60.0))
    b.ask("p", *[b.item("p", f"n{n}") for n in range(25)])
    b.world.run_for(30)
    shown = b.gateway.statistics()

    assert {"p": 15} == {k.removeprefix("default/"): v for k, v in shown["queue"]["parents_top"].items()}
    assert 0 == shown["ledger"]["free"]
    assert "closed" == shown["breaker"]
    assert 10 == shown["counts"]["items_accepted"]


def test_small_parents_are_not_starved_by_a_large_one(bench: Make) -> None:
    """First come, first served gave small tenants a median wait of 417 s behind one with 4,000 items."""
    b = bench(quota=Quota(1, 1.0), batch_max=50)
    b.ask("big", *[b.item("big", f"n{n}") for n in range(1000)])
    for number in range(8):
        b.ask(f"small{number}", b.item(f"small{number}", f"s{number}"))
    b.world.run_for(2.2)

    assert all(b.answers(f"small{number}") for number in range(8))


@pytest.mark.parametrize(
    ("count", "parents", "batch", "quota", "rtt_s"),
    [
        (5_000, 50, 100, Quota(10, 1.0), 0.05),
        (5_000, 50, 100, Quota(10, 60.0), 1.0),
        (950, 10, 100, Quota(2, 1.0), 0.2),
        (4_120, 41, 50, Quota(10, 60.0), 0.5),
        (3_000, 7, 17, Quota(3, 0.5), 0.0),
    ],
)
def test_a_mass_failure_drains_at_the_limit(
    bench: Make, count: int, parents: int, batch: int, quota: Quota, rtt_s: float
) -> None:
    """The promise *drain*: within 3 % of (ceil(k/R) - 1)(W + rtt) + rtt after debounce, in ceil(N/B) calls."""
    b = bench(rtt_s=rtt_s, batch_max=batch, quota=quota)
    for number in range(parents):
        names = range(number, count, parents)
        b.ask(f"p{number}", *[b.item(f"p{number}", f"n{n}") for n in names])
    b.world.run_until(
        lambda: sum(fact.accepted for fact in b.world.seen(CallAnswered)) == count, timeout_s=10_000
    )  # fmt: skip
    end_s = b.world.clock.now()
    calls = math.ceil(count / batch)
    limit_s = (math.ceil(calls / quota.calls) - 1) * (quota.window_s + rtt_s) + rtt_s

    assert calls == len(b.backend.calls)
    assert end_s <= limit_s * 1.03
    print(
        f"drain {count}/{parents} B={batch} {quota} rtt={rtt_s}: {end_s:.3f} s, limit {limit_s:.3f} s, {end_s / limit_s:.4f}"
    )
    assert count == sum(fact.items for fact in b.world.seen(CallSent))


def test_an_unknown_message_raises(bench: Make) -> None:
    """Ignoring it would hide a wiring mistake."""
    b = bench()

    with pytest.raises(TypeError, match="does not know"):
        b.gateway.on_receive(object())


def _with(child: Child, **changes: Any) -> Child:
    names = ("kind", "namespace", "name", "uid", "version", "parent", "healthy", "since", "heartbeat", "silent")
    return Child(**{name: getattr(child, name) for name in names} | changes)
