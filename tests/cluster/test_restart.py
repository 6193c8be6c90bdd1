"""The operator is killed at the worst moments; what holds is read from the backend's own log of arrivals."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from functools import partial

import pytest

from actors.sim.live import BackendServer, Fleet, Operator, together, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

NODES_EACH = 12
CALLS_MAX, WINDOW_S, BATCH_MAX = 2, 2, 5
TIMEOUT_S, LATENESS_S = 2, 1
COLD_START_S = WINDOW_S + TIMEOUT_S + LATENESS_S


def test_sigkill_while_calls_are_unanswered_repairs_nobody_twice_and_keeps_the_quota(
    fleet: Fleet, operator: Callable[..., Operator], backend: Callable[..., BackendServer]
) -> None:
    """The reply is all that the operator ever learns of a call, and here it never comes. Nothing is kept outside the process:
    the quota holds because a fresh process waits (without that, two lives would put four calls into one window), and
    nobody is repaired twice because the keys are made from the objects."""
    repairs = backend("--quota", f"{CALLS_MAX}/{WINDOW_S}s", "--batch-max", str(BATCH_MAX))
    settings = {
        "quota": f"{CALLS_MAX}/{WINDOW_S}s", "batch_max": str(BATCH_MAX), "backend_timeout": f"{TIMEOUT_S}s",
        "backend_lateness": f"{LATENESS_S}s", "max_unhealthy": "100%", "max_unhealthy_fleet": "100%",
    }  # fmt: skip
    clusters = ("dock", "pier")
    for cluster in clusters:
        fleet.cluster(cluster)
    names = [f"{cluster}-{number:02}" for cluster in clusters for number in range(NODES_EACH)]
    together(partial(fleet.node, name, name.partition("-")[0], healthy=name.endswith("0")) for name in names)

    repairs.faults({"do": "withhold"})
    began_s = time.monotonic()
    first = operator(repairs.url, name="first", **settings)
    first.wait(lambda: len(repairs.arrivals()) == CALLS_MAX, COLD_START_S + 15.0, "calls that are not answered")
    first.kill()
    killed_s = time.monotonic()
    executed = repairs.repaired()
    assert len(executed) == CALLS_MAX * BATCH_MAX, "executed, and nobody was told"

    # The world goes on without an operator: one that is being repaired is deleted and created again, well; others fall ill.
    again = executed[0]
    fleet.delete(again)
    fleet.node(again, again.partition("-")[0], healthy=True)
    for name in ("pier-00", "pier-10", "dock-00"):
        fleet.report(name, False)
    assert fleet.counts() != fleet.truth()
    second = operator(repairs.url, name="second", **settings)
    truth_s = fleet.agree(10.0)

    # The second one's calls are not answered either: it is killed while their outcome is unknown.
    second.wait(lambda: len(repairs.arrivals()) >= CALLS_MAX + 1, COLD_START_S + 10.0, "the second process's calls")
    second.kill()
    waited_s = repairs.arrivals()[CALLS_MAX]["at_s"] - repairs.arrivals()[CALLS_MAX - 1]["at_s"]
    assert waited_s >= WINDOW_S
    repairs.faults({"do": "clear"})
    third = operator(repairs.url, name="third", **settings)

    wanted = {node["metadata"]["name"] for node in fleet.objects("ComputeNode") if node["status"]["healthy"] is False}
    third.wait(lambda: wanted <= set(repairs.repaired()), 40.0, "every ill node's repair")
    answered = "call_answered"
    until(lambda: sum(line["accepted"] for line in third.lines(answered)) >= len(wanted), 15.0, "all answers")
    fleet.agree(10.0)

    log = repairs.log()
    per_node = Counter((each["uid"]) for each in log["repairs"])
    codes = Counter(each["code"] for each in log["arrivals"])
    print(
        f"{len(names)} nodes, {len(wanted)} ill at the end: {len(log['arrivals'])} calls in 3 lives (codes {dict(codes)}), "
        f"fullest window {log['fullestWindow']} of {CALLS_MAX}, {len(log['repairs'])} repairs, most per node "
        f"{max(per_node.values())}, {log['duplicates']} keys came again; truth {truth_s:.2f} s after the restart, "
        f"{waited_s:.1f} s between the lives' calls, {killed_s - began_s:.1f} s until the first kill"
    )
    assert log["fullestWindow"] <= CALLS_MAX
    assert 429 not in codes
    assert max(per_node.values()) == 1
    assert log["duplicates"] > 0, "the same keys came again, else this proves nothing"
    assert wanted | {again} == set(repairs.repaired())
    assert third.stop() == 0
