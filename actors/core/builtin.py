"""The built-in fleet, which holds where none is named: declared like anybody's, and by nothing else."""

from __future__ import annotations

from .declare import child_kind, field, fleet, label, owner, parent_kind, true
from .fleet import ChildKind

__all__ = ["MUSTER_FLEET"]


def _node_type(name: str) -> ChildKind:
    return child_kind(
        "muster.dev/v1alpha1",
        name,
        parent=[owner(), label("muster.dev/cluster"), field("spec.clusterRef.name")],
        health=true("status.healthy", turned_condition="Healthy"),
        heartbeat="status.lastHeartbeatTime",
    )


MUSTER_FLEET = fleet(
    "muster", parent_kind("muster.dev/v1alpha1", "Cluster"), [_node_type("ComputeNode"), _node_type("StorageNode")]
)
