"""The least rights that a fleet needs, as data: ``muster manifests`` prints them as roles, ``muster check`` asks for each."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from ..core.fleet import FleetDefinition, KindRef
from ..core.joins import sides_of
from ..core.status_wire import subresource_of
from ..edge.kube_backend import verb_of
from ..edge.settings import Settings

__all__ = ["Right", "documents", "kinds_read", "repairs_by", "rights"]

NAME, ACCOUNT, HOME = "muster-operator", "muster", "muster-system"
_LABELS = {
    "app.kubernetes.io/name": "muster", "app.kubernetes.io/component": "rbac", "app.kubernetes.io/part-of": "muster",
}  # fmt: skip
_API = "rbac.authorization.k8s.io"


@frozen
class Right:
    """Verbs on resources of one group, in one namespace or ("") in all of them and outside them."""

    group: str
    resources: tuple[str, ...]
    verbs: tuple[str, ...]
    namespace: str = ""

    @property
    def rule(self) -> dict[str, list[str]]:
        """As a role has it."""
        return {"apiGroups": [self.group], "resources": list(self.resources), "verbs": list(self.verbs)}


def kinds_read(fleet: FleetDefinition, namespace: str = "") -> list[tuple[KindRef, str]]:
    """Every kind that is listed and watched, each once, and in which namespace ("": in all, or it is in none)."""
    sides = [side for child in fleet.children for side in sides_of(fleet, child.ref.kind)]
    found = [(ref, namespace if ref.namespaced else "") for ref in fleet.kinds]
    found += [(side.ref, (side.namespace or namespace) if side.ref.namespaced else "") for side in sides]
    return list({(ref.group, ref.plural, where): (ref, where) for ref, where in found}.values())


def repairs_by(settings: Settings) -> str:
    """What repairs are on the API server itself: the verb that they need on the children; "" where they are elsewhere."""
    return verb_of(settings.kubernetes_annotation) if settings.backend == "kubernetes" else ""


def rights(fleet: FleetDefinition, namespace: str = "", *, repairs: str = "") -> list[Right]:
    """What the operator does, and nothing else; ``namespace``: the one that it is limited to; ``repairs``: ``repairs_by``."""
    reads: dict[tuple[str, str], list[str]] = {}
    for ref, where in kinds_read(fleet, namespace):
        reads.setdefault((ref.group, where), []).append(ref.plural)
    found = [Right(group, tuple(plurals), ("list", "watch"), where) for (group, where), plurals in reads.items()]
    parent = fleet.parent
    home = namespace if parent.namespaced else ""
    part = subresource_of(fleet)
    found.append(Right(parent.group, (f"{parent.plural}/{part}" if part else parent.plural,), ("patch",), home))
    if repairs:
        refs = [child.ref for child in fleet.children]
        found += [Right(ref.group, (ref.plural,), (repairs,), namespace if ref.namespaced else "") for ref in refs]
    # Events on what is in no namespace are in the namespace default.
    events = namespace if parent.namespaced else "default"
    found.append(Right("events.k8s.io", ("events",), ("create", "patch"), events))
    return found


def documents(fleet: FleetDefinition, namespace: str = "", *, repairs: str = "") -> list[dict[str, Any]]:
    """Roles and their bindings to the operator's account: one for all namespaces, and one for each that is named."""
    by_namespace: dict[str, list[Right]] = {"": []}
    for right in rights(fleet, namespace, repairs=repairs):
        by_namespace.setdefault(right.namespace, []).append(right)
    found = []
    for where, some in by_namespace.items():
        if some:
            kind = "Role" if where else "ClusterRole"
            found.append(_document(kind, where, {"rules": [right.rule for right in some]}))
            found.append(_document(f"{kind}Binding", where, {
                "roleRef": {"apiGroup": _API, "kind": kind, "name": NAME},
                "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": HOME}],
            }))  # fmt: skip
    return found


def _document(kind: str, namespace: str, more: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": NAME, **({"namespace": namespace} if namespace else {}), "labels": dict(_LABELS)}
    return {"apiVersion": f"{_API}/v1", "kind": kind, "metadata": metadata, **more}
