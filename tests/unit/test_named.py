"""Python by its name in a setting: what was not found, the nearest name, and where somebody's own code failed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from actors.core.builtin import MUSTER_FLEET
from actors.core.errors import SettingsError
from actors.edge.backends import backend_of
from actors.edge.fleet_python import fleet_of
from actors.edge.named import is_named, named
from actors.edge.settings import Settings

POOLS = """
from actors.fleet import child_kind, condition, fleet, label, parent_kind

machine = child_kind("x.io/v1", "Machine", parent=[label("pool")], health=condition("Ready"))
pools = fleet("pools", parent_kind("x.io/v1", "Pool"), [machine])
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of one's own, from which the command is called. Modules and the path are put back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "modules", {**sys.modules})
    (tmp_path / "pools.py").write_text(POOLS, encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "yes"),
    [
        ("pools:pools", True), ("a.b.c:d", True), ("pools.py:pools", True), ("/x/y z/pools.py:p", True),
        ("fleet.yaml", False), ("C:/fleet.yaml", False), ("pools.py", False), ("pools:", False), ("a-b:c", False),
    ],
)  # fmt: skip
def test_python_is_known_by_its_looks(text: str, yes: bool) -> None:
    assert is_named(text) is yes


def test_a_fleet_is_found_by_its_file_and_by_its_module(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    by_file = fleet_of("pools.py:pools").fleet
    monkeypatch.syspath_prepend(str(tmp_path))

    assert by_file.name == "pools"
    assert fleet_of("pools:pools").fleet == by_file


def test_a_file_may_import_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "own.py").write_text("from neighbour import X as x\n", encoding="utf-8")
    (tmp_path / "mine" / "neighbour.py").write_text("X = 3\n", encoding="utf-8")

    assert named("fleet", "mine/own.py:x") == 3


@pytest.mark.parametrize(
    ("text", "file", "says"),
    [
        ("pool.py:pools", "", "there is no file pool.py: did you mean pools.py?"),
        ("pools.py:pool", "", "there is no pool in pools.py: did you mean pools?"),
        ("pools.py", "", "found a file of Python, expected pools.py:NAME"),
        ("pools.py:machine", "", "found a ChildKind, expected a fleet, as actors.fleet.fleet(…) makes it"),
        ("nowhere_at_all:pools", "", "there is no module nowhere_at_all: name its file instead (path/to/file.py:NAME)"),
        ("actors.flete:pools", "", "there is no module actors.flete: did you mean fleet?"),
        ("own.py:x", "import nowhere_at_all", "it imports nowhere_at_all, which is not installed (own.py:1)"),
        ("own.py:x", "x = (", "it is no Python: own.py:1: "),
        ("own.py:x", "\nx = 1 / 0", "it cannot be loaded: ZeroDivisionError: division by zero (own.py:2)"),
        ("own.py:x", POOLS.replace("health=", "helth="), "argument 'helth' (own.py:4): did you mean health?"),
        ("own.py:x", "x = dict(1)", "it cannot be loaded: TypeError: 'int' object is not iterable (own.py:1)"),
        ("own.py:x", POOLS.replace('label("pool")', ""),
         "own.py:x: fleet pools: children[0].parent: found no way to find a parent"),
        ("own.py:pools", POOLS.replace('"Pool"', '"pool"'),
         "own.py:pools: parent.kind: found 'pool', expected a kind in CamelCase"),
    ],
)  # fmt: skip
def test_what_cannot_be_found_or_run_is_named_with_its_cure(text: str, file: str, says: str) -> None:
    if file:
        Path("own.py").write_text(file, encoding="utf-8")

    with pytest.raises(SettingsError) as caught:
        fleet_of(text)

    said = str(caught.value).replace(f"{Path.cwd()}/", "")
    assert said.startswith(f"fleet {text}: ")
    assert says in said


def test_a_file_that_fails_leaves_no_half_of_itself() -> None:
    Path("own.py").write_text("1 / 0", encoding="utf-8")
    with pytest.raises(SettingsError):
        named("fleet", "own.py:x")

    assert "own" not in sys.modules


def test_an_adapter_is_named_in_the_same_words() -> None:
    with pytest.raises(
        SettingsError, match=r"^backend pools.py:pool: there is no pool in pools.py: did you mean pools\?$"
    ):
        backend_of(Settings(backend="pools.py:pool"), MUSTER_FLEET)
