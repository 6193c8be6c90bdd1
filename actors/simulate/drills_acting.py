"""Drills of those who act for a parent: its actor and the status it wishes for, the writer, and who supervises them."""

from __future__ import annotations

from attrs import evolve

from ..core.quantity import Quota
from .draw import Draw
from .drill import drill, plain
from .script import Script
from .steps import Step

__all__: list[str] = []

_PATIENT = {"debounce_quiet_s": 1.0, "debounce_max_s": 3.0}


# --- the status lane --------------------------------------------------------------------------------------------------
@drill("overwritten-status", "others write into a status: while nothing happens, and between our write and its answer")
def _overwritten_status(draw: Draw) -> Script:
    rest_s, write_s, late_s = draw.between(5.0, 7.0), draw.between(9.0, 11.0), draw.between(3.0, 4.0)
    return plain(
        draw, [("c0", draw.whole(1, 3), draw.whole(0, 1)), ("c1", draw.whole(1, 3), 0)],
        [
            Step(rest_s, "overwrite-status", ("c0",), "A10"),
            Step(write_s, "refuse-writes", ("tardy", 2.0, 1.0, late_s, "c1"), "A13"),
            Step(write_s + 0.1, "create-node", ("c1-n9", "c1", True, draw.pick(("field", "label", "owner")))),
            # After the debounce and the write, and so long before the answer that there is a look between.
            Step(write_s + draw.between(0.8, 1.5), "overwrite-status", ("c1",), "A10"),
        ],
        chaos_s=20.0,
    )  # fmt: skip


@drill(
    "troubled-writes",
    "changes while a status is under way, while the server takes none, and while it says 409 for nothing",
)
def _troubled_writes(draw: Draw) -> Script:
    slow_s, away_s, refused_s = draw.between(5.0, 7.0), draw.between(14.0, 16.0), draw.between(5.0, 12.0)
    return plain(
        draw, [("c0", draw.whole(1, 3), 1), ("c1", draw.whole(1, 3), 0), ("c2", draw.whole(1, 3), 0)],
        [
            Step(slow_s, "refuse-writes", ("slow", 1.0, 1.0, draw.between(3.0, 4.0), "c0"), "A13"),
            Step(slow_s + 0.1, "create-node", ("c0-n8", "c0", True, "field")),
            Step(slow_s + draw.between(1.5, 2.0), "create-node", ("c0-n9", "c0", True, "field")),
            Step(away_s, "refuse-writes", ("unavailable", draw.between(3.0, 6.0), 1.0, 0.0, "c1"), "A12"),
            Step(away_s + 0.1, "create-node", ("c1-n9", "c1", True, "field")),
            Step(refused_s, "refuse-writes", ("conflict", draw.between(1.0, 4.0), 1.0, 0.0, "c2"), "A10"),
            Step(refused_s + draw.between(0.1, 0.5), "create-node", ("c2-n9", "c2", True, "field")),
        ],
        chaos_s=25.0,
    )  # fmt: skip


@drill("parent-behind-a-dead-stream", "a parent's new version is lost with its stream, which nobody finds dead")
def _parent_behind_a_dead_stream(draw: Draw) -> Script:
    at_s = draw.between(5.0, 8.0)
    act = draw.pick((Step(0.0, "touch-cluster", ("c0", "lost")), Step(0.0, "configure", ("c0", "minHealthy", 0))))
    return plain(
        draw, [("c0", draw.whole(2, 4), 0), ("c1", 1, 0)],
        [
            Step(at_s, "swallow", ("Cluster",), "A13"),
            evolve(act, at_s=at_s + 0.5),
            Step(at_s + draw.between(1.0, 3.0), "create-node", ("c0-n9", "c0", True, "field")),
        ],
        chaos_s=70.0,
    )  # fmt: skip


@drill("forgotten-wishes", "the gateway and the writer die while repairs and statuses wait with them")
def _forgotten_wishes(draw: Draw) -> Script:
    window_s = draw.pick((8.0, 10.0))
    first_s = draw.between(4.0, 5.0)
    status_s = first_s + 2.5 * window_s
    count, where = draw.whole(2, 4), draw.pick(("before", "after"))
    return plain(
        draw, [("c0", count, 0), ("c1", 1, 0), ("c2", 1, 0), ("c3", 2, 0)],
        [
            Step(first_s, "fail", ("c1-n0",)),  # it takes the only call of the window
            *(Step(first_s + draw.between(1.0, 1.5), "fail", (f"c0-n{n}",)) for n in range(count)),
            Step(first_s + 3.0, "strike", ("gateway", "RepairsWanted", where, 1, 1, 1), "P1"),
            Step(first_s + 3.1, "fail", ("c2-n0",)),
            Step(status_s, "refuse-writes", ("unavailable", 6.0, 1.0, 0.0, "c3"), "A12"),
            Step(status_s + 0.1, "create-node", ("c3-n9", "c3", True, "field")),
            Step(status_s + draw.between(1.0, 2.0), "strike", ("status", "RetryDue", where, 1, 1, 1), "P1"),
        ],
        chaos_s=round(status_s + 20.0), quota=Quota(1, window_s), batch_max=draw.pick((5, 20)),
    )  # fmt: skip


# --- life and death ---------------------------------------------------------------------------------------------------
@drill("few-that-die-often", "the actors of a few parents die several times each, within their budgets")
def _few_that_die_often(draw: Draw) -> Script:
    clusters = [f"c{n}" for n in range(3)]
    steps = []
    for name in clusters:
        at_s = draw.between(5.0, 10.0)
        where = draw.pick(("before", "after"))
        steps += [
            Step(at_s, "strike", (f"cluster/default/{name}", "", where, 1, 1, draw.whole(4, 5)), "P4"),
            Step(at_s + 0.1, "fail", (f"{name}-n0",)),
            *(Step(at_s + n, draw.pick(("fail", "recover")), (f"{name}-n1",)) for n in range(2, 10)),
        ]
    return plain(draw, [(name, draw.whole(2, 3), 0) for name in clusters], steps, chaos_s=30.0)


@drill("deaths-that-nobody-sees", "actors die while their supervisor is down, and their supervisor dies of the news")
def _deaths_that_nobody_sees(draw: Draw) -> Script:
    at_s = draw.between(5.0, 7.0)
    more_s, news_s = at_s + draw.between(8.0, 10.0), at_s + draw.between(30.0, 35.0)
    return plain(
        draw, [("c0", 3, 0), ("c1", 2, 0)],
        [
            Step(at_s, "strike-after", ("directory", "cluster/default/c0", "c0-n0"), "P3"),
            Step(at_s, "strike", ("directory", "", "before", 1, 1, 1), "P2"),
            Step(at_s, "strike", ("directory", "", "init", 1, 1, 1), "P2"),  # so that it is down for longer
            Step(at_s + 0.1, "create-cluster", ("c2",)),
            Step(more_s, "strike", ("cluster/default/c0", "", draw.pick(("before", "after")), 1, 1, 4), "P4"),
            *(Step(more_s + 0.1 + n, "fail" if n % 2 else "recover", ("c0-n1",)) for n in range(12)),
            Step(news_s, "strike-meaning", ("directory-on-down", "before", 1), "P3"),
            Step(news_s, "strike", ("cluster/default/c1", "", "before", 1, 1, 1), "P3"),
            Step(news_s + 0.1, "fail", ("c1-n0",)),
        ],
        chaos_s=90.0,
    )  # fmt: skip


@drill("wanted-while-ending", "parents are wanted again while their actors, which are slow, close or fall asleep")
def _wanted_while_ending(draw: Draw) -> Script:
    gone_s, sleep_s = draw.between(2.5, 3.0), draw.between(12.0, 14.0)
    steps = [
        Step(gone_s - 1.0, "slow-threads", ("cluster/", 2.0, 4.0), "P12"),
        Step(sleep_s, "meddle", ("falling-asleep", 2), "M1"),
        Step(sleep_s, "slow-threads", ("cluster/", 1.5, 15.0), "P12"),
    ]
    for name in ("c0", "c1"):
        steps.append(Step(gone_s, "delete-cluster", (name,)))
        steps.append(Step(gone_s + draw.between(0.1, 0.3), "create-cluster", (name,)))
    steps += (
        Step(sleep_s + draw.between(0.1, 1.0), "create-node", (f"{name}-n9", name, True, "field"))
        for name in ("c2", "c3")
    )
    clusters = [(f"c{n}", draw.whole(1, 2), 0) for n in range(4)]
    return plain(draw, clusters, steps, chaos_s=40.0, idle_s=draw.pick((2.0, 3.0)), policy=_PATIENT)


@drill("stirred-while-falling-asleep", "a parent that asks whether it may sleep hears of a change before it is asleep")
def _stirred_while_falling_asleep(draw: Draw) -> Script:
    at_s = draw.between(6.0, 8.0)
    clusters = [f"c{n}" for n in range(3)]
    return plain(
        draw, [(name, draw.whole(1, 2), 0) for name in clusters],
        [
            Step(at_s, "meddle", ("asking-to-sleep", len(clusters)), "M1"),
            Step(at_s, "slow-threads", ("directory", 0.4, 15.0), "P12"),
            *(Step(at_s + draw.between(0.1, 1.0), "create-node", (f"{name}-n9", name, True, "field")) for name in clusters),
        ],
        chaos_s=30.0, idle_s=draw.pick((2.0, 3.0)), policy=_PATIENT,
    )  # fmt: skip


@drill("poisonous-record", "a record kills whoever reads it, until its object changes")
def _poisonous_record(draw: Draw) -> Script:
    at_s = draw.between(5.0, 8.0)
    reader = draw.pick(("cluster/", "cluster/", "watcher/ComputeNode"))
    return plain(
        draw, [("c0", draw.whole(2, 4), draw.whole(0, 1)), ("c1", 2, 0)],
        [
            Step(at_s, "poison-record", ("c0-n0", reader), "P4"),
            *(Step(at_s + draw.between(0.5, 15.0), draw.pick(("fail", "recover")), (f"c{n % 2}-n1",)) for n in range(4)),
            Step(at_s + 30.0, "recover", ("c0-n0",)),
        ],
        chaos_s=50.0,
    )  # fmt: skip


@drill("deleted-and-still-there", "a parent waits for its finalizers, and its nodes fail")
def _deleted_and_still_there(draw: Draw) -> Script:
    at_s, count = draw.between(4.0, 6.0), draw.whole(2, 4)
    return plain(
        draw, [("c0", count, draw.whole(0, 1)), ("c1", 2, 0)],
        [
            Step(at_s, "delete-softly", ("c0",), "A16"),
            *(Step(at_s + draw.between(4.0, 12.0), "fail", (f"c0-n{n}",)) for n in range(count)),
            Step(at_s + draw.between(1.0, 10.0), "fail", ("c1-n0",)),
            Step(at_s + 25.0, "finalize", ("c0",), "A16"),
        ],
        chaos_s=40.0,
    )  # fmt: skip
