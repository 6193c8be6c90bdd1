"""``muster simulate``: the real actors in virtual time, under faults drawn from seeds, with every promise checked.

The result goes to stdout; how far it is, to stderr. What is played is one of: many seeds (the default), one seed, a script's
file, a scenario, or a world that only measures speed.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import attrs
import click
from attrs import frozen

from ..core.errors import SettingsError
from ..simulate.batch import BatchResult, run_batch
from ..simulate.catalogue import CATALOGUE, NOT_APPLICABLE
from ..simulate.drawing import draw_script
from ..simulate.drills import DRILLS
from ..simulate.run import Run
from ..simulate.script import Script
from ..simulate.scriptfile import ScriptFile, ScriptFileError, dumps, load
from ..simulate.shrink import NothingToShrink, shrink
from .crew import Crew
from .exit_codes import ExitCode
from .simulate_words import (
    Progress,
    again,
    as_document,
    batch_figures,
    batch_lines,
    catalogue_lines,
    document_of,
    drill_lines,
    outcome_lines,
    result_lines,
    scenario_lines,
)

SEEDS_DEFAULT = 200  # half a minute or less on two cores
SHRINK_S = 60.0
_SEEDS = re.compile(r"(?:(-?\d+)\.\.)?(-?\d+)")


@frozen(kw_only=True)
class Options:
    """What the command line asked for."""

    seeds: range | None
    seed: int | None
    script: Path | None
    scenario: str | None
    world: str | None
    faults: tuple[str, ...] | None
    drill: str | None
    processes: int
    html: Path | None
    shrunk: Path | None
    as_json: bool
    coverage: bool
    fired_min: int
    stop_at_first: bool


# --- what is asked ----------------------------------------------------------------------------------------------------
def read_seeds(_context: click.Context, _parameter: click.Parameter, value: str | None) -> range | None:
    """``N``: the first N seeds. ``A..B``: from A to B, both included."""
    if value is None:
        return None
    match = _SEEDS.fullmatch(value.strip())
    if match is None:
        raise click.BadParameter(
            f"found {value!r}, expected a number of seeds such as 500, or a range such as 100..199"
        )
    first, last = match.groups()
    seeds = range(1, int(last) + 1) if first is None else range(int(first), int(last) + 1)
    if not seeds:
        wanted = "at least 1" if first is None else "a range that does not end before it begins"
        raise click.BadParameter(f"found {value!r}, expected {wanted}")
    return seeds


def read_faults(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    """Ids of the catalogue, in its order; "list" is answered with the catalogue itself."""
    if value is None:
        return None
    if value.strip() == "list":
        return ("list",)
    ids = [each.strip().upper() for each in value.split(",") if each.strip()]
    for id_ in ids:
        if id_ in NOT_APPLICABLE:
            raise click.BadParameter(f"{id_} does not apply: {NOT_APPLICABLE[id_]}")
        if id_ not in CATALOGUE:
            raise click.BadParameter(
                f"there is no fault {id_!r}{_nearest(id_, CATALOGUE)}; --faults list shows them all"
            )
    return tuple(sorted(set(ids), key=list(CATALOGUE).index))


def _nearest(word: str, among: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(among), n=1, cutoff=0.4)
    return f", did you mean {near[0]}?" if near else ""


@click.command("simulate", short_help="Days in seconds: faults from seeds, every promise checked.")
@click.option(
    "--seeds", metavar="N|A..B", callback=read_seeds,
    help=f"So many seeds, or those from A to B.  [default: {SEEDS_DEFAULT}]",
)  # fmt: skip
@click.option("--seed", type=int, metavar="S", help="One seed, with the story of its failure.")
@click.option(
    "--script", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="A script that --shrink wrote."
)
@click.option("--scenario", metavar="NAME", help="A fault that others suffered, replayed; all; or list.")
@click.option("--world", type=click.Choice(["small", "large"]), help="No faults: how fast this machine simulates.")
@click.option("--faults", metavar="ID,…", callback=read_faults, help="These faults and no others; or list.")
@click.option("--drill", metavar="NAME", help="With --seed: that drill, drawn from the seed; or list.")
@click.option("--processes", type=click.IntRange(1, 256), metavar="N", help="On so many cores.  [default: all of them]")
@click.option(
    "--html", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="Write one page with pictures, which needs nothing else.",
)  # fmt: skip
@click.option(
    "--shrink", "shrunk", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="Make the first failure as small as it gets within a minute, and write it as a script.",
)  # fmt: skip
@click.option("--coverage", is_flag=True, help="Tell how often each fault fired and each oracle judged.")
@click.option(
    "--fired-min", type=click.IntRange(0), default=0, metavar="N",
    help="Fail if a fault fired less often, or an oracle never judged.",
)  # fmt: skip
@click.option("--stop-at-first", is_flag=True, help="End at the first seed that fails.")
@click.option("--json", "as_json", is_flag=True, help="Nothing but the result, as one JSON document.")
def simulate_command(**given: Any) -> None:
    """Play the operator in virtual time, under faults drawn from seeds, and check every promise at every step.

    The same seed is the same run. A failing seed prints the promise broken, the last steps, and the command that
    repeats it; the exit code is then 10.
    """
    subjects = [name for name in ("seeds", "seed", "script", "scenario", "world") if given[name] is not None]
    if len(subjects) > 1 and subjects != ["seed", "scenario"]:
        raise click.UsageError(f"--{subjects[0]} and --{subjects[1]} exclude each other: say which is meant")
    given["processes"] = given["processes"] or os.cpu_count() or 1
    options = Options(**given)
    if options.faults == ("list",):
        click.echo("\n".join(catalogue_lines()))
        return
    if options.drill == "list":
        click.echo("\n".join(drill_lines()))
        return
    if options.drill is not None:
        _check_drill(options)
    if options.faults is not None and subjects and subjects[-1] not in ("seeds", "seed"):
        raise click.UsageError(f"--faults is for seeds; --{subjects[-1]} has its own")
    for file, flag in ((options.html, "--html"), (options.shrunk, "--shrink")):
        if file is not None and not file.absolute().parent.is_dir():
            raise click.BadParameter(f"there is no folder {file.absolute().parent}", param_hint=flag)
    sys.exit(int(play(options)))


def _check_drill(options: Options) -> None:
    if options.drill not in DRILLS:
        near = _nearest(options.drill or "", DRILLS)
        raise click.BadParameter(f"there is no drill {options.drill!r}{near}; --drill list shows them all")
    if options.seed is None or options.faults is not None:
        raise click.UsageError("--drill goes with --seed, and has its own faults")


def play(options: Options) -> ExitCode:
    """Do what was asked; how it ended."""
    if options.world is not None:
        return _world(options)
    if options.scenario is not None:
        return _scenario(options)
    if options.seed is not None and options.drill is not None:
        return _one(DRILLS[options.drill].draw(options.seed), options)
    if options.seed is not None:
        return _one(draw_script(options.seed, options.faults), options)
    if options.script is not None:
        try:
            return _one(load(options.script).script, options)
        except ScriptFileError as error:
            raise SettingsError(str(error)) from error
    return _many(options)


# --- one script -------------------------------------------------------------------------------------------------------
def _one(script: Script, options: Options) -> ExitCode:
    command = again(options.seed, options.faults, options.script, options.drill)
    run = Run(script)
    if options.html is not None:
        from ..simulate.page import run_page
        from ..simulate.timeline import Timeline

        timeline = Timeline(run)
        result = run.play()
        options.html.write_text(run_page(timeline.finish(result), command), encoding="utf-8")
    else:
        result = run.play()
    if options.as_json:
        click.echo(json.dumps(document_of(result, script, command), indent=2))
    else:
        click.echo("\n".join(result_lines(result, script, command)))
    if options.shrunk is not None:
        _shrink(script, options.shrunk, options)
    _told_of(options.html, options)
    return ExitCode.OK if result.passed else ExitCode.SIMULATION_BROKEN


def _shrink(script: Script, file: Path, options: Options) -> None:
    def told(best: Script, runs: int) -> None:
        click.echo(f"{len(best.steps)} steps after {runs} runs", err=True)

    try:
        shrunk = shrink(script, now=time.monotonic, budget_s=SHRINK_S, told=told)
    except NothingToShrink as error:
        click.echo(f"muster: {error}: nothing to make small", err=True)
        return
    file.write_text(dumps(ScriptFile(script=shrunk.script)), encoding="utf-8")
    lines = shrunk.lines(again(None, None, file))
    click.echo("\n".join(["", *lines]), err=options.as_json)


def _told_of(html: Path | None, options: Options) -> None:
    if html is not None:
        click.echo(f"the page: {html.absolute().as_uri()}", err=options.as_json)


# --- many seeds -------------------------------------------------------------------------------------------------------
def _many(options: Options) -> ExitCode:
    seeds = options.seeds or range(1, SEEDS_DEFAULT + 1)
    began_s = time.monotonic()
    processes = min(options.processes, len(seeds))
    with Progress(len(seeds), sys.stderr) as progress:
        total = run_batch(
            seeds, Crew(processes).map, faults=options.faults, on_result=progress.result,
            stop_at_first=options.stop_at_first,
        )  # fmt: skip
    took_s = time.monotonic() - began_s
    thin = total.thin(options.fired_min) if options.fired_min else []
    if options.as_json:
        click.echo(json.dumps(as_document(total, thin, took_s, processes), indent=2))
    else:
        lines = batch_lines(total, thin, took_s, processes, coverage=options.coverage or bool(thin))
        click.echo("\n".join(lines))
    if options.html is not None:
        from ..simulate.page_batch import batch_page

        figures = batch_figures(total, took_s, processes)
        text = batch_page(total, thin, figures, lambda seed: again(seed, options.faults))
        options.html.write_text(text, encoding="utf-8")
    if options.shrunk is not None and total.breached:
        _shrink(draw_script(total.breached[0].seed, options.faults), options.shrunk, options)
    _told_of(options.html, options)
    return _end(total, thin)


def _end(total: BatchResult, thin: Iterable[Any]) -> ExitCode:
    if not total.ok or thin:
        return ExitCode.SIMULATION_BROKEN
    return ExitCode.OK


# --- scenarios and worlds ---------------------------------------------------------------------------------------------
def _scenario(options: Options) -> ExitCode:
    from ..simulate.scenarios import SCENARIOS

    if options.scenario == "list":
        click.echo("\n".join(scenario_lines(SCENARIOS.values())))
        return ExitCode.OK
    if options.scenario not in ("all", *SCENARIOS):
        near = _nearest(str(options.scenario), SCENARIOS)
        raise click.BadParameter(
            f"there is no scenario {options.scenario!r}{near}; --scenario list shows them all", param_hint="--scenario"
        )
    names = list(SCENARIOS) if options.scenario == "all" else [options.scenario]
    outcomes = [SCENARIOS[name].play(1 if options.seed is None else options.seed) for name in names]
    if options.as_json:
        click.echo(json.dumps({"scenarios": [attrs.asdict(each) for each in outcomes]}, indent=2))
    else:
        for each in outcomes:
            click.echo("\n".join(outcome_lines(each, SCENARIOS[each.scenario])))
    return ExitCode.OK if all(each.passed for each in outcomes) else ExitCode.SIMULATION_BROKEN


def _world(options: Options) -> ExitCode:
    from ..simulate.worlds import WORLDS, fastest

    speed = fastest(WORLDS[options.world or "small"], time.process_time)
    click.echo(json.dumps(speed.document(), indent=2) if options.as_json else speed.line())
    return ExitCode.OK
