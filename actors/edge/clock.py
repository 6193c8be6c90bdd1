"""The real time. In a file of its own: a process that only reads needs no dispatcher, and no actors, for it."""

from __future__ import annotations

import time

__all__ = ["SystemClock"]


class SystemClock:
    """See ``Clock``."""

    def now(self) -> float:
        """Monotonic seconds."""
        return time.monotonic()

    def wall(self) -> float:
        """Unix seconds."""
        return time.time()
