"""Which gates of ``why`` the simulation reaches: all of the closed list, and each was true in its world when it was named.

The oracle ``why-names-the-gate`` judges every answer, so a gate that was named in a run that passed was shut there. What seeds
reach by themselves is told by ``muster simulate --seeds 0..600 --coverage``; a gate for which the occasion has to be made has
a scene here.
"""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from actors.core.gates import GATES
from actors.core.quantity import Quota
from actors.simulate.draw import Draw
from actors.simulate.drill import plain
from actors.simulate.run import Run, play
from actors.simulate.steps import Step

BUGS = {"overlooked", "not-asked"}
"""Gates that are bugs by their own words: naming one fails the run."""
OTHERS = {"other-parent", "own-reconcile"}
"""Those of what the built-in fleet has not: tests/sim/test_own_reconcile.py reaches them."""
SEEDS = (2, 3, 11, 26, 48, 55, 73, 142, 220, 481, 551, 598, 713, 752)
"""Seeds that reach every gate which has no scene, each of them twice. Where a change of the drawing makes them miss one, the
command above tells in which seed it is now.
"""


def ask(name: str, *at_s: float, child: str = "") -> list[Step]:
    return [Step(at, "ask-why", (name, child) if child else (name,)) for at in at_s]


def every(first_s: float, last_s: float, step_s: float) -> list[float]:
    return [first_s + number * step_s for number in range(round((last_s - first_s) / step_s) + 1)]


def slow(actor: str, for_s: float = 6.0) -> Step:
    """Turns of that actor (a prefix of names) begin up to five seconds late."""
    return Step(4.9, "slow-threads", (actor, 5.0, for_s), "P12")


C0 = ("c0", 3, 1)
NEW = [Step(5.0, "create-cluster", ("c9",)), Step(5.0, "create-node", ("c9-n0", "c9", False, "field"))]
FAILS = Step(5.0, "fail", ("c0-n0",))
SCENES: dict[str, tuple[list[Step], dict[str, Any]]] = {
    # Nothing comes over a kind's stream, not even bookmarks; it ends as agreed, and the next one is not answered.
    "stream-quiet": ([
        Step(1.0, "mangle", ("StorageNode", "no-bookmarks", 200.0), "A9"),
        Step(30.0, "mute", ("StorageNode", 40.0, False), "A13"), *ask("c0", 40.0, *every(48.0, 56.0, 1.0)),
    ], {"watch_s": 20}),
    # A person holds a parent's repairs at the shell; they go on when the time is over.
    "command-pause": ([Step(4.0, "pause-by-command", ("c0", 10.0)), FAILS, *ask("c0", 7.0, 13.5, 15.0)], {}),
    # It is asked to end, and drains while a call is under way.
    "ending": ([FAILS, Step(5.3, "terminate", (10.0,), "P7"), *ask("c0", 5.4, 5.8, 9.0)], {"backend_rtt_s": 1.0}),
    # A parent's actor does not come back from a message, until the watchdog takes its thread away.
    "wedged": ([Step(4.9, "wedge", ("cluster/default/c0",), "P5"), FAILS, *ask("c0", 5.5, 7.0, 20.0, 34.0)], {}),
    # A parent and a child that are there, and that nobody has told us of yet.
    "no-parent": ([Step(4.0, "lag", ("Cluster", 3.0, 5.0), "A5"), *NEW, *ask("c9", 5.5)], {}),
    "no-child": ([
        Step(4.0, "lag", ("ComputeNode", 3.0, 5.0), "A5"), Step(5.0, "create-node", ("c0-n9", "c0", True, "field")),
        *ask("c0", 5.5, child="c0-n9"),
    ], {}),
    # A new parent's actor is made, and filled, by threads that are slow; or nobody is there to make it.
    "waking": ([slow("cluster/"), *NEW, *ask("c9", *every(5.0, 10.0, 0.1))], {}),
    "refilling": ([slow("cluster/"), *NEW, *ask("c9", *every(5.0, 10.0, 0.1))], {}),
    "directory-held": ([Step(4.9, "wedge", ("directory",), "P5"), *NEW, *ask("c9", 7.0, 20.0)], {}),
    # News, and wishes, wait for who is slow, or stuck.
    "mail-waiting": ([slow("cluster/"), FAILS, *ask("c0", *every(5.1, 9.0, 0.1))], {}),
    "news-waiting": ([slow("watcher/ComputeNode"), FAILS, *ask("c0", *every(5.1, 9.0, 0.1))], {}),
    "watcher-down": ([Step(4.9, "wedge", ("watcher/ComputeNode",), "P5"), FAILS, *ask("c0", 7.0, 20.0)], {}),
    "gateway-held": ([Step(4.9, "wedge", ("gateway",), "P5"), FAILS, *ask("c0", 7.0, 20.0)], {}),
    # Actors that die: once more than their backoff is short, and of a record for good.
    "restarting": ([
        Step(4.9, "strike", ("cluster/default/c0", "", "before", 1, 1, 5), "P4"), FAILS, *ask("c0", *every(5.0, 8.0, 0.1)),
    ], {}),
    "records-skipped": ([Step(5.0, "poison-record", ("c0-n0", "cluster/"), "P4"), *ask("c0", 8.0, 12.0),
        Step(40.0, "recover", ("c0-n0",)),
    ], {}),
    # A child that is well and ill again while the call for its first trouble is under way.
    "same-child": ([
        FAILS, Step(6.0, "recover", ("c0-n0",)), Step(7.0, "fail", ("c0-n0",)), *ask("c0", 8.0, 9.0, child="c0-n0"),
    ], {"backend_rtt_s": 6.0, "call_timeout_s": 10.0}),
    # A kind's stream is back after long, and the directory, which has everybody look again, is slow.
    "watch-behind": ([
        Step(4.0, "stubborn", ("c0-n0", 30), "B11"),
        Step(5.0, "refuse-reads", ("ComputeNode", "unavailable", 34.0, None), "A13"),
        Step(39.0, "slow-threads", ("directory", 5.0, 12.0), "P12"), *ask("c0", *every(39.5, 52.0, 0.1), child="c0-n0"),
    ], {"policy": {"cooldown_s": 2.0}}),
    # The backend refuses each call with a certain node in it: the others go apart.
    "search": ([
        Step(4.0, "poison-item", ("c0-n0", 20.0), "B6"), *(Step(5.0, "fail", (f"c0-n{number}",)) for number in range(3)),
        *ask("c0", *every(5.5, 20.0, 0.5)),
    ], {"quota": Quota(1, 5.0)}),
}  # fmt: skip
"""By gate: the steps, and what is special in the settings."""


def played(gate: str, seed: int) -> Run:
    steps, settings = SCENES[gate]
    script = plain(Draw("scene", gate, seed), [C0, ("c1", 2, 0)], steps, chaos_s=60.0, seed=seed, **settings)
    run = Run(evolve(script, seed=seed, steps=tuple(sorted(script.steps, key=lambda step: step.at_s))))
    run.play()
    return run


@pytest.mark.parametrize("gate", SCENES)
def test_a_scene_reaches_its_gate_and_the_gate_is_true(gate: str) -> None:
    results = [played(gate, seed).result() for seed in range(3)]

    assert [result.breaches[0].line() for result in results if not result.passed] == []
    assert any(gate in result.named for result in results), [result.named for result in results]


def test_every_gate_is_named_where_it_is_true_and_no_bug_is() -> None:
    results = [play(seed) for seed in SEEDS]
    named = {gate for result in results for gate in result.named} | SCENES.keys()

    assert [result.seed for result in results if not result.passed] == []
    assert {gate.code for gate in GATES} - named == BUGS | OTHERS
