"""Debounce: look when it has been quiet for a while, but never later than the longest wait after the first change.

A quiet time alone can postpone the work for ever while changes keep coming (a known fault of the trailing debounces in the
field); the longest wait bounds it. Deadlines and retries do not come through here.
"""

from __future__ import annotations

INSTANT_S = 1e-6
"""Two instants nearer than this are one: sums of floats differ."""


class Debounce:
    """One parent's pending look. All times are seconds on our clock."""

    __slots__ = ("changes", "first_s", "last_s")

    def __init__(self) -> None:
        self.first_s: float | None = None
        self.last_s = 0.0
        self.changes = 0  # that the next look is for

    @property
    def pending(self) -> bool:
        """Whether a change waits to be looked at."""
        return self.first_s is not None

    def changed(self, now_s: float) -> None:
        """Something material changed."""
        if self.first_s is None:
            self.first_s = now_s
        self.last_s = now_s
        self.changes += 1

    def due_at(self, quiet_s: float, max_s: float) -> float:
        """When to look; of no meaning while nothing is pending. Any thread."""
        first_s = self.first_s
        quiet_at_s = self.last_s + quiet_s
        return quiet_at_s if first_s is None else min(quiet_at_s, first_s + max_s)

    def looked(self, now_s: float) -> tuple[int, float | None]:
        """The look has begun: later changes start anew. How many it is for, and how long the first has waited (None: none)."""
        changes, waited_s = self.changes, None if self.first_s is None else now_s - self.first_s
        self.first_s, self.changes = None, 0
        return changes, waited_s
