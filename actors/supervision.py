"""The mechanism of supervision: who is restarted, when, and when to give up. The tree itself is data, in ``tree``.

Erlang/OTP's model and words; the arithmetic is in ``core.restarts``. ``Supervisor`` is one_for_one over a fixed list,
started in order and stopped in reverse. The dynamic supervisor (one child per parent, each with a budget of its own) is
the directory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import field, frozen

from .actor import Behaviour, Context, Factory, Ref, Resume, Stop
from .core.events import Escalated
from .core.restarts import Budget, RestartPolicy, Verdict
from .messages import Down, RestartDue, StopOverdue, StopTree


@frozen(kw_only=True)
class ChildSpec:
    """One static child: all are permanent. ``stop_within_s`` bounds its part of the shutdown."""

    name: str
    factory: Factory
    policy: RestartPolicy = field(factory=RestartPolicy)
    stop_within_s: float = 5.0


class Supervisor(Behaviour):
    """one_for_one over ``specs``; when a child's budget is spent, ``give_up(reason)`` ends the system.

    ``started`` is called with the refs by name before any child is started... in order, as each one starts. The root of the
    tree: a crash of its own is fatal, because nobody is above it.
    """

    def __init__(
        self, ctx: Context, *, specs: tuple[ChildSpec, ...], started: Callable[[str, Ref], None],
        give_up: Callable[[str], None], stopped: Callable[[list[str]], None],
    ) -> None:  # fmt: skip
        super().__init__(ctx)
        self._specs = {spec.name: spec for spec in specs}
        self._budgets = {spec.name: Budget(spec.policy) for spec in specs}
        self._started = started
        self._give_up = give_up
        self._stopped = stopped
        self._restarts: dict[str, int] = dict.fromkeys(self._specs, 0)
        self._stopping: list[str] | None = None
        self._overdue: list[str] = []

    def on_start(self) -> None:
        for spec in self._specs.values():
            self._started(spec.name, self.ctx.spawn(spec.name, spec.factory))

    def on_receive(self, message: Any) -> Any:
        if isinstance(message, Down):
            self._down(message)
        elif isinstance(message, RestartDue):
            if self._stopping is None:
                self._restarts[message.name] += 1
                self.ctx.tell(self.ctx.children[message.name], Resume())
        elif isinstance(message, StopTree):
            if self._stopping is None:
                self._stopping = list(self._specs)
                self._stop_next()
        elif isinstance(message, StopOverdue):
            if self._stopping and self._stopping[-1] == message.name:
                self._overdue.append(self._stopping.pop())
                self._stop_next()
        else:
            super().on_receive(message)

    def _down(self, down: Down) -> None:
        if self._stopping is not None:
            if down.reason == "stopped" and self._stopping and self._stopping[-1] == down.name:
                self._stopping.pop()
                self.ctx.cancel(("stop", down.name))
                self._stop_next()
            return
        verdict, after_s = self._budgets[down.name].died(self.ctx.clock.now(), down.uptime_s, self.ctx.random)
        if down.reason == "stopped":
            self._escalate(f"{down.name} has stopped by itself")
        elif verdict is Verdict.GIVE_UP:
            self._escalate(f"{down.name} died too often, last of {down.error}")
        else:
            restart = RestartDue(name=down.name)
            self.ctx.schedule(("restart", down.name), after_s, restart)

    def _escalate(self, reason: str) -> None:
        self.ctx.emit(Escalated(supervisor=self.ctx.name, reason=reason))
        self._give_up(reason)

    def _stop_next(self) -> None:
        assert self._stopping is not None
        if not self._stopping:
            self._stopped(self._overdue)
            self.ctx.stop()
            return
        name = self._stopping[-1]
        ref = self.ctx.children[name]
        self.ctx.schedule(("stop", name), self._specs[name].stop_within_s, StopOverdue(name=name))
        self.ctx.tell(ref, Stop())

    def statistics(self) -> dict[str, object]:
        return {"restarts": dict(self._restarts)}
