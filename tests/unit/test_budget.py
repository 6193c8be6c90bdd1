"""Attempts at one trouble: how many, how long each cools down, and who is exhausted."""

from __future__ import annotations

from typing import Any

import pytest

from actors.core.budget import NOTES_MAX, TOLD_MAX, Budget, budget_of, entries, notes, sentence
from actors.core.keys import item_key
from actors.core.model import Child, Item, ParentKey, Policy
from actors.core.repairs import Repairs

HOME = ParentKey("default", "c1")
THREE = Budget(cooldown_s=10.0, cooldown_max_s=25.0, attempts_max=3)


def node(since: str = "t0", uid: str = "a") -> Child:
    return Child(kind="K", namespace="ns", name=uid, uid=uid, version=1, parent=HOME, healthy=False, since=since)


class Desk:
    """Repairs, and what a ClusterActor does with them: one child, which is sick unless said otherwise."""

    def __init__(self, budget: Budget = THREE) -> None:
        self.repairs = Repairs("fix")
        self.budget = budget

    def look(self, now_s: float, child: Child | None) -> Item | None:
        """One look; what it asks for is asked."""
        eligible = {} if child is None else {child.uid: child}
        self.repairs.settle(eligible, now_s)
        if child is None or child.uid in self.repairs.exhausted(eligible, now_s, self.budget):
            return None
        item = self.repairs.wanted(HOME, child, now_s, self.budget)
        if item is not None:
            self.repairs.record((item,))
        return item

    def spend(self, *instants_s: float, child: Child | None = None) -> list[int]:
        """Ask at each of these, and have the answer at once; the attempts' numbers."""
        numbers = []
        for at_s in instants_s:
            item = self.look(at_s, child or node())
            assert item is not None
            self.repairs.answered(item.key, at_s)
            numbers.append(item.attempt)
        return numbers

    def exhausted(self, now_s: float, child: Child | None = None) -> dict[str, int]:
        child = child or node()
        return self.repairs.exhausted({child.uid: child}, now_s, self.budget)


def test_the_wait_doubles_up_to_its_bound() -> None:
    assert [THREE.wait_s(number) for number in (1, 2, 3, 4)] == [10.0, 20.0, 25.0, 25.0]
    assert [Budget(cooldown_s=10.0).wait_s(number) for number in (1, 9)] == [10.0, 10.0]
    assert Budget(cooldown_s=60.0, cooldown_max_s=25.0).wait_s(2) == 60.0


def test_each_attempt_waits_longer_and_the_last_one_is_waited_for() -> None:
    """Asked and answered at 0, 10 and 30; the third cools down until 55, and is told of then."""
    desk = Desk()
    assert desk.spend(0.0) == [1]
    assert desk.look(9.9, node()) is None
    assert desk.spend(10.0) == [2]
    assert desk.look(29.9, node()) is None
    assert desk.spend(30.0) == [3]
    assert desk.repairs.cooled_at(node(), THREE) == 55.0
    assert (desk.exhausted(54.9), desk.exhausted(55.0)) == ({}, {"a": 3})
    assert desk.look(1e6, node()) is None


def test_without_a_bound_it_goes_on() -> None:
    desk = Desk(Budget(cooldown_s=10.0))
    assert desk.spend(*range(0, 200, 10)) == list(range(1, 21))
    assert desk.exhausted(1e6) == {}


def test_more_attempts_are_made_where_more_are_allowed() -> None:
    desk = Desk()
    desk.spend(0.0, 10.0, 30.0)
    desk.budget = Budget(cooldown_s=10.0, cooldown_max_s=25.0, attempts_max=4)
    assert desk.spend(60.0) == [4]


def test_an_attempt_that_is_under_way_is_not_taken_back_where_fewer_are_allowed() -> None:
    desk = Desk()
    desk.spend(0.0)
    second = desk.look(10.0, node())
    desk.budget = Budget(cooldown_s=10.0, attempts_max=1)
    again = desk.look(11.0, node())
    assert second is not None
    assert again is not None
    assert again.key == second.key


@pytest.mark.parametrize(("well_s", "number"), [(8.0, 2), (10.0, 1), (500.0, 1)])
def test_a_time_of_health_as_long_as_the_wait_is_a_new_budget(well_s: float, number: int) -> None:
    desk = Desk()
    desk.spend(0.0)
    desk.look(2.0, None)
    assert desk.spend(2.0 + well_s, child=node("t1")) == [number]


def test_moments_of_health_do_not_add_up() -> None:
    desk = Desk()
    assert desk.spend(0.0) == [1]
    for number, start_s in ((2, 2.0), (3, 10.0)):
        desk.look(start_s, None)
        assert desk.spend(start_s + 6.0, child=node(f"t{number}")) == [number]
    desk.look(17.0, None)
    assert desk.look(20.0, node("t9")) is None
    assert desk.exhausted(20.0, node("t9")) == {"a": 3}


def test_health_is_what_counts_and_not_how_long_nobody_asked() -> None:
    """Held for an hour after a moment of health: the budget goes on."""
    desk = Desk()
    desk.spend(0.0)
    desk.look(2.0, None)
    desk.repairs.settle({"a": node("t1")}, 3.0)
    assert desk.spend(3600.0, child=node("t1")) == [2]


def test_an_incident_of_the_same_name_after_a_time_of_health_is_another_budget_under_another_key() -> None:
    """Fleets that do not tell since when: all incidents of a child have one name."""
    desk = Desk()
    desk.spend(0.0, 10.0, 30.0)
    desk.look(60.0, None)
    before = {item_key("a", "unhealthy@t0", number) for number in range(3)}
    item = desk.look(200.0, node())
    assert item is not None
    assert item.attempt == 1
    assert item.key not in before


def test_what_was_never_answered_is_no_attempt() -> None:
    """It may have waited for the quota all the time."""
    desk = Desk()
    assert desk.look(0.0, node()) is not None
    item = desk.look(1.0, node("t1"))
    assert item is not None
    assert item.attempt == 1


def test_a_withdrawn_attempt_leaves_those_before_it() -> None:
    desk = Desk()
    desk.spend(0.0)
    desk.look(2.0, None)
    item = desk.look(3.0, node("t1"))
    assert item is not None
    assert not desk.repairs.withdrawn(item.key)
    assert desk.spend(4.0, child=node("t1")) == [2]


def test_the_exhausted_keep_no_place() -> None:
    desk = Desk()
    desk.spend(0.0, 10.0, 30.0)
    assert desk.repairs.places({"a": node()}) == 1
    assert desk.repairs.places({"a": node()}, desk.exhausted(60.0)) == 0


# --- what a status remembers ------------------------------------------------------------------------------------------
def told(*children: tuple[Child, int]) -> dict[str, Any]:
    return {"exhausted": entries(children)}


def test_a_new_process_knows_the_exhausted_from_the_status() -> None:
    policy = Policy(attempts_max=3, cooldown_s=10.0)
    fresh = Desk(budget_of(policy, told((node(), 3))))
    assert fresh.exhausted(0.0) == {"a": 3}
    assert fresh.look(0.0, node()) is None
    assert fresh.spend(0.0, child=node("t1")) == [1]


def test_more_attempts_go_on_where_an_earlier_process_ended() -> None:
    """Under a key that it has not used."""
    desk = Desk(budget_of(Policy(attempts_max=5, cooldown_s=10.0), told((node(), 3))))
    item = desk.look(0.0, node())
    assert item is not None
    assert (item.attempt, item.key) == (4, item_key("a", "unhealthy@t0", 3))
    desk.repairs.answered(item.key, 0.0)
    assert desk.spend(100.0) == [5]


@pytest.mark.parametrize(
    "said", [None, "x", [None], ["x"], [{}], [{"incident": 3, "attempts": 3}], [{"incident": "x", "attempts": "y"}]]
)
def test_a_status_is_what_others_may_have_written(said: Any) -> None:
    assert budget_of(Policy(attempts_max=3), {"exhausted": said}).spent == {}


def test_without_a_bound_nothing_is_remembered() -> None:
    assert budget_of(Policy(), told((node(), 3))).spent == {}


def test_a_status_holds_a_bounded_list_and_the_same_one_for_the_same_set() -> None:
    many = [(node(uid=f"n{number:03}"), 3) for number in range(TOLD_MAX + 20)]
    assert len(entries(many)) == TOLD_MAX
    assert entries(many) == entries(reversed(many))
    assert sentence(many).startswith(f"{TOLD_MAX + 20} not well after all attempts: K/n000, K/n001,")
    assert sentence(many).endswith(f"and {TOLD_MAX + 15} more")
    assert sentence(many[:1]) == "1 not well after all attempts: K/n000"


def test_each_is_told_of_once_and_a_few_at_a_time() -> None:
    many = [(node(uid=f"n{number:03}"), 3) for number in range(30)]
    first = notes(many, {})
    assert [note.regarding.name for note in first if note.regarding is not None] == [
        f"n{n:03}" for n in range(NOTES_MAX)
    ]
    assert notes(many, budget_of(Policy(attempts_max=3), told(*many)).spent) == []
    full = {str(number): 3 for number in range(TOLD_MAX)}
    assert notes(many, full) == []
