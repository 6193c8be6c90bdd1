"""Passive commands about the operator as a whole: is it well, what is there, what does it do, how is it set."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from ...actor import Cell
from ...core.masking import MASK, SECRET_FIELD, masked_text
from ...core.situation import QUIET_S
from ..exit_codes import ExitCode
from .inspection import Inspection, message_in_hand
from .registry import MAX, Answer, Args, Command, Json, Level, argument, option

RECENT_S = 600.0  # a death that long ago is no news
LONG_S = 5.0  # in one message: a turn takes milliseconds, so whoever is in one for so long is stuck
SAMPLE_MIN_S = 0.05
ASKED_FOR = "restart asked for"  # how the death of an actor begins that a person has restarted: no failure
NAMED_MAX = 3  # of those in trouble, in a line
SEE = {
    "alive": "stacks", "ready": "tree", "streams": "watch-status", "workers": "stacks cluster/", "parents": "tree",
    "backend": "batches", "quota": "quota", "paused": "recent", "failures": "failures",
}  # fmt: skip
"""The command that tells more of a check."""


# --- health -----------------------------------------------------------------------------------------------------------
def health(look: Inspection, _args: Args) -> Answer:
    """One line for each thing that may be wrong."""
    checks = list(_checks(look))
    well = all(ok for _, ok, _ in checks)
    rows = [
        {"check": name, "ok": ok, "detail": detail, "see": "" if ok else SEE.get(name, "")}
        for name, ok, detail in checks
    ]
    code = ExitCode.OK if well else ExitCode.UNWELL
    return Answer(value={"well": well, "checks": rows}, exit_code=code.value)


def _checks(look: Inspection) -> Iterator[tuple[str, bool, str]]:
    alive, why_not = look.alive()
    yield "alive", alive, "; ".join(why_not) or "the timers tick"
    reasons = look.system.ready()
    yield "ready", not reasons, "; ".join(reasons) or "every kind is listed, every actor of the tree runs"
    yield _streams(look)
    yield _stuck(look)
    yield _parents(look)
    yield from _backend(look)
    yield _paused(look)
    yield _failures(look)


def _streams(look: Inspection) -> tuple[str, bool, str]:
    """One that is up and has been silent for longer than a live one can be is no better than one that is down."""
    sync: dict[str, Any] = look.statistics("directory").get("sync", {})
    trouble = [
        f"{kind} is down ({each['message'].removeprefix(f'{kind}: ') or 'not listed yet'})"
        for kind, each in sync.items()
        if not each["up"]
    ]
    ages = {kind: float(age_s) for kind, each in look.reader().items() if (age_s := each.get("age_s")) is not None}
    trouble += [
        f"{kind} has been silent for {age_s:.0f} s"
        for kind, age_s in ages.items()
        if age_s > QUIET_S and sync.get(kind, {}).get("up")
    ]
    heard = f", each heard within {max(ages.values()):.0f} s" if ages else ""
    return "streams", bool(sync) and not trouble, "; ".join(trouble) or f"{len(sync)} up{heard}"


def _stuck(look: Inspection) -> tuple[str, bool, str]:
    now_s = look.clock.now()
    stuck = []
    for _, mailbox in look.threads.at_work():
        if isinstance(cell := mailbox.actor, Cell):
            message, for_s = message_in_hand(cell, now_s)
            if for_s >= LONG_S:
                stuck.append(f"{cell.name} has been in {message} for {for_s:.0f} s")
    lost = look.threads.given_up()
    stuck += [
        f"a thread was given up in {name}, in {message} for {now_s - since_s:.0f} s"
        for _, name, message, since_s in lost
    ]
    leaked = int(str(look.threads.statistics().get("leaked_threads", 0)))
    if leaked > len(lost):
        stuck.append(f"{leaked - len(lost)} given up before")
    return "workers", not stuck, "; ".join(stuck) or "nobody is stuck"


def _parents(look: Inspection) -> tuple[str, bool, str]:
    states: Counter[str] = Counter()
    named: dict[str, list[str]] = {}
    for name, cell in look.clusters():
        state = cell.state
        states[state] += 1
        if state != "running" and len(some := named.setdefault(state, [])) < NAMED_MAX:
            some.append(name.removeprefix("cluster/"))
    asleep = max(0, len(look.system.store.parents) - states.total())
    parts = [
        f"{count} {state}" + (f" ({', '.join(named[state])}{', …' * (count > NAMED_MAX)})" if state in named else "")
        for state, count in sorted(states.items())
    ]
    well = states["down"] + states["quarantined"] == 0
    return "parents", well, f"{', '.join(parts) or 'none awake'}, {asleep} asleep"


def _paused(look: Inspection) -> tuple[str, bool, str]:
    now_s = look.clock.now()
    left_s = {str(key): until_s - now_s for key, until_s in list(look.system.pauses.items()) if until_s > now_s}
    named = [f"{name} for {for_s:.0f} s more" for name, for_s in list(left_s.items())[:NAMED_MAX]]
    more = f" and {len(left_s) - NAMED_MAX} others" if len(left_s) > NAMED_MAX else ""
    return "paused", not left_s, f"by command: {', '.join(named)}{more}" if left_s else "no parent, by command"


def _failures(look: Inspection) -> tuple[str, bool, str]:
    wall_s = look.clock.wall()
    recent = [
        each
        for _, each in look.memory.failures_copied()
        if wall_s - each.last_wall_s < RECENT_S and not each.error.startswith(ASKED_FOR)
    ]
    if not recent:
        return "failures", True, f"none in {RECENT_S / 60:.0f} min"
    last = recent[-1]
    of = "" if len(recent) == 1 else f" of {len(recent)} kinds"
    text = f"{sum(each.count for each in recent)} deaths{of}, the last {wall_s - last.last_wall_s:.0f} s ago"
    return "failures", False, f"{text}: {masked_text(last.error)[:100]}"


def _backend(look: Inspection) -> Iterator[tuple[str, bool, str]]:
    gateway = look.statistics("gateway")
    if "ledger" not in gateway:
        yield "backend", False, "the gateway is down"
        return
    ledger, queue = gateway["ledger"], gateway["queue"]
    trouble = []
    if not gateway["reachable"]:
        trouble.append("it does not answer")
    if gateway["breaker"] != "closed":
        trouble.append(f"the breaker is {gateway['breaker']}")
    if gateway["pause_s"] > 0:
        trouble.append(f"throttled, {gateway['pause_s']:.1f} s left")
    yield "backend", not trouble, "; ".join(trouble) or "answers, as far as was asked"
    limited = (
        ""
        if ledger["ceiling_for_s"] <= 0
        else f", limited to {ledger['ceiling']} calls for {ledger['ceiling_for_s']:.0f} s more"
    )
    cold = ", cold start" if ledger["cold"] else ""
    waits = sum(queue.get(place, 0) for place in ("ready", "waiting", "blocked"))
    text = f"{ledger['free']} of {ledger['quota']} free{cold}{limited}; {waits} repairs wait"
    if queue["ready"]:
        text += f", the longest for {queue['oldest_wait_s']:.0f} s"
        if ledger["next_free_s"]:
            text += f"; the next is free in {ledger['next_free_s']:.0f} s"
    yield "quota", not limited, text


# --- tree -------------------------------------------------------------------------------------------------------------
def tree(look: Inspection, args: Args) -> Json:
    """The static actors, then the parents' in short; those in trouble by name."""
    now_s, shown = look.clock.now(), args.number("max")
    restarts, every = args.flag("restarts"), args.flag("all")
    states: Counter[str] = Counter()
    left = -shown

    def of_parents() -> Iterator[tuple[bool, int, str, Cell]]:
        nonlocal left
        for name, cell in look.clusters():
            state, incarnation = cell.state, cell.incarnation
            states[state] += 1
            if every or state != "running" or (restarts and incarnation > 1):
                left += 1
                yield state == "running", -incarnation, name, cell

    chosen = heapq.nsmallest(shown, of_parents())  # nothing is kept of the others: a garbage collection would cost more
    static = [(name, cell) for name in list(look.system.refs) if (cell := look.static(name)) is not None]
    static = [each for each in static if not restarts or each[1].incarnation > 1]
    down = any(cell.state != "running" for _, cell in static) or any(not running for running, *_ in chosen)
    due = _due(look) if down else {}
    answer: dict[str, Json] = {
        "actors": [_node(name, cell, now_s, due) for name, cell in static],
        "clusters": {**dict(sorted(states.items())), "asleep": max(0, len(look.system.store.parents) - states.total())},
        "clusters_shown": [_node(name, cell, now_s, due) for _, _, name, cell in chosen],
    }
    if left > 0:
        answer["left_out"] = left
    return answer


def _due(look: Inspection) -> dict[str, float]:
    """When who is down is tried again, by name: its supervisor has the timer."""
    return {key.split()[1]: due_s for due_s, _, _, key, _ in look.timers() if key.startswith(("restart ", "probe "))}


def _node(name: str, cell: Cell, now_s: float, due: Mapping[str, float]) -> dict[str, Any]:
    last = cell.last_down.error if cell.last_down is not None else ""
    below_root = name != "root" and not name.startswith("cluster/")
    return {
        "actor": f"  {name}" if below_root else name, "state": cell.state, "incarnation": cell.incarnation,
        "restarts": max(0, cell.incarnation - 1), "up_s": max(0.0, now_s - cell.started_s) if cell.state == "running" else None,
        "again_in_s": due.get(name), "mailbox": cell.actor_inbox.depth(), "last_error": last[:200],
    }  # fmt: skip


# --- top --------------------------------------------------------------------------------------------------------------
TOP_BY = ("depth", "rate", "handled", "restarts", "busy")


def top(look: Inspection, args: Args) -> Json:
    """Who has most mail, or does most."""
    now_s = look.clock.now()
    since_s, before = look.baseline(args.real("window"))
    window_s = now_s - since_s
    part = 1 / window_s if window_s >= SAMPLE_MIN_S else 0.0  # there is no rate yet, just after the start
    place = TOP_BY.index(args.text("by"))
    count_all = waiting = 0
    total = 0.0

    def every() -> Iterator[tuple[float, float, float, str, Cell]]:
        nonlocal count_all, total, waiting
        for name, cell in look.cells():
            depth, handled = cell.actor_inbox.depth(), cell.handled_count
            rate = (handled - before.get(name, 0)) * part
            count_all, total, waiting = count_all + 1, total + rate, waiting + depth
            since_s = cell.busy_since_s
            busy_s = 0.0 if since_s is None else now_s - since_s
            yield -(depth, rate, handled, cell.incarnation, busy_s)[place], -busy_s, -rate, name, cell

    rows = []
    for _, _, minus_rate, name, cell in heapq.nsmallest(args.number("max"), every()):
        message, for_s = message_in_hand(cell, now_s)
        rows.append({
            "actor": name, "state": cell.state, "mailbox": cell.actor_inbox.depth(), "per_second": round(-minus_rate, 1),
            "handled": cell.handled_count, "restarts": max(0, cell.incarnation - 1), "in_hand": message,
            "in_hand_s": for_s if message else None,
        })  # fmt: skip
    sums = {"actors": count_all, "per_second": round(total, 1), "window_s": window_s, "waiting": waiting}
    threads = dict(look.threads.statistics())
    threads["busy"] = len(look.threads.at_work())
    threads.pop("turns", None)  # `in_hand` of the actors says more
    return {"sums": sums, "threads": threads, "top": rows}


# --- timers -----------------------------------------------------------------------------------------------------------
def timers(look: Inspection, args: Args) -> Json:
    """The next to go off."""
    wanted = args.text("actor")
    found = [each for each in look.timers() if not wanted or each[1] == wanted]
    rows = [
        {"due_s": round(due_s, 3), "actor": actor, "incarnation": incarnation, "timer": key, "message": message}
        for due_s, actor, incarnation, key, message in heapq.nsmallest(args.number("max"), found)
    ]
    return {"count": len(found), "timers": rows}


# --- how it is set ----------------------------------------------------------------------------------------------------
def config(look: Inspection, args: Args) -> Json:
    """What is in force, and where from."""
    part = args.text("part")
    rows = []
    for name, value, origin in look.settings():
        if part in name:
            shown = MASK if SECRET_FIELD.search(name) and value else masked_text(value)
            rows.append({"setting": name, "value": shown, "origin": origin})
    return {"settings": rows}


def version(look: Inspection, _args: Args) -> Json:
    """Of this and of what it stands on."""
    return {**look.version, "running_s": look.clock.now() - look.began_s}


COMMANDS = (
    Command(
        name="health", level=Level.PASSIVE, group="the operator", run=health,
        text="One line for each thing that may be wrong. For scripts: exit code 0 where all is well, else 13.",
    ),
    Command(
        name="tree", level=Level.PASSIVE, group="the operator", run=tree,
        text=(
            "The supervision tree: state, incarnation, restarts, uptime, when a restart is due. Of the "
            "parents' actors those in trouble."
        ),
        arguments=(
            option("restarts", text="Only who has been restarted."),
            option("all", text="Every parent's actor that is awake."),
            MAX,
        ),
    ),
    Command(
        name="top", level=Level.PASSIVE, group="the operator", run=top,
        text="The actors with most mail or most work, and what each has in hand. Rates are over the last window.",
        arguments=(
            option("by", "WHAT", "depth, rate, handled, restarts, or busy: how long it is in its message.", default="depth",
                   choices=TOP_BY),
            option("window", "DURATION", "Rates over at least so long.", form="duration", default="2s", low=0.1, high=60.0),
            MAX,
        ),
        more="`per_second` is over the window (`window_s` says how long it was), `handled` since the operator started.",
    ),
    Command(
        name="timers", level=Level.PASSIVE, group="the operator", run=timers,
        text="Timers that are set: whose, which message each brings, and when.",
        arguments=(argument("actor", "ACTOR", "Only that actor's.", required=False, completes="actor"), MAX),
    ),
    Command(
        name="config", level=Level.PASSIVE, group="the operator", run=config,
        text="Every setting in force, and where each came from. What looks like a credential is masked.",
        arguments=(argument("part", "PART", "Only those with this in their name.", required=False),),
    ),
    Command(
        name="version", level=Level.PASSIVE, group="the operator", run=version,
        text="The version of the running operator and of what it stands on.",
    ),
)  # fmt: skip
