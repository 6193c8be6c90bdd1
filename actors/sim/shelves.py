"""Shelves: where the objects of one resource are kept, now and as they were.

A shelf holds the present objects in the order in which lists have them, and the history of the changes that led to
them. What was is found by undoing those changes, the newest first, as far as the history reaches.
"""

from __future__ import annotations

from typing import Any

import attrs
import msgspec

from .apierrors import expired
from .history import Change, History, WatchCursor
from .kinds import Resource
from .listing import Stored

__all__ = ["Key", "Shelf"]

Obj = dict[str, Any]
Key = tuple[str, str]
"""Namespace ("" for cluster-scoped kinds) and name."""

_encode = msgspec.json.Encoder().encode


def key_of(obj: Obj) -> Key:
    """Where an object stands."""
    metadata = obj["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def _path(key: Key) -> str:
    """What lists are sorted by: the path in the store, so that namespace a-b comes before a, as in the real server."""
    return f"{key[0]}/{key[1]}"


@attrs.define(eq=False)
class Shelf:
    """The objects of one resource. `resource` is the face whose spelling they are kept in."""

    resource: Resource
    history: History
    objects: dict[Key, Stored] = attrs.field(factory=dict)
    cursors: dict[int, WatchCursor] = attrs.field(factory=dict)
    _order: list[Key] | None = None

    def forget(self, cursor: WatchCursor) -> None:
        """That watch has ended."""
        self.cursors.pop(id(cursor), None)

    def put(self, change: Change, stored: Stored) -> None:
        """Commit one change."""
        metadata = change.obj["metadata"]
        key = (metadata.get("namespace", ""), metadata["name"])
        if change.type == "DELETED":
            del self.objects[key]
            self._order = None
        else:
            if change.old is None:
                self._order = None
            self.objects[key] = stored
        self.history.append(change)

    def in_order(self) -> list[Stored]:
        """The present objects as lists have them."""
        if self._order is None:
            self._order = sorted(self.objects, key=_path)
        return [self.objects[key] for key in self._order]

    def at(self, version: int) -> list[Stored]:
        """The objects as they were at that resourceVersion, in order. Raises 410 when the history does not reach back."""
        if version < self.history.floor:
            raise expired(f"The resourceVersion for the provided list is too old: {version} ({self.history.floor})")
        return self._undone(self.history.after(version))

    def ago(self, changes: int) -> tuple[list[Stored], int | None]:
        """The objects as they were so many changes ago (or as far back as is known), and the version of that moment.

        None is the version where nothing had to be undone: the present one.
        """
        undone = self.history.newest(changes)
        if not undone:
            return self.in_order(), None
        return self._undone(undone), self.history.version_before(undone[0])

    def _undone(self, changes: list[Change]) -> list[Stored]:
        if not changes:
            return self.in_order()
        objects = dict(self.objects)
        before: dict[Key, Obj | None] = {}
        for change in reversed(changes):
            before[key_of(change.obj)] = change.old
        for key, obj in before.items():
            if obj is None:
                objects.pop(key, None)
            else:
                objects[key] = Stored(obj, _encode(obj))
        return [objects[key] for key in sorted(objects, key=_path)]
