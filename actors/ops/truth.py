"""The truth about a fleet over time, told again from the API server's own log of committed changes.

The log has a line per commit: who, what, when, and the parts that changed. Replayed in order, with a clock for silence
(a node is silent once its parent's timeout has passed since the commit of its last report), it yields for every cluster
the counts that were true at each instant, and for every node when it needed repair. It is a second opinion: nothing
here is the operator's own code, which is what it judges.

Instants are seconds of CLOCK_MONOTONIC, which all processes of one machine share. What the log cannot tell is not told:
a label or owner that is taken away leaves no trace in it (one that is changed does).
"""

from __future__ import annotations

import heapq
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from attrs import define, field, frozen

PARENT_KIND = "Cluster"
NODE_KINDS = ("ComputeNode", "StorageNode")
PARENT_LABEL = "muster.dev/cluster"
VALVE_FLOOR = 3  # a percentage never holds the repair of so few

Obj = dict[str, Any]
Key = tuple[str, str]  # namespace and name
KindCounts = tuple[str, int, int, int]  # kind, healthy, unhealthy, unknown


class Counts(NamedTuple):
    """What a status says, or should say. ``kinds`` leaves out those of which there is no node."""

    total: int
    healthy: int
    unhealthy: int
    unknown: int
    kinds: tuple[KindCounts, ...]


@frozen
class NodeMoment:
    """From ``at_s`` on: the trouble that the node is in ("" none), and whose it is; ``parent`` None: it is gone."""

    at_s: float
    incident: str
    parent: Key | None


@define(eq=False)
class NodeStory:
    """One node, from its creation to its deletion; one of the same name later is another."""

    kind: str
    name: str
    uid: str
    moments: list[NodeMoment] = field(factory=list)

    def during(self, from_s: float, to_s: float) -> list[NodeMoment]:
        """The moments that touch that time; the first may have begun before."""
        first = bisect_right(self.moments, from_s, key=lambda moment: moment.at_s) - 1
        last = bisect_right(self.moments, to_s, key=lambda moment: moment.at_s)
        return self.moments[max(first, 0) : last]


@frozen
class StatusMoment:
    """A status was committed. ``counts`` None where it cannot be read as such."""

    at_s: float
    counts: Counts | None
    status: Obj
    agent: str


@define(eq=False)
class ClusterStory:
    """One cluster. ``counts`` and ``held`` hold from their instant to the next one's; ``held``: the valve is closed."""

    key: Key
    uid: str
    born_s: float
    gone_s: float | None = None
    counts: list[tuple[float, Counts]] = field(factory=list)
    held: list[tuple[float, bool]] = field(factory=list)
    statuses: list[StatusMoment] = field(factory=list)

    @property
    def name(self) -> str:
        """``namespace/name``."""
        return "/".join(self.key)

    def held_throughout(self, from_s: float, to_s: float) -> bool:
        """Whether repairs were to be held all that time."""
        first = max(bisect_right(self.held, from_s, key=lambda one: one[0]) - 1, 0)
        last = bisect_right(self.held, to_s, key=lambda one: one[0])
        return last > first and all(held for _, held in self.held[first:last])


@define(eq=False)
class Story:
    """All of it. ``clusters`` in order of creation, ``lives`` the same by name; ``nodes`` by uid.

    ``reports`` counts the commits of nodes' statuses.
    """

    clusters: list[ClusterStory] = field(factory=list)
    lives: dict[Key, list[ClusterStory]] = field(factory=dict)
    nodes: dict[str, NodeStory] = field(factory=dict)
    reports: int = 0

    def of(self, key: Key, at_s: float) -> ClusterStory | None:
        """The cluster of that name which lived at that instant."""
        lives = self.lives.get(key, ())
        return next((one for one in lives if one.born_s <= at_s and (one.gone_s is None or at_s < one.gone_s)), None)


@define(eq=False)
class _Node:
    story: NodeStory
    namespace: str
    labels: Obj = field(factory=dict)
    owners: list[Obj] = field(factory=list)
    spec: Obj = field(factory=dict)
    healthy: bool | None = None
    since: str = ""
    beat: str = ""
    heard_s: float = 0.0
    silent: bool = False
    parent: Key | None = None

    @property
    def state(self) -> int:
        """Place in a kind's counts: 0 healthy, 1 unhealthy, 2 unknown."""
        if self.healthy is False:
            return 1
        return 0 if self.healthy and not self.silent else 2

    @property
    def incident(self) -> str:
        if self.healthy is False:
            return f"unhealthy@{self.since}"
        return f"silent@{self.beat}" if self.silent else ""

    def claimed(self) -> Key | None:
        for owner in self.owners:
            group = str(owner.get("apiVersion", "")).partition("/")[0]
            if owner.get("controller") and owner.get("kind") == PARENT_KIND and group == "muster.dev":
                return self.namespace, str(owner["name"])
        name = self.labels.get(PARENT_LABEL) or (self.spec.get("clusterRef") or {}).get("name")
        return (self.namespace, str(name)) if name else None


@define(eq=False)
class _Family:
    """What is known under one cluster's name, whether or not there is a cluster of that name at present."""

    spec: Obj = field(factory=dict)
    story: ClusterStory | None = None
    members: dict[str, _Node] = field(factory=dict)
    counts: dict[str, list[int]] = field(factory=dict)
    eligible: int = 0


class Replay:
    """Takes the log's lines in order; ``story`` is what came of it. ``timeout_s``, ``max_unhealthy``: the operator's own.

    ``patience_s``: tell each silence so much after its deadline.
    """

    def __init__(
        self, *, timeout_s: float | None = None, max_unhealthy: str | int = "50%", patience_s: float = 0.0
    ) -> None:
        self.story = Story()
        self._timeout_s = timeout_s
        self._max_unhealthy = max_unhealthy
        self._patience_s = patience_s
        self._nodes: dict[str, _Node] = {}
        self._families: dict[Key, _Family] = {}
        self._deadlines: list[tuple[float, str]] = []

    def take(self, line: Obj) -> None:
        """One commit."""
        now_s = float(line["mono_s"])
        self.run_to(now_s)
        if line["kind"] == PARENT_KIND:
            self._cluster(line, now_s)
        elif line["kind"] in NODE_KINDS:
            self._node(line, now_s)

    def run_to(self, now_s: float) -> None:
        """Let time pass: whoever has been silent for too long by then is."""
        while self._deadlines and self._deadlines[0][0] <= now_s:
            at_s, uid = heapq.heappop(self._deadlines)
            node = self._nodes.get(uid)
            if node is not None and not node.silent and self._deadline(node) == at_s:
                with_family = self._leave(node)
                node.silent = True
                self._join(node, with_family, at_s)

    # --- clusters -----------------------------------------------------------------------------------------------------
    def _cluster(self, line: Obj, now_s: float) -> None:
        key = (str(line["ns"]), str(line["name"]))
        family = self._families.setdefault(key, _Family())
        if line["type"] == "DELETED":
            if family.story is not None:
                family.story.gone_s = now_s
            family.story, family.spec = None, {}
            return
        if line["type"] == "ADDED":
            family.story = ClusterStory(key, str(line["uid"]), now_s)
            self.story.clusters.append(family.story)
            self.story.lives.setdefault(key, []).append(family.story)
        if "spec" in line:
            family.spec = line["spec"] or {}
            for node in family.members.values():
                self._listen(node, now_s)
        story = family.story
        if story is None:
            return
        if line["type"] == "MODIFIED" and "status" in line:
            status = line["status"] or {}
            story.statuses.append(StatusMoment(now_s, counts_of(status), status, str(line.get("user_agent", ""))))
        self._note(family, now_s)

    def _note(self, family: _Family, now_s: float) -> None:
        """Enter what is true of that cluster now, where it differs."""
        story = family.story
        if story is None:
            return
        kinds = tuple((kind, each[0], each[1], each[2]) for kind, each in sorted(family.counts.items()) if any(each))
        counts = _summed(kinds)
        _enter(story.counts, now_s, counts)
        repair = family.spec.get("repair") or {}
        limit = _limit(repair.get("maxUnhealthy", self._max_unhealthy), counts.total)
        held = family.eligible > limit or repair.get("enabled") is False or bool(family.spec.get("paused"))
        _enter(story.held, now_s, held)

    # --- nodes --------------------------------------------------------------------------------------------------------
    def _node(self, line: Obj, now_s: float) -> None:
        uid = str(line["uid"])
        node = self._nodes.get(uid)
        if line["type"] == "DELETED":
            if node is not None:
                family = self._leave(node)
                node.story.moments.append(NodeMoment(now_s, "", None))
                del self._nodes[uid]
                if family is not None:
                    self._note(family, now_s)
            return
        if node is None:
            story = self.story.nodes[uid] = NodeStory(str(line["kind"]), str(line["name"]), uid)
            node = self._nodes[uid] = _Node(story, str(line["ns"]), heard_s=now_s)
            before = None
        else:
            before = self._leave(node)
        node.labels = line.get("labels", node.labels)
        node.owners = line.get("ownerReferences", node.owners)
        node.spec = line.get("spec", node.spec) or {}
        if "status" in line:
            self._report(node, line["status"] or {}, now_s)
        node.parent = node.claimed()
        family = self._families.setdefault(node.parent, _Family()) if node.parent is not None else None
        self._join(node, family, now_s)
        self._listen(node, now_s)
        if before is not None and before is not family:
            self._note(before, now_s)

    def _report(self, node: _Node, status: Obj, now_s: float) -> None:
        self.story.reports += 1
        conditions = status.get("conditions") or ()
        since = next(
            (str(each.get("lastTransitionTime", "")) for each in conditions if each.get("type") == "Healthy"), ""
        )
        said = (status.get("healthy"), since, str(status.get("lastHeartbeatTime") or ""))
        if said != (node.healthy, node.since, node.beat):
            node.heard_s, node.silent = now_s, False
        node.healthy, node.since, node.beat = said

    def _leave(self, node: _Node) -> _Family | None:
        """Take it out of its family's counts."""
        family = self._families.get(node.parent) if node.parent is not None else None
        if family is not None and family.members.pop(node.story.uid, None) is not None:
            family.counts[node.story.kind][node.state] -= 1
            family.eligible -= bool(node.incident)
        return family

    def _join(self, node: _Node, family: _Family | None, now_s: float) -> None:
        """Count it in, and note what became of both."""
        moments = node.story.moments
        if not moments or (moments[-1].incident, moments[-1].parent) != (node.incident, node.parent):
            moments.append(NodeMoment(now_s, node.incident, node.parent))
        if family is not None:
            family.members[node.story.uid] = node
            family.counts.setdefault(node.story.kind, [0, 0, 0])[node.state] += 1
            family.eligible += bool(node.incident)
            self._note(family, now_s)

    # --- silence ------------------------------------------------------------------------------------------------------
    def _deadline(self, node: _Node) -> float | None:
        family = self._families.get(node.parent) if node.parent is not None else None
        if family is None or family.story is None:
            return None
        own = family.spec.get("heartbeatTimeout")
        timeout_s = seconds(own) if own is not None else self._timeout_s
        return None if timeout_s is None else node.heard_s + timeout_s + self._patience_s

    def _listen(self, node: _Node, now_s: float) -> None:
        """Look at it again when its time will be over. (At once where it is over: ``run_to`` comes before each line.)"""
        deadline_s = self._deadline(node)
        if deadline_s is not None and not node.silent:
            heapq.heappush(self._deadlines, (deadline_s, node.story.uid))


def tell(
    lines: Iterable[Obj],
    until_s: float,
    *,
    timeout_s: float | None = None,
    max_unhealthy: str | int = "50%",
    patience_s: float = 0.0,
) -> Story:
    """The story of those lines (in their order), to the end of ``until_s``. The rest is as for ``Replay``."""
    replay = Replay(timeout_s=timeout_s, max_unhealthy=max_unhealthy, patience_s=patience_s)
    for line in lines:
        replay.take(line)
    replay.run_to(until_s)
    return replay.story


def counts_of(status: Obj) -> Counts | None:
    """What a status says; None where it says nothing, or contradicts itself."""
    try:
        kinds = tuple(
            (str(each["kind"]), int(each["healthy"]), int(each["unhealthy"]), int(each["unknown"]))
            for each in sorted(status.get("kinds") or (), key=lambda each: str(each["kind"]))
            if each["total"]
        )
        counts = Counts(status["total"], status["healthy"], status["unhealthy"], status["unknown"], kinds)
    except (KeyError, TypeError, ValueError):
        return None
    return counts if counts == _summed(kinds) else None


def _summed(kinds: tuple[KindCounts, ...]) -> Counts:
    healthy, unhealthy, unknown = (
        sum(each) for each in ([k[1] for k in kinds], [k[2] for k in kinds], [k[3] for k in kinds])
    )
    return Counts(healthy + unhealthy + unknown, healthy, unhealthy, unknown, kinds)


def intervals(steps: list[tuple[float, Any]], end_s: float) -> Iterator[tuple[float, float, Any]]:
    """(from, to, value) of each step that begins before ``end_s``; the last one lasts until then."""
    for at, (from_s, value) in enumerate(steps):
        if from_s >= end_s:
            return
        yield from_s, min(steps[at + 1][0], end_s) if at + 1 < len(steps) else end_s, value


def seconds(duration: str) -> float:
    """``"1m30s"`` in seconds."""
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"([0-9.]+)(ms|s|m|h)", duration))


def _limit(share: str | int, total: int) -> int:
    if isinstance(share, int):
        return share
    percent = int(share.removesuffix("%"))
    return total if percent >= 100 else max(VALVE_FLOOR, total * percent // 100)


def _enter(steps: list[tuple[float, Any]], at_s: float, value: object) -> None:
    if not steps or steps[-1][1] != value:
        steps.append((at_s, value))
