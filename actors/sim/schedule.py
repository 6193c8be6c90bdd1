"""Who runs next: the two schedulers of the simulated world.

``RandomSchedule`` chooses evenly among those that are ready. ``PctSchedule`` is probabilistic concurrency testing
(Burckhardt and others, ASPLOS 2010): each actor gets a random priority, the highest ready one always runs, and at a few
random turns the one that runs falls below all others. It finds a bug that needs ``d`` orderings among ``n`` actors in ``k``
turns with a chance of at least 1/(n·k^(d-1)) a run, where an even choice almost never starves one actor for long.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Protocol

from ..mailbox import Mailbox

__all__ = ["PctSchedule", "RandomSchedule", "Schedule", "name_of"]


def name_of(mailbox: Mailbox) -> str:
    """The name of the actor that owns the mailbox."""
    name = getattr(mailbox.actor, "name", None)
    return type(mailbox.actor).__name__ if name is None else str(name)


class Schedule(Protocol):
    """Chooses the next turn."""

    def choose(self, ready: Sequence[Mailbox]) -> int:
        """The index of the one that runs; ``ready`` is never empty."""


class RandomSchedule:
    """Each of those that are ready with the same chance."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def choose(self, ready: Sequence[Mailbox]) -> int:
        """See ``Schedule``."""
        return int(self._random.random() * len(ready)) if len(ready) > 1 else 0


class PctSchedule:
    """Priorities by actor, and ``changes`` turns within the next ``turns`` at which the running one falls to the bottom.

    After those the change points are drawn again, so that a long run goes on being explored.
    """

    def __init__(self, random: Random, *, changes: int = 3, turns: int = 2000) -> None:
        self._random = random
        self._changes = changes
        self._turns = turns
        self._priorities: dict[str, float] = {}
        self._turn = 0
        self._lowest = 0.0
        self._points: set[int] = set()

    def choose(self, ready: Sequence[Mailbox]) -> int:
        """See ``Schedule``."""
        if self._turn % self._turns == 0:
            start = self._turn
            self._points = {start + int(self._random.random() * self._turns) for _ in range(self._changes)}
        self._turn += 1
        best, best_priority, best_name = 0, -1e300, ""
        for index, mailbox in enumerate(ready):
            name = name_of(mailbox)
            priority = self._priorities.get(name)
            if priority is None:
                priority = self._priorities[name] = self._random.random()
            if priority > best_priority:
                best, best_priority, best_name = index, priority, name
        if self._turn in self._points:
            self._lowest -= 1.0
            self._priorities[best_name] = self._lowest
        return best
