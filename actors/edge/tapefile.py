"""The file of a tape: lines are queued by whoever records, and written by a thread of its own.

A disk that stalls must not hold up an actor. What waits is bounded; beyond that the tape ends. The file is new, readable
by its owner only, and never a link to somebody else's.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from pathlib import Path

from attrs import frozen

WAITING_BYTES_MAX = 64 << 20  # what a stalled disk may cost in memory; arbitrary
FINISH_BYTES = 4096  # kept free for the last line


@frozen(kw_only=True)
class TapeLimits:
    """Where a tape ends by itself. 10 million entries are some hours of a busy fleet; arbitrary, as the bytes are."""

    bytes_max: int = 256 << 20
    entries_max: int = 10_000_000


class TapeFile:
    """One tape on its way to the disk. OSError when the file cannot be made. ``size`` in bytes, the queued ones included.

    ``failed`` says why the disk did not take what was queued, "" while it does.
    """

    def __init__(self, path: str, limits: TapeLimits) -> None:
        self.path = path
        self.size = 0
        self.why = ""  # set when ``put`` has refused a line
        self._limits = limits
        self._lines = 0
        self._waiting = 0
        self.failed = ""
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._descriptor = self._open(path)
        self._thread = threading.Thread(target=self._write_all, name="tape", daemon=True)
        self._thread.start()

    def put(self, line: bytes) -> bool:
        """Queue a line; False, and ``why``, when the tape must end before it. One thread at a time."""
        if self.failed:
            self.why = f"cannot write: {self.failed}"
        elif self.size + len(line) > self._limits.bytes_max - FINISH_BYTES:
            self.why = f"full: {self._limits.bytes_max / (1 << 20):.3g} MiB are the limit"
        elif self._lines > self._limits.entries_max:
            self.why = f"full: {self._limits.entries_max} entries are the limit"
        elif self._waiting > WAITING_BYTES_MAX:
            self.why = "the disk is too slow"
        else:
            self._add(line)
            self._lines += 1
            return True
        return False

    def finish(self, line: bytes) -> None:
        """The last line, for which there is always room."""
        self._add(line)
        self._queue.put(None)

    def join(self, timeout_s: float) -> None:
        """Wait until everything is written, once it is finished."""
        self._thread.join(timeout_s)

    def discard(self) -> None:
        """There is no tape after all."""
        self._queue.put(None)
        self._thread.join(1.0)
        with contextlib.suppress(OSError):
            Path(self.path).unlink()

    def _open(self, path: str) -> int:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)

    def _add(self, line: bytes) -> None:
        self.size += len(line)
        self._waiting += len(line)
        self._queue.put(line)

    def _write_all(self) -> None:
        try:
            with os.fdopen(self._descriptor, "wb", buffering=1 << 16) as file:
                while (line := self._queue.get()) is not None:
                    file.write(line)
                    self._waiting -= len(line)  # a race may lose some bytes of the bound: it is a rough one
                    if self._queue.empty():
                        file.flush()
        except OSError as error:
            self.failed = error.strerror or str(error)
