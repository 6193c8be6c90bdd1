"""One small listener for the kubelet and for Prometheus: ``/livez`` (or ``/healthz``), ``/readyz`` and ``/metrics``, no more.

It runs on threads of its own and asks the engine nothing but three cheap questions, so that a probe is answered while
actors are busy, and is *not* answered well while they are stuck. At most ``CONNECTIONS_MAX`` connections are served at
a time, each for one request and at most ``TIMEOUT_S`` in all: a client that drips, or one of too many, keeps nobody
else out for long.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ..core.errors import SettingsError

CONNECTIONS_MAX = 16  # the kubelet has one or two, Prometheus one or two, a person one
TIMEOUT_S = 5.0  # a kubelet gives up after one
Verdict = tuple[bool, list[str]]

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Listener:
    """Serves until ``stop``. ``alive`` and ``ready`` give a verdict with its reasons; ``metrics`` renders.

    SettingsError when the address cannot be had. All three are called on the listener's threads and must be quick; one
    that raises is answered with 500 and its error.
    """

    def __init__(
        self,
        address: tuple[str, int],
        *,
        alive: Callable[[], Verdict],
        ready: Callable[[], Verdict],
        metrics: Callable[[], bytes],
    ) -> None:
        try:
            self._server = _Server(address, alive=alive, ready=ready, metrics=metrics)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise SettingsError(
                f"listen: cannot listen at {address[0]}:{address[1]} ({reason}): stop what listens there, choose "
                "another "
                "--listen, or turn it off with --listen off"
            ) from error
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.2,), name="listener", daemon=True)

    @property
    def port(self) -> int:
        """The port in use (where 0 was asked for, the one that was free)."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Start the listener's thread."""
        self._thread.start()

    def stop(self, timeout_s: float = 1.0) -> bool:
        """Stop listening; whether the thread has ended within ``timeout_s``."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join(timeout_s)
        self._server.server_close()
        return not self._thread.is_alive()


class _Server(HTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(
        self,
        address: tuple[str, int],
        *,
        alive: Callable[[], Verdict],
        ready: Callable[[], Verdict],
        metrics: Callable[[], bytes],
    ) -> None:
        self.verdicts = {"/healthz": alive, "/livez": alive, "/readyz": ready}
        self.metrics = metrics
        self._slots = threading.BoundedSemaphore(CONNECTIONS_MAX)
        self._open: dict[socket.socket, float] = {}  # until when each may last; a dict's single steps need no lock
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Bind without the reverse look-up of the standard library, which may take seconds where DNS is slow."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def service_actions(self) -> None:
        """Between requests: cut what lasts too long. A timeout per read would let a client drip for ever."""
        now_s = time.monotonic()
        for connection, until_s in list(self._open.items()):
            if now_s > until_s:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def process_request(self, request: Any, client_address: Any) -> None:
        """A thread for each connection while there are slots; beyond, it is closed at once."""
        if not self._slots.acquire(blocking=False):
            self.shutdown_request(request)
            return
        self._open[request] = time.monotonic() + TIMEOUT_S
        try:
            threading.Thread(target=self._serve, args=(request, client_address), daemon=True).start()
        except BaseException:
            self._finished(request)
            raise

    def _serve(self, request: Any, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)
        except Exception:  # noqa: BLE001, S110 - the client went away or timed out: nobody is left to tell
            pass
        finally:
            self._finished(request)
            self.shutdown_request(request)

    def _finished(self, request: Any) -> None:
        del self._open[request]
        self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """No thread could be had for a connection: it is closed; the next probe tells."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = TIMEOUT_S
    wbufsize = 1 << 16  # headers and a small body in one write: two would wait for each other's acknowledgement
    server_version = "muster"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer one request."""
        url = urlsplit(self.path)
        try:
            status, kind, body = self._answer(url.path, parse_qs(url.query))
        except Exception as error:  # noqa: BLE001 - a question that the engine cannot answer is an answer, too
            status, kind, body = HTTPStatus.INTERNAL_SERVER_ERROR, "text/plain", f"error: {error!r}\n".encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815 - the base class's name

    def _answer(self, path: str, query: dict[str, list[str]]) -> tuple[HTTPStatus, str, bytes]:
        if path == "/metrics":
            return HTTPStatus.OK, METRICS_TYPE, self.server.metrics()
        if path not in self.server.verdicts:
            return HTTPStatus.NOT_FOUND, "text/plain", b"not found: there are /livez, /readyz and /metrics\n"
        well, reasons = self.server.verdicts[path]()
        status = HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE
        if "json" in query.get("format", []) or "application/json" in self.headers.get("Accept", ""):
            return status, "application/json", json.dumps({"ok": well, "reasons": reasons}).encode() + b"\n"
        text = "ok\n" if well else "not ok\n"
        return status, "text/plain; charset=utf-8", (text + "".join(f"- {each}\n" for each in reasons)).encode()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Requests are not logged: probes come every few seconds."""
