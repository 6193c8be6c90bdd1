"""Drills of what holds repairs: everybody in trouble at once, and nodes that no repair helps."""

from __future__ import annotations

from ..core.model import Share
from ..core.quantity import Quota
from .draw import Draw
from .drill import drill, plain
from .script import Script
from .steps import Step

__all__: list[str] = []


@drill(
    "everybody-at-once", "nodes of all parents fail at once, come back, fail again for a while, and come back for good"
)
def _everybody_at_once(draw: Draw) -> Script:
    """Parents so small that none holds its own repairs; one overrides the valve for a while, and has trouble after it.

    One node stays ill: it is repaired once the minute is over.
    """
    clusters = [(f"c{n}", draw.whole(2, 3), 0) for n in range(draw.whole(3, 4))]
    nodes = [f"{name}-n{n}" for name, count, _ in clusters for n in range(count)]
    fail_s = draw.between(4.0, 6.0)
    back_s = fail_s + draw.between(12.0, 16.0)
    again_s = back_s + draw.between(25.0, 35.0)
    over_s = again_s + draw.between(8.0, 12.0)
    override = (clusters[0][0], draw.between(1.5, 3.0))
    return plain(
        draw, clusters,
        [
            *(Step(fail_s, "fail", (node,), "P11") for node in nodes),
            *(Step(back_s, "recover", (node,)) for node in nodes[1:]),
            Step(again_s - draw.between(5.0, 10.0), "fail", (nodes[-1],)),
            *(Step(again_s, "fail", (node,)) for node in nodes[1:]),
            Step(again_s + 1.0, "override-valve", override),
            *(Step(again_s + 7.5, "fail", (f"{override[0]}-n{n}",)) for n in range(2)),
            *(Step(over_s, "recover", (node,)) for node in nodes[1:]),
            Step(over_s + draw.between(20.0, 40.0), "strike", ("gateway", "DispatchDue", "before", 1, 1, 1), "P1"),
        ],
        chaos_s=140.0, fleet_share=draw.pick((Share(percent=50.0), Share(absolute=2))),
        policy={"max_unhealthy": Share(percent=50.0)},
    )  # fmt: skip


@drill("sick-for-good", "repairs do not help some nodes: the last attempt, a new process, and a time of health")
def _sick_for_good(draw: Draw) -> Script:
    """With three attempts that wait 5, 10 and 10 s. One node is sick throughout, one is well for a moment after its last
    attempt, and one for long enough to begin anew; the process is killed once all is told.
    """
    at_s, most = draw.between(4.0, 6.0), draw.pick((3, 4))
    told_s = at_s + draw.between(45.0, 50.0)
    well_s = at_s + draw.between(70.0, 74.0)
    return plain(
        draw, [("c0", 6, 1), ("c1", 3, 0)],
        [
            *(Step(at_s, "stubborn", (f"c0-n{n}", 30), "B11") for n in range(3)),
            Step(at_s + 12.0, "recover", ("c0-n1",)),
            Step(at_s + 13.0, "fail", ("c0-n1",)),
            Step(at_s + 1.0, "fail", ("c1-n0",)),
            Step(told_s, "kill", (2.0,), "P6"),
            Step(well_s, "recover", ("c0-n2",)),
            Step(well_s + draw.between(14.0, 16.0), "stubborn", ("c0-n2", 30), "B11"),
        ],
        chaos_s=150.0, policy={"attempts_max": most, "cooldown_max_s": 10.0},
    )  # fmt: skip


@drill(
    "old-news-of-a-kind", "nodes wait for the quota while the stream of their kind is down, and other kinds' are not"
)
def _old_news_of_a_kind(draw: Draw) -> Script:
    """So many fail that calls would leave all the time; what is known of one kind is older and older."""
    at_s = draw.between(4.0, 6.0)
    return plain(
        draw, [("c0", 12, 3), ("c1", 8, 0)],
        [
            *(Step(at_s, "fail-cluster", (name,), "P11") for name in ("c0", "c1")),
            Step(at_s + 2.0, "refuse-reads", ("ComputeNode", draw.pick(("unavailable", "forbidden")), 55.0, None), "A13"),
        ],
        chaos_s=90.0, quota=Quota(1, draw.pick((3.0, 4.0))), batch_max=1,
    )  # fmt: skip
