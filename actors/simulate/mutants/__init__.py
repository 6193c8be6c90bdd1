"""Planted bugs: what a programmer might get wrong, each as a named substitution, to see whether the oracles find it.

``with planted("deletion-is-dropped"):`` runs everything inside with that bug. Each mutant names the promise that it breaks.
Where two defences back each other up, the mutants of both are here, marked ``redundant_with`` (alone, either is expected
to survive), and so is the pair of them, which must not.

One file per subject, in the order of the path: ``stream``, ``intake``, ``watcher``, ``mailbox``, ``cluster``, ``reconcile``,
``queue``, ``quota``, ``gateway``, ``holding``, ``status``, ``supervision``, and ``telling``; ``planting`` is the mechanism.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from . import (
    cluster,
    gateway,
    holding,
    intake,
    mailbox,
    queue,
    quota,
    reconcile,
    status,
    stream,
    supervision,
    telling,
    watcher,
)
from .planting import INVARIANTS, PROMISES, Mutant, PlantingError, Substitution, plant

__all__ = [
    "INVARIANTS", "MUTANTS", "PROMISES", "Mutant", "PlantingError", "Substitution", "planted",
]  # fmt: skip

_SUBJECTS = (
    stream,
    intake,
    watcher,
    mailbox,
    cluster,
    reconcile,
    queue,
    quota,
    gateway,
    holding,
    status,
    supervision,
    telling,
)

MUTANTS: dict[str, Mutant] = {mutant.name: mutant for subject in _SUBJECTS for mutant in subject.bed.mutants}
"""By name, in the order of the path."""


@contextmanager
def planted(name: str) -> Iterator[Mutant]:
    """Everything inside runs with that bug; the product is itself again afterwards. Raises ``PlantingError``."""
    mutant = MUTANTS.get(name)
    if mutant is None:
        raise PlantingError(f"there is no mutant {name!r}; there are {', '.join(sorted(MUTANTS))}")
    with plant(mutant):
        yield mutant
