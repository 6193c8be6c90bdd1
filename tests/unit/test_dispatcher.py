"""The dispatcher on threads: what only real threads can show. (What actors do on it is in test_cell and test_pykka_parity.)"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from actors.actor import Behaviour, Cell, Context, Resume
from actors.core.events import ActorCrashed, ActorWedged, Fact
from actors.core.ports import Outcome
from actors.edge.dispatcher import LEAKED_MAX, ThreadDispatcher
from actors.mailbox import TURN_MESSAGES_MAX, using
from actors.messages import Down


def wait_for(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
    """Look often; a hang is a failure."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"nothing within {timeout_s} s"
        time.sleep(0.005)


class Stage:
    """A dispatcher that thinks a message wedged after 0.3 s, and what it says."""

    def __init__(self, workers: int = 2, wedge_after_s: float = 0.3) -> None:
        self.facts: list[Fact] = []
        self.fatal: list[tuple[str, BaseException]] = []
        self.release, self.hung = threading.Event(), threading.Event()
        self.dispatcher = ThreadDispatcher(
            workers=workers,
            facts=self.facts.append,
            pools={"small": 2},
            wedge_after_s=wedge_after_s,
            vital=("vital",),
            on_fatal=lambda actor, error: self.fatal.append((actor, error)),
        )
        self.dispatcher.start()
        self.log: list[Any] = []
        with using(self.dispatcher):
            self.boss = Cell.start(name="boss", factory=Restarter)

    def cell(self, name: str = "it") -> Any:
        with using(self.dispatcher):
            ref = Cell.start(name=name, factory=lambda ctx: Sticky(ctx, self), supervisor=self.boss)
        self.boss.tell((name, ref))
        return ref

    def seen(self, kind: type[Fact]) -> list[Any]:
        return [fact for fact in self.facts if isinstance(fact, kind)]


class Restarter(Behaviour):
    """Resumes whoever goes down."""

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        self.refs: dict[str, Any] = {}

    def on_receive(self, message: Any) -> Any:
        if isinstance(message, Down):
            self.refs[message.name].tell(Resume())
        else:
            self.refs[message[0]] = message[1]


class Sticky(Behaviour):
    """Hangs on "hang" until released; then tries to go on as if nothing had happened."""

    def __init__(self, ctx: Context, stage: Stage) -> None:
        super().__init__(ctx)
        self.stage = stage

    def on_receive(self, message: Any) -> Any:
        if message == "hang":
            self.stage.hung.set()
            self.stage.release.wait(30)
            self.ctx.tell(self.ctx.ref, "from the dead")
            self.ctx.schedule("t", 0.0, "timer of the dead")
            raise ValueError("late")
        self.stage.log.append((self.ctx.incarnation, message))
        return self.ctx.incarnation


@pytest.fixture
def stage() -> Iterator[Stage]:
    """A fresh one; its threads end."""
    made = Stage()
    yield made
    made.release.set()
    assert made.dispatcher.stop(30.0) == []


def test_a_wedged_incarnation_is_fenced_off_and_another_goes_on(stage: Stage) -> None:
    """Python cannot kill a thread: the cell must be taken from it, and what it does later must not count."""
    ref = stage.cell()
    ref.tell("hang")
    ref.tell("next")

    wait_for(lambda: stage.log == [(2, "next")])

    assert [(fact.actor, fact.message) for fact in stage.seen(ActorWedged)] == [("it", "str")]
    assert stage.dispatcher.statistics()["leaked_threads"] == 1
    ((thread, *lost, since_s),) = stage.dispatcher.given_up()
    assert lost == ["it", "str"]
    assert since_s < stage.dispatcher.clock.now()
    assert thread not in [each for each, _ in stage.dispatcher.at_work()]
    stage.release.set()
    wait_for(lambda: not stage.dispatcher.given_up())
    time.sleep(0.1)
    assert ref.ask("still", timeout=30) == 2
    assert stage.log == [(2, "next"), (2, "still")]
    assert len(stage.seen(ActorCrashed)) == 1, "the wedge is one death; the late raise is none"
    assert stage.fatal == []


def test_a_wedge_in_a_vital_actor_ends_the_process(stage: Stage) -> None:
    """Without the gateway, the directory or the root nothing works: a fresh process is better."""
    stage.cell("vital").tell("hang")

    wait_for(lambda: bool(stage.fatal))

    assert stage.fatal[0][0] == "vital"


def test_too_many_leaked_threads_end_the_process(stage: Stage) -> None:
    """Each costs memory and hides a bug that is not passing."""
    for number in range(LEAKED_MAX):
        stage.cell(f"it-{number}").tell("hang")

    wait_for(lambda: bool(stage.fatal))

    assert len(stage.seen(ActorWedged)) == LEAKED_MAX


def test_a_vital_actor_goes_before_all_who_wait_and_they_go_on_beside_it() -> None:
    """The next batch call does not wait for the reconciles of a hundred parents, nor they for all the gateway's mail."""
    stage = Stage(workers=1, wedge_after_s=30.0)
    others, vital, blocker = (
        [stage.cell(f"it-{number}") for number in range(20)],
        stage.cell("vital"),
        stage.cell("blocker"),
    )
    vital.ask("started", timeout=30)
    for ref in (*others, blocker):
        ref.ask("started", timeout=30)
    stage.log.clear()
    blocker.tell("hang")
    assert stage.hung.wait(30)
    for ref in others:
        ref.tell("other")
    turns = 4
    for _ in range(turns * TURN_MESSAGES_MAX):
        vital.tell("vital")

    stage.release.set()
    wait_for(lambda: len(stage.log) >= len(others) + turns * TURN_MESSAGES_MAX)

    said = [message for _, message in stage.log if message in ("other", "vital")]
    assert said[:TURN_MESSAGES_MAX] == ["vital"] * TURN_MESSAGES_MAX
    assert "other" in said[TURN_MESSAGES_MAX : 2 * TURN_MESSAGES_MAX + 1]
    assert stage.dispatcher.stop(30.0) == []


def test_timers_fire_in_order_and_can_be_cancelled(stage: Stage) -> None:
    """One heap, one thread, and a cancelled timer never fires."""
    fired: list[str] = []
    stage.dispatcher.after(0.10, lambda: fired.append("second"))
    stage.dispatcher.after(0.05, lambda: fired.append("first"))
    cancel = stage.dispatcher.after(0.07, lambda: fired.append("never"))
    cancel()
    stage.dispatcher.after(0.15, lambda: fired.append("last"))

    wait_for(lambda: "last" in fired)

    assert fired == ["first", "second", "last"]


def test_many_cancelled_timers_do_not_stay(stage: Stage) -> None:
    """A debounce that is put off a million times must not fill the heap."""
    for _ in range(5000):
        stage.dispatcher.after(3600.0, lambda: None)()

    timers = stage.dispatcher.statistics()["timers"]
    assert isinstance(timers, int)
    assert timers < 2500


def test_a_pool_runs_no_more_calls_at_once_than_it_has_threads(stage: Stage) -> None:
    """The executor is bounded; what waits is run in order."""
    running, most, done = [0], [0], list[Outcome[Any]]()
    lock, pair = threading.Lock(), threading.Barrier(2)

    def call() -> int:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        pair.wait(30)  # two at once there must be
        time.sleep(0.02)
        with lock:
            running[0] -= 1
        return 7

    for _ in range(10):
        stage.dispatcher.submit("small", call, done.append)

    wait_for(lambda: len(done) == 10)
    assert most[0] == 2
    assert {outcome.value for outcome in done} == {7}


def test_a_call_that_raises_is_an_outcome(stage: Stage) -> None:
    """Whatever it raises, the actor that asked must get an answer."""
    done: list[Outcome[Any]] = []

    def call() -> None:
        raise SystemExit(3)

    stage.dispatcher.submit("small", call, done.append)

    wait_for(lambda: bool(done))
    assert isinstance(done[0].error, SystemExit)


def test_what_does_not_end_is_named() -> None:
    """The unstopped report of a shutdown."""
    dispatcher = ThreadDispatcher(workers=1, pools={"slow": 1})
    dispatcher.start()
    release = threading.Event()
    dispatcher.submit("slow", lambda: release.wait(30), lambda outcome: None)

    assert dispatcher.stop(2.0) == ["muster-slow-0"]  # and the others have ended by then, on a slow machine too
    release.set()
