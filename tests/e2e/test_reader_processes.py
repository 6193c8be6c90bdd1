"""The operator as people start it, with a reader's process for each kind of node: killed, recorded, and ended with it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from actors.sim.live import Api, BackendServer, Fleet, ModelServer, Operator, until

ROOT = Path(__file__).parents[2]
ENTRY = [str(ROOT / "supervisor.py")]
FAST = {
    "cold-start": "0s",
    "max-unhealthy": "100%",
    "max-unhealthy-fleet": "100%",
    "debounce": "20ms",
    "quota": "50/1s",
}
KINDS = ("ComputeNode", "StorageNode")


class World:
    """Servers, a fleet of six nodes, and operators that read it by processes."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder, self._stack = folder, stack
        self._server = stack.enter_context(ModelServer(folder))
        self._backend = stack.enter_context(BackendServer(folder, options=["--quota", "50/1s"]))
        self.fleet = Fleet(Api(self._server.url))
        self.fleet.cluster("prod")
        for number in range(6):
            self.fleet.node(f"n{number}", "prod", KINDS[number % 2])

    def operator(self, **options: str) -> Operator:
        return self._stack.enter_context(Operator(
            ENTRY, self.folder, kubeconfig=self._server.kubeconfig, backend_url=self._backend.url,
            options=FAST | {"reader": "process"} | options,
        ))  # fmt: skip


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with ExitStack() as stack:
        yield World(tmp_path, stack)


def readers(operator: Operator) -> dict[str, int]:
    """The latest process of each kind."""
    until(lambda: {line["kind"] for line in operator.lines("reader_started")} == set(KINDS), 20.0, "two processes")
    return {str(line["kind"]): int(line["pid"]) for line in operator.lines("reader_started")}


def gone(pid: int) -> bool:
    """Ended, if only as a zombie whose parent was killed and whose next one has not asked for it yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_reader_is_killed_while_all_is_recorded_and_the_tape_plays_again(world: World) -> None:
    tape = world.folder / "run.tape"
    operator = world.operator(record=str(tape)).ready()
    world.fleet.report("n0", healthy=False)
    world.fleet.agree(10.0)
    os.kill(readers(operator)["ComputeNode"], signal.SIGKILL)
    operator.told("reader_died", kind="ComputeNode", reason="killed")
    world.fleet.report("n2", healthy=False)
    world.fleet.report("n0", healthy=True)
    world.fleet.delete("n4")
    world.fleet.report("n1", healthy=False, kind="StorageNode")
    world.fleet.agree(20.0)
    last = readers(operator)
    assert operator.stop() == 0

    assert [pid for pid in last.values() if Path(f"/proc/{pid}").exists()] == []
    assert [line["event"] for line in operator.lines() if line["level"] == "error"] == ["reader_died"]
    replay = subprocess.run(
        [sys.executable, *ENTRY, "replay", str(tape), "--json"], capture_output=True, text=True, timeout=60, check=True
    )
    assert json.loads(replay.stdout.splitlines()[-1])["divergence"] is None


@pytest.mark.parametrize(
    "end", [Operator.kill, lambda operator: os.kill(operator.popen.pid, signal.SIGINT)], ids=["killed", "interrupted"]
)
def test_readers_do_not_outlive_the_operator(world: World, end: Callable[[Operator], None]) -> None:
    operator = world.operator().ready()
    pids = list(readers(operator).values())
    end(operator)

    until(lambda: all(gone(pid) for pid in pids), 20.0, "the readers to end")


def test_a_small_fleet_is_read_by_threads_unless_told_otherwise(world: World) -> None:
    operator = world.operator(reader="auto").ready()
    chosen = {str(line["kind"]): line for line in operator.lines("reader_chosen")}

    assert {kind: line["reader"] for kind, line in chosen.items()} == dict.fromkeys(KINDS, "thread")
    assert operator.lines("reader_started") == []
    assert operator.stop() == 0
