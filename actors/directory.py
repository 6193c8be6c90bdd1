"""The directory: the dynamic supervisor of ClusterActors, one per parent, made on demand.

It knows who acts for which parent and tells the watchers, who then write to the actor directly: no hop per event. An actor
that has been idle for long is *passivated*: the watchers are told to stop writing to it, each closes with ``LastMail``, and
only when nothing came in between does it end; its memory is in the records and in the parent's status.

Each actor has a restart budget of its own; one that spends it is *quarantined* (the parent says so in its status) and comes
out on a spec change, a command, or a probe. Only failures of many distinct actors at once escalate: ``give_up``.

A new incarnation of the directory adopts the actors that run; what was lost with a message is asked for again.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

from .actor import Behaviour, Context, Factory, Monitor, Park, Ref, Resume, Stop
from .core.conflicts import Conflicts
from .core.events import ActorQuarantined, ActorReleased, Escalated, WatchFellBehind
from .core.model import EventNote, Now, ParentKey, Wish
from .core.reconcile import replaced_condition
from .core.records import RecordStore
from .core.restarts import Nursery, RestartPolicy, Verdict
from .messages import (
    AskAgain,
    BehindDue,
    CloseUp,
    ConditionDue,
    Down,
    EventWanted,
    LookAgain,
    LookWanted,
    ParentGone,
    ParentWanted,
    Passivated,
    PassivateWanted,
    PauseWanted,
    ProbeDue,
    Released,
    RelistWanted,
    RepairsWanted,
    RestartDue,
    RosterWanted,
    StatusAnswered,
    StatusState,
    StatusWanted,
    SubscribeWanted,
    SyncChanged,
    UnsubscribeWanted,
    WatcherStarted,
)

PROBE_AFTER_S = 600.0  # a quarantined parent tries again by itself every 10 min (RELIABILITY S5)

BEHIND_S = 30.0
"""How long a kind's stream may be down until nothing is asked for its children any more: within that a dead stream is found and
begun anew (DESIGN §5). A blip costs no status and takes nothing out of the queue."""
CONDITION_RETRY_S = 2.0  # after a conflict the newer object is on its way; a refusal is somebody's to mend


class Phase(enum.Enum):
    """Where a parent's actor stands."""

    AWAKE = "awake"
    PASSIVATING = "passivating"
    DOWN = "down"  # waits for its restart
    QUARANTINED = "quarantined"
    CLOSING = "closing"  # the parent is gone


class _Entry:
    __slots__ = ("again_s", "conflicts", "died", "key", "name", "phase", "ref", "told_version", "wake_again", "why")

    def __init__(self, key: ParentKey, name: str, ref: Ref) -> None:
        self.key = key
        self.name = name
        self.ref = ref
        self.phase = Phase.AWAKE
        self.why = ""  # it is quarantined
        self.again_s = 0.0  # when one that is down or in quarantine is to be run again
        self.conflicts = Conflicts()  # of the status that says so
        self.told_version = 0  # the parent's version that it was made from
        self.died = 0  # the newest incarnation whose death was counted
        self.wake_again = False  # the parent is wanted (again) once this actor has ended


ClusterFactory = Callable[[ParentKey], Factory]


class DirectoryActor(Behaviour):
    """Makes, restarts, passivates, quarantines and closes ClusterActors. ``kinds``: the parents' kind first."""

    def __init__(
        self, ctx: Context, *, kinds: tuple[str, ...], store: RecordStore, cluster_factory: ClusterFactory,
        policy: RestartPolicy, watcher: Callable[[str], Ref | None], status: Ref, gateway: Ref, give_up: Callable[[str], None],
        pauses: dict[ParentKey, float], behind: dict[str, float],
    ) -> None:  # fmt: skip
        super().__init__(ctx)
        self._kinds = kinds
        self._store = store
        self._cluster_factory = cluster_factory
        self._watcher = watcher
        self._status = status
        self._gateway = gateway
        self._give_up = give_up
        self._pauses = pauses  # until when whose repairs are held by command; outlives this incarnation
        self._behind = behind  # since when which kinds are; outlives this incarnation, too
        self._nursery = Nursery(policy)
        self._entries: dict[str, _Entry] = {}
        self._sync: dict[str, tuple[bool, bool, str]] = {}
        self._escalated = False
        self._told: dict[int, str] = {}  # conditions under way: sequence → actor
        self._sequence = 0

    def on_start(self) -> None:
        self.ctx.monitor(self._gateway)
        self.ctx.monitor(self._status)
        if self.ctx.incarnation == 1:
            return
        for name, ref in list(self.ctx.children.items()):
            if (
                not ref.is_alive()
            ):  # its last Down is what we died of; the roster names its parent if that is still there
                del self.ctx.children[name]
                continue
            key = _key(name)
            self._entries[name] = _Entry(key, name, ref)
            self.ctx.tell(ref, Monitor(self.ctx.ref))  # answers with its last Down if it is down
            if self._store.parent(key) is None:
                self._gone(key)
            else:
                self._subscribe(key, ref)
        self._tell_watchers(RosterWanted(ref=self.ctx.ref))
        self._broadcast(AskAgain())  # the Down of the gateway or the StatusActor may be what we died of

    def on_receive(self, message: Any) -> Any:
        match message:
            case ParentWanted():
                for key in message.parents:
                    self._wanted(key, spec_changed=message.spec_changed)
            case Down():
                self._down(message)
            case RestartDue():
                self._resume(message.name)
            case ParentGone():
                self._gone(message.parent)
            case PassivateWanted():
                self._passivate(message)
            case Passivated():
                self._passivated(message)
            case WatcherStarted():
                self._subscribe_all(message.ref)
            case SyncChanged() | BehindDue():
                self._heard_of(message)
            case ProbeDue():
                self._release(message.name, "probe")
            case Released():
                self._release(_name(message.parent), message.by)
            case LookWanted():
                self._have_look(message.parent)
            case PauseWanted():
                self._pause(message)
            case StatusAnswered():
                self._condition_answered(message)
            case ConditionDue():
                self._tell_condition(message.name)
            case _:
                super().on_receive(message)

    def _heard_of(self, sync: SyncChanged | BehindDue) -> None:
        """A stream that stays down for long leaves its kind behind: what its children were reported to be is old news."""
        kind = sync.kind
        if isinstance(sync, BehindDue):
            self._behind[kind] = self.ctx.clock.now()
            self._fell_behind(kind, behind=True)
            return
        self._sync[kind] = (sync.synced, sync.up, sync.message)
        if sync.up:
            self.ctx.cancel(("behind", kind))
            if self._behind.pop(kind, None) is not None:
                self._fell_behind(kind, behind=False)
        elif kind not in self._behind and not self.ctx.scheduled(("behind", kind)):
            self.ctx.schedule(("behind", kind), BEHIND_S, BehindDue(kind=kind))

    def _fell_behind(self, kind: str, *, behind: bool) -> None:
        self.ctx.emit(WatchFellBehind(kind=kind, behind=behind))
        self._broadcast(LookAgain())

    def _have_look(self, key: ParentKey) -> None:
        """One that sleeps looks by itself when it wakes."""
        self._wanted(key, spec_changed=False)
        entry = self._entries.get(_name(key))
        if entry is not None and entry.phase is not Phase.CLOSING:
            self.ctx.tell(entry.ref, LookAgain())

    def _pause(self, wish: PauseWanted) -> None:
        now_s = self.ctx.clock.now()
        for key in [key for key, until_s in self._pauses.items() if until_s <= now_s]:
            del self._pauses[key]
        if wish.until_s > now_s:
            self._pauses[wish.parent] = wish.until_s
        else:
            self._pauses.pop(wish.parent, None)
        self._have_look(wish.parent)

    def _subscribe_all(self, watcher: Ref) -> None:
        """A new incarnation of a watcher knows nobody."""
        for entry in self._entries.values():
            if entry.phase in (Phase.AWAKE, Phase.DOWN, Phase.QUARANTINED):
                self.ctx.tell(watcher, SubscribeWanted(parent=entry.key, ref=entry.ref))
            elif entry.phase is Phase.PASSIVATING:  # it may have died of this very request
                self.ctx.tell(watcher, UnsubscribeWanted(parent=entry.key, ref=entry.ref))

    # --- waking and sleeping ------------------------------------------------------------------------------------------
    def _wanted(self, key: ParentKey, *, spec_changed: bool) -> None:
        name = _name(key)
        entry = self._entries.get(name)
        if entry is None:
            if self._store.parent(key) is not None:
                self._start(key, name)
        elif entry.phase in (Phase.PASSIVATING, Phase.CLOSING):
            entry.wake_again = True
        elif entry.phase is Phase.QUARANTINED and spec_changed:
            self._release(name, "spec")

    def _start(self, key: ParentKey, name: str) -> None:
        ref = self.ctx.spawn(name, self._cluster_factory(key), small=True)
        self._entries[name] = _Entry(key, name, ref)
        self._subscribe(key, ref)

    def _subscribe(self, key: ParentKey, ref: Ref) -> None:
        self._tell_watchers(SubscribeWanted(parent=key, ref=ref))

    def _unsubscribe(self, entry: _Entry) -> None:
        self._tell_watchers(UnsubscribeWanted(parent=entry.key, ref=entry.ref))

    def _tell_watchers(self, message: SubscribeWanted | UnsubscribeWanted | RosterWanted) -> None:
        """A watcher that has not started yet will say so, and then hears of every subscription."""
        for kind in self._kinds:
            watcher = self._watcher(kind)
            if watcher is not None:
                self.ctx.tell(watcher, message)

    def _passivate(self, message: PassivateWanted) -> None:
        entry = self._entries.get(_name(message.parent))
        if entry is not None and entry.ref == message.ref and entry.phase is Phase.AWAKE:
            entry.phase = Phase.PASSIVATING
            self._unsubscribe(entry)

    def _passivated(self, message: Passivated) -> None:
        entry = self._entries.get(_name(message.parent))
        if entry is None or entry.ref != message.ref or entry.phase not in (Phase.PASSIVATING, Phase.AWAKE):
            return
        if message.asleep and entry.phase is Phase.PASSIVATING and not entry.wake_again:
            entry.phase = Phase.CLOSING
            self.ctx.tell(entry.ref, Stop())
        else:
            entry.phase, entry.wake_again = Phase.AWAKE, False
            self._subscribe(entry.key, entry.ref)

    def _gone(self, key: ParentKey) -> None:
        entry = self._entries.get(_name(key))
        if entry is None or self._store.parent(key) is not None:  # there is another of that name already
            return
        self._unsubscribe(entry)
        entry.wake_again = False
        down = entry.phase in (Phase.DOWN, Phase.QUARANTINED)
        entry.phase = Phase.CLOSING
        if down:
            self._end(entry)
        else:
            self.ctx.tell(entry.ref, CloseUp())

    def _end(self, entry: _Entry) -> None:
        """Stop an actor that is down and whose parent is gone; withdraw in its place what it had queued."""
        self.ctx.tell(self._gateway, RepairsWanted(parent=entry.key, items=(), reply_to=entry.ref))
        self.ctx.tell(entry.ref, Stop())

    # --- death --------------------------------------------------------------------------------------------------------
    def _down(self, down: Down) -> None:
        entry = self._entries.get(down.name)
        if entry is None:
            if down.reason != "stopped":  # the gateway or the StatusActor: its mailbox keeps what is told meanwhile
                self._broadcast(AskAgain(lost=down.name))
                for name in list(self._entries):
                    self._tell_condition(name)
            return
        if down.reason == "stopped":
            if not entry.ref.is_alive():  # else it is told of one of that name before it
                self._forget(entry)
            return
        if entry.phase is Phase.CLOSING:
            self._end(entry)
            return
        if down.incarnation <= entry.died:  # told twice: as its supervisor, and as whoever asked to watch it
            return
        entry.died = down.incarnation
        now_s = self.ctx.clock.now()
        verdict, after_s = self._nursery.died(down.name, now_s, down.uptime_s, self.ctx.random)
        failing = self._nursery.correlated(now_s, len(self._entries))
        if failing is not None and not self._escalated:
            self._escalated = True
            reason = f"{failing} of {len(self._entries)} ClusterActors failed within a minute, last of {down.error}"
            self.ctx.emit(Escalated(supervisor=self.ctx.name, reason=reason))
            self._give_up(reason)
        elif verdict is Verdict.GIVE_UP:
            self._quarantine(entry, down)
        else:
            entry.phase, entry.again_s = Phase.DOWN, now_s + after_s
            restart = RestartDue(name=down.name)
            self.ctx.schedule(("restart", down.name), after_s, restart)

    def _forget(self, entry: _Entry) -> None:
        del self._entries[entry.name]
        self.ctx.children.pop(entry.name, None)
        if not self._entries:  # an emptied dict keeps its table, of the size that it once had
            self._entries.clear()
            self.ctx.children.clear()
        self.ctx.cancel(("restart", entry.name))
        self.ctx.cancel(("probe", entry.name))
        self._nursery.forget(entry.name)
        if entry.wake_again or (self._store.parent(entry.key) is not None and entry.phase is not Phase.CLOSING):
            self._wanted(entry.key, spec_changed=False)

    def _resume(self, name: str) -> None:
        entry = self._entries.get(name)
        if entry is not None and entry.phase in (Phase.DOWN, Phase.QUARANTINED):
            entry.phase = Phase.AWAKE
            self.ctx.tell(entry.ref, Resume())
            self._subscribe(entry.key, entry.ref)  # the refill: from the watchers' records, without an API call

    def _quarantine(self, entry: _Entry, down: Down) -> None:
        entry.phase, entry.again_s = Phase.QUARANTINED, self.ctx.clock.now() + PROBE_AFTER_S
        deaths = self._nursery.deaths(entry.name)
        self.ctx.emit(ActorQuarantined(actor=entry.name, deaths=deaths, error=down.error))
        self.ctx.tell(entry.ref, Park())
        self.ctx.schedule(("probe", entry.name), PROBE_AFTER_S, ProbeDue(name=entry.name))
        entry.why = (
            f"its actor died {deaths} times, last of {down.error}; it is tried again on a spec change or "
            f"within {PROBE_AFTER_S / 60:.0f} min"
        )
        self._tell_condition(entry.name)
        self._record(entry.key, EventNote(type="Warning", reason="Quarantined", action="Quarantine", note=entry.why))

    def _record(self, key: ParentKey, note: EventNote) -> None:
        parent = self._store.parent(key)
        if parent is not None:
            self.ctx.tell(self._status, EventWanted(parent=key, uid=parent.uid, note=note))

    def _tell_condition(self, name: str) -> None:
        """Have the parent's status say that it is quarantined: its own actor cannot."""
        entry = self._entries.get(name)
        parent = self._store.parent(entry.key) if entry is not None else None
        if entry is None or parent is None or entry.phase is not Phase.QUARANTINED:
            return
        now = Now(self.ctx.clock.now(), self.ctx.clock.wall())
        status = replaced_condition(parent, now, "Ready", False, "Quarantined", entry.why)
        if status == parent.status:  # it came back from a probe before it could say anything else
            return
        self._sequence += 1
        self._told[self._sequence] = name
        entry.told_version = parent.version
        wish = StatusWanted(
            parent=entry.key,
            uid=parent.uid,
            version=parent.version,
            wish=Wish(status),
            sequence=self._sequence,
            reply_to=self.ctx.ref,
        )
        self.ctx.tell(self._status, wish)

    def _condition_answered(self, answer: StatusAnswered) -> None:
        name = self._told.pop(answer.sequence, "")
        entry = self._entries.get(name)
        if entry is None:
            return
        if answer.state is StatusState.CONFLICT:
            self._seek_newer(entry)
        else:
            entry.conflicts.ended()
        if answer.state in (StatusState.CONFLICT, StatusState.REFUSED):
            self.ctx.schedule(("condition", name), CONDITION_RETRY_S, ConditionDue(name=name))

    def _seek_newer(self, entry: _Entry) -> None:
        """The newer object may be the spec that lets it out: when its event is lost, have the kind listed."""
        parent, watcher = self._store.parent(entry.key), self._watcher(self._kinds[0])
        if parent is not None and parent.version > entry.told_version:
            entry.conflicts.ended()
        elif entry.conflicts.met(self.ctx.clock.now()) and watcher is not None:
            self.ctx.tell(watcher, RelistWanted(reason=f"the newest version of {entry.key} has not come"))

    def _release(self, name: str, by: str) -> None:
        entry = self._entries.get(name)
        if entry is None or entry.phase is not Phase.QUARANTINED:
            return
        self.ctx.cancel(("probe", name))
        self._nursery.forget(name)
        self.ctx.emit(ActorReleased(actor=name, by=by))
        text = f"its actor is tried again ({by})"
        self._record(entry.key, EventNote(type="Normal", reason="Released", action="Release", note=text))
        self._resume(name)

    def _broadcast(self, message: Any) -> None:
        for entry in self._entries.values():
            if entry.phase in (Phase.AWAKE, Phase.PASSIVATING):
                self.ctx.tell(entry.ref, message)

    def on_stop(self) -> None:
        """Its actors end with it."""
        for entry in self._entries.values():
            self.ctx.tell(entry.ref, Stop())

    def statistics(self) -> dict[str, object]:
        phases: dict[str, int] = {phase.value: 0 for phase in Phase}
        for entry in list(self._entries.values()):
            phases[entry.phase.value] += 1
        sync = {kind: self._sync.get(kind, (False, False, "not listed yet")) for kind in self._kinds}
        return {
            "clusters": phases,
            "sync": {kind: {"synced": s, "up": up, "message": message} for kind, (s, up, message) in sync.items()},
        }


def _name(key: ParentKey) -> str:
    return f"cluster/{key.namespace}/{key.name}"


def _key(name: str) -> ParentKey:
    _, namespace, parent = name.split("/", 2)
    return ParentKey(namespace, parent)
