"""What the simulated world knows of each gate: a predicate for every code, by other code than the operator's.

``WhyWorld`` listens to what is sent, delivered, handled and answered, and to nothing that ``why`` goes by. ``holds`` says
whether a gate that was named is true: nothing if it is, else what is so instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

from ..core import valve
from ..core.errors import Conflict, Forbidden, Invalid, NotFound, Refused, Throttled, Unauthorized
from ..core.events import ActorCrashed, ActorRestarted, ActorWedged, FuseTripped
from ..core.model import ParentKey
from ..core.ports import Call, Objects, StreamChanged
from ..core.why import Answer
from ..gateway import BatchGatewayActor
from ..insight.collector import behaviour_of, cell_of
from ..messages import (
    BackendState,
    CallEnded,
    CloseUp,
    DrainWanted,
    ItemAnswer,
    ItemsAnswered,
    Passivated,
    PassivateWanted,
    RepairsWanted,
    StatusAnswered,
    StatusWanted,
    WriteEnded,
)
from ..tree import System
from .court import Court, actor_of
from .oracles_fleet import FleetHeld

__all__ = ["WhyWorld", "mail_of"]

EPS_S = 0.002
LATE_S = 1.0
"""Two round trips and a turn: what is not told yet is told by then."""
_REFUSALS = (Invalid, Forbidden, Unauthorized, NotFound)


def mail_of(system: System | None, actor: str) -> int:
    """How many messages wait for that actor; 0 where there is none."""
    if system is None:
        return 0
    cell = cell_of(system.refs.get(actor))
    if cell is None and (directory := cell_of(system.refs.get("directory"))) is not None:
        cell = cell_of(directory.children.get(actor))
    return 0 if cell is None else cell.actor_inbox.depth()


class WhyWorld:
    """Follows one run for its whole length; what a process knew ends with it."""

    def __init__(self, court: Court) -> None:
        self.court = court
        self.stage = court.stage
        self.draws = Random(f"why/{self.stage.settings.seed}")  # noqa: S311  the seed is the point
        self.complain: Callable[[str], None] = lambda text: None
        """Told where a gate that was named turns out wrong a moment later."""
        self.forget()
        for kind in (Objects, StatusAnswered, ItemsAnswered, BackendState):
            court.hear(kind, self._input)
        court.hear(Objects, self._filled)
        court.hear(StatusWanted, lambda _, wish: self.wished.__setitem__(wish.parent, self.now))
        court.hear(StatusAnswered, self._status_answered)
        court.hear(WriteEnded, self._write_ended)
        court.hear(RepairsWanted, self._repairs)
        court.hear(ItemsAnswered, self._items)
        court.hear(CallEnded, self._call_ended)
        court.hear(DrainWanted, lambda actor, _: setattr(self, "draining", True))
        court.hear(CloseUp, lambda actor, _: self._emptied(actor))
        court.hear(PassivateWanted, lambda _, message: self.falling.add(message.parent))
        court.hear(Passivated, self._passivated)
        self.stage.writer.on_send.append(lambda parent: self.writes.__setitem__(parent, self.now))
        self.stage.backend.on_send.append(self._sent)
        self.stage.on_mail.append(self._mail)
        for fact in (ActorCrashed, ActorWedged):
            self.stage.listen(fact, lambda fact: self._down(fact.actor))
        self.stage.listen(ActorRestarted, self._restarted)
        self.stage.listen(FuseTripped, lambda fact: setattr(self, "throttled", True))

    def forget(self) -> None:
        """A new process knows nothing."""
        self.born_s = self.now
        self.draining = self.throttled = False
        self.inputs: dict[str, float] = {}
        self.filled: dict[str, set[str]] = {}
        self.falling: set[ParentKey] = set()
        self.wished: dict[ParentKey, float] = {}
        self.writes: dict[ParentKey, float] = {}
        self.errors: dict[ParentKey, BaseException | None] = {}
        self.asked: dict[ParentKey, dict[str, str]] = {}
        self.answered: dict[str, float] = {}
        self.sent: list[tuple[float, Call]] = []
        self.flying: dict[str, tuple[float, Call]] = {}
        self.failures = 0
        self.refused: set[str] = set()
        self.down: dict[str, float] = {}
        self.died_s: dict[str, float] = {}
        self.up: dict[str, bool] = {}

    @property
    def now(self) -> float:
        """The instant."""
        return self.stage.world.clock.now_s

    # --- following ----------------------------------------------------------------------------------------------------
    def _input(self, actor: str, _message: Any) -> None:
        self.inputs[actor] = self.now

    def _filled(self, actor: str, mail: Objects) -> None:
        if mail.replace:
            self.filled.setdefault(actor, set()).add(mail.kind)

    def _emptied(self, actor: str) -> None:
        self.filled.pop(actor, None)

    def _down(self, actor: str) -> None:
        self.down[actor] = self.now
        self.died_s[actor] = self.now
        self._emptied(actor)

    def _restarted(self, fact: ActorRestarted) -> None:
        self.down.pop(fact.actor, None)

    def _passivated(self, _actor: str, message: Passivated) -> None:
        self.falling.discard(message.parent)
        if message.asleep:
            self._emptied(actor_of(message.parent))

    def _status_answered(self, actor: str, _answer: StatusAnswered) -> None:
        if actor.startswith("cluster/"):
            _, namespace, name = actor.split("/", 2)
            self.wished.pop(ParentKey(namespace, name), None)

    def _write_ended(self, _actor: str, ended: WriteEnded) -> None:
        self.writes.pop(ended.parent, None)
        self.errors[ended.parent] = ended.outcome.error

    def _repairs(self, _actor: str, wish: RepairsWanted) -> None:
        self.asked[wish.parent] = {item.uid: item.key for item in wish.items}

    def _items(self, _actor: str, message: ItemsAnswered) -> None:
        for key, (answer, _) in message.answers.items():
            if answer is not ItemAnswer.WITHDRAWN:
                self.answered[key] = self.now

    def _sent(self, call: Call) -> None:
        self.sent.append((self.now, call))
        self.flying[call.id] = (self.now, call)

    def _call_ended(self, _actor: str, ended: CallEnded) -> None:
        self.failures += self._given_up(ended.call)
        self.flying.pop(ended.call, None)
        error = ended.outcome.error
        self.failures += error is not None
        self.throttled |= isinstance(error, Throttled)
        if isinstance(error, Refused):
            self.refused.update(item.uid for _, call in self.sent if call.id == ended.call for item in call.items)

    def _given_up(self, call: str) -> bool:
        """Whether it has been under way for longer than any may be: that is a failure, whatever comes of it later."""
        settings = self.stage.settings
        at_s = self.flying[call][0] if call in self.flying else math.inf
        return self.now - at_s >= settings.call_timeout_s + settings.lateness_s - EPS_S

    def _mail(self, kind: str, mail: Objects | StreamChanged) -> None:
        self.up[kind] = mail.up if isinstance(mail, StreamChanged) else self.up.get(kind, False) or mail.replace

    # --- what is asked of it ------------------------------------------------------------------------------------------
    def mail(self, actor: str) -> int:
        """How many messages wait for that actor."""
        return mail_of(self.stage.system, actor)

    def ails(self, actor: str) -> bool:
        """Whether that actor has died and was not restarted, or hangs in a message."""
        process = self.stage.process
        return actor in self.down or (process is not None and actor in process.hanging)

    def calm(self, *parts: str, for_s: float = 30.0) -> bool:
        """Whether none of these was impaired lately."""
        return self.stage.calm(self.now - for_s, *parts)

    def _calls_of(self, parent: ParentKey, since_s: float) -> list[Call]:
        return [call for at_s, call in self.sent if at_s >= since_s and any(i.parent == parent for i in call.items)]

    def _kinds(self, answer: Answer) -> list[str]:
        return [kind for kind in self.court.kinds if kind in answer.first.text]

    def holds(self, answer: Answer) -> str:
        """Nothing where the gate that was named is true here, else what is so."""
        first, code = answer.first, answer.first.code
        for name, at_s, wrong in (
            ("until", first.until_s, first.until_s is not None and first.until_s < self.now - EPS_S),
            ("expected", first.expected_s, first.expected_s is not None and first.expected_s < self.now - EPS_S),
            ("since", first.since_s, first.since_s is not None and first.since_s > self.now + EPS_S),
        ):
            if wrong:
                return f"{name} {at_s} is on the wrong side of now"
        predicate = _PREDICATES.get(code)
        if predicate is None:
            return "that is a bug, by its own words" if code in _BUGS else f"no predicate for {code}"
        return predicate(self, answer)

    # --- the predicates -----------------------------------------------------------------------------------------------
    def ending(self, answer: Answer) -> str:
        """It drains, or has given up."""
        system = self.stage.system
        return "" if self.draining or system is None or system.end is not None or system.stopped else "it goes on"

    def not_listed(self, answer: Answer) -> str:
        """No list of that kind has reached its watcher since that began."""
        for kind in self._kinds(answer):
            if kind not in self.court.mirror.synced or kind in self.court.relisting or self.mail(f"watcher/{kind}"):
                return ""
        return f"all are listed: {sorted(self.court.mirror.synced)}"

    def no_parent(self, answer: Answer) -> str:
        """Its record has not been delivered."""
        watcher = f"watcher/{self.stage.fleet.parent.kind}"
        there = answer.situation.key in self.court.mirror.parents
        return "it was delivered" if there and not self.mail(watcher) and watcher not in self.down else ""

    def no_child(self, answer: Answer) -> str:
        """Its record has not been delivered."""
        held = self.court.mirror.by_parent.get(answer.situation.key, {}).values()
        there = any(child.name == answer.child for child in held)
        watchers = [f"watcher/{kind}" for kind in self.court.kinds]
        on_its_way = any(self.mail(watcher) or self.ails(watcher) for watcher in watchers)
        return "it was delivered" if there and not on_its_way else ""

    def stream_down(self, answer: Answer) -> str:
        """The reader has said so, or its watcher has begun anew; or it is so, and what was said of it has been merged."""
        reader = self.stage.reader
        for kind in self._kinds(answer):
            if reader is None or reader.open_for_s(kind) is None or not self.calm(f"api:{kind}", for_s=LATE_S):
                return ""
            if not self.up.get(kind) or self.mail(f"watcher/{kind}") or f"watcher/{kind}" in self.down:
                return ""
        return f"the last word on each stream: {self.up}"

    def stream_quiet(self, answer: Answer) -> str:
        """Something keeps that kind's lines."""
        impaired = any(not self.calm(f"api:{kind}", "operator", for_s=90.0) for kind in self._kinds(answer))
        return "" if impaired else "nothing is impaired"

    def watcher_down(self, answer: Answer) -> str:
        """It has died, or hangs."""
        return "" if any(self.ails(f"watcher/{kind}") for kind in self._kinds(answer)) else "it runs"

    def directory_held(self, answer: Answer) -> str:
        """It has died, or has mail; or its word is on the way."""
        held = ("directory", *(f"watcher/{kind}" for kind in self.court.kinds))
        return "" if any(self.mail(each) or self.ails(each) for each in held) else "it runs, and has read all"

    def quarantined(self, answer: Answer) -> str:
        """The court knows who is."""
        return "" if actor_of(answer.situation.key) in self.court.quarantined else "it is not in quarantine"

    def restarting(self, answer: Answer) -> str:
        """It has died and was not restarted."""
        return "" if actor_of(answer.situation.key) in self.down else "it runs"

    def wedged(self, answer: Answer) -> str:
        """It hangs."""
        process = self.stage.process
        hangs = process is not None and actor_of(answer.situation.key) in process.hanging
        return "" if hangs else "it comes back from each message"

    def command_pause(self, answer: Answer) -> str:
        """Somebody has paused it, and the time is not over."""
        return "" if self.court.paused(answer.situation.key) else "nobody has paused it"

    def waking(self, answer: Answer) -> str:
        """There is none, or it is about to sleep."""
        key = answer.situation.key
        actor = actor_of(key)
        none = set(self.court.kinds) - self.filled.get(actor, set())
        held = any(self.mail(each) for each in (actor, "directory", *(f"watcher/{kind}" for kind in self.court.kinds)))
        return (
            "" if none or key in self.falling or held or actor in self.down or "directory" in self.down else "it is up"
        )

    def refilling(self, answer: Answer) -> str:
        """Not every kind has been sent to it."""
        none = set(self.court.kinds) - self.filled.get(actor_of(answer.situation.key), set())
        return "" if none else "it has all"

    def mail_waiting(self, answer: Answer) -> str:
        """Its mailbox is not empty."""
        return "" if self.mail(actor_of(answer.situation.key)) else "its mailbox is empty"

    def news_waiting(self, answer: Answer) -> str:
        """A watcher's mailbox is not empty."""
        return "" if any(self.mail(f"watcher/{kind}") for kind in self.court.kinds) else "no watcher has mail"

    def debounce(self, answer: Answer) -> str:
        """Something has reached it lately, and it looks within the longest wait of that."""
        policy = self.court.policy(answer.situation.key)
        first = answer.first
        assert first.until_s is not None
        wait_s = max(policy.debounce_max_s, self.stage.settings.policy.debounce_max_s) + LATE_S
        input_s = self.inputs.get(actor_of(answer.situation.key), -math.inf)
        if self.now - input_s > wait_s:
            return f"nothing has reached it since {input_s}"
        return "" if first.until_s - self.now <= wait_s else f"{first.until_s} is later than the longest wait"

    def status_queued(self, answer: Answer) -> str:
        """A wish has no answer, and no write of it is under way."""
        key = answer.situation.key
        known = key in self.wished or self.mail("status") or self.ails("status")
        return "" if known else "no wish of it is open"

    def status_writing(self, answer: Answer) -> str:
        """A write has left and has not come back."""
        return "" if answer.situation.key in self.writes else "no write of it is under way"

    def status_retry(self, answer: Answer) -> str:
        """Its last write failed on the way."""
        error = self.errors.get(answer.situation.key)
        return (
            "" if error is not None and not isinstance(error, (Conflict, *_REFUSALS)) else f"its last write: {error!r}"
        )

    def conflict(self, answer: Answer) -> str:
        """Its last write met one."""
        error = self.errors.get(answer.situation.key)
        return "" if isinstance(error, Conflict) else f"its last write: {error!r}"

    def status_refused(self, answer: Answer) -> str:
        """Its last write was refused."""
        error = self.errors.get(answer.situation.key)
        return "" if isinstance(error, _REFUSALS) else f"its last write: {error!r}"

    def records_skipped(self, answer: Answer) -> str:
        """A poisonous record has been left out."""
        return "" if self.court.skipped else "none was left out"

    def paused(self, answer: Answer) -> str:
        """Its delivered spec says so."""
        parent = self.court.mirror.parents.get(answer.situation.key)
        return "" if parent is not None and parent.spec.paused else "its spec does not say so"

    def repair_disabled(self, answer: Answer) -> str:
        """The policy in force says so."""
        return "" if not self.court.policy(answer.situation.key).repair_enabled else "they are enabled"

    def deleting(self, answer: Answer) -> str:
        """Its delivered object says so."""
        parent = self.court.mirror.parents.get(answer.situation.key)
        return "" if parent is not None and parent.deleting else "it is not being deleted"

    def valve(self, answer: Answer) -> str:
        """By the delivered records."""
        key = answer.situation.key
        policy, total = self.court.policy(key), len(self.court.mirror.by_parent.get(key, {}))
        eligible = self.court.mirror.eligible(key)
        if valve.closed(eligible, policy.max_unhealthy, total, policy.eligible_floor):
            return ""
        return (
            "" if any(self.mail(f"watcher/{kind}") for kind in self.court.kinds) else f"{eligible} of {total} is within"
        )

    def unreported(self, answer: Answer) -> str:
        """As delivered."""
        held = self.court.mirror.by_parent.get(answer.situation.key, {}).values()
        child = next((child for child in held if child.name == answer.child), None)
        return "" if child is None or child.healthy is None else f"it has reported {child.healthy}"

    def max_in_flight(self, answer: Answer) -> str:
        """So many are asked for, or cool down."""
        key = answer.situation.key
        policy = self.court.policy(key)
        cooling = sum(1 for at_s in self.answered.values() if at_s + policy.cooldown_s >= self.now - EPS_S)
        flying = sum(1 for _, call in self.flying.values() for item in call.items if item.parent == key)
        taken = len(self.asked.get(key, ())) + cooling + max(flying, len(self.flying))
        most = policy.in_flight_max
        if self.mail("gateway") or "gateway" in self.down:
            return ""  # what it has asked for has not been read
        return "" if most is not None and taken >= most else f"{taken} are under way, {most} may be"

    def cooldown(self, answer: Answer) -> str:
        """An answer came within the cooldown."""
        cooldown_s = self.court.policy(answer.situation.key).cooldown_s
        last_s = max(self.answered.values(), default=-math.inf)
        return "" if last_s >= self.now - cooldown_s - LATE_S - EPS_S else f"the last answer came at {last_s}"

    def gateway_held(self, answer: Answer) -> str:
        """It is down, or has mail."""
        return "" if self.mail("gateway") or self.ails("gateway") else "it is up and has no mail"

    def call_in_flight(self, answer: Answer) -> str:
        """A call with one of its children is under way."""
        key = answer.situation.key
        there = any(item.parent == key for _, call in self.flying.values() for item in call.items)
        return "" if there else "no call of it is under way"

    def same_child(self, answer: Answer) -> str:
        """A call is under way."""
        return "" if self.flying or self.refused else "no call is under way"

    def may_arrive(self, answer: Answer) -> str:
        """A call left within the time in which it may arrive, or may have: the gateway died in the middle of something."""
        settings = self.stage.settings
        since_s = self.now - 2 * (settings.call_timeout_s + settings.lateness_s) - LATE_S
        late_s = [self.died_s.get("gateway", -math.inf), *(at_s for at_s, _ in self.sent)]
        return "" if max(late_s) >= since_s else "no call has left lately"

    def retry(self, answer: Answer) -> str:
        """It has been sent before."""
        return "" if self._calls_of(answer.situation.key, self.born_s) else "nothing of it was ever sent"

    def search(self, answer: Answer) -> str:
        """A call of it was refused as a whole."""
        return "" if self.refused else "no call was refused"

    def cold_start(self, answer: Answer) -> str:
        """The process is young."""
        settings = self.stage.settings
        cold_s = settings.quota.window_s + settings.call_timeout_s + settings.lateness_s + LATE_S
        return "" if self.now - self.born_s <= cold_s else f"the process is {self.now - self.born_s:.1f} s old"

    def throttled_(self, answer: Answer) -> str:
        """The backend has said so."""
        return "" if self.throttled else "no call was throttled"

    def breaker(self, answer: Answer) -> str:
        """Calls have failed, or gave no sign in time."""
        failed = self.failures or self.throttled or any(self._given_up(call) for call in self.flying)
        return "" if failed else "no call has failed"

    def calls_max(self, answer: Answer) -> str:
        """So many are under way."""
        return "" if self.flying else "no call is under way"

    def quota(self, answer: Answer) -> str:
        """So many calls of this process have left that the window may be full; of an earlier one's tells the cold start."""
        if not any(at_s >= self.born_s for at_s, _ in self.sent):
            return "this process has not called yet"
        if not self.calm("operator"):
            return ""  # it may have read an answer late, and a slot is held from then on
        settings = self.stage.settings
        held_s = settings.quota.window_s * 1.001 + 2 * (settings.call_timeout_s + settings.lateness_s) + LATE_S
        since_s = max(self.now - held_s, self.born_s)
        count = sum(1 for at_s, _ in self.sent if at_s >= since_s)
        return "" if count >= settings.quota.calls else f"{count} calls have left lately"

    def batch_window(self, answer: Answer) -> str:
        """It has asked for something."""
        return "" if self.asked.get(answer.situation.key) else "it has asked for nothing"

    def fleet_valve(self, answer: Answer) -> str:
        """Too many of all are in trouble by the delivered records, or were a while ago."""
        oracle = next(each for each in self.court.oracles if isinstance(each, FleetHeld))
        return "" if oracle.shut() or oracle.exceeded() else f"{oracle.counts()} are within"

    def queued(self, answer: Answer) -> str:
        """Nothing holds the next call: it leaves at this instant, or has just left."""
        if not self.asked.get(answer.situation.key):
            return "it has asked for nothing"
        if not self.mail("gateway") and self.now - self._last_sent_s() >= LATE_S:
            self.stage.world.after(EPS_S, partial(self._has_left, self.now, self.stage.lives))
        return ""

    def _last_sent_s(self) -> float:
        return self.sent[-1][0] if self.sent else -math.inf

    def _has_left(self, at_s: float, life: int) -> None:
        """Where the gateway was to act at that very instant, by its own clock, it has."""
        process = self.stage.process
        elsewhere = process is None or process.frozen or self.stage.lives != life or self.draining
        if elsewhere or self.mail("gateway") or self.ails("gateway") or self._last_sent_s() >= at_s:
            return
        gateway = None if self.stage.system is None else self.stage.system.refs.get("gateway")
        at_work = behaviour_of(gateway, BatchGatewayActor)
        if at_work is not None and at_work.queue.newest_ready_s >= at_s:
            return  # more has become ready just then, and its batch is being filled
        self.complain(f"why: queued at {at_s}, and no call left then; the last at {self._last_sent_s()}")


_BUGS = frozenset({"overlooked", "not-asked"})
_PREDICATES: dict[str, Callable[[WhyWorld, Answer], str]] = {
    "ending": WhyWorld.ending, "not-listed": WhyWorld.not_listed, "no-parent": WhyWorld.no_parent,
    "no-child": WhyWorld.no_child, "stream-down": WhyWorld.stream_down, "stream-quiet": WhyWorld.stream_quiet,
    "watcher-down": WhyWorld.watcher_down, "directory-held": WhyWorld.directory_held,
    "wedged": WhyWorld.wedged, "command-pause": WhyWorld.command_pause,
    "quarantined": WhyWorld.quarantined, "restarting": WhyWorld.restarting, "waking": WhyWorld.waking,
    "refilling": WhyWorld.refilling, "mail-waiting": WhyWorld.mail_waiting, "news-waiting": WhyWorld.news_waiting,
    "debounce": WhyWorld.debounce, "status-queued": WhyWorld.status_queued, "status-writing": WhyWorld.status_writing,
    "status-retry": WhyWorld.status_retry, "conflict": WhyWorld.conflict, "status-refused": WhyWorld.status_refused,
    "records-skipped": WhyWorld.records_skipped, "paused": WhyWorld.paused, "repair-disabled": WhyWorld.repair_disabled,
    "deleting": WhyWorld.deleting, "valve": WhyWorld.valve, "unreported": WhyWorld.unreported,
    "own-reconcile": lambda _world, _answer: "the built-in fleet has no reconcile of its own",
    "max-in-flight": WhyWorld.max_in_flight, "cooldown": WhyWorld.cooldown, "gateway-held": WhyWorld.gateway_held,
    "call-in-flight": WhyWorld.call_in_flight, "same-child": WhyWorld.same_child, "may-arrive": WhyWorld.may_arrive,
    "retry": WhyWorld.retry, "search": WhyWorld.search, "cold-start": WhyWorld.cold_start,
    "throttled": WhyWorld.throttled_, "breaker": WhyWorld.breaker, "calls-max": WhyWorld.calls_max,
    "quota": WhyWorld.quota, "batch-window": WhyWorld.batch_window, "queued": WhyWorld.queued,
    "fleet-valve": WhyWorld.fleet_valve,
}  # fmt: skip
