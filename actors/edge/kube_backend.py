"""Repairs on the API server itself: an object is deleted, or marked by an annotation, and its own controller does the rest.

For fleets whose controllers replace what is gone (Cluster API's Machines, Pods of a set) or act on a mark. The API server knows
no batches, so a call is a request for each of its items, one after the other: the quota counts calls, and quota times batch
is what the objects' controller has to cope with. What is asked for is a state and not an act, so to ask again does no harm:
a deletion names the uid, and an annotation has the item's key as its value.

Trouble that is not about one object (rights, a server that is throttled or away) ends the call: what is done is told, and the
others are asked again, under the quota. Where nothing was done, the call has failed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from urllib.parse import quote

from urllib3.exceptions import NewConnectionError

from ..core.errors import (
    ApiError,
    ApiThrottled,
    BackendError,
    CallTimeout,
    Conflict,
    Forbidden,
    Invalid,
    Malformed,
    Misconfigured,
    NotFound,
    Throttled,
    Unauthorized,
    Unavailable,
    Undecodable,
)
from ..core.fleet import FleetDefinition
from ..core.model import Item
from ..core.operation import Capabilities
from ..core.ports import Call, ItemResult, Reply
from .kube import KubeClient
from .writer import MERGE_PATCH

__all__ = ["KubernetesBackend", "verb_of"]

_ACCEPTED = ItemResult(status="accepted")


def verb_of(annotation: str) -> str:
    """What it needs to be allowed on the children; ``annotation`` as in ``KubernetesBackend``."""
    return "patch" if annotation else "delete"


class KubernetesBackend:
    """The ``Backend`` port on the API server. Any thread, many at once.

    ``annotation`` "": the object is deleted; else it gets this annotation. An item must have ``name`` and, of kinds that are in
    namespaces, ``namespace`` in its payload, as it has where a fleet says nothing else.
    """

    capabilities = Capabilities(keys=True)

    def __init__(
        self,
        client: KubeClient,
        fleet: FleetDefinition,
        annotation: str = "",
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client, self._annotation, self._now = client, annotation, now
        self._refs = {child.ref.kind: child.ref for child in fleet.children}

    def send(self, call: Call) -> Reply:
        """One request for each item, all within ``call.timeout_s``. Raises ``BackendError`` where none was carried out."""
        ends_s = self._now() + call.timeout_s
        results: dict[str, ItemResult] = {}
        for item in call.items:
            left_s = ends_s - self._now()
            try:
                if left_s <= 0:
                    raise CallTimeout(
                        f"{self._client.server}: {len(results)} of {len(call.items)} were asked for in time"
                    )
                results[item.key] = self._repair(item, left_s)
            except BackendError as error:
                if not results or len(call.items) == 1:
                    raise
                if isinstance(error, Throttled):
                    wait = ItemResult(status="throttled", message=str(error), retry_after_s=error.retry_after_s)
                    results = {each.key: results.get(each.key, wait) for each in call.items}
                break  # who has no result is asked again
        return Reply(results=results)

    def _repair(self, item: Item, timeout_s: float) -> ItemResult:
        ref, name, namespace = self._refs[item.kind], item.payload.get("name"), item.payload.get("namespace")
        if not name or not isinstance(name, str) or (ref.namespaced and not isinstance(namespace, str)):
            return ItemResult(status="failed", message="the item names no object: repair.item needs name and namespace")
        path = ref.path(
            quote(namespace, safe="") if ref.namespaced and isinstance(namespace, str) else "", quote(name, safe="")
        )
        began_s = self._now()
        try:
            if self._annotation:
                body = {"metadata": {"uid": item.uid, "annotations": {self._annotation: item.key}}}
                answer = self._client.request("PATCH", path, query={"fieldManager": "muster"}, body=body,
                                              content_type=MERGE_PATCH, timeout_s=timeout_s)  # fmt: skip
            else:
                wish = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": item.uid}}
                answer = self._client.request("DELETE", path, body=wish, timeout_s=timeout_s)
            answer.json()
        except NotFound:
            return _ACCEPTED  # it is gone: nobody is left to be repaired
        except Conflict:
            return _ACCEPTED  # another object has its name now
        except Invalid as error:
            return ItemResult(status="failed", message=str(error))
        except Undecodable as error:
            raise Malformed(str(error)) from error
        except ApiError as error:
            raise _translated(error, timed_out=self._now() - began_s >= timeout_s) from error
        return _ACCEPTED


def _translated(error: ApiError, *, timed_out: bool) -> BackendError:
    text = str(error)
    if isinstance(error, ApiThrottled):
        return Throttled(text, retry_after_s=error.retry_after_s)
    if isinstance(error, Unauthorized | Forbidden):
        return Misconfigured(f"{text}: muster manifests prints the rights")
    if timed_out:
        return CallTimeout(text)
    cause = error.__cause__
    never_left = isinstance(getattr(cause, "reason", None) or cause, NewConnectionError)
    return Unavailable(text, arrived=not never_left)
