"""Replays a tape: the same actors, the same messages in the same order, with the clock and the randomness as they were.

``Replay`` builds the tree of the tape's settings on ports that do nothing, and plays entry after entry. What actors read
comes from the tape; what they do is compared with it: the message that each turn handles, every clock reading and random
draw, every request to a port, every timer set, every fact. The first difference raises ``Divergence``, which names the entry,
the actor, what the tape has and what happened: either the code has changed since, or something reaches the actors past their
ports, which is a bug.

Between two entries everything stands still, and may be looked at: ``statistics``, ``behaviour``, ``system``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from attrs import frozen

from ..actor import Behaviour, Cell
from ..core.events import Fact
from ..core.fleet import FleetDefinition
from ..core.graph import value_of
from ..core.model import EventNote, ParentKey
from ..core.ports import (
    Backend,
    Call,
    Later,
    Objects,
    Reader,
    Reply,
    StatusWriter,
    StreamChanged,
    Written,
)
from ..core.tape import (
    Begun,
    Control,
    Delivered,
    Ended,
    Entry,
    Finished,
    Fired,
    Header,
    Request,
    TapeError,
    Turn,
    in_words,
    read,
    request_of,
)
from ..edge.checkpoint import Pending, names_in, restore
from ..edge.gate import message_name
from ..edge.taps import call_request, event_request, patch_request
from ..mailbox import using
from ..tree import Ports, System, TreeSettings
from .player import Player, Readings

Mail = Objects | StreamChanged


class Divergence(Exception):
    """The replay does something else than the tape. ``entry`` is its number; ``actor`` "" where no actor's turn was it."""

    def __init__(self, entry: int, actor: str, what: str, expected: object, found: object) -> None:
        super().__init__(
            f"entry {entry}, {actor or 'the process'}: {what}: the tape has {expected}, the replay {found}"
        )
        self.entry = entry
        self.actor = actor
        self.what = what
        self.expected = expected
        self.found = found


@frozen(kw_only=True)
class Step:
    """One entry that has been played: its number, the seconds since the tape's beginning, and what it was."""

    number: int
    at_s: float
    entry: Entry


class Replay:
    """A tape being played. ``lines`` are those of the file; TapeError where they are no tape of this version.

    Code is on no tape: where the fleet had a ``reconcile`` of its own, it is that of ``fleet``, which is otherwise the same.
    """

    def __init__(self, lines: Iterable[bytes], fleet: FleetDefinition | None = None) -> None:
        self.header: Header
        self.header, self._entries = read(lines)
        self.number = 0  # of the entry that was played last
        self.at_s = 0.0  # its time, from the beginning of the tape
        self.ended = ""  # why the tape ended; "" while it has not, or where the process was killed
        self.requests: list[
            tuple[int, Any]
        ] = []  # every patch, Event and call that was made again, with its entry's number
        self._dispatcher = Player(self.header)
        settings = _settings(_decoded(self.header.settings))
        self._ports = Ports(reader=_NoReader(self), status_writer=_NoWriter(self), backend=_NoBackend(self, settings))
        self.system = System(
            dispatcher=self._dispatcher, fleet=self._fleet(fleet), settings=settings, ports=self._ports
        )  # fmt: skip
        self._delivers: dict[str, Callable[[Mail], None]] = {}
        self._outcomes: dict[int, Request | None] = {}
        self._divergence: Divergence | None = None
        if self.header.checkpoint is not None:
            self._restore()

    def _fleet(self, given: FleetDefinition | None) -> FleetDefinition:
        recorded: FleetDefinition = _decoded(self.header.fleet)
        if not self.header.own:
            return recorded
        if given is None:
            raise TapeError(f"its fleet had a reconcile of its own ({self.header.own}): name that fleet with --fleet")
        if given.plain() != recorded or given.own_name.rpartition(":")[2] != self.header.own.rpartition(":")[2]:
            raise TapeError(f"it was recorded with another fleet than --fleet names: {self.header.own}")
        return given

    # --- playing ------------------------------------------------------------------------------------------------------
    def step(self) -> Step | None:
        """Play one entry; None at the end of the tape. Divergence, the same for ever after, where it cannot be played so."""
        if self._divergence is not None:
            raise self._divergence
        entry = next(self._entries, None)
        if entry is None:
            return None
        self.number = self._dispatcher.number = self.number + 1
        self.at_s = entry.at_s - self.header.began_s
        self._dispatcher.clock.now_s = entry.at_s
        try:
            self._play(entry)
        except Divergence as divergence:
            self._divergence = divergence
            raise
        return Step(number=self.number, at_s=self.at_s, entry=entry)

    def steps(self) -> Iterator[Step]:
        """Play what is left, entry by entry."""
        while (step := self.step()) is not None:
            yield step

    def run_to(self, *, entry: int | None = None, actor: str | None = None, message: str | None = None) -> Step | None:
        """Play until entry number ``entry`` has been played, or a turn of that actor or message; None at the tape's end."""
        for step in self.steps():
            turn = step.entry
            if step.number == entry:
                return step
            named = isinstance(turn, Turn) and actor in (None, turn.actor) and message in (None, turn.message)
            if named and (actor is not None or message is not None):
                return step
        return None

    def run(
        self, speed: float | None = None, *, sleep: Callable[[float], None] = lambda seconds: None,
        seen: Callable[[Step], None] = lambda step: None,
    ) -> int:  # fmt: skip
        """Play to the end, ``speed`` times as fast as it was (None: as fast as can be); how many entries there were."""
        for step in self.steps_at(speed, sleep):
            seen(step)
        return self.number

    def steps_at(self, speed: float | None, sleep: Callable[[float], None]) -> Iterator[Step]:
        """As ``steps``, with the pauses that there were, ``speed`` times shorter. A person may stop looking at any of them."""
        before_s = self.at_s
        for step in self.steps():
            if speed is not None and step.at_s > before_s:
                sleep((step.at_s - before_s) / speed)
            before_s = max(before_s, step.at_s)
            yield step

    # --- looking ------------------------------------------------------------------------------------------------------
    def actors(self) -> list[str]:
        """The names of all actors that there are."""
        return sorted(name for name, cell in self._dispatcher.cells() if cell is not None)

    def statistics(self, actor: str) -> dict[str, Any]:
        """That actor's statistics at this point. KeyError where there is no such actor."""
        return dict(self._cell(actor).statistics())

    def behaviour(self, actor: str) -> Behaviour | None:
        """What runs in that actor; None while it is down. To look at only: a call that changes it spoils the replay."""
        return self._cell(actor).behaviour

    def facts(self) -> list[tuple[int, Fact]]:
        """Every fact so far, with the number of the entry in which it was recorded."""
        return self._dispatcher.seen

    def _cell(self, actor: str) -> Cell:
        cell = dict(self._dispatcher.cells()).get(actor)
        if cell is None:
            raise KeyError(actor)
        return cell

    # --- one entry ----------------------------------------------------------------------------------------------------
    def _play(self, entry: Entry) -> None:
        player = self._dispatcher
        match entry:
            case Turn():
                self._turn(entry)
            case Delivered():
                deliver = self._delivers.get(entry.kind)
                if deliver is None:
                    raise self._differs("", "mail from the reader", entry.kind, "nobody has asked for that kind")
                deliver(_decoded(entry.mail))
            case Fired():
                callback = player.timers.pop(entry.timer, None)
                if callback is None:
                    raise self._differs("", "a timer", entry.timer, "it was never set")
                callback()
            case Begun():
                self._begun(entry)
            case Ended():
                ended = player.calls.pop(entry.job, None)
                if ended is None:
                    raise self._differs("", "the end of a call", entry.job, "it was never made")
                ended[2](_decoded(entry.outcome))
            case Control():
                self._control(entry.what)
            case Finished():
                self.ended = entry.reason

    def _control(self, what: str) -> None:
        if what == "start":
            self.system.start()
        elif what == "drain":
            self.system.drain(lambda name: None)
        elif what == "stop":
            self.system.stop()
        else:
            raise TapeError(f"entry {self.number}: the process cannot {what}")

    def _begun(self, entry: Begun) -> None:
        player = self._dispatcher
        pending = player.calls.get(entry.job)
        if pending is None or pending[0]:
            raise self._differs(
                "", "a call", entry.job, "it was never made" if pending is None else "it has begun before"
            )
        player.calls[entry.job] = (True, pending[1], pending[2])
        player.readings = readings = Readings()
        try:
            pending[1]()
        except Exception:  # noqa: BLE001, S110  it ended before it asked anything; how, the tape tells
            pass
        finally:
            player.readings = None
        found = readings.requests[0] if readings.requests else None
        if found != entry.request:
            raise self._differs("", f"the request of call {entry.job}", _shown(entry.request), _shown(found))

    def _turn(self, turn: Turn) -> None:
        player = self._dispatcher
        mailbox = player.mailboxes.get(turn.actor)
        cell = mailbox.actor if mailbox is not None else None
        if mailbox is None or not isinstance(cell, Cell):
            raise self._differs(turn.actor, "a turn", turn.message or "its start", "there is no such actor")
        player.readings = readings = Readings(turn)
        try:
            with using(player):
                last = mailbox.run_turn(1 if cell._set_up else 0)  # noqa: SLF001  as it was recorded
        finally:
            player.readings = None
        self._compare(turn, "the message", turn.message, message_name(last))
        requests = list(turn.requests)
        for number, found in enumerate(readings.requests):
            expected = requests[number] if number < len(requests) else None
            if found != expected:
                raise self._differs(turn.actor, f"request {number + 1}", _shown(expected), _shown(found))
        if len(requests) > len(readings.requests):
            missing = requests[len(readings.requests)]
            raise self._differs(turn.actor, f"request {len(readings.requests) + 1}", _shown(missing), _shown(None))
        self._compare(turn, "the facts", turn.facts, tuple(readings.facts))
        self._compare(turn, "readings of the clock", len(turn.now_s), readings.now_s)
        self._compare(turn, "readings of the wall clock", len(turn.wall_s), readings.wall_s)
        self._compare(turn, "random draws", len(turn.draws), readings.draws)

    def _compare(self, turn: Turn, what: str, expected: object, found: object) -> None:
        if expected != found:
            raise self._differs(turn.actor, what, expected, found)

    def _differs(self, actor: str, what: str, expected: object, found: object) -> Divergence:
        return Divergence(self.number, actor, what, expected, found)

    # --- the ports' side ----------------------------------------------------------------------------------------------
    def reads(self, kind: str, deliver: Callable[[Mail], None]) -> None:
        """A watcher has asked for that kind."""
        self._delivers[kind] = deliver

    def note(self, request: Request) -> None:
        """Something was asked of a port."""
        if self._dispatcher.readings is not None:
            self._dispatcher.readings.requests.append(request)

    def asked(self, what: str, body: Any) -> None:
        """As ``note``, with the whole of it."""
        self.note(request_of(what, body))
        self.requests.append((self.number, body))

    def _restore(self) -> None:
        player, ports = self._dispatcher, self._ports
        names = names_in(self.system, ports.reader, ports.status_writer, ports.backend)
        pending: Pending
        pending, cells = restore(self.header.checkpoint, self.system, names)
        player.timers.update(pending.timers)
        player.calls.update(pending.calls)
        self._delivers.update(pending.delivers)
        for cell in cells:
            if not cell.actor_inbox.closed:
                player.mailboxes[cell.name] = cell.actor_inbox


# --- ports ------------------------------------------------------------------------------------------------------------
class _NoReader(Reader):
    def __init__(self, replay: Replay) -> None:
        self._replay = replay

    def start(self, kind: str, epoch: int, deliver: Callable[[Mail], None]) -> None:
        self._replay.note(Request(f"read {kind} from the beginning, epoch {epoch}"))
        self._replay.reads(kind, deliver)

    def set_timeout(self, kind: str, parent: ParentKey, timeout_s: float | None) -> None:
        self._replay.note(Request(f"heartbeat timeout of {kind} in {parent}: {timeout_s}"))

    def relist(self, kind: str) -> None:
        self._replay.note(Request(f"list {kind} again"))

    def stop(self, timeout_s: float) -> None:
        return None


class _NoWriter(StatusWriter):
    def __init__(self, replay: Replay) -> None:
        self._replay = replay

    def patch_status(self, parent: ParentKey, uid: str, version: int, status: dict[str, Any]) -> Later[Written]:
        self._replay.asked(*patch_request(parent, uid, version, status))
        return Later(0.0, _never)

    def record_event(self, parent: ParentKey, uid: str, note: EventNote) -> None:
        self._replay.asked(*event_request(parent, uid, note))


class _NoBackend(Backend):
    def __init__(self, replay: Replay, settings: TreeSettings) -> None:
        self._replay = replay
        self.capabilities = settings.gateway.able  # of the backend that was called when the tape was made

    def send(self, call: Call) -> Later[Reply]:
        self._replay.asked(*call_request(call))
        return Later(0.0, _never)


def _never() -> Any:
    raise AssertionError("the outcome of a call is on the tape")


def _decoded(form: Any) -> Any:
    return value_of(form)


def _settings(value: object) -> TreeSettings:
    if not isinstance(value, TreeSettings):
        raise TapeError(f"the tape's settings are a {type(value).__name__}")
    return value


def _shown(request: Request | None) -> str:
    if request is None:
        return "no request"
    return f"{request.what!r} ({request.digest})" if request.digest else repr(request.what)


__all__ = ["Divergence", "Replay", "Step", "in_words"]
