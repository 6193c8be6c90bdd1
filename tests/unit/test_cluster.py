"""The ClusterActor: when it looks, what it tells whom, and what becomes of the answers."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from actors.actor import Resume
from actors.cluster import CONFLICT_PATIENCE_S, REFUSED_RETRY_S
from actors.core.events import ValveMoved
from actors.core.model import Record, Share
from actors.core.ports import Objects
from actors.messages import (
    AskAgain,
    BackendState,
    EventWanted,
    ItemAnswer,
    StatusState,
)
from actors.sim.desk import KINDS, Desk, cluster, node


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


def test_the_echo_of_a_wish_that_a_newer_one_follows_does_not_wake_us() -> None:
    """It comes before its answer, while the newer wish waits; what somebody else writes meanwhile does."""
    desk = Desk(answers=False)
    desk.sync(node("a"))
    desk.run(1.0)
    desk.mail(node("b"))
    desk.run(1.0)
    older, newer = desk.wishes
    looks = len(desk.looks)
    desk.mail(cluster(101, older.status))
    desk.run(5.0)
    assert len(desk.looks) == looks

    desk.written(older, 101)
    desk.run(0.1)
    desk.mail(cluster(102, older.status))  # somebody put it back
    desk.run(5.0)
    assert newer.status["total"] == 2
    assert len(desk.looks) == looks + 1


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
        desk.world.run_until(lambda: len(desk.wishes) > len(times))  # one wish for each refusal
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
    """The next comes when one is well and nothing is under way for it any more; or when nobody can tell what is."""
    desk = Desk(in_flight_max=2).settled(*(node(f"n{n}", healthy=False) for n in range(4)))
    desk.tell(AskAgain())
    assert len(desk.asked[-1]) == 2

    first, second = desk.asked[-1]
    key = desk.keys[0]
    desk.mail(node(first, version=2))
    desk.run(1.0)
    assert desk.asked[-1] == [second]
    desk.done(key)
    desk.run(1.0)
    assert len(desk.asked[-1]) == 2
    assert desk.wishes[-1].status["repairing"] == 2

    desk.mail(node(second, version=2))
    desk.run(1.0)
    assert len(desk.asked[-1]) == 1
    desk.tell(AskAgain(lost="status"))
    desk.run(1.0)
    assert len(desk.asked[-1]) == 1
    desk.tell(AskAgain())  # the directory has died, perhaps of the news that the gateway had
    desk.run(1.0)
    assert len(desk.asked[-1]) == 2


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


def test_who_asks_for_nothing_does_not_hold_on_to_the_bad_news_of_a_gateway_that_forgot() -> None:
    """A new incarnation of the gateway does not know whom it has told: nobody would ever take "unreachable" back."""
    desk = Desk().settled(node("a"))
    desk.tell(BackendState(reachable=False, reason="Unavailable", message="503"))
    desk.run(1.0)

    desk.tell(AskAgain())
    desk.run(1.0)

    shown = [
        next(c["status"] for c in wish.status["conditions"] if c["type"] == "BackendReachable") for wish in desk.wishes
    ]
    assert shown == ["False", "Unknown"]


def test_the_backends_state_is_a_change_like_any_other() -> None:
    """Debounced; told once."""
    desk = Desk().settled(node("a", healthy=False))
    for _ in range(3):
        desk.tell(BackendState(reachable=False, reason="CallTimeout", message="no answer"))
        desk.run(1.0)

    (wish,) = desk.wishes
    condition = next(c for c in wish.status["conditions"] if c["type"] == "BackendReachable")
    assert (condition["status"], condition["reason"]) == ("False", "CallTimeout")


def test_a_status_that_is_refused_puts_off_no_cooldown() -> None:
    """The lanes do not wait for each other: who is allowed no write still asks for the next round in time."""
    desk = Desk(answers=False, cooldown_s=5.0)
    desk.sync(node("a", healthy=False))
    desk.run(1.0)
    for after_s in (1.0, 2.0, 4.0, 8.0, 16.0):
        desk.refuse(StatusState.REFUSED)
        desk.run(after_s + 0.5)
    desk.refuse(StatusState.REFUSED)  # the next look for the write's sake is 30 s away now
    first = desk.keys[0]
    desk.done(first)
    desk.run(5.5)

    assert desk.keys != [first]
    assert len(desk.keys) == 1


def test_a_parent_that_is_created_again_keeps_its_nodes_cooldowns() -> None:
    """They belong to the nodes: the same spell of trouble is not repaired again at once because the parent is another."""
    desk = Desk(cooldown_s=5.0).settled(node("a", healthy=False))
    desk.tell(AskAgain())
    desk.done(desk.keys[0])
    asked = len(desk.asked)
    desk.mail(cluster(500, uid="another"), kind="Cluster", replace=True)
    desk.run(4.0)
    assert len(desk.asked) == asked

    desk.run(2.0)
    assert len(desk.asked) == asked + 1
