"""What is kept of one kind, and who has fallen silent: every event comes in, only what matters goes out.

Of each object is kept what its record is made of, and beside it what a record does not tell: the newest version, the heartbeat
value, and when *we* last heard from it (``slots``). An event that changes nothing but these three is dropped here, before any
message exists; that is what makes heartbeats free. A complete list replaces everything; who is missing from it is gone.

Silence is found by a minimum scan per parent: a parent's children are looked at when the earliest of their deadlines *could*
have come, and the look yields the next such instant. A heartbeat writes one float and touches no timer (0.28 µs a beat for
a million children; a heap of deadlines took 0.42 µs, 331 B a child, and ticks of 1.4 s).

A verdict needs proof that the stream lives: somebody else's frame after the deadline, or a resumed watch, which replays
whatever was missed. Otherwise a half-open connection would turn a whole fleet silent. While the stream is down nobody is
judged, and after an outage (attempts failed, or it took long) all clocks start again, because nobody could have reported.
A rotation (the stream ended and the very next attempt resumed it) leaves the clocks alone: the replay tells the truth.

Times are seconds on the injected monotonic clock. One owner at a time: the caller serialises.
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Iterable
from itertools import groupby
from math import inf

import msgspec

from .model import Child, Parent, ParentKey, Record, Said
from .ports import Objects
from .quantity import rfc3339_s
from .records import Changes, ChildRecords, Entries
from .slots import HEALTH, LIVE, NOWHERE, SILENT, Group, Slots, matter_of
from .staging import Block, Taken

__all__ = ["CLEAN_GAP_S", "PROOF_WAIT_S", "SETTLE_S", "SKEW_S", "Intake", "Replaced"]

SKEW_S = 60.0
"""How far an agent's clock may be off before its report counts as old at first sight (DESIGN §6)."""
CLEAN_GAP_S = 2.0
"""A stream resumed within this long by the first attempt was rotated; anything else was an outage. A resume takes tens of
milliseconds; agents report every few seconds and retry."""
PROOF_WAIT_S = 0.3
"""After a deadline, how long to wait for a frame before the watch is resumed for proof; the verdict is due within 1 s."""
SETTLE_S = 0.2
"""After a resume, how long the replay may take to arrive. It is the first thing on the wire."""
_AGAIN_S = 0.1


class Replaced(msgspec.Struct, frozen=True):
    """What a complete list did: ``missing`` objects were held before and are gone now."""

    count: int
    missing: int


class Intake:
    """The records of one kind. ``beats``: whether children report heartbeats (else only the never-reported fall silent).

    ``version``: what an intake before this one had seen already; no older list is believed.
    """

    _by_columns = True
    """Whether a list's children are taken in by blocks: of a kind of which the columns here are all that is kept."""

    def __init__(self, kind: str, *, beats: bool = True, version: int = 0) -> None:
        self.kind = kind
        self.version = version
        """Everything up to this resourceVersion has been taken in; where a watch resumes. 0: nothing yet."""
        self._beats = beats
        self._slots = Slots(kind)
        self._groups: dict[ParentKey | None, Group] = {}
        self._due: list[tuple[float, ParentKey]] = []
        self._out: dict[str, Record | None] = {}
        self._changes = Changes(kind)
        self._replace = False
        self._refused: dict[str, int] = {}
        self._gone: set[str] | None = None
        self._wall_offset_s: float | None = None
        self._down_at_s: float | None = -inf
        self._up_at_s = -inf
        self._frame_at_s = -inf
        self._floor_s = -inf
        self._proof_for_s = inf

    # --- what comes in ---

    def set_wall(self, now: float, wall_s: float) -> None:
        """The API server's own time (its Date header), for judging first sights."""
        self._wall_offset_s = wall_s - now

    def event(self, type_: str, record: Record, now: float) -> bool:
        """One event of the stream; whether it is material. Old versions and repetitions are dropped. O(1)."""
        return self._event(type_, record, _matter(record), self._slots.find(record.namespace, record.name), now)

    def hear(self, type_: str, said: Said, now: float) -> bool:
        """``event`` of a plain child, by its words.

        Who says again what he has said, but for the version and the heartbeat, is done with here, in one piece and without a
        record: such are most of all events.
        """
        namespace, name, uid, version, parent, healthy, since, heartbeat = said
        slots, matter = self._slots, hash((uid, parent, healthy, since))  # as ``matter_of``; a call costs
        names = slots.places.get(namespace)
        place = NOWHERE if names is None else names.get(name, NOWHERE)
        if place >= 0 and slots.matters[place] == matter and version > slots.versions[place] and type_ != "DELETED":
            mark = slots.marks[place]
            if not (mark & SILENT or self._refused):
                self._frame_at_s = now
                slots.versions[place] = version
                if version > self.version:  # noqa: PLR1730 - a call of ``max`` is a hundredth of it all
                    self.version = version
                if heartbeat != slots.heartbeats[place]:
                    slots.heard_s[place] = now
                    slots.beat(place, heartbeat)
                    slots.marks[place] = mark | LIVE
                return False
        return self._event(type_, Child(self.kind, *said), matter, place, now)

    def _event(self, type_: str, record: Record, matter: int, place: int, now: float) -> bool:
        """``event``, with what it is about: ``place`` is where its name is."""
        slots, version = self._slots, record.version
        self._frame_at_s = now
        known = place >= 0 and (slots.matters[place] == matter or slots.holds(place, record.uid))
        if version <= (slots.versions[place] if known else self.version):
            return False
        self.version = max(self.version, version)
        if self._refused:
            self._refused.pop(record.uid, None)
        if type_ == "DELETED":
            if known:
                self._forget(place)
            return known
        if not known:
            self._first(record, matter, now, place)
            return True
        return self._renew(place, record, matter, now)

    def bookmark(self, version: int, now: float) -> None:
        """The stream has delivered everything up to ``version``."""
        self._frame_at_s = now
        self.version = max(self.version, version)

    def refuse(self, uid: str, version: int, type_: str, now: float, *, names: tuple[str, str] | None = None) -> None:
        """An object of the stream could not be read: its last record stays, unless it was deleted.

        ``names``: its namespace and name. Without them it is searched for, O(N).
        """
        self._frame_at_s = now
        place = self._slots.search(uid) if names is None else self._slots.find(*names)
        if place >= 0 and self._slots.uid(place) != uid:
            place = NOWHERE
        if version <= (self.version if place < 0 else self._slots.versions[place]):
            return
        self.version = max(self.version, version)
        if type_ == "DELETED":
            self._refused.pop(uid, None)
            if place >= 0:
                self._forget(place)
        else:  # its version does not count as seen: a list may bring the same one in good shape
            self._refused[uid] = version

    def replace(
        self, listed: Iterable[Record], version: int, now: float, *, refused: dict[str, int], force: bool = False
    ) -> Replaced:
        """A complete list: whoever is missing from it (and not ``refused`` by the decoder: uid → version) is gone.

        ``force`` takes the list's versions even where they are older (a restored API server). The mail to come replaces.
        """
        self._replace = True  # from here on nobody is told of by himself
        slots, before, new = self._slots, len(self._slots), 0
        here = bytearray(len(slots.homes))
        for block in listed.blocks() if self._by_columns and isinstance(listed, Taken) else (listed,):
            if isinstance(block, Block) and slots.knows_none_of(block):
                new += len(block.names)
                here.extend(bytes(len(slots.homes) - len(here)))
                self._fill(block, now)
                here.extend(b"\1" * len(block.names))
                continue
            for record in block:
                matter = _matter(record)
                place = slots.find(record.namespace, record.name)
                if place < 0 or not (slots.matters[place] == matter or slots.uid(place) == record.uid):
                    new += 1
                    place = self._first(record, matter, now, place)
                elif force or record.version > slots.versions[place]:
                    self._renew(place, record, matter, now)
                if place >= len(here):
                    here.extend(bytes(place + 1 - len(here)))
                here[place] = 1
        for place in [place for place in slots if not here[place]]:
            if slots.uid(place) not in refused:
                self._forget(place)
        self._refused = dict(refused)
        self.version = version if force else max(self.version, version)
        self._frame_at_s = now
        self._out, self._changes = {}, Changes(self.kind)
        return Replaced(len(slots), before + new - len(slots))

    def set_timeout(self, parent: ParentKey, timeout_s: float | None, now: float) -> None:
        """How long the children of ``parent`` may be silent (None: for ever). Frees those that the new one frees."""
        group, slots = self._groups.get(parent), self._slots
        if group is None:
            if timeout_s is None:
                return
            group = self._groups[parent] = Group(parent)
        if group.timeout_s == timeout_s:
            return
        group.timeout_s = timeout_s
        for place in group.present(slots.homes):
            if slots.marks[place] & SILENT and self._deadline(place, timeout_s) > now:
                slots.marks[place] &= ~SILENT
                self._tell(place)
        group.check_at_s = inf
        if timeout_s is not None:
            self._check(group, now)
        self._tidy(group)

    # --- what goes out ---

    def take(self, epoch: int) -> Objects | None:
        """The mail that has gathered, or None. After a list it holds all there is and replaces."""
        entries: Entries
        if self._replace:
            entries = self._everything()
        elif self._changes.rows:
            entries = self._changes
        elif self._out:
            entries = self._out
        else:
            return None
        mail = Objects(kind=self.kind, entries=entries, replace=self._replace, epoch=epoch)
        self._out, self._changes, self._replace = {}, Changes(self.kind), False
        return mail

    def versions(self) -> dict[str, tuple[str, str, int]]:
        """By uid: namespace, name and newest version, for the audit. O(N)."""
        slots = self._slots
        return {slots.uid(place): (*slots.name(place), slots.versions[place]) for place in slots}

    def newest(self, uid: str) -> int | None:
        """The newest version taken in of that object, None where it is not held."""
        place = self._slots.search(uid)
        return None if place < 0 else self._slots.versions[place]

    def begin_audit(self) -> None:
        """Remember from now on who goes, so that an audit does not take a deletion for a loss."""
        self._gone = set()

    def end_audit(self) -> set[str]:
        """Who has gone since ``begin_audit``, and who could not be read."""
        gone, self._gone = (self._gone or set()) | self._refused.keys(), None
        return gone

    def record(self, uid: str) -> Record | None:
        """The record held, for tests and questions."""
        place = self._slots.search(uid)
        return None if place < 0 else self._slots.record(place)

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def heard_s(self) -> float:
        """When the server last proved that the stream lives, by a frame or by answering a resumed watch; -infinity: never."""
        return max(self._frame_at_s, self._up_at_s)

    # --- the stream's own state ---

    def stream_down(self, now: float) -> None:
        """The stream has ended: no verdicts until it is up again. Idempotent."""
        if self._down_at_s is None:
            self._down_at_s = now

    def stream_up(self, now: float, *, first_attempt: bool) -> None:
        """The stream runs again. ``first_attempt``: nothing failed since it ended, so it may have been a mere rotation."""
        if self._down_at_s is not None and not (first_attempt and now - self._down_at_s <= CLEAN_GAP_S):
            self._floor_s = now
        self._down_at_s = None
        self._up_at_s = now
        self._proof_for_s = inf

    def tick(self, now: float) -> None:
        """Judge whose deadline has come. Cost: one heap look; and a parent's children when one of theirs may be due."""
        if self._down_at_s is not None:
            return
        proven_s = self._proven(now)
        if self._proof_for_s <= proven_s:
            self._proof_for_s = inf
        while self._due and self._due[0][0] <= now:
            at_s, parent = heapq.heappop(self._due)
            group = self._groups.get(parent)
            if group is not None and group.check_at_s == at_s:
                self._scan(group, now, proven_s)

    def needs_proof(self, now: float) -> bool:
        """Whether a verdict waits and nothing has come over the stream since: resume the watch now."""
        return self._down_at_s is None and now >= self._proof_for_s + PROOF_WAIT_S and self._up_at_s < self._proof_for_s

    @property
    def next_s(self) -> float | None:
        """When to ``tick`` next; None when nobody has a deadline or the stream is down."""
        if self._down_at_s is not None or not self._due:
            return None
        return self._due[0][0]

    # --- inside ---

    def _proven(self, now: float) -> float:
        """The instant up to which everything the server had is known to be here."""
        return max(self._frame_at_s, self._up_at_s if now >= self._up_at_s + SETTLE_S else -inf)

    def _scan(self, group: Group, now: float, proven_s: float) -> None:
        assert group.timeout_s is not None
        slots, earliest_s = self._slots, inf
        for place in group.present(slots.homes):
            if slots.marks[place] & SILENT:
                continue
            deadline_s = self._deadline(place, group.timeout_s)
            if deadline_s > now:
                earliest_s = min(earliest_s, deadline_s)
            elif deadline_s <= proven_s:
                slots.marks[place] |= SILENT
                self._tell(place)
            else:
                self._proof_for_s = min(self._proof_for_s, deadline_s)
                earliest_s = min(earliest_s, max(deadline_s + PROOF_WAIT_S, now + _AGAIN_S))
        group.check_at_s = inf
        self._check(group, earliest_s)

    def _deadline(self, place: int, timeout_s: float | None) -> float:
        """When that child counts as silent: ``inf`` never, in the past at once."""
        slots = self._slots
        mark, heard_s = slots.marks[place], slots.heard_s[place]
        if timeout_s is None or (not self._beats and mark & HEALTH):
            return inf
        if not mark & LIVE and self._was_old(place, timeout_s):
            return heard_s
        return max(heard_s, self._floor_s) + timeout_s

    def _was_old(self, place: int, timeout_s: float) -> bool:
        """Whether the report was already too old by the API server's clock when we first saw it."""
        heartbeat = self._slots.heartbeats[place]
        if self._wall_offset_s is None or not heartbeat:
            return False
        reported_s = rfc3339_s(heartbeat)
        age_s = inf if reported_s is None else self._slots.heard_s[place] + self._wall_offset_s - reported_s
        return reported_s is not None and age_s > timeout_s + SKEW_S

    def _check(self, group: Group, at_s: float) -> None:
        """Look at that parent at ``at_s`` unless a look is due earlier."""
        if at_s < group.check_at_s and group.parent is not None:
            group.check_at_s = at_s
            heapq.heappush(self._due, (at_s, group.parent))

    def _first(self, record: Record, matter: int, now: float, namesake: int) -> int:
        """Take in who was not here; the place. ``namesake``: where another is that had the name (below zero: nobody)."""
        slots = self._slots
        if namesake >= 0:
            self._forget(namesake)
        group = self._group(record.parent if isinstance(record, Child) else None)
        place = slots.add(record, group.home(record.namespace), matter, now)
        if isinstance(record, Child):
            slots.beat(place, record.heartbeat)
        if group.timeout_s is not None:
            self._begin_clock(group, place, group.timeout_s)
        self._tell(place)
        return place

    def _fill(self, block: Block, now: float) -> None:
        """As ``_first`` of each of a list's children whose names are free."""
        slots, groups = self._slots, self._groups
        for parent in dict.fromkeys(block.parents):
            if parent not in groups:
                groups[parent] = Group(parent)
        whose = zip(block.parents, block.namespaces, strict=True)
        homes = [groups[parent].home(namespace) for parent, namespace in whose]
        first = slots.fill(block, homes, now)
        for group, run in groupby(range(first, len(slots.homes)), lambda place: homes[place - first].group):
            places = array("I", run)
            group.join_all(places)
            if group.timeout_s is not None:
                self._begin_clocks(group, places)

    def _begin_clocks(self, group: Group, places: array[int]) -> None:
        """As ``_begin_clock`` of each: with the same heartbeat at the same instant they have the same deadline."""
        assert group.timeout_s is not None
        texts = self._slots.heartbeats
        one_of_each = dict(zip(map(texts.__getitem__, places), places, strict=True)).values()
        alike = self._beats and not any(self._was_old(place, group.timeout_s) for place in one_of_each)
        for place in places[:1] if alike else places:
            self._begin_clock(group, place, group.timeout_s)

    def _begin_clock(self, group: Group, place: int, timeout_s: float) -> None:
        """Of who was not here before: silent at once, or looked at when that may be."""
        if self._was_old(place, timeout_s):
            self._slots.marks[place] |= SILENT
        else:
            self._check(group, self._deadline(place, timeout_s))

    def _renew(self, place: int, record: Record, matter: int, now: float) -> bool:
        """Take in a newer version; whether it is material."""
        slots = self._slots
        slots.versions[place] = record.version
        if isinstance(record, Parent):
            slots.set(place, record)
            self._tell(place)
            return True
        mark, was_matter = slots.marks[place], slots.matters[place]
        if record.heartbeat != slots.heartbeats[place] or (was_matter != matter and self._turned(place, record)):
            slots.heard_s[place] = now
            slots.beat(place, record.heartbeat)
            slots.marks[place] = (mark | LIVE) & ~SILENT
            if was_matter == matter and not mark & SILENT:
                return False
        elif was_matter == matter:
            return False
        return self._change(place, record, matter, mark, now)

    def _turned(self, place: int, record: Child) -> bool:
        """Whether its health has, and not only its parent."""
        parent = self._slots.home(place).group.parent
        return self._slots.matters[place] != matter_of(record.uid, parent, record.healthy, record.since)

    def _change(self, place: int, record: Child, matter: int, mark: int, now: float) -> bool:
        """More than its heartbeat has, since ``mark``; whether it is material: one that is well may have been ill meanwhile."""
        slots = self._slots
        old, since = slots.home(place), slots.since(place)
        silent = slots.marks[place] & SILENT
        slots.matters[place] = matter
        slots.set(place, record)
        moved = old.group.parent != record.parent
        if moved:
            slots.move(place, self._group(record.parent).home(record.namespace))
            self._tidy(old.group)
        group = slots.home(place).group if moved else old.group
        if silent and moved:  # only a report ends it; but under another parent it is by that one's timeout
            silent = SILENT * (self._deadline(place, group.timeout_s) <= now)
        slots.marks[place] |= silent
        if not moved and (slots.marks[place] | LIVE) == (mark | LIVE) and slots.since(place) == since:
            return False
        if not silent and group.timeout_s is not None:
            self._check(group, self._deadline(place, group.timeout_s))
        if not self._replace:  # as in ``_tell``, of a child
            key, text = slots.row(place)
            self._changes.rows[key] = group.parent, text
        return True

    def _forget(self, place: int) -> None:
        uid = self._slots.uid(place)
        if self._slots.parent(place) is None:
            self._changes.gone(uid)
        else:
            self._out[uid] = None
        if self._gone is not None:
            self._gone.add(uid)
        self._tidy(self._slots.remove(place))

    def _tell(self, place: int) -> None:
        """What is at that place goes out with the next mail; after a list, everything does."""
        if self._replace:
            return
        slots = self._slots
        parent = slots.parent(place)
        if parent is not None:
            self._out[parent.uid] = parent
            return
        key, text = slots.row(place)
        self._changes.rows[key] = slots.home(place).group.parent, text

    def _everything(self) -> Entries:
        """Of children in packed form: a list of a million must not become a million objects."""
        slots = self._slots
        if slots.holds_parents or not slots:
            return {slots.uid(place): slots.record(place) for place in slots}
        groups = (group for group in self._groups.values() if group.count)
        families = [(group.parent, slots.rows(group.present(slots.homes)), group.count) for group in groups]
        return ChildRecords.of_families(self.kind, families)

    def _group(self, parent: ParentKey | None) -> Group:
        group = self._groups.get(parent)
        if group is None:
            group = self._groups[parent] = Group(parent)
        return group

    def _tidy(self, group: Group) -> None:
        """Nothing is left of a parent that has no children and no timeout."""
        if not group.count and group.timeout_s is None and self._groups.get(group.parent) is group:
            del self._groups[group.parent]


def _matter(record: Record) -> int:
    if isinstance(record, Child):
        return matter_of(record.uid, record.parent, record.healthy, record.since)
    return hash(record.uid)
