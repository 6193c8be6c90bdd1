"""What is installed: the wheel holds this project and nothing else, and a stranger of the same name is recognised."""

from __future__ import annotations

import ast
import configparser
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest

import actors
from actors.sim.crds import crd_documents

ROOT = Path(__file__).parents[2]
SOURCES = ("actors", "manifests", "supervisor.py", "setup.cfg", "pyproject.toml", "LICENSE", "README.md")


def metadata() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy: a build leaves a folder behind, and what lies in that goes into the next wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    build = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"
    done = run(sys.executable, "-c", build, str(folder / "dist"), cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "dist" / done.stdout.splitlines()[-1]


def run(*command: str, cwd: Path, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MUSTER_"))}
    if path is not None:
        env["PYTHONPATH"] = str(path)
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=60, check=False)


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_the_package_the_entry_point_and_nothing_else(wheel: Path) -> None:
    """A stray tests/ or bench/ would land in everybody's site-packages."""
    version = metadata()["metadata"]["version"]

    assert {name.partition("/")[0] for name in names_in(wheel)} == {
        "actors",
        "supervisor.py",
        f"muster_operator-{version}.dist-info",
    }


def test_the_wheel_holds_every_module_of_the_checkout(wheel: Path) -> None:
    """Packages are listed one by one in setup.cfg, so a new folder can be forgotten."""
    expected = {str(file.relative_to(ROOT)) for file in (ROOT / "actors").rglob("*.py")}

    assert expected == {name for name in names_in(wheel) if name.startswith("actors/") and name.endswith(".py")}
    assert "actors/py.typed" in names_in(wheel)


def test_the_wheel_carries_the_definitions_that_users_apply(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    ask = "from actors.sim import crds; print(crds.crd_folder()); print(len(crds.crd_documents()))"
    done = run(sys.executable, "-c", ask, cwd=tmp_path, path=tmp_path)

    assert done.stdout.splitlines() == [str(tmp_path / "actors" / "crds"), "3"], done.stderr
    for file in (ROOT / "manifests" / "crd").glob("*.yaml"):
        assert (tmp_path / "actors" / "crds" / file.name).read_bytes() == file.read_bytes()


def test_the_package_under_test_has_no_leftovers() -> None:
    """A module that was deleted lives on in build/ and from there in the next wheel; the cure is to remove build/."""
    package = Path(actors.__file__).parent
    here = {str(file.relative_to(package)) for file in package.rglob("*.py")}

    assert here == {str(file.relative_to(ROOT / "actors")) for file in (ROOT / "actors").rglob("*.py")}
    assert len(crd_documents()) == 3


def test_the_guard_names_a_foreign_package_and_the_cure(tmp_path: Path) -> None:
    shutil.copy(ROOT / "supervisor.py", tmp_path)
    (tmp_path / "actors").mkdir()
    (tmp_path / "actors" / "__init__.py").write_text("__version__ = '0.5.1'\n", encoding="utf-8")
    done = run(sys.executable, "supervisor.py", "version", cwd=tmp_path)

    assert done.returncode == 78
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert str(tmp_path / "actors" / "__init__.py") in line
    assert "environment of its own" in line


def test_the_guard_names_an_empty_folder_of_that_name(tmp_path: Path) -> None:
    """A folder without __init__.py imports, too, as a namespace package."""
    shutil.copy(ROOT / "supervisor.py", tmp_path)
    (tmp_path / "actors").mkdir()
    done = run(sys.executable, "-S", "supervisor.py", cwd=tmp_path)

    assert done.returncode == 78
    assert str(tmp_path / "actors") in done.stderr


def test_the_guard_says_so_when_there_is_no_package(tmp_path: Path) -> None:
    shutil.copy(ROOT / "supervisor.py", tmp_path)
    done = run(sys.executable, "-S", "supervisor.py", cwd=tmp_path)

    assert done.returncode == 78
    assert "No module named 'actors'" in done.stderr


def test_the_command_runs_beside_a_foreign_supervisor(wheel: Path, tmp_path: Path) -> None:
    """A package wins over a module in the same folder: the command must not go through our ``supervisor``."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    (tmp_path / "supervisor").mkdir()
    (tmp_path / "supervisor" / "__init__.py").write_text("raise SystemExit('the foreign one')\n", encoding="utf-8")
    (entry,) = metadata()["options.entry_points"]["console_scripts"].strip().splitlines()
    module, _, function = entry.partition("=")[2].strip().partition(":")
    start = f"import sys; sys.argv[0] = 'muster'; from {module} import {function}; sys.exit({function}())"
    done = run(sys.executable, "-c", start, "version", cwd=tmp_path, path=tmp_path)

    assert done.returncode == 0, done.stderr
    assert actors.__version__ in done.stdout


def test_one_version_everywhere() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"(?m)^## (\S+)", changelog)

    assert newest
    assert {metadata()["metadata"]["version"], actors.__version__, newest[1]} == {actors.__version__}


def test_the_marker_is_what_the_entry_point_looks_for() -> None:
    assert f'"{actors.MUSTER_MARKER}"' in (ROOT / "supervisor.py").read_text(encoding="utf-8")
    assert metadata()["metadata"]["name"] == actors.MUSTER_MARKER


def test_every_third_party_import_is_a_requirement() -> None:
    """What a package happens to bring along today it need not bring tomorrow."""
    listed = metadata()["options"]["install_requires"].strip().splitlines()
    required = {re.split(r"[<>=!~\[ ]", line)[0].lower().replace("-", "_") for line in listed}
    optional = {"actors/edge/ec2.py": {"boto3", "botocore"}}  # of an extra
    modules = {"pyyaml": "yaml"}
    imported: set[str] = set()
    for file in (ROOT / "actors").rglob("*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        extra = optional.get(file.relative_to(ROOT).as_posix(), set())

        assert imports(tree.body) & extra == set(), f"{file}: import {extra} where they are used"
        imported |= imports(ast.walk(tree)) - extra
    imported -= sys.stdlib_module_names

    assert imported <= {modules.get(name, name) for name in required}


def imports(nodes: Iterable[ast.AST]) -> set[str]:
    """Top names of what those very nodes import."""
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {each.name.partition(".")[0] for each in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            found.add(node.module.partition(".")[0])
    return found
