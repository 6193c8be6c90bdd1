"""The webhook: its OpenAPI file, what is really sent and answered, and the reference backend that people copy."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import jsonschema
import openapi_spec_validator
import pytest
import yaml

from actors.core.operation import Capabilities
from actors.edge.backend import BATCH_PATH, HttpBackend
from actors.sim.backend import BackendModel, Behaviour
from actors.sim.serve import Connection, HttpServer, Request
from actors.sim.serve_backend import BackendFace
from actors.testing import BackendContract, Subject

ROOT = Path(__file__).parents[2]
DOCUMENT = yaml.safe_load((ROOT / "docs" / "backend-openapi.yaml").read_text(encoding="utf-8"))
EXAMPLE = ROOT / "examples" / "webhook-backend"


def as_documented(schema: str, value: object) -> None:
    """Valid by that schema of the file, whose language is JSON Schema 2020-12 (OpenAPI 3.1)."""
    whole = {"$ref": f"#/components/schemas/{schema}", "components": DOCUMENT["components"]}
    jsonschema.validate(value, whole, cls=jsonschema.Draft202012Validator)


def test_the_file_is_openapi() -> None:
    openapi_spec_validator.validate(DOCUMENT)
    assert DOCUMENT["openapi"].startswith("3.1.")


def test_its_examples_follow_its_schemas() -> None:
    operation = DOCUMENT["paths"][BATCH_PATH]["post"]
    as_documented("BatchRepair", operation["requestBody"]["content"]["application/json"]["example"])
    as_documented("BatchRepaired", operation["responses"]["200"]["content"]["application/json"]["example"])


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ("BatchRepair", {"nodes": []}),
        ("BatchRepair", {"nodes": [{"key": "k"}]}),
        ("BatchRepaired", {"results": [{"key": "k", "status": "perhaps"}]}),
        ("BatchRepaired", {"results": [{"status": "accepted"}]}),
        ("BatchRepaired", {"results": [{"key": "k", "status": "throttled", "retryAfterSeconds": -1}]}),
    ],
)
def test_its_schemas_refuse_what_is_wrong(schema: str, value: object) -> None:
    """A schema that lets everything through documents nothing."""
    with pytest.raises(jsonschema.ValidationError):
        as_documented(schema, value)


class Overheard(Connection):
    """Sends by ``connection``, and keeps the bodies."""

    def __init__(self, connection: Connection, bodies: list[bytes]) -> None:
        self._connection, self._bodies = connection, bodies

    def send(self, code: int, body: bytes = b"", *given: Any, **more: Any) -> None:
        self._bodies.append(body)
        self._connection.send(code, body, *given, **more)


@pytest.mark.parametrize("do", [None, "partial", "missing", "unknown", "empty", "throttle"])
def test_what_is_sent_and_what_the_simulated_backend_answers_are_as_documented(do: str | None) -> None:
    """Both ends, byte by byte as they were on the wire."""
    model, seen = BackendModel(), list[Request]()
    face, answers = BackendFace(model), list[bytes]()

    def handle(request: Request, connection: Connection) -> None:
        seen.append(request)
        face.handle(request, Overheard(connection, answers))

    if do is not None:
        model.behave(Behaviour(do, count=1, retry_after_s=2))
    with HttpServer(handle) as server:
        subject = Subject(backend=HttpBackend(server.url), executed=list, arrivals=lambda: len(seen))
        if do == "throttle":
            subject.error(subject.items(3))
        else:
            subject.send(subject.items(3))

    (request,) = seen
    (key,) = (each for each in DOCUMENT["paths"][BATCH_PATH]["post"]["parameters"] if each["name"] == "Idempotency-Key")
    assert (request.method, request.path) == ("POST", BATCH_PATH)
    assert request.headers["content-type"] == "application/json"
    jsonschema.validate(request.headers["idempotency-key"], key["schema"], cls=jsonschema.Draft202012Validator)
    as_documented("BatchRepair", json.loads(request.body))
    assert set(json.loads(request.body)["nodes"][0]) == set(DOCUMENT["components"]["schemas"]["Node"]["properties"])
    if do != "throttle":
        as_documented("BatchRepaired", json.loads(answers[0]))


# --- the reference backend --------------------------------------------------------------------------------------------
def example() -> Any:
    """The module, as a file that somebody has copied."""
    spec = spec_from_file_location("webhook_backend", EXAMPLE / "backend.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def started() -> Iterator[Callable[..., tuple[str, Any]]]:
    """Starts the reference backend in this process, on a real socket."""
    servers: list[ThreadingHTTPServer] = []

    def start(**given: Any) -> tuple[str, Any]:
        module = example()

        backend = module.Backend(**given)
        quiet = type("Quiet", (module.Handler,), {"backend": backend, "log_message": lambda *_: None})
        server = ThreadingHTTPServer(("127.0.0.1", 0), quiet)
        server.daemon_threads = True
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return f"http://127.0.0.1:{server.server_address[1]}", backend

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


class TestReferenceBackend(BackendContract):
    """What people copy keeps the contract: the adapter over real HTTP, its code behind it."""

    @pytest.fixture
    def subject(self, started: Callable[..., tuple[str, Any]], deaf_port: int) -> Iterator[Subject]:
        url, service = started(calls_max=3, window_s=1.0, batch_max=50)
        arrived: list[object] = []
        reject: set[str] = set()
        over, faults, call, carry_out = threading.Event(), list[str](), service.call, service.carry_out

        def arrive(body: bytes) -> Any:
            arrived.append(body)
            if "hang" in faults:
                over.wait()
            if "fail" in faults:
                raise RuntimeError("a bug in somebody's code")
            return call(body)

        service.call = arrive
        service.carry_out = lambda node: "it has no power switch" if node["uid"] in reject else carry_out(node)
        adapter = HttpBackend(url)
        adapter.capabilities = Capabilities(batch_max=50)

        def throttle(_seconds: float) -> None:
            for _ in range(3):  # its quota, by calls that carry nothing out
                post(url, b"")
            arrived.clear()

        yield Subject(
            backend=adapter,
            executed=lambda: [node["uid"] for node in service.repairs],
            arrivals=lambda: len(arrived),
            throttle=throttle,
            fail=lambda: faults.append("fail"),
            hang=lambda: faults.append("hang"),
            reject=reject.add,
            nowhere=lambda: HttpBackend(f"http://127.0.0.1:{deaf_port}"),
        )
        over.set()


def test_the_reference_backend_answers_as_documented(started: Callable[..., tuple[str, Any]]) -> None:
    url, service = started()
    service.carry_out = lambda node: "no" if node["uid"] == "u2" else ""
    nodes = [{"key": f"k{n}", "uid": f"u{n}"} for n in range(4)]
    as_documented("BatchRepaired", post(url, {"nodes": nodes})[1])


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"nodes": []}', b'{"nodes": [{"key": "k"}]}', b'{"nodes": {"a": 1}}', b"\xff"]
)
def test_the_reference_backend_refuses_what_is_wrong(started: Callable[..., tuple[str, Any]], body: bytes) -> None:
    url, service = started()
    code, answer = post(url, body)

    assert code == 400
    assert "expected" in answer["error"]
    assert service.repairs == []


def test_its_quota_counts_arrivals_and_says_when(started: Callable[..., tuple[str, Any]]) -> None:
    url, _ = started(calls_max=2, window_s=30.0)
    codes = [post(url, {"nodes": [{"key": f"k{n}", "uid": "u"}]})[0] for n in range(3)]

    assert codes == [200, 200, 429]


@pytest.mark.skipif(shutil.which("curl") is None, reason="the page's commands want curl")
def test_the_pages_commands_do_what_the_page_says() -> None:
    """Started as a process of its own, on a free port, so that two runs do not meet."""
    page = (EXAMPLE / "README.md").read_text(encoding="utf-8")
    start, *asked = re.findall(r"(?ms)^```sh\n(.*?)^```", page)
    answers = [json.loads(each) for each in re.findall(r"(?ms)^```json\n(.*?)^```", page)]
    assert start.startswith("python examples/webhook-backend/backend.py --port 8088 ")
    command = start.strip().replace("python ", f"exec {sys.executable} ", 1).replace("--port 8088", "--port 0")
    with subprocess.Popen(
        ["sh", "-c", command], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        try:
            assert server.stdout is not None
            url = server.stdout.readline().split()[-1]
            ran = "".join(asked).replace("http://127.0.0.1:8088", url).splitlines()
            said = [subprocess.check_output(["sh", "-c", line], text=True, timeout=20) for line in ran]
        finally:
            server.terminate()

    assert [json.loads(each) for each in said] == [answers[0], answers[0], answers[1]]


def post(url: str, body: object) -> tuple[int, Any]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url + BATCH_PATH, data=raw, headers={"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)
