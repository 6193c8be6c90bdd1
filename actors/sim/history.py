"""The change log of one resource, and the cursors that read it.

A watch is a position in a bounded log, not a queue: a commit appends one entry, whose object was encoded once, and
wakes the cursors; each cursor reads on from its position when it likes. A thousand watchers cost a commit a thousand
wake calls and no copy. A cursor that the log has left behind is told so with 410, as a client of the real server is
that resumes too late.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from typing import Any

import msgspec

from .apierrors import ApiError, expired

__all__ = ["Change", "History", "WatchCursor", "WatchEvent"]

Obj = dict[str, Any]
_encode = msgspec.json.Encoder().encode


class Change(msgspec.Struct, frozen=True, eq=False, gc=False):
    """One committed change. `obj` as committed (of a deletion: the last state with the deletion's resourceVersion).

    `old` is what it replaced or removed, None for a creation.
    """

    resource_version: int
    type: str
    obj: Obj
    raw: bytes
    old: Obj | None


class WatchEvent(msgspec.Struct, frozen=True, eq=False, gc=False):
    """One watch event: `type` ADDED, MODIFIED, DELETED, BOOKMARK or ERROR, the object and its JSON."""

    type: str
    obj: Obj
    raw: bytes
    resource_version: int

    def line(self) -> bytes:
        """The event as it goes over the wire, newline included."""
        return b'{"type":"%b","object":%b}\n' % (self.type.encode(), self.raw)


class History:
    """The last `changes_max` changes of one resource. Positions are counts of changes since the beginning."""

    def __init__(self, changes_max: int, floor: int) -> None:
        assert changes_max >= 1
        self._changes: list[Change] = []
        self._changes_max = changes_max
        self._first = 0
        self.end = 0
        """The position after the last change."""
        self.floor = floor
        """The newest resourceVersion that is no longer reachable: a watch from below it gets 410."""

    def append(self, change: Change) -> None:
        self._changes.append(change)
        self.end += 1
        if len(self._changes) > self._changes_max:
            self.floor = self._changes.pop(0).resource_version
            self._first += 1

    def compact(self, floor: int) -> None:
        """Forget everything up to `floor` (all there is)."""
        self._first += len(self._changes)
        self._changes.clear()
        self.floor = floor

    def position(self, resource_version: int) -> int:
        """Where to read on from to see what came after `resource_version`. Raises 410."""
        if resource_version < self.floor:
            raise expired(f"too old resource version: {resource_version} ({self.floor})")
        if not self._changes or self._changes[-1].resource_version <= resource_version:
            return self.end  # as for most that resume
        return self._first + bisect_right(self._changes, resource_version, key=lambda change: change.resource_version)

    def after(self, resource_version: int) -> list[Change]:
        """The changes that came after `resource_version`, oldest first. Raises 410."""
        return self._changes[self.position(resource_version) - self._first :]

    def newest(self, count: int) -> list[Change]:
        """The last `count` changes (fewer, where fewer are known), oldest first."""
        return self._changes[-count:] if count > 0 else []

    def version_before(self, change: Change) -> int:
        """The resourceVersion that this log had before that change, which it holds."""
        at = bisect_right(self._changes, change.resource_version, key=lambda each: each.resource_version) - 2
        return self._changes[at].resource_version if at >= 0 else self.floor

    def rewound(self, position: int, changes: int) -> int:
        """`position`, so many changes earlier, or as far back as the log reaches."""
        return max(self._first, min(position, self.end) - changes)

    def read(self, position: int, limit: int) -> list[Change]:
        """Up to `limit` changes from `position` on. Raises 410."""
        if position < self._first:
            raise expired("too old resource version: the watch was too slow for the history")
        start = position - self._first
        return self._changes[start : start + limit]


class WatchCursor:
    """A watch, as seen by its reader. `wake` is called inside each commit that may concern it, and must not block.

    Made by `ApiServerModel.watch`. Not thread-safe: who shares the model between threads holds one lock around it all.
    """

    def __init__(
        self,
        history: History,
        position: int,
        *,
        kind: str,
        api_version: str,
        now_rv: Callable[[], int],
        selects: Callable[[Obj], bool] | None,
        present: Callable[[Obj], Obj] | None,
        initial: list[WatchEvent],
        after: int = 0,
        wake: Callable[[], None] | None = None,
        on_close: Callable[[WatchCursor], None],
    ) -> None:
        self.wake = wake
        self.closed = False
        self._history = history
        self._position = position
        self._kind = kind
        self._api_version = api_version
        self._now_rv = now_rv
        self._selects = selects
        self._present = present
        self._initial = initial
        self._after = after
        self._on_close = on_close
        self._failure: ApiError | None = None

    def pending(self) -> bool:
        """Whether a poll would find something to read (which its selector may yet leave out)."""
        return bool(self._initial) or self._position < self._history.end or self._failure is not None

    def poll(self, limit: int = 1000) -> list[WatchEvent]:
        """What happened since the last poll, oldest first, at most about `limit` events.

        Raises ApiError 410 when the history no longer reaches back to this cursor, or the test expired it, and 404 when
        the resource is no longer served; the cursor is closed then.
        """
        if self._failure is not None:
            failure, self._failure = self._failure, None
            self.close()
            raise failure
        if self._initial:
            events, self._initial = self._initial[:limit], self._initial[limit:]
            return events
        try:
            changes = self._history.read(self._position, limit)
        except ApiError:
            self.close()
            raise
        self._position += len(changes)
        return [event for change in changes if (event := self._view(change)) is not None]

    def bookmark(self, *, initial_end: bool = False) -> WatchEvent:
        """A bookmark at the present resourceVersion. Only true of a cursor that has nothing pending."""
        metadata: Obj = {"resourceVersion": str(self._now_rv())}
        if initial_end:
            metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        obj: Obj = {"kind": self._kind, "apiVersion": self._api_version, "metadata": metadata}
        return WatchEvent("BOOKMARK", obj, _encode(obj), self._now_rv())

    def fail(self, failure: ApiError) -> None:
        """Make the next poll raise `failure`."""
        self._failure = failure
        if self.wake is not None:
            self.wake()

    def close(self) -> None:
        """Stop being woken. Idempotent."""
        if not self.closed:
            self.closed = True
            self._on_close(self)

    def _view(self, change: Change) -> WatchEvent | None:
        if change.resource_version <= self._after:
            return None
        kind, obj = change.type, change.obj
        if self._selects is not None:
            before = change.old is not None and self._selects(change.old)
            after = kind != "DELETED" and self._selects(obj)
            if not before and not after:
                return None
            if before and not after and kind != "DELETED":  # it left the selection: shown as it was while it belonged
                obj = _as_of(change.old, change.resource_version)
                shown = obj if self._present is None else self._present(obj)
                return WatchEvent("DELETED", shown, _encode(shown), change.resource_version)
            kind = "MODIFIED" if before and after else "ADDED" if after else "DELETED"
        if self._present is None:
            return WatchEvent(kind, obj, change.raw, change.resource_version)
        shown = self._present(obj)
        return WatchEvent(kind, shown, _encode(shown), change.resource_version)


def _as_of(obj: Obj | None, resource_version: int) -> Obj:
    assert obj is not None
    return {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(resource_version)}}
