"""Faults of others at and after a restart: memory that was lost, time that went back, things done twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from attrs import evolve

from ...core.events import ActorCrashed, ActorQuarantined, ActorRestarted, RecordSkipped
from ...core.health import Roll
from ...core.model import Policy, Share
from ...core.quantity import Quota
from ...core.stream import Watch
from ...core.texts import child_of
from ...sim.apiserver import ApiServerModel
from ...sim.backend import fullest_window
from ...sim.kinds import Resource
from ...sim.listing import Listing
from ..mutants.planting import Mutant, Substitution, plant
from ..process import Injected
from ..stage import RECOVER_S, Stage, StageSettings
from ..steps import verb
from .bill import Bill
from .playing import Playing, at

__all__ = ["bill"]

bill = Bill()
OPEN = Policy(max_unhealthy=Share(percent=100.0), cooldown_s=60.0)
QUICK = StageSettings(policy=OPEN, call_timeout_s=2.0, lateness_s=1.0)
"""The cold start of a new process is the window and these: no scenario needs minutes of it."""


@bill.scenario(
    "second-machine-after-a-crash",
    whose="cluster-api-provider-aws#5794, oracle/karpenter-provider-oci#97 (a crash between the call and the status: "
    "a second machine)",
    what="kill -9 at the call's departure, at its arrival, at the answer, or at a status write; a new process 0.5 s "
    "later",
    does="derives the key of a repair from the object and its incident: who asks again after a crash asks for the "
    "same",
    figure="{executions} execution for each of 3 incidents, {keys} key each",
    executions=1, keys=1,
)  # fmt: skip
def _(play: Playing) -> None:
    moments = ("call-sent", "call-arrived", "answered", "status-arrived", "repairs-wanted", "written", "status-wanted")
    nodes = ("c0-n0", "c1-n1", "c0-s0")
    kills = [
        step
        for n, node in enumerate(nodes)
        for step in (
            at(5.0 + 30 * n, "kill-at", moments[(play.seed + 3 * n) % len(moments)], 1, 0.5), at(5.1 + 30 * n, "fail", node),
        )
    ]  # fmt: skip
    act = play.act(
        ("c0", 3, 1), ("c1", 3, 0), lasts_s=95.0, steps=kills,
        settings=evolve(QUICK, quota=Quota(2, 4.0), heal_after_s=12.0),
    )  # fmt: skip
    for node in nodes:
        play.exactly("executions", act.repairs_of(node))
        uids = {
            item["key"]
            for arrival in act.stage.backend_model.arrivals
            for item in arrival.items
            if item["name"] == node
        }
        play.exactly("keys", len(uids))
    play.expect(
        act.stage.lives == 1 + len(nodes), f"{act.stage.lives} lives were lived, there were to be {1 + len(nodes)}"
    )


@bill.scenario(
    "quota-after-a-restart",
    whose="every limiter in memory: `ratelimit`, client-go's and Karpenter's buckets are full again when the process "
    "is new",
    what="the quota is spent, the process is killed, and there is more to do when the next one begins",
    does="a new process sends nothing until whatever the old one sent cannot count any more",
    figure="{window} calls in the fullest window of 10 s at the service, over 4 lives",
    window=3,
)  # fmt: skip
def _(play: Playing) -> None:
    steps = []
    for n, when_s in enumerate((5.0, 30.0, 55.0)):
        steps += [at(when_s + k * 0.3, "fail", f"c{k}-n{n}") for k in range(6)]
        steps += [at(when_s + 1.5, "kill", 0.3), at(when_s + 2.0, "fail", f"c6-n{n}")]
    act = play.act(
        *((f"c{k}", 4, 0) for k in range(7)), lasts_s=90.0, steps=steps,
        settings=evolve(QUICK, quota=Quota(3, 10.0), batch_max=2, backend_rtt_s=0.2),
    )  # fmt: skip
    play.exactly("window", fullest_window((each.at_s for each in act.stage.backend_model.arrivals), 10.0))
    play.expect(act.stage.lives == 4, f"{act.stage.lives} lives instead of 4")


@bill.scenario(
    "first-list-from-a-cache",
    whose="elastic/cloud-on-k8s#4956, kubernetes#59848 (the first list asks for resourceVersion 0, and a server that "
    "is behind sends the "
    "controller back in time)",
    what="a node fails, is repaired and is well; the process is killed, and the server that it meets then is behind",
    does="begins with a consistent read: the server may not answer it from a cache that is behind",
    figure="the recovered node is repaired {repairs} time in all; {backwards} statuses go back",
    repairs=1, backwards=0,
)  # fmt: skip
def _(play: Playing) -> None:
    act = play.rehearse(
        ("c0", 3, 0), lasts_s=40.0, streamed=False,
        settings=evolve(QUICK, policy=evolve(OPEN, cooldown_s=1.0), quota=Quota(5, 2.0), heal_after_s=0.5),
        steps=[at(5.0, "fail", "c0-n0"), at(8.0, "kill", 0.5), at(38.0, "beat", "c0-n1")],
    )  # fmt: skip
    stage, until_s = act.stage, 30.0

    def behind() -> None:
        """That server's watches are as late as its cache: they are not answered yet."""
        reader, clock = stage.reader, stage.world.clock
        if reader is not None and stage.lives > 1:
            reader.mute = lambda kind, action: (
                kind == "ComputeNode" and isinstance(action, Watch) and clock.now() < until_s
            )
            stage.impair("api:ComputeNode", until_s + RECOVER_S)

    stage.on_life.append(behind)
    with _cached_reads_are_behind(
        "computenodes.muster.dev", 1, lambda: stage.lives > 1 and stage.world.clock.now() < until_s
    ):
        play.perform(act)
    play.exactly("repairs", act.repairs_of("c0-n0"))
    play.exactly("backwards", sum(1 for write in act.writes_between(8.1, 38.0) if write.counts != (3, 0, 0)))


@bill.scenario(
    "new-process-acts-before-it-knows",
    whose="kubernetes-client/python 37 `SharedInformer` (no *synced* signal); operators that act on the first kind "
    "that has been listed",
    what="the process is killed; when it is back, one kind of children cannot be listed for 15 s",
    does="writes no status and asks for no repair before every kind has been listed completely",
    figure="{wrong} statuses tell of a part of the children; {calls} calls before the last list",
    wrong=0, calls=0,
)  # fmt: skip
def _(play: Playing) -> None:
    act = play.act(
        ("c0", 3, 2), ("c1", 2, 1), lasts_s=40.0,
        settings=evolve(QUICK, quota=Quota(5, 2.0), heal_after_s=40.0),
        steps=[
            at(5.0, "kill", 0.5), at(5.1, "refuse-reads", "StorageNode", "unavailable", 15.0, None), at(8.0, "fail", "c0-n0"),
            at(9.0, "delete-node", "c1-n0"),
        ],
    )  # fmt: skip
    play.exactly("wrong", sum(1 for write in act.writes_between(5.1, 20.1) if sum(write.counts) not in (5, 3)))
    play.exactly("calls", len(act.calls_between(5.1, 20.1)))
    play.expect(bool(act.calls_between(20.1, 39.0)), "no call afterwards: the scenario plays nothing")


@bill.scenario(
    "poison-object-crash-loop",
    whose="operators that exit on a panic (without `RecoverPanic`) and meet the same object again; nolar/kopf#1276; "
    "pykka#187 (actors die "
    "without a log line)",
    what="one version of one object kills whoever reads it, each time",
    does="restarts the one actor, skips the record that has killed it twice, says so in the status, and takes the "
    "next version",
    figure="{deaths} deaths of one actor, {lives} life of the process; other parents are right within {others_s} s "
    "all along",
    deaths=2, lives=1, others_s=0.6,
)  # fmt: skip
def _(play: Playing) -> None:
    with _poison("c0-n0"):
        act = play.act(
            ("c0", 3, 0), ("c1", 3, 0), lasts_s=50.0, settings=StageSettings(policy=Policy(repair_enabled=False)),
            steps=[
                at(5.0, "poison-actors", "c0"), at(5.0, "fail", "c0-n0"), at(5.5, "fail", "c1-n0"), at(6.0, "fail", "c1-n1"),
                at(8.0, "recover", "c1-n0"), at(12.0, "recover", "c1-n1"), at(30.0, "recover", "c0-n0"),
            ],
        )  # fmt: skip
    play.at_most("deaths", len(act.facts(ActorCrashed)))
    play.exactly("lives", act.stage.lives)
    for when_s, counts in ((5.5, (2, 1, 0)), (6.0, (1, 2, 0)), (8.0, (2, 1, 0)), (12.0, (3, 0, 0))):
        play.at_most("others_s", act.seconds_until("c1", counts, when_s))
    play.expect(bool(act.facts(RecordSkipped)), "the record was not skipped")
    play.expect(not act.facts(ActorQuarantined), "an actor went into quarantine")
    told = act.writes_between(5.0, 29.0, "c0")
    ready = [each["status"] for each in told[-1].status["conditions"] if each["type"] == "Ready"] if told else []
    play.expect(ready == ["False"], f"Ready is {ready} while a record is skipped")


@bill.scenario(
    "broken-parent-takes-others-along",
    whose="one process for all, one error for all: controller panics, kopf's blind operators, OTP's shared restart "
    "budgets",
    what="whatever the actor of one parent is told kills it, again and again; another's dies once",
    does="a budget of restarts for each parent; then quarantine, which its status tells, until its spec changes",
    figure="{lives} life of the process; the others are right within {others_s} s; {restarts} restart among them",
    lives=1, others_s=0.6, restarts=1,
)  # fmt: skip
def _(play: Playing) -> None:
    turns = [at(10.0 + 2 * n, "recover" if n % 2 else "fail", "c1-n0") for n in range(10)]
    act = play.act(
        ("c0", 3, 0), ("c1", 3, 0), ("c2", 2, 0), lasts_s=60.0, settings=StageSettings(policy=Policy(repair_enabled=False)),
        steps=[
            at(5.0, "strike", "cluster/default/c0", "", "before", 1, 1, 1000), at(5.1, "fail", "c0-n0"), *turns,
            at(33.0, "strike", "cluster/default/c2", "DebounceEnded", "before", 1, 1, 1), at(33.5, "fail", "c2-n0"),
        ],
    )  # fmt: skip
    play.exactly("lives", act.stage.lives)
    for n in range(10):
        play.at_most("others_s", act.seconds_until("c1", (3, 0, 0) if n % 2 else (2, 1, 0), 10.0 + 2 * n))
    play.at_most("others_s", act.seconds_until("c2", (1, 1, 0), 33.5))
    play.exactly("restarts", sum(1 for _, fact in act.facts(ActorRestarted) if not fact.actor.endswith("/c0")))
    aside = {fact.actor for _, fact in act.facts(ActorQuarantined)}
    play.expect(aside == {"cluster/default/c0"}, f"put aside are {sorted(aside)}")


@bill.scenario(
    "silence-is-ours",
    whose="kube-controller-manager's node lifecycle (when every zone is silent the fault is its own: it stops and "
    "resets the clocks, which "
    "others do not); nolar/kopf#1276",
    what="our stream is half-open while all nodes report on; later the API server is gone for 40 s, for the nodes "
    "too",
    does="judges silence only while the stream is proven to live, and restarts the clocks when it is back",
    figure="{unknown} nodes are called unknown; {calls} repairs are asked for",
    unknown=0, calls=0,
)  # fmt: skip
def _(play: Playing) -> None:
    kinds = ("Cluster", "ComputeNode", "StorageNode")
    nodes = [*(f"c0-n{n}" for n in range(6)), *(f"c1-n{n}" for n in range(4)), "c0-s0", "c1-s0"]
    act = play.act(
        ("c0", 6, 1), ("c1", 4, 1), lasts_s=110.0, beat_s=3.0,
        settings=StageSettings(policy=Policy(heartbeat_timeout_s=12.0, max_unhealthy=Share(percent=100.0))),
        steps=[
            *(at(10.0, "swallow", kind) for kind in kinds),
            *(at(40.0, "refuse-reads", kind, "unavailable", 40.0, None) for kind in kinds),
            *(at(40.0, "mute-node", node, 46.0) for node in nodes),  # they are back a little later than we
        ],
    )  # fmt: skip
    play.exactly("unknown", sum(write.counts[2] for write in act.writes_between(5.0, 109.0)))
    play.exactly("calls", len(act.calls_between(0.0, 109.0)))


@bill.scenario(
    "everybody-fails-at-once",
    whose="kubernetes-sigs/cluster-api#10712, openshift/machine-api-operator#902, kubernetes-sigs/karpenter#2321, "
    "#2811 (limits that fit no "
    "fleet, or are off: healthy machines terminated in numbers)",
    what="an agent reports every node of one parent as broken; one node of another really is",
    does="a valve for each parent, on by default: its repairs are held and the status says why; others go on",
    figure="{held} repairs for the one; {other} for the other within {other_s} s; held ones leave {late} times after "
    "it opens",
    held=0, other=1, other_s=2.0, late=0,
)  # fmt: skip
def _(play: Playing) -> None:
    act = play.act(
        ("c0", 10, 0), ("c1", 10, 0), lasts_s=50.0, settings=StageSettings(policy=Policy(cooldown_s=30.0)),
        steps=[
            at(5.0, "fail-cluster", "c0"), at(5.5, "fail", "c1-n3"),
            *(at(30.0 + n / 50, "recover", f"c0-n{n}") for n in range(10)),
        ],
    )  # fmt: skip
    calls = [(when_s, item) for when_s, call in act.sent if when_s < 50.0 for item in call.items]
    play.exactly("held", sum(1 for when_s, item in calls if item.parent.name == "c0" and when_s < act.clock(30.0)))
    play.exactly("late", sum(1 for when_s, item in calls if item.parent.name == "c0" and when_s >= act.clock(30.0)))
    others = [when_s for when_s, item in calls if item.parent.name == "c1"]
    play.exactly("other", len(others))
    play.at_most("other_s", others[0] - act.clock(5.5) if others else None)


# --- what is planted for a scenario -----------------------------------------------------------------------------------
@verb("poison-actors")
def _poison_actors(stage: Stage, name: str) -> None:
    """The oracles are told that this parent's actor is going to die of what it reads."""
    stage.impair(f"actor:cluster/default/{name}", stage.world.clock.now() + 60.0)


@contextmanager
def _cached_reads_are_behind(plural: str, changes: int, while_: Callable[[], bool]) -> Iterator[None]:
    """The server answers a list that asks for resourceVersion 0 from a cache that is so many changes behind, as it
    may.
    """

    def made(original: Any) -> Any:
        def list_(
            self: ApiServerModel, resource: Resource | str, *, namespace: str = "", labels: str = "", fields: str = "",
            limit: int = 0, continue_token: str = "", resource_version: str = "", match: str = "",
        ) -> Listing:  # fmt: skip
            if resource_version == "0" and resource == plural and while_():
                return self.stale_list(resource, changes, namespace=namespace)
            listing: Listing = original(
                self, resource, namespace=namespace, labels=labels, fields=fields, limit=limit,
                continue_token=continue_token, resource_version=resource_version, match=match,
            )  # fmt: skip
            return listing

        return list_

    with _planted("actors.sim.apiserver:ApiServerModel.list", made):
        yield


@contextmanager
def _poison(name: str) -> Iterator[None]:
    """A bug of ours, for as long as it lasts: who enters that child while it is unhealthy dies."""

    def made(original: Callable[[Roll, str, bytes, bytes], bool]) -> Callable[[Roll, str, bytes, bytes], bool]:
        def enter(self: Roll, kind: str, key: bytes, text: bytes) -> bool:
            child = child_of(kind, None, key, text)
            if child.name == name and child.healthy is False:
                raise Injected("a record that kills who reads it")
            return original(self, kind, key, text)

        return enter

    with _planted("actors.core.health:Roll.enter", made):
        yield


def _planted(target: str, make: Callable[[Any], Any]) -> AbstractContextManager[Mutant]:
    """A substitution that belongs to what the scenario plays, not to the product's bugs."""
    here = (Substitution(target=target, make=make),)
    return plant(Mutant(name="scenario", promise="truth", what="part of a scenario", substitutions=here))
