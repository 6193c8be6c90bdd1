"""The StatusActor: the newest wish of each parent, one write at a time, and what becomes of each."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from actors.actor import Cell
from actors.core.errors import ApiError, ApiThrottled, Conflict, Forbidden, Invalid, NotFound, Unauthorized, Unreachable
from actors.core.events import EventFailed, StatusFailed
from actors.core.model import EventNote, ParentKey, Wish
from actors.core.ports import Later, Written
from actors.mailbox import using
from actors.messages import DrainWanted, EventWanted, StatusAnswered, StatusState, StatusWanted
from actors.sim.desk import Catcher
from actors.sim.world import World
from actors.status import EVENTS_WAITING_MAX, RETRY_MAX_S, VERSIONS_MAX, StatusActor

RTT_S = 1.0


class Writer:
    """Takes ``RTT_S``; ``verdict(parent, nth)`` may raise at its end. Versions grow from 100."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.begun: list[tuple[float, str, int, dict[str, Any]]] = []
        self.at_once = self.at_once_max = 0
        self.events: list[str] = []
        self.verdict: Callable[[str, int], None] = lambda parent, nth: None
        self.event_error: Exception | None = None
        self._version = 100

    def patch_status(self, parent: ParentKey, uid: str, version: int, status: dict[str, Any]) -> Later[Written]:
        self.begun.append((self.world.clock.now(), parent.name, version, status))
        self.at_once += 1
        self.at_once_max = max(self.at_once_max, self.at_once)
        nth = sum(name == parent.name for _, name, _, _ in self.begun)

        def end() -> Written:
            self.at_once -= 1
            self.verdict(parent.name, nth)
            self._version += 1
            return Written(version=self._version, status=status)

        return Later(RTT_S, end)

    def record_event(self, parent: ParentKey, uid: str, note: EventNote) -> None:
        if self.event_error is not None:
            raise self.event_error
        self.events.append(note.reason)


class Office:
    """One StatusActor with its writer."""

    def __init__(self, in_flight_max: int = 8) -> None:
        self.world = World(seed=4)
        self.writer = Writer(self.world)
        self.asker: Any = Catcher()
        self.sequence = 0

        def factory(ctx: Any) -> StatusActor:
            self.actor = StatusActor(ctx, writer=self.writer, in_flight_max=in_flight_max)
            return self.actor

        with using(self.world):
            self.cell = Cell.start(name="status", factory=factory, supervisor=Catcher())
        self.world.settle()

    def wish(self, name: str = "c", n: int = 0, *, version: int = 1, uid: str = "u") -> None:
        self.sequence += 1
        self.cell.tell(StatusWanted(
            parent=ParentKey("default", name), uid=uid, version=version, wish=Wish({"n": n}), sequence=self.sequence,
            reply_to=self.asker,
        ))  # fmt: skip
        self.world.settle()

    def event(self, reason: str = "Why") -> None:
        note = EventNote(type="Normal", reason=reason, note="")
        self.cell.tell(EventWanted(parent=ParentKey("default", "c"), uid="u", note=note))

    def fail(self, error: ApiError, times: int = 1, only: str = "") -> None:
        def verdict(parent: str, nth: int) -> None:
            if nth <= times and only in ("", parent):
                raise error

        self.writer.verdict = verdict

    @property
    def answers(self) -> list[tuple[int, str]]:
        return [(a.sequence, a.state.value) for a in self.asker.told if isinstance(a, StatusAnswered)]

    @property
    def written(self) -> list[tuple[str, int]]:
        return [(name, status["n"]) for _, name, _, status in self.writer.begun]


def test_a_wish_is_written_and_answered_with_what_stands_on_the_server() -> None:
    """The next reconcile sees our own last write."""
    office = Office()
    office.wish(n=7)
    office.world.run_for(5.0)

    (answer,) = office.asker.told
    assert (answer.sequence, answer.state, answer.written) == (
        1,
        StatusState.WRITTEN,
        Written(version=101, status={"n": 7}),
    )


def test_of_wishes_that_wait_only_the_newest_is_written() -> None:
    """One write at a time per parent; what is overtaken is dropped unanswered."""
    office = Office()
    for n in range(5):
        office.wish(n=n)
    office.world.run_for(5.0)

    assert office.written == [("c", 0), ("c", 4)]
    assert office.writer.at_once_max == 1
    assert office.answers == [(1, "written"), (5, "written")]


def test_a_wish_made_before_our_own_write_was_known_takes_over_its_version() -> None:
    """Or we would conflict with ourselves."""
    office = Office()
    office.wish(n=0, version=50)
    office.wish(n=1, version=50)
    office.world.run_for(5.0)
    office.wish(n=2, version=50)
    office.wish(n=3, version=200)
    office.world.run_for(5.0)

    assert [version for _, _, version, _ in office.writer.begun] == [50, 101, 102, 200]


def test_the_version_of_another_object_of_that_name_is_not_taken_over() -> None:
    """It was created again: its own version guards the patch."""
    office = Office()
    office.wish(version=50, uid="old")
    office.world.run_for(2.0)
    office.wish(version=60, uid="new")

    assert [version for _, _, version, _ in office.writer.begun] == [50, 60]


def test_a_conflict_is_answered_and_takes_along_what_was_made_from_the_same_view() -> None:
    """Only a newer view can decide; trying the same again cannot."""
    office = Office()
    office.fail(Conflict("newer"))
    office.wish(n=0, version=50)
    office.wish(n=1, version=50)
    office.world.run_for(5.0)

    assert office.written == [("c", 0)]
    assert office.answers == [(1, "conflict"), (2, "conflict")]


@pytest.mark.parametrize("newer", [{"version": 51}, {"version": 51, "uid": "again"}])
def test_a_conflict_does_not_take_along_what_was_made_from_a_newer_view(newer: dict[str, Any]) -> None:
    """Promise *lanes*: it is right already; refusing it would cost the ClusterActor's patience of two seconds."""
    office = Office()
    office.fail(Conflict("newer"))
    office.wish(n=0, version=50)
    office.wish(n=1, **newer)
    office.world.run_for(5.0)

    assert office.written == [("c", 0), ("c", 1)]
    assert office.answers == [(1, "conflict"), (2, "written")]


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (NotFound("x"), "gone"),
        (Invalid("x"), "refused"),
        (Forbidden("x"), "refused"),
        (Unauthorized("x"), "refused"),
    ],
)
def test_what_only_others_can_mend_is_answered_at_once(error: ApiError, state: str) -> None:
    """No retry here; and a newer wish that waits gets its own try."""
    office = Office()
    office.fail(error)
    office.wish(n=0)
    office.wish(n=1)
    office.world.run_for(5.0)

    assert office.answers == [(1, state), (2, "written")]


def test_a_transport_error_is_retried_with_growing_waits_until_it_is_through() -> None:
    """Not answered: the wish stands. The waits stay short enough for "right within 10 s of the server's return"."""
    office = Office()
    office.fail(Unreachable("down"), times=10)
    office.wish(n=3)
    office.world.run_for(100.0)

    starts = [at_s for at_s, *_ in office.writer.begun]
    waits = [later - earlier - RTT_S for earlier, later in pairwise(starts)]
    assert office.answers == [(1, "written")]
    assert len(waits) == 10
    assert 0.1 <= waits[0] <= 0.2
    assert RETRY_MAX_S / 2 <= min(waits[-3:]) <= max(waits) <= RETRY_MAX_S
    assert [fact.retry_s for fact in office.world.seen(StatusFailed)] == pytest.approx(waits)


def test_a_newer_wish_replaces_one_that_waits_for_its_retry() -> None:
    """What is retried is what is wanted now."""
    office = Office()
    office.fail(Unreachable("down"))
    office.wish(n=0)
    office.world.run_for(RTT_S + 0.01)
    office.wish(n=1)
    office.world.run_for(10.0)

    assert office.written == [("c", 0), ("c", 1)]
    assert office.answers == [(2, "written")]


def test_a_server_that_says_when_is_obeyed() -> None:
    """429 with Retry-After: the server is protecting itself."""
    office = Office()
    office.fail(ApiThrottled("busy", retry_after_s=20.0))
    office.wish()
    office.world.run_for(100.0)

    assert office.writer.begun[1][0] - office.writer.begun[0][0] >= 20.0


def test_nobody_waits_behind_another_parents_trouble() -> None:
    """Head of line: at most ``in_flight_max`` writes at once, and a parent that is retried holds no place."""
    office = Office(in_flight_max=2)
    office.fail(Unreachable("down"), times=1000, only="bad")
    office.wish("bad")
    for n in range(20):
        office.wish(f"c{n}")
    office.world.run_for(25.0)

    assert {name for name, _ in office.written} >= {f"c{n}" for n in range(20)}
    assert len(office.answers) == 20
    assert office.writer.at_once_max == 2


def test_events_are_recorded_one_after_the_other_and_their_loss_is_a_fact() -> None:
    """Best effort: not retried."""
    office = Office()
    office.event("One")
    office.event("Two")
    office.world.settle()
    office.writer.event_error = Forbidden("no")
    office.event("Three")
    office.world.settle()

    assert office.writer.events == ["One", "Two"]
    assert len(office.world.seen(EventFailed)) == 1


def test_events_that_wait_are_bounded() -> None:
    """A storm of them takes no memory; the oldest go first."""
    office = Office()
    event = EventWanted(parent=ParentKey("d", "c"), uid="u", note=EventNote(type="Normal", reason="x", note=""))
    for _ in range(EVENTS_WAITING_MAX + 50):
        office.actor._events.append(event)

    assert office.actor.statistics()["events_waiting"] == EVENTS_WAITING_MAX


def test_the_versions_remembered_are_bounded() -> None:
    """Memory grows with the objects that are there, not with all that ever were."""
    office = Office(in_flight_max=10_000)
    for n in range(VERSIONS_MAX + 10):
        office.wish(f"c{n}")
    office.world.run_for(5.0)

    assert len(office.answers) == VERSIONS_MAX + 10
    assert len(office.actor._versions) == VERSIONS_MAX


def test_a_drain_is_answered_when_all_that_is_wanted_is_written() -> None:
    """Shutdown: the final status writes and the Events that wait."""
    office = Office(in_flight_max=1)
    done: list[float] = []
    for n in range(3):
        office.wish(f"c{n}")
    office.event()
    office.cell.tell(DrainWanted(reply=lambda: done.append(office.world.clock.now())))
    office.world.run_for(10.0)

    assert done == [3.0]
    assert len(office.answers) == 3
    assert office.writer.events == ["Why"]


def test_a_drain_with_nothing_to_do_is_answered_at_once() -> None:
    """And each asker is."""
    office = Office()
    done: list[int] = []
    for n in range(2):
        office.cell.tell(DrainWanted(reply=lambda n=n: done.append(n)))
    office.world.settle()

    assert done == [0, 1]


def test_a_drain_does_not_wait_for_a_server_that_is_away() -> None:
    """What waits for a retry is tried once more, now; then it is the next process's to write."""
    office = Office()
    office.fail(ApiThrottled("busy", retry_after_s=60.0), times=1000)
    office.wish()
    office.world.run_for(2.0)
    done: list[float] = []
    office.cell.tell(DrainWanted(reply=lambda: done.append(office.world.clock.now())))
    office.world.run_for(100.0)

    assert done == [2.0 + RTT_S]
    assert len(office.written) == 2


def test_what_stands_there_by_our_own_hand_is_not_written_again() -> None:
    """Found by the simulator: a ClusterActor that is asked again, or begins anew with an old record, wishes it once more."""
    office = Office()
    office.wish(n=0, version=50)
    office.wish(n=0, version=50)
    office.world.run_for(5.0)
    office.wish(n=0, version=60)
    office.world.run_for(5.0)
    assert office.written == [("c", 0)]
    assert office.answers == [(1, "written"), (2, "written"), (3, "written")]

    office.wish(n=0, version=200)  # somebody has written since then: what stands there is not known
    office.wish(n=0, version=50, uid="another")
    office.world.run_for(5.0)
    assert office.written == [("c", 0), ("c", 0), ("c", 0)]
