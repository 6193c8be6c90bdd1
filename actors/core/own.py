"""A ``reconcile`` of one's own: what it gets, what it may say, and how that is held within what the engine promises.

It is called at each look at a parent, beside the engine's own and after it has counted. It can say more (fields of the
status, conditions, what Available means) and ask for less (which of the sick are repaired, and in which order), never for more:
counts, the valve, cooldowns, keys and the quota stay the engine's. So the worst that a wrong one can do is to repair nobody.

What it gets are views, made at the look and of what is kept anyway: an event pays nothing for them, and nothing can be changed
through them. Counts are O(1), ``sick`` is as long as what is wrong, and iterating over all children makes each anew.

What it raises is caught, whole: the parent's counts are written as ever, its repairs are held, ``Ready`` is False with the
reason ``ReconcileFailed``, an Event and a line of the log say what was raised, and it is tried again.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar, get_args, get_origin, get_type_hints, overload

import msgspec
from attrs import field, frozen

from . import model
from .errors import MusterError, SettingsError
from .fleet import STATUS_FIELDS, ChildKind, Field, FleetDefinition

if TYPE_CHECKING:
    from .health import Roll
    from .repairs import Repairs

__all__ = [
    "RETRY_S", "At", "BadFields", "Child", "Children", "Condition", "Decision", "Fields", "Own", "Parent", "Plan", "decide",
    "fields_in", "parent_fields",
]  # fmt: skip

F = TypeVar("F")
G = TypeVar("G")
RETRY_S = 30.0  # after it raised: a change of anything tries sooner; arbitrary, as a refused status is retried
FAILED = "ReconcileFailed"
_ENGINES = ("Ready", "RemediationAllowed", "BackendReachable", "Paused")
_TYPE = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_REASON = re.compile(r"[A-Za-z]([A-Za-z0-9_,:]{0,1021}[A-Za-z0-9_])?")
_ERROR_MAX = 1000  # characters of what it raised that are shown


# --- further fields, typed ------------------------------------------------------------------------------------------------
@frozen
class At:
    """Where a field of a ``Fields`` class is: ``zone: Annotated[str, At("spec.zone")]``.

    ``quiet``: a change of it alone is no reason to look at the parent.
    """

    path: str
    quiet: bool = False


class Fields(msgspec.Struct, frozen=True, kw_only=True):
    """Base of classes of fields that are kept of an object beyond what the engine needs.

    ::

        class Machine(Fields, frozen=True):
            zone: Annotated[str, At("spec.zone")]
            seen: Annotated[str | None, At("status.seen", quiet=True)] = None

    Values are checked against the types when they are looked at. A field that an object has not takes the default; where there
    is none, or a value is of another type, looking at ``fields`` raises ``BadFields``.
    """


class BadFields(MusterError):
    """An object has not the fields that a class of ``Fields`` names, or others: the text names object and field."""


def fields_in(view: type[Any]) -> tuple[Field, ...]:
    """The fields that such a class names, in its order. ``SettingsError`` where one has no path."""
    if not issubclass(view, Fields):
        raise SettingsError(
            f"fields: found {view.__name__}, expected a class of actors.fleet.Fields, or names with paths"
        )
    try:
        hints = get_type_hints(view, include_extras=True)
    except (NameError, TypeError) as error:
        raise SettingsError(
            f"{view.__name__}: its types cannot be read ({error}): define it at the top of its module"
        ) from error
    found = []
    for name, hint in hints.items():
        marks = [each for each in get_args(hint) if isinstance(each, At)] if get_origin(hint) is Annotated else []
        if len(marks) != 1:
            raise SettingsError(f'{view.__name__}.{name}: found no path, expected Annotated[TYPE, At("spec.{name}")]')
        found.append(Field(name=name, path=marks[0].path, quiet=marks[0].quiet))
    return tuple(found)


def parent_fields(fleet: FleetDefinition) -> tuple[Field, ...]:
    """What is kept of a parent beyond its settings."""
    return () if fleet.own is None else fleet.own.fields


def _read(view: type[Any] | None, fields: Sequence[Field], loud: str, quiet: str, of: str) -> Any:
    """The fields of one object, as its class, or by name where it has none."""
    values: list[Any] = [*_values(loud), *_values(quiet)]
    order = [each.name for each in fields if not each.quiet] + [each.name for each in fields if each.quiet]
    named = {name: value for name, value in zip(order, values, strict=False) if value is not None}
    if view is None:
        return MappingProxyType(named)
    try:
        return msgspec.convert(named, view)
    except msgspec.ValidationError as error:
        raise BadFields(f"{of}: its fields are not those of {view.__name__}: {error}") from error


def _values(text: str) -> list[Any]:
    found: list[Any] = msgspec.json.decode(text) if text else []
    return found


# --- what it gets ---------------------------------------------------------------------------------------------------------
class Child(Generic[F]):
    """One child, as its last delivered report left it."""

    __slots__ = ("_kind", "_record", "repairing")

    def __init__(self, record: model.Child, kind: ChildKind, *, repairing: bool) -> None:
        self._record, self._kind = record, kind
        self.repairing = repairing
        """Whether a repair of its present trouble has been asked for, answered or not."""

    @property
    def kind(self) -> str:
        """Its kind."""
        return self._record.kind

    @property
    def namespace(self) -> str:
        """Its namespace, "" where the kind is cluster-scoped."""
        return self._record.namespace

    @property
    def name(self) -> str:
        """Its name."""
        return self._record.name

    @property
    def uid(self) -> str:
        """Its uid: the one thing that no other object ever has."""
        return self._record.object_uid

    @property
    def healthy(self) -> bool:
        """Whether its last report says so and is fresh."""
        return self._record.state is model.State.HEALTHY

    @property
    def silent(self) -> bool:
        """Whether it has been silent past the parent's heartbeat timeout, by our own clock."""
        return self._record.silent

    @property
    def sick(self) -> bool:
        """Whether a repair may be wanted: it says that it is unhealthy, or it is silent; and it is no guest."""
        return self._record.eligible

    @property
    def guest(self) -> bool:
        """Whether it is only counted here, and repaired for another parent, which its object names first."""
        return self._record.guest

    @property
    def fields(self) -> F:
        """The further fields that its kind declares: an object of that class, else a mapping by name. ``BadFields``."""
        record = self._record
        found: F = _read(self._kind.view, self._kind.fields, record.fields, record.quiet, str(self))
        return found

    def __str__(self) -> str:
        return f"{self._record.kind}/{self._record.name}"

    def __repr__(self) -> str:
        return f"<{self}>"


class Children(Generic[F]):
    """A parent's children, of all kinds or (``of``) of some. Only looked at while ``reconcile`` runs."""

    __slots__ = ("_kinds", "_repairs", "_roll")

    def __init__(self, roll: Roll, repairs: Repairs, kinds: Mapping[str, ChildKind]) -> None:
        self._roll, self._repairs, self._kinds = roll, repairs, kinds

    @overload
    def of(self, what: str) -> Children[F]: ...
    @overload
    def of(self, what: type[G]) -> Children[G]: ...
    def of(self, what: Any) -> Children[Any]:
        """Those of one kind, by its name, or of all kinds that keep this class of ``Fields``. KeyError where there is none."""
        kinds = {name: each for name, each in self._kinds.items() if what == name or what is each.view}
        if not kinds:
            raise KeyError(f"{what}: no child kind of this fleet is called so, or keeps it")
        return Children(self._roll, self._repairs, kinds)

    @property
    def healthy(self) -> int:
        """How many are healthy."""
        return sum(self._roll.counts[kind].healthy for kind in self._kinds)

    @property
    def unhealthy(self) -> int:
        """How many say that they are not."""
        return sum(self._roll.counts[kind].unhealthy for kind in self._kinds)

    @property
    def unknown(self) -> int:
        """How many have never reported, or are silent."""
        return sum(self._roll.counts[kind].unknown for kind in self._kinds)

    def __len__(self) -> int:
        return sum(self._roll.counts[kind].total for kind in self._kinds)

    @property
    def sick(self) -> tuple[Child[F], ...]:
        """Those of whom a repair may be wanted. O(sick)."""
        return tuple([self._view(each) for each in self._roll.eligible.values() if each.kind in self._kinds])

    def __iter__(self) -> Iterator[Child[F]]:
        """All of them, each made anew. O(N)."""
        return (self._view(each) for each in self._roll.children.values() if each.kind in self._kinds)

    def _view(self, record: model.Child) -> Child[F]:
        return Child(record, self._kinds[record.kind], repairing=self._repairs.asked(record))


class Parent(Generic[F]):
    """The parent. ``policy`` is what is in force for it: its spec over the operator's settings. Durations in seconds."""

    __slots__ = ("_own", "_record", "policy")

    def __init__(self, record: model.Parent, policy: model.Policy, own: Own) -> None:
        self._record, self.policy, self._own = record, policy, own

    @property
    def namespace(self) -> str:
        """Its namespace, "" where the kind is cluster-scoped."""
        return self._record.namespace

    @property
    def name(self) -> str:
        """Its name."""
        return self._record.name

    @property
    def generation(self) -> int:
        """Grows with each change of its spec."""
        return self._record.generation

    @property
    def deleting(self) -> bool:
        """Whether it is being deleted."""
        return self._record.deleting

    @property
    def fields(self) -> F:
        """The fields that ``parent_kind(fields=…)`` declares, as an object of that class. ``BadFields``."""
        found: F = _read(self._own.view, self._own.fields, self._record.fields, "", str(self))
        return found

    def __str__(self) -> str:
        return f"{self._record.kind} {self._record.key}"


# --- what it says ---------------------------------------------------------------------------------------------------------
@frozen
class Condition:
    """A condition of the parent. ``status`` None is Unknown; ``reason`` is a stable CamelCase word, ``message`` for people.

    ``Available`` takes the place of the engine's (enough healthy children), and ``Ready`` follows it. An Event says so when a
    condition turns to another reason and is not True, and when it turns True again. No message may hold a time: it would be
    written anew at each look.
    """

    type: str
    status: bool | None
    reason: str
    message: str = ""


@frozen(kw_only=True)
class Plan:
    """What a ``reconcile`` of one's own adds to the engine's. ``Plan()`` changes nothing.

    ``repair`` are those of the sick that may be repaired, the most urgent first; None: all. ``status`` are further fields of
    the parent's status, by names of your own: single values or lists. One that is no longer said stays as it was; None takes it
    away. ``look_again_s``: seconds until a look, if nothing happens before.
    """

    repair: Iterable[Child[Any]] | None = None
    conditions: Sequence[Condition] = ()
    status: Mapping[str, Any] = field(factory=dict)
    look_again_s: float | None = None


Reconcile = Callable[[Any, Any, datetime], Plan]


@frozen(kw_only=True)
class Own:
    """What a definition has that no file can say: a ``reconcile``, and what is kept of the parent for it."""

    reconcile: Reconcile | None = None
    view: type[Any] | None = None
    fields: tuple[Field, ...] = ()


# --- how it is held -------------------------------------------------------------------------------------------------------
@frozen(kw_only=True)
class Decision:
    """What came of it. ``repair`` by uid in its order, None: all. ``error``: what it raised, in a line; then nobody."""

    repair: Mapping[str, model.Child] | None = None
    conditions: tuple[Condition, ...] = ()
    status: Mapping[str, Any] = field(factory=dict)
    look_again_s: float | None = None
    error: str = ""
    trace: str = ""


def decide(
    fleet: FleetDefinition, parent: model.Parent, roll: Roll, repairs: Repairs, policy: model.Policy, now: model.Now
) -> Decision | None:
    """What the fleet's own ``reconcile`` says of this parent; None where it has none."""
    own = fleet.own
    if own is None or own.reconcile is None:
        return None
    kinds = {child.ref.kind: child for child in fleet.children}
    try:
        plan = own.reconcile(
            Parent(parent, policy, own), Children(roll, repairs, kinds), datetime.fromtimestamp(now.wall_s, tz=UTC)
        )
        return _held(plan, roll)
    except Exception as error:  # whatever somebody's own code raises
        if isinstance(error, RuntimeError) and _is_ours(error):
            raise  # a look from outside (``insight``) met a change: whoever looked looks again
        text = f"{type(error).__name__}: {error}".splitlines()[0][:_ERROR_MAX]
        return Decision(repair={}, look_again_s=RETRY_S, error=text, trace=traceback.format_exc())


def _is_ours(error: BaseException) -> bool:
    """Whether it was raised by the engine's own mappings, and not by what was done with them."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    home = __name__.rpartition(".")[0]
    return frame is not None and str(frame.tb_frame.f_globals.get("__name__", "")).startswith(f"{home}.")


def _held(plan: object, roll: Roll) -> Decision:
    """The Plan, if the engine can bear it. TypeError or ValueError with what was found and expected."""
    if not isinstance(plan, Plan):
        raise TypeError(f"reconcile: found a {type(plan).__name__}, expected a Plan")
    for each in plan.conditions:
        if not isinstance(each, Condition):
            raise TypeError(f"conditions: found a {type(each).__name__}, expected a Condition")
        if each.type in _ENGINES or not _TYPE.fullmatch(each.type):
            raise ValueError(f"conditions: found the type {each.type!r}, expected one of your own, or Available")
        if not _REASON.fullmatch(each.reason):
            raise ValueError(f"condition {each.type}: found the reason {each.reason!r}, expected a word in CamelCase")
    types = [each.type for each in plan.conditions]
    if len(set(types)) != len(types):
        raise ValueError(f"conditions: found {', '.join(types)}, expected each type once")
    if taken := [name for name in plan.status if name in STATUS_FIELDS]:
        raise ValueError(f"status: found {taken[0]}, which the engine writes, expected names of your own")
    if maps := [name for name, value in plan.status.items() if isinstance(value, Mapping)]:
        # A status goes out as a merge patch: what is no longer in a mapping would stay on the server, and be written for ever.
        raise ValueError(
            f"status: found a mapping in {maps[0]}, expected single values, or a list: of mappings if you like"
        )
    if plan.look_again_s is not None and not plan.look_again_s > 0:
        raise ValueError(f"look_again_s: found {plan.look_again_s}, expected seconds above 0")
    return Decision(
        repair=None if plan.repair is None else _chosen(plan.repair, roll), conditions=tuple(plan.conditions),
        status=msgspec.json.decode(msgspec.json.encode(dict(plan.status))), look_again_s=plan.look_again_s,
    )  # fmt: skip


def _chosen(repair: Iterable[Child[Any]], roll: Roll) -> dict[str, model.Child]:
    found = {}
    for each in repair:
        if not isinstance(each, Child):
            raise TypeError(f"repair: found a {type(each).__name__}, expected children, such as those in children.sick")
        if (record := roll.eligible.get(each.uid)) is None:
            raise ValueError(f"repair: found {each}, which is not sick, expected some of children.sick")
        found[each.uid] = record
    return found
