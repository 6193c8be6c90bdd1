"""Passive commands about the work: the quota, the queue, the calls, the streams, and what went wrong."""

from __future__ import annotations

import heapq
from typing import Any

from ...core.events import DeadLettered
from ...core.masking import masked_text
from .inspection import Inspection, short_files
from .registry import MAX, Args, Command, CommandError, Json, Level, argument, option

SPARK_CELLS = 20
_SPARKS = " ▁▂▃▄▅▆▇█"


# --- quota ------------------------------------------------------------------------------------------------------------
def quota(look: Inspection, _args: Args) -> Json:
    """The slots, and what holds calls back beside them."""
    gateway = look.statistics("gateway")
    now_s, window_s = look.clock.now(), look.system.ledger.quota.window_s
    ledger = dict(gateway.get("ledger") or look.system.ledger.statistics(now_s))
    sends = [at_s for at_s in reversed(list(look.memory.sends)) if now_s - at_s <= window_s]
    cells = [0] * SPARK_CELLS
    for at_s in sends:
        cells[min(SPARK_CELLS - 1, int((1 - (now_s - at_s) / window_s) * SPARK_CELLS))] += 1
    if ledger["ceiling_for_s"] <= 0:
        ledger["ceiling_for_s"] = None  # no person has set one
    return {
        "slots": {**ledger, "held": ledger["open"] + ledger["spent"]},
        "holds": {
            "pause_s": gateway.get("pause_s", 0.0), "breaker": gateway.get("breaker", "the gateway is down"),
            "calls_in_flight": gateway.get("calls_in_flight", 0), "draining": gateway.get("draining", False),
        },
        "last_window": {"window_s": window_s, "calls": len(sends), "sparkline": spark(cells)},
        "counts": gateway.get("counts", {}),
    }  # fmt: skip


def spark(numbers: list[int]) -> str:
    """Numbers as a line of bars."""
    most = max([*numbers, 1])
    return "".join(_SPARKS[-(-number * (len(_SPARKS) - 1) // most)] for number in numbers)


# --- queue ------------------------------------------------------------------------------------------------------------
def queue(look: Inspection, args: Args) -> Json:
    """Who waits for a call."""
    gateway = look.behaviour("gateway")
    if gateway is None:
        raise CommandError(
            "the gateway is down", "`tree` says when it is restarted; the parents ask again by themselves"
        )
    now_s, count = look.clock.now(), args.number("max")
    sums = gateway.queue.statistics(now_s, top=0)
    sums.pop("parents_top")
    if args.text("by") == "parent":
        some = (each for each in gateway.queue.by_parent() if each[1] or each[2])
        wants = heapq.nlargest(count, some, key=lambda each: (each[1], str(each[0])))
        rows = [
            {"parent": str(key), "wanted": wanted, "in_flight": flying, "waiting": max(0, wanted - flying)}
            for key, wanted, flying in wants
        ]
        return {"sums": sums, "parents": rows}
    ledger = look.system.ledger
    free = ledger.statistics(now_s)
    batch_max = look.system.settings.gateway.batch_max
    rows = []
    for position, (item, ready_s, attempts) in enumerate(gateway.queue.longest_ready(count)):
        rows.append({
            "position": position + 1, "parent": str(item.parent), "kind": item.kind,
            "name": str(item.payload.get("name", item.uid)), "waits_s": max(0.0, now_s - ready_s),
            "leaves_in_s": _leaves_in_s(position // batch_max, free, ledger.quota.window_s / ledger.quota.calls),
            "attempts": attempts, "incident": item.incident, "key": item.key,
        })  # fmt: skip
    return {"sums": sums, "ready": rows}


def _leaves_in_s(calls_before: int, free: dict[str, Any], interval_s: float) -> float | None:
    """An estimate: so many calls leave first, and slots come back one by one. None while only an answer can tell."""
    if calls_before < free["free"]:
        return 0.0
    if free["next_free_s"] is None:
        return None
    return float(free["next_free_s"]) + (calls_before - int(free["free"])) * interval_s


# --- batches ----------------------------------------------------------------------------------------------------------
def batches(look: Inspection, args: Args) -> Json:
    """The last calls, or one with its items."""
    wanted = args.text("call")
    calls = list(look.memory.calls)
    if wanted:
        found = [each for each in calls if each.call.id.startswith(wanted)]
        if len(found) != 1:
            raise CommandError(
                f"{len(found)} of the last {len(calls)} calls have a name that begins with {wanted[:60]!r}",
                "`batches` lists them" if not found else "give more of the name",
            )
        return {"call": _call_row(look, found[0]), "items": found[0].items()}
    rows = [_call_row(look, each) for each in reversed(calls[-args.number("max") :])]
    return {"in_flight": sum(each.ended_s is None for each in calls), "kept": len(calls), "calls": rows}


def _call_row(look: Inspection, seen: Any) -> dict[str, Any]:
    outcomes: dict[str, int] = {}
    for result in seen.reply.results.values() if seen.reply is not None else ():
        outcomes[result.status] = outcomes.get(result.status, 0) + 1
    ended_s = seen.ended_s if seen.ended_s is not None else look.clock.now()
    return {
        "call": seen.call.id, "outcome": seen.outcome, "items": len(seen.call.items),
        "parents": len({item.parent for item in seen.call.items}), "took_s": round(ended_s - seen.sent_s, 3),
        "sent_at": seen.sent_wall_s, "results": ", ".join(f"{count} {name}" for name, count in sorted(outcomes.items())),
        "error": masked_text(str(seen.error))[:300] if seen.error is not None else "",
    }  # fmt: skip


# --- streams ----------------------------------------------------------------------------------------------------------
def watch_status(look: Inspection, _args: Args) -> Json:
    """One row for each kind."""
    wall_s, read = look.clock.wall(), look.reader()
    rows = []
    for kind in look.system.fleet.kinds:
        watcher = look.statistics(f"watcher/{kind.kind}")
        stream, reader = look.memory.stream(kind.kind), read.get(kind.kind, {})
        rows.append({
            "kind": kind.kind, "up": watcher.get("up", False), "synced": watcher.get("synced", False),
            "records": watcher.get("records", 0), "version": reader.get("version"),
            "heard_s": reader.get("age_s"), "since_at": stream.since_wall_s or None,
            "lists": stream.lists, "list_reason": stream.list_reason,
            "list_age_s": wall_s - stream.list_wall_s if stream.lists else None, "missing": stream.missing,
            "downs": stream.downs, "down_reason": stream.down_reason, "down_message": masked_text(stream.down_message)[:300],
            "unreadable": stream.refused, "unreadable_last": stream.refused_place[:300],
            "audit_differences": stream.audit_differences, "received": watcher.get("received", 0),
            "skipped": watcher.get("skipped", 0), "subscribers": watcher.get("subscribers", 0),
        })  # fmt: skip
    return {"kinds": rows}


# --- what went wrong --------------------------------------------------------------------------------------------------
def failures(look: Inspection, args: Args) -> Json:
    """Deaths of actors, those of one trouble together."""
    count = args.number("count")
    latest = look.memory.failures_copied()[::-1][:count]
    rows = [
        {
            "count": each.count, "first_at": each.first_wall_s, "last_at": each.last_wall_s, "actors": ", ".join(each.actors),
            "poison": each.poison, "error": masked_text(each.error)[:300], "fingerprint": name,
        }
        for name, each in latest
    ]  # fmt: skip
    traces = [short_files(masked_text(each.traceback)) for _, each in latest[: args.number("traces")]]
    return {"failures": rows, "tracebacks": [trace for trace in traces if trace]}


def dead_letters(look: Inspection, args: Args) -> Json:
    """Messages that reached nobody, or killed who had them."""
    counts = look.memory.dead_letter_sums()
    rows = []
    for happened in list(look.memory.dead_letters)[::-1][: args.number("max")]:
        assert isinstance(happened.fact, DeadLettered)
        fact = happened.fact
        rows.append({
            "at": happened.wall_s, "actor": fact.actor, "message": fact.message, "reason": fact.reason,
            "fingerprint": fact.fingerprint,
        })  # fmt: skip
    sums = [{"reason": reason, "message": message, "count": count} for (reason, message), count in counts[:50]]
    return {"sums": sums, "latest": rows}


def recent(look: Inspection, args: Args) -> Json:
    """The last things that are not routine."""
    rows = []
    for happened in list(look.memory.latest)[::-1][: args.number("max")]:
        fact = happened.fact
        fields = {name: value for name, value in _fields(fact).items() if name != "traceback"}
        text = " ".join(f"{name}={_told(value)}" for name, value in fields.items() if value not in ("", None))
        rows.append(
            {
                "at": happened.wall_s,
                "level": fact.level,
                "fact": type(fact).__name__,
                "fields": masked_text(text)[:400],
            }
        )
    return {"latest": rows}


def _told(value: Any) -> Any:
    return f"{value:.3g}" if isinstance(value, float) else value


def _fields(fact: Any) -> dict[str, Any]:
    return {each.name: getattr(fact, each.name) for each in type(fact).__attrs_attrs__}


COMMANDS = (
    Command(
        name="quota", level=Level.PASSIVE, group="the work", run=quota,
        text=(
            "Slots free and held, when the next one is free, pause and breaker, and the calls of the last "
            "window as a sparkline."
        ),
    ),
    Command(
        name="queue", level=Level.PASSIVE, group="the work", run=queue,
        text=(
            "The repairs that wait: position, wait so far, when each is expected to leave. Or how many each "
            "parent wants."
        ),
        arguments=(option("by", "WHAT", "age or parent.", default="age", choices=("age", "parent")), MAX),
        more="`position` is by how long each has been ready. Parents take turns, so one of a parent that wants little leaves "
             "earlier than its position says. `leaves_in_s` is an estimate; null while only an answer can tell.",
    ),
    Command(
        name="batches", level=Level.PASSIVE, group="the work", run=batches,
        text=(
            "Calls in flight and the last hundred; with CALL (or how it begins) that one, item by item with "
            "its outcome and key."
        ),
        arguments=(argument("call", "CALL", required=False), MAX),
    ),
    Command(
        name="watch-status", level=Level.PASSIVE, group="the work", run=watch_status,
        text="Per kind: version, age of the last frame, last list and why, gaps, objects that could not be read.",
        more=(
            "`heard_s` grows to about a minute on a quiet stream (bookmarks come that often); beyond that"
            " the stream is silent."
        ),
    ),
    Command(
        name="failures", level=Level.PASSIVE, group="what went wrong", run=failures,
        text="Deaths of actors, grouped by their fingerprint (class, error, place), the latest first, with tracebacks.",
        arguments=(
            argument("count", "COUNT", required=False, form="number", default="10", low=1, high=200),
            option("traces", "N", "So many tracebacks.", form="number", default="1", low=0, high=20),
        ),
    ),
    Command(
        name="dead-letters", level=Level.PASSIVE, group="what went wrong", run=dead_letters,
        text="Messages that reached nobody, or killed who had them: by reason and class, and the latest.",
        arguments=(MAX,),
    ),
    Command(
        name="recent", level=Level.PASSIVE, group="what went wrong", run=recent,
        text="The last things that are not routine: restarts, quarantines, valves, throttles, breaker, commands, tapes.",
        arguments=(MAX,),
    ),
)  # fmt: skip
