"""Parents that belong to another controller, in virtual time: examples/machines, whose status is kept in an annotation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from actors.core.model import Policy, Share
from actors.edge.fleet_file import load_fleet
from actors.sim.harness import CRDS, SimulatedFleet

EXAMPLE = Path(__file__).parents[2] / "examples" / "machines"
DEPLOYMENTS, SETS, MACHINES = (
    f"{plural}.cluster.x-k8s.io" for plural in ("machinedeployments", "machinesets", "machines")
)
SPEC = {"clusterName": "prod", "bootstrap": {}, "infrastructureRef": {}}
THEIRS = {
    "phase": "Running",
    "conditions": [{"type": "Available", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
}


class Machines:
    """A deployment ``workers`` of four Machines."""

    def __init__(self) -> None:
        fleet = load_fleet(str(EXAMPLE / "fleet.yaml")).fleet
        self.world = SimulatedFleet(fleet=fleet, policy=Policy(max_unhealthy=Share(percent=100.0)))
        self.api = self.world.api
        for document in yaml.safe_load_all((EXAMPLE / "crds.yaml").read_text(encoding="utf-8")):
            self.api.create(CRDS, document)
        owner = {"clusterName": "prod", "selector": {}, "template": {}}
        deployment = self._make(DEPLOYMENTS, "workers", owner, None)
        self.api.patch(DEPLOYMENTS, "workers", {"status": THEIRS}, "default", "status")
        owner_set = self._make(SETS, "workers-x", owner, deployment)
        for number in range(4):
            self._make(MACHINES, f"m{number}", SPEC, owner_set)
            self.turn(f"m{number}", "True")

    def _make(self, resource: str, name: str, spec: dict[str, Any], owner: Any) -> dict[str, Any]:
        metadata: dict[str, Any] = {"name": name}
        if owner is not None:
            metadata["ownerReferences"] = [{
                "apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"],
                "uid": owner["metadata"]["uid"], "controller": True,
            }]  # fmt: skip
        return self.api.create(resource, {"metadata": metadata, "spec": spec}, "default").obj

    def turn(self, name: str, status: str) -> None:
        condition = {"type": "NodeHealthy", "status": status, "lastTransitionTime": "2026-01-01T00:00:00Z"}
        self.api.patch(MACHINES, name, {"status": {"conditions": [condition]}}, "default", "status")

    def deployment(self) -> dict[str, Any]:
        return self.api.get(DEPLOYMENTS, "workers", "default").obj

    def told(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.deployment()["metadata"]["annotations"]["muster.dev/fleet"])
        return found

    def note(self, text: str | None) -> None:
        self.api.patch(DEPLOYMENTS, "workers", {"metadata": {"annotations": {"muster.dev/fleet": text}}}, "default")


@pytest.fixture
def machines() -> Machines:
    found = Machines()
    found.world.start()
    found.world.run(5.0)
    return found


def test_the_count_is_in_the_annotation_and_the_status_is_left_alone(machines: Machines) -> None:
    machines.turn("m1", "False")
    machines.turn("m2", "Unknown")
    machines.world.run(2.0)
    told = machines.told()

    assert (told["total"], told["healthy"], told["unhealthy"], told["unknown"]) == (4, 2, 1, 1)
    assert machines.deployment()["status"] == THEIRS
    assert machines.deployment()["metadata"]["generation"] == 1


def test_it_is_written_once_and_read_back_by_the_next_process(machines: Machines) -> None:
    """Else each write would be news of a parent that has changed, and lead to the next."""
    writes = len(machines.world.writer.writes)
    machines.world.run(60.0)

    assert len(machines.world.writer.writes) == writes > 0


@pytest.mark.parametrize("text", [None, "{}", "not json"])
def test_who_spoils_the_annotation_has_it_mended(machines: Machines, text: str | None) -> None:
    before = machines.told()
    machines.note(text)
    machines.world.run(40.0)

    assert machines.told()["healthy"] == before["healthy"] == 4
