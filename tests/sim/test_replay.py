"""Real runs on real threads, recorded and replayed: the same requests, facts and statistics, or the difference by name."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from attrs import evolve, frozen

from actors.cluster import ClusterActor
from actors.core.errors import CallTimeout, Conflict, Refused, Throttled, Unavailable, Unreachable
from actors.core.events import ActorCrashed, ActorRestarted, Fact, RecordingCut, RecordingEnded, RecordingStarted
from actors.core.fleet import MUSTER_FLEET
from actors.core.graph import graph_of
from actors.core.health import Roll
from actors.core.model import Child, EventNote, Parent, ParentKey, ParentSpec, Policy, Record
from actors.core.ports import Backend, Call, ItemResult, Objects, Reader, Reply, StatusWriter, StreamChanged, Written
from actors.core.quantity import Quota
from actors.core.tape import Control, Turn
from actors.edge.dispatcher import ThreadDispatcher
from actors.edge.recorder import Recorder
from actors.edge.tapefile import TapeLimits
from actors.edge.taps import patch_request
from actors.gateway import BatchGatewayActor, GatewaySettings
from actors.messages import DebounceEnded, RepairsWanted, StatusWanted
from actors.simulate.replay import Divergence, Replay
from actors.status import StatusActor
from actors.tree import Ports, System, TreeSettings

TOKEN = "Bearer c2VjcmV0LXRva2Vu"
KINDS = ("Cluster", "ComputeNode", "StorageNode")
Mail = Objects | StreamChanged


class Town(Reader, StatusWriter, Backend):
    """Clusters and nodes in memory behind all three ports, on threads of its own, with failures of every kind."""

    def __init__(self, seed: int, clusters: int = 4, nodes: int = 6) -> None:
        self.asked: list[bytes] = []  # every request that arrived, without what looks like a credential
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
        self._thread.join(5)

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
        self.asked.append(asked((parent, uid, version, status)))
        time.sleep(self._random.uniform(0.0, 0.004))
        with self._lock:
            fate = self._random.random()
            if fate < 0.05:
                raise Unreachable(f"https://user:pass@server refused {TOKEN}")
            old = self._objects["Cluster"].get(uid)
            if not isinstance(old, Parent) or old.version != version:
                raise Conflict(f"{parent} has changed")
            new = evolve(old, version=self._next(), status=status)
            self._put("Cluster", uid, new)
            return Written(version=new.version, status=status)

    def record_event(self, parent: ParentKey, uid: str, note: EventNote) -> None:
        self.asked.append(asked((parent, uid, note)))

    def send(self, call: Call) -> Reply:
        self.asked.append(asked(call))
        time.sleep(self._random.uniform(0.0, 0.02))
        with self._lock:
            fate = self._random.random()
            errors = {
                0.05: Throttled("slow down", retry_after_s=0.05), 0.1: Unavailable(f"503, password={TOKEN}"),
                0.13: Refused("400"), 0.16: CallTimeout("too late"), 0.18: OSError("a bug of the adapter"),
            }  # fmt: skip
            for below, error in errors.items():
                if fate < below:
                    raise error
            results = {
                item.key: ItemResult(status=self._random.choice(["accepted", "accepted", "failed", "throttled"]))
                for item in call.items
            }
            return Reply(results=dict(list(results.items())[1:]) if fate < 0.3 else results)


@frozen
class At:
    """The run at the end of its tape: the instant, every actor's statistics, what had arrived at the ports."""

    at_s: float
    statistics: dict[str, Any]
    asked: list[bytes]


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

    def end_tape(self) -> At:
        """End the recording; how it was at that instant."""
        recording = self.recorder.recording
        assert recording is not None, [fact for fact in self.facts if type(fact).__name__.startswith("Recording")]
        with recording._lock:
            recording.finish("")
            at_s = time.monotonic()
            vars(self.dispatcher.clock)["now"] = lambda: at_s
            found = {name: cell.statistics() for name, cell in self.cells()}
            del vars(self.dispatcher.clock)["now"]
            end = At(at_s, found, list(self.town.asked))
        self.recorder.stop()
        return end

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
        until_s = time.monotonic() + 5
        while not self.system.stopped and time.monotonic() < until_s:
            time.sleep(0.005)
        self.town.end()
        self.dispatcher.stop()


@contextmanager
def running(seed: int) -> Iterator[Run]:
    run = Run(seed)
    try:
        yield run
    finally:
        run.stop()


@pytest.fixture
def crashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Actors of every kind die of what they are sent, now and then: by its content, so that a replay dies of the same."""
    put, wanted, status = Roll.put, BatchGatewayActor._wanted, StatusActor._wanted

    def put_or_die(self: Roll, child: Child) -> bool:
        if child.since == "boom" and child.version % 3 == 0:
            raise RuntimeError(f"planted: {child.name}, {TOKEN}")
        return put(self, child)

    def wanted_or_die(self: BatchGatewayActor, message: RepairsWanted, now: float) -> None:
        if len(message.items) == 3 and self.ctx.incarnation < 3:
            raise RuntimeError("planted")
        wanted(self, message, now)

    def status_or_die(self: StatusActor, wish: StatusWanted) -> None:
        if wish.version % 11 == 0 and self.ctx.incarnation < 3:
            raise RuntimeError("planted")
        status(self, wish)

    monkeypatch.setattr(Roll, "put", put_or_die)
    monkeypatch.setattr(BatchGatewayActor, "_wanted", wanted_or_die)
    monkeypatch.setattr(StatusActor, "_wanted", status_or_die)


def replayed(path: Path) -> Replay:
    replay = Replay(path.read_bytes().splitlines(keepends=True))
    replay.run()
    return replay


def compare(replay: Replay, run: Run, end: At, before: int = 0, under_way: int = 0) -> None:
    """``before``: how many requests had arrived before the tape began; ``under_way``: how many may have been then."""
    replay._dispatcher.clock.now_s = end.at_s
    assert replay.ended == "switched off"
    assert set(replay.actors()) == set(end.statistics)
    for name, expected in end.statistics.items():
        assert graph_of(replay.statistics(name)) == graph_of(expected), name
    made = Counter(asked(body) for _, body in replay.requests)
    assert (Counter(end.asked[before:]) - made).total() <= under_way, "what arrived was made again"
    assert made - Counter(run.town.asked) == Counter(), "and nothing else"


@pytest.mark.usefixtures("crashes")
@pytest.mark.parametrize("seed", range(20))
def test_a_recorded_run_replays_to_the_same_end(seed: int, tmp_path: Path) -> None:
    tape = tmp_path / "run.tape"
    with running(seed) as run:
        assert run.recorder.start(str(tape))
        run.start()
        time.sleep(0.7)
        end = run.end_tape()

    replay = replayed(tape)

    compare(replay, run, end)
    assert replay.number > 200
    assert any(isinstance(fact, ActorCrashed) for fact in run.facts)
    assert any(isinstance(fact, ActorRestarted) for fact in run.facts)


@pytest.mark.usefixtures("crashes")
@pytest.mark.parametrize("seed", range(20))
def test_so_does_a_run_whose_recording_is_switched_on_in_the_middle(seed: int, tmp_path: Path) -> None:
    tape = tmp_path / "run.tape"
    with running(seed) as run:
        run.start()
        time.sleep(0.3)
        before = len(run.town.asked)
        assert run.recorder.start(str(tape)), run.facts[-1]
        time.sleep(0.5)
        end = run.end_tape()
        handled = run.handled()
        time.sleep(0.1)
        assert run.handled() > handled, "the actors go on without it"

    replay = replayed(tape)

    compare(replay, run, end, before, under_way=9)
    assert replay.header.checkpoint is not None
    assert replay.number > 100


@pytest.mark.usefixtures("crashes")
def test_a_recording_is_switched_on_and_off_many_times_under_load(tmp_path: Path) -> None:
    with running(99) as run:
        run.start()
        for number in range(8):
            tape = tmp_path / f"{number}.tape"
            time.sleep(0.05)
            assert run.recorder.start(str(tape)), run.facts[-1]
            time.sleep(0.1)
            end = run.end_tape()
            replay = replayed(tape)
            replay._dispatcher.clock.now_s = end.at_s
            assert {name: graph_of(replay.statistics(name)) for name in replay.actors()} == {
                name: graph_of(each) for name, each in end.statistics.items()
            }
    started = [fact for fact in run.facts if isinstance(fact, RecordingStarted)]
    assert len(started) == 8
    assert max(fact.paused_s for fact in started) < 1.0
    assert sum(isinstance(fact, RecordingEnded) for fact in run.facts) == 8


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One tape for the tests that only read."""
    path = tmp_path_factory.mktemp("tapes") / "run.tape"
    with running(7) as run:
        assert run.recorder.start(str(path))
        run.start()
        time.sleep(0.5)
        run.recorder.control("drain", lambda: run.system.drain(lambda name: None))
        time.sleep(0.1)
    run.recorder.stop()
    return path


def replay_of(path: Path) -> Replay:
    return Replay(path.read_bytes().splitlines(keepends=True))


def test_a_drain_and_a_stop_are_on_the_tape(tape: Path) -> None:
    replay = replay_of(tape)
    controls = [step.entry.what for step in replay.steps() if isinstance(step.entry, Control)]

    assert controls == ["start", "drain", "stop"]
    assert replay.actors() == []
    assert replay.system.stopped


def test_changed_code_is_found_and_named(tape: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the debounce had been changed since the recording: the first look of a cluster comes at another time."""
    honest = ClusterActor._changed
    changes: list[str] = []

    def hasty(self: ClusterActor, cause: str) -> None:
        honest(self, cause)
        changes.append(self.ctx.name)
        if len(changes) == 30:
            self.ctx.schedule("debounce", 0.0, DebounceEnded())

    monkeypatch.setattr(ClusterActor, "_changed", hasty)
    replay = replay_of(tape)
    with pytest.raises(Divergence) as caught:
        replay.run()

    found = caught.value
    assert found.actor == changes[29]
    assert found.entry == replay.number
    assert "request" in found.what
    assert "after 0.0 s" in str(found)
    with pytest.raises(Divergence, match=f"entry {found.entry}, {found.actor}"):
        replay.step()


def test_a_changed_status_is_found_by_its_digest(tape: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = patch_request

    def off_by_one(parent: ParentKey, uid: str, version: int, status: dict[str, Any]) -> tuple[str, Any]:
        return honest(parent, uid, version, status | {"healthy": status["healthy"] + 1})

    monkeypatch.setattr("actors.simulate.replay.patch_request", off_by_one)

    with pytest.raises(Divergence, match=r"the request of call \d+: the tape has 'patch the status of default/prod-"):
        replayed(tape)


def test_code_that_reads_the_clock_once_more_is_found(tape: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = ClusterActor.on_receive

    def slow(self: ClusterActor, message: Any) -> Any:
        self.ctx.clock.now()
        return honest(self, message)

    monkeypatch.setattr(ClusterActor, "on_receive", slow)

    with pytest.raises(Divergence, match=r"cluster/default/prod-\d"):
        replayed(tape)


def test_a_message_that_is_missing_from_the_tape_is_found(tape: Path) -> None:
    lines = tape.read_bytes().splitlines(keepends=True)
    lists = [number for number, line in enumerate(lines) if b'"t":"delivered"' in line and b'"replace":true' in line]
    replay = Replay([*lines[: lists[0]], *lines[lists[0] + 1 :]])  # a list: whatever follows, somebody waits for it

    with pytest.raises(Divergence):
        replay.run()


def test_a_replay_stops_at_an_entry_an_actor_or_a_message(tape: Path) -> None:
    replay = replay_of(tape)
    assert (step := replay.run_to(entry=10)) is not None
    assert step.number == replay.number == 10

    step = replay.run_to(actor="gateway", message="RepairsWanted")
    assert step is not None
    assert isinstance(step.entry, Turn)
    assert (step.entry.actor, step.entry.message) == ("gateway", "RepairsWanted")
    assert isinstance(replay.behaviour("gateway"), BatchGatewayActor)
    assert replay.statistics("gateway")["handled"] >= 1

    assert replay.run_to(message="NoSuch") is None
    assert replay.ended == "switched off"


def test_no_credential_reaches_a_tape(tape: Path) -> None:
    text = tape.read_text()

    assert "c2VjcmV0" not in text
    assert "user:pass" not in text
    assert "Bearer ***" in text


def test_a_full_tape_ends_cleanly_and_the_run_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "run.tape"
    with running(3) as run:
        assert run.recorder.start(str(path), TapeLimits(bytes_max=100_000))
        run.start()
        time.sleep(0.4)
        assert run.recorder.recording is None
        handled = run.handled()
        time.sleep(0.1)
        assert run.handled() > handled
        cut = [fact for fact in run.facts if isinstance(fact, RecordingCut)]
        assert run.recorder.start(str(tmp_path / "next.tape"), TapeLimits(entries_max=50))
        time.sleep(0.2)
        run.recorder.stop()

    assert [fact.reason for fact in cut] == ["full: 0.0954 MiB are the limit"]
    assert 90_000 < path.stat().st_size <= 100_000
    assert replayed(path).ended == cut[0].reason
    assert replayed(tmp_path / "next.tape").number == 51  # and the last one says why
