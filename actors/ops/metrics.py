"""Facts become counters, and ``statistics()`` becomes gauges at the moment of a scrape.

Everything hangs on a ``CollectorRegistry`` of its own, made with the object: the process-global one would be shared by
every test and demo in a process. Names that dashboards know (``controller_runtime_…``) are kept where they mean the
same; all others begin with ``muster_``. No label names an object (a parent, a node, an actor): their number is the
fleet's, and a metrics store pays for each label value for ever. ``actor`` labels are the actor's class, the part of its
name before the first ``:`` or ``/``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from ..core import events
from ..core.events import Fact

RECONCILE_BUCKETS_S = (
    0.0001,
    0.0005,
    0.001,
    0.005,
    0.01,
    0.05,
    0.1,
    0.5,
    1.0,
)  # pure Python over some thousand records
CALL_BUCKETS_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
WAIT_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
ITEM_BUCKETS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000)


def actor_class(name: str) -> str:
    """``cluster/prod/db`` → ``cluster``; keeps the number of label values small, whatever a name is."""
    return re.split(r"[:/\[#@ ]", name, maxsplit=1)[0][:40] or "unnamed"


class Metrics:
    """Takes facts (the ``Facts`` port: any thread, never raises) and renders for Prometheus.

    ``statistics``, where given, is asked at each scrape; it may fail, and then only its gauges are missing.
    """

    def __init__(
        self,
        *,
        version: str,
        workers: int = 0,
        operations: Iterable[str] = (),
        statistics: Callable[[], Mapping[str, object]] | None = None,
    ) -> None:
        self.registry = registry = CollectorRegistry(auto_describe=False)
        self.statistics = statistics

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: Iterable[float], *labels: str) -> Histogram:
            return Histogram(name, text, labels, buckets=tuple(buckets), registry=registry)

        # Known names: dashboards for controller-runtime show them without a change.
        self._reconciles = counter("controller_runtime_reconcile", "Reconciles ended.", "controller", "result")
        self._reconcile_errors = counter("controller_runtime_reconcile_errors", "Reconciles that raised.", "controller")
        self._reconcile_s = histogram(
            "controller_runtime_reconcile_time_seconds", "Time in one reconcile.", RECONCILE_BUCKETS_S, "controller"
        )
        most = Gauge(
            "controller_runtime_max_concurrent_reconciles", "Worker threads.", ("controller",), registry=registry
        )
        most.labels("cluster").set(workers)
        # Actors
        self._crashes = counter("muster_actor_crashes", "Incarnations that died.", "actor")
        self._restarts = counter("muster_actor_restarts", "Incarnations started after a death.", "actor")
        self._quarantines = counter("muster_actor_quarantines", "Actors that spent their own restart budget.", "actor")
        self._releases = counter("muster_actor_releases", "Actors let out of quarantine.", "by")
        self._wedges = counter("muster_actor_wedges", "Actors that never came back from a message.", "actor")
        self._escalations = counter("muster_escalations", "Supervisors that gave up.", "supervisor")
        self._dead_letters = counter(
            "muster_dead_letters", "Messages that reached nobody or killed.", "actor", "reason"
        )
        self._records_skipped = counter("muster_records_skipped", "Records left out because they kill their reader.")
        # Watch
        self._stream_up = Gauge("muster_stream_up", "1 while the kind's stream delivers.", ("kind",), registry=registry)
        self._stream_downs = counter("muster_stream_downs", "Streams that ended unexpectedly.", "kind", "reason")
        self._lists = counter("muster_lists", "Complete lists, by why.", "kind", "reason")
        self._missing = counter("muster_deletions_found_missing", "Deletions found by a list, not by an event.", "kind")
        self._objects_refused = counter("muster_objects_refused", "Objects that could not be read.", "kind")
        self._orphans = counter("muster_parents_missing", "Parents that children name and that are not there.", "kind")
        self._disputes = counter("muster_parents_disputed", "Children that name several parents.", "kind")
        self._audit = counter("muster_audit_differences", "Records that differed from the server: bugs.", "kind")
        self._readers = counter("muster_readers_chosen", "Where kinds are read.", "kind", "reader")
        self._reader_lives = counter(
            "muster_reader_processes", "Reader processes: started, or why dead.", "kind", "what"
        )
        # Status
        self._writes = counter("muster_status_writes", "Statuses that the API server took.")
        self._write_failures = counter("muster_status_failures", "Statuses that it did not take.", "reason")
        self._event_failures = counter("muster_event_failures", "Kubernetes Events that were not recorded.")
        self._valve = counter("muster_valve_moves", "Parents whose repairs were held (closed) or allowed.", "to")
        # Backend
        self._calls = counter("muster_backend_calls", "Batch calls ended.", "operation", "outcome")
        self._calls_sent = counter("muster_backend_calls_sent", "Batch calls that left.", "operation")
        self._call_s = histogram("muster_backend_call_seconds", "Time to the answer.", CALL_BUCKETS_S, "operation")
        self._call_items = histogram("muster_backend_call_items", "Items in a call.", ITEM_BUCKETS, "operation")
        self._call_wait_s = histogram(
            "muster_backend_wait_seconds", "Wait of a call's oldest item.", WAIT_BUCKETS_S, "operation"
        )
        self._items = counter("muster_backend_items", "Items answered.", "operation", "answer")
        self._withdrawn = counter("muster_backend_items_withdrawn", "Items no longer wanted.", "operation", "why")
        self._throttles = counter("muster_backend_throttles", "Pauses that the backend asked for.", "operation")
        self._breaker = counter("muster_backend_breaker_moves", "Moves of the circuit breaker.", "operation", "state")
        self._fuse = counter(
            "muster_quota_fuse_trips", "Calls that the fuse stopped: a bug of the ledger.", "operation"
        )
        # Recording
        self._tapes = counter("muster_recordings", "Tapes begun, ended, cut short and refused.", "what")
        self._recording = Gauge("muster_recording", "1 while a tape runs.", registry=registry)
        Gauge("muster_build_info", "1, with the version.", ("version",), registry=registry).labels(version).set(1)
        GCCollector(registry=registry)
        PlatformCollector(registry=registry)
        ProcessCollector(registry=registry)
        registry.register(_Statistics(self))
        for operation in operations:  # an alert must see "none", which is not the same as "nothing to be seen"
            self._fuse.labels(operation)
        self._count: dict[type[Fact], Callable[[Any], None]] = {
            events.ActorCrashed: self._actor_crashed,
            events.ActorRestarted: self._actor_restarted,
            events.ActorQuarantined: self._actor_quarantined,
            events.ActorReleased: self._actor_released,
            events.ActorWedged: self._actor_wedged,
            events.Escalated: self._escalated,
            events.DeadLettered: self._dead_lettered,
            events.RecordSkipped: self._record_skipped,
            events.StreamUp: self._stream_went_up,
            events.StreamDown: self._stream_went_down,
            events.Listed: self._listed,
            events.ObjectRefused: self._object_refused,
            events.ParentMissing: self._parent_missing,
            events.ParentUnnamed: self._parent_missing,
            events.ParentDisputed: self._parent_disputed,
            events.AuditDiffered: self._audit_differed,
            events.ReaderChosen: lambda fact: self._readers.labels(fact.kind, fact.reader).inc(),
            events.ReaderStarted: lambda fact: self._reader_lives.labels(fact.kind, "started").inc(),
            events.ReaderDied: self._reader_died,
            events.Reconciled: self._reconciled,
            events.StatusWritten: self._status_written,
            events.StatusFailed: self._status_failed,
            events.EventFailed: self._event_failed,
            events.ValveMoved: self._valve_moved,
            events.CallSent: self._call_sent,
            events.CallAnswered: self._call_answered,
            events.ItemsWithdrawn: self._items_withdrawn,
            events.BackendPaused: self._backend_paused,
            events.BreakerMoved: self._breaker_moved,
            events.FuseTripped: self._fuse_tripped,
            events.RecordingStarted: lambda fact: self._recorded("started", runs=1),
            events.RecordingEnded: lambda fact: self._recorded("ended", runs=0),
            events.RecordingCut: lambda fact: self._recorded("cut", runs=0),
            events.RecordingRefused: lambda fact: self._tapes.labels("refused").inc(),
        }

    def __call__(self, fact: Fact) -> None:
        """Count a fact; one that nothing here counts is no error."""
        count = self._count.get(type(fact))
        if count is not None:
            count(fact)

    def watch_statistics(self, statistics: Callable[[], Mapping[str, object]]) -> None:
        """Ask ``statistics`` at each scrape from now on: the engine is built after its metrics."""
        self.statistics = statistics

    def render(self) -> bytes:
        """Prometheus' text format 0.0.4."""
        return generate_latest(self.registry)

    def _recorded(self, what: str, *, runs: int) -> None:
        self._tapes.labels(what).inc()
        self._recording.set(runs)

    # --- one method per fact ------------------------------------------------------------------------------------------
    def _actor_crashed(self, fact: events.ActorCrashed) -> None:
        actor = actor_class(fact.actor)
        self._crashes.labels(actor).inc()
        if actor == "cluster":
            self._reconcile_errors.labels("cluster").inc()

    def _actor_restarted(self, fact: events.ActorRestarted) -> None:
        self._restarts.labels(actor_class(fact.actor)).inc()

    def _actor_quarantined(self, fact: events.ActorQuarantined) -> None:
        self._quarantines.labels(actor_class(fact.actor)).inc()

    def _actor_released(self, fact: events.ActorReleased) -> None:
        self._releases.labels(fact.by).inc()

    def _actor_wedged(self, fact: events.ActorWedged) -> None:
        self._wedges.labels(actor_class(fact.actor)).inc()

    def _escalated(self, fact: events.Escalated) -> None:
        self._escalations.labels(actor_class(fact.supervisor)).inc()

    def _dead_lettered(self, fact: events.DeadLettered) -> None:
        self._dead_letters.labels(actor_class(fact.actor), fact.reason).inc()

    def _record_skipped(self, _fact: events.RecordSkipped) -> None:
        self._records_skipped.inc()

    def _stream_went_up(self, fact: events.StreamUp) -> None:
        self._stream_up.labels(fact.kind).set(1)

    def _stream_went_down(self, fact: events.StreamDown) -> None:
        self._stream_up.labels(fact.kind).set(0)
        self._stream_downs.labels(fact.kind, fact.reason).inc()

    def _listed(self, fact: events.Listed) -> None:
        self._lists.labels(fact.kind, fact.reason).inc()
        self._missing.labels(fact.kind).inc(fact.missing)

    def _object_refused(self, fact: events.ObjectRefused) -> None:
        self._objects_refused.labels(fact.kind).inc()

    def _parent_missing(self, fact: events.ParentMissing | events.ParentUnnamed) -> None:
        self._orphans.labels(fact.kind).inc()

    def _parent_disputed(self, fact: events.ParentDisputed) -> None:
        self._disputes.labels(fact.kind).inc()

    def _reader_died(self, fact: events.ReaderDied) -> None:
        self._reader_lives.labels(fact.kind, fact.reason).inc()
        self._stream_up.labels(fact.kind).set(0)

    def _audit_differed(self, fact: events.AuditDiffered) -> None:
        self._audit.labels(fact.kind).inc(fact.differences)

    def _reconciled(self, fact: events.Reconciled) -> None:
        self._reconciles.labels("cluster", "success").inc()
        self._reconcile_s.labels("cluster").observe(fact.seconds)

    def _status_written(self, _fact: events.StatusWritten) -> None:
        self._writes.inc()

    def _status_failed(self, fact: events.StatusFailed) -> None:
        self._write_failures.labels(fact.reason).inc()

    def _event_failed(self, _fact: events.EventFailed) -> None:
        self._event_failures.inc()

    def _valve_moved(self, fact: events.ValveMoved) -> None:
        self._valve.labels("closed" if fact.closed else "open").inc()

    def _call_sent(self, fact: events.CallSent) -> None:
        self._calls_sent.labels(fact.operation).inc()
        self._call_items.labels(fact.operation).observe(fact.items)
        self._call_wait_s.labels(fact.operation).observe(fact.waited_s)

    def _call_answered(self, fact: events.CallAnswered) -> None:
        self._calls.labels(fact.operation, fact.outcome).inc()
        self._call_s.labels(fact.operation).observe(fact.seconds)
        for answer in ("accepted", "failed", "retried", "unknown"):
            self._items.labels(fact.operation, answer).inc(getattr(fact, answer))

    def _items_withdrawn(self, fact: events.ItemsWithdrawn) -> None:
        self._withdrawn.labels(fact.operation, fact.why).inc(fact.count)

    def _backend_paused(self, fact: events.BackendPaused) -> None:
        self._throttles.labels(fact.operation).inc()

    def _breaker_moved(self, fact: events.BreakerMoved) -> None:
        self._breaker.labels(fact.operation, fact.state).inc()

    def _fuse_tripped(self, fact: events.FuseTripped) -> None:
        self._fuse.labels(fact.operation).inc()


class _Statistics(Collector):
    """The gauges, read when they are asked for."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        """One family for each gauge that the statistics have; ``muster_statistics_up`` tells whether they could be read."""
        ask = self._metrics.statistics
        if ask is None:
            return
        try:
            families = list(gauges(ask()))
        except Exception:  # noqa: BLE001 - a scrape must show the counters even when the engine is in pieces
            families = []
        yield GaugeMetricFamily(
            "muster_statistics_up", "1 where the engine's statistics could be read.", bool(families)
        )
        yield from families


# Key in the statistics, metric, help, labels: so many levels of mappings lie between the key and the number.
GAUGES: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    ("children", "muster_children", "Children of all parents.", ("kind", "state")),
    ("parents", "muster_parents", "Parents by what their actor does.", ("state",)),
    ("synced", "muster_kind_synced", "1 once the kind is listed completely.", ("kind",)),
    ("queued_items", "muster_backend_queue_items", "Repairs that wait for a call.", ()),
    ("oldest_item_s", "muster_backend_queue_oldest_seconds", "Age of the repair that waits longest.", ()),
    ("calls_in_flight", "muster_backend_calls_in_flight", "Calls that wait for their answer.", ()),
    ("slots_free", "muster_quota_slots_free", "Calls that the quota would allow now.", ()),
    ("statuses_waiting", "muster_status_queue", "Statuses that wait to be written.", ()),
    ("actors", "muster_actors", "Live actors, by class.", ("actor",)),
    ("mailbox_depth", "muster_mailbox_depth", "Messages that wait, by actor class.", ("actor",)),
    ("threads_leaked", "muster_threads_leaked", "Threads that never came back.", ()),
    ("log_lines_dropped", "muster_log_lines_dropped", "Log lines dropped because nobody took them.", ()),
)


def gauges(statistics: Mapping[str, object]) -> Iterator[GaugeMetricFamily]:
    """The families of ``GAUGES`` that ``statistics`` has; a value that is no number is left out."""
    for key, name, text, labels in GAUGES:
        if key in statistics:
            family = GaugeMetricFamily(name, text, labels=labels)
            for values, number in _leaves(statistics[key], len(labels)):
                family.add_metric(values, number)
            yield family


def _leaves(value: object, depth: int) -> Iterator[tuple[tuple[str, ...], float]]:
    if depth == 0:
        if isinstance(value, int | float):
            yield (), float(value)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            for labels, number in _leaves(inner, depth - 1):
                yield (str(key), *labels), number
