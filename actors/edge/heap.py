"""What a list has left behind is given back to the system: glibc keeps what is free between what is not."""

from __future__ import annotations

import ctypes

from ..core.events import Fact, Listed
from ..core.ports import Facts

__all__ = ["Heap", "give_back"]

AT_TICKS = (3, 10, 30, 90)
"""Ticks after the newest list. Until its mail has become records, and every parent has been looked at, a thousand children take
a tick, or a million take thirty."""


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
        self._ticks = AT_TICKS[-1]

    def tell(self, fact: Fact) -> None:
        """A fact, to be passed on."""
        if isinstance(fact, Listed):
            self._ticks = 0
        self._facts(fact)

    def tick(self) -> bool:
        """Time has passed; whether something was to be done."""
        if self._ticks == AT_TICKS[-1]:
            return False
        self._ticks += 1
        due = self._ticks in AT_TICKS
        if due:
            give_back()
        return due
