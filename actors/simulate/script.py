"""A run as data: sizes, settings, users' acts, faults and when they come. It can be written down, played again, cut down."""

from __future__ import annotations

from attrs import evolve, frozen

from .stage import StageSettings
from .steps import Step

__all__ = ["KINDS", "LEFTOVERS", "Script"]

KINDS = ("Cluster", "ComputeNode", "StorageNode")
LEFTOVERS = ("", "", "", "", "poisonous-parent", "sick-node", "no-bookmarks", "slow-api")
"""What stays broken after the healing; mostly nothing."""


@frozen(kw_only=True)
class Script:
    """A run as data. ``beat_s`` 0: nodes report no heartbeats. ``cold_start_s`` is the first process's."""

    seed: int
    settings: StageSettings
    clusters: tuple[tuple[str, int, int], ...]
    """(name, compute nodes, storage nodes) that are there at the beginning."""
    steps: tuple[Step, ...]
    faults: tuple[str, ...]
    chaos_s: float
    beat_s: float = 0.0
    cold_start_s: float | None = 0.0
    leftover: str = ""
    drill: str = ""
    """Which of the ``DRILLS`` it is, "" where a swarm of faults was drawn."""

    def without(self, steps: tuple[Step, ...]) -> Script:
        """The same with these steps only."""
        return evolve(self, steps=steps)

    def names(self) -> list[tuple[str, str]]:
        """(node, cluster) of the beginning."""
        return [
            (f"{cluster}-{letter}{n}", cluster)
            for cluster, compute, storage in self.clusters
            for letter, count in (("n", compute), ("s", storage))
            for n in range(count)
        ]
