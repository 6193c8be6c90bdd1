"""How a drill is made: a script in which one defence is the only thing that helps, and what does not matter for it is drawn.

A swarm meets some occasions too rarely: a retry must age while new failures keep coming, a parent must be deleted while its
repairs wait for the quota. A drill arranges the occasion, by settings and steps; the oracles judge it like any other script.
Nothing that renews a stream by itself runs in it, so that no periodic healing hides what was lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from attrs import evolve, frozen

from ..core.model import Policy, Share
from ..core.quantity import Quota
from .catalogue import CATALOGUE
from .draw import Draw
from .script import Script
from .stage import StageSettings
from .steps import Step

__all__ = ["DRILLS", "Drill", "drill", "plain"]

Drawn = Callable[[Draw], Script]


@frozen(kw_only=True)
class Drill:
    """One of them. ``what`` says in a line what it practises."""

    name: str
    what: str
    drawn: Drawn

    def draw(self, seed: int) -> Script:
        """That drill, with what does not matter for it drawn from the seed."""
        script = self.drawn(Draw("drill", self.name, seed))
        steps = sorted(script.steps, key=lambda step: step.at_s)
        assert not steps or steps[-1].at_s < script.chaos_s, f"the drill {self.name} has steps after its end"
        faults = {step.fault for step in steps if step.fault}
        return evolve(
            script, seed=seed, drill=self.name, settings=evolve(script.settings, seed=seed), steps=tuple(steps),
            faults=tuple(sorted(faults, key=list(CATALOGUE).index)),
        )  # fmt: skip


DRILLS: dict[str, Drill] = {}


def drill(name: str, what: str) -> Callable[[Drawn], Drawn]:
    """Register how that drill is drawn."""

    def register(drawn: Drawn) -> Drawn:
        assert name not in DRILLS, f"two drills {name}"
        DRILLS[name] = Drill(name=name, what=what, drawn=drawn)
        return drawn

    return register


def plain(
    draw: Draw,
    clusters: Iterable[tuple[str, int, int]],
    steps: Iterable[Step],
    *,
    chaos_s: float,
    policy: dict[str, Any] | None = None,
    cold_start_s: float | None = 0.0,
    **settings: Any,
) -> Script:
    """A script with short times, a wide quota, an open valve, but for what is given: ``policy`` and ``settings`` by field."""
    rules = {
        "debounce_quiet_s": 0.1, "debounce_max_s": 1.0, "cooldown_s": 5.0, "max_unhealthy": Share(percent=100.0),
        **(policy or {}),
    }  # fmt: skip
    given = {
        "quota": Quota(10, 1.0), "batch_max": 20, "call_timeout_s": 2.0, "lateness_s": 1.0, "retry_max_s": 4.0,
        "breaker_max_s": 4.0, "heal_after_s": 0.5, "watch_s": 100_000, "backend_rtt_s": 0.05,
        "api_rtt_s": draw.pick((0.002, 0.01)), "streamed_list": draw.chance(0.5), "pct": draw.chance(0.3),
        "turn_messages_max": draw.pick((1, 4, 16)), **settings,
    }  # fmt: skip
    timeout_s = rules.get("heartbeat_timeout_s")
    return Script(
        seed=0, settings=StageSettings(policy=Policy(**rules), **given), clusters=tuple(clusters), steps=tuple(steps),
        faults=(), chaos_s=chaos_s, beat_s=0.0 if timeout_s is None else round(timeout_s / 2.5, 3),
        cold_start_s=cold_start_s,
    )  # fmt: skip
