"""Do the oracles find what is planted? Each mutant against seed after seed until one condemns it.

``kill_all`` plays the same seeds for every mutant, in order, so that *seeds to kill* compare: how many seeds a bug of that
kind survives. A mutant that is redundant with another is expected to survive; the pair of both is not. ``table`` is what the
docs show, made from nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from attrs import frozen

from .mutants import MUTANTS, planted
from .run import Result

__all__ = ["Kill", "RunSeed", "kill_all", "kill_one", "summary", "table"]

RunSeed = Callable[[int], Result]
"""Plays that seed and judges it."""


@frozen(kw_only=True)
class Kill:
    """What became of one mutant. ``seeds`` were played; ``seed`` condemned it (None: it survived), by that oracle's breach."""

    name: str
    seeds: int
    seed: int | None = None
    oracle: str = ""
    promise: str = ""
    text: str = ""

    @property
    def survived(self) -> bool:
        """Whether no seed found it."""
        return self.seed is None

    @property
    def expected(self) -> bool:
        """Whether that is as it should be: found, unless another defence holds in its place."""
        return not self.survived or bool(MUTANTS[self.name].redundant_with)


def kill_one(name: str, seeds: Iterable[int], run_seed: RunSeed) -> Kill:
    """Play ``seeds`` with that mutant until one breaks a promise.

    What a mutant makes raise outside the actors (in the reader, say) condemns it too: a real process would have died of it.
    """
    played = 0
    for seed in seeds:
        played += 1
        with planted(name):
            try:
                breaches = run_seed(seed).breaches
            except Exception as error:  # noqa: BLE001 - whatever it is, it is the planted bug's doing
                return Kill(name=name, seeds=played, seed=seed, oracle="no-surprise", promise="I20", text=repr(error))
        if breaches:
            first = breaches[0]
            return Kill(name=name, seeds=played, seed=seed, oracle=first.oracle, promise=first.promise, text=first.text)
    return Kill(name=name, seeds=played)


def kill_all(
    seeds: Sequence[int],
    names: Iterable[str],
    run_seed: RunSeed,
    *,
    told: Callable[[Kill], None] = lambda kill: None,
) -> list[Kill]:
    """Every one of ``names`` against ``seeds``; ``told`` hears of each as it ends."""
    kills: list[Kill] = []
    for name in names:
        kills.append(kill_one(name, seeds, run_seed))
        told(kills[-1])
    return kills


def table(kills: Iterable[Kill]) -> str:
    """The kills as a table in Markdown, in their order."""
    rows = ["| planted bug | what is wrong | breaks | seeds to kill | found by |", "|---|---|---|---:|---|"]
    for kill in kills:
        mutant = MUTANTS[kill.name]
        if not kill.survived:
            end, by = str(kill.seeds), f"{kill.oracle} (seed {kill.seed})"
        elif mutant.redundant_with:
            end, by = f"survives {kill.seeds}", f"redundant with {', '.join(mutant.redundant_with)}"
        else:
            end, by = f"**survives {kill.seeds}**", ""
        rows.append(f"| {kill.name} | {mutant.what} | {mutant.promise} | {end} | {by} |")
    return "\n".join(rows) + "\n"


def summary(kills: Sequence[Kill]) -> str:
    """One line: how many were found, and within how many seeds. Redundant halves count only where they were found."""
    meant = [kill for kill in kills if not (kill.survived and kill.expected)]
    found = sorted(kill.seeds for kill in meant if not kill.survived)
    survivors = [kill.name for kill in meant if kill.survived]
    within = ", ".join(f"{sum(1 for count in found if count <= limit)} within {limit}" for limit in (1, 10, 100, 2000))
    text = f"{len(found)} of {len(meant)} planted bugs found ({within} seeds)"
    return text + (f"; not found: {', '.join(survivors)}" if survivors else "")
