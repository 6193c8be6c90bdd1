"""An unsupervised actor behaves as pykka documents: the same cases on pykka's own threads, ours, and the simulation."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pykka
import pytest
from attrs import frozen
from pykka import ActorDeadError, ActorRegistry

from actors.actor import Actor
from actors.edge.dispatcher import ThreadDispatcher
from actors.mailbox import using
from actors.sim.world import World


@frozen
class Runtime:
    """What a case needs of a runtime."""

    name: str
    base: type[pykka.Actor]
    settle: Callable[[Callable[[], bool]], None]


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "nothing happened within 30 s"
        time.sleep(0.002)


@pytest.fixture(params=["pykka", "threads", "simulated"])
def runtime(request: pytest.FixtureRequest) -> Iterator[Runtime]:
    """The runtime under test; every actor is stopped afterwards."""
    if request.param == "pykka":
        yield Runtime("pykka", pykka.ThreadingActor, _wait)
        ActorRegistry.stop_all()
        return
    dispatcher: Any
    if request.param == "threads":
        dispatcher = ThreadDispatcher(workers=2)
        dispatcher.start()
        settle = _wait
    else:
        dispatcher = World(seed=1)

        def settle(condition: Callable[[], bool]) -> None:
            dispatcher.settle()
            assert condition()

    with using(dispatcher):
        yield Runtime(request.param, Actor, settle)
        ActorRegistry.stop_all()
    if request.param == "threads":
        assert dispatcher.stop() == []


def _actor_class(runtime: Runtime) -> Any:
    class Probing:
        def __init__(self, log: list[Any], fail_in: str = "") -> None:
            super().__init__()
            self.log = log
            self.fail_in = fail_in
            self.field = 1

        def on_start(self) -> None:
            self.log.append("start")
            if self.fail_in == "start":
                raise ValueError("start")

        def on_stop(self) -> None:
            self.log.append("stop")
            if self.fail_in == "stop":
                raise ValueError("stop")

        def on_failure(self, exception_type: Any, exception_value: Any, traceback: Any) -> None:
            self.log.append(("failure", exception_type))

        def on_receive(self, message: Any) -> Any:
            if message == "raise":
                raise ValueError("asked to")
            if message == "base":
                raise SystemExit(3)
            self.log.append(message)
            return ("got", message)

        def method(self, n: int) -> int:
            return n + self.field

    return type("Probe", (Probing, runtime.base), {})


def test_messages_are_handled_in_order_and_asks_are_answered(runtime: Runtime) -> None:
    """First come, first served, tells and asks alike."""
    log: list[Any] = []
    ref = _actor_class(runtime).start(log)

    for n in range(100):
        ref.tell(n)
    answer = ref.ask("last")

    assert answer == ("got", "last")
    assert log == ["start", *range(100), "last"]


def test_a_proxy_reads_writes_and_calls(runtime: Runtime) -> None:
    """Proxies are asks underneath and must work unchanged."""
    proxy = _actor_class(runtime).start([]).proxy()

    proxy.field = 41

    assert proxy.field.get() == 41
    assert proxy.method(1).get() == 42


def test_futures_map_join_and_reduce(runtime: Runtime) -> None:
    """Derived futures are built by calling the future's class without arguments."""
    ref = _actor_class(runtime).start([])
    one, two = ref.ask(1, block=False), ref.ask(2, block=False)

    assert one.map(lambda answer: answer[1] + 10).get() == 11
    assert one.join(two).get() == [("got", 1), ("got", 2)]


def test_a_failing_ask_goes_to_the_asker_and_the_actor_lives(runtime: Runtime) -> None:
    """As documented: on_failure is not called for an ask."""
    log: list[Any] = []
    ref = _actor_class(runtime).start(log)

    with pytest.raises(ValueError, match="asked to"):
        ref.ask("raise")

    assert ref.ask("next") == ("got", "next")
    assert log == ["start", "next"]


def test_a_failing_tell_kills_and_calls_on_failure(runtime: Runtime) -> None:
    """As documented: on_failure instead of on_stop; the registry forgets; a tell to the dead raises."""
    log: list[Any] = []
    ref = _actor_class(runtime).start(log)

    ref.tell("raise")
    runtime.settle(lambda: not ref.is_alive() and ("failure", ValueError) in log)

    assert "stop" not in log
    assert ActorRegistry.get_by_urn(ref.actor_urn) is None
    with pytest.raises(ActorDeadError):
        ref.tell("x")
    with pytest.raises(ActorDeadError):
        ref.ask("x")


def test_a_raise_in_on_start_stops_the_actor_without_on_failure(runtime: Runtime) -> None:
    """As documented: it is only logged, and the actor stops."""
    log: list[Any] = []
    ref = _actor_class(runtime).start(log, fail_in="start")

    runtime.settle(lambda: not ref.is_alive())

    assert log == ["start"]


def test_stop_handles_what_came_before_it_and_refuses_what_comes_after(runtime: Runtime) -> None:
    """Stop is a message like any other; later asks get ActorDeadError."""
    log: list[Any] = []
    ref = _actor_class(runtime).start(log)
    ref.tell("before")

    stopped = ref.stop(block=False)
    late = ref.ask("after", block=False)

    assert stopped.get() is True
    with pytest.raises(ActorDeadError):
        late.get()
    assert log == ["start", "before", "stop"]
    assert ref.stop() is False


def test_the_registry_finds_by_class_name_and_urn(runtime: Runtime) -> None:
    """The registry is pykka's own."""
    ref = _actor_class(runtime).start([])

    assert ActorRegistry.get_by_urn(ref.actor_urn) == ref
    assert ref in ActorRegistry.get_by_class_name("Probe")
    ActorRegistry.broadcast("all", "Probe")
    assert ref.ask("x") == ("got", "x")


def test_an_unknown_proxy_attribute_raises_at_the_asker(runtime: Runtime) -> None:
    """As documented for proxies."""
    proxy = _actor_class(runtime).start([]).proxy()

    with pytest.raises(AttributeError):
        proxy.nothing  # noqa: B018 - reading it is what raises


def test_no_ask_is_stranded_by_a_stop_that_races_with_it() -> None:
    """Stock mailboxes left 336 of 1,500 such asks unanswered for ever: append first, then check closed."""
    dispatcher = ThreadDispatcher(workers=2)
    dispatcher.start()
    with using(dispatcher):
        for _ in range(300):
            ref = Actor.start()
            barrier = threading.Barrier(2)

            def stop(ref: Any = ref, barrier: Any = barrier) -> None:
                barrier.wait()
                ref.stop(block=False)

            thread = threading.Thread(target=stop)
            thread.start()
            barrier.wait()
            future = ref.ask("x", block=False)
            try:
                future.get(timeout=30)
            except ActorDeadError:
                pass
            thread.join()
    assert dispatcher.stop() == []


def test_an_actor_may_wait_for_another_on_threads() -> None:
    """pykka allows a blocking ask inside an actor; a spare worker keeps the other running, even with one worker."""

    class Asker(Actor):
        def on_receive(self, message: Any) -> Any:
            return message.ask("x") if message != "x" else "answer"

    dispatcher = ThreadDispatcher(workers=1)
    dispatcher.start()
    with using(dispatcher):
        first, second = Asker.start(), Asker.start()

        assert first.ask(second, timeout=30) == "answer"

        ActorRegistry.stop_all()
    assert dispatcher.stop() == []


def test_system_exit_in_an_unsupervised_actor_stops_every_actor() -> None:
    """As pykka documents for BaseException."""
    dispatcher = ThreadDispatcher(workers=1)
    dispatcher.start()
    with using(dispatcher):
        log: list[Any] = []
        probe = _actor_class(Runtime("threads", Actor, _wait))
        first, second = probe.start(log), probe.start([])

        first.tell("base")

        _wait(lambda: not first.is_alive() and not second.is_alive())
    assert dispatcher.stop() == []
