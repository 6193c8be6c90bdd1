"""The shell's server: one Unix socket, one request to a connection, and limits on everything that a client can choose.

It runs on threads of its own, and none of them is an actor's: so it answers while every worker is stuck. Whoever is neither
this user nor root is hung up on without a word. A client can hold one of ``CONNECTIONS_MAX`` places for as long as the times
below, no longer; one that comes while all are taken is told so and hung up on.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from pathlib import Path

from ...core.errors import MusterError
from .commands import perform
from .inspection import SAMPLES_EVERY_S, Inspection
from .place import bind, own_path, peer, release
from .protocol import REQUEST_MAX, ProtocolError, answer_line, error_line, one_line, read_request
from .registry import Answer, Caller, CommandError
from .tapping import Lines

CONNECTIONS_MAX = 8  # a person has one or two, `--watch` one more
REQUEST_S = 2.0  # for the whole request: a line that a program sends
WRITE_S = 5.0  # for the answer to be taken
LINES_EVERY_S = 0.05
BUFFER_MAX = 64 << 10  # bytes of lines that wait for a reader; what comes beyond is lost by the tap, and counted
_ACCEPT_S = 0.5


class ShellServer:
    """Listens from ``start`` to ``stop``. PlaceError from the constructor where the socket cannot be had."""

    def __init__(self, look: Inspection, path: Path | None = None, *, own_uid: int | None = None) -> None:
        self.path = path or own_path()
        self._own_folder = path is None
        self._look = look
        self._uids = {os.geteuid() if own_uid is None else own_uid, 0}
        self._listening = bind(self.path)
        self._inode = self.path.stat().st_ino
        self._listening.settimeout(_ACCEPT_S)
        self._places = threading.BoundedSemaphore(CONNECTIONS_MAX)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._accept, name="shell", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Answer nobody any more, and take the socket away."""
        self._stopping.set()
        release(self.path, self._inode, folder=self._own_folder)
        self._listening.close()
        if self._thread.ident is not None:
            self._thread.join(2 * _ACCEPT_S)

    # --- connections --------------------------------------------------------------------------------------------------
    def _accept(self) -> None:
        sample_s = 0.0
        while not self._stopping.is_set():
            if time.monotonic() >= sample_s:
                sample_s = time.monotonic() + SAMPLES_EVERY_S
                self._look.sample()
            try:
                connection, _ = self._listening.accept()
            except TimeoutError:
                continue
            except OSError:  # closed, or no descriptor is left: whoever holds them will let go
                self._stopping.wait(_ACCEPT_S)
                continue
            self._admit(connection)

    def _admit(self, connection: socket.socket) -> None:
        try:
            uid, pid = peer(connection)
            if uid not in self._uids:
                connection.close()
                return
            if not self._places.acquire(blocking=False):
                connection.setblocking(False)
                with contextlib.suppress(OSError):
                    connection.send(
                        error_line(f"{CONNECTIONS_MAX} others are connected already", "try again in a moment")
                    )
                connection.close()
                return
        except OSError:
            connection.close()
            return
        thread = threading.Thread(
            target=self._serve, args=(connection, Caller(uid=uid, pid=pid)), name="shell-client", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:  # the machine has no thread left
            self._places.release()
            connection.close()

    def _serve(self, connection: socket.socket, caller: Caller) -> None:
        try:
            with connection:
                line = _request(connection)
                if line is not None:
                    self._answer(connection, line, caller)
        except OSError:
            pass  # it has gone, or does not read
        finally:
            self._places.release()

    def _answer(self, connection: socket.socket, line: bytes, caller: Caller) -> None:
        command = ""
        try:
            words = read_request(line)
            command = words[0] if words else ""
            done = perform(self._look, words, caller)
            if not isinstance(done, Answer):
                self._send_lines(connection, command, done)
                return
            answer = answer_line(command, done.value, done.exit_code)
        except CommandError as error:
            answer = error_line(str(error), error.cure)
        except ProtocolError as error:
            answer = error_line(str(error), "use `muster shell` of the same version")
        except MusterError as error:
            answer = error_line(str(error))
        except Exception as error:  # noqa: BLE001  a look at something that changes: the next may do, and no thread may die
            answer = error_line(
                f"{command[:60]} failed: {type(error).__name__}: {error}",
                "try again; if it stays so, it is a bug to report",
            )
        connection.settimeout(WRITE_S)
        connection.sendall(answer)

    def _send_lines(self, connection: socket.socket, command: str, lines: Lines) -> None:
        """Until they are over, the reader has gone, or has read nothing for ``WRITE_S``."""
        connection.setblocking(False)
        waiting = bytearray()
        moved_s = time.monotonic()
        try:
            while True:
                if len(waiting) < BUFFER_MAX:
                    for each in lines.take():
                        waiting += one_line(each)
                if waiting and (sent := _send_some(connection, waiting)):
                    del waiting[:sent]
                    moved_s = time.monotonic()
                elif not waiting:
                    moved_s = time.monotonic()
                if lines.over and not waiting:
                    break
                if time.monotonic() - moved_s > WRITE_S or _has_gone(connection) or self._stopping.wait(LINES_EVERY_S):
                    return
        finally:
            last = lines.close()
        connection.settimeout(WRITE_S)
        connection.sendall(answer_line(command, last))


def _request(connection: socket.socket) -> bytes | None:
    """One line; None where it does not come whole in time."""
    until_s = time.monotonic() + REQUEST_S
    line = bytearray()
    while b"\n" not in line:
        left_s = until_s - time.monotonic()
        if left_s <= 0:
            return None
        connection.settimeout(left_s)
        piece = connection.recv(4096)
        if not piece:
            return None
        line += piece
        if len(line) > REQUEST_MAX:
            connection.settimeout(REQUEST_S)
            connection.sendall(error_line(f"a request has at most {REQUEST_MAX} bytes", "say less"))
            return None
    return bytes(line.partition(b"\n")[0])


def _send_some(connection: socket.socket, waiting: bytearray) -> int:
    try:
        return connection.send(waiting)
    except BlockingIOError:
        return 0


def _has_gone(connection: socket.socket) -> bool:
    """Whether the reader has hung up. It has nothing more to say, so whatever comes is dropped."""
    try:
        return connection.recv(4096) == b""
    except BlockingIOError:
        return False
