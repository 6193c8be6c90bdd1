"""Status patches and Events: everything that Muster writes to the API server.

A status patch carries the resourceVersion that it was computed from, because nothing else protects a parent that was created
again under the same name: the server accepts a wrong uid in a status patch (tried). Events are best effort and bounded; which
of them leave is decided in ``core.correlator``.
"""

from __future__ import annotations

import socket
import threading
from datetime import UTC, datetime
from typing import Any

import msgspec

from ..core.correlator import Correlator, Series
from ..core.errors import Conflict, NotFound, Unreachable
from ..core.fleet import FleetDefinition
from ..core.model import EventNote, ParentKey
from ..core.ports import Clock, Written
from ..core.status_wire import patch_of, status_of, subresource_of
from .dispatcher import SystemClock
from .kube import KubeClient

__all__ = ["KubeStatusWriter"]

MERGE_PATCH = "application/merge-patch+json"


class _Meta(msgspec.Struct, rename="camel"):
    resource_version: str = "0"


class _Object(msgspec.Struct):
    metadata: _Meta


class _SeriesSeen(msgspec.Struct):
    count: int = 1


class _Event(msgspec.Struct):
    series: _SeriesSeen | None = None


class KubeStatusWriter:
    """``StatusWriter`` over HTTP. Thread-safe: the executor's threads share it."""

    def __init__(self, client: KubeClient, fleet: FleetDefinition, clock: Clock | None = None) -> None:
        self._client, self._fleet = client, fleet
        self._clock: Clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._correlator = Correlator()
        self._created_count = 0
        self._repeated_count = 0

    def patch_status(self, parent: ParentKey, uid: str, version: int, status: dict[str, Any]) -> Written:
        """See ``StatusWriter``. The resourceVersion is the guard: the server ignores a wrong uid in a status patch."""
        fleet, part = self._fleet, subresource_of(self._fleet)
        path = fleet.parent.path(parent.namespace, parent.name) + (f"/{part}" if part else "")
        body = patch_of(fleet, {"resourceVersion": str(version)}, status)
        query = {"fieldManager": "muster"}
        answer = self._client.request("PATCH", path, query=query, body=body, content_type=MERGE_PATCH)
        try:
            version_said = msgspec.json.decode(answer.body, type=_Object).metadata.resource_version
            return Written(version=int(version_said), status=status_of(fleet, msgspec.json.decode(answer.body)))
        except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
            raise Unreachable(f"{self._client.server}: PATCH {path}: the answer cannot be read: {error}") from error

    def record_event(self, parent: ParentKey, uid: str, note: EventNote) -> None:
        """See ``StatusWriter``. What has been said before is counted in the first one's series."""
        about = note.regarding
        if about is not None:
            parent, uid = ParentKey(about.namespace, about.name), about.uid
        with self._lock:
            series = self._correlator.take(parent, uid, note, self._clock.now())
        if series is None:
            return
        path = f"/apis/events.k8s.io/v1/namespaces/{parent.namespace or 'default'}/events"
        if series.known:
            try:
                self._count(f"{path}/{series.name}", series)
            except NotFound:  # it has expired there
                series.count, series.known = 1, False
        if series.known:
            return
        try:
            self._client.request("POST", path, body=self._event(parent, uid, note, series))
        except Conflict:  # an earlier process has said so
            self._join(f"{path}/{series.name}", series)
        else:
            self._created_count += 1
        series.known = True

    def statistics(self) -> dict[str, int]:
        """Events by what became of them, since this process began."""
        dropped = self._correlator.dropped_count
        return {"created": self._created_count, "counted": self._repeated_count, "dropped": dropped}

    def _join(self, path: str, series: Series) -> None:
        """Go on in the Event of that name. We may not read it, but an empty patch changes nothing and is answered with it."""
        answer = self._client.request("PATCH", path, body={}, content_type=MERGE_PATCH)
        try:
            found = msgspec.json.decode(answer.body, type=_Event)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Unreachable(f"{self._client.server}: PATCH {path}: the answer cannot be read: {error}") from error
        series.count += 1 if found.series is None else found.series.count
        self._count(path, series)

    def _count(self, path: str, series: Series) -> None:
        """The series is all that the server lets anybody change of an Event."""
        said = {"count": series.count, "lastObservedTime": _micro_time(self._clock.wall())}
        self._client.request("PATCH", path, body={"series": said}, content_type=MERGE_PATCH)
        self._repeated_count += 1

    def _event(self, parent: ParentKey, uid: str, note: EventNote, series: Series) -> dict[str, Any]:
        ref = self._fleet.parent
        if note.regarding is not None:
            ref = next(child.ref for child in self._fleet.children if child.ref.kind == note.regarding.kind)
        regarding = {"apiVersion": ref.api_version, "kind": ref.kind, "name": parent.name, "uid": uid}
        regarding |= {"namespace": parent.namespace} if parent.namespace else {}
        return {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": series.name, "namespace": parent.namespace or "default"},
            "eventTime": _micro_time(self._clock.wall()),
            "reportingController": "muster.dev/muster",
            "reportingInstance": socket.gethostname()[:128] or "muster",
            "action": note.action,
            "reason": note.reason,
            "type": note.type,
            "note": series.note,
            "regarding": regarding,
        }


def _micro_time(wall_s: float) -> str:
    """A ``MicroTime`` as Kubernetes writes it."""
    return datetime.fromtimestamp(wall_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
