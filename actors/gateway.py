"""The gateway: all parents' repairs, merged into batch calls under one strict quota.

::

    RepairsWanted ─▶ queue ─▶ gates: pause, breaker, calls in flight, ledger ─▶ check each item ─▶ fuse ─▶ Backend
                       ▲                                                                                  │
                       └── retry: throttled, missing, unknown outcome (same keys) ──── CallEnded ◀────────┘
    ItemsAnswered ◀── done, failed, withdrawn

Every message ends in ``_dispatch``, which sends what may leave now and sets the one timer to the next instant at which
anything could change: no timers per item or parent. Nothing blocks: a call runs on the executor, its end is a message.
Only the ledger decides whether a call may leave. The fuse (``ratelimit`` around ``_leave``) goes by the same slot's stamp;
its window is fixed, so it lets through all that the ledger does and more, and when it trips the ledger has a bug.

A crash of this behaviour loses the queue, not the ledger. Calls that were open count as unknown; their items are not
handed out before they cannot arrive any more, whoever asks first; a call that has not begun on the executor by then
does not begin. The ClusterActors hear of the crash and send their whole wish again with the same keys.

Where the backend honours no keys (``Capabilities``), what may have been carried out is not sent again: its attempt counts as
over and failed, and the node's health tells, once the cooldown has passed, whether there is to be another.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from ratelimit import RateLimitException, limits

from .actor import Behaviour, Context
from .core.asking import Asker, Open
from .core.backoff import Breaker, BreakerState, Pause, full_jitter_s
from .core.batch import Queue, Suspects, when_to_send
from .core.errors import BackendError, CallTimeout, Malformed, Misconfigured, Refused, Throttled, Unavailable
from .core.events import BackendPaused, BreakerMoved, CallAnswered, CallSent, FuseTripped, ItemsWithdrawn
from .core.fleet_valve import FleetValve
from .core.keys import call_id
from .core.model import Item, ParentKey
from .core.operation import Counts, GatewaySettings
from .core.ports import Backend, Call, ItemResult, Later, Outcome, Records, Reply
from .core.quota import Ledger
from .messages import (
    BackendState,
    CallEnded,
    DispatchDue,
    DrainWanted,
    ItemAnswer,
    ItemsAnswered,
    QuotaLimited,
    RepairsWanted,
)

__all__ = ["BatchGatewayActor", "GatewaySettings"]

_TIMER = "dispatch"
# Failures in a row until parents are told: one hiccup is no news and would cost each of them two status writes.
_UNREACHABLE_AFTER = 2
_UNSURE = "may have been carried out or not; this backend honours no keys, so it is not sent again before its cooldown is over"
_ACCEPTED = ItemResult(status="accepted")
_OUTCOMES: dict[type, str] = {CallTimeout: "timeout", Malformed: "malformed", Misconfigured: "misconfigured"}
_Answer = tuple[ItemAnswer, str]
_Replies = dict[ParentKey, dict[str, _Answer]]  # parent → item key → its answer


class BatchGatewayActor(Behaviour):
    """See the module. ``ledger`` and ``valve`` outlive this incarnation; ``backend`` blocks, ``records`` are read only."""

    def __init__(
        self, ctx: Context, *, backend: Backend, records: Records, ledger: Ledger, valve: FleetValve,
        settings: GatewaySettings,
    ) -> None:  # fmt: skip
        super().__init__(ctx)
        self._backend, self._records, self._settings = backend, records, settings
        self._ledger, self._valve = ledger, valve
        quota = settings.quota
        self.queue = Queue(ageing_s=2 * quota.window_s, quantum=settings.quantum)
        self._pause = Pause(quota.window_s / quota.calls, quota.window_s, settings.pause_max_s, ctx.random)
        self._breaker = Breaker(settings.breaker_failures, settings.breaker_base_s, settings.breaker_max_s, ctx.random)
        self._askers: dict[ParentKey, Asker] = {}
        self._calls: dict[str, Open] = {}  # in the order of sending, so the first is overdue first
        self._suspects = Suspects()  # parts of refused calls, to be sent apart
        self._orphans: set[str] = set()  # keys that a dead incarnation may have sent, to a backend that honours none
        self._last_partial_s = -math.inf
        self._down: tuple[str, str] | None = None  # reason and message, while the backend counts as unreachable
        self._draining = False
        self._drains: list[Callable[[], Any]] = []
        self._wake_s, self._stamp_ns = math.inf, 0
        self._counts: Counter[str] = Counter()
        self._error = ""  # of the call that ended last
        self._fused = limits(calls=quota.calls, period=ledger.window_ns, clock=lambda: self._stamp_ns)(self._leave)

    def on_start(self) -> None:
        """Thread of the dispatcher, first of all. Calls of an earlier incarnation become unknown."""
        now = self.ctx.clock.now()
        if not self._ledger.started:
            self._ledger.cold_start(now, self._settings.cold_start_s)
        self._orphans = {key for slot in self._ledger.abandon_open(now) for key in slot.keys}
        for uid, until_s in self._ledger.open_items(now).items():
            self.queue.embargo((uid,), until_s, now)
        if self._valve.watches:
            self._dispatch(now)  # from here on it is looked at, whether somebody asks or not

    def on_receive(self, message: Any) -> Any:
        """Thread of the dispatcher, one message at a time. A raise restarts this behaviour with an empty queue."""
        now = self.ctx.clock.now()
        match message:
            case RepairsWanted():
                self._wanted(message, now)
            case CallEnded():
                self._ended(message.call, message.outcome, now)
            case DispatchDue():
                self._wake_s = math.inf
            case QuotaLimited():
                self._ledger.limit(message.calls, message.until_s)
            case DrainWanted():
                self._draining = True
                self._drains.append(message.reply)
            case _:
                raise TypeError(f"the gateway does not know {type(message).__name__}")
        self._dispatch(now)
        return None

    # --- what is wanted -----------------------------------------------------------------------------------------------
    def _wanted(self, message: RepairsWanted, now: float) -> None:
        parent, items = message.parent, message.items
        asker = self._askers.get(parent)
        if asker is None:
            asker = self._askers[parent] = Asker(message.reply_to)
        elif not items and asker.ref != message.reply_to:
            return  # the farewell of an actor whose successor has asked already
        asker.ref = message.reply_to
        if items and not message.told:  # it may have died, or slept, and have forgotten
            reachable, asker.told, asker.held = asker.told, None, ""
            self._tell_state(asker, reachable=reachable)
        for item in items if self._orphans else ():
            if item.key in self._orphans:
                self._orphans.discard(item.key)
                asker.answers.remember(item, (ItemAnswer.FAILED, _UNSURE), now)
        if asker.answers:
            items, again = asker.answers.sort(items)
            for at_s, answers in again.items():  # the instant of the first answer: cooldowns count from it
                self.ctx.tell(asker.ref, ItemsAnswered(answers=answers, at_s=at_s))
        self._valve.override(parent, message.override_ends_s if items else -math.inf)
        change = self.queue.want(parent, items, now)
        self._counts["items_added"] += change.added
        if items:
            self._tell_state(asker, reachable=asker.told if self._down is None else False)
        self._answer_withdrawn(((item, "withdrawn") for item in change.withdrawn), now)
        self._forget(parent, asker)

    def _forget(self, parent: ParentKey, asker: Asker) -> None:
        """A parent that wants nothing, and need not be told of the backend's return or of the valve's, is not kept."""
        if not (asker.answers or asker.told is False or asker.held or self.queue.has(parent)):
            self._askers.pop(parent, None)
            self._valve.override(parent, -math.inf)

    # --- what leaves --------------------------------------------------------------------------------------------------
    def _dispatch(self, now: float) -> None:
        """Send what may leave now; set the timer to when more may."""
        self._expire(now)
        if self._valve.watches:
            self._look_at_all(now)
        passing = self._valve.passing(now)  # None: everybody
        while (wake_s := self._next_send_s(now, passing)) <= now:
            self._send_batch(now, passing)
        if self._calls:
            wake_s = min(wake_s, self._overdue_s(next(iter(self._calls.values()))))
        elif self._draining:
            while self._drains:
                self._drains.pop()()
        wake_s = min(wake_s, self._valve.next_look_s)
        if wake_s == self._wake_s:
            return
        self._wake_s = wake_s
        if wake_s == math.inf:
            self.ctx.cancel(_TIMER)
        else:
            self.ctx.schedule(_TIMER, wake_s - now, DispatchDue())

    def _next_send_s(self, now: float, passing: frozenset[ParentKey] | None) -> float:
        """The earliest instant at which a batch of theirs may leave; infinity while only a message can change that."""
        calls_max = 1 if self._pause.probing else self._settings.in_flight_max
        if self._draining or len(self._calls) >= calls_max or (passing is not None and not passing):
            return math.inf
        due_s = now if self._suspects.next(passing) is not None else self._queue_due_s(now, passing)
        if due_s == math.inf:
            return math.inf
        return max(due_s, self._pause.until_s, self._breaker.opens_at(), self._ledger.next_free_at(now))

    def _look_at_all(self, now: float) -> None:
        """The valve over all parents: who has items here hears when it closes; who has heard that, when it opens."""
        moved = self._valve.look(*self._records.tally(), now)
        if moved is None:
            return
        self.ctx.emit(moved)
        for parent in self.queue.parents() if moved.closed else list(self._askers):
            if (asker := self._askers.get(parent)) is not None:
                self._tell_state(asker, reachable=asker.told)
                self._forget(parent, asker)

    def _queue_due_s(self, now: float, passing: frozenset[ParentKey] | None) -> float:
        """When the batch window of what is ready ends; with nothing ready, when something will be."""
        queue, settings = self.queue, self._settings
        if not queue.ready(now) or not (of := queue.ready_of(passing))[0]:
            return queue.next_ready_at()
        return when_to_send(
            ready=of[0], oldest_s=of[1], newest_s=of[2], batch_max=settings.batch_max, quiet_s=settings.batch_quiet_s,
            spacing_s=self._ledger.spacing_s, last_partial_s=self._last_partial_s,
        )  # fmt: skip

    def _send_batch(self, now: float, passing: frozenset[ParentKey] | None) -> None:
        """One batch: checked item by item, then a slot, then the fuse. May find that nothing of it is wanted."""
        oldest_s = min(now, self.queue.ready_of(passing)[1])
        probing = self._breaker.state is not BreakerState.CLOSED
        if part := self._suspects.take(others=self._queue_due_s(now, passing) <= now, probing=probing, only=passing):
            items, refused = self._recheck(part, now)
        else:
            items, refused = self.queue.take(self._settings.batch_max, self._still_wanted, now, passing)
            if 0 < len(items) < self._settings.batch_max:
                self._last_partial_s = now
        self._answer_withdrawn(refused, now)
        if not items:
            return
        name = call_id(self.ctx.random)
        unkeyed = () if self._settings.able.keys else tuple(item.key for item in items)
        slot = self._ledger.take(now, name, tuple(item.uid for item in items), unkeyed)
        call = Call(id=name, operation=self._settings.operation, items=items, timeout_s=self._settings.call_timeout_s)
        opened = self._calls[name] = Open(call, slot, bool(part))
        if self._breaker.sent(name):
            self._breaker_moved()
        self._stamp_ns = slot.stamp_ns
        try:
            self._fused(opened)
        except RateLimitException:
            self._tripped(opened, now)
            return
        self._counts.update(calls=1, items=len(items))
        shares = Counter(str(item.parent) for item in items)
        self.ctx.emit(CallSent(
            operation=call.operation, call=name, items=len(items), parents=len(shares), waited_s=now - oldest_s, shares=shares
        ))  # fmt: skip

    def _leave(self, opened: Open) -> None:
        """The one function that sends. Only ever called through the fuse."""
        ctx, call, send = self.ctx, opened.call, self._backend.send

        def begin() -> Reply | Later[Reply]:
            if opened.cancelled or not ctx.alive:  # its slot's time is running out without it
                raise Unavailable(f"call {call.id} was given up before it began", arrived=False)
            return send(call)

        ctx.run(self._settings.pool, begin, lambda outcome: CallEnded(call=call.id, outcome=outcome))

    def _tripped(self, opened: Open, now: float) -> None:
        """The fuse says that the ledger is wrong: nothing leaves for a whole window, and the items stay."""
        call = opened.call
        self.ctx.emit(FuseTripped(operation=call.operation, call=call.id))
        self._counts["fuse_trips"] += 1
        del self._calls[call.id]
        self._ledger.release(call.id, now, unknown=False)
        self._breaker.failed(call.id, now)
        self._pause.until_s = max(self._pause.until_s, now + self._settings.quota.window_s)
        self._give_back(call.items, now, retry=False)

    def _still_wanted(self, item: Item) -> str:
        """Why not, by the freshest record; "" if this very incident goes on."""
        child = self._records.child(item.kind, item.parent, item.uid)
        if child is None:
            return "gone"
        if not child.eligible:
            return "recovered"
        return "" if child.incident == item.incident else "changed"

    def _recheck(self, group: tuple[Item, ...], now: float) -> tuple[tuple[Item, ...], tuple[tuple[Item, str], ...]]:
        """The same check for items that have been in flight since a refused call."""
        items, refused = [], []
        for item in group:
            why = self._still_wanted(item) if self.queue.wanted(item) else "withdrawn"
            if why:
                self.queue.finish(item, now)
                refused.append((item, why))
            else:
                items.append(item)
        return tuple(items), tuple(refused)

    def _answer_withdrawn(self, refused: Iterable[tuple[Item, str]], now: float) -> None:
        """These are out of the queue unsent or untold; their parents hear why, also where it was their own wish."""
        answers: _Replies = {}
        counts: Counter[str] = Counter()
        for item, why in refused:
            counts[why] += 1
            answers.setdefault(item.parent, {})[item.key] = (ItemAnswer.WITHDRAWN, why)
        for why, count in counts.items():
            self._counts[f"items_{why}"] += count
            self.ctx.emit(ItemsWithdrawn(operation=self._settings.operation, count=count, why=why))
        self._answer(answers, now)

    def _give_back(self, items: Iterable[Item], now: float, not_before_s: float = 0.0, *, retry: bool = True) -> None:
        """These are to be sent again, but for those that nobody wants any more."""
        queue = self.queue
        dropped = [i for i in items if not queue.give_back(i, now, not_before_s=not_before_s, retry=retry)]
        self._answer_withdrawn(((item, "withdrawn") for item in dropped), now)

    # --- what comes back ----------------------------------------------------------------------------------------------
    def _overdue_s(self, opened: Open) -> float:
        return opened.slot.taken_s + self._settings.call_timeout_s + self._settings.lateness_s

    def _expire(self, now: float) -> None:
        """A call whose end never came (a lost thread, a full executor) ends here as unknown; its end is then stale."""
        while self._calls:
            opened = next(iter(self._calls.values()))
            if self._overdue_s(opened) > now:
                return
            opened.cancelled = True
            opened.slot.taken_s = now  # it may be leaving in this very moment
            error = CallTimeout(f"call {opened.call.id} gave no sign in time; its thread may be stuck")
            self._counts["overdue"] += 1
            self._ended(opened.call.id, Outcome(None, error), now)

    def _ended(self, name: str, outcome: Outcome[Reply], now: float) -> None:
        opened = self._calls.pop(name, None)
        if opened is None:  # given up as overdue; its items are under way again with the same keys
            self._counts["stale_replies"] += 1
            return
        error = outcome.error
        if error is None:
            assert outcome.value is not None
            self._replied(opened, outcome.value, now)
        elif isinstance(error, Throttled):
            self._throttled(opened, error, now)
        elif isinstance(error, Refused):
            self._refused(opened, error, now)
        else:
            self._failed(opened, error, now)
        for parent in {item.parent for item in opened.call.items}:
            if (asker := self._askers.get(parent)) is not None:
                self._forget(parent, asker)

    def _replied(self, opened: Open, reply: Reply, now: float) -> None:
        """An understood answer: an answer for each item, or another try."""
        self._ledger.release(opened.call.id, now, unknown=False)
        self._reached(opened)
        answers: _Replies = {}
        tally = {"accepted": 0, "failed": 0, "retried": 0, "unknown": reply.unknown_count}
        retry_s: float | None = None
        able = self._settings.able
        for item in opened.call.items:
            result = reply.results.get(item.key, None if able.per_item else _ACCEPTED)
            if result is None and not able.keys:
                result = ItemResult(status="failed", message=f"not in the reply: {_UNSURE}")
            if result is not None and result.status in ("accepted", "failed"):
                tally[result.status] += 1
                answer = ItemAnswer.DONE if result.status == "accepted" else ItemAnswer.FAILED
                self._settle(item, answer, result.message, answers, now)
                continue
            tally["retried"] += 1
            delay_s = self._asked_s(result)
            if delay_s is None:  # one draw for all that share a fate: they leave together again
                retry_s = delay_s = self._retry_s(item) if retry_s is None else retry_s
            self._give_back((item,), now, now + delay_s)
        self._answer(answers, now)
        self._note(opened, "answered", now, tally)

    def _asked_s(self, result: ItemResult | None) -> float | None:
        """The backend's own wish for one item; None where it has none (missing from the reply, or unusable)."""
        if result is None or result.retry_after_s is None or not result.retry_after_s >= 0:
            return None
        return min(result.retry_after_s, self._settings.pause_max_s)

    def _retry_s(self, item: Item) -> float:
        settings, attempts = self._settings, self.queue.attempts(item)
        return full_jitter_s(self.ctx.random, settings.retry_base_s, settings.retry_max_s, attempts)

    def _throttled(self, opened: Open, error: Throttled, now: float) -> None:
        """Too much: the operation pauses once, and the items keep their place for one retry of the call."""
        self._ledger.release(opened.call.id, now, unknown=False)
        if self._breaker.answered():  # it lives
            self._breaker_moved()
        pause_s = self._pause.refused(now, opened.slot.taken_s, error.retry_after_s)
        if pause_s > 0:
            self.ctx.emit(BackendPaused(operation=opened.call.operation, pause_s=pause_s))
        self._give_back(opened.call.items, now, retry=False)
        self._note(opened, "throttled", now, {"retried": len(opened.call.items)}, str(error))

    def _failed(self, opened: Open, error: BaseException, now: float) -> None:
        """No good answer: the items are sent again with the same keys, once they cannot be in flight any more."""
        call, able = opened.call, self._settings.able
        arrived = not isinstance(error, BackendError) or error.arrived
        # An answer that makes no sense proves an arrival, and no completion.
        told = (Misconfigured, Malformed) if able.counts is Counts.ARRIVALS else Misconfigured
        slot = self._ledger.release(call.id, now, unknown=arrived and not isinstance(error, told))
        self._pause.answered(opened.slot.taken_s)
        if slot.may_arrive_until_s > now:
            self.queue.embargo(slot.uids, slot.may_arrive_until_s, now)
        message = str(error) if isinstance(error, BackendError) else f"the backend adapter raised {error!r}"
        if able.keys or not arrived or isinstance(error, Misconfigured):
            tally = {"retried": len(call.items)}
            self._give_back(call.items, now, now + self._retry_s(call.items[0]))  # one draw: they leave together again
        else:
            tally = {"failed": len(call.items)}
            self._fail(call.items, f"{message}: {_UNSURE}", now)
        self._not_reached(call.id, error, now)
        self._note(opened, _OUTCOMES.get(type(error), "unavailable"), now, tally, message)

    def _refused(self, opened: Open, error: Refused, now: float) -> None:
        """The request itself is not accepted. One bad item may be why: halves are sent apart until it stands alone."""
        call, items = opened.call, opened.call.items
        self._ledger.release(call.id, now, unknown=False)
        self._pause.answered(opened.slot.taken_s)
        if not opened.part:  # a part's refusal is a step of the search
            self._not_reached(call.id, error, now)
        elif self._breaker.refused_again(call.id, now):
            self._breaker_moved(str(error))
        if len(items) == 1:
            self._fail(items, str(error), now)
        else:
            self._suspects.halve(items)
        tally = {"failed": 1} if len(items) == 1 else {"retried": len(items)}
        self._note(opened, "refused", now, tally, str(error))

    # --- answers ------------------------------------------------------------------------------------------------------
    def _settle(self, item: Item, answer: ItemAnswer, text: str, answers: _Replies, now: float) -> None:
        """This item is over. Its answer is remembered while the parent wants it under this key."""
        if self.queue.finish(item, now) and (asker := self._askers.get(item.parent)) is not None:
            asker.answers.remember(item, (answer, text), now)
        answers.setdefault(item.parent, {})[item.key] = (answer, text)

    def _fail(self, items: Iterable[Item], why: str, now: float) -> None:
        answers: _Replies = {}
        for item in items:
            self._settle(item, ItemAnswer.FAILED, why, answers, now)
        self._answer(answers, now)

    def _answer(self, answers: _Replies, now: float) -> None:
        for parent, each in answers.items():
            asker = self._askers.get(parent)
            if asker is not None and asker.ref.is_alive():  # a parent that is gone has just said farewell
                self.ctx.tell(asker.ref, ItemsAnswered(answers=each, at_s=now))
                self._forget(parent, asker)

    def _breaker_moved(self, why: str = "") -> None:
        self.ctx.emit(BreakerMoved(operation=self._settings.operation, state=self._breaker.state.value, message=why))

    def _reached(self, opened: Open) -> None:
        """The backend answers: parents in this call hear it the first time, and all that were told otherwise."""
        self._pause.answered(opened.slot.taken_s)
        if self._breaker.answered():
            self._breaker_moved()
        parents: set[ParentKey] = {item.parent for item in opened.call.items}
        if self._down is not None:
            self._down = None
            parents.update(parent for parent, asker in self._askers.items() if asker.told is False)
        for parent in sorted(parents):
            if (asker := self._askers.get(parent)) is not None:
                self._tell_state(asker, reachable=True)
                self._forget(parent, asker)

    def _not_reached(self, name: str, error: BaseException, now: float) -> None:
        """A failure: the breaker counts it, and when it is no hiccup every parent that has items here hears of it."""
        if self._breaker.failed(name, now):
            self._breaker_moved(str(error))
        patience = self._settings.breaker_failures if isinstance(error, Refused) else _UNREACHABLE_AFTER
        if self._breaker.failures < patience:
            return
        self._down = (type(error).__name__, str(error))
        for parent in self.queue.parents():
            if (asker := self._askers.get(parent)) is not None:
                self._tell_state(asker, reachable=False)

    def _tell_state(self, asker: Asker, *, reachable: bool | None) -> None:
        """What holds all calls is told with it. None: nothing is known to that parent or to us, or the parent knows more."""
        held = self._valve.why
        if asker.told is reachable and asker.held == held:
            return
        asker.told, asker.held = reachable, held
        reason, text = ("Answers", "the backend answers") if reachable or self._down is None else self._down
        self.ctx.tell(asker.ref, BackendState(reachable=reachable, reason=reason, message=text, held=held))

    # --- for people ---------------------------------------------------------------------------------------------------
    def _note(self, opened: Open, outcome: str, now: float, tally: dict[str, int], message: str = "") -> None:
        self._counts[outcome] += 1
        self._error = message
        for name, count in tally.items():
            self._counts[f"items_{name}"] += count
        op, name, seconds = self._settings.operation, opened.call.id, now - opened.slot.taken_s
        self.ctx.emit(CallAnswered(operation=op, call=name, outcome=outcome, seconds=seconds, message=message, **tally))

    def statistics(self) -> dict[str, object]:
        """Queue, slots, gates, and counters of this incarnation (the ledger's are of the process)."""
        now = self.ctx.clock.now()
        ages_s = [now - opened.slot.taken_s for opened in list(self._calls.values())]
        return {
            "queue": self.queue.statistics(now), "suspect_groups": len(self._suspects), "held": self._valve.why,
            "ledger": self._ledger.statistics(now), "calls_in_flight": len(ages_s), "calls_age_s": ages_s,
            "pause_s": max(0.0, self._pause.until_s - now), "breaker": self._breaker.state.value,
            "reachable": self._down is None, "draining": self._draining, "counts": dict(self._counts),
        }  # fmt: skip
