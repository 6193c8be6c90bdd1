"""What ``bench.run --json`` wrote, for people: ``python -m bench.report FILE… [--page docs/performance.md] [--plot FILE]``.

Several files are one report: a run in a later file takes the place of the same run in an earlier one. ``--page`` puts the
tables between the marks of that page; the text around them is written by hand.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from bench.result import number

TARGETS, PEERS = "targets", "peers"
Runs = dict[str, Any]


def gathered(files: list[Path]) -> tuple[dict[str, Any], Runs]:
    """The head of the last file, and all runs by name."""
    head: dict[str, Any] = {}
    runs: Runs = {}
    for file in files:
        head = json.loads(file.read_text("utf-8"))
        runs |= {each["name"]: each for each in head["runs"]}
    return head, runs


def targets_table(runs: Runs) -> list[str]:
    """A line for each figure, with its target and the command that prints it."""
    lines = ["| what | figure | target | figure / target | | run |", "|---|---|---|---|---|---|"]
    for name, each in runs.items():
        if name == PEERS:
            continue
        for row in each["rows"]:
            unit = f" {row['unit']}" if row["unit"] else ""
            target = ratio = verdict = ""
            if row["target"] is not None:
                target = f"≤ {number(row['target'])}{unit}"
                ratio = f"{row['figure'] / row['target']:.2f}" if row["target"] else ""
                verdict = "met" if row["met"] else "**not met**"
            note = f" ({row['note']})" if row["note"] else ""
            least, most = row.get("spread") or (0.0, 0.0)
            spread = f" ({number(least)}–{number(most)})" if least < most else ""
            figure = f"{number(row['figure'])}{unit}{spread}"
            lines.append(f"| {row['what']}{note} | {figure} | {target} | {ratio} | {verdict} | `{name}` |")
    return lines


def peers_table(runs: Runs) -> list[str]:
    """A line for each thing measured, a column for each subject, with the ratio to Muster."""
    subjects, things = peers_of(runs)
    lines = [f"| | {' | '.join(subjects)} |", "|---" * (len(subjects) + 1) + "|"]
    for thing, by_subject in things.items():
        ours = by_subject.get(subjects[0])
        cells = []
        for subject in subjects:
            row = by_subject.get(subject)
            if row is None:
                cells.append("")
                continue
            times = "" if row is ours or ours is None else f" ({row['figure'] / ours['figure']:.1f} ×)"
            cells.append(f"{number(row['figure'])} {row['unit']}{times}")
        lines.append(f"| {thing} | {' | '.join(cells)} |")
    return lines


def peers_of(runs: Runs) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """The subjects, Muster first; and by thing measured: by subject, its row."""
    subjects: list[str] = []
    things: dict[str, dict[str, Any]] = {}
    for row in runs.get(PEERS, {"rows": []})["rows"]:
        subject, _, thing = row["what"].partition(": ")
        if subject not in subjects:
            subjects.append(subject)
        things.setdefault(thing, {})[subject] = row
    return subjects, things


def put(page: Path, mark: str, lines: list[str]) -> None:
    """Between ``<!-- mark -->`` and ``<!-- end of mark -->``."""
    text = page.read_text("utf-8")
    before, begin, rest = text.partition(f"<!-- {mark} -->\n")
    _, end, after = rest.partition(f"<!-- end of {mark} -->")
    if not begin or not end:
        raise SystemExit(f"{page} has no marks of {mark!r}")
    page.write_text(before + begin + "\n".join(lines) + "\n" + end + after, "utf-8")


def plot(runs: Runs, file: Path) -> None:
    """Left: each figure as a share of its target. Right: CPU seconds for 100,000 events, beside the peers."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "muster", "font.size": 8, "font.family": "sans-serif"}
    import matplotlib.pyplot as plt

    rows = [row for name, each in runs.items() if name != PEERS for row in each["rows"] if row["target"]]
    rows = [row for row in rows if row["met"] is not None and "quota" not in row["what"]][::-1]
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 0.24 * len(rows) + 1.2), width_ratios=(3, 2))
    ratios = [row["figure"] / row["target"] for row in rows]
    left.barh(
        [row["what"] for row in rows],
        ratios,
        color=["#2a7f62" if row["met"] else "#c4572f" for row in rows],
        height=0.7,
    )
    left.axvline(1.0, color="black", linewidth=0.8)
    left.set_title("figure / target (less is better; right of the line: not met)")
    bars = [
        (f"{subject}\n{thing.partition(', ')[2]}", row["figure"])
        for thing, by_subject in peers_of(runs)[1].items()
        if thing.startswith("100,000 heartbeats")
        for subject, row in by_subject.items()
    ][::-1]
    right.barh(
        [n for n, _ in bars],
        [v for _, v in bars],
        color=["#2a7f62" if n.startswith("Muster") else "#888888" for n, _ in bars],
    )
    for place, (_, value) in enumerate(bars):
        right.text(value, place, f" {number(value)}", va="center")
    right.margins(x=0.15)
    right.set_title("CPU seconds for 100,000 heartbeats")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m bench.report", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--page", type=Path)
    parser.add_argument("--plot", type=Path)
    chosen = parser.parse_args()
    head, runs = gathered(chosen.files)
    tables = {TARGETS: targets_table(runs), PEERS: peers_table(runs)}
    if chosen.page:
        for mark, lines in tables.items():
            put(chosen.page, mark, lines)
    else:
        print(f"commit {head['commit']}, Python {head['python']}\n")
        print("\n\n".join("\n".join(lines) for lines in tables.values()))
    if chosen.plot:
        plot(runs, chosen.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
