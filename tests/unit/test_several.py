"""Children that are counted for several parents, in the reader: what each parent is told of a child, and in which mail."""

from __future__ import annotations

import json

import msgspec
import pytest
from attrs import evolve

from actors.core.between import all_of, through
from actors.core.fleet import (
    ALL,
    Annotation,
    ChildKind,
    Field,
    FleetDefinition,
    Health,
    KindRef,
    Label,
    Lease,
    OwnerReference,
)
from actors.core.graph import graph_of, value_of
from actors.core.health import Roll
from actors.core.intakes import intake_of
from actors.core.joins import JoinedIntake
from actors.core.model import Child, ParentKey, State
from actors.core.ports import Objects
from actors.core.records import Changes, ChildRecords, RecordStore, SharedRecords
from actors.core.rows import key_of
from actors.core.several import SeveralIntake
from actors.core.staging import Staged
from actors.core.stream import differences
from actors.edge.reader_wire import Arriving, Frames, Part, Piece, Shared, parts_of, report_of
from actors.ops.inspect.asking import _child

POOL = KindRef(group="x.io", version="v1", kind="Pool", plural="pools")
SET = KindRef(group="apps", version="v1", kind="ReplicaSet", plural="replicasets")
NODE = ChildKind(
    ref=KindRef(group="x.io", version="v1", kind="Node", plural="nodes"), mapping=(Annotation(key="pools"),),
    health=Health(healthy="ok", heartbeat="beat"), parents=ALL,
)  # fmt: skip
UID = "3d9a0a57-5a5a-4f0e-8f0e-0123456789ab"
A, B, C = (ParentKey("ns", name) for name in "abc")


def node(
    version: int, *parents: ParentKey, name: str = "n", uid: str = UID, healthy: bool | None = True, beat: str = "h0",
    since: str = "t",
) -> Child:  # fmt: skip
    parent = all_of(parents) if parents else None
    return Child("Node", "ns", name, uid, version, parent, healthy, since if healthy is False else "", beat)


def shown(record: Child | None) -> str:
    """``host`` or ``guest``, its state, and ``!`` where a repair may be wanted."""
    if record is None:
        return "gone"
    return f"{'guest' if record.guest else 'host'} {record.state.value}{'!' if record.eligible else ''}"


def out(intake: JoinedIntake) -> dict[str, str]:
    """What the mail says by the key that it is kept under: the uid, or the uid and ``@PARENT``."""
    mail = intake.take(1)
    if mail is None:
        return {}
    found = {}
    for uid, record in mail.entries.items():
        assert record is None or isinstance(record, Child)
        if record is not None:
            assert record.object_uid == uid.partition("@")[0]
            assert (record.name, record.namespace) == ("n" if record.object_uid == UID else "other", "ns")
            assert record.guest == ("@" in uid)
        found[uid.replace(UID, "U") + ("" if record is None or record.guest else f" of {record.parent}")] = shown(
            record
        )
    return found


def intake_with(*listed: Child, child: ChildKind = NODE, version: int = 10) -> SeveralIntake:
    intake = SeveralIntake(child)
    intake.stream_up(0.0, first_attempt=True)
    intake.replace(listed, version, 0.0, refused={})
    return intake


# --- who is told what -------------------------------------------------------------------------------------------------
def test_each_parent_is_told_and_one_may_repair() -> None:
    intake = intake_with(node(5, A, B, C, healthy=False))

    assert out(intake) == {"U of ns/a": "host unhealthy!", "U@ns/b": "guest unhealthy", "U@ns/c": "guest unhealthy"}
    assert intake.event("MODIFIED", node(11, A, B, C), 1.0)
    assert out(intake) == {"U of ns/a": "host healthy", "U@ns/b": "guest healthy", "U@ns/c": "guest healthy"}


def test_a_heartbeat_is_told_to_nobody() -> None:
    intake = intake_with(node(5, A, B))
    out(intake)

    assert not intake.event("MODIFIED", node(11, A, B, beat="h1"), 1.0)
    assert intake.take(1) is None
    assert not intake.event("MODIFIED", node(11, A, B, healthy=False), 1.0), "and an old version to nobody either"
    assert not intake.event("MODIFIED", node(3, A, B, name="other", uid="x"), 1.0), "of one that is not here, too"
    assert (intake.take(1), intake.version, len(intake)) == (None, 11, 1)


def test_a_change_of_the_parents_strikes_off_and_adds_and_keeps() -> None:
    intake = intake_with(node(5, A, B))
    out(intake)

    assert intake.event("MODIFIED", node(11, A, C), 1.0)
    assert out(intake) == {"U@ns/b": "gone", "U@ns/c": "guest healthy"}
    assert intake.event("MODIFIED", node(12, C, A), 2.0)
    assert out(intake) == {"U of ns/c": "host healthy", "U@ns/c": "gone", "U@ns/a": "guest healthy"}
    assert intake.event("MODIFIED", node(13, C), 3.0)
    assert out(intake) == {"U@ns/a": "gone"}
    assert intake.event("MODIFIED", node(14), 4.0)
    assert out(intake) == {"U of None": "host healthy"}
    assert intake.event("MODIFIED", node(15, B, A), 5.0)
    assert out(intake) == {"U of ns/b": "host healthy", "U@ns/a": "guest healthy"}


def test_one_that_is_deleted_is_gone_everywhere() -> None:
    intake = intake_with(node(5, A, B), node(6, B, A, name="other", uid="x"))
    out(intake)

    assert not intake.event("DELETED", node(11, A, B, uid="another"), 1.0), "one of its name that was not here"
    assert intake.event("DELETED", node(12, A, B), 1.0)
    assert out(intake) == {"U": "gone", "U@ns/b": "gone"}
    assert (len(intake), intake._slots.guest_count, list(intake._slots.guests)) == (1, 1, [("ns", "other")])


def test_one_that_is_made_anew_under_its_name_is_another() -> None:
    intake = intake_with(node(5, A, B))
    out(intake)

    assert intake.event("ADDED", node(11, A, B, uid="new-n", name="n"), 1.0)
    mail = intake.take(1)
    assert mail is not None
    found = {uid: record is not None for uid, record in mail.entries.items()}
    assert found == {UID: False, f"{UID}@ns/b": False, "new-n": True, "new-n@ns/b": True}
    assert len(intake) == 1


@pytest.mark.parametrize("by_name", [True, False])
def test_one_that_cannot_be_read_stays_unless_it_was_deleted(by_name: bool) -> None:
    intake = intake_with(node(5, A, B))
    names = ("ns", "n") if by_name else None
    out(intake)

    intake.refuse(UID, 11, "MODIFIED", 1.0, names=names)
    assert intake.take(1) is None
    intake.refuse(UID, 12, "DELETED", 1.0, names=names)
    assert out(intake) == {"U": "gone", "U@ns/b": "gone"}
    assert (len(intake), intake._slots.guests) == (0, {})
    intake.refuse("nobody", 13, "DELETED", 1.0, names=names)
    assert intake.take(1) is None


def test_a_list_replaces_guests_too_and_counts_objects() -> None:
    intake = intake_with(node(5, A, B, C), node(6, B, C, name="other", uid="x"))
    out(intake)

    done = intake.replace([node(20, A, C, healthy=False)], 20, 1.0, refused={})
    assert (done.count, done.missing, len(intake)) == (1, 1, 1)
    assert out(intake) == {"U of ns/a": "host unhealthy!", "U@ns/c": "guest unhealthy"}
    done = intake.replace([node(30, B, A, uid="new", name="n")], 30, 2.0, refused={})
    assert (done.count, done.missing) == (1, 1), "another of its name"
    done = intake.replace([], 40, 3.0, refused={"new": 35})
    assert (done.count, done.missing, intake._slots.guest_count) == (1, 0, 1), (
        "one that cannot be read stays everywhere"
    )
    assert list(intake._slots.guests) == [("ns", "n")]
    done = intake.replace([], 50, 4.0, refused={})
    assert (done.count, done.missing, intake._slots.guests, intake._slots.guest_count) == (0, 1, {}, 0)


def test_an_audit_sees_objects() -> None:
    intake = intake_with(node(5, A, B))
    intake.begin_audit()
    assert differences(intake, {UID: ("ns/n", 5)}, 10, set()) == []
    intake.event("MODIFIED", node(11, A, C), 1.0)
    assert differences(intake, {UID: ("ns/n", 5)}, 10, intake.end_audit()) == []


def test_further_fields_are_told_to_all_and_a_quiet_one_wakes_nobody() -> None:
    kind = evolve(NODE, fields=(Field(name="a", path="a"), Field(name="b", path="b", quiet=True)))
    intake = intake_with(msgspec.structs.replace(node(5, A, B), fields='["x"]', quiet="[1]"), child=kind)
    out(intake)

    assert not intake.event("MODIFIED", msgspec.structs.replace(node(11, A, B), fields='["x"]', quiet="[2]"), 1.0)
    mail = intake.take(1)
    assert mail is not None
    assert [(each.quiet, each.fields) for each in mail.entries.values() if isinstance(each, Child)] == [
        ("[2]", '["x"]')
    ] * 2
    assert intake.event("MODIFIED", msgspec.structs.replace(node(12, A, B), fields='["y"]', quiet="[2]"), 1.0)
    assert set(out(intake)) == {"U of ns/a", "U@ns/b"}


# --- silence ----------------------------------------------------------------------------------------------------------
def test_each_parents_own_timeout_holds_for_it() -> None:
    intake = SeveralIntake(NODE)
    intake.stream_up(0.0, first_attempt=True)
    intake.set_timeout(A, 40.0, 0.0)
    intake.set_timeout(B, 10.0, 0.0)
    intake.replace([node(5, A, B, C)], 10, 0.0, refused={})
    out(intake)

    def judged(at: float) -> dict[str, str]:
        intake.bookmark(10, at)
        intake.tick(at)
        return out(intake)

    assert judged(11.0) == {"U@ns/b": "guest unknown"}
    assert intake.event("MODIFIED", node(12, A, B, C, beat="h1"), 20.0)
    assert out(intake) == {"U@ns/b": "guest healthy"}
    assert judged(31.0) == {"U@ns/b": "guest unknown"}
    assert judged(61.0) == {"U of ns/a": "host unknown!"}
    intake.set_timeout(B, None, 62.0)
    assert out(intake) == {"U@ns/b": "guest healthy"}, "where nobody is ever silent"


def test_a_lease_is_a_sign_of_life_everywhere() -> None:
    kind = evolve(NODE, health=Health(healthy="ok", heartbeat=Lease()))
    intake = SeveralIntake(kind)
    (side,) = intake.sides
    for each in (intake, side):
        each.stream_up(0.0, first_attempt=True)
    for parent in (A, B):
        intake.set_timeout(parent, 10.0, 0.0)
    side.replace([Child("Lease", "ns", "n", "l", 3, None, None, "", "t0")], 5, 0.0, refused={})
    intake.replace([node(5, A, B)], 10, 0.0, refused={})
    out(intake)

    def judged(at: float) -> dict[str, str]:
        intake.bookmark(10, at)
        side.bookmark(10, at)
        intake.tick(at)
        return out(intake)

    side.event("MODIFIED", Child("Lease", "ns", "n", "l", 11, None, None, "", "t1"), 8.0)
    assert judged(11.0) == {}
    assert not intake.event("MODIFIED", node(12, A, B, beat="h9"), 15.0), "the object's own is none"
    assert judged(19.0) == {"U of ns/a": "host unknown!", "U@ns/b": "guest unknown"}
    side.event("MODIFIED", Child("Lease", "ns", "n", "l", 13, None, None, "", "t2"), 20.0)
    assert out(intake) == {"U of ns/a": "host healthy", "U@ns/b": "guest healthy"}
    intake.event("MODIFIED", node(14, A, C), 21.0)
    intake.set_timeout(C, 10.0, 21.0)
    out(intake)
    assert judged(32.0) == {"U of ns/a": "host unknown!", "U@ns/c": "guest unknown"}
    record = intake.record(f"{UID}@ns/c")
    assert isinstance(record, Child)
    assert record.heartbeat == "t2"


# --- owners of owners -------------------------------------------------------------------------------------------------
def test_an_owner_between_that_changes_its_own_owner_moves_what_it_stands_for() -> None:
    kind = evolve(NODE, mapping=(OwnerReference(through=SET), Label(key="rack")))
    intake = SeveralIntake(kind)
    (side,) = intake.sides
    for each in (intake, side):
        each.stream_up(0.0, first_attempt=True)

    def owned(version: int, parent: ParentKey | None) -> Child:
        return Child("ReplicaSet", "ns", "rs", "s", version, parent)

    between = through("ns", "rs", None)
    side.replace([owned(3, A)], 5, 0.0, refused={})
    intake.replace([node(5, between, B)], 10, 0.0, refused={})
    assert out(intake) == {"U of ns/a": "host healthy", "U@ns/b": "guest healthy"}

    side.event("MODIFIED", owned(11, C), 1.0)
    assert out(intake) == {"U of ns/c": "host healthy"}
    side.event("MODIFIED", owned(12, B), 2.0)
    assert out(intake) == {"U of ns/b": "host healthy", "U@ns/b": "gone"}, "both ways name one"
    side.event("DELETED", owned(13, B), 3.0)
    assert out(intake) == {}, "by the label it is the same one's"
    side.event("ADDED", owned(14, A), 4.0)
    assert out(intake) == {"U of ns/a": "host healthy", "U@ns/b": "guest healthy"}
    intake.event("MODIFIED", node(15, B, between), 5.0)
    assert out(intake) == {"U of ns/b": "host healthy", "U@ns/b": "gone", "U@ns/a": "guest healthy"}
    side.event("MODIFIED", owned(16, C), 6.0)
    assert out(intake) == {"U@ns/a": "gone", "U@ns/c": "guest healthy"}
    intake.event("MODIFIED", node(17, B), 7.0)
    assert (out(intake), intake._said, intake._owned) == ({"U@ns/c": "gone"}, {}, {})
    intake.event("MODIFIED", node(18, between), 8.0)
    intake.event("DELETED", node(19, between), 9.0)
    assert (intake._said, intake._owned, len(intake)) == ({}, {}, 0)


@pytest.mark.parametrize("parents", ["First", ALL])
def test_who_is_made_anew_under_its_name_is_linked_anew(parents: str) -> None:
    kind = evolve(NODE, mapping=(OwnerReference(through=SET),), parents=parents)
    fleet = FleetDefinition(name="f", parent=POOL, children=(kind,))
    intake = intake_of(fleet, "Node")
    assert isinstance(intake, JoinedIntake)
    (side,) = intake.sides
    between = through("ns", "rs", None)
    said = all_of([between]) if parents == ALL else between
    side.replace([Child("ReplicaSet", "ns", "rs", "s", 3, A)], 5, 0.0, refused={})
    intake.replace([msgspec.structs.replace(node(5), parent=said)], 10, 0.0, refused={})
    intake.replace([msgspec.structs.replace(node(15, uid="new"), parent=said)], 20, 0.0, refused={})
    intake.take(1)

    side.event("MODIFIED", Child("ReplicaSet", "ns", "rs", "s", 21, B), 1.0)

    mail = intake.take(1)
    assert mail is not None
    (moved,) = mail.entries.values()
    assert isinstance(moved, Child)
    assert (moved.uid, moved.parent) == ("new", B)


def test_the_intake_of_a_kind_is_this_one_only_where_it_asks() -> None:
    def chosen(kind: ChildKind) -> type:
        return type(intake_of(FleetDefinition(name="f", parent=POOL, children=(kind,)), "Node"))

    assert chosen(NODE) is SeveralIntake
    assert chosen(evolve(NODE, parents="First")) is not SeveralIntake


# --- on the way -------------------------------------------------------------------------------------------------------
def test_a_list_in_the_making_keeps_whose_a_child_is() -> None:
    staged = Staged()
    for number in range(300):
        staged.put("ADDED", node(5, A, B, name=f"n{number}", uid=f"u{number}"))
    staged.put("MODIFIED", node(6, B, name="n7", uid="u7"))

    intake = SeveralIntake(NODE)
    intake.replace(staged.take(), 10, 0.0, refused={})

    assert (len(intake), intake._slots.guest_count) == (300, 299)
    moved = intake.record("u7")
    assert isinstance(moved, Child)
    assert moved.parent == B


def through_the_pipe(mail: Objects) -> Changes | ChildRecords:
    frames, shared = Frames(), Shared()
    arriving = Arriving("Node", shared)
    found = [report_of(frame) for part in parts_of(mail) for frame in frames.feed(part)]
    for each in found:
        if isinstance(each, Part):
            return each.entries("Node", shared)
        assert isinstance(each, Piece)
        arriving.add(each)
    return arriving.records()


def test_guests_go_through_a_process_of_their_own_as_they_are() -> None:
    intake = intake_with(node(5, A, B, healthy=False))
    mail = intake.take(1)
    assert mail is not None
    assert dict(through_the_pipe(mail)) == dict(mail.entries)
    intake.event("MODIFIED", node(11, B, C), 1.0)
    mail = intake.take(1)
    assert mail is not None
    assert dict(through_the_pipe(mail)) == dict(mail.entries)
    assert {uid for uid, each in mail.entries.items() if each is None} == {f"{UID}@ns/b"}


# --- where they are counted -------------------------------------------------------------------------------------------
def guest(number: int, parent: ParentKey, healthy: bool | None, *, silent: bool = False) -> Child:
    return Child("Node", "ns", f"n{number}", f"u{number}@{parent}", 2, parent, healthy, "t", "", silent, "", "", True)


def host(number: int, parent: ParentKey, healthy: bool | None, *, silent: bool = False) -> Child:
    return Child("Node", "ns", f"n{number}", f"u{number}", 2, parent, healthy, "t", "", silent)


def test_a_roll_counts_guests_and_keeps_them_from_whom_it_repairs() -> None:
    roll = Roll(("Node",), A)
    for each in (
        host(1, A, False),
        guest(2, A, False),
        guest(3, A, True, silent=True),
        guest(4, A, None),
        guest(5, A, True),
    ):
        assert roll.put(each)

    assert (roll.sum().as_tuple(), roll.total, roll.guests) == ((1, 2, 2), 5, 4)
    assert (list(roll.eligible), list(roll.unwell_guests)) == (["u1"], ["u2@ns/a", "u3@ns/a"])
    assert not roll.put(guest(2, A, False))
    assert roll.put(guest(2, A, True))
    assert roll.drop("u3@ns/a")
    assert roll.drop("u5@ns/a")
    assert (roll.sum().as_tuple(), roll.guests, roll.unwell_guests) == ((1, 1, 1), 2, {})
    assert roll.audit() == []
    roll.guests = 7
    assert (roll.audit(), roll.guests) == (["Node"], 2)


def test_the_records_of_all_parents_have_each_object_once() -> None:
    store = RecordStore(("Node", "Other"), ("Node",))
    records, other = store.children["Node"], store.children["Other"]
    assert isinstance(records, SharedRecords)
    assert not isinstance(other, SharedRecords)
    for each in (host(1, A, False), guest(1, B, False), guest(1, C, False), host(2, B, True), guest(2, A, True)):
        records.put(each)
    other.put(msgspec.structs.replace(host(3, A, None, silent=True), kind="Other"))

    assert store.tally() == (2, 3)
    assert {str(key): dict(each) for key, each in records.guests.items()} == {
        "ns/b": {State.UNHEALTHY: 1}, "ns/c": {State.UNHEALTHY: 1}, "ns/a": {State.HEALTHY: 1},
    }  # fmt: skip
    records.put(guest(1, B, True))
    records.drop("u1@ns/c")
    records.drop("nobody")
    assert store.tally() == (2, 3)
    whole = ChildRecords("Node")
    whole.replace(records)
    fresh = SharedRecords("Node")
    fresh.replace(whole)
    assert fresh.guests == records.guests == {B: {State.HEALTHY: 1}, A: {State.HEALTHY: 1}}
    assert (fresh.objects, len(fresh), whole.objects) == (2, 4, 4)


def test_the_shell_says_that_a_guest_is_repaired_for_another() -> None:
    shown_ = [
        _child(each, 0.0, {"u1"}, set())["repair"] for each in (host(1, A, False), guest(1, B, False), host(2, A, True))
    ]

    assert shown_ == ["asked", "for another parent", ""]


def test_what_is_known_of_guests_goes_onto_tapes_and_comes_back() -> None:
    store = RecordStore(("Node",), ("Node",))
    for each in (host(1, A, False), guest(1, B, False)):
        store.children["Node"].put(each)

    read = value_of(json.loads(json.dumps(graph_of(store))))

    assert isinstance(read, RecordStore)
    assert (read.tally(), dict(read.children["Node"])) == ((1, 1), dict(store.children["Node"]))


def test_the_uid_of_a_guest_is_its_own_and_its_objects_is_known() -> None:
    one = guest(1, B, False)

    assert (one.object_uid, host(1, A, False).object_uid) == ("u1", "u1")
    assert key_of(one.uid) != key_of("u1")
    assert (one.unwell, one.eligible, one.state) == (True, False, State.UNHEALTHY)
