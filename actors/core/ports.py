"""What the outside must offer, as protocols: the simulator replaces these, never the actors.

Blocking calls (``StatusWriter``, ``Backend``) run on a bounded executor, never on a dispatcher's worker. A simulated port
may return ``Later`` instead of blocking: the simulated executor then delivers the result at that virtual time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from attrs import frozen

from .events import Fact
from .model import Child, EventNote, Item, ParentKey
from .operation import PROMISED, Capabilities
from .records import Entries

T = TypeVar("T")


class Clock(Protocol):
    """Time, injected. Both in seconds."""

    def now(self) -> float:
        """Monotonic: for intervals, deadlines and order."""

    def wall(self) -> float:
        """Unix time: only for what people or other programs read."""


class Random(Protocol):
    """Randomness, injected (``random.Random`` is one)."""

    def random(self) -> float:
        """A float in [0, 1)."""

    def uniform(self, a: float, b: float) -> float:
        """A float in [a, b]."""


class Cancel(Protocol):
    """Takes back what was scheduled; harmless when it has already happened. Any thread."""

    def __call__(self) -> None: ...


@frozen
class Outcome(Generic[T]):
    """How a blocking call ended: exactly one of ``value`` and ``error`` counts (``error`` when it is not None)."""

    value: T | None
    error: BaseException | None


@frozen
class Later(Generic[T]):
    """A simulated port's answer: call ``result`` after ``delay_s`` of virtual time; it may raise, or answer ``Later`` again."""

    delay_s: float
    result: Callable[[], T | Later[T]]


class Facts(Protocol):
    """Where facts go: logs, metrics, views. Must be cheap and must not raise. Any thread."""

    def __call__(self, fact: Fact, /) -> None: ...


class Records(Protocol):
    """Read-only view of the watchers' records. Any thread; each lookup is one dict read."""

    def child(self, kind: str, parent: ParentKey, uid: str) -> Child | None:
        """The freshest delivered record of that child while it belongs to that parent, else None."""

    def tally(self) -> tuple[int, int]:
        """How many children are eligible, and how many there are, of all parents. O(kinds)."""


@frozen(kw_only=True)
class Objects:
    """Mail about objects of one kind, reader → watcher and watcher → ClusterActor. Coalesces in the mailbox.

    ``entries`` maps uid to the newest record, or to None where it is gone. With ``replace`` the entries are all there
    are: whatever else the receiver holds of this kind is gone (merging instead would leave phantom children). ``epoch``
    grows with each start of the kind's reader; mail of an older epoch is stale.

    Loss: counts are wrong until the next replacement, which is why a crash on it asks for one.
    """

    kind: str
    entries: Entries
    replace: bool = False
    epoch: int = 0


@frozen(kw_only=True)
class StreamChanged:
    """Reader → watcher: the kind's stream came up, or went down (``reason`` CamelCase, ``message`` with the cure).

    Loss: readiness and the log are stale; no count depends on it.
    """

    kind: str
    epoch: int
    up: bool
    reason: str = ""
    message: str = ""


class Reader(Protocol):
    """Lists and watches; decodes; drops what is immaterial; owns the last heartbeat of each child.

    Delivers ``Objects`` (the first of each epoch has ``replace``; ``silent`` records are its own verdicts) and
    ``StreamChanged``, in order per kind, from any thread. One bad object is a fact (``ObjectRefused``), never an end.
    """

    def start(self, kind: str, epoch: int, deliver: Callable[[Objects | StreamChanged], None]) -> None:
        """Begin the kind anew: a fresh list, then its changes. An earlier start of the same kind ends."""

    def set_timeout(self, kind: str, parent: ParentKey, timeout_s: float | None) -> None:
        """How long children of ``parent`` may be silent; None: for ever. Takes effect at once, survives ``start``."""

    def relist(self, kind: str) -> None:
        """List again now (an operator asked, or an audit found a difference)."""

    def stop(self, timeout_s: float) -> None:
        """End every stream; return when they have ended or after ``timeout_s``."""


@frozen(kw_only=True)
class Written:
    """The API server took a status: the object's new resourceVersion, and the status as it now stands there."""

    version: int
    status: dict[str, Any]


class StatusWriter(Protocol):
    """Writes to the API server. Blocking (≤ 10 s); raises ``ApiError``."""

    def patch_status(
        self, parent: ParentKey, uid: str, version: int, status: dict[str, Any]
    ) -> Written | Later[Written]:
        """Make the parent's status exactly ``status`` if its resourceVersion still is ``version``, else ``Conflict``.

        A merge patch; fields of the old status that are absent from ``status`` are the caller's to null.
        """

    def record_event(self, parent: ParentKey, uid: str, note: EventNote) -> None:
        """Record an Event on the parent. Best effort."""


@frozen(kw_only=True)
class Call:
    """One batch call. ``id`` names the attempt (the ``Idempotency-Key`` header); item keys are in the items."""

    id: str
    operation: str
    items: tuple[Item, ...]
    timeout_s: float


@frozen(kw_only=True)
class ItemResult:
    """The backend's word on one item: ``status`` is "accepted", "failed" or "throttled" (retry later)."""

    status: str
    message: str = ""
    retry_after_s: float | None = None


@frozen(kw_only=True)
class Reply:
    """An understood answer: results by item key (a missing item is to be retried), and how many were of unknown items."""

    results: dict[str, ItemResult]
    unknown_count: int = 0


class Backend(Protocol):
    """The batch service. Blocking for at most ``call.timeout_s``; raises ``BackendError``. Retries and redirects nothing.

    ``capabilities`` is what the service promises, and never changes. ``testing.BackendContract`` holds an adapter to all this.
    """

    capabilities: Capabilities = PROMISED

    def send(self, call: Call) -> Reply | Later[Reply]:
        """Send one call. Exactly one arrival at the backend at most."""
