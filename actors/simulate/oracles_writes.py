"""Our own writes and those of others: nothing surprises us that we did, and nothing stays that others did."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

from ..core.events import Reconciled, StatusFailed
from ..core.model import ParentKey
from ..core.ports import Objects
from ..messages import LookAgain
from .court import Oracle, actor_of, key_of

__all__ = ["WRITE_ORACLES"]

WRITE_SLACK_S = 1.0
"""Beyond the longest debounce: two round trips, and the writes of others before it."""
CONFLICTS_S = 45.0
"""What has not come after some seconds is asked for by a list; two such lists are 30 s apart, and so are two askings."""


class OwnWrites(Oracle):
    """We know what we have written: no conflict with ourselves, and no reconcile for our own echo. A deadline looks at once."""

    name: ClassVar[str] = "own-writes-known"
    promise: ClassVar[str] = "no write for nothing"

    def attend(self) -> None:
        self._foreign_s: dict[ParentKey, float] = {}
        self._looked_s: dict[str, float] = {}
        self._woken_s: dict[str, float] = {}
        self.stage.truth.on_parent.append(self._changed)
        self.stage.listen(StatusFailed, self._failed)
        self.stage.listen(Reconciled, self._reconciled)
        self.court.hear(LookAgain, self._look_again)
        self.court.on_list.append(self._listed)

    def _changed(self, parent: ParentKey, old: Any, new: Any) -> None:
        if not self.stage.writer.writing:
            self._foreign_s[parent] = self.now

    def _listed(self, actor: str, _mail: Objects) -> None:
        self._woken_s[actor] = self.now  # an actor that has just woken, or a new list: everything is news to it

    def _alone(self, parent: ParentKey, for_s: float) -> bool:
        """Whether nobody else has touched it lately, and nothing on the way was impaired."""
        parts = (
            "operator", "write", f"write:{parent.name}", f"api:{self.stage.fleet.parent.kind}", "actor:directory",
            f"actor:{actor_of(parent)}", "actor:status", f"actor:watcher/{self.stage.fleet.parent.kind}",
        )  # fmt: skip
        since_s = self.now - for_s
        return self._foreign_s.get(parent, -1.0) < since_s and self.stage.calm(since_s, *parts)

    def _failed(self, fact: StatusFailed) -> None:
        parent = key_of(fact.parent)
        if fact.reason == "Conflict" and self._alone(parent, 10.0):
            self.exercised += 1
            self.no(f"{parent}: a conflict, and nobody else has written: {fact.message}")

    def _reconciled(self, fact: Reconciled) -> None:
        self._looked_s[f"cluster/{fact.parent}"] = self.now
        if fact.cause != self.stage.fleet.parent.kind:
            return
        parent = key_of(fact.parent)
        if self._alone(parent, 10.0) and self.now > 20.0:
            self.exercised += 1
            new = self.stage.truth.created_s.get(self._uid(parent), self.now) >= self.now - 10.0
            if not new and self._woken_s.get(actor_of(parent), -1.0) < self.now - 5.0:
                self.no(f"{parent} is reconciled for its own write")

    def _uid(self, parent: ParentKey) -> str:
        obj = self.stage.truth.parents.get(parent)
        return "" if obj is None else str(obj["metadata"]["uid"])

    def _look_again(self, actor: str, message: LookAgain) -> None:
        at_s, life = self.now, self.stage.lives
        self.stage.world.after(0.001, lambda: self._due(actor, at_s, life))

    def _due(self, actor: str, at_s: float, life: int) -> None:
        parent = key_of(actor)
        # After a death of its own it is filled by all of them.
        calm = self.stage.calm(at_s - 1.0, "operator", f"actor:{actor}", *self.court.watchers)
        if life != self.stage.lives or not calm or not self.court.works(parent) or not self.court.all_listed:
            return
        self.exercised += 1
        if self._looked_s.get(actor, -1.0) < at_s and self._woken_s.get(actor, -1.0) < at_s - 5.0:
            self.no(f"{actor} did not look at its deadline")


class StatusKept(Oracle):
    """What another writer puts into a parent's status does not stay: it is put right as soon as a change would be told."""

    name: ClassVar[str] = "status-kept"
    promise: ClassVar[str] = "truth"

    def attend(self) -> None:
        self._meddled_s: dict[ParentKey, float] = {}
        self.stage.truth.on_parent.append(self._changed)

    def _changed(self, parent: ParentKey, old: Any, new: Any) -> None:
        if old is None or new is None or self.stage.writer.writing or old.get("status") == new.get("status"):
            return
        self._meddled_s[parent] = self.now
        delay_s = self.court.policy(parent).debounce_max_s + WRITE_SLACK_S + 4 * self.stage.writer.rtt_s
        self.stage.world.after(delay_s, partial(self._due, parent, self.now))

    def _due(self, parent: ParentKey, at_s: float) -> None:
        watched = self.stage.fleet.parent.kind
        if self._meddled_s[parent] != at_s or not self.court.expected(parent, watched, at_s - 1.0):
            return
        status = self.stage.status(parent) or {}
        self.exercised += 1
        for name in ("healthy", "unhealthy", "unknown", "total"):
            counted_sum = sum(each.get(name, 0) for each in status.get("kinds") or ())
            if status.get(name) != counted_sum:
                self.no(f"{parent}: {name} {status.get(name)} was written by others at {at_s:.3f} s, and stays")


class ConflictEnds(Oracle):
    """Conflicts for want of the newest object do not go on: whoever misses it has it listed, if lists are answered."""

    name: ClassVar[str] = "conflicts-end"
    promise: ClassVar[str] = "truth"

    def attend(self) -> None:
        self._since_s: dict[ParentKey, float] = {}
        self.stage.truth.on_parent.append(self._changed)
        self.stage.writer.on_write.append(lambda parent, uid, changed, status: self._end(parent))
        self.stage.listen(StatusFailed, self._failed)

    def begin_life(self) -> None:
        self._since_s.clear()

    def _end(self, parent: ParentKey) -> None:
        self.exercised += parent in self._since_s
        self._since_s.pop(parent, None)

    def _changed(self, parent: ParentKey, old: Any, new: Any) -> None:
        if parent in self._since_s and not self.stage.writer.writing:
            self._since_s[parent] = self.now  # a newer one still

    def _failed(self, fact: StatusFailed) -> None:
        parent, watched = key_of(fact.parent), self.stage.fleet.parent.kind
        if fact.reason != "Conflict":
            return
        since_s = self._since_s.setdefault(parent, self.now)
        parts = (
            "operator", "write", f"write:{parent.name}", f"list:{watched}", "actor:status", "actor:directory",
            f"actor:{actor_of(parent)}", f"actor:watcher/{watched}",
        )  # fmt: skip
        if self.now - since_s > CONFLICTS_S and self.stage.calm(since_s - 1.0, *parts):
            self.no(f"{parent}: conflicts since {since_s:.3f} s, and nobody lists: {fact.message}")


WRITE_ORACLES: tuple[type[Oracle], ...] = (OwnWrites, StatusKept, ConflictEnds)
