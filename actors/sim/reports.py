"""What a machine of a fleet writes when it reports: the patch by which a child kind says that it is well, or not.

Made from what the definition reads, so that any fleet can be played: by tests in virtual time, and by the demo. And the other
end of it: where a parent's status stands.
"""

from __future__ import annotations

import copy
from typing import Any

import msgspec

from ..core.fleet import ChildKind, ConditionIs, Expression, FieldIn, FleetDefinition, Value
from ..core.paths import Path, parse_path
from ..core.status_wire import place_of

__all__ = ["report", "status_in"]

Obj = dict[str, Any]


def report(kind: ChildKind, obj: Obj, *, healthy: bool, now: str) -> Obj:
    """A merge patch of ``obj`` (as it is) after which ``kind`` reads ``healthy`` of it; ``now`` in RFC 3339.

    ``ValueError`` where the health is an expression: which fields would make it true is its author's to know.
    """
    health, how = kind.health, kind.health.healthy
    patch: Obj = {}
    if isinstance(how, Expression):
        told = f"what a {kind.ref.kind} writes is not known: its health is an expression"
        raise ValueError(told)  # noqa: TRY004 - of a definition, no type
    if isinstance(how, ConditionIs):
        good, bad = how.healthy[0], (*how.unhealthy, "False")[0]
        _condition(patch, obj, how.type, good if healthy else bad, now)
    elif isinstance(how, FieldIn):
        _put(patch, parse_path(how.path), how.healthy[0] if healthy else _other(how))
    else:
        _put(patch, parse_path(how), healthy)
    if health.condition:
        _condition(patch, obj, health.condition, str(healthy), now)
    if health.since and _reads(obj, patch):
        _put(patch, parse_path(health.since), now)
    if isinstance(health.heartbeat, str) and health.heartbeat:
        _put(patch, parse_path(health.heartbeat), now)
    return patch


def status_in(fleet: FleetDefinition, obj: Obj) -> Obj:
    """A parent's status as it stands in its object, wherever the fleet has it; {} before it is written."""
    found: Any = obj
    for name in place_of(fleet):
        found = found.get(name) if isinstance(found, dict) else None
    status: Obj = msgspec.json.decode(found) if isinstance(found, str) else found or {}
    return status


def _reads(obj: Obj, patch: Obj) -> bool:
    """Whether the patch changes anything."""
    return any(
        _reads(obj.get(name) or {}, value) if isinstance(value, dict) else obj.get(name) != value
        for name, value in patch.items()
    )


def _condition(patch: Obj, obj: Obj, name: str, status: str, now: str) -> None:
    """That condition among the others; its time moves when it flips."""
    known = patch.get("status", {}).get("conditions") or (obj.get("status") or {}).get("conditions") or []
    conditions = copy.deepcopy([each for each in known if each.get("type") != name])
    before: Obj = next((each for each in known if each.get("type") == name), {})
    moved = now if before.get("status") != status else before.get("lastTransitionTime", now)
    conditions.append(
        {"type": name, "status": status, "reason": "Reported", "message": "", "lastTransitionTime": moved}
    )
    _put(patch, ("status", "conditions"), conditions)


def _other(how: FieldIn) -> Value:
    """A value that means unhealthy."""
    if how.unhealthy:
        return how.unhealthy[0]
    first = how.healthy[0]
    if isinstance(first, bool):
        return not first
    return min(each for each in how.healthy if isinstance(each, int)) - 1 if isinstance(first, int) else "Failed"


def _put(patch: Obj, path: Path, value: Any) -> None:
    *above, last = path
    for name in above:
        patch = patch.setdefault(name, {})
    patch[last] = value
