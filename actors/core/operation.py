"""One backend operation: how it is called, and what the backend on its other end promises.

``Capabilities`` is what an adapter declares of its service; it changes what the gateway must do. The defaults are what the
webhook's wire format asks of a service, so an adapter that declares nothing is treated as that is.
"""

from __future__ import annotations

import enum
import math

from attrs import evolve, frozen

from .batch import QUANTUM
from .fleet_valve import FLOOR
from .model import Share
from .quantity import Quota


class Counts(enum.Enum):
    """When the backend counts a call against the quota."""

    ARRIVALS = "arrivals"
    COMPLETIONS = "completions"


@frozen(kw_only=True)
class Capabilities:
    """What a backend promises.

    ``keys``: it carries out each item's key once, so what may have been done may be sent again. False: an item whose outcome
    is unknown is answered as failed, and asked again (in a new round) only when its cooldown is over.
    ``counts``: when a call counts against the quota. With completions, ``works_s`` is the longest that a call may be worked on
    after it has arrived: one that was not answered may be counted so much later.
    ``per_item``: a reply has a result for each item, and an item without one is asked again. False: all or nothing, so a
    reply means that everything was accepted but what it names.
    ``batch_max``: the most items that it takes in one call; None: as many as the settings say.
    """

    keys: bool = True
    counts: Counts = Counts.ARRIVALS
    works_s: float = 0.0
    per_item: bool = True
    batch_max: int | None = None

    def __attrs_post_init__(self) -> None:
        assert self.batch_max is None or self.batch_max >= 1
        assert 0.0 <= self.works_s < math.inf
        assert (self.works_s > 0) == (self.counts is Counts.COMPLETIONS), "works_s is for completions, which need it"


PROMISED = Capabilities()
ALL = Share(percent=100.0)


@frozen(kw_only=True)
class GatewaySettings:
    """One backend operation. Durations in seconds.

    ``in_flight_max`` bounds calls; the executor should have as many threads (16: a quota of ten leaves in one go).
    ``call_timeout_s`` is what the adapter allows one call in all, ``lateness_s`` how much later the backend may still receive
    it (5: TCP's first retransmissions). ``cold_start_s`` None waits W + timeout + lateness before this process's first call; 0:
    nobody sent before. ``retry_*`` delay one call's items after a failure, ``breaker_*`` the whole operation after
    ``breaker_failures`` in a row (a minute at most, or a healed backend waits). ``pause_max_s`` caps a Retry-After.
    ``fleet_share`` and ``fleet_floor`` are of the valve over all parents (``fleet_valve``); all of them: there is none.
    ``able`` is the adapter's own word, which the tree puts here.
    """

    operation: str
    quota: Quota
    batch_max: int = 100
    in_flight_max: int = 16
    call_timeout_s: float = 10.0
    lateness_s: float = 5.0
    batch_quiet_s: float = 0.05
    cold_start_s: float | None = None
    retry_base_s: float = 1.0
    retry_max_s: float = 60.0
    breaker_failures: int = 5
    breaker_base_s: float = 2.0
    breaker_max_s: float = 60.0
    pause_max_s: float = 3600.0
    quantum: int = QUANTUM
    pool: str = "backend"
    fleet_share: Share = ALL
    fleet_floor: int = FLOOR
    able: Capabilities = PROMISED

    @property
    def counted_late_s(self) -> float:
        """How long after its timeout a call without an answer may still be counted against the quota."""
        return self.lateness_s + self.able.works_s

    def with_backend(self, able: Capabilities) -> GatewaySettings:
        """These settings for a backend that promises that: never a larger batch than it takes."""
        most = self.batch_max if able.batch_max is None else min(self.batch_max, able.batch_max)
        return evolve(self, able=able, batch_max=most)
