"""What the actors, the records and the dispatcher publish, under the keys that ``metric_table`` has: read at a scrape only.

Nothing here asks an actor or takes a lock that one holds: these are counters and lengths that lie about anyway. One scrape
costs O(actors + parents).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from ..core.model import State
from ..core.records import RecordStore, SharedRecords
from ..tree import System
from .metrics import actor_class


def snapshot(system: System, threads: Mapping[str, Any]) -> dict[str, Any]:
    """The statistics of a running tree; ``threads``: those of its dispatcher, {} where it has none."""
    cells = dict(system.cells())
    found: dict[str, Any] = {"ready": not system.ready()}
    found |= _mail(system.mailboxes())
    found |= _records(system.store)
    gateway, status = cells.get("gateway", {}), cells.get("status", {})
    found |= _directory(cells.get("directory", {}), len(system.store.parents))
    found |= _gateway(gateway)
    found |= _threads(threads)
    queued, added = found["queue_depth"], {}
    if "queue" in gateway:
        queued["repairs"] = found["queued_items"]
        added["repairs"] = gateway.get("counts", {}).get("items_added", 0)
        ages_s = gateway.get("calls_age_s", [])
        for key, value in (("unfinished_s", sum(ages_s)), ("longest_s", max(ages_s, default=0.0))):
            found[key] = {**found.get(key, {}), "repairs": value}
    if "waiting" in status:
        found["statuses_waiting"] = queued["status"] = status["waiting"]
        added["status"] = status.get("wanted", 0)
    found["queue_adds"] = added
    return found


def _mail(mailboxes: Iterable[tuple[str, int]]) -> dict[str, object]:
    actors: dict[str, int] = {}
    depths: dict[str, int] = {}
    fullest: dict[str, int] = {}
    parents = 0
    classes: dict[str, str] = {}  # most names are parents', and alike up to their first "/"
    for name, depth in mailboxes:
        head = name.partition("/")[0]
        actor = classes.get(head) or classes.setdefault(head, actor_class(head))
        actors[actor] = actors.get(actor, 0) + 1
        depths[actor] = depths.get(actor, 0) + depth
        fullest[actor] = max(fullest.get(actor, 0), depth)
        parents += actor == "cluster" and depth > 0
    return {
        "actors": actors, "mailbox_depth": depths, "mailbox_depth_max": fullest, "queue_depth": {"cluster": parents},
    }  # fmt: skip


def _directory(directory: Mapping[str, Any], parents: int) -> dict[str, object]:
    if "clusters" not in directory:
        return {}
    asleep = max(0, parents - sum(directory["clusters"].values()))
    return {
        "parents": {**directory["clusters"], "asleep": asleep},
        "synced": {kind: float(state["synced"]) for kind, state in directory.get("sync", {}).items()},
    }


def _gateway(gateway: Mapping[str, Any]) -> dict[str, object]:
    if "queue" not in gateway:
        return {}
    queue, ledger = gateway["queue"], gateway["ledger"]
    retries = queue["ready_retries"]
    return {
        "queued_items": queue["ready"] + queue["waiting"] + queue["blocked"],
        "queue_places": {
            "new": max(0, queue["ready"] - retries), "retry": retries, "later": queue["waiting"],
            "blocked": queue["blocked"], "flying": queue["in_flight"],
        },
        "queue_parents": queue["parents"],
        "oldest_item_s": queue["oldest_wait_s"],
        "calls_in_flight": gateway["calls_in_flight"],
        "reachable": gateway["reachable"],
        "fleet_held": gateway["held"] != "",
        "breaker_open": gateway["breaker"] != "closed",
        "pause_s": gateway["pause_s"],
        "slots_max": ledger["max"],
        "slots_free": ledger["free"],
        "slots_held": {"open": ledger["open"], "spent": ledger["spent"]},
        "quota_cold": ledger["cold"],
    }  # fmt: skip


def _threads(threads: Mapping[str, Any]) -> dict[str, object]:
    if "workers" not in threads:
        return {}
    turns = threads["turns"]
    at_parents_s = [turn_s for name, turn_s in turns if name.startswith("cluster/")]
    return {
        "workers": threads["workers"],
        "workers_busy": len(turns),
        "workers_backlog": threads["ready"],
        "turn_oldest_s": max((turn_s for _, turn_s in turns), default=0.0),
        "timers": threads["timers"],
        "threads_leaked": threads["leaked_threads"],
        "pool_waiting": {name: pool["waiting"] for name, pool in threads["pools"].items()},
        "active_workers": {"cluster": len(at_parents_s)},
        "unfinished_s": {"cluster": sum(at_parents_s)},
        "longest_s": {"cluster": max(at_parents_s, default=0.0)},
    }


def _records(store: RecordStore) -> dict[str, Any]:
    """Summed over the statuses as they stand on the server, each child once: O(parents), and asleep ones count, too.

    Distinct conditions are few, so they are tallied first and looked at afterwards: half the time at 10,000 parents.
    """
    states = [state.value for state in State]
    exhausted = 0
    children = {kind: dict.fromkeys(states, 0) for kind in store.children}
    tally: Counter[tuple[str, str, str]] = Counter()
    for parent in store.all_parents():
        status = parent.status
        try:
            for each in status.get("kinds", ()):
                sums = children[each["kind"]]
                for state in states:
                    sums[state] += each[state]
            exhausted += len(status.get("exhausted", ()))
            tally.update([(each["type"], each["status"], each["reason"]) for each in status.get("conditions", ())])
        except (KeyError, TypeError):
            continue  # not as we write it: somebody else's, until the next write
    for kind, records in store.children.items():
        if isinstance(records, SharedRecords):
            _less_guests(children[kind], kind, records, store)
    conditions = {name: dict.fromkeys(("True", "False", "Unknown"), 0) for name in CONDITIONS}
    for (name, value, _), count in tally.items():
        if value in conditions.get(name, ()):
            conditions[name][value] += count
    held = sum(count for (_, _, reason), count in tally.items() if reason == "TooManyUnhealthy")
    return {"children": children, "conditions": conditions, "valve_closed": held, "exhausted": exhausted}


def _less_guests(sums: dict[str, int], kind: str, records: SharedRecords, store: RecordStore) -> None:
    """Take guests out of the sums: each child is in them with its first parent (if that is not there, with none, as any is).

    A status may be a moment older than the records.
    """
    for key, guests in list(records.guests.items()):
        parent = store.parents.get(key) if key is not None else None
        kinds = parent.status.get("kinds") if parent is not None else None
        if isinstance(kinds, list) and any(isinstance(each, dict) and each.get("kind") == kind for each in kinds):
            for state, count in list(guests.items()):
                sums[state.value] = max(0, sums[state.value] - count)


CONDITIONS = ("Ready", "Available", "RemediationAllowed", "BackendReachable", "Paused", "RepairsExhausted")
"""Those that a reconcile puts. A status may hold others of other writers, and their names are no business of a label."""
