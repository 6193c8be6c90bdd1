"""Drawing from a seed: the same numbers in every supported Python, because only ``random()`` is used."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TypeVar

T = TypeVar("T")

__all__ = ["Draw"]


class Draw:
    """Draws of one purpose. (``randrange``, ``choice`` and ``shuffle`` may change with Python; ``random()`` may not.)"""

    def __init__(self, *purpose: object) -> None:
        self._random = Random("/".join(str(each) for each in purpose))  # noqa: S311  the seed is the point

    def chance(self, share: float) -> bool:
        """True with that probability."""
        return self._random.random() < share

    def between(self, low: float, high: float) -> float:
        """A number in the half-open interval, rounded to milliseconds, so that scripts are readable."""
        return round(low + (high - low) * self._random.random(), 3)

    def whole(self, low: int, high: int) -> int:
        """A whole number, both ends included."""
        return low + int(self._random.random() * (high - low + 1))

    def pick(self, among: Sequence[T]) -> T:
        """One of them."""
        return among[int(self._random.random() * len(among))]

    def some(self, among: Sequence[T], share: float) -> list[T]:
        """Each with that probability, in their order."""
        return [each for each in among if self._random.random() < share]
