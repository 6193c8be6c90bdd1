"""What is so around one parent at one instant, as ``why`` reads it: frozen, gathered from outside, asking nobody.

All instants are on our monotonic clock, in seconds. Each part was read from a running actor without stopping it, so two parts
may be a moment apart, and one that is in the middle of a message may show half of it: ``busy_s`` says since when.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

from .model import Child, Parent, ParentKey, Policy

QUIET_S = 27.0
"""How long nothing may come over a live stream: a watch is cut after 25 s, and its successor proves itself at once."""
Counts = Mapping[str, tuple[int, int, int]]
"""By kind: (healthy, unhealthy, unknown)."""


@frozen(kw_only=True)
class ActorSeen:
    """One actor: ``state`` is running, down, quarantined or stopped; ``busy_s`` since when it has a message in hand."""

    state: str = "running"
    mailbox: int = 0
    busy_s: float | None = None
    last_error: str = ""


@frozen(kw_only=True)
class KindSeen:
    """One kind: its stream as the watcher knows it. ``heard_s``: when the server last proved that the stream lives."""

    kind: str
    synced: bool
    up: bool
    message: str = ""
    heard_s: float | None = None
    watcher: ActorSeen = field(factory=ActorSeen)
    subscribed: bool = True
    """Whether its watcher knows the parent's actor."""


@frozen(kw_only=True)
class PlaceSeen:
    """Where the directory has the parent's actor: a ``Phase`` of it, or "asleep" where there is none."""

    phase: str
    restart_s: float | None = None
    probe_s: float | None = None
    why: str = ""


@frozen
class TurnedDown:
    """The server did not take our status: ``conflict``, or ``refused`` for good; when we look again."""

    conflict: bool
    message: str
    since_s: float
    until_s: float


@frozen(kw_only=True)
class AttemptSeen:
    """What the parent's actor remembers of a repair that it asked for: its answer's instant, None while it has none."""

    key: str
    asked_s: float
    answered_s: float | None
    cooled_s: float | None = None
    """When it has cooled down."""


@frozen(kw_only=True)
class ClusterSeen:
    """The parent's own actor. ``eligible`` and ``counts`` are of the records that it has taken in."""

    missing: tuple[str, ...] = ()
    debounce_s: float | None = None
    due_s: float = 0.0
    writing: bool = False
    turned_down: TurnedDown | None = None
    counts: Counts = field(factory=dict)
    eligible: Mapping[str, Child] = field(factory=dict)
    skipped: frozenset[str] = frozenset()
    """Uids of those whose records have killed its reader twice."""
    attempts: Mapping[str, AttemptSeen] = field(factory=dict)
    """By uid, of eligible children, where the attempt is at the present incident."""
    left_out: frozenset[str] = frozenset()
    """Uids of the sick whom the fleet's own ``reconcile`` does not want repaired; ``failed``: what it raised, or ""."""
    failed: str = ""
    exhausted: Mapping[str, int] = field(factory=dict)
    """By uid: those whose attempts are spent, and how many they were."""
    asked: frozenset[str] = frozenset()
    """Keys that the gateway was last told to be wanted."""
    places: int = 0
    """How many repairs of this parent are under way, for ``in_flight_max``."""


@frozen(kw_only=True)
class WriteSeen:
    """What the StatusActor has of the parent. ``since_s``: of the write under way, else of the wish."""

    writing: bool
    since_s: float
    retry_s: float | None = None
    attempts: int = 0
    error: str = ""


@frozen(kw_only=True)
class ItemSeen:
    """One item in the gateway's queue: ``place`` is ready, waiting, blocked or flying. ``at_s``: ready since, or not before."""

    key: str
    place: str
    at_s: float
    attempts: int = 0
    embargo_s: float | None = None
    call_s: float | None = None
    call_until_s: float | None = None
    suspect: bool = False
    ahead: int = 0
    """Items that leave before it."""


@frozen(kw_only=True)
class GatewaySeen:
    """The gateway: its gates, and this parent's items by uid. What does not hold is None."""

    opens_s: float | None = None
    """The end of the cold start; infinity before it has begun."""
    pause_s: float | None = None
    probing: bool = False
    breaker: str = "closed"
    breaker_s: float | None = None
    """When the breaker lets a call through; infinity while a probe is out."""
    error: str = ""
    """The last failure of a call, "" since one was answered."""
    calls: int = 0
    calls_max: int = 1
    calls_over_s: float | None = None
    """When the first call under way is over at the latest."""
    slot_s: float = 0.0
    """When the next slot is free: not later than now if one is, infinity if only a reply can tell."""
    batch_s: float = 0.0
    """When the batch that is being filled leaves."""
    batch_max: int = 1
    quota: tuple[int, float] = (1, 1.0)
    items: Mapping[str, ItemSeen] = field(factory=dict)
    held: str = ""
    """Why the valve over all parents holds this one's calls; "": it does not."""
    held_s: float | None = None
    held_until_s: float | None = None
    """When it opens if all goes well; None while too many are in trouble."""


@frozen(kw_only=True)
class Situation:
    """Everything ``why`` goes by. ``counts`` and ``eligible`` are of the delivered records; ``cluster`` None: it is not up."""

    now_s: float
    key: ParentKey
    ending: str = ""
    kinds: tuple[KindSeen, ...] = ()
    quiet_s: float = QUIET_S
    parent: Parent | None = None
    policy: Policy = field(factory=Policy)
    override: bool = False
    """Whether no valve holds its repairs now, as its annotation says."""
    command_pause_s: float | None = None
    behind: Mapping[str, float] = field(factory=dict)
    """Kinds whose stream has been down for long, since when that is known."""
    counts: Counts = field(factory=dict)
    children: Mapping[str, Child] = field(factory=dict)
    """Of the delivered records, by uid: who is unwell, and the child asked about."""
    guests: int = 0
    """How many of all are guests: counted here, and repaired for another parent."""
    repairers: Mapping[str, str] = field(factory=dict)
    """By uid of the guests among ``children``: for which parent each is repaired, and whether that is there."""
    actor: ActorSeen = field(factory=ActorSeen)
    place: PlaceSeen = field(factory=lambda: PlaceSeen(phase="asleep"))
    directory: ActorSeen = field(factory=ActorSeen)
    status_actor: ActorSeen = field(factory=ActorSeen)
    gateway_actor: ActorSeen = field(factory=ActorSeen)
    cluster: ClusterSeen | None = None
    write: WriteSeen | None = None
    gateway: GatewaySeen | None = None

    @property
    def total(self) -> int:
        """All children on record."""
        return sum(sum(each) for each in self.counts.values())

    @property
    def ours(self) -> int:
        """All but the guests."""
        return self.total - self.guests
