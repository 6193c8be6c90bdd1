"""The API server, as a model: one store, one growing resourceVersion, no thread, no clock, no socket.

Every commit takes the next resourceVersion, is encoded to JSON once, and is appended to the change log of its resource,
from which all watches read. Stored objects are immutable by convention: writers build new ones that share what they did
not touch, readers may keep what they get and must not write into it. So a heartbeat patch costs tens of microseconds,
however large the object and however many the watchers.

The simulation calls the methods below directly (`list`, `watch`, `create`, `patch`, ...); `serve_api` puts HTTP before
the same methods under one lock. What differs from the real server is listed in the package's docstring.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .admission import (
    WriteOptions,
    admit,
    bad_options,
    check_metadata,
    check_namespace,
    check_type,
    check_version,
    check_watch,
    generated,
    next_metadata,
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
from .apply import Applied, apply, check_applied, tracked
from .history import WatchCursor, WatchEvent
from .kinds import CRDS, NAMESPACES, Resource
from .listing import Listing, Stored, after_token, page, selection, token_expired
from .patching import json_patch, merge_patch
from .store import Store

__all__ = ["APPLY", "JSON_PATCH", "MERGE", "STRATEGIC", "ApiServerModel", "Listing", "Stored", "WriteOptions"]

Obj = dict[str, Any]

APPLY = "application/apply-patch+yaml"
JSON_PATCH = "application/json-patch+json"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"

_PLAIN = WriteOptions()


class ApiServerModel(Store):
    """See the module. Resources are named by a `Resource` or by kubectl's `plural.group`. Every method raises ApiError for
    what the server refuses.
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
        super().__init__(
            clock=clock,
            seed=seed,
            history_changes_max=history_changes_max,
            first_resource_version=first_resource_version,
        )
        self.authorize = authorize
        self._compacted = 0
        for name in ("default", "kube-system", "kube-public", "kube-node-lease"):
            self.create(NAMESPACES, {"metadata": {"name": name}})

    # --- reading ---

    def get(self, resource: Resource | str, name: str, namespace: str = "") -> Stored:
        """One object. Raises 404."""
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

        410: the moment of the token, or of an `Exact` resourceVersion, is forgotten. 504: the version asked for is in the
        future.
        """
        resource = self.resolve(resource)
        selects = selection(resource, "", labels, fields)
        shelf = self._shelves[resource.store]
        version, after = self._version, ""
        if continue_token:
            if match:
                raise bad_options("resourceVersionMatch", "resourceVersionMatch is forbidden when continue is provided")
            if resource_version:
                raise bad_request("specifying resource version is not allowed when using continue")
            namespaced = resource.namespaced
            version, after = after_token(continue_token, namespace=namespace, namespaced=namespaced, current=version)
        else:
            check_version(resource_version, match, version)
            version = int(resource_version) if match == "Exact" else version

        def take() -> list[Stored]:
            items = shelf.in_order() if version >= self._version else shelf.at(version)
            if namespace:
                items = [item for item in items if item.obj["metadata"].get("namespace") == namespace]
            return items

        try:
            if continue_token and version <= self._compacted:
                raise expired()
            paged = limit > 0 or bool(continue_token)
            items = self._moments.of(resource.store, namespace, version, take) if paged else take()
        except ApiError as error:
            raise token_expired(continue_token) if continue_token else error from None
        whole_path = resource.namespaced and not namespace
        found = page(items, selects, version=version, after=after, limit=limit, whole_path=whole_path)
        return self._shown(resource, found)

    def stale_list(self, resource: Resource | str, age_changes: int, *, namespace: str = "") -> Listing:
        """For the simulator: the list as a server gives it that is `age_changes` commits of this resource behind (as far
        back as the history reaches, after `compact` the present), with the resourceVersion of that moment.
        """
        resource = self.resolve(resource)
        items, version = self._shelves[resource.store].ago(age_changes)
        if namespace:
            items = [item for item in items if item.obj["metadata"].get("namespace") == namespace]
        return self._shown(resource, Listing(items, self._version if version is None else version))

    def watch(
        self,
        resource: Resource | str,
        *,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
        resource_version: str = "",
        send_initial_events: bool | None = None,
        match: str = "",
        bookmarks: bool = False,
        wake: Callable[[], None] | None = None,
        rewind_changes: int = 0,
    ) -> WatchCursor:
        """A cursor over what comes after `resource_version`. Raises 410 when that is too far back.

        Without a version, or with "0", all present objects come first, as ADDED. With `send_initial_events` (which
        needs `match="NotOlderThan"`) they come first too, closed by a bookmark that is annotated
        `k8s.io/initial-events-end` if `bookmarks` is set; with False, they never do.

        For the simulator: `rewind_changes` begins that many commits of this resource earlier than asked (as far back as
        the history reaches), as a server does that travels back in time; what has been seen is seen again.
        """
        resource = self.resolve(resource)
        wanted = check_watch(resource_version, match, send_initial_events)
        shelf = self._shelves[resource.store]
        initial: list[WatchEvent] = []
        selects = selection(resource, namespace, labels, fields)
        newest = wanted == 0
        whole = send_initial_events or (newest and send_initial_events is None)
        position = shelf.history.end if whole or newest or wanted > self._version else shelf.history.position(wanted)
        if whole:
            present = self.list(resource, namespace=namespace, labels=labels, fields=fields).items
            initial.extend(WatchEvent("ADDED", stored.obj, stored.raw, stored.resource_version) for stored in present)
        if rewind_changes:
            position, wanted = shelf.history.rewound(position, rewind_changes), 0
        cursor = WatchCursor(
            shelf.history,
            position,
            kind=resource.kind,
            api_version=resource.api_version,
            now_rv=lambda: self._version,
            selects=selects,
            present=resource.to_view,
            initial=initial,
            after=0 if whole or newest else wanted,
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
            name = generated(given["generateName"], self._new_id("name")[:5])
        shelf = self._shelves[resource.store]
        self._endings.check_can_create(resource, namespace, name)
        check_metadata(resource, given, name)
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
        new = admit(resource, new, None, options, self._now(), given=given)
        taken = shelf.objects.get((namespace, name))
        if taken is not None:
            deleting = bool(taken.obj["metadata"].get("deletionTimestamp"))
            raise already_exists(resource.plural, resource.group, name, deleting=deleting)
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
        if not given.get("name"):
            raise bad_request(f"the name of the object ({name} based on URL) was undeterminable: name must be provided")
        if given["name"] != name:
            raise bad_request(f"the name of the object ({given['name']}) does not match the name on the URL ({name})")
        check_namespace(resource, given, namespace)
        uid = old.obj["metadata"]["uid"]
        if given.get("uid") and given["uid"] != uid:
            why = f"Precondition failed: UID in precondition: {given['uid']}, UID in object meta: {uid}"
            raise conflict(resource.plural, resource.group, name, why)
        self._check_has_version(resource, given, name)
        if subresource == "finalize":
            return self._finalize(old, obj, options)
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
        """PATCH: merge patch, JSON patch and apply; strategic merge patch, as a merge patch, of built-in kinds; 415 for others.

        409 when the patch carries a `metadata.resourceVersion` that differs. A wrong `uid` in a status patch is ignored
        and in a main patch is 422, as in the real server.
        """
        resource = self.resolve(resource)
        if content_type == APPLY:
            return self._apply(resource, name, body, namespace, subresource, options)
        old = self._stored(resource, name, namespace)
        seen = resource.to_view(old.obj) if resource.to_view else old.obj
        if content_type == JSON_PATCH:
            new = json_patch(seen, body)
        elif content_type == MERGE or (content_type == STRATEGIC and not resource.custom):
            if not isinstance(body, dict):
                raise bad_request("error decoding patch: a merge patch must be an object")
            new = merge_patch(seen, body)
        else:
            raise unsupported_media_type([JSON_PATCH, MERGE, APPLY])
        return self._patched(resource, old, new, subresource, options)

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
        if resource is NAMESPACES:
            return self._endings.end_namespace(old, self._now(), options)
        if resource is CRDS:
            return self._endings.end_definition(old, self._now(), options)
        return self._present(resource, self._delete(self._shelves[resource.store], old, options))

    # --- for tests ---

    def compact(self) -> None:
        """Forget all history, and the moments of unfinished lists: whoever resumes from an older version, or fetches a
        further page, gets 410. As in the real store, compaction itself takes a resourceVersion.
        """
        self._moments.clear()
        for shelf in self._shelves.values():
            shelf.history.compact(self._version)
        self._compacted = self._version
        self._version += 1

    # --- inside ---

    def _shown(self, resource: Resource, found: Listing) -> Listing:
        if resource.to_view is None:
            return found
        items = [self._present(resource, item) for item in found.items]
        return Listing(items, found.resource_version, found.continue_token, found.remaining)

    def _check_has_version(self, resource: Resource, given: Obj, name: str) -> None:
        if not given.get("resourceVersion") and (resource.custom or resource is CRDS):
            text = "Invalid value: 0: must be specified for an update"
            cause = {"reason": "FieldValueInvalid", "field": "metadata.resourceVersion", "message": text}
            raise invalid(resource.plural, resource.group, name, [cause])

    def _patched(
        self,
        resource: Resource,
        old: Stored,
        new: Any,
        subresource: str,
        options: WriteOptions,
        applied: Applied | None = None,
    ) -> Stored:
        metadata = old.obj["metadata"]
        given = new.get("metadata") if isinstance(new, dict) else None
        if not isinstance(given, dict):
            raise bad_request("the patched object has no metadata")
        name = metadata["name"]
        if given is not metadata and given.get("name") != name:
            raise bad_request(
                f"the name of the object ({given.get('name')}) does not match the name on the URL ({name})"
            )
        check_type(resource, new)
        if given is not metadata:
            check_namespace(resource, given, metadata.get("namespace", ""))
            self._check_has_version(resource, given, name)
        if resource.from_view is not None:
            new = resource.from_view(new)
        return self._present(
            resource, self._change(resource, old, new, subresource, options, patching=True, applied=applied)
        )

    def _apply(
        self, resource: Resource, name: str, given: Any, namespace: str, subresource: str, options: WriteOptions
    ) -> Stored:
        if not options.manager:
            cause = {"reason": "FieldValueRequired", "field": "fieldManager"}
            cause["message"] = "Required value: is required for apply patch"
            raise invalid("PatchOptions", "meta.k8s.io", "", [cause])
        check_applied(resource, given, name)
        metadata = {"name": name} | (given.get("metadata") or {})
        if namespace:
            metadata.setdefault("namespace", namespace)
        given = {**given, "metadata": metadata}
        found = self._shelves[resource.store].objects.get((namespace if resource.namespaced else "", name))
        if found is None and subresource:
            raise not_found(resource.plural, resource.group, name)
        live = None if found is None else resource.to_view(found.obj) if resource.to_view else found.obj
        applied = apply(resource, live, given, options.manager, subresource, self._now(), force=options.force)
        if found is not None:
            return self._patched(resource, found, applied.obj, subresource, options, applied)
        if metadata.get("uid"):
            cause = {"reason": "FieldValueInvalid", "field": "metadata.uid"}
            cause["message"] = f'Invalid value: "{metadata["uid"]}": field is immutable'
            raise invalid(resource.kind, resource.group, name, [cause])
        made = {key: value for key, value in metadata.items() if key != "resourceVersion"}
        new = {**applied.obj, "metadata": {**made, "managedFields": applied.managed}}
        return self.create(resource, new, namespace, options)

    def _change(
        self,
        resource: Resource,
        old: Stored,
        new: Obj,
        subresource: str,
        options: WriteOptions,
        *,
        patching: bool = False,
        applied: Applied | None = None,
    ) -> Stored:
        shelf = self._shelves[resource.store]
        metadata, given = old.obj["metadata"], new.get("metadata") or {}
        if given.get("resourceVersion") and given["resourceVersion"] != metadata["resourceVersion"]:
            raise conflict(resource.plural, resource.group, metadata["name"])
        if subresource:
            status = new.get("status")
            new = {**old.obj, "status": status}
            if status is None:
                del new["status"]
            given = metadata
        else:
            new = {**new, "metadata": next_metadata(resource, metadata, given)}
            if resource.status_subresource:
                if "status" in old.obj:
                    new["status"] = old.obj["status"]
                else:
                    new.pop("status", None)
        new = admit(resource, new, old.obj, options, self._now(), given=given, patching=patching)
        if not subresource and "generation" in metadata and spec_differs(resource, old.obj, new):
            new["metadata"] = {**new["metadata"], "generation": metadata["generation"] + 1}
        if applied is not None or "managedFields" in metadata or "managedFields" in given:
            new = self._owned(resource, old.obj, new, given, subresource, options, applied)
        if new == old.obj:
            return old
        if resource is NAMESPACES:
            return self._endings.finalized(old, new, options)
        if metadata.get("deletionTimestamp") and not new["metadata"].get("finalizers"):
            return self._commit(shelf, "DELETED", old, new, options)
        return self._commit(shelf, "MODIFIED", old, new, options)

    def _owned(
        self,
        resource: Resource,
        old: Obj,
        new: Obj,
        given: Obj,
        subresource: str,
        options: WriteOptions,
        applied: Applied | None,
    ) -> Obj:
        """`new` with its `managedFields`: kept from an object's first apply on, until somebody writes `[{}]`."""
        managed = given.get("managedFields") or old["metadata"].get("managedFields") or []
        if applied is not None:
            managed = applied.managed
        elif managed == [{}]:
            managed = []
        elif managed:
            who = options.manager or options.agent
            managed = tracked(resource, old, new, managed, who, subresource, self._now())
        metadata = {key: value for key, value in new["metadata"].items() if key != "managedFields"}
        return {**new, "metadata": metadata | ({"managedFields": managed} if managed else {})}

    def _finalize(self, old: Stored, obj: Obj, options: WriteOptions) -> Stored:
        metadata, given = old.obj["metadata"], obj.get("metadata") or {}
        if given.get("resourceVersion") and given["resourceVersion"] != metadata["resourceVersion"]:
            raise conflict("namespaces", "", metadata["name"])
        new = {**old.obj, "metadata": next_metadata(NAMESPACES, metadata, given)}
        new = admit(NAMESPACES, new, old.obj, options, self._now(), given=given)
        finalizers = (obj.get("spec") or {}).get("finalizers") or []
        new["spec"] = {**new["spec"], "finalizers": finalizers} if finalizers else {}
        return old if new == old.obj else self._endings.finalized(old, new, options)
