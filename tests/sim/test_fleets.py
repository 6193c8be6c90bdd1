"""Another fleet than the built-in one, in virtual time: six child kinds, two levels of owners, Leases, parents elsewhere.

The API server has the definitions that ``muster manifests --crds`` prints for it; the operator is the real one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from actors.core.events import NewsSuppressed, ParentMissing, Reconciled
from actors.core.model import Policy, Share
from actors.core.ports import Call
from actors.core.reconcile import rfc3339
from actors.edge.fleet_file import load_fleet
from actors.ops.definitions import definitions
from actors.sim.harness import CRDS, SimulatedFleet

YARD = load_fleet(str(Path(__file__).parents[1] / "fleets" / "yard.yaml")).fleet
GROUP = "yard.example.com"
SETS, LEASES = "replicasets.sets.example.com", "leases.coordination.k8s.io"
POLICY = Policy(max_unhealthy=Share(percent=100.0), heartbeat_timeout_s=40.0)
T0 = "2026-01-01T00:00:00Z"


def definition(group: str, version: str, kind: str, plural: str) -> dict[str, Any]:
    """Of a kind that the fleet only looks at."""
    schema = {
        "type": "object",
        "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group, "scope": "Namespaced", "names": {"kind": kind, "plural": plural},
            "versions": [{"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }  # fmt: skip


class Yard:
    """The simulated operator on that fleet, and its users."""

    def __init__(self) -> None:
        self.world = SimulatedFleet(fleet=YARD, policy=POLICY)
        self.api = self.world.api
        self.payloads: list[dict[str, Any]] = []

        def seen(call: Call) -> None:
            assert call.operation == "replace"
            self.payloads += [item.payload for item in call.items]

        self.world.backend.on_send.append(seen)
        for each in definitions(YARD):
            self.api.create(CRDS, each)
        self.api.create(CRDS, definition("sets.example.com", "v1", "ReplicaSet", "replicasets"))
        self.api.create(CRDS, definition("coordination.k8s.io", "v1", "Lease", "leases"))
        for namespace in ("pools", "blue"):
            self.api.create("namespaces", {"metadata": {"name": namespace}})
        self.pool("a", "pools")
        self.pool("b", "pools")
        self.pool("blue", "pools")
        self.pool("c", "blue")

    def pool(self, name: str, namespace: str) -> None:
        self.api.create(f"pools.{GROUP}", {"metadata": {"name": name}, "spec": {}}, namespace)

    def make(
        self, plural: str, name: str, namespace: str = "", status: Any = None, spec: Any = None, **metadata: Any
    ) -> dict[str, Any]:  # fmt: skip
        resource = plural if "." in plural else f"{plural}.{GROUP}"
        body = {"metadata": {"name": name, **metadata}, "spec": spec or {}}
        made = self.api.create(resource, body, namespace).obj
        return made if status is None else self.say(plural, name, namespace, **status)

    def say(self, plural: str, name: str, namespace: str = "", **status: Any) -> dict[str, Any]:
        return dict(self.api.patch(f"{plural}.{GROUP}", name, {"status": status}, namespace, "status").obj)

    def lease(self, name: str, beat: str) -> None:
        body = {"metadata": {"name": name}, "spec": {"renewTime": beat}}
        if self.api.has(LEASES, name, "kube-node-lease"):
            self.api.patch(LEASES, name, {"spec": body["spec"]}, "kube-node-lease")
        else:
            self.api.create(LEASES, body, "kube-node-lease")

    def owned(self, kind: str, obj: dict[str, Any], api_version: str) -> list[dict[str, Any]]:
        metadata = obj["metadata"]
        return [
            {
                "apiVersion": api_version,
                "kind": kind,
                "name": metadata["name"],
                "uid": metadata["uid"],
                "controller": True,
            }
        ]

    def status(self, pool: str, namespace: str = "pools") -> dict[str, Any]:
        found: dict[str, Any] = self.api.get(f"pools.{GROUP}", pool, namespace).obj.get("status", {})
        return found

    def counts(self, pool: str, namespace: str = "pools") -> dict[str, tuple[int, int, int]]:
        """By kind: healthy, unhealthy, unknown, where there is anybody."""
        kinds = self.status(pool, namespace).get("kinds", [])
        return {each["kind"]: (each["healthy"], each["unhealthy"], each["unknown"]) for each in kinds if each["total"]}

    def run(self, seconds: float = 1.0) -> None:
        self.world.run(seconds)


def ready(status: str, name: str = "Ready") -> dict[str, Any]:
    return {"conditions": [{"type": name, "status": status, "reason": "Said", "message": "", "lastTransitionTime": T0}]}


@pytest.fixture
def yard() -> Yard:
    """Two machines, three replicas of two sets, and one each of the others."""
    yard = Yard()
    for name, label in (("m1", "a"), ("m2", "b")):
        yard.make("machines", name, labels={"pool": label}, spec={"slot": f"slot-{name}"}, status=ready("True"))
        yard.lease(name, T0)
    yard.make("machines", "spare", labels={"pool": "a", "tier": "spare"}, status=ready("False"))
    pool = yard.api.get(f"pools.{GROUP}", "a", "pools").obj
    blue = yard.make(SETS, "blue", "pools", ownerReferences=yard.owned("Pool", pool, f"{GROUP}/v1"))
    yard.make(SETS, "loose", "pools")
    loose = yard.api.get(SETS, "loose", "pools").obj
    sets: tuple[tuple[str, dict[str, Any]], ...] = (("r1", blue), ("r2", blue), ("r3", loose))
    for name, of in sets:
        refs = yard.owned("ReplicaSet", of, "sets.example.com/v1")
        yard.make("replicas", name, "pools", {"phase": "Running"}, {"slot": name}, ownerReferences=refs)
    refs = yard.owned("Pool", pool, f"{GROUP}/v1")
    yard.make("proxies", "x", "pools", {"ready": 2}, {"replicas": 2}, ownerReferences=refs)
    far = {f"{GROUP}/pool": "pools/b"}
    yard.make("disks", "d", "blue", ready("False", "Failing"), annotations=far)
    yard.make("links", "l", "blue", {"ok": True, "seen": T0}, {"pool": "c"})
    yard.make("fans", "f", "blue", {"rpm": 900})
    yard.world.start()
    yard.run(3.0)
    return yard


def beat(yard: Yard, *names: str, for_s: float) -> None:
    """The machines' leases and the link's own heartbeat are renewed every ten seconds."""
    for _ in range(int(for_s / 10)):
        now = rfc3339(yard.world.world.clock.wall())
        for name in names:
            yard.lease(name, f"{now[:-1]}.000001Z")
        yard.say("links", "l", "blue", ok=True, seen=now)
        yard.run(10.0)


def test_every_kind_is_counted_for_the_parent_that_its_mapping_says(yard: Yard) -> None:
    """By label elsewhere, owner's owner, owner, annotation elsewhere, field here, and the namespace's name."""
    assert yard.counts("a") == {"Machine": (1, 0, 0), "Replica": (2, 0, 0), "Proxy": (1, 0, 0)}
    assert yard.counts("b") == {"Machine": (1, 0, 0), "Disk": (1, 0, 0)}
    assert yard.counts("blue") == {"Fan": (1, 0, 0)}
    assert yard.counts("c", "blue") == {"Link": (1, 0, 0)}
    status = yard.status("a")
    assert (status["ready"], status["total"]) == (4, 4)
    assert not {"healthy", "unhealthySample"} & status.keys(), "by other names, and not at all"


def test_each_way_to_be_unhealthy_is_seen_and_repaired_by_the_fleets_own_payload(yard: Yard) -> None:
    yard.say("machines", "m1", **ready("False"), load=0.5)
    yard.say("replicas", "r1", "pools", phase="Failed", since="t1", load=3)
    yard.say("proxies", "x", "pools", ready=1)
    yard.say("disks", "d", "blue", **ready("True", "Failing"))
    yard.say("fans", "f", "blue", rpm=0)
    yard.run(3.0)

    assert yard.counts("a") == {"Machine": (0, 1, 0), "Replica": (1, 1, 0), "Proxy": (0, 1, 0)}
    assert (yard.counts("b")["Disk"], yard.counts("blue")["Fan"]) == ((0, 1, 0), (0, 1, 0))
    told = {each["name"]: each for each in yard.payloads}
    assert set(told) == {"m1", "r1", "x", "d", "f"}
    assert {**told["m1"], "key": "", "uid": ""} == {
        "name": "m1", "namespace": "", "kind": "Machine", "cluster": "a", "slot": "slot-m1", "load": 0.5, "key": "", "uid": "",
    }  # fmt: skip
    assert (told["d"]["namespace"], told["d"]["cluster"], told["r1"]["load"]) == ("blue", "b", 3)


def test_unknown_is_neither_and_is_not_repaired(yard: Yard) -> None:
    yard.say("machines", "m1", **ready("Unknown"))
    yard.say("replicas", "r1", "pools", phase="Pending")
    yard.say("proxies", "x", "pools", ready=None)
    yard.run(3.0)

    assert yard.counts("a") == {"Machine": (0, 0, 1), "Replica": (1, 0, 1), "Proxy": (0, 0, 1)}
    assert yard.payloads == []


def test_a_set_that_changes_its_owner_takes_its_replicas_along(yard: Yard) -> None:
    """Nothing of the replicas themselves has changed. One that falls out of every set falls back on its label."""
    pool = yard.api.get(f"pools.{GROUP}", "b", "pools").obj
    refs = yard.owned("Pool", pool, f"{GROUP}/v1")
    yard.api.patch(SETS, "blue", {"metadata": {"ownerReferences": refs}}, "pools")
    yard.api.patch(SETS, "loose", {"metadata": {"ownerReferences": refs}}, "pools")
    yard.run(3.0)

    assert ("Replica" in yard.counts("a"), yard.counts("b")["Replica"]) == (False, (3, 0, 0))
    yard.api.patch(f"replicas.{GROUP}", "r3", {"metadata": {"labels": {"pool": "a"}, "ownerReferences": []}}, "pools")
    yard.api.delete(SETS, "blue", "pools")
    yard.run(3.0)

    assert (yard.counts("a")["Replica"], "Replica" in yard.counts("b")) == ((1, 0, 0), False)


def test_a_child_that_names_another_parent_is_counted_there_and_one_that_may_not_is_told(yard: Yard) -> None:
    """A parent elsewhere only where the definition allows it."""
    yard.api.patch(f"machines.{GROUP}", "m1", {"metadata": {"labels": {"pool": "b"}}})
    yard.api.patch(f"links.{GROUP}", "l", {"spec": {"pool": "pools/a"}}, "blue")
    yard.run(3.0)

    assert ("Machine" in yard.counts("a"), yard.counts("b")["Machine"]) == (False, (2, 0, 0))
    assert "Link" not in yard.counts("c", "blue")
    assert "Link" not in yard.counts("a")
    missing = [fact.parent for fact in yard.world.world.seen(ParentMissing)]
    assert missing == ["blue/pools/a"]


def test_a_machine_whose_lease_is_not_renewed_is_repaired_and_the_others_are_not(yard: Yard) -> None:
    beat(yard, "m1", for_s=60.0)

    assert yard.counts("b")["Machine"] == (0, 0, 1)
    assert yard.counts("a")["Machine"] == (1, 0, 0)
    assert {each["name"] for each in yard.payloads} == {"m2"}
    yard.lease("m2", "2026-01-01T01:00:00.000000Z")
    yard.run(3.0)
    assert yard.counts("b")["Machine"] == (1, 0, 0)


def test_a_lone_lease_that_stops_is_found_at_its_deadline(yard: Yard) -> None:
    """Nothing else comes over that stream: the watch is resumed for proof, and not only when it is renewed anyway."""
    yard.api.delete(LEASES, "m1", "kube-node-lease")
    yard.api.delete(f"machines.{GROUP}", "m1")
    yard.run(1.0)
    beat(yard, "m2", for_s=10.0)  # the renewal is at its beginning

    yard.run(29.0)
    assert yard.counts("b")["Machine"] == (1, 0, 0)
    yard.run(3.0)
    assert yard.counts("b")["Machine"] == (0, 0, 1)


def test_renewals_and_quiet_fields_wake_nobody(yard: Yard) -> None:
    beat(yard, "m1", "m2", for_s=10.0)
    yard.run(5.0)
    before = len(yard.world.writer.writes), looks(yard)
    for step in range(5):
        beat(yard, "m1", "m2", for_s=10.0)
        yard.say("machines", "m1", load=step)

    assert (len(yard.world.writer.writes), looks(yard)) == before
    assert any(fact.kind == "Machine" for fact in yard.world.world.seen(NewsSuppressed))


def looks(yard: Yard) -> int:
    return len(yard.world.world.seen(Reconciled))


@pytest.mark.parametrize("side", ["Lease/Machine", "ReplicaSet/Replica"])
def test_a_side_that_is_cut_crashes_or_comes_late_is_made_good(yard: Yard, side: str) -> None:
    main = side.partition("/")[2]
    yard.world.reader.cut(side)
    yard.run(2.0)
    yard.world.reader.crash(main)
    yard.say("replicas", "r1", "pools", phase="Failed")
    beat(yard, "m1", "m2", for_s=20.0)

    assert yard.counts("a") == {"Machine": (1, 0, 0), "Replica": (1, 1, 0), "Proxy": (1, 0, 0)}
    assert yard.world.system.ready() == []
    assert yard.world.reader.requests[side] > 1


def test_nothing_is_written_before_the_sides_are_listed() -> None:
    yard = Yard()
    yard.world.reader.mute = lambda kind, _action: kind == "Lease/Machine"
    yard.make("fans", "f", "blue", {"rpm": 900})
    yard.world.start()
    yard.run(5.0)
    assert yard.world.writer.writes == []
    assert any("Machine" in reason for reason in yard.world.system.ready())

    yard.world.reader.mute = lambda _kind, _action: False
    yard.run(60.0)
    assert yard.counts("blue") == {"Fan": (1, 0, 0)}
