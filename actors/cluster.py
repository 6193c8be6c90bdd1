"""One parent and all its children: holds their records, decides when to look, and hands the Plan on.

::

    Objects ─▶ roll ─▶ debounce ─▶ reconcile ─▶ Plan ─┬─▶ StatusActor   (the status lane)
                                                      └─▶ gateway       (the repair lane)

The lanes do not wait for each other: a status is right within the debounce plus one write, however long the repair queue
is. Nothing is written and nothing asked before every kind has sent its replacement (*synced*). A reconcile runs on one view
of everything, after all object mail that waits; what arrives meanwhile causes another.

All state here may be lost: the records come again from the watchers, item keys are derived from the objects, and the last
status is on the parent itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from attrs import evolve

from .actor import Behaviour, Context, Ref
from .core import reconcile as pure
from .core.conflicts import Conflicts
from .core.debounce import INSTANT_S, Debounce
from .core.difference import same
from .core.echo import is_news, stands
from .core.events import AuditDiffered, LookDeferred, NewsSuppressed, Reconciled, RecordSkipped
from .core.fleet import FleetDefinition
from .core.health import Roll
from .core.model import Item, Now, Parent, ParentKey, Plan, Policy, Record, Wish, status_text
from .core.override import Override
from .core.ports import Objects
from .core.reconcile import NOT_ASKED, Children
from .core.records import Row, Shelf, entries_of, entry_of, fingerprint_of, kept
from .core.repairs import Repairs
from .core.situation import TurnedDown
from .core.telling import Noted, planned, reconcile_failed, repairs_answered
from .mailbox import NONE
from .messages import (
    GATEWAY,
    AskAgain,
    AuditDue,
    BackendState,
    CloseUp,
    DebounceEnded,
    EventWanted,
    IdleReached,
    ItemAnswer,
    ItemsAnswered,
    LastMail,
    LookAgain,
    Passivated,
    PassivateWanted,
    RelistWanted,
    RepairsWanted,
    StatusAnswered,
    StatusState,
    StatusWanted,
)

CONFLICT_PATIENCE_S = 2.0  # after a conflict the newer object is on its way by watch; look again by then at the latest
REFUSED_FIRST_S = 1.0  # RBAC and CRDs may be a moment late after a server's start: "right within 10 s of its return"
REFUSED_RETRY_S = 30.0  # else a status the server refuses is somebody's to mend: doubles up to this
AUDIT_PERIOD_S = 1800.0  # the counts against a recount; arbitrary: they differ only if there is a bug
WISHES_KEPT = 3  # one is written, one may follow before the answer is here, one is new; beyond, an echo costs a look
_NOTHING: Mapping[str, float] = MappingProxyType({})
_NOBODY: dict[str, str] = {}
PASSIVATE_PATIENCE_S = 5.0  # for the watchers' last mail; else stay awake


class ClusterActor(Behaviour):
    """Acts for the parent ``key``. ``policy`` is the operator's settings, which the parent's spec beats.

    ``watcher`` gives the watcher of a kind, once there is one: whom to ask for a list when the stream has lost something.
    """

    __slots__ = (
        "_asked", "_awaiting", "_backend", "_behind", "_cause", "_child_kinds", "_closing", "_conflicts", "_debounce",
        "_defaults", "_directory", "_fleet", "_gateway", "_idle_s", "_missing", "_noted", "_override", "_parent", "_pauses",
        "_policy", "_refusals", "_repairs", "_roll", "_sent_version", "_sequence", "_skipped", "_status", "_stirred",
        "_target", "_timer_s", "_told_gateway", "_watcher", "_wished", "key", "turned_down",
    )  # fmt: skip

    def __init__(
        self, ctx: Context, *, key: ParentKey, fleet: FleetDefinition, policy: Policy, idle_s: float,
        status: Ref, gateway: Ref, directory: Ref, watcher: Callable[[str], Ref | None],
        pauses: Mapping[ParentKey, float], behind: Mapping[str, float] = _NOTHING,
    ) -> None:  # fmt: skip
        super().__init__(ctx)
        self.key = key
        self._fleet, self._idle_s = fleet, idle_s
        self._defaults = self._policy = policy
        self._status, self._gateway, self._directory, self._watcher = status, gateway, directory, watcher
        self._pauses, self._behind = pauses, behind  # by command; by a stream that is down; see ``tree``
        self._child_kinds = tuple(child.ref.kind for child in fleet.children)
        self._missing = frozenset((fleet.parent.kind, *self._child_kinds))  # kinds whose replacement has not come yet
        self._closing: set[str] | None = None  # while passivating: kinds whose last mail has not come yet
        self._stirred = False  # something came while passivating
        self._debounce = Debounce()
        self._timer_s, self._cause = 0.0, ""
        self._roll = Roll(self._child_kinds, key)
        self._repairs = Repairs(fleet.operation)
        self._conflicts, self._override = Conflicts(), Override()
        self._skipped: Mapping[str, str] = _NOBODY  # uid → kind: their present record has killed an incarnation twice
        self._sequence = 0
        self._told_gateway = ctx.incarnation == 1  # else what a dead incarnation has asked for stands there
        self._reset()

    def _reset(self) -> None:
        """Forget the parent and all that was asked for it: one that is created again under its name is another.

        The children stay, with what cools down for them: they belong to the name.
        """
        self._parent: Parent | None = None
        self._awaiting = 0  # after a conflict: the version that was refused; anything newer is looked at
        self._backend = NOT_ASKED
        self._asked: dict[str, Item] = {}  # by key: what the gateway was last told
        self._target: Wish | None = None  # the status wished for and not yet answered
        self._wished: tuple[tuple[int, Wish], ...] = ()  # by sequence: unanswered, the newest is the target
        self._sent_version = self._refusals = 0  # refusals: of our status, in a row
        self.turned_down: TurnedDown | None = None  # the last refusal; it counts while the timer "write" runs
        self._noted = Noted()

    def on_receive(self, message: Any) -> Any:
        if isinstance(message, Objects):
            self._objects(message)
        elif isinstance(message, DebounceEnded):
            if self._debounce.pending and self.due_s > self.ctx.clock.now() + INSTANT_S:
                self._await_quiet()
            else:
                self._look("changed")
        elif isinstance(message, LookAgain):
            self._look("deadline")
        elif isinstance(message, StatusAnswered):
            self._status_answered(message)
        elif isinstance(message, ItemsAnswered):
            self._items_answered(message)
        elif isinstance(message, BackendState):
            self._backend_state(message)
        elif isinstance(message, AskAgain):
            self._ask_again(message.lost)
        elif isinstance(message, IdleReached):
            self._idle()
        elif isinstance(message, AuditDue):
            self._audit()
        elif isinstance(message, LastMail):
            self._last_mail(message.kind)
        elif isinstance(message, CloseUp):
            self._withdraw_all()
            self.ctx.stop()
        else:
            super().on_receive(message)

    # --- object mail --------------------------------------------------------------------------------------------------
    def _objects(self, mail: Objects) -> None:
        changed = False
        if mail.replace:
            changed = mail.kind in self._missing
            self._missing = (self._missing - {mail.kind}) or NONE  # an empty set of one's own takes 216 B
            changed |= self._strike(mail)
            if self._closing is not None and not self._closing:
                self._closing = None  # the directory has subscribed us again
                self.ctx.cancel("idle")
        elif mail.kind in self._missing:
            return  # of an earlier time: the replacement that is on its way has it too
        entries = kept(mail.kind, mail.entries) if mail.kind in self._child_kinds else mail.entries
        if not (skips := self.ctx.skips) and mail.replace and isinstance(entries, Shelf):
            self._roll.expect(entries)
        for key, what in entries_of(entries):
            self.ctx.handling = entry = mail.kind, key, what
            if skips and (place := fingerprint_of(*entry)) in skips:
                self._skipped = {**self._skipped, entry_of(*entry)[0]: mail.kind}
                self.ctx.emit(RecordSkipped(actor=self.ctx.name, fingerprint=place))
                changed = True
                continue
            if self._skipped and (uid := entry_of(*entry)[0]) in self._skipped:
                self._skipped = {other: kind for other, kind in self._skipped.items() if other != uid}
            changed |= self._enter(*entry)
        self.ctx.handling = None
        self._roll.take_over(mail.kind)
        if changed:
            self._changed(mail.kind)
        else:
            self.ctx.emit(NewsSuppressed(parent=str(self.key), kind=mail.kind, objects=len(mail.entries)))
            if self._closing is None:
                self._stay()

    def _strike(self, mail: Objects) -> bool:
        """A replacement: whatever else is held of this kind is gone."""
        if mail.kind == self._fleet.parent.kind:
            gone = [self._parent.uid] if self._parent is not None and self._parent.uid not in mail.entries else []
        else:
            gone = self._roll.absent(mail.kind, mail.entries)
        for uid in gone:
            self._enter(mail.kind, uid, None)
        unread = {uid for uid, kind in self._skipped.items() if kind == mail.kind and uid not in mail.entries}
        self._skipped = {uid: kind for uid, kind in self._skipped.items() if uid not in unread} or _NOBODY
        return bool(gone or unread)

    def _enter(self, kind: str, key: Any, what: Row | Record | str | None) -> bool:
        if isinstance(what, tuple):
            return self._roll.enter(kind, key, what[1])
        if isinstance(what, Parent):
            return self._enter_parent(what)
        uid, _ = entry_of(kind, key, what)
        if self._parent is not None and uid == self._parent.uid:
            self._withdraw_all()
            self._reset()
            return True
        self._repairs.forget(uid)
        return self._roll.drop(uid)

    def _enter_parent(self, parent: Parent) -> bool:
        """Whether it matters: our own write, and a status that is what we want anyhow, do not."""
        old = self._parent
        if old is not None and old.uid != parent.uid:
            self._withdraw_all()
            self._reset()
            old = None
        if old is not None and parent.version < old.version:
            return False  # a slow echo: our own later write is known already
        if old is None or parent.version > old.version:
            self._conflicts.ended()
        self._parent = parent
        self._policy = self._defaults.over(parent.spec)
        wished, pending = (wish for _, wish in self._wished), self._target is not None
        return old is None or is_news(old, parent, awaited=self._awaiting > 0, wished=wished, pending=pending)

    def _changed(self, cause: str) -> None:
        self._stirred = True
        self._cause = self._cause or cause
        if self._missing:
            return
        if self._closing is None:
            self.ctx.cancel("idle")
        first = not self._debounce.pending
        self._debounce.changed(now_s := self.ctx.clock.now())
        if first or self.due_s < self._timer_s:
            self._await_quiet()
        if first:
            self.ctx.emit(LookDeferred(parent=str(self.key), cause=cause, after_s=self.due_s - now_s))

    @property
    def due_s(self) -> float:
        """When to look, while a change waits for it."""
        return self._debounce.due_at(self._policy.debounce_quiet_s, self._policy.debounce_max_s)

    def _await_quiet(self) -> None:
        """Make the one timer; where more changes come it finds out, and waits for the rest."""
        self._timer_s = self.due_s
        self.ctx.schedule("debounce", self._timer_s - self.ctx.clock.now(), DebounceEnded())

    # --- reconcile ----------------------------------------------------------------------------------------------------
    def _look(self, cause: str) -> None:
        self.ctx.cancel("debounce")
        self.ctx.cancel("write")  # it waited for a look; a timer of its own, so that it puts off no cooldown's end
        started_s = self.ctx.clock.now()
        changes, waited_s = self._debounce.looked(started_s)
        self._repairs.settle(self._roll.eligible, started_s)
        if self._override.look(self._parent, Now(started_s, self.ctx.clock.wall())):
            self._told_gateway = False  # it goes by that too
        if (plan := self.plan(standing := self.standing)) is None:
            return
        self._awaiting = 0
        self.ctx.cancel("pause")
        if (pause_s := self._pauses.get(self.key, 0.0) - started_s) > 0:
            self.ctx.schedule("pause", pause_s, LookAgain())  # a command's pause ends by the clock alone
        changed = not same(plan.status, standing)
        self._execute(plan, changed)
        self.ctx.emit(Reconciled(
            parent=str(self.key), cause=self._cause or cause, changed=changed, changes=changes, waited_s=waited_s,
            seconds=self.ctx.clock.now() - started_s,
        ))  # fmt: skip
        self._cause = ""
        self._stay()

    def plan(self, standing: dict[str, Any] | None = None) -> Plan | None:
        """What ought to be, by all that is here now; None before it all is. Changes nothing. RuntimeError if that changes."""
        if self._parent is None or self._missing:
            return None
        now = Now(self.ctx.clock.now(), self.ctx.clock.wall())
        parent = evolve(self._parent, status=self.standing if standing is None else standing)
        children = Children(roll=self._roll, repairs=self._repairs, backend=self._backend, skipped=len(self._skipped),
                            behind=self._behind, paused=self._pauses.get(self.key, 0.0) > now.mono_s,
                            override_ends_s=self._override.by(self._parent, now))  # fmt: skip
        return pure.reconcile(self._fleet, parent, children, self._policy, now)

    @property
    def standing(self) -> dict[str, Any]:
        """The status that is being written, else the one last seen on the server. It is read anew each time: ask once."""
        seen = self._target or self._parent
        return seen.status if seen is not None else {}

    def _execute(self, plan: Plan, changed: bool) -> None:
        assert self._parent is not None
        asked = {item.key: item for item in plan.repairs}
        others = asked.keys() != self._asked.keys()
        if changed or others:
            now_s, old = self.ctx.clock.now(), self._asked.keys()
            self.ctx.emit(planned(self.key, self.standing, plan, old, changed=changed, now_s=now_s))
        if changed:
            if plan.failed:
                self.ctx.emit(reconcile_failed(self.key, plan))
            self._target = Wish(plan.status)
            self._send_status()
        self._repairs.record(plan.repairs)  # asked already or not: a node may have left meanwhile, and come back
        if others or not self._told_gateway:
            self._asked = asked
            self._send_repairs()
        for note in plan.events:
            self.ctx.tell(self._status, EventWanted(parent=self.key, uid=self._parent.uid, note=note))
        for fact in self._noted.facts(self.key, plan, self._roll, self._policy):
            self.ctx.emit(fact)
        if plan.look_again_at_s is not None:
            self.ctx.schedule("look", plan.look_again_at_s - self.ctx.clock.now(), LookAgain())
        else:
            self.ctx.cancel("look")

    def _send_status(self) -> None:
        assert self._parent is not None
        assert self._target is not None
        self._sequence += 1
        self._sent_version = self._parent.version
        self._wished = (*self._wished, (self._sequence, self._target))[-WISHES_KEPT:]
        self.ctx.tell(self._status, StatusWanted(
            parent=self.key, uid=self._parent.uid, version=self._parent.version, wish=self._target,
            sequence=self._sequence, reply_to=self.ctx.ref,
        ))  # fmt: skip

    def _send_repairs(self) -> None:
        self.ctx.tell(self._gateway, RepairsWanted(
            parent=self.key, items=tuple(self._asked.values()), reply_to=self.ctx.ref, told=self._backend != NOT_ASKED,
            override_ends_s=self._override.ends_s,
        ))  # fmt: skip
        self._told_gateway = True

    def _withdraw_all(self) -> None:
        if self._asked or not self._told_gateway:
            self._asked = {}
            self._send_repairs()

    def _ask_again(self, lost: str) -> None:
        """Somebody lost what we told them: tell it again. The same keys, the same status."""
        if self._target is not None and self._parent is not None:
            if stands(self._target, self._parent):  # it was written, and only the answer died with the writer
                self._target = None
            else:
                self._send_status()
        if lost in (GATEWAY, ""):
            self._abandon()
        if self._backend.troubled:  # whoever was to tell us of its return may have forgotten us
            self._backend = NOT_ASKED
            self._changed("backend")
        if self._asked:
            self._send_repairs()

    def _abandon(self) -> None:
        """What we have taken back and have no answer for is not going to be answered."""
        if self._repairs.abandon(self._asked) and self._policy.in_flight_max is not None:
            self._changed("place")  # somebody may wait for it

    # --- answers ------------------------------------------------------------------------------------------------------
    def _status_answered(self, answer: StatusAnswered) -> None:
        self._wished = tuple(wish for wish in self._wished if wish[0] > answer.sequence)
        if answer.sequence != self._sequence or self._target is None:  # of an older wish, or a predecessor's
            stood = self.standing  # the newest wish, while it is under way
            self._learn(answer)
            if not same(stood, self.standing):
                self._changed("overwritten")
            return
        wished, self._target = self._target, None
        if answer.state is StatusState.WRITTEN:
            self._refusals = 0
            self._conflicts.ended()
            self._learn(answer)
            if self._overwritten(answer, wished):
                self._changed("overwritten")
            self._stay()
            return
        if answer.state is StatusState.CONFLICT:  # what is on the server decides
            if self._parent is not None and self._parent.version > self._sent_version:
                self._look("conflict")  # the newer object is here already
            else:
                self._awaiting = self._sent_version
                self._seek_newer()
                self._put_off(answer, CONFLICT_PATIENCE_S)
        else:  # GONE too: if it is the kind that is away for a moment, the parent stays
            if answer.state is StatusState.GONE:
                self._seek_newer()
            self._put_off(answer, min(REFUSED_RETRY_S, REFUSED_FIRST_S * 2.0 ** min(self._refusals, 20)))
            self._refusals += 1

    def _put_off(self, answer: StatusAnswered, after_s: float) -> None:
        """Look again then, or when the newer object comes."""
        now_s, conflict = self.ctx.clock.now(), answer.state is StatusState.CONFLICT
        self.turned_down = TurnedDown(conflict, answer.message, now_s, now_s + after_s)
        self.ctx.schedule("write", after_s, LookAgain())

    def _seek_newer(self) -> None:
        """The server has another object than ours. When it does not come by watch, its event is lost: have the kind listed."""
        watcher = self._watcher(self._fleet.parent.kind)
        if self._conflicts.met(self.ctx.clock.now()) and watcher is not None:
            self.ctx.tell(watcher, RelistWanted(reason=f"the newest version of {self.key} has not come"))

    def _overwritten(self, answer: StatusAnswered, wished: Wish) -> bool:
        """Whether a newer version than our write is here and has another status: a look took our wish for what stood."""
        written, parent = answer.written, self._parent
        return bool(written and parent and parent.version > written.version and not stands(wished, parent))

    def _learn(self, answer: StatusAnswered) -> None:
        """The next reconcile sees our own last write, whether its echo has come or not."""
        written, parent = answer.written, self._parent
        if written is not None and parent is not None and written.version > parent.version:
            self._parent = evolve(parent, version=(v := written.version), status=status_text(v, written.status))

    def _items_answered(self, message: ItemsAnswered) -> None:
        refused = freed = late = False
        self.ctx.emit(repairs_answered(self.key, [answer.value for answer, _ in message.answers.values()]))
        for key, (answer, _) in message.answers.items():
            asked = self._asked.pop(key, None) is not None
            freed |= not asked  # the place of one that is well or gone
            if answer is ItemAnswer.WITHDRAWN:
                late |= self._repairs.withdrawn(key)  # the round before it counts as repairing again
                refused |= asked  # else it is the echo of our own withdrawal
            else:
                self._repairs.answered(key, message.at_s)
                late |= not asked  # it left before we took it back, and counts as repairing after all
        if refused:
            self._changed("withdrawn")  # the gateway saw fresher news than we have; they are on their way here too
            return
        if late or (freed and self._policy.in_flight_max is not None):
            self._changed("place")
        if not self.ctx.scheduled("look"):
            self.ctx.schedule("look", message.at_s + self._policy.cooldown_s - self.ctx.clock.now(), LookAgain())

    def _backend_state(self, state: BackendState) -> None:
        view = self._backend.after(state.reachable, state.reason, state.message, state.held)
        if view != self._backend:
            self._backend = view
            self._changed("backend")

    # --- sleep --------------------------------------------------------------------------------------------------------
    def _busy(self) -> bool:
        return bool(
            self._missing or self._debounce.pending or self._target is not None or self._asked or self._repairs.open_count
            or self.ctx.scheduled("look") or self.ctx.scheduled("write") or self.ctx.scheduled("pause")
            or self._backend.troubled or (self._behind and self._roll.eligible)  # of its end only those hear who are awake
        )  # fmt: skip

    def _stay(self) -> None:
        """Begin to count idle time, if there is nothing to wait for."""
        if self._idle_s > 0 and not self._busy() and not self.ctx.scheduled("idle"):
            self.ctx.schedule("idle", self._idle_s, IdleReached())

    def _idle(self) -> None:
        if self._closing is not None:  # the last mail did not come in time
            self._wake()
        elif not self._busy():
            self._closing = {self._fleet.parent.kind, *self._child_kinds}
            self._stirred = False
            self.ctx.schedule("idle", PASSIVATE_PATIENCE_S, IdleReached())
            self.ctx.tell(self._directory, PassivateWanted(parent=self.key, ref=self.ctx.ref))

    def _last_mail(self, kind: str) -> None:
        if self._closing is None:
            return
        self._closing.discard(kind)
        if not self._closing:
            if self._stirred or self._busy():
                self._wake()
            else:
                self.ctx.tell(self._directory, Passivated(parent=self.key, ref=self.ctx.ref, asleep=True))

    def _wake(self) -> None:
        self._closing = None
        self.ctx.cancel("idle")
        self.ctx.tell(self._directory, Passivated(parent=self.key, ref=self.ctx.ref, asleep=False))

    # --- audit --------------------------------------------------------------------------------------------------------
    def on_start(self) -> None:
        self.ctx.schedule("audit", self.ctx.random.uniform(0.5, 1.0) * AUDIT_PERIOD_S, AuditDue())

    def _audit(self) -> None:
        """Compare the incremental counts with a recount; repair and report a difference (it is a bug)."""
        self.on_start()
        self._abandon()
        if differing := self._roll.audit():
            self.ctx.emit(AuditDiffered(kind=differing[0], differences=len(differing), sample=str(self.key)))
            self._changed("audit")

    def statistics(self) -> dict[str, object]:
        counts = self._roll.sum()
        return {
            "parent": str(self.key), "total": self._roll.total, "healthy": counts.healthy,
            "unhealthy": counts.unhealthy, "unknown": counts.unknown, "asked": len(self._asked),
            "missing_kinds": sorted(self._missing), "debouncing": self._debounce.pending, "writing": self._target is not None,
        }  # fmt: skip
