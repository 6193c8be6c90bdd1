"""What the gateway keeps of who asks and of what it has sent."""

from __future__ import annotations

from typing import Any

from attrs import define, field

from .keys import Answers
from .ports import Call
from .quota import Slot

__all__ = ["Asker", "Open"]


@define(eq=False)
class Asker:
    """What is kept of a parent: where to answer, what it was told of the backend and of the valve over all parents (why it
    holds all calls, "" where it does not), its answers while it wants them.
    """

    ref: Any
    told: bool | None = None
    held: str = ""
    answers: Answers[Any] = field(factory=Answers)


@define(eq=False)
class Open:
    """A call under way. ``part`` of a refused one; ``cancelled`` is read on the executor: what has not begun does not begin."""

    call: Call
    slot: Slot
    part: bool = False
    cancelled: bool = False
