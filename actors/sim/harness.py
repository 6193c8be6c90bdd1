"""A whole operator in virtual time: the real tree on simulated ports, with the model API server and backend behind them.

``SimulatedFleet`` is what the actors' tests stand on: create and change objects as a user would, let virtual time pass, then
compare statuses with ``truth`` and the backend's log with the quota. Only ports are replaced, never actors.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
from attrs import evolve

from ..core.builtin import MUSTER_FLEET
from ..core.errors import (
    CallTimeout,
    Conflict,
    Invalid,
    Malformed,
    NotFound,
    Refused,
    Throttled,
    Unavailable,
    Unreachable,
)
from ..core.fleet import PAYLOAD, FleetDefinition
from ..core.model import EventNote, ParentKey, Policy
from ..core.operation import PROMISED, Capabilities
from ..core.ports import Backend, Call, ItemResult, Later, Reply, StatusWriter, Written
from ..core.quantity import Quota
from ..core.reconcile import rfc3339
from ..core.status_wire import patch_of, status_of, subresource_of
from ..gateway import GatewaySettings
from ..mailbox import Dispatcher
from ..tree import Ports, System, TreeSettings
from .apierrors import ApiError as Refusal
from .apiserver import ApiServerModel
from .backend import FIELDS, BackendModel, Repair
from .crds import crd_documents
from .reader import SimReader
from .world import World

CLUSTERS, COMPUTE, STORAGE = "clusters.muster.dev", "computenodes.muster.dev", "storagenodes.muster.dev"
CRDS = "customresourcedefinitions.apiextensions.k8s.io"
TEN_A_SECOND = Quota(10, 1.0)
_PLURALS = {"ComputeNode": COMPUTE, "StorageNode": STORAGE}


class SimStatusWriter(StatusWriter):
    """Writes to the model after ``rtt_s``. ``fail`` may raise in its place (an ``ApiError`` of ``core.errors``)."""

    def __init__(self, model: ApiServerModel, fleet: FleetDefinition, rtt_s: float = 0.005) -> None:
        self.rtt_s = rtt_s
        self.writes: list[tuple[ParentKey, dict[str, Any]]] = []
        self.events: list[tuple[ParentKey, EventNote]] = []
        self.fail: Callable[[ParentKey], None] = lambda parent: None
        self._model = model
        self._fleet, self._resource = fleet, fleet.parent.resource

    def patch_status(self, parent: ParentKey, uid: str, version: int, status: dict[str, Any]) -> Later[Written]:
        """See the port."""
        return Later(self.rtt_s, lambda: self._patch(parent, uid, version, status))

    def record_event(self, parent: ParentKey, uid: str, note: EventNote) -> None:
        """Keeps it."""
        self.events.append((parent, note))

    def _patch(self, parent: ParentKey, uid: str, version: int, status: dict[str, Any]) -> Written:
        self.fail(parent)
        metadata = {"name": parent.name, "uid": uid, "resourceVersion": str(version)}
        body = patch_of(self._fleet, metadata, status)
        try:
            stored = self._model.patch(self._resource, parent.name, body, parent.namespace, subresource_of(self._fleet))
        except Refusal as refusal:
            kind = {409: Conflict, 404: NotFound, 422: Invalid}.get(refusal.code, Unreachable)
            raise kind(refusal.message) from refusal
        self.writes.append((parent, status))
        return Written(version=stored.resource_version, status=status_of(self._fleet, stored.obj))


class SimBackend(Backend):
    """The backend model behind a network that takes ``rtt_s``, of which some is over when the call arrives."""

    def __init__(self, model: BackendModel, world: World, rtt_s: float = 0.02, able: Capabilities = PROMISED) -> None:
        self.capabilities = able
        self.model = model
        self.rtt_s = rtt_s
        self.on_send: list[Callable[[Call], None]] = []
        """Each hears of a call before it leaves."""
        self._world = world

    def send(self, call: Call) -> Later[Reply]:
        """See the port."""
        for heard in self.on_send:
            heard(call)
        answers: list[Any] = []
        body = json.dumps({"nodes": [item.payload for item in call.items]}).encode()
        delay_s = self._world.random.uniform(0.0, self.rtt_s)
        self._world.after(delay_s, lambda: answers.append(self.model.arrive(body, call.id, self._world.clock.now())))
        return Later(self.rtt_s, lambda: self._answered(call, answers[0]))

    def _answered(self, call: Call, answer: Any) -> Reply | Later[Reply]:
        """How long the answer takes is known only once the call has arrived."""
        if answer.code == 0 or answer.delay_s > call.timeout_s:
            return Later(call.timeout_s - self.rtt_s, lambda: self._reply(call, evolve(answer, code=0)))
        return Later(answer.delay_s, lambda: self._reply(call, answer))

    def _reply(self, call: Call, answer: Any) -> Reply:
        if answer.code in (0, -1):
            raise CallTimeout("no answer") if answer.code == 0 else Unavailable("the connection was cut")
        retry = answer.headers.get("Retry-After")
        if answer.code == 429 or (answer.code == 503 and retry is not None):
            raise Throttled("refused", retry_after_s=float(retry) if retry is not None else None)
        if answer.code >= 500:
            raise Unavailable(f"{answer.code}")
        if answer.code >= 300:
            raise Refused(f"{answer.code}")
        try:
            results = msgspec.json.decode(answer.body).get("results")
        except (msgspec.DecodeError, AttributeError) as error:
            raise Malformed("nonsense") from error
        if results is None:
            return Reply(results={item.key: ItemResult(status="accepted") for item in call.items})
        keys = {item.key for item in call.items}
        known = {
            each["key"]: ItemResult(
                status=each["status"], message=each.get("message", ""), retry_after_s=each.get("retryAfterSeconds")
            )
            for each in results if each["key"] in keys
        }  # fmt: skip
        return Reply(results=known, unknown_count=len(results) - len(known))


class SimulatedFleet:
    """One operator, one API server, one backend, one seed. Durations in seconds of virtual time.

    ``able``: what the backend's adapter declares; the model keeps its own habits (``honours_keys``).
    ``heal_after_s`` not None: a repaired node reports healthy that long after its execution, as a real repair would.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        quota: Quota = TEN_A_SECOND,
        batch_max: int = 100,
        policy: Policy | None = None,
        fleet: FleetDefinition = MUSTER_FLEET,
        heal_after_s: float | None = None,
        cold_start_s: float | None = 0.0,
        idle_s: float = 300.0,
        rtt_s: float = 0.02,
        able: Capabilities = PROMISED,
        **gateway: Any,
    ) -> None:
        self.world = World(seed)
        self.api = ApiServerModel(clock=self.world.clock.wall, seed=str(seed))
        for document in crd_documents():
            self.api.create(CRDS, document)
        fields = FIELDS if fleet.payload == PAYLOAD else ("key", "uid")
        self.backend_model = BackendModel(
            calls_max=quota.calls, window_s=quota.window_s, batch_max=batch_max, fields=fields
        )  # fmt: skip
        self.backend = SimBackend(self.backend_model, self.world, rtt_s, able)
        self.writer = SimStatusWriter(self.api, fleet)
        self.reader = SimReader(self.api, fleet, self.world)
        self.settings = TreeSettings(
            policy=policy or Policy(),
            gateway=GatewaySettings(
                operation=fleet.operation, quota=quota, batch_max=batch_max, cold_start_s=cold_start_s, **gateway
            ),
            idle_s=idle_s,
        )
        self.fleet = fleet
        self._heal_after_s = heal_after_s
        self._healed = 0
        self._numbers = itertools.count(1)
        self.backend_port: Backend = self.backend  # what the tree calls; a test may put another before it
        self.cure: Callable[[Repair], None] = self._cure  # what a repair does to its node; a test may set another
        self.system = self._new_system()

    def _new_system(self, dispatcher: Dispatcher | None = None) -> System:
        """On these ports; on our own virtual time unless another dispatcher is given."""
        ports = Ports(reader=self.reader, status_writer=self.writer, backend=self.backend_port)
        return System(dispatcher=dispatcher or self.world, fleet=self.fleet, settings=self.settings, ports=ports)

    # --- the operator -------------------------------------------------------------------------------------------------
    def start(self) -> None:
        """Start the operator and let it list."""
        self.system.start()
        self.run(0.0)

    def run(self, seconds: float) -> None:
        """Let virtual time pass; repaired nodes heal meanwhile."""
        if self._heal_after_s is None:
            self.world.run_for(seconds)
            return
        end_s = self.world.clock.now() + seconds
        while self.world.clock.now() < end_s:
            self.world.run_for(min(0.05, end_s - self.world.clock.now()))
            self._heal()

    def _heal(self) -> None:
        assert self._heal_after_s is not None
        for repair in self.backend_model.repairs[self._healed :]:
            self._healed += 1
            self.world.after(self._heal_after_s, partial(self.cure, repair))

    def _cure(self, repair: Repair) -> None:
        try:
            node = self.api.get(_PLURALS[repair.kind], repair.name, repair.namespace).obj
            if node["metadata"]["uid"] == repair.uid:
                self.report(repair.name, True, kind=repair.kind, namespace=repair.namespace)
        except Refusal:
            pass  # the node is gone: nothing to heal

    # --- the users ----------------------------------------------------------------------------------------------------
    def cluster(self, name: str, spec: dict[str, Any] | None = None, namespace: str = "default") -> None:
        """Create a Cluster."""
        self.api.create(CLUSTERS, {
            "apiVersion": "muster.dev/v1alpha1", "kind": "Cluster",
            "metadata": {"name": name, "namespace": namespace}, "spec": spec or {},
        }, namespace)  # fmt: skip

    def node(
        self, name: str, cluster: str, healthy: bool | None = True, *, kind: str = "ComputeNode",
        namespace: str = "default", labels: dict[str, str] | None = None,
    ) -> None:  # fmt: skip
        """Create a node of ``cluster`` and have it report, unless ``healthy`` is None."""
        self.api.create(_PLURALS[kind], {
            "apiVersion": "muster.dev/v1alpha1", "kind": kind,
            "metadata": {"name": name, "namespace": namespace, "labels": labels or {}},
            "spec": {"clusterRef": {"name": cluster}},
        }, namespace)  # fmt: skip
        if healthy is not None:
            self.report(name, healthy, kind=kind, namespace=namespace)

    def report(self, name: str, healthy: bool, *, kind: str = "ComputeNode", namespace: str = "default") -> None:
        """The node reports: heartbeat, health, and the transition's instant where it flips."""
        old = self.api.get(_PLURALS[kind], name, namespace).obj.get("status", {})
        now = rfc3339(self.world.clock.wall())
        conditions = old.get("conditions", [])
        if old.get("healthy") != healthy:
            conditions = [{"type": "Healthy", "status": str(healthy), "reason": "Reported", "message": "",
                           "lastTransitionTime": now}]  # fmt: skip
        status = {"healthy": healthy, "lastHeartbeatTime": now, "conditions": conditions}
        self.api.patch(_PLURALS[kind], name, {"status": status}, namespace, "status")

    def delete(self, name: str, *, plural: str = COMPUTE, namespace: str = "default") -> None:
        """Delete an object."""
        self.api.delete(plural, name, namespace)

    def status(self, cluster: str, namespace: str = "default") -> dict[str, Any]:
        """The Cluster's status on the server."""
        status: dict[str, Any] = self.api.get(CLUSTERS, cluster, namespace).obj.get("status", {})
        return status

    def counts(self, cluster: str, namespace: str = "default") -> tuple[int, int, int, int]:
        """(total, healthy, unhealthy, unknown) as the status has them."""
        status = self.status(cluster, namespace)
        return tuple(status.get(name, -1) for name in ("total", "healthy", "unhealthy", "unknown"))

    def truth(self, cluster: str, namespace: str = "default") -> tuple[int, int, int, int]:
        """The same from the nodes themselves, without silence."""
        healthy = unhealthy = unknown = 0
        for plural in _PLURALS.values():
            for stored in self.api.list(plural, namespace=namespace).items:
                if stored.obj["spec"]["clusterRef"]["name"] != cluster:
                    continue
                said = stored.obj.get("status", {}).get("healthy")
                healthy += said is True
                unhealthy += said is False
                unknown += said is None
        return healthy + unhealthy + unknown, healthy, unhealthy, unknown

    def repaired(self) -> list[str]:
        """Names of executed repairs, in order."""
        return [repair.name for repair in self.backend_model.repairs]

    def condition(self, cluster: str, name: str, namespace: str = "default") -> dict[str, Any]:
        """One condition of the Cluster; {} where it is not there."""
        conditions = self.status(cluster, namespace).get("conditions", [])
        return next((c for c in conditions if c["type"] == name), {})


__all__ = ["CLUSTERS", "COMPUTE", "STORAGE", "SimBackend", "SimStatusWriter", "SimulatedFleet"]
