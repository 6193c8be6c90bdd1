"""A person overrides the valves for one parent, with kubectl; it outlives the operator, and it ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from actors.core.override import OVERRIDE
from actors.sim.envtest import RealApiServer
from actors.sim.live import BackendServer, Fleet, Operator, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

LASTS_S = 20
NODES = 12


def allowed(fleet: Fleet, name: str) -> tuple[str, str]:
    """The condition's status and reason."""
    return condition(fleet, name, "RemediationAllowed")[:2]


def condition(fleet: Fleet, name: str, kind: str) -> tuple[str, str, str]:
    """Its status, reason and message; "" where it is not there."""
    conditions: list[Any] = fleet.status(name).get("conditions", [])
    found = (each for each in conditions if each["type"] == kind)
    return next(((each["status"], each["reason"], each["message"]) for each in found), ("", "", ""))


def test_an_override_lets_one_parents_repairs_go_survives_sigkill_and_ends(
    server: RealApiServer, fleet: Fleet, operator: Callable[..., Operator], backend: Callable[..., BackendServer]
) -> None:
    """Both valves are closed: two parents' own, and the one over all (all of 24 nodes are ill)."""
    repairs = backend("--quota", "1/1s", "--batch-max", "3")
    settings = {"quota": "1/1s", "batch_max": "3", "backend_timeout": "1s", "backend_lateness": "1s"}
    for cluster in ("dock", "pier"):
        fleet.cluster(cluster)
        for number in range(NODES):
            fleet.node(f"{cluster}-{number:02}", cluster, healthy=False)
    first = operator(repairs.url, name="first", **settings)
    first.wait(lambda: allowed(fleet, "pier") == ("False", "TooManyUnhealthy"), 20.0, "the valve")
    time.sleep(3.0)
    assert repairs.arrivals() == []

    annotate = ("annotate", "--overwrite", "--namespace", fleet.namespace, "mcl", "pier")
    server.kubectl(*annotate, f"{OVERRIDE}=soon")
    first.wait(lambda: condition(fleet, "pier", "Ready")[1] == "InvalidSpec", 10.0, "the complaint")
    assert f"metadata.annotations[{OVERRIDE}]: found 'soon'" in condition(fleet, "pier", "Ready")[2]
    ends = datetime.now(UTC) + timedelta(seconds=LASTS_S)
    server.kubectl(*annotate, f"{OVERRIDE}={ends:%Y-%m-%dT%H:%M:%SZ}")
    first.wait(lambda: allowed(fleet, "pier") == ("True", "ValveOverridden"), 10.0, "the override")
    first.wait(lambda: len(repairs.arrivals()) >= 1, 10.0, "a call")
    first.kill()
    before = len(repairs.arrivals())
    second = operator(repairs.url, name="second", **settings)
    second.wait(lambda: len(repairs.arrivals()) > before, 15.0, "the second process's calls")
    assert datetime.now(UTC) < ends, "else this proves nothing"

    second.wait(lambda: allowed(fleet, "pier")[0] == "False", LASTS_S + 10.0, "its end")
    for number in range(NODES):  # new troubles, which nobody has been asked for
        fleet.report(f"pier-{number:02}", True)
        fleet.report(f"pier-{number:02}", False)
    until(lambda: allowed(fleet, "pier") == ("False", "TooManyUnhealthy"), 10.0, "the valve again")
    time.sleep(1.0)
    settled = len(repairs.arrivals())
    time.sleep(3.0)

    names = repairs.repaired()
    print(
        f"{len(repairs.arrivals())} calls, {before} of them by the first process; repaired {len(set(names))} of {NODES}"
    )
    assert len(repairs.arrivals()) == settled
    assert {name.partition("-")[0] for name in names} == {"pier"}
    assert allowed(fleet, "dock") == ("False", "TooManyUnhealthy")
    assert second.stop() == 0
