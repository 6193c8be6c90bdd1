"""The valve: a comparison of counts, at its edges."""

from __future__ import annotations

import pytest

from actors.core.model import HALF, Share
from actors.core.valve import closed, limit


@pytest.mark.parametrize(
    ("share", "total", "most"),
    [
        (HALF, 100, 50),
        (HALF, 101, 50),
        (HALF, 5, 3),  # the floor: half of five would be two
        (HALF, 0, 3),
        (Share(percent=0.0), 100, 3),
        (Share(percent=29.0), 100, 29),  # not 28, as 0.29 * 100 in floats would have it
        (Share(percent=100.0), 100, 100),
        (Share(percent=100.0), 2, 2),  # all of two are two, whatever the floor
        (Share(absolute=0), 100, 0),  # a count is taken at its word
        (Share(absolute=7), 3, 7),
    ],
)
def test_exactly_the_limit_is_open_and_one_more_is_closed(share: Share, total: int, most: int) -> None:
    """Promise *valve*."""
    assert limit(share, total, 3) == most
    assert not closed(most, share, total, 3)
    assert closed(most + 1, share, total, 3) or most >= total


def test_all_of_them_may_be_repaired_where_that_was_asked_for() -> None:
    """``maxUnhealthy: 100%`` never holds anything, whatever rounding does."""
    assert not any(closed(total, Share(percent=100.0), total, 0) for total in range(2000))


def test_a_share_never_allows_more_than_it_says_above_the_floor() -> None:
    """Rounding goes down: holding is the safe side."""
    for percent in range(100):
        for total in (1, 7, 99, 100, 101, 1000):
            allowed = limit(Share(percent=float(percent)), total, 0)
            assert allowed * 100 <= percent * total < (allowed + 1) * 100
