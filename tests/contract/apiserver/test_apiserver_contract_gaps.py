"""What the model gets wrong: each gap that the docstring of ``actors.sim`` lists, with what either server says.

A gap that is closed, or a real server that changes, fails here: then the list is mended.
"""

from __future__ import annotations

import copy
import time
from typing import Any

import pytest

from actors.sim.apiserver import ApiServerModel
from actors.sim.serve_contract import Place

Obj = dict[str, Any]

NAMESPACES = "/api/v1/namespaces"
ODDITIES: Obj = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "oddities.contract.dev"},
    "spec": {
        "group": "contract.dev",
        "scope": "Namespaced",
        "names": {"plural": "oddities", "kind": "Oddity"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "properties": {
                                    "low": {"type": "integer"},
                                    "high": {"type": "integer"},
                                    "address": {"type": "string", "format": "ipv4"},
                                    "even": {"type": "integer", "multipleOf": 2},
                                    "few": {
                                        "type": "object",
                                        "maxProperties": 9,
                                        "additionalProperties": {"type": "string"},
                                    },
                                },
                                "allOf": [{"properties": {"low": {"minimum": 1}}}],
                                "x-kubernetes-validations": [
                                    {
                                        "rule": "!has(self.high) || !has(self.low) || self.low <= self.high",
                                        "message": "low is above high",
                                    }
                                ],
                            }
                        },
                    }
                },
            }
        ],
    },
}


@pytest.fixture
def oddities(place: Place) -> str:
    """Where the kind Oddity is served."""
    place.twin.define(ODDITIES)
    return f"/apis/contract.dev/v1/namespaces/{place.namespace}/oddities"


def oddity(name: str, **spec: Any) -> Obj:
    return {"apiVersion": "contract.dev/v1", "kind": "Oddity", "metadata": {"name": name}, "spec": spec}


def owners(answer: Any) -> list[str]:
    return [entry["manager"] for entry in answer.metadata.get("managedFields", [])]


def test_no_authentication(place: Place) -> None:
    assert place.wire.nameless().get(place.all).code == (403 if place.real else 200)


@pytest.mark.parametrize(
    "spec",
    [{"low": 2, "high": 1}, {"low": 0}, {"address": "nowhere"}, {"even": 3}],
    ids=["CEL", "allOf", "format", "multipleOf"],
)
def test_not_all_of_a_schema_is_checked(place: Place, oddities: str, spec: Obj) -> None:
    assert place.wire.post(oddities, oddity("o1", **spec)).code == (422 if place.real else 201)


def test_a_definition_is_hardly_checked(place: Place) -> None:
    crd = copy.deepcopy(ODDITIES)
    crd["metadata"]["name"], crd["spec"]["names"] = "blurs.contract.dev", {"plural": "blurs", "kind": "Blur"}
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = {"properties": {"spec": {}}}  # without types

    answer = place.wire.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd, dryRun="All")

    assert answer.code == (422 if place.real else 201)


def test_one_version_of_a_kind(place: Place) -> None:
    crd = copy.deepcopy(ODDITIES)
    crd["metadata"]["name"], crd["spec"]["names"] = "twices.contract.dev", {"plural": "twices", "kind": "Twice"}
    crd["spec"]["versions"].append(crd["spec"]["versions"][0] | {"name": "v2", "storage": False})
    place.twin.define(crd)

    path = f"/apis/contract.dev/v2/namespaces/{place.namespace}/twices"

    assert place.wire.get(path).code == (200 if place.real else 404)


def test_a_new_default_is_not_seen_by_reading(place: Place) -> None:
    crd = copy.deepcopy(ODDITIES)
    crd["metadata"]["name"], crd["spec"]["names"] = "lates.contract.dev", {"plural": "lates", "kind": "Late"}
    place.twin.define(crd)
    path = f"/apis/contract.dev/v1/namespaces/{place.namespace}/lates"
    place.wire.post(path, oddity("o1") | {"kind": "Late"})
    definition = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/lates.contract.dev"
    pointer = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/low/default"
    assert place.wire.json_patch(definition, [{"op": "add", "path": pointer, "value": 5}]).code == 200

    until_s = time.monotonic() + (10.0 if place.real else 0.5)
    while time.monotonic() < until_s and "low" not in place.wire.get(f"{path}/o1").body.get("spec", {}):
        time.sleep(0.1)

    assert place.wire.get(f"{path}/o1").body["spec"] == ({"low": 5} if place.real else {})


def test_plain_writers_own_nothing_until_somebody_applies(place: Place) -> None:
    made = place.make("g1", size=1)
    applied = place.wire.apply(place.at("g1"), place.gadget("g1", spec={"mode": "a"}), "one")

    assert owners(made) == (["contract"] if place.real else [])
    assert owners(applied) == ["one", "contract" if place.real else "before-first-apply"]


def test_lists_of_built_in_kinds_are_not_merged(place: Place) -> None:
    path = f"{NAMESPACES}/{place.namespace}"
    assert place.wire.merge(path, {"metadata": {"finalizers": ["contract.dev/a"]}}).code == 200

    new = place.wire.strategic(path, {"metadata": {"finalizers": ["contract.dev/b"]}})

    assert new.metadata["finalizers"] == (["contract.dev/b", "contract.dev/a"] if place.real else ["contract.dev/b"])
    assert place.wire.merge(path, {"metadata": {"finalizers": None}}).code == 200


@pytest.mark.parametrize(("policy", "finalizer"), [("Foreground", "foregroundDeletion"), ("Orphan", "orphan")])
def test_propagation_policies_are_ignored(place: Place, policy: str, finalizer: str) -> None:
    """The garbage collector takes these finalizers off again; neither server has one."""
    place.make("g1")

    gone = place.wire.delete(place.at("g1"), propagationPolicy=policy)

    assert gone.metadata.get("finalizers", []) == ([finalizer] if place.real else [])


def test_a_namespace_is_emptied_at_once(place: Place) -> None:
    """In a cluster a controller does it a moment later; by itself a server never does."""
    place.make("g1")

    assert place.wire.delete(f"{NAMESPACES}/{place.namespace}").code == 200

    assert place.wire.get(place.all).names == (["g1"] if place.real else [])
    assert place.wire.get(f"{NAMESPACES}/{place.namespace}").code == (200 if place.real else 404)


def test_bookmarks_come_often(place: Place) -> None:
    with place.wire.watch(
        place.all, resourceVersion=place.now(), allowWatchBookmarks="true", timeoutSeconds="1"
    ) as stream:
        kinds = {event["type"] for event in stream}

    assert kinds == (set() if place.real else {"BOOKMARK"})


@pytest.mark.parametrize(
    "path",
    ["/api/v1/pods", "/api/v1/serviceaccounts", "/apis/coordination.k8s.io/v1/leases", "/apis/apps/v1/deployments"],
)
def test_few_built_in_kinds(place: Place, path: str) -> None:
    assert place.wire.get(path).code == (200 if place.real else 404)


def test_only_json_is_spoken(place: Place) -> None:
    kind = "application/vnd.kubernetes.protobuf"

    answer = place.wire.call("GET", f"{NAMESPACES}/default", accept=f"{kind}, application/json")

    assert answer.headers["content-type"] == (kind if place.real else "application/json")


def test_one_and_true_are_equal(place: Place) -> None:
    made = place.make("g1", free={"a": 1})

    new = place.wire.merge(place.at("g1"), {"spec": {"free": {"a": True}}})

    assert (new.version != made.version) is place.real


def test_a_field_that_comes_twice_is_not_noticed(place: Place) -> None:
    body = b'{"apiVersion":"contract.dev/v1","kind":"Gadget","metadata":{"name":"g1"},"spec":{"size":1,"size":2}}'

    assert place.wire.post(place.all, body, fieldValidation="Strict").code == (400 if place.real else 201)


def test_unknown_fields_of_built_in_kinds_are_kept(place: Place) -> None:
    body = {"metadata": {"name": place.namespace + "-x"}, "odd": 1}

    answer = place.wire.post(NAMESPACES, body, fieldValidation="Strict", dryRun="All")

    assert answer.code == (400 if place.real else 201)


def test_of_finalizers_nobody_is_warned(place: Place) -> None:
    made = place.make("g1", {"finalizers": ["short"]})

    assert ("prefer a domain-qualified finalizer name" in made.headers.get("warning", "")) is place.real


def test_heads_and_what_is_below_a_status_are_not_served(place: Place) -> None:
    place.make("g1")

    assert place.wire.call("HEAD", place.all).code == (200 if place.real else 405)
    assert place.wire.get(place.at("g1", "status") + "/odd").code == (200 if place.real else 404)


def test_nothing_outlives_the_process() -> None:
    """A new server answers 410 to watchers from before its first version, and waits for what it takes to be the future."""
    model = ApiServerModel(clock=lambda: 0.0)

    assert model.resource_version == 1004
    assert not model.watch("namespaces", resource_version="5000").poll()
