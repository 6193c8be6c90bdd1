"""What a definition must keep to, beyond the types of its fields: each rule names the place, what was found and the cure.

A place is a path of the fleet's file (``children[0].parent[1].label``), of which a definition in Python has the like. All that
is wrong is found, not the first of it. A definition that no rule complains of can be decoded, reconciled and written.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from collections.abc import Mapping as Dict

from attrs import frozen

from .decode import Decoder
from .expression import paths_in
from .fleet import (
    ALL,
    ANYWHERE,
    FIRST,
    STATUS_FIELDS,
    Annotation,
    ChildKind,
    ConditionIs,
    Expression,
    Field,
    FieldIn,
    FieldPath,
    FleetDefinition,
    KindRef,
    Label,
    Lease,
    Mapping,
    NamespaceName,
    OwnerReference,
)
from .paths import parse_path
from .payload import WORDS, words_in

__all__ = [
    "Place",
    "Problem",
    "child_problems",
    "kind_problems",
    "near",
    "parent_problems",
    "problems",
    "repair_problems",
    "shown",
    "status_problems",
]

Place = tuple[str | int, ...]
_STATUSES = ("True", "False", "Unknown")
_NAME = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
KEY = rf"([a-z0-9]([-a-z0-9.]{{0,251}}[a-z0-9])?/)?{_NAME}"
_LABELS = re.compile(rf"!{KEY}|{KEY}(\s*(=|==|!=)\s*({_NAME})?|\s+(in|notin)\s*\(\s*({_NAME}(\s*,\s*{_NAME})*)?\s*\))?")
_FIELDS = re.compile(r"[A-Za-z][A-Za-z0-9.]*\s*(=|==|!=)\s*[^,=\s]*")
_OUTSIDE = re.compile(r",(?![^(]*\))")


@frozen
class Problem:
    """One thing that is wrong, and where."""

    place: Place
    text: str

    def under(self, *above: str | int) -> Problem:
        """The same, seen from further out."""
        return Problem((*above, *self.place), self.text)

    def __str__(self) -> str:
        return f"{shown(self.place)}: {self.text}"


def shown(place: Place) -> str:
    """``children[0].health.field``."""
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def near(word: str, words: Iterable[str]) -> str:
    """A question that names the likeliest word meant, whatever its capitals and dashes; "" where none is near."""
    by_bare = {re.sub(r"[^a-z0-9]", "", each.lower()): each for each in words}
    found = difflib.get_close_matches(re.sub(r"[^a-z0-9]", "", word.lower()), list(by_bare), n=1, cutoff=0.6)
    return f": did you mean {by_bare[found[0]]}?" if found else ""


def problems(fleet: FleetDefinition) -> list[Problem]:
    """All that is wrong with a definition."""
    found = parent_problems(fleet.parent, fleet.spec) + status_problems(fleet.status)
    found += annotation_problems(fleet.status_annotation)
    found += kind_problems(fleet.parent, [(number, child.ref) for number, child in enumerate(fleet.children)])
    for number, child in enumerate(fleet.children):
        found += [each.under("children", number) for each in child_problems(child, fleet.parent)]
        if not child.mapping:
            found.append(
                Problem(("children", number, "parent"), "found no way to find a parent, expected at least one")
            )
    found += repair_problems(fleet.payload, [child.fields for child in fleet.children])
    return found + parent_field_problems(fleet)


# --- one child kind -------------------------------------------------------------------------------------------------------
def child_problems(child: ChildKind, parent: KindRef | None) -> list[Problem]:
    """What is wrong with a child kind, seen from it. ``parent`` None: it could not be read, and is not gone by."""
    found = [each.under("selector") for each in _selector_problems(child.ref)]
    found += _health_problems(child)
    found += _field_problems(child.fields)
    seen: list[Mapping] = []
    for number, mapping in enumerate(child.mapping):
        found += [each.under("parent", number) for each in _mapping_problems(mapping, child.ref, parent)]
        if mapping in seen:
            found.append(
                Problem(("parent", number), "found the same as before, expected each way to find a parent once")
            )
        if isinstance(mapping, OwnerReference) and mapping.through is not None and any(map(_between, seen)):
            place = ("parent", number, "owner", "through")
            found.append(Problem(place, f"found {mapping.through.kind}, expected one kind between at most"))
        seen.append(mapping)
    found += _parents_problems(child)
    if parent is not None and not found:
        try:
            Decoder(FleetDefinition(name="f", parent=parent, children=(child,)), child.ref.kind)
        except ValueError as error:
            where = ("health", "cel") if "CEL" in str(error) else ()
            found.append(Problem(where, f"{error}; expected fields of which none is within another"))
    return found


def _parents_problems(child: ChildKind) -> Iterator[Problem]:
    if child.parents not in (FIRST, ALL):
        told = f"found {child.parents!r}, expected {FIRST} or {ALL}{near(str(child.parents), (FIRST, ALL))}"
        yield Problem(("parents",), told)
    elif child.several and len(child.mapping) == 1 and not _may_name_several(child.mapping[0]):
        cure = f"expected {FIRST}, or a second way beside it (an annotation, a field and owner can name several by themselves)"
        yield Problem(("parents",), f"found {ALL}, and one way to find a parent, which never names two: {cure}")


def _may_name_several(mapping: Mapping) -> bool:
    return isinstance(mapping, Annotation | FieldPath) or (
        isinstance(mapping, OwnerReference) and mapping.through is None
    )


def _health_problems(child: ChildKind) -> Iterator[Problem]:
    health, how = child.health, child.health.healthy
    if isinstance(how, Expression):
        try:
            paths_in(how.cel)
        except ValueError as error:
            yield Problem(("health", "cel"), str(error))
    elif isinstance(how, ConditionIs | FieldIn):
        for name in ("healthy", "unhealthy"):
            for value in getattr(how, name) or ():
                if isinstance(how, ConditionIs) and value not in _STATUSES:
                    expected = "a condition's status: True, False or Unknown"
                    yield Problem(
                        ("health", name), f"found {value!r}, expected {expected}{near(str(value), _STATUSES)}"
                    )
        both = [value for value in how.healthy if value in (how.unhealthy or ())]
        if both:
            yield Problem(
                ("health", "unhealthy"), f"found {both[0]!r}, which is in healthy too, expected it in one of them"
            )
        if not how.healthy:
            yield Problem(("health", "healthy"), "found nothing, expected at least one value")
        if isinstance(how, FieldIn):
            yield from _path_problem(how.path, "health", "field")
    else:
        yield from _path_problem(how, "health", "field")
    if isinstance(health.heartbeat, str) and health.heartbeat:
        yield from _path_problem(health.heartbeat, "heartbeat", "field")
    if isinstance(health.heartbeat, Lease):
        home, place = health.heartbeat.namespace, ("heartbeat", "lease", "namespace")
        if not home and not child.ref.namespaced:
            yield Problem(place, "found none for a cluster-scoped kind, expected one such as kube-node-lease")
        elif home and child.ref.namespaced:
            yield Problem(
                place, f"found {home!r}, expected none: the Lease of a namespaced {child.ref.kind} is beside it"
            )
    if health.since:
        yield from _path_problem(health.since, "health", "turned", "field")
    if health.condition and health.since:
        yield Problem(("health", "turned"), "found a condition and a field, expected one of them")


def _field_problems(fields: tuple[Field, ...]) -> Iterator[Problem]:
    names = [each.name for each in fields]
    for each in fields:
        yield from _path_problem(each.path, "fields", each.name)
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", each.name):
            yield Problem(("fields", each.name), f"found the name {each.name!r}, expected a name such as slot")
        elif names.count(each.name) > 1:
            yield Problem(("fields", each.name), "found twice, expected each name once")


def _between(mapping: Mapping) -> bool:
    return isinstance(mapping, OwnerReference) and mapping.through is not None


def _path_problem(path: str, *place: str | int) -> Iterator[Problem]:
    try:
        parse_path(path)
    except ValueError as error:
        yield Problem(place, str(error))


def _mapping_problems(mapping: Mapping, child: KindRef, parent: KindRef | None) -> Iterator[Problem]:
    if isinstance(mapping, FieldPath):
        yield from _path_problem(mapping.path, "field")
    if isinstance(mapping, NamespaceName) and not child.namespaced:
        yield Problem(
            ("namespace",), f"found a cluster-scoped kind, expected another way: a {child.kind} has no namespace"
        )
    if parent is None:
        return
    if isinstance(mapping, OwnerReference):
        if parent.namespaced and not child.namespaced:
            told = f"a cluster-scoped {child.kind} cannot be owned by a {parent.kind}, which is in a namespace"
            yield Problem(("owner",), f"found an owner reference, expected another way: {told}")
        through = mapping.through
        if through is not None and through.kind in (parent.kind, child.kind):
            yield Problem(
                ("owner", "through", "kind"), f"found {through.kind}, expected the kind between, which is another"
            )
        if through is not None and through.namespaced != child.namespaced and child.namespaced < through.namespaced:
            told = f"a cluster-scoped {child.kind} cannot be owned by what is in a namespace"
            yield Problem(("owner", "through", "scope"), f"found Namespaced, expected Cluster: {told}")
        return
    home = mapping.namespace
    if home and not parent.namespaced:
        told = f"found {home!r}, expected none: a {parent.kind} is cluster-scoped"
        yield Problem(("parentNamespace",), told)
    elif home == ANYWHERE and not isinstance(mapping, Annotation | FieldPath):
        what = "label's value has no /" if isinstance(mapping, Label) else "namespace's name has no /"
        yield Problem(("parentNamespace",), f"found '*', expected a namespace's name: a {what}")
    elif not home and parent.namespaced and not child.namespaced:
        told = f"a {child.kind} is cluster-scoped and a {parent.kind} is not"
        yield Problem((), f"found no parentNamespace, expected one: {told}")


def _selector_problems(ref: KindRef) -> Iterator[Problem]:
    for part in _OUTSIDE.split(ref.labels) if ref.labels else ():
        if not _LABELS.fullmatch(part.strip()):
            yield Problem(
                ("labels",), f"found {part.strip()!r}, expected KEY=VALUE, KEY!=VALUE, KEY in (A, B), KEY or !KEY"
            )
    for part in ref.fields.split(",") if ref.fields else ():
        if not _FIELDS.fullmatch(part.strip()):
            yield Problem(("fields",), f"found {part.strip()!r}, expected FIELD=VALUE or FIELD!=VALUE")


# --- what is said of all of them ------------------------------------------------------------------------------------------
def parent_problems(ref: KindRef, spec: str) -> list[Problem]:
    """What is wrong with the parent's kind, and with where its own settings are."""
    found = [each.under("parent", "selector") for each in _selector_problems(ref)]
    wrong = list(_path_problem(spec, "parent", "settings")) if spec else []
    if spec and not wrong and parse_path(spec)[0] in ("metadata", "status"):
        wrong.append(
            Problem(("parent", "settings"), f"found {spec!r}, expected a path within what people write, such as spec")
        )
    return found + wrong


def parent_field_problems(fleet: FleetDefinition) -> list[Problem]:
    """What is wrong with the fields that are kept of a parent, for a ``reconcile`` of the fleet's own."""
    found = []
    for each in fleet.own.fields if fleet.own is not None else ():
        wrong = list(_path_problem(each.path, "parent", "fields", each.name))
        if not wrong and parse_path(each.path)[0] == "status":
            told = f"found {each.path!r}, expected a path within what people write: the status is ours"
            wrong.append(Problem(("parent", "fields", each.name), told))
        found += wrong
    return found


def kind_problems(parent: KindRef | None, children: Iterable[tuple[int, KindRef]]) -> list[Problem]:
    """Kinds that cannot be told apart: records are kept by kind, so that two of one name would overwrite each other."""
    found = []
    taken = {} if parent is None else {parent.kind: "the parent's"}
    for number, ref in children:
        if ref.kind in taken:
            told = f"found {ref.kind}, which is {taken[ref.kind]} kind too, expected each kind once"
            found.append(Problem(("children", number, "kind"), told))
        taken.setdefault(ref.kind, f"children[{number}]'s")
    return found


def annotation_problems(key: str) -> list[Problem]:
    """What is wrong with the annotation that the status is kept in ("": none)."""
    told = f"found {key!r}, expected a key such as fleet or example.com/fleet"
    return [] if not key or re.fullmatch(KEY, key) else [Problem(("parent", "statusAnnotation"), told)]


def status_problems(names: Dict[str, str]) -> list[Problem]:
    """What is wrong with the names of the status' fields."""
    found = []
    taken = {name: name for name in STATUS_FIELDS if name not in names}
    for name, wire in names.items():
        place = ("parent", "status", name)
        if name not in STATUS_FIELDS:
            found.append(Problem(place, f"there is no such field{near(name, STATUS_FIELDS)}"))
        elif not wire and name == "conditions":
            found.append(
                Problem(
                    place, "found nothing, expected a name: conditions are what a new process knows of the last one"
                )
            )
        elif wire in taken:
            found.append(
                Problem(place, f"found {wire!r}, which is what {taken[wire]} is called, expected another name")
            )
        elif wire:
            taken[wire] = name
    return found


def repair_problems(payload: object, fields: list[tuple[Field, ...]]) -> list[Problem]:
    """What is wrong with the template of an item; ``fields`` of each child kind: a word must be there for every one."""
    common = [each.name for each in fields[0]] if fields else []
    common = [name for name in common if all(name in [each.name for each in every] for every in fields)]
    words = [*WORDS, *(f"fields.{name}" for name in common)]
    found = []
    for name, template in payload.items() if isinstance(payload, dict) else ():
        place = ("repair", "item", name)
        if name in ("key", "uid"):
            found.append(Problem(place, f"found {name}, expected another name: an item's {name} is always there"))
        for word in words_in(template):
            if word in ("{", "}"):
                found.append(
                    Problem(place, f"found a single {word}, expected a word in braces, or {word * 2} for a brace")
                )
            elif word not in words:
                some = any(word == f"fields.{each.name}" for every in fields for each in every)
                told = ": every child kind must have that field" if some else near(word, words)
                found.append(Problem(place, f"found {{{word}}}, expected one of {', '.join(words)}{told}"))
    return found
