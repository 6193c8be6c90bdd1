"""The demo's summary, in words for people and as a document for programs: the report's figures, and nothing of its own.

The document is versioned by its ``format``: within one, fields may be added, and none changes its meaning.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import attrs
from attrs import frozen

from .. import __version__
from ..core.quantity import Quota
from .report import Line, Report

FORMAT = "muster.dev/demo-report/v1"


@frozen(kw_only=True)
class Options:
    """What the command line asked for. ``for_s`` None: until Ctrl-C."""

    for_s: float | None
    clusters: int
    nodes: int
    seed: int
    plain: bool
    as_json: bool
    quota: Quota
    batch_max: int
    keep_logs: Path | None


@frozen(kw_only=True)
class Outcome:
    """How the demo went, beside what the logs tell. ``ran_s`` from the first deed to the drain; ``restarts`` of actors."""

    options: Options
    ran_s: float
    interrupted: bool
    restarts: int
    code: int


def document(report: Report, outcome: Outcome) -> dict[str, Any]:
    """The summary as data; the meaning of a field does not change within one ``format``."""
    options = outcome.options
    return {
        "format": FORMAT,
        "muster": __version__,
        "ok": report.ok,
        "exitCode": outcome.code,
        "interrupted": outcome.interrupted,
        "ranSeconds": round(outcome.ran_s, 3),
        "options": {
            "forSeconds": options.for_s, "clusters": options.clusters, "nodes": options.nodes, "seed": options.seed,
            "quota": str(options.quota), "batchMax": options.batch_max,
        },
        "fleet": dict(report.fleet),
        "promises": [attrs.asdict(each) for each in report.lines],
        "latencies": [attrs.asdict(each) for each in report.latencies],
        "operator": {"restarts": outcome.restarts},
    }  # fmt: skip


def print_report(report: Report, outcome: Outcome, folder: Path | None, out: TextIO) -> None:
    """The summary for people. ``folder``: where the logs stay, where they do."""
    fleet, options = report.fleet, outcome.options

    def say(text: str = "") -> None:
        print(text, file=out)

    say(f"\nWhat the servers' own logs tell about {outcome.ran_s:.1f} s (seed {options.seed}):")
    say(f"{fleet['clusters']} clusters and {fleet['nodes']} nodes were created; {fleet['reports']} reports,")
    failed = f"{fleet['failures']} failures and {fleet['silences']} silences"
    say(f"{failed}; {fleet['repairs']} repairs in {fleet['calls']} calls.\n")
    for each in report.lines:
        _say_line(each, say)
    say()
    for spread in report.latencies:
        figures = f"p50 {spread.p50_s:.2f} s   p95 {spread.p95_s:.2f} s   max {spread.max_s:.2f} s"
        say(
            f"        {spread.name:<22}{figures}   of {spread.count}"
            if spread.count
            else f"        {spread.name:<22}never"
        )
    say(f"        {'operator restarts':<22}{outcome.restarts} (its own word)")
    if folder is not None:
        say(f"\nThe logs are in {folder}")
    if not report.ok:
        again = f"--seed {options.seed} --clusters {options.clusters} --nodes {options.nodes} --quota {options.quota}"
        say(
            f"\nA promise was BROKEN. Please report it, with the logs: muster demo {again} --batch-max {options.batch_max}"
        )
    say()


def _say_line(each: Line, say: Callable[[str], None]) -> None:
    say(f"{'ok' if each.ok else 'BROKEN':>6}  {each.promise:<22}{each.figure}")
    for wrong in each.wrong:
        say(f"{'':>30}{wrong}")
