"""The simulated dispatcher: one thread, a seeded choice of the next actor, and virtual time that jumps.

The same actor classes as in production, unmodified. All timers of one instant fire before a turn is chosen, or seeds
would explore nothing. Time moves only when nobody has mail. Same seed, same trace: nothing here reads the real clock, and
no choice depends on hashing. Who runs next is the ``schedule``'s choice.
"""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from heapq import heappop, heappush
from typing import Any

import msgspec

from ..core.events import Fact
from ..core.ports import Cancel, Later, Outcome
from ..mailbox import CURRENT, TURN_MESSAGES_MAX, Dispatcher, Future, Mailbox, using
from .schedule import RandomSchedule, Schedule, name_of

EPOCH_S = 1_750_000_000.0  # the virtual wall clock's start; arbitrary, fixed so that traces compare
TURNS_MAX = 5_000_000  # a run that needs more is a hot loop: turned into a failure
TRACED_MAX = 1_000  # arbitrary: enough that one call of the hash is nothing, few enough to be no memory
TURNS_AT_ONCE_MAX = 100_000  # at one instant; 10,000 actors that start together need some 40,000


class VirtualClock:
    """Seconds that only the world moves."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.skew_s = 0.0
        """How far the wall clock is ahead of the true time: somebody may set it."""

    def now(self) -> float:
        """Virtual monotonic seconds, from 0."""
        return self.now_s

    def wall(self) -> float:
        """Virtual Unix seconds."""
        return EPOCH_S + self.now_s + self.skew_s


class Bit:
    """The ``Lock`` of one thread, which needs none; but the mailbox's idle bit is one."""

    __slots__ = ("_taken",)

    def __init__(self) -> None:
        self._taken = False

    def acquire(self, blocking: bool = True) -> bool:
        """Take the bit; False when it is taken."""
        if self._taken:
            return False
        self._taken = True
        return True

    def locked(self) -> bool:
        """Whether it is taken."""
        return self._taken

    def release(self) -> None:
        """Give the bit back."""
        self._taken = False

    def __enter__(self) -> bool:
        return True

    def __exit__(self, *exc_info: object) -> None:
        return None


class Timer(msgspec.Struct, eq=False):
    """One callback to come; None when it has been cancelled, which calling the timer does."""

    callback: Callable[[], None] | None

    def fire(self) -> None:
        """Its time has come."""
        callback = self.callback
        if callback is not None:
            callback()

    def __call__(self) -> None:
        """It shall not be made."""
        self.callback = None


class BlockingAskForbidden(RuntimeError):
    """An actor waited for another's answer inside a turn: a deadlock waiting to happen. Use a message."""


class FatalInSimulation(RuntimeError):
    """Something that would have ended the process."""


class World:
    """A simulated dispatcher. ``run_for`` moves time; ``facts_seen`` holds every fact with its instant."""

    def __init__(
        self,
        seed: int = 0,
        *,
        on_fact: Callable[[Fact], None] | None = None,
        turn_messages_max: int = 4,
        schedule: Schedule | None = None,
    ) -> None:
        self.seed = seed
        self.clock = VirtualClock()
        self.random = random.Random(seed)  # noqa: S311  the seed is the point
        self.facts_seen: list[tuple[float, Fact]] = []
        self.fatal_error: tuple[str, BaseException] | None = None
        self.turn_count = 0
        self._instant, self._instant_text = (-1.0, 0), ""
        # Apart from the actors' own randomness.
        self._schedule = schedule or RandomSchedule(random.Random(seed ^ 0x5EED))  # noqa: S311  the seed is the point
        self._ready: list[Mailbox] = []
        self._timers: list[tuple[float, int, Timer]] = []
        self._numbers = itertools.count()
        self._urns = itertools.count(1)
        self._in_turn = False
        self._on_fact = on_fact
        self._turn_messages_max = min(turn_messages_max, TURN_MESSAGES_MAX)
        self._trace = hashlib.sha256()
        self._traced: list[str] = []
        """What is to be hashed yet: many turns at once."""

    # --- the Dispatcher interface -------------------------------------------------------------------------------------
    def facts(self, fact: Fact) -> None:
        """Keep it, and hand it on."""
        self.facts_seen.append((self.clock.now_s, fact))
        if self._on_fact is not None:
            self._on_fact(fact)

    def new_lock(self) -> Bit:
        """A bit."""
        return Bit()

    def new_urn(self) -> str:
        """Counted, not random."""
        return f"urn:muster:{next(self._urns)}"

    def thread_id(self) -> int:
        """There is one thread."""
        return 1

    def ready(self, mailbox: Mailbox) -> None:
        """Queue a turn."""
        self._ready.append(mailbox)

    def drop(self, owner: Dispatcher) -> None:
        """Forget the turns of all mailboxes made by ``owner``: its process is dead."""
        self._ready = [mailbox for mailbox in self._ready if mailbox.dispatcher is not owner]

    def after(self, delay_s: float, callback: Callable[[], None]) -> Cancel:
        """Call back in virtual time."""
        return self.add(delay_s, Timer(callback))

    def add(self, delay_s: float, timer: Timer) -> Cancel:
        """The same with a timer that its owner has made."""
        at_s = self.clock.now_s + delay_s if delay_s > 0.0 else self.clock.now_s
        heappush(self._timers, (at_s, next(self._numbers), timer))
        return timer

    def submit(self, pool: str, call: Callable[[], Any], done: Callable[[Outcome[Any]], None]) -> None:
        """Call at once; a port that returns ``Later`` has its result delivered at that virtual time."""
        outcome = _outcome(call)
        if isinstance(outcome.value, Later):
            self._await(outcome.value, done)
        else:
            self.after(0.0, lambda: done(outcome))

    def _await(self, later: Later[Any], done: Callable[[Outcome[Any]], None]) -> None:
        def arrived() -> None:
            outcome = _outcome(later.result)
            if isinstance(outcome.value, Later):
                self._await(outcome.value, done)
            else:
                done(outcome)

        self.after(later.delay_s, arrived)

    def timers(self) -> list[tuple[float, Timer]]:
        """Every timer that has not gone off, with when it will; in no order."""
        return [(at_s, timer) for at_s, _, timer in self._timers if timer.callback is not None]

    def at_work(self) -> list[tuple[int, Mailbox]]:
        """Nobody is in a turn while somebody else looks."""
        return []

    def given_up(self) -> list[tuple[int, str, str, float]]:
        """There is one thread, and it comes back."""
        return []

    def statistics(self) -> dict[str, object]:
        """As the real one, as far as there is anything."""
        return {"workers": 1, "leaked_threads": 0, "ready": len(self._ready), "timers": len(self.timers()), "pools": {}}

    @contextmanager
    def waiting(self, future: Future[Any], timeout_s: float | None) -> Iterator[None]:
        """Outside a turn: run the world until the future is there. Inside one: an error."""
        if self._in_turn:
            raise BlockingAskForbidden("an actor asked another and waited: tell, and take the reply as a message")
        until_s = float("inf") if timeout_s is None else self.clock.now_s + timeout_s
        while not future.resolved and self.clock.now_s <= until_s and self.step(until_s):
            pass
        if not future.resolved and timeout_s is None:
            raise RuntimeError("nobody will ever answer: no mail and no timer is left")
        if not future.resolved:
            future.set_exception((TimeoutError, TimeoutError(f"{timeout_s} s of virtual time"), None))
        yield

    def fatal(self, actor: str, error: BaseException) -> None:
        """Keep the first."""
        self.fatal_error = self.fatal_error or (actor, error)

    # --- running ------------------------------------------------------------------------------------------------------
    def step(self, until_s: float = float("inf")) -> bool:
        """One turn, or one jump of time to the next timer (not past ``until_s``). False when there is nothing to do."""
        with using(self):
            self._fire()
            if self._ready:
                self._run_one()
                return True
            if not self._jump(until_s):
                return False
            self._fire()
            return True

    def _jump(self, until_s: float) -> bool:
        """Time moves to the next timer (not past ``until_s``); False when there is none."""
        timers = self._timers
        while timers and timers[0][2].callback is None:
            heappop(timers)
        if not timers or timers[0][0] > until_s:
            return False
        self.clock.now_s = max(self.clock.now_s, timers[0][0])
        return True

    def run_for(self, seconds: float) -> None:
        """Run everything that happens within ``seconds`` of virtual time; the clock then stands exactly there."""
        clock, timers = self.clock, self._timers
        until_s = clock.now_s + seconds
        token = CURRENT.set(self)  # as ``using`` does, once for all its turns
        try:
            while True:  # ``step``, without a call for each of a run's hundred thousand
                now_s = clock.now_s
                while timers and timers[0][0] <= now_s:
                    heappop(timers)[2].fire()
                if self._ready:
                    self._run_one()
                elif timers and timers[0][0] <= until_s:
                    clock.now_s = timers[0][0]
                else:
                    break
        finally:
            CURRENT.reset(token)
        clock.now_s = until_s

    def run_until(self, condition: Callable[[], bool], timeout_s: float = 600.0) -> float:
        """Run until ``condition()``; the virtual seconds it took. AssertionError when it does not come true."""
        start_s = self.clock.now_s
        while not condition():
            if not self.step(start_s + timeout_s):
                raise AssertionError(f"seed {self.seed}: still not so after {timeout_s} s of virtual time")
        return self.clock.now_s - start_s

    def settle(self) -> None:
        """Run until nobody has mail, without moving time."""
        while self._ready or (self._timers and self._timers[0][0] <= self.clock.now_s):
            self.step(self.clock.now_s)

    def trace_hash(self) -> str:
        """Names the run so far: which actor ran when."""
        self._hash()
        return self._trace.hexdigest()

    def _hash(self) -> None:
        self._trace.update("".join(self._traced).encode())
        self._traced.clear()

    def seen(self, kind: type[Fact]) -> list[Any]:
        """Every fact of that class so far."""
        return [fact for _, fact in self.facts_seen if isinstance(fact, kind)]

    def _fire(self) -> None:
        timers, clock = self._timers, self.clock
        while timers and timers[0][0] <= clock.now_s:
            heappop(timers)[2].fire()

    def _run_one(self) -> None:
        now_s, ready = self.clock.now_s, self._ready
        turn = self.turn_count = self.turn_count + 1
        if turn > TURNS_MAX:
            raise AssertionError(f"seed {self.seed}: {TURNS_MAX} turns: somebody loops without end")
        at_s, first = self._instant
        if at_s != now_s:
            self._instant, self._instant_text = (now_s, turn), repr(now_s)
        elif turn - first > TURNS_AT_ONCE_MAX:
            raise AssertionError(f"seed {self.seed}: {TURNS_AT_ONCE_MAX} turns at {at_s} s: somebody loops without end")
        index = self._schedule.choose(ready)
        mailbox, ready[index] = ready[index], ready[-1]
        ready.pop()
        self._traced.append(f"{self._instant_text} {name_of(mailbox)}\n")
        if len(self._traced) >= TRACED_MAX:
            self._hash()
        self._in_turn = True
        try:
            mailbox.run_turn(self._turn_messages_max)
        finally:
            self._in_turn = False


def _outcome(call: Callable[[], Any]) -> Outcome[Any]:
    try:
        return Outcome(call(), None)
    except Exception as error:  # noqa: BLE001  whatever it is, the actor that asked must get an answer
        return Outcome(None, error)
