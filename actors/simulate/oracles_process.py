"""What must hold inside: supervision, bounds, ghosts, surprises; and what must be at the end: truth, health, rest."""

from __future__ import annotations

import math
from collections import deque
from typing import Any, ClassVar

from ..actor import Cell
from ..core.errors import ApiError
from ..core.events import (
    ActorCrashed,
    ActorQuarantined,
    ActorReleased,
    ActorRestarted,
    ActorWedged,
    AuditDiffered,
    DeadLettered,
    Escalated,
    FuseTripped,
    Listed,
    Reconciled,
    RecordSkipped,
    StatusFailed,
)
from ..core.model import ParentKey
from ..core.ports import Call
from ..gateway import BatchGatewayActor
from ..insight.collector import behaviour_of
from ..mailbox import Mailbox
from ..tree import System, statistics_of
from .court import Oracle, actor_of, counted, key_of
from .oracles_status import SLACK_S

__all__ = ["PROCESS_ORACLES"]

LOOK_EVERY_S = 10.0
LISTS_MAX = 60
"""Lists of one kind within ``LOOK_EVERY_S``: one at each break of its stream, as faults break it three times in two seconds."""
SKIP_TOLD_S = 15.0  # a restart's slack, the longest debounce, a write
_API_ERRORS = {error.__name__ for error in ApiError.__subclasses__()}


class Supervised(Oracle):
    """Each death is seen once and followed by one restart or by quarantine; nobody else is restarted; no early giving up."""

    name: ClassVar[str] = "supervised"
    promise: ClassVar[str] = "restart"

    def attend(self) -> None:
        self._down: dict[str, tuple[int, float]] = {}
        self._deaths: dict[str, int] = {}
        self._recent: deque[tuple[float, str]] = deque()
        listen = self.stage.listen
        listen(ActorCrashed, self._crashed)
        listen(ActorRestarted, self._restarted)
        listen(ActorQuarantined, self._quarantined)
        listen(ActorReleased, self._released)
        listen(Escalated, self._escalated)

    def begin_life(self) -> None:
        self._down.clear()
        self._deaths.clear()
        self._recent.clear()

    def _crashed(self, fact: ActorCrashed) -> None:
        if fact.poison == "on_stop":  # it ends anyhow
            return
        self.exercised += 1
        self._down[fact.actor] = (fact.incarnation, self.now)
        self._deaths[fact.actor] = self._deaths.get(fact.actor, 0) + 1
        self._recent.append((self.now, fact.actor))
        death = (fact.incarnation, self.now)
        life = self.stage.lives
        self.stage.world.after(36.0, lambda: self._due(fact.actor, death, life))

    def _due(self, actor: str, death: tuple[int, float], life: int) -> None:
        system = self.stage.system
        if life != self.stage.lives or self._down.get(actor) != death or system is None or system.end is not None:
            return
        if _state(system, actor) != "down":  # one of the same name may have come after it
            return
        if not self.stage.calm(self.now - 36.0, "operator", "actor:directory"):
            self.stage.world.after(40.0, lambda: self._due(actor, death, life))
            return
        if actor not in self.court.quarantined:
            self.no(f"{actor} has been down for 36 s and nobody restarts it")

    def _restarted(self, fact: ActorRestarted) -> None:
        down = self._down.pop(fact.actor, None)
        self.court.quarantined.discard(fact.actor)
        if down is None:
            self.no(f"{fact.actor} was restarted although it had not died")
        elif fact.incarnation != down[0] + 1:
            self.no(f"{fact.actor}: incarnation {fact.incarnation} follows {down[0]}")

    def _quarantined(self, fact: ActorQuarantined) -> None:
        self.court.quarantined.add(fact.actor)
        deaths = self._deaths.get(fact.actor, 0)
        assert self.stage.system is not None
        if deaths <= self.stage.system.settings.clusters.restarts_max:
            self.no(f"{fact.actor} is in quarantine after {deaths} deaths")

    def _released(self, fact: ActorReleased) -> None:
        self.court.quarantined.discard(fact.actor)

    def _escalated(self, fact: Escalated) -> None:
        while self._recent and self._recent[0][0] < self.now - 61.0:
            self._recent.popleft()
        by_actor: dict[str, int] = {}
        for _, actor in self._recent:
            by_actor[actor] = by_actor.get(actor, 0) + 1
        clusters = sum(1 for actor in by_actor if actor.startswith("cluster/"))
        worst = max((count for actor, count in by_actor.items() if not actor.startswith("cluster/")), default=0)
        if worst <= 5 and clusters <= 10:
            self.no(f"{fact.supervisor} gives up ({fact.reason}) after {by_actor}")


class NoSurprise(Oracle):
    """No exception but those that were planted, no fuse, no audit with a finding, no message lost on the floor."""

    name: ClassVar[str] = "no-surprise"
    promise: ClassVar[str] = "I20"

    def attend(self) -> None:
        self.stage.listen(ActorCrashed, self._crashed)
        self.stage.listen(FuseTripped, lambda fact: self.no(f"the fuse tripped: {fact.call}"))
        self.stage.listen(AuditDiffered, lambda fact: self.no(f"an audit found a difference: {fact}"))
        self.stage.listen(DeadLettered, self._dead)
        self.stage.listen(StatusFailed, self._failed)
        self.stage.listen(ActorWedged, self._wedged)

    def _crashed(self, fact: ActorCrashed) -> None:
        self.exercised += 1
        if not fact.error.startswith("Injected") and "planted" not in fact.error:
            self.no(f"{fact.actor} died of {fact.error}: {fact.traceback.strip().splitlines()[-3:]}")

    def _failed(self, fact: StatusFailed) -> None:
        if fact.reason not in _API_ERRORS:
            self.no(f"{fact.parent}: a status write raised {fact.reason}: {fact.message}")

    def _dead(self, fact: DeadLettered) -> None:
        self.exercised += 1
        if fact.reason in ("overflow", "refused"):
            self.no(f"{fact.actor}: {fact.message} was lost ({fact.reason})")

    def _wedged(self, fact: ActorWedged) -> None:
        if fact.message != "planted":
            self.no(f"{fact.actor} is wedged in {fact.message}")


class Bounded(Oracle):
    """Mailboxes, timers and calls in flight stay within what the number of objects allows; no relists without end."""

    name: ClassVar[str] = "bounded"
    promise: ClassVar[str] = "bounded"

    def attend(self) -> None:
        self._open = 0
        self._lists: dict[str, deque[float]] = {}
        self._requests: dict[str, int] = {}
        self.court.every(LOOK_EVERY_S, self._look)
        self.stage.listen(Listed, self._listed)
        self.stage.backend.on_send.append(self._sent)

    def begin_life(self) -> None:
        self._requests.clear()

    def _look(self) -> None:
        system, reader = self.stage.system, self.stage.reader
        if system is None or reader is None or self.stage.process is None or self.stage.process.frozen:
            return
        self.exercised += 1
        for name in self.stage.process.probe.twins:
            self.no(f"there are two actors {name}")
        objects = len(self.stage.truth.nodes) + len(self.stage.truth.parents)
        limit, lists_max = 200 + 6 * objects, LISTS_MAX * (1 + math.ceil(objects / self.stage.settings.page_items))
        for name, ref in (*system.refs.items(), *_clusters(system.refs.get("directory")).items()):
            mailbox = ref.actor_inbox
            if isinstance(mailbox, Mailbox) and (waiting := mailbox.depth()) > limit:
                self.no(f"{name} has {waiting} messages waiting, with {objects} objects")
        gateway = behaviour_of(system.refs.get("gateway"), BatchGatewayActor)
        in_flight = len(gateway._calls) if gateway is not None else 0  # noqa: SLF001  all its statistics cost as much as three oracles
        if in_flight > self.stage.settings.in_flight_max:
            self.no(f"{in_flight} calls are in flight")
        for kind, count in reader.requests.items():
            before = self._requests.get(kind, 0)
            self._requests[kind] = count
            if count - before > lists_max:
                self.no(f"{kind}: {count - before} requests within {LOOK_EVERY_S:g} s")

    def _listed(self, fact: Listed) -> None:
        recent = self._lists.setdefault(fact.kind, deque())
        while recent and self.now - recent[0] >= 10.0:
            recent.popleft()
        recent.append(self.now)
        if len(recent) > 40:
            self.no(f"{fact.kind} was listed {len(recent)} times within 10 s")

    def _sent(self, call: Call) -> None:
        self.exercised += 1


class NoGhosts(Oracle):
    """Nothing is submitted or kept for what is gone."""

    name: ClassVar[str] = "no-ghosts"
    promise: ClassVar[str] = "I11"

    def attend(self) -> None:
        self._parents_gone_s: dict[ParentKey, float] = {}
        self.stage.truth.on_parent.append(self._parent)
        self.stage.backend.on_send.append(self._sent)
        self.stage.writer.on_arrival.append(self._write)

    def _parent(self, parent: ParentKey, old: Any, new: Any) -> None:
        if new is None:
            self._parents_gone_s[parent] = self.now
        else:
            self._parents_gone_s.pop(parent, None)

    def _sent(self, call: Call) -> None:
        watched = self.stage.fleet.parent.kind
        for parent in sorted({item.parent for item in call.items}):
            went_s = self._parents_gone_s.get(parent, self.now)
            parts = (f"actor:{actor_of(parent)}", "actor:directory")
            if went_s < self.now - 1.0 and self._calm(watched, went_s) and self.stage.calm(went_s - 1.0, *parts):
                self.no(f"{parent} is gone since {went_s:.3f} s, and a call is made for it")
        for item in call.items:
            self.exercised += 1
            gone_s = self.stage.truth.gone_s.get(item.uid)
            if gone_s is not None and gone_s < self.now - 1.0 and self._calm(item.kind, gone_s):
                self.no(f"{item.payload['name']} is gone since {gone_s:.3f} s and is in a call")

    def _write(self, parent: ParentKey, uid: str) -> None:
        gone_s = self.stage.truth.gone_s.get(uid)
        allowed_s = 4.0 + self.court.policy(parent).debounce_max_s
        if gone_s is None or gone_s > self.now - allowed_s:
            return
        parts = ("write", f"write:{parent.name}", f"actor:{actor_of(parent)}", "actor:directory")
        if self._calm(self.stage.fleet.parent.kind, gone_s) and self.stage.calm(gone_s - 1.0, *parts):
            self.exercised += 1
            self.no(f"a status of {parent} is written, which is gone since {gone_s:.3f} s")

    def _calm(self, kind: str, since_s: float) -> bool:
        return self.stage.calm(since_s - 1.0, "operator", f"api:{kind}", f"actor:watcher/{kind}")

    def healed(self) -> None:
        """Stores, readers, actors and the queue hold what there is, and no more and no less."""
        system, reader, truth = self.stage.system, self.stage.reader, self.stage.truth
        if system is None or reader is None:
            return  # another oracle says so
        self.exercised += 1
        for kind in self.stage.child_kinds:
            there = {uid for uid, node in truth.nodes.items() if node.kind == kind}
            self._same(f"{kind} records", set(system.store.children[kind].uids()), there)
            self._same(f"{kind}s held by the reader", set(reader.held(kind)), there)
        self._same("parent records", set(map(str, system.store.parents)), set(map(str, truth.parents)))
        cells = _clusters(system.refs.get("directory"))
        ghosts = sorted(name for name in cells if truth.parents.get(key_of(name)) is None)
        if ghosts:
            self.no(f"actors of parents that are gone: {ghosts}")

    def _same(self, what: str, held: set[str], there: set[str]) -> None:
        if held != there:
            self.no(f"{what}: {sorted(held - there)} are held and gone, {sorted(there - held)} are there and not held")


class PoisonSkipped(Oracle):
    """A record that kills whoever reads it kills each reader twice at most; then it is left out, and the parent says so."""

    name: ClassVar[str] = "poison-skipped"
    promise: ClassVar[str] = "restart"

    def attend(self) -> None:
        self.stage.on_poisoned.append(self._poisoned)
        self.stage.listen(RecordSkipped, self._skipped)

    def _poisoned(self, actor: str, urn: str, uid: str) -> None:
        self.exercised += 1
        poison = self.stage.broken.poisons[uid]
        if poison.deaths[urn] > 2:
            self.no(f"{actor} has died {poison.deaths[urn]} times of {poison.name} at version {poison.version}")

    def _skipped(self, fact: RecordSkipped) -> None:
        if fact.actor.startswith("cluster/"):
            self.stage.world.after(SKIP_TOLD_S, lambda: self._due(fact.actor, self.stage.lives))

    def _due(self, actor: str, life: int) -> None:
        parent = key_of(actor)
        kinds = (f"api:{kind}" for kind in self.court.kinds)
        parts = ("operator", "write", f"write:{parent.name}", f"actor:{actor}", *kinds)
        if life != self.stage.lives or not self.stage.calm(self.now - 4.0, *parts) or not self.court.works(parent):
            return
        if not any(self._stands(uid, parent) for uid in self.stage.broken.poisons):
            return
        self.exercised += 1
        conditions = (self.stage.status(parent) or {}).get("conditions") or ()
        ready = [each for each in conditions if each.get("type") == "Ready"]
        if not ready or ready[0].get("status") != "False":
            self.no(f"{parent}: a child cannot be read, and its status does not say so: {ready}")

    def _stands(self, uid: str, parent: ParentKey) -> bool:
        """Whether that poison is still what the reader has of a child of that parent, and has been for a while."""
        poison, node = self.stage.broken.poisons[uid], self.stage.truth.nodes.get(uid)
        record = self.court.mirror.child(node.kind, uid) if node is not None else None
        if record is None or record.parent != parent or record.version != poison.version:
            return False
        return any(poison.deaths.values()) and poison.actor.startswith("cluster/")


class Converges(Oracle):
    """When the faults are over: every status is the truth, every node that can be repaired is well, nobody waits."""

    name: ClassVar[str] = "converges"
    promise: ClassVar[str] = "truth"

    def healed(self) -> None:
        stage, court = self.stage, self.court
        self.exercised += 1
        if stage.system is None or stage.process is None:
            self.no("there is no process")
            return
        reasons = stage.system.ready()
        if reasons:
            self.no(f"not ready: {reasons}")
        for parent, obj in stage.truth.parents.items():
            if actor_of(parent) not in stage.broken.left_broken:
                self._status(parent, obj)
            elif actor_of(parent) in court.quarantined:
                self._says_so(parent, obj.get("status") or {})
        for node in stage.truth.nodes.values():
            if node.healthy is False and node.uid not in stage.broken.left_sick and self._repairable(node.parent):
                self.no(f"{node.name} is unhealthy since {node.since_s:.3f} s and nobody repairs it")
        if court.skipped:
            return
        gateway: dict[str, Any] = dict(stage.system.cells()).get("gateway", {})
        queue = gateway.get("queue", {})
        waiting = {name: queue[name] for name in ("ready", "waiting", "blocked", "in_flight") if queue.get(name)}
        if waiting and not stage.broken.left_sick:
            self.no(f"the queue holds {waiting} although everybody is well")

    def _says_so(self, parent: ParentKey, status: dict[str, Any]) -> None:
        ready = [each for each in status.get("conditions") or () if each.get("type") == "Ready"]
        if not ready or ready[0].get("reason") != "Quarantined":
            self.no(f"{parent} is in quarantine, and its status does not say so: {ready}")

    def untouched(self) -> None:
        """The counts, before users come and change things, which would have everybody look again."""
        for parent, obj in self.stage.truth.parents.items():
            if self.court.works(parent):
                self._counts(parent, obj.get("status") or {})

    def _counts(self, parent: ParentKey, status: dict[str, Any]) -> None:
        totals = [0, 0, 0]
        # Who falls silent and is heard of again, over and over, is in the status within the debounce and a write.
        since_s = self.now - self.court.policy(parent).debounce_max_s - SLACK_S - 4 * self.stage.writer.rtt_s
        for kind in self.stage.child_kinds:
            said = counted(status, kind)
            history, true = self.stage.truth.history(parent, kind), self.stage.truth.history(parent, kind).now()
            if said is None:
                self.no(f"{parent}: the status says nothing of {kind}, in truth {true}")
            elif not self.court.possible(parent, kind, said, since_s):
                self.no(f"{parent}: {kind} is {said}, in truth {true}")
            elif said[0] > true[0] - self.stage.truth.silent(parent, kind, 8.0):
                self.no(f"{parent}: {kind} counts {said[0]} healthy, some of the {len(history.members)} are silent")
            totals = [total + each for total, each in zip(totals, said or (0, 0, 0), strict=True)]
        if [status.get(name) for name in ("healthy", "unhealthy", "unknown")] != totals:
            self.no(f"{parent}: the sums are {totals}, the status says {status.get('healthy')} are healthy")

    def _repairable(self, parent: ParentKey | None) -> bool:
        if (
            parent is None
            or parent not in self.stage.truth.parents
            or actor_of(parent) in self.stage.broken.left_broken
        ):
            return False
        spec = self.stage.truth.parents[parent]["spec"]
        return not spec.get("paused") and spec.get("repair", {}).get("enabled", True) is not False

    def _status(self, parent: ParentKey, obj: dict[str, Any]) -> None:
        status = obj.get("status") or {}
        self._counts(parent, status)
        metadata = obj["metadata"]
        if status.get("observedGeneration") != metadata["generation"]:
            self.no(f"{parent}: observedGeneration is {status.get('observedGeneration')} of {metadata['generation']}")
        names = {each.get("type") for each in status.get("conditions") or ()}
        missing = {"Ready", "Available", "RemediationAllowed", "Paused"} - names
        if missing:
            self.no(f"{parent}: the conditions {sorted(missing)} are missing")
        troubled = status.get("unhealthy") or status.get("unknown") or self.stage.broken.left_sick
        if status.get("repairing") and not troubled:
            self.no(f"{parent}: repairing is {status['repairing']} and everybody is well")


class Rests(Oracle):
    """Then it rests: no write, no call, no reconcile; heartbeats that change nothing wake nobody."""

    name: ClassVar[str] = "rests"
    promise: ClassVar[str] = "silent heartbeats"

    def attend(self) -> None:
        self._from_s: float | None = None
        self.stage.listen(Reconciled, self._reconciled)
        self.stage.backend.on_send.append(lambda call: self._act("a call for", call.items[0].parent))
        self.stage.writer.on_arrival.append(lambda parent, uid: self._act("a status write of", parent))

    def healed(self) -> None:
        if not self.court.breaches and not self.stage.broken.left_sick and not self.stage.broken.left_broken:
            self._from_s = self.now
            self.exercised += 1

    def _reconciled(self, fact: Reconciled) -> None:
        if fact.cause != "deadline":  # a cooldown that ends is looked at, and finds nothing
            self._act("a reconcile of", fact.parent, f" ({fact.cause})")

    def _act(self, what: str, parent: ParentKey | str, why: str = "") -> None:
        if self._from_s is not None:
            self.no(f"{what} {parent}{why} {self.now - self._from_s:.1f} s after everything was well")


def _state(system: System, actor: str) -> str:
    """What that actor's cell says of itself; "" where there is none."""
    ref = system.refs.get(actor)
    if ref is None:
        directory = system.refs["directory"]._actor_weakref()  # noqa: SLF001  looked at, never touched
        ref = directory.children.get(actor) if isinstance(directory, Cell) else None
    return "" if ref is None else str(statistics_of(ref)["state"])


def _clusters(directory: Any) -> dict[str, Any]:
    """The actors of parents that are alive, by name."""
    cell = None if directory is None else directory._actor_weakref()  # noqa: SLF001  looked at, never touched
    return {} if not isinstance(cell, Cell) else {name: ref for name, ref in cell.children.items() if ref.is_alive()}


PROCESS_ORACLES: tuple[type[Oracle], ...] = (
    Supervised, NoSurprise, Bounded, NoGhosts, PoisonSkipped, Converges, Rests,
)  # fmt: skip
