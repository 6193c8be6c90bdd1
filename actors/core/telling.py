"""The facts that a parent's actor tells of its looks: what the why-log, the logs and the metrics go by."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from .difference import same
from .events import Planned, RepairsAnswered, ValveMoved
from .health import Roll
from .model import ParentKey, Plan, Policy
from .valve import limit

__all__ = ["moved", "planned", "repairs_answered", "valve_closed", "valve_moved"]

_COUNTS = ("healthy", "unhealthy", "unknown", "repairing", "observedGeneration")


def planned(
    parent: ParentKey, standing: Mapping[str, Any], plan: Plan, asked: Collection[str], now_s: float
) -> Planned | None:
    """What this Plan asks for beyond the status that stands and the keys that are ``asked``; None where that is nothing."""
    wanted = {item.key for item in plan.repairs}
    changed = not same(plan.status, standing)
    if not changed and wanted == set(asked):
        return None
    return Planned(
        parent=str(parent),
        status=moved(standing, plan.status) if changed else "",
        asked=len(wanted.difference(asked)),
        withdrawn=len(set(asked) - wanted),
        look_s=None if plan.look_again_at_s is None else plan.look_again_at_s - now_s,
    )


def moved(standing: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """What a reader of the log wants to know of two statuses, in a line. Not all of it: this is told at each change."""
    words = [
        f"{name} {standing.get(name)} → {wanted[name]}" for name in _COUNTS if standing.get(name) != wanted.get(name)
    ]
    before = standing.get("conditions")
    reasons = (
        {c.get("type"): c.get("reason") for c in before if isinstance(c, dict)} if isinstance(before, list) else {}
    )
    words += [
        f"{c['type']} {reasons.get(c['type'])} → {c['reason']}"
        for c in wanted["conditions"]
        if reasons.get(c["type"]) != c["reason"]
    ]
    return ", ".join(words) or "words"


def valve_closed(plan: Plan) -> bool:
    """Whether the Plan holds the repairs because too many need one."""
    condition = next(c for c in plan.status["conditions"] if c["type"] == "RemediationAllowed")
    return bool(condition["reason"] == "TooManyUnhealthy")


def valve_moved(parent: ParentKey, roll: Roll, policy: Policy, *, closed: bool) -> ValveMoved:
    """The valve has closed, or opened."""
    bound = limit(policy.max_unhealthy, roll.total, policy.eligible_floor)
    return ValveMoved(
        parent=str(parent), closed=closed, eligible=len(roll.eligible), limit=bound, total=roll.total
    )  # fmt: skip


def repairs_answered(parent: ParentKey, answers: Sequence[str]) -> RepairsAnswered:
    """The gateway's answers, by their values: done, failed, withdrawn."""
    done, failed, withdrawn = (answers.count(each) for each in ("done", "failed", "withdrawn"))
    return RepairsAnswered(parent=str(parent), done=done, failed=failed, withdrawn=withdrawn)
