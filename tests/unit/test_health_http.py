"""The listener of probes and scrapes, over real HTTP: right answers, and nobody keeps it from giving them."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator

import pytest

from actors.core.errors import SettingsError
from actors.ops import http as listener_module
from actors.ops.http import CONNECTIONS_MAX, Listener, Verdict


class Engine:
    """Answers as it is told."""

    def __init__(self) -> None:
        self.verdict: Verdict = (True, [])
        self.error: Exception | None = None

    def ready(self) -> Verdict:
        if self.error is not None:
            raise self.error
        return self.verdict


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def listener(engine: Engine) -> Iterator[Listener]:
    each = Listener(("127.0.0.1", 0), alive=lambda: (True, []), ready=engine.ready, metrics=lambda: b"muster_up 1\n")
    each.start()
    yield each
    assert each.stop()


def get(
    listener: Listener, path: str, method: str = "GET", accept: str = "*/*"
) -> tuple[int, str, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection("127.0.0.1", listener.port, timeout=5)
    try:
        connection.request(method, path, headers={"Accept": accept})
        response = connection.getresponse()
        return response.status, response.read().decode(), response.headers
    finally:
        connection.close()


def connect(listener: Listener) -> socket.socket:
    return socket.create_connection(("127.0.0.1", listener.port), timeout=5)


def test_well_is_200_and_one_word(listener: Listener) -> None:
    assert get(listener, "/healthz")[:2] == (200, "ok\n")
    assert get(listener, "/readyz")[:2] == (200, "ok\n")


def test_not_ready_is_503_with_the_reasons(listener: Listener, engine: Engine) -> None:
    engine.verdict = (False, ["Cluster is not listed yet: 403", "gateway is down"])

    status, body, _ = get(listener, "/readyz")

    assert (status, body) == (503, "not ok\n- Cluster is not listed yet: 403\n- gateway is down\n")
    assert get(listener, "/healthz")[0] == 200


@pytest.mark.parametrize(("path", "accept"), [("/readyz?format=json", "*/*"), ("/readyz", "application/json")])
def test_reasons_as_json(listener: Listener, engine: Engine, path: str, accept: str) -> None:
    engine.verdict = (False, ["x"])

    status, body, headers = get(listener, path, accept=accept)

    assert (status, json.loads(body)) == (503, {"ok": False, "reasons": ["x"]})
    assert headers["Content-Type"] == "application/json"


def test_metrics_have_their_type(listener: Listener) -> None:
    status, body, headers = get(listener, "/metrics")

    assert (status, body) == (200, "muster_up 1\n")
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")


@pytest.mark.parametrize("path", ["/", "/metrics/", "/../etc/passwd", "/debug", "/healthz%00"])
def test_nothing_else_is_there(listener: Listener, path: str) -> None:
    assert get(listener, path)[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_nothing_can_be_done(listener: Listener, method: str) -> None:
    assert get(listener, "/healthz", method)[0] == 501


def test_head_has_no_body(listener: Listener) -> None:
    status, body, headers = get(listener, "/metrics", "HEAD")

    assert (status, body, headers["Content-Length"]) == (200, "", "12")


def test_a_question_that_cannot_be_answered_is_500_and_ends_nothing(listener: Listener, engine: Engine) -> None:
    engine.error = RuntimeError("in pieces")

    assert get(listener, "/readyz")[:2] == (500, "error: RuntimeError('in pieces')\n")
    engine.error = None
    assert get(listener, "/readyz")[0] == 200


@pytest.mark.parametrize("junk", [b"\x16\x03\x01", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"A" * 70_000, b""])
def test_junk_ends_nothing(listener: Listener, junk: bytes) -> None:
    with connect(listener) as connection:
        connection.sendall(junk)

    assert get(listener, "/healthz")[0] == 200


def test_a_client_that_drips_is_cut(monkeypatch: pytest.MonkeyPatch, engine: Engine) -> None:
    """Each byte would renew a timeout of the socket."""
    monkeypatch.setattr(listener_module, "TIMEOUT_S", 0.5)
    each = Listener(("127.0.0.1", 0), alive=engine.ready, ready=engine.ready, metrics=lambda: b"")
    each.start()
    began_s = time.monotonic()

    def drip() -> None:
        with connect(each) as connection:
            while time.monotonic() < began_s + 30:
                connection.sendall(b"G")
                time.sleep(0.05)

    with pytest.raises(OSError, match="reset|Broken pipe"):
        drip()

    assert time.monotonic() - began_s > 0.4
    assert each.stop()


def test_too_many_are_turned_away_and_then_there_is_room_again(listener: Listener) -> None:
    held = [connect(listener) for _ in range(CONNECTIONS_MAX)]
    time.sleep(0.1)

    with connect(listener) as one_too_many:
        one_too_many.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        try:
            answer = one_too_many.recv(100)
        except ConnectionResetError:
            answer = b""
    for each in held:
        each.close()

    assert answer == b""
    deadline_s = time.monotonic() + 30
    while time.monotonic() < deadline_s:
        try:
            status = get(listener, "/healthz")[0]
        except (http.client.HTTPException, OSError):
            continue
        assert status == 200
        break
    else:
        pytest.fail("no room again")


def test_a_port_that_is_taken_is_a_clear_error(listener: Listener, engine: Engine) -> None:
    with pytest.raises(SettingsError, match=r"cannot listen at 127\.0\.0\.1:\d+ \(Address already in use\).*--listen"):
        Listener(("127.0.0.1", listener.port), alive=engine.ready, ready=engine.ready, metrics=lambda: b"")


@pytest.mark.parametrize("host", ["no-such-host.invalid", "203.0.113.1"])
def test_a_host_that_is_not_ours_is_a_clear_error(engine: Engine, host: str) -> None:
    with pytest.raises(SettingsError, match=f"listen: cannot listen at {host}:0"):
        Listener((host, 0), alive=engine.ready, ready=engine.ready, metrics=lambda: b"")


def test_ipv6_too(engine: Engine) -> None:
    try:
        each = Listener(("::1", 0), alive=engine.ready, ready=engine.ready, metrics=lambda: b"")
    except SettingsError:
        pytest.skip("this machine has no IPv6")
    each.start()
    with socket.create_connection(("::1", each.port), timeout=5) as connection:
        connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        answer = connection.recv(1000)

    assert answer.startswith(b"HTTP/1.0 200 OK")
    assert each.stop()
