"""Both servers over real sockets: the wire, the faults, the processes, and plain kubectl where it is at hand."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import attrs
import pytest

from actors.sim.apiserver import ApiServerModel
from actors.sim.backend import BackendModel
from actors.sim.serve import HttpServer, JsonLines
from actors.sim.serve_api import ApiServerFace, write_kubeconfig
from actors.sim.serve_backend import BackendFace
from actors.sim.serve_heal import Healer

Obj = dict[str, Any]

ROOT = Path(__file__).parents[2]
WIDGETS = "/apis/test.dev/v1/namespaces/default/widgets"
CRD: Obj = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.test.dev"},
    "spec": {
        "group": "test.dev",
        "scope": "Namespaced",
        "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "shortNames": ["wd"]},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "additionalPrinterColumns": [
                    {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'},
                    {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
                    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
                ],
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "description": "A widget for tests.",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "properties": {"size": {"type": "integer", "minimum": 0, "default": 1}},
                            },
                            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                        },
                    }
                },
            }
        ],
    },
}


@attrs.define
class Client:
    """One connection to a server."""

    port: int
    agent: str = "test"
    connection: http.client.HTTPConnection = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)

    def open(self, method: str, path: str, body: Any = None, **headers: str) -> http.client.HTTPResponse:
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        sent = {"User-Agent": self.agent, "Content-Type": kind} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        self.connection.request(method, path, None if body is None else json.dumps(body), sent)
        return self.connection.getresponse()

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        answer = self.open(method, path, body, **headers)
        text = answer.read()
        return answer.status, json.loads(text) if text else None


@attrs.define
class Api:
    """A running API server and its model."""

    server: HttpServer
    face: ApiServerFace
    clients: list[Client] = attrs.field(factory=list)

    def client(self, agent: str = "test") -> Client:
        self.clients.append(Client(self.server.port, agent))
        return self.clients[-1]

    def fault(self, **command: Any) -> int:
        code, answer = self.client("fault")("POST", "/__faults", command)
        assert code == 200, answer
        return int(answer["matched"])


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    model = ApiServerModel(clock=time.time)
    model.create("customresourcedefinitions.apiextensions.k8s.io", CRD)
    logs = [JsonLines(str(tmp_path / name)) for name in ("access.jsonl", "objects.jsonl")]
    face = ApiServerFace(model, access_log=logs[0], object_log=logs[1], bookmark_s=0.2)
    with HttpServer(face.handle) as server:
        running = Api(server, face)
        yield running
        for client in running.clients:
            client.connection.close()
    for log in logs:
        log.close()


def widget(name: str = "w1", **spec: Any) -> Obj:
    return {"apiVersion": "test.dev/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec}


def watch(api: Api, query: str = "", agent: str = "watcher", **headers: str) -> http.client.HTTPResponse:
    return api.client(agent).open("GET", f"{WIDGETS}?watch=true&{query}", **headers)


def next_event(stream: http.client.HTTPResponse) -> Obj:
    event: Obj = json.loads(stream.readline())
    return event


def until(condition: Callable[[], bool], within_s: float = 30.0) -> None:
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


# --- the wire ---


def test_the_life_of_an_object(api: Api) -> None:
    client = api.client()

    code, made = client("POST", WIDGETS, widget())
    assert (code, made["spec"], made["metadata"]["generation"]) == (201, {"size": 1}, 1)
    code, answer = client("PATCH", f"{WIDGETS}/w1/status", {"status": {"ok": True}, "spec": {"size": 7}})
    assert (code, answer["spec"], answer["status"]) == (200, {"size": 1}, {"ok": True})
    code, answer = client("GET", WIDGETS)
    assert (code, answer["kind"], len(answer["items"])) == (200, "WidgetList", 1)
    code, answer = client("PUT", f"{WIDGETS}/w1", widget(size=2))
    assert (code, answer["reason"]) == (422, "Invalid")
    code, answer = client("DELETE", f"{WIDGETS}/w1", {"preconditions": {"uid": "x"}})
    assert (code, answer["reason"]) == (409, "Conflict")
    code, answer = client("DELETE", f"{WIDGETS}/w1")
    assert (code, answer["status"], answer["details"]["uid"]) == (200, "Success", made["metadata"]["uid"])
    code, answer = client("GET", f"{WIDGETS}/w1")
    assert (code, answer["reason"], answer["details"]["kind"]) == (404, "NotFound", "widgets")


@pytest.mark.parametrize(
    ("method", "path", "body", "code", "reason"),
    [
        ("GET", f"{WIDGETS}/w1", None, 404, "NotFound"),
        ("PUT", "/api/v1/namespaces", {}, 405, "MethodNotAllowed"),
        ("GET", f"{WIDGETS}/w1/scale", None, 404, "NotFound"),
        ("POST", WIDGETS, widget(size=-1), 422, "Invalid"),
        ("POST", WIDGETS, widget("No_Name"), 422, "Invalid"),
        ("POST", WIDGETS, widget() | {"kind": "Gadget"}, 422, "Invalid"),
        ("POST", WIDGETS, widget() | {"apiVersion": "test.dev/v2"}, 400, "BadRequest"),
        ("POST", WIDGETS, [1], 400, "BadRequest"),
        ("POST", WIDGETS + "?fieldValidation=Strict", widget(odd=1), 400, "BadRequest"),
        ("GET", WIDGETS + "?limit=x", None, 400, "BadRequest"),
        ("GET", WIDGETS + "?resourceVersion=x", None, 400, "BadRequest"),
        ("GET", WIDGETS + "?resourceVersion=999999", None, 504, "Timeout"),
        ("GET", WIDGETS + "?fieldSelector=" + quote("spec.size=1"), None, 400, "BadRequest"),
    ],
)
def test_refusals_are_status_objects(api: Api, method: str, path: str, body: Any, code: int, reason: str) -> None:
    got, answer = api.client()(method, path, body)

    assert (got, answer["kind"], answer["code"], answer["reason"]) == (code, "Status", code, reason)


@pytest.mark.parametrize("path", ["/apis/test.dev/v1/gadgets", "/apis/none/v1", "/nothing"])
def test_what_is_not_served_is_no_status_object(api: Api, path: str) -> None:
    """So a kind whose CRD is missing is told by the code alone."""
    answer = api.client().open("GET", path)

    assert (answer.status, answer.read()) == (404, b"404 page not found\n")


def test_a_watch_from_too_far_back_is_refused_in_the_stream(api: Api) -> None:
    """As the real server does, which has said 200 by then."""
    stream = watch(api, "resourceVersion=1")

    assert stream.status == 200
    error = next_event(stream)
    assert (error["type"], error["object"]["code"], error["object"]["reason"]) == ("ERROR", 410, "Expired")
    assert stream.read() == b""


def test_a_watch_streams_changes_and_bookmarks_and_ends_in_time(api: Api) -> None:
    version = api.face.model.resource_version
    stream = watch(api, f"resourceVersion={version}&allowWatchBookmarks=true&timeoutSeconds=1")
    client = api.client()
    client("POST", WIDGETS, widget())
    client("PATCH", f"{WIDGETS}/w1", {"spec": {"size": 4}})

    assert [next_event(stream)["type"] for _ in range(2)] == ["ADDED", "MODIFIED"]
    bookmark = next_event(stream)
    assert bookmark["type"] == "BOOKMARK"
    assert bookmark["object"]["metadata"]["resourceVersion"] == str(version + 2)
    rest = stream.read().splitlines()
    assert all(json.loads(line)["type"] == "BOOKMARK" for line in rest)


def test_a_watch_list_over_the_wire(api: Api) -> None:
    api.client()("POST", WIDGETS, widget())

    query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=2"
    stream = watch(api, query)

    assert next_event(stream)["object"]["metadata"]["name"] == "w1"
    assert next_event(stream)["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


def test_tables_and_partial_objects(api: Api) -> None:
    client = api.client()
    client("POST", WIDGETS, widget(size=3))
    conditions = [{"type": "Other", "status": "False"}, {"type": "Ready", "status": "True"}]
    client("PATCH", f"{WIDGETS}/w1/status", {"status": {"conditions": conditions}})

    _, table = client("GET", WIDGETS, Accept="application/json;as=Table;v=v1;g=meta.k8s.io,application/json")
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Ready", "Size", "Age"]
    assert table["rows"][0]["cells"][:3] == ["w1", "True", 3]
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    _, partial = client("GET", WIDGETS, Accept="application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io")
    assert partial["kind"] == "PartialObjectMetadataList"
    assert "spec" not in partial["items"][0]


def test_the_logs_tell_who_changed_what_and_when(api: Api, tmp_path: Path) -> None:
    client = api.client("someone")
    client("POST", WIDGETS, widget())
    client("PATCH", f"{WIDGETS}/w1/status", {"status": {"ok": True}})
    client("PATCH", f"{WIDGETS}/w1/status", {"status": {"ok": True}})
    client("GET", f"{WIDGETS}/w9")

    def lines(name: str) -> list[Obj]:
        return [json.loads(line) for line in (tmp_path / name).read_bytes().splitlines()]

    until(lambda: len(lines("access.jsonl")) == 4 and len(lines("objects.jsonl")) == 2)  # each is flushed by itself
    assert [entry["status"] for entry in lines("access.jsonl")] == [201, 200, 200, 404]
    changes = lines("objects.jsonl")
    assert [(entry["type"], entry["status"], entry["user_agent"]) for entry in changes] == [
        ("ADDED", None, "someone"),
        ("MODIFIED", {"ok": True}, "someone"),
    ]
    assert (changes[0]["spec"], "spec" in changes[1]) == ({"size": 1}, False)
    assert abs(changes[0]["mono_s"] - time.monotonic()) < 10


# --- faults ---


def test_an_answer_fault_hits_what_it_matches_as_often_as_asked(api: Api) -> None:
    match = {"method": "PATCH", "path": "widgets/w1/status", "user_agent": "^operator"}
    api.fault(do="answer", code=429, retry_after_s=7, count=1, match=match)
    api.client()("POST", WIDGETS, widget())
    operator = api.client("operator/1")

    assert api.client("other")("PATCH", f"{WIDGETS}/w1/status", {"status": {}})[0] == 200
    refused = operator.open("PATCH", f"{WIDGETS}/w1/status", {"status": {"a": 1}})
    assert (refused.status, refused.headers["Retry-After"]) == (429, "7")
    refused.read()
    assert operator("PATCH", f"{WIDGETS}/w1/status", {"status": {"a": 1}})[0] == 200


def test_dropped_and_refused_connections(api: Api) -> None:
    stream = watch(api, f"resourceVersion={api.face.model.resource_version}")

    assert api.fault(do="drop", match={"user_agent": "watcher"}) == 1
    with pytest.raises(http.client.IncompleteRead):
        stream.read()
    api.fault(do="refuse", match={"user_agent": "watcher"})
    with pytest.raises(http.client.RemoteDisconnected):
        watch(api)
    api.fault(do="clear")
    assert watch(api).status == 200


def test_a_swallowed_watch_stays_open_and_says_nothing(api: Api) -> None:
    version = api.face.model.resource_version
    old = watch(api, f"resourceVersion={version}&allowWatchBookmarks=true")
    assert next_event(old)["type"] == "BOOKMARK"

    assert api.fault(do="swallow", match={"path": "watch=true"}) == 1
    api.client()("POST", WIDGETS, widget())
    new = watch(api, f"resourceVersion={version}")

    assert next_event(new)["type"] == "ADDED"
    api.clients[0].connection.sock.settimeout(0.4)

    def silent() -> bool:
        while old.readline():  # what was on the way before
            pass
        return False

    with pytest.raises(TimeoutError):
        silent()


def test_compaction_expiry_and_cut_or_strange_lines(api: Api) -> None:
    version = api.face.model.resource_version
    expiring = watch(api, f"resourceVersion={version}", "one")
    odd = watch(api, f"resourceVersion={version}", "two")
    api.client()("POST", WIDGETS, widget())
    assert next_event(expiring)["type"] == next_event(odd)["type"] == "ADDED"

    assert api.fault(do="expire", match={"user_agent": "one"}) == 1
    error = next_event(expiring)
    assert (error["type"], error["object"]["code"]) == ("ERROR", 410)
    assert expiring.read() == b""
    assert api.fault(do="line", base64="/w==", match={"user_agent": "two"}) == 1
    assert odd.read(1) == b"\xff"
    api.fault(do="cut", text='{"type":"ADD', match={"user_agent": "two"})
    with pytest.raises(http.client.IncompleteRead):
        odd.read()
    api.fault(do="compact")
    assert next_event(watch(api, f"resourceVersion={version}"))["object"]["code"] == 410


def test_a_pause_answers_late(api: Api) -> None:
    began = time.monotonic()
    api.fault(do="pause", for_s=0.3, match={"path": "widgets"})

    assert api.client()("GET", WIDGETS)[0] == 200
    assert time.monotonic() - began >= 0.3


# --- the backend ---


def repair(*keys: str, uid: str = "u") -> Obj:
    fields = {"namespace": "default", "kind": "Widget", "cluster": "c", "uid": uid}
    return {"nodes": [{"key": key, "name": key, **fields} for key in keys]}


def test_the_backend_over_the_wire() -> None:
    face = BackendFace(BackendModel(calls_max=3, window_s=60))
    with HttpServer(face.handle) as server:
        client = Client(server.port)
        path = "/v1/nodes:batchRepair"
        code, answer = client("POST", path, repair("a"), Idempotency_Key="k1")
        assert (code, answer["results"][0]["status"]) == (200, "accepted")
        assert client("POST", "/__faults", {"do": "withhold", "count": 1})[0] == 200
        impatient = Client(server.port)
        impatient.connection.timeout = 0.3
        with pytest.raises(TimeoutError):
            impatient("POST", path, repair("b"))
        impatient.connection.close()
        assert client("POST", path, repair("b"))[0] == 200
        answer = client.open("POST", path, repair("c"))
        assert answer.status == 429
        assert 0 < int(answer.headers["Retry-After"]) <= 60
        answer.read()

        log = client("GET", "/__log")[1]
        assert [arrival["code"] for arrival in log["arrivals"]] == [200, 0, 200, 429]
        assert log["arrivals"][0]["key"] == "k1"
        assert ([one["key"] for one in log["repairs"]], log["duplicates"]) == (["a", "b"], 1)
        assert client("POST", "/__faults", {"do": "explode"})[0] == 400
        client.connection.close()


def test_a_repair_heals_the_node_through_the_api_server(api: Api) -> None:
    made = api.face.model.create("widgets.test.dev", widget("a"), "default").obj
    api.face.model.create("widgets.test.dev", widget("b"), "default")
    healer = Healer(api.server.url, after_s=0.1, group_version="test.dev/v1").start()
    with HttpServer(BackendFace(BackendModel(), healer=healer).handle) as server:
        client = Client(server.port)
        client("POST", "/v1/nodes:batchRepair", repair("b", uid="of another"))
        client("POST", "/v1/nodes:batchRepair", repair("a", uid=made["metadata"]["uid"]))
        client.connection.close()

        def status(name: str) -> Obj:
            return dict(api.face.model.get("widgets.test.dev", name, "default").obj.get("status") or {})

        until(lambda: bool(status("a")))
    assert status("a")["healthy"] is True
    (condition,) = status("a")["conditions"]
    assert (condition["type"], condition["status"]) == ("Healthy", "True")
    assert status("b") == {}


# --- the processes, and kubectl ---


def start(module: str, *arguments: str) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(
        [sys.executable, "-m", f"actors.sim.{module}", *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    word, _, url = process.stdout.readline().strip().partition(" ")
    assert word == "ready"
    return process, url


def test_the_processes_end_by_signal_and_with_their_parent(tmp_path: Path) -> None:
    crds = tmp_path / "crds"
    crds.mkdir()
    (crds / "widgets.yaml").write_text(json.dumps(CRD))
    kubeconfig, port_file = tmp_path / "kubeconfig", tmp_path / "port"
    with ExitStack() as stack:
        arguments = ("--crd-dir", str(crds), "--kubeconfig", str(kubeconfig), "--port-file", str(port_file))
        api, url = start("serve_api", *arguments)
        backend, _ = start("serve_backend", "--quota", "5/1s")
        for process in (api, backend):
            stack.callback(process.kill)
        port = int(port_file.read_text())
        assert url.endswith(f":{port}")
        assert url in kubeconfig.read_text()
        client = Client(port)
        assert client("GET", WIDGETS)[0] == 200
        client.connection.close()

        api.send_signal(signal.SIGTERM)
        assert backend.stdin is not None
        backend.stdin.close()
        assert api.wait(30) == 0
        assert backend.wait(30) == 0
        for stream in (api.stdin, api.stdout, backend.stdout):
            assert stream is not None
            stream.close()


@pytest.mark.cluster
def test_plain_kubectl_works(api: Api, tmp_path: Path) -> None:
    """What a user types in front of the demo: with validation on, and no flag that makes up for a fake."""
    kubeconfig = tmp_path / "kubeconfig"
    write_kubeconfig(kubeconfig, api.server.url)
    environment = {"PATH": os.environ["KUBEBUILDER_ASSETS"], "KUBECONFIG": str(kubeconfig), "HOME": str(tmp_path)}

    def kubectl(*arguments: str, send: Any = None, fails: bool = False) -> str:
        done = subprocess.run(
            ["kubectl", *arguments],
            env=environment,
            input=None if send is None else json.dumps(send),
            stdin=subprocess.DEVNULL if send is None else None,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert (done.returncode != 0) is fails, done.stdout + done.stderr
        return done.stdout + done.stderr

    other = json.loads(json.dumps(CRD).replace("idget", "adget").replace('"wd"', '"ad"'))
    assert "created" in kubectl("apply", "-f", "-", send=other)
    assert kubectl("get", "ad") == "No resources found in default namespace.\n"
    assert kubectl("apply", "-f", "-", send=widget(size=3)) == "widget.test.dev/w1 created\n"
    assert kubectl("apply", "-f", "-", send=widget(size=3)) == "widget.test.dev/w1 unchanged\n"
    watching = subprocess.Popen(
        ["kubectl", "get", "wd", "-w"], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    )
    assert watching.stdout is not None
    assert watching.stdout.readline().split() == ["NAME", "READY", "SIZE", "AGE"]
    assert watching.stdout.readline().split()[:2] == ["w1", "3"]
    status = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    kubectl("patch", "wd", "w1", "--type=merge", "--subresource=status", "-p", json.dumps(status))
    assert watching.stdout.readline().split()[:3] == ["w1", "True", "3"]
    watching.kill()
    watching.wait()
    watching.stdout.close()
    assert 'unknown field "spec.odd"' in kubectl("apply", "-f", "-", send=widget(odd=1), fails=True)
    assert "should be greater than or equal to 0" in kubectl("apply", "-f", "-", send=widget(size=-1), fails=True)
    kubectl("wait", "--for=condition=Ready", "wd/w1", "--timeout=5s")
    described = kubectl("describe", "wd", "w1")
    assert "Kind:         Widget" in described
    assert "Events:" in described
    assert "A widget for tests." in kubectl("explain", "widget")
    assert kubectl("auth", "can-i", "patch", "widgets.test.dev", "--subresource=status") == "yes\n"
    assert "created" in kubectl("create", "namespace", "more")
    assert "No resources found" in kubectl("get", "events")
    assert 'widget.test.dev "w1" deleted' in kubectl("delete", "wd", "w1")
    assert 'widgets.test.dev "w1" not found' in kubectl("get", "wd", "w1", fails=True)
