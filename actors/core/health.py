"""The roll: one parent's children and their counts, kept true in O(1) per record.

Counts are kept per kind and state; ``recount`` computes them again from the records, for the audit. The set of eligible
children (whom a repair may be wanted for) is kept too, so that a reconcile costs what is wrong, not what there is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from attrs import define

from .model import Child, State


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
        if state is State.HEALTHY:
            self.healthy += step
        elif state is State.UNHEALTHY:
            self.unhealthy += step
        else:
            self.unknown += step

    def as_tuple(self) -> tuple[int, int, int]:
        """(healthy, unhealthy, unknown)."""
        return self.healthy, self.unhealthy, self.unknown


class Roll:
    """All children of one parent, of every kind named in ``kinds``."""

    def __init__(self, kinds: Iterable[str]) -> None:
        self.children: dict[str, Child] = {}
        self.counts: dict[str, Counts] = {kind: Counts() for kind in kinds}
        self.eligible: dict[str, Child] = {}

    def put(self, child: Child) -> bool:
        """Enter or replace one child; whether anything material changed."""
        old = self.children.get(child.uid)
        self.children[child.uid] = child
        if old is not None:
            if old.same_matter(child) and old.incident == child.incident:  # silent, heard, silent again is another one
                if child.eligible:
                    self.eligible[child.uid] = child
                return False
            self.counts[old.kind].add(old.state, -1)
        self.counts[child.kind].add(child.state, +1)
        if child.eligible:
            self.eligible[child.uid] = child
        else:
            self.eligible.pop(child.uid, None)
        return True

    def drop(self, uid: str) -> bool:
        """Strike one child off; whether it was there."""
        old = self.children.pop(uid, None)
        if old is None:
            return False
        self.counts[old.kind].add(old.state, -1)
        self.eligible.pop(uid, None)
        return True

    def absent(self, kind: str, present: Mapping[str, object]) -> list[str]:
        """The uids of that kind which are not in ``present``: what a replacement strikes off."""
        return [uid for uid, child in self.children.items() if child.kind == kind and uid not in present]

    @property
    def total(self) -> int:
        """All children of all kinds."""
        return len(self.children)

    def sum(self) -> Counts:
        """The counts over all kinds."""
        counts = self.counts.values()
        return Counts(sum(c.healthy for c in counts), sum(c.unhealthy for c in counts), sum(c.unknown for c in counts))

    def recount(self) -> dict[str, Counts]:
        """The counts from the records alone. Differs from ``counts`` only if there is a bug."""
        fresh = {kind: Counts() for kind in self.counts}
        for child in self.children.values():
            fresh[child.kind].add(child.state, +1)
        return fresh
