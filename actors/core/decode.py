"""From the wire to records: only the fields that the fleet definition names are ever decoded.

A ``FleetDefinition``'s dotted paths are compiled, per kind, into one tree of structs (``shapes``). Each object is decoded by
itself: a page of a list is cut into raw items first, so that one bad object spoils neither its page nor its stream. For a bad
one a second, lenient pass recovers what is needed to name it and to keep its last good record.

Who a child's parent is (``claims``), its object says in the same words each time: they are read once and remembered. Its owners
are not even decoded for it (a third of all the work on a heartbeat was this question).

A *plain* child, whose health is one boolean field and of which no further field is kept, is read by a function of its own,
which is the way of most events; no record is made of its words before it is known that they are news. All others are read by
one that is made of ``judging``'s. Parents' specs are read leniently (``parent_spec``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from .claims import Claimed, Claims, ClaimsReader
from .errors import Undecodable
from .fleet import Annotation, ChildKind, FieldPath, FleetDefinition, KindRef, Label, Lease, OwnerReference
from .judging import Reads, fields_of, kept_of, report_of
from .lines import Line
from .model import Child, Parent, ParentKey, Record, Said, status_text
from .override import OVERRIDE
from .own import parent_fields
from .parent_spec import read_spec
from .paths import Path, parse_path
from .shapes import Tree, event_of, frozen, getter, insert, place, quick, struct
from .status_wire import from_wire, place_of

__all__ = ["BadObject", "Bookmark", "Decoder", "Page", "Refusal", "read_spec"]

_Read = Callable[[Any], tuple[Said | Record, Claims]]
_Maker = Callable[[list[str]], _Read]
"""A reader is made when all paths are known and compiled."""
_PLAIN_PATHS = 8
"""Of a plain child, before those that its mappings look at."""
_CHANGES = frozenset(("ADDED", "MODIFIED", "DELETED"))
_BAD = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError)
_CLAIMS_MAX = 16_384
"""Wordings of who the parent is that are remembered, some 500 bytes each: one for each parent, unless objects differ in
them for reasons of their own. Beyond it the cache starts afresh, and a miss costs 2 µs."""
_NOTHING: Path = ("metadata", "name")
_UNNAMED = "metadata.name and metadata.uid must be there"
_VERSION_DIGITS_MAX = 18
"""So that a version fits into 63 bits, as it does where it comes from (etcd)."""
_WHY_MAX = 300
"""Characters of a decoding error that are kept; msgspec's are shorter, a hostile field name need not be."""


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


class _BookmarkAnnotations(msgspec.Struct, gc=False):
    initial_end: str | None = msgspec.field(default=None, name="k8s.io/initial-events-end")


class _BookmarkMeta(msgspec.Struct, gc=False):
    resourceVersion: str | None = None
    annotations: _BookmarkAnnotations | None = None


class _BookmarkObject(msgspec.Struct, gc=False):
    metadata: _BookmarkMeta


class _BookmarkEvent(msgspec.Struct, gc=False):
    object: _BookmarkObject


class _ListMeta(msgspec.Struct, gc=False):
    resourceVersion: str | None = None
    continue_: str | None = msgspec.field(default=None, name="continue")


class _List(msgspec.Struct):
    metadata: _ListMeta
    items: list[msgspec.Raw] | None = None


class _Condition(msgspec.Struct, gc=False):
    type: str | None = None
    lastTransitionTime: str | None = None


def _plain(child: ChildKind) -> bool:
    return isinstance(child.health.healthy, str) and not (child.health.since or child.fields)


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
        self._parents: dict[tuple[Any, ...], Claimed] = {}
        self._claims: ClaimsReader | None = None
        self._owned = False
        self._child = None if self.is_parent else fleet.child(kind)
        self.plain = self._child is not None and _plain(self._child)
        """Whether ``event`` yields a child's words instead of a record."""
        metadata: Tree = dict.fromkeys(("name", "namespace", "uid", "resourceVersion"), str)
        self._tree: Tree = {"metadata": metadata}
        paths: list[Path] = [("metadata", name) for name in ("name", "namespace", "uid", "resourceVersion")]
        if self._child is None:
            make = self._parent_reader(paths)
        elif self.plain:
            make = self._plain_reader(self._child, paths)
        else:
            make = self._any_child_reader(self._child, paths)
        model = struct(kind, frozen(self._tree))
        self._read = make([place(self._tree, path) for path in paths])
        self._objects = msgspec.json.Decoder(model)
        self._decode: Callable[[Line], Any] = msgspec.json.Decoder(event_of(model)).decode
        self._bookmarks = msgspec.json.Decoder(_BookmarkEvent)
        self._loose = msgspec.json.Decoder(_Loose)
        self._pages = msgspec.json.Decoder(_List)

    # --- what comes in ---

    def event(self, line: Line) -> tuple[str, Said | Record, Claims] | Bookmark | Refusal:
        """One watch line: its type and the object, of a plain child its words. Raises ``BadObject``."""
        try:
            event = self._decode(line)
            type_ = event.type
            if type_ in _CHANGES:
                read, claims = self._read(event.object)
                return type_, read, claims
            if type_ == "BOOKMARK":
                return self._bookmark(line)
        except _BAD as error:
            return self._second_look(line, error)
        return self._second_look(line, ValueError(f"found the event type {type_[:40]!r}"))

    def object(self, raw: bytes | msgspec.Raw) -> tuple[Record, Claims]:
        """One object of a list. Raises ``BadObject``."""
        try:
            read, claims = self._read(self._objects.decode(raw))
            return self.record(read), claims
        except _BAD as error:
            raise self._bad(bytes(raw), error, "") from error

    def record(self, read: Said | Record) -> Record:
        """The record of what was read."""
        return Child(self.kind, *read) if isinstance(read, tuple) else read

    def page(self, body: bytes) -> Page:
        """A page of a list, items unread. Raises ``Undecodable``."""
        try:
            found = self._pages.decode(body)
            meta = found.metadata
            return Page(found.items or [], _version(meta.resourceVersion), meta.continue_ or "")
        except _BAD as error:
            raise Undecodable(f"list of {self.ref.plural}", str(error)[:_WHY_MAX]) from error

    # --- records ---

    def _parent_reader(self, paths: list[Path]) -> _Maker:
        reads = Reads(self._tree, paths)
        reads.want(("metadata", "generation"), int)
        reads.want(("metadata", "deletionTimestamp"), str)
        fleet, own = self._fleet, parse_path(self._fleet.spec) if self._fleet.spec else None
        reads.want(place_of(fleet), str if fleet.status_annotation else Any)
        reads.want(("metadata", "annotations", OVERRIDE), str)
        plain = not (fleet.status or fleet.status_annotation)
        spec_at = reads.want(own, Any) if own is not None else 0
        fields = kept_of(parent_fields(fleet), own or (), spec_at, reads)

        def make(places: list[str]) -> _Read:
            values = getter(places)

            def record(obj: Any) -> tuple[Record, Claims]:
                found = values(obj)
                name, namespace, uid, version, generation, deleted_at, status, override = found[:8]
                if not name or not uid:
                    raise ValueError(_UNNAMED)
                told = status if plain and isinstance(status, dict) else from_wire(fleet, status)
                parent = Parent(
                    kind=self.kind,
                    key=ParentKey(namespace or "", name),
                    uid=uid,
                    version=(number := _version(version)),
                    generation=generation or 0,
                    spec=read_spec(found[spec_at] if spec_at else None, fleet.spec, override),
                    status=status_text(number, told),
                    deleting=deleted_at is not None,
                    fields=fields(found) if fields is not None else "",
                )
                return parent, ()

            return record

        return make

    def _plain_reader(self, child: ChildKind, paths: list[Path]) -> _Maker:
        """The function that each event of a child goes through; in one piece and without a look-up that can be made before."""
        health = child.health
        assert isinstance(health.healthy, str)
        # What a kind has not is read from another place and not used, so that all kinds are read alike.
        paths += [parse_path(health.healthy), parse_path(self._beat(health.heartbeat)), _NOTHING, _NOTHING]
        insert(self._tree, paths[4], bool)
        insert(self._tree, paths[5], str)
        if health.condition:
            paths[6] = ("status", "conditions")
            insert(self._tree, paths[6], list[_Condition])
        self._owned = any(isinstance(mapping, OwnerReference) for mapping in child.mapping)
        if self._owned:
            paths[7] = ("metadata", "ownerReferences")
            insert(self._tree, paths[7], msgspec.Raw)
        paths += self._mapped(child)
        condition, parents, read_parent = health.condition, self._parents, self._reads_of(child)
        beats, owned = isinstance(health.heartbeat, str) and bool(health.heartbeat), self._owned

        def make(places: list[str]) -> _Read:
            fast, values = quick(places, _PLAIN_PATHS), getter(places)

            def said(obj: Any) -> tuple[Said, Claims]:
                try:
                    name, namespace, uid, version, healthy, heartbeat, conditions, owners, others = fast(obj)
                except AttributeError:
                    found = values(obj)
                    name, namespace, uid, version, healthy, heartbeat, conditions, owners = found[:_PLAIN_PATHS]
                    others = found[_PLAIN_PATHS:]
                if not name or not uid:
                    raise ValueError(_UNNAMED)
                if (
                    version is None
                    or not (version.isdigit() and version.isascii())
                    or len(version) > _VERSION_DIGITS_MAX
                ):
                    raise _no_version(version)
                since = ""
                if condition:
                    for each in conditions or ():
                        if each.type == condition:
                            since = each.lastTransitionTime or ""
                            break
                worded = (namespace, bytes(owners) if owned else b"", others)
                known = parents.get(worded)
                if known is None:
                    known = read_parent(*worded)
                    if len(parents) >= _CLAIMS_MAX:
                        parents.clear()
                    parents[worded] = known
                parent, namespace, claims = known
                if not beats or heartbeat is None:
                    heartbeat = ""
                return (namespace, name, uid, int(version), parent, healthy, since, heartbeat), claims

            return said

        return make

    def _any_child_reader(self, child: ChildKind, paths: list[Path]) -> _Maker:
        """The same for every other child."""
        mapped = self._mapped(child)
        reads = Reads(self._tree, paths)
        others = [reads.want(path, str) for path in mapped]
        self._owned = any(isinstance(mapping, OwnerReference) for mapping in child.mapping)
        owners = reads.want(("metadata", "ownerReferences"), msgspec.Raw) if self._owned else 0
        beat = reads.want(parse_path(self._beat(child.health.heartbeat)), str)
        beats = isinstance(child.health.heartbeat, str) and bool(child.health.heartbeat)
        report, more = report_of(child.health, reads), fields_of(child, reads)
        kind, owned, read_parent = self.kind, self._owned, self._reads_of(child)

        def make(places: list[str]) -> _Read:
            values = getter(places)

            def record(obj: Any) -> tuple[Record, Claims]:
                found = values(obj)
                name, namespace, uid = found[:3]
                if not name or not uid:
                    raise ValueError(_UNNAMED)
                healthy, since = report(found)
                worded = (namespace, bytes(found[owners]) if owned else b"", tuple([found[each] for each in others]))
                known = self._parents.get(worded)
                if known is None:
                    known = read_parent(*worded)
                    if len(self._parents) >= _CLAIMS_MAX:
                        self._parents.clear()
                    self._parents[worded] = known
                parent, namespace, claims = known
                fields, quiet = more(found)
                child_ = Child(
                    kind, namespace, name, uid, _version(found[3]), parent, healthy, since,
                    (found[beat] or "") if beats else "", False, fields, quiet,
                )  # fmt: skip
                return child_, claims

            return record

        return make

    def _beat(self, heartbeat: str | Lease) -> str:
        """The path of the heartbeat; of something that is always there where the object itself has none."""
        return heartbeat if isinstance(heartbeat, str) and heartbeat else "metadata.name"

    def _mapped(self, child: ChildKind) -> list[Path]:
        """The paths of what mappings look at, in their order; into the tree, too. An owner is read apart."""
        paths: list[Path] = []
        for mapping in child.mapping:
            if isinstance(mapping, Label):
                paths.append(("metadata", "labels", mapping.key))
            elif isinstance(mapping, Annotation):
                paths.append(("metadata", "annotations", mapping.key))
            elif isinstance(mapping, FieldPath):
                paths.append(parse_path(mapping.path))
        for path in paths:
            insert(self._tree, path, str)
        return paths

    def _reads_of(self, child: ChildKind) -> Callable[[str | None, bytes, tuple[str | None, ...]], Claimed]:
        self._claims = ClaimsReader(self._fleet, child)
        return self._claims.read

    # --- what is not an object, or not a good one ---

    def _bookmark(self, line: Line) -> Bookmark:
        found = self._bookmarks.decode(line).object.metadata
        ended = found.annotations is not None and found.annotations.initial_end == "true"
        return Bookmark(_version(found.resourceVersion), ended)

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
