"""What is made of the API server's streams: where a watch goes on, and who may, and must, count as silent."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from ..core.model import Child, ParentKey
from ..core.ports import Objects, StreamChanged
from ..core.quantity import rfc3339_s
from ..sim.world import EPOCH_S
from .court import Oracle

__all__ = ["READING_ORACLES"]

SKEW_S = 60.0
"""How far the clock of a node may be off before its report is old at first sight: as the design says."""
OLD_WITHIN_S = 4.0
"""Within that time after its first sight an old report must count as silence. (A timeout that is shorter does it, too.)"""
SETTLED_S = 3.0
"""So long after a parent's spec was delivered its timeout is in force wherever it has to be."""


class Resumes(Oracle):
    """A watch goes on where its stream has been, bookmarks too: nothing is brought again, no list but where one is needed."""

    name: ClassVar[str] = "resumes-where-it-was"
    promise: ClassVar[str] = "I17"

    def attend(self) -> None:
        self.stage.on_resume.append(self._resumed)

    def _resumed(self, kind: str, asked: int, told: int) -> None:
        self.exercised += 1
        if asked < told:
            self.no(f"{kind}: a watch is asked for from version {asked}, its stream has told of {told} already")


class _OfTimeouts(Oracle):
    """Knows since when each parent's timeout is in force here."""

    def attend(self) -> None:
        self._spec_s: dict[ParentKey, float] = {}
        self.court.on_material.append(self._material)

    def begin_life(self) -> None:
        self._spec_s.clear()

    def _material(self, parent: ParentKey, kind: str) -> None:
        if kind == self.stage.fleet.parent.kind:
            self._spec_s[parent] = self.now

    def _timeout_s(self, parent: ParentKey) -> float | None:
        """The timeout that is in force for that parent's children, None where there is none or nobody can tell."""
        watched = self.stage.fleet.parent.kind
        since_s = self.now - SETTLED_S
        if parent not in self.court.mirror.parents or self._spec_s.get(parent, self.now) >= since_s:
            return None
        punctual = self.stage.calm(since_s, f"late:{watched}", f"actor:watcher/{watched}")
        if not punctual or self.stage.broken.slow[2] > since_s:
            return None
        return self.court.policy(parent).heartbeat_timeout_s


class SilenceEarned(_OfTimeouts):
    """Silent is who could report and has not: not who reports on a stream that is dead, not who had no server to report to."""

    name: ClassVar[str] = "silence-earned"
    promise: ClassVar[str] = "truth"

    def _material(self, parent: ParentKey, kind: str) -> None:
        super()._material(parent, kind)
        if kind not in self.stage.child_kinds:
            return
        uid, old = self.court.mirror.changing
        child, node = self.court.mirror.child(kind, uid), self.stage.truth.nodes.get(uid)
        fell_silent = child is not None and child.silent and not (isinstance(old, Child) and old.silent)
        if not fell_silent or node is None or parent != node.parent or self.stage.reader is None:
            return
        timeout_s = self._timeout_s(parent)
        on_its_way = node.beat_s > self.now - 0.3 - 4 * self.stage.reader.rtt_s
        if timeout_s is None or on_its_way or not self.stage.calm(self.now - timeout_s, f"late:{kind}", "operator"):
            return  # (a process that is about to end tells its reader of no new timeout)
        self.exercised += 1
        away_until_s = min(self.now, self.stage.broken.away_until_s)
        quiet_s = self.now - max(node.beat_s, away_until_s)
        if quiet_s < timeout_s - 0.2:
            why = "the server has been back" if away_until_s > node.beat_s else "it has not reported"
            self.no(f"{node.name} counts as silent; {why} for {quiet_s:.1f} s, {timeout_s:g} s are allowed")


class OldReports(_OfTimeouts):
    """Who has been silent for long counts as silent from the first list of a process on, not a whole timeout later."""

    name: ClassVar[str] = "old-reports-known"
    promise: ClassVar[str] = "silent heartbeats"

    def attend(self) -> None:
        super().attend()
        self._listed: set[str] = set()
        self.stage.on_mail.append(self._mail)

    def begin_life(self) -> None:
        super().begin_life()
        self._listed.clear()

    def _mail(self, kind: str, mail: Objects | StreamChanged) -> None:
        if not isinstance(mail, Objects) or not mail.replace or kind in self._listed:
            return
        self._listed.add(kind)
        for uid, record in mail.entries.items():
            node = self.stage.truth.nodes.get(uid)
            if node is None or not isinstance(record, Child) or record.silent or record.parent is None:
                continue
            timeout_s, reported_s = self.stage.truth.timeout_s(record.parent), rfc3339_s(node.heartbeat)
            if timeout_s is None or reported_s is None or timeout_s < OLD_WITHIN_S + 2.0:
                continue
            if EPOCH_S + self.now - reported_s > timeout_s + SKEW_S + 1.0:
                look = partial(self._due, record.parent, kind, uid, self.now, self.stage.lives)
                self.stage.world.after(OLD_WITHIN_S, look)

    def _due(self, parent: ParentKey, kind: str, uid: str, first_s: float, life: int) -> None:
        node, reader, process = self.stage.truth.nodes.get(uid), self.stage.reader, self.stage.process
        if node is None or reader is None or process is None or life != self.stage.lives or node.beat_s >= first_s:
            return
        timeout_s, open_for_s = self._timeout_s(parent), reader.open_for_s(kind)
        same = node.parent == parent and timeout_s == self.stage.truth.timeout_s(parent)
        calm = self.stage.calm(first_s - 1.0, f"late:{kind}", f"actor:watcher/{kind}") and not process.frozen
        if timeout_s is None or not same or not calm or open_for_s is None or open_for_s < 1.0:
            return
        self.exercised += 1
        child = self.court.mirror.child(kind, uid)
        if child is not None and not child.silent:
            quiet_s = self.now - node.beat_s
            self.no(
                f"{node.name} has been silent for {quiet_s:.0f} s, and {OLD_WITHIN_S:g} s after the list it is not known"
            )


READING_ORACLES: tuple[type[Oracle], ...] = (Resumes, SilenceEarned, OldReports)
