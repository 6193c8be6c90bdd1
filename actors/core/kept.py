"""Children of which further fields are kept (``fleet.Field``): the texts beside the columns, and an intake that looks at them.

A field that matters is news when it changes, as health is; a quiet one goes into the records and wakes nobody (``Roll.put``
sees no difference). Neither counts as a sign of life: anybody may have written it. Kinds without such fields pay nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from .intake import Intake
from .model import Child, Record
from .said import Said
from .slots import Group, Slots
from .texts import home_of, packed

__all__ = ["KeptIntake", "KeptSlots"]

_NONE = ("", "")


class KeptSlots(Slots):
    """``Slots`` with the texts of the further fields by place."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self._kept: dict[int, tuple[str, str]] = {}

    def kept(self, place: int) -> tuple[str, str]:
        """The fields that matter and the quiet ones, as JSON."""
        return self._kept.get(place, _NONE)

    def keep(self, place: int, record: Record) -> None:
        """Have what that record says."""
        if isinstance(record, Child) and (record.fields or record.quiet):
            self._kept[place] = record.fields, record.quiet
        else:
            self._kept.pop(place, None)

    def set(self, place: int, record: Record) -> None:
        """See ``Slots``."""
        super().set(place, record)
        self.keep(place, record)

    def remove(self, place: int) -> Group:
        """See ``Slots``."""
        self._kept.pop(place, None)
        return super().remove(place)

    def child(self, place: int) -> Child:
        """See ``Slots``."""
        fields, quiet = self.kept(place)
        child = super().child(place)
        return msgspec.structs.replace(child, fields=fields, quiet=quiet) if fields or quiet else child

    def rows(self, places: Iterable[int]) -> Iterator[tuple[bytes, bytes]]:
        """See ``Slots``."""
        return map(self.row, places)

    def row(self, place: int) -> tuple[bytes, bytes]:
        """See ``Slots``."""
        key, text = super().row(place)
        if place not in self._kept:
            return key, text
        child = self.child(place)
        return key, packed(child, key, home_of(child.parent))


class KeptIntake(Intake):
    """``Intake`` of a kind with further fields."""

    _slots: KeptSlots
    _by_columns = False

    def __init__(self, kind: str, *, beats: bool = True, version: int = 0) -> None:
        super().__init__(kind, beats=beats, version=version)
        self._slots = KeptSlots(kind)

    def hear(self, said: Said, now: float) -> None:
        """See ``Intake``; here there is always more to look at."""
        for type_, record, _ in said.events(self.kind):
            self.event(type_, record, now)

    def _renew(self, place: int, record: Record, matter: int, now: float) -> bool:
        """As ``Intake``; and what else has changed is told."""
        slots = self._slots
        was = slots.kept(place)
        material = self._report(place, record, matter, now)
        if material or not isinstance(record, Child) or was == (record.fields, record.quiet):
            return material
        slots.keep(place, record)
        self._tell(place)
        return was[0] != record.fields

    def _report(self, place: int, record: Record, matter: int, now: float) -> bool:
        """What its own words of health, heartbeat and parent mean; whether that is material."""
        return super()._renew(place, record, matter, now)
