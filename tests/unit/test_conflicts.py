"""When conflicts in a row mean that the newer object's event is lost."""

from __future__ import annotations

from itertools import pairwise

from actors.core.conflicts import PATIENCE_S, SPACING_S, Conflicts


def test_conflicts_that_last_are_a_reason_to_list_now_and_then() -> None:
    conflicts = Conflicts()
    wished = [float(now) for now in range(100) if conflicts.met(float(now))]

    assert wished == [PATIENCE_S + n * SPACING_S for n in range(4)]


def test_a_newer_object_ends_them_and_the_spacing_goes_on() -> None:
    """What is lost again and again is not listed for again and again."""
    conflicts = Conflicts()
    wished = []
    for now in range(200):
        if now % 10 == 0:
            conflicts.ended()
        if conflicts.met(float(now)):
            wished.append(float(now))

    assert wished[0] == PATIENCE_S
    assert min(later - earlier for earlier, later in pairwise(wished)) >= SPACING_S
    conflicts.ended()
    assert not any(conflicts.met(1000.0 + n) for n in range(int(PATIENCE_S)))
