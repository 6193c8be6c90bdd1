"""The names by which what has already been done is recognised: at the backend, and here.

An item's key is derived from the object alone (its uid, the incident and the round), so a process that was killed
between the call and its answer makes the same key again, and a backend that honours keys repairs a node once per
round. A call's id names one attempt to send; it is drawn afresh for each and must never repeat.

``Answers`` is our own side of it: while a parent goes on wanting an item that has its answer, it gets that answer
again and nothing is sent. An answer may be lost on the way (its parent's actor was being restarted), and a second
repair for it would be one too many with a backend that does not honour keys.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Generic, TypeVar

from .model import Item
from .ports import Random

A = TypeVar("A")

KEY_LENGTH = 32  # hex digits, 128 bits: among a million million keys two are alike with a chance of 1e-15


def item_key(uid: str, incident: str, round_number: int) -> str:
    """The key of one attempt at one incident: the same in every sending, every batch and every process.

    ``round_number`` grows only after an answered attempt plus the cooldown, never on a transport retry.
    """
    text = f"{uid}\0{incident}\0{round_number}"  # NUL occurs in neither, so no two triples make one text
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_LENGTH]


def call_id(random: Random) -> str:
    """A fresh ``Idempotency-Key`` for one call: 26 hex digits from the injected randomness (104 bits)."""
    return f"{int(random.random() * (1 << 52)):013x}{int(random.random() * (1 << 52)):013x}"


class Answers(Generic[A]):
    """One parent's answers by uid, each with the key it answers and the instant (our clock) at which it was given."""

    __slots__ = ("_by_uid",)

    def __init__(self) -> None:
        self._by_uid: dict[str, tuple[str, A, float]] = {}

    def __bool__(self) -> bool:
        return bool(self._by_uid)

    def remember(self, item: Item, answer: A, at_s: float) -> None:
        """``item`` was answered."""
        self._by_uid[item.uid] = (item.key, answer, at_s)

    def sort(self, items: Iterable[Item]) -> tuple[tuple[Item, ...], dict[float, dict[str, A]]]:
        """This is all that is wanted now: what has no answer yet, and the answers to the rest (instant → key → it).

        What is not wanted any more, or under another key, is forgotten.
        """
        rest: list[Item] = []
        again: dict[float, dict[str, A]] = {}
        kept: dict[str, tuple[str, A, float]] = {}
        for item in items:
            known = self._by_uid.get(item.uid)
            if known is None or known[0] != item.key:
                rest.append(item)
            else:
                key, answer, at_s = kept[item.uid] = known
                again.setdefault(at_s, {})[key] = answer
        self._by_uid = kept
        return tuple(rest), again
