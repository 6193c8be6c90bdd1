"""Every planted bug against seed after seed, on all cores: do the oracles find it, and after how many seeds?

``python -m actors.ops.simulate_mutants [NAME …] [--seeds N] [--processes N] [--markdown FILE]``; exit code 10 when one is not
found that should be. The table in ``docs/mutants.md`` is made by it.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import click
from attrs import frozen

from ..simulate.kill import Kill, kill_one, summary, table
from ..simulate.mutants import MUTANTS
from ..simulate.run import play
from .crew import Crew
from .exit_codes import ExitCode

SEEDS = 2000
"""Within which each planted bug is to be found."""
HEAD = """# Planted bugs, and how many seeds each survives

Each is a named substitution in the product (`actors/simulate/mutants`). The same seeds are played for each, from 1 on, until
an oracle condemns it. A half of a redundant pair may survive: the other half holds; both together must be found. Made by
`tox run -e mutants -- --markdown docs/mutants.md`.

"""


@frozen
class Trial:
    """One mutant, and the seeds that it has to survive."""

    name: str
    seeds: int


def judge(trial: Trial) -> Kill:
    """Play them, in a process of the crew's."""
    return kill_one(trial.name, range(1, trial.seeds + 1), play)


@click.command()
@click.argument("names", nargs=-1)
@click.option("--seeds", default=SEEDS, show_default=True, help="How many each has to survive to be called not found.")
@click.option("--processes", default=os.cpu_count() or 1, show_default=True)
@click.option("--markdown", type=click.Path(dir_okay=False, path_type=Path), help="Write the table there.")
def mutants(names: tuple[str, ...], seeds: int, processes: int, markdown: Path | None) -> None:
    """Plant each bug (or those named) and count the seeds until the simulation finds it."""
    unknown = [name for name in names if name not in MUTANTS]
    if unknown:
        raise click.UsageError(f"no planted bug {', '.join(unknown)}; there are {', '.join(MUTANTS)}")
    began_s = time.monotonic()
    kills: list[Kill] = []
    for done in Crew(processes, patience_s=3600.0).map(judge, (Trial(name, seeds) for name in names or MUTANTS)):
        if done.value is None:
            raise click.ClickException(f"{done.item.name}: {done.error}")
        kills.append(done.value)
        kill = done.value
        end = f"survives {kill.seeds}" if kill.survived else f"seed {kill.seeds} ({kill.oracle})"
        click.echo(f"{kill.name:45} {end}")
    verdict = f"{summary(kills)}. {time.monotonic() - began_s:.0f} s on {processes} processes."
    click.echo(verdict)
    if markdown is not None:
        markdown.write_text(f"{HEAD}{verdict}\n\n{table(kills)}", encoding="utf-8")
    if any(not kill.expected for kill in kills):
        sys.exit(ExitCode.SIMULATION_BROKEN)


if __name__ == "__main__":
    mutants()
