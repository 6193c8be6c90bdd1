"""``muster manifests``: the rights that a fleet needs, and definitions of its kinds, for kubectl. Asks no server."""

from __future__ import annotations

import yaml

from ..edge.settings_load import Loaded
from .definitions import definitions, is_ours
from .rights import documents, repairs_by

__all__ = ["manifests"]


def manifests(loaded: Loaded, *, crds: bool) -> str:
    """YAML documents. The rights are for the settings in force: for one namespace, where ``--namespace`` says so."""
    fleet, namespace = loaded.fleet, loaded.settings.namespace
    where = f"in the namespace {namespace}" if namespace else "in all namespaces"
    head = f"# The least rights for the fleet {fleet.name}, {where}: muster manifests"
    parts = [
        yaml.safe_dump_all(documents(fleet, namespace, repairs=repairs_by(loaded.settings)), sort_keys=False, width=120)
    ]
    if crds:
        taken = [ref.kind for ref in fleet.kinds if not is_ours(ref)]
        parts += [f"---\n{yaml.safe_dump(each, sort_keys=False, width=120)}" for each in definitions(fleet)]
        if taken:
            head += f"\n# No definitions of {', '.join(taken)}: Kubernetes has those."
    return head + "\n" + "".join(parts)
