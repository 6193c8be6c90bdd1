"""The ClusterActor's own life: another parent under its name, the end of the parent, poison, the audit, sleep."""

from __future__ import annotations

import pytest

from actors.actor import Resume
from actors.cluster import PASSIVATE_PATIENCE_S
from actors.core.events import AuditDiffered, RecordSkipped
from actors.core.health import Counts, Roll
from actors.core.model import Record, Share
from actors.core.ports import Objects, Written
from actors.core.texts import child_of
from actors.messages import (
    AskAgain,
    BackendState,
    CloseUp,
    ItemAnswer,
    LastMail,
    Passivated,
    PassivateWanted,
    RepairsWanted,
    StatusAnswered,
    StatusState,
)
from actors.sim.desk import KINDS, Desk, cluster, node


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
    enter = Roll.enter

    def poisoned(self: Roll, kind: str, key: bytes, text: bytes) -> bool:
        child = child_of(kind, None, key, text)
        if child.name == "bad" and child.version == 1:
            raise ValueError("poison")
        return enter(self, kind, key, text)

    monkeypatch.setattr(Roll, "enter", poisoned)
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
    """An unanswered item, a cooldown, a backend that does not answer, an unanswered write."""
    asked = Desk(idle_s=60.0).settled(node("a", healthy=False))
    asked.run(600.0)
    assert asked.directory.told == []
    asked.tell(AskAgain())
    asked.done(*asked.keys)
    asked.run(200.0)
    assert asked.directory.told == []

    cut_off = Desk(idle_s=60.0).settled(node("a"))
    cut_off.tell(BackendState(reachable=False, reason="Unavailable", message="503"))
    cut_off.run(600.0)
    assert cut_off.directory.told == [], "nobody would take it back"
    cut_off.tell(BackendState(reachable=True, reason="Answers", message=""))
    cut_off.run(70.0)
    assert len(cut_off.directory.of(PassivateWanted)) == 1

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
    parent = desk.made._parent
    assert parent is not None
    desk.mail(cluster(101, parent.status), kind="Cluster", replace=True)
    for kind in KINDS[1:]:
        desk.mail(*([node("a")] if kind == "ComputeNode" else []), kind=kind, replace=True)
    desk.run(58.0)
    assert len(desk.directory.of(PassivateWanted)) == 1
    desk.run(10.0)
    assert len(desk.directory.of(PassivateWanted)) == 2


def test_the_gateway_hears_whether_its_news_of_the_backend_are_known_here() -> None:
    """Whoever died or slept has forgotten them, and is told again."""
    desk = Desk().settled(node("a"))
    desk.mail(node("a", healthy=False, version=2))
    desk.run(1.0)
    desk.tell(BackendState(reachable=True, reason="Answers", message=""))
    desk.mail(node("b", healthy=False))
    desk.run(1.0)

    assert [message.told for message in desk.gateway.of(RepairsWanted)] == [False, True]


def test_an_actor_has_no_more_than_its_slots() -> None:
    """There is one for each parent, and a dict of that many names takes 1.6 kB."""
    desk = Desk().settled(node("a"))

    assert set(vars(desk.made)) == {"ctx"}


def test_a_repair_that_was_taken_back_too_late_counts_as_repairing() -> None:
    """The valve closed while its call was under way; its answer changes the count, and nobody else would look."""
    desk = Desk(cooldown_s=100.0, max_unhealthy=Share(absolute=1), eligible_floor=0).settled(node("a", healthy=False))
    desk.tell(AskAgain())
    sent = desk.keys
    desk.mail(node("b", healthy=False))
    desk.run(1.0)
    assert (desk.asked[-1], desk.wishes[-1].status["repairing"]) == ([], 0)

    desk.done(*sent)
    desk.run(1.0)
    assert desk.wishes[-1].status["repairing"] == 1


def test_a_round_that_stands_again_counts_as_repairing() -> None:
    """A second round was taken back before it left; the first was answered, and nobody else would look."""
    desk = Desk(cooldown_s=10.0, max_unhealthy=Share(absolute=1), eligible_floor=0).settled(node("a", healthy=False))
    desk.tell(AskAgain())
    desk.done(*desk.keys)
    desk.world.run_until(lambda: len(desk.asked) > 1)
    second = desk.keys
    desk.mail(node("b", healthy=False))
    desk.run(1.0)
    assert desk.wishes[-1].status["repairing"] == 0

    desk.done(*second, how=ItemAnswer.WITHDRAWN)
    desk.run(1.0)
    assert desk.wishes[-1].status["repairing"] == 1


def test_a_child_that_is_ill_again_takes_one_place() -> None:
    """Its earlier call is still under way: the other place is another child's."""
    desk = Desk(in_flight_max=2).settled(node("a", healthy=False, since="1"))
    desk.tell(AskAgain())
    desk.mail(node("a", version=2))
    desk.run(1.0)
    desk.mail(node("a", healthy=False, since="2", version=3), node("b", healthy=False))
    desk.run(1.0)

    assert sorted(desk.asked[-1]) == ["a", "b"]


def test_a_child_that_leaves_and_comes_back_within_a_debounce_still_has_its_cooldown() -> None:
    """It changed parents and back: nobody had looked meanwhile, and its call is the same (seed 15046)."""
    desk = Desk(cooldown_s=100.0).settled(node("a", healthy=False))
    desk.tell(AskAgain())
    first = desk.keys
    desk.mail(gone=("a",))
    desk.mail(node("a", healthy=False, version=2))
    desk.run(1.0)
    desk.done(*first)
    desk.run(50.0)
    assert desk.asked == [["a"]]

    desk.run(100.0)
    assert desk.asked == [["a"], ["a"]]
    assert desk.keys != first


@pytest.mark.parametrize("sequence", [0, 1, 9])
def test_a_status_that_the_actor_before_this_one_had_wished_for_is_put_right(sequence: int) -> None:
    """It waited for its retry while this one was made, found that all is well, and wished for nothing (seed 16306)."""
    desk = Desk().settled(node("a"))
    standing = desk.made.standing
    old = Written(version=400, status={**standing, "healthy": 77})
    desk.tell(StatusAnswered(sequence=sequence, state=StatusState.WRITTEN, written=old))
    desk.run(5.0)

    assert [(wish.version, wish.status["healthy"]) for wish in desk.wishes] == [(400, standing["healthy"])]
