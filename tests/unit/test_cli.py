"""The command line: its words, its refusals, its exit codes; as click sees it and as a process of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import actors
from actors.edge.settings import TABLE
from actors.ops import run as run_module
from actors.ops.cli import cli
from actors.ops.exit_codes import ExitCode

ROOT = Path(__file__).parents[2]
SUPERVISOR = ROOT / "supervisor.py"


@pytest.fixture(autouse=True)
def _no_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever runs these tests may itself be a pod, or be configured for Muster."""
    for name in list(os.environ):
        if name.startswith("MUSTER_") or name == "KUBERNETES_SERVICE_HOST":
            monkeypatch.delenv(name)


def words(*args: str, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(cli, list(args), env=env)


def process(*args: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MUSTER_", "KUBE"))} | (
        env or {}
    )
    command = [sys.executable, str(SUPERVISOR), *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=50, env=clean, check=False)


# --- the words --------------------------------------------------------------------------------------------------------
def test_version_names_what_a_bug_report_needs() -> None:
    result = words("version")

    assert result.exit_code == 0
    assert re.fullmatch(
        rf"muster {actors.__version__} \(python \d.*, pykka 4.*, kubernetes .*, urllib3 .*\)\n", result.output
    )


def test_version_as_json() -> None:
    assert json.loads(words("version", "--json").output)["muster"] == actors.__version__


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_shows_the_words_and_the_exit_codes(flag: str) -> None:
    result = words(flag)

    assert result.exit_code == 0
    for word in ("run", "demo", "check", "config", "version"):
        assert re.search(rf"^  {word} ", result.output, re.MULTILINE), word
    for code in ExitCode:
        assert re.search(rf"^ +{code.value}  ", result.output, re.MULTILINE), code


@pytest.mark.parametrize("command", ["run", "check", "config"])
def test_every_setting_is_a_flag_with_its_default_and_variable(command: str) -> None:
    shown = " ".join(words(command, "--help").output.split())

    for each in TABLE:
        assert f"{each.flag} " in shown
        assert f"env: {each.env}]" in shown.replace("- ", "-")


def test_without_a_word_the_help_is_shown() -> None:
    result = words()

    assert result.exit_code == 0
    assert result.output.startswith("Usage: ")


def test_without_a_word_in_a_pod_it_runs() -> None:
    """A Deployment without a command, or with an entrypoint only, does what it is there for."""
    result = words(env={"KUBERNETES_SERVICE_HOST": "10.0.0.1"})

    assert result.exit_code == 2
    assert "backend-url is not set" in result.output


def test_the_exit_code_of_run_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "run_operator", lambda loaded: int(ExitCode.ESCALATED))

    assert words("run", "--backend-url", "http://a").exit_code == 4


# --- refusals ---------------------------------------------------------------------------------------------------------
def test_a_setting_that_cannot_be_used_is_exit_2_and_one_line() -> None:
    result = words("run", "--quota", "ten", env={"MUSTER_IDLE": "x"})

    assert result.exit_code == 2
    first, second = result.output.splitlines()
    assert first.startswith("muster: quota (flag --quota): found 'ten', expected CALLS/DURATION such as 10/1s")
    assert second.startswith("muster: idle (MUSTER_IDLE): found 'x', expected a duration from 1s to 24h")


def test_run_without_a_backend_is_exit_2() -> None:
    result = words("run")

    assert result.exit_code == 2
    assert result.output.startswith("muster: backend-url is not set: give --backend-url URL, MUSTER_BACKEND_URL or")


def test_a_configuration_file_that_is_not_there_is_exit_2(tmp_path: Path) -> None:
    result = words("run", "--config", str(tmp_path / "none"))

    assert result.exit_code == 2
    assert f"{tmp_path}/none cannot be read" in result.output


@pytest.mark.parametrize(
    ("args", "told"),
    [(["chek"], "check"), (["run", "--qouta", "1/1s"], "--quota"), (["demoo"], "demo"), (["run", "extra"], "extra")],
)
def test_a_wrong_word_is_exit_2_and_the_nearest_is_named(args: list[str], told: str) -> None:
    result = words(*args)

    assert result.exit_code == 2
    assert told in result.output


# --- config -----------------------------------------------------------------------------------------------------------
def test_config_shows_what_is_in_force_and_from_where(tmp_path: Path) -> None:
    file = tmp_path / "muster.yaml"
    file.write_text("quota: 3/1m\n")

    result = words("config", "--config", str(file), "--workers", "4", "--format", "json", env={"MUSTER_IDLE": "1m"})

    found = json.loads(result.output)
    assert found["quota"] == {"value": "3/1m", "origin": f"{file}:1"}
    assert found["workers"] == {"value": "4", "origin": "flag --workers"}
    assert found["idle"] == {"value": "1m", "origin": "MUSTER_IDLE"}
    assert found["grace"] == {"value": "25s", "origin": "default"}


def test_config_as_text_is_a_line_for_each_setting() -> None:
    assert len(words("config").output.splitlines()) == len(TABLE)


@pytest.mark.parametrize(
    ("args", "value"),
    [
        ([], "true"),
        (["--repair-enabled"], "true"),
        (["--repair-enabled=false"], "false"),
        (["--repair-enabled", "false"], "false"),
    ],
)
def test_a_switch_may_stand_alone_or_with_its_value(args: list[str], value: str) -> None:
    assert json.loads(words("config", "--format", "json", *args).stdout)["repair-enabled"]["value"] == value


def test_doubtful_settings_are_noted_beside_the_output() -> None:
    result = words("config", "--format", "json", "--cold-start", "0s")

    assert "muster: note: cold-start 0s is shorter" in result.stderr
    json.loads(result.stdout)


# --- a process of its own ---------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def _entry_point() -> None:
    if not SUPERVISOR.exists():
        pytest.skip("supervisor.py is not beside these tests")


@pytest.mark.usefixtures("_entry_point")
def test_the_entry_point_is_the_command() -> None:
    done = process("version")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"muster {actors.__version__} (")


@pytest.mark.usefixtures("_entry_point")
@pytest.mark.parametrize(
    ("args", "env", "told"),
    [
        (["run"], {}, "backend-url is not set"),
        (["run"], {"MUSTER_QUOTA": "1"}, "quota (MUSTER_QUOTA): found '1', expected CALLS/DURATION"),
        (["run", "--backend-url", "http://a", "--kubeconfig", "/no/such/kubeconfig"], {}, "/no/such/kubeconfig"),
    ],
)
def test_what_no_retry_cures_is_exit_2_without_a_traceback(args: list[str], env: dict[str, str], told: str) -> None:
    done = process(*args, env=env)

    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert all(line.startswith("muster: ") for line in done.stderr.splitlines())


@pytest.mark.usefixtures("_entry_point")
def test_version_loads_neither_clients_nor_the_engine() -> None:
    """What a command does not need costs its user time, and the operator memory."""
    script = (
        "import sys\nsys.argv = ['muster', 'version']\n"
        "try:\n import actors.ops.cli as c; c.main()\nexcept SystemExit: pass\n"
        "print(sorted(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=50, cwd=ROOT, check=True
    )

    for name in ("kubernetes", "urllib3", "pykka", "prometheus_client", "rich", "yaml", "structlog"):
        assert f"'{name}'" not in done.stdout, name


def test_exit_codes_are_distinct_and_told() -> None:
    assert all(code.meaning for code in ExitCode)
    assert {ExitCode.SETTINGS.value, ExitCode.ESCALATED.value} == {2, 4}


def test_an_interrupt_while_a_word_is_imported_is_told_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C half a second after the start meets imports: nothing has begun, and nothing needs draining."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("importlib.import_module", interrupted)
    result = words("demo")

    assert (result.exit_code, result.stderr) == (130, "muster: interrupted\n")
