"""The registry: facts become counters, ``statistics()`` becomes gauges at the moment of a scrape.

What there is stands in ``metric_table``. Everything hangs on a ``CollectorRegistry`` of its own, made with the object: the
process-global one would be shared by every test and demo in a process. No label names an object (a parent, a node, an actor):
their number is the fleet's, and a metrics store pays for each label value for ever. ``actor`` labels are the actor's class, the
part of its name before the first ``:`` or ``/``.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client import Metric as Family
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from ..core import events
from ..core.events import Fact
from .metric_table import TABLE, Alias, Metric

ACTORS = ("status", "gateway", "directory", "watcher", "cluster")
"""The classes that there are. A name outside is counted, too."""


def actor_class(name: str) -> str:
    """``cluster/prod/db`` → ``cluster``; keeps the number of label values small, whatever a name is."""
    return re.split(r"[:/\[#@ ]", name, maxsplit=1)[0][:40] or "unnamed"


class Metrics:
    """Takes facts (the ``Facts`` port: any thread, never raises) and renders for Prometheus.

    ``statistics``, where given, is asked at each scrape; it may fail, and then only its metrics are missing.
    """

    def __init__(
        self,
        *,
        version: str,
        workers: int = 0,
        operations: Iterable[str] = (),
        kinds: Iterable[str] = (),
        statistics: Callable[[], Mapping[str, object]] | None = None,
    ) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self.statistics = statistics
        self._made: dict[str, Any] = {}
        for each in TABLE:
            if not each.statistic and not each.aliases:
                self._made[each.name] = _make(each, self.registry)
        GCCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        ProcessCollector(registry=self.registry)
        self.registry.register(_AtScrape(self))
        self._made["muster_build_info"].labels(version).set(1)
        self._made["controller_runtime_max_concurrent_reconciles"].labels("cluster").set(workers)
        # An alert must see "none", which is not the same as "nothing to be seen": the first of its kind would be no increase.
        for operation in operations:
            self._made["muster_quota_fuse_trips_total"].labels(operation)
        for kind in kinds:
            self._made["muster_audit_differences_total"].labels(kind)
        for actor in ACTORS:
            self._made["muster_actor_restarts_total"].labels(actor)
            self._made["muster_actor_wedges_total"].labels(actor)
        # Bound once: a reconcile is the fact that comes most often.
        self._reconciled_well = self._made["controller_runtime_reconcile_total"].labels("cluster", "success")
        self._reconcile_s = self._made["controller_runtime_reconcile_time_seconds"].labels("cluster")
        self._reconcile_wait_s = self._made["muster_reconcile_wait_seconds"]
        self._count = {fact: getattr(self, name) for fact, name in _COUNTED_BY.items()}
        for cause, what in _CAUSES.items():
            self._count[cause] = partial(_once, self._made["muster_causes_total"].labels(what).inc)

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

    def family(self, name: str) -> Family:
        """The family of a metric that facts move, as it stands."""
        family: Family
        (family,) = self._made[name].collect()
        return family

    def _inc(self, name: str, *labels: str, by: float = 1.0) -> None:
        metric = self._made[name]
        (metric.labels(*labels) if labels else metric).inc(by)

    def _observe(self, name: str, value: float, *labels: str) -> None:
        self._made[name].labels(*labels).observe(value)

    # --- one method per fact ------------------------------------------------------------------------------------------
    def _actor_crashed(self, fact: events.ActorCrashed) -> None:
        actor = actor_class(fact.actor)
        self._inc("muster_actor_crashes_total", actor)
        if actor == "cluster":
            self._inc("controller_runtime_reconcile_total", actor, "error")
            self._inc("controller_runtime_reconcile_errors_total", actor)

    def _reconcile_failed(self, _fact: events.ReconcileFailed) -> None:
        self._inc("controller_runtime_reconcile_errors_total", "cluster")

    def _actor_restarted(self, fact: events.ActorRestarted) -> None:
        actor = actor_class(fact.actor)
        self._inc("muster_actor_restarts_total", actor)
        if actor == "cluster":
            self._inc("workqueue_retries_total", actor)

    def _actor_quarantined(self, fact: events.ActorQuarantined) -> None:
        self._inc("muster_actor_quarantines_total", actor_class(fact.actor))

    def _actor_released(self, fact: events.ActorReleased) -> None:
        self._inc("muster_actor_releases_total", fact.by)

    def _actor_wedged(self, fact: events.ActorWedged) -> None:
        self._inc("muster_actor_wedges_total", actor_class(fact.actor))

    def _escalated(self, fact: events.Escalated) -> None:
        self._inc("muster_escalations_total", actor_class(fact.supervisor))

    def _dead_lettered(self, fact: events.DeadLettered) -> None:
        self._inc("muster_dead_letters_total", actor_class(fact.actor), fact.reason)

    def _record_skipped(self, _fact: events.RecordSkipped) -> None:
        self._inc("muster_records_skipped_total")

    def _stream_went_up(self, fact: events.StreamUp) -> None:
        self._made["muster_stream_up"].labels(fact.kind).set(1)

    def _stream_went_down(self, fact: events.StreamDown) -> None:
        self._made["muster_stream_up"].labels(fact.kind).set(0)
        self._inc("muster_stream_downs_total", fact.kind, fact.reason)

    def _listed(self, fact: events.Listed) -> None:
        self._inc("muster_lists_total", fact.kind, fact.reason)
        self._inc("muster_deletions_found_missing_total", fact.kind, by=fact.missing)

    def _object_refused(self, fact: events.ObjectRefused) -> None:
        self._inc("muster_objects_refused_total", fact.kind)

    def _parent_missing(self, fact: events.ParentMissing | events.ParentUnnamed) -> None:
        self._inc("muster_parents_missing_total", fact.kind)

    def _parent_disputed(self, fact: events.ParentDisputed) -> None:
        self._inc("muster_parents_disputed_total", fact.kind)

    def _audit_differed(self, fact: events.AuditDiffered) -> None:
        self._inc("muster_audit_differences_total", fact.kind, by=fact.differences)

    def _shadow_agreed(self, _fact: events.ShadowAgreed) -> None:
        self._inc("muster_shadow_verdicts_total", "agreed")

    def _shadow_differed(self, _fact: events.ShadowDiffered) -> None:
        self._inc("muster_shadow_verdicts_total", "differed")

    def _reader_chosen(self, fact: events.ReaderChosen) -> None:
        self._inc("muster_readers_chosen_total", fact.kind, fact.reader)

    def _reader_started(self, fact: events.ReaderStarted) -> None:
        self._inc("muster_reader_processes_total", fact.kind, "started")

    def _reader_died(self, fact: events.ReaderDied) -> None:
        self._inc("muster_reader_processes_total", fact.kind, fact.reason)
        self._made["muster_stream_up"].labels(fact.kind).set(0)

    def _request_answered(self, fact: events.RequestAnswered) -> None:
        self._inc("rest_client_requests_total", fact.code, fact.method, fact.host)
        self._observe("rest_client_request_duration_seconds", fact.seconds, fact.method, fact.host)

    def _reconciled(self, fact: events.Reconciled) -> None:
        self._reconciled_well.inc()
        self._reconcile_s.observe(fact.seconds)
        if fact.waited_s is not None:
            self._reconcile_wait_s.observe(fact.waited_s)

    def _status_written(self, _fact: events.StatusWritten) -> None:
        self._inc("muster_status_writes_total")

    def _status_failed(self, fact: events.StatusFailed) -> None:
        self._inc("muster_status_failures_total", fact.reason)
        if fact.retry_s is not None:
            self._inc("workqueue_retries_total", "status")

    def _event_failed(self, _fact: events.EventFailed) -> None:
        self._inc("muster_event_failures_total")

    def _valve_moved(self, fact: events.ValveMoved) -> None:
        self._inc("muster_valve_moves_total", "closed" if fact.closed else "open")

    def _watch_fell_behind(self, fact: events.WatchFellBehind) -> None:
        self._inc("muster_watch_behind_total", fact.kind, "behind" if fact.behind else "back")

    def _repairs_exhausted(self, fact: events.RepairsExhausted) -> None:
        self._inc("muster_exhaustions_total")

    def _fleet_valve_moved(self, fact: events.FleetValveMoved) -> None:
        self._inc("muster_fleet_valve_moves_total", "closed" if fact.closed else "open")

    def _call_sent(self, fact: events.CallSent) -> None:
        self._inc("muster_backend_calls_sent_total", fact.operation)
        self._observe("muster_backend_call_items", fact.items, fact.operation)
        self._observe("muster_backend_wait_seconds", fact.waited_s, fact.operation)

    def _call_answered(self, fact: events.CallAnswered) -> None:
        self._inc("muster_backend_calls_total", fact.operation, fact.outcome)
        self._observe("muster_backend_call_seconds", fact.seconds, fact.operation)
        for answer in ("accepted", "failed", "retried", "unknown"):
            self._inc("muster_backend_items_total", fact.operation, answer, by=getattr(fact, answer))
        self._inc("workqueue_retries_total", "repairs", by=fact.retried)

    def _items_withdrawn(self, fact: events.ItemsWithdrawn) -> None:
        self._inc("muster_backend_items_withdrawn_total", fact.operation, fact.why, by=fact.count)

    def _backend_paused(self, fact: events.BackendPaused) -> None:
        self._inc("muster_backend_throttles_total", fact.operation)

    def _breaker_moved(self, fact: events.BreakerMoved) -> None:
        self._inc("muster_backend_breaker_moves_total", fact.operation, fact.state)

    def _fuse_tripped(self, fact: events.FuseTripped) -> None:
        self._inc("muster_quota_fuse_trips_total", fact.operation)

    def _recording_started(self, _fact: events.RecordingStarted) -> None:
        self._recorded("started", runs=1)

    def _recording_ended(self, _fact: events.RecordingEnded) -> None:
        self._recorded("ended", runs=0)

    def _recording_cut(self, _fact: events.RecordingCut) -> None:
        self._recorded("cut", runs=0)

    def _recording_refused(self, _fact: events.RecordingRefused) -> None:
        self._inc("muster_recordings_total", "refused")

    def _command_given(self, fact: events.CommandGiven) -> None:
        self._inc("muster_shell_changes_total", fact.command.partition(" ")[0])

    def _recorded(self, what: str, *, runs: int) -> None:
        self._inc("muster_recordings_total", what)
        self._made["muster_recording"].set(runs)


def _once(inc: Callable[[], None], _fact: Fact) -> None:
    inc()


_CAUSES: dict[type[Fact], str] = {
    events.LookDeferred: "deferred", events.NewsSuppressed: "suppressed", events.Planned: "planned",
    events.RepairsAnswered: "answered",
}  # fmt: skip
_COUNTED_BY: dict[type[Fact], str] = {
    events.ActorCrashed: "_actor_crashed",
    events.ActorRestarted: "_actor_restarted",
    events.ActorQuarantined: "_actor_quarantined",
    events.ActorReleased: "_actor_released",
    events.ActorWedged: "_actor_wedged",
    events.Escalated: "_escalated",
    events.DeadLettered: "_dead_lettered",
    events.RecordSkipped: "_record_skipped",
    events.StreamUp: "_stream_went_up",
    events.StreamDown: "_stream_went_down",
    events.Listed: "_listed",
    events.ObjectRefused: "_object_refused",
    events.ParentMissing: "_parent_missing",
    events.ParentUnnamed: "_parent_missing",
    events.ParentDisputed: "_parent_disputed",
    events.AuditDiffered: "_audit_differed",
    events.ShadowAgreed: "_shadow_agreed",
    events.ShadowDiffered: "_shadow_differed",
    events.ReaderChosen: "_reader_chosen",
    events.ReaderStarted: "_reader_started",
    events.ReaderDied: "_reader_died",
    events.RequestAnswered: "_request_answered",
    events.ReconcileFailed: "_reconcile_failed",
    events.Reconciled: "_reconciled",
    events.StatusWritten: "_status_written",
    events.StatusFailed: "_status_failed",
    events.EventFailed: "_event_failed",
    events.ValveMoved: "_valve_moved",
    events.FleetValveMoved: "_fleet_valve_moved",
    events.WatchFellBehind: "_watch_fell_behind",
    events.RepairsExhausted: "_repairs_exhausted",
    events.CallSent: "_call_sent",
    events.CallAnswered: "_call_answered",
    events.ItemsWithdrawn: "_items_withdrawn",
    events.BackendPaused: "_backend_paused",
    events.BreakerMoved: "_breaker_moved",
    events.FuseTripped: "_fuse_tripped",
    events.RecordingStarted: "_recording_started",
    events.RecordingEnded: "_recording_ended",
    events.RecordingCut: "_recording_cut",
    events.RecordingRefused: "_recording_refused",
    events.CommandGiven: "_command_given",
}


def _make(metric: Metric, registry: CollectorRegistry) -> Counter | Gauge | Histogram:
    if metric.type == "histogram":
        return Histogram(metric.name, metric.text, metric.labels, buckets=metric.buckets, registry=registry)
    if metric.type == "counter":
        return Counter(metric.family, metric.text, metric.labels, registry=registry)
    return Gauge(metric.family, metric.text, metric.labels, registry=registry)


class _AtScrape(Collector):
    """What is read when it is asked for: the statistics, and the aliases."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Family]:
        """The families that are read at a scrape; ``muster_statistics_up`` tells whether the statistics could be."""
        ask = self._metrics.statistics
        statistics: Mapping[str, object] = {}
        if ask is not None:
            with contextlib.suppress(Exception):  # a scrape must show the counters even when the engine is in pieces
                statistics = ask()
            statistics = {**statistics, "statistics_up": bool(statistics)}
        yield from families(statistics, self._metrics)


def families(statistics: Mapping[str, object], metrics: Metrics | None = None) -> Iterator[Family]:
    """The families of the table that ``statistics`` has, and the aliases into ``metrics``; what is no number is left out."""
    for metric in TABLE:
        aliases = metric.aliases if metrics is not None else ()
        if not aliases and metric.statistic not in statistics:
            continue
        family = Family(metric.family, metric.text, metric.type)
        for alias in aliases:
            assert metrics is not None
            _add_aliased(family, metric, alias, metrics.family(alias.metric))
        for values, number in _leaves(statistics.get(metric.statistic), len(metric.labels)):
            family.add_sample(metric.name, dict(zip(metric.labels, values, strict=True)), number)
        yield family


def _add_aliased(family: Family, metric: Metric, alias: Alias, found: Family) -> None:
    sums: dict[tuple[str, str], float] = {}  # over the labels that are not taken over
    for sample in found.samples:
        if not sample.name.startswith(alias.metric) or sample.name.endswith("_created"):
            continue  # the client library's own, where nobody has switched it off
        key = sample.name.removeprefix(alias.metric), sample.labels.get("le", "")
        sums[key] = sums.get(key, 0.0) + sample.value
    for (end, bound), value in sums.items():
        family.add_sample(metric.name + end, {**alias.labels, **({"le": bound} if bound else {})}, value)


def _leaves(value: object, depth: int) -> Iterator[tuple[tuple[str, ...], float]]:
    if depth == 0:
        if isinstance(value, int | float):
            yield (), float(value)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            for labels, number in _leaves(inner, depth - 1):
                yield (str(key), *labels), number
