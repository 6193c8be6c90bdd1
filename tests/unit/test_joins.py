"""Leases as heartbeats, and owners of owners: what a kind's intake makes of what it is told of other kinds."""

from __future__ import annotations

import pytest
from attrs import evolve

from actors.core.between import through
from actors.core.builtin import MUSTER_FLEET
from actors.core.fleet import ChildKind, FleetDefinition, Health, KindRef, Label, Lease, OwnerReference
from actors.core.intakes import intake_of
from actors.core.joins import JoinedIntake, Together, sides_of
from actors.core.model import Child, ParentKey
from actors.core.ports import Objects, StreamChanged
from actors.core.records import ChildRecords
from actors.core.silence import PROOF_WAIT_S, SETTLE_S

POOL = KindRef(group="x.io", version="v1", kind="Pool", plural="pools", namespaced=False)
NODE = ChildKind(
    ref=KindRef(group="", version="v1", kind="Node", plural="nodes", namespaced=False),
    mapping=(Label(key="pool"),), health=Health(healthy="ok", heartbeat=Lease(namespace="kube-node-lease")),
)  # fmt: skip
SET = KindRef(group="apps", version="v1", kind="ReplicaSet", plural="replicasets")
POD = ChildKind(
    ref=KindRef(group="", version="v1", kind="Pod", plural="pods"),
    mapping=(OwnerReference(through=SET), Label(key="pool")), health=Health(healthy="ok"),
)  # fmt: skip
FLEET = FleetDefinition(name="f", parent=evolve(POOL, namespaced=True), children=(POD,))
KEY, OTHER = ParentKey("", "p"), ParentKey("", "q")
T0 = "2026-01-01T00:00:00.000000Z"
T0_S = 1767225600.0


def node(name: str, version: int, *, healthy: bool | None = True, parent: ParentKey | None = KEY) -> Child:
    return Child("Node", "", name, f"uid-{name}", version, parent, healthy)


def lease(name: str, version: int, beat: str) -> Child:
    return Child("Lease", "kube-node-lease", name, f"lease-{name}", version, None, None, "", beat)


class Nodes:
    """A kind with Leases, both streams up from the start; ``at`` is the clock."""

    def __init__(
        self, *names: str, leases: tuple[Child, ...] = (), timeout_s: float = 40.0, wall_s: float = T0_S
    ) -> None:
        self.intake = JoinedIntake(NODE)
        (self.side,) = self.intake.sides
        for each in (self.intake, self.side):
            each.stream_up(0.0, first_attempt=True)
        self.intake.set_wall(0.0, wall_s)
        self.intake.set_timeout(KEY, timeout_s, 0.0)
        self.side.replace(leases, 5, 0.0, refused={})
        self.intake.replace([node(name, 5) for name in names], 5, 0.0, refused={})
        self.first = self.told()

    def told(self) -> dict[str, bool]:
        """By uid, whether the child is silent."""
        mail = self.intake.take(1)
        return (
            {} if mail is None else {uid: each.silent for uid, each in mail.entries.items() if isinstance(each, Child)}
        )

    def pass_until(self, at: float) -> dict[str, bool]:
        """Both streams are proven to live at ``at``, and the clock comes."""
        self.side.bookmark(6, at)
        self.intake.bookmark(6, at)
        self.intake.tick(at)
        return self.told()


# --- heartbeats -------------------------------------------------------------------------------------------------------
def test_a_lease_keeps_a_node_and_its_silence_is_a_verdict() -> None:
    nodes = Nodes("a", "b", leases=(lease("a", 2, T0), lease("b", 3, T0)))
    nodes.side.event("MODIFIED", lease("a", 7, "t1"), 30.0)

    assert nodes.pass_until(39.0) == {}
    assert nodes.pass_until(41.0) == {"uid-b": True}
    assert nodes.pass_until(71.0) == {"uid-a": True}


def test_a_lease_that_is_renewed_again_ends_the_silence_at_once() -> None:
    nodes = Nodes("a", leases=(lease("a", 2, T0),))
    assert nodes.pass_until(41.0) == {"uid-a": True}

    nodes.side.event("MODIFIED", lease("a", 7, "t1"), 50.0)

    assert nodes.told() == {"uid-a": False}
    assert nodes.pass_until(89.0) == {}
    assert nodes.pass_until(91.0) == {"uid-a": True}, "and its clock runs again"


def test_a_renewal_that_is_none_is_no_sign_of_life() -> None:
    """Somebody else's change of the Lease, an old event again."""
    nodes = Nodes("a", leases=(lease("a", 2, T0),))
    nodes.side.event("MODIFIED", lease("a", 7, T0), 30.0)
    nodes.side.event("MODIFIED", lease("a", 7, "t1"), 30.0)

    assert nodes.pass_until(41.0) == {"uid-a": True}


def test_nothing_but_the_lease_is_a_sign_of_life() -> None:
    """The node controller writes Ready=Unknown on a node that is dead."""
    nodes = Nodes("a", leases=(lease("a", 2, T0),))

    assert nodes.intake.event("MODIFIED", node("a", 7, healthy=False), 30.0)
    assert nodes.told() == {"uid-a": False}
    assert nodes.pass_until(41.0) == {"uid-a": True}
    assert nodes.intake.event("MODIFIED", node("a", 8), 42.0)
    assert nodes.told() == {"uid-a": True}, "still silent, though its health has turned"


def test_what_a_list_brings_for_the_first_time_is_judged_by_the_servers_clock() -> None:
    """An old one is silent at once, wherever it comes first; one that may be fresh has its time from the first sight."""
    nodes = Nodes("a", "b", leases=(lease("a", 2, T0),), wall_s=T0_S + 200.0)

    assert nodes.first == {"uid-a": True, "uid-b": False}
    nodes_late = Nodes("a", wall_s=T0_S + 200.0)
    nodes_late.side.replace([lease("a", 8, T0)], 9, 1.0, refused={})
    assert nodes_late.pass_until(1.5) == {"uid-a": True}
    fresh = Nodes("a", wall_s=T0_S + 10.0)
    fresh.side.replace([lease("a", 8, T0)], 9, 1.0, refused={})
    assert fresh.pass_until(39.0) == {}
    assert fresh.pass_until(41.0) == {"uid-a": True}


def test_a_lease_that_comes_with_the_watch_is_a_sign_of_life_the_first_time_too() -> None:
    """A machine that has just joined."""
    nodes = Nodes("a")
    nodes.side.event("ADDED", lease("a", 7, T0), 30.0)

    assert nodes.pass_until(41.0) == {}
    assert nodes.pass_until(71.0) == {"uid-a": True}


def test_a_node_that_comes_after_its_lease_has_its_text() -> None:
    nodes = Nodes()
    nodes.side.event("ADDED", lease("a", 7, "t1"), 1.0)
    nodes.intake.event("ADDED", node("a", 8), 2.0)
    nodes.told()
    nodes.side.event("MODIFIED", lease("a", 9, "t1"), 30.0)

    nodes.pass_until(43.0)
    record = nodes.intake.record("uid-a")

    assert isinstance(record, Child)
    assert (record.silent, record.incident) == (True, "silent@t1")


def test_a_lease_that_is_gone_is_silence_and_one_of_nobody_is_nothing() -> None:
    nodes = Nodes("a", leases=(lease("a", 2, T0), lease("ghost", 3, T0)))
    nodes.side.event("DELETED", lease("a", 7, T0), 5.0)
    nodes.side.event("MODIFIED", lease("ghost", 8, "t1"), 6.0)
    nodes.side.replace([lease("ghost", 9, "t2")], 10, 7.0, refused={})

    assert len(nodes.side) == 1
    assert nodes.pass_until(41.0) == {"uid-a": True}


def test_no_verdict_while_either_stream_is_down_and_the_clocks_start_again() -> None:
    nodes = Nodes("a", leases=(lease("a", 2, T0),))
    nodes.side.stream_down(30.0)

    assert nodes.pass_until(50.0) == {}
    assert nodes.intake.next_s is None
    nodes.side.stream_up(60.0, first_attempt=False)
    assert nodes.pass_until(99.0) == {}
    assert nodes.pass_until(101.0) == {"uid-a": True}


def test_a_rotation_of_the_leases_stream_leaves_the_clocks_alone() -> None:
    nodes = Nodes("a", leases=(lease("a", 2, T0),))
    nodes.side.stream_down(30.0)
    nodes.side.stream_up(30.1, first_attempt=True)

    assert nodes.pass_until(41.0) == {"uid-a": True}


def test_a_verdict_waits_for_proof_from_both_streams_and_each_asks_for_its_own() -> None:
    """Either connection may be half open."""
    nodes = Nodes("a", leases=(lease("a", 2, T0),))
    nodes.intake.bookmark(6, 41.0)
    nodes.intake.tick(41.0)
    assert nodes.told() == {}, "nothing has come over the Leases' stream"
    assert nodes.side.needs_proof(41.0 + PROOF_WAIT_S)
    assert not nodes.side.needs_proof(40.0)

    nodes.side.stream_down(41.5)
    nodes.side.stream_up(41.6, first_attempt=True)
    assert not nodes.side.needs_proof(50.0)
    nodes.intake.tick(41.6 + SETTLE_S + 0.2)

    assert nodes.told() == {"uid-a": True}


def test_nothing_is_told_before_the_leases_are_listed() -> None:
    intake = JoinedIntake(NODE)
    intake.replace([node("a", 5)], 5, 0.0, refused={})

    assert intake.take(1) is None
    intake.sides[0].replace([], 5, 1.0, refused={})
    mail = intake.take(1)
    assert mail is not None
    assert mail.replace


def test_a_lease_that_cannot_be_read_stays_and_one_that_is_deleted_goes() -> None:
    nodes = Nodes("a", leases=(lease("a", 2, T0),))
    nodes.side.refuse("lease-a", 7, "MODIFIED", 1.0, names=("kube-node-lease", "a"))
    assert (len(nodes.side), nodes.side.version) == (1, 7)
    nodes.side.refuse("lease-a", 8, "DELETED", 1.0, names=("kube-node-lease", "a"))
    nodes.side.refuse("nobody", 9, "DELETED", 1.0, names=("kube-node-lease", "b"))
    assert len(nodes.side) == 0
    nodes.side.replace([lease("b", 10, T0)], 10, 2.0, refused={})
    nodes.side.replace([], 11, 2.0, refused={"lease-b": 11})
    assert len(nodes.side) == 1


# --- owners of owners -------------------------------------------------------------------------------------------------
P, Q = ParentKey("ns", "p"), ParentKey("ns", "q")


def pod(name: str, version: int, owner: str = "", *, label: str = "", healthy: bool = True, since: str = "") -> Child:
    other = ParentKey("ns", label) if label else None
    parent = through("ns", owner, other) if owner else other
    return Child("Pod", "ns", name, f"uid-{name}", version, parent, healthy, since)


def owner(name: str, version: int, parent: ParentKey | None) -> Child:
    return Child("ReplicaSet", "ns", name, f"set-{name}", version, parent)


class Pods:
    def __init__(self, pods: list[Child], owners: list[Child], *, owners_first: bool = True) -> None:
        self.intake = JoinedIntake(POD)
        (self.side,) = self.intake.sides
        if owners_first:
            self.side.replace(owners, 5, 0.0, refused={})
        self.intake.replace(pods, 5, 0.0, refused={})
        if not owners_first:
            self.side.replace(owners, 5, 0.0, refused={})
        mail = self.intake.take(1)
        assert mail is not None
        assert isinstance(mail.entries, ChildRecords)
        self.first = {each.name: each.parent for each in mail.entries.values()}

    def told(self) -> dict[str, ParentKey | None]:
        mail = self.intake.take(1)
        return (
            {}
            if mail is None
            else {each.name: each.parent for each in mail.entries.values() if isinstance(each, Child)}
        )


@pytest.mark.parametrize("owners_first", [True, False])
def test_the_owner_of_the_owner_is_the_parent_whichever_is_listed_first(owners_first: bool) -> None:
    pods = Pods(
        [pod("a", 1, "s"), pod("b", 2, "t", label="q"), pod("c", 3, "t"), pod("d", 4, label="q")],
        [owner("s", 1, P), owner("t", 2, None)], owners_first=owners_first,
    )  # fmt: skip

    assert pods.first == {"a": P, "b": Q, "c": None, "d": Q}


def test_an_owner_that_comes_changes_or_goes_moves_its_children_and_no_others() -> None:
    pods = Pods([pod("a", 1, "s", healthy=False, since="t1"), pod("b", 2, "s", label="q"), pod("c", 3, "t")], [])
    assert pods.first == {"a": None, "b": Q, "c": None}

    pods.side.event("ADDED", owner("s", 7, P), 1.0)
    assert pods.told() == {"a": P, "b": P}
    pods.side.event("MODIFIED", owner("s", 8, Q), 1.0)
    assert pods.told() == {"a": Q, "b": Q}
    pods.side.event("MODIFIED", owner("s", 9, Q), 1.0)
    assert pods.told() == {}
    pods.side.event("DELETED", owner("s", 10, Q), 1.0)
    assert pods.told() == {"a": None}, "the other has a label that says the same"
    record = pods.intake.record("uid-a")
    assert isinstance(record, Child)
    assert record.since == "t1"


def test_a_child_that_gets_another_owner_moves_and_is_forgotten_by_the_old_one() -> None:
    pods = Pods([pod("a", 1, "s")], [owner("s", 1, P), owner("t", 2, Q)])

    assert pods.intake.event("MODIFIED", pod("a", 7, "t"), 1.0)
    assert pods.told() == {"a": Q}
    pods.side.event("MODIFIED", owner("s", 8, None), 1.0)
    assert pods.told() == {}
    pods.intake.event("MODIFIED", pod("a", 9, label="p"), 1.0)
    assert pods.told() == {"a": P}
    pods.side.event("MODIFIED", owner("t", 10, P), 1.0)
    assert pods.told() == {}


def test_a_move_by_the_owner_is_no_change_of_the_childs_own_words() -> None:
    """The next report, the same as the last, wakes nobody."""
    pods = Pods([pod("a", 1, "s", since="t1")], [owner("s", 1, P)])
    pods.side.event("MODIFIED", owner("s", 7, Q), 1.0)
    pods.told()

    assert pods.intake.event("MODIFIED", pod("a", 8, "s", since="t1"), 2.0) is False
    assert pods.told() == {}


def test_what_is_gone_or_old_leaves_nothing_behind() -> None:
    pods = Pods([pod("a", 5, "s"), pod("b", 2, "s")], [owner("s", 1, P)])
    pods.intake.event("MODIFIED", pod("a", 4, "t"), 1.0)
    pods.intake.event("ADDED", pod("z", 3, "t"), 1.0)
    pods.intake.event("DELETED", pod("b", 7, "s"), 1.0)
    pods.intake.event("DELETED", pod("y", 8, "t"), 1.0)
    pods.told()

    assert (set(pods.intake._via), set(pods.intake._owned)) == ({("ns", "a")}, {("ns", "s")})
    pods.intake.replace([], 9, 2.0, refused={})
    assert (pods.intake._via, pods.intake._owned) == ({}, {})


# --- what a definition asks for ---------------------------------------------------------------------------------------
def test_a_kind_has_the_sides_that_its_definition_asks_for() -> None:
    both = ChildKind(ref=POD.ref, mapping=POD.mapping, health=Health(healthy="ok", heartbeat=Lease()))
    fleet = FleetDefinition(name="f", parent=FLEET.parent, children=(both, evolve(NODE, mapping=(Label(key="a"),))))

    assert [(side.ref.kind, side.namespace) for side in sides_of(fleet, "Pod")] == [("Lease", ""), ("ReplicaSet", "")]
    assert [(side.ref.kind, side.namespace) for side in sides_of(fleet, "Node")] == [("Lease", "kube-node-lease")]
    assert sides_of(fleet, "Pool") == ()
    assert sides_of(MUSTER_FLEET, "ComputeNode") == ()
    assert isinstance(intake_of(fleet, "Pod"), JoinedIntake)


def test_a_stream_with_sides_is_up_when_all_are_and_says_which_is_not() -> None:
    heard: list[tuple[bool, str]] = []
    mails: list[Objects] = []

    def deliver(mail: Objects | StreamChanged) -> None:
        if isinstance(mail, Objects):
            mails.append(mail)
        else:
            assert (mail.kind, mail.epoch) == ("Node", 1)
            heard.append((mail.up, mail.message))

    together = Together("Node", ["Lease"], deliver)
    own, side = together.of("Node"), together.of("Lease")

    own(StreamChanged(kind="Node", epoch=1, up=True))
    assert heard == []
    side(StreamChanged(kind="Lease", epoch=1, up=True))
    side(StreamChanged(kind="Lease", epoch=1, up=False, reason="Forbidden", message="no"))
    own(StreamChanged(kind="Node", epoch=1, up=True))
    own(Objects(kind="Node", entries={}))

    assert heard == [(True, ""), (False, "Lease, which Node needs: no")]
    assert len(mails) == 1


def test_who_is_made_anew_under_its_name_is_linked_to_its_owner_all_the_same() -> None:
    """A list tells of both at once: the one that is gone must not take the other's link along."""
    intake = JoinedIntake(POD)
    (side,) = intake.sides
    side.replace([Child("ReplicaSet", "ns", "rs", "s", 3, KEY)], 5, 0.0, refused={})
    for version, uid in ((10, "old"), (20, "new")):
        pod = Child("Pod", "ns", "p", uid, version, through("ns", "rs", None), True)
        intake.replace([pod], version, 0.0, refused={})
    intake.take(1)

    side.event("MODIFIED", Child("ReplicaSet", "ns", "rs", "s", 21, OTHER), 1.0)

    mail = intake.take(1)
    assert mail is not None
    assert {uid: each.parent for uid, each in mail.entries.items() if isinstance(each, Child)} == {"new": OTHER}
