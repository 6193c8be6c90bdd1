"""The body of a watch as it comes off the socket, past urllib3.

urllib3 takes a chunked body apart chunk by chunk, which is event by event: three reads of a buffered file and a handful of
calls for each. Here whatever the socket has is read at once, and ``ChunkedLines`` takes it apart in bulk.
The status line and the headers, TLS, proxies and timeouts stay urllib3's.
"""

from __future__ import annotations

import select
from collections.abc import Iterator
from io import BufferedReader

import urllib3

from ..core.lines import ChunkedLines

__all__ = ["GATHER_S", "Flood", "chunked_body", "pieces"]

PIECE_BYTES = 64 * 1024
"""Read at once. Larger reads cost more through TLS (RUNTIME: 256 kB 18.7 µs an event, 64 kB 5.0)."""
GATHER_S = 0.01
"""For how long the mail of a flood gathers: a tenth of a parent's quiet time. Longer costs those who wait more than it saves
(docs/performance.md, "A change")."""
_LARGE_BYTES = 16 * 1024
"""A piece so large was not alone: a whole record of TLS, or some events."""


def chunked_body(response: urllib3.BaseHTTPResponse) -> BufferedReader | None:
    """The file of a body in the chunked coding; None where the body is anything else, and urllib3 is to read it."""
    inner = getattr(response, "_fp", None)  # http.client's response, whose ``fp`` urllib3 reads chunks from, too
    file = getattr(inner, "fp", None)
    return file if getattr(response, "chunked", False) and isinstance(file, BufferedReader) else None


def pieces(response: urllib3.BaseHTTPResponse, file: BufferedReader | None, lines: ChunkedLines) -> Iterator[bytes]:
    """The body's bytes as they come; with a ``file`` its chunks are still on them, and ``lines`` says when the last has come.

    Raises what a socket raises; ``ConnectionError`` when the body breaks off.
    """
    if file is None:
        yield from response.stream(PIECE_BYTES, decode_content=False)
        return
    while not lines.ended:
        piece = file.read1(PIECE_BYTES)
        if not piece:
            raise ConnectionResetError("the connection ended inside the body")
        yield piece


class Flood:
    """Tells when what has come of a body may wait for more that is here already: never for what is not.

    Many small pieces of mail cost more than few large ones: each is a turn of the watcher, a message to each parent that it
    concerns, a turn of each of those, and the interpreter's lock handed over every time.
    """

    def __init__(self, file: BufferedReader | None) -> None:
        self._poll = None
        self._since_s: float | None = None
        if file is not None and hasattr(select, "poll"):
            self._poll = select.poll()
            self._poll.register(file.fileno(), select.POLLIN)

    def goes_on(self, piece: bytes, now: float) -> bool:
        """Whether the mail of ``piece``, read at ``now``, may wait for that of the next. Costs a system call where it may."""
        if len(piece) < _LARGE_BYTES or self._poll is None or not self._poll.poll(0):
            self._since_s = None
        elif self._since_s is None:
            self._since_s = now
        elif now - self._since_s >= GATHER_S:
            self._since_s = None
        return self._since_s is not None
