"""Each command on a simulated operator: what it answers, and that a passive one touches nobody."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from pykka._envelope import Envelope

import actors
from actors.actor import Restart
from actors.core.errors import Unavailable
from actors.core.events import ActorCrashed, CommandGiven, DeadLettered, ObjectRefused, StreamDown
from actors.core.model import ParentKey
from actors.messages import DebounceEnded
from actors.ops.exit_codes import ExitCode
from actors.ops.inspect.asking import dump
from actors.ops.inspect.commands import REGISTRY, perform
from actors.ops.inspect.inspection import short_files
from actors.ops.inspect.memory import fingerprint
from actors.ops.inspect.registry import Caller, CommandError, Level
from actors.ops.inspect.stacks import whose_turn

PASSIVE = [
    each.name + (" c0" if any(argument.required for argument in each.arguments) else "")
    for each in REGISTRY
    if each.level is Level.PASSIVE
]
CHANGING = [each for each in REGISTRY if each.level is Level.CHANGING]
KEY = ParentKey("default", "c0")


def row(rows: list[dict[str, Any]], **wanted: Any) -> dict[str, Any]:
    found = [each for each in rows if all(each[name] == value for name, value in wanted.items())]
    assert len(found) == 1, rows
    return found[0]


# --- levels -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", PASSIVE)
def test_a_passive_command_touches_no_actor(operator: Any, name: str) -> None:
    """No turn, no mail, no fact, no timer: else a look would change what is looked at."""
    operator.fleet.report("c0-n1", False)
    operator.fleet.run(0.13)
    world = operator.world
    before = (world.turn_count, len(world.facts_seen), len(world._timers), world.clock.now())
    depths = [cell.actor_inbox.depth() for _, cell in operator.look.cells()]

    operator.do(name)

    assert before == (world.turn_count, len(world.facts_seen), len(world._timers), world.clock.now())
    assert depths == [cell.actor_inbox.depth() for _, cell in operator.look.cells()]


@pytest.mark.parametrize("name", PASSIVE)
def test_a_passive_command_answers_before_anything_has_started_and_after_the_end(make_operator: Any, name: str) -> None:
    operator = make_operator()
    operator.system.stop()
    operator.fleet.run(30.0)
    assert operator.system.stopped
    fresh = operator.inspection()
    fresh.system = operator.fleet._new_system()

    for look in (operator.look, fresh):
        operator.look = look
        if name == "queue":
            with pytest.raises(CommandError, match="the gateway is down"):
                operator.do(name)
        else:
            operator.do(name)


@pytest.mark.parametrize("command", CHANGING, ids=lambda command: str(command.name))
def test_a_changing_command_wants_leave_and_a_reason(operator: Any, command: Any) -> None:
    words = [command.name, *{"quota-factor": ["0.5"], "record": ["on"]}.get(command.name, ["c0"])]
    with pytest.raises(CommandError, match="wants --reason"):
        perform(operator.look, words, Caller(uid=1, pid=1))

    operator.look.changes = False
    turns = operator.world.turn_count
    with pytest.raises(CommandError, match="without --shell-changes") as refused:
        perform(operator.look, [*words, "--reason", "x"], Caller(uid=1, pid=1))

    assert "MUSTER_SHELL_CHANGES" in refused.value.cure
    assert operator.world.turn_count == turns
    assert operator.world.seen(CommandGiven) == []


# --- the operator -----------------------------------------------------------------------------------------------------
def test_health_is_well_and_says_so_to_a_script(operator: Any) -> None:
    answer = operator.answer("health")

    assert (answer.exit_code, answer.value["well"]) == (0, True)


@pytest.mark.parametrize(
    ("trouble", "check"),
    [("gateway", "ready"), ("pause c0", "paused"), ("pause gateway", "quota"), ("crash", "failures")],
)
def test_health_names_what_is_not_well(operator: Any, trouble: str, check: str) -> None:
    if trouble == "gateway":
        operator.system.refs["gateway"].tell(Restart("x"))
        operator.world._run_one()
    elif trouble == "crash":
        operator.world.facts(ActorCrashed(actor="status", incarnation=1, error="ValueError: x", traceback=""))
    else:
        operator.change(trouble)
    answer = operator.answer("health")

    assert answer.exit_code == ExitCode.UNWELL
    assert row(answer.value["checks"], check=check)["ok"] is False


def test_health_knows_a_stream_that_is_down_and_a_backend_that_is_away(operator: Any) -> None:
    operator.fleet.reader.fail = lambda *_: Unavailable("away")
    operator.fleet.reader.cut("StorageNode")
    operator.fleet.backend.send = _fails
    for number in range(3):
        operator.fleet.report(f"c{number}-n1", False)
        operator.fleet.run(1.0)
    checks = operator.do("health")["checks"]

    assert "StorageNode" in row(checks, check="streams")["detail"]
    assert row(checks, check="backend")["ok"] is False


@pytest.mark.parametrize(("age_s", "well"), [(20.0, True), (31.0, False)])
def test_health_knows_a_stream_that_is_up_and_silent(operator: Any, age_s: float, well: bool) -> None:
    """The operator finds it by itself some seconds later; until then this is all that there is to see."""
    ages = {"Cluster": {"age_s": 3.0}, "ComputeNode": {"age_s": age_s}, "StorageNode": {"age_s": None}}
    operator.look = operator.inspection(reader=lambda: ages)
    streams = row(operator.do("health")["checks"], check="streams")

    assert streams["ok"] is well
    assert streams["detail"] == ("3 up, each heard within 20 s" if well else "ComputeNode has been silent for 31 s")
    assert streams["see"] == ("" if well else "watch-status")


def test_health_names_the_parents_in_trouble(operator: Any) -> None:
    for _ in range(6):
        operator.system.dispatcher.facts(
            ActorCrashed(actor="status", incarnation=1, error="ValueError: x", traceback="")
        )
        operator.look.cell("cluster/default/c1").actor_ref.tell(Restart("x"))
        operator.fleet.run(4.0)
    checks = operator.do("health")["checks"]

    assert row(checks, check="parents")["detail"] == "1 quarantined (default/c1), 2 running, 0 asleep"
    assert row(checks, check="failures")["detail"].startswith("6 deaths, the last "), "a restart by command is none"
    assert all(each["see"] in REGISTRY.commands for each in checks if each["see"] and " " not in each["see"])


def test_health_names_who_is_paused_and_for_how_long(operator: Any) -> None:
    operator.change("pause c0 --for 10m")
    operator.fleet.run(60.0)

    paused = row(operator.do("health")["checks"], check="paused")
    assert (paused["detail"], paused["see"]) == ("by command: default/c0 for 540 s more", "recent")


def test_health_tells_of_threads_that_were_given_up_once_each(operator: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = operator.world.clock.now()
    monkeypatch.setattr(operator.world, "given_up", lambda: [(7, "cluster/default/c0", "DebounceEnded", now_s - 37.0)])
    monkeypatch.setattr(operator.world, "statistics", lambda: {"leaked_threads": 2})
    workers = row(operator.do("health")["checks"], check="workers")

    assert (
        workers["detail"] == "a thread was given up in cluster/default/c0, in DebounceEnded for 37 s; 1 given up before"
    )
    assert whose_turn(operator.world, now_s) == {7: ("cluster/default/c0", "DebounceEnded, given up", 37.0)}


def test_top_finds_who_is_longest_in_its_message(operator: Any) -> None:
    cell = operator.look.cell("cluster/default/c2")
    cell.busy_since_s, cell.actor_inbox.current = operator.world.clock.now() - 8.0, Envelope(DebounceEnded())
    answer = operator.do("top --by busy --max 1")

    assert [(each["actor"], each["in_hand_s"]) for each in answer["top"]] == [("cluster/default/c2", 8.0)]
    assert "turns" not in answer["threads"]


def test_the_same_trouble_has_one_fingerprint_which_names_the_place() -> None:
    trace = (
        'Traceback\n  File "/x/actors/cluster.py", line 1, in look\n  File "/y/lib/e.py", line 53, in number_of\n    no'
    )
    fact = ActorCrashed(actor="cluster/default/c0", incarnation=1, error="ValueError: a", traceback=trace)

    assert fingerprint(fact) == "cluster ValueError lib/e.py:53 number_of"
    assert fingerprint(evolve(fact, traceback="", error="KeyError: b")) == "cluster KeyError"


def test_files_are_named_from_where_they_are_imported_from() -> None:
    here = f'File "{Path(actors.__file__).parent}/actor.py", line 3, in x'

    assert short_files(here) == 'File "actors/actor.py", line 3, in x'
    assert short_files(f'File "{re.__file__}", line 1') == 'File "re/__init__.py", line 1'
    assert short_files('File "/nowhere/else.py", line 1') == 'File "/nowhere/else.py", line 1'


def _fails(_call: Any) -> Any:
    raise Unavailable("503")


def test_the_tree_has_every_actor_its_restarts_and_when_the_next_is_due(operator: Any) -> None:
    operator.change("restart gateway")
    operator.system.refs["status"].tell(Restart("x"))
    while operator.look.static("status").state == "running":
        operator.world._run_one()
    answer = operator.do("tree")

    names = [each["actor"].strip() for each in answer["actors"]]
    assert names[:4] == ["root", "status", "gateway", "directory"]
    assert names[4:] == ["watcher/Cluster", "watcher/ComputeNode", "watcher/StorageNode"]
    assert row(answer["actors"], actor="  gateway")["restarts"] == 1
    assert answer["clusters"] == {"running": 3, "asleep": 0}
    operator.world.settle()
    down = row(operator.do("tree")["actors"], actor="  status")
    assert down["state"] == "running" or 0 <= down["again_in_s"] <= 0.1

    assert [each["actor"].strip() for each in operator.do("tree --restarts")["actors"]] == ["gateway"]
    assert len(operator.do("tree --all")["clusters_shown"]) == 3
    assert operator.do("tree --all --max 1")["left_out"] == 2


def test_top_has_rates_over_a_window_and_what_waits(operator: Any) -> None:
    operator.look.sample()
    operator.fleet.run(5.0)
    for _ in range(10):
        operator.system.refs["status"].tell(Restart("x"))
    answer = operator.do("top --max 3")

    assert answer["sums"]["window_s"] == pytest.approx(5.0)
    assert (answer["top"][0]["actor"], answer["top"][0]["mailbox"]) == ("status", 10)
    assert len(answer["top"]) == 3
    most = operator.do("top --by handled")["top"]
    assert [each["handled"] for each in most] == sorted((each["handled"] for each in most), reverse=True)


def test_timers_name_their_actor_message_and_time(operator: Any) -> None:
    operator.fleet.run(1.0)
    mine = operator.do("timers cluster/default/c0")["timers"]

    assert {each["message"] for each in mine} == {"IdleReached", "AuditDue"}
    idle = row(mine, timer="idle")
    assert 0 < idle["due_s"] <= 300.0
    every = operator.do("timers --max 2")
    assert len(every["timers"]) == 2 < every["count"]
    assert every["timers"][0]["due_s"] <= every["timers"][1]["due_s"]


def test_config_masks_what_looks_like_a_credential(operator: Any) -> None:
    operator.look.settings = lambda: [
        ("backend-url", "http://me:hunter2@backend", "flag"), ("api-token", "abc", "file"), ("quota", "10/1s", "default"),
    ]  # fmt: skip
    answer = operator.do("config")

    assert "hunter2" not in str(answer)
    assert "abc" not in str(answer)
    assert operator.do("config quo")["settings"] == [{"setting": "quota", "value": "10/1s", "origin": "default"}]


# --- the work ---------------------------------------------------------------------------------------------------------
def test_quota_counts_slots_and_draws_the_last_window(operator: Any) -> None:
    for number in range(3):
        operator.fleet.report(f"c{number}-n1", False)
        operator.fleet.run(0.16)
    answer = operator.do("quota")
    slots = answer["slots"]

    assert slots["free"] + slots["held"] == 10
    assert slots["held"] >= 1
    assert answer["last_window"]["calls"] >= 1
    assert len(answer["last_window"]["sparkline"]) == 20
    assert answer["last_window"]["sparkline"].strip()


def test_the_queue_says_who_waits_and_when_each_leaves(operator: Any) -> None:
    operator.change("pause gateway --for 60s")
    operator.fleet.report("c0-n1", False)
    operator.fleet.report("c0-n2", False)
    operator.fleet.report("c1-n1", False)
    operator.fleet.run(3.0)
    answer = operator.do("queue")

    assert {each["name"] for each in answer["ready"]} == {"c0-n1", "c0-n2", "c1-n1"}
    assert [each["position"] for each in answer["ready"]] == [1, 2, 3]
    assert all(50.0 < each["leaves_in_s"] < 60.0 and each["waits_s"] > 2.0 for each in answer["ready"])
    by_parent = operator.do("queue --by parent")["parents"]
    assert by_parent[0] == {"parent": "default/c0", "wanted": 2, "in_flight": 0, "waiting": 2}


def test_batches_have_each_item_with_its_outcome(operator: Any) -> None:
    operator.fleet.report("c0-n1", False)
    operator.fleet.run(1.0)
    calls = operator.do("batches")["calls"]

    assert (calls[0]["outcome"], calls[0]["items"], calls[0]["results"]) == ("answered", 1, "1 accepted")
    one = operator.do(f"batches {calls[0]['call'][:8]}")
    assert (one["items"][0]["name"], one["items"][0]["outcome"]) == ("c0-n1", "accepted")
    with pytest.raises(CommandError, match="0 of the last 1 calls"):
        operator.do("batches nothing")


def test_a_call_that_failed_and_one_in_flight_say_so(operator: Any) -> None:
    operator.fleet.report("c0-n1", False)
    operator.fleet.run(0.161)
    assert operator.do("batches")["in_flight"] == 1

    operator.fleet.run(1.0)
    operator.fleet.backend.send = _fails
    operator.fleet.report("c1-n1", False)
    operator.fleet.run(0.3)
    failed = operator.do("batches")["calls"][0]
    assert (failed["outcome"], failed["error"]) == ("Unavailable", "503")
    assert operator.do(f"batches {failed['call']}")["items"][0]["outcome"] == "Unavailable"


def test_watch_status_knows_lists_gaps_and_unreadable_objects(operator: Any) -> None:
    operator.world.facts(StreamDown(kind="Cluster", reason="Broken", message="cut", retry_s=1.0))
    operator.world.facts(ObjectRefused(kind="Cluster", place="Cluster default/x", why="no spec"))
    kind = row(operator.do("watch-status")["kinds"], kind="Cluster")

    assert (kind["synced"], kind["records"], kind["lists"], kind["list_reason"]) == (True, 3, 1, "start")
    assert (kind["downs"], kind["down_reason"], kind["down_message"]) == (1, "Broken", "cut")
    assert (kind["unreadable"], kind["unreadable_last"]) == (1, "Cluster default/x: no spec")


def test_failures_are_grouped_and_bounded(operator: Any) -> None:
    for number in range(300):
        error = f"ValueError: {number}"
        trace = f'Traceback\n  File "x.py", line {number % 250}, in f\n{error}'
        operator.world.facts(
            ActorCrashed(actor=f"cluster/default/c{number}", incarnation=1, error=error, traceback=trace)
        )
    answer = operator.do("failures 200 --traces 2")

    assert len(answer["failures"]) == 200
    assert answer["failures"][0]["error"] == "ValueError: 299"
    assert row(answer["failures"], error="ValueError: 250")["count"] == 1  # the one at line 0 had been forgotten
    assert len(answer["tracebacks"]) == 2
    same = [each for each in answer["failures"] if each["count"] > 1]
    assert all("," in each["actors"] for each in same)


def test_dead_letters_are_counted_by_reason_and_class(operator: Any) -> None:
    for number in range(700):
        operator.world.facts(DeadLettered(actor="a", message="M" if number else "N", reason="dead"))
    answer = operator.do("dead-letters --max 5")

    assert answer["sums"][0] == {"reason": "dead", "message": "M", "count": 699}
    assert len(answer["latest"]) == 5


def test_a_bundle_holds_every_other_passive_answer(operator: Any) -> None:
    answers = operator.do("bundle")["answers"]

    assert set(answers) == {name for name in PASSIVE if " " not in name} - {"bundle", "names", "help"}


# --- one actor, one parent --------------------------------------------------------------------------------------------
def test_show_comes_from_the_actor_itself_and_masks_secrets(operator: Any) -> None:
    gateway = operator.look.behaviour("gateway")
    gateway.token = "abc"
    gateway.note = "authorization: Bearer abcdefghijk"
    answer = operator.do("show gateway")

    assert answer["from"] == "the actor itself"
    assert answer["state"]["token"] == "***"
    assert "abcdefghijk" not in str(answer)
    assert answer["statistics"]["state"] == "running"
    assert answer["state"]["_backend"].startswith("<")  # a port is not gone into
    with pytest.raises(CommandError, match="has no queue.nothing"):
        operator.do("show gateway queue.nothing")
    assert operator.do("show gateway queue")["state"]["_quantum"] == 5


def test_show_takes_a_parents_name_for_its_actors(operator: Any) -> None:
    assert operator.do("show c1")["statistics"]["name"] == "cluster/default/c1"
    with pytest.raises(CommandError, match="no actor 'nobody'"):
        operator.do("show nobody")


def test_show_tells_an_instant_from_a_duration_where_that_can_be_told() -> None:
    class State:
        __module__ = "actors.core.made_up"

        def __init__(self) -> None:
            self.wait_s, self.last_s, self.next_s, self.count = 900.0, 7_990.0, 8_002.5, 9_000.0

    shown = dump(State(), [], now_s=8_000.0, began_s=7_000.0)
    assert shown == {"wait_s": 900.0, "last_s": "10 s ago", "next_s": "in 2.5 s", "count": 9_000.0}
    young = dump(State(), [], now_s=8_000.0, began_s=60.0)
    assert young["last_s"] == 7_990.0, "a machine that was started an hour ago or less"


def test_show_falls_back_to_the_snapshot_and_says_why(operator: Any) -> None:
    operator.look.recording = lambda: True
    assert operator.do("show gateway")["from"].startswith("the last snapshot: a recording runs")

    operator.look.recording = lambda: False
    cell = operator.look.static("gateway")
    cell.actor_inbox._idle.acquire(blocking=False)  # as if a worker were in it
    answer = operator.do("show gateway")
    assert answer["from"] == "the last snapshot: it has not answered within 1 s"
    assert answer["statistics"]["state"] == "running"


def test_a_dump_is_bounded_however_large_the_state(operator: Any) -> None:
    behaviour = operator.look.behaviour("gateway")
    behaviour.deep = [[[[["x" * 10_000] * 100] * 100] * 100] * 100]
    behaviour.wide = {n: [n] * 100 for n in range(10_000)}

    assert len(str(operator.do("show gateway"))) < 50_000
    assert len(str(operator.do("show gateway wide"))) < 200_000


def test_a_parent_has_its_children_those_in_trouble_first(operator: Any) -> None:
    operator.fleet.report("c0-n2", False)
    operator.fleet.run(0.13)
    answer = operator.do("parent default/c0")

    assert answer["from"] == "the actor itself"
    assert [each["name"] for each in answer["children"]] == ["c0-n2", "c0-n0", "c0-n1", "c0-n3"]
    first = answer["children"][0]
    assert (first["state"], first["repair"]) == ("unhealthy", "asked")
    assert first["incident"].startswith("unhealthy@")
    assert 0 <= first["since_s"] < 2.0
    assert answer["status"]["total"] == 4
    assert operator.do("parent c0 --max 1")["left_out"] == 3


def test_a_parent_that_sleeps_is_shown_from_the_records(make_operator: Any) -> None:
    operator = make_operator(idle_s=1.0)
    operator.fleet.run(30.0)
    answer = operator.do("parent c0")

    assert answer["from"] == "asleep: the records alone"
    assert len(answer["children"]) == 4
    with pytest.raises(CommandError, match="sleeps") as refused:
        operator.do("show cluster/default/c0")
    assert refused.value.cure == "kick default/c0"


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("c", "did you mean default/c0"),
        ("default/c7", "did you mean default/c"),
        ("zzz", "kubectl get"),
        ("00c", "kubectl get"),
    ],
)
def test_a_parent_that_is_not_there_is_answered_with_the_nearest(operator: Any, word: str, says: str) -> None:
    with pytest.raises(CommandError, match="no parent") as refused:
        operator.do(f"parent {word}")

    assert says in refused.value.cure


def test_a_misspelt_name_is_known_without_its_namespace(operator: Any) -> None:
    operator.fleet.cluster("payments")
    operator.fleet.run(2.0)
    with pytest.raises(CommandError) as refused:
        operator.do("why paymnets")

    assert refused.value.cure == "did you mean default/payments?"


def test_the_queue_by_parent_is_of_those_that_want_something(operator: Any) -> None:
    operator.fleet.report("c0-n1", False)
    operator.fleet.run(0.13)
    assert [each["parent"] for each in operator.do("queue --by parent")["parents"]] == ["default/c0"]

    operator.fleet.report("c0-n1", True)
    operator.fleet.run(5.0)
    assert operator.do("queue --by parent")["parents"] == []


def test_a_name_that_two_parents_have_must_be_said_whole(operator: Any) -> None:
    operator.fleet.api.create("namespaces", {"metadata": {"name": "other"}})
    operator.fleet.cluster("c0", namespace="other")
    operator.fleet.run(2.0)
    with pytest.raises(CommandError, match="2 parents are called 'c0'"):
        operator.do("parent c0")

    assert operator.do("parent other/c0")["record"]["parent"] == "other/c0"


def test_help_and_names_have_every_command(operator: Any) -> None:
    assert [each["command"].split()[0] for each in operator.do("help")["commands"]] == [each.name for each in REGISTRY]
    assert operator.do("help pause")["command"]["level"] == "changing"
    names = operator.do("names")
    assert set(names["commands"]) == set(REGISTRY.commands)
    assert names["parent"] == ["default/c0", "default/c1", "default/c2"]
    assert "cluster/default/c2" in names["actor"]
