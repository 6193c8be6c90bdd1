"""How two statuses differ, field by field: for the plan, for shadow mode and for the why-log.

Only the fields that are wanted count: what others keep in the status is theirs. Lists of things that have a name (kinds,
conditions) are compared thing by thing, so that one node more is not "kinds differ".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_NAMES = ("type", "kind")  # of the things in a status' lists


def same(wanted: Mapping[str, Any], seen: Mapping[str, Any]) -> bool:
    """Whether every field we write is on the server as we want it; fields of others do not count."""
    return all(seen.get(name) == value for name, value in wanted.items())


def differences(seen: Any, wanted: Any, *, but: frozenset[str] = frozenset()) -> dict[str, tuple[Any, Any]]:
    """By path (``kinds.ComputeNode.healthy``): what stands there and what is wanted. ``but``: names that do not count."""
    return dict(_walk("", seen, wanted, but))


def brief(found: Mapping[str, tuple[Any, Any]], most: int = 6) -> str:
    """The differences in a line: ``healthy 3 → 2, conditions.Ready.status True → False``; times and words come last."""
    paths = sorted(found, key=lambda path: (path.endswith(("Time", "message", "Sample")), path.count(".")))
    parts = [f"{path} {_text(found[path][0])} → {_text(found[path][1])}" for path in paths[:most]]
    return ", ".join(parts) + (f" and {len(paths) - most} more" if len(paths) > most else "")


def _walk(path: str, seen: Any, wanted: Any, but: frozenset[str]) -> Iterator[tuple[str, tuple[Any, Any]]]:
    if isinstance(wanted, list) and (named := _named(wanted)) is not None:
        wanted, seen = named, (_named(seen) or {}) if isinstance(seen, list) else {}
    if not isinstance(wanted, Mapping):
        if seen != wanted:
            yield path, (seen, wanted)
        return
    held = seen if isinstance(seen, Mapping) else {}
    for name, value in wanted.items():
        if name not in but:
            yield from _walk(f"{path}.{name}" if path else name, held.get(name), value, but)


def _named(things: list[Any]) -> dict[str, Any] | None:
    """By name, where each has one; None where one has none, or there is none."""
    found: dict[str, Any] = {}
    for thing in things:
        name = next((thing[key] for key in _NAMES if key in thing), None) if isinstance(thing, Mapping) else None
        if name is None:
            return None
        found[str(name)] = thing
    return found or None


def _text(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 40 else text[:39] + "…"
