"""The why-log: for each parent the last few causes and what came of them, in the order in which they happened.

A sink for facts like the log and the metrics, so a ring holds what the structured log holds at debug level, under the same
names. It costs nothing where nothing happens: no fact is told of a heartbeat, and a parent of which none was told has no ring.

Bounded twice: ``ENTRIES_MAX`` of each parent (what repeats itself is one entry with a count), and twice ``PARENTS_MAX``
parents, of which those that were quiet longest go. An entry is a small tuple or list and a frozen fact of a few short fields:
a full ring is about 5 kB, all of them about 5 MB.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from attrs import evolve, fields, has

from .events import (
    UNLOGGED,
    ActorCrashed,
    ActorQuarantined,
    ActorReleased,
    ActorRestarted,
    ActorWedged,
    CallAnswered,
    CallSent,
    DeadLettered,
    EventFailed,
    Fact,
    LookDeferred,
    NewsSuppressed,
    Planned,
    Reconciled,
    ReconcileFailed,
    RecordSkipped,
    RepairsAnswered,
    RepairsExhausted,
    StatusFailed,
    StatusWritten,
    ValveMoved,
)

__all__ = ["ENTRIES_MAX", "PARENTS_MAX", "TOLD", "Entry", "WhyLog", "told"]

ENTRIES_MAX = 16  # two or three looks with all that they caused; the log has the rest
PARENTS_MAX = 512  # of which something was told last; up to twice as many are kept
CALLS_MAX = 256  # under way, for their answers; more than any ``--calls-in-flight-max`` that makes sense
TEXT_MAX = 160  # of an error: the log has all of it

TOLD: dict[type[Fact], str] = {
    LookDeferred: "news came, and the look at them was deferred until it is quiet",
    NewsSuppressed: "mail came that held nothing to look at",
    ReconcileFailed: "the fleet's own reconcile raised",
    Reconciled: "a look, and how many changes it was for",
    Planned: "what the Plan of that look asked for",
    ValveMoved: "its repairs were held, or go on",
    RepairsExhausted: "children stay unwell after all attempts",
    StatusWritten: "its status was taken by the server",
    StatusFailed: "a write of its status failed",
    EventFailed: "an Event about it could not be recorded",
    CallSent: "a call with repairs of it left",
    CallAnswered: "that call ended",
    RepairsAnswered: "the answers reached it",
    ActorCrashed: "its actor died",
    ActorRestarted: "its actor runs again",
    ActorQuarantined: "its actor was given up",
    ActorReleased: "its actor was let out",
    ActorWedged: "its actor did not come back from a message",
    RecordSkipped: "a record was left out",
    DeadLettered: "a message was set aside",
}
"""Which facts are kept, and what each means. Those of actors are kept where the actor is a parent's."""
_CLUSTER = "cluster/"
_Kept = tuple[float, Fact] | list[Any]
"""(seconds, fact) of what comes once, else [first seconds, last seconds, times, fact, own share of the call]."""
_Ring = list[_Kept]


class Entry(NamedTuple):
    """One cause, or ``times`` times the same in a row. Seconds on our clock."""

    first_s: float
    last_s: float
    times: int
    fact: Fact


class WhyLog:
    """Takes facts, from any thread. ``now`` stamps them; ``lock`` is for what is more than one step.

    A busy operator tells some thousand facts a second, so the way of most of them is short: no lock (a dict's look-up and a
    list's append are one step each), and nothing is moved to keep the parents in an order. Rings are in two generations: once
    the young one is full, it becomes the old one, and what was old and has not been told of since is forgotten.
    """

    def __init__(self, now: Callable[[], float], lock: AbstractContextManager[Any]) -> None:
        self._now = now
        self._lock = lock
        self._young: dict[str, _Ring] = {}
        self._old: dict[str, _Ring] = {}
        self._calls: OrderedDict[str, tuple[str, ...]] = OrderedDict()
        self.keepers: dict[type[Fact], Callable[[Any], None]] = dict.fromkeys(TOLD, self._of_actor)
        """Who takes facts of which class. What is not in it is of no interest here."""
        for kind in (LookDeferred, Reconciled, Planned, StatusWritten, RepairsAnswered):
            self.keepers[kind] = self._keep_routine
        self.keepers[NewsSuppressed] = self._of_news
        for other in (ValveMoved, RepairsExhausted, EventFailed, StatusFailed, ReconcileFailed):
            self.keepers[other] = self._of_parent
        self.keepers |= {CallSent: self._sent, CallAnswered: self._answered}

    def __call__(self, fact: Fact) -> None:
        """The ``Facts`` port."""
        keep = self.keepers.get(type(fact))
        if keep is not None:
            keep(fact)

    def history(self, parent: str) -> list[Entry]:
        """What is kept of that parent, the oldest first."""
        ring = self._young.get(parent) or self._old.get(parent) or []
        return [_entry(each, parent) for each in tuple(ring)]

    def statistics(self) -> dict[str, int]:
        """How many parents have a ring, and how many entries there are."""
        rings = [*self._young.values(), *self._old.values()]
        return {"parents": len(rings), "entries": sum(map(len, rings))}

    # --- whose history a fact belongs to ------------------------------------------------------------------------------
    def _keep_routine(self, fact: Any) -> None:
        """Nearly all: what never comes twice in a row. What an earlier look has left behind is not even touched."""
        ring = self._young.get(fact.parent)
        if ring is None:
            ring = self._taken_up(fact.parent)
        ring.append((self._now(), fact))
        if len(ring) > ENTRIES_MAX:
            del ring[0]

    def _keep(self, fact: Any, parent: str, own: int = 0) -> None:
        """What may repeat itself for hours: it must not push out what came before."""
        ring = self._young.get(parent)
        if ring is None:
            ring = self._taken_up(parent)
        now_s = self._now()
        last = ring[-1] if ring else None
        if isinstance(last, list) and last[3] == fact:
            last[1], last[2] = now_s, last[2] + 1
            return
        ring.append([now_s, now_s, 1, fact, own])
        if len(ring) > ENTRIES_MAX:
            del ring[0]

    def _of_news(self, fact: Any) -> None:  # short as it is, and the most frequent of those that repeat themselves
        self._keep(fact, fact.parent)

    def _of_parent(self, fact: Any) -> None:
        self._keep(_short(fact), fact.parent)

    def _of_actor(self, fact: Any) -> None:
        if fact.actor.startswith(_CLUSTER):
            self._keep(_short(fact), fact.actor.removeprefix(_CLUSTER))

    def _sent(self, fact: CallSent) -> None:
        with self._lock:
            self._calls[fact.call] = tuple(fact.shares)
            if len(self._calls) > CALLS_MAX:
                self._calls.popitem(last=False)
        kept = _short(fact)
        for parent, own in fact.shares.items():
            self._keep(kept, parent, own)

    def _answered(self, fact: CallAnswered) -> None:
        kept = _short(fact)
        with self._lock:
            parents = self._calls.pop(fact.call, ())
        for parent in parents:
            self._keep(kept, parent)

    # --- rings --------------------------------------------------------------------------------------------------------
    def _taken_up(self, parent: str) -> _Ring:
        """The ring of a parent that was not told of for a while, or never."""
        with self._lock:
            if len(self._young) >= PARENTS_MAX:
                self._old, self._young = self._young, {}
            return self._young.setdefault(parent, self._old.pop(parent, []))


def _short(fact: Fact) -> Fact:
    """Without what would make a ring large: tracebacks, the parents' shares of a call, long words."""
    if isinstance(fact, CallSent):
        return evolve(fact, shares={})  # one for all its parents; each has its own share beside it
    if isinstance(fact, ActorCrashed):
        return evolve(fact, traceback="", error=fact.error[:TEXT_MAX])
    if isinstance(fact, (StatusFailed, CallAnswered)) and len(fact.message) > TEXT_MAX:
        return evolve(fact, message=fact.message[:TEXT_MAX])
    return fact


def _entry(kept: _Kept, parent: str) -> Entry:
    if isinstance(kept, tuple):
        return Entry(kept[0], kept[0], 1, kept[1])
    first_s, last_s, times, fact, own = kept
    return Entry(first_s, last_s, times, evolve(fact, shares={parent: own}) if isinstance(fact, CallSent) else fact)


def told(fact: Fact, parent: str) -> dict[str, Any]:
    """The fields of a fact as they are shown in a history: those of its log line, but for what names the parent."""
    assert has(type(fact))
    shown = {
        each.name: getattr(fact, each.name)
        for each in fields(type(fact))
        if UNLOGGED not in each.metadata and getattr(fact, each.name) not in (parent, f"{_CLUSTER}{parent}", "", None)
    }
    if isinstance(fact, CallSent):
        shown["own"] = fact.shares.get(parent, 0)
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in shown.items()}
