"""Attempts are bounded, each waits longer than the one before, and whoever stays unwell after the last is told of.

Judged by the answers that parents' actors were given, one incident at a time. An actor that dies, ends with its parent or falls
asleep begins anew, but for those of whom the parent's status says that they are exhausted.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any, ClassVar

from attrs import define, field

from ..core.backoff import bound_s
from ..core.events import ActorCrashed
from ..core.keys import item_key
from ..core.model import Child, Item, ParentKey, Policy
from ..core.ports import Call
from ..messages import CloseUp, ItemAnswer, ItemsAnswered, Passivated, RepairsWanted
from .court import Oracle, actor_of, key_of
from .oracles_backend import why_held

__all__ = ["BUDGET_ORACLES", "AttemptsBounded"]

LOOK_EVERY_S = 5.0
SLACK_S = 1.0
_Incident = tuple[ParentKey, str, str]  # parent, uid, incident


@define
class _Tried:
    """The attempts at one incident that one actor has had answers for."""

    name: str
    keys: set[str] = field(factory=set)
    last_s: float = -math.inf


class AttemptsBounded(Oracle):
    """See the module."""

    name: ClassVar[str] = "attempts-bounded"
    promise: ClassVar[str] = "I14"

    def attend(self) -> None:
        self.begin_life()
        self.court.hear(RepairsWanted, self._wanted)
        self.court.hear(ItemsAnswered, self._answered)
        self.court.hear(CloseUp, lambda actor, _: self._forget(actor))
        self.court.hear(Passivated, lambda _, message: self._forget(actor_of(message.parent)))
        self.stage.listen(ActorCrashed, lambda fact: self._forget(fact.actor))
        self.court.on_material.append(self._material)
        self.stage.backend.on_send.append(self._sent)
        self.court.every(LOOK_EVERY_S, self._look)

    def begin_life(self) -> None:
        self._items: dict[str, Item] = {}
        self._newest: dict[tuple[ParentKey, str], str] = {}
        self.tried: dict[_Incident, _Tried] = {}
        self._most: dict[ParentKey, float] = {}
        """The largest number of attempts that was in force."""
        self._least: dict[ParentKey, tuple[float, float]] = {}
        """The shortest cooldown, and the lowest bound of it."""
        self._well_s: dict[str, float] = {}
        """Since when a node is well."""
        self._rested_s: dict[str, float] = {}
        """How long it was well before its present trouble."""
        self._chain: Counter[tuple[ParentKey | None, str]] = Counter()
        """Attempts of a node between which it was well for a moment at most."""
        self._chain_s: dict[tuple[ParentKey | None, str], float] = {}
        """When the first of them was answered."""
        self.known = self._told()

    def _told(self) -> dict[tuple[ParentKey, str, str], int]:
        """By parent, its uid, and first key of the incident: what their statuses say now."""
        return {
            (parent, self._uid(parent), str(each["incident"])): int(each["attempts"])
            for parent in self.stage.truth.parents
            for each in self._status(parent).get("exhausted", ())
        }

    def _known(self, item: Item) -> int:
        """How many attempts at its trouble they had told of when this process began."""
        if not self.known:
            return 0
        return self.known.get((item.parent, self._uid(item.parent), item_key(item.uid, item.incident, 0)), 0)

    def _uid(self, parent: ParentKey) -> str:
        """Of the object that is there now: one that is created again knows nothing."""
        found = self.stage.truth.parents.get(parent)
        return "" if found is None else str(found["metadata"]["uid"])

    def _status(self, parent: ParentKey) -> dict[str, Any]:
        return self.stage.status(parent) or {}

    def _forget(self, actor: str) -> None:
        for incident in [each for each in self.tried if actor_of(each[0]) == actor]:
            del self.tried[incident]
        for each in [each for each in self._chain if each[0] is not None and actor_of(each[0]) == actor]:
            del self._chain[each]

    def _material(self, parent: ParentKey, kind: str) -> None:
        uid, old = self.court.mirror.changing
        child = self.court.mirror.child(kind, uid)
        if isinstance(old, Child) and (child is None or child.parent != old.parent):
            self._chain.pop((old.parent, uid), None)  # who loses a child forgets it
        policy = self.court.policy(parent)
        if child is not None and not child.eligible:
            self._well_s.setdefault(uid, self.now)
        elif child is not None and uid in self._well_s:
            self._rested_s[uid] = self.now - self._well_s.pop(uid)
        # Also by a new policy of the parent's: a node may have been well for long enough after all.
        for each in [uid] if child is not None else [each for owner, each in self._chain if owner == parent]:
            if self._rested_s.get(each, -math.inf) >= policy.cooldown_s - SLACK_S:
                del self._rested_s[each]
                for key in [key for key in self._chain if key[1] == each]:
                    del self._chain[key]
        most = math.inf if policy.attempts_max is None else policy.attempts_max
        self._most[parent] = max(most, self._most.get(parent, 0.0))
        cooldown_s, bound = self._least.get(parent, (math.inf, math.inf))
        self._least[parent] = min(cooldown_s, policy.cooldown_s), min(bound, policy.cooldown_max_s)

    def _wanted(self, _actor: str, message: RepairsWanted) -> None:
        self._items.update((item.key, item) for item in message.items)
        self._newest.update(((message.parent, item.uid), item.key) for item in message.items)

    def _answered(self, actor: str, message: ItemsAnswered) -> None:
        parent = key_of(actor)
        for key, (answer, _) in message.answers.items():
            item = self._items.get(key)
            if item is None or answer is ItemAnswer.WITHDRAWN:
                continue
            tried = self.tried.setdefault((parent, item.uid, item.incident), _Tried(item.payload["name"]))
            if key not in tried.keys:
                tried.keys.add(key)
                tried.last_s = message.at_s
                # What another incident has taken the place of before its answer came may never have been sent.
                if self._newest.get((parent, item.uid)) == key:
                    self._chain[parent, item.uid] += 1
                    if self._chain[parent, item.uid] == 1:
                        self._chain_s[parent, item.uid] = message.at_s

    def _sent(self, call: Call) -> None:
        for item in call.items:
            parent, name = item.parent, item.payload["name"]
            most = self._most.get(parent, math.inf)
            spent, broken = self._known(item), self.stage.broken
            if spent >= most and not broken.stale and not broken.lags:
                self.no(
                    f"{name} is in a call; {parent} said before this process began that its {spent} attempts were spent"
                )
            tried = self.tried.get((parent, item.uid, item.incident))
            if self._chain[parent, item.uid] >= most and (tried is None or item.key not in tried.keys):
                made = self._chain[parent, item.uid]
                since_s = self._chain_s[
                    parent, item.uid
                ]  # where nobody was slow since, a moment of health was seen as one
                if self.stage.calm(since_s, "operator", f"actor:{actor_of(parent)}", *self.court.watchers):
                    self.no(f"{name} is in a call for {item.incident} after {made} attempts, {most:g} are allowed")
            if tried is None or item.key in tried.keys:
                continue
            self.exercised += 1
            count = len(tried.keys)
            cooldown_s, bound = self._least.get(parent, (0.0, 0.0))
            wait_s = bound_s(cooldown_s, max(cooldown_s, bound), count - 1)
            if self.now < tried.last_s + wait_s - SLACK_S:
                self.no(
                    f"{name} is in a call {self.now - tried.last_s:.1f} s after its attempt {count}, {wait_s:g} s are to pass"
                )

    # --- told ---------------------------------------------------------------------------------------------------------
    def _look(self) -> None:
        policies: dict[ParentKey, Policy] = {}
        for (parent, uid, incident), tried in self.tried.items():
            policy = policies.get(parent) or policies.setdefault(parent, self.court.policy(parent))
            if policy.attempts_max is not None and len(tried.keys) >= policy.attempts_max:
                self._says_so(parent, uid, incident, tried, policy)

    def _says_so(self, parent: ParentKey, uid: str, incident: str, tried: _Tried, policy: Policy) -> None:
        """Its parent's status and an Event on it do, once its last attempt has cooled down."""
        wait_s = bound_s(policy.cooldown_s, max(policy.cooldown_s, policy.cooldown_max_s), len(tried.keys) - 1)
        since_s = tried.last_s + wait_s
        child = self.court.mirror.in_trouble.get(parent, {}).get(uid)
        late = self.now > since_s + policy.debounce_max_s + LOOK_EVERY_S
        if child is None or child.incident != incident or not late or why_held(self.court, parent):
            return
        kinds = (*(f"api:{kind}" for kind in self.court.kinds), *self.court.watchers)
        parts = (
            "operator",
            "write",
            f"write:{parent.name}",
            f"actor:{actor_of(parent)}",
            "actor:status",
            "actor:directory",
        )
        if not self.stage.calm(since_s - SLACK_S, *parts, *kinds) or not self.court.works(parent) or self.court.skipped:
            return
        self.exercised += 1
        status = self._status(parent)
        said = {each["type"]: each["status"] for each in status.get("conditions", ())}
        names = [each["name"] for each in status.get("exhausted", ())]
        if said.get("RepairsExhausted") != "True" or tried.name not in names:
            self.no(f"{tried.name} is not well after {len(tried.keys)} attempts, and {parent} says {said}, {names}")
        elif not any(
            note.regarding is not None and note.regarding.uid == uid for _, _, note in self.stage.writer.events
        ):
            self.no(f"{tried.name} is not well after {len(tried.keys)} attempts, and no Event on it says so")

    def healed(self) -> None:
        for parent in self.stage.truth.parents:
            for each in self._status(parent).get("exhausted", ()):
                sick = [
                    node for node in self.stage.truth.children(parent) if node.name == each["name"] and not node.healthy
                ]
                if not sick and self.court.works(parent):
                    self.no(f"{parent} says that {each['name']} is exhausted, and it is well")

    # --- for why ------------------------------------------------------------------------------------------------------
    def why_left(self, parent: ParentKey) -> str:
        """Why no child of that parent can have had all its attempts; "" if some may have."""
        counts: Counter[str] = Counter()
        for (owner, uid, _), tried in self.tried.items():
            counts[uid] += len(tried.keys) if owner == parent else 0
        most = self.court.policy(parent).attempts_max
        told = any(known[0] == parent for known in self.known) or bool(self._status(parent).get("exhausted"))
        if most is None:
            return "there is no bound"
        return "" if told or max(counts.values(), default=0) >= most else f"{counts} attempts, {most} are allowed"


BUDGET_ORACLES: tuple[type[Oracle], ...] = (AttemptsBounded,)
