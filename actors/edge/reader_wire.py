"""What goes over the two pipes between the operator and a process that reads one kind: frames, and what is in them.

A frame is its length (4 bytes, big-endian) and so many bytes of msgpack. Children are packed where they are judged, and go as
the rows that they are (``core.records``): changes by columns, so that hardly a line of Python runs for each, and whole lists by
buckets, of which neither end looks at a row. Parents are named once a frame and then by their place; whoever reads shares them.

Both ends are the same version of the same program, so there is no version number. Whatever cannot be read is a ``FrameError``:
the other end is broken, and is started anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

import attrs
import msgspec

from ..core import events
from ..core.errors import MusterError
from ..core.events import Fact
from ..core.model import ParentKey
from ..core.ports import Objects, StreamChanged
from ..core.records import Changes, ChildRecords, Row, kept
from ..core.rows import KEY_BYTES, Rows

__all__ = [
    "FRAME_BYTES_MAX", "PART_RECORDS", "PIECE_BYTES", "Arriving", "Begin", "Changed", "Command", "Dying", "FrameError",
    "Frames", "Part", "Piece", "Pulse", "Relist", "Report", "Setup", "Shared", "Timeouts", "Told", "changed", "command_of",
    "frame_of", "parts_of", "report_of", "told",
]  # fmt: skip

HEAD_BYTES = 4
FRAME_BYTES_MAX = 16 * 1024 * 1024
"""No frame is longer: a row has some kB at most (``core.texts``). Anything beyond this is no length."""
PART_RECORDS = 1_000
"""Changes in one frame: some 60 kB."""
PIECE_BYTES = 64 * 1024
"""Rows in one frame. A list of a million goes in a thousand pieces, and holds up nothing else for long."""
_SHARED_MAX = 65_536

Kept = TypeVar("Kept", str, ParentKey)


class FrameError(MusterError):
    """The other end of the pipe sent what no frame looks like, or ended in the middle of one."""


# --- main → child -----------------------------------------------------------------------------------------------------
class Setup(msgspec.Struct, array_like=True, frozen=True, tag=0):
    """The first frame: all that a ``KubeReader`` needs. ``fleet`` is a ``core.graph``, with one child kind.

    ``seen``: the version up to which processes before this one had seen everything.
    """

    kind: str
    kubeconfig: str
    context: str
    namespace: str
    fleet: Any
    audit_s: float | None
    watch_s: int
    streamed_list: bool
    seen: int = 0


class Begin(msgspec.Struct, array_like=True, frozen=True, tag=1):
    """See ``Reader.start``."""

    epoch: int


class Timeouts(msgspec.Struct, array_like=True, frozen=True, tag=2):
    """See ``Reader.set_timeout``; of many parents."""

    seconds: list[tuple[ParentKey, float | None]]


class Relist(msgspec.Struct, array_like=True, frozen=True, tag=3):
    """See ``Reader.relist``."""


Command = Setup | Begin | Timeouts | Relist


# --- child → main -----------------------------------------------------------------------------------------------------
class Part(msgspec.Struct, array_like=True, frozen=True, tag=0):
    """Some changes, by columns: whose each is (a place in ``parents``), its key (16 bytes), its text; and who is gone, by uid.

    ``version``: up to which this process had seen everything when it wrote this.
    """

    epoch: int
    version: int
    gone: list[str]
    parents: list[ParentKey | None]
    parent: list[int]
    keys: bytes
    texts: list[bytes]

    def entries(self, kind: str, shared: Shared) -> Changes:
        """What has changed; FrameError where the columns do not fit together."""
        if len(self.parent) != len(self.texts) or len(self.keys) != KEY_BYTES * len(self.texts):
            raise FrameError("the columns of a part differ in length")
        parents = [None if each is None else shared.key(each) for each in self.parents]
        ends = range(KEY_BYTES, len(self.keys) + 1, KEY_BYTES)
        try:
            rows = zip(map(parents.__getitem__, self.parent), self.texts, strict=True)
            changes = Changes(kind, dict(zip((self.keys[end - KEY_BYTES : end] for end in ends), rows, strict=True)))
        except IndexError:
            raise FrameError("a part names a parent that it has not listed") from None
        for uid in self.gone:
            changes.gone(uid)
        return changes


class Piece(msgspec.Struct, array_like=True, frozen=True, tag=5):
    """A piece of a whole list, as rows are kept: nobody looks at them on their way. The ``first`` and the ``last`` are marked.

    ``shelves``: number, parent, how many rows it has in all, and some of its buckets. ``where``: buckets of the index.
    """

    epoch: int
    version: int
    first: bool
    last: bool
    shelves: list[tuple[int, ParentKey | None, int, list[bytes]]]
    where: list[bytes]


class Arriving:
    """The pieces of a list, until it is complete."""

    def __init__(self, kind: str, shared: Shared) -> None:
        self._kind, self._shared = kind, shared
        self._shelves: dict[int, tuple[ParentKey | None, int, list[bytes]]] = {}
        self._where: list[bytes] = []

    def add(self, piece: Piece) -> None:
        """One more."""
        for number, parent, count, buckets in piece.shelves:
            shelf = self._shelves.get(number)
            if shelf is None:
                shelf = self._shelves[number] = None if parent is None else self._shared.key(parent), count, []
            shelf[2].extend(buckets)
        self._where += piece.where

    def records(self) -> ChildRecords:
        """All of it; FrameError where something is missing."""
        try:
            shelves = [(number, key, Rows.of(count, some)) for number, (key, count, some) in self._shelves.items()]
            where = Rows.of(sum(len(rows) for _, _, rows in shelves), self._where or [b""])
        except ValueError as error:
            raise FrameError(f"a list: {error}") from error
        return ChildRecords.of_rows(self._kind, shelves, where)


class Changed(msgspec.Struct, array_like=True, frozen=True, tag=1):
    """A ``StreamChanged``."""

    epoch: int
    up: bool
    reason: str
    message: str

    def mail(self, kind: str) -> StreamChanged:
        """The mail that it stands for."""
        return StreamChanged(kind=kind, epoch=self.epoch, up=self.up, reason=self.reason, message=self.message)


class Told(msgspec.Struct, array_like=True, frozen=True, tag=2):
    """A fact of the child: the name of its class, and its fields."""

    name: str
    fields: dict[str, Any]

    def fact(self) -> Fact:
        """The fact; FrameError where there is no such class or its fields do not fit."""
        found = _FACTS.get(self.name)
        if found is None:
            raise FrameError(f"there is no fact {self.name!r}")
        try:
            return msgspec.convert(self.fields, found)
        except msgspec.ValidationError as error:
            raise FrameError(f"a {self.name}: {error}") from error


class Pulse(msgspec.Struct, array_like=True, frozen=True, tag=3):
    """The child lives: how many objects it holds, up to which version, and whether its first list is complete.

    ``age_s``: since the server last proved that the stream lives; None until it first has.
    """

    objects: int = 0
    version: int = 0
    synced: bool = False
    age_s: float | None = None


class Dying(msgspec.Struct, array_like=True, frozen=True, tag=4):
    """The child ends by itself, for a reason that it can tell."""

    message: str


Report = Part | Piece | Changed | Told | Pulse | Dying

_FACTS = {name: each for name, each in vars(events).items() if isinstance(each, type) and issubclass(each, Fact)}
_BAD = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_commands: msgspec.msgpack.Decoder[Command] = msgspec.msgpack.Decoder(Command)
_reports: msgspec.msgpack.Decoder[Report] = msgspec.msgpack.Decoder(Report)
_encode = msgspec.msgpack.Encoder().encode


# --- frames -----------------------------------------------------------------------------------------------------------
class Frames:
    """Cuts a byte stream into frames. Holds one unfinished frame at most."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, chunk: bytes | memoryview) -> list[bytes]:
        """The frames that ``chunk`` completes; FrameError for a length that no frame has."""
        held = self._held
        held += chunk
        found, at = [], 0
        with memoryview(held) as view:
            while len(view) - at >= HEAD_BYTES:
                size = int.from_bytes(view[at : at + HEAD_BYTES], "big")
                if not 0 < size <= FRAME_BYTES_MAX:
                    raise FrameError(f"a frame of {size} bytes, expected 1 to {FRAME_BYTES_MAX}")
                end = at + HEAD_BYTES + size
                if end > len(view):
                    break
                found.append(bytes(view[at + HEAD_BYTES : end]))
                at = end
        if at:
            del held[:at]
        return found

    def end(self) -> None:
        """The stream is over; FrameError when it ends within a frame."""
        if self._held:
            raise FrameError(f"the pipe ended {len(self._held)} bytes into a frame")


def frame_of(content: Command | Report) -> bytes:
    """One frame, ready to be written."""
    body = _encode(content)
    return len(body).to_bytes(HEAD_BYTES, "big") + body


def command_of(frame: bytes) -> Command:
    """What main says; FrameError for anything else."""
    try:
        return _commands.decode(frame)
    except _BAD as error:
        raise FrameError(f"no command: {error}") from error


def report_of(frame: bytes) -> Report:
    """What a child says; FrameError for anything else."""
    try:
        return _reports.decode(frame)
    except _BAD as error:
        raise FrameError(f"no report: {error}") from error


def told(fact: Fact) -> Told:
    """That fact for the wire."""
    return Told(type(fact).__name__, attrs.asdict(fact, recurse=False))


def changed(mail: StreamChanged) -> Changed:
    """That mail for the wire."""
    return Changed(mail.epoch, mail.up, mail.reason, mail.message)


def parts_of(
    mail: Objects, version: int = 0, *, part_records: int = PART_RECORDS, piece_bytes: int = PIECE_BYTES
) -> Iterator[bytes]:
    """The frames of an ``Objects`` of children, one after the other: each is made when it is asked for."""
    if mail.replace:
        entries = mail.entries
        if not isinstance(entries, ChildRecords):
            entries = ChildRecords(mail.kind)
            entries.update(mail.entries)
        yield from _pieces_of(entries, mail.epoch, version, piece_bytes)
        return
    entries = kept(mail.kind, mail.entries)
    assert isinstance(entries, Changes), "a list is a replacement"
    rows = iter(entries.rows.items())
    while chosen := list(islice(rows, part_records)):
        yield frame_of(_part(chosen, mail.epoch, version))


def _part(rows: list[tuple[bytes, Row | str]], epoch: int, version: int) -> Part:
    parents: dict[ParentKey | None, int] = {}
    gone, parent, keys, texts = [], [], [], []
    for key, row in rows:
        if isinstance(row, str):
            gone.append(row)
            continue
        whose, text = row
        parent.append(parents.setdefault(whose, len(parents)))
        keys.append(key)
        texts.append(text)
    return Part(epoch, version, gone, list(parents), parent, b"".join(keys), texts)


def _pieces_of(records: ChildRecords, epoch: int, version: int, piece_bytes: int) -> Iterator[bytes]:
    """All shelves, and the index last. A piece is as long as ``piece_bytes``, and a bucket more."""
    first, shelves, size = True, list[tuple[int, ParentKey | None, int, list[bytes]]](), 0
    for shelf in records.shelves.values():
        for some in _runs(shelf.rows.buckets, piece_bytes):
            shelves.append((shelf.number, shelf.parent, len(shelf), some))
            size += sum(map(len, some))
            if size >= piece_bytes:
                yield frame_of(Piece(epoch, version, first, False, shelves, []))
                first, shelves, size = False, [], 0
    if shelves:
        yield frame_of(Piece(epoch, version, first, False, shelves, []))
        first = False
    runs = list(_runs(records.where.buckets, piece_bytes))
    for number, some in enumerate(runs, 1):
        yield frame_of(Piece(epoch, version, first, number == len(runs), [], some))
        first = False


def _runs(buckets: Sequence[bytes], run_bytes: int) -> Iterator[list[bytes]]:
    """The buckets in order, some at a time."""
    run, size = list[bytes](), 0
    for bucket in buckets:
        run.append(bucket)
        size += len(bucket)
        if size >= run_bytes:
            yield run
            run, size = [], 0
    if run:
        yield run


class Shared:
    """One copy of each namespace and parent key that records name (a million children, ten thousand parents)."""

    def __init__(self, most: int = _SHARED_MAX) -> None:
        self._most = most
        self._texts: dict[str, str] = {}
        self._keys: dict[ParentKey, ParentKey] = {}

    def text(self, text: str) -> str:
        """That namespace, the copy that is shared."""
        return self._one(self._texts, text)

    def key(self, key: ParentKey) -> ParentKey:
        """That parent, the copy that is shared; its namespace is, too."""
        return self._keys.get(key) or self._one(self._keys, ParentKey(self.text(key.namespace), key.name))

    def _one(self, kept: dict[Kept, Kept], value: Kept) -> Kept:
        if len(kept) >= self._most and value not in kept:
            kept.clear()  # those that were shared remain so; only the next ones begin anew
        return kept.setdefault(value, value)
