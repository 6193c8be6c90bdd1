"""The override of the valves: what a parent's annotation says, by which clock it ends, and what it lets through."""

from __future__ import annotations

import math
from typing import Any

import pytest
from attrs import evolve

from actors.core.errors import SettingsError
from actors.core.fleet_valve import FleetValve
from actors.core.model import Now, Parent, ParentKey, Share
from actors.core.override import OVERRIDE, Override
from actors.core.parent_spec import read_spec
from actors.core.quantity import parse_instant
from actors.messages import BackendState, EventWanted, PassivateWanted, RepairsWanted
from actors.sim.desk import Desk, cluster, node

A, B = ParentKey("d", "a"), ParentKey("d", "b")
START = Now(mono_s=10.0, wall_s=1000.0)


def until(wall_s: float | None) -> Parent:
    return cluster(override_until_s=wall_s)


# --- the annotation ---------------------------------------------------------------------------------------------------
def test_an_instant_is_read_in_any_zone() -> None:
    assert parse_instant("1970-01-01T00:16:40Z") == parse_instant("1970-01-01T02:16:40+02:00") == 1000.0


@pytest.mark.parametrize("text", ["", "tomorrow", "1h", "2026-12-01", "2026-12-01T09:00:00", 5, None, "9" * 99])
def test_what_is_no_instant_is_refused_with_an_example(text: object) -> None:
    with pytest.raises(SettingsError, match=r"expected an instant with a zone such as 2026-12-01T09:00:00Z"):
        parse_instant(text)


def test_a_wrong_annotation_is_a_problem_of_the_parent_and_overrides_nothing() -> None:
    found = read_spec({"paused": True}, override="soon")

    assert found.problems == (
        f"metadata.annotations[{OVERRIDE}]: found 'soon', expected an instant with a zone such as 2026-12-01T09:00:00Z",
    )
    assert (found.override_until_s, found.paused) == (None, True)
    assert read_spec({}, override="1970-01-01T00:16:40Z").override_until_s == 1000.0


# --- the clock --------------------------------------------------------------------------------------------------------
def test_it_ends_by_our_clock_from_the_first_look_on() -> None:
    override = Override()
    assert override.ends_s == -math.inf
    assert not override.look(until(None), START)
    assert override.look(until(1030.0), START)
    assert not override.look(until(1030.0), Now(20.0, 1010.0))

    assert override.ends_s == 40.0


def test_a_wall_clock_that_is_set_back_neither_lengthens_nor_revives_it() -> None:
    override = Override()
    override.look(until(1030.0), START)

    assert not override.look(until(1030.0), Now(50.0, 1000.0))
    assert override.ends_s == 40.0


def test_a_wall_clock_that_is_set_forward_ends_it_at_the_next_look() -> None:
    override = Override()
    override.look(until(1030.0), START)

    assert override.look(until(1030.0), Now(12.0, 5000.0))
    assert override.ends_s < 12.0


def test_small_drift_between_the_clocks_is_no_news() -> None:
    override = Override()
    override.look(until(1030.0), START)

    assert not override.look(until(1030.0), Now(20.0, 1010.9))


@pytest.mark.parametrize(("again_s", "ends_s"), [(1010.0, 20.0), (1090.0, 100.0), (None, -math.inf)])
def test_a_new_annotation_takes_the_place_of_the_old(again_s: float | None, ends_s: float) -> None:
    override = Override()
    override.look(until(1030.0), START)

    assert override.by(until(again_s), START) == ends_s
    assert override.ends_s == 40.0, "asking changes nothing"
    assert override.look(until(again_s), START)
    assert override.ends_s == ends_s


def test_a_parent_that_is_gone_overrides_nothing() -> None:
    override = Override()
    override.look(until(1030.0), START)

    assert override.look(None, START)
    assert override.ends_s == -math.inf


# --- the valve over all parents ---------------------------------------------------------------------------------------
def test_those_pass_who_override_it_and_have_time_left() -> None:
    valve = FleetValve(Share(absolute=1))
    valve.override(A, 50.0)
    valve.override(B, 20.0)
    assert valve.passing(10.0) is None, "it is open: everybody"
    valve.look(2, 9, 10.0)

    assert [valve.passing(at_s) for at_s in (10.0, 20.0, 50.0)] == [{A, B}, {A}, frozenset()]
    valve.override(A, -math.inf)
    assert valve.passing(10.0) == frozenset({B})


# --- a parent's actor -------------------------------------------------------------------------------------------------
def annotated(desk: Desk, for_s: float | None, version: int) -> None:
    until_s = None if for_s is None else desk.world.clock.wall() + for_s
    desk.mail(cluster(version, override_until_s=until_s))
    desk.run(1.0)


def allowed(desk: Desk) -> tuple[str, str]:
    return next(
        (c["status"], c["reason"]) for c in desk.wishes[-1].status["conditions"] if c["type"] == "RemediationAllowed"
    )


def shut() -> Desk:
    desk = Desk(max_unhealthy=Share(absolute=1))
    desk.sync(node("a", healthy=False), node("b", healthy=False), node("c"))
    desk.run(1.0)
    assert (desk.asked, allowed(desk)) == ([], ("False", "TooManyUnhealthy"))
    return desk


def test_repairs_are_asked_for_while_the_valve_is_overridden_and_no_longer() -> None:
    desk = shut()
    annotated(desk, 20.0, 200)
    assert (desk.asked[-1], allowed(desk)) == (["a", "b"], ("True", "ValveOverridden"))
    desk.run(21.0)

    assert (desk.asked[-1], allowed(desk)) == ([], ("False", "TooManyUnhealthy"))
    events = [(each.note.type, each.note.reason) for each in desk.status.of(EventWanted)]
    assert events == [("Warning", "TooManyUnhealthy"), ("Warning", "ValveOverridden"), ("Warning", "TooManyUnhealthy")]


def test_it_ends_with_the_annotation() -> None:
    desk = shut()
    annotated(desk, 3600.0, 200)
    annotated(desk, None, 201)

    assert (desk.asked[-1], allowed(desk)) == ([], ("False", "TooManyUnhealthy"))


def test_an_override_of_an_open_valve_is_not_told_of_and_lets_the_actor_sleep() -> None:
    desk = Desk(idle_s=5.0)
    desk.sync(node("a"))
    annotated(desk, 3600.0, 200)

    assert allowed(desk) == ("True", "WithinLimit")
    desk.run(10.0)
    assert desk.directory.of(PassivateWanted)


def test_the_gateway_is_told_with_the_next_wish_though_the_items_are_the_same() -> None:
    desk = Desk()
    desk.sync(node("a", healthy=False))
    desk.run(1.0)
    assert desk.gateway.of(RepairsWanted)[-1].override_ends_s == -math.inf
    desk.tell(BackendState(reachable=None, reason="", message="", held="6 of all 10"))
    desk.run(1.0)
    assert allowed(desk) == ("False", "FleetTooManyUnhealthy")
    annotated(desk, 20.0, 200)

    last = desk.gateway.of(RepairsWanted)[-1]
    assert ([item.uid for item in last.items], round(last.override_ends_s)) == (
        ["a"], round(desk.world.clock.now() + 19.0)
    )  # fmt: skip
    assert allowed(desk) == ("True", "ValveOverridden")
    desk.run(20.0)
    assert allowed(desk) == ("False", "FleetTooManyUnhealthy")


def test_the_words_say_what_is_overridden_and_until_when() -> None:
    desk = shut()
    annotated(desk, 3600.0, 200)

    (message,) = (c["message"] for c in desk.wishes[-1].status["conditions"] if c["type"] == "RemediationAllowed")
    assert message.startswith("2 of 3 need repair, the limit is 1; repairs go on all the same until 20")
    assert message.endswith(f"Z, as {OVERRIDE} says")


def test_a_parent_is_another_for_it() -> None:
    """Else nobody would look when the annotation comes."""
    before: Any = cluster()
    assert before.spec != evolve(before.spec, override_until_s=5.0)
