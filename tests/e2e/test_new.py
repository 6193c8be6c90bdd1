"""``muster new NAME``: what it writes works at once, and it writes nothing over."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

import actors
from actors.core.errors import SettingsError
from actors.edge.fleet_python import fleet_of
from actors.edge.settings_load import load
from actors.ops.cli import cli
from actors.ops.manifests_words import manifests
from actors.ops.project import FILES, write_project

ROOT = str(Path(actors.__file__).parents[1])
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")} | {
    "PYTHONPATH": ROOT
}


def muster(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from actors.ops.cli import main; main()", *words]
    return subprocess.run(command, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=50, check=False)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("new")
    made = muster("new", "barn-2", cwd=folder)
    assert (made.returncode, made.stderr) == (0, "")
    assert "cd barn-2\n  pytest\n" in made.stdout
    return folder / "barn-2"


def test_it_writes_what_it_says_and_nothing_else(project: Path) -> None:
    assert {each.name for each in project.iterdir()} >= {*FILES, "manifests.yaml"}
    assert [each.name for each in project.parent.iterdir()] == ["barn-2"]
    assert not [each for each in project.iterdir() if each.is_file() and "@NAME@" in each.read_text(encoding="utf-8")]


def test_its_tests_pass_at_once(project: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"]
    found = subprocess.run(
        command, cwd=project, env=ENVIRONMENT, capture_output=True, text=True, timeout=50, check=False
    )

    assert found.returncode == 0, found.stdout
    assert " passed" in found.stdout


def test_its_fleet_is_right_and_its_manifests_are_of_that_fleet(project: Path) -> None:
    name = f"{project / 'fleet.py'}:FLEET"

    assert fleet_of(name).fleet.name == "barn-2"
    assert (project / "manifests.yaml").read_text(encoding="utf-8") == manifests(load({"fleet": name}), crds=True)
    component = yaml.safe_load((project / "kustomization.yaml").read_text(encoding="utf-8"))
    assert (component["kind"], component["resources"]) == ("Component", ["manifests.yaml"])


@pytest.mark.parametrize("name", ["Barn", "a/b", "-x", "", "x" * 41, "2x", "x-", "..", "a b"])
def test_a_bad_name_is_refused_and_nothing_is_written(name: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        write_project(name, tmp_path)

    told = f"found {name!r}, expected a name of at most 40 lower case letters, digits and -, which begins with a letter"
    assert told in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    found = muster("new", "taken", cwd=tmp_path)

    assert found.returncode == 2
    assert (
        found.stderr
        == "muster: new taken: there is something of that name here, and nothing is written over: take another\n"
    )
    assert [each.name for each in tmp_path.rglob("*")] == ["taken"]


def test_half_a_project_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FILES, "fleet.py", "FLEET = 1 / 0")

    with pytest.raises(SettingsError, match="ZeroDivisionError"):
        write_project("barn", tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_its_objects_are_a_fleet_on_the_demos_servers(project: Path) -> None:
    """The ill one is repaired by the embedded backend, and reports that it is well."""
    words = ("demo", "--fleet", "fleet.py:FLEET", "--objects", "objects.yaml", "--for", "3s", "--json")
    found = muster(*words, cwd=project)

    assert found.returncode == 0, found.stderr
    said = yaml.safe_load(found.stdout)
    (pool,) = said["parents"]
    assert (said["repairs"], pool["name"], pool["status"]["healthy"], pool["status"]["total"]) == (1, "blue", 4, 4)


@pytest.mark.parametrize(
    ("words", "text", "says"),
    [
        (("--objects", "x.yaml"), "", "--objects needs --fleet"),
        (("--fleet", "fleet.py:FLEET", "--nodes", "3"), "", "--nodes is about the built-in fleet's users"),
        (("--fleet", "fleet.py:FLEE"), "", "there is no FLEE in fleet.py: did you mean FLEET?"),
        (("--fleet", "fleet.py:FLEET", "--objects", "x.yaml"), "a: [", "--objects x.yaml: "),
        (("--fleet", "fleet.py:FLEET", "--objects", "x.yaml"), "kind: Machin\napiVersion: v1",
         "barn-2.example.com/v1 Machine, v1 Namespace: did you mean Machine?"),
        (("--fleet", "fleet.py:FLEET", "--objects", "x.yaml"), "kind: Pool\napiVersion: barn-2.example.com/v1",
         "document 1: found no metadata.name"),
        (("--fleet", "fleet.py:FLEET", "--objects", "x.yaml"),
         "{kind: Pool, apiVersion: barn-2.example.com/v1, metadata: {name: A}}", "--objects: Pool A: "),
    ],
)  # fmt: skip
def test_what_the_demo_cannot_do_is_said_and_ends_with_code_2(
    words: tuple[str, ...], text: str, says: str, project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(project / "fleet.py", tmp_path)
    Path("x.yaml").write_text(text, encoding="utf-8")
    monkeypatch.setattr(sys, "path", [*sys.path])
    found = CliRunner().invoke(cli, ["demo", *words, "--for", "2s"])

    assert found.exit_code == 2, found.output
    assert says in found.output


PODS = """
apiVersion: work.example.com/v1
kind: Task
metadata: {name: crunch, namespace: lab}
---
apiVersion: v1
kind: Pod
metadata: {name: p1, namespace: lab, labels: {work.example.com/task: crunch}}
status: {phase: Running}
---
apiVersion: v1
kind: Pod
metadata: {name: p2, namespace: lab, labels: {work.example.com/task: crunch}}
status: {phase: Failed}
"""


@pytest.mark.long
def test_a_fleet_of_a_file_and_of_kubernetes_own_kinds_runs_on_the_demos_servers(tmp_path: Path) -> None:
    """Pods are served as they come; nobody repairs them, so nothing is asked of the backend."""
    example = Path(__file__).parents[2] / "examples" / "pods" / "fleet.yaml"
    namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: lab}\n---"
    (tmp_path / "x.yaml").write_text(namespace + PODS, encoding="utf-8")
    found = muster("demo", "--fleet", str(example), "--objects", "x.yaml", "--for", "3s", "--json", cwd=tmp_path)

    assert found.returncode == 0, found.stderr
    said = yaml.safe_load(found.stdout)
    (task,) = said["parents"]
    assert (said["repairs"], task["namespace"], task["status"]["total"], task["status"]["healthy"]) == (0, "lab", 2, 1)
