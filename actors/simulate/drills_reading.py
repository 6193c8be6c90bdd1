"""Drills of reading: what lists, streams and mailboxes hold, who is silent, and what a crash or an outage leaves of it."""

from __future__ import annotations

from .draw import Draw
from .drill import drill, plain
from .script import Script
from .steps import Step

__all__: list[str] = []


@drill("old-news", "a server that is behind brings old changes again, one at a time, and a list of earlier days")
def _old_news(draw: Draw) -> Script:
    nodes = [f"c{c}-n{n}" for c in range(2) for n in range(draw.whole(2, 3))]
    turns = [
        Step(4.0 + draw.between(0.0, 12.0), draw.pick(("fail", "recover")), (draw.pick(nodes),)) for _ in range(24)
    ]
    again = [
        Step(at_s + draw.between(0.0, 2.0), "replay", ("ComputeNode", draw.whole(4, 12), draw.pick((0.02, 0.3))), "A8")
        for at_s in (10.0, 14.0, 18.0)
    ]
    stale = Step(19.0 + draw.between(0.0, 2.0), "stale-lists", ("ComputeNode", draw.whole(4, 12), 6.0), "A8")
    return plain(
        draw, [("c0", 3, 1), ("c1", 3, 1)], [*turns, *again, stale], chaos_s=30.0, heal_after_s=draw.pick((0.5, 4.0)),
        streamed_list=False,
    )  # fmt: skip


@drill("unreadable-in-a-list", "an object cannot be read while its kind is listed again")
def _unreadable_in_a_list(draw: Draw) -> Script:
    spoilt, other = draw.pick(("c0-n0", "c0-s0")), draw.pick(("c0-n1", "c0-n2", "c1-n0"))
    kind = "StorageNode" if "-s" in spoilt else "ComputeNode"
    at_s, for_s = draw.between(4.0, 8.0), draw.between(6.0, 12.0)
    listed_s = at_s + draw.between(0.5, 3.0)
    lists = draw.pick((("relist", (kind, None)), ("expire", (kind,))))
    return plain(
        draw, [("c0", 3, 2), ("c1", 2, 0)],
        [
            Step(at_s, "spoil", (spoilt, for_s), "A14"),
            Step(listed_s, *lists, "A14"),
            *(Step(listed_s + draw.between(0.2, 2.0), what, (other,)) for what in ("fail", "recover")),
        ],
        chaos_s=30.0, page_items=draw.pick((2, 500)),
    )  # fmt: skip


@drill(
    "silence", "nodes that report on a dead stream, that have no server to report to, and one that is silent for long"
)
def _silence(draw: Draw) -> Script:
    timeout_s, mute = draw.pick((7.0, 9.0)), draw.pick(("c0-n0", "c1-n0"))
    kind = draw.pick(("ComputeNode", "ComputeNode", "StorageNode"))
    away_s, away_for_s = draw.between(36.0, 40.0), timeout_s + draw.between(3.0, 8.0)
    killed_s = 66.0 + timeout_s + draw.between(8.0, 12.0)
    return plain(
        draw, [("c0", 3, 2), ("c1", 2, 2)],
        [
            Step(draw.between(1.0, 2.0), "mute-node", (mute, 200.0)),
            Step(draw.between(14.0, 18.0), "swallow", (kind,), "A13"),
            Step(away_s, "away", (away_for_s,), "A11"),
            *(Step(away_s, "mute-node", (name, away_for_s + 6.0)) for name in ("c0-n1", "c0-s1")),  # slow to come back
            Step(killed_s, "kill", (draw.pick((0.1, 2.0)),), "P6"),
        ],
        chaos_s=killed_s + 15.0, policy={"heartbeat_timeout_s": timeout_s, "repair_enabled": False},
    )  # fmt: skip


@drill("storm-at-a-stuck-actor", "nodes report without end to an actor that does not come back from a message")
def _storm_at_a_stuck_actor(draw: Draw) -> Script:
    at_s = draw.between(3.0, 5.0)
    stuck = draw.pick(("cluster/default/c0", "watcher/ComputeNode"))
    nodes, pace_s = draw.whole(3, 5), draw.between(0.03, 0.06)
    return plain(
        draw, [("c0", 5, 0), ("c1", 2, 0)],
        [
            Step(at_s, "wedge", (stuck,), "P5"),
            *(Step(at_s + n * 0.01, "flap", (f"c0-n{n}", int(11.0 / pace_s), pace_s), "P11") for n in range(nodes)),
        ],
        chaos_s=45.0, policy={"repair_enabled": False},
    )  # fmt: skip


@drill("full-pipe", "changes, a list without some that were there, and changes again wait in the reader's pipe")
def _full_pipe(draw: Draw) -> Script:
    at_s = draw.between(4.0, 8.0)
    gone, stays = draw.pick((("c0-n0", "c0-n1"), ("c0-n1", "c1-n0"), ("c1-n0", "c0-n0")))
    before = Step(at_s + draw.between(0.2, 0.5), "fail", (gone,))
    after = Step(at_s + 3.5 + draw.between(0.0, 1.0), "fail", (stays,))
    return plain(
        draw, [("c0", 3, 1), ("c1", 2, 0)],
        [
            Step(at_s, "fill-pipe", ("ComputeNode", 5.0), "R3"),
            before,
            Step(at_s + 1.0, "swallow", ("ComputeNode",), "A13"),
            Step(at_s + draw.between(1.2, 1.8), "delete-node", (gone,)),
            Step(at_s + 2.0, "compact", ("ComputeNode", 0.1), "A3"),
            after,
        ],
        chaos_s=40.0, policy={"repair_enabled": False},
    )  # fmt: skip


@drill("answer-to-the-dead", "a parent's actor dies as it is told how its repairs have ended, and asks again")
def _answer_to_the_dead(draw: Draw) -> Script:
    at_s = draw.between(4.0, 8.0)
    return plain(
        draw, [("c0", draw.whole(2, 4), 1), ("c1", 2, 0)],
        [
            Step(at_s, "strike", ("cluster/default/c0", "ItemsAnswered", "before", 1, 1, draw.whole(1, 2)), "P3"),
            *(Step(at_s + 0.1 + draw.between(0.0, 1.0), "fail", (node,)) for node in ("c0-n0", "c0-n1", "c1-n0")),
        ],
        chaos_s=30.0, heal_after_s=4.0, policy={"cooldown_s": 15.0}, honours_keys=draw.chance(0.5),
    )  # fmt: skip


@drill("news-for-the-sleepy", "a node fails as its parent's slow actor has been idle for long enough to fall asleep")
def _news_for_the_sleepy(draw: Draw) -> Script:
    clusters = [(f"c{c}", 1, 0) for c in range(12)]
    slow_s = draw.between(0.4, 0.6)  # the idle time of all of them ends at about 5.1 s
    return plain(
        draw, clusters,
        [
            Step(4.0, "slow-threads", ("cluster/", slow_s, 16.0), "P12"),
            *(Step(draw.between(5.1, 5.6), "fail", (f"{name}-n0",)) for name, _, _ in clusters),
        ],
        chaos_s=24.0, idle_s=5.0, turn_messages_max=1, policy={"repair_enabled": False},
    )  # fmt: skip


@drill("told-to-come-back-later", "the server is busy, and says when lists, watches and writes may be tried again")
def _told_to_come_back_later(draw: Draw) -> Script:
    at_s, kind = draw.between(4.0, 8.0), draw.pick(("ComputeNode", "StorageNode", "Cluster"))
    wish_s = draw.pick((15.0, 25.0))
    return plain(
        draw, [("c0", 3, 1), ("c1", 2, 0)],
        [
            Step(at_s, "refuse-reads", (kind, "throttled", draw.between(1.0, 3.0), wish_s), "A11"),
            Step(at_s + 30.0, "refuse-writes", ("throttled", draw.between(1.0, 3.0), 1.0, wish_s, ""), "A11"),
            *(Step(at_s + later_s, "fail", (node,)) for later_s in (0.5, 30.5) for node in ("c0-n0", "c1-n0")),
            Step(at_s + 20.0, "recover", ("c0-n0",)),
        ],
        chaos_s=60.0,
    )  # fmt: skip
