"""Planted in the watchers and their records: who is told of what."""

# ruff: noqa: ARG001 - a replacement keeps its original's signature, used or not

from __future__ import annotations

from typing import Any

from attrs import evolve

from ...core.model import ParentKey
from ...core.ports import Objects
from ...core.records import ChildRecords, Row, Shelf
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
    def enter(self: ChildWatcher, key: bytes, what: Row | str, post: _Post) -> None:
        mine = _Post(replace=False)
        original(self, key, what, mine)
        for parent, entries in mine.by_parent.items():
            if isinstance(what, str) or not isinstance(entries[key], str):
                post.add(parent, key, entries[key])

    return enter


@bed.single(
    "records-keep-a-moved-child-at-its-old-parent", breaks="truth", at="actors.core.records:ChildRecords.enter",
    needs=("A23", "P1"),
    what="the old parent's records keep a child that has moved: it is back whenever that parent is filled again",
)  # fmt: skip
def _(original: Any) -> Any:
    def enter(self: ChildRecords, key: bytes, row: Row) -> ParentKey | None:
        shelf = self._shelf(key)
        text = None if shelf is None else shelf.rows.get(key)
        old: ParentKey | None = original(self, key, row)
        if text is not None and old is not None and old != row[0]:
            self._by_parent.setdefault(old, Shelf(self.kind, old)).rows.put(key, text)
        return old

    return enter


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
