"""What the backend may see: the quota, batches, duplicates, and who is repaired (in what order: ``oracles_served``)."""

from __future__ import annotations

import math
from collections import deque
from typing import ClassVar

from ..core.errors import CallTimeout, Refused, Throttled, Unavailable
from ..core.events import ActorCrashed, ItemsWithdrawn
from ..core.model import Item, ParentKey, Policy
from ..core.ports import Call
from ..core.quota import SPACING
from ..messages import CallEnded, CloseUp, PauseWanted, RepairsWanted
from ..sim.backend import Answer, Repair
from .court import Court, Oracle, actor_of

__all__ = ["BACKEND_ORACLES", "why_held"]

EPS_S = 1e-6


class QuotaKept(Oracle):
    """At the backend's own arrival log, over every life of the operator."""

    name: ClassVar[str] = "quota-kept"
    promise: ClassVar[str] = "quota"

    def attend(self) -> None:
        self._recent: deque[float] = deque()
        self.stage.backend.on_arrival.append(self._arrived)

    def _arrived(self, call: Call, answer: Answer) -> None:
        self.exercised += 1
        quota, now, recent = self.stage.settings.quota, self.now, self._recent
        while recent and now - recent[0] >= quota.window_s:
            recent.popleft()
        recent.append(now)
        if len(recent) > quota.calls:
            self.no(f"{len(recent)} calls arrived within {quota.window_s:g} s, {quota.calls} are allowed")


class BatchesRight(Oracle):
    """Sizes, and no node twice: not in one call, and not in two that may both be on their way."""

    name: ClassVar[str] = "batches-right"
    promise: ClassVar[str] = "batch"

    def attend(self) -> None:
        self._flying: dict[str, tuple[str, float]] = {}
        self._calls: dict[str, Call] = {}
        self.stage.backend.on_send.append(self._sent)
        self.court.hear(CallEnded, self._ended)

    def _sent(self, call: Call) -> None:
        self.exercised += 1
        settings, now = self.stage.settings, self.now
        if not 1 <= len(call.items) <= settings.batch_max:
            self.no(f"a call with {len(call.items)} items, 1 to {settings.batch_max} are allowed")
        if len({item.key for item in call.items}) < len(call.items):
            self.no("a key is twice in one call")
        for item in call.items:
            other = self._flying.get(item.uid)
            if other is not None and other[1] > now + EPS_S and other[0] != call.id:
                self.no(f"{item.payload['name']} is in two calls at once: {other[0]} and {call.id}")
            lasts_s = settings.call_timeout_s + settings.lateness_s
            self._flying[item.uid] = (call.id, now + lasts_s)
        self._calls[call.id] = call

    def _ended(self, _actor: str, message: CallEnded) -> None:
        call, error = self._calls.pop(message.call, None), message.outcome.error
        unknown = isinstance(error, CallTimeout) or (isinstance(error, Unavailable) and error.arrived)
        if call is None or unknown:
            return  # it may still arrive
        for item in call.items:
            if self._flying.get(item.uid, ("", 0.0))[0] == call.id:
                del self._flying[item.uid]


class RepairedOnce(Oracle):
    """No incident is repaired twice within its cooldown, and never under a second key while the first is unanswered."""

    name: ClassVar[str] = "repaired-once"
    promise: ClassVar[str] = "I3"

    def attend(self) -> None:
        self._items: dict[str, Item] = {}
        self._executed: dict[tuple[str, str], tuple[float, int]] = {}
        self._asked_s: dict[str, float] = {}
        self._asker: dict[tuple[str, str], ParentKey] = {}
        self._doubts: dict[str, int] = {}
        self._times: dict[str, int] = {}
        self._sendings: dict[str, int] = {}
        self._calls: dict[str, Call] = {}
        self._lives = 0
        self._cooldowns: dict[ParentKey, float] = {}
        self.court.on_material.append(self._material)
        self.stage.backend.on_send.append(self._sent)
        self.stage.backend_model.on_repair.append(self._repaired)
        self.court.hear(CallEnded, self._ended)
        self.court.hear(CloseUp, self._closed)
        self.stage.listen(ActorCrashed, self._crashed)

    def begin_life(self) -> None:
        self._lives += 1  # whoever died may have died between a call and its answer

    def _material(self, parent: ParentKey, kind: str) -> None:
        """The shortest that was ever in force: who asked did so by the one of that time."""
        now_s = self.court.policy(parent).cooldown_s
        self._cooldowns[parent] = min(now_s, self._cooldowns.get(parent, now_s))

    def _crashed(self, fact: ActorCrashed) -> None:
        if fact.actor == "gateway" or fact.actor.startswith("cluster/"):
            self._lives += 1

    def _closed(self, _actor: str, _message: CloseUp) -> None:
        self._lives += 1  # its parent is gone; one of that name that is created again has another actor

    def _sent(self, call: Call) -> None:
        self._calls[call.id] = call
        for item in call.items:
            self._items[item.key] = item
            self._asked_s.setdefault(item.key, self.now)

    def _ended(self, _actor: str, message: CallEnded) -> None:
        call = self._calls.pop(message.call, None)
        if call is None:
            return
        value = message.outcome.value
        for item in call.items:
            if value is None or item.key not in value.results:
                self._doubts[item.key] = self._doubts.get(item.key, 0) + 1

    def _repaired(self, repair: Repair) -> None:
        self.exercised += 1
        item = self._items.get(repair.key)
        if item is None:
            return
        times = self._times[repair.key] = self._times.get(repair.key, 0) + 1
        allowed = 1 if self.stage.settings.honours_keys else 1 + self._doubts.get(repair.key, 0) + self._lives
        if times > allowed:
            self.no(f"{repair.name} was repaired {times} times under one key, {allowed} can be explained")
        incident = (item.uid, item.incident)
        before_s, lives = self._executed.get(incident, (-math.inf, 0))
        cooldown_s = self._cooldowns.get(item.parent, 0.0)
        doubtful = not self.stage.settings.honours_keys and allowed > 1
        # An asker that died has forgotten its rounds and begins with the first key again: if the backend had failed that
        # round without executing it, it does so now. (At most one more for each death, as I3 has it.)
        # A parent to which the node has moved knows nothing of its rounds either.
        begun_anew = lives != self._lives or self._asker.get(incident) != item.parent
        forgotten = begun_anew and self._asked_s[repair.key] < before_s
        if self.now - before_s < cooldown_s - 1.0 and not doubtful and not forgotten:
            self.no(
                f"{repair.name} was repaired twice within {self.now - before_s:.1f} s for {item.incident}, "
                f"the cooldown is {cooldown_s:g} s"
            )
        self._executed[incident] = (self.now, self._lives)
        self._asker[incident] = item.parent


class OnlyWanted(Oracle):
    """Whoever is in a call was unhealthy by the freshest delivered report, is there, and belongs to who asked."""

    name: ClassVar[str] = "only-wanted"
    promise: ClassVar[str] = "wanted"

    def attend(self) -> None:
        self.stage.backend.on_send.append(self._sent)

    def _sent(self, call: Call) -> None:
        now, mirror = self.now, self.court.mirror
        process = self.stage.process
        slow, _, until_s = self.stage.broken.slow  # (a parent's actor may be slow: what leaves is not its business)
        if (until_s + 5.0 > now and not slow.startswith("cluster/")) or (
            process is not None and process.thawed_s >= now
        ):
            return  # what is delivered may wait for a slow thread, or for its turn after a frost
        for item in call.items:
            changed_s = mirror.changed_s.get(item.uid, -1.0)
            if item.kind in self.court.relisting:
                continue  # its watcher has died, perhaps of that news, and has not listed since
            if changed_s >= now or not self.stage.calm(now, f"actor:watcher/{item.kind}"):
                continue  # at this very instant: the watcher may not have had its turn
            self.exercised += 1
            child, name = mirror.child(item.kind, item.uid), item.payload["name"]
            if child is None:
                self.no(f"{name} is gone since {changed_s:.3f} s and is in a call")
            elif child.parent != item.parent:
                self.no(f"{name} belongs to {child.parent} and is in a call for {item.parent}")
            elif not child.eligible:
                self.no(f"{name} was reported well at {changed_s:.3f} s and is in a call")
            elif child.incident != item.incident:
                self.no(f"{name} is in a call for {item.incident}, its trouble now is {child.incident}")


class Held(Oracle):
    """No call for a parent whose repairs are held: by the valve, by a pause, by its deletion."""

    name: ClassVar[str] = "held-is-held"
    promise: ClassVar[str] = "valve"

    def attend(self) -> None:
        self._since: dict[ParentKey, tuple[float, str]] = {}
        self.court.on_material.append(lambda parent, kind: self._judge(parent))
        self.court.hear(PauseWanted, lambda _, wish: self._judge(wish.parent))
        self.stage.backend.on_send.append(self._sent)

    def begin_life(self) -> None:
        self._since.clear()

    def _judge(self, parent: ParentKey) -> None:
        why = why_held(self.court, parent)
        before = self._since.get(parent)
        if not why:
            self._since.pop(parent, None)
        elif before is None:
            self._since[parent] = (self.now, why)

    def _sent(self, call: Call) -> None:
        for parent in sorted({item.parent for item in call.items}):
            held = self._since.get(parent)
            if held is None or not why_held(self.court, parent):  # a person's pause ends by the clock
                continue
            if self.court.overridden(parent) is None:
                continue
            policy = self.court.policy(parent)
            since_s = max(held[0], self.now - 60.0)
            if self.now - held[0] <= policy.debounce_max_s + 1.0:
                continue
            parts = ("operator", f"actor:{actor_of(parent)}", *self.court.watchers)
            if self.stage.calm(since_s, *parts) and self.court.works(parent):
                self.exercised += 1
                self.no(f"a call for {parent} although {held[1]}, since {held[0]:.3f} s")
        self.exercised += bool(self._since)


class Throttle(Oracle):
    """A Retry-After is honoured: by everybody, and nobody is asked to retry on his own."""

    name: ClassVar[str] = "retry-after-honoured"
    promise: ClassVar[str] = "answer"

    def attend(self) -> None:
        self._until_s = -1.0
        self._reads_s: dict[str, tuple[float, float]] = {}
        self.stage.backend.on_send.append(self._sent)
        self.stage.on_read.append(self._read)
        self.court.hear(CallEnded, self._ended)

    def _read(self, kind: str, wish_s: float | None) -> None:
        """Requests to the API server, too: one that comes before its time was sent ``api_rtt_s`` ago."""
        said_s, until_s = self._reads_s.get(kind, (-1.0, -1.0))
        begun_s = -1.0 if self.stage.reader is None else self.stage.reader.begun_s.get(kind, -1.0)
        if self.now < until_s - EPS_S and begun_s < said_s and self.stage.calm(self.now, "operator"):
            self.no(f"{kind} is read {until_s - self.now:.2f} s before the server wants it")
        if wish_s is not None:
            self.exercised += 1
            self._reads_s[kind] = self.now, self.now + wish_s

    def begin_life(self) -> None:
        self._reads_s.clear()
        self._until_s = -1.0  # the memory of it went with the process; the cold start is longer than most

    def _ended(self, _actor: str, message: CallEnded) -> None:
        error = message.outcome.error
        if isinstance(error, Throttled) and error.retry_after_s is not None:
            self._until_s = max(self._until_s, self.now + error.retry_after_s)

    def _sent(self, call: Call) -> None:
        if self._until_s < 0:
            return
        self.exercised += 1
        if self.now < self._until_s - EPS_S and self.stage.calm(self.now - 60.0, "actor:gateway"):
            self.no(f"a call {self._until_s - self.now:.2f} s before the time that the backend has asked for")


class Merged(Oracle):
    """At most one batch that is not full per 1.5 mean intervals of the quota: repairs of all parents share calls."""

    name: ClassVar[str] = "calls-merged"
    promise: ClassVar[str] = "merge"

    def attend(self) -> None:
        self._last_s = -math.inf
        self._refused = False
        self.stage.backend.on_send.append(self._sent)
        self._thinned_s = -1.0
        self._uids: dict[ParentKey, set[str]] = {}
        self.court.hear(RepairsWanted, self._wanted)
        self.stage.listen(ActorCrashed, self._crashed)
        self.stage.listen(ItemsWithdrawn, self._thinned)
        self.court.hear(CallEnded, self._ended)

    def begin_life(self) -> None:
        self._last_s, self._refused = -math.inf, False

    def _wanted(self, _actor: str, message: RepairsWanted) -> None:
        self._uids.pop(message.parent, None)
        if message.items:
            self._uids[message.parent] = {item.uid for item in message.items}
        wanted = sum(len(uids) for uids in self._uids.values())
        if wanted > len(set().union(*self._uids.values())):
            self._thinned_s = self.now  # a node that has moved is wanted by both, and leaves once

    def _thinned(self, fact: ItemsWithdrawn) -> None:
        self._thinned_s = self.now  # a full batch, of which the check at the dispatch took some out

    def _crashed(self, fact: ActorCrashed) -> None:
        if fact.actor == "gateway":
            self._last_s = -math.inf

    def _ended(self, _actor: str, message: CallEnded) -> None:
        self._refused |= isinstance(message.outcome.error, Refused)  # halves of refused calls are sent apart

    def _sent(self, call: Call) -> None:
        settings = self.stage.settings
        if self._refused or len(call.items) >= settings.batch_max:
            return
        self.exercised += 1
        spacing_s = SPACING * settings.quota.window_s / settings.quota.calls
        if self.now - self._last_s < spacing_s - 0.001 and self._thinned_s < self.now:
            self.no(f"two calls that are not full within {self.now - self._last_s:.3f} s, {spacing_s:g} s are to pass")
        self._last_s = self.now


def why_held(court: Court, parent: ParentKey) -> str:
    """Why nothing may be sent for that parent, by what has been delivered; "" if it may."""
    record = court.mirror.parents.get(parent)
    policy = court.policy(parent)
    total, eligible = len(court.mirror.by_parent.get(parent, {})), court.mirror.eligible(parent)
    if record is not None and record.spec.paused:
        return "it is paused"
    if court.paused(parent):
        return "a person has paused it"
    if record is not None and record.deleting:
        return "it is being deleted"
    if not policy.repair_enabled:
        return "its repairs are switched off"
    if eligible > _limit(policy, total) and court.overridden(parent) is not True:
        return f"{eligible} of {total} are in trouble, the limit is {policy.max_unhealthy}"
    return ""


def _limit(policy: Policy, total: int) -> int:
    """How many may be in trouble at once: by the promise's words, not by the operator's code."""
    share = policy.max_unhealthy
    if share.percent is None:
        return share.absolute or 0
    return total if share.percent >= 100 else max(policy.eligible_floor, math.floor(total * share.percent / 100))


BACKEND_ORACLES: tuple[type[Oracle], ...] = (
    QuotaKept, BatchesRight, RepairedOnce, OnlyWanted, Held, Throttle, Merged,
)  # fmt: skip
