"""Deletions on both servers: finalizers, preconditions, collections, and the ends of namespaces and definitions.

A real namespace is emptied by a controller, which a server by itself has not: where a case needs one, it plays it (``empty``).
"""

from __future__ import annotations

import copy
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from actors.sim.serve_contract import Place

Obj = dict[str, Any]

NAMESPACES = "/api/v1/namespaces"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
HELD = {"finalizers": ["contract.dev/a", "contract.dev/b"]}
HOLD = {"finalizers": ["contract.dev/a"]}
FREE = {"metadata": {"finalizers": None}}


def until(condition: Callable[[], bool]) -> None:
    until_s = time.monotonic() + 15.0
    while not condition():
        assert time.monotonic() < until_s, "it did not happen"
        time.sleep(0.05)


def empty(place: Place) -> None:
    """What the controller does of a namespace that is terminating: delete what is in it, and say so."""
    if place.real:
        assert place.wire.delete(place.all).code == 200
        place.wire.delete(f"{NAMESPACES}/{place.namespace}/events")
        if not place.wire.get(place.all).names:
            body = place.wire.get(f"{NAMESPACES}/{place.namespace}").body
            body["spec"]["finalizers"] = []
            assert place.wire.put(f"{NAMESPACES}/{place.namespace}/finalize", body).code == 200


# --- one object ---


def test_a_deletion_says_what_is_gone(place: Place) -> None:
    made = place.make("g1")

    gone = place.wire.delete(place.at("g1"))

    assert (gone.code, gone.body["kind"], gone.body["status"]) == (200, "Status", "Success")
    assert gone.body["details"] == {
        "name": "g1", "group": "contract.dev", "kind": "gadgets", "uid": made.metadata["uid"],
    }  # fmt: skip
    assert place.wire.get(place.at("g1")).refusal == (404, "NotFound")
    assert place.wire.delete(place.at("g1")).refusal == (404, "NotFound")
    assert place.make("g1").metadata["uid"] != made.metadata["uid"]


def test_finalizers_hold_an_object(place: Place) -> None:
    place.make("g1", HELD, size=1)

    marked = place.wire.delete(place.at("g1"))
    again = place.wire.delete(place.at("g1"))

    assert (marked.code, marked.body["kind"]) == (200, "Gadget")
    assert marked.metadata["deletionTimestamp"].endswith("Z")
    assert marked.metadata["deletionGracePeriodSeconds"] == 0
    assert marked.metadata["finalizers"] == HELD["finalizers"]
    assert marked.metadata["generation"] == 2
    assert again.body == marked.body
    assert place.wire.get(place.at("g1")).body == marked.body


def test_an_object_that_is_being_deleted_can_be_written(place: Place) -> None:
    place.make("g1", HELD, size=1)
    marked = place.wire.delete(place.at("g1"))

    new = place.wire.merge(place.at("g1"), {"spec": {"size": 2}, "metadata": {"deletionTimestamp": None}})
    told = place.wire.merge(place.at("g1", "status"), {"status": {"healthy": False}, **FREE})

    assert (new.body["spec"]["size"], new.metadata["generation"]) == (2, 3)
    assert new.metadata["deletionTimestamp"] == marked.metadata["deletionTimestamp"]
    assert told.metadata["finalizers"] == HELD["finalizers"]


def test_no_finalizers_are_added_while_deleting(place: Place) -> None:
    place.make("g1", HELD)
    place.wire.delete(place.at("g1"))

    for finalizers in (["contract.dev/a", "contract.dev/c"], ["contract.dev/c"]):
        answer = place.wire.merge(place.at("g1"), {"metadata": {"finalizers": finalizers}})
        assert answer.refusal == (422, "Invalid")
        assert answer.causes == [("FieldValueForbidden", "metadata.finalizers")]
        assert 'found new finalizers []string{"contract.dev/c"}' in answer.body["message"]


def test_the_last_finalizer_that_goes_takes_the_object_along(place: Place) -> None:
    place.make("g1", HELD, size=1)
    place.wire.delete(place.at("g1"))
    with place.wire.watch(place.all, resourceVersion=place.now()) as stream:
        one = place.wire.json_patch(place.at("g1"), [{"op": "remove", "path": "/metadata/finalizers/0"}])
        last = place.wire.merge(place.at("g1"), FREE)
        assert stream.brief(2) == [("MODIFIED", "g1"), ("DELETED", "g1")]

    assert (one.code, one.metadata["finalizers"], one.metadata["generation"]) == (200, ["contract.dev/b"], 2)
    assert (last.code, "finalizers" in last.metadata) == (200, False)
    assert place.wire.get(place.at("g1")).code == 404


def test_finalizers_alone_delete_nothing(place: Place) -> None:
    place.make("g1", HELD)

    assert place.wire.merge(place.at("g1"), FREE).code == 200
    assert place.wire.get(place.at("g1")).code == 200


def test_the_name_of_what_is_being_deleted_is_taken(place: Place) -> None:
    place.make("g1", HOLD)
    place.wire.delete(place.at("g1"))

    answer = place.wire.post(place.all, place.gadget("g1"))

    assert answer.refusal == (409, "AlreadyExists")
    assert answer.body["message"] == 'object is being deleted: gadgets.contract.dev "g1" already exists'


@pytest.mark.parametrize("field", ["uid", "resourceVersion"])
def test_preconditions(place: Place, field: str) -> None:
    made = place.make("g1")

    refused = place.wire.delete(place.at("g1"), {"preconditions": {field: "1"}})
    gone = place.wire.delete(place.at("g1"), {"preconditions": {field: made.metadata[field]}})

    assert refused.refusal == (409, "Conflict")
    assert "in the precondition (1) does not match the" in refused.body["message"]
    assert gone.code == 200
    assert place.wire.get(place.at("g1")).code == 404


def test_a_stale_version_does_not_delete(place: Place) -> None:
    made = place.make("g1")
    place.wire.merge(place.at("g1"), {"spec": {"size": 1}})

    assert place.wire.delete(place.at("g1"), {"preconditions": {"resourceVersion": made.version}}).code == 409


def test_a_dry_run_marks_nothing(place: Place) -> None:
    place.make("g1", HOLD)

    shown = place.wire.delete(place.at("g1"), {"dryRun": ["All"]})

    assert "deletionTimestamp" in shown.metadata
    assert "deletionTimestamp" not in place.wire.get(place.at("g1")).metadata


def test_propagation_policies(place: Place) -> None:
    place.make("g1")

    odd = place.wire.delete(place.at("g1"), propagationPolicy="Odd")
    gone = place.wire.delete(place.at("g1"), propagationPolicy="Background")

    assert odd.refusal == (422, "Invalid")
    assert odd.causes == [("FieldValueNotSupported", "propagationPolicy")]
    assert (gone.code, gone.body["status"]) == (200, "Success")


def test_a_collection(place: Place) -> None:
    """The answer is the list of what was there; finalizers hold theirs."""
    for name in ("g1", "g2", "g3"):
        place.make(name, {"labels": {"tier": "front"}, **(HOLD if name == "g3" else {})})
    place.make("g4", {"labels": {"tier": "back"}})

    answer = place.wire.delete(place.all, labelSelector="tier=front")

    assert (answer.code, answer.body["kind"], answer.names) == (200, "GadgetList", ["g1", "g2", "g3"])
    left = place.wire.get(place.all)
    assert left.names == ["g3", "g4"]
    assert ["deletionTimestamp" in item["metadata"] for item in left.body["items"]] == [True, False]


# --- namespaces ---


def test_a_namespace_is_active_until_it_is_deleted(place: Place) -> None:
    found = place.wire.get(f"{NAMESPACES}/{place.namespace}")

    assert found.body["spec"] == {"finalizers": ["kubernetes"]}
    assert found.body["status"] == {"phase": "Active"}
    assert found.metadata["labels"] == {"kubernetes.io/metadata.name": place.namespace}
    patch = {"spec": {"finalizers": []}, "status": {"phase": "Terminating"}}
    unmoved = place.wire.merge(f"{NAMESPACES}/{place.namespace}", patch)
    assert (unmoved.body["spec"], unmoved.body["status"]) == (found.body["spec"], found.body["status"])


def test_a_namespace_that_is_terminating_takes_nothing_new(place: Place) -> None:
    path = f"{NAMESPACES}/{place.namespace}"
    place.make("held", HOLD)
    place.make("free")

    marked = place.wire.delete(path)
    empty(place)

    assert (marked.code, marked.body["kind"], marked.body["status"]["phase"]) == (200, "Namespace", "Terminating")
    assert "deletionTimestamp" in marked.metadata
    assert place.wire.get(place.all).names == ["held"]
    for answer in (
        place.wire.post(place.all, place.gadget("new")),
        place.wire.apply(place.at("new"), place.gadget("new"), "one"),
    ):
        assert answer.refusal == (403, "Forbidden")
        assert answer.causes == [("NamespaceTerminating", "metadata.namespace")]
        assert answer.body["message"] == (
            f'gadgets.contract.dev "new" is forbidden: unable to create new content in namespace {place.namespace} '
            "because it is being terminated"
        )
    note = {"metadata": {"name": "e"}, "involvedObject": {"namespace": place.namespace}, "type": "Normal"}
    assert place.wire.post(f"{path}/events", note).refusal == (403, "Forbidden")
    assert place.wire.merge(place.at("held"), {"spec": {"size": 1}}).code == 200
    assert place.wire.post(NAMESPACES, {"metadata": {"name": place.namespace}}).refusal == (409, "AlreadyExists")
    assert place.wire.get(path).body["status"]["phase"] == "Terminating"


def test_a_namespace_goes_when_the_last_in_it_has_gone(place: Place) -> None:
    path = f"{NAMESPACES}/{place.namespace}"
    place.make("held", HOLD)
    place.wire.delete(path)
    empty(place)
    assert place.wire.get(path).code == 200

    assert place.wire.merge(place.at("held"), FREE).code == 200
    empty(place)

    assert place.wire.get(path).refusal == (404, "NotFound")
    assert place.wire.post(NAMESPACES, {"metadata": {"name": place.namespace}}).code == 201
    assert place.wire.get(place.all).names == []


def test_an_empty_namespace_goes_too(place: Place) -> None:
    path = f"{NAMESPACES}/{place.namespace}"
    assert place.wire.delete(path).code == 200
    empty(place)

    assert place.wire.get(path).code == 404


def test_finalizers_of_a_namespace(place: Place) -> None:
    """Two kinds: those of its metadata, which its owner takes off, and those of its spec, which only ``finalize`` does."""
    name = place.namespace + "-f"
    path = f"{NAMESPACES}/{name}"
    body: Obj = {"metadata": {"name": name, **HOLD}, "spec": {"finalizers": ["contract.dev/s"]}}
    made = place.wire.post(NAMESPACES, body)
    assert made.body["spec"] == {"finalizers": ["contract.dev/s", "kubernetes"]}
    assert place.wire.delete(path).body["status"] == {"phase": "Terminating"}

    assert place.wire.merge(path, FREE).code == 200
    assert place.wire.get(path).code == 200
    body = place.wire.get(path).body
    body["spec"]["finalizers"] = ["contract.dev/s"]
    kept = place.wire.put(f"{path}/finalize", body)
    assert (kept.code, kept.body["spec"]) == (200, {"finalizers": ["contract.dev/s"]})
    body = kept.body
    body["spec"]["finalizers"] = []
    assert place.wire.put(f"{path}/finalize", body).code == 200

    assert place.wire.get(path).code == 404


@pytest.mark.parametrize("name", ["default", "kube-system", "kube-public"])
def test_some_namespaces_are_immortal(place: Place, name: str) -> None:
    answer = place.wire.delete(f"{NAMESPACES}/{name}")

    assert answer.refusal == (403, "Forbidden")
    assert answer.body["message"] == f'namespaces "{name}" is forbidden: this namespace may not be deleted'


def test_a_namespace_has_no_dots(place: Place) -> None:
    answer = place.wire.post(NAMESPACES, {"metadata": {"name": "a.b"}})

    assert answer.refusal == (422, "Invalid")
    assert answer.causes == [("FieldValueInvalid", "metadata.name")]


def test_a_namespace_is_replaced_without_a_version(place: Place) -> None:
    body = {"metadata": {"name": place.namespace, "labels": {"a": "b"}}}

    new = place.wire.put(f"{NAMESPACES}/{place.namespace}", body)

    assert (new.code, new.metadata["labels"]["a"]) == (200, "b")


# --- definitions ---


def test_a_definition_goes_when_the_last_of_its_kind_has_gone(place: Place) -> None:
    word = f"thing{uuid.uuid4().hex[:8]}"
    things = f"/apis/contract.dev/v1/namespaces/{place.namespace}/{word}s"
    path = f"{CRDS}/{word}s.contract.dev"
    crd = copy.deepcopy(place.wire.get(f"{CRDS}/gadgets.contract.dev").body)
    names = {"plural": word + "s", "kind": word.capitalize()}
    place.twin.define(
        {
            "apiVersion": crd["apiVersion"],
            "kind": crd["kind"],
            "metadata": {"name": f"{word}s.contract.dev"},
            "spec": {**crd["spec"], "names": names},
        }
    )

    def thing(name: str, metadata: Obj) -> Obj:
        return {"apiVersion": "contract.dev/v1", "kind": names["kind"], "metadata": {"name": name, **metadata}}

    assert place.wire.post(things, thing("held", HOLD)).code == 201
    assert place.wire.post(things, thing("free", {})).code == 201
    marked = place.wire.delete(path)

    assert (marked.code, marked.body["kind"]) == (200, "CustomResourceDefinition")
    assert marked.metadata["finalizers"] == ["customresourcecleanup.apiextensions.k8s.io"]
    assert [one["status"] for one in marked.body["status"]["conditions"] if one["type"] == "Terminating"] == ["True"]
    until(lambda: place.wire.get(things).names == ["held"])
    new = place.wire.post(things, thing("new", {}))
    assert new.refusal == (403, "Forbidden")
    assert new.body["message"].endswith("create not allowed while custom resource definition is terminating")
    assert place.wire.merge(f"{things}/held", FREE).code == 200
    until(lambda: place.wire.get(path).code == 404)
    until(lambda: place.wire.get(things).code == 404)
