"""What a fleet is: data that names the kinds and says how to read them. The engine knows no kind by name.

``FleetDefinition`` is read by ``decode`` (which fields to take off the wire), ``reconcile`` (which operation repairs) and the
readers (which paths to list). Paths are names of fields (``status.lastHeartbeatTime``, ``metadata.labels['example.com/pool']``:
see ``paths``). Nobody writes these types by hand: a definition is declared in Python (``declare``; the built-in one is
``builtin``) or read from a file (``edge.fleet_file``). ``fleet_rules`` has what it must keep to; docs/fleets.md is the manual.
"""

from __future__ import annotations

from collections.abc import Mapping as Dict
from typing import TYPE_CHECKING, Any

from attrs import evolve, field, frozen

if TYPE_CHECKING:
    from .own import Own


@frozen(kw_only=True)
class KindRef:
    """One kind on the API server: ``group`` "" is the core group; ``plural`` is the path segment.

    ``labels`` and ``fields`` are selectors, as kubectl takes them, which the server applies: what they leave out is not there.
    """

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True
    labels: str = ""
    fields: str = ""

    @property
    def api_version(self) -> str:
        """``group/version``, or ``version`` alone in the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def resource(self) -> str:
        """``plural.group``, or ``plural`` alone in the core group."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def query(self) -> dict[str, str]:
        """The selectors, for every list and watch."""
        chosen = {"labelSelector": self.labels, "fieldSelector": self.fields}
        return {name: text for name, text in chosen.items() if text}

    def path(self, namespace: str = "", name: str = "") -> str:
        """The URL path of the collection (in all namespaces where ``namespace`` is "") or of one object."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        middle = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return f"{root}{middle}/{self.plural}" + (f"/{name}" if name else "")


# --- whose a child is -----------------------------------------------------------------------------------------------------
ANYWHERE = "*"
"""As a mapping's ``namespace``: the value itself says ``NAMESPACE/NAME``."""


@frozen(kw_only=True)
class OwnerReference:
    """The parent is the controller owner of the parent's kind; with ``through``, the owner of the owner of that kind."""

    through: KindRef | None = None


@frozen(kw_only=True)
class Label:
    """The parent's name is this label's value. ``namespace`` is the parent's, where it is not the child's own."""

    key: str
    namespace: str = ""


@frozen(kw_only=True)
class Annotation:
    """The parent's name is this annotation's value. ``namespace`` as a label's, or ``ANYWHERE``."""

    key: str
    namespace: str = ""


@frozen(kw_only=True)
class FieldPath:
    """The parent's name is this field's value. ``namespace`` as an annotation's."""

    path: str
    namespace: str = ""


@frozen(kw_only=True)
class NamespaceName:
    """The parent's name is the name of the child's namespace. ``namespace`` as a label's."""

    namespace: str = ""


Mapping = OwnerReference | Label | Annotation | FieldPath | NamespaceName
FIRST, ALL = "First", "All"
"""Where a child is counted: for the first parent that its mappings name, or for each of them. It is repaired for the first."""


# --- how a child reports --------------------------------------------------------------------------------------------------
Value = str | bool | int


@frozen(kw_only=True)
class ConditionIs:
    """Healthy by the status of the condition ``type`` under ``status.conditions``. In neither list: not known."""

    type: str
    healthy: tuple[str, ...] = ("True",)
    unhealthy: tuple[str, ...] = ("False",)


@frozen(kw_only=True)
class FieldIn:
    """Healthy by a field's value. ``unhealthy`` None: every other value. In neither list, or absent: not known."""

    path: str
    healthy: tuple[Value, ...]
    unhealthy: tuple[Value, ...] | None = None


@frozen(kw_only=True)
class Expression:
    """Healthy by a CEL expression over ``object``: true, false, or null where it is not known."""

    cel: str


@frozen(kw_only=True)
class Lease:
    """The heartbeat is ``spec.renewTime`` of the Lease of the child's name, which is beside it.

    The Leases of what is in no namespace are in ``namespace``.
    """

    namespace: str = ""

    @property
    def ref(self) -> KindRef:
        """Leases, on the API server."""
        return KindRef(group="coordination.k8s.io", version="v1", kind="Lease", plural="leases")


@frozen(kw_only=True)
class Health:
    """How a child reports.

    ``healthy`` is a boolean field (absent: never reported), or another way to tell. ``heartbeat`` is an RFC 3339 field that
    each report renews, or a Lease ("": no heartbeats). When the health last turned names the incident: it is the
    ``lastTransitionTime`` of ``condition`` under ``status.conditions``, or the field ``since`` (both "": all incidents of a
    child have one name, and a backend that remembers keys may take the next for the last).
    """

    healthy: str | ConditionIs | FieldIn | Expression
    heartbeat: str | Lease = ""
    condition: str = ""
    since: str = ""


@frozen(kw_only=True)
class Field:
    """One more field that is kept of a child, for the payload of its repair. A change of a ``quiet`` one wakes nobody."""

    name: str
    path: str
    quiet: bool = False


@frozen(kw_only=True)
class ChildKind:
    """One child kind: where it is, whose it is (mappings tried in order; the first that is there wins), how it reports.

    ``parents``: for which of those that its mappings name a child is counted, ``FIRST`` or ``ALL``.
    ``view`` is the class in which a ``reconcile`` of the fleet's own sees its ``fields`` (None: by name).
    """

    ref: KindRef
    mapping: tuple[Mapping, ...]
    health: Health
    fields: tuple[Field, ...] = ()
    parents: str = FIRST
    view: type[Any] | None = field(default=None, eq=False)

    @property
    def beats(self) -> bool:
        """Whether children report heartbeats; else only those that have never reported fall silent."""
        return bool(self.health.heartbeat)

    @property
    def several(self) -> bool:
        """Whether a child may be counted for several parents."""
        return self.parents == ALL


# --- all of it ------------------------------------------------------------------------------------------------------------
STATUS_FIELDS = (
    "observedGeneration", "total", "healthy", "unhealthy", "unknown", "repairing", "kinds", "unhealthySample", "exhausted",
    "conditions",
)  # fmt: skip
"""What ``reconcile`` writes, by the names that it has within the operator."""
PAYLOAD: Dict[str, Any] = {
    "name": "{name}", "namespace": "{namespace}", "kind": "{kind}", "cluster": "{parent}",
}  # fmt: skip


@frozen(kw_only=True)
class FleetDefinition:
    """A parent kind, its child kinds, and the backend operation that repairs a child.

    ``payload`` is the template of an item of a call (``payload``; its key and uid are added). ``status`` names fields of the
    parent's status otherwise ("": it is not written). With ``status_annotation`` the whole status is JSON under that
    annotation, for parents that belong to another controller. ``spec`` is the path at which the parent's own settings are
    ("": it has none). ``settings`` are the operator's settings that this fleet wants, by their keys and as people write them.
    ``own`` is what only Python can say; two definitions that differ in nothing else are equal, and for a file the same.
    """

    name: str
    parent: KindRef
    children: tuple[ChildKind, ...] = field()
    operation: str = "batchRepair"
    payload: Dict[str, Any] = field(factory=lambda: dict(PAYLOAD), hash=False)
    status: Dict[str, str] = field(factory=dict, hash=False)
    status_annotation: str = ""
    spec: str = "spec"
    settings: Dict[str, str] = field(factory=dict, hash=False)
    own: Own | None = field(default=None, eq=False)

    @children.validator
    def _check_children(self, _attribute: object, value: tuple[ChildKind, ...]) -> None:
        names = [self.parent.kind, *(child.ref.kind for child in value)]
        if len(set(names)) != len(names) or not value:
            raise ValueError(f"fleet {self.name}: the kinds must differ and there must be a child kind, found {names}")

    @property
    def own_name(self) -> str:
        """``MODULE:NAME`` of its own ``reconcile``; "" where it has none."""
        function = None if self.own is None else self.own.reconcile
        return "" if function is None else f"{function.__module__}:{getattr(function, '__qualname__', function)}"

    def plain(self) -> FleetDefinition:
        """What a file can say of it: what goes to other processes and onto tapes."""
        return evolve(self, own=None, children=tuple([evolve(each, view=None) for each in self.children]))

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
