"""Drills of the gateway: who leaves when, what an answer means, what is taken out of the queue."""

from __future__ import annotations

from ..core.quantity import Quota
from .draw import Draw
from .drill import drill, plain
from .script import Script
from .steps import Step

__all__: list[str] = []


# --- the queue --------------------------------------------------------------------------------------------------------
@drill("small-beside-large", "a large parent fails as a whole, and small ones a moment later")
def _small_beside_large(draw: Draw) -> Script:
    small = [f"c{n}" for n in range(1, 1 + draw.whole(1, 3))]
    large_s = draw.between(4.0, 6.0)
    return plain(
        draw, [("c0", draw.whole(70, 90), 0), *((name, 2, 0) for name in small)],
        [
            Step(large_s, "fail-cluster", ("c0",), "P11"),
            *(Step(large_s + draw.between(1.2, 4.0), "fail", (f"{name}-n{n}",)) for name in small for n in range(2)),
        ],
        chaos_s=80.0, quota=Quota(1, 2.0), batch_max=2,
    )  # fmt: skip


@drill("second-attempts", "repairs that did not help are tried again while new failures keep the queue full")
def _second_attempts(draw: Draw) -> Script:
    """Each new failure is another parent's, so that nothing but its age brings the second attempt to its turn."""
    fresh = ("c1", "c2")
    at_s, steps = draw.between(4.0, 5.0), []
    steps += [Step(at_s, "stubborn", (f"c0-n{n}", 1), "B11") for n in range(draw.whole(1, 3))]
    at_s += draw.between(1.0, 2.0)
    for number in range(48):  # one more in 1.3 s, on the average; one leaves in 2 s
        steps.append(Step(round(at_s, 3), "fail", (f"{fresh[number % 2]}-n{number // 2}",)))
        at_s += draw.between(0.9, 1.7)
    return plain(
        draw, [("c0", 4, 0), *((name, 24, 0) for name in fresh)], steps, chaos_s=90.0, quota=Quota(1, 2.0), batch_max=1
    )  # fmt: skip


@drill("out-of-the-queue", "repairs wait for the quota while their parents are deleted, held and let go")
def _out_of_the_queue(draw: Draw) -> Script:
    """A long cooldown: what was never sent need not cool down, and is to be asked for as soon as it may be."""
    at_s = draw.between(4.0, 6.0)
    hold, let_go = draw.pick((
        (("paused", True), ("paused", None)), (("repair.enabled", False), ("repair.enabled", True)),
        (("repair.maxUnhealthy", 0), ("repair.maxUnhealthy", "100%")),
    ))  # fmt: skip
    held_s = at_s + draw.between(2.0, 4.0)
    return plain(
        draw, [("c0", 6, 0), ("c1", 6, 0)],
        [
            *(Step(at_s, "fail-cluster", (name,), "P11") for name in ("c0", "c1")),
            Step(held_s, "configure", ("c1", *hold)),
            Step(held_s + draw.between(3.0, 6.0), "configure", ("c1", *let_go)),
            Step(at_s + draw.between(2.0, 8.0), "delete-cluster", ("c0",)),
        ],
        chaos_s=60.0, quota=Quota(1, draw.pick((4.0, 5.0))), batch_max=1, policy={"cooldown_s": 60.0},
    )  # fmt: skip


@drill(
    "news-behind-a-slow-parent",
    "nodes go, come back and recover while they wait for the quota and their parent's actor is slow",
)
def _news_behind_a_slow_parent(draw: Draw) -> Script:
    """Nobody takes anything back in time: what leaves is decided by the look at each item as its call leaves."""
    at_s = draw.between(4.0, 5.0)
    slow_s = at_s + 1.0 + draw.between(0.0, 0.5)
    news_s = slow_s + 0.5
    return plain(
        draw, [("c0", 8, 0)],
        [
            Step(at_s, "fail-cluster", ("c0",), "P11"),
            Step(slow_s, "slow-threads", ("cluster/", 9.0, 18.0), "P12"),
            *(Step(news_s, "delete-node", (f"c0-n{n}",)) for n in (2, 3)),
            *(Step(news_s, "recreate-node", (f"c0-n{n}", "c0", False, "field")) for n in (4, 5)),
            *(Step(news_s, "recover", (f"c0-n{n}",)) for n in (6, 7)),
            Step(news_s + 1.5 + draw.between(0.0, 1.0), "fail", ("c0-n7",)),
        ],
        chaos_s=40.0, quota=Quota(1, draw.pick((2.0, 3.0))), batch_max=1,
    )  # fmt: skip


# --- how calls end ----------------------------------------------------------------------------------------------------
@drill("call-without-end", "the threads of calls do not come back, for a while")
def _call_without_end(draw: Draw) -> Script:
    at_s = draw.between(4.0, 6.0)
    return plain(
        draw, [("c0", 5, 0), ("c1", 3, 2)],
        [
            Step(at_s, "lose-ends", (draw.between(2.0, 6.0),), "P5"),
            *(Step(at_s + draw.between(0.0, 1.5), "fail", (f"c{n % 2}-n{n // 2}",)) for n in range(6)),
        ],
        chaos_s=40.0, quota=Quota(draw.pick((2, 5)), 1.0), batch_max=draw.pick((1, 3, 20)),
        in_flight_max=draw.pick((1, 4, 16)),
    )  # fmt: skip


@drill("answer-during-a-pause", "one call is told to wait, and the answer to an earlier one comes after that")
def _answer_during_a_pause(draw: Draw) -> Script:
    at_s = draw.between(4.0, 6.0)
    return plain(
        draw,
        [("c0", draw.whole(8, 16), 0), ("c1", 4, 0)],
        [
            Step(at_s, "misbehave", ("latency", 0.6, 1, draw.between(1.4, 1.8), None), "B9"),
            Step(at_s + 0.05, "fail", ("c1-n0",)),
            Step(at_s + 0.7, "misbehave", ("throttle", 8.0, 1, 0.0, draw.pick((4, 5, 8))), "B7"),
            Step(at_s + 0.75, "fail-cluster", ("c0",), "P11"),
            *(Step(at_s + draw.between(1.5, 3.0), "fail", (f"c1-n{n}",)) for n in range(1, 4)),
        ],
        chaos_s=60.0,
        quota=Quota(4, draw.pick((1.0, 2.0))),
        batch_max=draw.pick((1, 2)),
    )


@drill("item-by-item", "answers that are another for each item: done, failed, later, or no word of it")
def _item_by_item(draw: Draw) -> Script:
    """With a long cooldown: what the backend wants later must not be taken for what has failed."""
    steps, at_s = [], draw.between(4.0, 5.0)
    for number, (do, seconds) in enumerate((("partial", 0.0), ("partial", 1.0), ("missing", 0.0), ("unknown", 0.0))):
        wish_s = draw.pick((None, 1, 2)) if seconds else None
        steps.append(Step(at_s, "misbehave", (do, 3.0, 1, seconds, wish_s), "B5"))
        steps += [Step(at_s + 0.2, "fail", (f"c{n % 2}-n{4 * number + n // 2}",)) for n in range(draw.whole(4, 8))]
        at_s = round(at_s + draw.between(8.0, 10.0), 3)
    return plain(
        draw, [("c0", 16, 0), ("c1", 16, 0)], steps, chaos_s=60.0, honours_keys=draw.chance(0.5), policy={"cooldown_s": 20.0}
    )  # fmt: skip


@drill("answer-lost-on-its-way", "a parent's actor dies of an answer, and asks again for what has been done")
def _answer_lost_on_its_way(draw: Draw) -> Script:
    """Nodes take long to get well, so that they are asked for again; and the backend would do it twice."""
    at_s = draw.between(4.0, 6.0)
    return plain(
        draw, [("c0", 4, 0), ("c1", 2, 1)],
        [
            *(Step(at_s, "strike", (f"cluster/default/c{n}", "ItemsAnswered", "before", 1, 1, 1), "P3") for n in range(2)),
            *(Step(at_s + draw.between(0.0, 2.0), "fail", (f"c{n % 2}-n{n // 2}",)) for n in range(4)),
        ],
        chaos_s=40.0, honours_keys=draw.chance(0.3), heal_after_s=draw.pick((3.0, 4.0)),
    )  # fmt: skip


@drill("poisoned-parent", "the backend refuses each batch with a node of one parent: the others must not notice")
def _poisoned_parent(draw: Draw) -> Script:
    """Large batches and long waits of the breaker: what does not know a search from an outage holds everybody up."""
    nodes, at_s = draw.whole(12, 16), draw.between(4.0, 5.0)
    steps = [
        Step(at_s, "poison-cluster", ("c0", 50.0), "B6"), Step(at_s + 0.5, "fail-cluster", ("c0",), "P11"),
        Step(at_s + 0.5, "fail", ("c1-n0",)), Step(at_s + 0.5, "fail", ("c2-n0",)),
    ]  # fmt: skip
    for number in range(1, 4):
        at_s += draw.between(4.0, 8.0)
        steps += [Step(round(at_s, 3), "fail", (f"c{cluster}-n{number}",)) for cluster in (1, 2)]
    return plain(
        draw, [("c0", nodes, 0), ("c1", 4, 0), ("c2", 4, 0)], steps, chaos_s=50.0, quota=Quota(draw.pick((3, 5, 10)), 1.0),
        batch_max=20, breaker_max_s=60.0, policy={"cooldown_s": 40.0},
    )  # fmt: skip


# --- across the process -----------------------------------------------------------------------------------------------
@drill("killed-with-the-quota-spent", "a process that has just spent the quota is killed, and started at once")
def _killed_with_the_quota_spent(draw: Draw) -> Script:
    at_s = draw.between(4.0, 6.0)
    calls = draw.whole(1, 3)
    kill = Step(at_s, "kill-at", ("call-arrived", calls, 0.1), "P6")
    if draw.chance(0.3):
        kill = Step(at_s + draw.between(0.5, 1.0), "terminate", (2.0,), "P7")
    return plain(
        draw, [("c0", 8, 0)], [kill, Step(at_s, "fail-cluster", ("c0",), "P11")], chaos_s=60.0,
        quota=Quota(calls, 10.0), batch_max=1,
    )  # fmt: skip


@drill(
    "backend-away-and-back", "the backend fails for a while, and with it go and come parents' waits, sleep and actors"
)
def _backend_away_and_back(draw: Draw) -> Script:
    at_s = draw.between(4.0, 6.0)
    away_s = draw.between(8.0, 16.0)
    away = draw.pick(
        (("misbehave", ("error", away_s, None, 0.0, None), "B8"), ("call-fate", ("refused", away_s, 1.0, 0.0), "B1"))
    )
    back_s = at_s + away_s
    return plain(
        draw, [("c0", 3, 0), ("c1", 3, 0), ("c2", 2, 0)],
        [
            Step(at_s, *away),
            *(Step(at_s + draw.between(0.0, 2.0), "fail", (f"c{n}-n0",)) for n in range(2)),
            Step(at_s + away_s / 2, "recover", ("c1-n0",)),  # it wants nothing more, and is told of the return all the same
            *(Step(back_s + draw.between(8.0, 20.0), "fail", (f"c{n}-n1",)) for n in range(3)),
        ],
        chaos_s=60.0, idle_s=4.0, policy={"cooldown_s": 2.0},
    )  # fmt: skip
