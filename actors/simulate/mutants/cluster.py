"""Planted in the ClusterActor: what it waits for, what wakes it, and what it takes for its own doing."""

# ruff: noqa: ARG001 - a replacement keeps its original's signature, used or not

from __future__ import annotations

from typing import Any

from attrs import evolve

from ...cluster import ClusterActor
from ...core.conflicts import Conflicts
from ...core.debounce import Debounce
from ...core.model import Parent, Plan, Wish
from ...core.ports import Objects
from ...messages import LookAgain, StatusAnswered
from .planting import Bed

__all__ = ["bed", "own_write_is_not_learnt"]

bed = Bed()


# --- object mail ------------------------------------------------------------------------------------------------------
@bed.single(
    "cluster-acts-before-every-kind-is-listed", breaks="synced", at="actors.cluster:ClusterActor._objects",
    what="the parent's own record is enough to write a status and to ask for repairs",
)  # fmt: skip
def _(original: Any) -> Any:
    def objects(self: ClusterActor, mail: Objects) -> None:
        original(self, mail)
        if self._missing and self._parent is not None:
            self._missing = frozenset()
            self._changed(mail.kind)

    return objects


@bed.single(
    "cluster-acts-with-one-kind-missing", breaks="synced", at="actors.cluster:ClusterActor._reset",
    what="the last of the kinds is not waited for",
)  # fmt: skip
def _(original: Any) -> Any:
    def reset(self: ClusterActor) -> None:
        original(self)
        self._missing -= {self._child_kinds[-1]}

    return reset


@bed.single(
    "cluster-merges-a-replacement", breaks="truth", at="actors.cluster:ClusterActor._strike", needs=("A22",),
    what="a replacement from a watcher adds and renews, and what is missing from it stays on the roll",
)  # fmt: skip
def _(original: Any) -> Any:
    def strike(self: ClusterActor, mail: Objects) -> bool:
        return False

    return strike


# --- what wakes it ----------------------------------------------------------------------------------------------------
@bed.single(
    "change-during-a-write-is-lost", breaks="I9", at="actors.cluster:ClusterActor._changed",
    what="a change that comes while a status is on its way wakes nobody",
)  # fmt: skip
def _(original: Any) -> Any:
    def changed(self: ClusterActor, cause: str) -> None:
        if self._target is None:
            original(self, cause)

    return changed


@bed.single(
    "own-echo-is-a-change", breaks="no write for nothing", at="actors.cluster:ClusterActor._enter_parent",
    what="our own status comes back by watch and is reconciled",
)  # fmt: skip
def _(original: Any) -> Any:
    def enter_parent(self: ClusterActor, parent: Parent) -> bool:
        old = self._parent
        return bool(original(self, parent)) or old is None or parent.version > old.version

    return enter_parent


@bed.single(
    "foreign-write-is-taken-for-our-echo", breaks="truth", at="actors.cluster:ClusterActor._enter_parent", needs=("A10",),
    what="a parent's new version matters only where its spec has changed: what others write into the status stays",
)  # fmt: skip
def _(original: Any) -> Any:
    def enter_parent(self: ClusterActor, parent: Parent) -> bool:
        old = self._parent
        changed = bool(original(self, parent))
        if old is None or old.uid != parent.uid or parent.version <= old.version:
            return changed
        return changed and (old.generation != parent.generation or old.deleting != parent.deleting)

    return enter_parent


@bed.single(
    "overwritten-status-is-not-noticed", breaks="truth", at="actors.cluster:ClusterActor._overwritten", needs=("A10",),
    what="who writes between our write and its answer has the last word",
)  # fmt: skip
def _(original: Any) -> Any:
    def overwritten(self: ClusterActor, answer: StatusAnswered, wished: Wish) -> bool:
        return False

    return overwritten


@bed.single(
    "conflict-waits-for-no-newer-object", breaks="truth", at="actors.cluster:ClusterActor._enter_parent",
    redundant_with=("conflict-is-not-looked-at-again",), needs=("A10",),
    what="the newer object that a conflict spoke of is no reason to look",
)  # fmt: skip
def conflict_awaits_nothing(original: Any) -> Any:
    def enter_parent(self: ClusterActor, parent: Parent) -> bool:
        self._awaiting = 0
        return bool(original(self, parent))

    return enter_parent


@bed.single(
    "conflict-is-not-looked-at-again", breaks="truth", at="actors.cluster:CONFLICT_PATIENCE_S",
    redundant_with=("conflict-waits-for-no-newer-object",), needs=("A10",),
    what="after a conflict there is no deadline by which to look",
)  # fmt: skip
def conflict_has_no_deadline(original: float) -> float:
    return original + 1e9


bed.pair(
    "conflict-is-the-end-of-it", conflict_awaits_nothing, conflict_has_no_deadline, breaks="truth", needs=("A10",),
    what="a status that met a conflict is not written until something else changes",
)  # fmt: skip


@bed.single(
    "lost-version-is-never-sought", breaks="truth", at="actors.core.conflicts:Conflicts.met", needs=("A13",),
    what="a parent whose newest version was lost with its stream conflicts until somebody else lists",
)  # fmt: skip
def _(original: Any) -> Any:
    def met(self: Conflicts, now_s: float) -> bool:
        return False

    return met


@bed.single(
    "record-that-is-left-out-is-told-to-nobody", breaks="restart", at="actors.core.reconcile:reconcile", needs=("P4",),
    what="a parent one of whose children cannot be read says that it is ready",
)  # fmt: skip
def _(original: Any) -> Any:
    def reconcile(fleet: Any, parent: Parent, children: Any, policy: Any, now: Any) -> Plan:
        plan: Plan = original(fleet, parent, evolve(children, skipped=0), policy, now)
        return plan

    return reconcile


# --- when it looks ----------------------------------------------------------------------------------------------------
@bed.single(
    "debounce-has-no-longest-wait", breaks="debounce", at="actors.core.debounce:Debounce.due_at", needs=("P11",),
    what="each change puts the look off again: while they keep coming, nobody looks",
)  # fmt: skip
def _(original: Any) -> Any:
    def due_at(self: Debounce, quiet_s: float, max_s: float) -> float:
        return self.last_s + quiet_s

    return due_at


@bed.single(
    "debounce-has-no-quiet-time", breaks="debounce", at="actors.core.debounce:Debounce.changed",
    what="the look is due the quiet time after the first change, however many follow",
)  # fmt: skip
def _(original: Any) -> Any:
    def changed(self: Debounce, now_s: float) -> None:
        if not self.pending:
            original(self, now_s)

    return changed


@bed.single(
    "deadline-is-debounced", breaks="debounce", at="actors.cluster:ClusterActor.on_receive",
    what="a deadline of the Plan waits for quiet like a change",
)  # fmt: skip
def _(original: Any) -> Any:
    def on_receive(self: ClusterActor, message: Any) -> Any:
        if isinstance(message, LookAgain):
            self._changed("deadline")
            return None
        return original(self, message)

    return on_receive


# --- what it sends ----------------------------------------------------------------------------------------------------
@bed.single(
    "same-status-is-written-again", breaks="no write for nothing", at="actors.cluster:ClusterActor._execute",
    what="every look is a write",
)  # fmt: skip
def _(original: Any) -> Any:
    def execute(self: ClusterActor, plan: Plan, changed: bool) -> None:
        original(self, plan, True)

    return execute


@bed.single(
    "own-write-is-not-learnt", breaks="no write for nothing", at="actors.cluster:ClusterActor._learn", needs=("A24",),
    what="until the echo of our write comes by watch, the status before it counts as the one on the server",
)  # fmt: skip
def own_write_is_not_learnt(original: Any) -> Any:
    def learn(self: ClusterActor, answer: StatusAnswered) -> None:
        return

    return learn


@bed.single(
    "refused-status-is-tried-without-a-pause", breaks="I17", at="actors.cluster:REFUSED_RETRY_S", needs=("A15", "A16"),
    what="a status that the server refuses is sent again at once, for ever",
)  # fmt: skip
def _(original: float) -> float:
    return original / 1000


@bed.single(
    "deleted-parent-withdraws-nothing", breaks="I11", at="actors.cluster:ClusterActor._withdraw_all",
    what="what was asked for a parent that is gone stays in the queue, and is sent",
)  # fmt: skip
def _(original: Any) -> Any:
    def withdraw_all(self: ClusterActor) -> None:
        return

    return withdraw_all


# --- sleep ------------------------------------------------------------------------------------------------------------
@bed.single(
    "change-while-falling-asleep-is-lost", breaks="truth", at="actors.cluster:ClusterActor._last_mail",
    what="what comes between asking to sleep and the last mail does not keep the actor awake",
)  # fmt: skip
def _(original: Any) -> Any:
    def last_mail(self: ClusterActor, kind: str) -> None:
        first_s, target = self._debounce.first_s, self._target
        self._stirred, self._debounce.first_s, self._target = False, None, None
        original(self, kind)
        self._debounce.first_s, self._target = first_s, target

    return last_mail
