"""The memory of what was asked: one key per attempt, a new round only after an answer and its cooldown."""

from __future__ import annotations

from actors.core.budget import Budget
from actors.core.keys import item_key
from actors.core.model import Child, Item, ParentKey
from actors.core.repairs import Repairs

HOME = ParentKey("default", "c1")
COOLDOWN_S = 100.0
BUDGET = Budget(cooldown_s=COOLDOWN_S)


def node(since: str = "t0", uid: str = "a") -> Child:
    return Child(kind="K", namespace="default", name=uid, uid=uid, version=1, parent=HOME, healthy=False, since=since)


class Desk:
    """Repairs, and what a ClusterActor does with them."""

    def __init__(self) -> None:
        self.repairs = Repairs("fix")

    def look(self, now_s: float, child: Child | None = None) -> Item | None:
        return self.repairs.wanted(HOME, child or node(), now_s, BUDGET)

    def ask(self, now_s: float, child: Child | None = None) -> Item:
        item = self.look(now_s, child)
        assert item is not None
        self.repairs.record((item,))
        return item


def test_looking_asks_for_nothing() -> None:
    """``wanted`` only reads, so that reconcile stays pure."""
    desk = Desk()
    first, second = desk.look(1.0), desk.look(1.0)

    assert first == second
    assert not desk.repairs.asked(node())
    assert desk.repairs.open_count == 0


def test_the_same_attempt_keeps_its_key_and_its_age() -> None:
    """Whatever happens to the call: a transport retry is the same attempt."""
    desk = Desk()
    asked = desk.ask(1.0)
    again = desk.ask(50.0)

    assert (again.key, again.since_s, again.retry) == (asked.key, 1.0, False)
    assert desk.repairs.open_count == 1


def test_the_key_is_a_function_of_the_object_alone() -> None:
    """It survives the death of the process."""
    assert Desk().ask(1.0).key == Desk().ask(77.0).key
    assert len({Desk().ask(1.0, child).key for child in (node(), node("t1"), node(uid="b"))}) == 3


def test_an_answered_attempt_cools_down_and_then_comes_a_new_round() -> None:
    """Times: asked at 1, answered at 10, cooling to 110."""
    desk = Desk()
    first = desk.ask(1.0)
    desk.repairs.answered(first.key, 10.0)

    assert desk.look(109.9) is None
    assert desk.repairs.cooled_at(node(), BUDGET) == 110.0
    assert desk.repairs.asked(node())
    second = desk.ask(110.0)
    assert second.key != first.key
    assert second.retry
    assert second.since_s == 1.0  # the incident is as old as it was


def test_a_new_incident_does_not_wait_for_the_old_ones_cooldown() -> None:
    """It got well and failed again: that is news."""
    desk = Desk()
    first = desk.ask(1.0)
    desk.repairs.answered(first.key, 10.0)
    second = desk.ask(20.0, node("t1"))

    assert second.key != first.key
    assert not second.retry
    assert second.since_s == 20.0
    assert desk.repairs.cooled_at(node("t1"), BUDGET) is None


def test_an_answer_to_an_older_attempt_changes_nothing() -> None:
    """It may be long under way."""
    desk = Desk()
    old = desk.ask(1.0)
    new = desk.ask(2.0, node("t1"))
    desk.repairs.answered(old.key, 3.0)
    desk.repairs.answered("nobody's", 3.0)

    assert desk.look(4.0, node("t1")) == new
    assert desk.repairs.open_count == 1


def test_a_withdrawn_first_attempt_is_forgotten_and_asked_again_under_the_same_key() -> None:
    """It was never sent."""
    desk = Desk()
    first = desk.ask(1.0)
    desk.repairs.withdrawn(first.key)

    assert not desk.repairs.asked(node())
    assert desk.repairs.open_count == 0
    assert desk.ask(5.0).key == first.key


def test_a_withdrawn_later_round_does_not_fall_back_to_a_key_that_was_executed() -> None:
    """A backend that honours keys would answer "done" to the old one and do nothing, for a whole cooldown."""
    desk = Desk()
    first = desk.ask(1.0)
    desk.repairs.answered(first.key, 10.0)
    second = desk.ask(110.0)
    desk.repairs.withdrawn(second.key)

    assert desk.repairs.open_count == 0
    assert desk.repairs.asked(node())
    assert desk.look(109.0) is None  # the first round's cooldown still counts
    assert desk.ask(120.0).key == second.key


def test_whoever_is_gone_is_forgotten() -> None:
    """Memory grows with the children that are there."""
    desk = Desk()
    desk.ask(1.0)
    desk.repairs.forget("a")
    desk.repairs.forget("a")

    assert desk.repairs.open_count == 0
    assert not desk.repairs.asked(node())


def test_the_payload_is_what_the_wire_format_says() -> None:
    """DESIGN §8: key, name, namespace, kind, uid, cluster."""
    item = Desk().ask(1.0)

    assert item.payload == {
        "key": item.key, "name": "a", "namespace": "default", "kind": "K", "uid": "a", "cluster": "c1"
    }  # fmt: skip


def test_an_item_is_all_that_the_gateway_needs_to_know() -> None:
    """The gateway looks the child up by kind, parent and uid before it sends."""
    item = Desk().ask(7.0)

    assert (item.operation, item.kind, item.uid, item.parent, item.incident) == ("fix", "K", "a", HOME, "unhealthy@t0")
    assert (item.key, item.since_s, item.retry) == (item_key("a", "unhealthy@t0", 0), 7.0, False)


def test_each_round_has_a_key_of_its_own() -> None:
    """A third attempt under the second's key would be answered without being executed."""
    desk = Desk()
    keys = []
    for number in range(4):
        keys.append(desk.ask(200.0 * number).key)
        desk.repairs.answered(keys[-1], 200.0 * number + 1.0)

    assert keys == [item_key("a", "unhealthy@t0", number) for number in range(4)]


def test_what_was_asked_already_does_not_hide_what_is_new() -> None:
    """The wanted set is stated whole each time."""
    desk = Desk()
    first = desk.ask(1.0)
    second = desk.look(2.0, node(uid="b"))
    assert second is not None
    desk.repairs.record((first, second))

    assert desk.repairs.asked(node(uid="b"))
    assert desk.repairs.open_count == 2


def test_answers_withdrawals_and_farewells_may_come_twice() -> None:
    """Messages do."""
    desk = Desk()
    first = desk.ask(1.0)
    for _ in range(2):
        desk.repairs.answered(first.key, 2.0)
        desk.repairs.withdrawn(first.key)
    assert desk.repairs.asked(node()), "what was answered cannot be withdrawn"
    for _ in range(2):
        desk.repairs.forget("a")

    assert (desk.repairs.asked(node()), desk.repairs.open_count) == (False, 0)


def test_what_nobody_will_answer_may_be_asked_again_under_its_key() -> None:
    """The gateway died: whether what had been taken back was sent, nobody knows; the key makes it safe to ask for again."""
    desk = Desk()
    kept, lost = desk.ask(1.0), desk.ask(1.0, node(uid="b"))

    assert desk.repairs.abandon({kept.key}) == 1
    assert desk.repairs.open_count == 1
    assert desk.ask(2.0, node(uid="b")).key == lost.key


def test_a_place_is_taken_until_the_answer_though_its_node_is_well() -> None:
    """``maxInFlight`` bounds repairs under way: one that is not needed any more is under way all the same."""
    desk = Desk()
    sick, well = desk.ask(1.0), desk.ask(1.0, node(uid="b"))
    eligible = {"a": node()}
    assert desk.repairs.places(eligible) == 2

    desk.repairs.answered(well.key, 2.0)
    assert desk.repairs.places(eligible) == 1

    desk.repairs.answered(sick.key, 2.0)
    assert desk.repairs.places(eligible) == 1  # asked for, and not well yet
