"""A reconcile of a fleet's own: what it gets, what it may say, and that it can hold back only."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import pytest
from attrs import evolve
from msgspec import defstruct

from actors.core.decode import BadObject, Decoder
from actors.core.echo import is_news
from actors.core.errors import SettingsError
from actors.core.health import Roll
from actors.core.model import Child as Record
from actors.core.model import Now, ParentKey, ParentSpec, Policy, Share
from actors.core.model import Parent as ParentRecord
from actors.core.model import Plan as EnginePlan
from actors.core.own import RETRY_S
from actors.core.reconcile import Children as EngineChildren
from actors.core.reconcile import reconcile
from actors.core.repairs import Repairs
from actors.fleet import (
    At,
    BadFields,
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

KEY = ParentKey("ns", "pool")
NOW = Now(1000.0, 1_767_225_600.0)
OPEN = Policy(max_unhealthy=Share(percent=100.0))


class PoolSpec(Fields, frozen=True):
    zones_min: Annotated[int, At("spec.zonesMin")] = 2


class Machine(Fields, frozen=True):
    zone: Annotated[str, At("spec.zone")]
    load: Annotated[int | None, At("status.load", quiet=True)] = None


Own = Callable[[Parent[PoolSpec], Children[Any], datetime], Plan]
PARENT = ParentRecord(
    kind="Pool", key=KEY, uid="u", version=5, generation=3, spec=ParentSpec(), status={}, fields="[3]"
)
POD = child_kind("v1", "Pod", parent=[label("p")], health=condition("Ready"), fields={"id": "spec.id"})
MACHINE = child_kind("x.io/v1", "Machine", parent=[label("p")], health=condition("Ready"), fields=Machine)


def machine(name: str, healthy: bool | None, zone: str = "a", load: str = "null", **more: Any) -> Record:
    return Record(
        "Machine",
        "ns",
        name,
        f"uid-{name}",
        1,
        KEY,
        healthy=healthy,
        since="t",
        fields=f'["{zone}"]',
        quiet=f"[{load}]",
        **more,
    )


class World:
    """One parent with its children, looked at by a fleet with that reconcile."""

    def __init__(self, own: Own, *children: Record, policy: Policy = OPEN, parent: ParentRecord = PARENT) -> None:
        kind = parent_kind("x.io/v1", "Pool", fields=PoolSpec)
        self.fleet = fleet("pools", kind, [MACHINE, POD], reconcile=own)
        self.roll, self.repairs = Roll(["Machine", "Pod"], KEY), Repairs("batchRepair")
        self.policy, self.parent = policy, parent
        for child in children:
            self.roll.put(child)

    def look(self, at_s: float = 0.0) -> EnginePlan:
        children = EngineChildren(roll=self.roll, repairs=self.repairs)
        now = Now(NOW.mono_s + at_s, NOW.wall_s + at_s)
        plan = reconcile(self.fleet, self.parent, children, self.policy, now)
        self.parent = evolve(self.parent, status=plan.status)
        self.repairs.record(plan.repairs)
        return plan


def names(plan: EnginePlan) -> list[str]:
    return [item.payload["name"] for item in plan.repairs]


def of(plan: EnginePlan, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in plan.status["conditions"] if each["type"] == name)
    return found


SICK, WELL = machine("m1", False, "a", load="7"), machine("m2", True, "b")
SILENT = machine("m3", True, "c", silent=True)
POD_1 = Record("Pod", "ns", "p1", "uid-p1", 1, KEY, healthy=False, fields='["i-1"]')


# --- what it gets -----------------------------------------------------------------------------------------------------
def test_it_sees_counts_the_sick_and_the_fields_that_are_kept() -> None:
    seen: dict[str, Any] = {}

    def own(pool: Parent[PoolSpec], children: Children[Any], now: datetime) -> Plan:
        machines = children.of(Machine)
        seen["pool"] = (pool.namespace, pool.name, pool.generation, pool.deleting, pool.fields.zones_min, str(pool))
        seen["policy"] = pool.policy
        seen["all"] = (len(children), children.healthy, children.unhealthy, children.unknown)
        seen["machines"] = (len(machines), machines.healthy, machines.unhealthy, machines.unknown)
        seen["sick"] = [(str(each), each.silent, each.repairing, each.fields.load) for each in machines.sick]
        seen["zones"] = sorted(each.fields.zone for each in machines)
        seen["pod"] = [(each.kind, each.name, each.healthy, each.fields["id"]) for each in children.of("Pod")]
        seen["now"] = now
        return Plan()

    World(own, SICK, WELL, SILENT, POD_1).look()

    assert seen == {
        "pool": ("ns", "pool", 3, False, 3, "Pool ns/pool"),
        "policy": OPEN,
        "all": (4, 1, 2, 1),
        "machines": (3, 1, 1, 1),
        "sick": [("Machine/m1", False, False, 7), ("Machine/m3", True, False, None)],
        "zones": ["a", "b", "c"],
        "pod": [("Pod", "p1", False, "i-1")],
        "now": datetime(2026, 1, 1, tzinfo=UTC),
    }


def test_nothing_can_be_changed_through_what_it_gets() -> None:
    raised: list[type[Exception]] = []

    def own(pool: Parent[PoolSpec], children: Children[Any], now: datetime) -> Plan:
        (pod,) = children.of("Pod")
        for act in (
            lambda: setattr(pod, "name", "x"), lambda: setattr(pool, "generation", 9), lambda: pod.fields.update(id=1),
            lambda: setattr(pool.fields, "zones_min", 9), lambda: setattr(children, "healthy", 9),
        ):  # fmt: skip
            try:
                act()
            except (AttributeError, TypeError) as error:
                raised.append(type(error))
        return Plan()

    World(own, POD_1).look()

    assert len(raised) == 5


@pytest.mark.parametrize(
    ("fields", "says"),
    [("[7]", "Expected `str`, got `int` - at `$.zone`"), ("[null]", "Object missing required field `zone`")],
)
def test_fields_of_another_type_are_told_with_the_object(fields: str, says: str) -> None:
    record = Record("Machine", "ns", "m", "uid-m", 1, KEY, healthy=False, fields=fields, quiet="[null]")
    told: list[str] = []

    def own(pool: Parent[PoolSpec], children: Children[Any], now: datetime) -> Plan:
        with pytest.raises(BadFields) as caught:
            _ = children.sick[0].fields
        told.append(str(caught.value))
        return Plan()

    World(own, record).look()

    assert told == [f"Machine/m: its fields are not those of Machine: {says}"]


def test_a_kind_that_is_not_there_is_a_key_error() -> None:
    class Other(Fields, frozen=True):
        x: Annotated[str, At("spec.x")]

    plan = World(lambda pool, children, now: Plan(repair=children.of(Other).sick), SICK).look()

    assert "no child kind of this fleet is called so, or keeps it" in of(plan, "Ready")["message"]


def decoded(spec_at: str | Literal[False], **metadata: Any) -> str:
    """What is kept of a parent whose own settings are there."""
    kind = parent_kind("x.io/v1", "Pool", fields=Wide, settings=spec_at)
    decoder = Decoder(fleet("pools", kind, [POD], reconcile=lambda pool, children, now: Plan()), "Pool")
    pool = {
        "metadata": {"name": "p", "uid": "u", "resourceVersion": "3", "labels": {"tier": "gold"}} | metadata,
        "spec": {"zones": {"min": 3}, "fleet": {"minHealthy": 2, "rank": 7}},
    }
    record, _ = decoder.object(json.dumps(pool).encode())
    assert isinstance(record, ParentRecord)
    assert record.spec.min_healthy == (2 if spec_at == "spec.fleet" else None)
    return record.fields


class Wide(Fields, frozen=True):
    zones_min: Annotated[int, At("spec.zones.min")]
    tier: Annotated[str, At("metadata.labels.tier")]
    rank: Annotated[int, At("spec.fleet.rank")]
    absent: Annotated[int | None, At("spec.fleet.deep.er")] = None


@pytest.mark.parametrize("spec_at", ["spec", "spec.fleet", False])
def test_fields_of_a_parent_are_kept_wherever_its_own_settings_are(spec_at: str | Literal[False]) -> None:
    assert decoded(spec_at) == '[3,"gold",7,null]'


def test_too_much_of_a_parent_is_refused() -> None:
    with pytest.raises(BadObject, match="fields: .* characters of JSON, expected at most 4096"):
        decoded("spec", labels={"tier": "x" * 5000})


@pytest.mark.parametrize("path", ["status.x", "spec..x"])
def test_a_field_of_a_parent_is_of_what_people_write(path: str) -> None:
    wrong = defstruct(
        "Wrong", [("x", Annotated[int | None, At(path)], None)], bases=(Fields,), frozen=True, kw_only=True
    )

    with pytest.raises(SettingsError, match="parent.fields.x: "):
        fleet("pools", parent_kind("x.io/v1", "Pool", fields=wrong), [POD])


def test_another_value_of_such_a_field_is_news() -> None:
    new = evolve(PARENT, version=6, fields="[4]")

    assert is_news(PARENT, new, awaited=False, wished=(), pending=False)
    assert not is_news(PARENT, evolve(new, fields="[3]"), awaited=False, wished=(), pending=False)


# --- what it may say --------------------------------------------------------------------------------------------------
def test_an_empty_plan_is_the_engines_own() -> None:
    own, engine = (
        World(lambda pool, children, now: Plan(), SICK, WELL, SILENT),
        World(lambda *_: Plan(), SICK, WELL, SILENT),
    )
    engine.fleet = evolve(engine.fleet, own=None)

    assert own.look() == engine.look()


def test_it_says_who_is_repaired_and_in_which_order() -> None:
    other = machine("m4", False)
    world = World(lambda pool, children, now: Plan(repair=[each for each in children.sick if each.name != "m1"][::-1]),
                  SICK, WELL, SILENT, other, policy=evolve(OPEN, in_flight_max=1))  # fmt: skip
    plan = world.look()

    assert names(plan) == ["m4"]
    assert plan.left_out == {"uid-m1"}
    assert plan.status["repairing"] == 1
    assert (plan.status["unhealthy"], plan.status["unknown"]) == (2, 1)


def test_what_it_no_longer_wants_is_taken_back_and_what_was_answered_cools_down() -> None:
    wanted = True
    world = World(lambda pool, children, now: Plan(repair=None if wanted else []), SICK)
    first = world.look()
    wanted = False

    assert (names(first), world.look().repairs) == (["m1"], ())

    world.repairs.answered(first.repairs[0].key, NOW.mono_s)
    cooling = world.look(1.0)

    assert (cooling.repairs, cooling.status["repairing"], cooling.look_again_at_s) == ((), 1, None)


def test_it_never_repairs_more_than_the_engine_would() -> None:
    """Neither whom the valve holds nor who is well: its errors are told, and repair nobody."""
    held = World(lambda pool, children, now: Plan(repair=children.sick), SICK, SILENT, policy=evolve(
        OPEN, max_unhealthy=Share(absolute=0))).look()  # fmt: skip
    well = World(lambda pool, children, now: Plan(repair=list(children)), SICK, WELL).look()

    assert (held.repairs, of(held, "RemediationAllowed")["reason"]) == ((), "TooManyUnhealthy")
    assert (well.repairs, of(well, "RemediationAllowed")["reason"]) == ((), "ReconcileFailed")
    assert "found Machine/m2, which is not sick, expected some of children.sick" in of(well, "Ready")["message"]


def test_available_is_its_own_to_say_and_ready_follows() -> None:
    up = False

    def own(pool: Parent[PoolSpec], children: Children[Any], now: datetime) -> Plan:
        return Plan(conditions=[Condition("Available", up, "ZonesUp" if up else "TooFewZones", f"{int(up)} zones")])

    world = World(own, WELL)
    plan = world.look()

    assert (of(plan, "Available")["status"], of(plan, "Available")["reason"]) == ("False", "TooFewZones")
    assert (of(plan, "Ready")["status"], of(plan, "Ready")["message"]) == ("False", "0 zones")
    assert [(note.type, note.reason, note.note) for note in plan.events] == [("Warning", "TooFewZones", "0 zones")]
    assert world.look(1.0).events == ()

    up = True
    again = world.look(2.0)

    assert of(again, "Ready")["status"] == "True"
    assert [(note.type, note.reason) for note in again.events] == [("Normal", "ZonesUp")]


def test_conditions_and_fields_of_its_own_are_written_and_keep_their_time() -> None:
    def own(pool: Parent[PoolSpec], children: Children[Any], now: datetime) -> Plan:
        return Plan(status={"zones": ("a", "b")}, conditions=[Condition("Balanced", None, "Unknown")], look_again_s=5)

    world = World(own, WELL)
    first, second = world.look(), world.look(60.0)

    assert first.status["zones"] == ["a", "b"]
    assert of(second, "Balanced") == of(first, "Balanced")
    assert of(first, "Balanced")["status"] == "Unknown"
    assert second.status == first.status
    assert (first.look_again_at_s, second.look_again_at_s) == (1005.0, 1065.0)


A_WORD: Any = ["word"]  # where something else is expected


# --- what it raises ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("plan", "says"),
    [
        (None, "TypeError: reconcile: found a NoneType, expected a Plan"),
        (Plan(conditions=A_WORD), "TypeError: conditions: found a str, expected a Condition"),
        (Plan(conditions=[Condition("Ready", True, "R")]), "ValueError: conditions: found the type 'Ready', expected one of"),
        (Plan(conditions=[Condition("a b", True, "R")]), "ValueError: conditions: found the type 'a b'"),
        (Plan(conditions=[Condition("A", True, "is up")]), "condition A: found the reason 'is up', expected a word"),
        (Plan(conditions=[Condition("A", True, "R"), Condition("A", True, "R")]), "expected each type once"),
        (Plan(status={"healthy": 3}), "ValueError: status: found healthy, which the engine writes"),
        (Plan(status={"x": {"a": 1}}), "ValueError: status: found a mapping in x, expected single values, or a list"),
        (Plan(status={"x": object()}), "TypeError: Encoding objects of type object is unsupported"),
        (Plan(look_again_s=0), "ValueError: look_again_s: found 0, expected seconds above 0"),
        (Plan(repair=A_WORD), "TypeError: repair: found a str, expected children"),
    ],
)  # fmt: skip
def test_a_plan_that_cannot_be_is_told_and_the_counts_are_written(plan: Any, says: str) -> None:
    found = World(lambda pool, children, now: plan, SICK, WELL).look()

    assert says in of(found, "Ready")["message"]
    assert (found.status["total"], found.status["healthy"], found.repairs) == (2, 1, ())


def test_what_it_raises_is_told_once_tried_again_and_over_when_it_is_over() -> None:
    broken = True

    def own(pool: Parent[PoolSpec], children: Children[Any], now: datetime) -> Plan:
        if broken:
            raise ZeroDivisionError("no zones")
        return Plan()

    world = World(own, SICK)
    plan, again = world.look(), world.look(1.0)

    assert of(plan, "Ready")["reason"] == of(plan, "RemediationAllowed")["reason"] == "ReconcileFailed"
    assert [(note.reason, note.note) for note in plan.events] == [("ReconcileFailed", "ZeroDivisionError: no zones")]
    assert plan.look_again_at_s == NOW.mono_s + RETRY_S
    assert plan.left_out == {"uid-m1"}
    assert plan.failed_in_a_line == "ZeroDivisionError: no zones"
    assert 'in own\n    raise ZeroDivisionError("no zones")' in plan.failed
    assert again.events == ()

    broken = False
    well = world.look(2.0)

    assert (names(well), well.failed, of(well, "Ready")["status"]) == (["m1"], "", "False")
    assert [(note.type, note.reason) for note in well.events] == [("Normal", "RepairsAllowed")]


def test_a_look_from_outside_that_meets_a_change_is_begun_again() -> None:
    """The shell looks while the actor works: what the engine's own mappings raise then is no mistake of the function's."""
    world = World(lambda pool, children, now: Plan(repair=list(children)[:0]), WELL)
    roll: Any = world.roll

    class Growing(dict[str, Record]):
        def items(self) -> Any:
            roll._shelves[f"another {len(roll._shelves)}"] = {}
            return ()

    roll._shelves["Pod"] = Growing()

    with pytest.raises(RuntimeError, match="dictionary changed size during iteration"):
        world.look()


def test_what_ends_a_process_is_not_caught() -> None:
    def own(pool: Parent[PoolSpec], children: Children[Any], now: datetime) -> Plan:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        World(own, SICK).look()
