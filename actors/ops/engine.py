"""The engine on real ports: all that the command line knows of the actor tree, of the API server and of the backend.

``RealEngine`` makes the ports from the settings, hands them to the tree, and turns the tree's events (ended, drained, stopped)
into what a main thread can wait for. Made but not started, it has opened no connection: what a wrong setting can break breaks
in the constructor, as a ``SettingsError``.
"""

from __future__ import annotations

import linecache
import os
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from .. import __version__
from ..core.builtin import MUSTER_FLEET
from ..core.fleet import FleetDefinition
from ..core.ports import Facts
from ..core.restarts import RestartPolicy
from ..edge.backends import backend_of
from ..edge.dispatcher import POOLS, SystemClock, ThreadDispatcher, WedgedError
from ..edge.heap import Heap
from ..edge.kube import KubeClient
from ..edge.reader import KubeReader
from ..edge.reader_choice import ProcessReader, by_size
from ..edge.recorder import Recorder
from ..edge.settings import Settings
from ..edge.settings_load import Loaded
from ..edge.tapefile import TapeLimits
from ..edge.writer import KubeStatusWriter
from ..gateway import GatewaySettings
from ..insight.shadow import Shadow
from ..tree import VITAL, End, EndKind, Ports, System, TreeSettings
from . import settings_page
from .exit_codes import ExitCode
from .inspect.calls import SeenBackend
from .inspect.inspection import Inspection
from .inspect.memory import Memory
from .published import snapshot
from .versions import versions

TICK_S = 1.0
DEAF_AFTER_S = 15.0  # a timer thread that has not ticked for so long will not any more
_LOOK_S = 0.01  # between looks while something stops


@frozen
class EngineEnd:
    """Why the engine ended by itself."""

    code: ExitCode
    reason: str


class RealEngine:
    """See ``run.Engine``. Every method but ``ready``, ``alive`` and ``statistics`` is for the main thread.

    ``shadow`` is there in a shadow run, which writes nothing.
    """

    def __init__(self, settings: Settings, facts: Facts, *, fleet: FleetDefinition = MUSTER_FLEET) -> None:
        linecache.clearcache()  # all is imported: the source of what attrs has generated takes a megabyte
        self._memory = facts = Memory(SystemClock(), facts)  # what it is told it hands on
        self._kube = KubeClient(settings.kubeconfig or None, settings.context or None, facts=facts)
        self._turn_max_s = settings.wedge_after_s + DEAF_AFTER_S
        self._dispatcher = ThreadDispatcher(
            workers=settings.workers,
            facts=facts,
            pools={**POOLS, "backend": settings.calls_in_flight_max},
            wedge_after_s=settings.wedge_after_s,
            vital=VITAL,
            on_fatal=lambda actor, error: self._system.fatal(actor, error),  # noqa: PLW0108 - it is made below
        )
        self._heap = Heap(facts)
        self._reader = self._reader_for(settings, self._heap.tell, fleet)
        self._ended = threading.Event()
        self._recorder = Recorder(self._dispatcher, version=__version__, facts=facts)
        self._record_file = settings.record
        self._tape_limits = TapeLimits(bytes_max=settings.record_max_mib << 20)
        self._writer = KubeStatusWriter(self._kube, fleet, self._dispatcher.clock)
        self.shadow = Shadow() if settings.shadow else None
        ports = Ports(
            reader=self._reader,
            status_writer=self._writer if self.shadow is None else self.shadow.writer,
            backend=SeenBackend(
                backend_of(settings, fleet, lambda: self._kube) if self.shadow is None else self.shadow.backend,
                self._dispatcher.clock,
                self._memory.calls,
            ),
        )
        self._system = self._recorder.system = System(
            dispatcher=self._dispatcher,
            fleet=fleet,
            settings=tree_settings(settings, fleet),
            ports=self._recorder.tap_ports(ports),
            on_end=lambda _end: self._ended.set(),
        )
        self._clock = self._dispatcher.clock
        self._ticked_s = self._clock.now()

    @property
    def system(self) -> System:
        """The tree, for who only looks."""
        return self._system

    def inspection(self, loaded: Loaded, toggle_recording: Callable[[], None]) -> Inspection:
        """What the shell looks through. ``toggle_recording`` has it done by the main thread."""
        return Inspection(
            self._system,
            self._dispatcher,
            memory=self._memory,
            version=versions(),
            settings=lambda: settings_page.shown(loaded),
            reader=self._reader.statistics,
            alive=self.alive,
            changes=loaded.settings.shell_changes,
            outside=self._recorder.told,
            toggle_recording=toggle_recording,
            recording=lambda: self._recorder.recording is not None,
            shadow=self.shadow.statistics if self.shadow is not None else None,
        )

    def start(self) -> None:
        """Start the threads, then the tree."""
        self._dispatcher.start()
        self._tick()
        if self.shadow is not None:
            self.shadow.start(self._system)
        if self._record_file:
            self.toggle_recording()
        self._recorder.control("start", self._system.start)

    def wait(self, timeout_s: float) -> EngineEnd | None:
        """None after ``timeout_s``; else why the tree ended by itself."""
        self._ended.wait(timeout_s)
        return end_of(self._system.end)

    def drain(self, calls_s: float, statuses_s: float) -> list[str]:
        """Begin no new call; wait for the answers, then for the statuses; what was left, a line each."""
        done = {"gateway": threading.Event(), "status": threading.Event()}
        self._recorder.control(
            "drain", lambda: self._system.drain(lambda name: done[name].set() if name in done else None)
        )
        left = []
        for name, timeout_s, what in (
            ("gateway", calls_s, "calls in flight"),
            ("status", statuses_s, "statuses to be written"),
        ):
            if not done[name].wait(timeout_s):
                left.append(f"{name}: {what}: {self._brief(name)}")
        return left

    def stop(self, timeout_s: float) -> list[str]:
        """Stop the tree, the streams and the threads; who has not in time."""
        until_s = self._clock.now() + timeout_s
        pause = threading.Event()
        self._recorder.control("stop", self._system.stop)
        while not self._system.stopped and self._clock.now() < until_s - 0.5 * timeout_s:
            pause.wait(_LOOK_S)
        unstopped = list(self._system.overdue) if self._system.stopped else ["the actor tree"]
        self._reader.stop(max(0.1, 0.5 * (until_s - self._clock.now())))
        unstopped += self._dispatcher.stop(max(0.1, until_s - self._clock.now()))
        self._recorder.stop(max(0.1, until_s - self._clock.now()))
        self._kube.close()
        return unstopped

    def toggle_recording(self) -> None:
        """Begin a tape in a file of its own, or end the one that runs. Facts tell how it went."""
        if self._recorder.recording is not None:
            self._recorder.stop()
        else:
            self._recorder.start(next_tape(self._record_file), self._tape_limits)

    def ready(self) -> tuple[bool, list[str]]:
        """Every kind is listed, and every actor that the tree names runs."""
        reasons = self._system.ready()
        return not reasons, reasons

    def alive(self) -> tuple[bool, list[str]]:
        """The timers tick, no message keeps a worker that the watchdog ought to have freed, and nothing has ended.

        The watchdog runs on the timers' thread and deals with an actor that does not come back from a message; what it cannot
        free (a behaviour that is stuck while it starts or stops) only a new process can. No outage of the API server or of
        the backend keeps a worker: what blocks runs in pools.
        """
        reasons = []
        silent_s = self._clock.now() - self._ticked_s
        if silent_s > DEAF_AFTER_S:
            reasons.append(f"the timers have not ticked for {silent_s:.0f} s")
        for name, turn_s in self._dispatcher.turns():
            if turn_s > self._turn_max_s:
                reasons.append(f"{name} has kept a worker for {turn_s:.0f} s")
        if self._system.end is not None:
            reasons.append(self._system.end.reason)
        return not reasons, reasons

    def statistics(self) -> Mapping[str, object]:
        """As ``metric_table`` names them."""
        found = snapshot(self._system, self._dispatcher.statistics())
        reading = self._reader.statistics()
        found["watch_age_s"] = {kind: each["age_s"] for kind, each in reading.items()}
        found["watch_objects"] = {kind: each["objects"] for kind, each in reading.items()}
        found["events"] = self._writer.statistics()
        return found

    def _reader_for(self, settings: Settings, facts: Facts, fleet: FleetDefinition) -> KubeReader | ProcessReader:
        """As ``settings.reader`` says. Parents, and kinds that are few, are read by the threads of a ``KubeReader``."""
        clock, random, namespace = self._dispatcher.clock, self._dispatcher.random, settings.namespace
        thread = KubeReader(
            self._kube,
            fleet,
            clock=clock,
            random=random,
            facts=facts,
            namespace=namespace,
            audit_s=settings.audit_interval_s,
        )
        if settings.reader == "thread":
            return thread
        return ProcessReader(
            thread,
            fleet,
            choose=by_size(self._kube, fleet, namespace, pause=time.sleep) if settings.reader == "auto" else None,
            clock=clock,
            random=random,
            facts=facts,
            kubeconfig=settings.kubeconfig,
            context=settings.context,
            namespace=namespace,
            audit_s=settings.audit_interval_s,
        )

    def _tick(self) -> None:
        self._ticked_s = self._clock.now()
        self._heap.tick()
        self._dispatcher.after(TICK_S, self._tick)

    def _brief(self, name: str) -> str:
        cell: dict[str, Any] = dict(self._system.cells()).get(name, {})
        return ", ".join(f"{key} {cell[key]}" for key in ("calls_in_flight", "in_flight", "waiting") if key in cell)


def next_tape(wanted: str) -> str:
    """The first of ``wanted``, ``wanted.2`` … ``wanted.9`` that is not there, else the last. "": in the temporary folder."""
    first = wanted or str(Path(tempfile.gettempdir()) / f"muster-{os.getpid()}.tape")
    names = [first, *(f"{first}.{number}" for number in range(2, 10))]
    return next((name for name in names if not os.path.lexists(name)), names[-1])


def tree_settings(settings: Settings, fleet: FleetDefinition) -> TreeSettings:
    """The part of the settings that the tree needs, in its own words."""
    restarts = RestartPolicy(restarts_max=settings.restarts_max, period_s=settings.restarts_period_s)
    return TreeSettings(
        policy=settings.policy,
        gateway=GatewaySettings(
            operation=fleet.operation,
            quota=settings.quota,
            batch_max=settings.batch_max,
            in_flight_max=settings.calls_in_flight_max,
            call_timeout_s=settings.backend_timeout_s,
            lateness_s=settings.backend_lateness_s,
            batch_quiet_s=settings.batch_quiet_s,
            cold_start_s=settings.cold_start_s,
            fleet_share=settings.max_unhealthy_fleet,
        ),
        idle_s=settings.idle_s,
        static=restarts,
        clusters=restarts,
    )


def end_of(end: End | None) -> EngineEnd | None:
    """The exit code of an end; None while there is none."""
    if end is None:
        return None
    if end.kind is EndKind.ESCALATED:
        return EngineEnd(ExitCode.ESCALATED, end.reason)
    return EngineEnd(ExitCode.WEDGED if isinstance(end.error, WedgedError) else ExitCode.FATAL, end.reason)
