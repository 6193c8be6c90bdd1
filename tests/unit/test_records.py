"""The record store: a child is found with the parent it belongs to now, and nothing is left of one that has gone."""

from __future__ import annotations

from typing import Any

import pytest

from actors.core.model import Child, ParentKey
from actors.core.records import (
    NOBODY,
    Changes,
    ChildRecords,
    RecordStore,
    entries_of,
    entry_of,
)
from actors.core.rows import key_of
from actors.core.texts import ELIGIBLE, STATES, home_of, mark_of, same_matter
from actors.core.texts import packed as text_of

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
    records = ChildRecords("K")
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
    records = ChildRecords("K")
    assert records.put(child("a")) is None
    records.put(child("a", version=2, healthy=False))

    assert dict(records.of(ONE)) == {"a": child("a", version=2, healthy=False)}
    assert len(records) == 1


def test_what_is_dropped_is_gone_everywhere() -> None:
    """A second drop finds nothing: deletions repeat."""
    records = ChildRecords("K")
    for uid in ("a", "b"):
        records.put(child(uid))

    assert records.drop("a") == child("a")
    assert records.drop("a") is None
    assert (dict(records.of(ONE)), list(records.uids()), len(records)) == ({"b": child("b")}, ["b"], 1)


def test_a_parent_without_children_takes_no_room() -> None:
    """A million parents may come and go in a process's life; one with children left stays."""
    records = ChildRecords("K")
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


UUID = "0b0aa5c5-4d21-4c4f-8a41-6a4f8b2f3a10"


@pytest.mark.parametrize(
    "fields",
    [
        {}, {"healthy": True}, {"healthy": True, "uid": UUID}, {"healthy": True, "uid": UUID.upper()}, {"healthy": False},
        {"healthy": False, "uid": UUID, "since": "t"}, {"silent": True, "uid": UUID, "heartbeat": "h"},
        {"healthy": True, "uid": UUID, "silent": True}, {"healthy": None, "uid": UUID}, {"healthy": False, "uid": UUID},
        {"healthy": True, "uid": UUID, "namespace": "other"}, {"healthy": True, "uid": UUID, "name": "back\\slash\\n"},
        {"healthy": None, "silent": True, "heartbeat": "a\nb", "name": "x" * 253},
        {"healthy": False, "since": "\u00e4\ud800\\u0041", "silent": True, "namespace": "", "uid": "\n", "version": 2**62},
    ],
)  # fmt: skip
@pytest.mark.parametrize("parent", [ONE, None, ParentKey("", "all")])
def test_every_record_comes_back_as_it_was_put(fields: dict[str, Any], parent: ParentKey | None) -> None:
    """Whatever a server, or somebody's agent, may write into it."""
    record, records = _made(parent, **fields), ChildRecords("K")
    records.put(record)

    assert (records.get(record.uid), list(records.values())) == (record, [record])
    assert (list(records), list(records.uids()), dict(records.items())) == (
        [record.uid],
        [record.uid],
        {record.uid: record},
    )
    assert records.put(record) == record
    assert records.drop(record.uid) == record
    assert (record.uid in records, len(records)) == (False, 0)


def _made(parent: ParentKey | None, **fields: Any) -> Child:
    return Child(**{"kind": "K", "namespace": "ns", "name": "n", "uid": "u", "version": 1, "parent": parent, **fields})


def at_once(children: list[Child]) -> ChildRecords:
    """Packed as a reader packs a list: parent by parent."""
    families: dict[ParentKey | None, dict[bytes, bytes]] = {}
    for each in children:
        key = key_of(each.uid)
        families.setdefault(each.parent, {})[key] = text_of(each, key, home_of(each.parent))
    return ChildRecords.of_families("K", ((parent, rows.items(), len(rows)) for parent, rows in families.items()))


def test_nothing_packed_is_nothing() -> None:
    assert (dict(at_once([])), len(at_once([])), at_once([]).drop("a")) == ({}, 0, None)


def test_a_mapping_says_what_is_not_there() -> None:
    records = ChildRecords("K")
    records.put(child("a"))
    for mapping in (records, records.of(ONE)):
        strange: Any = 1
        assert ("a" in mapping, "b" in mapping, strange in mapping) == (True, False, False)
        assert (mapping["a"], mapping.get("b")) == (child("a"), None)
        with pytest.raises(KeyError):
            mapping["b"]


def test_who_is_well_takes_few_bytes() -> None:
    """45 B and its name's length: what a million of them cost is what this store is for."""
    records = ChildRecords("K")
    records.put(_made(ONE, healthy=True, uid=UUID, name="node-0000001", version=123_456_789))

    assert [len(text) for _, text in records.of(ONE).rows.items()] == [len("node-0000001\n123456789")]


def test_newer_mail_goes_on_top_of_older() -> None:
    """In a mailbox: changed, new, gone, moved, gone without ever having been here. Whose the older is sees nothing of it."""
    older = ChildRecords("K")
    for uid in ("a", "b", "c", "d"):
        older.put(child(uid))
    newer = older.copy()
    changes: dict[str, Any] = {
        "a": child("a", version=2), "b": None, "c": child("c", TWO), "e": child("e"), "x": None,
    }  # fmt: skip
    newer.update(changes)
    assert dict(newer) == {"a": child("a", version=2), "c": child("c", TWO), "d": child("d"), "e": child("e")}
    assert (dict(newer.of(TWO)), sorted(newer.of(ONE))) == ({"c": child("c", TWO)}, ["a", "d", "e"])
    assert dict(older) == {uid: child(uid) for uid in "abcd"}
    assert dict(older.of(ONE)) == dict(older)

    shelf = older.of(ONE).copy()
    shelf.update({"a": child("a", version=2), "b": None, "x": None})
    assert dict(shelf) == {"a": child("a", version=2), "c": child("c"), "d": child("d")}
    assert dict(older) == {uid: child(uid) for uid in "abcd"}


def test_a_replacement_is_taken_over_and_is_nobody_elses() -> None:
    """The rows are shared until one of the two changes; parents that came and went before are gone."""
    mail = at_once([child("a"), child("b"), child("c", None)])
    mine = ChildRecords("K")
    mine.put(child("old", TWO))
    mine.replace(mail)
    assert all(one is two for one, two in zip(mine.of(ONE).rows._buckets, mail.of(ONE).rows._buckets, strict=True))
    mine.drop("a")
    mail.put(child("b", version=2))
    mine.put(child("d", TWO))

    assert dict(mine) == {"b": child("b"), "c": child("c", None), "d": child("d", TWO)}
    assert dict(mail) == {"a": child("a"), "b": child("b", version=2), "c": child("c", None)}
    assert (list(mine._by_parent), dict(mine.of(TWO))) == ([ONE, None, TWO], {"d": child("d", TWO)})


def test_packed_at_once_is_as_put_one_by_one() -> None:
    parents = [ParentKey("ns", f"p{n}") for n in range(7)]
    children = [child(f"{parent.name}-{n}", parent) for parent in parents for n in range(40)]
    one_by_one = ChildRecords("K")
    for each in children:
        one_by_one.put(each)
    packed = at_once(children)

    assert dict(packed) == dict(one_by_one)
    assert [dict(packed.of(parent)) == dict(one_by_one.of(parent)) for parent in parents] == [True] * 7
    for records in (packed, one_by_one):
        assert records.put(child("p3-0", parents[4])) == child("p3-0", parents[3])
        assert (len(records), len(records.of(parents[3])), len(records.of(parents[4]))) == (280, 39, 41)


def test_who_is_absent_from_a_replacement_is_named() -> None:
    """By uid, of any kind of mapping, and of uids of any kind."""
    records, other = ChildRecords("K"), ChildRecords("K")
    for uid in ("a", "b", UUID):
        records.put(_made(ONE, uid=uid, name=uid))
    other.put(child("b", TWO))
    other.put(child("z"))

    for entries in (other, dict(other)):
        assert sorted(records.absent(entries)) == sorted(["a", UUID])
    assert records.absent(records) == []


def test_mail_that_holds_nothing_knows_its_kind() -> None:
    """A replacement for a parent without children may wait in a mailbox until there is one: it is put on top of it."""
    entries = ChildRecords("K").of(ONE).copy()

    entries.update({"a": child("a")})

    assert dict(entries) == {"a": child("a")}


def test_what_names_no_incident_is_not_kept() -> None:
    """The heartbeat of who is heard, or is unhealthy anyhow, and since when somebody is well."""
    records = ChildRecords("K")
    records.put(child("a", healthy=True, since="t", heartbeat="h"))
    records.put(child("b", healthy=False, silent=True, since="t", heartbeat="h"))
    records.put(child("c", silent=True, since="t", heartbeat="h"))

    assert [(records[uid].since, records[uid].heartbeat) for uid in "abc"] == [("", ""), ("t", ""), ("", "h")]


def test_changes_are_the_newest_of_each_and_know_who_is_gone() -> None:
    """By uid as by record, whatever the uid; a copy is its owner's."""
    changes = Changes.of("K", {"a": child("a"), UUID: child(UUID, healthy=False), "b": child("b", TWO), "c": None})
    other = changes.copy()
    other.update({"a": None, "c": child("c", version=2)})
    other.update(Changes.of("K", {"b": child("b", None, version=3)}))

    assert dict(changes) == {"a": child("a"), UUID: child(UUID, healthy=False), "b": child("b", TWO), "c": None}
    assert dict(other) == {
        "a": None,
        UUID: child(UUID, healthy=False),
        "b": child("b", None, version=3),
        "c": child("c", version=2),
    }
    assert (len(other), "c" in other, "d" in other, list(changes)) == (4, True, False, ["a", UUID, "b", "c"])
    assert [entry_of("K", *entry) for entry in entries_of(changes)] == list(changes.items())


def test_a_row_says_whose_it_was_and_what_matters_of_it() -> None:
    """Without a record being made of it."""
    records, key = ChildRecords("K"), key_of("a")
    rows = [(parent, text_of(child("a", parent), key, home_of(parent))) for parent in (ONE, TWO, None)]

    assert records.parent_of(key) is NOBODY
    assert [records.enter(key, row) for row in (rows[0], rows[0], rows[1], rows[2], rows[0])] == [
        NOBODY,
        ONE,
        ONE,
        TWO,
        None,
    ]
    assert (records.parent_of(key), len(records), sorted(map(str, records._by_parent))) == (ONE, 1, ["ns/one"])
    one, newer, ill, other = (
        text_of(each, key, "ns")
        for each in (child("a"), child("a", version=22), child("a", healthy=False), child("a", name="b"))
    )
    assert [same_matter(one, text) for text in (one, newer, ill, other)] == [True, True, False, False]


@pytest.mark.parametrize("silent", [False, True])
@pytest.mark.parametrize("healthy", [None, True, False])
def test_a_mark_says_what_a_child_counts_as(healthy: bool | None, silent: bool) -> None:
    """As the record itself would."""
    record = child("a", healthy=healthy, silent=silent)
    mark = mark_of(text_of(record, key_of("a"), "ns"))

    assert (STATES[mark], ELIGIBLE[mark]) == (record.state, record.eligible)
