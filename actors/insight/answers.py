"""What the shell's ``why``, ``history`` and ``plan`` answer, as JSON values: a command only reads its arguments."""

from __future__ import annotations

from typing import Any

from ..cluster import ClusterActor
from ..core.model import ParentKey
from ..core.planned import plan_view
from ..core.ports import Clock
from ..core.whylog import WhyLog, told
from .collector import LOOKS_MAX, Collector

__all__ = ["explain", "history", "plan"]


def explain(collector: Collector, clock: Clock, key: ParentKey, child: str = "") -> dict[str, Any]:
    """``why PARENT [CHILD]``. Passive."""
    return collector.why(key, child).as_json(clock.wall())


def history(log: WhyLog, clock: Clock, key: ParentKey) -> list[dict[str, Any]]:
    """``history PARENT``: its causes, the oldest first, each with how long ago. Passive."""
    now_s, wall_s = clock.now(), clock.wall()
    return [
        {
            "at": round(wall_s - (now_s - entry.last_s), 3),
            "ago_s": round(now_s - entry.last_s, 3),
            "times": entry.times,
            "what": type(entry.fact).__name__,
            "fields": ", ".join(f"{name} {value}" for name, value in told(entry.fact, str(key)).items()),
        }
        for entry in log.history(str(key))
    ]


def plan(actor: ClusterActor | None, key: ParentKey) -> dict[str, Any]:
    """``plan PARENT``: what a look at this instant would do. Does nothing.

    Best on the actor's own turn (``Look``); from another thread it is read again where it changed meanwhile. An actor that
    is not up, or has not been sent every kind, has no plan yet: then ``why`` tells what it waits for.
    """
    for _ in range(LOOKS_MAX):
        try:
            wanted = actor.plan() if actor is not None else None
            if actor is None or wanted is None:
                break
            now_s = actor.ctx.clock.now()
            return plan_view(key, actor.standing, list(actor._asked), wanted, dict(actor._roll.eligible), now_s)
        except RuntimeError:  # a dict changed its size during the iteration
            continue
    return {"parent": str(key), "nothing": True, "unknown": "its actor is not up, or waits for records: see `why`"}
