"""A backend that honours no keys, under every way of answering badly and a gateway that dies: nothing is carried out twice."""

from __future__ import annotations

from collections import Counter

import pytest

from actors.core.model import Policy, Share
from actors.core.operation import PROMISED, Capabilities
from actors.core.quantity import Quota
from actors.sim.backend import Behaviour
from actors.sim.harness import SimulatedFleet

NODES = 40
# Each with what it hides from the operator: an execution, a refusal, or nothing.
FAULTS = ("cut", "withhold", "hang", "error", "missing", "throttle", "nonsense", "partial", "unknown")


def stormy(seed: int, able: Capabilities) -> SimulatedFleet:
    """Half an hour: nodes fall ill and are healed by their repairs, while calls go wrong and the gateway dies now and then."""
    fleet = SimulatedFleet(
        seed, policy=Policy(max_unhealthy=Share(percent=100.0), cooldown_s=60.0), heal_after_s=5.0, able=able,
        quota=Quota(4, 2.0), batch_max=6, lateness_s=2.0,
    )  # fmt: skip
    fleet.backend_model.honours_keys = False
    random = fleet.world.random
    fleet.cluster("c")
    for number in range(NODES):
        fleet.node(f"n{number}", "c")
    fleet.start()
    fleet.run(2.0)
    for _ in range(30):
        for _ in range(3):
            fleet.report(f"n{int(random.random() * NODES)}", False)
        do = FAULTS[int(random.random() * len(FAULTS))]
        fleet.backend_model.behave(Behaviour(do, count=1 + int(random.random() * 3)))
        fleet.run(random.uniform(0.0, 3.0))
        if random.random() < 0.3:
            fleet.system.refs["gateway"].tell("a message that it does not know")
        fleet.run(random.uniform(0.0, 20.0))
    fleet.backend_model.clear()
    fleet.run(400.0)
    return fleet


def executions(fleet: SimulatedFleet) -> list[int]:
    return sorted(Counter(repair.key for repair in fleet.backend_model.repairs).values())


@pytest.mark.parametrize("seed", range(4))
def test_no_attempt_is_carried_out_twice_and_every_node_is_well_in_the_end(seed: int) -> None:
    fleet = stormy(seed, Capabilities(keys=False))

    assert executions(fleet)[-1] == 1
    assert len(executions(fleet)) >= 40
    assert fleet.counts("c") == (NODES, NODES, 0, 0) == fleet.truth("c")
    assert fleet.backend_model.fullest_window() <= 4


def test_an_adapter_that_promises_keys_for_such_a_backend_would_repeat_repairs() -> None:
    """The same storm: what is declared is what makes the difference."""
    assert executions(stormy(0, PROMISED))[-1] > 1
