"""Planted in the watchers and their records: who is told of what."""

# ruff: noqa: ARG001 - a replacement keeps its original's signature, used or not

from __future__ import annotations

from typing import Any

from attrs import evolve

from ...core.model import Child, ParentKey, Record
from ...core.ports import Objects
from ...core.records import ChildRecords, Shelf
from ...messages import SubscribeWanted, WatcherStarted
from ...watcher import ChildWatcher, WatcherActor, _Post
from .planting import Bed

__all__ = ["bed"]

bed = Bed()


@bed.single(
    "watcher-merges-a-list", breaks="truth", at="actors.watcher:WatcherActor._objects", needs=("A22", "P1"),
    what="a replacement enters what it holds, and strikes out nobody",
)  # fmt: skip
def _(original: Any) -> Any:
    def objects(self: WatcherActor, mail: Objects) -> _Post:
        if mail.replace and isinstance(self, ChildWatcher):
            merged = self._store.children[self.kind].copy()
            merged.update(mail.entries)
            mail = evolve(mail, entries=merged)
        post: _Post = original(self, mail)
        return post

    return objects


@bed.single(
    "moved-child-stays-with-its-old-parent", breaks="truth", at="actors.watcher:ChildWatcher._enter", needs=("A23",),
    what="a child that changes its parent wakes the new one only: the old one goes on counting it",
)  # fmt: skip
def _(original: Any) -> Any:
    def enter(self: ChildWatcher, uid: str, record: Record | None, post: _Post) -> None:
        mine = _Post(replace=False)
        original(self, uid, record, mine)
        for parent, entries in mine.by_parent.items():
            if record is None or entries[uid] is not None:
                post.add(parent, uid, entries[uid])

    return enter


@bed.single(
    "records-keep-a-moved-child-at-its-old-parent", breaks="truth", at="actors.core.records:ChildRecords.put",
    needs=("A23", "P1"),
    what="the old parent's records keep a child that has moved: it is back whenever that parent is filled again",
)  # fmt: skip
def _(original: Any) -> Any:
    def put(self: ChildRecords, child: Child) -> Child | None:
        old: Child | None = original(self, child)
        if old is not None and old.parent is not None and old.parent != child.parent:
            self._by_parent.setdefault(old.parent, Shelf(old.kind, old.parent)).put(old)
        return old

    return put


@bed.single(
    "watcher-answers-before-its-list", breaks="synced", at="actors.watcher:WatcherActor.on_receive",
    what="a parent that subscribes before the list is complete is sent what there is, as if it were all",
)  # fmt: skip
def _(original: Any) -> Any:
    def on_receive(self: WatcherActor, message: Any) -> Any:
        if isinstance(message, SubscribeWanted) and not self._synced:
            self._send_all(message.parent, message.ref)
        return original(self, message)

    return on_receive


@bed.single(
    "restarted-watcher-does-not-list", breaks="restart", at="actors.watcher:WatcherActor.on_start", needs=("P1", "P4"),
    what="a new incarnation trusts the stream of the dead one, whose mail is stale to it",
)  # fmt: skip
def _(original: Any) -> Any:
    def on_start(self: WatcherActor) -> None:
        if self.ctx.incarnation == 1:
            original(self)
        else:
            self.ctx.tell(self._directory, WatcherStarted(kind=self.kind, ref=self.ctx.ref))

    return on_start


@bed.single(
    "sleeping-parent-is-not-woken", breaks="truth", at="actors.watcher:ChildWatcher._unattended",
    what="a change of a child whose parent has no actor at the moment is entered, and nobody is told",
)  # fmt: skip
def _(original: Any) -> Any:
    def unattended(self: ChildWatcher, parents: list[ParentKey]) -> None:
        return

    return unattended
