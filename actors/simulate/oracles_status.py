"""What a parent's status may say, and when: never what was not true, never late without a reason, never for nothing."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from typing import Any, ClassVar

from ..core.events import Reconciled, RecordSkipped
from ..core.model import Child, ParentKey, Record
from ..core.ports import Objects
from ..messages import (
    BackendState,
    DebounceEnded,
    ItemsAnswered,
    RepairsWanted,
    StatusAnswered,
    StatusWanted,
)
from .court import Oracle, actor_of, counted, key_of

__all__ = ["SLACK_S", "STATUS_ORACLES"]

TIGHT_S = 2.0
"""How old a written count may be when nothing is impaired: a round trip to read, one to write, and a turn each."""
SLACK_S = 1.0
"""What a status may be late beyond the longest debounce: two round trips and the writes of others before it."""


class StatusTrue(Oracle):
    """Per kind: every written count was true at some instant within the staleness bound. And the sums are sums."""

    name: ClassVar[str] = "status-was-true"
    promise: ClassVar[str] = "I6"

    def attend(self) -> None:
        self.stage.writer.on_write.append(self._written)
        self.stage.listen(RecordSkipped, lambda fact: setattr(self.court, "skipped", True))

    def _written(self, parent: ParentKey, uid: str, changed: bool, status: dict[str, Any]) -> None:
        if actor_of(parent) in self.court.quarantined or self.court.skipped:
            return  # a quarantined parent keeps its counts, and says that they are old
        totals = (0, 0, 0)
        for kind in self.court.truth_kinds:
            said = counted(status, kind)
            if said is None:
                self.no(f"{parent}: the status says nothing of {kind}")
                continue
            totals = (totals[0] + said[0], totals[1] + said[1], totals[2] + said[2])
            self.exercised += 1
            start_s = self._window_start_s(parent, kind)
            if not self.court.possible(parent, kind, said, start_s):
                true = self.stage.truth.history(parent, kind).since(start_s)[-8:]
                self.no(f"{parent}: {kind} {said} is written; since {start_s:.3f} s there was {true}")
        if (status.get("healthy"), status.get("unhealthy"), status.get("unknown")) != totals:
            self.no(f"{parent}: the sums are {totals}, the status says otherwise: {status}")
        if status.get("total") != sum(totals):
            self.no(f"{parent}: total {status.get('total')} is not the sum of {totals}")

    def _window_start_s(self, parent: ParentKey, kind: str) -> float:
        """From when on a value may have been true: tight, unless something on the way is impaired or just was."""
        tight_s = start_s = self.now - TIGHT_S
        if self.stage.impaired_s < tight_s:
            return tight_s
        for part in (f"api:{kind}", "write", f"write:{parent.name}", "operator", f"actor:{actor_of(parent)}"):
            until_s = self.stage.impaired_until_s.get(part, -math.inf)
            if until_s >= tight_s:
                start_s = min(start_s, self.stage.impaired_from_s[part] - TIGHT_S)
        return start_s


class StatusFresh(Oracle):
    """Counting never waits for repairing: a change is in the status within the longest debounce and one write.

    Judged for each parent by what is impaired of *its* way only: another kind's outage, another parent's crash and the
    backend's troubles are no excuse.
    """

    name: ClassVar[str] = "status-fresh"
    promise: ClassVar[str] = "lanes"

    def attend(self) -> None:
        self._pending: set[tuple[ParentKey, str]] = set()
        self.stage.truth.on_counts.append(self._changed)

    def _allowed_s(self, parent: ParentKey) -> float:
        return self.court.policy(parent).debounce_max_s + SLACK_S + 4 * self.stage.writer.rtt_s

    def _changed(self, parent: ParentKey, kind: str) -> None:
        if (parent, kind) not in self._pending:
            self._pending.add((parent, kind))
            changed_s = self.now
            self.stage.world.after(self._allowed_s(parent), lambda: self._due(parent, kind, changed_s))

    def _due(self, parent: ParentKey, kind: str, changed_s: float) -> None:
        self._pending.discard((parent, kind))
        history = self.stage.truth.history(parent, kind)
        if history.times and history.times[-1] > changed_s:
            self._pending.add((parent, kind))
            last_s = history.times[-1]
            delay_s = last_s + self._allowed_s(parent) - self.now
            self.stage.world.after(max(0.0, delay_s), lambda: self._due(parent, kind, last_s))
        if not self.court.expected(parent, kind, changed_s - 1.0) or self.court.skipped:
            return
        status = self.stage.status(parent)
        said = None if status is None else counted(status, kind)
        if status is None:
            return
        self.exercised += 1
        if said is None or not self.court.possible(parent, kind, said, changed_s):
            true = history.since(changed_s)
            waited_s = self.now - changed_s
            self.no(f"{parent}: {kind} is {said} {waited_s:.2f} s after a change; since then there was {true[-8:]}")


class NoLostWakeup(Oracle):
    """News that were delivered cause a reconcile within the longest wait: no periodic healing is needed for it."""

    name: ClassVar[str] = "no-lost-wakeup"
    promise: ClassVar[str] = "I9"

    def attend(self) -> None:
        self._unseen_s: dict[ParentKey, float] = {}
        self._before: dict[ParentKey, dict[tuple[str, str], tuple[float, Record | None]]] = {}
        self._left_out: set[str] = set()
        self.court.on_material.append(self._material)
        self.stage.on_poisoned.append(lambda actor, urn, uid: self._left_out.add(uid))
        self.stage.listen(Reconciled, self._reconciled)

    def begin_life(self) -> None:
        self._unseen_s.clear()
        self._before.clear()

    def _material(self, parent: ParentKey, kind: str) -> None:
        uid, old = self.court.mirror.changing
        now_s = self.now
        self._before.setdefault(parent, {}).setdefault((kind, uid), (now_s, old))
        if parent not in self._unseen_s or kind == self.stage.fleet.parent.kind:  # children may have waited for it
            self._unseen_s[parent] = now_s
            self._watch(parent, now_s)

    def _watch(self, parent: ParentKey, since_s: float) -> None:
        delay_s = self.court.policy(parent).debounce_max_s + SLACK_S - (self.now - since_s)
        life = self.stage.lives
        self.stage.world.after(delay_s, lambda: self._due(parent, since_s, life))

    def _due(self, parent: ParentKey, since_s: float, life: int) -> None:
        if life != self.stage.lives or self._unseen_s.get(parent) != since_s or self.stage.process is None:
            return
        parts = ("operator", f"actor:{actor_of(parent)}", "actor:directory", *self.court.watchers)
        waited = not self.court.all_listed or self.court.relisted_s >= since_s
        if waited or not self.court.works(parent) or not self.stage.calm(since_s - 1.0, *parts):
            del self._unseen_s[parent]  # other oracles judge the counts; when this one's way is clear, it begins anew
            self._before.pop(parent, None)
            return
        self.exercised += 1
        del self._unseen_s[parent]
        news_s = min(self._news(parent), default=math.inf)
        if news_s <= since_s:
            self.no(f"{parent} was not reconciled within {self.now - since_s:.2f} s after news of it were delivered")
        elif news_s < math.inf:  # what came first went again; this came later
            self._unseen_s[parent] = news_s
            self._watch(parent, news_s)

    def _news(self, parent: ParentKey) -> Iterator[float]:
        """Since when what is other than at the last look: mail coalesces, and what came and went is no news.

        Nor is it any when an object is again what it was before a version of it that had to be left out.
        """
        for (kind, uid), (at_s, before) in self._before.get(parent, {}).items():
            if uid in self._left_out:
                continue
            old, new = _of(parent, before), _of(parent, self.court.mirror.records[kind].get(uid))
            if isinstance(old, Child) and isinstance(new, Child):
                if not old.same_matter(new) or old.incident != new.incident:
                    yield at_s
            elif new is not old:
                yield at_s

    def _reconciled(self, fact: Reconciled) -> None:
        parent = key_of(fact.parent)
        self._before.pop(parent, None)
        if self._unseen_s.pop(parent, None) is not None:
            self.exercised += 1


def _of(parent: ParentKey, record: Record | None) -> Record | None:
    """What that parent has of it: another's child is none."""
    return None if isinstance(record, Child) and record.parent != parent else record


class Debounced(Oracle):
    """A debounced reconcile comes no sooner than the quiet time after the last news, but for the longest wait."""

    name: ClassVar[str] = "debounce-kept"
    promise: ClassVar[str] = "debounce"

    def attend(self) -> None:
        self._first_s: dict[str, float] = {}
        self._last_s: dict[str, float] = {}
        self._spec_s: dict[str, float] = {}
        self._hasty: dict[str, tuple[float, str]] = {}
        self.court.on_material.append(self._material)
        self.court.hear(DebounceEnded, self._ended)
        for kind in (BackendState, ItemsAnswered, StatusAnswered, Objects):
            self.court.hear(kind, self._perhaps)
        self.stage.listen(Reconciled, self._reconciled)

    def begin_life(self) -> None:
        self._first_s.clear()
        self._last_s.clear()

    def _material(self, parent: ParentKey, kind: str) -> None:
        actor, now_s = actor_of(parent), self.now
        self._first_s.setdefault(actor, now_s)
        self._last_s[actor] = now_s
        if kind == self.stage.fleet.parent.kind:
            self._spec_s[actor] = now_s

    def _perhaps(self, actor: str, message: Any) -> None:
        watched = self.stage.fleet.parent.kind
        if isinstance(message, Objects) and not message.replace and message.kind != watched:
            return  # (a new version of the parent may be what others have done to it)
        self._first_s.setdefault(actor, self.now)

    def _ended(self, actor: str, _message: DebounceEnded) -> None:
        first_s, last_s = self._first_s.get(actor), self._last_s.get(actor)
        if first_s is None or last_s is None or self._spec_s.get(actor, -100.0) > self.now - 10.0:
            return
        policy = self.court.policy(key_of(actor))
        due_s = min(last_s + policy.debounce_quiet_s, first_s + policy.debounce_max_s)
        if last_s >= self.now or not self.stage.calm(
            self.now - 1.0, "operator", f"actor:{actor}", *self.court.watchers
        ):
            return
        self.exercised += 1
        if self.now < due_s - 0.001:
            why = f"{actor} looked {self.now - last_s:.3f} s after the last news, {policy.debounce_quiet_s} s are quiet"
            self._hasty[actor] = (self.now, why)

    def _reconciled(self, fact: Reconciled) -> None:
        actor = f"cluster/{fact.parent}"
        ended_s, why = self._hasty.pop(actor, (-1.0, ""))
        if ended_s == self.now:  # a timer that ends too soon is none, if it is only made anew
            self.no(why)
        if self._last_s.get(actor, -1.0) >= self.now:  # at this very instant: it may be waiting behind the look
            self._first_s[actor] = self.now
        else:
            self._first_s.pop(actor, None)


class NothingForNothing(Oracle):
    """A status write changes something; and there is no storm of them."""

    name: ClassVar[str] = "no-write-for-nothing"
    promise: ClassVar[str] = "no write for nothing"

    def attend(self) -> None:
        self._sent_s: dict[ParentKey, deque[float]] = {}
        self.stage.writer.on_write.append(self._written)
        self.stage.writer.on_send.append(self._sent)

    def _written(self, parent: ParentKey, uid: str, changed: bool, status: dict[str, Any]) -> None:
        # Where an answer was lost nobody knows what stands there: writing once more is right then.
        if not self.stage.calm(self.now - 1.0, "write", f"write:{parent.name}", "operator"):
            return
        self.exercised += 1
        if not changed:
            self.no(f"{parent}: a status was written that was there already")

    def _sent(self, parent: ParentKey) -> None:
        """Whatever becomes of it: a server that refuses or is away is not to be hammered either."""
        recent = self._sent_s.setdefault(parent, deque())
        while recent and self.now - recent[0] >= 1.0:
            recent.popleft()
        recent.append(self.now)
        limit = 1.0 / max(0.02, self.court.policy(parent).debounce_quiet_s) + 6
        if len(recent) > limit and self.stage.calm(self.now - 1.0, f"actor:{actor_of(parent)}", "actor:status"):
            self.no(f"{parent}: {len(recent)} status writes within a second")


class Synced(Oracle):
    """No status is wished for and no repair asked before every kind has been listed completely."""

    name: ClassVar[str] = "synced-first"
    promise: ClassVar[str] = "synced"

    def attend(self) -> None:
        self.court.hear(RepairsWanted, self._repairs)
        self.court.hear(StatusWanted, self._status)

    def _repairs(self, actor: str, message: RepairsWanted) -> None:
        if message.items:
            self._judge("repairs are asked", message.parent)

    def _status(self, actor: str, message: StatusWanted) -> None:
        system = self.stage.system
        if system is not None and message.reply_to == system.refs.get("directory"):
            return  # that a parent is in quarantine: nothing is counted for it
        self._judge("a status is wished", message.parent)

    def _judge(self, what: str, parent: ParentKey) -> None:
        self.exercised += 1
        if not self.court.mirror.synced.issuperset(self.court.kinds):
            missing = sorted(set(self.court.kinds) - self.court.mirror.synced)
            self.no(f"{what} for {parent} before {', '.join(missing)} has been listed")


class NoRegress(Oracle):
    """What is delivered is never older than what was delivered before."""

    name: ClassVar[str] = "no-regress"
    promise: ClassVar[str] = "I10"

    def attend(self) -> None:
        self.court.on_material.append(self._material)

    def _material(self, parent: ParentKey, kind: str) -> None:
        self.exercised += 1  # the mirror itself compares the versions, and calls ``no``


STATUS_ORACLES: tuple[type[Oracle], ...] = (
    StatusTrue, StatusFresh, NoLostWakeup, Debounced, NothingForNothing, Synced, NoRegress,
)  # fmt: skip
