"""A TCP proxy whose network can be broken while it runs: what lies between the operator and its servers, for tests.

Modes, for connections that are open and for new ones:

| mode | effect |
|---|---|
| ``PASS`` | bytes go through |
| ``CUT`` | open connections are reset, new ones too, as soon as they are made |
| ``SWALLOW`` | connections stay open, new ones are accepted, and no byte arrives anywhere: half-open |

A connection that has once swallowed something never passes again (its bytes would have a hole); new ones do. A target that
does not listen closes the connection, as the target itself would have. ``connections_count`` counts what was accepted, in
any mode: TLS or not, whoever tries again makes a new connection, so a hot loop shows here.
"""

from __future__ import annotations

import contextlib
import enum
import select
import socket
import struct
import threading
from types import TracebackType
from typing import Self

__all__ = ["Mode", "TcpProxy"]

_LOOK_S = 0.05  # between looks at the mode by a connection on which nothing happens
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER 0: close sends RST


class Mode(enum.Enum):
    """What the network does."""

    PASS = "pass"  # noqa: S105 - no password
    CUT = "cut"
    SWALLOW = "swallow"


class TcpProxy:
    """Listens on a free port of 127.0.0.1 and connects through to ``target``, also of this machine. A thread each."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._mode = Mode.PASS
        self._stopped = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = int(self._listener.getsockname()[1])
        self.connections_count = 0
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def mode(self) -> Mode:
        """What the network does now."""
        return self._mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        self._mode = mode

    def stop(self) -> None:
        """Close the listener and every connection."""
        self._stopped.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while not self._stopped.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections_count += 1
            if self._mode is Mode.CUT:
                _reset(client)
                continue
            threading.Thread(target=self._serve, args=(client,), name="proxied", daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        server: socket.socket | None = None
        swallowed = self._mode is Mode.SWALLOW
        try:
            if not swallowed:
                server = socket.create_connection(("127.0.0.1", self._target_port), timeout=5.0)
            while not self._stopped.is_set() and self._mode is not Mode.CUT:
                ends = [client] if server is None else [client, server]
                readable, _, _ = select.select(ends, [], [], _LOOK_S)
                swallowed = swallowed or self._mode is Mode.SWALLOW
                for end in readable:
                    data = end.recv(65536)
                    if end is client and not data:
                        return  # whoever hangs up is let go, in any mode
                    if not data:
                        if not swallowed:
                            return
                        ends[1].close()  # the server's end of a swallowed connection: the client never hears of it
                        server = None
                    elif not swallowed:
                        (server if end is client and server is not None else client).sendall(data)
            _reset(client)
        except OSError:
            pass
        finally:
            client.close()
            if server is not None:
                server.close()


def _reset(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    sock.close()
