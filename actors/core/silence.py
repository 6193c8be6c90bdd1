"""When a child counts as silent: deadlines, and what proves that it is the child which says nothing, and not the stream.

Silence is found by a minimum scan per parent: a parent's children are looked at when the earliest of their deadlines *could*
have come, and the look yields the next such instant. A heartbeat writes one float and touches no timer (0.28 µs a beat for
a million children; a heap of deadlines took 0.42 µs, 331 B a child, and ticks of 1.4 s).

A verdict needs proof that the stream lives: somebody else's frame after the deadline, or a resumed watch, which replays
whatever was missed. Otherwise a half-open connection would turn a whole fleet silent. While the stream is down nobody is
judged, and after an outage (attempts failed, or it took long) all clocks start again, because nobody could have reported.
A rotation (the stream ended and the very next attempt resumed it) leaves the clocks alone: the replay tells the truth.

Times are seconds on the injected monotonic clock.
"""

from __future__ import annotations

import heapq
from abc import ABC, abstractmethod
from array import array
from math import inf

from .model import ParentKey
from .quantity import rfc3339_s
from .slots import HEALTH, LIVE, SILENT, Group, Slots

__all__ = ["CLEAN_GAP_S", "PROOF_WAIT_S", "SETTLE_S", "SKEW_S", "Silence"]

SKEW_S = 60.0
"""How far an agent's clock may be off before its report counts as old at first sight (DESIGN §6)."""
CLEAN_GAP_S = 2.0
"""A stream resumed within this long by the first attempt was rotated; anything else was an outage. A resume takes tens of
milliseconds; agents report every few seconds and retry."""
PROOF_WAIT_S = 0.3
"""After a deadline, how long to wait for a frame before the watch is resumed for proof; the verdict is due within 1 s."""
SETTLE_S = 0.2
"""After a resume, how long the replay may take to arrive. It is the first thing on the wire."""
_AGAIN_S = 0.1


class Silence(ABC):
    """The half of an intake that knows the time. ``beats``: see ``Intake``."""

    def __init__(self, slots: Slots, *, beats: bool) -> None:
        self._slots = slots
        self._beats = beats
        self._groups: dict[ParentKey | None, Group] = {}
        self._due: list[tuple[float, ParentKey]] = []
        self._wall_offset_s: float | None = None
        self._down_at_s: float | None = -inf
        self._up_at_s = -inf
        self._frame_at_s = -inf
        self._floor_s = -inf
        self._proof_for_s = inf

    def set_wall(self, now: float, wall_s: float) -> None:
        """The API server's own time (its Date header), for judging first sights."""
        self._wall_offset_s = wall_s - now

    def set_timeout(self, parent: ParentKey, timeout_s: float | None, now: float) -> None:
        """How long the children of ``parent`` may be silent (None: for ever). Frees those that the new one frees."""
        group, slots = self._groups.get(parent), self._slots
        if group is None:
            if timeout_s is None:
                return
            group = self._groups[parent] = Group(parent)
        if group.timeout_s == timeout_s:
            return
        group.timeout_s = timeout_s
        for place in group.present(slots.homes):
            if slots.marks[place] & SILENT and self._deadline(place, timeout_s) > now:
                slots.marks[place] &= ~SILENT
                self._tell(place)
        group.check_at_s = inf
        if timeout_s is not None:
            self._check(group, now)
        self._tidy(group)

    @property
    def heard_s(self) -> float:
        """When the server last proved that the stream lives, by a frame or by answering a resumed watch; -infinity: never."""
        return max(self._frame_at_s, self._up_at_s)

    # --- the stream's own state ---

    def stream_down(self, now: float) -> None:
        """The stream has ended: no verdicts until it is up again. Idempotent."""
        if self._down_at_s is None:
            self._down_at_s = now

    def stream_up(self, now: float, *, first_attempt: bool) -> None:
        """The stream runs again. ``first_attempt``: nothing failed since it ended, so it may have been a mere rotation."""
        if self._down_at_s is not None and not (first_attempt and now - self._down_at_s <= CLEAN_GAP_S):
            self._floor_s = now
        self._down_at_s = None
        self._up_at_s = now
        self._proof_for_s = inf

    def tick(self, now: float) -> None:
        """Judge whose deadline has come. Cost: one heap look; and a parent's children when one of theirs may be due."""
        if self._down_at_s is not None:
            return
        proven_s = self._proven(now)
        if self._proof_for_s <= proven_s:
            self._proof_for_s = inf
        while self._due and self._due[0][0] <= now:
            at_s, parent = heapq.heappop(self._due)
            group = self._groups.get(parent)
            if group is not None and group.check_at_s == at_s:
                self._scan(group, now, proven_s)

    def needs_proof(self, now: float) -> bool:
        """Whether a verdict waits and nothing has come over the stream since: resume the watch now."""
        return self._down_at_s is None and now >= self._proof_for_s + PROOF_WAIT_S and self._up_at_s < self._proof_for_s

    @property
    def next_s(self) -> float | None:
        """When to ``tick`` next; None when nobody has a deadline or the stream is down."""
        if self._down_at_s is not None or not self._due:
            return None
        return self._due[0][0]

    # --- inside ---

    @abstractmethod
    def _tell(self, place: int) -> None:
        """What is at that place goes out with the next mail."""

    def _proven(self, now: float) -> float:
        """The instant up to which everything the server had is known to be here."""
        return max(self._frame_at_s, self._up_at_s if now >= self._up_at_s + SETTLE_S else -inf)

    def _scan(self, group: Group, now: float, proven_s: float) -> None:
        assert group.timeout_s is not None
        slots, earliest_s = self._slots, inf
        for place in group.present(slots.homes):
            if slots.marks[place] & SILENT:
                continue
            deadline_s = self._deadline(place, group.timeout_s)
            if deadline_s > now:
                earliest_s = min(earliest_s, deadline_s)
            elif deadline_s <= proven_s:
                slots.marks[place] |= SILENT
                self._tell(place)
            else:
                self._proof_for_s = min(self._proof_for_s, deadline_s)
                earliest_s = min(earliest_s, max(deadline_s + PROOF_WAIT_S, now + _AGAIN_S))
        group.check_at_s = inf
        self._check(group, earliest_s)

    def _deadline(self, place: int, timeout_s: float | None) -> float:
        """When that child counts as silent: ``inf`` never, in the past at once."""
        slots = self._slots
        mark, heard_s = slots.marks[place], slots.heard_s[place]
        if timeout_s is None or (not self._beats and mark & HEALTH):
            return inf
        if not mark & LIVE and self._was_old(place, timeout_s):
            return heard_s
        return max(heard_s, self._floor_s) + timeout_s

    def _was_old(self, place: int, timeout_s: float) -> bool:
        """Whether the report was already too old by the API server's clock when we first saw it."""
        heartbeat = self._slots.heartbeats[place]
        if self._wall_offset_s is None or not heartbeat:
            return False
        reported_s = rfc3339_s(heartbeat)
        age_s = inf if reported_s is None else self._slots.heard_s[place] + self._wall_offset_s - reported_s
        return reported_s is not None and age_s > timeout_s + SKEW_S

    def _check(self, group: Group, at_s: float) -> None:
        """Look at that parent at ``at_s`` unless a look is due earlier."""
        if at_s < group.check_at_s and group.parent is not None:
            group.check_at_s = at_s
            heapq.heappush(self._due, (at_s, group.parent))

    def _begin_clocks(self, group: Group, places: array[int]) -> None:
        """As ``_begin_clock`` of each: with the same heartbeat at the same instant they have the same deadline."""
        assert group.timeout_s is not None
        texts = self._slots.heartbeats
        one_of_each = dict(zip(map(texts.__getitem__, places), places, strict=True)).values()
        alike = self._beats and not any(self._was_old(place, group.timeout_s) for place in one_of_each)
        for place in places[:1] if alike else places:
            self._begin_clock(group, place, group.timeout_s)

    def _begin_clock(self, group: Group, place: int, timeout_s: float) -> None:
        """Of who was not here before: silent at once, or looked at when that may be."""
        if self._was_old(place, timeout_s):
            self._slots.marks[place] |= SILENT
        else:
            self._check(group, self._deadline(place, timeout_s))

    def _group(self, parent: ParentKey | None) -> Group:
        group = self._groups.get(parent)
        if group is None:
            group = self._groups[parent] = Group(parent)
        return group

    def _tidy(self, group: Group) -> None:
        """Nothing is left of a parent that has no children and no timeout."""
        if not group.count and group.timeout_s is None and self._groups.get(group.parent) is group:
            del self._groups[group.parent]
