"""A list in the making: whatever is staged comes out once, as the newest that was seen of it."""

from __future__ import annotations

from typing import Any

import pytest

from actors.core.model import Child, Parent, ParentKey, ParentSpec
from actors.core.staging import Staged

HOME = ParentKey("ns", "home")


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

    assert staged.version == count
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
    assert staged.version == 15


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
