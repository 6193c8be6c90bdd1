"""What a write must pass: types, names, namespaces, metadata, the schema.

Pure functions from objects to objects or refusals, in the order in which the real server's registry applies them, so
that the store itself (`apiserver`) only has to commit what comes out.
"""

from __future__ import annotations

import json
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
    "check_metadata",
    "check_namespace",
    "check_type",
    "check_version",
    "check_watch",
    "generated",
    "next_metadata",
    "review_access",
    "spec_differs",
    "user_metadata",
]

Obj = dict[str, Any]

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z")
_NAME_MAX = 253
_GENERATED_MAX = 63
_QUALIFIED = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]\Z")
_LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9])?\Z")
_USER_METADATA = ("labels", "annotations", "finalizers", "ownerReferences", "generateName", "managedFields")
_METADATA = frozenset(_USER_METADATA) | {
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "selfLink",
}


@attrs.frozen
class WriteOptions:
    """Of a write: `dry_run` commits nothing; `field_validation` is Strict (unknown field: 400), Warn or Ignore.

    `warnings` collects what Warn finds. `manager` is the writer's name for itself (apply demands one), `agent` what it is
    called where it gives none. `force` lets an apply take what others own.
    """

    manager: str = ""
    agent: str = "unknown"
    force: bool = False
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
    causes: list[dict[str, str]] = []
    if given.get("uid", old["uid"]) != old["uid"]:
        causes.append(_wrong("metadata.uid", f'"{given["uid"]}": field is immutable'))
    if given.get("deletionTimestamp") and not old.get("deletionTimestamp"):
        causes.append(_wrong("metadata.deletionTimestamp", f'"{given["deletionTimestamp"]}": field is immutable'))
    finalizers = given.get("finalizers") or ()
    if old.get("deletionTimestamp") and (new := [one for one in finalizers if one not in old.get("finalizers", ())]):
        listed = ", ".join(f'"{one}"' for one in new)
        text = "no new finalizers can be added if the object is being deleted, found new finalizers []string{%s}"
        causes.append(
            {"reason": "FieldValueForbidden", "field": "metadata.finalizers", "message": "Forbidden: " + text % listed}
        )
    causes.extend(_metadata_causes(given, old))
    if causes:
        raise invalid(resource.kind, resource.group, old["name"], causes)
    kept = {key: value for key, value in old.items() if key not in _USER_METADATA}
    return kept | user_metadata(given)


def check_metadata(resource: Resource, given: Obj, name: str) -> None:
    """Raises 422 for names, labels, annotations and owners that cannot be stored, 400 for labels that are no text."""
    causes: list[dict[str, str]] = []
    prefix = given.get("generateName") or ""
    if prefix and (why := _name_fault(resource, prefix[:-1] + "a" if prefix.endswith("-") else prefix, prefix)):
        causes.append(_wrong("metadata.generateName", why))
    if not name:
        text = "Required value: name or generateName is required"
        causes.append({"reason": "FieldValueRequired", "field": "metadata.name", "message": text})
    elif why := _name_fault(resource, name, name):
        causes.append(_wrong("metadata.name", why))
    causes.extend(_metadata_causes(given, {}))
    if causes:
        raise invalid(resource.kind, resource.group, name, causes)


def generated(prefix: str, suffix: str) -> str:
    """A name that begins with `prefix`, cut so that the whole is no longer than a DNS label."""
    return prefix[: _GENERATED_MAX - len(suffix)] + suffix


def _wrong(field: str, text: str) -> dict[str, str]:
    return {"reason": "FieldValueInvalid", "field": field, "message": "Invalid value: " + text}


def _name_fault(resource: Resource, name: str, shown: str) -> str:
    if resource.store == "events":  # of these only what would break a path is refused
        fits = name not in (".", "..") and "/" not in name and "%" not in name
        return "" if fits else f'"{shown}": may not be used in a path'
    if resource is NAMESPACES and "." in name:
        return f'"{shown}": must not contain dots'
    if len(name) <= _NAME_MAX and _NAME.match(name):
        return ""
    return (
        f'"{shown}": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric '
        "characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', "
        r"regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
    )


def _metadata_causes(given: Obj, old: Obj) -> list[dict[str, str]]:
    """What is wrong with labels, annotations and owners, as far as they are not the stored ones."""
    causes: list[dict[str, str]] = []
    for field in ("labels", "annotations"):
        pairs = given.get(field)
        if not pairs or pairs is old.get(field):
            continue
        for key, value in pairs.items():
            if not isinstance(value, str):
                raise bad_request(
                    f"json: cannot unmarshal {type(value).__name__} into ObjectMeta.{field} of type string"
                )
            if not _QUALIFIED.match(key.lower() if field == "annotations" else key):
                text = "name part must consist of alphanumeric characters, '-', '_' or '.'"
                causes.append(_wrong(f"metadata.{field}", f'"{key}": {text}'))
            if field == "labels" and not _LABEL_VALUE.match(value):
                text = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.'"
                causes.append(_wrong("metadata.labels", f'"{value}": {text}'))
    owners = given.get("ownerReferences")
    if owners and owners is not old.get("ownerReferences"):
        causes.extend(
            {
                "reason": "FieldValueRequired",
                "field": f"metadata.ownerReferences[{at}].{field}",
                "message": "Required value: must not be empty",
            }
            for at, owner in enumerate(owners)
            for field in ("apiVersion", "kind", "name", "uid")
            if not owner.get(field)
        )
    return causes


def spec_differs(resource: Resource, old: Obj, new: Obj) -> bool:
    """Whether the generation grows: something but metadata (and status, where it is a subresource) differs."""
    outside = {"metadata", "status"} if resource.status_subresource else {"metadata"}
    names = (old.keys() | new.keys()) - outside
    return any(old.get(name) is not new.get(name) and old.get(name) != new.get(name) for name in names)


def admit(
    resource: Resource,
    new: Obj,
    old: Obj | None,
    options: WriteOptions,
    now: str,
    *,
    given: Obj,
    patching: bool = False,
) -> Obj:
    """`new` as it is to be stored; `given` is the metadata as they came.

    Raises 422 for what is invalid, 400 (422, when `patching`) for unknown fields under Strict.
    """
    if resource.store == "events":
        new = {"source": {}, "firstTimestamp": None, "lastTimestamp": None} | new
        check_event(new, new_style=resource.group != "")
    if resource is CRDS:
        return accepted(new, now)
    if resource is NAMESPACES:
        return _namespace(new, old)
    out = Findings()
    admitted = resource.admit(new, old, out)
    if resource.custom and not given.keys() <= _METADATA:
        out.unknown.extend(f"metadata.{name}" for name in given if name not in _METADATA)
    if out.unknown and options.field_validation in ("Strict", "Warn"):
        found = [f'unknown field "{path}"' for path in sorted(out.unknown)]
        if options.field_validation == "Strict":
            raise _unknown_fields(resource, new, ", ".join(found), patching=patching)
        options.warnings.extend(found)
    if out.causes:
        raise invalid(resource.kind, resource.group, new["metadata"]["name"], out.causes)
    return admitted


def _namespace(new: Obj, old: Obj | None) -> Obj:
    """Its finalizers and its phase are not for writers of the main path."""
    labels = {"kubernetes.io/metadata.name": new["metadata"]["name"]} | (new["metadata"].get("labels") or {})
    new = {**new, "metadata": new["metadata"] | {"labels": labels}}
    if old is not None:
        return {**new, "spec": old["spec"]}
    finalizers = list((new.get("spec") or {}).get("finalizers") or [])
    if "kubernetes" not in finalizers:
        finalizers.append("kubernetes")
    return {**new, "spec": {"finalizers": finalizers}, "status": {"phase": "Active"}}


def _unknown_fields(resource: Resource, new: Obj, listed: str, *, patching: bool) -> ApiError:
    if patching:  # so the real server words it: it finds out while it decodes the patched object
        text = f"{json.dumps(json.dumps(new))}: strict decoding error: {listed}"
        return invalid("", "", "", [_wrong("patch", text)])
    where = f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}'
    return bad_request(f"{where}: strict decoding error: {listed}")


def parse_version(text: str) -> int:
    """A resourceVersion from a query; 0 for none. Raises ValueError."""
    if text and not (text.isascii() and text.isdigit()):
        raise ValueError(
            f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
        )
    return int(text or 0)


def bad_options(field: str, message: str) -> ApiError:
    """422 for list options that do not go together."""
    return _bad_options([_forbidden(field, message)])


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


def check_version(resource_version: str, match: str, current: int) -> None:
    """Raises 422, 400 or 504 (from the future) for what a list cannot be asked."""
    if match and not resource_version:
        text = "resourceVersionMatch is forbidden unless resourceVersion is provided"
        raise bad_options("resourceVersionMatch", text)
    if match not in ("", "Exact", "NotOlderThan"):
        raise _bad_options([_unsupported(match, "Exact", "NotOlderThan", "")])
    if match == "Exact" and resource_version == "0":
        text = 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
        raise bad_options("resourceVersionMatch", text)
    try:
        wanted = parse_version(resource_version)
    except ValueError as error:
        raise bad_request(f"invalid resource version: {error}") from error
    if wanted > current:
        cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
        message = f"Timeout: Too large resource version: {wanted}, current: {current}"
        raise ApiError(504, message, details={"causes": [cause]}, retry_after_s=1)


def check_watch(resource_version: str, match: str, initial_events: bool | None) -> int:
    """The version that a watch begins at, 0 for none. Raises 422 for options that do not go together, and 500 (so does the
    real server) for a version that is no number.
    """
    if initial_events is None:
        if match:
            text = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
            raise bad_options("resourceVersionMatch", text)
    elif match != "NotOlderThan":
        causes = [
            _forbidden(
                "resourceVersionMatch", "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
            )
        ]
        if match:
            causes.append(_unsupported(match, "NotOlderThan"))
        raise _bad_options(causes)
    try:
        return parse_version(resource_version)
    except ValueError as error:
        raise ApiError(500, str(error), reason="") from error


def _forbidden(field: str, message: str) -> dict[str, str]:
    return {"reason": "FieldValueForbidden", "field": field, "message": f"Forbidden: {message}"}


def _unsupported(match: str, *supported: str) -> dict[str, str]:
    listed = ", ".join(f'"{each}"' for each in supported)
    text = f'Unsupported value: "{match}": supported values: {listed}'
    return {"reason": "FieldValueNotSupported", "field": "resourceVersionMatch", "message": text}


def _bad_options(causes: list[dict[str, str]]) -> ApiError:
    return invalid("ListOptions", "meta.k8s.io", "", causes)


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
