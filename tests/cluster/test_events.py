"""What people read with kubectl: Events on the Cluster, counted and not multiplied, across restarts, under the shipped RBAC."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from actors.sim.envtest import RealApiServer
from actors.sim.live import BackendServer, Fleet, Operator, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

NODES = [f"dock-{number}" for number in range(5)]
ILL = NODES[:4]  # of five: more than the valve allows


def test_decisions_are_events_and_a_later_process_counts_on(
    server: RealApiServer, fleet: Fleet, operator: Callable[..., Operator], backend: Callable[..., BackendServer]
) -> None:
    def events() -> dict[str, Any]:
        """By reason, as kubectl shows them."""
        text = server.kubectl("get", "events.events.k8s.io", "--namespace", fleet.namespace, "--output", "json")
        items = json.loads(text)["items"]
        found = {each["reason"]: each for each in items}
        assert len(found) == len(items), "an Event for each repetition"
        return found

    def held(value: str) -> None:
        until(lambda: fleet.condition("dock", "RemediationAllowed").get("status") == value, 20.0, "the valve to move")

    repairs = backend()
    fleet.cluster("dock")
    for name in NODES:
        fleet.node(name, "dock", healthy=name not in ILL)
    first = operator(repairs.url, name="first", cooldown="1h")
    held("False")
    until(lambda: "TooManyUnhealthy" in events(), 10.0, "the Event")
    for name in ILL:
        fleet.report(name, True)
    held("True")
    until(lambda: "RepairsAllowed" in events(), 10.0, "the Event")
    assert first.stop() == 0

    for name in ILL:
        fleet.report(name, False)
    operator(repairs.url, name="second", cooldown="1h")
    until(lambda: events()["TooManyUnhealthy"].get("series", {}).get("count") == 2, 20.0, lambda: json.dumps(events()))

    told = server.kubectl("describe", "clusters.muster.dev", "dock", "--namespace", fleet.namespace)
    assert "TooManyUnhealthy" in told
    assert "repairs are held: 4 of 5 need repair" in told
    regarding = events()["TooManyUnhealthy"]["regarding"]
    assert (regarding["kind"], regarding["name"]) == ("Cluster", "dock")
