"""What happened when, in one run, for pictures: kept while it is played, by listening where the oracles listen.

A ``Timeline`` changes nothing: the run's trace is the same with it and without. Instants are virtual seconds from the
beginning. A *track* is a step function: (instant, value) pairs, each holding until the next.
"""

from __future__ import annotations

import inspect
from typing import Any

from attrs import define, field, frozen

from ..core.events import ActorCrashed, ActorQuarantined, ActorReleased, ActorRestarted, ActorWedged
from ..core.model import ParentKey
from ..core.ports import Call
from ..messages import ItemsAnswered, RepairsWanted
from ..sim.backend import Answer
from .catalogue import CATALOGUE
from .court import actor_of
from .run import Result, Run
from .script import Script
from .steps import VERBS, Step

__all__ = ["Arrival", "ClusterTracks", "FaultRow", "Mark", "Timeline", "Track", "View"]

Track = list[tuple[float, float]]
SAMPLE_S = 1.0  # the run's own; impaired parts and waits are looked at so often
AFTERWARDS_S = 5.0  # what the pictures show beyond the last thing that happened
_FACTS: dict[type, str] = {
    ActorCrashed: "crashed", ActorRestarted: "restarted", ActorQuarantined: "quarantined", ActorReleased: "released",
    ActorWedged: "wedged",
}  # fmt: skip


@frozen
class Arrival:
    """One call reached the backend. ``code``: what it answered, 0 for nothing."""

    at_s: float
    items: int
    code: int


@frozen
class Mark:
    """Something that happened to an actor, or to the process ("started", "ended"). ``text``: more, for who asks."""

    at_s: float
    actor: str
    what: str
    text: str = ""


@frozen(kw_only=True)
class FaultRow:
    """One fault of the script. ``bars``: (from, until, step in words), equal ends where it is over at once."""

    id: str
    name: str
    bars: tuple[tuple[float, float, str], ...]
    struck: tuple[float, ...]
    """When one that waited for its moment struck."""


@define(eq=False)
class ClusterTracks:
    """One parent. Where nothing is written, or the parent is not there, the written value is -1."""

    name: str
    there: Track = field(factory=list)
    """1 while there is such a parent, else 0."""
    true_healthy: Track = field(factory=list)
    true_total: Track = field(factory=list)
    said_healthy: Track = field(factory=list)
    said_total: Track = field(factory=list)
    asked: Track = field(factory=list)
    """How many repairs are asked for and not answered yet."""
    wait_s: Track = field(factory=list)
    """How long the oldest of them has waited."""


@frozen(kw_only=True)
class View:
    """All that a page shows of one run."""

    script: Script
    result: Result
    end_s: float
    """Of the pictures: nothing happened afterwards."""
    healed_s: float
    """When the faults ended, and the healing began."""
    clusters: tuple[ClusterTracks, ...]
    arrivals: tuple[Arrival, ...]
    marks: tuple[Mark, ...]
    lives: tuple[tuple[float, float], ...]
    """(began, ended) of each process."""
    faults: tuple[FaultRow, ...]
    impaired: dict[str, tuple[tuple[float, float], ...]]
    """By part: when it did not work as it should, or was still allowed to recover."""
    left_broken: frozenset[str]
    """Clusters that a fault goes on striking in the healing: one that is left in place."""
    story: tuple[str, ...]


class Timeline:
    """Listens to ``run``, which has not been played yet. ``finish`` gives the view."""

    def __init__(self, run: Run) -> None:
        assert run.samples is None, "somebody else looks at it already"
        self._run = run
        self._stage = stage = run.stage
        self._clusters: dict[str, ClusterTracks] = {}
        self._asked: dict[str, dict[str, float]] = {}
        """By cluster: when each key was first asked for."""
        self._arrivals: list[Arrival] = []
        self._marks: list[Mark] = []
        self._lives: list[list[float]] = []
        self._struck: dict[str, list[float]] = {}
        self._impaired: dict[str, list[list[float]]] = {}
        run.samples = self._sample
        stage.truth.on_counts.append(self._counted)
        stage.truth.on_parent.append(self._parent)
        stage.backend.on_arrival.append(self._arrived)
        stage.on_life.append(self._begin_life)
        stage.on_kill.append(self._end_life)
        run.court.hear(RepairsWanted, self._wanted)
        run.court.hear(ItemsAnswered, self._answered)
        for kind in _FACTS:
            stage.listen(kind, self._told)
        noted = stage.note_fired

        def note_fired(fault: str) -> None:
            self._struck.setdefault(fault, []).append(self._now)
            noted(fault)

        stage.note_fired = note_fired

    @property
    def _now(self) -> float:
        return self._stage.world.clock.now()

    def _tracks(self, name: str) -> ClusterTracks:
        return self._clusters.setdefault(name, ClusterTracks(name))

    # --- truth and status ---------------------------------------------------------------------------------------------
    def _counted(self, parent: ParentKey, _kind: str) -> None:
        truth, tracks = self._stage.truth, self._tracks(parent.name)
        counts = [truth.history(parent, kind).now() for kind in truth.kinds]
        _note(tracks.true_healthy, self._now, sum(healthy for healthy, _, _ in counts))
        _note(tracks.true_total, self._now, sum(map(sum, counts)))

    def _parent(self, parent: ParentKey, _old: dict[str, Any] | None, new: dict[str, Any] | None) -> None:
        tracks, status = self._tracks(parent.name), (new or {}).get("status") or {}
        _note(tracks.there, self._now, float(new is not None))
        for track, name in ((tracks.said_healthy, "healthy"), (tracks.said_total, "total")):
            said = status.get(name)
            _note(track, self._now, said if isinstance(said, int) else -1.0)

    # --- backend ------------------------------------------------------------------------------------------------------
    def _arrived(self, call: Call, answer: Answer) -> None:
        self._arrivals.append(Arrival(self._now, len(call.items), max(0, answer.code)))

    def _wanted(self, actor: str, message: RepairsWanted) -> None:
        if actor == "gateway":
            before = self._asked.get(message.parent.name, {})
            self._asked[message.parent.name] = {item.key: before.get(item.key, self._now) for item in message.items}
            self._queue(message.parent.name)

    def _answered(self, actor: str, message: ItemsAnswered) -> None:
        name = actor.rpartition("/")[2]
        asked = self._asked.get(name)
        if asked is not None and actor == actor_of(ParentKey(actor.split("/")[1], name)):
            for key in message.answers:
                asked.pop(key, None)
            self._queue(name)

    def _queue(self, name: str) -> None:
        asked, tracks = self._asked.get(name, {}), self._tracks(name)
        _note(tracks.asked, self._now, len(asked))
        _note(tracks.wait_s, self._now, self._now - min(asked.values(), default=self._now))

    # --- lives and actors ---------------------------------------------------------------------------------------------
    def _begin_life(self) -> None:
        self._end_life()
        self._lives.append([self._now, -1.0])
        self._mark("process", "started", f"life {len(self._lives)}")

    def _end_life(self) -> None:
        if self._lives and self._lives[-1][1] < 0:
            self._lives[-1][1] = self._now
            self._mark("process", "ended")
        for name in list(self._asked):  # what it had asked for died with it
            self._asked[name] = {}
            self._queue(name)

    def _told(self, fact: Any) -> None:
        self._mark(fact.actor, _FACTS[type(fact)], getattr(fact, "error", ""))

    def _mark(self, actor: str, what: str, text: str = "") -> None:
        self._marks.append(Mark(self._now, actor, what, text))

    def _sample(self, _run: Run) -> None:
        now = self._now
        for name, asked in self._asked.items():
            if asked:
                self._queue(name)
        for part, until_s in self._stage.impaired_until_s.items():
            if until_s >= now:
                spans = self._impaired.setdefault(part, [])
                if spans and now - spans[-1][1] <= 1.5 * SAMPLE_S:
                    spans[-1][1] = now
                else:
                    spans.append([min(now, self._stage.impaired_from_s.get(part, now)), now])

    # --- the whole ----------------------------------------------------------------------------------------------------
    def finish(self, result: Result) -> View:
        """What there is to see, once the run has been played."""
        script = self._run.script
        healed_s = min(script.chaos_s, result.virtual_s)
        lives = tuple((began_s, ended_s if ended_s >= 0 else self._now) for began_s, ended_s in self._lives)
        faults = self._fault_rows(healed_s)
        end_s = min(result.virtual_s, max(self._last_s(), healed_s, *(b.at_s for b in result.breaches)) + AFTERWARDS_S)
        impaired = {
            part: tuple((from_s, min(until_s, end_s)) for from_s, until_s in spans if from_s < end_s)
            for part, spans in sorted(self._impaired.items())
        }
        return View(
            script=script, result=result, end_s=end_s, healed_s=healed_s,
            clusters=tuple(self._clusters[name] for name in sorted(self._clusters)),
            arrivals=tuple(self._arrivals), marks=tuple(self._marks),
            lives=tuple((began_s, min(ended_s, end_s)) for began_s, ended_s in lives if began_s <= end_s),
            faults=faults, impaired={part: spans for part, spans in impaired.items() if spans},
            left_broken=frozenset(actor.rpartition("/")[2] for actor in self._stage.broken.left_broken),
            story=result.story or tuple(self._run.story()),
        )  # fmt: skip

    def _last_s(self) -> float:
        """When the last thing happened that a picture shows."""
        tracks = [
            track[-1][0] for each in self._clusters.values()
            for track in (each.true_healthy, each.true_total, each.said_healthy, each.said_total, each.asked) if track
        ]  # fmt: skip
        ends = [arrival.at_s for arrival in self._arrivals[-1:]] + [mark.at_s for mark in self._marks[-1:]]
        return max([0.0, *tracks, *ends])

    def _fault_rows(self, healed_s: float) -> tuple[FaultRow, ...]:
        script = self._run.script
        rows = []
        for id_ in CATALOGUE:
            steps = [step for step in script.steps if step.fault == id_]
            if steps:
                bars = tuple(
                    (step.at_s, min(healed_s, step.at_s + _lasts_s(step)), step.line().strip()) for step in steps
                )
                struck = tuple(self._struck.get(id_, ()))
                rows.append(FaultRow(id=id_, name=CATALOGUE[id_].name, bars=bars, struck=struck))
        return tuple(rows)


def _note(track: Track, at_s: float, value: float) -> None:
    """Write it down where it differs from the last, once for each instant."""
    if track and track[-1][0] == at_s:
        track.pop()
    if not track or track[-1][1] != value:
        track.append((at_s, float(value)))


def _lasts_s(step: Step) -> float:
    """For how long a fault's step holds, by the name of its argument; 0 where it is over at once."""
    given = inspect.signature(VERBS[step.do]).bind(None, *step.args).arguments
    for name in ("for_s", "after_s", "grace_s"):
        value = given.get(name)
        if isinstance(value, int | float):
            return float(value)
    return 0.0
