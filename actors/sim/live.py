"""Real processes and real requests, for tests: the operator, the servers beside it, and a fleet with the truth about it.

``Api`` asks an API server as its users do, never as the operator does: a second opinion must not share code with the first.
``Fleet`` makes and changes a namespace's clusters and nodes, and computes the truth from the objects as the server has them.
``Operator``, ``BackendServer`` and ``ModelServer`` are processes that end with us; what they say is read from files.
"""

from __future__ import annotations

import http.client
import json
import os
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

from .envtest import until_we_end
from .serve_heal import connection_to

__all__ = ["Api", "BackendServer", "Counts", "Fleet", "ModelServer", "Operator", "Process", "together", "until"]

Obj = dict[str, Any]
T = TypeVar("T")
Counts = tuple[int, int, int, int]
"""(total, healthy, unhealthy, unknown)."""

GROUP = "/apis/muster.dev/v1alpha1"
API_VERSION = "muster.dev/v1alpha1"
PLURALS = {"Cluster": "clusters", "ComputeNode": "computenodes", "StorageNode": "storagenodes"}
KINDS = ("ComputeNode", "StorageNode")
LABEL = "muster.dev/cluster"
PATIENCE_S = 15.0
MERGE_PATCH = "application/merge-patch+json"


def until(condition: Callable[[], T], within_s: float, what: Callable[[], object] | str = "it") -> T:
    """The first true value of ``condition``; AssertionError with ``what`` when there is none in time."""
    until_s = time.monotonic() + within_s
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > until_s:
            raise AssertionError(f"not within {within_s:g} s: {what() if callable(what) else what}")
        time.sleep(0.02)


def together(calls: Iterable[Callable[[], object]], threads: int = 8) -> None:
    """Make all these calls, some at a time; the first error is raised."""
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(call) for call in calls]:
            done.result()


def now_text() -> str:
    """The wall clock as agents write it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Api:
    """An API server by URL or kubeconfig. Thread-safe: connections that are idle wait for whoever asks next."""

    def __init__(self, api: str | Path) -> None:
        self._idle: list[http.client.HTTPConnection] = []
        self.url, self._headers, self._tls = connection_to(str(api))

    def __del__(self) -> None:
        for connection in self._idle:
            connection.close()

    def call(self, method: str, path: str, body: object = None, kind: str = "application/json") -> tuple[int, Obj]:
        """One request: its code and JSON answer. OSError where there is none."""
        try:
            connection, fresh = self._idle.pop(), False
        except IndexError:
            connection, fresh = self._connect(), True
        headers = {"Content-Type": kind, "User-Agent": "muster-tests", **self._headers}
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            data = answer.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            if fresh:
                raise OSError(f"{method} {path}: {error!r}") from error
            return self.call(method, path, body, kind)  # it had been idle for too long; a fresh one comes at last
        self._idle.append(connection)
        try:
            return answer.status, json.loads(data)
        except ValueError:
            return answer.status, {"text": data.decode("utf-8", "replace")}

    def do(self, method: str, path: str, body: object = None, kind: str = "application/json") -> Obj:
        """One request that is answered well, or AssertionError. A server that has just started asks for patience (429)."""
        until_s = time.monotonic() + PATIENCE_S
        code, answer = self.call(method, path, body, kind)
        while code == 429 and time.monotonic() < until_s:
            time.sleep(0.1)
            code, answer = self.call(method, path, body, kind)
        assert code < 300, f"{method} {path}: {code} {answer.get('message', answer)}"
        return answer

    def merge(self, path: str, body: object) -> Obj:
        """A merge patch."""
        return self.do("PATCH", path, body, MERGE_PATCH)

    def _connect(self) -> http.client.HTTPConnection:
        where = urlsplit(self.url)
        assert where.hostname is not None
        if where.scheme == "https":
            tls = self._tls or ssl.create_default_context()
            return http.client.HTTPSConnection(where.hostname, where.port, timeout=30, context=tls)
        return http.client.HTTPConnection(where.hostname, where.port, timeout=30)


class Fleet:
    """The clusters and nodes of one namespace."""

    def __init__(self, api: Api, namespace: str = "default") -> None:
        self.api, self.namespace = api, namespace

    def path(self, kind: str, name: str = "", sub: str = "") -> str:
        """Where an object, or with no name its kind, is served."""
        parts = [GROUP, "namespaces", self.namespace, PLURALS[kind], *([name] if name else []), *([sub] if sub else [])]
        return "/".join(parts)

    def cluster(self, name: str, **spec: Any) -> Obj:
        """Create a cluster."""
        body = {"apiVersion": API_VERSION, "kind": "Cluster", "metadata": {"name": name}, "spec": spec}
        return self.api.do("POST", self.path("Cluster"), body)

    def node(
        self, name: str, cluster: str, kind: str = "ComputeNode", *, healthy: bool | None = True, by: str = "ref",
        owner_uid: str = "",
    ) -> None:  # fmt: skip
        """Create a node of ``cluster``, claimed ``by`` "ref", "label" or "owner"; ``healthy`` None: it never reports."""
        body: Obj = {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": {}}
        if by == "label":
            body["metadata"]["labels"] = {LABEL: cluster}
        elif by == "owner":
            owner = {"apiVersion": API_VERSION, "kind": "Cluster", "name": cluster, "uid": owner_uid or "unknown"}
            body["metadata"]["ownerReferences"] = [owner | {"controller": True}]
        else:
            body["spec"]["clusterRef"] = {"name": cluster}
        self.api.do("POST", self.path(kind), body)
        if healthy is not None:
            self.report(name, healthy, kind)

    def report(self, name: str, healthy: bool, kind: str = "ComputeNode", *, beat: str = "") -> None:
        """The node's agent reports; the condition's transition time is this moment's."""
        stamp = now_text()
        condition = {"type": "Healthy", "status": str(healthy), "reason": "Reported", "message": ""}
        condition["lastTransitionTime"] = stamp.partition(".")[0] + "Z"
        status = {"healthy": healthy, "lastHeartbeatTime": beat or stamp, "conditions": [condition]}
        self.api.merge(self.path(kind, name, "status"), {"status": status})

    def beat(self, name: str, kind: str = "ComputeNode") -> None:
        """A heartbeat, nothing else."""
        self.api.merge(self.path(kind, name, "status"), {"status": {"lastHeartbeatTime": now_text()}})

    def delete(self, name: str, kind: str = "ComputeNode") -> None:
        """Delete one object."""
        self.api.do("DELETE", self.path(kind, name))

    def clear(self) -> None:
        """Delete everything in the namespace."""
        for kind in PLURALS:
            self.api.do("DELETE", self.path(kind))

    def objects(self, kind: str) -> list[Obj]:
        """As the server has them now."""
        items: list[Obj] = self.api.do("GET", self.path(kind))["items"]
        return items

    def status(self, cluster: str) -> Obj:
        """A cluster's status."""
        found: Obj = self.api.do("GET", self.path("Cluster", cluster)).get("status") or {}
        return found

    def condition(self, cluster: str, name: str) -> Obj:
        """One condition of a cluster; {} where it is not there."""
        conditions: list[Obj] = self.status(cluster).get("conditions") or []
        return next((each for each in conditions if each["type"] == name), {})

    def truth(self, silent: Iterable[str] = ()) -> dict[str, Counts]:
        """By cluster, counted from the objects. ``silent``: names of nodes that have been silent for too long."""
        quiet = frozenset(silent)
        rolls = {each["metadata"]["name"]: [0, 0, 0] for each in self.objects("Cluster")}
        for kind in KINDS:
            for node in self.objects(kind):
                roll = rolls.get(_parent_of(node))
                if roll is None:
                    continue
                healthy = (node.get("status") or {}).get("healthy")
                if healthy is False:
                    roll[1] += 1
                elif healthy and node["metadata"]["name"] not in quiet:
                    roll[0] += 1
                else:
                    roll[2] += 1
        return {name: (sum(roll), roll[0], roll[1], roll[2]) for name, roll in rolls.items()}

    def counts(self) -> dict[str, Counts]:
        """By cluster, as its status says; -1 where it says nothing."""
        found: dict[str, Counts] = {}
        for cluster in self.objects("Cluster"):
            status = cluster.get("status") or {}
            total, healthy, unhealthy, unknown = (
                status.get(name, -1) for name in ("total", "healthy", "unhealthy", "unknown")
            )
            found[cluster["metadata"]["name"]] = (total, healthy, unhealthy, unknown)
        return found

    def agree(self, within_s: float, silent: Iterable[str] = ()) -> float:
        """Wait until every status is the truth; seconds that it took. AssertionError with the differences."""
        began_s = time.monotonic()
        wrong: dict[str, tuple[Counts, Counts | None]] = {}

        def right() -> bool:
            truth, counts = self.truth(silent), self.counts()
            wrong.clear()
            wrong.update({name: (truth[name], counts.get(name)) for name in truth if truth[name] != counts.get(name)})
            return not wrong

        until(right, within_s, lambda: f"cluster: (truth, status) as (total, healthy, unhealthy, unknown): {wrong}")
        return time.monotonic() - began_s


def _parent_of(node: Obj) -> str:
    metadata = node["metadata"]
    for owner in metadata.get("ownerReferences") or ():
        if owner.get("controller") and owner["kind"] == "Cluster" and owner["apiVersion"].startswith("muster.dev/"):
            return str(owner["name"])
    label = (metadata.get("labels") or {}).get(LABEL)
    return str(label or ((node.get("spec") or {}).get("clusterRef") or {}).get("name") or "")


# --- processes --------------------------------------------------------------------------------------------------------


class Process:
    """A program that ends with us; both its streams go to files in ``folder``."""

    def __init__(
        self, command: list[str], folder: Path, name: str, *, environ: Mapping[str, str] | None = None
    ) -> None:
        self.out, self.err = folder / f"{name}.out", folder / f"{name}.err"
        drop = ("MUSTER_", "KUBECONFIG", "KUBERNETES_")
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(drop)}
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.popen = subprocess.Popen(  # noqa: S603 - the test's own words
                until_we_end(command), cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                env=inherited | dict(environ or {}),
            )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def alive(self) -> bool:
        """Whether it still runs."""
        return self.popen.poll() is None

    def kill(self) -> None:
        """SIGKILL, and gone."""
        self.popen.kill()
        self.popen.wait()

    def stop(self, within_s: float = 20.0) -> int:
        """SIGTERM, and its exit code; SIGKILL after ``within_s``."""
        if self.alive():
            self.popen.terminate()
        try:
            return self.popen.wait(within_s)
        except subprocess.TimeoutExpired:
            self.kill()
            return -9

    def said(self) -> str:
        """All it has written, for messages."""
        return self.out.read_text("utf-8", "replace") + self.err.read_text("utf-8", "replace")

    def wait(self, condition: Callable[[], T], within_s: float, what: str) -> T:
        """As ``until``, but ends when the program does, and shows what it said."""

        def look() -> T:
            found = condition()
            if not found and not self.alive():
                raise AssertionError(f"{what}: the program ended with {self.popen.returncode}: {self.said()[-4000:]}")
            return found

        return until(look, within_s, lambda: f"{what}; it said: {self.said()[-4000:]}")


class Served(Process):
    """A server of ``actors.sim``: says "ready URL" on its standard output."""

    def __init__(self, module: str, folder: Path, name: str, options: list[str]) -> None:
        super().__init__([sys.executable, "-m", f"actors.sim.{module}", "--port", "0", *options], folder, name)
        self.wait(lambda: "ready " in self.out.read_text(), 20.0, f"{name} to be ready")
        self.url = self.out.read_text().split("ready ", 1)[1].split()[0]

    def ask(self, method: str, path: str, body: object = None) -> Obj:
        """One request to it."""
        return Api(self.url).do(method, path, body)

    def faults(self, *commands: Obj) -> Obj:
        """``POST /__faults``."""
        return self.ask("POST", "/__faults", list(commands))


class ModelServer(Served):
    """``serve_api`` with its access log; ``kubeconfig`` leads to it."""

    def __init__(self, folder: Path, name: str = "api", options: Iterable[str] = ()) -> None:
        self.kubeconfig = folder / f"{name}.kubeconfig"
        self.log = folder / f"{name}.log"
        files = ["--kubeconfig", str(self.kubeconfig), "--log", str(self.log)]
        super().__init__("serve_api", folder, name, [*files, *options])


class BackendServer(Served):
    """``serve_backend``."""

    def __init__(self, folder: Path, name: str = "backend", options: Iterable[str] = ()) -> None:
        super().__init__("serve_backend", folder, name, list(options))

    def log(self) -> Obj:
        """Arrivals, executed repairs, the fullest window, duplicates."""
        return self.ask("GET", "/__log")

    def arrivals(self) -> list[Obj]:
        """Every call as it came in."""
        arrivals: list[Obj] = self.log()["arrivals"]
        return arrivals

    def repaired(self) -> list[str]:
        """Names of the nodes whose repair was executed, in order; a name for each execution."""
        return [each["name"] for each in self.log()["repairs"]]


class Operator(Process):
    """The operator as people start it. Its log is JSON lines; it listens on a free port of 127.0.0.1."""

    def __init__(
        self, entry: list[str], folder: Path, *, kubeconfig: Path | str, backend_url: str,
        options: Mapping[str, str] | None = None, name: str = "operator",
    ) -> None:  # fmt: skip
        given = {"kubeconfig": str(kubeconfig), "backend-url": backend_url, "listen": "127.0.0.1:0"}
        given |= {"log-format": "json"} | dict(options or {})
        words = [word for key, value in given.items() for word in (f"--{key}", value)]
        super().__init__([sys.executable, *entry, "run", *words], folder, name)

    def lines(self, event: str = "", **fields: object) -> list[Obj]:
        """The log's lines of that event (all, where it is "") whose fields have these values."""
        found = []
        for text in self.err.read_text("utf-8", "replace").splitlines():
            try:
                line = json.loads(text)
            except ValueError:
                continue  # the last one may be half written
            if event in ("", line.get("event")) and all(line.get(key) == value for key, value in fields.items()):
                found.append(line)
        return found

    def told(self, event: str, within_s: float = 10.0, **fields: object) -> Obj:
        """The first such line, waited for."""
        return self.wait(lambda: self.lines(event, **fields), within_s, f"a line {event} {fields}")[0]

    @property
    def url(self) -> str:
        """Where it answers probes."""
        return f"http://127.0.0.1:{self.told('operator_starting')['port']}"

    def probe(self, path: str = "/readyz") -> int:
        """The HTTP code of a probe; 0 where nobody answers."""
        try:
            return Api(self.url).call("GET", path)[0]
        except OSError:
            return 0

    def ready(self, within_s: float = 30.0) -> Self:
        """Wait until it is."""
        self.wait(lambda: self.probe() == 200, within_s, "/readyz to answer 200")
        return self
