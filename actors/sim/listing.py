"""Lists: what a query selects, its pages, and the tokens between them.

All pages of a list are of the moment of the first, as in the real server. A token says which moment, and after which
object to go on; it has the form of the real server's. The list of a moment is kept, by reference, while its pages are
being fetched; where it has fallen out it is found again from the history.
"""

from __future__ import annotations

import base64
import binascii
import json
from bisect import bisect_left
from collections.abc import Callable
from typing import Any

import attrs
import msgspec

from .apierrors import ApiError, bad_request
from .kinds import Resource
from .patching import field_selector, label_selector

__all__ = ["Listing", "Moments", "Stored", "after_token", "page", "selection", "token_expired"]

Obj = dict[str, Any]

_MOMENTS_MAX = 16
"""Lists that are kept for their further pages. Arbitrary; one that falls out costs time and nothing else."""
_FORM = "meta.k8s.io/v1"
_ANEW = -1
"""In a token: go on in what is there now. Offered with each 410, to those who can bear an inconsistent list."""


class Stored(msgspec.Struct, frozen=True, eq=False, gc=False):
    """An object as stored, and its JSON."""

    obj: Obj
    raw: bytes

    @property
    def resource_version(self) -> int:
        return int(self.obj["metadata"]["resourceVersion"])


@attrs.frozen
class Listing:
    """One page of a list: the items, the resourceVersion of the whole list, the token for the next page ("" at the
    end), and how many items are left after this page (0 where nobody knows, because of selectors).
    """

    items: list[Stored]
    resource_version: int
    continue_token: str = ""
    remaining: int = 0


def selection(resource: Resource, namespace: str, labels: str, fields: str) -> Callable[[Obj], bool] | None:
    """What a query selects, in the store's spelling; None for everything. Raises 400."""
    by_label = label_selector(labels) if labels else None
    by_field = field_selector(fields, resource.field_labels) if fields else None
    view = resource.to_view
    if not namespace and by_label is None and by_field is None:
        return None

    def selects(obj: Obj) -> bool:
        if namespace and obj["metadata"].get("namespace") != namespace:
            return False
        if by_label is not None and not by_label(obj):
            return False
        return by_field is None or by_field(view(obj) if view else obj)

    return selects


class Moments:
    """The lists whose pages are being fetched, by what they are of and when."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str, int], list[Stored]] = {}

    def of(self, store: str, namespace: str, version: int, take: Callable[[], list[Stored]]) -> list[Stored]:
        """The list of that moment, taken now if it is not kept."""
        name = (store, namespace, version)
        found = self._kept.get(name)
        if found is None:
            found = self._kept[name] = take()
            while len(self._kept) > _MOMENTS_MAX:
                del self._kept[next(iter(self._kept))]
        return found

    def clear(self) -> None:
        """Forget them all."""
        self._kept.clear()


def page(
    items: list[Stored],
    selects: Callable[[Obj], bool] | None,
    *,
    version: int,
    after: str,
    limit: int,
    whole_path: bool,
) -> Listing:
    """At most ``limit`` (if positive) of the selected ``items`` (of one moment, in order) from the path ``after`` on."""
    at = bisect_left(items, after, key=_path) if after else 0
    if selects is None:
        end = at + limit if limit > 0 else len(items)
        found, left = items[at:end], max(0, len(items) - end)
    else:
        found, left = [], 0
        for item in items[at:]:
            if selects(item.obj):
                if limit > 0 and len(found) == limit:
                    left = 1
                    break
                found.append(item)
    if not left:
        return Listing(found, version)
    token = _token(version, _path(found[-1]) if whole_path else found[-1].obj["metadata"]["name"])
    return Listing(found, version, token, left if selects is None else 0)


def _path(item: Stored) -> str:
    metadata = item.obj["metadata"]
    return f"{metadata.get('namespace', '')}/{metadata['name']}"


def _token(version: int, last: str) -> str:
    text = json.dumps({"v": _FORM, "rv": version, "start": f"/{last}\0"}, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def after_token(token: str, *, namespace: str, namespaced: bool, current: int) -> tuple[int, str]:
    """The moment that a token names (``current``, where it says so), and the path to go on from. Raises 400."""
    try:
        found = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        version, start = found["rv"], found["start"]
        if found["v"] != _FORM or not isinstance(version, int) or not isinstance(start, str):
            raise ValueError("it is not of this server")
    except (binascii.Error, ValueError, KeyError, TypeError) as error:
        raise bad_request(f"invalid continue token: continue key is not valid: {error}") from error
    rest = start.removeprefix("/")
    path = rest if namespaced and not namespace else f"{namespace}/{rest}"
    return (current if version == _ANEW else version), path


def token_expired(token: str) -> ApiError:
    """410 for a token whose moment is forgotten; its metadata offers a token to go on with in what is there now."""
    start = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))["start"]
    text = (
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
        "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
        "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
        "deleted between the time the first chunk was returned and now may show up in the list."
    )
    anew = _token(_ANEW, start.removeprefix("/").removesuffix("\0"))
    return ApiError(410, text, metadata={"continue": anew})
