"""reconcile: the status wanted, the items wanted, the Events, and when to look again."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from actors.core.builtin import MUSTER_FLEET
from actors.core.health import Roll
from actors.core.model import Child, Now, Parent, ParentKey, ParentSpec, Plan, Policy, Share
from actors.core.reconcile import BackendView, Children, reconcile, replaced_condition, rfc3339
from actors.core.repairs import Repairs

HOME = ParentKey("default", "c1")
T0 = Now(1000.0, 1_700_000_000.0)
LATER = Now(2000.0, 1_700_001_000.0)
OPEN = Share(percent=100.0)


def compute(uid: str, *, healthy: bool | None = True, silent: bool = False, kind: str = "ComputeNode") -> Child:
    return Child(
        kind=kind, namespace="default", name=uid, uid=uid, version=1, parent=HOME, healthy=healthy, since="t0", silent=silent
    )  # fmt: skip


class Scene:
    """One parent, its children, what was asked; ``look`` is one reconcile whose Plan is put in force."""

    def __init__(self, *children: Child, spec: ParentSpec | None = None, **policy: Any) -> None:
        self.roll = Roll(("ComputeNode", "StorageNode"), HOME)
        for each in children:
            self.roll.put(each)
        self.repairs = Repairs("batchRepair")
        self.backend = BackendView()
        self.skipped = 0
        self.behind: tuple[str, ...] = ()
        self.policy = Policy(**policy)
        self.parent = Parent(
            kind="Cluster", key=HOME, uid="p", version=1, generation=4, spec=spec or ParentSpec(), status={}
        )

    def plan(self, now: Now = T0) -> Plan:
        children = Children(roll=self.roll, repairs=self.repairs, backend=self.backend, skipped=self.skipped,
                            behind=self.behind)  # fmt: skip
        return reconcile(MUSTER_FLEET, self.parent, children, self.policy.over(self.parent.spec), now)

    def look(self, now: Now = T0) -> Plan:
        plan = self.plan(now)
        self.parent = evolve(self.parent, status=plan.status)
        self.repairs.record(plan.repairs)
        return plan

    def spec(self, **fields: Any) -> None:
        self.parent = evolve(self.parent, spec=ParentSpec(**fields), generation=self.parent.generation + 1)

    def condition(self, name: str) -> tuple[str, str]:
        found = next(c for c in self.parent.status["conditions"] if c["type"] == name)
        return found["status"], found["reason"]


def sick(count: int, total: int) -> list[Child]:
    return [compute(f"n{index}", healthy=index >= count) for index in range(total)]


def names(plan: Plan) -> list[str]:
    return [item.uid for item in plan.repairs]


def test_the_status_holds_every_count_by_kind_and_in_sum() -> None:
    """DESIGN §9."""
    scene = Scene(
        compute("a"), compute("b", healthy=False), compute("c", silent=True), compute("s", healthy=None, kind="StorageNode")
    )  # fmt: skip
    status = scene.look().status

    assert {name: status[name] for name in ("observedGeneration", "total", "healthy", "unhealthy", "unknown")} == {
        "observedGeneration": 4, "total": 4, "healthy": 1, "unhealthy": 1, "unknown": 2
    }  # fmt: skip
    assert status["repairing"] == 2
    assert status["kinds"] == [
        {"kind": "ComputeNode", "total": 3, "healthy": 1, "unhealthy": 1, "unknown": 1, "repairing": 2},
        {"kind": "StorageNode", "total": 1, "healthy": 0, "unhealthy": 0, "unknown": 1, "repairing": 0},
    ]
    assert status["unhealthySample"] == ["ComputeNode/b"]


def test_the_sample_is_bounded_and_does_not_depend_on_the_order() -> None:
    """A status holds counts, not one entry per child; and the same set gives the same ten."""
    forwards, backwards = Scene(*sick(40, 40)), Scene(*reversed(sick(40, 40)))

    assert forwards.plan().status["unhealthySample"] == backwards.plan().status["unhealthySample"]
    assert len(forwards.plan().status["unhealthySample"]) == 10


def test_whoever_is_in_trouble_is_asked_for_and_nobody_else() -> None:
    """Unhealthy and silent; not those that never reported and are not silent yet."""
    scene = Scene(
        compute("well"), compute("ill", healthy=False), compute("mute", silent=True), compute("new", healthy=None)
    )

    assert names(scene.plan()) == ["ill", "mute"]


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"paused": True}, "Paused"),
        ({"repair_enabled": False}, "RepairDisabled"),
        ({"max_unhealthy": Share(absolute=0)}, "TooManyUnhealthy"),
    ],
)
def test_what_forbids_repairs_withdraws_them_and_says_so(spec: dict[str, Any], reason: str) -> None:
    """The wanted set is empty: what was asked and is missing is withdrawn. Counting goes on."""
    scene = Scene(*sick(2, 10))
    assert len(names(scene.look())) == 2

    scene.spec(**spec)
    plan = scene.look()
    assert names(plan) == []
    assert scene.condition("RemediationAllowed") == ("False", reason)
    assert (plan.status["unhealthy"], plan.status["repairing"]) == (2, 0)


def test_a_parent_that_is_being_deleted_asks_for_nothing() -> None:
    """Finalizers may take a while."""
    scene = Scene(*sick(1, 2))
    scene.parent = evolve(scene.parent, deleting=True)

    assert names(scene.look()) == []
    assert scene.condition("RemediationAllowed") == ("False", "Deleting")


def test_the_valve_holds_all_beyond_its_limit_and_tells_once() -> None:
    """Promise *valve*: a condition and an Event; and once more when it opens."""
    scene = Scene(*sick(5, 10))
    assert len(names(scene.look())) == 5  # exactly half

    scene.roll.put(compute("n5", healthy=False))
    held = scene.look()
    assert names(held) == []
    assert scene.condition("RemediationAllowed") == ("False", "TooManyUnhealthy")
    assert [note.reason for note in held.events] == ["TooManyUnhealthy"]
    assert held.events[0].type == "Warning"
    assert scene.look(LATER).events == ()

    scene.roll.put(compute("n5"))
    opened = scene.look(LATER)
    assert len(names(opened)) == 5
    assert [(note.type, note.reason) for note in opened.events] == [("Normal", "RepairsAllowed")]


def test_the_valve_is_told_when_it_is_why_repairs_are_still_held() -> None:
    """Unpausing into a mass failure: the condition stays False, and people must hear that it is another reason now."""
    scene = Scene(*sick(8, 10), spec=ParentSpec(paused=True))
    assert [note.reason for note in scene.look().events] == []  # pausing is no mass failure

    scene.spec(paused=False)
    assert [note.reason for note in scene.look().events] == ["TooManyUnhealthy"]


def test_what_was_asked_keeps_its_place_within_max_in_flight() -> None:
    """``maxInFlight`` bounds who is asked for and not yet well, or well before the answer; a new one waits for room."""
    scene = Scene(*sick(3, 10), in_flight_max=2)
    asked = scene.look()
    first = names(asked)
    assert len(first) == 2

    scene.roll.put(compute("n9", healthy=False))
    assert names(scene.look()) == first
    scene.roll.put(compute(first[0]))
    after = scene.look()
    assert names(after) == [first[1]]  # the call of the one that is well is still under way

    scene.repairs.answered(asked.repairs[0].key, 1005.0)
    last = names(scene.look())
    assert len(last) == 2
    assert first[1] in last


def test_lowering_max_in_flight_takes_nothing_back() -> None:
    """Those asked may be on their way."""
    scene = Scene(*sick(4, 10), in_flight_max=4)
    first = names(scene.look())
    scene.spec(in_flight_max=1)

    assert names(scene.look()) == first


def test_an_answer_changes_nothing_material_and_the_next_round_is_timed() -> None:
    """``repairing`` means asked and not yet well; the cooldown's end is the only deadline, and no event will announce it."""
    scene = Scene(*sick(2, 10), cooldown_s=300.0)
    asked = scene.look()
    for item in asked.repairs:
        scene.repairs.answered(item.key, 1005.0)

    cooling = scene.plan(Now(1010.0, T0.wall_s + 10))
    assert cooling.status == scene.parent.status
    assert (cooling.repairs, cooling.look_again_at_s) == ((), 1305.0)
    again = scene.plan(Now(1305.0, T0.wall_s + 305))
    assert [item.retry for item in again.repairs] == [True, True]
    assert again.look_again_at_s is None


def test_nothing_is_timed_while_repairs_are_held() -> None:
    """Or a held parent would look again and again for nothing."""
    scene = Scene(*sick(2, 10))
    for item in scene.look().repairs:
        scene.repairs.answered(item.key, 1005.0)
    scene.spec(paused=True)

    assert scene.plan(Now(1010.0, 0.0)).look_again_at_s is None


def test_transition_times_move_only_when_a_condition_flips() -> None:
    """Or every reconcile would be a write."""
    scene = Scene(*sick(1, 2), min_healthy=1)
    scene.look(T0)
    scene.roll.put(compute("n7"))
    scene.look(LATER)
    times = {c["type"]: c["lastTransitionTime"] for c in scene.parent.status["conditions"]}
    assert set(times.values()) == {rfc3339(T0.wall_s)}

    for uid in ("n1", "n7"):
        scene.roll.put(compute(uid, healthy=False))
    scene.look(LATER)
    moved = {c["type"] for c in scene.parent.status["conditions"] if c["lastTransitionTime"] == rfc3339(LATER.wall_s)}
    assert moved == {"Ready", "Available"}


@pytest.mark.parametrize(
    ("changes", "ready"),
    [
        ({}, ("True", "Ready")),
        ({"spec": {"paused": True}}, ("False", "Paused")),
        ({"spec": {"min_healthy": 99}}, ("False", "NotAvailable")),
        ({"spec": {"problems": ("spec.x: no",)}}, ("False", "InvalidSpec")),
        ({"skipped": 2}, ("False", "RecordsSkipped")),
    ],
)
def test_ready_sums_up(changes: dict[str, Any], ready: tuple[str, str]) -> None:
    """Synced, available, neither paused nor wrong."""
    scene = Scene(*sick(0, 3))
    scene.skipped = changes.get("skipped", 0)
    if "spec" in changes:
        scene.spec(**changes["spec"])
    scene.look()

    assert scene.condition("Ready") == ready


def test_an_invalid_spec_is_told_by_an_event_even_where_ready_was_false_before() -> None:
    """The person who has just written it looks at the Events."""
    scene = Scene(*sick(3, 3), max_unhealthy=OPEN)
    scene.look()
    scene.spec(problems=("spec.debounce.quiet: found 'x'",))

    assert [(note.reason, note.note) for note in scene.look().events] == [
        ("InvalidSpec", "spec.debounce.quiet: found 'x'")
    ]
    assert scene.look(LATER).events == ()


def test_the_backends_state_is_a_condition_of_its_own() -> None:
    """Unknown until it was asked."""
    scene = Scene(compute("a"))
    scene.look()
    assert scene.condition("BackendReachable") == ("Unknown", "NotAskedYet")

    scene.backend = BackendView(reachable=False, reason="CallTimeout", message="no answer")
    scene.look()
    assert scene.condition("BackendReachable") == ("False", "CallTimeout")
    assert scene.condition("Ready") == ("True", "Ready")


def test_nothing_is_asked_for_a_kind_whose_watch_is_behind() -> None:
    """What was asked is withdrawn; other kinds go on; whoever needs nothing is not held."""
    scene = Scene(compute("a", healthy=False), compute("s", healthy=False, kind="StorageNode"))
    assert names(scene.look()) == ["a", "s"]
    scene.behind = ("ComputeNode",)
    assert names(scene.look()) == ["s"]
    assert scene.condition("RemediationAllowed") == ("False", "WatchBehind")
    scene.behind = ()
    assert names(scene.look()) == ["a", "s"]

    well = Scene(compute("a"), compute("s", healthy=False, kind="StorageNode"))
    well.behind = ("ComputeNode",)
    well.look()
    assert well.condition("RemediationAllowed") == ("True", "WithinLimit")


def test_who_stays_unwell_after_all_attempts_is_told_of_and_left() -> None:
    """Once, to the parent and on the child; a status that never needed it goes without."""
    scene = Scene(*sick(2, 4), attempts_max=1, cooldown_s=10.0)
    asked = scene.look().repairs
    assert "exhausted" not in scene.parent.status
    for item in asked:
        scene.repairs.answered(item.key, 1000.0)
    waiting = scene.look(Now(1005.0, 0.0))
    assert (waiting.look_again_at_s, waiting.status["repairing"]) == (1010.0, 2)

    plan = scene.look(Now(1010.0, 0.0))
    assert (names(plan), plan.look_again_at_s, plan.status["repairing"]) == ([], None, 0)
    assert scene.condition("RepairsExhausted") == ("True", "AttemptsSpent")
    assert [each["name"] for each in plan.status["exhausted"]] == ["n0", "n1"]
    assert [(note.reason, note.regarding.name if note.regarding else "") for note in plan.events] == [
        ("RepairsExhausted", ""), ("RepairsExhausted", "n0"), ("RepairsExhausted", "n1"),
    ]  # fmt: skip
    assert scene.look(Now(2000.0, 0.0)).events == ()

    scene.roll.put(compute("n0"))
    scene.roll.put(compute("n1"))
    plan = scene.look(Now(2001.0, 0.0))
    assert scene.condition("RepairsExhausted") == ("False", "WithinBudget")
    assert (plan.status["exhausted"], plan.events) == ([], ())


def test_the_end_of_the_last_attempt_is_timed_although_repairs_are_held() -> None:
    scene = Scene(*sick(1, 3), attempts_max=1, cooldown_s=10.0)
    (item,) = scene.look().repairs
    scene.repairs.answered(item.key, 1000.0)
    scene.spec(paused=True)
    assert scene.look(Now(1005.0, 0.0)).look_again_at_s == 1010.0
    scene.look(Now(1010.0, 0.0))
    assert scene.condition("RepairsExhausted") == ("True", "AttemptsSpent")


def test_the_exhausted_leave_their_places_to_others() -> None:
    scene = Scene(*sick(1, 3), attempts_max=1, cooldown_s=10.0, in_flight_max=1)
    (item,) = scene.look().repairs
    scene.repairs.answered(item.key, 1000.0)
    scene.roll.put(compute("n1", healthy=False))
    assert names(scene.look(Now(1005.0, 0.0))) == []
    assert names(scene.look(Now(1010.0, 0.0))) == ["n1"]


def test_the_valve_over_all_parents_is_told_and_takes_nothing_back() -> None:
    """The gateway holds the calls; what is asked for keeps its place. Whoever needs nothing is not held."""
    scene = Scene(compute("a", healthy=False), compute("b"))
    asked = scene.look().repairs
    scene.backend = BackendView(held="6 of all 10 children need repair, the limit is 50%")
    plan = scene.look()

    assert scene.condition("RemediationAllowed") == ("False", "FleetTooManyUnhealthy")
    assert [(note.reason, note.type) for note in plan.events] == [("FleetTooManyUnhealthy", "Warning")]
    assert [item.key for item in plan.repairs] == [item.key for item in asked]
    assert scene.look().events == ()

    scene.backend = BackendView()
    assert [note.reason for note in scene.look().events] == ["RepairsAllowed"]
    well = Scene(compute("a"))
    well.backend = BackendView(held="6 of all 10 children need repair, the limit is 50%")
    well.look()
    assert well.condition("RemediationAllowed") == ("True", "WithinLimit")


@pytest.mark.parametrize(
    "status", [{}, {"conditions": None}, {"conditions": "x"}, {"conditions": ["x", {}, {"type": 3}]}]
)
def test_a_status_that_somebody_mangled_is_put_right(status: dict[str, Any]) -> None:
    """Status is what others may have written: read it with care."""
    scene = Scene(compute("a"))
    scene.parent = evolve(scene.parent, status=status)

    scene.look()
    assert scene.condition("Ready") == ("True", "Ready")


def test_messages_are_bounded() -> None:
    """The API server refuses a status whose message is too long, and then nothing is told at all."""
    scene = Scene(spec=ParentSpec(problems=tuple(f"spec.field{n}: " + "x" * 100 for n in range(50))))
    plan = scene.look()

    assert all(len(c["message"]) <= 1024 for c in plan.status["conditions"])


def test_replacing_one_condition_keeps_everything_else() -> None:
    """For a quarantined parent: its counts stand as they were last written, and Ready says why they are not followed."""
    scene = Scene(*sick(1, 4))
    scene.look()
    status = replaced_condition(scene.parent, LATER, "Ready", False, "Quarantined", "why")

    assert {**status, "conditions": None} == {**scene.parent.status, "conditions": None}
    conditions = {c["type"]: c for c in status["conditions"]}
    assert len(conditions) == len(status["conditions"]) == 5
    assert (conditions["Ready"]["reason"], conditions["Ready"]["lastTransitionTime"]) == (
        "Quarantined", rfc3339(LATER.wall_s)
    )  # fmt: skip
    assert conditions["Available"] == next(c for c in scene.parent.status["conditions"] if c["type"] == "Available")
