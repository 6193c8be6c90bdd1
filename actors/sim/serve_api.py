"""The API server model over HTTP: a process of its own that plain kubectl works against.

    python -m actors.sim.serve_api --port 0 --kubeconfig FILE [--log FILE] [--object-log FILE] [--crd-dir DIR] ...

One lock surrounds the model; a request holds it for the tens of microseconds that its commit takes. A watch is a thread
that sleeps until a commit wakes its cursor, then takes all there is under the lock and writes it outside. Both logs are
JSON lines stamped with `mono_s` (CLOCK_MONOTONIC: comparable between the processes of one machine) and `wall_s` (Unix
time).

**For tests only:** `POST /__faults` (see `serve_faults`) breaks what a network and a real server break.
"""

from __future__ import annotations

import argparse
import threading
import time
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import yaml

from . import openapi
from . import table as tables
from .admission import WriteOptions, review_access
from .apierrors import ApiError, Unserved, bad_request, method_not_allowed, not_found
from .apiserver import ApiServerModel
from .crds import crd_folder
from .history import Change, WatchCursor, WatchEvent
from .kinds import CRDS, NAMESPACES, Resource, plain, unserved
from .listing import Listing
from .serve import Connection, HttpServer, JsonLines, Request, announce, stop_requested
from .serve_faults import Faults
from .serve_request import (
    body_of,
    content_type,
    delete_options,
    initial_events,
    limit_of,
    object_of,
    write_options,
)
from .serve_watch import Watch, form_of, partial, quoted

__all__ = ["ApiServerFace", "load_crds", "main", "write_kubeconfig"]

Obj = dict[str, Any]
_encode = msgspec.json.Encoder().encode


class ApiServerFace:
    """The HTTP face of `model`. Give `handle` to an `HttpServer`. `bookmark_s`: seconds between bookmarks of a watch."""

    def __init__(
        self,
        model: ApiServerModel,
        *,
        access_log: JsonLines | None = None,
        object_log: JsonLines | None = None,
        bookmark_s: float = 10.0,
    ) -> None:
        self.model = model
        self.lock = threading.RLock()
        self.faults = Faults(self)
        self._access_log = access_log
        self._object_log = object_log
        self._bookmark_s = bookmark_s
        self.agent = ""
        if object_log is not None:
            model.on_change.append(self._log_change)

    # --- one request ---

    def handle(self, request: Request, connection: Connection) -> None:
        """Answer one request on its connection's thread."""
        if request.path == "/__faults":
            code, answer = self.faults.command(request.body)
            connection.send(code, _encode(answer))
            return
        connection.status = 0
        began = time.monotonic()
        try:
            self.faults.before(request, connection)
            self._route(request, connection)
        except ApiError as error:
            if isinstance(error, Unserved):
                connection.send(404, b"404 page not found\n", "text/plain; charset=utf-8")
                return
            headers = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
            connection.send(error.code, _encode(error.status()), headers=headers)
        except msgspec.DecodeError as error:
            connection.send(400, _encode(bad_request(f"the body is not JSON: {error}").status()))
        finally:
            self._log_access(request, connection, began)

    def _log_access(self, request: Request, connection: Connection, began: float) -> None:
        if self._access_log is not None:
            entry = {"mono_s": began, "wall_s": time.time() - (time.monotonic() - began), "method": request.method}
            took = round(time.monotonic() - began, 6)
            entry |= {"path": request.target, "status": connection.status, "took_s": took, "user_agent": request.agent}
            self._access_log.write(entry)

    def _log_change(self, resource: Resource, change: Change) -> None:
        assert self._object_log is not None
        obj, old = change.obj, change.old or {}
        metadata, before = obj["metadata"], old.get("metadata") or {}
        entry: Obj = {
            "mono_s": time.monotonic(),
            "wall_s": time.time(),
            "rv": change.resource_version,
            "type": change.type,
            "kind": resource.kind,
            "ns": metadata.get("namespace", ""),
            "name": metadata["name"],
            "uid": metadata["uid"],
            "user_agent": self.agent,
        }
        if change.type == "ADDED" or obj.get("status") is not old.get("status"):
            entry["status"] = obj.get("status")
        if resource.custom and (change.type == "ADDED" or obj.get("spec") is not old.get("spec")):
            entry["spec"] = obj.get("spec")
        for field in ("labels", "ownerReferences", "generation", "deletionTimestamp"):
            if field in metadata and metadata[field] != before.get(field):
                entry[field] = metadata[field]
        if resource.kind == "Event":
            entry["event"] = {key: obj.get(key) for key in ("reason", "type", "message", "involvedObject")}
        self._object_log.write(entry)

    # --- routes ---

    def _route(self, request: Request, connection: Connection) -> None:
        parts = [part for part in request.path.split("/") if part]
        match parts:
            case ["version"]:
                connection.send(200, _encode(openapi.version()))
            case ["healthz" | "readyz" | "livez", *_]:
                connection.send(200, b"ok", "text/plain")
            case ["api" | "apis"] | ["api", "v1"] | ["apis", _] | ["apis", _, _] | ["openapi", *_]:
                self._send_discovery(parts, request, connection)
            case ["apis", "authorization.k8s.io", "v1", "selfsubjectaccessreviews"] if request.method == "POST":
                connection.send(201, _encode(review_access(body_of(request), self.model.authorize)))
            case ["api", version, *rest] if rest:
                self._serve_resource("", version, rest, request, connection)
            case ["apis", group, version, *rest] if rest:
                self._serve_resource(group, version, rest, request, connection)
            case []:
                connection.send(
                    200, _encode({"paths": ["/api", "/apis", "/healthz", "/openapi/v2", "/openapi/v3", "/version"]})
                )
            case _:
                raise unserved()

    def _send_discovery(self, parts: list[str], request: Request, connection: Connection) -> None:
        with self.lock:
            resources = self.model.resources()
        accept = request.headers.get("accept", "")
        content_type = "application/json"
        document: Obj | None
        if parts[0] == "openapi":
            if parts[1:] == ["v2"]:
                if "json" not in accept and "*/*" not in accept and accept:
                    raise ApiError(406, "only application/json is served here")
                document = openapi.openapi_v2(resources)
            elif parts[1:] == ["v3"]:
                document = openapi.openapi_v3_index(resources)
            else:
                document = openapi.openapi_v3(resources, "/".join(parts[2:])) if parts[1:2] == ["v3"] else None
        elif len(parts) == 1 and "apidiscovery.k8s.io;v=v2;" in accept:
            document = openapi.discovery(resources, core=parts[0] == "api")
            content_type = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        elif parts == ["api"]:
            document = openapi.api_versions()
        elif parts == ["apis"]:
            document = openapi.groups(resources)
        elif parts[0] == "api":
            document = openapi.resource_list(resources, "", parts[1])
        elif len(parts) == 2:
            document = openapi.group(resources, parts[1])
        else:
            document = openapi.resource_list(resources, parts[1], parts[2])
        if document is None:
            raise unserved()
        connection.send(200, _encode(document), content_type)

    def _serve_resource(
        self, group: str, version: str, rest: list[str], request: Request, connection: Connection
    ) -> None:
        namespace = ""
        of_namespace = group == "" and len(rest) == 3 and rest[2] in ("status", "finalize")
        if rest[0] == "namespaces" and len(rest) > 2 and not of_namespace:
            namespace, rest = rest[1], rest[2:]
        plural, name, subresource = (*rest, "", "")[:3]
        with self.lock:
            resource = self.model.resource(group, version, plural)
        if namespace and not resource.namespaced:
            raise unserved()
        known = ("", "finalize") if resource is NAMESPACES else ("",)
        if len(rest) > 3 or not (subresource in known or (subresource == "status" and resource.status_subresource)):
            raise not_found(resource.plural, group, name) if resource.custom else ApiError(404, str(unserved()))
        reads_all = not name and request.method == "GET"
        if resource.custom and resource.namespaced and not namespace and not reads_all:
            raise unserved()
        if name and not (resource.custom and request.method == "POST"):
            self._serve_object(resource, namespace, name, subresource, request, connection)
        elif request.method == "GET":
            if request.query.get("watch", "") in ("1", "true"):
                self._watch(resource, namespace, request, connection)
            else:
                initial_events(request, watch=False)
                self._list(resource, self._find(resource, namespace, request), request, connection)
        elif request.method == "POST" and not subresource:
            options = write_options(request)
            body = object_of(request, resource)
            with self._acting(request):
                stored = self.model.create(resource, body, namespace, options)
            self._send_object(resource, stored.obj, stored.raw, request, connection, 201, options)
        elif request.method == "DELETE" and resource is not NAMESPACES:
            self._delete_all(resource, namespace, request, connection)
        elif resource.custom and subresource:
            raise method_not_allowed("create", resource.plural, group)
        elif resource.custom and request.method in ("PUT", "PATCH"):
            raise bad_request("name must be provided")
        else:
            raise method_not_allowed()

    def _serve_object(
        self, resource: Resource, namespace: str, name: str, subresource: str, request: Request, connection: Connection
    ) -> None:
        options = WriteOptions()
        created = False
        if request.method == "GET":
            with self.lock:
                stored = self.model.get(resource, name, namespace)
        elif request.method == "PUT":
            options, body = write_options(request), object_of(request, resource)
            with self._acting(request):
                stored = self.model.replace(resource, body, name, namespace, subresource, options)
        elif request.method == "PATCH":
            options, body, kind = write_options(request), body_of(request), content_type(request)
            with self._acting(request):
                created = not self.model.has(resource, name, namespace)
                stored = self.model.patch(resource, name, body, namespace, subresource, kind, options)
        elif request.method == "DELETE" and not subresource:
            options, uid, version = delete_options(request)
            with self._acting(request):
                stored = self.model.delete(
                    resource, name, namespace, uid=uid, resource_version=version, options=options
                )
            metadata = stored.obj["metadata"]
            if not metadata.get("deletionTimestamp"):
                details = {"name": name, "kind": resource.plural, "uid": metadata["uid"]}
                details |= {"group": resource.group} if resource.group else {}
                status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
                connection.send(200, _encode(status))
                return
        elif resource.custom and request.method == "DELETE":
            raise method_not_allowed("delete", resource.plural, resource.group)
        else:
            raise method_not_allowed()
        code = 201 if created else 200
        self._send_object(resource, stored.obj, stored.raw, request, connection, code, options)

    def _acting(self, request: Request) -> _Acting:
        return _Acting(self, request.agent)

    # --- answers ---

    def _send_object(
        self,
        resource: Resource,
        obj: Obj,
        raw: bytes,
        request: Request,
        connection: Connection,
        code: int,
        options: WriteOptions,
    ) -> None:
        form = form_of(request)
        if form == "Table":
            metadata = {"resourceVersion": obj["metadata"]["resourceVersion"]}
            raw = _encode(self.table(resource, [obj], metadata, request))
        elif form:
            raw = _encode(partial(obj))
        headers = (
            {"Warning": ", ".join(f'299 - "{quoted(text)}"' for text in options.warnings)} if options.warnings else None
        )
        connection.send(code, raw, headers=headers)

    def table(
        self, resource: Resource, objects: list[Obj], metadata: Obj, request: Request, columns: bool = True
    ) -> Obj:
        include = request.query.get("includeObject") or "Metadata"
        return tables.table(
            resource, objects, now_s=time.time(), metadata=metadata, include=include, with_columns=columns
        )

    def _find(self, resource: Resource, namespace: str, request: Request) -> Listing:
        query = request.query
        limit = limit_of(request)
        with self.lock:
            return self.model.list(
                resource,
                namespace=namespace,
                labels=query.get("labelSelector", ""),
                fields=query.get("fieldSelector", ""),
                limit=limit,
                continue_token=query.get("continue", ""),
                resource_version=query.get("resourceVersion", ""),
                match=query.get("resourceVersionMatch", ""),
            )

    def _list(self, resource: Resource, found: Listing, request: Request, connection: Connection) -> None:
        metadata: Obj = {"resourceVersion": str(found.resource_version)}
        if found.continue_token or resource.custom:  # of custom kinds it is always there
            metadata["continue"] = found.continue_token
        if found.remaining:
            metadata["remainingItemCount"] = found.remaining
        form = form_of(request)
        if form == "Table":
            connection.send(200, _encode(self.table(resource, [item.obj for item in found.items], metadata, request)))
            return
        kind, version = resource.list_kind, resource.api_version
        raws: Iterable[bytes] = (item.raw for item in found.items)
        if form:
            kind, version = "PartialObjectMetadataList", "meta.k8s.io/v1"
            raws = (_encode(partial(item.obj)) for item in found.items)
        head = _encode({"kind": kind, "apiVersion": version, "metadata": metadata})
        connection.send(200, head[:-1] + b',"items":[' + b",".join(raws) + b"]}\n")

    def _delete_all(self, resource: Resource, namespace: str, request: Request, connection: Connection) -> None:
        """The answer is the list of what was there."""
        options, _, _ = delete_options(request)
        with self._acting(request):
            found = self._find(resource, namespace, request)
            for item in found.items:
                metadata = item.obj["metadata"]
                self.model.delete(resource, metadata["name"], metadata.get("namespace", ""), options=options)
        self._list(resource, found, request, connection)

    # --- watches ---

    def _watch(self, resource: Resource, namespace: str, request: Request, connection: Connection) -> None:
        query = request.query
        awake = threading.Event()
        bookmarks = query.get("allowWatchBookmarks", "") in ("1", "true")
        try:
            timeout_s = float(query.get("timeoutSeconds") or 1800)
        except ValueError as error:
            raise bad_request(f"timeoutSeconds is not a number: {query['timeoutSeconds']!r}") from error
        initial = initial_events(request, watch=True)
        try:
            cursor = self._open_watch(resource, namespace, query, awake, bookmarks=bookmarks, initial=initial)
        except ApiError as error:
            if error.code != 410:
                raise
            connection.start_chunks()  # the real server finds out after it has said 200
            connection.chunk(WatchEvent("ERROR", {}, _encode(error.status()), 0).line())
            connection.end_chunks()
            return
        watch = Watch(self, resource, cursor, request, connection, awake)
        connection.watch = watch
        try:
            connection.start_chunks()
            watch.run(timeout_s, self._bookmark_s if bookmarks else None)
            connection.end_chunks()
        finally:
            connection.watch = None
            with self.lock:
                cursor.close()

    def _open_watch(
        self,
        resource: Resource,
        namespace: str,
        query: dict[str, str],
        awake: threading.Event,
        *,
        bookmarks: bool,
        initial: bool | None,
    ) -> WatchCursor:
        with self.lock:
            return self.model.watch(
                resource,
                namespace=namespace,
                labels=query.get("labelSelector", ""),
                fields=query.get("fieldSelector", ""),
                resource_version=query.get("resourceVersion", ""),
                send_initial_events=initial,
                match=query.get("resourceVersionMatch", ""),
                bookmarks=bookmarks,
                wake=awake.set,
            )


class _Acting:
    """Holds the lock for a write, and remembers for the object log on whose behalf."""

    def __init__(self, face: ApiServerFace, agent: str) -> None:
        self._face = face
        self._by = agent

    def __enter__(self) -> None:
        self._face.lock.acquire()
        self._face.agent = self._by

    def __exit__(self, *_: object) -> None:
        self._face.lock.release()


# --- the process ---


def write_kubeconfig(path: str | Path, url: str, *, namespace: str = "default") -> None:
    """Write a kubeconfig whose only context `muster-sim` is the server at `url` (plain HTTP, no credentials)."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "muster-sim", "cluster": {"server": url}}],
        "users": [{"name": "muster-sim", "user": {}}],
        "contexts": [
            {"name": "muster-sim", "context": {"cluster": "muster-sim", "user": "muster-sim", "namespace": namespace}}
        ],
        "current-context": "muster-sim",
    }
    Path(path).write_text(yaml.safe_dump(config, sort_keys=False))


def load_crds(model: ApiServerModel, directory: str | Path) -> list[str]:
    """Create the CRDs of all YAML files in `directory` (other documents are skipped); their names.

    Raises FileNotFoundError where there is no such directory, and ApiError for a definition that is invalid.
    """
    if not Path(directory).is_dir():
        raise FileNotFoundError(f"{directory} is no directory")
    loaded: list[str] = []
    for path in sorted(Path(directory).glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            if isinstance(document, dict) and document.get("kind") == CRDS.kind:
                model.create(CRDS, document)
                loaded.append(document["metadata"]["name"])
    return loaded


def main(arguments: list[str] | None = None) -> int:
    """The command line. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m actors.sim.serve_api", description="Muster's simulated API server")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one (default)")
    parser.add_argument("--log", help="access log, JSON lines")
    parser.add_argument("--object-log", help="every committed change, JSON lines")
    parser.add_argument("--kubeconfig", help="write a kubeconfig for this server here")
    parser.add_argument("--crd-dir", help="CustomResourceDefinitions to begin with (default: Muster's own)")
    parser.add_argument(
        "--kinds", help="a file: JSON list of kinds to serve as built-in ones (arguments of kinds.plain)"
    )
    parser.add_argument("--history", type=int, default=10_000, help="changes kept per kind before a resume gets 410")
    parser.add_argument("--bookmark-s", type=float, default=10.0, help="seconds between the bookmarks of a watch")
    parser.add_argument("--port-file", help="write the port here when listening")
    chosen = parser.parse_args(arguments)
    stop = stop_requested()
    access_log, object_log = JsonLines(chosen.log), JsonLines(chosen.object_log)
    model = ApiServerModel(clock=time.time, seed=str(uuid.uuid4()), history_changes_max=chosen.history)
    face = ApiServerFace(
        model,
        access_log=access_log if chosen.log else None,
        object_log=object_log if chosen.object_log else None,
        bookmark_s=chosen.bookmark_s,
    )
    try:
        load_crds(model, chosen.crd_dir or crd_folder())
    except FileNotFoundError as error:
        parser.error(f"--crd-dir: {error}")
    for each in msgspec.json.decode(Path(chosen.kinds).read_bytes()) if chosen.kinds else ():
        model.serve(plain(**each))
    with HttpServer(face.handle, port=chosen.port, host=chosen.host) as server:
        if chosen.kubeconfig:
            write_kubeconfig(chosen.kubeconfig, server.url)
        announce(server.url, chosen.port_file)
        stop.wait()
    access_log.close()
    object_log.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
