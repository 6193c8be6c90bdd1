"""A list in the making: whatever is staged comes out once, as the newest that was seen of it."""

from __future__ import annotations

from typing import Any

import pytest

from actors.core.model import Child, Parent, ParentKey, ParentSpec, Record
from actors.core.said import Said
from actors.core.staging import Staged

HOME = ParentKey("ns", "home")
FIELDS = ("namespace", "name", "uid", "version", "parent", "healthy", "since", "heartbeat")


def child(number: int, version: int = 1, **fields: Any) -> Child:
    given: dict[str, Any] = {"parent": HOME, "healthy": True, "since": "t", "heartbeat": f"h{number}", **fields}
    return Child(kind="K", namespace="ns", name=f"n{number}", uid=f"u{number}", version=version, **given)


def parent() -> Parent:
    return Parent(kind="P", key=HOME, uid="p", version=7, generation=1, spec=ParentSpec(), status={"total": 1})


@pytest.mark.parametrize("count", [0, 1, 255, 256, 257, 1000])
def test_every_child_comes_out_as_it_came_in(count: int) -> None:
    """Whole blocks and what is left over; nothing is held twice over when it has been taken."""
    staged = Staged()
    children = [
        child(n, n + 1, parent=(HOME, None, ParentKey("", "all"))[n % 3], healthy=(True, False, None)[n % 3])
        for n in range(count)
    ]  # fmt: skip
    for each in children:
        staged.put("ADDED", each)

    assert sorted(staged.take(), key=lambda each: each.version) == children
    assert list(staged.take()) == []


def test_children_share_what_they_have_in_common() -> None:
    """The parent's key and the namespace of a million children are there once."""
    staged = Staged()
    for n in range(600):
        staged.put("ADDED", child(n))
    out = list(staged.take())
    assert all(isinstance(each, Child) for each in out)

    assert len({id(each.parent) for each in out if isinstance(each, Child)}) == 1
    assert len({id(each.namespace) for each in out}) == 1


def test_what_changes_before_the_list_is_complete_comes_out_as_it_is_then() -> None:
    """A streamed list may take minutes: changed, gone, gone and back, and new."""
    staged = Staged()
    for n in range(5):
        staged.put("ADDED", child(n, n + 1))
    staged.put("MODIFIED", child(1, 11, healthy=False))
    staged.put("DELETED", child(2, 12))
    staged.put("DELETED", child(3, 13))
    staged.put("ADDED", child(3, 14))
    staged.put("MODIFIED", child(9, 15))

    found = {each.uid: each.version for each in staged.take()}
    assert found == {"u0": 1, "u1": 11, "u3": 14, "u4": 5, "u9": 15}


def test_many_that_come_together_come_out_as_one_by_one() -> None:
    """One of them was deleted and one has changed meanwhile: what they are now is what is said last."""
    one_by_one, together = Staged(), Staged()
    records = [child(n, 10 + n) for n in range(400)]
    for staged in (one_by_one, together):
        staged.put("ADDED", child(1, 1))
        staged.put("MODIFIED", child(2, 2))
        staged.put("DELETED", child(3, 3))
    for record in records:
        one_by_one.put("ADDED", record)
    for some in (records[10:], records[:10]):
        columns: list[Any] = [
            ["ADDED"] * len(some),
            *([getattr(each, field) for each in some] for field in FIELDS),
            None,
        ]
        together.put_all("K", Said(*columns))

    def by_uid(staged: Staged) -> dict[str, Record]:
        taken = list(staged.take())
        assert len({each.uid for each in taken}) == len(taken) - 1, "the first was there twice, and the newer is last"
        return {each.uid: each for each in taken}

    assert by_uid(together) == by_uid(one_by_one)


def test_a_parent_is_held_as_it_is() -> None:
    staged = Staged()
    staged.put("ADDED", parent())

    assert list(staged.take()) == [parent()]


def test_who_claims_several_parents_is_told_with_them_unless_gone() -> None:
    staged = Staged()
    staged.put("ADDED", child(1), ("a", "b"))
    staged.put("ADDED", child(2), ("a", "c"))
    staged.put("ADDED", child(3))
    staged.put("DELETED", child(2, 9))

    assert [(record.uid, claims) for record, claims in staged.disputed()] == [("u1", ("a", "b"))]
