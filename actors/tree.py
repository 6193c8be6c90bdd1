"""The tree: which actors there are, in which order they start, and with which policy. Data on one page.

::

    root                    one_for_one; a child that dies too often ends the process with a non-zero exit
     ├─ status              writes statuses and Events
     ├─ gateway             batch calls under the quota       (its ledger and valve outlive it)
     ├─ directory           one ClusterActor per parent, each with a restart budget of its own
     │    └─ cluster/NAMESPACE/NAME …
     └─ watcher/KIND …      one per kind, the parents' first  (their records outlive them)

Real and simulated runs share this page: they hand in other ports and another dispatcher, never other actors.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

from attrs import evolve, field, frozen

from .actor import Behaviour, Cell, Context, Factory, Ref
from .cluster import ClusterActor
from .core.fleet import FleetDefinition
from .core.fleet_valve import FleetValve
from .core.model import ParentKey, Policy
from .core.ports import Backend, Reader, StatusWriter
from .core.quota import Ledger
from .core.records import RecordStore
from .core.restarts import RestartPolicy
from .directory import DirectoryActor
from .gateway import BatchGatewayActor, GatewaySettings
from .mailbox import Dispatcher, using
from .messages import GATEWAY, DrainWanted, StopTree
from .status import StatusActor
from .supervision import ChildSpec, Supervisor
from .watcher import ChildWatcher, ParentWatcher

VITAL = ("root", GATEWAY, "directory")  # a wedge in one of these is not survivable


@frozen(kw_only=True)
class TreeSettings:
    """What the tree needs to know. Seconds; ``idle_s`` 0 never passivates."""

    policy: Policy
    gateway: GatewaySettings
    idle_s: float = 300.0
    status_in_flight_max: int = 8
    static: RestartPolicy = field(factory=RestartPolicy)
    clusters: RestartPolicy = field(factory=RestartPolicy)


@frozen(kw_only=True)
class Ports:
    """The outside."""

    reader: Reader
    status_writer: StatusWriter
    backend: Backend


class EndKind(enum.Enum):
    """Why the system ended by itself."""

    ESCALATED = "escalated"  # the root gave up
    FATAL = "fatal"  # the interpreter is in trouble, or a thread is wedged


@frozen(kw_only=True)
class End:
    """The system ended by itself; the process should exit with a code of its own for ``kind``."""

    kind: EndKind
    reason: str
    error: BaseException | None = None


class _OfParent:
    """Makes the incarnations of one parent's actor. A function made inside a function takes four times as much."""

    __slots__ = ("_key", "_make")

    def __init__(self, make: Callable[[Context, ParentKey], Behaviour], key: ParentKey) -> None:
        self._make = make
        self._key = key

    def __call__(self, ctx: Context) -> Behaviour:
        return self._make(ctx, self._key)


class System:
    """A running tree. ``on_end`` is called at most once, from any thread, when the system ends by itself."""

    def __init__(
        self, *, dispatcher: Dispatcher, fleet: FleetDefinition, settings: TreeSettings, ports: Ports,
        on_end: Callable[[End], None] = lambda end: None,
    ) -> None:  # fmt: skip
        self.dispatcher = dispatcher
        self.fleet = fleet
        gateway = settings.gateway.with_backend(ports.backend.capabilities)
        self.settings = evolve(settings, gateway=gateway)
        several = [child.ref.kind for child in fleet.children if child.several]
        self.store = RecordStore(tuple(child.ref.kind for child in fleet.children), several)
        self.refs: dict[str, Ref] = {}
        self.pauses: dict[
            ParentKey, float
        ] = {}  # by command: until when, on the dispatcher's clock; the directory writes it
        self.behind: dict[
            str, float
        ] = {}  # kinds whose stream has been down for long, since when; the directory writes it
        self.end: End | None = None
        self.stopped = False
        self.overdue: list[str] = []
        self._make_cluster, self._find_watcher = self._cluster_actor, self._watcher_of  # once for all parents
        self._ports = ports
        self._on_end = on_end
        self.ledger = Ledger(gateway.quota, gateway.call_timeout_s, gateway.counted_late_s)
        self.fleet_valve = FleetValve(gateway.fleet_share, gateway.fleet_floor)

    # --- the tree -----------------------------------------------------------------------------------------------------
    def specs(self) -> tuple[ChildSpec, ...]:
        """Every static child, in starting order."""
        kinds = tuple(kind.kind for kind in self.fleet.kinds)
        policy = self.settings.static
        return (
            ChildSpec(name="status", policy=policy, factory=self._status),
            ChildSpec(name=GATEWAY, policy=policy, factory=self._gateway),
            ChildSpec(name="directory", policy=policy, factory=self._directory),
            *(ChildSpec(name=f"watcher/{kind}", policy=policy, factory=self._watcher(kind)) for kind in kinds),
        )

    def _status(self, ctx: Context) -> Behaviour:
        writer = self._ports.status_writer
        return StatusActor(ctx, writer=writer, in_flight_max=self.settings.status_in_flight_max)

    def _gateway(self, ctx: Context) -> Behaviour:
        return BatchGatewayActor(
            ctx, backend=self._ports.backend, records=self.store, ledger=self.ledger, valve=self.fleet_valve,
            settings=self.settings.gateway,
        )  # fmt: skip

    def _directory(self, ctx: Context) -> Behaviour:
        return DirectoryActor(
            ctx, kinds=tuple(kind.kind for kind in self.fleet.kinds), store=self.store, cluster_factory=self._cluster,
            policy=self.settings.clusters, watcher=self._watcher_of,
            status=self.refs["status"], gateway=self.refs[GATEWAY], give_up=self._escalated, pauses=self.pauses,
            behind=self.behind,
        )  # fmt: skip

    def _cluster(self, key: ParentKey) -> Factory:
        return _OfParent(self._make_cluster, key)

    def _cluster_actor(self, ctx: Context, key: ParentKey) -> Behaviour:
        return ClusterActor(
            ctx, key=key, fleet=self.fleet, policy=self.settings.policy, idle_s=self.settings.idle_s,
            status=self.refs["status"], gateway=self.refs[GATEWAY], directory=self.refs["directory"],
            watcher=self._find_watcher, pauses=self.pauses, behind=self.behind,
        )  # fmt: skip

    def _watcher_of(self, kind: str) -> Ref | None:
        return self.refs.get(f"watcher/{kind}")

    def _watcher(self, kind: str) -> Factory:
        def factory(ctx: Context) -> Behaviour:
            common: dict[str, Any] = {
                "kind": kind, "reader": self._ports.reader, "store": self.store, "directory": self.refs["directory"],
            }  # fmt: skip
            if kind == self.fleet.parent.kind:
                return ParentWatcher(ctx, **common, fleet=self.fleet, policy=self.settings.policy)
            return ChildWatcher(ctx, **common)

        return factory

    # --- running ------------------------------------------------------------------------------------------------------
    def start(self) -> None:
        """Start the root, which starts everything else."""

        def factory(ctx: Context) -> Behaviour:
            return Supervisor(
                ctx, specs=self.specs(), started=self.refs.__setitem__, give_up=self._escalated, stopped=self._stopped
            )

        with using(self.dispatcher):
            self.refs["root"] = Cell.start(name="root", factory=factory, on_death=self._root_died)

    def fatal(self, actor: str, error: BaseException) -> None:
        """For the dispatcher's ``on_fatal``: the process must end."""
        self._ended(End(kind=EndKind.FATAL, reason=f"{actor}: {type(error).__name__}: {error}", error=error))

    def drain(self, reply: Callable[[str], None]) -> None:
        """Begin no new call and finish what is under way; ``reply(name)`` is called for each actor that has."""
        for name in (GATEWAY, "status"):
            ref = self.refs.get(name)
            if ref is not None and ref.is_alive():
                ref.tell(DrainWanted(reply=lambda name=name: reply(name)))

    def stop(self) -> None:
        """Stop the tree, last started first; ``stopped`` turns True, and ``overdue`` names who did not in time."""
        root = self.refs.get("root")
        if root is not None and root.is_alive():
            root.tell(StopTree())
        else:
            self.stopped = True

    def ready(self) -> list[str]:
        """Why the system is not ready (every kind listed once, supervisor whole); empty when it is. Any thread.

        A stream that goes down later does not count: it is retried, and a restart of the process would not help it.
        """
        if self.end is not None:
            return [self.end.reason]
        cells = dict(self.cells())
        reasons = [f"{name} is {cell['state']}" for name, cell in cells.items() if cell["state"] != "running"]
        directory = cells.get("directory", {})
        sync: Any = directory.get("sync", {})
        for kind, state in sync.items():
            if not state["synced"]:
                reasons.append(f"{kind} is not listed yet" + (f": {state['message']}" if state["message"] else ""))
        return reasons or ([] if sync else ["not started yet"])

    def cells(self) -> list[tuple[str, dict[str, Any]]]:
        """Statistics of every static actor by name. Any thread; touches no mailbox."""
        return [(name, statistics_of(ref)) for name, ref in list(self.refs.items())]

    def mailboxes(self) -> list[tuple[str, int]]:
        """Every actor's name and how many messages wait for it, parents' too. Any thread; O(actors), for a scrape."""
        directory = self.refs.get("directory")
        cell = directory._actor_weakref() if directory is not None else None  # noqa: SLF001  as in statistics_of
        parents = list(cell.children.values()) if isinstance(cell, Cell) else []
        cells = [ref._actor_weakref() for ref in [*list(self.refs.values()), *parents]]  # noqa: SLF001  as above
        return [(each.name, each.actor_inbox.depth()) for each in cells if isinstance(each, Cell)]

    def _escalated(self, reason: str) -> None:
        self._ended(End(kind=EndKind.ESCALATED, reason=reason))

    def _root_died(self, reason: str) -> None:
        self._ended(End(kind=EndKind.ESCALATED, reason=f"the root supervisor died: {reason}"))

    def _ended(self, end: End) -> None:
        if self.end is None:
            self.end = end
            self._on_end(end)

    def _stopped(self, overdue: list[str]) -> None:
        self.overdue = overdue
        self.stopped = True


def statistics_of(ref: Ref) -> dict[str, Any]:
    """A cell's statistics; ``state`` is "stopped" where there is none any more."""
    cell = ref._actor_weakref()  # noqa: SLF001  pykka keeps it for proxies; reading counters asks nothing of the actor
    return cell.statistics() if isinstance(cell, Cell) else {"state": "stopped"}
