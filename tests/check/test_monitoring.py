"""Metrics, alert rules and the dashboard agree with the one table, with what the repository has, and with Prometheus itself."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from actors.core.builtin import MUSTER_FLEET
from actors.ops.alerts import ALERTS, Alert, rule_group
from actors.ops.dashboard import queries
from actors.ops.metric_table import TABLE
from actors.ops.metrics import Metrics
from actors.ops.metrics_page import FORMATS

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "manifests" / "monitoring"
MADE = {
    "markdown": ROOT / "docs" / "metrics.md",
    "rules": MONITORING / "muster.rules.yml",
    "prometheus-rule": MONITORING / "prometheus_rule.yaml",
    "dashboard": MONITORING / "muster-dashboard.json",
}
KEYWORDS = {"and", "or", "unless", "on", "ignoring", "by", "without", "bool", "offset", "group_left", "group_right"}
EXTERNAL = {"process_cpu_seconds_total", "process_resident_memory_bytes"}  # of the client library
PROMTOOL = os.environ.get("MUSTER_TEST_PROMTOOL") or shutil.which("promtool")

NO_PROMTOOL = "promtool is not here: Debian's package prometheus has it, or MUSTER_TEST_PROMTOOL names it"
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason=NO_PROMTOOL)


def promtool(*words: str, given: str = "") -> str:
    """What it says; it must be content."""
    assert PROMTOOL is not None
    ended = subprocess.run([PROMTOOL, *words], input=given, capture_output=True, text=True, check=False, timeout=60)
    said = ended.stdout + ended.stderr
    assert ended.returncode == 0, said
    return said


def names_in(query: str) -> set[str]:
    """The metrics that a query names: identifiers that are no function, keyword, label or string."""
    bare = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^\]]*\]', " ", query.replace('"', '"'))
    bare = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", bare)
    return set(re.findall(r"[a-zA-Z_:][\w:]*(?![\w:]*\s*\()", bare)) - KEYWORDS


def labels_in(query: str) -> Iterator[tuple[str, str]]:
    """(metric, label) of each matcher."""
    for name, matchers in re.findall(r"([a-zA-Z_:][\w:]*)\{([^}]*)\}", query):
        for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers):
            yield name, label


# --- the repository has what the tables make --------------------------------------------------------------------------
@pytest.mark.parametrize("form", MADE)
def test_the_file_is_what_the_command_makes(form: str) -> None:
    path = MADE[form]

    assert path.read_text(encoding="utf-8") == FORMATS[form](), (
        f"muster metrics --format {form} > {path.relative_to(ROOT)}"
    )


def test_the_page_has_every_metric_and_every_alert() -> None:
    page = MADE["markdown"].read_text(encoding="utf-8")

    assert [each.name for each in TABLE if f"| `{each.name}` |" not in page] == []
    assert [each.name for each in ALERTS if f"### {each.name}\n" not in page] == []


def test_both_forms_of_the_rules_are_the_same() -> None:
    plain = yaml.safe_load(MADE["rules"].read_text(encoding="utf-8"))
    rule = yaml.safe_load(MADE["prometheus-rule"].read_text(encoding="utf-8"))

    assert plain == rule["spec"] == rule_group()


def test_the_registry_has_what_the_table_says() -> None:
    """Types, help and labels, of what facts move; the rest is made from the table at the scrape."""
    metrics = Metrics(version="1")
    found = {family.name: family for family in metrics.registry.collect()}

    for each in TABLE:
        if not each.statistic:
            assert (found[each.family].type, found[each.family].documentation) == (each.type, each.text)
    assert {name for name in found if not name.startswith(("python_", "process_"))} <= {each.family for each in TABLE}


# --- every query names what there is ----------------------------------------------------------------------------------
EXPRESSIONS = [*queries(), *(each.expr for each in ALERTS)]
SAMPLES = {sample: each for each in TABLE for sample in each.samples}


def test_names_are_found_in_queries() -> None:
    """The test's own eyes."""
    query = 'max(0.9, sum by (le, kind) (rate(a_bucket{job=~".*", b="c"}[5m]))) > 2 and on (job) x:y unless z_total'

    assert names_in(query) == {"a_bucket", "x:y", "z_total"}
    assert set(labels_in(query)) == {("a_bucket", "job"), ("a_bucket", "b")}


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_query_names_a_metric_that_exists(expression: str) -> None:
    names = names_in(expression)

    assert names, "it names none"
    assert names - SAMPLES.keys() - EXTERNAL == set()


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_query_names_labels_that_exist(expression: str) -> None:
    """A selector of a label that is not there finds nothing, for ever, and says so to nobody."""
    unknown = {
        (name, label)
        for name, label in labels_in(expression)
        if name not in EXTERNAL and label not in {*SAMPLES[name].labels, "job", "instance", "le"}
    }
    grouped = {label.strip() for found in re.findall(r"\bby \(([^)]*)\)", expression) for label in found.split(",")}
    there = {label for name in names_in(expression) - EXTERNAL for label in SAMPLES[name].labels}

    assert unknown == set()
    assert grouped - there - {"job", "instance", "le"} == set()


@pytest.mark.parametrize("alert", ALERTS, ids=lambda each: str(each.name))
def test_an_alert_says_what_it_means_and_what_to_do(alert: Alert) -> None:
    labels = {label for name in names_in(alert.expr) for label in SAMPLES[name].labels}

    assert set(re.findall(r"\$labels\.(\w+)", alert.text)) <= labels
    assert alert.name.startswith("Muster")
    assert alert.severity in ("warning", "critical")
    assert len(alert.todo) > 60
    assert re.fullmatch(r"\d+m", alert.lasts)
    assert set(re.findall(r"\b(?:muster|rest_client)_\w+", alert.todo)) <= {each.name for each in TABLE}


def test_a_metric_of_a_promise_that_is_broken_has_an_alert() -> None:
    """What must not happen wakes somebody."""
    watched = {name for each in ALERTS for name in names_in(each.expr)}

    assert {
        "muster_watch_age_seconds", "muster_quota_fuse_trips_total", "muster_audit_differences_total", "muster_ready",
        "muster_backend_reachable", "muster_valve_closed_parents", "muster_actor_restarts_total", "muster_parents",
    } <= watched  # fmt: skip


# --- the manifests ----------------------------------------------------------------------------------------------------
def test_the_dashboard_can_be_imported_and_has_room_for_all() -> None:
    dashboard = json.loads(MADE["dashboard"].read_text(encoding="utf-8"))
    panels = dashboard["panels"]
    cells: list[tuple[int, int]] = [
        (x, y)
        for each in panels
        for x in range(each["gridPos"]["x"], each["gridPos"]["x"] + each["gridPos"]["w"])
        for y in range(each["gridPos"]["y"], each["gridPos"]["y"] + each["gridPos"]["h"])
    ]

    assert len({each["id"] for each in panels}) == len(panels)
    assert len(set(cells)) == len(cells), "panels overlap"
    assert max(x for x, _ in cells) < 24
    assert [each["title"] for each in panels if each["type"] == "row"] == [
        "Is it the truth?", "Are repairs under way?", "Is the process well?",
    ]  # fmt: skip
    assert all(each["targets"] for each in panels if each["type"] != "row")
    variables = {each["name"] for each in dashboard["templating"]["list"]}
    assert set(re.findall(r"\$\{?(\w+)", json.dumps(panels))) <= variables | {"__rate_interval"}


def test_the_service_monitor_scrapes_the_service() -> None:
    monitor = yaml.safe_load((MONITORING / "service_monitor.yaml").read_text(encoding="utf-8"))["spec"]
    service = yaml.safe_load((ROOT / "manifests" / "operator" / "service.yaml").read_text(encoding="utf-8"))

    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["jobLabel"] in service["metadata"]["labels"]
    assert [each["port"] for each in monitor["endpoints"]] == [each["name"] for each in service["spec"]["ports"]]
    assert monitor["endpoints"][0]["path"] == "/metrics"


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not here, which has kustomize")
def test_the_overlay_can_be_built() -> None:
    words = ["kubectl", "kustomize", str(ROOT / "manifests" / "overlays" / "monitored")]
    built = list(
        yaml.safe_load_all(subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout)
    )
    found: dict[tuple[str, str], Any] = {(each["kind"], each["metadata"]["name"]): each for each in built}

    assert {("ServiceMonitor", "muster"), ("PrometheusRule", "muster"), ("Deployment", "muster")} <= found.keys()
    shipped = found["ConfigMap", "muster-dashboard"]
    assert shipped["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(shipped["data"]["muster-dashboard.json"])["title"] == "Muster"


# --- Prometheus itself ------------------------------------------------------------------------------------------------
@needs_promtool
def test_promtool_accepts_the_rules() -> None:
    assert f"{len(ALERTS)} rules found" in promtool("check", "rules", str(MADE["rules"]))


@needs_promtool
def test_promtool_accepts_every_query_of_the_dashboard(tmp_path: Path) -> None:
    """As recording rules, which may be any query."""
    rules = [{"record": f"query:{number}", "expr": expression} for number, expression in enumerate(queries())]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))

    assert f"{len(rules)} rules found" in promtool("check", "rules", str(file))


@needs_promtool
def test_promtool_finds_no_fault_in_the_metrics() -> None:
    """Names, help, units: of everything, facts' and statistics' alike."""
    nested: Any = 1
    statistics = {}
    for each in TABLE:
        value = nested
        for label in reversed(each.labels):
            value = {label: value}
        if each.statistic:
            statistics[each.statistic] = value
    metrics = Metrics(
        version="1",
        workers=2,
        operations=[MUSTER_FLEET.operation],
        kinds=["ComputeNode"],
        statistics=lambda: statistics,
    )

    assert promtool("check", "metrics", given=metrics.render().decode()) == ""


INSTANCE = 'job="muster", instance="a"'


def series(name: str, values: str, **labels: str) -> dict[str, str]:
    more = "".join(f', {label}="{value}"' for label, value in labels.items())
    return {"series": f"{name}{{{INSTANCE}{more}}}", "values": values}


def fires(name: str, at: str, **labels: str) -> dict[str, Any]:
    """It fires at that time with these labels; with none given: it does not."""
    (alert,) = [each for each in ALERTS if each.name == name]
    expected = (
        [{"exp_labels": {"severity": alert.severity, "job": "muster", "instance": "a", **labels}}] if labels else []
    )
    return {"eval_time": at, "alertname": name, "exp_alerts": expected}


@needs_promtool
def test_alerts_fire_when_they_should_and_not_before(tmp_path: Path) -> None:
    def with_words(case: dict[str, Any], text: str) -> dict[str, Any]:
        (alert,) = [each for each in ALERTS if each.name == case["alertname"]]
        for each in case["exp_alerts"]:
            each["exp_annotations"] = {"summary": text, "runbook": alert.todo}
        return case

    tests = [
        {
            "interval": "1m",
            "name": "a watch falls silent, and comes back",
            "input_series": [
                series("muster_watch_age_seconds", "12 18 90 150 210 5 6", kind="ComputeNode"),
                series("muster_watch_age_seconds", "12 18 12 15 13 5 6", kind="Cluster"),
            ],
            "alert_rule_test": [
                fires("MusterWatchSilent", "3m"),
                with_words(
                    fires("MusterWatchSilent", "4m", kind="ComputeNode"),
                    "The watch of ComputeNode has proved nothing for 3m 30s: its counts may be old.",
                ),
                fires("MusterWatchSilent", "5m"),
            ],
        },
        {
            "interval": "1m",
            "name": "the first trip of the fuse is seen, because its series was there before",
            "input_series": [series("muster_quota_fuse_trips_total", "0x5 1x60", operation="batchRepair")],
            "alert_rule_test": [
                fires("MusterFuseTripped", "5m"),
                with_words(
                    {
                        "eval_time": "8m",
                        "alertname": "MusterFuseTripped",
                        "exp_alerts": [{"exp_labels": {"severity": "critical", "job": "muster", "instance": "a"}}],
                    },
                    "The fuse stopped a call that the ledger had allowed. The quota was kept, but this is a bug.",
                ),
                fires("MusterFuseTripped", "80m"),
            ],
        },
        {
            "interval": "1m",
            "name": "the quota is used up while repairs wait; not while nothing waits, nor in a cold start",
            "input_series": [
                series("muster_quota_slots_free", "0x60 1 0x60"),
                series("muster_quota_slots_max", "10x121"),
                series("muster_backend_queue_items", "40x60 0x61"),
                series("muster_quota_cold", "0x121"),
            ],
            "alert_rule_test": [
                {
                    "eval_time": "40m",
                    "alertname": "MusterQuotaExhausted",
                    "exp_alerts": [{
                        "exp_labels": {"severity": "warning", "job": "muster", "instance": "a"},
                        "exp_annotations": {
                            "summary": "The quota has been used up for half an hour while repairs wait.",
                            "runbook": next(each.todo for each in ALERTS if each.name == "MusterQuotaExhausted"),
                        },
                    }],
                },
                fires("MusterQuotaExhausted", "100m"),
            ],
        },
        {
            "interval": "1m",
            "name": "few restarts are no storm",
            "input_series": [
                series("muster_actor_restarts_total", "0+1x20 20+5x20", actor="cluster"),
                series("muster_actor_restarts_total", "0x40", actor="gateway"),
            ],
            "alert_rule_test": [
                fires("MusterRestartStorm", "20m"),
                with_words(
                    fires("MusterRestartStorm", "35m", actor="cluster"),
                    "Actors of the class cluster were restarted 50 times in ten minutes.",
                ),
            ],
        },
        {
            "interval": "1m",
            "name": "nobody is scraped",
            "input_series": [series("muster_build_info", "1 1 1 _x30", version="1")],
            "alert_rule_test": [
                fires("MusterAbsent", "4m"),
                with_words(
                    {"eval_time": "20m", "alertname": "MusterAbsent", "exp_alerts": [{"exp_labels": {"severity": "critical"}}]},
                    "No Muster is scraped: statuses grow old and nothing is repaired.",
                ),
            ],
        },
    ]  # fmt: skip
    file = tmp_path / "tests.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(MADE["rules"])], "evaluation_interval": "1m", "tests": tests}))

    assert "SUCCESS" in promtool("test", "rules", str(file))
