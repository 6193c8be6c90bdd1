"""A request in one piece and its answer read by a parser: every way in which a server may end one, or break one off."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from urllib3.exceptions import HTTPError, ProtocolError

from actors.core.errors import Unreachable
from actors.edge.exchange import PlainPool, Whole, sever
from actors.edge.kube import KubeClient

ASK = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
SHORT = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Scripted:
    """Each connection reads a request and says the next of ``answers``, piece by piece; None hangs up. Keeps what was asked."""

    def __init__(self) -> None:
        self.answers: list[list[bytes | None]] = []
        self.asked: list[bytes] = []
        self.connections_count = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:  # the test is over
                return
            self.connections_count += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            while asked := connection.recv(1 << 16):
                self.asked.append(asked)
                for piece in self.answers.pop(0):
                    if piece is None:
                        return
                    connection.sendall(piece)
                    time.sleep(0.002)  # so that pieces come as pieces

    def close(self) -> None:
        self._listening.close()


@pytest.fixture
def server() -> Iterator[Scripted]:
    made = Scripted()
    yield made
    made.close()


Ask = Callable[[], Whole]


@pytest.fixture
def ask(server: Scripted) -> Iterator[Ask]:
    pool = PlainPool("127.0.0.1", server.port)
    yield lambda: pool.exchange(ASK, connect_s=5, read_s=5)
    pool.close()


def bytewise(text: bytes) -> list[bytes | None]:
    return [text[at : at + 1] for at in range(len(text))]


@pytest.mark.parametrize(
    ("answer", "body", "reused"),
    [
        ([SHORT], b"ok", True),
        (bytewise(SHORT), b"ok", True),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nab\r\n", b"1\r\nc\r\n0\r\n\r\n"], b"abc", True),
        ([b"HTTP/1.1 100 Continue\r\nA: b\r\n\r\n", SHORT], b"ok", True),
        ([b"HTTP/1.1 103 Early Hints\r\n\r\n" + SHORT], b"ok", True),
        ([b"HTTP/1.1 204 No Content\r\n\r\n"], b"", True),
        ([b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"], b"ok", False),
        ([b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"], b"ok", False),
        ([b"HTTP/1.1 200 OK\r\nX: y\r\n\r\nuntil", b" the end", None], b"until the end", False),
    ],
)  # fmt: skip
def test_every_way_to_end_an_answer_is_read(
    server: Scripted, ask: Ask, answer: list[bytes | None], body: bytes, reused: bool
) -> None:
    server.answers = [answer, [SHORT]]

    assert ask().body == body
    assert ask().body == b"ok"
    assert server.connections_count == (1 if reused else 2)


def test_an_answer_has_its_status_its_reason_and_its_headers(server: Scripted, ask: Ask) -> None:
    server.answers = [[b"HTTP/1.1 409 Con", b"flict\r\nRETRY-After: 7\r\nContent-Length: 1\r\n\r\n!"]]

    assert ask() == Whole(409, "Conflict", {"retry-after": "7", "content-length": "1"}, b"!")


@pytest.mark.parametrize(
    "answer",
    [
        [None],
        [b"HTTP/1.1 200 OK\r\nContent-Le", None],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok", None],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nok", None],
        [b"SSH-2.0-OpenSSH_9.2\r\n"],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfive\r\n"],
        [b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nraw", None],
    ],
)
def test_what_is_no_whole_answer_is_an_error_and_its_connection_is_not_used_again(
    server: Scripted, ask: Ask, answer: list[bytes | None]
) -> None:
    server.answers = [answer, [SHORT]]

    with pytest.raises((ProtocolError, OSError)):
        ask()

    assert ask().body == b"ok"
    assert server.connections_count == 2


def test_an_answer_that_does_not_come_ends_in_time(server: Scripted) -> None:
    server.answers = [[b"HTTP/1.1 200 OK\r\n"], [SHORT]]
    pool = PlainPool("127.0.0.1", server.port)

    with pytest.raises(TimeoutError):
        pool.exchange(ASK, connect_s=5, read_s=0.05)

    assert pool.exchange(ASK, connect_s=5, read_s=5).body == b"ok"
    assert server.connections_count == 2
    pool.close()


def test_a_connection_that_the_server_has_closed_meanwhile_is_made_anew(server: Scripted, ask: Ask) -> None:
    server.answers = [[SHORT, None], [SHORT]]

    ask()
    time.sleep(0.05)

    assert ask().body == b"ok"
    assert server.connections_count == 2


def test_a_thread_that_waits_for_an_answer_can_be_severed(server: Scripted, ask: Ask) -> None:
    server.answers = [[]]
    found: list[BaseException] = []

    def wait() -> None:
        try:
            ask()
        except (HTTPError, OSError) as error:
            found.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    while not server.asked:
        time.sleep(0.001)
    assert thread.ident is not None
    sever(thread.ident)
    thread.join(5)

    assert len(found) == 1
    sever(thread.ident)  # over: nothing is touched


# --- as the client uses it --------------------------------------------------------------------------------------------
def kubeconfig(tmp_path: Path, url: str, **cluster: str) -> Path:
    path = tmp_path / "config"
    path.write_text(json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": "here",
        "clusters": [{"name": "c", "cluster": {"server": url, **cluster}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
    }))  # fmt: skip
    return path


def test_the_request_leaves_in_one_piece_with_all_that_it_needs(server: Scripted, tmp_path: Path) -> None:
    """Also below a path of the server's own, as a proxy of clusters has it; a name may hold what a URL may not."""
    server.answers = [[SHORT]]
    client = KubeClient(kubeconfig(tmp_path, f"http://127.0.0.1:{server.port}/k8s/c-1/"))

    client.request("PATCH", "/apis/a/ä b%2F:c?d", query={"x": "1&2"}, body={"é": 1}, content_type="application/x")

    head, _, body = server.asked[0].partition(b"\r\n\r\n")
    lines = head.decode("ascii").split("\r\n")
    assert lines[0] == "PATCH /k8s/c-1/apis/a/%C3%A4%20b%2F:c%3Fd?x=1%262 HTTP/1.1"
    assert set(lines[1:]) >= {
        f"Host: 127.0.0.1:{server.port}", "Authorization: Bearer t", "Content-Type: application/x", "Content-Length: 8",
        "Accept: application/json", "Accept-Encoding: identity",
    }  # fmt: skip
    assert json.loads(body) == {"é": 1}


def test_a_request_without_a_body_says_nothing_of_one(server: Scripted, tmp_path: Path) -> None:
    server.answers = [[SHORT]]

    KubeClient(kubeconfig(tmp_path, f"http://127.0.0.1:{server.port}")).request("GET", "/version")

    assert server.asked[0].endswith(b"\r\n\r\n")
    assert b"Content-" not in server.asked[0]


def test_what_passes_a_proxy_is_asked_of_the_proxy(server: Scripted, tmp_path: Path) -> None:
    server.answers = [[SHORT], [b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"]]
    proxy = f"http://127.0.0.1:{server.port}"
    client = KubeClient(kubeconfig(tmp_path, "http://api.example", **{"proxy-url": proxy}))

    assert client.request("GET", "/version").body == b"ok"
    with pytest.raises(Unreachable, match="502 Bad Gateway"):
        client.request("GET", "/version")

    assert server.asked[0].startswith(b"GET http://api.example/version HTTP/1.1\r\n")


def test_connections_may_be_closed_between_requests(server: Scripted, tmp_path: Path) -> None:
    server.answers = [[SHORT], [SHORT]]
    client = KubeClient(kubeconfig(tmp_path, f"http://127.0.0.1:{server.port}"))

    client.request("GET", "/version")
    client.close()
    client.request("GET", "/version")

    assert server.connections_count == 2


def test_the_header_of_the_credentials_holds_for_a_second(
    server: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answers = [[SHORT] for _ in range(4)]
    client = KubeClient(kubeconfig(tmp_path, f"http://127.0.0.1:{server.port}"))
    clock = [100.0]
    monkeypatch.setattr("actors.edge.kube.time.monotonic", lambda: clock[0])
    tokens = iter(["Bearer one", "Bearer two"])
    monkeypatch.setattr(client._settings, "get_api_key_with_prefix", lambda *args, **kwargs: next(tokens))

    for clock[0] in (100.0, 100.9, 101.0, 101.5):
        client.request("GET", "/version")

    said = [asked.partition(b"Authorization: ")[2].partition(b"\r\n")[0] for asked in server.asked]
    assert said == [b"Bearer one", b"Bearer one", b"Bearer two", b"Bearer two"]
