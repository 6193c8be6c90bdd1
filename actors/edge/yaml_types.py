"""YAML into msgspec structs, with all that is wrong and where: the library's own conversion stops at the first, without a line.

The types say everything (``msgspec.inspect``): bounds, patterns, words, and in ``extra`` what is expected, for people. Of
YAML's own magic nothing is taken: a date is text that somebody wrote, and a word that YAML reads as true or false says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec
import yaml
from attrs import define, field
from msgspec import inspect as types

from ..core.errors import SettingsError
from ..core.fleet_rules import Place, Problem, near

__all__ = ["BAD", "Read", "read_yaml"]

BAD: Any = type("Bad", (), {"__repr__": lambda _self: "BAD", "__bool__": lambda _self: False})()
"""Stands where something could not be read; its problem is on record."""
_NODES_MAX = 20_000
_DEPTH_MAX = 32
_TAG = "tag:yaml.org,2002:"


@define
class Read:
    """What a file says: ``value`` of the type asked for (or ``BAD``), what is wrong, and the line of each place."""

    value: Any = BAD
    problems: list[Problem] = field(factory=list)
    lines: dict[Place, int] = field(factory=dict)

    def line(self, place: Place) -> int:
        """The line of a place, or of what is around it."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)


def read_yaml(text: str, kind: Any) -> Read:
    """One document of that type. ``SettingsError`` where it is no YAML, or not one document."""
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
        told = getattr(error, "problem", None) or str(error)[:200]
        raise SettingsError(f"no YAML: {where}{' '.join(told.split())}") from error
    walk = _Walk(loader)
    if node is None:
        walk.read.problems.append(Problem((), "the file is empty, expected a fleet"))
    else:
        walk.read.value = walk.value(node, types.type_info(kind), (), "")
    return walk.read


class _Walk:
    """One reading. A node that is named again (an alias) is read again; how many there are in all is bounded."""

    def __init__(self, loader: yaml.SafeLoader) -> None:
        self.read = Read()
        self._loader = loader
        self._left = _NODES_MAX

    def value(self, node: yaml.Node, kind: types.Type, place: Place, expected: str) -> Any:
        """The node as that type; ``BAD`` with its problem on record where it is none."""
        self.read.lines.setdefault(place, node.start_mark.line + 1)
        self._left -= 1
        if self._left < 0 or len(place) > _DEPTH_MAX:
            if self._left >= -1:
                self._wrong(place, f"found more than {_NODES_MAX} values, or more than {_DEPTH_MAX} levels of them")
            self._left = min(self._left, -1)
            return BAD
        if isinstance(kind, types.Metadata):
            return self.value(node, kind.type, place, (kind.extra or {}).get("expected", expected))
        if isinstance(kind, types.UnionType):
            return self._union(node, kind, place, expected)
        if isinstance(kind, types.StructType):
            return self._struct(node, kind, place)
        if isinstance(kind, types.ListType):
            return self._list(node, kind, place)
        if isinstance(kind, types.DictType):
            return self._dict(node, kind, place)
        if isinstance(kind, types.AnyType):
            return self._any(node, place)
        return self._scalar(node, kind, place, expected)

    # --- what has something in it ---------------------------------------------------------------------------------------
    def _pairs(self, node: yaml.MappingNode, place: Place) -> Iterator[tuple[str, yaml.Node]]:
        seen: dict[str, int] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != f"{_TAG}str":
                self.read.lines.setdefault((*place, "?"), line)
                told = f"found {_found(key_node)} as a name, expected a word"
                self._wrong(
                    (*place, "?"), told + (": write it in quotes" if isinstance(key_node, yaml.ScalarNode) else "")
                )
                continue
            key = key_node.value
            if key in seen:
                self.read.lines[*place, key] = line
                self._wrong((*place, key), f"found twice, first in line {seen[key]}, expected it once")
                continue
            seen[key] = self.read.lines[*place, key] = line
            yield key, value_node

    def _struct(self, node: yaml.Node, kind: types.StructType, place: Place) -> Any:
        fields = {each.encode_name: each for each in kind.fields}
        if not isinstance(node, yaml.MappingNode):
            if (
                _is_null(node)
                and not any(each.required for each in fields.values())
                and not getattr(kind.cls, "ONE_OF", ())
            ):
                return kind.cls()
            return self._bad(place, node, f"a mapping with {_words(fields)}" if fields else "nothing in it: {}")
        values: dict[str, Any] = {}
        for key, below in self._pairs(node, place):
            if key in fields:
                values[key] = self.value(below, fields[key].type, (*place, key), "")
            else:
                told = near(key, fields) if fields else ""
                self._wrong((*place, key), f"there is no such field{told or f', expected one of {_words(fields)}'}")
        for name, each in fields.items():
            if each.required and name not in values:
                self._wrong(place, f"found no {name}, expected it: {_told(each.type)}")
                values[name] = BAD
        self._one_of(kind, place, values)
        missing = [name for name, each in fields.items() if each.required and values.get(name) is BAD]
        if missing and place:  # the outermost comes with what could be read of it, so that more of it is looked at
            return BAD
        kept = {name: value for name, value in values.items() if value is not BAD or name in missing}
        return kind.cls(**{fields[name].name: value for name, value in kept.items()})

    def _one_of(self, kind: types.StructType, place: Place, values: dict[str, Any]) -> None:
        choice = getattr(kind.cls, "ONE_OF", ())
        found = [name for name in choice if name in values]
        if choice and len(found) != 1:
            told = " and ".join(found) if found else "none of them"
            self._wrong(place, f"found {told}, expected exactly one of {', '.join(choice)}")
            values[choice[0]] = BAD
            for name in found:
                values[name] = BAD

    def _list(self, node: yaml.Node, kind: types.ListType, place: Place) -> Any:
        if not isinstance(node, yaml.SequenceNode):
            return self._bad(place, node, "a list, each of it on a line that begins with -")
        values = [self.value(below, kind.item_type, (*place, number), "") for number, below in enumerate(node.value)]
        self._count(len(values), kind, place)
        return values

    def _dict(self, node: yaml.Node, kind: types.DictType, place: Place) -> Any:
        if not isinstance(node, yaml.MappingNode):
            return self._bad(place, node, "a mapping: a name, a colon and a value on each line")
        values: dict[str, Any] = {}
        for key, below in self._pairs(node, place):
            name = _bare(kind.key_type)
            if isinstance(name, types.StrType) and not _fits(key, name):
                self._wrong((*place, key), f"found {key!r}, expected {_told(kind.key_type)}")
            values[key] = self.value(below, kind.value_type, (*place, key), "")
        self._count(len(values), kind, place)
        return values

    def _count(self, count: int, kind: types.ListType | types.DictType, place: Place) -> None:
        if count < (kind.min_length or 0):
            self._wrong(place, f"found nothing in it, expected at least {kind.min_length}")
        if kind.max_length is not None and count > kind.max_length:
            self._wrong(place, f"found {count} in it, expected at most {kind.max_length}")

    # --- what has not -----------------------------------------------------------------------------------------------------
    def _union(self, node: yaml.Node, kind: types.UnionType, place: Place, expected: str) -> Any:
        shapes = {yaml.MappingNode: (types.StructType, types.DictType), yaml.SequenceNode: (types.ListType,)}
        for node_type, wanted in shapes.items():
            if isinstance(node, node_type):
                for each in kind.types:
                    if isinstance(_bare(each), wanted):
                        return self.value(node, each, place, expected)
        told = " or ".join(dict.fromkeys(filter(None, (_told(each) for each in kind.types))))
        if isinstance(node, yaml.ScalarNode):
            for each in kind.types:
                if self._takes(node, _bare(each)):
                    return self._plain(node)
        return self._bad(place, node, expected or told)

    def _scalar(self, node: yaml.Node, kind: types.Type, place: Place, expected: str) -> Any:
        if isinstance(node, yaml.ScalarNode) and self._takes(node, kind):
            return self._plain(node)
        words = kind.values if isinstance(kind, types.LiteralType) else ()
        told = near(node.value, map(str, words)) if isinstance(node, yaml.ScalarNode) and len(words) > 1 else ""
        quotes = isinstance(kind, types.StrType) and isinstance(node, yaml.ScalarNode) and _fits(node.value, kind)
        return self._bad(place, node, expected or _told(kind), told or (": write it in quotes" if quotes else ""))

    def _takes(self, node: yaml.ScalarNode, kind: types.Type) -> bool:
        """Whether that scalar is of that type, as it is written."""
        tag = node.tag.removeprefix(_TAG)
        if isinstance(kind, types.LiteralType):
            found = self._plain(node)
            return any(found == word and type(found) is type(word) for word in kind.values)
        if isinstance(kind, types.StrType):
            return tag == "str" and _fits(node.value, kind)
        wanted = {types.BoolType: "bool", types.IntType: "int", types.FloatType: "float", types.NoneType: "null"}
        return tag == wanted.get(type(kind), "nothing") and self._plain(node) is not BAD

    def _plain(self, node: yaml.ScalarNode) -> Any:
        """The value, as JSON has it."""
        if node.tag not in (f"{_TAG}bool", f"{_TAG}int", f"{_TAG}float", f"{_TAG}null"):
            return node.value
        try:
            found = self._loader.construct_object(node)
        except (yaml.YAMLError, ValueError):
            return BAD
        return found if found is None or abs(found) < 2**63 else BAD

    def _any(self, node: yaml.Node, place: Place) -> Any:
        """Any JSON value."""
        if isinstance(node, yaml.ScalarNode):
            found = self._plain(node)
            return self._bad(place, node, "a value that JSON has") if found is BAD else found
        if isinstance(node, yaml.SequenceNode):
            return [self.value(below, types.AnyType(), (*place, number), "") for number, below in enumerate(node.value)]
        assert isinstance(node, yaml.MappingNode)
        return {key: self.value(below, types.AnyType(), (*place, key), "") for key, below in self._pairs(node, place)}

    def _bad(self, place: Place, node: yaml.Node, expected: str, hint: str = "") -> Any:
        self._wrong(place, f"found {_found(node)}, expected {expected}{hint}")
        return BAD

    def _wrong(self, place: Place, text: str) -> None:
        self.read.problems.append(Problem(place, text))


# --- words for people -----------------------------------------------------------------------------------------------------
def _found(node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode):
        tag = node.tag.removeprefix(_TAG)
        text = repr(node.value if len(node.value) <= 60 else node.value[:57] + "...")
        if tag == "null":
            return "nothing"
        names = {"bool": "the boolean", "int": "the number", "float": "the number", "timestamp": "the date"}
        return text if tag == "str" else f"{names.get(tag, tag)} {node.value[:60]}"
    return "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == f"{_TAG}null"


def _bare(kind: types.Type) -> types.Type:
    return _bare(kind.type) if isinstance(kind, types.Metadata) else kind


def _fits(text: str, kind: types.StrType) -> bool:
    within = (kind.min_length or 0) <= len(text) <= (len(text) if kind.max_length is None else kind.max_length)
    return within and (kind.pattern is None or re.search(kind.pattern, text) is not None)


def _words(fields: dict[str, Any]) -> str:
    return ", ".join(fields)


def _told(kind: types.Type) -> str:
    """What a type takes."""
    if isinstance(kind, types.Metadata):
        told: str = (kind.extra or {}).get("expected", "")
        return told or _told(kind.type)
    if isinstance(kind, types.LiteralType):
        return " or ".join(_literal(word) for word in sorted(kind.values, key=str))
    if isinstance(kind, types.UnionType):
        return " or ".join(dict.fromkeys(map(_told, kind.types)))
    if isinstance(kind, types.StructType):
        return f"a mapping with {_words({each.encode_name: each for each in kind.fields})}"
    names = {
        types.BoolType: "true or false", types.IntType: "a number", types.FloatType: "a number", types.NoneType: "null",
        types.StrType: "text", types.ListType: "a list", types.DictType: "a mapping",
    }  # fmt: skip
    return names.get(type(kind), "a value")


def _literal(word: object) -> str:
    return word if isinstance(word, str) else msgspec.json.encode(word).decode()
