"""Durations, shares and quotas: what people write, what they get told when it is not understood."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.core.errors import SettingsError
from actors.core.model import Share
from actors.core.quantity import Quota, format_duration, parse_duration, parse_quota, parse_share


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("100ms", 0.1),
        ("2s", 2.0),
        ("5m", 300.0),
        ("1h", 3600.0),
        ("1h30m", 5400.0),
        ("1m30s", 90.0),
        ("1.5s", 1.5),
        ("0s", 0.0),
        ("0ms", 0.0),
        ("8760h", 8760 * 3600.0),
        ("0" * 30 + "1s", 1.0),  # the longest that is read
    ],
)
def test_a_duration_is_read_as_it_is_meant(text: str, seconds: float) -> None:
    """``ms`` must not be taken for minutes followed by an s."""
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    ["", "5", 5, None, "-1s", "1 s", "s", "1d", "1s ", "\n1s", "1e3s", ".5s", "1.s", "١s", "99999h",
     "0" * 31 + "1s", "1s" * 20, True, "inf"],
)  # fmt: skip
def test_what_is_no_duration_is_refused_with_what_was_found(text: object) -> None:
    """A typing error must be an error, not a zero; other scripts' digits are none of ours."""
    with pytest.raises(SettingsError, match="expected a duration") as caught:
        parse_duration(text)

    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0s"),
        (0.1, "100ms"),
        (1.0, "1s"),
        (1.5, "1.5s"),
        (0.999, "999ms"),
        (1.001, "1.001s"),
        (60.0, "1m"),
        (90.0, "90s"),
        (3600.0, "1h"),
        (5400.0, "90m"),
        (3600.001, "3600.001s"),
        (1234.567, "1234.567s"),
        (100_000.25, "100000.25s"),
    ],
)
def test_a_duration_is_written_exactly(seconds: float, text: str) -> None:
    """A setting shown to people must be the one in force."""
    assert format_duration(seconds) == text


@given(st.integers(min_value=0, max_value=366 * 24 * 3600 * 1000))
def test_what_is_written_is_read_back(millis: int) -> None:
    """To the millisecond, for every duration that is allowed."""
    assert round(parse_duration(format_duration(millis / 1000)) * 1000) == millis


@pytest.mark.parametrize(
    ("value", "share"),
    [
        ("50%", Share(percent=50.0)),
        ("0%", Share(percent=0.0)),
        ("100%", Share(percent=100.0)),
        (5, Share(absolute=5)),
        ("5", Share(absolute=5)),
        (0, Share(absolute=0)),
    ],
)
def test_a_share_is_a_percentage_or_a_count(value: object, share: Share) -> None:
    """YAML gives a bare 5 as a number and a quoted one as text; both mean five."""
    assert parse_share(value) == share


@pytest.mark.parametrize("value", ["101%", "-1%", -1, True, 2.5, "", "%", "5 %", "50.5%", None, "1" * 10])
def test_what_is_no_share_is_refused(value: object) -> None:
    """150 % of a fleet, or "true" of it, is a typing error."""
    with pytest.raises(SettingsError, match="expected a percentage"):
        parse_share(value)


def test_a_share_is_shown_as_it_was_written() -> None:
    """The condition's message quotes it."""
    assert [str(parse_share(text)) for text in ("50%", "5", "0%")] == ["50%", "5", "0%"]


def test_a_quota_is_calls_in_a_window() -> None:
    """And is shown so that it can be given again."""
    assert parse_quota("10/1s") == Quota(10, 1.0)
    assert parse_quota("1/1s") == Quota(1, 1.0)
    assert str(parse_quota("100/1m30s")) == "100/90s"
    assert parse_quota(str(Quota(7, 0.25))) == Quota(7, 0.25)


@pytest.mark.parametrize("text", ["", "10", "0/1s", "10/0s", "/1s", "10/", "-1/1s", "1.5/1s", 10, None, "10/1s/2"])
def test_what_is_no_quota_is_refused(text: object) -> None:
    """A quota of nothing, or over no time, would stop or free everything."""
    with pytest.raises(SettingsError, match="expected"):
        parse_quota(text)
