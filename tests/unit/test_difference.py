"""How two statuses differ, and what is said of it; and how a Plan is shown."""

from __future__ import annotations

from typing import Any

import pytest

from actors.core.difference import brief, differences, same
from actors.core.model import Child, EventNote, Item, ParentKey, Plan
from actors.core.planned import plan_view
from actors.core.telling import moved, planned

KEY = ParentKey("ns", "c")


def status(healthy: int, ready: str = "True", reason: str = "Ready", at: str = "1") -> dict[str, Any]:
    return {
        "healthy": healthy, "kinds": [{"kind": "A", "healthy": healthy}, {"kind": "B", "healthy": 0}],
        "conditions": [{"type": "Ready", "status": ready, "reason": reason, "lastTransitionTime": at}],
    }  # fmt: skip


def item(uid: str, *, retry: bool = False) -> Item:
    return Item("o", f"key-{uid}", "Node", uid, "incident", KEY, {"name": uid}, 0.0, retry)


def child(uid: str, healthy: bool | None, heartbeat: str = "") -> Child:
    return Child(
        "Node", "ns", f"name-{uid}", uid, 1, KEY, healthy, since="noon", heartbeat=heartbeat, silent=healthy is None
    )


def test_named_things_are_compared_thing_by_thing() -> None:
    found = differences(status(3), status(2, "False", "Bad", "2"))

    assert (3, 2) == found["healthy"] == found["kinds.A.healthy"]
    assert ("True", "False") == found["conditions.Ready.status"]
    assert "kinds.B.healthy" not in found
    assert {"conditions.Ready.lastTransitionTime"} == set(found) - set(
        differences(status(3), status(2, "False", "Bad", "2"), but=frozenset({"lastTransitionTime"}))
    )


@pytest.mark.parametrize(
    "seen", [{}, {"kinds": None}, {"kinds": "nonsense", "conditions": [1]}, {"kinds": [], "conditions": []}]
)
def test_a_status_of_any_shape_is_compared(seen: dict[str, Any]) -> None:
    assert (None, 3) == differences(seen, status(3))["kinds.A.healthy"]


def test_fields_of_others_do_not_count() -> None:
    assert same(status(3), {**status(3), "theirs": 1})
    assert not differences({**status(3), "theirs": 1}, status(3))
    assert not same(status(3), status(2))


def test_the_brief_form_has_the_counts_first_and_the_times_last() -> None:
    text = brief(differences(status(3), status(2, "False", "Bad", "2")))

    assert text.startswith("healthy 3 → 2")
    assert text.endswith("lastTransitionTime 1 → 2")
    assert "and 3 more" in brief(differences(status(3), status(2, "False", "Bad", "2")), most=2)
    assert "" == brief({})


def test_a_plan_is_told_by_what_it_changes() -> None:
    plan = Plan(status=status(2, reason="Bad"), repairs=(item("b"),), look_again_at_s=9.0)
    fact = planned(KEY, status(3), plan, {"key-a"}, changed=True, now_s=4.0)

    assert ("healthy 3 → 2, Ready → Bad", 1, 1, 5.0) == (fact.status, fact.asked, fact.withdrawn, fact.look_s)
    assert "" == planned(KEY, status(3), plan, {"key-b"}, changed=False, now_s=4.0).status
    assert "conditions" == moved(status(3, at="1"), status(3, at="2"))
    others: list[dict[str, object]] = [{}, {"conditions": "nonsense"}, {"conditions": []}, {"conditions": [7]}]
    for seen in others:
        assert "healthy None → 3, Ready → Ready" == moved(seen, status(3))


def test_a_plan_is_shown_by_its_differences_with_reasons() -> None:
    note = EventNote(type="Warning", reason="TooMany", note="12 of 20")
    plan = Plan(
        status=status(2),
        repairs=(item("a"), item("b", retry=True), item("c"), item("d")),
        events=(note,),
        look_again_at_s=7.0,
    )
    children = {"a": child("a", False), "b": child("b", False), "c": child("c", None, "ten"), "d": child("d", None)}
    told = plan_view(KEY, status(3), ["key-a", "key-z"], plan, children, 4.0)

    assert not told["nothing"]
    assert (3, 1, 1, 3.0) == (told["asked_anew"], told["asked_already"], told["taken_back"], told["look_again_in_s"])
    assert [
        "unhealthy since noon, and the repair before did not help",
        "silent since its heartbeat of ten",
        "it never reported",
    ] == [each["why"] for each in told["repairs"]]
    assert "name-b" == told["repairs"][0]["child"]
    assert {"field": "healthy", "stands": 3, "wanted": 2} in told["status"]
    assert plan_view(KEY, status(3), [], Plan(status=status(3)), {}, 0.0)["nothing"]


def test_a_plan_is_shown_whole() -> None:
    plan = Plan(
        status={"healthy": 2}, repairs=(item("a"),), events=(EventNote(type="Warning", reason="TooMany", note="12 of 20"),),
        look_again_at_s=7.12345,
    )  # fmt: skip

    assert plan_view(KEY, {"healthy": 3}, ["key-z", "key-y"], plan, {}, 4.0) == {
        "parent": "ns/c",
        "nothing": False,
        "status": [{"field": "healthy", "stands": 3, "wanted": 2}],
        "repairs": [{"kind": "Node", "child": "a", "why": "incident", "key": "key-a"}],
        "asked_anew": 1,
        "asked_already": 0,
        "taken_back": 2,
        "events": [{"type": "Warning", "reason": "TooMany", "note": "12 of 20"}],
        "look_again_in_s": 3.123,
    }


def test_a_look_that_is_due_is_due_now_and_none_is_none() -> None:
    overdue = plan_view(KEY, {}, [], Plan(status={}, look_again_at_s=3.0), {}, 4.0)
    never = plan_view(KEY, {}, [], Plan(status={}), {}, 4.0)

    assert (overdue["look_again_in_s"], overdue["nothing"]) == (0.0, True)
    assert (never["look_again_in_s"], never["status"], never["repairs"], never["events"]) == (None, [], [], [])


@pytest.mark.parametrize(
    "plan",
    [
        Plan(status={"healthy": 2}), Plan(status={"healthy": 3}, repairs=(item("a"),)),
        Plan(status={"healthy": 3}, events=(EventNote(type="Normal", reason="X", note=""),)),
    ],
    ids=["status", "repairs", "events"],
)  # fmt: skip
def test_a_plan_that_changes_one_thing_is_not_nothing(plan: Plan) -> None:
    assert plan_view(KEY, {"healthy": 3}, [], plan, {}, 0.0)["nothing"] is False


def test_a_repair_is_for_a_reason_also_where_no_instant_is_known() -> None:
    whenever = Child("Node", "ns", "n", "a", 1, KEY, healthy=False)
    told = plan_view(KEY, {}, [], Plan(status={}, repairs=(item("a"), item("b", retry=True))), {"a": whenever}, 0.0)

    assert [each["why"] for each in told["repairs"]] == ["unhealthy", "incident, and the repair before did not help"]


def test_no_more_repairs_are_shown_than_fit_and_all_are_counted() -> None:
    many = tuple(item(str(number)) for number in range(1001))
    told = plan_view(KEY, {}, [], Plan(status={}, repairs=many), {}, 0.0)

    assert (len(told["repairs"]), told["asked_anew"]) == (1000, 1001)


def test_the_brief_form_has_six_differences_the_shallow_ones_first() -> None:
    found: dict[str, tuple[Any, Any]] = {
        "a.b.c": (1, 2), "unhealthySample": ([], ["x"]), "a.b": (None, True), "message": ("a", "b"), "lastTime": (1, 2),
        "a": ("x" * 40, "y" * 41), "d": (0, 1),
    }  # fmt: skip

    assert brief(found) == (
        f"a {'x' * 40} → {'y' * 39}…, d 0 → 1, a.b nothing → True, a.b.c 1 → 2, unhealthySample [] → ['x'], message a → b"
        " and 1 more"
    )
    assert " more" not in brief(dict(list(found.items())[:6]))
