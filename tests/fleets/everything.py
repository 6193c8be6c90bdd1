"""What everything.yaml says, in Python."""

from actors.fleet import (
    annotation,
    cel,
    child_kind,
    condition,
    field,
    fleet,
    kind,
    label,
    lease,
    namespace,
    one_of,
    owner,
    parent_kind,
    quiet,
    true,
)

KEPT = {"id": "spec.id", "load": "status.load"}
LOADED = """object.status.conditions.exists(c, c.type == 'Synced' && c.status == 'True') \
&& object.status.ready >= object.spec.replicas"""

everything = fleet(
    "everything",
    parent_kind(
        "pools.example.com/v1beta1",
        "Pool",
        labels="shard in (a, b),!paused",
        settings="spec.fleet",
        status={"healthy": "ready", "total": "members", "unhealthySample": None},
    ),
    [
        child_kind(
            "v1",
            "Node",
            scope="Cluster",
            labels="pool,tier!=spare",
            selector_fields="spec.unschedulable!=true",
            parent=[label("pool", parent_namespace="pools"), annotation("pools.example.com/of", parent_namespace="*")],
            parents="All",
            health=condition("Ready"),
            heartbeat=lease(),
            fields={
                "id": "spec.providerID",
                "zone": "metadata.labels['topology.kubernetes.io/zone']",
                "load": quiet("status.load"),
            },
        ),
        child_kind(
            "v1",
            "Pod",
            selector_fields="status.phase!=Succeeded",
            parent=[owner(through=kind("apps/v1", "ReplicaSet")), owner()],
            health=one_of("status.phase", ["Running"], unhealthy=["Failed"], turned_field="status.startTime"),
            fields={"id": "metadata.name", "load": quiet("status.load")},
        ),
        child_kind(
            "example.com/v1",
            "Proxy",
            parent=[namespace(parent_namespace="pools")],
            health=cel(LOADED, turned_condition="Synced"),
            heartbeat=lease(),
            fields=KEPT,
        ),
        child_kind(
            "example.com/v1",
            "Disk",
            parent=[field("spec.pool", parent_namespace="*")],
            health=condition("Failing", healthy=["False"], unhealthy=["True", "Unknown"]),
            fields=KEPT,
        ),
        child_kind(
            "example.com/v1",
            "Link",
            parent=[label("pool")],
            health=one_of("status.errors", [0, "none"]),
            heartbeat="status.seen",
            fields=KEPT,
        ),
        child_kind("example.com/v1", "Fan", parent=[annotation("pool")], health=true("status.spins"), fields=KEPT),
    ],
    operation="replaceMembers",
    item={
        "slot": "{fields.id}",
        "of": "{parentNamespace}/{parent}",
        "detail": {"load": "{fields.load}", "text": "{{{kind}}} {name}", "force": True},
    },
    settings={
        "backendUrl": "http://repairs.example:8080",
        "quota": "100/1m",
        "batchMax": 50,
        "heartbeatTimeout": "40s",
        "maxUnhealthy": "20%",
        "debounce": "250ms",
        "auditInterval": "off",
        "repairEnabled": True,
    },
)
