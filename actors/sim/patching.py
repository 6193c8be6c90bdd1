"""Patches and selectors: the small algebra on objects.

`merge_patch` shares every subtree that the patch does not touch with the original and never writes into either, so
stored objects may be handed out without copying, and a comparison of old and new stops at shared subtrees.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

from .apierrors import ApiError, bad_request

__all__ = ["field_selector", "json_patch", "label_selector", "look_up", "merge_patch"]

Obj = dict[str, Any]
_ABSENT: Any = object()


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7386. The result is `target` itself where the patch changes nothing."""
    if not isinstance(patch, dict):
        return patch
    base: Obj = {}
    result: Obj | None = {}
    if isinstance(target, dict):
        base, result = target, None
    for name, value in patch.items():
        if value is None:
            if name in base:
                result = dict(base) if result is None else result
                result.pop(name, None)
            continue
        before = base.get(name, _ABSENT)
        after = merge_patch(before, value) if isinstance(value, dict) else value
        if after is before or (type(after) is type(before) and after == before):
            continue
        result = dict(base) if result is None else result
        result[name] = after
    return base if result is None else result


def json_patch(target: Any, operations: Any) -> Any:
    """RFC 6902. Raises 400 for what is no list, 422 for operations, paths and tests that fail.

    As in the real server, replacing a field that is not there adds it, copying one adds a null, and an index may count
    from the end.
    """
    if not isinstance(operations, list):
        raise bad_request("error decoding patch: json patch: the body must be a list of operations")
    document = copy.deepcopy(target)
    for operation in operations:
        try:
            document = _json_step(document, operation)
        except (AttributeError, KeyError, IndexError, ValueError, TypeError) as error:
            raise ApiError(422, "the server rejected our request due to an error in our request") from error
    return document


def _json_step(document: Any, operation: Any) -> Any:
    op, steps = operation["op"], _steps(operation["path"])
    if op == "test":
        if _at(document, steps, None) != operation.get("value"):
            raise ValueError("test failed")
        return document
    if op in ("copy", "move"):
        source = _steps(operation["from"])
        value = copy.deepcopy(_at(document, source, None) if op == "copy" else _at(document, source))
        return _put(_removed(document, source) if op == "move" else document, steps, value, insert=True)
    if op == "remove":
        return _removed(document, steps)
    if op not in ("add", "replace"):
        raise ValueError(op)
    return _put(document, steps, operation["value"], insert=op == "add")


def _steps(path: str) -> list[str]:
    return [step.replace("~1", "/").replace("~0", "~") for step in path.split("/")[1:]]


_NEEDED: Any = object()


def _at(document: Any, steps: list[str], missing: Any = _NEEDED) -> Any:
    for step in steps[:-1]:
        document = document[int(step)] if isinstance(document, list) else document[step]
    if not steps:
        return document
    if isinstance(document, dict) and missing is not _NEEDED:
        return document.get(steps[-1], missing)
    return document[int(steps[-1])] if isinstance(document, list) else document[steps[-1]]


def _put(document: Any, steps: list[str], value: Any, *, insert: bool) -> Any:
    if not steps:
        return value
    parent = _at(document, steps[:-1])
    if not isinstance(parent, list):
        parent[steps[-1]] = value
    elif insert:
        at = len(parent) if steps[-1] == "-" else int(steps[-1])
        at = at + len(parent) + 1 if at < 0 else at
        if not 0 <= at <= len(parent):
            raise IndexError(at)
        parent.insert(at, value)
    else:
        parent[int(steps[-1])] = value
    return document


def _removed(document: Any, steps: list[str]) -> Any:
    parent = _at(document, steps[:-1])
    del parent[int(steps[-1]) if isinstance(parent, list) else steps[-1]]
    return document


_SET = re.compile(r"([^\s!=,()]+)\s+(in|notin)\s*\(([^)]*)\)\Z")
_PAIR = re.compile(r"([^\s!=,()]+)\s*(==|=|!=)\s*([^\s!=,()]*)\Z")
_HAS = re.compile(r"(!?)\s*([^\s!=,()]+)\Z")


def _among(key: str, values: frozenset[str], wanted: bool) -> Callable[[Obj], bool]:
    return lambda labels: (key in labels and labels[key] in values) is wanted


def _has(key: str, wanted: bool) -> Callable[[Obj], bool]:
    return lambda labels: (key in labels) is wanted


def label_selector(text: str) -> Callable[[Obj], bool] | None:
    """Compile a label selector (equality, sets, existence); None where it selects everything. Raises 400."""
    tests: list[Callable[[Obj], bool]] = []
    for part in (piece.strip() for piece in re.split(r",(?![^(]*\))", text)):
        if not part:
            continue
        if found := _SET.match(part):
            tests.append(_among(found[1], frozenset(value.strip() for value in found[3].split(",")), found[2] == "in"))
        elif found := _PAIR.match(part):
            tests.append(_among(found[1], frozenset((found[3],)), found[2] != "!="))
        elif found := _HAS.match(part):
            tests.append(_has(found[2], not found[1]))
        else:
            raise bad_request(f"unable to parse requirement: {part!r}")
    if not tests:
        return None

    def selects(obj: Obj) -> bool:
        labels = obj["metadata"].get("labels") or {}
        return all(test(labels) for test in tests)

    return selects


def look_up(obj: Any, path: str) -> Any:
    """The value at a dotted path, or None."""
    for step in path.split("."):
        obj = obj.get(step) if isinstance(obj, dict) else None
    return obj


def field_selector(text: str, allowed: frozenset[str]) -> Callable[[Obj], bool] | None:
    """Compile a field selector; None where it selects everything. Raises 400 for a label not in `allowed`."""
    tests: list[tuple[str, str, bool]] = []
    for part in (piece.strip() for piece in text.split(",")):
        if not part:
            continue
        found = re.match(r"([^\s!=]+?)\s*(!=|==|=)\s*(.*)\Z", part)
        if not found:
            raise bad_request(f"invalid field selector: {part!r}")
        if found[1] not in allowed and found[1] not in ("metadata.name", "metadata.namespace"):
            raise bad_request(f"field label not supported: {found[1]}")
        tests.append((found[1], found[3], found[2] != "!="))
    if not tests:
        return None

    def selects(obj: Obj) -> bool:
        for path, value, wanted in tests:
            actual = look_up(obj, path)
            if isinstance(actual, dict):  # Event's `source` selects by its component
                actual = actual.get("component")
            shown = "" if actual is None else str(actual)
            if (shown == value) is not wanted:
                return False
        return True

    return selects
