"""10,000 actors: start, one message each, stop; with times and memory, beside pykka's own threads in the same run.

Usage: python bench/many_actors.py [COUNT]. Prints a table; compare columns of one run with each other, never runs of two days.
The threaded column stops at 1,000 actors: beyond that pykka's stop alone takes minutes (it is quadratic).
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pykka
from pykka import ActorRegistry

from actors.actor import Actor, Behaviour, Cell, Context, Stop
from actors.edge.dispatcher import ThreadDispatcher
from actors.mailbox import using


def resident_kib() -> int:
    """This process's resident memory in KiB."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    return 0


class Arrivals:
    """Counts messages; says when all are there."""

    def __init__(self, count: int) -> None:
        self._left = count
        self._lock = threading.Lock()
        self.all_there = threading.Event()

    def one(self) -> None:
        with self._lock:
            self._left -= 1
            if self._left == 0:
                self.all_there.set()


def measure(
    name: str, count: int, start: Callable[[], Any], stop: Callable[[Any], None], arrivals: Arrivals
) -> dict[str, Any]:
    """Start, tell each once, stop; seconds of each, and KiB per actor before and after its first message."""
    before = resident_kib()
    t0 = time.perf_counter()
    refs = [start() for _ in range(count)]
    t1 = time.perf_counter()
    idle = resident_kib()
    for ref in refs:
        ref.tell("x")
    assert arrivals.all_there.wait(120)
    t2 = time.perf_counter()
    used = resident_kib()
    for ref in refs:
        stop(ref)
    deadline = time.monotonic() + 300
    while any(ref.is_alive() for ref in refs) and time.monotonic() < deadline:
        time.sleep(0.001)
    t3 = time.perf_counter()
    return {
        "what": name, "actors": count, "start_s": round(t1 - t0, 3), "one_message_each_s": round(t2 - t1, 3),
        "stop_s": round(t3 - t2, 3), "kib_per_idle_actor": round((idle - before) / count, 2),
        "kib_per_used_actor": round((used - before) / count, 2), "threads": threading.active_count(),
    }  # fmt: skip


def main() -> None:
    """Run all three and print them."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    dispatcher = ThreadDispatcher(workers=2)
    dispatcher.start()
    rows = []
    with using(dispatcher):
        arrivals = Arrivals(count)

        class Plain(Actor):
            def on_receive(self, message: Any) -> Any:
                arrivals.one()

        rows.append(
            measure("actors on the dispatcher", count, Plain.start, lambda ref: ref.stop(block=False), arrivals)
        )
        cell_arrivals = Arrivals(count)

        class Inner(Behaviour):
            def __init__(self, ctx: Context) -> None:
                super().__init__(ctx)

            def on_receive(self, message: Any) -> Any:
                cell_arrivals.one()

        rows.append(measure(
            "supervised cells", count, lambda: Cell.start(name="cell", factory=Inner), lambda ref: ref.tell(Stop()),
            cell_arrivals,
        ))  # fmt: skip
    assert dispatcher.stop() == []

    few = min(count, 1000)
    threaded_arrivals = Arrivals(few)

    class Threaded(pykka.ThreadingActor):
        def on_receive(self, message: Any) -> Any:
            threaded_arrivals.one()

    rows.append(
        measure("pykka ThreadingActor", few, Threaded.start, lambda ref: ref.stop(block=False), threaded_arrivals)
    )
    ActorRegistry.stop_all()

    names = list(rows[0])
    widths = [max(len(name), *(len(str(row[name])) for row in rows)) for name in names]
    for row in [dict(zip(names, names, strict=True)), *rows]:
        print("  ".join(str(row[name]).ljust(width) for name, width in zip(names, widths, strict=True)))
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
