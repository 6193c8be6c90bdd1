"""Who reads a kind: asked once, by its size; and everything that is asked meanwhile reaches whoever it is."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, cast

import pytest

from actors.core.builtin import MUSTER_FLEET
from actors.core.errors import Forbidden, MusterError, Undecodable, Unreachable
from actors.core.events import Fact, ReaderChosen
from actors.core.graph import value_of
from actors.core.model import ParentKey
from actors.edge import reader_choice
from actors.edge.dispatcher import SystemClock
from actors.edge.kube import Answer, KubeClient
from actors.edge.outbox import Mail
from actors.edge.reader_choice import ASKS_MAX, Choice, ProcessReader, by_size, count, processors
from actors.edge.reader_process import ReaderProcess

KIND, OTHER, PARENT = "ComputeNode", "StorageNode", "Cluster"
KEY = ParentKey("ns", "c")


class Noted:
    """A reader of any sort that notes what is asked of it."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    def start(self, kind: str, epoch: int, deliver: Callable[[Mail], None]) -> None:
        self.asked.append(("start", kind, epoch))

    def set_timeout(self, kind: str, parent: ParentKey, timeout_s: float | None) -> None:
        self.asked.append(("timeout", kind, parent, timeout_s))

    def relist(self, kind: str) -> None:
        self.asked.append(("relist", kind))

    def stop(self, timeout_s: float) -> None:
        self.asked.append(("stop",))

    def statistics(self) -> dict[str, dict[str, Any]]:
        return {PARENT: {"objects": 1}, KIND: {"objects": 2}}


def ignore(_mail: Mail) -> None:
    pass


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What is asked of processes; none is started."""
    asked: list[tuple[Any, ...]] = []

    def start(self: ReaderProcess, epoch: int, deliver: Callable[[Mail], None]) -> None:
        asked.append(("start", self.kind, epoch, self.timeouts()))

    monkeypatch.setattr(ReaderProcess, "start", start)
    monkeypatch.setattr(ReaderProcess, "relist", lambda self: asked.append(("relist", self.kind)))
    return asked


def made(choose: Callable[[str], Choice] | None) -> tuple[ProcessReader, Noted, list[Fact]]:
    thread, facts = Noted(), list[Fact]()
    reader = ProcessReader(
        thread, MUSTER_FLEET, choose=choose, facts=facts.append, clock=SystemClock(), random=Random(1), namespace="ns",
    )  # fmt: skip
    return reader, thread, facts


def until(condition: Callable[[], Any]) -> None:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() < began + 20.0, "it did not happen"
        time.sleep(0.005)


def test_parents_are_read_here_and_every_child_kind_by_a_process_of_its_own(processes: list[tuple[Any, ...]]) -> None:
    reader, thread, facts = made(None)
    reader.start(PARENT, 1, ignore)
    reader.start(KIND, 1, ignore)
    reader.relist(PARENT)
    reader.relist(KIND)
    reader.set_timeout(OTHER, KEY, 2.0)
    reader.start(OTHER, 3, ignore)

    assert thread.asked == [("start", PARENT, 1), ("relist", PARENT)]
    assert processes == [("start", KIND, 1, {}), ("relist", KIND), ("start", OTHER, 3, {KEY: 2.0})]
    assert facts == []
    assert set(reader.statistics()) == {PARENT, KIND, OTHER}
    fleet = value_of(reader._processes[OTHER]._setup.fleet)
    assert [ref.kind for ref in fleet.kinds] == [PARENT, OTHER]


@pytest.mark.parametrize("large", [True, False])
def test_what_is_asked_before_the_choice_reaches_whoever_is_chosen(
    processes: list[tuple[Any, ...]], large: bool
) -> None:
    answered = threading.Event()

    def choose(kind: str) -> Choice:
        answered.wait(20.0)
        return Choice(large, "so many")

    reader, thread, facts = made(choose)
    reader.set_timeout(KIND, KEY, 5.0)
    reader.start(KIND, 1, ignore)
    reader.set_timeout(KIND, KEY, 6.0)
    reader.relist(KIND)
    reader.start(KIND, 2, ignore)
    assert (thread.asked, processes) == ([], [])
    answered.set()
    until(lambda: thread.asked or processes)
    until(lambda: KIND not in reader._open)
    reader.set_timeout(KIND, KEY, 7.0)
    reader.start(KIND, 3, ignore)
    reader.relist(KIND)

    assert facts == [ReaderChosen(kind=KIND, reader="process" if large else "thread", why="so many")]
    if large:
        assert processes == [("start", KIND, 2, {KEY: 6.0}), ("start", KIND, 3, {KEY: 7.0}), ("relist", KIND)]
        assert thread.asked == []
    else:
        assert processes == []
        assert thread.asked == [
            ("timeout", KIND, KEY, 6.0), ("start", KIND, 2), ("timeout", KIND, KEY, 7.0), ("start", KIND, 3), ("relist", KIND),
        ]  # fmt: skip


def test_a_question_that_fails_is_answered_by_a_thread(processes: list[tuple[Any, ...]]) -> None:
    def choose(kind: str) -> Choice:
        raise Forbidden("no list for you")

    reader, thread, facts = made(choose)
    reader.start(KIND, 1, ignore)
    until(lambda: thread.asked)

    assert thread.asked == [("start", KIND, 1)]
    assert facts == [
        ReaderChosen(kind=KIND, reader="thread", why="it is not known how many there are: no list for you")
    ]


def test_a_choice_that_comes_after_the_end_starts_nothing(processes: list[tuple[Any, ...]]) -> None:
    answered, told = threading.Event(), threading.Event()

    def choose(kind: str) -> Choice:
        answered.wait(20.0)
        return Choice(False, "few")

    reader, thread, facts = made(choose)
    reader.start(KIND, 1, ignore)
    reader.stop(1.0)
    answered.set()
    until(lambda: facts)
    told.wait(0.05)
    reader.start(KIND, 2, ignore)

    assert thread.asked == [("stop",)]
    assert processes == []


class Server:
    """A client whose answers are given, one after the other."""

    def __init__(self, *answers: bytes | MusterError) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, Any]] = []

    def request(self, method: str, path: str, *, query: Any = None, **_: Any) -> Answer:
        self.asked.append((path, query))
        answer = self.answers.pop(0)
        if isinstance(answer, MusterError):
            raise answer
        return Answer(200, answer, "")


def client(*answers: bytes | MusterError) -> KubeClient:
    return cast("KubeClient", Server(*answers))


def page(items: int, remaining: int | None = None) -> bytes:
    more = "" if remaining is None else f', "continue": "x", "remainingItemCount": {remaining}'
    return f'{{"metadata": {{"resourceVersion": "1"{more}}}, "items": [{", ".join(["{}"] * items)}]}}'.encode()


@pytest.mark.parametrize(
    ("answer", "expected"), [(page(0), 0), (page(1), 1), (page(1, 99_999), 100_000), (b'{"metadata": {}}', 0)]
)
def test_the_server_says_how_many_there_are(answer: bytes, expected: int) -> None:
    assert count(client(answer), "/path") == expected


@pytest.mark.parametrize("answer", [b"[]", b'{"metadata": {"continue": "x"}}', b"\xff"])
def test_an_answer_that_does_not_say_is_none(answer: bytes) -> None:
    with pytest.raises(Undecodable):
        count(client(answer), "/path")


@pytest.mark.parametrize(("found", "process"), [(19_999, False), (20_000, True)])
def test_a_large_kind_gets_a_process(monkeypatch: pytest.MonkeyPatch, found: int, process: bool) -> None:
    monkeypatch.setattr(reader_choice, "processors", lambda: 2)
    server = Server(page(1, found - 1))
    choice = by_size(cast("KubeClient", server), MUSTER_FLEET, "ns", pause=lambda s: None)(KIND)

    assert choice.process is process
    assert f"there are {found} objects" in choice.why
    assert server.asked == [("/apis/muster.dev/v1alpha1/namespaces/ns/computenodes", {"limit": "1"})]


def test_with_one_processor_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_choice, "processors", lambda: 1)

    assert by_size(client(), MUSTER_FLEET, "", pause=lambda s: None)(KIND) == Choice(
        False, "there is one processor only"
    )


def test_a_server_that_is_not_there_yet_is_asked_again_and_one_that_refuses_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reader_choice, "processors", lambda: 2)
    pauses: list[float] = []

    def choose(*answers: bytes | MusterError) -> Choice:
        return by_size(client(*answers), MUSTER_FLEET, "", pause=pauses.append)(KIND)

    assert choose(Unreachable("down"), page(1, 50_000)).process
    assert len(pauses) == 1
    with pytest.raises(Unreachable):
        choose(*[Unreachable("down")] * ASKS_MAX)
    assert len(pauses) == ASKS_MAX
    with pytest.raises(Forbidden):
        choose(Forbidden("no"), page(1))
    assert len(pauses) == ASKS_MAX


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 8),
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.max": "100000 100000\n"}, 1),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "20000 100000\n"}, 1),
        ({"cpu.max": "6400000 100000\n"}, 8),
        ({"cpu.max": "nonsense"}, 8),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
        ({"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"}, 2),
        ({"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "0"}, 8),
    ],
)
def test_the_processors_are_those_that_the_container_may_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], expected: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    (tmp_path / "cpu").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)

    assert processors(tmp_path) == expected
