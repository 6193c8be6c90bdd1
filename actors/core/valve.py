"""The valve: when too large a share of a parent's children is in trouble at once, the trouble is probably not theirs.

A comparison of counts: repairs are held while more children are eligible than the limit allows. A percentage never closes
it at or below ``floor`` children (3, as in Cluster Autoscaler's 45 % and 3), or no small cluster could ever be repaired;
an absolute limit is taken at its word.
"""

from __future__ import annotations

from .model import Share


def limit(share: Share, total: int, floor: int) -> int:
    """How many children may be eligible while repairs go on."""
    if share.absolute is not None:
        return share.absolute
    assert share.percent is not None
    if share.percent >= 100.0:
        return total
    return max(floor, int(total * share.percent / 100.0))


def closed(eligible: int, share: Share, total: int, floor: int) -> bool:
    """Whether repairs are to be held."""
    return eligible > limit(share, total, floor)
