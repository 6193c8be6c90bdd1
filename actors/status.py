"""Writes statuses, one at a time per parent, the newest wish only; and Events, best effort.

At most ``in_flight_max`` writes run at once (as many as the executor has threads: what waits here can still be replaced by a
newer wish, what waits there cannot). A wish that arrives while an older one of the same parent is being written waits and
takes over the version of that write, so that we never conflict with ourselves. Transport errors are retried here with
backoff; a conflict is the ClusterActor's to decide, because only a newer view can.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any

from attrs import evolve

from .actor import Behaviour, Context
from .core.errors import ApiError, Conflict, Forbidden, Invalid, NotFound, Unauthorized
from .core.events import EventFailed, StatusFailed, StatusWritten
from .core.model import ParentKey, Wish
from .core.ports import Outcome, StatusWriter, Written
from .messages import (
    DrainWanted,
    EventEnded,
    EventWanted,
    RetryDue,
    StatusAnswered,
    StatusState,
    StatusWanted,
    WriteEnded,
)

RETRY_FIRST_S = 0.2  # of a write that failed on the way; doubles
RETRY_MAX_S = 5.0  # short: "right within 10 s of the server's return" leaves room for the debounce and one write
VERSIONS_MAX = 4096  # remembered for the milliseconds until the ClusterActor has our answer; arbitrary, ample for that
EVENTS_WAITING_MAX = 1000  # Events are best effort: the oldest go first


class _Lane:
    """One parent's wishes."""

    __slots__ = ("attempts", "current", "error", "fingerprint", "retry_s", "since_s", "waiting")

    def __init__(self, now_s: float) -> None:
        self.since_s = now_s  # of the write under way, else of the first wish
        self.retry_s: float | None = None  # when a write that failed is tried again
        self.error = ""
        self.current: StatusWanted | None = None  # being written
        self.fingerprint = 0  # of its status
        self.waiting: StatusWanted | None = None  # the newest wish after it
        self.attempts = 0


class StatusActor(Behaviour):
    """Executes ``StatusWanted`` and ``EventWanted`` through ``writer`` on the executor."""

    def __init__(self, ctx: Context, *, writer: StatusWriter, in_flight_max: int = 8) -> None:
        super().__init__(ctx)
        self._writer = writer
        self._in_flight_max = in_flight_max
        self._lanes: dict[ParentKey, _Lane] = {}
        # What we wrote last: uid, resourceVersion, and the status' fingerprint.
        self._versions: OrderedDict[ParentKey, tuple[str, int, int]] = OrderedDict()
        self._ready: deque[ParentKey] = deque()
        self._in_flight_count = 0
        self._events: deque[EventWanted] = deque(maxlen=EVENTS_WAITING_MAX)
        self._event_running = False
        self._drains: list[Callable[[], None]] = []
        self._draining = False
        self._wanted_count = 0
        self._written_count = 0
        self._failed_count = 0

    def on_receive(self, message: Any) -> Any:
        if isinstance(message, StatusWanted):
            self._wanted(message)
        elif isinstance(message, WriteEnded):
            self._ended(message)
        elif isinstance(message, RetryDue):
            self._ready.append(message.parent)
        elif isinstance(message, EventWanted):
            self._events.append(message)
        elif isinstance(message, EventEnded):
            self._event_running = False
            if message.outcome.error is not None:
                self.ctx.emit(EventFailed(parent=str(message.parent), message=str(message.outcome.error)))
        elif isinstance(message, DrainWanted):
            self._drain(message)
        else:
            super().on_receive(message)
        self._begin()

    def _drain(self, message: DrainWanted) -> None:
        self._draining = True
        self._drains.append(message.reply)
        for key, lane in self._lanes.items():
            if lane.current is None and self.ctx.scheduled(("retry", key)):  # once more, now: there is no later
                self.ctx.cancel(("retry", key))
                self._ready.append(key)

    def _wanted(self, wish: StatusWanted) -> None:
        self._wanted_count += 1
        lane = self._lanes.get(wish.parent)
        if lane is None:
            lane = self._lanes[wish.parent] = _Lane(self.ctx.clock.now())
        if lane.current is None and lane.waiting is None:
            self._ready.append(wish.parent)
        lane.waiting = wish

    def _begin(self) -> None:
        while self._ready and self._in_flight_count < self._in_flight_max:
            key = self._ready.popleft()
            lane = self._lanes.get(key)
            if lane is None or lane.current is not None or lane.waiting is None:
                continue
            wish, lane.waiting = lane.waiting, None
            lane.fingerprint = _fingerprint(wish.wish)
            uid, version, fingerprint = self._versions.get(key, ("", 0, 0))
            if uid == wish.uid and wish.version <= version:  # made before its ClusterActor heard of our own last write
                if fingerprint == lane.fingerprint:
                    self._answer_written(wish, Written(version=version, status=wish.status))
                    del self._lanes[key]
                    continue
                wish = wish if wish.version == version else evolve(wish, version=version)
            lane.current, lane.since_s, lane.retry_s = wish, self.ctx.clock.now(), None
            self._in_flight_count += 1
            self.ctx.run("status", self._write_of(wish), self._reply_of(wish))
        if self._events and not self._event_running:
            event = self._events.popleft()
            self._event_running = True
            self.ctx.run(
                "events",
                lambda: self._writer.record_event(event.parent, event.uid, event.note),
                lambda outcome: EventEnded(parent=event.parent, outcome=outcome),
            )
        if self._drains and not self._lanes and not self._events and not self._event_running:
            replies, self._drains = self._drains, []
            for reply in replies:
                reply()

    def _write_of(self, wish: StatusWanted) -> Callable[[], Any]:
        writer = self._writer
        return lambda: writer.patch_status(wish.parent, wish.uid, wish.version, wish.status)

    def _reply_of(self, wish: StatusWanted) -> Callable[[Outcome[Written]], WriteEnded]:
        return lambda outcome: WriteEnded(parent=wish.parent, sequence=wish.sequence, outcome=outcome)

    def _ended(self, ended: WriteEnded) -> None:
        self._in_flight_count -= 1
        lane = self._lanes[ended.parent]
        wish = lane.current
        assert wish is not None
        lane.current = None
        error = ended.outcome.error
        if error is None and ended.outcome.value is not None:
            self._written(wish, ended.outcome.value)
        elif isinstance(error, Conflict):
            self._failed(wish, error, None)
            self._answer(wish, StatusAnswered(sequence=wish.sequence, state=StatusState.CONFLICT, message=str(error)))
            waiting = lane.waiting
            if waiting is not None and waiting.uid == wish.uid and waiting.version <= wish.version:
                # Made from the same stale view: it goes the same way.
                self._answer(
                    waiting, StatusAnswered(sequence=waiting.sequence, state=StatusState.CONFLICT, message=str(error))
                )
                lane.waiting = None
        elif isinstance(error, NotFound):
            self._versions.pop(wish.parent, None)
            self._answer(wish, StatusAnswered(sequence=wish.sequence, state=StatusState.GONE, message=str(error)))
        elif isinstance(error, (Invalid, Forbidden, Unauthorized)):
            self._failed(wish, error, None)
            self._answer(wish, StatusAnswered(sequence=wish.sequence, state=StatusState.REFUSED, message=str(error)))
        else:
            self._retry(lane, wish, error)
            return
        lane.attempts = 0
        if lane.waiting is not None:
            self._ready.append(ended.parent)
        else:
            del self._lanes[ended.parent]
            if not self._lanes:
                self._lanes.clear()  # an emptied dict keeps its table, of the size that it once had

    def _written(self, wish: StatusWanted, written: Written) -> None:
        self._written_count += 1
        self._versions[wish.parent] = (wish.uid, written.version, self._lanes[wish.parent].fingerprint)
        self._versions.move_to_end(wish.parent)
        if len(self._versions) > VERSIONS_MAX:
            self._versions.popitem(last=False)
        self.ctx.emit(StatusWritten(parent=str(wish.parent), version=written.version))
        self._answer_written(wish, written)

    def _answer_written(self, wish: StatusWanted, written: Written) -> None:
        self._answer(wish, StatusAnswered(sequence=wish.sequence, state=StatusState.WRITTEN, written=written))

    def _retry(self, lane: _Lane, wish: StatusWanted, error: BaseException | None) -> None:
        """The outcome is unknown or the way was blocked: the same patch again is harmless, its version guards it."""
        lane.attempts += 1
        ceiling_s = min(RETRY_MAX_S, RETRY_FIRST_S * 2.0 ** min(lane.attempts - 1, 20))
        after_s = self.ctx.random.uniform(ceiling_s / 2, ceiling_s)
        if isinstance(error, ApiError) and error.retry_after_s is not None:
            after_s = max(after_s, error.retry_after_s)
        if lane.waiting is None:
            lane.waiting = wish
        if self._draining:  # the process ends: what did not go through now is the next process's to write
            del self._lanes[wish.parent]
            return
        self._failed(wish, error, after_s)
        lane.retry_s, lane.error = self.ctx.clock.now() + after_s, f"{type(error).__name__}: {error}"
        self.ctx.schedule(("retry", wish.parent), after_s, RetryDue(parent=wish.parent))

    def _failed(self, wish: StatusWanted, error: BaseException | None, retry_s: float | None) -> None:
        self._failed_count += 1
        name = type(error).__name__
        self.ctx.emit(StatusFailed(parent=str(wish.parent), reason=name, message=str(error), retry_s=retry_s))

    def _answer(self, wish: StatusWanted, answer: StatusAnswered) -> None:
        self.ctx.tell(wish.reply_to, answer)

    def statistics(self) -> dict[str, object]:
        return {
            "waiting": len(self._lanes), "in_flight": self._in_flight_count, "wanted": self._wanted_count,
            "written": self._written_count, "failed": self._failed_count, "events_waiting": len(self._events),
        }  # fmt: skip


def _fingerprint(wish: Wish) -> int:
    """Tells statuses apart without keeping them: 64 bits, compared with one other."""
    return hash(wish.text)
