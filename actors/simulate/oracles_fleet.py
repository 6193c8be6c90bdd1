"""The valve over all parents: no call while too many of everybody are in trouble, nor soon after; and parents say why.

Judged by what has been delivered, by other code than the record store's. While too many are in trouble the backend counts as
impaired, because nothing is repaired then, and until the valve must have opened again.
"""

from __future__ import annotations

import math
from typing import ClassVar

from ..core.fleet_valve import LOOK_EVERY_S, SETTLED_S
from ..core.model import Child, Parent, ParentKey
from ..core.ports import Call
from ..messages import ItemsAnswered, RepairsWanted
from .court import Oracle, actor_of, key_of
from .oracles_backend import why_held
from .stage import Stage

__all__ = ["FLEET_ORACLES", "FleetHeld", "mend"]

LATE_S = 1.0
TURN_S = 0.05
"""What is delivered is on record within this, where nothing is slow."""
NOTICED_S = LOOK_EVERY_S + LATE_S
"""Trouble that lasts for so long has been looked at."""
REASON = "FleetTooManyUnhealthy"


class FleetHeld(Oracle):
    """No call begins while the share is exceeded, or before it has been kept for a minute; statuses say so meanwhile."""

    name: ClassVar[str] = "fleet-held"
    promise: ClassVar[str] = "valve"

    def attend(self) -> None:
        self.begin_life()
        self.court.on_material.append(lambda parent, kind: self._changed(parent))
        share = self.stage.settings.fleet_share
        if share.percent is not None and share.percent >= 100.0:
            return
        self.stage.on_mail.append(lambda kind, mail: self._look())
        self.stage.backend.on_send.append(self._sent)
        self.court.hear(RepairsWanted, self._wanted)
        self.court.hear(ItemsAnswered, self._answered)
        self._tick()

    def begin_life(self) -> None:
        self.over_s: float | None = None
        """Since when the share is exceeded."""
        self.until_s = -math.inf
        """Until when it was, the last time."""
        self._from_s = -math.inf
        self._told_s: dict[ParentKey, float] = {}
        """When a parent's annotation came."""
        self._passed_s: dict[ParentKey, float] = {}
        """Who overrode the valve, and when last."""
        self._asked: dict[ParentKey, tuple[float, set[str]]] = {}
        """Who waits for an answer since when, and under which keys."""

    def counts(self) -> tuple[int, int]:
        """How many are eligible, of how many."""
        records = self.court.mirror.records
        children = [
            each for kind in self.stage.child_kinds for each in records[kind].values() if isinstance(each, Child)
        ]
        return sum(child.eligible for child in children), len(children)

    def exceeded(self) -> bool:
        """By the promise's words."""
        eligible, total = self.counts()
        share, floor = self.stage.settings.fleet_share, self.stage.settings.fleet_floor
        if share.percent is None:
            return eligible > (share.absolute or 0)
        return eligible > max(floor, math.floor(total * share.percent / 100))

    def shut(self) -> bool:
        """Whether the valve may be closed, by all that is known."""
        return self.over_s is not None or self.now <= self.until_s + SETTLED_S + 4 * LOOK_EVERY_S

    def overrides(self, parent: ParentKey) -> bool:
        """Whether it surely overrides the valves: its actor and the gateway have had time to hear of it."""
        told_s = self._told_s.get(parent, math.inf)
        parts = ("actor:gateway", "actor:directory", f"actor:{actor_of(parent)}")
        late = self.now <= told_s + self._late_s(parent) or not self._sees(told_s, *parts)
        return self.court.overridden(parent) is True and not late

    def why_open(self, parent: ParentKey) -> str:
        """Why the valve cannot hold it; "" if it may: too many are in trouble, or were a while ago."""
        if self.overrides(parent):
            return "it overrides the valve"
        return "" if self.shut() or self.exceeded() else f"{self.counts()} are within"

    def _look(self) -> None:
        if self.exceeded():
            if self.over_s is None:
                self.over_s = self.now
            self.stage.impair("backend", self.now + SETTLED_S + 6 * LOOK_EVERY_S)
        elif self.over_s is not None:
            self._from_s, self.until_s, self.over_s = self.over_s, self.now, None

    def _changed(self, parent: ParentKey) -> None:
        """It overrides, or has until this very news of it."""
        old = self.court.mirror.changing[1]
        spec = old.spec if isinstance(old, Parent) else None
        if self.court.overridden(parent) is not False or (spec is not None and spec.override_until_s is not None):
            self._passed_s[parent] = self._told_s[parent] = self.now

    def _late_s(self, parent: ParentKey) -> float:
        """Within this, what a parent's annotation says is known to its actor and the gateway."""
        return self.court.policy(parent).debounce_max_s + LATE_S

    def _overrode(self, parent: ParentKey) -> bool:
        """Whether it overrides the valve, or did so lately."""
        if self.court.overridden(parent) is not False:
            self._passed_s[parent] = self.now
        return self._passed_s.get(parent, -math.inf) >= self.now - self._late_s(parent)

    def _tick(self) -> None:
        self._look()
        if self.over_s is not None:
            for parent, (asked_s, _) in self._asked.items():
                self._says_so(parent, max(asked_s, self.over_s))
        self.stage.world.after(LOOK_EVERY_S, self._tick)

    def _wanted(self, _actor: str, message: RepairsWanted) -> None:
        since_s, _ = self._asked.pop(message.parent, (self.now, set()))
        if message.items:
            self._asked[message.parent] = since_s, {item.key for item in message.items}

    def _answered(self, actor: str, message: ItemsAnswered) -> None:
        if (waits := self._asked.get(parent := key_of(actor))) is not None:
            waits[1].difference_update(message.answers)
            if not waits[1]:
                del self._asked[parent]

    def _sees(self, since_s: float, *parts: str) -> bool:
        """Whether what was delivered since then has been read."""
        return (
            self.stage.calm(since_s, "operator", "actor:gateway", *self.court.watchers, *parts)
            and self.court.all_listed
        )

    def _sent(self, call: Call) -> None:
        self.exercised += 1
        parents = {item.parent for item in call.items}
        held = [parent for parent in sorted(parents) if not self._overrode(parent)]
        actors = [f"actor:{actor_of(parent)}" for parent in parents if parent in self._passed_s]
        if not held or not self.stage.calm(self.now - 60.0, *actors):
            return
        eligible, total = self.counts()
        if self.over_s is not None:
            if self.over_s < self.now - TURN_S and self._sees(self.over_s - LATE_S):
                self.no(
                    f"a call for {held[0]} although {eligible} of all {total} are in trouble, since {self.over_s:.3f} s"
                )
            return
        noticed = self.until_s - self._from_s > NOTICED_S and self._sees(self._from_s - LATE_S)
        if noticed and self.now < self.until_s + SETTLED_S - LATE_S:
            since_s = self.now - self.until_s
            self.no(f"a call {since_s:.1f} s after too many were in trouble, {SETTLED_S:g} s are to pass")

    def _says_so(self, parent: ParentKey, since_s: float) -> None:
        """Its condition names what holds its repairs."""
        bound_s = NOTICED_S + self.court.policy(parent).debounce_max_s + LATE_S
        name = parent.name
        kinds = (f"api:{kind}" for kind in self.court.kinds)
        parts = ("write", f"write:{name}", f"actor:{actor_of(parent)}", "actor:status", "actor:directory", *kinds)
        if self.now - since_s <= bound_s or not self._sees(since_s - LATE_S, *parts) or not self.court.works(parent):
            return
        conditions = (self.stage.status(parent) or {}).get("conditions", [])
        reason = next((each["reason"] for each in conditions if each["type"] == "RemediationAllowed"), "")
        self.exercised += 1
        held = self.court.mirror.eligible(parent) and not why_held(self.court, parent)
        if held and reason != REASON and not self._overrode(parent):
            self.no(f"{parent} waits since {since_s:.1f} s for the valve over all parents, and says {reason}")

    def healed(self) -> None:
        for parent in self.stage.truth.parents:
            conditions = (self.stage.status(parent) or {}).get("conditions", [])
            if any(each["reason"] == REASON for each in conditions) and self.court.works(parent) and not self.shut():
                self.no(f"{parent} still says that the repairs of all are held")


def mend(stage: Stage) -> None:
    """What everybody shares is mended: nodes that are not well report well again, until few are left."""
    share = stage.settings.fleet_share
    if share.percent is not None and share.percent >= 100.0:
        return
    sick = [node for node in stage.truth.nodes.values() if node.healthy is not True]
    left = stage.settings.fleet_floor if share.absolute is None else share.absolute
    for node in sick[
        max(0, left - 1) :
    ]:  # there is room for the one that stays sick, where that is what is left broken
        stage.report(node.name, True, kind=node.kind)


FLEET_ORACLES: tuple[type[Oracle], ...] = (FleetHeld,)
