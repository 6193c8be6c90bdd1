"""How a scenario is played: real actors on a ``Run`` of the simulator, its court attending, and figures of the scenario's own.

A scenario says in data what happens (clusters, steps), what it measures, and within which limits. The limits are named and
belong to the scenario, so that what the documents print is what is judged. The seed varies the schedule, the round trips,
the way of listing and the instants of the steps by a little; the trouble itself stays what it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from attrs import define, evolve, field, frozen

from ...core.events import Fact, Reconciled
from ...core.model import ParentKey
from ...core.ports import Call
from ...messages import WriteEnded
from ...sim.backend import Answer
from ..draw import Draw
from ..run import Run
from ..script import Script
from ..stage import NAMESPACE, Stage, StageSettings
from ..steps import Step

__all__ = ["Act", "Counts", "Outcome", "Playing", "Scenario", "Write", "at", "key_of"]

Counts = tuple[int, int, int]
"""(healthy, unhealthy, unknown)"""
EPS_S = 1e-6


@frozen(kw_only=True)
class Outcome:
    """What came of one playing. ``figures`` by the names of the scenario's limits; iterating gives what was
    broken.
    """

    scenario: str
    seed: int
    figures: dict[str, float]
    own: tuple[str, ...]
    """What the scenario's own figures broke."""
    court: tuple[str, ...]
    """What the court's oracles found."""

    @property
    def breaches(self) -> tuple[str, ...]:
        """All that was broken."""
        return self.own + self.court

    @property
    def passed(self) -> bool:
        """Whether nothing was."""
        return not self.breaches

    def __iter__(self) -> Iterator[str]:
        return iter(self.breaches)


@frozen(kw_only=True)
class Scenario:
    """A bug pattern that users of other operators report, as something that happens to Muster.

    ``whose`` names the reports, ``what`` says in a line what happens, ``does`` what Muster does, ``figure`` what it is held to,
    with the names of ``limits`` in braces.
    """

    name: str
    whose: str
    what: str
    does: str
    figure: str
    limits: dict[str, float]
    script: Callable[[Playing], None]

    @property
    def promised(self) -> str:
        """The figure with its limits."""
        return self.figure.format(**{name: f"{limit:g}" for name, limit in self.limits.items()})

    def play(self, seed: int = 1) -> Outcome:
        """Play it with the schedule of that seed."""
        playing = Playing(self, seed)
        self.script(playing)
        unmeasured = sorted(set(self.limits) - set(playing.figures))
        assert not unmeasured or playing.court, f"{self.name} measures no {unmeasured}"
        return Outcome(
            scenario=self.name, seed=seed, figures=playing.figures, own=tuple(playing.own), court=tuple(playing.court)
        )


@frozen
class Write:
    """A status that the server has taken."""

    at_s: float
    parent: str
    status: dict[str, Any]

    @property
    def counts(self) -> Counts:
        """Its sums."""
        return self.status["healthy"], self.status["unhealthy"], self.status["unknown"]


class Playing:
    """One playing of a scenario, of one act or more: draws from its seed, measures against its limits."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self.seed = seed
        self.draw = Draw("scenario", scenario.name, seed)
        self.figures: dict[str, float] = {}
        self.own: list[str] = []
        self.court: list[str] = []
        self._limits = scenario.limits

    def act(self, *clusters: tuple[str, int, int], steps: Sequence[Step], lasts_s: float, **more: Any) -> Act:
        """``rehearse`` and ``perform`` in one."""
        act = self.rehearse(*clusters, steps=steps, lasts_s=lasts_s, **more)
        self.perform(act)
        return act

    def rehearse(
        self,
        *clusters: tuple[str, int, int],
        steps: Sequence[Step],
        lasts_s: float,
        settings: StageSettings | None = None,
        beat_s: float = 0.0,
        streamed: bool | None = None,
        page_items: int | None = None,
        like: Act | None = None,
    ) -> Act:
        """An act that is yet to be played: ``steps`` among ``clusters`` (name, compute nodes, storage nodes) for so long, then
        healing, then rest. What a seed varies is drawn: how turns are scheduled, how lists come (unless ``streamed`` and
        ``page_items`` say), how long a request takes. ``like`` another act: nothing is drawn, its twin is made.
        """
        drawn, shift_s = self._drawn(clusters, settings or StageSettings(), streamed, page_items)
        if like is not None:
            drawn, shift_s = like.script.settings, like.shift_s
        shifted = [evolve(step, at_s=round(step.at_s + shift_s, 3)) for step in steps]
        script = Script(
            seed=self.seed, settings=drawn, clusters=clusters, faults=(), chaos_s=lasts_s, beat_s=beat_s,
            steps=tuple(sorted(shifted, key=lambda step: step.at_s)),
        )  # fmt: skip
        return Act(script, shift_s)

    def _drawn(
        self,
        clusters: tuple[tuple[str, int, int], ...],
        settings: StageSettings,
        streamed: bool | None,
        pages: int | None,
    ) -> tuple[StageSettings, float]:
        draw = self.draw
        large = sum(compute + storage for _, compute, storage in clusters) > 100
        drawn = evolve(
            settings, seed=self.seed, pct=draw.chance(0.4), turn_messages_max=draw.pick((1, 2, 4, 16)),
            streamed_list=draw.chance(0.5) if streamed is None else streamed,
            page_items=pages or (500 if large else draw.pick((2, 5, 500))), api_rtt_s=draw.pick((0.002, 0.01, 0.03)),
        )  # fmt: skip
        return drawn, draw.between(0.0, 0.2)

    def perform(self, act: Act) -> None:
        """Play it, the court attending."""
        act.run.play()
        self.court += [breach.line() for breach in act.run.court.breaches]

    def at_most(self, name: str, measured: float | None) -> None:
        """The figure ``name`` is measured (None: it never came) and may not exceed its limit."""
        self._judge(name, measured, lambda value, limit: value <= limit + EPS_S, "allowed are at most")

    def at_least(self, name: str, measured: float | None) -> None:
        """The figure must reach its limit."""
        self._judge(name, measured, lambda value, limit: value >= limit - EPS_S, "wanted are at least")

    def exactly(self, name: str, measured: float | None) -> None:
        """The figure is its limit."""
        self._judge(name, measured, lambda value, limit: abs(value - limit) <= EPS_S, "it is to be")

    def expect(self, holds: bool, text: str) -> None:
        """What has no number: ``text`` says what is wrong otherwise."""
        if not holds:
            self.own.append(text)

    def _judge(self, name: str, measured: float | None, fits: Callable[[float, float], bool], words: str) -> None:
        limit = self._limits[name]
        value = float("inf") if measured is None else round(float(measured), 6)
        worst = self.figures.get(name)
        if worst is None or not fits(value, limit):
            self.figures[name] = value
        if not fits(value, limit):
            self.own.append(f"{name} is {'never' if measured is None else f'{value:g}'}, {words} {limit:g}")


@define(eq=False)
class Act:
    """One run, and the logs that figures are taken from. Instants are the script's own: ``clock`` turns them into
    the run's.
    """

    script: Script
    shift_s: float
    run: Run = field(init=False)
    writes: list[Write] = field(factory=list)
    attempts: list[tuple[float, str]] = field(factory=list)
    """(instant, parent) of each status write that reached the server, taken or not."""
    write_ends: list[tuple[float, str]] = field(factory=list)
    """(instant, parent) of each answer, or want of one, to a status write."""
    sent: list[tuple[float, Call]] = field(factory=list)
    answered: list[tuple[float, Call, Answer]] = field(factory=list)
    reconciles: list[tuple[float, str]] = field(factory=list)
    """(instant, parent)"""
    truths: list[tuple[float, str, Counts]] = field(factory=list)
    """(instant, parent, its counts from then on)"""

    def __attrs_post_init__(self) -> None:
        self.run = Run(self.script, stop_at_first=False)
        stage = self.stage
        clock = stage.world.clock
        stage.writer.on_write.append(
            lambda parent, uid, changed, status: self.writes.append(Write(clock.now(), parent.name, status))
        )
        stage.writer.on_arrival.append(lambda parent, uid: self.attempts.append((clock.now(), parent.name)))
        stage.backend.on_send.append(lambda call: self.sent.append((clock.now(), call)))
        stage.backend.on_arrival.append(lambda call, answer: self.answered.append((clock.now(), call, answer)))
        self.run.court.hear(
            WriteEnded, lambda actor, message: self.write_ends.append((clock.now(), message.parent.name))
        )
        stage.listen(Reconciled, lambda fact: self.reconciles.append((clock.now(), fact.parent.partition("/")[2])))
        stage.truth.on_counts.append(lambda parent, kind: self._counted(parent))

    def _counted(self, parent: ParentKey) -> None:
        self.truths.append((self.stage.world.clock.now(), parent.name, self.truth(parent.name)))

    @property
    def stage(self) -> Stage:
        """Of the run."""
        return self.run.stage

    def clock(self, at_s: float) -> float:
        """When the step that the scenario puts at ``at_s`` happens in this run."""
        return at_s + self.shift_s

    def truth(self, name: str) -> Counts:
        """That parent's counts on the server at this moment, by what its nodes have reported."""
        kinds = [self.stage.truth.history(key_of(name), kind).now() for kind in self.stage.child_kinds]
        healthy, unhealthy, unknown = (sum(counts[i] for counts in kinds) for i in range(3))
        return healthy, unhealthy, unknown

    def seconds_until(self, name: str, counts: Counts, at_s: float) -> float | None:
        """How long after the step at ``at_s`` the status of that parent said so; 0 if it did already, None if it never
        did before the healing.
        """
        from_s = self.clock(at_s)
        before = [write for write in self.writes if write.parent == name and write.at_s <= from_s]
        if before and before[-1].counts == counts:
            return 0.0
        for write in self.writes:
            if write.parent == name and from_s < write.at_s < self.script.chaos_s and write.counts == counts:
                return write.at_s - from_s
        return None

    def calls_between(self, begin_s: float, end_s: float) -> list[Call]:
        """What was sent from the step at ``begin_s`` to the one at ``end_s``."""
        return [call for when_s, call in self.sent if self.clock(begin_s) <= when_s < self.clock(end_s)]

    def calls_during(self) -> list[Call]:
        """What was sent before the healing began."""
        return [call for when_s, call in self.sent if when_s < self.script.chaos_s]

    def writes_between(self, begin_s: float, end_s: float, name: str = "") -> list[Write]:
        """The statuses taken in that time, of one parent or of all."""
        first_s, last_s = self.clock(begin_s), self.clock(end_s)
        return [each for each in self.writes if first_s <= each.at_s < last_s and each.parent.startswith(name)]

    def repairs_of(self, name: str) -> int:
        """How often that node was repaired."""
        return sum(1 for repair in self.stage.backend_model.repairs if repair.name == name)

    def facts(self, kind: type[Fact]) -> list[tuple[float, Any]]:
        """(instant, fact) of each fact of that class."""
        return [(when_s, fact) for when_s, _, fact in self.stage.facts if isinstance(fact, kind)]


def at(at_s: float, do: str, *args: Any) -> Step:
    """A step of a scenario."""
    return Step(at_s, do, args)


def key_of(name: str) -> ParentKey:
    """The parent of that name."""
    return ParentKey(NAMESPACE, name)
