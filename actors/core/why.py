"""Why is this parent's count not right, and why has this child not been repaired: the first gate that is shut.

``why`` reads a ``Situation`` and names a gate of ``gates``, since when it is shut and until when, where that is known, and says
it in a sentence. A parent has two lanes that do not wait for each other: its count goes through the status gates, its repairs
through the rest; ``counting`` and ``repairs`` of an answer tell of each, and the answer itself of the first of all.

A pause and the valve hold repairs only, so they are behind the status gates; and a write in trouble is named before the
debounce, because in a busy fleet there is nearly always a debounce, and it is not what a person asks for.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from attrs import evolve, frozen

from . import valve
from .gates import BY_CODE, GATES, ORDER
from .model import Child, State
from .situation import ActorSeen, GatewaySeen, ItemSeen, KindSeen, Situation

WEDGED_S = 1.0  # a message takes microseconds; arbitrary, far above what a busy machine makes of them
CHILDREN_MAX = 2000  # of one parent that are looked at one by one: a passive command answers within 50 ms


@frozen(kw_only=True)
class Shut:
    """A gate that is shut. ``until_s`` None: nobody knows; ``expected_s``: when the call leaves, as far as can be said now."""

    code: str
    text: str
    since_s: float | None = None
    until_s: float | None = None
    expected_s: float | None = None
    children: int = 0
    """How many children are at it."""
    also: tuple[Shut, ...] = ()
    """The later gates that other children of the parent are at."""


@frozen(kw_only=True)
class Answer:
    """What ``why`` says. ``counting`` and ``repairs`` None: nothing holds that lane."""

    situation: Situation
    child: str
    first: Shut
    counting: Shut | None = None
    repairs: Shut | None = None

    def as_json(self, wall_s: float) -> dict[str, Any]:
        """For people and scripts: instants as Unix seconds; ``wall_s`` is the situation's instant."""
        now_s = self.situation.now_s

        def shown(shut: Shut | None) -> dict[str, Any] | None:
            found: dict[str, Any]
            if shut is None:
                return None
            gate = BY_CODE[shut.code]
            held = "" if shut.code == GATES[-1].code else gate.lane.value
            found = {"code": shut.code, "holds_back": held, "text": shut.text, "cure": gate.cure}
            for name, at_s in (("since", shut.since_s), ("until", shut.until_s), ("expected", shut.expected_s)):
                known = at_s is not None and math.isfinite(at_s)
                found[f"{name}_at"] = round(wall_s + at_s - now_s, 3) if known and at_s is not None else None
            if shut.children:
                found["children"] = shut.children
            if shut.also:
                names = ("children", "code", "text", "until_at", "expected_at")
                found["also"] = [
                    {name: each[name] for name in names} for each in map(shown, shut.also) if each is not None
                ]
            return found

        first = shown(self.first)
        assert first is not None
        heard = [{"kind": kind.kind, "age_s": _age(kind.heard_s, now_s)} for kind in self.situation.kinds]
        return {
            "parent": str(self.situation.key), "child": self.child, **first,
            "counting": shown(self.counting), "repairs": shown(self.repairs), "news": heard,
        }  # fmt: skip


def why(s: Situation, uid: str | None = None, child: str = "") -> Answer:
    """The first gate that holds back the parent, or its child ``uid`` ("": there is none of the name ``child``)."""
    shut = _ended(s) or _seen(s, uid, child) or _actor(s)
    counting = repairs = None
    if shut is None:
        counting = _counting(s) if uid is None else None
        repairs = _repairs(s, uid)
    shuts = [each for each in (shut, counting, repairs) if each is not None]
    first = min(shuts, key=lambda each: ORDER[each.code]) if shuts else _news(s) or _converged(s, uid)
    return Answer(situation=s, child=child, first=first, counting=counting or shut, repairs=repairs or shut)


# --- both lanes -------------------------------------------------------------------------------------------------------
def _ended(s: Situation) -> Shut | None:
    return Shut(code="ending", text=f"the operator ends: {s.ending}") if s.ending else None


def _seen(s: Situation, uid: str | None, child: str) -> Shut | None:
    """Whether what the server has is here."""
    kinds = _concerned(s, uid)
    for kind in kinds:
        if not kind.synced:
            return Shut(
                code="not-listed", text=f"{kind.kind} is not listed yet: {_message(kind) or 'the list is under way'}"
            )
    if s.parent is None:
        return Shut(code="no-parent", text=f"no {_parents(s)} of the name {s.key} has been seen")
    if uid == "":
        return Shut(code="no-child", text=f"{s.key} has no child of the name {child}")
    for kind in kinds:
        if not kind.up:
            text = f"the stream of {kind.kind} is down: {_message(kind) or 'no reason was given'}"
            return Shut(code="stream-down", text=text, since_s=kind.heard_s)
    for kind in kinds:
        if kind.heard_s is not None and s.now_s - kind.heard_s > s.quiet_s:
            text = f"nothing has come over the stream of {kind.kind} for {s.now_s - kind.heard_s:.0f} s"
            return Shut(code="stream-quiet", text=text, since_s=kind.heard_s)
    for kind in kinds:
        if trouble := _trouble(kind.watcher, s.now_s):
            return Shut(code="watcher-down", text=f"the watcher of {kind.kind} {trouble}", since_s=kind.watcher.busy_s)
    return None


def _actor(s: Situation) -> Shut | None:
    """Whether the parent has an actor that works."""
    place, actor = s.place, s.actor
    due_s = {"down": place.restart_s, "quarantined": place.probe_s}.get(place.phase)
    if late := _late(s.directory, due_s, s.now_s):
        return Shut(code="directory-held", text=f"its actor is {place.phase}, and the directory {late}", since_s=due_s)
    if place.phase == "quarantined":
        text = place.why or f"its actor died too often, last of {actor.last_error}"
        return Shut(code="quarantined", text=text, until_s=place.probe_s)
    if place.phase == "awake" and actor.state == "down" and not actor.last_error:
        return Shut(code="waking", text="its actor has been made and has not begun yet")
    if place.phase == "down" or (place.phase == "awake" and actor.state == "down"):
        return Shut(code="restarting", text=f"its actor died of {actor.last_error}", until_s=place.restart_s)
    if actor.busy_s is not None and s.now_s - actor.busy_s > WEDGED_S:
        text = f"its actor has not come back from a message for {s.now_s - actor.busy_s:.0f} s"
        return Shut(code="wedged", text=text, since_s=actor.busy_s)
    if s.cluster is None or place.phase != "awake":
        return _asleep(s)
    strangers = [kind.kind for kind in s.kinds if not kind.subscribed]
    if strangers:
        trouble = _trouble(s.directory, s.now_s) or f"has {s.directory.mailbox} messages to read"
        text = f"the watcher of {strangers[0]} does not know its actor yet; the directory {trouble}"
        return Shut(code="directory-held", text=text)
    if s.cluster.missing:
        return Shut(code="refilling", text=f"its actor waits for the records of {', '.join(s.cluster.missing)}")
    if actor.mailbox:
        return Shut(code="mail-waiting", text=f"{actor.mailbox} messages wait for its actor")
    return None


def _asleep(s: Situation) -> Shut | None:
    """It has no actor, or one that is on its way to sleep: right, as long as there is nothing to do."""
    phase, differs = s.place.phase, _difference(s)
    if not differs and (phase == "asleep" or s.cluster is not None) and not s.actor.mailbox and not _wanted(s):
        return None
    if trouble := _trouble(s.directory, s.now_s):
        return Shut(code="directory-held", text=f"its actor is {phase}, and the directory {trouble}")
    return Shut(code="waking", text=f"its actor is {phase}; {differs or 'there is something to do'}")


def _news(s: Situation) -> Shut | None:
    for kind in s.kinds:
        if kind.watcher.mailbox:
            text = f"{kind.watcher.mailbox} messages wait at the watcher of {kind.kind}; news of {s.key} may be in them"
            return Shut(code="news-waiting", text=text)
    return None


def _converged(s: Situation, uid: str | None) -> Shut:
    ages = [(s.now_s - kind.heard_s, kind.kind) for kind in s.kinds if kind.heard_s is not None]
    heard = "; {1} was last heard {0:.1f} s ago, the others later".format(*max(ages)) if ages else ""
    if uid:
        return Shut(code="converged", text=f"{s.children[uid].name} is well: there is nothing to repair{heard}")
    return Shut(code="converged", text=f"the status is what the records say, and nobody needs a repair{heard}")


# --- the status -------------------------------------------------------------------------------------------------------
def _counting(s: Situation) -> Shut | None:
    cluster, write = s.cluster, s.write
    if cluster is None:
        return None
    if cluster.writing and write is not None and write.retry_s is not None and not write.writing:
        if late := _late(s.status_actor, write.retry_s, s.now_s):
            return Shut(code="status-queued", text=f"the StatusActor {late}", since_s=write.since_s)
        text = f"the write failed {write.attempts} times, last of {write.error}"
        return Shut(code="status-retry", text=text, since_s=write.since_s, until_s=write.retry_s)
    down = cluster.turned_down
    if down is not None:
        code = "conflict" if down.conflict else "status-refused"
        return Shut(code=code, text=down.message, since_s=down.since_s, until_s=down.until_s)
    if cluster.debounce_s is not None:
        return _debounce(s)
    if cluster.writing:
        return _writing(s)
    if cluster.skipped:
        text = f"{len(cluster.skipped)} records killed their reader twice, and are not counted"
        return Shut(code="records-skipped", text=text)
    if differs := _difference(s):
        return Shut(code="overlooked", text=f"nobody is about to write it, and yet {differs}")
    return None


def _writing(s: Situation) -> Shut:
    if s.write is not None and s.write.writing:
        return Shut(code="status-writing", text="its status is being written", since_s=s.write.since_s)
    trouble = _trouble(s.status_actor, s.now_s)
    text = f"the StatusActor {trouble}" if trouble else "its status waits for a writer"
    return Shut(code="status-queued", text=text, since_s=s.write.since_s if s.write is not None else None)


def _debounce(s: Situation) -> Shut:
    assert s.cluster is not None
    text = f"it changed a moment ago; its actor looks at it in {max(0.0, s.cluster.due_s - s.now_s):.2f} s"
    return Shut(code="debounce", text=text, since_s=s.cluster.debounce_s, until_s=s.cluster.due_s)


def _difference(s: Situation) -> str:
    """How the status that stands on the server differs from the records; "" where it does not."""
    if s.parent is None:
        return ""
    status = s.parent.status
    if status.get("observedGeneration") != s.parent.generation:
        return f"the status is of generation {status.get('observedGeneration')}, the spec of {s.parent.generation}"
    said = {each.get("kind"): each for each in _list(status.get("kinds")) if isinstance(each, dict)}
    for kind, (healthy, unhealthy, unknown) in s.counts.items():
        each = said.get(kind, {})
        if (each.get("healthy"), each.get("unhealthy"), each.get("unknown")) != (healthy, unhealthy, unknown):
            return (
                f"{kind} is {healthy} healthy, {unhealthy} unhealthy, {unknown} unknown on record, and the status says "
                f"{each.get('healthy')}, {each.get('unhealthy')}, {each.get('unknown')}"
            )
    return ""


# --- repairs ----------------------------------------------------------------------------------------------------------
def _repairs(s: Situation, uid: str | None) -> Shut | None:
    if uid:
        child = s.children[uid]
        if not child.unwell:
            return _unreported(s, child) if child.state is State.UNKNOWN else None
        wanted = [child]
    else:
        wanted = _wanted_children(s) or [child for child in s.children.values() if child.unwell]
    if not wanted:
        return None
    if not wanted[0].guest and (held := _held(s)):
        return evolve(held, children=len(wanted))
    return _first(_child(s, child) for child in wanted[:CHILDREN_MAX])


def _first(shuts: Iterable[Shut]) -> Shut:
    """The first gate that any of them is at, how many are, and at which of the later ones the others are."""
    found: dict[str, Shut] = {}
    counts: dict[str, int] = {}
    for shut in shuts:
        counts[shut.code] = counts.get(shut.code, 0) + 1
        first = found.setdefault(shut.code, shut)
        if (shut.until_s or 0.0) < (first.until_s or 0.0):
            found[shut.code] = shut
    first, *others = (evolve(found[code], children=counts[code]) for code in sorted(found, key=ORDER.__getitem__))
    return evolve(first, also=tuple(others))


def _wanted_children(s: Situation) -> list[Child]:
    return [child for child in s.children.values() if child.eligible]


def _wanted(s: Situation) -> bool:
    """Whether somebody is to be repaired and may be."""
    return bool(_wanted_children(s)) and _held(s) is None


def _unreported(s: Situation, child: Child) -> Shut:
    late = s.policy.heartbeat_timeout_s
    text = f"{child.name} has not reported yet, " + (
        f"and may be silent for {late:g} s" if late is not None else "and there is no heartbeat timeout"
    )
    return Shut(code="unreported", text=text)


def _held(s: Situation) -> Shut | None:
    """What holds all repairs of the parent."""
    parent, policy = s.parent, s.policy
    assert parent is not None
    if s.command_pause_s is not None:
        return Shut(code="command-pause", text="a command holds its repairs", until_s=s.command_pause_s)
    if parent.spec.paused:
        return Shut(code="paused", text="spec.paused is true: counting goes on, repairs do not")
    if not policy.repair_enabled:
        return Shut(code="repair-disabled", text="spec.repair.enabled or the operator's setting is false")
    if parent.deleting:
        return Shut(code="deleting", text="the object is being deleted")
    eligible = len(_wanted_children(s))
    if not s.override and valve.closed(eligible, policy.max_unhealthy, s.ours, policy.eligible_floor):
        return Shut(code="valve", text=f"{eligible} of {s.ours} need repair, the limit is {policy.max_unhealthy}")
    return None


def _child(s: Situation, child: Child) -> Shut:
    """The gate that this child's repair is at. It is eligible, and its parent's repairs are not held; or it is a guest."""
    cluster, policy = s.cluster, s.policy
    if child.guest:
        whose = s.repairers.get(child.uid, "another parent")
        return Shut(code="other-parent", text=f"{child.name} is counted here, and repaired for {whose}")
    if cluster is None:
        return Shut(code="waking", text=f"its actor is {s.place.phase}, and {child.name} is to be repaired")
    if child.uid in cluster.skipped:
        return Shut(code="records-skipped", text=f"the record of {child.name} killed its reader twice, and is left out")
    if child.kind in s.behind:
        text = f"the stream of {child.kind} was down for long: what is known of {child.name} is old"
        return Shut(code="watch-behind", text=text, since_s=s.behind[child.kind])
    if (number := cluster.exhausted.get(child.uid)) is not None:
        return Shut(code="attempts-spent", text=f"{child.name} is not well after {number} attempts to repair it")
    attempt = cluster.attempts.get(child.uid)
    if attempt is not None and attempt.answered_s is not None and attempt.cooled_s is not None:
        again_s = attempt.cooled_s
        if s.now_s <= again_s + WEDGED_S:
            text = f"a repair of {child.name} was answered {s.now_s - attempt.answered_s:.0f} s ago, and it is not well yet"
            return Shut(code="cooldown", text=text, since_s=attempt.answered_s, until_s=max(again_s, s.now_s))
    if cluster.debounce_s is not None and (attempt is None or attempt.key not in cluster.asked):
        return _debounce(s)
    if child.uid in cluster.left_out and (attempt is None or attempt.key not in cluster.asked):
        told = f"raised {cluster.failed}" if cluster.failed else f"does not want {child.name} repaired now"
        return Shut(code="own-reconcile", text=f"the fleet's own reconcile {told}")
    if attempt is None and policy.in_flight_max is not None and cluster.places >= policy.in_flight_max:
        return Shut(code="max-in-flight", text=f"{cluster.places} repairs are under way, {policy.in_flight_max} may be")
    if attempt is None or attempt.answered_s is not None or attempt.key not in cluster.asked:
        return Shut(code="not-asked", text=f"{child.name} is to be repaired, and its actor has not asked for it")
    return _item(s, child, attempt.key, attempt.asked_s)


# --- the gateway ------------------------------------------------------------------------------------------------------
def _item(s: Situation, child: Child, key: str, asked_s: float) -> Shut:
    gateway, now_s = s.gateway, s.now_s
    item = gateway.items.get(child.uid) if gateway is not None else None
    if gateway is None or item is None or item.key != key:
        return _unheard(s, child, asked_s)
    if trouble := _trouble(s.gateway_actor, now_s):  # nothing passes the gates behind it
        return Shut(code="gateway-held", text=f"the gateway {trouble}", since_s=s.gateway_actor.busy_s)
    shut = _place(s, gateway, child, item, asked_s)
    if late := _late(s.gateway_actor, shut.until_s, now_s):
        return Shut(code="gateway-held", text=f"the gateway {late}", since_s=shut.until_s)
    return shut


def _unheard(s: Situation, child: Child, asked_s: float) -> Shut:
    """The gateway does not know of it: it has not read it, or has lost it by a death of which the actors are yet to hear."""
    trouble = _trouble(s.gateway_actor, s.now_s) or _unread(s.gateway_actor)
    if trouble:
        return Shut(code="gateway-held", text=f"the gateway {trouble}", since_s=asked_s)
    error = s.gateway_actor.last_error
    if error and (trouble := _trouble(s.directory, s.now_s) or _unread(s.directory)):
        text = f"the gateway died of {error}; the directory, which has everybody ask again, {trouble}"
        return Shut(code="directory-held", text=text)
    return Shut(code="not-asked", text=f"the gateway knows nothing of {child.name}", since_s=asked_s)


def _place(s: Situation, gateway: GatewaySeen, child: Child, item: ItemSeen, asked_s: float) -> Shut:
    """The gate that it is at in the gateway's queue."""
    now_s = s.now_s
    if item.place == "flying":
        if item.call_s is None:
            text = f"the call with {child.name} in it was refused; its parts are sent apart"
            return _expecting(gateway, item, now_s, Shut(code="search", text=text))
        text = f"the call with {child.name} in it left {now_s - item.call_s:.1f} s ago"
        return Shut(code="call-in-flight", text=text, since_s=item.call_s, until_s=item.call_until_s)
    if item.place == "blocked":
        return Shut(code="same-child", text=f"an earlier repair of {child.name} is under way", since_s=asked_s)
    if item.place == "waiting" and item.at_s > now_s:
        if item.embargo_s is not None and item.embargo_s > now_s:
            text = f"an earlier call with {child.name} in it may still arrive"
            return Shut(code="may-arrive", text=text, until_s=item.embargo_s, expected_s=item.at_s)
        error = gateway.error or "it was put off by the backend, or missing from its answer"
        text = f"{child.name} was tried {item.attempts} times: {error}"
        return Shut(code="retry", text=text, until_s=item.at_s, expected_s=item.at_s)
    return _expecting(gateway, item, now_s, _gate(gateway, item, now_s))


def _gate(gateway: GatewaySeen, item: ItemSeen, now_s: float) -> Shut:
    """What keeps the next call from leaving."""
    if gateway.held:
        return Shut(code="fleet-valve", text=gateway.held, since_s=gateway.held_s, until_s=gateway.held_until_s)
    for code, until_s, text in (
        ("cold-start", gateway.opens_s, "an earlier process may have spent the quota"),
        ("throttled", gateway.pause_s, "the backend asked for a pause"),
        ("breaker", gateway.breaker_s, f"the breaker is {gateway.breaker}: {gateway.error or 'calls failed'}"),
    ):
        if until_s is not None and until_s > now_s:
            return Shut(code=code, text=text, since_s=item.at_s, until_s=until_s)
    calls_max = 1 if gateway.probing else gateway.calls_max
    if gateway.calls >= calls_max:
        why_one = ", because it has refused a call and one alone tries" if gateway.probing else ""
        text = f"{gateway.calls} calls are in flight, {calls_max} may be{why_one}"
        return Shut(code="calls-max", text=text, since_s=item.at_s, until_s=gateway.calls_over_s)
    if gateway.slot_s > now_s:
        calls = gateway.quota[0]
        text = f"the quota of {calls} {'call' if calls == 1 else 'calls'} in {gateway.quota[1]:g} s is spent"
        return Shut(code="quota", text=text, since_s=item.at_s, until_s=gateway.slot_s)
    if gateway.batch_s > now_s:
        return Shut(code="batch-window", text="its batch is being filled", since_s=item.at_s, until_s=gateway.batch_s)
    return Shut(code="queued", text=f"{item.ahead} items leave before it", since_s=item.at_s)


def _expecting(gateway: GatewaySeen, item: ItemSeen, now_s: float, shut: Shut) -> Shut:
    """When its call leaves if nothing else comes: the next call's instant, and a window for each quota of calls before it."""
    calls, window_s = gateway.quota
    gates = [now_s, gateway.slot_s, gateway.opens_s, gateway.pause_s, gateway.breaker_s, gateway.batch_s]
    if gateway.held:
        gates.append(math.inf if gateway.held_until_s is None else gateway.held_until_s)
    start_s = max(at_s for at_s in gates if at_s is not None)
    if not math.isfinite(start_s):
        return shut
    windows = item.ahead // gateway.batch_max // calls
    return evolve(shut, expected_s=start_s + windows * window_s)


# --- words ------------------------------------------------------------------------------------------------------------
def _message(kind: KindSeen) -> str:
    """What was said of its stream; whoever says it begins with the kind."""
    return kind.message.removeprefix(f"{kind.kind}: ")


def _concerned(s: Situation, uid: str | None) -> list[KindSeen]:
    """The kinds whose news matter: all of them for the parent, its own and the parent's for a child."""
    if not uid or uid not in s.children:
        return list(s.kinds)
    return [kind for place, kind in enumerate(s.kinds) if place == 0 or kind.kind == s.children[uid].kind]


def _trouble(actor: ActorSeen, now_s: float) -> str:
    if actor.state != "running":
        return f"is {actor.state}" + (f": {actor.last_error}" if actor.last_error else "")
    if actor.busy_s is not None and now_s - actor.busy_s > WEDGED_S:
        return f"has not come back from a message for {now_s - actor.busy_s:.0f} s"
    return ""


def _unread(actor: ActorSeen) -> str:
    return f"has {actor.mailbox} messages to read" if actor.mailbox else ""


def _late(actor: ActorSeen, due_s: float | None, now_s: float) -> str:
    """What keeps the actor from what it was to do at ``due_s``, which has passed: then no gate holds it, but the actor does."""
    if due_s is None or due_s >= now_s:
        return ""
    return _trouble(actor, now_s) or _unread(actor)


def _parents(s: Situation) -> str:
    return s.kinds[0].kind if s.kinds else "parent"


def _age(at_s: float | None, now_s: float) -> float | None:
    return None if at_s is None else round(now_s - at_s, 3)


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
