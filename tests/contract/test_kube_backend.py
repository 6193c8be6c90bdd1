"""Repairs on the API server itself: the contract for annotations, and what is special about deletions; the model over HTTP."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from attrs import define, field

from actors.core.builtin import MUSTER_FLEET
from actors.core.errors import BackendError, CallTimeout, Misconfigured, Throttled
from actors.core.model import Item
from actors.core.operation import Capabilities
from actors.core.ports import Call, Reply
from actors.edge.kube import KubeClient
from actors.edge.kube_backend import KubernetesBackend
from actors.sim.apiserver import ApiServerModel
from actors.sim.crds import crd_documents
from actors.sim.history import Change
from actors.sim.kinds import Resource
from actors.sim.serve import Connection, HttpServer, Request
from actors.sim.serve_api import ApiServerFace
from actors.testing import BackendContract, Subject, an_item

NODES, NAMESPACE, MARK = "computenodes.muster.dev", "default", "example.com/repair"
NODES_COUNT = 8


@define
class Served:
    """The model over HTTP. ``calls`` tells for each request that asks for a repair during which call it came."""

    model: ApiServerModel
    face: ApiServerFace
    url: str
    config: Path
    calls: list[int] = field(factory=list)
    marked: list[str] = field(factory=list)
    deleted: list[str] = field(factory=list)
    call: int = 0
    nonsense: bool = False

    def handle(self, request: Request, connection: Connection) -> None:
        if request.method in ("PATCH", "DELETE"):
            self.calls.append(self.call)
            if self.nonsense:
                connection.send(200, b"<html>Please log in</html>", "text/html")
                return
        self.face.handle(request, connection)

    def changed(self, resource: Resource, change: Change) -> None:
        before = change.old["metadata"].get("annotations", {}) if change.old else {}
        metadata = change.obj["metadata"]
        if change.type == "DELETED":
            self.deleted.append(metadata["uid"])
        elif metadata.get("annotations", {}).get(MARK) != before.get(MARK):
            self.marked.append(metadata["uid"])

    def fault(self, do: str, **more: Any) -> None:
        match = {"method": "PATCH|DELETE", "path": more.pop("path", "")}
        self.face.faults.command(json.dumps({"do": do, "match": match, **more}).encode())

    def adapter(self, annotation: str = "", url: str = "") -> OneCallAtATime:
        config = self.config.with_name("elsewhere") if url else self.config
        config.write_text(self.config.read_text(encoding="utf-8").replace(self.url, url or self.url), encoding="utf-8")
        return OneCallAtATime(KubernetesBackend(KubeClient(config), MUSTER_FLEET, annotation), self)

    def item(self, number: int) -> Item:
        stored = self.model.get(NODES, f"node-{number}", NAMESPACE)
        return msgspec.structs.replace(an_item(number), uid=stored.obj["metadata"]["uid"])

    def create(self, number: int) -> None:
        self.model.create(NODES, {
            "apiVersion": "muster.dev/v1alpha1", "kind": "ComputeNode", "metadata": {"name": f"node-{number}"},
            "spec": {"clusterRef": {"name": "c"}},
        }, NAMESPACE)  # fmt: skip


class OneCallAtATime:
    """Tells requests of one call from those of the next."""

    def __init__(self, backend: KubernetesBackend, served: Served) -> None:
        self.backend, self.served = backend, served
        self.capabilities: Capabilities = backend.capabilities

    def send(self, call: Call) -> Reply:
        self.served.call += 1
        return self.backend.send(call)


@pytest.fixture
def served(tmp_path: Path, write_config: Any) -> Iterator[Served]:
    model = ApiServerModel(clock=time.time)
    for document in crd_documents():
        model.create("customresourcedefinitions.apiextensions.k8s.io", document)
    face = ApiServerFace(model)
    made: list[Served] = []
    with HttpServer(lambda *given: made[0].handle(*given)) as server:  # noqa: PLW0108 - it is made when the port is known
        url = f"http://127.0.0.1:{server.port}"
        made.append(Served(model, face, url, Path(write_config(tmp_path / "config", url))))
        model.on_change.append(made[0].changed)
        for number in range(NODES_COUNT):
            made[0].create(number)
        yield made[0]
        face.faults.command(b'{"do": "clear"}')


def subject_of(served: Served, annotation: str) -> Subject:
    def no_sense() -> None:
        served.nonsense = True

    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}"
    names = {served.item(number).uid: f"node-{number}" for number in range(NODES_COUNT)}
    return Subject(
        backend=served.adapter(annotation),
        executed=lambda: served.marked,
        arrivals=lambda: len(set(served.calls)),
        item=served.item,
        throttle=lambda seconds: served.fault("answer", code=429, retry_after_s=int(seconds), count=1),
        fail=lambda: served.fault("answer", code=500, count=1),
        hang=lambda: served.fault("hang", count=1),
        cut=lambda: served.fault("refuse", count=1),
        nonsense=no_sense,
        reject=lambda uid: served.fault("answer", code=422, path=f"/{names[uid]}$|/{names[uid]}\\?"),
        nowhere=lambda: served.adapter(annotation, nobody),
    )


class TestAnnotations(BackendContract):
    """The whole contract: an annotation has the item's key as its value."""

    @pytest.fixture
    def subject(self, served: Served) -> Subject:
        return subject_of(served, MARK)

    def test_each_item_of_a_call_is_one_request(self, served: Served, subject: Subject) -> None:
        subject.send(subject.items(5))
        subject.send(subject.items(5))

        assert served.calls == [1] * 5 + [2] * 5
        assert len(served.marked) == 5, "the same keys again change nothing"


# --- deletions --------------------------------------------------------------------------------------------------------
def test_who_is_deleted_is_the_object_that_was_meant(served: Served) -> None:
    """One that was created again under the name is another one, and one that is gone needs nothing."""
    subject = subject_of(served, "")
    items = subject.items(4)
    served.model.delete(NODES, "node-1", NAMESPACE)
    served.model.delete(NODES, "node-2", NAMESPACE)
    served.create(2)
    served.deleted.clear()
    reply = subject.send(items)
    again = subject.send(items)

    assert served.deleted == [items[0].uid, items[3].uid]
    for told in (reply, again):
        assert [told.results[item.key].status for item in items] == ["accepted"] * 4


def test_what_was_done_before_trouble_is_told_and_the_rest_is_asked_again(served: Served) -> None:
    subject = subject_of(served, "")
    first, second, third = subject.items(3)
    served.fault("answer", code=500, path="/node-1")
    reply = subject.send([first, second, third])

    assert set(reply.results) == {first.key}
    assert served.deleted == [first.uid]
    assert len(served.calls) == 2, "nothing is tried that would fail as well"


def test_a_server_that_is_throttled_midway_has_the_rest_wait_as_long_as_it_wishes(served: Served) -> None:
    subject = subject_of(served, "")
    items = subject.items(3)
    served.fault("answer", code=429, retry_after_s=7, path="/node-1")
    reply = subject.send(items)

    assert [reply.results[item.key].status for item in items] == ["accepted", "throttled", "throttled"]
    assert reply.results[items[2].key].retry_after_s == pytest.approx(7.0)


def error_of(subject: Subject, items: list[Item], timeout_s: float = 10.0) -> BackendError:
    return subject.error(items, timeout_s=timeout_s)


def test_a_call_that_did_nothing_is_an_error(served: Served) -> None:
    subject = subject_of(served, "")
    items = list(subject.items(2))
    served.fault("answer", code=403, count=1)
    forbidden = error_of(subject, items)
    served.fault("answer", code=429, retry_after_s=3, count=1)
    throttled = error_of(subject, items)

    assert isinstance(forbidden, Misconfigured)
    assert "allow the verb delete on computenodes" in str(forbidden)
    assert isinstance(throttled, Throttled)
    assert throttled.retry_after_s == pytest.approx(3.0)
    assert served.deleted == []


def test_time_that_is_over_ends_the_call(served: Served) -> None:
    """Each request has what the ones before it have left."""
    now = [0.0]
    client = KubeClient(served.config)
    backend = KubernetesBackend(client, MUSTER_FLEET, now=lambda: now[0])
    subject = subject_of(served, "")
    items = subject.items(3)
    served.model.on_change.append(lambda resource, change: now.__setitem__(0, now[0] + 6.0))
    reply = backend.send(Call(id="c", operation="batchRepair", items=items, timeout_s=10.0))

    assert [item.key in reply.results for item in items] == [True, True, False]
    with pytest.raises(CallTimeout, match="0 of 1"):
        backend.send(Call(id="d", operation="batchRepair", items=items[2:], timeout_s=0.0))


def test_an_item_without_a_name_fails_by_itself(served: Served) -> None:
    subject = subject_of(served, "")
    good, bad = subject.items(2)
    bad = msgspec.structs.replace(bad, payload={"instance": "i-1"})
    reply = subject.send([bad, good])

    assert reply.results[bad.key].status == "failed"
    assert "repair.item needs name and namespace" in reply.results[bad.key].message
    assert served.deleted == [good.uid]
