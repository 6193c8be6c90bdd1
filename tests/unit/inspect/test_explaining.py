"""``why``, ``history``, ``plan`` and ``shadow`` over a simulated operator."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from actors.core.model import ParentKey
from actors.core.quantity import Quota
from actors.core.quota import Ledger
from actors.core.whylog import ENTRIES_MAX, TOLD
from actors.insight.collector import Collector, _cold_until_s
from actors.ops.inspect.page import PARTS, renewed
from actors.ops.inspect.registry import CommandError

KEY = ParentKey("default", "c0")


def test_a_parent_that_is_right_is_converged(operator: Any) -> None:
    told = operator.do("why c0")

    assert ("converged", None, None) == (told["code"], told["counting"], told["repairs"])
    assert {"Cluster", "ComputeNode", "StorageNode"} == {each["kind"] for each in told["news"]}


def test_a_change_is_seen_in_its_debounce_then_in_its_call(make_operator: Any) -> None:
    operator = make_operator(quota=Quota(1, 60.0), rtt_s=1.0)
    operator.fleet.report("c0-n0", False)
    operator.fleet.run(0.05)
    first = operator.do("why c0")
    operator.fleet.run(0.5)
    second = operator.do("why c0 c0-n0")

    assert "debounce" == first["code"] == first["counting"]["code"]
    assert 0.0 < first["until_at"] - operator.world.clock.wall() + 0.5 < 0.2
    assert "call-in-flight" == second["code"]
    assert second["since_at"] < operator.world.clock.wall() < second["until_at"]


def test_who_waits_for_the_quota_is_told_when_it_is_free(make_operator: Any) -> None:
    operator = make_operator(quota=Quota(1, 60.0), batch_max=1)
    for name in ("c0-n0", "c1-n0", "c2-n0"):
        operator.fleet.report(name, False)
        operator.fleet.run(3.0)
    told = {name: operator.do(f"why {name}") for name in ("c0", "c1", "c2")}

    assert ["cooldown", "quota", "quota"] == [told[name]["code"] for name in ("c0", "c1", "c2")]
    wall_s = operator.world.clock.wall()
    assert 45.0 < told["c1"]["until_at"] - wall_s < 60.0
    assert told["c1"]["expected_at"] <= told["c2"]["expected_at"]
    assert 55.0 < told["c2"]["expected_at"] - told["c1"]["expected_at"] < 65.0


def test_a_pause_by_command_is_a_gate(operator: Any) -> None:
    operator.change("pause c0 --for 10m")
    operator.fleet.report("c0-n0", False)
    operator.fleet.run(2.0)

    told = operator.do("why c0")
    assert "command-pause" == told["code"]
    assert told["counting"] is None
    assert 500.0 < told["until_at"] - operator.world.clock.wall() < 600.0


def test_a_child_that_is_not_there_and_one_that_is_well(operator: Any) -> None:
    assert "no-child" == operator.do("why c0 c1-n0")["code"]
    assert "converged" == operator.do("why c0 ComputeNode/c0-n0")["code"]
    with pytest.raises(CommandError, match="no parent"):
        operator.do("why nobody")


def test_the_history_tells_what_came_of_a_failure(operator: Any) -> None:
    operator.fleet.report("c0-n0", False)
    operator.fleet.run(2.0)
    answer = operator.do("history c0")
    told = [each["what"] for each in answer["history"]]
    assert set(answer["meanings"]) == set(told)

    for before, after in (
        ("LookDeferred", "Planned"),
        ("Planned", "CallSent"),
        ("CallSent", "CallAnswered"),
        ("CallAnswered", "RepairsAnswered"),
    ):
        assert told.index(before) < len(told) - 1 - told[::-1].index(after)
    assert "StatusWritten" in told
    assert set(told) <= {fact.__name__ for fact in TOLD}
    assert len(told) <= ENTRIES_MAX
    assert "unhealthy 0 → 1" in str(operator.do("history c0"))


def test_the_plan_is_what_is_done_next(operator: Any) -> None:
    assert operator.do("plan c0")["nothing"]

    operator.fleet.report("c0-n0", False)
    operator.fleet.run(0.05)
    told = operator.do("plan c0")
    writes = len(operator.fleet.writer.writes)

    assert not told["nothing"]
    assert ["c0-n0"] == [each["child"] for each in told["repairs"]]
    assert told["repairs"][0]["why"].startswith("unhealthy since")
    assert {"field": "unhealthy", "stands": 0, "wanted": 1} in told["status"]
    assert writes == len(operator.fleet.writer.writes), "a plan writes nothing"

    operator.fleet.run(1.0)
    assert 1 == operator.fleet.status("c0")["unhealthy"]
    assert ["c0-n0"] == operator.fleet.repaired()


def test_an_operator_that_writes_is_no_shadow(operator: Any) -> None:
    assert operator.do("shadow")["shadow"] is False


def test_of_a_parent_and_a_child_at_one_instant_the_same_is_said_as_of_each(operator: Any) -> None:
    operator.fleet.report("c0-n0", False)
    operator.fleet.run(0.05)
    collector = Collector(operator.system)
    for child in ("c0-n0", "ComputeNode/c0-n1", "nobody"):
        both = collector.both(KEY, child)

        assert [each.as_json(0.0) for each in both] == [
            collector.why(KEY).as_json(0.0), collector.why(KEY, child).as_json(0.0)
        ]  # fmt: skip
    uid = next(iter(operator.system.store.children["ComputeNode"].of(KEY)))
    assert "no-child" != collector.why(KEY, uid).first.code, "by its uid, too"


def test_an_operator_that_is_being_stopped_says_so_from_the_first_to_the_last(operator: Any) -> None:
    operator.system.stop()
    codes = set()
    while not operator.system.stopped:
        assert operator.world.step()
        if operator.look.behaviour("root") is not None and operator.look.behaviour("root")._stopping is not None:
            codes.add(operator.do("why c0")["code"])

    assert {"ending"} == codes
    assert "ending" == operator.do("why c0")["code"]


def test_why_answers_while_every_actor_is_held(operator: Any) -> None:
    """It reads; it needs no turn of anybody."""
    turns = operator.world.turn_count
    for _ in range(20):
        operator.do("why c0")
        operator.do("history c0")

    assert turns == operator.world.turn_count
    assert ParentKey("default", "c0") in operator.system.store.parents


@pytest.mark.parametrize("name", PARTS)
def test_the_pages_are_made_from_the_code(name: str) -> None:
    """Make them anew with: python -m actors.ops.inspect.page docs/shell.md docs/why.md"""
    text = (Path(__file__).parents[3] / name).read_text(encoding="utf-8")

    assert text == renewed(name, text)


def test_a_cold_start_is_said_to_last_until_the_very_instant_at_which_the_ledger_opens() -> None:
    """Its nanoseconds may round to a float before it: then ``why`` blamed a quota that nobody had spent (seed 2381)."""
    for began_s in (116.66707734764448, 0.1, 1e6 / 7):
        ledger = Ledger(Quota(3, 5.0), timeout_s=10.0, lateness_s=1.0)
        ledger.cold_start(began_s)
        until_s = _cold_until_s(ledger)

        assert (0, 3) == (ledger.free(math.nextafter(until_s, 0.0)), ledger.free(until_s))
