"""Batches of seeds: what is added up, that it depends on the seeds only, the canaries, and processes that die."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve

from actors.core.gates import GATES
from actors.ops.crew import Crew, CrewError
from actors.ops.simulate_words import as_document, batch_lines, coverage_lines
from actors.simulate import batch
from actors.simulate.batch import CANARIES, BatchResult, run_batch
from actors.simulate.catalogue import CATALOGUE
from actors.simulate.court import Breach
from actors.simulate.run import ORACLES, Result, play

SEEDS = range(1, 9)


def result(seed: int, *, broken: bool = False, fired: dict[str, int] | None = None, judged: int = 1) -> Result:
    breaches = (Breach(1.5, "quota-kept", "quota", "3 calls arrived, 2 are allowed"),) if broken else ()
    return Result(
        seed=seed, breaches=breaches, trace=f"{seed:x}", virtual_s=36.0, messages=10, fired=fired or {},
        exercised={oracle.name: judged for oracle in ORACLES}, calls=1, repairs=2, writes=3, steps=4,
        story=("1.0s  something",) if broken else (),
    )  # fmt: skip


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Plays nothing: seeds pass, but for the one that is named; canaries are found by nobody, because nothing breaks."""

    def broken_at(broken: int) -> None:
        monkeypatch.setattr(batch, "play", lambda seed, faults=None: result(seed, broken=seed == broken))

    return broken_at


def without_clock(total: BatchResult) -> dict[str, Any]:
    document = as_document(total, [], 1.0, 1)
    return {key: value for key, value in document.items() if key not in ("cpuSeconds", "hoursPerCoreSecond")}


# --- what is added up -------------------------------------------------------------------------------------------------
def test_a_batch_is_the_sum_of_its_seeds() -> None:
    total = run_batch(SEEDS, canaries=())
    each = [play(seed) for seed in SEEDS]

    assert (total.seeds, total.first, total.last) == (8, 1, 8)
    assert total.messages == sum(one.messages for one in each)
    assert total.calls == sum(one.calls for one in each)
    assert total.fired == {id_: n for id_ in CATALOGUE if (n := sum(one.fired.get(id_, 0) for one in each))}
    assert total.exercised_seeds["quota-kept"] == sum(one.exercised["quota-kept"] > 0 for one in each)
    assert total.ok


@pytest.mark.long
def test_what_comes_of_a_batch_does_not_depend_on_the_number_of_processes() -> None:
    here = without_clock(run_batch(SEEDS))

    assert without_clock(run_batch(SEEDS, Crew(1).map)) == here
    assert without_clock(run_batch(SEEDS, Crew(3).map)) == here


def test_the_fingerprint_tells_one_trace_from_another_and_minds_no_order() -> None:
    def fingerprint(*results: Result) -> int:
        total = BatchResult()
        for each in results:
            total.add(each)
        return total.fingerprint

    assert fingerprint(result(1), result(2)) == fingerprint(result(2), result(1))
    assert fingerprint(result(1), result(2)) != fingerprint(result(1), result(3))


def test_results_are_heard_in_the_order_of_their_seeds() -> None:
    heard: list[int] = []
    run_batch(SEEDS, Crew(2).map, on_result=lambda each: heard.append(each.seed), canaries=())

    assert heard == list(SEEDS)


def test_only_the_faults_that_were_asked_for_fire() -> None:
    total = run_batch(range(1, 6), faults=("A1", "B7"), canaries=())

    assert set(total.fired) <= {"A1", "B7"}
    assert total.fired["A1"] > 0


def test_the_stories_of_some_failures_are_kept_and_the_seeds_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "BREACHED_KEPT", 2)
    total = BatchResult()
    for seed in range(5):
        total.add(result(seed, broken=True))

    assert [each.seed for each in total.breached] == [0, 1]
    assert total.breached_seeds == [0, 1, 2, 3, 4]


# --- coverage ---------------------------------------------------------------------------------------------------------
def test_every_fault_every_oracle_and_every_gate_has_its_row() -> None:
    rows = BatchResult().coverage()

    assert [row.id for row in rows] == [
        *CATALOGUE,
        *(oracle.name for oracle in ORACLES),
        *(gate.code for gate in GATES),
    ]


def test_the_gates_tell_in_how_many_seeds_they_were_named_and_in_which_first() -> None:
    total = BatchResult()
    for seed, named in ((3, {"quota": 2}), (4, {"quota": 1, "valve": 5}), (5, {})):
        total.add(evolve(result(seed), named=named))
    rows = {row.id: (row.count, row.seeds, row.first) for row in total.coverage() if row.what == "gate"}

    assert ((3, 2, 3), (5, 1, 4), (0, 0, None)) == (rows["quota"], rows["valve"], rows["paused"])
    assert not [row for row in total.thin(0) if row.what == "gate"], "a seed need not reach any certain gate"
    lines = coverage_lines(total.coverage())
    assert any(line.split()[:4] == ["quota", "3", "2", "3"] for line in lines)


def test_a_fault_that_fired_less_often_than_asked_is_thin_and_so_is_an_idle_oracle() -> None:
    total = BatchResult()
    total.add(result(1, fired=dict.fromkeys(CATALOGUE, 5)))
    total.add(result(2, fired={"A1": 5}))

    assert [row.id for row in total.thin(5)] == []
    assert [row.id for row in total.thin(6)] == [id_ for id_ in CATALOGUE if id_ != "A1"]

    idle = BatchResult()
    idle.add(result(1, fired=dict.fromkeys(CATALOGUE, 5), judged=0))
    assert [row.id for row in idle.thin(5)] == [oracle.name for oracle in ORACLES]


def test_faults_that_were_not_asked_for_are_not_thin() -> None:
    total = BatchResult(faults=("A3",))
    total.add(result(1))

    assert [row.id for row in total.thin(1)] == ["A3"]


# --- canaries ---------------------------------------------------------------------------------------------------------
def test_every_batch_finds_its_canaries() -> None:
    total = run_batch([1])

    assert [kill.name for kill in total.canaries] == list(CANARIES)
    assert total.blind == ()
    assert all(kill.seeds <= 10 for kill in total.canaries), "a canary is a bug that is found at once"


def test_a_batch_whose_canary_lives_has_proved_nothing(pretend: Callable[[int], None]) -> None:
    pretend(-1)
    total = run_batch([1, 2])

    assert total.blind == CANARIES
    assert not total.ok
    lines = batch_lines(total, [], 1.0, 1, coverage=False)
    assert sum(line.startswith("BLIND") for line in lines) == len(CANARIES)
    assert not any(line.startswith("ok") for line in lines)


# --- the end ----------------------------------------------------------------------------------------------------------
def test_nothing_counts_after_the_first_failure_where_that_was_asked(pretend: Callable[[int], None]) -> None:
    pretend(3)

    assert run_batch(range(1, 100), canaries=(), stop_at_first=True).last == 3
    assert run_batch(range(1, 100), canaries=()).last == 99


def test_ctrl_c_ends_a_batch_with_what_there_is_so_far(pretend: Callable[[int], None]) -> None:
    pretend(-1)

    def heard(each: Result) -> None:
        if each.seed == 4:
            raise KeyboardInterrupt

    total = run_batch(range(1, 100), on_result=heard, canaries=())

    assert (total.interrupted, total.seeds) == (True, 4)
    assert "INTERRUPTED: this is what there was so far" in batch_lines(total, [], 1.0, 1, coverage=False)


# --- processes --------------------------------------------------------------------------------------------------------
EXIT = "__import__('os')._exit(3)"
KILLED = "__import__('os').kill(__import__('os').getpid(), 9)"
HANGS = "__import__('time').sleep(60)"


def test_a_process_that_dies_costs_the_item_that_it_was_at_and_names_it() -> None:
    items = ["1", "2", EXIT, "4", KILLED, *map(str, range(6, 20))]
    done = list(Crew(2).map(eval, items))

    assert [each.item for each in done] == items
    assert [each.value for each in done] == [1, 2, None, 4, None, *range(6, 20)]
    assert done[2].error == "the process that played it ended with exit code 3"
    assert done[4].error == "the process that played it ended with SIGKILL"


def test_an_item_that_never_ends_is_given_up() -> None:
    done = list(Crew(1, patience_s=4.0).map(eval, ["1", HANGS, "3"]))

    assert [each.value for each in done] == [1, None, 3]
    assert done[1].error == "it had not ended after 4 s, and was killed"


def test_an_error_is_told_and_the_next_item_has_its_turn() -> None:
    done = list(Crew(1).map(eval, ["1", "1 / 0", "3"]))

    assert [each.value for each in done] == [1, None, 3]
    assert done[1].error.endswith("ZeroDivisionError: division by zero")


def test_processes_that_cannot_work_at_all_are_not_started_for_ever() -> None:
    with pytest.raises(CrewError, match="3 processes in a row died before they had done anything"):
        list(Crew(1).map(eval, [EXIT] * 1000))


def test_no_process_outlives_its_work() -> None:
    given = Crew(2).map(eval, ["1", "2", HANGS, HANGS, HANGS])
    next(iter(given))
    assert len(multiprocessing.active_children()) == 2

    given.close()

    assert multiprocessing.active_children() == []


def test_a_seed_at_which_the_simulator_itself_fails_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    total = run_batch(
        [1, 2], lambda work, items: iter([batch.Done(item, None, "it died") for item in items]), canaries=()
    )

    assert [each.seed for each in total.troubles] == [1, 2]
    assert not total.ok
    assert "ERROR   the simulator itself failed at seed 1:" in batch_lines(total, [], 1.0, 1, coverage=False)
