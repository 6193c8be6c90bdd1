"""A list in the making: nothing of it counts before all of it is here, and all of it must be held until then.

Held as records, a list would take more memory for its last moment than what becomes of it for ever; so children are held as
msgpack, a block for some hundred of them. What a streamed list changes of itself before it is complete is held beside.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from .model import Child, Parent, ParentKey, Record

__all__ = ["Staged"]

_BLOCK = 256


class _Line(msgspec.Struct, array_like=True, gc=False):
    namespace: str
    name: str
    uid: str
    version: int
    parent: tuple[str, str] | None
    healthy: bool | None
    since: str
    heartbeat: str
    fields: str = ""
    quiet: str = ""


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(list[_Line])


class Staged:
    """The list of one kind. ``refused``: the versions of what cannot be read, by uid."""

    def __init__(self) -> None:
        self.refused: dict[str, int] = {}
        self.version = 0
        """The newest of any object so far."""
        self._kind = ""
        self._lines: list[_Line] = []
        self._blocks: list[bytes] = []
        self._late: dict[str, Record | None] = {}
        self._claims: dict[str, tuple[Record, tuple[str, ...]]] = {}

    def put(self, type_: str, record: Record, claims: tuple[str, ...] = ()) -> None:
        """One object of the list (``ADDED``), or what has become of one since."""
        uid = record.uid
        self.version = max(self.version, record.version)
        if claims:
            self._claims[uid] = record, claims
        if type_ == "DELETED":
            self._late[uid] = None
            self._claims.pop(uid, None)
        elif type_ == "MODIFIED" or isinstance(record, Parent) or uid in self._late:
            self._late[uid] = record
        else:
            self._kind = record.kind
            line = _Line(
                record.namespace, record.name, uid, record.version, record.parent, record.healthy, record.since,
                record.heartbeat, record.fields, record.quiet,
            )  # fmt: skip
            self._lines.append(line)
            if len(self._lines) >= _BLOCK:
                self._blocks.append(_ENCODER.encode(self._lines))
                self._lines.clear()

    def take(self) -> Iterator[Record]:
        """All there is, each object's newest record, once: what has been taken is held no more."""
        namespaces: dict[str, str] = {}
        parents: dict[tuple[str, str], ParentKey] = {}
        blocks, self._blocks = self._blocks[::-1], []
        while blocks or self._lines:
            lines, self._lines = (_DECODER.decode(blocks.pop()), self._lines) if blocks else (self._lines, [])
            for line in lines:
                if line.uid not in self._late:
                    key = line.parent
                    parent = None if key is None else parents.get(key) or parents.setdefault(key, ParentKey(*key))
                    yield Child(
                        self._kind, namespaces.setdefault(line.namespace, line.namespace), line.name, line.uid, line.version,
                        parent, line.healthy, line.since, line.heartbeat, False, line.fields, line.quiet,
                    )  # fmt: skip
        yield from (record for record in self._late.values() if record is not None)

    def disputed(self) -> Iterator[tuple[Record, tuple[str, ...]]]:
        """Who claims several parents, with their names."""
        return iter(self._claims.values())
