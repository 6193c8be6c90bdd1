"""One parent's items as they stand in the gateway's queue, and how many leave before each. Reads; any thread."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate
from typing import NamedTuple

from ..core.batch import Queue, _Lane
from ..core.model import ParentKey

__all__ = ["Queued", "queued"]

_RANKS = (0, 1)  # new failures, then retries: as in ``core.batch``


class Queued(NamedTuple):
    """One item. ``at_s``: ready since then, or waiting until then; ``ahead``: how many leave before it."""

    uid: str
    key: str
    place: str
    at_s: float
    attempts: int
    embargo_s: float | None
    ahead: int


def queued(queue: Queue, parent: ParentKey) -> list[Queued]:
    """That parent's items. O(parents + this one's items · log); RuntimeError where the queue changes meanwhile."""
    lane = queue._lanes.get(parent)
    if lane is None:
        return []
    ahead = _ahead(queue, lane)
    return [
        Queued(uid, entry.item.key, entry.place.name.lower(), entry.ready_s, entry.attempts, queue._embargo.get(uid),
               ahead.get(entry.ticket, 0))
        for uid, entry in list(lane.wanted.items())
    ]  # fmt: skip


def _ahead(queue: Queue, lane: _Lane) -> dict[int, int]:
    """By ticket, how many items leave before each ready one of that lane, if nothing else comes: as ``take`` goes round."""
    found: dict[int, int] = {}
    before = 0  # of the ranks above
    for rank in _RANKS:
        ring = list(queue._rings[rank])
        ready = [len(each.heaps[rank]) - each.stale[rank] for each in ring]
        own = sorted((since_s, ticket) for since_s, ticket, entry in list(lane.heaps[rank]) if ticket == entry.ticket)
        if own and lane in ring:
            turn = ring.index(lane)
            spent = (queue._quantum - lane.credit[rank]) % queue._quantum  # of the turn that has begun
            front = ready[0] if turn else 0  # whose turn has begun: it gives up what is left of it first
            left = ring[0].credit[rank] or queue._quantum
            first, later = _Shares(ready[1:turn]), _Shares(ready[turn + 1 :])
            for place, (_, ticket) in enumerate(own):
                turns = (place + spent) // queue._quantum * queue._quantum
                others = min(front, turns + left) + first.sum(turns + queue._quantum) + later.sum(turns)
                found[ticket] = before + place + others
        before += sum(ready)
    return found


class _Shares:
    """What several lanes give up in so many turns: the sum of ``min(ready, most)`` over them, in O(log n)."""

    def __init__(self, ready: Iterable[int]) -> None:
        self._ready = sorted(ready)
        self._sums = [0, *accumulate(self._ready)]

    def sum(self, most: int) -> int:
        whole = bisect_right(self._ready, most)
        return self._sums[whole] + most * (len(self._ready) - whole)
