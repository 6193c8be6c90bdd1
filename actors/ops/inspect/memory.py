"""What is remembered for the shell: a sink of facts that keeps the last few of what people ask for at three in the morning.

Every ring is bounded, so a day of failures costs no more memory than a minute. Any thread. What each parent's
reconciles and writes tell goes to its ring in the why-log.
"""

from __future__ import annotations

import re
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from typing import Any

from attrs import define, field, frozen

from ...core import events
from ...core.events import Fact
from ...core.ports import Clock, Facts
from ...core.whylog import WhyLog
from .calls import kept_calls

FAILURES_MAX = 200  # distinct ones; the one that was seen last longest ago goes first
DEAD_LETTERS_MAX = 500
LATEST_MAX = 300
SENDS_MAX = 10_000  # instants of calls, for the sparkline: a float each
CHANGES_MAX = 100  # of one kind's stream
ACTORS_NAMED_MAX = 5


@define
class Failure:
    """Deaths with the same fingerprint: who died, of which message, where in the code."""

    error: str
    traceback: str
    first_wall_s: float
    last_wall_s: float = 0.0
    count: int = 0
    actors: dict[str, None] = field(factory=dict)
    poison: str = ""


@frozen
class Happened:
    """One fact and when (Unix seconds)."""

    wall_s: float
    fact: Fact


@define
class StreamMemory:
    """What was heard of one kind's stream."""

    up: bool | None = None
    since_wall_s: float = 0.0
    downs: int = 0
    down_reason: str = ""
    down_message: str = ""
    lists: int = 0
    list_reason: str = ""
    list_wall_s: float = 0.0
    list_count: int = 0
    missing: int = 0
    refused: int = 0
    refused_place: str = ""
    audit_differences: int = 0


class Memory:
    """See the module. A sink of facts (``core.ports.Facts``) that hands each on to ``then``."""

    def __init__(self, clock: Clock, then: Facts = lambda fact: None) -> None:
        self.clock = clock
        self._then = then
        self.failures: OrderedDict[str, Failure] = OrderedDict()
        self.dead_letters: deque[Happened] = deque(maxlen=DEAD_LETTERS_MAX)
        self.dead_letter_counts: Counter[tuple[str, str]] = Counter()
        self.latest: deque[Happened] = deque(maxlen=LATEST_MAX)
        self.sends: deque[float] = deque(maxlen=SENDS_MAX)
        self.whylog = WhyLog(clock.now, threading.Lock())
        self.calls = kept_calls()  # filled by ``calls.SeenBackend``
        self.streams: dict[str, StreamMemory] = {}
        self._lock = threading.Lock()  # for the few that are more than one step
        keep = self._keep
        self._do: dict[type[Fact], Callable[[Any], None]] = {
            events.ActorCrashed: self._crashed,
            events.DeadLettered: self._dead_lettered,
            events.CallSent: self._call_sent,
            events.StreamUp: self._stream_up,
            events.StreamDown: self._stream_down,
            events.Listed: self._listed,
            events.ObjectRefused: self._refused,
            events.AuditDiffered: self._audit,
            events.ActorRestarted: keep,
            events.ActorQuarantined: keep,
            events.ActorReleased: keep,
            events.ActorWedged: keep,
            events.Escalated: keep,
            events.RecordSkipped: keep,
            events.ValveMoved: keep,
            events.FleetValveMoved: keep,
            events.RepairsExhausted: keep,
            events.WatchFellBehind: keep,
            events.BreakerMoved: keep,
            events.BackendPaused: keep,
            events.FuseTripped: keep,
            events.CommandGiven: keep,
            events.RecordingStarted: keep,
            events.RecordingEnded: keep,
            events.RecordingCut: keep,
            events.RecordingRefused: keep,
        }
        for kind, why in self.whylog.keepers.items():
            also = self._do.get(kind)
            self._do[kind] = why if also is None else _each(why, also)

    def __call__(self, fact: Fact) -> None:
        """One fact; most are of no interest here."""
        self._then(fact)
        do = self._do.get(type(fact))
        if do is not None:
            do(fact)

    def stream(self, kind: str) -> StreamMemory:
        """What was heard of that kind."""
        return self.streams.setdefault(kind, StreamMemory())

    def failures_copied(self) -> list[tuple[str, Failure]]:
        """By fingerprint, the latest last."""
        with self._lock:
            return list(self.failures.items())

    def dead_letter_sums(self) -> list[tuple[tuple[str, str], int]]:
        """How many by reason and message, the most first."""
        with self._lock:
            return self.dead_letter_counts.most_common()

    # --- one method per fact ------------------------------------------------------------------------------------------
    def _keep(self, fact: Fact) -> None:
        self.latest.append(Happened(self.clock.wall(), fact))

    def _crashed(self, fact: events.ActorCrashed) -> None:
        self._keep(fact)
        name = fingerprint(fact)
        now_s = self.clock.wall()
        with self._lock:
            failure = self.failures.pop(name, None) or Failure(fact.error, fact.traceback, now_s, poison=fact.poison)
            failure.count += 1
            failure.last_wall_s = now_s
            failure.error, failure.traceback = fact.error, fact.traceback
            if len(failure.actors) < ACTORS_NAMED_MAX:
                failure.actors[fact.actor] = None
            self.failures[name] = failure
            if len(self.failures) > FAILURES_MAX:
                self.failures.popitem(last=False)

    def _dead_lettered(self, fact: events.DeadLettered) -> None:
        self.dead_letters.append(Happened(self.clock.wall(), fact))
        with self._lock:
            self.dead_letter_counts[fact.reason, fact.message] += 1

    def _call_sent(self, _fact: events.CallSent) -> None:
        self.sends.append(self.clock.now())

    def _stream_up(self, fact: events.StreamUp) -> None:
        stream = self.stream(fact.kind)
        stream.up, stream.since_wall_s = True, self.clock.wall()

    def _stream_down(self, fact: events.StreamDown) -> None:
        stream = self.stream(fact.kind)
        stream.up, stream.since_wall_s = False, self.clock.wall()
        stream.downs += 1
        stream.down_reason, stream.down_message = fact.reason, fact.message

    def _listed(self, fact: events.Listed) -> None:
        stream = self.stream(fact.kind)
        stream.lists += 1
        stream.list_reason, stream.list_wall_s, stream.list_count = fact.reason, self.clock.wall(), fact.count
        stream.missing += fact.missing

    def _refused(self, fact: events.ObjectRefused) -> None:
        stream = self.stream(fact.kind)
        stream.refused += 1
        stream.refused_place = f"{fact.place}: {fact.why}"

    def _audit(self, fact: events.AuditDiffered) -> None:
        self.stream(fact.kind).audit_differences += fact.differences
        self._keep(fact)


def _each(first: Callable[[Any], None], then: Callable[[Any], None]) -> Callable[[Any], None]:
    def both(fact: Any) -> None:
        first(fact)
        then(fact)

    return both


def fingerprint(fact: events.ActorCrashed) -> str:
    """Names deaths that are one trouble: the class of actor, the kind of error, and where it was raised."""
    kind = f"{fact.actor.partition('/')[0]} {fact.error.partition(':')[0]}"
    places = _PLACE.findall(fact.traceback)
    if not places:
        return kind
    file, line, function = places[-1]
    return f"{kind} {'/'.join(file.split('/')[-2:])}:{line} {function}"


_PLACE = re.compile(r'File "([^"]+)", line (\d+), in (.+)')
