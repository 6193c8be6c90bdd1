"""Many seeds: what they found, how much of the catalogue and of the oracles they reached, and whether the oracles see at all.

``run_batch`` plays seed after seed through a ``Spread``: in this process, or on many cores by ``ops.crew``. What comes of a
batch depends on its seeds only, not on how they were spread. With every batch some *canaries* are played: planted bugs that
must be found within a few seeds. A batch whose canary lives has proved nothing, however green it is.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, Protocol, TypeVar

from attrs import define, field, frozen

from ..core.gates import GATES
from .catalogue import CATALOGUE
from .kill import Kill, kill_one
from .run import ORACLES, Result, play

__all__ = [
    "CANARIES", "CANARY_SEEDS", "BatchResult", "Coverage", "Done", "Job", "Spread", "Trouble", "in_this_process",
    "play_job", "run_batch",
]  # fmt: skip

T = TypeVar("T")
R = TypeVar("R")

CANARIES = ("deletion-is-dropped", "slot-is-free-at-the-answer")
"""Planted bugs that nearly every seed finds: one that the status' oracles must see, one that the backend's must."""
CANARY_SEEDS = range(1, 21)
"""Fixed, and drawn from all faults, so that a canary tells of the oracles and not of the batch."""
BREACHED_KEPT = 100  # with their stories; beyond, they are counted and named only


@frozen
class Done(Generic[T, R]):
    """One item is through: ``value``, or ``error`` in words. ``cpu_s``: processor seconds, 0 where nobody measured."""

    item: T
    value: R | None
    error: str = ""
    cpu_s: float = 0.0


class Spread(Protocol):
    """Does the work on each item, somewhere, and gives what came of them in the items' order."""

    def __call__(self, work: Callable[[T], R], items: Iterable[T], /) -> Iterator[Done[T, R]]:
        """Closing the iterator ends what is under way."""


@frozen
class Job:
    """What one process is asked: play that seed; or, where ``canary`` is named, find that planted bug in the canary's seeds."""

    seed: int
    faults: tuple[str, ...] | None = None
    canary: str = ""


@frozen
class Trouble:
    """The simulator itself failed at that seed, or the process that played it."""

    seed: int
    text: str


@frozen(kw_only=True)
class Coverage:
    """How often a fault fired, an oracle judged, or ``why`` named a gate, and in how many seeds.

    ``asked``: whether the batch was to reach it.
    """

    id: str
    name: str
    what: str
    """"fault", "oracle" or "gate"."""
    count: int
    seeds: int
    asked: bool = True
    first: int | None = None
    """The first seed in which a gate was named."""


@define(kw_only=True)
class BatchResult:
    """What came of a batch. Sums are over all seeds played; ``breached`` are the first that failed, in the seeds' order."""

    faults: tuple[str, ...] | None = None
    seeds: int = 0
    first: int | None = None
    last: int | None = None
    breached: list[Result] = field(factory=list)
    breached_seeds: list[int] = field(factory=list)
    troubles: list[Trouble] = field(factory=list)
    canaries: list[Kill] = field(factory=list)
    interrupted: bool = False
    virtual_s: float = 0.0
    cpu_s: float = 0.0
    messages: int = 0
    steps: int = 0
    calls: int = 0
    repairs: int = 0
    writes: int = 0
    fired: Counter[str] = field(factory=Counter)
    fired_seeds: Counter[str] = field(factory=Counter)
    exercised: Counter[str] = field(factory=Counter)
    exercised_seeds: Counter[str] = field(factory=Counter)
    named: Counter[str] = field(factory=Counter)
    named_seeds: Counter[str] = field(factory=Counter)
    named_first: dict[str, int] = field(factory=dict)
    fingerprint: int = 0
    """Of all traces together, whatever their order: two batches of the same seeds have the same."""

    @property
    def ok(self) -> bool:
        """No promise broken, nothing in the way, and the canaries found."""
        return not self.breached_seeds and not self.troubles and not self.blind

    @property
    def blind(self) -> tuple[str, ...]:
        """The canaries that nobody found: the oracles do not see, or the simulator does not play."""
        return tuple(kill.name for kill in self.canaries if kill.survived)

    def coverage(self) -> list[Coverage]:
        """A row for each fault of the catalogue, for each oracle, and for each gate of ``why``, in their order."""
        asked = CATALOGUE if self.faults is None else self.faults
        faults = [
            Coverage(
                id=id_, name=each.name, what="fault", count=self.fired[id_], seeds=self.fired_seeds[id_],
                asked=id_ in asked,
            )
            for id_, each in CATALOGUE.items()
        ]  # fmt: skip
        oracles = [
            Coverage(
                id=each.name, name=each.promise, what="oracle", count=self.exercised[each.name],
                seeds=self.exercised_seeds[each.name],
            )
            for each in ORACLES
        ]  # fmt: skip
        gates = [
            Coverage(
                id=gate.code, name=gate.meaning, what="gate", count=self.named[gate.code], seeds=self.named_seeds[gate.code],
                asked=False, first=self.named_first.get(gate.code),
            )
            for gate in GATES
        ]  # fmt: skip
        return faults + oracles + gates

    def thin(self, fired_min: int) -> list[Coverage]:
        """The rows that were to be reached and were not: a fault that fired less often than that, an idle oracle."""
        least = {"fault": fired_min, "oracle": 1, "gate": 0}
        return [row for row in self.coverage() if row.asked and row.count < least[row.what]]

    def add(self, result: Result) -> None:
        """One seed more."""
        self.seeds += 1
        self.first = result.seed if self.first is None else self.first
        self.last = result.seed
        self.virtual_s += result.virtual_s
        self.messages += result.messages
        self.steps += result.steps
        self.calls += result.calls
        self.repairs += result.repairs
        self.writes += result.writes
        self.fired.update(result.fired)
        self.fired_seeds.update(id_ for id_, count in result.fired.items() if count)
        self.exercised.update(result.exercised)
        self.exercised_seeds.update(name for name, count in result.exercised.items() if count)
        self.named.update(result.named)
        self.named_seeds.update(result.named.keys())
        self.named_first = {**dict.fromkeys(result.named, result.seed), **self.named_first}
        digest = hashlib.sha256(f"{result.seed} {result.trace}".encode()).digest()
        self.fingerprint = (self.fingerprint + int.from_bytes(digest[:8], "big")) % 2**64
        if result.breaches:
            self.breached_seeds.append(result.seed)
            if len(self.breached) < BREACHED_KEPT:
                self.breached.append(result)


def play_job(job: Job) -> Result | Kill:
    """What a process of the crew does with a job."""
    if job.canary:
        return kill_one(job.canary, CANARY_SEEDS, play)
    return play(job.seed, job.faults)


def in_this_process(work: Callable[[T], R], items: Iterable[T], /) -> Iterator[Done[T, R]]:
    """The plainest ``Spread``: one after the other, right here. An error of the simulator passes through."""
    for item in items:
        yield Done(item, work(item))


def run_batch(
    seeds: Iterable[int],
    spread: Spread = in_this_process,
    *,
    faults: tuple[str, ...] | None = None,
    on_result: Callable[[Result], None] = lambda result: None,
    stop_at_first: bool = False,
    canaries: tuple[str, ...] = CANARIES,
) -> BatchResult:
    """Play ``seeds`` and the canaries. ``on_result`` hears of each seed, in their order.

    ``stop_at_first``: nothing after the first seed that fails counts, wherever it was played. A KeyboardInterrupt ends the
    batch with what is there so far.
    """
    total = BatchResult(faults=faults)

    def jobs() -> Iterator[Job]:
        yield from (Job(0, None, name) for name in canaries)
        yield from (Job(seed, faults) for seed in seeds)

    done: Iterator[Done[Job, Any]] = spread(play_job, jobs())
    try:
        for each in done:
            total.cpu_s += each.cpu_s if not each.item.canary else 0.0
            if each.error and each.item.canary:
                total.troubles.append(Trouble(each.item.seed, f"canary {each.item.canary}: {each.error}"))
            elif each.error:
                total.troubles.append(Trouble(each.item.seed, each.error))
            elif isinstance(each.value, Kill):
                total.canaries.append(each.value)
            elif each.value is not None:
                total.add(each.value)
                on_result(each.value)
            if stop_at_first and (total.breached_seeds or total.troubles):
                break
    except KeyboardInterrupt:
        total.interrupted = True
    finally:
        close = getattr(done, "close", None)
        if close is not None:
            close()
    return total
