"""The HTTP of the load server: discovery, lists with paging, watches, status patches, and whatever keeps clients happy.

Whoever makes events renders them first and appends them afterwards as a whole, so that sending competes with nothing. All
instants are of the system's monotonic clock, which the benchmark shares.
"""

from __future__ import annotations

import itertools
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

import msgspec

from actors.sim.serve import Connection, HttpServer, Request
from bench.load.log import Block, Log
from bench.load.objects import BLOCK_EVENTS, FIRST_VERSION, GROUP, NAMESPACE, VERSION, Nodes, stamp

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_CORE, _CRDS = "v1", "apiextensions.k8s.io/v1"
_KINDS = {
    "clusters": (f"{GROUP}/{VERSION}", "Cluster"),
    "computenodes": (f"{GROUP}/{VERSION}", "ComputeNode"),
    "storagenodes": (f"{GROUP}/{VERSION}", "StorageNode"),
    # Empty, but kopf does not start without them.
    "namespaces": (_CORE, "Namespace"),
    "customresourcedefinitions": (_CRDS, "CustomResourceDefinition"),
}
_VERBS = ["create", "delete", "get", "list", "patch", "update", "watch"]
PAGE_ITEMS_MAX = 5000
_LOOK_S = 1.0


class Fleet:
    """The API server's state: parents, their children, and what was patched."""

    def __init__(self, sizes: list[int]) -> None:
        now_s = time.time()
        self.nodes = Nodes(sizes, now_s)
        self._created = stamp(now_s).decode()
        self._versions = itertools.count(FIRST_VERSION + len(self.nodes) + len(sizes) + 1)
        self._version_lock = threading.Lock()
        first = FIRST_VERSION + len(self.nodes)
        self.parent_versions = list(range(first, first + len(sizes)))
        self.statuses: list[dict[str, Any]] = [{} for _ in sizes]
        at = FIRST_VERSION + len(self.nodes) + len(sizes)
        self.logs = {plural: Log(at) for plural in _KINDS}
        self.patches: list[tuple[float, int, int, int, int, int]] = []
        """When, parent, and what the status then said: total, healthy, unhealthy, repairing."""
        self.wrong = set(range(len(sizes)))
        """Parents whose status is not the count of their children."""

    def version(self, count: int = 1) -> int:
        """The first of so many new versions, in a row."""
        with self._version_lock:
            first = next(self._versions)
            if count > 1:
                self._versions = itertools.count(first + count)
            return first

    # --- children ---

    def report(self, numbers: Iterable[int], well: bool | None = None, *, turn: bool = False) -> tuple[int, float]:
        """Each of these reports once: as before, or ``well`` or not, or the contrary of before (``turn``).

        How many events that were, and when they were appended, all at once.
        """
        log, nodes, blocks, count = self.logs["computenodes"], self.nodes, [], 0
        now_s, touched = int(time.time()), set()
        with log.lock:
            for some in batches(numbers):
                version = first = self.version(len(some))
                parts = []
                for number in some:
                    was = bool(nodes.well[number])
                    nodes.report(number, version, was ^ turn if well is None else well, now_s)
                    parts.append(nodes.event(number))
                    version += 1
                if turn or well is not None:
                    touched.update([nodes.parent[number] for number in some])
                blocks.append(Block(first, version - 1, b"".join(parts)))
                count += len(some)
            with self.logs["clusters"].lock:
                self._judge(touched)
            if blocks:
                log.append(*blocks)
            return count, time.monotonic()

    # --- parents ---

    def parent(self, number: int) -> dict[str, Any]:
        """A parent as an object."""
        return {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": "Cluster",
            "metadata": {
                "creationTimestamp": self._created, "generation": 1, "name": f"c{number:05d}", "namespace": NAMESPACE,
                "resourceVersion": str(self.parent_versions[number]), "uid": f"00000000-0000-4000-9000-{number:012d}",
            },
            "spec": {},
            "status": self.statuses[number],
        }  # fmt: skip

    def patch(self, name: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """A merge patch of a parent's status, guarded by the version in it; the answer's code and body."""
        now_s = time.monotonic()
        number = int(name[1:])
        log = self.logs["clusters"]
        with log.lock:
            wanted = body.get("metadata", {}).get("resourceVersion")
            if wanted is not None and int(wanted) != self.parent_versions[number]:
                return 409, failure(409, "Conflict", f"clusters {name}: the object has been modified")
            status = merged(self.statuses[number], body.get("status", {}))
            self.statuses[number] = status
            counts = [status.get(each, 0) for each in ("total", "healthy", "unhealthy", "repairing")]
            self.patches.append((now_s, number, counts[0], counts[1], counts[2], counts[3]))
            self._judge((number,))
            version = self.parent_versions[number] = self.version()
            found = self.parent(number)
            event = b'{"type":"MODIFIED","object":%b}\n' % _encode(found)
            log.append(Block(version, version, b"%x\r\n%b\r\n" % (len(event), event)))
            return 200, found

    def _judge(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            status, size, ill = self.statuses[number], self.nodes.sizes[number], self.nodes.ill[number]
            if (status.get("total"), status.get("healthy"), status.get("unhealthy")) == (size, size - ill, ill):
                self.wrong.discard(number)
            else:
                self.wrong.add(number)

    # --- lists ---

    def count(self, plural: str) -> int:
        """How many there are."""
        return {"clusters": len(self.statuses), "computenodes": len(self.nodes)}.get(plural, 0)

    def items(self, plural: str, numbers: range) -> bytes:
        """The objects of a page."""
        with self.logs[plural].lock:
            if plural == "computenodes":
                return self.nodes.items(numbers)
            return b",".join([_encode(self.parent(number)) for number in numbers])

    def added(self, plural: str, numbers: range) -> bytes:
        """The same as events of a streamed list, a chunk each."""
        with self.logs[plural].lock:
            if plural == "computenodes":
                return self.nodes.events("ADDED", numbers)
            events = [b'{"type":"ADDED","object":%b}\n' % _encode(self.parent(number)) for number in numbers]
            return b"".join([b"%x\r\n%b\r\n" % (len(event), event) for event in events])


def batches(numbers: Iterable[int]) -> Iterable[list[int]]:
    """In blocks."""
    rest = iter(numbers)
    while some := list(itertools.islice(rest, BLOCK_EVENTS)):
        yield some


def merged(old: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """RFC 7386 for objects."""
    new = dict(old)
    for key, value in change.items():
        if value is None:
            new.pop(key, None)
        elif isinstance(value, dict) and isinstance(new.get(key), dict):
            new[key] = merged(new[key], value)
        else:
            new[key] = value
    return new


def failure(code: int, reason: str, message: str) -> dict[str, Any]:
    """A ``Status``."""
    return {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "reason": reason,
        "code": code,
    }  # fmt: skip


class Face:
    """Answers requests for a ``Fleet``. Give ``handle`` to an ``HttpServer``."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.requests: Counter[str] = Counter()
        self.sent_bytes = 0
        self._watch_ids = itertools.count()

    def serve(self, port: int, tls: ssl.SSLContext | None) -> HttpServer:
        """Listen."""
        return HttpServer(self.handle, port=port, tls=tls).start()

    def handle(self, request: Request, connection: Connection) -> None:
        """One request, on its connection's thread."""
        plural, name, sub = target(request.path)
        if plural in _KINDS and request.method == "GET" and not name:
            watch = request.query.get("watch", "").lower() in ("1", "true")
            self.requests[f"{'watch' if watch else 'list'} {plural}"] += 1
            if watch:
                self._watch(plural, request, connection)
            else:
                self._list(plural, request, connection)
            return
        code, answer = self._answer(request, plural, name, sub)
        connection.send(code, _encode(answer))

    def _answer(self, request: Request, plural: str, name: str, sub: str) -> tuple[int, Any]:
        if plural == "clusters" and request.method == "PATCH":
            self.requests["patch clusters"] += 1
            return self.fleet.patch(name, _decode(request.body))
        if plural == "clusters" and request.method == "GET":
            return 200, self.fleet.parent(int(name[1:]))
        if request.method == "GET" and request.path in DISCOVERY:
            self.requests["discovery"] += 1
            return 200, DISCOVERY[request.path]
        if request.method == "POST" and plural == "selfsubjectaccessreviews":
            return 201, _decode(request.body) | {"status": {"allowed": True}}
        if request.method in ("POST", "PATCH", "PUT"):  # Events, Leases: whatever is written is well
            self.requests[f"{request.method} {plural}"] += 1
            body = _decode(request.body)
            meta = {"name": name or "made", "namespace": NAMESPACE, "uid": "made", "resourceVersion": "1"}
            return 201 if request.method == "POST" else 200, body | {"metadata": body.get("metadata", {}) | meta}
        self.requests[f"404 {request.method} {request.path}"] += 1
        return 404, failure(404, "NotFound", f"{request.path} not found")

    def _list(self, plural: str, request: Request, connection: Connection) -> None:
        at, version = 0, self.fleet.logs[plural].version
        if token := request.query.get("continue"):
            at, version = (int(part) for part in token.split("."))
        count = self.fleet.count(plural)
        limit = int(request.query.get("limit") or 0) or count
        end = min(at + limit, count)
        meta: dict[str, Any] = {"resourceVersion": str(version)}
        if end < count:
            meta |= {"continue": f"{end}.{version}", "remainingItemCount": count - end}
        api_version, kind = _KINDS[plural]
        head = {"apiVersion": api_version, "kind": f"{kind}List", "metadata": meta, "items": []}
        body = _encode(head)[:-2] + self.fleet.items(plural, range(at, end)) + b"]}"
        connection.send(200, body)

    def _watch(self, plural: str, request: Request, connection: Connection) -> None:
        log, watch = self.fleet.logs[plural], next(self._watch_ids)
        initial = request.query.get("sendInitialEvents") == "true"
        version = log.version if initial else int(request.query.get("resourceVersion") or log.version)
        rest = log.open(watch, version)
        if rest is None:
            connection.send(410, _encode(failure(410, "Expired", f"too old resource version: {version}")))
            return
        try:
            connection.start_chunks()
            until_s = time.monotonic() + float(request.query.get("timeoutSeconds") or 3600)
            if initial:
                count = self.fleet.count(plural)
                for at in range(0, count, BLOCK_EVENTS):
                    self._send(connection, self.fleet.added(plural, range(at, min(at + BLOCK_EVENTS, count))))
                connection.chunk(bookmark(plural, version, {"k8s.io/initial-events-end": "true"}))
            self._send(connection, rest)
            while (left_s := until_s - time.monotonic()) > 0 and not left(connection):
                blocks = log.take(watch, min(_LOOK_S, left_s))
                for block in blocks:
                    self._send(connection, block.data)
                    version = block.last
                log.sent(watch, len(blocks))
            if "allowWatchBookmarks" in request.query:
                connection.chunk(bookmark(plural, version, {}))
            connection.end_chunks()
        finally:
            log.close(watch)

    def _send(self, connection: Connection, data: bytes) -> None:
        connection.sock.sendall(data)
        self.sent_bytes += len(data)


def left(connection: Connection) -> bool:
    """Whether the client has gone; TLS cannot be asked, and tells with the next send."""
    return not isinstance(connection.sock, ssl.SSLSocket) and connection.client_left()


def bookmark(plural: str, version: int, annotations: dict[str, str]) -> bytes:
    """A BOOKMARK event."""
    meta: dict[str, Any] = {"resourceVersion": str(version), "creationTimestamp": None}
    if annotations:
        meta["annotations"] = annotations
    api_version, kind = _KINDS[plural]
    found = {"apiVersion": api_version, "kind": kind, "metadata": meta}
    return _encode({"type": "BOOKMARK", "object": found}) + b"\n"


def target(path: str) -> tuple[str, str, str]:
    """Plural, name and subresource of a resource path, as far as they are there."""
    parts = path.strip("/").split("/")[(2 if path.startswith("/api/") else 3) :]
    if parts[:1] == ["namespaces"] and len(parts) > 2:
        parts = parts[2:]
    plural, name, sub = (*parts, "", "", "")[:3]
    return plural, name, sub


def _resources(group_version: str) -> dict[str, Any]:
    """What is served of a group, as discovery tells it."""
    found = []
    for plural, (api_version, kind) in _KINDS.items():
        if api_version == group_version:
            each = {"name": plural, "singularName": kind.lower(), "namespaced": api_version == f"{GROUP}/{VERSION}",
                    "kind": kind}  # fmt: skip
            found += [
                each | {"verbs": _VERBS},
                each | {"name": f"{plural}/status", "verbs": ["get", "patch", "update"]},
            ]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": found}


def _group(group_version: str) -> dict[str, Any]:
    name, _, version = group_version.partition("/")
    found = {"groupVersion": group_version, "version": version}
    return {"name": name, "versions": [found], "preferredVersion": found}


DISCOVERY: dict[str, Any] = {
    "/version": {"major": "1", "minor": "34", "gitVersion": "v1.34.0-load"},
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/api/v1": _resources(_CORE),
    "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(f"{GROUP}/{VERSION}"), _group(_CRDS)]},
    f"/apis/{GROUP}": {"kind": "APIGroup", "apiVersion": "v1", **_group(f"{GROUP}/{VERSION}")},
    f"/apis/{GROUP}/{VERSION}": _resources(f"{GROUP}/{VERSION}"),
    f"/apis/{_CRDS}": _resources(_CRDS),
}
