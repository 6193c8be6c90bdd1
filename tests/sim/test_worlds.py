"""Worlds without faults: what the oracles do in them grows with what happens, not with the parents that are there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from actors.core.quantity import Quota
from actors.simulate.court import Court
from actors.simulate.stage import Stage, StageSettings
from actors.simulate.worlds import WorldSize, measure


def looks(clusters: int, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often the oracles ask what may be expected of a parent, while thirty nodes of so many clusters fail."""
    count: Counter[str] = Counter()

    def counted(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **names: Any) -> Any:
            count[name] += 1
            return original(*args, **names)

        return call

    with monkeypatch.context() as patch:
        for owner, name in ((Court, "expected"), (Stage, "calm")):
            patch.setattr(owner, name, counted(name, getattr(owner, name)))
        size = WorldSize(
            name="grown", clusters=clusters, nodes=2, pace_s=1.0, birth_s=10.0, lasts_s=30.0, quota=Quota(10, 1.0),
            batch_max=100,
        )  # fmt: skip
        assert measure(size, lambda: 0.0).breaches == 0
    return count


def test_four_times_the_parents_are_not_four_times_the_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """An oracle that goes through all parents at each event makes a world of a thousand ten times slower."""
    few, many = looks(50, monkeypatch), looks(200, monkeypatch)

    assert few["expected"] > 0
    assert {name for name, times in many.items() if times > 2.5 * few[name]} == set()


def test_looks_of_one_pace_share_a_timer() -> None:
    stage = Stage(StageSettings())
    court, looks = Court(stage, ()), list[tuple[str, float]]()
    before = len(stage.world.timers())
    for name, every_s in (("a", 2.0), ("b", 2.0), ("c", 3.0)):
        court.every(every_s, partial(lambda name: looks.append((name, stage.world.clock.now())), name))

    stage.world.run_for(4.5)

    assert looks == [("a", 2.0), ("b", 2.0), ("c", 3.0), ("a", 4.0), ("b", 4.0)]
    assert len(stage.world.timers()) == before + 2


def test_calm_is_what_was_not_impaired_since() -> None:
    stage = Stage(StageSettings())
    stage.impair("write", 5.0)

    assert not stage.calm(5.0, "operator", "write")
    assert stage.calm(5.0, "operator")
    assert stage.calm(5.1, "operator", "write")
