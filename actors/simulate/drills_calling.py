"""Drills of the gateway: who leaves when, what an answer means, what is taken out of the queue."""

from __future__ import annotations

from ..core.quantity import Quota
from .draw import Draw
from .drill import drill, plain
from .script import Script
from .steps import Step

__all__: list[str] = []


@drill("small-beside-large", "a large parent fails as a whole, and small ones a moment later")
def _small_beside_large(draw: Draw) -> Script:
    small = [f"c{n}" for n in range(1, 1 + draw.whole(2, 4))]
    large_s = draw.between(4.0, 6.0)
    return plain(
        draw, [("c0", draw.whole(24, 40), 0), *((name, 2, 0) for name in small)],
        [
            Step(large_s, "fail-cluster", ("c0",), "P11"),
            *(Step(large_s + draw.between(0.5, 2.0), "fail", (f"{name}-n0",)) for name in small),
        ],
        chaos_s=40.0, quota=Quota(1, 2.0), batch_max=2,
    )  # fmt: skip
