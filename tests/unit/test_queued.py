"""How many leave before an item: foretold from the queue as it stands, and held against the order in which all leave."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from actors.core.batch import Queue
from actors.core.model import Item, ParentKey
from actors.insight.queued import queued


def item(parent: int, number: int, *, retry: bool) -> Item:
    uid = f"{parent}-{number}"
    return Item("o", f"key-{uid}", "Node", uid, "i", ParentKey("ns", str(parent)), {}, float(number), retry)


@given(st.lists(st.lists(st.booleans(), max_size=17), min_size=1, max_size=6), st.integers(0, 12))
def test_what_is_foretold_is_the_order_in_which_they_leave(parents: list[list[bool]], gone: int) -> None:
    queue = Queue(ageing_s=1000.0)
    for parent, retries in enumerate(parents):
        queue.want(
            ParentKey("ns", str(parent)),
            [item(parent, number, retry=retry) for number, retry in enumerate(retries)],
            1.0,
        )
    queue.take(gone, lambda _: "", 2.0)
    foretold = {
        seen.uid: seen.ahead
        for parent in range(len(parents))
        for seen in queued(queue, ParentKey("ns", str(parent)))
        if seen.place == "ready"
    }

    left = [each.uid for each in queue.take(1000, lambda _: "", 2.0).items]
    assert left == sorted(foretold, key=foretold.__getitem__)
    assert list(range(len(left))) == sorted(foretold.values())


def test_places_and_times_are_told() -> None:
    queue, key = Queue(ageing_s=1000.0), ParentKey("ns", "0")
    items = [item(0, number, retry=False) for number in range(3)]
    queue.want(key, items, 1.0)
    taken = queue.take(2, lambda _: "", 2.0).items
    queue.give_back(taken[0], 3.0, not_before_s=9.0)
    queue.embargo(["0-0"], 8.0, 3.0)
    told = {each.uid: each for each in queued(queue, key)}

    assert ("waiting", 9.0, 1, 8.0) == (
        told["0-0"].place,
        told["0-0"].at_s,
        told["0-0"].attempts,
        told["0-0"].embargo_s,
    )
    assert "flying" == told["0-1"].place
    assert ("ready", 1.0, 0) == (told["0-2"].place, told["0-2"].at_s, told["0-2"].ahead)
    assert not queued(queue, ParentKey("ns", "nobody"))
