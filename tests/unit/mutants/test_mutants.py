"""Planted bugs: each fits the product, goes away without a trace, and does something.

That the *oracles* find them is the simulator's own proof. Here is shown that none of them is a bug in name only: most change
one of the scenes of ``conftest`` (anything that can be told from outside), the others need a rarer moment and are probed.
"""

from __future__ import annotations

import inspect
import math
import random
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from actors.cluster import ClusterActor
from actors.core import reconcile as pure
from actors.core.backoff import Breaker, Pause
from actors.core.batch import Queue
from actors.core.builtin import MUSTER_FLEET
from actors.core.conflicts import Conflicts
from actors.core.debounce import Debounce
from actors.core.decode import Decoder
from actors.core.health import Roll
from actors.core.intake import Intake
from actors.core.model import Child, Item, Now, Parent, ParentKey, ParentSpec, Policy, Share, Wish
from actors.core.ports import Later, Objects, Written
from actors.core.quantity import Quota
from actors.core.quota import Ledger
from actors.core.reconcile import Children, reconcile
from actors.core.repairs import Repairs
from actors.core.situation import AttemptSeen, ClusterSeen, GatewaySeen, ItemSeen, PlaceSeen, Situation
from actors.core.stream import Stream
from actors.core.why import why
from actors.directory import DirectoryActor, Phase
from actors.gateway import BatchGatewayActor
from actors.mailbox import _Pending
from actors.messages import StatusAnswered, StatusState
from actors.sim.harness import SimulatedFleet
from actors.simulate.drawing import draw_script
from actors.simulate.drills import DRILLS
from actors.simulate.mutants import INVARIANTS, MUTANTS, PROMISES, Mutant, PlantingError, Substitution, planted
from actors.simulate.mutants.planting import locate, plant
from actors.simulate.run import Run

HOME, AWAY = ParentKey("ns", "home"), ParentKey("ns", "away")
WALL_S = 1_750_000_000.0

SHOWN = {
    "calm": """
        streamed-list-ends-with-its-first-object deletion-is-dropped heartbeat-is-passed-on heartbeat-is-material
        heartbeat-does-not-move-the-deadline silence-is-never-taken-back silence-is-judged-without-proof
        turns-in-a-crowd-are-not-told
        deadline-is-looked-at-once moved-child-stays-with-its-old-parent records-keep-a-moved-child-at-its-old-parent
        sleeping-parent-is-not-woken own-write-is-not-learnt own-writes-are-unknown changed-child-is-counted-twice
        dropped-child-is-still-counted recovered-child-stays-eligible only-the-first-failure-is-eligible
        cooldown-is-ignored new-key-with-each-look each-item-is-a-call each-parent-is-a-call
        partial-batch-does-not-wait partial-batch-waits-for-ever backend-state-is-told-to-nobody
        deleted-parent-is-not-closed
    """,
    "lies": """
        expired-watch-resumes-at-its-old-version expired-watch-starts-at-the-present
        refused-watch-is-retried-in-milliseconds retry-after-of-the-api-server-is-ignored list-is-merged
        older-version-replaces-newer unreadable-object-counts-as-gone bookmark-counts-for-one-more
        heartbeat-changes-the-roll outage-does-not-restart-the-clocks watcher-merges-a-list cluster-merges-a-replacement
        change-during-a-write-is-lost debounce-has-no-quiet-time same-status-is-written-again no-look-at-dispatch
        look-at-dispatch-forgets-health
    """,
    "backend": """
        deadline-is-debounced valve-floor-is-a-ceiling key-without-its-round limit-in-flight-is-ignored
        withdrawn-items-stay-in-the-queue nothing-is-under-embargo returned-item-is-forgotten
        first-come-first-served-across-parents retries-do-not-age newest-incident-leaves-first
        retries-go-before-new-failures batch-holds-one-too-many quota-is-a-fixed-window
        slot-is-free-a-window-after-the-send slot-is-free-at-the-answer call-without-an-answer-counts-as-answered
        throttle-does-not-pause retry-after-of-the-backend-is-ignored throttle-fails-every-item breaker-never-half-opens
        failed-probe-is-waited-for partial-failure-is-success partial-failure-fails-the-call missing-result-is-done
        throttled-item-is-failed refused-batch-is-not-halved refused-batch-is-sent-again-whole answers-are-forgotten
        failure-counts-as-withdrawn
    """,
    "queue": "valve-holds-nothing valve-holds-only-what-is-new pause-holds-nothing withdrawn-attempt-counts-as-asked",
    "crashes": """
        watcher-answers-before-its-list restarted-watcher-does-not-list ordinary-mail-overtakes-object-mail
        object-mail-is-not-coalesced crash-loses-answers restart-forgets-the-open-calls restart-leaks-the-open-slots
        ledger-dies-with-the-gateway restarted-writer-is-not-told-again
        restarted-watcher-loses-its-subscribers restarted-cluster-is-not-filled nobody-is-asked-again
        restarted-directory-adopts-nobody death-is-counted-twice one-budget-for-all-parents stale-reply-is-taken
        control-mail-of-the-dead-is-dropped
        monitor-is-not-told-of-the-past death-that-nobody-saw
    """,
    "poison": """
        crash-loses-the-mailbox quarantine-has-no-end quarantine-is-told-to-nobody
        deaths-escalate-instead-of-children poison-is-never-skipped
    """,
    "writes": """
        half-open-stream-is-trusted-for-ever foreign-write-is-taken-for-our-echo conflict-is-not-looked-at-again
        conflict-is-the-end-of-it refused-status-is-tried-without-a-pause conflict-is-retried-with-the-old-version
        wish-during-a-write-is-dropped oldest-wish-wins failed-write-is-given-up failed-write-is-retried-at-once
        last-written-version-is-forgotten
    """,
    "sleep": "own-echo-is-a-change key-without-its-incident",
    "again": "cluster-acts-before-every-kind-is-listed cluster-acts-with-one-kind-missing cold-start-is-skipped",
}
"""By scene: the mutants that change it."""
BY_NAME = {name: scene for scene, names in SHOWN.items() for name in names.split()}


# --- probes -----------------------------------------------------------------------------------------------------------
def child(
    uid: str = "u", *, healthy: bool | None = False, version: int = 1, since: str = "t0", beat: str = ""
) -> Child:
    return Child("ComputeNode", "ns", uid, uid, version, HOME, healthy, since, beat)


def parent(*, version: int = 1, status: dict[str, Any] | None = None, deleting: bool = False) -> Parent:
    return Parent(kind="Cluster", key=HOME, uid="p", version=version, generation=1, spec=ParentSpec(),
                  status=status or {}, deleting=deleting)  # fmt: skip


def item(owner: ParentKey, *, key: str = "k", incident: str = "i") -> Item:
    return Item(operation="repair", key=key, kind="ComputeNode", uid="u", incident=incident, parent=owner, payload={},
                since_s=0.0)  # fmt: skip


def taken(queue: Queue) -> int:
    return len(queue.take(1, lambda item: "", 1.0).items)


def probe_old_list() -> Any:
    intake = Intake("ComputeNode")
    intake.bookmark(9, 0.0)
    decoder, draws = Decoder(MUSTER_FLEET, "ComputeNode"), random.Random(1)
    stream = Stream(decoder, intake, epoch=1, deliver=lambda mail: None, facts=lambda fact: None, random=draws)
    stream._complete(5, 0.0)
    return stream.synced


def probe_first_sight() -> Any:
    intake = Intake("ComputeNode")
    intake.set_timeout(HOME, 10.0, 0.0)
    intake.set_wall(0.0, WALL_S)
    intake.event("ADDED", child(healthy=True, beat="2020-01-01T00:00:00Z"), 0.0)
    return intake.record("u")


def probe_timeout() -> Any:
    intake = Intake("ComputeNode")
    intake.set_timeout(HOME, 10.0, 0.0)
    intake.set_timeout(HOME, 20.0, 0.0)
    return intake._groups[HOME].timeout_s


def probe_bookmark() -> Any:
    intake = Intake("ComputeNode")
    intake.bookmark(7, 0.0)
    return intake.version


def probe_pending(*, first_replaces: bool = False, second_replaces: bool = False) -> Any:
    first = Objects(kind="ComputeNode", entries={"u": child(), "v": child("v")}, replace=first_replaces)
    pending = _Pending(first, 1)
    pending.add(Objects(kind="ComputeNode", entries={"u": child(version=2)}, replace=second_replaces))
    return pending.message()


def probe_overwritten() -> Any:
    actor: Any = SimpleNamespace(_parent=parent(version=3, status={"total": 99}))
    answer = StatusAnswered(sequence=1, state=StatusState.WRITTEN, written=Written(version=2, status={"total": 1}))
    return ClusterActor._overwritten(actor, answer, Wish({"total": 1}))


def probe_awaiting() -> Any:
    actor: Any = SimpleNamespace(
        _parent=parent(), _awaiting=1, _defaults=Policy(), _policy=Policy(), _target=None, _wished=(), _conflicts=Conflicts()
    )  # fmt: skip
    return ClusterActor._enter_parent(actor, parent(version=2))


def probe_conflicts() -> Any:
    conflicts = Conflicts()
    return [conflicts.met(float(now)) for now in range(20)]


def probe_skipped() -> Any:
    children = Children(roll=Roll(("ComputeNode", "StorageNode"), HOME), repairs=Repairs("repair"), skipped=1)
    return pure.reconcile(MUSTER_FLEET, parent(), children, Policy(), Now(0.0, WALL_S)).status["conditions"]


def probe_longest_wait() -> Any:
    debounce = Debounce()
    for at_s in (0.0, 1.0, 2.0):
        debounce.changed(at_s)
    return debounce.due_at(1.5, 2.0)


def probe_withdrawal() -> Any:
    sent: list[str] = []
    actor: Any = SimpleNamespace(_asked={"k": 1}, _told_gateway=True, _send_repairs=lambda: sent.append("nothing"))
    ClusterActor._withdraw_all(actor)
    return sent


def probe_last_mail() -> Any:
    heard: list[str] = []
    debounce = Debounce()
    debounce.changed(0.0)
    actor: Any = SimpleNamespace(
        _closing={"Cluster"}, _stirred=True, _debounce=debounce, _target=None, _wake=lambda: heard.append("awake"),
        ctx=SimpleNamespace(tell=lambda ref, message: heard.append("asleep"), ref=None), key=HOME, _directory=None,
    )  # fmt: skip
    actor._busy = lambda: actor._debounce.pending
    ClusterActor._last_mail(actor, "Cluster")
    return heard


def probe_deleting() -> Any:
    roll = Roll(["ComputeNode", "StorageNode"], HOME)
    roll.put(child())
    children = Children(roll=roll, repairs=Repairs("repair"))
    return reconcile(MUSTER_FLEET, parent(deleting=True), children, Policy(), Now(0.0, WALL_S)).repairs


def probe_new_incident_in_flight() -> Any:
    queue = Queue(ageing_s=10.0)
    queue.want(HOME, [item(HOME)], 0.0)
    taken(queue)
    queue.want(HOME, [item(HOME, key="k2")], 1.0)
    return queue.ready(1.0), taken(queue)


def probe_two_parents() -> Any:
    queue = Queue(ageing_s=10.0)
    queue.want(HOME, [item(HOME)], 0.0)
    queue.want(AWAY, [item(AWAY)], 0.0)
    return taken(queue), taken(queue)


def probe_in_flight_after_restart() -> Any:
    ledger = Ledger(Quota(2, 1.0), 10.0, 5.0)
    ledger.cold_start(0.0, 0.0)
    ledger.take(0.0, "call", ("u",))
    return ledger.open_items(1.0)


def probe_overdue() -> Any:
    fleet = SimulatedFleet()
    backend: Any = fleet.backend
    backend.send = lambda call: Later(math.inf, lambda: None)  # its thread is lost
    fleet.cluster("c0")
    fleet.node("n0", "c0", False)
    fleet.start()
    fleet.run(40.0)
    gateway: Any = dict(fleet.system.cells())["gateway"]
    return gateway["counts"]


def probe_dispatch(found: Child | None) -> Any:
    gateway: Any = SimpleNamespace(_records=SimpleNamespace(child=lambda kind, owner, uid: found))
    return BatchGatewayActor._still_wanted(gateway, item(HOME, incident="unhealthy@t0"))


def probe_pause() -> Any:
    pause = Pause(1.0, 10.0, 60.0, random.Random(1))
    pause.refused(5.0, 4.0, 30.0)
    pause.answered(3.0)
    return pause.until_s, pause.probing


def probe_refused_part() -> Any:
    breaker = Breaker(1, 2.0, 60.0, random.Random(1))
    return breaker.refused_again("part", 1.0), breaker.state


def probe_wanted_while_closing() -> Any:
    entry = SimpleNamespace(phase=Phase.CLOSING, wake_again=False)
    directory: Any = SimpleNamespace(_entries={"cluster/ns/home": entry})
    DirectoryActor._wanted(directory, HOME, spec_changed=False)
    return entry.wake_again


def probe_why(debounce_s: float | None = None, **gateway: Any) -> tuple[str, float | None]:
    """One sick child, asked for and ready in the queue, ten seconds after our start."""
    sick = child()
    status = {"observedGeneration": 1, "kinds": [{"kind": sick.kind, "healthy": 0, "unhealthy": 1, "unknown": 0}]}
    parent = Parent(kind="Cluster", key=HOME, uid="p", version=1, generation=1, spec=ParentSpec(), status=status)
    attempts = {sick.uid: AttemptSeen(key="k", asked_s=1.0, answered_s=None)}
    items = {sick.uid: ItemSeen(key="k", place="ready", at_s=1.0)}
    first = why(Situation(
        now_s=10.0, key=HOME, parent=parent, policy=Policy(max_unhealthy=Share(percent=100.0)), children={sick.uid: sick},
        counts={sick.kind: (0, 1, 0)}, place=PlaceSeen(phase="awake"), gateway=GatewaySeen(items=items, **gateway),
        cluster=ClusterSeen(attempts=attempts, asked=frozenset("k"), debounce_s=debounce_s, due_s=10.5),
    )).first  # fmt: skip
    return first.code, first.until_s


def probe_plan() -> list[str]:
    fleet = SimulatedFleet()
    fleet.cluster("c")
    for number in range(3):
        fleet.node(f"n{number}", "c", healthy=number > 0)
    fleet.start()
    fleet.run(3.0)
    return fleet.repaired()


def probe_drill(name: str) -> str:
    return Run(DRILLS[name].draw(2)).play().trace


PROBES: dict[str, Callable[[], Any]] = {
    "list-older-than-what-was-seen-is-taken": probe_old_list,
    "bookmark-is-ignored": probe_bookmark,
    "first-sight-counts-as-a-report": probe_first_sight,
    "timeout-is-taken-once": probe_timeout,
    "coalescing-keeps-the-oldest": probe_pending,
    "waiting-mail-is-merged-with-a-replacement": lambda: probe_pending(second_replaces=True),
    "replacement-loses-its-mark": lambda: probe_pending(first_replaces=True),
    "overwritten-status-is-not-noticed": probe_overwritten,
    "conflict-waits-for-no-newer-object": probe_awaiting,
    "lost-version-is-never-sought": probe_conflicts,
    "record-that-is-left-out-is-told-to-nobody": probe_skipped,
    "debounce-has-no-longest-wait": probe_longest_wait,
    "deleted-parent-withdraws-nothing": probe_withdrawal,
    "change-while-falling-asleep-is-lost": probe_last_mail,
    "deleting-parent-goes-on-repairing": probe_deleting,
    "queue-forgets-who-is-in-flight": probe_new_incident_in_flight,
    "batch-does-not-look-who-is-in-flight": probe_two_parents,
    "item-is-in-two-calls": probe_new_incident_in_flight,
    "restart-knows-nothing-in-flight": probe_in_flight_after_restart,
    "overdue-call-is-waited-for": probe_overdue,
    "look-at-dispatch-forgets-the-uid": lambda: probe_dispatch(None),
    "look-at-dispatch-forgets-the-incident": lambda: probe_dispatch(child(since="t1")),
    "pause-ends-for-all-at-once": probe_pause,
    "refused-half-counts-for-the-breaker": probe_refused_part,
    "parent-wanted-while-its-actor-ends-is-forgotten": probe_wanted_while_closing,
    "why-overlooks-the-cold-start": lambda: probe_why(opens_s=60.0),
    "why-blames-the-valve": lambda: probe_why(slot_s=60.0),
    "why-tells-a-time-that-is-over": lambda: probe_why(debounce_s=9.9),
    "why-says-converged-while-repairs-wait": lambda: probe_why(slot_s=60.0),
    "look-does-less-than-was-planned": probe_plan,
    "fleet-valve-holds-nothing": lambda: probe_drill("everybody-at-once"),
    "override-lets-everybody-pass": lambda: probe_drill("everybody-at-once"),
    "override-never-ends": lambda: probe_drill("everybody-at-once"),
    "fleet-valve-opens-at-once": lambda: probe_drill("everybody-at-once"),
    "fleet-valve-does-not-begin-anew": lambda: probe_drill("everybody-at-once"),
    "fleet-valve-is-told-to-nobody": lambda: probe_drill("everybody-at-once"),
    "repairs-go-on-by-old-news": lambda: probe_drill("old-news-of-a-kind"),
    "attempts-have-no-end": lambda: probe_drill("sick-for-good"),
    "cooldown-does-not-grow": lambda: probe_drill("sick-for-good"),
    "moment-of-health-is-a-new-budget": lambda: probe_drill("sick-for-good"),
    "exhausted-are-forgotten-with-the-process": lambda: probe_drill("sick-for-good"),
    "exhausted-children-hear-nothing": lambda: probe_drill("sick-for-good"),
}


# --- they do something ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", BY_NAME)
def test_a_mutant_changes_what_can_be_seen(
    name: str, scene: Callable[[str], tuple[Any, ...]], undisturbed: Callable[[str], tuple[Any, ...]]
) -> None:
    """And without it the scene is the same each time, so that it is the mutant which makes the difference."""
    before = undisturbed(BY_NAME[name])
    with planted(name):
        during = scene(BY_NAME[name])

    assert during != before


@pytest.mark.parametrize("name", SHOWN)
def test_a_scene_is_the_same_each_time(
    name: str, scene: Callable[[str], tuple[Any, ...]], undisturbed: Callable[[str], tuple[Any, ...]]
) -> None:
    assert scene(name) == undisturbed(name)


@pytest.mark.parametrize("name", PROBES)
def test_a_mutant_of_a_rare_moment_changes_it(name: str) -> None:
    before = PROBES[name]()
    with planted(name):
        during = PROBES[name]()

    assert during != before
    assert PROBES[name]() == before


def test_every_mutant_is_shown_to_do_something() -> None:
    assert sorted(MUTANTS) == sorted([*BY_NAME, *PROBES])


# --- they fit, and go away --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=lambda mutant: str(mutant.name))
def test_a_mutant_applies_and_leaves_no_trace(mutant: Mutant) -> None:
    before = [locate(each.target, mutant.name) for each in mutant.substitutions]
    with plant(mutant):
        assert all(vars(owner)[name] is not original for owner, name, original in before)

    assert all(vars(owner)[name] is original for owner, name, original in before)


def test_a_mutant_leaves_no_trace_of_a_failure() -> None:
    original = vars(Ledger)["release"]
    with pytest.raises(KeyError), planted("slot-is-free-at-the-answer"):
        raise KeyError

    assert vars(Ledger)["release"] is original


def replacing(target: str, make: Callable[[Any], Any]) -> Mutant:
    return Mutant(name="m", promise="truth", what="", substitutions=(Substitution(target=target, make=make),))


@pytest.mark.parametrize(
    ("target", "make", "said"),
    [
        ("actors.core.nowhere:f", abs, "there is no module actors.core.nowhere any more"),
        ("actors.core.quota:Ledger.gone", abs, "is not there any more .no gone in Ledger."),
        ("actors.core.quota:Gone.release", abs, "is not there any more .no Gone in actors.core.quota."),
        ("actors.watcher:ChildWatcher.on_start", abs, "is not there any more .no on_start in ChildWatcher."),
        ("actors.core.quota", abs, "not of the form"),
        ("actors.core.valve:closed", lambda original: lambda eligible, share: True, "its replacement is function.eligible, s"),
        ("actors.core.valve:closed", lambda original: 1, "its replacement is a number"),
        ("actors.core.valve:closed", lambda original: original, "its replacement of .* is the original"),
        ("actors.core.stream:MARGIN_S", lambda original: "5", "is a number now, its replacement is a str"),
        ("actors.core.stream:MARGIN_S", lambda original: original * 1.0, "its replacement of .* is the original|already"),
    ],
)  # fmt: skip
def test_what_does_not_fit_any_more_is_refused(target: str, make: Callable[[Any], Any], said: str) -> None:
    with pytest.raises(PlantingError, match=said), plant(replacing(target, make)):
        pytest.fail("it was planted")


def test_a_second_substitution_that_does_not_fit_takes_the_first_back() -> None:
    """Half a mutant must not stay behind."""
    original = vars(Ledger)["release"]
    good = MUTANTS["slot-is-free-at-the-answer"].substitutions
    bad = Substitution(target="actors.core.quota:Ledger.gone", make=abs)
    with (
        pytest.raises(PlantingError),
        plant(Mutant(name="m", promise="quota", what="", substitutions=(*good, bad))),
    ):
        pytest.fail("it was planted")

    assert vars(Ledger)["release"] is original


def test_a_mutant_that_is_not_there_is_named_with_those_that_are() -> None:
    with (
        pytest.raises(PlantingError, match="no mutant 'nonsense'; there are .*valve-holds-nothing"),
        planted("nonsense"),
    ):
        pytest.fail("it was planted")


# --- the registry -----------------------------------------------------------------------------------------------------
def test_there_are_enough_and_each_says_what_it_breaks() -> None:
    assert len(MUTANTS) >= 65
    for mutant in MUTANTS.values():
        assert mutant.promise in (*PROMISES, *INVARIANTS), mutant.name
        assert mutant.name == mutant.name.lower().replace(" ", "-")
        assert mutant.what
        assert draw_script(1, mutant.needs).faults == mutant.needs  # there are such faults
    assert len({mutant.what for mutant in MUTANTS.values()}) == len(MUTANTS)


def test_a_redundant_mutant_is_half_of_a_pair_that_is_planted_too() -> None:
    """Alone it may survive, because the other defence holds; both missing must be found."""
    pairs = [mutant for mutant in MUTANTS.values() if len(mutant.substitutions) > 1 and not mutant.redundant_with]
    for half in MUTANTS.values():
        for other in half.redundant_with:
            both = {*half.substitutions, *MUTANTS[other].substitutions}
            assert [pair for pair in pairs if set(pair.substitutions) == both], half.name
    assert len(pairs) >= 6


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=lambda mutant: str(mutant.name))
def test_a_function_is_replaced_where_it_is_used(mutant: Mutant) -> None:
    """A module that has imported it by name would go on with the original."""
    for each in mutant.substitutions:
        owner, name, original = locate(each.target, mutant.name)
        if inspect.ismodule(owner) and inspect.isfunction(original) and original.__module__ == owner.__name__:
            modules = [module for key, module in list(sys.modules.items()) if key.startswith("actors.")]
            holders = {module.__name__ for module in modules if vars(module).get(name) is original}
            assert {owner.__name__} == {one for one in holders if not one.startswith("actors.simulate")}
