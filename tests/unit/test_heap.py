"""The heap after a list: given back when the list is over, wherever the C library can."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from actors.core.events import Fact, Listed, StreamUp
from actors.edge import heap
from actors.edge.heap import Heap, give_back

LIST = Listed(kind="K", count=1, missing=0, reason="start")


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    calls: list[int] = []
    monkeypatch.setattr(heap, "give_back", lambda: calls.append(1))
    return calls


def test_it_is_given_back_now_and_then_after_the_newest_list(given: list[int]) -> None:
    told: list[Fact] = []
    tidy = Heap(told.append)
    assert [tidy.tick() for _ in range(200)] == [False] * 200
    tidy.tell(LIST)
    tidy.tick()
    tidy.tell(LIST)

    assert [tick for tick in range(1, 200) if tidy.tick()] == [3, 10, 30, 90]
    assert (len(given), told) == (4, [LIST, LIST])


def test_other_facts_are_passed_on_and_nothing_more(given: list[int]) -> None:
    told: list[Fact] = []
    tidy = Heap(told.append)
    tidy.tell(StreamUp(kind="K", gap_s=0.0))

    assert (len(told), any(tidy.tick() for _ in range(100)), given) == (1, False, [])


@pytest.mark.parametrize("error", [OSError, AttributeError, TypeError])
def test_a_system_that_cannot_keeps_what_it_has(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(ctypes, "CDLL", broken)
    assert give_back() is False


def test_what_is_given_back_is_what_the_library_says(monkeypatch: pytest.MonkeyPatch) -> None:
    class Library:
        def __init__(self, name: None) -> None:
            assert name is None

        def malloc_trim(self, left: int) -> int:
            return 1 if left == 0 else 0

    monkeypatch.setattr(ctypes, "CDLL", Library)
    assert give_back() is True
