"""One tape while it runs: every turn and everything that comes from another thread goes through one lock, in an order.

A turn is then one message, so that a replay can stop at any. (Two workers hardly help under the GIL, so the lock costs
little; the writing costs more.)

It ends by itself when the tape is full, when the disk does not take it, and when something happens that has no place on it
(an actor that does not come back, or that waits for another): the actors go on as if nothing had been.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pykka._envelope import Envelope

from ..actor import Cell
from ..core.events import Fact, RecordingCut, RecordingEnded
from ..core.graph import Unplain, graph_of
from ..core.ports import Facts, Later, Outcome
from ..core.tape import Begun, Control, Delivered, Ended, Entry, Finished, Fired, Header, Request, Turn, line_of
from ..mailbox import Mailbox
from .dispatcher import ThreadDispatcher
from .gate import Job, Timer, message_name
from .tapefile import TapeFile
from .taps import Mail


class Recording:
    """One tape while it runs: the dispatcher's ``Tap``. Everything that makes an entry happens under one lock."""

    def __init__(self, dispatcher: ThreadDispatcher, file: TapeFile, header: Header, facts: Facts) -> None:
        self.file = file
        self.over = False
        self.entry_count = 0
        self._dispatcher = dispatcher
        self._facts = facts
        self._actors_facts = dispatcher.facts
        self._lock = threading.Lock()
        self._ending = threading.Lock()
        self._timers_made = header.timers_made
        self._jobs_made = header.jobs_made
        self._owner = 0  # the thread that is in a turn, or takes up a call
        self._asks = False  # it takes up a call
        self._clear()

    def install(self) -> None:
        """Listen to the dispatcher, its clock, its randomness, and the actors' facts. Nothing moves."""
        dispatcher = self._dispatcher
        # On the instances: an attribute there stands before the class's method, and costs nothing once it is gone.
        vars(dispatcher.clock).update(now=self._now, wall=self._wall)
        vars(dispatcher.random).update(random=self._draw)
        dispatcher.facts = self._fact
        dispatcher.tap = self

    def finish(self, reason: str) -> None:
        """The tape ends here. Any thread, at any time, also while another is stuck in a turn.

        ``reason`` "": somebody has switched it off.
        """
        with self._ending:
            if self.over:
                return
            self.over = True
        dispatcher = self._dispatcher
        dispatcher.facts = self._actors_facts
        vars(dispatcher.random).pop("random", None)
        for name in ("now", "wall"):
            vars(dispatcher.clock).pop(name, None)
        dispatcher.tap = None  # last of all: from here on there may be another
        self.file.finish(line_of(Finished(time.monotonic(), reason or "switched off")))
        self.tell(reason)

    def tell(self, reason: str) -> None:
        """Record the fact that it is over."""
        file = self.file
        if reason:
            self._facts(RecordingCut(file=file.path, reason=reason, entries=self.entry_count, size=file.size))
        else:
            self._facts(RecordingEnded(file=file.path, entries=self.entry_count, size=file.size))

    # --- the dispatcher's Tap -----------------------------------------------------------------------------------------
    def turn(self, mailbox: Mailbox) -> None:
        """One message, or the actor's start."""
        with self._recorded() as recorded:
            actor = mailbox.actor
            if recorded and isinstance(actor, Cell):
                last = None
                at_s = time.monotonic()
                self._owner = threading.get_ident()
                try:
                    last = mailbox.run_turn(1 if actor._set_up else 0)  # noqa: SLF001  its start is a turn of its own
                finally:
                    self._owner = 0
                    self._write(self._turn(at_s, actor.name, last))
                return
        mailbox.run_turn()

    def fire(self, timer: Timer) -> None:
        """A timer: of an actor, or of the process."""
        with self._recorded() as recorded:
            callback, timer.callback = timer.callback, None
            if callback is None:
                return
            if recorded and timer.number:
                self._write(Fired(time.monotonic(), timer.number))
            callback()

    def timer_set(self, timer: Timer, delay_s: float) -> None:
        """Numbers it, if it is an actor's."""
        if self._owner == threading.get_ident() and not self.over:
            self._timers_made += 1
            timer.number = self._timers_made
            self._requests.append(Request(f"after {delay_s} s"))

    def submitted(self, job: Job) -> None:
        """Numbers it."""
        if self._owner == threading.get_ident() and not self.over:
            self._jobs_made += 1
            job.number = self._jobs_made
            self._requests.append(Request(f"call {job.number} on {job.pool}"))

    def begin(self, job: Job) -> Callable[[], Any]:
        """Runs the call as far as its port, which says what is asked; the rest is for the executor."""
        with self._recorded() as recorded:
            if not recorded or not job.number:
                return job.call
            self._owner, self._asks = threading.get_ident(), True
            rest: Callable[[], Any]
            try:
                answer = job.call()
                rest = answer.result if isinstance(answer, Later) else lambda: answer
            except Exception as error:  # noqa: BLE001  it is the outcome
                rest = _raising(error)
            finally:
                self._owner, self._asks = 0, False
                request = self._requests[0] if self._requests else None
                self._clear()
                self._write(Begun(time.monotonic(), job.number, request))
            return rest

    def end(self, job: Job, outcome: Outcome[Any]) -> None:
        """The outcome, as the actor gets it."""
        with self._recorded() as recorded:
            if recorded and job.number:
                self._write_body(lambda at_s: Ended(at_s, job.number, graph_of(outcome)))
            job.done(outcome)

    def give_up(self, reason: str) -> None:
        """This has no place on a tape."""
        self.finish(reason)

    # --- from the recorder --------------------------------------------------------------------------------------------
    def control(self, what: str, act: Callable[[], None]) -> None:
        """The process starts, drains or stops the tree."""
        with self._recorded() as recorded:
            if recorded:
                self._write(Control(time.monotonic(), what))
            act()

    def delivered(self, kind: str, epoch: int, mail: Mail, deliver: Callable[[Mail], None]) -> None:
        """Mail from the reader."""
        if self._owner == threading.get_ident():
            self.finish("the reader delivered within a turn")
        with self._recorded() as recorded:
            if recorded:
                self._write_body(lambda at_s: Delivered(at_s, kind, epoch, graph_of(mail)))
            deliver(mail)

    def note(self, request: Request) -> None:
        """In a turn, or while a call is taken up."""
        if self._owner == threading.get_ident():
            self._requests.append(request)

    def asks(self) -> bool:
        """Whether this thread takes up a call just now."""
        return self._asks and self._owner == threading.get_ident()

    # --- what a turn reads and does -----------------------------------------------------------------------------------
    def _clear(self) -> None:
        self._now_s: list[float] = []
        self._wall_s: list[float] = []
        self._draws: list[float] = []
        self._requests: list[Request] = []
        self._seen: list[str] = []

    def _now(self) -> float:
        now_s = time.monotonic()
        if self._owner == threading.get_ident():
            self._now_s.append(now_s)
        return now_s

    def _wall(self) -> float:
        wall_s = time.time()
        if self._owner == threading.get_ident():
            self._wall_s.append(wall_s)
        return wall_s

    def _draw(self) -> float:
        drawn = type(self._dispatcher.random).random(self._dispatcher.random)
        if self._owner == threading.get_ident():
            self._draws.append(drawn)
        return drawn

    def _fact(self, fact: Fact) -> None:
        if self._owner == threading.get_ident():
            self._seen.append(type(fact).__name__)
        self._actors_facts(fact)

    def _turn(self, at_s: float, name: str, last: Envelope[Any] | None) -> Turn:
        turn = Turn(
            at_s, name, message_name(last), tuple(self._now_s), tuple(self._wall_s), tuple(self._draws),
            tuple(self._requests), tuple(self._seen),
        )  # fmt: skip
        self._clear()
        return turn

    # --- the tape -----------------------------------------------------------------------------------------------------
    @contextmanager
    def _recorded(self) -> Iterator[bool]:
        """The lock, and True; or, once the recording is over, no lock and False."""
        while not self._lock.acquire(timeout=0.1):  # it is over for those who wait behind one that is stuck, too
            if self.over:
                yield False
                return
        if self.over:
            self._lock.release()
            yield False
            return
        try:
            yield True
        finally:
            self._lock.release()

    def _write_body(self, make: Callable[[float], Entry]) -> None:
        try:
            self._write(make(time.monotonic()))
        except Unplain as error:
            self.finish(f"something that a tape cannot hold: {error}")

    def _write(self, entry: Entry) -> None:
        line = line_of(entry)
        with (
            self._ending
        ):  # whoever ends the tape meanwhile waits: nothing comes after its last line, or is counted and lost
            if self.over:
                return
            taken = self.file.put(line)
            self.entry_count += taken
        if not taken:
            self.finish(self.file.why)


def _raising(error: Exception) -> Callable[[], Any]:
    def fail() -> Any:
        raise error

    return fail
