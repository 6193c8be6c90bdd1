"""A fleet in virtual time for its author's tests: every way to tell health is played, and the operator is the real one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from actors.core.decode import Decoder
from actors.core.errors import SettingsError
from actors.core.fleet import ChildKind, Health
from actors.core.model import Child
from actors.edge.fleet_file import load_fleet
from actors.fleet import (
    MUSTER_FLEET,
    FleetDefinition,
    cel,
    child_kind,
    condition,
    fleet,
    label,
    lease,
    one_of,
    owner,
    parent_kind,
    true,
)
from actors.sim.reports import report
from actors.testing import FleetWorld

FLEETS = Path(__file__).parents[1] / "fleets"


def pools(health: Health, **more: Any) -> FleetDefinition:
    machine = child_kind("x.io/v1", "Machine", parent=[owner(), label("pool")], health=health, heartbeat="status.seen")
    return fleet("pools", parent_kind("x.io/v1", "Pool"), [machine], **more)


WAYS = [
    true("status.ok", turned_condition="Ok"),
    true("status.ok", turned_field="status.since"),
    condition("Ready"),
    condition("Failing", healthy=["False"], unhealthy=["True", "Unknown"]),
    one_of("status.phase", ["Running"], unhealthy=["Failed"], turned_field="status.since"),
    one_of("status.phase", ["Running"]),
    one_of("status.errors", [0, 1]),
    one_of("spec.up", [True]),
]


@pytest.mark.parametrize("health", WAYS)
@pytest.mark.parametrize("healthy", [True, False])
def test_what_is_written_is_read_as_it_was_meant(health: Health, healthy: bool) -> None:
    definition = pools(health)
    kind: ChildKind = definition.children[0]
    obj: dict[str, Any] = {"metadata": {"name": "m", "uid": "u", "resourceVersion": "1", "labels": {"pool": "p"}}}
    patch = report(kind, obj, healthy=healthy, now="2026-01-01T00:00:00Z")
    record, _ = Decoder(definition, "Machine").object(json.dumps(obj | patch).encode())

    assert isinstance(record, Child)
    assert record.healthy is healthy
    assert record.heartbeat == "2026-01-01T00:00:00Z"


def test_a_report_moves_the_time_of_what_turns_and_leaves_the_rest() -> None:
    kind = pools(condition("Ready")).children[0]
    old = {"type": "Old", "status": "True"}
    first = report(kind, {"status": {"conditions": [old]}}, healthy=True, now="t1")
    again = report(kind, first, healthy=True, now="t2")
    turned = report(kind, again, healthy=False, now="t3")

    assert first["status"]["conditions"][0] == old
    assert [each["status"]["conditions"][1]["lastTransitionTime"] for each in (first, again, turned)] == [
        "t1",
        "t1",
        "t3",
    ]
    assert turned["status"]["seen"] == "t3"


def test_of_an_expression_nobody_knows_what_to_write() -> None:
    kind = pools(cel("object.status.n > object.spec.n")).children[0]

    with pytest.raises(ValueError, match="what a Machine writes is not known: its health is an expression"):
        report(kind, {}, healthy=True, now="t")


def test_a_sick_one_is_repaired_in_virtual_time_and_is_well_again() -> None:
    world = FleetWorld(pools(condition("Ready"), item={"id": "{name}"}, operation="reboot"), heal_after_s=5.0)
    world.create("Pool", "blue")
    for number in range(3):
        world.create("Machine", f"m{number}", labels={"pool": "blue"}, healthy=number > 0)
    world.run(1.0)

    assert (world.status("blue")["healthy"], world.status("blue")["repairing"]) == (2, 1)
    assert (world.repaired, world.calls, [each["id"] for each in world.sent]) == (["m0"], 1, ["m0"])
    assert world.why("blue", "m0") == "cooldown"

    world.run(10.0)

    assert (world.status("blue")["healthy"], world.condition("blue", "Ready")["status"]) == (3, "True")
    assert world.why("blue") == "converged"


def test_the_settings_of_the_fleet_are_in_force() -> None:
    world = FleetWorld(pools(condition("Ready"), settings={"maxUnhealthy": "0", "heartbeatTimeout": "10s"}))
    world.create("Pool", "blue")
    world.create("Machine", "m", labels={"pool": "blue"}, healthy=True)
    world.run(5.0)

    assert world.status("blue")["healthy"] == 1

    world.run(20.0)

    assert (world.status("blue")["unknown"], world.repaired) == (1, [])
    assert ("blue", "TooManyUnhealthy") in [each[:2] for each in world.events]


def test_owners_namespaces_changes_and_deletions() -> None:
    world = FleetWorld(pools(condition("Ready")))
    world.create("Pool", "blue", namespace="a")
    world.create("Machine", "m", namespace="a", owner=("Pool", "blue"), status={"other": 1}, healthy=True)
    world.create("Machine", "n", namespace="a", annotations={"x": "y"}, spec={"slot": 3})
    world.run(1.0)

    assert (world.status("blue", namespace="a")["total"], world.status("blue", namespace="a")["unknown"]) == (1, 0)

    world.patch("Machine", "n", {"metadata": {"labels": {"pool": "blue"}}}, namespace="a")
    world.delete("Machine", "m", namespace="a")
    world.run(1.0)

    assert (world.status("blue", namespace="a")["total"], world.status("blue", namespace="a")["unknown"]) == (1, 1)


def test_a_node_lives_by_its_lease() -> None:
    node = child_kind("v1", "Node", scope="Cluster", parent=[label("p")], health=condition("Ready"), heartbeat=lease())
    world = FleetWorld(
        fleet("f", parent_kind("x.io/v1", "Pool", scope="Cluster"), [node], settings={"heartbeatTimeout": "40s"})
    )
    world.create("Pool", "p")
    world.create("Node", "n", labels={"p": "p"}, healthy=True)
    world.run(30.0)
    world.report("Node", "n", True)
    world.run(30.0)

    assert world.status("p")["healthy"] == 1

    world.run(30.0)

    assert (world.status("p")["healthy"], world.repaired) == (0, ["n"])


def test_a_kind_that_the_fleet_has_not_is_named_with_those_that_it_has() -> None:
    with pytest.raises(KeyError, match="the fleet pools has no kind Machin: it has Pool, Machine"):
        FleetWorld(pools(true("status.ok"))).create("Machin", "m")


def test_a_fleet_that_would_be_refused_is_refused_here() -> None:
    with pytest.raises(SettingsError, match="fleet pools: settings.quota: found 'ten'"):
        FleetWorld(pools(true("status.ok"), settings={"quota": "ten"}))


@pytest.mark.parametrize(
    "definition", [MUSTER_FLEET, load_fleet(str(FLEETS / "yard.yaml")).fleet], ids=["muster", "yard"]
)
def test_any_fleet_has_a_world(definition: FleetDefinition) -> None:
    world = FleetWorld(definition)
    world.create(definition.parent.kind, "p")
    world.run(1.0)

    total = definition.status.get("total", "total")
    assert world.status("p")[total] == 0
