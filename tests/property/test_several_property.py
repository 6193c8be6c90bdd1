"""Children that are counted for several parents: whatever order, loss and repetition an API server can produce, each parent's
roll ends as the truth, no two of them may repair the same child, and it is the first that may.
"""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.core.between import all_of, through
from actors.core.fleet import ALL, ChildKind, Health, KindRef, Label, OwnerReference
from actors.core.health import Roll
from actors.core.model import Child, ParentKey
from actors.core.records import RecordStore, SharedRecords, entries_of
from actors.core.several import SeveralIntake

KIND = ChildKind(
    ref=KindRef(group="", version="v1", kind="K", plural="ks"),
    mapping=(
        OwnerReference(through=KindRef(group="", version="v1", kind="Set", plural="sets")), Label(key="a"), Label(key="b"),
    ),
    health=Health(healthy="ok", heartbeat="beat"), parents=ALL,
)  # fmt: skip
PARENTS = {name: ParentKey("ns", name) for name in "xyz"}
SETS = {f"set{number}": through("ns", f"set{number}", None) for number in range(2)}
NAMES = st.sampled_from("abc")
WHOSE = st.lists(st.sampled_from(["x", "y", "z", "set0", "set1"]), max_size=3, unique=True)
STEPS = st.one_of(
    st.tuples(st.just("write"), NAMES, st.booleans(), WHOSE, st.integers(0, 3)),
    st.tuples(st.just("delete"), NAMES),
    st.tuples(st.just("deliver"), st.integers(1, 5)),
    st.tuples(st.just("repeat"), st.integers(0, 30)),
    st.tuples(st.just("cut")),
    st.tuples(st.just("refuse"), NAMES),
    st.tuples(st.just("take")),
    st.tuples(st.just("own"), st.sampled_from(sorted(SETS)), st.sampled_from(["x", "y", None])),
    st.tuples(st.just("tick"), st.floats(0.0, 20.0)),
    st.tuples(st.just("timeout"), st.sampled_from("xyz"), st.sampled_from([None, 5.0, 30.0])),
)


class Bench:
    """A server with its log, an intake with its side, and the records and rolls of a watcher that believes what it is told."""

    def __init__(self) -> None:
        self.version, self.uids, self.now = 10, 0, 0.0
        self.truth: dict[str, tuple[Child, list[str]]] = {}  # by name: the object, and whom it names
        self.owners: dict[str, str | None] = dict.fromkeys(SETS)
        self.timeouts: dict[str, float | None] = dict.fromkeys(PARENTS)
        self.log: list[tuple[str, Child]] = []
        self.position = 0
        self.intake = SeveralIntake(KIND)
        (self.side,) = self.intake.sides
        self.side.replace([], 5, 0.0, refused={})
        self.side.stream_up(0.0, first_attempt=True)
        self.store = RecordStore(("K",), ("K",))
        self.rolls = {name: Roll(("K",), key) for name, key in PARENTS.items()}
        self.relist()

    def write(self, name: str, healthy: bool, whose: list[str], beat: int) -> None:
        self.version += 1
        # One owner between at most, as the rules have it.
        between = [each for each in whose if each in SETS][:1]
        whose = [each for each in whose if each in PARENTS or each in between]
        old = self.truth.get(name)
        if old is None:
            self.uids += 1
        uid = f"u{self.uids}" if old is None else old[0].uid
        keys = [(PARENTS | SETS)[each] for each in whose]
        record = Child("K", "ns", name, uid, self.version, all_of(keys) if keys else None, healthy, "", str(beat))
        self.truth[name] = record, whose
        self.log.append(("ADDED" if old is None else "MODIFIED", record))

    def delete(self, name: str) -> None:
        if name in self.truth:
            self.version += 1
            record, _ = self.truth.pop(name)
            self.log.append(("DELETED", msgspec.structs.replace(record, version=self.version)))

    def own(self, name: str, owner: str | None) -> None:
        """The side is another stream, and is delivered at once."""
        self.version += 1
        self.owners[name] = owner
        record = Child("Set", "ns", name, f"uid-{name}", self.version, PARENTS[owner] if owner else None)
        self.side.event("MODIFIED", record, self.now)

    def deliver(self, count: int) -> None:
        for type_, seen in self.log[self.position : self.position + count]:
            self.intake.event(type_, seen, self.now)
        self.position = min(len(self.log), self.position + count)

    def relist(self) -> None:
        self.intake.stream_down(self.now)
        self.intake.replace([record for record, _ in self.truth.values()], self.version, self.now, refused={})
        self.intake.stream_up(self.now, first_attempt=False)
        self.position = len(self.log)

    def take(self) -> None:
        """As a watcher does, and the parents' actors after it."""
        mail = self.intake.take(1)
        if mail is None:
            return
        records = self.store.children["K"]
        if mail.replace:
            for uid in records.absent(mail.entries):
                records.drop(uid)
        for key, what in entries_of(mail.entries):
            if isinstance(what, str):
                records.drop(what)
            else:
                records.enter(key, what)
        for name, roll in self.rolls.items():
            shelf = records.of(PARENTS[name])
            for uid in roll.absent("K", shelf):
                roll.drop(uid)
            for child in shelf.values():
                roll.put(child)

    def step(self, step: tuple[Any, ...]) -> None:
        match step:
            case ("write", name, healthy, whose, beat):
                self.write(name, healthy, whose, beat)
            case ("delete", name):
                self.delete(name)
            case ("deliver", count):
                self.deliver(count)
            case ("repeat", at) if self.log and at % len(self.log) < self.position:
                type_, seen = self.log[at % len(self.log)]
                self.intake.event(type_, seen, self.now)
            case ("cut",):
                self.relist()
            case ("refuse", name) if name in self.truth and self.position == len(self.log):
                self.write(name, healthy=False, whose=self.truth[name][1], beat=9)
                names = ("ns", name)
                self.intake.refuse(self.truth[name][0].uid, self.version, "MODIFIED", self.now, names=names)
                self.relist()
            case ("take",):
                self.take()
            case ("own", name, owner):
                self.own(name, owner)
            case ("tick", seconds):
                self.now += seconds
                self.intake.tick(self.now)
            case ("timeout", parent, timeout_s):
                self.timeouts[parent] = timeout_s
                self.intake.set_timeout(PARENTS[parent], timeout_s, self.now)

    def whose(self, name: str) -> list[str]:
        """The parents of an object, the first first: what is to be."""
        found = [self.owners[each] if each in SETS else each for each in self.truth[name][1]]
        return list(dict.fromkeys([each for each in found if each is not None]))


@settings(max_examples=200, deadline=None)
@given(st.lists(STEPS, max_size=60))
def test_every_parent_ends_with_the_truth_and_one_may_repair(steps: list[tuple[Any, ...]]) -> None:
    bench = Bench()
    for step in steps:
        bench.step(step)
    bench.deliver(len(bench.log))
    bench.take()

    for parent, roll in bench.rolls.items():
        there = {child.object_uid: child for child in roll.children.values()}
        wanted = {bench.truth[name][0].uid: bench.whose(name)[0] for name in bench.truth if parent in bench.whose(name)}
        assert there.keys() == wanted.keys()
        assert {uid for uid, child in there.items() if not child.guest} == {
            u for u, first in wanted.items() if first == parent
        }
        assert roll.guests == sum(child.guest for child in there.values())
        assert roll.audit() == []
        assert all(bench.timeouts[parent] is not None or not child.silent for child in there.values())
        by_uid = {record.uid: record for record, _ in bench.truth.values()}
        assert all(
            child.healthy == by_uid[uid].healthy and child.name == by_uid[uid].name for uid, child in there.items()
        )
    repairable = [uid for roll in bench.rolls.values() for uid in roll.eligible]
    assert len(set(repairable)) == len(repairable), "two would repair one"
    records = bench.store.children["K"]
    assert isinstance(records, SharedRecords)
    assert bench.store.tally() == (sum(child.eligible for child in records.values()), len(bench.truth))
    recount = SharedRecords("K")
    recount.replace(records)
    assert recount.guests == records.guests
    assert set(bench.intake.versions()) == {record.uid for record, _ in bench.truth.values()}
    assert len(bench.intake) == len(bench.truth)
    assert sum(map(len, bench.intake._slots.guests.values())) == bench.intake._slots.guest_count


@settings(max_examples=100, deadline=None)
@given(st.lists(STEPS, max_size=40), st.sampled_from([5.0, 30.0]))
def test_when_nobody_speaks_all_fall_silent_everywhere_once(steps: list[tuple[Any, ...]], timeout_s: float) -> None:
    bench = Bench()
    for step in steps:
        bench.step(step)
    bench.relist()
    for parent in PARENTS:
        bench.step(("timeout", parent, timeout_s))
    bench.take()
    bench.now += timeout_s + 0.1
    bench.intake.bookmark(bench.version, bench.now)
    bench.intake.tick(bench.now)
    bench.take()

    assert all(child.silent for roll in bench.rolls.values() for child in roll.children.values())
    bench.now += 100.0
    bench.intake.tick(bench.now)
    assert bench.intake.take(1) is None
