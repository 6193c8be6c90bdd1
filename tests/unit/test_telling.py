"""The facts that a parent's actor tells of its looks: once where something has changed, and no oftener."""

from __future__ import annotations

from typing import Any

import pytest

from actors.core.events import Fact, Planned, ReconcileFailed, RepairsAnswered, RepairsExhausted, ValveMoved
from actors.core.health import Roll
from actors.core.model import Child, Item, ParentKey, Plan, Policy, Share
from actors.core.telling import Noted, moved, planned, reconcile_failed, repairs_answered

KEY = ParentKey("ns", "c")
POLICY = Policy(max_unhealthy=Share(absolute=2))


def plan(reason: str = "WithinLimit", exhausted: tuple[tuple[str, str], ...] | None = None) -> Plan:
    """``exhausted``: name and incident of each; None: the status has no such list."""
    status: dict[str, Any] = {
        "conditions": [
            {"type": "Ready", "status": "True", "reason": "Ready"},
            {"type": "RemediationAllowed", "status": "False", "reason": reason},
        ]
    }
    if exhausted is not None:
        status["exhausted"] = [{"kind": "Node", "name": name, "incident": at, "attempts": 3} for name, at in exhausted]
    return Plan(status=status)


def roll(ill: int, well: int) -> Roll:
    found = Roll(("Node",), KEY)
    for number in range(ill + well):
        name = f"n{number}"
        found.put(Child("Node", "ns", name, name, 1, KEY, healthy=number >= ill, since="then"))
    return found


def told(noted: Noted, a_plan: Plan, ill: int = 0) -> list[Fact]:
    return noted.facts(KEY, a_plan, roll(ill, 10 - ill), POLICY)


def test_the_valve_is_told_of_when_it_moves_with_its_counts() -> None:
    noted = Noted()

    assert told(noted, plan()) == []
    assert told(noted, plan("TooManyUnhealthy"), 5) == [
        ValveMoved(parent="ns/c", closed=True, eligible=5, limit=2, total=10)
    ]
    assert told(noted, plan("TooManyUnhealthy"), 6) == []
    assert told(noted, plan("ValveOverridden"), 6) == [
        ValveMoved(parent="ns/c", closed=False, eligible=6, limit=2, total=10)
    ]
    assert told(noted, plan("FleetTooManyUnhealthy"), 6) == []


def test_a_percentage_is_told_as_a_count_with_its_floor() -> None:
    (fact,) = Noted().facts(KEY, plan("TooManyUnhealthy"), roll(4, 1), Policy(max_unhealthy=Share(percent=20.0)))

    assert fact == ValveMoved(parent="ns/c", closed=True, eligible=4, limit=3, total=5)


def test_who_is_newly_exhausted_is_told_once_with_some_names() -> None:
    noted = Noted()
    six = tuple((f"n{number}", f"i{number}") for number in range(6))

    assert told(noted, plan(exhausted=())) == []
    assert told(noted, plan(exhausted=six)) == [
        RepairsExhausted(parent="ns/c", children=6, sample="Node/n0, Node/n1, Node/n2, Node/n3, Node/n4")
    ]
    assert told(noted, plan(exhausted=six[:5])) == [], "one less is no news"
    assert told(noted, plan(exhausted=(*six[:5], ("n5", "another trouble")))) == [
        RepairsExhausted(parent="ns/c", children=6, sample="Node/n0, Node/n1, Node/n2, Node/n3, Node/n4")
    ]
    assert told(noted, plan()) == []
    assert told(noted, plan(exhausted=six[:1])) == [RepairsExhausted(parent="ns/c", children=1, sample="Node/n0")], (
        "all had been well in between"
    )


def test_both_are_told_in_one_look() -> None:
    kinds = [type(fact) for fact in told(Noted(), plan("TooManyUnhealthy", (("n0", "i0"),)), 3)]

    assert kinds == [ValveMoved, RepairsExhausted]


@pytest.mark.parametrize(
    ("answers", "counts"),
    [
        ((), (0, 0, 0)),
        (("done", "done", "done", "failed", "withdrawn", "withdrawn"), (3, 1, 2)),
    ],
)
def test_answers_are_counted_by_what_they_say(answers: tuple[str, ...], counts: tuple[int, int, int]) -> None:
    done, failed, withdrawn = counts

    assert repairs_answered(KEY, answers) == RepairsAnswered(
        parent="ns/c", done=done, failed=failed, withdrawn=withdrawn
    )


def test_a_reconcile_that_raised_is_told_in_a_line_and_whole() -> None:
    trace = "Traceback (most recent call last):\n  File x\nKeyError: 'rack'"
    failed = Plan(status={}, failed=trace)

    assert reconcile_failed(KEY, failed) == ReconcileFailed(parent="ns/c", error="KeyError: 'rack'", traceback=trace)


def test_a_plan_is_told_with_what_it_asks_and_takes_back() -> None:
    items = tuple(Item("o", key, "Node", key, "i", KEY, {}, 0.0) for key in ("a", "b", "c"))
    standing = {"healthy": 3, "unhealthy": 0, "conditions": [{"type": "Ready", "reason": "Ready"}]}
    status = {"healthy": 1, "unhealthy": 2, "conditions": [{"type": "Ready", "reason": "NotAvailable"}]}
    wanted = Plan(status=status, repairs=items)

    assert planned(KEY, standing, wanted, {"a", "z"}, changed=True, now_s=5.0) == Planned(
        parent="ns/c",
        status="healthy 3 → 1, unhealthy 0 → 2, Ready → NotAvailable",
        asked=2,
        withdrawn=1,
        look_s=None,
    )


def test_the_counts_are_told_in_their_order_and_conditions_by_a_word() -> None:
    before = {"healthy": 1, "unhealthy": 2, "unknown": 3, "repairing": 4, "conditions": [{"reason": "Ready"}]}
    after = {"healthy": 5, "unhealthy": 6, "unknown": 7, "repairing": 8, "conditions": [{"reason": "Ready"}]}

    assert moved(before, after) == "healthy 1 → 5, unhealthy 2 → 6, unknown 3 → 7, repairing 4 → 8"
    turned = {**before, "conditions": [{"reason": "Ready"}, {"type": "Paused"}]}
    assert moved(before, turned) == "conditions"
    assert moved(before, before) == ""
