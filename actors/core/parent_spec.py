"""What a parent's own spec and annotation say, read leniently, field by field.

People write it, and a wrong field must not hide the rest.

What cannot be read is named in ``ParentSpec.problems`` and counts as silent: the operator's settings hold there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .errors import SettingsError
from .model import SILENT, ParentSpec
from .override import OVERRIDE
from .quantity import parse_duration, parse_instant, parse_share

__all__ = ["read_spec"]

_COUNT_MAX = 1_000_000_000


def read_spec(spec: object, place: str = "spec", override: str | None = None) -> ParentSpec:
    """What is at ``place`` of a parent, and its annotation ``OVERRIDE``; what cannot be read is named in ``problems``."""
    if override is None and (spec is None or (isinstance(spec, dict) and _says_nothing(spec))):
        return SILENT
    problems: list[str] = []

    def attempt(read: Callable[[object], Any], value: object, where: str) -> Any:
        if value is None:
            return None
        try:
            return read(value)
        except SettingsError as error:
            problems.append(f"{where}: {error}")
            return None

    def take(tree: object, path: str, read: Callable[[object], Any]) -> Any:
        value = tree.get(path.rpartition(".")[2]) if isinstance(tree, dict) else None
        return attempt(read, value, f"{place}{path}")

    root = take({"": spec}, "", _mapping)
    debounce = take(root, ".debounce", _mapping)
    repair = take(root, ".repair", _mapping)
    return ParentSpec(
        heartbeat_timeout_s=take(root, ".heartbeatTimeout", _positive_duration),
        debounce_quiet_s=take(debounce, ".debounce.quiet", parse_duration),
        debounce_max_s=take(debounce, ".debounce.max", parse_duration),
        min_healthy=take(root, ".minHealthy", _count),
        repair_enabled=take(repair, ".repair.enabled", _flag),
        max_unhealthy=take(repair, ".repair.maxUnhealthy", parse_share),
        cooldown_s=take(repair, ".repair.cooldown", parse_duration),
        attempts_max=take(repair, ".repair.maxAttempts", _positive_count),
        in_flight_max=take(repair, ".repair.maxInFlight", _positive_count),
        paused=bool(take(root, ".paused", _flag)),
        override_until_s=attempt(parse_instant, override, f"metadata.annotations[{OVERRIDE}]"),
        problems=tuple(problems),
    )


def _says_nothing(spec: dict[str, Any]) -> bool:
    """As most do; a definition's default may have put the one field there."""
    return not spec or (len(spec) == 1 and spec.get("paused") is False)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _mapping(value: object) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    raise SettingsError(f"found {_short(value)}, expected an object")


def _positive_duration(value: object) -> float:
    seconds = parse_duration(value)
    if seconds <= 0:
        raise SettingsError(f"found {_short(value)}, expected a duration above zero such as 60s")
    return seconds


def _count(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _COUNT_MAX:
        return value
    raise SettingsError(f"found {_short(value)}, expected a whole number from 0 up")


def _positive_count(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _COUNT_MAX:
        return value
    raise SettingsError(f"found {_short(value)}, expected a whole number from 1 up")


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise SettingsError(f"found {_short(value)}, expected true or false")
