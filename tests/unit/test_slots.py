"""The columns of the reader: what is put into a place is what stands there, and nothing is left of who had it before."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from actors.core.model import Child, Parent, ParentKey, ParentSpec
from actors.core.records import ChildRecords
from actors.core.slots import HEALTH, LIVE, SILENT, Group, Home, Slots, matter_of

HOME, AWAY = ParentKey("ns", "home"), ParentKey("ns", "away")
UID = "0b0aa5c5-4d21-4c4f-8a41-6a4f8b2f3a10"


def child(name: str = "n", uid: str = UID, **fields: Any) -> Child:
    given: dict[str, Any] = {"kind": "K", "namespace": "ns", "version": 1, "parent": HOME, "healthy": True, **fields}
    return Child(name=name, uid=uid, **given)


class Bench:
    """Columns, and one group for each parent."""

    def __init__(self) -> None:
        self.slots = Slots("K")
        self.groups: dict[ParentKey | None, Group] = {}

    def home(self, parent: ParentKey | None = HOME, namespace: str = "ns") -> Home:
        return self.groups.setdefault(parent, Group(parent)).home(namespace)

    def add(self, record: Child, matter: int = 5, now: float = 2.0) -> int:
        return self.slots.add(record, self.home(record.parent, record.namespace), matter, now)

    def members(self, parent: ParentKey | None = HOME) -> list[int]:
        return list(self.groups[parent].present(self.slots.homes))


def test_who_is_added_is_found_by_name_and_by_uid() -> None:
    bench = Bench()
    place = bench.add(child(version=9))
    slots = bench.slots

    assert slots.find("ns", "n") == slots.search(UID) == place
    assert (slots.find("ns", "m") < 0, slots.find("no", "n") < 0, slots.search("m") < 0) == (True, True, True)
    assert (slots.versions[place], slots.heard_s[place], slots.matters[place]) == (9, 2.0, 5)
    assert (slots.uid(place), slots.name(place), slots.heartbeats[place]) == (UID, ("ns", "n"), "")
    assert (list(slots), len(slots)) == ([place], 1)


@pytest.mark.parametrize("uid", ["u1", UID.upper(), "00000000-0000-0000-0000-000000000001"])
def test_a_uid_that_is_no_uuid_is_kept_as_it_is(uid: str) -> None:
    bench = Bench()
    bench.add(child("other"))
    place = bench.add(child(uid=uid))

    assert (bench.slots.uid(place), bench.slots.search(uid)) == (uid, place)


def test_a_search_finds_whole_keys_only() -> None:
    """The end of one key and the beginning of the next may be a third."""
    bench = Bench()
    first, second = "11111111-1111-4111-9111-111111111111", "a2222222-2222-4222-a222-922222222222"
    third = str(uuid.UUID(bytes=uuid.UUID(first).bytes[8:] + uuid.UUID(second).bytes[:8]))
    for number, uid in enumerate((first, second)):
        bench.add(child(f"n{number}", uid))

    assert bench.slots.search(third) < 0
    assert bench.add(child("n2", third)) == bench.slots.search(third) == 2


@pytest.mark.parametrize("healthy", [None, True, False])
@pytest.mark.parametrize("mark", [0, LIVE, SILENT, LIVE | SILENT])
def test_what_it_says_replaces_its_health_and_its_silence(healthy: bool | None, mark: int) -> None:
    """Whether it has ever reported stays."""
    bench = Bench()
    place = bench.add(child(healthy=not healthy))
    bench.slots.marks[place] |= mark
    bench.slots.set(place, child(healthy=healthy, since="t"))

    assert bench.slots.child(place) == child(healthy=healthy, since="t" if healthy is False else "")
    assert bench.slots.marks[place] & LIVE == mark & LIVE
    assert bool(bench.slots.marks[place] & HEALTH) == (healthy is not None)


def test_a_record_tells_what_names_an_incident_only_where_there_is_one() -> None:
    bench = Bench()
    place = bench.add(child(healthy=False, since="t1"))
    bench.slots.beat(place, "h1")
    assert bench.slots.record(place) == child(healthy=False, since="t1")
    assert bench.slots.since(place) == "t1"

    bench.slots.marks[place] |= SILENT
    assert bench.slots.record(place) == child(healthy=False, since="t1", silent=True)
    bench.slots.set(place, child(since="t2"))
    assert (bench.slots.record(place), bench.slots.since(place)) == (child(), "")


def test_a_parents_record_is_kept_whole() -> None:
    bench = Bench()
    record = Parent(kind="P", key=HOME, uid=UID, version=3, generation=1, spec=ParentSpec(), status={"total": 1})
    assert not bench.slots.holds_parents
    place = bench.slots.add(record, bench.home(None), 5, 0.0)

    assert (bench.slots.holds_parents, bench.slots.record(place)) == (True, record)
    bench.slots.remove(place)
    assert not bench.slots.holds_parents


def test_equal_heartbeats_are_kept_once() -> None:
    """A fleet reports in few different seconds. However many there are, what is kept of them is bounded."""
    bench = Bench()
    places = [bench.add(child(f"n{n}", f"u{n}")) for n in range(5000)]
    for n, place in enumerate(places):
        bench.slots.beat(place, "".join(("same", str(n % 2))))
    assert len({id(bench.slots.heartbeats[place]) for place in places}) == 2

    for n, place in enumerate(places):
        bench.slots.beat(place, f"other{n}")
    assert [bench.slots.heartbeats[place] for place in places] == [f"other{n}" for n in range(5000)]
    assert len(bench.slots._texts) <= 4096


@pytest.mark.parametrize(
    ("fields", "short"),
    [
        ({}, True), ({"healthy": False, "since": "t"}, False), ({"healthy": None}, False), ({"uid": "u1"}, False),
        ({"silent": True, "heartbeat": "h"}, False), ({"namespace": "other"}, False),
    ],
)  # fmt: skip
def test_a_row_is_the_record_packed(fields: dict[str, Any], short: bool) -> None:
    """By a short way where nothing is to be said of it: that of nearly all."""
    bench = Bench()
    record = child(**fields)
    place = bench.add(record)
    if record.silent:
        bench.slots.beat(place, record.heartbeat)
        bench.slots.marks[place] |= SILENT
    row = bench.slots.row(place)
    records = ChildRecords.of_families("K", [(HOME, [row], 1)])

    assert (list(records.values()), row[1] == b"n\n1") == ([record], short)


def test_places_are_made_many_at_a_time_and_taken_in_order() -> None:
    bench = Bench()
    places = [bench.add(child(f"n{n}", f"u{n}")) for n in range(200)]

    assert (places, list(bench.slots), len(bench.slots)) == (list(range(200)), list(range(200)), 200)


def test_who_moves_is_in_one_group() -> None:
    bench = Bench()
    place, other = bench.add(child()), bench.add(child("m", "u"))
    bench.slots.move(place, bench.home(AWAY))

    assert (bench.members(HOME), bench.members(AWAY)) == ([other], [place])
    assert (bench.groups[HOME].count, bench.groups[AWAY].count) == (1, 1)
    assert bench.slots.child(place) == child(parent=AWAY)


def test_who_comes_back_is_a_member_once() -> None:
    """Away and back before anybody looked; or gone, and its place is another's."""
    bench = Bench()
    place = bench.add(child())
    bench.slots.move(place, bench.home(AWAY))
    bench.slots.move(place, bench.home(HOME))
    assert (bench.members(HOME), bench.members(AWAY)) == ([place], [])

    assert bench.slots.remove(place) is bench.groups[HOME]
    assert bench.add(child("m", "u")) == place
    assert (bench.members(HOME), bench.groups[HOME].count) == ([place], 1)


def test_nothing_is_left_of_who_is_gone() -> None:
    """Ill, silent, with a uid of its own kind; the next in its place has nothing of it."""
    bench = Bench()
    place = bench.add(child(uid="u1", healthy=False, since="t"))
    bench.slots.beat(place, "h")
    bench.slots.marks[place] |= SILENT | LIVE
    bench.slots.remove(place)

    assert (len(bench.slots), list(bench.slots), bench.slots.places, bench.members()) == (0, [], {}, [])
    assert (bench.slots.find("ns", "n") < 0, bench.slots.search("u1") < 0) == (True, True)
    assert bench.add(child("m")) == place
    assert (bench.slots.record(place), bench.slots.heartbeats[place]) == (child("m"), "")
    assert bench.slots.marks[place] & (SILENT | LIVE) == 0


def test_a_namespace_goes_with_its_last_name() -> None:
    bench = Bench()
    one, two = bench.add(child("n")), bench.add(child("m", "u"))
    bench.slots.remove(one)
    assert bench.slots.places == {"ns": {"m": two}}
    bench.slots.remove(two)
    assert bench.slots.places == {}


def test_members_do_not_pile_up_where_children_come_and_go() -> None:
    """Nobody may ever look: a parent without a timeout."""
    bench = Bench()
    bench.add(child("stays", "s"))
    for n in range(1000):
        bench.slots.remove(bench.add(child(f"n{n}", f"u{n}")))

    assert len(bench.groups[HOME]._members or ()) < 50
    assert bench.members() == [0]


def test_children_of_one_parent_may_be_in_many_namespaces() -> None:
    """Of a parent without one."""
    bench, everywhere = Bench(), ParentKey("", "all")
    places = [bench.add(child(namespace=name, uid=name, parent=everywhere)) for name in ("a", "b", "a1")]

    assert [bench.slots.name(place) for place in places] == [("a", "n"), ("b", "n"), ("a1", "n")]
    assert bench.members(everywhere) == places
    assert bench.home(everywhere, "a") is bench.home(everywhere, "a")


def test_all_that_matters_has_a_part_in_the_number() -> None:
    given: dict[str, Any] = {"uid": "u", "parent": HOME, "healthy": True, "since": "t"}
    others: list[dict[str, Any]] = [
        {"uid": "v"},
        {"parent": AWAY},
        {"parent": None},
        {"healthy": False},
        {"healthy": None},
        {"since": ""},
    ]

    assert matter_of(**given) == matter_of(**dict(given))
    assert len({matter_of(**{**given, **change}) for change in ({}, *others)}) == 7


@pytest.mark.parametrize("uid", ["u1", UID, UID.upper(), "00000000-0000-0000-0000-000000000001"])
def test_a_place_holds_its_own_uid_only(uid: str) -> None:
    bench = Bench()
    place = bench.add(child(uid=uid))
    others = {UID, UID.upper(), UID.replace("-", ""), f"{UID}-", UID[:-1] + "1", "u1", "u2", ""} - {uid}

    assert bench.slots.holds(place, uid)
    assert not any(bench.slots.holds(place, other) for other in others)
