"""Kinds that are watched for another one, over HTTP: by threads and by a process, on the model and on a real server.

The nodes' parent is the owner of their owner (a StorageNode stands between), and their heartbeats are Leases beside them.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from actors.core.builtin import MUSTER_FLEET
from actors.core.events import StreamDown
from actors.core.fleet import Health, Lease, OwnerReference
from actors.core.model import ParentKey, Policy
from actors.edge.dispatcher import SystemClock
from actors.edge.kube import KubeClient
from actors.ops.plan import plans
from actors.sim.apiserver import ApiServerModel
from actors.sim.crds import crd_documents
from actors.sim.envtest import RealApiServer
from actors.sim.serve import HttpServer
from actors.sim.serve_api import ApiServerFace

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
COMPUTE, BETWEEN = MUSTER_FLEET.children[0], MUSTER_FLEET.children[1].ref
NODE = evolve(
    COMPUTE,
    mapping=(OwnerReference(through=BETWEEN),),
    health=Health(healthy="status.healthy", heartbeat=Lease(), condition="Healthy"),
)
FLEET = evolve(MUSTER_FLEET, children=(NODE,))
PARENTS, LEASE = MUSTER_FLEET.parent, Lease().ref
BOTH = pytest.mark.parametrize("start", ["thread", "process"], indirect=True)


def until(condition: Callable[[], Any], within_s: float = 30.0) -> None:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() < began + within_s, "it did not happen"
        time.sleep(0.01)


class Town:
    """A namespace with its users."""

    def __init__(self, client: KubeClient) -> None:
        self.client, self.namespace = client, f"t-{uuid.uuid4().hex[:8]}"
        client.request("POST", "/api/v1/namespaces", body={"metadata": {"name": self.namespace}})

    def make(self, ref: Any, name: str, owner: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        refs = []
        if owner is not None:
            of = owner["metadata"]
            refs = [{"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": of["name"], "uid": of["uid"]}]
        body = {
            "apiVersion": ref.api_version, "kind": ref.kind, **more,
            "metadata": {"name": name, "ownerReferences": [each | {"controller": True} for each in refs]},
        }  # fmt: skip
        return self.client.request("POST", ref.path(self.namespace), body=body).json()

    def patch(self, ref: Any, name: str, body: dict[str, Any], sub: str = "") -> None:
        path = ref.path(self.namespace, name) + sub
        self.client.request("PATCH", path, body=body, content_type="application/merge-patch+json")

    def beat(self, name: str) -> None:
        spec = {"renewTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")}
        try:
            self.patch(LEASE, name, {"spec": spec})
        except Exception:  # noqa: BLE001 - the first one
            self.make(LEASE, name, spec=spec)


@pytest.fixture(params=["model", pytest.param("real", marks=[pytest.mark.cluster, pytest.mark.timeout(240)])])
def town(request: pytest.FixtureRequest, tmp_path: Path, write_config: Callable[[Path, str], Path]) -> Iterator[Town]:
    if request.param == "real":
        with RealApiServer(Path(os.environ["KUBEBUILDER_ASSETS"])) as real:
            client = KubeClient(real.kubeconfig)
            for document in crd_documents():
                client.request("POST", CRDS, body=document)
            time.sleep(2.5)  # creates are held until a definition is two seconds old
            yield Town(client)
            client.close()
        return
    model = ApiServerModel(clock=time.time)
    spec = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}
    leases = {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": f"leases.{LEASE.group}"},
        "spec": {"group": LEASE.group, "scope": "Namespaced", "names": {"kind": "Lease", "plural": "leases"},
                 "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}]},
    }  # fmt: skip
    for document in (*crd_documents(), leases):
        model.create("customresourcedefinitions.apiextensions.k8s.io", document)
    with HttpServer(ApiServerFace(model, bookmark_s=0.2).handle) as server:
        client = KubeClient(write_config(tmp_path / "config", f"http://127.0.0.1:{server.port}"))
        yield Town(client)
        client.close()


def settled(town: Town) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two parents; one stands between the first of them and two nodes, which beat."""
    c1, c2 = (town.make(PARENTS, name, spec={}) for name in ("c1", "c2"))
    between = town.make(BETWEEN, "s", c1, spec={})
    for name in ("a", "b"):
        town.make(NODE.ref, name, between, spec={})
        town.patch(NODE.ref, name, {"status": {"healthy": True}}, "/status")
        town.beat(name)
    return c1, c2


@BOTH
def test_parents_come_by_the_owner_between_and_move_with_it(town: Town, start: Any) -> None:
    _, c2 = settled(town)
    _, listener = start(town.client, town.namespace, fleet=FLEET, streamed_list=False)
    until(lambda: listener.synced and listener.up)
    assert listener.held == {"a": True, "b": True}
    assert {listener.child(name).parent for name in "ab"} == {ParentKey(town.namespace, "c1")}

    owner = {
        "apiVersion": c2["apiVersion"],
        "kind": "Cluster",
        "name": "c2",
        "uid": c2["metadata"]["uid"],
        "controller": True,
    }
    town.patch(BETWEEN, "s", {"metadata": {"ownerReferences": [owner]}})
    until(lambda: {listener.child(name).parent for name in "ab"} == {ParentKey(town.namespace, "c2")})
    town.client.request("DELETE", BETWEEN.path(town.namespace, "s"))
    until(lambda: {listener.child(name).parent for name in "ab"} == {None})

    assert listener.of(StreamDown) == []


def test_a_plan_reads_the_sides_too(town: Town) -> None:
    """Else it would see children of no parent."""
    settled(town)
    town.patch(NODE.ref, "a", {"status": {"healthy": False}}, "/status")

    found = plans(town.client, FLEET, Policy(), SystemClock(), namespace=town.namespace, parent="c1")

    (view,) = found.views
    assert (found.parents, found.children, found.problems) == (2, 2, ())
    assert [each["child"] for each in view["repairs"]] == ["a"]


@BOTH
def test_a_node_is_silent_when_its_lease_is_not_renewed_and_speaks_when_it_is(town: Town, start: Any) -> None:
    settled(town)
    reader, listener = start(town.client, town.namespace, fleet=FLEET)
    until(lambda: listener.synced and listener.up)
    reader.set_timeout("ComputeNode", ParentKey(town.namespace, "c1"), 2.0)
    last_s = time.monotonic()
    while not listener.child("b").silent:
        assert time.monotonic() < last_s + 20.0
        town.beat("a")
        time.sleep(0.2)
    assert not listener.child("a").silent

    town.beat("b")
    until(lambda: not listener.child("b").silent, 5.0)
    assert listener.of(StreamDown) == []


def test_a_side_that_raises_makes_all_be_listed_again(town: Town, start: Any) -> None:
    """A bug of ours in any of the streams that feed one intake."""
    settled(town)
    reader, listener = start(town.client, town.namespace, fleet=FLEET)
    until(lambda: listener.synced and listener.up)
    each = reader._kinds["ComputeNode"]
    lease, between = each.sides
    for broken in (lease, each, between):
        listener.synced = False
        with each.lock:
            broken.broken = RuntimeError("planted")
        reader._sever(broken.run)
        until(lambda: listener.synced)
        until(lambda: listener.up)
    assert {fact.message for fact in listener.of(StreamDown)} == {"RuntimeError: planted"}
    assert {listener.child(name).parent for name in "ab"} == {ParentKey(town.namespace, "c1")}
