"""A request and its whole answer on a connection of urllib3's pool, past the rest of urllib3.

A status patch is a few hundred bytes each way, and urllib3 with ``http.client`` spends five times on it what the socket does: a
URL taken apart, three objects for retries and timeouts, headers written one by one and read by the parser for e-mail. Here the
request leaves in one piece and ``httptools`` reads the answer. Connections (TLS, certificates, keepalive, which of them is idle
and which has died) stay urllib3's, and so does whatever is read while it comes: lists, watches, and all that passes a proxy.

Nothing is retried or redirected. Measured: ``docs/performance.md``.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from typing import Any

import httptools
import urllib3
from attrs import frozen
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ProtocolError, SSLError

__all__ = ["PlainPool", "TlsPool", "Whole", "forget_socket", "sever"]

_PIECE_BYTES = 64 * 1024

_SOCKETS: dict[int, socket.socket] = {}
"""The socket of each thread's latest request: the only way to end a read that blocks. One entry per thread."""


def sever(thread: int) -> None:
    """Break the connection of that thread's latest request, so that a blocked read returns. Any thread may."""
    sock = _SOCKETS.get(thread)
    if sock is not None:
        with contextlib.suppress(OSError):  # it has ended by itself
            socket.socket.shutdown(sock, socket.SHUT_RDWR)  # past SSLSocket.shutdown, which clears what a reader uses


def forget_socket() -> None:
    """This thread's latest request is over: from here on another may use its socket."""
    _SOCKETS.pop(threading.get_ident(), None)


@frozen
class Whole:
    """An answer, good or bad, read to its end. ``headers`` by their names in lower case, the last of each."""

    status: int
    reason: str
    headers: dict[str, str]
    body: bytes


class _Answer:
    """What the parser says of one answer. Interim ones (1xx) are passed over."""

    __slots__ = ("_headers", "_parser", "_pieces", "_reason", "reusable", "whole")

    def __init__(self) -> None:
        self.whole: Whole | None = None
        self.reusable = False  # whether the connection may take another request
        self._begin()
        self._parser = httptools.HttpResponseParser(self)

    def _begin(self) -> None:
        self._reason = b""
        self._headers: dict[str, str] = {}
        self._pieces: list[bytes] = []

    def feed(self, piece: bytes) -> None:
        """The next bytes off the socket. ``ProtocolError`` where they are no HTTP."""
        try:
            self._parser.feed_data(piece)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            raise ProtocolError(f"the answer is not HTTP: {error}") from error

    def end(self) -> None:
        """The connection has ended: the end of a body that nothing else ends (RFC 9112 §6.3), else ``ProtocolError``."""
        headers = self._headers
        framed = "content-length" in headers or "chunked" in headers.get("transfer-encoding", "").lower()
        if not headers or framed:
            raise ProtocolError("the connection ended before the answer did")
        self.on_message_complete()

    # --- called by the parser ---
    def on_status(self, text: bytes) -> None:
        self._reason += text

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, piece: bytes) -> None:
        self._pieces.append(piece)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            self._begin()
        elif self.whole is None:
            self.whole = Whole(status, self._reason.decode("latin-1"), self._headers, b"".join(self._pieces))
            self.reusable = self._parser.should_keep_alive()  # which is known here only


class _PlainConnection(HTTPConnection):
    def request(self, *args: Any, **kwargs: Any) -> None:
        super().request(*args, **kwargs)
        if self.sock is not None:
            _SOCKETS[threading.get_ident()] = self.sock


class _TlsConnection(_PlainConnection, HTTPSConnection):
    """The same over TLS: ``HTTPSConnection`` comes next."""


class PlainPool(urllib3.HTTPConnectionPool):
    """Connections to one server; what ``exchange`` leaves usable is kept for the next one."""

    ConnectionCls = _PlainConnection

    def exchange(self, request: bytes, *, connect_s: float, read_s: float) -> Whole:
        """Send ``request``, head and body; block until the answer has been read. Any thread.

        ``read_s`` is for each wait. Raises what urllib3 raises: ``HTTPError``, ``OSError``.
        """
        connection = self._get_conn()
        answer = _Answer()
        try:
            if connection.is_closed:
                connection.timeout = connect_s
                connection.connect()
            sock: socket.socket = vars(connection)["sock"]  # urllib3's stubs leave it out
            _SOCKETS[threading.get_ident()] = sock
            sock.settimeout(read_s)
            sock.sendall(request)
            while answer.whole is None:
                if piece := sock.recv(_PIECE_BYTES):
                    answer.feed(piece)
                else:
                    answer.end()
                    break
        except (ssl.SSLError, ssl.CertificateError) as error:
            raise SSLError(error) from error
        finally:
            forget_socket()
            if not answer.reusable:
                connection.close()
            self._put_conn(connection)
        assert answer.whole is not None
        return answer.whole


class TlsPool(PlainPool, urllib3.HTTPSConnectionPool):
    """The same over TLS."""

    ConnectionCls = _TlsConnection
