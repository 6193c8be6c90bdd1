"""Resources: what the server serves, as data.

A `Resource` is everything the model and the HTTP face must know of one kind: names, scope, whether it has a status
subresource, its compiled schema, its printer columns. CustomResourceDefinitions become Resources when they are stored;
the few built-in kinds that an operator and kubectl cannot do without are listed here. Events are one store with two
faces (core `v1` and `events.k8s.io/v1`), because the real server converts between them and `kubectl describe` reads the
other face than the one an operator writes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import attrs

from .apierrors import Unserved, invalid
from .schema import Findings, Node, compiled

__all__ = [
    "BUILTINS",
    "CRDS",
    "EVENTS",
    "EVENTS_V1",
    "NAMESPACES",
    "PLAIN",
    "Resource",
    "accepted",
    "plain",
    "resource_of",
    "unserved",
]

Obj = dict[str, Any]


@attrs.frozen(eq=False)
class Resource:
    """One served resource. `key` is the store it lives in; `to_view`/`from_view` convert where the face is not the
    store's.
    """

    group: str
    version: str
    kind: str
    plural: str
    singular: str
    namespaced: bool
    list_kind: str = ""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    status_subresource: bool = False
    custom: bool = False
    schema: Node | None = None
    openapi: Obj | None = None
    columns: tuple[Obj, ...] = ()
    field_labels: frozenset[str] = frozenset()
    key: str = ""
    to_view: Callable[[Obj], Obj] | None = None
    from_view: Callable[[Obj], Obj] | None = None

    @functools.cached_property
    def api_version(self) -> str:
        """`group/version`, or `version` in the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @functools.cached_property
    def name(self) -> str:
        """`plural.group`, or `plural` in the core group: how kubectl spells it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @functools.cached_property
    def store(self) -> str:
        """Where it is kept."""
        return self.key or self.name

    def admit(self, obj: Obj, old: Obj | None, out: Findings) -> Obj:
        """Prune, default and validate everything but metadata."""
        if self.schema is None:
            return obj
        admitted: Obj = self.schema.admit(obj, old, "", out)
        return admitted


# --- Events: core v1 is the store, events.k8s.io/v1 a view ---

_EVENT_NAMES = {
    "involvedObject": "regarding",
    "message": "note",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
    "reportingComponent": "reportingController",
}
_EVENT_NAMES_BACK = {new: old for old, new in _EVENT_NAMES.items()}


def _event_to_view(obj: Obj) -> Obj:
    view = {_EVENT_NAMES.get(name, name): value for name, value in obj.items()}
    view["apiVersion"] = "events.k8s.io/v1"
    return view


def _event_from_view(view: Obj) -> Obj:
    obj = {_EVENT_NAMES_BACK.get(name, name): value for name, value in view.items()}
    obj["apiVersion"] = "v1"
    return obj


def check_event(obj: Obj, *, new_style: bool) -> None:
    """What the real server refuses in an Event (in the store's spelling). Raises ApiError 422."""
    causes: list[dict[str, str]] = []
    name = str((obj.get("metadata") or {}).get("name", ""))
    namespace = (obj.get("metadata") or {}).get("namespace") or ""
    about = (obj.get("involvedObject") or {}).get("namespace") or ""
    if not new_style and about != namespace and not (about == "" and namespace in ("default", "kube-system")):
        shown = f'Invalid value: "{about}": does not match event.namespace'
        causes.append({"reason": "FieldValueInvalid", "field": "involvedObject.namespace", "message": shown})
    if new_style:
        for stored, shown in (
            ("eventTime", "eventTime"),
            ("reportingComponent", "reportingController"),
            ("reportingInstance", "reportingInstance"),
            ("action", "action"),
            ("reason", "reason"),
        ):
            if not obj.get(stored):
                causes.append({"reason": "FieldValueRequired", "field": shown, "message": "Required value"})
        if obj.get("type") not in ("Normal", "Warning"):
            bad = f'Invalid value: "": has invalid value: {obj.get("type") or ""}'
            causes.append({"reason": "FieldValueInvalid", "field": "type", "message": bad})
    for field, longest in (("message", 1024), ("reason", 128), ("action", 128)):
        if new_style and len(obj.get(field) or "") > longest:
            text = f'Invalid value: "": can have at most {longest} characters'
            causes.append({"reason": "FieldValueInvalid", "field": field, "message": text})
    if causes:
        raise invalid("Event", "", name, causes)


# --- CustomResourceDefinitions ---


def accepted(crd: Obj, now: str) -> Obj:
    """`crd` with names defaulted and the status that the real server's controllers set a moment later. Raises 422."""
    spec = dict(crd.get("spec") or {})
    names = dict(spec.get("names") or {})
    name = str((crd.get("metadata") or {}).get("name", ""))
    causes = [
        {"reason": "FieldValueRequired", "field": field, "message": "Required value"}
        for field, value in (
            ("spec.group", spec.get("group")),
            ("spec.scope", spec.get("scope")),
            ("spec.versions", spec.get("versions")),
            ("spec.names.plural", names.get("plural")),
            ("spec.names.kind", names.get("kind")),
        )
        if not value
    ]
    if not causes and name != f"{names['plural']}.{spec['group']}":
        text = f'Invalid value: "{name}": must be spec.names.plural+"."+spec.group'
        causes.append({"reason": "FieldValueInvalid", "field": "metadata.name", "message": text})
    for at, version in enumerate(spec.get("versions") or ()):
        if not isinstance((version.get("schema") or {}).get("openAPIV3Schema"), dict):
            field = f"spec.versions[{at}].schema.openAPIV3Schema"
            causes.append(
                {"reason": "FieldValueRequired", "field": field, "message": "Required value: schemas are required"}
            )
            continue
        try:
            compiled(version["schema"]["openAPIV3Schema"])
        except ValueError as error:
            field = f"spec.versions[{at}].schema.openAPIV3Schema"
            causes.append({"reason": "FieldValueInvalid", "field": field, "message": f"Invalid value: {error}"})
    if causes:
        raise invalid("CustomResourceDefinition", "apiextensions.k8s.io", name, causes)
    names.setdefault("singular", names["kind"].lower())
    names.setdefault("listKind", names["kind"] + "List")
    spec["names"] = names
    spec.setdefault("conversion", {"strategy": "None"})
    before = crd.get("status") or {}
    since = next((c["lastTransitionTime"] for c in before.get("conditions", ()) if c.get("type") == "Established"), now)
    status = {
        "acceptedNames": names,
        "conditions": [
            {
                "type": "NamesAccepted",
                "status": "True",
                "reason": "NoConflicts",
                "message": "no conflicts found",
                "lastTransitionTime": since,
            },
            {
                "type": "Established",
                "status": "True",
                "reason": "InitialNamesAccepted",
                "message": "the initial names have been accepted",
                "lastTransitionTime": since,
            },
        ],
        "storedVersions": [version["name"] for version in spec["versions"] if version.get("storage")],
    }
    return {**crd, "spec": spec, "status": status}


def resource_of(crd: Obj) -> Resource:
    """The Resource that an accepted CRD defines: its storage version (the only one served here)."""
    spec = crd["spec"]
    names = spec["names"]
    version = next((one for one in spec["versions"] if one.get("storage")), spec["versions"][0])
    schema = version["schema"]["openAPIV3Schema"]
    root = compiled(schema)
    opaque = dict.fromkeys(("apiVersion", "kind", "metadata"), Node(preserve=True))
    root = attrs.evolve(
        root,
        properties=root.properties | opaque,
        defaults={name: value for name, value in root.defaults.items() if name not in opaque},
    )
    return Resource(
        group=spec["group"],
        version=version["name"],
        kind=names["kind"],
        plural=names["plural"],
        singular=names["singular"],
        list_kind=names["listKind"],
        namespaced=spec["scope"] == "Namespaced",
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        status_subresource="status" in (version.get("subresources") or {}),
        custom=True,
        schema=root,
        openapi=schema,
        columns=tuple(version.get("additionalPrinterColumns") or ()),
        field_labels=frozenset(one["jsonPath"].lstrip(".") for one in version.get("selectableFields") or ()),
    )


NAMESPACES = Resource(
    group="",
    version="v1",
    kind="Namespace",
    plural="namespaces",
    singular="namespace",
    list_kind="NamespaceList",
    namespaced=False,
    short_names=("ns",),
    status_subresource=True,
    columns=({"name": "Status", "type": "string", "jsonPath": ".status.phase"},),
    field_labels=frozenset({"status.phase"}),
)
_EVENT_LABELS = frozenset(
    {
        "involvedObject." + field
        for field in ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
    }
    | {"reason", "reportingComponent", "source", "type"}
)
EVENTS = Resource(
    group="",
    version="v1",
    kind="Event",
    plural="events",
    singular="event",
    list_kind="EventList",
    namespaced=True,
    short_names=("ev",),
    field_labels=_EVENT_LABELS,
)
EVENTS_V1 = Resource(
    group="events.k8s.io",
    version="v1",
    kind="Event",
    plural="events",
    singular="event",
    list_kind="EventList",
    namespaced=True,
    short_names=("ev",),
    field_labels=frozenset(label.replace("involvedObject", "regarding") for label in _EVENT_LABELS),
    key="events",
    to_view=_event_to_view,
    from_view=_event_from_view,
)
CRDS = Resource(
    group="apiextensions.k8s.io",
    version="v1",
    kind="CustomResourceDefinition",
    plural="customresourcedefinitions",
    singular="customresourcedefinition",
    list_kind="CustomResourceDefinitionList",
    namespaced=False,
    short_names=("crd", "crds"),
    status_subresource=True,
    columns=({"name": "Created At", "type": "string", "jsonPath": ".metadata.creationTimestamp"},),
)


PLAIN = ("group", "version", "kind", "plural", "namespaced")
"""What ``plain`` takes."""


def plain(*, group: str, version: str, kind: str, plural: str, namespaced: bool) -> Resource:
    """A built-in kind of which no more is known: with a status subresource, and whatever stands in it."""
    return Resource(
        group=group, version=version, kind=kind, plural=plural, singular=kind.lower(), list_kind=f"{kind}List",
        namespaced=namespaced, status_subresource=True,
    )  # fmt: skip


BUILTINS = (NAMESPACES, EVENTS, EVENTS_V1, CRDS)


def unserved() -> Unserved:
    """404 for a path that names no served resource."""
    return Unserved()
