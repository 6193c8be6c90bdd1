"""The page of one run: status against truth, quota, queues, restarts and faults over time, and the breaches on all of them.

One self-contained document. The charts are by ``page_charts``, the looks by ``page_style``; here is what is shown, and where.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any

from attrs import fields

from ..core.quantity import Quota
from .court import Breach
from .page_charts import Axis, Scale, band, dots, legend, plot, row, rows, steps
from .page_style import page, tiles
from .script import Script
from .timeline import ClusterTracks, FaultRow, Mark, Track, View

__all__ = ["differences", "run_page", "window"]

SIGNS = {
    "crashed": "✕",
    "restarted": "▲",
    "quarantined": "■",
    "released": "△",
    "wedged": "◆",
    "started": "▲",
    "ended": "✕",
}
STEPS_SHOWN = 400


def run_page(view: View, command: str) -> str:
    """The document. ``command`` repeats the run."""
    result = view.result
    axis = Axis(view.end_s, view.healed_s, tuple(breach.at_s for breach in result.breaches))
    word, kind = ("every promise was kept", "ok") if result.passed else ("a promise was broken", "bad")
    nodes = sum(compute + storage for _, compute, storage in view.script.clusters)
    restarts = sum(mark.what == "restarted" for mark in view.marks)
    parts = [
        f'<h1>Simulation, seed {result.seed} <span class="verdict {kind}">{word}</span></h1>',
        '<p class="soft">The operator in virtual time against model servers, under faults drawn from the seed.</p>',
        tiles(
            ("virtual time", f"{result.virtual_s:g} s"), ("clusters", len(view.script.clusters)), ("nodes", nodes),
            ("faults", len(view.faults)), ("status writes", result.writes), ("calls", result.calls),
            ("repairs", result.repairs), ("actor restarts", restarts), ("processes", len(view.lives)),
            ("breaches", len(result.breaches)),
        ),
        _breaches(result.breaches),
        f"<h2>Repeat it</h2><pre>{escape(command)}</pre>",
        _story(view) if not result.passed else "",
        _key(view),
        _faults(view, axis),
        _clusters(view, axis),
        _quota(view, axis),
        _actors(view, axis),
        _story(view) if result.passed else "",
        _steps(view),
        _settings(view.script),
    ]  # fmt: skip
    return page(f"Simulation, seed {result.seed}: {word}", "\n".join(part for part in parts if part))


# --- words ------------------------------------------------------------------------------------------------------------
def _breaches(breaches: tuple[Breach, ...]) -> str:
    if not breaches:
        return ""
    lines = "".join(
        f"<li><b>{escape(each.oracle)}</b> ({escape(each.promise)}) at {each.at_s:.3f} s<br>{escape(each.text)}</li>"
        for each in breaches
    )
    return f'<h2 class="bad-text">Broken</h2><ul class="breaches">{lines}</ul>'


def _story(view: View) -> str:
    text = _lines(view.story)
    if view.result.passed:
        return f"<h2>The last steps</h2><details><summary>{len(view.story)} lines</summary>{text}</details>"
    return f"<h2>The last steps before it</h2>{text}"


def _lines(lines: Iterable[str]) -> str:
    """One below the other; what does not fit hangs below the instant's column."""
    return f'<div class="lines">{"".join(f"<div>{escape(line.strip())}</div>" for line in lines)}</div>'


def _key(view: View) -> str:
    healing = f"healing from {view.healed_s:g} s on: no fault holds any more"
    entries = [("k-heal", healing)] if view.healed_s < view.end_s else []
    entries += [("k-breach", "a promise is broken")] if view.result.breaches else []
    rest = view.result.virtual_s - view.end_s
    quiet = f" After {view.end_s:.0f} s nothing moved any more, for {rest:.0f} s." if rest > 1 else ""
    return f"<h2>Pictures</h2><p>All over the same virtual seconds.{quiet}</p>{legend(*entries) if entries else ''}"


def _steps(view: View) -> str:
    count = len(view.script.steps)
    lines = [step.line() for step in view.script.steps[:STEPS_SHOWN]]
    lines += [f"… and {count - STEPS_SHOWN} more"] if count > STEPS_SHOWN else []
    summary = f"{count} things that users, nodes and faults did"
    return f"<h2>All steps</h2><details><summary>{summary}</summary>{_lines(lines)}</details>"


def _settings(script: Script) -> str:
    settings, policy = script.settings, script.settings.policy
    pairs: list[tuple[str, Any]] = [(name, f"{n} compute, {s} storage") for name, n, s in script.clusters]
    pairs += [("faults last", f"{script.chaos_s:g} s"), ("left broken at the end", script.leftover or "nothing")]
    pairs += [("heartbeats", f"every {script.beat_s:g} s" if script.beat_s else "none")]
    pairs += [(each.name, getattr(settings, each.name)) for each in fields(type(settings)) if each.name != "policy"]
    pairs += [(f"of a Cluster: {each.name}", getattr(policy, each.name)) for each in fields(type(policy))]
    inside = "".join(
        f"<div><dt>{escape(name.replace('_', ' '))}</dt><dd>{escape(str(value))}</dd></div>" for name, value in pairs
    )
    return f'<h2>Settings of the run</h2><dl class="settings">{inside}</dl>'


# --- pictures ---------------------------------------------------------------------------------------------------------
def _faults(view: View, axis: Axis) -> str:
    if not view.faults:
        return "<h2>Faults</h2><p>None: users and nodes only.</p>"
    inside = [_fault(each, axis) for each in view.faults]
    key = legend(("k-fault", "the fault holds"), ("k-point", "over at once"), ("k-strike", "strikes at its moment"))
    text = f'<h2>Faults</h2>{key}<div class="card">{rows("faults", axis, inside)}</div>'
    if view.impaired:
        drawn = [row(escape(part), axis, band("impaired", spans, axis)) for part, spans in view.impaired.items()]
        text += (
            "<h3>Impaired parts</h3><p>What did not work, or was still allowed to recover: less is asked there meanwhile.</p>"
            f'<div class="card">{rows("impaired", axis, drawn)}</div>'
        )
    return text


def _fault(each: FaultRow, axis: Axis) -> str:
    drawn = "".join(
        f'<g data-bar="{each.id}"><title>{escape(text)}</title>{band("fault", [(begin_s, end_s)], axis)}</g>'
        for begin_s, end_s, text in each.bars if end_s > begin_s
    )  # fmt: skip
    drawn += dots("point", [(begin_s, 50, text) for begin_s, end_s, text in each.bars if end_s <= begin_s], axis)
    drawn += dots("strike", [(at_s, 50, f"{each.id} struck at {at_s:.3f} s") for at_s in each.struck], axis)
    return row(f"<b>{each.id}</b>{escape(each.name)}", axis, drawn)


def _clusters(view: View, axis: Axis) -> str:
    key = legend(
        ("k-true", "healthy, in truth"), ("k-said", "healthy, as written"), ("k-all", "nodes, in truth"),
        ("k-said-all", "nodes, as written"), ("k-differs", "healthy as written is not the truth"),
        ("k-absent", "there is no such Cluster"),
    )  # fmt: skip
    cards = "".join(_cluster(each, axis, each.name in view.left_broken) for each in view.clusters)
    return f'<h2>Clusters: status against the truth, queue and wait</h2>{key}<div class="cards">{cards}</div>'


def _cluster(each: ClusterTracks, axis: Axis, broken: bool) -> str:
    scale = Scale.over(axis, each.true_total, each.said_total, each.true_healthy, each.said_healthy)
    absent = [
        (at_s, end_s) for (at_s, there), end_s in zip(each.there, [*(t for t, _ in each.there[1:]), axis.end_s], strict=True)
        if not there and at_s < axis.end_s
    ]  # fmt: skip
    drawn = (
        band("absent", absent, axis)
        + band("differs", differences(each.true_healthy, each.said_healthy, axis.end_s), axis)
        + steps("true-total", each.true_total, axis, scale)
        + steps("said-total", each.said_total, axis, scale)
        + steps("true-healthy", each.true_healthy, axis, scale)
        + steps("said-healthy", each.said_healthy, axis, scale)
    )
    asked, waits = Scale.over(axis, each.asked), Scale.over(axis, each.wait_s)
    name = escape(each.name)
    return (
        f'<div class="card"><h3>{name}{" – left broken on purpose: its actor dies of every count" if broken else ""}</h3>'
        + plot(f"status {name}", "nodes", axis, scale, drawn, tall="tall", last=False)
        + plot(
            f"queue {name}", "repairs asked for and not yet answered", axis, asked,
            steps("asked", each.asked, axis, asked, area=True), last=False,
        )
        + plot(
            f"wait {name}", "the oldest of them has waited, in seconds", axis, waits,
            steps("waits", each.wait_s, axis, waits),
        )
        + "</div>"
    )  # fmt: skip


def differences(truth: Track, said: Track, end_s: float) -> list[tuple[float, float]]:
    """When the two differ, as (from, until). Before anything was written, and while there is no parent, nothing does."""
    instants = sorted({at_s for track in (truth, said) for at_s, _ in track if at_s < end_s})
    spans: list[tuple[float, float]] = []
    true_now = said_now = -1.0
    values = {id(track): dict(track) for track in (truth, said)}
    for number, at_s in enumerate(instants):
        until_s = instants[number + 1] if number + 1 < len(instants) else end_s
        true_now = values[id(truth)].get(at_s, true_now)
        said_now = values[id(said)].get(at_s, said_now)
        if said_now >= 0 and true_now != said_now:
            if spans and spans[-1][1] == at_s:
                spans[-1] = (spans[-1][0], until_s)
            else:
                spans.append((at_s, until_s))
    return spans


def _quota(view: View, axis: Axis) -> str:
    quota = view.script.settings.quota
    track = window([arrival.at_s for arrival in view.arrivals], quota)
    scale = Scale(max(quota.calls, *(int(value) for _, value in track)) * 1.25)
    limit = f'<path class="limit" d="M0 {scale.y(quota.calls)}H1000"/>'
    marks = {"good": "taken", "refused": "refused or not answered"}
    drawn = steps("calls", track, axis, scale, area=True) + limit
    for kind, word in marks.items():
        drawn += dots(
            kind,
            [
                (each.at_s, 96, f"{each.items} items at {each.at_s:.3f} s: {each.code or 'no answer'}, {word}")
                for each in view.arrivals if (kind == "good") == (200 <= each.code < 300)
            ],
            axis,
        )  # fmt: skip
    title = f"calls that arrived within the last {quota.window_s:g} s"
    key = legend(
        ("k-calls", title), ("k-limit", f"the quota: {quota.calls} in {quota.window_s:g} s"),
        ("k-good", "a call that was taken"), ("k-refused", "refused, or not answered"),
    )  # fmt: skip
    return f'<h2>Quota</h2>{key}<div class="card">{plot("quota", title, axis, scale, drawn, tall="wide")}</div>'


def window(arrivals: list[float], quota: Quota) -> Track:
    """How many of the arrivals (instants, in order) lie within the quota's window that ends at each instant."""
    moves = sorted([(at_s, 1) for at_s in arrivals] + [(at_s + quota.window_s, -1) for at_s in arrivals])
    track: Track = [(0.0, 0.0)]
    for at_s, move in moves:  # at equal instants a slot is freed before another is taken
        value = track[-1][1] + move
        if track[-1][0] == at_s:
            track[-1] = (at_s, value)
        else:
            track.append((at_s, value))
    return track


def _actors(view: View, axis: Axis) -> str:
    marks: dict[str, list[Mark]] = {}
    for mark in view.marks:
        if mark.at_s <= view.end_s:
            marks.setdefault(mark.actor, []).append(mark)
    inside = [
        row(
            "<b>process</b> lives", axis, band("life", view.lives, axis),
            signs=[_sign(mark) for mark in marks.pop("process", [])],
        )
    ]  # fmt: skip
    inside += [row(escape(actor), axis, "", signs=map(_sign, each)) for actor, each in sorted(marks.items())]
    words = {"crashed": "✕ crashed or ended", "restarted": "▲ started again", "quarantined": "■ put aside"}
    words |= {"released": "△ let out", "wedged": "◆ never came back"}
    there = {mark.what for mark in view.marks} | {"crashed", "restarted"}
    key = " ".join(f'<span class="key">{text}</span>' for what, text in words.items() if what in there)
    return (
        f'<h2>Restarts</h2><p class="legend">{key}</p>'
        f'<div class="card">{rows("actors", axis, inside)}</div>'
    )  # fmt: skip


def _sign(mark: Mark) -> tuple[float, str, str, str]:
    return mark.at_s, mark.what, SIGNS[mark.what], f"{mark.actor} {mark.what} at {mark.at_s:.3f} s {mark.text}".strip()
