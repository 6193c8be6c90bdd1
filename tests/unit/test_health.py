"""The roll: what a child counts as, and what of a new record matters."""

from __future__ import annotations

from typing import Any

import pytest

from actors.core.health import Counts, Roll
from actors.core.model import Child, ParentKey, State

HOME = ParentKey("default", "c1")


def child(uid: str = "a", **fields: Any) -> Child:
    given = {"kind": "K", "namespace": "default", "name": uid, "version": 1, "parent": HOME, **fields}
    return Child(uid=uid, **given)


@pytest.mark.parametrize(
    ("fields", "state", "eligible", "incident"),
    [
        ({"healthy": True}, State.HEALTHY, False, ""),
        ({"healthy": True, "silent": True, "heartbeat": "h"}, State.UNKNOWN, True, "silent@h"),
        ({"healthy": False, "since": "t"}, State.UNHEALTHY, True, "unhealthy@t"),
        ({"healthy": False, "since": "t", "silent": True}, State.UNHEALTHY, True, "unhealthy@t"),
        ({"healthy": None}, State.UNKNOWN, False, ""),
        ({"healthy": None, "silent": True}, State.UNKNOWN, True, "silent@"),
    ],
)
def test_what_a_child_counts_as(fields: dict[str, Any], state: State, eligible: bool, incident: str) -> None:
    """DESIGN §6, line by line: a bad report stays bad however old; silence makes a good one unknown."""
    record = child(**fields)

    assert (record.state, record.eligible, record.incident) == (state, eligible, incident)


def test_counts_follow_every_change_of_state_and_departure() -> None:
    """By kind, in O(1) per record."""
    roll = Roll(("K", "L"), HOME)
    assert roll.put(child("a", healthy=True))
    assert roll.put(child("b", healthy=False))
    assert roll.put(child("c", kind="L"))
    assert roll.put(child("a", healthy=True, silent=True, version=2))
    assert roll.drop("b")

    assert roll.counts == {"K": Counts(unknown=1), "L": Counts(unknown=1)} == roll.recount()
    assert (roll.total, roll.sum().as_tuple(), list(roll.eligible)) == (2, (0, 0, 2), ["a"])


def test_what_parents_without_children_share_is_not_written_by_one_that_has_some() -> None:
    empty, other = Roll(("K",), HOME), Roll(("K",), HOME)
    assert empty.counts is other.counts, "its own would take 0.3 kB of each of many thousand"
    other.put(child("a", healthy=False))
    other.put(child("a@ns/c2", healthy=False, guest=True))
    other.audit()

    assert (other.counts, len(other.eligible), len(other.unwell_guests)) == ({"K": Counts(unhealthy=2)}, 1, 1)
    assert (empty.counts, empty.eligible, empty.unwell_guests, empty.total) == ({"K": Counts()}, {}, {}, 0)
    assert (empty.audit(), empty.counts is Roll(("K",), HOME).counts) == ([], True)


@pytest.mark.parametrize("change", [{"version": 9}, {"heartbeat": "later"}])
def test_a_version_or_a_heartbeat_alone_does_not_matter(change: dict[str, Any]) -> None:
    """Promise *silent heartbeats*: nobody is woken; but the record kept is the newest."""
    roll = Roll(("K",), HOME)
    roll.put(child(healthy=True))

    assert not roll.put(child(healthy=True, **change))
    assert roll.children["a"] == child(healthy=True, version=change.get("version", 1))


@pytest.mark.parametrize(
    "change",
    [{"healthy": True}, {"silent": True}, {"since": "later"}, {"name": "b"}, {"namespace": "other"}],
)
def test_what_matters_wakes(change: dict[str, Any]) -> None:
    """One field each."""
    roll = Roll(("K",), HOME)
    roll.put(child(healthy=False))

    assert roll.put(child(**{"healthy": False, **change}))
    assert list(roll.eligible.values()) == [each for each in roll.children.values() if each.eligible]


def test_a_child_that_spoke_and_fell_silent_again_between_two_looks_matters() -> None:
    """It is another incident: silent, heard, silent again coalesces in a mailbox to silent → silent."""
    roll = Roll(("K",), HOME)
    roll.put(child(healthy=True, silent=True, heartbeat="h1"))

    assert roll.put(child(healthy=True, silent=True, heartbeat="h2"))
    assert roll.eligible["a"].incident == "silent@h2"


def test_the_eligible_are_the_newest_records() -> None:
    """An item is made from what stands there: a stale one names a stale incident."""
    roll = Roll(("K",), HOME)
    roll.put(child(healthy=False, since="t1"))
    roll.put(child(healthy=False, since="t2"))
    assert roll.eligible["a"].since == "t2"

    roll.put(child(healthy=True))
    assert roll.eligible == {}


def test_dropping_a_stranger_changes_nothing() -> None:
    """Deletions repeat."""
    roll = Roll(("K",), HOME)

    assert not roll.drop("nobody")
    assert roll.sum() == Counts()


def test_absent_names_who_is_missing_of_that_kind_only() -> None:
    """A replacement of one kind says nothing of another."""
    roll = Roll(("K", "L"), HOME)
    for record in (child("a"), child("b"), child("x", kind="L")):
        roll.put(record)

    assert roll.absent("K", {"a": None}) == ["b"]
