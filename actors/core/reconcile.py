"""One look at one parent and all its children: counts to a Plan. Pure; only the runtime executes what it returns.

The status is computed whole each time, from the records and our own memory, so that nothing depends on how we got here.
Transition times move only when a condition flips, and no text holds a time, so that an unchanged world gives an unchanged
status and nothing is written.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Collection, Container, Iterable, Mapping
from datetime import date
from itertools import chain
from typing import Any

import msgspec
from attrs import evolve, frozen

from . import own as owns
from . import valve
from .budget import EXHAUSTED, Budget, budget_of, entries, notes, sentence
from .fleet import FleetDefinition
from .health import Counts, Roll
from .model import Child, EventNote, Item, Now, Parent, Plan, Policy, State
from .override import OVERRIDE
from .payload import Render, payloads
from .repairs import Repairs

AVAILABLE = "Available"
SAMPLE_MAX = 10  # names of unhealthy children in a status; a status holds counts, not one entry per child
FLEET_HELD = "FleetTooManyUnhealthy"
"""The reason of RemediationAllowed while the valve over all parents holds all calls."""
OVERRIDDEN = "ValveOverridden"
"""The reason of RemediationAllowed while a valve would hold the repairs, and the parent's annotation says otherwise."""
BEHIND = "WatchBehind"
"""The reason of RemediationAllowed while the stream of a kind has been down for long, and children of it need repair."""
MESSAGE_MAX = 1024  # characters in a condition's message; the CRD allows 32,768, people read a line


@frozen(kw_only=True)
class BackendView:
    """What the gateway last said about the backend to this parent; None until its first item was answered.

    ``held``: why the valve over all parents holds all calls, "" where it does not.
    """

    reachable: bool | None = None
    reason: str = "NotAskedYet"
    message: str = ""
    held: str = ""

    def after(self, reachable: bool | None, reason: str, message: str, held: str) -> BackendView:
        """What is known once that has been told; None: no news of the backend itself."""
        if reachable is None:
            return evolve(self, held=held)
        return BackendView(reachable=reachable, reason=reason, message=message, held=held)

    @property
    def troubled(self) -> bool:
        """Whether the gateway is to say when that is over."""
        return self.reachable is False or self.held != ""


NOT_ASKED = BackendView()
"""What everybody knows of the backend at first: one for all."""


@frozen(kw_only=True)
class Children:
    """All that reconcile sees of the children: the roll, what has been asked for them, and what the backend said."""

    roll: Roll
    repairs: Repairs
    backend: BackendView = NOT_ASKED
    skipped: int = 0  # records left out because reading them killed the reader twice
    behind: Collection[str] = ()  # kinds whose watch is: what is known of them is old
    paused: bool = False  # a person's command holds the repairs; the spec's own pause is in the parent
    override_ends_s: float = (
        -math.inf
    )  # our clock: until then no valve holds the repairs, as the parent's annotation says
    chosen: Mapping[str, Child] | None = (
        None  # by uid: whom the fleet's own reconcile wants repaired; None: all of the sick
    )


def reconcile(fleet: FleetDefinition, parent: Parent, children: Children, policy: Policy, now: Now) -> Plan:
    """The Plan for ``parent``: ``policy`` is its spec over the operator's settings (``Policy.over``)."""
    roll = children.roll
    total = roll.total
    eligible = len(roll.eligible)
    valves = _Valves.seen(parent, children, policy, now)
    paused = parent.spec.paused or children.paused
    own = owns.decide(fleet, parent, roll, children.repairs, policy, now)
    if own is not None:
        children = evolve(children, chosen=own.repair)
    allowed = policy.repair_enabled and not paused and not parent.deleting and not valves.hold
    budget = budget_of(policy, parent.status)
    exhausted = children.repairs.exhausted(roll.eligible, now.mono_s, budget)
    items, repairing, look_again_s = _repairs(parent, children, policy, now.mono_s, allowed, budget, exhausted)
    if (renders := payloads(fleet)) is not None:
        items = [_rendered(item, roll, renders) for item in items]

    counts = roll.sum()
    conditions = _Conditions(parent, now)
    available = own_available(own, counts, total, policy)
    problems = parent.spec.problems
    conditions.put(*_ready(parent, available, children, own))
    conditions.put(available.type, available.status, available.reason, available.message)
    blind = _blind(children)
    conditions.put(*_allowed(parent, policy, valves, children.paused, blind, own))
    conditions.put("BackendReachable", children.backend.reachable, children.backend.reason, children.backend.message)
    by_whom = "PausedBySpec" if parent.spec.paused else "PausedByCommand" if children.paused else "NotPaused"
    conditions.put("Paused", paused, by_whom, "")
    given_up = [(roll.eligible[uid], number) for uid, number in exhausted.items()]
    if given_up or conditions.had(EXHAUSTED):  # a status that never needed it goes without
        conditions.put(EXHAUSTED, bool(given_up), "AttemptsSpent" if given_up else "WithinBudget",
                       sentence(given_up) if given_up else "")  # fmt: skip

    events = _own_conditions(own, conditions)
    events += _valve_events(conditions, valves, eligible, total - roll.guests)
    if given_up:
        if became := conditions.became(EXHAUSTED, "AttemptsSpent"):
            events.append(EventNote(type="Warning", reason=EXHAUSTED, action="GiveUp", note=sentence(given_up)))
        if became or fleet.status.get("exhausted") != "":  # else nobody knows whom it was told of
            events += notes(given_up, budget.spent)
    if conditions.became("Ready", "InvalidSpec"):
        events.append(EventNote(type="Warning", reason="InvalidSpec", action="ReadSpec", note="; ".join(problems)))

    status: dict[str, Any] = {
        "observedGeneration": parent.generation,
        "total": total,
        "healthy": counts.healthy,
        "unhealthy": counts.unhealthy,
        "unknown": counts.unknown,
        "repairing": sum(repairing.values()),
        "kinds": [_kind_status(child.ref.kind, roll, repairing) for child in fleet.children],
        "unhealthySample": _sample(roll),
        "conditions": conditions.list,
    }
    if given_up or "exhausted" in parent.status:
        status["exhausted"] = entries(given_up)
    for name, wanted in fleet.status.items():
        if not wanted:
            status.pop(name, None)
    if valves.until_s is not None:  # its end is announced by nothing else
        ends_s = children.override_ends_s
        look_again_s = ends_s if look_again_s is None else min(look_again_s, ends_s)
    plan = Plan(status=status, repairs=tuple(items), events=tuple(events), look_again_at_s=look_again_s)
    return plan if own is None else _with_own(plan, own, roll, now)


@frozen
class _Valves:
    """What the valves say, each in words ("" where it lets repairs go on).

    ``until_s`` is until when (Unix seconds) they are overridden; None: they are not, or none of them holds.
    """

    own: str
    by_all: str
    until_s: float | None

    @classmethod
    def seen(cls, parent: Parent, children: Children, policy: Policy, now: Now) -> _Valves:
        eligible, ours = len(children.roll.eligible), children.roll.repairable
        closed = valve.closed(eligible, policy.max_unhealthy, ours, policy.eligible_floor)
        own = f"{eligible} of {ours} need repair, the limit is {policy.max_unhealthy}" if closed else ""
        by_all = children.backend.held if eligible else ""  # who needs nothing is not held
        over = (own or by_all) and children.override_ends_s > now.mono_s
        return cls(own, by_all, parent.spec.override_until_s if over else None)

    @property
    def hold(self) -> bool:
        """Whether the parent's own one holds its repairs (the other holds them at the gateway)."""
        return self.own != "" and self.until_s is None

    @property
    def words(self) -> str:
        """What is overridden, for people."""
        end = rfc3339(self.until_s or 0.0)
        return f"{self.own or self.by_all}; repairs go on all the same until {end}, as {OVERRIDE} says"


def _valve_events(conditions: _Conditions, valves: _Valves, eligible: int, ours: int) -> list[EventNote]:
    """What has turned of what holds the repairs."""
    name = "RemediationAllowed"
    if conditions.became(name, "TooManyUnhealthy"):
        note = f"repairs are held: {valves.own}"
        return [EventNote(type="Warning", reason="TooManyUnhealthy", action="HoldRepairs", note=note)]
    if conditions.became(name, FLEET_HELD):
        note = f"repairs of all parents are held: {valves.by_all}"
        return [EventNote(type="Warning", reason=FLEET_HELD, action="HoldRepairs", note=note)]
    if conditions.became(name, OVERRIDDEN):
        return [EventNote(type="Warning", reason=OVERRIDDEN, action="AllowRepairs", note=valves.words)]
    if conditions.opened(name):
        note = f"repairs go on: {eligible} of {ours} need repair"
        return [EventNote(type="Normal", reason="RepairsAllowed", action="AllowRepairs", note=note)]
    return []


def _repairs(
    parent: Parent, children: Children, policy: Policy, now_s: float, allowed: bool, budget: Budget,
    exhausted: Container[str],
) -> tuple[list[Item], dict[str, int], float | None]:  # fmt: skip
    """The items wanted, how many children per kind are asked for and not yet well, and when an attempt has cooled down.

    Nobody asks for the ``exhausted``.
    """
    repairs, chosen = children.repairs, children.chosen
    items: list[Item] = []
    repairing: dict[str, int] = {}
    look_again_s: float | None = None
    candidates: Iterable[Child] = children.roll.eligible.values()
    if chosen is not None:  # those that the fleet's own reconcile names, in its order; the others keep what they have
        candidates = [*chosen.values(), *(each for each in candidates if each.uid not in chosen)]
    room = policy.in_flight_max
    if room is not None:
        room -= repairs.places(children.roll.eligible, exhausted)  # those asked already keep theirs
    for child in candidates:
        if child.uid in exhausted:
            continue
        asked = repairs.asked(child)
        may = allowed and child.kind not in children.behind and (chosen is None or child.uid in chosen)
        item = repairs.wanted(parent.key, child, now_s, budget) if may else None
        if item is None:
            cooled_s = repairs.cooled_at(child, budget)
            if cooled_s is not None:
                repairing[child.kind] = repairing.get(child.kind, 0) + 1
                if (may or repairs.is_last(child, budget)) and (look_again_s is None or cooled_s < look_again_s):
                    look_again_s = cooled_s
            continue
        if not asked and room is not None:
            place = 0 if repairs.holds_place(child.uid) else 1
            if room < place:
                continue
            room -= place
        repairing[child.kind] = repairing.get(child.kind, 0) + 1
        items.append(item)
    return items, repairing, look_again_s


def _rendered(item: Item, roll: Roll, renders: Mapping[str, Render]) -> Item:
    """The item with the payload that the fleet's template gives it."""
    payload = renders[item.kind](roll.eligible[item.uid], item.parent, item.key)
    return msgspec.structs.replace(item, payload=payload)


_BY_COMMAND = "a command of the shell holds its repairs for a while"


# --- what the fleet's own reconcile adds ------------------------------------------------------------------------------------
def own_available(own: owns.Decision | None, counts: Counts, total: int, policy: Policy) -> owns.Condition:
    """Whether enough are healthy: as many as the policy says, unless the fleet's own ``reconcile`` says it otherwise."""
    for each in own.conditions if own is not None else ():
        if each.type == AVAILABLE:
            return each
    enough = counts.healthy >= policy.min_healthy
    text = f"{counts.healthy} of {total} healthy, at least {policy.min_healthy} wanted"
    return owns.Condition(AVAILABLE, enough, "EnoughHealthy" if enough else "TooFewHealthy", text)


def _own_conditions(own: owns.Decision | None, conditions: _Conditions) -> list[EventNote]:
    """Put its conditions, and tell of those that have turned."""
    events: list[EventNote] = []
    for each in own.conditions if own is not None else ():
        if each.type != AVAILABLE:
            conditions.put(each.type, each.status, each.reason, each.message)
        if each.status is not True and conditions.became(each.type, each.reason):
            events.append(EventNote(type="Warning", reason=each.reason, note=each.message or each.type))
        elif conditions.opened(each.type):
            events.append(EventNote(type="Normal", reason=each.reason, note=each.message or each.type))
    if own is not None and own.error and conditions.became("RemediationAllowed", owns.FAILED):
        events.append(EventNote(type="Warning", reason=owns.FAILED, note=own.error))
    return events


def _with_own(plan: Plan, own: owns.Decision, roll: Roll, now: Now) -> Plan:
    look_again_s = plan.look_again_at_s
    if own.look_again_s is not None:
        at_s = now.mono_s + own.look_again_s
        look_again_s = at_s if look_again_s is None else min(look_again_s, at_s)
    left_out = frozenset() if own.repair is None else frozenset(roll.eligible.keys() - own.repair.keys())
    return evolve(
        plan, status={**plan.status, **own.status}, look_again_at_s=look_again_s, left_out=left_out, failed=own.trace
    )  # fmt: skip


# --- conditions -------------------------------------------------------------------------------------------------------------
def _ready(
    parent: Parent, available: owns.Condition, children: Children, own: owns.Decision | None
) -> tuple[str, bool, str, str]:
    if parent.spec.problems:
        return "Ready", False, "InvalidSpec", "; ".join(parent.spec.problems)
    if parent.spec.paused:
        return "Ready", False, "Paused", "spec.paused is true: counting goes on, repairs do not"
    if children.paused:
        return "Ready", False, "Paused", f"{_BY_COMMAND}: counting goes on"
    if children.skipped:
        return (
            "Ready",
            False,
            "RecordsSkipped",
            f"{children.skipped} children cannot be read and are not counted: see the log",
        )
    if own is not None and own.error:
        return (
            "Ready",
            False,
            owns.FAILED,
            f"the fleet's own reconcile raised {own.error}: counting goes on, repairs do not",
        )
    if not available.status:
        return "Ready", False, "NotAvailable", available.message
    return "Ready", True, "Ready", ""


def _blind(children: Children) -> list[str]:
    """The kinds of those in trouble of which nothing new is heard."""
    if not children.behind:
        return []
    return sorted({child.kind for child in children.roll.eligible.values() if child.kind in children.behind})


def _allowed(
    parent: Parent,
    policy: Policy,
    valves: _Valves,
    by_command: bool,
    blind: list[str],
    own: owns.Decision | None = None,
) -> tuple[str, bool, str, str]:
    name = "RemediationAllowed"
    if not policy.repair_enabled:
        return name, False, "RepairDisabled", "spec.repair.enabled or the operator's setting is false"
    if parent.spec.paused:
        return name, False, "Paused", "spec.paused is true"
    if by_command:
        return name, False, "Paused", _BY_COMMAND
    if parent.deleting:
        return name, False, "Deleting", "the object is being deleted"
    if valves.hold:
        cure = f"raise spec.repair.maxUnhealthy, or for a while annotate it with {OVERRIDE}, if this is meant"
        return name, False, "TooManyUnhealthy", f"{valves.own}; {cure}"
    if blind:
        text = f"the watch of {', '.join(blind)} is behind: no repair is asked for by old news; it goes on by itself"
        return name, False, BEHIND, text
    if valves.by_all and valves.until_s is None:
        cure = f"--max-unhealthy-fleet, or for a while the annotation {OVERRIDE}, if this is meant"
        return name, False, FLEET_HELD, f"{valves.by_all}: the fault is probably not theirs; {cure}"
    if own is not None and own.error:
        return name, False, owns.FAILED, own.error
    if valves.until_s is not None:
        return name, True, OVERRIDDEN, valves.words
    return name, True, "WithinLimit", ""


def _kind_status(kind: str, roll: Roll, repairing: dict[str, int]) -> dict[str, Any]:
    healthy, unhealthy, unknown = roll.counts[kind].as_tuple()
    return {
        "kind": kind, "total": healthy + unhealthy + unknown, "healthy": healthy, "unhealthy": unhealthy,
        "unknown": unknown, "repairing": repairing.get(kind, 0),
    }  # fmt: skip


def _sample(roll: Roll) -> list[str]:
    """Up to ``SAMPLE_MAX`` names of unhealthy children, and the same ones for the same set."""
    names: list[str] = []
    for child in chain(roll.eligible.values(), roll.unwell_guests.values()):
        if child.state is State.UNHEALTHY:
            names.append(_label(child))
            if len(names) >= 1000:  # a mass failure: any of them will do, and sorting them all would cost
                break
    return sorted(names)[:SAMPLE_MAX]


def _label(child: Child) -> str:
    return f"{child.kind}/{child.name}"


class _Conditions:
    """Builds the list; carries over the transition time of what has not flipped."""

    def __init__(self, parent: Parent, now: Now) -> None:
        seen = parent.status.get("conditions")
        self._before = {c.get("type"): c for c in seen if isinstance(c, dict)} if isinstance(seen, list) else {}
        self._generation = parent.generation
        self._now = rfc3339(now.wall_s)
        self.list: list[dict[str, Any]] = []
        self._by_name: dict[str, dict[str, Any]] = {}

    def put(self, name: str, value: bool | None, reason: str, message: str) -> None:
        status = "Unknown" if value is None else str(value)
        before = self._before.get(name, {})
        same = before.get("status") == status
        condition = {
            "type": name, "status": status, "reason": reason, "message": message[:MESSAGE_MAX],
            "observedGeneration": self._generation,
            "lastTransitionTime": before.get("lastTransitionTime", self._now) if same else self._now,
        }  # fmt: skip
        self.list.append(condition)
        self._by_name.setdefault(name, condition)

    def became(self, name: str, reason: str) -> bool:
        """Whether that condition has ``reason`` now and had another before.

        Not whether it flipped: from Paused to TooManyUnhealthy it stays False, and that is news all the same.
        """
        return bool(self._by_name[name]["reason"] == reason != self._before.get(name, {}).get("reason"))

    def had(self, name: str) -> bool:
        """Whether it was there before."""
        return name in self._before

    def opened(self, name: str) -> bool:
        """Whether that condition was False and is True now."""
        return bool(self._before.get(name, {}).get("status") == "False" and self._by_name[name]["status"] == "True")


def rfc3339(wall_s: float) -> str:
    """Unix seconds as Kubernetes writes instants: UTC, whole seconds."""
    return _second_text(int(wall_s))


@functools.lru_cache(maxsize=8)  # everybody asks for the present second
def _second_text(second: int) -> str:
    day, second = divmod(second, 86_400)
    return f"{_day_text(day)}T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}Z"


@functools.lru_cache(maxsize=8)
def _day_text(day: int) -> str:
    return date.fromordinal(_EPOCH_DAY + day).isoformat()


_EPOCH_DAY = date(1970, 1, 1).toordinal()


def replaced_condition(
    parent: Parent, now: Now, name: str, value: bool | None, reason: str, message: str
) -> dict[str, Any]:
    """The parent's status as it stands, with that one condition put anew (for a parent that cannot be reconciled)."""
    conditions = _Conditions(parent, now)
    conditions.put(name, value, reason, message)
    seen = parent.status.get("conditions")
    kept = [c for c in seen if isinstance(c, dict) and c.get("type") != name] if isinstance(seen, list) else []
    return {**parent.status, "observedGeneration": parent.generation, "conditions": conditions.list + kept}
