"""kopf with a plain dictionary: an event handler that notes who is well, and a task for each Cluster that waits and writes."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any

import kopf
from kubernetes import client, config

GROUP, VERSION, NAMESPACE = "muster.dev", "v1alpha1", "default"
DEBOUNCE_S = 0.1

nodes: dict[str, dict[str, bool | None]] = defaultdict(dict)
writing: dict[str, asyncio.Task[None]] = {}


@kopf.on.startup()
def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    settings.posting.enabled = False
    config.load_kube_config()


@kopf.on.event(GROUP, VERSION, "computenodes")
async def node_seen(type: str | None, name: str, spec: kopf.Spec, status: kopf.Status, **_: Any) -> None:  # noqa: A002 - kopf passes it by that name
    cluster, healthy = spec["clusterRef"]["name"], status.get("healthy")
    if type == "DELETED":
        if nodes[cluster].pop(name, None) is None:
            return
    elif name in nodes[cluster] and nodes[cluster][name] == healthy:
        return
    else:
        nodes[cluster][name] = healthy
    if (task := writing.get(cluster)) is not None:
        task.cancel()
    writing[cluster] = asyncio.create_task(write(cluster))


async def write(cluster: str) -> None:
    """After a quiet time; a change that comes meanwhile begins it anew."""
    await asyncio.sleep(DEBOUNCE_S)
    known = nodes[cluster].values()
    healthy, unhealthy = sum(1 for each in known if each), sum(1 for each in known if each is False)
    status = {
        "total": len(known),
        "healthy": healthy,
        "unhealthy": unhealthy,
        "unknown": len(known) - healthy - unhealthy,
    }
    await asyncio.to_thread(
        client.CustomObjectsApi().patch_namespaced_custom_object_status,
        GROUP, VERSION, NAMESPACE, "clusters", cluster, {"status": status},
    )  # fmt: skip
