"""A Plan for people: what it would change, repair and tell, as JSON values. Nothing here does any of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .difference import differences, same
from .model import Child, Item, ParentKey, Plan

__all__ = ["ITEMS_SHOWN", "plan_view"]

ITEMS_SHOWN = 1000  # of one parent; the counts tell of all


def plan_view(
    parent: ParentKey, standing: Mapping[str, Any], asked: Iterable[str], plan: Plan, children: Mapping[str, Child],
    now_s: float,
) -> dict[str, Any]:  # fmt: skip
    """How ``plan`` differs from the status that stands and from the repairs that are ``asked`` (by key) already.

    ``children`` by uid give a repair its reason. ``nothing`` says that there is nothing to do: exactly what is done next, then.
    """
    keys, before = {item.key for item in plan.repairs}, set(asked)
    new = [item for item in plan.repairs if item.key not in before]
    found = {} if same(plan.status, standing) else differences(standing, plan.status)
    look_s = plan.look_again_at_s
    return {
        "parent": str(parent),
        "nothing": not found and keys == before and not plan.events,
        "status": [{"field": path, "stands": seen, "wanted": wanted} for path, (seen, wanted) in found.items()],
        "repairs": [_repair(item, children.get(item.uid)) for item in new[:ITEMS_SHOWN]],
        "asked_anew": len(new),
        "asked_already": len(keys & before),
        "taken_back": len(before - keys),
        "events": [{"type": note.type, "reason": note.reason, "note": note.note} for note in plan.events],
        "look_again_in_s": None if look_s is None else round(max(0.0, look_s - now_s), 3),
    }


def _repair(item: Item, child: Child | None) -> dict[str, Any]:
    return {
        "kind": item.kind, "child": child.name if child is not None else item.uid, "why": reason(item, child), "key": item.key
    }  # fmt: skip


def reason(item: Item, child: Child | None) -> str:
    """Why that repair is wanted, in words."""
    if child is None:
        what = item.incident
    elif child.healthy is False:
        what = f"unhealthy since {child.since}" if child.since else "unhealthy"
    else:
        what = f"silent since its heartbeat of {child.heartbeat}" if child.heartbeat else "it never reported"
    return what + (", and the repair before did not help" if item.retry else "")
