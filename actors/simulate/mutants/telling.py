"""Planted in what the operator says of itself: gates that are not shut, times that are over, a plan that is not kept."""

# ruff: noqa: ARG001 - a replacement keeps its original's signature, used or not

from __future__ import annotations

from typing import Any

from attrs import evolve

from ...cluster import ClusterActor
from ...core.model import Plan
from ...core.situation import GatewaySeen, ItemSeen, Situation
from ...core.why import Shut
from .planting import Bed

__all__ = ["bed"]

bed = Bed()


@bed.single(
    "why-overlooks-the-cold-start", breaks="why", at="actors.core.why:_gate",
    what="a call that waits for the end of the cold start is said to wait for the quota",
)  # fmt: skip
def _(original: Any) -> Any:
    def gate(gateway: GatewaySeen, item: ItemSeen, now_s: float) -> Shut:
        shut: Shut = original(evolve(gateway, opens_s=None), item, now_s)
        return shut

    return gate


@bed.single(
    "why-blames-the-valve", breaks="why", at="actors.core.why:_held",
    what="repairs are said to be held by the valve as soon as one is wanted",
)  # fmt: skip
def _(original: Any) -> Any:
    def held(s: Situation) -> Shut | None:
        return original(s) or Shut(code="valve", text="some need repair")

    return held


@bed.single(
    "why-tells-a-time-that-is-over", breaks="why", at="actors.core.why:_debounce",
    what="the end of the debounce is taken for its beginning",
)  # fmt: skip
def _(original: Any) -> Any:
    def debounce(s: Situation) -> Shut:
        shut: Shut = original(s)
        return evolve(shut, until_s=shut.since_s)

    return debounce


@bed.single(
    "why-says-converged-while-repairs-wait", breaks="why", at="actors.core.why:_repairs",
    what="a parent whose count is right is converged, whoever waits for a repair",
)  # fmt: skip
def _(original: Any) -> Any:
    def repairs(s: Situation, uid: str | None) -> Shut | None:
        return None

    return repairs


@bed.single(
    "look-does-less-than-was-planned", breaks="plan", at="actors.cluster:ClusterActor._execute",
    what="of the repairs that a plan asks for, the last is left for the next look",
)  # fmt: skip
def _(original: Any) -> Any:
    def execute(self: ClusterActor, plan: Plan, changed: bool) -> None:
        original(self, evolve(plan, repairs=plan.repairs[:-1]), changed)

    return execute
