"""List and watch at their edges: instants that are just in time, and what comes in the wrong moment."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from actors.core.builtin import MUSTER_FLEET
from actors.core.decode import Decoder, Page
from actors.core.errors import ApiError, Unreachable
from actors.core.events import Fact, StreamDown, StreamUp
from actors.core.intake import Intake
from actors.core.model import Child, ParentKey
from actors.core.ports import Objects, StreamChanged
from actors.core.stream import ListPage, Pause, Stream, Watch, differences

PARENT = ParentKey("ns", "c")
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


def refusal(code: int, reason: str, **details: Any) -> bytes:
    return line("ERROR", {"code": code, "reason": reason, "message": "why", **details})


class Bench:
    """A stream whose clock and dice are ours. ``low`` dice draw the shortest pause."""

    def __init__(self, *, now: float = 0.0, low: bool = False, streamed_list: bool = True) -> None:
        self.now, self.low = now, low
        self.facts: list[Fact] = []
        self.mail: list[Objects | StreamChanged] = []
        self.intake = Intake("ComputeNode")
        self.stream = self.new_stream(7, streamed_list=streamed_list)

    def new_stream(self, epoch: int, *, streamed_list: bool = True) -> Stream:
        return Stream(
            Decoder(MUSTER_FLEET, "ComputeNode"), self.intake, epoch=epoch, deliver=self.mail.append,
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

    def silent(self) -> list[str]:
        """Who has been called silent in the mail."""
        entries = [entry for mail in self.of(Objects) for entry in mail.entries.values()]
        return [entry.uid for entry in entries if isinstance(entry, Child) and entry.silent]


# --- requests ---------------------------------------------------------------------------------------------------------


def test_between_two_requests_nothing_is_under_way() -> None:
    """No limit, no wake-up and nothing to cut: after a page, in a pause, after the close."""
    bench = Bench(streamed_list=False)
    bench.next()
    bench.page(node("a", 1))
    after_page = (bench.stream.wake_s(), bench.stream.should_end(1e6))
    bench.next()
    bench.end(Unreachable("refused"))
    in_pause = (bench.stream.wake_s(), bench.stream.should_end(1e6))
    bench.next()
    bench.stream.close(bench.now)

    assert after_page == in_pause == (bench.stream.wake_s(), bench.stream.should_end(1e6)) == (None, False)


def test_a_late_look_at_a_list_that_went_on_as_a_watch_is_no_error() -> None:
    """The reader was busy for half a minute: the stream is rotated all the same and the server not blamed."""
    bench = Bench().synced(node("a", 1))
    bench.now = 30.0
    assert bench.stream.should_end(bench.now)
    bench.end()

    assert (bench.next(), bench.facts) == (Watch(version=100, timeout_s=20), [])


def test_what_came_before_a_refusal_in_the_same_chunk_is_delivered() -> None:
    bench = Bench().synced(node("a", 1))
    bench.lines(
        line("MODIFIED", node("a", 101, healthy=False)), refusal(500, "InternalError"), line("ADDED", node("b", 102))
    )

    assert [list(mail.entries) for mail in bench.of(Objects)] == [["a"]], "and what came after it is not"


@pytest.mark.parametrize("reason", ["Expired", "Gone"])
def test_a_version_that_is_too_old_is_known_by_its_reason(reason: str) -> None:
    """Some servers send it with another code; listing again is the cure, and nobody is told."""
    bench = Bench().synced(node("a", 1))
    bench.lines(refusal(500, reason))
    bench.end()

    assert (bench.next(), bench.of(StreamDown)) == (STREAMED, [])


def test_a_refusal_within_a_watch_is_told_and_its_wish_obeyed() -> None:
    bench = Bench(low=True).synced(node("a", 1))
    bench.lines(refusal(429, "TooManyRequests", details={"retryAfterSeconds": 3}))
    bench.end()

    (fact,) = bench.of(StreamDown)
    assert (fact.reason, fact.message, fact.retry_s) == (
        "Throttled", "ComputeNode: the watch was ended: why", 3.0
    )  # fmt: skip


def test_an_expired_version_that_sticks_is_told_in_the_servers_words() -> None:
    """The first is nobody's error; the second in a row is."""
    bench = Bench(streamed_list=False)
    bench.next()
    bench.page(node("a", 1))
    told = []
    for _ in range(2):
        assert bench.next() == Watch(version=100, timeout_s=20)
        bench.open()
        bench.lines(refusal(410, "Expired"))
        bench.end()
        told.append([fact.message for fact in bench.of(StreamDown)])
        assert bench.next() == ListPage()
        bench.page(node("a", 1))

    assert told == [[], ["why"]]


def test_the_shortest_pause_is_none_at_all() -> None:
    """Full jitter: from zero, and the growth is in its upper bound."""
    bench = Bench(low=True)
    for _ in range(5):
        assert bench.stream.action(bench.now) == STREAMED
        bench.end(Unreachable("refused"))

    assert [fact.retry_s for fact in bench.of(StreamDown)] == [0.0] * 5


@pytest.mark.parametrize(
    ("lived_s", "delivered", "pause_s"),
    [(0.0, None, 0.8), (0.75, None, 0.8), (1.0, None, 0.2), (0.0, line("ADDED", node("b", 101)), 0.2),
     (0.0, bookmark(101), 0.2), (0.0, b"{nonsense", 0.8)],
)  # fmt: skip
def test_a_stream_that_lived_for_a_second_or_delivered_anything_was_progress(
    lived_s: float, delivered: bytes | None, pause_s: float
) -> None:
    """Then the next pause is a first one again; it had grown to the third."""
    bench = Bench().synced(node("a", 1))
    for at_s in (10.0, 20.0):
        bench.end(Unreachable("cut"))
        bench.now = at_s
        bench.next()
        bench.open()
    if delivered is not None:
        bench.lines(delivered)
    bench.now += lived_s
    bench.end(Unreachable("cut"))

    assert [fact.retry_s for fact in bench.of(StreamDown)] == pytest.approx([0.2, 0.4, pause_s])


# --- up and down ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delivers", [True, False])
def test_after_hasty_ends_a_stream_is_up_when_it_delivers_or_has_lived(delivers: bool) -> None:
    """Opened is not up: a server that closes each watch at once opens it each time."""
    bench = Bench().synced(node("a", 1))
    bench.end()
    for _ in range(3):
        bench.next()
        bench.open()
        bench.end()
    bench.now = opened_s = 8.0
    bench.next()
    bench.open()
    assert [mail.up for mail in bench.of(StreamChanged)] == [False]
    wakes_s = bench.stream.wake_s()

    if delivers:
        bench.lines(bookmark(101))
    else:
        bench.now = opened_s + 0.9
        bench.stream.tick(bench.now)
        assert [mail.up for mail in bench.of(StreamChanged)] == [False]
        bench.now = opened_s + 1.0
        bench.stream.tick(bench.now)

    assert wakes_s == opened_s + 1.0
    assert [mail.up for mail in bench.of(StreamChanged)] == [False, True]
    assert bench.of(StreamUp)[0].gap_s == pytest.approx(bench.now)


def test_a_list_that_is_still_streaming_is_not_up() -> None:
    bench = Bench()
    bench.next()
    bench.open()
    bench.now = 5.0
    bench.stream.tick(bench.now)

    assert (bench.mail, bench.facts) == ([], [])


# --- silence ----------------------------------------------------------------------------------------------------------


def watched(timeout_s: float, *, now: float = 0.0) -> Bench:
    """One child that may be silent for so long, seen now."""
    bench = Bench(now=now).synced(node("a", 1))
    bench.intake.set_timeout(PARENT, timeout_s, bench.now)
    return bench


def test_nobody_is_judged_while_the_stream_is_down_and_the_clocks_start_again_after() -> None:
    """An outage of the API server is not an outage of the nodes."""
    bench = watched(10.0, now=100.0)
    bench.now = 105.0
    bench.end(Unreachable("cut"))
    for _ in range(20):
        bench.now += 1.0
        bench.stream.tick(bench.now)
    assert bench.silent() == []
    bench.next()
    bench.end(Unreachable("refused"))
    bench.next()
    up_s = bench.now
    bench.open()
    bench.now = up_s + 9.9
    bench.lines(bookmark(101))
    bench.stream.tick(bench.now)
    assert bench.silent() == []
    bench.now = up_s + 10.0
    bench.lines(bookmark(102))
    bench.stream.tick(bench.now)

    assert bench.silent() == ["a"]


@pytest.mark.parametrize(
    ("refused", "opened_first", "judged"),
    [
        (None, False, True),  # it ended as agreed and the next attempt came through
        (Unreachable("refused"), False, False),  # an attempt failed: an outage, however short
        (Unreachable("cut"), True, True),  # it ran, was cut, and the next attempt came through
    ],
)
def test_a_rotation_leaves_the_clocks_alone_and_an_outage_does_not(
    refused: ApiError | None, opened_first: bool, judged: bool
) -> None:
    bench = watched(10.0)
    bench.now = 9.0
    bench.end()
    bench.next()
    if opened_first:
        bench.open()
    if refused is not None:
        bench.end(refused)
        bench.next()
    bench.open()
    bench.now = 10.5
    bench.lines(bookmark(101))
    bench.stream.tick(bench.now)

    assert bench.silent() == (["a"] if judged else [])


def test_one_failed_attempt_counts_for_one_outage() -> None:
    """After it the next rotation is a rotation again."""
    bench = watched(10.0)
    bench.end()
    bench.next()
    bench.end(Unreachable("refused"))
    bench.next()
    bench.open()
    began_s = bench.now
    bench.now = began_s + 9.0
    bench.resume()
    bench.now = began_s + 10.0
    bench.lines(bookmark(101))
    bench.stream.tick(bench.now)

    assert bench.silent() == ["a"]


def test_what_is_fed_is_heard_when_it_comes() -> None:
    bench = watched(10.0, now=1000.0)
    bench.now = 1009.0
    bench.stream.feed(line("MODIFIED", node("a", 101, beat="later")) + b"\n", bench.now)
    bench.now = 1018.9
    bench.lines(bookmark(102))
    bench.stream.tick(bench.now)
    early = bench.silent()
    bench.now = 1019.0
    bench.lines(bookmark(103))
    bench.stream.tick(bench.now)

    assert (early, bench.silent()) == ([], ["a"])


def test_a_bad_object_proves_that_the_stream_lives() -> None:
    """It is a frame like any other: whoever was due by then may be judged."""
    bench = watched(10.0, now=1000.0)
    bench.now = 1010.1
    bench.lines(line("MODIFIED", node("z", 101, healthy="?")))
    bench.stream.tick(bench.now)

    assert bench.silent() == ["a"]


def test_a_closed_stream_judges_nobody() -> None:
    bench = watched(10.0)
    bench.stream.close(bench.now)
    bench.now = 20.0
    bench.stream.tick(bench.now)

    assert (bench.mail, bench.intake.next_s) == ([], None)


def test_before_its_first_list_an_epoch_says_nothing() -> None:
    """Whatever changes meanwhile is in the replacement; as a change before it, it would be merged into nothing."""
    bench = watched(10.0)
    bench.now = 10.0
    bench.lines(bookmark(101))
    bench.stream.tick(bench.now)
    assert bench.silent() == ["a"]
    bench.stream.close(bench.now)
    bench.mail.clear()
    bench.stream = bench.new_stream(8)
    bench.intake.set_timeout(PARENT, 60.0, bench.now)
    bench.next()
    bench.open()
    bench.stream.tick(bench.now)
    assert bench.mail == []
    bench.lines(line("ADDED", node("a", 1)), bookmark(101, end=True))

    assert [(mail.epoch, mail.replace) for mail in bench.of(Objects)] == [(8, True)]


# --- bad objects in a watch -------------------------------------------------------------------------------------------


def test_a_deletion_that_cannot_be_read_is_a_deletion() -> None:
    """Its uid can be; left out, the child would be counted for ever."""
    bench = Bench().synced(node("a", 1), node("b", 2))
    bench.lines(line("DELETED", node("a", 101, healthy="?")))

    assert [mail.entries for mail in bench.of(Objects)] == [{"a": None}]


def test_a_change_that_cannot_be_read_is_waited_for() -> None:
    """The last good record stays, and the same version in good shape is taken in by a list."""
    bench = Bench().synced(node("a", 1))
    bench.lines(line("MODIFIED", node("a", 101, healthy="?")))
    assert bench.of(Objects) == []
    bench.stream.relist()
    bench.end()
    bench.list_streamed(line("ADDED", node("a", 101, healthy=False)), version=101)

    (mail,) = bench.of(Objects)
    assert (mail.replace, mail.entries["a"].healthy) == (True, False)


# --- the audit --------------------------------------------------------------------------------------------------------


def test_what_changed_at_the_very_version_of_the_audits_list_is_in_it() -> None:
    """The list is complete up to its version, itself included; what came after it is not judged."""
    bench = Bench().synced(node("a", 1))
    bench.lines(line("MODIFIED", node("a", 101)))
    listed = {"a": ("ns/a", 1)}

    assert differences(bench.intake, listed, 101, set()) == ["ns/a: version 1 on the server, 101 held"]
    assert differences(bench.intake, {}, 101, set()) == ["ns/a: not on the server, version 101 held"]
    assert differences(bench.intake, listed, 100, set()) == differences(bench.intake, {}, 100, set()) == []
