"""What looking inside costs: each passive command at 10,000 parents, and messages with nothing attached and with a tap.

    python -m bench.shell [--parents 10000] [--children 10] [--changes 20000] [--rounds 5]

The real tree on the real dispatcher, with ports in memory that answer at once. Commands: CPU milliseconds of this process, the
median of ``--rounds``, with the operator at rest. Messages: CPU microseconds for each change of a node at 100 parents, off and
on in turns in the same run; what is far below the noise of that is worked out from its parts as well.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from collections.abc import Callable
from typing import Any

from attrs import frozen
from rich.console import Console
from rich.table import Table

from actors.actor import Behaviour, Cell
from actors.core.events import Fact, Reconciled, StatusWritten
from actors.mailbox import using
from actors.ops.inspect.commands import REGISTRY, perform
from actors.ops.inspect.inspection import SAMPLES_EVERY_S, Inspection, cell_of
from actors.ops.inspect.memory import Memory
from actors.ops.inspect.registry import Answer, Caller, Level
from actors.ops.inspect.tapping import Tap
from actors.sim.world import World
from bench.recording import Run

CALLER = Caller(uid=0, pid=1)
NO_COMMAND = ("bundle",)  # all the others, one after the other
COMMAND_MAX_MS, TAP_MAX, NOTHING_MAX = 50.0, 0.02, 0.005


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
    """The median CPU seconds of this process for ``act``."""
    took = []
    for _ in range(rounds):
        gc.collect()
        began_s = time.process_time()
        act()
        took.append(time.process_time() - began_s)
    return statistics.median(took)


def end(run: Run) -> None:
    """Stop its threads."""
    run.recorder.control("stop", run.system.stop)
    run.dispatcher.stop()


def commands(parents: int, children: int, rounds: int) -> list[Cost]:
    """Each passive command on so many parents that are awake."""
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
    end(run)
    return costs


def messages(changes: int, rounds: int) -> list[Cost]:
    """Changes with nothing attached, and with a tap on every actor."""
    run = Run(100, 20)
    memory = Memory(run.dispatcher.clock)
    look = Inspection(run.system, run.dispatcher, memory=memory)
    version = 10
    plain_s, heard_s, tapped_s, seen = [], [], [], 0
    facts: list[Fact] = []
    quiet_facts = run.dispatcher.facts

    def change() -> float:
        nonlocal version
        version += 10 * changes
        gc.collect()
        return run.change(changes, version)

    change()
    for _ in range(rounds):
        run.facts.clear()
        plain_s.append(change())
        facts = list(run.facts)
        run.dispatcher.facts = Memory(run.dispatcher.clock, quiet_facts)
        heard_s.append(change())
        run.dispatcher.facts = quiet_facts
        tap = Tap(look, pattern="*", message="", count_max=10**9, for_s=600.0, rate_max=100)
        tapped_s.append(change())
        seen += tap.close()["seen"]
    plain = statistics.median(plain_s)
    tap_part = statistics.median(on / off for on, off in zip(tapped_s, plain_s, strict=True)) - 1
    heard_part = statistics.median(on / off for on, off in zip(heard_s, plain_s, strict=True)) - 1
    per_change = seen / rounds / changes
    tapped = _tapped_s(look)
    end(run)
    return [
        Cost("a change, nothing attached", plain / changes * 1e6, float("inf"), "µs"),
        Cost("messages for each change", per_change, float("inf"), ""),
        Cost("facts: on and off in turns (noise: a few %)", 100 * heard_part, float("inf"), "%"),
        Cost("nothing attached, from its parts", 100 * _nothing(memory, facts, plain), 100 * NOTHING_MAX, "%"),
        Cost("tap on every actor: on and off in turns", 100 * tap_part, float("inf"), "%"),
        Cost("tap: a message more costs", tapped * 1e6, float("inf"), "µs"),
        Cost("tap on every actor, from its parts", 100 * tapped * per_change * changes / plain, 100 * TAP_MAX, "%"),
    ]


def _nothing(memory: Memory, facts: list[Fact], plain_s: float) -> float:
    """The part that the sink of facts adds to those changes, and a look at 10,000 actors in ten seconds."""
    routine = facts or [Reconciled(parent="a", cause="b", changed=True), StatusWritten(parent="a", version=1)]

    def tell() -> None:
        for fact in routine:
            memory(fact)

    sink_s = cpu_s(tell, 5)
    handled = {f"cluster/default/c{number}": number for number in range(10_000)}
    sample_s = cpu_s(lambda: {name: count + 1 for name, count in handled.items()}, 5) * 4  # looking each actor up, too
    return sink_s / plain_s + sample_s / SAMPLES_EVERY_S


class Idle(Behaviour):
    """Takes whatever comes."""

    def on_receive(self, message: Any) -> Any:
        """Does nothing with it."""


def _tapped_s(look: Inspection, count: int = 200_000) -> float:
    """Seconds that a tap adds to an actor's handling of one message: beyond its rate, as nearly all are."""
    world = World()
    with using(world):
        ref = Cell.start(name="idle", factory=Idle)
    world.settle()
    cell = cell_of(ref)
    assert cell is not None
    message = Reconciled(parent="a", cause="b", changed=False)

    def handle() -> None:
        for _ in range(count):
            cell._handle(message)  # noqa: SLF001  the seam itself

    bare_s = cpu_s(handle, 5)
    tap = Tap(look, pattern="root", message="", count_max=10**9, for_s=600.0, rate_max=1)
    tap.join(cell)
    tapped_s = cpu_s(handle, 5)
    tap.close()
    return (tapped_s - bare_s) / count


def main() -> int:
    """Print the table; 1 where a bound is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("parents", 10_000), ("children", 10), ("changes", 20_000), ("rounds", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    costs = commands(given.parents, given.children, given.rounds) + messages(given.changes, given.rounds)
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
