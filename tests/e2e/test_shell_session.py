"""The recorded session in docs/shell-session.md: it finds what it says that it finds, and can be had again."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("shell_session.py")
PAGE = Path(__file__).parents[2] / "docs" / "shell-session.md"


@pytest.fixture(scope="module")
def session() -> ModuleType:
    """The script that records it."""
    spec = importlib.util.spec_from_file_location("shell_session", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    sys.modules["shell_session"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_has_every_command_and_each_trouble_in_what_was_seen(session: Any) -> None:
    recorded = session.blocks(PAGE.read_text(encoding="utf-8"))

    assert [f"muster> {scene.types}" for scene in session.SCENES] == [each.splitlines()[0] for each in recorded]
    for scene, shown in zip(session.SCENES, recorded, strict=True):
        assert [pattern for pattern in scene.shows if not re.search(pattern, " ".join(shown.split()))] == []
    gates = re.findall(r"(?m)^CODE +(\S+)", "".join(recorded))
    assert {"wedged", "quarantined", "quota", "stream-quiet"} <= set(gates)


def test_the_page_names_nothing_of_the_machine_on_which_it_was_made() -> None:
    assert re.findall(r"(?:^|[\s\"'])/(?:tmp|home|root|usr|work)/\S*", PAGE.read_text(encoding="utf-8")) == []


@pytest.mark.long
def test_the_four_troubles_are_found_again(session: Any) -> None:
    """Make the page anew with: python tests/e2e/shell_session.py docs/shell-session.md"""
    assert session.skeleton(session.play()) == session.skeleton(PAGE.read_text(encoding="utf-8"))
