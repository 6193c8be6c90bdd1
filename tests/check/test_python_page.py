"""The examples of docs/python.md: they run, mypy finds nothing in them, and what the page says of them is so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import attrs
import pytest
from mypy import api

import actors.fleet
from actors.core.errors import SettingsError
from actors.core.own import Child, Children, Parent, Plan
from actors.edge.fleet_file import parse_fleet
from actors.edge.fleet_python import fleet_of

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_the_first_example_is_the_file_that_it_says_it_is(tmp_path: Path) -> None:
    file, page = tmp_path / "nodes.py", (ROOT / "docs" / "fleets.md").read_text(encoding="utf-8")
    file.write_text(BLOCKS[0], encoding="utf-8")
    (shown,) = [each for each in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "name: nodes\n" in each]

    assert fleet_of(f"{file}:nodes").fleet == parse_fleet(shown).fleet


def test_the_others_run_one_after_the_other() -> None:
    names: dict[str, Any] = {"__name__": "page"}
    for block in BLOCKS[1:]:
        exec(compile(block, "docs/python.md", "exec", dont_inherit=True), names)

    assert names["world"].calls == 2


def test_mypy_finds_nothing_in_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, block in enumerate((BLOCKS[0], "\n".join(BLOCKS[1:]))):
        (tmp_path / f"block_{number}.py").write_text(block, encoding="utf-8")
    home = Path(actors.__file__).parents[1]
    if home.name != "site-packages":  # where it is installed mypy finds it, and wants to hear nothing of the place
        monkeypatch.setenv("MYPYPATH", str(home))
    out, trouble, code = api.run(["--strict", "--config-file=", "--follow-imports=silent", str(tmp_path)])

    assert (trouble, code) == ("", 0), out


def test_the_errors_on_the_page_are_those_that_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = re.findall(r"\n```\n(fleet .*?)```", PAGE, re.DOTALL)[0].splitlines()
    told: list[str] = []
    for name, old, new in (
        ("node", "", ""),
        ("nodes", '[label("pools.example.com/pool")]', "[]"),
        ("nodes", '"heartbeatTimeout": "40s"', '"quota": "ten"'),
    ):
        Path("nodes.py").write_text(BLOCKS[0].replace(old, new), encoding="utf-8")
        with pytest.raises(SettingsError) as caught:
            fleet_of(f"nodes.py:{name}")
        told.append(str(caught.value))

    assert told == shown


def test_every_public_word_is_on_the_page() -> None:
    types = {
        "ChildKind",
        "FleetDefinition",
        "FleetSettings",
        "Health",
        "Keep",
        "KindRef",
        "Lease",
        "Mapping",
        "MUSTER_FLEET",
    }
    others = {"ParentKind", "SettingsError", "StatusNames"}
    words = set(re.findall(r"\w+", PAGE))

    assert set(actors.fleet.__all__) - words - types - others == set()


@pytest.mark.parametrize("view", [Parent, Children, Child])
def test_what_a_view_has_is_on_the_page_and_what_is_there_it_has(view: type) -> None:
    there = {name for name in dir(view) if not name.startswith("_")}
    section = PAGE[PAGE.index("**What it gets**") : PAGE.index("`Fields` are what is kept")]
    row = next(each for each in section.splitlines() if each.startswith(f"| {ROWS[view]} |"))

    assert there - {"of"} == set(re.findall(r"`(\w+)`", row.partition(ROWS[view])[2])) - {"of"}


ROWS: dict[type, str] = {Parent: "`parent`", Children: "`children`", Child: "a child"}


def test_what_a_plan_may_say_is_on_the_page() -> None:
    for each in attrs.fields(Plan):
        assert f"| `{each.name}=` |" in PAGE
