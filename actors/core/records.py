"""The record store: every record there is, by uid and by parent. Watchers write it; everybody else may read.

Children are kept as rows (``rows``), and a ``Child`` is made when somebody asks for one. Reading from another thread needs no
lock: a reader sees the record before or after a write, never half of one. Each kind has exactly one writer (its watcher).

The same rows travel in mail, so that a child is packed once on its way and unpacked by nobody: ``ChildRecords`` is all of a
kind (reader → watcher), a ``Shelf`` all of one parent's (watcher → ClusterActor), ``Changes`` what has become of some.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Container, ItemsView, Iterable, Iterator, Mapping, MutableMapping, ValuesView
from typing import Any, Self

from .model import Child, Parent, ParentKey, Record, State, fingerprint
from .parents import Parents
from .rows import Rows, key_of
from .texts import ELIGIBLE, GUEST, ILL_WORDS, STATES, child_of, home_of, is_ill, mark_of, packed, uid_in

Row = tuple[ParentKey | None, bytes]
"""A child but for its kind and its key: whose it is, and its text."""
Entry = tuple[str, bytes | str, Row | Record | str | None]
"""One of a mail's entries, with its kind: a child by its key (a uid where it is gone), anything else by its uid."""

NOBODY = ParentKey("", "")
"""Whose a child was that was not there: nobody's name."""


class Children(Mapping[str, Child]):
    """Children by uid, each made when it is asked for: what a ``Shelf`` and ``ChildRecords`` have in common."""

    __slots__ = ()

    @abstractmethod
    def find(self, uid: str) -> Child | None:
        """That child's record, None where it is not here."""

    @abstractmethod
    def put(self, child: Child) -> Child | None:
        """Enter or replace; the record before."""

    @abstractmethod
    def drop(self, uid: str) -> Child | None:
        """Remove; the record before."""

    @abstractmethod
    def walk(self) -> Iterator[Child]:
        """The records, made one by one, each parent's together."""

    def update(self, entries: Mapping[str, Record | None]) -> None:
        """Newer mail on top of this: enter what is there, drop what is gone."""
        for uid, record in entries.items():
            if isinstance(record, Child):
                self.put(record)
            else:
                self.drop(uid)

    def __getitem__(self, uid: str) -> Child:
        child = self.find(uid)
        if child is None:
            raise KeyError(uid)
        return child

    def values(self) -> ValuesView[Child]:
        """As ``walk``, once for each iteration."""
        return _Values(self)

    def items(self) -> ItemsView[str, Child]:
        """The same with their uids."""
        return _Items(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({dict(self)})"


class _Values(ValuesView[Child]):
    """Walks, where the view of the standard library looks each up."""

    def __init__(self, children: Children) -> None:
        super().__init__(children)
        self._children = children

    def __iter__(self) -> Iterator[Child]:
        return self._children.walk()


class _Items(ItemsView[str, Child]):
    """The same with uids."""

    def __init__(self, children: Children) -> None:
        super().__init__(children)
        self._children = children

    def __iter__(self) -> Iterator[tuple[str, Child]]:
        return ((child.uid, child) for child in self._children.walk())


class Changes(Mapping[str, Child | None]):
    """What has become of some children of one kind, the newest of each: its row by its key, or its uid where it is gone."""

    __slots__ = ("kind", "rows")

    def __init__(self, kind: str, rows: dict[bytes, Row | str] | None = None) -> None:
        self.kind = kind
        self.rows = {} if rows is None else rows

    @classmethod
    def of(cls, kind: str, entries: Mapping[str, Record | None]) -> Self:
        """The same, of records."""
        changes = cls(kind)
        changes.update(entries)
        return changes

    def put(self, child: Child) -> None:
        """That is what it is now."""
        key = key_of(child.uid)
        self.rows[key] = child.parent, packed(child, key, home_of(child.parent))

    def gone(self, uid: str) -> None:
        """That one is no more."""
        self.rows[key_of(uid)] = uid

    def copy(self) -> Self:
        """The same for another owner."""
        return type(self)(self.kind, dict(self.rows))

    def update(self, entries: Mapping[str, Record | None]) -> None:
        """Newer mail on top of this."""
        if isinstance(entries, Changes):
            self.rows.update(entries.rows)
            return
        for uid, record in entries.items():
            if isinstance(record, Child):
                self.put(record)
            else:
                self.gone(uid)

    def __getitem__(self, uid: str) -> Child | None:
        key = key_of(uid)
        row = self.rows[key]
        return None if isinstance(row, str) else child_of(self.kind, row[0], key, row[1])

    def __iter__(self) -> Iterator[str]:
        return (row if isinstance(row, str) else uid_in(key, row[1]) for key, row in self.rows.items())

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({dict(self)})"


class Shelf(Children):
    """The children of one kind and one parent (None: of no parent) by uid."""

    __slots__ = ("_home", "kind", "number", "parent", "rows")

    def __init__(self, kind: str, parent: ParentKey | None, number: int = 0) -> None:
        self.kind = kind
        self.parent = parent
        self.number = number  # among a kind's shelves
        self.rows = Rows()
        self._home = home_of(parent)

    def put(self, child: Child) -> Child | None:
        """Enter or replace; the record before."""
        key = key_of(child.uid)
        before = self.rows.put(key, packed(child, key, self._home))
        return None if before is None else self._child(key, before)

    def drop(self, uid: str) -> Child | None:
        """Remove; the record before."""
        key = key_of(uid)
        before = self.rows.pop(key)
        return None if before is None else self._child(key, before)

    def copy(self) -> Shelf:
        """The same records for another owner; what neither changes is there once."""
        other = Shelf(self.kind, self.parent, self.number)
        other.rows = self.rows.copy()
        return other

    def replace(self, other: Shelf) -> None:
        """Have what ``other`` has instead. It is there once until one of the two changes."""
        self.rows = other.rows.copy()

    def find(self, uid: str) -> Child | None:
        """That child's record, None where it is not here."""
        if not self.rows:
            return None
        key = key_of(uid)
        text = self.rows.get(key)
        return None if text is None else self._child(key, text)

    def entries(self) -> Iterator[tuple[bytes, Row]]:
        """As ``Changes`` has them."""
        parent = self.parent
        return ((key, (parent, text)) for key, text in self.rows.items())

    def __contains__(self, uid: object) -> bool:
        return isinstance(uid, str) and self.rows.get(key_of(uid)) is not None

    def __iter__(self) -> Iterator[str]:
        return (uid_in(key, text) for key, text in self.rows.items())

    def __len__(self) -> int:
        return len(self.rows)

    def walk(self) -> Iterator[Child]:
        """The records, made one by one."""
        return (self._child(key, text) for key, text in self.rows.items())

    def _child(self, key: bytes, text: bytes) -> Child:
        return child_of(self.kind, self.parent, key, text)


class ChildRecords(Children):
    """The children of one kind by uid and by parent."""

    __slots__ = ("_by_parent", "ill", "kind", "made", "shelves", "where")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._by_parent: dict[ParentKey | None, Shelf] = {}
        self.shelves: dict[int, Shelf] = {}
        self.ill = 0
        """How many are eligible: of whom a repair may be wanted."""
        self.made = 0  # shelves, ever
        self.where = Rows()  # by uid: the number of the shelf

    @classmethod
    def of_families(
        cls, kind: str, families: Iterable[tuple[ParentKey | None, Iterable[tuple[bytes, bytes]], int]]
    ) -> Self:
        """Very many: of each parent once, whose they are, their rows, and how many. Each bucket is made once.

        Put in one by one, each child would make its bucket anew, and what that leaves behind is as much again as the records.
        """
        records, families = cls(kind), list(families)

        def index() -> Iterator[tuple[bytes, bytes]]:
            for parent, rows, count in families:
                shelf, listed = records.shelf_of(parent), list(rows)
                shelf.rows.fill(listed, count)
                yield from ((key, b"%d" % shelf.number) for key, _ in listed)

        records.where.fill(index(), sum(count for _, _, count in families))
        records.ill = sum(_ill_in(shelf.rows) for shelf in records.shelves.values())
        return records

    @classmethod
    def of_rows(cls, kind: str, shelves: Iterable[tuple[int, ParentKey | None, Rows]], where: Rows) -> Self:
        """Those of another ``ChildRecords``: each shelf's number, parent and rows, and its index."""
        records = cls(kind)
        for number, parent, rows in shelves:
            shelf = records.shelves[number] = records._by_parent[parent] = Shelf(kind, parent, number)
            shelf.rows = rows
            records.ill += _ill_in(rows)
        records.made, records.where = max(records.shelves, default=0), where
        return records

    def put(self, child: Child) -> Child | None:
        """Enter or replace; the record before."""
        key = key_of(child.uid)
        shelf = self._shelf(key)
        old = None if shelf is None else shelf.find(child.uid)
        self.enter(key, (child.parent, packed(child, key, home_of(child.parent))))
        return old

    def enter(self, key: bytes, row: Row) -> ParentKey | None:
        """Enter or replace; whose it was, ``NOBODY`` where it was not there."""
        parent, text = row
        here = self._by_parent.get(parent)
        if here is not None and (before := here.rows.put(key, text, new=False)) is not None:  # whose it was: nearly all
            self.ill += ELIGIBLE[mark_of(text)] - ELIGIBLE[mark_of(before)]
            return parent
        shelf = self._shelf(key)
        self.ill += is_ill(text)
        if shelf is not None:
            before = shelf.rows.pop(key)
            self.ill -= before is not None and is_ill(before)
            self._tidy(shelf)
        home = self.shelf_of(parent)
        home.rows.put(key, text)
        self.where.put(key, b"%d" % home.number)
        return NOBODY if shelf is None else shelf.parent

    def parent_of(self, key: bytes) -> ParentKey | None:
        """Whose that child is, ``NOBODY`` where it is not there."""
        shelf = self._shelf(key)
        return NOBODY if shelf is None else shelf.parent

    def drop(self, uid: str) -> Child | None:
        """Remove; the record before."""
        key = key_of(uid)
        shelf = self._shelf(key)
        if shelf is None:
            return None
        self.where.pop(key)
        old = shelf.drop(uid)
        if old is not None and old.eligible:
            self.ill -= 1
        self._tidy(shelf)
        return old

    def copy(self) -> ChildRecords:
        """The same records for another owner; what neither changes is there once."""
        other = ChildRecords(self.kind)
        other.replace(self)
        return other

    def replace(self, other: ChildRecords) -> None:
        """Have what ``other`` has instead. It is there once until one of the two changes."""
        self.made, self.where, self.ill = other.made, other.where.copy(), other.ill
        self.shelves = {number: shelf.copy() for number, shelf in other.shelves.items()}
        self._by_parent = {shelf.parent: shelf for shelf in self.shelves.values()}

    def shelf_of(self, parent: ParentKey | None) -> Shelf:
        """Where that parent's children are put; a new one where it has none."""
        shelf = self._by_parent.get(parent)
        if shelf is None:
            self.made += 1
            shelf = self._by_parent[parent] = self.shelves[self.made] = Shelf(self.kind, parent, self.made)
        return shelf

    def of(self, parent: ParentKey) -> Shelf:
        """That parent's children by uid. A live view: copy it before handing it on."""
        shelf = self._by_parent.get(parent)
        return Shelf(self.kind, parent) if shelf is None else shelf

    @property
    def objects(self) -> int:
        """How many objects these are."""
        return len(self.where)

    def uids(self) -> Iterator[str]:
        """Every uid there is."""
        return iter(self)

    def absent(self, entries: Mapping[str, object]) -> list[str]:
        """The uids that are not in ``entries``: what a replacement strikes off."""
        if not isinstance(entries, ChildRecords):
            return [uid for uid in self if uid not in entries]
        there = entries.where
        rows = (row for shelf in self.shelves.values() for row in shelf.rows.items())
        return [uid_in(key, text) for key, text in rows if there.get(key) is None]

    def find(self, uid: str) -> Child | None:
        """That child's record, None where there is none."""
        shelf = self._shelf(key_of(uid)) if self.shelves else None
        return None if shelf is None else shelf.find(uid)

    def __contains__(self, uid: object) -> bool:
        return isinstance(uid, str) and self.where.get(key_of(uid)) is not None

    def __iter__(self) -> Iterator[str]:
        return (uid for shelf in self.shelves.values() for uid in shelf)

    def __len__(self) -> int:
        return len(self.where)

    def walk(self) -> Iterator[Child]:
        """The records, made one by one, each parent's together."""
        return (child for shelf in self.shelves.values() for child in shelf.walk())

    def _shelf(self, key: bytes) -> Shelf | None:
        number = self.where.get(key)
        return None if number is None else self.shelves[int(number)]

    def _tidy(self, shelf: Shelf) -> None:
        if not shelf:
            del self._by_parent[shelf.parent], self.shelves[shelf.number]


class SharedRecords(ChildRecords):
    """The same of a kind of which a child may be counted for several parents: how many rows are guests' is known."""

    __slots__ = ("guests",)

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.guests: dict[ParentKey | None, Counter[State]] = {}
        """By parent: how many of its guests are in each state."""

    @property
    def objects(self) -> int:
        """See ``ChildRecords``."""
        return len(self.where) - sum(each.total() for each in self.guests.values())

    def enter(self, key: bytes, row: Row) -> ParentKey | None:
        """See ``ChildRecords``."""
        shelf = self._shelf(key)
        before = None if shelf is None else shelf.rows.get(key)
        whose = super().enter(key, row)
        if before is not None:
            self._count(whose, before, -1)
        self._count(row[0], row[1], +1)
        return whose

    def drop(self, uid: str) -> Child | None:
        """See ``ChildRecords``."""
        old = super().drop(uid)
        if old is not None and old.guest:
            self._step(old.parent, old.state, -1)
        return old

    def replace(self, other: ChildRecords) -> None:
        """See ``ChildRecords``."""
        super().replace(other)
        self.guests = {}
        for shelf in self.shelves.values():
            for text in shelf.rows.values():
                self._count(shelf.parent, text, +1)

    def _count(self, parent: ParentKey | None, text: bytes, step: int) -> None:
        if (mark := mark_of(text)) >= GUEST:
            self._step(parent, STATES[mark], step)

    def _step(self, parent: ParentKey | None, state: State, step: int) -> None:
        guests = self.guests.setdefault(parent, Counter())
        guests[state] += step
        if not guests.total():
            del self.guests[parent]


Entries = dict[str, Record | None] | ChildRecords | Shelf | Changes
"""A mail's: the newest record by uid, or None where it is gone. Children come packed, but for those that
somebody has put together by hand."""


def kept(kind: str, entries: Entries) -> ChildRecords | Shelf | Changes:
    """Entries of children, packed."""
    return Changes.of(kind, entries) if isinstance(entries, dict) else entries


def entry_of(kind: str, key: bytes | str, row: Row | Record | str | None) -> tuple[str, Record | None]:
    """A mail's entry for people: the uid, and the record (None: it is gone)."""
    if isinstance(row, str):
        return row, None
    if isinstance(row, tuple):
        assert isinstance(key, bytes)
        child = child_of(kind, row[0], key, row[1])
        return child.uid, child
    assert isinstance(key, str)
    return key, row


def _ill_in(rows: Rows) -> int:
    """How many of them are eligible. Few looks where hardly anybody is."""
    return sum(map(is_ill, rows.near(ILL_WORDS)))


def fingerprint_of(kind: str, key: bytes | str, row: Row | Record | str | None) -> str:
    """As ``fingerprint``, of a mail's entry."""
    return fingerprint(kind, *entry_of(kind, key, row))


def entries_of(entries: Entries) -> Iterable[tuple[Any, Any]]:
    """A mail's entries, as they are kept: see ``Entry``."""
    if isinstance(entries, dict):  # asked first: what the others are costs more to ask of one that is not
        return entries.items()
    if isinstance(entries, Changes):
        return entries.rows.items()
    if isinstance(entries, Shelf):
        return entries.entries()
    return (entry for shelf in entries.shelves.values() for entry in shelf.entries())


class RecordStore:
    """All kinds. Implements the read-only port ``Records``."""

    def __init__(self, child_kinds: tuple[str, ...], shared: Container[str] = ()) -> None:
        """``shared``: the kinds of which a child may be counted for several parents."""
        self.children: dict[str, ChildRecords] = {
            kind: SharedRecords(kind) if kind in shared else ChildRecords(kind) for kind in child_kinds
        }
        self.parents: MutableMapping[ParentKey, Parent] = Parents()
        self.parents_listed = False  # set by the parents' watcher after its first complete list

    def child(self, kind: str, parent: ParentKey, uid: str) -> Child | None:
        """The freshest delivered record of that child while it belongs to that parent, else None."""
        return self.children[kind].of(parent).find(uid)

    def tally(self) -> tuple[int, int]:
        """How many children are eligible, and how many there are: of all kinds and parents, each once, as delivered.

        O(kinds); of a kind that is counted for several, O(parents with guests).
        """
        kinds = self.children.values()
        return sum(records.ill for records in kinds), sum(records.objects for records in kinds)

    def parent(self, key: ParentKey) -> Parent | None:
        """The freshest delivered record of that parent."""
        return self.parents.get(key)

    def all_parents(self) -> list[Parent]:
        """Every parent's record. Any thread."""
        return [parent for key in list(self.parents) if (parent := self.parents.get(key)) is not None]
