"""What a recording hooks into the dispatcher with, and how it is hooked in while everything runs.

Each thread that touches actors has a *lane* and says in it when it begins and when it has done. A *gate* is a tap that holds up
whoever comes next; once every lane is at rest or held up, nothing is half done, and the state of all actors can be looked at.
The order of two steps is what makes it safe: a thread first says that it is busy and then looks for a tap; who sets the
gate first sets it and then looks who is busy.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from pykka._envelope import Envelope

from ..actor import _Ended, _Fired
from ..core.ports import Outcome
from ..mailbox import Mailbox


def message_name(envelope: Envelope[Any] | None) -> str:
    """What a mailbox has handed out: "" for nothing; a timer's message by its own name."""
    if envelope is None:
        return ""
    message = envelope.message
    if isinstance(message, _Fired):
        message = message.message
    return "Ended" if isinstance(message, _Ended) else type(message).__name__


class Timer:
    """A callback on its way; ``callback`` is None once it has gone off or was cancelled. ``number`` is the tap's.

    ``cancelled`` is told of the latter.
    """

    __slots__ = ("callback", "cancelled", "number")

    def __init__(self, callback: Callable[[], None], cancelled: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback
        self.cancelled = cancelled
        self.number = 0

    def cancel(self) -> None:
        """It shall not go off."""
        if self.callback is not None:
            self.callback = None
            self.cancelled()

    def go_off(self) -> None:
        """Call back, unless it was cancelled."""
        callback, self.callback = self.callback, None
        if callback is not None:
            callback()


class Tap(Protocol):
    """What a recording takes part in. Each is called on the thread that would have done the thing itself."""

    def turn(self, mailbox: Mailbox) -> None:
        """Run turns of that mailbox's actor."""

    def fire(self, timer: Timer) -> None:
        """Let that timer go off, unless it was cancelled meanwhile."""

    def timer_set(self, timer: Timer, delay_s: float) -> None:
        """A timer has been set."""

    def submitted(self, job: Job) -> None:
        """A call has been submitted."""

    def begin(self, job: Job) -> Callable[[], Any]:
        """Take up that call; what the executor is to run."""

    def end(self, job: Job, outcome: Outcome[Any]) -> None:
        """Hand the outcome to whoever submitted the call."""

    def give_up(self, reason: str) -> None:
        """Something happens that cannot be recorded: everything goes on without the tap."""


class Job:
    """A blocking call on its way through a pool. ``begun``: a thread has taken it up. ``number`` is the tap's."""

    __slots__ = ("begun", "call", "done", "number", "pool")

    def __init__(self, pool: str, call: Callable[[], Any], done: Callable[[Outcome[Any]], None]) -> None:
        self.pool = pool
        self.call = call
        self.done = done
        self.begun = False
        self.number = 0


class Busy(Protocol):
    """A thread as the gate sees it."""

    @property
    def busy(self) -> bool:
        """Whether it touches actors."""

    @property
    def thread(self) -> int:
        """Its identifier."""


class Lane:
    """``with lane:`` around whatever a thread does to actors. For one thread at a time."""

    __slots__ = ("busy", "thread")

    def __init__(self) -> None:
        self.busy = False
        self.thread = 0

    def __enter__(self) -> None:
        self.thread = threading.get_ident()
        self.busy = True

    def __exit__(self, *_error: object) -> None:
        self.busy = False


class Tapped(Protocol):
    """The dispatcher, as a gate sees it."""

    tap: Tap | None


class Gate:
    """Holds up every thread that comes, until ``open``; then each does what the tap that is there by then says."""

    def __init__(self, dispatcher: Tapped) -> None:
        self._dispatcher = dispatcher
        self._held: set[int] = set()
        self._opened = threading.Event()

    def all_wait(self, threads: Iterable[Busy]) -> bool:
        """Whether nobody of these is about anything any more."""
        return all(not each.busy or each.thread in self._held for each in threads)

    def open(self) -> None:
        """Let everybody go on."""
        self._opened.set()

    def wait(self) -> Tap | None:
        """Held up; the tap that is there afterwards. For what has no method of its own here."""
        self._held.add(threading.get_ident())
        self._opened.wait()
        return self._dispatcher.tap

    def turn(self, mailbox: Mailbox) -> None:
        """See ``Tap``."""
        if (tap := self.wait()) is None:
            mailbox.run_turn()
        else:
            tap.turn(mailbox)

    def fire(self, timer: Timer) -> None:
        """See ``Tap``."""
        if (tap := self.wait()) is None:
            timer.go_off()
        else:
            tap.fire(timer)

    def begin(self, job: Job) -> Callable[[], Any]:
        """See ``Tap``."""
        return job.call if (tap := self.wait()) is None else tap.begin(job)

    def end(self, job: Job, outcome: Outcome[Any]) -> None:
        """See ``Tap``."""
        if (tap := self.wait()) is None:
            job.done(outcome)
        else:
            tap.end(job, outcome)

    def timer_set(self, timer: Timer, delay_s: float) -> None:
        """By a turn that was under way: it comes to its end first."""

    def submitted(self, job: Job) -> None:
        """As ``timer_set``."""

    def give_up(self, reason: str) -> None:
        """Nothing is recorded yet."""
