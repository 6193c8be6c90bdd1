"""The API server, as a model: one store, one growing resourceVersion, no thread, no clock, no socket.

Every commit takes the next resourceVersion, is encoded to JSON once, and is appended to the change log of its resource,
from which all watches read. Stored objects are immutable by convention: writers build new ones that share what they did
not touch, readers may keep what they get and must not write into it. So a heartbeat patch costs tens of microseconds,
however large the object and however many the watchers.

The simulation calls the methods below directly (`list`, `watch`, `create`, `patch`, ...); `serve_api` puts HTTP before
the same methods under one lock. What differs from the real server is listed in the package's docstring.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import attrs
import msgspec

from .admission import (
    WriteOptions,
    admit,
    bad_options,
    check_name,
    check_namespace,
    check_type,
    check_version,
    next_metadata,
    parse_version,
    spec_differs,
    user_metadata,
)
from .apierrors import (
    ApiError,
    already_exists,
    bad_request,
    conflict,
    expired,
    invalid,
    not_found,
    unsupported_media_type,
)
from .history import Change, History, WatchCursor, WatchEvent
from .kinds import BUILTINS, CRDS, NAMESPACES, Resource, resource_of, unserved
from .listing import Listing, Pages, Stored, selection
from .patching import json_patch, merge_patch

__all__ = ["APPLY", "JSON_PATCH", "MERGE", "STRATEGIC", "ApiServerModel", "Listing", "Stored", "WriteOptions"]

Obj = dict[str, Any]

APPLY = "application/apply-patch+yaml"
JSON_PATCH = "application/json-patch+json"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"

_encode = msgspec.json.Encoder().encode


_PLAIN = WriteOptions()


@attrs.define(eq=False)
class _Shelf:
    resource: Resource
    history: History
    objects: dict[tuple[str, str], Stored] = attrs.field(factory=dict)
    cursors: dict[int, WatchCursor] = attrs.field(factory=dict)

    def forget(self, cursor: WatchCursor) -> None:
        self.cursors.pop(id(cursor), None)


class ApiServerModel:
    """See the module. `clock` gives Unix seconds; `seed` makes uids differ between servers; resources are named by a
    `Resource` or by kubectl's `plural.group`. Every method raises ApiError for what the server refuses.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        seed: str = "",
        history_changes_max: int = 10_000,
        first_resource_version: int = 1000,
        authorize: Callable[[Obj], bool] = lambda attributes: True,
    ) -> None:
        self.on_change: list[Callable[[Resource, Change], None]] = []
        """Called inside each commit, after the store has changed."""
        self._clock = clock
        self._seed = seed
        self._history_changes_max = history_changes_max
        self.authorize = authorize
        self._version = first_resource_version
        self._first_version = first_resource_version
        self._made = 0
        self._resources: dict[tuple[str, str, str], Resource] = {}
        self._shelves: dict[str, _Shelf] = {}
        self._pages = Pages()
        for resource in BUILTINS:
            self._serve(resource)
        for name in ("default", "kube-system", "kube-public", "kube-node-lease"):
            self.create(NAMESPACES, {"metadata": {"name": name}})

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
        for served in self._resources.values():
            if served.name == resource:
                return served
        raise unserved()

    # --- reading ---

    def get(self, resource: Resource | str, name: str, namespace: str = "") -> Stored:
        resource = self.resolve(resource)
        return self._present(resource, self._stored(resource, name, namespace))

    def has(self, resource: Resource | str, name: str, namespace: str = "") -> bool:
        """Whether there is such an object."""
        return (namespace, name) in self._shelves[self.resolve(resource).store].objects

    def list(
        self,
        resource: Resource | str,
        *,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
        limit: int = 0,
        continue_token: str = "",
        resource_version: str = "",
        match: str = "",
    ) -> Listing:
        """A page of objects in the order of namespace and name. Pages after the first are of the first one's moment.

        410: the token's moment is forgotten, or an `Exact` resourceVersion is not the present one. 504: the version
        asked for is in the future.
        """
        resource = self.resolve(resource)
        if continue_token:
            return self._pages.following(continue_token, limit)
        check_version(resource_version, match, self._version)
        if match == "Exact" and int(resource_version) != self._version:
            raise expired(
                f"The provided resource version {resource_version} is not available (this server keeps no past)"
            )
        selects = selection(resource, namespace, labels, fields)
        shelf = self._shelves[resource.store]
        keys = sorted(shelf.objects)
        items = [shelf.objects[key] for key in keys]
        if selects is not None:
            items = [item for item in items if selects(item.obj)]
        items = [self._present(resource, item) for item in items]
        return self._pages.first(items, self._version, limit)

    def watch(
        self,
        resource: Resource | str,
        *,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
        resource_version: str = "",
        send_initial_events: bool = False,
        match: str = "",
        bookmarks: bool = False,
        wake: Callable[[], None] | None = None,
    ) -> WatchCursor:
        """A cursor over what comes after `resource_version`. Raises 410 when that is too far back.

        Without a version, or with "0", all present objects come first, as ADDED. With `send_initial_events` (which
        needs `match="NotOlderThan"`) they come first too, closed by a bookmark that is annotated
        `k8s.io/initial-events-end` if `bookmarks` is set.
        """
        resource = self.resolve(resource)
        if match and not send_initial_events:
            raise bad_options(
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            )
        if send_initial_events and match != "NotOlderThan":
            text = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
            raise bad_options("resourceVersionMatch", text)
        wanted = parse_version(resource_version)
        shelf = self._shelves[resource.store]
        initial: list[WatchEvent] = []
        selects = selection(resource, namespace, labels, fields)
        whole = send_initial_events or wanted == 0
        position = shelf.history.end if whole or wanted > self._version else shelf.history.position(wanted)
        if whole:
            present = self.list(resource, namespace=namespace, labels=labels, fields=fields).items
            initial.extend(WatchEvent("ADDED", stored.obj, stored.raw, stored.resource_version) for stored in present)
        cursor = WatchCursor(
            shelf.history,
            position,
            kind=resource.kind,
            api_version=resource.api_version,
            now_rv=lambda: self._version,
            selects=selects,
            present=resource.to_view,
            initial=initial,
            after=0 if whole else wanted,
            wake=wake,
            on_close=shelf.forget,
        )
        if send_initial_events and bookmarks:
            initial.append(cursor.bookmark(initial_end=True))
        shelf.cursors[id(cursor)] = cursor
        return cursor

    # --- writing ---

    def create(self, resource: Resource | str, obj: Obj, namespace: str = "", options: WriteOptions = _PLAIN) -> Stored:
        """Store a new object. 409 when the name is taken, 404 when the namespace is not there, 422 when it is invalid."""
        resource = self.resolve(resource)
        check_type(resource, obj)
        given = obj.get("metadata") or {}
        if given.get("resourceVersion"):
            raise ApiError(500, "resourceVersion should not be set on objects to be created", reason="")
        namespace = check_namespace(resource, given, namespace)
        name = given.get("name") or ""
        if not name and given.get("generateName"):
            name = given["generateName"] + self._new_id("name")[:5]
        check_name(resource, name)
        shelf = self._shelves[resource.store]
        self._check_can_create(resource, namespace)
        metadata: Obj = {"name": name}
        if namespace:
            metadata["namespace"] = namespace
        metadata["uid"] = self._new_id("uid")
        metadata["creationTimestamp"] = self._now()
        if resource.custom or resource is CRDS:
            metadata["generation"] = 1
        metadata |= user_metadata(given)
        new = {"apiVersion": resource.api_version, "kind": resource.kind, **obj, "metadata": metadata}
        if resource.status_subresource:
            new.pop("status", None)
        if resource.from_view is not None:
            new = resource.from_view(new)
        new = admit(resource, new, None, options, self._now())
        if (namespace, name) in shelf.objects:
            raise already_exists(resource.plural, resource.group, name)
        return self._present(resource, self._commit(shelf, "ADDED", None, new, options))

    def replace(
        self,
        resource: Resource | str,
        obj: Obj,
        name: str,
        namespace: str = "",
        subresource: str = "",
        options: WriteOptions = _PLAIN,
    ) -> Stored:
        """PUT. 409 when `metadata.resourceVersion` or `uid` differ, 422 when a custom resource comes without a version."""
        resource = self.resolve(resource)
        check_type(resource, obj)
        old = self._stored(resource, name, namespace)
        given = obj.get("metadata") or {}
        if given.get("name", name) != name:
            raise bad_request(f"the name of the object ({given['name']}) does not match the name on the URL ({name})")
        check_namespace(resource, given, namespace)
        uid = old.obj["metadata"]["uid"]
        if given.get("uid") and given["uid"] != uid:
            why = f"Precondition failed: UID in precondition: {given['uid']}, UID in object meta: {uid}"
            raise conflict(resource.plural, resource.group, name, why)
        if not given.get("resourceVersion") and (resource.custom or resource is CRDS):
            text = "Invalid value: 0: must be specified for an update"
            cause = {"reason": "FieldValueInvalid", "field": "metadata.resourceVersion", "message": text}
            raise invalid(resource.plural, resource.group, name, [cause])
        if resource.from_view is not None:
            obj = resource.from_view(obj)
        return self._present(resource, self._change(resource, old, obj, subresource, options))

    def patch(
        self,
        resource: Resource | str,
        name: str,
        body: Any,
        namespace: str = "",
        subresource: str = "",
        content_type: str = MERGE,
        options: WriteOptions = _PLAIN,
    ) -> Stored:
        """PATCH: merge patch, JSON patch, and (simplified, see the package) apply; 415 for others.

        409 when the patch carries a `metadata.resourceVersion` that differs. A wrong `uid` in a status patch is ignored
        and in a main patch is 422, as in the real server.
        """
        resource = self.resolve(resource)
        if content_type == APPLY:
            if not options.manager:
                cause = {"reason": "FieldValueRequired", "field": "fieldManager"}
                cause["message"] = "Required value: is required for apply patch"
                raise invalid("PatchOptions", "meta.k8s.io", "", [cause])
            if not self.has(resource, name, namespace):
                return self.create(resource, merge_patch(body, {"metadata": {"name": name}}), namespace, options)
        old = self._stored(resource, name, namespace)
        seen = resource.to_view(old.obj) if resource.to_view else old.obj
        if content_type == JSON_PATCH:
            new = json_patch(seen, body)
        elif content_type in (MERGE, APPLY) or (content_type == STRATEGIC and not resource.custom):
            if not isinstance(body, dict):
                raise bad_request("a merge patch must be an object")
            new = merge_patch(seen, body)
        else:
            raise unsupported_media_type([JSON_PATCH, MERGE, APPLY])
        if not isinstance(new, dict) or not isinstance(new.get("metadata"), dict):
            raise bad_request("the patched object has no metadata")
        if new["metadata"].get("name") != name:
            raise bad_request(
                f"the name of the object ({new['metadata'].get('name')}) does not match the name on the URL ({name})"
            )
        check_type(resource, new)
        check_namespace(resource, new["metadata"], namespace)
        if resource.from_view is not None:
            new = resource.from_view(new)
        return self._present(resource, self._change(resource, old, new, subresource, options))

    def delete(
        self,
        resource: Resource | str,
        name: str,
        namespace: str = "",
        *,
        uid: str = "",
        resource_version: str = "",
        options: WriteOptions = _PLAIN,
    ) -> Stored:
        """Delete, or mark as being deleted where finalizers remain (the result then has a deletionTimestamp).

        `uid` and `resource_version` are preconditions: 409. A namespace takes its objects along, a CRD its resource.
        """
        resource = self.resolve(resource)
        shelf = self._shelves[resource.store]
        old = self._stored(resource, name, namespace)
        metadata = old.obj["metadata"]
        for field, wanted, actual in (
            ("UID", uid, metadata["uid"]),
            ("ResourceVersion", resource_version, metadata["resourceVersion"]),
        ):
            if wanted and wanted != actual:
                why = f"the {field} in the precondition ({wanted}) does not match the {field} in record ({actual}). "
                why += "The object might have been " + ("deleted and then recreated" if field == "UID" else "modified")
                raise conflict(resource.kind, resource.group, name, why)
        if metadata.get("finalizers"):
            if metadata.get("deletionTimestamp"):
                return self._present(resource, old)
            marked = {**metadata, "deletionTimestamp": self._now(), "deletionGracePeriodSeconds": 0}
            if "generation" in metadata:
                marked["generation"] = metadata["generation"] + 1
            return self._present(
                resource, self._commit(shelf, "MODIFIED", old, {**old.obj, "metadata": marked}, options)
            )
        return self._present(resource, self._commit(shelf, "DELETED", old, old.obj, options))

    # --- for tests ---

    def compact(self) -> None:
        """Forget all history and all unfinished pages: whoever resumes from an older version gets 410."""
        self._pages.clear()
        for shelf in self._shelves.values():
            shelf.history.compact(self._version)

    # --- inside ---

    def _serve(self, resource: Resource) -> None:
        self._resources[resource.group, resource.version, resource.plural] = resource
        shelf = self._shelves.get(resource.store)
        if shelf is None:
            self._shelves[resource.store] = _Shelf(resource, History(self._history_changes_max, self._first_version))
        elif resource.key == "":
            shelf.resource = resource

    def _sync_crd(self, change: str, crd: Obj) -> None:
        spec = crd["spec"]
        for key, resource in list(self._resources.items()):
            if resource.custom and (resource.group, resource.plural) == (spec["group"], spec["names"]["plural"]):
                del self._resources[key]
                if change == "DELETED":
                    shelf = self._shelves[resource.store]
                    self._empty(shelf, "")
                    for cursor in list(shelf.cursors.values()):
                        cursor.fail(unserved())
                    del self._shelves[resource.store]
        if change != "DELETED":
            self._serve(resource_of(crd))

    def _empty(self, shelf: _Shelf, namespace: str) -> None:
        for (where, _), stored in list(shelf.objects.items()):
            if not namespace or where == namespace:
                self._commit(shelf, "DELETED", stored, stored.obj, _PLAIN)

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

    def _change(self, resource: Resource, old: Stored, new: Obj, subresource: str, options: WriteOptions) -> Stored:
        shelf = self._shelves[resource.store]
        metadata, given = old.obj["metadata"], new.get("metadata") or {}
        if given.get("resourceVersion") and given["resourceVersion"] != metadata["resourceVersion"]:
            raise conflict(resource.plural, resource.group, metadata["name"])
        if subresource:
            status = new.get("status")
            new = {**old.obj, "status": status}
            if status is None:
                del new["status"]
        else:
            new = {**new, "metadata": next_metadata(resource, metadata, given)}
            if resource.status_subresource:
                if "status" in old.obj:
                    new["status"] = old.obj["status"]
                else:
                    new.pop("status", None)
        new = admit(resource, new, old.obj, options, self._now())
        if not subresource and "generation" in metadata and spec_differs(resource, old.obj, new):
            new["metadata"] = {**new["metadata"], "generation": metadata["generation"] + 1}
        if new == old.obj:
            return old
        if metadata.get("deletionTimestamp") and not new["metadata"].get("finalizers"):
            return self._commit(shelf, "DELETED", old, new, options)
        return self._commit(shelf, "MODIFIED", old, new, options)

    def _commit(self, shelf: _Shelf, kind: str, old: Stored | None, new: Obj, options: WriteOptions) -> Stored:
        metadata = new["metadata"]
        if options.dry_run:
            shown = {**new, "metadata": dict(metadata)}
            return Stored(shown, _encode(shown))
        self._version += 1
        new = {**new, "metadata": {**metadata, "resourceVersion": str(self._version)}}
        stored = Stored(new, _encode(new))
        key = (metadata.get("namespace", ""), metadata["name"])
        if kind == "DELETED":
            del shelf.objects[key]
        else:
            shelf.objects[key] = stored
        change = Change(self._version, kind, new, stored.raw, old.obj if old else None)
        shelf.history.append(change)
        for hook in self.on_change:
            hook(shelf.resource, change)
        for cursor in list(shelf.cursors.values()):
            if cursor.wake is not None:
                cursor.wake()
        if shelf.resource is CRDS:
            self._sync_crd(kind, new)
        elif shelf.resource is NAMESPACES and kind == "DELETED":
            for other in list(self._shelves.values()):
                if other.resource.namespaced:
                    self._empty(other, key[1])
        return stored

    def _check_can_create(self, resource: Resource, namespace: str) -> None:
        if namespace and ("", namespace) not in self._shelves[NAMESPACES.store].objects:
            raise not_found("namespaces", "", namespace)

    def _new_id(self, purpose: str) -> str:
        self._made += 1
        digest = hashlib.sha256(f"{self._seed}/{purpose}/{self._made}".encode()).digest()
        return str(uuid.UUID(bytes=digest[:16], version=4))

    def _now(self) -> str:
        return datetime.fromtimestamp(int(self._clock()), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
