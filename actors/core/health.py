"""The roll: one parent's children and their counts, kept true in O(1) per record.

Counts are kept per kind and state; ``recount`` computes them again from the records, for the audit. The set of eligible
children (whom a repair may be wanted for) is kept too, so that a reconcile costs what is wrong, not what there is. Guests are
counted like all others; those that are unwell are kept apart, because another parent repairs them.
"""

from __future__ import annotations

import functools
from collections.abc import Container, Iterable

from attrs import define

from .model import AT, Child, ParentKey, State
from .records import Shelf
from .rows import key_of
from .texts import GUEST, STATES, UNWELL, child_of, home_of, mark_of, packed, same_matter, uid_in

_HEALTHY, _UNHEALTHY = State.HEALTHY, State.UNHEALTHY  # an enum's member costs a look-up of its own at each change


@define
class Counts:
    """How many children are in each state. ``total`` is their sum."""

    healthy: int = 0
    unhealthy: int = 0
    unknown: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.healthy + self.unhealthy + self.unknown

    def add(self, state: State, step: int) -> None:
        """``step`` (+1 or -1) more children are in ``state``."""
        if state is _HEALTHY:
            self.healthy += step
        elif state is _UNHEALTHY:
            self.unhealthy += step
        else:
            self.unknown += step

    def as_tuple(self) -> tuple[int, int, int]:
        """(healthy, unhealthy, unknown)."""
        return self.healthy, self.unhealthy, self.unknown


@functools.lru_cache(maxsize=8)  # a process has one fleet
def _no_counts(kinds: tuple[str, ...]) -> dict[str, Counts]:
    return {kind: Counts() for kind in kinds}


_NOBODY: dict[str, Child] = {}


class Roll:
    """All children of ``parent``, of every kind named in ``kinds``. They are kept in few bytes each (``Shelf``).

    What a parent without children has is one for all of them: its own comes with the first child (``_begin``).
    """

    __slots__ = ("_coming", "_parent", "_shelves", "counts", "eligible", "guests", "unwell_guests")

    def __init__(self, kinds: Iterable[str], parent: ParentKey) -> None:
        self._parent = parent
        self._shelves: dict[str, Shelf] = {}
        self.counts: dict[str, Counts] = _no_counts(tuple(kinds))
        self.eligible: dict[str, Child] = _NOBODY
        self.guests = 0
        """How many of all are guests."""
        self.unwell_guests: dict[str, Child] = _NOBODY
        self._coming: Shelf | None = None

    def _begin(self, kind: str) -> Shelf:
        """The first child of that kind is here."""
        if not self._shelves:
            self.counts = {each: Counts() for each in self.counts}
            self.eligible, self.unwell_guests = {}, {}
        shelf = self._shelves[kind] = Shelf(kind, self._parent)
        return shelf

    @property
    def children(self) -> dict[str, Child]:
        """All of them by uid, made anew for each who asks. O(N)."""
        return {uid: child for shelf in self._shelves.values() for uid, child in shelf.items()}

    def put(self, child: Child) -> bool:
        """Enter or replace one child; whether anything material changed."""
        key = key_of(child.uid)
        return self.enter(child.kind, key, packed(child, key, home_of(child.parent)))

    def enter(self, kind: str, key: bytes, text: bytes) -> bool:
        """The same for who is packed already. Only of who is ill a record is made."""
        shelf, mark = self._shelves.get(kind), mark_of(text)
        if shelf is None:
            shelf = self._begin(kind)
        before = shelf.rows.put(key, text) if self._coming is None else shelf.rows.get(key)
        if before is None:
            self.guests += mark >= GUEST
            self.counts[kind].add(STATES[mark], +1)
        else:
            was = mark_of(before)
            if was == mark and same_matter(
                before, text
            ):  # silent, heard, silent again is another matter: the heartbeat differs
                if UNWELL[mark]:
                    self._note(child_of(kind, shelf.parent, key, text))
                return False
            if (state := STATES[mark]) is not (old := STATES[was]):
                counts = self.counts[kind]
                counts.add(old, -1)
                counts.add(state, +1)
            if UNWELL[was] and not UNWELL[mark]:
                (self.eligible if mark < GUEST else self.unwell_guests).pop(uid_in(key, before), None)
        if UNWELL[mark]:
            self._note(child_of(kind, shelf.parent, key, text))
        return True

    def _note(self, child: Child) -> None:
        (self.unwell_guests if child.guest else self.eligible)[child.uid] = child

    def drop(self, uid: str) -> bool:
        """Strike one child off; whether it was there."""
        for shelf in self._shelves.values():
            old = shelf.drop(uid)
            if old is not None:
                self.counts[old.kind].add(old.state, -1)
                self.eligible.pop(uid, None)
                self.unwell_guests.pop(uid, None)
                self.guests -= old.guest
                return True
        return False

    def absent(self, kind: str, present: Container[str]) -> list[str]:
        """The uids of that kind which are not in ``present``: what a replacement strikes off."""
        return [uid for uid in self._shelves.get(kind, ()) if uid not in present]

    def expect(self, entries: Shelf) -> None:
        """All records of ``entries`` are going to be put, one by one; ``take_over`` then keeps them as they came."""
        self._coming = entries

    def take_over(self, kind: str) -> None:
        """What was expected has been put. Its rows are the watcher's own until one of the two changes."""
        if self._coming is not None and (shelf := self._shelves.get(kind)) is not None:  # else nobody came
            shelf.replace(self._coming)
        self._coming = None

    @property
    def total(self) -> int:
        """All children of all kinds."""
        return sum(map(len, list(self._shelves.values())))

    @property
    def repairable(self) -> int:
        """Those that are this parent's to repair: all but the guests."""
        return self.total - self.guests

    def sum(self) -> Counts:
        """The counts over all kinds."""
        counts = self.counts.values()
        return Counts(sum(c.healthy for c in counts), sum(c.unhealthy for c in counts), sum(c.unknown for c in counts))

    def audit(self) -> list[str]:
        """Put the counts right by a recount; the kinds in which they were wrong (of guests, all kinds)."""
        fresh = self.recount()
        wrong = [kind for kind, counts in fresh.items() if counts != self.counts[kind]]
        near = (text for shelf in self._shelves.values() for text in shelf.rows.near((AT.encode(),)))
        guests = sum(mark_of(text) >= GUEST for text in near)
        if guests != self.guests:
            wrong = list(fresh)
        if wrong:
            self.counts, self.guests = fresh, guests
        return wrong

    def recount(self) -> dict[str, Counts]:
        """The counts from the records alone. Differs from ``counts`` only if there is a bug."""
        fresh = {kind: Counts() for kind in self.counts}
        for kind, shelf in self._shelves.items():
            for text in shelf.rows.values():
                fresh[kind].add(STATES[mark_of(text)], +1)
        return fresh
