"""Status patches and Events: everything that Muster writes to the API server.

A status patch carries the resourceVersion that it was computed from, because nothing else protects a parent that was created
again under the same name: the server accepts a wrong uid in a status patch (tried). Events are best effort and cheap:
repetitions are counted in the first one's series, which is all that the server lets anybody change of an Event.
"""

from __future__ import annotations

import socket
import threading
from datetime import UTC, datetime
from typing import Any

import msgspec
from attrs import define

from ..core.errors import NotFound, Unreachable
from ..core.fleet import FleetDefinition
from ..core.model import EventNote, ParentKey
from ..core.ports import Clock, Written
from .dispatcher import SystemClock
from .kube import KubeClient

__all__ = ["KubeStatusWriter"]

MERGE_PATCH = "application/merge-patch+json"
SERIES_S = 600.0
"""Repetitions of an Event within this long are counted in it (client-go's correlator uses the same ten minutes)."""
EVENT_PAUSE_S = 10.0
"""Events of one reason on one object with ever new words: at most one in so long; the rest is dropped. Arbitrary."""
_SERIES_MAX = 4096
_NOTE_BYTES_MAX = 1024  # events.k8s.io/v1 refuses more


class _Meta(msgspec.Struct, rename="camel"):
    name: str = ""
    resource_version: str = "0"


class _Object(msgspec.Struct):
    metadata: _Meta
    status: dict[str, Any] | None = None


@define
class _Series:
    name: str
    note: str
    count: int
    at_s: float
    path: str


class KubeStatusWriter:
    """``StatusWriter`` over HTTP. Thread-safe: the executor's threads share it."""

    def __init__(self, client: KubeClient, fleet: FleetDefinition, clock: Clock | None = None) -> None:
        self._client, self._fleet = client, fleet
        self._clock: Clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._series: dict[tuple[str, str], _Series] = {}

    def patch_status(self, parent: ParentKey, uid: str, version: int, status: dict[str, Any]) -> Written:
        """See ``StatusWriter``. The resourceVersion is the guard: the server ignores a wrong uid in a status patch."""
        path = self._fleet.parent.path(parent.namespace, parent.name) + "/status"
        body = {"metadata": {"resourceVersion": str(version)}, "status": status}
        query = {"fieldManager": "muster"}
        answer = self._client.request("PATCH", path, query=query, body=body, content_type=MERGE_PATCH)
        try:
            written = msgspec.json.decode(answer.body, type=_Object)
            return Written(version=int(written.metadata.resource_version), status=written.status or {})
        except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
            raise Unreachable(f"{self._client.server}: PATCH {path}: the answer cannot be read: {error}") from error

    def record_event(self, parent: ParentKey, uid: str, note: EventNote) -> None:
        """See ``StatusWriter``. Repetitions within ten minutes are counted in the first one's series."""
        text = note.note.encode()[:_NOTE_BYTES_MAX].decode("utf-8", "ignore")
        now = self._clock.now()
        key = (uid, note.reason)
        with self._lock:
            series = self._series.get(key)
            if series is not None and now - series.at_s < SERIES_S:
                if series.note == text:
                    series.count += 1
                elif now - series.at_s < EVENT_PAUSE_S:
                    return
                else:
                    series = None
            else:
                series = None
        if series is not None:
            stamp = _micro_time(self._clock.wall())
            body = {"series": {"count": series.count, "lastObservedTime": stamp}}
            try:
                self._client.request("PATCH", series.path, body=body, content_type=MERGE_PATCH)
            except NotFound:  # it has expired there
                pass
            else:
                series.at_s = now
                return
        self._create_event(parent, uid, note, text, key)

    def _create_event(self, parent: ParentKey, uid: str, note: EventNote, text: str, key: tuple[str, str]) -> None:
        ref = self._fleet.parent
        namespace = parent.namespace or "default"
        regarding = {"apiVersion": ref.api_version, "kind": ref.kind, "name": parent.name, "uid": uid}
        regarding |= {"namespace": parent.namespace} if parent.namespace else {}
        body = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"generateName": parent.name[:57].rstrip("-.") + "-", "namespace": namespace},
            "eventTime": _micro_time(self._clock.wall()),
            "reportingController": "muster.dev/muster",
            "reportingInstance": socket.gethostname()[:128] or "muster",
            "action": note.action,
            "reason": note.reason,
            "type": note.type,
            "note": text,
            "regarding": regarding,
        }
        path = f"/apis/events.k8s.io/v1/namespaces/{namespace}/events"
        answer = self._client.request("POST", path, body=body)
        try:
            name = msgspec.json.decode(answer.body, type=_Object).metadata.name
        except (msgspec.DecodeError, UnicodeDecodeError):
            return
        with self._lock:
            self._series.pop(key, None)
            while len(self._series) >= _SERIES_MAX:
                del self._series[next(iter(self._series))]
            self._series[key] = _Series(name, text, 1, self._clock.now(), f"{path}/{name}")


def _micro_time(wall_s: float) -> str:
    """A ``MicroTime`` as Kubernetes writes it."""
    return datetime.fromtimestamp(wall_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
