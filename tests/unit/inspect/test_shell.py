"""The client as a person and as a script have it: pipes, exit codes, and a pseudo-terminal of 80 and of 200 columns."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from actors.ops.cli import cli
from actors.ops.exit_codes import ExitCode
from actors.ops.inspect import client, place, tapping
from actors.ops.inspect.client import NoOperator, find
from actors.ops.inspect.server import ShellServer
from actors.ops.inspect.shell import Names
from actors.sim.terminal import Terminal, lines_of

SUPERVISOR = Path(__file__).parents[3] / "supervisor.py"
Serve = Callable[..., ShellServer]


def run(*words: str, text: str | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SUPERVISOR), "shell", *words]
    return subprocess.run(
        command, input=text, capture_output=True, text=True, timeout=50, check=False, env={**os.environ, **env}
    )


# --- in a pipe --------------------------------------------------------------------------------------------------------
def test_a_script_gets_plain_text_json_and_exit_codes(operator: Any, serve: Serve, folder: Path) -> None:
    path = str(serve(operator.look).path)

    two = run("--socket", path, "-c", "health", "-c", "quota")
    assert (two.returncode, two.stderr) == (0, "")
    assert re.search(r"^ready +yes", two.stdout, re.MULTILINE)
    assert "SLOTS" in two.stdout
    assert "\x1b" not in two.stdout

    piped = run("--socket", path, "--json", text="health\n\n# a remark\npause nobody --reason x\n")
    lines = [json.loads(line) for line in piped.stdout.splitlines()]
    assert [(each["ok"], each["v"]) for each in lines] == [(True, 1), (False, 1)]
    assert piped.returncode == ExitCode.NOT_DONE

    operator.change("pause c0")
    unwell = run("-c", "health", MUSTER_SHELL_SOCKET=path)
    assert unwell.returncode == ExitCode.UNWELL

    wrong = run("--socket", path, "-c", "shw gateway")
    assert wrong.returncode == ExitCode.NOT_DONE
    assert wrong.stderr == "muster: there is no command 'shw'\n  cure: did you mean 'show'? `help` lists all\n"
    assert wrong.stdout == ""

    report = folder / "report.json"
    assert run("--socket", path, "-c", f"bundle {report}").returncode == 0
    assert json.loads(report.read_text())["answers"]["health"]["well"] is False
    again = run("--socket", path, "-c", f"bundle {report}")
    assert (again.returncode, "name a file that is not there yet" in again.stderr) == (ExitCode.NOT_DONE, True)
    assert json.loads(run("--socket", path, "-c", "bundle").stdout)["muster"]


def test_watch_goes_on_until_the_operator_ends(operator: Any, serve: Serve) -> None:
    server = serve(operator.look)
    command = [
        sys.executable,
        str(SUPERVISOR),
        "shell",
        "--socket",
        str(server.path),
        "-c",
        "version",
        "--watch",
        "0.2",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        for _ in range(2):
            assert "RUNNING" in running.stdout.readline()
        server.stop()
        _, err = running.communicate(timeout=30)

    assert running.returncode == ExitCode.NO_OPERATOR
    assert str(server.path) in err


def test_watch_wants_one_command_and_a_time() -> None:
    for words, says in (
        (["--watch", "2"], "wants one command"),
        (["-c", "top", "--watch", "x"], "found"),
        (["-c", "top", "--watch", "0"], "3600"),
    ):
        result = CliRunner().invoke(cli, ["shell", *words])
        assert (result.exit_code, says in result.output) == (ExitCode.SETTINGS, True), result.output


# --- which operator ---------------------------------------------------------------------------------------------------
def test_one_that_runs_is_taken_several_are_named_and_none_is_said(
    operator: Any, serve: Serve, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, "IN_A_POD", folder / "nothing")
    monkeypatch.setattr(client, "folders", place.folders)
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    home = folder / f"muster-{os.geteuid()}"
    with pytest.raises(NoOperator, match=f"no operator of uid {os.geteuid()} runs here .looked in .*{home.name}"):
        find()

    first = serve(operator.look, f"{home.name}/1.sock")
    (home / "2.sock").touch()  # left by somebody, and dead
    assert find() == first.path

    second = serve(operator.look, f"{home.name}/3.sock")
    with pytest.raises(NoOperator) as several:
        find()
    assert f"--socket {first.path}" in str(several.value)
    assert f"--socket {second.path}" in str(several.value)
    assert find("/x") == Path("/x")


def test_an_operator_that_is_not_there_is_exit_code_11(folder: Path) -> None:
    result = CliRunner().invoke(cli, ["shell", "--socket", str(folder / "none.sock"), "-c", "health"])

    assert result.exit_code == ExitCode.NO_OPERATOR
    assert "has the operator ended?" in result.output


# --- completion -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "some"),
    [
        ("", {"health", "tree", "pause"}), ("he", {"health", "help"}), ("show cluster/default/", {"cluster/default/c0"}),
        ("parent d", {"default/c0", "default/c1", "default/c2"}),
        ("why c", {"default/c0", "default/c1", "default/c2"}), ("relist C", {"Cluster", "ComputeNode"}),
        ("pause default/c0 --", {"--for", "--reason"}), ("help pa", {"pause", "parent"}), ("record o", {"on", "off"}),
        ("health ", set()), ("nothing x", set()),
    ],
)  # fmt: skip
def test_tab_completes_commands_actors_kinds_and_names(operator: Any, serve: Serve, text: str, some: set[str]) -> None:
    names = Names(serve(operator.look).path)
    found = {each.text for each in names.get_completions(Document(text), CompleteEvent())}

    assert some <= found
    assert bool(some) or not found


def test_completion_without_an_operator_completes_nothing(folder: Path) -> None:
    assert list(Names(folder / "none.sock").get_completions(Document("he"), CompleteEvent())) == []


# --- on a terminal ----------------------------------------------------------------------------------------------------
def shell(path: Path, columns: int, home: Path) -> Terminal:
    """A shell in a pseudo-terminal."""
    command = [sys.executable, str(SUPERVISOR), "shell", "--socket", str(path)]
    return Terminal(command, columns, {"XDG_STATE_HOME": str(home)})


@pytest.mark.parametrize("columns", [80, 200])
def test_a_person_types_completes_and_leaves(operator: Any, serve: Serve, folder: Path, columns: int) -> None:
    with shell(serve(operator.look).path, columns, folder) as terminal:
        terminal.until("Ctrl-D leaves.*muster>")

        terminal.type("heal\t")  # the one that it can be
        terminal.until("health")
        terminal.type("\r")
        drawn = lines_of(terminal.until("failures.*muster>"))
        assert max(map(len, drawn)) <= columns
        assert any(line.startswith("streams") and "3 up" in line for line in drawn)

        terminal.type("watch-status\r")
        drawn = lines_of(terminal.until("SUBSCRIBERS.*StorageNode.*muster>"))
        assert max(map(len, drawn)) <= columns
        heads = [line for line in drawn if "KIND" in line and "SYNCED" in line]
        assert bool(heads) is (columns == 200)  # a table where there is room, else blocks

        terminal.type("parent default/c1\r")
        assert any("c1-n3" in line for line in lines_of(terminal.until("c1-n3.*muster>")))

        terminal.type("kick nobody --reason x\r")
        terminal.until("there is no parent 'nobody' on record.*cure: .*muster>")

        terminal.type("show 'gate\r")
        terminal.until("close the quotation.*muster>")
        terminal.type("quit\r")
        assert terminal.end() == ExitCode.SETTINGS

    history = folder / "muster" / "shell_history"
    assert "parent default/c1" in history.read_text()
    assert history.stat().st_mode & 0o077 == 0


def test_the_prompt_works_where_no_history_can_be_kept(operator: Any, serve: Serve, folder: Path) -> None:
    (folder / "muster").write_text("in the way")
    with shell(serve(operator.look).path, 80, folder) as terminal:
        terminal.until("muster>")
        terminal.type("version\r")
        terminal.until("RUNNING.*muster>")
        terminal.type("\x04")

        assert terminal.end() == 0


def test_ctrl_c_leaves_a_tap_and_not_the_shell(operator: Any, serve: Serve, folder: Path) -> None:
    def becomes(tapped: bool) -> None:
        until_s = time.monotonic() + 30
        while (id(operator.look.static("gateway")) in tapping._taps) is not tapped:
            assert time.monotonic() < until_s
            time.sleep(0.02)

    with shell(serve(operator.look).path, 80, folder) as terminal:
        terminal.until("muster>")
        terminal.type("tap --for 10m\r")
        becomes(True)
        os.kill(terminal.running.pid, signal.SIGINT)
        terminal.until("muster>")
        becomes(False)
        terminal.type("quit\r")

        assert terminal.end() == 0
