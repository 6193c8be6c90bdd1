"""What is kept of one kind, and who has fallen silent: every event comes in, only what matters goes out.

Of each object the newest record is kept, and beside it what the record does not tell: the newest version, the heartbeat
value, and when *we* last heard from it. An event that changes nothing but these three is dropped here, before any message
exists; that is what makes heartbeats free. A complete list replaces everything; who is missing from it is gone.

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
from collections.abc import Iterable
from math import inf

import msgspec

from .decode import rfc3339_s
from .model import Child, Parent, ParentKey, Record
from .ports import Objects

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


class _Slot(msgspec.Struct, gc=False):
    """One object. ``heard_s``: its last report, or the start of its clock. ``live``: first sight no longer counts."""

    record: Record
    version: int
    heard_s: float
    heartbeat: str
    live: bool = False


class _Group:
    """The children of one parent. ``check_at_s`` is never later than the earliest deadline among them."""

    __slots__ = ("check_at_s", "members", "timeout_s")

    def __init__(self) -> None:
        self.members: dict[str, _Slot] = {}
        self.timeout_s: float | None = None
        self.check_at_s = inf


class Replaced(msgspec.Struct, frozen=True):
    """What a complete list did: ``missing`` objects were held before and are gone now."""

    count: int
    missing: int


class Intake:
    """The records of one kind. ``beats``: whether children report heartbeats (else only the never-reported fall silent).

    ``version``: what an intake before this one had seen already; no older list is believed.
    """

    def __init__(self, kind: str, *, beats: bool = True, version: int = 0) -> None:
        self.kind = kind
        self.version = version
        """Everything up to this resourceVersion has been taken in; where a watch resumes. 0: nothing yet."""
        self._beats = beats
        self._slots: dict[str, _Slot] = {}
        self._names: dict[str, dict[str, str]] = {}
        self._groups: dict[ParentKey, _Group] = {}
        self._due: list[tuple[float, ParentKey]] = []
        self._out: dict[str, Record | None] = {}
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
        slot = self._slots.get(record.uid)
        self._frame_at_s = now
        if record.version <= (self.version if slot is None else slot.version):
            return False
        self.version = max(self.version, record.version)
        if self._refused:
            self._refused.pop(record.uid, None)
        if type_ == "DELETED":
            if slot is None:
                return False
            self._forget(record.uid, slot)
            return True
        if slot is None:
            self._out[record.uid] = self._first(record, now)
            return True
        changed = self._renew(slot, record, now)
        if changed is not None:
            self._out[record.uid] = changed
        return changed is not None

    def bookmark(self, version: int, now: float) -> None:
        """The stream has delivered everything up to ``version``."""
        self._frame_at_s = now
        self.version = max(self.version, version)

    def refuse(self, uid: str, version: int, type_: str, now: float) -> None:
        """An object of the stream could not be read: its last record stays, unless it was deleted."""
        self._frame_at_s = now
        slot = self._slots.get(uid)
        if version <= (self.version if slot is None else slot.version):
            return
        self.version = max(self.version, version)
        if type_ == "DELETED":
            self._refused.pop(uid, None)
            if slot is not None:
                self._forget(uid, slot)
        else:  # its version does not count as seen: a list may bring the same one in good shape
            self._refused[uid] = version

    def replace(
        self, listed: Iterable[Record], version: int, now: float, *, refused: dict[str, int], force: bool = False
    ) -> Replaced:
        """A complete list: whoever is missing from it (and not ``refused`` by the decoder: uid → version) is gone.

        ``force`` takes the list's versions even where they are older (a restored API server). The mail to come replaces.
        """
        here = set(refused)
        before, new = len(self._slots), 0
        for record in listed:
            uid = record.uid
            here.add(uid)
            slot = self._slots.get(uid)
            if slot is None:
                new += 1
                self._first(record, now)
            elif force or record.version > slot.version:
                self._renew(slot, record, now)
        for uid in [uid for uid in self._slots if uid not in here]:
            self._forget(uid, self._slots[uid])
        self._refused = dict(refused)
        self.version = version if force else max(self.version, version)
        self._frame_at_s = now
        self._out = {}
        self._replace = True
        return Replaced(len(self._slots), before + new - len(self._slots))

    def set_timeout(self, parent: ParentKey, timeout_s: float | None, now: float) -> None:
        """How long the children of ``parent`` may be silent (None: for ever). Frees those that the new one frees."""
        group = self._groups.get(parent)
        if group is None:
            if timeout_s is None:
                return
            group = self._groups[parent] = _Group()
        if group.timeout_s == timeout_s:
            return
        group.timeout_s = timeout_s
        for uid, slot in group.members.items():
            record = slot.record
            if isinstance(record, Child) and record.silent and self._deadline(slot, timeout_s) > now:
                slot.record = self._out[uid] = _with_silence(record, slot.heartbeat, silent=False)
        group.check_at_s = inf
        if timeout_s is not None:
            self._check(parent, group, now)
        elif not group.members:
            del self._groups[parent]

    # --- what goes out ---

    def take(self, epoch: int) -> Objects | None:
        """The mail that has gathered, or None. After a list it holds all there is and replaces."""
        if self._replace:
            entries: dict[str, Record | None] = {uid: slot.record for uid, slot in self._slots.items()}
        elif self._out:
            entries = self._out
        else:
            return None
        mail = Objects(kind=self.kind, entries=entries, replace=self._replace, epoch=epoch)
        self._out, self._replace = {}, False
        return mail

    def versions(self) -> dict[str, tuple[str, str, int]]:
        """By uid: namespace, name and newest version, for the audit. O(N)."""
        return {uid: (slot.record.namespace, slot.record.name, slot.version) for uid, slot in self._slots.items()}

    def newest(self, uid: str) -> int | None:
        """The newest version taken in of that object, None where it is not held."""
        slot = self._slots.get(uid)
        return None if slot is None else slot.version

    def begin_audit(self) -> None:
        """Remember from now on who goes, so that an audit does not take a deletion for a loss."""
        self._gone = set()

    def end_audit(self) -> set[str]:
        """Who has gone since ``begin_audit``, and who could not be read."""
        gone, self._gone = (self._gone or set()) | self._refused.keys(), None
        return gone

    def record(self, uid: str) -> Record | None:
        """The record held, for tests and questions."""
        slot = self._slots.get(uid)
        return None if slot is None else slot.record

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
                self._scan(parent, group, now, proven_s)

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

    def _scan(self, parent: ParentKey, group: _Group, now: float, proven_s: float) -> None:
        assert group.timeout_s is not None
        earliest_s = inf
        for uid, slot in group.members.items():
            record = slot.record
            if not isinstance(record, Child) or record.silent:
                continue
            deadline_s = self._deadline(slot, group.timeout_s)
            if deadline_s > now:
                earliest_s = min(earliest_s, deadline_s)
            elif deadline_s <= proven_s:
                slot.record = self._out[uid] = _with_silence(record, slot.heartbeat, silent=True)
            else:
                self._proof_for_s = min(self._proof_for_s, deadline_s)
                earliest_s = min(earliest_s, max(deadline_s + PROOF_WAIT_S, now + _AGAIN_S))
        group.check_at_s = inf
        self._check(parent, group, earliest_s)

    def _deadline(self, slot: _Slot, timeout_s: float | None) -> float:
        """When that child counts as silent: ``inf`` never, in the past at once."""
        if timeout_s is None or (
            not self._beats and isinstance(slot.record, Child) and slot.record.healthy is not None
        ):
            return inf
        if not slot.live and self._was_old(slot, timeout_s):
            return slot.heard_s
        return max(slot.heard_s, self._floor_s) + timeout_s

    def _timeout_s(self, parent: ParentKey | None) -> float | None:
        group = self._groups.get(parent) if parent is not None else None
        return None if group is None else group.timeout_s

    def _was_old(self, slot: _Slot, timeout_s: float) -> bool:
        """Whether the report was already too old by the API server's clock when we first saw it."""
        if self._wall_offset_s is None or not slot.heartbeat:
            return False
        reported_s = rfc3339_s(slot.heartbeat)
        return reported_s is not None and slot.heard_s + self._wall_offset_s - reported_s > timeout_s + SKEW_S

    def _check(self, parent: ParentKey, group: _Group, at_s: float) -> None:
        """Look at that parent at ``at_s`` unless a look is due earlier."""
        if at_s < group.check_at_s:
            group.check_at_s = at_s
            heapq.heappush(self._due, (at_s, parent))

    def _first(self, record: Record, now: float) -> Record:
        names = self._names.setdefault(record.namespace, {})
        namesake = names.get(record.name)
        if namesake is not None:
            self._forget(namesake, self._slots[namesake])
            names = self._names.setdefault(record.namespace, {})
        names[record.name] = record.uid
        parent, heartbeat = (record.parent, record.heartbeat) if isinstance(record, Child) else (None, "")
        slot = self._slots[record.uid] = _Slot(record, record.version, now, heartbeat)
        if isinstance(record, Child) and parent is not None:
            group = self._join(parent, record.uid, slot)
            if group.timeout_s is not None:
                if self._was_old(slot, group.timeout_s):
                    slot.record = record = _with_silence(record, slot.heartbeat, silent=True)
                else:
                    self._check(parent, group, self._deadline(slot, group.timeout_s))
        return record

    def _renew(self, slot: _Slot, record: Record, now: float) -> Record | None:
        """Take in a newer version; the record to pass on, or None where it is immaterial."""
        old = slot.record
        slot.version = record.version
        if isinstance(record, Parent) or isinstance(old, Parent):
            slot.record = record
            return record
        heartbeat = record.heartbeat
        beat = heartbeat != slot.heartbeat or record.healthy is not old.healthy or record.since != old.since
        if beat:
            slot.heard_s, slot.heartbeat, slot.live = now, heartbeat, True
        elif old.silent:  # under another parent by that one's timeout
            silent = record.parent == old.parent or self._deadline(slot, self._timeout_s(record.parent)) <= now
            record = _with_silence(record, slot.heartbeat, silent=silent)
        if record.same_matter(old):
            return None
        slot.record = record
        if record.parent != old.parent:
            if old.parent is not None:
                self._leave(old.parent, record.uid)
            if record.parent is not None:
                self._join(record.parent, record.uid, slot)
        if record.name != old.name or record.namespace != old.namespace:  # a server never does this; a test might
            self._names.get(old.namespace, {}).pop(old.name, None)
            self._names.setdefault(record.namespace, {})[record.name] = record.uid
        parent = record.parent
        if parent is not None and not record.silent:
            group = self._groups[parent]
            self._check(parent, group, self._deadline(slot, group.timeout_s))
        return record

    def _forget(self, uid: str, slot: _Slot) -> None:
        record = slot.record
        del self._slots[uid]
        self._out[uid] = None
        if self._gone is not None:
            self._gone.add(uid)
        names = self._names.get(record.namespace)
        if names is not None and names.get(record.name) == uid:
            del names[record.name]
            if not names:
                del self._names[record.namespace]
        if isinstance(record, Child) and record.parent is not None:
            self._leave(record.parent, uid)

    def _join(self, parent: ParentKey, uid: str, slot: _Slot) -> _Group:
        group = self._groups.get(parent)
        if group is None:
            group = self._groups[parent] = _Group()
        group.members[uid] = slot
        return group

    def _leave(self, parent: ParentKey, uid: str) -> None:
        group = self._groups[parent]
        del group.members[uid]
        if not group.members and group.timeout_s is None:
            del self._groups[parent]


def _with_silence(record: Child, heartbeat: str, *, silent: bool) -> Child:
    return msgspec.structs.replace(record, silent=silent, heartbeat=heartbeat)
