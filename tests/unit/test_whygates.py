"""What the simulated world knows of the gates of ``why``, where it once said no to a gate that was shut."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from actors.core.errors import Unavailable
from actors.core.model import ParentKey
from actors.core.ports import Call, Outcome
from actors.core.situation import Situation
from actors.core.why import Answer, Shut
from actors.messages import CallEnded
from actors.simulate.whygates import WhyGates

CALL = Call(id="c", operation="repair", items=(), timeout_s=2.0)
LATEST_S = 12.0  # sent at 9, with 2 s for the call and 1 s of lateness


@pytest.fixture
def world() -> Any:
    """One call left at 9 s."""
    found: Any = object.__new__(WhyGates)
    clock = SimpleNamespace(now_s=9.0)
    settings = SimpleNamespace(call_timeout_s=2.0, lateness_s=1.0)
    found.stage = SimpleNamespace(settings=settings, world=SimpleNamespace(clock=clock))
    found.forget()
    found._sent(CALL)
    return found


def breaker(world: Any) -> str:
    answer = Answer(
        situation=Situation(now_s=world.now, key=ParentKey("ns", "c")),
        child="",
        first=Shut(code="breaker", text="it is open"),
    )
    return str(world.holds(answer))


def at(world: Any, now_s: float) -> Any:
    world.stage.world.clock.now_s = now_s
    return world


def test_a_call_that_gives_no_sign_in_time_has_failed(world: Any) -> None:
    """Seed 3000: calls on threads that were stuck opened the breaker, and none had ended."""
    assert breaker(at(world, LATEST_S - 0.1)) == "no call has failed"
    assert breaker(at(world, LATEST_S)) == ""


@pytest.mark.parametrize(("ended_s", "wrong"), [(LATEST_S - 0.1, "no call has failed"), (LATEST_S + 5.0, "")])
def test_it_has_failed_though_a_good_answer_comes_later(world: Any, ended_s: float, wrong: str) -> None:
    at(world, ended_s)._call_ended("gateway", CallEnded(call="c", outcome=Outcome(None, None)))

    assert breaker(at(world, ended_s + 10.0)) == wrong


KEY = ParentKey("ns", "c")


@pytest.fixture
def gateway(world: Any) -> Any:
    """A gateway that has read all, and to whom c has said what it wants; what is looked at later is in ``later``."""
    world.later, world.complaints = [], []
    world.stage.world.after = lambda delay_s, look: world.later.append(look)
    world.stage.system, world.stage.lives = None, 1
    world.stage.process = SimpleNamespace(frozen=False, hanging=set())
    world.complain = world.complaints.append
    world.asked[KEY] = {"uid": "key"}
    return at(world, 20.0)


def queued(world: Any) -> str:
    situation = Situation(now_s=world.now, key=KEY)
    return str(world.holds(Answer(situation=situation, child="", first=Shut(code="queued", text="it leaves now"))))


@pytest.mark.parametrize(("leaves", "complaints"), [(True, 0), (False, 1)])
def test_a_repair_that_nothing_holds_leaves_at_that_instant(gateway: Any, leaves: bool, complaints: int) -> None:
    assert queued(gateway) == ""
    if leaves:
        gateway._sent(CALL)
    for look in gateway.later:
        look()

    assert len(gateway.later) == 1
    assert len(gateway.complaints) == complaints


@pytest.mark.parametrize("excuse", ["hangs", "is frozen", "drains", "has begun anew"])
def test_a_gateway_that_cannot_act_is_not_blamed(gateway: Any, excuse: str) -> None:
    assert queued(gateway) == ""
    if excuse == "hangs":
        gateway.stage.process.hanging.add("gateway")
    elif excuse == "is frozen":
        gateway.stage.process.frozen = True
    elif excuse == "drains":
        gateway.draining = True
    else:
        gateway.stage.lives = 2
    gateway.later[0]()

    assert gateway.complaints == []


def test_who_hangs_is_wedged_and_nobody_else(gateway: Any) -> None:
    def wedged() -> str:
        shut = Shut(code="wedged", text="it has not come back")
        return str(gateway.holds(Answer(situation=Situation(now_s=20.0, key=KEY), child="", first=shut)))

    assert wedged() == "it comes back from each message"
    gateway.stage.process.hanging.add("cluster/ns/c")
    assert wedged() == ""


def test_an_error_is_a_failure(world: Any) -> None:
    world._call_ended("gateway", CallEnded(call="c", outcome=Outcome(None, Unavailable("no"))))

    assert breaker(world) == ""
