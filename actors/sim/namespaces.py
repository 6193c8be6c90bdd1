"""Endings: what a deleted namespace, and a deleted definition, take along.

Neither is gone at once. It is *terminating*: nothing new is made in it, what is in it is deleted, and what has
finalizers holds it back. When the last of them is gone, so is it. In a cluster controllers see to that (of definitions
the API server itself); here it is done inside the commit that makes it possible.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .admission import WriteOptions
from .apierrors import forbidden, not_found
from .kinds import CRDS, NAMESPACES, Resource
from .listing import Stored
from .shelves import Shelf

__all__ = ["IMMORTAL", "Endings"]

Obj = dict[str, Any]
Commit = Callable[[Shelf, str, Stored, Obj, WriteOptions], Stored]

IMMORTAL = frozenset({"default", "kube-system", "kube-public"})
"""Namespaces that are never deleted: those of the real server's NamespaceLifecycle admission."""
_BY_CONTROLLER = "kubernetes"
_CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
_PLAIN = WriteOptions()


class Endings:
    """Works on the `shelves` of a model. `commit` stores one change; `delete` deletes an object as a client would."""

    def __init__(
        self, shelves: dict[str, Shelf], commit: Commit, delete: Callable[[Shelf, Stored, WriteOptions], Stored]
    ) -> None:
        self._shelves, self._commit, self._delete = shelves, commit, delete
        self._busy: set[str] = set()

    def check_can_create(self, resource: Resource, namespace: str, name: str) -> None:
        """Raises 404 in a namespace that is not there, 403 in one (or of a kind) that is terminating."""
        if namespace:
            found = self._shelves[NAMESPACES.store].objects.get(("", namespace))
            if found is None:
                raise not_found("namespaces", "", namespace)
            if found.obj["metadata"].get("deletionTimestamp"):
                why = f"unable to create new content in namespace {namespace} because it is being terminated"
                cause = {
                    "reason": "NamespaceTerminating",
                    "message": f"namespace {namespace} is being terminated",
                    "field": "metadata.namespace",
                }
                raise forbidden(resource.plural, resource.group, name, why, [cause])
        definition = self._definition(resource)
        if definition is not None and definition.obj["metadata"].get("deletionTimestamp"):
            why = "create not allowed while custom resource definition is terminating"
            raise forbidden(resource.plural, resource.group, name, why)

    def end_namespace(self, old: Stored, now: str, options: WriteOptions) -> Stored:
        """A namespace is to go. Raises 403 for the immortal ones."""
        metadata = old.obj["metadata"]
        name = metadata["name"]
        if name in IMMORTAL:
            raise forbidden("namespaces", "", name, "this namespace may not be deleted")
        if metadata.get("deletionTimestamp"):
            return old
        status = {**(old.obj.get("status") or {}), "phase": "Terminating"}
        marked = {**old.obj, "metadata": {**metadata, "deletionTimestamp": now}, "status": status}
        stored = self._commit(self._shelves[NAMESPACES.store], "MODIFIED", old, marked, options)
        if not options.dry_run:
            inside = [shelf for shelf in self._shelves.values() if shelf.resource.namespaced]
            self._empty(f"namespace {name}", inside, name)
            self._settle_namespace(name)
        return stored

    def end_definition(self, old: Stored, now: str, options: WriteOptions) -> Stored:
        """A CustomResourceDefinition is to go."""
        metadata = old.obj["metadata"]
        if metadata.get("deletionTimestamp"):
            return old
        marked = {**metadata, "deletionTimestamp": now, "generation": metadata["generation"] + 1}
        marked["finalizers"] = [*(metadata.get("finalizers") or []), _CLEANUP]
        condition = {
            "type": "Terminating",
            "status": "True",
            "reason": "InstanceDeletionInProgress",
            "message": "CustomResource deletion is in progress",
            "lastTransitionTime": now,
        }
        status = {**old.obj["status"], "conditions": [*old.obj["status"]["conditions"], condition]}
        marked_crd = {**old.obj, "metadata": marked, "status": status}
        stored = self._commit(self._shelves[CRDS.store], "MODIFIED", old, marked_crd, options)
        if not options.dry_run:
            name = metadata["name"]
            self._empty(f"kind {name}", [self._shelves[name]], "")
            self._settle_definition(name)
        return stored

    def finalized(self, old: Stored, new: Obj, options: WriteOptions) -> Stored:
        """A namespace of which somebody has taken finalizers off (`new`): gone, if those were the last."""
        shelf = self._shelves[NAMESPACES.store]
        metadata = new["metadata"]
        if metadata.get("deletionTimestamp") and not metadata.get("finalizers") and not new["spec"].get("finalizers"):
            return self._commit(shelf, "DELETED", old, new, options)
        return self._commit(shelf, "MODIFIED", old, new, options)

    def removed(self, shelf: Shelf, namespace: str) -> None:
        """An object has gone: whoever was waiting for it goes too."""
        if namespace:
            self._settle_namespace(namespace)
        definition = self._definition(shelf.resource)
        if definition is not None and definition.obj["metadata"].get("deletionTimestamp"):
            self._settle_definition(shelf.resource.name)

    # --- inside ---

    def _definition(self, resource: Resource) -> Stored | None:
        return self._shelves[CRDS.store].objects.get(("", resource.name)) if resource.custom else None

    def _empty(self, what: str, shelves: list[Shelf], namespace: str) -> None:
        self._busy.add(what)
        for shelf in shelves:
            for (where, _), stored in list(shelf.objects.items()):
                if not namespace or where == namespace:
                    self._delete(shelf, stored, _PLAIN)
        self._busy.discard(what)

    def _settle_namespace(self, name: str) -> None:
        old = self._shelves[NAMESPACES.store].objects.get(("", name))
        if old is None or not old.obj["metadata"].get("deletionTimestamp") or f"namespace {name}" in self._busy:
            return
        if any(where == name for shelf in self._shelves.values() for where, _ in shelf.objects):
            return
        spec = old.obj["spec"]
        left = [each for each in spec.get("finalizers") or [] if each != _BY_CONTROLLER]
        if left != (spec.get("finalizers") or []):
            self.finalized(old, {**old.obj, "spec": {**spec, "finalizers": left}}, _PLAIN)

    def _settle_definition(self, name: str) -> None:
        shelf = self._shelves[CRDS.store]
        old = shelf.objects.get(("", name))
        if old is None or f"kind {name}" in self._busy or self._shelves[name].objects:
            return
        left = [each for each in old.obj["metadata"]["finalizers"] if each != _CLEANUP]
        new = {**old.obj, "metadata": {**old.obj["metadata"], "finalizers": left}}
        self._commit(shelf, "MODIFIED" if left else "DELETED", old, new, _PLAIN)
