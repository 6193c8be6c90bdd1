"""The record store: every record there is, by uid and by parent. Watchers write it; everybody else may read.

Children are kept as rows (``rows``), and a ``Child`` is made when somebody asks for one. Reading from another thread needs no
lock: a reader sees the record before or after a write, never half of one. Each kind has exactly one writer (its watcher).

The same two mappings travel in mail, because a list of a million children must not become a million objects on its way:
``ChildRecords`` is all of a kind (reader → watcher), a ``Shelf`` all of one parent's (watcher → ClusterActor).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import ItemsView, Iterable, Iterator, Mapping, ValuesView

from .model import Child, Parent, ParentKey, Record
from .rows import Rows, is_uuid, key_of, uid_of

_HEALTHY = (None, True, False)


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


class Shelf(Children):
    """The children of one kind and one parent (None: of no parent) by uid."""

    __slots__ = ("_home", "kind", "number", "parent", "rows")

    def __init__(self, kind: str, parent: ParentKey | None, number: int = 0) -> None:
        self.kind = kind
        self.parent = parent
        self.number = number  # among a kind's shelves
        self.rows = Rows()
        self._home = "" if parent is None else parent.namespace

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

    def fill(self, children: list[Child]) -> None:
        """Have these, each once, instead of what was here."""
        rows = ((key := key_of(child.uid), packed(child, key, self._home)) for child in children)
        self.rows.fill(rows, len(children))

    def find(self, uid: str) -> Child | None:
        """That child's record, None where it is not here."""
        if not self.rows:
            return None
        key = key_of(uid)
        text = self.rows.get(key)
        return None if text is None else self._child(key, text)

    def __contains__(self, uid: object) -> bool:
        return isinstance(uid, str) and self.rows.get(key_of(uid)) is not None

    def __iter__(self) -> Iterator[str]:
        return (_uid(key, text) for key, text in self.rows.items())

    def __len__(self) -> int:
        return len(self.rows)

    def walk(self) -> Iterator[Child]:
        """The records, made one by one."""
        return (self._child(key, text) for key, text in self.rows.items())

    def _child(self, key: bytes, text: bytes) -> Child:
        name, version, *more = text.decode("ascii").split("\n")
        if not more:
            return Child(self.kind, self._home, _unescaped(name), uid_of(key), int(version), self.parent, True)
        mark, since, heartbeat, namespace, uid = more
        silent, healthy = divmod(int(mark), len(_HEALTHY))
        return Child(
            self.kind, _unescaped(namespace), _unescaped(name), _unescaped(uid) or uid_of(key), int(version), self.parent,
            _HEALTHY[healthy], _unescaped(since), _unescaped(heartbeat), bool(silent),
        )  # fmt: skip


class ChildRecords(Children):
    """The children of one kind by uid and by parent."""

    __slots__ = ("_by_parent", "kind", "made", "shelves", "where")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._by_parent: dict[ParentKey | None, Shelf] = {}
        self.shelves: dict[int, Shelf] = {}
        self.made = 0  # shelves, ever
        self.where = Rows()  # by uid: the number of the shelf

    def put(self, child: Child) -> Child | None:
        """Enter or replace; the record before."""
        key = key_of(child.uid)
        shelf = self._shelf(key)
        if shelf is not None and shelf.parent == child.parent:
            return shelf.put(child)
        old = None if shelf is None else self._take(shelf, child.uid)
        home = self._by_parent.get(child.parent)
        if home is None:
            self.made += 1
            home = self._by_parent[child.parent] = self.shelves[self.made] = Shelf(self.kind, child.parent, self.made)
        home.put(child)
        self.where.put(key, b"%d" % home.number)
        return old

    def drop(self, uid: str) -> Child | None:
        """Remove; the record before."""
        key = key_of(uid)
        shelf = self._shelf(key)
        if shelf is None:
            return None
        self.where.pop(key)
        return self._take(shelf, uid)

    def copy(self) -> ChildRecords:
        """The same records for another owner; what neither changes is there once."""
        other = ChildRecords(self.kind)
        other.replace(self)
        return other

    def replace(self, other: ChildRecords) -> None:
        """Have what ``other`` has instead. It is there once until one of the two changes."""
        self.made, self.where = other.made, other.where.copy()
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

    def uids(self) -> Iterator[str]:
        """Every uid there is."""
        return iter(self)

    def absent(self, entries: Mapping[str, object]) -> list[str]:
        """The uids that are not in ``entries``: what a replacement strikes off."""
        if not isinstance(entries, ChildRecords):
            return [uid for uid in self if uid not in entries]
        there = entries.where
        rows = (row for shelf in self.shelves.values() for row in shelf.rows.items())
        return [_uid(key, text) for key, text in rows if there.get(key) is None]

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

    def _take(self, shelf: Shelf, uid: str) -> Child | None:
        old = shelf.drop(uid)
        if not shelf:
            del self._by_parent[shelf.parent], self.shelves[shelf.number]
        return old


class Packer:
    """Makes ``ChildRecords`` of very many children, each added once, at best parent by parent: each bucket is made once.

    Put in one by one, each child would make its bucket anew, and what that leaves behind is as much again as the records.
    """

    def __init__(self, kind: str) -> None:
        self._records = ChildRecords(kind)
        self._family: list[Child] = []

    def add(self, children: Iterable[Child]) -> None:
        """Some more."""
        for child in children:
            if self._family and child.parent != self._family[0].parent:
                self._shelve()
            self._family.append(child)

    def add_rows(self, parent: ParentKey | None, rows: Iterable[tuple[bytes, bytes]], count: int) -> None:
        """A whole parent's, which are packed already."""
        self._records.shelf_of(parent).rows.fill(rows, count)

    def done(self) -> ChildRecords:
        """All that were added."""
        if self._family:
            self._shelve()
        shelves = self._records.shelves.values()
        where = ((key, b"%d" % shelf.number) for shelf in shelves for key, _ in shelf.rows.items())
        self._records.where.fill(where, sum(map(len, shelves)))
        return self._records

    def _shelve(self) -> None:
        shelf = self._records.shelf_of(self._family[0].parent)
        if not shelf:
            shelf.fill(self._family)
        else:  # of a parent that came before
            for child in self._family:
                shelf.put(child)
        self._family = []


class RecordStore:
    """All kinds. Implements the read-only port ``Records``."""

    def __init__(self, child_kinds: tuple[str, ...]) -> None:
        self.children: dict[str, ChildRecords] = {kind: ChildRecords(kind) for kind in child_kinds}
        self.parents: dict[ParentKey, Parent] = {}
        self.parents_listed = False  # set by the parents' watcher after its first complete list

    def child(self, kind: str, parent: ParentKey, uid: str) -> Child | None:
        """The freshest delivered record of that child while it belongs to that parent, else None."""
        return self.children[kind].of(parent).find(uid)

    def parent(self, key: ParentKey) -> Parent | None:
        """The freshest delivered record of that parent."""
        return self.parents.get(key)


# --- a child as text: NAME, VERSION, and for who is not simply well MARK, SINCE, HEARTBEAT, NAMESPACE, UID ------------------
def packed_well(name: str, version: int) -> bytes:
    """The text of who is well, says nothing else, is in its parent's namespace, and has a UUID."""
    return f"{_escaped(name)}\n{version}".encode("ascii")


def packed(child: Child, key: bytes, home: str) -> bytes:
    """The text of any child; ``home`` is the namespace that is understood."""
    since, heartbeat, namespace = child.since, child.heartbeat, child.namespace
    plain_uid = is_uuid(child.uid, key)
    if child.healthy is True and not (since or heartbeat or child.silent) and namespace == home and plain_uid:
        return packed_well(child.name, child.version)
    name = _escaped(child.name)
    mark = _HEALTHY.index(child.healthy) + len(_HEALTHY) * child.silent
    uid = "" if plain_uid else _escaped(child.uid)
    return (
        f"{name}\n{child.version}\n{mark}\n{_escaped(since)}\n{_escaped(heartbeat)}\n{_escaped(namespace)}\n{uid}"
    ).encode("ascii")


def _uid(key: bytes, text: bytes) -> str:
    """The uid of a row, without the rest."""
    return (
        _unescaped(text.rpartition(b"\n")[2].decode("ascii")) or uid_of(key) if text.count(b"\n") > 1 else uid_of(key)
    )


def _escaped(text: str) -> str:
    """ASCII, on one line. What an API server has is so already, but for a heartbeat that somebody invented."""
    if text.isascii() and text.isprintable() and "\\" not in text:
        return text
    return text.encode("unicode_escape").decode("ascii")


def _unescaped(text: str) -> str:
    return text.encode("ascii").decode("unicode_escape") if "\\" in text else text
