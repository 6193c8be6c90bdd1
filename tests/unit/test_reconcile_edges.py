"""What people read of a parent, word for word; and reconcile where order, bounds or a mangled status could matter."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from attrs import evolve

from actors.core.builtin import MUSTER_FLEET
from actors.core.health import Roll
from actors.core.model import HALF, Child, EventNote, Now, Parent, ParentKey, ParentSpec, Plan, Policy, Share
from actors.core.reconcile import BackendView, Children, reconcile, replaced_condition, rfc3339
from actors.core.repairs import Repairs

HOME = ParentKey("default", "c1")
T0 = Now(1000.0, 1_700_000_000.0)
T0_TEXT = "2023-11-14T22:13:20Z"


def node(uid: str, *, healthy: bool | None = True, since: str = "t0") -> Child:
    return Child("ComputeNode", "default", uid, uid, 1, HOME, healthy, since)


def sick(count: int, total: int) -> list[Child]:
    return [node(f"n{index}", healthy=index >= count) for index in range(total)]


class Scene:
    """One parent and its children; ``look`` is one reconcile whose Plan is put in force."""

    def __init__(self, *children: Child, **policy: Any) -> None:
        self.roll = Roll(("ComputeNode", "StorageNode"), HOME)
        for each in children:
            self.roll.put(each)
        self.repairs = Repairs("batchRepair")
        self.policy = Policy(**policy)
        self.skipped = 0
        self.parent = Parent(kind="Cluster", key=HOME, uid="p", version=1, generation=4, spec=ParentSpec(), status={})

    def look(self, now: Now = T0) -> Plan:
        children = Children(
            roll=self.roll, repairs=self.repairs, backend=BackendView(reachable=True, reason="Answered", message="it is well"),
            skipped=self.skipped,
        )  # fmt: skip
        plan = reconcile(MUSTER_FLEET, self.parent, children, self.policy.over(self.parent.spec), now)
        self.parent = evolve(self.parent, status=plan.status)
        self.repairs.record(plan.repairs)
        return plan

    def spec(self, **fields: Any) -> None:
        self.parent = evolve(self.parent, spec=ParentSpec(**fields))

    def said(self) -> dict[str, tuple[str, str, str]]:
        """Status, reason and message by condition."""
        return {c["type"]: (c["status"], c["reason"], c["message"]) for c in self.parent.status["conditions"]}


# --- what people read -------------------------------------------------------------------------------------------------


def test_of_a_parent_that_is_well_the_conditions_say_this() -> None:
    scene = Scene(*sick(0, 3), min_healthy=2)
    scene.look()

    assert scene.said() == {
        "Ready": ("True", "Ready", ""),
        "Available": ("True", "EnoughHealthy", "3 of 3 healthy, at least 2 wanted"),
        "RemediationAllowed": ("True", "WithinLimit", ""),
        "BackendReachable": ("True", "Answered", "it is well"),
        "Paused": ("False", "NotPaused", ""),
    }
    for condition in scene.parent.status["conditions"]:
        assert set(condition) == {"type", "status", "reason", "message", "observedGeneration", "lastTransitionTime"}
        assert (condition["observedGeneration"], condition["lastTransitionTime"]) == (4, T0_TEXT)


@pytest.mark.parametrize(
    ("spec", "changes", "expected"),
    [
        (
            {"paused": True},
            {},
            {
                "Ready": ("False", "Paused", "spec.paused is true: counting goes on, repairs do not"),
                "RemediationAllowed": ("False", "Paused", "spec.paused is true"),
                "Paused": ("True", "PausedBySpec", ""),
            },
        ),
        (
            {"min_healthy": 4},
            {},
            {
                "Ready": ("False", "NotAvailable", "3 of 5 healthy, at least 4 wanted"),
                "Available": ("False", "TooFewHealthy", "3 of 5 healthy, at least 4 wanted"),
            },
        ),
        (
            {"repair_enabled": False},
            {},
            {
                "RemediationAllowed": (
                    "False", "RepairDisabled", "spec.repair.enabled or the operator's setting is false"
                ),
            },
        ),
        (
            {"max_unhealthy": Share(absolute=1)},
            {},
            {
                "RemediationAllowed": (
                    "False", "TooManyUnhealthy",
                    ("2 of 5 need repair, the limit is 1; raise spec.repair.maxUnhealthy, or for a while annotate it "
                    "with muster.dev/valve-override-until, if this is meant"),
                ),
            },
        ),
        (
            {"problems": ("spec.a: no", "spec.b: nor this")},
            {},
            {"Ready": ("False", "InvalidSpec", "spec.a: no; spec.b: nor this")},
        ),
        (
            {},
            {"skipped": 2},
            {"Ready": ("False", "RecordsSkipped", "2 children cannot be read and are not counted: see the log")},
        ),
        ({}, {"deleting": True}, {"RemediationAllowed": ("False", "Deleting", "the object is being deleted")}),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_figures_and_cure(
    spec: dict[str, Any], changes: dict[str, Any], expected: dict[str, tuple[str, str, str]]
) -> None:
    """``kubectl describe`` shows it, and nothing else is at hand there."""
    scene = Scene(*sick(2, 5))
    scene.spec(**spec)
    scene.skipped = changes.get("skipped", 0)
    scene.parent = evolve(scene.parent, deleting=changes.get("deleting", False))
    scene.look()

    assert {name: scene.said()[name] for name in expected} == expected


def test_events_say_what_has_happened_and_what_is_done_about_it() -> None:
    """Type, reason, action and note: the four columns of ``kubectl get events``."""
    scene = Scene(*sick(6, 10), max_unhealthy=HALF)
    held = scene.look()
    scene.roll.put(node("n5"))
    opened = scene.look()
    scene.spec(problems=("spec.a: no", "spec.b: nor this"))
    invalid = scene.look()

    assert [*held.events, *opened.events, *invalid.events] == [
        EventNote(
            type="Warning", reason="TooManyUnhealthy", action="HoldRepairs",
            note="repairs are held: 6 of 10 need repair, the limit is 50%",
        ),
        EventNote(
            type="Normal", reason="RepairsAllowed", action="AllowRepairs", note="repairs go on: 5 of 10 need repair"
        ),
        EventNote(type="Warning", reason="InvalidSpec", action="ReadSpec", note="spec.a: no; spec.b: nor this"),
    ]  # fmt: skip


# --- whom to ask for --------------------------------------------------------------------------------------------------


def test_one_for_whom_there_is_no_room_does_not_hide_those_behind_it() -> None:
    """A new incident of the first in the list waits; the second was asked for already and keeps its place."""
    scene = Scene(*sick(2, 10), in_flight_max=2)
    assert [item.uid for item in scene.look().repairs] == ["n0", "n1"]
    scene.roll.put(node("n0", healthy=False, since="t1"))
    scene.spec(in_flight_max=1)

    assert [item.uid for item in scene.look().repairs] == ["n1"]


def test_the_next_look_is_at_the_first_of_several_cooldowns() -> None:
    scene = Scene(*sick(3, 10), cooldown_s=300.0)
    for item, at_s in zip(scene.look().repairs, (1005.0, 1002.0, 1009.0), strict=True):
        scene.repairs.answered(item.key, at_s)

    assert scene.look().look_again_at_s == 1302.0


# --- bounds and other people's words ----------------------------------------------------------------------------------


def test_of_a_mass_failure_the_sample_is_ten_names() -> None:
    scene = Scene(*sick(1500, 1500))
    sample = scene.look().status["unhealthySample"]

    assert (len(sample), sample) == (10, sorted(sample))


def test_a_condition_without_a_time_gets_one() -> None:
    """Somebody else's controller wrote it; without one the API server would refuse the status."""
    scene = Scene(*sick(0, 1))
    scene.parent = evolve(scene.parent, status={"conditions": [{"type": "Ready", "status": "True"}]})
    scene.look()

    assert {c["lastTransitionTime"] for c in scene.parent.status["conditions"]} == {T0_TEXT}


@pytest.mark.parametrize("conditions", [None, 5, "x", {}, ["x", 3, None]])
def test_one_condition_is_replaced_in_a_mangled_status_too(conditions: object) -> None:
    """It is for a parent that cannot be reconciled, so it must not fail on what may be the reason."""
    parent = evolve(Scene().parent, status={"total": 3, "conditions": conditions})

    assert replaced_condition(parent, T0, "Ready", False, "Quarantined", "why") == {
        "total": 3,
        "observedGeneration": 4,
        "conditions": [
            {
                "type": "Ready", "status": "False", "reason": "Quarantined", "message": "why", "observedGeneration": 4,
                "lastTransitionTime": T0_TEXT,
            }
        ],
    }  # fmt: skip


@pytest.fixture
def far_from_greenwich(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process whose local time is nine hours ahead."""
    monkeypatch.setenv("TZ", "JST-9")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("far_from_greenwich")
def test_instants_are_written_in_utc_wherever_the_process_runs() -> None:
    assert rfc3339(T0.wall_s + 0.999) == T0_TEXT


@pytest.mark.parametrize(
    ("wall_s", "text"),
    [
        (0.0, "1970-01-01T00:00:00Z"),
        (951_868_799.9, "2000-02-29T23:59:59Z"),
        (1_709_164_800.0, "2024-02-29T00:00:00Z"),
        (1_709_168_459.0, "2024-02-29T01:00:59Z"),
        (4_133_980_799.0, "2100-12-31T23:59:59Z"),
    ],
)
def test_an_instant_has_its_day_and_its_second(wall_s: float, text: str) -> None:
    assert rfc3339(wall_s) == text
