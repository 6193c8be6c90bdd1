"""The alerts: each with what it means and what to do, for who is woken by it.

The plain rule file and the ``PrometheusRule`` under ``manifests/monitoring`` are made from this one list (``muster metrics``
with ``--format rules`` and ``prometheus-rule``), and so is the runbook in ``docs/metrics.md``. Thresholds are for the default
settings.
"""

from __future__ import annotations

from typing import Any

import yaml
from attrs import frozen

GROUP = "muster"


@frozen(kw_only=True)
class Alert:
    """One rule: ``expr`` must hold for ``lasts``. ``text`` may use the labels of the series; ``todo`` is the runbook."""

    name: str
    expr: str
    lasts: str
    severity: str
    text: str
    todo: str


ALERTS: tuple[Alert, ...] = (
    Alert(
        name="MusterAbsent", lasts="5m", severity="critical",
        expr="absent(muster_build_info)",
        text="No Muster is scraped: statuses grow old and nothing is repaired.",
        todo="Does the Pod run, and does Prometheus reach its port http? kubectl -n muster-system get pods; the exit code"
        " of the last container says why it ended (README, When things go wrong).",
    ),
    Alert(
        name="MusterNotReady", lasts="5m", severity="critical",
        expr="muster_ready == 0",
        text="Muster is not ready: a kind is not listed yet, or an actor is down.",
        todo="GET /readyz gives the reasons. A 403 there is RBAC, a 404 a missing CRD; muster check tells in which words.",
    ),
    Alert(
        name="MusterWatchSilent", lasts="2m", severity="critical",
        expr="muster_watch_age_seconds > 60",
        text="The watch of {{ $labels.kind }} has proved nothing for {{ $value | humanizeDuration }}: its counts may be "
        "old.",
        todo="Watches are renewed every 20 s, so this is no quiet fleet. Look for stream_down in the log and for errors "
        "in rest_client_requests_total: the API server is unreachable, refuses, or does not answer. No repair is "
        "decided by a silent watch: silence is judged only while it lives.",
    ),
    Alert(
        name="MusterParentsQuarantined", lasts="1m", severity="warning",
        expr='muster_parents{state="quarantined"} > 0',
        text="{{ $value }} parents are quarantined: their actors died too often, and nobody counts for them.",
        todo="Look for actor_quarantined and the tracebacks before it in the log. It is let out when its spec changes, "
        "and tried again every ten minutes. The traceback is a bug to report.",
    ),
    Alert(
        name="MusterQuotaExhausted", lasts="5m", severity="warning",
        expr="avg_over_time(muster_quota_slots_free[30m]) < 0.1 * muster_quota_slots_max"
        " and min_over_time(muster_backend_queue_items[30m]) > 0 and muster_quota_cold == 0",
        text="The quota has been used up for half an hour while repairs wait.",
        todo="Are the batches full (muster_backend_call_items)? Then the fleet needs more repairs than --quota allows: "
        "raise it if the backend bears it, or look at why so much fails at once. If they are small, look at "
        "muster_backend_throttles_total.",
    ),
    Alert(
        name="MusterRepairsWait", lasts="5m", severity="warning",
        expr="muster_backend_queue_oldest_seconds > 1800",
        text="A repair has been ready for {{ $value | humanizeDuration }} and no call has taken it.",
        todo="One of: the quota (muster_quota_slots_free), a pause (muster_backend_pause_seconds), the breaker "
        "(muster_backend_breaker_open), calls without an answer (muster_backend_calls_in_flight).",
    ),
    Alert(
        name="MusterBackendUnreachable", lasts="5m", severity="critical",
        expr="muster_backend_reachable == 0",
        text="The backend does not answer: nothing is repaired. Counting goes on.",
        todo="The last call_answered lines of the log have the outcome and the message; muster check tries the address. "
        "Muster goes on trying and needs no restart. misconfigured means that the address or the token is wrong.",
    ),
    Alert(
        name="MusterBreakerOpen", lasts="10m", severity="warning",
        expr="muster_backend_breaker_open == 1",
        text="The circuit breaker has been open for ten minutes: one call a minute tries the backend.",
        todo="As for MusterBackendUnreachable. If the backend answers others, its answers to us are errors: see the "
        "outcomes in muster_backend_calls_total.",
    ),
    Alert(
        name="MusterThrottled", lasts="30m", severity="warning",
        expr="sum by (job, instance) (rate(muster_backend_throttles_total[15m])) > 0",
        text="The backend has throttled again and again for half an hour.",
        todo="--quota is higher than what the backend allows, or somebody else spends the same quota. Lower it: a call "
        "that is throttled is lost.",
    ),
    Alert(
        name="MusterValveClosed", lasts="15m", severity="warning",
        expr="muster_valve_closed_parents > 0",
        text="Repairs of {{ $value }} parents are held, because too many of their children need one at once.",
        todo="kubectl get mcl -A shows them; the condition RemediationAllowed has the counts. Is it a failure of "
        "something that the children share? Then repair that. If so many repairs are meant, raise "
        "spec.repair.maxUnhealthy.",
    ),
    Alert(
        name="MusterRepairsExhausted", lasts="0m", severity="warning",
        expr="muster_children_exhausted > 0",
        text="{{ $value }} nodes stay unwell after all attempts to repair them, and are not asked for again.",
        todo="The condition RepairsExhausted and status.exhausted of their parents name them: kubectl get mcl -A -o yaml. "
        "Repairs do not help them; somebody has to look. Once such a node has been well for a while it has new attempts.",
    ),
    Alert(
        name="MusterFleetValveClosed", lasts="5m", severity="critical",
        expr="muster_fleet_valve_closed > 0",
        text="No repair leaves: too many children of all parents need one at once.",
        todo="`why` of any parent has the counts. When everybody fails at once the fault is rarely theirs: look at what they "
        "share (the agent that reports, the network, the clock), and at this operator. It opens by itself once the share has "
        "been within the limit for a minute. If so many repairs are meant, raise --max-unhealthy-fleet.",
    ),
    Alert(
        name="MusterRestartStorm", lasts="1m", severity="critical",
        expr="sum by (job, instance, actor) (increase(muster_actor_restarts_total[10m])) > 20",
        text="Actors of the class {{ $labels.actor }} were restarted {{ $value | humanize }} times in ten minutes.",
        todo="The tracebacks of actor_crashed say why; many actors with one traceback are one bug. Beyond its limits the "
        "process ends by itself with exit code 4.",
    ),
    Alert(
        name="MusterRecordsSkipped", lasts="0m", severity="warning",
        expr="increase(muster_records_skipped_total[1h]) > 0",
        text="A record has killed its reader twice and is left out: a count is wrong by it, and its parent says so.",
        todo="record_skipped in the log names it, actor_crashed has the traceback: a bug to report. A change of the "
        "object is read again.",
    ),
    Alert(
        name="MusterWorkerStuck", lasts="1m", severity="critical",
        expr="muster_dispatcher_turn_oldest_seconds > 60",
        text="One message has kept a worker for {{ $value | humanizeDuration }}.",
        todo="The watchdog should have taken the thread away (--wedge-after). kubectl exec … kill -USR1 1 writes all "
        "stacks to the log. /livez fails soon, and the kubelet starts the process anew.",
    ),
    Alert(
        name="MusterActorsWedged", lasts="0m", severity="critical",
        expr="sum by (job, instance, actor) (increase(muster_actor_wedges_total[1h])) > 0",
        text="An actor of the class {{ $labels.actor }} did not come back from a message; its thread is lost until a "
        "restart.",
        todo="actor_wedged in the log names the actor and the message: a bug to report. The third one ends the process "
        "(exit 6).",
    ),
    Alert(
        name="MusterStatusesFail", lasts="10m", severity="warning",
        expr="sum by (job, instance) (rate(muster_status_failures_total[10m])) > sum by (job, instance) "
        "(rate(muster_status_writes_total[10m]))",
        text="More statuses fail than are written.",
        todo="The label reason of muster_status_failures_total is the error. Forbidden: RBAC of clusters/status. "
        "Conflict: another writer. Unreachable: the API server.",
    ),
    Alert(
        name="MusterMailboxGrows", lasts="5m", severity="warning",
        expr="muster_mailbox_depth_max > 10000",
        text="A mailbox of the class {{ $labels.actor }} holds {{ $value }} messages: the actors do not keep up.",
        todo="Is the process short of CPU (a limit, a neighbour)? muster_dispatcher_workers_busy says whether all workers"
        " are busy.",
    ),
    Alert(
        name="MusterAuditDiffered", lasts="0m", severity="critical",
        expr="sum by (job, instance, kind) (increase(muster_audit_differences_total[1h])) > 0",
        text="What is held of {{ $labels.kind }} differed from the server. It is put right, but this is a bug.",
        todo="audit_differed in the log names up to five objects. Report it, best with a tape (docs/replay.md).",
    ),
    Alert(
        name="MusterFuseTripped", lasts="0m", severity="critical",
        expr="sum by (job, instance) (increase(muster_quota_fuse_trips_total[1h])) > 0",
        text="The fuse stopped a call that the ledger had allowed. The quota was kept, but this is a bug.",
        todo="Nothing leaves for a whole window, then it goes on. Report it, best with a tape (docs/replay.md).",
    ),
    Alert(
        name="MusterStatisticsDown", lasts="5m", severity="warning",
        expr="muster_statistics_up == 0",
        text="Muster answers the scrape but cannot read its own statistics: most other alerts are blind.",
        todo="GET /metrics ends without muster_parents. The process is in trouble or this is a bug: see the log, then "
        "restart it.",
    ),
)  # fmt: skip


def rule_group() -> dict[str, Any]:
    """The content of a rule file, and the ``spec`` of a PrometheusRule."""
    rules = [
        {
            "alert": each.name,
            "expr": each.expr,
            **({"for": each.lasts} if each.lasts != "0m" else {}),
            "labels": {"severity": each.severity},
            "annotations": {"summary": each.text, "runbook": each.todo},
        }
        for each in ALERTS
    ]
    return {"groups": [{"name": GROUP, "rules": rules}]}


def rules_yaml() -> str:
    """For Prometheus' ``rule_files``."""
    return (
        "# Made from actors/ops/alerts.py: muster metrics --format rules > manifests/monitoring/muster.rules.yml\n"
        + _yaml(rule_group())
    )


def prometheus_rule_yaml() -> str:
    """For the Prometheus operator."""
    labels = dict.fromkeys(("app.kubernetes.io/name", "app.kubernetes.io/part-of"), "muster")
    rule = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "muster", "namespace": "muster-system", "labels": labels},
        "spec": rule_group(),
    }
    return (
        "# Made from actors/ops/alerts.py: muster metrics --format prometheus-rule > manifests/monitoring/prometheus_rule.yaml"
        "\n" + _yaml(rule)
    )


def _yaml(value: object) -> str:
    return yaml.safe_dump(value, sort_keys=False, width=120, allow_unicode=True)
