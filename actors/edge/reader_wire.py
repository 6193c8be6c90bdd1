"""What goes over the two pipes between the operator and a process that reads one kind: frames, and what is in them.

A frame is its length (4 bytes, big-endian) and so many bytes of msgpack. Records go by *columns* (all names, all uids …), so
that hardly a line of Python runs per record: 0.3 µs to write one, 0.35 to read it (as rows: 0.55), 110 bytes on the wire.
Namespaces and parents are named once a frame and then by their place; whoever reads shares them between records.

Both ends are the same version of the same program, so there is no version number. Whatever cannot be read is a ``FrameError``:
the other end is broken, and is started anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice, repeat
from operator import attrgetter
from typing import Any, TypeVar

import attrs
import msgspec

from ..core import events
from ..core.errors import MusterError
from ..core.events import Fact
from ..core.model import Child, ParentKey, Record
from ..core.ports import Objects, StreamChanged

__all__ = [
    "FRAME_BYTES_MAX", "PART_RECORDS", "Begin", "Changed", "Command", "Dying", "FrameError", "Frames", "Part", "Pulse",
    "Relist", "Report", "Setup", "Shared", "Timeouts", "Told", "changed", "command_of", "frame_of", "parts_of", "report_of",
    "told",
]  # fmt: skip

HEAD_BYTES = 4
FRAME_BYTES_MAX = 16 * 1024 * 1024
"""No frame is longer. One record can have 4 MiB (a watch line's limit); anything beyond this is no length."""
PART_RECORDS = 1_000
"""Records in one frame: some 110 kB. A list of a million goes in a thousand parts, and holds up nothing else for long."""
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
    """A part of an ``Objects``. Of a replacement the ``first`` and the ``last`` are marked: what is between is one mail.

    Columns of one length, but for ``gone`` (uids). ``space`` and ``parent`` are places in ``spaces`` and ``parents``.
    """

    epoch: int
    replace: bool
    first: bool
    last: bool
    gone: list[str]
    spaces: list[str]
    parents: list[ParentKey | None]
    space: list[int]
    name: list[str]
    uid: list[str]
    version: list[int]
    parent: list[int]
    healthy: list[bool | None]
    since: list[str]
    heartbeat: list[str]
    silent: list[bool]

    def entries(self, kind: str, shared: Shared) -> dict[str, Record | None]:
        """The records, and None for each that is gone; FrameError where the columns do not fit together."""
        columns = (
            self.space,
            self.name,
            self.version,
            self.parent,
            self.healthy,
            self.since,
            self.heartbeat,
            self.silent,
        )
        if any(len(each) != len(self.uid) for each in columns):
            raise FrameError("the columns of a part differ in length")
        spaces = [shared.text(each) for each in self.spaces]
        parents = [None if each is None else shared.key(each) for each in self.parents]
        try:
            records: Iterator[Child] = map(
                Child, repeat(kind), map(spaces.__getitem__, self.space), self.name, self.uid, self.version,
                map(parents.__getitem__, self.parent), self.healthy, self.since, self.heartbeat, self.silent,
            )  # fmt: skip
            entries: dict[str, Record | None] = dict(zip(self.uid, records, strict=True))
        except IndexError:
            raise FrameError("a part names a parent or a namespace that it has not listed") from None
        entries.update(dict.fromkeys(self.gone))
        return entries


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


Report = Part | Changed | Told | Pulse | Dying

_FACTS = {name: each for name, each in vars(events).items() if isinstance(each, type) and issubclass(each, Fact)}
_BAD = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_commands: msgspec.msgpack.Decoder[Command] = msgspec.msgpack.Decoder(Command)
_reports: msgspec.msgpack.Decoder[Report] = msgspec.msgpack.Decoder(Report)
_encode = msgspec.msgpack.Encoder().encode
_COLUMNS = tuple(map(attrgetter, ("name", "uid", "version", "healthy", "since", "heartbeat", "silent")))


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


def parts_of(mail: Objects, part_records: int = PART_RECORDS) -> Iterator[bytes]:
    """The frames of an ``Objects`` of children, one after the other: each is made when it is asked for."""
    left = len(mail.entries)
    if not left and not mail.replace:
        return
    items = iter(mail.entries.items())
    first = True
    while first or left:
        chosen = list(islice(items, part_records))
        left -= len(chosen)
        yield from _frames_of(chosen, mail, first=first, last=not left)
        first = False


def _frames_of(items: list[tuple[str, Record | None]], mail: Objects, *, first: bool, last: bool) -> Iterator[bytes]:
    """One frame, or several where it would be too long for one."""
    frame = frame_of(_part(items, mail, first=first, last=last))
    if len(frame) - HEAD_BYTES <= FRAME_BYTES_MAX or len(items) <= 1:
        yield frame
        return
    half = len(items) // 2
    yield from _frames_of(items[:half], mail, first=first, last=False)
    yield from _frames_of(items[half:], mail, first=False, last=last)


def _part(items: Iterable[tuple[str, Record | None]], mail: Objects, *, first: bool, last: bool) -> Part:
    spaces: dict[str, int] = {}
    parents: dict[ParentKey | None, int] = {}
    gone, records = [], []
    for uid, record in items:
        if record is None:
            gone.append(uid)
        else:
            assert isinstance(record, Child), "parents are read in the operator's own process"
            records.append(record)
    space = [spaces.setdefault(record.namespace, len(spaces)) for record in records]
    parent = [parents.setdefault(record.parent, len(parents)) for record in records]
    name, uid_, version, healthy, since, heartbeat, silent = (list(map(get, records)) for get in _COLUMNS)
    return Part(
        mail.epoch, mail.replace, first, last, gone, list(spaces), list(parents), space, name, uid_, version, parent, healthy,
        since, heartbeat, silent,
    )  # fmt: skip


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
