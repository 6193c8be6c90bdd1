"""Paths of fields: what is printed is read back, and nothing else is a path."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.core.paths import format_path, parse_path

PARTS = st.text(
    st.characters(codec="utf-8", exclude_characters="'[]\"", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=12
)
WORDS = st.from_regex(r"[A-Za-z0-9_-]{1,8}", fullmatch=True)


@given(st.lists(PARTS | WORDS, min_size=1, max_size=5))
def test_a_path_and_its_printed_form_are_the_same(parts: list[str]) -> None:
    assert parse_path(format_path(parts)) == tuple(parts)


@pytest.mark.parametrize(
    "text", ["", ".", "a.", ".a", "a..b", "a[0]", "a['b']c", "a b", "a.[b]", "a['']", "$.a b", "a" * 2000]
)
def test_anything_else_is_refused_with_what_is_expected(text: str) -> None:
    with pytest.raises(ValueError, match="expected a path of fields such as status.phase or metadata.labels"):
        parse_path(text)


def test_both_quotes_do() -> None:
    assert parse_path("""a["it's"].b['x/y']""") == ("a", "it's", "b", "x/y")
