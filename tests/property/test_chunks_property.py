"""However lines are cut into chunks, what comes of them is the same: many are read at once by columns, few one by one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.core.builtin import MUSTER_FLEET
from actors.core.decode import BadObject, Decoder
from actors.core.events import Fact, ParentDisputed, StreamDown, StreamUp
from actors.core.fleet import ChildKind, FieldPath, FleetDefinition, Health, KindRef, Label, Lease, OwnerReference
from actors.core.intakes import intake_of
from actors.core.model import ParentKey
from actors.core.ports import Objects, StreamChanged
from actors.core.said import Said
from actors.core.stream import IDLE_S, Stream

KIND = "ComputeNode"
OWNED = MUSTER_FLEET
REF, LABEL, TURN = OWNED.child(KIND).ref, Label(key="muster.dev/cluster"), Health(healthy="status.healthy")
BETWEEN = OwnerReference(through=KindRef(group="x.io", version="v1", kind="Set", plural="sets"))


def of(child: ChildKind, parent: KindRef = OWNED.parent) -> FleetDefinition:
    return evolve(OWNED, parent=parent, children=(child,))


FIELD = FieldPath(path="spec.clusterRef.name")
LEASE = Lease(namespace="leases")
FLEETS = {
    "by owner, label and field": OWNED,
    "by field, without a time of its health": of(ChildKind(ref=REF, mapping=(FIELD,), health=TURN)),
    "heartbeats of Leases, and nothing in a namespace": of(
        ChildKind(ref=evolve(REF, namespaced=False), mapping=(LABEL,), health=evolve(TURN, heartbeat=LEASE)),
        evolve(OWNED.parent, namespaced=False),
    ),
    "by an owner between": of(ChildKind(ref=REF, mapping=(BETWEEN, LABEL), health=OWNED.child(KIND).health)),
}  # fmt: skip
ODD: dict[str, Any] = {
    "no status": lambda obj: obj.pop("status"),
    "a null status": lambda obj: obj.update(status=None),
    "a null version": lambda obj: obj["metadata"].update(resourceVersion=None),
    "no version": lambda obj: obj["metadata"].update(resourceVersion="1x"),
    "an empty version": lambda obj: obj["metadata"].update(resourceVersion=""),
    "a long version": lambda obj: obj["metadata"].update(resourceVersion="9" * 19),
    "a version in other digits": lambda obj: obj["metadata"].update(resourceVersion="\u0661"),
    "a version with a line in it": lambda obj: obj["metadata"].update(resourceVersion="1_0"),
    "no name": lambda obj: obj["metadata"].update(name=""),
    "no uid": lambda obj: obj["metadata"].pop("uid"),
    "a word for health": lambda obj: obj["status"].update(healthy="yes"),
    "never reported": lambda obj: obj["status"].update(healthy=None, lastHeartbeatTime=None),
    "no conditions": lambda obj: obj["status"].update(conditions=None),
    "a condition without its time": lambda obj: obj["status"].update(conditions=[{"type": "Healthy"}]),
    "owners that are none": lambda obj: obj["metadata"].update(ownerReferences=[{"name": 3}]),
    "a label that is a number": lambda obj: obj["metadata"].update(labels={"muster.dev/cluster": 5}),
    "another parent by its label": lambda obj: obj["metadata"].update(labels={"muster.dev/cluster": "b"}),
    "no parent": lambda obj: (obj["metadata"].pop("labels"), obj["metadata"].pop("ownerReferences"), obj.pop("spec")),
}
OTHERS = (b"", b"nonsense", b'{"type": "MODIFIED"}', b'{"type": "Quite", "object": {}}')
GONE = b'{"type": "ERROR", "object": {"code": 410, "reason": "Expired", "message": "too old"}}'


def node(number: int, version: int, *, healthy: bool, turned: int, beat: int, parent: str) -> dict[str, Any]:
    owner = {"apiVersion": "muster.dev/v1alpha1", "kind": "Cluster", "name": parent, "controller": True}
    between = {"apiVersion": "x.io/v1", "kind": "Set", "name": "s" + parent, "controller": True}
    return {
        "metadata": {
            "name": f"n{number}", "namespace": "ns" if number else "other", "uid": f"00000000-0000-4000-8000-{number:012}",
            "resourceVersion": str(version), "labels": {"muster.dev/cluster": parent}, "ownerReferences": [owner, between],
        },
        "spec": {"clusterRef": {"name": parent}},
        "status": {
            "healthy": healthy, "lastHeartbeatTime": f"2026-01-01T00:00:{beat:02}Z",
            "conditions": [{"type": "Other"}, {"type": "Healthy", "lastTransitionTime": f"2026-01-01T00:00:{turned:02}Z"}],
        },
    }  # fmt: skip


def drawn(dice: Random, count: int, version: int, *, odd: float, type_: str | None = None) -> list[bytes]:
    """Lines of a watch over a few children: most of them say what they said before."""
    lines, state = [], dict.fromkeys(range(4), (True, 0, "a"))
    for version_ in range(version, version + count):
        if dice.random() < odd / 2:
            lines.append(dice.choice(OTHERS))
            continue
        number = dice.randrange(4)
        healthy, turned, parent = state[number]
        if dice.random() < 0.3:
            healthy, turned = not healthy, version_ % 60
        if dice.random() < 0.1:
            parent = dice.choice("ab")
        state[number] = healthy, turned, parent
        late = dice.randrange(3) if dice.random() < 0.1 else 0
        obj = node(number, version_ - late, healthy=healthy, turned=turned, beat=version_ // 3 % 60, parent=parent)
        if dice.random() < odd:
            dice.choice(list(ODD.values()))(obj)
        lines.append(
            json.dumps({"type": type_ or dice.choice(("ADDED", *["MODIFIED"] * 9, "DELETED")), "object": obj}).encode()
        )
    return lines


# --- reading ----------------------------------------------------------------------------------------------------------------
def one_by_one(decoder: Decoder, lines: Sequence[bytes]) -> list[Any]:
    found: list[Any] = []
    for each in lines:
        try:
            found.append(decoder.event(each))
        except BadObject as bad:
            found.append(bad)
    return found


@pytest.mark.parametrize("fleet", FLEETS.values(), ids=FLEETS)
def test_lines_are_read_at_once_as_they_are_one_by_one(fleet: FleetDefinition) -> None:
    """Ordinary ones always; with odd ones among them the same again, or not at all."""
    dice, at_once = Random(1), 0
    for _ in range(300):
        odd = dice.choice((0.0, 0.0, 0.3))
        lines = drawn(dice, dice.randrange(1, 6), 100, odd=odd)
        expected = one_by_one(Decoder(fleet, KIND), lines)
        said = Decoder(fleet, KIND).said(lines)
        if said is None:
            assert odd, lines
            continue
        at_once += bool(odd)
        assert list(said.events(KIND)) == expected
        assert len(said) == len(lines)
    assert at_once > 30, "a child that has not reported, or names two parents, is nothing out of the ordinary"


@pytest.mark.parametrize("name", ODD)
def test_one_that_is_odd_is_read_as_it_is_by_itself(name: str) -> None:
    dice = Random(2)
    lines = drawn(dice, 3, 100, odd=0.0)
    event = json.loads(lines[1])
    ODD[name](event["object"])
    lines[1] = json.dumps(event).encode()
    expected = one_by_one(Decoder(OWNED, KIND), lines)

    said = Decoder(OWNED, KIND).said(lines)

    assert said is None or list(said.events(KIND)) == expected


def test_a_page_is_read_as_its_items_are() -> None:
    decoder = Decoder(OWNED, KIND)
    raw = [json.dumps(json.loads(line)["object"]).encode() for line in drawn(Random(3), 9, 100, odd=0.0)]
    page = decoder.page(b'{"metadata": {"resourceVersion": "200"}, "items": [' + b", ".join(raw) + b"]}")

    said = decoder.listed(page.items)

    assert said is not None
    assert list(said.events(KIND)) == [("ADDED", *decoder.object(each)) for each in raw]
    assert (decoder.listed([]), Decoder(OWNED, "Cluster").listed(page.items)) == (None, None)


def test_kinds_with_more_to_look_at_are_read_one_by_one() -> None:
    assert Decoder(OWNED, "Cluster").said([b"{}"]) is None
    health = Health(healthy="status.healthy", since="status.since")
    fleet = of(evolve(OWNED.child(KIND), health=health))
    assert Decoder(fleet, KIND).said(drawn(Random(4), 3, 100, odd=0.0)) is None


# --- the whole way ----------------------------------------------------------------------------------------------------------
class Reading:
    """A stream that has begun to watch, with a list of its own before that; and what has come of it."""

    def __init__(self, fleet: FleetDefinition, *, streamed: bool) -> None:
        self.facts: list[Fact] = []
        self.held: dict[str, Any] = {}
        self.intake = intake_of(fleet, KIND)
        for parent in "ab":
            self.intake.set_timeout(ParentKey("ns", parent), 30.0, 0.0)
        self.stream = Stream(
            Decoder(fleet, KIND), self.intake, epoch=1, deliver=self.take, facts=self.facts.append, random=Random(1),
            streamed_list=streamed,
        )  # fmt: skip
        self.stream.action(0.0)
        if not streamed:
            self.stream.page(
                Decoder(fleet, KIND).page(b'{"metadata": {"resourceVersion": "50"}, "items": []}'), 0.0, None
            )
            self.stream.action(0.0)
        self.stream.opened(0.0, 1_767_225_600.0)

    def take(self, mail: Objects | StreamChanged) -> None:
        if isinstance(mail, Objects):
            self.held = {} if mail.replace else self.held
            self.held |= mail.entries
            self.held = {uid: record for uid, record in self.held.items() if record is not None}

    def feed(self, lines: Sequence[bytes], sizes: Sequence[int], now: float) -> None:
        at = 0
        for size in sizes:
            self.stream.feed(b"".join(each + b"\n" for each in lines[at : at + size]), now)
            at += size
        self.stream.feed(b"".join(each + b"\n" for each in lines[at:]), now)

    def seen(self) -> Any:
        slots, intake = self.intake._slots, self.intake
        columns = [
            getattr(slots, name)
            for name in ("versions", "heard_s", "matters", "marks", "heartbeats", "_since", "places")
        ]
        clocks = {key: (group.count, group.check_at_s, group.timeout_s) for key, group in intake._groups.items()}
        own = intake.version, intake.next_s, intake.heard_s, intake._refused, intake.versions()
        return self.held, self.facts, columns, clocks, own, self.stream.should_end(9.0), self.stream.synced


def initial_end(version: int) -> bytes:
    metadata = {"resourceVersion": str(version), "annotations": {"k8s.io/initial-events-end": "true"}}
    return json.dumps({"type": "BOOKMARK", "object": {"metadata": metadata}}).encode()


@settings(max_examples=300, deadline=None)
@given(
    st.integers(0, 2**32), st.lists(st.integers(0, 9), max_size=8), st.lists(st.integers(0, 9), max_size=8), st.booleans(),
    st.sampled_from(sorted(FLEETS)),
)  # fmt: skip
def test_how_lines_are_cut_makes_no_difference(
    seed: int, listed: list[int], sizes: list[int], streamed: bool, name: str
) -> None:
    dice, fleet = Random(seed), FLEETS[name]
    odd = dice.choice((0.0, 0.0, 0.1))
    first = (
        [*drawn(dice, 20, 100, odd=odd, type_="ADDED"), *drawn(dice, 6, 120, odd=odd), initial_end(130)]
        if streamed
        else []
    )
    lines = drawn(dice, 40, 140, odd=odd)
    if dice.random() < 0.2:
        lines.insert(dice.randrange(40), GONE)
    ours, theirs = Reading(fleet, streamed=streamed), Reading(fleet, streamed=streamed)
    for reading, whole in ((ours, True), (theirs, False)):
        reading.feed(first, listed if whole else [1] * len(first), 1.0)
        reading.feed(lines, sizes if whole else [1] * len(lines), 2.0)

    assert ours.seen() == theirs.seen()


def test_many_lines_at_once_are_signs_of_life() -> None:
    """Of a list that is still coming, and of a stream that the server has closed at once several times."""
    lines = drawn(Random(6), 4, 100, odd=0.0, type_="ADDED")
    listing = Reading(OWNED, streamed=True)
    listing.feed(lines, [], IDLE_S - 1)
    assert not listing.stream.should_end(IDLE_S + 1)
    assert listing.stream.should_end(2 * IDLE_S)

    watching = Reading(OWNED, streamed=False)
    watching.feed(lines, [], 1.0)
    now = 2.0
    for _ in range(3):
        watching.stream.ended(now)
        now += 100.0
        watching.stream.action(now)
        watching.stream.opened(now, None)
    assert [type(fact) for fact in watching.facts].count(StreamUp) == 1, "at first"
    watching.feed(drawn(Random(7), 4, 200, odd=0.0), [], now)
    assert [type(fact) for fact in watching.facts].count(StreamUp) == 2
    watching.stream.ended(now)
    assert [type(fact) for fact in watching.facts].count(StreamDown) == 1, "that stream was no failure"


def test_a_dispute_is_told_of_once_however_many_come_with_it() -> None:
    ours = Reading(OWNED, streamed=False)
    objects = [
        node(number, 100 + number, healthy=True, turned=0, beat=1, parent="z" if number == 3 else "a")
        for number in range(6)
    ]
    objects[3]["spec"]["clusterRef"]["name"] = "a"
    lines = [json.dumps({"type": "MODIFIED", "object": obj}).encode() for obj in objects]

    ours.feed(lines, [], 1.0)

    assert isinstance(Decoder(OWNED, KIND).said(lines), Said)
    told = [fact for fact in ours.facts if isinstance(fact, ParentDisputed)]
    assert [(fact.child, fact.chosen, fact.others) for fact in told] == [("ns/n3", "z", ("a",))]
