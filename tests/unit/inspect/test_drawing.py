"""Answers for people: any JSON value, at any width, with nothing in it that could move a cursor."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from actors.ops.inspect.drawing import cell, draw, duration, headed, heading, pair, plain
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
        ("sent_at", 1_750_000_000.0, "2025-06-15 15:06:40Z"),
    ],
)  # fmt: skip
def test_names_say_how_a_value_is_shown(name: str, value: Any, shown: str) -> None:
    assert cell(name, value) == shown


def test_names_of_ours_are_headings_and_those_of_things_stay() -> None:
    assert [heading(name) for name in ("last_error", "for_s", "sent_at", "_wake_s", "default/c0", "ComputeNode")] == [
        "LAST ERROR", "FOR", "SENT", "WAKE", "default/c0", "ComputeNode",
    ]  # fmt: skip


def test_what_is_held_and_for_how_long_have_headings_of_their_own() -> None:
    assert headed(["in_hand", "in_hand_s", "due_s"]) == [("IN HAND", "in_hand"), ("FOR", "in_hand_s"), ("DUE", "due_s")]


def test_nothing_that_comes_from_others_moves_a_cursor() -> None:
    hostile = {"error": "a\x1b[2Jb", "rows": [{"name": "\x1b]0;title\x07"}], "stack": ["x\x1b[1m"]}

    assert "\x1b" not in plain(hostile)
    assert "\x1b" not in "\n".join(drawn(hostile, 80))
    assert "[red]" in "\n".join(drawn([{"name": "[red]x"}], 80))  # no markup is read


def test_lists_of_things_with_lists_in_them_are_drawn_one_after_the_other() -> None:
    text = plain({"threads": [{"thread": "a", "stack": ["one", "two"]}, {"thread": "b", "stack": []}]})

    assert text == "THREAD  a\n\nSTACK\none\ntwo\n\nTHREAD  b\n"


@pytest.mark.parametrize("width", [80, 110])
def test_names_stay_whole_where_sentences_can_wrap(width: int) -> None:
    error = "ValueError: invalid literal for int() with base 10"
    row = {"count": 6, "actors": "cluster/default/payments", "error": error}
    text = "\n".join(drawn([row, row], width))

    assert text.count("cluster/default/payments") == 2
    assert all(word in text for word in error.split())


def test_a_key_may_be_folded_to_make_room() -> None:
    lines = drawn([{"name": "c0-n1", "key": "0123456789abcdef" * 2}] * 2, 40)

    assert lines[0].split() == ["NAME", "KEY"]
    assert max(map(len, lines)) <= 40


def test_a_table_that_is_too_wide_is_turned_on_its_side_where_that_fits() -> None:
    rows = [{f"column_{n}": f"{kind}-{n}" for n in range(20)} for kind in ("a", "b", "c")]
    lines = drawn(rows, 80)

    assert [line.split() for line in lines] == [["COLUMN", str(n), f"a-{n}", f"b-{n}", f"c-{n}"] for n in range(20)]


def test_dicts_that_are_alike_are_a_table_and_others_are_not() -> None:
    alike = {"pools": {"backend": {"threads": 1, "waiting": 0}, "status": {"threads": 4, "waiting": 2}}}

    assert plain(alike) == "POOLS\nNAME     THREADS  WAITING\nbackend  1        0\nstatus   4        2\n"
    assert plain({"some": {"a": {"x": 1}, "b": {"y": 1}}}).count("SOME › ") == 2


def test_a_part_that_only_repeats_what_stands_above_is_left_out() -> None:
    said = {"code": "quota", "text": "spent"}

    assert (
        plain({"parent": "a", **said, "counting": None, "repairs": said}) == "PARENT  a\nCODE    quota\nTEXT    spent\n"
    )
    assert "COUNTING" in plain({**said, "counting": {**said, "code": "debounce"}})


@pytest.mark.parametrize(("away_s", "told"), [(-90.0, "(90 s ago)"), (30.0, "(in 30 s)")])
def test_an_instant_says_how_far_away_it_is(away_s: float, told: str) -> None:
    assert pair("since_at", 1_750_000_000.0 + away_s, 1_750_000_000.0).endswith(told)
    assert pair("since_s", 5.0, 1_750_000_000.0) == "5 s"


def test_a_table_on_a_terminal_says_the_date_of_other_days_only() -> None:
    out = io.StringIO()
    draw(Console(file=out, width=80), [{"at": 1_750_000_000.0}, {"at": 0.0}], now_s=1_750_003_600.0)

    assert [line.strip() for line in out.getvalue().splitlines()] == ["AT", "15:06:40Z", "1970-01-01 00:00:00Z"]


def test_durations_have_three_figures() -> None:
    assert [duration(seconds) for seconds in (0, 0.00123, 59.96, 3600.0)] == ["0 s", "0.00123 s", "60 s", "60.0 min"]


def test_a_sparkline_shows_something_wherever_there_was_something() -> None:
    assert spark([0, 1, 50, 100]) == " ▁▄█"
    assert spark([0, 0]) == "  "
