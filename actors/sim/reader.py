"""The reader in virtual time: the same decisions, decoder and intake as over HTTP, on the model API server in this process.

Only what ``edge.reader`` does with sockets and threads is done here with timers: a request takes ``rtt_s``, a commit wakes the
open watches, whose lines arrive ``rtt_s`` later and pass through the real decoder. Faults are played on it: ``cut`` breaks an
open stream, ``swallow`` makes it half-open (nothing arrives, nothing ends), ``fail`` answers requests in the model's place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from ..core.decode import Decoder, Page
from ..core.errors import ApiError, Unreachable
from ..core.fleet import FleetDefinition
from ..core.intake import Intake
from ..core.model import ParentKey
from ..core.ports import Cancel, Clock, Facts, Objects, Random, StreamChanged
from ..core.stream import PAGE_ITEMS, Action, ListPage, Pause, Stream, Watch, api_error
from .apierrors import ApiError as Refusal
from .apiserver import ApiServerModel
from .history import WatchCursor

__all__ = ["SimReader", "Timers"]

Deliver = Callable[[Objects | StreamChanged], None]


class Timers(Protocol):
    """What the reader needs of the simulated world."""

    @property
    def clock(self) -> Clock: ...

    @property
    def random(self) -> Random: ...

    @property
    def facts(self) -> Facts: ...

    def after(self, delay_s: float, callback: Callable[[], None]) -> Cancel:
        """Call back after so much virtual time."""


class _Kind:
    """One kind: its intake survives new epochs, its stream does not. ``turn`` makes callbacks of the past stale."""

    def __init__(self, fleet: FleetDefinition, kind: str, namespace: str) -> None:
        self.decoder = Decoder(fleet, kind)
        ref = self.decoder.ref
        self.resource = f"{ref.plural}.{ref.group}" if ref.group else ref.plural
        self.namespace = namespace if ref.namespaced else ""
        beats = kind != fleet.parent.kind and bool(fleet.child(kind).health.heartbeat)
        self.intake = Intake(kind, beats=beats)
        self.stream: Stream | None = None
        self.cursor: WatchCursor | None = None
        self.turn = 0
        self.pausing = False
        self.draining = False
        self.swallowed = False
        self.alarm: Cancel | None = None


class SimReader:
    """``Reader`` on ``api``. ``rtt_s``: what a request, and a change on its way to us, take (0: at once)."""

    def __init__(
        self,
        api: ApiServerModel,
        fleet: FleetDefinition,
        timers: Timers,
        *,
        namespace: str = "",
        rtt_s: float = 0.0,
        streamed_list: bool = True,
    ) -> None:
        self.rtt_s = rtt_s
        self.fail: Callable[[str, Action], ApiError | None] = lambda _kind, _action: None
        self.requests: dict[str, int] = {ref.kind: 0 for ref in fleet.kinds}
        """Requests sent, by kind."""
        self._api, self._timers, self._streamed_list = api, timers, streamed_list
        self._kinds = {ref.kind: _Kind(fleet, ref.kind, namespace) for ref in fleet.kinds}

    # --- the port ---

    def start(self, kind: str, epoch: int, deliver: Deliver) -> None:
        """See ``Reader``."""
        each = self._kinds[kind]
        self._close(each)
        if each.stream is not None:
            each.stream.close(self._timers.clock.now())
        each.stream = Stream(
            each.decoder, each.intake, epoch=epoch, deliver=deliver, facts=self._timers.facts,
            random=self._timers.random, streamed_list=self._streamed_list,
        )  # fmt: skip
        self._later(each, 0.0, lambda: self._step(each))

    def set_timeout(self, kind: str, parent: ParentKey, timeout_s: float | None) -> None:
        """See ``Reader``."""
        each = self._kinds[kind]
        each.intake.set_timeout(parent, timeout_s, self._timers.clock.now())
        self._timers.after(0.0, lambda: self._tick(each))  # mail goes out on its own turn, never inside the caller's

    def relist(self, kind: str) -> None:
        """See ``Reader``."""
        each = self._kinds[kind]
        if each.stream is None:
            return
        each.stream.relist()
        if each.pausing:
            self._close(each)
            self._later(each, 0.0, lambda: self._step(each))
        else:
            self._timers.after(0.0, lambda: self._tick(each))

    def stop(self, timeout_s: float) -> None:
        """See ``Reader``."""
        for each in self._kinds.values():
            self._close(each)
            if each.stream is not None:
                each.stream.close(self._timers.clock.now())
            each.stream = None

    # --- faults ---

    def cut(self, kind: str, *, agreed: bool = False) -> None:
        """Break that kind's open watch (``agreed``: the server ends it in good order)."""
        each = self._kinds[kind]
        if each.cursor is not None:
            self._ended(each, None if agreed else Unreachable(f"{kind}: the stream was cut"))

    def swallow(self, kind: str) -> None:
        """From now on that kind's open watch delivers nothing, and does not end either."""
        each = self._kinds[kind]
        each.swallowed = each.cursor is not None

    def feed(self, kind: str, chunk: bytes) -> None:
        """Bytes that the server never meant, on that kind's open watch."""
        each = self._kinds[kind]
        if each.cursor is not None and each.stream is not None:
            each.stream.feed(chunk, self._timers.clock.now())
            self._look(each)

    # --- inside ---

    def _later(self, each: _Kind, delay_s: float, call: Callable[[], None]) -> None:
        turn = each.turn

        def unless_stale() -> None:
            if each.turn == turn:
                call()

        self._timers.after(delay_s, unless_stale)

    def _close(self, each: _Kind) -> None:
        """Forget the request under way and all that was to come of it."""
        each.turn += 1
        each.pausing = each.draining = each.swallowed = False
        if each.alarm is not None:
            each.alarm()
            each.alarm = None
        if each.cursor is not None:
            each.cursor.close()
            each.cursor = None

    def _step(self, each: _Kind) -> None:
        assert each.stream is not None
        action = each.stream.action(self._timers.clock.now())
        if isinstance(action, Pause):
            each.pausing = True
            self._later(each, action.delay_s, lambda: self._step(each))
            return
        each.pausing = False
        self.requests[each.decoder.kind] += 1
        self._later(each, self.rtt_s, lambda: self._answer(each, action))
        self._set_alarm(each)

    def _answer(self, each: _Kind, action: ListPage | Watch) -> None:
        try:
            error = self.fail(each.decoder.kind, action)
            if error is None and isinstance(action, ListPage):
                self._list(each, action)
            elif error is None and isinstance(action, Watch):
                self._open(each, action)
        except Refusal as refusal:
            error = _translated(refusal)
        if error is not None:
            self._ended(each, error)

    def _list(self, each: _Kind, action: ListPage) -> None:
        assert each.stream is not None
        listing = self._api.list(each.resource, namespace=each.namespace, limit=PAGE_ITEMS, continue_token=action.token)
        items = [msgspec.Raw(stored.raw) for stored in listing.items]
        page = Page(items, listing.resource_version, listing.continue_token)
        each.stream.page(page, self._timers.clock.now(), self._timers.clock.wall())
        self._later(each, 0.0, lambda: self._step(each))

    def _open(self, each: _Kind, action: Watch) -> None:
        assert each.stream is not None
        turn = each.turn

        def wake() -> None:  # inside the commit: only note it
            if each.turn == turn and not each.draining:
                each.draining = True
                self._later(each, self.rtt_s, lambda: self._drain(each))

        if action.version is None:
            each.cursor = self._api.watch(
                each.resource, namespace=each.namespace, send_initial_events=True, match="NotOlderThan",
                bookmarks=True, wake=wake,
            )  # fmt: skip
        else:
            each.cursor = self._api.watch(
                each.resource, namespace=each.namespace, resource_version=str(action.version), bookmarks=True, wake=wake
            )
        each.stream.opened(self._timers.clock.now(), self._timers.clock.wall())
        self._later(each, action.timeout_s, lambda: self._time_out(each))
        self._drain(each)

    def _drain(self, each: _Kind) -> None:
        each.draining = False
        if each.cursor is None or each.swallowed or each.stream is None:
            return
        cursor, turn = each.cursor, each.turn
        try:
            while cursor.pending() and each.turn == turn:
                each.stream.lines([event.line() for event in cursor.poll()], self._timers.clock.now())
        except Refusal as refusal:
            self._ended(each, _translated(refusal))
            return
        if each.turn == turn:
            self._look(each)

    def _time_out(self, each: _Kind) -> None:
        """The server ends the watch as agreed, after a bookmark."""
        if each.swallowed or each.cursor is None or each.stream is None:
            return
        turn = each.turn
        self._drain(each)
        if each.turn == turn:
            each.stream.lines([each.cursor.bookmark().line()], self._timers.clock.now())
            self._ended(each, None)

    def _ended(self, each: _Kind, error: ApiError | None) -> None:
        assert each.stream is not None
        self._close(each)
        each.stream.ended(self._timers.clock.now(), error)
        self._later(each, 0.0, lambda: self._step(each))

    def _tick(self, each: _Kind) -> None:
        if each.stream is not None:
            each.stream.tick(self._timers.clock.now())
            self._look(each)

    def _look(self, each: _Kind) -> None:
        """After anything that may have changed the stream's mind: end it if it should, else wait for its next deadline."""
        assert each.stream is not None
        if each.stream.should_end(self._timers.clock.now()):
            self._ended(each, None)
        else:
            self._set_alarm(each)

    def _set_alarm(self, each: _Kind) -> None:
        if each.alarm is not None:
            each.alarm()
            each.alarm = None
        wake_s = each.stream.wake_s() if each.stream is not None else None
        if wake_s is not None:
            delay_s = max(0.0, wake_s - self._timers.clock.now()) + 0.001
            each.alarm = self._timers.after(delay_s, lambda: self._tick(each))


def _translated(refusal: Refusal) -> ApiError:
    wait_s = None if refusal.retry_after_s is None else float(refusal.retry_after_s)
    return api_error(refusal.code, refusal.message, wait_s)
