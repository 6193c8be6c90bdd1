"""Subjects of a benchmark: the operator, or a peer, as the command that its users run, measured from outside.

CPU time and memory are those of the whole process tree, because readers may be processes of their own. Memory is the sum of
RSS: pages that two processes share count twice, which is the pessimistic view.
"""

from __future__ import annotations

import compileall
import functools
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from bench.load.handle import ROOT

_CALM_S = 0.5
EXTRA_FLAGS: list[str] = []
"""Given to the operator in every run ("python -m bench.run … --with"), to compare settings with each other."""
MUSTER = (sys.executable, str(ROOT / "supervisor.py"))
NO_BACKEND = "http://127.0.0.1:9"
"""For runs in which nothing is repaired."""


class Subject:
    """A command and what it costs. Use as a context; ``stop`` is SIGTERM."""

    def __init__(self, command: list[str], folder: Path, env: dict[str, str] | None = None) -> None:
        self.output = folder / "subject.log"
        self.began_s = time.monotonic()
        with self.output.open("w") as file:
            self._process = subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, env=env)
        self._root = psutil.Process(self._process.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self.stop()
        if error is not None:
            lines = self.output.read_text(errors="replace").splitlines()
            print("\n".join(lines[-15:]), file=sys.stderr)

    def cpu_s(self) -> float:
        """CPU seconds so far, children included, whether they run or have ended."""
        spent = 0.0
        for each in self._tree():
            try:
                times = each.cpu_times()
            except psutil.NoSuchProcess:
                continue
            spent += times.user + times.system + times.children_user + times.children_system
        return spent

    def rss_bytes(self) -> int:
        """Resident now."""
        return sum(each.memory_info().rss for each in self._tree())

    def peak_bytes(self) -> int:
        """The highest since its start: each process's own highest, added up, as if they had been there together."""
        return sum(_high_water_bytes(each.pid) for each in self._tree())

    def threads(self) -> int:
        """In the whole tree."""
        return sum(each.num_threads() for each in self._tree())

    def calm(self, timeout_s: float = 120.0) -> None:
        """Wait until it has used no more than 2 % of a core for half a second."""
        deadline = time.monotonic() + timeout_s
        before = self.cpu_s()
        while time.monotonic() < deadline:
            time.sleep(_CALM_S)
            now = self.cpu_s()
            if now - before <= 0.02 * _CALM_S + 0.005:
                return
            before = now
        raise TimeoutError(f"{self._process.args!r} is not calm after {timeout_s:.0f} s")

    def running(self) -> bool:
        return self._process.poll() is None

    def stop(self, timeout_s: float = 60.0) -> float:
        """SIGTERM; the seconds until it was gone."""
        began_s = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        return time.monotonic() - began_s

    def _tree(self) -> list[psutil.Process]:
        try:
            return [self._root, *self._root.children(recursive=True)]
        except psutil.NoSuchProcess as error:
            raise RuntimeError(f"{self._process.args!r} has ended with code {self._process.poll()}") from error


@functools.cache
def _compiled() -> None:
    """The operator's modules as bytecode, as ``pip install`` and the Dockerfile leave them.

    A checkout has none where ``PYTHONDONTWRITEBYTECODE`` is set, and then each process that starts compiles what it imports:
    0.27 CPU s of an operator's start and 0.12 of a reader process', which no user pays.
    """
    compileall.compile_dir(ROOT / "actors", quiet=1)


def _high_water_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    return 0


def muster(
    kubeconfig: Path, folder: Path, *flags: str, backend_url: str = "", entry: Sequence[str] = MUSTER
) -> Subject:
    """The operator as its users run it (by the command ``entry``); without a backend it counts and repairs nothing."""
    _compiled()
    repairs = ["--backend-url", backend_url or NO_BACKEND, "--repair-enabled", "true" if backend_url else "false"]
    return Subject(
        [*entry, "run", "--kubeconfig", str(kubeconfig), *repairs,
         "--listen", "off", "--log-level", "warning", "--cold-start", "0s", "--max-unhealthy", "100%",
         "--max-unhealthy-fleet", "100%", *flags, *EXTRA_FLAGS],
        folder,
    )  # fmt: skip
