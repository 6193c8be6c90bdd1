"""What a benchmark holds of a load server: starts it, tells it words, ends it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[2]


class LoadServer:
    """A load server in a process of its own, with a kubeconfig in ``folder``. Use as a context."""

    def __init__(self, fleet: str, folder: Path, *, tls: bool = False) -> None:
        self.kubeconfig = folder / "kubeconfig"
        command = [sys.executable, "-m", "bench.load", "--fleet", fleet, "--kubeconfig", str(self.kubeconfig)]
        self._process = subprocess.Popen(
            [*command, *(["--tls"] if tls else [])], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.url = self._line().split()[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def tell(self, *words: object) -> dict[str, Any]:
        """One line of ``control.py``; its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(map(str, words)) + "\n")
        self._process.stdin.flush()
        found: dict[str, Any] = json.loads(self._line())
        if "error" in found:
            raise ValueError(found["error"])
        return found

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the load server has ended with code {self._process.wait(10)}")
        return line
