"""``muster replay``: plays a tape again, at any speed, up to any message, and says where it stands and whether it diverged.

To stdout goes what was asked for; to stderr, where the tape is played slowly or long, how far it is.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from ..core.errors import MusterError, SettingsError
from ..core.tape import Turn, in_words
from ..edge.fleet_python import fleet_of
from ..simulate.replay import Divergence, Replay, Step
from .exit_codes import ExitCode

PROGRESS_S = 1.0  # between two looks at how far it is


@click.command("replay", short_help="Play a recorded run again, up to any message.")
@click.argument("tape", type=click.Path(exists=True, dir_okay=False))
@click.option("--to", "to", type=click.IntRange(1), metavar="N", help="Stop after entry N.")
@click.option(
    "--actor", metavar="NAME", help="Stop after the next turn of that actor, such as gateway or cluster/NS/NAME."
)
@click.option("--message", metavar="KIND", help="Stop after the next turn that handles a message of that class.")
@click.option(
    "--speed", type=click.FloatRange(0.001), metavar="X", help="X times as fast as it was. [default: at once]"
)
@click.option("--list", "listed", is_flag=True, help="Print a line for each entry that is played.")
@click.option("--json", "as_json", is_flag=True, help="JSON instead of words: an object a line, the verdict last.")
@click.option(
    "--fleet",
    "fleet",
    default="",
    metavar="FLEET",
    help="The fleet that was recorded, where it has a reconcile of its own.",
)
def replay_command(
    tape: str,
    to: int | None,
    actor: str | None,
    message: str | None,
    speed: float | None,
    *,
    listed: bool,
    as_json: bool,
    fleet: str,
) -> None:
    """Play TAPE, which `run --record` or SIGUSR2 has written, with the actors of this version.

    What the actors do is compared with the tape, request by request; the first difference ends the replay with code 9.
    """
    path = Path(tape)
    try:
        with path.open("rb") as lines:
            player = _Show(
                Replay(lines, fleet_of(fleet).fleet if fleet else None), path, listed=listed, as_json=as_json
            )
            code = player.play(to, actor, message, speed)
            sys.stdout.flush()
    except BrokenPipeError:  # whoever reads the list has seen enough; what is left of it goes nowhere, also at the exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = ExitCode.OK
    except (MusterError, OSError) as error:
        raise SettingsError(f"{path}: {error}") from error
    sys.exit(int(code))


class _Show:
    def __init__(self, replay: Replay, path: Path, *, listed: bool, as_json: bool) -> None:
        self._replay = replay
        self._path = path
        self._listed = listed
        self._as_json = as_json
        self._counts: dict[str, int] = {}

    def play(self, to: int | None, actor: str | None, message: str | None, speed: float | None) -> ExitCode:
        began_s = time.monotonic()
        divergence: Divergence | None = None
        stopped: Step | None = None
        try:
            for step in self._told(self._replay.steps_at(speed, time.sleep)):
                if step.number == to or _is_it(step, actor, message):
                    stopped = step
                    break
        except Divergence as error:
            divergence = error
        took_s = time.monotonic() - began_s
        missed = divergence is None and stopped is None and (to, actor, message) != (None, None, None)
        (self._json if self._as_json else self._words)(stopped, divergence, took_s)
        if missed:
            click.echo("muster: the tape ended before that", err=True)
        return ExitCode.DIVERGED if divergence is not None else ExitCode.SETTINGS if missed else ExitCode.OK

    def _told(self, steps: Iterator[Step]) -> Iterator[Step]:
        """Each step, listed if that is wished; else, for whoever watches, how far it is."""
        told_s = time.monotonic()
        for step in steps:
            kind = type(step.entry).__name__.lower()
            self._counts[kind] = self._counts.get(kind, 0) + 1
            if self._listed:
                click.echo(_line(step, self._as_json))
            elif sys.stderr.isatty() and time.monotonic() - told_s >= PROGRESS_S:
                told_s = time.monotonic()
                click.echo(f"entry {step.number}, {step.at_s:.1f} s", err=True)
            yield step

    def _words(self, stopped: Step | None, divergence: Divergence | None, took_s: float) -> None:
        replay, header = self._replay, self._replay.header
        began = datetime.fromtimestamp(header.began_wall_s, UTC).isoformat(timespec="seconds")
        middle = " in the middle of a run" if header.checkpoint is not None else ""
        click.echo(
            f"{self._path.name}: recorded{middle} at {began} by muster {header.muster} on Python {header.python}"
        )
        counts = ", ".join(f"{count} {kind}" for kind, count in self._counts.items())
        click.echo(f"played {replay.number} entries ({counts}): {replay.at_s:.3f} s of the run in {took_s:.3f} s")
        if divergence is not None:
            click.echo(f"DIVERGED at {divergence}")
            return
        click.echo(f"no difference: {len(replay.requests)} patches, Events and calls were made again as they were")
        if stopped is not None:
            click.echo(f"stopped after {_line(stopped, as_json=False)}")
        elif replay.ended:
            click.echo(f"the tape ends: {replay.ended}")
        else:
            click.echo("the tape is torn: the process was killed while it recorded")
        for name in replay.actors():
            shown = {k: v for k, v in replay.statistics(name).items() if k not in ("name", "last_error") or v}
            click.echo(f"  {name}: " + ", ".join(f"{k} {v}" for k, v in shown.items() if k != "name"))

    def _json(self, stopped: Step | None, divergence: Divergence | None, took_s: float) -> None:
        replay = self._replay
        found: dict[str, Any] = {
            "entries": replay.number, "counts": self._counts, "seconds": replay.at_s, "took_s": took_s,
            "requests": len(replay.requests), "ended": replay.ended, "divergence": None,
            "stopped": None if stopped is None else stopped.number,
            "actors": {name: replay.statistics(name) for name in replay.actors()},
        }  # fmt: skip
        if divergence is not None:
            found["divergence"] = {
                "entry": divergence.entry, "actor": divergence.actor, "what": divergence.what,
                "expected": str(divergence.expected), "found": str(divergence.found),
            }  # fmt: skip
        click.echo(json.dumps(found, default=str))


def _is_it(step: Step, actor: str | None, message: str | None) -> bool:
    if actor is None and message is None:
        return False
    turn = step.entry
    return isinstance(turn, Turn) and actor in (None, turn.actor) and message in (None, turn.message)


def _line(step: Step, as_json: bool) -> str:
    words = in_words(step.entry)
    if as_json:
        return json.dumps({"entry": step.number, "at_s": round(step.at_s, 6), "what": words})
    return f"{step.number:>7} {step.at_s:>11.6f} s  {words}"
