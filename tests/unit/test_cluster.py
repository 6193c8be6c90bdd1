"""The ClusterActor: when it looks, what it tells whom, and what becomes of the answers."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from actors.actor import Cell, Context, Resume
from actors.cluster import CONFLICT_PATIENCE_S, PASSIVATE_PATIENCE_S, REFUSED_RETRY_S, ClusterActor
from actors.core.events import AuditDiffered, Reconciled, RecordSkipped, ValveMoved
from actors.core.fleet import MUSTER_FLEET
from actors.core.health import Counts, Roll
from actors.core.model import Child, Parent, ParentKey, ParentSpec, Policy, Record, Share
from actors.core.ports import Objects, Written
from actors.mailbox import using
from actors.messages import (
    AskAgain,
    BackendState,
    CloseUp,
    EventWanted,
    ItemAnswer,
    ItemsAnswered,
    LastMail,
    Passivated,
    PassivateWanted,
    RepairsWanted,
    StatusAnswered,
    StatusState,
    StatusWanted,
)
from actors.sim.world import World

KEY = ParentKey("d", "c1")
KINDS = ("Cluster", "ComputeNode", "StorageNode")
OPEN = Share(percent=100.0)


class Catcher:
    """Stands for the neighbours."""

    actor_urn = "urn:test"

    def __init__(self) -> None:
        self.told: list[Any] = []

    def is_alive(self) -> bool:
        return True

    def tell(self, message: Any) -> None:
        self.told.append(message)

    def of(self, kind: type) -> list[Any]:
        return [message for message in self.told if isinstance(message, kind)]


def node(
    name: str, healthy: bool | None = True, *, version: int = 1, kind: str = "ComputeNode", since: str = "t"
) -> Child:
    return Child(
        kind=kind, namespace="d", name=name, uid=name, version=version, parent=KEY, healthy=healthy, since=since
    )  # fmt: skip


def cluster(
    version: int = 1, status: dict[str, Any] | None = None, *, uid: str = "p", generation: int = 1, **spec: Any
) -> Parent:
    return Parent(
        kind="Cluster", key=KEY, uid=uid, version=version, generation=generation, spec=ParentSpec(**spec),
        status=status or {},
    )  # fmt: skip


class Desk:
    """One ClusterActor; ``answers`` on: its writes are taken at once, version after version."""

    def __init__(self, *, idle_s: float = 0.0, answers: bool = True, **policy: Any) -> None:
        self.world = World(seed=7)
        self.status, self.gateway, self.directory, self.boss = Catcher(), Catcher(), Catcher(), Catcher()
        self.answers = answers
        self.version = 100
        self._answered = 0
        given: Any = {
            "status": self.status, "gateway": self.gateway, "directory": self.directory, "idle_s": idle_s,
            "policy": Policy(**{"max_unhealthy": OPEN, **policy}), "key": KEY, "fleet": MUSTER_FLEET,
        }  # fmt: skip

        def factory(ctx: Context) -> ClusterActor:
            self.made = ClusterActor(ctx, **given)
            return self.made

        with using(self.world):
            self.cell = Cell.start(name="cluster/d/c1", factory=factory, supervisor=self.boss)
        self.world.settle()

    def tell(self, *messages: Any) -> None:
        for message in messages:
            self.cell.tell(message)
            self.world.settle()

    def mail(self, *records: Record, gone: tuple[str, ...] = (), kind: str = "", replace: bool = False) -> None:
        entries: dict[str, Record | None] = {**dict.fromkeys(gone), **{record.uid: record for record in records}}
        self.tell(
            Objects(kind=kind or (records[0].kind if records else "ComputeNode"), entries=entries, replace=replace)
        )

    def sync(self, *children: Child, parent: Parent | None = None) -> None:
        self.mail(parent or cluster(), kind="Cluster", replace=True)
        for kind in KINDS[1:]:
            self.mail(*(child for child in children if child.kind == kind), kind=kind, replace=True)

    def settled(self, *children: Child, parent: Parent | None = None) -> Desk:
        """Synced, looked at, written; the books are empty."""
        self.sync(*children, parent=parent)
        self.run(1.0)
        for catcher in (self.status, self.gateway, self.directory):
            catcher.told.clear()
        self._answered = 0
        self.world.facts_seen.clear()
        return self

    def run(self, seconds: float) -> None:
        end_s = self.world.clock.now() + seconds
        while self.world.step(end_s):
            self._answer()
        self.world.clock.now_s = end_s

    def _answer(self) -> None:
        wishes = self.status.of(StatusWanted)
        while self.answers and self._answered < len(wishes):
            self.written(wishes[self._answered])
            self._answered += 1

    def written(self, wish: StatusWanted, version: int = 0) -> None:
        self.version = version or max(self.version, wish.version) + 1
        written = Written(version=self.version, status=wish.status)
        self.cell.tell(StatusAnswered(sequence=wish.sequence, state=StatusState.WRITTEN, written=written))

    def refuse(self, state: StatusState, wish: StatusWanted | None = None) -> None:
        self.tell(StatusAnswered(sequence=(wish or self.wishes[-1]).sequence, state=state))

    def done(self, *keys: str, how: ItemAnswer = ItemAnswer.DONE) -> None:
        self.tell(ItemsAnswered(answers=dict.fromkeys(keys, (how, "")), at_s=self.world.clock.now()))

    @property
    def wishes(self) -> list[StatusWanted]:
        return self.status.of(StatusWanted)

    @property
    def asked(self) -> list[list[str]]:
        """Whole wanted sets by uid, in order."""
        return [[item.uid for item in message.items] for message in self.gateway.of(RepairsWanted)]

    @property
    def keys(self) -> list[str]:
        return [item.key for item in self.gateway.of(RepairsWanted)[-1].items]

    @property
    def looks(self) -> list[float]:
        return [at_s for at_s, fact in self.world.facts_seen if isinstance(fact, Reconciled)]


# --- when it looks ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("order", [KINDS, KINDS[::-1], ("ComputeNode", "Cluster", "StorageNode")])
def test_nothing_is_written_or_asked_before_every_kind_has_listed(order: tuple[str, ...]) -> None:
    """Promise *synced*: a count of half the kinds is wrong, and so would be the repairs."""
    desk = Desk()
    records: dict[str, tuple[Record, ...]] = {
        "Cluster": (cluster(),), "ComputeNode": (node("a", healthy=False),), "StorageNode": ()
    }  # fmt: skip
    for kind in order[:2]:
        desk.mail(*records[kind], kind=kind, replace=True)
        desk.mail(node("early", healthy=False, kind="StorageNode"))  # of an earlier time: no replacement yet
    desk.run(10.0)
    assert (desk.wishes, desk.asked, desk.looks) == ([], [], [])

    desk.mail(*records[order[2]], kind=order[2], replace=True)
    desk.run(1.0)
    assert [wish.status["unhealthy"] for wish in desk.wishes] in ([1], [2])
    assert len(desk.asked) == 1


@pytest.mark.parametrize(
    ("changes", "looks"),
    [
        ([0.0], [0.1]),
        ([0.0, 0.05, 0.1], [0.2]),
        ([0.0, 0.5], [0.1, 0.6]),
        ([n * 0.09 for n in range(30)], [2.0, 2.71]),  # never quiet: the longest wait, then the rest
    ],
)
def test_it_looks_when_quiet_and_no_later_than_the_longest_wait(changes: list[float], looks: list[float]) -> None:
    """Promise *debounce*: quiet 100 ms, longest 2 s."""
    desk = Desk().settled(node("a"))
    start_s = desk.world.clock.now()
    for n, at_s in enumerate(changes):
        desk.run(start_s + at_s - desk.world.clock.now())
        desk.mail(node("a", healthy=bool(n % 2), version=n + 2))
    desk.run(10.0)

    assert [at_s - start_s for at_s in desk.looks] == pytest.approx(looks)


def test_a_shorter_debounce_holds_for_what_waits_already() -> None:
    """The spec beats what was in force when the first change came."""
    desk = Desk(debounce_quiet_s=600.0, debounce_max_s=600.0).settled()
    desk.run(601.0)
    desk.mail(node("a"))
    desk.run(1.0)
    looks = len(desk.looks)
    desk.mail(cluster(999, generation=2, debounce_quiet_s=0.1, debounce_max_s=0.1))
    desk.run(1.0)

    assert len(desk.looks) == looks + 1


def test_what_is_immaterial_wakes_nobody() -> None:
    """Promise *silent heartbeats*."""
    desk = Desk().settled(node("a"))
    for version in range(2, 100):
        desk.mail(node("a", version=version))
        desk.run(1.0)

    assert (desk.looks, desk.wishes) == ([], [])


def test_one_look_sees_all_mail_that_waits_and_what_comes_later_causes_another() -> None:
    """Promise *atomic*: one view of the parent and all its children of all kinds."""
    desk = Desk(debounce_quiet_s=0.1, debounce_max_s=0.1).settled(node("a"))
    desk.mail(node("a", healthy=False, version=2))
    desk.world.clock.now_s += 0.1  # its deadline has come, and before it is handled there is more
    for each in (node("b"), node("s", kind="StorageNode"), cluster(500, generation=2, min_healthy=2)):
        desk.cell.tell(Objects(kind=each.kind, entries={each.uid: each}))
    desk.run(0.0)
    (wish,) = desk.wishes
    assert (wish.status["total"], wish.status["healthy"], wish.status["observedGeneration"]) == (3, 2, 2)
    assert (wish.uid, wish.version) == ("p", 500)

    desk.mail(node("c"))
    desk.run(0.11)
    assert len(desk.looks) == 2


def test_no_flood_keeps_the_longest_wait_from_being_kept() -> None:
    """A deadline that is made anew for each change is out of date whenever its turn comes."""
    desk = Desk(debounce_quiet_s=0.1, debounce_max_s=0.3).settled(node("a"))
    for version in range(2, 6):
        desk.run(0.09)
        desk.mail(node("a", healthy=bool(version % 2), version=version))
    desk.world.clock.now_s += 0.03
    assert desk.looks == []
    for version in range(6, 100):  # all at one instant, each before the deadline's turn
        desk.cell.tell(
            Objects(kind="ComputeNode", entries={"a": node("a", healthy=bool(version % 2), version=version)})
        )
        desk.world.step(desk.world.clock.now())

    assert len(desk.looks) >= 1


# --- the status lane --------------------------------------------------------------------------------------------------
def test_nothing_is_written_when_nothing_differs() -> None:
    """Promise *no write for nothing*: after a restart too, from the status on the server."""
    first = Desk()
    first.sync(node("a"), node("b", healthy=False))
    first.run(1.0)
    second = Desk().settled(node("a"), node("b", healthy=False), parent=cluster(101, first.wishes[-1].status))

    assert second.wishes == []
    assert first.wishes[-1].status["unhealthy"] == 1


@pytest.mark.parametrize("echo_first", [True, False])
def test_our_own_write_does_not_wake_us(echo_first: bool) -> None:
    """Whether its echo comes before or after its answer; and it carries the next wish's version."""
    desk = Desk(answers=False)
    desk.sync(node("a"))
    desk.run(1.0)
    (wish,) = desk.wishes
    looks = len(desk.looks)
    for echo in (echo_first, not echo_first):
        if echo:
            desk.mail(cluster(101, wish.status))
        else:
            desk.written(wish, 101)
        desk.run(5.0)
    assert len(desk.looks) == looks

    desk.mail(node("b"))
    desk.run(1.0)
    assert desk.wishes[-1].version == 101


def test_the_next_look_sees_our_last_write_though_its_echo_is_late() -> None:
    """And a late echo of an older write is not taken for news."""
    desk = Desk().settled(node("a"))
    for name in "bc":
        desk.mail(node(name))
        desk.run(1.0)
    first, second = desk.wishes
    assert second.version == first.version + 1
    looks = len(desk.looks)
    desk.mail(cluster(first.version + 1, first.status))
    desk.run(5.0)

    assert len(desk.looks) == looks
    desk.mail(node("a", version=5))
    assert len(desk.wishes) == 2


def test_a_status_that_somebody_else_changed_is_put_right() -> None:
    """Level-triggered: what stands on the server decides."""
    desk = Desk().settled(node("a"))
    desk.mail(cluster(999, {"total": 77}))
    desk.run(1.0)

    assert [(wish.version, wish.status["total"]) for wish in desk.wishes] == [(999, 1)]


def test_a_status_that_was_overwritten_while_our_answer_was_under_way_is_put_right() -> None:
    """The look comes between: it takes our wish for what stands there, and nobody would look again."""
    desk = Desk(answers=False).settled()
    desk.mail(node("b"))
    desk.run(1.0)
    wish = desk.wishes[-1]
    desk.mail(cluster(201, {"total": 77}))  # after our write, which was 200
    desk.run(1.0)
    desk.written(wish, 200)
    desk.run(5.0)

    assert [(each.version, each.status["total"]) for each in desk.wishes[1:]] == [(201, 1)]


def test_a_conflict_waits_for_the_newer_object_and_looks_then() -> None:
    """Any newer one: it may be a label that moved the version."""
    desk = Desk(answers=False)
    desk.sync(node("a"))
    desk.run(1.0)
    desk.refuse(StatusState.CONFLICT)
    desk.run(1.0)
    assert len(desk.wishes) == 1

    desk.mail(cluster(7))
    desk.run(0.2)
    assert [wish.version for wish in desk.wishes] == [1, 7]


def test_a_conflict_with_an_object_that_is_here_already_is_looked_at_at_once() -> None:
    """Deadlines and retries are not debounced."""
    desk = Desk(answers=False)
    desk.sync(node("a"))
    desk.run(1.0)
    desk.mail(cluster(7, generation=2))
    desk.refuse(StatusState.CONFLICT)

    assert [wish.version for wish in desk.wishes] == [1, 7]


def test_a_conflict_whose_newer_object_does_not_come_is_tried_again() -> None:
    """The watch may be down; the StatusActor may know a newer version."""
    desk = Desk(answers=False)
    desk.sync(node("a"))
    desk.run(1.0)
    desk.refuse(StatusState.CONFLICT)
    desk.run(CONFLICT_PATIENCE_S)

    assert len(desk.wishes) == 2


@pytest.mark.parametrize("state", [StatusState.REFUSED, StatusState.GONE])
def test_a_status_that_is_refused_is_asked_again_soon_and_then_slowly(state: StatusState) -> None:
    """RBAC and CRDs come late after a server's start ("right within 10 s of its return"); but never a hot loop."""
    desk = Desk(answers=False)
    desk.sync(node("a"))
    times: list[float] = []
    for _ in range(10):
        count = len(desk.wishes)
        desk.world.run_until(lambda count=count: len(desk.wishes) > count)  # type: ignore[misc]
        times.append(desk.world.clock.now())
        desk.refuse(state)

    waits = [later - earlier for earlier, later in pairwise(times)]
    assert times[3] - times[0] <= 8.0
    assert waits[0] >= 0.5
    assert waits[-1] == pytest.approx(REFUSED_RETRY_S)


def test_the_answer_of_an_older_wish_only_teaches_its_version() -> None:
    """The newest is still under way."""
    desk = Desk(answers=False)
    desk.sync(node("a"))
    desk.run(1.0)
    desk.mail(node("b"))
    desk.run(1.0)
    first, second = desk.wishes
    desk.written(first, 150)
    desk.run(1.0)
    assert desk.made.statistics()["writing"]

    desk.tell(AskAgain())
    assert (desk.wishes[-1].version, desk.wishes[-1].status) == (150, second.status)


# --- the repair lane --------------------------------------------------------------------------------------------------
def test_the_whole_wanted_set_is_told_when_it_changes_and_only_then() -> None:
    """Not a difference; and not again for each look."""
    desk = Desk().settled(node("a"), node("b"))
    desk.mail(node("a", healthy=False, version=2))
    desk.run(1.0)
    desk.mail(node("b", healthy=False, version=2))
    desk.run(1.0)
    desk.mail(node("c"))
    desk.run(1.0)
    desk.mail(node("a", version=3))
    desk.run(1.0)

    assert desk.asked == [["a"], ["a", "b"], ["b"]]


def test_counting_does_not_wait_for_repairing() -> None:
    """Promise *lanes*: nobody has answered a single item."""
    desk = Desk().settled(*(node(f"n{n}") for n in range(50)))
    for n in range(50):
        desk.mail(node(f"n{n}", healthy=False, version=2))
        desk.run(0.2)

        assert desk.wishes[-1].status["unhealthy"] == desk.wishes[-1].status["repairing"] == n + 1


@pytest.mark.parametrize("how", [ItemAnswer.DONE, ItemAnswer.FAILED])
def test_an_answered_item_is_asked_again_after_the_cooldown_if_it_did_not_help(how: ItemAnswer) -> None:
    """A new round, a new key; an answer alone changes nothing material."""
    desk = Desk(cooldown_s=100.0).settled(node("a", healthy=False), node("b", healthy=False))
    desk.tell(AskAgain())
    first = desk.keys
    desk.run(10.0)
    at_s = desk.world.clock.now()
    desk.gateway.told.clear()
    desk.done(*first, how=how)
    desk.run(99.0)
    assert (desk.asked, desk.wishes) == ([], [])

    desk.world.run_until(lambda: bool(desk.asked))
    assert desk.world.clock.now() - at_s == pytest.approx(100.0)
    assert sorted(desk.asked[-1]) == ["a", "b"]
    assert not set(desk.keys) & set(first)


def test_one_that_recovered_meanwhile_is_not_asked_again() -> None:
    """The repair helped."""
    desk = Desk(cooldown_s=100.0).settled(node("a", healthy=False))
    desk.tell(AskAgain())
    desk.done(*desk.keys)
    desk.mail(node("a", version=2))
    desk.run(1000.0)

    assert desk.asked == [["a"]]
    assert desk.wishes[-1].status["repairing"] == 0


def test_an_item_that_the_gateway_withdrew_is_asked_again_if_it_is_still_wanted() -> None:
    """It saw a fresher record; by the time we look we have that too."""
    desk = Desk().settled(node("a", healthy=False), node("b", healthy=False))
    desk.tell(AskAgain())
    key = desk.keys[0]
    desk.done(key, how=ItemAnswer.WITHDRAWN)
    desk.run(1.0)

    assert desk.asked[1:] == [["a", "b"]]
    assert desk.keys[0] == key


@pytest.mark.parametrize(
    "spec", [{"paused": True}, {"repair_enabled": False}, {"max_unhealthy": Share(absolute=0)}], ids=str
)
def test_what_is_forbidden_later_is_withdrawn(spec: dict[str, Any]) -> None:
    """The empty set is told."""
    desk = Desk().settled(node("a", healthy=False), node("b"))
    desk.mail(cluster(999, generation=2, **spec))
    desk.run(1.0)

    assert desk.asked == [[]]


def test_a_new_incarnation_tells_the_gateway_even_that_it_wants_nothing() -> None:
    """What the dead one had queued stands there; the spec may have been paused meanwhile."""
    desk = Desk().settled(node("a", healthy=False), node("b"))
    desk.tell("nonsense", Resume())
    desk.sync(node("a", healthy=False), node("b"), parent=cluster(999, generation=2, paused=True))
    desk.run(1.0)

    assert desk.asked == [[]]


def test_max_in_flight_bounds_who_is_asked_for() -> None:
    """The next comes when one is well."""
    desk = Desk(in_flight_max=2).settled(*(node(f"n{n}", healthy=False) for n in range(4)))
    desk.tell(AskAgain())
    assert len(desk.asked[-1]) == 2

    desk.mail(node(desk.asked[-1][0], version=2))
    desk.run(1.0)
    assert len(desk.asked[-1]) == 2
    assert desk.wishes[-1].status["repairing"] == 2


def test_the_valve_is_a_condition_an_event_and_a_fact_once_each_way() -> None:
    """Promise *valve*."""
    desk = Desk(max_unhealthy=Share(percent=50.0)).settled(*(node(f"n{n}") for n in range(10)))
    for n in range(6):
        desk.mail(node(f"n{n}", healthy=False, version=2))
    desk.run(1.0)
    assert desk.asked == []
    assert [(fact.closed, fact.eligible, fact.limit, fact.total) for fact in desk.world.seen(ValveMoved)] == [
        (True, 6, 5, 10)
    ]
    assert [message.note.reason for message in desk.status.of(EventWanted)] == ["TooManyUnhealthy"]

    desk.mail(node("n0", version=3))
    desk.run(1.0)
    assert [fact.closed for fact in desk.world.seen(ValveMoved)] == [True, False]
    assert [message.note.reason for message in desk.status.of(EventWanted)] == ["TooManyUnhealthy", "RepairsAllowed"]
    assert len(desk.asked[-1]) == 5


def test_whoever_lost_our_wish_is_told_it_again_unchanged() -> None:
    """The same keys, the same status."""
    desk = Desk(answers=False)
    desk.sync(node("a", healthy=False))
    desk.run(1.0)
    wish, keys = desk.wishes[-1], desk.keys
    desk.tell(AskAgain())

    assert (desk.wishes[-1].status, desk.keys) == (wish.status, keys)
    assert len(desk.wishes) == len(desk.asked) == 2


def test_the_backends_state_is_a_change_like_any_other() -> None:
    """Debounced; told once."""
    desk = Desk().settled(node("a", healthy=False))
    for _ in range(3):
        desk.tell(BackendState(reachable=False, reason="CallTimeout", message="no answer"))
        desk.run(1.0)

    (wish,) = desk.wishes
    condition = next(c for c in wish.status["conditions"] if c["type"] == "BackendReachable")
    assert (condition["status"], condition["reason"]) == ("False", "CallTimeout")


# --- the parent's life ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("order", [("p", "q"), ("q", "p")])
def test_a_parent_created_again_under_its_name_is_another(order: tuple[str, ...]) -> None:
    """Its repairs are asked anew, its status is patched under its own uid and version; the children belong to the name."""
    desk = Desk().settled(node("a", healthy=False), node("b"))
    again = cluster(500, uid="q")
    entries: dict[str, Record | None] = {"p": None, "q": again}
    desk.tell(Objects(kind="Cluster", entries={uid: entries[uid] for uid in order}))
    desk.run(1.0)

    assert desk.asked == [[], ["a"]]
    assert [(wish.uid, wish.version, wish.status["total"]) for wish in desk.wishes] == [("q", 500, 2)]


def test_a_parent_that_is_gone_asks_for_nothing_and_writes_nothing() -> None:
    """Until the directory closes its actor."""
    desk = Desk().settled(node("a", healthy=False))
    desk.mail(gone=("p",), kind="Cluster")
    desk.mail(node("b"))
    desk.run(10.0)
    assert (desk.asked, desk.wishes) == ([[]], [])

    desk.tell(CloseUp())
    assert not desk.cell.is_alive()


def test_closing_withdraws_what_is_queued() -> None:
    """Proof 8."""
    desk = Desk().settled(node("a", healthy=False))
    desk.tell(CloseUp())

    assert desk.asked == [[]]
    assert not desk.cell.is_alive()


def test_a_replacement_strikes_off_what_it_does_not_hold() -> None:
    """No phantom children; of its own kind only."""
    desk = Desk().settled(node("a"), node("b"), node("s", kind="StorageNode"))
    desk.mail(node("b"), kind="ComputeNode", replace=True)
    desk.run(1.0)
    assert [wish.status["total"] for wish in desk.wishes] == [2]

    desk.mail(node("b"), kind="ComputeNode", replace=True)
    desk.run(10.0)
    assert len(desk.looks) == 1


def test_a_poisonous_record_is_skipped_reported_and_said_in_the_status(monkeypatch: pytest.MonkeyPatch) -> None:
    """And forgotten when it changes, or goes: by a deletion or by a list without it."""
    put = Roll.put

    def poisoned(self: Any, child: Child) -> bool:
        if child.name == "bad" and child.version == 1:
            raise ValueError("poison")
        return put(self, child)

    monkeypatch.setattr(Roll, "put", poisoned)
    desk = Desk()
    for _ in range(2):
        desk.sync(node("a"), node("bad"))
        desk.tell(Resume())
    desk.sync(node("a"), node("bad"))
    desk.run(1.0)

    def ready() -> str:
        return str(next(c for c in desk.wishes[-1].status["conditions"] if c["type"] == "Ready")["reason"])

    assert [fact.fingerprint for fact in desk.world.seen(RecordSkipped)] == ["ComputeNode/d/bad@1"]
    assert (desk.wishes[-1].status["total"], ready()) == (1, "RecordsSkipped")
    desk.mail(node("a"), kind="ComputeNode", replace=True)
    desk.run(1.0)
    assert ready() == "Ready"
    desk.mail(node("bad"))
    desk.run(1.0)
    assert ready() == "RecordsSkipped"
    desk.mail(node("bad", version=2))
    desk.run(1.0)
    assert (desk.wishes[-1].status["total"], ready()) == (2, "Ready")


def test_the_audit_finds_repairs_and_reports_a_wrong_count() -> None:
    """Nothing else would: a wrong incremental count lives until the actor sleeps."""
    desk = Desk().settled(node("a"))
    desk.made._roll.counts["ComputeNode"] = Counts(healthy=5)
    desk.run(3600.0)

    assert [fact.kind for fact in desk.world.seen(AuditDiffered)] == ["ComputeNode"]
    assert desk.made.statistics()["healthy"] == 1


# --- sleep ------------------------------------------------------------------------------------------------------------
def close(desk: Desk, *kinds: str) -> None:
    desk.tell(*(LastMail(kind=kind) for kind in kinds or KINDS))
    desk.run(0.0)


def test_an_idle_actor_asks_to_sleep_and_does_when_all_watchers_have_closed() -> None:
    """After ``idle_s`` without anything to wait for."""
    desk = Desk(idle_s=60.0).settled(node("a"))
    desk.run(58.0)
    assert desk.directory.told == []
    desk.run(2.0)
    assert len(desk.directory.of(PassivateWanted)) == 1

    close(desk, "Cluster", "ComputeNode")
    assert desk.directory.of(Passivated) == []
    close(desk, "StorageNode")
    assert [message.asleep for message in desk.directory.of(Passivated)] == [True]


def test_it_does_not_sleep_while_it_waits_for_something() -> None:
    """An unanswered item, a cooldown, an unanswered write."""
    asked = Desk(idle_s=60.0).settled(node("a", healthy=False))
    asked.run(600.0)
    assert asked.directory.told == []
    asked.tell(AskAgain())
    asked.done(*asked.keys)
    asked.run(200.0)
    assert asked.directory.told == []

    writing = Desk(idle_s=60.0, answers=False)
    writing.sync(node("a"))
    writing.run(600.0)
    assert writing.directory.told == []


def test_what_comes_while_the_watchers_close_keeps_it_awake() -> None:
    """And is looked at in time."""
    desk = Desk(idle_s=60.0).settled(node("a"))
    desk.run(60.0)
    desk.mail(node("b"))
    close(desk)

    assert [message.asleep for message in desk.directory.of(Passivated)] == [False]
    desk.run(0.2)
    assert [wish.status["total"] for wish in desk.wishes] == [2]


def test_mail_that_waits_beside_the_last_mail_is_not_slept_through() -> None:
    """It came before the watcher closed, so it is in the mailbox when the last mail is handled."""
    desk = Desk(idle_s=60.0).settled(node("a"))
    desk.run(60.0)
    for kind in KINDS[:2]:
        desk.tell(LastMail(kind=kind))
    desk.cell.tell(Objects(kind="StorageNode", entries={"s": node("s", kind="StorageNode")}))
    desk.cell.tell(LastMail(kind="StorageNode"))
    desk.world.settle()

    assert [message.asleep for message in desk.directory.of(Passivated)] == [False]


def test_a_watcher_that_does_not_close_in_time_wakes_it() -> None:
    """It may have died of the request: subscribe again rather than hear nothing for ever."""
    desk = Desk(idle_s=60.0).settled(node("a"))
    desk.run(60.0)
    close(desk, "Cluster")
    desk.run(PASSIVATE_PATIENCE_S)

    assert [message.asleep for message in desk.directory.of(Passivated)] == [False]


def test_one_that_is_subscribed_again_sleeps_only_after_another_idle_time() -> None:
    """Somebody wanted it."""
    desk = Desk(idle_s=60.0).settled(node("a"))
    desk.run(60.0)
    close(desk)
    desk.mail(cluster(101, desk.made._parent.status), kind="Cluster", replace=True)  # type: ignore[union-attr]
    for kind in KINDS[1:]:
        desk.mail(*([node("a")] if kind == "ComputeNode" else []), kind=kind, replace=True)
    desk.run(58.0)
    assert len(desk.directory.of(PassivateWanted)) == 1
    desk.run(10.0)
    assert len(desk.directory.of(PassivateWanted)) == 2
