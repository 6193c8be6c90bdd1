"""reconcile for any world: pure, stable, within the valve, and true to time only where something flipped."""

from __future__ import annotations

import copy
from typing import Any

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from actors.core.budget import Budget
from actors.core.builtin import MUSTER_FLEET
from actors.core.health import Roll
from actors.core.model import Child, Now, Parent, ParentKey, ParentSpec, Plan, Policy, Share
from actors.core.reconcile import BackendView, Children, reconcile, rfc3339
from actors.core.repairs import Repairs
from actors.core.valve import limit

HOME = ParentKey("d", "c1")
T0 = Now(100.0, 1_700_000_000.0)

shares = st.one_of(
    st.integers(0, 100).map(lambda n: Share(percent=float(n))), st.integers(0, 12).map(lambda n: Share(absolute=n))
)
specs = st.builds(
    ParentSpec, min_healthy=st.sampled_from([None, 0, 1, 5]), repair_enabled=st.sampled_from([None, True, False]),
    max_unhealthy=st.one_of(st.none(), shares), cooldown_s=st.sampled_from([None, 0.0, 10.0]),
    in_flight_max=st.sampled_from([None, 0, 1, 3]), paused=st.booleans(),
    problems=st.sampled_from([(), ("spec.x: found 'y'",)]),
)  # fmt: skip
bodies = st.lists(
    st.tuples(st.sampled_from([None, True, False]), st.booleans(), st.sampled_from(["", "t1"]), st.booleans()),
    max_size=12,
)
backends = st.builds(BackendView, reachable=st.sampled_from([None, True, False]), reason=st.sampled_from(["A", "B"]))


class Scene:
    def __init__(self, nodes: list[tuple[Any, ...]], spec: ParentSpec, backend: BackendView, answered: int) -> None:
        self.roll = Roll(("ComputeNode", "StorageNode"), HOME)
        for n, (healthy, silent, since, storage) in enumerate(nodes):
            self.roll.put(Child(
                kind="StorageNode" if storage else "ComputeNode", namespace="d", name=f"n{n}", uid=f"u{n}", version=1,
                parent=HOME, healthy=healthy, since=since, silent=silent,
            ))  # fmt: skip
        self.repairs = Repairs("batchRepair")
        self.backend = backend
        self.parent = Parent(kind="Cluster", key=HOME, uid="p", version=1, generation=1, spec=spec, status={})
        self.policy = Policy().over(spec)
        for n, child in enumerate(list(self.roll.eligible.values())[:answered]):
            item = self.repairs.wanted(HOME, child, 50.0, Budget(cooldown_s=0.0))
            assert item is not None
            self.repairs.record((item,))
            if n % 2:
                self.repairs.answered(item.key, 95.0)

    def plan(self, now: Now = T0) -> Plan:
        children = Children(roll=self.roll, repairs=self.repairs, backend=self.backend)
        return reconcile(MUSTER_FLEET, self.parent, children, self.policy, now)

    def execute(self, plan: Plan) -> None:
        self.parent = evolve(self.parent, status=plan.status)
        self.repairs.record(plan.repairs)


scenes = st.builds(Scene, bodies, specs, backends, st.integers(0, 6))


@given(scenes)
def test_the_same_input_gives_the_same_plan_and_is_left_as_it_was(scene: Scene) -> None:
    """Pure: dry run, replay and explanation stand on it."""
    before = copy.deepcopy((scene.parent, scene.roll.children, scene.roll.counts, scene.repairs.open_count))
    first, second = scene.plan(), scene.plan()

    assert first == second
    assert before == (scene.parent, scene.roll.children, scene.roll.counts, scene.repairs.open_count)


@given(scenes, st.floats(0, 1e6))
def test_an_unchanged_world_gives_an_unchanged_status_whenever_one_looks(scene: Scene, later_s: float) -> None:
    """Promise *no write for nothing*: no text and no transition time may depend on the clock."""
    scene.execute(scene.plan())
    again = scene.plan(Now(T0.mono_s + min(later_s, 4.0), T0.wall_s + later_s))  # within every cooldown

    assert again.status == scene.parent.status
    assert again.events == ()


@given(scenes)
def test_keys_are_stable_from_look_to_look(scene: Scene) -> None:
    """The same wanted set is told once."""
    first = scene.plan()
    scene.execute(first)
    second = scene.plan(Now(T0.mono_s + 1.0, T0.wall_s + 1.0))

    assert {item.key for item in second.repairs} == {item.key for item in first.repairs}
    assert len({item.key for item in first.repairs}) == len(first.repairs)


@given(scenes)
def test_the_valve_is_never_exceeded_and_nothing_forbidden_is_asked(scene: Scene) -> None:
    """Promise *valve*; and maxInFlight bounds the newly asked."""
    eligible, total, policy = len(scene.roll.eligible), scene.roll.total, scene.policy
    asked_before = sum(scene.repairs.asked(child) for child in scene.roll.eligible.values())
    plan = scene.plan()
    most = limit(policy.max_unhealthy, total, policy.eligible_floor)
    open_ = eligible <= most and policy.repair_enabled and not scene.parent.spec.paused

    if not open_:
        assert plan.repairs == ()
    assert len(plan.repairs) <= most
    assert {item.uid for item in plan.repairs} <= set(scene.roll.eligible)
    if policy.in_flight_max is not None:
        assert len(plan.repairs) <= max(policy.in_flight_max, asked_before)
    elif open_ and not asked_before:
        assert len(plan.repairs) == eligible


@given(scenes, scenes)
def test_transition_times_move_exactly_with_the_status_of_their_condition(before: Scene, after: Scene) -> None:
    """Kubernetes' own rule; anything else is a write for nothing or a lie."""
    old = before.plan()
    after.parent = evolve(after.parent, status=old.status)
    new = after.plan(Now(200.0, T0.wall_s + 1000.0))
    was = {c["type"]: c for c in old.status["conditions"]}

    assert [c["type"] for c in new.status["conditions"]] == list(was)
    for condition in new.status["conditions"]:
        flipped = condition["status"] != was[condition["type"]]["status"]
        assert condition["lastTransitionTime"] == rfc3339(T0.wall_s + (1000.0 if flipped else 0.0))


@given(scenes)
def test_the_numbers_add_up(scene: Scene) -> None:
    """By kind and in sum; and nobody is repairing who is not in trouble."""
    status = scene.plan().status

    assert status["total"] == status["healthy"] + status["unhealthy"] + status["unknown"] == scene.roll.total
    for name in ("total", "healthy", "unhealthy", "unknown", "repairing"):
        assert status[name] == sum(kind[name] for kind in status["kinds"])
    assert 0 <= status["repairing"] <= len(scene.roll.eligible)
    assert len(status["unhealthySample"]) == min(10, status["unhealthy"])


@given(scenes)
def test_whoever_is_in_trouble_is_asked_for_held_or_waited_for(scene: Scene) -> None:
    """Nobody is forgotten: where repairs are allowed and there is room, each is wanted now or has a deadline."""
    plan = scene.plan()
    allowed = next(c for c in plan.status["conditions"] if c["type"] == "RemediationAllowed")["status"] == "True"
    if not allowed or scene.policy.in_flight_max is not None:
        return
    waiting = set(scene.roll.eligible) - {item.uid for item in plan.repairs}

    assert bool(waiting) == (plan.look_again_at_s is not None)
    if plan.look_again_at_s is not None:
        assert plan.look_again_at_s > T0.mono_s
