"""The drills of what holds repairs: Muster passes each, and each finds the planted bugs that it is for."""

from __future__ import annotations

import pytest

from actors.simulate.drills import DRILLS
from actors.simulate.mutants import planted
from actors.simulate.run import Run

FOUND_BY = {
    "everybody-at-once": (
        "fleet-valve-holds-nothing", "fleet-valve-opens-at-once", "fleet-valve-does-not-begin-anew",
        "fleet-valve-is-told-to-nobody",
    ),
    "old-news-of-a-kind": ("repairs-go-on-by-old-news",),
    "sick-for-good": (
        "attempts-have-no-end", "cooldown-does-not-grow", "moment-of-health-is-a-new-budget",
        "exhausted-are-forgotten-with-the-process", "exhausted-children-hear-nothing",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FOUND_BY)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_muster_passes(name: str, seed: int) -> None:
    result = Run(DRILLS[name].draw(seed)).play()
    assert result.passed, result.breaches[0].line()


@pytest.mark.parametrize(
    ("name", "mutant"), [(name, mutant) for name, mutants in FOUND_BY.items() for mutant in mutants]
)
def test_a_planted_bug_does_not(name: str, mutant: str) -> None:
    with planted(mutant):
        assert not Run(DRILLS[name].draw(2)).play().passed
