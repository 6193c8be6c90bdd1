"""Faults of others in calling a service under a quota: calls too many, too few, in the wrong hands, or at the wrong time."""

from __future__ import annotations

import math

from attrs import evolve

from ...core.events import CallAnswered, FuseTripped
from ...core.model import Policy, Share
from ...core.quantity import Quota
from ...messages import ItemAnswer, ItemsAnswered
from ...sim.backend import fullest_window
from ..stage import StageSettings
from .bill import Bill
from .playing import Act, Playing, at

__all__ = ["bill"]

bill = Bill()
OPEN = Policy(max_unhealthy=Share(percent=100.0), cooldown_s=60.0)


@bill.scenario(
    "a-call-for-each-parent",
    whose="kube-rs/kube#1530 (bulk calls across parents: *compose it yourself*); Karpenter's first batching (#732, "
    "#2164: tiny "
    "batches); any operator with a queue per parent (100 calls and 9 s)",
    what="one node fails in each of 100 parents, within a tenth of a second",
    does="merges the items of all parents in one gateway",
    figure="{calls} calls at most for 100 nodes, the last of them after {last_s} s",
    calls=2, last_s=2.0,
)  # fmt: skip
def _(play: Playing) -> None:
    names = [f"c{n}" for n in range(100)]
    act = play.act(
        *((name, 2, 0) for name in names), lasts_s=15.0,
        settings=StageSettings(policy=OPEN, quota=Quota(10, 1.0), batch_max=100),
        steps=[at(5.0 + n / 1000, "fail", f"{name}-n0") for n, name in enumerate(names)],
    )  # fmt: skip
    calls = act.calls_during()
    play.at_most("calls", len(calls))
    play.at_most("last_s", act.sent[len(calls) - 1][0] - act.clock(5.0) if calls else None)
    play.expect(sum(len(call.items) for call in calls) == 100, "not every node was asked for exactly once")


@bill.scenario(
    "one-throttle-answer-many-errors",
    whose="aws/karpenter-provider-aws#9175 (one refused call becomes 43 errors within 100 ms, and each is retried by "
    "itself)",
    what="43 nodes of 43 parents fail; their call is answered 429 with Retry-After: 3",
    does="pauses the operation once; the items keep their place, and nobody is told of a failure",
    figure="{errors} errors reach the parents; {calls} calls in all; {early} before the time that was asked for",
    errors=0, calls=2, early=0,
)  # fmt: skip
def _(play: Playing) -> None:
    names = [f"c{n}" for n in range(43)]
    act = play.rehearse(
        *((name, 2, 0) for name in names), lasts_s=20.0,
        settings=StageSettings(policy=OPEN, quota=Quota(10, 1.0), batch_max=100),
        steps=[at(4.9, "misbehave", "throttle", 10.0, 1, 0.0, 3), *(at(5.0, "fail", f"{name}-n0") for name in names)],
    )  # fmt: skip
    answers: list[ItemAnswer] = []
    act.run.court.hear(
        ItemsAnswered, lambda actor, message: answers.extend(each for each, _ in message.answers.values())
    )
    play.perform(act)
    calls = act.calls_during()
    play.exactly("errors", sum(1 for answer in answers if answer is not ItemAnswer.DONE))
    play.exactly("calls", len(calls))
    refused_s = next((when_s for when_s, _, answer in act.answered if answer.code == 429), math.inf)
    play.exactly("early", sum(1 for when_s, _ in act.sent if refused_s < when_s < refused_s + 3.0))


@bill.scenario(
    "quota-across-a-window-edge",
    whose="`ratelimit` 2.2 (a fixed window: 20 calls in 0.2 s where 10 a minute are allowed); Envoy's global limiter "
    "(envoyproxy/ratelimit, "
    "fixed windows too); token buckets (twice the quota in a window)",
    what="bursts before and after each edge of a fixed window, with answers that take up to two seconds",
    does="holds each slot until the answer and a whole window after it: exact where the service counts, at its door",
    figure="{window} calls in the fullest window of 10 s at the service; {fuse} trips of the fuse",
    window=3, fuse=0,
)  # fmt: skip
def _(play: Playing) -> None:
    steps = [at(1.0, "call-fate", "slow", 60.0, 0.5, 2.0)]
    steps += [at(9.0 + 10 * n + k * 0.2, "fail", f"c{k}-n{n}") for n in range(5) for k in range(10)]
    act = play.act(
        *((f"c{k}", 5, 0) for k in range(10)), lasts_s=70.0, steps=steps,
        settings=StageSettings(policy=OPEN, quota=Quota(3, 10.0), batch_max=2, backend_rtt_s=0.2),
    )  # fmt: skip
    model = act.stage.backend_model
    play.exactly("window", fullest_window((arrival.at_s for arrival in model.arrivals), 10.0))
    play.exactly("fuse", len(act.facts(FuseTripped)))


@bill.scenario(
    "one-poisoned-item-blocks-the-batch",
    whose="Karpenter's terminate batcher (part failure: falls back to single calls, each of them against the quota); "
    "Metacontroller and others, where the batch's error is everybody's",
    what="ten nodes fail, and the service refuses each batch in which one of them is",
    does="halves a refused batch until the one is alone, and lets other work in between",
    figure="the nine are repaired within {nine_s} s; {calls} calls at most until then",
    nine_s=12.0, calls=10,
)  # fmt: skip
def _(play: Playing) -> None:
    bad = f"c{play.draw.whole(0, 9)}-n0"
    act = play.act(
        *((f"c{n}", 2, 0) for n in range(10)), lasts_s=30.0,
        settings=StageSettings(policy=OPEN, quota=Quota(2, 2.0), batch_max=20),
        steps=[at(4.0, "poison-item", bad, 60.0), *(at(5.0, "fail", f"c{n}-n0") for n in range(10))],
    )  # fmt: skip
    well = [repair.at_s for repair in act.stage.backend_model.repairs if repair.name != bad and repair.at_s < 30.0]
    last_s = max(well) if len(well) == 9 else math.inf
    play.at_most("nine_s", last_s - act.clock(5.0))
    play.at_most("calls", sum(1 for when_s, _ in act.sent if when_s <= min(last_s, 30.0)))


@bill.scenario(
    "a-large-tenant-starves-the-small",
    whose="kubernetes#33088 (fair shares, asked for in 2016); first come, first served gave the small ones a median "
    "of 417 s",
    what="200 nodes of one parent fail; a moment later one node in each of 8 small ones",
    does="takes from all parents in turn, five items at a time",
    figure="the small ones leave within {small_s} s; the large one is done after {ratio} of the exact limit",
    small_s=5.0, ratio=1.1,
)  # fmt: skip
def _(play: Playing) -> None:
    names = [f"c{n}" for n in range(1, 9)]
    steps = [at(5.0, "fail-cluster", "c0"), *(at(6.0 + n / 50, "fail", f"{name}-n0") for n, name in enumerate(names))]
    act = play.act(
        ("c0", 200, 0), *((name, 3, 0) for name in names), lasts_s=70.0, steps=steps,
        settings=StageSettings(policy=OPEN, quota=Quota(2, 2.0), batch_max=10, heal_after_s=0.5),
    )  # fmt: skip
    arrived = {repair.name: repair.at_s for repair in act.stage.backend_model.repairs if repair.at_s < 70.0}
    small = [arrived.get(f"{name}-n0", math.inf) for name in names]
    play.at_most("small_s", max(small) - act.clock(6.0))
    play.at_most("ratio", _drained(act, 5.0, 208))


@bill.scenario(
    "mass-failure-drains-slowly",
    whose="aws/karpenter-provider-aws#9175 and other batchers that meet the quota by being refused: the quota is "
    "spent on refusals",
    what="600 nodes of a parent fail at once",
    does="sends full batches at the pace of the slots, and nothing that is refused",
    figure="drained within {ratio} of the exact limit; {refused} calls refused",
    ratio=1.03, refused=0,
)  # fmt: skip
def _(play: Playing) -> None:
    act = play.act(
        ("c0", 600, 0), lasts_s=35.0, steps=[at(5.0, "fail-cluster", "c0")],
        settings=StageSettings(policy=OPEN, quota=Quota(5, 2.0), batch_max=10, heal_after_s=0.5),
    )  # fmt: skip
    play.at_most("ratio", _drained(act, 5.0, 600))
    play.exactly("refused", sum(1 for _, _, answer in act.answered if answer.code == 429))


@bill.scenario(
    "retry-storm-after-an-outage",
    whose="metastable failures (OSDI 22: 22 incidents, 4 of 15 large AWS outages): the retries of an outage keep it "
    "going",
    what="the service answers 503 for a minute, while 40 nodes of 8 parents wait for it",
    does="a breaker for the operation: one probe at a time, at growing intervals; then the quota as always",
    figure="at most {outage} calls in the outage; all 40 within {drain_s} s of its end; {window} calls in the "
    "fullest second",
    outage=16, drain_s=16.0, window=5,
)  # fmt: skip
def _(play: Playing) -> None:
    nodes = [f"c{c}-n{n}" for c in range(8) for n in range(5)]
    act = play.act(
        *((f"c{c}", 6, 0) for c in range(8)), lasts_s=90.0,
        settings=StageSettings(policy=OPEN, quota=Quota(5, 1.0), batch_max=4, breaker_max_s=10.0, retry_max_s=10.0),
        steps=[
            at(5.0, "misbehave", "error", 60.0, None, 0.0, None),
            *(at(6.0 + n / 10, "fail", node) for n, node in enumerate(nodes)),
        ],
    )  # fmt: skip
    arrivals = act.stage.backend_model.arrivals
    play.at_most("outage", sum(1 for each in arrivals if each.code == 503))
    done = [repair.at_s for repair in act.stage.backend_model.repairs if repair.at_s < 90.0]
    play.at_most("drain_s", max(done) - act.clock(65.0) if len(done) == 40 else None)
    play.at_most("window", fullest_window((each.at_s for each in arrivals), 1.0))


@bill.scenario(
    "repair-of-the-recovered",
    whose="kubernetes-sigs/karpenter#2321, #2811 and agents that mislabelled (healthy nodes terminated); of the "
    "peers only the node "
    "lifecycle controller takes a recovered node out of its queue",
    what="20 nodes fail while the quota is spent; 12 recover, 3 are deleted and 2 move before their turn comes",
    does="looks each item up in the records at the moment of dispatch",
    figure="{wrong} calls for a node that did not need one; the {sent} others are sent",
    wrong=0, sent=3,
)  # fmt: skip
def _(play: Playing) -> None:
    nodes = [f"c{n % 4}-n{n // 4}" for n in range(20)]
    gone = [at(22.0 + n / 50, "recover", node) for n, node in enumerate(nodes[:12])]
    gone += [at(22.3, "delete-node", node) for node in nodes[12:15]]
    gone += [at(22.3, "move-node", node, "nobody") for node in nodes[15:17]]
    slow = evolve(
        OPEN, debounce_quiet_s=3.0, debounce_max_s=4.0
    )  # the parents have not looked yet when the call leaves
    act = play.act(
        *((f"c{n}", 6, 0) for n in range(4)), lasts_s=40.0,
        settings=StageSettings(policy=slow, quota=Quota(1, 10.0), batch_max=50, heal_after_s=0.2),
        steps=[at(5.0, "fail", "c0-n5"), *(at(10.0, "fail", node) for node in nodes), *gone],
    )  # fmt: skip
    asked = [item.payload["name"] for call in act.calls_between(10.0, 39.0) for item in call.items]
    play.exactly("wrong", sum(1 for name in asked if name in nodes[:17]))
    play.exactly("sent", sum(1 for name in asked if name in nodes[17:]))


@bill.scenario(
    "part-failure-repeats-everything",
    whose="Karpenter's batcher (missing results become errors); cluster-api-provider-aws#5794 (repeated because the "
    "end is not known)",
    what="of ten items every second one is to come later, then one call's results leave out every second, then a "
    "call's answer is lost",
    does="one answer for each item: what was done is done, what is missing is asked for again under its own key",
    figure="{twice} nodes repaired twice in an incident; {left} left unrepaired after 10 s",
    twice=0, left=0,
)  # fmt: skip
def _(play: Playing) -> None:
    nodes = [f"c{n % 5}-n{n // 5}" for n in range(30)]
    steps = [
        at(4.9, "misbehave", "partial", 3.0, 1, 1.0, 1), *(at(5.0, "fail", node) for node in nodes[:10]),
        at(24.9, "misbehave", "missing", 3.0, 1, 0.0, None), *(at(25.0, "fail", node) for node in nodes[10:20]),
        at(44.9, "misbehave", "withhold", 3.0, 1, 0.0, None), *(at(45.0, "fail", node) for node in nodes[20:]),
    ]  # fmt: skip
    act = play.act(
        *((f"c{n}", 7, 0) for n in range(5)), lasts_s=90.0, steps=steps,
        settings=StageSettings(
            policy=OPEN, quota=Quota(5, 1.0), batch_max=20, heal_after_s=12.0, call_timeout_s=4.0, lateness_s=1.0
        ),
    )  # fmt: skip
    begun = {str(step.args[0]): step.at_s for step in act.script.steps if step.do == "fail"}
    soon = {repair.name for repair in act.stage.backend_model.repairs if repair.at_s < begun[repair.name] + 10.0}
    play.exactly("twice", sum(1 for node in nodes if act.repairs_of(node) > 1))
    play.exactly("left", len(set(nodes) - soon))
    outcomes = {fact.outcome for _, fact in act.facts(CallAnswered)}
    play.expect("timeout" in outcomes, "no call timed out: the scenario plays nothing")


def _drained(act: Act, at_s: float, items: int) -> float:
    """How long it took until the last of ``items`` repairs arrived, in exact limits: k calls of a full batch at the quota.

    The limit is (⌈k/R⌉ - 1) · (W + round trip) + round trip, and before it the look that finds the failures.
    """
    settings = act.script.settings
    done = [repair.at_s for repair in act.stage.backend_model.repairs][:items]
    if len(done) < items:
        return math.inf
    windows = math.ceil(math.ceil(items / settings.batch_max) / settings.quota.calls)
    limit_s = (windows - 1) * (settings.quota.window_s + settings.backend_rtt_s) + settings.backend_rtt_s
    look_s = settings.policy.debounce_quiet_s + 2 * settings.api_rtt_s
    return (max(done) - act.clock(at_s)) / (limit_s + look_s)
