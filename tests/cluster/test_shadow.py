"""``run --shadow`` beside a live operator on a real kube-apiserver: nothing written, by the server's own audit log."""

from __future__ import annotations

import json
import os
import re
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from actors.sim.envtest import RealApiServer
from actors.sim.live import Api, BackendServer, Fleet, Operator, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

ROOT = Path(__file__).parents[2]
SHADOW = "system:serviceaccount:muster-system:shadow"
LIVE = "system:serviceaccount:muster-system:muster"
GRACE_S = 12.0  # two of debounce, ten for a write
READS = {"get", "list", "watch"}
POLICY = """
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: Metadata}]
"""


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RealApiServer, Path]]:
    """A server that writes down who asked for what; with a second account that may do all that the operator may."""
    folder = tmp_path_factory.mktemp("audit")
    (folder / "policy.yaml").write_text(POLICY, encoding="utf-8")
    log = folder / "audit.log"
    flags = ("--allow-privileged=true", f"--audit-policy-file={folder / 'policy.yaml'}", f"--audit-log-path={log}")
    with RealApiServer(Path(os.environ["KUBEBUILDER_ASSETS"]), flags=flags) as server:
        server.kubectl("apply", "-k", str(ROOT / "manifests" / "default"))
        server.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        server.kubectl("create", "serviceaccount", "shadow", "--namespace", "muster-system")
        server.kubectl(
            "create",
            "clusterrolebinding",
            "shadow",
            "--clusterrole=muster-operator",
            "--serviceaccount=muster-system:shadow",
        )
        time.sleep(2.5)
        yield server, log


def entries(log: Path, user: str) -> list[dict[str, Any]]:
    found = []
    for text in log.read_text("utf-8", "replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue  # the last one may be half written
        if line["user"].get("username") == user:
            found.append(line)
    return found


def verdicts(shadow: Operator) -> dict[str, int]:
    with urllib.request.urlopen(f"{shadow.url}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    return {
        name: int(float(value))
        for name, value in re.findall(r'^muster_shadow_verdicts_total\{verdict="(\w+)"\} (\S+)$', text, re.MULTILINE)
    }


def test_a_shadow_writes_nothing_agrees_and_finds_what_is_planted(
    audited: tuple[RealApiServer, Path],
    operator: Callable[..., Operator],
    backend: Callable[..., BackendServer],
    tmp_path: Path,
) -> None:
    server, log = audited
    config: dict[str, Path] = {}
    for name in ("muster", "shadow"):
        token = server.kubectl("create", "token", name, "--namespace", "muster-system", "--duration", "1h").strip()
        config[name] = server.kubeconfig_for(token, tmp_path / f"{name}.kubeconfig")
    repairs = backend("--quota", "10/1s")
    fleet = Fleet(Api(server.kubeconfig), "default")
    live = operator(repairs.url, kubeconfig=config["muster"], cold_start="0s", cooldown="30s").ready()
    shadow = operator(
        "http://127.0.0.1:9", kubeconfig=config["shadow"], name="shadow", shadow="true", cold_start="0s", cooldown="30s"
    ).ready()

    for cluster in ("a", "b", "c"):
        fleet.cluster(cluster)
        for number in range(6):
            fleet.node(f"{cluster}-n{number}", cluster, healthy=True)
    for round_number in range(12):
        fleet.report(f"{'abc'[round_number % 3]}-n{round_number % 6}", round_number % 4 == 3)
        time.sleep(0.5)
    until(lambda: fleet.status("a").get("total") == 6, 10, lambda: fleet.status("a"))

    until(lambda: verdicts(shadow).get("agreed", 0) >= 3, GRACE_S + 20, lambda: verdicts(shadow))
    time.sleep(GRACE_S + 2.0)
    assert 0 == verdicts(shadow).get("differed", 0), shadow.lines("shadow_differed")
    written = [line for line in entries(log, SHADOW) if line["verb"] not in READS]
    assert not written, written[:3]
    assert any(line["verb"] == "patch" for line in entries(log, LIVE)), "the log would have shown it"
    assert any(line["verb"] == "watch" for line in entries(log, SHADOW))

    # Planted: the live operator begins anew with repairs switched off, which the shadow does not know.
    live.stop()
    operator(
        repairs.url, kubeconfig=config["muster"], name="other", cold_start="0s", cooldown="30s", repair_enabled="false"
    ).ready()
    fleet.report("a-n5", False)
    until(lambda: shadow.lines("shadow_differed", parent="default/a"), GRACE_S + 25, lambda: verdicts(shadow))
    line = shadow.lines("shadow_differed", parent="default/a")[0]
    assert "RemediationAllowed" in line["difference"]
    assert verdicts(shadow)["differed"] >= 1
    assert not [line for line in entries(log, SHADOW) if line["verb"] not in READS]
