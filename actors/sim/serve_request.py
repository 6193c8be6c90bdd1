"""What an HTTP request asks of the API server: its body, and the options in its query."""

from __future__ import annotations

from typing import Any

import msgspec
import yaml

from . import protobuf
from .admission import WriteOptions, bad_options
from .apierrors import ApiError, bad_request, invalid
from .apiserver import APPLY
from .kinds import Resource
from .serve import Request

__all__ = ["body_of", "content_type", "delete_options", "initial_events", "limit_of", "object_of", "write_options"]

_decode = msgspec.json.Decoder().decode
_MANAGER_MAX = 128
_VALIDATIONS = ("", "Ignore", "Strict", "Warn")
_PROPAGATIONS = ("Foreground", "Background", "Orphan")
_OPTIONS = {"POST": "CreateOptions", "PUT": "UpdateOptions", "PATCH": "PatchOptions", "DELETE": "DeleteOptions"}


def content_type(request: Request) -> str:
    """The media type of the body, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0]


def body_of(request: Request) -> Any:
    """The body, decoded by its media type. Raises 400 and 415."""
    kind = content_type(request)
    if kind in (APPLY, "application/yaml"):
        try:
            return yaml.safe_load(request.body)
        except yaml.YAMLError as error:
            raise bad_request(f"error decoding patch: error converting YAML to JSON: {error}") from error
    if kind == "application/vnd.kubernetes.protobuf":
        return protobuf.decode(request.body)
    if "cbor" in kind:
        raise ApiError(415, f"{kind} is not served here; send application/json")
    return _decode(request.body)


def object_of(request: Request, resource: Resource) -> Any:
    """The body as an object to be stored: a custom one must say what it is. Raises 400."""
    body = body_of(request)
    if resource.custom and isinstance(body, dict):
        for name, shown in (("kind", "Kind"), ("apiVersion", "apiVersion")):
            if not body.get(name):
                text = f"the object provided is unrecognized (must be of type {resource.kind}): Object '{shown}' is missing"
                raise bad_request(text)
    return body


def write_options(request: Request) -> WriteOptions:
    """`fieldManager`, `force`, `dryRun` and `fieldValidation`. Raises 422."""
    query, causes = request.query, []
    validation = query.get("fieldValidation", "")
    manager = query.get("fieldManager", "")
    force = query.get("force", "") in ("1", "true")
    if query.get("dryRun", "") not in ("", "All"):
        causes.append(_unsupported("dryRun", f'["{query["dryRun"]}"]', ("All",)))
    if len(manager) > _MANAGER_MAX:
        text = f"Too long: may not be more than {_MANAGER_MAX} bytes"
        causes.append({"reason": "FieldValueTooLong", "field": "fieldManager", "message": text})
    if force and content_type(request) != APPLY:
        text = "Forbidden: may not be specified for non-apply patch"
        causes.append({"reason": "FieldValueForbidden", "field": "force", "message": text})
    if validation not in _VALIDATIONS:
        causes.append(_unsupported("fieldValidation", f'"{validation}"', _VALIDATIONS))
    if causes:
        raise invalid(_OPTIONS.get(request.method, "Options"), "meta.k8s.io", "", causes)
    return WriteOptions(
        manager=manager,
        agent=request.agent.partition("/")[0] or "unknown",
        force=force,
        dry_run=query.get("dryRun") == "All",
        field_validation=validation or "Warn",
    )


def delete_options(request: Request) -> tuple[WriteOptions, str, str]:
    """Of a DELETE, from its query and its body: the options, and the preconditions, uid and resourceVersion. Raises 422."""
    options = write_options(request)
    body = body_of(request) if request.body else {}
    policy = body.get("propagationPolicy") or request.query.get("propagationPolicy") or ""
    if policy and policy not in _PROPAGATIONS:
        cause = _unsupported("propagationPolicy", f'"{policy}"', (*_PROPAGATIONS, "nil"))
        raise invalid("DeleteOptions", "meta.k8s.io", "", [cause])
    wanted = body.get("preconditions") or {}
    dry_run = options.dry_run or bool(body.get("dryRun"))
    return WriteOptions(dry_run=dry_run), wanted.get("uid") or "", wanted.get("resourceVersion") or ""


def limit_of(request: Request) -> int:
    """`limit` of a list, 0 for none. Raises 400."""
    try:
        return int(request.query.get("limit") or 0)
    except ValueError as error:
        raise bad_request(f"limit is not a number: {request.query['limit']!r}") from error


def initial_events(request: Request, *, watch: bool) -> bool | None:
    """`sendInitialEvents` of a watch, None where it is not said. Raises 422 for what a list, or a watch, cannot be asked."""
    said = request.query.get("sendInitialEvents", "")
    if said and not watch:
        raise bad_options("sendInitialEvents", "sendInitialEvents is forbidden for list")
    if watch and request.query.get("continue"):
        raise bad_options("resourceVersionMatch", "resourceVersionMatch is forbidden when continue is provided")
    return said in ("1", "true") if said else None


def _unsupported(field: str, shown: str, supported: tuple[str, ...]) -> dict[str, str]:
    listed = ", ".join(f'"{one}"' for one in supported)
    text = f"Unsupported value: {shown}: supported values: {listed}"
    return {"reason": "FieldValueNotSupported", "field": field, "message": text}
