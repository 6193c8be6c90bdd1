"""``muster run``: the real ports are made, the system is started on them, waited for, and drained within the grace.

The main thread does nothing but wait, so that signals are answered at once. SIGTERM or SIGINT begins the drain, in
phases with a deadline each: not ready at once, then the answers of calls in flight, then the last statuses, then the
actors' end in reverse order. A second signal ends the process on the spot. SIGUSR1 writes every thread's stack to
stderr, and which actor and message each is in; SIGUSR2 begins or ends a tape of the run (``edge.recorder``).

An API server that cannot be reached or refuses us is no reason to end: the reader retries and says so, and ``/readyz``
tells why. What no retry can cure (an unknown context, a port that is taken) is a ``SettingsError`` before anything is
started. All that this module knows of the engine is the ``Engine`` protocol; the real one is made in ``engine``.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import prometheus_client
from attrs import frozen

from .. import __version__
from ..core.events import Fact
from ..core.fleet import FleetDefinition
from ..core.ports import Clock, Facts
from ..edge.clock import SystemClock
from ..edge.settings import TABLE, Settings
from ..edge.settings_load import Loaded, require_backend
from .exit_codes import ExitCode
from .http import Listener
from .inspect.inspection import Inspection
from .inspect.place import AUTO, PlaceError
from .inspect.server import ShellServer
from .inspect.stacks import turns_text
from .logs import Logs
from .metrics import Metrics

POLL_S = 0.2  # between looks at the signal and at the engine; the wait itself costs nothing

# Shares of the grace at which each phase of the drain must be over. The rest is for the log and the exit.
DRAIN_PHASES = {"calls": 0.65, "statuses": 0.8, "actors": 0.95}


class Ended(Protocol):
    """Why the engine came to its end by itself. ``code`` is one of ``ExitCode``."""

    @property
    def code(self) -> int:
        """The exit code."""

    @property
    def reason(self) -> str:
        """One line for people."""


class Engine(Protocol):
    """What ``run`` needs of the system. All times in seconds."""

    def start(self) -> None:
        """Start every actor; returns when they run, not when they are synced."""

    def wait(self, timeout_s: float) -> Ended | None:
        """None after ``timeout_s``; else why the engine gave up."""

    def drain(self, calls_s: float, statuses_s: float) -> list[str]:
        """Begin nothing new; wait for the answers of calls, then for statuses. What was left unfinished, a line each."""

    def stop(self, timeout_s: float) -> list[str]:
        """Stop everything in reverse order; the names of what has not stopped in time."""

    def ready(self) -> tuple[bool, list[str]]:
        """Synced and whole; why not."""

    def alive(self) -> tuple[bool, list[str]]:
        """Whether the dispatcher turns; why not."""

    def statistics(self) -> Mapping[str, object]:
        """As ``metric_table`` names them."""

    def toggle_recording(self) -> None:
        """Begin a tape, or end the one that runs."""

    def inspection(self, loaded: Loaded, toggle_recording: Callable[[], None]) -> Inspection | None:
        """What the shell looks through; None where there is nothing to look at."""


class Stopping:
    """What ends the main loop from outside the engine, and only while ``installed``.

    ``asked`` is the number of the first signal; a second one ends the process on the spot. ``broken`` names a thread of the
    engine that died of an error: none of them may, so whatever it did is not done any more.
    """

    def __init__(self, logs: Logs) -> None:
        self.asked: int | None = None
        self.toggles = 0  # SIGUSR2s that have come and are still to be done
        self.broken: str | None = None
        self.whose_turn: Callable[[], str] | None = None  # for the dump of the stacks
        self._logs = logs

    def on_signal(self, number: int, _frame: FrameType | None = None) -> None:
        """Main thread, between two bytecodes: it must not take a lock."""
        if self.asked is None:
            self.asked = number
            return
        os.write(2, f"muster: a second {signal.Signals(number).name}: ending at once, nothing is awaited\n".encode())
        os._exit(128 + number)

    def on_toggle(self, _number: int, _frame: FrameType | None = None) -> None:
        """SIGUSR2: as ``on_signal``."""
        self.toggles += 1

    def on_stacks(self, _number: int, _frame: FrameType | None = None) -> None:
        """SIGUSR1, after the stacks have been written: which actor and message each thread is in. As ``on_signal``."""
        if self.whose_turn is not None:
            os.write(2, self.whose_turn().encode(errors="replace"))

    def on_thread_death(self, args: threading.ExceptHookArgs) -> None:
        """The dying thread, last of all."""
        name = args.thread.name if args.thread is not None else "a thread"
        trace = "".join(traceback.format_exception(args.exc_type, args.exc_value, args.exc_traceback))
        self._logs.line("error", "thread_died", thread=name, error=repr(args.exc_value), traceback=trace)
        if name.startswith(("muster-", "reader-")):
            self.broken = f"the thread {name} died: {args.exc_value!r}"

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Handle SIGTERM, SIGINT, SIGUSR2 and the deaths of threads, and dump stacks on SIGUSR1."""
        before = {number: signal.signal(number, self.on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        before[signal.SIGUSR2] = signal.signal(signal.SIGUSR2, self.on_toggle)
        hook, threading.excepthook = threading.excepthook, self.on_thread_death
        with_stacks = _has_descriptor(sys.stderr)
        if with_stacks:  # at once, whatever holds the interpreter's lock; then, if that is free, ``on_stacks``
            before[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, self.on_stacks)
            faulthandler.register(signal.SIGUSR1, all_threads=True, chain=True)
        try:
            yield
        finally:
            if with_stacks:
                faulthandler.unregister(signal.SIGUSR1)
            threading.excepthook = hook
            for number, handler in before.items():
                signal.signal(number, handler)


@frozen
class Both:
    """One sink for facts out of several."""

    sinks: tuple[Facts, ...]

    def __call__(self, fact: Fact) -> None:
        """Hand it to each."""
        for sink in self.sinks:
            sink(fact)


def run_operator(loaded: Loaded, *, build: Callable[[Settings, Facts], Engine] | None = None) -> int:
    """Run until a signal or the engine's own end; the exit code. SettingsError for what no retry can cure. Main thread only."""
    settings = loaded.settings
    require_backend(loaded)
    clock = SystemClock()
    logs = Logs(clock=clock, log_format=settings.log_format, level=settings.log_level)
    logs.start()
    try:
        no_created_series: Callable[[], object] = (
            prometheus_client.disable_created_metrics
        )  # a second one of each counter
        no_created_series()
        kinds = [kind.kind for kind in loaded.fleet.kinds]
        operations = [loaded.fleet.operation]
        metrics = Metrics(version=__version__, workers=settings.workers, operations=operations, kinds=kinds)
        engine = (build or partial(_real, loaded.fleet))(settings, Both((logs, metrics)))
        metrics.watch_statistics(lambda: {**engine.statistics(), "log_lines_dropped": logs.statistics()["dropped"]})
        stopping = Stopping(logs)
        with stopping.installed(), _listening(settings, engine, stopping, metrics) as port:
            _tell_start(logs, loaded, port)
            with _inspected(loaded, engine, stopping, logs):
                engine.start()
                code = _until_the_end(engine, stopping, settings.grace_s, clock, logs)
        logs.line("info", "operator_ended", code=code.value, meaning=code.meaning)
    except MemoryError:
        code = ExitCode.FATAL  # nothing that could be said would fit
    finally:
        logs.close()
    return code.value


@contextmanager
def _listening(settings: Settings, engine: Engine, stopping: Stopping, metrics: Metrics) -> Iterator[int | None]:
    """Answer probes for as long as this lasts; the port, None where nothing listens."""
    if settings.listen_address is None:
        yield None
        return

    def ready() -> tuple[bool, list[str]]:
        if stopping.asked is not None:
            return False, [f"draining: {signal.Signals(stopping.asked).name} asked to end"]
        return engine.ready()

    listener = Listener(settings.listen_address, alive=engine.alive, ready=ready, metrics=metrics.render)
    listener.start()
    try:
        yield listener.port
    finally:
        listener.stop()


@contextmanager
def _inspected(loaded: Loaded, engine: Engine, stopping: Stopping, logs: Logs) -> Iterator[None]:
    """Answer the shell for as long as this lasts. Where no place was set and none can be had, the operator works without."""
    look = engine.inspection(loaded, lambda: os.kill(os.getpid(), signal.SIGUSR2))
    if look is None:
        yield
        return
    stopping.whose_turn = lambda: turns_text(look.threads, look.clock.now())
    place, server = loaded.settings.shell_socket, None
    try:
        server = ShellServer(look, Path(place) if place != AUTO else None) if place else None
    except PlaceError as error:
        if place != AUTO:
            raise
        logs.line("warning", "shell_unavailable", reason=str(error))
    if server is None:
        yield
        return
    server.start()
    logs.line("info", "shell_listening", socket=str(server.path), changes=look.changes)
    try:
        yield
    finally:
        server.stop()


def _real(fleet: FleetDefinition, settings: Settings, facts: Facts) -> Engine:
    from .engine import RealEngine

    return RealEngine(settings, facts, fleet=fleet)


def _until_the_end(engine: Engine, stopping: Stopping, grace_s: float, clock: Clock, logs: Logs) -> ExitCode:
    while True:
        ended = engine.wait(POLL_S)
        if ended is not None or stopping.broken is not None:
            code = ExitCode(ended.code) if ended is not None else ExitCode.FATAL
            reason = ended.reason if ended is not None else stopping.broken
            logs.line("error", "operator_gave_up", code=code.value, reason=reason, meaning=code.meaning)
            # What still works is stopped politely, but for a short time: a supervisor above waits to start us anew.
            _tell_unstopped(logs, engine.stop(min(2.0, grace_s)))
            return code
        if stopping.asked is not None:
            return _drain(engine, stopping.asked, grace_s, clock, logs)
        if stopping.toggles:
            stopping.toggles -= 1
            engine.toggle_recording()


def _drain(engine: Engine, asked: int, grace_s: float, clock: Clock, logs: Logs) -> ExitCode:
    began_s = clock.now()
    logs.line("info", "operator_draining", signal=signal.Signals(asked).name, grace_s=grace_s)

    def left_s(phase: str) -> float:
        return max(0.1, began_s + DRAIN_PHASES[phase] * grace_s - clock.now())

    calls_s = left_s("calls")
    unfinished = engine.drain(calls_s, max(0.1, DRAIN_PHASES["statuses"] * grace_s - calls_s))
    unstopped = engine.stop(left_s("actors"))
    _tell_unstopped(logs, [*unfinished, *unstopped])
    logs.line("info", "operator_drained", seconds=round(clock.now() - began_s, 3), unfinished=len(unfinished))
    return ExitCode.UNSTOPPED if unfinished or unstopped else ExitCode.OK


def _tell_unstopped(logs: Logs, names: list[str]) -> None:
    for name in names[:50]:
        logs.line("warning", "operator_unstopped", what=name)
    if len(names) > 50:
        logs.line("warning", "operator_unstopped", what=f"and {len(names) - 50} more")


def _tell_start(logs: Logs, loaded: Loaded, port: int | None) -> None:
    shown = {
        each.name.replace("-", "_"): f"{each.show(getattr(loaded.settings, each.attribute))} ({origin})"
        for each in TABLE
        if (origin := loaded.origins.get(each.name, "default")) != "default"
    }
    logs.line("info", "operator_starting", version=__version__, pid=os.getpid(), port=port, settings=shown)
    for note in loaded.notes:
        logs.line("warning", "settings_note", note=note)


def _has_descriptor(stream: Any) -> bool:
    try:
        return isinstance(stream.fileno(), int)
    except (AttributeError, OSError, ValueError):
        return False
