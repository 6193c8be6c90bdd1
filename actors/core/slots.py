"""What a reader holds of each object, in columns: a place is an index into all of them.

As a struct with its numbers and strings an object took 540 B of the reader; in columns it takes 200, a third of it the name.
What is the same for many is kept once: where an object belongs (``Home``), and a heartbeat's text, which is a whole second of
which a fleet has not many at a time. What hardly any object has is kept beside (the instant at which it fell ill, a uid that is
no UUID, a parent's whole record).

Of a well child the text of its last turn is not kept, only a hash of all that matters of it: enough to see that it differs.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, repeat
from operator import itemgetter

from .model import Child, Parent, ParentKey, Record
from .parents import Parents
from .rows import KEY_BYTES, UUID_LETTERS, is_uuid, key_of, keys_of, uid_of
from .staging import Block
from .texts import home_of, packed_other, packed_well

__all__ = ["HEALTH", "LIVE", "NOWHERE", "SILENT", "Group", "Home", "Slots", "matter_of"]

HEALTH, SILENT, LIVE = 3, 4, 8
"""Marks: the bits of the health; silent; has reported since we first saw it."""
_HEALTHY = (None, True, False)
_MARK_OF = {healthy: mark for mark, healthy in enumerate(_HEALTHY)}
NOWHERE = -1
_NEVER = 2**63 - 1
"""A version that none is newer than."""
_TEXTS_MAX = 4096
"""Heartbeat texts that are shared. Beyond, they are collected anew; one that is in use stays with who uses it."""
_NOBODY: dict[str, int] = {}
_STALE_MIN = 16
_GROWTH = 64
"""Places made at a time."""
_WELL = _HEALTHY.index(True)


class Group:
    """The children of one parent (None: of no parent), by place.

    ``check_at_s`` is never later than the earliest deadline among them. Who leaves is struck off with the next use. One that
    nobody has been in yet has no tables: of a kind that a parent has no children of there is a group all the same.
    """

    __slots__ = ("_members", "_stale", "check_at_s", "count", "homes", "parent", "timeout_s")

    def __init__(self, parent: ParentKey | None) -> None:
        self.parent = parent
        self.homes: dict[str, Home] | None = None
        self._members: array[int] | None = None
        self.count = 0
        self.timeout_s: float | None = None
        self.check_at_s = float("inf")
        self._stale = 0

    def home(self, namespace: str) -> Home:
        """Where the children are that are in that namespace."""
        if self.homes is None:
            self.homes = {}
        found = self.homes.get(namespace)
        if found is None:
            found = self.homes[namespace] = Home(self, namespace)
        return found

    def join(self, place: int) -> None:
        """One more."""
        if self._members is None:
            self._members = array("I")
        self._members.append(place)
        self.count += 1

    def join_all(self, places: array[int]) -> None:
        """Some more."""
        if self._members is None:
            self._members = array("I")
        self._members += places
        self.count += len(places)

    def leave(self, homes: list[Home | None]) -> None:
        """One less, which has its new home already."""
        self.count -= 1
        self._stale += 1
        if self._stale > self.count + _STALE_MIN:
            self.present(homes)

    def present(self, homes: list[Home | None]) -> array[int]:
        """The members as they are."""
        members = self._members
        if members is None:
            return array("I")
        if self._stale:
            here = (place for place in members if (home := homes[place]) is not None and home.group is self)
            members = self._members = array("I", dict.fromkeys(here))
            self._stale = 0
        return members


class Home:
    """Where a child belongs: its parent's group, and its namespace; ``own``: which is the parent's."""

    __slots__ = ("group", "namespace", "own")

    def __init__(self, group: Group, namespace: str) -> None:
        self.group = group
        self.namespace = namespace
        self.own = namespace == home_of(group.parent)


def matter_of(uid: str, parent: ParentKey | None, healthy: bool | None, since: str) -> int:
    """All that matters of a child's own words, as a number. Two that differ have the same one in 2⁶⁴."""
    return hash((uid, parent, healthy, since))


class Slots:
    """The columns of one kind. Numbers are read and written in place by who owns them (``Intake``); the rest by its methods."""

    def __init__(self, kind: str) -> None:
        self.versions = array("q")
        """The newest resourceVersion seen."""
        self.heard_s = array("d")
        """The last report, or the start of the clock."""
        self.matters = array("q")
        self.marks = bytearray()
        self.heartbeats: list[str] = []
        self.homes: list[Home | None] = []
        """None: the place is free."""
        self.places: dict[str, dict[str, int]] = {}
        """By namespace and name."""
        self._kind = kind
        self._names: list[str] = []
        self._keys = bytearray()
        self._free: list[int] = []
        self._texts: dict[str, str] = {}
        self._parents: Parents[int] = Parents()
        self._since: dict[int, str] = {}
        self._uids: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self.homes) - len(self._free)

    def __iter__(self) -> Iterator[int]:
        """All places that are taken."""
        return (place for place, home in enumerate(self.homes) if home is not None)

    def find(self, namespace: str, name: str) -> int:
        """The place of that name; below zero where there is none."""
        names = self.places.get(namespace)
        return NOWHERE if names is None else names.get(name, NOWHERE)

    def find_all(self, namespaces: Sequence[str], names: Sequence[str]) -> list[int]:
        """As ``find`` of each; and what ``Intake.hear`` looks at next is in the processor's caches.

        A large fleet's columns are not: each look waits for memory, as long as a hundred lines of ours take. One call that
        looks at all of them waits for many at once (a heartbeat at 200,000 children: 7.2 µs, with it 6.7).
        """
        if not self.homes:
            return [NOWHERE] * len(names)
        home = namespaces[0]
        if namespaces.count(home) == len(names):
            places = list(map(self.places.get(home, _NOBODY).get, names, repeat(NOWHERE)))
        else:
            places = list(map(self.find, namespaces, names))
        touch = itemgetter(*places)
        for column in (self.versions, self.matters, self.marks, self.heartbeats, self.heard_s):
            touch(column)
        return places

    def search(self, uid: str) -> int:
        """The place of that uid; below zero where there is none. O(N), a million in milliseconds: for who has no name."""
        key = key_of(uid)
        at = self._keys.find(key)
        while at >= 0 and (at % KEY_BYTES or self.uid(at // KEY_BYTES) != uid):
            at = self._keys.find(key, at + 1)
        return at // KEY_BYTES

    def add(self, record: Record, home: Home, matter: int, now: float) -> int:
        """Enter an object whose name is free; its place."""
        place = self._free.pop() if self._free else self._grow()
        self.versions[place] = record.version
        self.heard_s[place] = now
        self.matters[place] = matter
        self.homes[place] = home
        self._names[place] = record.name
        self.places.setdefault(record.namespace, {})[record.name] = place
        key = key_of(record.uid)
        self._keys[KEY_BYTES * place : KEY_BYTES * (place + 1)] = key
        if not is_uuid(record.uid, key):
            self._uids[place] = record.uid
        self.set(place, record)
        home.group.join(place)
        return place

    def knows_none_of(self, block: Block) -> bool:
        """Whether ``fill`` may be called: the names are free, and each is there once."""
        names = set(zip(block.namespaces, block.names, strict=True))
        return len(names) == len(block.names) and all(
            found.keys().isdisjoint(block.names)
            for namespace in set(block.namespaces)
            if (found := self.places.get(namespace)) is not None
        )

    def fill(self, block: Block, homes: list[Home], now: float) -> int:
        """As ``add`` and ``beat`` of each of these children, but for their groups; the first place: the others follow it."""
        first, count = len(self.homes), len(homes)
        self.versions.extend(block.versions)
        self.heard_s.extend(array("d", (now,)) * count)
        matters = map(hash, zip(block.uids, block.parents, block.healthy, block.since, strict=True))  # as ``matter_of``
        self.matters.extend(matters)
        self.marks += bytes(map(_MARK_OF.__getitem__, block.healthy))
        self.homes += homes
        self._names += block.names
        for namespace, run in groupby(range(count), block.namespaces.__getitem__):
            self.places.setdefault(namespace, {}).update((block.names[at], first + at) for at in run)
        keys = keys_of(block.uids)
        if keys is None:  # some are no UUIDs
            each = list(map(key_of, block.uids))
            keys = b"".join(each)
            self._uids |= {
                first + at: uid
                for at, (uid, key) in enumerate(zip(block.uids, each, strict=True))
                if not is_uuid(uid, key)
            }
        self._keys += keys
        for at, (healthy, since) in enumerate(zip(block.healthy, block.since, strict=True), first):
            if healthy is False and since:
                self._since[at] = since
        self.heartbeats += self.shared(block.heartbeats)
        return first

    def set(self, place: int, record: Record) -> None:
        """What it says of itself: a child's health, which is not silent any more; a parent's whole record."""
        if isinstance(record, Parent):
            self._parents[place] = record
            return
        self.marks[place] = self.marks[place] & LIVE | _MARK_OF[record.healthy]
        if record.healthy is False and record.since:
            self._since[place] = record.since
        else:
            self._since.pop(place, None)

    def turn(self, place: int, healthy: bool | None, since: str) -> bool:
        """As ``set``, of a child that has just reported and is not silent; whether that is news."""
        mark = self.marks[place] | LIVE
        turned = self.marks[place] = mark & ~HEALTH | _MARK_OF[healthy]
        before = self._since.pop(place, "")
        if healthy is False and since:
            self._since[place] = since
        else:
            since = ""
        return turned != mark or since != before

    def beat(self, place: int, heartbeat: str) -> None:
        """Its heartbeat's text."""
        self.heartbeats[place] = self.shared((heartbeat,))[0]

    def shared(self, heartbeats: Sequence[str]) -> list[str]:
        """These texts, each the one copy of it."""
        texts = self._texts
        if len(texts) >= _TEXTS_MAX:
            texts.clear()
        return list(map(texts.setdefault, heartbeats, heartbeats))

    def move(self, place: int, home: Home) -> None:
        """It belongs there now."""
        old, self.homes[place] = self.home(place), home
        old.group.leave(self.homes)
        home.group.join(place)

    def remove(self, place: int) -> Group:
        """The object is gone and its place free; where it was."""
        home, name = self.home(place), self._names[place]
        names = self.places[home.namespace]
        del names[name]
        if not names:
            del self.places[home.namespace]
        self.homes[place] = None
        home.group.leave(self.homes)
        self._parents.pop(place, None)
        for few in (self._since, self._uids):
            few.pop(place, None)
        self._names[place] = self.heartbeats[place] = ""
        self._keys[KEY_BYTES * place : KEY_BYTES * (place + 1)] = bytes(KEY_BYTES)
        self.marks[place] = 0
        self.versions[place] = _NEVER  # who has found the place before does not take it for that child's
        self._free.append(place)
        return home.group

    def uid(self, place: int) -> str:
        """Whose place it is."""
        return self._uids.get(place) or uid_of(bytes(self._keys[KEY_BYTES * place : KEY_BYTES * (place + 1)]))

    def holds(self, place: int, uid: str) -> bool:
        """Whether it is that uid's place: as ``uid``, without making a text of the key."""
        if place in self._uids:
            return self._uids[place] == uid
        return len(uid) == UUID_LETTERS and is_uuid(uid, self._keys[KEY_BYTES * place : KEY_BYTES * (place + 1)])

    def has(self, place: int, uid: str, parent: ParentKey | None) -> bool:
        """Whether it ``holds`` that uid, and is that parent's."""
        home = self.homes[place]
        return home is not None and home.group.parent == parent and self.holds(place, uid)

    def name(self, place: int) -> tuple[str, str]:
        """Namespace and name."""
        return self.home(place).namespace, self._names[place]

    def home(self, place: int) -> Home:
        """Where the object at a place that is taken belongs."""
        home = self.homes[place]
        assert home is not None
        return home

    def since(self, place: int) -> str:
        """Since when it is ill, as it says itself; "" for who is not."""
        return self._since.get(place, "")

    @property
    def holds_parents(self) -> bool:
        """Whether this is the kind that has children."""
        return bool(self._parents)

    def parent(self, place: int) -> Parent | None:
        """The record of an object that has children; None for a child."""
        return self._parents.get(place)

    def record(self, place: int) -> Record:
        """The object's record."""
        return self._parents.get(place) or self.child(place)

    def child(self, place: int) -> Child:
        """A child's record, with what is worth telling: see ``Child``."""
        home, mark = self.home(place), self.marks[place]
        silent = bool(mark & SILENT)
        return Child(
            self._kind, home.namespace, self._names[place], self.uid(place), self.versions[place], home.group.parent,
            _HEALTHY[mark & HEALTH], self._since.get(place, ""), self._last_beat(place), silent,
        )  # fmt: skip

    def row(self, place: int) -> tuple[bytes, bytes]:
        """A child's key and its record, packed (``texts``)."""
        key, home, mark = (
            bytes(self._keys[KEY_BYTES * place : KEY_BYTES * (place + 1)]),
            self.home(place),
            self.marks[place],
        )
        name, version = self._names[place], self.versions[place]
        if mark & (HEALTH | SILENT) == _WELL and home.own and place not in self._uids:
            return key, packed_well(name, version)
        how = (mark & HEALTH) + len(_HEALTHY) * bool(mark & SILENT)
        heartbeat = self._last_beat(place) if mark & SILENT else ""
        since, uid = self._since.get(place, ""), self._uids.get(place, "")
        return key, packed_other(name, version, how, since, heartbeat, home.namespace, uid)

    def rows(self, places: Iterable[int]) -> Iterator[tuple[bytes, bytes]]:
        """As ``row`` of each."""
        keys, names, versions, marks, homes = self._keys, self._names, self.versions, self.marks, self.homes
        for place in places:
            home = homes[place]
            if marks[place] & (HEALTH | SILENT) == _WELL and home is not None and home.own and place not in self._uids:
                key = bytes(keys[KEY_BYTES * place : KEY_BYTES * (place + 1)])
                yield key, packed_well(names[place], versions[place])
            else:
                yield self.row(place)

    def _last_beat(self, place: int) -> str:
        """The heartbeat's text where it names an incident."""
        return self.heartbeats[place] if self.marks[place] & (SILENT | HEALTH) in (SILENT, SILENT | _WELL) else ""

    def _grow(self) -> int:
        """More places; the first of them."""
        first = len(self.homes)
        for column in (self.versions, self.heard_s, self.matters):
            column.frombytes(bytes(8 * _GROWTH))
        self.marks += bytes(_GROWTH)
        self._keys += bytes(KEY_BYTES * _GROWTH)
        self.homes += [None] * _GROWTH
        self.heartbeats += [""] * _GROWTH
        self._names += [""] * _GROWTH
        self._free += range(first + _GROWTH - 1, first, -1)
        return first
