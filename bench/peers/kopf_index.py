"""kopf with its in-memory index: nodes by Cluster, and a task for each Cluster that waits and writes.

Its start-up grows faster than the number of nodes does, so it is measured with small fleets.
"""

from __future__ import annotations

import asyncio
from typing import Any

import kopf
from kubernetes import client, config

GROUP, VERSION, NAMESPACE = "muster.dev", "v1alpha1", "default"
DEBOUNCE_S = 0.1

writing: dict[str, asyncio.Task[None]] = {}
written: dict[str, dict[str, int]] = {}


@kopf.on.startup()
def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    settings.posting.enabled = False
    config.load_kube_config()


@kopf.index(GROUP, VERSION, "computenodes")
async def nodes_by_cluster(
    name: str, spec: kopf.Spec, status: kopf.Status, **_: Any
) -> dict[str, tuple[str, bool | None]]:
    return {spec["clusterRef"]["name"]: (name, status.get("healthy"))}


@kopf.on.event(GROUP, VERSION, "computenodes")
async def node_seen(spec: kopf.Spec, **indexes: Any) -> None:
    cluster = spec["clusterRef"]["name"]
    if cluster not in writing:
        writing[cluster] = asyncio.create_task(write(cluster, indexes["nodes_by_cluster"]))


async def write(cluster: str, index: kopf.Index[str, tuple[str, bool | None]]) -> None:
    """Count after a quiet time; write what differs."""
    await asyncio.sleep(DEBOUNCE_S)
    del writing[cluster]
    known = [healthy for _, healthy in index.get(cluster, [])]
    healthy, unhealthy = sum(1 for each in known if each), sum(1 for each in known if each is False)
    status = {
        "total": len(known),
        "healthy": healthy,
        "unhealthy": unhealthy,
        "unknown": len(known) - healthy - unhealthy,
    }
    if written.get(cluster) != status:
        written[cluster] = status
        await asyncio.to_thread(
            client.CustomObjectsApi().patch_namespaced_custom_object_status,
            GROUP, VERSION, NAMESPACE, "clusters", cluster, {"status": status},
        )  # fmt: skip
