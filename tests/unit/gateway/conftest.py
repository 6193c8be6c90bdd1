"""A gateway in virtual time: a scripted backend, and the real ledger, cell and dispatcher."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from attrs import define, field

from actors.actor import Cell, Context, Resume
from actors.core.errors import CallTimeout
from actors.core.fleet_valve import FleetValve
from actors.core.keys import item_key
from actors.core.model import Child, Item, ParentKey
from actors.core.operation import PROMISED, Capabilities
from actors.core.ports import Call, ItemResult, Later, Reply
from actors.core.quantity import Quota
from actors.core.quota import Ledger
from actors.gateway import BatchGatewayActor, GatewaySettings
from actors.mailbox import using
from actors.messages import BackendState, ItemAnswer, ItemsAnswered, RepairsWanted
from actors.sim.world import World

KIND = "ComputeNode"


@define
class Nodes:
    """The freshest records: what the gateway asks before a call leaves."""

    by_uid: dict[str, Child] = field(factory=dict)
    counts: tuple[int, int] | None = None
    """Of all children of all parents, where there are more than the test has made."""

    def tally(self) -> tuple[int, int]:
        return self.counts or (sum(child.eligible for child in self.by_uid.values()), len(self.by_uid))

    def child(self, kind: str, parent: ParentKey, uid: str) -> Child | None:
        child = self.by_uid.get(uid)
        return child if child is not None and child.kind == kind and child.parent == parent else None


@define
class ScriptedBackend:
    """Answers after ``rtt_s`` by ``script`` (call, number of the call) → Reply or error. Logs arrivals."""

    world: World
    script: Callable[[Call, int], Reply | Exception]
    rtt_s: float = 0.02
    calls: list[tuple[float, Call]] = field(factory=list)
    capabilities: Capabilities = PROMISED

    def send(self, call: Call) -> Later[Reply]:
        self.calls.append((self.world.clock.now(), call))
        answer = self.script(call, len(self.calls))

        def result() -> Reply:
            if isinstance(answer, Exception):
                raise answer
            return answer

        return Later(call.timeout_s if isinstance(answer, CallTimeout) else self.rtt_s, result)


class Catcher:
    """Stands for the ClusterActors: keeps what it is told."""

    def __init__(self, told: list[Any]) -> None:
        self.told = told
        self.actor_urn = "urn:test"

    def is_alive(self) -> bool:
        return True

    def tell(self, message: Any) -> None:
        self.told.append(message)


def accept(call: Call, _number: int) -> Reply:
    return Reply(results={item.key: ItemResult(status="accepted") for item in call.items})


@define
class Bench:
    """A gateway in a simulated world, with a parent's view of it."""

    world: World
    backend: ScriptedBackend
    nodes: Nodes
    settings: GatewaySettings
    ledger: Ledger
    valve: FleetValve
    cell: Any = None
    gateway: Any = None
    told: dict[str, list[Any]] = field(factory=dict)
    refs: dict[str, Any] = field(factory=dict)

    def start(self, **ports: Any) -> Bench:
        given = {
            "backend": self.backend, "records": self.nodes, "ledger": self.ledger, "valve": self.valve,
            "settings": self.settings, **ports,
        }  # fmt: skip

        def factory(ctx: Context) -> BatchGatewayActor:
            self.gateway = made = BatchGatewayActor(ctx, **given)
            return made

        with using(self.world):
            self.cell = Cell.start(name="gateway", factory=factory, supervisor=Catcher([]))
        self.world.settle()
        return self

    def item(self, parent: str, name: str, round_number: int = 0) -> Item:
        key = ParentKey("default", parent)
        child = Child(
            kind=KIND,
            namespace="default",
            name=name,
            uid=f"uid-{name}",
            version=1,
            parent=key,
            healthy=False,
            since="t0",
        )
        child = self.nodes.by_uid.setdefault(child.uid, child)
        return Item(
            operation="repair", key=item_key(child.uid, child.incident, round_number), kind=KIND, uid=child.uid,
            incident=child.incident, parent=key, payload={"name": name}, since_s=self.world.clock.now(),
            retry=round_number > 0,
        )  # fmt: skip

    def ask(
        self, parent: str, *items: Item, successor: bool = False, told: bool = True, override_ends_s: float = -math.inf
    ) -> None:
        """Tell the parent's whole wish; ``successor``: a new actor stands for it from now on."""
        if successor or parent not in self.refs:
            self.refs[parent] = Catcher(self.told.setdefault(parent, []))
        key, ref = ParentKey("default", parent), self.refs[parent]
        self.cell.tell(RepairsWanted(parent=key, items=items, reply_to=ref, told=told, override_ends_s=override_ends_s))
        self.world.settle()

    def answers(self, parent: str) -> dict[str, tuple[ItemAnswer, str]]:
        merged: dict[str, tuple[ItemAnswer, str]] = {}
        for message in self.told.get(parent, ()):
            if isinstance(message, ItemsAnswered):
                merged |= message.answers
        return merged

    def states(self, parent: str) -> list[tuple[bool | None, str]]:
        return [(m.reachable, m.reason) for m in self.told.get(parent, ()) if isinstance(m, BackendState)]

    def sizes(self) -> list[int]:
        return [len(call.items) for _, call in self.backend.calls]

    def crash(self) -> None:
        """Kill the incarnation as a bug in it would, and resume it as its supervisor would."""
        self.cell.tell("nonsense")
        self.world.settle()
        self.cell.tell(Resume())
        self.world.settle()


@pytest.fixture
def bench() -> Callable[..., Bench]:
    """Makes a bench: quota 10/1s, batches of 10, no cold start, unless told otherwise."""

    def make(
        script: Callable[[Call, int], Reply | Exception] = accept,
        *,
        rtt_s: float = 0.02,
        able: Capabilities = PROMISED,
        **changes: Any,
    ) -> Bench:
        world = World(seed=1)
        given: dict[str, Any] = {"quota": Quota(10, 1.0), "batch_max": 10, "cold_start_s": 0.0, "lateness_s": 2.0}
        settings = GatewaySettings(operation="repair", **given | changes).with_backend(able)
        ledger = Ledger(settings.quota, settings.call_timeout_s, settings.counted_late_s)
        backend = ScriptedBackend(world, script, rtt_s, capabilities=able)
        valve = FleetValve(settings.fleet_share, settings.fleet_floor)
        return Bench(world, backend, Nodes(), settings, ledger, valve).start()

    return make
