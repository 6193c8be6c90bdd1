"""The record store: a child is found with the parent it belongs to now, and nothing is left of one that has gone."""

from __future__ import annotations

from typing import Any

from actors.core.model import Child, ParentKey
from actors.core.records import ChildRecords, RecordStore

ONE, TWO = ParentKey("ns", "one"), ParentKey("ns", "two")


def child(uid: str, parent: ParentKey | None = ONE, **fields: Any) -> Child:
    return Child(**{"kind": "K", "namespace": "ns", "name": uid, "uid": uid, "version": 1, "parent": parent, **fields})


def test_a_child_is_found_under_its_parent_only() -> None:
    """What the gateway asks just before an item leaves."""
    store = RecordStore(("K", "L"))
    store.children["K"].put(child("a"))
    store.children["K"].put(child("b", TWO))

    assert store.child("K", ONE, "a") == child("a")
    assert store.child("K", TWO, "b") == child("b", TWO)
    assert [None, None, None] == [
        store.child("K", ONE, "b"), store.child("L", ONE, "a"), store.child("K", ParentKey("ns", "?"), "a")
    ]  # fmt: skip


def test_a_child_that_moves_is_found_with_its_new_parent() -> None:
    """And with the old one no more; the others stay where they are."""
    records = ChildRecords()
    for uid in ("a", "b"):
        records.put(child(uid))

    assert records.put(child("a", TWO, version=2)) == child("a")
    assert dict(records.of(ONE)) == {"b": child("b")}
    assert dict(records.of(TWO)) == {"a": child("a", TWO, version=2)}

    records.put(child("a", None, version=3))
    assert dict(records.of(TWO)) == {}
    assert sorted(records.uids()) == ["a", "b"], "it is there all the same, and belongs to nobody"

    assert records.put(child("a", TWO, version=4)) == child("a", None, version=3)
    assert dict(records.of(TWO)) == {"a": child("a", TWO, version=4)}


def test_a_newer_record_replaces_the_older() -> None:
    records = ChildRecords()
    assert records.put(child("a")) is None
    records.put(child("a", version=2, healthy=False))

    assert dict(records.of(ONE)) == {"a": child("a", version=2, healthy=False)}
    assert len(records) == 1


def test_what_is_dropped_is_gone_everywhere() -> None:
    """A second drop finds nothing: deletions repeat."""
    records = ChildRecords()
    for uid in ("a", "b"):
        records.put(child(uid))

    assert records.drop("a") == child("a")
    assert records.drop("a") is None
    assert (dict(records.of(ONE)), list(records.uids()), len(records)) == ({"b": child("b")}, ["b"], 1)


def test_a_parent_without_children_takes_no_room() -> None:
    """A million parents may come and go in a process's life; one with children left stays."""
    records = ChildRecords()
    for uid in ("a", "b", "c"):
        records.put(child(uid))

    records.drop("a")
    assert list(records._by_parent) == [ONE]
    records.put(child("b", TWO))
    records.drop("c")
    assert list(records._by_parent) == [TWO]


def test_nothing_is_there_at_first() -> None:
    """Nor is the list of parents known to be complete."""
    store = RecordStore(("K",))

    assert (store.parents_listed, store.parent(ONE), len(store.children["K"])) == (False, None, 0)
