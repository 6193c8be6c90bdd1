"""The stage: the servers, the network, the users and the operator's process, on one world and one seed.

Users' verbs are lenient: what does not fit the present state (a node that is gone fails, a parent that is there is created)
does nothing, so that any subset of a script is a script. That is what makes failing ones shrinkable.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from random import Random
from typing import Any

from attrs import define, field, frozen

from ..core.builtin import MUSTER_FLEET
from ..core.events import Fact
from ..core.fleet import FleetDefinition
from ..core.model import ParentKey, Policy, Share
from ..core.operation import ALL
from ..core.ports import Objects, StreamChanged
from ..core.quantity import Quota
from ..core.reconcile import rfc3339
from ..gateway import GatewaySettings
from ..sim.apierrors import ApiError as Refusal
from ..sim.apiserver import ApiServerModel
from ..sim.backend import BackendModel, Repair
from ..sim.crds import crd_documents
from ..sim.network import StageBackend, StageWriter
from ..sim.reader import Deliver, SimReader
from ..sim.schedule import PctSchedule, RandomSchedule
from ..sim.world import EPOCH_S, World
from ..tree import Ports, System, TreeSettings
from .process import Probe, ProbedSystem, Process
from .truth import NodeTruth, Truth

__all__ = ["CLUSTERS", "NAMESPACE", "PLURALS", "RECOVER_S", "Poison", "Stage", "StageSettings"]

CLUSTERS = "clusters.muster.dev"
CRDS = "customresourcedefinitions.apiextensions.k8s.io"
PLURALS = {"ComputeNode": "computenodes.muster.dev", "StorageNode": "storagenodes.muster.dev"}
NAMESPACE = "default"
RECOVER_S = 45.0
"""How long a kind may be behind after its fault has ended: a dead stream is found within 25 s, then up to 5 s of backoff,
a list that is not answered for 15 s."""
EXIT_RESTART_S = 2.0  # how long the kubelet takes to start a process again; its own backoff is not the subject


@frozen(kw_only=True)
class StageSettings:
    """Sizes are the script's; these are the operator's and the servers' settings. Seconds."""

    seed: int = 0
    quota: Quota = field(default=Quota(5, 10.0))
    batch_max: int = 20
    in_flight_max: int = 16
    call_timeout_s: float = 10.0
    lateness_s: float = 5.0
    retry_max_s: float = 60.0
    breaker_max_s: float = 60.0
    policy: Policy = field(factory=Policy)
    fleet_share: Share = ALL
    fleet_floor: int = 2
    heal_after_s: float = 2.0
    idle_s: float = 60.0
    api_rtt_s: float = 0.01
    backend_rtt_s: float = 0.05
    honours_keys: bool = True
    streamed_list: bool = True
    page_items: int = 500
    watch_s: int = 20
    pct: bool = False
    turn_messages_max: int = 4


@define(eq=False)
class Poison:
    """One version of an object whose record kills whoever of ``actor`` (a prefix of names) reads it."""

    name: str
    version: int
    actor: str
    fault: str
    deaths: dict[str, int] = field(factory=dict)
    """By actor's address: a parent's next actor is another reader."""


@define(eq=False)
class Broken:
    """What faults have broken, as data: their verbs set it, and what the stage hands to a new process reads it.

    Instants are the world's, seconds; what lasts *until* an instant has been when it is over.
    """

    fault: str = ""
    """The id of the fault whose step is being played."""
    lags: dict[str, tuple[float, float]] = field(factory=dict)
    """By kind: until when, and by how much, its changes are late."""
    manglings: dict[str, tuple[str, float]] = field(factory=dict)
    """By kind: what is done to its lines, and until when."""
    mutes: dict[str, float] = field(factory=dict)
    """By kind: until when requests get no answer."""
    refusals: dict[str, tuple[str, float, float | None]] = field(factory=dict)
    """By kind: how requests are refused, until when, and with which Retry-After."""
    stale: dict[str, tuple[int, float, float]] = field(factory=dict)
    """By kind: how many changes lists are behind, until when, and since when."""
    away_until_s: float = -1.0
    """Until when the API server is (or was) away for everybody: users, nodes and us."""
    spoilt: dict[str, int] = field(factory=dict)
    """By uid: from which version on that node's object is one that we cannot read. The API server lets nobody change it."""
    twice_until_s: float = -1.0
    """Until when each call's end is told twice."""
    lost_until_s: float = -1.0
    """Until when no call's end is told."""
    deaths: dict[str, list[float]] = field(factory=dict)
    """When each actor was struck."""
    kill_at: dict[str, tuple[int, float, str]] = field(factory=dict)
    """By moment: at the how-manieth, when a new process starts, and the fault's id."""
    slow: tuple[str, float, float] = ("", 0.0, -1.0)
    """Whose turns begin late (a prefix), by how much at most, until when."""
    pipe_cuts: dict[str, str] = field(factory=dict)
    """Kinds whose next mail is lost with its reader, and the fault's id."""
    pipe_held: dict[str, list[tuple[int, Objects | StreamChanged, Deliver]]] = field(factory=dict)
    """Kinds whose pipe is full, and what waits: (life, mail, where it goes)."""
    stubborn: dict[str, int] = field(factory=dict)
    """By uid: how many repairs more of that node do not help."""
    meddle: dict[str, tuple[int, str]] = field(factory=dict)
    """By moment: how many more times somebody acts just then, and the fault's id."""
    after: dict[str, tuple[str, str, str]] = field(factory=dict)
    """By actor: who dies as soon as it has, of news of which node, and the fault's id."""
    poisons: dict[str, Poison] = field(factory=dict)
    """By uid: the record that kills whoever reads it."""
    left_broken: set[str] = field(factory=set)
    """Actors that stay broken after the healing."""
    left_sick: set[str] = field(factory=set)
    """Uids of nodes that stay unhealthy, whatever the backend does."""


@functools.cache
def _crds() -> tuple[dict[str, Any], ...]:
    return tuple(crd_documents())


class Stage:
    """One world. ``start`` begins the operator's first life."""

    def __init__(self, settings: StageSettings, fleet: FleetDefinition = MUSTER_FLEET) -> None:
        self.settings = settings
        self.fleet = fleet
        seed = settings.seed
        random = Random(f"schedule/{seed}")  # noqa: S311  the seed is the point
        schedule = PctSchedule(random) if settings.pct else RandomSchedule(random)
        self.world = World(seed, schedule=schedule, turn_messages_max=settings.turn_messages_max)
        self.draws = Random(f"faults/{seed}")  # noqa: S311  apart from the actors' own randomness
        self.api = ApiServerModel(clock=self._server_wall, seed=str(seed))
        for document in _crds():
            self.api.create(CRDS, document)
        self.child_kinds = tuple(child.ref.kind for child in fleet.children)
        self.truth = Truth(self.api, fleet.parent.kind, self.child_kinds, self.world.clock.now)
        self.truth.default_timeout_s = settings.policy.heartbeat_timeout_s
        quota = settings.quota
        self.backend_model = BackendModel(calls_max=quota.calls, window_s=quota.window_s, batch_max=settings.batch_max)
        self.backend_model.honours_keys = settings.honours_keys
        self.backend_model.on_repair.append(self._repaired)
        self.backend = StageBackend(self.world, self.backend_model, settings.backend_rtt_s)
        self.writer = StageWriter(self.world, self.api, fleet, settings.api_rtt_s)
        self.process: Process | None = None
        self.system: System | None = None
        self.reader: SimReader | None = None
        self.lives = 0
        self.facts: list[tuple[float, int, Fact]] = []  # (instant, life, fact)
        self.on_fact: dict[type, list[Callable[[Any], None]]] = {}
        self.on_life: list[Callable[[], None]] = []
        """Called when a process has been made and not yet started."""
        self.on_mail: list[Callable[[str, Objects | StreamChanged], None]] = []
        self.on_read: list[Callable[[str, float | None], None]] = []
        """Hears (kind, Retry-After where it is refused with one) of each request for a list or a watch."""
        self.on_resume: list[Callable[[str, int, int], None]] = []
        """Hears (kind, version asked for, newest version told) of each watch that goes on where one has been."""
        self.on_kill: list[Callable[[], None]] = []
        self.on_poisoned: list[Callable[[str, str, str], None]] = []
        """Hears (actor, its address, uid) of each death by a poisonous record."""
        self.pipe: Callable[[str, Objects | StreamChanged, Deliver], None] | None = None
        """In place of the delivery of mail: may hold, halve or lose it."""
        self.broken = Broken()
        self.note_fired: Callable[[str], None] = lambda fault: None
        """Told when a fault that waited for its moment strikes."""
        self.chaos_over = self._starting = False
        self.previous_probe: Probe | None = None
        self.run: Any = None  # the one that plays on it
        self.impaired_until_s: dict[str, float] = {}
        self.impaired_from_s: dict[str, float] = {}
        self.impaired_s = -math.inf  # until when anything is, or was

    def _server_wall(self) -> float:
        """The servers' and the nodes' wall clock, which nobody sets."""
        return EPOCH_S + self.world.clock.now_s

    # --- the operator -------------------------------------------------------------------------------------------------
    def start(self, *, cold_start_s: float | None = None) -> None:
        """Begin a life of the operator's process."""
        self.lives += 1
        settings = self.settings
        process = Process(self.world, self.lives, on_fact=self._fact)
        process.on_fatal = self._fatal
        process.twice = lambda pool: pool == "backend" and self.broken.twice_until_s > self.world.clock.now()
        process.lost = lambda pool: pool == "backend" and self.broken.lost_until_s > self.world.clock.now()
        reader = _WatchedReader(
            self, process, streamed_list=settings.streamed_list, watch_s=settings.watch_s,
            page_items=settings.page_items, server_wall=self._server_wall,
        )  # fmt: skip
        reader.rtt_s = settings.api_rtt_s
        system = ProbedSystem(
            probe=process.probe,
            dispatcher=process,
            fleet=self.fleet,
            settings=TreeSettings(
                policy=settings.policy,
                gateway=GatewaySettings(
                    operation=self.fleet.operation, quota=settings.quota, batch_max=settings.batch_max,
                    in_flight_max=settings.in_flight_max, call_timeout_s=settings.call_timeout_s,
                    lateness_s=settings.lateness_s, cold_start_s=cold_start_s, retry_max_s=settings.retry_max_s,
                    breaker_max_s=settings.breaker_max_s, fleet_share=settings.fleet_share,
                    fleet_floor=settings.fleet_floor,
                ),
                idle_s=settings.idle_s,
            ),
            ports=Ports(reader=reader, status_writer=self.writer, backend=self.backend),
            on_end=lambda end: self._ended(),
        )  # fmt: skip
        self.process, self.system, self.reader = process, system, reader
        for begun in self.on_life:
            begun()
        system.start()

    def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None:
            for heard in self.on_kill:
                heard()
            self.process.kill()
        self.process = self.system = self.reader = None

    def restart(self, after_s: float = EXIT_RESTART_S) -> None:
        """Kill it, and have it started again by whoever does that (with the cold start that a new process needs)."""
        self.kill()
        if not self._starting:
            self._starting = True
            self.world.after(after_s, self._start_again)

    def _start_again(self) -> None:
        self._starting = False
        if self.process is None:
            self.start()

    def terminate(self, grace_s: float) -> None:
        """SIGTERM: drain, stop, and at the end of the grace SIGKILL; then started again, as an update does."""
        system, process = self.system, self.process
        if system is None or process is None:
            return
        self._starting = True
        for heard in self.on_kill:
            heard()
        waiting = {"gateway", "status"}

        def drained(name: str) -> None:
            waiting.discard(name)
            if not waiting and process.alive:
                process.after(0.0, system.stop)

        system.drain(drained)

        def over() -> None:
            process.kill()
            if self.process is process:
                self.process = self.system = self.reader = None
            self._start_again()

        self.world.after(grace_s, over)

    def _fatal(self, actor: str, error: BaseException) -> None:
        if self.system is not None:
            self.system.fatal(actor, error)

    def _ended(self) -> None:
        """The process leaves with an exit code of its own, once the turn is over: the interpreter is gone then."""
        if self.process is not None:
            self.process.alive = False
        self.impair_all(EXIT_RESTART_S)
        self.world.after(0.0, self.restart)

    def _fact(self, fact: Fact) -> None:
        self.facts.append((self.world.clock.now_s, self.lives, fact))
        for heard in self.on_fact.get(type(fact), ()):
            heard(fact)

    def listen(self, kind: type, heard: Callable[[Any], None]) -> None:
        """Have ``heard(fact)`` called for each fact of that class."""
        self.on_fact.setdefault(kind, []).append(heard)

    @property
    def probe(self) -> Probe | None:
        """The present process's."""
        return None if self.process is None else self.process.probe

    # --- what is broken -----------------------------------------------------------------------------------------------
    def impair(self, part: str, until_s: float) -> None:
        """``part`` (``api:KIND``, ``list:KIND`` where lists are not answered either, ``write``, ``write:PARENT``, ``backend``,
        ``operator``, ``actor:NAME``) does not work as it should until then; oracles ask less of what depends on it.
        """
        now = self.world.clock.now()
        if self.impaired_until_s.get(part, -1.0) < now:
            self.impaired_from_s[part] = now
        self.impaired_until_s[part] = max(self.impaired_until_s.get(part, until_s), until_s)
        self.impaired_s = max(self.impaired_s, until_s)

    def impair_all(self, for_s: float) -> None:
        """There is no process for so long; then a new one lists, and may not call before its cold start is over."""
        now, settings = self.world.clock.now(), self.settings
        kinds = (self.fleet.parent.kind, *self.child_kinds)
        for part in ("operator", "write", *(f"api:{kind}" for kind in kinds)):
            self.impair(part, now + for_s + RECOVER_S)
        cold_s = settings.quota.window_s + settings.call_timeout_s + settings.lateness_s
        self.impair("backend", now + for_s + RECOVER_S + cold_s + 2 * settings.quota.window_s)

    def set_lags(self, reader: SimReader) -> None:
        """Have the reader be as late as the faults that hold now say."""
        now = self.world.clock.now()
        reader.lag_s = {kind: late_s for kind, (until_s, late_s) in self.broken.lags.items() if until_s > now}

    def set_holds(self) -> None:
        """Have the process be as slow as the fault that holds now says."""
        process = self.process
        if process is None:
            return
        actor, seconds, until_s = self.broken.slow
        now = self.world.clock.now
        if until_s <= now():
            process.hold_s = None
            return

        def hold_s(name: str) -> float:
            return self.draws.random() * seconds if until_s > now() and name.startswith(actor) else 0.0

        process.hold_s = hold_s

    def firing(self) -> Callable[[], None]:
        """To be called when what the present step has prepared strikes."""
        fault = self.broken.fault
        return lambda: self.note_fired(fault)

    def calm(self, since_s: float, *parts: str) -> bool:
        """Whether none of these parts was impaired at any instant since then."""
        return self.impaired_s < since_s or all(self.impaired_until_s.get(part, -math.inf) < since_s for part in parts)

    # --- the users ----------------------------------------------------------------------------------------------------
    def cluster(self, name: str, spec: dict[str, Any] | None = None) -> None:
        """Create that parent."""
        if not self.api.has(CLUSTERS, name, NAMESPACE):
            metadata = {"name": name, "namespace": NAMESPACE}
            body = {"apiVersion": "muster.dev/v1alpha1", "kind": "Cluster", "metadata": metadata, "spec": spec or {}}
            self._try(lambda: self.api.create(CLUSTERS, body, NAMESPACE))

    def configure(self, name: str, spec: dict[str, Any]) -> None:
        """Change a parent's spec (a merge patch; None takes a field away)."""
        self._try(lambda: self.api.patch(CLUSTERS, name, {"spec": spec}, NAMESPACE))

    def node(self, name: str, cluster: str, healthy: bool | None = True, *, kind: str, by: str = "field") -> None:
        """Create a node of ``cluster`` and have it report, unless ``healthy`` is None. ``by``: field, label or owner."""
        if self.api.has(PLURALS[kind], name, NAMESPACE):
            return
        metadata: dict[str, Any] = {"name": name, "namespace": NAMESPACE}
        if by == "label":
            metadata["labels"] = {"muster.dev/cluster": cluster}
        elif by == "owner":
            metadata["ownerReferences"] = [{
                "apiVersion": "muster.dev/v1alpha1", "kind": "Cluster", "name": cluster, "controller": True,
                "uid": "00000000-0000-4000-8000-000000000000",
            }]  # fmt: skip
        spec = {"clusterRef": {"name": cluster if by == "field" else "nobody"}}
        body = {"apiVersion": "muster.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}
        if self._try(lambda: self.api.create(PLURALS[kind], body, NAMESPACE)) and healthy is not None:
            self.report(name, healthy, kind=kind)

    def report(self, name: str, healthy: bool | None = None, *, kind: str) -> None:
        """The node reports its heartbeat, and its health where one is given (else what it was; never reported: nothing)."""
        stored = self.stored(PLURALS[kind], name)
        if stored is None or stored["metadata"]["uid"] in self.broken.spoilt or self.away:
            return
        old = stored.get("status") or {}
        if healthy is None:
            healthy = old.get("healthy")
            if healthy is None:
                return
        now = rfc3339(self._server_wall())
        conditions = old.get("conditions", [])
        if old.get("healthy") is not healthy:
            turned = {"type": "Healthy", "status": str(healthy), "reason": "Reported", "message": ""}
            conditions = [{**turned, "lastTransitionTime": now}]
        status = {"healthy": healthy, "lastHeartbeatTime": now, "conditions": conditions}
        try:
            self.api.patch(PLURALS[kind], name, {"status": status}, NAMESPACE, "status")
        except Refusal:
            pass  # as any write of a node: it reports again

    def move(self, name: str, cluster: str, *, kind: str) -> None:
        """The node changes its parent, by the way it names one."""
        stored = self.stored(PLURALS[kind], name)
        if stored is None or stored["metadata"]["uid"] in self.broken.spoilt:
            return
        metadata = stored["metadata"]
        if metadata.get("ownerReferences"):
            owner = {**metadata["ownerReferences"][0], "name": cluster}
            body: dict[str, Any] = {"metadata": {"ownerReferences": [owner]}}
        elif metadata.get("labels"):
            body = {"metadata": {"labels": {"muster.dev/cluster": cluster}}}
        else:
            body = {"spec": {"clusterRef": {"name": cluster}}}
        self._try(lambda: self.api.patch(PLURALS[kind], name, body, NAMESPACE))

    def delete(self, plural: str, name: str) -> None:
        """Delete an object."""
        if self.api.has(plural, name, NAMESPACE):
            self._try(lambda: self.api.delete(plural, name, NAMESPACE))

    def touch(self, plural: str, name: str, body: dict[str, Any], subresource: str = "") -> None:
        """Somebody else patches that object."""
        if self.api.has(plural, name, NAMESPACE):
            self._try(lambda: self.api.patch(plural, name, body, NAMESPACE, subresource))

    def status(self, key: ParentKey) -> dict[str, Any] | None:
        """The parent's status on the server, None where there is no such parent."""
        obj = self.truth.parents.get(key)
        return None if obj is None else obj.get("status") or {}

    @property
    def away(self) -> bool:
        """Whether the API server is away, for everybody."""
        return self.broken.away_until_s > self.world.clock.now_s

    def stored(self, plural: str, name: str) -> dict[str, Any] | None:
        """That object as it is on the server; None where it is not there."""
        try:
            return self.api.get(plural, name, NAMESPACE).obj
        except Refusal:
            return None

    def _try(self, write: Callable[[], Any]) -> bool:
        if self.away:
            return False
        try:
            write()
        except Refusal:
            return False
        return True

    # --- repairs ------------------------------------------------------------------------------------------------------
    def _repaired(self, repair: Repair) -> None:
        left = self.broken.stubborn.get(repair.uid, 0)
        if left:
            self.broken.stubborn[repair.uid] = left - 1
            return
        self.world.after(self.settings.heal_after_s, lambda: self._cure(repair))

    def _cure(self, repair: Repair) -> None:
        node = self.truth.nodes.get(repair.uid)
        if self.away:  # an agent goes on trying
            self.world.after(1.0, lambda: self._cure(repair))
        elif node is not None:
            self.report(node.name, True, kind=node.kind)

    def find(self, uid: str) -> NodeTruth | None:
        """That node as it truly is."""
        return self.truth.nodes.get(uid)


class _WatchedReader(SimReader):
    """The simulated reader, whose mail goes past those who listen, and through the pipe's faults."""

    def __init__(self, stage: Stage, process: Process, **arguments: Any) -> None:
        super().__init__(stage.api, stage.fleet, process, **arguments)
        self._stage = stage

    def start(self, kind: str, epoch: int, deliver: Deliver) -> None:
        """See ``Reader``."""

        def arrive(mail: Objects | StreamChanged) -> None:
            for heard in self._stage.on_mail:
                heard(kind, mail)
            deliver(mail)

        def sent(mail: Objects | StreamChanged) -> None:
            pipe = self._stage.pipe
            if pipe is None:
                arrive(mail)
            else:
                pipe(kind, mail, arrive)

        super().start(kind, epoch, sent)
