"""The store under the API server: what is served, where it is kept, and how one change is committed.

Every commit takes the next resourceVersion, encodes its object once, joins the history of its resource, and wakes the
watches. What must follow in the same breath (a definition that becomes a kind, a namespace that has become empty)
follows from here.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable
from typing import Any

import msgspec

from ..core.reconcile import rfc3339
from .admission import WriteOptions
from .apierrors import not_found
from .history import Change, History
from .kinds import BUILTINS, CRDS, Resource, resource_of, unserved
from .listing import Moments, Stored
from .namespaces import Endings
from .shelves import Shelf

__all__ = ["Store"]

Obj = dict[str, Any]

_encode = msgspec.json.Encoder().encode


class Store:
    """See the module. `clock` gives Unix seconds; `seed` makes uids differ between servers; so many changes of each resource
    are remembered.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        seed: str,
        history_changes_max: int,
        first_resource_version: int,
    ) -> None:
        self.on_change: list[Callable[[Resource, Change], None]] = []
        """Called inside each commit, after the store has changed."""
        self._clock = clock
        self._seed = seed
        self._history_changes_max = history_changes_max
        self._version = first_resource_version
        self._first_version = first_resource_version
        self._made = 0
        self._resources: dict[tuple[str, str, str], Resource] = {}
        self._named: dict[str, Resource] = {}
        self._shelves: dict[str, Shelf] = {}
        self._moments = Moments()
        self._endings = Endings(self._shelves, self._commit, self._delete)
        for resource in BUILTINS:
            self._serve(resource)

    # --- what is served ---

    @property
    def resource_version(self) -> int:
        """The resourceVersion of the newest commit."""
        return self._version

    def resources(self) -> list[Resource]:
        """All served resources, built-in ones first."""
        return list(self._resources.values())

    def resource(self, group: str, version: str, plural: str) -> Resource:
        """The resource behind a path. Raises 404."""
        found = self._resources.get((group, version, plural))
        if found is None:
            raise unserved()
        return found

    def resolve(self, resource: Resource | str) -> Resource:
        """A resource by `plural.group` (or `plural` in the core group). Raises 404."""
        if isinstance(resource, Resource):
            return resource
        found = self._named.get(resource)
        if found is not None:
            return found
        raise unserved()

    def serve(self, resource: Resource) -> None:
        """Serve this kind too, as one that is built in."""
        self._serve(resource)

    # --- inside ---

    def _serve(self, resource: Resource) -> None:
        self._resources[resource.group, resource.version, resource.plural] = resource
        self._named[resource.name] = resource
        shelf = self._shelves.get(resource.store)
        if shelf is None:
            self._shelves[resource.store] = Shelf(resource, History(self._history_changes_max, self._first_version))
        elif resource.key == "":
            shelf.resource = resource

    def _sync_crd(self, change: str, crd: Obj) -> None:
        spec = crd["spec"]
        for key, resource in list(self._resources.items()):
            if resource.custom and (resource.group, resource.plural) == (spec["group"], spec["names"]["plural"]):
                del self._resources[key], self._named[resource.name]
                if change == "DELETED":
                    shelf = self._shelves[resource.store]
                    for cursor in list(shelf.cursors.values()):
                        cursor.fail(unserved())
                    del self._shelves[resource.store]
        if change != "DELETED":
            self._serve(resource_of(crd))

    def _stored(self, resource: Resource, name: str, namespace: str) -> Stored:
        stored = self._shelves[resource.store].objects.get((namespace if resource.namespaced else "", name))
        if stored is None:
            raise not_found(resource.plural, resource.group, name)
        return stored

    def _present(self, resource: Resource, stored: Stored) -> Stored:
        if resource.to_view is None:
            return stored
        view = resource.to_view(stored.obj)
        return Stored(view, _encode(view))

    def _delete(self, shelf: Shelf, old: Stored, options: WriteOptions) -> Stored:
        metadata = old.obj["metadata"]
        if not metadata.get("finalizers"):
            return self._commit(shelf, "DELETED", old, old.obj, options)
        if metadata.get("deletionTimestamp"):
            return old
        marked = {**metadata, "deletionTimestamp": self._now(), "deletionGracePeriodSeconds": 0}
        if "generation" in metadata:
            marked["generation"] = metadata["generation"] + 1
        return self._commit(shelf, "MODIFIED", old, {**old.obj, "metadata": marked}, options)

    def _commit(self, shelf: Shelf, kind: str, old: Stored | None, new: Obj, options: WriteOptions) -> Stored:
        if options.dry_run:
            shown = {**new, "metadata": dict(new["metadata"])}
            return Stored(shown, _encode(shown))
        answer = None
        if kind == "DELETED" and old is not None and new is not old.obj:
            answer, new = Stored(new, _encode(new)), old.obj  # watchers see what was stored, the writer what it wrote
        self._version += 1
        new = {**new, "metadata": {**new["metadata"], "resourceVersion": str(self._version)}}
        stored = Stored(new, _encode(new))
        change = Change(self._version, kind, new, stored.raw, old.obj if old else None)
        shelf.put(change, stored)
        for hook in self.on_change:
            hook(shelf.resource, change)
        for cursor in list(shelf.cursors.values()):
            if cursor.wake is not None:
                cursor.wake()
        if shelf.resource is CRDS:
            self._sync_crd(kind, new)
        if kind == "DELETED":
            self._endings.removed(shelf, new["metadata"].get("namespace", ""))
        return answer or stored

    def _new_id(self, purpose: str) -> str:
        self._made += 1
        digest = hashlib.sha256(f"{self._seed}/{purpose}/{self._made}".encode()).digest()
        return str(uuid.UUID(bytes=digest[:16], version=4))

    def _now(self) -> str:
        return rfc3339(self._clock())
