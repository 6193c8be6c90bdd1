"""One life of the operator's process in the simulated world: it can be killed, frozen, slowed down, and watched.

``Process`` is a dispatcher of its own on the shared world, so that the death of the process takes its turns, timers and
answers along, and nothing else: a request that is on its way arrives all the same. ``Probe`` stands around each
behaviour that the real tree makes. It tells what each actor handles, and strikes there when a fault says so: before a
message, after it, at one of its side effects, in a constructor. The actors themselves are untouched.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from attrs import define, evolve, field

from ..actor import Behaviour, Cell, Context, Factory, Wedged
from ..core.events import ActorWedged, Fact
from ..core.model import ParentKey
from ..core.ports import Cancel, Clock, Outcome, Random
from ..mailbox import Future, Mailbox
from ..messages import Ref
from ..sim.schedule import name_of
from ..sim.world import Timer, World
from ..supervision import ChildSpec
from ..tree import VITAL, System

__all__ = ["Injected", "Probe", "ProbedSystem", "Process", "Strike"]

WEDGE_AFTER_S = 30.0  # as the real dispatcher's watchdog: a message that takes longer never ends
STEPS_KEPT = 400  # the last messages handled, for the story of a failure


class Injected(Exception):
    """A bug that a fault plants for one message: the oracles expect its traces and no others."""


@define(eq=False)
class Strike:
    """One crash to come: at the ``nth`` match of ``actor`` (a prefix of its name) handling ``message`` ("" any).

    ``where``: "before", "after", "effect" (at its ``effect``-th tell, timer or call), "init" (its constructor), "start",
    "stop", "memory" (the interpreter runs out of memory), "wedge" (the message never ends). ``count`` strikes in all;
    ``only`` says which messages count as a match.
    """

    actor: str
    message: str = ""
    where: str = "before"
    nth: int = 1
    effect: int = 1
    count: int = 1
    only: Callable[[Any], bool] = lambda message: True
    fault: str = ""
    struck: list[tuple[float, str]] = field(factory=list)

    def matches(self, actor: str, kind: str, message: Any = None) -> bool:
        """Whether it is meant; counts down ``nth``."""
        if not self.count or not actor.startswith(self.actor) or (self.message and self.message != kind):
            return False
        if not self.only(message):
            return False
        self.nth -= 1
        if self.nth > 0:
            return False
        self.count -= 1
        return True


class Probe:
    """Stands between the cells and their behaviours. ``on_message`` hears (actor, message) before it is handled."""

    def __init__(self, world: World) -> None:
        self.steps: deque[tuple[float, str, Any]] = deque(maxlen=STEPS_KEPT)
        self.count = 0
        self.strikes: list[Strike] = []
        self.on_message: dict[type, list[Callable[[str, Any], None]]] = {}
        self.on_strike: Callable[[Strike, str], None] = lambda strike, actor: None
        self.effects_left = 0
        self.on_entry: Callable[[str, Context], None] = lambda actor, ctx: None
        """Hears (actor, its context, record) before each record that a watcher or a ClusterActor reads; may raise."""
        self.twins: list[str] = []
        """Names of actors that were made while another of that name was alive."""
        self._effect = (Strike(""), "")
        self._made: dict[str, Context] = {}
        self._world = world

    def listen(self, kind: type, heard: Callable[[str, Any], None]) -> None:
        """Have ``heard(actor, message)`` called for each message of that class."""
        self.on_message.setdefault(kind, []).append(heard)

    def wrap(self, name: str, factory: Factory) -> Factory:
        """The same factory, watched."""

        def made(ctx: Context) -> Behaviour:
            self.trip(name, "", "init")
            other, self._made[name] = self._made.get(name), ctx
            if other is not None and other.ref != ctx.ref and other.alive:
                self.twins.append(name)
            behaviour = factory(ctx)
            handle, start, stop = behaviour.on_receive, behaviour.on_start, behaviour.on_stop

            def on_start() -> None:
                start()
                self.trip(name, "", "start")

            def on_stop() -> None:
                self.trip(name, "", "stop")
                stop()

            clock = self._world.clock

            def on_receive(message: Any) -> Any:
                self.count += 1
                self.steps.append((clock.now_s, name, message))
                for heard in self.on_message.get(type(message), ()):
                    heard(name, message)
                return self._receive(name, ctx, handle, message) if self.strikes else handle(message)

            behaviour.__dict__.update(on_receive=on_receive, on_start=on_start, on_stop=on_stop)
            self._watch_reading(name, ctx, behaviour)
            return behaviour

        return made

    def _watch_reading(self, name: str, ctx: Context, behaviour: Behaviour) -> None:
        enter = getattr(behaviour, "_enter", None)  # watchers and ClusterActors have it
        if enter is None:
            return

        def entered(*entry: Any) -> Any:
            self.on_entry(name, ctx)
            return enter(*entry)

        behaviour.__dict__["_enter"] = entered

    def trip(self, actor: str, message: str, where: str) -> None:
        """Strike here if a fault says so."""
        for strike in self.strikes:
            if strike.where == where and strike.matches(actor, message):
                self._struck(strike, actor)
                raise Injected(f"{where} {message}".strip())

    def _receive(self, name: str, ctx: Context, handle: Callable[[Any], Any], message: Any) -> Any:
        kind = type(message)
        strike = self._due(name, message)
        if strike is None:
            return handle(message)
        if strike.where != "effect":
            self._struck(strike, name)
        if strike.where == "memory":
            raise MemoryError("planted")
        if strike.where == "before":
            raise Injected(f"before {kind.__name__}")
        if strike.where == "after":
            handle(message)
            raise Injected(f"after {kind.__name__}")
        assert strike.where == "effect"
        self.effects_left, self._effect = strike.effect, (strike, name)
        ctx.__class__ = _StruckContext
        try:
            return handle(message)
        finally:
            ctx.__class__ = Context
            self.effects_left = 0

    def _due(self, name: str, message: Any) -> Strike | None:
        kind = type(message).__name__
        for strike in self.strikes:
            if strike.where in ("before", "after", "effect", "memory") and strike.matches(name, kind, message):
                if not strike.count:
                    self.strikes.remove(strike)
                return strike
        return None

    def _struck(self, strike: Strike, actor: str) -> None:
        strike.struck.append((self._world.clock.now_s, actor))
        if not strike.count and strike in self.strikes:
            self.strikes.remove(strike)
        self.on_strike(strike, actor)

    def effect(self) -> None:
        """One side effect more of a message that is to die at its n-th."""
        self.effects_left -= 1
        if self.effects_left == 0:
            self._struck(*self._effect)
            raise Injected("at a side effect")


class _StruckContext(Context):
    """A context whose n-th effect raises, for the one message that asked for it."""

    __slots__ = ()

    def _count(self) -> None:
        process = self._cell.dispatcher
        assert isinstance(process, Process)
        process.probe.effect()

    def tell(self, ref: Ref, message: Any) -> None:
        self._count()
        super().tell(ref, message)

    def schedule(self, key: Any, delay_s: float, message: Any) -> None:
        self._count()
        super().schedule(key, delay_s, message)

    def run(self, pool: str, call: Any, reply: Any) -> None:
        self._count()
        super().run(pool, call, reply)


class ProbedSystem(System):
    """The real tree, every behaviour of which is made through the probe."""

    def __init__(self, *, probe: Probe, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._probe = probe

    def specs(self) -> tuple[ChildSpec, ...]:
        """See ``System``."""
        return tuple(evolve(spec, factory=self._probe.wrap(spec.name, spec.factory)) for spec in super().specs())

    def _cluster(self, key: ParentKey) -> Factory:
        return self._probe.wrap(f"cluster/{key.namespace}/{key.name}", super()._cluster(key))


class _Timer(Timer, eq=False):
    """One timer of a process: it goes off for the living, and waits while they are frozen."""

    process: Process

    def fire(self) -> None:
        """Its time has come."""
        process = self.process
        if not process.alive:
            return
        if process.waits is not None:
            process.waits.append(self.fire)  # it may still be cancelled before the thaw
            return
        callback = self.callback
        if callback is not None:
            callback()


class Process:
    """The dispatcher of one process. ``fatal`` ends it, through ``on_fatal``, as the real one does."""

    def __init__(self, world: World, number: int, *, on_fact: Callable[[Fact], None]) -> None:
        self.world = world
        self.clock: Clock = world.clock
        self.random: Random = world.random
        self.number = number
        self.probe = Probe(world)
        self.alive = True
        self.on_fatal: Callable[[str, BaseException], None] = lambda actor, error: None
        self.hold_s: Callable[[str], float] | None = None
        """For how long a turn of that actor is kept from running: a thread that the system does not run."""
        self.twice: Callable[[str], bool] = lambda pool: False
        """Whether the end of a call on that pool is told twice."""
        self.lost: Callable[[str], bool] = lambda pool: False
        """Whether the end of a call on that pool is never told: its thread does not come back."""
        self._on_fact = on_fact
        self.waits: list[Callable[[], None]] | None = None
        """While it is frozen: what happens when it runs on."""
        self.thawed_s = -1.0
        """When it last ran on after a frost."""
        self._wedge: tuple[str, str] | None = None
        """(prefix of the actor's name, the fault's id)"""
        self.hanging: set[str] = set()
        """The actors that are in a turn which does not come back, until the watchdog has found them."""

    # --- the Dispatcher interface -------------------------------------------------------------------------------------
    def facts(self, fact: Fact) -> None:
        """On record, while it lives."""
        if self.alive:
            self._on_fact(fact)

    def new_lock(self) -> Any:
        """A bit."""
        return self.world.new_lock()

    def new_urn(self) -> str:
        """Counted."""
        return self.world.new_urn()

    def thread_id(self) -> int:
        """There is one thread."""
        return 1

    def ready(self, mailbox: Mailbox) -> None:
        """Queue a turn, unless the actor is made to hang in it."""
        if not self.alive:
            return
        if self.waits is not None:
            self.waits.append(lambda: self.ready(mailbox))
            return
        if self._wedge is not None and name_of(mailbox).startswith(self._wedge[0]) and self._hang(mailbox):
            return
        hold_s = self.hold_s(name_of(mailbox)) if self.hold_s is not None else 0.0
        if hold_s > 0:
            self.after(hold_s, lambda: self.world.ready(mailbox))
        else:
            self.world.ready(mailbox)

    def after(self, delay_s: float, callback: Callable[[], None]) -> Cancel:
        """Call back in virtual time, if the process is still alive; after its thaw if it is frozen."""
        return self.world.add(delay_s, _Timer(callback, self))

    def submit(self, pool: str, call: Callable[[], Any], done: Callable[[Outcome[Any]], None]) -> None:
        """Make the call; its outcome is for the living."""

        def heard(outcome: Outcome[Any]) -> None:
            if self.alive and not self.lost(pool):
                if self.waits is not None:
                    self.waits.append(lambda: heard(outcome))
                else:
                    done(outcome)
                    if self.twice(pool):
                        done(outcome)

        self.world.submit(pool, call, heard)

    def waiting(self, future: Future[Any], timeout_s: float | None) -> Any:
        """As the world's."""
        return self.world.waiting(future, timeout_s)

    def fatal(self, actor: str, error: BaseException) -> None:
        """The process must end."""
        if self.alive:
            self.on_fatal(actor, error)

    # --- faults -------------------------------------------------------------------------------------------------------
    def kill(self) -> None:
        """SIGKILL: no turn, timer or answer of it happens any more."""
        self.alive = False
        self.world.drop(self)

    def freeze(self) -> None:
        """It does not run: a machine that is paused. Everything waits."""
        if self.waits is None:
            self.waits = []

    def thaw(self) -> None:
        """It runs on: all that waited happens now, in order."""
        waiting, self.waits = self.waits or [], None
        self.thawed_s = self.clock.now()
        for call in waiting:
            call()

    @property
    def frozen(self) -> bool:
        """Whether it stands still."""
        return self.waits is not None

    def wedge(self, actor: str, fault: str = "") -> None:
        """The next turn of that actor (a prefix of its name) never comes back: the watchdog takes its thread away."""
        self._wedge = (actor, fault)

    def _hang(self, mailbox: Mailbox) -> bool:
        """As the real watchdog sees it: the message in hand is lost, and a later turn runs on another thread."""
        cell = mailbox.actor
        if not isinstance(cell, Cell) or cell.ctx is None:
            return False
        fault = self._wedge[1] if self._wedge is not None else ""
        self._wedge = None
        incarnation, name = cell.ctx.incarnation, cell.name
        self.hanging.add(name)
        cell.busy_since_s = self.clock.now()  # as its thread would have, when it began
        self.probe.on_strike(Strike(actor=name, where="wedge", fault=fault), name)

        def found() -> None:
            self.hanging.discard(name)
            self.facts(ActorWedged(actor=name, message="planted", busy_s=WEDGE_AFTER_S))
            if name in VITAL:
                self.fatal(name, TimeoutError(f"{name} has not come back"))
                return
            cell.actor_ref.tell(Wedged(incarnation, "planted", WEDGE_AFTER_S))
            mailbox.fence()

        self.after(WEDGE_AFTER_S, found)
        return True
