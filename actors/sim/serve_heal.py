"""Healing: what a repair changes in the cluster, done a while after the backend accepted it.

A real backend restarts a machine, and then the *node* reports that it is well. Here a thread plays that node: some
seconds after the execution it patches the object's status through the API server (healthy, a fresh heartbeat, the
condition `Healthy`), unless the object is gone or another one of the same name. Only a server of plain HTTP or one
whose kubeconfig holds a token or client certificate in files is reached; it is a test's helper and not a client.
"""

from __future__ import annotations

import base64
import heapq
import http.client
import json
import ssl
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from .backend import Repair

__all__ = ["Healer", "connection_to"]

Obj = dict[str, Any]
_AGENT = "muster-sim-backend"


class Healer:
    """Heals executed repairs `after_s` later, on one daemon thread. `group_version`: where the nodes' kinds are served."""

    def __init__(self, api: str, *, after_s: float, group_version: str = "muster.dev/v1alpha1") -> None:
        self._after_s = after_s
        self._group_version = group_version
        self._url, self._headers, self._tls = connection_to(api)
        self._due: list[tuple[float, int, Repair]] = []
        self._count = 0
        self._changed = threading.Condition()
        self._plurals: dict[str, str] = {}
        self._connection: http.client.HTTPConnection | None = None

    def start(self) -> Healer:
        threading.Thread(target=self._run, name="healer", daemon=True).start()
        return self

    def accept(self, repairs: tuple[Repair, ...]) -> None:
        """Heal these later. From any thread."""
        with self._changed:
            for repair in repairs:
                self._count += 1
                heapq.heappush(self._due, (time.monotonic() + self._after_s, self._count, repair))
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._due or self._due[0][0] > time.monotonic():
                    self._changed.wait(self._due[0][0] - time.monotonic() if self._due else None)
                _, number, repair = heapq.heappop(self._due)
            try:
                self._heal(repair)
            except (OSError, http.client.HTTPException, ValueError) as error:
                print(
                    f"healing {repair.namespace}/{repair.name} failed, again in 1 s: {error!r}",
                    file=sys.stderr,
                    flush=True,
                )
                self._connection = None
                with self._changed:
                    heapq.heappush(self._due, (time.monotonic() + 1.0, number, repair))

    def _heal(self, repair: Repair) -> None:
        path = f"/apis/{self._group_version}/namespaces/{repair.namespace}/{self._plural(repair.kind)}/{repair.name}"
        code, obj = self._call("GET", path)
        if code == 404 or (code == 200 and obj["metadata"]["uid"] != repair.uid):
            return
        if code != 200:
            raise ValueError(f"GET {path}: {code} {obj.get('message')}")
        now = datetime.now(UTC)
        conditions = [one for one in (obj.get("status") or {}).get("conditions") or [] if one.get("type") != "Healthy"]
        healthy = {"type": "Healthy", "status": "True", "reason": "Repaired", "message": "repaired by the backend"}
        conditions.append(healthy | {"lastTransitionTime": now.strftime("%Y-%m-%dT%H:%M:%SZ")})
        heartbeat = now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        status = {"healthy": True, "lastHeartbeatTime": heartbeat, "conditions": conditions}
        metadata = {"resourceVersion": obj["metadata"]["resourceVersion"]}
        code, answer = self._call("PATCH", path + "/status", {"metadata": metadata, "status": status})
        if code == 409:
            self._heal(repair)
        elif code not in (200, 404):
            raise ValueError(f"PATCH {path}/status: {code} {answer.get('message')}")

    def _plural(self, kind: str) -> str:
        if kind not in self._plurals:
            _, served = self._call("GET", f"/apis/{self._group_version}")
            self._plurals |= {one["kind"]: one["name"] for one in served.get("resources", ()) if "/" not in one["name"]}
        if kind not in self._plurals:
            raise ValueError(f"no kind {kind} in {self._group_version}")
        return self._plurals[kind]

    def _call(self, method: str, path: str, body: Obj | None = None) -> tuple[int, Obj]:
        if self._connection is None:
            where = urlsplit(self._url)
            assert where.hostname is not None
            if where.scheme == "https":
                self._connection = http.client.HTTPSConnection(
                    where.hostname, where.port, timeout=10, context=self._tls
                )
            else:
                self._connection = http.client.HTTPConnection(where.hostname, where.port, timeout=10)
        headers = {"Content-Type": "application/merge-patch+json", "User-Agent": _AGENT, **self._headers}
        self._connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = self._connection.getresponse()
        return answer.status, json.loads(answer.read())


def connection_to(api: str) -> tuple[str, dict[str, str], ssl.SSLContext | None]:
    """URL, headers and TLS of an `http://` URL or of a kubeconfig's current context."""
    if api.startswith(("http://", "https://")):
        return api, {}, None
    config = yaml.safe_load(Path(api).read_text())
    context = next(one["context"] for one in config["contexts"] if one["name"] == config["current-context"])
    cluster = next(one["cluster"] for one in config["clusters"] if one["name"] == context["cluster"])
    user = next((one["user"] for one in config["users"] if one["name"] == context.get("user")), None) or {}
    headers = {"Authorization": f"Bearer {user['token']}"} if user.get("token") else {}
    if not cluster["server"].startswith("https"):
        return cluster["server"], headers, None
    tls = ssl.create_default_context(cafile=_file(cluster, "certificate-authority"))
    if cluster.get("insecure-skip-tls-verify"):
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    if certificate := _file(user, "client-certificate"):
        tls.load_cert_chain(certificate, _file(user, "client-key"))
    return cluster["server"], headers, tls


def _file(settings: dict[str, Any], name: str) -> str | None:
    if data := settings.get(f"{name}-data"):
        with tempfile.NamedTemporaryFile(prefix="muster-", delete=False) as file:
            file.write(base64.b64decode(data))
        return file.name
    return settings.get(name)
