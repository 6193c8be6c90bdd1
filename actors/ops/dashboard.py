"""The Grafana dashboard, as data: is it the truth, are repairs under way, is the process well.

``muster metrics --format dashboard`` writes the JSON that can be imported; ``manifests/monitoring`` ships it as a ConfigMap.
"""

from __future__ import annotations

import json
from typing import Any

from attrs import frozen

UID = "muster"
_JOB = 'job=~"$job"'
_WIDTH, _HEIGHT, _ACROSS = 8, 8, 3  # three panels abreast on Grafana's grid of 24


@frozen
class Panel:
    """One panel. In a query ``@`` stands for the choice of the job; a legend names labels as Grafana does."""

    title: str
    text: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    type: str = "timeseries"


def _quantile(share: float, metric: str, by: str = "") -> str:
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share:g}, sum by ({labels}) (rate({metric}_bucket{{@}}[$__rate_interval])))"


def _rate(metric: str, by: str) -> str:
    return f"sum by ({by}) (rate({metric}{{@}}[$__rate_interval]))"


ROWS: dict[str, tuple[Panel, ...]] = {
    "Is it the truth?": (
        Panel("Ready", "1 while /readyz says ok.", "none", (("muster_ready{@}", "ready"),), "stat"),
        Panel("Children by state", "Summed over all parents' statuses.", "none",
              (("sum by (kind, state) (muster_children{@})", "{{kind}} {{state}}"),)),
        Panel("Parents that are not well", "By a condition that is False or unknown.", "none",
              (('sum by (type) (muster_parent_conditions{@, status!="True", type!="Paused"})', "not {{type}}"),)),
        Panel("Watch age", "Since the API server last proved that the watch lives; above 30 s counts may be old.", "s",
              (("max by (kind) (muster_watch_age_seconds{@})", "{{kind}}"),)),
        Panel("Change until reconcile", "From the first material change to its reconcile.", "s",
              ((_quantile(0.5, "muster_reconcile_wait_seconds"), "median"),
               (_quantile(0.99, "muster_reconcile_wait_seconds"), "99 %"))),
        Panel("Statuses", "Written and failed per second, and those that wait.", "none",
              (("sum (rate(muster_status_writes_total{@}[$__rate_interval]))", "written/s"),
               (_rate("muster_status_failures_total", "reason"), "failed/s: {{reason}}"),
               ("sum (muster_status_queue{@})", "waiting"))),
        Panel("Streams and lists", "What ended unexpectedly, and complete lists by why.", "none",
              ((_rate("muster_stream_downs_total", "kind, reason"), "down/s {{kind}} {{reason}}"),
               (_rate("muster_lists_total", "kind, reason"), "lists/s {{kind}} {{reason}}"))),
        Panel("Requests to the API server", "By code.", "reqps", ((_rate("rest_client_requests_total", "method, code"),
              "{{method}} {{code}}"),)),
        Panel("Bugs", "Audit differences, fuse trips and skipped records: anything but 0 is to be reported.", "none",
              (("sum (increase(muster_audit_differences_total{@}[1h]))", "audit differences"),
               ("sum (increase(muster_quota_fuse_trips_total{@}[1h]))", "fuse trips"),
               ("sum (increase(muster_records_skipped_total{@}[1h]))", "records skipped")), "stat"),
    ),
    "Are repairs under way?": (
        Panel("Queue by place", "In order of priority; flying is in a call.", "none",
              (("sum by (place) (muster_backend_queue_places{@})", "{{place}}"),)),
        Panel("Wait", "Of the oldest item of each call, and of the repair that is ready longest now.", "s",
              ((_quantile(0.5, "muster_backend_wait_seconds"), "median"),
               (_quantile(0.99, "muster_backend_wait_seconds"), "99 %"),
               ("max (muster_backend_queue_oldest_seconds{@})", "oldest now"))),
        Panel("Items in a call", "A full batch makes the most of a slot.", "none",
              ((_quantile(0.5, "muster_backend_call_items"), "median"),
               (_quantile(0.99, "muster_backend_call_items"), "99 %"))),
        Panel("Quota", "Slots that are held, and how many there are.", "none",
              (("sum by (state) (muster_quota_slots_held{@})", "{{state}}"),
               ("sum (muster_quota_slots_max{@})", "limit"))),
        Panel("Calls by outcome", "Per second.", "cps", ((_rate("muster_backend_calls_total", "outcome"), "{{outcome}}"),)),
        Panel("Items by answer", "Per second.", "cps", ((_rate("muster_backend_items_total", "answer"), "{{answer}}"),)),
        Panel("Time of a call", "Until the answer.", "s",
              ((_quantile(0.5, "muster_backend_call_seconds"), "median"),
               (_quantile(0.99, "muster_backend_call_seconds"), "99 %"))),
        Panel("Backend", "1 is well for the first only.", "none",
              (("min (muster_backend_reachable{@})", "reachable"),
               ("max (muster_backend_breaker_open{@})", "breaker open"),
               ("max (muster_quota_cold{@})", "cold start"),
               ("max (muster_backend_pause_seconds{@})", "pause (s)"))),
        Panel("Parents whose repairs are held", "Too many of their children need one at once.", "none",
              (("sum (muster_valve_closed_parents{@})", "valve closed"),
               ("max (muster_fleet_valve_closed{@})", "all of them, by the valve over all parents"))),
    ),
    "Is the process well?": (
        Panel("Parents by what their actor does", "Quarantined ones are nobody's.", "none",
              (("sum by (state) (muster_parents{@})", "{{state}}"),)),
        Panel("Crashes and restarts", "Per second, by class of actor.", "none",
              ((_rate("muster_actor_crashes_total", "actor"), "crashes {{actor}}"),
               (_rate("muster_actor_restarts_total", "actor"), "restarts {{actor}}"))),
        Panel("Dead letters", "Per second, by reason.", "none",
              ((_rate("muster_dead_letters_total", "reason"), "{{reason}}"),)),
        Panel("Mailboxes", "The fullest of each class.", "none",
              (("max by (actor) (muster_mailbox_depth_max{@})", "{{actor}}"),)),
        Panel("Workers", "Busy of all, actors that wait for one, and the oldest turn.", "none",
              (("sum (muster_dispatcher_workers_busy{@})", "busy"), ("sum (muster_dispatcher_workers{@})", "workers"),
               ("sum (muster_dispatcher_ready_actors{@})", "actors that wait"),
               ("max (muster_dispatcher_turn_oldest_seconds{@})", "oldest turn (s)"))),
        Panel("Reconciles", "Per second by result, and how long one takes.", "none",
              ((_rate("controller_runtime_reconcile_total", "result"), "{{result}}/s"),
               (_quantile(0.99, "controller_runtime_reconcile_time_seconds"), "99 % (s)"))),
        Panel("CPU", "Cores.", "none", (("rate(process_cpu_seconds_total{@}[$__rate_interval])", "{{instance}}"),)),
        Panel("Memory", "Resident.", "bytes", (("process_resident_memory_bytes{@}", "{{instance}}"),)),
        Panel("Lost", "Threads that never came back, and log lines that nobody took.", "none",
              (("sum (muster_threads_leaked{@})", "threads"),
               ("sum (increase(muster_log_lines_dropped_total{@}[1h]))", "log lines in an hour")), "stat"),
    ),
}  # fmt: skip


def queries() -> list[str]:
    """Every query, as Grafana would send it for all jobs."""
    return [
        expr.replace("@", _JOB).replace("$job", ".*").replace("$__rate_interval", "1m")
        for panels in ROWS.values() for panel in panels for expr, _ in panel.queries
    ]  # fmt: skip


def dashboard_json() -> str:
    """The dashboard, to be imported."""
    panels: list[dict[str, Any]] = []
    top = 0
    for row, members in ROWS.items():
        place = {"x": 0, "y": top, "w": _WIDTH * _ACROSS, "h": 1}
        panels.append(
            {"type": "row", "title": row, "collapsed": False, "gridPos": place, "id": len(panels) + 1, "panels": []}
        )
        top += 1
        for number, panel in enumerate(members):
            across, down = number % _ACROSS, number // _ACROSS
            place = {"x": across * _WIDTH, "y": top + down * _HEIGHT, "w": _WIDTH, "h": _HEIGHT}
            panels.append(_panel(panel, place, len(panels) + 1))
        top += -(-len(members) // _ACROSS) * _HEIGHT
    source = {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source"}
    job = {
        "name": "job", "type": "query", "label": "Job", "datasource": _source(), "multi": True, "includeAll": True,
        "query": {"query": "label_values(muster_build_info, job)", "refId": "job"}, "refresh": 2,
        "current": {"text": "All", "value": "$__all"},
    }  # fmt: skip
    return json.dumps({
        "uid": UID, "title": "Muster", "tags": ["muster", "kubernetes"], "schemaVersion": 39, "version": 1, "editable": True,
        "refresh": "30s", "time": {"from": "now-3h", "to": "now"}, "timezone": "", "templating": {"list": [source, job]},
        "panels": panels,
    }, indent=2) + "\n"  # fmt: skip


def _source() -> dict[str, str]:
    return {"type": "prometheus", "uid": "${datasource}"}


def _panel(panel: Panel, place: dict[str, int], number: int) -> dict[str, Any]:
    targets = [
        {
            "refId": chr(ord("A") + index),
            "datasource": _source(),
            "expr": expr.replace("@", _JOB),
            "legendFormat": legend,
        }
        for index, (expr, legend) in enumerate(panel.queries)
    ]
    return {
        "id": number, "type": panel.type, "title": panel.title, "description": panel.text, "gridPos": place,
        "datasource": _source(), "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": targets,
    }  # fmt: skip
