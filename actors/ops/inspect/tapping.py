"""``tap``: messages as actors get them, filtered, and never for long.

While somebody taps, ``Cell`` has another ``_handle``, which looks before it does the same: so nothing is paid where nobody
taps, not even a test of a flag. (Another class for the cells that are tapped costs them a twentieth of their time: the
interpreter is quick with objects that are still of the class that they were made of.) A message that is tapped is counted, and
kept while the tap is open. What it says is worked out by whoever takes the lines, who also opens the tap again when a new
second has begun. The tap ends by its count or its time, and when its reader has gone; a reader that is too slow loses lines,
and is told how many.
"""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any, Protocol

from ...actor import Cell
from ...core.masking import masked_text
from ...core.ports import Clock
from .inspection import Inspection
from .registry import Args, Command, CommandError, Json, Level, argument, option

QUEUE_MAX = 1000  # lines that wait for their reader
NEWCOMERS_EVERY_S = 1.0  # actors that were started meanwhile are tapped by then
ABOUT_MAX = 200

_taps: dict[int, tuple[Tap, ...]] = {}  # by id of the cell, which its taps keep alive
_changing = threading.Lock()  # of those two
_plain_handle = Cell._handle  # noqa: SLF001  the seam


class Lines(Protocol):
    """An answer that comes line by line."""

    def take(self) -> Sequence[Json]:
        """What has come since the last time."""

    @property
    def over(self) -> bool:
        """Whether no more will come."""

    def close(self) -> Json:
        """End it; the last word."""


def _tapped_handle(cell: Cell, message: Any) -> Any:
    """In place of ``Cell._handle`` while anybody taps."""
    for tap in _taps.get(id(cell), ()):
        tap.counts[type(message)] += 1
        if tap.open:
            tap.saw(cell, message)
    return _plain_handle(cell, message)


def _turned() -> None:
    """Put in its place whichever is needed; ``_changing`` is held."""
    wanted = _tapped_handle if _taps else _plain_handle
    if Cell._handle is not wanted:  # noqa: SLF001  the seam
        setattr(Cell, "_handle", wanted)  # noqa: B010  mypy takes no method for a variable


class Tap:
    """One tap. ``take`` and ``close`` on its reader's thread, ``saw`` on the actors'."""

    def __init__(
        self, look: Inspection, *, pattern: str, message: str, count_max: int, for_s: float, rate_max: int
    ) -> None:
        self.counts: defaultdict[type, int] = defaultdict(int)
        """How many messages of each class have been handled meanwhile, wanted or not."""
        self.open = True
        """Whether ``saw`` is to be called: False once a second's rate is used up, or the queue is full, or it has ended."""
        self.taken = 0
        self._look = look
        self._clock: Clock = look.clock
        self._pattern = pattern
        self._message = message
        self._count_max = count_max
        self._until_s = self._clock.now() + for_s
        self._rate_max = rate_max
        self._now = self._clock.now
        self._second_ends_s = self._clock.now() + 1.0
        self._in_second = 0
        self._lines: deque[tuple[float, Cell, Any]] = deque()
        self._cells: dict[int, Cell] = {}
        self._looked_s = 0.0
        self._seen: int | None = None
        self._attach()

    # --- the actors' threads ------------------------------------------------------------------------------------------
    def saw(self, cell: Cell, message: Any) -> None:
        """A message is about to be handled. Must be quick; cannot raise."""
        if self._message and not self._wanted(type(message)):
            return
        self._lines.append((self._now(), cell, message))
        self.taken += 1
        self._in_second += 1
        if self.taken >= self._count_max:
            self._end()
        elif self._in_second >= self._rate_max or len(self._lines) >= QUEUE_MAX:
            self.open = False

    # --- the reader's thread ------------------------------------------------------------------------------------------
    @property
    def over(self) -> bool:
        """See ``Lines``."""
        return (self._ended or self._clock.now() >= self._until_s) and not self._lines

    @property
    def seen(self) -> int:
        """How many wanted messages have been handled while it was not ended."""
        if self._seen is not None:
            return self._seen
        return sum(count for kind, count in list(self.counts.items()) if self._wanted(kind))

    def take(self) -> list[Json]:
        """See ``Lines``."""
        now_s = self._clock.now()
        if self._ended or now_s >= self._until_s:
            self._detach()
        elif now_s - self._looked_s >= NEWCOMERS_EVERY_S:
            self._attach()
        lines = []
        while self._lines:
            at_s, cell, message = self._lines.popleft()
            name, about = type(message).__name__, about_message(message)
            lines.append({"ago_s": round(now_s - at_s, 3), "actor": cell.name, "message": name, "about": about})
        if now_s >= self._second_ends_s:
            self._second_ends_s, self._in_second = now_s + 1.0, 0
        self.open = not self._ended and self._in_second < self._rate_max
        return lines

    def close(self) -> Json:
        """See ``Lines``."""
        self._detach()
        return {"seen": self.seen, "shown": self.taken, "lost": max(0, self.seen - self.taken)}

    @property
    def _ended(self) -> bool:
        return self._seen is not None

    def _end(self) -> None:
        self.open = False
        self._seen = self.seen

    def _wanted(self, kind: type) -> bool:
        return not self._message or fnmatchcase(kind.__name__, self._message)

    def _attach(self) -> None:
        self._looked_s = self._clock.now()
        for name, cell in self._look.cells():
            if id(cell) not in self._cells and (not self._pattern or fnmatchcase(name, self._pattern)):
                self.join(cell)

    def join(self, cell: Cell) -> None:
        """Listen to that actor, too."""
        with _changing:
            self._cells[id(cell)] = cell
            _taps[id(cell)] = (*_taps.get(id(cell), ()), self)
            _turned()

    def _detach(self) -> None:
        self._end()
        with _changing:
            while self._cells:
                ident, _ = self._cells.popitem()
                others = tuple(tap for tap in _taps.pop(ident, ()) if tap is not self)
                if others:
                    _taps[ident] = others
            _turned()

    @property
    def tapped_count(self) -> int:
        """Actors that are tapped now."""
        return len(self._cells)


def about_message(message: Any) -> str:
    """What a message is about, in a line: its plain fields, and of containers how many there are."""
    parts = []
    for each in getattr(type(message), "__attrs_attrs__", ()):
        value = getattr(message, each.name)
        if isinstance(value, dict | list | tuple | frozenset) and type(value).__name__ != "ParentKey":
            parts.append(f"{each.name}={len(value)}")
        elif isinstance(value, str | int | float | bool) or type(value).__name__ == "ParentKey":
            parts.append(f"{each.name}={value}")
    return masked_text(" ".join(parts) if parts else "" if hasattr(type(message), "__attrs_attrs__") else str(message))[
        :ABOUT_MAX
    ]


def tap(look: Inspection, args: Args) -> Tap:
    """Begin one."""
    made = Tap(
        look, pattern=args.text("pattern"), message=args.text("message"), count_max=args.number("max"),
        for_s=args.real("for"), rate_max=args.number("rate"),
    )  # fmt: skip
    if not made.tapped_count:
        made.close()
        raise CommandError(
            f"no actor is called like {args.text('pattern')!r}", "`tree --all` lists them; * stands for anything"
        )
    return made


COMMANDS = (
    Command(
        name="tap", level=Level.ASKING, group="one actor, one parent", run=tap,
        text="Messages as actors get them, a line each. Ends by itself: by count, by time, or when you leave.",
        arguments=(
            argument(
                "pattern", "ACTOR", "With * for anything: `cluster/default/*`.",
                required=False, default="*", completes="actor",
            ),
            option("message", "NAME", "Only messages called so (* as above)."),
            option("max", "N", "At most so many.", form="number", default="100", low=1, high=10_000),
            option("for", "DURATION", "At most so long.", form="duration", default="30s", low=0.1, high=600.0),
            option(
                "rate", "N", "At most so many in a second; the rest is counted as lost.",
                form="number", default="100", low=1, high=1000,
            ),
        ),
        more=(
            "What you do not read in time is lost, and counted: the actors never wait for you. Nothing is paid"
            " where nobody taps."
        ),
    ),
)  # fmt: skip
