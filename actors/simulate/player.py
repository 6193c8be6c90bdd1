"""The dispatcher of a replay: it runs nothing by itself, and its clock and randomness answer from the tape.

``Readings`` collects what one turn reads and does. A reading that the turn had not then is answered with the entry's time (or
the middle of all draws), so that the turn comes to its end; that there was one too many is seen when it is compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from random import Random
from typing import Any

from attrs import define, field

from ..actor import Cell
from ..core.events import Fact
from ..core.ports import Cancel, Outcome
from ..core.tape import Header, Request, Turn
from ..mailbox import Future, Mailbox
from ..sim.world import Bit


@define
class Readings:
    """What a turn reads and does, against what it did then."""

    turn: Turn | None = None
    now_s: int = 0
    wall_s: int = 0
    draws: int = 0
    requests: list[Request] = field(factory=list)
    facts: list[str] = field(factory=list)


class TapeClock:
    """In a turn the readings that there were; else the time of the entry."""

    def __init__(self, player: Player) -> None:
        self._player = player
        self.now_s = 0.0

    def now(self) -> float:
        readings = self._player.readings
        if readings is None or readings.turn is None:
            return self.now_s
        readings.now_s += 1
        taken = readings.turn.now_s
        return taken[readings.now_s - 1] if readings.now_s <= len(taken) else self.now_s

    def wall(self) -> float:
        readings = self._player.readings
        if readings is None or readings.turn is None:
            return self._player.wall_ahead_s + self.now_s
        readings.wall_s += 1
        taken = readings.turn.wall_s
        return taken[readings.wall_s - 1] if readings.wall_s <= len(taken) else self._player.wall_ahead_s + self.now_s


class TapeRandom(Random):
    """The draws that there were; everything else is derived from them as it was then."""

    player: Player

    def random(self) -> float:
        readings = self.player.readings
        if readings is None or readings.turn is None:
            return 0.5
        readings.draws += 1
        taken = readings.turn.draws
        return taken[readings.draws - 1] if readings.draws <= len(taken) else 0.5


class Player:
    """The replay's dispatcher: runs nothing by itself."""

    def __init__(self, header: Header) -> None:
        self.number = 0  # of the entry that is being played
        self.readings: Readings | None = None
        self.clock = TapeClock(self)
        self.wall_ahead_s = header.began_wall_s - header.began_s
        self.random = TapeRandom()
        self.random.player = self
        self.mailboxes: dict[str, Mailbox] = {}
        self.timers: dict[int, Callable[[], None]] = {}
        self.calls: dict[int, tuple[bool, Callable[[], Any], Callable[[Any], None]]] = {}
        self.seen: list[tuple[int, Fact]] = []
        self.fatal_error: tuple[str, BaseException] | None = None
        self._timers_made = header.timers_made
        self._calls_made = header.jobs_made
        self._urns = 0

    def cells(self) -> Iterator[tuple[str, Cell | None]]:
        for name, mailbox in self.mailboxes.items():
            yield name, mailbox.actor if isinstance(mailbox.actor, Cell) else None

    # --- the Dispatcher interface -------------------------------------------------------------------------------------
    def facts(self, fact: Fact) -> None:
        self.seen.append((self.number, fact))
        if self.readings is not None:
            self.readings.facts.append(type(fact).__name__)

    def new_lock(self) -> Bit:
        return Bit()

    def new_urn(self) -> str:
        self._urns += 1
        return f"urn:replay:{self._urns}"

    def thread_id(self) -> int:
        return 1

    def ready(self, mailbox: Mailbox) -> None:
        """The tape says whose turn it is; an actor is met here first."""
        if isinstance(mailbox.actor, Cell):
            self.mailboxes[mailbox.actor.name] = mailbox

    def after(self, delay_s: float, callback: Callable[[], None]) -> Cancel:
        self._timers_made += 1
        number = self._timers_made
        self.timers[number] = callback
        if self.readings is not None:
            self.readings.requests.append(Request(f"after {delay_s} s"))
        return lambda: None

    def submit(self, pool: str, call: Callable[[], Any], done: Callable[[Outcome[Any]], None]) -> None:
        self._calls_made += 1
        self.calls[self._calls_made] = (False, call, done)
        if self.readings is not None:
            self.readings.requests.append(Request(f"call {self._calls_made} on {pool}"))

    def waiting(self, future: Future[Any], timeout_s: float | None) -> AbstractContextManager[None]:
        """Only the tape moves a replay, and no tape holds such a wait."""
        raise RuntimeError("a replay cannot wait for an answer")

    def fatal(self, actor: str, error: BaseException) -> None:
        self.fatal_error = self.fatal_error or (actor, error)
