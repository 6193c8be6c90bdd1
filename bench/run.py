"""Run benchmarks: ``python -m bench.run NAME…|all [--quick] [--json FILE]``; ``--list`` names them.

One table with target, figure, ratio and verdict; the same as JSON. A missed target is a figure; a broken promise or a crash is
exit code 1. Load, memory and speed of the machine are whatever they are: compare figures of one run with each other.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import attrs
from rich.console import Console
from rich.table import Table

from bench import runs_failure, runs_ingest, runs_patches, runs_peers, runs_size  # noqa: F401 - they register their runs
from bench.load.handle import ROOT
from bench.process import EXTRA_FLAGS
from bench.result import RUNS, Bench, Row, number


def machine() -> dict[str, Any]:
    """In general words: the processor's kind, cores, memory, kernel; the load that was there before."""
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.machine(),
    )
    memory = next((int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    return {
        "processor": model, "cores": os.cpu_count(), "memory_gib": round(memory / (1 << 20), 1),
        "kernel": platform.release().partition("-")[0], "load_before": round(os.getloadavg()[0], 2),
    }  # fmt: skip


def commit() -> str:
    """The checkout's, with a + when something is not committed."""
    try:
        head = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        dirty = subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.strip() + ("+" if dirty.stdout.strip() else "")


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def add(table: Table, name: str, row: Row) -> None:
    """One row of the table."""
    unit = f" {row.unit}" if row.unit else ""
    spread = (
        f" ({number(row.spread[0])}–{number(row.spread[1])})" if row.spread and row.spread[0] < row.spread[1] else ""
    )
    target = ratio = verdict = ""
    if row.target is not None:
        target = f"≤ {number(row.target)}{unit}"
        ratio = f"{row.figure / row.target:.2f}" if row.target else ""
        bad = "[bold red]PROMISE BROKEN" if row.promise else "[red]not met"
        verdict = "[green]met" if row.met else bad
    table.add_row(name, row.what, f"{number(row.figure)}{unit}{spread}", target, ratio, verdict, row.note)


def report(name: str, rows: list[Row], seconds: float) -> dict[str, Any]:
    """As JSON."""
    return {"name": name, "seconds": round(seconds, 1), "rows": [attrs.asdict(row) | {"met": row.met} for row in rows]}


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m bench.run", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"all, or some of {', '.join(RUNS)}")
    parser.add_argument(
        "--quick", action="store_true", help="smaller fleets and fewer repetitions: some minutes in all"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument(
        "--with", dest="flags", default="", metavar="FLAGS", help="further flags of the operator, in quotes"
    )
    parser.add_argument("--list", action="store_true", help="say what there is")
    chosen = parser.parse_args()
    if chosen.list or not chosen.names:
        for name, function in RUNS.items():
            print(f"{name:14} {(function.__doc__ or '').splitlines()[0]}")
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that whatever runs is ended with us
    names = list(RUNS) if chosen.names == ["all"] else chosen.names
    if unknown := [name for name in names if name not in RUNS]:
        parser.error(f"no such run: {', '.join(unknown)}")
    EXTRA_FLAGS.extend(shlex.split(chosen.flags))
    bench = Bench(quick=chosen.quick)
    found: dict[str, Any] = {
        "machine": machine(), "python": platform.python_version(), "commit": commit(), "quick": chosen.quick,
        "flags": chosen.flags, "date": time.strftime("%Y-%m-%d", time.gmtime()), "runs": [],
    }  # fmt: skip
    console = Console(width=None if sys.stdout.isatty() else 170)
    table = Table(
        "run", "what", "figure", "target", "ratio", "", "note", title=f"commit {found['commit']} {chosen.flags}"
    )
    failed = False
    for name in names:
        print(f"{name} …", file=sys.stderr, flush=True)
        began_s = time.monotonic()
        try:
            rows = RUNS[name](bench)
        except Exception:  # noqa: BLE001 - the others go on
            traceback.print_exc()
            table.add_row(name, "[bold red]crashed", "", "", "", "", "")
            failed = True
            continue
        failed = failed or any(row.promise and row.met is False for row in rows)
        for row in rows:
            add(table, name, row)
        found["runs"].append(report(name, rows, time.monotonic() - began_s))
        if chosen.json:
            chosen.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    console.print(table)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
