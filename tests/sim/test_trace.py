"""The same seed is the same run: in every process, under every hash seed, in every supported Python that is here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

SEEDS = int(os.environ.get("MUSTER_TEST_TRACES", "12"))
"""Each takes about an eighth of a second, twice. The whole proof: MUSTER_TEST_TRACES=1000."""
OTHERS = os.environ.get("MUSTER_TEST_PYTHONS", "").split()
"""Other interpreters that have the packages and this one's Muster (whole paths), to be compared with this one."""


def traces(python: str, hash_seed: int) -> list[str]:
    ended = subprocess.run(
        [python, "-m", "actors.simulate.traces", "1", str(SEEDS)],
        env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
        capture_output=True, text=True, check=False, timeout=60 + SEEDS,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


def test_a_trace_is_the_same_under_two_hash_seeds() -> None:
    one, other = traces(sys.executable, 0), traces(sys.executable, 4711)

    assert len(one) == SEEDS
    assert other == one


def test_traces_of_different_seeds_differ() -> None:
    hashes = [line.split()[1] for line in traces(sys.executable, 0)]

    assert len(set(hashes)) == SEEDS


@pytest.mark.parametrize("python", OTHERS)
def test_a_trace_is_the_same_in_another_python(python: str) -> None:
    if shutil.which(python) is None:
        pytest.fail(f"MUSTER_TEST_PYTHONS names {python}, which is not there")

    assert traces(python, 1) == traces(sys.executable, 2)


def test_a_run_that_is_looked_at_has_the_same_trace() -> None:
    from actors.simulate.drawing import draw_script
    from actors.simulate.run import Run, play
    from actors.simulate.timeline import Timeline

    for seed in (2, 7, 93):
        run = Run(draw_script(seed))
        timeline = Timeline(run)
        result = run.play()

        assert timeline.finish(result).result.trace == play(seed).trace
