"""No verdict while a watch is behind: nothing leaves for children of a kind whose stream has been down for long."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from ..core.ports import Call, Objects, StreamChanged
from ..directory import BEHIND_S
from .court import Oracle, actor_of

__all__ = ["BLIND_ORACLES", "NotBlind"]

LATE_S = 2.0


class NotBlind(Oracle):
    """By what the reader has said of each stream."""

    name: ClassVar[str] = "not-blind"
    promise: ClassVar[str] = "valve"

    def attend(self) -> None:
        self.begin_life()
        self.stage.on_mail.append(self._mail)
        self.stage.backend.on_send.append(self._sent)

    def begin_life(self) -> None:
        self._down_s: dict[str, float] = {}
        self._up_s: dict[str, float] = {}

    def _mail(self, kind: str, mail: Objects | StreamChanged) -> None:
        if isinstance(mail, StreamChanged) and not mail.up:
            self._down_s.setdefault(kind, self.now)
        elif (isinstance(mail, StreamChanged) or mail.replace) and self._down_s.pop(kind, None) is not None:
            self._up_s[kind] = self.now

    def maybe(self, kind: str, allowed_s: float) -> bool:
        """Whether nothing need be asked for that kind now: it is behind, or was within ``allowed_s``."""
        down_s = self.now - self._down_s.get(kind, math.inf)
        return down_s > BEHIND_S - LATE_S or self.now - self._up_s.get(kind, -math.inf) < allowed_s

    def why_seen(self, kinds: tuple[str, ...]) -> str:
        """Why none of these kinds can be behind; "" if one may be."""
        if any(self.maybe(kind, LATE_S) or kind in self.court.relisting for kind in kinds):
            return ""
        held: Any = {kind: self.now - at_s for kind, at_s in self._down_s.items()}
        slow = any(not self.stage.calm(self.now - LATE_S, part) for part in ("operator", "actor:directory"))
        return "" if slow else f"streams are down for {held}"

    def _sent(self, call: Call) -> None:
        for item in call.items:
            down_s = self._down_s.get(item.kind)
            if down_s is None or self.now - down_s < BEHIND_S + LATE_S:
                continue
            actors = ("directory", "gateway", actor_of(item.parent), *(f"watcher/{kind}" for kind in self.court.kinds))
            if self.stage.calm(down_s - LATE_S, "operator", *(f"actor:{name}" for name in actors)):
                self.exercised += 1
                seconds = self.now - down_s
                self.no(
                    f"{item.payload['name']} is in a call, and the stream of {item.kind} is down for {seconds:.1f} s"
                )
        self.exercised += bool(self._down_s)


BLIND_ORACLES: tuple[type[Oracle], ...] = (NotBlind,)
