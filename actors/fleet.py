"""A fleet of one's own in Python: the public names. docs/python.md tells how; ``muster new NAME`` writes a project.

::

    from actors.fleet import child_kind, condition, fleet, label, parent_kind

    pools = fleet(
        "pools",
        parent_kind("pools.example.com/v1", "Pool"),
        [
            child_kind(
                "pools.example.com/v1",
                "Machine",
                parent=[label("pools.example.com/pool")],
                health=condition("Ready"),
            )
        ],
    )

``muster run --fleet pools.py:pools`` runs it. What is wrong with it is a ``SettingsError`` when ``fleet`` is called, a line for
each problem. Of a ``reconcile`` of one's own: ``Parent``, ``Children`` and ``Child`` are what it gets, ``Plan`` and
``Condition`` what it may say, ``Fields`` and ``At`` name what is kept for it.
"""

from __future__ import annotations

from .core.builtin import MUSTER_FLEET
from .core.declare import (
    FleetSettings,
    Keep,
    ParentKind,
    StatusNames,
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
from .core.errors import SettingsError
from .core.fleet import ChildKind, FleetDefinition, Health, KindRef, Lease, Mapping
from .core.own import At, BadFields, Child, Children, Condition, Fields, Parent, Plan

__all__ = [
    "MUSTER_FLEET",
    "At",
    "BadFields",
    "Child",
    "ChildKind",
    "Children",
    "Condition",
    "Fields",
    "FleetDefinition",
    "FleetSettings",
    "Health",
    "Keep",
    "KindRef",
    "Lease",
    "Mapping",
    "Parent",
    "ParentKind",
    "Plan",
    "SettingsError",
    "StatusNames",
    "annotation",
    "cel",
    "child_kind",
    "condition",
    "field",
    "fleet",
    "kind",
    "label",
    "lease",
    "namespace",
    "one_of",
    "owner",
    "parent_kind",
    "quiet",
    "true",
]
