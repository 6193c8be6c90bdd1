"""The repair queue where it rebuilds itself, where embargoes end, and what it says of itself."""

from __future__ import annotations

import math

import pytest

from actors.core.batch import QUANTUM, Queue
from actors.core.keys import call_id
from actors.core.model import Item, ParentKey

P, Q = ParentKey("default", "p"), ParentKey("default", "q")


def item(uid: str, *, owner: ParentKey = P, key: str = "", since_s: float = 0.0, retry: bool = False) -> Item:
    return Item(
        operation="repair", key=key or f"k-{uid}", kind="ComputeNode", uid=uid, incident="i", parent=owner,
        payload={}, since_s=since_s, retry=retry,
    )  # fmt: skip


def yes(_item: Item) -> str:
    return ""


def queue() -> Queue:
    return Queue(ageing_s=20.0)


def taken(q: Queue, count: int, now: float) -> list[str]:
    return [each.uid for each in q.take(count, yes, now).items]


# --- rebuilt heaps ----------------------------------------------------------------------------------------------------


def test_a_heap_that_is_rebuilt_keeps_who_is_still_wanted_and_their_order() -> None:
    """Two thirds of a mass failure got well by itself."""
    q = queue()
    keep = [item(f"keep{n:03}", since_s=float(n)) for n in range(100)]
    flap = [item(f"flap{n:03}", since_s=n + 0.5) for n in range(200)]
    q.want(P, [*flap, *keep], 0.0)
    q.want(P, keep, 1.0)

    assert len(q._lanes[P].heaps[0]) < 200, "it was rebuilt"
    assert taken(q, 300, 1.0) == [each.uid for each in keep]


def test_a_rebuilt_heap_of_those_who_wait_keeps_them() -> None:
    q = queue()
    keep = [item(f"keep{n:03}", since_s=float(n)) for n in range(100)]
    flap = [item(f"flap{n:03}") for n in range(200)]
    q.embargo([each.uid for each in [*keep, *flap]], 10.0, 0.0)
    q.want(P, [*flap, *keep], 0.0)
    q.want(P, keep, 1.0)

    assert len(q._waiting) < 200, "it was rebuilt"
    assert (q.ready(9.9), q.next_ready_at()) == (0, 10.0)
    assert taken(q, 300, 10.0) == [each.uid for each in keep]


def test_the_very_first_who_waited_and_was_withdrawn_does_not_come_back() -> None:
    """Its place in the heap is stale, whatever number it had."""
    q = queue()
    q.embargo(["a"], 10.0, 0.0)
    q.want(P, [item("a")], 0.0)
    q.want(P, [], 1.0)

    assert (q.next_ready_at(), q.ready(10.0), taken(q, 9, 10.0)) == (math.inf, 0, [])


# --- turns ------------------------------------------------------------------------------------------------------------


def test_a_parent_that_comes_back_has_a_whole_turn() -> None:
    """What was left of its last turn went with the queue that was empty."""
    q = queue()
    q.want(P, [item("first")], 0.0)
    assert taken(q, 5, 0.0) == ["first"]
    q.want(P, [item("first"), *(item(f"p{n}", since_s=float(n)) for n in range(9))], 1.0)
    q.want(Q, [item("q", owner=Q)], 1.0)

    assert taken(q, QUANTUM + 1, 1.0) == [*(f"p{n}" for n in range(QUANTUM)), "q"]


def test_what_is_given_back_may_leave_at_once_and_is_counted() -> None:
    """Unless the backend said when. Each time is one attempt more."""
    q = queue()
    q.want(P, [item("a")], 0.0)
    attempts = []
    for _ in range(3):
        (flying,) = q.take(1, yes, 0.5).items
        attempts.append(q.attempts(flying))
        q.give_back(flying, 0.5)
        assert (q.ready(0.5), q.attempts(flying)) == (1, 0), "not in flight: no attempts are known"

    assert attempts == [0, 1, 2]


def test_what_was_not_attempted_keeps_its_rank() -> None:
    """The whole call was refused: its new failures still go before retries."""
    q = queue()
    q.want(P, [item("new"), item("old", retry=True)], 0.0)
    (flying,) = q.take(1, yes, 0.0).items
    q.give_back(flying, 1.0, retry=False)

    assert taken(q, 2, 1.0) == ["new", "old"]


# --- what is wanted ---------------------------------------------------------------------------------------------------


def test_an_item_named_twice_in_one_set_counts_once_and_hides_nobody() -> None:
    q = queue()
    change = q.want(P, [item("a"), item("a", key="other"), item("b")], 0.0)

    assert (change.added, [each.key for each in q.take(9, yes, 0.0).items]) == (2, ["k-a", "k-b"])


@pytest.mark.parametrize("count", [3, 9])
def test_a_parent_all_of_whose_items_came_back_is_forgotten(count: int) -> None:
    """However many were in flight at a time, and whether or not its turn had ended when they left."""
    q = queue()
    q.want(P, [item(f"u{n}") for n in range(3)], 0.0)
    for flying in q.take(count, yes, 0.0).items:
        q.finish(flying, 1.0)
    q.take(1, yes, 2.0)

    assert (q.has(P), q.parents(), len(q._lanes)) == (False, [], 0)


def test_a_parent_that_wanted_nothing_for_a_moment_is_in_the_ring_once() -> None:
    """Twice, the old place would strike the new one off, and what is withdrawn after that would leave all the same."""
    q = queue()
    q.want(P, [item("a")], 0.0)
    q.want(P, [], 1.0)
    q.want(P, [item("b"), item("c")], 2.0)
    assert taken(q, 1, 2.0) == ["b"]

    assert [each.uid for each in q.want(P, [], 3.0).withdrawn] == ["c"]
    assert taken(q, 9, 3.0) == []


# --- embargoes --------------------------------------------------------------------------------------------------------


def test_an_embargo_holds_who_was_ready_before_it() -> None:
    """A call has gone missing in the moment in which its item was asked for by another."""
    q = queue()
    q.want(P, [item("a"), item("b")], 0.0)
    q.embargo(["a"], 10.0, 0.0)

    assert taken(q, 9, 0.0) == ["b"]
    assert (q.next_ready_at(), taken(q, 9, 9.9), taken(q, 9, 10.0)) == (10.0, [], ["a"])


def test_the_later_of_two_embargoes_holds() -> None:
    q = queue()
    q.embargo(["a"], 10.0, 0.0)
    q.embargo(["a", "b"], 5.0, 1.0)
    q.want(P, [item("a"), item("b")], 2.0)

    assert (taken(q, 9, 5.0), taken(q, 9, 10.0)) == (["b"], ["a"])


def test_embargoes_that_have_all_ended_are_forgotten_with_the_next_item() -> None:
    q = queue()
    q.embargo(["a"], 10.0, 0.0)
    q.want(P, [item("b")], 9.9)
    assert len(q._embargo) == 1
    q.want(P, [item("b"), item("c")], 10.0)

    assert len(q._embargo) == 0


def test_embargoes_that_have_ended_take_no_room_and_the_others_hold() -> None:
    """A backend that times out for a day: each call leaves some behind."""
    q = queue()
    q.embargo([f"long{n}" for n in range(1500)], 1000.0, 0.0)
    largest = 0
    for round_number in range(40):
        now = 20.0 * round_number
        q.embargo([f"short{round_number}-{n}" for n in range(500)], now + 10.0, now)
        largest = max(largest, len(q._embargo))
    q.want(P, [item("long7"), item("short39-3"), item("free")], 785.0)

    assert largest <= 2 * (1500 + 500) + 500
    assert (taken(q, 9, 785.0), taken(q, 9, 790.0), taken(q, 9, 1000.0)) == (["free"], ["short39-3"], ["long7"])


# --- what it says of itself -------------------------------------------------------------------------------------------


def test_an_empty_queue_says_so() -> None:
    q = queue()
    assert (q.oldest_ready_s, q.newest_ready_s, q.next_ready_at()) == (math.inf, -math.inf, math.inf)
    assert queue().statistics(5.0) == {
        "ready": 0, "ready_retries": 0, "waiting": 0, "blocked": 0, "in_flight": 0, "parents": 0, "parents_top": {},
        "oldest_wait_s": 0.0,
    }  # fmt: skip


def test_statistics_count_each_place_and_name_who_wants_most() -> None:
    """What the console and the metrics show."""
    q = queue()
    q.embargo(["waits"], 100.0, 0.0)
    for number, count in enumerate((3, 1, 7, 2, 5, 4)):
        owner = ParentKey("ns", f"p{number}")
        q.want(owner, [item(f"{number}-{n}", owner=owner) for n in range(count)], 10.0)
    q.want(P, [item("waits"), item("again", retry=True)], 12.0)
    (flying,) = q.take(1, yes, 12.0).items
    q.want(flying.parent, [item(flying.uid, owner=flying.parent, key="other"), *(item(f"0-{n}") for n in (1, 2))], 13.0)

    assert q.statistics(15.0) == {
        "ready": 22, "ready_retries": 1, "waiting": 1, "blocked": 1, "in_flight": 1, "parents": 7,
        "parents_top": {"ns/p2": 7, "ns/p4": 5, "ns/p5": 4, "ns/p0": 3, "ns/p3": 2}, "oldest_wait_s": 5.0,
    }  # fmt: skip
    assert q.statistics(15.0, top=1)["parents_top"] == {"ns/p2": 7}


def test_a_wait_is_never_negative() -> None:
    """The console's thread may look with a clock read before the item came."""
    q = queue()
    q.want(P, [item("a")], 10.0)

    assert q.statistics(9.0)["oldest_wait_s"] == 0.0


# --- the calls' names -------------------------------------------------------------------------------------------------


class Always:
    """A Random that always draws the same number."""

    def __init__(self, share: float) -> None:
        self.share = share

    def random(self) -> float:
        return self.share

    def uniform(self, a: float, b: float) -> float:
        return a + (b - a) * self.share


def test_a_calls_name_has_26_hex_digits_whatever_is_drawn() -> None:
    """From all zeros to all ones: 104 bits, half of them from each draw."""
    highest = math.nextafter(1.0, 0.0)

    assert [call_id(Always(share)) for share in (0.0, 0.5, highest)] == [
        "0" * 26, "8000000000000" * 2, "fffffffffffff" * 2
    ]  # fmt: skip
