"""The operator as people start it, over real HTTP: recorded from the start and by signal, then played again by the command."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from actors.sim.live import Api, BackendServer, Fleet, ModelServer, Operator, until

ROOT = Path(__file__).parents[2]
ENTRY = [str(ROOT / "supervisor.py")]
TOKEN = "c2VjcmV0LWJhY2tlbmQtdG9rZW4"
FAST = {
    "cold-start": "0s", "max-unhealthy": "100%", "max-unhealthy-fleet": "100%",
    "backend-timeout": "1s", "backend-lateness": "0s", "quota": "50/1s",
    "batch-quiet": "10ms", "debounce": "20ms", "cooldown": "1s", "heartbeat-timeout": "3s",
}  # fmt: skip


def muster(*words: object, code: int = 0, **environ: str) -> str:
    """What that command prints; it must end with ``code``."""
    run = subprocess.run(
        [sys.executable, *ENTRY, *map(str, words)],
        capture_output=True, text=True, timeout=60, check=False, env=os.environ | environ,
    )  # fmt: skip
    assert run.returncode == code, run.stdout[-2000:] + run.stderr[-2000:]
    return run.stdout


def busy(fleet: Fleet, numbers: range) -> None:
    """Nodes fail, come and go, and a cluster comes."""
    for number in numbers:
        fleet.report(f"n{number % 4}", healthy=number % 3 == 0)
        fleet.node(f"extra-{number}", "prod", "StorageNode", healthy=number % 2 == 0)
        fleet.delete(f"extra-{number}", "StorageNode")
        if number % 10 == 5:
            fleet.cluster(f"later-{number}")
            fleet.node(f"of-later-{number}", f"later-{number}", healthy=False)
        if number % 3 == 2:
            fleet.agree(10.0)


class Recorded:
    """One run with two tapes: from its start to a signal, and from another signal, in its middle, to its end."""

    def __init__(self, folder: Path) -> None:
        token = folder / "token"
        token.write_text(TOKEN)
        self.first, self.second = folder / "run.tape", folder / "run.tape.2"
        with ModelServer(folder) as server, BackendServer(folder, options=["--quota", "50/1s"]) as backend:
            fleet = Fleet(Api(server.url))
            fleet.cluster("prod")
            for number in range(4):
                fleet.node(f"n{number}", "prod")
            options = FAST | {"record": str(self.first), "backend-token-file": str(token)}
            with Operator(
                ENTRY, folder, kubeconfig=server.kubeconfig, backend_url=backend.url, options=options
            ) as operator:
                operator.ready()
                busy(fleet, range(12))
                os.kill(operator.popen.pid, signal.SIGUSR2)
                operator.told("recording_ended")
                busy(fleet, range(12, 16))
                os.kill(operator.popen.pid, signal.SIGUSR2)
                self.started = operator.told("recording_started", file=str(self.second))
                busy(fleet, range(16, 28))
                until(lambda: len(backend.repaired()) > 3, 10.0, "some repairs")
                fleet.agree(10.0)
                assert operator.stop() == 0
                operator.told("recording_ended", file=str(self.second))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return Recorded(tmp_path_factory.mktemp("recorded"))


def verdict(tape: Path, *words: object, code: int = 0, **environ: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(muster("replay", tape, "--json", *words, code=code, **environ).splitlines()[-1])
    return found


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_both_tapes_play_again_without_a_difference(recorded: Recorded, hash_seed: str) -> None:
    for tape in (recorded.first, recorded.second):
        found = verdict(tape, PYTHONHASHSEED=hash_seed)

        assert found["divergence"] is None
        assert found["ended"] == "switched off"
        assert found["counts"]["turn"] > 20
        assert found["requests"] >= 5


def test_the_second_tape_begins_in_the_middle_and_shows_the_drain(recorded: Recorded) -> None:
    listed = muster("replay", recorded.second, "--list")

    assert "in the middle of a run" in listed
    assert "the process: drain" in listed
    assert "the process: stop" in listed
    assert recorded.started["paused_s"] < 1.0


def test_a_replay_stops_at_any_message(recorded: Recorded) -> None:
    found = verdict(recorded.first, "--actor", "cluster/default/prod", "--message", "DebounceEnded")

    assert found["stopped"] == found["entries"]
    assert found["actors"]["cluster/default/prod"]["total"] in (4, 5), "and perhaps one that comes and goes"
    assert verdict(recorded.first, "--to", found["stopped"] - 1)["entries"] == found["stopped"] - 1
    assert "gateway: state running" in muster("replay", recorded.first, "--message", "RepairsWanted")
    assert "ended before that" not in muster("replay", recorded.first, "--message", "NoSuchMessage", code=2)


def test_a_replay_goes_at_the_speed_that_is_wished(recorded: Recorded) -> None:
    whole = verdict(recorded.first)
    began_s = time.monotonic()

    verdict(recorded.first, "--speed", "5")

    assert whole["took_s"] < whole["seconds"]
    assert time.monotonic() - began_s >= whole["seconds"] / 5


def test_no_credential_is_on_a_tape_and_only_its_owner_may_read_it(recorded: Recorded) -> None:
    for tape in (recorded.first, recorded.second):
        assert TOKEN not in tape.read_text()
        assert stat.S_IMODE(tape.stat().st_mode) == 0o600


def test_what_is_no_tape_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("hello\n")

    assert muster("replay", tmp_path / "x", code=2) == ""


def test_who_has_seen_enough_of_the_list_may_go(recorded: Recorded) -> None:
    """As with ``| head -1``: no error, and no traceback at the exit."""
    command = [sys.executable, *ENTRY, "replay", str(recorded.first), "--list"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as player:
        assert player.stdout is not None
        assert player.stderr is not None
        player.stdout.readline()
        player.stdout.close()
        assert (player.wait(30), player.stderr.read()) == (0, "")
