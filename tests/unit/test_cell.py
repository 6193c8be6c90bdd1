"""A supervised cell: what its behaviour's death looks like from outside, and what of a dead incarnation still arrives."""

from __future__ import annotations

import gc
import weakref
from typing import Any, ClassVar

import pytest
from pykka import ActorDeadError

from actors.actor import Behaviour, Cell, Context, Look, Monitor, Park, Restart, Resume, Stop
from actors.core.events import ActorCrashed, ActorRestarted, DeadLettered
from actors.core.model import Child
from actors.core.ports import Later, Objects, Outcome
from actors.mailbox import HELD_MESSAGES_MAX, using
from actors.messages import Down, Lane
from actors.sim.world import BlockingAskForbidden, World


class Recorder(Behaviour):
    """Notes what it gets; raises when told to."""

    def __init__(self, ctx: Context, log: list[Any]) -> None:
        super().__init__(ctx)
        self.log = log

    def on_start(self) -> None:
        self.log.append(("start", self.ctx.incarnation))

    def on_receive(self, message: Any) -> Any:
        if message == "raise":
            raise ValueError("asked to")
        if callable(message):
            return message(self)
        self.log.append(message)
        return "answer"

    def on_stop(self) -> None:
        self.log.append("stop")


class Boss(Behaviour):
    """A supervisor that only notes."""

    def __init__(self, ctx: Context, downs: list[Down]) -> None:
        super().__init__(ctx)
        self.downs = downs

    def on_receive(self, message: Any) -> Any:
        self.downs.append(message)


class Stage:
    """One world with a boss and a recorder under it."""

    def __init__(self) -> None:
        self.world = World(seed=3)
        self.log: list[Any] = []
        self.downs: list[Down] = []
        with using(self.world):
            self.boss = Cell.start(name="boss", factory=lambda ctx: Boss(ctx, self.downs))
            self.ref = Cell.start(name="it", factory=lambda ctx: Recorder(ctx, self.log), supervisor=self.boss)
        self.world.settle()

    def tell(self, *messages: Any) -> None:
        """Tell each and let it be handled (control mail would overtake the others)."""
        for message in messages:
            self.ref.tell(message)
            self.world.settle()


@pytest.fixture
def stage() -> Stage:
    """A fresh one."""
    return Stage()


def test_a_crash_is_told_once_and_mail_is_kept_for_the_next_incarnation(stage: Stage) -> None:
    """Senders never see a death, and nothing behind the poison message is lost."""
    stage.tell("a", "raise", "b", "c")

    assert stage.log == [("start", 1), "a"]
    assert [(down.name, down.incarnation, down.reason) for down in stage.downs] == [("it", 1, "crashed")]
    assert "asked to" in stage.downs[0].traceback

    stage.tell(Resume())

    assert stage.log == [("start", 1), "a", ("start", 2), "b", "c"]
    assert len(stage.world.seen(ActorCrashed)) == len(stage.world.seen(ActorRestarted)) == 1
    poison = stage.world.seen(DeadLettered)[0]
    assert (poison.actor, poison.message, poison.reason) == ("it", "str", "poison")


def test_a_failing_ask_answers_the_asker_and_restarts_nothing(stage: Stage) -> None:
    """DESIGN §3: asking is for tests and the shell; it must not be able to do harm."""
    with pytest.raises(ValueError, match="asked to"):
        stage.ref.ask("raise")

    assert stage.downs == []
    assert stage.ref.ask("x") == "answer"


def test_timers_and_replies_of_a_dead_incarnation_never_arrive(stage: Stage) -> None:
    """Checklist S8: every timer, callback and reply carries the incarnation it belongs to."""
    stage.tell(lambda it: it.ctx.schedule("t", 1.0, "timer of 1"))
    stage.tell(lambda it: it.ctx.run("status", lambda: Later(1.0, lambda: 7), lambda outcome: ("reply of 1", outcome)))
    stage.tell("raise", Resume())
    stage.tell(lambda it: it.ctx.schedule("t", 1.0, "timer of 2"))

    stage.world.run_for(5.0)

    assert stage.log == [("start", 1), ("start", 2), "timer of 2"]


def test_a_reply_arrives_as_a_message_with_its_outcome(stage: Stage) -> None:
    """Blocking calls run elsewhere; value and error both come back."""

    def fail() -> int:
        raise KeyError("no")

    stage.tell(lambda it: it.ctx.run("status", lambda: 7, lambda outcome: outcome))
    stage.tell(lambda it: it.ctx.run("status", fail, lambda outcome: outcome))

    good, bad = stage.log[1:]
    assert good == Outcome(7, None)
    assert isinstance(bad.error, KeyError)


def test_scheduling_a_key_again_replaces_it_and_cancel_takes_it_back(stage: Stage) -> None:
    """One timer per key, even when the earlier one has gone off and waits in the mailbox."""

    def twice(it: Recorder) -> None:
        it.ctx.schedule("k", 0.0, "first")
        stage.world.after(0.0, lambda: None)
        it.ctx.schedule("k", 0.5, "second")
        it.ctx.schedule("gone", 0.5, "never")
        it.ctx.cancel("gone")

    stage.tell(twice)
    stage.world.run_for(2.0)

    assert stage.log[1:] == ["second"]


def test_a_constructor_that_raises_is_a_death_like_any_other() -> None:
    """Checklist S1: constructor, on_start and message count alike."""
    world, downs, tries = World(), list[Down](), list[int]()

    def factory(ctx: Context) -> Behaviour:
        tries.append(ctx.incarnation)
        if len(tries) < 3:
            raise RuntimeError("not yet")
        return Recorder(ctx, [])

    with using(world):
        boss = Cell.start(name="boss", factory=lambda ctx: Boss(ctx, downs))
        ref = Cell.start(name="it", factory=factory, supervisor=boss)
    world.settle()
    for _ in range(2):
        ref.tell(Resume())
        world.settle()

    assert tries == [1, 2, 3]
    assert [down.incarnation for down in downs] == [1, 2]
    assert ref.ask("x") == "answer"


def test_quarantine_answers_asks_and_keeps_tells(stage: Stage) -> None:
    """Nobody waits for ever on an actor that stays down."""
    stage.tell("raise")
    waiting = stage.ref.ask("x", block=False)
    stage.tell(Park())

    with pytest.raises(ActorDeadError):
        waiting.get(timeout=0)
    with pytest.raises(ActorDeadError):
        stage.ref.ask("y")
    stage.tell("kept", Resume())
    assert stage.log[-1] == "kept"
    assert stage.ref.ask("z") == "answer"


def test_ordinary_mail_of_a_held_actor_is_bounded_and_drops_the_oldest(stage: Stage) -> None:
    """Memory grows only with the number of objects, whoever is down for however long."""
    stage.tell("raise")

    for n in range(HELD_MESSAGES_MAX + 5):
        stage.ref.tell(n)
    stage.tell(Resume())

    assert stage.log[2] == 5
    assert sum(fact.reason == "overflow" for fact in stage.world.seen(DeadLettered)) == 5


def test_a_small_mailbox_keeps_the_order_and_the_bound(stage: Stage) -> None:
    """One of very many actors: a list where others have a deque, and nothing else differs."""
    log: list[Any] = []
    with using(stage.world):
        ref = Cell.start(name="small", factory=lambda ctx: Recorder(ctx, log), supervisor=stage.ref, small=True)
    stage.world.settle()
    ref.tell("raise")
    stage.world.settle()
    for n in range(HELD_MESSAGES_MAX + 5):
        ref.tell(n)
    ref.tell(Resume())
    stage.world.settle()

    assert log == [("start", 1), ("start", 2), *range(5, HELD_MESSAGES_MAX + 5)]


class Letter:
    """A message whose end can be seen."""


def test_an_actor_at_rest_keeps_no_message(stage: Stage) -> None:
    """What hangs on the last one (a status, all records of a parent) would stay for as long as nothing happens."""
    letter = Letter()
    seen = weakref.ref(letter)
    stage.ref.tell(letter)
    del letter
    assert seen() is not None
    stage.world.settle()
    assert isinstance(stage.log.pop(), Letter)
    gc.collect()
    assert seen() is None


def test_a_monitor_hears_of_a_death_and_of_one_that_is_past(stage: Stage) -> None:
    """Checklist S9: exactly one Down, immediately if it is down already."""
    heard: list[Down] = []
    with using(stage.world):
        late = Cell.start(name="late", factory=lambda ctx: Boss(ctx, heard))
    stage.tell("raise")
    stage.tell(Monitor(late))

    assert [down.incarnation for down in heard] == [1]
    stage.tell(Resume(), Stop())
    assert [down.reason for down in heard] == ["crashed", "stopped"]


class Note:
    """Control mail for a behaviour."""

    lane: ClassVar[Lane] = Lane.CONTROL


def test_control_mail_reaches_the_next_incarnation(stage: Stage) -> None:
    """Checklist S7: a small stash; losing requests cost 10 s stalls in a trial."""
    note = Note()
    stage.tell("raise", note)

    stage.tell(Resume())

    assert stage.log[-1] is note


def test_a_blocking_ask_inside_a_turn_is_an_error_in_simulation(stage: Stage) -> None:
    """Checklist S15: tell, never ask, between actors."""
    with using(stage.world):
        other = Cell.start(name="other", factory=lambda ctx: Recorder(ctx, []))

    with pytest.raises(BlockingAskForbidden):
        stage.ref.ask(lambda it: other.ask("x"))


def _child(uid: str, version: int) -> Child:
    return Child(kind="K", namespace="n", name=uid, uid=uid, version=version, parent=None)


def test_object_mail_coalesces_newest_wins_and_a_replacement_forgets(stage: Stage) -> None:
    """Memory is bounded by the number of objects, however slow the receiver."""
    stage.tell("raise")  # held: everything below waits

    stage.ref.tell(Objects(kind="K", entries={"a": _child("a", 1), "b": _child("b", 1)}))
    stage.ref.tell(Objects(kind="K", entries={"a": _child("a", 2), "c": None}))
    stage.ref.tell(Objects(kind="L", entries={"x": _child("x", 1)}))
    stage.ref.tell(Objects(kind="L", entries={"y": _child("y", 1)}, replace=True))
    stage.ref.tell(Objects(kind="L", entries={"y": None, "z": _child("z", 1)}))
    stage.tell("after", Resume())

    first, second, after = stage.log[-3:]
    assert first.entries == {"a": _child("a", 2), "b": _child("b", 1), "c": None}
    assert not first.replace
    assert second.replace
    assert second.entries == {"y": None, "z": _child("z", 1)}
    assert after == "after"


def test_mail_of_an_older_epoch_does_not_undo_a_newer_one(stage: Stage) -> None:
    """A reader that was replaced may still deliver."""
    stage.tell("raise")

    stage.ref.tell(Objects(kind="K", entries={"new": _child("new", 9)}, replace=True, epoch=2))
    stage.ref.tell(Objects(kind="K", entries={"old": _child("old", 1)}, epoch=1))
    stage.tell(Resume())

    assert stage.log[-1].entries == {"new": _child("new", 9)}


def test_senders_dicts_are_not_changed_by_coalescing(stage: Stage) -> None:
    """Messages are immutable to everybody but the mailbox's own copy."""
    mine: dict[str, Any] = {"a": _child("a", 1)}
    stage.tell("raise")

    stage.ref.tell(Objects(kind="K", entries=mine))
    stage.ref.tell(Objects(kind="K", entries={"b": _child("b", 1)}))

    assert list(mine) == ["a"]


def test_a_deadline_is_handled_after_all_object_mail_that_was_there_before_it(stage: Stage) -> None:
    """Promise *atomic*: and no flood of object mail can starve the deadline."""
    stage.tell("raise")
    for kind in "ABC":
        stage.ref.tell(Objects(kind=kind, entries={kind: _child(kind, 1)}))
    stage.ref.tell("deadline")
    stage.tell(Resume())

    assert [getattr(m, "kind", m) for m in stage.log[-4:]] == ["A", "B", "C", "deadline"]


def test_a_deadline_does_not_overtake_object_mail_in_a_later_turn(stage: Stage) -> None:
    """Nor when an earlier turn ended with object mail: each message is judged by who came first."""
    stage.tell(Objects(kind="A", entries={"a": _child("a", 1)}))

    stage.ref.tell(Objects(kind="B", entries={"b": _child("b", 1)}))
    stage.ref.tell("deadline")
    stage.world.settle()

    assert [getattr(m, "kind", m) for m in stage.log[-3:]] == ["A", "B", "deadline"]


def test_a_flood_of_object_mail_does_not_starve_a_deadline(stage: Stage) -> None:
    """An actor that gets new object mail while it handles object mail still comes to its timers."""

    class Flooded(Behaviour):
        def __init__(self, ctx: Context) -> None:
            super().__init__(ctx)
            self.rounds = 0

        def on_receive(self, message: Any) -> Any:
            if isinstance(message, Objects):
                self.rounds += 1
                assert self.rounds < 100, "starved"
                self.ctx.tell(self.ctx.ref, message)
            else:
                stage.log.append(self.rounds)
                self.ctx.stop()

    with using(stage.world):
        ref = Cell.start(name="flooded", factory=Flooded)
    for kind in "AB":
        ref.tell(Objects(kind=kind, entries={}))
    ref.tell("deadline")
    stage.world.settle()

    assert stage.log[-1] == 2 + 2  # what was there before it, and what was there when its turn came


def test_the_same_seed_gives_the_same_trace_and_another_seed_another() -> None:
    """A simulation that cannot be repeated finds nothing."""

    def run(seed: int) -> str:
        world, refs = World(seed), list[Any]()

        class Gossip(Behaviour):
            def on_receive(self, message: Any) -> Any:
                if message:
                    self.ctx.tell(refs[int(self.ctx.random.random() * len(refs))], message - 1)
                    self.ctx.schedule("t", self.ctx.random.random(), 0)

        with using(world):
            refs.extend(Cell.start(name=f"g{n}", factory=Gossip) for n in range(5))
        for ref in refs:
            ref.tell(20)
        world.run_for(10.0)
        return world.trace_hash()

    assert {run(7) for _ in range(5)} == {run(7)}
    assert run(7) != run(8)


def test_a_supervisor_that_watches_as_well_hears_of_each_death_once(stage: Stage) -> None:
    """Found by the simulator: told twice of an end, the directory made two actors for one parent."""
    stage.tell(Monitor(stage.boss), "raise", Resume(), Stop())

    assert [(down.reason, down.incarnation) for down in stage.downs] == [("crashed", 1), ("stopped", 2)]


def test_who_raises_in_its_last_act_is_still_told_to_have_stopped(stage: Stage) -> None:
    """Found by the simulator: its supervisor waits for the end before it starts another of that name."""

    def last_act() -> None:
        raise ValueError("at the very end")

    stage.tell(lambda recorder: recorder.__dict__.update(on_stop=last_act), Stop())

    assert [(down.reason, down.incarnation) for down in stage.downs] == [("stopped", 1)]
    assert [(fact.poison, fact.error) for fact in stage.world.seen(ActorCrashed)] == [
        ("on_stop", "ValueError: at the very end")
    ]
    assert not stage.ref.is_alive()


# --- the shell's messages ---------------------------------------------------------------------------------------------
def test_a_restart_that_is_asked_for_is_a_death_with_its_reason_and_loses_no_mail(stage: Stage) -> None:
    stage.tell("a", Restart("uid 0: stuck"), "b", Resume())

    assert stage.log == [("start", 1), "a", ("start", 2), "b"]
    assert [(down.reason, down.error) for down in stage.downs] == [("crashed", "restart asked for: uid 0: stuck")]


def test_a_look_is_taken_on_the_actors_own_thread_before_other_mail_and_also_while_it_is_down(stage: Stage) -> None:
    stage.ref.tell("a")

    assert stage.ref.ask(Look(lambda behaviour: (type(behaviour).__name__, list(stage.log)))) == (
        "Recorder", [("start", 1)],
    )  # fmt: skip

    stage.tell("raise")

    assert stage.ref.ask(Look(lambda behaviour: behaviour)) is None
