"""The override of the valves: a parent's annotation says until when none of them holds its repairs.

Whoever knows better than a valve says so for one parent and for a time. It is in the object, so it survives any restart, and
there is none without an end. People write the end by the wall clock; it is counted by our own, from the first look at it, so
that a wall clock that is set later neither revives it nor makes it last. Each look may find that it ends sooner.
"""

from __future__ import annotations

import math

from .model import Now, Parent

__all__ = ["OVERRIDE", "Override"]

OVERRIDE = "muster.dev/valve-override-until"
"""The annotation, whose value is an instant (RFC 3339)."""
_DRIFT_S = 1.0
"""By so much the two clocks may drift apart between two looks without anybody being told. Arbitrary: people write seconds."""


class Override:
    """What one parent's actor knows of its annotation."""

    __slots__ = ("_until_s", "ends_s")

    def __init__(self) -> None:
        self._until_s: float | None = None
        self.ends_s = -math.inf
        """When it ends by our clock; in the past where it is over, or there is none."""

    def by(self, parent: Parent | None, now: Now) -> float:
        """When it ends by our clock, as a look at that parent (None: there is none) would find it. Changes nothing."""
        until_s = parent.spec.override_until_s if parent is not None else None
        ends_s = -math.inf if until_s is None else now.mono_s + until_s - now.wall_s
        known = until_s == self._until_s and ends_s > self.ends_s - _DRIFT_S
        return self.ends_s if known else ends_s

    def look(self, parent: Parent | None, now: Now) -> bool:
        """This is the parent now (None: there is none). Whether ``ends_s`` is another by it."""
        before_s, self.ends_s = self.ends_s, self.by(parent, now)
        self._until_s = parent.spec.override_until_s if parent is not None else None
        return self.ends_s != before_s
