"""Gathers the ``Situation`` of one parent from the running tree, without asking any actor.

Every value is one that the actors keep anyway; reading it costs them nothing, and this works while every worker is stuck. It
reads what is otherwise an actor's own (hence no SLF rule for this file), and changes nothing. Dicts that another thread
changes are copied in one step under the interpreter's lock; where an iteration meets a change all the same, it is begun
again, and what may be a torn look (a bug of ours, by the answer) is looked at a second time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

from ..actor import Behaviour, Cell, Ref
from ..cluster import ClusterActor
from ..core.backoff import BreakerState
from ..core.batch import when_to_send
from ..core.budget import budget_of
from ..core.model import Child, Parent, ParentKey
from ..core.quota import Ledger, reached_s
from ..core.records import ChildRecords
from ..core.situation import (
    QUIET_S,
    ActorSeen,
    AttemptSeen,
    ClusterSeen,
    GatewaySeen,
    ItemSeen,
    KindSeen,
    PlaceSeen,
    Situation,
    WriteSeen,
)
from ..core.why import Answer, why
from ..directory import DirectoryActor
from ..gateway import BatchGatewayActor
from ..messages import GATEWAY
from ..status import StatusActor
from ..supervision import Supervisor
from ..tree import System
from ..watcher import WatcherActor
from .queued import queued

__all__ = ["Collector", "Heard", "behaviour_of", "cell_of", "cluster_seen"]

Heard = Callable[[str], float | None]
"""When that kind's server last proved that its stream lives, on our clock; None where nobody knows."""
B = TypeVar("B", bound=Behaviour)
T = TypeVar("T")
_TORN = ("overlooked", "not-asked", "waking")
LOOKS_MAX = 3


def cell_of(ref: Ref | None) -> Cell | None:
    """The cell behind a ref, for who only looks; None where it has ended."""
    cell = ref._actor_weakref() if ref is not None else None
    return cell if isinstance(cell, Cell) else None


def behaviour_of(ref: Ref | None, kind: type[B]) -> B | None:
    """What runs in that cell, if it is of that kind; None while it is down."""
    behaviour = _running(ref)
    return behaviour if isinstance(behaviour, kind) else None


def _running(ref: Ref | None) -> Behaviour | None:
    cell = cell_of(ref)
    return cell.behaviour if cell is not None else None


class Collector:
    """Looks at ``system``. ``heard`` tells how fresh the kinds' streams are; ``quiet_s``: how old a live one may be."""

    def __init__(self, system: System, heard: Heard = lambda kind: None, quiet_s: float = QUIET_S) -> None:
        self._system = system
        self._heard = heard
        self._quiet_s = quiet_s

    def why(self, key: ParentKey, child: str = "") -> Answer:
        """The first gate that holds that parent, or its child of that name (or ``KIND/NAME``), back."""
        answer = self._why(key, child)
        for _ in range(LOOKS_MAX - 1):
            if answer.first.code not in _TORN:
                break
            answer = self._why(key, child)
        return answer

    def both(self, key: ParentKey, child: str) -> tuple[Answer, Answer]:
        """Of that parent and of its child, at one instant: two readings of one situation."""
        situation = self.situation(key, child)
        return why(situation), why(situation, _uid(situation, child), child)

    def _why(self, key: ParentKey, child: str) -> Answer:
        situation = self.situation(key, child)
        return why(situation, _uid(situation, child) if child else None, child)

    def cluster(self, key: ParentKey) -> ClusterActor | None:
        """What acts for that parent; None while nobody does."""
        return behaviour_of(self._cluster_ref(key), ClusterActor)

    def situation(self, key: ParentKey, child: str = "") -> Situation:
        """Everything around that parent; ``child``: who is asked about besides those in trouble, as in ``why``."""
        system = self._system
        now_s = system.dispatcher.clock.now()
        parent = system.store.parent(key)
        cluster = self.cluster(key)
        own: Parent | None = cluster._parent if cluster is not None else None
        if parent is not None and own is not None and own.uid == parent.uid and own.version > parent.version:
            parent = own  # our own last write, whose echo has not come
        policy = system.settings.policy if parent is None else system.settings.policy.over(parent.spec)
        counts, children, guests = self._records(key, child)
        gateway = behaviour_of(system.refs.get(GATEWAY), BatchGatewayActor)
        pause_s = system.pauses.get(key)
        return Situation(
            now_s=now_s,
            key=key,
            ending=self._ending(),
            kinds=tuple(self._kind(ref.kind, key) for ref in system.fleet.kinds),
            quiet_s=self._quiet_s,
            parent=parent,
            policy=policy,
            override=cluster is not None and cluster._override.ends_s > now_s,
            command_pause_s=pause_s if pause_s is not None and pause_s > now_s else None,
            behind=dict(system.behind),
            counts=counts,
            children=children,
            guests=guests,
            repairers=self._repairers(children),
            actor=_actor(cell_of(self._cluster_ref(key))),
            place=self._place(key),
            directory=_actor(cell_of(system.refs.get("directory"))),
            status_actor=_actor(cell_of(system.refs.get("status"))),
            gateway_actor=_actor(cell_of(system.refs.get(GATEWAY))),
            cluster=None if cluster is None else _copied(lambda: cluster_seen(cluster)),
            write=self._write(key),
            gateway=None if gateway is None else _copied(lambda: _gateway(gateway, system, key, now_s)),
        )

    # --- parts --------------------------------------------------------------------------------------------------------
    def _ending(self) -> str:
        system = self._system
        if system.end is not None:
            return system.end.reason
        gateway = behaviour_of(system.refs.get(GATEWAY), BatchGatewayActor)
        if gateway is not None and gateway._draining:
            return "it drains: no new call begins"
        root = behaviour_of(system.refs.get("root"), Supervisor)
        if root is not None and root._stopping is not None:
            return "its actors are being stopped"
        return "it has stopped" if system.stopped else ""

    def _kind(self, kind: str, key: ParentKey) -> KindSeen:
        ref = self._system.refs.get(f"watcher/{kind}")
        behaviour = _running(ref)
        watcher = behaviour if isinstance(behaviour, WatcherActor) else None
        if watcher is None:
            synced, up, message = self._directory_knows(kind)
        else:
            synced, up, message = watcher._synced, watcher._up, watcher._down_because
        return KindSeen(
            kind=kind, synced=synced, up=up, message=message, heard_s=self._heard(kind), watcher=_actor(cell_of(ref)),
            subscribed=watcher is None or key in watcher._subscribers,
        )  # fmt: skip

    def _directory_knows(self, kind: str) -> tuple[bool, bool, str]:
        directory = behaviour_of(self._system.refs.get("directory"), DirectoryActor)
        unknown = (False, False, "its watcher has not started yet")
        return unknown if directory is None else directory._sync.get(kind, unknown)

    def _cluster_ref(self, key: ParentKey) -> Ref | None:
        directory = cell_of(self._system.refs.get("directory"))
        return None if directory is None else directory.children.get(f"cluster/{key.namespace}/{key.name}")

    def _place(self, key: ParentKey) -> PlaceSeen:
        directory = behaviour_of(self._system.refs.get("directory"), DirectoryActor)
        entry = directory._entries.get(f"cluster/{key.namespace}/{key.name}") if directory is not None else None
        if entry is None:
            ref = self._cluster_ref(key)  # the directory is down: its actors run on
            return PlaceSeen(phase="asleep" if cell_of(ref) is None else "awake")
        phase, again_s = entry.phase.value, entry.again_s
        return PlaceSeen(
            phase=phase,
            restart_s=again_s if phase == "down" else None,
            probe_s=again_s if phase == "quarantined" else None,
            why=entry.why if phase == "quarantined" else "",
        )

    def _records(self, key: ParentKey, asked: str) -> tuple[dict[str, tuple[int, int, int]], dict[str, Child], int]:
        """The counts of the delivered records, those children that are in trouble or asked about, and how many are guests.

        O(children).
        """
        counts: dict[str, tuple[int, int, int]] = {}
        kept: dict[str, Child] = {}
        guests = 0
        for kind, records in self._system.store.children.items():
            tally = {"healthy": 0, "unhealthy": 0, "unknown": 0}
            for child in _children(records, key):
                tally[child.state.value] += 1
                guests += child.guest
                if child.unwell or (asked and _is_called(child, asked)):
                    kept[child.uid] = child
            counts[kind] = (tally["healthy"], tally["unhealthy"], tally["unknown"])
        return counts, kept, guests

    def _repairers(self, children: dict[str, Child]) -> dict[str, str]:
        """For which parent each guest is repaired."""
        found = {}
        for uid, child in children.items():
            host = self._system.store.children[child.kind].find(child.object_uid) if child.guest else None
            if host is not None:
                there = self._system.store.parent(host.parent) is not None if host.parent is not None else False
                found[uid] = f"{host.parent}" if there else f"{host.parent}, of which there is no record"
        return found

    def _write(self, key: ParentKey) -> WriteSeen | None:
        status = behaviour_of(self._system.refs.get("status"), StatusActor)
        lane = status._lanes.get(key) if status is not None else None
        if lane is None:
            return None
        return WriteSeen(
            writing=lane.current is not None, since_s=lane.since_s, retry_s=lane.retry_s, attempts=lane.attempts,
            error=lane.error,
        )  # fmt: skip


def _uid(situation: Situation, asked: str) -> str:
    """The uid of the child that is asked about; "" where there is none of that name."""
    return next((uid for uid, child in situation.children.items() if _is_called(child, asked)), "")


def _is_called(child: Child, asked: str) -> bool:
    """By its name, its uid, or ``KIND/NAME``."""
    kind, _, name = asked.rpartition("/")
    return name in (child.name, child.object_uid) and kind in ("", child.kind)


def _actor(cell: Cell | None) -> ActorSeen:
    if cell is None:
        return ActorSeen(state="stopped")
    down = cell.last_down
    state = "quarantined" if cell.actor_inbox.refuses_asks else "down"
    return ActorSeen(
        state=state if cell.behaviour is None else "running", mailbox=cell.actor_inbox.depth(),
        busy_s=cell.busy_since_s, last_error=down.error if down is not None else "",
    )  # fmt: skip


def cluster_seen(actor: ClusterActor) -> ClusterSeen:
    """The parent's own actor; RuntimeError where it changes meanwhile."""
    roll, repairs = actor._roll, actor._repairs
    eligible = dict(roll.eligible)
    own = actor.plan() if actor._fleet.own is not None else None
    budget = budget_of(actor._policy, actor.standing)
    exhausted = repairs.exhausted(eligible, actor.ctx.clock.now(), budget)
    attempts = {}
    for uid, child in eligible.items():
        attempt = repairs._attempts.get(uid)
        if attempt is not None and attempt.incident == child.incident:
            attempts[uid] = AttemptSeen(
                key=attempt.key, asked_s=attempt.since_s, answered_s=attempt.answered_s,
                cooled_s=repairs.cooled_at(child, budget),
            )  # fmt: skip
    return ClusterSeen(
        missing=tuple(sorted(actor._missing)), debounce_s=actor._debounce.first_s, due_s=actor.due_s,
        writing=actor._target is not None, turned_down=actor.turned_down if actor.ctx.scheduled("write") else None,
        counts={kind: counts.as_tuple() for kind, counts in roll.counts.items()}, eligible=eligible,
        skipped=frozenset(actor._skipped), attempts=attempts, asked=frozenset(actor._asked),
        places=repairs.places(eligible, exhausted), exhausted=exhausted,
        left_out=own.left_out if own is not None else frozenset(), failed=own.failed_in_a_line if own is not None else "",
    )  # fmt: skip


def _gateway(actor: BatchGatewayActor, system: System, key: ParentKey, now_s: float) -> GatewaySeen:
    ledger, passing = system.ledger, actor._valve.passing(now_s)
    settings, breaker, pause = actor._settings, actor._breaker, actor._pause
    calls = list(actor._calls.values())
    free: Any = ledger.statistics(now_s)
    flying = {item.uid: opened for opened in calls for item in opened.call.items}
    items = {}
    for uid, item_key, place, at_s, attempts, embargo_s, ahead in queued(actor.queue, key):
        opened = flying.get(uid)
        items[uid] = ItemSeen(
            key=item_key, place=place, at_s=at_s, attempts=attempts, embargo_s=embargo_s, ahead=ahead,
            call_s=opened.slot.taken_s if opened is not None else None,
            call_until_s=actor._overdue_s(opened) if opened is not None else None,
        )  # fmt: skip
    opens_s = breaker.opens_at()
    return GatewaySeen(
        opens_s=_cold_until_s(ledger) if free["cold"] else None,
        pause_s=pause.until_s if pause.until_s > now_s else None,
        probing=pause.probing,
        breaker=breaker.state.value,
        breaker_s=opens_s if breaker.state is not BreakerState.CLOSED else None,
        error=actor._error,
        calls=len(calls),
        calls_max=settings.in_flight_max,
        calls_over_s=actor._overdue_s(calls[0]) if calls else None,
        slot_s=now_s if free["free"] > 0 else _slot_s(ledger),
        batch_s=_batch_s(actor, ledger, passing),
        batch_max=settings.batch_max,
        quota=(settings.quota.calls, settings.quota.window_s),
        items=items,
        held="" if passing is None or key in passing else actor._valve.why,
        held_s=actor._valve.closed_s,
        held_until_s=actor._valve.opens_s,
    )


def _batch_s(actor: BatchGatewayActor, ledger: Ledger, passing: frozenset[ParentKey] | None) -> float:
    """As the gateway reckons it, but without moving anything on."""
    settings = actor._settings
    ready, oldest_s, newest_s = actor.queue.ready_of(passing)
    return when_to_send(
        ready=ready, batch_max=settings.batch_max, oldest_s=oldest_s, newest_s=newest_s,
        quiet_s=settings.batch_quiet_s, spacing_s=ledger.spacing_s, last_partial_s=actor._last_partial_s,
    )  # fmt: skip


def _cold_until_s(ledger: Ledger) -> float:
    return math.inf if ledger._opens_ns is None else reached_s(ledger._opens_ns)


def _slot_s(ledger: Ledger) -> float:
    """When the first spent slot is free again. A heap's first is its least, whatever else is being done to it."""
    spent = list(ledger._spent)
    return reached_s(min(spent)) if spent else math.inf


def _children(records: ChildRecords, key: ParentKey) -> list[Child]:
    return _copied(lambda: list(records.of(key).values()))


def _copied(look: Callable[[], T]) -> T:
    """Look again where what is looked at changed meanwhile."""
    for _ in range(LOOKS_MAX - 1):
        try:
            return look()
        except RuntimeError:  # a dict changed its size during the iteration
            continue
    return look()
