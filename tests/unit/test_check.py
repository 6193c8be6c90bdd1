"""``muster check`` against a real HTTP server that answers as an API server would: each no names the thing and the cure."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from actors.core.builtin import MUSTER_FLEET
from actors.edge.settings_load import load
from actors.ops.check import Line, checks, in_json, in_lines
from actors.ops.cli import cli

REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
GROUP = "/apis/muster.dev/v1alpha1"
ANSWER = tuple[int, object]


class FakeServer:
    """Answers GETs from ``answers`` by path, and reviews by ``allowed``; keeps what was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, ANSWER] = {
            "/version": (200, {"gitVersion": "v1.34.1"}),
            "/apis/muster.dev": (200, {"versions": [{"version": "v1alpha1"}]}),
            GROUP: (200, {"resources": [*self.resources()]}),
            **{kind.path(): (200, {"items": []}) for kind in MUSTER_FLEET.kinds},
        }
        self.allowed: Callable[[dict[str, str]], bool] = lambda attributes: True
        self.review_status = 201
        self.asked: list[tuple[str, str]] = []
        self.reviewed: list[dict[str, str]] = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = 1 << 16  # one write for an answer: two cost 40 ms each, by delayed acknowledgement

            def do_GET(self) -> None:
                fake.asked.append(("GET", self.path))
                path = self.path.partition("?")[0].replace("/namespaces/fleet-a", "")
                self.answer(*fake.answers.get(path, (404, {"message": "404 page not found"})))

            def do_POST(self) -> None:
                fake.asked.append(("POST", self.path))
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if self.path != REVIEWS:
                    self.answer(404, {})
                    return
                attributes = body["spec"]["resourceAttributes"]
                fake.reviewed.append(attributes)
                self.answer(fake.review_status, {"status": {"allowed": fake.allowed(attributes)}})

            def answer(self, status: int, body: object) -> None:
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    @staticmethod
    def resources() -> Iterator[dict[str, object]]:
        for kind in MUSTER_FLEET.kinds:
            for name in (kind.plural, f"{kind.plural}/status"):
                yield {"name": name, "kind": kind.kind, "namespaced": True}


@pytest.fixture
def server() -> Iterator[FakeServer]:
    fake = FakeServer()
    thread = threading.Thread(target=fake.server.serve_forever, args=(0.05,))
    thread.start()
    yield fake
    fake.server.shutdown()
    fake.server.server_close()
    thread.join()


@pytest.fixture
def backend() -> Iterator[str]:
    """Takes connections, as the check asks; nothing may ever be sent on one."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        listening.settimeout(0.02)
        with contextlib.suppress(TimeoutError):
            while True:
                connection, _ = listening.accept()
                with connection:
                    assert connection.recv(1) == b"", "the check must send no batch call"


def kubeconfig(tmp_path: Path, url: str) -> str:
    path = tmp_path / "kubeconfig"
    path.write_text(
        json.dumps(
            {
                "apiVersion": "v1", "kind": "Config", "current-context": "here",
                "clusters": [{"name": "c", "cluster": {"server": url}}],
                "users": [{"name": "u", "user": {"token": "s3cret-token"}}],
                "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
            }
        )
    )  # fmt: skip
    return str(path)


@pytest.fixture
def lines(tmp_path: Path, server: FakeServer, backend: str) -> Callable[..., list[Line]]:
    def ask(**flags: str) -> list[Line]:
        given = {"kubeconfig": kubeconfig(tmp_path, server.url), "backend-url": backend}
        return checks(load(given | {name.replace("_", "-"): value for name, value in flags.items()}, {}))

    return ask


def no(lines: list[Line]) -> list[Line]:
    return [line for line in lines if line.ok is False]


def test_where_everything_is_well_every_line_is_yes(lines: Callable[..., list[Line]], server: FakeServer) -> None:
    found = lines()

    assert {line.ok for line in found} == {True}
    assert found[1].message == f"{server.url} answers, Kubernetes v1.34.1"
    assert in_lines(found).endswith("run would work here\n")


def test_it_asks_for_the_permissions_that_the_shipped_role_grants(
    lines: Callable[..., list[Line]], server: FakeServer
) -> None:
    lines(namespace="fleet-a")

    asked = {(each["verb"], each["resource"], each.get("subresource", "")) for each in server.reviewed}
    plurals = [kind.plural for kind in MUSTER_FLEET.kinds]
    assert asked == {(verb, plural, "") for verb in ("list", "watch") for plural in plurals} | {
        ("patch", "clusters", "status"),
        ("create", "events", ""),
        ("patch", "events", ""),
    }
    assert {each["namespace"] for each in server.reviewed} == {"fleet-a"}
    assert {each["group"] for each in server.reviewed} == {"muster.dev", "events.k8s.io"}


def test_it_changes_nothing(lines: Callable[..., list[Line]], server: FakeServer) -> None:
    lines()

    assert {(method, path) for method, path in server.asked if method != "GET"} == {("POST", REVIEWS)}


def test_a_permission_that_is_missing_is_named_with_its_cure(
    lines: Callable[..., list[Line]], server: FakeServer
) -> None:
    server.allowed = lambda each: (each["verb"], each["resource"]) != ("watch", "storagenodes")

    (line,) = no(lines())

    assert line.name == "permission to watch storagenodes.muster.dev in all namespaces"
    assert "kubectl apply -k manifests/rbac" in line.cure


def test_events_are_best_effort(lines: Callable[..., list[Line]], server: FakeServer) -> None:
    server.allowed = lambda each: each["resource"] != "events"

    found = lines()

    assert no(found) == []
    notes = [line for line in found if line.ok is None]
    assert len(notes) == 2
    assert all("Events are not recorded" in line.message and "manifests/rbac" in line.cure for line in notes)


def test_a_status_that_cannot_be_patched_is_named(lines: Callable[..., list[Line]], server: FakeServer) -> None:
    server.allowed = lambda each: not each.get("subresource")

    (line,) = no(lines(namespace="fleet-a"))

    assert line.name == "permission to patch clusters.muster.dev, subresource status in the namespace fleet-a"
    assert "manifests/overlays/namespaced" in line.cure


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({GROUP: (404, {}), "/apis/muster.dev": (404, {})}, "does not know muster.dev/v1alpha1 (its CRD is missing)"),
        (
            {GROUP: (404, {}), "/apis/muster.dev": (200, {"versions": [{"version": "v1"}, {"version": "v2"}]})},
            "the server has muster.dev in v1, v2, not in v1alpha1",
        ),
        ({GROUP: (200, {"resources": []})}, "is served, without clusters (its CRD is missing)"),
        (
            {GROUP: (200, {"resources": [{"name": "clusters", "kind": "Cluster", "namespaced": True}]})},
            "has no status subresource",
        ),
        (
            {GROUP: (200, {"resources": [{"name": "clusters", "kind": "Cluster", "namespaced": False}]})},
            "clusters are in no namespace there",
        ),
        (
            {GROUP: (200, {"resources": [{"name": "mclusters", "kind": "Cluster", "namespaced": True}]})},
            "without clusters: the server calls Cluster mclusters",
        ),
        (
            {GROUP: (200, {"resources": [{"name": "clusters", "kind": "Klaster", "namespaced": True}]})},
            "clusters is another kind there: Klaster",
        ),
        ({GROUP: (200, {"resources": [None, 5]})}, "is served, without clusters"),
    ],
)
def test_a_kind_that_is_missing_or_another_is_named_with_its_cure(
    lines: Callable[..., list[Line]], server: FakeServer, change: dict[str, ANSWER], told: str
) -> None:
    server.answers.update(change)

    line = no(lines())[0]

    assert line.name == "kind clusters.muster.dev"
    assert told in line.message
    assert "kubectl apply -k manifests/crd" in line.cure


def test_a_kind_that_cannot_be_listed_for_want_of_permission_is_told_once(
    lines: Callable[..., list[Line]], server: FakeServer
) -> None:
    server.answers[MUSTER_FLEET.parent.path()] = (403, {"message": "no"})
    server.allowed = lambda each: (each["verb"], each["resource"]) != ("list", "clusters")

    assert [line.name for line in no(lines())] == ["permission to list clusters.muster.dev in all namespaces"]


def test_a_kind_whose_server_fails_is_named(lines: Callable[..., list[Line]], server: FakeServer) -> None:
    server.answers[MUSTER_FLEET.parent.path()] = (500, {"message": "etcd is away"})

    (line,) = no(lines())

    assert "cannot be listed" in line.message
    assert "etcd is away" in line.message


@pytest.mark.parametrize(
    ("status", "cure"), [(401, "renew the token"), (403, "system:basic-user"), (503, "is the API server running")]
)
def test_a_refused_connection_is_one_no_and_the_rest_is_not_asked(
    lines: Callable[..., list[Line]], server: FakeServer, status: int, cure: str
) -> None:
    server.answers["/version"] = (status, {"message": "no"})

    found = lines()

    (line,) = no(found)
    assert (line.name, line.message.startswith(server.url)) == ("connection", True)
    assert str(status) in line.message
    assert cure in line.cure
    assert [each.message for each in found if each.ok is None] == [
        "not asked: the API server did not answer the questions before"
    ]


def test_who_may_not_even_ask_is_told_so(lines: Callable[..., list[Line]], server: FakeServer) -> None:
    server.review_status = 403

    (line,) = no(lines())

    assert "system:basic-user" in line.cure


@pytest.mark.parametrize("body", [b"<html>hello</html>", b"[]", b"\xff"])
def test_something_else_that_answers_is_told_so(
    lines: Callable[..., list[Line]], server: FakeServer, body: bytes
) -> None:
    server.answers["/version"] = (200, body)

    (line,) = no(lines())

    assert line.cure == "is this the address of an API server?"


def test_an_unreachable_server_is_named_with_the_cure(tmp_path: Path, backend: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"

    (line,) = no(checks(load({"kubeconfig": kubeconfig(tmp_path, url), "backend-url": backend}, {})))

    assert url in line.message
    assert "is the API server running" in line.cure


def test_a_context_that_is_not_there_is_named(lines: Callable[..., list[Line]]) -> None:
    (line,) = no(lines(context="elsewhere"))

    assert line.name == "connection"
    assert "elsewhere" in line.message
    assert "--context" in line.cure


def test_a_kubeconfig_that_is_not_there_is_named(tmp_path: Path, backend: str) -> None:
    (line,) = no(checks(load({"kubeconfig": str(tmp_path / "none"), "backend-url": backend}, {})))

    assert str(tmp_path / "none") in line.message


# --- the backend ------------------------------------------------------------------------------------------------------
def test_a_backend_that_is_not_set_is_one_no(lines: Callable[..., list[Line]]) -> None:
    (line,) = no(lines(backend_url=""))

    assert line.name == "backend"
    assert "give --backend-url URL, MUSTER_BACKEND_URL or backendUrl" in line.message


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
def test_a_backend_that_does_not_answer_is_named_with_the_cure(lines: Callable[..., list[Line]], host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    (line,) = no(lines(backend_url=f"http://{host}:{port}"))

    assert f"{host}:{port} cannot be reached" in line.message
    assert "--backend-url" in line.cure


def test_a_backend_without_tls_is_told_so(lines: Callable[..., list[Line]], server: FakeServer) -> None:
    (line,) = no(lines(backend_url=server.url.replace("http:", "https:")))

    assert "cannot be reached" in line.message


def test_a_token_file_that_cannot_be_read_is_named(lines: Callable[..., list[Line]], tmp_path: Path) -> None:
    (line,) = no(lines(backend_token_file=str(tmp_path / "none")))

    assert f"{tmp_path}/none: No such file" in line.message


# --- the command ------------------------------------------------------------------------------------------------------
def command(tmp_path: Path, url: str, *more: str) -> Result:
    return CliRunner().invoke(cli, ["check", "--kubeconfig", kubeconfig(tmp_path, url), *more])


def test_the_command_exits_3_with_the_cures(tmp_path: Path, server: FakeServer) -> None:
    result = command(tmp_path, server.url)

    assert result.exit_code == 3
    assert "NO   backend: backend-url is not set" in result.output
    assert "cure: " in result.output
    assert "s3cret" not in result.output


def test_the_command_exits_0_and_speaks_json(tmp_path: Path, server: FakeServer, backend: str) -> None:
    result = command(tmp_path, server.url, "--backend-url", backend, "--json")

    assert result.exit_code == 0
    found = json.loads(result.output)
    assert found["ok"] is True
    assert {each["ok"] for each in found["checks"]} == {True}


def test_json_tells_every_no() -> None:
    assert json.loads(in_json([Line("a", False, "b", "c")])) == {
        "ok": False, "checks": [{"name": "a", "ok": False, "message": "b", "cure": "c"}],
    }  # fmt: skip
