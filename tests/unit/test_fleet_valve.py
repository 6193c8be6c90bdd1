"""The valve over all parents, by counts and instants."""

from __future__ import annotations

import math
import random

import pytest

from actors.core.events import FleetValveMoved
from actors.core.fleet_valve import LOOK_EVERY_S, SETTLED_S, FleetValve
from actors.core.model import Child, ParentKey, Share
from actors.core.records import ChildRecords, RecordStore
from actors.core.rows import Rows

HALF = Share(percent=50.0)


def looked(valve: FleetValve, eligible: int, total: int, since_s: float, until_s: float) -> list[tuple[float, bool]]:
    """Look as often as the gateway does; when it moved, and where to."""
    moves, now = [], since_s
    while now <= until_s:
        moved = valve.look(eligible, total, now)
        if moved is not None:
            moves.append((now, moved.closed))
        now = max(now + 0.001, min(valve.next_look_s, now + LOOK_EVERY_S))
    return moves


@pytest.mark.parametrize(
    ("share", "eligible", "total", "closes"),
    [
        (HALF, 50, 100, False), (HALF, 51, 100, True), (HALF, 10, 10, False), (HALF, 11, 11, True), (HALF, 0, 0, False),
        (Share(absolute=2), 2, 1000, False), (Share(absolute=2), 3, 1000, True), (Share(percent=100.0), 1000, 1000, False),
    ],
)  # fmt: skip
def test_it_closes_above_the_share_and_above_the_floor(share: Share, eligible: int, total: int, closes: bool) -> None:
    valve = FleetValve(share)
    moved = valve.look(eligible, total, 5.0)

    assert (moved is not None, valve.closed_s) == (closes, 5.0 if closes else None)
    assert valve.why == (f"{eligible} of all {total} children need repair, the limit is {share}" if closes else "")


def test_it_says_once_that_it_has_closed_and_keeps_its_words() -> None:
    valve = FleetValve(HALF)
    assert valve.look(60, 100, 0.0) == FleetValveMoved(closed=True, eligible=60, limit=50, total=100)
    why = valve.why
    assert valve.look(90, 100, 1.0) is None
    assert (valve.why, valve.opens_s) == (why, None)


def test_it_opens_when_the_share_has_been_kept_for_a_minute() -> None:
    valve = FleetValve(HALF)
    valve.look(60, 100, 0.0)

    assert looked(valve, 50, 100, 3.0, 200.0) == [(3.0 + SETTLED_S, False)]
    assert (valve.why, valve.closed_s, valve.opens_s) == ("", None, None)


def test_the_minute_begins_anew_each_time_that_the_share_is_exceeded() -> None:
    valve = FleetValve(HALF)
    valve.look(60, 100, 0.0)
    assert looked(valve, 10, 100, 3.0, 50.0) == []
    valve.look(51, 100, 51.0)
    assert valve.opens_s is None

    assert looked(valve, 10, 100, 52.0, 200.0) == [(52.0 + SETTLED_S, False)]


def test_time_in_which_nobody_looked_does_not_count() -> None:
    valve = FleetValve(HALF)
    valve.look(60, 100, 0.0)
    valve.look(10, 100, 1.0)

    assert valve.look(10, 100, 1000.0) is None
    assert valve.opens_s == 1000.0 + SETTLED_S


def test_it_is_looked_at_at_the_instant_at_which_it_may_open() -> None:
    valve = FleetValve(HALF)
    valve.look(60, 100, 0.0)
    assert valve.next_look_s == LOOK_EVERY_S
    looked(valve, 10, 100, 1.0, SETTLED_S - 1.0)
    assert valve.next_look_s == 1.0 + SETTLED_S


def test_one_that_cannot_close_asks_for_no_look() -> None:
    valve = FleetValve(Share(percent=100.0))
    assert (valve.watches, valve.next_look_s) == (False, math.inf)
    assert FleetValve(Share(absolute=0)).watches


# --- the counts -------------------------------------------------------------------------------------------------------
def child(number: int, healthy: bool | None, *, silent: bool = False, parent: str = "p", fields: str = "") -> Child:
    return Child(
        kind="K", namespace="ns", name=f"2\n{number}" if number == 7 else f"n{number}", uid=f"u{number}", version=2,
        parent=ParentKey("ns", parent), healthy=healthy, since="t", silent=silent, fields=fields,
    )  # fmt: skip


def test_who_is_eligible_is_counted_whatever_happens_to_them() -> None:
    draw, records = random.Random(1), ChildRecords("K")
    for _ in range(3000):
        number = draw.randrange(60)
        if draw.random() < 0.2:
            records.drop(f"u{number}")
        else:
            parent, fields = draw.choice("pq"), draw.choice(("", "[2]"))
            healthy, silent = draw.choice((True, False, None)), draw.random() < 0.3
            records.put(child(number, healthy, silent=silent, parent=parent, fields=fields))
        assert records.ill == sum(each.eligible for each in records.values())

    whole = ChildRecords.of_families("K", [(s.parent, list(s.rows.items()), len(s)) for s in records.shelves.values()])
    sent = ChildRecords.of_rows("K", [(n, s.parent, s.rows) for n, s in records.shelves.items()], Rows())
    assert records.ill == records.copy().ill == whole.ill == sent.ill > 0


def test_all_kinds_and_parents_are_counted_together() -> None:
    store = RecordStore(("K", "L"))
    store.children["K"].put(child(1, False))
    store.children["K"].put(child(2, True, parent="q"))
    store.children["L"].put(child(3, None, silent=True))
    store.children["L"].put(child(4, None))

    assert store.tally() == (2, 4)
