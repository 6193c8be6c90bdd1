"""The reader over real HTTP: the same cases on the model API server and on a real kube-apiserver, and on servers that lie."""

from __future__ import annotations

import os
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from actors.core.builtin import MUSTER_FLEET
from actors.core.errors import Conflict, Forbidden, NotFound
from actors.core.events import Listed, ObjectRefused, StreamDown
from actors.core.fleet import ChildKind, FieldPath, FleetDefinition, Health, KindRef
from actors.core.model import Child, EventNote, Parent, ParentKey
from actors.core.ports import Objects, StreamChanged
from actors.edge.kube import KubeClient
from actors.edge.reader import KubeReader
from actors.edge.writer import KubeStatusWriter
from actors.sim.apiserver import ApiServerModel
from actors.sim.crds import crd_documents
from actors.sim.envtest import RealApiServer
from actors.sim.serve import HttpServer
from actors.sim.serve_api import ApiServerFace

API = "muster.dev/v1alpha1"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
KIND = "ComputeNode"
NODES = next(ref for ref in MUSTER_FLEET.kinds if ref.kind == KIND)

Start = Callable[..., tuple[KubeReader, Any]]
WriteConfig = Callable[[Path, str], Path]


def until(condition: Callable[[], Any], within_s: float = 30.0) -> float:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() < began + within_s, "it did not happen"
        time.sleep(0.01)
    return time.monotonic() - began


class Api:
    """A namespace of an API server, as its users see it."""

    def __init__(self, client: KubeClient, namespace: str) -> None:
        self.client, self.namespace = client, namespace
        client.request("POST", "/api/v1/namespaces", body={"metadata": {"name": namespace}})

    def path(self, name: str = "") -> str:
        return NODES.path(self.namespace, name)

    def create(self, name: str, cluster: str = "c1", **status: Any) -> None:
        body = {"apiVersion": API, "kind": KIND, "metadata": {"name": name}, "spec": {"clusterRef": {"name": cluster}}}
        self.client.request("POST", self.path(), body=body)
        if status:
            self.report(name, **status)

    def patch(self, name: str, body: dict[str, Any], sub: str = "") -> None:
        self.client.request("PATCH", self.path(name) + sub, body=body, content_type="application/merge-patch+json")

    def report(self, name: str, **status: Any) -> None:
        self.patch(name, {"status": status | {"lastHeartbeatTime": datetime.now(UTC).isoformat()}}, "/status")

    def delete(self, name: str) -> None:
        self.client.request("DELETE", self.path(name))


@pytest.fixture(scope="module")
def real_server() -> Iterator[RealApiServer]:
    with RealApiServer(Path(os.environ["KUBEBUILDER_ASSETS"])) as server:
        client = KubeClient(server.kubeconfig)
        for document in crd_documents():
            client.request("POST", CRDS, body=document)
        time.sleep(2.5)  # creates are held until a definition is two seconds old
        client.close()
        yield server


@pytest.fixture(params=["model", pytest.param("real", marks=[pytest.mark.cluster, pytest.mark.timeout(240)])])
def api(request: pytest.FixtureRequest, tmp_path: Path, write_config: WriteConfig) -> Iterator[Api]:
    namespace = f"t-{uuid.uuid4().hex[:8]}"
    if request.param == "real":
        client = KubeClient(request.getfixturevalue("real_server").kubeconfig)
        yield Api(client, namespace)
        client.close()
        return
    model = ApiServerModel(clock=time.time)
    for document in crd_documents():
        model.create("customresourcedefinitions.apiextensions.k8s.io", document)
    with HttpServer(ApiServerFace(model, bookmark_s=0.2).handle) as server:
        client = KubeClient(write_config(tmp_path / "config", f"http://127.0.0.1:{server.port}"))
        yield Api(client, namespace)
        client.close()


# --- the same on both -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "streamed_list"), [("thread", True), ("thread", False), ("process", True)], indirect=["start"]
)
def test_what_is_there_and_what_changes(api: Api, start: Start, streamed_list: bool) -> None:
    api.create("a", healthy=True)
    api.create("b")
    _, listener = start(api.client, api.namespace, streamed_list=streamed_list)
    until(lambda: listener.synced and listener.up)
    assert listener.held == {"a": True, "b": None}
    assert listener.child("a").parent == ParentKey(api.namespace, "c1")

    api.report("b", healthy=False)
    api.create("c", healthy=True)
    api.delete("a")
    until(lambda: listener.held == {"b": False, "c": True})
    api.patch("c", {"spec": {"clusterRef": {"name": "c2"}}})
    until(lambda: listener.child("c").parent == ParentKey(api.namespace, "c2"))

    assert listener.of(StreamDown) == listener.of(ObjectRefused) == []


@pytest.mark.parametrize("start", ["thread", "process"], indirect=True)
def test_a_heartbeat_goes_nowhere(api: Api, start: Start) -> None:
    api.create("a", healthy=True)
    reader, listener = start(api.client, api.namespace)
    until(lambda: listener.synced and listener.up and reader.statistics()[KIND]["synced"])
    count, version = len(listener.mail), reader.statistics()[KIND]["version"]
    for _ in range(20):
        api.report("a", healthy=True)
    until(lambda: reader.statistics()[KIND]["version"] >= version + 20)

    assert len(listener.mail) == count


def test_rotations_are_told_to_nobody_and_lose_nothing(api: Api, start: Start) -> None:
    api.create("a", healthy=True)
    _, listener = start(api.client, api.namespace, watch_s=1)
    until(lambda: listener.synced and listener.up)
    for number in range(35):
        api.report("a", healthy=number % 2 == 0)
        time.sleep(0.1)
    until(lambda: listener.held == {"a": True})

    assert len(listener.of(StreamChanged)) == 1
    assert listener.of(StreamDown) == []
    assert len(listener.of(Listed)) == 1


@pytest.mark.parametrize("start", ["thread", "process"], indirect=True)
def test_the_same_name_created_again_is_another_node(api: Api, start: Start) -> None:
    api.create("a", healthy=False)
    _, listener = start(api.client, api.namespace)
    until(lambda: listener.synced)
    first = listener.child("a").uid
    api.delete("a")
    api.create("a", healthy=True)
    until(lambda: listener.held == {"a": True})

    assert list(listener.by_uid) != [first]
    assert len(listener.by_uid) == 1


@pytest.mark.parametrize("start", ["thread", "process"], indirect=True)
def test_a_silent_node_is_reported_at_its_deadline_and_again_when_it_speaks(api: Api, start: Start) -> None:
    """On a stream that carries nothing else: the watch is resumed for proof first."""
    api.create("a", healthy=True)
    reader, listener = start(api.client, api.namespace)
    until(lambda: listener.synced and listener.up)
    reader.set_timeout(KIND, ParentKey(api.namespace, "c1"), 3.0)
    time.sleep(1.0)
    spoke = time.monotonic()  # before: it may be heard before we have our answer
    api.report("a", healthy=True)
    until(lambda: listener.child("a").silent)
    assert (
        time.monotonic() - spoke >= 3.0
    )  # how late it may be is a matter of virtual time: see the tests of the intake

    api.report("a", healthy=True)
    until(lambda: not listener.child("a").silent)

    assert listener.of(StreamDown) == []


def test_a_broken_connection_is_resumed_and_nothing_is_missed(api: Api, start: Start) -> None:
    api.create("a", healthy=True)
    api.create("ghost", healthy=True)
    reader, listener = start(api.client, api.namespace)
    until(lambda: listener.synced and listener.up)
    run = reader._kinds[KIND].run
    assert run is not None
    assert run.thread is not None
    assert run.thread.ident is not None
    api.client.sever(run.thread.ident)
    api.delete("ghost")
    api.report("a", healthy=False)

    assert until(lambda: listener.held == {"a": False}) < 3.0
    assert len(listener.of(Listed)) == 1


@pytest.mark.parametrize("start", ["thread", "process"], indirect=True)
def test_a_relist_replaces_and_a_new_epoch_lists_anew(api: Api, start: Start) -> None:
    api.create("a", healthy=True)
    reader, listener = start(api.client, api.namespace)
    until(lambda: listener.synced and listener.up)
    reader.relist(KIND)
    until(lambda: len(listener.of(Listed)) == 2)
    second = type(listener)()
    reader.start(KIND, 2, second)
    until(lambda: second.synced and second.up)

    assert [mail.epoch for mail in second.of(Objects)] == [2]
    assert second.held == {"a": True}
    count = len(listener.mail)
    api.report("a", healthy=False)
    until(lambda: second.held == {"a": False})
    assert len(listener.mail) == count


@pytest.mark.parametrize("start", ["thread", "process"], indirect=True)
def test_parents_come_with_every_version_and_take_a_status(api: Api, start: Start) -> None:
    path = MUSTER_FLEET.parent.path(api.namespace)
    spec = {"heartbeatTimeout": "90s", "minHealthy": 2}
    api.client.request(
        "POST", path, body={"apiVersion": API, "kind": "Cluster", "metadata": {"name": "c1"}, "spec": spec}
    )
    _, listener = start(api.client, api.namespace, kind="Cluster")
    until(lambda: listener.synced)
    (parent,) = listener.by_uid.values()
    assert isinstance(parent, Parent)
    assert (parent.spec.heartbeat_timeout_s, parent.spec.min_healthy, parent.spec.problems) == (90.0, 2, ())

    writer = KubeStatusWriter(api.client, MUSTER_FLEET)
    written = writer.patch_status(parent.key, parent.uid, parent.version, {"total": 3, "healthy": 3})
    until(lambda: [each.version for each in listener.by_uid.values()] == [written.version])
    assert written.status["total"] == 3
    with pytest.raises(Conflict):
        writer.patch_status(parent.key, parent.uid, parent.version, {"total": 4})
    with pytest.raises(NotFound):
        writer.patch_status(ParentKey(api.namespace, "other"), "x", 1, {"total": 4})
    writer.record_event(parent.key, parent.uid, EventNote(type="Warning", reason="RepairsHeld", note="x" * 3000))
    writer.record_event(parent.key, parent.uid, EventNote(type="Warning", reason="RepairsHeld", note="x" * 3000))
    events = api.client.request("GET", f"/apis/events.k8s.io/v1/namespaces/{api.namespace}/events").json()["items"]
    assert [(each["reason"], each["series"]["count"]) for each in events] == [("RepairsHeld", 2)]


def test_what_is_said_again_is_counted_also_by_a_later_process(api: Api) -> None:
    """An empty patch reads the Event: the operator may create and patch Events and nothing else."""
    parent, uid = ParentKey(api.namespace, "c1"), str(uuid.uuid4())
    path = f"/apis/events.k8s.io/v1/namespaces/{api.namespace}/events"
    held = EventNote(type="Warning", reason="TooManyUnhealthy", action="HoldRepairs", note="5 of 9")

    writers = [KubeStatusWriter(api.client, MUSTER_FLEET) for _ in range(3)]
    for writer in writers:
        for _ in range(2):
            writer.record_event(parent, uid, held)
    writers[0].record_event(
        parent, uid, EventNote(type="Normal", reason="RepairsAllowed", action="AllowRepairs", note="1 of 9")
    )

    found = {each["reason"]: each for each in api.client.request("GET", path).json()["items"]}
    assert found.keys() == {"TooManyUnhealthy", "RepairsAllowed"}
    assert found["TooManyUnhealthy"]["series"]["count"] == 6
    assert found["TooManyUnhealthy"]["series"]["lastObservedTime"] > found["TooManyUnhealthy"]["eventTime"]
    assert "series" not in found["RepairsAllowed"]
    assert found["RepairsAllowed"]["regarding"]["name"] == "c1"


def test_an_audit_finds_and_repairs_what_was_lost(api: Api, start: Start) -> None:
    for name in "abc":
        api.create(name, healthy=True)
    reader, listener = start(api.client, api.namespace, watch_s=2)
    until(lambda: listener.synced and listener.up)
    assert reader.audit(KIND) == []

    each = reader._kinds[KIND]
    with each.lock:
        uid = listener.child("b").uid
        each.intake._forget(each.intake._slots.search(uid))
    found = reader.audit(KIND)
    until(lambda: len(listener.of(Listed)) == 2)

    assert len(found) == 1
    assert "/b: " in found[0]
    assert set(listener.held) == {"a", "b", "c"}


@pytest.mark.parametrize("start", ["thread", "process"], indirect=True)
def test_a_kind_that_is_missing_is_told_and_found_when_it_comes(api: Api, start: Start) -> None:
    kind = f"Gadget{uuid.uuid4().hex[:6]}"
    plural, group = kind.lower() + "s", "test.muster.dev"
    child = ChildKind(
        ref=KindRef(group=group, version="v1", kind=kind, plural=plural),
        mapping=(FieldPath(path="spec.of"),), health=Health(healthy="status.ok"),
    )  # fmt: skip
    fleet = FleetDefinition(name="gadgets", parent=MUSTER_FLEET.parent, children=(child,))
    _, listener = start(api.client, api.namespace, kind=kind, fleet=fleet)
    until(lambda: listener.reason == "KindMissing")
    assert "kubectl apply -k manifests/crd" in listener.of(StreamChanged)[0].message

    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    names = {"plural": plural, "singular": kind.lower(), "kind": kind, "listKind": f"{kind}List"}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {"group": group, "scope": "Namespaced", "names": names,
                 "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}]},
    }  # fmt: skip
    api.client.request("POST", CRDS, body=definition)
    until(lambda: listener.synced and listener.up, 20.0)


# --- the real server only ---------------------------------------------------------------------------------------------


@pytest.mark.cluster
@pytest.mark.timeout(240)
def test_without_permission_it_says_which(real_server: RealApiServer, start: Start, tmp_path: Path) -> None:
    name = f"t-{uuid.uuid4().hex[:8]}"
    real_server.kubectl("create", "namespace", name)
    real_server.kubectl("create", "serviceaccount", "nobody", "--namespace", name)
    token = real_server.kubectl("create", "token", "nobody", "--namespace", name).strip()
    client = KubeClient(real_server.kubeconfig_for(token, tmp_path / "config"))
    _, listener = start(client)
    until(lambda: listener.reason == "Forbidden")

    message = listener.of(StreamChanged)[0].message
    assert f"system:serviceaccount:{name}:nobody" in message
    assert "computenodes.muster.dev" in message
    assert client.allowed("list", "muster.dev", "computenodes") is False
    with pytest.raises(Forbidden):
        client.request("GET", NODES.path())
    real_server.kubectl("create", "clusterrole", name, "--verb=list,watch", "--resource=computenodes.muster.dev")
    real_server.kubectl(
        "create", "clusterrolebinding", name, f"--clusterrole={name}", f"--serviceaccount={name}:nobody"
    )
    assert until(lambda: listener.synced and listener.up, 15.0) < 10.0


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.timeout(240)
def test_after_a_real_outage_the_truth_returns_within_ten_seconds(
    real_server: RealApiServer, start: Start, tmp_path: Path
) -> None:
    api = Api(KubeClient(real_server.kubeconfig), f"t-{uuid.uuid4().hex[:8]}")
    api.create("a", healthy=True)
    api.create("ghost", healthy=True)
    reader, listener = start(api.client, api.namespace)
    reader.set_timeout(KIND, ParentKey(api.namespace, "c1"), 8.0)
    until(lambda: listener.synced and listener.up)
    real_server.kill()
    until(lambda: listener.up is False, 5.0)
    time.sleep(10.0)
    assert not any(isinstance(each, Child) and each.silent for each in listener.by_uid.values())
    real_server.start()
    api.delete("ghost")
    api.report("a", healthy=False)

    assert until(lambda: listener.held == {"a": False}) < 10.0
    assert not listener.child("a").silent


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_server_that_hangs_turns_nobody_silent(real_server: RealApiServer, start: Start) -> None:
    api = Api(KubeClient(real_server.kubeconfig), f"t-{uuid.uuid4().hex[:8]}")
    api.create("a", healthy=True)
    reader, listener = start(api.client, api.namespace)
    reader.set_timeout(KIND, ParentKey(api.namespace, "c1"), 4.0)
    until(lambda: listener.synced and listener.up)
    api.report("a", healthy=True)
    process = real_server.process()
    process.send_signal(signal.SIGSTOP)
    try:
        time.sleep(9.0)
        assert not listener.child("a").silent
    finally:
        process.send_signal(signal.SIGCONT)
    until(lambda: listener.up, 15.0)
    time.sleep(2.0)
    assert not listener.child("a").silent  # nobody could report: the clocks have started again
    until(lambda: listener.child("a").silent, 6.0)
