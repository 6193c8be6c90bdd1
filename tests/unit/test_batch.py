"""The repair queue by hand, and the batch window as a table."""

from __future__ import annotations

import hashlib
import math
import random
import sys
from collections.abc import Callable

import pytest

from actors.core.batch import QUANTUM, Change, Queue, Suspects, when_to_send
from actors.core.keys import KEY_LENGTH, Answers, call_id, item_key
from actors.core.model import Item, ParentKey


def parent(name: str) -> ParentKey:
    return ParentKey("default", name)


def item(owner: str, uid: str, *, key: str = "", since_s: float = 0.0, retry: bool = False) -> Item:
    return Item(
        operation="repair", key=key or f"k-{uid}", kind="ComputeNode", uid=uid, incident="i", parent=parent(owner),
        payload={}, since_s=since_s, retry=retry,
    )  # fmt: skip


def yes(_item: Item) -> str:
    return ""


def queue(*, ageing_s: float = 20.0, quantum: int = QUANTUM) -> Queue:
    return Queue(ageing_s=ageing_s, quantum=quantum)


def uids(taken: tuple[Item, ...]) -> list[str]:
    return [each.uid for each in taken]


def test_parents_take_turns_of_a_quantum() -> None:
    """One parent with thousands of items must not hold up those with a few."""
    q = queue()
    q.want(parent("big"), [item("big", f"b{n:03}") for n in range(100)], 0.0)
    q.want(parent("small"), [item("small", f"s{n}") for n in range(3)], 0.0)

    assert ["b000", "b001", "b002", "b003", "b004", "s0", "s1", "s2", "b005", "b006"] == uids(q.take(10, yes, 0).items)


def test_a_turn_that_a_batch_cuts_short_goes_on_in_the_next() -> None:
    """Otherwise small batches would favour whoever comes first in the ring."""
    q = queue()
    for name in "ab":
        q.want(parent(name), [item(name, f"{name}{n}") for n in range(10)], 0.0)

    assert [["a0", "a1", "a2"], ["a3", "a4", "b0"], ["b1", "b2", "b3"], ["b4", "a5", "a6"]] == [
        uids(q.take(3, yes, 0).items) for _ in range(4)
    ]


def test_within_a_parent_the_oldest_incident_is_first() -> None:
    """It has waited longest, whenever it was asked for."""
    q = queue()
    q.want(parent("p"), [item("p", uid, since_s=since) for uid, since in (("c", 3), ("a", 1), ("b", 2))], 5.0)

    assert ["a", "b", "c"] == uids(q.take(5, yes, 5.0).items)


def test_new_failures_go_before_retries_until_these_have_aged() -> None:
    """A retry has had its chance; but a steady stream of failures must not keep it waiting for ever."""
    for now, expected in ((19.9, ["new"]), (20.0, ["again"])):
        q = queue(ageing_s=20.0)
        q.want(parent("p"), [item("p", "again", since_s=0.0, retry=True)], 0.0)
        q.want(parent("p"), [item("p", "again", since_s=0.0, retry=True), item("p", "new", since_s=19.0)], 19.0)
        assert expected == uids(q.take(1, yes, now).items)


def test_a_wanted_set_replaces_the_last_one() -> None:
    """The difference is what changes: added, withdrawn, and under another key both."""
    q = queue()
    first = [item("p", uid) for uid in "abc"]
    assert Change(3, ()) == q.want(parent("p"), first, 0.0)
    assert Change(0, ()) == q.want(parent("p"), [item("p", uid) for uid in "abc"], 1.0)
    change = q.want(parent("p"), [item("p", "a"), item("p", "b", key="k2"), item("p", "d")], 2.0)
    assert (2, {"k-b", "k-c"}) == (change.added, {each.key for each in change.withdrawn})

    assert {"k-a", "k2", "k-d"} == {each.key for each in q.take(9, yes, 2.0).items}


def test_an_item_in_flight_is_neither_handed_out_again_nor_withdrawn() -> None:
    """A node is in at most one call in flight."""
    q = queue()
    q.want(parent("p"), [item("p", "a")], 0.0)
    (taken,) = q.take(1, yes, 0.0).items
    assert Change(0, ()) == q.want(parent("p"), [item("p", "a")], 1.0)
    assert Change(0, ()) == q.want(parent("p"), [], 1.0)
    assert not q.wanted(taken)
    assert Change(0, ()) == q.want(parent("p"), [item("p", "a")], 1.0), "wanted again: still the same item"
    assert q.wanted(taken)
    assert 0 == q.ready(2.0)

    assert q.finish(taken, 3.0)
    assert not q.has(parent("p"))
    assert [] == q.parents()


def test_a_new_incident_of_a_node_in_flight_waits_for_the_call_to_end() -> None:
    """Two calls for one node at a time could undo each other."""
    q = queue()
    q.want(parent("p"), [item("p", "a", key="k1")], 0.0)
    (taken,) = q.take(1, yes, 0.0).items
    q.want(parent("p"), [item("p", "a", key="k2")], 1.0)
    assert 0 == q.ready(1.0)

    assert not q.finish(taken, 2.0)
    assert ["k2"] == [each.key for each in q.take(1, yes, 2.0).items]


def test_a_node_wanted_by_two_parents_leaves_once() -> None:
    """While a child changes its parent both may ask; whose it is, the check at dispatch decides."""
    q = queue()
    q.want(parent("old"), [item("old", "a")], 0.0)
    q.want(parent("new"), [item("new", "a")], 0.0)

    taken = q.take(9, lambda each: "gone" if each.parent == parent("old") else "", 0.0)
    assert [parent("new")] == [each.parent for each in taken.items]
    assert [parent("old")] == [each.parent for each, _ in taken.refused]

    q = queue()
    q.want(parent("old"), [item("old", "a")], 0.0)
    q.want(parent("new"), [item("new", "a")], 0.0)
    (first,) = q.take(9, yes, 0.0).items
    q.finish(first, 1.0)
    (second,) = q.take(9, yes, 1.0).items
    assert {parent("old"), parent("new")} == {first.parent, second.parent}


def test_an_item_given_back_waits_for_its_time() -> None:
    """The backend may say when; an unwanted one is dropped instead."""
    q = queue()
    q.want(parent("p"), [item("p", "a"), item("p", "b")], 0.0)
    a, b = q.take(2, yes, 0.0).items
    assert q.give_back(a, 1.0, not_before_s=5.0)
    q.want(parent("p"), [item("p", "a")], 2.0)
    assert not q.give_back(b, 2.0)

    assert (0, 5.0) == (q.ready(4.9), q.next_ready_at())
    assert 1 == q.ready(5.0)
    (again,) = q.take(1, yes, 5.0).items
    assert 1 == q.attempts(again)


def test_an_embargo_holds_whoever_asks_and_under_any_key() -> None:
    """After a crash the queue is empty and the calls are still under way."""
    q = queue()
    q.embargo(["a"], 10.0, 0.0)
    q.want(parent("p"), [item("p", "a"), item("p", "b")], 0.0)
    assert ["b"] == uids(q.take(9, yes, 0.0).items)
    q.want(parent("p"), [], 1.0)
    q.want(parent("q"), [item("q", "a", key="other")], 1.0)
    assert 10.0 == q.next_ready_at()

    assert ["a"] == uids(q.take(9, yes, 10.0).items)


def test_what_the_check_refuses_is_out_of_the_queue() -> None:
    """It is answered once, with why."""
    q = queue()
    q.want(parent("p"), [item("p", uid) for uid in "abc"], 0.0)
    taken = q.take(9, lambda each: "" if each.uid == "b" else "recovered", 0.0)

    assert (["b"], [("a", "recovered"), ("c", "recovered")]) == (
        uids(taken.items), [(each.uid, why) for each, why in taken.refused]
    )  # fmt: skip
    assert 0 == q.ready(0.0)


def test_a_parent_that_wants_nothing_is_forgotten() -> None:
    """Memory grows with what is wanted, not with who ever asked."""
    q = queue()
    for number in range(1000):
        q.want(parent(str(number)), [item(str(number), f"u{number}")], 0.0)
        q.want(parent(str(number)), [], 0.0)
    q.take(1, yes, 0.0)

    assert 0 == len(q._lanes) == len(q._ready) == len(q._rings[0])


def test_items_that_come_and_go_while_nothing_leaves_take_no_memory() -> None:
    """A backend may be away for a day while nodes flap."""
    q = queue()
    keep = item("p", "keep", since_s=-1.0)
    for number in range(5000):
        q.want(parent("p"), [keep, item("p", "flap", key=f"k{number}")], float(number))
        if number % 2:
            q.embargo(["flap"], number + 1.5, float(number))

    lane = q._lanes[parent("p")]
    assert len(lane.heaps[0]) < 200
    assert len(q._waiting) < 200
    assert 2 == len(q._ready) + len(q._waiting) - q._waiting_stale


def work_per_item(owners: int, each: int) -> float:
    """Function calls per item of so many, asked for twice, taken and finished: what it costs on any machine."""
    q = queue()
    parents = [
        (parent(f"p{p}"), [item(f"p{p}", f"u{p}-{n}", since_s=float(n)) for n in range(each)]) for p in range(owners)
    ]
    calls = seen = 0

    def count(_frame: object, _event: str, _what: object) -> None:
        nonlocal calls
        calls += 1

    sys.setprofile(count)
    try:
        for now_s in (0.0, 1.0):
            for owner, items in parents:
                q.want(owner, items, now_s)
        while batch := q.take(100, yes, 2.0).items:
            seen += len(batch)
            for one in batch:
                q.finish(one, 2.0)
    finally:
        sys.setprofile(None)
    assert owners * each == seen
    return calls / seen


def test_fifty_thousand_items_are_no_burden() -> None:
    """A mass failure over a hundred parents: an item among fifty thousand is little more work than one among five hundred."""
    assert work_per_item(100, 500) < 1.3 * work_per_item(10, 50)


@pytest.mark.parametrize(
    ("ready", "oldest_s", "newest_s", "last_partial_s", "expected_s"),
    [
        (0, math.inf, -math.inf, -math.inf, math.inf),  # nothing to send
        (10, 5.0, 5.0, 4.9, -math.inf),  # full: at once
        (3, 5.0, 5.0, -math.inf, 5.05),  # partial: after the quiet time
        (3, 5.0, 5.04, -math.inf, 5.09),  # which begins again with each item
        (3, 5.0, 5.14, -math.inf, 5.15),  # but not for ever
        (3, 5.0, 5.0, 4.99, 5.14),  # the last partial batch was a moment ago
    ],
)
def test_the_batch_window(
    ready: int, oldest_s: float, newest_s: float, last_partial_s: float, expected_s: float
) -> None:
    """Mean wait 12.5 s → 3.7 s with half the calls, against sending at once."""
    at_s = when_to_send(
        ready=ready, batch_max=10, oldest_s=oldest_s, newest_s=newest_s, quiet_s=0.05, spacing_s=0.15,
        last_partial_s=last_partial_s,
    )  # fmt: skip

    assert at_s == pytest.approx(expected_s)


def test_a_quiet_time_longer_than_the_spacing_holds() -> None:
    """With a generous quota W/R is next to nothing, and what arrives together should still leave together."""
    at_s = when_to_send(
        ready=1, batch_max=10, oldest_s=1.0, newest_s=1.0, quiet_s=0.05, spacing_s=0.001, last_partial_s=-math.inf
    )

    assert at_s == pytest.approx(1.05)


def test_item_keys_depend_on_all_three_parts_and_nothing_else() -> None:
    """They must be the same in every process, and differ for every attempt."""
    keys = {item_key(u, i, r) for u in ("a", "ab") for i in ("bc", "c") for r in (0, 1, 10)}

    assert 12 == len(keys)
    assert {KEY_LENGTH} == {len(key) for key in keys}
    assert hashlib.sha256(b"a\0b\x000").hexdigest()[:32] == item_key("a", "b", 0)


def test_call_ids_come_from_the_injected_randomness() -> None:
    """Same seed, same trace; and no two alike in a run."""
    make: Callable[[int], list[str]] = lambda seed: [call_id(r) for r in [random.Random(seed)] for _ in range(1000)]
    assert make(1) == make(1) != make(2)
    assert 1000 == len(set(make(3)))


def test_answers_are_kept_while_they_are_wanted_under_the_same_key() -> None:
    """What is no longer wanted is forgotten, so memory is bounded by the wanted set."""
    answers: Answers[str] = Answers()
    a, b = item("p", "a"), item("p", "b")
    answers.remember(a, "done", 3.0)
    assert ((b,), {3.0: {"k-a": "done"}}) == answers.sort([a, b])
    other = item("p", "a", key="k2")
    assert ((other,), {}) == answers.sort([other])
    assert not answers


def test_parts_of_a_refused_batch_take_turns_with_the_rest() -> None:
    """And leave the probe to the rest, which tells more of a backend; alone, they are what there is."""
    suspects = Suspects()
    assert suspects.take(others=False, probing=False) == ()
    suspects.halve(tuple(item("p", f"n{n}") for n in range(5)))
    assert len(suspects) == 2

    assert uids(suspects.take(others=True, probing=False)) == ["n0", "n1"]
    assert suspects.take(others=True, probing=False) == ()
    assert suspects.take(others=True, probing=True) == ()
    assert uids(suspects.take(others=False, probing=True)) == ["n2", "n3", "n4"]
    assert not suspects


# --- of some parents only ---------------------------------------------------------------------------------------------
def test_only_those_parents_items_leave_and_the_others_keep_their_turn() -> None:
    q = queue(quantum=2)
    for name in "abc":
        q.want(parent(name), [item(name, f"{name}{n}") for n in range(4)], 0.0)

    assert uids(q.take(3, yes, 0.0, {parent("b"), parent("x")}).items) == ["b0", "b1", "b2"]
    assert uids(q.take(9, yes, 0.0, set()).items) == []
    assert uids(q.take(9, yes, 0.0).items) == ["a0", "a1", "c0", "c1", "b3", "a2", "a3", "c2", "c3"]


def test_what_is_ready_of_some_parents_is_counted_apart() -> None:
    q = queue()
    q.want(parent("a"), [item("a", "a0")], 1.0)
    q.want(parent("b"), [item("b", "b0")], 2.0)
    q.want(parent("b"), [item("b", "b0"), item("b", "b1"), item("b", "b2")], 3.0)
    q.embargo(["b2"], 50.0, 3.0)
    q.want(parent("b"), [item("b", "b0"), item("b", "b1")], 4.0)
    q.want(parent("b"), [item("b", "b0"), item("b", "b1"), item("b", "b2")], 5.0)

    assert q.ready(5.0) == 3
    assert q.ready_of({parent("b"), parent("x")}) == (2, 2.0, 3.0)
    assert q.ready_of(None) == (3, 1.0, 3.0)
    assert q.ready_of(set()) == (0, math.inf, -math.inf)


def test_a_part_leaves_only_if_all_in_it_are_those_parents() -> None:
    suspects = Suspects()
    suspects.halve((item("p", "p0"), item("q", "q0"), item("q", "q1"), item("q", "q2")))

    assert (suspects.next(), suspects.next({parent("q")}), suspects.next({parent("p")})) == (0, 1, None)
    assert suspects.take(others=False, probing=False, only={parent("p")}) == ()
    assert uids(suspects.take(others=False, probing=False, only={parent("q")})) == ["q1", "q2"]
    assert uids(suspects.take(others=False, probing=False)) == ["p0", "q0"]
