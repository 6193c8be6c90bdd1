"""A fleet declared in Python: the same definition as a file's, held to the same rules, by the same words."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pytest

import actors.fleet as public
from actors.core.builtin import MUSTER_FLEET
from actors.core.declare import FleetSettings, StatusNames
from actors.core.errors import SettingsError
from actors.core.fleet import STATUS_FIELDS, Field
from actors.edge.fleet_file import load_fleet, print_fleet
from actors.edge.fleet_python import checked, fleet_of
from actors.edge.fleet_types import SETTINGS
from actors.edge.settings_load import load
from actors.fleet import At, Fields, child_kind, condition, fleet, label, lease, owner, parent_kind, true

FLEETS = Path(__file__).parents[1] / "fleets"
POOL = parent_kind("x.io/v1", "Pool")
POD = child_kind("v1", "Pod", parent=[label("pool")], health=condition("Ready"))


def problems(**changes: Any) -> list[str]:
    """What is said of a fleet in which something is otherwise."""
    child: dict[str, Any] = {"parent": [label("pool")], "health": condition("Ready")}
    child |= {name: value for name, value in changes.items() if name not in ("parent_kind", "whole")}
    with pytest.raises(SettingsError) as caught:
        checked(
            fleet("f", changes.get("parent_kind", POOL), [child_kind("v1", "Pod", **child)], **changes.get("whole", {}))
        )
    return str(caught.value).splitlines()


def test_whatever_a_file_can_say_can_be_said_in_python() -> None:
    assert fleet_of(f"{FLEETS / 'everything.py'}:everything").fleet == load_fleet(str(FLEETS / "everything.yaml")).fleet


def test_the_built_in_fleet_is_one_that_a_file_could_say() -> None:
    assert checked(MUSTER_FLEET) == MUSTER_FLEET
    assert MUSTER_FLEET.own is None


def test_the_settings_of_a_fleet_are_those_of_its_file() -> None:
    """mypy knows a wrong one by this type; what it says is read by the operator's own loader."""
    assert set(SETTINGS) == set(FleetSettings.__annotations__)
    assert set(STATUS_FIELDS) == set(StatusNames.__annotations__)


def test_every_public_name_is_there_and_says_what_it_is() -> None:
    undocumented = [name for name in public.__all__ if callable(each := getattr(public, name)) and not each.__doc__]

    assert undocumented == []
    assert (
        sorted(public.__all__, key=lambda name: (name != "MUSTER_FLEET", not name[0].isupper(), name)) == public.__all__
    )


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"parent": []}, "children[0].parent: found no way to find a parent"),
        ({"parent": [label("a"), label("a")]}, "children[0].parent[1]: found the same as before"),
        ({"health": true("status..ok")}, "children[0].health.field: "),
        ({"fields": {"a b": "spec.x"}}, "children[0].fields.a b: found the name 'a b'"),
        ({"whole": {"item": {"id": "{fields.id}"}}}, "repair.item.id: found {fields.id}, expected one of"),
        ({"parent_kind": parent_kind("x.io/v1", "Pod")}, "the kinds must differ"),
        ({"scope": "Cluster", "parent": [owner()]}, "children[0].parent[0].owner: found an owner reference"),
        ({"parents": "all", "parent": [owner(), label("p")]}, "children[0].parents: found 'all', expected First or All: did"),
        ({"parents": True, "parent": [owner(), label("p")]}, "children[0].parents: found True, expected First or All"),
        ({"parents": "All"}, "children[0].parents: found All, and one way to find a parent, which never names two"),
        # What a file's types say, and no rule of a definition:
        ({"parent_kind": parent_kind("x.io", "Pool")}, "parent.apiVersion: found 'x.io', expected GROUP/VERSION"),
        ({"parent_kind": parent_kind("x.io/v1", "pool")}, "parent.kind: found 'pool', expected a kind in CamelCase"),
        ({"whole": {"settings": {"quota": "ten"}}}, "settings.quota: found 'ten'"),
        ({"whole": {"settings": {"quotas": "1/1s"}}}, "settings.quotas: there is no such field: did you mean quota?"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_as_of_a_file(changes: dict[str, Any], says: str) -> None:
    found = problems(**changes)

    assert [line for line in found if says in line], found
    assert all(line.startswith("fleet") for line in found)


def test_settings_are_read_as_people_write_them() -> None:
    found = checked(fleet("f", POOL, [POD], settings={"repairEnabled": False, "batchMax": 7, "cooldown": "300s"}))

    assert found.settings == {"repairEnabled": "false", "batchMax": "7", "cooldown": "5m"}


def test_leases_of_cluster_scoped_children_are_where_kubelets_renew_them() -> None:
    node = child_kind("v1", "Node", scope="Cluster", parent=[label("p")], health=condition("Ready"), heartbeat=lease())

    assert node.health.heartbeat == public.Lease(namespace="kube-node-lease")


class Machine(Fields, frozen=True):
    """As a user writes it."""

    zone: Annotated[str, At("spec.zone")]
    load: Annotated[int | None, At("status.load", quiet=True)] = None


def test_a_class_of_fields_is_what_is_kept() -> None:
    made = child_kind("v1", "Pod", parent=[label("p")], health=condition("Ready"), fields=Machine)

    assert made.fields == (Field(name="zone", path="spec.zone"), Field(name="load", path="status.load", quiet=True))
    assert made.view is Machine


def test_a_class_of_fields_without_paths_is_refused() -> None:
    class Bare(Fields, frozen=True):
        zone: str

    class Other:
        pass

    where = At("spec.x")

    class Within(Fields, frozen=True):
        x: Annotated[int, where]

    with pytest.raises(
        SettingsError, match=r"Within: its types cannot be read \(name 'where' is not defined\): define it at"
    ):
        child_kind("v1", "Pod", parent=[], health=condition("Ready"), fields=Within)

    with pytest.raises(
        SettingsError, match=r'Bare\.zone: found no path, expected Annotated\[TYPE, At\("spec\.zone"\)\]'
    ):
        child_kind("v1", "Pod", parent=[], health=condition("Ready"), fields=Bare)
    other: Any = Other
    with pytest.raises(SettingsError, match="found Other, expected a class of actors.fleet.Fields"):
        child_kind("v1", "Pod", parent=[], health=condition("Ready"), fields=other)


def test_a_fleet_in_python_is_loaded_wherever_a_file_is(tmp_path: Path) -> None:
    """With its settings beneath a flag, and their origin named."""
    name = f"{FLEETS / 'everything.py'}:everything"

    loaded = load({"fleet": name, "batch-max": "9"}, {})

    assert loaded.fleet == load_fleet(str(FLEETS / "everything.yaml")).fleet
    assert (loaded.settings.batch_max, loaded.settings.quota.calls) == (9, 100)
    assert (loaded.origins["quota"], loaded.origins["batch-max"]) == (name, "flag --batch-max")
    assert load({}, {"MUSTER_FLEET": name}).fleet == loaded.fleet


@pytest.mark.parametrize("file", ["everything", "yard"])
def test_a_fleet_of_a_file_is_itself_again(file: str) -> None:
    found = load_fleet(str(FLEETS / f"{file}.yaml")).fleet

    assert checked(found) == found
    assert print_fleet(checked(found)) == print_fleet(found)
