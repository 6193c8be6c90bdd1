"""The drills of those who act for a parent: Muster passes each, and each finds the planted bugs that it is for."""

from __future__ import annotations

import pytest

from actors.core.events import Listed
from actors.simulate.drills import DRILLS
from actors.simulate.mutants import planted
from actors.simulate.run import Run
from actors.simulate.steps import Step

FOUND_BY = {
    "overwritten-status": ("foreign-write-is-taken-for-our-echo", "overwritten-status-is-not-noticed"),
    "troubled-writes": (
        "wish-during-a-write-is-dropped", "failed-write-is-retried-at-once", "conflict-is-not-looked-at-again",
        "conflict-is-the-end-of-it",
    ),
    "parent-behind-a-dead-stream": ("lost-version-is-never-sought",),
    "forgotten-wishes": ("restarted-writer-is-not-told-again", "nobody-is-asked-again"),
    "few-that-die-often": ("one-budget-for-all-parents", "deaths-escalate-instead-of-children"),
    "deaths-that-nobody-sees": (
        "death-is-counted-twice", "monitor-is-not-told-of-the-past", "death-that-nobody-saw",
    ),
    "wanted-while-ending": ("parent-wanted-while-its-actor-ends-is-forgotten",),
    "stirred-while-falling-asleep": ("change-while-falling-asleep-is-lost",),
    "poisonous-record": ("poison-is-never-skipped", "record-that-is-left-out-is-told-to-nobody"),
    "deleted-and-still-there": ("deleting-parent-goes-on-repairing",),
}  # fmt: skip
SEED = 2  # in which the poisonous record is a ClusterActor's


@pytest.mark.parametrize("name", FOUND_BY)
@pytest.mark.parametrize("seed", [1, SEED, 3])
def test_muster_passes(name: str, seed: int) -> None:
    result = Run(DRILLS[name].draw(seed)).play()
    assert result.passed, result.breaches[0].line()


@pytest.mark.parametrize(
    ("name", "mutant"), [(name, mutant) for name, mutants in FOUND_BY.items() for mutant in mutants]
)
def test_a_planted_bug_does_not(name: str, mutant: str) -> None:
    with planted(mutant):
        assert not Run(DRILLS[name].draw(SEED)).play().passed


def test_a_lost_version_of_a_parent_is_there_before_any_stream_is_renewed() -> None:
    """One list for it, and no more."""
    script = DRILLS["parent-behind-a-dead-stream"].draw(SEED)
    run = Run(script)
    run.play()
    lost_s = next(step.at_s for step in script.steps if step.do == "swallow")
    listed = [
        (at_s, fact.reason)
        for at_s, _, fact in run.stage.facts
        if isinstance(fact, Listed) and fact.kind == "Cluster" and lost_s < at_s < script.chaos_s
    ]

    assert [reason for _, reason in listed] == ["asked"]
    assert listed[0][0] < lost_s + 15.0


@pytest.mark.parametrize(("actor", "times"), [("cluster/", 2), ("watcher/ComputeNode", 1)])
def test_a_poisonous_record_kills_its_reader_twice_at_most_and_nobody_else(actor: str, times: int) -> None:
    """A watcher once: the list that it asks for next is taken over whole, and no record of it is read."""
    script = DRILLS["poisonous-record"].draw(SEED)
    steps = tuple(
        Step(step.at_s, step.do, (step.args[0], actor), step.fault) if step.do == "poison-record" else step
        for step in script.steps
    )
    run = Run(script.without(steps))
    deaths: list[str] = []
    run.stage.on_poisoned.append(lambda name, urn, uid: deaths.append(name))
    assert run.play().passed
    assert len(deaths) == times
    assert set(deaths) == {"cluster/default/c0" if actor == "cluster/" else actor}
