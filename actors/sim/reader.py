"""The reader in virtual time: the same decisions, decoder and intake as over HTTP, on the model API server in this process.

Only what ``edge.reader`` does with sockets and threads is done here with timers: a request takes ``rtt_s``, a commit wakes the
open watches, whose lines arrive ``rtt_s`` later and pass through the real decoder. Faults are played on it: ``cut`` breaks an
open stream, perhaps in the middle of a line, ``swallow`` makes it half-open (nothing arrives, nothing ends), ``fail`` answers
requests in the model's place, ``mute`` lets them wait for an answer for ever, ``lag_s`` makes one kind slow, ``mangle`` has
its way with the lines, and ``crash`` is a bug of ours in the thread that reads one kind.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from math import inf
from typing import Protocol

import msgspec

from ..core.decode import Decoder, Page
from ..core.errors import ApiError, Expired, Unreachable
from ..core.events import StreamDown
from ..core.fleet import FleetDefinition
from ..core.intake import Intake
from ..core.intakes import intake_of
from ..core.joins import JoinedIntake, Side, SideKind, Together, sides_of
from ..core.model import ParentKey
from ..core.ports import Cancel, Clock, Facts, Objects, Random, StreamChanged
from ..core.stream import PAGE_ITEMS, WATCH_S, Action, ListPage, Pause, Stream, Watch, api_error
from .apierrors import ApiError as Refusal
from .apiserver import ApiServerModel
from .history import WatchCursor

__all__ = ["SimReader", "Timers"]

REWIND_LINES_MAX = 64  # of each kind's stream, to be brought again by ``rewind``; arbitrary
CRASH_PAUSE_MAX_S = 5.0  # as the real reader's
ALARM_AFTER_S = 0.001  # how long after a deadline it is looked at, as a thread that slept until then

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
    """One kind: its intake survives new epochs, its stream does not. ``turn`` makes callbacks of the past stale.

    ``side``: it is watched for another, ``main``, and feeds its part of that one's intake.
    """

    def __init__(
        self, fleet: FleetDefinition, kind: str, namespace: str, side: SideKind | None = None, main: _Kind | None = None
    ) -> None:
        self.name: str = kind if main is None else f"{kind}/{main.name}"
        self.decoder = Decoder(fleet if side is None else side.fleet, kind)
        self.main = main or self
        ref = self.decoder.ref
        self.resource = ref.resource
        self.labels, self.fields = ref.labels, ref.fields
        self.namespace = (namespace if side is None else side.namespace or namespace) if ref.namespaced else ""
        self.fleet = fleet
        self.sides: list[_Kind] = []
        if main is None:
            self.whole: Intake = intake_of(fleet, kind)
            self.sides += [_Kind(fleet, each.ref.kind, namespace, each, self) for each in sides_of(fleet, kind)]
        self.stream: Stream | None = None
        self.cursor: WatchCursor | None = None
        self.turn = 0
        self.pausing = False
        self.draining = False
        self.swallowed = False
        self.unanswered = False
        self.alarm: Cancel | None = None
        self.alarm_s = 0.0
        self.opened_s: float | None = None
        self.told = 0
        self.timeouts: dict[ParentKey, float] = {}
        self.begun: tuple[int, Deliver] | None = None
        self.crashes = 0
        self.recent: deque[bytes] = deque(maxlen=REWIND_LINES_MAX)

    @property
    def intake(self) -> Intake | Side:
        """What its stream feeds."""
        whole = self.main.whole
        return (
            whole.sides[self.main.sides.index(self)]
            if self is not self.main and isinstance(whole, JoinedIntake)
            else whole
        )


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
        watch_s: int = WATCH_S,
        page_items: int = PAGE_ITEMS,
        server_wall: Callable[[], float] | None = None,
    ) -> None:
        self.rtt_s = rtt_s
        self.lag_s: dict[str, float] = {}
        """By kind: how much later than ``rtt_s`` its changes arrive."""
        self.fail: Callable[[str, Action], ApiError | None] = lambda _kind, _action: None
        self.mute: Callable[[str, Action], bool] = lambda _kind, _action: False
        self.mangle: Callable[[str, int, list[bytes]], list[bytes]] | None = None
        """Given the kind, a number that differs for each stream, and the lines."""
        self.staleness: Callable[[str], int] = lambda _kind: 0
        """By kind: how many changes behind the server is that answers lists."""
        self.bend: Callable[[bytes], bytes] = lambda raw: raw
        """What a list makes of an object's JSON: perhaps something that nobody can read."""
        self.resumed: Callable[[str, int, int], None] = lambda _kind, _asked, _told: None
        """Hears of each watch that is asked for: the kind, from which version, and the newest that it has been told."""
        self._watch_s, self._page_items = watch_s, page_items
        self._server_wall = server_wall or timers.clock.wall  # the Date of the server's answers
        kinds = [_Kind(fleet, ref.kind, namespace) for ref in fleet.kinds]
        self._kinds = {every.name: every for each in kinds for every in (each, *each.sides)}
        """By kind; ``Lease/Node`` is the kind that is watched for another."""
        self.requests: dict[str, int] = dict.fromkeys(self._kinds, 0)
        """Requests sent, by kind."""
        self.begun_s: dict[str, float] = {}
        """When each kind was last begun anew or was to be listed again, which ends any pause."""
        self._api, self._timers, self._streamed_list = api, timers, streamed_list

    # --- the port ---

    def start(self, kind: str, epoch: int, deliver: Deliver) -> None:
        """See ``Reader``."""
        main = self._kinds[kind]
        together = Together(kind, [side.name for side in main.sides], deliver) if main.sides else None
        for each in (main, *main.sides):
            self._close(each)
            if each.stream is not None:
                each.stream.close(self._timers.clock.now())
            each.begun = (epoch, deliver if together is None else together.of(each.name))
            self.begun_s[each.name] = self._timers.clock.now()
            self._begin(each)
            self._later(each, 0.0, partial(self._step, each))

    def _begin(self, each: _Kind) -> None:
        assert each.begun is not None
        epoch, deliver = each.begun
        each.stream = Stream(
            each.decoder, each.intake, epoch=epoch, deliver=deliver, facts=self._timers.facts,
            random=self._timers.random, streamed_list=self._streamed_list, watch_s=self._watch_s,
        )  # fmt: skip

    def set_timeout(self, kind: str, parent: ParentKey, timeout_s: float | None) -> None:
        """See ``Reader``."""
        each = self._kinds[kind]
        if timeout_s is None:
            each.timeouts.pop(parent, None)
        else:
            each.timeouts[parent] = timeout_s
        each.whole.set_timeout(parent, timeout_s, self._timers.clock.now())
        self._timers.after(0.0, lambda: self._tick(each))  # mail goes out on its own turn, never inside the caller's

    def relist(self, kind: str) -> None:
        """See ``Reader``."""
        each = self._kinds[kind]
        if each.stream is None:
            return
        each.stream.relist()
        self.begun_s[kind] = self._timers.clock.now()
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

    def cut(self, kind: str, *, agreed: bool = False, part: float | None = None) -> None:
        """Break that kind's open watch, or a request that gets no answer (``agreed``: the server ends it in good order).

        ``part``: that share of the next waiting line (of a bookmark, where none waits) still arrives, and no more.
        """
        each = self._kinds[kind]
        if each.cursor is not None and part is not None:
            try:
                waiting = each.cursor.poll(1) if each.cursor.pending() else []
            except Refusal as refusal:  # it has been overtaken by history: that is its end
                self._ended(each, _translated(refusal))
                return
            line = (waiting[0] if waiting else each.cursor.bookmark()).line()
            self.feed(kind, line[: int(len(line) * part)])
        if each.cursor is not None or each.unanswered:
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

    def expire(self, kind: str, refusal: Refusal) -> None:
        """The server says that inside the open stream, and ends it."""
        cursor = self._kinds[kind].cursor
        if cursor is not None:
            cursor.fail(refusal)

    def rewind(self, kind: str, changes: int, every_s: float = 0.0) -> None:
        """The open stream brings its last ``changes`` changes again, all at once or one every ``every_s``."""
        each = self._kinds[kind]
        if each.cursor is None or each.swallowed:
            return
        lines = list(each.recent)[-changes:]
        if not every_s:
            self._again(each, lines)
        for number, line in enumerate(lines if every_s else ()):
            self._later(each, number * every_s, partial(self._again, each, [line]))

    def _again(self, each: _Kind, lines: list[bytes]) -> None:
        if each.stream is not None and not each.swallowed:
            each.stream.lines(lines, self._timers.clock.now())
            self._look(each)

    def crash(self, kind: str) -> None:
        """The thread that reads this kind dies of a bug: it forgets everything, says so, and lists again after a pause."""
        each = self._kinds[kind]
        if each.begun is None or each.stream is None:
            return
        now = self.begun_s[kind] = self._timers.clock.now()
        each.crashes += 1
        pause_s = (0.5 + 0.5 * self._timers.random.random()) * min(CRASH_PAUSE_MAX_S, 2.0 ** min(each.crashes, 5))
        self._close(each)
        each.stream.close(now)
        epoch, deliver = each.begun
        self._timers.facts(StreamDown(kind=kind, reason="Crashed", message="planted", retry_s=pause_s))
        deliver(StreamChanged(kind=kind, epoch=epoch, up=False, reason="Crashed", message="planted"))
        each.whole = intake_of(each.fleet, kind, version=each.whole.version)
        for parent, timeout_s in each.timeouts.items():
            each.whole.set_timeout(parent, timeout_s, now)
        for every in (each, *each.sides):
            self._close(every)
            self._begin(every)
            self._later(every, pause_s, partial(self._step, every))

    def heard_s(self, kind: str) -> float | None:
        """When the server last proved that the kind's stream lives; None until it first has."""
        heard_s = self._kinds[kind].whole.heard_s
        return heard_s if heard_s > -inf else None

    def held(self, kind: str) -> dict[str, tuple[str, str, int]]:
        """What the intake holds: uid → namespace, name, newest version."""
        return self._kinds[kind].whole.versions()

    def open_for_s(self, kind: str) -> float | None:
        """For how long that kind's watch has been open; None where it is not."""
        opened_s = self._kinds[kind].opened_s
        return None if opened_s is None else self._timers.clock.now() - opened_s

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
        each.pausing = each.draining = each.swallowed = each.unanswered = False
        each.opened_s = None
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
        self.requests[each.name] += 1
        self._later(each, self.rtt_s, lambda: self._answer(each, action))
        self._set_alarm(each)

    def _answer(self, each: _Kind, action: ListPage | Watch) -> None:
        if self.mute(each.name, action):
            each.unanswered = True
            return  # the alarm ends it
        try:
            error = self.fail(each.name, action)
            if error is None and isinstance(action, Watch) and action.version is None and self._behind(each):
                error = Expired("a server that is behind streams no list")
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
        behind = self._behind(each)
        if behind and not action.token:
            listing = self._api.stale_list(each.resource, behind, namespace=each.namespace)
        else:
            listing = self._api.list(
                each.resource,
                namespace=each.namespace,
                limit=self._page_items,
                continue_token=action.token,
                labels=each.labels,
                fields=each.fields,
            )
        items = [msgspec.Raw(self.bend(stored.raw)) for stored in listing.items]
        page = Page(items, listing.resource_version, listing.continue_token)
        if not listing.continue_token:
            each.told = max(each.told, listing.resource_version)
        each.stream.page(page, self._timers.clock.now(), self._server_wall())
        if each.main is not each:
            self._tick(each.main)
        self._later(each, 0.0, lambda: self._step(each))

    def _behind(self, each: _Kind) -> int:
        return self.staleness(each.name)

    def _open(self, each: _Kind, action: Watch) -> None:
        assert each.stream is not None
        turn = each.turn

        def wake() -> None:  # inside the commit: only note it
            if each.turn == turn and not each.draining:
                each.draining = True
                self._later(each, self.rtt_s + self.lag_s.get(each.name, 0.0), lambda: self._drain(each))

        if action.version is None:
            each.cursor = self._api.watch(
                each.resource, namespace=each.namespace, send_initial_events=True, match="NotOlderThan",
                bookmarks=True, wake=wake, labels=each.labels, fields=each.fields,
            )  # fmt: skip
        else:
            self.resumed(each.name, action.version, each.told)
            each.cursor = self._api.watch(
                each.resource, namespace=each.namespace, resource_version=str(action.version), bookmarks=True, wake=wake,
                labels=each.labels, fields=each.fields,
            )  # fmt: skip
        each.opened_s = self._timers.clock.now()
        each.stream.opened(self._timers.clock.now(), self._server_wall())
        self._later(each, action.timeout_s, lambda: self._time_out(each))
        self._drain(each)

    def _drain(self, each: _Kind) -> None:
        each.draining = False
        if each.cursor is None or each.swallowed or each.stream is None:
            return
        cursor, turn = each.cursor, each.turn
        try:
            while cursor.pending() and each.turn == turn:
                events = cursor.poll()
                lines = [event.line() for event in events]
                each.recent.extend(lines)
                self._tell(each, lines, max([event.resource_version for event in events], default=0))
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
            bookmark = each.cursor.bookmark()
            self._tell(each, [bookmark.line()], bookmark.resource_version)
            self._ended(each, None)

    def _tell(self, each: _Kind, lines: list[bytes], newest: int) -> None:
        """These lines arrive, up to the version ``newest``; or what a fault makes of them."""
        assert each.stream is not None
        if self.mangle is not None:
            lines = self.mangle(each.name, each.turn, lines)
        if lines and not each.stream.should_end(self._timers.clock.now()):  # else nobody listens any more
            each.told = max(each.told, newest)
        each.stream.lines(lines, self._timers.clock.now())

    def _ended(self, each: _Kind, error: ApiError | None) -> None:
        assert each.stream is not None
        self._close(each)
        each.stream.ended(self._timers.clock.now(), error)
        self._later(each, 0.0, lambda: self._step(each))

    def _tick(self, each: _Kind) -> None:
        if each.stream is not None:
            each.stream.tick(self._timers.clock.now())
            self._look(each)
        for side in each.sides:  # a verdict on this kind may want proof of theirs
            if side.stream is not None and side.stream.should_end(self._timers.clock.now()):
                self._ended(side, None)

    def _look(self, each: _Kind) -> None:
        """After anything that may have changed the stream's mind: end it if it should, else wait for its next deadline."""
        assert each.stream is not None
        if each.main is not each:
            self._tick(each.main)  # what a side has changed goes out by the stream of the kind that it is for
        if each.stream.should_end(self._timers.clock.now()):
            self._ended(each, None)
        else:
            self._set_alarm(each)

    def _set_alarm(self, each: _Kind) -> None:
        """Deadlines move on with each line: an alarm that is set for an earlier one is kept, and looks again then."""
        now = self._timers.clock.now()
        wake_s = each.stream.wake_s() if each.stream is not None else None
        if each.alarm is not None:
            if wake_s is not None and each.alarm_s <= max(wake_s, now) + ALARM_AFTER_S:
                return
            each.alarm()
            each.alarm = None
        if wake_s is not None:
            each.alarm_s = max(wake_s, now) + ALARM_AFTER_S
            each.alarm = self._timers.after(each.alarm_s - now, lambda: self._ring(each))

    def _ring(self, each: _Kind) -> None:
        each.alarm = None
        wake_s = each.stream.wake_s() if each.stream is not None else None
        if wake_s is not None and wake_s > self._timers.clock.now():
            self._set_alarm(each)
        else:
            self._tick(each)


def _translated(refusal: Refusal) -> ApiError:
    wait_s = None if refusal.retry_after_s is None else float(refusal.retry_after_s)
    return api_error(refusal.code, refusal.message, wait_s)
