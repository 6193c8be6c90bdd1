"""What a list has left behind is given back to the system: glibc keeps what is free between what is not."""

from __future__ import annotations

import ctypes

from ..core.events import Fact, Listed
from ..core.ports import Facts

__all__ = ["Heap", "give_back"]

CALM_TICKS = 5
"""Ticks after the newest list: by then its mail has become records, and every parent has been looked at once."""


def give_back() -> bool:
    """Give free pages back; whether this system's C library can. Some milliseconds for a gigabyte."""
    try:
        return bool(ctypes.CDLL(None).malloc_trim(0))
    except (OSError, AttributeError, TypeError):  # musl, macOS, Windows
        return False


class Heap:
    """Hears of lists, and gives back when they are over. ``tick`` and ``tell`` from any thread."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._ticks_left = 0

    def tell(self, fact: Fact) -> None:
        """A fact, to be passed on."""
        if isinstance(fact, Listed):
            self._ticks_left = CALM_TICKS
        self._facts(fact)

    def tick(self) -> bool:
        """Time has passed; whether something was to be done."""
        if not self._ticks_left:
            return False
        self._ticks_left -= 1
        if self._ticks_left:
            return False
        give_back()
        return True
