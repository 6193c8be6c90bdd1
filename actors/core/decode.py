"""From the wire to records: only the fields that the fleet definition names are ever decoded.

A ``FleetDefinition``'s dotted paths are compiled, per kind, into one tree of structs (``shapes``). Each object is decoded by
itself: a page of a list is cut into raw items first, so that one bad object spoils neither its page nor its stream. For a bad
one a second, lenient pass recovers what is needed to name it and to keep its last good record.

Who a child's parent is (``claims``), its object says in the same words each time: they are read once and remembered. Its owners
are not even decoded for it (a third of all the work on a heartbeat was this question).

Several plain children are read at once, and no records made of what they say (``said``): the way of most events. All others
are read one by one (``judging``). Parents' specs are read leniently (``parent_spec``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from .claims import Claims, ClaimsReader
from .errors import Undecodable
from .fleet import Annotation, ChildKind, FieldPath, FleetDefinition, KindRef, Label, OwnerReference
from .judging import Reads, fields_of, kept_of, report_of
from .lines import Line
from .model import Child, Parent, ParentKey, Record, status_text
from .override import OVERRIDE
from .own import parent_fields
from .parent_spec import read_spec
from .paths import Path, parse_path
from .said import Said, SaidReader, is_plain, version_of
from .shapes import Tree, event_of, frozen, getter, place, struct
from .status_wire import from_wire, place_of

__all__ = ["BadObject", "Bookmark", "Decoder", "Page", "Refusal", "read_spec"]

_Read = Callable[[Any], tuple[Record, Claims]]
_Maker = Callable[[list[str]], _Read]
"""A reader is made when all paths are known and compiled."""
_CHANGES = frozenset(("ADDED", "MODIFIED", "DELETED"))
_BAD = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError)
_UNNAMED = "metadata.name and metadata.uid must be there"
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


class Decoder:
    """Reads the objects of one kind of a fleet. Not thread-safe; cheap to make (one per reader)."""

    def __init__(self, fleet: FleetDefinition, kind: str) -> None:
        self.is_parent = kind == fleet.parent.kind
        self.ref: KindRef = fleet.parent if self.is_parent else fleet.child(kind).ref
        self.kind = kind
        self._fleet = fleet
        self._claims: ClaimsReader | None = None
        self._said: SaidReader | None = None
        metadata: Tree = dict.fromkeys(("name", "namespace", "uid", "resourceVersion"), str)
        self._tree: Tree = {"metadata": metadata}
        paths: list[Path] = [("metadata", name) for name in ("name", "namespace", "uid", "resourceVersion")]
        make = self._parent_reader(paths) if self.is_parent else self._child_reader(fleet.child(kind), paths)
        model = struct(kind, frozen(self._tree))
        self._read = make([place(self._tree, path) for path in paths])
        self._objects = msgspec.json.Decoder(model)
        self._decode: Callable[[Line], Any] = msgspec.json.Decoder(event_of(model)).decode
        self._bookmarks = msgspec.json.Decoder(_BookmarkEvent)
        self._loose = msgspec.json.Decoder(_Loose)
        self._pages = msgspec.json.Decoder(_List)

    # --- what comes in ---

    def said(self, lines: Sequence[Line]) -> Said | None:
        """What these watch lines say, where all are events of plain children and none is out of the ordinary. Else None, and
        each is to be read by ``event``.
        """
        if self._said is None:
            return None
        try:
            events = list(map(self._decode, lines))
            types = [event.type for event in events]
            if not _CHANGES.issuperset(types):
                return None
            return self._said.read(types, [event.object for event in events])
        except _BAD:
            return None

    def listed(self, items: list[msgspec.Raw]) -> Said | None:
        """As ``said``, of what is in a list."""
        if self._said is None or not items:
            return None
        try:
            return self._said.read(["ADDED"] * len(items), map(self._objects.decode, items))
        except _BAD:
            return None

    def event(self, line: Line) -> tuple[str, Record, Claims] | Bookmark | Refusal:
        """One watch line: its type and the object. Raises ``BadObject``."""
        try:
            event = self._decode(line)
            type_ = event.type
            if type_ in _CHANGES:
                record, claims = self._read(event.object)
                return type_, record, claims
            if type_ == "BOOKMARK":
                return self._bookmark(line)
        except _BAD as error:
            return self._second_look(line, error)
        return self._second_look(line, ValueError(f"found the event type {type_[:40]!r}"))

    def object(self, raw: bytes | msgspec.Raw) -> tuple[Record, Claims]:
        """One object of a list. Raises ``BadObject``."""
        try:
            return self._read(self._objects.decode(raw))
        except _BAD as error:
            raise self._bad(bytes(raw), error, "") from error

    def page(self, body: bytes) -> Page:
        """A page of a list, items unread. Raises ``Undecodable``."""
        try:
            found = self._pages.decode(body)
            meta = found.metadata
            return Page(found.items or [], version_of(meta.resourceVersion), meta.continue_ or "")
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
                    version=(number := version_of(version)),
                    generation=generation or 0,
                    spec=read_spec(found[spec_at] if spec_at else None, fleet.spec, override),
                    status=status_text(number, told),
                    deleting=deleted_at is not None,
                    fields=fields(found) if fields is not None else "",
                )
                return parent, ()

            return record

        return make

    def _child_reader(self, child: ChildKind, paths: list[Path]) -> _Maker:
        mapped, heartbeat = _mapped(child), child.health.heartbeat
        owned = any(isinstance(mapping, OwnerReference) for mapping in child.mapping)
        self._claims = claims = ClaimsReader(self._fleet, child)
        if is_plain(child):
            self._said = SaidReader(child, self._tree, mapped, claims, owned=owned)
        reads = Reads(self._tree, paths)
        others = [reads.want(path, str) for path in mapped]
        owners = reads.want(("metadata", "ownerReferences"), msgspec.Raw) if owned else 0
        beats = isinstance(heartbeat, str) and bool(heartbeat)
        beat = reads.want(parse_path(heartbeat), str) if isinstance(heartbeat, str) and heartbeat else 0
        report, kind = report_of(child.health, reads), self.kind
        more = fields_of(child, reads) if child.fields else None

        def make(places: list[str]) -> _Read:
            values = getter(places)

            def record(obj: Any) -> tuple[Record, Claims]:
                found = values(obj)
                name, namespace, uid = found[:3]
                if not name or not uid:
                    raise ValueError(_UNNAMED)
                healthy, since = report(found)
                wording = (namespace, bytes(found[owners]) if owned else b"", tuple([found[each] for each in others]))
                parent, namespace, claimed = claims.of(wording)
                fields, quiet = ("", "") if more is None else more(found)
                child_ = Child(
                    kind, namespace, name, uid, version_of(found[3]), parent, healthy, since,
                    (found[beat] or "") if beats else "", False, fields, quiet,
                )  # fmt: skip
                return child_, claimed

            return record

        return make

    # --- what is not an object, or not a good one ---

    def _bookmark(self, line: Line) -> Bookmark:
        found = self._bookmarks.decode(line).object.metadata
        ended = found.annotations is not None and found.annotations.initial_end == "true"
        return Bookmark(version_of(found.resourceVersion), ended)

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


def _mapped(child: ChildKind) -> list[Path]:
    """The paths of what mappings look at, in their order. An owner is read apart."""
    paths: list[Path] = []
    for mapping in child.mapping:
        if isinstance(mapping, Label):
            paths.append(("metadata", "labels", mapping.key))
        elif isinstance(mapping, Annotation):
            paths.append(("metadata", "annotations", mapping.key))
        elif isinstance(mapping, FieldPath):
            paths.append(parse_path(mapping.path))
    return paths


def _lenient(raw: bytes) -> dict[str, Any]:
    """Whatever can be read of a JSON object, bad UTF-8 replaced; {} for nothing. An event's object, if it is an event."""
    try:
        found = msgspec.json.decode(raw.decode("utf-8", "replace"))
    except (msgspec.DecodeError, RecursionError):
        return {}
    if isinstance(found, dict) and "metadata" not in found and isinstance(found.get("object"), dict):
        found = found["object"]
    return found if isinstance(found, dict) else {}
