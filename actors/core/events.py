"""Facts: typed things that happened. Logs, metrics, the live view and the tests all read the same ones.

Each is a frozen class whose name is a past participle; ``level`` says how loud its log line is. Fields are plain values,
so that a fact can be logged, counted, stored and compared. Times are not in them: who records a fact stamps it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from attrs import field, frozen

UNLOGGED = "unlogged"
"""In a field's metadata: it is not for log lines."""


@frozen(kw_only=True)
class Fact:
    """The root. ``level`` is one of debug, info, warning, error."""

    level: ClassVar[str] = "info"


# --- actors -----------------------------------------------------------------------------------------------------------
@frozen(kw_only=True)
class ActorCrashed(Fact):
    """An incarnation died. ``poison`` is the fingerprint of the message it died of ("" outside a message)."""

    level: ClassVar[str] = "error"
    actor: str
    incarnation: int
    error: str
    traceback: str
    poison: str = ""
    uptime_s: float = 0.0


@frozen(kw_only=True)
class ActorRestarted(Fact):
    """A new incarnation runs in the same cell."""

    level: ClassVar[str] = "warning"
    actor: str
    incarnation: int


@frozen(kw_only=True)
class ActorQuarantined(Fact):
    """A dynamic child spent its own restart budget and stays down; its siblings go on."""

    level: ClassVar[str] = "error"
    actor: str
    deaths: int
    error: str


@frozen(kw_only=True)
class ActorReleased(Fact):
    """A quarantined child was let out: ``by`` is "spec", "probe" or "command"."""

    actor: str
    by: str


@frozen(kw_only=True)
class ActorWedged(Fact):
    """One message has been in hand for longer than the deadline; its thread is abandoned and counted."""

    level: ClassVar[str] = "error"
    actor: str
    message: str
    busy_s: float


@frozen(kw_only=True)
class Escalated(Fact):
    """A supervisor gave up: its restart budget or the share of failing children was exceeded."""

    level: ClassVar[str] = "error"
    supervisor: str
    reason: str


@frozen(kw_only=True)
class DeadLettered(Fact):
    """A message reached nobody, or killed who handled it. ``reason``: poison, dead, stale, overflow, refused."""

    level: ClassVar[str] = "warning"
    actor: str
    message: str
    reason: str
    fingerprint: str = ""


@frozen(kw_only=True)
class RecordSkipped(Fact):
    """A record killed its reader twice and is left out until it changes: counts are wrong by it, and say so."""

    level: ClassVar[str] = "error"
    actor: str
    fingerprint: str


# --- watch ------------------------------------------------------------------------------------------------------------
@frozen(kw_only=True)
class StreamUp(Fact):
    """A kind's stream delivers. ``gap_s`` is how long it did not."""

    kind: str
    gap_s: float


@frozen(kw_only=True)
class StreamDown(Fact):
    """A kind's stream ended in other than its agreed way; it is retried after ``retry_s``."""

    level: ClassVar[str] = "warning"
    kind: str
    reason: str
    message: str
    retry_s: float


@frozen(kw_only=True)
class WatchFellBehind(Fact):
    """A kind's stream has been down for so long that no repair of its children is asked for (``behind``); or is back."""

    level: ClassVar[str] = "warning"
    kind: str
    behind: bool


@frozen(kw_only=True)
class Listed(Fact):
    """A kind was listed completely. ``missing`` counts the deletions found by absence."""

    kind: str
    count: int
    missing: int
    reason: str


@frozen(kw_only=True)
class ObjectRefused(Fact):
    """One object or line could not be read and was left out; the stream lives."""

    level: ClassVar[str] = "warning"
    kind: str
    place: str
    why: str


@frozen(kw_only=True)
class ParentDisputed(Fact):
    """A child names several parents; ``chosen`` won by the fleet's order."""

    level: ClassVar[str] = "warning"
    kind: str
    child: str
    chosen: str
    others: tuple[str, ...]


@frozen(kw_only=True)
class ParentMissing(Fact):
    """Children of ``kind`` name a parent that is not there: they are counted once it is created."""

    level: ClassVar[str] = "warning"
    kind: str
    parent: str


@frozen(kw_only=True)
class ParentUnnamed(Fact):
    """A child names no parent at all: nobody counts it."""

    level: ClassVar[str] = "warning"
    kind: str
    child: str


@frozen(kw_only=True)
class AuditDiffered(Fact):
    """The records differed from the server, or the counts from a recount; repaired. A bug to explain."""

    level: ClassVar[str] = "error"
    kind: str
    differences: int
    sample: str


@frozen(kw_only=True)
class ReaderChosen(Fact):
    """Where a kind is read: ``reader`` is "thread" (of this process) or "process" (its own)."""

    kind: str
    reader: str
    why: str


@frozen(kw_only=True)
class ReaderStarted(Fact):
    """A process that reads one kind was started; it lists the kind first."""

    kind: str
    pid: int


@frozen(kw_only=True)
class ReaderDied(Fact):
    """That process has ended, or was ended since it hung or sent nonsense; another is started after ``retry_s``.

    ``reason``: ended, killed, hung, garbled, not started, crashed. ``pid`` 0 where it was never started.
    """

    level: ClassVar[str] = "error"
    kind: str
    pid: int
    reason: str
    message: str
    retry_s: float


@frozen(kw_only=True)
class RequestAnswered(Fact):
    """A request to the API server came to its answer's headers after ``seconds``; ``code`` "<error>": there was none."""

    level: ClassVar[str] = "debug"
    method: str
    host: str
    code: str
    seconds: float


# --- parents ----------------------------------------------------------------------------------------------------------
@frozen(kw_only=True)
class ReconcileFailed(Fact):
    """The fleet's own ``reconcile`` raised for that parent: its counts are written, its repairs are held. Told when new."""

    level: ClassVar[str] = "error"
    parent: str
    error: str
    traceback: str


@frozen(kw_only=True)
class Reconciled(Fact):
    """One reconcile ran. ``changed`` says whether it wanted another status than the last.

    ``changes``: how many were looked at in one; ``waited_s`` since the first of them, None where a deadline or a retry called
    for it.
    """

    level: ClassVar[str] = "debug"
    parent: str
    cause: str
    changed: bool
    seconds: float = 0.0
    waited_s: float | None = None
    changes: int = 0


@frozen(kw_only=True)
class LookDeferred(Fact):
    """Something about a parent changed: its look waits for quiet, ``after_s`` at first. Further changes join it silently."""

    level: ClassVar[str] = "debug"
    parent: str
    cause: str
    after_s: float


@frozen(kw_only=True)
class NewsSuppressed(Fact):
    """Mail about a parent held nothing that it must be looked at for: our own write's echo, the same once more."""

    level: ClassVar[str] = "debug"
    parent: str
    kind: str
    objects: int


@frozen(kw_only=True)
class Planned(Fact):
    """A Plan that asks for something: the status' differences in words, and how many repairs are newly asked and taken back."""

    level: ClassVar[str] = "debug"
    parent: str
    status: str
    asked: int
    withdrawn: int
    look_s: float | None = None


@frozen(kw_only=True)
class RepairsAnswered(Fact):
    """The gateway's answers reached their parent."""

    level: ClassVar[str] = "debug"
    parent: str
    done: int
    failed: int
    withdrawn: int


@frozen(kw_only=True)
class StatusWritten(Fact):
    """A status was accepted by the API server."""

    level: ClassVar[str] = "debug"
    parent: str
    version: int


@frozen(kw_only=True)
class StatusFailed(Fact):
    """A status was not accepted; ``retry_s`` None means that a newer version of the object is awaited instead."""

    level: ClassVar[str] = "warning"
    parent: str
    reason: str
    message: str
    retry_s: float | None = None


@frozen(kw_only=True)
class EventFailed(Fact):
    """An Event could not be recorded (best effort: not retried)."""

    level: ClassVar[str] = "debug"
    parent: str
    message: str


@frozen(kw_only=True)
class ValveMoved(Fact):
    """A parent's repairs are held (``closed``) or allowed again."""

    level: ClassVar[str] = "warning"
    parent: str
    closed: bool
    eligible: int
    limit: int
    total: int


@frozen(kw_only=True)
class RepairsExhausted(Fact):
    """Children of a parent stay unwell after all their attempts, and are not asked for again. ``sample``: some names."""

    level: ClassVar[str] = "warning"
    parent: str
    children: int
    sample: str


@frozen(kw_only=True)
class FleetValveMoved(Fact):
    """All calls are held (``closed``), because too many children of all parents need repair at once; or may leave again."""

    level: ClassVar[str] = "warning"
    closed: bool
    eligible: int
    limit: int
    total: int


# --- shadow -----------------------------------------------------------------------------------------------------------
@frozen(kw_only=True)
class ShadowAgreed(Fact):
    """A status that we would have written stands there: the live operator's Plan was ours."""

    level: ClassVar[str] = "debug"
    parent: str


@frozen(kw_only=True)
class ShadowDiffered(Fact):
    """What stands there is not what we would have written, after all the time that the live operator may take."""

    level: ClassVar[str] = "warning"
    parent: str
    difference: str


# --- backend ----------------------------------------------------------------------------------------------------------
@frozen(kw_only=True)
class CallSent(Fact):
    """A batch call is about to leave. ``shares``: items by parent; too many for a log line."""

    operation: str
    call: str
    items: int
    parents: int
    waited_s: float
    shares: Mapping[str, int] = field(factory=dict, metadata={UNLOGGED: True})


@frozen(kw_only=True)
class CallAnswered(Fact):
    """A batch call ended. ``outcome``: answered, throttled, timeout, unavailable, misconfigured, refused, malformed."""

    operation: str
    call: str
    outcome: str
    seconds: float
    accepted: int = 0
    failed: int = 0
    retried: int = 0
    unknown: int = 0
    message: str = ""


@frozen(kw_only=True)
class ItemsWithdrawn(Fact):
    """Queued items that are no longer wanted. ``why``: withdrawn, recovered, gone, changed."""

    level: ClassVar[str] = "debug"
    operation: str
    count: int
    why: str


@frozen(kw_only=True)
class BreakerMoved(Fact):
    """The circuit breaker of an operation opened, half-opened or closed."""

    level: ClassVar[str] = "warning"
    operation: str
    state: str
    message: str = ""


@frozen(kw_only=True)
class BackendPaused(Fact):
    """The backend throttled: nothing is sent for ``pause_s``."""

    level: ClassVar[str] = "warning"
    operation: str
    pause_s: float


@frozen(kw_only=True)
class FuseTripped(Fact):
    """The fuse refused a call that the ledger had allowed: a bug of the ledger. The call was not sent."""

    level: ClassVar[str] = "error"
    operation: str
    call: str


# --- the shell --------------------------------------------------------------------------------------------------------
@frozen(kw_only=True)
class CommandGiven(Fact):
    """A person changed something by the shell. ``by`` is who, as the kernel tells it; ``reason`` is their own word."""

    level: ClassVar[str] = "warning"
    command: str
    by: str
    reason: str


# --- recording --------------------------------------------------------------------------------------------------------
@frozen(kw_only=True)
class RecordingStarted(Fact):
    """The run is recorded from here on. The actors stood still for ``paused_s``; ``size`` of the tape so far in bytes."""

    file: str
    paused_s: float
    size: int


@frozen(kw_only=True)
class RecordingEnded(Fact):
    """The recording was switched off; the tape is whole. ``size`` in bytes."""

    file: str
    entries: int
    size: int


@frozen(kw_only=True)
class RecordingCut(Fact):
    """The recording ended by itself: the tape is full, or cannot be written, or something has no place on it."""

    level: ClassVar[str] = "warning"
    file: str
    reason: str
    entries: int
    size: int


@frozen(kw_only=True)
class RecordingRefused(Fact):
    """Nothing is recorded: the file cannot be made, or the state of some actor cannot be written down."""

    level: ClassVar[str] = "error"
    file: str
    reason: str
