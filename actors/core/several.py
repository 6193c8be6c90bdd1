"""Children that are counted for several parents: where a kind says ``parents: All``, each object has a place for each.

The first parent that an object names has the child itself, under its own uid, and repairs it. Each further one has a *guest*:
the same child under a uid of its own (``UID@PARENT``), which counts and is never eligible. So one parent at most wants a repair
of it, whatever the order of the news; and all that is on the way from here to the parents' actors knows of rows only.

A guest is judged as any child is, by its own parent's heartbeat timeout. What an object says is said to all of its parents in
one mail, and a guest lives as long as its object names its parent. Kinds that are counted for one parent have nothing of this.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from .between import between, listed
from .fleet import ChildKind
from .intake import Replaced
from .joins import JoinedIntake
from .kept import KeptSlots
from .model import AT, Child, ParentKey, Record
from .slots import Group, Home, matter_of
from .texts import home_of, packed

__all__ = ["SeveralIntake"]

Names = tuple[str, str]
"""Namespace and name."""
_GUEST = 16
"""The bit of a guest among the marks of a place."""
_INSIDE = "\0"
"""Between an object's name and its guest's parent, in the index by name: in no name on an API server."""
_LISTS_MAX = 16_384
"""Wordings of whose a child is that are remembered."""


class SeveralSlots(KeptSlots):
    """``KeptSlots`` with guests: each is in the index under its object's name and its parent's."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.guests: dict[Names, tuple[str, ...]] = {}
        """By namespace and name of an object: by which names its guests are in the index."""
        self.guest_count = 0
        self.guests_gone = 0
        """Ever."""

    def is_guest(self, place: int) -> bool:
        """Whether who is there is one."""
        return bool(self.marks[place] & _GUEST)

    def add(self, record: Record, home: Home, matter: int, now: float) -> int:
        """See ``Slots``."""
        self.guest_count += isinstance(record, Child) and record.guest
        return super().add(record, home, matter, now)

    def set(self, place: int, record: Record) -> None:
        """See ``Slots``."""
        super().set(place, record)
        if isinstance(record, Child) and record.guest:
            self.marks[place] |= _GUEST

    def remove(self, place: int) -> Group:
        """See ``Slots``."""
        if self.is_guest(place):
            self.guest_count -= 1
            self.guests_gone += 1
        return super().remove(place)

    def child(self, place: int) -> Child:
        """See ``Slots``."""
        child = super().child(place)
        if not self.is_guest(place):
            return child
        return msgspec.structs.replace(child, name=child.name.partition(_INSIDE)[0], guest=True)

    def row(self, place: int) -> tuple[bytes, bytes]:
        """See ``Slots``."""
        key, text = super().row(place)
        if not self.is_guest(place):
            return key, text
        child = self.child(place)
        return key, packed(child, key, home_of(child.parent))


class SeveralIntake(JoinedIntake):
    """``Intake`` of a kind of which a child may be counted for several parents, with sides or without."""

    _slots: SeveralSlots

    def __init__(self, child: ChildKind, *, version: int = 0) -> None:
        super().__init__(child, version=version)
        self._slots = SeveralSlots(child.ref.kind)
        self._lists: dict[ParentKey, tuple[ParentKey, ...]] = {}
        self._said: dict[Names, Child] = {}  # by child: its own words, where an owner stands between

    # --- what comes in ---

    def event(self, type_: str, record: Record, now: float) -> bool:
        """See ``Intake``."""
        assert isinstance(record, Child)
        slots, names = self._slots, (record.namespace, record.name)
        place = slots.find(*names)
        known = place >= 0 and slots.uid(place) == record.uid
        if record.version <= (slots.versions[place] if known else self.version):
            return super().event(type_, record, now)  # which looks again, and drops it
        if type_ == "DELETED":
            gone = super().event(type_, record, now)
            return (self._settle(names, (), now) if known else False) or gone
        host, *guests = self._everywhere(record)
        material = super().event(type_, host, now)
        return self._settle(names, guests, now) or material

    def refuse(self, uid: str, version: int, type_: str, now: float, *, names: Names | None = None) -> None:
        """See ``Intake``."""
        place = self._slots.search(uid) if names is None else self._slots.find(*names)
        of = self._slots.name(place) if place >= 0 else None
        super().refuse(uid, version, type_, now, names=names)
        if of is not None and self._slots.find(*of) < 0:
            self._settle(of, (), now)

    def replace(
        self, listed: Iterable[Record], version: int, now: float, *, refused: dict[str, int], force: bool = False
    ) -> Replaced:
        """See ``Intake``; what it says is of objects, not of guests."""
        slots, before, gone = self._slots, self._slots.guests, self._slots.guests_gone
        slots.guests = {}
        stay = {slots.uid(slots.find(*of)): of for of in before} if refused else {}
        kept = {of: before[of] for uid, of in stay.items() if uid in refused}
        theirs = {slots.uid(slots.find(of[0], name)): 0 for of, names in kept.items() for name in names}
        done = super().replace(self._persons(listed), version, now, refused=refused | theirs, force=force)
        slots.guests |= kept
        self._refused = dict(refused)
        return Replaced(len(self), done.missing - (slots.guests_gone - gone))

    # --- what sides tell ---

    def pulse(self, namespace: str, name: str, text: str, now: float, *, live: bool) -> None:
        """See ``JoinedIntake``; guests live by the same Lease."""
        for each in (name, *self._slots.guests.get((namespace, name), ())):
            super().pulse(namespace, each, text, now, live=live)

    def relink(self, owner: Names, now: float) -> None:
        """See ``JoinedIntake``."""
        slots = self._slots
        for names in list(self._owned.get(owner, ())):
            place = slots.find(*names)
            if place < 0:
                continue
            host, *guests = self._everywhere(self._said[names])
            if host.parent != slots.home(place).group.parent:
                host = msgspec.structs.replace(host, heartbeat=slots.heartbeats[place])
                self._change(place, host, _matter(host), slots.marks[place], now)
            self._settle(names, guests, now)

    # --- what goes out ---

    def versions(self) -> dict[str, tuple[str, str, int]]:
        """See ``Intake``."""
        slots = self._slots
        return {
            slots.uid(place): (*slots.name(place), slots.versions[place])
            for place in slots
            if not slots.is_guest(place)
        }

    def __len__(self) -> int:
        return len(self._slots) - self._slots.guest_count

    # --- inside ---

    def _placed(self, record: Record) -> Record:
        """See ``JoinedIntake``: ``_everywhere`` has done it already."""
        return record

    def _unlink(self, child: Names) -> None:
        self._said.pop(child, None)
        super()._unlink(child)

    def _persons(self, listed: Iterable[Record]) -> Iterator[Record]:
        """Everybody of a list, guests behind their hosts."""
        for record in listed:
            assert isinstance(record, Child)
            host, *guests = self._everywhere(record)
            if guests:
                self._slots.guests[record.namespace, record.name] = tuple([each.name for each in guests])
            yield host
            yield from guests

    def _everywhere(self, record: Child) -> list[Child]:
        """The child for the first of its parents (None: it has none), and a guest for each other, by its name in the index."""
        names = (record.namespace, record.name)
        parents: dict[ParentKey, None] = {}
        owned = False
        for key in self._listed(record.parent):
            parent: ParentKey | None = key
            if self._links is not None and between(key) is not None:
                placed = super()._placed(msgspec.structs.replace(record, parent=key))
                parent, owned = placed.parent if isinstance(placed, Child) else None, True
            if parent is not None:
                parents[parent] = None
        if owned:
            self._said[names] = record
        elif self._links is not None:
            self._unlink(names)
        first, *others = parents or (None,)
        beat = record.heartbeat if self._pulses is None else self._pulses.text(*names)
        return [msgspec.structs.replace(record, parent=first)] + [
            msgspec.structs.replace(
                record, parent=each, name=f"{record.name}{_INSIDE}{each}", uid=f"{record.uid}{AT}{each}", heartbeat=beat,
                guest=True,
            ) for each in others
        ]  # fmt: skip

    def _listed(self, key: ParentKey | None) -> tuple[ParentKey, ...]:
        """The parents that a record's stands for."""
        if key is None:
            return ()
        found = self._lists.get(key)
        if found is None:
            if len(self._lists) >= _LISTS_MAX:
                self._lists.clear()
            self._lists[key] = found = listed(key)
        return found

    def _settle(self, names: Names, guests: Sequence[Child], now: float) -> bool:
        """These are the guests of the object of that name, and no others; whether that is material to anybody."""
        slots, told = self._slots, False
        held, here = slots.guests.get(names, ()), tuple([guest.name for guest in guests])
        if here != held:
            for name in held:
                if name not in here:
                    self._forget(slots.find(names[0], name))
                    told = True
            if here:
                slots.guests[names] = here
            else:
                del slots.guests[names]
        for guest in guests:
            place, matter = slots.find(guest.namespace, guest.name), _matter(guest)
            if place < 0 or slots.uid(place) != guest.uid:
                self._first(guest, matter, now, place)
                told = True
            else:
                told = self._renew(place, guest, matter, now) or told
        return told


def _matter(child: Child) -> int:
    return matter_of(child.uid, child.parent, child.healthy, child.since)
