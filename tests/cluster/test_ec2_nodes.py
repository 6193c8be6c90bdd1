"""examples/ec2 on a real API server, with moto's server for EC2: Nodes that stay ill are rebooted, then terminated.

Nothing here is a machine: the nodes are written by the test, and an instance that moto has terminated says so.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from actors.sim.envtest import RealApiServer
from actors.sim.live import Api, Operator, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "ec2"
POOL = "/apis/pools.example.com/v1/nodepools/workers"
READY = {"type": "Ready", "reason": "KubeletReady", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}


@pytest.fixture(scope="module")
def server() -> Iterator[RealApiServer]:
    """One of its own, as for examples/nodes."""
    with RealApiServer(Path(os.environ["KUBEBUILDER_ASSETS"]), flags=("--allow-privileged=true",)) as server:
        server.kubectl("apply", "-k", str(EXAMPLE))
        server.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        time.sleep(2.5)  # creates are held until a definition is two seconds old
        server.kubectl("apply", "-f", str(ROOT / "examples" / "nodes" / "pools.yaml"))
        yield server


@pytest.fixture
def ec2(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of moto's EC2. What the operator finds in its environment is what a pod would be given."""
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    environment = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
    }  # fmt: skip
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    yield boto3.client("ec2", region_name="eu-west-1")
    moto.stop()


def node(api: Api, name: str, instance: str) -> None:
    api.do("POST", "/api/v1/nodes", {
        "metadata": {"name": name, "labels": {"pools.example.com/pool": "workers"}},
        "spec": {"providerID": f"aws:///eu-west-1a/{instance}"},
    })  # fmt: skip
    ready(api, name, "True")


def ready(api: Api, name: str, status: str) -> None:
    api.merge(f"/api/v1/nodes/{name}/status", {"status": {"conditions": [{**READY, "status": status}]}})


def test_a_node_that_stays_ill_is_rebooted_and_then_terminated(server: RealApiServer, ec2: Any, tmp_path: Path) -> None:
    """Beside one whose instance EC2 does not know, which must not hold it up."""
    api = Api(server.kubeconfig)
    made = ec2.run_instances(ImageId="ami-12345678", MinCount=4, MaxCount=4, InstanceType="t3.micro")["Instances"]
    instances = {f"node-{number}": each["InstanceId"] for number, each in enumerate(made)}
    instances["lost"] = "i-0000000000000dead"
    for name, instance in instances.items():
        node(api, name, instance)

    def states() -> dict[str, str]:
        found = ec2.describe_instances(InstanceIds=[each["InstanceId"] for each in made])["Reservations"]
        by_id = {each["InstanceId"]: each["State"]["Name"] for all_ in found for each in all_["Instances"]}
        return {name: by_id[instance] for name, instance in instances.items() if instance in by_id}

    def counts() -> tuple[int, int]:
        status = api.do("GET", POOL).get("status", {})
        return status.get("healthy", -1), status.get("unhealthy", -1)

    def allowed() -> str:
        conditions = api.do("GET", POOL).get("status", {}).get("conditions", [])
        return next((each["reason"] for each in conditions if each["type"] == "RemediationAllowed"), "")

    options = {
        "fleet": str(EXAMPLE / "fleet.yaml"), "heartbeat-timeout": "off", "cold-start": "0s", "cooldown": "3s",
        "quota": "10/1s", "ec2-terminate-from": "2",
    }  # fmt: skip
    with Operator(
        [str(ROOT / "supervisor.py")], tmp_path, kubeconfig=server.kubeconfig, backend_url="", options=options
    ) as operator:
        operator.ready()
        until(lambda: counts() == (5, 0), 20, "all counted")
        ready(api, "node-1", "False")
        ready(api, "lost", "False")
        until(lambda: counts() == (3, 2), 20, "two are ill")
        until(lambda: states()["node-1"] == "terminated", 40, "rebooted in vain, and terminated")

        assert {name: state for name, state in states().items() if state == "terminated"} == {"node-1": "terminated"}
        outcomes = [line["outcome"] for line in operator.lines("call_answered")]
        assert set(outcomes) == {"answered"}
        assert len(outcomes) >= 3, "the reboot that was refused for the lost one, its repetition, and the termination"

        for name in ("node-0", "node-2", "node-3"):  # with the two, all five: that is probably not the nodes
            ready(api, name, "False")
        until(lambda: counts() == (0, 5) and allowed() == "TooManyUnhealthy", 20, "the valve")
        time.sleep(8.0)  # twice the cooldown, after which they would be terminated
        assert {name for name, state in states().items() if state == "terminated"} == {"node-1"}
    for name in instances:
        api.do("DELETE", f"/api/v1/nodes/{name}")
