"""``tap``: messages as actors get them, filtered, and never for long.

An actor that is tapped is of another class meanwhile, whose ``_handle`` looks before it does the same: so nothing is paid where
nobody taps, not even a test of a flag. Each message costs a tapped actor some tenths of a microsecond: what it says is worked
out by whoever takes the lines. The tap ends by its count or its time, and when its reader has gone; a reader that is too slow
loses lines, and is told how many.
"""

from __future__ import annotations

from collections import deque
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


class Lines(Protocol):
    """An answer that comes line by line."""

    def take(self) -> Sequence[Json]:
        """What has come since the last time."""

    @property
    def over(self) -> bool:
        """Whether no more will come."""

    def close(self) -> Json:
        """End it; the last word."""


class TappedCell(Cell):
    """A cell while it is tapped; see the module."""

    def _handle(self, message: Any) -> Any:
        for tap in _taps.get(id(self), ()):
            tap.saw(self, message)
        return Cell._handle(self, message)  # noqa: SLF001  its own, and quicker than by ``super``


class Tap:
    """One tap. ``take`` and ``close`` on its reader's thread, ``saw`` on the actors'."""

    def __init__(
        self, look: Inspection, *, pattern: str, message: str, count_max: int, for_s: float, rate_max: int
    ) -> None:
        self.seen = 0
        self.lost = 0
        self.taken = 0
        self._look = look
        self._clock: Clock = look.clock
        self._pattern = pattern
        self._message = message
        self._count_max = count_max
        self._until_s = self._clock.now() + for_s
        self._rate_max = rate_max
        self._now = self._clock.now
        self._second_ends_s = 0.0
        self._in_second = 0
        self._kinds: dict[type, bool] = {}
        self._lines: deque[tuple[float, Cell, Any]] = deque()
        self._cells: dict[int, Cell] = {}
        self._looked_s = 0.0
        self._ended = False
        self._attach()

    # --- the actors' threads ------------------------------------------------------------------------------------------
    def saw(self, cell: Cell, message: Any) -> None:
        """A message is about to be handled. Must be quick; cannot raise."""
        kind = type(message)
        wanted = self._kinds.get(kind)
        if wanted is None:
            wanted = self._kinds[kind] = not self._message or fnmatchcase(kind.__name__, self._message)
        if not wanted or self._ended:
            return
        self.seen += 1
        now_s = self._now()
        if now_s >= self._second_ends_s:
            self._second_ends_s, self._in_second = now_s + 1.0, 0
        self._in_second += 1
        if self._in_second > self._rate_max or len(self._lines) >= QUEUE_MAX:
            self.lost += 1
            return
        self._lines.append((now_s, cell, message))
        self.taken += 1
        if self.taken >= self._count_max:
            self._ended = True

    # --- the reader's thread ------------------------------------------------------------------------------------------
    @property
    def over(self) -> bool:
        """See ``Lines``."""
        return (self._ended or self._clock.now() >= self._until_s) and not self._lines

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
        return lines

    def close(self) -> Json:
        """See ``Lines``."""
        self._detach()
        return {"seen": self.seen, "shown": self.taken, "lost": self.lost}

    def _attach(self) -> None:
        self._looked_s = self._clock.now()
        for name, cell in self._look.cells():
            if id(cell) not in self._cells and (not self._pattern or fnmatchcase(name, self._pattern)):
                self.join(cell)

    def join(self, cell: Cell) -> None:
        """Listen to that actor, too."""
        self._cells[id(cell)] = cell
        _taps[id(cell)] = (*_taps.get(id(cell), ()), self)
        cell.__class__ = TappedCell

    def _detach(self) -> None:
        self._ended = True
        while self._cells:
            ident, cell = self._cells.popitem()
            others = tuple(tap for tap in _taps.get(ident, ()) if tap is not self)
            if others:
                _taps[ident] = others
            else:
                _taps.pop(ident, None)
                cell.__class__ = Cell

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
