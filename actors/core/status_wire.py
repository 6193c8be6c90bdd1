"""How a parent's status is written on the API server: under names that a fleet may choose, or in an annotation.

A kind of one's own has a status for it. One that belongs to another controller has a schema without our fields, and conditions
that only its owner writes: there the whole status is JSON under an annotation that the fleet names. Translated is where a
status leaves and where it comes back: a writer's patch, its answer, and a parent off the wire. What a definition leaves out
is in no Plan (``reconcile``), so that nothing waits for it to come back.
"""

from __future__ import annotations

from typing import Any

import msgspec

from .fleet import FleetDefinition
from .paths import Path

__all__ = ["from_wire", "patch_of", "place_of", "status_of", "subresource_of"]

_TEXT = msgspec.json.Encoder(order="deterministic")


def place_of(fleet: FleetDefinition) -> Path:
    """Where in the parent's object the status is."""
    return ("metadata", "annotations", fleet.status_annotation) if fleet.status_annotation else ("status",)


def subresource_of(fleet: FleetDefinition) -> str:
    """Which part of the object is patched: "" is the object itself."""
    return "" if fleet.status_annotation else "status"


def patch_of(fleet: FleetDefinition, metadata: dict[str, Any], status: dict[str, Any]) -> dict[str, Any]:
    """A merge patch that has the API server hold that status. ``metadata`` says of which object."""
    names = fleet.status
    told = {names.get(name) or name: value for name, value in status.items()} if names else status
    if fleet.status_annotation:
        return {"metadata": metadata | {"annotations": {fleet.status_annotation: _TEXT.encode(told).decode()}}}
    return {"metadata": metadata, "status": told}


def status_of(fleet: FleetDefinition, found: Any) -> dict[str, Any]:
    """The status in a parent's object, as ``from_wire``."""
    for name in place_of(fleet):
        found = found.get(name) if isinstance(found, dict) else None
    return from_wire(fleet, found)


def from_wire(fleet: FleetDefinition, found: object) -> dict[str, Any]:
    """A status as the operator reads it, of what stands at ``place_of``; {} where that is nothing, or nothing of ours.

    A field of somebody else's that has a name of ours is not ours.
    """
    if fleet.status_annotation and isinstance(found, str):
        try:
            found = msgspec.json.decode(found)
        except msgspec.DecodeError:  # somebody has been at it: it is written anew
            return {}
    if not isinstance(found, dict):
        return {}
    ours = {wire: name for name, wire in fleet.status.items() if wire}
    status: dict[str, Any] = found
    if not ours:
        return status
    return {ours.get(key, key): value for key, value in status.items() if key in ours or key not in fleet.status}
