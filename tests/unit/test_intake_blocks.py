"""A list is taken in by blocks: nothing that anybody can see differs from taking in its children one by one."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from actors.core.intake import Intake
from actors.core.model import Child, ParentKey
from actors.core.records import ChildRecords
from actors.core.rows import KEY_BYTES, key_of, keys_of
from actors.core.staging import Block, Staged

PARENTS = (ParentKey("ns", "a"), ParentKey("ns", "b"), ParentKey("other", "c"), None)
WALL_S = 1_767_225_600.0  # 2026-01-01T00:00:00Z
BEATS = ("2026-01-01T00:00:00Z", "2025-12-31T00:00:00Z", "no instant", "")


def child(dice: Random, number: int, version: int) -> Child:
    uid = f"00000000-0000-4000-8000-{number:012}"
    return Child(
        "K", dice.choice(("ns", "ns", "other")), f"n{number}", dice.choice((uid, uid, uid, f"u{number}", uid.upper())), version,
        dice.choice(PARENTS), dice.choice((True, True, True, False, None)), dice.choice(("", "s")), dice.choice(BEATS),
    )  # fmt: skip


def staged(children: list[Child], late: list[Child]) -> Staged:
    found = Staged()
    for each in children:
        found.put("ADDED", each)
    for each in late:
        found.put("MODIFIED", each)
    return found


def seen(intake: Intake) -> Any:
    """All of it but the numbers of places, the deadlines and the order of what goes out included."""
    slots, groups = intake._slots, intake._groups
    mail = intake.take(1)
    assert mail is not None
    entries = mail.entries
    rows = [list(each.entries()) for each in entries.shelves.values()] if isinstance(entries, ChildRecords) else []
    columns = {
        slots.uid(place): (slots.record(place), slots.row(place), slots.heard_s[place], slots.matters[place],
                slots.marks[place], slots.heartbeats[place], slots.since(place), slots.find(*slots.name(place)) == place)
        for place in slots
    }  # fmt: skip
    clocks = {
        key: (list(map(slots.uid, group.present(slots.homes))), group.count, group.check_at_s, group.timeout_s)
        for key, group in groups.items()
    }
    return columns, list(groups), clocks, sorted(intake._due), dict(entries), rows, intake.versions()


@pytest.mark.parametrize("beats", [True, False])
@pytest.mark.parametrize("seed", range(12))
def test_blocks_are_taken_in_as_their_children_are(seed: int, *, beats: bool) -> None:
    """First lists and later ones; with names that come twice, guests of nobody, uids that are no UUIDs, and old reports."""
    intakes = []
    for by_blocks in (True, False):
        dice = Random(seed)
        intake = Intake("K", beats=beats)
        intake.set_wall(0.0, WALL_S + 30.0)
        for parent in PARENTS[:2]:
            assert parent is not None
            intake.set_timeout(parent, 60.0, 0.0)
        for turn, count in enumerate((dice.choice((3, 255, 600)), dice.choice((0, 256, 700))), 1):
            children = [child(dice, number, turn * 1000 + number) for number in range(count)]
            if count and dice.random() < 0.5:
                children.append(children[0])
            late = [child(dice, number, turn * 1000 + 900) for number in range(count // 100)]
            taken = staged(children, late).take()
            done = intake.replace(taken if by_blocks else list(taken), turn * 1000, float(turn), refused={})
            intakes.append((done, seen(intake)))

    assert intakes[:2] == intakes[2:]


def test_a_list_goes_by_blocks() -> None:
    """Or else the tests above compare the same thing twice."""
    blocks = list(staged([child(Random(1), number, 1) for number in range(600)], []).take().blocks())

    assert [len(block.names) for block in blocks if isinstance(block, Block)] == [256, 256, 88]


GOOD = "00000000-0000-4000-8000-00000000000a"


def test_keys_of_many_are_those_of_each() -> None:
    uids = [f"00000000-0000-4000-8000-{number:012}" for number in range(300)]
    keys = keys_of(uids)

    assert keys is not None
    assert [keys[at : at + KEY_BYTES] for at in range(0, len(keys), KEY_BYTES)] == [key_of(uid) for uid in uids]


@pytest.mark.parametrize(
    "bad",
    ["u1", "", GOOD.upper(), GOOD.replace("-", "0"), "00000000-0000-4000-0000-00000000000a",
     "00000000-0000-4000-8000-0000000000 a", "00000000-0000-4000-8000-00000000000g", "0000000-00000-4000-8000-00000000000a",
     "------------------------------------"],
)  # fmt: skip
def test_one_that_is_no_uuid_spoils_the_way_of_many(bad: str) -> None:
    assert keys_of([GOOD, bad, GOOD]) is None


def test_a_parents_first_block_is_its_own() -> None:
    # What parents without children share must not be written to: each would have been told of all children of all others.
    first, second = (
        Child("K", "ns", f"n{number}", f"00000000-0000-4000-8000-{number:012}", 1, PARENTS[number], True, "", BEATS[0])
        for number in (0, 1)
    )
    intake = Intake("K")
    intake.replace(staged([first, second], []).take(), 1, 0.0, refused={})
    slots = intake._slots
    found = {
        parent: [slots.uid(place) for place in group.present(slots.homes)] for parent, group in intake._groups.items()
    }
    assert found == {first.parent: [first.uid], second.parent: [second.uid]}
