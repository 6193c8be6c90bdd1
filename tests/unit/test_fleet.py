"""What a fleet is: its kinds' places on the API server, and the built-in fleet against the definitions that users apply."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from actors.core.builtin import MUSTER_FLEET, _node_type
from actors.core.decode import Decoder
from actors.core.fleet import ChildKind, FieldPath, FleetDefinition, Health, KindRef, Label, OwnerReference
from actors.core.model import Child, ParentKey

CRDS = Path(__file__).parents[2] / "manifests" / "crd"
NODES = ("computenodes", "storagenodes")


def definition(plural: str) -> dict[str, Any]:
    """The CRD of that plural, as applied."""
    found = yaml.safe_load((CRDS / f"muster.dev_{plural}.yaml").read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(
    ("group", "namespaced", "namespace", "name", "path"),
    [
        ("x.io", True, "", "", "/apis/x.io/v1/things"),
        ("x.io", True, "ns", "", "/apis/x.io/v1/namespaces/ns/things"),
        ("x.io", True, "ns", "a", "/apis/x.io/v1/namespaces/ns/things/a"),
        ("x.io", False, "", "a", "/apis/x.io/v1/things/a"),
        ("x.io", False, "ns", "a", "/apis/x.io/v1/things/a"),
        ("", True, "ns", "a", "/api/v1/namespaces/ns/things/a"),
        ("", False, "", "", "/api/v1/things"),
    ],
)
def test_a_kind_has_its_place_on_the_api_server(
    group: str, namespaced: bool, namespace: str, name: str, path: str
) -> None:
    """The core group has a root of its own, and no namespace stands in the path of a cluster-scoped kind."""
    ref = KindRef(group=group, version="v1", kind="Thing", plural="things", namespaced=namespaced)

    assert path == ref.path(namespace, name)
    assert ref.api_version == ("x.io/v1" if group else "v1")


def test_nothing_named_is_the_collection_in_all_namespaces() -> None:
    """What the readers list."""
    assert "/apis/muster.dev/v1alpha1/clusters" == MUSTER_FLEET.parent.path()


@pytest.mark.parametrize("plural", NODES)
def test_a_built_in_node_type_is_what_its_definition_says(plural: str) -> None:
    """Group, version and names as in the CRD; health, heartbeat and the parent's name at fields that it has."""
    crd = definition(plural)["spec"]
    (version,) = crd["versions"]
    fields = version["schema"]["openAPIV3Schema"]["properties"]

    kind = _node_type(crd["names"]["kind"])

    assert kind in MUSTER_FLEET.children
    assert kind.ref == KindRef(
        group=crd["group"], version=version["name"], kind=crd["names"]["kind"], plural=crd["names"]["plural"]
    )
    assert kind.mapping == (
        OwnerReference(),
        Label(key=f"{crd['group']}/cluster"),
        FieldPath(path="spec.clusterRef.name"),
    )
    assert fields["spec"]["properties"]["clusterRef"]["properties"]["name"]["type"] == "string"
    assert kind.health == Health(healthy="status.healthy", heartbeat="status.lastHeartbeatTime", condition="Healthy")
    assert fields["status"]["properties"]["healthy"]["type"] == "boolean"
    assert fields["status"]["properties"]["lastHeartbeatTime"]["format"] == "date-time"


def test_all_the_definitions_are_of_the_built_in_fleet() -> None:
    """No CRD that nobody watches, and no kind watched that nobody defined."""
    defined = {definition(file.stem.partition("_")[2])["spec"]["names"]["kind"] for file in CRDS.glob("muster.dev_*")}

    assert defined == {ref.kind for ref in MUSTER_FLEET.kinds}


def test_a_node_type_reads_what_an_agent_writes() -> None:
    """From the wire: health, heartbeat, the transition's instant, and the label before the field."""
    kind = _node_type("AnyNode")
    fleet = FleetDefinition(name="f", parent=MUSTER_FLEET.parent, children=(kind,))
    node = {
        "metadata": {"name": "n", "namespace": "ns", "uid": "u", "resourceVersion": "3",
                     "labels": {"muster.dev/cluster": "by-label"}},
        "spec": {"clusterRef": {"name": "by-field"}},
        "status": {"healthy": False, "lastHeartbeatTime": "h", "conditions": [
            {"type": "Ready", "lastTransitionTime": "other"}, {"type": "Healthy", "lastTransitionTime": "t"}]},
    }  # fmt: skip

    record, claims = Decoder(fleet, "AnyNode").object(json.dumps(node).encode())

    assert record == Child("AnyNode", "ns", "n", "u", 3, ParentKey("ns", "by-label"), False, "t", "h")
    assert claims == ("by-label", "by-field")


def child_kind(name: str) -> ChildKind:
    ref = KindRef(group="x.io", version="v1", kind=name, plural=name.lower())
    return ChildKind(ref=ref, mapping=(OwnerReference(),), health=Health(healthy="ok"))


PARENT = KindRef(group="x.io", version="v1", kind="Parent", plural="parents")


@pytest.mark.parametrize("names", [(), ("A", "A"), ("Parent",), ("A", "Parent")])
def test_a_fleet_whose_kinds_cannot_be_told_apart_is_refused(names: tuple[str, ...]) -> None:
    """Records are kept by kind, so two of one name would overwrite each other; and a fleet without children is none."""
    with pytest.raises(ValueError, match=r"fleet f: the kinds must differ .* found \['Parent'"):
        FleetDefinition(name="f", parent=PARENT, children=tuple(child_kind(name) for name in names))


def test_the_kinds_of_a_fleet_are_found_by_name() -> None:
    """The parent's first: its watcher starts first."""
    fleet = FleetDefinition(name="f", parent=PARENT, children=(child_kind("A"), child_kind("B")))

    assert ["Parent", "A", "B"] == [ref.kind for ref in fleet.kinds]
    assert fleet.child("B") is fleet.children[1]
    with pytest.raises(KeyError, match="Parent"):
        fleet.child("Parent")
