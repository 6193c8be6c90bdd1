"""Planted in what holds repairs beyond one parent's counts: the valve over all parents (``core.fleet_valve``, ``gateway``),
and the budget of attempts (``core.budget``, ``core.repairs``).
"""

# ruff: noqa: ARG001 - a replacement keeps its original's signature, used or not

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from attrs import evolve

from ...core.asking import Asker
from ...core.budget import Budget
from ...core.events import FleetValveMoved
from ...core.fleet_valve import FleetValve
from ...core.model import Child, EventNote, Now, Parent, ParentKey, Policy
from ...core.override import Override
from ...core.repairs import Repairs, _Attempt
from ...gateway import BatchGatewayActor
from .planting import Bed

__all__ = ["bed"]

bed = Bed()


# --- the valve over all parents ---------------------------------------------------------------------------------------
@bed.single(
    "fleet-valve-holds-nothing", breaks="valve", at="actors.core.fleet_valve:FleetValve.passing",
    what="the valve over all parents is shown in their statuses, and calls go on",
)  # fmt: skip
def _(original: Any) -> Any:
    def passing(self: FleetValve, now: float) -> frozenset[ParentKey] | None:
        return None

    return passing


@bed.single(
    "override-lets-everybody-pass", breaks="valve", at="actors.core.fleet_valve:FleetValve.passing",
    what="where one parent overrides the valve over all parents, everybody passes it",
)  # fmt: skip
def _(original: Any) -> Any:
    def passing(self: FleetValve, now: float) -> frozenset[ParentKey] | None:
        return original(self, now) or None

    return passing


@bed.single(
    "override-never-ends", breaks="valve", at="actors.core.override:Override.look",
    what="an annotation that overrides the valve is heeded after its end",
)  # fmt: skip
def _(original: Any) -> Any:
    def look(self: Override, parent: Parent | None, now: Now) -> bool:
        moved = bool(original(self, parent, now))
        if self.ends_s > -math.inf:
            self.ends_s = math.inf
        return moved

    return look


@bed.single(
    "fleet-valve-opens-at-once", breaks="valve", at="actors.core.fleet_valve:SETTLED_S",
    what="the first look at which few enough are in trouble opens the valve over all parents",
)  # fmt: skip
def _(original: Any) -> Any:
    return 0.0


@bed.single(
    "fleet-valve-does-not-begin-anew", breaks="valve", at="actors.core.fleet_valve:FleetValve.look",
    what="the valve over all parents opens a minute after the first good look, whatever came in between",
)  # fmt: skip
def _(original: Any) -> Any:
    def look(self: FleetValve, eligible: int, total: int, now: float) -> FleetValveMoved | None:
        calm_s, closed = self._calm_s, self.closed_s is not None
        moved: FleetValveMoved | None = original(self, eligible, total, now)
        if closed and self.closed_s is not None and self._calm_s is None:
            self._calm_s = calm_s
        return moved

    return look


@bed.single(
    "fleet-valve-is-told-to-nobody", breaks="valve", at="actors.gateway:BatchGatewayActor._tell_state",
    what="parents whose repairs are held by the valve over all of them do not hear of it",
)  # fmt: skip
def _(original: Any) -> Any:
    def tell_state(self: BatchGatewayActor, asker: Asker, *, reachable: bool | None) -> None:
        valve = self._valve
        why, valve.why = valve.why, ""
        original(self, asker, reachable=reachable)
        valve.why = why

    return tell_state


# --- a watch that is behind -------------------------------------------------------------------------------------------
@bed.single(
    "repairs-go-on-by-old-news", breaks="valve", at="actors.directory:BEHIND_S", needs=("A13",),
    what="children of a kind whose stream is down are repaired for as long as it is",
)  # fmt: skip
def _(original: Any) -> Any:
    return 1e6


# --- attempts ---------------------------------------------------------------------------------------------------------
@bed.single(
    "attempts-have-no-end", breaks="I14", at="actors.core.repairs:Repairs.exhausted", needs=("B11",),
    what="a child that no repair helps is repaired again and again",
)  # fmt: skip
def _(original: Any) -> Any:
    def exhausted(self: Repairs, eligible: Mapping[str, Child], now_s: float, budget: Budget) -> dict[str, int]:
        return {}

    return exhausted


@bed.single(
    "cooldown-does-not-grow", breaks="I14", at="actors.core.budget:Budget.wait_s", needs=("B11",),
    what="each attempt waits for as long as the first",
)  # fmt: skip
def _(original: Any) -> Any:
    def wait_s(self: Budget, number: int) -> float:
        return float(original(self, 1))

    return wait_s


@bed.single(
    "moment-of-health-is-a-new-budget", breaks="I14", at="actors.core.repairs:_Attempt.rest_s", needs=("B11",),
    what="a child that is well for a moment after each repair has all its attempts again",
)  # fmt: skip
def _(original: Any) -> Any:
    def rest_s(self: _Attempt, now_s: float) -> float:
        rested_s = float(original(self, now_s))
        return rested_s * 1e6

    return rest_s


@bed.single(
    "exhausted-are-forgotten-with-the-process", breaks="I14", at="actors.core.reconcile:budget_of", needs=("B11", "P6"),
    what="a new process does not read in the status whose attempts are spent",
)  # fmt: skip
def _(original: Any) -> Any:
    def budget_of(policy: Policy, status: Mapping[str, Any]) -> Budget:
        budget: Budget = original(policy, status)
        return evolve(budget, spent={})

    return budget_of


@bed.single(
    "exhausted-children-hear-nothing", breaks="I14", at="actors.core.reconcile:notes", needs=("B11",),
    what="no Event on a child says that its attempts are spent",
)  # fmt: skip
def _(original: Any) -> Any:
    def notes(children: Iterable[tuple[Child, int]], known: Mapping[str, int]) -> list[EventNote]:
        return []

    return notes
