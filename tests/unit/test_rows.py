"""Rows: whatever is put is found, by its own key only, and a copy is another's."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.core.rows import Rows, key_of, uid_of

UID = "0b0aa5c5-4d21-4c4f-8a41-6a4f8b2f3a10"
KEYS = [key_of(f"u{n}") for n in range(200)]
TEXTS = st.one_of(st.sampled_from([b"", b"x", b"y" * 126, b"y" * 127, b"y" * 128, b"z" * 300, b"z" * 20_000]))


def filled(count: int) -> Rows:
    rows = Rows()
    for n in range(count):
        rows.put(KEYS[n], b"%d" % n)
    return rows


def test_a_uuid_is_its_own_key_and_comes_back() -> None:
    assert key_of(UID) == uuid.UUID(UID).bytes
    assert uid_of(key_of(UID)) == UID


@pytest.mark.parametrize(
    "uid",
    [
        "", "u1", UID.upper(), UID[:-1], UID + "0", UID.replace("-", ""), "x" * 36, "-" * 36, "\ud800",
        UID.replace("-8a41-", "-0a41-"),
    ],
)  # fmt: skip
def test_any_other_text_has_a_key_that_is_no_text_and_does_not_come_back(uid: str) -> None:
    """The ninth byte beyond ASCII: no text of a row is taken for it."""
    key = key_of(uid)

    assert (len(key), key[8] > 127) == (16, True)
    assert key == key_of(uid)
    assert uid_of(key) != uid


def test_different_texts_have_different_keys() -> None:
    assert len(set(KEYS)) == len(KEYS)


@given(st.lists(st.tuples(st.sampled_from(KEYS[:40]), st.one_of(st.none(), TEXTS)), max_size=120))
def test_rows_are_a_dict_whatever_is_put_and_popped(steps: list[tuple[bytes, bytes | None]]) -> None:
    """Of any length, beyond one bucket, in any order; each step tells what was there before."""
    rows, model = Rows(), dict[bytes, bytes]()
    for key, text in steps:
        if text is None:
            assert rows.pop(key) == model.pop(key, None)
        else:
            assert rows.put(key, text) == model.get(key)
            model[key] = text
        assert rows.get(key) == model.get(key)
        assert len(rows) == len(model)
    assert dict(rows.items()) == model
    assert [rows.get(key) for key in KEYS[:40]] == [model.get(key) for key in KEYS[:40]]


def test_the_longest_text() -> None:
    """An object has 1.5 MiB at most; a length takes 21 bits."""
    rows, text = Rows(), b"x" * (2**21 - 1)
    rows.put(KEYS[0], text)
    rows.put(KEYS[1], b"next")

    assert (rows.get(KEYS[0]), rows.get(KEYS[1])) == (text, b"next")


def test_buckets_grow_with_the_rows_and_a_search_stays_short() -> None:
    """Two dozen rows to a bucket on average: a search over all of a large parent's children would be quadratic."""
    for count, buckets in ((0, 1), (24, 1), (25, 2), (48, 2), (49, 4), (200, 16)):
        rows = filled(count)
        assert len(rows._buckets) == buckets, count
        assert sorted(rows.items()) == sorted((KEYS[n], b"%d" % n) for n in range(count))


def test_filled_at_once_is_as_filled_one_by_one() -> None:
    rows = filled(3)
    rows.fill([(key, b"%d" % n) for n, key in enumerate(KEYS)], len(KEYS))

    assert (rows._buckets, len(rows)) == (filled(200)._buckets, 200)


def test_a_copy_is_another_owners() -> None:
    """Neither sees what the other writes; what neither changes is there once."""
    mine = filled(30)
    theirs = mine.copy()
    theirs.put(KEYS[0], b"changed")
    mine.pop(KEYS[1])

    assert (mine.get(KEYS[0]), theirs.get(KEYS[0])) == (b"0", b"changed")
    assert (mine.get(KEYS[1]), theirs.get(KEYS[1])) == (None, b"1")
    assert (len(mine), len(theirs)) == (29, 30)
    whole = filled(60)
    assert all(one is two for one, two in zip(whole._buckets, whole.copy()._buckets, strict=True))


def test_the_same_text_again_changes_no_bucket() -> None:
    """A list that repeats what is known must not make everything anew."""
    rows = filled(30)
    before = list(rows._buckets)
    rows.put(KEYS[3], b"3")

    assert all(one is two for one, two in zip(before, rows._buckets, strict=True))


def test_a_walk_bears_that_its_owner_writes() -> None:
    rows = filled(60)
    walk = rows.items()
    first = next(walk)
    for key in KEYS[:60]:
        rows.pop(key)

    assert len([first, *walk]) == 60


@given(st.lists(st.tuples(st.integers(0, 40), TEXTS)), st.integers(0, 40), TEXTS)
def test_who_is_not_new_is_replaced_only_where_he_is(before: list[tuple[int, bytes]], n: int, text: bytes) -> None:
    rows, model = Rows(), dict(before)
    for number, each in before:
        rows.put(KEYS[number], each)

    assert rows.put(KEYS[n], text, new=False) == model.get(n)
    assert (rows.get(KEYS[n]), len(rows)) == (text if n in model else None, len(model))
