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


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7386. The result is `target` itself where the patch changes nothing."""
    if not isinstance(patch, dict):
        return patch
    base: Obj = target if isinstance(target, dict) else {}
    result: Obj | None = None if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            if name in base:
                result = dict(base) if result is None else result
                result.pop(name, None)
            continue
        before = base.get(name)
        after = merge_patch(before, value)
        if name not in base or after is not before:
            if type(after) is type(before) and after == before and name in base:
                continue
            result = dict(base) if result is None else result
            result[name] = after
    return base if result is None else result


def json_patch(target: Any, operations: Any) -> Any:
    """RFC 6902 with add, remove, replace and test. Raises 400 on other operations, 422 on paths or tests that fail."""
    if not isinstance(operations, list):
        raise bad_request("json patch: the body must be a list of operations")
    document = copy.deepcopy(target)
    for operation in operations:
        op, path = operation.get("op"), operation.get("path", "")
        if op not in ("add", "remove", "replace", "test"):
            raise bad_request(f"json patch: operation {op!r} is not supported here")
        steps = [step.replace("~1", "/").replace("~0", "~") for step in path.split("/")[1:]]
        try:
            document = _json_step(document, op, steps, operation.get("value"))
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise ApiError(
                422, f"the server rejected our request due to an error in our request: {op} {path}"
            ) from error
    return document


def _json_step(document: Any, op: str, steps: list[str], value: Any) -> Any:
    if not steps:
        if op == "test" and document != value:
            raise ValueError("test failed")
        return document if op == "test" else value
    parent = document
    for step in steps[:-1]:
        parent = parent[int(step)] if isinstance(parent, list) else parent[step]
    last = steps[-1]
    if isinstance(parent, list):
        at = len(parent) if last == "-" else int(last)
        if op == "add":
            parent.insert(at, value)
        elif op == "remove":
            del parent[at]
        elif op == "replace":
            parent[at] = value
        elif parent[at] != value:
            raise ValueError("test failed")
    elif op == "add":
        parent[last] = value
    elif op == "remove":
        del parent[last]
    elif op == "replace":
        if last not in parent:
            raise KeyError(last)
        parent[last] = value
    elif parent.get(last) != value:
        raise ValueError("test failed")
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
