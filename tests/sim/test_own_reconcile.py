"""A fleet with a reconcile of its own, through the whole engine in virtual time: status, repairs, valve, plan, why, errors."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any

import pytest

from actors.core.events import ReconcileFailed
from actors.core.model import ParentKey, Policy, Share
from actors.core.own import RETRY_S
from actors.core.reconcile import rfc3339
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
    parent_kind,
)
from actors.insight.collector import Collector
from actors.ops.definitions import definitions
from actors.sim.harness import CRDS, SimulatedFleet

GROUP = "x.io"
POOLS, MACHINES = f"pools.{GROUP}", f"machines.{GROUP}"
KEY = ParentKey("default", "p")


class PoolSpec(Fields, frozen=True):
    zones_min: Annotated[int, At("spec.zonesMin")] = 2
    tier: Annotated[str, At("metadata.labels.tier")] = "none"


class Machine(Fields, frozen=True):
    zone: Annotated[str, At("spec.zone")]


Own = Callable[[Parent[PoolSpec], Children[Any], datetime], Plan]


def by_zone(pool: Parent[PoolSpec], children: Children[Any], now: datetime) -> Plan:
    """Available by zones; one repair in each zone at a time; none of a pool whose tier is kept."""
    machines = children.of(Machine)
    up = sorted({each.fields.zone for each in machines if each.healthy})
    enough = len(up) >= pool.fields.zones_min
    first = {
        each.fields.zone: each for each in sorted(machines.sick, key=lambda each: (not each.repairing, each.name))[::-1]
    }
    return Plan(
        repair=[] if pool.fields.tier == "kept" else first.values(),
        status={"zones": up},
        conditions=[Condition("Available", enough, "ZonesUp" if enough else "TooFewZones", f"{len(up)} zones are up")],
    )


class Pools:
    """The simulated operator on a fleet with that reconcile, and its users."""

    def __init__(self, own: Own, max_unhealthy: float = 100.0, **parent: Any) -> None:
        machine = child_kind(
            f"{GROUP}/v1", "Machine", parent=[label("pool")], health=condition("Ready"), fields=Machine
        )  # fmt: skip
        self.fleet = fleet(
            "pools", parent_kind(f"{GROUP}/v1", "Pool", fields=PoolSpec, **parent), [machine], reconcile=own
        )
        policy = Policy(max_unhealthy=Share(percent=max_unhealthy), cooldown_s=60.0)
        self.sim = SimulatedFleet(fleet=self.fleet, policy=policy)
        self.api = self.sim.api
        for each in definitions(self.fleet):
            self.api.create(CRDS, each)
        body = {"metadata": {"name": "p", "labels": {"tier": "plain"}}, "spec": {"zonesMin": 2}}
        self.api.create(POOLS, body, "default")
        for number, zone in enumerate("aabbc"):
            body = {"metadata": {"name": f"m{number}", "labels": {"pool": "p"}}, "spec": {"zone": zone}}
            self.api.create(MACHINES, body, "default")
            self.says(number, True)
        self.sim.start()
        self.sim.run(3.0)

    def says(self, number: int, healthy: bool) -> None:
        now = rfc3339(self.sim.world.clock.wall())
        ready = {"type": "Ready", "status": str(healthy), "reason": "Said", "message": "", "lastTransitionTime": now}
        self.api.patch(MACHINES, f"m{number}", {"status": {"conditions": [ready]}}, "default", "status")

    @property
    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.api.get(POOLS, "p", "default").obj["status"]
        return found

    def condition(self, name: str) -> tuple[str, str]:
        return next((each["status"], each["reason"]) for each in self.status["conditions"] if each["type"] == name)

    def why(self, child: str = "") -> str:
        return Collector(self.sim.system).why(KEY, child).first.code


def test_its_status_conditions_and_events_are_written_and_only_what_it_wants_is_repaired() -> None:
    pools = Pools(by_zone)

    assert pools.status["zones"] == ["a", "b", "c"]
    assert pools.condition("Available") == ("True", "ZonesUp")

    for number in range(4):
        pools.says(number, False)
    pools.sim.run(3.0)

    assert sorted(pools.sim.repaired()) == ["m0", "m2"]
    assert (pools.status["zones"], pools.status["healthy"], pools.status["repairing"]) == (["c"], 1, 2)
    assert pools.condition("Available") == ("False", "TooFewZones")
    assert pools.condition("Ready") == ("False", "NotAvailable")
    assert [note.reason for _, note in pools.sim.writer.events] == ["TooFewZones"]
    assert (pools.why("m0"), pools.why("m1"), pools.why()) == ("cooldown", "own-reconcile", "own-reconcile")

    pools.says(0, True)
    pools.sim.run(3.0)

    assert sorted(pools.sim.repaired()) == ["m0", "m1", "m2"]


def test_a_change_of_a_field_that_it_sees_is_a_reason_to_look() -> None:
    pools = Pools(by_zone)
    pools.api.patch(MACHINES, "m4", {"spec": {"zone": "d"}}, "default")
    pools.sim.run(3.0)

    assert pools.status["zones"] == ["a", "b", "d"]

    pools.api.patch(POOLS, "p", {"spec": {"zonesMin": 4}}, "default")
    pools.sim.run(3.0)

    assert pools.condition("Available") == ("False", "TooFewZones")

    pools.api.patch(POOLS, "p", {"metadata": {"labels": {"tier": "kept"}}}, "default")
    pools.says(0, False)
    pools.sim.run(3.0)

    assert (pools.sim.repaired(), pools.why("m0")) == ([], "own-reconcile")


def test_an_event_costs_what_it_costs_without_one() -> None:
    """It runs at looks only: as often as the engine's, and a heartbeat is none."""
    looks: list[int] = []

    def own(pool: Parent[PoolSpec], children: Children[Any], now: datetime) -> Plan:
        looks.append(len(children))
        return Plan()

    pools = Pools(own)
    before = len(looks)
    for _ in range(10):
        pools.api.patch(MACHINES, "m0", {"metadata": {"annotations": {"beat": str(_)}}}, "default")
        pools.sim.run(1.0)

    assert (before, len(looks)) == (len(looks), before)


def test_the_valve_is_the_engines() -> None:
    pools = Pools(lambda pool, children, now: Plan(repair=children.sick), max_unhealthy=50.0)
    for number in range(4):
        pools.says(number, False)
    pools.sim.run(3.0)

    assert pools.sim.repaired() == []
    assert pools.condition("RemediationAllowed") == ("False", "TooManyUnhealthy")
    assert pools.why("m0") == "valve"


def test_a_status_with_names_of_its_own_is_read_back_and_written_once() -> None:
    pools = Pools(by_zone, status={"healthy": "ready", "kinds": None})
    writes = len(pools.sim.writer.writes)
    pools.sim.run(60.0)

    assert (pools.status["ready"], pools.status["zones"]) == (5, ["a", "b", "c"])
    assert len(pools.sim.writer.writes) == writes


def test_what_it_raises_stops_repairs_and_nothing_else_and_is_over_when_it_is_mended() -> None:
    broken = True

    def own(pool: Parent[PoolSpec], children: Children[Any], now: datetime) -> Plan:
        if broken:
            raise RuntimeError("no such zone")
        return Plan()

    pools = Pools(own)
    pools.says(0, False)
    pools.sim.run(3.0)

    assert (pools.status["healthy"], pools.status["unhealthy"], pools.sim.repaired()) == (4, 1, [])
    assert pools.condition("Ready") == pools.condition("RemediationAllowed") == ("False", "ReconcileFailed")
    assert pools.why("m0") == "own-reconcile"
    answer = Collector(pools.sim.system).why(KEY, "m0").first
    assert answer.text == "the fleet's own reconcile raised RuntimeError: no such zone"
    told = pools.sim.world.seen(ReconcileFailed)
    assert [(fact.parent, fact.error) for fact in told][:1] == [("default/p", "RuntimeError: no such zone")]
    assert 'raise RuntimeError("no such zone")' in told[0].traceback
    assert [note.reason for _, note in pools.sim.writer.events] == ["ReconcileFailed"]

    broken = False
    pools.sim.run(RETRY_S + 3.0)

    assert pools.sim.repaired() == ["m0"]
    assert pools.condition("Ready") == ("True", "Ready")


def test_a_field_that_is_none_goes_and_one_that_is_left_out_stays() -> None:
    said: dict[str, Any] = {"a": 1, "b": [{"zone": "x"}], "c": "z"}
    pools = Pools(lambda pool, children, now: Plan(status=said, look_again_s=5.0))
    del said["a"]
    said |= {"b": [], "c": None}
    pools.sim.run(10.0)
    writes = len(pools.sim.writer.writes)
    pools.sim.run(60.0)

    assert [pools.status.get(name) for name in "abc"] == [1, [], None]
    assert len(pools.sim.writer.writes) == writes


def test_looking_again_comes_when_it_was_asked_for() -> None:
    at: list[datetime] = []

    def own(pool: Parent[PoolSpec], children: Children[Any], now: datetime) -> Plan:
        at.append(now)
        return Plan(look_again_s=20.0)

    pools = Pools(own)
    count = len(at)
    pools.sim.run(61.0)

    assert len(at) == count + 3
    assert (at[-1] - at[-3]).total_seconds() == pytest.approx(40.0)


def test_the_same_world_gives_the_same_run() -> None:
    def played() -> list[Any]:
        pools = Pools(by_zone)
        pools.says(1, False)
        pools.sim.run(30.0)
        return [status for _, status in pools.sim.writer.writes]

    assert played() == played()
