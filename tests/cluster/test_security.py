"""What is shipped is enough and no more: the ServiceAccount's rights, and a Pod that a "restricted" namespace takes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from actors.sim.envtest import RealApiServer
from actors.sim.live import Api, BackendServer, Fleet, Operator

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

ROOT = Path(__file__).parents[2]
ACCOUNT = "system:serviceaccount:muster-system:muster"
MAY = {
    *(f"{verb} {kind}.muster.dev" for verb in ("list", "watch") for kind in ("clusters", "computenodes", "storagenodes")),
    "patch clusters.muster.dev/status",
    "create events.events.k8s.io",
    "patch events.events.k8s.io",
}  # fmt: skip
VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
KINDS = (
    *("clusters.muster.dev", "clusters.muster.dev/status", "clusters.muster.dev/finalizers"),
    *("computenodes.muster.dev", "computenodes.muster.dev/status"),
    *("storagenodes.muster.dev", "storagenodes.muster.dev/status"),
    *("events.events.k8s.io", "events", "pods", "secrets", "configmaps", "nodes", "namespaces", "leases.coordination.k8s.io"),
    *("clusterroles.rbac.authorization.k8s.io", "customresourcedefinitions.apiextensions.k8s.io"),
)  # fmt: skip


def allowed(api: Api, verb: str, kind: str) -> bool:
    name, _, subresource = kind.partition("/")
    resource, _, group = name.partition(".")
    attributes = {"verb": verb, "group": group, "resource": resource, "subresource": subresource}
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    answer = api.do("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body)
    return bool(answer["status"]["allowed"])


def test_the_operators_account_may_do_what_it_needs_and_nothing_else(operator_config: Path) -> None:
    """Least privilege is a table, asked of the server with the account's own token: 17 resources × 8 verbs."""
    account = Api(operator_config)

    may = {f"{verb} {kind}" for kind in KINDS for verb in VERBS if allowed(account, verb, kind)}

    assert may == MAY
    print(f"{len(may)} of {len(KINDS) * len(VERBS)} allowed: {', '.join(sorted(may))}")


def test_the_operator_runs_as_its_own_account(
    api: Api, token: str, fleet: Fleet, operator: Callable[..., Operator], backend: Callable[..., BackendServer]
) -> None:
    """With the token alone it reads, writes the status and records Events, and no request of it is refused."""
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
    who = api.do("POST", "/apis/authentication.k8s.io/v1/tokenreviews", review)["status"]["user"]["username"]
    assert who == ACCOUNT

    muster = operator(backend().url, cold_start="0s", max_unhealthy="50%", log_level="debug").ready()
    fleet.cluster("harbour")
    for number in range(8):
        fleet.node(f"n{number}", "harbour", healthy=number < 2)
    fleet.agree(10.0)
    path = f"/apis/events.k8s.io/v1/namespaces/{fleet.namespace}/events"
    muster.wait(lambda: api.do("GET", path)["items"], 10.0, "an Event of the closed valve")

    (event,) = (each for each in api.do("GET", path)["items"] if each["reason"] == "TooManyUnhealthy")
    assert event["regarding"]["name"] == "harbour"
    assert event["reportingController"] == "muster.dev/muster"
    managers = api.do("GET", fleet.path("Cluster", "harbour"))["metadata"]["managedFields"]
    assert [(each["manager"], each["subresource"]) for each in managers if each.get("subresource")] == [
        ("muster", "status")
    ]
    assert [line for line in muster.lines() if " 403 " in str(line)] == []


def test_check_says_yes_to_the_account_and_names_the_cure_to_a_stranger(
    server: RealApiServer, operator_config: Path, tmp_path: Path, backend: Callable[..., BackendServer]
) -> None:
    """``check`` is the first thing that a person runs, with the very kubeconfig that ``run`` would have."""
    server.kubectl("create", "serviceaccount", "stranger", "--namespace", "default")
    token = server.kubectl("create", "token", "stranger", "--namespace", "default").strip()
    stranger = server.kubeconfig_for(token, tmp_path / "stranger")
    url = backend().url

    def check(config: Path) -> tuple[int, str]:
        command = [
            sys.executable,
            str(ROOT / "supervisor.py"),
            "check",
            "--kubeconfig",
            str(config),
            "--backend-url",
            url,
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path, check=False)
        return done.returncode, done.stdout + done.stderr

    code, said = check(operator_config)
    assert code == 0, said
    code, said = check(stranger)
    assert code == 3, said
    assert "kubectl apply -k manifests/rbac" in said


def pod(server: RealApiServer) -> dict[str, Any]:
    """A Pod as the Deployment's controller would make it, from the template as the *server* has it."""
    text = server.kubectl("get", "deployment", "muster", "--namespace", "muster-system", "--output", "json")
    template = json.loads(text)["spec"]["template"]
    labels = template["metadata"]["labels"]
    metadata = {"generateName": "muster-", "namespace": "muster-system", "labels": labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


def test_a_restricted_namespace_takes_the_operators_pod(server: RealApiServer, api: Api) -> None:
    """Pod Security judges Pods, not Deployments: only a Pod made from the template shows whether one would ever start."""
    made = api.do("POST", "/api/v1/namespaces/muster-system/pods", pod(server))

    assert made["spec"]["serviceAccountName"] == "muster"
    api.do("DELETE", f"/api/v1/namespaces/muster-system/pods/{made['metadata']['name']}", {"gracePeriodSeconds": 0})


@pytest.mark.parametrize(
    ("breach", "why"),
    [
        ({"privileged": True, "allowPrivilegeEscalation": True}, "privileged"),
        ({"runAsNonRoot": False, "runAsUser": 0}, "runAsNonRoot"),
        ({"capabilities": {"drop": ["ALL"], "add": ["SYS_ADMIN"]}}, "SYS_ADMIN"),
    ],
)
def test_a_restricted_namespace_refuses_a_pod_that_wants_more(
    server: RealApiServer, api: Api, breach: dict[str, Any], why: str
) -> None:
    """The counterpart: else the test above would also pass where nothing is enforced."""
    wanted = pod(server)
    wanted["spec"]["containers"][0]["securityContext"] |= breach

    code, answer = api.call("POST", "/api/v1/namespaces/muster-system/pods", wanted)

    assert (code, answer["reason"]) == (403, "Forbidden")
    assert 'violates PodSecurity "restricted:latest"' in answer["message"]
    assert why in answer["message"]
