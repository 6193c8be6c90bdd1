"""Faults of others in reading: what a list and a watch may lose, repeat, invent, or never end."""

from __future__ import annotations

import json

from ...core.events import Listed, StreamDown
from ...core.model import Policy, Share
from ...core.stream import Watch
from ...sim.apierrors import expired
from ..stage import NAMESPACE, PLURALS, RECOVER_S, Stage, StageSettings
from ..steps import verb
from .bill import Bill
from .playing import Act, Playing, at

__all__ = ["bill"]

bill = Bill()
OPEN = Policy(max_unhealthy=Share(percent=100.0))


@bill.scenario(
    "ghosts-after-410",
    whose="kopf 1.45 (`@kopf.index` keeps what vanished before a 410 until the process ends); kube-rs 4.2 (its store "
    "keeps it too, "
    "and nobody is woken after the swap)",
    what="children vanish while the watch is deaf, and to resume it is answered with 410",
    does="lists again at once, strikes out what is missing, and wakes its parent",
    figure="the count is right within {right_s} s of the 410; {ghosts} ghosts are kept",
    right_s=2.0, ghosts=0,
)  # fmt: skip
def _(play: Playing) -> None:
    act = play.act(
        ("c0", 4, 1), ("c1", 1, 0), lasts_s=20.0, settings=StageSettings(policy=OPEN),
        steps=[
            at(5.0, "swallow", "ComputeNode"), at(5.5, "delete-node", "c0-n0"), at(5.6, "delete-node", "c0-n2"),
            at(7.0, "compact", "ComputeNode", 0.1),
        ],
    )  # fmt: skip
    play.at_most("right_s", act.seconds_until("c0", (3, 0, 0), 7.0))
    play.exactly("ghosts", _ghosts(act))


@bill.scenario(
    "deletion-while-the-watch-was-down",
    whose="kube-rs/kube#1590 and PR #1673 (shared streams drop plain deletions); controller-runtime#243, "
    "argoproj/argo-cd#29042, "
    "dotnet-operator-sdk#675, operator-framework/java-operator-sdk#3621 (a lost DELETE wedges things for ever)",
    what="the watch breaks, children are deleted, and it is resumed where it was",
    does="resumes at the last version that was complete: the deletions come with it",
    figure="the count is right within {right_s} s of the cut; {lists} lists are needed for it",
    right_s=3.0, lists=0,
)  # fmt: skip
def _(play: Playing) -> None:
    act = play.act(
        ("c0", 3, 2), lasts_s=20.0, settings=StageSettings(policy=OPEN),
        steps=[
            at(5.0, "cut", "StorageNode", False, 0.5), at(5.0, "delete-node", "c0-s0"),
            at(5.0, "cut", "ComputeNode", False, None), at(5.0, "delete-node", "c0-n1"),
        ],
    )  # fmt: skip
    play.at_most("right_s", act.seconds_until("c0", (3, 0, 0), 5.0))
    lists = [fact for when_s, fact in act.facts(Listed) if act.clock(4.9) < when_s < act.script.chaos_s]
    play.exactly("lists", len(lists))


@bill.scenario(
    "last-child-is-lost",
    whose="kube-rs 4.2 (an owner that loses its last child in a watch gap is not woken at all)",
    what="a parent's only child is deleted in a gap that ends with 410, so that the list holds nothing of it",
    does="a replacement names the parents that are missing from it too: they are woken, with nothing on their roll",
    figure="its status says 0 within {right_s} s of the 410",
    right_s=2.0,
)  # fmt: skip
def _(play: Playing) -> None:
    act = play.act(
        ("c0", 1, 0), ("c1", 2, 0), lasts_s=20.0, settings=StageSettings(policy=OPEN),
        steps=[
            at(5.0, "swallow", "ComputeNode"), at(5.5, "delete-node", "c0-n0"), at(7.0, "compact", "ComputeNode", 0.1),
        ],
    )  # fmt: skip
    play.at_most("right_s", act.seconds_until("c0", (0, 0, 0), 7.0))


@bill.scenario(
    "half-open-watch",
    whose="nolar/kopf#1276, #1145, #957, #585, #614, #787, #1120, #860 (the operator goes blind after minutes or "
    "days); "
    "kubernetes-client/python PR #2527 (no read timeout: hangs for ever on a half-open connection)",
    what="a watch stays open, delivers nothing and does not end; children fail meanwhile",
    does="trusts no stream for longer than it has agreed to run: cuts it 5 s after that and resumes",
    figure="the change is in the status within {right_s} s",
    right_s=30.0,
)  # fmt: skip
def _(play: Playing) -> None:
    act = play.act(
        ("c0", 3, 1), lasts_s=65.0, settings=StageSettings(policy=Policy(repair_enabled=False)),
        steps=[at(25.0, "swallow", "ComputeNode"), at(25.2, "fail", "c0-n0")],
    )  # fmt: skip
    play.at_most("right_s", act.seconds_until("c0", (3, 1, 0), 25.2))


@bill.scenario(
    "refused-watch-is-hammered",
    whose="kubernetes-client/python 37 `SharedInformer` (9,310 attempts in 2 s when the watch is refused)",
    what="lists and watches of one kind are refused for 20 s",
    does="each kind backs off for itself, with full jitter and 5 s at most; the others go on",
    figure="at most {attempts} requests in the 20 s; right again within {right_s} s of their end",
    attempts=35, right_s=7.0,
)  # fmt: skip
def _(play: Playing) -> None:
    counts: list[int] = []

    def count() -> None:
        assert act.stage.reader is not None
        counts.append(act.stage.reader.requests["ComputeNode"])

    act = play.rehearse(
        ("c0", 3, 1), lasts_s=40.0, settings=StageSettings(policy=Policy(repair_enabled=False)),
        steps=[
            at(5.0, "refuse-reads", "ComputeNode", "forbidden", 20.0, None), at(15.0, "fail", "c0-n0"),
            at(16.0, "fail", "c0-s0"),
        ],
    )  # fmt: skip
    for when_s in (5.0, 25.0):
        act.stage.world.after(act.clock(when_s) - 0.001, count)
    play.perform(act)
    play.at_most("attempts", counts[1] - counts[0])
    play.at_most("right_s", act.seconds_until("c0", (2, 2, 0), 25.0))
    play.expect(act.seconds_until("c0", (3, 1, 0), 16.0) is not None, "the other kind stood still meanwhile")


@bill.scenario(
    "410-again-and-again",
    whose="kubernetes-client/python `Watch` (a 410 is retried once, with the same dead version, and then raised)",
    what="the history is compacted again and again for 12 s, and each resuming is answered with 410",
    does="lists at once at a 410, and backs off where one comes back before anything was delivered",
    figure="at most {lists} lists in the 12 s; right within {right_s} s of the last",
    lists=40, right_s=8.0,
)  # fmt: skip
def _(play: Playing) -> None:
    act = play.act(
        ("c0", 3, 1), lasts_s=30.0, settings=StageSettings(policy=Policy(repair_enabled=False)),
        steps=[
            at(5.0, "compact", "ComputeNode", 12.0), at(8.0, "delete-node", "c0-n1"), at(9.0, "fail", "c0-n0"),
            at(17.0, "fail", "c0-n2"),
        ],
    )  # fmt: skip
    listed = [fact for when_s, fact in act.facts(Listed) if act.clock(5.0) <= when_s < act.clock(17.5)]
    play.at_most("lists", sum(1 for fact in listed if fact.kind == "ComputeNode"))
    play.at_most("right_s", act.seconds_until("c0", (1, 2, 0), 17.0))


@bill.scenario(
    "old-events-again",
    whose="kubernetes-client/python `Watch` (resumes at whatever object came last, even an old one); "
    "kubernetes#59848 (time travel)",
    what="after a failover the stream brings old changes once more, a failure that is long over among them",
    does="replaces no record by an older one, and takes a change that changes nothing for none",
    figure="{backwards} counts go back; {calls} call for 1 failure",
    backwards=0, calls=1,
)  # fmt: skip
def _(play: Playing) -> None:
    act = play.rehearse(
        ("c0", 4, 0), lasts_s=25.0,
        settings=StageSettings(policy=Policy(max_unhealthy=Share(percent=100.0), cooldown_s=1.0), heal_after_s=0.5),
        steps=[
            at(4.0, "fail", "c0-n0"), at(13.0, "replay", "ComputeNode", 30), at(15.0, "beat", "c0-n1"),
            at(16.0, "mangle", "ComputeNode", "twice", 8.0), at(17.0, "delete-node", "c0-n3"),
            at(20.0, "replay", "ComputeNode", 30),
        ],
    )  # fmt: skip
    stage = act.stage
    remembered: list[bytes] = []

    def remember() -> None:
        obj = stage.api.get(PLURALS["ComputeNode"], "c0-n0", NAMESPACE).obj
        remembered.append(json.dumps({"type": "MODIFIED", "object": obj}).encode() + b"\n")

    def again() -> None:
        assert stage.reader is not None
        stage.reader.feed("ComputeNode", remembered[0])

    stage.world.after(act.clock(4.0) + 0.01, remember)
    for when_s in (12.0, 14.0, 18.0):
        stage.world.after(act.clock(when_s), again)
    play.perform(act)
    after = [write.counts for write in act.writes_between(11.9, 25.0, "c0")]
    play.exactly("backwards", sum(1 for counts in after if counts != (3, 0, 0)))
    play.exactly("calls", len(act.calls_during()))


@bill.scenario(
    "list-older-than-what-was-seen",
    whose="kubernetes#59848 and Sieve (OSDI 22): controllers that act on a list from an API server that lags",
    what="the stream breaks, its history is gone, and the list comes from a server that is many changes behind",
    does="takes no list that is older than what it has seen; waits until the server has caught up",
    figure="{backwards} counts go back; the recovered node is repaired {repairs} time",
    backwards=0, repairs=1,
)  # fmt: skip
def _(play: Playing) -> None:
    act = play.act(
        ("c0", 3, 0), lasts_s=40.0, streamed=False,
        settings=StageSettings(policy=Policy(max_unhealthy=Share(percent=100.0), cooldown_s=1.0)),
        steps=[
            at(4.0, "fail", "c0-n0"), at(12.0, "create-node", "c0-n7", "c0", True, "field"),
            at(14.0, "lists-from-behind", "ComputeNode", 3 + play.draw.whole(0, 3), 15.0), at(36.0, "delete-node", "c0-n7"),
        ],
    )  # fmt: skip
    after = [write.counts for write in act.writes_between(14.0, 31.0, "c0")]
    play.exactly("backwards", sum(1 for counts in after if counts != (4, 0, 0)))
    play.exactly("repairs", act.repairs_of("c0-n0"))
    refused = [fact for _, fact in act.facts(StreamDown) if "lags" in fact.message]
    play.expect(bool(refused), "no list was refused for its age: the scenario plays nothing")


@bill.scenario(
    "line-that-cannot-be-read",
    whose="kubernetes-client/python `Watch` (a malformed line yields None and its event is lost; an in-band 410 is a "
    "KeyError)",
    what="lines that are no JSON, no object, no UTF-8, and one of 1.5 MB come on the stream between real ones",
    does="refuses what it cannot read by itself, says so once, and reads on",
    figure="the real ones are in the status within {right_s} s; the stream goes down {downs} times",
    right_s=1.0, downs=0,
)  # fmt: skip
def _(play: Playing) -> None:
    kinds = (
        "no-json",
        "no-object",
        "no-metadata",
        "no-uid",
        "no-type",
        "not-utf8",
        "labels-null",
        "number",
        "empty",
        "huge",
    )
    bad = [at(5.0 + n / 10, "garbage", "ComputeNode", what) for n, what in enumerate(kinds)]
    act = play.act(
        ("c0", 4, 0), lasts_s=18.0, settings=StageSettings(policy=Policy(repair_enabled=False)),
        steps=[*bad, at(5.25, "fail", "c0-n0"), at(5.75, "fail", "c0-n1"), at(6.2, "delete-node", "c0-n2")],
    )  # fmt: skip
    play.at_most("right_s", act.seconds_until("c0", (1, 2, 0), 6.2))
    play.exactly("downs", sum(1 for when_s, _ in act.facts(StreamDown) if act.clock(4.9) < when_s < act.clock(7.0)))


@verb("lists-from-behind")
def _lists_from_behind(stage: Stage, kind: str, changes: int, for_s: float) -> None:
    """410 inside the open stream; the server that is met then is so many changes behind, and answers no watch."""
    now, clock = stage.world.clock.now(), stage.world.clock
    until_s = now + for_s
    stage.impair(f"api:{kind}", until_s + RECOVER_S)
    stage.broken.stale[kind] = (changes, until_s, stage.world.clock.now())
    if stage.reader is not None:
        stage.reader.mute = lambda asked, action: asked == kind and isinstance(action, Watch) and clock.now() < until_s
        stage.reader.expire(kind, expired("planted: too old resource version"))


def _ghosts(act: Act) -> int:
    """How many records are held of objects that are gone."""
    system = act.stage.system
    assert system is not None
    kinds = act.stage.child_kinds
    held = {uid for kind in kinds for uid in system.store.children[kind].uids()}
    return len(held - set(act.stage.truth.nodes))
