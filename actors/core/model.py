"""The records: what is kept of each object, and nothing else.

Records are immutable, so that anybody may hold one. A parent's is shared by reference. A child's is made when somebody asks for
it: what is kept of children are rows (``rows``), of which a struct without garbage-collector tracking is the readable form.
"""

from __future__ import annotations

import enum
from typing import Any, NamedTuple

import msgspec
from attrs import field, frozen


class ParentKey(NamedTuple):
    """Names a parent: its namespace ("" where the kind is cluster-scoped) and name."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


class State(enum.Enum):
    """What a child counts as. ``total`` is the sum of the three."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    UNKNOWN = "unknown"


AT = "@"
"""In a guest's uid, between its object's and its parent."""


class Child(msgspec.Struct, frozen=True, gc=False):
    """One child as its last delivered report left it.

    ``healthy`` is None until it has reported. ``silent`` is the reader's verdict by our own clock. What names an incident is
    there only where there is one: ``since`` of who is unhealthy, the health transition's own instant as the object tells it
    (RFC 3339, "" where it does not), and ``heartbeat`` of who is silent and not unhealthy, the last one's value. ``fields`` and
    ``quiet`` are the further fields that the fleet keeps, each a JSON array ("" where there is none): those that matter, and
    those that do not. A ``guest`` is counted for this parent and repaired by another one, the first that its object names
    (``several``); its uid is of its own.
    """

    kind: str
    namespace: str
    name: str
    uid: str
    version: int
    parent: ParentKey | None
    healthy: bool | None = None
    since: str = ""
    heartbeat: str = ""
    silent: bool = False
    fields: str = ""
    quiet: str = ""
    guest: bool = False

    @property
    def state(self) -> State:
        """Healthy is a fresh good report; unhealthy is a bad one, however old; everything else is unknown."""
        if self.healthy is False:
            return State.UNHEALTHY
        if self.healthy and not self.silent:
            return State.HEALTHY
        return State.UNKNOWN

    @property
    def object_uid(self) -> str:
        """The uid of the object itself: of a guest, too."""
        return self.uid.partition(AT)[0] if self.guest else self.uid

    @property
    def unwell(self) -> bool:
        """A bad report, or silence past the timeout (never reported included)."""
        return self.healthy is False or self.silent

    @property
    def eligible(self) -> bool:
        """Whether this parent may want a repair: of one that is unwell, and no guest."""
        return (self.healthy is False or self.silent) and not self.guest

    @property
    def incident(self) -> str:
        """Names this child's present trouble, from the object alone, so that it survives the death of this process."""
        if self.healthy is False:
            return f"unhealthy@{self.since}"
        if self.silent:
            return f"silent@{self.heartbeat}"
        return ""

    def same_matter(self, other: Child) -> bool:
        """Whether nothing that a parent would be woken for differs (version, heartbeat and quiet fields do not count)."""
        return (
            self.healthy == other.healthy
            and self.silent == other.silent
            and self.since == other.since
            and self.fields == other.fields
            and self.parent == other.parent
            and self.name == other.name
            and self.namespace == other.namespace
        )


class Share(NamedTuple):
    """A limit on how many of a parent's children: ``percent`` (0 to 100) of them, or the ``absolute`` number."""

    percent: float | None = None
    absolute: int | None = None

    def __str__(self) -> str:
        return f"{self.percent:g}%" if self.percent is not None else str(self.absolute)


HALF = Share(percent=50.0)


@frozen(kw_only=True)
class ParentSpec:
    """What the parent's own spec says; None where it is silent, and the operator's settings hold there.

    Durations in seconds. ``override_until_s`` (Unix seconds) comes from an annotation: until then no valve holds this parent's
    repairs. ``problems`` names each field that could not be read, with what was found and expected.
    """

    heartbeat_timeout_s: float | None = None
    debounce_quiet_s: float | None = None
    debounce_max_s: float | None = None
    min_healthy: int | None = None
    repair_enabled: bool | None = None
    max_unhealthy: Share | None = None
    cooldown_s: float | None = None
    attempts_max: int | None = None
    in_flight_max: int | None = None
    paused: bool = False
    override_until_s: float | None = None
    problems: tuple[str, ...] = ()


SILENT = ParentSpec()
"""What most parents' says: nothing. Whoever reads a spec gives this one then, so that comparing two costs nothing."""


_Status = dict[str, Any] | bytes
"""A status, or its text: the version it was seen at, a space, and JSON. That takes 0.8 kB, where the dict takes 4."""


def _read(status: _Status) -> dict[str, Any]:
    if isinstance(status, dict):
        return status
    found: dict[str, Any] = msgspec.json.decode(memoryview(status)[status.index(b" ") + 1 :])
    return found


def status_text(version: int, status: dict[str, Any]) -> bytes:
    """That text."""
    return b"%d %b" % (version, msgspec.json.encode(status))


_CANONICAL = msgspec.json.Encoder(order="sorted")


def _canonical(status: dict[str, Any]) -> bytes:
    return _CANONICAL.encode(status)


@frozen
class Wish:
    """A status that is wished for, as text: 1 kB in one object, where the dicts are 2.2 in sixteen, and many wait at times.

    Equal statuses are equal texts, in the order in which an API server writes them.
    """

    text: bytes = field(converter=_canonical, alias="status")

    @property
    def status(self) -> dict[str, Any]:
        """The status. It is read anew each time, some microseconds: ask once."""
        found: dict[str, Any] = msgspec.json.decode(self.text)
        return found

    def plain(self) -> dict[str, Any]:
        """See ``graph.Plain``."""
        return {"status": self.status}

    def of_plain(self, values: dict[str, Any]) -> None:
        """See ``graph.Plain``."""
        object.__setattr__(self, "text", _canonical(values["status"]))


@frozen(kw_only=True)
class Parent:
    """One parent: its spec as read, and the status last seen on the server (JSON values, {} where there is none).

    ``fields`` are the further ones that a fleet keeps of it, a JSON array ("" where there is none).
    """

    kind: str
    key: ParentKey
    uid: str
    version: int
    generation: int
    spec: ParentSpec
    _status: _Status = field(eq=_read, repr=lambda status: repr(_read(status)))
    deleting: bool = False
    fields: str = ""

    @property
    def status(self) -> dict[str, Any]:
        """The status. Where it is kept as text it is read anew each time, some microseconds: ask once."""
        return _read(self._status)

    @property
    def text(self) -> bytes:
        """Version and status as text: what is kept of a parent that nobody looks at."""
        if isinstance(self._status, bytes) and self._status.startswith(b"%d " % self.version):
            return self._status
        return status_text(self.version, self.status)

    def holds(self, wish: Wish) -> bool:
        """Whether its status is that wish to the letter. One that is not may be the same all the same."""
        return isinstance(self._status, bytes) and self._status[self._status.index(b" ") + 1 :] == wish.text

    def plain(self) -> dict[str, Any]:
        """All there is, for a tape: the status in plain values, so that what looks like a credential is masked there."""
        names = ("kind", "key", "uid", "version", "generation", "spec", "status", "deleting", "fields")
        return {name: getattr(self, name) for name in names}

    def of_plain(self, values: dict[str, Any]) -> None:
        """The same, back."""
        for name, value in values.items():
            object.__setattr__(self, "_status" if name == "status" else name, value)

    @property
    def namespace(self) -> str:
        """The namespace, "" where the kind is cluster-scoped."""
        return self.key.namespace

    @property
    def name(self) -> str:
        """The object's name."""
        return self.key.name


Record = Child | Parent


def fingerprint(kind: str, uid: str, record: Record | None) -> str:
    """Names one version of one object: what a crash on it is remembered by."""
    return f"{kind}/{record.namespace}/{record.name}@{record.version}" if record is not None else f"{kind}/{uid}@gone"


@frozen(kw_only=True)
class Policy:
    """The settings in force for one parent: its spec where it speaks, the operator's settings where it is silent.

    ``heartbeat_timeout_s`` None means that nobody is ever silent. ``eligible_floor`` is the count of eligible children
    up to which a percentage never closes the valve (3: the same floor as Cluster Autoscaler's ``ok-total-unready-count``).
    ``cooldown_max_s`` is what the cooldown grows to with each attempt at one trouble (0: it does not), ``attempts_max`` how
    many there are (None: as many as it takes); see ``budget``.
    """

    heartbeat_timeout_s: float | None = None
    debounce_quiet_s: float = 0.1
    debounce_max_s: float = 2.0
    min_healthy: int = 1
    repair_enabled: bool = True
    max_unhealthy: Share = HALF
    eligible_floor: int = 3
    cooldown_s: float = 300.0
    cooldown_max_s: float = 0.0
    attempts_max: int | None = None
    in_flight_max: int | None = None

    def over(self, spec: ParentSpec) -> Policy:
        """This policy as the defaults beneath ``spec``."""
        if (spec is SILENT or spec == SILENT) and self.debounce_max_s >= self.debounce_quiet_s:
            return self  # most parents say nothing

        def pick(mine: Any, theirs: Any) -> Any:
            return mine if theirs is None else theirs

        quiet_s = pick(self.debounce_quiet_s, spec.debounce_quiet_s)
        return Policy(
            heartbeat_timeout_s=pick(self.heartbeat_timeout_s, spec.heartbeat_timeout_s),
            debounce_quiet_s=quiet_s,
            debounce_max_s=max(quiet_s, pick(self.debounce_max_s, spec.debounce_max_s)),
            min_healthy=pick(self.min_healthy, spec.min_healthy),
            repair_enabled=pick(self.repair_enabled, spec.repair_enabled),
            max_unhealthy=pick(self.max_unhealthy, spec.max_unhealthy),
            eligible_floor=self.eligible_floor,
            cooldown_s=pick(self.cooldown_s, spec.cooldown_s),
            cooldown_max_s=self.cooldown_max_s,
            attempts_max=pick(self.attempts_max, spec.attempts_max),
            in_flight_max=pick(self.in_flight_max, spec.in_flight_max),
        )


class Item(msgspec.Struct, frozen=True):
    """One repair wanted. The gateway knows nothing of nodes: ``payload`` is the backend adapter's business.

    ``key`` is the same for every sending of one attempt at one incident; ``since_s`` (our clock) orders a parent's items
    oldest first and ages them; ``retry`` is True from the second round on (new failures go before retries); ``attempt`` numbers
    those at one trouble of the child from 1, as far as this process knows (``budget``).
    """

    operation: str
    key: str
    kind: str
    uid: str
    incident: str
    parent: ParentKey
    payload: dict[str, Any]
    since_s: float
    retry: bool = False
    attempt: int = 1


class Regarding(NamedTuple):
    """A child that an Event is about."""

    kind: str
    namespace: str
    name: str
    uid: str


@frozen(kw_only=True)
class EventNote:
    """A Kubernetes Event to record on the parent, or on a child (``regarding``).

    ``reason`` is stable CamelCase, ``note`` is for people (≤ 1 kB).
    """

    type: str
    reason: str
    note: str
    action: str = "Reconcile"
    regarding: Regarding | None = None


@frozen(kw_only=True)
class Plan:
    """What should be: data that only the runtime executes.

    ``status`` is the whole wanted status (JSON values). ``repairs`` is the whole wanted set, not a difference: what was
    asked earlier and is missing here is withdrawn. ``look_again_at_s`` (our clock) is the next deadline that no event
    will announce, None when there is none. ``left_out`` are the uids of the sick whom the fleet's own ``reconcile`` does not
    want repaired; ``failed`` is the traceback of what that raised, "" where it did not.
    """

    status: dict[str, Any]
    repairs: tuple[Item, ...] = ()
    events: tuple[EventNote, ...] = ()
    look_again_at_s: float | None = None
    left_out: frozenset[str] = frozenset()
    failed: str = ""

    @property
    def failed_in_a_line(self) -> str:
        """The last line of that traceback: the exception's class and words."""
        return self.failed.splitlines()[-1] if self.failed else ""


class Now(NamedTuple):
    """One instant on both clocks: ``mono_s`` for intervals, ``wall_s`` (Unix seconds) for what people read."""

    mono_s: float
    wall_s: float
