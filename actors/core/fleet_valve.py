"""The valve over all parents: when everybody is in trouble at once, the trouble is probably ours, and no call begins.

A parent's own valve sees one parent. A thousand parents of three nodes each, all down since a moment ago, pass it one by one:
none has more than its floor. So the gateway, which all repairs go through, holds every call while more children than a share of
all that are on record are eligible. Counts, as of the parent's valve, and of what has been delivered: no actor is asked.

It closes at once, and opens only after the share has been within the limit for ``SETTLED_S`` without a break, by the monotonic
clock: whoever has just been wrong about everybody does not trust the first good look. Time in which nobody looked (the process
stood still) does not count. The state outlives the gateway's incarnations; a new process begins with an open valve, and with a
look before its first call.

A parent that overrides the valve (``override``) passes it while it is closed. Who does is told with each wish,
so that a closed valve need not look at all parents.
"""

from __future__ import annotations

import math

from .events import FleetValveMoved
from .model import ParentKey, Share
from .valve import limit

__all__ = ["FLOOR", "LOOK_EVERY_S", "SETTLED_S", "FleetValve"]

FLOOR = 10
"""Children in trouble up to which a percentage never closes it: the figure by which failures count as correlated elsewhere
(more than max(10, 20 %), RELIABILITY S3)."""
SETTLED_S = 60.0
"""The node lifecycle controller's grace at its start, which it gives every node again when it has seen all zones disrupted
(FIELD §1)."""
LOOK_EVERY_S = 5.0
"""Between looks while nothing else calls for one. Arbitrary: a twelfth of ``SETTLED_S``."""
_BLIND_S = 3 * LOOK_EVERY_S


class FleetValve:
    """Holds all calls while more children are eligible than ``share`` of all allows ("100%": never), and than ``floor``."""

    def __init__(self, share: Share, floor: int = FLOOR) -> None:
        self.share = share
        self.floor = floor
        self.closed_s: float | None = None
        """Since when it is closed; None: it is open."""
        self.why = ""
        """Why it closed, for people; "" while it is open. It holds no instant and does not change while it is closed."""
        self._overrides: dict[ParentKey, float] = {}
        self._calm_s: float | None = None
        self._looked_s = -math.inf

    @property
    def watches(self) -> bool:
        """Whether it can close at all."""
        return self.share.percent is None or self.share.percent < 100.0

    @property
    def opens_s(self) -> float | None:
        """When it opens if all goes well from here on; None while the share is above the limit, or it is open."""
        return None if self.closed_s is None or self._calm_s is None else self._calm_s + SETTLED_S

    @property
    def next_look_s(self) -> float:
        """When it is to be looked at again at the latest."""
        if not self.watches:
            return math.inf
        return min(self._looked_s + LOOK_EVERY_S, math.inf if self.opens_s is None else self.opens_s)

    def override(self, parent: ParentKey, ends_s: float) -> None:
        """That parent passes it until then; minus infinity: it does not, or wants nothing."""
        if ends_s > -math.inf:
            self._overrides[parent] = ends_s
        elif self._overrides:
            self._overrides.pop(parent, None)

    def passing(self, now: float) -> frozenset[ParentKey] | None:
        """Whose repairs may leave now: None is everybody's."""
        if self.closed_s is None:
            return None
        return frozenset(parent for parent, ends_s in self._overrides.items() if ends_s > now)

    def look(self, eligible: int, total: int, now: float) -> FleetValveMoved | None:
        """These are the counts now. What happened, if the valve has moved by it."""
        bound = limit(self.share, total, self.floor)
        blind, self._looked_s = now - self._looked_s > _BLIND_S, now
        if eligible > bound:
            self._calm_s = None
            if self.closed_s is None:
                self.closed_s = now
                self.why = f"{eligible} of all {total} children need repair, the limit is {self.share}"
                return FleetValveMoved(closed=True, eligible=eligible, limit=bound, total=total)
        elif self.closed_s is not None:
            if self._calm_s is None or blind:
                self._calm_s = now
            elif now >= self._calm_s + SETTLED_S:
                self.closed_s = self._calm_s = None
                self.why = ""
                return FleetValveMoved(closed=False, eligible=eligible, limit=bound, total=total)
        return None
