"""The regression gate: a count that grows by more than the tolerance fails, and a slowdown that is planted makes one grow."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import msgspec
import pytest

from actors.core.stream import Stream

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture
def gate(bench: Callable[[str], ModuleType]) -> ModuleType:
    return bench("gate")


def test_what_is_the_same_or_within_the_tolerance_passes(gate: ModuleType) -> None:
    verdict = gate.compare({"a": 100.0, "b": 0.0}, {"a": 104.9, "b": 0.0})

    assert (verdict.passed, verdict.worse, verdict.better) == (True, [], [])


def test_what_has_grown_by_more_fails_and_is_named(gate: ModuleType) -> None:
    verdict = gate.compare({"a": 100.0, "b": 100.0}, {"a": 105.5, "b": 99.0})

    assert not verdict.passed
    assert verdict.worse == ["a: 100 → 105.5 (+5.5%)"]


def test_a_figure_that_was_nothing_may_not_become_something(gate: ModuleType) -> None:
    """A heartbeat wakes nobody: no tolerance makes one message of none."""
    assert not gate.compare({"messages": 0.0}, {"messages": 0.001}).passed


def test_what_has_shrunk_passes_and_asks_for_a_new_baseline(gate: ModuleType) -> None:
    verdict = gate.compare({"a": 100.0}, {"a": 90.0})

    assert (verdict.passed, verdict.better) == (True, ["a: 100 → 90 (-10.0%)"])


def test_a_figure_that_one_side_lacks_fails(gate: ModuleType) -> None:
    verdict = gate.compare({"a": 1.0, "gone": 1.0}, {"a": 1.0, "new": 1.0})

    assert not verdict.passed
    assert verdict.unknown == ["gone: only in the baseline", "new: only in the measurement"]


def test_a_version_without_a_baseline_passes_and_says_so(
    gate: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gate, "measure", lambda: {"a": 1.0})
    monkeypatch.setattr(gate, "BASELINE", tmp_path / "baseline.json")
    assert gate.main([]) == 0
    assert "there is no baseline" in capsys.readouterr().out


def test_an_update_is_what_the_next_measurement_is_held_to(
    gate: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(gate, "BASELINE", tmp_path / "baseline.json")
    (tmp_path / "baseline.json").write_text('{"0.0": {"a": 7}}')
    monkeypatch.setattr(gate, "measure", lambda: {"a": 1.0})
    assert gate.main(["--update"]) == 0
    monkeypatch.setattr(gate, "measure", lambda: {"a": 2.0})
    assert gate.main([]) == 1
    assert json.loads((tmp_path / "baseline.json").read_text()) == {"0.0": {"a": 7}, gate.VERSION: {"a": 1.0}}


def test_the_counts_repeat_exactly(gate: ModuleType) -> None:
    assert gate.feed_figures(100) == gate.feed_figures(100)


def test_a_planted_slowdown_fails_the_gate(gate: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dozen turns that do nothing, for each event: some per cent of what an event costs."""
    before = gate.feed_figures(100)

    class Slower(Stream):
        def feed(self, chunk: bytes, now: float, *, more: bool = False) -> None:
            for _ in chunk.split(b"\n"):
                for _ in range(12):
                    pass
            super().feed(chunk, now, more=more)

    monkeypatch.setattr(gate, "Stream", Slower)
    verdict = gate.compare(before, gate.feed_figures(100))

    assert not verdict.passed
    assert any("heartbeat in 64 kB: instructions" in line for line in verdict.worse)


def test_a_second_parse_of_each_line_fails_the_gate(gate: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """What C code does is not counted, but that it was called is."""
    before = gate.feed_figures(100)
    decode = msgspec.json.Decoder().decode

    class Twice(Stream):
        def feed(self, chunk: bytes, now: float, *, more: bool = False) -> None:
            for line in chunk.splitlines():
                decode(line)
            super().feed(chunk, now, more=more)

    monkeypatch.setattr(gate, "Stream", Twice)
    verdict = gate.compare(before, gate.feed_figures(100))

    assert any("heartbeat in 64 kB: C calls" in line for line in verdict.worse)


def test_the_committed_baseline_has_the_figures_that_are_measured(gate: ModuleType) -> None:
    """Of this version, or of another one where this has none; a figure of new code asks for an update."""
    baselines = json.loads((BENCH / "baseline.json").read_text("utf-8"))
    names = set(next(iter(baselines.values())))

    assert all(set(each) == names for each in baselines.values())
    assert set(gate.feed_figures(30)) | set(gate.world_figures(1, 4, 2)) == names
