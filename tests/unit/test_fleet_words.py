"""``muster fleet``, and that nothing is begun with a file that is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from actors.edge.settings_load import Loaded
from actors.ops.cli import cli
from actors.ops.exit_codes import ExitCode

ROOT = Path(__file__).parents[2]
EVERYTHING = str(ROOT / "tests" / "fleets" / "everything.yaml")


def run(*words: str) -> tuple[int, str]:
    found = CliRunner().invoke(cli, list(words), env={"MUSTER_FLEET": ""})
    return found.exit_code, found.output


def test_a_fleet_is_told_for_people() -> None:
    code, text = run("fleet", EVERYTHING)

    assert code == ExitCode.OK
    assert text.startswith(
        "everything: Pool (pools.pools.example.com) of 6 child kinds\n  Node (nodes): healthy while Ready"
    )
    assert "heartbeats by Leases in kube-node-lease" in text
    assert run("fleet")[1].startswith("muster: Cluster (clusters.muster.dev) of 2 child kinds\n")


def test_its_shortest_form_is_a_fleet_too(tmp_path: Path) -> None:
    code, text = run("fleet", EVERYTHING, "--format", "yaml")
    (tmp_path / "again.yaml").write_text(text, encoding="utf-8")

    assert code == ExitCode.OK
    assert run("fleet", str(tmp_path / "again.yaml"), "--format", "yaml") == (ExitCode.OK, text)


def test_the_schema_is_printed_and_is_about_no_file() -> None:
    code, text = run("fleet", "--format", "schema")

    assert (code, json.loads(text)["title"]) == (ExitCode.OK, "Muster fleet")
    assert run("fleet", EVERYTHING, "--format", "schema")[0] == ExitCode.SETTINGS


@pytest.mark.parametrize("word", ["run", "check", "plan", "config", "fleet"])
def test_a_wrong_file_ends_each_word_before_it_begins(
    word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a connection, not a port, not a log line."""

    def begin(*_: object, **__: object) -> None:
        raise AssertionError("begun")

    monkeypatch.setattr("actors.edge.kube.KubeClient.__init__", begin)
    monkeypatch.setattr("actors.ops.logs.Logs.start", begin)
    root = yaml.safe_load(Path(EVERYTHING).read_text(encoding="utf-8"))
    root["children"][0]["health"]["conditon"] = root["children"][0]["health"].pop("condition")
    del root["name"]
    file = tmp_path / "fleet.yaml"
    file.write_text(yaml.safe_dump(root, sort_keys=False), encoding="utf-8")

    code, text = run(word, *([str(file)] if word == "fleet" else ["--fleet", str(file), "--backend-url", "http://b"]))

    assert code == ExitCode.SETTINGS
    assert f"{file}:1: found no name, expected it: a name of lower case letters, digits and -" in text
    assert "children[0].health.conditon: there is no such field: did you mean condition?" in text


def test_the_fleet_in_force_is_the_one_that_was_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """check and run get it with the settings."""
    seen: list[str] = []

    def see(result: Any) -> Callable[[Loaded], Any]:
        def seen_with(loaded: Loaded) -> Any:
            seen.append(loaded.fleet.name)
            return result

        return seen_with

    monkeypatch.setattr("actors.ops.run.run_operator", see(0))
    monkeypatch.setattr("actors.ops.check.checks", see([]))

    run("run", "--fleet", EVERYTHING)
    run("check", "--fleet", EVERYTHING)
    run("check")

    assert seen == ["everything", "everything", "muster"]
