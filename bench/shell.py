"""What looking inside costs: each passive command at 10,000 parents, an attached tap, and the shell while nobody asks.

    python -m bench.shell [--parents 10000] [--children 10] [--rounds 5] [--seeds 3]

Four figures, each measured and none worked out:

- A passive command: CPU milliseconds of its thread, the median of ``--rounds``, on the real tree and dispatcher at rest.
- The shell while nobody asks: the CPU time of its thread in ``--idle`` seconds at ``--parents``, as a part of one processor. It
  looks for callers, and each ten seconds at how much every actor has handled.
- What is remembered all the time for ``history``, ``failures``, ``batches``: its part of all that the operator does
  (``bench.remembering``).
- A tap on every actor: machine instructions for each change of a node, with and without, the same work in processes of their
  own under valgrind's cachegrind, which must be there; the median of ``--seeds`` seeds of Python's hashes. Times of so little
  drown in the noise of any machine. The operator is ``straight``'s: its actors alone, as busy as one processor can make them.
"""

from __future__ import annotations

import argparse
import gc
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from attrs import frozen
from rich.console import Console
from rich.table import Table

from actors.core.ports import Backend
from actors.ops.inspect.calls import SeenBackend
from actors.ops.inspect.commands import REGISTRY, perform
from actors.ops.inspect.inspection import Inspection
from actors.ops.inspect.memory import Memory
from actors.ops.inspect.registry import Answer, Caller, Level
from actors.ops.inspect.server import ShellServer
from actors.ops.inspect.tapping import Tap
from bench.recording import Run
from bench.straight import Load, Operator, Straight

CALLER = Caller(uid=0, pid=1)
NO_COMMAND = ("bundle",)  # all the others, one after the other
COMMAND_MAX_MS, TAP_MAX, NOTHING_MAX = 50.0, 0.02, 0.005
SLICE = 2_000  # changes between two readings by a tap: a twentieth of a second and more
WARM, MEASURED = 1, 4  # slices
LOADS = {
    "few parents": Load(parents=100, children=20, per_s=25_000),  # many changes meet in one look
    "many parents": Load(parents=1_000, children=10, per_s=8_000),  # each change is a look of its own
}
MODES = ("remembering", "tapped")
EVENTS = 100_000


@frozen
class Cost:
    """One line of the result. ``bound`` of the same unit."""

    what: str
    value: float
    bound: float
    unit: str

    @property
    def kept(self) -> bool:
        """Whether it is within its bound."""
        return self.value <= self.bound


def cpu_s(act: Callable[[], object], rounds: int) -> float:
    """The median CPU seconds of this thread for ``act``: what the operator's own threads do meanwhile is not the command's."""
    took = []
    gc.collect()
    for _ in range(rounds):
        began_s = time.thread_time()
        act()
        took.append(time.thread_time() - began_s)
    return statistics.median(took)


# --- at rest ----------------------------------------------------------------------------------------------------------
def at_rest(parents: int, children: int, rounds: int, idle_s: float) -> list[Cost]:
    """Each passive command on so many parents that are awake, and the server's thread while nobody asks."""
    run = Run(parents, children)
    look = Inspection(run.system, run.dispatcher, memory=Memory(run.dispatcher.clock))
    look.sample()
    parent = str(next(iter(run.system.store.parents)))
    lines = [
        [each.name, *(parent for argument in each.arguments if argument.required)]
        for each in REGISTRY
        if each.level is Level.PASSIVE and each.name not in NO_COMMAND
    ]
    lines += [["tree", "--all"], ["queue", "--by", "parent"], ["top", "--by", "handled", "--max", "100"]]
    costs = []
    for words in lines:

        def act(words: list[str] = words) -> None:
            assert isinstance(perform(look, words, CALLER), Answer)

        costs.append(Cost(" ".join(words), 1000 * cpu_s(act, rounds), COMMAND_MAX_MS, "ms"))
    part = listening(look, idle_s)
    run.recorder.control("stop", run.system.stop)
    run.dispatcher.stop()
    return [*costs, Cost("nothing attached: the shell listens", 100 * part, 100 * NOTHING_MAX, "%")]


def listening(look: Inspection, idle_s: float) -> float:
    """The part of one processor that the server's thread takes while nobody asks."""
    with tempfile.TemporaryDirectory(prefix="mu") as folder:
        Path(folder).chmod(0o700)
        server = ShellServer(look, Path(folder) / "s.sock")
        server.start()
        ident = server._thread.ident  # noqa: SLF001  its clock is asked for
        assert ident is not None
        clock = time.pthread_getcpuclockid(ident)
        began_s = time.monotonic()
        time.sleep(idle_s)
        took_s, while_s = time.clock_gettime(clock), time.monotonic() - began_s
        server.stop()
    return took_s / while_s


# --- at work ----------------------------------------------------------------------------------------------------------
def work(mode: str, load: str, slices: int) -> None:
    """So many slices of changes, in that mode: what is counted from outside."""
    memory: list[Memory] = []

    def wrap(world: Straight, backend: Backend) -> Backend:
        memory.append(Memory(world.clock))
        return SeenBackend(backend, world.clock, memory[0].calls)

    operator = Operator(LOADS[load], wrap)
    tap = None
    operator.world.sink = memory[0]
    if mode == "tapped":
        look = Inspection(operator.system, operator.world, memory=memory[0])
        tap = Tap(look, pattern="*", message="", count_max=10**9, for_s=1e9, rate_max=100)
    for _ in range(slices):
        operator.change(SLICE)
        if tap is not None:
            tap.take()
    if tap is not None:
        tap.close()


def instructions(mode: str, load: str, seed: int) -> float:
    """Machine instructions for each change: a long run less a short one, so that the start is in neither."""
    counts = []
    for slices in (WARM, WARM + MEASURED):
        command = ["valgrind", "--tool=cachegrind", "--cache-sim=no", f"--cachegrind-out-file={os.devnull}"]
        command += [sys.executable, "-m", "bench.shell", "--work", mode, load, str(slices)]
        environ = {**os.environ, "PYTHONHASHSEED": str(seed)}
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
        found = re.search(r"I\s+refs:\s+([\d,]+)", done.stderr)
        assert found is not None, done.stderr[-2000:]
        counts.append(int(found[1].replace(",", "")))
    return (counts[1] - counts[0]) / (MEASURED * SLICE)


def at_work(seeds: int) -> list[Cost]:
    """What a tap on every actor adds."""
    costs = []
    for load in LOADS:
        counts = {mode: [instructions(mode, load, seed) for seed in range(seeds)] for mode in MODES}
        before, tapped = (statistics.median(counts[mode]) for mode in MODES)
        costs.append(Cost(f"{load}: a change, thousand instructions", before / 1000, float("inf"), ""))
        costs.append(Cost(f"{load}: a tap on every actor", 100 * (tapped / before - 1), 100 * TAP_MAX, "%"))
    return costs


def remembered(events: int) -> list[Cost]:
    """What the memory for the shell takes, of all that the operator does."""
    from bench.remembering import ROUNDS, parts  # which needs what the benchmarks alone need

    found = parts(events, ROUNDS)
    return [
        Cost(f"nothing attached: remembering {each.load}", 100 * each.share, 100 * NOTHING_MAX, "%") for each in found
    ]


def main() -> int:
    """Print the table; 1 where a bound is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (
        ("parents", 10_000),
        ("children", 10),
        ("rounds", 5),
        ("seeds", 3),
        ("idle", 21),
        ("events", EVENTS),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        mode, load, slices = given.work
        work(mode, load, int(slices))
        return 0
    costs = at_rest(given.parents, given.children, given.rounds, given.idle) + remembered(given.events)
    if shutil.which("valgrind"):
        costs += at_work(given.seeds)
    else:
        print(
            "valgrind is not here (Debian: apt install valgrind): what is done for each message and fact is not counted"
        )
    table = Table("what", "median", "at most", "", box=None)
    for cost in costs:
        bound = "" if cost.bound == float("inf") else f"{cost.bound:g} {cost.unit}"
        table.add_row(
            cost.what, f"{cost.value:.3g} {cost.unit}", bound, "" if not bound else "ok" if cost.kept else "BROKEN"
        )
    Console(width=100).print(table)
    return 0 if all(cost.kept for cost in costs) else 1


if __name__ == "__main__":
    raise SystemExit(main())
