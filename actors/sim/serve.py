"""The HTTP that both embedded servers share: a small threaded server, JSON-lines logs, and a process's life.

One daemon thread per connection, HTTP/1.1 with keep-alive and chunked answers, and nothing else of HTTP: the standard
library's handler spends most of a request in its header parser, and these servers share two cores with the operator
that they are there to measure. Connections are objects that faults can silence or cut, which no framework offers.

Here (and in `serve_api`, `serve_backend`) are the only sockets, wall time and prints of `actors.sim`.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import ssl
import stat
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, unquote

import attrs
import msgspec

__all__ = ["Connection", "HttpServer", "JsonLines", "Request", "announce", "stop_requested"]

_encode = msgspec.json.Encoder().encode
_PHRASES = {200: "OK", 201: "Created", 307: "Temporary Redirect", 400: "Bad Request", 404: "Not Found", 409: "Conflict"}
_HEADER_BYTES_MAX = 65_536
_BODY_BYTES_MAX = 16 << 20
_SEND_TIMEOUT_S = 30.0
"""A reader that takes nothing for so long is dropped, as the real API server drops slow watchers."""


@attrs.frozen(eq=False)
class Request:
    """A request: `path` unquoted and without the query, header names in lower case."""

    method: str
    target: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def agent(self) -> str:
        return self.headers.get("user-agent", "")


class Dropped(Exception):
    """The connection is to be closed without a further byte."""


class Connection:
    """One client connection. `silent` makes it swallow everything without closing; `request` is the one being served."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.silent = threading.Event()
        self.closing = False
        self.request: Request | None = None
        self.watch: Any = None
        self.status = 0
        self._reader = sock.makefile("rb", 65_536)
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN | select.POLLHUP)

    def read(self) -> Request | None:
        """The next request, or None at the end. Raises ValueError for what is no HTTP."""
        line = self._reader.readline(_HEADER_BYTES_MAX)
        while line in (b"\r\n", b"\n"):
            line = self._reader.readline(_HEADER_BYTES_MAX)
        if not line:
            return None
        try:
            method, target, _ = line.decode("latin-1").split(" ", 2)
        except ValueError as error:
            raise ValueError(f"not a request line: {line[:80]!r}") from error
        headers: dict[str, str] = {}
        while (line := self._reader.readline(_HEADER_BYTES_MAX)) not in (b"\r\n", b"\n", b""):
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        if headers.get("expect", "").lower() == "100-continue":
            self.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = self._read_body(headers)
        path, _, query = target.partition("?")
        return Request(method, target, unquote(path), dict(parse_qsl(query, keep_blank_values=True)), headers, body)

    def _read_body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding", "").lower() == "chunked":
            parts: list[bytes] = []
            while size := int(self._reader.readline(1024).split(b";")[0], 16):
                parts.append(self._reader.read(size))
                self._reader.readline(1024)
            self._reader.readline(1024)
            return b"".join(parts)
        length = int(headers.get("content-length") or 0)
        if length > _BODY_BYTES_MAX:
            raise ValueError(f"a body of {length} bytes is too large")
        return self._reader.read(length) if length else b""

    def send(
        self,
        code: int,
        body: bytes,
        content_type: str = "application/json",
        headers: dict[str, str] | None = None,
        *,
        pace_s: float = 0.0,
    ) -> None:
        """A whole answer; with `pace_s`, byte by byte with that pause."""
        self._check_silence()
        self.status = code
        extra = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        head = (
            f"HTTP/1.1 {code} {_PHRASES.get(code, 'Answer')}\r\nContent-Type: {content_type}\r\n"
            f"{extra}Content-Length: {len(body)}\r\n\r\n"
        ).encode("latin-1")
        if not pace_s:
            self.sock.sendall(head + body)
            return
        self.sock.sendall(head)
        for at in range(len(body)):
            time.sleep(pace_s)
            self.sock.sendall(body[at : at + 1])

    def start_chunks(self, content_type: str = "application/json") -> None:
        self._check_silence()
        self.status = 200
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n"
        self.sock.sendall(head.encode("latin-1"))

    def chunk(self, data: bytes) -> None:
        self._check_silence()
        self.sock.sendall(b"%x\r\n%b\r\n" % (len(data), data))

    def end_chunks(self) -> None:
        self._check_silence()
        self.sock.sendall(b"0\r\n\r\n")

    def client_left(self) -> bool:
        """Whether the client has closed its side (looked at without waiting)."""
        if not self._poll.poll(0):
            return False
        try:
            return self.sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    def wait_for_end(self) -> None:
        """Stay until the client closes, taking and giving nothing."""
        while not self.client_left():
            time.sleep(0.1)
        raise Dropped

    def _check_silence(self) -> None:
        if self.silent.is_set():
            self.wait_for_end()

    def close(self) -> None:
        """Cut the connection, from any thread; its own thread then ends."""
        self.closing = True
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        watch = self.watch
        if watch is not None:
            watch.nudge()

    def release(self) -> None:
        """Give the socket back, on the connection's own thread, at its end."""
        self.close()
        with contextlib.suppress(OSError):
            self._reader.close()
        self.sock.close()


class HttpServer:
    """A threaded HTTP/1.1 server on 127.0.0.1. `handle` is called on the connection's thread and must send one answer.

    What `handle` raises is answered with 500 and printed to stderr; OSErrors (a client that left) are not. With `tls` it
    speaks TLS; the handshake is made on the connection's thread.
    """

    def __init__(
        self,
        handle: Callable[[Request, Connection], None],
        *,
        port: int = 0,
        host: str = "127.0.0.1",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._handle = handle
        self._listener = socket.create_server((host, port), backlog=512)
        self._tls = tls
        self._connections: set[Connection] = set()
        self._lock = threading.Lock()
        self._fewer = threading.Condition(self._lock)
        self.host, self.port = self._listener.getsockname()[:2]

    @property
    def url(self) -> str:
        return f"http{'s' if self._tls else ''}://{self.host}:{self.port}"

    def start(self) -> HttpServer:
        threading.Thread(target=self._accept, name=f"accept-{self.port}", daemon=True).start()
        return self

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def connections(self) -> list[Connection]:
        with self._lock:
            return list(self._connections)

    def stop(self) -> None:
        """Stop listening, close every connection, and wait for their threads (at most 2 s)."""
        try:
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the accept, which close alone does not
        except OSError:
            pass
        self._listener.close()
        for connection in self.connections():
            connection.close()
        with self._fewer:
            self._fewer.wait_for(lambda: not self._connections, timeout=2.0)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            seconds, micros = int(_SEND_TIMEOUT_S), int(_SEND_TIMEOUT_S % 1 * 1e6)
            stamp = seconds.to_bytes(8, sys.byteorder) + micros.to_bytes(8, sys.byteorder)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, stamp)
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
            connection = Connection(sock)
            with self._lock:
                self._connections.add(connection)
            threading.Thread(target=self._serve, args=(connection,), name="connection", daemon=True).start()

    def _serve(self, connection: Connection) -> None:
        try:
            while (request := connection.read()) is not None:
                connection.request = request
                try:
                    self._handle(request, connection)
                except (OSError, Dropped):
                    raise
                except Exception as error:  # noqa: BLE001 - a bug in a server must show, and must not end it
                    print(f"{request.method} {request.target}: {error!r}", file=sys.stderr, flush=True)
                    traceback.print_exc()
                    connection.send(
                        500, _encode({"kind": "Status", "status": "Failure", "code": 500, "message": repr(error)})
                    )
        except (OSError, Dropped, ValueError):
            pass
        finally:
            connection.release()
            with self._lock:
                self._connections.discard(connection)
                self._fewer.notify_all()


class JsonLines:
    """A JSON-lines file: `write` is cheap, a daemon thread flushes every 50 ms, `close` flushes the rest."""

    def __init__(self, path: str | None) -> None:
        self._file = Path(path).open("ab", buffering=1 << 16) if path else None  # noqa: SIM115 - lives as long as we
        self._lock = threading.Lock()
        if self._file is not None:
            threading.Thread(target=self._flush, name="log", daemon=True).start()

    def write(self, entry: dict[str, Any]) -> None:
        if self._file is not None:
            line = _encode(entry) + b"\n"
            with self._lock:
                if not self._file.closed:
                    self._file.write(line)

    def _flush(self) -> None:
        assert self._file is not None
        while not self._file.closed:
            time.sleep(0.05)
            with self._lock:
                if not self._file.closed:
                    self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            with self._lock:
                self._file.close()


def stop_requested() -> threading.Event:
    """An event that is set by SIGTERM, SIGINT, or the end of stdin where that is a pipe (so that we die with the
    parent).

    Call on the main thread.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())

    def wait_for_parent() -> None:
        while os.read(0, 4096):
            pass
        stop.set()

    try:
        piped = stat.S_ISFIFO(os.fstat(0).st_mode)
    except OSError:
        piped = False
    if piped:
        threading.Thread(target=wait_for_parent, name="parent", daemon=True).start()
    return stop


def announce(url: str, port_file: str | None) -> None:
    """Say that we listen: one line on stdout, and the port in a file (written whole or not at all)."""
    if port_file:
        partial = Path(f"{port_file}.partial")
        partial.write_text(url.rpartition(":")[2] + "\n")
        partial.replace(port_file)
    print(f"ready {url}", flush=True)
