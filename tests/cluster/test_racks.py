"""Nodes that are counted for their pool and for their racks, on a real API server, under the rights that the fleet needs.

Nothing here is a machine: the nodes are written by the test.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.sim.envtest import RealApiServer
from actors.sim.live import Api, BackendServer, Operator, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

ROOT = Path(__file__).parents[2]
FLEET = ROOT / "tests" / "fleets" / "racks.yaml"
GROUPS = "/apis/example.com/v1/groups"
READY = {"type": "Ready", "reason": "Said", "message": ""}
Counts = tuple[int, int, int, int]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealApiServer]:
    """One of its own: the roles have the names of those that the other tests need."""
    command = [sys.executable, str(ROOT / "supervisor.py"), "manifests", "--fleet", str(FLEET), "--crds"]
    text = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    manifests = tmp_path_factory.mktemp("racks") / "manifests.yaml"
    manifests.write_text(text, encoding="utf-8")
    with RealApiServer(Path(os.environ["KUBEBUILDER_ASSETS"])) as server:
        server.kubectl("create", "namespace", "muster-system")
        server.kubectl("create", "serviceaccount", "muster", "--namespace", "muster-system")
        server.kubectl("apply", "-f", str(manifests))
        server.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        time.sleep(2.5)  # creates are held until a definition is two seconds old
        yield server


@pytest.mark.parametrize("reader", ["thread", "process"])
def test_a_node_is_counted_for_its_pool_and_its_racks_and_repaired_once(
    server: RealApiServer, tmp_path: Path, reader: str
) -> None:
    api = Api(server.kubeconfig)
    token = server.kubectl("create", "token", "muster", "--namespace", "muster-system", "--duration", "1h").strip()
    account = server.kubeconfig_for(token, tmp_path / "account")
    pool, other, row, rack = (f"{reader}-{name}" for name in ("pool", "other", "row", "rack"))
    nodes = [f"{reader}-{number}" for number in range(4)]

    def group(name: str) -> None:
        api.do(
            "POST", GROUPS, {"apiVersion": "example.com/v1", "kind": "Group", "metadata": {"name": name}, "spec": {}}
        )

    def turn(name: str, status: str, since: str = "2026-01-01T00:00:00Z") -> None:
        condition = {**READY, "status": status, "lastTransitionTime": since}
        api.merge(f"/api/v1/nodes/{name}/status", {"status": {"conditions": [condition]}})

    def change(name: str, **metadata: object) -> None:
        api.merge(f"/api/v1/nodes/{name}", {"metadata": metadata})

    def counts(name: str) -> Counts:
        status = api.do("GET", f"{GROUPS}/{name}").get("status", {})
        return tuple(status.get(each, -1) for each in ("total", "healthy", "unhealthy", "repairing"))

    def all_are(**wanted: Counts) -> None:
        groups = {"pool": pool, "other": other, "row": row, "rack": rack}
        until(
            lambda: {name: counts(groups[name]) for name in wanted} == wanted,
            20,
            lambda: {g: counts(g) for g in groups.values()},
        )

    for name in (pool, row):
        group(name)
    for name in nodes:
        metadata = {
            "name": name,
            "labels": {"example.com/pool": pool},
            "annotations": {"example.com/racks": f"{row},{rack}"},
        }
        api.do("POST", "/api/v1/nodes", {"metadata": metadata})
        turn(name, "True")

    options = {"fleet": str(FLEET), "reader": reader, "cold-start": "0s", "cooldown": "1h"}
    entry = [str(ROOT / "supervisor.py")]
    with (
        BackendServer(tmp_path) as backend,
        Operator(entry, tmp_path, kubeconfig=account, backend_url=backend.url, options=options) as operator,
    ):
        operator.ready()
        all_are(pool=(4, 4, 0, 0), row=(4, 4, 0, 0))
        group(rack)
        all_are(rack=(4, 4, 0, 0))

        turn(nodes[0], "False", "2026-01-01T00:01:00Z")
        all_are(pool=(4, 3, 1, 1), row=(4, 3, 1, 0), rack=(4, 3, 1, 0))
        until(lambda: backend.repaired() == [nodes[0]], 20, "repaired, for one of three")
        turn(nodes[0], "True")
        all_are(pool=(4, 4, 0, 0), row=(4, 4, 0, 0), rack=(4, 4, 0, 0))

        change(nodes[1], annotations={"example.com/racks": rack})
        api.do("DELETE", f"/api/v1/nodes/{nodes[2]}")
        all_are(pool=(3, 3, 0, 0), row=(2, 2, 0, 0), rack=(3, 3, 0, 0))

        group(other)
        change(nodes[3], labels={"example.com/pool": other}, annotations={"example.com/racks": f"{pool}, {rack}"})
        all_are(pool=(3, 3, 0, 0), other=(1, 1, 0, 0), row=(1, 1, 0, 0), rack=(3, 3, 0, 0))
        turn(nodes[3], "False", "2026-01-01T00:02:00Z")
        all_are(pool=(3, 2, 1, 0), other=(1, 0, 1, 1), rack=(3, 2, 1, 0))
        until(lambda: backend.repaired() == [nodes[0], nodes[3]], 20, "each trouble once")
        keys = [item["key"] for arrival in backend.arrivals() for item in arrival["items"]]
        assert len(keys) == len(set(keys))
        assert operator.lines("stream_down") == [], "the rights are enough"
        command = [*entry, "plan", "--fleet", str(FLEET), "--kubeconfig", str(account), "--json"]
        done = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=60, check=False)
        plans = json.loads(done.stdout)
        assert (plans["children"], plans["problems"]) == (3, []), "each once"
        asked = {
            view["parent"]: [each["child"] for each in view["repairs"]] for view in plans["plans"] if view["repairs"]
        }
        assert asked == {other: [nodes[3]]}
    for name in nodes:
        api.call("DELETE", f"/api/v1/nodes/{name}")
