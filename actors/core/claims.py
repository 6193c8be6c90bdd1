"""Whose a child is, by what its object says: the mappings of its kind, in their order.

An object says it in the same words each time, so the decoder asks once for each wording and remembers the answer.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from .between import all_of, through
from .fleet import (
    ANYWHERE,
    Annotation,
    ChildKind,
    FieldPath,
    FleetDefinition,
    KindRef,
    Mapping,
    NamespaceName,
    OwnerReference,
)
from .model import ParentKey

__all__ = ["PARENTS_MAX", "Claimed", "Claims", "ClaimsReader", "Wording"]

Wording = tuple[str | None, bytes, tuple[str | None, ...]]
"""All that an object says of its parents: its namespace, its raw owner references, and the values that the mappings which read
one find, in their order."""

Claims = tuple[str, ...]
"""The names of all parents that an object claims when they differ, the one that won first (else empty)."""
Claimed = tuple[ParentKey | None, str, Claims]
"""The parent; the object's own namespace (where it is the parent's too, one string serves all); what is in dispute."""

PARENTS_MAX = 16
"""Of one child of a kind that is counted for all. Arbitrary: a row is kept for each, and anybody may write an annotation."""
_NAME_MAX = 63 + 253
"""Characters of a namespace and a name on an API server (RFC 1123: a label, a subdomain)."""
_WORDINGS_MAX = 16_384
"""Wordings that are remembered, some 500 bytes each: one for each parent, unless objects differ in them for reasons of their
own. Beyond it the cache starts afresh, and a miss costs 2 µs."""
_KEYS_MAX = 65_536
"""Parent keys shared between children (a million children, ten thousand parents). Beyond it the cache starts afresh."""


class _Owner(msgspec.Struct, gc=False, rename="camel"):
    api_version: str = ""
    kind: str = ""
    name: str = ""
    controller: bool | None = None


class ClaimsReader:
    """Reads the claims of one child kind."""

    def __init__(self, fleet: FleetDefinition, child: ChildKind) -> None:
        self.known: dict[int, Claimed] = {}
        """What ``of`` has found, by the hash of the wording: two that differ have the same one in 2⁶⁴."""
        self._parent, self._mappings = fleet.parent, child.mapping
        self._keys: dict[tuple[str, str], ParentKey] = {}
        self._owners = msgspec.json.Decoder(list[_Owner] | None)
        self._read = self._all if child.several else self._first

    def of(self, wording: Wording) -> Claimed:
        """What is claimed in those words. ValueError for what cannot be read."""
        number = hash(wording)
        found = self.known.get(number)
        if found is None:
            found = self._read(*wording)
            if len(self.known) >= _WORDINGS_MAX:
                self.known.clear()
            self.known[number] = found
        return found

    def _first(self, namespace: str | None, owners: bytes, others: tuple[str | None, ...]) -> Claimed:
        """The first parent that is claimed."""
        own, named = namespace or "", iter(others)
        claimed: dict[ParentKey, None] = {}
        owner: tuple[str, str] | None = None
        for mapping in self._mappings:
            home = own
            if isinstance(mapping, OwnerReference):
                claim = self._controller(owners, mapping.through or self._parent)
                if claim and mapping.through is not None:
                    if not claimed and owner is None:
                        owner = own if mapping.through.namespaced else "", claim
                    continue
            else:
                claim = _value(mapping, own, named)
                home = mapping.namespace or own
            if claim:
                claimed[self._key(home, claim, own)] = None
        keys = tuple(claimed)
        parent = keys[0] if keys else None
        if owner is not None:
            parent = through(*owner, parent)
        elif parent is not None and parent.namespace == own:
            own = parent.namespace
        names = tuple([key.name if key.namespace in ("", own) else str(key) for key in keys])
        return parent, own, names if len(names) > 1 else ()

    def _all(self, namespace: str | None, owners: bytes, others: tuple[str | None, ...]) -> Claimed:
        """Every parent that is claimed: a key that stands for them (``all_of``), of which nothing is in dispute.

        The first is whom ``_first`` finds, where that finds anybody: so owners that are no controllers come last, whatever the
        order of the mappings. Annotations and fields may be lists, which no name of an object could be taken for.
        """
        own, named = namespace or "", iter(others)
        claimed: dict[ParentKey, None] = {}
        last: list[str] = []
        for mapping in self._mappings:
            if isinstance(mapping, OwnerReference):
                owner = self._controller(owners, mapping.through or self._parent)
                if mapping.through is None:
                    last += self._owner_names(owners, self._parent, controller=False)
                elif owner:
                    claimed[through(own if mapping.through.namespaced else "", owner, None)] = None
                    continue
                names, home = [owner], own
            else:
                names, home = [_value(mapping, own, named)], mapping.namespace or own
                if isinstance(mapping, Annotation | FieldPath):
                    names = [each.strip() for each in names[0].split(",")]
            claimed |= {self._key(home, each, own): None for each in names if each}
        claimed |= {self._key(own, each, own): None for each in last if each}
        if len(claimed) > PARENTS_MAX:
            raise ValueError(f"found {len(claimed)} parents, expected {PARENTS_MAX} at most")
        if (longest := max((len(key.namespace) + len(key.name) for key in claimed), default=0)) > _NAME_MAX:
            raise ValueError(f"found a parent's name of {longest} characters, expected {_NAME_MAX} at most")
        return all_of(claimed) if claimed else None, own, ()

    def _controller(self, raw: bytes, kind: KindRef) -> str:
        """The name of the controller owner of that kind."""
        return next(iter(self._owner_names(raw, kind, controller=True)), "")

    def _owner_names(self, raw: bytes, kind: KindRef, *, controller: bool) -> list[str]:
        """The names of the owners of that kind: of the controller, or of the others."""
        try:
            owners = self._owners.decode(raw)
        except msgspec.ValidationError as error:
            raise ValueError(f"metadata.ownerReferences: {error}") from error
        return [
            owner.name for owner in owners or ()
            if bool(owner.controller) is controller and owner.kind == kind.kind
            and owner.api_version.rpartition("/")[0] == kind.group  # "" of "v1": the core group
        ]  # fmt: skip

    def _key(self, namespace: str, name: str, own: str) -> ParentKey:
        """The parent of that name, the copy that is shared. ``own``: the child's namespace, for a name that says none."""
        if namespace == ANYWHERE:
            namespace, _, name = name.partition("/") if "/" in name else (own, "", name)
        plain = (namespace if self._parent.namespaced else "", name)  # a NamedTuple is dear to make, and equal
        found = self._keys.get(plain)
        if found is None:
            if len(self._keys) >= _KEYS_MAX:
                self._keys.clear()
            self._keys[plain] = found = ParentKey(*plain)
        return found


def _value(mapping: Mapping, own: str, named: Iterator[str | None]) -> str:
    """What a mapping that is no owner finds."""
    return own if isinstance(mapping, NamespaceName) else next(named) or ""
