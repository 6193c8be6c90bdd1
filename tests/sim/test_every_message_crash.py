"""Proof 5, generated: each actor class dies at each of its message types, and nothing of it can be seen afterwards.

The scenario below makes every actor of the tree receive every message it knows. It is played once undisturbed; then again
for each actor class and each message type, with that class dying once: at the first, second, third, middle or last such
message, or the first about the gateway and others that come late; before it is handled (the message is lost) or after (its
effects are out, the memory of them is lost).

That nothing is left out is checked from two sides: against the ``isinstance`` and ``case`` branches in the actors' source,
and against the classes in ``messages``.
"""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import pytest

from actors import cluster as cluster_module
from actors import directory as directory_module
from actors import messages
from actors.actor import Behaviour
from actors.cluster import ClusterActor
from actors.core import reconcile as reconciling
from actors.core.errors import ApiError, Conflict, Unreachable
from actors.core.events import (
    ActorCrashed,
    ActorQuarantined,
    ActorReleased,
    ActorRestarted,
    DeadLettered,
    Escalated,
    FuseTripped,
)
from actors.core.model import ParentKey, Policy, Share
from actors.directory import DirectoryActor
from actors.gateway import BatchGatewayActor
from actors.messages import LookWanted, PauseWanted, QuotaLimited, Released, RelistWanted
from actors.sim.backend import Behaviour as Misbehaviour
from actors.sim.backend import Repair
from actors.sim.harness import CLUSTERS, SimulatedFleet
from actors.status import StatusActor
from actors.tree import EndKind
from actors.watcher import ChildWatcher, ParentWatcher, WatcherActor

ACTORS: dict[str, type[Behaviour]] = {
    each.__name__: each
    for each in (StatusActor, BatchGatewayActor, DirectoryActor, ParentWatcher, ChildWatcher, ClusterActor)
}
ROOT_ONLY = {"StopTree", "StopOverdue"}  # the root's: nobody is above it, and a crash of its own ends the process
KINDS = ("Cluster", "ComputeNode", "StorageNode")
NAMES = [f"c{n}" for n in range(6)]
INCURABLE = "c3-n3"  # its first repair does not help

LAST = "c0-n9"  # fails as the drain begins: may or may not be repaired

STATIC_LATE_S = 4.0  # an actor that all need may cost all of them a backoff, a list and a conflict's patience
SIBLING_LATE_S = 0.05  # a ClusterActor's death must not be noticed by another parent: only the order of turns differs
OWN_LATE_S = 4.0


class Injected(Exception):
    """The bug."""


@attrs.define
class Plan:
    """Die at the ``nth`` message ``kind`` of actor class ``actor``; ``after`` handling it."""

    actor: str = ""
    kind: str = ""
    nth: int = 0
    after: bool = False
    hit: str = ""


class Run:
    """One playing of the scenario, and what was seen of it."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.counts: Counter[tuple[str, str]] = Counter()
        self.firsts: dict[tuple[str, str], dict[str, int]] = {}  # the number of the first one about each subject
        self.poisoned: set[str] = set()
        self.lateness: list[
            tuple[str, float, bool]
        ] = []  # cluster, seconds from a failure to its status, whether timed
        self.wrong: list[str] = []
        self.failures: Counter[str] = Counter()
        self.health: dict[str, list[tuple[float, bool]]] = {}
        self.drained: list[str] = []
        self._pending: dict[str, tuple[float, int, bool]] = {}
        self._cured: set[str] = set()
        policy = Policy(max_unhealthy=Share(percent=100.0), cooldown_s=6.0)
        self.fleet = SimulatedFleet(
            seed=1, policy=policy, heal_after_s=0.5, idle_s=5.0, retry_max_s=2.0, breaker_max_s=2.0
        )
        self.fleet.cure = functools.partial(self._cure, self.fleet.cure)
        self.fleet.api.on_change.append(self._changed)

    # --- watching -----------------------------------------------------------------------------------------------------
    def _cure(self, cure: Callable[[Repair], None], repair: Repair) -> None:
        if repair.name != INCURABLE or repair.name in self._cured:
            cure(repair)
        self._cured.add(repair.name)

    def _changed(self, resource: Any, change: Any) -> None:
        now_s = self.fleet.world.clock.now()
        name = change.obj["metadata"]["name"]
        if resource.kind != "Cluster":
            self.health.setdefault(name, []).append((now_s, change.obj.get("status", {}).get("healthy") is not False))
            return
        pending = self._pending.get(name)
        if pending is not None and change.obj.get("status", {}).get("unhealthy", 0) >= pending[1]:
            del self._pending[name]
            self.lateness.append((name, now_s - pending[0], pending[2]))

    def fail(self, *nodes: str, timed: bool = True) -> None:
        """These nodes fail now. ``timed``: their status may not be later than in the undisturbed run."""
        for node in nodes:
            parent = node.split("-")[0]
            self.failures[node] += 1
            self.fleet.report(node, False)
            self._pending[parent] = (self.fleet.world.clock.now(), self.fleet.truth(parent)[2], timed)

    def phase(self, seconds: float, what: str, *others: str) -> None:
        """Let time pass; then every status must be the truth."""
        self.fleet.run(seconds)
        for name in (*NAMES, *others):
            if self.fleet.counts(name) != self.fleet.truth(name):
                self.wrong.append(f"{what}: {name} {self.fleet.counts(name)}, in truth {self.fleet.truth(name)}")

    def tell(self, actor: str, message: Any) -> None:
        self.fleet.system.refs[actor].tell(message)

    # --- the scenario -------------------------------------------------------------------------------------------------
    def play(self) -> Run:
        fleet, clock = self.fleet, self.fleet.world.clock
        for name in NAMES:
            fleet.cluster(name)
            for n in range(4):
                fleet.node(f"{name}-n{n}", name)
            fleet.node(f"{name}-s", name, kind="StorageNode")
        fleet.cluster("valve", {"repair": {"maxUnhealthy": 0}})
        fleet.node("valve-n0", "valve")
        fleet.cluster("poison")
        fleet.node("poison-n0", "poison")
        fleet.start()
        self.phase(6.0, "start", "valve", "poison")

        self.fail(*(f"{name}-n0" for name in NAMES), "valve-n0")
        self.phase(6.0, "failures", "valve")
        fleet.node("c0-n9", "c0")
        fleet.delete("c1-n1")
        fleet.delete("c2-n1")
        fleet.node("c2-n1", "c2", None)
        fleet.api.patch("computenodes.muster.dev", "c4-n1", {"spec": {"clusterRef": {"name": "c5"}}}, "default")
        fleet.report("c2-s", True, kind="StorageNode")
        fleet.report("c3-s", False, kind="StorageNode")
        self.failures["c3-s"] += 1
        self.phase(6.0, "births, deaths and moves")

        for n in range(3):  # transport trouble, of writing and of reading
            until_s = clock.now() + 0.4
            fleet.writer.fail = functools.partial(self._unreachable, until_s)
            self.fail(f"c{n + 3}-n0", timed=False)
            self.phase(6.0, "writing")
            until_s = clock.now() + 0.4
            for kind in KINDS:
                fleet.reader.fail = functools.partial(self._error, until_s)
                fleet.reader.cut(kind)
            self.fail(f"c{n}-n2", timed=False)
            fleet.api.patch(CLUSTERS, "valve", {"spec": {"repair": {"maxUnhealthy": n % 2}}}, "default")
            self.phase(6.0, "transport")
        for kind in KINDS:
            self.tell(f"watcher/{kind}", RelistWanted(reason="operator"))
        self.phase(3.0, "relist")
        now_s = clock.now()
        self.tell("gateway", QuotaLimited(calls=1, until_s=now_s + 1.0))
        self.tell("directory", PauseWanted(parent=ParentKey("default", "c2"), until_s=now_s + 1.0))
        self.tell("directory", LookWanted(parent=ParentKey("default", "c1")))
        self.phase(3.0, "a person's commands")

        self.fail(INCURABLE)
        self.phase(16.0, "a repair that did not help")

        # The backend is away; one of the failed recovers by itself meanwhile and must not be repaired.
        fleet.backend_model.behave(Misbehaviour(do="error", until_s=clock.now() + 6.0))
        self.fail("c4-n2", "c5-n2", "c0-n3", timed=False)
        fleet.run(4.0)
        fleet.report("c4-n2", True)
        self.failures["c4-n2"] -= 1
        self.phase(12.0, "backend away")

        self.phase(20.0, "sleep")
        self.fail(*(f"{name}-n3" for name in NAMES if name != "c3"))
        self.phase(6.0, "waking")

        for n, actor in enumerate(("gateway", "status", "directory", "watcher/ComputeNode", "watcher/Cluster")):
            self.fail(
                f"c{n}-n0", timed=False
            )  # another each: one whose call's end is unknown is not sent again for 15 s
            fleet.run(0.12)
            self.tell(
                actor, Injected
            )  # the undisturbed run has deaths too: what they cause are messages like any other
            self.phase(6.0, f"{actor} restarted")

        for how in ("probe", "command", "spec"):
            self._quarantine(how)

        for name in ("c4", "c5"):
            fleet.node(f"{name}-new", name)
            fleet.run(0.5)
            fleet.api.delete(CLUSTERS, name, "default")
            fleet.run(2.0)
            fleet.cluster(name)
        self.phase(6.0, "parents gone and created again")
        fleet.api.delete(CLUSTERS, "valve", "default")
        self.fail(*(f"{name}-n0" for name in NAMES))
        self.phase(20.0, "the end")
        fleet.report(LAST, False)
        fleet.run(0.105)
        fleet.system.drain(self.drained.append)
        fleet.run(6.0)
        return self

    def _quarantine(self, how: str) -> None:
        fleet = self.fleet
        fleet.writer.fail = self._conflict_once
        self.poisoned.add("poison")
        self.failures["poison-n0"] += 1
        fleet.report("poison-n0", False)
        fleet.run(12.0)
        self.poisoned.clear()
        if how == "command":
            self.tell("directory", Released(parent=ParentKey("default", "poison"), by="command"))
        elif how == "spec":
            fleet.api.patch(CLUSTERS, "poison", {"spec": {"minHealthy": 1}}, "default")
        else:
            fleet.run(20.0)
        self.phase(8.0, f"out of quarantine by {how}", "poison")

    def _unreachable(self, until_s: float, _parent: object) -> None:
        if self.fleet.world.clock.now() < until_s:
            raise Unreachable("away")

    def _error(self, until_s: float, _kind: object = None, _action: object = None) -> ApiError | None:
        return Unreachable("away") if self.fleet.world.clock.now() < until_s else None

    def _conflict_once(self, parent: ParentKey) -> None:
        if parent.name == "poison":
            self.fleet.writer.fail = lambda parent: None
            raise Conflict("somebody was first")


@contextmanager
def staged(plan: Plan) -> Iterator[Run]:
    """A run whose actors die by ``plan``."""
    with pytest.MonkeyPatch.context() as patch:
        run = Run(plan)
        for name, actor in ACTORS.items():
            patch.setattr(actor, "on_receive", _dying(run, name, actor.on_receive))
        reconcile = reconciling.reconcile

        def poisonous(fleet: Any, parent: Any, *rest: Any) -> Any:
            if parent.name in run.poisoned:
                raise ValueError("poisonous parent")
            return reconcile(fleet, parent, *rest)

        patch.setattr(reconciling, "reconcile", poisonous)
        patch.setattr(directory_module, "PROBE_AFTER_S", 25.0)
        patch.setattr(directory_module, "BEHIND_S", 0.2)
        patch.setattr(cluster_module, "AUDIT_PERIOD_S", 8.0)
        yield run


def _dying(run: Run, name: str, handle: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def on_receive(self: Behaviour, message: Any) -> Any:
        kind = type(message).__name__
        if message is Injected:
            raise Injected("asked to by the scenario")
        run.counts[name, kind] += 1
        about = str(getattr(message, "name", getattr(message, "kind", "")))
        run.firsts.setdefault((name, kind), {}).setdefault(about, run.counts[name, kind])
        plan = run.plan
        strikes = (plan.actor, plan.kind) == (name, kind) and run.counts[name, kind] == plan.nth
        if strikes:
            plan.hit = self.ctx.name
        if strikes and not plan.after:
            raise Injected(f"before {kind}")
        answer = handle(self, message)
        if strikes:
            raise Injected(f"after {kind}")
        return answer

    return on_receive


@functools.cache
def reference() -> Run:
    """The undisturbed run."""
    with staged(Plan()) as run:
        return run.play()


def declared() -> set[tuple[str, str]]:
    """(actor class, message type) as the branches of each ``on_receive`` name them."""
    found: set[tuple[str, str]] = set()
    for name, actor in ACTORS.items():
        source = WatcherActor.on_receive if issubclass(actor, WatcherActor) else actor.on_receive
        for each in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(source))))):
            if isinstance(each, ast.Call) and isinstance(each.func, ast.Name) and each.func.id == "isinstance":
                kinds = each.args[1].elts if isinstance(each.args[1], ast.Tuple) else [each.args[1]]
                found |= {(name, kind.id) for kind in kinds if isinstance(kind, ast.Name)}
            elif isinstance(each, ast.MatchClass) and isinstance(each.cls, ast.Name):
                found.add((name, each.cls.id))
    return found


CASES = sorted(declared())


# --- what must hold ---------------------------------------------------------------------------------------------------
def check(run: Run) -> None:
    """Nothing lost, nothing done twice, nobody else delayed, all on record, no exit."""
    fleet, plan = run.fleet, run.plan
    world = fleet.world
    assert world.fatal_error is None
    assert fleet.system.end is None
    assert run.wrong == []

    done = Counter(fleet.repaired())
    del (
        done[LAST],
        done["valve-n0"],
    )  # open for a while and shut again: how often it was asked in between is nobody's promise
    assert done[INCURABLE] >= 2
    expected = {node: count for node, count in run.failures.items() if node != "valve-n0" and count}
    assert {node: done[node] for node in expected if node != INCURABLE} == {
        node: count for node, count in expected.items() if node != INCURABLE
    }
    assert set(done) == set(expected)
    for repair in fleet.backend_model.repairs:
        before = [well for at_s, well in run.health[repair.name] if at_s <= repair.at_s - 0.1]
        assert before[-1] is False, f"{repair.name} was well at {repair.at_s}"
    assert fleet.backend_model.fullest_window() <= fleet.backend_model.calls_max
    assert world.seen(FuseTripped) == []
    assert world.seen(Escalated) == []

    if plan.nth:
        assert plan.hit, "the scenario did not get there"
        crash = [
            fact
            for fact in world.seen(ActorCrashed)
            if "Injected: before" in fact.error or "Injected: after" in fact.error
        ]
        assert [(fact.actor, fact.poison) for fact in crash] == [(plan.hit, plan.kind)]
        letters = [fact for fact in world.seen(DeadLettered) if fact.reason == "poison" and fact.message == plan.kind]
        assert plan.hit in {fact.actor for fact in letters}
        if plan.kind != "CloseUp":  # it was to end anyway
            assert plan.hit in {fact.actor for fact in world.seen(ActorRestarted)}


def check_times(run: Run, first: Run) -> None:
    """Each failure is in its parent's status as soon as in the undisturbed run."""
    own = run.plan.hit.rpartition("/")[2] if run.plan.actor == "ClusterActor" else ""
    assert [name for name, _, _ in sorted(run.lateness)] == [name for name, _, _ in sorted(first.lateness)]
    mine, theirs = _by_cluster(run), _by_cluster(first)
    for name, times in theirs.items():
        bound_s = OWN_LATE_S if name == own else SIBLING_LATE_S if own else STATIC_LATE_S
        for n, (late_s, was_s) in enumerate(zip(mine[name], times, strict=True)):
            assert late_s <= was_s + bound_s, f"{name}, failure {n + 1}: {late_s:.2f} s, undisturbed {was_s:.2f} s"


def _by_cluster(run: Run) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {}
    for name, late_s, timed in run.lateness:
        if timed:
            times.setdefault(name, []).append(late_s)
    return times


def test_undisturbed_it_keeps_every_promise() -> None:
    """Else the rest proves nothing."""
    run = reference()

    check(run)
    assert sorted(run.drained) == ["gateway", "status"]
    assert len(run.lateness) >= 20
    assert max(late_s for _, late_s, timed in run.lateness if timed) <= 0.2
    assert [fact.by for fact in run.fleet.world.seen(ActorReleased)] == ["probe", "command", "spec"]


def test_the_scenario_delivers_every_message_that_the_actors_know() -> None:
    """Declared in the source = observed in the run: a new branch cannot be forgotten."""
    seen = set(reference().counts)

    assert set(CASES) - seen == set(), "extend the scenario: these messages never came"
    assert seen - set(CASES) == set(), "these are handled without being named"


def test_every_message_there_is_has_a_receiver_here() -> None:
    """A new class in ``messages`` cannot be forgotten either."""
    known = {name for name in messages.__all__ if attrs.has(getattr(messages, name))}

    assert known - ROOT_ONLY == {kind for _, kind in CASES}


@pytest.mark.parametrize(("actor", "kind"), CASES)
def test_dying_of_it_once_loses_nothing_and_delays_nobody_else(actor: str, kind: str) -> None:
    """Promise *restart*."""
    first = reference()
    count = first.counts[actor, kind]
    places = {1, 2, 3, count // 2, count - 1, *list(first.firsts[actor, kind].values())[-4:]}
    for nth in sorted(n for n in places if 1 <= n <= count):
        for after in (False, True):
            with staged(Plan(actor=actor, kind=kind, nth=nth, after=after)) as run:
                run.play()
            try:
                check(run)
                check_times(run, first)
            except AssertionError as error:
                raise AssertionError(
                    f"{actor} died {'after' if after else 'before'} {kind} number {nth}: {error}"
                ) from error


# --- poisonous parents ------------------------------------------------------------------------------------------------
def poison_fleet(poisoned: int, clusters: int, patch: pytest.MonkeyPatch) -> SimulatedFleet:
    bad = {f"c{n}" for n in range(poisoned)}
    reconcile = reconciling.reconcile

    def poisonous(fleet: Any, parent: Any, *rest: Any) -> Any:
        if parent.name in bad:
            raise ValueError("poisonous parent")
        return reconcile(fleet, parent, *rest)

    patch.setattr(reconciling, "reconcile", poisonous)
    fleet = SimulatedFleet(seed=2)
    for n in range(clusters):
        fleet.cluster(f"c{n}")
        fleet.node(f"c{n}-n0", f"c{n}")
    fleet.start()
    return fleet


@pytest.mark.parametrize("poisoned", [1, 5])
def test_poisonous_parents_are_quarantined_and_their_siblings_do_not_notice(
    poisoned: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They stay poisonous for an hour; the others are right all the time, and the process stays."""
    fleet = poison_fleet(poisoned, 30, monkeypatch)
    fleet.run(20.0)
    for n in range(poisoned):
        assert fleet.condition(f"c{n}", "Ready")["reason"] == "Quarantined"
    assert len(fleet.world.seen(ActorQuarantined)) == poisoned

    for step in range(60):
        fleet.report(f"c{10 + step % 20}-n0", step % 40 >= 20)
        fleet.run(0.2)
        assert all(fleet.counts(f"c{n}") == fleet.truth(f"c{n}") for n in range(poisoned, 30))
        fleet.run(60.0)
    assert fleet.system.end is None
    assert {fact.actor for fact in fleet.world.seen(ActorCrashed)} == {f"cluster/default/c{n}" for n in range(poisoned)}


def test_correlated_failure_escalates_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """A release that breaks every parent must not look like many quarantines: the process exits, and the rollout stops."""
    fleet = poison_fleet(30, 30, monkeypatch)
    fleet.run(20.0)

    assert fleet.system.end is not None
    assert fleet.system.end.kind is EndKind.ESCALATED
    assert "ClusterActors failed" in fleet.system.end.reason
    assert len(fleet.world.seen(Escalated)) == 1


def test_a_static_actor_that_dies_at_every_message_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restarts are bounded, and exceeding the bound escalates."""
    fleet = SimulatedFleet(seed=3)
    fleet.cluster("c0")
    monkeypatch.setattr(ChildWatcher, "on_receive", lambda self, message: 1 / 0)
    fleet.start()
    fleet.run(60.0)

    assert fleet.system.end is not None
    assert fleet.system.end.kind is EndKind.ESCALATED
    assert "watcher/" in fleet.system.end.reason
    assert "ZeroDivisionError" in fleet.system.end.reason
