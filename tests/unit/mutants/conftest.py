"""The scenes on which planted bugs are shown: short lives of the whole operator, each with troubles of one sort."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from unittest import mock

import pytest

from actors.core.errors import ApiError, ApiThrottled, Conflict, Invalid, NotFound, Unreachable
from actors.core.events import ActorCrashed
from actors.core.health import Roll
from actors.core.model import ParentKey, Policy, Share
from actors.core.quantity import Quota
from actors.core.stream import Action
from actors.core.texts import child_of
from actors.sim.apierrors import ApiError as Refusal
from actors.sim.apierrors import expired
from actors.sim.backend import Behaviour
from actors.sim.harness import CLUSTERS, COMPUTE, STORAGE, SimulatedFleet
from actors.sim.reader import SimReader

OPEN = Share(percent=100.0)
PLURALS = {"ComputeNode": COMPUTE, "StorageNode": STORAGE}
SMALL: dict[str, Any] = {"quota": Quota(2, 6.0), "batch_max": 4, "call_timeout_s": 3.0, "lateness_s": 2.0}


class Poison:
    """A message that nobody knows: whoever gets it dies."""


class Play(SimulatedFleet):
    """Three parents with some nodes each (even ones store, odd ones compute), and verbs for what befalls them."""

    def __init__(self, nodes: int = 4, *, beats_s: float = 0.0, lag_s: float = 0.01, **options: Any) -> None:
        silence_s = beats_s * 3 or None
        options.setdefault("policy", Policy(max_unhealthy=OPEN, cooldown_s=20.0, heartbeat_timeout_s=silence_s))
        super().__init__(1, **options)
        self.reader.rtt_s = lag_s
        self.names = [(f"c{c}", f"c{c}-n{n}") for c in range(3) for n in range(nodes)]
        self.beats_s = beats_s
        self.mute: set[str] = set()
        for cluster in ("c0", "c1", "c2"):
            self.cluster(cluster)
        for cluster, name in self.names:
            self.node(name, cluster, kind=self.kind_of(name))
        self.start()
        self.wait(3.0)

    def wait(self, seconds: float) -> None:
        """Let time pass; nodes that are not mute send their heartbeats."""
        end_s = self.world.clock.now() + seconds
        while self.beats_s and self.world.clock.now() + self.beats_s <= end_s:
            self.run(self.beats_s)
            for _, name in self.names:
                with suppress(Refusal):
                    node = self.api.get(PLURALS[self.kind_of(name)], name, "default").obj
                    if name not in self.mute:
                        self.turn(name, node["status"]["healthy"])
        self.run(max(0.0, end_s - self.world.clock.now()))

    @staticmethod
    def kind_of(name: str) -> str:
        return "ComputeNode" if int(name.rsplit("n", 1)[1]) % 2 else "StorageNode"

    def turn(self, name: str, healthy: bool) -> None:
        self.report(name, healthy, kind=self.kind_of(name))

    def sick(self, *names: str) -> None:
        for name in names or [name for _, name in self.names]:
            self.turn(name, False)

    def spec(self, cluster: str, **spec: Any) -> None:
        self.api.patch(CLUSTERS, cluster, {"spec": spec}, "default")

    def move(self, name: str, cluster: str) -> None:
        self.api.patch(PLURALS[self.kind_of(name)], name, {"spec": {"clusterRef": {"name": cluster}}}, "default")

    def strike(self, name: str) -> None:
        self.delete(name, plural=PLURALS[self.kind_of(name)])

    def crash(self, name: str) -> None:
        directory: Any = self.system.refs["directory"]._actor_weakref()
        (directory.children.get(name) or self.system.refs[name]).tell(Poison())

    def seen(self) -> tuple[Any, ...]:
        """All that can be told from outside (a traceback is not: it shows the mutant's own frame)."""
        facts = [(at, fact.actor if isinstance(fact, ActorCrashed) else fact) for at, fact in self.world.facts_seen]
        ends = repr(dict(self.system.cells())), self.system.end
        return facts, self.writer.writes, self.backend_model.arrivals, self.reader.requests, self.world.turn_count, ends


# --- scenes -----------------------------------------------------------------------------------------------------------
def calm() -> Play:
    """Nothing goes wrong but the nodes: they fail, vanish, move, fall silent, and come back."""
    play = Play(beats_s=4.0, heal_after_s=1.0)
    play.mute.add("c0-n0")
    play.sick("c0-n1")
    play.wait(2.0)
    play.turn("c0-n1", False)
    play.strike("c0-n2")
    play.strike("c1-n3")
    play.node("c1-n3", "c1", False)
    play.wait(3.0)
    play.move("c2-n1", "c0")
    play.move("c2-n2", "c1")
    play.wait(15.0)
    play.mute.clear()
    play.sick("c1-n0")
    play.spec("c1", heartbeatTimeout="30s")
    play.wait(30.0)
    play.api.delete(CLUSTERS, "c2", "default")
    play.wait(0.2)
    play.cluster("c2")
    play.mute |= {"c0-n3", "c2-n3"}
    play.wait(40.0)
    return play


def lies() -> Play:
    """The API server: gone histories, cuts, half-open streams, old events, refusals, a kind that goes and comes."""
    play = Play(beats_s=4.0, heal_after_s=1.0)
    for kind in PLURALS:
        play.reader.expire(kind, expired("planted"))
    play.strike("c0-n1")
    play.node("c0-n5", "c0")
    play.sick("c1-n1")
    play.api.compact()
    play.wait(3.0)
    play.sick("c1-n3")
    play.wait(0.1)
    play.turn("c1-n3", True)
    play.wait(0.1)
    play.reader.rewind("ComputeNode", 2)
    play.wait(10.0)
    play.reader.swallow("ComputeNode")
    play.sick("c2-n3")
    play.wait(30.0)
    beats_s, play.beats_s = play.beats_s, 0.0
    play.reader.swallow("StorageNode")

    def down(kind: str, action: Action) -> ApiError:
        return Unreachable("down") if kind == "StorageNode" else ApiThrottled("busy", retry_after_s=8.0)

    play.reader.fail = down
    for kind in PLURALS:
        play.reader.cut(kind)
    play.wait(20.0)
    play.reader.fail = lambda kind, action: None
    play.beats_s = beats_s
    play.wait(20.0)
    play.reader.mangle = lambda kind, stream, lines: [
        line.replace(b'"healthy":true', b'"healthy":"yes"') for line in lines
    ]
    play.reader.relist("ComputeNode")
    play.wait(3.0)
    play.reader.mangle = None
    play.reader.fail = lambda kind, action: NotFound("no such kind") if kind == "StorageNode" else None
    play.reader.cut("StorageNode")
    play.strike("c0-n0")
    play.wait(3.0)
    play.reader.fail = lambda kind, action: None
    play.wait(80.0)
    return play


def backend() -> Play:
    """The backend: each of its ways of answering badly."""
    policy = Policy(max_unhealthy=OPEN, cooldown_s=15.0, in_flight_max=5)
    limits = {"retry_max_s": 8.0, "breaker_max_s": 8.0, "call_timeout_s": 3.0, "lateness_s": 2.0}
    play = Play(6, quota=Quota(4, 4.0), batch_max=6, heal_after_s=1.0, policy=policy, **limits)
    later = Behaviour("partial", every=2, status="throttled", retry_after_s=2, count=2)
    for behaviours, seconds in (
        ((Behaviour("partial", every=2, count=2), later), 12.0),
        ((Behaviour("missing", every=2, count=2),), 12.0),
        ((Behaviour("throttle", retry_after_s=6, count=2), Behaviour("throttle", retry_after_s=1, count=1)), 12.0),
        ((Behaviour("withhold", count=2), Behaviour("hang", count=2)), 4.0),
        ((Behaviour("error", code=400, count=2),), 6.0),
        ((Behaviour("error", code=500, count=12),), 30.0),
    ):
        play.backend_model.behave(*behaviours)
        play.sick()
        play.wait(seconds)
        play.backend_model.clear()
        play.wait(25.0)
    play.wait(40.0)
    return play


def queue() -> Play:
    """A long queue under a small quota, and everybody changes his mind."""
    policy = Policy(max_unhealthy=OPEN, cooldown_s=10.0)
    play = Play(12, quota=Quota(2, 6.0), batch_max=4, heal_after_s=1.0, policy=policy)
    play.backend_model.behave(Behaviour("latency", seconds=1.5))
    play.backend_model.behave(Behaviour("partial", every=2, status="throttled", retry_after_s=1, count=4))
    for _, name in play.names[:24]:
        play.sick(name)
        play.wait(0.05)
    play.wait(1.0)
    play.sick("c2-n1")
    play.turn("c0-n10", True)
    play.turn("c0-n9", True)
    play.wait(0.3)
    play.sick("c0-n9")
    play.strike("c0-n11")
    play.move("c1-n11", "c2")
    play.wait(2.0)
    play.spec("c1", paused=True)
    play.wait(12.0)
    play.spec("c1", paused=False, repair={"maxUnhealthy": "20%"})
    play.wait(6.0)
    play.sick(*[f"c2-n{n}" for n in range(2, 9)])
    play.wait(4.0)
    play.spec("c2", repair={"maxUnhealthy": 2})
    play.wait(2.0)
    play.spec("c1", repair={"maxUnhealthy": "100%"})
    play.wait(30.0)
    play.api.delete(CLUSTERS, "c1", "default")
    play.wait(60.0)
    return play


def crashes() -> Play:
    """Everybody dies at work, some of them twice."""
    play = Play(6, heal_after_s=1.0, policy=Policy(max_unhealthy=OPEN, cooldown_s=15.0), **SMALL)
    play.backend_model.behave(Behaviour("latency", seconds=1.0))
    watchers = ("watcher/ComputeNode", "watcher/StorageNode", "watcher/Cluster")
    for name in ("gateway", "status", "directory", "cluster/default/c0", *watchers):
        play.sick()
        play.move("c1-n1", "c2")
        play.wait(0.25)
        play.crash(name)
        play.strike("c2-n3")
        play.wait(0.01)
        play.crash("cluster/default/c1")
        play.wait(0.8)
        play.crash("directory")
        play.crash("cluster/default/c2")
        play.wait(0.5)
        play.crash(name)
        play.turn("c1-n2", True)
        play.wait(12.0)
        play.node("c2-n3", "c2", kind="ComputeNode")
        play.move("c1-n1", "c1")
        play.wait(30.0)
    return play


def poison() -> Play:
    """Parents that die until they are put aside, and a record that kills whoever reads it."""
    play = Play(heal_after_s=1.0)
    enter = Roll.enter

    def broken(roll: Roll, kind: str, key: bytes, text: bytes) -> bool:
        child = child_of(kind, None, key, text)
        if child.name == "c0-n1" and child.healthy is False:
            raise ValueError("planted")
        return enter(roll, kind, key, text)

    with mock.patch.object(Roll, "enter", broken):
        play.sick("c0-n1")
        play.wait(10.0)
    for _ in range(10):
        play.crash("cluster/default/c1")
        play.crash("cluster/default/c2")
        play.wait(0.7)
    play.wait(30.0)
    play.spec("c1", minHealthy=2)
    play.wait(700.0)
    return play


def writes() -> Play:
    """Statuses: others write them too, writes are slow, refused, and in vain."""
    play = Play(lag_s=0.3, policy=Policy(max_unhealthy=OPEN, cooldown_s=15.0))
    play.writer.rtt_s = 0.4
    for at in range(8):
        play.sick("c0-n1", "c1-n1")
        play.wait(0.25)
        play.turn("c0-n2", at % 2 == 0)
        play.wait(0.15 + at * 0.05)
        play.api.patch(CLUSTERS, "c0", {"status": {"total": 99}}, "default", "status")
        play.wait(0.2)
        play.turn("c0-n1", True)
        play.turn("c1-n2", at % 2 == 0)
        play.wait(3.0)
    for error in (Unreachable("down"), Conflict("planted"), Invalid("planted")):

        def fail(parent: ParentKey, error: Exception = error) -> None:
            raise error

        play.writer.fail = fail
        play.turn("c0-n3", False)
        play.wait(0.6)
        play.turn("c0-n2", False)
        play.wait(6.0)
        play.writer.fail = lambda parent: None
        play.turn("c0-n3", True)
        play.wait(8.0)
    play.reader.swallow("ComputeNode")
    for _ in range(40):
        play.turn("c2-n0", False)
        play.wait(0.05)
        play.turn("c2-n0", True)
        play.wait(0.05)
    play.wait(60.0)
    return play


def sleep() -> Play:
    """Parents that fall asleep and are woken."""
    play = Play(idle_s=2.0, heal_after_s=1.0, lag_s=0.0)
    for at in range(12):
        play.wait(1.9 + at * 0.05)
        play.sick(f"c{at % 3}-n1")
        play.wait(0.3)
        play.turn(f"c{at % 3}-n2", at % 2 == 0)
        if at % 4 == 3:
            play.api.delete(CLUSTERS, "c2", "default")
            play.cluster("c2")
        play.wait(1.0)
    play.wait(20.0)
    return play


def again() -> Play:
    """The process ends and is started again, on the same servers."""
    play = Play(quota=Quota(2, 6.0), batch_max=4, beats_s=10.0, heal_after_s=1.0, cold_start_s=None)
    play.mute.add("c0-n0")
    play.wait(200.0)
    for name in ("c1-n1", "c1-n2", "c2-n1"):
        play.sick(name)
        play.wait(0.3)
    play.system.stop()
    play.run(0.5)
    play.reader = SimReader(play.api, play.fleet, play.world)
    play.system = play._new_system()
    play.start()
    play.wait(60.0)
    return play


SCENES: dict[str, Callable[[], Play]] = {
    scene.__name__: scene for scene in (calm, lies, backend, queue, crashes, poison, writes, sleep, again)
}


@functools.cache
def _undisturbed(name: str) -> tuple[Any, ...]:
    return SCENES[name]().seen()


@pytest.fixture
def scene() -> Callable[[str], tuple[Any, ...]]:
    """Plays the scene of that name anew: all that could be seen of it."""
    return lambda name: SCENES[name]().seen()


@pytest.fixture
def undisturbed() -> Callable[[str], tuple[Any, ...]]:
    """The same, as it was without a bug."""
    return _undisturbed
