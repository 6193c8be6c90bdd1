"""Nodes that are counted for a pool and for a rack, by the operator as it is: counts at both, repairs by one, never twice."""

from __future__ import annotations

import random
from datetime import datetime
from itertools import pairwise
from typing import Any

import pytest

from actors.core.events import ParentMissing
from actors.core.model import ParentKey
from actors.core.ports import Call
from actors.fleet import (
    Children,
    FleetDefinition,
    Parent,
    Plan,
    annotation,
    child_kind,
    condition,
    fleet,
    label,
    lease,
    owner,
    parent_kind,
)
from actors.insight.collector import Collector, cell_of
from actors.ops.published import snapshot
from actors.testing import FleetWorld


def racks(**settings: Any) -> FleetDefinition:
    node = child_kind(
        "x.io/v1", "Node", parent=[label("pool"), label("rack")], parents="All", health=condition("Ready"),
        heartbeat="status.seen",
    )  # fmt: skip
    wanted: Any = {"maxUnhealthy": "100%", "cooldown": "1h", "coldStart": "0s", **settings}
    return fleet("racks", parent_kind("x.io/v1", "Group"), [node], settings=wanted)


def world_of(*nodes: tuple[str, str, str], healthy: bool = True, **settings: Any) -> FleetWorld:
    """Each node with its pool and its rack; groups a, b, r1 and r2."""
    world = FleetWorld(racks(**settings))
    for group in ("a", "b", "r1", "r2"):
        world.create("Group", group)
    for name, pool, rack in nodes:
        world.create("Node", name, labels={"pool": pool, "rack": rack}, healthy=healthy)
    world.run(2.0)
    return world


def counts(world: FleetWorld, group: str) -> tuple[int, int, int, int]:
    status = world.status(group)
    return status["total"], status["healthy"], status["unhealthy"], status["unknown"]


def text(world: FleetWorld, group: str, node: str = "") -> str:
    return Collector(world._sim.system).why(ParentKey("default", group), node).first.text


def relabel(world: FleetWorld, node: str, **labels: str | None) -> None:
    world.patch("Node", node, {"metadata": {"labels": labels}})


def test_both_counts_follow_one_that_flaps_and_each_trouble_is_repaired_once() -> None:
    world = world_of(("n1", "a", "r1"), ("n2", "a", "r2"), cooldown="1s")
    for _ in range(5):
        world.report("Node", "n1", False)
        world.run(3.0)
        assert (counts(world, "a"), counts(world, "r1"), counts(world, "r2")) == (
            (2, 1, 1, 0),
            (1, 0, 1, 0),
            (1, 1, 0, 0),
        )
        world.report("Node", "n1", True)
        world.run(3.0)
        assert (counts(world, "a"), counts(world, "r1")) == ((2, 2, 0, 0), (1, 1, 0, 0))

    sent = [each["cluster"] for each in world.sent]
    keys = [each["key"] for each in world.sent]
    assert set(world.repaired) == {"n1"}
    assert (set(sent), len(keys), len(world.repaired)) == ({"a"}, len(set(keys)), len(keys)), (
        "by its first parent, each once"
    )
    assert len(keys) >= 5


def test_at_the_other_parent_it_is_counted_and_said_whose_it_is() -> None:
    world = world_of(("n1", "a", "r1"), healthy=False)
    status = world.status("r1")

    assert world.repaired == ["n1"]
    assert (status["unhealthy"], status["repairing"], status["unhealthySample"]) == (1, 0, ["Node/n1"])
    assert world.condition("r1", "RemediationAllowed")["status"] == "True"
    assert (world.why("r1"), world.why("r1", "n1"), world.why("a", "n1")) == (
        "other-parent",
        "other-parent",
        "cooldown",
    )
    assert text(world, "r1", "n1") == text(world, "r1") == "n1 is counted here, and repaired for default/a"
    world.report("Node", "n1", True)
    world.run(2.0)
    assert (world.why("r1"), world.why("r1", "n1")) == ("converged", "converged")


def test_who_is_counted_twice_is_one_in_every_total() -> None:
    """20 of 40 are unwell: by rows it would be 20 of 80, and the valve over all parents would be open."""
    nodes = [(f"n{number}", "a", "r1") for number in range(40)]
    world = world_of(*nodes, maxUnhealthyFleet="40%")
    for name, _, _ in nodes[:20]:
        world.report("Node", name, False)
    world.run(5.0)

    assert (world._sim.system.store.tally(), world.repaired) == ((20, 40), [])
    assert (world.why("a"), world.why("r1")) == ("fleet-valve", "other-parent")
    assert snapshot(world._sim.system, {})["children"] == {"Node": {"healthy": 20, "unhealthy": 20, "unknown": 0}}
    assert (counts(world, "a"), counts(world, "r1")) == ((40, 20, 20, 0), (40, 20, 20, 0))


def test_a_parents_valve_goes_by_those_that_it_repairs() -> None:
    """Of the rack's own ten all are unwell, and a hundred guests do not make them few; nor does a guest's trouble hold it."""
    nodes = [(f"own{number}", "r1", "r2") for number in range(10)] + [
        (f"n{number}", "a", "r1") for number in range(100)
    ]
    world = world_of(*nodes, maxUnhealthy="50%", maxUnhealthyFleet="100%")
    for number in range(40):
        world.report("Node", f"n{number}", False)
    world.run(5.0)
    assert len(world.repaired) == 40
    assert world.condition("r1", "RemediationAllowed")["reason"] == "WithinLimit"

    for number in range(10):
        world.report("Node", f"own{number}", False)
    world.run(5.0)
    assert (len(world.repaired), world.why("r1")) == (40, "valve")
    assert world.condition("r1", "RemediationAllowed")["message"].startswith("10 of 10 need repair, the limit is 50%")
    assert counts(world, "r1") == (110, 60, 50, 0)


def test_a_change_of_the_second_parent_leaves_the_first_alone() -> None:
    world = world_of(("n1", "a", "r1"))
    relabel(world, "n1", rack="r2")
    world.run(2.0)
    assert [counts(world, group)[0] for group in ("a", "r1", "r2")] == [1, 0, 1]
    relabel(world, "n1", rack=None)
    world.run(2.0)
    assert [counts(world, group)[0] for group in ("a", "r1", "r2")] == [1, 0, 0]
    world.delete("Node", "n1")
    world.run(2.0)
    assert [counts(world, group)[0] for group in ("a", "r1", "r2")] == [0, 0, 0]


@pytest.mark.parametrize("when_s", [0.0, 0.105, 0.13, 0.5])
def test_when_the_first_parent_changes_the_other_repairs_and_no_two_calls_at_once(when_s: float) -> None:
    """Before it is asked, while it is, while the call is under way, and after it: with the same key each time."""
    world = world_of(("n1", "a", "r1"))
    backend, clock = world._sim.backend, world._sim.world.clock
    at_s: list[float] = []
    backend.on_send.append(lambda _call: at_s.append(clock.now()))
    world.report("Node", "n1", False)
    world.run(when_s)
    relabel(world, "n1", pool="b", rack="a")
    world.run(5.0)

    assert [counts(world, group) for group in ("a", "b", "r1")] == [(1, 0, 1, 0), (1, 0, 1, 0), (0, 0, 0, 0)]
    assert len({each["key"] for each in world.sent}) == 1
    assert all(later - earlier >= backend.rtt_s for earlier, later in pairwise(at_s)), "one call at a time"
    assert world.repaired == ["n1"], "the backend has carried it out once"
    assert (world.why("a", "n1"), text(world, "a")) == (
        "other-parent",
        "n1 is counted here, and repaired for default/b",
    )


def test_a_parent_that_comes_later_finds_its_child_and_then_it_is_repaired() -> None:
    """The first parent is the one that is named first, whether it is there or not: nobody else repairs meanwhile."""
    world = FleetWorld(racks())
    world.create("Group", "r1")
    world.run(1.0)
    world.create("Node", "n1", labels={"pool": "late", "rack": "r1"}, healthy=False)
    world.run(3.0)

    assert (counts(world, "r1"), world.repaired) == ((1, 0, 1, 0), [])
    assert text(world, "r1", "n1") == "n1 is counted here, and repaired for default/late, of which there is no record"
    missing = [fact.parent for _, fact in world._sim.world.facts_seen if isinstance(fact, ParentMissing)]
    assert set(missing) == {"default/late"}
    sums = snapshot(world._sim.system, {})["children"]["Node"]
    assert sums == {"healthy": 0, "unhealthy": 0, "unknown": 0}, "as of any child whose parent is not there"
    world.create("Group", "late")
    world.run(3.0)
    assert (counts(world, "late"), counts(world, "r1"), world.repaired) == ((1, 0, 1, 0), (1, 0, 1, 0), ["n1"])
    assert snapshot(world._sim.system, {})["children"]["Node"] == {"healthy": 0, "unhealthy": 1, "unknown": 0}
    world._sim.api.patch("groups.x.io", "r1", {"status": {"kinds": "?"}}, "default", "status")
    snapshot(world._sim.system, {})


def test_a_parent_that_goes_and_comes_back_is_counted_anew() -> None:
    world = world_of(("n1", "a", "r1"))
    world.delete("Group", "r1")
    world.run(2.0)
    world.report("Node", "n1", False)
    world.run(2.0)
    assert (counts(world, "a"), world.repaired) == ((1, 0, 1, 0), ["n1"])
    world.create("Group", "r1")
    world.run(2.0)
    assert counts(world, "r1") == (1, 0, 1, 0)


def test_one_that_sleeps_is_woken_by_a_guest_and_a_new_list_finds_who_is_gone() -> None:
    world = world_of(("n1", "a", "r1"), ("n2", "b", "r1"))
    world.run(400.0)
    assert not any(name.startswith("cluster/") for name, _ in world._sim.system.cells()), "all sleep"
    world.report("Node", "n1", False)
    world.run(2.0)
    assert (counts(world, "a"), counts(world, "r1")) == ((1, 0, 1, 0), (2, 1, 1, 0))

    world._sim.reader.cut("Node")
    world.delete("Node", "n2")
    world._sim.reader.relist("Node")
    world.run(3.0)
    assert (counts(world, "b")[0], counts(world, "r1")) == (0, (1, 0, 1, 0))


def test_each_parent_has_its_own_timeout_and_its_own_debounce() -> None:
    world = FleetWorld(racks(heartbeatTimeout="40s"))
    world.create("Group", "a")
    world.create("Group", "r1", spec={"heartbeatTimeout": "10s", "debounce": {"quiet": "3s", "max": "3s"}})
    world.create("Node", "n1", labels={"pool": "a", "rack": "r1"}, healthy=True)
    world.run(20.0)
    assert (counts(world, "a"), counts(world, "r1"), world.repaired) == ((1, 1, 0, 0), (1, 0, 0, 1), [])
    world.report("Node", "n1", False)
    world.run(1.0)
    assert (counts(world, "a"), counts(world, "r1")) == ((1, 0, 1, 0), (1, 0, 0, 1)), "the rack waits for quiet"
    world.run(3.0)
    assert (counts(world, "r1"), world.repaired) == ((1, 0, 1, 0), ["n1"])


def test_several_by_leases_by_owners_and_by_a_list_in_an_annotation() -> None:
    node = child_kind(
        "v1", "Node", scope="Cluster", parent=[owner(), annotation("x.io/groups")], parents="All", health=condition("Ready"),
        heartbeat=lease(),
    )  # fmt: skip
    definition = fleet(
        "f", parent_kind("x.io/v1", "Group", scope="Cluster"), [node], settings={"heartbeatTimeout": "40s"}
    )
    world = FleetWorld(definition)
    for group in ("a", "b", "c"):
        world.create("Group", group)
    world.create("Node", "n", owner=("Group", "c"), annotations={"x.io/groups": "a, b"}, healthy=True)
    world.run(30.0)
    assert [counts(world, group) for group in ("a", "b", "c")] == [(1, 1, 0, 0)] * 3
    world.report("Node", "n", True)
    world.run(30.0)
    assert [counts(world, group) for group in ("a", "b", "c")] == [(1, 1, 0, 0)] * 3
    world.run(30.0)
    assert [counts(world, group) for group in ("a", "b", "c")] == [(1, 0, 0, 1)] * 3
    assert (world.repaired, world.sent[0]["cluster"]) == (["n"], "c")


def test_a_reconcile_of_ones_own_sees_guests_and_cannot_have_them_repaired() -> None:
    seen: dict[str, list[tuple[str, bool, bool, bool]]] = {}

    def reconcile(group: Parent[None], nodes: Children[Any], now: datetime) -> Plan:
        seen[group.name] = [(each.name, each.guest, each.sick, "@" in each.uid) for each in nodes]
        return Plan(
            status={"guests": sum(each.guest for each in nodes)}, repair=list(nodes) if group.name == "r1" else None
        )

    plain = racks()
    world = FleetWorld(fleet("own", parent_kind("x.io/v1", "Group"), plain.children, settings={"maxUnhealthy": "100%"},
                             reconcile=reconcile))  # fmt: skip
    for group in ("a", "r1"):
        world.create("Group", group)
    world.create("Node", "n1", labels={"pool": "a", "rack": "r1"}, healthy=False)
    world.run(3.0)

    assert seen == {"a": [("n1", False, True, False)], "r1": [("n1", True, False, False)]}
    assert (world.status("a")["guests"], world.repaired, counts(world, "r1")) == (0, ["n1"], (1, 0, 1, 0))
    assert world.condition("r1", "Ready")["message"].startswith(
        "the fleet's own reconcile raised ValueError: repair: found Node/n1"
    )


@pytest.mark.parametrize(
    "actor", ["watcher/Node", "watcher/Group", "cluster/default/a", "cluster/default/r1", "gateway", "directory"]
)
def test_whoever_dies_both_counts_are_right_again_and_nothing_is_repaired_twice(actor: str) -> None:
    world = world_of(("n1", "a", "r1"), ("n2", "b", "r1"))
    system = world._sim.system
    world.report("Node", "n1", False)
    world.run(1.0)
    directory = cell_of(system.refs["directory"])
    assert directory is not None
    ref = system.refs.get(actor) or directory.children[actor]
    ref.tell("nonsense")
    world.report("Node", "n2", False)
    relabel(world, "n2", rack="r2")
    world.run(5.0)

    assert [counts(world, group) for group in ("a", "b", "r1", "r2")] == [(1, 0, 1, 0)] * 4
    assert (sorted(world.repaired), system.store.tally()) == (["n1", "n2"], (2, 2))
    assert world.why("r1") == world.why("r2") == "other-parent"


def test_while_the_first_parent_is_in_quarantine_the_other_counts_on() -> None:
    world = world_of(("n1", "a", "r1"))
    directory = cell_of(world._sim.system.refs["directory"])
    assert directory is not None
    for _ in range(7):
        ref = directory.children.get("cluster/default/a")
        if ref is not None:
            ref.tell("nonsense")
        world.run(1.0)
    assert world.why("a") == "quarantined"
    world.report("Node", "n1", False)
    world.run(3.0)

    assert (counts(world, "r1"), world.repaired, world.why("r1", "n1")) == ((1, 0, 1, 0), [], "other-parent")
    world.run(700.0)
    world.report("Node", "n1", False)
    world.run(3.0)
    assert (counts(world, "a"), world.repaired) == ((1, 0, 1, 0), ["n1"])


def truth(world: FleetWorld, group: str) -> tuple[int, int, int, int]:
    """From the nodes themselves: every one that names the group, by whichever label."""
    nodes = [each.obj for each in world._sim.api.list("nodes.x.io", namespace="default").items]
    mine = [each for each in nodes if group in (each["metadata"].get("labels") or {}).values()]
    said = [each.get("status", {}).get("conditions", [{}])[0].get("status") for each in mine]
    return len(mine), said.count("True"), said.count("False"), len(mine) - said.count("True") - said.count("False")


@pytest.mark.parametrize("seed", range(6))
def test_whatever_people_and_faults_do_all_counts_end_as_the_truth(seed: int) -> None:
    """Nodes that come, go, flap and change both labels, parents that come and go, streams cut and actors dead meanwhile."""
    draw = random.Random(seed)
    world = world_of(("n0", "a", "r1"), ("n1", "a", "r2"), cooldown="1h", debounce="50ms")
    sim, groups = world._sim, ["a", "b", "r1", "r2"]
    wrong: list[str] = []
    guests = deaths = 0

    def leaving(call: Call) -> None:
        """What leaves is for the first parent that the node names, as delivered, and nobody is in it twice."""
        for item in call.items:
            child = sim.system.store.child(item.kind, item.parent, item.uid)
            if child is None or not child.eligible:
                wrong.append(f"{item.uid} for {item.parent}")
        if len({item.uid for item in call.items}) != len(call.items):
            wrong.append("twice in a call")

    sim.backend.on_send.append(leaving)
    for _ in range(120):
        nodes = [each.obj["metadata"]["name"] for each in sim.api.list("nodes.x.io", namespace="default").items]
        there = [each.obj["metadata"]["name"] for each in sim.api.list("groups.x.io", namespace="default").items]
        what, node, group = draw.randrange(10), draw.choice(nodes or ["n0"]), draw.choice(groups)
        labels = {"pool": draw.choice([*groups, None]), "rack": draw.choice([*groups, None])}
        if what < 3 and nodes:
            world.report("Node", node, draw.random() < 0.5)
        elif what < 6 and nodes:
            relabel(world, node, **labels)
        elif what == 6 and len(nodes) < 8:
            names = {key: name for key, name in labels.items() if name is not None}
            free = next(f"n{number}" for number in range(9) if f"n{number}" not in nodes)
            world.create("Node", free, labels=names, healthy=draw.choice([True, False, None]))
        elif what == 7 and nodes:
            world.delete("Node", node)
        elif what == 8:
            (world.delete if group in there else world.create)("Group", group)
        else:
            sim.reader.cut(draw.choice(["Node", "Group"]))
            ref = sim.system.refs.get(draw.choice(["watcher/Node", "gateway", "nobody"]))
            if ref is not None and deaths < 5 and draw.random() < 0.2:  # a sixth would end the operator
                ref.tell("nonsense")
                deaths += 1
        world.run(draw.choice([0.0, 0.01, 0.1, 1.0, 5.0]))
        guests += sum(child.guest for child in sim.system.store.children["Node"].values())
    for group in groups:
        if not sim.api.has("groups.x.io", group, "default"):
            world.create("Group", group)
    world.run(60.0)

    assert {group: counts(world, group) for group in groups} == {group: truth(world, group) for group in groups}
    assert wrong == []
    rows = [child for child in sim.system.store.children["Node"].values() if not child.guest]
    assert sim.system.store.tally() == (sum(child.unwell for child in rows), len(rows))
    assert guests > 10, "or it would prove little"
