"""The court: what the oracles judge by, and where their verdicts are kept.

``Mirror`` holds what has been *delivered* to the present process, from the reader's own mail and by other code than the
watchers'. ``Court`` calls the oracles, counts how often each had something to judge, and keeps the breaches.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, TypeVar

from attrs import frozen

from ..core.events import ActorCrashed, ActorRestarted
from ..core.model import Child, Parent, ParentKey, ParentSpec, Policy, Record
from ..core.ports import Objects, StreamChanged
from ..core.records import entries_of, entry_of
from ..messages import PauseWanted
from ..sim.world import Timer
from .stage import Stage

__all__ = ["Breach", "Court", "Mirror", "Oracle", "actor_of", "counted", "key_of"]

BREACHES_KEPT = 20  # of one run: the first is the one that matters


@frozen
class Breach:
    """A promise was broken."""

    at_s: float
    oracle: str
    promise: str
    text: str

    def line(self) -> str:
        """For people."""
        return f"{self.at_s:.3f}s  {self.oracle} ({self.promise}): {self.text}"


class Mirror:
    """The freshest delivered record of each object, for one process."""

    def __init__(self, kinds: tuple[str, ...], now: Callable[[], float]) -> None:
        self.records: dict[str, dict[str, Record]] = {kind: {} for kind in kinds}
        self.changed_s: dict[str, float] = {}
        """When the record of a uid last changed."""
        self.changing: tuple[str, Record | None] = ("", None)
        """While ``material`` is called: the uid, and the record before."""
        self.synced: set[str] = set()
        self.by_parent: dict[ParentKey, dict[str, Child]] = {}
        self.in_trouble: dict[ParentKey, dict[str, Child]] = {}
        """Those of them that may be repaired."""
        self.parents: dict[ParentKey, Parent] = {}
        self._now = now

    def take(self, mail: Objects, material: Callable[[ParentKey, str], None]) -> list[str]:
        """Enter the mail; ``material(parent, kind)`` for each parent that must hear of it. Returns regressions."""
        held = self.records[mail.kind]
        now = self._now()
        entries = [entry_of(mail.kind, key, row) for key, row in entries_of(mail.entries)]
        if mail.replace:
            self.synced.add(mail.kind)
            there = {uid for uid, _ in entries}
            entries += [(uid, None) for uid in held if uid not in there]
        regressions = []
        for uid, record in entries:
            old = held.get(uid)
            if record is not None and old is not None and record.version < old.version:
                regressions.append(f"{mail.kind} {record.name}: version {old.version} was here, {record.version} came")
            if record is None:
                held.pop(uid, None)
            else:
                held[uid] = record
            self.changed_s[uid] = now
            self.changing = uid, old
            for parent in self._concerned(uid, old, record):
                material(parent, mail.kind)
        return regressions

    def _concerned(self, uid: str, old: Record | None, new: Record | None) -> list[ParentKey]:
        if isinstance(old, Parent) or isinstance(new, Parent):
            return self._parent(old, new)
        concerned: list[ParentKey] = []
        if old is not None and old.parent is not None:
            self.by_parent[old.parent].pop(uid, None)
            self.in_trouble[old.parent].pop(uid, None)
        if new is not None and new.parent is not None:
            self.by_parent.setdefault(new.parent, {})[uid] = new
            trouble = self.in_trouble.setdefault(new.parent, {})
            if new.eligible:
                trouble[uid] = new
        if old is not None and new is not None and old.same_matter(new) and old.incident == new.incident:
            return concerned
        for child in (old, new):
            if child is not None and child.parent is not None and child.parent not in concerned:
                concerned.append(child.parent)
        return concerned

    def _parent(self, old: Record | None, new: Record | None) -> list[ParentKey]:
        if isinstance(new, Parent):
            self.parents[new.key] = new
            if isinstance(old, Parent) and old.deleting == new.deleting:
                return [] if old.spec is new.spec or old.spec == new.spec else [new.key]
            return [new.key]
        assert isinstance(old, Parent)
        if self.parents.get(old.key) is old:
            del self.parents[old.key]
        return []  # nobody is left who must look

    def child(self, kind: str, uid: str) -> Child | None:
        """The freshest delivered record of that child."""
        record = self.records[kind].get(uid)
        return record if isinstance(record, Child) else None

    def eligible(self, parent: ParentKey) -> int:
        """How many of its children may be repaired."""
        return len(self.in_trouble.get(parent, ()))


class Oracle:
    """One promise as code. A subclass listens to what it needs in ``attend`` and calls ``no`` when it is broken."""

    name: ClassVar[str] = ""
    promise: ClassVar[str] = ""
    """The name in the list of promises, or of the invariant (I1 to I20)."""

    def __init__(self, court: Court) -> None:
        self.court = court
        self.stage = court.stage
        self.clock = court.stage.world.clock
        self.exercised = 0
        """How often it had something to judge."""

    def attend(self) -> None:
        """Once, at the beginning."""

    def begin_life(self) -> None:
        """A process has been made and not yet started."""

    def end_life(self) -> None:
        """The process is about to be killed."""

    def untouched(self) -> None:
        """The faults are over, the operator had its time, and nobody has touched a parent yet."""

    def healed(self) -> None:
        """The faults are over and the operator had its time: the final judgement."""

    def rested(self) -> None:
        """Nothing has happened for a while since then."""

    def no(self, text: str) -> None:
        """It is broken."""
        self.court.breach(self, text)

    @property
    def now(self) -> float:
        """The instant."""
        return self.clock.now_s


Kind = TypeVar("Kind", bound=Oracle)


class Court:
    """All oracles of one run."""

    def __init__(self, stage: Stage, oracles: tuple[type[Oracle], ...]) -> None:
        self.stage = stage
        self.breaches: list[Breach] = []
        self.kinds = tuple(ref.kind for ref in stage.fleet.kinds)
        self.watchers = tuple(f"actor:watcher/{kind}" for kind in self.kinds)
        """Parts that may be impaired: the kinds' watchers."""
        self.mirror = Mirror(self.kinds, stage.world.clock.now)
        self.on_material: list[Callable[[ParentKey, str], None]] = []
        """Called with (parent, kind) when news were delivered that a parent must hear of."""
        self.on_list: list[Callable[[str, Objects], None]] = []
        """Called with (actor, mail) for each mail with all there is of a kind that an actor reads."""
        self.listeners: list[tuple[type, Callable[[str, Any], None]]] = []
        self._looks: dict[float, tuple[Timer, list[Callable[[], None]]]] = {}
        self._policies: dict[ParentKey, tuple[ParentSpec, Policy]] = {}
        self.quarantined: set[str] = set()
        self._paused_s: dict[ParentKey, float] = {}
        self._overrides: dict[ParentKey, tuple[float, float]] = {}
        """What parents' annotations say: the end by the wall clock, and by ours as it was when they came."""
        self.skipped = False
        self.relisting: set[str] = set()
        """Kinds whose watcher has died since its last list."""
        self.relisted_s = -1.0
        """When such a list last came."""
        self.restored = False
        self.oracles = [oracle(self) for oracle in oracles]
        self.hear(Objects, self._read)
        self.hear(PauseWanted, lambda _, wish: self._paused_s.__setitem__(wish.parent, wish.until_s))
        stage.on_mail.append(self._mail)
        stage.on_life.append(self._begin_life)
        stage.on_kill.append(self._end_life)
        for fact in (ActorCrashed, ActorRestarted):
            stage.listen(fact, self._died)
        for each in self.oracles:
            each.attend()

    # --- for oracles --------------------------------------------------------------------------------------------------
    def hear(self, kind: type, heard: Callable[[str, Any], None]) -> None:
        """Have ``heard(actor, message)`` called for each message of that class, in every life."""
        self.listeners.append((kind, heard))

    def every(self, seconds: float, look: Callable[[], None]) -> None:
        """Have ``look()`` called every so many seconds, in every life. Who has the same pace shares a timer."""
        if seconds not in self._looks:
            timer, _ = self._looks[seconds] = Timer(partial(self._look, seconds)), []
            self.stage.world.add(seconds, timer)
        self._looks[seconds][1].append(look)

    def _look(self, seconds: float) -> None:
        timer, looks = self._looks[seconds]
        self.stage.world.add(seconds, timer)
        for look in looks:
            look()

    def breach(self, oracle: Oracle, text: str) -> None:
        """Keep it."""
        if len(self.breaches) < BREACHES_KEPT:
            now = self.stage.world.clock.now()
            self.breaches.append(Breach(now, oracle.name, oracle.promise, text))

    def oracle(self, kind: type[Kind]) -> Kind:
        """The one of that class."""
        return next(each for each in self.oracles if isinstance(each, kind))

    def policy(self, parent: ParentKey) -> Policy:
        """The settings in force for that parent, by what has been delivered."""
        record = self.mirror.parents.get(parent)
        defaults = self.stage.settings.policy
        if record is None:
            return defaults
        known = self._policies.get(parent)
        if known is None or known[0] is not record.spec:  # asked at each instant, and a spec changes a few times a run
            known = self._policies[parent] = (record.spec, defaults.over(record.spec))
        return known[1]

    def paused(self, parent: ParentKey) -> bool:
        """Whether a person's command holds that parent's repairs: it ends by itself, and with its process."""
        return self._paused_s.get(parent, -1.0) > self.stage.world.clock.now()

    def overridden(self, parent: ParentKey) -> bool | None:
        """Whether that parent's annotation, as delivered, overrides the valves now.

        None: it cannot be told, for the wall clock was set since it came. Who reads it then may read it otherwise.
        """
        until_s, ends_s = self._overrides.get(parent, (-math.inf, -math.inf))
        clock = self.stage.world.clock
        by_wall, by_ours = until_s > clock.wall(), ends_s > clock.now()
        return by_wall if by_wall == by_ours else None

    def _parent_came(self, parent: ParentKey) -> None:
        record, clock = self.mirror.parents.get(parent), self.stage.world.clock
        until_s = record.spec.override_until_s if record is not None else None
        if until_s is None:
            self._overrides.pop(parent, None)
        elif self._overrides.get(parent, (0.0, 0.0))[0] != until_s:
            self._overrides[parent] = until_s, clock.now() + until_s - clock.wall()

    @property
    def truth_kinds(self) -> tuple[str, ...]:
        """The child kinds."""
        return self.stage.child_kinds

    def possible(self, parent: ParentKey, kind: str, said: tuple[int, int, int], start_s: float) -> bool:
        """Whether these counts were true at some instant from ``start_s`` on, as far as silence can be told."""
        truth = self.stage.truth
        healthy, unhealthy, unknown = said
        for was_healthy, was_unhealthy, was_unknown in truth.history(parent, kind).since(start_s):
            hushed = was_healthy - healthy
            fits = unhealthy == was_unhealthy and unknown == was_unknown + hushed
            if fits and (hushed == 0 or 0 < hushed <= truth.overdue(parent, kind, start_s)):
                return True
        return False

    def expected(self, parent: ParentKey, kind: str, since_s: float) -> bool:
        """Whether that parent's status should tell of that kind now: it is there, and nothing on the way was impaired."""
        obj = self.stage.truth.parents.get(parent)
        if obj is None or not self.works(parent) or self.stage.process is None:
            return False
        if self.stage.truth.created_s[obj["metadata"]["uid"]] > since_s:
            return False
        watched = self.stage.fleet.parent.kind
        # An actor that has just woken needs every watcher's first mail, and the directory to ask for it.
        parts = (
            "operator", f"api:{kind}", f"api:{watched}", "write", f"write:{parent.name}", f"actor:{actor_of(parent)}",
            "actor:directory", *self.watchers,
        )  # fmt: skip
        return self.all_listed and self.relisted_s < since_s and self.stage.calm(since_s, *parts)

    def works(self, parent: ParentKey) -> bool:
        """Whether that parent's actor is one that acts: its parent is delivered, and it is not in quarantine."""
        return parent in self.mirror.parents and actor_of(parent) not in self.quarantined

    @property
    def all_listed(self) -> bool:
        """Whether each kind's present watcher has had its list: else its parents may have to wait."""
        return not self.relisting and self.mirror.synced.issuperset(self.kinds)

    # --- inside -------------------------------------------------------------------------------------------------------
    def _read(self, actor: str, mail: Objects) -> None:
        if mail.replace:
            for heard in self.on_list:
                heard(actor, mail)

    def _mail(self, kind: str, mail: Objects | StreamChanged) -> None:
        if isinstance(mail, Objects):
            if mail.replace and (kind in self.relisting or kind not in self.mirror.synced):
                self.relisting.discard(kind)
                self.relisted_s = self.stage.world.clock.now()
            for regression in self.mirror.take(mail, self._material):
                for oracle in self.oracles:
                    if oracle.name == "no-regress":
                        oracle.no(regression)

    def _died(self, fact: ActorCrashed | ActorRestarted) -> None:
        if fact.actor.startswith("watcher/"):
            self.relisting.add(fact.actor.removeprefix("watcher/"))

    def _material(self, parent: ParentKey, kind: str) -> None:
        if kind == self.stage.fleet.parent.kind:
            self._parent_came(parent)
        for heard in self.on_material:
            heard(parent, kind)

    def _begin_life(self) -> None:
        self.mirror = Mirror(self.kinds, self.stage.world.clock.now)
        self.quarantined.clear()
        self._paused_s.clear()
        self._overrides.clear()
        self.relisting.clear()
        probe = self.stage.probe
        assert probe is not None
        for kind, heard in self.listeners:
            probe.listen(kind, heard)
        for each in self.oracles:
            each.begin_life()

    def _end_life(self) -> None:
        for each in self.oracles:
            each.end_life()


def actor_of(parent: ParentKey) -> str:
    """The name of that parent's actor."""
    return f"cluster/{parent.namespace}/{parent.name}"


def key_of(text: str) -> ParentKey:
    """The parent that ``namespace/name`` names, as facts do; also by its actor's name."""
    namespace, _, name = text.removeprefix("cluster/").partition("/")
    return ParentKey(namespace, name)


def counted(status: dict[str, Any], kind: str) -> tuple[int, int, int] | None:
    """(healthy, unhealthy, unknown) of that kind as a status has them; None where it says nothing of it."""
    kinds = status.get("kinds")
    for each in kinds if isinstance(kinds, list) else ():
        if each.get("kind") == kind:
            return each.get("healthy", 0), each.get("unhealthy", 0), each.get("unknown", 0)
    return None
