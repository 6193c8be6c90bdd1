"""The gateway in virtual time: a scripted backend, the real ledger, cell and dispatcher."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from attrs import define, field

from actors.actor import Cell, Context, Resume
from actors.core.errors import CallTimeout, Malformed, Refused, Throttled, Unavailable
from actors.core.events import BackendPaused, BreakerMoved, CallAnswered, CallSent, FuseTripped, ItemsWithdrawn
from actors.core.keys import item_key
from actors.core.model import Child, Item, ParentKey
from actors.core.ports import Call, ItemResult, Later, Reply
from actors.core.quantity import Quota
from actors.core.quota import Ledger
from actors.gateway import BatchGatewayActor, GatewaySettings
from actors.mailbox import using
from actors.messages import BackendState, DrainWanted, ItemAnswer, ItemsAnswered, RepairsWanted
from actors.sim.world import World

KIND = "ComputeNode"


@define
class Nodes:
    """The freshest records: what the gateway asks before a call leaves."""

    by_uid: dict[str, Child] = field(factory=dict)

    def child(self, kind: str, parent: ParentKey, uid: str) -> Child | None:
        child = self.by_uid.get(uid)
        return child if child is not None and child.kind == kind and child.parent == parent else None


@define
class ScriptedBackend:
    """Answers after ``rtt_s`` by ``script`` (call, number of the call) → Reply or error. Logs arrivals."""

    world: World
    script: Callable[[Call, int], Reply | Exception]
    rtt_s: float = 0.02
    calls: list[tuple[float, Call]] = field(factory=list)

    def send(self, call: Call) -> Later[Reply]:
        self.calls.append((self.world.clock.now(), call))
        answer = self.script(call, len(self.calls))

        def result() -> Reply:
            if isinstance(answer, Exception):
                raise answer
            return answer

        return Later(call.timeout_s if isinstance(answer, CallTimeout) else self.rtt_s, result)


class Catcher:
    """Stands for the ClusterActors: keeps what it is told."""

    def __init__(self, told: list[Any]) -> None:
        self.told = told
        self.actor_urn = "urn:test"

    def is_alive(self) -> bool:
        return True

    def tell(self, message: Any) -> None:
        self.told.append(message)


def accept(call: Call, _number: int) -> Reply:
    return Reply(results={item.key: ItemResult(status="accepted") for item in call.items})


@define
class Bench:
    """A gateway in a simulated world, with a parent's view of it."""

    world: World
    backend: ScriptedBackend
    nodes: Nodes
    settings: GatewaySettings
    ledger: Ledger
    cell: Any = None
    gateway: Any = None
    told: dict[str, list[Any]] = field(factory=dict)
    asked: dict[str, tuple[Item, ...]] = field(factory=dict)

    def start(self, **ports: Any) -> Bench:
        given = {
            "backend": self.backend, "records": self.nodes, "ledger": self.ledger, "settings": self.settings, **ports
        }  # fmt: skip

        def factory(ctx: Context) -> BatchGatewayActor:
            self.gateway = BatchGatewayActor(ctx, **given)
            return self.gateway

        with using(self.world):
            self.cell = Cell.start(name="gateway", factory=factory, supervisor=Catcher([]))
        self.world.settle()
        return self

    def item(self, parent: str, name: str, round_number: int = 0) -> Item:
        key = ParentKey("default", parent)
        child = Child(
            kind=KIND, namespace="default", name=name, uid=f"uid-{name}", version=1, parent=key, healthy=False, since="t0"
        )
        child = self.nodes.by_uid.setdefault(child.uid, child)
        return Item(
            operation="repair", key=item_key(child.uid, child.incident, round_number), kind=KIND, uid=child.uid,
            incident=child.incident, parent=key, payload={"name": name}, since_s=self.world.clock.now(),
            retry=round_number > 0,
        )  # fmt: skip

    def ask(self, parent: str, *items: Item) -> None:
        told = self.told.setdefault(parent, [])
        self.asked[parent] = items
        self.cell.tell(
            RepairsWanted(parent=ParentKey("default", parent), items=items, reply_to=Catcher(told))  # type: ignore[arg-type]
        )
        self.world.settle()

    def answers(self, parent: str) -> dict[str, tuple[ItemAnswer, str]]:
        merged: dict[str, tuple[ItemAnswer, str]] = {}
        for message in self.told.get(parent, ()):
            if isinstance(message, ItemsAnswered):
                merged |= message.answers
        return merged

    def states(self, parent: str) -> list[tuple[bool, str]]:
        return [(m.reachable, m.reason) for m in self.told.get(parent, ()) if isinstance(m, BackendState)]

    def sizes(self) -> list[int]:
        return [len(call.items) for _, call in self.backend.calls]

    def crash(self) -> None:
        """Kill the incarnation as a bug in it would, and resume it as its supervisor would."""
        self.cell.tell("nonsense")
        self.world.settle()
        self.cell.tell(Resume())
        self.world.settle()


Make = Callable[..., Bench]


@pytest.fixture
def bench() -> Make:
    """Makes a bench: quota 10/1s, batches of 10, no cold start, unless told otherwise."""

    def make(script: Callable[[Call, int], Reply | Exception] = accept, *, rtt_s: float = 0.02, **changes: Any) -> Bench:
        world = World(seed=1)
        settings = GatewaySettings(
            **{"operation": "repair", "quota": Quota(10, 1.0), "batch_max": 10, "cold_start_s": 0.0, "lateness_s": 2.0}
            | changes
        )
        ledger = Ledger(settings.quota, settings.call_timeout_s, settings.lateness_s)
        return Bench(world, ScriptedBackend(world, script, rtt_s), Nodes(), settings, ledger).start()

    return make


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
    """Nobody wants it any more."""
    b = bench(lambda call, number: Unavailable("x") if number == 1 else accept(call, number))
    b.ask("p", b.item("p", "n"))
    b.world.run_for(0.06)
    b.ask("p")
    b.world.run_for(120)

    assert [1] == b.sizes()
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
    b.world.submit = lambda pool, call, done: held.append(call)  # type: ignore[method-assign,assignment]
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
    b.world.submit = lambda pool, call, done: None  # type: ignore[method-assign,assignment]
    item = b.item("p", "n")
    b.ask("p", item)
    b.world.run_for(0.1)
    b.world.submit = real  # type: ignore[method-assign]
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
    print(f"drain {count}/{parents} B={batch} {quota} rtt={rtt_s}: {end_s:.3f} s, limit {limit_s:.3f} s, {end_s / limit_s:.4f}")
    assert count == sum(fact.items for fact in b.world.seen(CallSent))


def test_an_unknown_message_raises(bench: Make) -> None:
    """Ignoring it would hide a wiring mistake."""
    b = bench()

    with pytest.raises(TypeError, match="does not know"):
        b.gateway.on_receive(object())


def _with(child: Child, **changes: Any) -> Child:
    names = ("kind", "namespace", "name", "uid", "version", "parent", "healthy", "since", "heartbeat", "silent")
    return Child(**{name: getattr(child, name) for name in names} | changes)
