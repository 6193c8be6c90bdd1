"""The ports as the tree sees them: they pass everything on, and tell what is asked of them to whoever records.

The words of a request and what its digest is over are made here, for the recording and for the replay.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from ..core.model import EventNote, ParentKey
from ..core.ports import Backend, Call, Later, Objects, Reader, Reply, StatusWriter, StreamChanged, Written

Mail = Objects | StreamChanged


class Asked(Protocol):
    """Who is told."""

    def note(self, what: str) -> None:
        """In a turn: a request that says all in its words."""

    def asked(self, what: str, body: Any, send: Callable[[], Any]) -> Any:
        """On the executor: a request with its body; what ``send`` answers, or a ``Later`` that will."""

    def posted(self, kind: str, epoch: int, deliver: Callable[[Mail], None]) -> Callable[[Mail], None]:
        """What the reader is to call in the place of ``deliver``."""


class TappedReader(Reader):
    """See the port; ``start`` has its mail pass through the recorder."""

    def __init__(self, reader: Reader, recorder: Asked) -> None:
        self._reader = reader
        self._recorder = recorder

    def start(self, kind: str, epoch: int, deliver: Callable[[Mail], None]) -> None:
        self._recorder.note(f"read {kind} from the beginning, epoch {epoch}")
        self._reader.start(kind, epoch, self._recorder.posted(kind, epoch, deliver))

    def set_timeout(self, kind: str, parent: ParentKey, timeout_s: float | None) -> None:
        self._recorder.note(f"heartbeat timeout of {kind} in {parent}: {timeout_s}")
        self._reader.set_timeout(kind, parent, timeout_s)

    def relist(self, kind: str) -> None:
        self._recorder.note(f"list {kind} again")
        self._reader.relist(kind)

    def stop(self, timeout_s: float) -> None:
        self._reader.stop(timeout_s)


class TappedWriter(StatusWriter):
    """See the port."""

    def __init__(self, writer: StatusWriter, recorder: Asked) -> None:
        self._writer = writer
        self._recorder = recorder

    def patch_status(
        self, parent: ParentKey, uid: str, version: int, status: dict[str, Any]
    ) -> Written | Later[Written]:
        what, body = patch_request(parent, uid, version, status)
        answer: Written | Later[Written] = self._recorder.asked(
            what, body, lambda: self._writer.patch_status(parent, uid, version, status)
        )
        return answer

    def record_event(self, parent: ParentKey, uid: str, note: EventNote) -> None:
        what, body = event_request(parent, uid, note)
        answer: None = self._recorder.asked(what, body, lambda: self._writer.record_event(parent, uid, note))
        return answer


class TappedBackend(Backend):
    """See the port."""

    def __init__(self, backend: Backend, recorder: Asked) -> None:
        self.capabilities = backend.capabilities
        self._backend = backend
        self._recorder = recorder

    def send(self, call: Call) -> Reply | Later[Reply]:
        what, body = call_request(call)
        answer: Reply | Later[Reply] = self._recorder.asked(what, body, lambda: self._backend.send(call))
        return answer


def patch_request(parent: ParentKey, uid: str, version: int, status: dict[str, Any]) -> tuple[str, Any]:
    """A status patch in words, and what its digest is over."""
    return f"patch the status of {parent} at version {version}", (parent, uid, version, status)


def event_request(parent: ParentKey, uid: str, note: EventNote) -> tuple[str, Any]:
    """An Event in words, and what its digest is over."""
    return f"record the Event {note.reason} on {parent}", (parent, uid, note)


def call_request(call: Call) -> tuple[str, Any]:
    """A batch call in words, and what its digest is over."""
    return f"send {call.operation} of {len(call.items)} as {call.id}", call
