"""How else a child may say that it is well, whose it is, and what else is kept of it: from the wire to the record."""

from __future__ import annotations

import json
from typing import Any

import pytest
from attrs import evolve

from actors.core.between import between, through
from actors.core.decode import BadObject, Decoder
from actors.core.fleet import (
    ANYWHERE,
    Annotation,
    ChildKind,
    ConditionIs,
    Expression,
    Field,
    FieldIn,
    FieldPath,
    FleetDefinition,
    Health,
    KindRef,
    Label,
    Mapping,
    NamespaceName,
    OwnerReference,
)
from actors.core.model import Child, Parent, ParentKey

PARENT = KindRef(group="x.io", version="v1", kind="Pool", plural="pools")
READY = {"type": "Ready", "status": "True", "lastTransitionTime": "t1", "lastHeartbeatTime": "h"}


def decoder(
    health: Health, *, mapping: tuple[Mapping, ...] = (Label(key="pool"),), fields: tuple[Field, ...] = (),
    parent: KindRef = PARENT,
) -> Decoder:  # fmt: skip
    ref = KindRef(group="", version="v1", kind="Node", plural="nodes")
    child = ChildKind(ref=ref, mapping=mapping, health=health, fields=fields)
    return Decoder(FleetDefinition(name="f", parent=parent, children=(child,)), "Node")


def node(status: Any = None, *, namespace: str = "ns", **more: Any) -> bytes:
    metadata = {"name": "n", "namespace": namespace, "uid": "u", "resourceVersion": "7", **more.pop("metadata", {})}
    return json.dumps({"metadata": metadata, "status": status, **more}).encode()


def read(decoder: Decoder, raw: bytes) -> Child:
    found, _ = decoder.object(raw)
    assert isinstance(found, Child)
    return found


def conditions(**statuses: str) -> dict[str, Any]:
    return {"conditions": [{**READY, "type": name, "status": status} for name, status in statuses.items()]}


# --- health -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (conditions(Other="False", Ready="True"), (True, "t1")),
        (conditions(Ready="False", Other="True"), (False, "t1")),
        (conditions(Ready="Unknown"), (None, "t1")),
        (conditions(Other="True"), (None, "")),
        ({"conditions": None}, (None, "")),
        ({}, (None, "")),
        (None, (None, "")),
    ],
)
def test_by_the_status_of_a_condition(status: Any, expected: tuple[bool | None, str]) -> None:
    """Its own lastTransitionTime says since when; Unknown is what Kubernetes means by it."""
    found = read(decoder(Health(healthy=ConditionIs(type="Ready"))), node(status))

    assert (found.healthy, found.since) == expected


def test_a_condition_whose_bad_status_is_true_and_another_that_says_since_when() -> None:
    how = ConditionIs(type="DiskPressure", healthy=("False",), unhealthy=("True", "Unknown"))
    status = conditions(DiskPressure="Unknown")
    status["conditions"].append({"type": "Turned", "lastTransitionTime": "t2"})

    found = read(decoder(Health(healthy=how, condition="Turned")), node(status))

    assert (found.healthy, found.since) == (False, "t2")


@pytest.mark.parametrize(
    ("how", "value", "expected"),
    [
        (FieldIn(path="status.phase", healthy=("Running",)), "Running", True),
        (FieldIn(path="status.phase", healthy=("Running",)), "Failed", False),
        (FieldIn(path="status.phase", healthy=("Running",)), None, None),
        (FieldIn(path="status.phase", healthy=("Running",), unhealthy=("Failed",)), "Pending", None),
        (FieldIn(path="status.phase", healthy=(1,)), 1, True),
        (FieldIn(path="status.phase", healthy=(1,)), 1.0, True),
        (FieldIn(path="status.phase", healthy=(1,)), True, False),
        (FieldIn(path="status.phase", healthy=(True,)), 1, False),
    ],
)
def test_by_the_value_of_a_field(how: FieldIn, value: Any, expected: bool | None) -> None:
    found = read(decoder(Health(healthy=how, since="status.at")), node({"phase": value, "at": "t9"}))

    assert (found.healthy, found.since) == (expected, "t9")


def test_a_value_that_is_none_of_one_is_refused_with_its_place() -> None:
    with pytest.raises(BadObject, match=r"Node ns/n: status.phase: found \['Running'\], expected one value"):
        read(decoder(Health(healthy=FieldIn(path="status.phase", healthy=("Running",)))), node({"phase": ["Running"]}))


CEL = "object.status.conditions.exists(c, c.type == 'Ready' && c.status == 'True') && object.spec.on"


@pytest.mark.parametrize(
    ("status", "on", "expected"),
    [
        (conditions(Ready="True"), True, True),
        (conditions(Ready="True"), False, False),
        (conditions(Ready="False"), True, False),
        ({}, True, None),
        (conditions(Ready="True"), None, None),
    ],
)
def test_by_an_expression_beside_a_condition_that_says_since_when(status: Any, on: Any, expected: bool | None) -> None:
    """Both look at status.conditions; what the expression needs and is not there makes it unknown."""
    found = read(decoder(Health(healthy=Expression(cel=CEL), condition="Ready")), node(status, spec={"on": on}))

    assert (found.healthy, found.since) == (expected, "t1" if status else "")


def test_an_expression_sees_what_others_have_read_already() -> None:
    """A label that maps is read as text, a heartbeat too."""
    cel = "object.metadata.labels['pool'] == 'p' && object.status.beat == 'h'"
    found = read(
        decoder(Health(healthy=Expression(cel=cel), heartbeat="status.beat")),
        node({"beat": "h"}, metadata={"labels": {"pool": "p"}}),
    )

    assert (found.healthy, found.heartbeat, found.parent) == (True, "h", ParentKey("ns", "p"))


@pytest.mark.parametrize("cel", ["object.status == 1", "object.status.beat.x == 1"])
def test_an_expression_over_what_is_read_otherwise_is_refused(cel: str) -> None:
    with pytest.raises(ValueError, match="as a whole, or within what is read as a whole: expected the single fields"):
        decoder(Health(healthy=Expression(cel=cel), heartbeat="status.beat"))


def test_an_expression_that_fails_on_an_object_refuses_that_object() -> None:
    with pytest.raises(BadObject, match="the CEL expression for health: No such overload"):
        read(decoder(Health(healthy=Expression(cel="object.status.ready > 1"))), node({"ready": "two"}))
    with pytest.raises(BadObject, match="gave 'two', expected true, false or null"):
        read(decoder(Health(healthy=Expression(cel="object.status.ready"))), node({"ready": "two"}))


# --- whose it is ------------------------------------------------------------------------------------------------------
OK = Health(healthy="status.ok")
OWNED = {"ownerReferences": [{"apiVersion": "x.io/v1", "kind": "Pool", "name": "by-owner", "controller": True}]}


@pytest.mark.parametrize(
    ("mapping", "metadata", "expected"),
    [
        ((Annotation(key="x.io/pool"),), {"annotations": {"x.io/pool": "p"}}, ParentKey("ns", "p")),
        ((Annotation(key="x.io/pool"),), {}, None),
        ((NamespaceName(),), {}, ParentKey("ns", "ns")),
        ((NamespaceName(namespace="pools"),), {}, ParentKey("pools", "ns")),
        ((Label(key="pool", namespace="pools"),), {"labels": {"pool": "p"}}, ParentKey("pools", "p")),
        ((Annotation(key="a", namespace=ANYWHERE),), {"annotations": {"a": "far/p"}}, ParentKey("far", "p")),
        ((Annotation(key="a", namespace=ANYWHERE),), {"annotations": {"a": "p"}}, ParentKey("ns", "p")),
        ((Annotation(key="a"),), {"annotations": {"a": "far/p"}}, ParentKey("ns", "far/p")),
        ((FieldPath(path="metadata.labels['x.io/a.b']"),), {"labels": {"x.io/a.b": "p"}}, ParentKey("ns", "p")),
        ((Label(key="pool"), NamespaceName()), {"labels": {"pool": "p"}}, ParentKey("ns", "p")),
        ((Label(key="pool"), NamespaceName()), {}, ParentKey("ns", "ns")),
        ((NamespaceName(), OwnerReference()), OWNED, ParentKey("ns", "ns")),
        ((OwnerReference(), NamespaceName()), OWNED, ParentKey("ns", "by-owner")),
    ],
)
@pytest.mark.parametrize("health", [OK, Health(healthy=ConditionIs(type="Ready"))], ids=["plain", "any"])
def test_the_first_mapping_that_is_there_wins(
    mapping: tuple[Mapping, ...], metadata: Any, expected: ParentKey | None, health: Health
) -> None:
    """A parent in another namespace only where the definition says so: else it is a name that no parent has."""
    found = read(decoder(health, mapping=mapping), node({}, metadata=metadata))

    assert (found.parent, found.namespace) == (expected, "ns")


SET = KindRef(group="apps", version="v1", kind="ReplicaSet", plural="replicasets")
SET_OWNED = {"ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "s", "controller": True}]}


@pytest.mark.parametrize(
    ("mapping", "metadata", "expected"),
    [
        ((OwnerReference(through=SET), Label(key="pool")), SET_OWNED, through("ns", "s", None)),
        ((OwnerReference(through=SET), NamespaceName()), SET_OWNED, through("ns", "s", ParentKey("ns", "ns"))),
        ((NamespaceName(), OwnerReference(through=SET)), SET_OWNED, ParentKey("ns", "ns")),
        ((OwnerReference(through=SET), NamespaceName()), OWNED, ParentKey("ns", "ns")),
        ((OwnerReference(through=SET), OwnerReference()), OWNED, ParentKey("ns", "by-owner")),
        ((OwnerReference(through=evolve(SET, namespaced=False)),), SET_OWNED, through("", "s", None)),
        ((OwnerReference(through=evolve(SET, group="x.io")),), SET_OWNED, None),
    ],
)
def test_where_an_owner_stands_between_the_key_says_so(
    mapping: tuple[Mapping, ...], metadata: Any, expected: ParentKey | None
) -> None:
    """With the parent to fall back on; a way before it that is there wins."""
    found = read(decoder(OK, mapping=mapping), node({}, metadata=metadata))

    assert (found.parent, found.namespace) == (expected, "ns")
    assert between(expected) is None or between(expected) == between(found.parent)


def test_names_that_differ_in_their_namespace_are_told_with_it() -> None:
    mapping = (Label(key="pool", namespace="pools"), NamespaceName())
    _, claims = decoder(OK, mapping=mapping).object(node({}, metadata={"labels": {"pool": "ns"}}))

    assert claims == ("pools/ns", "ns")


def test_a_cluster_scoped_parent_has_no_namespace_whatever_the_mapping_says() -> None:
    zone = KindRef(group="x.io", version="v1", kind="Zone", plural="zones", namespaced=False)
    found = read(decoder(OK, mapping=(NamespaceName(namespace="pools"),), parent=zone), node({}))

    assert found.parent == ParentKey("", "ns")


# --- what else is kept ------------------------------------------------------------------------------------------------
FIELDS = (
    Field(name="slot", path="spec.slot"), Field(name="load", path="status.load", quiet=True),
    Field(name="zone", path="metadata.labels['topology.kubernetes.io/zone']"),
)  # fmt: skip


def test_further_fields_are_kept_in_their_order_apart_from_the_quiet_ones() -> None:
    raw = node({"load": 0.5}, spec={"slot": {"rack": 1}}, metadata={"labels": {"topology.kubernetes.io/zone": "a"}})

    found = read(decoder(OK, fields=FIELDS), raw)

    assert (json.loads(found.fields), json.loads(found.quiet)) == ([{"rack": 1}, "a"], [0.5])


def test_a_field_that_would_fill_the_memory_is_refused() -> None:
    with pytest.raises(BadObject, match="fields: 5004 characters of JSON, expected at most 4096"):
        read(decoder(OK, fields=FIELDS[:1]), node({}, spec={"slot": "x" * 5000}))


# --- parents ----------------------------------------------------------------------------------------------------------
def parent(fleet: FleetDefinition, **parts: Any) -> Parent:
    metadata = {"name": "p", "namespace": "ns", "uid": "u", "resourceVersion": "7"}
    found, _ = Decoder(fleet, "Pool").object(json.dumps({"metadata": metadata, **parts}).encode())
    assert isinstance(found, Parent)
    return found


def pools(**changes: Any) -> FleetDefinition:
    ref = KindRef(group="", version="v1", kind="Node", plural="nodes")
    child = ChildKind(ref=ref, mapping=(Label(key="pool"),), health=OK)
    return FleetDefinition(name="f", parent=PARENT, children=(child,), **changes)


def test_a_parents_own_settings_are_where_the_definition_says() -> None:
    below = parent(pools(spec="spec.fleet"), spec={"paused": "no", "fleet": {"minHealthy": 2, "paused": "maybe"}})

    assert below.spec.min_healthy == 2
    assert below.spec.problems == ("spec.fleet.paused: found 'maybe', expected true or false",)
    assert parent(pools(spec=""), spec={"paused": "no"}).spec.problems == ()


def test_a_status_is_read_by_the_names_that_the_definition_gives_it() -> None:
    """A field of somebody else's that has a name of ours is not ours."""
    found = parent(pools(status={"healthy": "ready", "kinds": ""}), status={"ready": 3, "healthy": "me", "total": 4})

    assert found.status == {"healthy": 3, "total": 4}
