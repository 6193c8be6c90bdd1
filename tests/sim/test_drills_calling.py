"""The drills of the gateway: each is passed, and finds what it was made for; and where their oracles must hold their tongue."""

from __future__ import annotations

import pytest

from actors.core.quantity import Quota
from actors.messages import CallEnded
from actors.simulate.draw import Draw
from actors.simulate.drill import plain
from actors.simulate.drills import DRILLS
from actors.simulate.mutants import planted
from actors.simulate.run import Run
from actors.simulate.steps import Step

MADE_FOR = {
    "small-beside-large": ("first-come-first-served-across-parents",),
    "second-attempts": ("retries-do-not-age", "retries-go-before-new-failures"),
    "out-of-the-queue": ("deleted-parent-withdraws-nothing", "withdrawn-attempt-counts-as-asked"),
    "news-behind-a-slow-parent": (
        *("no-look-at-dispatch", "look-at-dispatch-forgets-health", "look-at-dispatch-forgets-the-uid"),
        "look-at-dispatch-forgets-the-incident",
    ),
    "call-without-end": ("overdue-call-is-waited-for",),
    "answer-during-a-pause": ("pause-ends-for-all-at-once",),
    "item-by-item": (
        *("partial-failure-fails-the-call", "throttled-item-is-failed", "partial-failure-is-success"),
        "missing-result-is-done",
    ),
    "answer-lost-on-its-way": ("answers-are-forgotten", "crash-loses-answers"),
    "poisoned-parent": (
        *("refused-batch-is-not-halved", "refused-batch-is-sent-again-whole"),
        "refused-half-counts-for-the-breaker",
    ),
    "killed-with-the-quota-spent": ("cold-start-is-skipped",),
    "backend-away-and-back": ("backend-state-is-told-to-nobody",),
}
SEEDS = (1, 2)


@pytest.mark.parametrize("name", MADE_FOR)
def test_a_drill_is_passed(name: str) -> None:
    for seed in SEEDS:
        result = Run(DRILLS[name].draw(seed)).play()
        assert result.passed, result.breaches[0].line()


@pytest.mark.parametrize(
    ("name", "mutant"), [(name, mutant) for name, mutants in MADE_FOR.items() for mutant in mutants]
)
def test_a_drill_finds_what_it_was_made_for(name: str, mutant: str) -> None:
    with planted(mutant):
        assert not all(Run(DRILLS[name].draw(seed)).play().passed for seed in SEEDS)


@pytest.mark.parametrize(("quota", "batch_max"), [(Quota(1, 2.0), 20), (Quota(2, 2.0), 5)])
def test_ten_large_parents_that_fail_together_are_served_fairly(quota: Quota, batch_max: int) -> None:
    """The backlog grows after the first have asked: whoever waits for the others' fair share does not wait too long."""
    names = [f"c{n}" for n in range(10)]
    steps = [Step(5.0 + 0.01 * number, "fail-cluster", (name,)) for number, name in enumerate(names)]
    script = plain(
        Draw("together"), [(name, 100, 0) for name in names], steps, chaos_s=60.0, quota=quota, batch_max=batch_max
    )
    result = Run(script).play()
    assert result.passed, result.breaches[0].line()
    assert result.repairs == 1000


def test_a_call_whose_end_is_lost_is_executed_and_not_told() -> None:
    """What the fault does: the backend has done it, and the operator has to find out by asking again."""
    script = plain(
        Draw("lost"), [("c0", 1, 0)], [Step(4.0, "lose-ends", (2.0,), "P5"), Step(4.5, "fail", ("c0-n0",))], chaos_s=20.0,
        heal_after_s=10.0, policy={"cooldown_s": 30.0},
    )  # fmt: skip
    run = Run(script)
    arrivals: list[float] = []
    run.stage.backend.on_arrival.append(lambda call, answer: arrivals.append(run.stage.world.clock.now()))
    result = run.play()
    assert result.passed, result.breaches[0].line()
    assert result.repairs == 1
    assert len(arrivals) == 2, "the same key again, once it was overdue"
    assert arrivals[1] - arrivals[0] >= 2 + 1, "timeout and lateness"


def test_a_call_that_is_slow_both_ways_ends_at_its_timeout() -> None:
    """As the real adapter has it; a later answer would come to nobody."""
    steps = [
        Step(4.0, "call-fate", ("slow", 10.0, 1.0, 1.5), "B9"),
        Step(4.0, "misbehave", ("latency", 10.0, None, 1.0, None), "B9"),
        Step(4.5, "fail", ("c0-n0",)),
    ]
    run = Run(plain(Draw("slow"), [("c0", 1, 0)], steps, chaos_s=30.0))
    times: list[float] = []
    run.stage.backend.on_send.append(lambda call: times.append(run.stage.world.clock.now()))
    run.court.hear(CallEnded, lambda actor, message: times.append(run.stage.world.clock.now()))
    result = run.play()
    assert result.passed, result.breaches[0].line()
    assert times[1] - times[0] == pytest.approx(2.0)
