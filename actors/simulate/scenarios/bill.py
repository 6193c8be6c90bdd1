"""Where the scenarios of one subject are entered."""

from __future__ import annotations

from collections.abc import Callable

from .playing import Playing, Scenario

__all__ = ["Bill"]

Play = Callable[[Playing], None]


class Bill:
    """The scenarios of one subject, in the order of the documents."""

    def __init__(self) -> None:
        self.scenarios: list[Scenario] = []

    def scenario(
        self, name: str, *, whose: str, what: str, does: str, figure: str, **limits: float
    ) -> Callable[[Play], Scenario]:
        """Decorates the function that plays it; the name then stands for the scenario."""

        def enter(script: Play) -> Scenario:
            entered = Scenario(
                name=name, whose=whose, what=what, does=does, figure=figure, limits=limits, script=script
            )
            self.scenarios.append(entered)
            return entered

        return enter
