"""A fleet and a reconcile of somebody's own, in which mypy finds nothing."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from actors.fleet import (
    At,
    Child,
    Children,
    Condition,
    Fields,
    FleetDefinition,
    Parent,
    Plan,
    child_kind,
    condition,
    fleet,
    label,
    one_of,
    parent_kind,
)


class PoolSpec(Fields, frozen=True):
    zones_min: Annotated[int, At("spec.zonesMin")] = 2


class Machine(Fields, frozen=True):
    zone: Annotated[str, At("spec.zone")]
    slot: Annotated[int | None, At("spec.slot")] = None


def by_slot(machine: Child[Machine]) -> int:
    return machine.fields.slot or 0


def reconcile(pool: Parent[PoolSpec], children: Children[Any], now: datetime) -> Plan:
    machines = children.of(Machine)
    up = {machine.fields.zone for machine in machines if machine.healthy}
    enough = len(up) >= pool.fields.zones_min
    sick: Sequence[Child[Machine]] = machines.sick
    return Plan(
        repair=sorted(sick, key=by_slot),
        status={"zones": sorted(up), "at": now.year},
        conditions=[Condition("Available", enough, "ZonesUp" if enough else "TooFewZones", f"{len(up)} zones")],
        look_again_s=60.0,
    )


machine = child_kind("x.io/v1", "Machine", parent=[label("pool")], health=condition("Ready"), fields=Machine)
pod = child_kind(
    "v1", "Pod", parent=[label("pool")], health=one_of("status.phase", ["Running"]), fields={"n": "spec.n"}
)
pools: FleetDefinition = fleet(
    "pools",
    parent_kind("x.io/v1", "Pool", fields=PoolSpec, status={"healthy": "ready", "kinds": None}),
    [machine, pod],
    settings={"quota": "10/1s", "batchMax": 50},
    reconcile=reconcile,
)
plain = fleet("plain", parent_kind("x.io/v1", "Pool"), [pod])
test_machine = Machine(zone="a", slot=1)
