"""The demo's summary, computed from the servers' own logs: each promise with its measured figure, kept or broken.

The operator's word counts for nothing here. The API server's object log says what was true and which status stood when
(``truth`` replays it), its access log which writes were asked for; the backend's log says which call arrived when, with
which nodes, and what was executed. Every check can fail: each has a test that plants its violation.

All instants are seconds of CLOCK_MONOTONIC.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from attrs import field, frozen

from .staleness import PATIENCE_S, staleness
from .truth import Counts, NodeMoment, NodeStory, Obj, Story, intervals, tell

OBJECTS, ACCESSES, BACKEND = "objects.jsonl", "accesses.jsonl", "backend.jsonl"
WRONG_MAX = 20  # names in one figure; the logs have the rest


@frozen(kw_only=True)
class Logs:
    """What the servers wrote, in their order: commits, requests to the API server, arrivals and executions of repairs."""

    objects: Sequence[Obj] = ()
    accesses: Sequence[Obj] = ()
    arrivals: Sequence[Obj] = ()
    executions: Sequence[Obj] = ()


@frozen(kw_only=True)
class Terms:
    """What the promises are held against. Seconds.

    ``until_s``: the instant at which the operator was asked to end; statuses are judged up to then. ``stale_max_s``:
    debounce's longest wait, plus a second for the watch and the write. ``delivery_s``: how long a commit may take to
    reach the operator, plus the time a call is on its way; what a call carried is judged with it.
    """

    quota_calls: int
    window_s: float
    batch_max: int
    until_s: float
    stale_max_s: float = 3.0
    delivery_s: float = 0.5
    cooldown_s: float = 300.0
    timeout_s: float | None = None
    max_unhealthy: str | int = "50%"
    operator_agent: str = "muster/"


@frozen(kw_only=True)
class Line:
    """One promise: what was measured, and whether it was kept. ``wrong`` has some of the violations, in words."""

    promise: str
    ok: bool
    figure: str
    values: dict[str, Any]
    wrong: tuple[str, ...] = ()


@frozen(kw_only=True)
class Spread:
    """A latency: how often it was measured, and its middle, its 95th percentile and its longest, in seconds."""

    name: str
    count: int
    p50_s: float = 0.0
    p95_s: float = 0.0
    max_s: float = 0.0


@frozen(kw_only=True)
class Report:
    """All of it. ``fleet`` are plain counts of what happened."""

    lines: tuple[Line, ...]
    latencies: tuple[Spread, ...]
    fleet: dict[str, int] = field(factory=dict)

    @property
    def ok(self) -> bool:
        """Whether every promise was kept."""
        return all(line.ok for line in self.lines)


def read_logs(folder: Path) -> Logs:
    """The logs of both servers, which must have ended (a last line that is cut short is left out)."""
    backend = list(_lines(folder / BACKEND))
    return Logs(
        objects=list(_lines(folder / OBJECTS)),
        accesses=list(_lines(folder / ACCESSES)),
        arrivals=[line for line in backend if line["event"] == "arrival"],
        executions=[line for line in backend if line["event"] == "execution"],
    )


def _lines(file: Path) -> Iterator[Obj]:
    if file.exists():
        for text in file.read_text("utf-8").splitlines():
            try:
                yield json.loads(text)
            except ValueError:
                return


def judge(logs: Logs, terms: Terms) -> Report:
    """Hold the logs against the promises."""
    told = partial(tell, logs.objects, terms.until_s, timeout_s=terms.timeout_s, max_unhealthy=terms.max_unhealthy)
    story, patient = told(), told(patience_s=PATIENCE_S)
    stale = [staleness(*pair, terms.until_s) for pair in zip(story.clusters, patient.clusters, strict=True)]
    arrived = _arrived(logs)
    lines = (
        _truth(story, stale, terms),
        _lanes(story, stale, terms),
        _writes(story, logs, terms),
        _quota(logs, terms),
        _batch(logs, terms),
        _wanted(story, logs, terms),
        _once(story, logs, terms),
        _drain(story, arrived, terms),
        _valve(story, logs, terms),
    )
    incidents = [one for node in story.nodes.values() for one in _incidents(node, terms.until_s)]
    latencies = (
        _spread("failure → status", [wait for one in incidents if (wait := _shown(story, one)) is not None]),
        _spread("failure → batch", [wait for one in incidents if (wait := _asked(one, arrived)) is not None]),
    )
    fleet = {
        "clusters": len(story.clusters),
        "nodes": len(story.nodes),
        "reports": story.reports,
        "failures": sum(1 for one in incidents if _sort(one.moment) == "unhealthy"),
        "silences": sum(1 for one in incidents if _sort(one.moment) == "silent"),
        "calls": len(logs.arrivals),
        "repairs": len(logs.executions),
    }
    return Report(lines=lines, latencies=latencies, fleet=fleet)


# --- counting ---------------------------------------------------------------------------------------------------------
def _truth(story: Story, stale: list[list[float]], terms: Terms) -> Line:
    """At the end every status is the truth; one whose truth has changed within the allowed lag may still be behind."""
    pairs = zip(story.clusters, stale, strict=True)
    alive = [(each, its) for each, its in pairs if each.gone_s is None or each.gone_s > terms.until_s]
    right = behind = 0
    wrong = []
    for cluster, its in alive:
        true = _at(cluster.counts, terms.until_s)
        shown = _at([(each.at_s, each.counts) for each in cluster.statuses], terms.until_s)
        if shown == true:
            right += 1
        elif its and its[-1] <= terms.stale_max_s:
            behind += 1
        else:
            wrong.append(f"{cluster.name} shows {_brief(shown)}, true is {_brief(true)}")
    figure = f"{right} of {len(alive)} statuses equal the truth at the end"
    figure += f", {behind} changed in the last moment" if behind else ""
    values = {"clusters": len(alive), "right": right, "behind": behind, "wrong": len(wrong)}
    return _line("truth", bool(alive) and not wrong, figure, values, wrong)


def _lanes(story: Story, stale: list[list[float]], terms: Terms) -> Line:
    """No status was ever stale for longer than the debounce and a write, whatever was queued for repair."""
    worst = [(max(its, default=0.0), each.name) for each, its in zip(story.clusters, stale, strict=True)]
    worst_s = max((each for each, _ in worst), default=0.0)
    wrong = [f"{name}: {_seconds(each)}" for each, name in worst if each > terms.stale_max_s]
    figure = f"no status was stale for longer than {_seconds(worst_s)} (allowed {terms.stale_max_s:g} s)"
    return _line("lanes", not wrong, figure, {"stalest_s": _round(worst_s), "allowed_s": terms.stale_max_s}, wrong)


def _writes(story: Story, logs: Logs, terms: Terms) -> Line:
    """Each status that the operator wrote differed from the one before: the server commits nothing for an equal one."""
    asked = sum(1 for line in logs.accesses if _is_status_write(line, terms))
    ours = [each for cluster in story.clusters for each in cluster.statuses if _is_operator(each.agent, terms)]
    wrong = []
    for cluster in story.clusters:
        before: Obj | None = None
        for each in cluster.statuses:
            if each.status == before:
                wrong.append(f"{cluster.name} at {each.at_s:.3f}")
            before = each.status
    nothing = max(asked - len(ours), 0) + len(wrong)
    changes = sum(len(cluster.counts) for cluster in story.clusters)
    figure = (
        f"{len(ours)} status writes for {changes} changes of counts and {story.reports} reports, {nothing} for nothing"
    )
    values = {"writes": len(ours), "changes": changes, "reports": story.reports, "for_nothing": nothing}
    return _line("no write for nothing", nothing == 0, figure, values, wrong)


def _is_status_write(line: Obj, terms: Terms) -> bool:
    path = str(line["path"]).partition("?")[0]
    ours = _is_operator(str(line["user_agent"]), terms)
    return (
        ours
        and line["method"] == "PATCH"
        and line["status"] == 200
        and "/clusters/" in path
        and path.endswith("/status")
    )


def _is_operator(agent: str, terms: Terms) -> bool:
    return agent.startswith(terms.operator_agent)


# --- calls ------------------------------------------------------------------------------------------------------------
def _quota(logs: Logs, terms: Terms) -> Line:
    """The fullest window of the quota's length, by arrivals; two that are exactly a window apart are not in one."""
    stamps = sorted(float(line["mono_s"]) for line in logs.arrivals)
    fullest = max((bisect_left(stamps, at + terms.window_s) - place for place, at in enumerate(stamps)), default=0)
    refused = sum(1 for line in logs.arrivals if line["status"] == 429)
    figure = f"{fullest} calls in the fullest window of {terms.window_s:g} s (quota {terms.quota_calls})"
    values = {"fullest": fullest, "quota": terms.quota_calls, "window_s": terms.window_s, "refused": refused}
    return _line("quota", fullest <= terms.quota_calls and not refused, figure, values)


def _batch(logs: Logs, terms: Terms) -> Line:
    """No call has more items than allowed, and no node is in one twice."""
    sizes = [len(line["items"]) for line in logs.arrivals]
    largest, items = max(sizes, default=0), sum(sizes)
    wrong = [
        f"{len(line['items'])} items, {len(names)} different nodes at {line['mono_s']:.3f}"
        for line in logs.arrivals
        if len(names := {each.get("uid") for each in line["items"]}) != len(line["items"])
        or len(line["items"]) > terms.batch_max
    ]
    parents = [len({(each.get("namespace"), each.get("cluster")) for each in line["items"]}) for line in logs.arrivals]
    figure = (
        f"{items} items in {len(sizes)} calls, the largest {largest} (allowed {terms.batch_max}); "
        f"up to {max(parents, default=0)} clusters share one"
    )
    values = {"calls": len(sizes), "items": items, "largest": largest, "allowed": terms.batch_max}
    return _line("batch", not wrong, figure, values | {"clusters_max": max(parents, default=0)}, wrong)


def _wanted(story: Story, logs: Logs, terms: Terms) -> Line:
    """Whoever is in a call was in need of repair at some instant shortly before it arrived, under that cluster."""
    wrong = []
    count = 0
    for at_s, item in _items(logs):
        count += 1
        why = _unwanted(story, item, at_s - terms.delivery_s, at_s)
        if why:
            wrong.append(f"{item.get('kind')}/{item.get('name')} at {at_s:.3f} {why}")
    figure = f"{len(wrong)} of {count} items were of nodes that needed no repair"
    return _line("wanted", not wrong, figure, {"items": count, "unwanted": len(wrong)}, wrong)


def _unwanted(story: Story, item: Obj, from_s: float, to_s: float) -> str:
    node = story.nodes.get(str(item.get("uid")))
    if node is None:
        return "has a uid that no node ever had"
    parent = (str(item.get("namespace")), str(item.get("cluster")))
    moments = node.during(from_s, to_s)
    if any(moment.incident and moment.parent == parent for moment in moments):
        return ""
    if any(moment.incident for moment in moments):
        return f"is not of {'/'.join(parent)}"
    return "was gone" if moments and moments[-1].parent is None else "was healthy"


def _once(story: Story, logs: Logs, terms: Terms) -> Line:
    """A node is repaired once for one incident (and round), and a key is executed once, ever."""
    wrong = []
    keys: set[str] = set()
    last: dict[tuple[str, str], float] = {}
    for line in logs.executions:
        at_s, uid, key = float(line["mono_s"]), str(line["uid"]), str(line["key"])
        if key in keys:
            wrong.append(f"the key of {line['name']} was executed twice")
        keys.add(key)
        node = story.nodes.get(uid)
        moments = node.during(at_s - terms.delivery_s, at_s) if node is not None else []
        incidents = {moment.incident for moment in moments if moment.incident}
        if len(incidents) != 1:
            continue  # it turned just then: which of two incidents this was for, the log cannot tell
        incident = (uid, incidents.pop())
        if at_s - last.get(incident, -math.inf) < terms.cooldown_s:
            wrong.append(f"{line['kind']}/{line['name']} was repaired twice for {incident[1]}")
        last[incident] = at_s
    sent = [str(item.get("key")) for _, item in _items(logs)]
    again = len(sent) - len(set(sent))
    figure = (
        f"{len(set(sent))} repairs asked for, {len(logs.executions)} executed, {len(wrong)} twice; {again} sent again"
    )
    values = {"asked": len(set(sent)), "executed": len(logs.executions), "twice": len(wrong), "sent_again": again}
    return _line("repaired once", not wrong, figure, values, wrong)


# --- what is owed -----------------------------------------------------------------------------------------------------
@frozen
class _Incident:
    """A node in trouble under one parent, from its moment's instant to ``end_s``.

    ``fresh``: it changed the counts, and is not a new one of the same sort upon an old one.
    """

    node: NodeStory
    moment: NodeMoment
    end_s: float
    fresh: bool


def _incidents(node: NodeStory, until_s: float) -> Iterator[_Incident]:
    for at, moment in enumerate(node.moments):
        if moment.incident and moment.parent is not None and moment.at_s < until_s:
            end_s = node.moments[at + 1].at_s if at + 1 < len(node.moments) else until_s
            before = node.moments[at - 1] if at else None
            fresh = before is None or (_sort(before), before.parent) != (_sort(moment), moment.parent)
            yield _Incident(node, moment, min(end_s, until_s), fresh)


def _sort(moment: NodeMoment) -> str:
    return moment.incident.partition("@")[0]


def _arrived(logs: Logs) -> dict[str, list[float]]:
    """By uid: when calls with that node arrived."""
    found: dict[str, list[float]] = {}
    for at_s, item in _items(logs):
        found.setdefault(str(item.get("uid")), []).append(at_s)
    return found


def _drain(story: Story, arrived: dict[str, list[float]], terms: Terms) -> Line:
    """Nobody is forgotten: who may be repaired is in a call after the debounce and the queue's turn at the latest.

    The queue's turn is that of all who were in need together: ceil(calls / R) windows for ceil(N / B) calls.
    """
    owed: list[tuple[float, float, float | None, str]] = []  # from, to, asked, name
    for node in story.nodes.values():
        for one in _incidents(node, terms.until_s):
            cluster = story.of(one.moment.parent, one.moment.at_s) if one.moment.parent is not None else None
            if cluster is None:
                continue
            asked_s = next((at for at in arrived.get(node.uid, ()) if one.moment.at_s <= at <= one.end_s), None)
            end_s = min(one.end_s, cluster.gone_s if cluster.gone_s is not None else one.end_s)
            for from_s, to_s, held in intervals(cluster.held, end_s):
                began_s = max(from_s, one.moment.at_s)
                if not held and to_s > began_s:
                    served = asked_s is not None and asked_s < to_s
                    owed.append((began_s, to_s, asked_s if served else None, f"{node.kind}/{node.name}"))
    together = _together(owed)
    calls = math.ceil(together / terms.batch_max)
    turn_s = terms.window_s * (math.ceil(calls / terms.quota_calls) + 1.5 / terms.quota_calls)
    limit_s = terms.stale_max_s + turn_s
    waits = [(max(0.0, (to_s if asked_s is None else asked_s) - from_s), name) for from_s, to_s, asked_s, name in owed]
    wrong = [f"{name} waited {wait_s:.1f} s" for wait_s, name in waits if wait_s > limit_s]
    worst_s = max((wait_s for wait_s, _ in waits), default=0.0)
    figure = (
        f"nobody in need waited longer than {worst_s:.2f} s for a call (allowed {limit_s:.1f} s, {together} at a time)"
    )
    values = {
        "waited_max_s": _round(worst_s),
        "allowed_s": _round(limit_s),
        "together": together,
        "forgotten": len(wrong),
    }
    return _line("drain", not wrong, figure, values, wrong)


def _together(owed: list[tuple[float, float, float | None, str]]) -> int:
    """How many waited at a time, at most."""
    edges = []
    for from_s, to_s, asked_s, _ in owed:
        edges += [(from_s, 1), (max(from_s, to_s if asked_s is None else asked_s), -1)]
    waiting = most = 0
    for _, step in sorted(edges):
        waiting += step
        most = max(most, waiting)
    return most


def _valve(story: Story, logs: Logs, terms: Terms) -> Line:
    """While too many of a cluster's nodes are in trouble, none is repaired (but those whose call is on its way)."""
    wrong = []
    for at_s, item in _items(logs):
        cluster = story.of((str(item.get("namespace")), str(item.get("cluster"))), at_s)
        if cluster is not None and cluster.held_throughout(at_s - terms.stale_max_s, at_s):
            wrong.append(f"{item.get('kind')}/{item.get('name')} of {cluster.name} at {at_s:.3f}")
    shut = sum(1 for cluster in story.clusters for _, held in cluster.held if held)
    figure = f"repairs were to be held {shut} times, {len(wrong)} items left nevertheless"
    return _line("valve", not wrong, figure, {"held": shut, "left_nevertheless": len(wrong)}, wrong)


# --- latencies --------------------------------------------------------------------------------------------------------
def _shown(story: Story, one: _Incident) -> float | None:
    """Seconds until a status had its kind's count (of unhealthy or unknown) as it was true at or after the failure.

    None where the trouble was over before, or changed no count.
    """
    cluster = story.of(one.moment.parent, one.moment.at_s) if one.moment.parent is not None else None
    if cluster is None or not one.fresh:
        return None
    place = 2 if _sort(one.moment) == "unhealthy" else 3

    def count(counts: Counts | None) -> int | None:
        if counts is None:
            return None
        return next((int(each[place]) for each in counts.kinds if each[0] == one.node.kind), 0)

    began_s = one.moment.at_s
    first = max(bisect_right(cluster.counts, began_s, key=lambda step: step[0]) - 1, 0)
    for status in cluster.statuses[bisect_left(cluster.statuses, began_s, key=lambda each: each.at_s) :]:
        if status.at_s > one.end_s:
            return None
        last = bisect_right(cluster.counts, status.at_s, key=lambda step: step[0])
        said = count(status.counts)
        if any(count(true) == said for _, true in cluster.counts[first:last]):
            return status.at_s - began_s
    return None


def _asked(one: _Incident, arrived: dict[str, list[float]]) -> float | None:
    """Seconds until a call with that node arrived."""
    stamps = arrived.get(one.node.uid, [])
    place = bisect_left(stamps, one.moment.at_s)
    return stamps[place] - one.moment.at_s if place < len(stamps) and stamps[place] <= one.end_s else None


def _spread(name: str, waits: Iterable[float]) -> Spread:
    ordered = sorted(waits)
    if not ordered:
        return Spread(name=name, count=0)

    def rank(share: float) -> float:
        return _round(ordered[max(0, math.ceil(share * len(ordered)) - 1)])

    return Spread(name=name, count=len(ordered), p50_s=rank(0.5), p95_s=rank(0.95), max_s=_round(ordered[-1]))


# --- small things -----------------------------------------------------------------------------------------------------
def _items(logs: Logs) -> Iterator[tuple[float, Obj]]:
    for line in logs.arrivals:
        for item in line["items"]:
            yield float(line["mono_s"]), item


def _at(steps: Sequence[tuple[float, Any]], at_s: float) -> Any:
    place = bisect_right(steps, at_s, key=lambda step: step[0])
    return steps[place - 1][1] if place else None


def _line(promise: str, ok: bool, figure: str, values: dict[str, Any], wrong: Sequence[str] = ()) -> Line:
    return Line(promise=promise, ok=ok, figure=figure, values=values, wrong=tuple(wrong[:WRONG_MAX]))


def _brief(counts: Counts | None) -> str:
    if counts is None:
        return "nothing"
    return f"{counts.healthy} of {counts.total} healthy, {counts.unhealthy} unhealthy, {counts.unknown} unknown"


def _seconds(value_s: float) -> str:
    return f"{value_s:.2f} s"


def _round(value_s: float) -> float:
    return round(value_s, 4)
