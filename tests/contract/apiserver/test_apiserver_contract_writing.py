"""Writes on both servers: names, conflicts, generations, the status by itself, patches, and dry runs."""

from __future__ import annotations

from typing import Any

import pytest

from actors.sim.serve_contract import Place

# --- creating ---


def test_what_a_created_object_has(place: Place) -> None:
    body = place.gadget("g1", {"labels": {"a": "b"}}, spec={"size": 1}, status={"healthy": True})

    made = place.wire.post(place.all, body)

    assert made.code == 201
    assert made.metadata["generation"] == 1
    assert (made.metadata["name"], made.metadata["namespace"]) == ("g1", place.namespace)
    assert made.metadata["labels"] == {"a": "b"}
    assert len(made.metadata["uid"]) == 36
    assert made.metadata["creationTimestamp"].endswith("Z")
    assert made.body["spec"] == {"size": 1, "timeout": "60s"}
    assert "status" not in made.body
    assert (made.body["apiVersion"], made.body["kind"]) == ("contract.dev/v1", "Gadget")


def test_a_name_is_taken_once(place: Place) -> None:
    place.make("g1")

    again = place.wire.post(place.all, place.gadget("g1"))

    assert again.refusal == (409, "AlreadyExists")
    assert again.body["message"] == 'gadgets.contract.dev "g1" already exists'
    assert again.body["details"] == {"name": "g1", "group": "contract.dev", "kind": "gadgets"}


@pytest.mark.parametrize("name", ["Upper", "a_b", "-a", "a-", "a..b", "a.-b", "x" * 254])
def test_names_are_subdomains(place: Place, name: str) -> None:
    answer = place.wire.post(place.all, place.gadget(name))

    assert answer.refusal == (422, "Invalid")
    assert answer.causes == [("FieldValueInvalid", "metadata.name")]


@pytest.mark.parametrize("name", ["a", "0", "a.b-c", "x" * 253])
def test_subdomains_are_names(place: Place, name: str) -> None:
    assert place.make(name).metadata["name"] == name


def test_a_name_is_required(place: Place) -> None:
    answer = place.wire.post(place.all, place.gadget(""))

    assert answer.refusal == (422, "Invalid")
    assert answer.causes == [("FieldValueRequired", "metadata.name")]


@pytest.mark.parametrize(("prefix", "length"), [("g1-", 8), ("g1", 7), ("a.b-", 9), ("x" * 70, 63)])
def test_names_are_made_of_a_prefix(place: Place, prefix: str, length: int) -> None:
    made = place.wire.post(place.all, {**place.gadget("x"), "metadata": {"generateName": prefix}})

    assert made.code == 201
    assert made.metadata["generateName"] == prefix
    assert len(made.metadata["name"]) == length
    assert made.metadata["name"].startswith(prefix[:58])


@pytest.mark.parametrize(
    ("prefix", "fields"),
    [("c1.", ["metadata.generateName"]), ("C1-", ["metadata.generateName", "metadata.name"])],
)
def test_prefixes_that_make_no_names(place: Place, prefix: str, fields: list[str]) -> None:
    answer = place.wire.post(place.all, {**place.gadget("x"), "metadata": {"generateName": prefix}})

    assert answer.refusal == (422, "Invalid")
    assert answer.causes == [("FieldValueInvalid", field) for field in fields]


@pytest.mark.parametrize(
    ("metadata", "refusal", "causes"),
    [
        ({"labels": {"a b": "c"}}, (422, "Invalid"), [("FieldValueInvalid", "metadata.labels")]),
        ({"labels": {"a": "c d"}}, (422, "Invalid"), [("FieldValueInvalid", "metadata.labels")]),
        ({"labels": {"a": 1}}, (400, "BadRequest"), []),
        ({"annotations": {"a b": "c d"}}, (422, "Invalid"), [("FieldValueInvalid", "metadata.annotations")]),
        (
            {"ownerReferences": [{"kind": "A"}]},
            (422, "Invalid"),
            [("FieldValueRequired", f"metadata.ownerReferences[0].{field}") for field in ("apiVersion", "name", "uid")],
        ),
        ({"namespace": "other"}, (400, "BadRequest"), []),
        ({"resourceVersion": "12"}, (500, ""), []),
    ],
)
def test_metadata_that_are_refused(
    place: Place, metadata: dict[str, Any], refusal: tuple[int, str], causes: list[tuple[str, str]]
) -> None:
    answer = place.wire.post(place.all, place.gadget("g1", metadata))

    assert answer.refusal == refusal
    assert answer.causes == causes


def test_labels_are_checked_when_they_change(place: Place) -> None:
    place.make("g1")

    answer = place.wire.merge(place.at("g1"), {"metadata": {"labels": {"a": "c d"}}})

    assert answer.refusal == (422, "Invalid")
    assert place.wire.merge(place.at("g1"), {"metadata": {"labels": {"a/b": "c.d", "e": ""}}}).code == 200


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({"kind": "Widget"}, (422, "Invalid")),
        ({"kind": ""}, (400, "BadRequest")),
        ({"apiVersion": "v1"}, (400, "BadRequest")),
        ({"apiVersion": ""}, (400, "BadRequest")),
    ],
)
def test_an_object_says_what_it_is(place: Place, change: dict[str, str], refusal: tuple[int, str]) -> None:
    assert place.wire.post(place.all, place.gadget("g1") | change).refusal == refusal


@pytest.mark.parametrize("body", [b"{", b"[1]", b""])
def test_what_is_no_object(place: Place, body: bytes) -> None:
    assert place.wire.post(place.all, body).refusal == (400, "BadRequest")


def test_no_object_in_a_namespace_that_is_not_there(place: Place) -> None:
    answer = place.wire.post(place.of("nowhere"), place.gadget("g1"))

    assert answer.refusal == (404, "NotFound")
    assert answer.body["message"] == 'namespaces "nowhere" not found'


# --- replacing ---


def test_a_replacement_replaces_all_but_identity_and_status(place: Place) -> None:
    made = place.make("g1", {"labels": {"a": "b"}}, size=1, mode="a")
    place.wire.merge(place.at("g1", "status"), {"status": {"healthy": True}})
    version = place.wire.get(place.at("g1")).version

    body = place.gadget("g1", {"resourceVersion": version}, spec={"size": 2}, status={"healthy": False})
    new = place.wire.put(place.at("g1"), body)

    assert new.code == 200
    assert new.body["spec"] == {"size": 2, "timeout": "60s"}
    assert new.body["status"] == {"healthy": True}
    assert "labels" not in new.metadata
    assert (new.metadata["uid"], new.metadata["generation"]) == (made.metadata["uid"], 2)
    assert new.metadata["creationTimestamp"] == made.metadata["creationTimestamp"]


@pytest.mark.parametrize(
    ("metadata", "refusal"),
    [
        ({"resourceVersion": "1"}, (409, "Conflict")),
        ({}, (422, "Invalid")),
        ({"uid": "other"}, (409, "Conflict")),
        ({"name": "g2"}, (400, "BadRequest")),
        ({"name": ""}, (400, "BadRequest")),
        ({"namespace": "other"}, (400, "BadRequest")),
        ({"deletionTimestamp": "2020-01-01T00:00:00Z"}, (422, "Invalid")),
    ],
    ids=str,
)
@pytest.mark.parametrize("sub", ["", "status"])
def test_replacements_that_are_refused(
    place: Place, sub: str, metadata: dict[str, str], refusal: tuple[int, str]
) -> None:
    made = place.make("g1")
    known = {"resourceVersion": made.version} if metadata else {}
    if sub and "deletionTimestamp" in metadata:
        refusal = (200, "")  # of metadata the status path takes nothing

    answer = place.wire.put(place.at("g1", sub), place.gadget("g1", known | metadata, spec={"size": 2}))

    assert answer.refusal == refusal


def test_an_object_that_is_not_there_is_not_replaced(place: Place) -> None:
    answer = place.wire.put(place.at("g1"), place.gadget("g1", {"resourceVersion": "1"}))

    assert answer.refusal == (404, "NotFound")


# --- patching ---


def test_a_merge_patch_merges(place: Place) -> None:
    place.make("g1", size=1, mode="a", by={"x": 1, "y": 2}, atomic=["p", "q"])

    patch = {"spec": {"mode": None, "size": 2, "by": {"x": None, "z": 3}, "atomic": ["r"]}}
    new = place.wire.merge(place.at("g1"), patch)

    assert new.body["spec"] == {"size": 2, "by": {"y": 2, "z": 3}, "atomic": ["r"], "timeout": "60s"}


def test_null_takes_the_default_again(place: Place) -> None:
    place.make("g1", timeout="5s")

    assert place.wire.merge(place.at("g1"), {"spec": {"timeout": None}}).body["spec"] == {"timeout": "60s"}


@pytest.mark.parametrize("sub", ["", "status"])
def test_a_patch_may_insist_on_a_version(place: Place, sub: str) -> None:
    made = place.make("g1")
    place.wire.merge(place.at("g1"), {"spec": {"size": 1}})
    patch: dict[str, Any] = {
        "metadata": {"resourceVersion": made.version},
        "spec": {"size": 2},
        "status": {"healthy": True},
    }

    stale = place.wire.merge(place.at("g1", sub), patch)
    patch["metadata"]["resourceVersion"] = place.wire.get(place.at("g1")).version
    fresh = place.wire.merge(place.at("g1", sub), patch)

    assert stale.refusal == (409, "Conflict")
    assert stale.body["message"] == (
        'Operation cannot be fulfilled on gadgets.contract.dev "g1": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )
    assert fresh.code == 200


@pytest.mark.parametrize(
    ("patch", "refusal", "fields"),
    [
        ({"metadata": {"uid": "1"}}, (422, "Invalid"), ["metadata.uid"]),
        ({"metadata": {"name": "g2"}}, (400, "BadRequest"), []),
        ({"metadata": {"resourceVersion": None}, "spec": {"size": 1}}, (422, "Invalid"), ["metadata.resourceVersion"]),
        ({"metadata": {"deletionTimestamp": "2020-01-01T00:00:00Z"}}, (422, "Invalid"), ["metadata.deletionTimestamp"]),
        ([1], (400, "BadRequest"), []),
    ],
    ids=str,
)
def test_merge_patches_that_are_refused(place: Place, patch: Any, refusal: tuple[int, str], fields: list[str]) -> None:
    place.make("g1")

    answer = place.wire.merge(place.at("g1"), patch)

    assert answer.refusal == refusal
    assert [field for _, field in answer.causes] == fields


def test_a_json_patch(place: Place) -> None:
    place.make("g1", size=1, atomic=["p"], by={"x/y": 1})

    new = place.wire.json_patch(place.at("g1"), [
        {"op": "test", "path": "/spec/size", "value": 1},
        {"op": "replace", "path": "/spec/size", "value": 2},
        {"op": "add", "path": "/spec/atomic/-", "value": "r"},
        {"op": "add", "path": "/spec/atomic/1", "value": "q"},
        {"op": "copy", "from": "/spec/by/x~1y", "path": "/spec/by/z"},
        {"op": "move", "from": "/spec/by/x~1y", "path": "/spec/by/w"},
        {"op": "add", "path": "/spec/mode", "value": "a"},
        {"op": "remove", "path": "/spec/mode"},
        {"op": "replace", "path": "/spec/label", "value": "abc"},
        {"op": "copy", "from": "/spec/none", "path": "/spec/mode"},
    ])  # fmt: skip

    assert new.code == 200, new
    assert new.body["spec"] == {
        "size": 2, "atomic": ["p", "q", "r"], "by": {"w": 1, "z": 1}, "label": "abc", "timeout": "60s",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("operations", "refusal"),
    [
        ([{"op": "test", "path": "/spec/size", "value": 9}], (422, "Invalid")),
        ([{"op": "test", "path": "/spec/mode", "value": "a"}], (422, "Invalid")),
        ([{"op": "remove", "path": "/spec/mode"}], (422, "Invalid")),
        ([{"op": "move", "from": "/spec/mode", "path": "/spec/label"}], (422, "Invalid")),
        ([{"op": "add", "path": "/spec/by/x", "value": 1}], (422, "Invalid")),
        ([{"op": "add", "path": "/spec/atomic/5", "value": "x"}], (422, "Invalid")),
        ([{"op": "odd", "path": "/spec/size"}], (422, "Invalid")),
        ({"op": "remove", "path": "/spec/size"}, (400, "BadRequest")),
        ([{"op": "replace", "path": "/metadata/resourceVersion", "value": "1"}], (409, "Conflict")),
    ],
    ids=str,
)
def test_json_patches_that_are_refused(place: Place, operations: Any, refusal: tuple[int, str]) -> None:
    made = place.make("g1", size=1, atomic=["p"])

    assert place.wire.json_patch(place.at("g1"), operations).refusal == refusal
    assert place.wire.get(place.at("g1")).version == made.version


@pytest.mark.parametrize("kind", ["application/strategic-merge-patch+json", "application/json", "text/plain"])
def test_other_patches_are_not_understood(place: Place, kind: str) -> None:
    place.make("g1")

    answer = place.wire.call("PATCH", place.at("g1"), {"spec": {"size": 2}}, kind)

    assert answer.refusal == (415, "UnsupportedMediaType")
    assert answer.body["message"].endswith(
        "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"
    )


def test_a_strategic_merge_patch_of_a_built_in_kind(place: Place) -> None:
    answer = place.wire.strategic(f"/api/v1/namespaces/{place.namespace}", {"metadata": {"labels": {"a": "b"}}})

    assert answer.code == 200
    assert answer.metadata["labels"] == {"a": "b", "kubernetes.io/metadata.name": place.namespace}


@pytest.mark.parametrize("kind", ["merge", "json_patch"])
def test_what_is_not_there_is_not_patched(place: Place, kind: str) -> None:
    answer = getattr(place.wire, kind)(place.at("g1"), {} if kind == "merge" else [])

    assert answer.refusal == (404, "NotFound")


# --- generation and status ---


def test_the_generation_counts_changes_of_the_spec(place: Place) -> None:
    place.make("g1", size=1)

    def generation(sub: str, patch: Any) -> int:
        answer = place.wire.merge(place.at("g1", sub), patch)
        assert answer.code == 200
        return int(answer.metadata["generation"])

    assert generation("", {"metadata": {"labels": {"a": "b"}, "generation": 77}}) == 1
    assert generation("status", {"status": {"healthy": True}}) == 1
    assert generation("", {"status": {"healthy": False}}) == 1
    assert generation("", {"spec": {"size": 1}}) == 1
    assert generation("", {"spec": {"size": 2}}) == 2
    assert generation("status", {"spec": {"size": 3}}) == 2


def test_the_status_path_writes_the_status_only(place: Place) -> None:
    made = place.make("g1", size=1)
    body = {
        "metadata": {"labels": {"a": "b"}, "uid": "wrong", "finalizers": ["contract.dev/a"]},
        "spec": {"size": 2}, "status": {"healthy": True},
    }  # fmt: skip

    new = place.wire.merge(place.at("g1", "status"), body)

    assert new.code == 200
    assert new.body["status"] == {"healthy": True}
    assert new.body["spec"] == made.body["spec"]
    assert new.metadata["uid"] == made.metadata["uid"]
    assert not {"labels", "finalizers"} & new.metadata.keys()


def test_the_main_path_writes_no_status(place: Place) -> None:
    place.make("g1", size=1)
    place.wire.merge(place.at("g1", "status"), {"status": {"count": 1}})

    new = place.wire.merge(place.at("g1"), {"spec": {"size": 2}, "status": {"count": 2}})

    assert (new.body["spec"]["size"], new.body["status"]) == (2, {"count": 1})


def test_a_status_is_replaced_and_removed(place: Place) -> None:
    made = place.make("g1")
    first = place.wire.put(
        place.at("g1", "status"), place.gadget("g1", {"resourceVersion": made.version}, status={"count": 1})
    )
    second = place.wire.put(place.at("g1", "status"), place.gadget("g1", {"resourceVersion": first.version}))

    assert (first.code, first.body["status"]) == (200, {"count": 1})
    assert (second.code, "status" in second.body) == (200, False)


# --- dry runs ---


def test_a_dry_run_changes_nothing(place: Place) -> None:
    made = place.make("g1", size=1)
    with place.wire.watch(place.all, resourceVersion=made.version, timeoutSeconds="1") as stream:
        new = place.wire.post(place.all, place.gadget("g2"), dryRun="All")
        patched = place.wire.merge(place.at("g1"), {"spec": {"size": 2}}, dryRun="All")
        replaced = place.wire.put(
            place.at("g1"), place.gadget("g1", {"resourceVersion": made.version}, spec={"size": 3}), dryRun="All"
        )
        deleted = place.wire.delete(place.at("g1"), dryRun="All")
        emptied = place.wire.delete(place.all, dryRun="All")
        assert list(stream) == []

    assert (new.code, new.metadata["generation"]) == (201, 1)
    assert (patched.code, patched.body["spec"]["size"], patched.metadata["generation"]) == (200, 2, 2)
    assert (replaced.code, replaced.body["spec"]["size"]) == (200, 3)
    assert (deleted.code, deleted.body["status"]) == (200, "Success")
    assert (emptied.code, emptied.names) == (200, ["g1"])
    assert place.wire.get(place.all).body["items"] == [made.body]


def test_a_dry_run_is_refused_as_the_write_would_be(place: Place) -> None:
    place.make("g1")

    assert place.wire.post(place.all, place.gadget("g1"), dryRun="All").refusal == (409, "AlreadyExists")
    assert place.wire.post(place.all, place.gadget("g2", spec={"size": 11}), dryRun="All").refusal == (422, "Invalid")


@pytest.mark.parametrize(
    ("query", "cause"),
    [
        ({"dryRun": "Some"}, ("FieldValueNotSupported", "dryRun")),
        ({"fieldValidation": "Odd"}, ("FieldValueNotSupported", "fieldValidation")),
        ({"fieldManager": "m" * 129}, ("FieldValueTooLong", "fieldManager")),
    ],
)
def test_options_that_are_refused(place: Place, query: dict[str, str], cause: tuple[str, str]) -> None:
    answer = place.wire.post(place.all, place.gadget("g1"), **query)

    assert answer.refusal == (422, "Invalid")
    assert answer.causes == [cause]
    assert answer.body["details"]["kind"] == "CreateOptions"
