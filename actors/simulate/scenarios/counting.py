"""Faults of others in counting and debouncing: numbers that drift, and looks that never come or never end."""

from __future__ import annotations

from ...core.events import AuditDiffered
from ...core.model import Policy, Share
from ...core.quantity import Quota
from ..court import counted
from ..stage import StageSettings
from ..steps import Step
from .bill import Bill
from .playing import Act, Playing, at

__all__ = ["bill"]

bill = Bill()
COUNT_ONLY = Policy(repair_enabled=False)


@bill.scenario(
    "a-flapping-node-starves-its-parent",
    whose="kube-rs 4.2 (`Config::debounce` has no longest wait: kube-rs/kube#318, #1247, #1265); "
    "envoyproxy/gateway#9803 and "
    "controller-runtime#857 (everybody writes a queue of his own)",
    what="one node changes its health every 50 ms for 30 s; another fails once and must be seen",
    does="debounces with a longest wait beside the quiet time",
    figure="the other failure is in the status within {seen_s} s; no {gap_s} s without a look",
    seen_s=2.6, gap_s=2.1,
)  # fmt: skip
def _(play: Playing) -> None:
    flips = [at(5.0 + n * 0.05, "fail" if n % 2 else "recover", "c0-n0") for n in range(600)]
    act = play.act(
        ("c0", 3, 1), lasts_s=40.0, settings=StageSettings(policy=COUNT_ONLY), steps=[*flips, at(15.0, "fail", "c0-s0")]
    )  # fmt: skip
    seen = [each.at_s for each in act.writes_between(15.0, 34.0) if counted(each.status, "StorageNode") == (0, 1, 0)]
    play.at_most("seen_s", seen[0] - act.clock(15.0) if seen else None)
    looks = [act.clock(5.0), *(when_s for when_s, _ in act.reconciles if act.clock(5.0) < when_s < act.clock(35.0))]
    play.at_most(
        "gap_s", max(later - earlier for earlier, later in zip(looks, [*looks[1:], act.clock(35.0)], strict=True))
    )


@bill.scenario(
    "counts-that-drift",
    whose="zalando-incubator/kopf#317 (a handler per child that adds to and takes from the parent); Karpenter's "
    "first batching "
    "(#732, #2164: wrong counts)",
    what="hundreds of changes, births and deaths, with streams cut, lines doubled and lists between them",
    does="counts by state and not by event; a recount now and then would find a difference",
    figure="{wrong} of the parents is wrong at the end; {audits} audits find a difference",
    wrong=0, audits=0,
)  # fmt: skip
def _(play: Playing) -> None:
    draw, steps = play.draw, list[Step]()
    nodes = [f"c{c}-{letter}{n}" for c in range(2) for letter, n in (("n", 0), ("n", 1), ("n", 2), ("s", 0))]
    for n in range(200):
        node, roll, when_s = draw.pick(nodes), draw.whole(0, 9), 3.0 + n * 0.12
        if roll < 6:
            steps.append(at(when_s, draw.pick(("fail", "recover")), node))
        elif roll < 8:
            steps.append(at(when_s, "delete-node", node))
        else:
            steps.append(at(when_s, "create-node", node, node.split("-")[0], draw.chance(0.5), "field"))
    for when_s in (6.0, 12.0, 18.0, 24.0):
        kind = draw.pick(("ComputeNode", "StorageNode"))
        steps += [
            at(when_s, "cut", kind, False, 0.5),
            at(when_s + 1.0, "mangle", kind, "twice", 2.0),
            at(when_s + 3.0, "relist", kind, None),
        ]
    settings = StageSettings(policy=COUNT_ONLY)
    act = play.rehearse(("c0", 3, 1), ("c1", 3, 1), lasts_s=36.0, settings=settings, steps=steps)
    wrong: list[str] = []

    def look() -> None:
        for name in ("c0", "c1"):
            writes = [write.counts for write in act.writes if write.parent == name]
            wrong.extend([name] if not writes or writes[-1] != act.truth(name) else [])

    act.stage.world.after(35.9, look)
    play.perform(act)
    play.exactly("wrong", len(wrong))
    play.exactly("audits", len(act.facts(AuditDiffered)))


@bill.scenario(
    "moved-child-counts-twice",
    whose="kube-rs 4.2 and Metacontroller 4.17 (a mapper sees the new object only: the old parent is never told)",
    what="a child changes its parent, and back, by label, by field and by owner",
    does="wakes the parent that it leaves and the one that it comes to",
    figure="both are right within {right_s} s; at most {sum_max} of 5 nodes counted once they are",
    right_s=0.6, sum_max=5,
)  # fmt: skip
def _(play: Playing) -> None:
    act = play.act(
        ("c0", 2, 1), ("c1", 1, 1), lasts_s=20.0, settings=StageSettings(policy=COUNT_ONLY),
        steps=[
            at(5.0, "move-node", "c0-n0", "c1"), at(8.0, "move-node", "c0-n1", "c1"), at(11.0, "move-node", "c0-s0", "c1"),
            at(14.0, "move-node", "c0-n0", "c0"),
        ],
    )  # fmt: skip
    expected = ((5.0, 2, 3), (8.0, 1, 4), (11.0, 0, 5), (14.0, 1, 4))
    for when_s, left, came in expected:
        for name, count in (("c0", left), ("c1", came)):
            play.at_most("right_s", act.seconds_until(name, (count, 0, 0), when_s))
    last = [[write.counts[0] for write in act.writes_between(0.0, 20.0, name)][-1:] for name in ("c0", "c1")]
    play.at_most("sum_max", sum(sum(counts) for counts in last))


@bill.scenario(
    "recreated-parent-is-its-predecessor",
    whose="Sieve (OSDI 22), *unobserved state*: what is deleted and created again between two looks is taken for its "
    "predecessor",
    what="a parent is deleted and created again under its name in the same instant, now with repairs switched off; "
    "then once more",
    does="goes by uid: what was asked for the old one is withdrawn, and the new one begins at nothing",
    figure="its status is right within {right_s} s; {old_calls} calls for what the old one had asked",
    right_s=1.0, old_calls=0,
)  # fmt: skip
def _(play: Playing) -> None:
    act = play.act(
        ("c0", 3, 1), lasts_s=30.0,
        settings=StageSettings(policy=Policy(max_unhealthy=Share(percent=100.0)), breaker_max_s=4.0),
        steps=[
            at(4.9, "misbehave", "error", 5.0, None, 0.0, None), at(5.0, "fail", "c0-n1"), at(5.1, "fail", "c0-n2"),
            at(8.0, "delete-cluster", "c0"), at(8.0, "create-cluster", "c0", "repair.enabled", False),
            at(20.0, "delete-cluster", "c0"), at(21.0, "delete-node", "c0-n0"),
            at(23.0, "create-cluster", "c0", "repair.enabled", False),
        ],
    )  # fmt: skip
    play.at_most("right_s", _first_status_s(act, 8.0, (2, 2, 0)))
    play.at_most("right_s", _first_status_s(act, 23.0, (1, 2, 0)))
    play.exactly("old_calls", len(act.calls_between(8.2, 30.0)))
    play.expect(bool(act.calls_between(4.9, 8.0)), "the old one asked for nothing: the scenario plays nothing")


def _first_status_s(act: Act, at_s: float, counts: tuple[int, int, int]) -> float | None:
    """How long a parent that is created then waits for its first status, if that is right."""
    after = [write for write in act.writes if write.at_s > act.clock(at_s)]
    return after[0].at_s - act.clock(at_s) if after and after[0].counts == counts else None


@bill.scenario(
    "same-name-other-node",
    whose="Sieve (OSDI 22), *unobserved state*: delete and create within one gap are seen as one change",
    what="while the watch is deaf a sick node whose repair is queued is deleted, and another, sick too, comes under "
    "its name",
    does="goes by uid in records, rolls and keys: one is gone and is not asked for, another is there and is",
    figure="{old} calls for the old node after the stream's return, {new} for the new one; the count right within "
    "{right_s} s",
    old=0, new=1, right_s=5.0,
)  # fmt: skip
def _(play: Playing) -> None:
    slow = Policy(
        max_unhealthy=Share(percent=100.0), debounce_quiet_s=3.0, debounce_max_s=4.0
    )  # the call leaves before a look
    act = play.rehearse(
        ("c0", 6, 0), lasts_s=50.0, settings=StageSettings(policy=slow, quota=Quota(1, 10.0), heal_after_s=40.0),
        steps=[
            at(5.0, "fail", "c0-n5"), at(10.0, "fail", "c0-n1"), at(20.0, "swallow", "ComputeNode"),
            at(20.5, "recreate-node", "c0-n1", "c0", False, "field"), at(22.0, "cut", "ComputeNode", False, None),
            at(22.1, "delete-node", "c0-n4"),
        ],
    )  # fmt: skip
    old: set[str] = set()
    act.stage.world.after(
        19.0, lambda: old.update(node.uid for node in act.stage.truth.nodes.values() if node.name == "c0-n1")
    )
    play.perform(act)
    asked = [
        item.uid for call in act.calls_between(10.0, 50.0) for item in call.items if item.payload["name"] == "c0-n1"
    ]
    play.exactly("old", sum(1 for uid in asked if uid in old))
    play.exactly("new", sum(1 for uid in asked if uid not in old))
    play.at_most("right_s", act.seconds_until("c0", (3, 2, 0), 22.0))


@bill.scenario(
    "own-write-wakes-the-controller",
    whose="konflux-ci/konflux-ci#5874 (1,350 reconciles a second); metacontroller/metacontroller#386 (*the author's "
    "status must be "
    "stable*)",
    what="a few changes, each followed by our own status write, whose echo comes late; a stranger labels the parent",
    does="knows its own write when it comes back, and does not count a new version as news",
    figure="{looks} looks and {writes} writes for 4 changes of counts",
    looks=4, writes=4,
)  # fmt: skip
def _(play: Playing) -> None:
    act = play.act(
        ("c0", 4, 0), lasts_s=40.0, settings=StageSettings(policy=COUNT_ONLY),
        steps=[
            at(5.0, "lag", "Cluster", 1.5, 25.0), *(at(6.0 + 4 * n, "fail", f"c0-n{n}") for n in range(4)),
            *(at(25.0 + n, "touch-cluster", "c0", str(n)) for n in range(8)),
        ],
    )  # fmt: skip
    play.at_most("looks", sum(1 for when_s, _ in act.reconciles if act.clock(5.0) < when_s < 40.0))
    play.at_most("writes", sum(1 for when_s, _ in act.attempts if act.clock(5.0) < when_s < 40.0))


@bill.scenario(
    "heartbeats-cause-runs",
    whose="openshift/assisted-service#1529, nebius/soperator#625, konflux-ci/konflux-ci#5874 (stamps in the status "
    "cause runs)",
    what="20 nodes report every 2 s for a minute, and nothing changes",
    does="keeps the time of each report in the reader, and wakes nobody",
    figure="{looks} looks and {writes} writes for {reports} reports",
    looks=0, writes=0, reports=500,
)  # fmt: skip
def _(play: Playing) -> None:
    act = play.rehearse(
        ("c0", 10, 0), ("c1", 10, 0), lasts_s=66.0, steps=[], beat_s=2.0,
        settings=StageSettings(policy=Policy(heartbeat_timeout_s=20.0)),
    )  # fmt: skip
    reports = []
    act.stage.api.on_change.append(lambda resource, change: reports.append(change.type))
    play.perform(act)
    play.exactly("looks", sum(1 for when_s, _ in act.reconciles if 5.0 < when_s < 66.0))
    play.exactly("writes", sum(1 for when_s, _ in act.attempts if 5.0 < when_s < 66.0))
    play.at_least("reports", reports.count("MODIFIED"))


@bill.scenario(
    "status-conflict-in-a-hot-loop",
    whose="metacontroller/metacontroller#386, GoogleCloudPlatform/metacontroller#171, #197 (hot loops that nobody "
    "sees)",
    what="for 20 s each status write is answered 409, and somebody labels the parent meanwhile",
    does="waits for the newer object that the conflict spoke of, or for its patience, before it looks again",
    figure="at most {attempts} attempts in the 20 s; right within {right_s} s of their end",
    attempts=30, right_s=3.0,
)  # fmt: skip
def _(play: Playing) -> None:
    act = play.act(
        ("c0", 3, 0), lasts_s=40.0, settings=StageSettings(policy=COUNT_ONLY),
        steps=[
            at(5.0, "refuse-writes", "conflict", 20.0, 1.0, 0.0, "c0"), at(6.0, "fail", "c0-n0"),
            *(at(8.0 + n, "touch-cluster", "c0", str(n)) for n in range(5)),
        ],
    )  # fmt: skip
    play.at_most("attempts", sum(1 for when_s, _ in act.write_ends if act.clock(5.0) < when_s < act.clock(25.0)))
    play.at_most("right_s", act.seconds_until("c0", (2, 1, 0), 25.0))
