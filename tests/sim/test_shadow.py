"""A shadow beside a live operator, on one API server in one world: it writes nothing, agrees, and finds what is planted."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from actors.core.errors import SettingsError
from actors.core.events import ShadowDiffered
from actors.core.model import Policy, Share
from actors.edge.settings_load import load, require_backend
from actors.insight.shadow import Shadow
from actors.sim.harness import CLUSTERS, SimulatedFleet
from actors.sim.reader import SimReader
from actors.tree import Ports, System

GRACE_S = 3.0


class Beside:
    """A live operator, and a shadow with settings of its own."""

    def __init__(self, *, shadow: Policy | None = None, seed: int = 1, heal_after_s: float = 5.0) -> None:
        self.fleet = SimulatedFleet(seed=seed, heal_after_s=heal_after_s)
        self.shadow = Shadow(grace_s=GRACE_S)
        settings = evolve(self.fleet.settings, policy=shadow or Policy())
        reader = SimReader(self.fleet.api, self.fleet.fleet, self.fleet.world)
        ports = Ports(reader=reader, status_writer=self.shadow.writer, backend=self.shadow.backend)
        self.system = System(dispatcher=self.fleet.world, fleet=self.fleet.fleet, settings=settings, ports=ports)
        for number in range(3):
            self.fleet.cluster(f"c{number}")
            for node in range(5):
                self.fleet.node(f"c{number}-n{node}", f"c{number}")

    def start(self) -> None:
        self.fleet.start()
        self.system.start()
        self.shadow.start(self.system)
        self.fleet.run(20.0)

    def turbulence(self, seconds: int) -> None:
        """Nodes fail, one after the other; the live operator has them repaired."""
        for second in range(seconds):
            self.fleet.report(f"c{second % 3}-n{second % 5}", second % 4 != 0)
            self.fleet.run(1.0)
        self.fleet.run(30.0)

    def facts(self) -> list[Any]:
        return self.fleet.world.seen(ShadowDiffered)


def test_a_shadow_writes_nothing_and_agrees_with_a_live_one() -> None:
    beside = Beside()
    beside.start()
    written = len(beside.fleet.writer.writes)
    beside.turbulence(40)

    told = beside.shadow.statistics()
    assert (0, {}, []) == (told["differed"], told["differing"], beside.facts())
    assert told["agreed"] > 5
    assert told["statuses"] > 10
    assert told["items"] > 0
    # All that reached the servers came from the live one: what its own ports counted is what there is.
    assert len(beside.fleet.writer.writes) > written
    repaired = beside.fleet.repaired()
    assert len(beside.fleet.backend_model.arrivals) == dict(beside.fleet.system.cells())["gateway"]["counts"]["calls"]
    assert repaired


def test_a_shadow_alone_leaves_the_server_as_it_was() -> None:
    beside = Beside()
    beside.system.start()
    beside.shadow.start(beside.system)
    before = beside.fleet.api.resource_version
    beside.fleet.run(30.0)

    assert before == beside.fleet.api.resource_version
    assert not beside.fleet.backend_model.arrivals
    assert 3 == beside.shadow.statistics()["differed"], "nobody has written the statuses that it would have"
    assert {"default/c0", "default/c1", "default/c2"} == set(beside.shadow.statistics()["differing"])


def test_a_difference_that_is_planted_is_found_named_and_forgotten_when_it_is_gone() -> None:
    """The live one repairs at once; the shadow would hold every repair."""
    beside = Beside(shadow=Policy(max_unhealthy=Share(absolute=0)), heal_after_s=15.0)
    beside.start()
    assert 0 == beside.shadow.statistics()["differed"]

    beside.fleet.report("c1-n0", False)
    beside.fleet.run(10.0)
    assert ["default/c1"] == [fact.parent for fact in beside.facts()]
    assert "conditions.RemediationAllowed.status True → False" in beside.facts()[0].difference

    beside.fleet.run(30.0)  # repaired: nothing is held any more
    assert {} == beside.shadow.statistics()["differing"]


@pytest.mark.parametrize("seed", range(6))
def test_no_difference_in_any_order_of_turns(seed: int) -> None:
    beside = Beside(seed=seed)
    beside.start()
    beside.fleet.api.patch(CLUSTERS, "c0", {"spec": {"minHealthy": 5}}, "default")
    beside.turbulence(12)

    assert 0 == beside.shadow.statistics()["differed"], beside.facts()


def test_a_shadow_needs_no_backend() -> None:
    require_backend(load({"shadow": "true"}, {}, None))
    with pytest.raises(SettingsError, match="backend-url"):
        require_backend(load({}, {}, None))
