"""A fleet in a few lines of Python: the words of a fleet's file as functions, typed, so that mypy finds what an editor would.

``fleet`` makes the same ``FleetDefinition`` as a file does and holds it to the same rules, when it is called. What a file
cannot say is said here too: further fields as a typed class (``own.Fields``), and a ``reconcile`` of one's own. People
import all of it from ``actors.fleet``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Generic, Literal, TypedDict, TypeVar, overload

from attrs import field as attribute
from attrs import frozen

from . import fleet as core
from .errors import SettingsError
from .fleet_rules import problems
from .own import Children, Fields, Own, Parent, Plan, fields_in

__all__ = [
    "FleetSettings",
    "Keep",
    "ParentKind",
    "StatusNames",
    "annotation",
    "cel",
    "child_kind",
    "condition",
    "default_plural",
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

Scope = Literal["Namespaced", "Cluster"]
F = TypeVar("F")
_LEASES = "kube-node-lease"


class FleetSettings(TypedDict, total=False):
    """The operator's settings that a fleet wants, in the words and forms of docs/settings.md: ``"10/1s"``, ``"5m"``, ``"50%"``.

    A flag, a variable and the configuration file beat them. Their values are read when the operator starts.
    """

    auditInterval: str
    backend: str
    backendUrl: str
    kubernetesAnnotation: str
    backendTokenFile: str
    ec2InstanceField: str
    ec2TerminateFrom: str | int
    quota: str
    batchMax: str | int
    batchQuiet: str
    backendTimeout: str
    backendLateness: str
    callsInFlightMax: str | int
    coldStart: str
    heartbeatTimeout: str
    debounce: str
    debounceMax: str
    maxUnhealthy: str | int
    maxUnhealthyFleet: str | int
    cooldown: str
    cooldownMax: str
    maxAttempts: str | int
    minHealthy: str | int
    repairEnabled: str | bool
    maxInFlight: str | int


class StatusNames(TypedDict, total=False):
    """What the fields of the parent's status are called, where not as in docs/fleets.md; None: it is not written."""

    observedGeneration: str | None
    total: str | None
    healthy: str | None
    unhealthy: str | None
    unknown: str | None
    repairing: str | None
    kinds: str | None
    unhealthySample: str | None
    exhausted: str | None
    conditions: str


# No None beside them, so that mypy names the wrong key.
_NO_SETTINGS: FleetSettings = {}
_AS_THEY_ARE: StatusNames = {}


# --- kinds ----------------------------------------------------------------------------------------------------------------
def kind(
    api_version: str, name: str, *, plural: str = "", scope: Scope = "Namespaced", labels: str = "", fields: str = ""
) -> core.KindRef:
    """A kind on the API server, such as ``kind("apps/v1", "ReplicaSet")``; ``"v1"`` is the core group.

    ``plural`` "" is the usual one (``default_plural``). ``labels`` and ``fields`` are selectors, as kubectl takes them.
    """
    group, _, version = api_version.rpartition("/")
    return core.KindRef(
        group=group, version=version, kind=name, plural=plural or default_plural(name), namespaced=scope == "Namespaced",
        labels=labels, fields=fields,
    )  # fmt: skip


@frozen(kw_only=True)
class ParentKind(Generic[F]):
    """The parent's kind, as ``parent_kind`` makes it; ``F`` is the class of the fields that are kept of it."""

    ref: core.KindRef
    settings: str
    status: Mapping[str, str] = attribute(hash=False)
    status_annotation: str
    view: type[F] | None


@overload
def parent_kind(
    api_version: str,
    name: str,
    *,
    plural: str = "",
    scope: Scope = "Namespaced",
    labels: str = "",
    selector_fields: str = "",
    settings: str | Literal[False] = "spec",
    status: StatusNames = _AS_THEY_ARE,
    status_annotation: str = "",
) -> ParentKind[None]: ...
@overload
def parent_kind(
    api_version: str,
    name: str,
    *,
    plural: str = "",
    scope: Scope = "Namespaced",
    labels: str = "",
    selector_fields: str = "",
    settings: str | Literal[False] = "spec",
    status: StatusNames = _AS_THEY_ARE,
    status_annotation: str = "",
    fields: type[F],
) -> ParentKind[F]: ...
def parent_kind(
    api_version: str,
    name: str,
    *,
    plural: str = "",
    scope: Scope = "Namespaced",
    labels: str = "",
    selector_fields: str = "",
    settings: str | Literal[False] = "spec",
    status: StatusNames = _AS_THEY_ARE,
    status_annotation: str = "",
    fields: type[Any] | None = None,
) -> ParentKind[Any]:
    """The kind whose status tells how many of its children are well.

    ``settings`` is the path of the parent's own settings (heartbeatTimeout, repair …), False: it has none. ``status`` names the
    fields of its status otherwise; with ``status_annotation`` it is written under that annotation, for a kind that another
    controller owns. ``fields``: a class of ``Fields`` that are kept of it, for a ``reconcile`` of one's own.
    """
    ref = kind(api_version, name, plural=plural, scope=scope, labels=labels, fields=selector_fields)
    names = {key: str(value or "") for key, value in status.items() if value != key}
    return ParentKind(
        ref=ref, settings=settings or "", status=names, status_annotation=status_annotation, view=fields
    )  # fmt: skip


@frozen
class Keep:
    """A further field that is kept of a child: ``quiet`` makes one."""

    path: str
    quiet: bool = False


def quiet(path: str) -> Keep:
    """A field that is kept, and of which a change alone is no reason to look at the parent."""
    return Keep(path, quiet=True)


def child_kind(
    api_version: str,
    name: str,
    *,
    parent: Sequence[core.Mapping],
    parents: Literal["First", "All"] = "First",
    health: core.Health,
    heartbeat: str | core.Lease = "",
    fields: type[Fields] | Mapping[str, str | Keep] | None = None,
    plural: str = "",
    scope: Scope = "Namespaced",
    labels: str = "",
    selector_fields: str = "",
) -> core.ChildKind:
    """A kind that is counted and repaired.

    ``parent``: how to find a child's parent, tried in order (``owner``, ``label``, ``annotation``, ``field``, ``namespace``).
    ``parents``: whether it is counted for the first that they name or for all of them; it is repaired for the first.
    ``health``: how it says that it is well (``true``, ``one_of``, ``condition``, ``cel``). ``heartbeat``: the path of an RFC
    3339 instant that each report renews, or ``lease()``. ``fields``: further ones that are kept, by name and path, or a class
    of ``Fields``, as which a ``reconcile`` gets them. ``SettingsError`` where that class names no paths.
    """
    if isinstance(heartbeat, core.Lease) and not heartbeat.namespace and scope == "Cluster":
        heartbeat = core.Lease(namespace=_LEASES)
    view = fields if isinstance(fields, type) else None
    return core.ChildKind(
        ref=kind(api_version, name, plural=plural, scope=scope, labels=labels, fields=selector_fields),
        mapping=tuple(parent),
        parents=parents,
        health=core.Health(
            healthy=health.healthy, heartbeat=heartbeat, condition=health.condition, since=health.since
        ),
        fields=fields_in(view) if view is not None else _kept(fields if isinstance(fields, Mapping) else {}),
        view=view,
    )  # fmt: skip


def _kept(fields: Mapping[str, str | Keep]) -> tuple[core.Field, ...]:
    kept = {name: each if isinstance(each, Keep) else Keep(each) for name, each in fields.items()}
    return tuple([core.Field(name=name, path=each.path, quiet=each.quiet) for name, each in kept.items()])


def default_plural(kind: str) -> str:
    """The plural of most kinds; a server that has another one is asked about by ``muster check``."""
    word = kind.lower()
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return f"{word}es"
    return f"{word[:-1]}ies" if word.endswith("y") and word[-2:-1] not in "aeiou" else f"{word}s"


# --- whose a child is -----------------------------------------------------------------------------------------------------
def owner(through: core.KindRef | None = None) -> core.Mapping:
    """By the controller owner reference of the parent's kind; ``through``: by that of the owner of this kind."""
    return core.OwnerReference(through=through)


def label(key: str, *, parent_namespace: str = "") -> core.Mapping:
    """By this label's value, which is the parent's name. ``parent_namespace``: where it is, if not in the child's own."""
    return core.Label(key=key, namespace=parent_namespace)


def annotation(key: str, *, parent_namespace: str = "") -> core.Mapping:
    """By this annotation's value. ``parent_namespace`` ``"*"``: the value says ``NAMESPACE/NAME``."""
    return core.Annotation(key=key, namespace=parent_namespace)


def field(path: str, *, parent_namespace: str = "") -> core.Mapping:
    """By this field's value. ``parent_namespace`` as an annotation's."""
    return core.FieldPath(path=path, namespace=parent_namespace)


def namespace(*, parent_namespace: str = "") -> core.Mapping:
    """By the name of the namespace that the child is in."""
    return core.NamespaceName(namespace=parent_namespace)


# --- what healthy means ---------------------------------------------------------------------------------------------------
# Of each: ``turned_condition`` or ``turned_field`` tells when the health last turned, and so names the incident: the
# lastTransitionTime of that condition, or that field.
def true(path: str, *, turned_condition: str = "", turned_field: str = "") -> core.Health:
    """Healthy while this boolean field is true; absent: not known."""
    return core.Health(healthy=path, condition=turned_condition, since=turned_field)


def one_of(
    path: str,
    healthy: Sequence[core.Value],
    *,
    unhealthy: Sequence[core.Value] | None = None,
    turned_condition: str = "",
    turned_field: str = "",
) -> core.Health:
    """Healthy by the value of this field. ``unhealthy`` None: every other value; in neither, or absent: not known."""
    bad = None if unhealthy is None else tuple(unhealthy)
    how = core.FieldIn(path=path, healthy=tuple(healthy), unhealthy=bad)
    return core.Health(healthy=how, condition=turned_condition, since=turned_field)


def condition(
    type: str,  # noqa: A002 - as Kubernetes calls it
    *,
    healthy: Sequence[str] = ("True",),
    unhealthy: Sequence[str] | None = None,
    turned_condition: str = "",
    turned_field: str = "",
) -> core.Health:
    """Healthy by the status of this condition under status.conditions. ``unhealthy`` None: of True and False, the other."""
    good = tuple(healthy)
    bad = tuple([each for each in ("True", "False") if each not in good]) if unhealthy is None else tuple(unhealthy)
    how = core.ConditionIs(type=type, healthy=good, unhealthy=bad)
    return core.Health(healthy=how, condition=turned_condition, since=turned_field)


def cel(expression: str, *, turned_condition: str = "", turned_field: str = "") -> core.Health:
    """Healthy by a CEL expression over fields of ``object``: true, false, or null where it is not known."""
    return core.Health(
        healthy=core.Expression(cel=expression), condition=turned_condition, since=turned_field
    )  # fmt: skip


def lease(namespace: str = "") -> core.Lease:
    """The heartbeat is the Lease of the child's name; of cluster-scoped ones in ``namespace`` ("": kube-node-lease)."""
    return core.Lease(namespace=namespace)


# --- all of it ------------------------------------------------------------------------------------------------------------
def fleet(
    name: str,
    parent: ParentKind[F],
    children: Sequence[core.ChildKind],
    *,
    operation: str = "batchRepair",
    item: Mapping[str, Any] | None = None,
    settings: FleetSettings = _NO_SETTINGS,
    reconcile: Callable[[Parent[F], Children[Any], datetime], Plan] | None = None,
) -> core.FleetDefinition:
    """The definition of a fleet: what ``--fleet MODULE:NAME`` names. ``SettingsError`` with a line for all that is wrong.

    ``operation`` and ``item`` are what the backend is asked (docs/fleets.md has the words in braces). ``reconcile``, if
    there is one, is called at each look at a parent, after the engine has counted; see ``Plan`` for what it may say. It must
    be pure: no I/O, no clock but its third argument (UTC), the same answer for the same arguments.
    """
    try:
        made = core.FleetDefinition(
            name=name, parent=parent.ref, children=tuple(children), operation=operation,
            payload=dict(core.PAYLOAD if item is None else item), status=dict(parent.status), spec=parent.settings,
            status_annotation=parent.status_annotation,
            settings={key: str(value).lower() if isinstance(value, bool) else str(value)
                      for key, value in settings.items()},
            own=_own(parent, reconcile),
        )  # fmt: skip
    except ValueError as error:
        raise SettingsError(str(error)) from error
    if found := problems(made):
        raise SettingsError("\n".join(f"fleet {name}: {each}" for each in found))
    return made


def _own(parent: ParentKind[Any], reconcile: Callable[..., Plan] | None) -> Own | None:
    if reconcile is None and parent.view is None:
        return None
    return Own(reconcile=reconcile, view=parent.view, fields=() if parent.view is None else fields_in(parent.view))
