"""A backend that counts calls when it is done with them, also long after nobody waits for the answer any more."""

from __future__ import annotations

from typing import Any

import pytest

from actors.core.errors import CallTimeout
from actors.core.model import Policy, Share
from actors.core.operation import PROMISED, Capabilities, Counts
from actors.core.ports import Backend, Call, ItemResult, Later, Reply
from actors.core.quantity import Quota
from actors.sim.backend import fullest_window
from actors.sim.harness import SimulatedFleet
from actors.sim.world import World

QUOTA = Quota(2, 10.0)
WORKS_S = 20.0
HONEST = Capabilities(counts=Counts.COMPLETIONS, works_s=WORKS_S)


class Workshop(Backend):
    """Works on each call for up to ``WORKS_S``; most are answered in time. ``done`` has when each was counted."""

    def __init__(self, world: World, able: Capabilities) -> None:
        self.capabilities = able
        self.done: list[float] = []
        self.lost = 0
        self._world = world

    def send(self, call: Call) -> Later[Reply]:
        work_s = self._world.random.random() ** 2 * WORKS_S
        self._world.after(work_s, lambda: self.done.append(self._world.clock.now()))
        if work_s <= call.timeout_s:
            return Later(
                work_s, lambda: Reply(results={each.key: ItemResult(status="accepted") for each in call.items})
            )
        self.lost += 1
        return Later(call.timeout_s, lambda: _late(call))


def _late(call: Call) -> Any:
    raise CallTimeout(f"call {call.id}: no answer")


def fullest(seed: int, able: Capabilities) -> tuple[int, Workshop]:
    """The most completions in any window, of half an hour in which there is always something to repair."""
    fleet = SimulatedFleet(
        seed, policy=Policy(max_unhealthy=Share(percent=100.0), cooldown_s=5.0), quota=QUOTA, batch_max=3,
        call_timeout_s=5.0, lateness_s=0.0,
    )  # fmt: skip
    fleet.backend_port = workshop = Workshop(fleet.world, able)
    fleet.system = fleet._new_system()
    fleet.cluster("c")
    for number in range(20):
        fleet.node(f"n{number}", "c", False)
    fleet.start()
    fleet.run(1800.0)
    return fullest_window(workshop.done, QUOTA.window_s), workshop


@pytest.mark.parametrize("seed", range(3))
def test_no_window_has_more_completions_than_the_quota(seed: int) -> None:
    found, workshop = fullest(seed, HONEST)

    assert found == QUOTA.calls, "and the quota is used"
    assert workshop.lost >= 20, "calls whose end nobody heard"


def test_taken_for_one_that_counts_arrivals_it_would_be_overrun() -> None:
    assert max(fullest(seed, PROMISED)[0] for seed in range(3)) > QUOTA.calls
