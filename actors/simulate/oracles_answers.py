"""Answers and silences: what a parent is owed, and is to be told in time."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

from ..core.errors import Refused, Throttled
from ..core.events import ActorCrashed, ActorRestarted
from ..core.model import Child, ParentKey
from ..core.ports import Call, Objects
from ..messages import CallEnded, ItemAnswer, ItemsAnswered, RepairsWanted
from .court import Oracle, actor_of, counted, key_of

__all__ = ["ANSWER_ORACLES"]

LOOK_EVERY_S = 2.0
OUTAGE_FAILURES = 3
"""Failed calls in a row that are no hiccup: parents are to say by then that the backend does not answer."""
TOLD_SLACK_S = 1.5
"""What a condition may be late beyond the longest debounce: a turn, two round trips and the writes of others before it."""
SILENCE_SLACK_S = 3.5
"""A silence is told within a second of its deadline, after a proof of life that may take two; a turn for the rest."""


class Answered(Oracle):
    """Each item gets the answer that the backend gave it: done, failed, or another try; and what was answered is not sent."""

    name: ClassVar[str] = "answered"
    promise: ClassVar[str] = "answer"

    def attend(self) -> None:
        self._calls: dict[str, Call] = {}
        self._owed: dict[tuple[str, str], ItemAnswer] = {}
        self._answered: dict[str, tuple[ItemAnswer, str, int, int]] = {}
        self._heard: set[tuple[str, str]] = set()
        self._again: set[tuple[str, str]] = set()
        self._refused: dict[str, tuple[ParentKey, frozenset[str]]] = {}
        self._late: set[str] = set()
        self._forgot_s: dict[str, float] = {}
        self._down: set[str] = set()
        self._uids: dict[str, str] = {}
        self._wanted: dict[ParentKey, set[str]] = {}
        self._settled: dict[tuple[ParentKey, str], str] = {}
        self._moves: dict[str, int] = {}
        self._deaths: dict[str, int] = {}
        self.stage.backend.on_send.append(self._sent)
        self.stage.listen(ActorCrashed, self._crashed)
        self.stage.listen(ActorRestarted, lambda fact: self._down.discard(fact.actor))
        self.court.on_material.append(self._material)
        self.court.hear(CallEnded, self._ended)
        self.court.hear(ItemsAnswered, self._told)
        self.court.hear(RepairsWanted, self._wish)
        self.court.on_list.append(self._listed)

    def begin_life(self) -> None:
        self._calls.clear()
        self._owed.clear()
        self._answered.clear()
        self._heard.clear()
        self._settled.clear()
        self._refused.clear()
        self._down.clear()

    def _wish(self, _actor: str, message: RepairsWanted) -> None:
        wanted = {item.key for item in message.items}
        if actor_of(message.parent) not in self._down:  # else they are the last words of one that has died
            self._wanted[message.parent] = wanted
        for parent, key in [each for each in self._settled if each[0] == message.parent and each[1] not in wanted]:
            del self._settled[parent, key]  # who does not want it any more may want it anew
        for key in [
            key for key, (parent, _) in self._refused.items() if parent == message.parent and key not in wanted
        ]:
            self._moved_on(key)

    def _listed(self, actor: str, message: Objects) -> None:
        if message.kind == self.stage.fleet.parent.kind:  # perhaps it has just woken
            self._forget(actor)

    def _forget(self, actor: str) -> None:
        self._deaths[actor] = self._deaths.get(actor, 0) + 1
        self._forgot_s[actor] = self.now

    def _crashed(self, fact: ActorCrashed) -> None:
        self._forget(fact.actor)
        if fact.actor == "gateway":
            self.begin_life()
        elif fact.actor.startswith("cluster/"):  # an answer that comes before it asks anew is news to it
            self._wanted.pop(key_of(fact.actor), None)
            self._down.add(fact.actor)

    def _sent(self, call: Call) -> None:
        self._calls[call.id] = call
        self.stage.world.after(self._lasts_s() - 0.001, partial(self._overdue, call.id))
        leaving = {item.key for item in call.items}
        for item in call.items:
            _, refused = self._refused.get(item.key, (None, frozenset()))
            if refused and refused <= leaving:
                self.no(f"a call of {len(refused)} items that was refused is sent again as it is")
            self._moved_on(item.key)
        for item in call.items:
            said = self._settled.get((item.parent, item.key))
            if said is not None:
                self.no(f"{item.payload['name']} is sent again, {said} by the backend and wanted ever since")
            self._uids[item.key] = item.uid
            self._owed.pop((actor_of(item.parent), item.key), None)
            self._again.discard((actor_of(item.parent), item.key))
            known = self._answered.get(item.key)
            if known is not None and known[1:] == self._memory(actor_of(item.parent), item.key):
                self.no(f"{item.payload['name']} is sent again under a key that was answered: {known[0].value}")

    def _lasts_s(self) -> float:
        return self.stage.settings.call_timeout_s + self.stage.settings.lateness_s

    def _overdue(self, name: str) -> None:
        if name in self._calls:
            self._late.add(name)  # given up, perhaps: then what is told of it comes too late

    def _ended(self, _actor: str, message: CallEnded) -> None:
        call, reply = self._calls.pop(message.call, None), message.outcome.value
        if call is not None and isinstance(message.outcome.error, Refused):
            self._was_refused(call)
        if call is None or reply is None:
            return
        for item in call.items:
            result = reply.results.get(item.key)
            if result is None or result.status not in ("accepted", "failed"):
                self._again.add((actor_of(item.parent), item.key))
                continue
            self.exercised += 1
            self._owed[actor_of(item.parent), item.key] = (
                ItemAnswer.DONE if result.status == "accepted" else ItemAnswer.FAILED
            )
            if item.key in self._wanted.get(item.parent, ()):
                if message.call not in self._late:
                    self._settled[item.parent, item.key] = result.status
                self.stage.world.after(1.0, partial(self._due, item.parent, item.key, self.stage.lives))

    def _moved_on(self, key: str) -> None:
        """Of the refused call that this item was in, a part has been sent, or taken back: what follows is another call."""
        _, group = self._refused.pop(key, (None, frozenset()))
        for each in group:
            self._refused.pop(each, None)

    def _was_refused(self, call: Call) -> None:
        """Which of several is to blame must be found out; one alone has failed. What was taken back meanwhile is not tried."""
        keys = frozenset(item.key for item in call.items)
        if len(keys) > 1 and all(item.key in self._wanted.get(item.parent, ()) for item in call.items):
            self._refused.update({item.key: (item.parent, keys) for item in call.items})
        elif len(keys) == 1:
            self._owed[actor_of(call.items[0].parent), call.items[0].key] = ItemAnswer.FAILED

    def _due(self, parent: ParentKey, key: str, life: int) -> None:
        if (
            life != self.stage.lives
            or (actor_of(parent), key) in self._heard
            or (actor_of(parent), key) not in self._owed
        ):
            return
        parts = ("operator", f"actor:{actor_of(parent)}", "actor:gateway", "actor:directory")
        record = self.court.mirror.parents.get(parent)
        there = record is not None and self.stage.truth.created_s.get(record.uid, self.now) < self.now - 30.0
        if there and self.court.works(parent) and self.stage.calm(self.now - 30.0, *parts):
            self.no(f"{parent} has not been told how {key[:8]} ended")

    def _told(self, actor: str, message: ItemsAnswered) -> None:
        for key, (answer, _) in message.answers.items():
            self._heard.add((actor, key))
            if message.at_s <= max(self._forgot_s.get("gateway", -1.0), self._forgot_s.get(actor, -1.0)):
                continue  # it has waited for somebody who was down
            if answer is ItemAnswer.WITHDRAWN:
                self._answered.pop(key, None)
                continue
            owed = self._owed.get((actor, key))
            self.exercised += 1
            if (actor, key) in self._again:
                self.no(f"{actor} is told that {key[:8]} is {answer.value}, the backend wants it sent again")
            if owed is not None and owed is not answer:
                self.no(f"{actor} is told that {key[:8]} is {answer.value}, the backend said {owed.value}")
            if owed is None and self.stage.calm(self.now - 1.0, "actor:gateway"):
                self.no(f"{actor} is told that {key[:8]} is {answer.value}, and the backend has not said so")
            if key in self._wanted.get(key_of(actor), ()):  # else it has been withdrawn meanwhile
                self._answered[key] = (answer, *self._memory(actor, key))

    def _memory(self, actor: str, key: str) -> tuple[str, int, int]:
        """Differs when whoever asks has forgotten what it was told: another parent, a new incarnation, a node that was away."""
        record = self.court.mirror.parents.get(key_of(actor))
        moves = self._moves.get(self._uids.get(key, ""), 0)
        return "" if record is None else record.uid, self._deaths.get(actor, 0), moves

    def _material(self, parent: ParentKey, kind: str) -> None:
        uid, old = self.court.mirror.changing
        new = self.court.mirror.child(kind, uid) if kind in self.stage.child_kinds else None
        if new is None or not isinstance(old, Child) or old.parent != new.parent:
            self._moves[uid] = self._moves.get(uid, 0) + 1


class Reachable(Oracle):
    """Parents say whether the backend answers: those that wait for it when it does not, and all when it does again."""

    name: ClassVar[str] = "backend-told"
    promise: ClassVar[str] = "truth"

    def attend(self) -> None:
        self._calls: dict[str, Call] = {}
        self._wanted: dict[ParentKey, dict[str, float]] = {}
        self._woken_s: dict[str, float] = {}
        self._failures = 0
        self._turned_s = 0.0
        self.stage.backend.on_send.append(self._sent)
        self.stage.listen(ActorCrashed, self._crashed)
        self.court.hear(CallEnded, self._ended)
        self.court.hear(RepairsWanted, self._wish)
        self.court.hear(ItemsAnswered, self._told)
        self.court.on_list.append(self._listed)
        self._say_false: set[ParentKey] = set()
        self._longest_s = self.stage.settings.policy.debounce_max_s
        self.stage.truth.on_parent.append(self._written)
        self.court.on_material.append(self._material)

    def begin_life(self) -> None:
        self._calls.clear()
        self._wanted.clear()
        self._woken_s.clear()
        self._turn(0)

    def _written(self, parent: ParentKey, _old: Any, new: Any) -> None:
        """Whose condition is False is remembered: there may be a thousand parents, and an answer concerns all of them."""
        if new is not None and _condition(new.get("status")) == "False":
            self._say_false.add(parent)
        else:
            self._say_false.discard(parent)

    def _material(self, parent: ParentKey, kind: str) -> None:
        if kind == self.stage.fleet.parent.kind:
            self._longest_s = max(self._longest_s, self.court.policy(parent).debounce_max_s)

    def _crashed(self, fact: ActorCrashed) -> None:
        if fact.actor == "gateway":
            self._calls.clear()
            self._turn(0)

    def _listed(self, actor: str, _mail: Objects) -> None:
        self._woken_s[actor] = self.now  # perhaps it has just woken, and has not been told

    def _wish(self, _actor: str, message: RepairsWanted) -> None:
        before = self._wanted.get(message.parent, {})
        self._wanted[message.parent] = {item.key: before.get(item.key, self.now) for item in message.items}

    def _told(self, actor: str, message: ItemsAnswered) -> None:
        wanted = self._wanted.get(key_of(actor), {})
        for key in message.answers:
            wanted.pop(key, None)

    def _turn(self, failures: int) -> None:
        """Whatever is to be judged has to do with what happens from now on."""
        self._failures, self._turned_s = failures, self.now

    def _sent(self, call: Call) -> None:
        settings = self.stage.settings
        self._calls[call.id] = call
        self.stage.world.after(settings.call_timeout_s + settings.lateness_s - 0.001, partial(self._overdue, call.id))

    def _overdue(self, name: str) -> None:
        if self._calls.pop(name, None) is not None:
            self._failed()

    def _ended(self, _actor: str, message: CallEnded) -> None:
        call, error = self._calls.pop(message.call, None), message.outcome.error
        if call is None:
            return
        if isinstance(error, Throttled | Refused):
            self._turn(0)  # it lives, but that is no repair: nobody need be told
        elif error is not None:
            self._failed()
        else:
            if self._failures:
                self._turn(0)
            asked = {item.parent for item in call.items if item.key in self._wanted.get(item.parent, {})}
            self._later(partial(self._answers, tuple(sorted(asked)), self.now))

    def _failed(self) -> None:
        if not self._failures:
            self._turn(0)
        self._failures += 1
        if self._failures == OUTAGE_FAILURES:
            self._later(partial(self._fails, self._turned_s, self.now))

    def _later(self, judge: Any) -> None:
        self.stage.world.after(self._longest_s + TOLD_SLACK_S + 4 * self.stage.writer.rtt_s, judge)

    def _answers(self, asked: tuple[ParentKey, ...], at_s: float) -> None:
        """A while after an answer, with no trouble since: who had asked says so, and nobody says otherwise."""
        if self._turned_s > at_s or self._failures:
            return
        for parent in sorted(self._say_false.union(asked)):
            said = self._said(parent, at_s)
            if said == "False" or (said == "Unknown" and parent in asked):
                self.no(f"{parent}: BackendReachable is {said}, the backend has answered at {at_s:.3f} s")

    def _fails(self, turned_s: float, at_s: float) -> None:
        """A while after failures in a row, with no answer since: who waits says so."""
        if self._turned_s > turned_s or self._failures < OUTAGE_FAILURES:  # (it may have turned at that instant)
            return
        for parent, wanted in sorted(self._wanted.items()):
            waits = any(since_s < at_s for since_s in wanted.values())
            if waits and self._said(parent, at_s) in ("True", "Unknown"):
                self.no(f"{parent}: BackendReachable is not False, {self._failures} calls in a row have failed")

    def _said(self, parent: ParentKey, since_s: float) -> str:
        """What the condition says; "" where nothing can be expected of it."""
        since_s -= 1.0
        quiet = self._woken_s.get(actor_of(parent), -1.0) < since_s and since_s > 0
        calm = self.stage.calm(since_s, "actor:gateway", "actor:status")
        if (
            not quiet
            or not calm
            or not all(self.court.expected(parent, kind, since_s) for kind in self.stage.child_kinds)
        ):
            return ""
        self.exercised += 1
        return _condition(self.stage.status(parent))


def _condition(status: dict[str, Any] | None) -> str:
    """What ``BackendReachable`` says in that status; "" where it is not there."""
    conditions = (status or {}).get("conditions") or ()
    return next((str(each["status"]) for each in conditions if each.get("type") == "BackendReachable"), "")


class SilenceNoticed(Oracle):
    """A node that has stopped to report is counted unknown soon after its deadline, by our own clock."""

    name: ClassVar[str] = "silence-noticed"
    promise: ClassVar[str] = "silent heartbeats"

    def attend(self) -> None:
        self.court.every(LOOK_EVERY_S, self._look)

    def _look(self) -> None:
        truth = self.stage.truth
        if truth.default_timeout_s is None and not truth.timeouts_s:
            return
        for parent in truth.parents:
            timeout_s = truth.timeout_s(parent)
            if timeout_s is None:
                continue
            policy = self.court.policy(parent)
            margin_s = SILENCE_SLACK_S + policy.debounce_max_s + 4 * self.stage.writer.rtt_s
            since_s = self.now - timeout_s - margin_s - 1.0
            if truth.timeouts_before.get(parent, (-1.0, None))[0] >= since_s:
                continue
            for kind in truth.kinds:
                self._judge(parent, kind, timeout_s + margin_s, since_s)

    def _judge(self, parent: ParentKey, kind: str, silent_s: float, since_s: float) -> None:
        members = self.stage.truth.history(parent, kind).members.values()
        limit_s = self.now - silent_s
        owed = sum(1 for node in members if node.healthy and node.beat_s < limit_s and node.moved_s < since_s)
        if not owed or not self.court.expected(parent, kind, since_s) or since_s < 0:
            return
        status = self.stage.status(parent)
        said = None if status is None else counted(status, kind)
        if said is None:
            return
        self.exercised += 1
        most = max(healthy for healthy, _, _ in self.stage.truth.history(parent, kind).since(self.now - 10.0))
        if said[0] > most - owed:
            self.no(
                f"{parent}: {kind} counts {said[0]} healthy of {most}, and {owed} have been silent for {silent_s:.1f} s"
            )


ANSWER_ORACLES: tuple[type[Oracle], ...] = (Answered, Reachable, SilenceNoticed)
