"""Faults of others, replayed: Muster passes each scenario under several schedules, and the documents tell of them all."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.simulate.scenarios import SCENARIOS
from actors.simulate.scenarios.sweeping import PATTERNS, WORKLOADS, Workload, play_point, reference
from actors.simulate.scenarios.table import page

DOCS = Path(__file__).parents[2] / "docs"
SEEDS = (1, 2)


@pytest.mark.parametrize("name", SCENARIOS)
def test_muster_passes(name: str) -> None:
    for seed in SEEDS:
        outcome = SCENARIOS[name].play(seed)
        assert outcome.passed, "\n".join((f"seed {seed}:", *outcome.breaches))
        print(f"{name}, seed {seed}: " + ", ".join(f"{figure} {value:g}" for figure, value in outcome.figures.items()))


def test_a_seed_is_one_run_and_another_is_another() -> None:
    """The schedule varies with the seed, and with nothing else."""
    played = [SCENARIOS["ghosts-after-410"].play(seed).figures["right_s"] for seed in (5, 5, 6, 7, 8)]

    assert played[0] == played[1]
    assert len(set(played)) > 2


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_says_all_that_the_page_shows_of_it(name: str) -> None:
    scenario = SCENARIOS[name]

    assert all((scenario.whose, scenario.what, scenario.does, scenario.limits))
    assert [limit for limit in scenario.limits if "{" + limit + "}" not in scenario.figure] == []
    assert not set("|\n") & set(scenario.whose + scenario.what + scenario.does + scenario.figure)


def test_the_page_is_what_the_code_says() -> None:
    """Cure: python -m actors.simulate.scenarios.table > docs/scenarios.md"""
    assert page() == (DOCS / "scenarios.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
def test_a_workload_has_points_enough_to_be_worth_a_sweep(workload: Workload, pattern: str) -> None:
    undisturbed = reference(workload, pattern)

    assert undisturbed.broken == ()
    assert len(undisturbed.points) >= 25
    assert len(set(undisturbed.points)) == len(undisturbed.points)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
def test_no_point_of_a_workload_changes_its_end(workload: Workload, pattern: str) -> None:
    """Sieve's sweep, exhaustive: some 400 points in all."""
    undisturbed = reference(workload, pattern)
    broken = [text for point in undisturbed.points for text in play_point(undisturbed, point)[:1]]

    assert broken == []
    print(f"{workload.name}, {pattern}: {len(undisturbed.points)} points, none of which changes the end")
