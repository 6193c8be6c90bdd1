"""Debounce: look when it has been quiet for a while, but never later than the longest wait after the first change.

A quiet time alone can postpone the work for ever while changes keep coming (a known fault of the trailing debounces in the
field); the longest wait bounds it. Deadlines and retries do not come through here.
"""

from __future__ import annotations


class Debounce:
    """One parent's pending look. All times are seconds on our clock."""

    __slots__ = ("first_s", "last_s")

    def __init__(self) -> None:
        self.first_s: float | None = None
        self.last_s = 0.0

    @property
    def pending(self) -> bool:
        """Whether a change waits to be looked at."""
        return self.first_s is not None

    def changed(self, now_s: float) -> None:
        """Something material changed."""
        if self.first_s is None:
            self.first_s = now_s
        self.last_s = now_s

    def due_at(self, quiet_s: float, max_s: float) -> float:
        """When to look. Only while pending."""
        assert self.first_s is not None
        return min(self.last_s + quiet_s, self.first_s + max_s)

    def looked(self) -> None:
        """The look has begun: later changes start anew."""
        self.first_s = None
