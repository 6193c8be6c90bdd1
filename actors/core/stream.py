"""What to ask the API server next: the decisions of list and watch, without a socket.

A reader (over HTTP, or in the simulation) asks ``action``, does it, and tells what came of it; the same decisions run in both.

::

              ┌────────────── 410, relist, kind gone ───────────────┐
              ▼                                                     │
    list: streamed where the server can, else by pages ──▶ watch from its version ◀──┐
              │                                                     │                │
              └─ an error ─▶ pause (full jitter) ◀─ an error ───────┴── agreed end ──┘

Three rules learnt from others' outages. Each kind backs off for itself. A 410 is nobody's error and lists again at once, but
one that comes back before anything was delivered does back off, as does a server that closes every stream at once. And no
stream is trusted for longer than it has agreed to run: a watch ends by itself after ``WATCH_S`` and is cut by us soon after,
so that a dead connection is found within 30 s, whatever else fails.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import frozen

from .claims import Claims
from .decode import BadObject, Bookmark, Decoder, Page, Refusal
from .errors import (
    ApiError,
    ApiThrottled,
    Conflict,
    Expired,
    Forbidden,
    Invalid,
    NotFound,
    Unauthorized,
    Unreachable,
)
from .events import Listed, ObjectRefused, ParentDisputed, StreamDown, StreamUp
from .intake import Intake
from .joins import Side
from .lines import LINE_BYTES_MAX, Cutter, Line, Lines
from .model import Record
from .ports import Facts, Objects, Random, StreamChanged
from .said import Said
from .staging import Staged

__all__ = ["Action", "ListPage", "Pause", "Stream", "Watch", "api_error", "differences"]

WATCH_S = 20
"""``timeoutSeconds`` of a watch. With the margin a dead stream is found after 25 s (DESIGN §5: within 30 s)."""
MARGIN_S = 5.0
"""How long after its agreed end a stream is cut."""
STREAMED_LIST_S = 600
"""``timeoutSeconds`` of a streamed list, which goes on as a watch until we rotate it. A million objects take minutes."""
IDLE_S = 10.0
"""A streamed list that delivers no complete line for so long is given up, and the list fetched by pages."""
ANSWER_S = 15.0
"""How long a watch may take to answer with its headers."""
PAGE_S = 60.0
"""How long one page of a list may take in all. 500 objects of 2 kB take a loaded server a second."""
PAGE_ITEMS = 500
BACKOFF_MIN_S, BACKOFF_MAX_S = 0.2, 5.0
"""The pause before the n-th retry is uniform in 0 … min(5 s, 0.2 s · 2ⁿ): truth returns within 10 s of the server's return."""
RETRY_AFTER_MAX_S = 60.0
"""A server's own wish is honoured up to here; a mistyped hour must not blind us for one."""
LIVED_S = 1.0
"""A stream that lived so long, or delivered anything, was progress."""
WENT_BACK_S = 60.0
"""How long lists older than what was seen are put down to a lagging server; after that it was restored from a backup."""
_TOLD_MAX = 1000
_MANY = 3
"""Lines from which on reading them at once costs less than one by one (2: the same; 1: 20 % more)."""

_BY_CODE: dict[int, type[ApiError]] = {
    400: Invalid, 401: Unauthorized, 403: Forbidden, 404: NotFound, 409: Conflict, 410: Expired, 422: Invalid,
    429: ApiThrottled,
}  # fmt: skip
_REASONS: tuple[tuple[type[ApiError], str], ...] = (
    (Unauthorized, "Unauthorized"), (Forbidden, "Forbidden"), (NotFound, "KindMissing"), (ApiThrottled, "Throttled"),
    (Invalid, "Invalid"), (Unreachable, "Unreachable"),
)  # fmt: skip


def api_error(code: int, message: str, retry_after_s: float | None = None) -> ApiError:
    """The error that an HTTP status of the API server means."""
    if code in _BY_CODE:
        return _BY_CODE[code](message, retry_after_s=retry_after_s)
    return (Invalid if 400 <= code < 500 else Unreachable)(message, retry_after_s=retry_after_s)


@frozen(kw_only=True)
class ListPage:
    """Fetch one page of a consistent list (no resourceVersion), continuing at ``token``. → ``page`` or ``ended``."""

    token: str = ""


@frozen(kw_only=True)
class Watch:
    """Open a watch with bookmarks from ``version``; None: a streamed list. → ``opened``, ``feed`` …, ``ended``."""

    version: int | None
    timeout_s: int


@frozen(kw_only=True)
class Pause:
    """Do nothing for so long; a relist asked for meanwhile ends it."""

    delay_s: float


Action = ListPage | Watch | Pause


@frozen
class _Cut:
    """Why we end the request ourselves; ``error`` None: nobody's fault, go on at once."""

    error: ApiError | None


class Stream:
    """One kind's list and watch, of one epoch. Not thread-safe. ``deliver`` gets the mail, in order; it must not block."""

    def __init__(
        self,
        decoder: Decoder,
        intake: Intake | Side,
        *,
        epoch: int,
        deliver: Callable[[Objects | StreamChanged], None],
        facts: Facts,
        random: Random,
        streamed_list: bool = True,
        watch_s: int = WATCH_S,
    ) -> None:
        self.kind = decoder.kind
        self.intake = intake
        self.epoch = epoch
        self.synced = False
        """Whether this epoch's first list is complete."""
        self._decoder, self._deliver, self._facts, self._random = decoder, deliver, facts, random
        self._watch_s = watch_s
        self._may_stream = streamed_list
        self._by_pages_once = False
        self._list_wanted = True
        self._list_reason = "start"
        self._token = ""
        self._staged: Staged | None = None
        self._cutter: Cutter = Lines()
        self._action: ListPage | Watch | None = None
        self._began_s = 0.0
        self._opened_s: float | None = None
        self._last_line_s = 0.0
        self._rotate_at_s: float | None = None
        self._cut: _Cut | None = None
        self._fault: ApiError | None = None
        self._progress = False
        self._failures = self._expiries = self._hasty = 0
        self._attempt_failed = False
        self._resume_at_s = 0.0
        self._down_s: float | None = None
        self._told_up: bool | None = None
        self._behind_since_s: float | None = None
        self._told: dict[str, str] = {}
        self._gathering = False  # mail waits for the next chunk's

    # --- what to do ---

    def action(self, now: float) -> Action:
        """What to do next; the result must be told before asking again."""
        if self._resume_at_s > now:
            return Pause(delay_s=self._resume_at_s - now)
        self._began_s = self._last_line_s = now
        self._opened_s = self._cut = self._fault = self._rotate_at_s = None
        self._progress = False
        self._cutter = Lines()
        if not self._list_wanted:
            self._staged = None
            self._action = Watch(version=self.intake.version, timeout_s=self._watch_s)
        elif self._may_stream and not self._by_pages_once:
            self._staged = Staged()
            self._action = Watch(version=None, timeout_s=STREAMED_LIST_S)
        else:
            if not self._token:
                self._staged = Staged()
            self._action = ListPage(token=self._token)
        return self._action

    def relist(self, reason: str = "asked") -> None:
        """List again now: ends the stream and any pause."""
        self._list_wanted, self._list_reason, self._token = True, reason, ""
        self._resume_at_s = 0.0
        self._cut = self._cut or _Cut(None)

    def should_end(self, now: float) -> bool:
        """Whether the request under way is to be closed now (then tell ``ended``). Any moment; cheap."""
        if self._cut is None and self._fault is None and self._action is not None:
            self._cut = self._find_cut(now)
        return self._cut is not None or self._fault is not None

    def wake_s(self) -> float | None:
        """When to call ``tick`` and ``should_end`` at the latest."""
        earliest_s = self._limit_s()
        for time_s in (self._rotate_at_s, self.intake.next_s):
            if time_s is not None and (earliest_s is None or time_s < earliest_s):
                earliest_s = time_s
        if self._opened_s is not None and not self._told_up and self._staged is None:  # as in tick, or it would spin
            told_s = self._opened_s + LIVED_S
            return told_s if earliest_s is None else min(earliest_s, told_s)
        return earliest_s

    # --- what came of it ---

    def page(self, page: Page, now: float, wall_s: float | None) -> None:
        """A page of the list has come."""
        self._action = None
        if wall_s is not None:
            self.intake.set_wall(now, wall_s)
        if self._cut is not None:  # a relist was asked for meanwhile
            return
        assert self._staged is not None
        said = self._decoder.listed(page.items)
        if said is not None:
            self._staged.put_all(self.kind, said)
        for item in page.items if said is None else ():
            try:
                self._staged.put("ADDED", *self._decoder.object(item))
            except BadObject as bad:
                self._refuse(bad)
        self._token = page.continue_token
        if not self._token:
            self._complete(page.version, now)
            if self._fault is not None:
                self.ended(now)

    def opened(self, now: float, wall_s: float | None, cutter: Cutter | None = None) -> None:
        """The watch has answered with 200. ``cutter``: what makes lines of its bytes (None: they are lines as they come)."""
        self._cutter = cutter or Lines()
        if wall_s is not None:
            self.intake.set_wall(now, wall_s)
        self._opened_s = self._last_line_s = now
        if self._staged is None:
            self._up(now)

    def feed(self, chunk: bytes, now: float, *, more: bool = False) -> None:
        """Bytes of the watch: all complete lines of one chunk become one mail; with ``more``, together with the next one's.

        So does whatever ends the stream, or a ``tick``: nothing waits for a chunk that does not come.
        """
        skipped = self._cutter.skipped
        self._gathering = more
        self.lines(self._cutter.feed(chunk), now)
        if self._cutter.skipped > skipped:
            self._tell_refused(f"{self.kind} (watch line)", f"longer than {LINE_BYTES_MAX} bytes")

    def lines(self, lines: Sequence[Line], now: float) -> None:
        """Complete lines of the watch."""
        ended = self._fault is not None or self._cut is not None
        said = self._decoder.said(lines) if len(lines) >= _MANY and not ended else None
        if said is not None:
            self._many(said, now)
        for line in lines if said is None else ():
            if self._fault is not None or self._cut is not None:
                break
            if line:
                self._line(line, now)
        if not self._gathering:
            self._flush()

    def ended(self, now: float, error: ApiError | None = None) -> None:
        """The request is over: refused, cut, or ended as agreed (``error`` None). Our own reason to end it goes first."""
        if self._gathering:
            self._gathering = False
            self._flush()
        cut, fault = self._cut, self._fault
        error = cut.error if cut is not None else fault if fault is not None else error
        streamed, opened_s = self._staged is not None and isinstance(self._action, Watch), self._opened_s
        self._action = self._opened_s = self._cut = self._fault = self._rotate_at_s = None
        self._staged, self._token = None, ""
        self.intake.stream_down(now)
        if self._down_s is None:
            self._down_s = now
        if self._progress or (opened_s is not None and not streamed and now - opened_s >= LIVED_S):
            self._failures = self._expiries = self._hasty = 0
        elif cut is None and error is None:
            self._hasty += 1
        if isinstance(error, Expired):
            self._list_wanted, self._list_reason = True, "expired"
            self._expiries += 1
            if self._expiries > 1:
                self._pause(now, error)
        elif (
            streamed
            and (error is None or isinstance(error, (Invalid, Expired)) or opened_s is not None)
            and not (cut is not None and cut.error is None)
        ):
            self._may_stream = self._may_stream and not isinstance(error, Invalid)
            self._by_pages_once = True
        elif error is None:
            if cut is None and self._hasty > 1:
                self._pause(now, Unreachable(f"{self.kind}: the server closes each watch at once"))
        else:
            self._attempt_failed = self._attempt_failed or opened_s is None
            if isinstance(error, NotFound):
                self._list_wanted, self._list_reason = True, "kind missing"
            self._pause(now, error)

    def tick(self, now: float) -> None:
        """Time has passed: judge silences, and say that a stream which has lived for a while is up."""
        self.intake.tick(now)
        if (
            self._opened_s is not None
            and not self._told_up
            and now - self._opened_s >= LIVED_S
            and self._staged is None
        ):
            self._tell_up(now)
        self._flush()

    def close(self, now: float) -> None:
        """This epoch is over; no more mail."""
        self._action = None
        self.intake.stream_down(now)

    # --- inside ---

    def _limit_s(self) -> float | None:
        """When the request under way has taken too long."""
        if self._action is None:
            return None
        if isinstance(self._action, ListPage):
            return self._began_s + PAGE_S
        if self._opened_s is None:
            return self._began_s + ANSWER_S
        if self._staged is not None:
            return self._last_line_s + IDLE_S
        return self._opened_s + self._watch_s + MARGIN_S if self._rotate_at_s is None else None

    def _find_cut(self, now: float) -> _Cut | None:
        limit_s = self._limit_s()
        if limit_s is not None and now >= limit_s:
            return _Cut(
                Unreachable(f"{self.kind}: no end and no answer from the server for {limit_s - self._began_s:.0f} s")
            )
        if self._rotate_at_s is not None and now >= self._rotate_at_s:
            return _Cut(None)
        return _Cut(None) if self._opened_s is not None and self.intake.needs_proof(now) else None

    def _many(self, said: Said, now: float) -> None:
        """As ``_line`` of each."""
        self._last_line_s = now
        if self._staged is not None:
            self._staged.put_all(self.kind, said)
            return
        self._progress = True
        if said.claims is None:
            self.intake.hear(said, now)
        else:
            for each in said.events(self.kind):
                self._event(*each, now)
        if not self._told_up:
            self._tell_up(now)

    def _event(self, type_: str, record: Record, claims: Claims, now: float) -> None:
        if self.intake.event(type_, record, now) and claims:
            self._tell_disputed(record, claims)

    def _line(self, line: Line, now: float) -> None:
        try:
            found = self._decoder.event(line)
        except BadObject as bad:
            self._refuse(bad)
            if self._staged is None:
                self.intake.refuse(bad.uid, bad.version, bad.type, now, names=(bad.namespace, bad.name))
            return
        self._last_line_s = now
        if isinstance(found, tuple):
            if self._staged is not None:
                self._staged.put(*found)
            else:
                self._progress = True
                self._event(*found, now)
        elif isinstance(found, Bookmark):
            if self._staged is None:
                self._progress = True
                self.intake.bookmark(found.version, now)
            elif found.initial_end:
                self._complete(found.version, now)
        else:
            self._fault = self._refusal(found)
        if self._progress and not self._told_up:
            self._tell_up(now)

    def _refusal(self, refusal: Refusal) -> ApiError:
        if refusal.reason in ("Expired", "Gone"):
            return Expired(refusal.message)
        return api_error(refusal.code, f"{self.kind}: the watch was ended: {refusal.message}", refusal.retry_after_s)

    def _complete(self, version: int, now: float) -> None:
        """The list is complete: replace, unless it is older than what we have seen already."""
        staged, self._staged = self._staged or Staged(), None
        restored = False
        if version < self.intake.version:
            if self._behind_since_s is None:
                self._behind_since_s = now
            restored = now - self._behind_since_s >= WENT_BACK_S
            if not restored:
                seen = self.intake.version
                self._fault = Unreachable(
                    f"{self.kind}: the server lags: its list is of version {version}, {seen} was seen"
                )
                return
        self._behind_since_s = None
        done = self.intake.replace(staged.take(), version, now, refused=staged.refused, force=restored)
        reason = "restored" if restored else self._list_reason
        self._facts(Listed(kind=self.kind, count=done.count, missing=done.missing, reason=reason))
        for record, claims in staged.disputed():
            self._tell_disputed(record, claims)
        self._list_wanted = self._by_pages_once = False
        self.synced = True
        if self._opened_s is not None:
            self._opened_s = now
            self._rotate_at_s = now + self._watch_s
            self._up(now)
        self._flush()

    def _up(self, now: float) -> None:
        self.intake.stream_up(now, first_attempt=not self._attempt_failed)
        self._attempt_failed = False
        if not self._told_up and not self._hasty:
            self._tell_up(now)
        elif self._told_up:
            self._down_s = None

    def _tell_up(self, now: float) -> None:
        self._told_up = True
        self._facts(StreamUp(kind=self.kind, gap_s=0.0 if self._down_s is None else now - self._down_s))
        self._down_s = None
        self._deliver(StreamChanged(kind=self.kind, epoch=self.epoch, up=True))

    def _pause(self, now: float, error: ApiError) -> None:
        self._failures += 1
        ceiling_s = min(BACKOFF_MAX_S, BACKOFF_MIN_S * 2.0 ** min(self._failures - 1, 10))
        delay_s = self._random.uniform(0.0, ceiling_s)
        if error.retry_after_s is not None:
            wish_s = min(error.retry_after_s, RETRY_AFTER_MAX_S)
            delay_s = max(delay_s, wish_s * self._random.uniform(1.0, 1.1))
        self._resume_at_s = now + delay_s
        reason = next((name for class_, name in _REASONS if isinstance(error, class_)), "Failed")
        self._facts(StreamDown(kind=self.kind, reason=reason, message=str(error), retry_s=delay_s))
        if self._told_up is not False:
            self._told_up = False
            self._deliver(StreamChanged(kind=self.kind, epoch=self.epoch, up=False, reason=reason, message=str(error)))

    def _flush(self) -> None:
        mail = self.intake.take(self.epoch) if self.synced else None
        if mail is not None:
            self._deliver(mail)

    def _refuse(self, bad: BadObject) -> None:
        if self._staged is not None and bad.uid:
            self._staged.refused[bad.uid] = bad.version
        self._tell_refused(bad.place, bad.why)

    def _tell_refused(self, place: str, why: str) -> None:
        """Once for each place and reason: a bad object that beats every ten seconds is one piece of news."""
        if self._told.get(place) != why:
            if len(self._told) >= _TOLD_MAX:
                self._told.clear()
            self._told[place] = why
            self._facts(ObjectRefused(kind=self.kind, place=place, why=why))

    def _tell_disputed(self, record: Record, claims: Claims) -> None:
        child = f"{record.namespace}/{record.name}"
        self._facts(ParentDisputed(kind=self.kind, child=child, chosen=claims[0], others=claims[1:]))


def differences(intake: Intake, listed: dict[str, tuple[str, int]], version: int, gone: set[str]) -> list[str]:
    """What an audit found: ``listed`` (uid → name, version) against the records, once the stream has passed ``version``.

    Not a difference: what changed after the list, what is known to be ``gone`` since, what could not be decoded.
    """
    held = intake.versions()
    found = [
        f"{name}: version {theirs} on the server, {'not held' if uid not in held else f'{held[uid][2]} held'}"
        for uid, (name, theirs) in listed.items()
        if uid not in gone and (uid not in held or (held[uid][2] != theirs and held[uid][2] <= version))
    ]
    found += [
        f"{namespace}/{name}: not on the server, version {ours} held"
        for uid, (namespace, name, ours) in held.items()
        if uid not in listed and ours <= version
    ]
    return found
