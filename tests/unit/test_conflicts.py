"""When conflicts in a row mean that the newer object's event is lost."""

from __future__ import annotations

from itertools import pairwise

import pytest

from actors.cluster import CONFLICT_PATIENCE_S
from actors.core.conflicts import PATIENCE_S, SPACING_S, Conflicts
from actors.messages import RelistWanted, StatusState
from actors.sim.desk import Desk, cluster, node


def test_conflicts_that_last_are_a_reason_to_list_now_and_then() -> None:
    conflicts = Conflicts()
    wished = [float(now) for now in range(100) if conflicts.met(float(now))]

    assert wished == [PATIENCE_S + n * SPACING_S for n in range(4)]


def test_a_newer_object_ends_them_and_the_spacing_goes_on() -> None:
    """What is lost again and again is not listed for again and again."""
    conflicts = Conflicts()
    wished = []
    for now in range(200):
        if now % 10 == 0:
            conflicts.ended()
        if conflicts.met(float(now)):
            wished.append(float(now))

    assert wished[0] == PATIENCE_S
    assert min(later - earlier for earlier, later in pairwise(wished)) >= SPACING_S
    conflicts.ended()
    assert not any(conflicts.met(1000.0 + n) for n in range(int(PATIENCE_S)))


@pytest.mark.parametrize("state", [StatusState.CONFLICT, StatusState.GONE])
def test_a_newer_object_that_does_not_come_is_sought_by_a_list(state: StatusState) -> None:
    """Its event is lost, and conflicts alone would go on until somebody lists: it asks, but not all the time."""
    desk = Desk(answers=False)
    desk.sync(node("a"))
    desk.run(1.0)
    times: list[float] = []
    refused: list[object] = []
    while desk.world.clock.now() < 100.0:
        refused.append(desk.wishes[-1])
        desk.refuse(state)
        if len(desk.watcher.of(RelistWanted)) > len(times):
            times.append(desk.world.clock.now())
        desk.world.run_until(lambda: len(desk.wishes) > len(refused))

    assert PATIENCE_S <= times[0] <= 2 * PATIENCE_S
    assert len(times) >= 2
    assert min(later - earlier for earlier, later in pairwise(times)) >= SPACING_S


@pytest.mark.parametrize("news", ["the newer object", "a write"])
def test_conflicts_that_end_in_time_need_no_list(news: str) -> None:
    """Events may be late, and other writers busy."""
    desk = Desk(answers=False)
    desk.sync(node("a"))
    desk.run(1.0)
    for turn in range(10):
        desk.refuse(StatusState.CONFLICT)
        desk.run(CONFLICT_PATIENCE_S)
        desk.refuse(StatusState.CONFLICT)
        if news == "a write":
            desk.run(CONFLICT_PATIENCE_S)
            desk.written(desk.wishes[-1])
            desk.mail(node("a", healthy=bool(turn % 2), version=turn + 2))
        else:
            desk.mail(cluster(10 * turn + 10))
        desk.run(1.0)

    assert desk.watcher.of(RelistWanted) == []
