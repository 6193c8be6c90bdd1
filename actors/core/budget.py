"""How often a child's trouble is attempted, how long each attempt cools down, and who stays unwell after the last.

Attempts are numbered from 1 within a child's *budget*. The wait after an answer doubles from the cooldown up to a bound; once
the last attempt's wait is over nobody is asked for again, and people are told. A new budget begins with an incident before
which the child was well for as long as its last attempt had to cool down; who is well for a moment after each reboot goes on
in the old.

The numbers are in memory only. Who is *exhausted* is in the parent's status, too (up to ``TOLD_MAX``), by the first key of the
incident, and that is where a new process has it from; a budget of which some is left begins anew there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from attrs import field, frozen

from .backoff import bound_s
from .keys import item_key
from .model import Child, EventNote, Policy, Regarding

__all__ = ["EXHAUSTED", "TOLD_MAX", "Budget", "budget_of", "entries", "notes", "sentence"]

EXHAUSTED = "RepairsExhausted"
"""The condition's type, and the reason of the Events."""
TOLD_MAX = 100
"""Entries in a status. Arbitrary: more than that is no list that somebody works off by hand."""
NOTES_MAX = 10  # Events on children of one look; all are in the parent's status
NAMES_MAX = 5


@frozen(kw_only=True)
class Budget:
    """What holds for one parent. ``spent``: what its status remembers, attempts by the first key of the incident."""

    cooldown_s: float
    cooldown_max_s: float = 0.0
    attempts_max: int | None = None
    spent: Mapping[str, int] = field(factory=dict)

    def wait_s(self, number: int) -> float:
        """How long attempt ``number`` cools down after its answer: doubled each time, but no longer than the bound."""
        if number == 1:
            return self.cooldown_s
        return bound_s(self.cooldown_s, max(self.cooldown_s, self.cooldown_max_s), number - 1)

    def is_spent(self, number: int) -> bool:
        """Whether none is left after attempt ``number``."""
        return self.attempts_max is not None and number >= self.attempts_max


def budget_of(policy: Policy, status: Mapping[str, Any]) -> Budget:
    """The budget that holds by ``policy``; ``status`` is the parent's, of which nothing is taken on trust."""
    spent: dict[str, int] = {}
    told = status.get("exhausted") if policy.attempts_max is not None else None
    for each in told if isinstance(told, list) else ():
        if isinstance(each, dict) and isinstance(each.get("incident"), str) and isinstance(each.get("attempts"), int):
            spent[each["incident"]] = each["attempts"]
    return Budget(
        cooldown_s=policy.cooldown_s,
        cooldown_max_s=policy.cooldown_max_s,
        attempts_max=policy.attempts_max,
        spent=spent,
    )


def entries(children: Iterable[tuple[Child, int]]) -> list[dict[str, Any]]:
    """These, with their attempts, as a status has them: the same ones for the same set."""
    found = [
        {"kind": child.kind, "name": child.name, "attempts": number, "incident": item_key(child.uid, child.incident, 0)}
        for child, number in children
    ]
    return sorted(found, key=lambda each: (each["kind"], each["name"], each["incident"]))[:TOLD_MAX]


def sentence(children: list[tuple[Child, int]]) -> str:
    """Who they are, for a condition and an Event."""
    names = sorted(f"{child.kind}/{child.name}" for child, _ in children)
    more = f" and {len(names) - NAMES_MAX} more" if len(names) > NAMES_MAX else ""
    return f"{len(names)} not well after all attempts: {', '.join(names[:NAMES_MAX])}{more}"


def notes(children: Iterable[tuple[Child, int]], known: Mapping[str, int]) -> list[EventNote]:
    """An Event on each child that was not told of before."""
    if len(known) >= TOLD_MAX:
        return []  # who is new cannot be told from who has no place in the status
    fresh = [each for each in children if item_key(each[0].uid, each[0].incident, 0) not in known]
    return [
        EventNote(
            type="Warning", reason=EXHAUSTED, action="GiveUp",
            note=f"not well after {number} attempts to repair it: it is not asked for again until it has been well for a while",
            regarding=Regarding(child.kind, child.namespace, child.name, child.uid),
        )
        for child, number in sorted(fresh, key=lambda each: each[0].name)[:NOTES_MAX]
    ]  # fmt: skip
