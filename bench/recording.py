"""What recording costs: CPU microseconds for each change of a node, with and without a tape, and the pause of switching on.

    python bench/recording.py [--changes 20000] [--parents 100] [--children 20] [--rounds 3]

The real tree on the real dispatcher, with ports in memory that answer at once. CPU time of this process, off and on in turns
in the same run: compare them with each other only.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import evolve
from rich.console import Console
from rich.table import Table

from actors.core.builtin import MUSTER_FLEET
from actors.core.events import Fact, RecordingStarted
from actors.core.model import Child, EventNote, Parent, ParentKey, ParentSpec, Policy, Record
from actors.core.ports import Backend, Call, ItemResult, Objects, Reader, Reply, StatusWriter, StreamChanged, Written
from actors.core.quantity import Quota
from actors.edge.dispatcher import ThreadDispatcher
from actors.edge.recorder import Recorder
from actors.edge.tapefile import TapeLimits
from actors.gateway import GatewaySettings
from actors.tree import Ports, System, TreeSettings

CHUNK = 50  # changes in one delivery, as a busy watch has them
Deliver = Callable[[Objects | StreamChanged], None]


class Memory(Reader, StatusWriter, Backend):
    """Parents and children in memory; every write and every call is answered well, at once."""

    def __init__(self, parents: int, children: int) -> None:
        self.parents = {
            f"p{number}": Parent(
                kind="Cluster", key=ParentKey("default", f"cluster-{number}"), uid=f"p{number}", version=1, generation=1,
                spec=ParentSpec(), status={},
            )
            for number in range(parents)
        }  # fmt: skip
        self.children: dict[str, Record | None] = {
            f"c{number}": self.child(number, number % parents, healthy=True) for number in range(parents * children)
        }
        self.changed = threading.Event()
        self._deliver: dict[str, tuple[int, Deliver]] = {}

    @staticmethod
    def child(number: int, parent: int, *, healthy: bool, version: int = 1) -> Child:
        key = ParentKey("default", f"cluster-{parent}")
        return Child("ComputeNode", "default", f"node-{number}", f"c{number}", version, key, healthy, f"t{version}")

    def start(self, kind: str, epoch: int, deliver: Deliver) -> None:
        self._deliver[kind] = (epoch, deliver)
        entries: dict[str, Record | None] = dict(self.parents) if kind == "Cluster" else {}
        if kind == "ComputeNode":
            entries = dict(self.children)
        threading.Thread(
            target=deliver, args=(Objects(kind=kind, entries=entries, replace=True, epoch=epoch),), daemon=True
        ).start()

    def set_timeout(self, kind: str, parent: ParentKey, timeout_s: float | None) -> None:
        """Nobody is silent here."""

    def relist(self, kind: str) -> None:
        """Nothing is missed here."""

    def stop(self, timeout_s: float) -> None:
        """There are no threads."""

    def post(self, kind: str, entries: dict[str, Record | None]) -> None:
        epoch, deliver = self._deliver[kind]
        deliver(Objects(kind=kind, entries=entries, epoch=epoch))

    def patch_status(self, parent: ParentKey, uid: str, version: int, status: dict[str, Any]) -> Written:
        new = evolve(self.parents[uid], version=version + 1, status=status)
        self.parents[uid] = new
        return Written(version=new.version, status=status)

    def record_event(self, parent: ParentKey, uid: str, note: EventNote) -> None:
        """Nobody reads them."""

    def send(self, call: Call) -> Reply:
        return Reply(results={item.key: ItemResult(status="accepted") for item in call.items})


class Run:
    """The tree on those ports."""

    def __init__(self, parents: int, children: int) -> None:
        self.facts: list[Fact] = []
        self.memory = Memory(parents, children)
        self.counts = (parents, children)
        self.dispatcher = ThreadDispatcher()
        self.recorder = Recorder(self.dispatcher, version="bench", facts=self.facts.append)
        gateway = GatewaySettings(operation="batchRepair", quota=Quota(100, 1.0), cold_start_s=0.0)
        self.system = self.recorder.system = System(
            dispatcher=self.dispatcher, fleet=MUSTER_FLEET,
            settings=TreeSettings(policy=Policy(debounce_quiet_s=0.02, debounce_max_s=0.2), gateway=gateway),
            ports=self.recorder.tap_ports(Ports(reader=self.memory, status_writer=self.memory, backend=self.memory)),
        )  # fmt: skip
        self.dispatcher.start()
        self.recorder.control("start", self.system.start)
        self.quiet()

    def quiet(self) -> None:
        """Wait until no actor has had a message for 0.3 s."""
        before = -1
        while (now := self._handled()) != before:
            before = now
            time.sleep(0.3)

    def _handled(self) -> int:
        return sum(int(cell["handled"]) for _, cell in self.system.cells() if "handled" in cell)

    def change(self, changes: int, version: int) -> float:
        """CPU seconds until so many changes are counted and written."""
        parents, children = self.counts
        drawn = random.Random(version)
        began_s = time.process_time()
        for start in range(0, changes, CHUNK):
            entries: dict[str, Record | None] = {}
            for offset in range(CHUNK):
                number = drawn.randrange(parents * children)
                entries[f"c{number}"] = self.memory.child(
                    number, number % parents, healthy=drawn.random() < 0.8, version=version + start + offset
                )
            self.memory.post("ComputeNode", entries)
            time.sleep(0.002)
        self.quiet()
        return time.process_time() - began_s


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("changes", 20_000), ("parents", 100), ("children", 20), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    run = Run(options.parents, options.children)
    table = Table("round", "off, µs a change", "on, µs a change", "ratio", "tape, bytes a change", "pause, ms")
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.rounds):
            version = 2 * number * options.changes + 2
            off_s = run.change(options.changes, version)
            path = Path(folder) / f"{number}.tape"
            assert run.recorder.start(str(path), TapeLimits(bytes_max=1 << 30)), run.facts[-1]
            started = run.facts[-1]
            assert isinstance(started, RecordingStarted)
            on_s = run.change(options.changes, version + options.changes)
            run.recorder.stop()
            micro = 1e6 / options.changes
            per_change = (path.stat().st_size - started.size) / options.changes
            table.add_row(
                str(number + 1), f"{off_s * micro:.1f}", f"{on_s * micro:.1f}", f"{on_s / off_s:.2f}", f"{per_change:.0f}",
                f"{started.paused_s * 1e3:.0f} ({options.parents * options.children} nodes)",
            )  # fmt: skip
    Console().print(table)
    run.recorder.control("stop", run.system.stop)
    run.dispatcher.stop()


if __name__ == "__main__":
    main()
