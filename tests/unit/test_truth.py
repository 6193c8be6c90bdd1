"""The truth, told again from the API server's log: whose a node is, and when it is silent."""

from __future__ import annotations

from typing import Any

import pytest

from actors.ops.truth import Story, counts_of, seconds, tell

Obj = dict[str, Any]
OWNER = {"apiVersion": "muster.dev/v1alpha1", "kind": "Cluster", "name": "one", "controller": True}
LABEL = {"muster.dev/cluster": "two"}
SPEC = {"clusterRef": {"name": "three"}}


def commit(at_s: float, type_: str, kind: str, name: str, **parts: Any) -> Obj:
    line = {"mono_s": at_s, "type": type_, "kind": kind, "ns": "default", "name": name, "uid": f"uid-{name}"}
    return line | {"user_agent": "somebody"} | parts


def cluster(at_s: float, name: str = "three", **spec: Any) -> Obj:
    return commit(at_s, "ADDED", "Cluster", name, spec=spec, status=None)


def node(at_s: float, name: str = "a", kind: str = "ComputeNode", **parts: Any) -> Obj:
    return commit(at_s, "ADDED", kind, name, **{"spec": SPEC, "status": None, **parts})


def report(at_s: float, name: str = "a", *, healthy: bool | None = True, beat: str = "") -> Obj:
    condition = {"type": "Healthy", "status": str(healthy), "lastTransitionTime": f"since {healthy}"}
    status = {"healthy": healthy, "lastHeartbeatTime": beat or f"beat {at_s}", "conditions": [condition]}
    return commit(at_s, "MODIFIED", "ComputeNode", name, status=status)


def course(story: Story) -> list[tuple[float, int, int, int]]:
    """(from, healthy, unhealthy, unknown) of the only cluster."""
    (only,) = story.clusters
    return [(at_s, counts.healthy, counts.unhealthy, counts.unknown) for at_s, counts in only.counts]


def incidents(story: Story, name: str = "a") -> list[tuple[float, str]]:
    return [(moment.at_s, moment.incident) for moment in story.nodes[f"uid-{name}"].moments]


def test_the_first_claim_that_is_there_names_the_parent() -> None:
    """Controlling owner, then label, then clusterRef; a label that changes moves the node."""
    lines = [cluster(0.0, name) for name in ("one", "two", "three")] + [
        node(1.0, "a", labels=LABEL, ownerReferences=[OWNER]),
        node(1.0, "b", labels=LABEL, ownerReferences=[{**OWNER, "controller": False}]),
        node(1.0, "c", "StorageNode"),
        commit(2.0, "MODIFIED", "ComputeNode", "b", labels={"muster.dev/cluster": "three"}),
    ]
    last = {each.key[1]: each.counts[-1][1] for each in tell(lines, 3.0).clusters}

    assert {"one": 1, "two": 0, "three": 2} == {name: counts.total for name, counts in last.items()}
    assert (("ComputeNode", 0, 0, 1), ("StorageNode", 0, 0, 1)) == last["three"].kinds


def test_an_owner_of_another_group_is_no_claim() -> None:
    lines = [cluster(0.0, "one"), node(1.0, ownerReferences=[{**OWNER, "apiVersion": "cluster.x-k8s.io/v1beta1"}])]

    assert [(0.0, 0, 0, 0)] == course(tell(lines, 2.0))


def test_silence_is_counted_from_the_last_report_by_the_clusters_own_timeout() -> None:
    lines = [cluster(0.0, heartbeatTimeout="4s"), node(1.0), report(2.0), report(3.5)]
    story = tell(lines, 10.0, timeout_s=1.0)

    assert [(0.0, 0, 0, 0), (1.0, 0, 0, 1), (2.0, 1, 0, 0), (7.5, 0, 0, 1)] == course(story)
    assert [(1.0, ""), (7.5, "silent@beat 3.5")] == incidents(story)


def test_patience_tells_each_silence_later() -> None:
    lines = [cluster(0.0, heartbeatTimeout="4s"), node(1.0), report(2.0)]

    assert 7.0 == course(tell(lines, 10.0, patience_s=1.0))[-1][0]


def test_without_a_timeout_nobody_is_silent_but_by_the_operators_own() -> None:
    lines = [cluster(0.0), node(1.0), report(2.0)]

    assert (2.0, 1, 0, 0) == course(tell(lines, 100.0))[-1]
    assert (52.0, 0, 0, 1) == course(tell(lines, 100.0, timeout_s=50.0))[-1]


def test_a_commit_that_reports_nothing_new_does_not_start_the_clock_again() -> None:
    """Somebody else wrote the status; the heartbeat stayed what it was."""
    lines = [cluster(0.0, heartbeatTimeout="4s"), node(1.0), report(2.0, beat="x"), report(5.0, beat="x")]

    assert 6.0 == course(tell(lines, 10.0))[-1][0]


def test_one_that_never_reports_is_in_need_after_the_timeout() -> None:
    assert [(1.0, ""), (5.0, "silent@")] == incidents(tell([cluster(0.0, heartbeatTimeout="4s"), node(1.0)], 10.0))


def test_a_bad_report_is_one_incident_however_long_and_silent_it_is() -> None:
    lines = [cluster(0.0, heartbeatTimeout="4s"), node(1.0), report(2.0, healthy=False), report(3.0, healthy=False)]
    story = tell(lines, 20.0)

    assert (2.0, 0, 1, 0) == course(story)[-1]
    assert [(1.0, ""), (2.0, "unhealthy@since False")] == incidents(story)


def test_a_timeout_that_changes_holds_for_those_who_are_there() -> None:
    lines = [cluster(0.0, heartbeatTimeout="60s"), node(1.0), report(2.0)]
    lines.append(commit(3.0, "MODIFIED", "Cluster", "three", spec={"heartbeatTimeout": "2s"}))

    assert (4.0, 0, 0, 1) == course(tell(lines, 10.0))[-1]


def test_nodes_wait_for_their_cluster_and_outlive_it() -> None:
    lines = [node(0.5), cluster(1.0), commit(2.0, "DELETED", "Cluster", "three"), report(3.0), cluster(4.0)]
    first, second = tell(lines, 5.0).clusters

    assert (1.0, 2.0, 4.0, None) == (first.born_s, first.gone_s, second.born_s, second.gone_s)
    assert ([1], [1]) == (
        [counts.unknown for _, counts in first.counts],
        [counts.healthy for _, counts in second.counts],
    )


@pytest.mark.parametrize(
    ("share", "total", "held"), [("50%", 10, 6), ("50%", 4, 4), (2, 10, 3), ("0%", 10, 4), ("100%", 3, None)]
)
def test_the_valve_closes_above_its_limit(share: str | int, total: int, held: int | None) -> None:
    """A percentage never at three or fewer; an absolute limit is taken at its word."""
    lines = [cluster(0.0, repair={"maxUnhealthy": share}), *(node(0.1, f"{n}") for n in range(total))]
    lines += [report(1.0 + number, f"{number}", healthy=False) for number in range(total)]
    (only,) = tell(lines, 100.0).clusters

    assert held == next((int(at_s) for at_s, closed in only.held if closed), None)
    assert only.held_throughout(99.0, 100.0) is (held is not None)


@pytest.mark.parametrize("spec", [{"paused": True}, {"repair": {"enabled": False}}])
def test_repairs_are_held_where_the_spec_says_so(spec: Obj) -> None:
    assert tell([cluster(0.0, **spec)], 1.0).clusters[0].held == [(0.0, True)]


@pytest.mark.parametrize(
    "status",
    [
        {},
        {"total": 1},
        {"total": 1, "healthy": 1, "unhealthy": 0, "unknown": 0, "kinds": [{"kind": "X"}]},
        {"total": 1, "healthy": 1, "unhealthy": 0, "unknown": 0, "kinds": []},
    ],
)
def test_a_status_that_cannot_be_read_or_contradicts_itself_says_nothing(status: Obj) -> None:
    assert counts_of(status) is None


def test_durations() -> None:
    assert (0.25, 90.0) == (seconds("250ms"), seconds("1m30s"))
