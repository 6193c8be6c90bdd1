"""A ClusterActor whose repairs a person's command holds for a while, or the gateway."""

from __future__ import annotations

from actors.actor import Restart, Resume
from actors.messages import BackendState, LookAgain, PassivateWanted, RepairsWanted
from actors.sim.desk import KEY, Desk, node


def test_a_pause_withdraws_repairs_counts_on_and_ends_by_itself() -> None:
    desk = Desk()
    desk.sync(node("a"), node("b", healthy=False))
    desk.run(1.0)
    assert desk.asked[-1] == ["b"]

    desk.pauses[KEY] = desk.world.clock.now() + 60.0
    desk.tell(LookAgain())

    assert desk.asked[-1] == []
    conditions = {each["type"]: each["reason"] for each in desk.wishes[-1].status["conditions"]}
    assert (conditions["Paused"], conditions["RemediationAllowed"], conditions["Ready"]) == (
        "PausedByCommand", "Paused", "Paused",
    )  # fmt: skip
    assert desk.wishes[-1].status["unhealthy"] == 1

    desk.run(61.0)

    assert desk.asked[-1] == ["b"]
    assert {each["type"]: each["reason"] for each in desk.wishes[-1].status["conditions"]}["Paused"] == "NotPaused"


def test_a_pause_outlives_the_actor_and_keeps_it_awake() -> None:
    desk = Desk(idle_s=5.0)
    desk.pauses[KEY] = 100.0
    desk.settled(node("a", healthy=False))
    desk.cell.tell(Restart("a test"))
    desk.world.settle()
    desk.cell.tell(Resume())
    desk.settled(node("a", healthy=False))

    assert [wish.items for wish in desk.gateway.of(RepairsWanted) if wish.items] == []
    desk.world.run_for(50.0)
    assert desk.directory.of(PassivateWanted) == []
    desk.world.run_for(60.0)
    assert len(desk.gateway.of(RepairsWanted)[-1].items) == 1


def test_the_valve_over_all_parents_says_nothing_of_the_backend() -> None:
    """Where the gateway does not know how the backend is, what the parent knows stands."""
    desk = Desk().settled(node("a", healthy=False))
    desk.tell(BackendState(reachable=True, reason="Answers", message=""))
    desk.run(1.0)
    desk.tell(BackendState(reachable=None, reason="", message="", held="6 of all 10"))
    desk.run(1.0)

    conditions = {c["type"]: (c["status"], c["reason"]) for c in desk.wishes[-1].status["conditions"]}
    assert conditions["BackendReachable"] == ("True", "Answers")
    assert conditions["RemediationAllowed"] == ("False", "FleetTooManyUnhealthy")


def test_old_news_of_a_kind_withdraw_its_repairs_and_keep_the_actor_awake() -> None:
    desk = Desk(idle_s=5.0)
    desk.sync(node("a", healthy=False))
    desk.run(1.0)
    assert desk.asked[-1] == ["a"]
    desk.behind["ComputeNode"] = 1.0
    desk.tell(LookAgain())
    assert desk.asked[-1] == []
    desk.run(60.0)
    assert desk.directory.of(PassivateWanted) == []

    desk.behind.clear()
    desk.tell(LookAgain())
    assert desk.asked[-1] == ["a"]
