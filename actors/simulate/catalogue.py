"""The fault catalogue: every fault by its id, with how it is drawn. The verbs themselves are in ``faults_*``.

The ids are those of the reliability research that this simulator was designed from: A the API server, B the backend, P our
own process; R, the reader's process and its pipe,
and M, users with bad timing, are added here. What does not apply is listed in ``NOT_APPLICABLE``, with why.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

from .draw import Draw
from .steps import Argument, Step

__all__ = ["CATALOGUE", "NOT_APPLICABLE", "Fault", "Shape", "fault"]


@frozen(kw_only=True)
class Shape:
    """What a fault may aim at."""

    clusters: tuple[str, ...]
    nodes: tuple[str, ...]
    kinds: tuple[str, ...]
    chaos_s: float
    batch_calls: int
    """The quota's calls."""
    window_s: float


Drawn = Callable[[Draw, Shape], list[tuple[float, str, tuple[Argument, ...]]]]


@frozen
class Fault:
    """One row: ``draw`` gives (instant, verb, arguments) of one occurrence."""

    id: str
    name: str
    drawn: Drawn

    def draw(self, draw: Draw, shape: Shape) -> list[Step]:
        """One occurrence, somewhere in the chaos."""
        return [Step(round(at_s, 3), do, args, self.id) for at_s, do, args in self.drawn(draw, shape)]


CATALOGUE: dict[str, Fault] = {}

NOT_APPLICABLE = {
    "P8": "a zombie leader needs leases, which come with replicas; a process that is frozen and runs on is P9",
    "P13": "a rolling update with two replicas at once: the Deployment's strategy is Recreate",
    "P14": "there is no quota store outside the process",
}


def fault(id_: str, name: str) -> Callable[[Drawn], Drawn]:
    """Register how that fault is drawn."""

    def register(drawn: Drawn) -> Drawn:
        assert id_ not in CATALOGUE, f"two faults {id_}"
        CATALOGUE[id_] = Fault(id_, name, drawn)
        return drawn

    return register
