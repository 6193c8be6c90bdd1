"""Worlds without faults, for speed: how much faster than the real one a world of that size is simulated.

Nodes fail at a steady pace and are repaired, so that every actor, both models and all oracles have their usual work. What is
measured begins when the world is at rest after its birth, and ends before its healing.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

from ..core.quantity import Quota
from .draw import Draw
from .run import Run, collected_at_the_end
from .script import Script
from .stage import StageSettings
from .steps import Step

__all__ = ["WORLDS", "Speed", "WorldSize", "fastest", "measure"]

PLAYS = 3  # arbitrary: a few seconds for each of the two worlds


@frozen(kw_only=True)
class WorldSize:
    """``clusters`` of ``nodes`` each, one of which fails every ``pace_s``, for ``lasts_s`` after ``birth_s``."""

    name: str
    clusters: int
    nodes: int
    pace_s: float
    birth_s: float
    lasts_s: float
    quota: Quota
    batch_max: int


WORLDS = {
    "small": WorldSize(
        name="small", clusters=3, nodes=5, pace_s=20.0, birth_s=30.0, lasts_s=6 * 3600.0, quota=Quota(10, 1.0), batch_max=100
    ),
    "large": WorldSize(
        name="large", clusters=1000, nodes=10, pace_s=1.0, birth_s=30.0, lasts_s=600.0, quota=Quota(10, 1.0), batch_max=100
    ),
}  # fmt: skip
"""So small a fleet has a bad day when a node fails every 20 s; of 10,000 nodes one every second is the same."""


@frozen(kw_only=True)
class Speed:
    """What was measured: seconds of the world, and of one core."""

    size: WorldSize
    virtual_s: float
    cpu_s: float
    birth_cpu_s: float
    messages: int
    repairs: int
    breaches: int

    @property
    def ratio(self) -> float:
        """How many times faster than the real one."""
        return self.virtual_s / self.cpu_s

    @property
    def hours_per_second(self) -> float:
        """Hours of the world in one second of a core."""
        return self.ratio / 3600.0

    def line(self) -> str:
        """For people."""
        size = self.size
        what = f"{size.clusters} clusters × {size.nodes} nodes, a failure every {size.pace_s:g} s, all oracles"
        speed = f"{self.ratio:,.0f} × real time, {self.hours_per_second:.2f} h a second"
        did = f"{self.messages} messages, {self.repairs} repairs, {self.breaches} breaches; born in {self.birth_cpu_s:.1f} s"
        did = f"{did}; fastest of {PLAYS}"
        return f"{size.name} world: {what}: {self.virtual_s:.0f} s in {self.cpu_s:.2f} s of one core: {speed} ({did})"

    def document(self) -> dict[str, object]:
        """For programs."""
        size = self.size
        return {
            "world": size.name, "clusters": size.clusters, "nodes": size.nodes, "failureEverySeconds": size.pace_s,
            "virtualSeconds": round(self.virtual_s, 3), "cpuSeconds": round(self.cpu_s, 3),
            "birthCpuSeconds": round(self.birth_cpu_s, 3), "timesRealTime": round(self.ratio, 1),
            "hoursPerCoreSecond": round(self.hours_per_second, 3), "messages": self.messages, "repairs": self.repairs,
            "breaches": self.breaches,
        }  # fmt: skip


def world_script(size: WorldSize) -> Script:
    """That world's script: failures only, evenly spread over its nodes by a fixed seed."""
    draw = Draw("world", size.name)
    end_s = size.birth_s + size.lasts_s
    steps = []
    at_s = size.birth_s
    while at_s < end_s:
        cluster = draw.whole(0, size.clusters - 1)
        steps.append(Step(round(at_s, 3), "fail", (f"c{cluster}-n{draw.whole(0, size.nodes - 1)}",)))
        at_s += size.pace_s
    return Script(
        seed=0,
        settings=StageSettings(seed=0, quota=size.quota, batch_max=size.batch_max),
        clusters=tuple((f"c{number}", size.nodes, 0) for number in range(size.clusters)),
        steps=tuple(steps), faults=(), chaos_s=end_s,
    )  # fmt: skip


class _Over(Exception):
    """It has been measured."""


def fastest(size: WorldSize, cpu: Callable[[], float]) -> Speed:
    """The fastest of ``PLAYS`` plays: they all do the same, and whatever else the machine has to do only adds to it."""
    return min((measure(size, cpu) for _ in range(PLAYS)), key=lambda speed: speed.cpu_s)


def measure(size: WorldSize, cpu: Callable[[], float]) -> Speed:
    """Play that world. ``cpu`` tells the processor seconds that this process has had."""
    began_s = cpu()
    looks: list[tuple[float, float]] = []
    run = Run(world_script(size))
    world = run.stage.world

    def look() -> None:
        looks.append((world.clock.now(), cpu()))

    def end() -> None:
        look()
        raise _Over

    world.after(size.birth_s - 1.0, look)
    world.after(size.birth_s + size.lasts_s - 1.0, end)
    with collected_at_the_end():
        try:
            run.play()
        except _Over:
            pass
    result = run.result()
    (from_s, from_cpu_s), (until_s, until_cpu_s) = looks[0], looks[-1]
    return Speed(
        size=size, virtual_s=until_s - from_s, cpu_s=until_cpu_s - from_cpu_s, birth_cpu_s=from_cpu_s - began_s,
        messages=result.messages, repairs=result.repairs, breaches=len(result.breaches),
    )  # fmt: skip
