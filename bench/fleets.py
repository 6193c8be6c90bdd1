"""What a definition costs on the path: ``python -m bench.fleets``. CPU microseconds for each event and look, bytes an object.

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
from datetime import datetime
from typing import Annotated, Any

from actors.core.builtin import MUSTER_FLEET
from actors.core.decode import Decoder
from actors.core.fleet import (
    ALL,
    FIRST,
    ChildKind,
    ConditionIs,
    Expression,
    Field,
    FieldIn,
    FieldPath,
    FleetDefinition,
    Health,
    KindRef,
    Label,
    Lease,
)
from actors.core.health import Roll
from actors.core.intake import Intake
from actors.core.intakes import intake_of
from actors.core.joins import JoinedIntake, Side, sides_of
from actors.core.model import Child, Now, ParentKey, ParentSpec, Policy, Share
from actors.core.model import Parent as ParentRecord
from actors.core.reconcile import Children as Seen
from actors.core.reconcile import reconcile
from actors.core.repairs import Repairs
from actors.core.stream import Stream
from actors.fleet import At, Children, Condition, Fields, Parent, Plan, child_kind, condition, label, parent_kind
from actors.fleet import fleet as declared

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


def stream_of(decoder: Decoder, intake: Intake | Side) -> Stream:
    return Stream(
        decoder, intake, epoch=1, deliver=lambda _mail: None, facts=lambda _fact: None, random=random.Random(1)
    )


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
    several(first)
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
    looks()
    return 0


def several(first_us: float) -> None:
    """A heartbeat of who is counted for one parent and for two, and what each takes of the reader."""
    held = 0.0
    for parents in (FIRST, ALL):
        child = ChildKind(
            ref=REF, mapping=(Label(key="pool"), FieldPath(path="status.phase")), health=WAYS["a boolean field"],
            parents=parents,
        )  # fmt: skip
        definition = FleetDefinition(name="f", parent=MUSTER_FLEET.parent, children=(child,))
        stream = stream_of(Decoder(definition, "Node"), intake_of(definition, "Node"))
        tracemalloc.start()
        listed(stream, node)
        before, held = held, tracemalloc.get_traced_memory()[0] / NODES
        tracemalloc.stop()
        took_us = cost_us(stream, node)
        more = f"  ({held - before:.0f} B a guest)" if before else ""
        print(f"two parents named, parents: {parents:<10} {took_us:6.1f} µs an event  {took_us / first_us:5.2f}{more}")


class Kept(Fields, frozen=True):
    zone: Annotated[str, At("spec.zone")]


def by_zone(pool: Parent[None], children: Children[Any], now: datetime) -> Plan:  # noqa: ARG001 - as it is called
    """One repair in each zone, as docs/python.md has it."""
    chosen = {each.fields.zone: each for each in children.of(Kept).sick}
    return Plan(repair=chosen.values(), conditions=[Condition("Spread", len(chosen) < 2, "Sick")])


def looks() -> None:
    """What a look at a parent costs, and what a reconcile of one's own adds to it: a thousand children, ten of them sick."""
    kind = child_kind("v1", "Node", parent=[label("pool")], health=condition("Ready"), fields=Kept)
    key, policy = ParentKey("ns", "p"), Policy(max_unhealthy=Share(percent=100.0))
    parent = ParentRecord(
        kind="Pool", key=key, uid="u", version=1, generation=1, spec=ParentSpec(), status={}
    )  # fmt: skip
    roll = Roll(["Node"], key)
    for number in range(NODES):
        roll.put(
            Child("Node", "ns", f"n{number}", f"u{number}", 1, key, healthy=number >= 10, fields=f'["z{number % 3}"]')
        )
    first = 0.0
    for name, own in (("the engine's own", None), ("with a reconcile of one's own", by_zone)):
        definition = declared("f", parent_kind("x.io/v1", "Pool"), [kind], reconcile=own)
        found = []
        for _ in range(ROUNDS):
            began_s = time.process_time()
            for _ in range(1_000):
                children = Seen(roll=roll, repairs=Repairs("repair"))
                reconcile(definition, parent, children, policy, Now(1.0, 1.0))
            found.append((time.process_time() - began_s) * 1e3)
        took_us = statistics.median(found)
        first = first or took_us
        print(f"a look, {name:<30} {took_us:6.1f} µs  {took_us / first:5.2f}")


if __name__ == "__main__":
    sys.exit(main())
