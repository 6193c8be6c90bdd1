"""Answers for people: any JSON value, at any width, with nothing in it that could move a cursor."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from actors.ops.inspect.drawing import cell, draw, duration, heading, plain
from actors.ops.inspect.working import spark


def drawn(answer: Any, width: int) -> list[str]:
    out = io.StringIO()
    draw(Console(file=out, width=width, highlight=False), answer)
    return out.getvalue().splitlines()


ROWS = [
    {"actor": f"cluster/default/c{n}", "state": "running", "mailbox": n, "per_second": 1.5, "last_error": ""}
    for n in range(3)
]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_table_is_as_wide_as_the_terminal_and_no_wider(width: int) -> None:
    lines = drawn({"sums": {"actors": 3}, "top": ROWS}, width)

    assert max(map(len, lines)) <= width
    assert any("cluster/default/c2" in line.replace(" ", "") or "c2" in line for line in lines)
    assert "LAST ERROR" not in "\n".join(lines)  # nothing stands there


def test_a_table_that_is_too_wide_becomes_blocks() -> None:
    row = {f"column_{n}": f"value {n}" for n in range(20)}

    wide, narrow = drawn([row], 400), drawn([row], 80)

    assert len([line for line in wide if "COLUMN 0" in line and "COLUMN 19" in line]) == 1
    assert len([line for line in narrow if line.startswith("COLUMN")]) == 20


def test_plain_text_cuts_nothing_off() -> None:
    text = plain({"rows": [{"name": "x" * 500, "at": 0.0, "for_s": 90}], "note": "n"})

    assert "x" * 500 in text
    assert "1970-01-01 00:00:00" in text
    assert text.startswith("NOTE  n")
    assert plain({}) == plain([]) == "nothing\n"


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("for_s", 0.12345, "0.123 s"), ("for_s", 99.9, "99.9 s"), ("for_s", 119, "119 s"), ("for_s", 150, "2.5 min"),
        ("for_s", 7200, "2.0 h"), ("for_s", 200_000, "2.3 d"), ("due_s", -3.0, "-3 s"), ("ok", True, "yes"),
        ("ok", False, "NO"), ("count", 3, "3"), ("x", None, ""), ("rate", 1.50, "1.5"),
        ("sent_at", 1_750_000_000.0, "2025-06-15 15:06:40"),
    ],
)  # fmt: skip
def test_names_say_how_a_value_is_shown(name: str, value: Any, shown: str) -> None:
    assert cell(name, value) == shown


def test_names_of_ours_are_headings_and_those_of_things_stay() -> None:
    assert [heading(name) for name in ("last_error", "for_s", "sent_at", "_wake_s", "default/c0", "ComputeNode")] == [
        "LAST ERROR", "FOR", "SENT", "WAKE", "default/c0", "ComputeNode",
    ]  # fmt: skip


def test_nothing_that_comes_from_others_moves_a_cursor() -> None:
    hostile = {"error": "a\x1b[2Jb", "rows": [{"name": "\x1b]0;title\x07"}], "stack": ["x\x1b[1m"]}

    assert "\x1b" not in plain(hostile)
    assert "\x1b" not in "\n".join(drawn(hostile, 80))
    assert "[red]" in "\n".join(drawn([{"name": "[red]x"}], 80))  # no markup is read


def test_lists_of_things_with_lists_in_them_are_drawn_one_after_the_other() -> None:
    text = plain({"threads": [{"thread": "a", "stack": ["one", "two"]}, {"thread": "b", "stack": []}]})

    assert text == "THREAD  a\n\nSTACK\none\ntwo\n\nTHREAD  b\n"


def test_durations_have_three_figures() -> None:
    assert [duration(seconds) for seconds in (0, 0.00123, 59.96, 3600.0)] == ["0 s", "0.00123 s", "60 s", "60.0 min"]


def test_a_sparkline_shows_something_wherever_there_was_something() -> None:
    assert spark([0, 1, 50, 100]) == " ▁▄█"
    assert spark([0, 0]) == "  "
