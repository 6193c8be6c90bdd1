"""``python -m actors.ops.pin``: for who works on Muster: a failing seed becomes a small script that is kept as a test.

``tests/sim/test_pinned.py`` plays every script of the folder, and none may fail. So a bug that the simulation has found is
pinned first (the new test fails), and then fixed (it passes), and ``--fixed`` says when.
"""

from __future__ import annotations

import re
import time
from contextlib import nullcontext
from pathlib import Path

import click

from ..simulate.drawing import draw_script
from ..simulate.mutants import PlantingError, planted
from ..simulate.script import Script
from ..simulate.scriptfile import Finding, ScriptFile, ScriptFileError, dumps, load
from ..simulate.shrink import NothingToShrink, Shrunk, shrink
from .simulate import read_faults

FOLDER = Path("tests/sim/pinned")


@click.command()
@click.option("--seed", type=int, metavar="N", help="The seed that fails.")
@click.option(
    "--script", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Or a script that does."
)
@click.option("--faults", metavar="ID,…", callback=read_faults, help="The seed was played with these faults only.")
@click.option("--mutant", metavar="NAME", help="It fails with this planted bug.")
@click.option("--pin", "name", required=True, metavar="NAME", help="What to call it: words-with-dashes.")
@click.option("--what", required=True, metavar="TEXT", help="The bug of Muster that it shows, in a line.")
@click.option(
    "--fixed", default="", metavar="DATE", help="When it was fixed, if it is. (Say so in the file afterwards.)"
)
@click.option("--budget", default=60.0, show_default=True, metavar="SECONDS", help="How long it may take to shrink it.")
@click.option("--folder", default=FOLDER, show_default=True, type=click.Path(file_okay=False, path_type=Path))
def pin_command(
    seed: int | None,
    script: Path | None,
    faults: tuple[str, ...] | None,
    mutant: str | None,
    name: str,
    what: str,
    fixed: str,
    budget: float,
    folder: Path,
) -> None:
    """Shrink a failing seed or script, show what is left of it, and write it into the FOLDER of pinned scripts."""
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        raise click.BadParameter(f"found {name!r}, expected words-with-dashes", param_hint="--pin")
    if (seed is None) == (script is None):
        raise click.UsageError("one of --seed and --script is needed")
    try:
        failing = _failing(seed, script, faults)
        with planted(mutant) if mutant else nullcontext():
            shrunk = shrink(failing, now=time.monotonic, budget_s=budget)
    except (NothingToShrink, PlantingError, ScriptFileError) as error:
        raise click.ClickException(str(error)) from error
    path = folder / f"{name}.json"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(dumps(pinned(shrunk, what, fixed)), encoding="utf-8")
    click.echo("\n".join(shrunk.lines(f"muster simulate --script {path}")))
    click.echo(f"pinned    {path}")


def _failing(seed: int | None, script: Path | None, faults: tuple[str, ...] | None) -> Script:
    if script is not None:
        return load(script).script
    assert seed is not None
    return draw_script(seed, faults)


def pinned(shrunk: Shrunk, what: str, fixed: str) -> ScriptFile:
    """The file that keeps it."""
    finding = Finding(
        bug=what, fixed=fixed, seed=shrunk.before.seed, oracle=shrunk.breach.oracle, text=shrunk.breach.text
    )
    return ScriptFile(script=shrunk.script, finding=finding)


if __name__ == "__main__":
    pin_command()
