"""What has happened in the simulated world, as far as it matters to the gates of ``why`` (``whygates``).

Followed is what is sent, delivered, handled and answered, and nothing that ``why`` goes by.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random
from typing import Any

from ..core.errors import Refused, Throttled
from ..core.events import ActorCrashed, ActorRestarted, ActorWedged, FuseTripped
from ..core.model import ParentKey
from ..core.ports import Call, Objects, StreamChanged
from ..core.why import Answer
from ..insight.collector import cell_of
from ..messages import (
    BackendState,
    CallEnded,
    CloseUp,
    DrainWanted,
    ItemAnswer,
    ItemsAnswered,
    Passivated,
    PassivateWanted,
    RepairsWanted,
    StatusAnswered,
    StatusWanted,
    WriteEnded,
)
from ..tree import System
from .court import Court, actor_of

__all__ = ["EPS_S", "LATE_S", "WhyWorld", "mail_of"]

EPS_S = 0.002
LATE_S = 1.0
"""Two round trips and a turn: what is not told yet is told by then."""


def mail_of(system: System | None, actor: str) -> int:
    """How many messages wait for that actor; 0 where there is none."""
    if system is None:
        return 0
    cell = cell_of(system.refs.get(actor))
    if cell is None and (directory := cell_of(system.refs.get("directory"))) is not None:
        cell = cell_of(directory.children.get(actor))
    return 0 if cell is None else cell.actor_inbox.depth()


class WhyWorld:
    """Follows one run for its whole length; what a process knew ends with it."""

    def __init__(self, court: Court) -> None:
        self.court = court
        self.stage = court.stage
        self.draws = Random(f"why/{self.stage.settings.seed}")  # noqa: S311  the seed is the point
        self.complain: Callable[[str], None] = lambda text: None
        """Told where a gate that was named turns out wrong a moment later."""
        self.forget()
        for kind in (Objects, StatusAnswered, ItemsAnswered, BackendState):
            court.hear(kind, self._input)
        court.on_list.append(self._filled)
        court.hear(StatusWanted, lambda _, wish: self.wished.__setitem__(wish.parent, self.now))
        court.hear(StatusAnswered, self._status_answered)
        court.hear(WriteEnded, self._write_ended)
        court.hear(RepairsWanted, self._repairs)
        court.hear(ItemsAnswered, self._items)
        court.hear(CallEnded, self._call_ended)
        court.hear(DrainWanted, lambda actor, _: setattr(self, "draining", True))
        court.hear(CloseUp, lambda actor, _: self._emptied(actor))
        court.hear(PassivateWanted, lambda _, message: self.falling.add(message.parent))
        court.hear(Passivated, self._passivated)
        self.stage.writer.on_send.append(lambda parent: self.writes.__setitem__(parent, self.now))
        self.stage.backend.on_send.append(self._sent)
        self.stage.on_mail.append(self._mail)
        for fact in (ActorCrashed, ActorWedged):
            self.stage.listen(fact, lambda fact: self._down(fact.actor))
        self.stage.listen(ActorRestarted, self._restarted)
        self.stage.listen(FuseTripped, lambda fact: setattr(self, "throttled", True))

    def forget(self) -> None:
        """A new process knows nothing."""
        self.born_s = self.now
        self.draining = self.throttled = False
        self.inputs: dict[str, float] = {}
        self.filled: dict[str, set[str]] = {}
        self.falling: set[ParentKey] = set()
        self.wished: dict[ParentKey, float] = {}
        self.writes: dict[ParentKey, float] = {}
        self.errors: dict[ParentKey, BaseException | None] = {}
        self.asked: dict[ParentKey, dict[str, str]] = {}
        self.answered: dict[str, float] = {}
        self.answered_s = -math.inf
        """When the last of them was."""
        self.sent: list[tuple[float, Call]] = []
        self.flying: dict[str, tuple[float, Call]] = {}
        self.failures = 0
        self.refused: set[str] = set()
        self.down: dict[str, float] = {}
        self.died_s: dict[str, float] = {}
        self.up: dict[str, bool] = {}

    @property
    def now(self) -> float:
        """The instant."""
        return self.stage.world.clock.now_s

    # --- following ----------------------------------------------------------------------------------------------------
    def _input(self, actor: str, _message: Any) -> None:
        self.inputs[actor] = self.now

    def _filled(self, actor: str, mail: Objects) -> None:
        self.filled.setdefault(actor, set()).add(mail.kind)

    def _emptied(self, actor: str) -> None:
        self.filled.pop(actor, None)

    def _down(self, actor: str) -> None:
        self.down[actor] = self.now
        self.died_s[actor] = self.now
        self._emptied(actor)

    def _restarted(self, fact: ActorRestarted) -> None:
        self.down.pop(fact.actor, None)

    def _passivated(self, _actor: str, message: Passivated) -> None:
        self.falling.discard(message.parent)
        if message.asleep:
            self._emptied(actor_of(message.parent))

    def _status_answered(self, actor: str, _answer: StatusAnswered) -> None:
        if actor.startswith("cluster/"):
            _, namespace, name = actor.split("/", 2)
            self.wished.pop(ParentKey(namespace, name), None)

    def _write_ended(self, _actor: str, ended: WriteEnded) -> None:
        self.writes.pop(ended.parent, None)
        self.errors[ended.parent] = ended.outcome.error

    def _repairs(self, _actor: str, wish: RepairsWanted) -> None:
        self.asked[wish.parent] = {item.uid: item.key for item in wish.items}

    def _items(self, _actor: str, message: ItemsAnswered) -> None:
        for key, (answer, _) in message.answers.items():
            if answer is not ItemAnswer.WITHDRAWN:
                self.answered[key] = self.answered_s = self.now

    def _sent(self, call: Call) -> None:
        self.sent.append((self.now, call))
        self.flying[call.id] = (self.now, call)

    def _call_ended(self, _actor: str, ended: CallEnded) -> None:
        self.failures += self._given_up(ended.call)
        self.flying.pop(ended.call, None)
        error = ended.outcome.error
        self.failures += error is not None
        self.throttled |= isinstance(error, Throttled)
        if isinstance(error, Refused):
            self.refused.update(item.uid for _, call in self.sent if call.id == ended.call for item in call.items)

    def _given_up(self, call: str) -> bool:
        """Whether it has been under way for longer than any may be: that is a failure, whatever comes of it later."""
        settings = self.stage.settings
        at_s = self.flying[call][0] if call in self.flying else math.inf
        return self.now - at_s >= settings.call_timeout_s + settings.lateness_s - EPS_S

    def _mail(self, kind: str, mail: Objects | StreamChanged) -> None:
        self.up[kind] = mail.up if isinstance(mail, StreamChanged) else self.up.get(kind, False) or mail.replace

    # --- what is asked of it ------------------------------------------------------------------------------------------
    def mail(self, actor: str) -> int:
        """How many messages wait for that actor."""
        return mail_of(self.stage.system, actor)

    def ails(self, actor: str) -> bool:
        """Whether that actor has died and was not restarted, or hangs in a message."""
        process = self.stage.process
        return actor in self.down or (process is not None and actor in process.hanging)

    def calm(self, *parts: str, for_s: float = 30.0) -> bool:
        """Whether none of these was impaired lately."""
        return self.stage.calm(self.now - for_s, *parts)

    def _calls_of(self, parent: ParentKey, since_s: float) -> list[Call]:
        return [call for at_s, call in self.sent if at_s >= since_s and any(i.parent == parent for i in call.items)]

    def _kinds(self, answer: Answer) -> list[str]:
        return [kind for kind in self.court.kinds if kind in answer.first.text]
