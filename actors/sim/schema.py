"""Structural schemas, compiled: one pass prunes, defaults and validates.

A CRD's `openAPIV3Schema` becomes a tree of `Node`s, once. `Node.admit` then walks a value and its schema together and
copies on write: it returns the very same object when nothing had to change, and it does not descend at all where the
value *is* (by identity) the stored one. A heartbeat patch, which shares all but one leaf with the stored object,
therefore costs a few comparisons and not a walk over the object.

What the real server does and this does not: CEL rules (`x-kubernetes-validations`), `allOf`/`anyOf`/`oneOf`/`not`,
schemas for `metadata`, embedded resources, and formats other than `date-time`.
"""

from __future__ import annotations

import functools
import json
import re
from typing import Any

import attrs
import msgspec

__all__ = ["Findings", "Node", "compile_schema", "compiled"]

_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)\Z", re.IGNORECASE)
_MISSING: Any = object()
_Type = type  # a node has a field of that name
_TYPES: dict[type, str] = {
    str: "string", bool: "boolean", int: "integer", float: "number", list: "array", dict: "object",
}  # fmt: skip
_PLAIN = frozenset({str, bool, int, float})
_encode = msgspec.json.Encoder().encode


def _is_same(value: Any, old: Any) -> bool:
    """Whether both are the same JSON. Equal is not enough: 1 is 1.0 and true there; their texts tell them apart."""
    return bool(value == old) and _encode(value) == _encode(old)


@attrs.define
class Findings:
    """What a pass found: `causes` as in `Status.details.causes` (invalid), and the paths of pruned `unknown` fields."""

    causes: list[dict[str, str]] = attrs.field(factory=list)
    unknown: list[str] = attrs.field(factory=list)

    def add(self, reason: str, field: str, message: str) -> None:
        self.causes.append({"reason": reason, "message": message, "field": field or "<nil>"})


def _show(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _type_of(value: Any) -> str:
    return "null" if value is None else _TYPES[type(value)]


@attrs.define(eq=False)
class Node:
    """One schema node. Made by `compile_schema`; immutable afterwards."""

    type: str = ""
    nullable: bool = False
    preserve: bool = False
    int_or_string: bool = False
    properties: dict[str, Node] = attrs.field(factory=dict)
    defaults: dict[str, Any] = attrs.field(factory=dict)
    required: tuple[str, ...] = ()
    values: Node | None = None
    any_value: bool = False
    items: Node | None = None
    enum: tuple[Any, ...] | None = None
    pattern: re.Pattern[str] | None = None
    pattern_text: str = ""
    date_time: bool = False
    minimum: float | None = None
    maximum: float | None = None
    exclusive_minimum: bool = False
    exclusive_maximum: bool = False
    length_min: int | None = None
    length_max: int | None = None
    items_min: int | None = None
    items_max: int | None = None
    properties_max: int | None = None
    set_list: bool = False
    map_keys: tuple[str, ...] = ()
    atomic: bool = False
    fits: frozenset[_Type] = attrs.field(init=False)
    """The types of values that may stand here, null's included."""

    def __attrs_post_init__(self) -> None:
        wanted = {"number": ("number", "integer")}.get(self.type, (self.type,))
        wanted = ("integer", "string") if self.int_or_string else wanted
        fits = {kind for kind, name in _TYPES.items() if name in wanted or not (self.type or self.int_or_string)}
        self.fits = frozenset(fits | ({type(None)} if self.nullable or not self.type else set()))

    def admit(self, value: Any, old: Any, path: str, out: Findings) -> Any:
        """Return `value` pruned and defaulted (the same object where nothing changed); add what is wrong to `out`.

        `old` is the stored value at this place (anything if there is none): where `value is old` it was admitted
        before.
        """
        if value is old:
            return value
        kind = type(value)
        if kind not in self.fits:
            self._wrong_type(value, path, out)
            return value
        if value is None:
            return value
        if kind is dict:
            value = self._admit_object(value, old, path, out)
        elif kind is list:
            value = self._admit_list(value, old, path, out)
        elif kind is str:
            self._check_string(value, path, out)
        elif kind is not bool:
            self._check_number(value, path, out)
        if self.enum is not None and value not in self.enum:
            allowed = ", ".join(_show(one) for one in self.enum)
            out.add("FieldValueNotSupported", path, f"Unsupported value: {_show(value)}: supported values: {allowed}")
        return value

    def _wrong_type(self, value: Any, path: str, out: Findings) -> None:
        actual = _type_of(value)
        wanted = "integer,string" if self.int_or_string else self.type
        # The real server shows the name of the type where the value stands.
        out.add(
            "FieldValueTypeInvalid",
            path,
            f'Invalid value: "{actual}": {path} in body must be of type {wanted}: "{actual}"',
        )

    def _admit_object(self, value: dict[str, Any], old: Any, path: str, out: Findings) -> dict[str, Any]:
        known = self.properties
        before = old if isinstance(old, dict) else {}
        changed: dict[str, Any] | None = None
        for name, item in value.items():
            stored = before.get(name, _MISSING)
            if item is stored and item is not None:
                continue  # it was admitted before
            kind = type(item)
            if kind in _PLAIN and kind is type(stored) and item == stored:
                continue
            node = known.get(name) or self.values
            if node is None:
                if not (self.preserve or self.any_value):
                    changed = dict(value) if changed is None else changed
                    del changed[name]
                    out.unknown.append(f"{path}.{name}" if path else name)
                continue
            if item is None and not node.nullable:
                if name in self.defaults:  # a null where null is not allowed counts as absent
                    continue
                if node.type:
                    changed = dict(value) if changed is None else changed
                    del changed[name]
                    continue
            admitted = node.admit(item, stored, f"{path}.{name}" if path else name, out)
            if admitted is not item:
                changed = dict(value) if changed is None else changed
                changed[name] = admitted
        for name, default in self.defaults.items():
            present = value if changed is None else changed
            if present.get(name) is None and (name not in present or not known[name].nullable):
                changed = dict(value) if changed is None else changed
                inner = f"{path}.{name}" if path else name
                changed[name] = known[name].admit(json.loads(json.dumps(default)), _MISSING, inner, out)
        result = value if changed is None else changed
        for name in self.required:
            if name not in result:
                out.add("FieldValueRequired", f"{path}.{name}" if path else name, "Required value")
        if self.properties_max is not None and len(result) > self.properties_max:
            self._too_many(len(result), self.properties_max, path, out)
        return result

    def _admit_list(self, value: list[Any], old: Any, path: str, out: Findings) -> list[Any]:
        """A list comes as a whole, even where one of its items has changed: what says what the stored one at its place says
        becomes that one.
        """
        if _is_same(value, old):
            same: list[Any] = old
            return same
        result = value
        if self.items is not None:
            before = old if isinstance(old, list) else []
            for at, item in enumerate(value):
                stored = before[at] if at < len(before) else _MISSING
                known = _is_same(item, stored)
                admitted = stored if known else self.items.admit(item, stored, f"{path}[{at}]", out)
                if admitted is not item:
                    result = list(value) if result is value else result
                    result[at] = admitted
        if self.items_max is not None and len(result) > self.items_max:
            self._too_many(len(result), self.items_max, path, out)
        if self.items_min is not None and len(result) < self.items_min:
            text = f"Invalid value: {len(result)}: {path} in body should have at least {self.items_min} items"
            out.add("FieldValueInvalid", path, text)
        if self.set_list or self.map_keys:
            said = [self._said(item) for item in result]
            for at, item in enumerate(result) if len(set(said)) < len(said) else ():
                if said[at] in said[:at]:
                    key = {name: item.get(name) for name in self.map_keys} if isinstance(item, dict) else item
                    out.add("FieldValueDuplicate", f"{path}[{at}]", f"Duplicate value: {_show(key)}")
        return result

    def _said(self, item: Any) -> str | bytes:
        """What tells an item of a set, or of a map, from the others: for most a single string, which needs no JSON."""
        keys = self.map_keys
        if isinstance(item, dict):
            if len(keys) == 1 and type(key := item.get(keys[0])) is str:
                return key
            item = {name: item.get(name) for name in keys}
        return _encode(item)

    def _too_many(self, count: int, most: int, path: str, out: Findings) -> None:
        out.add("FieldValueTooMany", path, f"Too many: {count}: must have at most {most} items")

    def _check_string(self, value: str, path: str, out: Findings) -> None:
        """Of length and pattern the first breach is told, as the real server does."""
        if self.length_max is not None and len(value) > self.length_max:
            out.add("FieldValueTooLong", path, f"Too long: may not be more than {self.length_max} bytes")
        elif self.length_min is not None and len(value) < self.length_min:
            text = f"Invalid value: {_show(value)}: {path} in body should be at least {self.length_min} chars long"
            out.add("FieldValueInvalid", path, text)
        elif self.pattern is not None and not self.pattern.search(value):
            text = f"Invalid value: {_show(value)}: {path} in body should match '{self.pattern_text}'"
            out.add("FieldValueInvalid", path, text)
        if self.date_time and not _DATE_TIME.match(value):
            text = f"Invalid value: {_show(value)}: {path} in body must be of type date-time: {_show(value)}"
            out.add("FieldValueTypeInvalid", path, text)

    def _check_number(self, value: float, path: str, out: Findings) -> None:
        low, high = self.minimum, self.maximum
        if low is not None and (value < low or (self.exclusive_minimum and value == low)):
            than = "greater than" if self.exclusive_minimum else "greater than or equal to"
            text = f"Invalid value: {_show(value)}: {path} in body should be {than} {low:g}"
            out.add("FieldValueInvalid", path, text)
        if high is not None and (value > high or (self.exclusive_maximum and value == high)):
            than = "less than" if self.exclusive_maximum else "less than or equal to"
            text = f"Invalid value: {_show(value)}: {path} in body should be {than} {high:g}"
            out.add("FieldValueInvalid", path, text)


def compiled(schema: dict[str, Any]) -> Node:
    """``compile_schema``, once for each schema: every simulated server is given the same ones. Not to be changed."""
    return _compiled(_encode(schema))


@functools.lru_cache(maxsize=64)
def _compiled(text: bytes) -> Node:
    return compile_schema(msgspec.json.decode(text))


def compile_schema(schema: dict[str, Any]) -> Node:
    """Compile an `openAPIV3Schema`. Raises ValueError, naming the pattern, where a pattern does not compile."""
    properties = {name: compile_schema(inner) for name, inner in (schema.get("properties") or {}).items()}
    defaults = {
        name: inner["default"] for name, inner in (schema.get("properties") or {}).items() if "default" in inner
    }
    extra = schema.get("additionalProperties")
    pattern = schema.get("pattern")
    try:
        compiled = re.compile(pattern) if pattern else None
    except re.error as error:
        raise ValueError(f"pattern {pattern!r} does not compile: {error}") from error
    enum = schema.get("enum")
    return Node(
        type=schema.get("type", ""),
        nullable=bool(schema.get("nullable")),
        preserve=bool(schema.get("x-kubernetes-preserve-unknown-fields")),
        int_or_string=bool(schema.get("x-kubernetes-int-or-string")),
        properties=properties,
        defaults=defaults,
        required=tuple(schema.get("required") or ()),
        values=compile_schema(extra) if isinstance(extra, dict) else None,
        any_value=extra is True,
        items=compile_schema(schema["items"]) if isinstance(schema.get("items"), dict) else None,
        enum=tuple(enum) if enum is not None else None,
        pattern=compiled,
        pattern_text=pattern or "",
        date_time=schema.get("format") == "date-time",
        minimum=schema.get("minimum"),
        maximum=schema.get("maximum"),
        exclusive_minimum=bool(schema.get("exclusiveMinimum")),
        exclusive_maximum=bool(schema.get("exclusiveMaximum")),
        length_min=schema.get("minLength"),
        length_max=schema.get("maxLength"),
        items_min=schema.get("minItems"),
        items_max=schema.get("maxItems"),
        properties_max=schema.get("maxProperties"),
        set_list=schema.get("x-kubernetes-list-type") == "set",
        map_keys=(
            tuple(schema.get("x-kubernetes-list-map-keys") or ())
            if schema.get("x-kubernetes-list-type") == "map"
            else ()
        ),
        atomic=schema.get("x-kubernetes-map-type") == "atomic",
    )
