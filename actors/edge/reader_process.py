"""One kind, read by a process of its own: the operator's side of it.

Beside one busy Python thread a reader *thread* gets a tenth of its speed, so large kinds are read elsewhere and only what is
material comes here. A thread per process does everything: it starts the process, writes commands, reads frames, delivers, and
begins anew after a death. Callers (dispatcher workers) only note what they want and wake it, so they never wait for a pipe.

The process holds nothing that cannot be had again. When it dies (ended, killed, silent for ``HUNG_S``, a frame that nobody can
read) the watcher hears that its stream is down, and after a backoff another process lists the kind under the same epoch: its
first mail replaces, and no list older than what was seen is believed. What is lost are the heartbeat clocks: first sights start
them anew, by the rule of ``core.intake`` for any start.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import msgspec
from attrs import define, frozen

from ..core.events import ReaderDied, ReaderStarted
from ..core.model import ParentKey
from ..core.ports import Clock, Facts, Objects, Random, StreamChanged
from ..core.records import Entries
from ..core.restarts import Budget, RestartPolicy
from .outbox import Mail
from .reader_wire import (
    Arriving,
    Begin,
    Changed,
    Dying,
    FrameError,
    Frames,
    Part,
    Piece,
    Pulse,
    Relist,
    Report,
    Setup,
    Shared,
    Timeouts,
    Told,
    frame_of,
    report_of,
)

__all__ = ["HUNG_S", "ReaderProcess"]

HUNG_S = 15.0
"""A process that pulses every second and has said nothing for so long is given up. A list of a million holds it for a few."""
START_S = 60.0
"""… and so long for the first pulse: a plugin that fetches credentials may be slow."""
READ_BYTES = 256 * 1024
PIPE_BYTES = 256 * 1024
"""What a pipe is asked to hold (Linux; 64 kB by default): fewer, larger reads while this process is busy."""
_LOOK_S = 1.0
_GAP_MAX_S = 2.0  # of silence, counted at one look: while *we* were stopped or busy, nobody else was silent
_ENDS_S = 1.0  # for a process whose pipe has ended to have ended, too
_KILLED_S = 5.0
_TIMEOUTS_IN_FRAME = 10_000
_CURES = {
    signal.SIGKILL: "usually it was out of memory: see the pod's last state and its limit",
    signal.SIGSEGV: "a bug of a library: see standard error",
}
_RESTARTS = RestartPolicy(restarts_max=1_000_000)  # the backoff only: reading is never given up
_BLOCKED = (signal.SIGINT, signal.SIGTERM)
_BOOT = f"import sys; sys.path[:] = sys.argv[2:]; from {__package__}.reader_child import main; main()"

Deliver = Callable[[Mail], None]


@frozen
class _Death:
    """Why a process is no more: ``reason`` as in ``ReaderDied``, the rest in words with the cure."""

    reason: str
    message: str


@frozen
class _Run:
    """One start of the kind."""

    epoch: int
    deliver: Deliver


@define(eq=False)
class _Wishes:
    """What callers want, until the thread has sent it. Bounded by the number of parents."""

    run: _Run | None = None
    begin: bool = False
    relist: bool = False
    closing: bool = False


class ReaderProcess:
    """Reads ``setup.kind`` in a process that lives from ``start`` to ``close``. All methods but ``join`` return at once."""

    def __init__(self, setup: Setup, *, facts: Facts, clock: Clock, random: Random, hung_s: float = HUNG_S) -> None:
        self.kind = setup.kind
        self.pulse = Pulse()
        """The latest one of this process, all zeros at first."""
        self._pulsed_s = 0.0
        self.pid = 0
        self.deaths = 0
        self._setup, self._facts, self._clock, self._random = setup, facts, clock, random
        self._hung_s = hung_s
        self._lock = threading.Lock()  # held for some instructions at a time
        self._wishes = _Wishes()
        self._timeouts: dict[ParentKey, float] = {}
        self._untold: dict[ParentKey, None] = {}
        self._alarm: int | None = None  # a descriptor to write to: wakes the thread
        self._thread: threading.Thread | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._shared = Shared()
        self._arriving: Arriving | None = None
        self._seen = 0  # up to which version: the next process believes no list that is older

    # --- callers ------------------------------------------------------------------------------------------------------
    def start(self, epoch: int, deliver: Deliver) -> None:
        """See ``Reader.start``."""
        with self._lock:
            if self._wishes.closing:
                return
            self._wishes.run, self._wishes.begin, self._wishes.relist = _Run(epoch, deliver), True, False
            if self._thread is None:
                self._thread = threading.Thread(target=self._live, name=f"reader-{self.kind}", daemon=True)
                self._thread.start()
            self._wake()

    def set_timeout(self, parent: ParentKey, timeout_s: float | None) -> None:
        """See ``Reader.set_timeout``."""
        with self._lock:
            if timeout_s is None:
                self._timeouts.pop(parent, None)
            else:
                self._timeouts[parent] = timeout_s
            self._untold[parent] = None
            self._wake()

    def relist(self) -> None:
        """See ``Reader.relist``."""
        with self._lock:
            self._wishes.relist = True
            self._wake()

    def timeouts(self) -> dict[ParentKey, float]:
        """A copy of those in force."""
        with self._lock:
            return dict(self._timeouts)

    def close(self) -> None:
        """Have the process end."""
        with self._lock:
            self._wishes.closing = True
            self._wake()

    def join(self, timeout_s: float) -> None:
        """Wait for the end of the process and the thread; the process is killed in any case."""
        thread = self._thread
        if thread is None or thread is threading.current_thread():
            return
        thread.join(timeout_s)
        process = self._process
        if thread.is_alive() and process is not None:
            process.kill()

    def statistics(self) -> dict[str, Any]:
        """As ``KubeReader.statistics`` of one kind, up to a second old; and the process itself."""
        pulse, since_s = self.pulse, self._clock.now() - self._pulsed_s
        return {
            "objects": pulse.objects, "version": pulse.version, "synced": pulse.synced,
            "age_s": None if pulse.age_s is None else pulse.age_s + since_s, "pid": self.pid, "deaths": self.deaths,
        }  # fmt: skip

    def _wake(self) -> None:
        """The lock is held."""
        if self._alarm is not None:
            with contextlib.suppress(BlockingIOError):  # then it has been woken already
                os.write(self._alarm, b"!")

    # --- the thread: one process after the other ----------------------------------------------------------------------
    def _live(self) -> None:
        # A process begins with the signal mask of the thread that starts it: none of these can end it before it is ready.
        signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED)
        heard, alarm = os.pipe()
        os.set_blocking(heard, False)
        os.set_blocking(alarm, False)
        with self._lock:
            self._alarm = alarm
        budget = Budget(_RESTARTS)
        try:
            while not self._wishes.closing:
                began_s = self._clock.now()
                death = self._one_life(heard)
                if death is not None:
                    uptime_s = self._clock.now() - began_s
                    _, retry_s = budget.died(self._clock.now(), uptime_s, self._random)
                    self._tell_death(death, retry_s)
                    self._rest(heard, retry_s)
        finally:
            with self._lock:
                self._alarm = None
            os.close(heard)
            os.close(alarm)

    def _one_life(self, heard: int) -> _Death | None:
        """Start a process and serve it to its end; None when we wished for the end."""
        self.pulse, self.pid, self._arriving = Pulse(), 0, None
        try:
            process = self._process = _spawn(self.kind)
        except OSError as error:
            return _Death(
                "not started", f"{sys.executable}: {error}; allow the operator another process and its memory"
            )
        self.pid = process.pid
        self._facts(ReaderStarted(kind=self.kind, pid=process.pid))
        try:
            return self._serve(process, heard)
        except FrameError as error:
            return _Death("garbled", f"{error}; a bug: please report it")
        except Exception as error:  # noqa: BLE001 - a bug of ours, or of whoever takes the mail: forget everything, list again
            return _Death("crashed", f"{type(error).__name__}: {error}; a bug: please report it")
        finally:
            _end(process)

    def _serve(self, process: subprocess.Popen[bytes], heard: int) -> _Death | None:
        assert process.stdin is not None
        assert process.stdout is not None
        commands, reports = process.stdin.fileno(), process.stdout.fileno()
        os.set_blocking(commands, False)
        frames, to_send = Frames(), bytearray(self._first_words())
        buffer = memoryview(
            bytearray(READ_BYTES)
        )  # for all reads: fresh ones of that size cost more than what is in them
        quiet_s, looked_s, limit_s = 0.0, self._clock.now(), max(START_S, self._hung_s)
        with selectors.DefaultSelector() as selector:
            selector.register(heard, selectors.EVENT_READ)
            selector.register(reports, selectors.EVENT_READ)
            waits_to_write = False
            while not self._wishes.closing:
                if not to_send:
                    to_send += self._next_words()
                _write_some(commands, to_send)
                if bool(to_send) != waits_to_write:
                    waits_to_write = bool(to_send)
                    if waits_to_write:
                        selector.register(commands, selectors.EVENT_WRITE)
                    else:
                        selector.unregister(commands)
                ready = {key.fd for key, _ in selector.select(_LOOK_S)}
                if heard in ready:
                    _drain(heard)
                if reports not in ready:
                    now = self._clock.now()
                    quiet_s += min(now - looked_s, _GAP_MAX_S)
                    looked_s = now
                    if quiet_s >= limit_s:
                        return _Death("hung", f"no sign of life for {quiet_s:.0f} s; is the machine overloaded?")
                    continue
                chunk = buffer[: os.readv(reports, [buffer])]
                if not chunk:
                    ended = _how_it_ended(process, _ENDS_S)
                    if ended is None:
                        frames.end()
                    return ended or _Death("ended", "it closed its pipe; a bug: please report it")
                for frame in frames.feed(chunk):
                    report = report_of(frame)
                    if isinstance(report, Dying):
                        return _Death("ended", report.message)
                    self._report(report)
                    limit_s = self._hung_s
                quiet_s, looked_s = 0.0, self._clock.now()
        return None

    def _report(self, report: Report) -> None:
        run = self._wishes.run
        assert run is not None
        if isinstance(report, (Part, Piece)):
            self._seen = max(self._seen, report.version)
        if isinstance(report, Part):
            self._deliver(report.entries(self.kind, self._shared), report, run)
        elif isinstance(report, Piece):
            self._piece(report, run)
        elif isinstance(report, Pulse):
            self.pulse, self._seen = report, report.version
        elif isinstance(report, Told):
            self._facts(report.fact())
        elif isinstance(report, Changed) and report.epoch == run.epoch:
            run.deliver(report.mail(self.kind))

    def _piece(self, piece: Piece, run: _Run) -> None:
        """Pieces of a list gather until the last one: it is one mail, or nothing when another begins meanwhile."""
        if piece.first:
            self._arriving = Arriving(self.kind, self._shared)
        elif self._arriving is None:
            raise FrameError("a piece of a list without its beginning")
        self._arriving.add(piece)
        if piece.last:
            records, self._arriving = self._arriving.records(), None
            self._deliver(records, piece, run)

    def _deliver(self, entries: Entries, of: Part | Piece, run: _Run) -> None:
        if of.epoch == run.epoch:
            run.deliver(Objects(kind=self.kind, entries=entries, replace=isinstance(of, Piece), epoch=of.epoch))

    def _first_words(self) -> bytes:
        """What a new process must know: all of it, whatever an earlier one was told."""
        with self._lock:
            self._untold = dict.fromkeys(self._timeouts)
            self._wishes.begin, self._wishes.relist = True, False
        return frame_of(msgspec.structs.replace(self._setup, seen=self._seen)) + self._next_words()

    def _next_words(self) -> bytes:
        """What has been asked since: timeouts first, because a list is judged by them."""
        with self._lock:
            if not (self._untold or self._wishes.begin or self._wishes.relist):
                return b""
            untold, self._untold = list(self._untold), {}
            seconds = [(parent, self._timeouts.get(parent)) for parent in untold]
            run = self._wishes.run if self._wishes.begin else None
            relist = self._wishes.relist
            self._wishes.begin = self._wishes.relist = False
        starts = range(0, len(seconds), _TIMEOUTS_IN_FRAME)
        words = [frame_of(Timeouts(seconds[start : start + _TIMEOUTS_IN_FRAME])) for start in starts]
        if run is not None:
            words.append(frame_of(Begin(run.epoch)))
        if relist:
            words.append(frame_of(Relist()))
        return b"".join(words)

    def _tell_death(self, death: _Death, retry_s: float) -> None:
        self.deaths += 1
        message = f"the process that reads {self.kind}: {death.message}; another one is started by itself"
        self._facts(ReaderDied(kind=self.kind, pid=self.pid, reason=death.reason, message=message, retry_s=retry_s))
        run = self._wishes.run
        if run is not None:
            with contextlib.suppress(
                Exception
            ):  # as a death of the mail's taker: the next list is for whoever is there then
                run.deliver(
                    StreamChanged(kind=self.kind, epoch=run.epoch, up=False, reason="ReaderDied", message=message)
                )

    def _rest(self, heard: int, seconds: float) -> None:
        until_s = self._clock.now() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(heard, selectors.EVENT_READ)
            while not self._wishes.closing and (left_s := until_s - self._clock.now()) > 0:
                selector.select(left_s)
                _drain(heard)


def _spawn(kind: str) -> subprocess.Popen[bytes]:
    """A process of this interpreter that finds its modules where this one does, and nowhere else (``-P``: not in ``.``)."""
    process = subprocess.Popen(  # noqa: S603 - this interpreter and our own words
        [sys.executable or "", "-P", "-c", _BOOT, f"muster-reader-{kind}", *map(str, sys.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    )
    assert process.stdout is not None
    with contextlib.suppress(OSError, AttributeError, ImportError):  # not Linux, or beyond what a user may have
        import fcntl

        fcntl.fcntl(process.stdout.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return process


def _end(process: subprocess.Popen[bytes]) -> None:
    """No process and no descriptor of it is left. Its own work needs no farewell."""
    with contextlib.suppress(OSError):
        process.kill()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    with contextlib.suppress(subprocess.TimeoutExpired):  # a kernel that cannot end it now reaps it later
        process.wait(_KILLED_S)


def _how_it_ended(process: subprocess.Popen[bytes], within_s: float) -> _Death | None:
    """Told by its exit code; None while it runs."""
    try:
        code = process.wait(within_s)
    except subprocess.TimeoutExpired:
        return None
    if code >= 0:
        return _Death("ended", f"it ended with exit code {code}; see standard error")
    try:
        number = signal.Signals(-code)
    except ValueError:
        return _Death("killed", f"it was killed by signal {-code}")
    cure = _CURES.get(number)
    return _Death("killed", f"it was killed by {number.name}" + (f"; {cure}" if cure else ""))


def _write_some(descriptor: int, data: bytearray) -> None:
    """As much as the pipe takes; what was written is gone from ``data``. A broken pipe shows when its reports are read."""
    try:
        while data:
            del data[: os.write(descriptor, data)]
    except BlockingIOError:
        return
    except BrokenPipeError:
        data.clear()


def _drain(descriptor: int) -> None:
    with contextlib.suppress(BlockingIOError):
        while os.read(descriptor, 4096):
            pass
