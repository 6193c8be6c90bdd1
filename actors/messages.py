"""Every message between actors. All are frozen; facts are past participles, requests say what is wanted.

Each docstring gives sender → receiver, and what its loss costs. ``Objects`` and ``StreamChanged`` come through a port and
live in ``core.ports``; they are named here too, because this page is where a reader looks. Lanes (see ``actor``): *control*
is served first, *object* mail coalesces by (kind, uid), everything else is first come, first served.
"""

from __future__ import annotations

import math
from enum import Enum
from typing import Any, ClassVar

from attrs import frozen
from pykka import ActorRef

from .core.model import EventNote, Item, ParentKey, Wish
from .core.ports import Objects, Outcome, Reply, StreamChanged, Written

__all__ = [
    "AskAgain",
    "AuditDue",
    "BackendState",
    "BehindDue",
    "CallEnded",
    "CloseUp",
    "ConditionDue",
    "DebounceEnded",
    "DispatchDue",
    "Down",
    "DrainWanted",
    "EventEnded",
    "EventWanted",
    "IdleReached",
    "ItemAnswer",
    "ItemsAnswered",
    "LastMail",
    "LookAgain",
    "LookWanted",
    "Objects",
    "ParentGone",
    "ParentWanted",
    "PassivateWanted",
    "Passivated",
    "PauseWanted",
    "ProbeDue",
    "QuotaLimited",
    "Released",
    "RelistWanted",
    "RepairsWanted",
    "RestartDue",
    "RetryDue",
    "RosterWanted",
    "StatusAnswered",
    "StatusState",
    "StatusWanted",
    "StopOverdue",
    "StopTree",
    "StreamChanged",
    "SubscribeWanted",
    "SyncChanged",
    "UnsubscribeWanted",
    "WatcherStarted",
    "WriteEnded",
]  # fmt: skip

Ref = ActorRef[Any]


class Lane(Enum):
    """Which queue of the mailbox a message joins."""

    CONTROL = "control"
    OBJECT = "object"
    ORDINARY = "ordinary"


# --- supervision ------------------------------------------------------------------------------------------------------
@frozen(kw_only=True)
class Down:
    """cell → its supervisor and whoever watches it: one incarnation has died, exactly once.

    ``reason`` is crashed, stopped or wedged. ``poison`` is the fingerprint of the message it died
    of. Loss: the cell stays down; it cannot be lost while its supervisor lives, because the cell keeps its own ref.
    """

    lane: ClassVar[Lane] = Lane.CONTROL
    name: str
    incarnation: int
    reason: str
    error: str = ""
    traceback: str = ""
    poison: str = ""
    uptime_s: float = 0.0


@frozen(kw_only=True)
class RestartDue:
    """supervisor's timer → itself: the backoff of that child has passed. Loss: the child stays down."""

    name: str


@frozen(kw_only=True)
class StopTree:
    """the system → root supervisor: stop the children, last started first. Loss: the process is killed at its grace's end."""

    lane: ClassVar[Lane] = Lane.CONTROL


@frozen(kw_only=True)
class StopOverdue:
    """supervisor's timer → itself: that child did not stop in time; go on with the next."""

    name: str


@frozen(kw_only=True)
class ProbeDue:
    """directory's timer → itself: let a quarantined child try once more. Loss: it waits for a spec change."""

    name: str


# --- watcher ⇄ directory ⇄ ClusterActor -------------------------------------------------------------------------------
@frozen(kw_only=True)
class WatcherStarted:
    """watcher → directory: a new incarnation knows no subscriptions; send them all again. Loss: parents hear nothing."""

    kind: str
    ref: Ref


@frozen(kw_only=True)
class SyncChanged:
    """watcher → directory: the kind is listed completely (or no longer streams). Loss: readiness is stale."""

    kind: str
    synced: bool
    up: bool
    message: str = ""


@frozen(kw_only=True)
class BehindDue:
    """directory's timer → itself: that kind's stream has been down for long. Loss: repairs go on by old news."""

    kind: str


@frozen(kw_only=True)
class ParentWanted:
    """watcher → directory: mail is there for a parent that has no ClusterActor. Idempotent.

    ``spec_changed`` lets a quarantined parent out. Loss: the parent sleeps through a change.
    """

    parents: tuple[ParentKey, ...]
    spec_changed: bool = False


@frozen(kw_only=True)
class SubscribeWanted:
    """directory → watcher: send that parent's records (a replacement) and its changes to ``ref`` from now on. Idempotent."""

    parent: ParentKey
    ref: Ref


@frozen(kw_only=True)
class UnsubscribeWanted:
    """directory → watcher: send nothing more to ``ref``; close with ``LastMail``. Idempotent."""

    parent: ParentKey
    ref: Ref


@frozen(kw_only=True)
class LastMail:
    """watcher → ClusterActor: nothing more of this kind follows. Loss: a passivating actor stays awake."""

    kind: str


@frozen(kw_only=True)
class ParentGone:
    """parents' watcher → directory: the parent is not on the API server any more. Loss: an actor for nobody until a relist."""

    parent: ParentKey


@frozen(kw_only=True)
class RosterWanted:
    """directory → every watcher: a new incarnation asks what it missed. Idempotent.

    Answered by ``SyncChanged``, and by the parents' watcher with all parents as ``ParentWanted``. Loss: some sleep too long.
    """

    ref: Ref


@frozen(kw_only=True)
class RelistWanted:
    """ClusterActor or directory → the parents' watcher: list again, the server has a newer object that has not come.

    Idempotent; a wish that comes while a list is under way, or soon after another wish, is dropped: who still misses something
    wishes again. Loss: a status conflicts until the next list.
    """

    reason: str


@frozen(kw_only=True)
class CloseUp:
    """directory → ClusterActor: the parent is gone from the API server; withdraw what is queued and stop."""

    lane: ClassVar[Lane] = Lane.CONTROL


@frozen(kw_only=True)
class PassivateWanted:
    """ClusterActor → directory: idle for long; may I sleep? Idempotent."""

    parent: ParentKey
    ref: Ref


@frozen(kw_only=True)
class Passivated:
    """ClusterActor → directory: all watchers have closed; ``asleep`` False: something came meanwhile, subscribe me again."""

    parent: ParentKey
    ref: Ref
    asleep: bool


@frozen(kw_only=True)
class Released:
    """a person's command → directory: let that parent out of quarantine (``by``: command). Idempotent."""

    parent: ParentKey
    by: str


@frozen(kw_only=True)
class LookWanted:
    """a person's command → directory: have that parent's actor look now; one that sleeps is woken. Idempotent.

    Loss: nothing is looked at before the next change.
    """

    parent: ParentKey


@frozen(kw_only=True)
class PauseWanted:
    """a person's command → directory: hold that parent's repairs until then (our clock; 0: no longer). Idempotent.

    Loss: nothing is held; who asked looks whether it is in force.
    """

    parent: ParentKey
    until_s: float


@frozen(kw_only=True)
class ConditionDue:
    """directory's timer → itself: say again in that parent's status that it is quarantined. Loss: nobody is told."""

    name: str


GATEWAY = "gateway"
"""The name of the gateway's actor."""


@frozen(kw_only=True)
class AskAgain:
    """directory → ClusterActor: the gateway or the StatusActor lost its memory; send your whole wish again. Idempotent.

    ``lost``: who it was, by its actor's name; "" where it may have been either.
    """

    lost: str = ""


# --- ClusterActor's own timers ----------------------------------------------------------------------------------------
@frozen(kw_only=True)
class DebounceEnded:
    """timer → ClusterActor: the quiet time or the longest wait is over, unless more changes came meanwhile."""


@frozen(kw_only=True)
class LookAgain:
    """timer → ClusterActor: the Plan's own deadline (a cooldown ends)."""


@frozen(kw_only=True)
class AuditDue:
    """timer → ClusterActor: compare the counts with a recount. Loss: a wrong count would live until the actor sleeps."""


@frozen(kw_only=True)
class IdleReached:
    """timer → ClusterActor: nothing has happened for the idle time."""


# --- status -----------------------------------------------------------------------------------------------------------
@frozen(kw_only=True)
class StatusWanted:
    """ClusterActor → StatusActor: make it so. The newest per parent wins; older ones that wait are dropped.

    ``version`` is the resourceVersion that the patch requires; ``sequence`` names the wish in the answer.
    Loss: the status is stale until the next change; the ClusterActor asks again when the StatusActor dies.
    """

    parent: ParentKey
    uid: str
    version: int
    wish: Wish
    sequence: int
    reply_to: Ref

    @property
    def status(self) -> dict[str, Any]:
        """See ``Wish.status``."""
        return self.wish.status


class StatusState(Enum):
    """How a wanted status ended."""

    WRITTEN = "written"
    CONFLICT = "conflict"  # wait for the newer object, then reconcile
    GONE = "gone"  # the parent is not there any more
    REFUSED = "refused"  # the schema or RBAC says no: retried slowly


@frozen(kw_only=True)
class StatusAnswered:
    """StatusActor → ClusterActor: how the wish ended. Transport errors are retried inside and not answered."""

    sequence: int
    state: StatusState
    written: Written | None = None
    message: str = ""


@frozen(kw_only=True)
class WriteEnded:
    """executor → StatusActor: one PATCH has ended. ``incarnation`` stale: dropped by the cell."""

    parent: ParentKey
    sequence: int
    outcome: Outcome[Written]


@frozen(kw_only=True)
class EventWanted:
    """ClusterActor, directory → StatusActor: record an Event, best effort. Loss: one Event."""

    parent: ParentKey
    uid: str
    note: EventNote


@frozen(kw_only=True)
class EventEnded:
    """executor → StatusActor: one Event has been recorded or not."""

    parent: ParentKey
    outcome: Outcome[None]


@frozen(kw_only=True)
class RetryDue:
    """timer → StatusActor: try that parent's status again."""

    parent: ParentKey


# --- gateway ----------------------------------------------------------------------------------------------------------
@frozen(kw_only=True)
class RepairsWanted:
    """ClusterActor → gateway: the whole wanted set of one parent; what was queued and is missing here is withdrawn.

    ``told`` False: the sender does not know how the backend is, perhaps any more, and is to be told again.
    ``override_ends_s`` (our clock): until then the valve over all parents does not hold these.
    Idempotent. Loss: repairs wait for the next reconcile.
    """

    parent: ParentKey
    items: tuple[Item, ...]
    reply_to: Ref
    told: bool = True
    override_ends_s: float = -math.inf


class ItemAnswer(Enum):
    """How an item ended. Retries are the gateway's own business and no answer."""

    DONE = "done"
    FAILED = "failed"
    WITHDRAWN = "withdrawn"


@frozen(kw_only=True)
class ItemsAnswered:
    """gateway → ClusterActor: answers by item key, with a message each ("" where there is none).

    ``at_s`` is the instant of the answer (our clock): cooldowns count from it. Loss: the item is asked again with the same key.
    """

    answers: dict[str, tuple[ItemAnswer, str]]
    at_s: float


@frozen(kw_only=True)
class BackendState:
    """gateway → ClusterActors with items there: whether the backend answers (None: no news of that). ``reason`` is CamelCase.

    ``held``: why the valve over all parents holds all calls, "" where it does not. Loss: a condition is stale until the next
    news of it; a parent's actor that has died asks anew.
    """

    reachable: bool | None
    reason: str
    message: str
    held: str = ""


@frozen(kw_only=True)
class DispatchDue:
    """timer → gateway: a batch window ends, a slot frees, a pause or a backoff is over."""


@frozen(kw_only=True)
class QuotaLimited:
    """a person's command → gateway: use only so many of the quota's calls until then (our clock). Idempotent.

    0: send nothing. Loss: the whole quota is used; who asked looks whether it is in force.
    """

    calls: int
    until_s: float


@frozen(kw_only=True)
class CallEnded:
    """executor → gateway: one call has ended."""

    call: str
    outcome: Outcome[Reply]


@frozen(kw_only=True)
class DrainWanted:
    """shutdown → gateway and StatusActor: begin nothing new (gateway) or finish what is wanted (status); call ``reply``.

    Ordinary mail: it must not overtake the wishes that were told before it. Loss: the drain waits out its deadline.
    """

    reply: Any  # a callable without arguments: called once, from any thread
