"""The reader against servers that lie: cut lines, half-open connections, nonsense, refusals in every form."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from actors.core.errors import ApiError
from actors.core.events import ObjectRefused
from actors.core.model import ParentKey
from actors.edge.kube import KubeClient
from actors.edge.reader import KubeReader

KIND = "ComputeNode"
Start = Callable[..., tuple[KubeReader, Any]]
WriteConfig = Callable[[Path, str], Path]


def until(condition: Callable[[], Any], within_s: float = 30.0) -> float:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() < began + within_s, "it did not happen"
        time.sleep(0.01)
    return time.monotonic() - began


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
Script = Callable[[socket.socket, str, int], None]


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def event(type_: str, name: str = "", version: int = 0, **more: Any) -> bytes:
    metadata: dict[str, Any] = {"resourceVersion": str(version)}
    if type_ == "BOOKMARK":
        obj: dict[str, Any] = {"metadata": metadata | {"annotations": more}}
    else:
        metadata |= {"name": name, "namespace": "ns", "uid": name}
        obj = {"metadata": metadata, "spec": {"clusterRef": {"name": "c"}}, "status": more}
    return json.dumps({"type": type_, "object": obj}).encode() + b"\n"


END = {"k8s.io/initial-events-end": "true"}


class Liar:
    """Hands each connection's first request to ``script`` with its number, and closes the connection after it."""

    def __init__(self, script: Script) -> None:
        self.requests: list[tuple[float, str]] = []
        self._script = script
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with sock:
            data = b""
            while b"\r\n\r\n" not in data:
                more = sock.recv(65536)
                if not more:
                    return
                data += more
            target = data.split(b" ")[1].decode()
            self.requests.append((time.monotonic(), target))
            try:
                self._script(sock, target, len(self.requests))
            except OSError:
                pass

    def close(self) -> None:
        self._listening.close()


@pytest.fixture
def lie(
    start: Start, tmp_path: Path, write_config: WriteConfig
) -> Iterator[Callable[..., tuple[Liar, KubeReader, Any]]]:
    liars: list[Liar] = []

    def begin(script: Script, **options: Any) -> tuple[Liar, KubeReader, Any]:
        liar = Liar(script)
        liars.append(liar)
        client = KubeClient(write_config(tmp_path / "config", liar.url))
        return liar, *start(client, **options)

    yield begin
    for liar in liars:
        liar.close()


Lie = Callable[..., tuple[Liar, KubeReader, Any]]


def send_list(sock: socket.socket, *names: str, version: int = 100) -> None:
    """A streamed list, which the server then closes in good order."""
    sock.sendall(HEAD + b"".join(chunk(event("ADDED", name, 1, healthy=True)) for name in names))
    sock.sendall(chunk(event("BOOKMARK", version=version, **END)))


def stay(sock: socket.socket, seconds: float) -> None:
    """Keep the connection open, and silent, until the other side has had enough of it."""
    sock.settimeout(seconds)
    while sock.recv(65536):
        pass


def test_a_line_that_is_cut_is_resumed_before_it(lie: Lie) -> None:
    def script(sock: socket.socket, target: str, number: int) -> None:
        if number == 1:
            send_list(sock, "a")
            whole = event("MODIFIED", "a", 101, healthy=False) + event("MODIFIED", "a", 102, healthy=True)
            sock.sendall(chunk(whole[:-30]))
        elif number == 2:
            sock.sendall(HEAD + b"40\r\n" + event("MODIFIED", "a", 103, healthy=True)[:10])  # within a chunk
        else:
            sock.sendall(HEAD + chunk(event("MODIFIED", "a", 104, healthy=True)))
            stay(sock, 5.0)

    liar, _, listener = lie(script)
    until(lambda: len(liar.requests) >= 3 and listener.held == {"a": True})

    assert ["resourceVersion=101" in target for _, target in liar.requests[1:3]] == [True, True]
    assert listener.of(ObjectRefused) == []


@pytest.mark.parametrize("start", ["thread", "process"], indirect=True)
def test_bad_objects_are_left_out_and_named_while_the_stream_lives(lie: Lie) -> None:
    bad = event("MODIFIED", "a", 101, healthy="yes") + b"nonsense\n" + event("ADDED", "b", 102).replace(b"ns", b"\xff")

    def script(sock: socket.socket, target: str, number: int) -> None:
        send_list(sock, "a")
        sock.sendall(chunk(bad) + chunk(event("MODIFIED", "a", 110, healthy=False)))
        stay(sock, 5.0)

    liar, _, listener = lie(script)
    until(lambda: listener.held == {"a": False})

    assert len(listener.of(ObjectRefused)) == 3
    assert len(liar.requests) == 1


@pytest.mark.parametrize("start", ["thread", "process"], indirect=True)
def test_a_half_open_stream_is_found_and_turns_nobody_silent(lie: Lie) -> None:
    """The connection takes and keeps everything; only our own clock can tell."""

    def script(sock: socket.socket, target: str, number: int) -> None:
        if number == 1:
            send_list(sock, "a")
            stay(sock, 20.0)
        else:
            sock.sendall(HEAD + chunk(event("MODIFIED", "a", 100 + number, healthy=True, lastHeartbeatTime="x")))
            stay(sock, 20.0)

    liar, reader, listener = lie(script, watch_s=1)
    reader.set_timeout(KIND, ParentKey("ns", "c"), 60.0)
    until(
        lambda: len(liar.requests) >= 2, 15.0
    )  # the watch's second and the margin: before the liar ends it, in any case

    assert "resourceVersion=100" in liar.requests[1][1]
    until(lambda: reader.statistics()[KIND]["version"] == 102)
    assert not listener.child("a").silent


def test_a_server_without_streamed_lists_is_read_by_pages(lie: Lie) -> None:
    def script(sock: socket.socket, target: str, number: int) -> None:
        if "sendInitialEvents" in target:
            body = b'{"kind":"Status","code":422,"message":"sendInitialEvents is forbidden"}'
            sock.sendall(b"HTTP/1.1 422 X\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        elif "watch=1" in target:
            sock.sendall(HEAD)
            stay(sock, 5.0)
        else:
            token = "" if "continue=" in target else "more"
            names = ["b"] if "continue=" in target else ["a"]
            items = [json.loads(event("ADDED", name, 1, healthy=True))["object"] for name in names]
            body = json.dumps({"metadata": {"resourceVersion": "100", "continue": token}, "items": items}).encode()
            sock.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    liar, _, listener = lie(script)
    until(lambda: listener.synced and listener.up)

    assert listener.held == {"a": True, "b": True}
    assert ["limit=500" in target for _, target in liar.requests] == [False, True, True, False]


def test_the_server_is_not_flooded_when_it_refuses(lie: Lie) -> None:
    answers = [
        b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n",
        b"",
        HEAD + b"0\r\n\r\n",
    ]

    def script(sock: socket.socket, target: str, number: int) -> None:
        sock.sendall(answers[number % 4])

    liar, _, listener = lie(script)
    time.sleep(4.0)
    assert len(liar.requests) <= 30

    until(lambda: len(liar.requests) >= 3)
    assert not listener.synced


@pytest.mark.parametrize("start", ["thread", "process"], indirect=True)
def test_stopping_does_not_wait_for_a_server_that_says_nothing(lie: Lie) -> None:
    def script(sock: socket.socket, target: str, number: int) -> None:
        sock.recv(1)  # until the client is gone

    liar, reader, _ = lie(script)
    until(lambda: len(liar.requests) == 1)
    began = time.monotonic()
    reader.stop(50.0)

    assert time.monotonic() - began < 20.0


def test_nobody_listens(start: Start, tmp_path: Path, write_config: WriteConfig) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        client = KubeClient(write_config(tmp_path / "config", f"http://127.0.0.1:{taken.getsockname()[1]}"))
        _, listener = start(client)
        until(lambda: listener.up is False)

    assert listener.reason == "Unreachable"
    with pytest.raises(ApiError):
        client.server_version()
