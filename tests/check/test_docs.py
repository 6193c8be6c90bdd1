"""What the documents say is so: messages, files, links, commands, settings, exit codes, versions."""

from __future__ import annotations

import configparser
import re
from collections.abc import Iterator
from enum import Enum
from pathlib import Path

import attrs
import click
import pytest

import actors
from actors import messages
from actors.core.ports import Objects, StreamChanged
from actors.edge.settings import TABLE
from actors.ops.cli import cli
from actors.ops.exit_codes import ExitCode

ROOT = Path(__file__).parents[2]
ADRS = sorted((ROOT / "docs" / "adr").glob("*.md"))
PAGES = [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")] + ADRS
TEST = "test"  # "./run test" is tox's, every other word is the command's


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def section(page: str, heading: str) -> str:
    """What stands under that heading, up to the next of its level."""
    found = re.search(rf"(?ms)^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", page)
    assert found, f"there is no section {heading!r}"
    return found[1]


def rows(part: str) -> Iterator[list[str]]:
    """The cells of each row of each table."""
    for line in part.splitlines():
        if line.startswith("|") and not set(line) <= set("|- "):
            yield [cell.strip() for cell in line.strip("|").split("|")]


def message_classes() -> dict[str, type]:
    """Every message: what ``messages`` defines, and the mail that comes through a port."""
    own = {name: each for name, each in vars(messages).items() if isinstance(each, type) and not name.startswith("_")}
    own = {name: each for name, each in own.items() if each.__module__ == messages.__name__ and attrs.has(each)}
    return own | {each.__name__: each for each in (Objects, StreamChanged)}


# --- ARCHITECTURE.md --------------------------------------------------------------------------------------------------
def test_the_architecture_names_every_message_and_no_other() -> None:
    table = [cells[0].strip("`") for cells in rows(section(text("ARCHITECTURE.md"), "Messages"))][1:]

    assert sorted(message_classes()) == sorted(table)


def test_every_message_is_exported_and_says_who_sends_it_to_whom() -> None:
    classes = message_classes()
    exported = {name for name in messages.__all__ if not issubclass(getattr(messages, name), Enum)}

    assert set(classes) == exported
    assert [name for name, each in classes.items() if "→" not in (each.__doc__ or "")] == []


def test_the_lanes_of_the_architecture_are_the_messages_own() -> None:
    table = {cells[0].strip("`"): cells[2] for cells in rows(section(text("ARCHITECTURE.md"), "Messages"))}
    control = {name for name, each in message_classes().items() if getattr(each, "lane", None) is messages.Lane.CONTROL}

    assert control == {name for name, lane in table.items() if lane == "control"}
    assert {name for name, lane in table.items() if lane == "object"} == {"Objects"}


def python_names(page: str) -> set[str]:
    return set(re.findall(r"`((?:[\w]+/)*\w+\.py)`", page))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.name))
def test_every_python_file_named_exists(page: Path) -> None:
    """By its path from the top or from ``actors/``, or by its bare name in one of the folders there."""
    folders = [ROOT, ROOT / "actors", *(each for each in (ROOT / "actors").rglob("*") if each.is_dir())]
    names = python_names(page.read_text(encoding="utf-8"))

    assert {name for name in names if not any((folder / name).is_file() for folder in folders)} == set()


def test_the_code_map_has_every_file_of_the_path_and_of_core() -> None:
    """A newcomer reads the map first; a file that is not on it is not found."""
    named = {Path(name).name for name in python_names(section(text("ARCHITECTURE.md"), "Code map, in reading order"))}
    folders = (ROOT / "actors", ROOT / "actors" / "core", ROOT / "actors" / "edge")
    there = {file.name for folder in folders for file in folder.glob("*.py")} - {"__init__.py"}

    assert there - named == set()


# --- links ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.name))
def test_relative_links_resolve(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s#]+)[^)]*\)", page.read_text(encoding="utf-8"))
    relative = [link for link in links if "://" not in link]

    assert [link for link in relative if not (page.parent / link).exists()] == []


def test_decisions_are_numbered_without_gaps() -> None:
    numbers = [int(page.name[:4]) for page in ADRS]
    titles = [int(page.read_text(encoding="utf-8").split(".", 1)[0].lstrip("# ")) for page in ADRS]

    assert list(range(1, len(ADRS) + 1)) == numbers == titles


@pytest.mark.parametrize("page", ADRS, ids=lambda page: str(page.name))
def test_a_decision_has_its_four_parts(page: Path) -> None:
    headings = re.findall(r"(?m)^## (.+)$", page.read_text(encoding="utf-8"))

    assert headings == ["Context", "Decision", "Consequences", "Rejected"]


# --- README.md --------------------------------------------------------------------------------------------------------
def test_the_commands_that_documents_name_exist() -> None:
    pattern = r"(?m)(?:^|`)\s*(?:\./run|muster|python supervisor\.py) ([a-z]+)\b"
    named = {word for page in PAGES[:3] for word in re.findall(pattern, page.read_text(encoding="utf-8"))}
    words = set(cli.list_commands(click.Context(cli)))

    assert {"demo", "run", "check", "config", "version", TEST} <= named | {"run"}
    assert named - words == {TEST}


def test_the_readme_gives_settings_their_own_defaults() -> None:
    table = {each.flag: each for each in TABLE}
    found = 0
    for cells in rows(section(text("README.md"), "A fast tour")):
        flags = re.findall(r"`(--[a-z-]+)`", cells[0])
        defaults = re.findall(r"`([^`]+)`", cells[1]) if len(cells) > 1 else []
        for flag, default in zip(flags, defaults or [""] * len(flags), strict=True):
            found += 1

            assert default == (table[flag].default or ""), flag

    assert found >= 6


def test_the_flags_that_the_readme_names_exist() -> None:
    """The demo's own are its command's."""
    own = {option for name in ("check", "demo") for option in options(name)}
    named = set(re.findall(r"`(--[a-z][a-z-]+)", text("README.md")))

    assert named - {each.flag for each in TABLE} - own - {"--config"} == set()


def options(name: str) -> set[str]:
    command = cli.get_command(click.Context(cli), name)
    return {option for each in command.params for option in each.opts} if command is not None else set()


def test_the_readme_gives_the_exit_codes_their_own_meanings() -> None:
    table = {
        int(cells[0]): cells[1]
        for cells in rows(section(text("README.md"), "When things go wrong"))
        if cells[0].isdigit()
    }

    assert {code.value: code.meaning for code in ExitCode} == {
        number: meaning for number, meaning in table.items() if number in set(ExitCode)
    }
    assert set(table) - set(ExitCode) == {78}


# --- versions ---------------------------------------------------------------------------------------------------------
def test_the_newest_change_is_of_this_version() -> None:
    metadata = configparser.ConfigParser(interpolation=None)
    metadata.read(ROOT / "setup.cfg", encoding="utf-8")
    newest = re.search(r"(?m)^## (\d+\.\d+\.\d+)\b", text("CHANGELOG.md"))

    assert newest
    assert newest[1] == metadata["metadata"]["version"] == actors.__version__


# --- docs/shell.md ----------------------------------------------------------------------------------------------------
def test_the_shells_manual_gives_its_exit_codes() -> None:
    named = {
        int(cells[0]) for cells in rows(section(text("docs/shell.md"), "Answers for programs")) if cells[0].isdigit()
    }

    assert named == {0, 2, ExitCode.NO_OPERATOR, ExitCode.NOT_DONE, ExitCode.UNWELL}
