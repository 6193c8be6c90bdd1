"""The whole path in virtual time: the promises, with the real tree on simulated ports."""

from __future__ import annotations

import math
from typing import Any

import pytest

from actors.core.errors import Forbidden
from actors.core.events import Escalated, Reconciled, StatusWritten, ValveMoved
from actors.core.model import Policy, Share
from actors.core.quantity import Quota
from actors.sim.harness import CLUSTERS, SimulatedFleet

OPEN = Policy(max_unhealthy=Share(percent=100.0))


def true_everywhere(fleet: SimulatedFleet, *names: str) -> bool:
    return all(fleet.counts(name) == fleet.truth(name) for name in names)


def populated(clusters: int, nodes: int, **options: Any) -> SimulatedFleet:
    fleet = SimulatedFleet(**options)
    for c in range(clusters):
        fleet.cluster(f"c{c}")
        for n in range(nodes):
            fleet.node(f"c{c}-n{n}", f"c{c}", kind="ComputeNode" if n % 2 else "StorageNode")
    fleet.start()
    fleet.run(5.0)
    return fleet


def sick(fleet: SimulatedFleet, *names: str) -> None:
    for name in names:
        fleet.report(name, False, kind="ComputeNode" if int(name.rsplit("n", 1)[1]) % 2 else "StorageNode")


# --- truth ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("seed", range(5))
def test_counts_equal_the_truth_after_every_kind_of_change(seed: int) -> None:
    """Proof 2, in virtual time: deletion, re-parenting, same-name re-creation, both kinds, the parent's too."""
    fleet = populated(3, 6, seed=seed, policy=OPEN)
    all_of_them = ("c0", "c1", "c2")
    assert true_everywhere(fleet, *all_of_them)

    def change(what: str) -> None:
        fleet.run(1.0)
        assert true_everywhere(fleet, *all_of_them), what

    sick(fleet, "c0-n1")
    change("failed")
    fleet.report("c0-n1", True)
    change("recovered")
    fleet.delete("c0-n1")
    change("deleted")
    fleet.node("c0-n1", "c0", False)
    change("created again")
    fleet.delete("c1-n1")
    fleet.node("c1-n1", "c1", None)
    change("deleted and created again under its name at once")
    fleet.api.patch("computenodes.muster.dev", "c2-n1", {"spec": {"clusterRef": {"name": "c0"}}}, "default")
    change("moved to another parent")
    assert fleet.counts("c2")[0] == 5
    fleet.api.patch("computenodes.muster.dev", "c2-n3", {"spec": {"clusterRef": {"name": "nowhere"}}}, "default")
    change("moved to a parent that is not there")
    fleet.cluster("nowhere")
    fleet.run(1.0)
    assert fleet.counts("nowhere") == (1, 1, 0, 0)
    fleet.api.delete(CLUSTERS, "c1", "default")
    fleet.cluster("c1")
    change("the parent created again under its name")
    fleet.api.delete(CLUSTERS, "c2", "default")
    fleet.run(3.0)
    sick(fleet, "c2-n0")
    fleet.run(3.0)
    fleet.cluster("c2")
    change("the parent gone for a while")
    for n in (1, 3, 5):
        fleet.delete(f"c1-n{n}")
    for n in (0, 2, 4):
        fleet.delete(f"c1-n{n}", plural="storagenodes.muster.dev")
    change("all children deleted")
    assert fleet.counts("c1") == (0, 0, 0, 0)


@pytest.mark.parametrize("idle_s", [0.0, 5.0])
def test_sleeping_parents_wake_for_every_change(idle_s: float) -> None:
    """Passivation must not be visible from outside."""
    fleet = populated(4, 4, seed=2, policy=OPEN, idle_s=idle_s)
    for step in range(40):
        fleet.run(1.0 + step % 7)
        sick(fleet, f"c{step % 4}-n1") if step % 8 < 4 else fleet.report(f"c{step % 4}-n1", True)
        fleet.run(0.5)
        assert true_everywhere(fleet, "c0", "c1", "c2", "c3")
    fleet.run(400.0)
    phases: Any = dict(fleet.system.cells())["directory"]["clusters"]
    assert phases["awake"] == (0 if idle_s else 4)


def test_a_node_that_falls_silent_is_unknown_at_its_deadline_and_counted_again_when_it_speaks() -> None:
    """Promise *silent heartbeats*, ± 1 s; silence is repaired like a bad report."""
    fleet = SimulatedFleet(seed=1, policy=Policy(max_unhealthy=Share(percent=100.0), heartbeat_timeout_s=30.0))
    fleet.cluster("c0")
    for n in range(3):
        fleet.node(f"n{n}", "c0")
    fleet.start()
    fleet.run(5.0)
    fleet.report("n0", True)
    last_s = fleet.world.clock.now()
    went_s = None
    for _ in range(400):
        fleet.run(0.1)
        if round(fleet.world.clock.now(), 1) % 5.0 == 0.0:
            fleet.report("n1", True)
            fleet.report("n2", True)
        if fleet.counts("c0") == (3, 2, 0, 1):
            went_s = fleet.world.clock.now()
            break

    assert went_s is not None
    assert 30.0 <= went_s - last_s <= 31.0
    fleet.run(1.0)
    assert fleet.repaired() == ["n0"]
    fleet.report("n0", True)
    fleet.run(0.5)
    assert fleet.counts("c0") == (3, 3, 0, 0)


# --- silence ----------------------------------------------------------------------------------------------------------
def test_ten_thousand_heartbeats_that_change_nothing_wake_nobody() -> None:
    """Proof 7: zero reconciles, zero writes; and the one node that stops is reported at its deadline."""
    timeout_s = 120.0
    policy = Policy(
        repair_enabled=False, heartbeat_timeout_s=timeout_s
    )  # a repair's answers would be news of their own
    fleet = populated(10, 10, policy=policy, idle_s=0.0)
    looks, writes, last_s = len(fleet.world.seen(Reconciled)), len(fleet.writer.writes), 0.0
    for _ in range(100):
        fleet.run(10.0)
        for c in range(10):
            for n in range(10):
                if (c, n) != (0, 0) or fleet.world.clock.now() < 500.0:
                    fleet.report(f"c{c}-n{n}", True, kind="ComputeNode" if n % 2 else "StorageNode")
                    if (c, n) == (0, 0):
                        last_s = fleet.world.clock.now()
        if fleet.world.clock.now() < 500.0 + timeout_s - 10.0:
            assert (len(fleet.world.seen(Reconciled)), len(fleet.writer.writes)) == (looks, writes)

    times = [at_s for at_s, fact in fleet.world.facts_seen if isinstance(fact, Reconciled)][looks:]
    assert [at_s - last_s for at_s in times] == pytest.approx([timeout_s], abs=1.0)
    assert len(fleet.writer.writes) - writes == 1
    assert fleet.counts("c0") == (10, 9, 0, 1)
    late_s = times[0] - last_s - timeout_s
    print(f"\n10,000 heartbeats: 0 reconciles, 0 writes; the silent node {late_s:.2f} s after its deadline, 1 write")


# --- repairs ----------------------------------------------------------------------------------------------------------
def test_one_bad_node_in_each_of_a_hundred_clusters_is_at_most_two_calls() -> None:
    """Promise *merge*."""
    fleet = populated(100, 3, heal_after_s=1.0)
    sick(fleet, *(f"c{c}-n1" for c in range(100)))
    fleet.run(10.0)

    print(f"\none bad node in each of 100 clusters: {len(fleet.backend_model.arrivals)} call(s)")
    assert len(fleet.backend_model.arrivals) <= 2
    assert sorted(fleet.repaired()) == sorted(f"c{c}-n1" for c in range(100))
    assert true_everywhere(fleet, *(f"c{c}" for c in range(100)))


def test_a_mass_failure_drains_at_the_limit_while_every_status_is_right() -> None:
    """Proof 6: 5,000 nodes over 50 clusters, the valve opened."""
    quota, batch_max, rtt_s = Quota(5, 2.0), 100, 0.05
    fleet = populated(50, 100, policy=OPEN, quota=quota, batch_max=batch_max, rtt_s=rtt_s)
    fleet.cluster("small")
    fleet.node("small-n1", "small")
    fleet.run(3.0)
    began_s = fleet.world.clock.now()
    names = [f"c{c}-n{n}" for c in range(50) for n in range(100)]
    sick(fleet, *names[:4999], "small-n1")
    fleet.run(2.0)
    assert true_everywhere(fleet, "small", *(f"c{c}" for c in range(50)))
    assert len(fleet.repaired()) < 2000, "the queue still drains"

    fleet.run(60.0)
    arrivals = [arrival.at_s for arrival in fleet.backend_model.arrivals]
    calls = math.ceil(5000 / batch_max)
    limit_s = (math.ceil(calls / quota.calls) - 1) * (quota.window_s + rtt_s) + rtt_s
    took_s = arrivals[-1] + rtt_s - began_s - 0.15  # the quiet times of the debounce and of the batch
    fullest = fleet.backend_model.fullest_window()
    print(
        f"\n5,000 nodes of 50 clusters fail: {len(arrivals)} calls of {calls}, fullest window {fullest} of {quota.calls}, "
        f"drain {took_s:.2f} s of {limit_s:.2f} s; every status right within 2 s, the queue still draining"
    )
    assert len(arrivals) == calls
    assert fleet.backend_model.fullest_window() <= quota.calls
    assert took_s <= 1.05 * limit_s
    assert len(set(fleet.repaired())) == len(fleet.repaired()) == 5000
    small = next(repair.at_s for repair in fleet.backend_model.repairs if repair.name == "small-n1")
    assert small - began_s <= 2 * quota.window_s, "nobody starves"


def test_with_the_valve_at_its_default_a_mass_failure_is_held_and_told() -> None:
    """Promise *valve*: a condition and an Event; and no repair beyond it."""
    fleet = populated(2, 20)
    sick(fleet, *(f"c0-n{n}" for n in range(11)), *(f"c1-n{n}" for n in range(10)))
    fleet.run(20.0)

    events = [(key.name, note.reason) for key, note in fleet.writer.events]
    print(
        f"\nvalve at its default: {len(fleet.backend_model.repairs)} repairs, all of the other cluster; Events {events}"
    )
    assert {repair.cluster for repair in fleet.backend_model.repairs} <= {"c1"}
    assert len(fleet.backend_model.repairs) == 10
    assert fleet.condition("c0", "RemediationAllowed")["reason"] == "TooManyUnhealthy"
    assert fleet.condition("c1", "RemediationAllowed")["status"] == "True"
    assert events == [("c0", "TooManyUnhealthy")]
    assert [fact.parent for fact in fleet.world.seen(ValveMoved)] == ["default/c0"]
    assert fleet.counts("c0") == fleet.truth("c0") == (20, 9, 11, 0)


def test_repairs_help_and_each_node_is_repaired_once_per_incident() -> None:
    """The loop closed: failed, repaired, well, failed again."""
    fleet = populated(3, 10, heal_after_s=0.5)
    for _ in range(3):
        sick(fleet, "c0-n1", "c1-n2", "c2-n3")
        fleet.run(30.0)
        assert all(fleet.counts(f"c{c}") == (10, 10, 0, 0) for c in range(3))

    assert sorted(fleet.repaired()) == sorted(["c0-n1", "c1-n2", "c2-n3"] * 3)


def test_a_cluster_that_is_deleted_while_its_repairs_are_queued_gets_none_of_them() -> None:
    """Proof 8."""
    fleet = populated(2, 10, quota=Quota(1, 60.0), batch_max=5, policy=OPEN)
    sick(fleet, *(f"c0-n{n}" for n in range(10)))
    fleet.run(2.0)
    assert len(fleet.repaired()) == 5
    fleet.api.delete(CLUSTERS, "c0", "default")
    sick(fleet, "c1-n1")
    fleet.run(300.0)

    assert len([repair for repair in fleet.backend_model.repairs if repair.cluster == "c0"]) == 5
    assert fleet.repaired()[5:6] == ["c1-n1"]


def test_nothing_is_written_while_a_kind_cannot_be_listed() -> None:
    """Promise *synced*."""
    fleet = SimulatedFleet(seed=3)
    fleet.cluster("c0")
    fleet.node("c0-n1", "c0", False)
    fleet.reader.fail = lambda kind, action: Forbidden("no") if kind == "StorageNode" else None
    fleet.start()
    fleet.run(60.0)
    assert (fleet.writer.writes, fleet.backend_model.arrivals) == ([], [])
    assert [reason for reason in fleet.system.ready() if "StorageNode" in reason]

    fleet.reader.fail = lambda kind, action: None
    fleet.run(10.0)
    assert fleet.counts("c0") == (1, 0, 1, 0)
    assert fleet.system.ready() == []


@pytest.mark.parametrize("seed", range(3))
def test_the_same_seed_tells_the_same_story(seed: int) -> None:
    """Trace for trace, however the actors are woken."""

    def story() -> tuple[str, int, list[str]]:
        fleet = populated(3, 4, seed=seed, heal_after_s=0.5, policy=OPEN)
        sick(fleet, "c0-n1", "c1-n1")
        fleet.run(20.0)
        return fleet.world.trace_hash(), len(fleet.world.seen(StatusWritten)), fleet.repaired()

    assert story() == story()


def test_the_tree_stops_in_order_with_every_cluster_actor() -> None:
    """And nothing happens in that world afterwards."""
    fleet = populated(5, 2)
    fleet.system.stop()
    fleet.run(10.0)
    assert fleet.system.stopped
    assert fleet.system.overdue == []
    turns = fleet.world.turn_count
    fleet.reader.stop(1.0)
    fleet.run(100.0)
    sick(fleet, "c0-n1")
    fleet.run(5000.0)

    assert fleet.world.turn_count == turns
    assert fleet.world.seen(Escalated) == []
