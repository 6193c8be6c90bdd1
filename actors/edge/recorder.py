"""Records a run: what comes from outside and the order of the turns, on a tape; on and off while everything runs.

``Recorder`` stands between the tree and its ports (``taps``). While nothing is recorded that is all it does. To record, it
stops the actors for the moment that a checkpoint takes, and hands them to a ``Recording``.
"""

from __future__ import annotations

import gc
import platform
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from ..actor import Context
from ..core.errors import MusterError
from ..core.events import RecordingRefused, RecordingStarted
from ..core.graph import Unplain, graph_of
from ..core.ports import Facts, Later
from ..core.tape import Header, Request, line_of, request_of
from ..tree import Ports, System
from .checkpoint import Pending, capture, names_in
from .dispatcher import ThreadDispatcher
from .gate import Gate, Lane
from .recording import Recording
from .tapefile import TapeFile, TapeLimits
from .taps import Mail, TappedBackend, TappedReader, TappedWriter

T = TypeVar("T")
PAUSE_MAX_S = 5.0  # for every thread to come out of its turn; one that needs longer is stuck


class Recorder:
    """Of one dispatcher and one tree. ``tap_ports`` before the tree is made, ``system`` set after that."""

    def __init__(self, dispatcher: ThreadDispatcher, *, version: str, facts: Facts) -> None:
        self.system: System | None = None
        self._dispatcher = dispatcher
        self._version = version
        self._facts = facts
        self._lane = dispatcher.new_lane()
        self._told_lane = dispatcher.new_lane()
        self._telling = threading.Lock()
        self._ports: Ports | None = None
        self._posts: dict[str, Callable[[Mail], None]] = {}
        self._post_lanes: dict[str, tuple[threading.Lock, Lane]] = {}
        self._recording: Recording | None = None

    @property
    def recording(self) -> Recording | None:
        """What is being recorded now."""
        recording = self._recording
        return None if recording is None or recording.over else recording

    def tap_ports(self, ports: Ports) -> Ports:
        """The ports that the tree is to be given."""
        self._ports = Ports(
            reader=TappedReader(ports.reader, self),
            status_writer=TappedWriter(ports.status_writer, self),
            backend=TappedBackend(ports.backend, self),
        )
        return self._ports

    def control(self, what: str, act: Callable[[], None]) -> None:
        """The process does something with the tree: ``what`` is start, drain or stop."""
        with self._lane:
            if (recording := self._waited()) is None:
                act()
            else:
                recording.control(what, act)

    def told(self, tell: Callable[[], None]) -> None:
        """Somebody from outside tells actors something, on any thread. A replay could not: a tape that runs ends before it."""
        with self._telling, self._told_lane:
            if (recording := self._waited()) is not None:
                recording.give_up("the shell told an actor something")
            tell()

    def start(self, path: str, limits: TapeLimits | None = None) -> bool:
        """Record to a new file from now on; whether it has begun. If not, the fact ``RecordingRefused`` says why."""
        assert self.system is not None
        assert self._ports is not None
        if self.recording is not None:
            return False
        began_s = time.monotonic()
        recording = None
        try:
            file = TapeFile(path, limits or TapeLimits())
            try:
                with self._dispatcher.paused(PAUSE_MAX_S):
                    recording = self._begin(self.system, self._ports, file)
            finally:
                if recording is None:
                    file.discard()
        except (OSError, MusterError) as error:
            self._facts(RecordingRefused(file=path, reason=str(error)))
            return False
        self._facts(RecordingStarted(file=path, paused_s=time.monotonic() - began_s, size=file.size))
        return True

    def stop(self, timeout_s: float = 5.0) -> None:
        """End the tape, if there is one, and wait until it is on the disk."""
        recording, self._recording = self._recording, None
        if recording is not None:
            recording.finish("")
            recording.file.join(timeout_s)
            if recording.file.failed:
                recording.tell(f"cannot write: {recording.file.failed}")

    def note(self, what: str) -> None:
        """In a turn: a request that says all in its words."""
        if (recording := self.recording) is not None:
            recording.note(Request(what))

    def asked(self, what: str, body: Any, send: Callable[[], Any]) -> Any:
        """On the executor: a request with its body. While it is being recorded ``send`` is put off until it has been."""
        recording = self.recording
        if recording is not None and recording.asks():
            recording.note(request_of(what, body))
            return Later(0.0, send)
        return send()

    def posted(self, kind: str, epoch: int, deliver: Callable[[Mail], None]) -> Callable[[Mail], None]:
        """What the reader is to call in the place of ``deliver``."""
        self._posts[kind] = deliver
        if kind not in self._post_lanes:
            self._post_lanes[kind] = threading.Lock(), self._dispatcher.new_lane()
        one_at_a_time, lane = self._post_lanes[kind]  # an epoch's last mail may come while the next begins

        def post(mail: Mail) -> None:
            with one_at_a_time, lane:
                if (recording := self._waited()) is None:
                    deliver(mail)
                else:
                    recording.delivered(kind, epoch, mail, deliver)

        return post

    def _waited(self) -> Recording | None:
        """In a lane: the recording, after the pause in which one begins."""
        tap = self._dispatcher.tap
        if isinstance(tap, Gate):
            tap = tap.wait()
        return tap if isinstance(tap, Recording) else None

    def _begin(self, system: System, ports: Ports, file: TapeFile) -> Recording:
        """Nothing moves."""
        timers, jobs = self._dispatcher.pending()
        checkpoint, timers_made = None, 0
        if system.refs:
            pending = Pending(delivers=dict(self._posts))
            for timer in timers:
                if getattr(timer.callback, "__module__", "") == Context.__module__ and timer.callback is not None:
                    timers_made += 1
                    timer.number = timers_made
                    pending.timers[timers_made] = timer.callback
            for number, job in enumerate(jobs, 1):
                job.number = number
                pending.calls[number] = (job.begun, job.call, job.done)
            names = names_in(system, ports.reader, ports.status_writer, ports.backend)
            checkpoint = _without_collections(lambda: capture(system, names, pending))
        clock = self._dispatcher.clock
        header = Header(
            muster=self._version, python=platform.python_version(), began_s=clock.now(), began_wall_s=clock.wall(),
            fleet=graph_of(system.fleet.plain()), own=system.fleet.own_name,
            settings=graph_of(system.settings), checkpoint=checkpoint,
            timers_made=timers_made, jobs_made=len(jobs) if checkpoint is not None else 0,
        )  # fmt: skip
        if not file.put(line_of(header)):
            raise Unplain("the checkpoint alone is larger than a tape may be")
        self._recording = Recording(self._dispatcher, file, header, self._facts)
        self._recording.install()
        return self._recording


def _without_collections(make: Callable[[], T]) -> T:
    """Garbage collections while a million lists are made take as long as making them, and find nothing."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        return make()
    finally:
        if was_on:
            gc.enable()
