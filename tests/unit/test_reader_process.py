"""The operator's side of a reader's process, against children that say what a test wants them to say."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from actors.core.events import Fact, Listed, ReaderDied, ReaderStarted
from actors.core.model import Child, ParentKey, Record
from actors.core.ports import Objects, StreamChanged
from actors.edge import reader_process
from actors.edge.dispatcher import SystemClock
from actors.edge.outbox import Mail
from actors.edge.reader_process import ReaderProcess
from actors.edge.reader_wire import (
    Begin,
    Dying,
    Frames,
    Pulse,
    Relist,
    Setup,
    Timeouts,
    changed,
    command_of,
    frame_of,
    parts_of,
    told,
)

KIND = "ComputeNode"
SETUP = Setup(KIND, "", "", "", None, None, 20, True)
# Says what its number's file holds (and keeps all that it hears beside it); then ends, or waits for the end of its input.
CHILD = """
import os, sys, threading
folder = {folder!r}
number = len([name for name in os.listdir(folder) if name.startswith("heard")]) + 1
heard = open(f"{{folder}}/heard{{number}}", "wb", 0)
files = sorted(name for name in os.listdir(folder) if name.startswith("says"))
name = files[min(number, len(files)) - 1]
os.write(1, open(f"{{folder}}/{{name}}", "rb").read())
if name.endswith("end"):
    sys.exit(3)
while data := os.read(0, 65536):
    heard.write(data)
"""


def until(condition: Callable[[], Any], within_s: float = 30.0) -> None:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() < began + within_s, "it did not happen"
        time.sleep(0.005)


def children(*uids: str, version: int = 1) -> dict[str, Record | None]:
    return {uid: Child(KIND, "ns", uid, uid, version, ParentKey("ns", "c")) for uid in uids}


def objects(entries: dict[str, Record | None], *, replace: bool = False, epoch: int = 1) -> Objects:
    return Objects(kind=KIND, entries=entries, replace=replace, epoch=epoch)


class Watched:
    """A reader's process with its mail and its facts."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.folder = folder
        self.mail: list[Mail] = []
        self.facts: list[Fact] = []
        self.process = ReaderProcess(SETUP, facts=self.facts.append, clock=SystemClock(), random=Random(1), **options)

    def deaths(self) -> list[tuple[str, str]]:
        return [(fact.reason, fact.message) for fact in self.facts if isinstance(fact, ReaderDied)]

    def heard(self, number: int) -> list[object]:
        """The commands that the child of that number was given."""
        return [command_of(frame) for frame in Frames().feed((self.folder / f"heard{number}").read_bytes())]


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Watched]]:
    """Makes one whose lives say these bytes, one after the other (the last one's again): ``stays`` or ends after them."""
    made: list[Watched] = []

    def begin(*says: bytes, ends: Iterable[int] = (), **options: Any) -> Watched:
        for number, data in enumerate(says, 1):
            (tmp_path / f"says{number}{'end' if number in ends else ''}").write_bytes(data)
        monkeypatch.setattr(reader_process, "_BOOT", CHILD.format(folder=str(tmp_path)))
        made.append(Watched(tmp_path, **options))
        return made[-1]

    yield begin
    for each in made:
        each.process.close()
        each.process.join(20.0)


PULSE = frame_of(Pulse(1, 2, True))
LIST = b"".join(parts_of(objects(children("a", "b", "c"), replace=True), piece_bytes=1))


def test_what_it_says_is_delivered_in_order(child: Callable[..., Watched]) -> None:
    mail: list[Mail] = [
        objects(children("a"), replace=True), StreamChanged(kind=KIND, epoch=1, up=True), objects({"a": None}),
    ]  # fmt: skip
    fact = Listed(kind=KIND, count=1, missing=0, reason="start")
    words = [b"".join(parts_of(each)) if isinstance(each, Objects) else frame_of(changed(each)) for each in mail]
    watched = child(frame_of(told(fact)) + b"".join(words) + PULSE)
    watched.process.start(1, watched.mail.append)
    until(lambda: watched.process.pulse.synced)

    assert watched.mail == mail
    assert watched.facts == [ReaderStarted(kind=KIND, pid=watched.process.pid), fact]
    assert watched.process.statistics() == {
        "objects": 1, "version": 2, "synced": True, "age_s": None, "pid": watched.process.pid, "deaths": 0,
    }  # fmt: skip


def test_the_parts_of_a_list_are_one_replacement(child: Callable[..., Watched]) -> None:
    watched = child(LIST)
    watched.process.start(1, watched.mail.append)
    until(lambda: watched.mail)

    assert watched.mail == [objects(children("a", "b", "c"), replace=True)]


def test_a_list_that_begins_before_another_has_ended_is_the_only_one(child: Callable[..., Watched]) -> None:
    half = b"".join(list(parts_of(objects(children("a", "ghost", "c"), replace=True), piece_bytes=1))[:1])
    watched = child(half + LIST)
    watched.process.start(1, watched.mail.append)
    until(lambda: watched.mail)

    assert watched.mail == [objects(children("a", "b", "c"), replace=True)]


def test_mail_of_another_epoch_goes_nowhere(child: Callable[..., Watched]) -> None:
    other = b"".join(parts_of(objects(children("x"), replace=True, epoch=4)))
    other += frame_of(changed(StreamChanged(kind=KIND, epoch=4, up=True)))
    watched = child(other + LIST)
    watched.process.start(1, watched.mail.append)
    until(lambda: watched.mail)

    assert watched.mail == [objects(children("a", "b", "c"), replace=True)]


CUT = LIST[:-3]
END = b"".join(list(parts_of(objects(children("a", "b"), replace=True), piece_bytes=1))[1:])
NONSENSE = b"{" + b'"kind":"nonsense"}' * 20


@pytest.mark.parametrize(
    ("says", "ends", "reason", "words"),
    [
        (CUT, True, "ended", "exit code 3; see standard error"),
        (NONSENSE, False, "garbled", "a frame of"),
        (frame_of(Begin(1)) + PULSE, False, "garbled", "no report"),
        (LIST[len(LIST) // 2 :], False, "garbled", ""),
        (END, False, "garbled", "without its beginning"),
        (PULSE, True, "ended", "exit code 3"),
        (frame_of(Dying("there is no kubeconfig")), False, "ended", "there is no kubeconfig"),
    ],
    ids=["cut in a frame", "no frame", "no report", "from the middle", "no first part", "ended", "dying"],
)  # fmt: skip
def test_whatever_becomes_of_it_is_told_and_another_one_lists(
    child: Callable[..., Watched], says: bytes, ends: bool, reason: str, words: str
) -> None:
    watched = child(says, LIST, ends=[1] if ends else [])
    watched.process.start(1, watched.mail.append)
    until(lambda: len(watched.mail) == 2)

    ((found, message),) = watched.deaths()
    assert found == reason
    assert words in message
    assert message.startswith(f"the process that reads {KIND}: ")
    down = StreamChanged(kind=KIND, epoch=1, up=False, reason="ReaderDied", message=message)
    assert watched.mail == [down, objects(children("a", "b", "c"), replace=True)]


def test_one_that_says_nothing_more_is_given_up(child: Callable[..., Watched]) -> None:
    watched = child(PULSE, LIST, hung_s=0.5)
    watched.process.start(1, watched.mail.append)
    until(lambda: len(watched.mail) >= 2)

    assert watched.deaths()[0][0] == "hung"
    assert watched.mail[1] == objects(children("a", "b", "c"), replace=True)


def test_one_that_cannot_be_started_is_told_and_tried_again(
    child: Callable[..., Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = sys.executable
    watched = child(LIST)
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    watched.process.start(1, watched.mail.append)
    until(watched.deaths)
    monkeypatch.setattr(sys, "executable", right)
    until(lambda: any(isinstance(mail, Objects) for mail in watched.mail))

    assert watched.deaths()[0][0] == "not started"
    assert "/nowhere/python" in watched.deaths()[0][1]


def test_a_taker_that_raises_has_the_kind_listed_again(child: Callable[..., Watched]) -> None:
    watched = child(LIST)
    raised: list[Mail] = []

    def deliver(mail: Mail) -> None:
        if isinstance(mail, Objects) and not raised:
            raised.append(mail)
            raise ValueError("a bug")
        watched.mail.append(mail)

    watched.process.start(1, deliver)
    until(lambda: len(watched.mail) == 2)

    assert watched.deaths()[0][0] == "crashed"
    assert "ValueError: a bug" in watched.deaths()[0][1]


def test_it_is_told_what_is_wished_and_the_next_one_all_of_it(child: Callable[..., Watched]) -> None:
    watched = child(PULSE, PULSE)
    process, c, d = watched.process, ParentKey("ns", "c"), ParentKey("ns", "d")
    process.set_timeout(c, 1.0)
    process.set_timeout(d, 2.0)
    process.start(1, watched.mail.append)
    until(lambda: process.pulse.synced)
    process.set_timeout(d, None)
    until(lambda: Timeouts([(d, None)]) in watched.heard(1))
    process.relist()
    process.start(2, watched.mail.append)
    process.relist()
    until(lambda: len(watched.heard(1)) >= 6 and watched.heard(1)[-1] == Relist())  # the second wish comes last
    heard = watched.heard(1)
    assert heard[:4] == [SETUP, Timeouts([(c, 1.0), (d, 2.0)]), Begin(1), Timeouts([(d, None)])]
    assert heard[4:] in ([Begin(2), Relist()], [Relist(), Begin(2), Relist()])

    assert process._process is not None
    process._process.kill()
    until(lambda: (watched.folder / "heard2").exists() and len(watched.heard(2)) == 3)
    told = msgspec.structs.replace(SETUP, seen=2)  # as the pulse had said
    assert watched.heard(2) == [told, Timeouts([(c, 1.0)]), Begin(2)], "no list is wished for that comes anyway"


def test_callers_never_wait_for_a_child_that_does_not_read(
    child: Callable[..., Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred thousand timeouts are many times what a pipe holds."""
    watched = child(PULSE)
    monkeypatch.setattr(reader_process, "_BOOT", f"import os, time; os.write(1, {PULSE!r}); time.sleep(60)")
    watched.process.start(1, watched.mail.append)
    until(lambda: watched.process.pulse.synced)
    for number in range(100_000):
        watched.process.set_timeout(ParentKey("ns", str(number)), 1.0)
    watched.process.close()
    watched.process.join(20.0)

    assert watched.process._process is not None
    assert watched.process._process.returncode is not None


def test_a_taker_that_never_comes_back_does_not_hold_up_the_end(child: Callable[..., Watched]) -> None:
    watched, go_on = child(LIST), threading.Event()

    def deliver(mail: Mail) -> None:
        watched.mail.append(mail)
        go_on.wait(20.0)

    watched.process.start(1, deliver)
    until(lambda: watched.mail)
    watched.process.close()
    watched.process.join(0.1)
    assert watched.process._process is not None

    assert watched.process._process.wait(20.0) != 0
    go_on.set()
