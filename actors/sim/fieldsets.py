"""Sets of fields: who owns what in an object, and what differs between two objects.

A set is a tree in the shape of ``fieldsV1``: steps ``f:name`` (a field), ``k:{"type":"Ready"}`` (the item of a list that is a
map) and ``v:"x"`` (the item of a list that is a set). A node with ``MEMBER`` in it is in the set itself; an empty node is not
there at all. Sets are values: no function here writes into what it was given.

How deep a set reaches is the schema's affair. Scalars, plain lists and maps marked atomic are one field each; lists with
``x-kubernetes-list-type`` map or set, and other maps, are as many as they have items. What the schema does not describe
is granular in its maps and atomic in its lists, as in the real server.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import attrs

from .schema import Node

__all__ = [
    "MEMBER",
    "Difference",
    "Fields",
    "compare",
    "decoded",
    "encoded",
    "fields_of",
    "intersection",
    "merged",
    "minus",
    "paths",
    "union",
    "without",
]

Fields = dict[str, Any]
"""A set: step → set, and ``MEMBER`` where the node itself belongs to it."""

MEMBER = "."
_MISSING: Any = object()


# --- algebra ---


def union(one: Fields, other: Fields) -> Fields:
    """What is in either."""
    result = dict(one)
    for step, inner in other.items():
        result[step] = union(result[step], inner) if step in result else inner
    return result


def intersection(one: Fields, other: Fields) -> Fields:
    """What is in both."""
    result: Fields = {}
    for step, inner in one.items():
        if step not in other:
            continue
        both = inner if step == MEMBER else intersection(inner, other[step])
        if both or step == MEMBER:
            result[step] = both
    return result


def minus(one: Fields, other: Fields) -> Fields:
    """What is in ``one`` and not in ``other``; members below a member of ``other`` stay."""
    result: Fields = {}
    for step, inner in one.items():
        if step == MEMBER:
            if MEMBER not in other:
                result[MEMBER] = {}
        elif left := minus(inner, other[step]) if step in other else inner:
            result[step] = left
    return result


def encoded(fields: Fields) -> Fields:
    """As in ``fieldsV1``: a member with nothing below it is ``{}``."""
    if fields.keys() == {MEMBER}:
        return {}
    return {step: {} if step == MEMBER else encoded(inner) for step, inner in fields.items()}


def decoded(fields: Any) -> Fields:
    """From ``fieldsV1``."""
    if not isinstance(fields, dict) or not fields:
        return {MEMBER: {}}
    return {step: {} if step == MEMBER else decoded(inner) for step, inner in fields.items()}


def paths(fields: Fields, at: str = "") -> Iterator[str]:
    """The members as people read them (``.spec.ports[name="http"].port``), the near ones first, as the real server has them."""
    for step in sorted(fields):
        if step != MEMBER and MEMBER in fields[step]:
            yield at + _shown(step)
    for step in sorted(fields):
        if step != MEMBER:
            yield from paths(fields[step], at + _shown(step))


def _shown(step: str) -> str:
    sort, _, rest = step.partition(":")
    if sort == "f":
        return "." + rest
    if sort == "v":
        return f"[={rest}]"
    pairs = (f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in json.loads(rest).items())
    return "[" + ",".join(pairs) + "]"


# --- objects and their schema ---


def _below(node: Node | None, name: str) -> tuple[Node | None, bool]:
    """The schema of a field, and whether it is declared (a struct's) rather than one of a map."""
    if node is None:
        return None, False
    if name in node.properties:
        return node.properties[name], True
    return node.values, False


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def _item_step(item: Any, node: Node) -> str:
    if not node.map_keys:
        return "v:" + _text(item)
    defaults = node.items.defaults if node.items is not None else {}
    return "k:" + _text({key: item.get(key, defaults.get(key)) for key in node.map_keys})


def _granular(value: Any, node: Node | None) -> bool:
    """Whether a list or map is as many fields as it has items."""
    if isinstance(value, dict):
        return node is None or not node.atomic
    return node is not None and bool(node.map_keys or node.set_list)


def _children(value: Any, node: Node | None) -> Iterator[tuple[str, Any, Node | None, bool]]:
    """Step, value, schema and whether it is declared, of each child of a granular value."""
    if isinstance(value, dict):
        for name, inner in value.items():
            below, declared = _below(node, name)
            yield "f:" + name, inner, below, declared
    elif node is not None:
        for item in value:
            yield _item_step(item, node), item, node.items, False


def fields_of(value: Any, node: Node | None) -> Fields:
    """The set of fields that ``value`` states: what its applier owns."""
    if not isinstance(value, (dict, list)) or not _granular(value, node):
        return {MEMBER: {}}
    result: Fields = {}
    for step, inner, below, declared in _children(value, node):
        found = fields_of(inner, below)
        if inner == {} or not declared:
            found = {**found, MEMBER: {}}
        if found:
            result[step] = found
    return result


@attrs.frozen
class Difference:
    """What changed from one object to another: three sets."""

    added: Fields
    removed: Fields
    modified: Fields

    @property
    def written(self) -> Fields:
        """Added or modified."""
        return union(self.added, self.modified)


def compare(old: Any, new: Any, node: Node | None) -> Difference:
    """The fields that were added, removed and modified; maps that come or go are fields themselves."""
    if old is new:
        return Difference({}, {}, {})
    if isinstance(new, (dict, list)) and old is None and new and _granular(new, node):
        old = type(new)()  # a null is an empty one
    if isinstance(old, (dict, list)) and new is None and old and _granular(old, node):
        new = type(old)()
    there = old is not _MISSING and new is not _MISSING
    kind = type(new) if old is _MISSING else type(old)
    mark: Fields = {MEMBER: {}}
    if there and type(new) is not kind:
        gone, come = compare(old, _MISSING, node).removed, compare(_MISSING, new, node).added
        return Difference(minus(come, mark), minus(gone, mark), mark)
    if kind not in (dict, list) or not _granular(new if old is _MISSING else old, node) or (not old and not new):
        if not there:
            return Difference(mark, {}, {}) if old is _MISSING else Difference({}, mark, {})
        return Difference({}, {}, {} if old == new else mark)
    before = {} if old is _MISSING else {step: (inner, below) for step, inner, below, _ in _children(old, node)}
    after = {} if new is _MISSING else {step: (inner, below) for step, inner, below, _ in _children(new, node)}
    sums: tuple[Fields, Fields, Fields] = ({}, {}, {})
    for step in before | after:
        below = (before.get(step) or after[step])[1]
        found = compare(before.get(step, (_MISSING,))[0], after.get(step, (_MISSING,))[0], below)
        for total, part in zip(sums, (found.added, found.removed, found.modified), strict=True):
            if part:
                total[step] = part
    if old is _MISSING:
        sums[0][MEMBER] = {}
    elif new is _MISSING:
        sums[1][MEMBER] = {}
    return Difference(*sums)


def merged(live: Any, given: Any, node: Node | None) -> Any:
    """``live`` with what ``given`` states; granular maps and lists keep what it leaves out."""
    if type(live) is not type(given) or not isinstance(given, (dict, list)) or not _granular(given, node):
        return given
    if isinstance(given, dict):
        inner = {name: merged(live.get(name), value, _below(node, name)[0]) for name, value in given.items()}
        return {**live, **inner}
    assert node is not None
    mine = {_item_step(item, node): item for item in live}
    theirs = {_item_step(item, node): item for item in given}
    both = {step: merged(mine[step], item, node.items) if step in mine else item for step, item in theirs.items()}
    return [{**mine, **both}[step] for step in _in_order(list(mine), list(theirs))]


def _in_order(mine: list[str], theirs: list[str]) -> list[str]:
    """All items: shared ones in their order, mine where they stood between them, new ones after their neighbours."""
    shared = [step for step in theirs if step in set(mine)]
    result: list[str] = []
    left, right = 0, 0
    while left < len(mine) or right < len(theirs):
        if left < len(mine) and right < len(theirs):
            if mine[left] == theirs[right]:
                result.append(mine[left])
                left, right, shared = left + 1, right + 1, shared[1:]
                continue
            if mine[left] in theirs and shared and shared[0] != mine[left]:
                left += 1
                continue
        if left < len(mine) and mine[left] not in theirs:
            result.append(mine[left])
            left += 1
        elif right < len(theirs):
            if shared and shared[0] == theirs[right]:
                shared = shared[1:]
            result.append(theirs[right])
            right += 1
        else:
            left += 1
    return result


def without(value: Any, gone: Fields, kept: Fields, node: Node | None, emptied: list[str], path: str = "") -> Any:
    """``value`` less the fields of ``gone``, as far as they are not in ``kept``.

    A field of a struct is kept by whatever is kept below it, an item of a list or of a map only by itself. What stays, and
    loses everything in it, becomes null, as in the real server; its path is added to ``emptied``.
    """
    if not isinstance(value, (dict, list)) or not value or not _granular(value, node):
        return value
    result: list[tuple[str, Any]] = []
    for step, inner, below, declared in _children(value, node):
        lost, held = gone.get(step) or {}, kept.get(step) or {}
        if lost and not (held if declared else MEMBER in held) and (declared or MEMBER in lost):
            continue
        at = f"{path}.{step[2:]}" if path else step[2:]
        left = without(inner, lost, held, below, emptied, at) if lost else inner
        if lost and declared and left not in (None, {}) and not fields_of(left, below):
            continue  # nothing in it that anybody could hold
        result.append((step, left))
    if not result:
        emptied.append(path)
        return None
    return {step[2:]: inner for step, inner in result} if isinstance(value, dict) else [inner for _, inner in result]
