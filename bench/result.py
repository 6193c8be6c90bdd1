"""What a run gives: rows of figures, some with a target. And the list of all runs, by name."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from attrs import frozen

from bench.load.handle import LoadServer

MIB = 1 << 20
T = TypeVar("T")


@frozen
class Row:
    """One figure. ``target`` is the most that is wanted; ``promise``: more than that is a broken promise, not a slow run.

    ``spread`` is the least and the most of the values whose median ``figure`` is.
    """

    what: str
    figure: float
    unit: str
    target: float | None = None
    promise: bool = False
    spread: tuple[float, float] | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """None where there is no target."""
        return None if self.target is None else self.figure <= self.target


@frozen
class Bench:
    """How to run: ``quick`` measures less and smaller fleets, so that the whole takes a few minutes."""

    quick: bool = False

    def __call__(self, full: T, quick: T) -> T:
        """The one or the other."""
        return quick if self.quick else full


Run = Callable[[Bench], list[Row]]
RUNS: dict[str, Run] = {}


def run(function: Run) -> Run:
    """Register a run under its function's name."""
    RUNS[function.__name__.replace("_", "-")] = function
    return function


def row(
    what: str, values: list[float], unit: str, target: float | None = None, *, promise: bool = False, note: str = ""
) -> Row:
    """The median of the values."""
    return Row(what, statistics.median(values), unit, target, promise, (min(values), max(values)), note)


def number(value: float) -> str:
    """Three figures, more only where they are whole."""
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.2f}" if value >= 1 else f"{value:.3f}"


@contextmanager
def served(fleet: str, *, tls: bool = False) -> Iterator[tuple[LoadServer, Path]]:
    """A load server with that fleet, and a folder for the time of it."""
    with tempfile.TemporaryDirectory(prefix="muster-bench-") as name:
        folder = Path(name)
        with LoadServer(fleet, folder, tls=tls) as server:
            yield server, folder


def fleet_of(children: int, per_parent: int = 100) -> str:
    """Parents of ``per_parent`` children each."""
    return f"{children // per_parent}x{per_parent}"
