"""Lists: what a query selects, and its pages.

The pages after the first are of the first one's moment, as in the real server: the items found are kept, by reference,
until the last page is fetched, the server is compacted, or too many other lists have been begun.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any

import attrs

from .apierrors import bad_request, expired
from .kinds import Resource
from .patching import field_selector, label_selector

__all__ = ["Listing", "Pages", "Stored", "selection"]

Obj = dict[str, Any]

_UNFINISHED_MAX = 16
"""Unfinished lists that are kept. Arbitrary; one that falls out answers 410, as after a compaction."""


@attrs.frozen(eq=False)
class Stored:
    """An object as stored, and its JSON."""

    obj: Obj
    raw: bytes

    @property
    def resource_version(self) -> int:
        return int(self.obj["metadata"]["resourceVersion"])


@attrs.frozen
class Listing:
    """One page of a list: the items, the resourceVersion of the whole list, the token for the next page ("" at the
    end).
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


class Pages:
    """The unfinished lists of a server."""

    def __init__(self) -> None:
        self._items: dict[str, list[Stored]] = {}
        self._begun = 0

    def first(self, items: list[Stored], version: int, limit: int) -> Listing:
        """The first page of a list that was taken at `version`; all of it where `limit` is 0."""
        if not limit or len(items) <= limit:
            return Listing(items, version)
        self._begun += 1
        name = f"{version}/{self._begun}"
        self._items[name] = items
        while len(self._items) > _UNFINISHED_MAX:
            del self._items[next(iter(self._items))]
        return self._page(name, items, 0, limit)

    def following(self, token: str, limit: int) -> Listing:
        """The page that `token` stands for. Raises 400 for what is no token, 410 for one that is forgotten."""
        try:
            name, _, start = base64.urlsafe_b64decode(token).decode().rpartition(":")
            at = int(start)
        except (binascii.Error, ValueError) as error:
            raise bad_request(f"continue key is not valid: {error}") from error
        items = self._items.get(name)
        if items is None:
            raise expired("The provided continue parameter is too old to display a consistent list result.")
        return self._page(name, items, at, limit)

    def clear(self) -> None:
        """Forget them all."""
        self._items.clear()

    def _page(self, name: str, items: list[Stored], start: int, limit: int) -> Listing:
        end = start + limit if limit else len(items)
        version = int(name.partition("/")[0])
        if end >= len(items):
            self._items.pop(name, None)
            return Listing(items[start:], version)
        token = base64.urlsafe_b64encode(f"{name}:{end}".encode()).decode()
        return Listing(items[start:end], version, token, len(items) - end)
