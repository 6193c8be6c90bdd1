"""mypy --strict on fleets as people write them: it finds each planted mistake, and nothing in a good one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from mypy import api

SNIPPETS = Path(__file__).parents[1] / "typing"
_EXPECTED = re.compile(r"# mypy: ([a-z-]+(?:, [a-z-]+)*)$")
_FOUND = re.compile(r"bad\.py:(\d+): error: .*\[([a-z-]+)\]$")


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What it says of both, in one run, by no configuration but its own strictest."""
    cache = tmp_path_factory.mktemp("mypy")
    files = [str(SNIPPETS / name) for name in ("good.py", "bad.py")]
    out, trouble, _ = api.run(["--strict", "--config-file=", f"--cache-dir={cache}", *files])
    assert trouble == ""
    return out.splitlines()


def test_nothing_is_found_in_a_good_fleet(said: list[str]) -> None:
    assert [line for line in said if "bad.py" not in line and not line.startswith("Found ")] == []


def test_each_mistake_is_found_at_its_line(said: list[str]) -> None:
    lines = (SNIPPETS / "bad.py").read_text(encoding="utf-8").splitlines()
    planted = {
        (number, code)
        for number, line in enumerate(lines, 1)
        if (match := _EXPECTED.search(line))
        for code in match[1].split(", ")
    }
    found = {(int(match[1]), match[2]) for line in said if (match := _FOUND.search(line))}

    assert len(planted) > 20
    assert found == planted


def test_a_wrong_word_is_answered_with_the_nearest(said: list[str]) -> None:
    told = "\n".join(said)

    for word in ("health", "operation", "zone", "healthy"):
        assert re.search(f'(did you mean|maybe) "{word}"', told), word
    assert 'Extra key "quotas" for TypedDict "FleetSettings"' in told
