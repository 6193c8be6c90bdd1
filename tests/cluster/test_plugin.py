"""``kubectl muster`` with the real kubectl on a real API server. No pod runs there: what needs a node is tested with a fake."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from actors.sim.envtest import RealApiServer
from actors.sim.live import Api

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

ROOT = Path(__file__).parents[2]
PODS = "/api/v1/namespaces/muster-system/pods"


def kubectl(server: RealApiServer, *words: str) -> subprocess.CompletedProcess[str]:
    """As a person has it: kubectl finds the plugin on the PATH."""
    path = f"{ROOT / 'manifests' / 'plugin'}:{os.environ['KUBEBUILDER_ASSETS']}:{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "KUBECONFIG": str(server.kubeconfig)}
    return subprocess.run(
        ["kubectl", "muster", *words],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def test_it_finds_the_operators_pod_and_has_the_server_run_the_shell_in_it(server: RealApiServer, api: Api) -> None:
    none = kubectl(server, "health")
    assert (none.returncode, "no operator runs in the namespace muster-system" in none.stderr) == (11, True)

    template = api.do("GET", "/apis/apps/v1/namespaces/muster-system/deployments/muster")["spec"]["template"]
    pod = {"metadata": {**template["metadata"], "name": "muster-x"}, "spec": template["spec"]}
    api.do("POST", PODS, pod)
    assert kubectl(server, "health").returncode == 11  # it does not run yet
    server.kubectl(
        "patch", "pod", "muster-x", "--namespace", "muster-system", "--subresource", "status", "--type", "merge",
        "--patch", '{"status": {"phase": "Running"}}',
    )  # fmt: skip

    found = kubectl(server, "health")
    assert found.returncode != 0
    assert "muster-x does not have a host assigned" in found.stderr
    assert "the namespace nowhere" in kubectl(server, "-n", "nowhere", "top").stderr

    api.do("DELETE", f"{PODS}/muster-x?gracePeriodSeconds=0")
