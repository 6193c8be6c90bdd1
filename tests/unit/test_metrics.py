"""Metrics: every fact is counted, gauges come from the statistics, no label names an object, nothing is global."""

from __future__ import annotations

from typing import Any

import attrs
import prometheus_client
import pytest

from actors.core import events
from actors.core.events import (
    ActorCrashed,
    CallAnswered,
    CallSent,
    Fact,
    Listed,
    Reconciled,
    StatusWritten,
    StreamDown,
    StreamUp,
)
from actors.ops.metric_table import TABLE
from actors.ops.metrics import ACTORS, Metrics, actor_class, families

FACTS = [
    each for each in vars(events).values() if isinstance(each, type) and issubclass(each, Fact) and each is not Fact
]


def values(metrics: Metrics, name: str) -> dict[tuple[str, ...], float]:
    """Samples of that name, by their labels' values."""
    return {
        tuple(sample.labels.values()): sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name == name
    }


def made(fact_class: type[Fact], **over: Any) -> Fact:
    examples = {
        "str": "x", "int": 3, "float": 0.5, "bool": True, "float | None": 0.25,
        "tuple[str, ...]": ("x",), "Mapping[str, int]": {"x": 1},
    }  # fmt: skip
    return fact_class(**{each.name: examples[str(each.type)] for each in attrs.fields(fact_class)} | over)


@pytest.mark.parametrize("fact_class", FACTS, ids=lambda each: str(each.__name__))
def test_every_fact_moves_a_number(fact_class: type[Fact]) -> None:
    metrics = Metrics(version="1")
    before = {(s.name, *s.labels.items()): s.value for f in metrics.registry.collect() for s in f.samples}

    metrics(made(fact_class))

    after = {(s.name, *s.labels.items()): s.value for f in metrics.registry.collect() for s in f.samples}
    assert [
        name
        for name in after
        if str(name[0]).startswith(("muster_", "controller_", "rest_client_")) and after[name] != before.get(name)
    ]


def test_a_fact_that_is_not_known_is_no_error() -> None:
    @attrs.frozen
    class Invented(Fact):
        pass

    Metrics(version="1")(Invented())


def test_reconciles_have_the_names_that_dashboards_know() -> None:
    metrics = Metrics(version="1", workers=2)

    metrics(Reconciled(parent="a/b", cause="x", changed=True, seconds=0.002))
    metrics(ActorCrashed(actor="cluster/a/b", incarnation=1, error="x", traceback=""))

    assert values(metrics, "controller_runtime_reconcile_total") == {
        ("cluster", "success"): 1.0,
        ("cluster", "error"): 1.0,
    }
    assert values(metrics, "controller_runtime_reconcile_errors_total") == {("cluster",): 1.0}
    assert values(metrics, "controller_runtime_reconcile_time_seconds_count") == {("cluster",): 1.0}
    assert values(metrics, "controller_runtime_max_concurrent_reconciles") == {("cluster",): 2.0}


def test_work_queues_are_the_same_numbers_under_the_names_that_dashboards_know() -> None:
    """They cost nothing before the scrape: the series of our own metrics, with another name and label."""
    metrics = Metrics(version="1", statistics=lambda: {"queue_adds": {"repairs": 7}, "queue_depth": {"cluster": 2}})

    metrics(Reconciled(parent="a/b", cause="x", changed=True, seconds=0.002, waited_s=0.3))
    metrics(Reconciled(parent="a/b", cause="timer", changed=False, seconds=0.002))
    metrics(CallSent(operation="batchRepair", call="1", items=100, parents=7, waited_s=0.2))
    metrics(CallAnswered(operation="batchRepair", call="1", outcome="answered", seconds=0.1, retried=4))
    metrics(CallAnswered(operation="other", call="2", outcome="answered", seconds=0.3))

    assert values(metrics, "workqueue_queue_duration_seconds_count") == {("cluster",): 1.0, ("repairs",): 1.0}
    assert values(metrics, "workqueue_queue_duration_seconds_sum") == {("cluster",): 0.3, ("repairs",): 0.2}
    assert values(metrics, "workqueue_work_duration_seconds_count") == {("cluster",): 2.0, ("repairs",): 2.0}
    assert values(metrics, "workqueue_work_duration_seconds_sum") == {("cluster",): 0.004, ("repairs",): 0.4}
    assert values(metrics, "workqueue_work_duration_seconds_bucket")["repairs", "0.25"] == 1.0
    assert values(metrics, "workqueue_adds_total") == {("cluster",): 2.0, ("repairs",): 7.0}
    assert values(metrics, "workqueue_retries_total") == {("repairs",): 4.0}
    assert values(metrics, "workqueue_depth") == {("cluster",): 2.0}


def test_calls_are_counted_by_outcome_and_items_by_answer() -> None:
    metrics = Metrics(version="1")

    metrics(CallSent(operation="batchRepair", call="1", items=100, parents=7, waited_s=0.2))
    metrics(CallAnswered(operation="batchRepair", call="1", outcome="answered", seconds=0.1, accepted=97, failed=3))
    metrics(CallAnswered(operation="batchRepair", call="2", outcome="timeout", seconds=10.0, unknown=5))

    assert values(metrics, "muster_backend_calls_total") == {
        ("batchRepair", "answered"): 1.0, ("batchRepair", "timeout"): 1.0,
    }  # fmt: skip
    assert values(metrics, "muster_backend_items_total") == {
        ("batchRepair", "accepted"): 97.0, ("batchRepair", "failed"): 3.0, ("batchRepair", "retried"): 0.0,
        ("batchRepair", "unknown"): 5.0,
    }  # fmt: skip
    assert values(metrics, "muster_backend_call_items_sum") == {("batchRepair",): 100.0}


def test_a_stream_is_up_or_down() -> None:
    metrics = Metrics(version="1")

    metrics(StreamUp(kind="Cluster", gap_s=0.0))
    metrics(StreamUp(kind="ComputeNode", gap_s=0.0))
    metrics(StreamDown(kind="Cluster", reason="Unreachable", message="", retry_s=1.0))
    metrics(Listed(kind="Cluster", count=5, missing=2, reason="expired"))

    assert values(metrics, "muster_stream_up") == {("Cluster",): 0.0, ("ComputeNode",): 1.0}
    assert values(metrics, "muster_deletions_found_missing_total") == {("Cluster",): 2.0}


def test_an_alert_sees_zero_and_not_nothing() -> None:
    """The first trip of a fuse that had no series would be no increase, and nobody would hear of it."""
    metrics = Metrics(version="1", operations=["batchRepair"], kinds=["ComputeNode"])

    assert values(metrics, "muster_quota_fuse_trips_total") == {("batchRepair",): 0.0}
    assert values(metrics, "muster_audit_differences_total") == {("ComputeNode",): 0.0}
    assert values(metrics, "muster_actor_wedges_total") == dict.fromkeys(((actor,) for actor in ACTORS), 0.0)


def test_no_label_names_an_object() -> None:
    """A parent's name in a label would cost the metrics store a series for each parent, for ever."""
    metrics = Metrics(version="1")

    for name in ("cluster/prod/db-7", "watcher:ComputeNode", "gateway"):
        metrics(made(ActorCrashed, actor=name))
    metrics(StatusWritten(parent="prod/db-7", version=1))

    text = metrics.render().decode()
    assert "db-7" not in text
    assert values(metrics, "muster_actor_crashes_total").keys() == {("cluster",), ("watcher",), ("gateway",)}


@pytest.mark.parametrize(("name", "expected"), [("a" * 99, "a" * 40), ("", "unnamed"), ("/x", "unnamed"), ("a#1", "a")])
def test_actor_classes_are_few_and_short(name: str, expected: str) -> None:
    assert actor_class(name) == expected


def test_gauges_are_read_at_the_scrape() -> None:
    statistics: dict[str, object] = {"slots_free": 10}
    metrics = Metrics(version="1", statistics=lambda: statistics)

    first = values(metrics, "muster_quota_slots_free")
    statistics["slots_free"] = 3

    assert (first, values(metrics, "muster_quota_slots_free")) == ({(): 10.0}, {(): 3.0})


def test_levels_of_a_statistic_become_labels() -> None:
    (family,) = families({"children": {"ComputeNode": {"healthy": 7, "unhealthy": 1}, "StorageNode": {"healthy": 2}}})

    assert [(tuple(sample.labels.values()), sample.value) for sample in family.samples] == [
        (("ComputeNode", "healthy"), 7.0), (("ComputeNode", "unhealthy"), 1.0), (("StorageNode", "healthy"), 2.0),
    ]  # fmt: skip


@pytest.mark.parametrize("broken", [{"children": 5}, {"slots_free": "many"}, {"parents": {"awake": None}}])
def test_a_statistic_that_is_no_number_is_left_out(broken: dict[str, object]) -> None:
    assert [sample for family in families(broken) for sample in family.samples] == []


def test_counters_are_shown_when_the_engine_cannot_answer() -> None:
    def broken() -> dict[str, object]:
        raise RuntimeError("in pieces")

    metrics = Metrics(version="1", statistics=broken)
    metrics(StatusWritten(parent="a/b", version=1))

    assert values(metrics, "muster_status_writes_total") == {(): 1.0}
    assert values(metrics, "muster_statistics_up") == {(): 0.0}


def test_two_operators_in_a_process_do_not_meet() -> None:
    first, second = Metrics(version="1"), Metrics(version="1")
    first(StatusWritten(parent="a", version=1))

    assert values(second, "muster_status_writes_total") == {(): 0.0}
    assert not [f for f in prometheus_client.REGISTRY.collect() if f.name.startswith(("muster", "controller_runtime"))]


def test_names_follow_the_conventions() -> None:
    known = ("controller_runtime_", "workqueue_", "rest_client_")

    assert len({each.name for each in TABLE}) == len(TABLE)
    for each in TABLE:
        assert each.name.startswith(("muster_", *known)), each.name
        assert each.name.endswith("_total") == (each.type == "counter"), each.name
        assert not each.name.endswith(("_bucket", "_count", "_sum")), each.name
        assert each.text.endswith("."), each.name
        if each.name.endswith("_seconds") and each.type != "counter":
            assert each.text.startswith("Seconds"), f"{each.name}: the help says the unit"
    assert b"process_resident_memory_bytes" in Metrics(version="1").render()


def test_no_label_could_name_an_object() -> None:
    """A closed list: a new label is a decision. Each has as many values as there are kinds, classes, reasons or states."""
    labels = {label for each in TABLE for label in each.labels}

    assert labels == {
        "actor", "answer", "by", "code", "controller", "host", "kind", "method", "name", "operation", "outcome", "place",
        "reader",
        "pool", "reason", "result", "state", "status", "supervisor", "to", "type", "verb", "verdict", "version", "what", "why",
    }  # fmt: skip
