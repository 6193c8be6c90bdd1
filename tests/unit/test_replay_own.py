"""A tape has no code: whoever replays a fleet with a reconcile of its own names that fleet."""

from __future__ import annotations

import pytest

from actors.core.graph import graph_of
from actors.core.model import Policy
from actors.core.quantity import Quota
from actors.core.tape import Header, TapeError, line_of
from actors.fleet import MUSTER_FLEET, FleetDefinition, Plan, child_kind, condition, fleet, label, parent_kind
from actors.gateway import GatewaySettings
from actors.simulate.replay import Replay
from actors.tree import TreeSettings


def own(name: str, label_key: str = "pool") -> FleetDefinition:
    def reconcile(pool: object, children: object, now: object) -> Plan:
        return Plan()

    reconcile.__qualname__ = name
    machine = child_kind("x.io/v1", "Machine", parent=[label(label_key)], health=condition("Ready"))
    return fleet("pools", parent_kind("x.io/v1", "Pool"), [machine], reconcile=reconcile)


def tape(of: FleetDefinition) -> list[bytes]:
    settings = TreeSettings(
        policy=Policy(), gateway=GatewaySettings(operation=of.operation, quota=Quota(10, 1.0), batch_max=100)
    )
    plain = graph_of(of.plain())
    header = Header(
        muster="1", python="3", began_s=1.0, began_wall_s=2.0, fleet=plain, own=of.own_name, settings=graph_of(settings)
    )
    return [line_of(header)]


def test_it_is_played_with_the_fleet_that_is_named() -> None:
    found = own("rule")

    assert Replay(tape(found), found).system.fleet is found


def test_without_it_it_is_not_played() -> None:
    with pytest.raises(
        TapeError, match=r"its fleet had a reconcile of its own \(.*:rule\): name that fleet with --fleet"
    ):
        Replay(tape(own("rule")))


@pytest.mark.parametrize("other", [own("other"), own("rule", "another"), MUSTER_FLEET], ids=["rule", "label", "muster"])
def test_another_fleet_will_not_do(other: FleetDefinition) -> None:
    with pytest.raises(TapeError, match="it was recorded with another fleet than --fleet names"):
        Replay(tape(own("rule")), other)


def test_a_fleet_without_one_is_on_its_tape() -> None:
    assert Replay(tape(MUSTER_FLEET)).system.fleet == MUSTER_FLEET
