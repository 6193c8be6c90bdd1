"""When to try again: exponential backoff with full jitter, a pause after a throttle, and a circuit breaker.

All work on the instants handed in; none knows a clock. They differ in whom they hold back. A *backoff* delays one thing
that failed. A *pause* obeys a backend that said "too much": everything waits, once, however
many calls in flight were refused for the same reason. A *breaker* protects a backend that fails: after several
failures in a row nothing is sent for a while, then one call alone tries whether it is well again (all of a queue at
once would fell it again).

Full jitter (uniform between 0 and the bound) spreads clients that failed together; of the usual kinds it needs the
fewest calls until all have succeeded.
"""

from __future__ import annotations

import enum
import math

from attrs import define, field

from .ports import Random

_DOUBLINGS_MAX = 32  # beyond it 2**n times any base exceeds any bound; keeps floats finite


def bound_s(base_s: float, max_s: float, attempt: int) -> float:
    """The longest delay before retry number ``attempt`` (from 0): base, 2 base, 4 base … at most ``max_s``."""
    return min(max_s, base_s * 2.0 ** min(max(attempt, 0), _DOUBLINGS_MAX))


def full_jitter_s(random: Random, base_s: float, max_s: float, attempt: int) -> float:
    """A delay drawn evenly between 0 and ``bound_s``."""
    return random.uniform(0.0, bound_s(base_s, max_s, attempt))


@define
class Pause:
    """What a throttle answer (429, or 503 with Retry-After) does to an operation: nothing is sent until ``until_s``.

    With a Retry-After: exactly as long as it says, at least one interval W/R (0 would be a hot loop), at most
    ``asked_max_s``. Without one: backoff from W/R up to W, jittered in its upper half, because after W the quota has
    certainly been refilled and before W/R there is nothing new to win. Refusals of calls that left before the pause
    began are the same refusal and do not lengthen it beyond what they ask. When it ends one call goes alone
    (``probing``) until an answer is no refusal: a backend whose real quota is smaller than ours refuses one call per
    pause, not all of them.
    """

    interval_s: float
    window_s: float
    asked_max_s: float
    random: Random
    until_s: float = field(init=False, default=-math.inf)
    probing: bool = field(init=False, default=False)
    _began_s: float = field(init=False, default=-math.inf)
    _refusals: int = field(init=False, default=0)

    def refused(self, now: float, sent_s: float, retry_after_s: float | None) -> float:
        """A call that left at ``sent_s`` was throttled: how long the pause is that begins now, 0 if one holds."""
        again = self.probing and sent_s <= self._began_s  # of the same volley that caused the pause
        if retry_after_s is not None:
            delay_s = min(max(retry_after_s, self.interval_s), max(self.asked_max_s, self.interval_s))
        elif again:
            delay_s = 0.0
        else:
            limit_s = bound_s(self.interval_s, max(self.window_s, self.interval_s), self._refusals)
            delay_s = max(self.interval_s, self.random.uniform(limit_s / 2, limit_s))
        self.until_s = max(self.until_s, now + delay_s)
        if again:
            return 0.0
        self._refusals += 1
        self._began_s = now
        self.probing = True
        return delay_s

    def answered(self, sent_s: float) -> None:
        """A call was not throttled. One that left before the pause began proves nothing about now."""
        if sent_s > self._began_s:
            self.probing = False
            self._refusals = 0


class BreakerState(enum.Enum):
    """Closed: calls flow. Open: none. Half-open: one, alone."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@define
class Breaker:
    """The circuit breaker of one operation.

    ========== =================================== ==========
    state      event                               next
    ========== =================================== ==========
    closed     ``failures_max`` failures in a row  open
    open       the wait is over                    half-open
    half-open  the probe failed                    open, longer
    half-open  the probe was refused, as expected  open, shortly
    any        a call was answered                 closed
    ========== =================================== ==========

    Calls that were under way when it opened may fail without effect. The wait is drawn from the upper half of a bound
    that doubles from ``base_s`` to ``max_s`` and begins anew ``max_s`` after the last time it was open.
    """

    failures_max: int
    base_s: float
    max_s: float
    random: Random
    state: BreakerState = field(init=False, default=BreakerState.CLOSED)
    failures: int = field(init=False, default=0)
    until_s: float = field(init=False, default=-math.inf)
    _openings: int = field(init=False, default=0)
    _probe: str = field(init=False, default="")

    def opens_at(self) -> float:
        """When a call may be sent as far as the breaker is concerned: infinity while a probe is out."""
        if self.state is BreakerState.CLOSED:
            return -math.inf
        return math.inf if self._probe else self.until_s

    def sent(self, call_id: str) -> bool:
        """A call leaves, which ``opens_at`` must allow. True when it is the probe (the breaker half-opens)."""
        if self.state is BreakerState.CLOSED:
            return False
        self.state = BreakerState.HALF_OPEN
        self._probe = call_id
        return True

    def failed(self, call_id: str, now: float) -> bool:
        """That call failed. True when the breaker opens by it."""
        self.failures += 1
        if self.state is BreakerState.CLOSED:
            if self.failures < self.failures_max:
                return False
            if now >= self.until_s + self.max_s:
                self._openings = 0
        elif call_id != self._probe:
            return False
        limit_s = bound_s(self.base_s, self.max_s, self._openings)
        self._openings += 1
        self._probe = ""
        self.state = BreakerState.OPEN
        self.until_s = now + self.random.uniform(limit_s / 2, limit_s)
        return True

    def refused_again(self, call_id: str, now: float) -> bool:
        """A part of a refused call was refused too: a step of a search, and no failure. True when the breaker opens by it.

        A probe that ends so tells little: the next may follow after the first wait, whoever else has something to send.
        """
        if self._probe != call_id:
            return False
        self._probe = ""
        self.state = BreakerState.OPEN
        self.until_s = now + self.random.uniform(self.base_s / 2, self.base_s)
        return True

    def answered(self) -> bool:
        """A call was answered: the backend lives. True when the breaker closes by it."""
        closes = self.state is not BreakerState.CLOSED
        self.state = BreakerState.CLOSED
        self.failures = 0
        self._probe = ""
        return closes
