"""Every metric that Muster has, as data: name, type, labels, unit and meaning, and where its value comes from.

The registry (``metrics``), the page ``docs/metrics.md``, the dashboard and the alert rules are all made from, or held to, this
one table. Names that dashboards of other controllers know (``controller_runtime_``, ``workqueue_``, ``rest_client_``) are kept
where they mean the same here, with their labels; all others begin with ``muster_``. No label names an object.

Three sources. A *fact* is counted when it happens (``metrics`` says which). A *statistic* is read at the scrape, from what the
actors publish anyway. An *alias* is another metric's series under the name that is known elsewhere; it costs nothing until
the scrape.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

# Pure Python over some thousand records.
RECONCILE_BUCKETS_S = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0)
WAIT_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
CALL_BUCKETS_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
REQUEST_BUCKETS_S = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)  # client-go's
ITEM_BUCKETS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000)


@frozen
class Alias:
    """The series of ``metric``, summed over its own labels, with these instead."""

    metric: str
    labels: Mapping[str, str]


@frozen
class Metric:
    """One family. ``name`` is what a query names: a counter's ends in ``_total``; a histogram has ``_bucket`` and so on.

    ``statistic``: the key in the statistics; so many levels of mappings lie between it and the number as there are labels.
    ``aliases``: of which metrics these are the series, beside the statistic's. Neither: moved by facts.
    """

    name: str
    type: str
    text: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    statistic: str = ""
    aliases: tuple[Alias, ...] = ()

    @property
    def family(self) -> str:
        """As the client library calls it, which adds ``_total`` itself."""
        return self.name.removesuffix("_total")

    @property
    def samples(self) -> tuple[str, ...]:
        """The names that a query may use."""
        ends = ("_bucket", "_count", "_sum") if self.type == "histogram" else ("",)
        return tuple(self.name + end for end in ends)


def _counter(name: str, text: str, *labels: str, statistic: str = "") -> Metric:
    return Metric(name, "counter", text, labels, statistic=statistic)


def _gauge(name: str, text: str, *labels: str, statistic: str = "") -> Metric:
    return Metric(name, "gauge", text, labels, statistic=statistic)


def _histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Metric:
    return Metric(name, "histogram", text, labels, buckets)


def _alias(name: str, text: str, *aliases: Alias) -> Metric:
    return Metric(name, "histogram", text, ("name",), aliases=aliases)


_CLUSTER, _REPAIRS = {"name": "cluster"}, {"name": "repairs"}

GROUPS: dict[str, tuple[Metric, ...]] = {
    "Reconciles": (
        _counter(
            "controller_runtime_reconcile_total",
            "Reconciles that ended; result is success, or error for one that raised.",
            "controller", "result",
        ),
        _counter("controller_runtime_reconcile_errors_total", "Reconciles that raised.", "controller"),
        _histogram(
            "controller_runtime_reconcile_time_seconds", "Seconds in one reconcile.", RECONCILE_BUCKETS_S, "controller"
        ),
        _gauge(
            "controller_runtime_max_concurrent_reconciles",
            "Worker threads; all actors share them.",
            "controller",
        ),
        _gauge(
            "controller_runtime_active_workers",
            "Worker threads that are in a parent's actor at this moment.",
            "controller", statistic="active_workers",
        ),
        _histogram(
            "muster_reconcile_wait_seconds",
            "Seconds from the first material change to its reconcile: the debounce and the mailbox.",
            WAIT_BUCKETS_S,
        ),
    ),
    "Work queues": (
        _gauge(
            "workqueue_depth",
            "What waits: parents with mail (cluster), repairs that wait for a call (repairs), parents whose status waits for a "
            "write (status).",
            "name", statistic="queue_depth",
        ),
        Metric(
            "workqueue_adds_total", "counter",
            "What has been queued: a parent's changes, merged, counted once they are reconciled (cluster); repairs (repairs); "
            "statuses (status).",
            ("name",), statistic="queue_adds", aliases=(Alias("controller_runtime_reconcile_total", _CLUSTER),),
        ),
        _alias(
            "workqueue_queue_duration_seconds",
            "Seconds in the queue: a parent's change until its reconcile (cluster), the oldest repair of each call (repairs).",
            Alias("muster_reconcile_wait_seconds", _CLUSTER),
            Alias("muster_backend_wait_seconds", _REPAIRS),
        ),
        _alias(
            "workqueue_work_duration_seconds",
            "Seconds of work: a reconcile (cluster), a call to the backend (repairs).",
            Alias("controller_runtime_reconcile_time_seconds", _CLUSTER),
            Alias("muster_backend_call_seconds", _REPAIRS),
        ),
        _counter(
            "workqueue_retries_total",
            "What was queued again: restarts of parents' actors (cluster), repairs to be sent again (repairs), status writes "
            "that failed on the way (status).",
            "name",
        ),
        _gauge(
            "workqueue_unfinished_work_seconds",
            "Seconds that work under way has taken so far, summed: turns of parents' actors (cluster), calls (repairs).",
            "name", statistic="unfinished_s",
        ),
        _gauge(
            "workqueue_longest_running_processor_seconds",
            "Seconds that the longest of them has taken so far; a stuck worker shows here.",
            "name", statistic="longest_s",
        ),
    ),
    "API server": (
        _counter(
            "rest_client_requests_total",
            "Requests to the API server, by the code of the answer (<error>: none came).",
            "code", "method", "host",
        ),
        _histogram(
            "rest_client_request_duration_seconds",
            "Seconds until the headers of the answer, by method; a watch is a GET.",
            REQUEST_BUCKETS_S, "verb", "host",
        ),
    ),
    "Parents and children": (
        _gauge(
            "muster_parents",
            "Parents by what their actor does: awake, asleep, passivating, down, quarantined, closing.",
            "state", statistic="parents",
        ),
        _gauge(
            "muster_parent_conditions",
            "Parents by a condition of their status, as it stands on the server: True, False, Unknown.",
            "type", "status", statistic="conditions",
        ),
        _gauge(
            "muster_valve_closed_parents",
            "Parents whose repairs are held because too many of their children need one.",
            statistic="valve_closed",
        ),
        _gauge("muster_children", "Children of all parents, by state.", "kind", "state", statistic="children"),
        _gauge(
            "muster_children_exhausted",
            "Children that stay unwell after all attempts to repair them, and are not asked for again.",
            statistic="exhausted",
        ),
        _counter("muster_exhaustions_total", "How often a parent had children more of which that is so."),
        _gauge(
            "muster_fleet_valve_closed",
            "1 while all calls are held because too many children of all parents need repair at once.",
            statistic="fleet_held",
        ),
        _counter(
            "muster_fleet_valve_moves_total", "How often the valve over all parents has closed (closed), opened (open).", "to"
        ),
        _counter("muster_valve_moves_total", "Parents whose repairs were held (closed) or allowed (open).", "to"),
    ),
    "Watches": (
        _gauge("muster_stream_up", "1 while the kind's stream delivers.", "kind"),
        _gauge("muster_kind_synced", "1 once the kind is listed completely.", "kind", statistic="synced"),
        _gauge(
            "muster_watch_age_seconds",
            "Seconds since the API server last proved that the kind's watch lives. Above 30 the counts may be old.",
            "kind", statistic="watch_age_s",
        ),
        _gauge("muster_watch_objects", "Objects held of the kind.", "kind", statistic="watch_objects"),
        _counter(
            "muster_watch_behind_total",
            "How often a kind's stream was down for so long that no repair was asked for (behind), or came back (back).",
            "kind", "to",
        ),
        _counter("muster_stream_downs_total", "Streams that ended unexpectedly.", "kind", "reason"),
        _counter("muster_lists_total", "Complete lists, by why.", "kind", "reason"),
        _counter("muster_deletions_found_missing_total", "Deletions found by a list, not by an event.", "kind"),
        _counter("muster_objects_refused_total", "Objects that could not be read and were left out.", "kind"),
        _counter("muster_parents_missing_total", "Parents that children name and that are not there.", "kind"),
        _counter("muster_parents_disputed_total", "Children that name several parents.", "kind"),
        _counter(
            "muster_causes_total",
            "What parents' actors told of their looks: deferred, suppressed (mail with nothing to look at), planned (a Plan "
            "that asks for something), answered (repairs).",
            "what",
        ),
        _counter("muster_audit_differences_total", "Records that differed from the server: each is a bug.", "kind"),
        _counter("muster_readers_chosen_total", "Kinds that were given to a thread or to a process to read.", "kind", "reader"),
        _counter("muster_reader_processes_total", "Reader processes: started, or why they are dead.", "kind", "what"),
    ),
    "Statuses and Events": (
        _gauge("muster_status_queue", "Parents whose status waits or is being written.", statistic="statuses_waiting"),
        _counter("muster_status_writes_total", "Statuses that the API server took."),
        _counter("muster_status_failures_total", "Statuses that it did not take, by the error's class.", "reason"),
        _counter(
            "muster_events_total",
            "Kubernetes Events: created, counted in an earlier one's series, or dropped (the parent has spent its share).",
            "outcome", statistic="events",
        ),
        _counter("muster_event_failures_total", "Kubernetes Events that the API server did not take."),
        _counter(
            "muster_shadow_verdicts_total",
            "In a shadow run: statuses that a live operator wrote as ours would have been (agreed), or otherwise (differed).",
            "verdict",
        ),
    ),
    "Repairs": (
        _gauge("muster_backend_queue_items", "Repairs that wait for a call.", statistic="queued_items"),
        _gauge(
            "muster_backend_queue_places",
            "The same by place, in order of priority: new, retry (ready, after new ones), later (not before some instant), "
            "blocked (the same child is in a call); and flying, in a call.",
            "place", statistic="queue_places",
        ),
        _gauge(
            "muster_backend_queue_oldest_seconds", "Seconds that the repair which is ready longest has waited.",
            statistic="oldest_item_s",
        ),
        _gauge("muster_backend_queue_parents", "Parents that want a repair.", statistic="queue_parents"),
        _gauge("muster_backend_calls_in_flight", "Calls that wait for their answer.", statistic="calls_in_flight"),
        _gauge("muster_backend_reachable", "1 while the backend answers, or has not been asked.", statistic="reachable"),
        _gauge("muster_backend_breaker_open", "1 while the circuit breaker is open or tries.", statistic="breaker_open"),
        _gauge(
            "muster_backend_pause_seconds", "Seconds until calls go on, after a throttle; 0: no pause.", statistic="pause_s"
        ),
        _counter("muster_backend_calls_sent_total", "Batch calls that left.", "operation"),
        _counter("muster_backend_calls_total", "Batch calls that ended, by outcome.", "operation", "outcome"),
        _histogram("muster_backend_call_seconds", "Seconds until the answer of a call.", CALL_BUCKETS_S, "operation"),
        _histogram("muster_backend_call_items", "Items in a call.", ITEM_BUCKETS, "operation"),
        _histogram(
            "muster_backend_wait_seconds", "Seconds that a call's oldest item had waited.", WAIT_BUCKETS_S, "operation"
        ),
        _counter(
            "muster_backend_items_total", "Items by answer: accepted, failed, retried, unknown.", "operation", "answer"
        ),
        _counter("muster_backend_items_withdrawn_total", "Items no longer wanted, by why.", "operation", "why"),
        _counter("muster_backend_throttles_total", "Pauses that the backend asked for.", "operation"),
        _counter("muster_backend_breaker_moves_total", "Moves of the circuit breaker.", "operation", "state"),
    ),
    "Quota": (
        _gauge("muster_quota_slots_max", "Calls that the quota allows in one window.", statistic="slots_max"),
        _gauge("muster_quota_slots_free", "Calls that the quota would allow now.", statistic="slots_free"),
        _gauge(
            "muster_quota_slots_held", "Slots by state: open (no answer yet), spent (until the window is over).",
            "state", statistic="slots_held",
        ),
        _gauge("muster_quota_cold", "1 while the cold start waits and no call may leave.", statistic="quota_cold"),
        _counter("muster_quota_fuse_trips_total", "Calls that the fuse stopped: each is a bug of the ledger.", "operation"),
    ),
    "Actors": (
        _gauge("muster_actors", "Actors, by class.", "actor", statistic="actors"),
        _gauge("muster_mailbox_depth", "Messages that wait, all actors of a class together.", "actor",
               statistic="mailbox_depth"),
        _gauge("muster_mailbox_depth_max", "Messages that wait in the fullest mailbox of a class.", "actor",
               statistic="mailbox_depth_max"),
        _counter("muster_actor_crashes_total", "Incarnations that died.", "actor"),
        _counter("muster_actor_restarts_total", "Incarnations started after a death.", "actor"),
        _counter("muster_actor_quarantines_total", "Actors that spent their own restart budget.", "actor"),
        _counter("muster_actor_releases_total", "Actors let out of quarantine: by spec, probe, command.", "by"),
        _counter("muster_actor_wedges_total", "Actors that did not come back from a message.", "actor"),
        _counter("muster_escalations_total", "Supervisors that gave up.", "supervisor"),
        _counter("muster_dead_letters_total", "Messages that reached nobody or killed.", "actor", "reason"),
        _counter("muster_records_skipped_total", "Records left out because they kill their reader."),
    ),
    "Process": (
        _gauge("muster_ready", "1 while /readyz says ok.", statistic="ready"),
        _gauge("muster_dispatcher_workers", "Worker threads that run.", statistic="workers"),
        _gauge("muster_dispatcher_workers_busy", "Worker threads that are in a turn.", statistic="workers_busy"),
        _gauge("muster_dispatcher_ready_actors", "Actors that wait for a worker.", statistic="workers_backlog"),
        _gauge(
            "muster_dispatcher_turn_oldest_seconds",
            "Seconds that one message has kept a worker, the longest of them, as the watchdog sees it (to a second).",
            statistic="turn_oldest_s",
        ),
        _gauge("muster_dispatcher_timers", "Timers that are set.", statistic="timers"),
        _gauge("muster_pool_waiting", "Blocking calls that wait for a thread, by pool.", "pool", statistic="pool_waiting"),
        _gauge("muster_threads_leaked", "Threads that never came back.", statistic="threads_leaked"),
        _counter("muster_log_lines_dropped_total", "Log lines dropped because nobody took them.",
                 statistic="log_lines_dropped"),
        _counter("muster_recordings_total", "Tapes begun, ended, cut short and refused.", "what"),
        _gauge("muster_recording", "1 while a tape runs."),
        _counter("muster_shell_changes_total", "Commands of the shell that changed something, by their name.", "what"),
        _gauge("muster_statistics_up", "1 where the statistics could be read at this scrape.", statistic="statistics_up"),
        _gauge("muster_build_info", "Always 1, with the version.", "version"),
    ),
}  # fmt: skip

TABLE: tuple[Metric, ...] = tuple(metric for group in GROUPS.values() for metric in group)
