"""Refusals, as the API server words them.

Every refusal of the model is one exception, `ApiError`, that carries the `Status` object a client gets on the wire, so
that the in-process face and the HTTP face cannot differ in what they say. The helpers below spell reason and message as
the real server does, because operators (ours too) decide by `reason`, and people read `message`.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "ApiError",
    "Unserved",
    "already_exists",
    "bad_request",
    "conflict",
    "expired",
    "forbidden",
    "invalid",
    "method_not_allowed",
    "not_found",
    "unsupported_media_type",
]

_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    406: "NotAcceptable",
    409: "Conflict",
    410: "Expired",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


class ApiError(Exception):
    """A refused request.

    Attributes: `code` (HTTP), `reason` (as in `Status.reason`), `message`, `details` (as in `Status.details`), and
    `retry_after_s` (whole seconds for the `Retry-After` header) or None, `metadata` (of the `Status`).
    """

    def __init__(
        self,
        code: int,
        message: str,
        *,
        reason: str | None = None,
        details: dict[str, Any] | None = None,
        retry_after_s: int | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = _REASONS.get(code, "Unknown") if reason is None else reason
        self.message = message
        self.details = details or {}
        self.retry_after_s = retry_after_s
        self.metadata = metadata or {}

    def status(self) -> dict[str, Any]:
        """The `Status` object of the answer."""
        details = dict(self.details)
        if self.retry_after_s is not None:
            details["retryAfterSeconds"] = self.retry_after_s
        status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": self.metadata,
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        }
        if details:
            status["details"] = details
        return status


class Unserved(ApiError):
    """404 for a path that names no served resource; the real server answers it without a Status."""

    def __init__(self) -> None:
        super().__init__(404, "the server could not find the requested resource")


def _qualified(plural: str, group: str) -> str:
    return f"{plural}.{group}" if group else plural


def _about(plural: str, group: str, name: str) -> dict[str, Any]:
    return ({"name": name} if name else {}) | ({"group": group} if group else {}) | {"kind": plural}


def not_found(plural: str, group: str, name: str) -> ApiError:
    """404: no object of that name."""
    return ApiError(404, f'{_qualified(plural, group)} "{name}" not found', details=_about(plural, group, name))


def already_exists(plural: str, group: str, name: str, *, deleting: bool = False) -> ApiError:
    """409: the name is taken, perhaps by one that is `deleting` and waits for its finalizers."""
    message = f'{_qualified(plural, group)} "{name}" already exists'
    if deleting:
        message = "object is being deleted: " + message
    return ApiError(409, message, reason="AlreadyExists", details=_about(plural, group, name))


def conflict(plural: str, group: str, name: str, why: str | None = None) -> ApiError:
    """409: the caller's resourceVersion (or uid) is not the object's."""
    because = why or "the object has been modified; please apply your changes to the latest version and try again"
    message = f'Operation cannot be fulfilled on {_qualified(plural, group)} "{name}": {because}'
    return ApiError(409, message, details=_about(plural, group, name))


def invalid(kind: str, group: str, name: str, causes: list[dict[str, str]]) -> ApiError:
    """422: `causes` are `{"reason", "message", "field"}`, as in `Status.details.causes`; at least one."""
    assert causes
    lines = [f"{cause['field']}: {cause['message']}" for cause in causes]
    listed = lines[0] if len(lines) == 1 else "[" + ", ".join(lines) + "]"
    message = f'{_qualified(kind, group)} "{name}" is invalid: {listed}'
    return ApiError(422, message, details=_about(kind, group, name) | {"causes": causes})


def bad_request(message: str) -> ApiError:
    """400."""
    return ApiError(400, message)


def expired(message: str = "The resourceVersion for the provided watch is too old.") -> ApiError:
    """410: the history no longer reaches back so far; the client must list again."""
    return ApiError(410, message)


def forbidden(plural: str, group: str, name: str, why: str, causes: list[dict[str, str]] | None = None) -> ApiError:
    """403: admission refuses it, whoever asks."""
    details = _about(plural, group, name) | ({"causes": causes} if causes else {})
    return ApiError(403, f'{_qualified(plural, group)} "{name}" is forbidden: {why}', details=details)


def method_not_allowed(verb: str = "", plural: str = "", group: str = "") -> ApiError:
    """405; of custom kinds the real server names the verb."""
    if not verb:
        return ApiError(405, "the server does not allow this method on the requested resource")
    text = f'{verb} is not supported on resources of kind "{_qualified(plural, group)}"'
    return ApiError(405, text, details=_about(plural, group, ""))


def unsupported_media_type(accepted: list[str]) -> ApiError:
    """415: the patch type is not served for this resource."""
    return ApiError(
        415,
        "the body of the request was in an unknown format - accepted media types include: " + ", ".join(accepted),
    )
