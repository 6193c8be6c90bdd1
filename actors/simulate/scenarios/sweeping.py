"""Sieve's three patterns (OSDI 22), exhaustively: a crash at every side effect, every event unobserved, every list stale.

A reference workload is played once undisturbed, and everything in it at which something may go wrong is counted: those are
its *points*. Then it is played once for each point, and must end as it did undisturbed: the same objects, the same counts,
and each node in need repaired once. A scenario takes a sample of the points by its seed; the tests also take all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from attrs import frozen

from ...core.model import Policy, Share
from ...core.quantity import Quota
from ...messages import ItemsAnswered, RepairsWanted, StatusAnswered, StatusWanted
from ..faults_process import MOMENTS
from ..stage import RECOVER_S, Stage, StageSettings
from ..steps import Step, verb
from .bill import Bill
from .playing import Act, Playing, at

__all__ = ["PATTERNS", "WORKLOADS", "Point", "Reference", "Workload", "bill", "play_point", "reference"]

bill = Bill()
LASTS_S = 48.0
RELIST_S = 40.0  # the last event of each workload has been by then
SAMPLE = 6  # points of each workload that a scenario takes
SETTINGS = StageSettings(
    policy=Policy(max_unhealthy=Share(percent=100.0), cooldown_s=60.0), quota=Quota(3, 3.0), batch_max=3, heal_after_s=10.0,
    call_timeout_s=2.0, lateness_s=1.0, idle_s=4.0, retry_max_s=4.0, breaker_max_s=4.0,
)  # fmt: skip
_KINDS = ("Cluster", "ComputeNode", "StorageNode")


@frozen(kw_only=True)
class Workload:
    """``needy``: nodes that fail once and do not get well by themselves."""

    name: str
    clusters: tuple[tuple[str, int, int], ...]
    steps: tuple[Step, ...]
    needy: tuple[str, ...]


WORKLOADS = (
    Workload(
        name="failures", clusters=(("c0", 4, 1), ("c1", 3, 1)), needy=("c0-n0", "c1-n0", "c1-s0", "c0-n2"),
        steps=(
            at(3.0, "fail", "c0-n0"), at(3.05, "fail", "c1-n0"), at(9.0, "fail", "c1-s0"), at(12.0, "delete-node", "c0-n1"),
            at(12.0, "expire", "ComputeNode"), at(18.0, "fail", "c0-n2"), at(18.01, "delete-node", "c1-n2"),
            at(19.0, "create-node", "c1-n8", "c1", True, "label"), at(22.0, "expire", "StorageNode"),
        ),
    ),
    Workload(
        name="moves", clusters=(("c0", 3, 1), ("c1", 2, 0), ("c2", 1, 0)), needy=("c0-n0", "c2-n0"),
        steps=(
            at(3.0, "move-node", "c0-n1", "c1"), at(4.0, "fail", "c0-n0"), at(4.05, "move-node", "c0-s0", "c1"),
            at(9.0, "delete-cluster", "c1"), at(9.0, "create-cluster", "c1"), at(12.0, "expire", "Cluster"),
            at(13.0, "recreate-node", "c0-n2", "c0", True, "owner"), at(16.0, "move-node", "c0-n1", "c2"),
            at(16.5, "fail", "c2-n0"),
            at(20.0, "delete-cluster", "c0"), at(21.0, "expire", "ComputeNode"), at(24.0, "create-cluster", "c0"),
        ),
    ),
    Workload(
        name="refusals", clusters=(("c0", 5, 0), ("c1", 3, 2)), needy=("c0-n0", "c0-n1", "c1-n0", "c1-s0", "c1-s1"),
        steps=(
            at(2.9, "misbehave", "throttle", 5.0, 1, 0.0, 1), at(3.0, "fail", "c0-n0"), at(3.0, "fail", "c0-n1"),
            at(8.0, "configure", "c1", "paused", True), at(9.0, "fail", "c1-n0"), at(12.0, "configure", "c1", "paused", None),
            at(13.0, "expire", "ComputeNode"), at(14.0, "overwrite-status", "c0"),
            at(17.9, "misbehave", "error", 3.0, 1, 0.0, None), at(18.0, "fail", "c1-s0"), at(18.1, "fail", "c1-s1"),
            at(20.0, "touch-cluster", "c1", "x"), at(22.0, "expire", "Cluster"),
        ),
    ),
)  # fmt: skip


@frozen
class Point:
    """Where a workload is disturbed: the ``nth`` ``what`` (a moment, or a kind of objects) of the pattern.

    ``changes``: by how many changes that list is behind.
    """

    pattern: str
    what: str
    nth: int
    changes: int = 0

    def __str__(self) -> str:
        behind = f", {self.changes} changes behind" if self.changes else ""
        return f"{self.pattern} {self.what} #{self.nth}{behind}"


@frozen(kw_only=True)
class Reference:
    """The undisturbed playing of a workload: all that a pattern can disturb in it, in a fixed order, and how it
    ends.
    """

    workload: Workload
    seed: int
    points: tuple[Point, ...]
    end: dict[str, Any]
    broken: tuple[str, ...]
    """What is broken even so: then nothing can be learnt of the points."""


def _crash(point: Point) -> tuple[Step, ...]:
    return (at(0.0, "kill-at", point.what, point.nth, 0.5),)


def _unobserved(point: Point) -> tuple[Step, ...]:
    return at(0.0, "hide-event", point.what, point.nth), at(RELIST_S, "relist", point.what, None)


def _stale(point: Point) -> tuple[Step, ...]:
    return (at(0.0, "stale-list", point.what, point.nth, point.changes),)


PATTERNS: dict[str, Callable[[Point], tuple[Step, ...]]] = {"crash": _crash, "unobserved": _unobserved, "stale": _stale}


def reference(workload: Workload, pattern: str, seed: int = 1) -> Reference:
    """Play ``workload`` undisturbed."""
    act = _act(workload, pattern, (), seed)
    counts: Counter[str] = Counter()

    until_s = RELIST_S if pattern == "unobserved" else LASTS_S  # what is not heard after the list is never made good

    def note(what: str) -> None:
        if act.stage.world.clock.now() < until_s:
            counts[what] += 1

    stage, court = act.stage, act.run.court
    if pattern == "crash":
        stage.writer.on_write.append(lambda parent, uid, changed, status: note("status-arrived"))
        stage.backend.on_send.append(lambda call: note("call-sent"))
        stage.backend.on_arrival.append(lambda call, answer: note("call-arrived"))
        court.hear(RepairsWanted, lambda actor, message: note("repairs-wanted") if message.items else None)
        court.hear(StatusWanted, lambda actor, message: note("status-wanted"))
        court.hear(ItemsAnswered, lambda actor, message: note("answered"))
        court.hear(StatusAnswered, lambda actor, message: note("written"))
    else:
        stage.on_life.append(lambda: _count_reading(stage, pattern, note))
    act.run.play()
    broken = tuple(f"{workload.name}, undisturbed: {breach.line()}" for breach in court.breaches)
    if pattern == "stale":  # the first list of a process is a consistent read
        points = [
            Point(pattern, kind, nth, by) for kind in _KINDS for nth in range(2, counts[kind] + 1) for by in (1, 2, 4)
        ]
    else:
        order = MOMENTS if pattern == "crash" else _KINDS
        points = [Point(pattern, what, nth) for what in order for nth in range(1, counts[what] + 1)]
    return Reference(workload=workload, seed=seed, points=tuple(points), end=_end(act), broken=broken)


def play_point(undisturbed: Reference, point: Point) -> tuple[str, ...]:
    """Play the workload disturbed there. What was broken, and how its end differs from the undisturbed one's."""
    workload = undisturbed.workload
    act = _act(workload, point.pattern, PATTERNS[point.pattern](point), undisturbed.seed)
    act.run.play()
    # Of two children of which one was never told of, a status may say what was never true of both at one time.
    excused = "status-was-true" if point.pattern == "unobserved" else ""
    broken = [
        breach.line() for breach in act.run.court.breaches if breach.oracle != excused or breach.at_s > RELIST_S + 5.0
    ]
    repaired = {name: act.repairs_of(name) for name in workload.needy}
    if set(repaired.values()) != {1}:
        broken.append(f"repairs of those in need: {repaired}")
    if _end(act) != undisturbed.end:
        broken.append(f"it ends with {_end(act)}, undisturbed with {undisturbed.end}")
    return tuple(f"{workload.name}, {point}: {text}" for text in broken)


def _act(workload: Workload, pattern: str, more: tuple[Step, ...], seed: int) -> Act:
    lists = [at(6.0 + 5.0 * n + k, "expire", kind) for n in range(5) for k, kind in enumerate(_KINDS)]
    steps = [*workload.steps, *more, *(lists if pattern == "stale" else [])]
    return Playing(_ANY, seed).rehearse(
        *workload.clusters, lasts_s=LASTS_S, steps=steps, settings=SETTINGS, streamed=False, page_items=500
    )


def _end(act: Act) -> dict[str, Any]:
    """The objects and the counts at the end."""
    parents = {key.name: (obj.get("status") or {}) for key, obj in act.stage.truth.parents.items()}
    counts = {name: (status.get("healthy"), status.get("total")) for name, status in sorted(parents.items())}
    return {"nodes": sorted(node.name for node in act.stage.truth.nodes.values()), "counts": counts}


def _sweep(play: Playing, pattern: str) -> None:
    broken: list[str] = []
    played = 0
    for workload in WORKLOADS:
        undisturbed = reference(workload, pattern, play.seed)
        broken += undisturbed.broken
        for _ in range(0 if undisturbed.broken else SAMPLE):
            played += 1
            broken.extend(play_point(undisturbed, play.draw.pick(undisturbed.points))[:1])
    play.exactly("broken", len(broken))
    play.exactly("played", played)
    play.own.extend(broken[:5])


@bill.scenario(
    "crash-at-every-side-effect",
    whose="Sieve (OSDI 22), *intermediate state*: 46 bugs in ten controllers, this pattern among them; "
    "cluster-api-provider-aws#5794",
    what="kill -9 at each status write, call, answer and message to the gateway of three reference workloads",
    does="keeps nothing that matters in memory alone",
    figure="{broken} of the points end otherwise than undisturbed ({played} drawn by each seed, all of them in a "
    "test of their own)",
    broken=0, played=18,
)  # fmt: skip
def _(play: Playing) -> None:
    _sweep(play, "crash")


@bill.scenario(
    "each-event-unobserved",
    whose="Sieve (OSDI 22), *unobserved state*; FIELD: no framework proves that its cache equals the server",
    what="each event of each watch in turn is never delivered, until the next list",
    does="a list replaces, so that whatever was missed is right again after it",
    figure="{broken} of the points end otherwise than undisturbed ({played} drawn by each seed, all of them in a "
    "test of their own)",
    broken=0, played=18,
)  # fmt: skip
def _(play: Playing) -> None:
    _sweep(play, "unobserved")


@bill.scenario(
    "every-list-stale",
    whose="Sieve (OSDI 22), *stale state*; kubernetes#59848",
    what="each list after the first, in turn, is answered by a server that is one, two or four changes behind",
    does="takes no list that is older than what it has seen, and asks again",
    figure="{broken} of the points end otherwise than undisturbed ({played} drawn by each seed, all of them in a "
    "test of their own)",
    broken=0, played=18,
)  # fmt: skip
def _(play: Playing) -> None:
    _sweep(play, "stale")


_ANY = bill.scenarios[0]  # the same draws for a workload, whichever pattern disturbs it


# --- verbs ------------------------------------------------------------------------------------------------------------
@verb("hide-event")
def _hide_event(stage: Stage, kind: str, nth: int) -> None:
    """The n-th event of that kind's watch is lost, and nobody is told."""
    stage.impair(f"api:{kind}", LASTS_S + RECOVER_S)
    left = [nth]

    def hidden(seen: str) -> bool:
        left[0] -= seen == kind
        return seen == kind and left[0] == 0 and stage.world.clock.now() < RELIST_S

    _filter_events(stage, hidden)


@verb("stale-list")
def _stale_list(stage: Stage, kind: str, nth: int, changes: int) -> None:
    """The n-th list of that kind, by pages, is answered by a server that is so many changes behind."""
    stage.impair(f"api:{kind}", LASTS_S + RECOVER_S)
    reader, left = stage.reader, [nth]
    assert reader is not None

    def staleness(asked: str) -> int:
        left[0] -= asked == kind
        return changes if asked == kind and left[0] == 0 else 0

    reader.staleness = staleness


def _count_reading(stage: Stage, pattern: str, note: Callable[[str], None]) -> None:
    """Count what the reader of this life lists, or hears."""
    assert stage.reader is not None
    if pattern == "stale":

        def staleness(kind: str) -> int:
            note(kind)
            return 0

        stage.reader.staleness = staleness
    else:

        def heard(kind: str) -> bool:
            note(kind)
            return False

        _filter_events(stage, heard)


def _filter_events(stage: Stage, hides: Callable[[str], bool]) -> None:
    """Lines of the present reader go past ``hides``; bookmarks do not count."""
    reader = stage.reader
    assert reader is not None
    before = reader.mangle

    def mangle(kind: str, turn: int, lines: list[bytes]) -> list[bytes]:
        if before is not None:
            lines = before(kind, turn, lines)
        return list(_shown(kind, lines, hides))

    reader.mangle = mangle


def _shown(kind: str, lines: list[bytes], hides: Callable[[str], bool]) -> Iterator[bytes]:
    for line in lines:
        if line.startswith(b'{"type":"BOOKMARK"') or not hides(kind):
            yield line
