"""List and watch for any server: no deadline is left in the past, replacements come first, and the records end up true."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from math import ceil
from random import Random
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from actors.core.builtin import MUSTER_FLEET
from actors.core.decode import Decoder, Page
from actors.core.errors import ApiError, ApiThrottled, Expired, Invalid, NotFound, Unreachable
from actors.core.intake import Intake
from actors.core.model import Child, ParentKey
from actors.core.ports import Objects, StreamChanged
from actors.core.stream import ListPage, Pause, Stream, Watch

NAMES = ("a", "b", "c")
ERRORS: tuple[Callable[[], ApiError | None], ...] = (
    lambda: None, lambda: Expired("410"), lambda: Unreachable("cut"), lambda: Invalid("no"), lambda: NotFound("gone"),
    lambda: ApiThrottled("wait", retry_after_s=7.0),
)  # fmt: skip
# What happens next: time passes (eighths of a second, so that sums are exact), the server's world changes, it delivers what
# it has (a few events of it), speaks a bookmark, refuses, or the request ends; or somebody asks for a list.
steps = st.one_of(
    st.tuples(st.just("pass"), st.sampled_from([0.125, 0.5, 1.0, 4.0, 11.0, 25.0, 60.0])),
    st.tuples(st.just("change"), st.tuples(st.sampled_from(NAMES), st.sampled_from([True, False, None]))),
    st.tuples(st.just("deliver"), st.integers(1, 4)),
    st.tuples(st.sampled_from(["bookmark", "nonsense", "410", "relist"]), st.none()),
    st.tuples(st.just("end"), st.sampled_from(ERRORS)),
)


def line(type_: str, obj: Any) -> bytes:
    return json.dumps({"type": type_, "object": obj}).encode()


class World:
    """A server of three objects that answers each request at its own pace, and a stream that reads it."""

    def __init__(self, *, streamed: bool, timeout_s: float | None) -> None:
        self.now = 0.0
        self.version = 10
        self.objects: dict[str, dict[str, Any]] = {}
        self.events: list[tuple[int, bytes]] = []
        self.mail: list[Objects | StreamChanged] = []
        self.intake = Intake("ComputeNode")
        self.intake.set_timeout(ParentKey("ns", "c"), timeout_s, 0.0)
        self.stream = Stream(
            Decoder(MUSTER_FLEET, "ComputeNode"), self.intake, epoch=3, deliver=self.mail.append,
            facts=lambda _fact: None, random=Random(1), streamed_list=streamed,
        )  # fmt: skip
        self.request: ListPage | Watch | None = None
        self.sent = 0  # the version up to which the request under way has been told
        self.listing: list[dict[str, Any]] | None = None  # what a streamed list has still to say
        self.begin()

    def begin(self) -> None:
        """Ask for the next request; a pause is waited out, and a watch answers at once."""
        self.listing = None
        action = self.stream.action(self.now)
        while isinstance(action, Pause):
            self.now = ceil((self.now + action.delay_s) * 8) / 8
            action = self.stream.action(self.now)
        self.request = action
        if isinstance(action, Watch):
            self.stream.opened(self.now, None)
            self.sent = action.version or 0
            if action.version is None:
                self.listing = list(self.objects.values())
                self.sent = self.version

    def change(self, name: str, healthy: bool | None) -> None:
        """One object is made or changed; None deletes it."""
        if healthy is None and name not in self.objects:
            return
        self.version += 1
        known = self.objects.get(name)
        obj = {
            "metadata": {"name": name, "namespace": "ns", "uid": known["metadata"]["uid"] if known else f"{name}{self.version}",
                         "resourceVersion": str(self.version)},
            "spec": {"clusterRef": {"name": "c"}},
            "status": {"healthy": healthy if healthy is not None else True},
        }  # fmt: skip
        if healthy is None:
            del self.objects[name]
        else:
            self.objects[name] = obj
        type_ = "DELETED" if healthy is None else "MODIFIED" if known else "ADDED"
        self.events.append((self.version, line(type_, obj)))

    def deliver(self, count: int) -> None:
        """The request under way gets its page, or its next events."""
        if isinstance(self.request, ListPage):
            items = [msgspec.Raw(json.dumps(obj).encode()) for obj in self.objects.values()]
            self.stream.page(Page(items, self.version), self.now, None)
            self.begin()
            return
        if self.listing is not None:
            part, self.listing = self.listing[:count], self.listing[count:]
            lines = [line("ADDED", obj) for obj in part]
            if not self.listing:
                end = {"resourceVersion": str(self.sent), "annotations": {"k8s.io/initial-events-end": "true"}}
                lines.append(line("BOOKMARK", {"metadata": end}))
                self.listing = None
            self.stream.lines(lines, self.now)
            return
        due = [event for event in self.events if event[0] > self.sent][:count]
        self.stream.lines([text for _, text in due], self.now)
        if due:
            self.sent = due[-1][0]

    def end(self, error: ApiError | None) -> None:
        self.stream.ended(self.now, error)
        self.begin()

    def step(self, what: str, value: Any) -> None:
        if what == "pass":
            self.now += value
        elif what == "change":
            self.change(*value)
        elif what == "deliver":
            self.deliver(value)
        elif what == "end":
            self.end(value())
        elif what == "relist":
            self.stream.relist()
        elif isinstance(self.request, Watch) and what == "bookmark":
            if self.listing is None:
                self.stream.lines([line("BOOKMARK", {"metadata": {"resourceVersion": str(self.sent)}})], self.now)
        elif isinstance(self.request, Watch):
            status = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}
            self.stream.lines([b"{nonsense" if what == "nonsense" else line("ERROR", status)], self.now)

    def look(self) -> None:
        """What a reader does after anything: tick, and end what should be ended."""
        for _ in range(3):
            self.stream.tick(self.now)
            if not self.stream.should_end(self.now):
                return
            self.end(None)
        raise AssertionError("each request is to be ended as soon as it is made")


worlds = st.builds(World, streamed=st.booleans(), timeout_s=st.sampled_from([None, 5.0, 30.0]))


@given(worlds, st.lists(steps, max_size=25))
def test_after_a_look_the_next_one_is_in_the_future(world: World, history: list[tuple[str, Any]]) -> None:
    """A wake-up that has passed and changes nothing would be a thread that spins."""
    for what, value in history:
        world.step(what, value)
        world.look()
        wake_s = world.stream.wake_s()

        assert wake_s is None or wake_s > world.now


@given(worlds, st.lists(steps, max_size=25))
def test_the_mail_of_an_epoch_begins_with_a_replacement(world: World, history: list[tuple[str, Any]]) -> None:
    """Merged into what an earlier epoch left, changes alone would leave phantoms; nor is one told twice that it is up."""
    for what, value in history:
        world.step(what, value)
        world.look()
    objects = [mail for mail in world.mail if isinstance(mail, Objects)]
    ups = [mail.up for mail in world.mail if isinstance(mail, StreamChanged)]

    assert all(mail.replace for mail in objects[:1])
    assert {mail.epoch for mail in world.mail} <= {3}
    assert all(before != after for before, after in pairwise(ups))


@given(worlds, st.lists(steps, max_size=25))
def test_in_the_end_the_records_and_the_mail_are_the_truth(world: World, history: list[tuple[str, Any]]) -> None:
    """Whatever was cut, refused and replayed on the way; the receiver's view by its mail alone."""
    for what, value in history:
        world.step(what, value)
        world.look()
    for _ in range(20):
        world.deliver(100)
        world.look()
    truth = {obj["metadata"]["uid"]: obj["status"]["healthy"] for obj in world.objects.values()}
    view: dict[str, bool | None] = {}
    for mail in world.mail:
        if isinstance(mail, Objects):
            if mail.replace:
                view.clear()
            for uid, record in mail.entries.items():
                view.pop(uid, None)
                if isinstance(record, Child):
                    view[uid] = record.healthy

    assert world.stream.synced
    assert view == truth
    assert {uid: version for uid, (_, _, version) in world.intake.versions().items()} == {
        obj["metadata"]["uid"]: int(obj["metadata"]["resourceVersion"]) for obj in world.objects.values()
    }
