"""The demo's other processes: they say when they are ready, and none of them outlives us.

Each holds our end of a pipe as its standard input and ends when that closes, so it ends with us however we end. Each is in a
session of its own, because Ctrl-C at a terminal goes to a whole process group, and the servers must outlive the operator's
drain. What they say goes to files, because a pipe that nobody reads would stop them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

import click

START_S = 20.0  # who is not ready by then has a problem; a loaded machine takes some seconds
STOP_S = 3.0


class Interrupt:
    """Remembers SIGINT and SIGTERM while the operator is not there to take them; ``asked`` says whether one came."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.asked = True


class Interrupted(Exception):
    """A signal came before the operator was started."""


class Cast:
    """The other processes, by name. What they say is in ``folder``. Leaving it ends them, last started first."""

    def __init__(self, folder: Path, interrupt: Interrupt) -> None:
        self._folder = folder
        self._interrupt = interrupt
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in reversed(list(self._running)):
            self.stop(name)

    def start(self, name: str, module: str, *arguments: object) -> None:
        """Start ``module`` of our own package (by its place, not by a name that another package could have, too)."""
        package = (__package__ or "").rpartition(".")[0]
        home = str(Path(__file__).parents[2])
        path = os.pathsep.join(each for each in (home, os.environ.get("PYTHONPATH", "")) if each)
        with (self._folder / f"{name}.out").open("wb") as out, (self._folder / f"{name}.err").open("wb") as err:
            self._running[name] = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-P", "-m", f"{package}.{module}", *map(str, arguments)],
                stdin=subprocess.PIPE, stdout=out, stderr=err, start_new_session=True,
                env={**os.environ, "PYTHONPATH": path},
            )  # fmt: skip

    def said(self, name: str, word: str) -> str | None:
        """What came after ``word`` on its output, to the end of that line; None while it has not said that."""
        for text in (self._folder / f"{name}.out").read_text("utf-8", "replace").splitlines():
            if text.split(" ", 1)[0] == word:
                return text.partition(" ")[2]
        return None

    def wait(self, name: str, word: str) -> str:
        """Wait until it says ``word``. Interrupted, or ClickException where it ends or says nothing."""
        until_s = time.monotonic() + START_S
        while (found := self.said(name, word)) is None:
            if self._interrupt.asked:
                raise Interrupted
            if name in self.ended() or time.monotonic() > until_s:
                raise click.ClickException(self.trouble(name, "did not start"))
            time.sleep(0.02)
        return found

    def ended(self) -> list[str]:
        """Who has ended by itself."""
        return [name for name, process in self._running.items() if process.poll() is not None]

    def trouble(self, name: str, what: str) -> str:
        """A sentence with the end of what it wrote to stderr."""
        said = (self._folder / f"{name}.err").read_text("utf-8", "replace").strip()
        return f"the demo's {name} process {what}" + (f":\n{said[-2000:]}" if said else "")

    def stop(self, name: str) -> None:
        """End it by closing its standard input; by SIGKILL where that does not help."""
        process = self._running.pop(name, None)
        if process is None:
            return
        assert process.stdin is not None
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
