"""Shadow mode: the whole operator runs beside a live one, writes nothing, and counts how its Plans compare with what happens.

::

    StatusWanted ─▶ ShadowWriter ──┐                    ┌── the record, as the live operator's write left it
                                   ├─▶ after the grace ─┤
    a call       ─▶ ShadowBackend  ┘   same? differs?   └── what a look at this instant would want

Only ports are replaced. A status that is wished for is taken for written, a call is answered as accepted, and neither leaves
the process; an Event is dropped. What the live operator repairs shows in the ``repairing`` counts of its status, which are
compared like the rest. What cannot be compared is left out: when a condition turned (that is told in whole seconds), and
what the backend answers (nothing was asked of it).

The world may change between the two operators' looks, so a wish is judged a *grace* after it came: the parent's longest
debounce, and what a write may take. Then the Plan of that instant is held against the record of that instant, because the
wish itself may be old news by then. One that differs is looked at again now and then, until it agrees.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from attrs import define

from ..core.difference import brief, differences
from ..core.events import ShadowAgreed, ShadowDiffered
from ..core.model import EventNote, ParentKey
from ..core.ports import Backend, Call, ItemResult, Reply, StatusWriter, Written
from ..tree import System
from .collector import Collector

__all__ = ["Shadow", "ShadowBackend", "ShadowWriter"]

WRITE_S = 10.0  # the longest that a status write takes before it is given up: of the real writer's requests
CHECK_EVERY_S = 0.5
CHECKED_AT_ONCE = 50  # a plan costs some 0.1 ms, and this runs on the timers' thread
AGAIN_S = 10.0  # between looks at one that differs
WISHES_MAX = 100_000  # parents; beyond it the oldest wish is not judged
_TIMES = frozenset({"lastTransitionTime"})
_UNSEEN = "BackendReachable"


class ShadowWriter(StatusWriter):
    """Takes each status for written. ``written`` and ``events`` count what would have been."""

    def __init__(self, shadow: Shadow) -> None:
        self.written = 0
        self.events = 0
        self._shadow = shadow

    def patch_status(self, parent: ParentKey, uid: str, version: int, status: dict[str, Any]) -> Written:
        """See the port. On a thread of the executor; nothing leaves."""
        self.written += 1
        self._shadow.wished(parent)
        return Written(version=version, status=status)

    def record_event(self, parent: ParentKey, uid: str, note: EventNote) -> None:
        """See the port."""
        self.events += 1


class ShadowBackend(Backend):
    """Answers each item as accepted. ``calls`` and ``items`` count what would have been."""

    def __init__(self) -> None:
        self.calls = 0
        self.items = 0

    def send(self, call: Call) -> Reply:
        """See the port. Nothing leaves."""
        self.calls += 1
        self.items += len(call.items)
        return Reply(results={item.key: ItemResult(status="accepted") for item in call.items})


@define(eq=False)
class _Wish:
    due_s: float | None = None  # None: its grace begins at the next check, on the thread that has the clock
    differs: str = ""


class Shadow:
    """Judges the wishes of ``system``, once that is there. ``grace_s`` beyond the parent's own longest debounce."""

    def __init__(self, grace_s: float = WRITE_S) -> None:
        self.writer = ShadowWriter(self)
        self.backend = ShadowBackend()
        self.agreed = 0
        self.differed = 0
        self._grace_s = grace_s
        self._wishes: OrderedDict[ParentKey, _Wish] = OrderedDict()
        self._system: System | None = None
        self._collector: Collector | None = None

    def start(self, system: System) -> None:
        """Begin to judge, on the dispatcher's timers."""
        self._system, self._collector = system, Collector(system)
        self._later()

    def wished(self, parent: ParentKey) -> None:
        """A status of that parent would have been written. Any thread: one step under the interpreter's lock."""
        self._wishes[parent] = _Wish()

    def statistics(self) -> dict[str, Any]:
        """Counts, and up to 100 parents that differ now, each with how. Any thread."""
        differing = {str(key): wish.differs for key, wish in list(self._wishes.items()) if wish.differs}
        return {
            "agreed": self.agreed, "differed": self.differed, "pending": len(self._wishes) - len(differing),
            "differing": dict(list(differing.items())[:100]), "statuses": self.writer.written, "events": self.writer.events,
            "calls": self.backend.calls, "items": self.backend.items,
        }  # fmt: skip

    # --- judging ------------------------------------------------------------------------------------------------------
    def _later(self) -> None:
        assert self._system is not None
        self._system.dispatcher.after(CHECK_EVERY_S, self._check)

    def _check(self) -> None:
        assert self._system is not None
        now_s = self._system.dispatcher.clock.now()
        wishes = list(self._wishes.items())
        for parent, wish in wishes:
            if wish.due_s is None:
                wish.due_s = now_s + self._allowed_s(parent)
        due = [(parent, wish) for parent, wish in wishes if wish.due_s is not None and wish.due_s <= now_s]
        for parent, wish in due[:CHECKED_AT_ONCE]:
            self._judge(parent, wish, now_s)
        for parent, wish in wishes[: max(0, len(wishes) - WISHES_MAX)]:
            self._over(parent, wish)
        self._later()

    def _allowed_s(self, parent: ParentKey) -> float:
        assert self._system is not None
        record, policy = self._system.store.parent(parent), self._system.settings.policy
        return (policy if record is None else policy.over(record.spec)).debounce_max_s + self._grace_s

    def _judge(self, parent: ParentKey, wish: _Wish, now_s: float) -> None:
        assert self._system is not None
        assert self._collector is not None
        record, actor = self._system.store.parent(parent), self._collector.cluster(parent)
        try:
            plan = actor.plan() if actor is not None else None
        except Exception:  # noqa: BLE001 - records that change under the look; on this thread nothing may raise
            return  # the next check tells
        if record is not None and plan is None and wish.differs:
            wish.due_s = now_s + AGAIN_S  # its actor sleeps, or is down: what differed then still does
            return
        if record is None or plan is None:
            self._over(parent, wish)  # it is gone; or its actor looks again when it is back
            return
        found = differences(_comparable(record.status), _comparable(plan.status), but=_TIMES)
        if not found:
            self.agreed += 1
            self._system.dispatcher.facts(ShadowAgreed(parent=str(parent)))
            self._over(parent, wish)
            return
        text = brief(found)
        if text != wish.differs:
            wish.differs = text
            self.differed += 1
            self._system.dispatcher.facts(ShadowDiffered(parent=str(parent), difference=text))
        wish.due_s = now_s + AGAIN_S

    def _over(self, parent: ParentKey, wish: _Wish) -> None:
        if self._wishes.get(parent) is wish:  # else a newer one has come
            del self._wishes[parent]


def _comparable(status: dict[str, Any]) -> dict[str, Any]:
    """Without what a shadow cannot know."""
    conditions = status.get("conditions")
    if not isinstance(conditions, list):
        return status
    kept = [each for each in conditions if not (isinstance(each, dict) and each.get("type") == _UNSEEN)]
    return {**status, "conditions": kept}
