"""A fleet may call the fields of its parents' status otherwise, or leave some out: the names within the operator stay the same.

Translated is where a status leaves and where it comes back: a writer's patch, its answer, and a parent off the wire. What a
definition leaves out is in no Plan (``reconcile``), so that nothing waits for it to come back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .fleet import FleetDefinition

__all__ = ["from_wire", "to_wire"]


def to_wire(fleet: FleetDefinition, status: dict[str, Any]) -> dict[str, Any]:
    """A status as the API server is to have it."""
    names = fleet.status
    return {names.get(name) or name: value for name, value in status.items()} if names else status


def from_wire(fleet: FleetDefinition, status: Mapping[str, Any] | None) -> dict[str, Any]:
    """A status as the operator reads it. A field of somebody else's that has a name of ours is not ours."""
    if status is None:
        return {}
    ours = {wire: name for name, wire in fleet.status.items() if wire}
    if not ours:
        return dict(status)
    return {ours.get(key, key): value for key, value in status.items() if key in ours or key not in fleet.status}
