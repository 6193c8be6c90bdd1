"""The directory: who acts for which parent, from the first mail to quarantine, sleep and the parent's end."""

from __future__ import annotations

from typing import Any

import pytest

from actors.actor import Resume
from actors.core.events import ActorQuarantined, ActorReleased, Escalated
from actors.core.model import ParentKey
from actors.core.ports import Written
from actors.directory import CONDITION_RETRY_S, PROBE_AFTER_S
from actors.messages import (
    AskAgain,
    CloseUp,
    Down,
    EventWanted,
    LastMail,
    LookAgain,
    LookWanted,
    ParentGone,
    ParentWanted,
    Passivated,
    PassivateWanted,
    PauseWanted,
    Released,
    RelistWanted,
    RepairsWanted,
    RosterWanted,
    StatusAnswered,
    StatusState,
    StatusWanted,
    SubscribeWanted,
    SyncChanged,
    WatcherStarted,
)
from actors.sim.town import AWAY, HOME, KINDS, Town


# --- on demand --------------------------------------------------------------------------------------------------------
def test_an_actor_is_made_once_for_a_parent_that_is_there_and_subscribed_to_every_kind() -> None:
    """On demand; asking again changes nothing."""
    town = Town(HOME)
    town.want(HOME, HOME)
    town.want(HOME, AWAY)

    assert town.lives() == ["start 1"]
    assert town.lives(AWAY) == []
    assert [town.subscribed(kind) for kind in KINDS] == [[("home", True)]] * 2


def test_a_watcher_that_starts_later_hears_of_every_subscription() -> None:
    """A new incarnation knows none; one that did not exist yet missed them."""
    town = Town(HOME, AWAY)
    late = town.watchers.pop("ComputeNode")
    town.want(HOME, AWAY)
    assert late.told == []

    town.tell(WatcherStarted(kind="ComputeNode", ref=late))
    assert [message.parent for message in late.of(SubscribeWanted)] == [HOME, AWAY]


def test_readiness_is_what_the_watchers_said() -> None:
    """And "not listed yet" before they did."""
    town = Town()
    town.tell(SyncChanged(kind="Cluster", synced=True, up=True))

    sync: Any = town.made.statistics()["sync"]
    assert (sync["Cluster"]["synced"], sync["ComputeNode"]["synced"]) == (True, False)


# --- sleep ------------------------------------------------------------------------------------------------------------
def asleep(town: Town, key: ParentKey = HOME, *, yes: bool = True) -> Passivated:
    return Passivated(parent=key, ref=town.ref(key), asleep=yes)


def test_an_idle_actor_is_unsubscribed_and_ends_only_when_all_watchers_have_closed() -> None:
    """The hand-shake."""
    town = Town(HOME)
    town.want(HOME)
    town.tell(PassivateWanted(parent=HOME, ref=town.ref()))
    assert (town.phase(), town.subscribed()) == ("passivating", [("home", True), ("home", False)])
    assert town.lives() == ["start 1"]

    town.tell(asleep(town))
    assert town.lives() == ["start 1", "stop"]
    assert (town.phase(), town.ref()) == ("none", None)


def test_mail_that_comes_between_wakes_it_again() -> None:
    """A watcher that has closed names the parent; the actor is asleep already: subscribe it anew."""
    town = Town(HOME)
    town.want(HOME)
    town.tell(PassivateWanted(parent=HOME, ref=town.ref()))
    town.want(HOME)
    town.tell(asleep(town))

    assert (town.phase(), town.lives()) == ("awake", ["start 1"])
    assert town.subscribed() == [("home", True), ("home", False), ("home", True)]


def test_mail_that_comes_while_it_is_being_stopped_makes_a_new_one() -> None:
    """Nothing is lost at the last moment."""
    town = Town(HOME)
    town.want(HOME)
    town.tell(PassivateWanted(parent=HOME, ref=town.ref()))
    town.cell.tell(asleep(town))
    town.cell.tell(ParentWanted(parents=(HOME,)))
    town.world.settle()

    assert town.lives() == ["start 1", "stop", "start 1"]
    assert town.phase() == "awake"
    assert town.subscribed()[-1] == ("home", True)


def test_an_actor_that_was_stirred_is_subscribed_again() -> None:
    """``asleep`` False: something came while the watchers were closing."""
    town = Town(HOME)
    town.want(HOME)
    town.tell(PassivateWanted(parent=HOME, ref=town.ref()), asleep(town, yes=False))

    assert (town.phase(), town.lives()) == ("awake", ["start 1"])
    assert town.subscribed()[-1] == ("home", True)


def test_sleep_that_a_restart_of_the_directory_interrupted_is_put_off() -> None:
    """The new incarnation has subscribed everybody again: to stop now would lose what came since."""
    town = Town(HOME)
    town.want(HOME)
    town.tell(PassivateWanted(parent=HOME, ref=town.ref()))
    town.crash()
    town.tell(asleep(town))

    assert (town.phase(), town.lives()) == ("awake", ["start 1", AskAgain()])
    assert town.subscribed()[-1] == ("home", True)


def test_words_of_a_predecessor_are_not_taken_for_the_successors() -> None:
    """They carry the ref."""
    town = Town(HOME)
    town.want(HOME)
    old = town.ref()
    town.tell(PassivateWanted(parent=HOME, ref=old), asleep(town))
    town.want(HOME)
    town.tell(PassivateWanted(parent=HOME, ref=old), Passivated(parent=HOME, ref=old, asleep=True))

    assert town.phase() == "awake"


def test_a_watcher_that_died_of_the_request_to_close_is_asked_again() -> None:
    """Else the parent is deaf until its actor's patience ends."""
    town = Town(HOME)
    town.want(HOME)
    town.tell(PassivateWanted(parent=HOME, ref=town.ref()))
    town.tell(WatcherStarted(kind="ComputeNode", ref=town.watchers["ComputeNode"]))

    assert town.subscribed() == [("home", True), ("home", False), ("home", False)]


# --- the parent's end -------------------------------------------------------------------------------------------------
def test_a_parent_that_is_gone_closes_its_actor() -> None:
    """It withdraws what is queued itself."""
    town = Town(HOME)
    town.want(HOME)
    del town.store.parents[HOME]
    town.tell(ParentGone(parent=HOME))

    assert town.lives() == ["start 1", CloseUp(), "stop"]
    assert (town.phase(), town.subscribed()[-1]) == ("none", ("home", False))


def test_a_parent_that_is_there_again_keeps_its_actor() -> None:
    """Created again under its name before the directory heard: the actor hears of both by mail."""
    town = Town(HOME)
    town.want(HOME)
    town.tell(ParentGone(parent=HOME))

    assert (town.phase(), town.lives()) == ("awake", ["start 1"])


def test_a_parent_created_again_while_its_actor_closes_gets_a_new_one() -> None:
    """Not before the old one has ended: two for one name would both act."""
    town = Town(HOME)
    town.want(HOME)
    del town.store.parents[HOME]
    town.cell.tell(ParentGone(parent=HOME))
    town.create(HOME, uid="again")
    town.cell.tell(ParentWanted(parents=(HOME,)))
    town.world.settle()

    assert town.phase() == "awake"
    assert town.lives().count("start 1") - town.lives().count("stop") == 1


@pytest.mark.parametrize("quarantined", [True, False])
def test_what_a_dead_actor_had_queued_is_withdrawn_when_its_parent_goes(quarantined: bool) -> None:
    """Proof 8: a cluster that is deleted while its repairs are queued. It cannot withdraw them itself."""
    town = Town(HOME)
    town.want(HOME)
    if quarantined:
        town.quarantine()
    else:
        town.kill()
    ref = town.ref()
    del town.store.parents[HOME]
    town.tell(ParentGone(parent=HOME))

    assert [(m.parent, m.items, m.reply_to) for m in town.gateway.of(RepairsWanted)] == [(HOME, (), ref)]
    assert town.phase() == "none"


def test_an_actor_that_dies_of_closing_is_ended_all_the_same() -> None:
    """And its repairs are withdrawn for it."""
    town = Town(HOME)
    town.want(HOME)
    town.poisoned.add("cluster/d/home")
    del town.store.parents[HOME]
    town.tell(ParentGone(parent=HOME))

    assert town.phase() == "none"
    assert len(town.gateway.of(RepairsWanted)) == 1


# --- death ------------------------------------------------------------------------------------------------------------
def test_a_dead_actor_is_restarted_after_its_backoff_and_refilled_by_the_watchers() -> None:
    """Without an API call: a subscription is answered from the records."""
    town = Town(HOME, AWAY)
    town.want(HOME, AWAY)
    town.kill()
    assert town.phase() == "down"
    town.world.run_for(0.2)

    assert (town.phase(), town.lives(), town.lives(AWAY)) == ("awake", ["start 1", "start 2"], ["start 1"])
    assert town.subscribed()[2:] == [("home", True)]


def test_one_that_spends_its_budget_is_quarantined_and_its_parent_says_so() -> None:
    """Ready=False, reason Quarantined; the rest of the status stands; siblings do not notice."""
    town = Town(HOME, AWAY)
    town.want(AWAY)
    town.quarantine()

    (wish,) = town.status.of(StatusWanted)
    (condition,) = wish.status["conditions"]
    assert (wish.parent, wish.uid, wish.version, wish.status["total"]) == (HOME, "u", 5, 3)
    assert (condition["type"], condition["status"], condition["reason"]) == ("Ready", "False", "Quarantined")
    assert "poisoned" in condition["message"]
    (event,) = town.status.of(EventWanted)
    assert (event.parent, event.uid, event.note.type, event.note.reason) == (HOME, "u", "Warning", "Quarantined")
    assert event.note.note == condition["message"]
    assert [fact.deaths for fact in town.world.seen(ActorQuarantined)] == [3]
    assert town.lives(AWAY) == ["start 1"]
    assert town.given_up == []


@pytest.mark.parametrize("by", ["spec", "command", "probe"])
def test_it_leaves_quarantine_on_a_spec_change_a_command_or_a_probe(by: str) -> None:
    """With a clean slate."""
    town = Town(HOME)
    town.quarantine()
    starts = len(town.lives())
    town.poisoned.clear()
    town.want(HOME)
    town.world.run_for(10.0)
    assert len(town.lives()) == starts  # a change of a child alone does not let it out

    if by == "spec":
        town.want(HOME, spec_changed=True)
    elif by == "command":
        town.tell(Released(parent=HOME, by="command"))
    else:
        town.world.run_for(PROBE_AFTER_S)
    assert town.phase() == "awake"
    assert len(town.lives()) == starts + 1
    assert [fact.by for fact in town.world.seen(ActorReleased)] == [by]
    assert [event.note.reason for event in town.status.of(EventWanted)] == ["Quarantined", "Released"]
    assert by in town.status.of(EventWanted)[-1].note.note
    assert town.subscribed()[-1] == ("home", True)
    town.kill()
    assert town.phase() == "down"  # not quarantined at its first death


def test_one_that_is_still_poisonous_is_quarantined_again_and_probed_again() -> None:
    """For ever, at the probe's pace."""
    town = Town(HOME)
    town.quarantine()
    town.world.run_for(2 * PROBE_AFTER_S + 60.0)

    assert town.phase() == "quarantined"
    assert len(town.world.seen(ActorQuarantined)) == 3


@pytest.mark.parametrize("state", [StatusState.CONFLICT, StatusState.REFUSED])
def test_a_condition_that_was_not_taken_is_told_again_from_the_newer_record(state: StatusState) -> None:
    """Its own actor cannot say it."""
    town = Town(HOME)
    town.quarantine()
    (wish,) = town.status.of(StatusWanted)
    town.create(HOME, version=6)
    town.tell(StatusAnswered(sequence=wish.sequence, state=state))
    town.world.run_for(CONDITION_RETRY_S)

    assert [m.version for m in town.status.of(StatusWanted)] == [5, 6]
    written = Written(version=7, status={})
    town.tell(StatusAnswered(sequence=town.status.told[-1].sequence, state=StatusState.WRITTEN, written=written))
    town.world.run_for(60.0)
    assert len(town.status.of(StatusWanted)) == 2


def test_the_spec_that_would_let_it_out_is_sought_by_a_list_when_its_event_is_lost() -> None:
    """The status that says "quarantined" is in conflict then, and nothing else would tell us."""
    town = Town(HOME)
    town.want(HOME)
    town.quarantine()
    for _ in range(20):
        town.tell(StatusAnswered(sequence=town.status.of(StatusWanted)[-1].sequence, state=StatusState.CONFLICT))
        town.world.run_for(CONDITION_RETRY_S)

    assert len(town.watchers["Cluster"].of(RelistWanted)) == 2
    assert town.watchers["ComputeNode"].of(RelistWanted) == []


def test_failures_of_many_distinct_actors_at_once_escalate() -> None:
    """DESIGN §4: it is not them."""
    keys = [ParentKey("d", f"c{n}") for n in range(30)]
    town = Town(*keys)
    town.want(*keys)
    for key in keys[:10]:
        town.kill(key)
    assert town.given_up == []

    town.kill(keys[10])
    assert len(town.given_up) == 1
    assert "11 of 30" in town.given_up[0]
    assert len(town.world.seen(Escalated)) == 1


def test_one_poisonous_parent_never_escalates() -> None:
    """However often it dies."""
    town = Town(HOME, AWAY)
    town.want(AWAY)
    town.quarantine()
    town.world.run_for(20 * PROBE_AFTER_S)

    assert town.given_up == []


def test_when_the_gateway_or_the_status_actor_dies_everybody_asks_again() -> None:
    """They lost their memory; a quarantined parent's condition is told again by us."""
    town = Town(HOME, AWAY)
    town.want(AWAY)
    town.quarantine()
    town.tell(Down(name="gateway", incarnation=1, reason="crashed"))

    assert AskAgain(lost="gateway") in town.lives(AWAY)
    assert len(town.status.of(StatusWanted)) == 2


# --- the directory's own restart --------------------------------------------------------------------------------------
def test_a_new_incarnation_adopts_the_actors_that_run_and_asks_for_what_it_may_have_missed() -> None:
    """The roster for parents it never heard of, everybody's wish for a Down it never saw, readiness from the watchers."""
    town = Town(HOME)
    town.want(HOME)
    ref = town.ref()
    town.crash()

    assert (town.phase(), town.ref()) == ("awake", ref)
    assert town.lives() == ["start 1", AskAgain()]
    assert [len(watcher.of(RosterWanted)) for watcher in town.watchers.values()] == [1, 1]
    assert town.subscribed()[-1] == ("home", True)


def test_an_actor_that_died_meanwhile_is_restarted_by_the_new_incarnation() -> None:
    """It is told the Down that its predecessor died of, or missed."""
    town = Town(HOME)
    town.want(HOME)
    town.tell("nonsense")
    town.kill()
    town.tell(Resume())
    town.world.run_for(1.0)

    assert (town.phase(), town.lives()[:2]) == ("awake", ["start 1", "start 2"])


def test_an_actor_that_ended_meanwhile_is_not_adopted() -> None:
    """The Down that told of its end may have been what killed the predecessor: its parent would have a dead actor for ever."""
    town = Town(HOME)
    town.want(HOME)
    old = town.ref()
    town.tell("nonsense")
    old.stop()
    town.world.settle()
    cell: Any = town.cell._actor_weakref()
    cell.actor_inbox._control.clear()  # the Down is lost
    town.tell(Resume())
    town.want(HOME)

    assert town.lives() == ["start 1", "stop", "start 1"]
    assert town.ref() != old


def test_a_death_counts_once_however_often_the_directory_was_restarted() -> None:
    """S1: exactly once. It is the child's supervisor and has asked to watch it: two of each Down would halve the budget."""
    town = Town(HOME)
    town.want(HOME)
    town.crash()
    town.crash()
    for _ in range(2):
        town.kill()
        town.world.run_for(2.0)

    assert (town.phase(), len(town.world.seen(ActorQuarantined))) == ("awake", 0)
    town.kill()
    assert town.phase() == "quarantined"


def test_a_parent_that_went_while_the_directory_was_down_is_closed() -> None:
    """Its ParentGone may have been what killed the predecessor."""
    town = Town(HOME)
    town.want(HOME)
    del town.store.parents[HOME]
    town.crash()

    assert (town.phase(), town.lives()[-1]) == ("none", "stop")


def test_stopping_the_directory_stops_its_actors() -> None:
    """Or they would act, and keep timers, after the tree has ended."""
    town = Town(HOME, AWAY)
    town.want(HOME, AWAY)
    refs = [town.ref(HOME), town.ref(AWAY)]
    town.cell.stop()
    town.world.settle()

    assert [ref.is_alive() for ref in refs] == [False, False]
    assert town.lives() == ["start 1", "stop"]


def test_last_mail_is_none_of_the_directorys() -> None:
    """An unknown message raises: programmer errors are not swallowed."""
    town = Town()
    town.tell(LastMail(kind="x"))

    assert [down.reason for down in town.boss.of(Down)] == ["crashed"]


# --- a person's commands ----------------------------------------------------------------------------------------------
def test_a_pause_is_kept_for_the_parent_and_its_actor_looks() -> None:
    """One that sleeps is woken, or its status would not say so."""
    town = Town(HOME)
    town.tell(PauseWanted(parent=HOME, until_s=50.0))

    assert town.pauses == {HOME: 50.0}
    assert town.lives() == ["start 1", LookAgain()]

    town.tell(PauseWanted(parent=HOME, until_s=0.0))

    assert town.pauses == {}


def test_pauses_that_are_over_are_forgotten_with_the_next() -> None:
    town = Town(HOME, AWAY)
    town.tell(PauseWanted(parent=HOME, until_s=1.0))
    town.world.run_for(2.0)
    town.tell(PauseWanted(parent=AWAY, until_s=50.0))

    assert town.pauses == {AWAY: 50.0}


def test_who_is_asked_to_look_is_told_so_and_one_that_is_not_there_is_not_made() -> None:
    town = Town(HOME)
    town.want(HOME)
    town.tell(LookWanted(parent=HOME), LookWanted(parent=AWAY))

    assert town.lives(AWAY) == []
    assert sum(isinstance(each, LookAgain) for _, each in town.log) == 1
