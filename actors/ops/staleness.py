"""How stale what a cluster shows has been, at worst: the one measure of counting.

A status is *stale by n seconds* at an instant when a count that it shows was last true n seconds before. It may lag by the
debounce and a write, and never longer, whatever the queue of repairs does meanwhile. Comparing with the truth of the very
instant would not do: under constant change a status that follows closely equals it hardly ever.

Each count is judged by itself, because kinds come over streams of their own. And a silence may be told up to a second after
its deadline while reports are told at once, so a recovery may overtake it and make a number that was true at no instant.
Hence two stories: in one every silence is told at its deadline, in the *patient* one a second later, and what lies
between the two is true.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator, Sequence

from .truth import ClusterStory, Counts, intervals

PATIENCE_S = 1.0  # DESIGN: a heartbeat that stops wakes the parent once, at its deadline ± 1 s

Range = tuple[int, int]  # the least and the greatest that is true
_Steps = Sequence[tuple[float, Counts | None]]


def staleness(cluster: ClusterStory, patient: ClusterStory, until_s: float) -> list[float]:
    """For each status that stood (none at all is the first): for how long, at worst, what it shows had not been true."""
    end_s = min(until_s, cluster.gone_s if cluster.gone_s is not None else until_s)
    shown: _Steps = [(cluster.born_s, None), *((each.at_s, each.counts) for each in cluster.statuses)]
    everything = [*shown, *cluster.counts, *patient.counts]
    kinds = sorted({each[0] for _, counts in everything if counts is not None for each in counts.kinds})
    worst = [0.0] * len(list(intervals(list(shown), end_s)))
    for place in range(max(3 * len(kinds), 1)):
        says = [(at_s, _part(counts, kinds, place)) for at_s, counts in shown]
        truths = list(_between(_parts(cluster.counts, kinds, place), _parts(patient.counts, kinds, place), end_s))
        worst = [max(pair) for pair in zip(worst, _untrue(says, truths, cluster.born_s, end_s), strict=True)]
    return worst


def _part(counts: Counts | None, kinds: list[str], place: int) -> int | None:
    """One number of the status: of each kind the healthy, the unhealthy, the unknown; None where it says nothing."""
    if counts is None:
        return None
    found = next((each for each in counts.kinds if kinds and each[0] == kinds[place // 3]), ("", 0, 0, 0))
    return (found[1], found[2], found[3])[place % 3]


def _parts(steps: list[tuple[float, Counts]], kinds: list[str], place: int) -> list[tuple[float, int]]:
    return [(at_s, _part(counts, kinds, place) or 0) for at_s, counts in steps]


def _between(
    one: list[tuple[float, int]], other: list[tuple[float, int]], end_s: float
) -> Iterator[tuple[float, float, Range]]:
    """(from, to, what is true) of two courses of one number; both begin with the cluster."""
    now = [0, 0]
    steps: list[tuple[float, Range]] = []
    marked = ([(at_s, which, value) for at_s, value in course] for which, course in enumerate((one, other)))
    for at_s, which, value in heapq.merge(*marked):
        now[which] = value
        steps.append((at_s, (min(now), max(now))))
    return intervals(steps, end_s)


def _untrue(
    says: list[tuple[float, int | None]], truths: list[tuple[float, float, Range]], born_s: float, end_s: float
) -> Iterator[float]:
    """For each step of ``says``: the longest time since it had last been true, at any instant while it stood."""
    ended: dict[int | None, float] = {}  # when each value was last true, before the step of the day
    place = 0
    for from_s, to_s, said in intervals(says, end_s):
        while place < len(truths) and truths[place][1] <= from_s:
            least, greatest = truths[place][2]
            ended.update(dict.fromkeys(range(least, greatest + 1), truths[place][1]))
            place += 1
        worst_s, true_until_s = 0.0, ended.get(said, born_s)
        for true_from_s, true_to_s, (least, greatest) in itertools.islice(truths, place, None):
            if true_from_s >= to_s:
                break
            if said is not None and least <= said <= greatest:
                if true_from_s > from_s:
                    worst_s = max(worst_s, true_from_s - true_until_s)
                true_until_s = true_to_s
        yield max(worst_s, to_s - true_until_s)
