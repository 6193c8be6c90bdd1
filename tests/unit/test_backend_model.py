"""The backend model: the quota it judges by, and its ways of answering badly."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.sim.backend import Answer, BackendModel, Behaviour, fullest_window, parse_quota


def item(key: str) -> dict[str, str]:
    return {"key": key, "name": key, "namespace": "default", "kind": "ComputeNode", "uid": f"u-{key}", "cluster": "c"}


def call(model: BackendModel, *keys: str, at: float = 0.0) -> Answer:
    return model.arrive(json.dumps({"nodes": [item(key) for key in keys]}).encode(), "attempt", at)


def results(answer: Answer) -> dict[str, str]:
    return {one["key"]: one["status"] for one in json.loads(answer.body)["results"]}


def executed(model: BackendModel) -> list[str]:
    return [repair.key for repair in model.repairs]


def test_a_key_is_executed_once_and_accepted_each_time() -> None:
    model = BackendModel()

    assert results(call(model, "a", "b")) == {"a": "accepted", "b": "accepted"}
    assert results(call(model, "b", "c", at=2.0)) == {"b": "accepted", "c": "accepted"}

    assert executed(model) == ["a", "b", "c"]
    assert model.duplicates_count == 1


def test_the_quota_slides_and_counts_refused_calls_too() -> None:
    """Window of 1 s, 2 calls: at t ask, expect the code."""
    model = BackendModel(calls_max=2)

    codes = [(at, call(model, f"k{at}", at=at).code) for at in (0.0, 0.9, 0.95, 1.0, 1.85, 1.96, 3.0)]

    assert codes == [(0.0, 200), (0.9, 200), (0.95, 429), (1.0, 429), (1.85, 429), (1.96, 429), (3.0, 200)]
    assert model.fullest_window() == 4
    assert [arrival.code for arrival in model.arrivals] == [code for _, code in codes]


def test_retry_after_is_when_the_window_has_room() -> None:
    model = BackendModel(calls_max=1, window_s=10.0)
    call(model, "a", at=0.0)

    answer = call(model, "b", at=4.0)

    assert answer.headers == {"Retry-After": "10"}
    assert call(model, "b", at=14.0).code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"nonsense",
        b"[]",
        b'{"nodes": {}}',
        b'{"nodes": []}',
        b'{"nodes": [1]}',
        b'{"nodes": [{"key": "a"}]}',
        json.dumps({"nodes": [item("a"), item("a")]}).encode(),
        json.dumps({"nodes": [item(str(number)) for number in range(4)]}).encode(),
    ],
)
def test_a_bad_call_is_refused_whole(body: bytes) -> None:
    model = BackendModel(batch_max=3)

    assert model.arrive(body, "", 0.0).code == 400
    assert executed(model) == []
    assert len(model.arrivals) == 1


@pytest.mark.parametrize(
    ("do", "settings", "code", "done"),
    [
        ("withhold", {}, 0, ["a", "b"]),
        ("hang", {}, 0, []),
        ("cut", {}, -1, ["a", "b"]),
        ("throttle", {"retry_after_s": 7}, 429, []),
        ("error", {"code": 500}, 500, []),
        ("nonsense", {}, 200, []),
        ("redirect", {}, 307, []),
        ("empty", {}, 200, ["a", "b"]),
        ("missing", {}, 200, ["a", "b"]),
        ("unknown", {}, 200, ["a", "b"]),
        ("partial", {}, 200, ["a"]),
        ("latency", {"seconds": 1.5}, 200, ["a", "b"]),
        ("slow", {"seconds": 0.1}, 200, ["a", "b"]),
    ],
)
def test_a_behaviour_holds_for_its_count(do: str, settings: dict[str, Any], code: int, done: list[str]) -> None:
    model = BackendModel()
    model.behave(Behaviour(do, count=1, **settings))

    answer = call(model, "a", "b")
    assert answer.code == code
    assert executed(model) == done
    assert model.arrivals[0].behaviour == do

    assert results(call(model, "a", "b", at=5.0)) == {"a": "accepted", "b": "accepted"}
    assert executed(model) == ["a", "b"]


def test_what_the_bad_answers_say() -> None:
    model = BackendModel(calls_max=100)
    model.behave(
        Behaviour("partial", count=1, status="throttled", retry_after_s=3),
        Behaviour("missing", count=1),
        Behaviour("unknown", count=1),
        Behaviour("throttle", count=1, retry_after_s=7),
        Behaviour("empty", count=1),
    )

    throttled = json.loads(call(model, "a", "b").body)["results"][1]
    assert (throttled["key"], throttled["status"], throttled["retryAfterSeconds"]) == ("b", "throttled", 3)
    assert results(call(model, "c", "d")) == {"c": "accepted"}
    assert len(results(call(model, "e"))) == 3
    assert call(model, "f").headers == {"Retry-After": "7"}
    assert call(model, "g").body == b"{}"


def test_latency_comes_on_top_of_another_behaviour_and_both_end_in_time() -> None:
    model = BackendModel()
    model.behave(Behaviour("latency", until_s=5.0, seconds=2.0), Behaviour("error", until_s=5.0))

    answer = call(model, "a", at=4.0)
    assert (answer.code, answer.delay_s) == (503, 2.0)

    answer = call(model, "a", at=5.0)
    assert (answer.code, answer.delay_s) == (200, 0.0)


def test_an_unknown_behaviour_is_refused() -> None:
    with pytest.raises(ValueError, match="no behaviour 'explode'"):
        Behaviour("explode")


@given(st.lists(st.integers(0, 60)), st.integers(1, 10))
def test_the_fullest_window_is_what_counting_every_window_gives(stamps: list[int], window: int) -> None:
    counted = max((sum(start <= stamp < start + window for stamp in stamps) for start in stamps), default=0)

    assert fullest_window(stamps, window) == counted


@given(st.lists(st.integers(0, 3), max_size=60), st.integers(1, 4), st.integers(1, 5))
def test_the_backend_serves_no_more_than_its_quota_in_any_window(steps: list[int], calls: int, window: int) -> None:
    model = BackendModel(calls_max=calls, window_s=window)
    now = 0
    for number, step in enumerate(steps):
        now += step
        call(model, str(number), at=now)

    served = [arrival.at_s for arrival in model.arrivals if arrival.code == 200]

    assert fullest_window(served, window) <= calls


def test_quotas_are_written_as_calls_per_time() -> None:
    assert parse_quota("10/1s") == (10, 1.0)
    assert parse_quota("5/500ms") == (5, 0.5)
    assert parse_quota("100/m") == (100, 60.0)
    for wrong in ("", "10", "0/1s", "x/1s", "10/0s", "10/1", "-1/1s"):
        with pytest.raises(ValueError, match="not a quota"):
            parse_quota(wrong)
