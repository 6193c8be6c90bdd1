"""A fleet of one's own in virtual time: the operator as it is, with a model API server and backend behind it.

::

    def test_a_sick_machine_is_repaired():
        world = FleetWorld(pools, heal_after_s=5.0)
        world.create("Pool", "blue")
        world.create("Machine", "m1", labels={"pools.example.com/pool": "blue"}, healthy=False)
        world.run(60.0)

        assert world.repaired == ["m1"]
        assert world.status("blue")["healthy"] == 1

A minute takes milliseconds, and the same seed is the same run. The API server takes any field of the fleet's kinds, as one
without schemas would: whether a schema has it is what a real one is for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.fleet import FleetDefinition, KindRef, Lease
from ..core.joins import sides_of
from ..core.model import ParentKey
from ..core.reconcile import rfc3339
from ..edge.fleet_python import checked, settings_of
from ..insight.collector import Collector
from ..sim.harness import SimulatedFleet
from ..sim.kinds import PLAIN, plain
from ..sim.reports import report, status_in

__all__ = ["FleetWorld"]

Obj = dict[str, Any]


class FleetWorld:
    """One operator, one API server, one backend, for ``fleet``. Seconds are virtual.

    ``heal_after_s``: a repaired child reports that it is well so long after; None: it stays as it is. The fleet's settings are
    in force (quota, valve, cooldown …). ``SettingsError`` where the fleet is one that ``--fleet`` would refuse.
    """

    def __init__(self, fleet: FleetDefinition, *, seed: int = 0, heal_after_s: float | None = None) -> None:
        self.fleet = checked(fleet, f"fleet {fleet.name}")
        settings = settings_of(self.fleet)
        self._sim = SimulatedFleet(
            seed, fleet=self.fleet, quota=settings.quota, batch_max=settings.batch_max, policy=settings.policy,
            batch_quiet_s=settings.batch_quiet_s, in_flight_max=settings.calls_in_flight_max,
            call_timeout_s=settings.backend_timeout_s, lateness_s=settings.backend_lateness_s,
            fleet_share=settings.max_unhealthy_fleet,
        )  # fmt: skip
        self.sent: list[Obj] = []
        """What the backend has been told of each item, in order."""
        self._heal_after_s = heal_after_s
        self._made: dict[str, tuple[KindRef, str, str]] = {}  # by uid: kind, name and namespace
        self._started = False
        self._sim.backend.on_send.append(lambda call: self.sent.extend(item.payload for item in call.items))
        self._sim.backend_model.on_repair.append(lambda repair: self._repaired(repair.uid))
        self._refs = {ref.kind: ref for ref in self.fleet.kinds}
        sides = [side.ref for child in self.fleet.children for side in sides_of(self.fleet, child.ref.kind)]
        self._refs |= {ref.kind: ref for ref in sides if ref.kind not in self._refs}
        served = {each.name for each in self._sim.api.resources()}
        for ref in self._refs.values():
            if ref.resource not in served:
                self._sim.api.serve(plain(**{name: getattr(ref, name) for name in PLAIN}))

    # --- what users do ------------------------------------------------------------------------------------------------
    def create(
        self,
        kind: str,
        name: str,
        *,
        namespace: str = "default",
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        owner: tuple[str, str] | None = None,
        spec: Mapping[str, Any] | None = None,
        status: Mapping[str, Any] | None = None,
        healthy: bool | None = None,
    ) -> None:
        """Create an object of one of the fleet's kinds. ``owner``: kind and name of its controller. ``healthy``: it reports.

        KeyError where the fleet has no such kind.
        """
        ref, where = self._place(kind, namespace)
        if where and not self._sim.api.has("namespaces", where):
            self._sim.api.create("namespaces", {"metadata": {"name": where}})
        metadata: Obj = {"name": name, "labels": dict(labels or {}), "annotations": dict(annotations or {})}
        if owner is not None:
            metadata["ownerReferences"] = [self._owner(*owner, namespace)]
        body = {"apiVersion": ref.api_version, "kind": kind, "metadata": metadata, "spec": dict(spec or {})}
        made = self._sim.api.create(ref.resource, body, where).obj
        self._made[made["metadata"]["uid"]] = ref, name, where
        if status is not None:
            self.patch(kind, name, {"status": dict(status)}, namespace=namespace)
        if healthy is not None:
            self.report(kind, name, healthy, namespace=namespace)

    def report(self, kind: str, name: str, healthy: bool, *, namespace: str = "default") -> None:
        """A child reports: what its health reads, and a heartbeat. ValueError where that is an expression: ``patch`` it."""
        ref, where = self._place(kind, namespace)
        now, child = self.now, self.fleet.child(kind)
        obj = self._sim.api.get(ref.resource, name, where).obj
        self.patch(kind, name, report(child, obj, healthy=healthy, now=now), namespace=namespace)
        if isinstance(child.health.heartbeat, Lease):
            self._renew(child.health.heartbeat, name, where, now)

    def patch(self, kind: str, name: str, body: Mapping[str, Any], *, namespace: str = "default") -> None:
        """Change an object by a merge patch; what is under ``status`` goes to the status subresource."""
        ref, where = self._place(kind, namespace)
        rest = {key: value for key, value in body.items() if key != "status"}
        if rest:
            self._sim.api.patch(ref.resource, name, rest, where)
        if "status" in body:
            self._sim.api.patch(ref.resource, name, {"status": body["status"]}, where, "status")

    def delete(self, kind: str, name: str, *, namespace: str = "default") -> None:
        """Delete an object."""
        ref, where = self._place(kind, namespace)
        self._sim.api.delete(ref.resource, name, where)

    # --- time ---------------------------------------------------------------------------------------------------------
    def run(self, seconds: float) -> None:
        """Let time pass. The operator starts with the first call."""
        if not self._started:
            self._started = True
            self._sim.start()
        self._sim.run(seconds)

    @property
    def now(self) -> str:
        """The present instant, in RFC 3339."""
        return rfc3339(self._sim.world.clock.wall())

    # --- what came of it ----------------------------------------------------------------------------------------------
    def status(self, parent: str, *, namespace: str = "default") -> Obj:
        """A parent's status on the server; {} before it is written."""
        ref, where = self._place(self.fleet.parent.kind, namespace)
        obj = self._sim.api.get(ref.resource, parent, where).obj
        return status_in(self.fleet, obj)

    def condition(self, parent: str, type: str, *, namespace: str = "default") -> Obj:  # noqa: A002 - as Kubernetes calls it
        """One condition of it; {} where it is not there."""
        name = self.fleet.status.get("conditions", "conditions")
        conditions = self.status(parent, namespace=namespace).get(name, [])
        return next((each for each in conditions if each["type"] == type), {})

    @property
    def repaired(self) -> list[str]:
        """Names of the children whose repairs the backend has carried out, in order."""
        return [self._made[repair.uid][1] for repair in self._sim.backend_model.repairs if repair.uid in self._made]

    @property
    def calls(self) -> int:
        """How many batch calls have reached the backend."""
        return len(self._sim.backend_model.arrivals)

    @property
    def events(self) -> list[tuple[str, str, str]]:
        """(parent's name, reason, note) of each Kubernetes Event, in order."""
        return [(parent.name, note.reason, note.note) for parent, note in self._sim.writer.events]

    def why(self, parent: str, child: str = "", *, namespace: str = "default") -> str:
        """What holds that parent's count, or that child's repair, back: a gate's code of docs/why.md."""
        _, where = self._place(self.fleet.parent.kind, namespace)
        return Collector(self._sim.system).why(ParentKey(where, parent), child).first.code

    # --- inside -------------------------------------------------------------------------------------------------------
    def _place(self, kind: str, namespace: str) -> tuple[KindRef, str]:
        if kind not in self._refs:
            raise KeyError(f"the fleet {self.fleet.name} has no kind {kind}: it has {', '.join(self._refs)}")
        ref = self._refs[kind]
        return ref, namespace if ref.namespaced else ""

    def _owner(self, kind: str, name: str, namespace: str) -> Obj:
        ref, where = self._place(kind, namespace)
        uid = self._sim.api.get(ref.resource, name, where).obj["metadata"]["uid"]
        return {"apiVersion": ref.api_version, "kind": kind, "name": name, "uid": uid, "controller": True}

    def _renew(self, lease: Lease, name: str, namespace: str, now: str) -> None:
        where = lease.namespace or namespace
        if self._sim.api.has(lease.ref.resource, name, where):
            self._sim.api.patch(lease.ref.resource, name, {"spec": {"renewTime": now}}, where)
        else:
            self._sim.api.create(lease.ref.resource, {"metadata": {"name": name}, "spec": {"renewTime": now}}, where)

    def _repaired(self, uid: str) -> None:
        if self._heal_after_s is not None and uid in self._made:
            self._sim.world.after(self._heal_after_s, lambda: self._heal(uid))

    def _heal(self, uid: str) -> None:
        ref, name, where = self._made[uid]
        if not self._sim.api.has(ref.resource, name, where):
            return
        if self._sim.api.get(ref.resource, name, where).obj["metadata"]["uid"] == uid:
            self.report(ref.kind, name, True, namespace=where)
