"""What a heartbeat that changes nothing costs: CPU microseconds from the bytes of a watch to the decision to drop it.

    python bench/ingest.py [--events 200000] [--children 20000]

CPU time of this process, not wall time: it is steadier on a shared machine. The target is 8 µs an event of 2.1 kB, because
a million children that report every ten seconds are 100,000 events a second.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import statistics
import time
import tracemalloc
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from actors.core.builtin import MUSTER_FLEET
from actors.core.decode import Decoder, Page
from actors.core.intake import Intake
from actors.core.model import Child, ParentKey, Record
from actors.core.slots import LIVE
from actors.core.stream import Stream

KIND = "ComputeNode"
PARENT_CHILDREN = 100


def node(number: int, version: int, beat: int) -> dict[str, Any]:
    """An object as an API server sends it: 2.1 kB, a third of it managedFields."""
    owner = {
        "apiVersion": "muster.dev/v1alpha1",
        "kind": "Cluster",
        "name": f"c{number // PARENT_CHILDREN}",
        "uid": "p" * 36,
    }
    fields: dict[str, object] = {
        "f:status": {
            "f:healthy": {},
            "f:lastHeartbeatTime": {},
            "f:conditions": {f"k:{n}": {".": {}} for n in range(9)},
        }
    }
    return {
        "apiVersion": "muster.dev/v1alpha1",
        "kind": KIND,
        "metadata": {
            "name": f"node-{number:07}", "namespace": "default", "uid": f"00000000-0000-0000-0000-{number:012}",
            "resourceVersion": str(version), "generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"muster.dev/cluster": owner["name"], "topology.kubernetes.io/zone": "zone-a", "x/pool": "general"},
            "annotations": {"example.com/notes": "n" * 350}, "ownerReferences": [owner | {"controller": True}],
            "managedFields": [{"manager": m, "operation": "Update", "fieldsV1": fields} for m in ("agent", "kubectl")],
        },
        "spec": {"clusterRef": {"name": owner["name"]}},
        "status": {
            "healthy": True, "lastHeartbeatTime": f"2026-01-01T{beat // 3600:02}:{beat // 60 % 60:02}:{beat % 60:02}Z",
            "conditions": [
                {"type": kind, "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z", "reason": "Reported",
                 "message": "m" * 60}
                for kind in ("Disk", "Memory", "Healthy")
            ],
        },
    }  # fmt: skip


def lines(events: int, children: int, first_version: int) -> list[bytes]:
    order = random.Random(1)
    return [
        json.dumps({"type": "MODIFIED", "object": node(order.randrange(children), first_version + n, 1 + n % 80000)},
                   separators=(",", ":")).encode()
        for n in range(events)
    ]  # fmt: skip


def cpu_us(call: Callable[[Any], object], inputs: Iterable[Any], events: int) -> float:
    """CPU microseconds an event of calling it on each input; results are dropped, as the reader drops them."""
    gc.collect()
    began = time.process_time()
    deque(map(call, inputs), maxlen=0)
    return (time.process_time() - began) / events * 1e6


def measure(events: int, children: int, note: Callable[[str, float], None]) -> tuple[float, float]:
    """One round; the mean size of an event, and the bytes kept for a child."""
    decoder = Decoder(MUSTER_FLEET, KIND)
    mail: list[object] = []
    raw = [json.dumps(node(number, number + 1, 0)).encode() for number in range(children)]
    tracemalloc.start()
    intake = Intake(KIND)
    for parent in range(children // PARENT_CHILDREN + 1):
        intake.set_timeout(ParentKey("default", f"c{parent}"), 60.0, 0.0)
    stream = Stream(
        decoder,
        intake,
        epoch=1,
        deliver=mail.append,
        facts=lambda _fact: None,
        random=random.Random(1),
        streamed_list=False,
    )
    stream.action(0.0)
    before = tracemalloc.get_traced_memory()[0]
    stream.page(page_of(decoder, raw), 0.0, None)
    mail.clear()
    per_child = (tracemalloc.get_traced_memory()[0] - before) / children
    tracemalloc.stop()
    stream.action(0.0)
    stream.opened(0.0, None)
    mail.clear()

    batch = lines(events, children, 10_000_000)
    note("json.loads, for comparison", cpu_us(json.loads, batch, events))
    some = [batch[at : at + 30] for at in range(0, len(batch), 30)]
    note("decode, thirty at once", cpu_us(decoder.said, some, events))
    found = [said for lines_ in some if (said := decoder.said(lines_)) is not None]
    other = Intake(KIND)
    other.replace((_first(child) for said in found for _, child, _ in said.events(KIND)), 1, 0.0, refused={})
    note("intake: compare and drop", cpu_us(lambda said: other.hear(said, 1.0), found, events))
    chunks = [b"\n".join(lines_) + b"\n" for lines_ in some]
    note("whole, in chunks of 64 kB", cpu_us(lambda chunk: stream.feed(chunk, 1.0), chunks, events))
    single = [line + b"\n" for line in lines(events, children, 20_000_000)]
    note("whole, an event a chunk", cpu_us(lambda chunk: stream.feed(chunk, 2.0), single, events))
    assert not mail, "these were to change nothing"
    note("silence scan, for each beat", _scan_us(intake, children))
    return statistics.mean(map(len, batch)), per_child


def options_of(description: str | None) -> argparse.Namespace:
    """What is asked for: so many events of so many children, in so many rounds."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--events", type=int, default=50_000)
    parser.add_argument("--children", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def main() -> None:
    options = options_of(__doc__)
    results: dict[str, list[float]] = {}
    size = per_child = 0.0
    for _ in range(options.rounds):
        size, per_child = measure(
            options.events, options.children, lambda stage, value: results.setdefault(stage, []).append(value)
        )
    title = f"{options.events} heartbeats of {options.children} children, {size:.0f} bytes each"
    table = Table("stage", "µs an event (median)", "least", title=title)
    for stage, values in results.items():
        table.add_row(stage, f"{statistics.median(values):.2f}", f"{min(values):.2f}")
    console = Console()
    console.print(table)
    console.print(f"{per_child:.0f} bytes kept for a child (uids that are no UUIDs, as here, cost 100 more)")


def page_of(decoder: Decoder, raw: list[bytes]) -> Page:
    """A list of these objects, in one page."""
    body = b'{"metadata":{"resourceVersion":"9000000"},"items":[' + b",".join(raw) + b"]}"
    return decoder.page(body)


def _first(record: Record) -> Child:
    assert isinstance(record, Child)
    return msgspec.structs.replace(record, version=1, heartbeat="")


def _scan_us(intake: Intake, children: int) -> float:
    """Everybody beats each 10 s, the timeout is 60 s: what the scans of ten minutes cost, for each beat."""
    slots = intake._slots  # noqa: SLF001 - beats without decoding
    places = list(slots)
    tenth = len(places) // 10
    spent = 0.0
    for second in range(600):
        now = 10.0 + second
        for place in places[(second % 10) * tenth : (second % 10 + 1) * tenth]:
            slots.heard_s[place] = now
            slots.marks[place] |= LIVE
        intake.bookmark(10**9 + second, now)
        began = time.process_time()
        intake.tick(now)
        spent += time.process_time() - began
    assert intake.take(1) is None
    return spent / (60 * children) * 1e6


if __name__ == "__main__":
    main()
