"""When a dead actor is restarted, and when to give up: the arithmetic of supervision, pure.

Erlang/OTP's words: more than ``restarts_max`` deaths within ``period_s`` and the child's supervisor gives up; until then each
restart waits an exponential backoff with full jitter that is forgotten after ``calm_s`` of uptime. ``Budget`` is one child's;
``Nursery`` keeps one for each of many dynamic children, because a shared one would let a single poisonous child stop all.
"""

from __future__ import annotations

import enum
from collections import deque

from attrs import frozen

from .ports import Random

CORRELATED_WINDOW_S = 60.0
CORRELATED_MIN = 10  # distinct failing children that mean nothing by themselves, however few children there are
CORRELATED_SHARE = 0.20  # of all children, failing within the window: it is not them, it is us (DESIGN §4)


@frozen(kw_only=True)
class RestartPolicy:
    """Restart intensity and backoff. Burst: ``restarts_max`` at once; sustained: ``restarts_max / period_s`` a second.

    Seconds throughout. The default gives up at the sixth death in a minute; with the backoff doubling from 0.1 s, those five
    take at most 3.1 s, so a child that dies at each start is given up within seconds, and one that dies hourly never is.
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
