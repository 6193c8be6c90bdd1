"""The commands that change something: in force when they say so, on record, and for no longer than was asked."""

from __future__ import annotations

from typing import Any

import pytest

from actors.core.events import ActorReleased, CommandGiven, RecordingStarted
from actors.core.model import ParentKey
from actors.core.reconcile import reconcile
from actors.ops.inspect.registry import CommandError

KEY = ParentKey("default", "c0")


def events(operator: Any) -> list[tuple[str, str]]:
    return [(str(parent), note.reason) for parent, note in operator.fleet.writer.events if note.action == "Command"]


def test_a_pause_holds_repairs_and_ends_by_itself(operator: Any) -> None:
    answer = operator.change("pause c0 --for 60s")
    operator.fleet.report("c0-n1", False)
    operator.fleet.report("c1-n1", False)
    operator.fleet.run(30.0)

    assert answer["in_force"] is True
    assert operator.fleet.repaired() == ["c1-n1"]
    assert operator.fleet.condition("c0", "Paused")["reason"] == "PausedByCommand"
    assert operator.fleet.counts("c0") == (4, 3, 1, 0)
    assert events(operator) == [("default/c0", "PausedByCommand")]
    given = operator.world.seen(CommandGiven)
    assert [(each.command, each.by, each.reason) for each in given] == [
        ("pause c0 --for 60s --reason a test", "uid 1000 (pid 77)", "a test")
    ]

    operator.fleet.run(40.0)

    assert operator.fleet.repaired() == ["c1-n1", "c0-n1"]
    assert operator.fleet.condition("c0", "Paused")["status"] == "False"


def test_a_pause_withdraws_what_waits_and_resume_ends_it(operator: Any) -> None:
    operator.change("pause gateway")
    operator.fleet.report("c0-n1", False)
    operator.fleet.run(2.0)
    operator.change("pause c0")
    operator.fleet.run(1.0)
    operator.change("resume gateway")
    operator.fleet.run(5.0)
    assert operator.fleet.repaired() == []

    assert operator.change("resume default/c0") == {"parent": "default/c0", "in_force": True, "for_s": None}
    operator.fleet.run(5.0)

    assert operator.fleet.repaired() == ["c0-n1"]


@pytest.mark.parametrize("actor", ["cluster/default/c0", "directory", "gateway", "watcher/Cluster"])
def test_a_pause_outlives_the_restart_of_whom_it_concerns(operator: Any, actor: str) -> None:
    operator.change("pause c0 --for 2m")
    operator.change(f"restart {actor}")
    operator.fleet.report("c0-n1", False)
    operator.fleet.run(60.0)

    assert operator.fleet.repaired() == []
    operator.fleet.run(70.0)
    assert operator.fleet.repaired() == ["c0-n1"]


def test_a_parent_that_sleeps_can_be_paused_and_stays_awake_for_it(make_operator: Any) -> None:
    operator = make_operator(idle_s=1.0)
    operator.fleet.run(30.0)
    assert dict(operator.look.clusters()) == {}

    assert operator.change("pause c0 --for 60s")["in_force"] is True
    operator.fleet.run(30.0)
    assert operator.fleet.condition("c0", "Paused")["status"] == "True"
    operator.fleet.run(40.0)
    assert operator.fleet.condition("c0", "Paused")["status"] == "False"
    operator.fleet.run(30.0)
    assert dict(operator.look.clusters()) == {}


def test_the_gateway_pauses_and_a_quota_is_limited(operator: Any) -> None:
    assert operator.change("quota-factor 0.35") == {
        "calls": 3, "of": "10/1s", "in_force": True, "for_s": pytest.approx(900.0, abs=1.0),
    }  # fmt: skip
    assert operator.do("quota")["slots"]["ceiling"] == 3

    operator.change("pause gateway --for 10s")
    operator.fleet.report("c0-n1", False)
    operator.fleet.run(9.0)
    assert operator.fleet.repaired() == []
    operator.fleet.run(3.0)
    assert operator.fleet.repaired() == ["c0-n1"]

    operator.change("quota-factor 0.01")
    assert operator.do("quota")["slots"]["ceiling"] == 1
    operator.change("quota-factor 1")
    assert operator.do("quota")["slots"]["ceiling"] == 10


def test_a_kick_wakes_and_looks(make_operator: Any) -> None:
    operator = make_operator(idle_s=1.0)
    operator.fleet.run(30.0)

    assert operator.change("kick c0")["looked"] is True
    assert [name for name, _ in operator.look.clusters()] == ["cluster/default/c0"]
    assert events(operator) == [("default/c0", "KickedByCommand")]


def test_a_relist_finds_what_the_stream_has_lost(operator: Any) -> None:
    operator.fleet.reader.swallow("ComputeNode")
    operator.fleet.report("c0-n1", False)
    operator.fleet.run(2.0)
    assert operator.fleet.counts("c0") == (4, 4, 0, 0)

    assert operator.change("relist ComputeNode")["listed"] is True
    operator.fleet.run(2.0)

    assert operator.fleet.counts("c0")[2] == 1 or operator.fleet.repaired() == ["c0-n1"]
    assert "see watch-status" in operator.change("relist ComputeNode")["note"]
    with pytest.raises(CommandError, match="no kind 'Node'"):
        operator.change("relist Node")


def test_a_restart_is_counted_and_the_rest_goes_on(operator: Any) -> None:
    answer = operator.change("restart watcher/ComputeNode")
    operator.fleet.report("c0-n1", False)
    operator.fleet.run(5.0)

    assert (answer["incarnation"], answer["restarted"]) == (2, True)
    assert operator.fleet.repaired() == ["c0-n1"]
    failure = operator.do("failures")["failures"][0]
    assert failure["error"] == "restart asked for: uid 1000 (pid 77): a test"
    with pytest.raises(CommandError, match="root is not restarted"):
        operator.change("restart root")


def test_who_restarts_a_parents_actor_is_on_record_there_and_it_is_no_failure(operator: Any) -> None:
    answer = operator.change("restart c0")
    operator.fleet.run(2.0)

    assert (answer["actor"], answer["restarted"]) == ("cluster/default/c0", True)
    assert events(operator) == [(str(KEY), "RestartedByCommand")]
    failures = next(each for each in operator.do("health")["checks"] if each["check"] == "failures")
    assert failures["ok"] is True


def test_restarts_beyond_the_budget_are_the_supervisors_business(operator: Any) -> None:
    """A person can spend the budget as a fault does: the manual says so."""
    for _ in range(6):
        if operator.look.static("gateway").state == "running":
            operator.change("restart gateway")
            operator.fleet.run(2.0)

    assert operator.system.end is not None


def test_a_quarantined_parent_is_let_out(operator: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def poisonous(fleet: Any, parent: Any, *rest: Any) -> Any:
        if parent.name == "c0":
            raise ValueError("poisonous")
        return reconcile(fleet, parent, *rest)

    with monkeypatch.context() as patch:
        patch.setattr("actors.core.reconcile.reconcile", poisonous)
        operator.fleet.report("c0-n1", False)
        operator.fleet.run(40.0)
    assert [each["state"] for each in operator.do("tree")["clusters_shown"]] == ["quarantined"]
    with pytest.raises(CommandError, match="is quarantined"):
        operator.change("restart cluster/default/c0")

    assert operator.change("unquarantine c0")["running"] is True
    operator.fleet.run(5.0)

    assert [each.by for each in operator.world.seen(ActorReleased)] == ["command"]
    assert operator.fleet.repaired() == ["c0-n1"]
    with pytest.raises(CommandError, match="not quarantined, but running"):
        operator.change("unquarantine c0")


def test_record_is_done_by_whoever_may_and_only_once(operator: Any) -> None:
    with pytest.raises(CommandError, match="nothing can be recorded"):
        operator.change("record on")

    on: list[bool] = []

    def toggle() -> None:
        on.append(True)
        operator.world.facts(RecordingStarted(file="/var/tmp/a.tape", paused_s=0.1, size=7))

    operator.look.toggle_recording = toggle
    operator.look.recording = lambda: bool(on)
    answer = operator.change("record on")
    assert (answer["recording"], answer["file"]) == (True, "/var/tmp/a.tape")
    assert operator.do("recent")["latest"][0]["fact"] == "RecordingStarted"
    with pytest.raises(CommandError, match="on already"):
        operator.change("record on")


def test_what_an_actor_does_not_come_to_is_not_said_to_be_done(operator: Any) -> None:
    operator.look.static("directory").actor_inbox._idle.acquire(blocking=False)  # as if a worker were stuck in it
    answer = operator.change("pause c0")

    assert answer["in_force"] is False
    assert answer["note"] == "directory has not come to it yet: `show directory` says what it has in hand"


def test_a_recording_hears_before_an_actor_does(operator: Any) -> None:
    """What is told from here has no place on a tape."""
    told: list[str] = []

    def outside(tell: Any) -> None:
        told.append("first")
        tell()

    operator.look = operator.inspection(outside=outside)
    operator.change("kick c0")

    assert told == ["first", "first"]  # the look, and the Event
