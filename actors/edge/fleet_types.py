"""The fields of a fleet's file, as types: the loader, the JSON Schema and the tables of docs/fleets.md are made from them.

A field's text says what it is for and ``expected`` (in ``extra``) what may stand there, for people; its pattern and bounds say
it for programs. ``ONE_OF`` names fields of which exactly one must be there. What no type can say is in ``core.fleet_rules``.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ..core.fleet import STATUS_FIELDS
from .setting import Setting
from .settings import BACKEND, FLEET, TABLE

__all__ = ["API_VERSION", "KIND", "SETTINGS", "Child", "FleetFile", "Mapping", "Parent", "Resource", "Spec"]

API_VERSION = "config.muster.dev/v1alpha1"
KIND = "Fleet"

_DNS = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_DOMAIN = rf"{_DNS}(\.{_DNS})*"
_PART = r"[A-Za-z0-9_-]+|\[('[^'\[\]]+'|\"[^\"\[\]]+\")\]"
_PATH = rf"^({_PART})((\.[A-Za-z0-9_-]+)|\[('[^'\[\]]+'|\"[^\"\[\]]+\")\])*$"
_PATH_EXPECTED = "a path of fields such as status.phase or metadata.labels['example.com/pool']"
_KEY = rf"^({_DOMAIN}/)?[A-Za-z0-9]([-A-Za-z0-9_.]{{0,61}}[A-Za-z0-9])?$"


def _meta(description: str, expected: str, pattern: str = "", most: int = 1024) -> Meta:
    return Meta(
        description=description, pattern=pattern or None, max_length=most, min_length=1, extra={"expected": expected}
    )


Name = Annotated[
    str, _meta("The fleet's name, for logs.", "a name of lower case letters, digits and -", f"^{_DNS}$", 63)
]
ApiVersion = Annotated[
    str,
    _meta(
        "Group and version, as in the kind's manifests; the version alone in the core group.",
        "GROUP/VERSION such as apps/v1, or VERSION alone in the core group such as v1",
        rf"^({_DOMAIN}/)?v[0-9]+((alpha|beta)[0-9]+)?$",
    ),
]
Kind = Annotated[
    str, _meta("The kind, as in its manifests.", "a kind in CamelCase such as Node", r"^[A-Z][A-Za-z0-9]*$", 63)
]
Plural = Annotated[
    str,
    _meta(
        "The resource in URLs. Left out: the kind in lower case with an s (es after s, x, z, ch, sh; ies for y).",
        "a plural in lower case such as nodes",
        f"^{_DNS}$",
        63,
    ),
]
Scope = Annotated[
    Literal["Namespaced", "Cluster"], Meta(description="Whether its objects are in namespaces. Left out: Namespaced.")
]
Path = Annotated[str, _meta("A field of the object.", _PATH_EXPECTED, _PATH)]
Key = Annotated[str, _meta("A label's or an annotation's key.", "a key such as pool or example.com/pool", _KEY, 317)]
Namespace = Annotated[
    str, _meta("A namespace's name.", "a namespace's name (lower case letters, digits and -)", f"^{_DNS}$", 63)
]
ConditionType = Annotated[
    str,
    _meta(
        "The type of a condition under status.conditions.",
        "the type of a condition such as Ready",
        r"^([A-Za-z0-9.-]+/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$",
        316,
    ),
]
Value = str | bool | int
_LABELS = "a label selector such as pool=a,tier in (x, y),!spare"
_FIELDS = "a field selector such as spec.nodeName!=,status.phase=Running"


class Spec(msgspec.Struct, rename="camel", forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """Base of all."""

    ONE_OF: ClassVar[tuple[str, ...]] = ()


class Selector(Spec):
    """Which objects: what it leaves out, the server does not send. As kubectl takes them."""

    labels: Annotated[str, _meta("A label selector (kubectl get -l).", _LABELS)] | UnsetType = UNSET
    fields: Annotated[str, _meta("A field selector, where the server has one for the kind.", _FIELDS)] | UnsetType = (
        UNSET
    )


class Resource(Spec):
    """A kind on the API server."""

    api_version: ApiVersion
    kind: Kind
    plural: Plural | UnsetType = UNSET
    scope: Scope = "Namespaced"


class Watched(Resource):
    """A kind on the API server, and which of its objects."""

    selector: Selector | UnsetType = UNSET


MEMORY = "conditions"
"""What must be written: between two processes, it is the operator's only memory of what it has said."""
_STATUS_NAME = r"^[A-Za-z][A-Za-z0-9_]*$"


def _status_field(name: str) -> Any:
    text = Annotated[str, _meta("A name.", "the name of a field such as healthyNodes", _STATUS_NAME, 63)]
    kind: Any = text if name == MEMORY else text | None
    told = Meta(description=f"What {name} is called." + ("" if name == MEMORY else " null: it is not written."))
    return Annotated[kind, told] | UnsetType


Status: Any = msgspec.defstruct(
    "Status",
    [(name, _status_field(name), UNSET) for name in STATUS_FIELDS],
    bases=(Spec,),
    kw_only=True,
    module=__name__,
)
Status.__doc__ = (
    """Fields of the parent's status by names of its own. What is not named here is called as in docs/fleets.md."""
)


class Parent(Watched):
    """The kind whose status tells how many of its children are well."""

    settings: Annotated[
        Path | Literal[False],
        Meta(
            description="Where the parent's own settings are (heartbeatTimeout, debounce, repair …); false: it has none."
        ),
    ] = "spec"
    status: Status | UnsetType = UNSET
    status_annotation: (
        Annotated[
            Key,
            Meta(
                description="For a kind that another controller owns: the status is written under this annotation, as JSON, "
                "and the object's own status is left alone."
            ),
        ]
        | UnsetType
    ) = UNSET


class Owner(Spec):
    """The parent is the controller owner."""

    through: (
        Annotated[Resource, Meta(description="The kind between: the parent is the owner of the owner of that kind.")]
        | UnsetType
    ) = UNSET


class ChildNamespace(Spec):
    """The parent has the name of the child's namespace."""


class Mapping(Spec):
    """One way to find a child's parent: exactly one of the fields, and perhaps the namespace of the parent."""

    ONE_OF: ClassVar[tuple[str, ...]] = ("owner", "label", "annotation", "field", "namespace")

    owner: Annotated[Owner, Meta(description="By the controller owner reference of the parent's kind.")] | UnsetType = (
        UNSET
    )
    label: Annotated[Key, Meta(description="By this label's value, which is the parent's name.")] | UnsetType = UNSET
    annotation: Annotated[Key, Meta(description="By this annotation's value.")] | UnsetType = UNSET
    field: Annotated[Path, Meta(description="By this field's value.")] | UnsetType = UNSET
    namespace: Annotated[ChildNamespace, Meta(description="By the name of the child's namespace.")] | UnsetType = UNSET
    parent_namespace: (
        Annotated[
            Namespace | Literal["*"],
            Meta(
                description="Where the parent is, if not in the child's own namespace. *: the value says so, as NAMESPACE/NAME "
                "(annotation and field)."
            ),
        ]
        | UnsetType
    ) = UNSET


class Turned(Spec):
    """When the health last turned: it names the incident, so that the next one is another."""

    ONE_OF: ClassVar[tuple[str, ...]] = ("condition", "field")

    condition: Annotated[ConditionType, Meta(description="The lastTransitionTime of this condition.")] | UnsetType = (
        UNSET
    )
    field: Annotated[Path, Meta(description="This field.")] | UnsetType = UNSET


class Health(Spec):
    """How a child says that it is well: exactly one of condition, field and cel."""

    ONE_OF: ClassVar[tuple[str, ...]] = ("condition", "field", "cel")

    condition: Annotated[ConditionType, Meta(description="By the status of this condition.")] | UnsetType = UNSET
    field: (
        Annotated[Path, Meta(description="By the value of this field; of a boolean one nothing else need be said.")]
        | UnsetType
    ) = UNSET
    cel: (
        Annotated[
            str,
            _meta(
                "By a CEL expression over fields of object: true, false, or null where it is not known.",
                "a CEL expression such as object.status.ready >= object.spec.replicas",
                most=4096,
            ),
        ]
        | UnsetType
    ) = UNSET
    healthy: (
        Annotated[
            list[Value],
            Meta(description="Values that mean healthy. Of a condition: True.", min_length=1, max_length=64),
        ]
        | UnsetType
    ) = UNSET
    unhealthy: (
        Annotated[
            list[Value],
            Meta(
                description="Values that mean unhealthy; what is in neither list is unknown. Left out: every other value (of a "
                "condition: of True and False).",
                max_length=64,
            ),
        ]
        | UnsetType
    ) = UNSET
    turned: Turned | UnsetType = UNSET


class LeaseOf(Spec):
    """The Lease of the child's name, of which spec.renewTime is read."""

    namespace: (
        Annotated[
            Namespace,
            Meta(description="Where the Leases of cluster-scoped children are. Left out: kube-node-lease."),
        ]
        | UnsetType
    ) = UNSET


class Heartbeat(Spec):
    """What a child renews while it lives: exactly one of the two."""

    ONE_OF: ClassVar[tuple[str, ...]] = ("field", "lease")

    field: Annotated[Path, Meta(description="An RFC 3339 instant that each report renews.")] | UnsetType = UNSET
    lease: LeaseOf | UnsetType = UNSET


class Kept(Spec):
    """One more field that is kept of a child."""

    path: Path
    quiet: Annotated[bool, Meta(description="A change of it alone is no reason to look at the parent.")] = False


FieldName = Annotated[str, _meta("A name.", "a name such as slot", r"^[A-Za-z][A-Za-z0-9_]*$", 63)]


class Child(Watched, kw_only=True):
    """A kind that is counted and repaired."""

    parent: Annotated[
        list[Mapping], Meta(description="How to find a child's parent: tried in order.", min_length=1, max_length=16)
    ]
    parents: Annotated[
        Literal["First", "All"],
        Meta(
            description="For which of the parents that these ways name a child is counted; it is repaired for the first. Left "
            "out: First."
        ),
    ] = "First"
    health: Health
    heartbeat: Heartbeat | UnsetType = UNSET
    fields: Annotated[
        dict[FieldName, Path | Kept],
        Meta(description="Further fields that are kept of each child, for repair.item.", max_length=32),
    ] = {}


Operation = Annotated[
    str, _meta("The backend's operation.", "a word such as batchRepair", r"^[A-Za-z][A-Za-z0-9._-]*$", 63)
]


class Repair(Spec):
    """What the backend is asked."""

    operation: Annotated[Operation, Meta(description="Calls go to URL/v1/nodes:OPERATION.")] = "batchRepair"
    item: (
        Annotated[
            dict[FieldName, Any],
            Meta(
                description="What is told of each child, beside its key and uid. Texts may have words in braces: {name}, "
                "{namespace}, {kind}, {uid}, {parent}, {parentNamespace}, {incident}, {fields.NAME}.",
                max_length=64,
            ),
        ]
        | UnsetType
    ) = UNSET


SETTINGS: dict[str, Setting] = {
    each.key: each for each in TABLE if each.group in (BACKEND, FLEET) or each.name == "audit-interval"
}
"""What a fleet may set for itself, by key: what is about its nodes and its backend, and not about the process."""
Settings: Any = msgspec.defstruct(
    "Settings",
    [
        (
            each.key,
            Annotated[str | int | float | bool, Meta(description=each.effect, extra={"expected": each.form.expected})]
            | UnsetType,
            UNSET,
        )
        for each in SETTINGS.values()
    ],
    bases=(Spec,),
    kw_only=True,
    module=__name__,
)
Settings.__doc__ = (
    """The operator's settings that this fleet wants. A flag, a variable or the configuration file beats them."""
)


class FleetFile(Spec):
    """A fleet: a parent kind, the kinds that are counted for it, and how they are repaired."""

    api_version: Annotated[Literal["config.muster.dev/v1alpha1"], Meta(description="The version of this format.")]
    kind: Literal["Fleet"]
    name: Name
    parent: Parent
    children: Annotated[
        list[Child], Meta(description="The kinds that are counted and repaired.", min_length=1, max_length=64)
    ]
    repair: Repair | UnsetType = UNSET
    settings: Settings | UnsetType = UNSET
