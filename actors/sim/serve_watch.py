"""Watches over HTTP: the loop between a cursor and a connection.

A watch is a thread that sleeps until a commit wakes its cursor, then takes all there is under the lock and writes it
outside. Faults reach into an open watch here, and only here.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import msgspec

from .apierrors import ApiError
from .history import WatchCursor, WatchEvent
from .kinds import Resource
from .serve import Connection, Request

if TYPE_CHECKING:
    from .serve_api import ApiServerFace

__all__ = ["Watch", "form_of", "partial", "quoted"]

Obj = dict[str, Any]
_encode = msgspec.json.Encoder().encode

_GATHER_S = 0.002
"""How long a watch waits after a wake for more of the same, so that a burst is one write. Below any debounce of ours.
"""


class Watch:
    """One open watch: the loop between a cursor and a connection, and the places where faults reach into it."""

    def __init__(
        self,
        face: ApiServerFace,
        resource: Resource,
        cursor: WatchCursor,
        request: Request,
        connection: Connection,
        awake: threading.Event,
    ) -> None:
        self.request = request
        self._face = face
        self._resource = resource
        self._cursor = cursor
        self._connection = connection
        self._awake = awake
        self._injected: list[bytes | None] = []
        self._form = form_of(request)
        self._columns = True

    def inject(self, data: bytes | None) -> None:
        """Send these raw bytes before the next events; None closes the connection after them. From any thread."""
        self._injected.append(data)
        self._awake.set()

    def nudge(self) -> None:
        """Look again whether there is something to do. From any thread."""
        self._awake.set()

    def fail(self, error: ApiError) -> None:
        """End the watch with an in-band ERROR event. The face's lock must be held."""
        self._cursor.fail(error)

    def run(self, timeout_s: float, bookmark_s: float | None) -> None:
        deadline = time.monotonic() + timeout_s
        next_bookmark = time.monotonic() + (bookmark_s or 1e9)
        while True:
            self._awake.clear()
            while self._injected:
                data = self._injected.pop(0)
                if data is None:
                    self._connection.close()
                    return
                self._connection.chunk(data)
            try:
                with self._face.lock:
                    events = self._cursor.poll()
                    now = time.monotonic()
                    if not events and bookmark_s is not None and (now >= next_bookmark or now >= deadline):
                        events = [self._cursor.bookmark()]
                        next_bookmark = now + bookmark_s
            except ApiError as error:
                self._connection.chunk(WatchEvent("ERROR", {}, _encode(error.status()), 0).line())
                return
            if events:
                self._connection.chunk(b"".join([self._line(event) for event in events]))
                time.sleep(_GATHER_S)
                if now < deadline:
                    continue
            if now >= deadline:
                return
            if self._connection.silent.is_set():
                self._connection.wait_for_end()
            woken = self._awake.wait(max(0.0, min(1.0, deadline - now, next_bookmark - now)))
            if self._connection.closing or (not woken and self._connection.client_left()):
                raise ConnectionResetError("the watcher left")

    def _line(self, event: WatchEvent) -> bytes:
        if not self._form or event.type == "ERROR":
            return event.line()
        if self._form == "Table":
            metadata = {"resourceVersion": str(event.resource_version)}
            rows = [] if event.type == "BOOKMARK" else [event.obj]
            shown = self._face.table(self._resource, rows, metadata, self.request, self._columns)
            self._columns = False
        else:
            shown = partial(event.obj)
        return WatchEvent(event.type, shown, _encode(shown), event.resource_version).line()


def form_of(request: Request) -> str:
    """What the client wants: "Table", "PartialObjectMetadata" (or ...List), or "" for the plain object."""
    for kind in request.headers.get("accept", "").split(","):
        parameters = dict(part.strip().partition("=")[::2] for part in kind.split(";")[1:])
        wanted = parameters.get("as", "")
        if parameters.get("v", "v1") == "v1" and wanted in (
            "Table",
            "PartialObjectMetadata",
            "PartialObjectMetadataList",
        ):
            return wanted
        if not wanted and "json" in kind:
            return ""
    return ""


def partial(obj: Obj) -> Obj:
    """The object reduced to its metadata."""
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}


def quoted(text: str) -> str:
    """`text` for the inside of a quoted header value."""
    return text.replace("\\", "\\\\").replace('"', '\\"')
