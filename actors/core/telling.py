"""The facts that a parent's actor tells of its looks: what the why-log, the logs and the metrics go by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from .events import Fact, Planned, ReconcileFailed, RepairsAnswered, RepairsExhausted, ValveMoved
from .health import Roll
from .model import ParentKey, Plan, Policy
from .valve import limit

__all__ = ["Noted", "moved", "planned", "reconcile_failed", "repairs_answered"]

_SAMPLE_MAX = 5
_NOBODY: frozenset[str] = frozenset()  # an empty set of one's own takes 216 B
_COUNTS = ("healthy", "unhealthy", "unknown", "repairing")


def planned(
    parent: ParentKey, standing: Mapping[str, Any], plan: Plan, asked: AbstractSet[str], *, changed: bool, now_s: float
) -> Planned:
    """What this Plan asks for beyond the status that stands (``changed``: it is another) and the keys that are ``asked``."""
    wanted = {item.key for item in plan.repairs}
    look_s = plan.look_again_at_s
    return Planned(
        parent=str(parent),
        status=moved(standing, plan.status) if changed else "",
        asked=len(wanted - asked),
        withdrawn=len(asked - wanted),
        look_s=None if look_s is None else look_s - now_s,
    )


def moved(standing: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """What a reader of the log wants to know first of two statuses, in a line. It is told at each write, so it is cheap."""
    words = []
    for name in _COUNTS:
        before, after = standing.get(name), wanted.get(name)
        if before != after:
            words.append(f"{name} {before} → {after}")
    before, after = standing.get("conditions"), wanted["conditions"]
    if before != after:
        reason = after[0]["reason"]  # of Ready, which sums up the others
        first = before[0] if isinstance(before, list) and before else None  # what others may have written there
        known = isinstance(first, dict) and first.get("reason") == reason
        words.append("conditions" if known else f"{after[0]['type']} → {reason}")
    return ", ".join(words)


def reconcile_failed(parent: ParentKey, plan: Plan) -> ReconcileFailed:
    """What the fleet's own ``reconcile`` raised."""
    return ReconcileFailed(parent=str(parent), error=plan.failed_in_a_line, traceback=plan.failed)


class Noted:
    """What a parent's actor has told of what holds its repairs, so that it tells of changes only."""

    __slots__ = ("_closed", "_exhausted")

    def __init__(self) -> None:
        self._closed = False
        self._exhausted = _NOBODY

    def facts(self, parent: ParentKey, plan: Plan, roll: Roll, policy: Policy) -> list[Fact]:
        """What this Plan changes: whether too many need repair, and who stays unwell after all attempts."""
        found: list[Fact] = []
        allowed = next(c for c in plan.status["conditions"] if c["type"] == "RemediationAllowed")
        closed = allowed["reason"] == "TooManyUnhealthy"
        if closed != self._closed:
            self._closed, ours = closed, roll.repairable
            bound, ill = limit(policy.max_unhealthy, ours, policy.eligible_floor), len(roll.eligible)
            found.append(ValveMoved(parent=str(parent), closed=closed, eligible=ill, limit=bound, total=ours))
        told = plan.status.get("exhausted", ())
        if not told and not self._exhausted:
            return found
        exhausted = frozenset(each["incident"] for each in told)
        if exhausted - self._exhausted:
            sample = ", ".join(f"{each['kind']}/{each['name']}" for each in told[:_SAMPLE_MAX])
            found.append(RepairsExhausted(parent=str(parent), children=len(exhausted), sample=sample))
        self._exhausted = exhausted
        return found


def repairs_answered(parent: ParentKey, answers: Sequence[str]) -> RepairsAnswered:
    """The gateway's answers, by their values: done, failed, withdrawn."""
    done, failed, withdrawn = (answers.count(each) for each in ("done", "failed", "withdrawn"))
    return RepairsAnswered(parent=str(parent), done=done, failed=failed, withdrawn=withdrawn)
