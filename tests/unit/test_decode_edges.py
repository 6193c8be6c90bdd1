"""Decoding at its edges: the limits of what is read, what a refusal quotes, and what is known of a bad object all the same."""

from __future__ import annotations

import json
from typing import Any

import pytest

from actors.core import claims
from actors.core.builtin import MUSTER_FLEET
from actors.core.decode import BadObject, Bookmark, Decoder, Page, Refusal, read_spec
from actors.core.errors import Undecodable
from actors.core.fleet import ChildKind, FieldPath, FleetDefinition, Health, KindRef, Label, OwnerReference
from actors.core.model import Child, Parent, ParentKey

METADATA = {"name": "n1", "namespace": "ns", "uid": "u1", "resourceVersion": "12"}


def node(**parts: Any) -> dict[str, Any]:
    return {"metadata": METADATA, "spec": {"clusterRef": {"name": "c1"}}, "status": {"healthy": True}, **parts}


def line(type_: str, obj: Any) -> bytes:
    return json.dumps({"type": type_, "object": obj}).encode()


def refused(decoder: Decoder, raw: bytes, *, listed: bool = False) -> BadObject:
    with pytest.raises(BadObject) as caught:
        decoder.object(raw) if listed else decoder.event(raw)
    return caught.value


@pytest.fixture
def decoder() -> Decoder:
    return Decoder(MUSTER_FLEET, "ComputeNode")


@pytest.mark.parametrize("type_", ["ADDED", "MODIFIED", "DELETED"])
def test_the_three_kinds_of_events_are_read_alike(decoder: Decoder, type_: str) -> None:
    """A deletion bears the object's last state; it is not a refusal that happens to have the same effect."""
    found = decoder.event(line(type_, node()))

    assert isinstance(found, tuple)
    assert (type_, "u1") == (found[0], found[1].uid)


def test_an_unknown_event_is_refused_with_the_beginning_of_its_type(decoder: Decoder) -> None:
    """Forty characters: enough to find it, too few to fill a log."""
    bad = refused(decoder, line("Q" * 90, node()))

    assert bad.why == f"found the event type '{'Q' * 40}'"


def test_a_bad_object_of_a_list_has_a_reason_and_no_event(decoder: Decoder) -> None:
    """The reason is the decoder's own; "" is no type, so it is nobody's deletion."""
    bad = refused(decoder, json.dumps(node(status={"healthy": "yes"})).encode(), listed=True)

    assert (bad.uid, bad.version, bad.type) == ("u1", 12, "")
    assert "Expected `bool | null`, got `str`" in bad.why


def test_an_unreadable_line_is_no_deletion(decoder: Decoder) -> None:
    """Whatever it was meant to be, nothing may be forgotten on its account."""
    bad = refused(decoder, b'{"type":"DELETED","object"')

    assert (bad.uid, bad.version, bad.type) == ("", 0, "")


def test_a_deletion_that_names_nobody_is_known_as_one(decoder: Decoder) -> None:
    """The type is on the event, not in the object."""
    assert refused(decoder, line("DELETED", {})).type == "DELETED"


def test_what_is_said_of_a_bad_object_is_all_that_is_known() -> None:
    bad = BadObject("K ns/n", "because")

    assert (str(bad), bad.uid, bad.version, bad.type) == ("K ns/n: because", "", 0, "")


def test_an_event_without_a_type_is_named_by_its_object(decoder: Decoder) -> None:
    """A proxy's mangling: the object is whole, so its place can be told."""
    bad = refused(decoder, json.dumps({"object": node()}).encode())

    assert (bad.place, bad.uid, bad.version) == ("ComputeNode ns/n1", "u1", 12)


def test_an_object_with_a_field_called_object_is_named_by_its_own_metadata(decoder: Decoder) -> None:
    other = {"metadata": {"name": "inner", "uid": "inner"}}
    bad = refused(decoder, json.dumps({**node(status=3), "object": other}).encode(), listed=True)

    assert (bad.place, bad.uid) == ("ComputeNode ns/n1", "u1")


@pytest.mark.parametrize(
    ("metadata", "place"),
    [
        ({"name": "n1", "namespace": "ns"}, "ComputeNode ns/n1"),
        ({"name": "n1"}, "ComputeNode n1"),
        ({}, "ComputeNode (no name)"),
        ({"name": 7, "namespace": None}, "ComputeNode (no name)"),
    ],
)
def test_a_bad_object_has_its_place_in_words(decoder: Decoder, metadata: dict[str, Any], place: str) -> None:
    assert refused(decoder, line("ADDED", {"metadata": metadata})).place == place


def test_what_makes_no_sense_at_all_is_quoted_up_to_a_bound(decoder: Decoder) -> None:
    """How long it was and how it begins, sixty bytes of it."""
    bad = refused(decoder, b"<" * 100)

    assert bad.place == f"ComputeNode (unreadable, 100 bytes: b'{'<' * 60}')"


def test_an_error_without_words_is_called_by_its_name(decoder: Decoder) -> None:
    """``RecursionError()`` alone would leave an empty reason."""
    assert decoder._bad(b"", RecursionError(), "").why == "RecursionError"


@pytest.mark.parametrize("missing", ["name", "uid"])
def test_an_object_without_a_name_or_uid_says_so(decoder: Decoder, missing: str) -> None:
    bad = refused(decoder, line("ADDED", node(metadata={**METADATA, missing: ""})))

    assert bad.why == "metadata.name and metadata.uid must be there"


def test_a_page_without_items_is_an_empty_last_page(decoder: Decoder) -> None:
    """Both fields may be absent on the wire."""
    assert decoder.page(b'{"metadata":{"resourceVersion":"7"}}') == Page([], 7, "")


def test_a_page_that_is_none_says_why(decoder: Decoder) -> None:
    with pytest.raises(Undecodable) as caught:
        decoder.page(b'{"metadata":{"resourceVersion":"x"}}')

    assert str(caught.value) == "list of computenodes: metadata.resourceVersion: found 'x', expected at most 18 digits"


@pytest.mark.parametrize(("seconds", "wait_s"), [(0, None), (1, 1.0), (-5, None), (2.5, None), ("3", None)])
def test_a_refusals_wish_is_a_number_of_whole_seconds(decoder: Decoder, seconds: Any, wait_s: float | None) -> None:
    """``retryAfterSeconds`` is an int32 whose 0 means "not said"."""
    status = {"code": 429, "reason": "r", "message": "m" * 400, "details": {"retryAfterSeconds": seconds}}

    assert decoder.event(line("ERROR", status)) == Refusal(429, "r", "m" * 300, wait_s)


@pytest.mark.parametrize("annotations", [{"k8s.io/initial-events-end": "false"}, {"other": "true"}, {}, None])
def test_a_bookmark_ends_the_list_only_where_it_says_so(decoder: Decoder, annotations: object) -> None:
    """Taken for the end, any other bookmark would make a half list a whole one: ghosts turned into deletions."""
    metadata = {"resourceVersion": "9", "annotations": annotations}

    assert decoder.event(line("BOOKMARK", {"metadata": metadata})) == Bookmark(9, initial_end=False)


def test_a_bad_bookmark_is_refused(decoder: Decoder) -> None:
    assert "found None, expected at most 18 digits" in refused(decoder, line("BOOKMARK", {"metadata": {}})).why


def test_a_parent_that_says_nothing_is_read_with_nothing() -> None:
    """A cluster-scoped one, just created: no generation, no status, no namespace."""
    fleet = FleetDefinition(
        name="f",
        parent=KindRef(group="", version="v1", kind="Zone", plural="zones", namespaced=False),
        children=MUSTER_FLEET.children,
    )
    raw = json.dumps({"metadata": {"name": "z", "uid": "u", "resourceVersion": "5"}, "status": "broken"}).encode()

    record, _ = Decoder(fleet, "Zone").object(raw)

    assert record == Parent(
        kind="Zone", key=ParentKey("", "z"), uid="u", version=5, generation=0, spec=read_spec(None), status={}
    )


def test_a_condition_without_an_instant_names_no_incident(decoder: Decoder) -> None:
    """Nothing is invented: such a child's illnesses all have the incident "unhealthy@"."""
    status = {"healthy": False, "conditions": [{"type": "Healthy"}]}

    record, _ = decoder.object(json.dumps(node(status=status)).encode())

    assert isinstance(record, Child)
    assert (record.since, record.incident) == ("", "unhealthy@")


def core_fleet(*, parent_namespaced: bool) -> FleetDefinition:
    """A parent of the core group and a namespaced child."""
    return FleetDefinition(
        name="f",
        parent=KindRef(group="", version="v1", kind="Owner", plural="owners", namespaced=parent_namespaced),
        children=(
            ChildKind(
                ref=KindRef(group="", version="v1", kind="Thing", plural="things"),
                mapping=(OwnerReference(), FieldPath(path="owner")),
                health=Health(healthy="ok"),
            ),
        ),
    )


@pytest.mark.parametrize(("version", "parent"), [("v1", "o"), ("x.io/v1", "by-field"), ("", "o")])
def test_the_core_group_has_no_slash(version: str, parent: str) -> None:
    """``v1`` is version 1 of the group "", and ``x.io/v1`` is somebody else's Owner."""
    owners = [{"apiVersion": version, "kind": "Owner", "name": "o", "controller": True}]
    raw = {"metadata": {**METADATA, "ownerReferences": owners}, "owner": "by-field", "ok": True}

    record, _ = Decoder(core_fleet(parent_namespaced=True), "Thing").object(json.dumps(raw).encode())

    assert isinstance(record, Child)
    assert record.parent == ParentKey("ns", parent)


def test_a_namespaced_child_of_a_cluster_scoped_parent_keeps_its_own_namespace() -> None:
    """The parent has none; the child's is its own."""
    raw = json.dumps({"metadata": METADATA, "owner": "o"}).encode()

    record, _ = Decoder(core_fleet(parent_namespaced=False), "Thing").object(raw)

    assert isinstance(record, Child)
    assert (record.parent, record.namespace) == (ParentKey("", "o"), "ns")


def test_children_of_one_parent_share_its_key(decoder: Decoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A million children must not have a million keys and namespaces; and the keys remembered are bounded."""
    monkeypatch.setattr(claims, "_KEYS_MAX", 2)
    monkeypatch.setattr(claims, "_WORDINGS_MAX", 2)

    def key(parent: str, **changes: object) -> ParentKey:
        found, _ = decoder.object(json.dumps(node(spec={"clusterRef": {"name": parent}}, **changes)).encode())
        assert isinstance(found, Child)
        assert found.parent is not None
        assert found.namespace is found.parent.namespace
        return found.parent

    first = key("a")
    assert first is key("a")
    assert first is key("a", metadata__ownerReferences=[]), "the same parent in other words"
    key("b")
    assert first is key("a"), "two fit"
    key("c")
    assert decoder._claims is not None
    assert max(len(decoder._claims._keys), len(decoder._claims.known)) <= 2
    assert (first, False) == (key("a"), first is key("a")), "forgotten: equal, not the same"


def test_of_two_label_mappings_the_first_that_is_there_wins() -> None:
    kind = ChildKind(
        ref=KindRef(group="", version="v1", kind="Thing", plural="things"),
        mapping=(Label(key="a.io/x"), Label(key="b")),
        health=Health(healthy="ok"),
    )
    decoder = Decoder(FleetDefinition(name="f", parent=MUSTER_FLEET.parent, children=(kind,)), "Thing")

    def parent(**labels: str) -> object:
        obj = {"metadata": {"name": "n", "namespace": "ns", "uid": "u", "resourceVersion": "1", "labels": labels}}
        found, claims = decoder.object(json.dumps(obj).encode())
        assert isinstance(found, Child)
        return found.parent and found.parent.name, claims

    assert parent(b="two") == ("two", ())
    assert parent(**{"a.io/x": "one", "b": "two"}) == ("one", ("one", "two"))
    assert parent() == (None, ())


@pytest.mark.parametrize("path", ["", "a.", ".a", "a..b"])
def test_a_path_with_an_empty_part_is_refused(path: str) -> None:
    kind = ChildKind(
        ref=KindRef(group="", version="v1", kind="Thing", plural="things"),
        mapping=(OwnerReference(),),
        health=Health(healthy=path),
    )

    with pytest.raises(ValueError, match="expected a path of fields such as"):
        Decoder(FleetDefinition(name="f", parent=MUSTER_FLEET.parent, children=(kind,)), "Thing")


@pytest.mark.parametrize(
    ("spec", "field", "value"),
    [
        ({"minHealthy": 0}, "min_healthy", 0),
        ({"minHealthy": 1_000_000_000}, "min_healthy", 1_000_000_000),
        ({"repair": {"maxInFlight": 1}}, "in_flight_max", 1),
        ({"repair": {"maxInFlight": 1_000_000_000}}, "in_flight_max", 1_000_000_000),
        ({"heartbeatTimeout": "1ms"}, "heartbeat_timeout_s", 0.001),
        ({"heartbeatTimeout": "1s"}, "heartbeat_timeout_s", 1.0),
        ({"repair": {"cooldown": "0s"}}, "cooldown_s", 0.0),
    ],
)
def test_the_smallest_and_the_largest_are_allowed(spec: object, field: str, value: float) -> None:
    found = read_spec(spec)

    assert (getattr(found, field), found.problems) == (value, ())


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ([1], "spec: found [1], expected an object"),
        ({"minHealthy": 1_000_000_001}, "spec.minHealthy: found 1000000001, expected a whole number from 0 up"),
        ({"repair": {"maxInFlight": 0}}, "spec.repair.maxInFlight: found 0, expected a whole number from 1 up"),
        ({"repair": {"maxInFlight": True}}, "spec.repair.maxInFlight: found True, expected a whole number from 1 up"),
        (
            {"repair": {"maxInFlight": 1_000_000_001}},
            "spec.repair.maxInFlight: found 1000000001, expected a whole number from 1 up",
        ),
        ({"paused": "yes"}, "spec.paused: found 'yes', expected true or false"),
        (
            {"heartbeatTimeout": "0s"},
            "spec.heartbeatTimeout: found '0s', expected a duration above zero such as 60s",
        ),
    ],
)
def test_a_problem_quotes_what_was_found(spec: object, problem: str) -> None:
    """People read it in the condition Ready, beside nothing else."""
    assert read_spec(spec).problems == (problem,)


@pytest.mark.parametrize(
    ("length", "quoted"), [(58, "'" + "x" * 58 + "'"), (59, "'" + "x" * 56 + "..."), (5000, "'" + "x" * 56 + "...")]
)
def test_a_problem_quotes_sixty_characters_at_most(length: int, quoted: str) -> None:
    """A status must not hold a novel."""
    assert read_spec({"paused": "x" * length}).problems == (f"spec.paused: found {quoted}, expected true or false",)
