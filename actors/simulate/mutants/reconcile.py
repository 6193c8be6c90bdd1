"""Planted in the decisions about one parent: counts, valve, who is asked for, and under which key."""

# ruff: noqa: ARG001 - a replacement keeps its original's signature, used or not

from __future__ import annotations

from collections.abc import Container
from itertools import count
from typing import Any

from attrs import evolve

from ...core.budget import Budget
from ...core.health import Roll
from ...core.keys import item_key
from ...core.model import Child, Item, Parent, ParentKey, Policy, Share
from ...core.reconcile import Children
from ...core.repairs import Repairs
from ...core.texts import uid_in
from ...core.valve import limit
from .planting import Bed

__all__ = ["bed"]

bed = Bed()
_Found = tuple[list[Item], dict[str, int], float | None]


# --- the roll ---------------------------------------------------------------------------------------------------------
@bed.single(
    "changed-child-is-counted-twice", breaks="truth", at="actors.core.health:Roll.enter",
    what="the state that a child leaves keeps its count",
)  # fmt: skip
def _(original: Any) -> Any:
    def enter(self: Roll, kind: str, key: bytes, text: bytes) -> bool:
        old = self.children.get(uid_in(key, text))
        changed = bool(original(self, kind, key, text))
        if changed and old is not None:
            self.counts[old.kind].add(old.state, +1)
        return changed

    return enter


@bed.single(
    "dropped-child-is-still-counted", breaks="truth", at="actors.core.health:Roll.drop",
    what="a child that is gone leaves the roll, and its count stays",
)  # fmt: skip
def _(original: Any) -> Any:
    def drop(self: Roll, uid: str) -> bool:
        old = self.children.get(uid)
        if old is not None:
            self.counts[old.kind].add(old.state, +1)
        return bool(original(self, uid))

    return drop


@bed.single(
    "recovered-child-stays-eligible", breaks="I7", at="actors.core.health:Roll.enter",
    what="a child that is well again is asked for until it is gone",
)  # fmt: skip
def _(original: Any) -> Any:
    def enter(self: Roll, kind: str, key: bytes, text: bytes) -> bool:
        wanted = self.eligible.get(uid_in(key, text))
        changed = bool(original(self, kind, key, text))
        if wanted is not None:
            self.eligible.setdefault(wanted.uid, wanted)
        return changed

    return enter


@bed.single(
    "only-the-first-failure-is-eligible", breaks="I5", at="actors.core.health:Roll.enter",
    what="a child that fails after it was entered well is counted, and never asked for",
)  # fmt: skip
def _(original: Any) -> Any:
    def enter(self: Roll, kind: str, key: bytes, text: bytes) -> bool:
        old = self.children.get(uid_in(key, text))
        changed = bool(original(self, kind, key, text))
        if old is not None and not old.eligible:
            self.eligible.pop(old.uid, None)
        return changed

    return enter


# --- the valve --------------------------------------------------------------------------------------------------------
@bed.single(
    "valve-holds-nothing", breaks="valve", at="actors.core.reconcile:_repairs",
    what="the valve is shown in the status, and repairs go on however many are unwell",
)  # fmt: skip
def _(original: Any) -> Any:
    def repairs(
        parent: Parent, children: Children, policy: Policy, now_s: float, allowed: bool, budget: Budget,
        exhausted: Container[str],
    ) -> _Found:  # fmt: skip
        unheld = policy.repair_enabled and not parent.spec.paused and not parent.deleting
        found: _Found = original(parent, children, policy, now_s, unheld, budget, exhausted)
        return found

    return repairs


@bed.single(
    "valve-floor-is-a-ceiling", breaks="valve", at="actors.core.valve:closed",
    what="the count up to which a percentage never closes the valve is the most that it allows",
)  # fmt: skip
def _(original: Any) -> Any:
    def closed(eligible: int, share: Share, total: int, floor: int) -> bool:
        allowed = limit(share, total, 0)
        return eligible > (allowed if share.percent is None else min(floor, allowed))

    return closed


@bed.single(
    "valve-holds-only-what-is-new", breaks="valve", at="actors.core.reconcile:_repairs",
    what="a valve that closes leaves in the queue what was asked before",
)  # fmt: skip
def _(original: Any) -> Any:
    def repairs(
        parent: Parent, children: Children, policy: Policy, now_s: float, allowed: bool, budget: Budget,
        exhausted: Container[str],
    ) -> _Found:  # fmt: skip
        found: _Found = original(
            parent, children, policy, now_s, allowed or children.repairs.open_count > 0, budget, exhausted
        )
        return found

    return repairs


@bed.single(
    "pause-holds-nothing", breaks="valve", at="actors.core.reconcile:_repairs",
    what="spec.paused is shown in the status, and repairs go on",
)  # fmt: skip
def _(original: Any) -> Any:
    def repairs(
        parent: Parent, children: Children, policy: Policy, now_s: float, allowed: bool, budget: Budget,
        exhausted: Container[str],
    ) -> _Found:  # fmt: skip
        found: _Found = original(parent, children, policy, now_s, allowed or parent.spec.paused, budget, exhausted)
        return found

    return repairs


@bed.single(
    "deleting-parent-goes-on-repairing", breaks="I11", at="actors.core.reconcile:_repairs", needs=("A16",),
    what="a parent that waits for its finalizers is repaired for",
)  # fmt: skip
def _(original: Any) -> Any:
    def repairs(
        parent: Parent, children: Children, policy: Policy, now_s: float, allowed: bool, budget: Budget,
        exhausted: Container[str],
    ) -> _Found:  # fmt: skip
        found: _Found = original(parent, children, policy, now_s, allowed or parent.deleting, budget, exhausted)
        return found

    return repairs


# --- attempts and keys ------------------------------------------------------------------------------------------------
@bed.single(
    "cooldown-is-ignored", breaks="I3", at="actors.core.repairs:Repairs.wanted", needs=("B11",),
    what="a child that is not well at the moment of the answer is repaired again at once",
)  # fmt: skip
def _(original: Any) -> Any:
    def wanted(self: Repairs, parent: ParentKey, child: Child, now_s: float, budget: Budget) -> Item | None:
        item: Item | None = original(self, parent, child, now_s, evolve(budget, cooldown_s=0.0, cooldown_max_s=0.0))
        return item

    return wanted


@bed.single(
    "key-without-its-incident", breaks="I5", at="actors.core.repairs:item_key",
    what="a child that fails again has the key of its last repair, and the backend takes it for done",
)  # fmt: skip
def _(original: Any) -> Any:
    def key(uid: str, incident: str, round_number: int) -> str:
        return item_key(uid, "", round_number)

    return key


@bed.single(
    "key-without-its-round", breaks="I5", at="actors.core.repairs:item_key", needs=("B11",),
    what="a second attempt at one incident has the key of the first, and the backend takes it for done",
)  # fmt: skip
def _(original: Any) -> Any:
    def key(uid: str, incident: str, round_number: int) -> str:
        return item_key(uid, incident, 0)

    return key


@bed.single(
    "new-key-with-each-look", breaks="I3", at="actors.core.repairs:item_key", needs=("B3",),
    what="keys are drawn instead of derived: what is asked again is another repair",
)  # fmt: skip
def _(original: Any) -> Any:
    draws = count()

    def key(uid: str, incident: str, round_number: int) -> str:
        return item_key(uid, f"{incident}#{next(draws)}", round_number)

    return key


@bed.single(
    "withdrawn-attempt-counts-as-asked", breaks="I5", at="actors.core.repairs:Repairs.withdrawn",
    what="what was taken out of the queue unsent is answered, and cools down",
)  # fmt: skip
def _(original: Any) -> Any:
    def withdrawn(self: Repairs, key: str) -> None:
        uid = self._open.get(key)
        if uid is not None:
            self.answered(key, self._attempts[uid].since_s)

    return withdrawn


@bed.single(
    "limit-in-flight-is-ignored", breaks="I12", at="actors.core.reconcile:_repairs",
    what="spec.repair.maxInFlight bounds nothing",
)  # fmt: skip
def _(original: Any) -> Any:
    def repairs(
        parent: Parent, children: Children, policy: Policy, now_s: float, allowed: bool, budget: Budget,
        exhausted: Container[str],
    ) -> _Found:  # fmt: skip
        found: _Found = original(
            parent, children, evolve(policy, in_flight_max=None), now_s, allowed, budget, exhausted
        )
        return found

    return repairs
