"""Kubernetes' own Nodes by pool, as examples/nodes has them: applied with kubectl, run under the rights that it prints.

Nothing here is a machine: the nodes, and what their kubelets would write to kube-node-lease, are written by the test.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import pytest

from actors.sim.envtest import RealApiServer
from actors.sim.live import Api, Operator, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "nodes"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
POOLS = "/apis/pools.example.com/v1/nodepools"
READY = {"type": "Ready", "reason": "KubeletReady", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}


@pytest.fixture(scope="module")
def server() -> Iterator[RealApiServer]:
    """One of its own: the example's roles have the names of those that the other tests need."""
    with RealApiServer(Path(os.environ["KUBEBUILDER_ASSETS"]), flags=("--allow-privileged=true",)) as server:
        server.kubectl("apply", "-k", str(EXAMPLE))
        server.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        time.sleep(2.5)  # creates are held until a definition is two seconds old
        server.kubectl("apply", "-f", str(EXAMPLE / "pools.yaml"))
        yield server


@pytest.fixture(scope="module")
def account(server: RealApiServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A kubeconfig of the operator's own service account."""
    token = server.kubectl("create", "token", "muster", "--namespace", "muster-system", "--duration", "1h").strip()
    return server.kubeconfig_for(token, tmp_path_factory.mktemp("account") / "kubeconfig")


@contextmanager
def rebooting() -> Iterator[tuple[str, list[tuple[str, dict[str, Any]]]]]:
    """A backend that accepts everything: its URL, and the path and body of each call, with the instant of its arrival."""
    calls: list[tuple[str, dict[str, Any]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            calls.append((self.path, {**body, "arrived_s": time.monotonic()}))
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            pass

    backend = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=backend.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{backend.server_port}", calls
    finally:
        backend.shutdown()
        backend.server_close()


class Kubelets:
    """Nodes of a pool whose Leases are renewed each second, but of those in ``dead``."""

    def __init__(self, api: Api, pool: str, names: list[str]) -> None:
        self.api, self.names, self.dead = api, names, set[str]()
        self._over = threading.Event()
        for name in names:
            labels = {"pools.example.com/pool": pool, "topology.kubernetes.io/zone": "z1"}
            node = {"metadata": {"name": name, "labels": labels}, "spec": {"providerID": f"cloud:///{name}"}}
            api.do("POST", "/api/v1/nodes", node)
            self.ready(name, "True")
            api.do("POST", LEASES, {"metadata": {"name": name}, "spec": {"holderIdentity": name, "renewTime": now()}})
        self._thread = threading.Thread(target=self._beat)

    def ready(self, name: str, status: str) -> None:
        self.api.merge(f"/api/v1/nodes/{name}/status", {"status": {"conditions": [{**READY, "status": status}]}})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        for name in self.names:
            self.api.do("DELETE", f"/api/v1/nodes/{name}")
            self.api.do("DELETE", f"{LEASES}/{name}")

    def _beat(self) -> None:
        while not self._over.wait(0.5):
            for name in self.names:
                if name not in self.dead:
                    self.api.merge(f"{LEASES}/{name}", {"spec": {"renewTime": now()}})


def allowed(api: Api, pool: str = "workers") -> str:
    """Why repairs go on, or do not."""
    conditions = api.do("GET", f"{POOLS}/{pool}").get("status", {}).get("conditions", [])
    return next((each["reason"] for each in conditions if each["type"] == "RemediationAllowed"), "")


def fullest(calls: list[tuple[str, dict[str, Any]]]) -> int:
    """The most calls that arrived within two seconds."""
    arrived = [body["arrived_s"] for _, body in calls]
    return max((sum(first <= each < first + 2.0 for each in arrived) for first in arrived), default=0)


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@pytest.mark.parametrize("reader", ["thread", "process"])
def test_nodes_are_counted_by_pool_and_those_that_are_ill_or_silent_are_rebooted(
    server: RealApiServer, account: Path, tmp_path: Path, reader: str
) -> None:
    api = Api(server.kubeconfig)
    names = [f"{reader}-{number}" for number in range(6)]

    def counts(pool: str = "workers") -> tuple[int, int, int]:
        status = api.do("GET", f"{POOLS}/{pool}").get("status", {})
        return tuple(status.get(name, -1) for name in ("healthy", "unhealthy", "unknown"))

    options = {
        "fleet": str(EXAMPLE / "fleet.yaml"), "reader": reader, "heartbeat-timeout": "4s", "cold-start": "0s",
        "quota": "2/2s",
    }  # fmt: skip
    entry = [str(ROOT / "supervisor.py")]
    with (
        rebooting() as (url, calls),
        Kubelets(api, "workers", names) as kubelets,
        Operator(entry, tmp_path, kubeconfig=account, backend_url=url, options=options) as operator,
    ):
        operator.ready()
        until(lambda: counts() == (6, 0, 0), 20, "all counted")
        assert counts("gpus") == (0, 0, 0)

        kubelets.ready(names[1], "False")
        kubelets.dead.add(names[2])
        until(lambda: counts() == (4, 1, 1), 20, "one ill, one silent")
        until(lambda: len(calls) >= 2 or sum(len(body["nodes"]) for _, body in calls) >= 2, 20, "both rebooted")
        items = {item["name"]: item for _, body in calls for item in body["nodes"]}
        assert {path for path, _ in calls} == {"/v1/nodes:reboot"}
        assert set(items) == {names[1], names[2]}
        assert {**items[names[1]], "key": "", "uid": ""} == {
            "name": names[1], "instance": f"cloud:///{names[1]}", "zone": "z1", "pool": "workers", "key": "", "uid": "",
        }  # fmt: skip

        kubelets.ready(names[1], "True")
        kubelets.dead.clear()
        until(lambda: counts() == (6, 0, 0), 20, "both well")
        api.merge(f"/api/v1/nodes/{names[0]}", {"metadata": {"labels": {"pools.example.com/pool": "gpus"}}})
        until(lambda: (counts(), counts("gpus")) == ((5, 0, 0), (1, 0, 0)), 20, "one has moved")

        for name in names[2:]:  # four of five: that is probably not the nodes
            kubelets.ready(name, "False")
        until(lambda: (counts(), allowed(api)) == ((1, 4, 0), "TooManyUnhealthy"), 20, "the valve")
        rebooted = len(calls)
        time.sleep(2.0)
        assert len(calls) == rebooted
        assert fullest(calls) <= 2, "calls in any two seconds, as the quota says"
        assert operator.lines("stream_down") == [], "the rights are enough"


def test_check_finds_the_rights_and_kinds_of_the_example(server: RealApiServer, account: Path) -> None:
    import subprocess
    import sys

    def check(*words: str) -> tuple[int, str]:
        command = [sys.executable, str(ROOT / "supervisor.py"), "check", "--kubeconfig", str(account), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout

    _, text = check("--fleet", str(EXAMPLE / "fleet.yaml"), "--backend-url", "http://127.0.0.1:9")
    assert "yes  kind nodepools.pools.example.com: is served as pools.example.com/v1" in text
    assert "yes  permission to watch leases.coordination.k8s.io in the namespace kube-node-lease: granted" in text
    assert [line for line in text.splitlines() if line.startswith("NO ")] == [
        "NO   backend: 127.0.0.1:9 cannot be reached (Connection refused)"
    ]
    _, text = check("--backend-url", "http://127.0.0.1:9")
    assert "NO   permission to list computenodes.muster.dev in all namespaces: not granted" in text
