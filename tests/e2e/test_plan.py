"""``muster plan`` against the embedded API server: it says what a running operator then does, and writes nothing itself."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from actors.core.builtin import MUSTER_FLEET
from actors.core.model import Policy
from actors.edge.dispatcher import SystemClock
from actors.edge.kube import Answer, KubeClient
from actors.ops.exit_codes import ExitCode
from actors.ops.plan import plans
from actors.sim.live import Api, BackendServer, Fleet, ModelServer, Operator, until

ENTRY = Path(__file__).parents[2] / "supervisor.py"
Said = tuple[int, str, str]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ModelServer]:
    with ModelServer(tmp_path) as server:
        yield server


@pytest.fixture
def fleet(server: ModelServer) -> Fleet:
    fleet = Fleet(Api(server.url))
    for cluster in ("a", "b"):
        fleet.cluster(cluster)
        for number in range(4):
            fleet.node(f"{cluster}-n{number}", cluster, healthy=number != 1 or cluster == "b")
    return fleet


@pytest.fixture
def plan(server: ModelServer) -> Callable[..., Said]:
    def run(*words: str) -> Said:
        command = [sys.executable, str(ENTRY), "plan", "--kubeconfig", str(server.kubeconfig), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout, done.stderr

    return run


def writes(server: ModelServer) -> list[str]:
    """Status patches of Clusters in the server's access log."""
    return [line for line in server.log.read_text().splitlines() if "PATCH" in line and "/clusters/" in line]


def test_what_it_says_is_what_a_running_operator_does(
    server: ModelServer, fleet: Fleet, plan: Callable[..., Said], tmp_path: Path
) -> None:
    code, out, err = plan("--json")
    told = json.loads(out)
    views: dict[str, Any] = {view["parent"]: view for view in told["plans"]}
    a = views["default/a"]

    assert (ExitCode.TO_DO, "") == (code, err)
    assert (2, 8, []) == (told["parents"], told["children"], told["problems"])
    assert ["a-n1"] == [each["child"] for each in a["repairs"]]
    assert {"healthy": 3, "unhealthy": 1} == {
        each["field"]: each["wanted"] for each in a["status"] if each["field"] in ("healthy", "unhealthy")
    }
    assert not writes(server)

    with BackendServer(tmp_path) as backend:
        options = {"cold-start": "0s", "cooldown": "1h"}
        with Operator([str(ENTRY)], tmp_path, kubeconfig=server.kubeconfig, backend_url=backend.url, options=options):
            until(lambda: fleet.status("b").get("total") == 4, 20, "statuses")
            until(lambda: backend.repaired() == ["a-n1"], 20, "the repair")
            condition = "BackendReachable"
            until(
                lambda: {c["type"]: c["status"] for c in fleet.status("a")["conditions"]}[condition] == "True",
                20,
                condition,
            )
    assert writes(server), "the log would have shown it"
    done = fleet.status("a")
    wanted = {each["field"]: each["wanted"] for each in a["status"]}
    assert {name: done[name] for name in ("total", "healthy", "unhealthy", "repairing")} == {
        name: wanted[name] for name in ("total", "healthy", "unhealthy", "repairing")
    }

    # What an operator has done is not to be done again, but for the repair, whose key is the same.
    code, out, _ = plan("a", "--json")
    (view,) = json.loads(out)["plans"]
    assert (ExitCode.TO_DO, []) == (code, view["status"])
    assert [each["key"] for each in a["repairs"]] == [each["key"] for each in view["repairs"]]
    assert ExitCode.OK == plan("default/b")[0]


def test_for_people_it_is_a_table(fleet: Fleet, plan: Callable[..., Said]) -> None:
    code, out, _ = plan()

    assert ExitCode.TO_DO == code
    assert "repair ComputeNode/a-n1" in out
    assert "unhealthy since" in out
    assert "2 of 2 parents would change, 1 repairs would be asked for" in out


def test_settings_hold_as_for_run(fleet: Fleet, plan: Callable[..., Said]) -> None:
    _, out, _ = plan("--json", "--repair-enabled", "false", "a")

    (view,) = json.loads(out)["plans"]
    assert not view["repairs"]
    assert {"RepairDisabled"} == {
        each["wanted"] for each in view["status"] if each["field"] == "conditions.RemediationAllowed.reason"
    }


def test_a_parent_that_is_not_there_and_a_server_that_is_away(
    server: ModelServer, fleet: Fleet, plan: Callable[..., Said]
) -> None:
    code, _, err = plan("nobody")
    assert ExitCode.SETTINGS == code
    assert "there is no parent nobody: expected NAMESPACE/NAME of one, such as default/a, default/b" in err

    server.stop()
    code, _, err = plan()
    assert ExitCode.CHECK_FAILED == code
    assert "muster check" in err


class Dated(KubeClient):
    """The embedded server does not say what time it is; a real one does."""

    def request(self, *words: Any, **more: Any) -> Answer:
        return evolve(super().request(*words, **more), date=formatdate(usegmt=True))


def test_who_was_silent_before_the_first_look_is_silent(server: ModelServer, fleet: Fleet) -> None:
    fleet.report("b-n2", True, beat="2020-01-01T00:00:00Z")
    client = Dated(str(server.kubeconfig), None)
    found = plans(client, MUSTER_FLEET, Policy(heartbeat_timeout_s=60.0), SystemClock(), parent="b")
    client.close()

    (view,) = found.views
    assert [("b-n2", "silent since its heartbeat of 2020-01-01T00:00:00Z")] == [
        (each["child"], each["why"]) for each in view["repairs"]
    ]
    assert not found.nothing
