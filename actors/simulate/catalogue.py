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
    """One row: ``drawn`` gives (instant, verb, arguments) of one occurrence.

    ``times``: how often it occurs in a run that has it, from and to; ``weight``: how many tickets it has when faults are
    drawn. Both are set so that each fault strikes a thousand times in the 5,000 seeds of CI: some are drawn and miss (the
    message that was to kill never came), and some are too heavy to come often in one run.
    """

    id: str
    name: str
    drawn: Drawn
    times: tuple[int, int]
    weight: int

    def draw(self, draw: Draw, shape: Shape) -> list[Step]:
        """All its occurrences in one run, somewhere in the chaos."""
        occurrences = [self.drawn(draw, shape) for _ in range(draw.whole(*self.times))]
        return [Step(round(at_s, 3), do, args, self.id) for each in occurrences for at_s, do, args in each]


CATALOGUE: dict[str, Fault] = {}

NOT_APPLICABLE = {
    "P8": "a zombie leader needs leases, which come with replicas; a process that is frozen and runs on is P9",
    "P13": "a rolling update with two replicas at once: the Deployment's strategy is Recreate",
    "P14": "there is no quota store outside the process",
}


def fault(id_: str, name: str, *, times: tuple[int, int] = (4, 7), weight: int = 1) -> Callable[[Drawn], Drawn]:
    """Register how that fault is drawn, how often in a run, and in how many runs beside the others."""

    def register(drawn: Drawn) -> Drawn:
        assert id_ not in CATALOGUE, f"two faults {id_}"
        CATALOGUE[id_] = Fault(id_, name, drawn, times, weight)
        return drawn

    return register
