"""Writes that are refused for an object newer than ours: when that object does not come, our stream has lost it.

A conflict is answered by waiting for the newer object, which is on its way. One that still has not come after a while was
lost with its event (a half-open stream, a server that forgot us): then only a new list helps, and somebody must ask for it.
"""

from __future__ import annotations

PATIENCE_S = 6.0
"""Conflicts for so long without a newer object: longer than an event is late, much shorter than a dead stream is found."""
SPACING_S = 30.0
"""From one wish for a list to the next: a server that only says no must not be listed for it all the time."""


class Conflicts:
    """Those of one parent, in a row. All times are seconds on our clock."""

    __slots__ = ("_since_s", "_wished_s")

    def __init__(self) -> None:
        self._since_s: float | None = None
        self._wished_s: float | None = None

    def met(self, now_s: float) -> bool:
        """One more, and nothing newer is here; whether to wish for a list."""
        if self._since_s is None:
            self._since_s = now_s
        if now_s - self._since_s < PATIENCE_S or (self._wished_s is not None and now_s - self._wished_s < SPACING_S):
            return False
        self._wished_s = now_s
        return True

    def ended(self) -> None:
        """The newer object is here, or a write was taken."""
        self._since_s = None
