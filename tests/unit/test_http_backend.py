"""The HTTP adapter against real servers that misbehave. One real socket per case; nothing here waits longer than a second."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from attrs import define, field

from actors.core.errors import (
    BackendError,
    CallTimeout,
    Malformed,
    Misconfigured,
    Refused,
    SettingsError,
    Throttled,
    Unavailable,
)
from actors.core.model import Item, ParentKey
from actors.core.ports import Call
from actors.edge.backend import BATCH_PATH, HttpBackend

Script = Callable[[BaseHTTPRequestHandler, dict[str, Any]], None]


@define
class Service:
    """A batch service that answers by ``script``; ``arrivals`` is what it was sent."""

    url: str
    script: list[Script] = field(factory=list)
    arrivals: list[tuple[str, dict[str, str], dict[str, Any]]] = field(factory=list)


@pytest.fixture
def service() -> Iterator[Service]:
    """A real HTTP server on a free port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            made.arrivals.append((self.path, dict(self.headers), body))
            made.script[0](self, body)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    made = Service(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield made
    server.shutdown()
    server.server_close()


def answer(status: int, body: Any = None, headers: dict[str, str] | None = None) -> Script:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()

    def script(handler: BaseHTTPRequestHandler, _body: dict[str, Any]) -> None:
        handler.send_response(status)
        for name, value in (headers or {}).items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(raw)))
        handler.end_headers()
        handler.wfile.write(raw)

    return script


def call(count: int = 2, timeout_s: float = 2.0) -> Call:
    items = tuple(
        Item(
            operation="batchRepair", key=f"key{n}", kind="ComputeNode", uid=f"uid{n}", incident="i",
            parent=ParentKey("default", "c"), since_s=0.0,
            payload={"name": f"n{n}", "namespace": "default", "kind": "ComputeNode", "cluster": "c"},
        )
        for n in range(count)
    )  # fmt: skip
    return Call(id="attempt-1", operation="batchRepair", items=items, timeout_s=timeout_s)


def test_a_call_is_one_post_as_documented(service: Service) -> None:
    """The wire format is a contract; the attempt is named by Idempotency-Key, the items by their own keys."""
    service.script[:] = [answer(200, {"results": [{"key": "key0", "status": "accepted"}]})]
    HttpBackend(service.url + "/", token=lambda: "secret", headers={"X-Team": "a"}).send(call())

    ((path, headers, body),) = service.arrivals
    assert "/v1/nodes:batchRepair" == path
    assert ("attempt-1", "Bearer secret", "a", "application/json") == tuple(
        headers[name] for name in ("Idempotency-Key", "Authorization", "X-Team", "Content-Type")
    )
    expected = {
        "key": "key0",
        "name": "n0",
        "namespace": "default",
        "kind": "ComputeNode",
        "uid": "uid0",
        "cluster": "c",
    }
    assert expected == body["nodes"][0]
    assert 2 == len(body["nodes"])


def test_results_are_found_by_key_or_uid_and_the_rest_is_counted(service: Service) -> None:
    """Unordered, too few, unknown, twice, of a status nobody agreed on, of the wrong type: each on its own (B5)."""
    results = [
        {"uid": "uid1", "status": "failed", "message": "no spare"},
        {"key": "key0", "status": "throttled", "retryAfterSeconds": 2.5},
        {"key": "key0", "status": "accepted"},
        {"key": "stranger", "status": "accepted"},
        {"key": "key2", "status": "perhaps"},
        {"key": "key3", "status": 7},
        "what",
    ]
    service.script[:] = [answer(200, {"results": results, "extra": 1})]
    reply = HttpBackend(service.url).send(call(5))

    assert {"key0", "key1"} == set(reply.results)
    assert ("failed", "no spare") == (reply.results["key1"].status, reply.results["key1"].message)
    assert ("throttled", 2.5) == (reply.results["key0"].status, reply.results["key0"].retry_after_s)
    assert 5 == reply.unknown_count


@pytest.mark.parametrize(
    ("status", "body"), [(200, b"{}"), (200, b'{"results": null}'), (202, b'{"id": 7}'), (200, b""), (204, b"")]
)
def test_a_success_without_results_accepts_all(service: Service, status: int, body: bytes) -> None:
    """Simple services answer so."""
    service.script[:] = [answer(status, body)]
    reply = HttpBackend(service.url).send(call())

    assert {"key0": "accepted", "key1": "accepted"} == {key: result.status for key, result in reply.results.items()}


@pytest.mark.parametrize(
    ("status", "headers", "kind", "retry_after_s", "text"),
    [
        (429, {"Retry-After": "3"}, Throttled, 3.0, "answered 429"),
        (429, {}, Throttled, None, "answered 429"),
        (429, {"Retry-After": "soon"}, Throttled, None, "answered 429"),
        (429, {"Retry-After": "-3"}, Throttled, None, "answered 429"),
        (429, {"Retry-After": "inf"}, Throttled, None, "answered 429"),
        (503, {"Retry-After": "0"}, Throttled, 0.0, "answered 503"),
        (503, {}, Unavailable, None, "answered 503"),
        (500, {}, Unavailable, None, "answered 500: 'boom'"),
        (408, {}, Unavailable, None, "answered 408"),
        (400, {}, Refused, None, "answered 400: 'boom'"),
        (401, {}, Misconfigured, None, "check the backend token"),
        (404, {}, Misconfigured, None, "check the backend URL"),
        (302, {"Location": "http://elsewhere/x"}, Misconfigured, None, "redirect to http://elsewhere/x"),
        (307, {}, Misconfigured, None, "redirect to nowhere"),
    ],
)
def test_each_status_has_its_place_in_the_error_tree(
    service: Service,
    status: int,
    headers: dict[str, str],
    kind: type[BackendError],
    retry_after_s: float | None,
    text: str,
) -> None:
    """The gateway acts by the class alone; people act by the text. Exactly one arrival, whatever the answer."""
    service.script[:] = [answer(status, b"boom", headers)]
    with pytest.raises(BackendError) as caught:
        HttpBackend(service.url).send(call())

    assert kind is type(caught.value)
    assert retry_after_s == caught.value.retry_after_s
    assert text in str(caught.value)
    assert service.url + BATCH_PATH in str(caught.value)
    assert caught.value.arrived
    assert 1 == len(service.arrivals)


def test_a_retry_after_date_counts_by_the_servers_own_clock(service: Service) -> None:
    """Its clock may be an hour off ours; the difference it means is the same."""

    def script(handler: BaseHTTPRequestHandler, _body: dict[str, Any]) -> None:
        there = datetime.now(UTC) + timedelta(hours=1)
        handler.send_response_only(429)
        handler.send_header("Date", format_datetime(there, usegmt=True))
        handler.send_header("Retry-After", format_datetime(there + timedelta(seconds=30), usegmt=True))
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    service.script[:] = [script]
    with pytest.raises(Throttled) as caught:
        HttpBackend(service.url).send(call())

    assert 30.0 == caught.value.retry_after_s


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"<html>hello</html>", "<html>hello"),
        (b"\xff\xfe", "other than a batchRepair answer"),
        (b"[]", "other than"),
        (b'{"results": "all"}', "other than"),
        (b'{"results": [', "other than"),
    ],
)
def test_nonsense_with_a_200_is_malformed(service: Service, body: bytes, text: str) -> None:
    """A proxy's login page must not count as a repair."""
    service.script[:] = [answer(200, body)]
    with pytest.raises(Malformed, match="is this the URL of the batch service") as caught:
        HttpBackend(service.url).send(call())

    assert text in str(caught.value)


def _raw(text: bytes, *, pause_s: float = 0.0, then_hang_s: float = 0.0) -> Script:
    """Writes bytes as they are, one by one with ``pause_s`` between, and may leave the connection open."""

    def script(handler: BaseHTTPRequestHandler, _body: dict[str, Any]) -> None:
        handler.close_connection = True
        try:
            for byte in [text[i : i + 1] for i in range(len(text))] if pause_s else [text]:
                handler.wfile.write(byte)
                handler.wfile.flush()
                time.sleep(pause_s)
            time.sleep(then_hang_s)
        except OSError:
            return

    return script


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (_raw(b""), Unavailable),  # closed without a word
        (_raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"), Unavailable),  # cut in the body
        (_raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"), Unavailable),
        (_raw(b"HTTP/1.1 200 OK\r\n\r\n"), Malformed),  # a body of no announced length that is empty: cut, or not?
        (_raw(b"SSH-2.0-OpenSSH\r\n"), Malformed),
        (_raw(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n"), Malformed),
        (_raw(b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n"), Unavailable),
    ],
)
def test_broken_answers_leave_the_outcome_unknown(service: Service, script: Script, kind: type[BackendError]) -> None:
    """The request arrived; whether it was carried out nobody knows."""
    service.script[:] = [script]
    with pytest.raises(BackendError) as caught:
        HttpBackend(service.url).send(call())

    assert kind is type(caught.value)
    assert caught.value.arrived
    assert 1 == len(service.arrivals)


@pytest.mark.parametrize(
    "script",
    [
        _raw(b"", then_hang_s=30.0),  # silence
        _raw(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 90, pause_s=0.05),  # headers drip
        _raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", then_hang_s=30.0),  # half a body, then silence
        _raw(b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 600, pause_s=0.05),  # a body that trickles for ever
    ],
    ids=["silence", "dripping headers", "half a body", "trickling body"],
)
def test_the_timeout_bounds_the_call_as_a_whole(service: Service, script: Script) -> None:
    """A timeout per read would let a byte per second hold the slot and the thread for ever."""
    service.script[:] = [script]
    begin = time.monotonic()
    with pytest.raises(CallTimeout, match=r"no whole answer within 0\.3 s"):
        HttpBackend(service.url).send(call(timeout_s=0.3))

    assert 0.25 <= time.monotonic() - begin < 15.0  # half of what each of them takes


def test_an_endless_answer_is_cut_off(service: Service) -> None:
    """Memory is bounded, whatever the other side does."""

    def script(handler: BaseHTTPRequestHandler, _body: dict[str, Any]) -> None:
        handler.close_connection = True
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                handler.wfile.write(b" " * 65536)
        except OSError:
            return

    service.script[:] = [script]
    with pytest.raises(Malformed, match="longer than 4 MiB"):
        HttpBackend(service.url).send(call(timeout_s=10.0))


def test_what_was_never_sent_has_not_arrived() -> None:
    """Then the items need no embargo: nothing can be under way."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused
        port = taken.getsockname()[1]
        with pytest.raises(Unavailable, match="is the service running") as refused:
            HttpBackend(f"http://127.0.0.1:{port}").send(call())
    with pytest.raises(Unavailable, match="cannot be resolved") as unknown:
        HttpBackend("http://no-such-host.invalid").send(call())

    assert not refused.value.arrived
    assert not unknown.value.arrived


def test_https_to_a_plain_port_names_the_cure(service: Service) -> None:
    """A common slip."""
    with pytest.raises(Unavailable, match="is https right") as caught:
        HttpBackend(service.url.replace("http:", "https:")).send(call())

    assert not caught.value.arrived
    assert [] == service.arrivals


def test_a_handshake_that_never_ends_ends_with_the_timeout() -> None:
    """TLS is part of the call."""
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        begin = time.monotonic()
        with pytest.raises(Unavailable, match="nothing was sent"):
            HttpBackend(f"https://127.0.0.1:{mute.getsockname()[1]}").send(call(timeout_s=0.4))

    assert time.monotonic() - begin < 20.0  # else it would wait for ever


def test_a_token_that_cannot_be_read_is_an_error_of_the_call(service: Service) -> None:
    """The file may be between two rotations; the operator must not fall over it."""
    with pytest.raises(Unavailable, match="no token.*nothing was sent") as caught:
        HttpBackend(service.url, token=lambda: Path("/no/such/token").read_text(encoding="utf-8")).send(call())

    assert not caught.value.arrived


def test_nothing_is_left_behind(service: Service) -> None:
    """Neither threads nor sockets: a process makes millions of calls."""
    service.script[:] = [answer(200, {})]
    backend = HttpBackend(service.url)
    backend.send(call())
    before = {thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)}
    files = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0
    for _ in range(20):
        backend.send(call())

    def clean() -> bool:
        """The service's own ends are closed by threads of its own, a little later."""
        timers = {thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)}
        return timers == before and (not files or len(list(Path("/proc/self/fd").iterdir())) <= files + 4)

    until_s = time.monotonic() + 30
    while not clean():
        assert time.monotonic() < until_s
        time.sleep(0.01)


@pytest.mark.parametrize(
    "url",
    ["", "backend", "ftp://host", "http://", "http://user:pw@host", "http://host?x=1", "http://[::1", "http://h:99999"],
)
def test_a_url_that_cannot_be_used_is_a_setting_error(url: str) -> None:
    """Before anything starts, with what was found; a password is not repeated."""
    with pytest.raises(SettingsError, match="backend URL") as caught:
        HttpBackend(url)

    assert "pw" not in str(caught.value)


def test_a_base_path_is_kept(service: Service) -> None:
    """Services live behind gateways."""
    service.script[:] = [answer(200, {})]
    HttpBackend(service.url + "/repairs/").send(call())

    assert "/repairs/v1/nodes:batchRepair" == service.arrivals[0][0]


def test_the_documentation_describes_this_wire_format() -> None:
    """What another team builds its backend from must not drift from what is sent."""
    document = yaml.safe_load((Path(__file__).parents[2] / "docs/backend-openapi.yaml").read_text(encoding="utf-8"))
    operation = document["paths"][BATCH_PATH]["post"]
    node = document["components"]["schemas"]["Node"]["properties"]
    result = document["components"]["schemas"]["Result"]["properties"]

    assert {"key", "name", "namespace", "kind", "uid", "cluster"} == set(node)
    assert {"key", "uid", "status", "message", "retryAfterSeconds"} == set(result)
    assert ["accepted", "failed", "throttled"] == result["status"]["enum"]
    assert {"200", "429", "503", "4XX", "5XX"} <= set(operation["responses"])
