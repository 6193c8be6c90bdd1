"""Planted in what is kept of a kind (``core.intake``): lists, versions, deletions, and the verdict of silence."""

# ruff: noqa: ARG001 - a replacement keeps its original's signature, used or not

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import Any

from ...core.intake import Intake, Replaced
from ...core.model import ParentKey, Record
from ...core.said import Said
from ...core.silence import Silence
from ...core.slots import SILENT, Group
from .planting import Bed, Substitution

__all__ = ["bed"]

bed = Bed()


# --- lists and events -------------------------------------------------------------------------------------------------
@bed.single(
    "list-is-merged", breaks="truth", at="actors.core.intake:Intake.replace", needs=("A3", "A22"),
    what="a complete list adds and renews, and what is missing from it stays (a ghost until the process ends)",
)  # fmt: skip
def _(original: Any) -> Any:
    def replace(
        self: Intake,
        listed: Iterable[Record],
        version: int,
        now: float,
        *,
        refused: dict[str, int],
        force: bool = False,
    ) -> Replaced:
        kept = {self._slots.uid(place): 0 for place in self._slots}
        done: Replaced = original(self, listed, version, now, refused={**kept, **refused}, force=force)
        self._refused = dict(refused)
        return done

    return replace


@bed.single(
    "deletion-is-dropped", breaks="I11", at="actors.core.intake:Intake._event",
    what="an event DELETED is taken for one more version of the object",
)  # fmt: skip
def _(original: Any) -> Any:
    def event(self: Intake, type_: str, record: Record, matter: int, place: int, now: float) -> bool:
        return bool(original(self, "MODIFIED" if type_ == "DELETED" else type_, record, matter, place, now))

    return event


@bed.single(
    "older-version-replaces-newer", breaks="I10", at="actors.core.intake:Intake._event", needs=("A4", "A8"),
    what="a replayed event of an earlier version is taken for news",
)  # fmt: skip
def _(original: Any) -> Any:
    def event(self: Intake, type_: str, record: Record, matter: int, place: int, now: float) -> bool:
        if place >= 0 and record.version < self._slots.versions[place]:
            self._slots.versions[place] = 0
        return bool(original(self, type_, record, matter, place, now))

    return event


@bed.single(
    "unreadable-object-counts-as-gone", breaks="truth", at="actors.core.intake:Intake.replace", needs=("A14",),
    what="an object that a list holds and the decoder refuses is struck off the roll",
)  # fmt: skip
def _(original: Any) -> Any:
    def replace(
        self: Intake,
        listed: Iterable[Record],
        version: int,
        now: float,
        *,
        refused: dict[str, int],
        force: bool = False,
    ) -> Replaced:
        done: Replaced = original(self, listed, version, now, refused={}, force=force)
        return done

    return replace


@bed.single(
    "bookmark-is-ignored", breaks="I17", at="actors.core.intake:Intake.bookmark", needs=("A3", "A9"),
    what="a quiet kind resumes where its last change was, and is listed again whenever the history has moved on",
)  # fmt: skip
def _(original: Any) -> Any:
    def bookmark(self: Intake, version: int, now: float) -> None:
        original(self, self.version, now)

    return bookmark


@bed.single(
    "bookmark-counts-for-one-more", breaks="truth", at="actors.core.intake:Intake.bookmark",
    what="a bookmark is taken for the version after it: the change that follows next is old when it comes",
)  # fmt: skip
def _(original: Any) -> Any:
    def bookmark(self: Intake, version: int, now: float) -> None:
        original(self, version + 1, now)

    return bookmark


# --- what is material -------------------------------------------------------------------------------------------------
def _passed_on(original: Any) -> Any:
    def renew(self: Intake, place: int, record: Record, matter: int, now: float) -> bool:
        if not original(self, place, record, matter, now):
            self._tell(place)
        return True

    return renew


def _all_passed_on(original: Any) -> Any:
    def hear(self: Intake, said: Said, now: float) -> None:
        original(self, said, now)
        for namespace, name in zip(said.namespaces, said.names, strict=True):
            if (place := self._slots.find(namespace, name)) >= 0:
                self._tell(place)

    return hear


heartbeat_is_passed_on = bed.several(
    "heartbeat-is-passed-on",
    Substitution(target="actors.core.intake:Intake._renew", make=_passed_on),
    Substitution(target="actors.core.intake:Intake.hear", make=_all_passed_on),
    breaks="silent heartbeats", redundant_with=("heartbeat-changes-the-roll",),
    what="a report that changes nothing but its time becomes a message all the same",
)  # fmt: skip


@bed.single(
    "heartbeat-changes-the-roll", breaks="silent heartbeats", at="actors.core.health:Roll.enter",
    redundant_with=("heartbeat-is-passed-on",),
    what="a record that is the same in all that matters is a reason to reconcile",
)  # fmt: skip
def heartbeat_changes_the_roll(original: Any) -> Any:
    def enter(self: Any, kind: str, key: bytes, text: bytes) -> bool:
        original(self, kind, key, text)
        return True

    return enter


@bed.single(
    "turns-in-a-crowd-are-not-told", breaks="truth", at="actors.core.intake:Intake._turn",
    what="a child whose health turns in a chunk of many events is counted as it was until it turns again",
)  # fmt: skip
def _(original: Any) -> Any:
    def turn(self: Intake, place: int, healthy: bool | None, since: str, now: float) -> None:
        self._slots.turn(place, healthy, since)

    return turn


bed.pair(
    "heartbeat-is-material", heartbeat_is_passed_on, heartbeat_changes_the_roll, breaks="silent heartbeats",
    what="each heartbeat is a reconcile",
)  # fmt: skip


# --- silence ----------------------------------------------------------------------------------------------------------
def _unheard(original: Any) -> Any:
    def renew(self: Intake, place: int, record: Record, matter: int, now: float) -> bool:
        heard_s = self._slots.heard_s[place]
        changed = bool(original(self, place, record, matter, now))
        if not changed:
            self._slots.heard_s[place] = heard_s
        return changed

    return renew


def _all_unheard(original: Any) -> Any:
    def hear(self: Intake, said: Said, now: float) -> None:
        slots, told = self._slots, len(self._changes.rows)
        heard_s = {place: slots.heard_s[place] for place in slots}
        original(self, said, now)
        if len(self._changes.rows) == told:
            for place in heard_s.keys() & set(slots):
                slots.heard_s[place] = heard_s[place]

    return hear


bed.several(
    "heartbeat-does-not-move-the-deadline",
    Substitution(target="actors.core.intake:Intake._renew", make=_unheard),
    Substitution(target="actors.core.intake:Intake.hear", make=_all_unheard),
    breaks="truth", what="silence is counted from the last change instead of from the last report",
)  # fmt: skip


@bed.single(
    "silence-is-never-taken-back", breaks="truth", at="actors.core.intake:Intake._renew",
    what="a child that speaks again after its deadline stays unknown",
)  # fmt: skip
def _(original: Any) -> Any:
    def renew(self: Intake, place: int, record: Record, matter: int, now: float) -> bool:
        silent = self._slots.marks[place] & SILENT
        changed = bool(original(self, place, record, matter, now))
        self._slots.marks[place] |= silent
        if changed:
            self._tell(place)
        return changed

    return renew


@bed.single(
    "silence-is-judged-without-proof", breaks="truth", at="actors.core.silence:Silence._proven", needs=("A13",),
    what="a deadline that passes on a half-open stream makes every child silent, though all of them report",
)  # fmt: skip
def _(original: Any) -> Any:
    def proven(self: Silence, now: float) -> float:
        return now

    return proven


@bed.single(
    "outage-does-not-restart-the-clocks", breaks="truth", at="actors.core.silence:Silence.stream_up", needs=("A11",),
    what="after an outage, in which nobody could report, everybody is silent at once",
)  # fmt: skip
def _(original: Any) -> Any:
    def stream_up(self: Silence, now: float, *, first_attempt: bool) -> None:
        floor_s = self._floor_s
        original(self, now, first_attempt=first_attempt)
        self._floor_s = floor_s

    return stream_up


@bed.single(
    "deadline-is-looked-at-once", breaks="truth", at="actors.core.silence:Silence._scan",
    what="a parent whose children were all fresh at the look is not looked at again",
)  # fmt: skip
def _(original: Any) -> Any:
    def scan(self: Silence, group: Group, now: float, proven_s: float) -> None:
        original(self, group, now, proven_s)
        group.check_at_s = inf

    return scan


@bed.single(
    "first-sight-counts-as-a-report", breaks="silent heartbeats", at="actors.core.silence:Silence._was_old", needs=("P6",),
    what="after a restart, a child that has been silent for hours has its whole timeout before it",
)  # fmt: skip
def _(original: Any) -> Any:
    def was_old(self: Silence, place: int, timeout_s: float) -> bool:
        return False

    return was_old


@bed.single(
    "timeout-is-taken-once", breaks="truth", at="actors.core.silence:Silence.set_timeout",
    what="a parent that changes its heartbeat timeout is judged by the first one",
)  # fmt: skip
def _(original: Any) -> Any:
    def set_timeout(self: Silence, parent: ParentKey, timeout_s: float | None, now: float) -> None:
        group = self._groups.get(parent)
        if group is None or group.timeout_s is None:
            original(self, parent, timeout_s, now)

    return set_timeout
