"""The dispatcher on threads: a few workers run turns, one thread keeps the timers, small pools run what blocks.

More workers hardly help under the GIL (measured), so there are two by default; nothing on a worker may block. The turns of
*vital* actors go first, in alternation with the others. A *blocking ask* from inside an actor is allowed, as pykka allows it:
while a worker waits for a future, a spare one takes its place.
A message that does not come back within ``wedge_after_s`` has its thread fenced off and replaced (Python cannot kill a
thread); ``LEAKED_MAX`` of them, or one in a vital actor, end the process.

A ``tap`` may be set while everything runs (``taps``): then each turn, and whatever comes from another thread, goes through it.
Without one it costs a look at an attribute.
"""

from __future__ import annotations

import heapq
import itertools
import queue
import random
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum, auto
from typing import Any

from pykka._envelope import Envelope

from ..actor import Cell, Wedged
from ..core.events import ActorWedged
from ..core.ports import Cancel, Facts, Outcome
from ..mailbox import Future, Lock, Mailbox, using
from .clock import SystemClock
from .gate import Gate, Job, Lane, Tap, Timer, message_name

__all__ = ["GATE_LOOK_S", "LEAKED_MAX", "POOLS", "WATCHDOG_PERIOD_S", "SystemClock", "ThreadDispatcher", "WedgedError"]

LEAKED_MAX = 3  # threads that never came back, before the process is better started anew (RELIABILITY S10)
WATCHDOG_PERIOD_S = 1.0
GATE_LOOK_S = 0.0005  # between looks whether everybody waits; a turn is shorter than that
# Threads: the gateway's calls in flight (its default bound); a PATCH mostly waits; an Event is best effort.
POOLS = {"backend": 16, "status": 8, "events": 1}


class _Sign(Enum):
    """What is in the queue of turns beside mailboxes: a vital actor's waits in a queue of its own; a worker is to end."""

    VITAL = auto()
    END = auto()


class WedgedError(RuntimeError):
    """A thread never came back from a message."""


class ThreadDispatcher:
    """Runs actors on ``workers`` threads. ``on_fatal(actor, error)`` is called once something must end the process.

    ``vital`` names the actors in which a single wedge is fatal. Threads are daemons: a call that hangs cannot keep the
    process from ending. ``start`` before use; ``stop`` when every actor has stopped.
    """

    def __init__(
        self,
        *,
        workers: int = 2,
        facts: Facts = lambda fact: None,
        pools: Mapping[str, int] = POOLS,
        wedge_after_s: float = 30.0,
        vital: Iterable[str] = (),
        on_fatal: Callable[[str, BaseException], None] | None = None,
        seed: int | None = None,
    ) -> None:
        self.clock = SystemClock()
        self.random = random.Random(seed)  # noqa: S311  jitter, not secrets
        self.facts = facts
        self.tap: Tap | None = None  # set while it is ``paused``; taken away at any time
        self.lanes: list[Lane] = []  # of the threads beside the workers
        self.on_fatal = on_fatal or (lambda actor, error: None)
        self._worker_count = workers
        self._wedge_after_s = wedge_after_s
        self._vital = frozenset(vital)
        self._ready: queue.SimpleQueue[Mailbox | _Sign] = queue.SimpleQueue()
        self._ready_vital: deque[Mailbox] = deque()  # a sign in the queue for each
        self._workers: list[_Worker] = []
        self._abandoned: list[_Worker] = []  # stuck for good; no more than ``LEAKED_MAX`` before the process ends
        self._workers_lock = threading.Lock()
        self._leaked_count = 0
        self._timers = _Timers(self._watch, self._fire, self.new_lane())
        self._pools = {name: _Pool(name, size, self) for name, size in pools.items()}

    def start(self) -> None:
        """Start the threads."""
        self._timers.start()
        for _ in range(self._worker_count):
            self._add_worker()

    def stop(self, timeout_s: float = 2.0) -> list[str]:
        """End the threads; return the names of those still running after ``timeout_s``."""
        self._timers.stop()
        for pool in self._pools.values():
            pool.stop()
        with self._workers_lock:
            workers = list(self._workers)
        for _ in workers:
            self._ready.put(_Sign.END)
        deadline_s = time.monotonic() + timeout_s
        threads: list[threading.Thread] = [
            *workers,
            self._timers,
            *(t for p in self._pools.values() for t in p.threads),
        ]
        for thread in threads:
            if thread.is_alive():
                thread.join(max(0.0, deadline_s - time.monotonic()))
        return [thread.name for thread in threads if thread.is_alive()]

    # --- the Dispatcher interface -------------------------------------------------------------------------------------
    def new_lock(self) -> Lock:
        """A real lock."""
        return threading.Lock()

    def new_urn(self) -> str:
        """A random URN, as pykka's own."""
        return uuid.uuid4().urn

    def thread_id(self) -> int:
        """The calling thread's identifier."""
        return threading.get_ident()

    def ready(self, mailbox: Mailbox) -> None:
        """Queue a turn. A vital actor's goes first: in a storm a hundred turns wait, and the next batch call for one of them.

        Measured with 100,000 failures: 86 to 91 calls in the first 12 s without this, 90 to 100 with it.
        """
        if getattr(mailbox.actor, "name", "") in self._vital:
            self._ready_vital.append(mailbox)
            self._ready.put(_Sign.VITAL)
        else:
            self._ready.put(mailbox)

    def after(self, delay_s: float, callback: Callable[[], None]) -> Cancel:
        """Call back on the timer thread."""
        timer = Timer(callback, self._timers.cancelled)
        if (tap := self.tap) is not None:
            tap.timer_set(timer, delay_s)
        return self._timers.add(delay_s, timer)

    def submit(self, pool: str, call: Callable[[], Any], done: Callable[[Outcome[Any]], None]) -> None:
        """Run ``call`` on that pool's threads; ``done`` runs there too."""
        job = Job(pool, call, done)
        if (tap := self.tap) is not None:
            tap.submitted(job)
        self._pools[pool].submit(job)

    def new_lane(self) -> Lane:
        """For one more thread that touches actors."""
        lane = Lane()
        self.lanes.append(lane)
        return lane

    @contextmanager
    def paused(self, timeout_s: float) -> Iterator[None]:
        """Nothing moves; whoever wants to waits. TimeoutError when somebody does not come to rest in time.

        A ``tap`` that is set meanwhile begins with what has waited. While there is one already, it is a TimeoutError, too.
        """
        if self.tap is not None:
            raise TimeoutError("there is a tap already")
        gate = Gate(self)
        self.tap = gate
        try:
            until_s = time.monotonic() + timeout_s
            while not gate.all_wait([*self._workers, *self.lanes]):
                if time.monotonic() > until_s:
                    raise TimeoutError(f"a thread did not come to rest within {timeout_s:g} s")
                time.sleep(GATE_LOOK_S)
            yield
        finally:
            if self.tap is gate:
                self.tap = None
            gate.open()

    def pending(self) -> tuple[list[Timer], list[Job]]:
        """Every timer that has not gone off, in the order in which they will, and every call that has not ended."""
        return self._timers.pending(), [job for pool in self._pools.values() for job in list(pool.jobs)]

    def timers(self) -> list[tuple[float, Timer]]:
        """Every timer that has not gone off, with when it will (our clock); in no order."""
        return self._timers.scheduled()

    def at_work(self) -> list[tuple[int, Mailbox]]:
        """The threads that are in a turn, and whose turn it is."""
        with self._workers_lock:
            workers = list(self._workers)
        turns = [(worker.thread, worker.mailbox) for worker in workers if worker.is_alive()]
        return [(thread, mailbox) for thread, mailbox in turns if mailbox is not None]

    def given_up(self) -> list[tuple[int, str, str, float]]:
        """The threads that are still stuck after the watchdog has replaced them: whose turn, which message, since when."""
        with self._workers_lock:
            workers = list(self._abandoned)
        return [(worker.thread, *worker.lost) for worker in workers if worker.is_alive()]

    @contextmanager
    def waiting(self, future: Future[Any], timeout_s: float | None) -> Iterator[None]:
        """A spare worker runs while this one waits."""
        if not isinstance(threading.current_thread(), _Worker):
            yield
            return
        if (tap := self.tap) is not None:
            tap.give_up("an actor asked another and waited for its answer")
        self._add_worker()
        try:
            yield
        finally:
            self._ready.put(_Sign.END)  # one worker too many now: whoever takes this ends

    def fatal(self, actor: str, error: BaseException) -> None:
        """Hand it to ``on_fatal``."""
        self.on_fatal(actor, error)

    def statistics(self) -> dict[str, object]:
        """Thread counts and depths, for people; ``turns`` as ``turns`` has them."""
        return {
            "workers": len(self._workers),
            "turns": self.turns(),
            "leaked_threads": self._leaked_count,
            "ready": self._ready.qsize(),
            "timers": self._timers.count(),
            "pools": {name: pool.statistics() for name, pool in self._pools.items()},
        }

    def turns(self) -> list[tuple[str, float]]:
        """Who keeps a worker at this moment, and for how long with one message as the watchdog has seen it (whole looks)."""
        now_s = self.clock.now()
        with self._workers_lock:
            workers = list(self._workers)
        busy = [(worker, worker.mailbox) for worker in workers]
        return [
            (getattr(mailbox.actor, "name", "") or "?", now_s - worker.seen_s if worker.seen is mailbox else 0.0)
            for worker, mailbox in busy
            if mailbox is not None
        ]

    # --- workers ------------------------------------------------------------------------------------------------------
    def _add_worker(self) -> None:
        worker = _Worker(self)
        with self._workers_lock:
            self._workers.append(worker)
        worker.start()

    def _work(self, worker: _Worker) -> None:
        ready, vital = self._ready, self._ready_vital
        with using(self):
            while not worker.abandoned:
                taken = ready.get()
                if taken is _Sign.END:
                    break
                if vital and (first := _popped(vital)) is not None:
                    self._turn(worker, first)  # should it never come back, so goes the process, and ``taken`` with it
                if taken is not _Sign.VITAL:
                    self._turn(worker, taken)
        with self._workers_lock:
            if worker in self._workers:
                self._workers.remove(worker)

    def _turn(self, worker: _Worker, mailbox: Mailbox) -> None:
        worker.mailbox = mailbox  # before the look at the tap: whoever sets one waits for this turn
        if (tap := self.tap) is None:
            mailbox.run_turn()
        else:
            tap.turn(mailbox)
        worker.mailbox = None

    def _fire(self, timer: Timer) -> None:
        """Timer thread, in its lane."""
        if (tap := self.tap) is None:
            timer.go_off()
        else:
            tap.fire(timer)

    def _watch(self) -> None:
        """Timer thread: look for messages that do not come back."""
        now_s = self.clock.now()
        with self._workers_lock:
            workers = list(self._workers)
        for worker in workers:
            worker.look(now_s)
            mailbox = worker.mailbox
            cell = mailbox.actor if mailbox is not None else None
            if mailbox is None or not isinstance(cell, Cell):
                continue
            since_s, ctx = cell.busy_since_s, cell.ctx
            if since_s is None or ctx is None or now_s - since_s < self._wedge_after_s:
                continue
            message = message_name(mailbox.current) or "?"
            worker.abandoned, worker.lost = True, (cell.name, message, since_s)
            if (tap := self.tap) is not None:
                tap.give_up(f"{cell.name} does not come back from {message}")
            with self._workers_lock:
                self._workers.remove(worker)
                self._abandoned.append(worker)
            self._leaked_count += 1
            self.facts(ActorWedged(actor=cell.name, message=message, busy_s=now_s - since_s))
            if cell.name in self._vital or self._leaked_count >= LEAKED_MAX:
                self.fatal(cell.name, WedgedError(f"{cell.name} has not come back from {message}"))
            self._add_worker()
            mailbox.put(Envelope(Wedged(ctx.incarnation, message, now_s - since_s)))
            mailbox.fence()


def _popped(mailboxes: deque[Mailbox]) -> Mailbox | None:
    try:
        return mailboxes.popleft()
    except IndexError:  # another worker was faster
        return None


class _Worker(threading.Thread):
    _numbers = itertools.count()

    def __init__(self, dispatcher: ThreadDispatcher) -> None:
        super().__init__(name=f"muster-worker-{next(self._numbers)}", daemon=True)
        self._dispatcher = dispatcher
        self.mailbox: Mailbox | None = None
        self.abandoned = False
        self.lost = ("", "", 0.0)  # once it is abandoned: whose turn, which message, since when
        # Of the watchdog: the mailbox and the message that it has seen here since then. A clock for each turn would cost more.
        self.seen: Mailbox | None = None
        self.seen_s = 0.0
        self._message: object = None

    def look(self, now_s: float) -> None:
        """The watchdog: the same message in the same mailbox as at the last look is one that has not come back."""
        mailbox = self.mailbox
        message = mailbox.current if mailbox is not None else None
        if mailbox is not self.seen or message is not self._message:
            self.seen, self._message, self.seen_s = mailbox, message, now_s

    @property
    def busy(self) -> bool:
        return self.mailbox is not None

    @property
    def thread(self) -> int:
        return self.ident or 0

    def run(self) -> None:
        self._dispatcher._work(self)  # noqa: SLF001  one mechanism in two classes


class _Timers(threading.Thread):
    """One heap, one thread. Cancelled entries stay in the heap until they are due, or are too many."""

    def __init__(self, watch: Callable[[], None], fire: Callable[[Timer], None], lane: Lane) -> None:
        super().__init__(name="muster-timers", daemon=True)
        self._heap: list[tuple[float, int, Timer]] = []
        self._due: deque[Timer] = deque()  # taken from the heap and still to go off
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._cancelled_count = 0
        self.cancelled = self._cancelled  # one for all timers
        self._stopping = False
        self._watch = watch
        self._fire = fire
        self._lane = lane

    def add(self, delay_s: float, timer: Timer) -> Cancel:
        due_s = time.monotonic() + max(0.0, delay_s)
        with self._changed:
            heapq.heappush(self._heap, (due_s, next(self._numbers), timer))
            if self._heap[0][2] is timer:
                self._changed.notify()

        return timer.cancel

    def _cancelled(self) -> None:
        with self._changed:
            self._cancelled_count += 1
            if self._cancelled_count > 1000 and self._cancelled_count * 2 > len(self._heap):
                self._heap = [each for each in self._heap if each[2].callback is not None]
                heapq.heapify(self._heap)
                self._cancelled_count = 0

    def count(self) -> int:
        return len(self._heap)

    def scheduled(self) -> list[tuple[float, Timer]]:
        with self._changed:
            entries = list(self._heap)  # no more under the lock: whoever sets a timer waits for it
        return [(due_s, timer) for due_s, _, timer in entries if timer.callback is not None]

    def pending(self) -> list[Timer]:
        with self._changed:
            timers = [*self._due, *(each[2] for each in sorted(self._heap, key=lambda each: each[:2]))]
        return [timer for timer in timers if timer.callback is not None]

    def stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify()

    def run(self) -> None:
        look_s = time.monotonic() + WATCHDOG_PERIOD_S
        due = self._due
        while True:
            with self._changed:
                if self._stopping:
                    return
                now_s = time.monotonic()
                while self._heap and self._heap[0][0] <= now_s:
                    due.append(heapq.heappop(self._heap)[2])
                if not due and now_s < look_s:
                    next_s = min(look_s, self._heap[0][0]) if self._heap else look_s
                    self._changed.wait(next_s - now_s)
            with self._lane:
                while due:
                    self._fire(due[0])
                    due.popleft()
            if time.monotonic() >= look_s:
                look_s = time.monotonic() + WATCHDOG_PERIOD_S
                with (
                    self._lane
                ):  # it takes the stuck thread away first: until all of it is done, a pause must not begin
                    self._watch()


class _Pool:
    """At most ``size`` daemon threads, made when needed, that run blocking calls in order of submission."""

    def __init__(self, name: str, size: int, dispatcher: ThreadDispatcher) -> None:
        self._name = name
        self._size = size
        self._dispatcher = dispatcher
        self._calls: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._idle_count = 0
        self._stopping = False
        self.jobs: dict[Job, None] = {}  # submitted and not ended; a dict's single steps need no lock
        self.threads: list[threading.Thread] = []

    def submit(self, job: Job) -> None:
        self.jobs[job] = None
        self._calls.put(job)
        with self._lock:
            if self._idle_count < self._calls.qsize() and len(self.threads) < self._size and not self._stopping:
                lane = self._dispatcher.new_lane()
                name = f"muster-{self._name}-{len(self.threads)}"
                thread = threading.Thread(target=self._work, args=(lane,), name=name, daemon=True)
                self.threads.append(thread)
                thread.start()

    def stop(self) -> None:
        with self._lock:
            self._stopping = True
            for _ in self.threads:
                self._calls.put(None)

    def statistics(self) -> dict[str, object]:
        return {"threads": len(self.threads), "waiting": self._calls.qsize()}

    def _work(self, lane: Lane) -> None:
        dispatcher = self._dispatcher
        while True:
            with self._lock:
                self._idle_count += 1
            job = self._calls.get()
            with self._lock:
                self._idle_count -= 1
            if job is None:
                return
            with lane:
                call = job.call if (tap := dispatcher.tap) is None else tap.begin(job)
                job.begun = True
            try:
                outcome: Outcome[Any] = Outcome(call(), None)
            except BaseException as error:  # noqa: BLE001  whatever it is, the actor that asked must get an answer
                outcome = Outcome(None, error)
            with lane:
                if (tap := dispatcher.tap) is None:
                    job.done(outcome)
                else:
                    tap.end(job, outcome)
                del self.jobs[job]
