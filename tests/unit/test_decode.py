"""Decoding: what is read, what is refused and how it is named, one object at a time."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from actors.core.builtin import MUSTER_FLEET
from actors.core.decode import BadObject, Bookmark, Decoder, Refusal, read_spec
from actors.core.errors import Undecodable
from actors.core.fleet import ChildKind, FieldPath, FleetDefinition, Health, KindRef, Label, OwnerReference
from actors.core.model import SILENT, Child, Parent, ParentKey, ParentSpec, Share
from actors.core.quantity import rfc3339_s

OWNER = {"apiVersion": "muster.dev/v1alpha1", "kind": "Cluster", "name": "by-owner", "uid": "p", "controller": True}


def node(**changes: Any) -> dict[str, Any]:
    obj: dict[str, Any] = {
        "apiVersion": "muster.dev/v1alpha1",
        "kind": "ComputeNode",
        "metadata": {"name": "n1", "namespace": "ns", "uid": "u1", "resourceVersion": "12"},
        "spec": {"clusterRef": {"name": "c1"}},
        "status": {
            "healthy": True,
            "lastHeartbeatTime": "2026-01-01T00:00:00.5Z",
            "conditions": [
                {"type": "Other", "lastTransitionTime": "no"},
                {"type": "Healthy", "status": "True", "lastTransitionTime": "2025-12-31T00:00:00Z"},
            ],
        },
    }
    for path, value in changes.items():
        *above, last = path.split("__")
        target = obj
        for part in above:
            target = target.setdefault(part, {})
        target[last] = value
    return obj


def line(type_: str, obj: Any) -> bytes:
    return json.dumps({"type": type_, "object": obj}).encode()


@pytest.fixture
def decoder() -> Decoder:
    return Decoder(MUSTER_FLEET, "ComputeNode")


def child(decoder: Decoder, obj: Any) -> Child:
    return read(decoder, obj)[0]


def read(decoder: Decoder, obj: Any) -> tuple[Child, tuple[str, ...]]:
    found = decoder.event(line("MODIFIED", obj))
    assert isinstance(found, tuple)
    record = found[1]
    assert isinstance(record, Child)
    return record, found[2]


def test_a_child_is_read_from_a_line_and_from_a_list_alike(decoder: Decoder) -> None:
    expected = Child(
        kind="ComputeNode", namespace="ns", name="n1", uid="u1", version=12, parent=ParentKey("ns", "c1"), healthy=True,
        since="2025-12-31T00:00:00Z", heartbeat="2026-01-01T00:00:00.5Z",
    )  # fmt: skip

    assert child(decoder, node()) == expected
    assert decoder.object(json.dumps(node()).encode()) == (expected, ())
    assert decoder.object(msgspec.Raw(json.dumps(node()).encode())) == (expected, ())


@pytest.mark.parametrize("status", [None, {}, {"healthy": None}, {"healthy": None, "conditions": None}])
def test_a_child_that_never_reported_has_no_health(decoder: Decoder, status: object) -> None:
    found = child(decoder, node(status=status))

    assert (found.healthy, found.heartbeat) == (None, "")


@pytest.mark.parametrize(
    ("changes", "expected", "claims"),
    [
        ({"metadata__ownerReferences": [OWNER]}, "by-owner", ("by-owner", "c1")),
        ({"metadata__ownerReferences": [OWNER], "spec": {}}, "by-owner", ()),
        ({"metadata__ownerReferences": [OWNER | {"controller": False}]}, "c1", ()),
        ({"metadata__ownerReferences": [OWNER | {"controller": None}]}, "c1", ()),
        ({"metadata__ownerReferences": [OWNER | {"kind": "Other"}]}, "c1", ()),
        ({"metadata__ownerReferences": [OWNER | {"apiVersion": "cluster.x-k8s.io/v1"}]}, "c1", ()),
        ({"metadata__ownerReferences": [OWNER | {"apiVersion": "muster.dev/v2"}], "spec": None}, "by-owner", ()),
        ({"metadata__labels": {"muster.dev/cluster": "by-label", "x": "y"}}, "by-label", ("by-label", "c1")),
        ({"metadata__labels": {"muster.dev/cluster": "c1"}}, "c1", ()),
        ({"metadata__labels": {"muster.dev/cluster": ""}}, "c1", ()),
        ({"metadata__labels": None, "metadata__ownerReferences": None}, "c1", ()),
        (
            {"metadata__labels": {"muster.dev/cluster": "by-label"}, "metadata__ownerReferences": [OWNER]},
            "by-owner",
            ("by-owner", "by-label", "c1"),
        ),
        ({"spec": {"clusterRef": None}}, None, ()),
    ],
)
def test_the_first_mapping_that_is_there_names_the_parent(
    decoder: Decoder, changes: dict[str, Any], expected: str | None, claims: tuple[str, ...]
) -> None:
    record, claimed = read(decoder, node(**changes))

    assert record.parent == (ParentKey("ns", expected) if expected else None)
    assert claimed == claims


@pytest.mark.parametrize(
    ("bad", "place", "uid", "version", "why"),
    [
        (line("MODIFIED", node(status__healthy="yes")), "ComputeNode ns/n1", "u1", 12, "status.healthy"),
        (line("MODIFIED", node(metadata__resourceVersion="abc")), "ComputeNode ns/n1", "u1", 0, "resourceVersion"),
        (line("MODIFIED", node(metadata__resourceVersion=None)), "ComputeNode ns/n1", "u1", 0, "resourceVersion"),
        (line("MODIFIED", node(metadata__uid=None)), "ComputeNode ns/n1", "", 12, "metadata.uid"),
        (line("MODIFIED", node(metadata__uid=7)), "ComputeNode ns/n1", "", 12, "metadata.uid"),
        (line("MODIFIED", node(spec=[1])), "ComputeNode ns/n1", "u1", 12, "spec"),
        (line("MODIFIED", {"spec": {}}), "ComputeNode (unreadable", "", 0, "metadata"),
        (line("MODIFIED", 7), "ComputeNode (unreadable", "", 0, "object"),
        (line("PATCHED", node()), "ComputeNode ns/n1", "u1", 12, "PATCHED"),
        (line("MODIFIED", node())[:-40], "ComputeNode (unreadable", "", 0, "truncated"),
        (line("MODIFIED", node()).replace(b"c1", b"\xff\xfe"), "ComputeNode ns/n1", "u1", 12, "utf-8"),
        (b"[]", "ComputeNode (unreadable", "", 0, ""),
        (b"\x00\xff", "ComputeNode (unreadable", "", 0, ""),
        (b'{"type":"ADDED","object":' + b"[" * 100_000, "ComputeNode (unreadable", "", 0, ""),
        (b'{"object":{"metadata":' + b'{"a":' * 100_000, "ComputeNode (unreadable", "", 0, ""),
    ],
)
def test_a_bad_object_is_named_as_far_as_it_can_be_read(
    decoder: Decoder, bad: bytes, place: str, uid: str, version: int, why: str
) -> None:
    with pytest.raises(BadObject) as caught:
        decoder.event(bad)

    found = caught.value
    assert found.place.startswith(place)
    assert (found.uid, found.version) == (uid, version)
    assert why.lower() in found.why.lower()
    assert len(str(found)) < 500


def test_a_bad_deletion_is_known_as_one(decoder: Decoder) -> None:
    with pytest.raises(BadObject) as caught:
        decoder.event(line("DELETED", node(status__healthy=3)))

    assert (caught.value.type, caught.value.uid) == ("DELETED", "u1")


def test_a_bad_object_does_not_spoil_its_page(decoder: Decoder) -> None:
    body = json.dumps({
        "kind": "ComputeNodeList",
        "metadata": {"resourceVersion": "77", "continue": "more"},
        "items": [node(), node(status__healthy="?"), 5],
    })  # fmt: skip

    page = decoder.page(body.encode())
    names = []
    for item in page.items:
        try:
            names.append(decoder.object(item)[0].name)
        except BadObject as bad:
            names.append(bad.place)

    assert (page.version, page.continue_token) == (77, "more")
    assert names[:2] == ["n1", "ComputeNode ns/n1"]
    assert names[2].startswith("ComputeNode (unreadable")


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"{}", b'{"metadata":{},"items":[]}', b'{"metadata":{"resourceVersion":"x"}}']
)
def test_a_page_that_is_none_is_refused(decoder: Decoder, body: bytes) -> None:
    with pytest.raises(Undecodable, match="list of computenodes"):
        decoder.page(body)


def test_bookmarks_and_refusals_are_told_from_objects(decoder: Decoder) -> None:
    end = {
        "kind": "ComputeNode",
        "metadata": {"resourceVersion": "9", "annotations": {"k8s.io/initial-events-end": "true"}},
    }
    status = {
        "kind": "Status",
        "metadata": {},
        "status": "Failure",
        "code": 410,
        "reason": "Expired",
        "message": "too old",
    }
    throttled = status | {"code": 429, "reason": "TooManyRequests", "details": {"retryAfterSeconds": 3}}

    assert decoder.event(line("BOOKMARK", {"metadata": {"resourceVersion": "9"}})) == Bookmark(9)
    assert decoder.event(line("BOOKMARK", end)) == Bookmark(9, initial_end=True)
    assert decoder.event(line("ERROR", status)) == Refusal(410, "Expired", "too old")
    assert decoder.event(line("ERROR", throttled)) == Refusal(429, "TooManyRequests", "too old", 3.0)
    assert decoder.event(line("ERROR", "what")) == Refusal(500, "", "")


def test_a_parent_is_read_and_its_bad_fields_are_named() -> None:
    decoder = Decoder(MUSTER_FLEET, "Cluster")
    obj = node(
        kind="Cluster", metadata__generation=4, metadata__deletionTimestamp="2026-01-01T00:00:00Z",
        spec={
            "heartbeatTimeout": "90s", "minHealthy": 3, "paused": True, "debounce": {"quiet": "x", "max": "2s"},
            "repair": {"enabled": False, "maxUnhealthy": "30%", "cooldown": "1m30s", "maxInFlight": 0, "maxAttempts": 4},
        },
    )  # fmt: skip

    record, _ = decoder.object(json.dumps(obj).encode())

    assert isinstance(record, Parent)
    assert (record.key, record.uid, record.generation, record.deleting) == (ParentKey("ns", "n1"), "u1", 4, True)
    assert record.status == obj["status"]
    spec = record.spec
    assert (spec.heartbeat_timeout_s, spec.min_healthy, spec.paused, spec.debounce_max_s) == (90.0, 3, True, 2.0)
    assert (spec.repair_enabled, spec.max_unhealthy, spec.cooldown_s) == (False, Share(percent=30.0), 90.0)
    assert spec.attempts_max == 4
    assert (spec.debounce_quiet_s, spec.in_flight_max) == (None, None)
    assert [problem.partition(":")[0] for problem in spec.problems] == [
        "spec.debounce.quiet",
        "spec.repair.maxInFlight",
    ]
    assert spec.problems[0].startswith("spec.debounce.quiet: found 'x', expected a duration such as 100ms")


@pytest.mark.parametrize("spec", [None, {}, {"unknown": 1}, {"debounce": None, "repair": {}}])
def test_a_silent_spec_is_silent(spec: object) -> None:
    found = read_spec(spec)

    assert found == read_spec({})
    assert not found.problems


@pytest.mark.parametrize("spec", [None, {}, {"paused": False}])
def test_all_specs_that_say_nothing_are_one_object(spec: object) -> None:
    assert read_spec(spec) is SILENT
    assert SILENT == ParentSpec()
    assert read_spec(spec, override="2026-01-01T00:00:00Z") != SILENT


@pytest.mark.parametrize("spec", [{"paused": True}, {"paused": 0}, {"paused": False, "minHealthy": 2}])
def test_a_spec_that_says_something_is_read(spec: object) -> None:
    assert read_spec(spec) != SILENT


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ([1], "spec"),
        ({"heartbeatTimeout": 5}, "spec.heartbeatTimeout"),
        ({"heartbeatTimeout": "0s"}, "spec.heartbeatTimeout"),
        ({"minHealthy": -1}, "spec.minHealthy"),
        ({"minHealthy": True}, "spec.minHealthy"),
        ({"paused": "true"}, "spec.paused"),
        ({"repair": 3}, "spec.repair"),
        ({"repair": {"maxUnhealthy": 1.5}}, "spec.repair.maxUnhealthy"),
        ({"repair": {"cooldown": "9" * 1000}}, "spec.repair.cooldown"),
    ],
)
def test_a_bad_spec_field_is_named_and_the_rest_holds(spec: object, field: str) -> None:
    found = read_spec(spec)

    assert len(found.problems) == 1
    assert found.problems[0].startswith(f"{field}: found ")
    assert ", expected " in found.problems[0]


def test_other_fleets_read_other_paths() -> None:
    """Nothing in the decoder knows the built-in kinds: cluster-scoped parents, no heartbeats, a path of one part."""
    fleet = FleetDefinition(
        name="other",
        parent=KindRef(group="x.io", version="v1", kind="Zone", plural="zones", namespaced=False),
        children=(
            ChildKind(
                ref=KindRef(group="", version="v1", kind="Node", plural="nodes", namespaced=False),
                mapping=(Label(key="zone"), FieldPath(path="zone"), OwnerReference()),
                health=Health(healthy="ok"),
            ),
        ),
    )
    obj = {"metadata": {"name": "n", "uid": "u", "resourceVersion": "1"}, "ok": False, "zone": "z"}

    found = Decoder(fleet, "Node").object(json.dumps(obj).encode())

    assert found == (Child("Node", "", "n", "u", 1, ParentKey("", "z"), healthy=False), ())


def test_a_definition_whose_paths_collide_is_refused() -> None:
    ref = KindRef(group="", version="v1", kind="Node", plural="nodes")
    kind = ChildKind(ref=ref, mapping=(FieldPath(path="status.ok.of"),), health=Health(healthy="status.ok"))

    with pytest.raises(ValueError, match="ends inside another"):
        Decoder(FleetDefinition(name="x", parent=MUSTER_FLEET.parent, children=(kind,)), "Node")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("2026-01-01T00:00:00Z", 1767225600.0), ("2026-01-01T01:00:00.123456789+01:00", 1767225600.123456),
     ("2026-01-01T00:00:00", None), ("soon", None), ("", None)],
)  # fmt: skip
def test_instants_without_a_zone_are_none(text: str, expected: float | None) -> None:
    assert rfc3339_s(text) == expected
