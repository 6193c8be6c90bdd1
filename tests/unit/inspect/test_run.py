"""The shell beside ``run``: there for as long as the operator is, and never a reason for it to end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from actors.core.errors import SettingsError
from actors.edge.settings_load import load
from actors.ops.exit_codes import ExitCode
from actors.ops.inspect import place
from actors.ops.inspect.client import ask
from actors.ops.run import run_operator


class Engine:
    """As much of one as ``run`` needs; ends itself once ``meanwhile`` has been called."""

    def __init__(self, look: Any, meanwhile: Any) -> None:
        self.look, self.meanwhile = look, meanwhile
        self.toggled = 0

    def build(self, _settings: Any, _facts: Any) -> Any:
        return self

    def inspection(self, loaded: Any, toggle_recording: Any) -> Any:
        self.look.changes, self.look.toggle_recording = loaded.settings.shell_changes, toggle_recording
        return self.look

    def wait(self, _timeout_s: float) -> None:
        meanwhile, self.meanwhile = self.meanwhile, lambda: os.kill(os.getpid(), signal.SIGTERM)
        meanwhile()

    def toggle_recording(self) -> None:
        self.toggled += 1

    def ready(self) -> tuple[bool, list[str]]:
        return True, []

    def start(self) -> None:
        """Nothing."""

    def drain(self, *_: float) -> list[str]:
        return []

    def stop(self, _timeout_s: float) -> list[str]:
        return []

    alive = ready
    statistics = dict


def loaded(**flags: str) -> Any:
    given = {"backend-url": "http://a", "listen": "off", "log-format": "json"}
    return load(given | {name.replace("_", "-"): value for name, value in flags.items()}, {})


def events(capfd: pytest.CaptureFixture[str]) -> dict[str, dict[str, Any]]:
    return {line["event"]: line for line in map(json.loads, capfd.readouterr().err.splitlines())}


def test_it_answers_while_the_operator_runs_and_is_gone_afterwards(
    operator: Any, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    socket, told = folder / "s.sock", []

    def meanwhile() -> None:
        told.append(ask(socket, ["version"]))
        told.append(ask(socket, ["record", "on", "--reason", "x"]))

    engine = Engine(operator.look, meanwhile)
    assert run_operator(loaded(shell_socket=str(socket), shell_changes="true"), build=engine.build) == ExitCode.OK

    assert told[0].ok
    assert engine.toggled == 1  # by the main thread, as SIGUSR2 does
    assert not socket.exists()
    line = events(capfd)["shell_listening"]
    assert (line["socket"], line["changes"]) == (str(socket), True)


def test_it_may_be_off(
    operator: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(place, "own_path", lambda: folder / "s.sock")
    assert run_operator(loaded(shell_socket="off"), build=Engine(operator.look, lambda: None).build) == ExitCode.OK

    assert "shell_listening" not in events(capfd)
    assert list(folder.iterdir()) == []


def test_where_no_place_was_set_and_none_can_be_had_the_operator_works_without(
    operator: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder.chmod(0o777)
    monkeypatch.setattr("actors.ops.inspect.server.own_path", lambda: folder / "s.sock")

    assert run_operator(loaded(), build=Engine(operator.look, lambda: None).build) == ExitCode.OK
    assert "others may write" in events(capfd)["shell_unavailable"]["reason"]


def test_a_place_that_was_set_and_cannot_be_had_is_a_setting_that_is_wrong(operator: Any, folder: Path) -> None:
    folder.chmod(0o777)
    with pytest.raises(SettingsError, match="shell-socket: others may write"):
        run_operator(loaded(shell_socket=str(folder / "s.sock")), build=Engine(operator.look, lambda: None).build)


def test_its_own_path_is_in_the_pods_folder_where_there_is_one_else_in_the_temporary(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    monkeypatch.setattr(place, "IN_A_POD", folder / "run")
    name, uid = f"{os.getpid()}.sock", os.geteuid()
    assert place.own_path() == folder / f"muster-{uid}" / name

    (folder / "run").mkdir()
    assert place.own_path() == folder / "run" / str(uid) / name


def test_the_signal_dumps_the_stacks_also_while_no_python_code_can_run() -> None:
    """faulthandler writes from the signal itself; whose turn each thread runs follows once the main thread can."""
    code = """
        import os, signal
        from actors.ops.logs import Logs
        from actors.ops.run import Stopping
        from actors.edge.dispatcher import SystemClock
        stopping = Stopping(Logs(clock=SystemClock(), log_format="json", level="info"))
        stopping.whose_turn = lambda: "whose turn\\n"
        with stopping.installed():
            os.kill(os.getpid(), signal.SIGUSR1)
        assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
        """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=30, check=True
    )

    assert done.stderr.index("most recent call first") < done.stderr.index("whose turn")
