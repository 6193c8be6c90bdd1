"""Metrics and alerts for people: the page ``docs/metrics.md`` and what ``muster metrics`` prints, made from the two tables.

A test holds the page, the rule files and the dashboard to the tables; ``muster metrics --format …`` writes each anew.
"""

from __future__ import annotations

from collections.abc import Callable

from .alerts import ALERTS, prometheus_rule_yaml, rules_yaml
from .dashboard import dashboard_json
from .metric_table import GROUPS, Metric

_HEAD = """# Metrics and alerts

<!-- Made from actors/ops/metric_table.py and alerts.py: muster metrics --format markdown > docs/metrics.md -->

`GET /metrics` at `--listen`, in Prometheus' text format. Beside these there are the client library's own `process_…` and
`python_…`. Names that dashboards of other controllers know are kept where they mean the same; all others begin with `muster_`.
No label names an object. Durations are in seconds. There is no leader election yet, and so no `leader_election_master_status`.

`manifests/monitoring` has a Grafana dashboard (`muster-dashboard.json`, to be imported as it is), alert rules for Prometheus
(`muster.rules.yml`), and both as a kustomize component with a ServiceMonitor for the Prometheus operator
(`kubectl apply -k manifests/overlays/monitored`).
"""


def markdown() -> str:
    """The whole page."""
    parts = [_HEAD]
    for group, metrics in GROUPS.items():
        parts.append(f"\n## {group}\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n")
        parts += [
            f"| `{each.name}` | {each.type} | {', '.join(f'`{label}`' for label in each.labels)} | "
            f"{each.text.replace('<', '&lt;')} |\n"
            for each in metrics
        ]
    parts.append("\n# Alerts\n")
    for alert in ALERTS:
        lasts = "at once" if alert.lasts == "0m" else f"after {alert.lasts}"
        parts.append(
            f"\n### {alert.name}\n\n{_plain(alert.text)} ({alert.severity}, {lasts})\n\n```promql\n{alert.expr}\n```\n\n"
            f"{alert.todo}\n"
        )
    return "".join(parts)


def text() -> str:
    """A line for each metric."""
    metrics: list[Metric] = [metric for group in GROUPS.values() for metric in group]
    names = [each.name + ("{" + ",".join(each.labels) + "}" if each.labels else "") for each in metrics]
    wide = max(map(len, names))
    return "".join(f"{name:<{wide}}  {each.type:<9}  {each.text}\n" for name, each in zip(names, metrics, strict=True))


FORMATS: dict[str, Callable[[], str]] = {
    "text": text,
    "markdown": markdown,
    "rules": rules_yaml,
    "prometheus-rule": prometheus_rule_yaml,
    "dashboard": dashboard_json,
}


def _plain(template: str) -> str:
    """The template of an annotation, for a page that has no value to put in."""
    for name in ("kind", "actor"):
        template = template.replace("{{ $labels." + name + " }}", f"`{name}`")
    for how in ("", " | humanizeDuration", " | humanize"):
        template = template.replace("{{ $value" + how + " }}", "N" if "Duration" not in how else "so long")
    return template
