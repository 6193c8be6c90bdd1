"""The directory and kinds whose stream stays down: nobody is repaired by old news."""

from __future__ import annotations

from typing import Any

from actors.core.events import WatchFellBehind
from actors.directory import BEHIND_S
from actors.messages import LookAgain, SyncChanged
from actors.sim.town import HOME, KINDS, Town


def test_a_kind_whose_stream_stays_down_is_behind_until_it_is_back() -> None:
    """Actors that are up look at once, each time. A blip is no news."""
    town = Town(HOME)
    town.want(HOME)
    kind = KINDS[1]

    def looked() -> list[Any]:
        return [what for _, what in town.log if isinstance(what, LookAgain)]

    def stream(up: bool) -> None:
        town.tell(SyncChanged(kind=kind, synced=True, up=up))

    stream(False)
    town.world.run_for(BEHIND_S - 1.0)
    stream(True)
    stream(False)
    town.world.run_for(BEHIND_S - 1.0)
    assert town.behind == {}
    looks = len(looked())
    town.world.run_for(2.0)
    assert list(town.behind) == [kind]
    assert len(looked()) == looks + 1
    stream(False)
    town.world.run_for(BEHIND_S + 1.0)
    assert len(looked()) == looks + 1
    stream(True)
    assert town.behind == {}
    assert len(looked()) == looks + 2
    assert [fact.behind for _, fact in town.world.facts_seen if isinstance(fact, WatchFellBehind)] == [True, False]
