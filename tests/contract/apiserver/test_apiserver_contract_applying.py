"""Server-side apply on both servers: who owns what, conflicts and their causes, force, and what goes when its owner lets go."""

from __future__ import annotations

from typing import Any

import pytest

from actors.sim.serve_contract import Place

Obj = dict[str, Any]


def owners(answer: Any) -> dict[tuple[str, str, str], Obj]:
    """Manager, operation and subresource → fieldsV1; with the shape of each entry held to what it must be."""
    assert answer.code in (200, 201), answer
    found = {}
    for entry in answer.metadata.get("managedFields", []):
        shape = {"manager", "operation", "apiVersion", "time", "fieldsType", "fieldsV1"}
        assert entry.keys() - {"subresource"} == shape
        assert (entry["apiVersion"], entry["fieldsType"]) == ("contract.dev/v1", "FieldsV1")
        assert entry["time"].endswith("Z")
        found[entry["manager"], entry["operation"], entry.get("subresource", "")] = entry["fieldsV1"]
    return found


def apply(
    place: Place, manager: str, *, name: str = "g1", metadata: Obj | None = None, force: bool = False, **spec: Any
) -> Any:
    body = place.gadget(name, metadata, **({"spec": spec} if spec else {}))
    return place.wire.apply(place.at(name), body, manager, **({"force": "true"} if force else {}))


def tell(place: Place, manager: str, *, force: bool = False, **status: Any) -> Any:
    query = {"force": "true"} if force else {}
    return place.wire.apply(place.at("g1", "status"), place.gadget("g1", status=status), manager, **query)


def test_applying_creates_and_owns_what_it_states(place: Place) -> None:
    made = apply(
        place, "one", size=1, by={"x": 1, "y": 2}, tags=["p", "q"], atomic=["1"], whole={"left": 1},
        ports=[{"name": "h", "number": 1}], free={"a": {"b": 1}, "l": [1]},
    )  # fmt: skip

    assert made.code == 201
    assert made.metadata["generation"] == 1
    assert made.body["spec"]["timeout"] == "60s"  # nobody owns a default
    assert owners(made) == {("one", "Apply", ""): {"f:spec": {
        "f:size": {}, "f:by": {"f:x": {}, "f:y": {}}, "f:tags": {'v:"p"': {}, 'v:"q"': {}}, "f:atomic": {},
        "f:whole": {}, "f:ports": {'k:{"name":"h"}': {".": {}, "f:name": {}, "f:number": {}}},
        "f:free": {"f:a": {".": {}, "f:b": {}}, "f:l": {}},
    }}}  # fmt: skip


def test_metadata_are_owned_too(place: Place) -> None:
    owner = {"apiVersion": "v1", "kind": "X", "name": "x", "uid": "u1"}
    metadata = {
        "labels": {"l": "1"}, "annotations": {"n": "1"}, "finalizers": ["contract.dev/a"], "ownerReferences": [owner],
    }  # fmt: skip
    made = apply(place, "one", metadata=metadata)
    assert owners(made) == {("one", "Apply", ""): {"f:metadata": {
        "f:labels": {"f:l": {}}, "f:annotations": {"f:n": {}}, "f:finalizers": {'v:"contract.dev/a"': {}},
        "f:ownerReferences": {'k:{"uid":"u1"}': {}},
    }}}  # fmt: skip

    let_go = apply(place, "one", metadata={"labels": {"m": "1"}})

    assert let_go.metadata["labels"] == {"m": "1"}
    assert not {"annotations", "finalizers", "ownerReferences"} & let_go.metadata.keys()
    assert let_go.metadata["generation"] == 1


def test_the_same_again_changes_nothing(place: Place) -> None:
    made = apply(place, "one", size=1, tags=["p"])

    assert apply(place, "one", size=1, tags=["p"]).version == made.version


def test_another_value_is_a_conflict_with_its_owner(place: Place) -> None:
    apply(place, "one", size=1, by={"x": 1}, atomic=["1"], whole={"left": 1}, ports=[{"name": "h", "number": 1}])
    wanted: Obj = {"size": 2, "by": {"x": 2}, "atomic": ["2"], "whole": {"left": 2}, "mode": "a"}
    wanted["ports"] = [{"name": "h", "number": 2}, {"name": "g", "number": 2}]

    refused = apply(place, "two", **wanted)

    fields = [".spec.atomic", ".spec.by.x", '.spec.ports[name="h"].number', ".spec.size", ".spec.whole"]
    assert refused.refusal == (409, "Conflict")
    assert refused.causes == [("FieldManagerConflict", field) for field in fields]
    assert {cause["message"] for cause in refused.body["details"]["causes"]} == {'conflict with "one"'}
    assert refused.body["message"] == (
        'Apply failed with 5 conflicts: conflicts with "one":\n- .spec.atomic\n- .spec.size\n- .spec.whole\n'
        '- .spec.by.x\n- .spec.ports[name="h"].number'
    )
    assert "mode" not in place.wire.get(place.at("g1")).body["spec"]


def test_the_same_value_is_owned_together(place: Place) -> None:
    apply(place, "one", size=1)
    both = apply(place, "two", size=1, mode="a")

    assert owners(both) == {
        ("one", "Apply", ""): {"f:spec": {"f:size": {}}},
        ("two", "Apply", ""): {"f:spec": {"f:size": {}, "f:mode": {}}},
    }
    left = apply(place, "one", tags=["p"])
    assert left.body["spec"]["size"] == 1  # the other still holds it
    assert apply(place, "two", mode="a").body["spec"].keys() == {"mode", "tags", "timeout"}


def test_force_takes_it(place: Place) -> None:
    apply(place, "one", size=1, mode="a")

    taken = apply(place, "two", size=2, force=True)

    assert taken.body["spec"]["size"] == 2
    assert owners(taken) == {
        ("one", "Apply", ""): {"f:spec": {"f:mode": {}}},
        ("two", "Apply", ""): {"f:spec": {"f:size": {}}},
    }
    assert apply(place, "one", size=1, mode="a").refusal == (409, "Conflict")


def test_what_is_no_longer_stated_goes(place: Place) -> None:
    apply(
        place, "one", size=1, by={"x": 1, "y": 2}, tags=["p", "q"], atomic=["1"], free={"a": 1},
        ports=[{"name": "h", "number": 1}, {"name": "i", "number": 1}],
    )  # fmt: skip
    apply(place, "two", tags=["r"], ports=[{"name": "i", "note": "mine"}])

    new = apply(place, "one", by={"x": 1}, tags=["p"])

    assert new.body["spec"] == {
        "by": {"x": 1}, "tags": ["p", "r"], "ports": [{"name": "i", "note": "mine"}], "timeout": "60s",
    }  # fmt: skip
    assert owners(new)["one", "Apply", ""] == {"f:spec": {"f:by": {"f:x": {}}, "f:tags": {'v:"p"': {}}}}
    nothing = apply(place, "one")
    assert nothing.body["spec"] == {
        "tags": ["r"], "ports": [{"name": "i", "note": "mine"}], "timeout": "60s",
    }  # fmt: skip
    assert ("one", "Apply", "") not in owners(nothing)


def test_items_keep_their_places(place: Place) -> None:
    apply(place, "one", ports=[{"name": "a"}, {"name": "c"}])

    new = apply(place, "two", ports=[{"name": "b"}, {"name": "c", "number": 3}, {"name": "d"}])

    assert new.body["spec"]["ports"] == [{"name": "a"}, {"name": "b"}, {"name": "c", "number": 3}, {"name": "d"}]


def test_a_plain_write_takes_what_it_changes(place: Place) -> None:
    apply(place, "one", size=1, tags=["p"], by={"x": 1})

    new = place.wire.merge(place.at("g1"), {"spec": {"size": 7, "tags": ["p", "z"], "mode": "a"}}, fieldManager="two")

    assert owners(new) == {
        ("one", "Apply", ""): {"f:spec": {"f:tags": {'v:"p"': {}}, "f:by": {"f:x": {}}}},
        ("two", "Update", ""): {"f:spec": {"f:size": {}, "f:mode": {}, "f:tags": {'v:"z"': {}}}},
    }
    refused = apply(place, "one", size=1, tags=["p"], by={"x": 1})
    assert refused.refusal == (409, "Conflict")
    assert refused.body["message"] == (
        'Apply failed with 1 conflict: conflict with "two" using contract.dev/v1: .spec.size'
    )
    gone = place.wire.merge(place.at("g1"), {"spec": {"by": None, "mode": None}}, fieldManager="two")
    assert owners(gone) == {
        ("one", "Apply", ""): {"f:spec": {"f:tags": {'v:"p"': {}}}},
        ("two", "Update", ""): {"f:spec": {"f:size": {}, "f:tags": {'v:"z"': {}}}},
    }


def test_a_writer_without_a_name_is_called_what_its_agent_is(place: Place) -> None:
    apply(place, "one", size=1)

    new = place.wire.merge(place.at("g1"), {"spec": {"size": 2}})

    assert owners(new) == {("contract", "Update", ""): {"f:spec": {"f:size": {}}}}


# --- the status ---


def test_a_status_is_owned_by_itself(place: Place) -> None:
    apply(place, "one", size=1)
    ready, done = {"type": "Ready", "status": "True"}, {"type": "Done", "status": "True"}
    tell(place, "one", healthy=True, conditions=[ready])

    new = tell(place, "two", count=3, conditions=[done])

    assert new.body["status"] == {"healthy": True, "count": 3, "conditions": [ready, done]}
    assert new.body["spec"]["size"] == 1
    assert new.metadata["generation"] == 1
    item: Obj = {".": {}, "f:type": {}, "f:status": {}}
    assert owners(new) == {
        ("one", "Apply", ""): {"f:spec": {"f:size": {}}},
        ("one", "Apply", "status"): {"f:status": {"f:healthy": {}, "f:conditions": {'k:{"type":"Ready"}': item}}},
        ("two", "Apply", "status"): {"f:status": {"f:count": {}, "f:conditions": {'k:{"type":"Done"}': item}}},
    }


def test_the_status_path_applies_the_status_only(place: Place) -> None:
    apply(place, "one", size=1)
    body = place.gadget("g1", {"labels": {"a": "b"}}, spec={"size": 2}, status={"count": 1})

    new = place.wire.apply(place.at("g1", "status"), body, "two")

    assert (new.body["spec"]["size"], new.body["status"]) == (1, {"count": 1})
    assert "labels" not in new.metadata
    assert owners(new)["two", "Apply", "status"] == {"f:status": {"f:count": {}}}


def test_the_main_path_applies_no_status(place: Place) -> None:
    new = place.wire.apply(place.at("g1"), place.gadget("g1", spec={"size": 1}, status={"count": 1}), "one")

    assert "status" not in new.body
    assert owners(new) == {("one", "Apply", ""): {"f:spec": {"f:size": {}}}}


def test_conflicts_of_a_status(place: Place) -> None:
    apply(place, "main", size=1)
    tell(place, "one", healthy=True, conditions=[{"type": "Ready", "status": "True"}])
    tell(place, "two", count=3)
    wanted: Obj = {"healthy": False, "count": 4, "conditions": [{"type": "Ready", "status": "False", "reason": "R"}]}

    refused = tell(place, "three", **wanted)
    taken = tell(place, "three", force=True, **wanted)

    assert refused.refusal == (409, "Conflict")
    assert refused.body["message"] == (
        'Apply failed with 3 conflicts: conflicts with "one" with subresource "status":\n- .status.healthy\n'
        '- .status.conditions[type="Ready"].status\nconflicts with "two" with subresource "status":\n- .status.count'
    )
    fields = ('.status.conditions[type="Ready"].status', ".status.count", ".status.healthy")
    assert refused.causes == [("FieldManagerConflict", field) for field in fields]
    assert taken.body["status"] == wanted
    everything: Obj = {".": {}, "f:type": {}, "f:status": {}, "f:reason": {}}
    assert owners(taken) == {
        ("main", "Apply", ""): {"f:spec": {"f:size": {}}},
        ("one", "Apply", "status"): {"f:status": {"f:conditions": {'k:{"type":"Ready"}': {".": {}, "f:type": {}}}}},
        ("three", "Apply", "status"): {
            "f:status": {"f:healthy": {}, "f:count": {}, "f:conditions": {'k:{"type":"Ready"}': everything}}
        },
    }


def test_a_status_that_is_no_longer_stated_goes(place: Place) -> None:
    apply(place, "main", size=1)
    ready, done = {"type": "Ready", "status": "True"}, {"type": "Done", "status": "True"}
    tell(place, "one", healthy=True, count=1, conditions=[ready, done])
    tell(place, "two", conditions=[{**done, "reason": "R"}])

    new = tell(place, "one", count=2)

    assert new.body["status"] == {"count": 2, "conditions": [{**done, "reason": "R"}]}
    assert tell(place, "one").body["status"] == {"conditions": [{**done, "reason": "R"}]}


def test_a_plain_write_of_an_applied_status(place: Place) -> None:
    apply(place, "main", size=1)
    tell(place, "one", healthy=True, count=1)

    new = place.wire.merge(place.at("g1", "status"), {"status": {"count": 9}}, fieldManager="two")

    assert owners(new) == {
        ("main", "Apply", ""): {"f:spec": {"f:size": {}}},
        ("one", "Apply", "status"): {"f:status": {"f:healthy": {}}},
        ("two", "Update", "status"): {"f:status": {"f:count": {}}},
    }
    refused = tell(place, "one", count=1)
    assert refused.body["message"] == (
        'Apply failed with 1 conflict: conflict with "two" with subresource "status" using contract.dev/v1: .status.count'
    )
    back = tell(place, "one", force=True, count=1)
    assert back.body["status"] == {"count": 1}
    assert ("two", "Update", "status") not in owners(back)


def test_there_is_no_status_of_what_is_not_there(place: Place) -> None:
    assert tell(place, "one", count=1).refusal == (404, "NotFound")


# --- what was there before ---


def test_who_never_applied_owns_what_he_wrote(place: Place) -> None:
    place.make("g1", size=1)

    refused = apply(place, "one", size=2)
    new = apply(place, "one", size=1, mode="a")

    assert refused.refusal == (409, "Conflict")
    assert refused.causes == [("FieldManagerConflict", ".spec.size")]
    others = [fields for (name, how, _), fields in owners(new).items() if (name, how) != ("one", "Apply")]
    assert others == [{"f:spec": {".": {}, "f:size": {}, "f:timeout": {}}}]
    assert owners(new)["one", "Apply", ""] == {"f:spec": {"f:size": {}, "f:mode": {}}}


def test_managed_fields_may_be_forgotten(place: Place) -> None:
    made = apply(place, "one", size=1)
    body = place.gadget("g1", {"resourceVersion": made.version, "managedFields": [{}]}, spec={"size": 1})

    forgotten = place.wire.put(place.at("g1"), body)
    refused = apply(place, "one", size=2)

    assert "managedFields" not in forgotten.metadata
    assert refused.body["message"] == (
        'Apply failed with 1 conflict: conflict with "before-first-apply" using contract.dev/v1: .spec.size'
    )


def test_managed_fields_that_are_left_out_are_kept(place: Place) -> None:
    made = apply(place, "one", size=1)

    new = place.wire.put(place.at("g1"), place.gadget("g1", {"resourceVersion": made.version}, spec={"size": 1}))

    assert new.metadata["managedFields"] == made.metadata["managedFields"]


# --- what is refused ---


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({"kind": ""}, (400, "BadRequest")),
        ({"kind": "Widget"}, (400, "BadRequest")),
        ({"apiVersion": "v1"}, (400, "BadRequest")),
        ({"metadata": {"name": "g2"}}, (400, "BadRequest")),
        ({"metadata": {"name": "g1", "managedFields": []}}, (400, "BadRequest")),
        ({"metadata": {"name": "g1", "resourceVersion": "1"}}, (409, "Conflict")),
        ({"metadata": {"name": "g1", "uid": "other"}}, (422, "Invalid")),
        ({"spec": {"size": 99}}, (422, "Invalid")),
        ({"spec": {"odd": 1}}, (500, "")),
        ({"spec": {"size": "x"}}, (500, "")),
        ({"spec": {"ports": [{"name": "a"}, {"name": "a"}]}}, (500, "")),
        ({"spec": {"ports": [{"number": 1}]}}, (500, "")),
    ],
    ids=str,
)
def test_applies_that_are_refused(place: Place, change: Obj, refusal: tuple[int, str]) -> None:
    apply(place, "one", mode="a")

    assert place.wire.apply(place.at("g1"), place.gadget("g1") | change, "two").refusal == refusal


def test_an_applier_has_a_name_and_only_he_forces(place: Place) -> None:
    apply(place, "one", size=1)
    kind = "application/apply-patch+yaml"

    nameless = place.wire.call("PATCH", place.at("g1"), place.gadget("g1"), kind)
    forced = place.wire.merge(place.at("g1"), {}, force="true")

    assert nameless.refusal == forced.refusal == (422, "Invalid")
    assert nameless.causes == [("FieldValueRequired", "fieldManager")]
    assert forced.causes == [("FieldValueForbidden", "force")]
    assert place.wire.call("PATCH", place.at("g1"), b"{", kind, fieldManager="one").refusal == (400, "BadRequest")


def test_a_dry_run_owns_nothing(place: Place) -> None:
    made = place.wire.apply(place.at("g1"), place.gadget("g1", spec={"size": 1}), "one", dryRun="All")

    assert (made.code, made.body["spec"]["size"]) == (201, 1)
    assert place.wire.get(place.at("g1")).code == 404


def test_yaml_is_understood(place: Place) -> None:
    body = b"apiVersion: contract.dev/v1\nkind: Gadget\nmetadata:\n  name: g1\nspec:\n  tags: [a, b]\n"

    made = place.wire.call("PATCH", place.at("g1"), body, "application/apply-patch+yaml", fieldManager="one")

    assert (made.code, made.body["spec"]["tags"]) == (201, ["a", "b"])


def test_applying_to_a_built_in_kind(place: Place) -> None:
    path = f"/api/v1/namespaces/{place.namespace}"
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": place.namespace, "labels": {"a": "b"}}}

    new = place.wire.apply(path, body, "one")
    gone = place.wire.apply(path, {**body, "metadata": {"name": place.namespace}}, "one")

    assert new.metadata["labels"]["a"] == "b"
    assert gone.metadata["labels"] == {"kubernetes.io/metadata.name": place.namespace}
