"""Whatever order, loss and repetition an API server can produce, the records end as the truth."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.core.intake import Intake
from actors.core.model import Child, ParentKey
from actors.core.said import Said

NAMES = st.sampled_from("abcd")
STEPS = st.one_of(
    st.tuples(
        st.just("write"),
        NAMES,
        st.sampled_from([True, False, None]),
        st.sampled_from(["x", "y", None]),
        st.integers(0, 3),
    ),
    st.tuples(st.just("beat"), NAMES, st.integers(0, 3)),
    st.tuples(st.just("delete"), NAMES),
    st.tuples(st.just("deliver"), st.integers(1, 5)),
    st.tuples(st.just("repeat"), st.integers(0, 30), st.integers(1, 5)),
    st.tuples(st.just("cut")),
    st.tuples(st.just("lose"), st.integers(1, 5)),
    st.tuples(st.just("refuse"), NAMES),
    st.tuples(st.just("take")),
    st.tuples(st.just("tick"), st.floats(0.0, 20.0)),
    st.tuples(st.just("silence")),
    st.tuples(st.just("timeout"), st.sampled_from(["x", "y"]), st.sampled_from([None, 5.0, 30.0])),
)


class Bench:
    """A server with its log, an intake, and a watcher that believes what it is told.

    ``at_once``: what is delivered together is heard together.
    """

    def __init__(self, *, at_once: bool = True, beats: bool = True) -> None:
        self.at_once = at_once
        self.version, self.uids, self.now = 10, 0, 0.0
        self.truth: dict[str, Child] = {}  # by name
        self.log: list[tuple[str, Child]] = []
        self.position = 0
        self.lost = False
        self.intake = Intake("K", beats=beats)
        self.held: dict[str, Child] = {}
        self.relist()

    def write(self, name: str, healthy: bool | None, parent: str | None, beat: int) -> None:
        self.version += 1
        old = self.truth.get(name)
        if old is None:
            self.uids += 1
        uid = f"u{self.uids}" if old is None else old.uid
        key = ParentKey("ns", parent) if parent else None
        same = old is not None and old.healthy is healthy and beat < 3  # at three it has been otherwise meanwhile
        since = "" if old is None else old.since if same else f"s{self.version}"
        record = Child("K", "ns", name, uid, self.version, key, healthy, since, str(beat))
        self.truth[name] = record
        self.log.append(("ADDED" if old is None else "MODIFIED", self.truth[name]))

    def delete(self, name: str) -> None:
        old = self.truth.pop(name, None)
        if old is not None:
            self.version += 1
            self.log.append(("DELETED", msgspec.structs.replace(old, version=self.version)))

    def deliver(self, count: int) -> None:
        self.events(self.log[self.position : self.position + count])
        self.position = min(len(self.log), self.position + count)

    def events(self, events: list[tuple[str, Child]]) -> None:
        if not self.at_once:
            for type_, seen in events:
                self.intake.event(type_, seen, self.now)
        elif events:
            fields = "namespace", "name", "uid", "version", "parent", "healthy", "since", "heartbeat"
            columns: list[Any] = [[type_ for type_, _ in events]]
            columns += [*([getattr(seen, field) for _, seen in events] for field in fields), None]
            self.intake.hear(Said(*columns), self.now)

    def relist(self) -> None:
        self.intake.stream_down(self.now)
        self.intake.replace(self.truth.values(), self.version, self.now, refused={})
        self.intake.stream_up(self.now, first_attempt=False)
        self.position, self.lost = len(self.log), False

    def take(self) -> None:
        mail = self.intake.take(1)
        if mail is None:
            return
        if mail.replace:
            self.held = {}
        for uid, record in mail.entries.items():
            if record is None:
                self.held.pop(uid, None)
            else:
                assert isinstance(record, Child)
                self.held[uid] = record

    def step(self, step: tuple[Any, ...]) -> None:
        match step:
            case ("write", name, healthy, parent, beat):
                self.write(name, healthy, parent, beat)
            case ("beat", name, beat) if old := self.truth.get(name):
                self.write(name, old.healthy, old.parent.name if old.parent else None, beat)
            case ("delete", name):
                self.delete(name)
            case ("deliver", count):
                self.deliver(count)
            case ("repeat", at, count) if self.position:
                at %= self.position
                self.events(self.log[at : min(at + count, self.position)])
            case ("cut",):
                self.relist()
            case ("lose", count):  # only a list can make this good
                self.lost = self.lost or self.position < len(self.log)
                self.position = min(len(self.log), self.position + count)
            case ("refuse", name) if name in self.truth and self.position == len(self.log):
                self.write(name, healthy=False, parent="x", beat=9)
                self.intake.refuse(self.truth[name].uid, self.version, "MODIFIED", self.now)
                self.position, self.lost = len(self.log), True
            case ("take",):
                self.take()
            case ("tick", seconds):
                self.now += seconds
                self.intake.tick(self.now)
            case ("silence",):
                self.now += 40.0
                self.intake.bookmark(self.intake.version, self.now)
                self.intake.tick(self.now)
            case ("timeout", parent, timeout_s):
                self.intake.set_timeout(ParentKey("ns", parent), timeout_s, self.now)


@settings(max_examples=300, deadline=None)
@given(st.lists(STEPS, max_size=60))
def test_after_the_rest_is_delivered_the_records_are_the_truth(steps: list[tuple[Any, ...]]) -> None:
    bench = Bench()
    for step in steps:
        bench.step(step)
    if bench.lost:
        bench.relist()
    bench.deliver(len(bench.log))
    bench.take()

    expected = {seen.uid: seen for seen in bench.truth.values()}
    assert bench.held.keys() == expected.keys() == bench.intake.versions().keys()
    for uid, record in bench.held.items():
        truth = expected[uid]
        assert isinstance(truth, Child)
        assert (record.name, record.parent, record.healthy) == (truth.name, truth.parent, truth.healthy)
        assert bench.intake.newest(uid) == truth.version
        kept = bench.intake.record(uid)
        assert isinstance(kept, Child)
        assert kept.same_matter(record)
    slots = bench.intake._slots
    for parent, group in bench.intake._groups.items():
        members = [slots.uid(place) for place in group.present(slots.homes)]
        assert sorted(members) == sorted(uid for uid, record in expected.items() if record.parent == parent)
        assert group.count == len(members)
    assert [slots.find("ns", name) for name in bench.truth] == [slots.search(uid) for uid in expected]


@settings(max_examples=300, deadline=None)
@given(st.lists(STEPS, min_size=30, max_size=60), st.booleans())
def test_at_once_and_one_by_one_come_to_the_same(steps: list[tuple[Any, ...]], beats: bool) -> None:
    """What is heard of many at once is what is heard of each by its record, to the last column."""
    ours, theirs = Bench(at_once=True, beats=beats), Bench(at_once=False, beats=beats)
    for step in steps:
        ours.step(step)
        theirs.step(step)
        a, b = ours.intake, theirs.intake
        assert (a.version, a.next_s, a.heard_s, a.versions()) == (b.version, b.next_s, b.heard_s, b.versions())
        assert a._refused == b._refused
        for column in ("versions", "heard_s", "matters", "marks", "heartbeats", "_since"):
            assert getattr(a._slots, column) == getattr(b._slots, column), column
        assert list(a._changes.rows.items()) == list(b._changes.rows.items())
    ours.take()
    theirs.take()

    assert ours.held == theirs.held


@settings(max_examples=200, deadline=None)
@given(st.lists(STEPS, max_size=60), st.sampled_from([5.0, 30.0]))
def test_when_the_stream_lives_and_nobody_speaks_all_fall_silent_exactly_once(
    steps: list[tuple[Any, ...]], timeout_s: float
) -> None:
    bench = Bench()
    for step in steps:
        bench.step(step)
    bench.relist()
    for parent in "xy":
        bench.intake.set_timeout(ParentKey("ns", parent), timeout_s, bench.now)
    bench.take()
    bench.now += timeout_s + 0.1
    bench.intake.bookmark(bench.version, bench.now)
    bench.intake.tick(bench.now)
    bench.take()

    assert all(record.silent == (record.parent is not None) for record in bench.held.values())
    bench.now += 100.0
    bench.intake.tick(bench.now)
    assert bench.intake.take(1) is None
    assert bench.intake.next_s is None or bench.intake.next_s > bench.now
