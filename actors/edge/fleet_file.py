"""A fleet's file: text to a definition, and a definition to text. Nothing else is read, and nothing is asked of any server.

Whatever is wrong with a file is said at once, a line for each problem: the file, its line, the place within it, what was found,
what is expected, and the likeliest word where there is one. A file of which anything is wrong gives no definition.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml
from attrs import frozen
from msgspec import UNSET

from ..core import fleet as core
from ..core.declare import default_plural
from ..core.errors import SettingsError
from ..core.fleet_rules import (
    Problem,
    child_problems,
    kind_problems,
    parent_problems,
    repair_problems,
    shown,
    status_problems,
)
from ..core.fleet_rules import problems as all_problems
from . import fleet_types as types
from .setting import Setting
from .yaml_types import BAD, Read, read_yaml

__all__ = ["FleetSource", "default_plural", "load_fleet", "parse_fleet", "print_fleet"]

_FILE_BYTES_MAX = 1 << 20
_LEASES = "kube-node-lease"
_STOPGAP = "metadata.name"


@frozen(kw_only=True)
class FleetSource:
    """A definition and where it was read: ``lines`` of a file's settings, by key, for whoever asks where a value comes from."""

    fleet: core.FleetDefinition
    file: str = ""
    lines: Mapping[str, int]

    def origin(self, key: str) -> str:
        """``fleet.yaml:12``; of one in Python, its name."""
        return f"{self.file}:{self.lines[key]}" if key in self.lines else self.file


def load_fleet(path: str) -> FleetSource:
    """The definition in that file. ``SettingsError`` with a line for each thing that is wrong."""
    try:
        with Path(path).open("rb") as file:
            raw = file.read(_FILE_BYTES_MAX + 1)
    except OSError as error:
        reason = error.strerror or str(error)
        raise SettingsError(f"{path}: the fleet's file cannot be read ({reason}): name another with --fleet") from error
    if len(raw) > _FILE_BYTES_MAX:
        raise SettingsError(
            f"{path}: found more than {_FILE_BYTES_MAX} bytes, expected a fleet's file: is it the right one?"
        )
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise SettingsError(
            f"{path}:{line}: found a byte that is no UTF-8, expected text: save the file as UTF-8"
        ) from error
    return parse_fleet(text, path)


def parse_fleet(text: str, file: str = "fleet.yaml") -> FleetSource:
    """The same of a text; ``file`` is what the problems call it."""
    try:
        read = read_yaml(text, types.FleetFile)
    except SettingsError as error:
        raise SettingsError(f"{file}: {error}") from error
    found: types.FleetFile | Any = read.value
    problems = list(read.problems)
    fleet = None
    if found is not BAD:
        fleet, more = _fleet(found)
        problems += more
    if problems or fleet is None:
        raise SettingsError("\n".join(_sentences(problems, read, file)))
    lines = {key: read.line(("settings", key)) for key in fleet.settings}
    return FleetSource(fleet=fleet, file=file, lines=lines)


def _sentences(problems: list[Problem], read: Read, file: str) -> list[str]:
    by_line = sorted(problems, key=lambda problem: read.line(problem.place))
    texts = [
        f"{file}:{read.line(each.place)}: {shown(each.place)}{': ' if each.place else ''}{each.text}"
        for each in by_line
    ]
    return list(dict.fromkeys(texts))


# --- the file's words to the definition's ---------------------------------------------------------------------------------
def _fleet(file: types.FleetFile) -> tuple[core.FleetDefinition | None, list[Problem]]:
    """The definition, and all that is wrong beyond the types: None where something of it could not be read."""
    parent = None if file.parent is BAD else _ref(file.parent)
    listed = [] if file.children is BAD else file.children
    children = [(number, child) for number, child in enumerate(listed) if child is not BAD]
    made: list[core.ChildKind] = []
    problems = kind_problems(parent, [(number, _ref(child)) for number, child in children])
    for number, child in children:
        kind, more = _child(child)
        made.append(kind)
        problems += [each.under("children", number) for each in (*more, *child_problems(kind, parent))]
    repair = types.Repair() if file.repair is UNSET else file.repair
    item = core.PAYLOAD if repair.item is UNSET else repair.item
    if len(made) == len(listed):
        problems += repair_problems(item, [child.fields for child in made])
    if parent is not None:
        problems += parent_problems(parent, "" if file.parent.settings is False else file.parent.settings)
    names = {} if parent is None or file.parent.status is UNSET else _status(file.parent.status)
    problems += status_problems(names)
    settings = {} if file.settings is UNSET else _plain(file.settings)
    problems += _setting_problems(settings)
    if problems or parent is None or not made or BAD in (file.name, file.api_version, file.kind, *listed):
        return None, problems
    fleet = core.FleetDefinition(
        name=file.name, parent=parent, children=tuple(made), operation=repair.operation, payload=item, status=names,
        spec="" if file.parent.settings is False else file.parent.settings,
        status_annotation=_text(file.parent.status_annotation),
        settings={key: _as_people_write(types.SETTINGS[key], value) for key, value in settings.items()},
    )  # fmt: skip
    return fleet, all_problems(fleet)


def _ref(found: types.Resource) -> core.KindRef:
    group, _, version = found.api_version.rpartition("/")
    selector = getattr(found, "selector", UNSET)
    labels, fields = ("", "") if selector is UNSET else (_text(selector.labels), _text(selector.fields))
    return core.KindRef(
        group=group, version=version, kind=found.kind, plural=_text(found.plural) or default_plural(found.kind),
        namespaced=found.scope == "Namespaced", labels=labels, fields=fields,
    )  # fmt: skip


def _child(found: types.Child) -> tuple[core.ChildKind, list[Problem]]:
    """The child kind, with a stopgap for what could not be read, which is on record already."""
    problems: list[Problem] = []
    how = _how(found.health, problems) or _STOPGAP
    mappings = [_mapping(each, number, problems) for number, each in enumerate(found.parent)]
    turned = found.health.turned
    child = core.ChildKind(
        ref=_ref(found),
        mapping=tuple([each for each in mappings if each is not None]),
        parents=found.parents,
        health=core.Health(
            healthy=how, heartbeat=_heartbeat(found),
            condition="" if turned is UNSET else _text(turned.condition), since="" if turned is UNSET else _text(turned.field),
        ),
        fields=tuple(
            [core.Field(name=name, path=each) if isinstance(each, str) else
             core.Field(name=name, path=each.path, quiet=each.quiet)
             for name, each in found.fields.items() if each is not BAD]
        ),
    )  # fmt: skip
    return child, problems


def _how(
    found: types.Health, problems: list[Problem]
) -> str | core.ConditionIs | core.FieldIn | core.Expression | None:
    healthy = None if found.healthy is UNSET else tuple(found.healthy)
    unhealthy = None if found.unhealthy is UNSET else tuple(found.unhealthy)
    if BAD in (healthy or ()) or BAD in (unhealthy or ()):
        return None
    if found.condition is not UNSET:
        good = _statuses(healthy) if healthy is not None else ("True",)
        bad = _statuses(unhealthy) if unhealthy is not None else tuple([s for s in ("True", "False") if s not in good])
        return core.ConditionIs(type=found.condition, healthy=good, unhealthy=bad)
    if found.cel is not UNSET:
        for name, values in (("healthy", healthy), ("unhealthy", unhealthy)):
            if values is not None:
                told = "found values beside an expression, expected none: the expression says true, false or null"
                problems.append(Problem(("health", name), told))
        return core.Expression(cel=found.cel)
    if found.field is UNSET:
        return None
    if healthy is None and unhealthy is not None:
        problems.append(
            Problem(("health", "unhealthy"), "found values, but none in healthy: expected those that mean healthy")
        )
    if healthy is None:
        return found.field
    return core.FieldIn(path=found.field, healthy=healthy, unhealthy=unhealthy)


def _statuses(values: tuple[types.Value, ...]) -> tuple[str, ...]:
    """YAML reads True without quotes as a boolean, and everybody writes it so."""
    return tuple([str(value) for value in values])


def _mapping(found: Any, number: int, problems: list[Problem]) -> core.Mapping | None:
    if found is BAD:
        return None
    home = _text(found.parent_namespace)
    if found.owner is not UNSET:
        if home:
            told = (
                f"found {home!r} beside owner, expected none: an owner is in the namespace of what it owns, or in none"
            )
            problems.append(Problem(("parent", number, "parentNamespace"), told))
        through = found.owner.through
        return core.OwnerReference(through=None if through is UNSET else _ref(through))
    if found.label is not UNSET:
        return core.Label(key=found.label, namespace=home)
    if found.annotation is not UNSET:
        return core.Annotation(key=found.annotation, namespace=home)
    if found.field is not UNSET:
        return core.FieldPath(path=found.field, namespace=home)
    return None if found.namespace is UNSET else core.NamespaceName(namespace=home)


def _heartbeat(found: types.Child) -> str | core.Lease:
    beat = found.heartbeat
    if beat is UNSET:
        return ""
    if beat.lease is not UNSET:
        return core.Lease(namespace=_text(beat.lease.namespace) or ("" if found.scope == "Namespaced" else _LEASES))
    return _text(beat.field)


def _status(found: Any) -> dict[str, str]:
    return {key: value or "" for key, value in _plain(found).items() if value != key}


def _plain(found: Any) -> dict[str, Any]:
    values = {name: getattr(found, name) for name in found.__struct_fields__}
    return {name: value for name, value in values.items() if value is not UNSET}


def _text(value: Any) -> str:
    return "" if value is UNSET else str(value)


def _as_people_write(setting: Setting, value: object) -> str:
    """One way of many: YAML reads off as false."""
    return setting.show(setting.read(value))


def _setting_problems(settings: Mapping[str, object]) -> Iterator[Problem]:
    for key, value in settings.items():
        try:
            types.SETTINGS[key].read(value)
        except SettingsError as error:
            yield Problem(("settings", key), str(error))


# --- and back -------------------------------------------------------------------------------------------------------------
def print_fleet(fleet: core.FleetDefinition, schema: str = "") -> str:
    """The file that says so, with everything left out that goes without saying. ``schema``: where editors find it."""
    head = f"# yaml-language-server: $schema={schema}\n" if schema else ""
    return head + str(yaml.safe_dump(_as_file(fleet), sort_keys=False, allow_unicode=True, width=100))


def _as_file(fleet: core.FleetDefinition) -> dict[str, Any]:
    parent = _resource(fleet.parent)
    if fleet.spec != "spec":
        parent["settings"] = fleet.spec or False
    if fleet.status:
        parent["status"] = {name: wire or None for name, wire in fleet.status.items()}
    if fleet.status_annotation:
        parent["statusAnnotation"] = fleet.status_annotation
    found: dict[str, Any] = {
        "apiVersion": types.API_VERSION, "kind": types.KIND, "name": fleet.name, "parent": parent,
        "children": [_child_as_file(child) for child in fleet.children],
    }  # fmt: skip
    repair: dict[str, Any] = {"operation": fleet.operation} if fleet.operation != "batchRepair" else {}
    if fleet.payload != core.PAYLOAD:
        repair["item"] = msgspec.to_builtins(fleet.payload)
    if repair:
        found["repair"] = repair
    if fleet.settings:
        found["settings"] = dict(fleet.settings)
    return found


def _resource(ref: core.KindRef) -> dict[str, Any]:
    found: dict[str, Any] = {"apiVersion": ref.api_version, "kind": ref.kind}
    if ref.plural != default_plural(ref.kind):
        found["plural"] = ref.plural
    if not ref.namespaced:
        found["scope"] = "Cluster"
    selector = {name: text for name, text in (("labels", ref.labels), ("fields", ref.fields)) if text}
    return found | ({"selector": selector} if selector else {})


def _child_as_file(child: core.ChildKind) -> dict[str, Any]:
    health, how = child.health, child.health.healthy
    said: dict[str, Any]
    if isinstance(how, core.ConditionIs):
        said = {"condition": how.type}
        if (how.healthy, how.unhealthy) != (("True",), ("False",)):
            said |= {"healthy": list(how.healthy), "unhealthy": list(how.unhealthy)}
    elif isinstance(how, core.FieldIn):
        said = {"field": how.path, "healthy": list(how.healthy)}
        if how.unhealthy is not None:
            said["unhealthy"] = list(how.unhealthy)
    elif isinstance(how, core.Expression):
        said = {"cel": how.cel}
    else:
        said = {"field": how}
    if health.condition or health.since:
        said["turned"] = {"condition": health.condition} if health.condition else {"field": health.since}
    found = _resource(child.ref) | {"parent": [_mapping_as_file(each) for each in child.mapping]}
    if child.parents != core.FIRST:
        found["parents"] = child.parents
    found["health"] = said
    beat = health.heartbeat
    if isinstance(beat, core.Lease):
        plain = beat.namespace == ("" if child.ref.namespaced else _LEASES)
        found["heartbeat"] = {"lease": {} if plain else {"namespace": beat.namespace}}
    elif beat:
        found["heartbeat"] = {"field": beat}
    if child.fields:
        found["fields"] = {
            each.name: {"path": each.path, "quiet": True} if each.quiet else each.path for each in child.fields
        }
    return found


def _mapping_as_file(mapping: core.Mapping) -> dict[str, Any]:
    if isinstance(mapping, core.OwnerReference):
        return {"owner": {} if mapping.through is None else {"through": _resource(mapping.through)}}
    found: dict[str, Any]
    if isinstance(mapping, core.Label):
        found = {"label": mapping.key}
    elif isinstance(mapping, core.Annotation):
        found = {"annotation": mapping.key}
    elif isinstance(mapping, core.FieldPath):
        found = {"field": mapping.path}
    else:
        found = {"namespace": {}}
    return found | ({"parentNamespace": mapping.namespace} if mapping.namespace else {})
