"""The queue against a model: nobody lost, nobody twice, fair turns, whatever the order of events."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from actors.core.batch import Queue
from actors.core.model import Item, ParentKey

PARENTS = [ParentKey("d", name) for name in "abc"]
NODES = range(6)


def item(parent: ParentKey, node: int, incident: int, since_s: float, retry: bool) -> Item:
    uid = f"{parent.name}{node}"
    return Item(
        operation="r", key=f"{uid}-{incident}", kind="K", uid=uid, incident=str(incident), parent=parent, payload={},
        since_s=since_s, retry=retry,
    )  # fmt: skip


class QueueMachine(RuleBasedStateMachine):
    """Wants, takes, answers, failures and time in any order; the model is the last wanted set of each parent."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = Queue(ageing_s=10.0, quantum=2)
        self.now = 0.0
        self.wanted: dict[ParentKey, dict[str, Item]] = {}
        self.flying: dict[str, Item] = {}
        self.embargo: dict[str, float] = {}

    @rule(
        parent=st.sampled_from(PARENTS),
        chosen=st.lists(st.tuples(st.sampled_from(NODES), st.integers(0, 2), st.booleans()), unique_by=lambda c: c[0]),
    )
    def want(self, parent: ParentKey, chosen: list[tuple[int, int, bool]]) -> None:
        items = [item(parent, node, incident, self.now, retry) for node, incident, retry in chosen]
        self.queue.want(parent, items, self.now)
        self.wanted[parent] = {each.uid: each for each in items}

    @rule(count=st.integers(1, 6), stale=st.sets(st.sampled_from(NODES)))
    def take(self, count: int, stale: set[int]) -> None:
        taken = self.queue.take(count, lambda each: "gone" if int(each.uid[1]) in stale else "", self.now)
        assert len(taken.items) <= count
        assert len({each.uid for each in taken.items}) == len(taken.items)
        for each in taken.items:
            assert each.uid not in self.flying, "in two calls at a time"
            assert self.wanted[each.parent][each.uid].key == each.key, "nobody wants it"
            assert int(each.uid[1]) not in stale, "the check said no"
            assert self.embargo.get(each.uid, 0.0) <= self.now, "it may still be in flight"
            self.flying[each.uid] = each
        for each, _why in taken.refused:
            assert self.wanted[each.parent].pop(each.uid).key == each.key

    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        if not self.flying:
            return
        uid = data.draw(st.sampled_from(sorted(self.flying)))
        still = self._still(self.flying[uid])
        each = self.flying.pop(uid)
        assert still == self.queue.finish(each, self.now)
        if still:
            del self.wanted[each.parent][uid]

    @rule(data=st.data(), later_s=st.sampled_from([0.0, 1.0, 5.0]), retry=st.booleans(), lost=st.booleans())
    def give_back(self, data: st.DataObject, later_s: float, retry: bool, lost: bool) -> None:
        if not self.flying:
            return
        uid = data.draw(st.sampled_from(sorted(self.flying)))
        still = self._still(self.flying[uid])
        each = self.flying.pop(uid)
        if lost:
            self.embargo[uid] = self.now + 3.0
            self.queue.embargo([uid], self.now + 3.0, self.now)
        assert still == self.queue.give_back(each, self.now, not_before_s=self.now + later_s, retry=retry)

    @rule(seconds=st.sampled_from([0.5, 3.0, 11.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    def _still(self, each: Item) -> bool:
        """An item that left and was wanted anew under its old key is the same item, so keys alone decide."""
        wanted = self.wanted.get(each.parent, {}).get(each.uid)
        return wanted is not None and wanted.key == each.key

    @invariant()
    def what_is_wanted_is_here_and_nothing_else(self) -> None:
        model = {(each.parent, each.key) for items in self.wanted.values() for each in items.values()}
        queue = self.queue
        here = {(lane.parent, entry.item.key) for lane in queue._lanes.values() for entry in lane.wanted.values()}
        assert model == here
        places = queue.statistics(self.now)
        in_queue = sum(int(str(places[name])) for name in ("ready", "waiting", "blocked"))
        in_flight_and_wanted = sum(1 for each in self.flying.values() if queue.wanted(each))
        assert len(model) == in_queue + in_flight_and_wanted

    def teardown(self) -> None:
        """However it went: when all calls have ended and time has passed, everything wanted can leave."""
        for each in list(self.flying.values()):
            self.queue.give_back(each, self.now)
        self.now += 100.0
        left = {each.key for items in self.wanted.values() for each in items.values()}
        taken = self.queue.take(1000, lambda each: "", self.now)
        assert sorted(left) == sorted(each.key for each in taken.items)


TestQueue = QueueMachine.TestCase
TestQueue.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 60), min_size=2, max_size=8),
    quantum=st.integers(1, 7),
    batch=st.integers(1, 40),
)
def test_parents_with_items_left_are_served_alike(sizes: list[int], quantum: int, batch: int) -> None:
    """Deficit round robin: while two parents both have items ready, they are never more than a quantum apart."""
    queue = Queue(ageing_s=1e9, quantum=quantum)
    parents = [ParentKey("d", str(number)) for number in range(len(sizes))]
    for parent, size in zip(parents, sizes, strict=True):
        queue.want(parent, [item(parent, n, 0, float(n), False) for n in range(size)], 0.0)
    served = dict.fromkeys(parents, 0)
    order: list[str] = []
    while taken := queue.take(batch, lambda each: "", 0.0).items:
        for each in taken:
            served[each.parent] += 1
            order.append(each.uid)
            busy = [p for p, size in zip(parents, sizes, strict=True) if served[p] < size]
            if busy:
                assert max(served[p] for p in busy) - min(served[p] for p in busy) <= quantum

    assert sum(sizes) == len(order) == len(set(order))
    assert sizes == list(served.values())
