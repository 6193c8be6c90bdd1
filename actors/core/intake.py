"""What is kept of one kind: every event comes in, only what matters goes out.

Of each object is kept what its record is made of, and beside it what a record does not tell: the newest version, the heartbeat
value, and when *we* last heard from it (``slots``). An event that changes nothing but these three is dropped here, before any
message exists; that is what makes heartbeats free. A complete list replaces everything; who is missing from it is gone.

Who has fallen silent is the other half (``silence``). Times are seconds on the injected monotonic clock. One owner at a time:
the caller serialises.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from itertools import groupby

import msgspec

from .model import Child, Parent, Record
from .ports import Objects
from .records import Changes, ChildRecords, Entries
from .said import Said
from .silence import Silence
from .slots import LIVE, NOWHERE, SILENT, Group, Slots, matter_of
from .staging import Block, Taken

__all__ = ["Intake", "Replaced"]


class Replaced(msgspec.Struct, frozen=True):
    """What a complete list did: ``missing`` objects were held before and are gone now."""

    count: int
    missing: int


class Intake(Silence):
    """The records of one kind. ``beats``: whether children report heartbeats (else only the never-reported fall silent).

    ``version``: what an intake before this one had seen already; no older list is believed.
    """

    _by_columns = True
    """Whether a list's children are taken in by blocks: of a kind of which the columns here are all that is kept."""

    def __init__(self, kind: str, *, beats: bool = True, version: int = 0) -> None:
        super().__init__(Slots(kind), beats=beats)
        self.kind = kind
        self.version = version
        """Everything up to this resourceVersion has been taken in; where a watch resumes. 0: nothing yet."""
        self._out: dict[str, Record | None] = {}
        self._changes = Changes(kind)
        self._replace = False
        self._refused: dict[str, int] = {}
        self._gone: set[str] | None = None

    # --- what comes in ---

    def event(self, type_: str, record: Record, now: float) -> bool:
        """One event of the stream; whether it is material. Old versions and repetitions are dropped. O(1)."""
        return self._event(type_, record, _matter(record), self._slots.find(record.namespace, record.name), now)

    def hear(self, said: Said, now: float) -> None:
        """``event`` of several plain children, in their order.

        Who says again what he has said, but for the version and the heartbeat, is done with here, in one piece and without a
        record: such are most of all events. So is whose health has turned, and nothing else (``_turn``).
        """
        slots, places, refused = self._slots, self._slots.find_all(said.namespaces, said.names), self._refused
        matters, versions, marks = slots.matters, slots.versions, slots.marks
        heartbeats, heard_s = slots.heartbeats, slots.heard_s
        mattering = map(hash, zip(said.uids, said.parents, said.healthy, said.since, strict=True))  # as ``matter_of``
        columns = range(len(places)), said.types, places, mattering, said.versions, slots.shared(said.heartbeats)
        self._frame_at_s, newest = now, self.version
        for at, type_, place, matter, version, heartbeat in zip(*columns, strict=True):
            if place >= 0 and version > versions[place] and type_ != "DELETED" and not refused:
                mark, same = marks[place], matters[place] == matter
                if not mark & SILENT and (same or slots.has(place, said.uids[at], said.parents[at])):
                    versions[place] = version
                    if version > newest:  # noqa: PLR1730 - a call of ``max`` is a hundredth of it all
                        newest = version
                    if heartbeat != heartbeats[place]:
                        heartbeats[place] = heartbeat
                        heard_s[place] = now
                        marks[place] = mark | LIVE
                    if not same:
                        matters[place] = matter
                        self._turn(place, said.healthy[at], said.since[at], now)
                    continue
            self.version = newest
            record = said.record(self.kind, at)
            self._event(type_, record, matter, slots.find(record.namespace, record.name), now)
            newest = self.version
        self.version = newest

    def _event(self, type_: str, record: Record, matter: int, place: int, now: float) -> bool:
        """``event``, with what it is about: ``place`` is where its name is."""
        slots, version = self._slots, record.version
        self._frame_at_s = now
        known = place >= 0 and (slots.matters[place] == matter or slots.holds(place, record.uid))
        if version <= (slots.versions[place] if known else self.version):
            return False
        self.version = max(self.version, version)
        if self._refused:
            self._refused.pop(record.uid, None)
        if type_ == "DELETED":
            if known:
                self._forget(place)
            return known
        if not known:
            self._first(record, matter, now, place)
            return True
        return self._renew(place, record, matter, now)

    def bookmark(self, version: int, now: float) -> None:
        """The stream has delivered everything up to ``version``."""
        self._frame_at_s = now
        self.version = max(self.version, version)

    def refuse(self, uid: str, version: int, type_: str, now: float, *, names: tuple[str, str] | None = None) -> None:
        """An object of the stream could not be read: its last record stays, unless it was deleted.

        ``names``: its namespace and name. Without them it is searched for, O(N).
        """
        self._frame_at_s = now
        place = self._slots.search(uid) if names is None else self._slots.find(*names)
        if place >= 0 and self._slots.uid(place) != uid:
            place = NOWHERE
        if version <= (self.version if place < 0 else self._slots.versions[place]):
            return
        self.version = max(self.version, version)
        if type_ == "DELETED":
            self._refused.pop(uid, None)
            if place >= 0:
                self._forget(place)
        else:  # its version does not count as seen: a list may bring the same one in good shape
            self._refused[uid] = version

    def replace(
        self, listed: Iterable[Record], version: int, now: float, *, refused: dict[str, int], force: bool = False
    ) -> Replaced:
        """A complete list: whoever is missing from it (and not ``refused`` by the decoder: uid → version) is gone.

        ``force`` takes the list's versions even where they are older (a restored API server). The mail to come replaces.
        """
        self._replace = True  # from here on nobody is told of by himself
        slots, before, new = self._slots, len(self._slots), 0
        here = bytearray(len(slots.homes))
        for block in listed.blocks() if self._by_columns and isinstance(listed, Taken) else (listed,):
            if isinstance(block, Block) and slots.knows_none_of(block):
                new += len(block.names)
                here.extend(bytes(len(slots.homes) - len(here)))
                self._fill(block, now)
                here.extend(b"\1" * len(block.names))
                continue
            for record in block:
                matter = _matter(record)
                place = slots.find(record.namespace, record.name)
                if place < 0 or not (slots.matters[place] == matter or slots.uid(place) == record.uid):
                    new += 1
                    place = self._first(record, matter, now, place)
                elif force or record.version > slots.versions[place]:
                    self._renew(place, record, matter, now)
                if place >= len(here):
                    here.extend(bytes(place + 1 - len(here)))
                here[place] = 1
        for place in [place for place in slots if not here[place]]:
            if slots.uid(place) not in refused:
                self._forget(place)
        self._refused = dict(refused)
        self.version = version if force else max(self.version, version)
        self._frame_at_s = now
        self._out, self._changes = {}, Changes(self.kind)
        return Replaced(len(slots), before + new - len(slots))

    # --- what goes out ---

    def take(self, epoch: int) -> Objects | None:
        """The mail that has gathered, or None. After a list it holds all there is and replaces."""
        entries: Entries
        if self._replace:
            entries = self._everything()
        elif self._changes.rows:
            entries = self._changes
        elif self._out:
            entries = self._out
        else:
            return None
        mail = Objects(kind=self.kind, entries=entries, replace=self._replace, epoch=epoch)
        self._out, self._changes, self._replace = {}, Changes(self.kind), False
        return mail

    def versions(self) -> dict[str, tuple[str, str, int]]:
        """By uid: namespace, name and newest version, for the audit. O(N)."""
        slots = self._slots
        return {slots.uid(place): (*slots.name(place), slots.versions[place]) for place in slots}

    def newest(self, uid: str) -> int | None:
        """The newest version taken in of that object, None where it is not held."""
        place = self._slots.search(uid)
        return None if place < 0 else self._slots.versions[place]

    def begin_audit(self) -> None:
        """Remember from now on who goes, so that an audit does not take a deletion for a loss."""
        self._gone = set()

    def end_audit(self) -> set[str]:
        """Who has gone since ``begin_audit``, and who could not be read."""
        gone, self._gone = (self._gone or set()) | self._refused.keys(), None
        return gone

    def record(self, uid: str) -> Record | None:
        """The record held, for tests and questions."""
        place = self._slots.search(uid)
        return None if place < 0 else self._slots.record(place)

    def __len__(self) -> int:
        return len(self._slots)

    # --- inside ---

    def _first(self, record: Record, matter: int, now: float, namesake: int) -> int:
        """Take in who was not here; the place. ``namesake``: where another is that had the name (below zero: nobody)."""
        slots = self._slots
        if namesake >= 0:
            self._forget(namesake)
        group = self._group(record.parent if isinstance(record, Child) else None)
        place = slots.add(record, group.home(record.namespace), matter, now)
        if isinstance(record, Child):
            slots.beat(place, record.heartbeat)
        if group.timeout_s is not None:
            self._begin_clock(group, place, group.timeout_s)
        self._tell(place)
        return place

    def _fill(self, block: Block, now: float) -> None:
        """As ``_first`` of each of a list's children whose names are free."""
        slots, groups = self._slots, self._groups
        for parent in dict.fromkeys(block.parents):
            if parent not in groups:
                groups[parent] = Group(parent)
        whose = zip(block.parents, block.namespaces, strict=True)
        homes = [groups[parent].home(namespace) for parent, namespace in whose]
        first = slots.fill(block, homes, now)
        for group, run in groupby(range(first, len(slots.homes)), lambda place: homes[place - first].group):
            places = array("I", run)
            group.join_all(places)
            if group.timeout_s is not None:
                self._begin_clocks(group, places)

    def _renew(self, place: int, record: Record, matter: int, now: float) -> bool:
        """Take in a newer version; whether it is material."""
        slots = self._slots
        slots.versions[place] = record.version
        if isinstance(record, Parent):
            slots.set(place, record)
            self._tell(place)
            return True
        mark, was_matter = slots.marks[place], slots.matters[place]
        if record.heartbeat != slots.heartbeats[place] or (was_matter != matter and self._turned(place, record)):
            slots.heard_s[place] = now
            slots.beat(place, record.heartbeat)
            slots.marks[place] = (mark | LIVE) & ~SILENT
            if was_matter == matter and not mark & SILENT:
                return False
        elif was_matter == matter:
            return False
        return self._change(place, record, matter, mark, now)

    def _turn(self, place: int, healthy: bool | None, since: str, now: float) -> None:
        """``_renew`` and ``_change`` of a child that is not silent and says that its health has turned."""
        slots = self._slots
        slots.heard_s[place] = now
        if not slots.turn(place, healthy, since):
            return
        group = slots.home(place).group
        if group.timeout_s is not None and group.check_at_s > now + group.timeout_s:  # else there is an earlier look
            self._check(group, self._deadline(place, group.timeout_s))
        if not self._replace:  # as in ``_tell``, of a child
            key, text = slots.row(place)
            self._changes.rows[key] = group.parent, text

    def _turned(self, place: int, record: Child) -> bool:
        """Whether its health has, and not only its parent."""
        parent = self._slots.home(place).group.parent
        return self._slots.matters[place] != matter_of(record.uid, parent, record.healthy, record.since)

    def _change(self, place: int, record: Child, matter: int, mark: int, now: float) -> bool:
        """More than its heartbeat has, since ``mark``; whether it is material: one that is well may have been ill meanwhile."""
        slots = self._slots
        old, since = slots.home(place), slots.since(place)
        silent = slots.marks[place] & SILENT
        slots.matters[place] = matter
        slots.set(place, record)
        moved = old.group.parent != record.parent
        if moved:
            slots.move(place, self._group(record.parent).home(record.namespace))
            self._tidy(old.group)
        group = slots.home(place).group if moved else old.group
        if silent and moved:  # only a report ends it; but under another parent it is by that one's timeout
            silent = SILENT * (self._deadline(place, group.timeout_s) <= now)
        slots.marks[place] |= silent
        if not moved and (slots.marks[place] | LIVE) == (mark | LIVE) and slots.since(place) == since:
            return False
        if not silent and group.timeout_s is not None:
            self._check(group, self._deadline(place, group.timeout_s))
        if not self._replace:  # as in ``_tell``, of a child
            key, text = slots.row(place)
            self._changes.rows[key] = group.parent, text
        return True

    def _forget(self, place: int) -> None:
        uid = self._slots.uid(place)
        if self._slots.parent(place) is None:
            self._changes.gone(uid)
        else:
            self._out[uid] = None
        if self._gone is not None:
            self._gone.add(uid)
        self._tidy(self._slots.remove(place))

    def _tell(self, place: int) -> None:
        """What is at that place goes out with the next mail; after a list, everything does."""
        if self._replace:
            return
        slots = self._slots
        parent = slots.parent(place)
        if parent is not None:
            self._out[parent.uid] = parent
            return
        key, text = slots.row(place)
        self._changes.rows[key] = slots.home(place).group.parent, text

    def _everything(self) -> Entries:
        """Of children in packed form: a list of a million must not become a million objects."""
        slots = self._slots
        if slots.holds_parents or not slots:
            return {slots.uid(place): slots.record(place) for place in slots}
        groups = (group for group in self._groups.values() if group.count)
        families = [(group.parent, slots.rows(group.present(slots.homes)), group.count) for group in groups]
        return ChildRecords.of_families(self.kind, families)


def _matter(record: Record) -> int:
    if isinstance(record, Child):
        return matter_of(record.uid, record.parent, record.healthy, record.since)
    return hash(record.uid)
