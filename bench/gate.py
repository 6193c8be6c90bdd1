"""The regression gate: ``python -m bench.gate [--update]``. Counts, never times; so it fails for the code and nothing else.

Counted are bytecode instructions and C calls for each event on the way from the bytes of a watch to the verdict
(``Stream.feed``), and, for each change in a simulated world, the operator's instructions, messages, status writes and backend
calls. They are compared with ``bench/baseline.json``, which has the figures of each Python version: more than 5 % above
fails, and tells where; far below asks for ``--update``. A version without figures passes, and says so.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import CodeType

from attrs import frozen

import actors
from actors.core.builtin import MUSTER_FLEET
from actors.core.decode import Decoder
from actors.core.intake import Intake
from actors.core.model import Policy, Share
from actors.core.stream import Stream
from actors.sim.harness import SimulatedFleet
from bench.counting import counted
from bench.load.objects import FIRST_VERSION, Nodes

BASELINE = Path(__file__).with_name("baseline.json")
TOLERANCE = 0.05
KIND = "ComputeNode"
EVENTS = 3_000
PER_CHUNK = 27  # what 64 kB hold
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
PACKAGE = str(Path(actors.__file__).parent)
Figures = Mapping[str, float]


@frozen
class Verdict:
    """``worse`` and ``unknown`` fail the gate; ``better`` asks for a new baseline. One line each."""

    worse: list[str]
    better: list[str]
    unknown: list[str]

    @property
    def passed(self) -> bool:
        return not self.worse and not self.unknown


def compare(baseline: Figures, found: Figures, tolerance: float = TOLERANCE) -> Verdict:
    """Each figure with its own of the baseline. A figure that only one side has is unknown: the baseline is of other code."""
    worse, better = [], []
    for name in sorted(baseline.keys() & found.keys()):
        was, now = baseline[name], found[name]
        line = f"{name}: {was:g} → {now:g}" + (f" ({now / was - 1:+.1%})" if was else "")
        if now > was * (1 + tolerance) + 1e-9:
            worse.append(line)
        elif now < was * (1 - tolerance) - 1e-9:
            better.append(line)
    unknown = [f"{name}: only in the {'baseline' if name in baseline else 'measurement'}"
               for name in sorted(baseline.keys() ^ found.keys())]  # fmt: skip
    return Verdict(worse, better, unknown)


# --- Stream.feed ------------------------------------------------------------------------------------------------------
class _Bytes:
    """A fleet's events as the bytes of a watch, without the framing of HTTP."""

    def __init__(self, parents: int, children: int) -> None:
        self.nodes = Nodes([children] * parents, started_s=1_767_225_600.0)
        self._version = FIRST_VERSION + len(self.nodes)

    def initial(self) -> bytes:
        """A streamed list, with its end."""
        end = {"resourceVersion": str(self._version), "annotations": {"k8s.io/initial-events-end": "true"}}
        mark = {"type": "BOOKMARK", "object": {"apiVersion": "muster.dev/v1alpha1", "kind": KIND, "metadata": end}}
        events = [_line(self.nodes.events("ADDED", [number])) for number in range(len(self.nodes))]
        return b"".join(events) + json.dumps(mark).encode() + b"\n"

    def chunks(self, count: int, *, turn: bool, per_chunk: int) -> list[bytes]:
        """So many reports, all as before or each the other way."""
        lines = []
        for number in self.nodes.in_turn(count):
            self._version += 1
            self.nodes.report(number, self._version, bool(self.nodes.well[number]) ^ turn, 0)
            lines.append(_line(self.nodes.event(number)))
        return [b"".join(lines[at : at + per_chunk]) for at in range(0, count, per_chunk)]


def _line(chunk: bytes) -> bytes:
    return chunk[chunk.index(b"\n") + 1 : -2]


def feed_figures(events: int = EVENTS) -> dict[str, float]:
    """Of ``Stream.feed``, for each event: heartbeats in chunks of 64 kB and one by one, and changes."""
    found: dict[str, float] = {}
    for what, turn, per_chunk in (
        ("heartbeat in 64 kB", False, PER_CHUNK), ("heartbeat alone", False, 1), ("change in 64 kB", True, PER_CHUNK),
    ):  # fmt: skip
        source, mail = _Bytes(10, 100), list[object]()
        stream = Stream(
            Decoder(MUSTER_FLEET, KIND), Intake(KIND), epoch=1, deliver=mail.append, facts=lambda _fact: None,
            random=random.Random(1),
        )  # fmt: skip
        stream.action(0.0)
        stream.opened(0.0, None)
        stream.feed(source.initial(), 0.0)
        assert stream.synced, "the streamed list is not complete"
        chunks = source.chunks(events, turn=turn, per_chunk=per_chunk)
        mail.clear()
        cost = counted(partial(_feed, stream, chunks))
        assert bool(mail) == turn, "heartbeats wake nobody, changes do"
        found[f"feed, {what}: instructions"] = round(cost.instructions / events, 2)
        found[f"feed, {what}: C calls"] = round(cost.c_calls / events, 2)
    return found


def _feed(stream: Stream, chunks: list[bytes]) -> None:
    for chunk in chunks:
        stream.feed(chunk, 1.0)


# --- the operator in a simulated world ----------------------------------------------------------------------------------
def ours(code: CodeType) -> bool:
    """The operator's code: the package without the world that is simulated around it, and pykka."""
    name = code.co_filename
    if name.startswith("<attrs generated"):
        return " actors." in name and " actors.sim" not in name
    return (name.startswith(PACKAGE) and not name.startswith(f"{PACKAGE}/sim")) or "/pykka/" in name


def world_figures(clusters: int = 5, nodes: int = 20, rounds: int = 4) -> dict[str, float]:
    """For each change: everything from the reader's mail to the status write and the repair call."""
    fleet = SimulatedFleet(seed=1, policy=Policy(max_unhealthy=Share(percent=100.0)))
    for cluster in range(clusters):
        fleet.cluster(f"c{cluster}")
        for node in range(nodes):
            fleet.node(f"c{cluster}-n{node}", f"c{cluster}")
    fleet.start()
    fleet.run(10.0)

    def change(well: bool, quiet: bool) -> Callable[[], None]:
        def act() -> None:
            for cluster in range(clusters):
                for node in range(0, nodes, 2):
                    fleet.report(f"c{cluster}-n{node}", True if quiet else well)
            fleet.run(5.0)

        return act

    found: dict[str, float] = {}
    changes = clusters * len(range(0, nodes, 2)) * rounds
    for what, quiet in (("heartbeat", True), ("change", False)):
        before = len(fleet.writer.writes), len(fleet.backend_model.arrivals)
        instructions = messages = 0
        for number in range(rounds):
            cost = counted(change(well=number % 2 == 1, quiet=quiet), ours, "Cell.on_receive")
            instructions += cost.instructions
            messages += cost.entered["Cell.on_receive"]
        found[f"world, {what}: instructions"] = round(instructions / changes, 1)
        found[f"world, {what}: messages"] = round(messages / changes, 3)
        found[f"world, {what}: status writes"] = round((len(fleet.writer.writes) - before[0]) / changes, 3)
        found[f"world, {what}: backend calls"] = round((len(fleet.backend_model.arrivals) - before[1]) / changes, 3)
    return found


# --- the command --------------------------------------------------------------------------------------------------------
def measure() -> dict[str, float]:
    """All figures."""
    return feed_figures() | world_figures()


def main(words: list[str] | None = None) -> int:
    """0 passed, 1 failed."""
    parser = argparse.ArgumentParser(prog="python -m bench.gate", description=__doc__)
    parser.add_argument("--update", action="store_true", help="write this version's figures into the baseline")
    chosen = parser.parse_args(words)
    baselines: dict[str, dict[str, float]] = json.loads(BASELINE.read_text("utf-8")) if BASELINE.exists() else {}
    found = measure()
    for name, value in found.items():
        print(f"{name:45} {value:10g}")
    if chosen.update:
        baselines[VERSION] = found
        BASELINE.write_text(json.dumps(baselines, indent=1, sort_keys=True) + "\n", "utf-8")
        print(f"the baseline of Python {VERSION} is written")
        return 0
    if VERSION not in baselines:
        print(f"there is no baseline for Python {VERSION}: passed (python -m bench.gate --update makes one)")
        return 0
    verdict = compare(baselines[VERSION], found)
    for title, lines in (
        ("WORSE", verdict.worse), ("not comparable", verdict.unknown), ("better; run with --update", verdict.better),
    ):  # fmt: skip
        for line in lines:
            print(f"{title}: {line}")
    print("passed" if verdict.passed else f"failed: more than {TOLERANCE:.0%} above the baseline of Python {VERSION}")
    return 0 if verdict.passed else 1


if __name__ == "__main__":
    sys.exit(main())
