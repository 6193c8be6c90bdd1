"""Two API servers under one client: what the contract tests ask the model over HTTP and a real kube-apiserver alike.

``Wire`` sends requests and keeps codes, bodies and headers as they came; ``Stream`` is an open watch. ``ModelTwin`` serves
the model in this process, ``RealTwin`` starts a real server; both offer the same few things, so that a case need not know
which of the two it is held against. ``real`` tells it where the known differences are asserted. A ``Place`` is where one
case works.
"""

from __future__ import annotations

import http.client
import json
import ssl
import time
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode, urlsplit

import attrs

from .apiserver import APPLY, JSON_PATCH, MERGE, STRATEGIC, ApiServerModel
from .envtest import RealApiServer
from .serve import HttpServer
from .serve_api import ApiServerFace
from .serve_heal import connection_to

__all__ = ["Answer", "ModelTwin", "Place", "RealTwin", "Stream", "Twin", "Wire"]

Obj = dict[str, Any]

PATIENCE_S = 15.0
"""For what comes in its own time: an established definition, an event of a watch."""
ESTABLISHED_S = 2.5
"""A real server holds creates of a kind until its definition is two seconds old."""


@attrs.frozen
class Answer:
    """One answer. ``body`` is its JSON, or ``{"text": …}`` where it is none."""

    code: int
    body: Obj
    headers: dict[str, str]

    @property
    def reason(self) -> str:
        """``Status.reason``, "" where there is none."""
        return str(self.body.get("reason", ""))

    @property
    def refusal(self) -> tuple[int, str]:
        """Code and reason."""
        return self.code, self.reason

    @property
    def causes(self) -> list[tuple[str, str]]:
        """Reason and field of each cause, sorted, each once (the real server repeats some)."""
        causes = (self.body.get("details") or {}).get("causes") or []
        return sorted({(cause.get("reason", ""), cause.get("field", "")) for cause in causes})

    @property
    def metadata(self) -> Obj:
        """The object's (or list's) metadata."""
        found: Obj = self.body["metadata"]
        return found

    @property
    def version(self) -> str:
        """The resourceVersion."""
        return str(self.metadata["resourceVersion"])

    @property
    def names(self) -> list[str]:
        """Of a list: the names of its items."""
        return [item["metadata"]["name"] for item in self.body["items"]]


class Stream:
    """An open watch. Iterate, or ask for so many events; AssertionError when one does not come in time."""

    def __init__(self, answer: http.client.HTTPResponse, connection: http.client.HTTPConnection) -> None:
        self._answer, self._connection = answer, connection

    def __iter__(self) -> Iterator[Obj]:
        while line := self._line():
            yield json.loads(line)

    def take(self, count: int) -> list[Obj]:
        """The next ``count`` events."""
        events = [json.loads(line) for _ in range(count) if (line := self._line())]
        assert len(events) == count, f"the watch ended after {events}"
        return events

    def brief(self, count: int) -> list[tuple[str, str]]:
        """Type and name of the next ``count`` events."""
        return [(event["type"], event["object"]["metadata"].get("name", "")) for event in self.take(count)]

    def _line(self) -> bytes:
        try:
            return self._answer.readline()
        except TimeoutError as error:
            raise AssertionError(f"no event within {PATIENCE_S:g} s") from error

    def close(self) -> None:
        """Leave."""
        self._connection.close()


class Wire:
    """Requests to one server; a connection each. ``url`` is ``http://…`` or the path of a kubeconfig."""

    def __init__(self, url: str | Path, *, nameless: bool = False) -> None:
        """``nameless``: leave the credentials of the kubeconfig away."""
        self._source = url
        self.url, self._headers, self._tls = connection_to(str(url))
        if nameless:
            self._headers = {}

    def nameless(self) -> Wire:
        """The same server, asked by somebody without credentials."""
        return Wire(self._source, nameless=True)

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        kind: str = "application/json",
        accept: str = "application/json",
        **query: str,
    ) -> Answer:
        """One request. ``body`` is sent as JSON, bytes as they are; ``kind`` is its media type, ``accept`` the answer's."""
        connection, answer = self._send(method, path, body, kind, query, accept)
        try:
            data = answer.read()
        finally:
            connection.close()
        try:
            found = json.loads(data)
        except ValueError:
            found = {"text": data.decode("utf-8", "replace")}
        headers: dict[str, str] = {}
        for name, value in answer.getheaders():
            headers[name.lower()] = ", ".join([headers[name.lower()], value] if name.lower() in headers else [value])
        return Answer(answer.status, found if isinstance(found, dict) else {"text": str(found)}, headers)

    def get(self, path: str, **query: str) -> Answer:
        """GET."""
        return self.call("GET", path, **query)

    def post(self, path: str, body: object, **query: str) -> Answer:
        """POST."""
        return self.call("POST", path, body, **query)

    def put(self, path: str, body: object, **query: str) -> Answer:
        """PUT."""
        return self.call("PUT", path, body, **query)

    def merge(self, path: str, body: object, **query: str) -> Answer:
        """A merge patch."""
        return self.call("PATCH", path, body, MERGE, **query)

    def json_patch(self, path: str, body: object, **query: str) -> Answer:
        """A JSON patch."""
        return self.call("PATCH", path, body, JSON_PATCH, **query)

    def strategic(self, path: str, body: object, **query: str) -> Answer:
        """A strategic merge patch."""
        return self.call("PATCH", path, body, STRATEGIC, **query)

    def apply(self, path: str, body: object, manager: str, **query: str) -> Answer:
        """Server-side apply (JSON is YAML)."""
        return self.call("PATCH", path, body, APPLY, fieldManager=manager, **query)

    def delete(self, path: str, body: object = None, **query: str) -> Answer:
        """DELETE."""
        return self.call("DELETE", path, body, **query)

    @contextmanager
    def watch(self, path: str, **query: str) -> Iterator[Stream]:
        """An open watch. AssertionError with the answer when it is refused."""
        connection, answer = self._send("GET", path, None, "application/json", {"watch": "1", **query})
        if answer.status != 200:
            text = answer.read().decode("utf-8", "replace")
            connection.close()
            raise AssertionError(f"{answer.status} {text}")
        stream = Stream(answer, connection)
        try:
            yield stream
        finally:
            stream.close()

    def _send(
        self, method: str, path: str, body: object, kind: str, query: dict[str, str], accept: str = "application/json"
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        where = urlsplit(self.url)
        assert where.hostname is not None
        connection: http.client.HTTPConnection
        if where.scheme == "https":
            tls = self._tls or ssl.create_default_context()
            connection = http.client.HTTPSConnection(where.hostname, where.port, timeout=PATIENCE_S, context=tls)
        else:
            connection = http.client.HTTPConnection(where.hostname, where.port, timeout=PATIENCE_S)
        sent = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        headers = {"Content-Type": kind, "Accept": accept, "User-Agent": "contract/1", **self._headers}
        target = path + ("?" + urlencode(query) if query else "")
        connection.request(method, target, sent, headers)
        return connection, connection.getresponse()


class Twin(ABC):
    """A server to hold a case against; a context manager. ``wire`` is there once it has been entered."""

    real = False
    wire: Wire

    @abstractmethod
    def __enter__(self) -> Self: ...

    @abstractmethod
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    @abstractmethod
    def compact(self, version: str) -> None:
        """Make the store forget what was before ``version``."""

    def define(self, crd: Obj) -> None:
        """Create a CustomResourceDefinition (once), and wait until its objects can be created."""
        crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        made = self.wire.post(crds, crd)
        if made.code == 409:
            return
        assert made.code == 201, made
        until_s = time.monotonic() + PATIENCE_S
        while not self._established(f"{crds}/{crd['metadata']['name']}"):
            assert time.monotonic() < until_s, "the definition is not established"
            time.sleep(0.05)
        if self.real:
            time.sleep(ESTABLISHED_S)
        plural, version = crd["spec"]["names"]["plural"], crd["spec"]["versions"][0]["name"]
        while self.wire.get(f"/apis/{crd['spec']['group']}/{version}/{plural}").code != 200:
            assert time.monotonic() < until_s + ESTABLISHED_S, "the kind is not served"
            time.sleep(0.05)

    def _established(self, path: str) -> bool:
        conditions = (self.wire.get(path).body.get("status") or {}).get("conditions") or []
        return any(one["type"] == "Established" and one["status"] == "True" for one in conditions)


class ModelTwin(Twin):
    """The model over HTTP, in this process. ``model`` is there for what no client can do."""

    def __init__(self) -> None:
        self.model = ApiServerModel(clock=time.time, seed="contract")
        self.face = ApiServerFace(self.model, bookmark_s=0.2)
        self._server = HttpServer(self.face.handle)

    def __enter__(self) -> Self:
        self._server.start()
        self.wire = Wire(self._server.url)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop()

    def compact(self, version: str) -> None:
        """See Twin. The model forgets everything up to now."""
        with self.face.lock:
            self.model.compact()


class RealTwin(Twin):
    """A real kube-apiserver and etcd, from the folder ``assets``."""

    real = True

    def __init__(self, assets: str | Path) -> None:
        self._server = RealApiServer(assets)

    def __enter__(self) -> Self:
        self._server.start()
        self.wire = Wire(self._server.kubeconfig)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()

    def compact(self, version: str) -> None:
        """See Twin: etcd's own compaction, by its JSON gateway."""
        arguments = self._server.process("etcd").args
        assert isinstance(arguments, list)
        url = arguments[arguments.index("--listen-client-urls") + 1]
        body = json.dumps({"revision": version, "physical": True}).encode()
        request = urllib.request.Request(f"{url}/v3/kv/compaction", data=body)  # noqa: S310 - our own etcd, http
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:  # noqa: S310 - the same
            assert answer.status == 200


@attrs.frozen
class Place:
    """A namespace of a test's own on one of the servers, which serves the kind Gadget of the group contract.dev."""

    twin: Twin
    namespace: str

    @property
    def wire(self) -> Wire:
        """Requests to the server."""
        return self.twin.wire

    @property
    def real(self) -> bool:
        """Whether this is the real server."""
        return self.twin.real

    @property
    def all(self) -> str:
        """Where the gadgets of this namespace are served."""
        return self.of(self.namespace)

    @staticmethod
    def of(namespace: str) -> str:
        """Where the gadgets of a namespace are served."""
        return f"/apis/contract.dev/v1/namespaces/{namespace}/gadgets"

    def at(self, name: str, sub: str = "") -> str:
        """Where a gadget is served."""
        return f"{self.all}/{name}" + (f"/{sub}" if sub else "")

    @staticmethod
    def gadget(name: str, metadata: Obj | None = None, **fields: Any) -> Obj:
        """A gadget to be sent; ``fields`` are ``spec`` and ``status``."""
        return {
            "apiVersion": "contract.dev/v1", "kind": "Gadget", "metadata": {"name": name} | (metadata or {}), **fields,
        }  # fmt: skip

    def make(self, name: str, metadata: Obj | None = None, **spec: Any) -> Answer:
        """Create a gadget."""
        made = self.wire.post(self.all, self.gadget(name, metadata, spec=spec))
        assert made.code == 201, made
        return made

    def now(self) -> str:
        """The present resourceVersion."""
        return self.wire.get(self.all).version
