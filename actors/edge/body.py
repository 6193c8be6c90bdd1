"""The body of a watch as it comes off the socket, past urllib3.

urllib3 takes a chunked body apart chunk by chunk, which is event by event: three reads of a buffered file and a handful of
calls for each. Here whatever the socket has is read at once, and ``ChunkedLines`` takes it apart in bulk.
The status line and the headers, TLS, proxies and timeouts stay urllib3's.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BufferedReader

import urllib3

from ..core.lines import ChunkedLines

__all__ = ["chunked_body", "pieces"]

PIECE_BYTES = 64 * 1024
"""Read at once. Larger reads cost more through TLS (RUNTIME: 256 kB 18.7 µs an event, 64 kB 5.0)."""


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
