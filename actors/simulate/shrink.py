"""Makes a failing script small: fewer steps, fewer and smaller clusters, a shorter chaos, settings nearer to the defaults.

Delta debugging: something is left out, the rest is played, and when it still fails *in the same way* the rest goes on.
The same way means the same oracle; as long as that is enough to get small, also the same words of its verdict. Large things
are tried first: all steps of one fault, then halves, then single ones. When the budget ends, the best so far is the answer.

Nothing here reads a clock or prints: the clock is given, and ``Shrunk.lines`` is what a command shows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from attrs import define, evolve, field, fields, frozen

from ..core.model import Policy
from .court import Breach
from .run import Result, Run
from .script import Script
from .stage import StageSettings
from .steps import Argument, Step

__all__ = ["STEPS_AIM", "Judge", "NothingToShrink", "Shrunk", "judged", "pattern", "shrink"]

STEPS_AIM = 20  # a failure that somebody can read; beyond it the words of the verdict may change
PATIENCE_S = 15.0  # how much later than in the best script so far the failure may come, in virtual time
LEAST_CHAOS_S = 1.0
FLAPS = 4  # so many reports of one node are better told as one step
_REPORTS = ("fail", "recover")

Judge = Callable[[Script, float], Result]
"""Plays a script, looking no further than so many virtual seconds, and judges it."""


class NothingToShrink(ValueError):
    """The script breaks no promise."""


class _Enough(Exception):
    """The run is as long as anybody will look at it."""


class _BudgetEnds(Exception):
    """The best so far is the answer."""


def judged(script: Script, until_s: float = math.inf) -> Result:
    """Play it up to its first breach. What raises outside the actors (in the reader, say) is a breach too."""

    def look(run: Run) -> None:
        if run.stage.world.clock.now() >= until_s:
            raise _Enough

    run = Run(script, samples=look if math.isfinite(until_s) else None)
    try:
        return run.play()
    except _Enough:
        return run.result()
    except Exception as error:  # noqa: BLE001 - whatever it is: a real process would have died of it
        breach = Breach(run.stage.world.clock.now(), "no-surprise", "I20", repr(error))
        return evolve(run.result(), breaches=(breach,))


def pattern(text: str) -> tuple[str, ...]:
    """The words of a verdict without names, numbers and instants: what two of the same kind have in common."""
    words = (word.strip(".,:;()[]'\"") for word in text.split())
    return tuple(word for word in words if word.isalpha())


@frozen(kw_only=True)
class Shrunk:
    """A failing script made small. ``seconds`` by the clock that was given; ``ended`` False: the budget cut it short."""

    script: Script
    breach: Breach
    before: Script
    runs: int
    seconds: float
    ended: bool

    def lines(self, command: str = "muster simulate --script FILE") -> list[str]:
        """For people: the promise, what is needed for it to break, and the ``command`` that repeats it."""
        script, before = self.script, self.before
        fewer = f"{len(before.steps)} steps became {len(script.steps)} in {self.runs} runs and {self.seconds:.1f}s"
        cut = "" if self.ended else "; it may be made smaller still with more time"
        return [
            f"BROKEN  {self.breach.oracle} ({self.breach.promise}): {self.breach.text}",
            f"at {self.breach.at_s:.3f}s of seed {script.seed}; {fewer}{cut}",
            "world     " + ", ".join(f"{name}: {n} compute, {s} storage" for name, n, s in script.clusters),
            f"lasts     {script.chaos_s:g}s, then everything heals" + _leftover(script),
            "settings  " + (", ".join(_differences(script)) or "the defaults"),
            "steps" if script.steps else "steps     none",
            *(f"  {step.line()}" for step in script.steps),
            f"again     {command}",
        ]


def _leftover(script: Script) -> str:
    return f" but {script.leftover}" if script.leftover else ""


def _differences(script: Script) -> list[str]:
    """What differs from the defaults."""
    settings, policy = script.settings, script.settings.policy
    found = [f"{name}={getattr(settings, name)}" for name in _differing(settings, _DEFAULTS)]
    found += [f"{name}={getattr(policy, name)}" for name in _differing(policy, _DEFAULTS.policy)]
    found += [f"heartbeats every {script.beat_s:g}s"] if script.beat_s else []
    return found + (["a cold start"] if script.cold_start_s is None else [])


_DEFAULTS = StageSettings()


def _differing(these: Any, those: Any) -> list[str]:
    names = [each.name for each in fields(type(those)) if each.name not in ("seed", "policy")]
    return [name for name in names if getattr(these, name) != getattr(those, name)]


def shrink(
    script: Script,
    *,
    now: Callable[[], float],
    judge: Judge = judged,
    budget_s: float = 60.0,
    told: Callable[[Script, int], None] = lambda best, runs: None,
) -> Shrunk:
    """The smallest script found within ``budget_s`` of the clock ``now`` that fails as ``script`` does.

    ``told`` hears of each better one, with the number of runs so far. Raises ``NothingToShrink``.
    """
    began_s = now()
    first = judge(script, math.inf)
    if not first.breaches:
        raise NothingToShrink(f"seed {script.seed} breaks no promise")
    search = _Search(script, first.breaches[0], judge, now, began_s + budget_s, told)
    ended = True
    try:
        search.all()
    except _BudgetEnds:
        ended = False
    return Shrunk(
        script=search.best, breach=search.breach, before=script, runs=search.runs, seconds=now() - began_s, ended=ended
    )


@define(eq=False)
class _Search:
    """``best`` fails as wanted, with ``breach``; each pass tries to make it simpler in one respect."""

    best: Script
    breach: Breach
    judge: Judge
    now: Callable[[], float]
    end_s: float
    told: Callable[[Script, int], None]
    runs: int = 1
    same_words: bool = True
    refused: set[Script] = field(factory=set)

    def all(self) -> None:
        """Every pass, until none of them finds anything; then, if it is still long, once more by the oracle's name only."""
        self._until_nothing_helps()
        if len(self.best.steps) > STEPS_AIM and self.breach.oracle != "no-surprise":
            self.same_words = False
            self.refused.clear()
            self._until_nothing_helps()

    def _until_nothing_helps(self) -> None:
        self.cut_the_end()
        self.fewer_faults()
        while True:
            before = self.best
            for one in (self.plainer, self.fewer_steps, self.fewer_clusters, self.cut_the_end, self.plainer_settings):
                one()
            if self.best == before:
                self.rounder_times()
                self.rounder_arguments()
            if self.best == before:
                return

    def fails(self, candidate: Script) -> bool:
        """Whether it fails as wanted: then it is the best from now on."""
        if candidate == self.best or candidate in self.refused:
            return False
        if self.now() >= self.end_s:
            raise _BudgetEnds
        self.runs += 1
        for breach in self.judge(candidate, self.breach.at_s + PATIENCE_S).breaches:
            if self._same(breach):
                self.best, self.breach = candidate, breach
                self.told(candidate, self.runs)
                return True
        self.refused.add(candidate)
        return False

    def _same(self, breach: Breach) -> bool:
        if breach.oracle != self.breach.oracle:
            return False
        return not self.same_words or pattern(breach.text) == pattern(self.breach.text)

    # --- steps --------------------------------------------------------------------------------------------------------
    def cut_the_end(self) -> None:
        """What comes after the failure is no part of it; and the chaos need not last."""
        at_s = self.breach.at_s
        if at_s < self.best.chaos_s:
            early = _with_steps(self.best, [step for step in self.best.steps if step.at_s <= at_s])
            self.fails(evolve(early, chaos_s=float(math.floor(at_s) + 1)))
            return
        last_s = max((step.at_s for step in self.best.steps), default=0.0)
        for wish_s in (LEAST_CHAOS_S, last_s + 1.0, last_s + 5.0, self.best.chaos_s / 2, self.best.chaos_s * 0.8):
            chaos_s = float(math.ceil(max(wish_s, LEAST_CHAOS_S)))
            if last_s < chaos_s < self.best.chaos_s and self.fails(_lasting(self.best, chaos_s)):
                return

    def fewer_faults(self) -> None:
        """Whole faults first, and all that users do as one."""
        groups: dict[str, list[Step]] = {}
        for step in self.best.steps:
            groups.setdefault(step.fault, []).append(step)
        self._minimise(sorted(groups.values(), key=len, reverse=True))

    def fewer_steps(self) -> None:
        """Halves, quarters, …, single ones; and many reports of one node become one step."""
        self._minimise([[step] for step in self.best.steps])
        for name in dict.fromkeys(str(step.args[0]) for step in self.best.steps if step.do in _REPORTS):
            self.fails(_flapping(self.best, name))

    def _minimise(self, parts: list[list[Step]]) -> None:
        """ddmin: leave out ever smaller runs of ``parts``, as long as the rest fails."""
        if parts and self.fails(_with_steps(self.best, [])):
            return
        size = max(1, len(parts) // 2)
        while parts:
            left_out, start = False, 0
            while start < len(parts):
                rest = parts[:start] + parts[start + size :]
                if self.fails(_with_steps(self.best, [step for part in rest for step in part])):
                    parts, left_out = rest, True
                else:
                    start += size
            if size == 1 and not left_out:
                return
            size = max(1, size // 2)

    # --- the world ----------------------------------------------------------------------------------------------------
    def fewer_clusters(self) -> None:
        """Without whole clusters, then with fewer nodes in each; steps about what is gone go with it."""
        for cluster in self.best.clusters[::-1]:
            if len(self.best.clusters) > 1:
                kept = tuple(each for each in self.best.clusters if each != cluster)
                self.fails(_with_clusters(self.best, kept))
        for name, _, _ in self.best.clusters:
            self.fails(_renumbered(self.best, name))
            for smaller in self._smaller(name):
                if self.fails(_with_clusters(self.best, smaller)):
                    break

    def _smaller(self, name: str) -> Iterator[tuple[tuple[str, int, int], ...]]:
        """The world with a smaller cluster ``name``, the smallest first."""
        compute, storage = next((n, s) for each, n, s in self.best.clusters if each == name)
        sizes = dict.fromkeys([
            (1, 0), (compute // 2, storage // 2), (compute // 2, storage), (compute, 0), (compute - 1, storage),
            (compute, storage - 1), (0, storage),
        ])  # fmt: skip
        for n, s in sizes:
            if 0 <= n <= compute and 0 <= s <= storage and 1 <= n + s < compute + storage:
                yield tuple((name, n, s) if each[0] == name else each for each in self.best.clusters)

    # --- settings -----------------------------------------------------------------------------------------------------
    def plainer(self) -> None:
        """Nothing left broken, no cold start, no heartbeats."""
        self.fails(evolve(self.best, leftover=""))
        self.fails(evolve(self.best, cold_start_s=0.0))
        if self.best.beat_s:
            policy = evolve(self.best.settings.policy, heartbeat_timeout_s=None)
            self.fails(evolve(self.best, beat_s=0.0, settings=evolve(self.best.settings, policy=policy)))
        self.fails(evolve(self.best, settings=evolve(self.best.settings, pct=False)))

    def plainer_settings(self) -> None:
        """One setting after the other, the parents' policy first, as it is by default."""
        for name in _differing(self.best.settings.policy, _DEFAULTS.policy):
            policy = evolve(self.best.settings.policy, **{name: getattr(Policy(), name)})
            self.fails(evolve(self.best, settings=evolve(self.best.settings, policy=policy)))
        for name in _differing(self.best.settings, _DEFAULTS):
            settings = evolve(self.best.settings, **{name: getattr(_DEFAULTS, name)})
            self.fails(evolve(self.best, settings=settings))

    # --- numbers ------------------------------------------------------------------------------------------------------
    def rounder_times(self) -> None:
        """Steps one second apart, soon after the beginning, at whole seconds, or at tenths."""
        self._all_at([float(number + 1) for number in range(len(self.best.steps))])
        idle_s = self.best.steps[0].at_s - 1.0 if self.best.steps else 0.0
        if idle_s > 0.0:
            self._all_at([round(step.at_s - idle_s, 3) for step in self.best.steps])
        for digits in (0, 1):
            self._all_at([round(step.at_s, digits) for step in self.best.steps])
        for number, step in enumerate(self.best.steps):
            for at_s in (round(step.at_s), round(step.at_s, 1)):
                if at_s != step.at_s and self.fails(_with_step(self.best, number, evolve(step, at_s=float(at_s)))):
                    break

    def _all_at(self, instants: Sequence[float]) -> None:
        steps = [evolve(step, at_s=at_s) for step, at_s in zip(self.best.steps, instants, strict=True)]
        self.fails(_with_steps(self.best, steps))

    def rounder_arguments(self) -> None:
        """Smaller and rounder numbers in what the steps say."""
        for number in range(len(self.best.steps)):
            for place, value in enumerate(self.best.steps[number].args):
                for simpler in _simpler(value):
                    step = self.best.steps[number]
                    args = (*step.args[:place], simpler, *step.args[place + 1 :])
                    if self.fails(_with_step(self.best, number, evolve(step, args=args))):
                        break


def _simpler(value: Argument) -> list[Argument]:
    """Simpler numbers in place of ``value``, the simplest first; nothing where it is no number."""
    if isinstance(value, bool):
        return []
    if isinstance(value, int):
        return list(dict.fromkeys(each for each in (1, 2, value // 2, value - 1) if 1 <= each < value))
    if isinstance(value, float):
        among = (1.0, 2.0, 5.0, 10.0, 20.0, float(round(value)), round(value, 1))
        return list(dict.fromkeys(each for each in among if each > 0.0 and _length(each) < _length(value)))
    return []


def _length(value: float) -> tuple[int, float]:
    """By how many digits one has to read; of equally long ones the smaller is the simpler."""
    return len(f"{value:g}"), abs(value)


def _flapping(script: Script, name: str) -> Script:
    """With one step in place of all in which that node fails and recovers; the same script where these are few."""
    reports = [step for step in script.steps if step.do in _REPORTS and step.args[0] == name]
    if len(reports) < FLAPS:
        return script
    every_s = round((reports[-1].at_s - reports[0].at_s) / (len(reports) - 1), 3)
    flap = evolve(reports[0], do="flap", args=(name, len(reports) // 2, max(every_s, 0.001)))
    return _with_steps(script, [flap, *(step for step in script.steps if step not in reports)])


def _with_steps(script: Script, steps: Sequence[Step]) -> Script:
    """Only these, in their order in time; of the faults, those that are left."""
    kept = tuple(sorted((step for step in steps if step.at_s < script.chaos_s), key=lambda step: step.at_s))
    left = {step.fault for step in kept}
    return evolve(script, steps=kept, faults=tuple(id_ for id_ in script.faults if id_ in left))


def _with_step(script: Script, number: int, step: Step) -> Script:
    return _with_steps(script, [*script.steps[:number], step, *script.steps[number + 1 :]])


def _lasting(script: Script, chaos_s: float) -> Script:
    """It ends then: what would come later is left out."""
    shorter = evolve(script, chaos_s=chaos_s)
    return _with_steps(shorter, shorter.steps)


def _renumbered(script: Script, cluster: str) -> Script:
    """The steps speak of the cluster's first nodes instead of its later ones, so that these can be left out."""
    said = {str(word) for step in script.steps for word in step.args}
    names: dict[str, str] = {}
    for letter in ("n", "s"):
        own = [node for node, of in script.names() if of == cluster and node.startswith(f"{cluster}-{letter}")]
        names.update(zip((node for node in own if node in said), own, strict=False))
    steps = [evolve(step, args=tuple(names.get(str(word), word) for word in step.args)) for step in script.steps]
    return _with_steps(script, steps)


def _with_clusters(script: Script, clusters: tuple[tuple[str, int, int], ...]) -> Script:
    """Without the steps about nodes and clusters that were there at the beginning and are no longer."""
    smaller = evolve(script, clusters=clusters)
    gone = {word for pair in script.names() for word in pair} - {word for pair in smaller.names() for word in pair}
    return _with_steps(smaller, [step for step in script.steps if not gone.intersection(map(str, step.args))])
