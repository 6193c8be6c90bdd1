"""Pods of a task, as examples/pods has them: an aggregate and no repairs, without a backend, on a real API server."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.sim.envtest import RealApiServer
from actors.sim.live import Api, Operator, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "pods"
PODS = "/api/v1/namespaces/default/pods"
TASK = "/apis/work.example.com/v1/namespaces/default/tasks/crunch"
SPEC = {"containers": [{"name": "main", "image": "example.com/crunch"}], "automountServiceAccountToken": False}


@pytest.fixture(scope="module")
def server() -> Iterator[RealApiServer]:
    """One of its own: the example's roles have the names of those that the other tests need."""
    with RealApiServer(Path(os.environ["KUBEBUILDER_ASSETS"]), flags=("--allow-privileged=true",)) as server:
        server.kubectl("apply", "-k", str(EXAMPLE))
        server.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        time.sleep(2.5)  # creates are held until a definition is two seconds old
        server.kubectl("apply", "-f", str(EXAMPLE / "tasks.yaml"))
        server.kubectl("create", "serviceaccount", "default", "--namespace", "default")  # no controller makes it here
        yield server


def test_pods_are_counted_by_task_and_nobody_is_repaired(server: RealApiServer, tmp_path: Path) -> None:
    api = Api(server.kubeconfig)
    token = server.kubectl("create", "token", "muster", "--namespace", "muster-system", "--duration", "1h").strip()
    account = server.kubeconfig_for(token, tmp_path / "account")

    def pod(name: str, phase: str, **labels: str) -> None:
        api.do("POST", PODS, {"metadata": {"name": name, "labels": labels}, "spec": SPEC})
        turn(name, phase)

    def turn(name: str, phase: str) -> None:
        api.merge(f"{PODS}/{name}/status", {"status": {"phase": phase}})

    def counts() -> tuple[int, int, int, int]:
        status = api.do("GET", TASK).get("status", {})
        return tuple(status.get(name, -1) for name in ("healthy", "unhealthy", "unknown", "repairing"))

    mine = {"work.example.com/task": "crunch"}
    for number, phase in enumerate(("Running", "Running", "Succeeded", "Pending")):
        pod(f"p{number}", phase, **mine)
    pod("stranger", "Failed")

    options = {"fleet": str(EXAMPLE / "fleet.yaml")}
    with Operator(
        [str(ROOT / "supervisor.py")], tmp_path, kubeconfig=account, backend_url="", options=options
    ) as operator:
        operator.ready()
        until(lambda: counts() == (3, 0, 1, 0), 20, "all counted")
        turn("p0", "Failed")
        turn("p3", "Running")
        until(lambda: counts() == (3, 1, 0, 0), 20, "one has failed, one has begun")
        server.kubectl("label", "pod", "stranger", "work.example.com/task=crunch")
        until(lambda: counts() == (3, 2, 0, 0), 20, "one more is the task's")
        api.do("DELETE", f"{PODS}/p0?gracePeriodSeconds=0")
        until(lambda: counts() == (3, 1, 0, 0), 20, "one is gone")
        found = {each["type"]: each["status"] for each in api.do("GET", TASK)["status"]["conditions"]}
        assert (found["Ready"], found["Available"], found["RemediationAllowed"]) == ("True", "True", "False")
        assert operator.lines("stream_down") == [], "the rights are enough"
        assert operator.lines("call_sent") == []
