"""Custom resource definitions for the kinds of a fleet: the parent's is the built-in Cluster's by other names, a child's has
the fields that the fleet reads, and no others. Of a kind that comes with Muster, it is the one that comes with it. There is
none for a parent whose status is kept in an annotation: its own controller brings it.
"""

from __future__ import annotations

import copy
import json
from typing import Any

from ..core.builtin import MUSTER_FLEET
from ..core.expression import paths_in
from ..core.fleet import ChildKind, ConditionIs, Expression, FieldIn, FieldPath, FleetDefinition, KindRef
from ..core.own import parent_fields
from ..core.paths import Path, parse_path
from ..sim.crds import crd_documents

__all__ = ["definitions", "is_ours"]

Schema = dict[str, Any]
_LABELS = {
    "app.kubernetes.io/name": "muster",
    "app.kubernetes.io/component": "crd",
    "app.kubernetes.io/part-of": "muster",
}
_TEXT: Schema = {"type": "string", "maxLength": 1024}
_NAME: Schema = {"type": "string", "maxLength": 253}
_INSTANT: Schema = {"type": "string", "format": "date-time"}
_ANY: Schema = {"x-kubernetes-preserve-unknown-fields": True}


def is_ours(ref: KindRef) -> bool:
    """Whether somebody's own definition can define it: Kubernetes' groups and its projects' are taken."""
    return "." in ref.group and not ref.group.endswith((".k8s.io", ".x-k8s.io"))


def definitions(fleet: FleetDefinition) -> list[dict[str, Any]]:
    """One for each kind of the fleet that can have one, the parent's first."""
    shipped = {(each["spec"]["group"], each["spec"]["names"]["kind"]): each for each in crd_documents()}
    found = []
    if is_ours(fleet.parent) and not fleet.status_annotation:
        cluster = shipped[MUSTER_FLEET.parent.group, MUSTER_FLEET.parent.kind]
        found.append(_parent(fleet, copy.deepcopy(cluster)))
    ours = [child for child in fleet.children if is_ours(child.ref)]
    return found + [shipped.get((child.ref.group, child.ref.kind)) or _child(child) for child in ours]


# --- the parent -----------------------------------------------------------------------------------------------------------
def _parent(fleet: FleetDefinition, crd: dict[str, Any]) -> dict[str, Any]:
    if fleet.parent != MUSTER_FLEET.parent:
        _rename(crd, fleet.parent)
    (version,) = crd["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]
    schema["properties"]["spec"] = _nested(schema["properties"]["spec"], fleet.spec)
    if not fleet.spec:
        del schema["properties"]["spec"]
    for field in parent_fields(fleet):
        if (place := parse_path(field.path))[0] != "metadata":
            _put(schema, place, _ANY)
    status = schema["properties"]["status"]
    if fleet.own_name:
        status |= _ANY  # its own reconcile may write further fields
    status["properties"] = {
        fleet.status.get(name, name): below
        for name, below in status["properties"].items()
        if fleet.status.get(name, name)
    }
    status["required"] = [fleet.status.get(name, name) for name in status["required"]] if "required" in status else []
    if not status["required"]:
        del status["required"]
    version["additionalPrinterColumns"] = [
        {**column, "jsonPath": path}
        for column in version["additionalPrinterColumns"]
        if (path := _column(fleet, column))
    ]
    return crd


def _rename(crd: dict[str, Any], ref: KindRef) -> None:
    spec = crd["spec"]
    crd["metadata"]["name"] = f"{ref.plural}.{ref.group}"
    spec["group"], spec["scope"] = ref.group, "Namespaced" if ref.namespaced else "Cluster"
    spec["names"] = _names(ref)
    spec["versions"][0]["name"] = ref.version
    schema = spec["versions"][0]["schema"]["openAPIV3Schema"]
    schema["description"] = (
        f"Muster keeps the count of this {ref.kind}'s members in its status, and has unhealthy ones repaired."
    )
    schema.pop("x-kubernetes-validations", None)  # about the label of the built-in nodes


def _names(ref: KindRef) -> dict[str, Any]:
    return {
        "kind": ref.kind, "listKind": f"{ref.kind}List", "plural": ref.plural, "singular": ref.kind.lower(),
        "categories": ["fleet"],
    }  # fmt: skip


def _nested(schema: Schema, path: str) -> Schema:
    """The parent's own settings, at their place within the spec."""
    for name in reversed(parse_path(path)[1:] if path else ()):
        schema = {"type": "object", "properties": {name: schema}}
    return schema


def _column(fleet: FleetDefinition, column: dict[str, Any]) -> str:
    """The column's path by the fleet's names; "" where the field is not written."""
    path: str = column["jsonPath"]
    for name, wire in fleet.status.items():
        rest = path.removeprefix(f".status.{name}")
        if rest != path and rest[:1] in ("", "["):
            return f".status.{wire}{rest}" if wire else ""
    return path


# --- a child --------------------------------------------------------------------------------------------------------------
def _child(child: ChildKind) -> dict[str, Any]:
    ref, health = child.ref, child.health
    schema: Schema = {"type": "object", "properties": {}}
    if isinstance(health.healthy, ConditionIs) or health.condition:
        _put(schema, ("status", "conditions"), _conditions())
    if isinstance(health.healthy, str):
        _put(schema, parse_path(health.healthy), {"type": "boolean"})
    if isinstance(health.healthy, FieldIn):
        _put(schema, parse_path(health.healthy.path), _of_values(health.healthy))
    if isinstance(health.heartbeat, str) and health.heartbeat:
        _put(schema, parse_path(health.heartbeat), _INSTANT)
    if health.since:
        _put(schema, parse_path(health.since), _TEXT)
    for mapping in child.mapping:
        if isinstance(mapping, FieldPath):
            _put(schema, parse_path(mapping.path), _NAME)
    for field in child.fields:
        _put(schema, parse_path(field.path), _ANY)
    if isinstance(health.healthy, Expression):
        for path in paths_in(health.healthy.cel):
            _put(schema, path, _conditions() if path == ("status", "conditions") else _ANY)
    schema["properties"].pop("metadata", None)
    version = {
        "name": ref.version, "served": True, "storage": True, "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": schema},
    }  # fmt: skip
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{ref.plural}.{ref.group}", "labels": dict(_LABELS)},
        "spec": {
            "group": ref.group, "scope": "Namespaced" if ref.namespaced else "Cluster", "names": _names(ref),
            "versions": [version],
        },
    }  # fmt: skip


def _put(schema: Schema, path: Path, leaf: Schema) -> None:
    """A field at its path, unless it is there already."""
    *above, last = path
    for name in above:
        schema = schema["properties"].setdefault(name, {"type": "object", "properties": {}})
        if "properties" not in schema:
            return  # within a field that may hold anything
    schema["properties"].setdefault(last, copy.deepcopy(leaf))


def _of_values(how: FieldIn) -> Schema:
    kinds = {type(value) for value in (*how.healthy, *(how.unhealthy or ()))}
    names = {str: _TEXT, bool: {"type": "boolean"}, int: {"type": "integer", "format": "int64"}}
    return names[kinds.pop()] if len(kinds) == 1 else _ANY


def _conditions() -> Schema:
    """As the kinds that come with Muster have them."""
    (crd,) = [each for each in crd_documents() if each["spec"]["names"]["kind"] == "ComputeNode"]
    found = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]["conditions"]
    found["description"] = "What is true of it; the lastTransitionTime is when the status last changed."
    return dict(json.loads(json.dumps(found)))
