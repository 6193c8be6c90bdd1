"""``muster simulate``: seeds, scripts, refusals, what it prints, its exit codes; as click sees it and as a process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from actors.ops import simulate
from actors.ops.cli import cli
from actors.ops.exit_codes import ExitCode
from actors.simulate.batch import in_this_process
from actors.simulate.catalogue import CATALOGUE
from actors.simulate.drills import DRILLS
from actors.simulate.mutants import planted
from actors.simulate.run import play
from actors.simulate.scenarios import SCENARIOS

SUPERVISOR = Path(__file__).parents[2] / "supervisor.py"
BUG = "quota-is-a-fixed-window"


class Here:
    """In place of the crew: a bug that is planted in this process is not in another."""

    def __init__(self, processes: int) -> None:
        self.map = in_this_process


def words(*args: object) -> Result:
    return CliRunner().invoke(cli, ["simulate", *map(str, args)])


def process(*args: object) -> subprocess.Popen[str]:
    command = [sys.executable, str(SUPERVISOR), "simulate", *map(str, args)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, env={**os.environ}
    )


@pytest.fixture
def bug(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A bug is planted; gives the first seed that finds it."""
    monkeypatch.setattr(simulate, "Crew", Here)
    with planted(BUG):
        yield next(seed for seed in range(1, 100) if not play(seed).passed)


# --- what passes ------------------------------------------------------------------------------------------------------
def test_a_batch_prints_nothing_but_its_result_to_stdout() -> None:
    running = process("--seeds", "10..13", "--processes", "2", "--coverage")
    out, err = running.communicate(timeout=50)

    assert running.returncode == ExitCode.OK, err
    lines = out.splitlines()
    assert lines[0].startswith("seeds 10 to 13: 4 played in ")
    assert lines[-1] == "ok      every promise was kept in 4 seeds"
    assert [id_ for id_ in CATALOGUE if any(line.startswith(f"{id_} ") for line in lines)] == list(CATALOGUE)
    assert "simulating 4 seeds" in err


def test_a_batch_as_json_is_one_document() -> None:
    running = process("--seeds", "4", "--json")
    out, _ = running.communicate(timeout=50)
    document = json.loads(out)

    assert document["format"] == "muster.dev/simulation/v1"
    assert (document["ok"], document["seeds"], document["breachedSeeds"]) == (True, 4, [])
    assert all(canary["found"] for canary in document["canaries"])
    assert {row["id"] for row in document["coverage"] if row["what"] == "fault"} == set(CATALOGUE)
    assert document["seedsPerMinute"] > 0


def test_one_seed_is_the_run_that_the_batch_played() -> None:
    result = words("--seed", 7)

    assert result.exit_code == ExitCode.OK, result.output
    assert f"trace {play(7).trace}" in result.output
    assert result.output.splitlines()[-1] == "ok      every promise was kept"


def test_one_seed_as_json() -> None:
    document = json.loads(words("--seed", 7, "--faults", "a3,B7", "--json").stdout)

    assert document["faults"] == ["A3", "B7"]
    assert document["trace"] == play(7, ("A3", "B7")).trace
    assert document["again"].endswith("simulate --seed 7 --faults A3,B7")


def test_a_drill_can_be_played_by_itself() -> None:
    listed = words("--drill", "list").output.splitlines()
    played = json.loads(words("--drill", "old-news", "--seed", 7, "--json").stdout)

    assert [line.split()[0] for line in listed] == list(DRILLS)
    assert (played["ok"], played["drill"]) == (True, "old-news")
    assert played["again"].endswith("simulate --seed 7 --drill old-news")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--drill", "old-new", "--seed", 7), "there is no drill 'old-new', did you mean old-news?"),
        (("--drill", "old-news"), "--drill goes with --seed"),
    ],
)
def test_a_drill_that_cannot_be_played_is_refused(given: tuple[object, ...], said: str) -> None:
    result = words(*given)

    assert (result.exit_code, said in result.output) == (2, True)


def test_a_page_is_written_of_one_seed_and_of_a_batch(tmp_path: Path) -> None:
    one, many = tmp_path / "one.html", tmp_path / "many.html"

    assert one.as_uri() in words("--seed", 7, "--html", one).output
    assert many.as_uri() in words("--seeds", 2, "--html", many).output
    assert "<title>Simulation, seed 7: every promise was kept</title>" in one.read_text()
    assert "<title>Simulation, seeds 1 to 2: every promise was kept</title>" in many.read_text()


def test_the_catalogue_can_be_read() -> None:
    output = words("--faults", "list").output

    assert [id_ for id_ in CATALOGUE if f"\n{id_} " in f"\n{output}"] == list(CATALOGUE)
    assert "P8   a zombie leader needs leases" in output


@pytest.mark.long
def test_a_world_tells_how_fast_it_was_simulated() -> None:
    document = json.loads(words("--world", "small", "--json").stdout)

    assert (document["clusters"], document["nodes"], document["breaches"]) == (3, 5, 0)
    assert document["repairs"] > 900, "a node failed every 20 s for six hours"
    assert document["timesRealTime"] > 1000, "by this it cannot have been simulated as a world of that size is"


def test_a_scenario_tells_what_happens_what_it_is_held_to_and_what_was_measured() -> None:
    name, scenario = next(iter(SCENARIOS.items()))
    listed = words("--scenario", "list").output.splitlines()
    result = words("--scenario", name, "--seed", 3)

    assert [line.split()[0] for line in listed] == list(SCENARIOS)
    assert result.exit_code == ExitCode.OK, result.output
    assert result.output.startswith(f"ok      {name}: {scenario.what}\n")
    assert f"held to: {scenario.promised}; measured: " in result.output
    document = json.loads(words("--scenario", name, "--seed", 3, "--json").stdout)
    assert [(each["scenario"], each["seed"], each["court"]) for each in document["scenarios"]] == [(name, 3, [])]


# --- what fails -------------------------------------------------------------------------------------------------------
def test_a_failing_seed_prints_the_promise_the_last_steps_and_the_command_that_repeats_it(bug: int) -> None:
    result = words("--seed", bug)

    assert result.exit_code == ExitCode.SIMULATION_BROKEN
    lines = result.output.splitlines()
    broken = next(n for n, line in enumerate(lines) if line.startswith("BROKEN  "))
    assert f"of seed {bug}; the last steps:" in lines[broken + 1]
    story = [line for line in lines[broken + 2 :] if line.startswith("    ")]
    assert len(story) > 5
    assert all(line.split()[0].endswith("s") for line in story[:5]), "each begins with its instant"
    assert f"again   ./run simulate --seed {bug}" in lines


def test_a_batch_names_every_seed_that_fails_and_how_to_repeat_it(bug: int) -> None:
    result = words("--seeds", f"{bug}..{bug + 3}", "--faults", "P11,B7")

    assert result.exit_code == ExitCode.SIMULATION_BROKEN
    document = json.loads(words("--seeds", f"{bug}..{bug + 3}", "--faults", "P11,B7", "--json").stdout)
    assert document["breachedSeeds"], "a storm of failures does not bring a fixed window to its edge any more"
    for seed in document["breachedSeeds"][: simulate_words_told()]:
        assert f"again   ./run simulate --seed {seed} --faults B7,P11" in result.output


def simulate_words_told() -> int:
    from actors.ops.simulate_words import TOLD_MAX

    return TOLD_MAX


def test_a_batch_ends_at_its_first_failure_where_that_is_asked(bug: int) -> None:
    document = json.loads(words("--seeds", 100, "--stop-at-first", "--json").stdout)

    assert document["breachedSeeds"] == [bug]
    assert document["last"] == bug


def test_a_failure_is_made_small_and_repeated_from_its_file(
    bug: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulate, "SHRINK_S", 4.0)
    file = tmp_path / "small.json"
    result = words("--seed", bug, "--shrink", file)

    assert result.exit_code == ExitCode.SIMULATION_BROKEN
    assert f"again     ./run simulate --script {file}" in result.output
    again = words("--script", file)
    assert again.exit_code == ExitCode.SIMULATION_BROKEN
    assert len(json.loads(file.read_text())["script"]["steps"]) < play(bug).steps


def test_coverage_that_is_too_thin_fails() -> None:
    result = words("--seeds", 2, "--faults", "A3", "--fired-min", 1000)

    assert result.exit_code == ExitCode.SIMULATION_BROKEN
    assert "THIN    fault A3 (410 on resuming, in the stream, or again and again) fired " in result.stdout
    assert "fault A4" not in result.stdout, "it was not asked for"


def test_ctrl_c_ends_a_batch_with_what_there_is_so_far() -> None:
    running = process("--seeds", "100000", "--processes", "2")
    assert running.stderr is not None
    assert running.stderr.readline() == "simulating 100000 seeds\n"
    time.sleep(4.0)
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does: to every process of the group
    out, err = running.communicate(timeout=20)

    assert running.returncode == ExitCode.OK, err
    assert "INTERRUPTED: this is what there was so far" in out
    assert "Traceback" not in err


# --- refusals ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--seeds", "many"), "'--seeds': found 'many', expected a number of seeds such as 500, or a range"),
        (("--seeds", "5..2"), "found '5..2', expected a range that does not end before it begins"),
        (("--seeds", "0"), "found '0', expected at least 1"),
        (("--seed", "1", "--seeds", "5"), "--seeds and --seed exclude each other"),
        (("--faults", "A33"), "there is no fault 'A33', did you mean A3?"),
        (("--faults", "P8"), "P8 does not apply: a zombie leader needs leases"),
        (("--world", "small", "--faults", "A1"), "--faults is for seeds; --world has its own"),
        (("--world", "tiny"), "'tiny' is not one of 'small', 'large'"),
        (("--seed", "1", "--html", "no/such/folder/x.html"), "there is no folder"),
        (("--scenario", "no-such-thing"), "there is no scenario 'no-such-thing'"),
        (("--processes", "0"), "0 is not in the range"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_cure(given: tuple[str, ...], said: str) -> None:
    result = words(*given)

    assert result.exit_code == ExitCode.SETTINGS
    assert said in " ".join(result.stderr.split())
    assert result.stdout == ""


def test_a_file_that_is_no_script_is_refused_with_the_place(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text('{"format": "muster-script", "version": 7}')
    result = words("--script", file)

    assert result.exit_code == ExitCode.SETTINGS
    assert f"muster: {file}: $.version: found 7, expected 1" in result.stderr
