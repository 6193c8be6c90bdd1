"""Planted in what holds repairs beyond one parent's counts: the valve over all parents (``core.fleet_valve``, ``gateway``)."""

# ruff: noqa: ARG001 - a replacement keeps its original's signature, used or not

from __future__ import annotations

from typing import Any

from ...core.asking import Asker
from ...core.events import FleetValveMoved
from ...core.fleet_valve import FleetValve
from ...gateway import BatchGatewayActor
from .planting import Bed

__all__ = ["bed"]

bed = Bed()


# --- the valve over all parents ---------------------------------------------------------------------------------------
@bed.single(
    "fleet-valve-holds-nothing", breaks="valve", at="actors.gateway:BatchGatewayActor._next_send_s",
    what="the valve over all parents is shown in their statuses, and calls go on",
)  # fmt: skip
def _(original: Any) -> Any:
    def next_send_s(self: BatchGatewayActor, now: float) -> float:
        valve = self._valve
        closed_s, valve.closed_s = valve.closed_s, None
        at_s = float(original(self, now))
        valve.closed_s = closed_s
        return at_s

    return next_send_s


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
