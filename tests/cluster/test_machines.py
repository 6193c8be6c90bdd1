"""Cluster API's Machines by MachineDeployment, as examples/machines has them, on a real API server.

Cluster API is not here: the test writes what its controllers would, and makes a Machine for each that is deleted.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from actors.sim.envtest import RealApiServer
from actors.sim.live import Api, Operator, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "machines"
GROUP, SPACE = "/apis/cluster.x-k8s.io/v1beta1/namespaces", "clusters"
DEPLOYMENT = f"{GROUP}/{SPACE}/machinedeployments/workers"
MACHINES = f"{GROUP}/{SPACE}/machines"
TEMPLATE = {"bootstrap": {}, "clusterName": "prod", "infrastructureRef": {}}
STANDS = {"type": "Available", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}


@pytest.fixture(scope="module")
def server() -> Iterator[RealApiServer]:
    """One of its own: the example's roles have the names of those that the other tests need."""
    with RealApiServer(Path(os.environ["KUBEBUILDER_ASSETS"])) as server:
        server.kubectl("apply", "-f", str(EXAMPLE / "crds.yaml"))
        server.kubectl("apply", "-k", str(EXAMPLE))
        server.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        time.sleep(2.5)  # creates are held until a definition is two seconds old
        server.kubectl("create", "namespace", SPACE)
        yield server


class ClusterApi:
    """One MachineDeployment with its MachineSet, kept at so many Machines."""

    def __init__(self, api: Api, count: int) -> None:
        self.api, self.count = api, count
        self._made = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._reconcile)
        owner = {"clusterName": "prod", "replicas": count, "selector": {}, "template": {"spec": TEMPLATE}}
        deployment = self._create("machinedeployments", "MachineDeployment", "workers", owner, None)
        api.merge(f"{DEPLOYMENT}/status", {"status": {"replicas": count, "phase": "Running", "conditions": [STANDS]}})
        self._set = self._create("machinesets", "MachineSet", "workers-x7f", owner, deployment)

    def _create(self, plural: str, kind: str, name: str, spec: dict[str, Any], owner: Any) -> dict[str, Any]:
        metadata: dict[str, Any] = (
            {"name": name, "finalizers": ["machine.cluster.x-k8s.io"]} if kind == "Machine" else {"name": name}
        )
        if owner is not None:
            metadata["ownerReferences"] = [{
                "apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"],
                "uid": owner["metadata"]["uid"], "controller": True, "blockOwnerDeletion": True,
            }]  # fmt: skip
        body = {"apiVersion": "cluster.x-k8s.io/v1beta1", "kind": kind, "metadata": metadata, "spec": spec}
        return self.api.do("POST", f"{GROUP}/{SPACE}/{plural}", body)

    def turn(self, name: str, status: str) -> None:
        condition = {
            "type": "NodeHealthy",
            "status": status,
            "lastTransitionTime": f"2026-01-01T00:00:{self._made:02d}Z",
        }
        self.api.merge(f"{MACHINES}/{name}/status", {"status": {"conditions": [condition]}})

    def machines(self) -> dict[str, dict[str, Any]]:
        return {each["metadata"]["name"]: each for each in self.api.do("GET", MACHINES)["items"]}

    def __enter__(self) -> Self:
        self._thread.start()
        until(lambda: len(self.machines()) == self.count, 20, "its Machines are there")
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _reconcile(self) -> None:
        """Who is deleted goes half a second later, as if it was drained first, and another takes its place."""
        while not self._over.wait(0.5):
            found = self.machines()
            for name, machine in found.items():
                if machine["metadata"].get("deletionTimestamp"):
                    self.api.merge(f"{MACHINES}/{name}", {"metadata": {"finalizers": None}})
                    del found[name]
                    break
            for _ in range(self.count - len(found)):
                self._made += 1
                self._create("machines", "Machine", f"workers-{self._made}", TEMPLATE, self._set)
                self.turn(f"workers-{self._made}", "True")


def test_machines_are_counted_by_deployment_and_the_sick_are_deleted(server: RealApiServer, tmp_path: Path) -> None:
    api = Api(server.kubeconfig)
    token = server.kubectl("create", "token", "muster", "--namespace", "muster-system", "--duration", "1h").strip()
    account = server.kubeconfig_for(token, tmp_path / "account")

    def told() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(
            api.do("GET", DEPLOYMENT)["metadata"].get("annotations", {}).get("muster.dev/fleet", "{}")
        )
        return found

    def counts() -> tuple[int, int, int]:
        status = told()
        return tuple(status.get(name, -1) for name in ("healthy", "unhealthy", "unknown"))

    options = {"fleet": str(EXAMPLE / "fleet.yaml"), "cold-start": "0s"}
    with (
        ClusterApi(api, 10) as cluster,
        Operator(
            [str(ROOT / "supervisor.py")], tmp_path, kubeconfig=account, backend_url="", options=options
        ) as operator,
    ):
        operator.ready()
        until(lambda: counts() == (10, 0, 0), 20, "all counted")
        before = {name: machine["metadata"]["uid"] for name, machine in cluster.machines().items()}
        theirs = api.do("GET", DEPLOYMENT)
        cluster.turn("workers-3", "Unknown")
        cluster.turn("workers-7", "False")
        until(lambda: "workers-7" not in cluster.machines() and counts() == (9, 0, 1), 30, counts)
        now = {name: machine["metadata"]["uid"] for name, machine in cluster.machines().items()}

        assert {name for name in before if now.get(name) != before[name]} == {"workers-7"}
        assert len(now) == 10, "its MachineSet has made another"

        many = {
            "workers-1",
            "workers-2",
            "workers-4",
            "workers-5",
        }  # more than a fifth: that is probably not the Machines
        for name in many:
            cluster.turn(name, "False")
        until(lambda: counts() == (5, 4, 1), 20, counts)
        allowed = {each["type"]: each for each in told()["conditions"]}["RemediationAllowed"]
        assert (allowed["status"], allowed["reason"]) == ("False", "TooManyUnhealthy")
        time.sleep(2.0)
        assert many <= set(cluster.machines())

        after = api.do("GET", DEPLOYMENT)
        assert (after["spec"], after["status"]) == (theirs["spec"], theirs["status"]), (
            "all that is Cluster API's is as it was"
        )
        assert after["metadata"]["generation"] == theirs["metadata"]["generation"]
        assert operator.lines("stream_down") == [], "the rights are enough"
        assert {line["outcome"] for line in operator.lines("call_answered")} == {"answered"}
