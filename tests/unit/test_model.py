"""The records and the settings in force: a parent's word goes before the operator's, field by field."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import asdict

from actors.core.model import Child, ParentKey, ParentSpec, Policy, Share

OURS = Policy(
    heartbeat_timeout_s=60.0, debounce_quiet_s=0.2, debounce_max_s=3.0, min_healthy=2, repair_enabled=True,
    max_unhealthy=Share(percent=30.0), eligible_floor=5, cooldown_s=120.0, in_flight_max=9,
)  # fmt: skip


def test_a_silent_spec_leaves_the_operators_settings() -> None:
    assert OURS.over(ParentSpec()) == OURS
    assert Policy().over(ParentSpec()) == Policy()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("heartbeat_timeout_s", 5.0),
        ("debounce_quiet_s", 0.0),
        ("debounce_max_s", 1.0),
        ("min_healthy", 0),
        ("repair_enabled", False),
        ("max_unhealthy", Share(absolute=0)),
        ("cooldown_s", 0.0),
        ("in_flight_max", 1),
    ],
)
def test_each_field_of_a_spec_goes_before_the_operators(field: str, value: Any) -> None:
    """A zero and a "no" are words, too; and the other fields stay."""
    found = OURS.over(ParentSpec(**{field: value}))

    assert asdict(found, recurse=False) == {**asdict(OURS, recurse=False), field: value}


@pytest.mark.parametrize(
    ("quiet_s", "max_s", "expected"), [(5.0, None, (5.0, 5.0)), (None, 0.1, (0.2, 0.2)), (4.0, 1.0, (4.0, 4.0))]
)
def test_the_longest_wait_is_never_shorter_than_the_quiet_time(
    quiet_s: float | None, max_s: float | None, expected: tuple[float, float]
) -> None:
    """Or a parent's longer quiet time would silently mean nothing."""
    found = OURS.over(ParentSpec(debounce_quiet_s=quiet_s, debounce_max_s=max_s))

    assert (found.debounce_quiet_s, found.debounce_max_s) == expected


@pytest.mark.parametrize("field", ["version", "heartbeat"])
def test_what_a_parent_is_not_woken_for(field: str) -> None:
    child = Child("K", "ns", "n", "u", 1, ParentKey("ns", "c"), True, "t", "h")
    other = Child("K", "ns", "n", "u", 2 if field == "version" else 1, ParentKey("ns", "c"), True, "t",
                  "i" if field == "heartbeat" else "h")  # fmt: skip

    assert child.same_matter(other)


@pytest.mark.parametrize(
    "changed",
    [
        Child("K", "other", "n", "u", 1, ParentKey("ns", "c"), True, "t", "h"),
        Child("K", "ns", "other", "u", 1, ParentKey("ns", "c"), True, "t", "h"),
        Child("K", "ns", "n", "u", 1, None, True, "t", "h"),
        Child("K", "ns", "n", "u", 1, ParentKey("ns", "c"), False, "t", "h"),
        Child("K", "ns", "n", "u", 1, ParentKey("ns", "c"), True, "other", "h"),
        Child("K", "ns", "n", "u", 1, ParentKey("ns", "c"), True, "t", "h", silent=True),
    ],
)
def test_what_a_parent_is_woken_for(changed: Child) -> None:
    """Name and namespace go to the backend with a repair; the rest is what is counted."""
    assert not Child("K", "ns", "n", "u", 1, ParentKey("ns", "c"), True, "t", "h").same_matter(changed)


def test_a_parents_name_is_shown_with_its_namespace_if_it_has_one() -> None:
    assert [str(ParentKey("ns", "c")), str(ParentKey("", "c"))] == ["ns/c", "c"]
