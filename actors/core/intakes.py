"""Which intake a kind of a fleet has: chosen once, so that a kind pays for what it has and for nothing else."""

from __future__ import annotations

from .fleet import FleetDefinition
from .intake import Intake
from .joins import JoinedIntake, sides_of
from .kept import KeptIntake
from .several import SeveralIntake

__all__ = ["intake_of"]


def intake_of(fleet: FleetDefinition, kind: str, *, version: int = 0) -> Intake:
    """An empty one for that kind; ``version``: see ``Intake``."""
    if kind == fleet.parent.kind:
        return Intake(kind, beats=False, version=version)
    child = fleet.child(kind)
    if child.several:
        return SeveralIntake(child, version=version)
    if sides_of(fleet, kind):
        return JoinedIntake(child, version=version)
    make = KeptIntake if child.fields else Intake
    return make(kind, beats=child.beats, version=version)
