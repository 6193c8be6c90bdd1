"""Real runs on real threads, recorded and replayed: the same requests, facts and statistics, or the difference by name.

Nothing here waits for a time: a slow machine takes longer to as many entries, and says the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors.cluster import ClusterActor
from actors.core.events import ActorCrashed, ActorRestarted, Fact, RecordingCut, RecordingEnded, RecordingStarted
from actors.core.graph import graph_of
from actors.core.health import Roll
from actors.core.model import ParentKey
from actors.core.tape import Control, Turn
from actors.core.texts import child_of
from actors.edge.tapefile import TapeLimits
from actors.edge.taps import patch_request
from actors.gateway import BatchGatewayActor
from actors.messages import DebounceEnded, RepairsWanted, StatusWanted
from actors.simulate.replay import Divergence, Replay
from actors.status import StatusActor

TOKEN = "Bearer c2VjcmV0LXRva2Vu"  # as the town's
Running = Callable[[int], AbstractContextManager[Any]]


@pytest.fixture
def crashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Actors of every kind die of what they are sent, now and then: by its content, so that a replay dies of the same."""
    enter, wanted, status = Roll.enter, BatchGatewayActor._wanted, StatusActor._wanted

    def enter_or_die(self: Roll, kind: str, key: bytes, text: bytes) -> bool:
        child = child_of(kind, None, key, text)
        if child.since == "boom" and child.version % 3 == 0:
            raise RuntimeError(f"planted: {child.name}, {TOKEN}")
        return enter(self, kind, key, text)

    def wanted_or_die(self: BatchGatewayActor, message: RepairsWanted, now: float) -> None:
        if len(message.items) == 3 and self.ctx.incarnation < 3:
            raise RuntimeError("planted")
        wanted(self, message, now)

    def status_or_die(self: StatusActor, wish: StatusWanted) -> None:
        if wish.version % 11 == 0 and self.ctx.incarnation < 3:
            raise RuntimeError("planted")
        status(self, wish)

    monkeypatch.setattr(Roll, "enter", enter_or_die)
    monkeypatch.setattr(BatchGatewayActor, "_wanted", wanted_or_die)
    monkeypatch.setattr(StatusActor, "_wanted", status_or_die)


def replayed(path: Path) -> Replay:
    replay = Replay(path.read_bytes().splitlines(keepends=True))
    replay.run()
    return replay


def compare(replay: Replay, run: Any, end: Any) -> None:
    """The replay is where the run was. Requests of before the tape do not count, nor of calls that had begun by then."""
    replay._dispatcher.clock.now_s = end.at_s
    assert replay.ended == "switched off"
    assert set(replay.actors()) == set(end.statistics)
    for name, expected in end.statistics.items():
        assert graph_of(replay.statistics(name)) == graph_of(expected), name
    made = Counter(msgspec.json.encode(graph_of(body)) for _, body in replay.requests)
    arrived = Counter(body for at_s, body in end.asked if at_s >= replay.header.began_s)
    checkpoint: Any = replay.header.checkpoint or {"calls": []}
    under_way = sum(begun for _, begun, *_ in checkpoint["calls"])
    assert (arrived - made).total() <= under_way, "what arrived was made again"
    assert made - Counter(body for _, body in run.town.asked) == Counter(), "and nothing else"


def crashed_and_restarted(facts: list[Fact]) -> bool:
    return {ActorCrashed, ActorRestarted} <= {type(fact) for fact in facts}


@pytest.mark.usefixtures("crashes")
@pytest.mark.parametrize("seed", range(20))
def test_a_recorded_run_replays_to_the_same_end(seed: int, tmp_path: Path, running: Running) -> None:
    tape = tmp_path / "run.tape"
    with running(seed) as run:
        run.record(tape)
        run.start()
        run.fill_tape(1000)
        run.waits(lambda: crashed_and_restarted(run.facts), "a crash and a restart")
        end = run.end_tape()

    replay = replayed(tape)

    compare(replay, run, end)
    assert replay.number > 1000


@pytest.mark.usefixtures("crashes")
@pytest.mark.parametrize("seed", range(20))
def test_so_does_a_run_whose_recording_is_switched_on_in_the_middle(
    seed: int, tmp_path: Path, running: Running
) -> None:
    tape = tmp_path / "run.tape"
    with running(seed) as run:
        run.start()
        run.goes_on(100)
        run.record(tape)
        run.fill_tape(700)
        end = run.end_tape()
        run.goes_on()  # the actors do without it

    replay = replayed(tape)

    compare(replay, run, end)
    assert replay.header.checkpoint is not None
    assert replay.number > 700


@pytest.mark.usefixtures("crashes")
def test_a_recording_is_switched_on_and_off_many_times_under_load(tmp_path: Path, running: Running) -> None:
    with running(99) as run:
        run.start()
        for number in range(8):
            tape = tmp_path / f"{number}.tape"
            run.goes_on(15)
            run.record(tape)
            run.fill_tape(100)
            end = run.end_tape()
            replay = replayed(tape)
            replay._dispatcher.clock.now_s = end.at_s
            assert {name: graph_of(replay.statistics(name)) for name in replay.actors()} == {
                name: graph_of(each) for name, each in end.statistics.items()
            }
    assert sum(isinstance(fact, RecordingStarted) for fact in run.facts) == 8
    assert sum(isinstance(fact, RecordingEnded) for fact in run.facts) == 8


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


def test_a_full_tape_ends_cleanly_and_the_run_goes_on(tmp_path: Path, running: Running) -> None:
    path = tmp_path / "run.tape"
    with running(3) as run:
        run.record(path, limits=TapeLimits(bytes_max=100_000))
        run.start()
        run.tape_ends_by_itself()
        run.goes_on()
        cut = [fact for fact in run.facts if isinstance(fact, RecordingCut)]
        run.record(tmp_path / "next.tape", limits=TapeLimits(entries_max=50))
        run.tape_ends_by_itself()

    assert [fact.reason for fact in cut] == ["full: 0.0954 MiB are the limit"]
    assert 90_000 < path.stat().st_size <= 100_000
    assert replayed(path).ended == cut[0].reason
    assert replayed(tmp_path / "next.tape").number == 51  # and the last one says why
