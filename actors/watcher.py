"""The watcher of one kind: the only writer of that kind's records, and the post office for the parents they concern.

The reader delivers chunks; the watcher enters them and sends each parent concerned one message per chunk. A list is a
*replacement*, here and onwards: each subscribed parent then gets all it has, so that whatever was missed is put right
and nothing that is gone lingers. A parent that nobody acts for is named to the directory.

A new incarnation lists again under a new epoch; until that list is there, mail of an older epoch is news (it waited while
the watcher was down), and afterwards it is stale. A record that kills the watcher twice is left out and reported, and
everything else goes on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from pykka import ActorDeadError

from .actor import Behaviour, Context, Ref
from .core.conflicts import SPACING_S
from .core.events import ParentMissing, ParentUnnamed, RecordSkipped
from .core.fleet import FleetDefinition
from .core.model import Parent, ParentKey, Policy, Record
from .core.ports import Objects, Reader, StreamChanged
from .core.records import (
    NOBODY,
    Changes,
    ChildRecords,
    Entries,
    RecordStore,
    Row,
    entries_of,
    entry_of,
    fingerprint_of,
    kept,
)
from .core.rows import key_of
from .core.texts import child_of
from .messages import (
    LastMail,
    ParentGone,
    ParentWanted,
    RelistWanted,
    RosterWanted,
    SubscribeWanted,
    SyncChanged,
    UnsubscribeWanted,
    WatcherStarted,
)


class _Post:
    """What one chunk means for the parents: entries by parent. Of a replacement, whom it concerns: they get all there is."""

    def __init__(self, *, replace: bool) -> None:
        self.by_parent: dict[ParentKey, dict[Any, Any]] = {}
        self._replace = replace

    def add(self, parent: ParentKey | None, key: bytes | str, what: Row | Record | str | None) -> None:
        if parent is not None:
            entries = self.by_parent.get(parent)
            if entries is None:
                entries = self.by_parent[parent] = {}
            if not self._replace:
                entries[key] = what


class WatcherActor(Behaviour, ABC):
    """Base of the two kinds of watcher. ``store`` outlives the incarnation; the subscriptions do not: they are asked for."""

    def __init__(self, ctx: Context, *, kind: str, reader: Reader, store: RecordStore, directory: Ref) -> None:
        super().__init__(ctx)
        self.kind = kind
        self._reader = reader
        self._store = store
        self._directory = directory
        self._subscribers: dict[ParentKey, Ref] = {}
        self._synced = False
        self._up = False
        self._down_because = ""
        self._listing = True  # the first list, or one that was wished for, is under way
        self._wished_s: float | None = None
        self._skipped_count = 0
        self._received_count = 0

    def on_start(self) -> None:
        ref = self.ctx.ref

        def deliver(mail: Objects | StreamChanged) -> None:
            try:
                ref.tell(mail)
            except ActorDeadError:
                pass  # the system stops: nobody reads this kind any more

        self.ctx.tell(self._directory, WatcherStarted(kind=self.kind, ref=ref))
        self._reader.start(self.kind, self.ctx.incarnation, deliver)

    def on_receive(self, message: Any) -> Any:
        if isinstance(message, Objects):
            if message.epoch == self.ctx.incarnation:
                self._objects(message)
            elif message.epoch < self.ctx.incarnation and not self._synced:
                self._late(message)
        elif isinstance(message, SubscribeWanted):
            self._subscribers[message.parent] = message.ref
            if self._synced:
                self._send_all(message.parent, message.ref)
        elif isinstance(message, UnsubscribeWanted):
            if self._subscribers.get(message.parent) == message.ref:
                del self._subscribers[message.parent]
                if not self._subscribers:
                    self._subscribers.clear()  # an emptied dict keeps its table, of the size that it once had
            self.ctx.tell(message.ref, LastMail(kind=self.kind))
        elif isinstance(message, StreamChanged):
            if message.epoch == self.ctx.incarnation:
                self._up = message.up
                self._down_because = message.message or message.reason
                self._tell_sync()
        elif isinstance(message, RelistWanted):
            self._relist()
        elif isinstance(message, RosterWanted):
            self._tell_sync()
            self._roster(message.ref)
        else:
            super().on_receive(message)

    def _objects(self, mail: Objects) -> _Post:
        entries, skips = self._kept(mail.entries), self.ctx.skips
        post = _Post(replace=mail.replace)
        if mail.replace:
            for uid in self._absent(entries):
                self._drop(uid, post)
        whole = mail.replace and not skips and self._take_over(entries, post)
        for key, what in () if whole else entries_of(entries):
            self.ctx.handling = entry = self.kind, key, what
            if skips and (place := fingerprint_of(*entry)) in skips:
                self._skipped_count += 1
                self.ctx.emit(RecordSkipped(actor=self.ctx.name, fingerprint=place))
                continue
            self._enter(key, what, post)
        self.ctx.handling = None
        self._received_count += len(entries)
        if mail.replace:
            self._synced = self._up = True
            self._listing = False
            self._down_because = ""
            self._tell_sync()
            for parent, ref in self._subscribers.items():
                self._send_all(parent, ref)
        unattended: dict[ParentKey, None] = {}
        for parent, news in post.by_parent.items():
            subscriber = self._subscribers.get(parent)
            if subscriber is None:
                unattended[parent] = None
            elif not mail.replace:  # else it has just been sent everything
                self.ctx.tell(subscriber, Objects(kind=self.kind, entries=self._mail(news)))
        if mail.replace:  # what a dead incarnation had entered and not told is in no list: wake whoever sleeps
            unattended |= dict.fromkeys(key for key in list(self._store.parents) if key not in self._subscribers)
        if unattended:
            self._unattended(list(unattended))
        return post

    def _late(self, mail: Objects) -> None:
        """What waited while we were down: no complete list, but fresher than the records, and the new list may take long."""
        entries: Entries = dict(mail.entries)
        if mail.replace:
            entries = {**dict.fromkeys(self._absent(mail.entries)), **entries}
        self._objects(Objects(kind=mail.kind, entries=entries, epoch=mail.epoch))

    def _relist(self) -> None:
        """One list serves all who wish for it; nobody's wish begins one anew, or has the kind listed all the time."""
        now_s = self.ctx.clock.now()
        if self._listing or (self._wished_s is not None and now_s - self._wished_s < SPACING_S):
            return
        self._listing, self._wished_s = True, now_s
        self._reader.relist(self.kind)

    def _tell_sync(self) -> None:
        sync = SyncChanged(kind=self.kind, synced=self._synced, up=self._up, message=self._down_because)
        self.ctx.tell(self._directory, sync)

    def _send_all(self, parent: ParentKey, ref: Ref) -> None:
        self.ctx.tell(ref, Objects(kind=self.kind, entries=self._all(parent), replace=True))

    # --- what differs between parents and children --------------------------------------------------------------------
    @abstractmethod
    def _enter(self, key: Any, what: Any, post: _Post) -> None:
        """Put an ``Entry`` into the store, and what it means for parents into the post."""

    @abstractmethod
    def _drop(self, uid: str, post: _Post) -> None:
        """The same for one that is gone."""

    def _kept(self, entries: Entries) -> Entries:
        """Those entries in the form that is kept."""
        return entries

    def _take_over(self, entries: Entries, post: _Post) -> bool:
        """Have a whole list instead of what is in the store, without looking at each record; whether that could be done."""
        return False

    def _mail(self, news: dict[Any, Any]) -> Entries:
        """What was posted for one parent, as entries."""
        return news

    @abstractmethod
    def _absent(self, entries: Entries) -> list[str]:
        """The uids on record that a replacement does not hold."""

    @abstractmethod
    def _all(self, parent: ParentKey) -> Entries:
        """The records of that parent by uid."""

    def _unattended(self, parents: list[ParentKey]) -> None:
        self.ctx.tell(self._directory, ParentWanted(parents=tuple(parents)))

    def _roster(self, ref: Ref) -> None:
        """Only the parents' watcher knows all parents."""

    def statistics(self) -> dict[str, object]:
        return {
            "kind": self.kind, "synced": self._synced, "up": self._up, "records": self._count(),
            "subscribers": len(self._subscribers), "received": self._received_count, "skipped": self._skipped_count,
        }  # fmt: skip

    @abstractmethod
    def _count(self) -> int:
        """How many records there are."""


class ChildWatcher(WatcherActor):
    """Watches one child kind."""

    def _enter(self, key: bytes, what: Row | str, post: _Post) -> None:
        if isinstance(what, str):
            self._drop(what, post)
            return
        records = self._store.children[self.kind]
        parent = what[0]
        before = records.enter(key, what)
        if before is not NOBODY and before != parent:
            uid, _ = entry_of(self.kind, key, what)
            post.add(before, key, uid)  # a child that moves wakes the parent it leaves
        if parent is None and before is not None:
            self._unnamed(key, what[1])
        post.add(parent, key, what)

    def _unnamed(self, key: bytes, text: bytes) -> None:
        child = child_of(self.kind, None, key, text)
        self.ctx.emit(ParentUnnamed(kind=self.kind, child=f"{child.namespace}/{child.name}"))

    def _take_over(self, entries: Entries, post: _Post) -> bool:
        if not isinstance(entries, ChildRecords):
            return False
        records = self._store.children[self.kind]
        for shelf in entries.shelves.values():
            post.add(shelf.parent, b"", "")
            for key, (parent, text) in shelf.entries() if shelf.parent is None else ():
                if records.parent_of(key) is not parent:
                    self._unnamed(key, text)
        records.replace(entries)
        return True

    def _drop(self, uid: str, post: _Post) -> None:
        old = self._store.children[self.kind].drop(uid)
        if old is not None:
            post.add(old.parent, key_of(uid), uid)

    def _kept(self, entries: Entries) -> Entries:
        return kept(self.kind, entries)

    def _mail(self, news: dict[bytes, Row | str]) -> Entries:
        return Changes(self.kind, news)

    def _absent(self, entries: Entries) -> list[str]:
        return self._store.children[self.kind].absent(entries)

    def _all(self, parent: ParentKey) -> Entries:
        return self._store.children[self.kind].of(parent).copy()

    def _unattended(self, parents: list[ParentKey]) -> None:
        known = [parent for parent in parents if parent in self._store.parents]
        if known:
            super()._unattended(known)
        if self._store.parents_listed:
            for parent in parents:
                if parent not in self._store.parents and self._store.children[self.kind].of(parent):
                    self.ctx.emit(ParentMissing(kind=self.kind, parent=str(parent)))

    def _count(self) -> int:
        return len(self._store.children[self.kind])


class ParentWatcher(WatcherActor):
    """Watches the parents' kind; knows each parent's heartbeat timeout, and tells the reader of the children's kinds."""

    def __init__(
        self, ctx: Context, *, kind: str, reader: Reader, store: RecordStore, directory: Ref, fleet: FleetDefinition,
        policy: Policy,
    ) -> None:  # fmt: skip
        super().__init__(ctx, kind=kind, reader=reader, store=store, directory=directory)
        self._fleet = fleet
        self._policy = policy
        self._key_of = {parent.uid: key for key, parent in store.parents.items()}
        self._spec_changed: list[ParentKey] = []
        self._arrived: list[ParentKey] = []
        self._vacated: set[ParentKey] = (
            set()
        )  # parents that went in the mail in hand; others may come under their names

    def _objects(self, mail: Objects) -> _Post:
        post = super()._objects(mail)
        self._vacated.clear()
        if mail.replace:
            self._store.parents_listed = True
        concerned = {**post.by_parent, **self._subscribers} if mail.replace else post.by_parent
        for key in concerned:
            if key not in self._store.parents:
                self.ctx.tell(self._directory, ParentGone(parent=key))
        # Who is subscribed under the name of a parent that has come may be the actor of one that is gone, and end any moment.
        arrived = [key for key in self._arrived if key in self._subscribers and key not in self._spec_changed]
        self._arrived.clear()
        if arrived:
            self.ctx.tell(self._directory, ParentWanted(parents=tuple(arrived)))
        if self._spec_changed:
            changed, self._spec_changed = self._spec_changed, []
            self.ctx.tell(self._directory, ParentWanted(parents=tuple(changed), spec_changed=True))
        return post

    def _drop(self, uid: str, post: _Post) -> None:
        key = self._key_of.pop(uid, None)
        if key is None:
            return
        post.add(key, uid, None)
        if self._store.parents[key].uid == uid:  # else another of the same name is there already
            self._set_timeouts(key, None)
            del self._store.parents[key]
            self._vacated.add(key)

    def _enter(self, uid: str, record: Record | None, post: _Post) -> None:
        if record is None:
            self._drop(uid, post)
            return
        assert isinstance(record, Parent)
        key = record.key
        old = self._store.parents.get(key)
        if old is not None and old.uid != uid:
            self._key_of.pop(old.uid, None)
            post.add(key, old.uid, None)
            self._vacated.add(key)
        if old is None:
            self._arrived.append(key)
        if key in self._vacated:
            self._spec_changed.append(key)  # created again under its name: another object, and another chance
        timeout_s = self._policy.over(record.spec).heartbeat_timeout_s
        same = old is not None and old.spec is record.spec  # as of all that say nothing
        if old is None or (not same and self._policy.over(old.spec).heartbeat_timeout_s != timeout_s):
            self._set_timeouts(
                key, timeout_s
            )  # before the record: if this dies, the next incarnation sees the difference
        self._store.parents[key] = record
        self._key_of[uid] = key
        if old is not None and old.generation != record.generation:
            self._spec_changed.append(key)
        post.add(key, uid, record)

    def _set_timeouts(self, key: ParentKey, timeout_s: float | None) -> None:
        for child in self._fleet.children:
            self._reader.set_timeout(child.ref.kind, key, timeout_s)

    def _absent(self, entries: Entries) -> list[str]:
        return [uid for uid in self._key_of if uid not in entries]

    def _all(self, parent: ParentKey) -> Entries:
        record = self._store.parents.get(parent)
        return {} if record is None else {record.uid: record}

    def _unattended(self, parents: list[ParentKey]) -> None:
        super()._unattended([parent for parent in parents if parent in self._store.parents])

    def _roster(self, ref: Ref) -> None:
        self.ctx.tell(ref, ParentWanted(parents=tuple(self._store.parents)))

    def _count(self) -> int:
        return len(self._store.parents)
