"""The recorder where things go wrong: it never holds up the actors, and says why there is no tape or why it ended."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from actors.actor import Behaviour, Cell, Context, Ref, Wedged
from actors.core.builtin import MUSTER_FLEET
from actors.core.events import ActorWedged, Fact, RecordingCut, RecordingEnded, RecordingRefused, RecordingStarted
from actors.core.model import Policy
from actors.core.ports import Outcome
from actors.core.quantity import Quota
from actors.edge.dispatcher import ThreadDispatcher
from actors.edge.gate import Gate
from actors.edge.recorder import Recorder
from actors.edge.tapefile import TapeFile, TapeLimits
from actors.gateway import GatewaySettings
from actors.mailbox import using
from actors.ops.engine import next_tape
from actors.sim.harness import SimulatedFleet
from actors.tree import Ports, System, TreeSettings


class Site:
    """A dispatcher with a recorder, a tree that is not started, and cells beside it that do as a test says."""

    def __init__(self) -> None:
        self.facts: list[Fact] = []
        self.dispatcher = ThreadDispatcher(facts=self.facts.append, wedge_after_s=0.3)
        self.recorder = Recorder(self.dispatcher, version="0", facts=self.facts.append)
        ports = SimulatedFleet()
        self.recorder.system = System(
            dispatcher=self.dispatcher, fleet=MUSTER_FLEET,
            settings=TreeSettings(policy=Policy(), gateway=GatewaySettings(operation="o", quota=Quota(1, 1.0))),
            ports=self.recorder.tap_ports(
                Ports(reader=ports.reader, status_writer=ports.writer, backend=ports.backend)
            ),
        )  # fmt: skip
        self.dispatcher.start()

    def cell(self, does: Callable[[Context, Any], Any]) -> Ref:
        class Doing(Behaviour):
            def on_receive(self, message: Any) -> Any:
                return does(self.ctx, message)

        with using(self.dispatcher):
            ref: Ref = Cell.start(name="doing", factory=Doing)
        return ref

    def of(self, kind: type[Fact]) -> list[Any]:
        return [fact for fact in self.facts if isinstance(fact, kind)]


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.recorder.stop()
    site.dispatcher.stop()


def calling(act: Callable[[], object]) -> Callable[[Context, Any], Any]:
    return lambda ctx, message: act()


def noted(begun: threading.Event, release: threading.Event) -> Callable[[], object]:
    """Says that it has begun, and then is stuck until it is released."""

    def stuck() -> bool:
        begun.set()
        return release.wait(10)

    return stuck


def soon(condition: Callable[[], object]) -> None:
    until_s = time.monotonic() + 30.0
    while not condition():
        assert time.monotonic() < until_s
        time.sleep(0.005)


def test_a_file_that_is_there_is_kept_and_the_fact_says_so(site: Site, tmp_path: Path) -> None:
    (tmp_path / "tape").write_text("mine")

    assert not site.recorder.start(str(tmp_path / "tape"))

    assert "File exists" in site.of(RecordingRefused)[0].reason
    assert (tmp_path / "tape").read_text() == "mine"


def test_a_link_is_not_followed(site: Site, tmp_path: Path) -> None:
    (tmp_path / "tape").symlink_to(tmp_path / "elsewhere")

    assert not site.recorder.start(str(tmp_path / "tape"))
    assert not (tmp_path / "elsewhere").exists()


def test_a_second_recording_at_the_same_time_is_not_begun(site: Site, tmp_path: Path) -> None:
    assert site.recorder.start(str(tmp_path / "one"))

    assert not site.recorder.start(str(tmp_path / "two"))
    assert len(site.of(RecordingStarted)) == 1


def test_an_actor_that_does_not_come_back_ends_the_tape_and_nobody_waits_for_it(site: Site, tmp_path: Path) -> None:
    release, reached = threading.Event(), threading.Event()
    stuck = site.cell(lambda ctx, message: release.wait(10))
    other = site.cell(calling(reached.set))
    assert site.recorder.start(str(tmp_path / "tape"))

    stuck.tell("sleep")
    time.sleep(0.05)
    other.tell("go on")
    soon(reached.is_set)
    release.set()

    assert site.of(ActorWedged)
    assert [fact.reason for fact in site.of(RecordingCut)] == ["doing does not come back from str"]


def test_an_actor_that_waits_for_another_ends_the_tape_and_gets_its_answer(site: Site, tmp_path: Path) -> None:
    answers: list[Any] = []
    other = site.cell(lambda ctx, message: "answer")
    asker = site.cell(lambda ctx, message: answers.append(other.ask("question", timeout=30)))
    assert site.recorder.start(str(tmp_path / "tape"))

    asker.tell("ask")
    soon(lambda: answers)

    assert answers == ["answer"]
    assert "waited for its answer" in site.of(RecordingCut)[0].reason


def test_recording_does_not_begin_while_a_thread_is_stuck(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.edge.recorder.PAUSE_MAX_S", 0.1)
    release, entered, reached = threading.Event(), threading.Event(), threading.Event()
    stuck = site.cell(calling(noted(entered, release)))
    other = site.cell(calling(reached.set))
    stuck.tell("sleep")
    soon(entered.is_set)

    assert not site.recorder.start(str(tmp_path / "tape"))
    other.tell("go on")
    soon(reached.is_set)
    release.set()

    assert "did not come to rest" in site.of(RecordingRefused)[0].reason
    assert not (tmp_path / "tape").exists()
    assert site.dispatcher.tap is None


def test_a_pause_waits_until_an_actor_that_is_stuck_has_been_dealt_with(site: Site) -> None:
    """Else the tape would begin between the thread's removal and the message about it, which would be on no tape."""
    entered, release = threading.Event(), threading.Event()
    stuck = site.cell(calling(noted(entered, release)))
    cell = stuck._actor_weakref()
    assert cell is not None

    def slow(fact: Fact) -> None:
        if isinstance(fact, ActorWedged):
            soon(lambda: site.dispatcher.tap)
            time.sleep(0.1)  # time enough for a pause to begin

    site.dispatcher.facts = slow
    stuck.tell("sleep")
    soon(entered.is_set)

    with site.dispatcher.paused(10.0):
        assert [type(envelope.message) for envelope in cell.actor_inbox._control] == [Wedged]
    release.set()


def test_nothing_comes_after_the_last_line(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever switches it off does so on another thread, perhaps just when a turn is written down."""
    ends: list[threading.Thread] = []

    class SwitchedOff(TapeFile):
        def put(self, line: bytes) -> bool:
            if b'"t":"turn"' in line and not ends:
                ends.append(threading.Thread(target=site.recorder.stop))
                ends[0].start()
                ends[0].join(0.2)  # all the time that it wants, unless it waits for us
            return super().put(line)

    monkeypatch.setattr("actors.edge.recorder.TapeFile", SwitchedOff)
    cell = site.cell(calling(lambda: None))
    assert site.recorder.start(str(tmp_path / "tape"))

    cell.tell("go on")
    soon(lambda: site.of(RecordingEnded))
    ends[0].join()

    _, *entries, last = (tmp_path / "tape").read_bytes().splitlines()
    assert b"switched off" in last
    assert site.of(RecordingEnded)[0].entries == len(entries) >= 1


def test_a_disk_that_is_full_ends_the_tape(site: Site, tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no device that is always full")

    class Full(TapeFile):
        def _open(self, path: str) -> int:
            import os

            return os.open("/dev/full", os.O_WRONLY)

    file = Full(str(tmp_path / "tape"), TapeLimits())
    file.put(b"x\n")
    soon(lambda: file.failed)

    assert not file.put(b"y\n")
    assert file.why == "cannot write: No space left on device"


def test_the_clock_and_the_randomness_are_themselves_again_afterwards(site: Site, tmp_path: Path) -> None:
    before = dict(vars(site.dispatcher.clock)), dict(vars(site.dispatcher.random)), site.dispatcher.facts
    assert site.recorder.start(str(tmp_path / "tape"))
    assert vars(site.dispatcher.clock)

    site.recorder.stop()

    assert (dict(vars(site.dispatcher.clock)), dict(vars(site.dispatcher.random)), site.dispatcher.facts) == before
    assert site.dispatcher.tap is None
    assert site.of(RecordingEnded)[0].entries == 0


def test_a_gate_holds_up_everything_that_comes_and_lets_it_go_on(site: Site) -> None:
    seen: list[str] = []
    cell = site.cell(lambda ctx, message: seen.append(message))
    with site.dispatcher.paused(10.0):
        assert isinstance(site.dispatcher.tap, Gate)
        cell.tell("turn")
        site.dispatcher.after(0.0, lambda: seen.append("timer"))
        site.dispatcher.submit("status", lambda: "call", lambda outcome: seen.append(outcome.value or ""))
        time.sleep(0.1)
        assert seen == []
        timers, jobs = site.dispatcher.pending()
        assert len(timers) == len(jobs) == 1

    soon(lambda: len(seen) == 3)
    assert sorted(seen) == ["call", "timer", "turn"]


def test_nothing_of_a_pause_is_lost_with_a_call_that_ends_in_it(site: Site) -> None:
    ended: list[Outcome[Any]] = []
    begun, release = threading.Event(), threading.Event()
    site.dispatcher.submit("status", noted(begun, release), ended.append)
    soon(begun.is_set)
    with site.dispatcher.paused(10.0):
        release.set()
        time.sleep(0.05)
        assert ended == []
        assert [job.begun for job in site.dispatcher.pending()[1]] == [True]

    soon(lambda: ended)


def test_what_the_shell_tells_an_actor_ends_the_tape_before_it_does(site: Site, tmp_path: Path) -> None:
    """A replay could not tell it; and what is told while a tape begins waits for that."""
    told: list[bool] = []
    site.recorder.told(lambda: told.append(site.recorder.recording is None))
    assert site.recorder.start(str(tmp_path / "tape"))

    site.recorder.told(lambda: told.append(site.recorder.recording is None))

    assert told == [True, True]
    assert site.of(RecordingCut)[0].reason == "the shell told an actor something"


def test_tapes_are_numbered(tmp_path: Path) -> None:
    first = str(tmp_path / "tape")
    names = []
    for _ in range(10):
        names.append(Path(next_tape(first)).name)
        Path(next_tape(first)).touch()

    assert names == ["tape", *(f"tape.{number}" for number in range(2, 10)), "tape.9"]
    assert next_tape("").endswith(".tape")
