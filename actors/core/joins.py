"""Kinds that are watched for another one: Leases, which are its heartbeats, and the kind between it and its parents.

A *side* stands where an intake stands for its own ``Stream`` and keeps as little as it can: of a Lease its name and renewTime,
of a kind between who owns it. What it learns it hands to the intake of the kind that it is for (``JoinedIntake``), under the
same lock.

Nothing is told of a child before all of its sides are listed: it would have no parent, or no heartbeat. Silence by Leases is a
verdict about *their* stream, so that both must live and be proven; and nothing but a Lease is a sign of life then, because
others write to the object too (the node controller turns a dead node's Ready to Unknown).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from math import inf

import msgspec
from attrs import evolve, frozen

from .between import between
from .fleet import ChildKind, FleetDefinition, Health, KindRef, Lease, OwnerReference
from .intake import Replaced
from .kept import KeptIntake
from .model import Child, ParentKey, Record
from .ports import Objects, StreamChanged
from .said import Said
from .silence import CLEAN_GAP_S, PROOF_WAIT_S, SETTLE_S
from .slots import LIVE, NOWHERE, SILENT, matter_of

__all__ = ["JoinedIntake", "Links", "Pulses", "Side", "SideKind", "Together", "sides_of"]


# --- which there are ------------------------------------------------------------------------------------------------------
@frozen(kw_only=True)
class SideKind:
    """A kind that is watched for a child kind. ``fleet``: what its ``Decoder`` reads it by; ``namespace`` "": all of them."""

    ref: KindRef
    fleet: FleetDefinition
    namespace: str = ""


def sides_of(fleet: FleetDefinition, kind: str) -> tuple[SideKind, ...]:
    """The kinds that are watched for that child kind, as it says; none for most, and none for the parent's."""
    if kind == fleet.parent.kind:
        return ()
    child, found = fleet.child(kind), []
    if isinstance(child.health.heartbeat, Lease):
        lease = child.health.heartbeat
        read = ChildKind(ref=lease.ref, mapping=(), health=Health(healthy="spec.none", heartbeat="spec.renewTime"))
        found.append(SideKind(ref=lease.ref, fleet=evolve(fleet, children=(read,)), namespace=lease.namespace))
    for mapping in child.mapping:
        if isinstance(mapping, OwnerReference) and mapping.through is not None:
            read = ChildKind(ref=mapping.through, mapping=(OwnerReference(),), health=Health(healthy="metadata.none"))
            found.append(SideKind(ref=mapping.through, fleet=evolve(fleet, children=(read,))))
    return tuple(found)


# --- sides ----------------------------------------------------------------------------------------------------------------
class _NoVerdicts:
    """What a stream asks of an intake on account of its verdicts, for one that gives none."""

    def needs_proof(self, now: float) -> bool:
        """See ``Intake``."""
        return False

    def set_wall(self, now: float, wall_s: float) -> None:
        """See ``Intake``."""

    def tick(self, now: float) -> None:
        """See ``Intake``."""

    def take(self, epoch: int) -> None:
        """See ``Intake``."""

    @property
    def next_s(self) -> float | None:
        """See ``Intake``."""
        return None


class Side(_NoVerdicts, ABC):
    """What a ``Stream`` asks of an intake, for a kind of which nothing is ever told to anybody."""

    def __init__(self, target: JoinedIntake) -> None:
        self.version = 0
        self.synced = False
        """Whether it has been listed."""
        self._target = target
        self._seen: dict[tuple[str, str], tuple[int, str]] = {}  # by namespace and name: version and uid
        self._down_at_s: float | None = -inf
        self._up_at_s = self._frame_at_s = -inf

    def hear(self, said: Said, now: float) -> None:
        """See ``Intake``; of which kind it is nobody asks."""
        for type_, record, _ in said.events(""):
            self.event(type_, record, now)

    def event(self, type_: str, record: Record, now: float) -> bool:
        """See ``Intake``; nothing is material."""
        self._frame_at_s = now
        key = record.namespace, record.name
        version, uid = self._seen.get(key, (self.version, ""))
        if record.version <= version:
            return False
        self.version = max(self.version, record.version)
        if type_ == "DELETED":
            if record.uid == uid:
                del self._seen[key]
                self._gone(key, now)
        else:
            self._seen[key] = record.version, record.uid
            self._came(key, record, now, live=True)
        return False

    def bookmark(self, version: int, now: float) -> None:
        """See ``Intake``."""
        self._frame_at_s = now
        self.version = max(self.version, version)

    def refuse(self, uid: str, version: int, type_: str, now: float, *, names: tuple[str, str] | None = None) -> None:
        """See ``Intake``: what was known of it stays, unless it was deleted."""
        self._frame_at_s = now
        if names is not None and type_ == "DELETED" and self._seen.get(names, (0, ""))[1] == uid:
            del self._seen[names]
            self._gone(names, now)
        self.version = max(self.version, version)

    def replace(
        self, listed: Iterable[Record], version: int, now: float, *, refused: dict[str, int], force: bool = False
    ) -> Replaced:
        """See ``Intake``."""
        before, here = len(self._seen), set()
        for record in listed:
            key = record.namespace, record.name
            here.add(key)
            if force or record.version > self._seen.get(key, (0, ""))[0]:
                self._seen[key] = record.version, record.uid
                self._came(key, record, now, live=False)
        missing = [key for key, (_, uid) in self._seen.items() if key not in here and uid not in refused]
        for key in missing:
            del self._seen[key]
            self._gone(key, now)
        self.version = version if force else max(self.version, version)
        self._frame_at_s = now
        self.synced = True
        return Replaced(len(self._seen), before and len(missing))

    def stream_down(self, now: float) -> None:
        """See ``Intake``."""
        if self._down_at_s is None:
            self._down_at_s = now

    def stream_up(self, now: float, *, first_attempt: bool) -> None:
        """See ``Intake``."""
        rotated = self._down_at_s is not None and first_attempt and now - self._down_at_s <= CLEAN_GAP_S
        if self._down_at_s is not None and not rotated:
            self._target.outage(now)
        self._down_at_s, self._up_at_s = None, now

    @property
    def up(self) -> bool:
        """Whether its stream runs."""
        return self._down_at_s is None

    def proven_s(self, now: float) -> float:
        """The instant up to which everything the server had is known to be here."""
        return max(self._frame_at_s, self._up_at_s if now >= self._up_at_s + SETTLE_S else -inf)

    def __len__(self) -> int:
        return len(self._seen)

    @abstractmethod
    def _came(self, key: tuple[str, str], record: Record, now: float, *, live: bool) -> None:
        """One is there, or is another now; ``live``: by the watch and not by a list."""

    @abstractmethod
    def _gone(self, key: tuple[str, str], now: float) -> None:
        """One is not there any more."""


class Pulses(Side):
    """Leases: the text of each one's renewTime."""

    def __init__(self, target: JoinedIntake, *, namespaced: bool) -> None:
        super().__init__(target)
        self._namespaced = namespaced  # the children: else they are in no namespace, wherever their Leases are
        self._texts: dict[tuple[str, str], str] = {}

    def text(self, namespace: str, name: str) -> str:
        """The heartbeat of the child of that name, "" where there is none."""
        return self._texts.get((namespace, name), "")

    def needs_proof(self, now: float) -> bool:
        """See ``Intake``: of a verdict on a child."""
        return self.up and self._up_at_s < self._target.proof_for_s <= now - PROOF_WAIT_S

    def _came(self, key: tuple[str, str], record: Record, now: float, *, live: bool) -> None:
        child = (key[0] if self._namespaced else "", key[1])
        text = record.heartbeat if isinstance(record, Child) else ""
        if text and self._texts.get(child) != text:
            self._texts[child] = text
            self._target.pulse(*child, text, now, live=live)

    def _gone(self, key: tuple[str, str], now: float) -> None:
        self._texts.pop((key[0] if self._namespaced else "", key[1]), None)


class Links(Side):
    """The kind between: whose each one is."""

    def __init__(self, target: JoinedIntake) -> None:
        super().__init__(target)
        self._owners: dict[tuple[str, str], ParentKey] = {}

    def owner(self, namespace: str, name: str) -> ParentKey | None:
        """The parent that owns it."""
        return self._owners.get((namespace, name))

    def _came(self, key: tuple[str, str], record: Record, now: float, *, live: bool) -> None:
        parent = record.parent if isinstance(record, Child) else None
        if self._owners.get(key) == parent:
            return
        if parent is None:
            del self._owners[key]
        else:
            self._owners[key] = parent
        self._target.relink(key, now)

    def _gone(self, key: tuple[str, str], now: float) -> None:
        if self._owners.pop(key, None) is not None:
            self._target.relink(key, now)


# --- the intake that they are for -----------------------------------------------------------------------------------------
class JoinedIntake(KeptIntake):
    """``Intake`` of a kind with sides, in the order of ``sides_of``."""

    def __init__(self, child: ChildKind, *, version: int = 0) -> None:
        super().__init__(child.ref.kind, beats=child.beats, version=version)
        self._pulses: Pulses | None = None
        self._links: Links | None = None
        self.sides: list[Side] = []
        if isinstance(child.health.heartbeat, Lease):
            self._pulses = Pulses(self, namespaced=child.ref.namespaced)
            self.sides.append(self._pulses)
        if any(isinstance(each, OwnerReference) and each.through is not None for each in child.mapping):
            self._links = Links(self)
            self.sides.append(self._links)
        # By child: the owner that stands between, whom else it names, and its own last since; and the children by owner.
        self._via: dict[tuple[str, str], tuple[tuple[str, str], ParentKey | None, str]] = {}
        self._owned: dict[tuple[str, str], dict[tuple[str, str], None]] = {}

    # --- what sides tell ---

    def pulse(self, namespace: str, name: str, text: str, now: float, *, live: bool) -> None:
        """The Lease of that child has another renewTime; in the list that first brings one it is no sign of life by itself."""
        slots = self._slots
        place = slots.find(namespace, name)
        if place < 0:
            return
        mark, first = slots.marks[place], not slots.heartbeats[place]
        slots.beat(place, text)
        if live or not first:
            slots.heard_s[place] = now
            slots.marks[place] = (mark | LIVE) & ~SILENT
            if mark & SILENT:
                self._tell(place)
        group = slots.home(place).group
        if mark & SILENT or not mark & LIVE:
            self._check(group, self._deadline(place, group.timeout_s))

    def relink(self, owner: tuple[str, str], now: float) -> None:
        """The owner that stands between some children and their parents has another one itself."""
        slots = self._slots
        for child in list(self._owned.get(owner, ())):
            place = slots.find(*child)
            _, otherwise, since = self._via[child]
            if place < 0:
                continue
            parent = self._parent_of(owner, otherwise)
            if parent == slots.home(place).group.parent:
                continue
            held = slots.child(place)
            record = msgspec.structs.replace(held, parent=parent, since=since, heartbeat=slots.heartbeats[place])
            matter = matter_of(record.uid, parent, record.healthy, since)
            self._change(place, record, matter, slots.marks[place], now)

    def outage(self, now: float) -> None:
        """A side could not be heard for a while: all clocks start again."""
        if self._pulses is not None:
            self._floor_s = now

    @property
    def proof_for_s(self) -> float:
        """The deadline for which proof is wanted; infinity for none."""
        return self._proof_for_s if self._down_at_s is None else inf

    # --- as Intake ---

    def event(self, type_: str, record: Record, now: float) -> bool:
        """See ``Intake``."""
        slots = self._slots
        if self._links is not None and type_ != "DELETED":
            place = slots.find(record.namespace, record.name)
            known = place >= 0 and slots.uid(place) == record.uid
            if record.version > (slots.versions[place] if known else self.version):  # else nothing will come of it
                record = self._placed(record)
        return super().event(type_, record, now)

    def replace(
        self, listed: Iterable[Record], version: int, now: float, *, refused: dict[str, int], force: bool = False
    ) -> Replaced:
        """See ``Intake``."""
        return super().replace(map(self._placed, listed), version, now, refused=refused, force=force)

    def take(self, epoch: int) -> Objects | None:
        """See ``Intake``; nothing before all is listed that belongs to it."""
        return super().take(epoch) if all(side.synced for side in self.sides) else None

    def tick(self, now: float) -> None:
        """See ``Intake``."""
        if self._pulses is None or self._pulses.up:
            super().tick(now)

    @property
    def next_s(self) -> float | None:
        """See ``Intake``."""
        return super().next_s if self._pulses is None or self._pulses.up else None

    def _proven(self, now: float) -> float:
        own = super()._proven(now)
        return own if self._pulses is None else min(own, self._pulses.proven_s(now))

    def _first(self, record: Record, matter: int, now: float, namesake: int) -> int:
        if namesake >= 0:
            super()._forget(namesake)  # and not what links it: that is the newcomer's by now
            namesake = NOWHERE
        if self._pulses is not None and isinstance(record, Child) and not record.guest:  # one has its object's
            record = msgspec.structs.replace(record, heartbeat=self._pulses.text(record.namespace, record.name))
        return super()._first(record, matter, now, namesake)

    def _report(self, place: int, record: Record, matter: int, now: float) -> bool:
        if self._pulses is None or not isinstance(record, Child):
            return super()._report(place, record, matter, now)
        slots = self._slots
        slots.versions[place] = record.version
        return slots.matters[place] != matter and self._change(place, record, matter, slots.marks[place], now)

    def _forget(self, place: int) -> None:
        self._unlink(self._slots.name(place))
        super()._forget(place)

    # --- inside ---

    def _placed(self, record: Record) -> Record:
        """The record with its parent, where an owner stands between."""
        if self._links is None or not isinstance(record, Child):
            return record
        child = record.namespace, record.name
        found = between(record.parent)
        if found is None:
            self._unlink(child)
            return record
        owner, otherwise = found
        known = self._via.get(child)
        if known is None or known[0] != owner:
            self._unlink(child)
            self._owned.setdefault(owner, {})[child] = None
        self._via[child] = owner, otherwise, record.since
        return msgspec.structs.replace(record, parent=self._parent_of(owner, otherwise))

    def _parent_of(self, owner: tuple[str, str], otherwise: ParentKey | None) -> ParentKey | None:
        found = None if self._links is None else self._links.owner(*owner)
        return otherwise if found is None else found

    def _unlink(self, child: tuple[str, str]) -> None:
        known = self._via.pop(child, None)
        if known is not None:
            children = self._owned[known[0]]
            del children[child]
            if not children:
                del self._owned[known[0]]


class Together:
    """What is told of a kind's stream when it has sides: it is up when all are, and down when one is."""

    def __init__(self, kind: str, sides: Iterable[str], deliver: Callable[[Objects | StreamChanged], None]) -> None:
        self._kind, self._deliver = kind, deliver
        self._up: dict[str, bool] = dict.fromkeys((kind, *sides), False)
        self._told = False

    def of(self, name: str) -> Callable[[Objects | StreamChanged], None]:
        """Where the stream of that kind delivers."""

        def deliver(mail: Objects | StreamChanged) -> None:
            if isinstance(mail, Objects):
                self._deliver(mail)
                return
            self._up[name] = mail.up
            if mail.up and all(self._up.values()):
                self._told = True
                self._deliver(evolve(mail, kind=self._kind))
            elif not mail.up:
                self._told = False
                told = mail.message if name == self._kind else f"{name}, which {self._kind} needs: {mail.message}"
                self._deliver(evolve(mail, kind=self._kind, message=told))

        return deliver
