"""A list in the making: nothing of it counts before all of it is here, and all of it must be held until then.

Held as records, a list would take more memory for its last moment than what becomes of it for ever; so children are held as
msgpack, a block for some hundred of them, by columns: what all of a block have in common (the namespace, a second's heartbeat)
is there once, and whoever takes a block fills its own columns without a step for each child. What a streamed list changes of
itself before it is complete is held beside.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import repeat
from typing import Any, TypeVar

import msgspec

from .model import Child, Parent, ParentKey, Record
from .said import Said

__all__ = ["Block", "Staged", "Taken"]

_BLOCK = 256
_Value = TypeVar("_Value", str, bool | None)
_Texts = list[str] | str
"""A column of texts; or what is the same in all of them."""


class Block(msgspec.Struct, gc=False):
    """Some children of a list, by columns of the same length."""

    kind: str
    namespaces: list[str]
    names: list[str]
    uids: list[str]
    versions: list[int]
    parents: list[ParentKey | None]
    healthy: list[bool | None]
    since: list[str]
    heartbeats: list[str]
    fields: list[str]
    quiet: list[str]

    def __iter__(self) -> Iterator[Record]:
        """The children as records."""
        columns = (
            repeat(self.kind), self.namespaces, self.names, self.uids, self.versions, self.parents, self.healthy, self.since,
            self.heartbeats, repeat(False), self.fields, self.quiet,
        )  # fmt: skip
        return map(Child, *columns)


class _Packed(msgspec.Struct, array_like=True, gc=False):
    namespaces: _Texts
    names: list[str]
    uids: list[str]
    versions: list[int]
    parents: list[int]
    healthy: list[bool | None] | bool | None
    since: _Texts
    heartbeats: _Texts
    fields: _Texts
    quiet: _Texts


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(_Packed)


class Staged:
    """The list of one kind. ``refused``: the versions of what cannot be read, by uid."""

    def __init__(self) -> None:
        self.refused: dict[str, int] = {}
        self._kind = ""
        self._open = _columns()
        self._blocks: list[bytes] = []
        self._parents: dict[ParentKey | None, int] = {}
        self._late: dict[str, Record | None] = {}
        self._claims: dict[str, tuple[Record, tuple[str, ...]]] = {}

    def put(self, type_: str, record: Record, claims: tuple[str, ...] = ()) -> None:
        """One object of the list (``ADDED``), or what has become of one since."""
        uid = record.uid
        if claims:
            self._claims[uid] = record, claims
        if type_ == "DELETED":
            self._late[uid] = None
            self._claims.pop(uid, None)
        elif type_ == "MODIFIED" or isinstance(record, Parent) or uid in self._late:
            self._late[uid] = record
        else:
            each = (
                record.namespace, record.name, uid, record.version, record.parent, record.healthy, record.since,
                record.heartbeat, record.fields, record.quiet,
            )  # fmt: skip
            self._add(record.kind, zip(each, strict=False))

    def put_all(self, kind: str, said: Said) -> None:
        """As ``put`` of each."""
        if said.claims or said.types.count("ADDED") < len(said) or not self._late.keys().isdisjoint(said.uids):
            for each in said.events(kind):
                self.put(*each)
            return
        nothing = ("",) * len(said)
        self._add(kind, (
            said.namespaces, said.names, said.uids, said.versions, said.parents, said.healthy, said.since,
            said.heartbeats, nothing, nothing,
        ))  # fmt: skip

    def take(self) -> Taken:
        """All there is, each object's newest record, once: what has been taken is held no more."""
        if self._open[0]:
            self._close()
        blocks, self._blocks = self._blocks[::-1], []
        return Taken(self._kind, blocks, list(self._parents), self._late)

    def disputed(self) -> Iterator[tuple[Record, tuple[str, ...]]]:
        """Who claims several parents, with their names."""
        return iter(self._claims.values())

    def _add(self, kind: str, columns: Iterable[Iterable[Any]]) -> None:
        """More for the open block, in the order of ``_Packed``."""
        self._kind = kind
        for column, more in zip(self._open, columns, strict=True):
            column.extend(more)
        if len(self._open[0]) >= _BLOCK:
            self._close()

    def _close(self) -> None:
        """Pack what is open."""
        namespaces, names, uids, versions, whose, healthy, since, heartbeats, fields, quiet = self._open
        parents, self._open = self._parents, _columns()
        packed = _Packed(
            _same(namespaces), names, uids, versions, [parents.setdefault(parent, len(parents)) for parent in whose],
            _same(healthy), _same(since), _same(heartbeats), _same(fields), _same(quiet),
        )  # fmt: skip
        self._blocks.append(_ENCODER.encode(packed))


def _columns() -> tuple[list[Any], ...]:
    """The columns of a block with nothing in it."""
    return tuple([] for _ in _Packed.__struct_fields__)


class Taken:
    """A complete list: its objects as records; or, ``blocks``, as columns where nothing of it has changed since. Once."""

    def __init__(
        self, kind: str, blocks: list[bytes], parents: list[ParentKey | None], late: dict[str, Record | None]
    ) -> None:
        self._kind, self._blocks, self._parents, self._late = kind, blocks, parents, late
        self._namespaces: dict[str, str] = {}

    def __iter__(self) -> Iterator[Record]:
        return (record for block in self.blocks() for record in block)

    def blocks(self) -> Iterator[Block | list[Record]]:
        """All of it."""
        late = self._late
        while self._blocks:
            block = self._block(_DECODER.decode(self._blocks.pop()))
            if not late or late.keys().isdisjoint(block.uids):
                yield block
            else:
                yield [record for record in block if record.uid not in late]
        yield [record for record in late.values() if record is not None]

    def _block(self, packed: _Packed) -> Block:
        count, shared = len(packed.names), self._namespaces
        namespaces = [shared.setdefault(each, each) for each in _each(packed.namespaces, count)]
        healthy = packed.healthy if isinstance(packed.healthy, list) else [packed.healthy] * count
        return Block(
            self._kind, namespaces, packed.names, packed.uids, packed.versions,
            list(map(self._parents.__getitem__, packed.parents)), healthy, _each(packed.since, count),
            _each(packed.heartbeats, count), _each(packed.fields, count), _each(packed.quiet, count),
        )  # fmt: skip


def _same(column: list[_Value]) -> list[_Value] | _Value:
    """That column as it is packed."""
    first = column[0]
    return first if column.count(first) == len(column) else column


def _each(column: _Texts, count: int) -> list[str]:
    """… and as it was."""
    return column if isinstance(column, list) else [column] * count
