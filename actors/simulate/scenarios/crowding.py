"""Faults of others under load and beside trouble: queues without end, and neighbours that feel it."""

from __future__ import annotations

from statistics import mean

from ...core.model import Policy, Share
from ...core.quantity import Quota
from ..stage import StageSettings
from ..steps import Step
from .bill import Bill
from .playing import Act, Playing, at

__all__ = ["bill"]

bill = Bill()
OPEN = Policy(max_unhealthy=Share(percent=100.0), cooldown_s=5.0)


@bill.scenario(
    "queue-without-end",
    whose="pykka (no bounded mailbox); konflux-ci/konflux-ci#5874; a work queue that grows with the events instead "
    "of with the objects",
    what="12 nodes change 20 times a second for 20 s, while the threads that handle it are late by up to three "
    "seconds",
    does="keeps one entry for each object that waits: the newest, and forgets what came before",
    figure="{waiting} messages at most wait in any mailbox for {changes} changes",
    waiting=40, changes=4000,
)  # fmt: skip
def _(play: Playing) -> None:
    flips = [
        at(5.0 + turn * 0.05 + n / 1000, "recover" if turn % 2 else "fail", f"c{n % 2}-n{n // 2}")
        for turn in range(400) for n in range(12)
    ]  # fmt: skip
    act = play.rehearse(
        ("c0", 6, 0), ("c1", 6, 0), lasts_s=30.0, steps=[at(4.9, "slow-threads", "", 3.0, 21.0), *flips],
        settings=StageSettings(policy=Policy(repair_enabled=False)),
    )  # fmt: skip
    depths = [0]
    changes: list[str] = []

    def look() -> None:
        if act.stage.system is not None:
            depths.extend(int(cell.get("mailbox", 0)) for _, cell in act.stage.system.cells())
        if act.stage.world.clock.now() < 27.0:
            act.stage.world.after(0.05, look)

    look()
    act.stage.api.on_change.append(lambda resource, change: changes.append(change.type))
    play.perform(act)
    play.at_most("waiting", max(depths))
    play.at_least("changes", changes.count("MODIFIED"))


@bill.scenario(
    "retries-starve-behind-the-new",
    whose="controller-runtime#3496, home-operations/miroir#122 (a fixed priority without ageing: what is low waits "
    "for ever)",
    what="an item fails once and is to be tried again, while new failures keep the quota busy all the time",
    does="new failures go first, but a retry that has waited for two windows counts as new: it goes with its "
    "parent's next turn",
    figure="the retry leaves within {retry_s} s",
    retry_s=24.0,
)  # fmt: skip
def _(play: Playing) -> None:
    fresh = [at(6.0 + n * 0.3, "fail", f"c{n % 6}-n{n // 6 % 12}") for n in range(170)]
    act = play.act(
        *((f"c{n}", 12, 0) for n in range(6)), ("c9", 2, 0), lasts_s=60.0,
        settings=StageSettings(policy=OPEN, quota=Quota(2, 4.0), batch_max=5, heal_after_s=1.0, retry_max_s=4.0),
        steps=[at(4.9, "misbehave", "partial", 3.0, 1, 0.0, None), at(5.0, "fail", "c9-n0"), at(5.0, "fail", "c9-n1"), *fresh],
    )  # fmt: skip
    tries: dict[str, list[float]] = {}
    for when_s, call in act.sent:
        for item in call.items:
            if item.parent.name == "c9":
                tries.setdefault(item.payload["name"], []).append(when_s)
    again = [times for times in tries.values() if len(times) > 1]
    due_s = again[0][0] + OPEN.cooldown_s if again else 0.0
    play.at_most("retry_s", again[0][1] - due_s if again else None)


@bill.scenario(
    "trouble-next-door",
    whose="one work queue and one client for all: a parent that conflicts, crashes or cannot be repaired slows the "
    "others (I13)",
    what="the same minute twice: once quietly, once with a parent whose actor dies, whose writes conflict, whose "
    "nodes cannot be repaired",
    does="an actor, a lane of status writes and a turn in the queue for each parent",
    figure="the others' statuses are at most {status_ratio} times as late, their repairs {repair_ratio} times",
    status_ratio=1.1, repair_ratio=1.1,
)  # fmt: skip
def _(play: Playing) -> None:
    settings = StageSettings(
        policy=Policy(max_unhealthy=Share(percent=100.0), cooldown_s=300.0), quota=Quota(10, 1.0), heal_after_s=0.5
    )
    work = [at(6.0 + 1.7 * n, "fail", f"b{n % 3}-n{n // 3}") for n in range(30)]
    trouble: list[Step] = [
        *(at(5.0, "poison-item", f"a-n{n}", 55.0) for n in range(2, 12)),
        *(at(6.8 + 3.4 * n, "fail", f"a-n{n + 2}") for n in range(10)),
        at(5.0, "refuse-writes", "conflict", 50.0, 1.0, 0.0, "a"),
        *(at(6.0 + 4.0 * n, "strike", "cluster/default/a", "", "before", 1, 1, 2) for n in range(12)),
        *(at(7.0 + 0.2 * n, "recover" if n % 2 else "fail", "a-n1") for n in range(240)),
    ]  # fmt: skip
    clusters = (("a", 12, 0), *((f"b{n}", 10, 0) for n in range(3)))
    quiet = play.act(*clusters, lasts_s=64.0, steps=work, settings=settings)
    loud = play.act(*clusters, lasts_s=64.0, steps=[*work, *trouble], like=quiet)
    play.at_most("status_ratio", mean(_status_s(loud)) / mean(_status_s(quiet)))
    play.at_most("repair_ratio", mean(_repair_s(loud)) / mean(_repair_s(quiet)))


def _status_s(act: Act) -> list[float]:
    """How late the status of each quiet parent was, for each change of its counts."""
    late = []
    for when_s, name, counts in act.truths:
        if name.startswith("b") and 5.0 < when_s < act.script.chaos_s - 4.0:
            told = [
                write.at_s
                for write in act.writes
                if write.parent == name and write.at_s >= when_s and write.counts == counts
            ]
            late.append((told[0] if told else act.script.chaos_s) - when_s)
    return late


def _repair_s(act: Act) -> list[float]:
    """How long each quiet node in need waited for its call."""
    sent: dict[str, float] = {}
    for when_s, call in act.sent:
        for item in call.items:
            sent.setdefault(item.payload["name"], when_s)
    fails = [step for step in act.script.steps if step.do == "fail" and str(step.args[0]).startswith("b")]
    return [sent.get(str(step.args[0]), act.script.chaos_s) - step.at_s for step in fails]
