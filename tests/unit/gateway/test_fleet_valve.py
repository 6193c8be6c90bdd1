"""The valve over all parents at the gateway: who is held, who hears of it, and when calls go on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from actors.core.errors import Refused, Unavailable
from actors.core.events import FleetValveMoved
from actors.core.fleet_valve import LOOK_EVERY_S, SETTLED_S
from actors.core.model import Share
from actors.core.ports import Call, ItemResult, Reply
from actors.messages import BackendState

HALF = Share(percent=50.0)


def accept(call: Call, _number: int) -> Reply:
    return Reply(results={item.key: ItemResult(status="accepted") for item in call.items})


def held(bench: Any, parent: str) -> list[tuple[bool | None, bool]]:
    """What that parent was told: whether the backend is reachable, and whether all are held."""
    return [(m.reachable, bool(m.held)) for m in bench.told.get(parent, ()) if isinstance(m, BackendState)]


def moves(bench: Any) -> list[bool]:
    return [fact.closed for _, fact in bench.world.facts_seen if isinstance(fact, FleetValveMoved)]


@pytest.fixture
def shut(bench: Callable[..., Any]) -> Any:
    """Sixty of a hundred are in trouble, and one parent has asked."""
    b = bench(fleet_share=HALF)
    b.nodes.counts = (60, 100)
    b.ask("p", b.item("p", "a"))
    return b


def test_nothing_leaves_while_too_many_of_all_are_in_trouble(shut: Any) -> None:
    shut.world.run_for(600.0)

    assert shut.sizes() == []
    assert moves(shut) == [True]
    assert held(shut, "p") == [(None, True)]


def test_calls_go_on_a_minute_after_the_share_is_kept(shut: Any) -> None:
    shut.world.run_for(10.0)
    shut.nodes.counts = (50, 100)
    shut.world.run_for(SETTLED_S - 1.0)
    assert shut.sizes() == []
    shut.world.run_for(LOOK_EVERY_S + 2.0)

    assert shut.sizes() == [1]
    assert held(shut, "p") == [(None, True), (None, False), (True, False)]


def test_who_asks_while_it_is_closed_is_told(shut: Any) -> None:
    shut.ask("q", shut.item("q", "b"))
    shut.ask("q", shut.item("q", "b"), shut.item("q", "c"))

    assert held(shut, "q") == [(None, True)]


def test_who_has_forgotten_is_told_again(shut: Any) -> None:
    shut.ask("p", shut.item("p", "a"), successor=True, told=False)

    assert held(shut, "p") == [(None, True), (None, True)]


def test_who_asks_for_nothing_any_more_hears_of_its_end(shut: Any) -> None:
    shut.ask("p")
    shut.nodes.counts = (0, 100)
    shut.world.run_for(SETTLED_S + 2 * LOOK_EVERY_S)

    assert held(shut, "p") == [(None, True), (None, False)]
    assert shut.gateway._askers == {}


def test_a_death_of_the_gateway_does_not_open_it(shut: Any) -> None:
    shut.world.run_for(10.0)
    shut.nodes.counts = (0, 100)
    shut.crash()
    shut.ask("p", shut.item("p", "a"), told=False)
    shut.world.run_for(SETTLED_S - 20.0)
    assert shut.sizes() == []
    shut.world.run_for(20.0 + LOOK_EVERY_S + 1.0)

    assert shut.sizes() == [1]
    assert moves(shut) == [True, False]


def test_it_is_looked_at_although_nobody_asks(bench: Callable[..., Any]) -> None:
    b = bench(fleet_share=HALF)
    b.nodes.counts = (60, 100)
    b.world.run_for(LOOK_EVERY_S + 1.0)
    assert moves(b) == [True]


def test_without_it_there_is_no_timer(bench: Callable[..., Any]) -> None:
    b = bench()
    b.nodes.counts = (100, 100)
    turns = b.world.turn_count
    b.world.run_for(100.0)
    assert b.world.turn_count == turns
    b.ask("p", b.item("p", "a"))
    b.world.run_for(1.0)
    assert b.sizes() == [1]


def test_what_a_parent_knows_of_the_backend_is_told_with_it(bench: Callable[..., Any]) -> None:
    b = bench(fleet_share=HALF)
    b.ask("p", b.item("p", "a"))
    b.nodes.counts = (1, 100)
    b.world.run_for(1.0)
    b.nodes.counts = (60, 100)
    b.ask("p", b.item("p", "b"))

    assert held(b, "p") == [(True, False), (True, True)]


# --- overridden -------------------------------------------------------------------------------------------------------
def test_who_overrides_it_is_served_alone_and_no_longer_than_that(shut: Any) -> None:
    shut.ask("q", shut.item("q", "b"), override_ends_s=shut.world.clock.now() + 30.0)
    shut.world.run_for(10.0)
    assert [item.uid for _, call in shut.backend.calls for item in call.items] == ["uid-b"]
    shut.world.run_for(30.0)
    shut.ask("q", shut.item("q", "c"), override_ends_s=shut.world.clock.now() - 10.0)
    shut.world.run_for(600.0)

    assert shut.sizes() == [1]


def test_an_override_that_comes_later_lets_go_what_waits(shut: Any) -> None:
    shut.world.run_for(60.0)
    assert shut.sizes() == []
    shut.ask("p", shut.item("p", "a"), override_ends_s=shut.world.clock.now() + 30.0)
    shut.world.run_for(5.0)

    assert shut.sizes() == [1]


def test_an_override_that_is_taken_back_holds_again(shut: Any) -> None:
    shut.backend.rtt_s = 1.0
    shut.ask("q", shut.item("q", "b"), override_ends_s=1000.0)
    shut.world.run_for(0.5)
    shut.ask("q", shut.item("q", "b"), shut.item("q", "c"))
    shut.world.run_for(600.0)

    assert shut.sizes() == [1]


def test_those_who_override_it_share_batches(shut: Any) -> None:
    for parent in ("q", "r", "s"):
        shut.ask(parent, shut.item(parent, f"{parent}0"), shut.item(parent, f"{parent}1"), override_ends_s=1000.0)
    shut.world.run_for(5.0)

    assert shut.sizes() == [6]


def test_a_retry_of_who_overrides_it_leaves_between_two_looks(bench: Callable[..., Any]) -> None:
    def script(call: Call, number: int) -> Reply | Exception:
        return Unavailable("no", arrived=False) if number == 1 else accept(call, number)

    b = bench(script, fleet_share=HALF, retry_base_s=1.0, retry_max_s=1.0)
    b.nodes.counts = (60, 100)
    b.ask("p", b.item("p", "a"))
    b.ask("q", b.item("q", "b"), override_ends_s=1000.0)
    b.world.run_for(LOOK_EVERY_S - 2.0)

    assert [item.uid for _, call in b.backend.calls for item in call.items] == ["uid-b", "uid-b"]


def test_a_bad_item_of_who_overrides_it_is_found_while_others_are_held(bench: Callable[..., Any]) -> None:
    def script(call: Call, number: int) -> Reply | Exception:
        bad = any(item.payload["name"] == "c" for item in call.items)
        return Refused("422: bad name") if bad else accept(call, number)

    b = bench(script, fleet_share=HALF)
    b.nodes.counts = (60, 100)
    b.ask("p", b.item("p", "a"))
    b.ask("q", *(b.item("q", name) for name in "bcde"), override_ends_s=1000.0)
    b.world.run_for(60.0)

    answers = sorted(answer.value for answer, _ in b.answers("q").values())
    assert answers == ["done", "done", "done", "failed"]
    assert b.answers("p") == {}
