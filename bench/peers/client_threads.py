"""The plain ``kubernetes`` client: a thread that lists and watches, a dictionary, and a thread that writes statuses."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from typing import Any

from kubernetes import client, config, watch

GROUP, VERSION, NAMESPACE = "muster.dev", "v1alpha1", "default"
DEBOUNCE_S = 0.1


class Counts:
    """Who is well, by Cluster and node; and which Clusters are to be counted, since when."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.nodes: dict[str, dict[str, bool | None]] = defaultdict(dict)
        self.changed: dict[str, float] = {}

    def put(self, node: dict[str, Any]) -> None:
        cluster, name = node["spec"]["clusterRef"]["name"], node["metadata"]["name"]
        healthy = node.get("status", {}).get("healthy")
        with self.lock:
            if name not in self.nodes[cluster] or self.nodes[cluster][name] != healthy:
                self.nodes[cluster][name] = healthy
                self.changed[cluster] = time.monotonic()

    def remove(self, node: dict[str, Any]) -> None:
        cluster = node["spec"]["clusterRef"]["name"]
        with self.lock:
            if self.nodes[cluster].pop(node["metadata"]["name"], None) is not None:
                self.changed[cluster] = time.monotonic()

    def due(self) -> dict[str, dict[str, int]]:
        """The statuses of the Clusters that have been quiet for long enough."""
        now_s = time.monotonic()
        with self.lock:
            quiet = [cluster for cluster, at_s in self.changed.items() if now_s - at_s >= DEBOUNCE_S]
            for cluster in quiet:
                del self.changed[cluster]
            return {cluster: status_of(self.nodes[cluster]) for cluster in quiet}


def status_of(nodes: dict[str, bool | None]) -> dict[str, int]:
    """The counts as the CRD has them."""
    healthy = sum(1 for each in nodes.values() if each)
    unhealthy = sum(1 for each in nodes.values() if each is False)
    return {
        "total": len(nodes),
        "healthy": healthy,
        "unhealthy": unhealthy,
        "unknown": len(nodes) - healthy - unhealthy,
    }


def follow(api: client.CustomObjectsApi, counts: Counts) -> None:
    """List by pages, then watch; from the beginning when the version has expired."""
    while True:
        token, version = "", ""
        while True:
            page = api.list_cluster_custom_object(GROUP, VERSION, "computenodes", limit=500, _continue=token)
            for node in page["items"]:
                counts.put(node)
            version, token = page["metadata"]["resourceVersion"], page["metadata"].get("continue", "")
            if not token:
                break
        try:
            events = watch.Watch().stream(
                api.list_cluster_custom_object, GROUP, VERSION, "computenodes", resource_version=version
            )
            for event in events:
                (counts.remove if event["type"] == "DELETED" else counts.put)(event["object"])
        except client.ApiException as error:
            if error.status != 410:
                raise


def main() -> None:
    config.load_kube_config()
    api, counts = client.CustomObjectsApi(), Counts()
    threading.Thread(target=follow, args=(api, counts), daemon=True).start()
    while True:
        time.sleep(0.02)
        for cluster, status in counts.due().items():
            api.patch_namespaced_custom_object_status(
                GROUP, VERSION, NAMESPACE, "clusters", cluster, {"status": status}
            )


if __name__ == "__main__":
    main()
