"""The record store: every record there is, by uid and by parent. Watchers write it; everybody else may read.

Reads are single dict look-ups and the records are immutable, so reading from another thread needs no lock: a reader sees the
record before or after a write, never half of one. Each kind has exactly one writer (its watcher).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .model import Child, Parent, ParentKey


class ChildRecords:
    """The children of one kind."""

    def __init__(self) -> None:
        self._by_uid: dict[str, Child] = {}
        self._by_parent: dict[ParentKey, dict[str, Child]] = {}

    def put(self, child: Child) -> Child | None:
        """Enter or replace; the record before."""
        old = self._by_uid.get(child.uid)
        self._by_uid[child.uid] = child
        if old is not None and old.parent is not None and old.parent != child.parent:
            self._unlink(old.parent, old.uid)
        if child.parent is not None:
            self._by_parent.setdefault(child.parent, {})[child.uid] = child
        return old

    def drop(self, uid: str) -> Child | None:
        """Remove; the record before."""
        old = self._by_uid.pop(uid, None)
        if old is not None and old.parent is not None:
            self._unlink(old.parent, uid)
        return old

    def of(self, parent: ParentKey) -> Mapping[str, Child]:
        """That parent's children by uid. A live view: copy it before handing it on."""
        return self._by_parent.get(parent, {})

    def uids(self) -> Iterator[str]:
        """Every uid there is."""
        return iter(self._by_uid)

    def __len__(self) -> int:
        return len(self._by_uid)

    def _unlink(self, parent: ParentKey, uid: str) -> None:
        siblings = self._by_parent.get(parent)
        if siblings is not None:
            siblings.pop(uid, None)
            if not siblings:
                del self._by_parent[parent]


class RecordStore:
    """All kinds. Implements the read-only port ``Records``."""

    def __init__(self, child_kinds: tuple[str, ...]) -> None:
        self.children: dict[str, ChildRecords] = {kind: ChildRecords() for kind in child_kinds}
        self.parents: dict[ParentKey, Parent] = {}
        self.parents_listed = False  # set by the parents' watcher after its first complete list

    def child(self, kind: str, parent: ParentKey, uid: str) -> Child | None:
        """The freshest delivered record of that child while it belongs to that parent, else None."""
        return self.children[kind].of(parent).get(uid)

    def parent(self, key: ParentKey) -> Parent | None:
        """The freshest delivered record of that parent."""
        return self.parents.get(key)
