"""The mechanism of supervision: who is restarted, when, and when to give up. The tree itself is data, in ``tree``.

Erlang/OTP's model and words. ``Budget`` is the arithmetic, pure: more than ``restarts_max`` deaths within ``period_s`` and the
child's supervisor gives up; until then each restart waits an exponential backoff with full jitter that is forgotten after
``calm_s`` of uptime. ``Supervisor`` is one_for_one over a fixed list, started in order and stopped in reverse. The
dynamic supervisor (one child per parent, each with a budget of its own) is the directory, which uses ``Nursery``:
a shared budget would let one poisonous parent stop ten thousand.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable
from typing import Any

from attrs import field, frozen

from .actor import Behaviour, Context, Factory, Ref, Resume, Stop
from .core.events import Escalated
from .core.ports import Random
from .messages import Down, RestartDue, StopOverdue, StopTree

CORRELATED_WINDOW_S = 60.0
CORRELATED_MIN = 10  # distinct failing children that mean nothing by themselves, however few children there are
CORRELATED_SHARE = 0.20  # of all children, failing within the window: it is not them, it is us (DESIGN §4)


@frozen(kw_only=True)
class RestartPolicy:
    """Restart intensity and backoff. Burst: ``restarts_max`` at once; sustained: ``restarts_max / period_s`` a second.

    Seconds throughout. The default gives up after 5 deaths in a minute; with the backoff doubling from 0.1 s, those five
    take at most 3 s, so a child that dies at each start is given up within seconds, and one that dies hourly never is.
    """

    restarts_max: int = 5
    period_s: float = 60.0
    backoff_first_s: float = 0.1
    backoff_max_s: float = 30.0
    calm_s: float = 120.0


class Verdict(enum.Enum):
    """What a budget says of one more death."""

    RESTART = "restart"
    GIVE_UP = "give up"


class Budget:
    """One child's deaths. ``died`` is a function of its arguments and the deaths before: no clock, no randomness of its own."""

    def __init__(self, policy: RestartPolicy) -> None:
        self._policy = policy
        self._deaths: deque[float] = deque()
        self._in_a_row = 0
        self.death_count = 0

    def died(self, now_s: float, uptime_s: float, random: Random) -> tuple[Verdict, float]:
        """One more death: restart after that many seconds, or give up."""
        policy = self._policy
        self.death_count += 1
        self._in_a_row = 1 if uptime_s >= policy.calm_s else self._in_a_row + 1
        self._deaths.append(now_s)
        while self._deaths[0] <= now_s - policy.period_s:
            self._deaths.popleft()
        if len(self._deaths) > policy.restarts_max:
            return Verdict.GIVE_UP, 0.0
        ceiling_s = min(policy.backoff_max_s, policy.backoff_first_s * 2.0 ** min(self._in_a_row - 1, 60))
        return Verdict.RESTART, random.uniform(0.0, ceiling_s)


class Nursery:
    """Budgets of many dynamic children, and the question whether their deaths are theirs or ours."""

    def __init__(self, policy: RestartPolicy) -> None:
        self._policy = policy
        self._budgets: dict[str, Budget] = {}
        self._recent: deque[tuple[float, str]] = deque()

    def died(self, name: str, now_s: float, uptime_s: float, random: Random) -> tuple[Verdict, float]:
        """One child has died: restart it after that many seconds, or quarantine it (GIVE_UP)."""
        self._recent.append((now_s, name))
        budget = self._budgets.setdefault(name, Budget(self._policy))
        return budget.died(now_s, uptime_s, random)

    def correlated(self, now_s: float, children: int) -> int | None:
        """How many distinct children have failed lately, if that is too many to be their own fault."""
        while self._recent and self._recent[0][0] <= now_s - CORRELATED_WINDOW_S:
            self._recent.popleft()
        failing = len({name for _, name in self._recent})
        return failing if failing > max(CORRELATED_MIN, CORRELATED_SHARE * children) else None

    def deaths(self, name: str) -> int:
        """Deaths on that child's account."""
        budget = self._budgets.get(name)
        return budget.death_count if budget is not None else 0

    def forget(self, name: str) -> None:
        """A clean slate: the child is gone, or is let out."""
        self._budgets.pop(name, None)


@frozen(kw_only=True)
class ChildSpec:
    """One static child: all are permanent. ``stop_within_s`` bounds its part of the shutdown."""

    name: str
    factory: Factory
    policy: RestartPolicy = field(factory=RestartPolicy)
    stop_within_s: float = 5.0


class Supervisor(Behaviour):
    """one_for_one over ``specs``; when a child's budget is spent, ``give_up(reason)`` ends the system.

    ``started`` is called with the refs by name before any child is started... in order, as each one starts. The root of the
    tree: a crash of its own is fatal, because nobody is above it.
    """

    def __init__(
        self, ctx: Context, *, specs: tuple[ChildSpec, ...], started: Callable[[str, Ref], None],
        give_up: Callable[[str], None], stopped: Callable[[list[str]], None],
    ) -> None:  # fmt: skip
        super().__init__(ctx)
        self._specs = {spec.name: spec for spec in specs}
        self._budgets = {spec.name: Budget(spec.policy) for spec in specs}
        self._started = started
        self._give_up = give_up
        self._stopped = stopped
        self._restarts: dict[str, int] = dict.fromkeys(self._specs, 0)
        self._stopping: list[str] | None = None
        self._overdue: list[str] = []

    def on_start(self) -> None:
        for spec in self._specs.values():
            self._started(spec.name, self.ctx.spawn(spec.name, spec.factory))

    def on_receive(self, message: Any) -> Any:
        if isinstance(message, Down):
            self._down(message)
        elif isinstance(message, RestartDue):
            if self._stopping is None:
                self._restarts[message.name] += 1
                self.ctx.tell(self.ctx.children[message.name], Resume())
        elif isinstance(message, StopTree):
            if self._stopping is None:
                self._stopping = list(self._specs)
                self._stop_next()
        elif isinstance(message, StopOverdue):
            if self._stopping and self._stopping[-1] == message.name:
                self._overdue.append(self._stopping.pop())
                self._stop_next()
        else:
            super().on_receive(message)

    def _down(self, down: Down) -> None:
        if self._stopping is not None:
            if down.reason == "stopped" and self._stopping and self._stopping[-1] == down.name:
                self._stopping.pop()
                self.ctx.cancel(("stop", down.name))
                self._stop_next()
            return
        verdict, after_s = self._budgets[down.name].died(self.ctx.clock.now(), down.uptime_s, self.ctx.random)
        if down.reason == "stopped":
            self._escalate(f"{down.name} has stopped by itself")
        elif verdict is Verdict.GIVE_UP:
            self._escalate(f"{down.name} died too often, last of {down.error}")
        else:
            restart = RestartDue(name=down.name, incarnation=down.incarnation)
            self.ctx.schedule(("restart", down.name), after_s, restart)

    def _escalate(self, reason: str) -> None:
        self.ctx.emit(Escalated(supervisor=self.ctx.name, reason=reason))
        self._give_up(reason)

    def _stop_next(self) -> None:
        assert self._stopping is not None
        if not self._stopping:
            self._stopped(self._overdue)
            self.ctx.stop()
            return
        name = self._stopping[-1]
        ref = self.ctx.children[name]
        self.ctx.schedule(("stop", name), self._specs[name].stop_within_s, StopOverdue(name=name))
        self.ctx.tell(ref, Stop())

    def statistics(self) -> dict[str, object]:
        return {"restarts": dict(self._restarts)}
