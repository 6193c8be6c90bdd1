"""What is asked of the API server next, without a server: lists, watches, refusals, and how often."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from actors.core.builtin import MUSTER_FLEET
from actors.core.decode import Decoder, Page
from actors.core.errors import ApiError, ApiThrottled, Expired, Forbidden, NotFound, Unauthorized, Unreachable
from actors.core.events import Fact, Listed, StreamDown, StreamUp
from actors.core.intake import Intake
from actors.core.model import ParentKey
from actors.core.ports import Objects, StreamChanged
from actors.core.stream import Action, ListPage, Pause, Stream, Watch, api_error


def node(
    name: str, version: int, *, healthy: Any = True, beat: str = "b", uid: str = "", **metadata: Any
) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "ns", "uid": uid or name, "resourceVersion": str(version), **metadata},
        "spec": {"clusterRef": {"name": "c"}},
        "status": {"healthy": healthy, "lastHeartbeatTime": beat},
    }


def line(type_: str, obj: dict[str, Any]) -> bytes:
    return json.dumps({"type": type_, "object": obj}).encode()


def bookmark(version: int, *, end: bool = False) -> bytes:
    annotations = {"annotations": {"k8s.io/initial-events-end": "true"}} if end else {}
    return line("BOOKMARK", {"metadata": {"resourceVersion": str(version), **annotations}})


def error(code: int, **details: Any) -> bytes:
    return line("ERROR", {"kind": "Status", "code": code, "message": "why", "reason": "", **details})


class Bench:
    """A stream whose clock and dice are ours. ``high`` dice draw the longest pause."""

    def __init__(self, *, streamed_list: bool = True, high: bool = True) -> None:
        self.now = 0.0
        self.facts: list[Fact] = []
        self.mail: list[Objects | StreamChanged] = []
        self.high = high
        self.intake = Intake("ComputeNode")
        self.stream = self.new_stream(1, streamed_list=streamed_list)

    def new_stream(self, epoch: int, *, streamed_list: bool = True) -> Stream:
        self.stream = Stream(
            Decoder(MUSTER_FLEET, "ComputeNode"), self.intake, epoch=epoch, deliver=self.mail.append,
            facts=self.facts.append, random=self, streamed_list=streamed_list,
        )  # fmt: skip
        return self.stream

    def random(self) -> float:
        return 0.5

    def uniform(self, a: float, b: float) -> float:
        return b if self.high else a

    def next(self) -> Action:
        return self.stream.action(self.now)

    def patient(self) -> tuple[Action, float]:
        """The next request, and how long it took to come to it."""
        began = self.now
        while isinstance(action := self.next(), Pause):
            assert action.delay_s > 0
            self.now += action.delay_s
        return action, self.now - began

    def open(self) -> None:
        self.stream.opened(self.now, None)

    def synced(self, *objects: dict[str, Any], version: int = 100) -> Bench:
        """Through a streamed list into its watch."""
        assert self.next() == Watch(version=None, timeout_s=600)
        self.open()
        self.stream.lines([*(line("ADDED", obj) for obj in objects), bookmark(version, end=True)], self.now)
        self.mail.clear()
        self.facts.clear()
        return self

    def of(self, kind: type[Any]) -> list[Any]:
        return [each for each in [*self.facts, *self.mail] if isinstance(each, kind)]


def page(*objects: dict[str, Any], version: int = 100, token: str = "") -> Page:
    return Page([msgspec.Raw(json.dumps(obj).encode()) for obj in objects], version, token)


# --- lists ------------------------------------------------------------------------------------------------------------


def test_a_streamed_list_becomes_one_replacement_and_goes_on_as_a_watch() -> None:
    bench = Bench()
    assert bench.next() == Watch(version=None, timeout_s=600)
    bench.open()
    bench.stream.lines([line("ADDED", node("a", 5)), line("ADDED", node("b", 3))], bench.now)
    assert bench.mail == []

    bench.stream.lines([bookmark(100, end=True), line("MODIFIED", node("a", 101, healthy=False))], bench.now)

    first, up, more = (each for each in bench.mail)
    assert isinstance(up, Objects) or isinstance(first, StreamChanged)
    objects = bench.of(Objects)
    assert [(mail.replace, sorted(mail.entries), mail.epoch) for mail in objects] == [
        (True, ["a", "b"], 1),
        (False, ["a"], 1),
    ]
    assert bench.of(StreamChanged) == [StreamChanged(kind="ComputeNode", epoch=1, up=True)]
    assert bench.of(Listed) == [Listed(kind="ComputeNode", count=2, missing=0, reason="start")]
    assert bench.of(StreamUp) == [StreamUp(kind="ComputeNode", gap_s=0.0)]
    assert more is objects[-1]


def test_a_streamed_list_is_ended_by_us_after_the_time_of_a_watch() -> None:
    bench = Bench().synced()
    bench.now = 19.9
    assert not bench.stream.should_end(bench.now)
    bench.now = 20.0
    assert bench.stream.should_end(bench.now)
    bench.stream.ended(bench.now)

    assert bench.next() == Watch(version=100, timeout_s=20)
    assert bench.facts == []


@pytest.mark.parametrize("code", [400, 422])
def test_a_server_that_cannot_stream_lists_is_asked_for_pages_ever_after(code: int) -> None:
    bench = Bench()
    bench.next()
    bench.stream.ended(bench.now, api_error(code, "sendInitialEvents is forbidden"))
    assert bench.next() == ListPage()
    bench.stream.page(page(node("a", 1), token="t1"), bench.now, None)
    assert bench.next() == ListPage(token="t1")
    assert bench.of(Objects) == []
    bench.stream.page(page(node("b", 2)), bench.now, None)
    assert bench.next() == Watch(version=100, timeout_s=20)

    assert sorted(bench.of(Objects)[0].entries) == ["a", "b"]
    assert bench.of(StreamDown) == []
    bench.stream.relist()
    assert bench.next() == ListPage()


def test_a_streamed_list_that_never_ends_is_fetched_by_pages() -> None:
    bench = Bench()
    bench.next()
    bench.open()
    bench.stream.lines([line("ADDED", node("a", 5))], 3.0)
    bench.now = 12.9
    assert not bench.stream.should_end(bench.now)
    bench.now = 13.1
    assert bench.stream.should_end(bench.now)
    bench.stream.ended(bench.now)

    assert bench.next() == ListPage()


def test_a_list_that_is_cut_begins_anew() -> None:
    bench = Bench(streamed_list=False)
    bench.next()
    bench.stream.page(page(node("ghost", 1), token="t1"), bench.now, None)
    assert bench.next() == ListPage(token="t1")
    bench.stream.ended(bench.now, Unreachable("cut"))
    action, _ = bench.patient()
    assert action == ListPage()
    bench.stream.page(page(node("a", 1)), bench.now, None)

    assert list(bench.of(Objects)[0].entries) == ["a"]


def test_a_page_token_that_has_expired_begins_the_list_anew_at_once() -> None:
    bench = Bench(streamed_list=False)
    bench.next()
    bench.stream.page(page(node("a", 1), token="t1"), bench.now, None)
    bench.next()
    bench.stream.ended(bench.now, Expired("continue token"))

    assert bench.next() == ListPage()
    assert bench.facts == []


def test_a_list_older_than_what_was_seen_is_not_believed() -> None:
    """A lagging server, or one after a failover, must not take us back."""
    bench = Bench(streamed_list=False)
    bench.next()
    bench.stream.page(page(node("a", 90), version=100), bench.now, None)
    bench.stream.relist()
    bench.mail.clear()
    assert bench.next() == ListPage()
    bench.stream.page(page(version=99), bench.now, None)
    assert bench.of(Objects) == []
    assert "lags" in bench.of(StreamDown)[0].message
    assert bench.patient()[0] == ListPage()
    bench.stream.page(page(node("a", 90), version=100), bench.now, None)

    assert list(bench.of(Objects)[0].entries) == ["a"]


def test_a_server_restored_from_a_backup_is_believed_after_a_minute() -> None:
    bench = Bench(streamed_list=False)
    bench.next()
    bench.stream.page(page(node("a", 90), version=100), bench.now, None)
    bench.stream.relist()
    while bench.now < 70.0 and not [fact for fact in bench.of(Listed) if fact.reason == "restored"]:
        assert bench.patient()[0] == ListPage()
        bench.stream.page(page(node("a", 40, healthy=False), version=50), bench.now, None)

    assert 60.0 <= bench.now < 66.0
    assert bench.next() == Watch(version=50, timeout_s=20)
    assert bench.of(Objects)[-1].entries["a"].healthy is False


def test_deletions_found_by_absence_are_counted() -> None:
    bench = Bench().synced(node("a", 1), node("b", 2), node("c", 3))
    bench.stream.ended(bench.now, Expired("410"))
    bench.next()
    bench.open()
    bench.stream.lines([line("ADDED", node("b", 2)), bookmark(200, end=True)], bench.now)

    assert bench.of(Listed) == [Listed(kind="ComputeNode", count=1, missing=2, reason="expired")]
    assert bench.of(Objects)[0].replace


def test_a_new_epoch_lists_anew_and_keeps_the_clocks() -> None:
    bench = Bench().synced(node("a", 1))
    bench.stream.close(bench.now)
    bench.new_stream(2)
    bench.next()
    bench.open()
    bench.stream.tick(bench.now)
    assert bench.mail == []
    bench.stream.lines([line("ADDED", node("a", 1)), bookmark(100, end=True)], bench.now)

    assert [(mail.epoch, mail.replace) for mail in bench.of(Objects)] == [(2, True)]


# --- watches ----------------------------------------------------------------------------------------------------------


def test_a_watch_resumes_from_the_last_complete_event_or_bookmark() -> None:
    bench = Bench().synced(node("a", 1))
    text = line("MODIFIED", node("a", 110, healthy=False)) + b"\n" + line("MODIFIED", node("a", 120, healthy=True))
    bench.stream.feed(text[:40], bench.now)
    bench.stream.feed(text[40:-1], bench.now)
    assert [mail.entries["a"].healthy for mail in bench.of(Objects)] == [False]
    bench.stream.ended(bench.now, Unreachable("cut"))
    action, _ = bench.patient()
    assert action == Watch(version=110, timeout_s=20)
    bench.open()
    bench.stream.lines([bookmark(500)], bench.now)
    bench.stream.ended(bench.now)

    assert bench.next() == Watch(version=500, timeout_s=20)


def test_an_agreed_end_is_resumed_at_once_and_told_to_nobody() -> None:
    bench = Bench().synced(node("a", 1))
    for _ in range(100):
        bench.now += 20.0
        bench.stream.ended(bench.now)
        assert isinstance(bench.next(), Watch)
        bench.open()

    assert bench.facts == []
    assert bench.mail == []


def test_a_server_that_closes_each_watch_at_once_is_left_in_peace() -> None:
    bench = Bench().synced(node("a", 1))
    bench.now = 5.0
    bench.stream.ended(bench.now)
    opened = 0
    while bench.now < 65.0:
        action, _ = bench.patient()
        assert action == Watch(version=100, timeout_s=20)
        bench.open()
        bench.stream.ended(bench.now)
        opened += 1

    assert opened < 25
    assert not any(mail.up for mail in bench.of(StreamChanged))


@pytest.mark.parametrize("in_band", [True, False])
def test_a_410_lists_again_at_once_and_is_nobodys_error(in_band: bool) -> None:
    bench = Bench().synced(node("a", 1))
    bench.stream.lines([bookmark(101)], 1.0)
    if in_band:
        bench.stream.lines([error(410), line("MODIFIED", node("a", 999))], 1.0)
        assert bench.stream.should_end(1.0)
        bench.stream.ended(1.0)
    else:
        bench.stream.ended(1.0)
        bench.next()
        bench.stream.ended(1.0, Expired("too old"))

    bench.now = 1.0
    assert bench.next() == Watch(version=None, timeout_s=600)
    assert bench.facts == []
    assert bench.intake.version == 101


def test_a_410_that_sticks_backs_off() -> None:
    """A list succeeds each time and each watch is refused: progress is what is delivered, not what is listed."""
    bench = Bench(streamed_list=False)
    lists = 0
    while bench.now < 60.0:
        action, _ = bench.patient()
        if isinstance(action, ListPage):
            lists += 1
            bench.stream.page(page(node("a", 1)), bench.now, None)
        else:
            bench.stream.ended(bench.now, Expired("too old"))

    assert lists < 25


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        (Unauthorized("x"), "Unauthorized"), (Forbidden("x"), "Forbidden"), (NotFound("x"), "KindMissing"),
        (ApiThrottled("x"), "Throttled"), (Unreachable("x"), "Unreachable"),
    ],
)  # fmt: skip
def test_a_refusal_is_told_once_to_the_watcher_and_tried_again(refusal: ApiError, reason: str) -> None:
    bench = Bench()
    tries = 0
    while bench.now < 60.0:
        bench.patient()
        bench.stream.ended(bench.now, refusal)
        tries += 1
    bench.patient()
    bench.open()
    bench.stream.lines([bookmark(100, end=True)], bench.now)

    assert 12 <= tries <= 25
    changes = [(change.up, change.reason) for change in bench.of(StreamChanged)]
    assert changes == [(False, reason), (True, "")]
    assert {fact.reason for fact in bench.of(StreamDown)} == {reason}
    assert bench.of(StreamUp)[0].gap_s >= 60.0


def test_no_pause_is_longer_than_five_seconds_and_progress_ends_the_growth() -> None:
    bench = Bench().synced(node("a", 1))
    pauses = []
    for _ in range(8):
        bench.stream.ended(bench.now, Unreachable("refused"))
        pauses.append(bench.patient()[1])
    bench.open()
    bench.stream.lines([bookmark(200)], bench.now)
    bench.stream.ended(bench.now, Unreachable("refused"))

    assert pauses == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0])
    assert bench.patient()[1] == pytest.approx(0.2)


@pytest.mark.parametrize(("wish_s", "expected"), [(0.0, 0.2), (3.0, 3.3), (600.0, 66.0)])
def test_the_servers_wish_is_honoured_and_capped(wish_s: float, expected: float) -> None:
    bench = Bench().synced()
    bench.stream.ended(bench.now, ApiThrottled("x", retry_after_s=wish_s))

    assert bench.patient()[1] == pytest.approx(expected)


def test_a_kind_that_went_missing_is_listed_anew_when_it_is_back() -> None:
    bench = Bench().synced(node("a", 1))
    bench.stream.ended(bench.now)
    bench.next()
    bench.stream.ended(bench.now, NotFound("gone"))

    assert bench.patient()[0] == Watch(version=None, timeout_s=600)


def test_a_relist_ends_the_stream_and_any_pause() -> None:
    bench = Bench().synced(node("a", 1))
    bench.stream.relist()
    assert bench.stream.should_end(bench.now)
    bench.stream.ended(bench.now, Unreachable("we cut it"))
    assert bench.next() == Watch(version=None, timeout_s=600)
    bench.stream.ended(bench.now, Unreachable("refused"))
    assert isinstance(bench.next(), Pause)
    bench.stream.relist()

    assert bench.next() == Watch(version=None, timeout_s=600)


@pytest.mark.parametrize("opened", [True, False])
def test_a_dead_stream_is_found_within_thirty_seconds(opened: bool) -> None:
    bench = Bench().synced(node("a", 1))
    bench.stream.ended(bench.now)
    bench.next()
    if opened:
        bench.open()
    for tenth in range(300):
        bench.now = tenth / 10
        bench.stream.feed(b"x", bench.now)  # it drips, and never ends a line
        if bench.stream.should_end(bench.now):
            break

    assert bench.now == (25.0 if opened else 15.0)
    wake_s = bench.stream.wake_s()
    assert wake_s is not None
    assert wake_s <= bench.now
    bench.stream.ended(bench.now)
    assert bench.of(StreamDown)[0].reason == "Unreachable"


def test_a_page_that_never_ends_is_given_up() -> None:
    bench = Bench(streamed_list=False)
    bench.next()

    assert not bench.stream.should_end(59.0)
    assert bench.stream.should_end(60.0)


def test_before_a_verdict_the_watch_is_resumed_for_proof() -> None:
    bench = Bench().synced(node("a", 1))
    bench.intake.set_timeout(ParentKey("ns", "c"), 10.0, 0.0)
    wakes: list[float] = []
    while not bench.of(Objects):
        wake_s = bench.stream.wake_s()
        assert wake_s is not None
        bench.now = max(bench.now, wake_s)
        bench.stream.tick(bench.now)
        if bench.stream.should_end(bench.now):
            wakes.append(bench.now)
            bench.stream.ended(bench.now)
            assert bench.next() == Watch(version=100, timeout_s=20)
            bench.open()

    assert wakes == [pytest.approx(10.3)]
    assert 10.0 <= bench.now <= 11.0
    assert bench.of(Objects)[0].entries["a"].silent is True
    assert bench.of(StreamDown) == bench.of(StreamChanged) == []
