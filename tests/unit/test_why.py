"""Each gate of ``why``: shut by what is in the situation, passed when that is away, and in the table's order."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from actors.core.gates import BY_CODE, GATES, ORDER, Lane, markdown
from actors.core.model import Child, Parent, ParentKey, ParentSpec, Policy, Share
from actors.core.situation import (
    QUIET_S,
    ActorSeen,
    AttemptSeen,
    ClusterSeen,
    GatewaySeen,
    ItemSeen,
    KindSeen,
    PlaceSeen,
    Situation,
    TurnedDown,
    WriteSeen,
)
from actors.core.why import Answer, why

KEY = ParentKey("ns", "c")
NOW_S = 1000.0
Change = Callable[[Situation], Situation]


def gateway_of(situation: Situation) -> GatewaySeen:
    assert situation.gateway is not None
    return situation.gateway


def node(name: str, healthy: bool | None, **more: Any) -> Child:
    return Child("Node", "ns", name, f"uid-{name}", 1, KEY, healthy=healthy, since="then", **more)


SICK, WELL = node("sick", False), node("well", True)
GUEST = Child("Node", "ns", "guest", "uid-guest@ns/c", 1, KEY, healthy=False, since="then", guest=True)
STATUS = {"observedGeneration": 1, "kinds": [{"kind": "Node", "healthy": 1, "unhealthy": 1, "unknown": 0}]}
PARENT = Parent(kind="Cluster", key=KEY, uid="u", version=5, generation=1, spec=ParentSpec(), status=STATUS)
READY = ItemSeen(key="k", place="ready", at_s=999.0)


def situation() -> Situation:
    """One sick node, asked for, ready in the queue, and nothing holds the next call: only others are before it."""
    attempts = {SICK.uid: AttemptSeen(key="k", asked_s=990.0, answered_s=None)}
    return Situation(
        now_s=NOW_S,
        key=KEY,
        kinds=tuple(KindSeen(kind=kind, synced=True, up=True, heard_s=998.0) for kind in ("Cluster", "Node")),
        parent=PARENT,
        policy=Policy(max_unhealthy=Share(percent=100.0)),
        counts={"Node": (1, 1, 0)},
        children={SICK.uid: SICK, WELL.uid: WELL},
        place=PlaceSeen(phase="awake"),
        cluster=ClusterSeen(eligible={SICK.uid: SICK}, attempts=attempts, asked=frozenset({"k"})),
        gateway=GatewaySeen(items={SICK.uid: READY}, calls_max=4, batch_max=10, quota=(2, 10.0)),
    )


def of(part: str, **changes: Any) -> Change:
    """A change of one part of the situation."""
    if not part:
        return lambda s: evolve(s, **changes)
    return lambda s: evolve(s, **{part: evolve(getattr(s, part), **changes)})


def kind(**changes: Any) -> Change:
    return lambda s: evolve(s, kinds=(s.kinds[0], evolve(s.kinds[1], **changes)))


def item(**changes: Any) -> Change:
    return of("gateway", items={SICK.uid: evolve(READY, **changes)})


def spec(**changes: Any) -> Change:
    return lambda s: evolve(s, parent=evolve(PARENT, spec=ParentSpec(**changes)))


def both(*changes: Change) -> Change:
    def change(s: Situation) -> Situation:
        for each in changes:
            s = each(s)
        return s

    return change


DOWN = ActorSeen(state="down", last_error="ValueError: no")
TURNED = TurnedDown(True, "409", 995.0, 1002.0)
UNASKED = of("cluster", attempts={}, asked=frozenset())
SHUT: dict[str, Change] = {
    "ending": of("", ending="it drains"),
    "not-listed": kind(synced=False, message="403"),
    "no-parent": of("", parent=None),
    "stream-down": kind(up=False, message="refused"),
    "stream-quiet": kind(heard_s=NOW_S - QUIET_S - 1.0),
    "watcher-down": kind(watcher=DOWN),
    "directory-held": kind(subscribed=False),
    "quarantined": of("", place=PlaceSeen(phase="quarantined", probe_s=1600.0, why="it died six times")),
    "restarting": of("", place=PlaceSeen(phase="down", restart_s=1001.0), cluster=None, actor=DOWN),
    "wedged": of("actor", busy_s=NOW_S - 20.0),
    "waking": both(of("", place=PlaceSeen(phase="asleep")), of("", cluster=None)),
    "refilling": of("cluster", missing=("Node",)),
    "mail-waiting": of("actor", mailbox=3),
    "status-retry": both(
        of("cluster", writing=True),
        of("", write=WriteSeen(writing=False, since_s=990.0, retry_s=1003.0, attempts=2, error="503")),
    ),
    "conflict": of("cluster", turned_down=TURNED),
    "status-refused": of("cluster", turned_down=TurnedDown(False, "422", 995.0, 1002.0)),
    "debounce": of("cluster", debounce_s=999.5, due_s=1000.5),
    "status-queued": of("cluster", writing=True),
    "status-writing": both(of("cluster", writing=True), of("", write=WriteSeen(writing=True, since_s=999.0))),
    "records-skipped": of("cluster", skipped=frozenset({"x"})),
    "overlooked": of("", counts={"Node": (2, 1, 0)}),
    "command-pause": of("", command_pause_s=1500.0),
    "paused": spec(paused=True),
    "repair-disabled": of("policy", repair_enabled=False),
    "deleting": lambda s: evolve(s, parent=evolve(PARENT, deleting=True)),
    "valve": of("policy", max_unhealthy=Share(absolute=0)),
    "own-reconcile": both(UNASKED, of("cluster", left_out=frozenset({"uid-sick"}))),
    "watch-behind": of("", behind={"Node": 960.0}),
    "attempts-spent": of("cluster", exhausted={SICK.uid: 5}),
    "max-in-flight": both(UNASKED, of("policy", in_flight_max=1), of("cluster", places=1)),
    "cooldown": of(
        "cluster", attempts={SICK.uid: AttemptSeen(key="k", asked_s=900.0, answered_s=950.0, cooled_s=1250.0)}
    ),
    "not-asked": UNASKED,
    "gateway-held": both(of("gateway", items={}), of("gateway_actor", mailbox=1)),
    "call-in-flight": item(place="flying", call_s=999.0, call_until_s=1014.0),
    "same-child": item(place="blocked"),
    "may-arrive": item(place="waiting", at_s=1010.0, embargo_s=1010.0),
    "retry": both(of("gateway", error="503"), item(place="waiting", at_s=1004.0, attempts=2)),
    "search": item(place="flying"),
    "fleet-valve": of("gateway", held="60 of all 100 children need repair, the limit is 50%", opens_s=1020.0),
    "cold-start": of("gateway", opens_s=1020.0),
    "throttled": of("gateway", pause_s=1030.0),
    "breaker": of("gateway", breaker="open", breaker_s=1005.0),
    "calls-max": of("gateway", calls=4, calls_over_s=1010.0),
    "quota": of("gateway", slot_s=1008.0),
    "batch-window": of("gateway", batch_s=1000.2),
    "queued": lambda s: s,
    "other-parent": of("", children={GUEST.uid: GUEST}, guests=1, repairers={GUEST.uid: "ns/first"}),
    "news-waiting": both(of("", children={}), of("", cluster=ClusterSeen()), kind(watcher=ActorSeen(mailbox=1))),
    "converged": both(of("", children={}), of("", cluster=ClusterSeen())),
}


SAID: dict[str, tuple[str, float | None, float | None, float | None]] = {
    "ending": ("the operator ends: it drains", None, None, None),
    "not-listed": ("Node is not listed yet: 403", None, None, None),
    "no-parent": ("no Cluster of the name ns/c has been seen", None, None, None),
    "stream-down": ("the stream of Node is down: refused", 998.0, None, None),
    "stream-quiet": ("nothing has come over the stream of Node for 28 s", 972.0, None, None),
    "watcher-down": ("the watcher of Node is down: ValueError: no", None, None, None),
    "directory-held": (
        "the watcher of Node does not know its actor yet; the directory has 0 messages to read",
        None,
        None,
        None,
    ),
    "quarantined": ("it died six times", None, 1600.0, None),
    "restarting": ("its actor died of ValueError: no", None, 1001.0, None),
    "wedged": ("its actor has not come back from a message for 20 s", 980.0, None, None),
    "waking": ("its actor is asleep; there is something to do", None, None, None),
    "refilling": ("its actor waits for the records of Node", None, None, None),
    "mail-waiting": ("3 messages wait for its actor", None, None, None),
    "status-retry": ("the write failed 2 times, last of 503", 990.0, 1003.0, None),
    "conflict": ("409", 995.0, 1002.0, None),
    "status-refused": ("422", 995.0, 1002.0, None),
    "debounce": ("it changed a moment ago; its actor looks at it in 0.50 s", 999.5, 1000.5, None),
    "status-queued": ("its status waits for a writer", None, None, None),
    "status-writing": ("its status is being written", 999.0, None, None),
    "records-skipped": ("1 records killed their reader twice, and are not counted", None, None, None),
    "overlooked": (
        "nobody is about to write it, and yet Node is 2 healthy, 1 unhealthy, 0 unknown on record, and the status says 1, 1, 0",
        None,
        None,
        None,
    ),
    "command-pause": ("a command holds its repairs", None, 1500.0, None),
    "paused": ("spec.paused is true: counting goes on, repairs do not", None, None, None),
    "repair-disabled": ("spec.repair.enabled or the operator's setting is false", None, None, None),
    "deleting": ("the object is being deleted", None, None, None),
    "valve": ("1 of 2 need repair, the limit is 0", None, None, None),
    "own-reconcile": ("the fleet's own reconcile does not want sick repaired now", None, None, None),
    "watch-behind": ("the stream of Node was down for long: what is known of sick is old", 960.0, None, None),
    "attempts-spent": ("sick is not well after 5 attempts to repair it", None, None, None),
    "max-in-flight": ("1 repairs are under way, 1 may be", None, None, None),
    "cooldown": ("a repair of sick was answered 50 s ago, and it is not well yet", 950.0, 1250.0, None),
    "not-asked": ("sick is to be repaired, and its actor has not asked for it", None, None, None),
    "gateway-held": ("the gateway has 1 messages to read", 990.0, None, None),
    "call-in-flight": ("the call with sick in it left 1.0 s ago", 999.0, 1014.0, None),
    "same-child": ("an earlier repair of sick is under way", 990.0, None, None),
    "may-arrive": ("an earlier call with sick in it may still arrive", None, 1010.0, 1010.0),
    "retry": ("sick was tried 2 times: 503", None, 1004.0, 1004.0),
    "search": ("the call with sick in it was refused; its parts are sent apart", None, None, 1000.0),
    "fleet-valve": ("60 of all 100 children need repair, the limit is 50%", None, None, None),
    "cold-start": ("an earlier process may have spent the quota", 999.0, 1020.0, 1020.0),
    "throttled": ("the backend asked for a pause", 999.0, 1030.0, 1030.0),
    "breaker": ("the breaker is open: calls failed", 999.0, 1005.0, 1005.0),
    "calls-max": ("4 calls are in flight, 4 may be", 999.0, 1010.0, 1000.0),
    "quota": ("the quota of 2 calls in 10 s is spent", 999.0, 1008.0, 1008.0),
    "batch-window": ("its batch is being filled", 999.0, 1000.2, 1000.2),
    "queued": ("0 items leave before it", 999.0, None, 1000.0),
    "other-parent": ("guest is counted here, and repaired for ns/first", None, None, None),
    "news-waiting": ("1 messages wait at the watcher of Node; news of ns/c may be in them", None, None, None),
    "converged": (
        "the status is what the records say, and nobody needs a repair; Node was last heard 2.0 s ago, the others later",
        None,
        None,
        None,
    ),
}
"""By gate, of the case above: its words, since when, until when, and when the call leaves (at 1000 s)."""
_COOLS: dict[str, Any] = {
    "code": "cooldown",
    "holds_back": "repairs",
    "text": "a repair of sick was answered 50 s ago, and it is not well yet",
    "cure": "time; where repairs do not help, look at the child itself; spec.repair.cooldown shortens the wait",
    "since_at": 4950.0,
    "until_at": 5250.0,
    "expected_at": None,
    "children": 1,
}
TOLD: dict[str, Any] = {
    "parent": "ns/c",
    "child": "",
    **_COOLS,
    "counting": None,
    "repairs": _COOLS,
    "news": [{"kind": "Cluster", "age_s": 2.0}, {"kind": "Node", "age_s": 2.0}],
}


def test_every_gate_has_a_case_but_those_of_a_single_child() -> None:
    assert {gate.code for gate in GATES} - {"no-child", "unreported"} == set(SHUT)


@pytest.mark.parametrize("code", SHUT)
def test_what_shuts_a_gate_is_named_by_it(code: str) -> None:
    answer = why(SHUT[code](situation()))

    assert code == answer.first.code
    assert answer.first.text
    if BY_CODE[code].lane is Lane.REPAIRS:
        assert answer.counting is None, "the count does not wait for repairs"
    for at_s in (answer.first.until_s, answer.first.expected_s):
        assert at_s is None or at_s >= NOW_S
    assert answer.first.since_s is None or answer.first.since_s <= NOW_S


@pytest.mark.parametrize("code", SHUT)
def test_what_is_said_of_it(code: str) -> None:
    """People and run-books go by the words, and by the instants."""
    first = why(SHUT[code](situation())).first

    assert (first.text, first.since_s, first.until_s, first.expected_s) == SAID[code]
    assert first.children == (BY_CODE[code].lane is Lane.REPAIRS)


def test_an_answer_as_json_is_whole() -> None:
    told = why(SHUT["cooldown"](situation())).as_json(5000.0)

    assert told == TOLD


# What holds together with what: each is behind all that come before it in the table, whatever else is so.
TOGETHER = [
    "ending",
    "not-listed",
    "stream-down",
    "watcher-down",
    "quarantined",
    "mail-waiting",
    "status-retry",
    "paused",
    "quota",
]


@pytest.mark.parametrize("first", range(len(TOGETHER)))
def test_of_several_that_are_shut_the_first_of_the_table_is_named(first: int) -> None:
    s = situation()
    for code in reversed(TOGETHER[first:]):
        s = SHUT[code](s)

    assert TOGETHER[first] == why(s).first.code
    assert sorted(TOGETHER, key=ORDER.__getitem__) == TOGETHER


def test_a_child_is_judged_by_itself() -> None:
    s = situation()
    young = node("young", None)
    with_young = evolve(s, children={**s.children, young.uid: young})

    assert "queued" == why(s, SICK.uid, "sick").first.code
    assert "converged" == why(s, WELL.uid, "well").first.code
    assert "no-child" == why(s, "", "nobody").first.code
    assert "unreported" == why(with_young, young.uid, "young").first.code
    assert "converged" == why(of("cluster", turned_down=TURNED)(s), WELL.uid, "well").first.code, "not its business"


def test_lanes_do_not_wait_for_each_other() -> None:
    answer = why(both(SHUT["status-writing"], SHUT["quota"])(situation()))

    assert ("status-writing", "status-writing", "quota") == codes(answer)


def codes(answer: Answer) -> tuple[str, str, str]:
    assert answer.counting is not None
    assert answer.repairs is not None
    return answer.first.code, answer.counting.code, answer.repairs.code


def test_children_at_the_first_gate_are_counted_and_the_soonest_speaks() -> None:
    other = node("other", False)
    s = situation()
    attempts = {
        SICK.uid: AttemptSeen(key="k", asked_s=900.0, answered_s=990.0, cooled_s=1290.0),
        other.uid: AttemptSeen(key="j", asked_s=900.0, answered_s=950.0, cooled_s=1250.0),
    }
    assert s.cluster is not None
    status = {**STATUS, "kinds": [{"kind": "Node", "healthy": 1, "unhealthy": 2, "unknown": 0}]}
    s = evolve(
        s, counts={"Node": (1, 2, 0)}, children={**s.children, other.uid: other},
        parent=evolve(PARENT, status=status),
        cluster=evolve(s.cluster, attempts=attempts, eligible={SICK.uid: SICK, other.uid: other}),
    )  # fmt: skip
    first = why(s).first

    assert ("cooldown", 2, 1250.0) == (first.code, first.children, first.until_s)
    assert () == first.also


def test_the_gates_of_the_other_children_are_told_too() -> None:
    """Of five nodes two are repaired and three wait for the quota: the first gate alone would hide those three."""
    waits = [node(f"waits-{number}", False) for number in range(3)]
    s = situation()
    attempts = {SICK.uid: AttemptSeen(key="k", asked_s=900.0, answered_s=950.0, cooled_s=1250.0)}
    attempts |= {each.uid: AttemptSeen(key=each.uid, asked_s=990.0, answered_s=None) for each in waits}
    children = {each.uid: each for each in (SICK, *waits)}
    items = {each.uid: ItemSeen(key=each.uid, place="ready", at_s=999.0) for each in waits}
    s = evolve(
        s, children=children, counts={"Node": (0, 4, 0)}, parent=None if s.parent is None else evolve(s.parent, status={
            "observedGeneration": 1, "kinds": [{"kind": "Node", "healthy": 0, "unhealthy": 4, "unknown": 0}],
        }),
        cluster=ClusterSeen(eligible=children, attempts=attempts, asked=frozenset(each.uid for each in waits)),
        gateway=evolve(gateway_of(s), items=items, slot_s=1008.0),
    )  # fmt: skip
    answer = why(s)
    told = answer.as_json(5000.0)

    assert ("cooldown", 1) == (answer.first.code, answer.first.children)
    assert [("quota", 3)] == [(each.code, each.children) for each in answer.first.also]
    assert [(3, "quota", 5008.0)] == [(each["children"], each["code"], each["until_at"]) for each in told["also"]]
    assert ("repairs", None) == (told["holds_back"], told["counting"])


@pytest.mark.parametrize("code", ["stream-down", "not-listed"])
def test_what_the_server_said_names_the_kind_once(code: str) -> None:
    s = both(SHUT[code], kind(synced=code != "not-listed", up=False, message="Node: 403 forbidden"))(situation())

    assert why(s).first.text.endswith(": 403 forbidden")
    assert 1 == why(s).first.text.count("Node")


@pytest.mark.parametrize(("ahead", "expected_s"), [(0, 1008.0), (19, 1008.0), (20, 1018.0), (45, 1028.0)])
def test_the_expected_time_counts_the_calls_before_it(ahead: int, expected_s: float) -> None:
    """Ten items a call, two calls in ten seconds; the next slot is free at 1008."""
    s = both(item(ahead=ahead), lambda s: evolve(s, gateway=evolve(gateway_of(s), slot_s=1008.0)))(situation())

    assert expected_s == why(s).first.expected_s


def test_what_nobody_knows_has_no_time() -> None:
    told = why(of("gateway", breaker="half-open", breaker_s=math.inf)(situation())).as_json(5000.0)

    assert ("breaker", None, None) == (told["code"], told["until_at"], told["expected_at"])
    assert 4999.0 == told["since_at"]
    assert [{"kind": "Cluster", "age_s": 2.0}, {"kind": "Node", "age_s": 2.0}] == told["news"]


UNREAD = ActorSeen(mailbox=6)
HANGS = ActorSeen(busy_s=NOW_S - 20.0)
OVERDUE = of("gateway", calls=4, calls_over_s=NOW_S - 12.0)
RESTART_DUE = of("", place=PlaceSeen(phase="down", restart_s=NOW_S - 3.0), cluster=None)
PROBE_DUE = of("", place=PlaceSeen(phase="quarantined", probe_s=NOW_S - 3.0), cluster=None)
RETRY_DUE = both(
    of("cluster", writing=True), of("", write=WriteSeen(writing=False, since_s=990.0, retry_s=NOW_S - 3.0))
)
BEHIND: dict[str, tuple[Change, str, str, str]] = {
    "a call that is over by now": (OVERDUE, "gateway_actor", "calls-max", "gateway-held"),
    "a call of its own that is over by now": (
        item(place="flying", call_s=980.0, call_until_s=NOW_S - 1.0), "gateway_actor", "call-in-flight", "gateway-held"
    ),
    "a restart that is due": (RESTART_DUE, "directory", "restarting", "directory-held"),
    "a probe that is due": (PROBE_DUE, "directory", "quarantined", "directory-held"),
    "a write that is due again": (RETRY_DUE, "status_actor", "status-retry", "status-queued"),
}  # fmt: skip


@pytest.mark.parametrize("held", [UNREAD, HANGS], ids=["unread", "hangs"])
@pytest.mark.parametrize("case", BEHIND)
def test_a_gate_whose_time_has_passed_is_not_named_but_who_has_not_acted(case: str, held: ActorSeen) -> None:
    change, actor, gate, holder = BEHIND[case]
    first = why(both(change, of("", **{actor: held}))(situation())).first

    assert (holder, None) == (first.code, first.until_s)
    assert ("6 messages" if held is UNREAD else "for 20 s") in first.text
    assert first.since_s is not None
    assert first.since_s <= NOW_S
    assert gate == why(change(situation())).first.code, "nobody is behind: it is about to pass"


@pytest.mark.parametrize("code", ["quota", "calls-max", "restarting", "quarantined", "status-retry"])
def test_a_gate_whose_time_is_to_come_is_named_though_mail_waits(code: str) -> None:
    mail = of("", gateway_actor=UNREAD, directory=UNREAD, status_actor=UNREAD)

    assert code == why(both(SHUT[code], mail)(situation())).first.code


def test_a_gateway_that_hangs_holds_all_that_is_in_its_queue() -> None:
    first = why(both(SHUT["quota"], of("", gateway_actor=HANGS))(situation())).first

    assert ("gateway-held", NOW_S - 20.0) == (first.code, first.since_s)


@pytest.mark.parametrize("directory", [UNREAD, HANGS, DOWN], ids=["unread", "hangs", "down"])
def test_a_wish_lost_with_the_gateway_is_asked_for_again_by_way_of_the_directory(directory: ActorSeen) -> None:
    lost = of("gateway", items={})
    died = of("", gateway_actor=ActorSeen(last_error="ValueError: no"))
    held = of("", directory=directory)

    assert "directory-held" == why(both(lost, died, held)(situation())).first.code
    assert "not-asked" == why(both(lost, died)(situation())).first.code, "all have been told"
    assert "not-asked" == why(both(lost, held)(situation())).first.code, "it has lost nothing"


def test_a_valve_that_is_overridden_holds_nothing() -> None:
    shut = SHUT["valve"]

    assert "valve" == why(shut(situation())).first.code
    assert "queued" == why(both(shut, of("", override=True))(situation())).first.code


def test_the_page_has_every_gate_once() -> None:
    rows = [line for line in markdown().splitlines() if line.startswith("| `")]
    page = Path(__file__).parents[2] / "docs" / "why.md"

    assert markdown() in page.read_text(encoding="utf-8")
    assert [gate.code for gate in GATES] == [row.split("`")[1] for row in rows]
