"""What a stream tells people and actors, word for word; and its lines and lists at their edges."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from actors.core import stream as module
from actors.core.builtin import MUSTER_FLEET
from actors.core.decode import Decoder, Page
from actors.core.errors import ApiError, Conflict, Expired, Invalid, NotFound, Unreachable
from actors.core.events import Fact, Listed, ObjectRefused, ParentDisputed, StreamDown, StreamUp
from actors.core.intake import Intake
from actors.core.lines import Lines
from actors.core.ports import Objects, StreamChanged
from actors.core.stream import ListPage, Pause, Stream, Watch, api_error

STREAMED = Watch(version=None, timeout_s=600)


def node(name: str, version: int, *, healthy: Any = True, beat: str = "b", **metadata: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "ns", "uid": name, "resourceVersion": str(version), **metadata},
        "spec": {"clusterRef": {"name": "c"}},
        "status": {"healthy": healthy, "lastHeartbeatTime": beat},
    }


def line(type_: str, obj: dict[str, Any]) -> bytes:
    return json.dumps({"type": type_, "object": obj}).encode()


def bookmark(version: int, *, end: bool = False) -> bytes:
    annotations = {"annotations": {"k8s.io/initial-events-end": "true"}} if end else {}
    return line("BOOKMARK", {"metadata": {"resourceVersion": str(version), **annotations}})


class Bench:
    """A stream whose clock and dice are ours. ``low`` dice draw the shortest pause."""

    def __init__(self, *, now: float = 0.0, low: bool = False, streamed_list: bool = True) -> None:
        self.now, self.low = now, low
        self.facts: list[Fact] = []
        self.mail: list[Objects | StreamChanged] = []
        self.intake = Intake("ComputeNode")
        self.stream = Stream(
            Decoder(MUSTER_FLEET, "ComputeNode"), self.intake, epoch=7, deliver=self.mail.append,
            facts=self.facts.append, random=self, streamed_list=streamed_list,
        )  # fmt: skip

    def random(self) -> float:
        return 0.5

    def uniform(self, a: float, b: float) -> float:
        return a if self.low else b

    def next(self) -> object:
        """The next request; pauses are waited out."""
        while isinstance(action := self.stream.action(self.now), Pause):
            self.now += action.delay_s
        return action

    def open(self) -> None:
        self.stream.opened(self.now, None)

    def lines(self, *lines: bytes) -> None:
        self.stream.lines(lines, self.now)

    def end(self, error: ApiError | None = None) -> None:
        self.stream.ended(self.now, error)

    def page(self, *objects: dict[str, Any], version: int = 100, token: str = "") -> None:
        self.stream.page(
            Page([msgspec.Raw(json.dumps(obj).encode()) for obj in objects], version, token), self.now, None
        )

    def list_streamed(self, *lines: bytes, version: int = 100) -> None:
        """Through a streamed list into its watch."""
        assert self.next() == STREAMED
        self.open()
        self.lines(*lines, bookmark(version, end=True))

    def synced(self, *objects: dict[str, Any]) -> Bench:
        self.list_streamed(*(line("ADDED", obj) for obj in objects))
        self.facts.clear()
        self.mail.clear()
        return self

    def resume(self) -> None:
        """The stream ends as agreed and is watched again."""
        self.end()
        assert self.next() == Watch(version=self.intake.version, timeout_s=20)
        self.open()

    def of(self, kind: type[Any]) -> list[Any]:
        return [each for each in [*self.facts, *self.mail] if isinstance(each, kind)]


# --- what people are told ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [400, 401, 403, 404, 409, 410, 418, 422, 429, 499, 500, 503])
def test_an_error_keeps_the_servers_words_and_wish(code: int) -> None:
    """Its message is what an operator reads; its wish is what the pause obeys."""
    found = api_error(code, "its words", 3.0)

    assert (str(found), found.retry_after_s) == ("its words", 3.0)
    assert isinstance(found, Unreachable) == (code >= 500)
    assert isinstance(found, Expired) == (code == 410)


def test_what_is_told_of_a_failed_stream_is_complete() -> None:
    """The fact for the log, the mail for the watcher: whose, since which epoch, why, and when it is tried again."""
    bench = Bench(now=50.0)
    bench.next()
    bench.end(Unreachable("refused: is it running?"))
    bench.next()
    bench.list_streamed()

    assert bench.of(StreamDown) == [
        StreamDown(kind="ComputeNode", reason="Unreachable", message="refused: is it running?", retry_s=0.2)
    ]
    assert bench.of(StreamChanged) == [
        StreamChanged(kind="ComputeNode", epoch=7, up=False, reason="Unreachable", message="refused: is it running?"),
        StreamChanged(kind="ComputeNode", epoch=7, up=True),
    ]
    assert [(fact.kind, fact.gap_s) for fact in bench.of(StreamUp)] == [("ComputeNode", pytest.approx(0.2))]


def test_an_error_without_a_name_of_its_own_is_a_failure() -> None:
    """409 on a list is nothing that Kubernetes says; it is told all the same."""
    bench = Bench()
    bench.next()
    bench.end(Conflict("what?"))

    assert [fact.reason for fact in bench.of(StreamDown)] == ["Failed"]


def test_the_gap_is_counted_from_the_end_of_the_stream() -> None:
    """And not from an agreed end before it, which was no gap."""
    bench = Bench(now=100.0).synced(node("a", 1))
    bench.now = 110.0
    bench.resume()
    bench.now = 120.0
    bench.end(Unreachable("cut"))
    bench.next()
    bench.now = 150.0
    bench.open()
    bench.now = 151.0
    bench.stream.tick(bench.now)

    assert [fact.gap_s for fact in bench.of(StreamUp)] == [30.0]


@pytest.mark.parametrize("opened", [False, True])
def test_a_dead_request_is_told_with_how_long_it_took(opened: bool) -> None:
    """A duration, not the hour of the day."""
    bench = Bench(now=1000.0).synced(node("a", 1))
    bench.end()
    bench.next()
    if opened:
        bench.open()
    bench.now += 25.0 if opened else 15.0
    assert bench.stream.should_end(bench.now)
    bench.end()

    (fact,) = bench.of(StreamDown)
    assert fact.message == f"ComputeNode: no end and no answer from the server for {25 if opened else 15} s"


def test_a_server_that_closes_each_watch_at_once_is_named_as_such() -> None:
    """The second time in a row: once may be a restart."""
    bench = Bench().synced(node("a", 1))
    bench.now = 5.0
    bench.end()
    told = []
    for _ in range(3):
        assert isinstance(bench.next(), Watch)
        bench.open()
        bench.end()
        told.append([fact.message for fact in bench.of(StreamDown)])

    assert [len(messages) for messages in told] == [0, 1, 2]
    assert told[1] == ["ComputeNode: the server closes each watch at once"]


def test_a_lagging_server_is_told_with_both_versions() -> None:
    bench = Bench(now=40.0).synced(node("a", 90))
    bench.stream.relist()
    bench.end()
    bench.next()
    bench.open()
    bench.lines(bookmark(60, end=True))
    bench.end()

    (fact,) = bench.of(StreamDown)
    assert fact.message == "ComputeNode: the server lags: its list is of version 60, 100 was seen"


def test_a_list_that_was_asked_for_says_so() -> None:
    bench = Bench().synced(node("a", 1))
    bench.stream.relist()
    bench.end()
    bench.list_streamed(line("ADDED", node("a", 1)))
    bench.stream.relist("audit")
    bench.end()
    bench.list_streamed(line("ADDED", node("a", 1)))

    assert [fact.reason for fact in bench.of(Listed)] == ["asked", "audit"]


def test_a_kind_that_came_back_is_listed_with_that_reason() -> None:
    bench = Bench().synced(node("a", 1))
    bench.end(NotFound("the server could not find the requested resource"))
    bench.list_streamed(line("ADDED", node("a", 1)))

    assert [fact.reason for fact in bench.of(Listed)] == ["kind missing"]


def test_a_refused_object_and_a_disputed_parent_are_told_by_name() -> None:
    """Kind, place, reason; child, who won, who else."""
    bench = Bench().synced(node("a", 1))
    bench.lines(
        line("MODIFIED", node("a", 101, healthy="?")),
        line("ADDED", node("b", 102, labels={"muster.dev/cluster": "x"})),
    )

    (bad,) = bench.of(ObjectRefused)
    assert (bad.kind, bad.place) == ("ComputeNode", "ComputeNode ns/a")
    assert "status.healthy" in bad.why
    assert bench.of(ParentDisputed) == [ParentDisputed(kind="ComputeNode", child="ns/b", chosen="x", others=("c",))]


def test_disputes_of_a_list_are_told_when_it_is_complete() -> None:
    bench = Bench()
    bench.list_streamed(line("ADDED", node("a", 1)), line("ADDED", node("b", 2, labels={"muster.dev/cluster": "x"})))

    assert [fact.child for fact in bench.of(ParentDisputed)] == ["ns/b"]


def test_what_has_been_told_is_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hostile client may make bad objects without end."""
    monkeypatch.setattr(module, "_TOLD_MAX", 10)
    bench = Bench().synced()
    sizes = []
    for number in range(35):
        bench.lines(line("ADDED", node(f"n{number}", 101 + number, healthy="?")))
        sizes.append(len(bench.stream._told))

    assert (len(bench.of(ObjectRefused)), max(sizes)) == (35, 10)


# --- lines ------------------------------------------------------------------------------------------------------------


def test_the_longest_line_passes_and_one_byte_more_does_not() -> None:
    """In pieces, whichever line it is; each that is skipped is counted."""
    lines = Lines(20)
    out = []
    for length in (20, 21, 20, 22, 19):
        for byte in b"x" * length + b"\n":
            out += lines.feed(bytes([byte]))

    assert [len(each) for each in out] == [20, 20, 19]
    assert lines.skipped == 2


def test_a_line_that_is_too_long_is_told_by_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench().synced()
    bench.stream._cutter = Lines(20)
    for _ in range(3):
        bench.stream.feed(b"x" * 10, bench.now)
    bench.stream.feed(b"\n", bench.now)

    assert bench.of(ObjectRefused) == [
        ObjectRefused(kind="ComputeNode", place="ComputeNode (watch line)", why="longer than 4194304 bytes")
    ]


# --- lists ------------------------------------------------------------------------------------------------------------


def test_lists_are_streamed_unless_it_is_said_otherwise() -> None:
    stream = Stream(
        Decoder(MUSTER_FLEET, "ComputeNode"), Intake("ComputeNode"), epoch=1, deliver=lambda _mail: None,
        facts=lambda _fact: None, random=Bench(),
    )  # fmt: skip

    assert stream.action(0.0) == STREAMED


def test_nothing_is_synced_before_the_first_list_is_complete() -> None:
    """A readiness probe that believed otherwise would let traffic to an empty world."""
    bench = Bench()
    bench.next()
    bench.open()
    bench.lines(line("ADDED", node("a", 1)))
    before = bench.stream.synced
    bench.lines(bookmark(100, end=True))

    assert (before, bench.stream.synced) == (False, True)


def test_what_is_deleted_while_a_list_streams_is_not_in_it() -> None:
    """The end of a streamed list is of the state then; a deletion of what it has not named yet changes nothing."""
    bench = Bench()
    bench.list_streamed(
        line("ADDED", node("a", 1)), line("ADDED", node("b", 2)), line("DELETED", node("a", 90)),
        line("DELETED", node("never seen", 91)),
    )  # fmt: skip

    (mail,) = bench.of(Objects)
    assert list(mail.entries) == ["b"]


def test_a_streamed_list_that_dried_up_is_streamed_again_the_next_time() -> None:
    """Only a server that cannot stream is asked for pages ever after; a slow moment proves nothing."""
    bench = Bench()
    bench.next()
    bench.open()
    bench.now = 10.0
    assert bench.stream.should_end(bench.now)
    bench.end()
    assert bench.next() == ListPage()
    bench.page(node("a", 1))
    bench.next()
    bench.stream.relist()
    bench.end()

    assert bench.next() == STREAMED


def test_a_streamed_list_may_take_as_long_as_lines_come() -> None:
    bench = Bench()
    bench.next()
    bench.open()
    for second in range(0, 100, 9):
        bench.now = float(second)
        assert not bench.stream.should_end(bench.now)
        bench.lines(line("ADDED", node(f"n{second}", 1 + second)))

    assert bench.stream.wake_s() == 99.0 + 10.0


def test_a_bad_object_that_was_listed_can_be_read_later_at_its_old_version() -> None:
    """Whoever mends its schema does not touch the object."""
    bench = Bench(streamed_list=False)
    bench.next()
    bench.page(node("a", 5, healthy="?"), node("b", 6))
    bench.stream.relist()
    bench.next()
    bench.page(node("a", 5), node("b", 6), version=101)

    assert [sorted(mail.entries) for mail in bench.of(Objects)] == [["b"], ["a", "b"]]


@pytest.mark.parametrize(("after_s", "believed"), [(59.9, False), (60.0, True)])
def test_a_minute_of_old_lists_is_counted_from_the_first_of_them(after_s: float, believed: bool) -> None:
    bench = Bench(now=5000.0, streamed_list=False)
    bench.next()
    bench.page(node("a", 90))
    for at_s in (5010.0, 5010.0 + after_s):
        bench.stream.relist()
        bench.now = at_s
        bench.next()
        assert bench.now == at_s
        bench.page(version=50)

    assert ("restored" in [fact.reason for fact in bench.of(Listed)]) is believed


def test_a_good_list_between_two_old_ones_ends_the_minute() -> None:
    """A server that lags now and then was not restored."""
    bench = Bench(streamed_list=False)
    bench.next()
    bench.page(node("a", 90))
    for at_s, version in ((10.0, 50), (40.0, 100), (80.0, 50)):
        bench.stream.relist()
        bench.now = at_s
        bench.next()
        bench.page(version=version)

    assert [fact.reason for fact in bench.of(Listed)] == ["start", "asked"]


def test_a_server_that_cannot_stream_is_remembered_across_lists() -> None:
    bench = Bench()
    bench.next()
    bench.end(Invalid("sendInitialEvents: unknown field"))
    for _ in range(2):
        assert bench.next() == ListPage()
        bench.page(node("a", 1))
        bench.stream.relist()

    assert bench.of(StreamDown) == []
