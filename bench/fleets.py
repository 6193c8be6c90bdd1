"""What a definition costs on the path: ``python -m bench.fleets``. CPU microseconds for each event, bytes for each object.

Reports of 2 kB as nodes send them go through a kind's ``Stream`` in chunks of 64 kB, in one process and one after the other;
each figure is the median of five rounds. The first line is the built-in fleet's heartbeat, of which the others are multiples.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator

from actors.core.builtin import MUSTER_FLEET
from actors.core.decode import Decoder
from actors.core.fleet import (
    ChildKind,
    ConditionIs,
    Expression,
    Field,
    FieldIn,
    FleetDefinition,
    Health,
    KindRef,
    Label,
    Lease,
)
from actors.core.intakes import intake_of
from actors.core.joins import JoinedIntake, sides_of
from actors.core.stream import Stream

NODES, EVENTS, ROUNDS, PER_CHUNK = 1_000, 5_000, 5, 27
REF = KindRef(group="", version="v1", kind="Node", plural="nodes")
READY = "object.status.conditions.exists(c, c.type == 'Ready' && c.status == 'True')"
WAYS: dict[str, Health] = {
    "a boolean field": Health(healthy="status.healthy", heartbeat="status.beat", condition="Ready"),
    "a field's value": Health(healthy=FieldIn(path="status.phase", healthy=("Running",)), heartbeat="status.beat"),
    "a condition": Health(healthy=ConditionIs(type="Ready"), heartbeat="status.beat"),
    "CEL, the fields as before": Health(
        healthy=Expression(cel="object.status.phase == 'Running'"), heartbeat="status.beat"
    ),
    "CEL, other fields each time": Health(
        healthy=Expression(cel=f"{READY} && object.status.n >= 0"), heartbeat="status.beat"
    ),
}


def fleet(health: Health, fields: tuple[Field, ...] = ()) -> FleetDefinition:
    """A fleet of one child kind."""
    child = ChildKind(ref=REF, mapping=(Label(key="pool"),), health=health, fields=fields)
    return FleetDefinition(name="f", parent=MUSTER_FLEET.parent, children=(child,))


def node(number: int, version: int) -> bytes:
    """One report."""
    conditions = [
        {"type": name, "status": "True" if name == "Ready" else "False", "reason": "Said", "message": "kubelet has said so",
         "lastHeartbeatTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z"}
        for name in ("MemoryPressure", "DiskPressure", "PIDPressure", "Ready")
    ]  # fmt: skip
    status = {
        "healthy": True,
        "phase": "Running",
        "beat": f"t{version}",
        "n": version,
        "conditions": conditions,
        "info": "x" * 900,
    }
    metadata = {"name": f"n{number}", "namespace": "ns", "uid": f"u{number}", "labels": {"pool": f"p{number % 10}"}}
    return json.dumps(
        {"metadata": {**metadata, "resourceVersion": str(version)}, "spec": {"slot": number}, "status": status}
    ).encode()


def lease(number: int, version: int) -> bytes:
    """One renewal."""
    metadata = {"name": f"n{number}", "namespace": "ns", "uid": f"l{number}", "resourceVersion": str(version)}
    return json.dumps(
        {"metadata": metadata, "spec": {"holderIdentity": f"n{number}", "renewTime": f"t{version}"}}
    ).encode()


def lines(make: Callable[[int, int], bytes], version: int) -> Iterator[bytes]:
    """A watch's chunks, a report of each in turn."""
    events = [b'{"type":"MODIFIED","object":' + make(n % NODES, version + n) + b"}\n" for n in range(EVENTS)]
    return (b"".join(events[at : at + PER_CHUNK]) for at in range(0, EVENTS, PER_CHUNK))


def listed(stream: Stream, make: Callable[[int, int], bytes]) -> None:
    """The first list, streamed."""
    stream.action(0.0)
    stream.opened(0.0, None)
    end = {"resourceVersion": str(NODES), "annotations": {"k8s.io/initial-events-end": "true"}}
    mark = json.dumps({"type": "BOOKMARK", "object": {"metadata": end}}).encode() + b"\n"
    events = [b'{"type":"ADDED","object":' + make(number, number + 1) + b"}\n" for number in range(NODES)]
    stream.feed(b"".join(events) + mark, 0.0)
    assert stream.synced, "the list is not complete"


def stream_of(decoder: Decoder, intake: object) -> Stream:
    return Stream(
        decoder, intake, epoch=1, deliver=lambda _mail: None, facts=lambda _fact: None, random=random.Random(1),  # type: ignore[arg-type]  # an intake or a side
    )  # fmt: skip


def cost_us(stream: Stream, make: Callable[[int, int], bytes]) -> float:
    """CPU microseconds for each event."""
    found, version = [], 10 * NODES
    for _ in range(ROUNDS):
        chunks = list(lines(make, version))
        version += EVENTS
        began_s = time.process_time()
        for chunk in chunks:
            stream.feed(chunk, 1.0)
        found.append((time.process_time() - began_s) / EVENTS * 1e6)
    return statistics.median(found)


def _warm() -> Stream:
    definition = fleet(WAYS["a boolean field"])
    stream = stream_of(Decoder(definition, "Node"), intake_of(definition, "Node"))
    listed(stream, node)
    return stream


def main() -> int:
    first = 0.0
    cost_us(_warm(), node)
    for name, health in WAYS.items():
        definition = fleet(health)
        stream = stream_of(Decoder(definition, "Node"), intake_of(definition, "Node"))
        listed(stream, node)
        took_us = cost_us(stream, node)
        first = first or took_us
        print(f"health by {name:<28} {took_us:6.1f} µs an event  {took_us / first:5.2f}")
    definition = fleet(
        WAYS["a boolean field"], (Field(name="slot", path="spec.slot"), Field(name="n", path="status.phase"))
    )
    stream = stream_of(Decoder(definition, "Node"), intake_of(definition, "Node"))
    listed(stream, node)
    took_us = cost_us(stream, node)
    print(f"two further fields, unchanged          {took_us:6.1f} µs an event  {took_us / first:5.2f}")
    definition = fleet(Health(healthy="status.healthy", heartbeat=Lease(), condition="Ready"))
    intake = intake_of(definition, "Node")
    assert isinstance(intake, JoinedIntake)
    (kind,) = sides_of(definition, "Node")
    listed(stream_of(Decoder(definition, "Node"), intake), node)
    side = stream_of(Decoder(kind.fleet, "Lease"), intake.sides[0])
    tracemalloc.start()
    listed(side, lease)
    held = tracemalloc.get_traced_memory()[0] / NODES
    tracemalloc.stop()
    took_us = cost_us(side, lease)
    print(
        f"a Lease's renewal                      {took_us:6.1f} µs an event  {took_us / first:5.2f}  ({held:.0f} B a Lease)"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
