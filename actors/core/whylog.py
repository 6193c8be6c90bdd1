"""The why-log: for each parent the last few causes and what came of them, in the order in which they happened.

A sink for facts like the log and the metrics, so a ring holds what the structured log holds at debug level, under the same
names. It costs nothing where nothing happens: no fact is told of a heartbeat, and a parent of which none was told has no ring.

Bounded twice: ``ENTRIES_MAX`` of each parent (what repeats itself is one entry with a count), and ``PARENTS_MAX`` parents,
of which the one that was quiet longest goes. An entry is a small tuple and a frozen fact of a few short fields: a full ring
is about 5 kB, all of them about 5 MB.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
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
    RecordSkipped,
    RepairsAnswered,
    StatusFailed,
    StatusWritten,
    ValveMoved,
)

__all__ = ["ENTRIES_MAX", "PARENTS_MAX", "TOLD", "Entry", "WhyLog", "told"]

ENTRIES_MAX = 16  # two or three looks with all that they caused; the log has the rest
PARENTS_MAX = 1024  # of which something was told lately
CALLS_MAX = 256  # under way, for their answers; more than any ``--calls-in-flight-max`` that makes sense
TEXT_MAX = 160  # of an error: the log has all of it

TOLD: dict[type[Fact], str] = {
    LookDeferred: "news came, and the look at them was deferred until it is quiet",
    NewsSuppressed: "mail came that held nothing to look at",
    Reconciled: "a look, and how many changes it was for",
    Planned: "what the Plan of that look asked for",
    ValveMoved: "its repairs were held, or go on",
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


class Entry(NamedTuple):
    """One cause, or ``times`` times the same in a row. Seconds on our clock."""

    first_s: float
    last_s: float
    times: int
    fact: Fact


class WhyLog:
    """Takes facts, from any thread. ``now`` stamps them; ``lock`` guards the rings (no fact is told while it is held)."""

    def __init__(self, now: Callable[[], float], lock: AbstractContextManager[Any]) -> None:
        self._now = now
        self._lock = lock
        self._rings: OrderedDict[str, list[Entry]] = OrderedDict()
        self._calls: OrderedDict[str, tuple[str, ...]] = OrderedDict()

    def __call__(self, fact: Fact) -> None:
        """The ``Facts`` port."""
        if type(fact) not in TOLD:
            return
        now_s = self._now()
        with self._lock:
            for parent in self._parents(fact):
                self._keep(parent, fact, now_s)

    def history(self, parent: str) -> list[Entry]:
        """What is kept of that parent, the oldest first."""
        with self._lock:
            return list(self._rings.get(parent, ()))

    def statistics(self) -> dict[str, int]:
        """How many parents have a ring, and how many entries there are."""
        with self._lock:
            return {"parents": len(self._rings), "entries": sum(len(ring) for ring in self._rings.values())}

    # --- inside -------------------------------------------------------------------------------------------------------
    def _parents(self, fact: Fact) -> Iterable[str]:
        """Whose history that fact belongs to."""
        if isinstance(fact, CallSent):
            self._calls[fact.call] = tuple(fact.shares)
            if len(self._calls) > CALLS_MAX:
                self._calls.popitem(last=False)
            return fact.shares
        if isinstance(fact, CallAnswered):
            return self._calls.pop(fact.call, ())
        parent = getattr(fact, "parent", None)
        if parent is not None:
            return (str(parent),)
        actor = str(getattr(fact, "actor", ""))
        return (actor.removeprefix(_CLUSTER),) if actor.startswith(_CLUSTER) else ()

    def _keep(self, parent: str, fact: Fact, now_s: float) -> None:
        ring = self._rings.get(parent)
        if ring is None:
            ring = self._rings[parent] = []
            if len(self._rings) > PARENTS_MAX:
                self._rings.popitem(last=False)
        else:
            self._rings.move_to_end(parent)
        kept = _short(fact, parent)
        if ring and ring[-1].fact == kept:
            last = ring[-1]
            ring[-1] = Entry(last.first_s, now_s, last.times + 1, last.fact)
            return
        ring.append(Entry(now_s, now_s, 1, kept))
        if len(ring) > ENTRIES_MAX:
            del ring[0]


def _short(fact: Fact, parent: str) -> Fact:
    """Without what would make a ring large: tracebacks, other parents' shares, long words."""
    if isinstance(fact, CallSent):
        return evolve(fact, shares={parent: fact.shares[parent]})
    if isinstance(fact, ActorCrashed):
        return evolve(fact, traceback="", error=fact.error[:TEXT_MAX])
    if isinstance(fact, (StatusFailed, CallAnswered)) and len(fact.message) > TEXT_MAX:
        return evolve(fact, message=fact.message[:TEXT_MAX])
    return fact


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
