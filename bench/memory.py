"""What a child and an idle parent cost in memory, and what a first list costs: the real path, without a network.

    python -m bench.memory [--sizes 100000,300000] [--million] [--stages reader,store,actors] [--objects]

Pages of a list go through the real decoder, stream and intake (*reader*), on into the watcher's records (*store*), or through
the whole tree on the real dispatcher (*actors*), each in a process of its own. Then every child reports once more, so that
what a steady fleet holds is measured and not what a list shares by chance. Printed: resident bytes a child (the slope between
the two sizes, so that what is imported does not count), the peak of the first list against what stays, and its CPU seconds
until the status of every parent has been asked for. The objects' making is not counted, and neither is a socket.

Objects are as an API server has them: 2.1 kB, uids at random, health turned at any second of ninety days, reports of the last
ten seconds. ``--objects`` names what the heap holds (``tracemalloc``; slow).
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import subprocess
import sys
import threading
import time
import tracemalloc
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from actors.core.builtin import MUSTER_FLEET
from actors.core.decode import Decoder
from actors.core.errors import ApiError
from actors.core.intake import Intake
from actors.core.model import EventNote, ParentKey, Policy
from actors.core.operation import PROMISED
from actors.core.ports import Call, Later, Objects, Reply, StreamChanged, Written
from actors.core.quantity import Quota
from actors.core.records import ChildRecords, RecordStore
from actors.core.stream import Stream
from actors.edge.dispatcher import ThreadDispatcher
from actors.edge.heap import give_back
from actors.gateway import GatewaySettings
from actors.tree import Ports, System, TreeSettings
from bench.ingest import node

KIND = "ComputeNode"
KINDS = tuple(kind.kind for kind in MUSTER_FLEET.kinds)
PAGE = 500
NINETY_DAYS_S = 90 * 86_400
Deliver = Callable[[Objects | StreamChanged], None]


def stamp(unix_s: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(unix_s))


class Fleet:
    """The objects, made anew on each call: none of them stays."""

    def __init__(self, children: int, per_parent: int) -> None:
        self.children, self.per_parent = children, per_parent
        self._encoder = msgspec.json.Encoder()

    @property
    def parents(self) -> int:
        return -(-self.children // self.per_parent)

    def child(self, number: int, beat: int) -> dict[str, Any]:
        dice = random.Random(number)
        made = node(number, number + 1 if not beat else 20_000_000 + number, 0)
        made["metadata"]["uid"] = str(uuid.UUID(int=dice.getrandbits(128), version=4))
        parent = f"c{number // self.per_parent}"
        owner = {"apiVersion": "muster.dev/v1alpha1", "kind": "Cluster", "uid": "p", "controller": True}
        made["metadata"]["ownerReferences"] = [owner | {"name": parent}]
        made["spec"]["clusterRef"]["name"] = made["metadata"]["labels"]["muster.dev/cluster"] = parent
        made["status"]["lastHeartbeatTime"] = stamp(1_790_000_000 + 10 * beat + dice.randrange(10))
        turned = stamp(1_790_000_000 - dice.randrange(NINETY_DAYS_S))
        for condition in made["status"]["conditions"]:
            condition["lastTransitionTime"] = turned
        return made

    def parent(self, number: int) -> dict[str, Any]:
        meta = {"name": f"c{number}", "namespace": "default", "uid": str(uuid.UUID(int=number, version=4)),
                "resourceVersion": str(number + 1), "generation": 1}  # fmt: skip
        return {"metadata": meta, "spec": {}}

    def pages(self, kind: str) -> Iterator[bytes]:
        count = {KIND: self.children, KINDS[0]: self.parents}.get(kind, 0)
        for start in range(0, max(1, count), PAGE):
            stop = min(start + PAGE, count)
            meta = {"resourceVersion": "10000000"} | ({"continue": "t"} if stop < count else {})
            make = self.parent if kind == KINDS[0] else lambda number: self.child(number, 0)
            yield self._encoder.encode({"metadata": meta, "items": [make(number) for number in range(start, stop)]})

    def beats(self) -> Iterator[bytes]:
        """Each child once, in chunks of 64 kB."""
        for start in range(0, self.children, 30):
            events = ({"type": "MODIFIED", "object": self.child(number, 1)}
                      for number in range(start, min(start + 30, self.children)))  # fmt: skip
            yield b"".join(self._encoder.encode(event) + b"\n" for event in events)


class Feeder:
    """The reader's port, fed by us: lists when told to, in the caller's thread. ``cpu_s`` leaves out the objects' making."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.intakes = {kind: Intake(kind, beats=kind != KINDS[0]) for kind in KINDS}
        self.streams: dict[str, Stream] = {}
        self.making_s = 0.0
        self._started = threading.Semaphore(0)
        self._reading = threading.Lock()
        self._version = 10_000_000

    def start(self, kind: str, epoch: int, deliver: Deliver) -> None:
        self.streams[kind] = Stream(
            Decoder(MUSTER_FLEET, kind), self.intakes[kind], epoch=epoch, deliver=deliver, facts=lambda fact: None,
            random=random.Random(1), streamed_list=False,
        )  # fmt: skip
        self._started.release()

    def set_timeout(self, kind: str, parent: ParentKey, timeout_s: float | None) -> None:
        self.intakes[kind].set_timeout(parent, timeout_s, 0.0)

    def relist(self, kind: str) -> None: ...

    def stop(self, timeout_s: float) -> None: ...

    def wait(self) -> None:
        for _ in KINDS:
            assert self._started.acquire(timeout=30)

    def list(self, kind: str) -> None:
        stream = self.streams[kind]
        with self._reading:
            for body in self._made(self.fleet.pages(kind)):
                stream.action(0.0)
                stream.page(stream._decoder.page(body), 0.0, None)  # noqa: SLF001 - as the reader does it
            stream.action(0.0)
            stream.opened(0.0, None)

    def beat(self) -> None:
        for number, chunk in enumerate(self._made(self.fleet.beats())):
            self.streams[KIND].feed(chunk, 1.0 + number * 1e-4)

    def echo(self, parent: ParentKey, uid: str, status: dict[str, Any]) -> int:
        """A parent's status has been written: it comes by watch. The version that it has then."""
        with self._reading:
            self._version += 1
            meta = {"name": parent.name, "namespace": parent.namespace, "uid": uid, "resourceVersion": str(self._version),
                    "generation": 1}  # fmt: skip
            event = {"type": "MODIFIED", "object": {"metadata": meta, "spec": {}, "status": status}}
            self.streams[KINDS[0]].feed(msgspec.json.encode(event, order="sorted") + b"\n", 0.0)
            return self._version

    def _made(self, parts: Iterator[bytes]) -> Iterator[bytes]:
        while True:
            began = time.thread_time()
            part = next(parts, None)
            self.making_s += time.thread_time() - began
            if part is None:
                return
            yield part


class Outside:
    """The API server takes every status, and its echo comes by watch; nobody is repaired."""

    capabilities = PROMISED

    def __init__(self, echo: Callable[[ParentKey, str, dict[str, Any]], int]) -> None:
        self.asked: set[ParentKey] = set()
        self._echo = echo

    def patch_status(
        self, parent: ParentKey, uid: str, version: int, status: dict[str, Any]
    ) -> Written | Later[Written]:
        if status["total"]:
            self.asked.add(parent)
        return Written(version=self._echo(parent, uid, status), status=status)

    def record_event(self, parent: ParentKey, uid: str, note: EventNote) -> None: ...

    def send(self, call: Call) -> Reply | Later[Reply]:
        raise ApiError("nobody is to be repaired")


def memory_kib(field: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(field):
            return int(line.split()[1])
    raise RuntimeError(f"{field}: not told by this system")


def measure(stage: str, children: int, per_parent: int, *, objects: bool, asleep: bool = False) -> dict[str, float]:
    """One process's figures: KiB (``heap``: bytes), and CPU seconds. ``asleep``: when all actors have gone to sleep."""
    fleet = Fleet(children, per_parent)
    feeder, store = Feeder(fleet), RecordStore(KINDS[1:])
    outside, policy = Outside(feeder.echo), Policy(heartbeat_timeout_s=60.0)
    finished: Callable[[], bool] = lambda: True
    if stage == "actors":
        dispatcher = ThreadDispatcher(workers=2)
        settings = TreeSettings(
            policy=policy, gateway=GatewaySettings(operation="o", quota=Quota(10, 1.0)), idle_s=2.0 if asleep else 0.0
        )
        system = System(
            dispatcher=dispatcher, fleet=MUSTER_FLEET, settings=settings,
            ports=Ports(reader=feeder, status_writer=outside, backend=outside),
        )  # fmt: skip
        dispatcher.start()
        system.start()
        feeder.wait()
        finished = lambda: len(outside.asked) == (fleet.parents if fleet.children else 0)
    else:
        for kind in KINDS:
            feeder.start(kind, 1, enter(store, kind) if stage == "store" else lambda mail: None)
        for number in range(fleet.parents):
            feeder.set_timeout(KIND, ParentKey("default", f"c{number}"), 60.0)
    gc.collect()
    if objects:
        tracemalloc.start(8)
    began_s, base = time.process_time(), memory_kib("VmRSS")
    for kind in KINDS:
        feeder.list(kind)
    until(finished)
    cpu_s = time.process_time() - began_s - feeder.making_s
    gc.collect()
    give_back()  # as the operator does soon after a list
    listed, peak = memory_kib("VmRSS"), memory_kib("VmHWM")
    feeder.beat()
    if asleep:
        until(lambda: not any(dict(system.cells())["directory"]["clusters"].values()))
    gc.collect()
    heap = 0
    if objects:
        heap = tracemalloc.get_traced_memory()[0]
        name_objects(children)
    return {"base": base, "listed": listed, "peak": peak, "steady": memory_kib("VmRSS"), "cpu_s": cpu_s, "heap": heap}


def enter(store: RecordStore, kind: str) -> Deliver:
    """A watcher that only keeps the records."""

    def deliver(mail: Objects | StreamChanged) -> None:
        if isinstance(mail, Objects) and isinstance(mail.entries, ChildRecords):
            store.children[kind].replace(mail.entries)

    return deliver


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "not every status was asked for"
        time.sleep(0.05)


def name_objects(children: int) -> None:
    """What the heap holds, by the line that made it."""
    for each in tracemalloc.take_snapshot().statistics("lineno")[:60]:
        frame = each.traceback[-1]
        place = f"{Path(frame.filename).name}:{frame.lineno}"
        print(f"    {each.size / children:7.1f} B in {each.count / children:5.2f} a child  {place}", file=sys.stderr)


def apart(stage: str, children: int, per_parent: int, *flags: str, quiet: bool = False) -> dict[str, float]:
    """The same in a process of its own."""
    words = [sys.executable, "-m", "bench.memory", "--one", stage, str(children), str(per_parent), *flags]
    done = subprocess.run(
        words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL if quiet else None, text=True, check=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    """Print a line for each stage; or, with ``--one``, be one of the processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="100000,300000")
    parser.add_argument("--million", action="store_true", help="between 300,000 and 1,000,000 children")
    parser.add_argument("--stages", default="reader,store,actors")
    parser.add_argument("--per-parent", type=int, default=100)
    parser.add_argument("--objects", action="store_true")
    parser.add_argument("--asleep", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--one", nargs=3, metavar=("STAGE", "CHILDREN", "PER_PARENT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        stage, children, per_parent = options.one
        print(
            json.dumps(measure(stage, int(children), int(per_parent), objects=options.objects, asleep=options.asleep))
        )
        return
    small, large = (300_000, 1_000_000) if options.million else map(int, options.sizes.split(","))
    for stage in options.stages.split(","):
        one, two = (apart(stage, size, options.per_parent, *["--objects"] * options.objects) for size in (small, large))
        slope = {when: (two[when] - one[when]) * 1024 / (large - small) for when in ("listed", "steady")}
        print(
            f"{stage:7} {slope['listed']:6.0f} B a child after the list, {slope['steady']:6.0f} when all have reported; "
            f"at {large}: {two['steady'] / 1024:.0f} MiB resident ({two['base'] / 1024:.0f} before), "
            f"first list: peak {two['peak'] / two['listed']:.2f} of what stays, {two['cpu_s']:.2f} CPU s",
            flush=True,
        )
    for state, flags in (("awake", ["--objects"]), ("asleep", ["--objects", "--asleep"])):
        few, many = (apart("actors", size, 1, *flags, quiet=True) for size in (500, 2_500))
        print(f"a parent with one child, {state}: {(many['heap'] - few['heap']) / 2000:.0f} B of the heap")


if __name__ == "__main__":
    main()
