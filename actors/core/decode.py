"""From the wire to records: only the fields that the fleet definition names are ever decoded.

A ``FleetDefinition``'s dotted paths are compiled, per kind, into one tree of structs (``shapes``). Each object is decoded by
itself: a page of a list is cut into raw items first, so that one bad object spoils neither its page nor its stream. For a bad
one a second, lenient pass recovers what is needed to name it and to keep its last good record.

Who a child's parent is, its object says in the same words each time: they are read once and remembered. Its owners are
not even decoded for it (a third of all the work on a heartbeat was this question).

Parents are the other way round: there are few, people write them, and a wrong field of theirs must not hide the rest. Their
spec is read leniently, field by field, and what cannot be read is named in ``ParentSpec.problems`` and counts as silent.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec

from .errors import SettingsError, Undecodable
from .fleet import ChildKind, FleetDefinition, KindRef, Label, OwnerReference
from .lines import Line
from .model import Child, Parent, ParentKey, ParentSpec, Record
from .quantity import parse_duration, parse_share
from .shapes import Tree, event_of, frozen, getter, insert, place, struct

__all__ = ["BadObject", "Bookmark", "Decoder", "Page", "Refusal", "read_spec", "rfc3339_s"]

Claims = tuple[str, ...]
"""The names of all parents that an object claims when they differ, the one that won first (else empty)."""

_CHANGES = frozenset(("ADDED", "MODIFIED", "DELETED"))
_BAD = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError)
_PARENT_KEYS_MAX = 65_536
"""Parent keys shared between children (a million children, ten thousand parents). Beyond it the cache starts afresh."""
_CLAIMS_MAX = 16_384
"""Wordings of who the parent is that are remembered, some 500 bytes each: one for each parent, unless objects differ in
them for reasons of their own. Beyond it the cache starts afresh, and a miss costs 2 µs."""
_UNNAMED = "metadata.name and metadata.uid must be there"
_VERSION_DIGITS_MAX = 18
"""So that a version fits into 63 bits, as it does where it comes from (etcd)."""
_WHY_MAX = 300
"""Characters of a decoding error that are kept; msgspec's are shorter, a hostile field name need not be."""
_COUNT_MAX = 1_000_000_000


class Bookmark(msgspec.Struct, frozen=True, gc=False):
    """The stream has delivered everything up to ``version``; ``initial_end`` closes a streamed list."""

    version: int
    initial_end: bool = False


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """An ERROR event: the server ends the watch, with the HTTP status that it means."""

    code: int
    reason: str
    message: str
    retry_after_s: float | None = None


class Page(msgspec.Struct, frozen=True):
    """One page of a list, its items still raw. ``version`` is the whole list's."""

    items: list[msgspec.Raw]
    version: int
    continue_token: str = ""


class BadObject(Undecodable):
    """One object cannot be read. ``namespace``, ``name``, ``uid`` ("") and ``version`` (0) as the second look found them.

    ``type`` is the event's ("" in a list): a deletion that cannot be read in full is a deletion all the same.
    """

    def __init__(
        self, place: str, why: str, *, uid: str = "", version: int = 0, type_: str = "", names: tuple[str, str] = ("", "")
    ) -> None:  # fmt: skip
        super().__init__(place, why)
        self.namespace, self.name = names
        self.uid = uid
        self.version = version
        self.type = type_


class _Loose(msgspec.Struct, gc=False):
    """An event with its object unread."""

    type: str
    object: msgspec.Raw


class _ListMeta(msgspec.Struct, gc=False):
    resourceVersion: str | None = None
    continue_: str | None = msgspec.field(default=None, name="continue")


class _List(msgspec.Struct):
    metadata: _ListMeta
    items: list[msgspec.Raw] | None = None


class _Owner(msgspec.Struct, gc=False):
    apiVersion: str = ""
    kind: str = ""
    name: str = ""
    controller: bool | None = None


class _Condition(msgspec.Struct, gc=False):
    type: str | None = None
    lastTransitionTime: str | None = None


def rfc3339_s(text: str) -> float | None:
    """Unix seconds of an RFC 3339 instant with a zone; None for anything else."""
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        return None
    return instant.timestamp() if instant.tzinfo is not None else None


def _version(text: str | None) -> int:
    if text is None or not (text.isdigit() and text.isascii()) or len(text) > _VERSION_DIGITS_MAX:
        raise _no_version(text)
    return int(text)


def _no_version(text: str | None) -> ValueError:
    return ValueError(f"metadata.resourceVersion: found {text!r}, expected at most {_VERSION_DIGITS_MAX} digits")


class Decoder:
    """Reads the objects of one kind of a fleet. Not thread-safe; cheap to make (one per reader)."""

    def __init__(self, fleet: FleetDefinition, kind: str) -> None:
        self.is_parent = kind == fleet.parent.kind
        self.ref: KindRef = fleet.parent if self.is_parent else fleet.child(kind).ref
        self.kind = kind
        self._fleet = fleet
        self._keys: dict[tuple[str, str], ParentKey] = {}
        self._parents: dict[tuple[Any, ...], tuple[ParentKey | None, str, Claims]] = {}
        self._owned = False
        self._child = None if self.is_parent else fleet.child(kind)
        self._label = ""
        metadata: Tree = dict.fromkeys(("name", "namespace", "uid", "resourceVersion"), str)
        metadata["annotations"] = {"k8s.io/initial-events-end": str}
        self._tree: Tree = {"metadata": metadata}
        paths = ["metadata.name", "metadata.namespace", "metadata.uid", "metadata.resourceVersion"]
        paths += self._parent_paths(metadata) if self._child is None else self._child_paths(self._child, metadata)
        model = struct(kind, frozen(self._tree))
        places = [place(self._tree, path) for path in paths]
        # Only labels can have a dot in their name: their place is found by position, not by splitting a path.
        if self._label:
            places[paths.index("metadata.labels")] += ".f0"
        self._values = getter(places)
        self._version_of = getter([places[3], place(self._tree, "metadata.annotations")])
        self._objects = msgspec.json.Decoder(model)
        self._decode: Callable[[Line], Any] = msgspec.json.Decoder(event_of(model)).decode
        self._loose = msgspec.json.Decoder(_Loose)
        self._pages = msgspec.json.Decoder(_List)
        self._owners = msgspec.json.Decoder(list[_Owner] | None)
        self._record = self._parent_record if self._child is None else self._child_reader(self._child)

    def _parent_paths(self, metadata: Tree) -> list[str]:
        metadata |= {"generation": int, "deletionTimestamp": str}
        self._tree |= {"spec": Any, "status": Any}
        return ["metadata.generation", "metadata.deletionTimestamp", "spec", "status"]

    def _child_paths(self, child: ChildKind, metadata: Tree) -> list[str]:
        # What a kind has not is read from another place and not used, so that all kinds are read alike.
        paths = [child.health.healthy, child.health.heartbeat or "metadata.name", "metadata.name", "metadata.name"]
        insert(self._tree, child.health.healthy, bool)
        if child.health.heartbeat:
            insert(self._tree, child.health.heartbeat, str)
        if child.health.condition:
            insert(self._tree, "status.conditions", list[_Condition])
            paths[2] = "status.conditions"
        self._owned = any(isinstance(mapping, OwnerReference) for mapping in child.mapping)
        if self._owned:
            metadata["ownerReferences"] = msgspec.Raw
            paths[3] = "metadata.ownerReferences"
        for mapping in child.mapping:
            if isinstance(mapping, OwnerReference):
                continue
            if isinstance(mapping, Label):
                if self._label:
                    raise ValueError(f"{self.kind}: one label mapping at most, found {self._label} and {mapping.key}")
                self._label = mapping.key
                metadata["labels"] = {mapping.key: str}
                paths.append("metadata.labels")
            else:
                insert(self._tree, mapping.path, str)
                paths.append(mapping.path)
        return paths

    # --- what comes in ---

    def event(self, line: Line) -> tuple[str, Record, Claims] | Bookmark | Refusal:
        """One watch line: its type and the object. Raises ``BadObject``."""
        try:
            event = self._decode(line)
            type_ = event.type
            if type_ in _CHANGES:
                record, claims = self._record(event.object)
                return type_, record, claims
            if type_ == "BOOKMARK":
                return self._bookmark(event.object)
        except _BAD as error:
            return self._second_look(line, error)
        return self._second_look(line, ValueError(f"found the event type {type_[:40]!r}"))

    def object(self, raw: bytes | msgspec.Raw) -> tuple[Record, Claims]:
        """One object of a list. Raises ``BadObject``."""
        try:
            return self._record(self._objects.decode(raw))
        except _BAD as error:
            raise self._bad(bytes(raw), error, "") from error

    def page(self, body: bytes) -> Page:
        """A page of a list, items unread. Raises ``Undecodable``."""
        try:
            found = self._pages.decode(body)
            meta = found.metadata
            return Page(found.items or [], _version(meta.resourceVersion), meta.continue_ or "")
        except _BAD as error:
            raise Undecodable(f"list of {self.ref.plural}", str(error)[:_WHY_MAX]) from error

    # --- records ---

    def _parent_record(self, obj: Any) -> tuple[Record, Claims]:
        name, namespace, uid, version, generation, deleted_at, spec, status = self._values(obj)
        if not name or not uid:
            raise ValueError(_UNNAMED)
        parent = Parent(
            kind=self.kind,
            key=ParentKey(namespace or "", name),
            uid=uid,
            version=_version(version),
            generation=generation or 0,
            spec=read_spec(spec),
            status=status if isinstance(status, dict) else {},
            deleting=deleted_at is not None,
        )
        return parent, ()

    def _child_reader(self, child: ChildKind) -> Callable[[Any], tuple[Record, Claims]]:
        """The function that each event of a child goes through; in one piece and without a look-up that can be made before."""
        kind, condition, values, parents, read_parent = (
            self.kind, child.health.condition, self._values, self._parents, self._read_parent,
        )  # fmt: skip
        beats, owned = bool(child.health.heartbeat), self._owned

        def record(obj: Any) -> tuple[Record, Claims]:
            found = values(obj)
            name, namespace, uid, version, healthy, heartbeat, conditions, owners = found[:8]
            if not name or not uid:
                raise ValueError(_UNNAMED)
            if version is None or not (version.isdigit() and version.isascii()) or len(version) > _VERSION_DIGITS_MAX:
                raise _no_version(version)
            since = ""
            if condition:
                for each in conditions or ():
                    if each.type == condition:
                        since = each.lastTransitionTime or ""
                        break
            worded = (namespace, bytes(owners) if owned else b"", found[8:])
            known = parents.get(worded)
            if known is None:
                known = read_parent(child, *worded)
                if len(parents) >= _CLAIMS_MAX:
                    parents.clear()
                parents[worded] = known
            parent, namespace, claims = known
            if not beats or heartbeat is None:
                heartbeat = ""
            return Child(kind, namespace, name, uid, int(version), parent, healthy, since, heartbeat), claims

        return record

    def _read_parent(
        self, child: ChildKind, namespace: str | None, owners: bytes, others: tuple[str | None, ...]
    ) -> tuple[ParentKey | None, str, Claims]:
        """Who an object's parent is, from its raw owners and what the other mappings find, in their order.

        And the object's own namespace: where it is the parent's too, one string serves all.
        """
        named = iter(others)
        claimed: dict[str, None] = {}
        for mapping in child.mapping:
            claim = self._owner(owners) if isinstance(mapping, OwnerReference) else next(named)
            if claim:
                claimed[claim] = None
        names = tuple(claimed)
        parent = self._key(namespace or "", names[0]) if names else None
        return parent, (parent and parent.namespace) or namespace or "", names if len(names) > 1 else ()

    def _owner(self, raw: bytes) -> str:
        """The name of the owner that counts."""
        parent = self._fleet.parent
        try:
            owners = self._owners.decode(raw)
        except msgspec.ValidationError as error:
            raise ValueError(f"metadata.ownerReferences: {error}") from error
        for owner in owners or ():
            group = owner.apiVersion.rpartition("/")[0]  # "" of "v1": the core group
            if owner.controller and owner.kind == parent.kind and group == parent.group:
                return owner.name
        return ""

    def _key(self, namespace: str, name: str) -> ParentKey:
        plain = (namespace if self._fleet.parent.namespaced else "", name)  # a NamedTuple is dear to make, and equal
        found = self._keys.get(plain)
        if found is None:
            if len(self._keys) >= _PARENT_KEYS_MAX:
                self._keys.clear()
            self._keys[plain] = found = ParentKey(*plain)
        return found

    # --- what is not an object, or not a good one ---

    def _bookmark(self, obj: Any) -> Bookmark:
        version, annotations = self._version_of(obj)
        return Bookmark(_version(version), annotations is not None and annotations.f0 == "true")

    def _second_look(self, line: Line, error: Exception) -> tuple[str, Record, Claims] | Bookmark | Refusal:
        """What a line is that is no good event of ours: the server's refusal, or a ``BadObject`` (raised)."""
        try:
            loose = self._loose.decode(line)
        except _BAD:
            raise self._bad(bytes(line), error, "") from error
        if loose.type == "ERROR":
            status = _lenient(bytes(loose.object))
            code, details = status.get("code"), status.get("details")
            wait = details.get("retryAfterSeconds") if isinstance(details, dict) else None
            return Refusal(
                code if isinstance(code, int) else 500,
                str(status.get("reason") or ""),
                str(status.get("message") or "")[:_WHY_MAX],
                float(wait) if isinstance(wait, int) and wait > 0 else None,
            )
        raise self._bad(bytes(loose.object), error, loose.type) from error

    def _bad(self, raw: bytes, error: Exception, type_: str) -> BadObject:
        why = str(error)[:_WHY_MAX] or type(error).__name__
        metadata = _lenient(raw).get("metadata")
        if not isinstance(metadata, dict):
            return BadObject(f"{self.kind} (unreadable, {len(raw)} bytes: {raw[:60]!r})", why, type_=type_)
        name, namespace, uid = (
            value if isinstance(value := metadata.get(key), str) else "" for key in ("name", "namespace", "uid")
        )
        text = metadata.get("resourceVersion")
        version = int(text) if isinstance(text, str) and text.isascii() and text.isdigit() else 0
        place = f"{self.kind} {namespace}/{name}" if namespace else f"{self.kind} {name or '(no name)'}"
        return BadObject(place, why, uid=uid, version=version, type_=type_, names=(namespace, name))


def _lenient(raw: bytes) -> dict[str, Any]:
    """Whatever can be read of a JSON object, bad UTF-8 replaced; {} for nothing. An event's object, if it is an event."""
    try:
        found = msgspec.json.decode(raw.decode("utf-8", "replace"))
    except (msgspec.DecodeError, RecursionError):
        return {}
    if isinstance(found, dict) and "metadata" not in found and isinstance(found.get("object"), dict):
        found = found["object"]
    return found if isinstance(found, dict) else {}


# --- the parent's own words -----------------------------------------------------------------------------------------


def read_spec(spec: object) -> ParentSpec:
    """A parent's spec; what cannot be read is named in ``problems`` and counts as silent."""
    problems: list[str] = []

    def take(tree: object, path: str, read: Callable[[object], Any]) -> Any:
        value = tree.get(path.rpartition(".")[2]) if isinstance(tree, dict) else None
        if value is None:
            return None
        try:
            return read(value)
        except SettingsError as error:
            problems.append(f"{path}: {error}")
            return None

    root = take({"spec": spec}, "spec", _mapping)
    debounce = take(root, "spec.debounce", _mapping)
    repair = take(root, "spec.repair", _mapping)
    return ParentSpec(
        heartbeat_timeout_s=take(root, "spec.heartbeatTimeout", _positive_duration),
        debounce_quiet_s=take(debounce, "spec.debounce.quiet", parse_duration),
        debounce_max_s=take(debounce, "spec.debounce.max", parse_duration),
        min_healthy=take(root, "spec.minHealthy", _count),
        repair_enabled=take(repair, "spec.repair.enabled", _flag),
        max_unhealthy=take(repair, "spec.repair.maxUnhealthy", parse_share),
        cooldown_s=take(repair, "spec.repair.cooldown", parse_duration),
        in_flight_max=take(repair, "spec.repair.maxInFlight", _positive_count),
        paused=bool(take(root, "spec.paused", _flag)),
        problems=tuple(problems),
    )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _mapping(value: object) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    raise SettingsError(f"found {_short(value)}, expected an object")


def _positive_duration(value: object) -> float:
    seconds = parse_duration(value)
    if seconds <= 0:
        raise SettingsError(f"found {_short(value)}, expected a duration above zero such as 60s")
    return seconds


def _count(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _COUNT_MAX:
        return value
    raise SettingsError(f"found {_short(value)}, expected a whole number from 0 up")


def _positive_count(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _COUNT_MAX:
        return value
    raise SettingsError(f"found {_short(value)}, expected a whole number from 1 up")


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise SettingsError(f"found {_short(value)}, expected true or false")
