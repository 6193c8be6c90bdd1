"""The network between the operator and its two servers, on the model servers: where requests and answers are lost or late.

A request *arrives* at one instant and its answer at another, and the death of the operator's process stops neither. Faults
are set as data on ``StageWriter.fates`` and ``StageBackend.fates``: what becomes of each request while they hold.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from attrs import define, evolve, field

from ..core.errors import (
    ApiThrottled,
    CallTimeout,
    Conflict,
    Forbidden,
    Invalid,
    Malformed,
    Misconfigured,
    NotFound,
    Refused,
    Throttled,
    Unauthorized,
    Unavailable,
    Unreachable,
)
from ..core.fleet import FleetDefinition
from ..core.model import EventNote, ParentKey
from ..core.ports import Backend, Call, ItemResult, Later, Reply, StatusWriter, Written
from ..core.status_wire import patch_of, status_of, subresource_of
from .apierrors import ApiError as Refusal
from .apiserver import ApiServerModel
from .backend import Answer, BackendModel
from .world import World

__all__ = ["Fate", "StageBackend", "StageWriter"]

WRITE_TIMEOUT_S = 10.0  # of the real writer's requests
ANSWERS: dict[str, Callable[[float | None], Exception]] = {
    "conflict": lambda wish: Conflict("409: planted"),
    "forbidden": lambda wish: Forbidden("403: planted"),
    "unauthorized": lambda wish: Unauthorized("401: planted"),
    "invalid": lambda wish: Invalid("422: planted"),
    "missing": lambda wish: NotFound("404: planted"),
    "unavailable": lambda wish: Unreachable("503: planted"),
    "throttled": lambda wish: ApiThrottled("429: planted", retry_after_s=wish),
}


@define(eq=False)
class Fate:
    """What becomes of requests until ``until_s``, for those that ``share`` (0 to 1) draws.

    ``do`` for status writes: ``lost`` (never arrives), ``deaf`` (arrives and is executed; the answer is lost), ``slow``
    (arrives ``seconds`` later), ``tardy`` (is executed in time, and answered ``seconds`` later), or a key of ``ANSWERS``.
    For calls: ``refused`` (no connection), ``lost``, ``late`` (arrives ``seconds`` after the call's own timeout), ``deaf``,
    ``slow``.
    """

    do: str
    until_s: float
    share: float = 1.0
    seconds: float = 0.0
    about: str = ""
    """Only of parents whose name begins so."""
    count: int = 1_000_000
    struck: int = 0
    on_strike: Callable[[], None] = field(default=lambda: None)


class _Link:
    """What both have: a round trip, and fates."""

    def __init__(self, world: World, rtt_s: float) -> None:
        self.rtt_s = rtt_s
        self.fates: list[Fate] = []
        self._world = world

    def fate(self, name: str) -> Fate | None:
        """What becomes of the request that is being sent; None: nothing bad."""
        now = self._world.clock.now()
        if self.fates:
            self.fates = [fate for fate in self.fates if fate.until_s > now and fate.count > 0]
        for fate in self.fates:
            if name.startswith(fate.about) and self._world.random.random() < fate.share:
                fate.struck += 1
                fate.count -= 1
                fate.on_strike()
                return fate
        return None


class StageWriter(_Link, StatusWriter):
    """Writes statuses to the model. ``on_write(parent, uid, changed, status)`` hears each that was taken."""

    def __init__(self, world: World, model: ApiServerModel, fleet: FleetDefinition, rtt_s: float) -> None:
        super().__init__(world, rtt_s)
        self.on_write: list[Callable[[ParentKey, str, bool, dict[str, Any]], None]] = []
        self.on_send: list[Callable[[ParentKey], None]] = []
        """Hears of each write that leaves, whatever becomes of it."""
        self.on_arrival: list[Callable[[ParentKey, str], None]] = []
        """Hears (parent, uid) of each write that reaches the server, taken or not."""
        self.writes_count = 0
        self.writing = False
        """While a status of ours is being committed."""
        self.events: list[tuple[float, ParentKey, EventNote]] = []
        self._model = model
        self._fleet, self._resource = fleet, fleet.parent.resource

    def patch_status(self, parent: ParentKey, uid: str, version: int, status: dict[str, Any]) -> Later[Written]:
        """See the port."""
        for heard in self.on_send:
            heard(parent)
        fate = self.fate(parent.name)
        half_s = self.rtt_s / 2
        if fate is None:
            return Later(half_s, lambda: self._arrive(parent, uid, version, status, half_s))
        if fate.do == "lost":
            return Later(WRITE_TIMEOUT_S, lambda: _raise(Unreachable("no answer: planted")))
        if fate.do == "deaf":
            return Later(half_s, lambda: self._deafen(parent, uid, version, status))
        if fate.do == "slow":
            return Later(half_s + fate.seconds, lambda: self._arrive(parent, uid, version, status, half_s))
        if fate.do == "tardy":
            return Later(half_s, lambda: self._arrive(parent, uid, version, status, half_s + fate.seconds))
        return Later(self.rtt_s, lambda: _raise(ANSWERS[fate.do](fate.seconds or None)))

    def record_event(self, parent: ParentKey, uid: str, note: EventNote) -> None:
        """Keeps it."""
        self.events.append((self._world.clock.now(), parent, note))

    def _deafen(self, parent: ParentKey, uid: str, version: int, status: dict[str, Any]) -> Later[Written]:
        try:
            self._patch(parent, uid, version, status)
        except (Conflict, NotFound, Invalid, Unreachable):
            pass  # whatever the server said, nobody hears it
        return Later(WRITE_TIMEOUT_S, lambda: _raise(Unreachable("the answer was lost: planted")))

    def _arrive(
        self, parent: ParentKey, uid: str, version: int, status: dict[str, Any], back_s: float
    ) -> Later[Written]:
        try:
            written = self._patch(parent, uid, version, status)
        except (Conflict, NotFound, Invalid, Unreachable) as refused:
            error = refused  # the name of an except clause does not outlive it
            return Later(back_s, lambda: _raise(error))
        return Later(back_s, lambda: written)

    def _patch(self, parent: ParentKey, uid: str, version: int, status: dict[str, Any]) -> Written:
        metadata = {"name": parent.name, "uid": uid, "resourceVersion": str(version)}
        body = patch_of(self._fleet, metadata, status)
        for heard in self.on_arrival:
            heard(parent, uid)
        before = self._model.resource_version
        self.writing = True
        try:
            stored = self._model.patch(self._resource, parent.name, body, parent.namespace, subresource_of(self._fleet))
        except Refusal as refusal:
            kind = {409: Conflict, 404: NotFound, 422: Invalid}.get(refusal.code, Unreachable)
            raise kind(refusal.message) from refusal
        finally:
            self.writing = False
        self.writes_count += 1
        for hears in self.on_write:
            hears(parent, uid, self._model.resource_version != before, status)
        return Written(version=stored.resource_version, status=status_of(self._fleet, stored.obj))


class StageBackend(_Link, Backend):
    """Calls to the model. ``on_send(call)`` hears each as it leaves."""

    def __init__(self, world: World, model: BackendModel, rtt_s: float) -> None:
        super().__init__(world, rtt_s)
        self.model = model
        self.on_send: list[Callable[[Call], None]] = []
        self.on_arrival: list[Callable[[Call, Answer], None]] = []

    def send(self, call: Call) -> Later[Reply]:
        """See the port."""
        for heard in self.on_send:
            heard(call)
        fate = self.fate(call.items[0].parent.name if call.items else "")
        there_s = self._world.random.random() * self.rtt_s
        back_s = self.rtt_s - there_s
        if fate is None:
            return Later(there_s, lambda: self._arrive(call, there_s, back_s))
        if fate.do == "refused":
            return Later(self.rtt_s, lambda: _raise(Unavailable("connection refused: planted", arrived=False)))
        if fate.do == "lost":
            return Later(call.timeout_s, lambda: _raise(CallTimeout("no answer: planted")))
        if fate.do == "late":
            self._world.after(call.timeout_s + fate.seconds, lambda: self._unheard(call))
            return Later(call.timeout_s, lambda: _raise(CallTimeout("no answer: planted")))
        if fate.do == "deaf":
            self._world.after(there_s, lambda: self._unheard(call))
            return Later(call.timeout_s, lambda: _raise(CallTimeout("the answer was lost: planted")))
        assert fate.do == "slow"
        slow_s = min(there_s + fate.seconds, call.timeout_s * 0.9)
        return Later(slow_s, lambda: self._arrive(call, slow_s, back_s))

    def _unheard(self, call: Call) -> None:
        self._receive(call)

    def _receive(self, call: Call) -> Answer:
        body = msgspec.json.encode({"nodes": [item.payload for item in call.items]})
        answer = self.model.arrive(body, call.id, self._world.clock.now())
        for heard in self.on_arrival:
            heard(call, answer)
        return answer

    def _arrive(self, call: Call, there_s: float, back_s: float) -> Later[Reply]:
        """The adapter allows so long for a call in all, however slow the way there was."""
        answer, left_s = self._receive(call), call.timeout_s - there_s
        if answer.code == 0 or answer.delay_s + back_s > left_s:
            return Later(left_s, lambda: _reply(call, evolve(answer, code=0)))
        return Later(answer.delay_s + back_s, lambda: _reply(call, answer))


def _reply(call: Call, answer: Answer) -> Reply:
    """What the real adapter makes of that answer."""
    if answer.code in (0, -1):
        raise CallTimeout("no answer") if answer.code == 0 else Unavailable("the connection was cut")
    retry = answer.headers.get("Retry-After")
    if answer.code == 429 or (answer.code == 503 and retry is not None):
        raise Throttled("refused", retry_after_s=float(retry) if retry is not None else None)
    if answer.code >= 500:
        raise Unavailable(f"{answer.code}")
    if 300 <= answer.code < 400 or answer.code in (401, 403, 404, 405):
        raise Misconfigured(f"{answer.code}")
    if answer.code >= 400:
        raise Refused(f"{answer.code}")
    try:
        results = msgspec.json.decode(answer.body).get("results")
    except (msgspec.DecodeError, AttributeError) as error:
        raise Malformed("nonsense") from error
    if results is None:
        return Reply(results={item.key: ItemResult(status="accepted") for item in call.items})
    keys = {item.key for item in call.items}
    known = {
        each["key"]: ItemResult(
            status=each["status"], message=each.get("message", ""), retry_after_s=each.get("retryAfterSeconds")
        )
        for each in results
        if each["key"] in keys
    }
    return Reply(results=known, unknown_count=len(results) - len(known))


def _raise(error: Exception) -> Any:
    raise error
