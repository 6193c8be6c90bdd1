"""Faults of others, replayed: the bug patterns that users of other operators report, each as a scenario that Muster passes.

``playing`` is how one is played and measured, ``bill`` how it is entered; the scenarios are in one file per subject:
``reading``, ``counting``, ``calling``, ``restarting``, ``crowding``, ``sweeping``. ``docs/scenarios.md`` is made by ``table``.
"""

from __future__ import annotations

from . import calling, counting, crowding, reading, restarting, sweeping
from .playing import Outcome, Scenario

__all__ = ["SCENARIOS", "Outcome", "Scenario"]

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for subject in (reading, counting, calling, restarting, crowding, sweeping)
    for scenario in subject.bill.scenarios
}
"""By name, in the order of the documents."""
