"""What the simulated world knows of each gate: a predicate for every code, by other code than the operator's.

``holds`` says whether a gate that was named is true: nothing if it is, else what is so instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from ..core import valve
from ..core.errors import Conflict, Forbidden, Invalid, NotFound, Unauthorized
from ..core.why import Answer
from ..gateway import BatchGatewayActor
from ..insight.collector import behaviour_of
from .court import actor_of
from .oracles_blind import NotBlind
from .oracles_budget import AttemptsBounded
from .oracles_fleet import FleetHeld
from .whyworld import EPS_S, LATE_S, WhyWorld

__all__ = ["WhyGates"]

_REFUSALS = (Invalid, Forbidden, Unauthorized, NotFound)


class WhyGates(WhyWorld):
    """See the module."""

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
        closed = valve.closed(eligible, policy.max_unhealthy, total, policy.eligible_floor)
        if closed and not self.court.oracle(FleetHeld).overrides(key):
            return ""
        late = any(self.mail(f"watcher/{kind}") for kind in self.court.kinds)
        return "" if late else "it is overridden" if closed else f"{eligible} of {total} is within"

    def unreported(self, answer: Answer) -> str:
        """As delivered."""
        held = self.court.mirror.by_parent.get(answer.situation.key, {}).values()
        child = next((child for child in held if child.name == answer.child), None)
        return "" if child is None or child.healthy is None else f"it has reported {child.healthy}"

    def max_in_flight(self, answer: Answer) -> str:
        """So many are asked for, or cool down."""
        key = answer.situation.key
        policy = self.court.policy(key)
        cooled_s = self.now - max(policy.cooldown_s, policy.cooldown_max_s) - EPS_S
        cooling = sum(1 for at_s in self.answered.values() if at_s >= cooled_s)
        flying = sum(1 for _, call in self.flying.values() for item in call.items if item.parent == key)
        taken = len(self.asked.get(key, ())) + cooling + max(flying, len(self.flying)) + len(self.refused)
        most = policy.in_flight_max
        if self.mail("gateway") or "gateway" in self.down:
            return ""  # what it has asked for has not been read
        return "" if most is not None and taken >= most else f"{taken} are under way, {most} may be"

    def cooldown(self, answer: Answer) -> str:
        """An answer came within the cooldown, at its longest."""
        policy = self.court.policy(answer.situation.key)
        cooldown_s = max(policy.cooldown_s, policy.cooldown_max_s)
        last_s = self.answered_s
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
        settings = self.stage.settings
        held_s = settings.quota.window_s * 1.001 + 2 * (settings.call_timeout_s + settings.lateness_s) + LATE_S
        if not self.calm("operator") or not self.calm("actor:gateway", for_s=held_s):
            return ""  # it may have read an answer late, or died before a call left: a slot is held from then on
        since_s = max(self.now - held_s, self.born_s)
        count = sum(1 for at_s, _ in self.sent if at_s >= since_s)
        return "" if count >= settings.quota.calls else f"{count} calls have left lately"

    def batch_window(self, answer: Answer) -> str:
        """It has asked for something."""
        return "" if self.asked.get(answer.situation.key) else "it has asked for nothing"

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
_PREDICATES: dict[str, Callable[[WhyGates, Answer], str]] = {
    "ending": WhyGates.ending, "not-listed": WhyGates.not_listed, "no-parent": WhyGates.no_parent,
    "no-child": WhyGates.no_child, "stream-down": WhyGates.stream_down, "stream-quiet": WhyGates.stream_quiet,
    "watcher-down": WhyGates.watcher_down, "directory-held": WhyGates.directory_held,
    "wedged": WhyGates.wedged, "command-pause": WhyGates.command_pause,
    "quarantined": WhyGates.quarantined, "restarting": WhyGates.restarting, "waking": WhyGates.waking,
    "refilling": WhyGates.refilling, "mail-waiting": WhyGates.mail_waiting, "news-waiting": WhyGates.news_waiting,
    "debounce": WhyGates.debounce, "status-queued": WhyGates.status_queued, "status-writing": WhyGates.status_writing,
    "status-retry": WhyGates.status_retry, "conflict": WhyGates.conflict, "status-refused": WhyGates.status_refused,
    "records-skipped": WhyGates.records_skipped, "paused": WhyGates.paused, "repair-disabled": WhyGates.repair_disabled,
    "deleting": WhyGates.deleting, "valve": WhyGates.valve, "unreported": WhyGates.unreported,
    "own-reconcile": lambda _world, _answer: "the built-in fleet has no reconcile of its own",
    "max-in-flight": WhyGates.max_in_flight, "cooldown": WhyGates.cooldown, "gateway-held": WhyGates.gateway_held,
    "call-in-flight": WhyGates.call_in_flight, "same-child": WhyGates.same_child, "may-arrive": WhyGates.may_arrive,
    "retry": WhyGates.retry, "search": WhyGates.search, "cold-start": WhyGates.cold_start,
    "throttled": WhyGates.throttled_, "breaker": WhyGates.breaker, "calls-max": WhyGates.calls_max,
    "quota": WhyGates.quota, "batch-window": WhyGates.batch_window, "queued": WhyGates.queued,
    "watch-behind": lambda world, answer: world.court.oracle(NotBlind).why_seen(world.court.kinds),
    "fleet-valve": lambda world, answer: world.court.oracle(FleetHeld).why_open(answer.situation.key),
    "attempts-spent": lambda world, answer: world.court.oracle(AttemptsBounded).why_left(answer.situation.key),
    "other-parent": lambda _world, _answer: "each child of the built-in fleet is counted for one parent",
}  # fmt: skip
