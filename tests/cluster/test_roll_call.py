"""The main job on a real kube-apiserver: twenty clusters of fifty nodes, and counts that are the truth after every change."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Self

import pytest

from actors.sim.envtest import RealApiServer
from actors.sim.live import BackendServer, Counts, Fleet, Operator, together, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

CLUSTERS = [f"c{number:02}" for number in range(20)]
NODES_EACH = 50
WITHIN_S = 10.0
SHORT_S = 5  # the heartbeat timeout of the cluster in which one falls silent


def kind_of(number: int) -> str:
    return "StorageNode" if number % 2 else "ComputeNode"


def name_of(cluster: str, number: int) -> str:
    return f"{cluster}-n{number:02}"


class Beats:
    """The agents of one cluster: each node's heartbeat every 1.5 s, but of those in ``dead``."""

    def __init__(self, fleet: Fleet, cluster: str) -> None:
        self.dead: set[int] = set()
        self.last_s: dict[int, float] = {}
        self._fleet, self._cluster = fleet, cluster
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.is_set():
            began_s = time.monotonic()
            for number in range(NODES_EACH):
                if number not in self.dead and not self._over.is_set():
                    self._fleet.beat(name_of(self._cluster, number), kind_of(number))
                    self.last_s[number] = time.monotonic()
            self._over.wait(max(0.0, began_s + 1.5 - time.monotonic()))


@pytest.mark.parametrize("reader", ["thread", "process"])
def test_counts_are_the_truth_after_every_change(
    reader: str,
    server: RealApiServer,
    fleet: Fleet,
    operator: Callable[..., Operator],
    backend: Callable[..., BackendServer],
) -> None:
    """Every way in which a fleet changes, on one server in one life of the operator: what one change leaves behind (a phantom,
    a stale version, a parent not woken) shows at the next."""
    repairs = backend("--quota", "10/1s")
    muster = operator(repairs.url, cold_start="0s", reader=reader).ready()
    upset = len(muster.lines("stream_down"))  # "storage is (re)initializing", while the kinds are new to the server
    took: dict[str, float] = {}

    uids = {name: fleet.cluster(name)["metadata"]["uid"] for name in CLUSTERS}
    ways = ("ref", "label", "owner")
    began_s = time.monotonic()
    together(
        partial(
            fleet.node, name_of(cluster, number), cluster, kind_of(number),
            by=ways[number % 3], owner_uid=uids[cluster],
        )
        for cluster in CLUSTERS for number in range(NODES_EACH)
    )  # fmt: skip
    made_s = time.monotonic() - began_s
    took["1,000 created"] = fleet.agree(WITHIN_S)
    assert dict.fromkeys(CLUSTERS, (50, 50, 0, 0)) == fleet.counts()

    ill = [(cluster, number) for cluster in CLUSTERS for number in (3, 4, 17)]
    together(partial(fleet.report, name_of(*each), False, kind_of(each[1])) for each in ill)
    took["60 fell ill"] = fleet.agree(WITHIN_S)
    assert dict.fromkeys(CLUSTERS, (50, 47, 3, 0)) == fleet.counts()

    together(partial(fleet.report, name_of(*each), True, kind_of(each[1])) for each in ill)
    took["60 recovered"] = fleet.agree(WITHIN_S)

    gone = [(cluster, number) for cluster in CLUSTERS[:10] for number in range(10, 14)]
    gone += [(CLUSTERS[10], number) for number in range(NODES_EACH)]
    together(partial(fleet.delete, name_of(*each), kind_of(each[1])) for each in gone)
    took["90 deleted, one cluster emptied"] = fleet.agree(WITHIN_S)
    assert fleet.counts()[CLUSTERS[10]] == (0, 0, 0, 0)

    for index, cluster in enumerate(CLUSTERS[:9]):
        move_all_ways(fleet, cluster, CLUSTERS[index + 1], uids[CLUSTERS[index + 1]])
    took["27 moved to another cluster"] = fleet.agree(WITHIN_S)

    for cluster in CLUSTERS[11:14]:  # the same names at once: another uid, another parent, another health
        for number in range(6):
            fleet.delete(name_of(cluster, number), kind_of(number))
            other = CLUSTERS[14] if number < 3 else cluster
            fleet.node(name_of(cluster, number), other, kind_of(number), healthy=number % 2 == 0)
    fleet.delete(CLUSTERS[15], "Cluster")
    fleet.cluster(CLUSTERS[15])
    took["18 nodes and a cluster created again"] = fleet.agree(WITHIN_S)
    assert fleet.counts()[CLUSTERS[14]] == (59, 56, 3, 0)

    silence = fall_silent(fleet, CLUSTERS[19])
    shown = server.kubectl("get", "mcl", "--namespace", fleet.namespace)
    print(shown)
    header, *rows = shown.splitlines()
    assert header.split() == ["NAME", "READY", "HEALTHY", "TOTAL", "UNHEALTHY", "REPAIRING", "AGE"]
    assert [row.split()[:1] + row.split()[2:4] for row in rows] == [
        [name, str(counts[1]), str(counts[0])] for name, counts in sorted(fleet.counts().items())
    ]

    fleet.clear()
    fleet.cluster(CLUSTERS[0])
    took["all deleted, one cluster created again"] = fleet.agree(WITHIN_S)
    assert fleet.counts() == {CLUSTERS[0]: (0, 0, 0, 0)}

    assert [line for line in muster.lines() if line["level"] == "error"] == []
    assert muster.lines("stream_down")[upset:] == []
    assert muster.stop() == 0
    print(f"1,000 nodes made in {made_s:.1f} s; silent {silence:.2f} s after the deadline; right after:")
    print("\n".join(f"  {change}: {seconds:.2f} s" for change, seconds in took.items()))


def move_all_ways(fleet: Fleet, cluster: str, to: str, uid: str) -> None:
    """One node by each way of naming the parent (numbers 0, 1, 2 by ref, label, owner)."""
    patches = (
        {"spec": {"clusterRef": {"name": to}}},
        {"metadata": {"labels": {"muster.dev/cluster": to}}},
        {"metadata": {"ownerReferences": [
            {"apiVersion": "muster.dev/v1alpha1", "kind": "Cluster", "name": to, "uid": uid, "controller": True}
        ]}},
    )  # fmt: skip
    for number, patch in enumerate(patches):
        fleet.api.merge(fleet.path(kind_of(number), name_of(cluster, number)), patch)


def fall_silent(fleet: Fleet, cluster: str) -> float:
    """One node of ``cluster`` stops reporting: how long after its deadline the status said so. It speaks again, too."""
    before: Counts = fleet.counts()[cluster]
    silent = 7
    with Beats(fleet, cluster) as beats:
        until(lambda: len(beats.last_s) == NODES_EACH, 20.0, "every node to beat")
        fleet.api.merge(fleet.path("Cluster", cluster), {"spec": {"heartbeatTimeout": f"{SHORT_S}s"}})
        time.sleep(SHORT_S + 2)
        assert fleet.counts()[cluster] == before, "nobody is silent while all beat"

        beats.dead.add(silent)
        time.sleep(0.1)  # a beat under way lands
        due_s = beats.last_s[silent] + SHORT_S
        until(lambda: fleet.counts()[cluster][3] == 1, SHORT_S + 5.0, "the silent node to be unknown")
        late_s = time.monotonic() - due_s
        assert fleet.counts()[cluster] == (before[0], before[1] - 1, before[2], 1)
        assert -0.5 < late_s < 2.0  # ± 1 s, then the quiet time, one write, and our own looking

        beats.dead.clear()
        fleet.agree(WITHIN_S)
    fleet.api.merge(fleet.path("Cluster", cluster), {"spec": {"heartbeatTimeout": None}})
    fleet.agree(WITHIN_S)
    return late_s
