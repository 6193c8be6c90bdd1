"""The shell on the operator as people start it, over real HTTP: it looks, it changes, and the signal works without it."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from actors.ops.exit_codes import ExitCode
from actors.sim.live import Api, BackendServer, Fleet, ModelServer, Operator, until

ENTRY = [str(Path(__file__).parents[2] / "supervisor.py")]
FAST = {
    "cold-start": "0s", "max-unhealthy": "100%", "max-unhealthy-fleet": "100%",
    "quota": "50/1s", "batch-quiet": "10ms", "debounce": "20ms",
    "shell-changes": "true",
}  # fmt: skip


@frozen
class Running:
    """One operator with four nodes, and its socket."""

    operator: Operator
    fleet: Fleet
    backend: BackendServer
    socket: Path

    def shell(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *ENTRY, "shell", "--socket", str(self.socket), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    def ask(self, command: str) -> Any:
        done = self.shell("--json", "-c", command)
        answer = json.loads(done.stdout)
        assert answer["ok"], answer
        return answer["answer"]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("shell")
    home = Path(os.path.realpath("/tmp")) / f"mu-{os.getpid()}"
    with ModelServer(folder) as server, BackendServer(folder, options=["--quota", "50/1s"]) as backend:
        fleet = Fleet(Api(server.url))
        fleet.cluster("prod")
        for number in range(4):
            fleet.node(f"n{number}", "prod")
        options = FAST | {"shell-socket": str(home / "s.sock"), "backend-url": backend.url}
        with Operator(
            ENTRY, folder, kubeconfig=server.kubeconfig, backend_url=backend.url, options=options
        ) as operator:
            operator.ready()
            fleet.agree(10.0)
            yield Running(operator, fleet, backend, home / "s.sock")
            assert operator.stop() == 0
            assert not (home / "s.sock").exists()
    home.rmdir()


def test_it_listens_where_nobody_else_can_get_at_it(running: Running) -> None:
    told = running.operator.told("shell_listening")

    assert (told["socket"], told["changes"]) == (str(running.socket), True)
    assert stat.S_IMODE(running.socket.stat().st_mode) == 0o600
    assert stat.S_IMODE(running.socket.parent.stat().st_mode) == 0o700


def test_a_well_operator_says_so_whole(running: Running) -> None:
    assert running.shell("-c", "health").returncode == 0

    answers = running.ask("bundle")["answers"]
    kinds = {each["kind"]: each for each in answers["watch-status"]["kinds"]}
    assert kinds["ComputeNode"]["records"] == 4
    assert kinds["ComputeNode"]["heard_s"] < 60.0
    assert {each["setting"]: each["value"] for each in answers["config"]["settings"]}["quota"] == "50/1s"
    names = {each["actor"].strip() for each in answers["tree"]["actors"]}
    assert {"root", "gateway", "watcher/Cluster"} <= names
    threads = {each["thread"] for each in answers["stacks"]["threads"]}
    assert {"muster-timers", "shell", "shell-client"} <= threads
    assert answers["timers"]["count"] > 0


def test_a_repair_is_held_then_let_go_and_all_of_it_is_on_record(running: Running) -> None:
    assert running.ask("pause prod --for 10m --reason 'a trial'")["in_force"] is True
    running.fleet.report("n1", healthy=False)
    until(lambda: running.ask("parent prod")["children"][0]["state"] == "unhealthy", 10.0, "the failure")
    assert running.shell("-c", "health").returncode == ExitCode.UNWELL
    assert running.backend.repaired() == []

    running.ask("resume prod --reason 'it works'")
    until(lambda: len(running.backend.repaired()) == 1, 10.0, "the repair")
    call = running.ask("batches")["calls"][0]
    items = running.ask(f"batches {call['call']}")["items"]
    assert [(each["name"], each["outcome"]) for each in items] == [("n1", "accepted")]
    lines = running.operator.lines("command_given")
    assert [(line["command"].split()[0], line["reason"]) for line in lines] == [
        ("pause", "a trial"),
        ("resume", "it works"),
    ]
    assert f"uid {os.geteuid()} (pid " in lines[0]["by"]


def test_the_actors_answer_and_can_be_listened_to(running: Running) -> None:
    assert running.ask("show gateway")["from"] == "the actor itself"

    command = [sys.executable, *ENTRY, "shell", "--socket", str(running.socket), "-c", "tap --max 1 --for 30s"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as tap:
        flips = iter(range(1000))
        until(lambda: _flipped(running, next(flips)) and tap.poll() is not None, 30.0, "a message")
        out, _ = tap.communicate(timeout=10)
    assert "SHOWN  1" in out
    assert running.ask("restart gateway --reason 'a trial'")["restarted"] is True


def _flipped(running: Running, number: int) -> bool:
    running.fleet.report("n2", healthy=number % 2 == 0)
    return True


def test_a_recording_is_switched_and_ends_before_a_command(running: Running) -> None:
    assert running.ask("record on --reason 'a trial'")["recording"] is True
    assert running.ask("show gateway")["from"].startswith("the last snapshot: a recording runs")

    running.ask("kick prod --reason 'a trial'")

    cut = running.operator.told("recording_cut")
    assert cut["reason"] == "the shell told an actor something"
    Path(cut["file"]).unlink()


def test_the_signal_writes_every_stack_and_whose_turn_each_thread_runs(running: Running) -> None:
    os.kill(running.operator.popen.pid, signal.SIGUSR1)
    until(lambda: "whose turn each thread runs" in running.operator.err.read_text(), 10.0, "the dump")
    text = running.operator.err.read_text()

    assert "Thread 0x" in text
    assert text.index("(most recent call first)") < text.index("muster: whose turn each thread runs:")
