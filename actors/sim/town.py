"""Test stage: one directory and its town of ClusterActors, which are played by clerks; the neighbours are catchers."""

from __future__ import annotations

from typing import Any

from ..actor import Behaviour, Cell, Context, Resume
from ..core.model import Parent, ParentKey, ParentSpec
from ..core.records import RecordStore
from ..core.restarts import RestartPolicy
from ..directory import DirectoryActor
from ..mailbox import using
from ..messages import CloseUp, ParentWanted, SubscribeWanted, UnsubscribeWanted
from .desk import Catcher
from .world import World

KINDS = ("Cluster", "ComputeNode")
HOME, AWAY = ParentKey("d", "home"), ParentKey("d", "away")
POLICY = RestartPolicy(restarts_max=2, period_s=60.0, backoff_first_s=0.1, backoff_max_s=1.0)


class Clerk(Behaviour):
    """Stands for a ClusterActor: notes; dies of "raise", and at once while it is named in ``poisoned``."""

    def __init__(self, ctx: Context, log: list[tuple[str, Any]], poisoned: set[str]) -> None:
        super().__init__(ctx)
        self.log, self.poisoned = log, poisoned

    def on_start(self) -> None:
        self.log.append((self.ctx.name, f"start {self.ctx.incarnation}"))
        if self.ctx.name in self.poisoned:
            raise RuntimeError("poisoned")

    def on_receive(self, message: Any) -> Any:
        if message == "raise" or (isinstance(message, CloseUp) and self.ctx.name in self.poisoned):
            raise ValueError("asked to")
        self.log.append((self.ctx.name, message))
        if isinstance(message, CloseUp):
            self.ctx.stop()

    def on_stop(self) -> None:
        self.log.append((self.ctx.name, "stop"))


class Town:
    """One directory with scripted neighbours."""

    def __init__(self, *parents: ParentKey) -> None:
        self.world = World(seed=6)
        self.store = RecordStore(("ComputeNode",))
        self.watchers: dict[str, Any] = {kind: Catcher() for kind in KINDS}  # they stand in for refs
        self.status: Any = Catcher()
        self.gateway: Any = Catcher()
        self.boss: Any = Catcher()
        self.log: list[tuple[str, Any]] = []
        self.poisoned: set[str] = set()
        self.given_up: list[str] = []
        self.pauses: dict[ParentKey, float] = {}
        self.behind: dict[str, float] = {}
        for key in parents:
            self.create(key)

        def factory(ctx: Context) -> DirectoryActor:
            self.made = DirectoryActor(
                ctx, kinds=KINDS, store=self.store, cluster_factory=lambda key: self.clerk, policy=POLICY,
                watcher=self.watchers.get, status=self.status, gateway=self.gateway,
                give_up=self.given_up.append, pauses=self.pauses, behind=self.behind,
            )  # fmt: skip
            return self.made

        with using(self.world):
            self.cell = Cell.start(name="directory", factory=factory, supervisor=self.boss)
        self.world.settle()

    def clerk(self, ctx: Context) -> Behaviour:
        return Clerk(ctx, self.log, self.poisoned)

    def create(self, key: ParentKey, uid: str = "u", version: int = 5) -> None:
        self.store.parents[key] = Parent(
            kind="Cluster", key=key, uid=uid, version=version, generation=1, spec=ParentSpec(), status={"total": 3}
        )

    def tell(self, *messages: Any) -> None:
        for message in messages:
            self.cell.tell(message)
            self.world.settle()

    def want(self, *keys: ParentKey, spec_changed: bool = False) -> None:
        self.tell(ParentWanted(parents=keys, spec_changed=spec_changed))

    def ref(self, key: ParentKey = HOME) -> Any:
        cell: Any = self.cell._actor_weakref()  # noqa: SLF001 - a look from outside
        return cell.children.get(f"cluster/{key.namespace}/{key.name}")

    def kill(self, key: ParentKey = HOME) -> None:
        self.ref(key).tell("raise")
        self.world.settle()

    def crash(self, message: Any = "nonsense") -> None:
        """The directory itself dies, and is restarted."""
        self.tell(message)
        self.tell(Resume())

    def lives(self, key: ParentKey = HOME) -> list[Any]:
        return [what for name, what in self.log if name == f"cluster/{key.namespace}/{key.name}"]

    def phase(self, key: ParentKey = HOME) -> str:
        entry = self.made._entries.get(f"cluster/{key.namespace}/{key.name}")  # noqa: SLF001 - a look from outside
        return entry.phase.value if entry is not None else "none"

    def subscribed(self, kind: str = "ComputeNode") -> list[tuple[str, bool]]:
        """(parent, on or off) in order, as a watcher hears it."""
        told = self.watchers[kind].told
        return [
            (m.parent.name, isinstance(m, SubscribeWanted))
            for m in told if isinstance(m, (SubscribeWanted, UnsubscribeWanted))
        ]  # fmt: skip

    def quarantine(self, key: ParentKey = HOME) -> None:
        self.want(key)
        self.poisoned.add(f"cluster/{key.namespace}/{key.name}")
        self.kill(key)
        self.world.run_for(5.0)
        assert self.phase(key) == "quarantined"
