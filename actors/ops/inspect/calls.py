"""The last batch calls, item by item: what went out, how long it took, and what the backend said of each.

The facts count items and name none. The names are in the call and in the reply, which pass through the port: so the port is
looked at, and nothing is copied but two references.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from attrs import define

from ...core.ports import Backend, Call, Clock, Later, Reply

CALLS_KEPT = 100  # a hundred items each by default: some megabytes at most, shared with the queue while they wait


@define(eq=False)
class SeenCall:
    """One call. ``ended_s`` None: no answer yet."""

    call: Call
    sent_s: float
    sent_wall_s: float
    ended_s: float | None = None
    reply: Reply | None = None
    error: BaseException | None = None

    @property
    def outcome(self) -> str:
        """In flight, answered, or the error's name."""
        if self.ended_s is None:
            return "in flight"
        return type(self.error).__name__ if self.error is not None else "answered"

    def items(self) -> list[dict[str, Any]]:
        """A row for each item, with what came of it."""
        results = self.reply.results if self.reply is not None else {}
        rows = []
        for item in self.call.items:
            result = results.get(item.key)
            if result is not None:
                outcome, message = result.status, result.message
            elif self.reply is not None:
                outcome, message = "missing", "not in the reply: sent again"
            else:
                outcome, message = self.outcome, str(self.error or "")
            rows.append({
                "parent": str(item.parent), "kind": item.kind, "name": str(item.payload.get("name", item.uid)),
                "outcome": outcome, "retry": item.retry, "incident": item.incident, "key": item.key, "message": message,
            })  # fmt: skip
        return rows


def kept_calls() -> deque[SeenCall]:
    """Where the last ones are kept."""
    return deque(maxlen=CALLS_KEPT)


class SeenBackend(Backend):
    """The port, with the last calls kept in ``calls``. Executor's threads."""

    def __init__(self, backend: Backend, clock: Clock, calls: deque[SeenCall]) -> None:
        self.capabilities = backend.capabilities
        self.calls = calls
        self._backend = backend
        self._clock = clock

    def send(self, call: Call) -> Reply | Later[Reply]:
        """See the port."""
        seen = SeenCall(call, self._clock.now(), self._clock.wall())
        self.calls.append(seen)
        return self._watched(seen, lambda: self._backend.send(call))

    def _watched(self, seen: SeenCall, ask: Callable[[], Reply | Later[Reply]]) -> Reply | Later[Reply]:
        try:
            answer = ask()
        except BaseException as error:
            seen.error, seen.ended_s = error, self._clock.now()
            raise
        if isinstance(answer, Later):
            result = answer.result
            return Later(answer.delay_s, lambda: self._watched(seen, result))
        seen.reply, seen.ended_s = answer, self._clock.now()
        return answer
