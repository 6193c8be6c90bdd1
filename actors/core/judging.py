"""What a child says of itself, beyond a boolean field: compiled once for each kind into functions of the values read.

``Reads`` collects which fields are wanted, by whom it may be several times; each is taken off the wire once. A value comes as
the first who asked for it wanted it: as text, as any JSON value, or raw. Whoever asks later makes the best of that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from .expression import evaluator, paths_in
from .fleet import ChildKind, ConditionIs, Expression, Field, FieldIn, Health
from .paths import Path, format_path, parse_path
from .shapes import Tree, insert

__all__ = ["CONDITIONS", "Reads", "Report", "fields_of", "kept_of", "report_of"]

Values = tuple[Any, ...]
Report = Callable[[Values], tuple[bool | None, str]]
"""Healthy or not (None: not known), and since when as the object tells it ("": it does not)."""
CONDITIONS: Path = ("status", "conditions")
_FIELDS_MAX = 4096
"""Characters of the further fields of one child: they are kept for each."""


class Condition(msgspec.Struct, gc=False):
    """As much of a condition as anybody looks at."""

    type: str | None = None
    status: str | None = None
    lastTransitionTime: str | None = None  # noqa: N815 - as on the wire


_conditions = msgspec.json.Decoder(list[Condition] | None)


class Reads:
    """The fields that are read of one kind: ``paths`` in the order of the values, and ``tree``, the decoder's shape."""

    def __init__(self, tree: Tree, paths: list[Path]) -> None:
        self.tree, self.paths = tree, paths

    def want(self, path: Path, leaf: object) -> int:
        """The position of that field among the values. ``ValueError`` where the path ends inside another, or another in it."""
        insert(self.tree, path, leaf)
        if path not in self.paths:
            self.paths.append(path)
        return self.paths.index(path)


def report_of(health: Health, reads: Reads) -> Report:
    """How to tell a child's health. A value of a wrong type is a ``ValueError``: nobody guesses who is ill."""
    since = _since(health, reads)
    how = health.healthy
    if isinstance(how, ConditionIs):
        return _by_condition(how, health, since, reads)
    if isinstance(how, FieldIn):
        verdict = _by_value(how, reads)
    elif isinstance(how, Expression):
        verdict = _by_expression(how, reads)
    else:
        verdict = _by_flag(how, reads)
    return lambda values: (verdict(values), since(values))


def fields_of(child: ChildKind, reads: Reads) -> Callable[[Values], tuple[str, str]]:
    """The further fields of a child, as JSON: those that matter and the quiet ones, each in the definition's order."""

    def texts(fields: list[Field]) -> Callable[[Values], str]:
        places = [reads.want(parse_path(each.path), Any) for each in fields]

        def text(values: Values) -> str:
            found = msgspec.json.encode([_plain(values[place]) for place in places]).decode()
            if len(found) > _FIELDS_MAX:
                raise ValueError(f"fields: {len(found)} characters of JSON, expected at most {_FIELDS_MAX}")
            return found

        return text if fields else lambda _values: ""

    loud = texts([each for each in child.fields if not each.quiet])
    quiet = texts([each for each in child.fields if each.quiet])
    return lambda values: (loud(values), quiet(values))


def kept_of(fields: tuple[Field, ...], whole: Path, at: int, reads: Reads) -> Callable[[Values], str] | None:
    """The further fields of a parent, as JSON, where there are any. What is at ``whole`` is read as one value, the ``at``th."""
    if not fields:
        return None
    digs: list[tuple[int, Path]] = []
    for each in fields:
        path = parse_path(each.path)
        within = bool(whole) and path[: len(whole)] == whole
        digs.append((at, path[len(whole) :]) if within else (reads.want(path, Any), ()))

    def text(values: Values) -> str:
        found = msgspec.json.encode([_dug(_plain(values[place]), path) for place, path in digs]).decode()
        if len(found) > _FIELDS_MAX:
            raise ValueError(f"fields: {len(found)} characters of JSON, expected at most {_FIELDS_MAX}")
        return found

    return text


def _dug(value: Any, path: Path) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


# --- each way to tell -------------------------------------------------------------------------------------------------------
def _by_flag(path: str, reads: Reads) -> Callable[[Values], bool | None]:
    place = reads.want(parse_path(path), bool)

    def verdict(values: Values) -> bool | None:
        found = _plain(values[place])
        if found is not None and not isinstance(found, bool):
            raise ValueError(f"{path}: found {_short(found)}, expected true or false")
        return found

    return verdict


def _by_condition(how: ConditionIs, health: Health, since: Callable[[Values], str], reads: Reads) -> Report:
    place = reads.want(CONDITIONS, msgspec.Raw)
    healthy, unhealthy, name = frozenset(how.healthy), frozenset(how.unhealthy), how.type
    own = not health.condition and not health.since

    def report(values: Values) -> tuple[bool | None, str]:
        for each in _read_conditions(values[place]):
            if each.type == name:
                verdict = True if each.status in healthy else False if each.status in unhealthy else None
                return verdict, (each.lastTransitionTime or "") if own else since(values)
        return None, ""

    return report


def _by_value(how: FieldIn, reads: Reads) -> Callable[[Values], bool | None]:
    place = reads.want(parse_path(how.path), Any)
    healthy = {(type(value), value) for value in how.healthy}
    unhealthy = None if how.unhealthy is None else {(type(value), value) for value in how.unhealthy}

    def verdict(values: Values) -> bool | None:
        found = _plain(values[place])
        if found is None:
            return None
        if isinstance(found, list | dict):
            raise ValueError(f"{how.path}: found {_short(found)}, expected one value")  # noqa: TRY004 - a wrong value
        if isinstance(found, float) and found.is_integer():
            found = int(found)
        each = (type(found), found)
        if each in healthy:
            return True
        return False if unhealthy is None or each in unhealthy else None

    return verdict


def _by_expression(how: Expression, reads: Reads) -> Callable[[Values], bool | None]:
    paths = paths_in(how.cel)
    places = []
    for path in paths:
        try:
            places.append(reads.want(path, msgspec.Raw))
        except ValueError:
            raise ValueError(
                f"the CEL expression looks at {format_path(path)} as a whole, or within what is read as a whole: "
                "expected the single fields of it that matter"
            ) from None
    verdict = evaluator(how.cel, paths)
    return lambda values: verdict(tuple([_raw(values[place]) for place in places]))


# --- when it turned ---------------------------------------------------------------------------------------------------------
def _since(health: Health, reads: Reads) -> Callable[[Values], str]:
    if health.condition:
        place = reads.want(CONDITIONS, msgspec.Raw)

        def by_condition(values: Values) -> str:
            for each in _read_conditions(values[place]):
                if each.type == health.condition:
                    return each.lastTransitionTime or ""
            return ""

        return by_condition
    if health.since:
        place = reads.want(parse_path(health.since), Any)

        def by_field(values: Values) -> str:
            found = _plain(values[place])
            return "" if found is None else found if isinstance(found, str) else msgspec.json.encode(found).decode()

        return by_field
    return lambda _values: ""


def _read_conditions(value: Any) -> list[Condition]:
    if value is None or isinstance(value, list):
        return value or []
    try:
        return _conditions.decode(value) or []
    except msgspec.ValidationError as error:
        raise ValueError(f"status.conditions: {error}") from error


# --- values, however they were read -----------------------------------------------------------------------------------------
def _plain(value: Any) -> Any:
    return msgspec.json.decode(value) if isinstance(value, msgspec.Raw) else value


def _raw(value: Any) -> bytes:
    return bytes(value) if isinstance(value, msgspec.Raw) else msgspec.json.encode(value)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
