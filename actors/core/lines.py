"""From the bytes of a watch to its lines, with HTTP's chunks taken off on the way.

An API server sends each event as a chunk of its own, so that what a socket yields at once is thirty times a size and a line.
Such a line is not even copied: the size says where it ends, and a look at the bytes there that it is so. Where it is not
(a chunk that goes on, two events in one) the chunks are taken off one by one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

__all__ = ["LINE_BYTES_MAX", "BrokenBody", "ChunkedLines", "Cutter", "Lines"]

Line = bytes | memoryview
"""One line, or a view of it, which keeps all the bytes it came with."""

LINE_BYTES_MAX = 4 * 1024 * 1024
"""Longest watch line. An object has at most about 1.5 MiB in etcd; escaped JSON can double it."""
_HEAD_BYTES_MAX = 4096
"""Longest line before a chunk. A size has a few digits; extensions may follow it, though nobody sends any."""
_CRLF = b"\r\n"
_SIZE = re.compile(rb"([0-9a-fA-F]{1,12})[ \t]*(?:;.*)?\r?\n", re.DOTALL)


class BrokenBody(ValueError):
    """What should be a chunked body is none."""


class Cutter(Protocol):
    """What cuts a body into lines."""

    @property
    def skipped(self) -> int:
        """How many lines were too long."""

    def feed(self, chunk: bytes) -> Sequence[Line]:
        """The lines that ``chunk`` completes, without their newlines."""


class Lines:
    """Cuts a byte stream into complete lines. What follows the last newline waits; a line beyond the limit is skipped."""

    def __init__(self, line_bytes_max: int = LINE_BYTES_MAX) -> None:
        self._max = line_bytes_max
        self._parts: list[bytes] = []
        self._size = 0
        self._skipped = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that ``chunk`` completes. O(len(chunk)), however long the line that waits."""
        lines = chunk.split(b"\n")
        last = lines.pop()
        if lines and self._size:
            self._keep(lines[0])
            if self._size <= self._max:
                lines[0] = b"".join(self._parts)
            else:
                del lines[0]
            self._parts, self._size = [], 0
        if last:
            self._keep(last)
        return lines

    @property
    def skipped(self) -> int:
        """How many lines were too long."""
        return self._skipped

    @property
    def waiting(self) -> bool:
        """Whether a line has begun and not ended."""
        return self._size > 0

    def _keep(self, part: bytes) -> None:
        before, self._size = self._size, self._size + len(part)
        if self._size <= self._max:
            self._parts.append(part)
        elif before <= self._max:
            self._parts = []
            self._skipped += 1


class ChunkedLines:
    """Cuts a body in HTTP/1.1's chunked coding (RFC 9112 §7.1) into complete lines. ``ended``: its last chunk has come."""

    def __init__(self, line_bytes_max: int = LINE_BYTES_MAX) -> None:
        self._lines = Lines(line_bytes_max)
        self._head = b""  # of a size's line, as far as it has come
        self._left = 0  # bytes of the present chunk still to come, its closing CRLF included
        self.ended = False

    @property
    def skipped(self) -> int:
        """How many lines were too long."""
        return self._lines.skipped

    def feed(self, chunk: bytes) -> list[Line]:
        """The lines that these bytes complete. Raises ``BrokenBody``."""
        lines: list[Line] = []
        at = 0
        while at < len(chunk) and not self.ended:
            if not self._left and not self._head and not self._lines.waiting:
                at = _whole(chunk, at, lines)
                if at == len(chunk):
                    break
            if not self._left:
                at = self._begin(chunk, at)
            at = self._go_on(chunk, at, lines)
        return lines

    def _begin(self, chunk: bytes, at: int) -> int:
        """Read a chunk's size; where its line is not complete it waits."""
        end = chunk.find(b"\n", at) + 1
        self._head += chunk[at : end or len(chunk)]
        if len(self._head) > _HEAD_BYTES_MAX:
            raise BrokenBody(f"a chunk of the body begins with {self._head[:40]!r}, expected its size")
        if not end:
            return len(chunk)
        found, head = _SIZE.match(self._head), self._head
        if found is None:
            raise BrokenBody(f"a chunk of the body begins with {head[:40]!r}, expected its size")
        self._head = b""
        size = int(found[1], 16)
        self.ended = size == 0
        self._left = size + 2 if size else 0
        return end

    def _go_on(self, chunk: bytes, at: int, lines: list[Line]) -> int:
        """Take as much of the present chunk as is there."""
        data = chunk[at : at + max(0, self._left - 2)]
        if data:
            lines += self._lines.feed(data)
            at, self._left = at + len(data), self._left - len(data)
        if self._left > 2:
            return at
        end = chunk[at : at + self._left]
        if not _CRLF[2 - self._left :].startswith(end):
            raise BrokenBody(f"a chunk of the body ends with {end!r}, expected CRLF")
        self._left -= len(end)
        return at + len(end)


def _whole(chunk: bytes, at: int, lines: list[Line]) -> int:
    """Add the lines that are each exactly one chunk, from a chunk's beginning on; where that ends to be so."""
    view = memoryview(chunk)
    try:
        while True:
            begin = chunk.find(b"\n", at) + 1
            end = begin + int(chunk[at:begin], 16)  # an incomplete head is read wrongly, and found out below
            if chunk.find(b"\n", begin) != end - 1 or not chunk.startswith(_CRLF, end):
                return at
            lines.append(view[begin : end - 1])
            at = end + 2
    except (
        ValueError
    ):  # nothing is left, or a size with an extension, or none at all: whoever reads it by itself will say
        return at
