"""A tape: everything that came from outside into a run of the operator, and the order of its turns.

One JSON text a line. The first is the ``Header``; each other is an entry, numbered from 1. Replaying them in order,
with the clock and the randomness of each turn as they were, gives the same run again (``simulate.replay``).

==================== =====================================================================================
``Control``          the process did something with the tree: start, drain, stop
``Delivered``        the reader delivered mail of a kind
``Fired``            a timer went off; timers are numbered in the order in which turns set them
``Begun``, ``Ended`` a blocking call left the executor's queue, with its request; and its outcome
``Turn``             an actor handled one message: with its clock readings, random draws, requests and facts
``Finished``         the last line, and why; missing where the process was killed
==================== =====================================================================================

Requests are kept as a line for people and a digest: enough to see that a replay makes the same, too little to leak what
is in them. Bodies of entries are ``graph`` forms.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from .errors import MusterError
from .graph import Json, graph_of

FORMAT = 1  # of this page; a reader refuses others


class TapeError(MusterError):
    """The file is no tape, or one of another format."""


class Request(msgspec.Struct, frozen=True, array_like=True):
    """Something that an actor asked of the outside: ``what`` in words, ``digest`` over all of it ("" if the words say all)."""

    what: str
    digest: str = ""


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """The first line. ``checkpoint`` is the state of all actors where the tape begins in the middle, else None."""

    tape: int = FORMAT
    muster: str
    python: str
    began_s: float  # our monotonic clock, that of all entries
    began_wall_s: float
    fleet: Json
    settings: Json  # the tree's: TreeSettings
    checkpoint: Json = None
    timers_made: int = 0  # numbers given out before the first entry
    jobs_made: int = 0
    own: str = ""  # the fleet's own reconcile, by its name: code is on no tape


class Control(msgspec.Struct, frozen=True, tag_field="t", tag="control"):
    """``what`` is start, drain or stop."""

    at_s: float
    what: str


class Delivered(msgspec.Struct, frozen=True, tag_field="t", tag="delivered"):
    """``mail``: the form of an ``Objects`` or a ``StreamChanged``."""

    at_s: float
    kind: str
    epoch: int
    mail: Json


class Fired(msgspec.Struct, frozen=True, tag_field="t", tag="fired"):
    """The timer of that number."""

    at_s: float
    timer: int


class Begun(msgspec.Struct, frozen=True, tag_field="t", tag="begun"):
    """The executor took up that call; ``request`` None: it ended before it asked anything of a port."""

    at_s: float
    job: int
    request: Request | None


class Ended(msgspec.Struct, frozen=True, tag_field="t", tag="ended"):
    """``outcome``: the form of an ``Outcome``."""

    at_s: float
    job: int
    outcome: Json


class Turn(msgspec.Struct, frozen=True, tag_field="t", tag="turn"):
    """One message; ``message`` "" where an actor started. A timer's message has its own name; ``Ended`` ends a call."""

    at_s: float
    actor: str
    message: str
    now_s: tuple[float, ...] = ()
    wall_s: tuple[float, ...] = ()
    draws: tuple[float, ...] = ()
    requests: tuple[Request, ...] = ()
    facts: tuple[str, ...] = ()


class Finished(msgspec.Struct, frozen=True, tag_field="t", tag="finished"):
    """``reason``: switched off, full, or what went wrong."""

    at_s: float
    reason: str


Entry = Control | Delivered | Fired | Begun | Ended | Turn | Finished
_ENCODER = msgspec.json.Encoder()
_SORTED = msgspec.json.Encoder(order="sorted")
_ENTRY = msgspec.json.Decoder(Entry)
_HEADER = msgspec.json.Decoder(Header)


def line_of(part: Header | Entry) -> bytes:
    """One line with its end."""
    return _ENCODER.encode(part) + b"\n"


def request_of(what: str, body: Any) -> Request:
    """A request, described: ``body`` may be anything that ``graph`` can encode; secrets in it do not count."""
    return Request(what, hashlib.sha256(_SORTED.encode(graph_of(body))).hexdigest()[:16])


def read(lines: Iterable[bytes]) -> tuple[Header, Iterator[Entry]]:
    """The header, and the entries as they are read. TapeError where a line is none; a torn last line ends the tape."""
    rest = iter(lines)
    first = next(rest, b"")
    try:
        header = _HEADER.decode(first)
    except msgspec.DecodeError as error:
        raise TapeError(f"this is no tape: {error}") from error
    if header.tape != FORMAT:
        raise TapeError(f"a tape of format {header.tape}; this version reads format {FORMAT}")
    return header, _entries(rest)


def _entries(lines: Iterator[bytes]) -> Iterator[Entry]:
    for number, line in enumerate(lines, 1):
        if not line.endswith(b"\n"):  # the process was killed while it wrote
            return
        try:
            yield _ENTRY.decode(line)
        except msgspec.DecodeError as error:
            raise TapeError(f"entry {number} cannot be read: {error}") from error


def in_words(entry: Entry) -> str:
    """One line for people, without its number and time."""
    match entry:
        case Control():
            return f"the process: {entry.what}"
        case Delivered():
            return f"reader → watcher/{entry.kind}: {_mail_in_words(entry.mail)}"
        case Fired():
            return f"timer {entry.timer} fires"
        case Begun():
            return f"call {entry.job} begins: {entry.request.what if entry.request else 'given up'}"
        case Ended():
            return f"call {entry.job} ends: {_outcome_in_words(entry.outcome)}"
        case Turn():
            asked = "".join(f"; {each.what}" for each in entry.requests if not each.what.startswith("after "))
            return f"{entry.actor} ← {entry.message or 'start'}{asked}{_listed(entry.facts)}"
        case Finished():
            return f"the tape ends: {entry.reason}"


def _mail_in_words(form: Json) -> str:
    name, fields = form[1].rpartition(":")[2], form[2]
    if name != "Objects":
        return f"{name} {'up' if fields.get('up') else 'down'} {fields.get('reason', '')}".rstrip()
    count = len(fields["entries"][1])
    return f"{count} object{'' if count == 1 else 's'}{', which are all' if fields.get('replace') else ''}"


def _outcome_in_words(form: Json) -> str:
    error = form[2]["error"]
    return "well" if error is None else f"{error[1].rpartition(':')[2]}: {error[2][0] if error[2] else ''}"


def _listed(facts: tuple[str, ...]) -> str:
    return f" [{', '.join(facts)}]" if facts else ""
