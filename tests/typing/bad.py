"""Each mistake is on a line of its own, with what mypy says of it: a test compares the two."""

from datetime import datetime
from typing import Annotated, Any

from actors.fleet import (
    At,
    Children,
    Condition,
    Fields,
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


POOL = parent_kind("x.io/v1", "Pool", fields=PoolSpec)
POD = child_kind("v1", "Pod", parent=[label("pool")], health=condition("Ready"))

child_kind("v1", "Pod", parent=[label("a")], helth=condition("Ready"))  # mypy: call-arg
child_kind("v1", "Pod", parent=[label("a")])  # mypy: call-arg
child_kind("v1", "Pod", parent=["a"], health=condition("Ready"))  # mypy: list-item
child_kind("v1", "Pod", parent=[label("a")], health="Ready")  # mypy: arg-type
child_kind("v1", "Pod", parent=[label("a")], health=condition("Ready"), scope="Global")  # mypy: arg-type
child_kind("v1", "Pod", parent=[label("a"), label("b")], parents="all", health=condition("Ready"))  # mypy: arg-type
child_kind("v1", "Pod", parent=[label("a")], health=condition("Ready"), heartbeat=40)  # mypy: arg-type
child_kind("v1", "Pod", parent=[label("a")], health=one_of("status.phase", [1.5]))  # mypy: list-item
child_kind("v1", "Pod", parent=[label("a")], health=condition("Ready"), fields=["spec.id"])  # mypy: arg-type
label("a", namespace="b")  # mypy: call-arg
parent_kind("x.io/v1", "Pool", status={"helthy": "ready"})  # mypy: call-overload
fleet("f", POOL, POD)  # mypy: arg-type
fleet("f", POOL, [POD], settings={"quotas": "10/1s"})  # mypy: typeddict-unknown-key
fleet("f", POOL, [POD], settings={"quota": 10})  # mypy: typeddict-item
fleet("f", POOL, [POD], operations="reboot")  # mypy: call-arg
Machine(zone=3)  # mypy: arg-type
Machine(zon="a")  # mypy: call-arg
Plan(repairs=[])  # mypy: call-arg
Plan(look_again_s="5s")  # mypy: arg-type
Condition("Zones", "True", "Up")  # mypy: arg-type


def reconcile(pool: Parent[PoolSpec], children: Children[Any], now: datetime) -> Plan:
    for machine in children.of(Machine):
        print(machine.fields.zones)  # mypy: attr-defined
        print(machine.helthy)  # mypy: attr-defined
        machine.healthy = True  # mypy: misc
    return Plan(status={"zones": pool.fields.zone_min})  # mypy: attr-defined


def wrong_parent(pool: Parent[Machine], children: Children[Any], now: datetime) -> Plan:
    return Plan()


def wrong_answer(pool: Parent[PoolSpec], children: Children[Any], now: datetime) -> dict[str, int]:
    return {}


fleet("f", POOL, [POD], reconcile=wrong_parent)  # mypy: arg-type
fleet("f", POOL, [POD], reconcile=wrong_answer)  # mypy: arg-type
fleet("f", POOL, [POD], reconcile=lambda pool: Plan())  # mypy: arg-type, misc
