"""The dispatcher on threads: a few workers run turns, one thread keeps the timers, small pools run what blocks.

More workers hardly help under the GIL (measured), so there are two by default; nothing on a worker may block. A *blocking
ask* from inside an actor is allowed, as pykka allows it: while a worker waits for a future, a spare one takes its place.
A message that does not come back within ``wedge_after_s`` has its thread fenced off and replaced (Python cannot kill a
thread); ``LEAKED_MAX`` of them, or one in a vital actor, end the process.
"""

from __future__ import annotations

import heapq
import itertools
import queue
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pykka._envelope import Envelope

from ..actor import Cell, Wedged
from ..core.events import ActorWedged
from ..core.ports import Cancel, Facts, Outcome
from ..mailbox import Future, Lock, Mailbox, using

LEAKED_MAX = 3  # threads that never came back, before the process is better started anew (RELIABILITY S10)
WATCHDOG_PERIOD_S = 1.0
# Threads: the gateway's calls in flight (its default bound); a PATCH mostly waits; an Event is best effort.
POOLS = {"backend": 16, "status": 8, "events": 1}


class WedgedError(RuntimeError):
    """A thread never came back from a message."""


class SystemClock:
    """The real time."""

    def now(self) -> float:
        """Monotonic seconds."""
        return time.monotonic()

    def wall(self) -> float:
        """Unix seconds."""
        return time.time()


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
        self.on_fatal = on_fatal or (lambda actor, error: None)
        self._worker_count = workers
        self._wedge_after_s = wedge_after_s
        self._vital = frozenset(vital)
        self._ready: queue.SimpleQueue[Mailbox | None] = queue.SimpleQueue()
        self._workers: list[_Worker] = []
        self._workers_lock = threading.Lock()
        self._leaked_count = 0
        self._timers = _Timers(self._watch)
        self._pools = {name: _Pool(name, size) for name, size in pools.items()}

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
            self._ready.put(None)
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
        """Queue a turn."""
        self._ready.put(mailbox)

    def after(self, delay_s: float, callback: Callable[[], None]) -> Cancel:
        """Call back on the timer thread."""
        return self._timers.after(delay_s, callback)

    def submit(self, pool: str, call: Callable[[], Any], done: Callable[[Outcome[Any]], None]) -> None:
        """Run ``call`` on that pool's threads; ``done`` runs there too."""
        self._pools[pool].submit(call, done)

    @contextmanager
    def waiting(self, future: Future[Any], timeout_s: float | None) -> Iterator[None]:
        """A spare worker runs while this one waits."""
        if not isinstance(threading.current_thread(), _Worker):
            yield
            return
        self._add_worker()
        try:
            yield
        finally:
            self._ready.put(None)  # one worker too many now: whoever takes this ends

    def fatal(self, actor: str, error: BaseException) -> None:
        """Hand it to ``on_fatal``."""
        self.on_fatal(actor, error)

    def statistics(self) -> dict[str, object]:
        """Thread counts and depths, for people."""
        return {
            "workers": len(self._workers),
            "leaked_threads": self._leaked_count,
            "ready": self._ready.qsize(),
            "timers": self._timers.count(),
            "pools": {name: pool.statistics() for name, pool in self._pools.items()},
        }

    # --- workers ------------------------------------------------------------------------------------------------------
    def _add_worker(self) -> None:
        worker = _Worker(self)
        with self._workers_lock:
            self._workers.append(worker)
        worker.start()

    def _work(self, worker: _Worker) -> None:
        ready = self._ready
        with using(self):
            while not worker.abandoned:
                mailbox = ready.get()
                if mailbox is None:
                    break
                worker.mailbox = mailbox
                mailbox.run_turn()
                worker.mailbox = None
        with self._workers_lock:
            if worker in self._workers:
                self._workers.remove(worker)

    def _watch(self) -> None:
        """Timer thread: look for messages that do not come back."""
        now_s = self.clock.now()
        with self._workers_lock:
            workers = list(self._workers)
        for worker in workers:
            mailbox = worker.mailbox
            cell = mailbox.actor if mailbox is not None else None
            if mailbox is None or not isinstance(cell, Cell):
                continue
            since_s, ctx = cell.busy_since_s, cell.ctx
            if since_s is None or ctx is None or now_s - since_s < self._wedge_after_s:
                continue
            message = type(mailbox.current.message).__name__ if mailbox.current else "?"
            worker.abandoned = True
            with self._workers_lock:
                self._workers.remove(worker)
            self._leaked_count += 1
            self.facts(ActorWedged(actor=cell.name, message=message, busy_s=now_s - since_s))
            if cell.name in self._vital or self._leaked_count >= LEAKED_MAX:
                self.fatal(cell.name, WedgedError(f"{cell.name} has not come back from {message}"))
            self._add_worker()
            mailbox.put(Envelope(Wedged(ctx.incarnation, message, now_s - since_s)))
            mailbox.fence()


class _Worker(threading.Thread):
    _numbers = itertools.count()

    def __init__(self, dispatcher: ThreadDispatcher) -> None:
        super().__init__(name=f"muster-worker-{next(self._numbers)}", daemon=True)
        self._dispatcher = dispatcher
        self.mailbox: Mailbox | None = None
        self.abandoned = False

    def run(self) -> None:
        self._dispatcher._work(self)  # noqa: SLF001  one mechanism in two classes


class _Timers(threading.Thread):
    """One heap, one thread. Cancelled entries stay in the heap until they are due, or are too many."""

    def __init__(self, watch: Callable[[], None]) -> None:
        super().__init__(name="muster-timers", daemon=True)
        self._heap: list[tuple[float, int, list[Callable[[], None] | None]]] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._cancelled_count = 0
        self._stopping = False
        self._watch = watch

    def after(self, delay_s: float, callback: Callable[[], None]) -> Cancel:
        entry: list[Callable[[], None] | None] = [callback]
        due_s = time.monotonic() + max(0.0, delay_s)
        with self._changed:
            heapq.heappush(self._heap, (due_s, next(self._numbers), entry))
            if self._heap[0][2] is entry:
                self._changed.notify()

        def cancel() -> None:
            if entry[0] is not None:
                entry[0] = None
                self._cancelled()

        return cancel

    def _cancelled(self) -> None:
        with self._changed:
            self._cancelled_count += 1
            if self._cancelled_count > 1000 and self._cancelled_count * 2 > len(self._heap):
                self._heap = [each for each in self._heap if each[2][0] is not None]
                heapq.heapify(self._heap)
                self._cancelled_count = 0

    def count(self) -> int:
        return len(self._heap)

    def stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify()

    def run(self) -> None:
        look_s = time.monotonic() + WATCHDOG_PERIOD_S
        while True:
            due: list[Callable[[], None]] = []
            with self._changed:
                if self._stopping:
                    return
                now_s = time.monotonic()
                while self._heap and self._heap[0][0] <= now_s:
                    callback = heapq.heappop(self._heap)[2]
                    if callback[0] is not None:
                        due.append(callback[0])
                        callback[0] = None
                if not due and now_s < look_s:
                    next_s = min(look_s, self._heap[0][0]) if self._heap else look_s
                    self._changed.wait(next_s - now_s)
            for call in due:
                call()
            if time.monotonic() >= look_s:
                look_s = time.monotonic() + WATCHDOG_PERIOD_S
                self._watch()


class _Pool:
    """At most ``size`` daemon threads, made when needed, that run blocking calls in order of submission."""

    def __init__(self, name: str, size: int) -> None:
        self._name = name
        self._size = size
        self._calls: queue.SimpleQueue[tuple[Callable[[], Any], Callable[[Outcome[Any]], None]] | None] = (
            queue.SimpleQueue()
        )
        self._lock = threading.Lock()
        self._idle_count = 0
        self._stopping = False
        self.threads: list[threading.Thread] = []

    def submit(self, call: Callable[[], Any], done: Callable[[Outcome[Any]], None]) -> None:
        self._calls.put((call, done))
        with self._lock:
            if self._idle_count < self._calls.qsize() and len(self.threads) < self._size and not self._stopping:
                thread = threading.Thread(
                    target=self._work, name=f"muster-{self._name}-{len(self.threads)}", daemon=True
                )
                self.threads.append(thread)
                thread.start()

    def stop(self) -> None:
        with self._lock:
            self._stopping = True
            for _ in self.threads:
                self._calls.put(None)

    def statistics(self) -> dict[str, object]:
        return {"threads": len(self.threads), "waiting": self._calls.qsize()}

    def _work(self) -> None:
        while True:
            with self._lock:
                self._idle_count += 1
            job = self._calls.get()
            with self._lock:
                self._idle_count -= 1
            if job is None:
                return
            call, done = job
            try:
                outcome: Outcome[Any] = Outcome(call(), None)
            except BaseException as error:  # noqa: BLE001  whatever it is, the actor that asked must get an answer
                outcome = Outcome(None, error)
            done(outcome)
