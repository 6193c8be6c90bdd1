"""The process that reads one kind: an ordinary ``KubeReader``, whose mail goes over a pipe instead of to an actor.

Started by ``reader_process`` and by nobody else. Commands come over standard input and reports leave over standard output, so
that the end of either end is seen: when the operator is gone, even by kill -9, the input ends, and so does this process. It
ignores SIGINT and SIGTERM: a Ctrl-C at a terminal reaches the whole group, but the operator says when reading ends.

Threads: this one obeys commands, one writes what is in the outbox, the others are the reader's own. Whatever dies of an error
ends the process, because the operator can start another, and cannot mend this one.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import threading
import time
import traceback
from types import FrameType

from ..core.errors import MusterError
from ..core.graph import value_of
from ..core.ports import Objects, StreamChanged
from .heap import Heap, give_back
from .kube import KubeClient
from .outbox import Mail, Outbox, Taken
from .reader import KubeReader
from .reader_wire import (
    Begin,
    Command,
    Dying,
    FrameError,
    Frames,
    Pulse,
    Relist,
    Report,
    Setup,
    Timeouts,
    changed,
    command_of,
    frame_of,
    parts_of,
    told,
)

__all__ = ["PULSE_S", "main"]

PULSE_S = 1.0
"""How often a process without news says that it lives."""
GATHER_S = 0.005
"""After mail has been sent, how long the next gathers: a flood goes in 200 frames a second, what comes alone at once. A frame
costs the operator some 30 µs, a record in it 0.5; and the quiet time of a parent is 20 times as long."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)
EXIT_DYING = 1
_READ_BYTES = 64 * 1024


def main() -> None:
    """Obey until the input ends; never returns."""
    commands, reports = _own_pipes()
    for number in SIGNALS:
        signal.signal(number, _ignore)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # blocked by who started us, until now
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    threading.excepthook = lambda death: _die(death.exc_value or death.exc_type())
    try:
        _obey_all(commands, reports)
    except FrameError as error:
        _die(error)
    except MusterError as error:  # the connection's settings, as a rule: in words, without a traceback
        with contextlib.suppress(OSError):
            _write_all(reports, Dying(str(error)))
        os._exit(EXIT_DYING)
    except BaseException as error:  # noqa: BLE001 - whatever it is, the operator starts another
        _die(error)
    os._exit(0)


def _obey_all(commands: int, reports: int) -> None:
    frames = Frames()
    child: ReadingChild | None = None
    while chunk := os.read(commands, _READ_BYTES):
        for frame in frames.feed(chunk):
            command = command_of(frame)
            if isinstance(command, Setup):
                child = ReadingChild(command, reports)
            elif child is None:
                raise FrameError("a command before the setup")
            else:
                child.obey(command)


class ReadingChild:
    """A reader of one kind, and the thread that writes its mail to ``reports`` (a descriptor)."""

    def __init__(self, setup: Setup, reports: int) -> None:
        self._kind, self._reports = setup.kind, reports
        self._outbox = Outbox(held=self._objects, relist=self._relist)
        self._heap = Heap(self._outbox.tell)
        self._reader = KubeReader(
            KubeClient(setup.kubeconfig or None, setup.context or None, facts=self._outbox.tell),
            value_of(setup.fleet),
            facts=self._heap.tell,
            namespace=setup.namespace,
            audit_s=setup.audit_s,
            watch_s=setup.watch_s,
            streamed_list=setup.streamed_list,
            seen={setup.kind: setup.seen},
        )
        threading.Thread(target=self._write, name="writer", daemon=True).start()

    def obey(self, command: Command) -> None:
        """Do what the operator asks. Returns at once."""
        if isinstance(command, Timeouts):
            for parent, timeout_s in command.seconds:
                self._reader.set_timeout(self._kind, parent, timeout_s)
        elif isinstance(command, Begin):
            self._reader.start(self._kind, command.epoch, self._outbox.put)
        elif isinstance(command, Relist):
            self._relist()
        else:
            raise FrameError("a second setup")

    def _objects(self) -> int:
        return int(self._reader.statistics()[self._kind]["objects"])

    def _version(self) -> int:
        return int(self._reader.statistics()[self._kind]["version"])

    def _relist(self) -> None:
        self._reader.relist(self._kind)

    # --- the writer ---------------------------------------------------------------------------------------------------
    def _write(self) -> None:
        try:
            pulse_at_s = time.monotonic()
            while True:
                sent = self._send(self._outbox.take(max(0.0, pulse_at_s - time.monotonic())))
                if any(isinstance(mail, Objects) and mail.replace for mail in sent):
                    sent = ()  # a list is as large as all that is kept, and not needed any more
                    give_back()
                elif sent:
                    time.sleep(GATHER_S)
                if time.monotonic() >= pulse_at_s:
                    _write_all(self._reports, Pulse(**self._reader.statistics()[self._kind]))
                    self._heap.tick()
                    pulse_at_s = time.monotonic() + PULSE_S
        except BrokenPipeError:  # nobody reads any more
            os._exit(0)

    def _send(self, taken: Taken) -> tuple[Mail, ...]:
        """All of it; the mail that there was."""
        for fact in taken.facts:
            _write_all(self._reports, told(fact))
        for mail in taken.mail:
            if isinstance(mail, StreamChanged):
                _write_all(self._reports, changed(mail))
                continue
            for frame in parts_of(mail, self._version()):
                _write_bytes(self._reports, frame)
                if self._outbox.superseded(mail.epoch):
                    break
        return taken.mail


def _write_all(reports: int, report: Report) -> None:
    _write_bytes(reports, frame_of(report))


def _write_bytes(reports: int, data: bytes) -> None:
    """All of it, however long the pipe is full."""
    left = memoryview(data)
    while left:
        left = left[os.write(reports, left) :]


def _own_pipes() -> tuple[int, int]:
    """Descriptors of the commands and the reports, away from 0 and 1: no print and no program that we start may meet them."""
    commands, reports = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    try:
        os.dup2(2, 1)
    except OSError:  # the operator has no standard error
        os.dup2(null, 1)
    os.close(null)
    return commands, reports


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """A handler and not SIG_IGN, which programs that we start (for credentials) would inherit."""


def _die(error: BaseException) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):  # no standard error
        traceback.print_exception(error)
    os._exit(EXIT_DYING)
