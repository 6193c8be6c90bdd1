"""The repair queue of one backend: every parent's items in one place, and the order in which they leave.

Each parent states its *whole* wanted set; the queue keeps the difference, so a repair asked twice is one item and one
that is no longer asked for is gone. Items leave by deficit round robin: each parent with something ready gives up to a
quantum of items per turn (one tenant with 4,000 items beside 40 small ones: first come, first served gave the small
ones a median wait of 417 s, this 30 s, and the big one ended at the physical limit either way). Within a parent the
oldest incident is first. New failures go before retries; a retry that has been ready for ``ageing_s`` counts as new,
so nothing starves.

An item is in one *place* at a time: READY (in its parent's heap), WAITING (not before some instant), BLOCKED (its uid
is in flight under an earlier item) or FLYING (handed out by ``take``). Leaving a heap early only marks what is left
there as stale; a heap is rebuilt when stale entries outnumber the live ones. So every operation costs O(log n)
amortised per item (about 3 µs at 100,000), and memory grows with the items that are wanted, not with how often they
come and go.
"""

from __future__ import annotations

import enum
import heapq
import itertools
import math
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from .model import Item, ParentKey

QUANTUM = 5  # items per parent and turn: the figure with which the medians above were measured (RELIABILITY §4.3)
_STALE_MIN = 64  # below it a rebuild costs more than the memory it frees; arbitrary
_EMBARGO_MIN = 1024  # as above

_NEW, _RETRY = 0, 1
_Heap = list[tuple[float, int, "_Entry"]]


class _Place(enum.Enum):
    NOWHERE = 0
    READY = 1
    WAITING = 2
    BLOCKED = 3
    FLYING = 4


class _Entry:
    """One wanted item. ``ticket`` numbers its present place in a heap; a heap entry with another number is stale."""

    __slots__ = ("attempts", "item", "lane", "place", "rank", "ready_s", "ticket")

    def __init__(self, item: Item, lane: _Lane) -> None:
        self.item = item
        self.lane = lane
        self.place = _Place.NOWHERE
        self.rank = _RETRY if item.retry else _NEW
        self.attempts = 0
        self.ready_s = 0.0
        self.ticket = 0


class _Lane:
    """One parent: what it wants by uid, what of it is ready by rank, and its credit in each round."""

    __slots__ = ("credit", "flying", "heaps", "parent", "ringed", "stale", "wanted")

    def __init__(self, parent: ParentKey) -> None:
        self.parent = parent
        self.wanted: dict[str, _Entry] = {}
        self.heaps: tuple[_Heap, _Heap] = ([], [])
        self.stale = [0, 0]
        self.credit = [0, 0]
        self.ringed = [False, False]
        self.flying = 0


class Change(NamedTuple):
    """What a parent's new wanted set changed: how many came, and what left the queue (not what is in flight)."""

    added: int
    withdrawn: tuple[Item, ...]


class Taken(NamedTuple):
    """A batch: ``items`` are in flight from now on; ``refused`` are out of the queue, each with why."""

    items: tuple[Item, ...]
    refused: tuple[tuple[Item, str], ...]


class Queue:
    """See the module. Not for several threads; ``now`` never goes back."""

    def __init__(self, *, ageing_s: float, quantum: int = QUANTUM) -> None:
        assert quantum >= 1
        self._ageing_s = ageing_s
        self._quantum = quantum
        self._lanes: dict[ParentKey, _Lane] = {}
        self._rings: tuple[deque[_Lane], deque[_Lane]] = (deque(), deque())
        self._ready: OrderedDict[_Entry, None] = OrderedDict()  # in the order of becoming ready
        self._retries: OrderedDict[_Entry, None] = OrderedDict()  # those of them that have not aged yet
        self._waiting: _Heap = []
        self._waiting_stale = 0
        self._flying: dict[str, _Entry] = {}
        self._blocked: dict[str, list[_Entry]] = {}
        self._embargo: dict[str, float] = {}
        self._embargo_over_s = -math.inf  # when the last of them ends
        self._embargo_max = _EMBARGO_MIN  # beyond this many the ended ones are swept out
        self._newest_s = -math.inf
        self._tickets = 0

    # --- what is wanted -----------------------------------------------------------------------------------------------
    def want(self, parent: ParentKey, items: Iterable[Item], now: float) -> Change:
        """This is all that ``parent`` wants now. Items in flight that are missing here are not retried, that is all."""
        lane = self._lanes.get(parent)
        if lane is None:
            lane = self._lanes[parent] = _Lane(parent)
        old, added = lane.wanted, 0
        withdrawn: list[Item] = []
        wanted: dict[str, _Entry] = {}
        for item in items:
            uid = item.uid
            entry = old.pop(uid, None)
            if entry is not None and entry.item.key == item.key:
                entry.item = item
            elif uid in wanted:  # named twice in one set: the first counts
                continue
            else:
                if entry is not None and entry.place is not _Place.FLYING:
                    self._unplace(entry)
                    withdrawn.append(entry.item)
                entry = self._flying.get(uid)  # withdrawn while in flight, and wanted again: still the same item
                if entry is None or entry.lane is not lane or entry.item.key != item.key:
                    entry = _Entry(item, lane)
                    self._place(entry, now)
                    added += 1
            wanted[uid] = entry
        for entry in old.values():
            if entry.place is not _Place.FLYING:
                self._unplace(entry)
                withdrawn.append(entry.item)
        lane.wanted = wanted
        self._prune(lane)
        return Change(added, tuple(withdrawn))

    def wanted(self, item: Item) -> bool:
        """Whether an item in flight is still in its parent's wanted set."""
        entry = self._flying.get(item.uid)
        return entry is not None and entry.lane.wanted.get(item.uid) is entry

    def attempts(self, item: Item) -> int:
        """How often an item in flight has been given back as a retry."""
        entry = self._flying.get(item.uid)
        return entry.attempts if entry is not None else 0

    def embargo(self, uids: Iterable[str], until_s: float, now: float) -> None:
        """These may still be in flight: hand none of them out before then, whoever asks and under whatever key."""
        if len(self._embargo) > self._embargo_max:
            self._embargo = {uid: at_s for uid, at_s in self._embargo.items() if at_s > now}
            self._embargo_max = max(_EMBARGO_MIN, 2 * len(self._embargo))
        for uid in uids:
            self._embargo[uid] = max(until_s, self._embargo.get(uid, until_s))
        self._embargo_over_s = max(self._embargo_over_s, until_s)

    # --- what leaves --------------------------------------------------------------------------------------------------
    def take(
        self, count: int, still_wanted: Callable[[Item], str], now: float, only: AbstractSet[ParentKey] | None = None
    ) -> Taken:
        """Up to ``count`` items, which are in flight until ``finish`` or ``give_back``. ``only``: whose; None: anybody's.

        ``still_wanted`` is asked for each as it leaves: "" lets it go, anything else (why not) takes it out of the
        queue.
        """
        self._advance(now)
        items: list[Item] = []
        refused: list[tuple[Item, str]] = []
        for rank in (_NEW, _RETRY):
            ring = self._rings[rank]
            aside: list[_Lane] = []
            while ring and len(items) < count:
                lane = ring[0]
                if only is not None and lane.parent not in only:
                    aside.append(ring.popleft())
                    continue
                entry = self._pop(lane, rank)
                if entry is None:
                    ring.popleft()
                    lane.ringed[rank] = False
                    lane.credit[rank] = 0
                    self._prune(lane)
                    continue
                uid = entry.item.uid
                if uid in self._flying or self._embargo.get(uid, 0.0) > now:
                    self._place(entry, now)  # another parent's item of the same uid has left since this one was ready
                    continue
                why = still_wanted(entry.item)
                if why:
                    lane.wanted.pop(uid, None)
                    refused.append((entry.item, why))
                    continue
                entry.place = _Place.FLYING
                self._flying[uid] = entry
                lane.flying += 1
                items.append(entry.item)
                lane.credit[rank] = (lane.credit[rank] or self._quantum) - 1
                if lane.credit[rank] == 0:
                    ring.rotate(-1)
            ring.extendleft(reversed(aside))  # they keep their turn
        return Taken(tuple(items), tuple(refused))

    def finish(self, item: Item, now: float) -> bool:
        """An item in flight is over and done with. False when its parent had withdrawn it meanwhile."""
        entry, still = self._land(item)
        if still:
            del entry.lane.wanted[item.uid]
        self._unblock(item.uid, now)
        self._prune(entry.lane)
        return still

    def give_back(self, item: Item, now: float, *, not_before_s: float = 0.0, retry: bool = True) -> bool:
        """An item in flight is to be sent again, if its parent still wants it (else False).

        ``retry`` False: it was not attempted (the whole call was refused), so it keeps its rank.
        """
        entry, still = self._land(item)
        if still:
            if retry:
                entry.attempts += 1
                entry.rank = _RETRY
            self._place(entry, now, not_before_s)
        self._unblock(item.uid, now)
        self._prune(entry.lane)
        return still

    # --- what there is ------------------------------------------------------------------------------------------------
    def ready(self, now: float) -> int:
        """How many items may leave now."""
        self._advance(now)
        return len(self._ready)

    def ready_of(self, parents: AbstractSet[ParentKey] | None) -> tuple[int, float, float]:
        """As ``ready`` found it last, of those parents (None: of all): how many, and when the oldest and the newest became so
        (infinities: there is none). With parents it takes as long as they want items.
        """
        if parents is None:
            return len(self._ready), self.oldest_ready_s, self.newest_ready_s
        lanes = [lane for parent in parents if (lane := self._lanes.get(parent)) is not None]
        at_s = [entry.ready_s for lane in lanes for entry in lane.wanted.values() if entry.place is _Place.READY]
        return len(at_s), min(at_s, default=math.inf), max(at_s, default=-math.inf)

    @property
    def oldest_ready_s(self) -> float:
        """When the item that has been ready longest became so (infinity: there is none)."""
        return next(iter(self._ready)).ready_s if self._ready else math.inf

    @property
    def newest_ready_s(self) -> float:
        """When an item last became ready (minus infinity: never)."""
        return self._newest_s

    def next_ready_at(self) -> float:
        """When the next waiting item becomes ready (infinity: none waits)."""
        heap = self._waiting
        while heap and heap[0][1] != heap[0][2].ticket:
            heapq.heappop(heap)
            self._waiting_stale -= 1
        return heap[0][0] if heap else math.inf

    def has(self, parent: ParentKey) -> bool:
        """Whether anything of that parent is here, in flight included."""
        lane = self._lanes.get(parent)
        return lane is not None and bool(lane.wanted or lane.flying)

    def parents(self) -> list[ParentKey]:
        """The parents that want something now."""
        return [parent for parent, lane in self._lanes.items() if lane.wanted]

    def statistics(self, now: float, *, top: int = 5) -> dict[str, object]:
        """Counts by place, the ``top`` parents by wanted items, the longest wait of a ready item (seconds). Any thread."""
        lanes = list(self._lanes.values())  # one step under the interpreter's lock, as are the lengths
        counts = sorted(((len(lane.wanted), str(lane.parent)) for lane in lanes), reverse=True)
        try:
            oldest_s = self.oldest_ready_s
        except RuntimeError:  # it changed under our hands: the next look will tell
            oldest_s = now
        return {
            "ready": len(self._ready),
            "ready_retries": len(self._retries),
            "waiting": max(0, len(self._waiting) - self._waiting_stale),
            "blocked": len(self._blocked),
            "in_flight": len(self._flying),
            "parents": sum(1 for count, _ in counts if count),
            "parents_top": {parent: count for count, parent in counts[:top] if count},
            "oldest_wait_s": max(0.0, now - oldest_s),
        }

    def longest_ready(self, count: int) -> list[tuple[Item, float, int]]:
        """Up to ``count`` that may leave: the item, since when it is ready, how often it was tried; the longest first.

        Any thread: a copy, and an empty one where the queue changed too fast for it.
        """
        for _ in range(5):
            try:
                entries = list(itertools.islice(self._ready, count))
            except RuntimeError:  # it changed under our hands
                continue
            return [(entry.item, entry.ready_s, entry.attempts) for entry in entries]
        return []

    def by_parent(self) -> list[tuple[ParentKey, int, int]]:
        """Each parent with how many it wants and how many of its items are in flight. Any thread."""
        return [(lane.parent, len(lane.wanted), lane.flying) for lane in list(self._lanes.values())]

    # --- places -------------------------------------------------------------------------------------------------------
    def _place(self, entry: _Entry, now: float, not_before_s: float = 0.0) -> None:
        uid = entry.item.uid
        if uid in self._flying:
            entry.place = _Place.BLOCKED
            self._blocked.setdefault(uid, []).append(entry)
            return
        if self._embargo:
            if now >= self._embargo_over_s:
                self._embargo.clear()
            not_before_s = max(not_before_s, self._embargo.get(uid, 0.0))
        if not_before_s > now:
            entry.place, entry.ready_s = _Place.WAITING, not_before_s
            entry.ticket = self._tickets = self._tickets + 1
            heapq.heappush(self._waiting, (not_before_s, entry.ticket, entry))
        else:
            self._make_ready(entry, now)

    def _make_ready(self, entry: _Entry, now: float) -> None:
        entry.place = _Place.READY
        entry.ready_s = self._newest_s = now
        self._ready[entry] = None
        if entry.rank == _RETRY:
            self._retries[entry] = None
        self._enlist(entry)

    def _enlist(self, entry: _Entry) -> None:
        lane, rank = entry.lane, entry.rank
        entry.ticket = self._tickets = self._tickets + 1
        heapq.heappush(lane.heaps[rank], (entry.item.since_s, entry.ticket, entry))
        if not lane.ringed[rank]:
            lane.ringed[rank] = True
            self._rings[rank].append(lane)

    def _unplace(self, entry: _Entry) -> None:
        """Take an entry out of wherever it is, but for FLYING."""
        if entry.place is _Place.READY:
            del self._ready[entry]
            self._retries.pop(entry, None)
            self._delist(entry)
        elif entry.place is _Place.WAITING:
            entry.ticket = 0
            self._waiting_stale += 1
            if self._waiting_stale > _STALE_MIN and self._waiting_stale * 2 > len(self._waiting):
                self._waiting[:] = _live(self._waiting)
                self._waiting_stale = 0
        elif entry.place is _Place.BLOCKED:
            behind = self._blocked[entry.item.uid]
            behind.remove(entry)
            if not behind:
                del self._blocked[entry.item.uid]
        entry.place = _Place.NOWHERE

    def _delist(self, entry: _Entry) -> None:
        lane, rank = entry.lane, entry.rank
        entry.ticket = 0
        lane.stale[rank] += 1
        if lane.stale[rank] > _STALE_MIN and lane.stale[rank] * 2 > len(lane.heaps[rank]):
            lane.heaps[rank][:] = _live(lane.heaps[rank])
            lane.stale[rank] = 0

    def _pop(self, lane: _Lane, rank: int) -> _Entry | None:
        heap = lane.heaps[rank]
        while heap:
            _, ticket, entry = heapq.heappop(heap)
            if ticket == entry.ticket:
                del self._ready[entry]
                self._retries.pop(entry, None)
                entry.ticket = 0
                entry.place = _Place.NOWHERE
                return entry
            lane.stale[rank] -= 1
        return None

    def _advance(self, now: float) -> None:
        """Waiting items whose time has come are ready; retries that have been ready for ``ageing_s`` count as new."""
        while self.next_ready_at() <= now:
            self._make_ready(heapq.heappop(self._waiting)[2], now)
        while self._retries:
            entry = next(iter(self._retries))
            if entry.ready_s + self._ageing_s > now:
                break
            del self._retries[entry]
            self._delist(entry)
            entry.rank = _NEW
            self._enlist(entry)

    def _land(self, item: Item) -> tuple[_Entry, bool]:
        entry = self._flying.pop(item.uid)
        assert entry.item.key == item.key, f"{item.uid}: {item.key} came back, {entry.item.key} had left"
        entry.place = _Place.NOWHERE
        entry.lane.flying -= 1
        return entry, entry.lane.wanted.get(item.uid) is entry

    def _unblock(self, uid: str, now: float) -> None:
        for entry in self._blocked.pop(uid, ()):
            self._place(entry, now)

    def _prune(self, lane: _Lane) -> None:
        """Forget a parent that nothing points to any more. While ringed it stays, or it might be ringed twice."""
        if not lane.wanted and not lane.flying and not lane.ringed[_NEW] and not lane.ringed[_RETRY]:
            self._lanes.pop(lane.parent, None)


class Suspects:
    """Parts of batches that were refused because of some item, to be sent apart until it stands alone.

    In turn with the rest: a poisoned item must not hold up the healthy ones.
    """

    def __init__(self) -> None:
        self._parts: deque[tuple[Item, ...]] = deque()
        self._turn = True

    def __len__(self) -> int:
        return len(self._parts)

    def halve(self, items: tuple[Item, ...]) -> None:
        """These were refused together."""
        half = len(items) // 2
        self._parts += [items[:half], items[half:]]

    def next(self, only: AbstractSet[ParentKey] | None = None) -> int | None:
        """Which part would leave: the first all of whose items are those parents' (None: anybody's)."""
        for place, part in enumerate(self._parts):
            if only is None or all(item.parent in only for item in part):
                return place
        return None

    def take(self, *, others: bool, probing: bool, only: AbstractSet[ParentKey] | None = None) -> tuple[Item, ...]:
        """The part that leaves now; none when it is the turn of the ``others``, who are due.

        ``probing``: this call tells whether the backend is well, and a part that is refused would not. ``only``: as ``next``.
        """
        place = self.next(only)
        if place is None or (others and (probing or not self._turn)):
            self._turn = True
            return ()
        self._turn = False
        part = self._parts[place]
        del self._parts[place]
        return part


def _live(heap: _Heap) -> _Heap:
    live = [each for each in heap if each[1] == each[2].ticket]
    heapq.heapify(live)
    return live


def when_to_send(
    *,
    ready: int,
    batch_max: int,
    oldest_s: float,
    newest_s: float,
    quiet_s: float,
    spacing_s: float,
    last_partial_s: float,
) -> float:
    """The instant at which a batch of the ``ready`` items should leave, slots permitting; in the past: at once.

    A full batch leaves at once. A partial one waits for ``quiet_s`` without a further item, so that what arrives
    together leaves together, but never longer than ``spacing_s`` (1.5 W/R) after its oldest item. And there is at most
    one partial batch in ``spacing_s``, because it spends a slot that a full one could use; when the quota is idle that
    rule is void by itself. It counts partial batches and not all calls (the policy measured as best, RELIABILITY
    §4.3): otherwise the rest of a burst, the last 50 of 950 items, would wait although its slot is free, and the drain
    promise would not hold.
    """
    if ready <= 0:
        return math.inf
    if ready >= batch_max:
        return -math.inf
    return max(min(newest_s + quiet_s, oldest_s + max(spacing_s, quiet_s)), last_partial_s + spacing_s)
