"""A program in a pseudo-terminal: type into it and read what it draws. For tests, and for sessions that are recorded."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping
from typing import Self

__all__ = ["Terminal", "lines_of"]

ROWS = 50
WITHIN_S = 40.0  # an answer takes milliseconds, and the start of Python on a loaded machine seconds


class Terminal:
    """One program, as wide as ``columns``; killed where it outlives the block that it is used in."""

    def __init__(self, command: list[str], columns: int, env: Mapping[str, str] | None = None) -> None:
        self.seen = ""
        """What has come and was not asked for yet."""
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", ROWS, columns, 0, 0))
        whole = {**os.environ, "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1", **(env or {})}
        whole.pop("COLUMNS", None)
        self.running = subprocess.Popen(  # noqa: S603 - the test's own words
            command, stdin=slave, stdout=slave, stderr=slave, env=whole, start_new_session=True
        )
        os.close(slave)
        self._master = master

    def until(self, pattern: str, within_s: float = WITHIN_S) -> str:
        """What has come since the last time, up to and with that; AssertionError where it does not come."""
        until_s = time.monotonic() + within_s
        while not (found := re.search(pattern, self.seen, re.DOTALL)):
            left_s = until_s - time.monotonic()
            assert left_s > 0, f"{pattern!r} did not come: {self.seen[-2000:]!r}"
            if select.select([self._master], [], [], left_s)[0]:
                try:
                    self.seen += os.read(self._master, 65536).decode(errors="replace")
                except OSError:
                    raise AssertionError(f"it ended before {pattern!r}: {self.seen[-2000:]!r}") from None
        before, self.seen = self.seen[: found.end()], self.seen[found.end() :]
        return before

    def type(self, text: str) -> None:
        """As if by a person. A carriage return is the return key."""
        os.write(self._master, text.encode())

    def end(self, within_s: float = 30.0) -> int:
        """Its exit code, waited for."""
        return self.running.wait(within_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        if self.running.poll() is None:
            self.running.kill()
            self.running.wait(10)
        os.close(self._master)


def lines_of(text: str) -> list[str]:
    """What was drawn, without colours and movements of the cursor."""
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    return [line.rstrip() for line in plain.replace("\r", "").split("\n")]
