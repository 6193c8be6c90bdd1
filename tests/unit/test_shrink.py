"""The shrinker on failures whose smallest script is known, and on planted bugs."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import evolve
from click.testing import CliRunner

from actors.core.quantity import Quota
from actors.ops.pin import pin_command
from actors.simulate.court import Breach
from actors.simulate.drawing import draw_script
from actors.simulate.mutants import MUTANTS, planted
from actors.simulate.run import Result, Run
from actors.simulate.script import Script
from actors.simulate.scriptfile import load
from actors.simulate.shrink import STEPS_AIM, Judge, NothingToShrink, Shrunk, judged, pattern, shrink
from actors.simulate.stage import StageSettings
from actors.simulate.steps import Step

PLANTED = os.environ.get("MUSTER_TEST_SHRINK", "deletion-is-dropped list-is-merged nothing-is-under-embargo").split()
"""Quickly found. The whole proof, half an hour: MUSTER_TEST_SHRINK=all, and -s for the figures."""
SEEDS = 300
SECONDS = 60.0


# --- a judge that needs no world --------------------------------------------------------------------------------------
def verdict(script: Script, oracle: str, text: str = "c0 is wrong since 3.0 s") -> Result:
    breaches = (Breach(500.0, oracle, "truth", text),) if oracle else ()
    return Result(
        seed=script.seed, breaches=breaches, trace="", virtual_s=0.0, messages=0, fired={}, exercised={}, calls=0,
        repairs=0, writes=0,
    )  # fmt: skip


def breaks_when(condition: Callable[[Script], bool]) -> Judge:
    return lambda script, until_s: verdict(script, "converges" if condition(script) else "")


def ticking() -> Callable[[], float]:
    """A clock on which each look costs a second."""
    looks = itertools.count()
    return lambda: float(next(looks))


def script_of(*steps: Step) -> Script:
    """Two clusters and more than it takes of everything."""
    scripts = (draw_script(seed) for seed in itertools.count())
    drawn = next(script for script in scripts if script.leftover and script.beat_s and script.settings.pct)
    clusters = (("c0", 4, 1), ("c1", 3, 2))
    users = [Step(0.5 + number * 0.617, "fail", (f"c{number % 2}-n{number % 3}",)) for number in range(100)]
    every = sorted((*users, *steps), key=lambda step: step.at_s)
    return evolve(drawn, steps=tuple(every), faults=("P9", "A5"), clusters=clusters, chaos_s=90.0, cold_start_s=None)


def has(script: Script, *acts: tuple[str, str]) -> bool:
    return set(acts) <= {(step.do, str(step.args[0])) for step in script.steps}


def smallest(script: Script, judge: Judge, budget_s: float = 1e9) -> Shrunk:
    return shrink(script, now=ticking(), judge=judge, budget_s=budget_s)


# --- what stays -------------------------------------------------------------------------------------------------------
def test_where_nothing_matters_nothing_stays() -> None:
    script = smallest(script_of(), breaks_when(lambda script: True)).script
    assert script.steps == ()
    assert script.faults == ()
    assert script.clusters == (("c0", 1, 0),)
    assert script.settings == StageSettings(seed=script.settings.seed)
    assert (script.chaos_s, script.leftover, script.beat_s, script.cold_start_s) == (1.0, "", 0.0, 0.0)


def test_two_steps_of_a_hundred_that_only_break_it_together() -> None:
    script = script_of(Step(33.3, "delete-node", ("c1-n2",)), Step(47.1, "move-node", ("c1-n1", "c1")))
    found = smallest(script, breaks_when(lambda s: has(s, ("delete-node", "c1-n2"), ("move-node", "c1-n1"))))
    assert [(step.at_s, step.do) for step in found.script.steps] == [(1.0, "delete-node"), (2.0, "move-node")]
    assert found.script.clusters == (("c1", 3, 0),)
    assert found.runs < 200
    assert found.ended


def test_steps_keep_the_distance_that_matters_and_get_rounder_times() -> None:
    def apart(script: Script) -> bool:
        when = {step.do: step.at_s for step in script.steps}
        return 10.0 < when.get("move-node", 0.0) - when.get("delete-node", 99.0) < 20.0

    script = script_of(Step(33.333, "delete-node", ("c1-n2",)), Step(47.177, "move-node", ("c1-n1", "c0")))
    assert [step.at_s for step in smallest(script, breaks_when(apart)).script.steps] == [1.0, 15.0]


def test_a_setting_that_matters_stays_and_the_others_become_the_defaults() -> None:
    script = script_of()
    script = evolve(script, settings=evolve(script.settings, quota=Quota(3, 2.0)))
    found = smallest(script, breaks_when(lambda s: s.settings.quota.calls == 3 and s.leftover != "")).script
    assert found.settings == StageSettings(seed=script.settings.seed, quota=Quota(3, 2.0))
    assert found.leftover == script.leftover


def test_numbers_become_small_and_round() -> None:
    script = script_of(Step(12.345, "freeze", (33.217,), "P9"), Step(20.1, "replay", ("Cluster", 17), "A5"))
    longest = breaks_when(
        lambda s: (
            any(step.do == "freeze" and float(str(step.args[0])) > 7.0 for step in s.steps)
            and any(step.do == "replay" and int(str(step.args[1])) > 4 for step in s.steps)
        )
    )
    found = smallest(script, longest).script
    assert {step.do: step.args[-1] for step in found.steps} == {"freeze": 10.0, "replay": 5}
    assert set(found.faults) == {"P9", "A5"}


def test_many_reports_of_one_node_become_one_step() -> None:
    def reports(step: Step) -> int:
        return 2 * int(str(step.args[1])) + 1 if step.do == "flap" else step.do in ("fail", "recover")

    storm = [Step(5.0 + n * 0.04, "recover" if n % 2 else "fail", ("c0-n3",), "P11") for n in range(60)]
    found = smallest(
        script_of(*storm),
        breaks_when(lambda s: sum(reports(step) for step in s.steps if str(step.args[0]) == "c0-n3") >= 30),
    )
    assert [step.do for step in found.script.steps] == ["flap"]


# --- the same failure -------------------------------------------------------------------------------------------------
def test_another_oracles_no_is_another_failure() -> None:
    script = script_of()
    found = smallest(script, lambda s, until_s: verdict(s, "converges" if len(s.steps) >= 60 else "quota-holds"))
    assert len(found.script.steps) == 60
    assert found.breach.oracle == "converges"


def worded(oracle: str) -> Judge:
    """It has other words as soon as the script is short."""
    return lambda s, until_s: verdict(s, oracle, "c0 is wrong" if len(s.steps) >= 30 else "c1 is missing")


def test_the_same_words_are_preferred_as_long_as_that_makes_it_small_enough() -> None:
    few = evolve(script_of(), steps=script_of().steps[:25])
    short = smallest(few, lambda s, until_s: verdict(s, "converges", "one" if len(s.steps) >= 5 else "two"))
    assert (len(short.script.steps), short.breach.text) == (5, "one")
    assert smallest(script_of(), worded("converges")).breach.text == "c1 is missing"


def test_a_surprise_with_other_words_is_another_surprise() -> None:
    found = smallest(script_of(), worded("no-surprise"))
    assert (len(found.script.steps), found.breach.text) == (30, "c0 is wrong")


def test_names_numbers_and_instants_are_no_words() -> None:
    one = "default/c0: ComputeNode (10, 0, 1) is written; since 3.000 s there was [(11, 0, 0)]"
    other = "default/c2: ComputeNode (0, 3, 1) is written; since 21.5 s there was [(1, 0, 0), (4, 2, 0)]"
    assert pattern(one) == pattern(other) == ("ComputeNode", "is", "written", "since", "s", "there", "was")


# --- its limits -------------------------------------------------------------------------------------------------------
def test_when_the_budget_ends_the_best_so_far_is_the_answer() -> None:
    script = script_of(Step(33.3, "delete-node", ("c1-n2",)))
    needed = breaks_when(lambda s: has(s, ("delete-node", "c1-n2"), ("fail", "c0-n0"), ("fail", "c1-n1")))
    found = smallest(script, needed, budget_s=12.0)
    assert not found.ended
    assert found.runs <= 12
    assert 3 < len(found.script.steps) < len(script.steps)
    assert needed(found.script, 0.0).breaches
    assert "smaller still" in "\n".join(found.lines())


def test_a_script_that_breaks_nothing_is_refused() -> None:
    with pytest.raises(NothingToShrink, match="breaks no promise"):
        smallest(script_of(), breaks_when(lambda script: False))


def test_no_script_is_played_twice() -> None:
    played: list[Script] = []

    def judge(script: Script, until_s: float) -> Result:
        played.append(script)
        return verdict(script, "converges" if has(script, ("fail", "c0-n0")) else "")

    smallest(script_of(), judge)
    assert len(played) == len(set(played))


def test_each_better_one_is_told() -> None:
    told: list[tuple[int, int]] = []
    shrink(
        script_of(), now=ticking(), judge=breaks_when(lambda s: has(s, ("fail", "c0-n0"))), budget_s=1e9,
        told=lambda best, runs: told.append((len(best.steps), runs)),
    )  # fmt: skip
    assert told == sorted(told, key=lambda each: (-each[0], each[1]))
    assert told[-1][0] == 1


def test_people_read_what_is_broken_and_by_what() -> None:
    script = script_of(Step(33.3, "delete-node", ("c1-n2",), "A5"))
    script = evolve(script, settings=evolve(script.settings, quota=Quota(3, 2.0)))
    found = smallest(script, breaks_when(lambda s: has(s, ("delete-node", "c1-n2")) and s.settings.quota.calls == 3))
    assert found.lines("muster simulate --script small.json") == [
        "BROKEN  converges (truth): c0 is wrong since 3.0 s",
        f"at 500.000s of seed {script.seed}; 101 steps became 1 in {found.runs} runs and {found.seconds:.1f}s",
        "world     c1: 3 compute, 0 storage",
        "lasts     2s, then everything heals",
        "settings  quota=3/2s",
        "steps",
        "     1.000s  [A5] delete-node c1-n2",
        "again     muster simulate --script small.json",
    ]
    assert f"lasts     90s, then everything heals but {script.leftover}" in evolve(found, script=script).lines()


# --- a judge that plays -----------------------------------------------------------------------------------------------
def test_a_look_at_the_clock_does_not_change_the_run() -> None:
    script = draw_script(3)
    assert judged(script, 1e6).trace == judged(script).trace == Run(script).play().trace


def test_a_run_is_no_longer_than_anybody_looks_at_it() -> None:
    assert judged(draw_script(3), 20.0).virtual_s == 20.0


def test_what_raises_outside_the_actors_is_a_breach() -> None:
    broken = evolve(draw_script(3), steps=(Step(1.0, "cut", ()),))
    (breach,) = judged(broken).breaches
    assert (breach.at_s, breach.oracle) == (1.0, "no-surprise")
    assert "TypeError" in breach.text


# --- planted bugs -----------------------------------------------------------------------------------------------------
def first_failure(name: str) -> Script:
    """With that bug planted; the test is skipped where another defence holds in its place."""
    for seed in range(SEEDS):
        script = draw_script(seed)
        if judged(script).breaches:
            return script
    pytest.skip(f"{name} survives {SEEDS} seeds")


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", MUTANTS if PLANTED == ["all"] else PLANTED)
def test_planted_bug_becomes_a_script_that_people_can_read(name: str) -> None:
    with planted(name):
        found = shrink(first_failure(name), now=time.monotonic, budget_s=SECONDS)
        assert judged(found.script).breaches[0] == found.breach
    print(
        f"{name:48} seed {found.script.seed:3}  {len(found.before.steps):3} -> {len(found.script.steps):2} steps  "
        f"{found.runs:4} runs  {found.seconds:5.1f} s  {found.breach.oracle}"
    )
    assert len(found.script.steps) <= STEPS_AIM
    assert found.seconds < SECONDS + 10.0  # the last run may be on its way when the budget ends
    assert not judged(found.script).breaches


# --- the command ------------------------------------------------------------------------------------------------------
def failing_seed(name: str) -> int:
    with planted(name):
        return next(seed for seed in range(SEEDS) if judged(draw_script(seed)).breaches)


def test_a_failing_seed_is_pinned_by_one_command(tmp_path: Path) -> None:
    seed = failing_seed("deletion-is-dropped")
    words = ["--pin", "a-ghost", "--what", "A node that is gone is counted.", "--folder", str(tmp_path / "pinned")]
    done = CliRunner().invoke(pin_command, ["--seed", str(seed), "--mutant", "deletion-is-dropped", *words])
    assert done.exit_code == 0, done.output
    assert f"muster simulate --script {tmp_path}/pinned/a-ghost.json" in done.output
    file = load(tmp_path / "pinned" / "a-ghost.json")
    assert file.finding is not None
    assert (file.finding.seed, file.finding.bug) == (seed, "A node that is gone is counted.")
    with planted("deletion-is-dropped"):
        assert judged(file.script).breaches[0].oracle == file.finding.oracle

    passing = CliRunner().invoke(pin_command, ["--script", str(tmp_path / "pinned" / "a-ghost.json"), *words])
    assert passing.exit_code == 1
    assert "breaks no promise" in passing.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--pin", "x"), "--what"),
        (("--pin", "x", "--what", "y"), "one of --seed and --script"),
        (("--pin", "Not a name", "--what", "y", "--seed", "1"), "words-with-dashes"),
        (("--pin", "x", "--what", "y", "--seed", "1", "--mutant", "none"), "there is no mutant"),
        (("--pin", "x", "--what", "y", "--seed", "1", "--faults", "Z1"), "there is no fault"),
        (("--pin", "x", "--what", "y", "--script", "none.json"), "none.json: cannot be read"),
    ],
)
def test_what_the_command_cannot_use_is_refused(words: tuple[str, ...], said: str) -> None:
    done = CliRunner().invoke(pin_command, words)
    assert done.exit_code != 0
    assert said in done.output
