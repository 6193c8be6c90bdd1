"""Our actors on pykka: an actor is a mailbox that a dispatcher runs for a bounded number of messages at a time.

pykka reserves three hooks for new kinds of actors: make the inbox, make the future, start the loop. ``Actor`` supplies
them and reuses pykka's own loop and failure handling unchanged: the inbox's ``get`` stands outside that loop's ``try``, so
a mailbox that raises ``TurnOver`` ends a *turn* cleanly, and the actor costs nothing until it has mail again.
An ``Actor`` behaves as pykka documents: start, tell, ask, proxy, stop, the hooks, the registry.

``Cell`` is the supervised actor. pykka, and every sender, know only the cell: a stable ref and mailbox. What runs inside is
a ``Behaviour``, made by a factory; when it raises, the cell sets the message aside, tells its supervisor, *holds* its mail
and later runs a new instance. (Restarting from pykka's ``on_failure`` would not do: meanwhile every tell raises.)
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Hashable, Mapping
from typing import Any, ClassVar, Self, TypeVar

import pykka
from attrs import frozen
from pykka import ActorDeadError, ActorRef
from pykka._envelope import Envelope

from .core.events import ActorCrashed, ActorRestarted, DeadLettered, Fact
from .core.ports import Cancel, Later, Outcome
from .core.records import Entry, fingerprint_of
from .mailbox import NONE, Flag, Future, Mailbox, TurnOver, current_dispatcher, using
from .messages import Down, Lane

T = TypeVar("T")
Ref = ActorRef[Any]

SKIP_AFTER_DEATHS = 2  # a fingerprint that killed twice is skipped (RELIABILITY S6: retry once, then poison)
_NO_DEATHS: dict[str, int] = {}

# What must end the process: the interpreter, not a message, is in trouble (checklist S11).
FATAL = (SystemExit, KeyboardInterrupt, GeneratorExit, MemoryError, RecursionError, SystemError)


class Actor(pykka.Actor):
    """An actor as pykka documents it, on the current dispatcher instead of a thread of its own."""

    actor_inbox: Mailbox
    _set_up = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.actor_urn = self.actor_inbox._dispatcher.new_urn()
        self._actor_ref = ActorRef(self)

    @staticmethod
    def _create_actor_inbox() -> Mailbox:
        return Mailbox(current_dispatcher())

    @staticmethod
    def _create_future() -> Future[Any]:
        return Future()

    def _start_actor_loop(self) -> None:
        self.actor_inbox.start(self)

    def take_turn(self) -> None:
        """Pykka's loop, for one turn."""
        if not self._set_up:
            self._set_up = True
            self._actor_loop_setup()
        try:
            self._actor_loop_running()
        except TurnOver:
            return
        self._actor_loop_teardown()

    def _actor_loop_teardown(self) -> None:
        self.actor_inbox.close()


# --- supervised -------------------------------------------------------------------------------------------------------
class Behaviour:
    """What runs in a cell. One instance is one incarnation; a restart makes a new one by the same factory.

    Every method runs on a dispatcher's worker, never two at a time, and must not block. A raise from any of them (from
    ``on_stop`` only logged) ends the incarnation: the cell stays, its supervisor decides. State that must outlive an
    incarnation belongs to the one who made the factory.
    """

    def __init__(self, ctx: Context) -> None:
        self.ctx = ctx

    def on_start(self) -> None:
        """Before the first message of this incarnation. Tell others here that memory was lost."""

    def on_receive(self, message: Any) -> Any:
        """One message. The return value answers an ask. An unknown message must raise."""
        raise TypeError(f"{type(self).__name__} does not know {type(message).__name__}")

    def on_stop(self) -> None:
        """After the last message, when asked to stop (not after a crash)."""

    def statistics(self) -> dict[str, object]:
        """A snapshot of plain values for people. Any thread; must be cheap and must not change anything."""
        return {}


@frozen
class Resume:
    """supervisor → cell: run a new incarnation."""

    lane: ClassVar[Lane] = Lane.CONTROL


@frozen
class Park:
    """supervisor → cell: quarantined; answer asks with an error until resumed."""

    lane: ClassVar[Lane] = Lane.CONTROL


@frozen
class Stop:
    """supervisor → cell: stop now, before any other mail."""

    lane: ClassVar[Lane] = Lane.CONTROL


@frozen
class Restart:
    """a person's command → cell: end this incarnation as a crash would; its supervisor decides, and counts it."""

    lane: ClassVar[Lane] = Lane.CONTROL
    reason: str


@frozen
class Look:
    """the shell → cell: answer with ``take(behaviour)``, quick and without a change; None is one that is down."""

    lane: ClassVar[Lane] = Lane.CONTROL
    take: Callable[[Behaviour | None], Any]


@frozen
class Monitor:
    """anyone → cell: tell ``watcher`` each ``Down`` from now on; at once if it is down already."""

    lane: ClassVar[Lane] = Lane.CONTROL
    watcher: Ref


@frozen
class Wedged:
    """watchdog → cell: the thread of that incarnation does not come back from its message."""

    lane: ClassVar[Lane] = Lane.CONTROL
    incarnation: int
    message: str
    busy_s: float


@frozen
class _Fired:
    """timer → cell. It is its own callback: a closure around an envelope takes 0.3 kB more, and each actor has a timer."""

    ctx: Context
    key: Hashable
    token: int
    message: Any

    def __call__(self) -> None:
        self.ctx._cell.actor_inbox.put(Envelope(self))


@frozen
class _Ended:
    """executor → cell."""

    ctx: Context
    reply: Callable[[Outcome[Any]], Any]
    outcome: Outcome[Any]


class Context:
    """What a behaviour may do. Belongs to one incarnation; when that is over, nothing of it arrives any more."""

    __slots__ = ("_cell", "_timers", "_tokens", "clock", "handling", "incarnation", "name", "random", "ref")

    def __init__(self, cell: Cell, incarnation: int) -> None:
        self._cell = cell
        self._timers: dict[Hashable, tuple[int, Cancel]] = {}
        self._tokens = 0
        self.incarnation = incarnation
        self.name = cell.name
        self.ref: Ref = cell.actor_ref
        self.clock, self.random = cell.dispatcher.clock, cell.dispatcher.random
        self.handling: Entry | None = None  # of a large message, what is in hand

    @property
    def alive(self) -> bool:
        """Whether this incarnation is the one that runs."""
        return self._cell.ctx is self

    @property
    def skips(self) -> frozenset[str]:
        """Fingerprints (of what was in ``handling``) that have killed incarnations before and are to be left out."""
        return self._cell.skips

    @property
    def children(self) -> dict[str, Ref]:
        """Cells spawned from here by name; outlives the incarnation, so that a new one can adopt them."""
        return self._cell.children

    def tell(self, ref: Ref, message: Any) -> None:
        """Send. A dead receiver makes a dead letter; it never raises, and an incarnation that is over sends nothing."""
        if self._cell.ctx is not self:  # as ``alive``; a call costs, and this is for each message
            self._cell.dead_letter(message, "stale")
            return
        try:
            ref.tell(message)
        except ActorDeadError:
            self._cell.dead_letter(message, "dead")

    def schedule(self, key: Hashable, delay_s: float, message: Any) -> None:
        """Tell myself ``message`` after ``delay_s``; an earlier timer of the same key is replaced."""
        if self._cell.ctx is not self:
            return
        self.cancel(key)
        self._tokens = token = self._tokens + 1
        self._timers[key] = (token, self._cell.dispatcher.after(delay_s, _Fired(self, key, token, message)))

    def cancel(self, key: Hashable) -> None:
        """Forget that timer, if there is one."""
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer[1]()

    def scheduled(self, key: Hashable) -> bool:
        """Whether that timer is pending."""
        return key in self._timers

    def run(self, pool: str, call: Callable[[], T | Later[T]], reply: Callable[[Outcome[T]], Any]) -> None:
        """Run a blocking ``call`` on an executor; ``reply(outcome)`` comes back to me as a message."""
        if self._cell.ctx is not self:
            return
        inbox = self._cell.actor_inbox
        self._cell.dispatcher.submit(pool, call, lambda outcome: inbox.put(Envelope(_Ended(self, reply, outcome))))

    def spawn(self, name: str, factory: Factory, *, supervised_by: Ref | None = None, small: bool = False) -> Ref:
        """Start a cell; I am its supervisor unless another is named. ``small``: one of very many, with little mail."""
        with using(self._cell.dispatcher):
            ref: Ref = Cell.start(name=name, factory=factory, supervisor=supervised_by or self.ref, small=small)
        self.children[name] = ref
        return ref

    def monitor(self, ref: Ref) -> None:
        """Have each ``Down`` of that cell told to me."""
        self.tell(ref, Monitor(self.ref))

    def emit(self, fact: Fact) -> None:
        """Record a fact."""
        self._cell.dispatcher.facts(fact)

    def stop(self) -> None:
        """Stop this actor after the present message."""
        self.tell(self.ref, Stop())

    def take(self, fired: _Fired) -> bool:
        """Whether that timer still stands; it is used up."""
        timer = self._timers.get(fired.key)
        if timer is None or timer[0] != fired.token:
            return False  # replaced or cancelled after it had gone off
        del self._timers[fired.key]
        return True

    def _end(self) -> None:
        for _, cancel in self._timers.values():
            cancel()
        self._timers.clear()


Factory = Callable[[Context], Behaviour]


class Cell(Actor):
    """The stable actor around a behaviour's incarnations. Its supervisor is told each death once, and decides."""

    def __init__(
        self, *, name: str, factory: Factory, supervisor: Ref | None = None,
        on_death: Callable[[str], None] = lambda reason: None, small: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.actor_inbox.expect(few=small)
        self.actor_stopped = Flag()  # type: ignore[assignment]  # no Event: nobody waits for it
        self._actor_ref = ActorRef(self)
        self.name, self.dispatcher = name, self.actor_inbox._dispatcher
        self.ctx: Context | None = None
        self.behaviour: Behaviour | None = None
        self.children: dict[str, Ref] = {}
        self.skips = NONE
        self.busy_since_s: float | None = None
        self.handled_count = 0
        self._factory, self._supervisor = factory, supervisor
        self._on_death = on_death  # of a cell without a supervisor: it dies as any pykka actor does
        self.incarnation, self.started_s = 0, 0.0  # of the one that runs, or ran last
        self.last_down: Down | None = None
        self._deaths_by: Mapping[str, int] = _NO_DEATHS  # hardly a cell needs one of its own
        self._monitors: tuple[Ref, ...] = ()
        self._stash: tuple[Any, ...] = ()

    @classmethod
    def start(cls, *args: Any, **kwargs: Any) -> ActorRef[Self]:
        """Start a cell. Unlike pykka's, it is not in the global registry, a list searched from its beginning at each stop.

        That would keep the cells of simulated worlds alive after their end; and a cell's supervisor knows it.
        """
        cell = cls(*args, **kwargs)
        cell._start_actor_loop()
        return cell.actor_ref

    def __str__(self) -> str:
        return f"{self.name} ({self.actor_urn})"

    # --- pykka's hooks ------------------------------------------------------------------------------------------------
    def on_start(self) -> None:
        self._incarnate()

    def on_receive(self, message: Any) -> Any:
        if isinstance(message, _Fired):
            if message.ctx is not self.ctx or not message.ctx.take(message):
                return None
            message = message.message
        elif isinstance(message, _Ended):
            if message.ctx is not self.ctx:
                return None
            message = message.reply(message.outcome)
        elif type(message) in _FOR_CELL:
            return _FOR_CELL[type(message)](self, message)
        if self.behaviour is None:
            self._stash = (*self._stash, message)  # control mail for a behaviour that is down: few by nature
            return None
        return self._handle(message)

    def on_stop(self) -> None:
        behaviour, ctx = self.behaviour, self.ctx
        if behaviour is not None and ctx is not None:
            try:
                behaviour.on_stop()
            except Exception as error:  # noqa: BLE001  whoever supervises it waits for its end, and must hear of it
                self._record_crash(
                    f"{type(error).__name__}: {error}", "".join(traceback.format_exception(error)), "on_stop"
                )
            finally:
                ctx._end()
                self.ctx = self.behaviour = None
        self._announce(self._down("stopped"))

    def _actor_loop_teardown(self) -> None:
        super()._actor_loop_teardown()
        self.children.clear()

    def on_failure(self, exception_type: Any, exception_value: Any, trace: Any) -> None:
        self._on_death(repr(exception_value))

    # --- one message --------------------------------------------------------------------------------------------------
    def _handle(self, message: Any) -> Any:
        behaviour, ctx = self.behaviour, self.ctx
        assert behaviour is not None
        assert ctx is not None
        envelope = self.actor_inbox.current
        asked = envelope is not None and envelope.reply_to is not None
        self.busy_since_s = self.dispatcher.clock.now()
        self.handled_count += 1
        try:
            return behaviour.on_receive(message)
        except FATAL as error:
            self.dispatcher.fatal(self.name, error)
            return None
        except Exception as error:
            if asked or self._supervisor is None:  # a failing ask answers its asker, and nothing restarts
                raise
            if self.ctx is ctx:  # else this thread was fenced off, and the incarnation is dead already
                self._crashed(error, message)
            return None
        finally:
            if self.ctx is ctx:
                self.busy_since_s = None

    def dead_letter(self, message: Any, reason: str, fingerprint: str = "") -> None:
        """Put on record that a message reached nobody, or killed who had it."""
        self.dispatcher.facts(
            DeadLettered(actor=self.name, message=type(message).__name__, reason=reason, fingerprint=fingerprint)
        )

    # --- life and death -----------------------------------------------------------------------------------------------
    def _incarnate(self) -> None:
        self.incarnation += 1
        self.started_s = self.dispatcher.clock.now()
        self.ctx = ctx = Context(self, self.incarnation)
        try:
            self.behaviour = self._factory(ctx)
            self.behaviour.on_start()
        except FATAL as error:
            self.dispatcher.fatal(self.name, error)
            return
        except Exception as error:
            if self._supervisor is None:
                self._on_death(repr(error))
                raise
            self._crashed(error, None)
            return
        self.actor_inbox.held = self.actor_inbox.refuses_asks = False
        if self.incarnation > 1:
            self.dispatcher.facts(ActorRestarted(actor=self.name, incarnation=self.incarnation))
        stash, self._stash = self._stash, ()
        for message in stash:
            self.on_receive(message)

    def _crashed(self, error: Exception, message: Any) -> None:
        """End this incarnation: hold the mail, set the message aside, tell the supervisor."""
        ctx = self.ctx
        assert ctx is not None
        place = fingerprint_of(*ctx.handling) if ctx.handling else ""
        poison = place or ("" if message is None else type(message).__name__)
        if poison:
            self._deaths_by = {**self._deaths_by, poison: self._deaths_by.get(poison, 0) + 1}
            if place and self._deaths_by[poison] >= SKIP_AFTER_DEATHS:
                self.skips |= {poison}
        if message is not None:
            self.dead_letter(message, "poison", poison)
        text = "".join(traceback.format_exception(error))
        self._end_incarnation("crashed", f"{type(error).__name__}: {error}", text, poison)

    def _wedged(self, wedged: Wedged) -> None:
        if self.ctx is not None and self.ctx.incarnation == wedged.incarnation:
            self._end_incarnation("wedged", f"in {wedged.message} for {wedged.busy_s:.0f} s", "", wedged.message)

    def _restart(self, wish: Restart) -> None:
        if self.ctx is not None and self._supervisor is not None:
            self._end_incarnation("crashed", f"restart asked for: {wish.reason}", "", "")

    def _end_incarnation(self, reason: str, error: str, text: str, poison: str) -> None:
        down = self._down(reason, error, text, poison)
        if self.ctx is not None:
            self.ctx._end()
        self.ctx = self.behaviour = self.busy_since_s = None
        self.actor_inbox.held = True
        self._record_crash(error, text, poison)
        self._announce(down)

    def _record_crash(self, error: str, text: str, poison: str) -> None:
        self.dispatcher.facts(ActorCrashed(
            actor=self.name, incarnation=self.incarnation, error=error, traceback=text, poison=poison,
            uptime_s=self.dispatcher.clock.now() - self.started_s,
        ))  # fmt: skip

    def _down(self, reason: str, error: str = "", text: str = "", poison: str = "") -> Down:
        return Down(name=self.name, incarnation=self.incarnation, reason=reason, error=error, traceback=text,
                    poison=poison, uptime_s=self.dispatcher.clock.now() - self.started_s)  # fmt: skip

    def _announce(self, down: Down) -> None:
        self.last_down = down
        watchers = [*([self._supervisor] if self._supervisor else []), *self._monitors]
        for ref in {ref.actor_urn: ref for ref in watchers}.values():  # a supervisor may watch as well: once is enough
            if ref.is_alive():
                try:
                    ref.tell(down)
                except ActorDeadError:
                    pass  # it died between the look and the tell: nobody is left to be told

    def _resume(self, _message: Resume) -> None:
        if self.behaviour is None:
            self._incarnate()

    def _park(self, _message: Park) -> None:
        if self.behaviour is None:
            self.actor_inbox.refuse_asks()

    def _monitor(self, message: Monitor) -> None:
        self._monitors = (*(r for r in self._monitors if r.is_alive() and r != message.watcher), message.watcher)
        if self.behaviour is None and self.last_down is not None:
            message.watcher.tell(self.last_down)

    @property
    def state(self) -> str:
        """running, down or quarantined."""
        down = "quarantined" if self.actor_inbox.refuses_asks else "down"
        return down if self.behaviour is None else "running"

    def statistics(self) -> dict[str, object]:
        """A snapshot for people: never touches the behaviour's own thread."""
        behaviour = self.behaviour  # another thread may end it meanwhile
        inner = behaviour.statistics() if behaviour is not None else {}
        return {
            "name": self.name, "state": self.state, "incarnation": self.incarnation, "mailbox": self.actor_inbox.depth(),
            "handled": self.handled_count, "last_error": self.last_down.error if self.last_down else "", **inner,
        }  # fmt: skip


_FOR_CELL: dict[type, Callable[[Cell, Any], Any]] = {
    Resume: Cell._resume, Park: Cell._park, Stop: lambda cell, _: cell._stop(), Monitor: Cell._monitor, Wedged: Cell._wedged,
    Restart: Cell._restart, Look: lambda cell, look: look.take(cell.behaviour),
}  # fmt: skip
