"""Just enough protobuf for kubectl.

kubectl sends its typed built-in objects (a namespace to create, an access review) as Kubernetes protobuf whatever
discovery says, and does not fall back to JSON. So the three messages that matter are read here, by a table of field
numbers; answers are always JSON, which the same clients accept.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .apierrors import ApiError

__all__ = ["decode"]

Obj = dict[str, Any]
Fields = dict[int, tuple[str, Any]]

_META: Fields = {
    1: ("name", "text"),
    2: ("generateName", "text"),
    3: ("namespace", "text"),
    5: ("uid", "text"),
    6: ("resourceVersion", "text"),
    11: ("labels", "map"),
    12: ("annotations", "map"),
    14: ("finalizers", "list"),
}
_ATTRIBUTES = ("namespace", "verb", "group", "version", "resource", "subresource", "name")
_RESOURCE: Fields = {at: (name, "text") for at, name in enumerate(_ATTRIBUTES, 1)}
_PATH: Fields = {1: ("path", "text"), 2: ("verb", "text")}
_MESSAGES: dict[str, Fields] = {
    "Namespace": {1: ("metadata", _META)},
    "SelfSubjectAccessReview": {
        1: ("metadata", _META),
        2: ("spec", {1: ("resourceAttributes", _RESOURCE), 2: ("nonResourceAttributes", _PATH)}),
    },
    "DeleteOptions": {
        2: ("preconditions", {1: ("uid", "text"), 2: ("resourceVersion", "text")}),
        4: ("propagationPolicy", "text"),
        5: ("dryRun", "list"),
    },
}
_UNKNOWN: Fields = {1: ("type", {1: ("apiVersion", "text"), 2: ("kind", "text")}), 2: ("raw", "bytes")}


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return value, at


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The length-delimited fields; numbers are skipped, because nothing here needs one."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == 2:
            length, at = _varint(data, at)
            yield tag >> 3, data[at : at + length]
            at += length
        elif kind == 0:
            _, at = _varint(data, at)
        else:
            at += {1: 8, 5: 4}[kind]


def _message(data: bytes, fields: Fields) -> Obj:
    result: Obj = {}
    for number, value in _fields(data):
        if number not in fields:
            continue
        name, form = fields[number]
        if isinstance(form, dict):
            result[name] = _message(value, form)
        elif form == "bytes":
            result[name] = value
        elif form == "list":
            result.setdefault(name, []).append(value.decode())
        elif form == "map":
            pair = dict(_fields(value))
            result.setdefault(name, {})[pair.get(1, b"").decode()] = pair.get(2, b"").decode()
        else:
            result[name] = value.decode()
    return result


def decode(body: bytes) -> Obj:
    """Decode a body of `application/vnd.kubernetes.protobuf`. Raises ApiError 415 for messages that are not known here."""
    try:
        if body[:4] != b"k8s\0":
            raise ValueError("the magic number is missing")
        envelope = _message(body[4:], _UNKNOWN)
        kind = envelope["type"]["kind"]
        if kind not in _MESSAGES:
            raise ApiError(415, f"protobuf of {kind} is not understood here; send application/json")
        return {**envelope["type"], **_message(envelope.get("raw", b""), _MESSAGES[kind])}
    except (IndexError, KeyError, ValueError) as error:
        raise ApiError(400, f"the body is not Kubernetes protobuf: {error!r}") from error
