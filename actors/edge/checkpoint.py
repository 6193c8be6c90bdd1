"""The state of all actors as a form, and a tree made of it again: how a tape can begin in the middle of a run.

Taken while nothing moves (``dispatcher.paused``). Everything that actors hold is plain data, references to each other,
callbacks, or one of the few things of the process that have a name here: the ports, the clock, the randomness, the tree
itself. On the other side those names stand for the replay's own. ``graph`` and ``closures`` do the rest.

Actors are kept in a list of their own and referred to by URN, so that no form is nested deeper than one actor's state.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from itertools import count
from types import FunctionType, MethodType
from typing import Any

from attrs import define, field
from pykka import ActorRef

from ..actor import Actor, Cell
from ..core.closures import form_of, value_of_form
from ..core.graph import Decoder, Encoder, Json, Misshapen, fields_of, fill
from ..mailbox import Dispatcher, Future, Mailbox, using
from ..tree import System
from .gate import Timer

_OWN = ("actor_urn", "actor_inbox", "actor_stopped", "_actor_ref", "dispatcher")  # made anew with the cell
_LANES = ("_control", "_objects")
_FLAGS = ("closed", "held", "refuses_asks", "_round_end")
_TREE = ("refs", "store", "ledger", "fleet_valve", "behind", "pauses", "end", "stopped", "overdue")
# Functions from there tell the process something (drained, cancel a timer): in a replay nobody listens.
_OUTSIDE = ("actors.edge.", "actors.insight.", "actors.ops.")
_LOCKS = ("lock", "RLock")


def names_in(system: System, reader: object, status_writer: object, backend: object) -> dict[str, object]:
    """What has a name in a checkpoint. The ports are those that the tree was given."""
    dispatcher = system.dispatcher
    return {
        "system": system, "dispatcher": dispatcher, "clock": dispatcher.clock, "random": dispatcher.random,
        "fleet": system.fleet, "settings": system.settings, "reader": reader, "status_writer": status_writer,
        "backend": backend,
    }  # fmt: skip


@define(kw_only=True)
class Pending:
    """What is on its way to actors: timers by number; calls by number, with whether they have begun; the reader's posts."""

    timers: dict[int, Callable[[], None]] = field(factory=dict)
    calls: dict[int, tuple[bool, Callable[[], Any], Callable[[Any], None]]] = field(factory=dict)
    delivers: dict[str, Callable[[Any], None]] = field(factory=dict)


# --- out --------------------------------------------------------------------------------------------------------------
def capture(system: System, names: Mapping[str, object], pending: Pending) -> Json:
    """The form of everything. Unplain where some state has none."""
    return _Capture(names).everything(system, pending)


class _Capture:
    def __init__(self, names: Mapping[str, object]) -> None:
        self._names = {id(value): name for name, value in names.items()}
        self._encoder = Encoder(self._special)
        self._cells: dict[str, Cell] = {}  # by URN, in the order in which they were met; grows while it is read
        self._inboxes: dict[int, str] = {}

    def everything(self, system: System, pending: Pending) -> Json:
        for ref in _all_refs(system):
            self._ref(ref)
        encode = self._encoder.encode
        form = {
            "tree": {name: encode(getattr(system, name)) for name in _TREE},
            "timers": [[number, encode(callback)] for number, callback in pending.timers.items()],
            "calls": [
                [number, begun, None if begun else encode(call), encode(done)]
                for number, (begun, call, done) in pending.calls.items()
            ],
            "delivers": [[kind, encode(deliver)] for kind, deliver in pending.delivers.items()],
        }
        cells: list[Json] = []
        while len(cells) < len(self._cells):
            cells.append(self._cell_state(list(self._cells.values())[len(cells)]))
        return form | {"cells": cells}

    def _special(self, value: Any) -> Json:
        name = self._names.get(id(value))
        if name is not None:
            return ["named", name]
        if isinstance(value, ActorRef):
            return ["ref", self._ref(value)]
        if isinstance(value, Cell):
            return ["cell", self._ref(value.actor_ref)]
        if isinstance(value, Mailbox):
            return ["inbox", self._inboxes.get(id(value), "")]
        if isinstance(value, Future):
            return ["future"]  # whoever asked is not in the replay
        if type(value).__name__ in _LOCKS and type(value).__module__ in ("_thread", "builtins"):
            return ["lock"]
        if isinstance(value, FunctionType) and value.__module__.startswith(_OUTSIDE):
            return ["nothing"]
        if isinstance(value, MethodType) and isinstance(value.__self__, Timer):
            return ["nothing"]
        return form_of(value, self._encoder.encode)

    def _ref(self, ref: ActorRef[Any]) -> str:
        cell = ref._actor_weakref()  # noqa: SLF001  pykka keeps it for proxies; everything stands still here
        if isinstance(cell, Cell) and ref.actor_urn not in self._cells:
            self._cells[ref.actor_urn] = cell
            self._inboxes[id(cell.actor_inbox)] = ref.actor_urn
        return ref.actor_urn

    def _cell_state(self, cell: Cell) -> Json:
        encode, inbox = self._encoder.encode, cell.actor_inbox
        own = {name: value for name, value in fields_of(cell).items() if name not in _OWN}
        return {
            "urn": cell.actor_urn,
            "stopped": cell.actor_stopped.is_set(),
            "busy": inbox._idle.locked(),  # noqa: SLF001  at rest, nobody takes or frees it
            "owned": inbox.actor is cell,
            "arrivals": int(re.findall(r"\d+", repr(inbox._arrivals))[0]),  # noqa: SLF001  a count tells it in no other way
            "inbox": {
                **{name: encode(getattr(inbox, name)) for name in (*_LANES, *_FLAGS)},
                "_ordinary": encode(deque(inbox._ordinary)),  # noqa: SLF001  of whichever kind it is
            },
            "state": {name: encode(value) for name, value in own.items()},
        }


def _all_refs(system: System) -> Iterable[ActorRef[Any]]:
    """Every actor that the supervisors know: known first, so that their mailboxes are."""
    for ref in system.refs.values():
        yield ref
        cell = ref._actor_weakref()  # noqa: SLF001  see above
        if isinstance(cell, Cell):
            yield from cell.children.values()


# --- in ---------------------------------------------------------------------------------------------------------------
def restore(form: Json, system: System, names: Mapping[str, object]) -> tuple[Pending, list[Cell]]:
    """Make ``system``, which has not been started, what that form says; what is pending, and the cells there are.

    Misshapen where this version of the actors has no place for the form.
    """
    return _Restore(system.dispatcher, names).everything(form, system)


class _Restore:
    def __init__(self, dispatcher: Dispatcher, names: Mapping[str, object]) -> None:
        self._dispatcher = dispatcher
        self._names = names
        self._cells: dict[str, Cell] = {}
        self._decoder = Decoder(self._special)

    def everything(self, form: Json, system: System) -> tuple[Pending, list[Cell]]:
        decode = self._decoder.decode
        for each in form["cells"]:
            self._cells[each["urn"]] = self._new_cell(each["urn"])
        for name in _TREE:
            setattr(system, name, decode(form["tree"][name]))
        pending = Pending()
        pending.timers = {number: decode(callback) for number, callback in form["timers"]}
        for number, begun, call, done in form["calls"]:
            pending.calls[number] = (begun, _begun if begun else decode(call), decode(done))
        pending.delivers = {kind: decode(deliver) for kind, deliver in form["delivers"]}
        for each in form["cells"]:
            self._fill_cell(self._cells[each["urn"]], each)
        return pending, list(self._cells.values())

    def _new_cell(self, urn: str) -> Cell:
        with using(self._dispatcher):
            cell = Cell.__new__(Cell)
            Actor.__init__(cell)
        cell.actor_urn = cell.actor_ref.actor_urn = urn
        return cell

    def _fill_cell(self, cell: Cell, form: Json) -> None:
        decode, inbox = self._decoder.decode, cell.actor_inbox
        cell.dispatcher = self._dispatcher
        if form["stopped"]:
            cell.actor_stopped.set()
        if not form["busy"]:
            inbox._idle.release()  # noqa: SLF001  a new mailbox begins with it taken
        inbox.actor = cell if form["owned"] else None
        inbox._arrivals = count(form["arrivals"])  # noqa: SLF001  as it was
        fill(inbox, {name: decode(each) for name, each in form["inbox"].items()})
        fill(cell, {name: decode(each) for name, each in form["state"].items()})

    def _special(self, form: list[Any]) -> Any:
        kind = form[0]
        if kind == "named":
            return self._names[form[1]]
        if kind in ("ref", "cell", "inbox"):
            cell = self._cells.get(form[1])
            if cell is None:
                cell = self._cells[form[1]] = self._dead_cell(form[1])
            return cell.actor_ref if kind == "ref" else cell if kind == "cell" else cell.actor_inbox
        if kind == "future":
            return Future[Any]()
        if kind == "lock":
            return self._dispatcher.new_lock()
        if kind == "nothing":
            return _nothing
        if kind in ("function", "method"):
            return value_of_form(form, self._decoder.decode)
        raise Misshapen(f"{str(form)[:80]}: of no kind that is known here")

    def _dead_cell(self, urn: str) -> Cell:
        """Stands for an actor that had ended and of which only references were left."""
        cell = self._new_cell(urn)
        cell.name = "ended"
        cell.actor_stopped.set()
        cell.actor_inbox.close()
        return cell


def _nothing(*_args: Any) -> None:
    """Tells nobody: see ``_OUTSIDE``."""


def _begun() -> None:
    """Stands for a call that had begun: it is never called again."""
