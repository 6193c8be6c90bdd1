"""Planted in the mailbox: what overtakes what, what is merged with what, and what is lost in a crash."""

# ruff: noqa: ARG001 - a replacement keeps its original's signature, used or not

from __future__ import annotations

from typing import Any

from ...actor import Cell
from ...core.ports import Objects
from ...mailbox import Mailbox, _Pending
from .gateway import answers_are_forgotten
from .planting import Bed

__all__ = ["bed"]

bed = Bed()


@bed.single(
    "ordinary-mail-overtakes-object-mail", breaks="atomic", at="actors.mailbox:Mailbox._next_objects",
    what="a look is taken while newer records wait in the same mailbox",
)  # fmt: skip
def _(original: Any) -> Any:
    def next_objects(self: Mailbox) -> _Pending | None:
        pending: _Pending | None = None if self._ordinary else original(self)
        return pending

    return next_objects


@bed.single(
    "object-mail-is-not-coalesced", breaks="bounded", at="actors.mailbox:Objects", needs=("P11",),
    what="object mail is ordinary mail: a mailbox grows with the events instead of with the objects",
)  # fmt: skip
def _(original: type[Objects]) -> type[Objects]:
    class Other(Objects):
        """Nobody sends these."""

    return Other


@bed.single(
    "coalescing-keeps-the-oldest", breaks="truth", at="actors.mailbox:_Pending.add", needs=("P11",),
    what="of two records of one object that wait together, the first is read",
)  # fmt: skip
def _(original: Any) -> Any:
    def add(self: _Pending, message: Objects) -> None:
        before = dict(self.entries)
        original(self, message)
        if not message.replace:
            self.entries, self._mine = {**self.entries, **before}, True

    return add


@bed.single(
    "waiting-mail-is-merged-with-a-replacement", breaks="truth", at="actors.mailbox:_Pending.add", needs=("P1", "A3"),
    what="what waited before a replacement came is part of it: who is gone is back",
)  # fmt: skip
def _(original: Any) -> Any:
    def add(self: _Pending, message: Objects) -> None:
        before = dict(self.entries)
        original(self, message)
        if message.replace:
            self.entries, self._mine = {**before, **self.entries}, True

    return add


@bed.single(
    "replacement-loses-its-mark", breaks="truth", at="actors.mailbox:_Pending.add", needs=("P11",),
    what="a replacement that waits together with changes becomes a change",
)  # fmt: skip
def _(original: Any) -> Any:
    def add(self: _Pending, message: Objects) -> None:
        original(self, message)
        if not message.replace:
            self._of = message

    return add


@bed.single(
    "crash-loses-the-mailbox", breaks="answer", at="actors.actor:Cell._end_incarnation",
    redundant_with=("answers-are-forgotten",), needs=("P1", "P4"),
    what="what waits for an actor when it dies is gone",
)  # fmt: skip
def crash_loses_the_mailbox(original: Any) -> Any:
    def end_incarnation(self: Cell, reason: str, error: str, text: str, poison: str) -> None:
        self.actor_inbox.drain()
        original(self, reason, error, text, poison)

    return end_incarnation


bed.pair(
    "crash-loses-answers", crash_loses_the_mailbox, answers_are_forgotten, breaks="answer", needs=("P1", "P4"),
    what="an answer that waits for a parent's actor when it dies is lost, and its item is sent again",
)  # fmt: skip
