"""What the demo shows while it runs: the operator as its own statistics and facts tell it, four times a second.

Nothing here asks an actor anything. ``Tally`` is a sink of facts (cheap, any thread); ``glance`` copies the statistics and
the records that may be read from any thread into a frozen ``Glance``; ``picture`` and ``line`` only draw that. So the view
can be slow, narrow or absent without the operator's noticing, and the tests draw glances of their own.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from typing import Any

from attrs import frozen
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..core import events
from ..core.events import Fact
from ..core.model import Parent
from ..core.quantity import Quota

RECENT_MAX = 6
ROWS_MIN = 3
BAR_CELLS = 20
_FRAME_LINES = 12  # of a picture, beside the clusters' rows and the recent facts


@frozen(kw_only=True)
class Row:
    """One cluster, by the status that the operator last knew to stand."""

    name: str
    total: int = 0
    healthy: int = 0
    unhealthy: int = 0
    unknown: int = 0
    repairing: int = 0
    note: str = ""


@frozen(kw_only=True)
class Glance:
    """One look. Seconds; ``left_s`` None: until somebody ends it. ``used`` of ``quota`` slots are spent at this instant.

    ``parents`` is what the parents are called, in the plural.
    """

    ran_s: float
    left_s: float | None
    rows: tuple[Row, ...]
    quota: Quota
    used: int = 0
    queued: int = 0
    oldest_s: float = 0.0
    in_flight: int = 0
    calls: int = 0
    items: int = 0
    withdrawn: int = 0
    restarts: int = 0
    quarantined: int = 0
    statuses: int = 0
    parents: str = "clusters"
    recent: tuple[str, ...] = ()

    @property
    def sums(self) -> tuple[int, int, int, int]:
        """(total, healthy, unhealthy, unknown) of all clusters."""
        totals = (sum(getattr(row, name) for row in self.rows) for name in ("total", "healthy", "unhealthy", "unknown"))
        total, healthy, unhealthy, unknown = totals
        return total, healthy, unhealthy, unknown


class Tally:
    """Counts facts and keeps the last few as sentences. Any thread; never raises: it takes what it knows and no more."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.items = 0
        self.withdrawn = 0
        self.recent: deque[str] = deque(maxlen=RECENT_MAX)

    def __call__(self, fact: Fact) -> None:
        """One fact."""
        self.counts[type(fact).__name__] += 1
        if isinstance(fact, events.CallSent):
            self.items += fact.items
        elif isinstance(fact, events.ItemsWithdrawn):
            self.withdrawn += fact.count
        sentence = told(fact)
        if sentence:
            self.recent.append(sentence)

    @property
    def restarts(self) -> int:
        """How often an actor was started anew."""
        return self.counts["ActorRestarted"]


def told(fact: Fact) -> str:
    """A fact as one short sentence; "" for those that would only scroll by."""
    match fact:
        case events.CallSent():
            return f"call {fact.call[:6]}: {fact.items} nodes of {fact.parents} clusters, waited {fact.waited_s:.2f} s"
        case events.CallAnswered() if fact.outcome != "answered":
            return f"call {fact.call[:6]} ended: {fact.outcome} {fact.message}".rstrip()
        case events.ValveMoved():
            what = "repairs held" if fact.closed else "repairs go on"
            return f"{fact.parent}: {what}, {fact.eligible} of {fact.total} need repair, the limit is {fact.limit}"
        case events.WatchFellBehind():
            what = "is behind: its nodes are not repaired" if fact.behind else "is back"
            return f"the watch of {fact.kind} {what}"
        case events.RepairsExhausted():
            return f"{fact.parent}: {fact.children} not well after all attempts: {fact.sample}"
        case events.FleetValveMoved():
            what = "all repairs held" if fact.closed else "repairs go on"
            return f"{what}: {fact.eligible} of all {fact.total} need repair, the limit is {fact.limit}"
        case events.ActorCrashed():
            return f"{fact.actor} crashed: {fact.error}"
        case events.ActorRestarted():
            return f"{fact.actor} restarted (incarnation {fact.incarnation})"
        case events.ActorQuarantined():
            return f"{fact.actor} quarantined after {fact.deaths} deaths"
        case events.StreamDown():
            return f"{fact.kind}: stream down ({fact.reason}), again in {fact.retry_s:.1f} s"
        case events.Listed():
            return f"{fact.kind}: listed {fact.count}"
        case events.BackendPaused():
            return f"the backend throttles: pause of {fact.pause_s:.1f} s"
        case events.BreakerMoved():
            return f"the backend's breaker is {fact.state}"
        case _:
            return ""


def glance(
    *,
    cells: Mapping[str, Mapping[str, Any]],
    parents: Iterable[Parent],
    tally: Tally,
    quota: Quota,
    ran_s: float,
    left_s: float | None,
) -> Glance:
    """One look at the operator: ``cells`` are the statistics of its static actors, ``parents`` the records as they stand."""
    gateway = cells.get("gateway", {})
    queue, ledger = gateway.get("queue", {}), gateway.get("ledger", {})
    return Glance(
        ran_s=ran_s,
        left_s=left_s,
        rows=tuple(_row(parent) for parent in sorted(parents, key=lambda parent: parent.key)),
        quota=quota,
        used=quota.calls - ledger.get("free", quota.calls) if not ledger.get("cold") else 0,
        queued=sum(queue.get(place, 0) for place in ("ready", "waiting", "blocked")),
        oldest_s=queue.get("oldest_wait_s", 0.0) if queue.get("ready") else 0.0,
        in_flight=gateway.get("calls_in_flight", 0),
        calls=tally.counts["CallSent"],
        items=tally.items,
        withdrawn=tally.withdrawn,
        restarts=tally.restarts,
        quarantined=cells.get("directory", {}).get("clusters", {}).get("quarantined", 0),
        statuses=tally.counts["StatusWritten"],
        recent=tuple(tally.recent),
    )


def _row(parent: Parent) -> Row:
    status = parent.status
    counts = {name: _number(status.get(name)) for name in ("total", "healthy", "unhealthy", "unknown", "repairing")}
    return Row(name=str(parent.key), note=_note(parent), **counts)


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def _note(parent: Parent) -> str:
    """What a person should know of that cluster, in a word or two."""
    if not parent.status:
        return "not counted yet"
    conditions = parent.status.get("conditions")
    by_type = {each.get("type"): each for each in conditions or () if isinstance(each, dict)}
    held, ready = by_type.get("RemediationAllowed", {}), by_type.get("Ready", {})
    if ready.get("status") == "False":
        return str(ready.get("reason", "not ready"))
    return f"held: {held.get('reason', '')}" if held.get("status") == "False" else ""


# --- drawing ----------------------------------------------------------------------------------------------------------
def line(look: Glance) -> str:
    """The look as one line of plain text."""
    total, healthy, unhealthy, unknown = look.sums
    return (
        f"{look.ran_s:6.1f} s  {len(look.rows)} {look.parents}  {total} nodes: {healthy} healthy, {unhealthy} unhealthy, "
        f"{unknown} unknown  |  queue {look.queued}, in flight {look.in_flight}, calls {look.calls} ({look.items} nodes)  |  "
        f"quota {look.used}/{look.quota.calls} in {look.quota.window_s:g} s  |  restarts {look.restarts}"
    )


def picture(look: Glance, *, height: int = 40, hint: str = "") -> RenderableType:
    """The look as a picture of at most ``height`` lines: the clusters in most trouble first, where not all fit."""
    recent = max(0, min(RECENT_MAX, (height - _FRAME_LINES) // 3))
    room = max(ROWS_MIN, height - _FRAME_LINES - recent)
    rows = look.rows
    if len(rows) > room:
        worst = sorted(rows, key=lambda row: (row.healthy - row.total, not row.note, row.name))[:room]
        rows = tuple(sorted(worst, key=lambda row: row.name))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(look.parents.removesuffix("s").upper(), no_wrap=True)
    for name in ("TOTAL", "HEALTHY", "UNHEALTHY", "UNKNOWN", "REPAIRING"):
        table.add_column(name, justify="right")
    table.add_column("", no_wrap=True)
    table.add_column("", no_wrap=True)
    for row in rows:
        table.add_row(
            Text(row.name), str(row.total), _coloured(row.healthy, "green"), _coloured(row.unhealthy, "red"),
            _coloured(row.unknown, "yellow"), _coloured(row.repairing, "cyan"),
            _bar(row.healthy, row.total, "green", back="red"), Text(row.note, style="yellow"),
        )  # fmt: skip
    if len(rows) < len(look.rows):
        table.add_row(f"and {len(look.rows) - len(rows)} more", style="dim")
    return Group(
        _head(look),
        Text(""),
        table,
        Text(""),
        _gateway(look),
        Text(""),
        *_recent(look, recent),
        Text(hint, style="dim"),
    )


def _head(look: Glance) -> Text:
    total, healthy, _, _ = look.sums
    left = "Ctrl-C ends it" if look.left_s is None else f"{max(0.0, look.left_s):.0f} s left"
    head = Text(f"Muster demo  {look.ran_s:.0f} s, {left}", style="bold")
    return head.append(f"   {healthy} of {total} nodes healthy, {look.statuses} statuses written", style="not bold")


def _gateway(look: Glance) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_row("quota", _bar(look.used, look.quota.calls, "magenta"), f"{look.used} of {look.quota.calls} "
                 f"calls spent in this window of {look.quota.window_s:g} s")  # fmt: skip
    waiting = f"{look.queued} nodes wait" + (f", the oldest for {look.oldest_s:.1f} s" if look.oldest_s else "")
    grid.add_row("queue", _bar(min(look.queued, 100), 100, "cyan"), waiting)
    grid.add_row("calls", "", f"{look.calls} with {look.items} nodes, {look.in_flight} in flight; "
                 f"{look.withdrawn} nodes withdrawn unsent")  # fmt: skip
    trouble = f"{look.restarts} restarts, {look.quarantined} quarantined"
    grid.add_row("actors", "", Text(trouble, style="red" if look.restarts or look.quarantined else ""))
    return grid


def _recent(look: Glance, room: int) -> list[Text]:
    """The newest sentences; blank lines where there are fewer, so that the picture does not jump."""
    lines = [Text("· " + each, style="dim", no_wrap=True, overflow="ellipsis") for each in look.recent[-room:] if room]
    return lines + [Text("")] * (room - len(lines))


def _coloured(number: int, style: str) -> Text:
    return Text(str(number), style=style if number else "dim")


def _bar(part: int, whole: int, style: str, *, back: str = "dim") -> Text:
    filled = round(BAR_CELLS * part / whole) if whole else 0
    bar = Text("█" * filled, style=style)
    return bar.append("░" * (BAR_CELLS - filled), style=back if whole else "dim")
