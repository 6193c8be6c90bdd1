"""Facts become log lines on a thread of their own, because a stalled pipe must not hold up an actor.

``Logs`` takes facts (and plain lines) from any thread, stamps them, and queues them; one writer thread bounds repeats,
masks secrets, renders and writes to stderr. The event name of a line is a constant, the fact's class in snake case, and
everything that varies is a field, so that lines can be counted. Of one fact class about one actor, parent or kind at
most ``LINES_PER_SECOND`` are written in a second; the next line that is written tells how many were left out
(``suppressed``). A full queue drops lines and says so later; the operator never waits for its log.

structlog renders; its global configuration is left alone, so that tests and the demo may have several ``Logs``.
"""

from __future__ import annotations

import os
import queue
import re
import sys
import threading
from collections.abc import Callable, Mapping, MutableMapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

import attrs

from ..core.events import (
    UNLOGGED,
    Fact,
    ObjectRefused,
    ParentDisputed,
    ParentMissing,
    ParentUnnamed,
    ReconcileFailed,
    RecordSkipped,
)
from ..core.masking import MASK, SECRET_FIELD, masked_text
from ..core.ports import Clock

if TYPE_CHECKING:
    from structlog.typing import EventDict

LINES_PER_SECOND = 5  # of one kind about one thing: enough to see a pattern, too few to bury the rest
QUEUE_LINES_MAX = 10_000  # some seconds of a terrible day; beyond it a line is counted instead of kept
FIELD_CHARS_MAX = 8_000  # a traceback fits; an object that somebody put into an error does not
SUM_UP_S = 10.0
LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}

_Entry = tuple[float, str, str, object, Callable[[], Mapping[str, Any]]]  # wall_s, level, event, subject, its fields
_SUBJECTS = ("actor", "supervisor", "parent", "kind", "operation")
CURES: dict[type[Fact], str] = {
    # What a person can do about it; the others carry their cure in their message, or there is nothing to be done.
    ObjectRefused: "mend the object, or delete it; until then its last good record stays, and others are not affected",
    ParentUnnamed: "name its parent by a controller ownerReference, the label or the field of the fleet's definition",
    ParentMissing: "create that parent, or correct the nodes that name it; they are counted once it is there",
    ParentDisputed: "let its owner reference, its label and its spec name the same parent",
    ReconcileFailed: "mend the fleet's reconcile; it is tried again by itself, and with each change of the parent's children",
    RecordSkipped: "see the crash before this line; the record is tried again with its object's next change",
}
_OWN = frozenset({"timestamp", "level", "event"})


def event_name(fact_class: type) -> str:
    """``ActorCrashed`` → ``actor_crashed``: the constant by which its lines are found."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", fact_class.__name__).lower()


def masked(value: Any) -> Any:
    """The value as it may be shown: strings without what looks like a credential, and cut at ``FIELD_CHARS_MAX``."""
    if isinstance(value, str):
        if len(value) > FIELD_CHARS_MAX:
            value = value[:FIELD_CHARS_MAX] + "…"
        return masked_text(value)
    if isinstance(value, Mapping):
        return {k: MASK if SECRET_FIELD.search(str(k)) else masked(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [masked(each) for each in value]
    return value


def in_json(log_format: str, stream: TextIO, environ: Mapping[str, str] | None = None) -> bool:
    """Whether lines are JSON: as told, else in a pod and wherever no person watches a terminal."""
    if log_format != "auto":
        return log_format == "json"
    environ = os.environ if environ is None else environ
    return "KUBERNETES_SERVICE_HOST" in environ or not stream.isatty()


class RepeatBound:
    """At most ``limit`` of one key in a second. Remembers keys of the running second only, so it is bounded by the rate."""

    def __init__(self, limit: int = LINES_PER_SECOND) -> None:
        self._limit = limit
        self._second = -1
        self._seen: dict[object, int] = {}
        self._left_out: dict[object, int] = {}

    def allow(self, key: object, now_s: float) -> int | None:
        """None where the line is one too many; else how many were left out since the last one that was written."""
        if int(now_s) != self._second:
            self._second = int(now_s)
            self._seen.clear()
        seen = self._seen.get(key, 0)
        if seen >= self._limit:
            self._left_out[key] = self._left_out.get(key, 0) + 1
            return None
        self._seen[key] = seen + 1
        return self._left_out.pop(key, 0)

    def untold(self) -> dict[object, int]:
        """What was left out since, by key, and cleared: for a line of its own when no later line of the key has told."""
        left_out, self._left_out = self._left_out, {}
        return left_out


class Logs:
    """The log of one process. ``start`` before use; ``close`` writes out what is queued, for at most its timeout.

    Calling it with a fact (the ``Facts`` port) is cheap and never raises, from any thread. Everything else runs on the
    writer.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        log_format: str = "auto",
        level: str = "info",
        stream: TextIO | None = None,
        environ: Mapping[str, str] | None = None,
        queue_max: int = QUEUE_LINES_MAX,
    ) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._threshold = LEVELS[level]
        self._now = clock.now
        self._wall = clock.wall
        self._bound = RepeatBound()
        self._queue: queue.Queue[_Entry | None] = queue.Queue(queue_max)
        self._dropped = 0
        self._render: Callable[[Any, str, EventDict], str | bytes] = (
            _structlog().processors.JSONRenderer(default=str)
            if in_json(log_format, self._stream, environ)
            else _console(self._stream)
        )
        self._thread = threading.Thread(target=self._write_all, name="logs", daemon=True)

    def start(self) -> None:
        """Start the writer."""
        self._thread.start()

    def close(self, timeout_s: float = 1.0) -> None:
        """Write what is queued and end the writer; give up after ``timeout_s`` (a stalled pipe)."""
        try:
            self._queue.put(None, timeout=timeout_s)
        except queue.Full:
            return
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def __call__(self, fact: Fact) -> None:
        """Queue the line of a fact."""
        if LEVELS.get(fact.level, 20) < self._threshold:
            return
        subject = next((getattr(fact, name) for name in _SUBJECTS if hasattr(fact, name)), "")
        cure = CURES.get(type(fact))
        more = {} if cure is None else {"cure": cure}
        self._put(fact.level, event_name(type(fact)), subject, lambda: _fields(fact) | more)

    def line(self, level: str, event: str, **fields: Any) -> None:
        """Queue a line that no fact stands for (start, stop, settings)."""
        if LEVELS[level] >= self._threshold:
            self._put(level, event, None, lambda: fields)

    def statistics(self) -> dict[str, object]:
        """Lines that wait, and lines that were dropped because too many did."""
        return {"queued": self._queue.qsize(), "dropped": self._dropped}

    # --- from here on the queue's two ends ----------------------------------------------------------------------------
    def _put(self, level: str, event: str, subject: object, fields: Callable[[], Mapping[str, Any]]) -> None:
        try:
            self._queue.put_nowait((self._wall(), level, event, subject, fields))
        except queue.Full:
            self._dropped += 1  # a race may lose one of a thousand: it is only told as "many"

    def _write_all(self) -> None:
        dropped_told = 0
        sum_up_at_s = self._now() + SUM_UP_S
        while True:
            try:
                entry = self._queue.get(timeout=1.0)
            except queue.Empty:
                self._sum_up()
                continue
            if entry is None or self._now() >= sum_up_at_s:
                self._sum_up()
                sum_up_at_s = self._now() + SUM_UP_S
            if self._dropped != dropped_told:
                dropped_told, newly = self._dropped, self._dropped - dropped_told
                self._write(self._wall(), "warning", "log_lines_dropped", {"count": newly})
            if entry is None:
                return
            self._write_entry(entry)

    def _write_entry(self, entry: _Entry) -> None:
        wall_s, level, event, subject, fields = entry
        left_out: int | None = 0
        if subject is not None:
            left_out = self._bound.allow((event, subject), self._now())
            if left_out is None:
                return
        try:
            every = dict(fields())
        except Exception as error:  # noqa: BLE001 - a fact that cannot be shown must not end the log
            every = {"unshown": repr(error)}
        if left_out:
            every["suppressed"] = left_out
        self._write(wall_s, level, event, every)

    def _sum_up(self) -> None:
        """One line for each event of which lines were left out and no later line has told."""
        counts: dict[str, int] = {}
        for key, count in self._bound.untold().items():
            event = str(key[0]) if isinstance(key, tuple) else str(key)
            counts[event] = counts.get(event, 0) + count
        for event, count in counts.items():
            self._write(self._wall(), "info", "lines_suppressed", {"of": event, "count": count})

    def _write(self, wall_s: float, level: str, event: str, fields: MutableMapping[str, Any]) -> None:
        stamp = datetime.fromtimestamp(wall_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        shown = {k: MASK if SECRET_FIELD.search(k) else masked(v) for k, v in fields.items() if k not in _OWN}
        if shown.get("traceback") == "":
            del shown["traceback"]
        try:
            rendered = self._render(None, level, {"timestamp": stamp, "level": level, "event": event, **shown})
            text = rendered.decode() if isinstance(rendered, bytes) else rendered
            self._stream.write(text.replace("\r", "\\r") + "\n")
            self._stream.flush()
        except (OSError, ValueError):  # nobody reads the log any more; the operator goes on without
            self._dropped += 1


def _structlog() -> Any:
    """structlog, without the rich that it would import for tracebacks: ours are text, and 4 MB are a fifteenth of a process."""
    modules: dict[str, Any] = vars(sys)["modules"]
    hidden = "rich" not in modules
    if hidden:
        modules["rich"] = None  # how an import is made to fail; structlog does without
    try:
        import structlog
    finally:
        if hidden:
            del modules["rich"]
    return structlog


def _fields(fact: Fact) -> dict[str, Any]:
    return attrs.asdict(fact, recurse=False, filter=lambda attribute, _value: UNLOGGED not in attribute.metadata)


def _console(stream: TextIO) -> Callable[[Any, str, EventDict], str]:
    colors = stream.isatty() and "NO_COLOR" not in os.environ
    renderer = _structlog().dev.ConsoleRenderer(colors=colors, pad_event_to=24)

    def render(logger: Any, level: str, event: EventDict) -> str:
        """A traceback stands below its line, as it stands in Python."""
        traceback = event.pop("traceback", "")
        line: str = renderer(logger, level, event)
        return line + ("\n" + str(traceback).rstrip() if traceback else "")

    return render
