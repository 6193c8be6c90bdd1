"""What the logs of a failure's run mean: pure functions of the backend's arrivals and of the status patches."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from bench.result import Row

BATCH = 100
CALLS, WINDOW_S = 10, 1.0


def percentile(values: list[float], share: float) -> float:
    """The least value that so large a share of them do not exceed."""
    return sorted(values)[min(len(values) - 1, math.ceil(share * len(values)) - 1)]


def drain_limit_s(nodes: int, rtt_s: float) -> float:
    """DESIGN §2: with k = ceil(N/B) calls, (ceil(k/R) − 1)·(W + rtt) + rtt."""
    return (math.ceil(math.ceil(nodes / BATCH) / CALLS) - 1) * (WINDOW_S + rtt_s) + rtt_s


def writes_until_queued(patches: list[list[float]], children: int) -> dict[int, int]:
    """By parent: status writes up to the one that says that all its nodes are ill and asked for."""
    writes: Counter[int] = Counter()
    queued = set()
    for _, parent, _, _, unhealthy, repairing in patches:
        if parent not in queued:
            writes[int(parent)] += 1
            if unhealthy == repairing == children:
                queued.add(parent)
    assert len(queued) == len(writes), f"{len(writes) - len(queued)} parents never said that all their nodes are queued"
    return dict(writes)


def promises(calls: list[dict[str, Any]], nodes: int) -> list[Row]:
    """What holds whatever the speed: the quota, full batches, nobody twice."""
    stamps = sorted(each["mono_s"] for each in calls)
    fullest = max(sum(1 for other in stamps if stamp <= other < stamp + WINDOW_S) for stamp in stamps)
    items = Counter(item["uid"] for each in calls for item in each["items"])
    return [
        Row("fullest window of the quota", fullest, "calls", CALLS, promise=True),
        Row("nodes in more than one call", sum(1 for count in items.values() if count > 1), "", 0, promise=True),
        Row("nodes that the backend was not told of", nodes - len(items), "", 0, promise=True),
        Row("calls to the least possible", len(calls) / math.ceil(nodes / BATCH), "×", 1.03),
    ]
