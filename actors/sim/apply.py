"""Server-side apply: who owns which field, what an apply may take, and what goes when its owner lets go.

``metadata.managedFields`` names for each writer (*manager*, operation, subresource) the set of fields it owns. An
**apply** states what its manager wants: what it states becomes its own, what another owns with another value is a
conflict (409, or taken with ``force``), what it no longer states and nobody else owns is removed. Any other write
(**update**) takes what it changes.

Ownership begins with an object's first apply: until then no ``managedFields`` are kept, so that plain writers pay
nothing. What was there before belongs to ``before-first-apply``, as in a real server whose managed fields were cleared.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import attrs

from .apierrors import ApiError, bad_request, invalid
from .fieldsets import (
    MEMBER,
    Fields,
    compare,
    decoded,
    encoded,
    fields_of,
    intersection,
    merged,
    minus,
    paths,
    union,
    without,
)
from .kinds import Resource
from .schema import Node

__all__ = ["Applied", "apply", "check_applied", "tracked"]

Obj = dict[str, Any]

_TEXT = Node(type="string")
_OWNER = Node(type="object", atomic=True, preserve=True)
_SERVERS = (
    "name",
    "namespace",
    "creationTimestamp",
    "uid",
    "generation",
    "resourceVersion",
    "managedFields",
    "selfLink",
)
_METADATA = Node(
    type="object",
    preserve=True,
    properties={name: Node() for name in (*_SERVERS, "generateName", "deletionTimestamp", "deletionGracePeriodSeconds")}
    | {
        "labels": Node(type="object", values=_TEXT),
        "annotations": Node(type="object", values=_TEXT),
        "finalizers": Node(type="array", items=_TEXT, set_list=True),
        "ownerReferences": Node(type="array", items=_OWNER, map_keys=("uid",)),
    },
)
_NOBODYS: Fields = {
    "f:apiVersion": {MEMBER: {}},
    "f:kind": {MEMBER: {}},
    "f:metadata": {MEMBER: {}} | {"f:" + name: {MEMBER: {}} for name in _SERVERS},
}
_WRONG_TYPES = {
    "string": "expected string, got {}",
    "integer": "expected numeric (int or float), got {}",
    "number": "expected numeric (int or float), got {}",
    "boolean": "expected boolean, got {}",
    "object": "expected map, got {}",
    "array": "expected list, got {}",
}
_FITTING: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int, float),
    "number": (int, float),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list,),
}


@attrs.frozen
class _Manager:
    """A writer, as ``managedFields`` tells it from others."""

    name: str
    operation: str
    api_version: str
    subresource: str

    def __str__(self) -> str:
        sub = f' with subresource "{self.subresource}"' if self.subresource else ""
        return f'"{self.name}"{sub}' + (f" using {self.api_version}" if self.operation == "Update" else "")


@attrs.frozen
class _Owned:
    fields: Fields
    time: str


_Owners = dict[_Manager, _Owned]


@attrs.frozen
class Applied:
    """What an apply makes of an object: the object, and its ``managedFields``."""

    obj: Obj
    managed: list[Obj]


@lru_cache(maxsize=256)
def _root(resource: Resource) -> Node:
    """The schema of whole objects, their metadata included."""
    schema = resource.schema or Node(type="object", preserve=True)
    return attrs.evolve(schema, properties={**schema.properties, "metadata": _METADATA})


def _read(managed: list[Obj]) -> _Owners:
    owners: _Owners = {}
    for entry in managed:
        if not entry.get("operation"):
            continue
        who = _Manager(
            entry.get("manager", ""), entry["operation"], entry.get("apiVersion", ""), entry.get("subresource", "")
        )
        fields = decoded(entry.get("fieldsV1"))
        if who in owners:
            fields = union(owners[who].fields, fields)
        owners[who] = _Owned(fields, entry.get("time", ""))
    return owners


def _written(owners: _Owners) -> list[Obj]:
    entries: list[Obj] = []
    order = sorted(
        owners.items(),
        key=lambda pair: (
            pair[0].operation, pair[1].time, pair[0].name, pair[0].api_version, pair[0].subresource,
        ),
    )  # fmt: skip
    for who, owned in order:
        if not owned.fields:
            continue
        entry: Obj = {
            "manager": who.name,
            "operation": who.operation,
            "apiVersion": who.api_version,
            "time": owned.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": encoded(owned.fields),
        }
        entries.append(entry | ({"subresource": who.subresource} if who.subresource else {}))
    return entries


def _without_ignored(fields: Fields, resource: Resource, subresource: str) -> Fields:
    """Less what nobody owns, and what a write to this path cannot set."""
    ignored = {"f:metadata", "f:spec"} if subresource else {"f:status"} if resource.status_subresource else set()
    return minus({step: inner for step, inner in fields.items() if step not in ignored}, _NOBODYS)


def _disown(owners: _Owners, fields: Fields, but: _Manager) -> _Owners:
    return {
        who: owned if who == but else attrs.evolve(owned, fields=minus(owned.fields, fields))
        for who, owned in owners.items()
    }


def _updated(
    resource: Resource, old: Obj, new: Obj, owners: _Owners, me: _Manager, now: str
) -> tuple[_Owners, bool]:  # fmt: skip
    """The owners after a plain write by ``me``, and whether anything changed hands."""
    found = compare(old, new, _root(resource))
    written = _without_ignored(found.written, resource, me.subresource)
    removed = _without_ignored(found.removed, resource, me.subresource)
    if not written and not removed:
        return owners, False
    mine = owners.get(me, _Owned({}, now)).fields
    owners = _disown(_disown(owners, written, me), removed, me)
    owners[me] = _Owned(union(minus(mine, removed), written), now)
    return owners, True


def tracked(
    resource: Resource, old: Obj, new: Obj, managed: list[Obj], manager: str, subresource: str, now: str
) -> list[Obj]:
    """``managedFields`` after a plain write by ``manager`` that makes ``new`` of ``old``."""
    me = _Manager(manager, "Update", resource.api_version, subresource)
    owners, changed = _updated(resource, old, new, _read(managed), me, now)
    return _written(owners) if changed else managed


def apply(
    resource: Resource, live: Obj | None, given: Obj, manager: str, subresource: str, now: str, *, force: bool
) -> Applied:
    """``given`` applied by ``manager`` to ``live`` (None: there is none yet). Raises 409 with a cause for each conflict."""
    root = _root(resource)
    if subresource:
        given = {name: given[name] for name in ("apiVersion", "kind", "status") if name in given}
    elif resource.status_subresource:
        given = {name: value for name, value in given.items() if name != "status"}
    me = _Manager(manager, "Apply", resource.api_version, subresource)
    owners = _read((live or {}).get("metadata", {}).get("managedFields") or [])
    if live is not None and not owners:
        first = _Manager("before-first-apply", "Update", resource.api_version, subresource)
        owners, _ = _updated(resource, {}, live, {}, first, now)
    last = owners.get(me, _Owned({}, now))
    mine = _without_ignored(fields_of(given, root), resource, subresource)
    owners[me] = _Owned(mine, last.time if mine == last.fields else now)
    new = given if live is None else merged(live, given, root)
    emptied: list[str] = []
    if last.fields:
        kept = _NOBODYS
        for owned in owners.values():
            kept = union(kept, owned.fields)
        new = without(new, last.fields, kept, root, emptied)
    found = compare(live or {}, new, root)
    written = _without_ignored(found.written, resource, subresource)
    conflicts = {
        who: taken
        for who, owned in owners.items()
        if who != me and (taken := intersection(owned.fields, written))
    }  # fmt: skip
    if conflicts and not force:
        raise _conflict(conflicts)
    if nulls := [path for path in emptied if not path.startswith("metadata.")]:
        raise _nulls(resource, new["metadata"]["name"], nulls)
    for who, taken in conflicts.items():
        owners[who] = attrs.evolve(owners[who], fields=minus(owners[who].fields, taken))
    return Applied(new, _written(_disown(owners, found.removed, me)))


def _nulls(resource: Resource, name: str, emptied: list[str]) -> ApiError:
    """So the real server refuses to take everything out of a map that somebody holds."""
    causes = [
        {
            "reason": "FieldValueTypeInvalid",
            "field": path,
            "message": f'Invalid value: "null": {path} in body must be of type object: "null"',
        }
        for path in emptied
    ]
    return invalid(resource.kind, resource.group, name, causes)


def _conflict(conflicts: dict[_Manager, Fields]) -> ApiError:
    ordered = sorted(conflicts.items(), key=lambda pair: str(pair[0]))
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {who}", "field": path}
        for who, fields in ordered
        for path in paths(fields)
    ]
    if len(causes) == 1:
        text = f"Apply failed with 1 conflict: {causes[0]['message']}: {causes[0]['field']}"
    else:
        listed = "\n".join(
            f"conflicts with {who}:\n" + "\n".join(f"- {path}" for path in paths(fields)) for who, fields in ordered
        )
        text = f"Apply failed with {len(causes)} conflicts: {listed}"
    return ApiError(409, text, details={"causes": causes})


# --- what an apply must look like ---


def check_applied(resource: Resource, given: Any, name: str) -> None:
    """Raises 400 for what is no object of this kind, 500 (so does the real server) for what its schema does not know."""
    if not isinstance(given, dict):
        raise bad_request("error decoding patch: the body is not an object")
    group, _, version = str(given.get("apiVersion", "")).rpartition("/")
    if (given.get("apiVersion"), given.get("kind")) != (resource.api_version, resource.kind):
        raise bad_request(f"invalid object type: {group}/{version}, Kind={given.get('kind', '')}")
    metadata = given.get("metadata") or {}
    if metadata.get("managedFields") is not None:
        raise bad_request("metadata.managedFields must be nil")
    if metadata.get("name", name) != name:
        raise bad_request(f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})")
    errors: list[str] = []
    _check(given, _root(resource), "", errors)
    if errors:
        text = errors[0] if len(errors) == 1 else "errors:\n" + "\n".join("  " + error for error in errors)
        what = f"({metadata.get('namespace', '')}/{name}; {resource.api_version}, Kind={resource.kind})"
        raise ApiError(500, f"failed to create typed patch object {what}: {text}", reason="")


def _check(value: Any, node: Node, path: str, errors: list[str]) -> None:
    if value is None:
        return
    shown = {bool: "boolean", int: "int", float: "float", str: "string", dict: "map", list: "list"}[type(value)]
    if node.type and type(value) not in _FITTING[node.type]:
        errors.append(f"{path}: {_WRONG_TYPES[node.type].format(shown)}")
    elif isinstance(value, dict):
        for name, inner in value.items():
            below = node.properties.get(name) or node.values
            if below is not None:
                _check(inner, below, f"{path}.{name}", errors)
            elif node.type == "object" and not (node.preserve or node.any_value):
                errors.append(f"{path}.{name}: field not declared in schema")
    elif isinstance(value, list):
        _check_list(value, node, path, errors)


def _check_list(value: list[Any], node: Node, path: str, errors: list[str]) -> None:
    seen: set[str] = set()
    for at, item in enumerate(value):
        if node.map_keys and not (isinstance(item, dict) and any(key in item for key in node.map_keys)):
            keys = "[" + " ".join(f'"{key}"' for key in node.map_keys) + "]"
            errors.append(
                f"{path}: element {at}: associative list with keys has an element that omits all key fields {keys} "
                "(and doesn't have default values for any key fields)"
            )
            continue
        if node.map_keys or node.set_list:
            step = next(iter(paths(fields_of([item], node))))
            if step in seen:
                errors.append(f"{path}: duplicate entries for key {step}")
            seen.add(step)
        if node.items is not None:
            _check(item, node.items, f"{path}[{at}]", errors)
