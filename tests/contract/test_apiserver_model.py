"""The API server model: what operators rely on in the real one. (`test_serve` has the same over HTTP.)"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from actors.sim.admission import WriteOptions
from actors.sim.apierrors import ApiError
from actors.sim.apiserver import APPLY, JSON_PATCH, STRATEGIC, ApiServerModel
from actors.sim.history import WatchCursor

Obj = dict[str, Any]

CRD: Obj = json.loads(Path(__file__).with_name("nodes-crd.json").read_text(encoding="utf-8"))
NODES = "nodes.test.dev"


@pytest.fixture
def model() -> ApiServerModel:
    made = ApiServerModel(clock=lambda: 1_700_000_000.0)
    made.create("customresourcedefinitions.apiextensions.k8s.io", CRD)
    return made


def node(name: str = "n1", labels: dict[str, str] | None = None, **spec: Any) -> Obj:
    metadata: Obj = {"name": name} | ({"labels": labels} if labels else {})
    return {"apiVersion": "test.dev/v1", "kind": "Node", "metadata": metadata, "spec": {"parent": "p", **spec}}


def make(model: ApiServerModel, name: str = "n1", **spec: Any) -> Obj:
    return model.create(NODES, node(name, **spec), "default").obj


def status(model: ApiServerModel, value: Obj, name: str = "n1", **metadata: Any) -> Obj:
    body = {"status": value} | ({"metadata": metadata} if metadata else {})
    return model.patch(NODES, name, body, "default", "status").obj


def types(cursor: WatchCursor) -> list[tuple[str, str]]:
    return [(event.type, event.obj["metadata"].get("name", "")) for event in cursor.poll()]


# --- writes ---


def test_a_created_object_gets_identity_defaults_and_the_next_version(model: ApiServerModel) -> None:
    before = model.resource_version

    made = model.create(NODES, node() | {"status": {"healthy": True}}, "default")

    metadata = made.obj["metadata"]
    assert metadata["resourceVersion"] == str(before + 1)
    assert metadata["generation"] == 1
    assert metadata["creationTimestamp"] == "2023-11-14T22:13:20Z"
    assert len(metadata["uid"]) == 36
    assert made.obj["spec"] == {"parent": "p", "timeout": "60s", "repair": {"enabled": True}}
    assert "status" not in made.obj
    assert json.loads(made.raw) == made.obj


def test_the_generation_counts_spec_changes_only(model: ApiServerModel) -> None:
    make(model)

    status(model, {"healthy": True})
    labelled = model.patch(NODES, "n1", {"metadata": {"labels": {"a": "b"}}}, "default").obj
    assert labelled["metadata"]["generation"] == 1

    changed = model.patch(NODES, "n1", {"spec": {"size": 3}, "status": {"healthy": False}}, "default").obj
    assert changed["metadata"]["generation"] == 2
    assert changed["status"] == {"healthy": True}


def test_a_status_write_changes_nothing_but_the_status(model: ApiServerModel) -> None:
    """Wrong uids in it are accepted: only the resourceVersion protects a parent that was created again."""
    old = make(model)
    body = {"metadata": {"labels": {"a": "b"}, "uid": "wrong"}, "spec": {"size": 9}, "status": {"healthy": False}}

    new = model.patch(NODES, "n1", body, "default", "status").obj

    assert new["spec"] is old["spec"]
    assert "labels" not in new["metadata"]
    assert new["metadata"]["uid"] == old["metadata"]["uid"]
    assert new["status"] == {"healthy": False}


def test_a_write_that_changes_nothing_is_no_commit(model: ApiServerModel) -> None:
    make(model)
    first = status(model, {"healthy": True})
    cursor = model.watch(NODES, resource_version=str(model.resource_version))

    again = status(model, {"healthy": True})

    assert again["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    assert cursor.poll() == []


@pytest.mark.parametrize("subresource", ["", "status"])
def test_a_stale_version_is_a_conflict(model: ApiServerModel, subresource: str) -> None:
    version = make(model)["metadata"]["resourceVersion"]
    status(model, {"healthy": True})
    body = {"metadata": {"resourceVersion": version}, "status": {"healthy": False}, "spec": {"size": 1}}

    with pytest.raises(ApiError) as refused:
        model.patch(NODES, "n1", body, "default", subresource)

    assert (refused.value.code, refused.value.reason) == (409, "Conflict")
    assert 'Operation cannot be fulfilled on nodes.test.dev "n1"' in refused.value.message


def test_put_needs_a_version_and_keeps_identity(model: ApiServerModel) -> None:
    old = make(model)
    with pytest.raises(ApiError, match="must be specified for an update") as refused:
        model.replace(NODES, node(size=2), "n1", "default")
    assert refused.value.code == 422

    new = node(size=2)
    new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
    replaced = model.replace(NODES, new, "n1", "default").obj
    assert replaced["metadata"]["uid"] == old["metadata"]["uid"]
    assert replaced["metadata"]["generation"] == 2

    new["metadata"] |= {"uid": "other", "resourceVersion": replaced["metadata"]["resourceVersion"]}
    with pytest.raises(ApiError, match="UID in precondition: other"):
        model.replace(NODES, new, "n1", "default")


def test_patch_types(model: ApiServerModel) -> None:
    make(model, size=1)
    operations = [{"op": "test", "path": "/spec/size", "value": 1}, {"op": "replace", "path": "/spec/size", "value": 2}]
    assert model.patch(NODES, "n1", operations, "default", "", JSON_PATCH).obj["spec"]["size"] == 2
    with pytest.raises(ApiError) as refused:
        model.patch(NODES, "n1", operations, "default", "", JSON_PATCH)
    assert refused.value.code == 422
    with pytest.raises(ApiError) as refused:
        model.patch(NODES, "n1", {}, "default", "", STRATEGIC)
    assert refused.value.code == 415

    applied = model.patch(NODES, "n2", node("n2"), "default", "", APPLY, WriteOptions(manager="me")).obj

    assert applied["metadata"]["name"] == "n2"


def test_a_dry_run_commits_nothing(model: ApiServerModel) -> None:
    before = model.resource_version

    model.create(NODES, node(), "default", WriteOptions(dry_run=True))

    assert model.resource_version == before
    with pytest.raises(ApiError, match="not found"):
        model.get(NODES, "n1", "default")


def test_finalizers_hold_a_deletion(model: ApiServerModel) -> None:
    held = node()
    held["metadata"]["finalizers"] = ["test.dev/hold"]
    model.create(NODES, held, "default")
    cursor = model.watch(NODES, resource_version=str(model.resource_version))

    marked = model.delete(NODES, "n1", "default").obj
    assert marked["metadata"]["deletionTimestamp"]
    assert model.get(NODES, "n1", "default").obj == marked
    model.patch(NODES, "n1", {"metadata": {"finalizers": None}}, "default")

    assert types(cursor) == [("MODIFIED", "n1"), ("DELETED", "n1")]
    with pytest.raises(ApiError, match="not found"):
        model.get(NODES, "n1", "default")


def test_deletion_preconditions(model: ApiServerModel) -> None:
    make(model)

    with pytest.raises(ApiError, match=r"the UID in the precondition \(other\) does not match"):
        model.delete(NODES, "n1", "default", uid="other")


def test_created_again_under_the_same_name_it_is_another(model: ApiServerModel) -> None:
    first = make(model)
    model.delete(NODES, "n1", "default")

    assert make(model)["metadata"]["uid"] != first["metadata"]["uid"]


# --- the schema ---


@pytest.mark.parametrize(
    ("spec", "field", "reason"),
    [
        ({"size": -1}, "spec.size", "FieldValueInvalid"),
        ({"size": 11}, "spec.size", "FieldValueInvalid"),
        ({"size": "1"}, "spec.size", "FieldValueTypeInvalid"),
        ({"size": True}, "spec.size", "FieldValueTypeInvalid"),
        ({"parent": ""}, "spec.parent", "FieldValueInvalid"),
        ({"parent": "toolong"}, "spec.parent", "FieldValueTooLong"),
        ({"parent": None}, "spec.parent", "FieldValueRequired"),
        ({"timeout": "1h"}, "spec.timeout", "FieldValueInvalid"),
        ({"mode": "c"}, "spec.mode", "FieldValueNotSupported"),
        ({"tags": ["a", "b", "c"]}, "spec.tags", "FieldValueTooMany"),
        ({"tags": ["a", 1]}, "spec.tags[1]", "FieldValueTypeInvalid"),
        ({"share": 1.5}, "spec.share", "FieldValueTypeInvalid"),
        ({"by": {"x": "y"}}, "spec.by.x", "FieldValueTypeInvalid"),
    ],
)
def test_what_is_invalid_is_named(model: ApiServerModel, spec: Obj, field: str, reason: str) -> None:
    with pytest.raises(ApiError) as refused:
        make(model, **spec)

    assert (refused.value.code, refused.value.reason) == (422, "Invalid")
    (cause,) = refused.value.status()["details"]["causes"]
    assert (cause["field"], cause["reason"]) == (field, reason)
    assert f'Node.test.dev "n1" is invalid: {field}: ' in refused.value.message


def test_a_status_is_validated_too(model: ApiServerModel) -> None:
    make(model)

    with pytest.raises(ApiError, match=r"status\.at: Invalid value"):
        status(model, {"at": "yesterday"})


def test_unknown_fields_are_pruned_warned_of_or_refused(model: ApiServerModel) -> None:
    obj = make(model, odd=1, free={"kept": 1}, share="5%")
    assert "odd" not in obj["spec"]
    assert obj["spec"]["free"] == {"kept": 1}

    warning = WriteOptions(field_validation="Warn")
    model.patch(NODES, "n1", {"spec": {"odd": 1}}, "default", options=warning)
    assert warning.warnings == ['unknown field "spec.odd"']
    strict = WriteOptions(field_validation="Strict")
    with pytest.raises(ApiError, match='strict decoding error: unknown field "spec.odd"') as refused:
        model.patch(NODES, "n1", {"spec": {"odd": 1}}, "default", options=strict)
    assert refused.value.code == 422
    with pytest.raises(ApiError, match='strict decoding error: unknown field "spec.odd"') as refused:
        model.create(NODES, node("n2", odd=1), "default", options=strict)
    assert refused.value.code == 400


def test_null_takes_the_default_again(model: ApiServerModel) -> None:
    make(model, timeout="5s")

    assert model.patch(NODES, "n1", {"spec": {"timeout": None}}, "default").obj["spec"]["timeout"] == "60s"


# --- refusals ---


def test_what_is_not_there(model: ApiServerModel) -> None:
    with pytest.raises(ApiError, match='nodes.test.dev "n9" not found'):
        model.get(NODES, "n9", "default")
    with pytest.raises(ApiError, match='namespaces "nope" not found'):
        model.create(NODES, node(), "nope")
    with pytest.raises(ApiError, match="could not find the requested resource"):
        model.list("others.test.dev")
    make(model)
    with pytest.raises(ApiError) as refused:
        make(model)
    assert (refused.value.code, refused.value.reason) == (409, "AlreadyExists")


def test_a_deleted_crd_ends_its_watches_and_its_objects(model: ApiServerModel) -> None:
    make(model)
    cursor = model.watch(NODES, resource_version=str(model.resource_version))

    model.delete("customresourcedefinitions.apiextensions.k8s.io", NODES)

    with pytest.raises(ApiError) as ended:
        cursor.poll()
    assert ended.value.code == 404
    with pytest.raises(ApiError):
        model.list(NODES)


# --- lists ---


def test_selectors(model: ApiServerModel) -> None:
    for name, labels in (("a", {"x": "1"}), ("b", {"x": "2"}), ("c", {"y": "1"})):
        model.create(NODES, node(name, labels), "default")

    def names(labels: str = "", fields: str = "") -> str:
        found = model.list(NODES, namespace="default", labels=labels, fields=fields).items
        return "".join(item.obj["metadata"]["name"] for item in found)

    assert names("x=1") == "a"
    assert names("x!=1") == "bc"
    assert names("x in (1, 2)") == "ab"
    assert names("x notin (1),x") == "b"
    assert names("!x") == "c"
    assert names(fields="metadata.name=b") == "b"
    assert names(fields="metadata.namespace!=default") == ""
    with pytest.raises(ApiError, match=r"field label not supported: spec\.size"):
        names(fields="spec.size=1")


def test_pages_are_of_one_moment(model: ApiServerModel) -> None:
    for name in "abcde":
        make(model, name)
    first = model.list(NODES, limit=2)
    make(model, "bb")
    second = model.list(NODES, limit=2, continue_token=first.continue_token)
    third = model.list(NODES, limit=2, continue_token=second.continue_token)

    names = [item.obj["metadata"]["name"] for page in (first, second, third) for item in page.items]
    assert names == list("abcde")
    assert {first.resource_version, second.resource_version, third.resource_version} == {first.resource_version}
    assert (first.remaining, second.remaining, third.remaining, third.continue_token) == (3, 1, 0, "")


def test_a_page_of_a_forgotten_moment_is_gone(model: ApiServerModel) -> None:
    for name in "abc":
        make(model, name)
    token = model.list(NODES, limit=1).continue_token

    model.compact()

    with pytest.raises(ApiError) as refused:
        model.list(NODES, continue_token=token)
    assert (refused.value.code, refused.value.reason) == (410, "Expired")


def test_a_list_from_the_future_is_refused(model: ApiServerModel) -> None:
    with pytest.raises(ApiError, match="Too large resource version") as refused:
        model.list(NODES, resource_version=str(model.resource_version + 1))

    assert refused.value.code == 504


# --- watches ---


def test_a_watch_resumes_where_the_list_was(model: ApiServerModel) -> None:
    make(model, "a")
    version = model.list(NODES).resource_version
    make(model, "b")
    cursor = model.watch(NODES, resource_version=str(version))

    status(model, {"healthy": True}, "a")
    model.delete(NODES, "b", "default")
    events = cursor.poll()

    assert [event.type for event in events] == ["ADDED", "MODIFIED", "DELETED"]
    assert [event.resource_version for event in events] == [version + 1, version + 2, version + 3]
    assert json.loads(events[2].line())["object"]["metadata"]["resourceVersion"] == str(version + 3)


def test_a_watch_list_ends_its_beginning_with_a_bookmark(model: ApiServerModel) -> None:
    make(model, "a")

    cursor = model.watch(NODES, send_initial_events=True, match="NotOlderThan", bookmarks=True)
    make(model, "b")

    events = cursor.poll()
    assert [event.type for event in events] == ["ADDED", "BOOKMARK"]
    assert events[1].obj["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert types(cursor) == [("ADDED", "b")]
    with pytest.raises(ApiError, match="NotOlderThan"):
        model.watch(NODES, send_initial_events=True)


@pytest.mark.parametrize("version", ["", "0"])
def test_a_watch_from_nowhere_begins_with_everything(model: ApiServerModel, version: str) -> None:
    make(model, "a")

    assert types(model.watch(NODES, resource_version=version)) == [("ADDED", "a")]


def test_objects_enter_and_leave_a_selection(model: ApiServerModel) -> None:
    cursor = model.watch(NODES, labels="x=1", resource_version=str(model.resource_version))

    make(model, "a")
    model.patch(NODES, "a", {"metadata": {"labels": {"x": "1"}}}, "default")
    model.patch(NODES, "a", {"spec": {"size": 1}}, "default")
    model.patch(NODES, "a", {"metadata": {"labels": {"x": "2"}}}, "default")

    assert types(cursor) == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]


def test_history_is_bounded_and_what_is_behind_it_is_gone() -> None:
    model = ApiServerModel(clock=lambda: 0.0, history_changes_max=3)
    model.create("customresourcedefinitions.apiextensions.k8s.io", CRD)
    start = model.resource_version
    slow = model.watch(NODES, resource_version=str(start))
    for name in "abcd":
        make(model, name)

    assert types(model.watch(NODES, resource_version=str(start + 1))) == [("ADDED", name) for name in "bcd"]
    for attempt in (lambda: model.watch(NODES, resource_version=str(start)), slow.poll):
        with pytest.raises(ApiError) as refused:
            attempt()
        assert (refused.value.code, refused.value.reason) == (410, "Expired")
    assert slow.closed


def test_after_a_compaction_only_the_present_can_be_resumed(model: ApiServerModel) -> None:
    version = model.resource_version
    current = model.watch(NODES, resource_version=str(version))
    make(model, "a")
    assert types(current) == [("ADDED", "a")]

    model.compact()

    with pytest.raises(ApiError):
        model.watch(NODES, resource_version=str(version))
    make(model, "b")
    assert types(current) == [("ADDED", "b")]


def test_a_cursor_is_woken_by_commits_until_it_is_closed(model: ApiServerModel) -> None:
    wakes: list[int] = []
    cursor = model.watch(NODES, resource_version=str(model.resource_version), wake=lambda: wakes.append(1))
    make(model, "a")
    assert len(wakes) == 1
    assert cursor.pending()

    cursor.close()
    make(model, "b")

    assert len(wakes) == 1


# --- built-in kinds ---


def event(**over: Any) -> Obj:
    return {
        "metadata": {"name": "e1", "namespace": "default"},
        "regarding": {"kind": "Node", "name": "n1", "namespace": "default"},
        "reason": "Broken",
        "note": "it broke",
        "type": "Warning",
        "action": "Repair",
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "test.dev/x",
        "reportingInstance": "x-1",
    } | over


def test_events_are_one_store_with_two_faces(model: ApiServerModel) -> None:
    model.create("events.events.k8s.io", event(), "default")

    (core,) = model.list("events", namespace="default", fields="involvedObject.name=n1").items
    assert (core.obj["apiVersion"], core.obj["message"]) == ("v1", "it broke")
    (new,) = model.list("events.events.k8s.io", fields="regarding.name=n1").items
    assert (new.obj["apiVersion"], new.obj["note"]) == ("events.k8s.io/v1", "it broke")
    patched = model.patch("events.events.k8s.io", "e1", {"series": {"count": 2}}, "default").obj
    assert (patched["note"], patched["series"]) == ("it broke", {"count": 2})


@pytest.mark.parametrize("over", [{"action": ""}, {"type": "Odd"}, {"note": "x" * 1025}])
def test_events_that_the_real_server_refuses(model: ApiServerModel, over: Obj) -> None:
    with pytest.raises(ApiError) as refused:
        model.create("events.events.k8s.io", event(**over), "default")

    assert refused.value.code == 422


def test_a_namespace_takes_its_objects_along(model: ApiServerModel) -> None:
    model.create("namespaces", {"metadata": {"name": "gone"}})
    model.create(NODES, node(), "gone")

    model.delete("namespaces", "gone")

    assert model.list(NODES).items == []


def test_same_inputs_same_bytes() -> None:
    """The simulation's traces must not depend on anything but the seed."""

    def run() -> bytes:
        model = ApiServerModel(clock=lambda: 5.0, seed="7")
        model.create("customresourcedefinitions.apiextensions.k8s.io", CRD)
        for name in "abc":
            make(model, name)
        return b"".join(item.raw for item in model.list(NODES).items)

    assert run() == run()
