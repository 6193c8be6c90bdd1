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
from actors.simulate.whyworld import WhyWorld

CALL = Call(id="c", operation="repair", items=(), timeout_s=2.0)
LATEST_S = 12.0  # sent at 9, with 2 s for the call and 1 s of lateness


@pytest.fixture
def world() -> Any:
    """One call left at 9 s."""
    found: Any = object.__new__(WhyWorld)
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


def test_an_error_is_a_failure(world: Any) -> None:
    world._call_ended("gateway", CallEnded(call="c", outcome=Outcome(None, Unavailable("no"))))

    assert breaker(world) == ""
