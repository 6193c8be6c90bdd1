"""Planted in the repair queue (``core.batch``): who leaves, in which order, and who must not."""

# ruff: noqa: ARG001 - a replacement keeps its original's signature, used or not

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from typing import Any

from ...core.batch import Change, Queue, Taken, _Entry
from ...core.model import Item, ParentKey
from .planting import Bed

__all__ = ["bed"]

_Why = Callable[[Item], str]
_Only = AbstractSet[ParentKey] | None
bed = Bed()


# --- what is wanted ---------------------------------------------------------------------------------------------------
@bed.single(
    "withdrawn-items-stay-in-the-queue", breaks="valve", at="actors.core.batch:Queue.want",
    what="a parent's new set is added to its old one: what is no longer asked for is sent",
)  # fmt: skip
def _(original: Any) -> Any:
    def want(self: Queue, parent: ParentKey, items: Iterable[Item], now: float) -> Change:
        items = list(items)
        named = {item.uid for item in items}
        lane = self._lanes.get(parent)
        old = [] if lane is None else [each.item for uid, each in lane.wanted.items() if uid not in named]
        change: Change = original(self, parent, [*items, *old], now)
        return change

    return want


@bed.single(
    "queue-forgets-who-is-in-flight", breaks="batch", at="actors.core.batch:Queue.want",
    redundant_with=("batch-does-not-look-who-is-in-flight",), needs=("A23", "B9"),
    what="an item whose uid is in flight counts as ready when it is asked for",
)  # fmt: skip
def queue_forgets_flights(original: Any) -> Any:
    def want(self: Queue, parent: ParentKey, items: Iterable[Item], now: float) -> Change:
        flying, self._flying = self._flying, {}
        try:
            change: Change = original(self, parent, items, now)
        finally:
            self._flying = flying
        return change

    return want


@bed.single(
    "batch-does-not-look-who-is-in-flight", breaks="batch", at="actors.core.batch:Queue.take",
    redundant_with=("queue-forgets-who-is-in-flight",), needs=("A23", "B9"),
    what="an item is handed out though its uid is in flight",
)  # fmt: skip
def batch_forgets_flights(original: Any) -> Any:
    def take(self: Queue, count: int, still_wanted: _Why, now: float, only: _Only = None) -> Taken:
        flying, self._flying = self._flying, {}
        try:
            taken: Taken = original(self, count, still_wanted, now, only)
        finally:
            self._flying = {**flying, **self._flying}
        return taken

    return take


bed.pair(
    "item-is-in-two-calls", queue_forgets_flights, batch_forgets_flights, breaks="batch", needs=("A23", "B9"),
    what="a node whose repair is in flight is sent again in another call",
)  # fmt: skip


@bed.single(
    "nothing-is-under-embargo", breaks="batch", at="actors.core.batch:Queue.embargo", needs=("B1", "B4"),
    what="an item whose call timed out is sent again while that call may still arrive",
)  # fmt: skip
def _(original: Any) -> Any:
    def embargo(self: Queue, uids: Iterable[str], until_s: float, now: float) -> None:
        return

    return embargo


@bed.single(
    "returned-item-is-forgotten", breaks="I5", at="actors.core.batch:Queue.give_back", needs=("B2", "B5", "B8"),
    what="an item that is to be sent again leaves the queue, and its parent still counts on it",
)  # fmt: skip
def _(original: Any) -> Any:
    def give_back(self: Queue, item: Item, now: float, *, not_before_s: float = 0.0, retry: bool = True) -> bool:
        self.finish(item, now)
        return True

    return give_back


# --- the order --------------------------------------------------------------------------------------------------------
@bed.single(
    "first-come-first-served-across-parents", breaks="I14", at="actors.core.batch:Queue.__init__", needs=("P11",),
    what="a parent's turn ends with its last item: the small ones wait behind a large one",
)  # fmt: skip
def _(original: Any) -> Any:
    def init(self: Queue, *, ageing_s: float, quantum: int = original.__kwdefaults__["quantum"]) -> None:
        original(self, ageing_s=ageing_s, quantum=1_000_000)

    return init


@bed.single(
    "retries-do-not-age", breaks="I14", at="actors.core.batch:Queue.__init__", needs=("B5", "P11"),
    what="while new failures keep coming, a retry never leaves",
)  # fmt: skip
def _(original: Any) -> Any:
    def init(self: Queue, *, ageing_s: float, quantum: int = original.__kwdefaults__["quantum"]) -> None:
        original(self, ageing_s=math.inf, quantum=quantum)

    return init


@bed.single(
    "newest-incident-leaves-first", breaks="I14", at="actors.core.batch:Queue._enlist", needs=("P11",),
    what="the order within a parent is upside down: the oldest waits longest",
)  # fmt: skip
def _(original: Any) -> Any:
    def enlist(self: Queue, entry: _Entry) -> None:
        original(self, entry)
        heap = entry.lane.heaps[entry.rank]
        heap[:] = [(-each.item.since_s, ticket, each) for _, ticket, each in heap]
        heapq.heapify(heap)

    return enlist


@bed.single(
    "retries-go-before-new-failures", breaks="I14", at="actors.core.batch:_Entry.__init__", needs=("B11", "P11"),
    what="a second attempt overtakes whoever fails for the first time",
)  # fmt: skip
def _(original: Any) -> Any:
    def init(self: _Entry, item: Item, lane: Any) -> None:
        original(self, item, lane)
        self.rank = 1 - self.rank

    return init


# --- the size ---------------------------------------------------------------------------------------------------------
@bed.single(
    "batch-holds-one-too-many", breaks="batch", at="actors.core.batch:Queue.take", needs=("P11",),
    what="the largest batch is one item larger than allowed",
)  # fmt: skip
def _(original: Any) -> Any:
    def take(self: Queue, count: int, still_wanted: _Why, now: float, only: _Only = None) -> Taken:
        taken: Taken = original(self, count + 1, still_wanted, now, only)
        return taken

    return take


@bed.single(
    "each-item-is-a-call", breaks="merge", at="actors.core.batch:Queue.take",
    what="a batch holds one item, whatever waits",
)  # fmt: skip
def _(original: Any) -> Any:
    def take(self: Queue, count: int, still_wanted: _Why, now: float, only: _Only = None) -> Taken:
        taken: Taken = original(self, 1, still_wanted, now, only)
        return taken

    return take


@bed.single(
    "each-parent-is-a-call", breaks="merge", at="actors.core.batch:Queue.take",
    what="a batch holds the items of one parent",
)  # fmt: skip
def _(original: Any) -> Any:
    def take(self: Queue, count: int, still_wanted: _Why, now: float, only: _Only = None) -> Taken:
        taken: Taken = original(self, count, still_wanted, now, only)
        for item in taken.items:
            if item.parent != taken.items[0].parent:
                self.give_back(item, now, retry=False)
        return Taken(tuple(item for item in taken.items if item.parent == taken.items[0].parent), taken.refused)

    return take


@bed.single(
    "partial-batch-does-not-wait", breaks="merge", at="actors.gateway:when_to_send",
    what="whatever is ready leaves at once: what arrives together leaves apart",
)  # fmt: skip
def _(original: Any) -> Any:
    def when_to_send(
        *, ready: int, batch_max: int, oldest_s: float, newest_s: float, quiet_s: float, spacing_s: float,
        last_partial_s: float,
    ) -> float:  # fmt: skip
        return -math.inf if ready else math.inf

    return when_to_send


@bed.single(
    "partial-batch-waits-for-ever", breaks="drain", at="actors.gateway:when_to_send",
    what="only a full batch leaves",
)  # fmt: skip
def _(original: Any) -> Any:
    def when_to_send(
        *, ready: int, batch_max: int, oldest_s: float, newest_s: float, quiet_s: float, spacing_s: float,
        last_partial_s: float,
    ) -> float:  # fmt: skip
        return -math.inf if ready >= batch_max else math.inf

    return when_to_send
