"""What ``muster simulate`` says: for people as lines, for programs as a document, and meanwhile how far it is.

The document is versioned by its ``format``: within one, fields may be added, and none changes its meaning.
"""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

import attrs
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from .. import __version__
from ..simulate.batch import BatchResult, Coverage
from ..simulate.catalogue import CATALOGUE, NOT_APPLICABLE
from ..simulate.drills import DRILLS
from ..simulate.run import Result
from ..simulate.scenarios import Outcome, Scenario
from ..simulate.script import Script

FORMAT = "muster.dev/simulation/v1"
TOLD_MAX = 3  # failing seeds with their whole story; the others in a line each
NAMED_MAX = 100  # failing seeds in a line each
PLAIN_S = 10.0  # between two lines of progress where nobody watches


def again(
    seed: int | None, faults: tuple[str, ...] | None, script: Path | None = None, drill: str | None = None
) -> str:
    """The command that repeats it, by the name under which this one was called."""
    words = ["muster" if Path(sys.argv[0]).name == "muster" else "./run", "simulate"]
    words += ["--script", str(script)] if script is not None else ["--seed", str(seed)]
    words += ["--drill", drill] if drill else []
    words += ["--faults", ",".join(faults)] if faults else []
    return shlex.join(words)


# --- one seed ---------------------------------------------------------------------------------------------------------
def result_lines(result: Result, script: Script, command: str) -> list[str]:
    """What came of one script. A failure with its story, and how to repeat it."""
    world = ", ".join(f"{name} {compute}+{storage}" for name, compute, storage in script.clusters)
    faults = ", ".join(script.faults) or "none"
    drilled = [f"drill {script.drill}: {DRILLS[script.drill].what}"] if script.drill else []
    lines = [
        f"seed {result.seed}: clusters {world} (compute+storage nodes); {len(script.steps)} steps; faults {faults}",
        *drilled,
        f"{result.virtual_s:.0f} s of virtual time, {result.messages} messages, {_did(result)}; trace {result.trace}",
    ]
    if result.passed:
        return [*lines, "ok      every promise was kept"]
    return [*lines, *failure_lines(result, command)]


def _did(what: Result | BatchResult) -> str:
    return f"{what.calls} calls, {what.repairs} repairs, {what.writes} status writes"


def failure_lines(result: Result, command: str) -> list[str]:
    """The promise broken, the last steps in a line each, and the command that repeats it."""
    first, *others = result.breaches
    lines = [f"BROKEN  {first.oracle} ({first.promise}): {first.text}"]
    lines.append(f"        at {first.at_s:.3f} s of seed {result.seed}; the last steps:")
    lines += [f"    {line}" for line in result.story]
    lines += [f"    then   {each.line()}" for each in others]
    lines.append(f"again   {command}")
    lines.append(f"small   {command} --shrink seed-{result.seed}.json")
    return lines


def document_of(result: Result, script: Script, command: str) -> dict[str, Any]:
    """The same as data."""
    return {
        "format": FORMAT,
        "muster": __version__,
        "ok": result.passed,
        "again": command,
        "faults": list(script.faults),
        "drill": script.drill,
        **_result(result),
        "messages": result.messages,
        "calls": result.calls,
        "repairs": result.repairs,
        "writes": result.writes,
        "fired": result.fired,
        "exercised": result.exercised,
    }


def _result(result: Result) -> dict[str, Any]:
    return {
        "seed": result.seed,
        "trace": result.trace,
        "virtualSeconds": round(result.virtual_s, 3),
        "steps": result.steps,
        "breaches": [attrs.asdict(each) for each in result.breaches],
        "story": list(result.story),
    }


# --- many seeds -------------------------------------------------------------------------------------------------------
def speed(total: BatchResult, took_s: float) -> tuple[float, float]:
    """(seeds per minute of the wall clock, simulated hours per second of one core)"""
    per_minute = 60.0 * total.seeds / took_s if took_s > 0 else 0.0
    hours = total.virtual_s / 3600 / total.cpu_s if total.cpu_s > 0 else 0.0
    return per_minute, hours


def batch_lines(
    total: BatchResult, thin: Sequence[Coverage], took_s: float, processes: int, *, coverage: bool
) -> list[str]:
    """What came of a batch: the failures last, because that is where one looks."""
    per_minute, hours = speed(total, took_s)
    span = "no seed" if not total.seeds else f"seeds {total.first} to {total.last}"
    only = f", with {', '.join(total.faults) or 'no fault'} only" if total.faults is not None else ""
    where = f"{processes} {'process' if processes == 1 else 'processes'}"
    virtual = f"{total.virtual_s / 3600:.1f} h of virtual time, {hours:.2f} h a second and core"
    lines = [
        f"{span}{only}: {total.seeds} played in {took_s:.1f} s on {where}, {per_minute:.0f} a minute",
        f"{virtual}; {total.messages} messages, {_did(total)}",
        f"fingerprint of all traces {total.fingerprint:016x}",
    ]
    if total.interrupted:
        lines.append("INTERRUPTED: this is what there was so far")
    if coverage:
        lines += ["", *coverage_lines(total.coverage())]
    lines += ["", *verdict_lines(total, thin)]
    return lines


def batch_figures(total: BatchResult, took_s: float, processes: int) -> list[tuple[str, object]]:
    """The figures at the head of the page."""
    per_minute, hours = speed(total, took_s)
    return [
        ("seeds", f"{total.seeds:,}"), ("broken", len(total.breached_seeds)), ("took", f"{took_s:.0f} s"),
        ("processes", processes), ("seeds a minute", f"{per_minute:,.0f}"),
        ("virtual time", f"{total.virtual_s / 3600:,.1f} h"), ("hours a second and core", f"{hours:.2f}"),
        ("calls", f"{total.calls:,}"), ("repairs", f"{total.repairs:,}"), ("status writes", f"{total.writes:,}"),
    ]  # fmt: skip


def verdict_lines(total: BatchResult, thin: Sequence[Coverage]) -> list[str]:
    """Canaries, troubles, coverage that is too thin, and the seeds that failed."""
    lines = []
    for kill in total.canaries:
        if kill.survived:
            lines.append(
                f"BLIND   the planted bug {kill.name} was not found in {kill.seeds} seeds: "
                "the oracles do not see it, and this batch proves nothing"
            )
        else:
            nth = "the first seed" if kill.seeds == 1 else f"seed {kill.seeds}"
            lines.append(f"canary  {kill.name} was found by {kill.oracle}, at {nth}")
    for row in thin:
        fell = "never judged" if row.what == "oracle" else f"fired {row.count} times, which is too little"
        lines.append(f"THIN    {row.what} {row.id} ({row.name}) {fell}")
    for trouble in total.troubles:
        lines += [f"ERROR   the simulator itself failed at seed {trouble.seed}:"]
        lines += [f"    {line}" for line in trouble.text.splitlines()]
    for result in total.breached[:TOLD_MAX]:
        lines += ["", *failure_lines(result, again(result.seed, total.faults))]
    others = total.breached[TOLD_MAX:NAMED_MAX]
    lines += [""] if others else []
    lines += [f"seed {each.seed}  {each.breaches[0].line()}" for each in others]
    more = len(total.breached_seeds) - len(total.breached[:NAMED_MAX])
    lines += [f"and {more} seeds more"] if more > 0 else []
    if total.breached_seeds:
        lines += ["", f"BROKEN  {len(total.breached_seeds)} of {total.seeds} seeds broke a promise"]
    elif total.ok and total.seeds:
        lines.append(f"{'THIN    ' if thin else 'ok      '}every promise was kept in {total.seeds} seeds")
    return lines


def coverage_lines(rows: Iterable[Coverage]) -> list[str]:
    """Three tables: faults, oracles, the gates of ``why``."""
    rows = list(rows)
    lines = ["fault      fired    seeds"]
    lines += [
        f"{row.id:<6}{row.count:>10}{row.seeds:>9}  {row.name}" for row in rows if row.what == "fault" and row.asked
    ]
    lines += ["", f"{'oracle':<24}{'judged':>9}{'seeds':>9}  promise"]
    lines += [f"{row.id:<24}{row.count:>9}{row.seeds:>9}  {row.name}" for row in rows if row.what == "oracle"]
    lines += ["", f"{'gate of why':<24}{'named':>9}{'seeds':>9}{'first':>9}  what is so"]
    lines += [
        f"{row.id:<24}{row.count:>9}{row.seeds:>9}{'' if row.first is None else row.first:>9}  {row.name}"
        for row in rows
        if row.what == "gate"
    ]
    return lines


def as_document(total: BatchResult, thin: Sequence[Coverage], took_s: float, processes: int) -> dict[str, Any]:
    """The batch as data; the meaning of a field does not change within one ``format``."""
    per_minute, hours = speed(total, took_s)
    return {
        "format": FORMAT,
        "muster": __version__,
        "ok": total.ok and not thin,
        "interrupted": total.interrupted,
        "seeds": total.seeds,
        "first": total.first,
        "last": total.last,
        "faults": None if total.faults is None else list(total.faults),
        "fingerprint": f"{total.fingerprint:016x}",
        "processes": processes,
        "tookSeconds": round(took_s, 3),
        "cpuSeconds": round(total.cpu_s, 3),
        "virtualSeconds": round(total.virtual_s, 3),
        "seedsPerMinute": round(per_minute, 1),
        "hoursPerCoreSecond": round(hours, 3),
        "messages": total.messages,
        "calls": total.calls,
        "repairs": total.repairs,
        "writes": total.writes,
        "canaries": [
            {"name": kill.name, "found": not kill.survived, "seeds": kill.seeds, "oracle": kill.oracle}
            for kill in total.canaries
        ],
        "coverage": [attrs.asdict(row) for row in total.coverage()],
        "thin": [row.id for row in thin],
        "troubles": [attrs.asdict(each) for each in total.troubles],
        "breachedSeeds": total.breached_seeds,
        "breached": [{**_result(each), "again": again(each.seed, total.faults)} for each in total.breached],
    }


def drill_lines() -> list[str]:
    """All drills: every third seed is one of them, in turn."""
    width = max(map(len, DRILLS))
    return [f"{name:{width}}  {each.what}" for name, each in DRILLS.items()]


def catalogue_lines() -> list[str]:
    """All faults, and those that do not apply."""
    lines = [f"{each.id:<4} {each.name}" for each in CATALOGUE.values()]
    return lines + ["", "not here:"] + [f"{id_:<4} {why}" for id_, why in NOT_APPLICABLE.items()]


# --- scenarios --------------------------------------------------------------------------------------------------------
def scenario_lines(scenarios: Iterable[Scenario]) -> list[str]:
    """Each by its name: what happens."""
    scenarios = list(scenarios)
    width = max((len(each.name) for each in scenarios), default=0)
    return [f"{each.name:<{width}}  {each.what}" for each in scenarios]


def outcome_lines(outcome: Outcome, scenario: Scenario) -> list[str]:
    """What came of a scenario: what it is held to, and what was measured."""
    figures = ", ".join(f"{name} {value:g}" for name, value in outcome.figures.items())
    lines = [
        f"{'ok      ' if outcome.passed else 'BROKEN  '}{outcome.scenario}: {scenario.what}",
        f"        suffered by {scenario.whose}; here: {scenario.does}",
        f"        held to: {scenario.promised}; measured: {figures or 'nothing'}",
    ]
    lines += [f"        {each}" for each in outcome.breaches]
    prog = again(outcome.seed, None).partition(" --seed")[0]
    lines += [] if outcome.passed else [f"again   {prog} --scenario {outcome.scenario} --seed {outcome.seed}"]
    return lines


# --- how far it is ----------------------------------------------------------------------------------------------------
class Progress:
    """A bar where somebody watches, else a line every ten seconds; each failure at once. All of it to ``out``."""

    def __init__(self, seeds: int, out: TextIO) -> None:
        self._seeds = seeds
        self._out = out
        self._done = self._broken = 0
        self._told_s = time.monotonic()
        self._bar: Bar | None = None
        if out.isatty():
            columns = (
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("seeds"),
                TimeRemainingColumn(),
            )  # fmt: skip
            self._bar = Bar(*columns, console=Console(file=out), transient=True)
            self._task = self._bar.add_task("simulating", total=seeds)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        else:
            self._say(f"simulating {self._seeds} seeds")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def result(self, result: Result) -> None:
        """One seed more is through."""
        self._done += 1
        if result.breaches:
            self._broken += 1
            first = result.breaches[0]
            self._say(f"seed {result.seed}: {first.oracle} ({first.promise}) is broken at {first.at_s:.3f} s")
        if self._bar is not None:
            broken = f"simulating, {self._broken} broken" if self._broken else "simulating"
            self._bar.update(self._task, completed=self._done, description=broken)
        elif time.monotonic() - self._told_s >= PLAIN_S:
            self._told_s = time.monotonic()
            self._say(f"{self._done} of {self._seeds} seeds, {self._broken} broken")

    def _say(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=self._out, flush=True)
