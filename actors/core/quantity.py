"""Durations, instants, shares and quotas as people write them, and back. Errors say what was found and what is expected."""

from __future__ import annotations

import re
from datetime import datetime

from attrs import frozen

from .errors import SettingsError
from .model import Share

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)")
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:ms|s|m|h))+")
_DURATION_MAX_S = 366 * 24 * 3600.0  # longer is a mistake, and keeps sums far from the float's end


@frozen
class Quota:
    """At most ``calls`` in any window of ``window_s`` seconds."""

    calls: int
    window_s: float

    def __str__(self) -> str:
        return f"{self.calls}/{format_duration(self.window_s)}"


def parse_duration(text: object) -> float:
    """Seconds of ``"100ms"``, ``"2s"``, ``"1m30s"``, ``"0s"``; SettingsError for anything else."""
    if isinstance(text, str) and len(text) <= 32 and _DURATION.fullmatch(text):
        seconds = sum(float(number) * _UNITS_S[unit] for number, unit in _PART.findall(text))
        if seconds <= _DURATION_MAX_S:
            return seconds
    raise SettingsError(f"found {text!r}, expected a duration such as 100ms, 2s, 5m or 1h30m (at most a year)")


def format_duration(seconds: float) -> str:
    """The shortest of ``250ms``, ``2s``, ``5m``, ``1.5s`` … that says it exactly to the millisecond."""
    millis = round(seconds * 1000)
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if millis and millis % size == 0:
            return f"{millis // size}{unit}"
    if millis > 1000:
        return f"{millis // 1000}.{millis % 1000:03}".rstrip("0") + "s"
    return f"{millis}ms" if millis else "0s"


def rfc3339_s(text: str) -> float | None:
    """Unix seconds of an RFC 3339 instant with a zone; None for anything else."""
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        return None
    return instant.timestamp() if instant.tzinfo is not None else None


def parse_instant(text: object) -> float:
    """Unix seconds of ``"2026-12-01T09:00:00Z"``; SettingsError for anything else."""
    if isinstance(text, str) and len(text) <= 64 and (seconds := rfc3339_s(text)) is not None:
        return seconds
    raise SettingsError(f"found {text!r}, expected an instant with a zone such as 2026-12-01T09:00:00Z")


def parse_share(value: object) -> Share:
    """A percentage ``"50%"`` or a count (``5`` or ``"5"``); SettingsError for anything else."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return Share(absolute=value)
    if isinstance(value, str):
        if re.fullmatch(r"(?:100|[0-9]{1,2})%", value):
            return Share(percent=float(value[:-1]))
        if re.fullmatch(r"[0-9]{1,9}", value):
            return Share(absolute=int(value))
    raise SettingsError(f"found {value!r}, expected a percentage such as 50% or a count such as 5")


def parse_quota(text: object) -> Quota:
    """``"10/1s"``: ten calls in any one second; SettingsError for anything else."""
    if isinstance(text, str) and (match := re.fullmatch(r"([0-9]{1,9})/(.+)", text)):
        calls, window_s = int(match[1]), parse_duration(match[2])
        if calls >= 1 and window_s > 0:
            return Quota(calls, window_s)
    raise SettingsError(f"found {text!r}, expected CALLS/DURATION such as 10/1s or 100/1m")
