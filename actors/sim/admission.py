"""What a write must pass: types, names, namespaces, metadata, the schema.

Pure functions from objects to objects or refusals, in the order in which the real server's registry applies them, so
that the store itself (`apiserver`) only has to commit what comes out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import attrs

from .apierrors import ApiError, bad_request, invalid
from .kinds import CRDS, NAMESPACES, Resource, accepted, check_event
from .schema import Findings

__all__ = [
    "WriteOptions",
    "admit",
    "bad_options",
    "check_name",
    "check_namespace",
    "check_type",
    "check_version",
    "next_metadata",
    "parse_version",
    "review_access",
    "spec_differs",
    "user_metadata",
]

Obj = dict[str, Any]

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?\Z")
_USER_METADATA = ("labels", "annotations", "finalizers", "ownerReferences", "generateName", "managedFields")


@attrs.frozen
class WriteOptions:
    """Of a write: `dry_run` commits nothing; `field_validation` is Strict (unknown field: 400), Warn or Ignore.

    `warnings` collects what Warn finds.
    """

    manager: str = ""
    dry_run: bool = False
    field_validation: str = "Ignore"
    warnings: list[str] = attrs.field(factory=list)


def user_metadata(given: Obj) -> Obj:
    """The part of `given` metadata that its user may set."""
    return {key: given[key] for key in _USER_METADATA if given.get(key)}


def next_metadata(resource: Resource, old: Obj, given: Obj) -> Obj:
    """The metadata after a write to the main path: the user's part from `given`, the rest as it was. Raises 422."""
    if given is old:
        return old
    if given.get("uid", old["uid"]) != old["uid"]:
        text = f'Invalid value: "{given["uid"]}": field is immutable'
        cause = {"reason": "FieldValueInvalid", "field": "metadata.uid", "message": text}
        raise invalid(resource.kind, resource.group, old["name"], [cause])
    kept = {key: value for key, value in old.items() if key not in _USER_METADATA}
    return kept | user_metadata(given)


def spec_differs(resource: Resource, old: Obj, new: Obj) -> bool:
    """Whether the generation grows: something but metadata (and status, where it is a subresource) differs."""
    outside = {"metadata", "status"} if resource.status_subresource else {"metadata"}
    names = (old.keys() | new.keys()) - outside
    return any(old.get(name) is not new.get(name) and old.get(name) != new.get(name) for name in names)


def admit(resource: Resource, new: Obj, old: Obj | None, options: WriteOptions, now: str) -> Obj:
    """`new` as it is to be stored. Raises 422 for what is invalid, 400 for unknown fields under Strict."""
    if resource.store == "events":
        new = {"source": {}, "firstTimestamp": None, "lastTimestamp": None} | new
        check_event(new, new_style=resource.group != "")
    if resource is CRDS:
        return accepted(new, now)
    if resource is NAMESPACES:
        labels = {"kubernetes.io/metadata.name": new["metadata"]["name"]} | (new["metadata"].get("labels") or {})
        metadata = new["metadata"] | {"labels": labels}
        return {"spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}, **new, "metadata": metadata}
    out = Findings()
    admitted = resource.admit(new, old, out)
    if out.unknown and options.field_validation in ("Strict", "Warn"):
        listed = ", ".join(f'unknown field "{path}"' for path in out.unknown)
        if options.field_validation == "Strict":
            where = f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}'
            raise bad_request(f"{where}: strict decoding error: {listed}")
        options.warnings.extend(f'unknown field "{path}"' for path in out.unknown)
    if out.causes:
        raise invalid(resource.kind, resource.group, new["metadata"]["name"], out.causes)
    return admitted


def parse_version(text: str) -> int:
    """A resourceVersion from a query; 0 for none. Raises 400."""
    if not text:
        return 0
    if not text.isascii() or not text.isdigit():
        raise bad_request(f'Invalid value: "{text}": resourceVersion must be a number')
    return int(text)


def bad_options(field: str, message: str) -> ApiError:
    """422 for list options that do not go together."""
    cause = {"reason": "FieldValueForbidden", "field": field, "message": f"Forbidden: {message}"}
    return invalid("ListOptions", "meta.k8s.io", "", [cause])


def check_type(resource: Resource, obj: Any) -> None:
    """Raises 400 unless `obj` is an object of the resource's kind (which it may leave unsaid)."""
    if not (isinstance(obj, dict) and isinstance(obj.get("metadata") or {}, dict)):
        raise bad_request("the body is not an object with metadata")
    kind, version = obj.get("kind") or resource.kind, obj.get("apiVersion") or resource.api_version
    if version != resource.api_version:
        text = (
            f"the API version in the data ({version}) does not match the expected API version ({resource.api_version})"
        )
        raise bad_request(text)
    if kind != resource.kind:
        text = f'Invalid value: "{kind}": must be {resource.kind}'
        cause = {"reason": "FieldValueInvalid", "field": "kind", "message": text}
        raise invalid(kind, resource.group, str((obj.get("metadata") or {}).get("name", "")), [cause])


def check_namespace(resource: Resource, given: Obj, namespace: str) -> str:
    """The namespace of an object at a path ("" for cluster-scoped kinds). Raises 400 where they contradict."""
    if not resource.namespaced:
        return ""
    stated = given.get("namespace") or namespace
    if stated != namespace and namespace:
        text = "the namespace of the provided object does not match the namespace sent on the request"
        raise bad_request(text)
    if not stated:
        raise bad_request("a namespace is needed")
    return str(stated)


def check_name(resource: Resource, name: str) -> None:
    """Raises 422 unless `name` is a DNS subdomain."""
    if not name:
        text = "Required value: name or generateName is required"
        cause = {"reason": "FieldValueRequired", "field": "metadata.name", "message": text}
        raise invalid(resource.kind, resource.group, name, [cause])
    if not _NAME.match(name):
        text = (
            f'Invalid value: "{name}": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric '
            "characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', "
            r"regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
        )
        cause = {"reason": "FieldValueInvalid", "field": "metadata.name", "message": text}
        raise invalid(resource.kind, resource.group, name, [cause])


def check_version(resource_version: str, match: str, current: int) -> None:
    """Raises 422, 400 or 504 (from the future) for what a list cannot be asked."""
    if match and not resource_version:
        raise bad_options(
            "resourceVersionMatch", "resourceVersionMatch is forbidden unless resourceVersion is provided"
        )
    if match not in ("", "Exact", "NotOlderThan"):
        raise bad_options("resourceVersionMatch", f'Unsupported value: "{match}"')
    wanted = parse_version(resource_version)
    if wanted > current:
        cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
        message = f"Timeout: Too large resource version: {wanted}, current: {current}"
        raise ApiError(504, message, details={"causes": [cause]}, retry_after_s=1)


def review_access(review: Obj, authorize: Callable[[Obj], bool]) -> Obj:
    """A SelfSubjectAccessReview, answered by the injected policy."""
    attributes = (review.get("spec") or {}).get("resourceAttributes") or (review.get("spec") or {}).get(
        "nonResourceAttributes"
    )
    if not attributes:
        raise bad_request("exactly one of spec.resourceAttributes and spec.nonResourceAttributes is needed")
    return {
        "kind": "SelfSubjectAccessReview",
        "apiVersion": "authorization.k8s.io/v1",
        "metadata": {},
        "spec": review["spec"],
        "status": {"allowed": authorize(attributes)},
    }
