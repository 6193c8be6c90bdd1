"""The operator on one thread, in virtual time, with ports in memory: the same work each time, and nothing else to pay for.

What threads and real timers do differs from run to run by more than what is to be measured: how many changes meet in one look
depends on when the machine ran whom. Here a look is due when virtual time says so. Reading, HTTP, the log and the metrics are
not in it, so a part of this is a larger part than it is of the whole operator.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable

from attrs import frozen

from actors.core.builtin import MUSTER_FLEET
from actors.core.events import Fact
from actors.core.model import Policy, Record
from actors.core.ports import Backend, Objects
from actors.core.quantity import Quota
from actors.gateway import GatewaySettings
from actors.mailbox import CURRENT, Mailbox
from actors.sim.world import World
from actors.tree import Ports, System, TreeSettings
from bench.recording import CHUNK, Deliver, Memory


class Straight(World):
    """A world that keeps no facts and no trace, and gives the turns in their order."""

    def __init__(self) -> None:
        super().__init__(1)
        self.sink: Callable[[Fact], None] = lambda fact: None
        self._queue: deque[Mailbox] = deque()

    def facts(self, fact: Fact) -> None:
        """To whoever listens."""
        self.sink(fact)

    def ready(self, mailbox: Mailbox) -> None:
        """Queue a turn."""
        self._queue.append(mailbox)

    def run_for(self, seconds: float) -> None:
        """As the world's."""
        until_s, queue = self.clock.now_s + seconds, self._queue
        token = CURRENT.set(self)
        try:
            while True:
                self._fire()
                if queue:
                    queue.popleft().run_turn(self._turn_messages_max)
                elif not self._jump(until_s):
                    break
        finally:
            CURRENT.reset(token)
        self.clock.now_s = until_s


class _Ports(Memory):
    def start(self, kind: str, epoch: int, deliver: Deliver) -> None:
        self._deliver[kind] = (epoch, deliver)
        entries: dict[str, Record | None] = dict(self.parents) if kind == "Cluster" else {}
        if kind == "ComputeNode":
            entries = dict(self.children)
        deliver(Objects(kind=kind, entries=entries, replace=True, epoch=epoch))


@frozen
class Load:
    """Changes of nodes, drawn at random: ``per_s`` of them in a virtual second, over ``parents`` of ``children`` each."""

    parents: int
    children: int
    per_s: int


class Operator:
    """One that runs. ``backend`` may be looked at on its way."""

    def __init__(
        self, load: Load, wrap: Callable[[Straight, Backend], Backend] = lambda world, backend: backend
    ) -> None:
        self.load = load
        self.world = Straight()
        self._ports = _Ports(load.parents, load.children)
        gateway = GatewaySettings(operation="batchRepair", quota=Quota(10, 1.0), cold_start_s=0.0)
        self.system = System(
            dispatcher=self.world, fleet=MUSTER_FLEET, settings=TreeSettings(policy=Policy(), gateway=gateway),
            ports=Ports(reader=self._ports, status_writer=self._ports, backend=wrap(self.world, self._ports)),
        )  # fmt: skip
        self._version = 10
        self._drawn = random.Random(1)
        self.system.start()
        self.world.run_for(5.0)

    def change(self, count: int) -> None:
        """So many changes, and all that comes of them meanwhile."""
        load, draw = self.load, self._drawn
        for _ in range(count // CHUNK):
            entries: dict[str, Record | None] = {}
            for _ in range(CHUNK):
                number, self._version = draw.randrange(load.parents * load.children), self._version + 1
                entries[f"c{number}"] = self._ports.child(
                    number, number % load.parents, healthy=draw.random() < 0.8, version=self._version
                )
            self._ports.post("ComputeNode", entries)
            self.world.run_for(CHUNK / load.per_s)
