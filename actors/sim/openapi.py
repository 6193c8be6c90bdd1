"""Discovery and OpenAPI: how kubectl learns what is served.

kubectl maps `mcl` to a path by discovery, and decides by the OpenAPI document of a group whether the server validates
fields by itself (`fieldValidation` among the parameters of PATCH), in which case it sends the file as it is. Both are
computed from the served Resources on each request: they change with every CRD, and are asked for rarely.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from .kinds import Resource

__all__ = [
    "api_versions",
    "discovery",
    "groups",
    "openapi_v2",
    "openapi_v3",
    "openapi_v3_index",
    "resource_list",
    "version",
]

Obj = dict[str, Any]

_VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
_STATUS_VERBS = ["get", "patch", "update"]
_AUTHORIZATION = ("authorization.k8s.io", "v1")


def version() -> Obj:
    """`/version`: kubectl compares the minor version with its own."""
    return {
        "major": "1",
        "minor": "37",
        "gitVersion": "v1.37.0-muster.sim",
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none",
        "compiler": "none",
        "platform": "sim/sim",
    }


def api_versions() -> Obj:
    """`/api`."""
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}


def _group_versions(resources: list[Resource]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {_AUTHORIZATION[0]: [_AUTHORIZATION[1]]}
    for resource in resources:
        if resource.group:
            versions = found.setdefault(resource.group, [])
            if resource.version not in versions:
                versions.append(resource.version)
    return found


def groups(resources: list[Resource]) -> Obj:
    """`/apis`."""
    return {
        "kind": "APIGroupList",
        "apiVersion": "v1",
        "groups": [_group(name, versions) for name, versions in _group_versions(resources).items()],
    }


def _group(name: str, versions: list[str]) -> Obj:
    listed = [{"groupVersion": f"{name}/{one}", "version": one} for one in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def group(resources: list[Resource], name: str) -> Obj | None:
    """`/apis/GROUP`, or None where there is no such group."""
    versions = _group_versions(resources).get(name)
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(name, versions)} if versions else None


def resource_list(resources: list[Resource], group: str, version: str) -> Obj | None:
    """`/apis/GROUP/VERSION` or `/api/v1`, or None where there is no such group and version."""
    listed: list[Obj] = []
    for resource in resources:
        if (resource.group, resource.version) != (group, version):
            continue
        entry: Obj = {
            "name": resource.plural,
            "singularName": resource.singular,
            "namespaced": resource.namespaced,
            "kind": resource.kind,
            "verbs": _VERBS,
            "storageVersionHash": "",
        }
        if resource.short_names:
            entry["shortNames"] = list(resource.short_names)
        if resource.categories:
            entry["categories"] = list(resource.categories)
        listed.append(entry)
        if resource.status_subresource:
            listed.append(
                {
                    "name": f"{resource.plural}/status",
                    "singularName": "",
                    "namespaced": resource.namespaced,
                    "kind": resource.kind,
                    "verbs": _STATUS_VERBS,
                }
            )
    if (group, version) == _AUTHORIZATION:
        review = "SelfSubjectAccessReview"
        listed.append(
            {
                "name": review.lower() + "s",
                "singularName": review.lower(),
                "namespaced": False,
                "kind": review,
                "verbs": ["create"],
            }
        )
    if not listed:
        return None
    group_version = f"{group}/{version}" if group else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": listed}


def discovery(resources: list[Resource], *, core: bool) -> Obj:
    """The aggregated discovery document (`apidiscovery.k8s.io/v2`) of `/api` (`core`) or `/apis`."""
    names = {"": ["v1"]} if core else _group_versions(resources)
    items = []
    for name, versions in names.items():
        listed = []
        for one in versions:
            document = resource_list(resources, name, one)
            assert document is not None
            listed.append(
                {"version": one, "resources": _aggregated(name, one, document["resources"]), "freshness": "Current"}
            )
        items.append({"metadata": {"name": name, "creationTimestamp": None}, "versions": listed})
    return {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}


def _aggregated(group: str, version: str, entries: list[Obj]) -> list[Obj]:
    found: dict[str, Obj] = {}
    for entry in entries:
        plural, _, sub = entry["name"].partition("/")
        kind = {"group": group, "version": version, "kind": entry["kind"]}
        if sub:
            subs = found[plural].setdefault("subresources", [])
            subs.append({"subresource": sub, "responseKind": kind, "verbs": entry["verbs"]})
            continue
        found[plural] = {
            "resource": plural,
            "responseKind": kind,
            "scope": "Namespaced" if entry["namespaced"] else "Cluster",
            "singularResource": entry["singularName"],
            "verbs": entry["verbs"],
        }
        for field in ("shortNames", "categories"):
            if field in entry:
                found[plural][field] = entry[field]
    return list(found.values())


# --- OpenAPI ---


def _name(resource: Resource) -> str:
    return ".".join([*reversed((resource.group or "core").split(".")), resource.version, resource.kind])


def _gvk(resource: Resource) -> Obj:
    return {"group": resource.group, "version": resource.version, "kind": resource.kind}


def _schema(resource: Resource) -> Obj:
    schema = dict(resource.openapi or {"type": "object", "x-kubernetes-preserve-unknown-fields": True})
    meta = {
        "description": "Standard object's metadata.",
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": True,
    }
    text = {"type": "string"}
    schema["properties"] = (
        {"apiVersion": text, "kind": text} | dict(schema.get("properties") or {}) | {"metadata": meta}
    )
    schema["x-kubernetes-group-version-kind"] = [_gvk(resource)]
    return schema


def _paths(resource: Resource, body: Obj) -> Obj:
    root = f"/apis/{resource.group}/{resource.version}" if resource.group else f"/api/{resource.version}"
    collection = (
        f"{root}/namespaces/{{namespace}}/{resource.plural}" if resource.namespaced else f"{root}/{resource.plural}"
    )
    queries = ["dryRun", "fieldManager", "fieldValidation"]
    parameters = [{"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}} for name in queries]
    gvk = {"x-kubernetes-group-version-kind": _gvk(resource)}
    answer = {"responses": {"200": {"description": "OK"} | body}}

    def operation(action: str, writes: bool) -> Obj:
        return {"x-kubernetes-action": action, **gvk, **answer} | ({"parameters": parameters} if writes else {})

    return {
        collection: {"get": operation("list", False), "post": operation("post", True)},
        collection + "/{name}": {
            "get": operation("get", False),
            "put": operation("put", True),
            "patch": operation("patch", True),
            "delete": operation("delete", False),
        },
    }


def _group_path(resource: Resource) -> str:
    return f"apis/{resource.group}/{resource.version}" if resource.group else f"api/{resource.version}"


def openapi_v3_index(resources: list[Resource]) -> Obj:
    """`/openapi/v3`: one document per group and version; the hash makes clients fetch again after a change."""
    paths = sorted({_group_path(resource) for resource in resources})
    return {
        "paths": {path: {"serverRelativeURL": f"/openapi/v3/{path}?hash={_digest(resources, path)}"} for path in paths}
    }


def _digest(resources: list[Resource], path: str) -> str:
    return hashlib.sha256(msgspec.json.encode(openapi_v3(resources, path))).hexdigest()[:32].upper()


def openapi_v3(resources: list[Resource], path: str) -> Obj | None:
    """`/openapi/v3/PATH` (`apis/GROUP/VERSION` or `api/v1`), or None."""
    mine = [resource for resource in resources if _group_path(resource) == path]
    if not mine:
        return None
    paths: Obj = {}
    for resource in mine:
        body = {"content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{_name(resource)}"}}}}
        paths |= _paths(resource, body)
    return {
        "openapi": "3.0.0",
        "info": {"title": "Muster simulated API server", "version": version()["gitVersion"]},
        "paths": paths,
        "components": {"schemas": {_name(resource): _schema(resource) for resource in mine}},
    }


def openapi_v2(resources: list[Resource]) -> Obj:
    """`/openapi/v2`, as JSON only."""
    paths: Obj = {}
    for resource in resources:
        paths |= _paths(resource, {"schema": {"$ref": f"#/definitions/{_name(resource)}"}})
    return {
        "swagger": "2.0",
        "info": {"title": "Muster simulated API server", "version": version()["gitVersion"]},
        "paths": paths,
        "definitions": {_name(resource): _schema(resource) for resource in resources},
    }
