"""The connection: every failure becomes an error that names the server, the path and the cure."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from actors.core.builtin import MUSTER_FLEET
from actors.core.errors import (
    ApiError,
    ApiThrottled,
    Conflict,
    Expired,
    Forbidden,
    Invalid,
    NotFound,
    SettingsError,
    Unauthorized,
    Undecodable,
    Unreachable,
)
from actors.core.model import EventNote, ParentKey
from actors.edge.kube import KubeClient, retry_after_s
from actors.edge.writer import KubeStatusWriter

PATH = "/apis/muster.dev/v1alpha1/namespaces/ns/clusters/c1/status"
LIST = "/apis/muster.dev/v1alpha1/clusters"


class Asked:
    def __init__(self, handler: BaseHTTPRequestHandler) -> None:
        self.method, self.path = handler.command, handler.path
        self.headers = handler.headers
        length = int(handler.headers.get("Content-Length") or 0)
        self.body: Any = json.loads(handler.rfile.read(length)) if length else None


Answer = tuple[int, Any, dict[str, str]]


class Server:
    """Answers by ``answer``; keeps what was asked."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.connections_count = 0
        self.answer: Callable[[Asked], Answer] = lambda asked: (200, {}, {})
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                asked = Asked(self)
                outer.asked.append(asked)
                code, body, headers = outer.answer(asked)
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(code)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PATCH = handle_any  # noqa: N815 - the library's names

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as above
                pass

        class Quiet(ThreadingHTTPServer):
            def process_request(self, request: Any, client_address: Any) -> None:
                outer.connections_count += 1
                super().process_request(request, client_address)

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A client that closes early is what is tested here."""

        self.http = Quiet(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()


def config(url: str, user: dict[str, Any]) -> str:
    return json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": "here",
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
    })  # fmt: skip


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.http.shutdown()
    made.http.server_close()


@pytest.fixture
def kubeconfig(server: Server, tmp_path: Path) -> Path:
    path = tmp_path / "config"
    path.write_text(config(server.url, {"token": "old"}))
    return path


@pytest.fixture
def client(kubeconfig: Path) -> Iterator[KubeClient]:
    made = KubeClient(kubeconfig)
    yield made
    made.close()


def failure(code: int, message: str = "it says why") -> dict[str, Any]:
    return {"kind": "Status", "status": "Failure", "code": code, "message": message}


@pytest.mark.parametrize(
    ("code", "expected", "cure"),
    [
        (400, Invalid, ""), (401, Unauthorized, "renew the token"), (403, Forbidden, "kubectl apply -k manifests/rbac"),
        (404, NotFound, "kubectl apply -k manifests/crd"), (409, Conflict, ""), (410, Expired, ""), (422, Invalid, ""),
        (429, ApiThrottled, "patience"), (405, Invalid, ""), (500, Unreachable, ""), (503, Unreachable, ""),
        (504, Unreachable, ""), (307, Unreachable, "set that address as the server"),
    ],
)  # fmt: skip
def test_each_refusal_has_its_class_and_names_the_cure(
    server: Server, client: KubeClient, code: int, expected: type[ApiError], cure: str
) -> None:
    server.answer = lambda asked: (code, failure(code), {"Location": "https://elsewhere/"} if code == 307 else {})

    with pytest.raises(ApiError) as caught:
        client.request("GET", LIST, query={"limit": "500"})

    text = str(caught.value)
    assert type(caught.value) is expected
    assert server.url in text
    assert LIST in text
    assert "it says why" in text
    assert cure in text
    assert "\n" not in text


def test_a_missing_permission_is_named_with_verb_and_resource(server: Server, client: KubeClient) -> None:
    server.answer = lambda asked: (403, failure(403), {})

    for method, path, query, expected in (
        ("GET", LIST, {"watch": "1"}, "the verb watch on clusters.muster.dev:"),
        ("GET", LIST, {}, "the verb list on clusters.muster.dev:"),
        ("PATCH", PATH, {}, "the verb patch on clusters.muster.dev/status:"),
        ("POST", "/api/v1/namespaces/ns/pods", {}, "the verb create on pods:"),
        ("GET", "/api/v1/nodes/n", {}, "the verb get on nodes:"),
    ):
        with pytest.raises(Forbidden) as caught:
            client.request(method, path, query=query)
        assert expected in str(caught.value)


def test_a_missing_object_is_not_taken_for_a_missing_kind(server: Server, client: KubeClient) -> None:
    server.answer = lambda asked: (404, failure(404, 'clusters.muster.dev "c1" not found'), {})

    with pytest.raises(NotFound) as caught:
        client.request("PATCH", PATH, body={})

    assert "manifests/crd" not in str(caught.value)


@pytest.mark.parametrize("body", [b"", b"<html>" * 100_000, b"\xff\xfe", b"[1]", b'{"message": 5}'])
def test_a_refusal_in_a_strange_body_is_still_a_refusal(server: Server, client: KubeClient, body: bytes) -> None:
    server.answer = lambda asked: (503, body, {})

    with pytest.raises(Unreachable) as caught:
        client.request("GET", LIST)

    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("value", "expected"),
    [("5", 5.0), ("0", 0.0), ("600", 600.0), ("99999", 3600.0), ("Thu, 01 Jan 2026 00:00:07 GMT", 7.0),
     ("Wed, 31 Dec 2025 23:00:00 GMT", 0.0), ("soon", None), ("-3", None), ("1.5", None), ("", None), (None, None)],
)  # fmt: skip
def test_retry_after_is_seconds_or_a_date_or_nothing(value: str | None, expected: float | None) -> None:
    assert retry_after_s(value, 1767225600.0) == expected


def test_the_wish_to_wait_is_carried(server: Server, client: KubeClient) -> None:
    server.answer = lambda asked: (429, failure(429), {"Retry-After": "7"})

    with pytest.raises(ApiThrottled) as caught:
        client.request("GET", LIST)

    assert caught.value.retry_after_s == 7.0


def test_a_401_loads_the_credentials_anew_and_tries_once_more(
    server: Server, client: KubeClient, kubeconfig: Path
) -> None:
    """Tokens rotate under a long-lived process; the file has the new one."""
    server.answer = lambda asked: (200 if asked.headers["Authorization"] == "Bearer new" else 401, {}, {})
    kubeconfig.write_text(config(server.url, {"token": "new"}))

    assert client.request("GET", LIST).status == 200
    assert [asked.headers["Authorization"] for asked in server.asked] == ["Bearer old", "Bearer new"]
    assert client.request("GET", LIST).status == 200
    assert len(server.asked) == 3


def test_a_401_that_stays_is_told_after_one_more_try(server: Server, client: KubeClient) -> None:
    server.answer = lambda asked: (401, failure(401), {})

    with pytest.raises(Unauthorized):
        client.request("GET", LIST)

    assert len(server.asked) == 2


def test_an_exec_plugin_gives_the_token(server: Server, tmp_path: Path) -> None:
    credential = {
        "apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "from-plugin"},
    }  # fmt: skip
    plugin = {"apiVersion": credential["apiVersion"], "command": "echo", "args": [json.dumps(credential)]}
    path = tmp_path / "config"
    path.write_text(config(server.url, {"exec": plugin | {"interactiveMode": "Never"}}))

    KubeClient(path).request("GET", LIST)

    assert server.asked[0].headers["Authorization"] == "Bearer from-plugin"


def test_requests_name_themselves_and_are_not_repeated(server: Server, client: KubeClient) -> None:
    server.answer = lambda asked: (503, {}, {"Retry-After": "0"})

    with pytest.raises(Unreachable):
        client.request("POST", LIST, body={})

    assert len(server.asked) == 1
    assert server.asked[0].headers["User-Agent"].startswith("muster/")


def test_no_server_is_unreachable_and_says_so(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        path = tmp_path / "config"
        path.write_text(config(url, {}))

        with pytest.raises(Unreachable) as caught:
            KubeClient(path).request("GET", LIST)

    assert url in str(caught.value)
    assert "is it running" in str(caught.value)


def test_a_server_that_never_answers_is_unreachable(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        path = tmp_path / "config"
        path.write_text(config(f"http://127.0.0.1:{listening.getsockname()[1]}", {}))

        with pytest.raises(Unreachable, match="no answer in time"):
            KubeClient(path).request("GET", LIST, timeout_s=0.2)


@pytest.mark.parametrize("text", [None, "", "}{", "[]", "apiVersion: v1\nkind: Config\n", config("not-a-url", {})])
def test_a_useless_kubeconfig_is_a_settings_error(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "config"
    if text is not None:
        path.write_text(text)

    with pytest.raises(SettingsError):
        KubeClient(path)


def test_an_unknown_context_is_named(kubeconfig: Path) -> None:
    with pytest.raises(SettingsError, match="nowhere"):
        KubeClient(kubeconfig, "nowhere")


def test_an_answer_that_is_no_json_object_is_undecodable(server: Server, client: KubeClient) -> None:
    server.answer = lambda asked: (200, b"<html>", {})

    with pytest.raises(Undecodable):
        client.server_version()


def test_access_is_asked_by_a_review(server: Server, client: KubeClient) -> None:
    server.answer = lambda asked: (201, {"status": {"allowed": True}}, {})

    assert client.allowed("patch", "muster.dev", "clusters", subresource="status", namespace="ns") is True
    assert server.asked[0].body["spec"]["resourceAttributes"] == {
        "verb": "patch", "group": "muster.dev", "resource": "clusters", "subresource": "status", "namespace": "ns",
    }  # fmt: skip


# --- writing ----------------------------------------------------------------------------------------------------------


class HandClock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def now(self) -> float:
        return self.now_s

    def wall(self) -> float:
        return 1_750_000_000.0 + self.now_s


def test_a_status_patch_is_bound_to_the_version_it_was_made_from(server: Server, client: KubeClient) -> None:
    server.answer = lambda asked: (200, {"metadata": {"resourceVersion": "43"}, "status": {"total": 2}}, {})

    written = KubeStatusWriter(client, MUSTER_FLEET).patch_status(ParentKey("ns", "c1"), "uid", 42, {"total": 2})

    asked = server.asked[0]
    assert (written.version, written.status) == (43, {"total": 2})
    assert (asked.method, asked.path.partition("?")[0]) == ("PATCH", PATH)
    assert asked.headers["Content-Type"] == "application/merge-patch+json"
    assert asked.body == {"metadata": {"resourceVersion": "42"}, "status": {"total": 2}}


@pytest.mark.parametrize(("code", "expected"), [(409, Conflict), (404, NotFound), (422, Invalid), (500, Unreachable)])
def test_a_refused_status_says_what_to_do_about_it(
    server: Server, client: KubeClient, code: int, expected: type[ApiError]
) -> None:
    server.answer = lambda asked: (code, failure(code), {})

    with pytest.raises(expected):
        KubeStatusWriter(client, MUSTER_FLEET).patch_status(ParentKey("ns", "c1"), "uid", 42, {})


def test_an_answer_to_a_patch_that_cannot_be_read_is_an_unknown_outcome(server: Server, client: KubeClient) -> None:
    server.answer = lambda asked: (200, b"{", {})

    with pytest.raises(Unreachable, match="cannot be read"):
        KubeStatusWriter(client, MUSTER_FLEET).patch_status(ParentKey("ns", "c1"), "uid", 42, {})


def test_events_are_made_once_and_repetitions_counted(server: Server, client: KubeClient) -> None:
    clock = HandClock()
    server.answer = lambda asked: (201, {"metadata": {"name": "c1.x"}}, {})
    writer = KubeStatusWriter(client, MUSTER_FLEET, clock)
    note = EventNote(type="Warning", reason="RepairsHeld", note="é" * 2000)

    for at_s in (0.0, 1.0, 300.0, 1000.0):
        clock.now_s = at_s
        writer.record_event(ParentKey("ns", "c1"), "uid", note)

    first, second, third, fourth = server.asked
    assert [asked.method for asked in server.asked] == ["POST", "PATCH", "PATCH", "PATCH"]
    assert first.path == "/apis/events.k8s.io/v1/namespaces/ns/events"
    assert first.body["regarding"] == {
        "apiVersion": "muster.dev/v1alpha1", "kind": "Cluster", "name": "c1", "namespace": "ns", "uid": "uid",
    }  # fmt: skip
    assert first.body["note"] == "é" * 512
    name = first.body["metadata"]["name"]
    assert name.startswith("c1.")
    assert first.body["eventTime"] == "2025-06-15T15:06:40.000000Z"
    assert {each.path for each in (second, third, fourth)} == {f"{first.path}/{name}"}
    assert [each.body["series"]["count"] for each in (second, third, fourth)] == [2, 3, 4]
    assert second.body["series"]["lastObservedTime"] == "2025-06-15T15:06:41.000000Z"
    assert writer.statistics() == {"created": 1, "counted": 3, "dropped": 0}


def test_a_later_process_counts_on_in_the_event_of_an_earlier_one(server: Server, client: KubeClient) -> None:
    """Else each restart of an operator leaves an Event for each parent that it has something to say of."""
    events: dict[str, Any] = {}

    def answer(asked: Asked) -> Answer:
        name = asked.path.rpartition("/")[2] if asked.method == "PATCH" else asked.body["metadata"]["name"]
        if asked.method == "POST" and name in events:
            return 409, failure(409), {}
        events[name] = events.get(name, {}) | asked.body
        return 200, events[name], {}

    server.answer = answer
    note = EventNote(type="Warning", reason="InvalidSpec", note="spec.repair: must be …")

    writers = [KubeStatusWriter(client, MUSTER_FLEET, HandClock()) for _ in range(3)]
    for writer in writers:
        writer.record_event(ParentKey("ns", "c1"), "uid", note)
        writer.record_event(ParentKey("ns", "c1"), "uid", note)

    (event,) = events.values()
    assert event["series"]["count"] == 6
    assert [asked.method for asked in server.asked] == ["POST", "PATCH", *(["POST", "PATCH", "PATCH", "PATCH"] * 2)]
    assert writers[-1].statistics() == {"created": 0, "counted": 2, "dropped": 0}


def test_an_event_that_was_not_made_is_made_with_the_next_word(server: Server, client: KubeClient) -> None:
    answers: Iterator[Answer] = iter([(500, failure(500), {}), (201, {"metadata": {"name": "x"}}, {})])
    server.answer = lambda asked: next(answers)
    writer = KubeStatusWriter(client, MUSTER_FLEET, HandClock())
    note = EventNote(type="Normal", reason="R", note="same")

    with pytest.raises(Unreachable):
        writer.record_event(ParentKey("ns", "c1"), "uid", note)
    writer.record_event(ParentKey("ns", "c1"), "uid", note)

    assert [asked.method for asked in server.asked] == ["POST", "POST"]
    assert writer.statistics() == {"created": 1, "counted": 0, "dropped": 0}


def test_an_event_that_has_expired_is_made_again(server: Server, client: KubeClient) -> None:
    answers: Iterator[Answer] = iter(
        [(201, {"metadata": {"name": "a"}}, {}), (404, failure(404), {}), (201, {"metadata": {"name": "b"}}, {})]
    )
    server.answer = lambda asked: next(answers)
    writer = KubeStatusWriter(client, MUSTER_FLEET, HandClock())

    for _ in range(2):
        writer.record_event(ParentKey("", "c1"), "uid", EventNote(type="Normal", reason="R", note="same"))

    assert [asked.method for asked in server.asked] == ["POST", "PATCH", "POST"]
    assert server.asked[0].path == "/apis/events.k8s.io/v1/namespaces/default/events", "of a parent without a namespace"


def test_every_request_is_a_fact(server: Server, kubeconfig: Path, tmp_path: Path) -> None:
    facts: list[Any] = []
    codes = iter([200, 404])
    server.answer = lambda asked: (code := next(codes), {} if code == 200 else failure(code), {})
    client = KubeClient(kubeconfig, facts=facts.append)
    client.request("GET", LIST)
    with pytest.raises(ApiError):
        client.request("PATCH", PATH, body={})
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        nowhere = f"127.0.0.1:{taken.getsockname()[1]}"
        other = tmp_path / "nowhere"
        other.write_text(config(f"http://{nowhere}", {}))
        with pytest.raises(Unreachable):
            KubeClient(other, facts=facts.append).request("GET", LIST)

    host = server.url.partition("://")[2]
    assert [(fact.method, fact.host, fact.code) for fact in facts] == [
        ("GET", host, "200"), ("PATCH", host, "404"), ("GET", nowhere, "<error>"),
    ]  # fmt: skip
    assert all(0.0 <= fact.seconds < 60.0 for fact in facts)


# --- connections that die ---------------------------------------------------------------------------------------------


def test_a_handshake_that_is_hung_up_on_is_an_outage_and_not_a_bad_certificate(tmp_path: Path) -> None:
    """A starting server, or a load balancer without one, accepts and closes. To send people after certificates then is
    unkind, and to read the configuration anew for each attempt is work for nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepted = []

        def hang_up() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                accepted.append(connection.recv(4096))  # the whole hello, so that closing is no reset
                connection.close()

        threading.Thread(target=hang_up, daemon=True).start()
        path = tmp_path / "config"
        path.write_text(config(f"https://127.0.0.1:{listener.getsockname()[1]}", {}))

        with pytest.raises(Unreachable, match="the connection broke") as caught:
            KubeClient(path).request("GET", LIST)

        listener.shutdown(socket.SHUT_RDWR)
    assert "certificate" not in str(caught.value)
    assert len(accepted) == 1


def test_a_request_without_an_answer_closes_the_idle_connections(server: Server, client: KubeClient) -> None:
    """Where one connection has gone dead without a word, those that wait for use have, too: each would cost its own timeout."""
    connections = []

    def answer(asked: Asked) -> Answer:
        if asked.path == "/slow":
            time.sleep(0.5)
        return 200, {}, {}

    server.answer = answer
    client.request("GET", "/fine")
    connections.append(server.connections_count)
    client.request("GET", "/fine")
    connections.append(server.connections_count)
    with pytest.raises(Unreachable, match="no answer in time"):
        client.request("GET", "/slow", timeout_s=0.1)
    client.request("GET", "/fine")
    connections.append(server.connections_count)

    assert connections == [1, 1, 2]
