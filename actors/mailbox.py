"""Mailbox, future and the dispatcher's interface: what makes pykka's loop run in turns.

An actor costs nothing until it has mail; then a dispatcher runs one *turn* of it, at most ``TURN_MESSAGES_MAX`` messages, and
at most one worker at a time. pykka's own loop is reused: its call of the inbox's ``get`` stands outside its ``try``, so a
mailbox that raises ``TurnOver`` ends a turn without a trace.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from itertools import count
from types import TracebackType
from typing import Any, Protocol, TypeVar

from pykka import ActorDeadError, ThreadingFuture
from pykka._envelope import Envelope
from pykka.messages import _ActorStop

from .core.events import DeadLettered
from .core.ports import Cancel, Clock, Facts, Objects, Outcome, Random
from .messages import Lane

T = TypeVar("T")
CONTROL = Lane.CONTROL  # an enum's member costs a look-up of its own at each message
TURN_MESSAGES_MAX = 64  # measured: throughput is flat from 32 on, and a turn of 64 is well under a millisecond
HELD_MESSAGES_MAX = (
    10_000  # ordinary mail kept for an actor that is down; arbitrary, far above what any sender has open
)


NONE: frozenset[str] = frozenset()  # an empty set of one's own takes 216 B


class TurnOver(Exception):
    """Private: the mailbox is empty or the turn's budget is spent. Never seen by an actor's code."""


class Runs(Protocol):
    """What a mailbox needs of its actor."""

    def take_turn(self) -> None: ...


class Lock(Protocol):
    """What is used of ``threading.Lock``."""

    def acquire(self, blocking: bool = True) -> bool: ...
    def release(self) -> None: ...
    def locked(self) -> bool: ...
    def __enter__(self) -> bool: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


class Dispatcher(Protocol):
    """Where actors run: threads (``edge.dispatcher``) or one seeded thread in virtual time (``sim.world``)."""

    @property
    def clock(self) -> Clock:
        """The time that actors see."""

    @property
    def random(self) -> Random:
        """The randomness that actors use."""

    @property
    def facts(self) -> Facts:
        """Where facts go."""

    def new_lock(self) -> Lock:
        """A lock for one mailbox."""

    def new_urn(self) -> str:
        """A name no other actor has."""

    def thread_id(self) -> int:
        """Names the calling thread."""

    def ready(self, mailbox: Mailbox) -> None:
        """Run a turn of that mailbox's actor soon. Called once per idle → busy change. Any thread."""

    def after(self, delay_s: float, callback: Callable[[], None]) -> Cancel:
        """Call back after ``delay_s``, on some thread; the callback must be short and must not raise."""

    def submit(self, pool: str, call: Callable[[], Any], done: Callable[[Outcome[Any]], None]) -> None:
        """Run a blocking call on the bounded executor ``pool``; hand its outcome to ``done`` on some thread."""

    def waiting(self, future: Future[Any], timeout_s: float | None) -> AbstractContextManager[None]:
        """Surrounds a blocking wait for ``future``: keeps the other actors running meanwhile."""

    def fatal(self, actor: str, error: BaseException) -> None:
        """The interpreter, not a message, is in trouble: the process must end."""


CURRENT: ContextVar[Dispatcher] = ContextVar("muster_dispatcher")


def current_dispatcher() -> Dispatcher:
    """The dispatcher of this thread: inside a turn, or inside ``with using(dispatcher)``."""
    try:
        return CURRENT.get()
    except LookupError:
        raise RuntimeError(
            "no dispatcher here: start actors inside `with using(dispatcher):` or from an actor"
        ) from None


@contextmanager
def using(dispatcher: Dispatcher) -> Iterator[None]:
    """Actors started inside run on ``dispatcher``."""
    token = CURRENT.set(dispatcher)
    try:
        yield
    finally:
        CURRENT.reset(token)


class Future(ThreadingFuture[T]):
    """pykka's future, whose blocking ``get`` lets the dispatcher keep the actors running. Builds without arguments."""

    dispatcher: Dispatcher | None = None  # set by the mailbox that takes the ask

    @property
    def resolved(self) -> bool:
        """Whether there is a result or an error."""
        return self._result is not None

    def get(self, *, timeout: float | None = None) -> Any:
        """See pykka. In a simulation it runs the world until there is an answer; inside a turn it is an error there."""
        if self.dispatcher is None or self.resolved:
            return super().get(timeout=timeout)
        with self.dispatcher.waiting(self, timeout):
            return super().get(timeout=timeout)


class Mailbox:
    """Three lanes behind pykka's put / get / empty.

    *control* is served first and even while the mail is held; *object* mail coalesces by kind and uid, so its size is
    bounded by the number of objects; everything else is ordinary, first come, first served.

    An ordinary message never overtakes object mail that came before it. Object mail that came after it goes first too, so
    that a reconcile sees all that waits, but only what was there when the ordinary message's turn came: no flood of events
    starves it.
    """

    __slots__ = (
        "_arrivals", "_control", "_dispatcher", "_idle", "_left", "_merge", "_objects", "_ordinary", "_owner",
        "_round_end", "actor", "closed", "current", "held", "refuses_asks",
    )  # fmt: skip

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._control: list[Envelope[Any]] = []  # few; an empty deque takes 760 B
        self._objects: dict[str, _Pending] = {}
        self._ordinary: deque[tuple[int, Envelope[Any]]] | _Few = deque()
        self._arrivals = count(1)  # numbers what comes in, so that the lanes can tell who was first
        self._idle = dispatcher.new_lock()  # taken while scheduled or running: one bit is the whole scheduler state
        self._merge = dispatcher.new_lock()
        self._idle.acquire()  # nothing runs before the actor is started
        self._left = 0
        self._owner = 0
        self._round_end = 0  # object mail that came before this goes before the ordinary message that waits
        self.actor: Runs | None = None  # the mailbox owns the actor, because refs hold it only weakly
        self.current: Envelope[Any] | None = None
        self.closed = False
        self.held = False
        self.refuses_asks = False

    @property
    def dispatcher(self) -> Dispatcher:
        """Where it runs."""
        return self._dispatcher

    def expect(self, *, few: bool) -> None:
        """Before the start: how much ordinary mail is going to wait. An empty deque takes 760 B, an empty list 56."""
        self._ordinary = _Few() if few else deque()

    # --- any thread ---------------------------------------------------------------------------------------------------
    def put(self, envelope: Envelope[Any], /) -> None:
        """Take a message in; wake the actor if it slept. Never blocks, never raises."""
        message = envelope.message
        if envelope.reply_to is not None:
            if isinstance(envelope.reply_to, Future):  # as all are that our actors make
                envelope.reply_to.dispatcher = self._dispatcher
            if self.refuses_asks:
                _answer_dead(envelope, "is quarantined")
                return
        if type(message) is Objects:
            with self._merge:
                pending = self._objects.get(message.kind)
                if pending is None:
                    self._objects[message.kind] = _Pending(message, next(self._arrivals))
                else:
                    pending.add(message)
        elif getattr(message, "lane", None) is CONTROL:
            self._control.append(envelope)
        else:
            self._ordinary.append((next(self._arrivals), envelope))
            if self.held and len(self._ordinary) > HELD_MESSAGES_MAX:
                self._overflow()
        if self.closed:  # appended first, checked second: an ask that races with the last drain is still answered
            self.drain()
        elif self.takeable() and self._idle.acquire(blocking=False):
            self._dispatcher.ready(self)

    def empty(self) -> bool:
        """Whether there is no mail at all, held or not."""
        return not (self._control or self._objects or self._ordinary)

    def takeable(self) -> bool:
        """Whether a turn would find something."""
        return bool(self._control or (not self.held and (self._objects or self._ordinary)))

    def depth(self) -> int:
        """Messages waiting; object mail counts one per object."""
        waiting = len(self._control) + len(self._ordinary)
        return waiting + sum(len(p.entries) for p in list(self._objects.values())) if self._objects else waiting

    # --- the worker that runs the turn --------------------------------------------------------------------------------
    def run_turn(self, messages_max: int = TURN_MESSAGES_MAX) -> Envelope[Any] | None:
        """One turn of the actor; afterwards it is scheduled again if it has mail, or idle. Gives the last message of it.

        Nothing here keeps that one: with all that hangs on it, it would stay as long as the actor has nothing to do.
        """
        actor = self.actor
        if actor is None:
            return None
        owner = self._owner = self._dispatcher.thread_id()
        self._left = messages_max
        actor.take_turn()
        last = self.current
        if self._owner != owner:  # fenced while it ran: another thread has the mailbox now
            return last
        self.current = None
        self._rest()
        return last

    def get(self) -> Envelope[Any]:
        """The next message of this turn; TurnOver when there is none for it."""
        if self._left <= 0 or self._owner != self._dispatcher.thread_id():
            raise TurnOver
        self._left -= 1
        if self._control:
            envelope = self._control.pop(0)
        elif self.held:
            raise TurnOver
        elif self._objects and (pending := self._next_objects()) is not None:
            envelope = Envelope(pending.message())
        elif self._ordinary:
            self._round_end = 0
            envelope = self._ordinary.popleft()[1]
        else:
            raise TurnOver
        self.current = envelope
        return envelope

    def _next_objects(self) -> _Pending | None:
        """Object mail, of which there is some, if it is next: the kind that has waited longest is the first in the dict."""
        with self._merge:
            kind, first = next(iter(self._objects.items()))
            if self._ordinary and first.arrival > self._ordinary[0][0]:
                if not self._round_end:
                    self._round_end = next(self._arrivals)
                if first.arrival > self._round_end:
                    return None
            return self._objects.pop(kind)

    def start(self, actor: Runs) -> None:
        """The actor begins: its first turn runs ``on_start``."""
        self.actor = actor
        self._dispatcher.ready(self)

    def fence(self) -> None:
        """Take the mailbox from a thread that does not come back; the next turn runs on another."""
        self._owner = -1
        self._rest()

    def close(self) -> None:
        """The actor has stopped: nothing is taken in any more, and whoever asked is told so."""
        self.closed = True
        self.actor = None
        self.drain()

    def drain(self) -> list[Any]:
        """Empty every lane; answer the askers as pykka does; return the tells that reached nobody."""
        dead: list[Any] = []
        with self._merge:
            self._objects.clear()
        while envelope := _popped(self._control.pop, 0) or _popped(self._ordinary.popleft):
            if isinstance(envelope, tuple):
                envelope = envelope[1]
            if envelope.reply_to is None:
                dead.append(envelope.message)
            else:
                _answer_dead(envelope, "stopped before handling the message")
        return dead

    def refuse_asks(self) -> None:
        """Answer all asks, waiting and coming, with ActorDeadError: nobody will handle them soon."""
        self.refuses_asks = True
        for _ in range(len(self._ordinary)):  # once around: others may be adding at the end
            arrival, envelope = self._ordinary.popleft()
            if envelope.reply_to is None:
                self._ordinary.append((arrival, envelope))
            else:
                _answer_dead(envelope, "is quarantined")

    def _rest(self) -> None:
        if self.takeable() and not self.closed:
            self._dispatcher.ready(self)
            return
        self._idle.release()
        if self.takeable() and not self.closed and self._idle.acquire(blocking=False):
            self._dispatcher.ready(self)

    def _overflow(self) -> None:
        dropped = self._ordinary.popleft()[1]
        if dropped.reply_to is not None:
            _answer_dead(dropped, "is down and its mailbox is full")
        name = getattr(self.actor, "name", "")
        self._dispatcher.facts(DeadLettered(actor=name, message=type(dropped.message).__name__, reason="overflow"))


class _Few(list[tuple[int, Envelope[Any]]]):
    """A deque for one of many thousand actors: slower with many entries, of which there are ``HELD_MESSAGES_MAX`` at most."""

    __slots__ = ()

    def popleft(self) -> tuple[int, Envelope[Any]]:
        """The first; one step, as a deque's."""
        return self.pop(0)


class _Pending:
    """Object mail of one kind, coalescing: newest per uid, and a replacement forgets what came before it."""

    __slots__ = ("_mine", "_of", "arrival", "entries")

    def __init__(self, message: Objects, arrival: int) -> None:
        self.arrival = arrival  # of the first message: what joins it later only makes it newer
        self._of = message
        self.entries = message.entries
        self._mine = False  # the first message's entries are its sender's; copy them before the first change

    def add(self, message: Objects) -> None:
        if message.epoch < self._of.epoch:
            return
        if message.replace or message.epoch > self._of.epoch:
            self._of, self.entries, self._mine = message, message.entries, False
            return
        if not self._mine:
            self.entries, self._mine = self.entries.copy(), True
        self.entries.update(message.entries)

    def message(self) -> Objects:
        if not self._mine:
            return self._of
        return Objects(kind=self._of.kind, entries=self.entries, replace=self._of.replace, epoch=self._of.epoch)


class Flag:
    """All of a ``threading.Event`` that is asked of a cell, in 40 B instead of 1 kB: who supervises it is told of its end."""

    __slots__ = ("_set",)

    def __init__(self) -> None:
        self._set = False

    def is_set(self) -> bool:
        """Whether it has been set."""
        return self._set

    def set(self) -> None:
        """For good."""
        self._set = True


def _popped(take: Callable[..., T], *place: int) -> T | None:
    try:
        return take(*place)
    except IndexError:  # empty, perhaps because another thread drains too
        return None


def _answer_dead(envelope: Envelope[Any], why: str) -> None:
    reply_to = envelope.reply_to
    assert reply_to is not None
    if isinstance(envelope.message, _ActorStop):
        reply_to.set(None)
    else:
        reply_to.set_exception((ActorDeadError, ActorDeadError(f"the actor {why}"), None))
