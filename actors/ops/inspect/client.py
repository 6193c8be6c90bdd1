"""The client's end of the socket: find the operator, ask it, take its lines. No terminal in here."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from ...core.errors import MusterError
from .place import folders, peer, running
from .protocol import ANSWER_MAX, ProtocolError, read_answer, request_line

CONNECT_S = 2.0
ANSWER_S = 30.0  # between two pieces of an answer: an asking command waits a second, `bundle` makes all of them
SILENCE_S = 660.0  # of a tap that has nothing to say: longer than one may last


_HUNG_UP = "the operator hung up without an answer: is this the user it runs as?"


class NoOperator(MusterError):
    """There is none to ask, or more than one, or it does not answer."""


@frozen(kw_only=True)
class Told:
    """An answer. ``ok`` False: ``error`` and ``cure`` say why there is none."""

    ok: bool
    command: str = ""
    answer: Any = None
    exit_code: int = 0
    error: str = ""
    cure: str = ""
    form: Any = None


def find(path: str = "") -> Path:
    """The socket to use; NoOperator with what was found and where."""
    if path:
        return Path(path)
    uid = os.geteuid()
    found = running(uid)
    if len(found) == 1:
        return found[0]
    if found:
        names = "".join(f"\n  --socket {each}" for each in found)
        raise NoOperator(f"{len(found)} operators run here; say which:{names}")
    looked = " and ".join(str(each) for each in folders(uid))
    raise NoOperator(
        f"no operator of uid {uid} runs here (looked in {looked}): is `muster run` running, as this user, with --shell-socket "
        "not off? In a cluster: kubectl muster"
    )


def ask(path: Path, words: Sequence[str], on_line: Callable[[Any], None] = lambda line: None) -> Told:
    """Send one command; ``on_line`` gets what comes before its answer. NoOperator where there is no answer."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(CONNECT_S)
        try:
            connection.connect(str(path))
            _check_peer(connection, path)
            connection.sendall(request_line(words))
            connection.settimeout(SILENCE_S if words[:1] == ["tap"] else ANSWER_S)
            return _told(connection, on_line)
        except TimeoutError as error:
            raise NoOperator(f"{path}: no answer in time: is the process stopped, or its machine swamped?") from error
        except (BrokenPipeError, ConnectionResetError) as error:
            raise NoOperator(f"{path}: {_HUNG_UP}") from error
        except OSError as error:
            raise NoOperator(f"{path}: {error.strerror or error}: has the operator ended?") from error
        except ProtocolError as error:
            raise NoOperator(f"{path}: {error}") from error


def _check_peer(connection: socket.socket, path: Path) -> None:
    """Who answers must be this user or root: else somebody has put a socket of their own there."""
    uid, _ = peer(connection)
    if os.geteuid() not in (0, uid) and uid != 0:
        raise NoOperator(f"{path}: uid {uid} answers there, which is not you")


def _told(connection: socket.socket, on_line: Callable[[Any], None]) -> Told:
    read = bytearray()
    while True:
        piece = connection.recv(64 << 10)
        if not piece:
            raise NoOperator(_HUNG_UP)
        read += piece
        if len(read) > 2 * ANSWER_MAX:
            raise NoOperator("the answer is endless")
        while b"\n" in read:
            line, _, rest = read.partition(b"\n")
            read = bytearray(rest)
            form = read_answer(bytes(line))
            if "line" in form:
                on_line(form["line"])
                continue
            return Told(
                ok=bool(form.get("ok")), command=str(form.get("command", "")), answer=form.get("answer"),
                exit_code=int(form.get("exit", 0)), error=str(form.get("error", "")), cure=str(form.get("cure", "")), form=form,
            )  # fmt: skip
