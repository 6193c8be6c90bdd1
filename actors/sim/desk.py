"""Test stage: one ClusterActor at its desk, with everybody around it played by catchers that only note what they are told."""

from __future__ import annotations

from typing import Any

from ..actor import Cell, Context
from ..cluster import ClusterActor
from ..core.builtin import MUSTER_FLEET
from ..core.events import Reconciled
from ..core.model import Child, Parent, ParentKey, ParentSpec, Policy, Record, Share
from ..core.ports import Objects, Written
from ..mailbox import using
from ..messages import ItemAnswer, ItemsAnswered, RepairsWanted, StatusAnswered, StatusState, StatusWanted
from .world import World

KEY = ParentKey("d", "c1")
KINDS = ("Cluster", "ComputeNode", "StorageNode")
OPEN = Share(percent=100.0)


class Catcher:
    """Stands for whoever is told: watchers, gateway, StatusActor, directory, supervisor."""

    actor_urn = "urn:test"

    def __init__(self) -> None:
        self.told: list[Any] = []

    def is_alive(self) -> bool:
        return True

    def tell(self, message: Any) -> None:
        self.told.append(message)

    def of(self, kind: type) -> list[Any]:
        return [message for message in self.told if isinstance(message, kind)]


def node(
    name: str, healthy: bool | None = True, *, version: int = 1, kind: str = "ComputeNode", since: str = "t"
) -> Child:
    return Child(
        kind=kind, namespace="d", name=name, uid=name, version=version, parent=KEY, healthy=healthy, since=since
    )  # fmt: skip


def cluster(
    version: int = 1, status: dict[str, Any] | None = None, *, uid: str = "p", generation: int = 1, **spec: Any
) -> Parent:
    return Parent(
        kind="Cluster", key=KEY, uid=uid, version=version, generation=generation, spec=ParentSpec(**spec),
        status=status or {},
    )  # fmt: skip


class Desk:
    """One ClusterActor; ``answers`` on: its writes are taken at once, version after version."""

    def __init__(self, *, idle_s: float = 0.0, answers: bool = True, **policy: Any) -> None:
        self.world = World(seed=7)
        self.status, self.gateway, self.directory, self.boss = Catcher(), Catcher(), Catcher(), Catcher()
        self.watcher = Catcher()
        self.answers = answers
        self.version = 100
        self._answered = 0
        self.pauses: dict[ParentKey, float] = {}
        self.behind: dict[str, float] = {}
        given: Any = {
            "status": self.status, "gateway": self.gateway, "directory": self.directory, "idle_s": idle_s,
            "policy": Policy(**{"max_unhealthy": OPEN, **policy}), "key": KEY, "fleet": MUSTER_FLEET,
            "watcher": lambda kind: self.watcher, "pauses": self.pauses,
            "behind": self.behind,
        }  # fmt: skip

        def factory(ctx: Context) -> ClusterActor:
            self.made = ClusterActor(ctx, **given)
            return self.made

        with using(self.world):
            self.cell = Cell.start(name="cluster/d/c1", factory=factory, supervisor=self.boss)
        self.world.settle()

    def tell(self, *messages: Any) -> None:
        for message in messages:
            self.cell.tell(message)
            self.world.settle()

    def mail(self, *records: Record, gone: tuple[str, ...] = (), kind: str = "", replace: bool = False) -> None:
        entries: dict[str, Record | None] = {**dict.fromkeys(gone), **{record.uid: record for record in records}}
        self.tell(
            Objects(kind=kind or (records[0].kind if records else "ComputeNode"), entries=entries, replace=replace)
        )

    def sync(self, *children: Child, parent: Parent | None = None) -> None:
        self.mail(parent or cluster(), kind="Cluster", replace=True)
        for kind in KINDS[1:]:
            self.mail(*(child for child in children if child.kind == kind), kind=kind, replace=True)

    def settled(self, *children: Child, parent: Parent | None = None) -> Desk:
        """Synced, looked at, written; the books are empty."""
        self.sync(*children, parent=parent)
        self.run(1.0)
        for catcher in (self.status, self.gateway, self.directory):
            catcher.told.clear()
        self._answered = 0
        self.world.facts_seen.clear()
        return self

    def run(self, seconds: float) -> None:
        end_s = self.world.clock.now() + seconds
        while self.world.step(end_s):
            self._answer()
        self.world.clock.now_s = end_s

    def _answer(self) -> None:
        wishes = self.status.of(StatusWanted)
        while self.answers and self._answered < len(wishes):
            self.written(wishes[self._answered])
            self._answered += 1

    def written(self, wish: StatusWanted, version: int = 0) -> None:
        self.version = version or max(self.version, wish.version) + 1
        written = Written(version=self.version, status=wish.status)
        self.cell.tell(StatusAnswered(sequence=wish.sequence, state=StatusState.WRITTEN, written=written))

    def refuse(self, state: StatusState, wish: StatusWanted | None = None) -> None:
        self.tell(StatusAnswered(sequence=(wish or self.wishes[-1]).sequence, state=state))

    def done(self, *keys: str, how: ItemAnswer = ItemAnswer.DONE) -> None:
        self.tell(ItemsAnswered(answers=dict.fromkeys(keys, (how, "")), at_s=self.world.clock.now()))

    @property
    def wishes(self) -> list[StatusWanted]:
        return self.status.of(StatusWanted)

    @property
    def asked(self) -> list[list[str]]:
        """Whole wanted sets by uid, in order."""
        return [[item.uid for item in message.items] for message in self.gateway.of(RepairsWanted)]

    @property
    def keys(self) -> list[str]:
        return [item.key for item in self.gateway.of(RepairsWanted)[-1].items]

    @property
    def looks(self) -> list[float]:
        return [at_s for at_s, fact in self.world.facts_seen if isinstance(fact, Reconciled)]
