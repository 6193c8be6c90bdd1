"""A real run that can be recorded: the tree on threads, and a town behind its ports that never stands still."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from attrs import evolve, frozen

from actors.core.builtin import MUSTER_FLEET
from actors.core.errors import CallTimeout, Conflict, Refused, Throttled, Unavailable, Unreachable
from actors.core.events import Fact, RecordingCut
from actors.core.graph import graph_of
from actors.core.model import Child, EventNote, Parent, ParentKey, ParentSpec, Policy, Record
from actors.core.ports import Backend, Call, ItemResult, Objects, Reader, Reply, StatusWriter, StreamChanged, Written
from actors.core.quantity import Quota
from actors.edge.dispatcher import ThreadDispatcher
from actors.edge.recorder import Recorder
from actors.gateway import GatewaySettings
from actors.tree import Ports, System, TreeSettings

TOKEN = "Bearer c2VjcmV0LXRva2Vu"
KINDS = ("Cluster", "ComputeNode", "StorageNode")
Mail = Objects | StreamChanged
SOON_S = 30.0  # far more than a loaded machine needs: only a run that stands still takes so long


def soon(condition: Callable[[], object], what: str) -> None:
    until_s = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < until_s, f"it did not happen: {what}"
        time.sleep(0.005)


class Town(Reader, StatusWriter, Backend):
    """Clusters and nodes in memory behind all three ports, on threads of its own, with failures of every kind."""

    def __init__(self, seed: int, clusters: int = 4, nodes: int = 6) -> None:
        self.asked: list[
            tuple[float, bytes]
        ] = []  # when each request arrived, and it without what looks like a credential
        self.told: set[str] = set()  # ways in which a credential has been told
        self._random = random.Random(seed)
        self._lock = threading.RLock()
        self._version = 100
        self._objects: dict[str, dict[str, Record]] = {kind: {} for kind in KINDS}
        self._posts: dict[str, tuple[int, Callable[[Mail], None]]] = {}
        self._over = threading.Event()
        self._kind_of: dict[str, str] = {}
        for number in range(clusters):
            self.parent(f"prod-{number}")
            for node in range(nodes):
                self.child(f"prod-{number}", f"node-{number}-{node}", self._random.random() < 0.7)
        self._thread = threading.Thread(target=self._live, daemon=True)
        self._thread.start()

    # --- its own life -------------------------------------------------------------------------------------------------
    def parent(self, name: str, **spec: Any) -> None:
        with self._lock:
            old = self._objects["Cluster"].get(f"uid-{name}")
            generation = old.generation + 1 if isinstance(old, Parent) else 1
            status = old.status if isinstance(old, Parent) else {}
            self._put("Cluster", f"uid-{name}", Parent(
                kind="Cluster", key=ParentKey("default", name), uid=f"uid-{name}", version=self._next(),
                generation=generation, spec=ParentSpec(**spec), status=status,
            ))  # fmt: skip

    def child(self, parent: str, name: str, healthy: bool, since: str = "") -> None:
        with self._lock:
            kind = (
                self._random.choice(KINDS[1:]) if f"uid-{name}" not in self._kind_of else self._kind_of[f"uid-{name}"]
            )
            self._kind_of[f"uid-{name}"] = kind
            version = self._next()
            self._put(kind, f"uid-{name}", Child(
                kind, "default", name, f"uid-{name}", version, ParentKey("default", parent), healthy, since or f"t{version}"
            ))  # fmt: skip

    def end(self) -> None:
        self._over.set()
        self._thread.join(SOON_S)

    def _live(self) -> None:
        while not self._over.wait(self._random.uniform(0.0, 0.01)):
            with self._lock:
                what, name = self._random.random(), f"prod-{self._random.randrange(5)}"
                if what < 0.03:
                    uid = f"uid-{name}"
                    if uid in self._objects["Cluster"]:
                        self._put("Cluster", uid, None)
                elif what < 0.1:
                    self.parent(name, max_unhealthy=None, cooldown_s=self._random.choice([0.05, 1.0]))
                elif what < 0.13:
                    self.told |= {"stream"} if "StorageNode" in self._posts else set()
                    self._post("StorageNode", StreamChanged(
                        kind="StorageNode", epoch=self._posts.get("StorageNode", (0,))[0], up=False, reason="Cut",
                        message=f"401 with {TOKEN}",
                    ))  # fmt: skip
                elif what < 0.16:
                    self._list(self._random.choice(KINDS))
                elif what < 0.2:
                    self.child(name, "node-x", True, since="boom")
                else:
                    number, node = self._random.randrange(4), self._random.randrange(6)
                    self.child(f"prod-{number}", f"node-{number}-{node}", self._random.random() < 0.6)

    def _next(self) -> int:
        self._version += 1
        return self._version

    def _put(self, kind: str, uid: str, record: Record | None) -> None:
        if record is None:
            del self._objects[kind][uid]
        else:
            self._objects[kind][uid] = record
        if kind in self._posts:
            self._post(kind, Objects(kind=kind, entries={uid: record}, epoch=self._posts[kind][0]))

    def _post(self, kind: str, mail: Mail) -> None:
        if kind in self._posts:
            self._posts[kind][1](mail)

    def _list(self, kind: str) -> None:
        if kind in self._posts:
            entries: dict[str, Record | None] = dict(self._objects[kind])
            self._post(kind, Objects(kind=kind, entries=entries, replace=True, epoch=self._posts[kind][0]))

    # --- the ports ----------------------------------------------------------------------------------------------------
    def start(self, kind: str, epoch: int, deliver: Callable[[Mail], None]) -> None:
        def begin() -> None:
            with self._lock:
                self._posts[kind] = (epoch, deliver)
                self._list(kind)

        threading.Thread(target=begin, daemon=True).start()

    def set_timeout(self, kind: str, parent: ParentKey, timeout_s: float | None) -> None:
        return None

    def relist(self, kind: str) -> None:
        return None

    def stop(self, timeout_s: float) -> None:
        return None

    def patch_status(self, parent: ParentKey, uid: str, version: int, status: dict[str, Any]) -> Written:
        self.asked.append((time.monotonic(), asked((parent, uid, version, status))))
        time.sleep(self._random.uniform(0.0, 0.004))
        with self._lock:
            fate = self._random.random()
            if fate < 0.05:
                self.told.add("patch")
                raise Unreachable(f"https://user:pass@server refused {TOKEN}")
            old = self._objects["Cluster"].get(uid)
            if not isinstance(old, Parent) or old.version != version:
                raise Conflict(f"{parent} has changed")
            new = evolve(old, version=self._next(), status=status)
            self._put("Cluster", uid, new)
            return Written(version=new.version, status=status)

    def record_event(self, parent: ParentKey, uid: str, note: EventNote) -> None:
        self.asked.append((time.monotonic(), asked((parent, uid, note))))

    def send(self, call: Call) -> Reply:
        self.asked.append((time.monotonic(), asked(call)))
        time.sleep(self._random.uniform(0.0, 0.02))
        with self._lock:
            fate = self._random.random()
            errors = {
                0.05: Throttled("slow down", retry_after_s=0.05), 0.1: Unavailable(f"503, password={TOKEN}"),
                0.13: Refused("400"), 0.16: CallTimeout("too late"), 0.18: OSError("a bug of the adapter"),
            }  # fmt: skip
            for below, error in errors.items():
                if fate < below:
                    self.told |= {"call"} if isinstance(error, Unavailable) else set()
                    raise error
            results = {
                item.key: ItemResult(status=self._random.choice(["accepted", "accepted", "failed", "throttled"]))
                for item in call.items
            }
            return Reply(results=dict(list(results.items())[1:]) if fate < 0.3 else results)


@frozen
class At:
    """The run at the end of its tape: the instant, every actor's statistics, what had arrived at the ports, and when."""

    at_s: float
    statistics: dict[str, Any]
    asked: list[tuple[float, bytes]]


def asked(body: Any) -> bytes:
    return msgspec.json.encode(graph_of(body))


class Run:
    """The real tree on the real dispatcher in that town."""

    def __init__(self, seed: int) -> None:
        self.facts: list[Fact] = []
        self.town = Town(seed)
        self.dispatcher = ThreadDispatcher(facts=self.facts.append, pools={"backend": 4, "status": 4, "events": 1})
        self.recorder = Recorder(self.dispatcher, version="0", facts=self.facts.append)
        gateway = GatewaySettings(
            operation="batchRepair", quota=Quota(20, 0.2), call_timeout_s=0.5, lateness_s=0.05, batch_quiet_s=0.005,
            cold_start_s=0.0, retry_base_s=0.02, breaker_base_s=0.02,
        )  # fmt: skip
        policy = Policy(debounce_quiet_s=0.005, debounce_max_s=0.05, cooldown_s=0.2)
        self.system = System(
            dispatcher=self.dispatcher, fleet=MUSTER_FLEET,
            settings=TreeSettings(policy=policy, gateway=gateway, idle_s=0.15),
            ports=self.recorder.tap_ports(Ports(reader=self.town, status_writer=self.town, backend=self.town)),
        )  # fmt: skip
        self.recorder.system = self.system

    def start(self) -> None:
        self.dispatcher.start()
        self.recorder.control("start", self.system.start)

    waits = staticmethod(soon)

    def record(self, tape: Path, **limits: Any) -> None:
        assert self.recorder.start(str(tape), **limits), self.facts[-1]

    def goes_on(self, messages: int = 1) -> None:
        """Wait until the watchers have had so many more."""
        handled = self.handled()
        soon(lambda: self.handled() >= handled + messages, f"{messages} more messages for the watchers")

    def fill_tape(self, entries: int) -> None:
        """Wait until there is so much on it."""
        soon(lambda: self._recording().entry_count >= entries, f"{entries} entries on the tape")

    def end_tape(self) -> At:
        """End the recording; how it was at that instant.

        All that is looked at is looked at first: with the end of the recording the actors go on, lock or no lock.
        """
        recording = self._recording()
        with recording._lock:
            at_s = time.monotonic()
            vars(self.dispatcher.clock)["now"] = lambda: at_s
            found = {name: cell.statistics() for name, cell in self.cells()}
            vars(self.dispatcher.clock)["now"] = recording._now
            end = At(at_s, found, list(self.town.asked))
            recording.finish("")
        self.recorder.stop(SOON_S)
        recording.file.join(SOON_S)
        return end

    def tape_ends_by_itself(self) -> None:
        """Wait until it has, and until all of it is on the disk."""
        recording = self.recorder._recording
        assert recording is not None
        path = recording.file.path
        soon(lambda: path in {fact.file for fact in self.facts if isinstance(fact, RecordingCut)}, "the tape is full")
        recording.file.join(SOON_S)

    def _recording(self) -> Any:
        recording = self.recorder.recording
        assert recording is not None, [fact for fact in self.facts if type(fact).__name__.startswith("Recording")]
        return recording

    def cells(self) -> Iterator[tuple[str, Any]]:
        for name, ref in self.system.refs.items():
            cell = ref._actor_weakref()
            yield name, cell
            for child, under in list(cell.children.items()) if cell is not None and name == "directory" else ():
                if under.is_alive():
                    yield child, under._actor_weakref()

    def handled(self) -> int:
        """Messages that the watchers have had: they never go away."""
        return sum(cell.handled_count for name, cell in self.cells() if name.startswith("watcher/"))

    def stop(self) -> None:
        self.recorder.control("stop", self.system.stop)
        soon(lambda: self.system.stopped, "the tree has stopped")
        self.town.end()
        assert self.dispatcher.stop(SOON_S) == []


@contextmanager
def one(seed: int) -> Iterator[Run]:
    run = Run(seed)
    try:
        yield run
    finally:
        run.stop()


@pytest.fixture(scope="session")
def running() -> Callable[[int], AbstractContextManager[Run]]:
    """``with running(seed) as run:``; the run is not started yet."""
    return one


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One tape for the tests that only read: credentials were told in every way, and the run was drained and stopped."""
    path = tmp_path_factory.mktemp("tapes") / "run.tape"
    drained: list[str] = []
    with one(7) as run:
        run.record(path)
        run.start()
        run.fill_tape(700)
        soon(lambda: run.town.told == {"stream", "patch", "call"}, "a credential in every way")
        run.recorder.control("drain", lambda: run.system.drain(drained.append))
        soon(lambda: len(drained) == 2, "the gateway and the StatusActor are drained")
    run.recorder.stop()
    return path
