"""A few dozen seeds of every kind, as part of the suite; the thousands are ``tox -e sim``."""

from __future__ import annotations

import pytest
from attrs import evolve

from actors.simulate.draw import Draw
from actors.simulate.drawing import draw_script
from actors.simulate.drills import DRILLS
from actors.simulate.faults import CATALOGUE, NOT_APPLICABLE
from actors.simulate.run import ORACLES, Run, play

PROMISES = {
    *("quota", "batch", "wanted", "drain", "merge", "answer", "truth", "lanes", "atomic", "synced", "debounce"),
    *("silent heartbeats", "valve", "restart", "bounded", "single writer", "no write for nothing", "why", "plan"),
    *(f"I{number}" for number in range(1, 21)),
}
ROWS = {*(f"A{n}" for n in range(1, 25)), *(f"B{n}" for n in range(1, 13)), *(f"P{n}" for n in range(1, 15))}


@pytest.mark.parametrize("first", range(0, 60, 10))
def test_no_promise_is_broken(first: int) -> None:
    for seed in range(first, first + 10):
        result = play(seed)
        assert result.passed, f"{result.breaches[0].line()}\n./run simulate --seed {seed}"


def test_the_catalogue_is_whole() -> None:
    """Every row of the research is a fault here, or listed with why not."""
    assert ROWS == (CATALOGUE.keys() | NOT_APPLICABLE.keys()) & ROWS
    assert not CATALOGUE.keys() & NOT_APPLICABLE.keys()


def test_oracles_have_names_of_their_own_and_promises_that_exist() -> None:
    names = [oracle.name for oracle in ORACLES]
    assert len(set(names)) == len(names)
    assert {oracle.promise for oracle in ORACLES} <= PROMISES


@pytest.mark.parametrize("fault", sorted(CATALOGUE))
def test_each_fault_can_be_alone(fault: str) -> None:
    result = play(4711, (fault,))
    assert result.passed, result.breaches[0].line()
    assert set(result.fired) <= {fault}


def test_the_same_seed_is_the_same_run() -> None:
    assert [play(seed).trace for seed in range(3)] == [play(seed).trace for seed in range(3)]
    assert play(1).trace != play(2).trace


@pytest.mark.parametrize("seed", range(8))
def test_any_part_of_a_script_is_a_script(seed: int) -> None:
    """What makes failing ones shrinkable: no step needs another."""
    script, draw = draw_script(seed), Draw("parts", seed)
    part = evolve(script, steps=tuple(draw.some(script.steps, 0.4)))
    result = Run(part).play()
    assert result.passed, result.breaches[0].line()


def test_both_schedulers_and_all_leftovers_are_drawn() -> None:
    scripts = [draw_script(seed) for seed in range(200)]
    assert {script.settings.pct for script in scripts} == {True, False}
    assert {script.leftover for script in scripts} == {
        *("", "poisonous-parent", "sick-node", "no-bookmarks", "slow-api"),
    }  # fmt: skip
    assert {fault for script in scripts for fault in script.faults} == CATALOGUE.keys()


def test_each_drill_comes_within_a_hundred_seeds() -> None:
    """Else a planted bug that only a drill finds would survive them."""
    drawn = {draw_script(seed).drill for seed in range(1, 101)}
    assert drawn == {"", *DRILLS}
    assert [draw_script(seed, ("A1",)).drill for seed in (3, 6)] == [
        "",
        "",
    ]  # who names the faults wants these and no others
