"""What the memory for the shell costs the whole operator while nobody is attached: a part of all that it does.

    python -m bench.remembering [--events 100000] [--rounds 5]

So small a part drowns in the noise of two runs, so it is measured in one: the operator runs as its users run it, over HTTP and
with readers of its own, and notes every fact that its memory is told. When it has ended, exactly the facts of the measured
time are told to a new memory, ``--rounds`` times; the least CPU time of that is set against the CPU time of the whole process
tree while they happened. What noting them costs is in the latter: some 0.2 µs a fact.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import frozen

from actors.core.events import Fact
from actors.edge.dispatcher import SystemClock
from actors.ops import engine
from actors.ops.cli import main as command_line
from actors.ops.inspect.memory import Memory
from bench.load.handle import LoadServer
from bench.process import muster
from bench.result import served
from bench.runs_ingest import settled

WINDOW, TOLD = "window.json", "told.json"
ROUNDS = 5


@frozen
class Part:
    """Of one load: how many facts, the CPU seconds that remembering them takes, and those of the whole operator."""

    load: str
    facts: int
    memory_s: float
    whole_s: float

    @property
    def share(self) -> float:
        """The part of all that it does."""
        return self.memory_s / self.whole_s


# --- the operator, in a process of its own --------------------------------------------------------------------------------
def operate(folder: Path, rounds: int, words: list[str]) -> None:
    """Run it; then tell the facts of the window to memories anew, and write down what that took."""
    noted: list[tuple[float, Fact]] = []

    class Noting(Memory):
        def __call__(self, fact: Fact) -> None:
            noted.append((time.monotonic(), fact))
            super().__call__(fact)

    vars(engine)["Memory"] = Noting  # it makes its memory itself, as in earnest
    sys.argv = ["muster", *words]
    with contextlib.suppress(SystemExit):
        command_line()
    window = json.loads((folder / WINDOW).read_text(encoding="utf-8"))
    facts = [fact for at_s, fact in noted if window["from"] <= at_s <= window["to"]]
    took = [cpu_s(facts, Memory(SystemClock())) - cpu_s(facts, _nobody) for _ in range(rounds)]
    (folder / TOLD).write_text(json.dumps({"facts": len(facts), "memory_s": min(took)}), encoding="utf-8")


def _nobody(_fact: Fact) -> None:
    pass


def cpu_s(facts: list[Fact], hear: Callable[[Fact], None]) -> float:
    """Of telling them all."""
    gc.collect()
    began_s = time.process_time()
    for fact in facts:
        hear(fact)
    return time.process_time() - began_s


# --- the loads ------------------------------------------------------------------------------------------------------------
def part(load: str, fleet: str, change: Callable[[LoadServer], Any], rounds: int) -> Part:
    """That load on that fleet. ``change`` returns when all statuses are to be right again soon."""
    with served(fleet) as (server, folder):
        whole = [sys.executable, "-m", "bench.remembering", "--operate", str(folder), "--rounds", str(rounds)]
        with muster(server.kubeconfig, folder, entry=[*whole, "--"]) as subject:
            settled(server, subject)
            began_s, before_s = time.monotonic(), subject.cpu_s()
            change(server)
            settled(server, subject)
            spent_s = subject.cpu_s() - before_s
            window = {"from": began_s, "to": time.monotonic()}
            (folder / WINDOW).write_text(json.dumps(window), encoding="utf-8")
            subject.stop()
            told = json.loads((folder / TOLD).read_text(encoding="utf-8"))
    return Part(load, told["facts"], told["memory_s"], spent_s)


def parts(events: int, rounds: int) -> list[Part]:
    """Many changes that meet in few looks, and a look and a status for each."""
    parents = max(events // 20, 10)
    return [
        part(f"{events:,} changes, 100 parents", "100x100", lambda server: server.tell("material", events), rounds),
        part(f"a status of each of {parents:,} parents", f"{parents}x1", lambda server: server.tell("storm"), rounds),
    ]


def main() -> None:
    """Print both parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--operate", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.operate:
        operate(given.operate, given.rounds, given.words)
        return
    for each in parts(given.events, given.rounds):
        spent = f"{1000 * each.memory_s:.1f} of {1000 * each.whole_s:.0f} CPU ms"
        print(f"{each.load}: {each.facts:,} facts, {spent}: {100 * each.share:.2f} %")


if __name__ == "__main__":
    main()
