"""``tap``: what it shows, that it ends by itself, and that nothing of it stays."""

from __future__ import annotations

from typing import Any

import pytest

from actors.actor import Cell
from actors.ops.inspect import tapping
from actors.ops.inspect.commands import perform
from actors.ops.inspect.registry import Caller, CommandError


def tap(operator: Any, line: str) -> Any:
    made = perform(operator.look, line.split(), Caller(uid=1, pid=1))
    assert not hasattr(made, "value")
    return made


PLAIN = Cell._handle


def tapped(operator: Any) -> set[str]:
    return {name for name, cell in operator.look.cells() if id(cell) in tapping._taps}


def test_messages_are_shown_with_what_they_are_about_and_handled_all_the_same(operator: Any) -> None:
    made = tap(operator, "tap gateway")
    operator.fleet.report("c0-n1", False)
    operator.fleet.run(1.0)
    lines = made.take()

    assert [each["message"] for each in lines] == ["RepairsWanted", "DispatchDue", "CallEnded"]
    assert {each["actor"] for each in lines} == {"gateway"}
    assert "parent=default/c0" in lines[0]["about"]
    assert "items=1" in lines[0]["about"]
    assert operator.fleet.repaired() == ["c0-n1"]
    assert made.close() == {"seen": 3, "shown": 3, "lost": 0}


def test_nothing_of_it_stays(operator: Any) -> None:
    first, second = tap(operator, "tap"), tap(operator, "tap gateway")
    assert tapped(operator) == {name for name, _ in operator.look.cells()}
    assert Cell._handle is not PLAIN

    first.close()
    assert tapped(operator) == {"gateway"}

    second.close()
    assert Cell._handle is PLAIN
    assert tapping._taps == {}


def test_each_of_two_taps_gets_its_own(operator: Any) -> None:
    every, some = tap(operator, "tap"), tap(operator, "tap gateway --message RepairsWanted")
    operator.fleet.report("c0-n1", False)
    operator.fleet.run(1.0)

    assert [each["message"] for each in some.take()] == ["RepairsWanted"]
    assert {"gateway", "status", "cluster/default/c0"} <= {each["actor"] for each in every.take()}
    assert some.close() == {"seen": 1, "shown": 1, "lost": 0}
    assert every.close()["lost"] == 0


def test_it_ends_by_its_count(operator: Any) -> None:
    made = tap(operator, "tap --max 3")
    operator.fleet.report("c0-n1", False)
    operator.fleet.run(2.0)
    lines = made.take()

    assert len(lines) == 3
    assert made.over
    assert Cell._handle is PLAIN


def test_it_ends_by_its_time(operator: Any) -> None:
    made = tap(operator, "tap --for 5s")
    operator.fleet.run(4.0)
    made.take()
    assert not made.over

    operator.fleet.run(2.0)
    made.take()

    assert made.over
    assert Cell._handle is PLAIN


def test_it_filters_by_message_and_by_actor(operator: Any) -> None:
    made = tap(operator, "tap cluster/*/c? --message Objects")
    operator.fleet.report("c0-n1", False)
    operator.fleet.report("c1-n1", False)
    operator.fleet.run(1.0)

    assert {(each["actor"], each["message"]) for each in made.take()} == {
        ("cluster/default/c0", "Objects"), ("cluster/default/c1", "Objects"),
    }  # fmt: skip
    made.close()


def test_a_reader_that_is_too_slow_loses_lines_and_the_actors_nothing(
    operator: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tapping, "QUEUE_MAX", 2)
    made = tap(operator, "tap")
    operator.fleet.report("c0-n1", False)
    operator.fleet.run(2.0)

    assert len(made.take()) == 2
    last = made.close()
    assert last["lost"] == last["seen"] - 2 > 0
    assert operator.fleet.repaired() == ["c0-n1"]


def test_no_more_than_the_rate_is_shown_in_a_second(operator: Any) -> None:
    made = tap(operator, "tap --rate 1")
    operator.fleet.report("c0-n1", False)
    operator.fleet.run(3.0)
    lines = made.take()
    last = made.close()

    assert 1 <= len(lines) <= 4
    assert last["lost"] == last["seen"] - len(lines) > 0


def test_actors_that_are_started_meanwhile_are_tapped_too(operator: Any) -> None:
    made = tap(operator, "tap")
    operator.fleet.cluster("new")
    operator.fleet.run(2.0)
    made.take()
    operator.fleet.node("new-n0", "new")
    operator.fleet.run(2.0)

    assert "cluster/default/new" in {each["actor"] for each in made.take()}
    made.close()


def test_a_pattern_that_fits_nobody_is_refused(operator: Any) -> None:
    with pytest.raises(CommandError, match="no actor is called like 'nobody'"):
        tap(operator, "tap nobody")
    assert Cell._handle is PLAIN
