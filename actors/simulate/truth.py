"""What was true, and when: kept from the API server's own commits, and by other code than the operator's.

For each parent and child kind there is the history of its counts, one entry per commit that changed them. Silence is our
own clock's verdict, so the history holds what nodes *reported*, and beside it how many of the healthy ones were overdue:
those may be counted unknown, and nobody else may.
"""

from __future__ import annotations

import bisect
from typing import Any

from attrs import define, field

from ..core.model import ParentKey
from ..sim.apiserver import ApiServerModel
from ..sim.history import Change
from ..sim.kinds import Resource

__all__ = ["Counted", "History", "NodeTruth", "Truth"]

Counted = tuple[int, int, int]
"""(healthy, unhealthy, unknown) as reported."""

BEAT_GRAIN_S = 1.1  # heartbeats are written in whole seconds: two within one second are one to whoever compares them


@define(eq=False)
class NodeTruth:
    """One child as the server has it."""

    kind: str
    namespace: str
    name: str
    uid: str
    parent: ParentKey | None
    healthy: bool | None
    beat_s: float
    """When its heartbeat last changed (the first time: when it was created)."""
    heartbeat: str
    since_s: float
    """When ``healthy`` last changed."""
    moved_s: float = 0.0
    """When it came to its present parent."""
    overdue_until_s: float = -1.0
    """Until when it was, or is, later than its parent's timeout."""


@define(eq=False)
class History:
    """One parent's children of one kind. ``counts[i]`` held from ``times[i]`` on."""

    members: dict[str, NodeTruth] = field(factory=dict)
    left: list[tuple[float, NodeTruth]] = field(factory=list)
    """Who was a member, and until when."""
    times: list[float] = field(factory=list)
    counts: list[Counted] = field(factory=list)

    def note(self, now: float) -> bool:
        """Write down the counts as they are now; whether they differ from the last."""
        healthy = unhealthy = unknown = 0
        for node in self.members.values():
            if node.healthy is None:
                unknown += 1
            elif node.healthy:
                healthy += 1
            else:
                unhealthy += 1
        counted = (healthy, unhealthy, unknown)
        if self.counts and self.counts[-1] == counted:
            return False
        self.times.append(now)
        self.counts.append(counted)
        return True

    def since(self, start_s: float) -> list[Counted]:
        """Every value that held at some instant from ``start_s`` on."""
        first = bisect.bisect_right(self.times, start_s)
        return [(0, 0, 0), *self.counts] if first == 0 else self.counts[first - 1 :]

    def now(self) -> Counted:
        """The present value."""
        return self.counts[-1] if self.counts else (0, 0, 0)


class Truth:
    """Follows ``api`` from its beginning. ``timeout_s`` of a parent is told by its spec, or is the operator's own."""

    def __init__(self, api: ApiServerModel, parent_kind: str, child_kinds: tuple[str, ...], now: Any) -> None:
        self.kinds = child_kinds
        self.nodes: dict[str, NodeTruth] = {}
        self.parents: dict[ParentKey, dict[str, Any]] = {}
        """Parent objects as they stand."""
        self.created_s: dict[str, float] = {}
        """When each parent was created, by uid."""
        self.gone_s: dict[str, float] = {}
        """When each object that is gone went, by uid."""
        self.histories: dict[tuple[ParentKey, str], History] = {}
        self.timeouts_s: dict[ParentKey, float | None] = {}
        self.timeouts_before: dict[ParentKey, tuple[float, float | None]] = {}
        """Until when another timeout held, and which."""
        self.default_timeout_s: float | None = None
        self.changed_s: dict[ParentKey, float] = {}
        """When a parent's truth last changed in whatever way its status shows."""
        self.on_counts: list[Any] = []
        """Called with (parent, kind) after each change of counts."""
        self.on_parent: list[Any] = []
        """Called with (parent, old object or None, new object or None)."""
        self._now = now
        self._parent_kind = parent_kind
        api.on_change.append(self._changed)

    def history(self, parent: ParentKey, kind: str) -> History:
        """That parent's children of that kind."""
        found = self.histories.get((parent, kind))
        if found is None:
            found = self.histories[parent, kind] = History()
        return found

    def timeout_s(self, parent: ParentKey | None) -> float | None:
        """How long children of ``parent`` may be silent."""
        if parent is None:
            return None
        return self.timeouts_s.get(parent, self.default_timeout_s)

    def overdue(self, parent: ParentKey, kind: str, since_s: float) -> int:
        """How many healthy children were later than the timeout at some instant from ``since_s`` on: unknown, perhaps.

        Whoever sees the world as it was at ``since_s`` has not heard of the heartbeats since then.
        """
        until_s, before_s = self.timeouts_before.get(parent, (-1.0, None))
        timeouts_s = [self.timeout_s(parent), before_s if until_s >= since_s else None]
        timeout_s = min((each for each in timeouts_s if each is not None), default=None)
        if timeout_s is None:
            return 0
        now = self._now()
        history = self.history(parent, kind)
        members = [*history.members.values(), *(node for left_s, node in history.left if left_s >= since_s)]
        limit_s = now - timeout_s + BEAT_GRAIN_S + (now - since_s)
        return sum(1 for node in members if node.beat_s <= limit_s or node.overdue_until_s >= since_s)

    def silent(self, parent: ParentKey, kind: str, margin_s: float) -> int:
        """How many healthy children are later than the timeout by more than ``margin_s``: unknown, certainly."""
        timeout_s = self.timeout_s(parent)
        if timeout_s is None:
            return 0
        limit_s = self._now() - timeout_s - margin_s
        members = self.history(parent, kind).members.values()
        return sum(1 for node in members if node.healthy and node.beat_s < limit_s)

    def total(self, parent: ParentKey) -> int:
        """All children of that parent."""
        return sum(len(self.history(parent, kind).members) for kind in self.kinds)

    def children(self, parent: ParentKey) -> list[NodeTruth]:
        """All children of that parent."""
        return [node for kind in self.kinds for node in self.history(parent, kind).members.values()]

    # --- following ----------------------------------------------------------------------------------------------------
    def _changed(self, resource: Resource, change: Change) -> None:
        if resource.kind == self._parent_kind:
            self._parent(change)
        elif resource.kind in self.kinds:
            self._node(resource.kind, change)

    def _parent(self, change: Change) -> None:
        metadata = change.obj["metadata"]
        key = ParentKey(metadata.get("namespace", ""), metadata["name"])
        old = self.parents.get(key)
        now = self._now()
        if change.type == "DELETED":
            self.parents.pop(key, None)
            self._set_timeout(key, None)
            self.gone_s[metadata["uid"]] = now
        else:
            self.parents[key] = change.obj
            self.created_s.setdefault(metadata["uid"], now)
            if old is None or old["spec"] != change.obj["spec"]:
                self.changed_s[key] = now
                self._set_timeout(key, change.obj["spec"].get("heartbeatTimeout"))
        for heard in self.on_parent:
            heard(key, old, None if change.type == "DELETED" else change.obj)

    def _set_timeout(self, key: ParentKey, text: str | None) -> None:
        before_s = self.timeout_s(key)
        if text is not None:
            self.timeouts_s[key] = float(text.removesuffix("s"))
        else:
            self.timeouts_s.pop(key, None)
        if self.timeout_s(key) != before_s:
            self.timeouts_before[key] = (self._now(), before_s)

    def _node(self, kind: str, change: Change) -> None:
        obj, now = change.obj, self._now()
        metadata = obj["metadata"]
        uid = metadata["uid"]
        node = self.nodes.get(uid)
        if change.type == "DELETED":
            self.gone_s[uid] = now
            if node is not None:
                del self.nodes[uid]
                self._move(node, None, now)
            return
        status = obj.get("status") or {}
        healthy, heartbeat = status.get("healthy"), status.get("lastHeartbeatTime", "")
        parent = parent_of(obj)
        if node is None:
            namespace = metadata.get("namespace", "")
            node = NodeTruth(kind, namespace, metadata["name"], uid, None, healthy, now, heartbeat, now)
            self.nodes[uid] = node
        turned = node.healthy is not healthy
        if heartbeat != node.heartbeat or turned:
            timeout_s = self.timeout_s(node.parent)
            if timeout_s is not None and now - node.beat_s >= timeout_s - BEAT_GRAIN_S:
                node.overdue_until_s = now
            node.beat_s, node.heartbeat = now, heartbeat
        if turned:
            node.healthy, node.since_s = healthy, now
        if parent != node.parent:
            self._move(node, parent, now)
        elif turned and parent is not None:
            self._note(parent, kind, now)

    def _move(self, node: NodeTruth, parent: ParentKey | None, now: float) -> None:
        old, node.parent, node.moved_s = node.parent, parent, now
        if old is not None:
            history = self.history(old, node.kind)
            del history.members[node.uid]
            history.left.append((now, node))
            self._note(old, node.kind, now)
        if parent is not None:
            self.history(parent, node.kind).members[node.uid] = node
            self._note(parent, node.kind, now)

    def _note(self, parent: ParentKey, kind: str, now: float) -> None:
        if self.history(parent, kind).note(now):
            self.changed_s[parent] = now
            for heard in self.on_counts:
                heard(parent, kind)


def parent_of(obj: dict[str, Any]) -> ParentKey | None:
    """Whose child that is: its controller owner, else its label, else the reference in its spec."""
    metadata = obj["metadata"]
    namespace = metadata.get("namespace", "")
    for owner in metadata.get("ownerReferences") or ():
        if owner.get("controller") and owner.get("kind") == "Cluster":
            return ParentKey(namespace, owner["name"])
    label = (metadata.get("labels") or {}).get("muster.dev/cluster")
    name = label or (obj.get("spec") or {}).get("clusterRef", {}).get("name")
    return ParentKey(namespace, name) if name else None
