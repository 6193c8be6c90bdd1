"""What a fleet is: data that names the kinds and says how to read them. The engine knows no kind by name.

``FleetDefinition`` is read by ``decode`` (which fields to take off the wire), ``reconcile`` (which operation repairs) and the
readers (which paths to list). The built-in fleet is ``MUSTER_FLEET`` at the end of this file: a definition like any other.
Paths are dotted field names (``status.lastHeartbeatTime``).
"""

from __future__ import annotations

from attrs import field, frozen


@frozen(kw_only=True)
class KindRef:
    """One kind on the API server: ``group`` "" is the core group; ``plural`` is the path segment."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """``group/version``, or ``version`` alone in the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str = "", name: str = "") -> str:
        """The URL path of the collection (in all namespaces where ``namespace`` is "") or of one object."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        middle = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return f"{root}{middle}/{self.plural}" + (f"/{name}" if name else "")


@frozen(kw_only=True)
class OwnerReference:
    """The parent is the controller owner of the parent's kind."""


@frozen(kw_only=True)
class Label:
    """The parent's name is this label's value."""

    key: str


@frozen(kw_only=True)
class FieldPath:
    """The parent's name is this field's value."""

    path: str


Mapping = OwnerReference | Label | FieldPath


@frozen(kw_only=True)
class Health:
    """How a child reports.

    ``healthy`` is a boolean field (absent: never reported). ``heartbeat`` is an RFC 3339 field that each report renews ("":
    no heartbeats). ``condition`` names the condition under ``status.conditions`` whose ``lastTransitionTime`` tells when
    the health last turned, which names the incident.
    """

    healthy: str
    heartbeat: str = ""
    condition: str = ""


@frozen(kw_only=True)
class ChildKind:
    """One child kind: where it is, whose it is (mappings tried in order; the first that is there wins), how it reports."""

    ref: KindRef
    mapping: tuple[Mapping, ...]
    health: Health


@frozen(kw_only=True)
class FleetDefinition:
    """A parent kind, its child kinds, and the backend operation that repairs a child."""

    name: str
    parent: KindRef
    children: tuple[ChildKind, ...] = field()
    operation: str = "batchRepair"

    @children.validator
    def _check_children(self, _attribute: object, value: tuple[ChildKind, ...]) -> None:
        names = [self.parent.kind, *(child.ref.kind for child in value)]
        if len(set(names)) != len(names) or not value:
            raise ValueError(f"fleet {self.name}: the kinds must differ and there must be a child kind, found {names}")

    @property
    def kinds(self) -> tuple[KindRef, ...]:
        """Every kind watched, the parent's first."""
        return (self.parent, *(child.ref for child in self.children))

    def child(self, kind: str) -> ChildKind:
        """The child kind of that name; KeyError where there is none."""
        for each in self.children:
            if each.ref.kind == kind:
                return each
        raise KeyError(kind)


def _node_type(kind: str, plural: str) -> ChildKind:
    return ChildKind(
        ref=KindRef(group="muster.dev", version="v1alpha1", kind=kind, plural=plural),
        mapping=(OwnerReference(), Label(key="muster.dev/cluster"), FieldPath(path="spec.clusterRef.name")),
        health=Health(healthy="status.healthy", heartbeat="status.lastHeartbeatTime", condition="Healthy"),
    )


MUSTER_FLEET = FleetDefinition(
    name="muster",
    parent=KindRef(group="muster.dev", version="v1alpha1", kind="Cluster", plural="clusters"),
    children=(_node_type("ComputeNode", "computenodes"), _node_type("StorageNode", "storagenodes")),
)
