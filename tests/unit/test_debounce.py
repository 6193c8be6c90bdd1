"""Debounce as tables: changed at t, due at t′."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.core.debounce import Debounce


@pytest.mark.parametrize(
    ("changes", "due"),
    [
        ([0.0], 0.1),
        ([0.0, 0.05], 0.15),
        ([0.0, 0.05, 0.05], 0.15),
        ([3.0], 3.1),
        ([n * 0.09 for n in range(12)], 1.0),  # never quiet: the longest wait after the first
        ([0.0, 0.99], 1.0),
    ],
)
def test_it_is_due_when_quiet_but_no_later_than_the_longest_wait(changes: list[float], due: float) -> None:
    """Quiet 100 ms, longest 1 s."""
    debounce = Debounce()
    for at_s in changes:
        debounce.changed(at_s)

    assert debounce.pending
    assert debounce.due_at(0.1, 1.0) == pytest.approx(due)


def test_a_look_begins_anew() -> None:
    """The longest wait counts from the first change after the last look."""
    debounce = Debounce()
    debounce.changed(0.0)
    debounce.looked(1.0)
    assert not debounce.pending

    debounce.changed(5.0)
    assert debounce.due_at(0.1, 1.0) == pytest.approx(5.1)


@given(st.lists(st.floats(0, 10), min_size=1).map(sorted), st.floats(0, 2), st.floats(0, 5))
def test_whatever_comes_the_look_is_within_both_bounds(changes: list[float], quiet_s: float, more_s: float) -> None:
    """Promise *debounce*, for any arrivals."""
    debounce = Debounce()
    for at_s in changes:
        debounce.changed(at_s)
    due_s = debounce.due_at(quiet_s, quiet_s + more_s)

    rounding_s = 1e-9

    assert due_s <= changes[0] + quiet_s + more_s + rounding_s
    assert due_s >= min(changes[-1] + quiet_s, changes[0] + quiet_s + more_s) - rounding_s
