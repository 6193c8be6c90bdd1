"""A mass failure over real HTTP: every node of every cluster fails, and the operator's drain is held against its limit.

Usage: python bench/storm.py [--clusters 50] [--nodes 100] [--quota 2/1s] [--batch-max 100] [--big 0]

Starts the embedded API server and backend and ``supervisor.py run`` as processes of their own, flips all nodes, and reads the
servers' own logs: calls against ceil(N/B), the fullest window against the quota, the drain against the limit of the design at
the measured round trip, the age of each status when it became right, and (``--big N``: one more cluster of N nodes) whether
small clusters wait for the large one.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import urllib3

ROOT = Path(__file__).resolve().parent.parent
API = "/apis/muster.dev/v1alpha1/namespaces/default"


def spawn(*words: str) -> tuple[subprocess.Popen[str], str]:
    """Start a server that prints ``ready URL``; it and the URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", *words], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("ready "), line
    return process, line.split()[1]


def lines(path: Path) -> list[dict[str, Any]]:
    """A JSON-lines log."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


class Users:
    """Creates and reports through the real API, on a few connections."""

    def __init__(self, url: str) -> None:
        self._http = urllib3.PoolManager(maxsize=8, block=True, retries=False)
        self._url = url
        self._threads = ThreadPoolExecutor(8)

    def send(self, method: str, path: str, body: dict[str, Any]) -> None:
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        answer = self._http.request(
            method, f"{self._url}{path}", body=json.dumps(body).encode(), headers={"Content-Type": kind}
        )
        assert answer.status < 300, (method, path, answer.status, answer.data[:300])

    def each(self, jobs: list[tuple[str, str, dict[str, Any]]]) -> None:
        list(self._threads.map(lambda job: self.send(*job), jobs))

    def healthy(self) -> int:
        return sum(c.get("status", {}).get("healthy", 0) for c in self.get(f"{API}/clusters")["items"])

    def get(self, path: str) -> Any:
        return json.loads(self._http.request("GET", f"{self._url}{path}").data)


def status(healthy: bool) -> dict[str, Any]:
    """What a node reports."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    condition = {"type": "Healthy", "status": str(healthy), "reason": "R", "message": "", "lastTransitionTime": now}
    return {"status": {"healthy": healthy, "lastHeartbeatTime": now, "conditions": [condition]}}


def main() -> int:
    """Run the storm; exit 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clusters", type=int, default=50)
    parser.add_argument("--nodes", type=int, default=100)
    parser.add_argument("--big", type=int, default=0)
    parser.add_argument("--quota", default="2/1s")
    parser.add_argument("--batch-max", type=int, default=100)
    options = parser.parse_args()
    sizes = {f"c{n:03d}": options.nodes for n in range(options.clusters)} | (
        {"big": options.big} if options.big else {}
    )
    total = sum(sizes.values())
    calls_max, window = options.quota.split("/")
    window_s = float(window.rstrip("s"))

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        api, url = spawn("actors.sim.serve_api", "--log", str(folder / "api"), "--object-log", str(folder / "objects"),
                         "--kubeconfig", str(folder / "kubeconfig"))  # fmt: skip
        backend, backend_url = spawn("actors.sim.serve_backend", "--quota", options.quota, "--batch-max",
                                     str(options.batch_max), "--log", str(folder / "calls"))  # fmt: skip
        users = Users(url)
        operator = subprocess.Popen(
            [sys.executable, str(ROOT / "supervisor.py"), "run", "--kubeconfig", str(folder / "kubeconfig"),
             "--backend-url", backend_url, "--quota", options.quota, "--batch-max", str(options.batch_max),
             "--cold-start", "0s", "--max-unhealthy", "100%", "--listen", "off", "--cooldown", "1h"],
            cwd=ROOT, stdout=(folder / "operator").open("w"), stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            head = {"apiVersion": "muster.dev/v1alpha1"}
            users.each([("POST", f"{API}/clusters", {**head, "kind": "Cluster", "metadata": {"name": c}, "spec": {}})
                        for c in sizes])  # fmt: skip
            names = [(f"{c}-{n}", c) for c, size in sizes.items() for n in range(size)]
            users.each([("POST", f"{API}/computenodes", {**head, "kind": "ComputeNode", "metadata": {"name": node},
                         "spec": {"clusterRef": {"name": c}}}) for node, c in names])  # fmt: skip
            users.each([("PATCH", f"{API}/computenodes/{node}/status", status(True)) for node, _ in names])
            wait_for(
                lambda: (
                    sum(c.get("status", {}).get("healthy", 0) for c in users.get(f"{API}/clusters")["items"]) == total
                ),
                60,
            )
            time.sleep(1.0)
            began = time.monotonic()
            users.each([("PATCH", f"{API}/computenodes/{node}/status", status(False)) for node, _ in names])
            flipped = time.monotonic()
            wait_for(lambda: repaired(folder / "calls") >= total, 600)
            time.sleep(2.0)
        finally:
            operator.terminate()
            operator.wait(30)
            for server in (api, backend):
                server.terminate()
                server.wait(10)
        return report(folder, sizes, int(calls_max), window_s, options.batch_max, began, flipped)


def wait_for(condition: Any, timeout_s: float) -> None:
    """Look four times a second."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not so within {timeout_s} s"
        time.sleep(0.25)


def arrivals(path: Path) -> list[dict[str, Any]]:
    """The backend's arrivals."""
    return [each for each in lines(path) if each.get("event", each.get("type")) in ("arrival", None)]


def repaired(path: Path) -> int:
    """Items accepted so far."""
    return sum(len(each.get("items", each.get("nodes", []))) for each in arrivals(path))


def report(
    folder: Path, sizes: dict[str, int], calls_max: int, window_s: float, batch_max: int, began: float, flipped: float,
) -> int:  # fmt: skip
    """Print the figures; 1 when a promise was broken."""
    total = sum(sizes.values())
    calls = list(arrivals(folder / "calls"))
    stamps = sorted(each["mono_s"] for each in calls)
    fullest = max(sum(1 for other in stamps if stamp <= other < stamp + window_s) for stamp in stamps)
    k = math.ceil(total / batch_max)
    limit_s = (math.ceil(k / calls_max) - 1) * window_s
    drain_s = stamps[-1] - stamps[0]
    objects = lines(folder / "objects")
    last_event: dict[str, float] = {}
    right: dict[str, float] = {}
    cluster_writes = 0
    for each in objects:
        if each["mono_s"] < began:
            continue
        if each["kind"] == "ComputeNode":
            cluster = each["name"].rsplit("-", 1)[0]
            last_event[cluster] = max(last_event.get(cluster, 0.0), each["mono_s"])
        elif each["kind"] == "Cluster":
            cluster_writes += 1
            if each["status"].get("unhealthy") == sizes[each["name"]]:
                right.setdefault(each["name"], each["mono_s"])
    late = sorted(right[c] - last_event[c] for c in sizes)
    first_call = {c: min(e["mono_s"] for e in calls if any(i["cluster"] == c for i in e["items"])) for c in sizes}
    last_call = {c: max(e["mono_s"] for e in calls if any(i["cluster"] == c for i in e["items"])) for c in sizes}
    figures = {
        "nodes": total, "clusters": len(sizes), "calls": len(calls), "calls_least": k, "fullest_window": fullest,
        "quota": calls_max, "items_twice": repaired(folder / "calls") - total, "flip_s": round(flipped - began, 2),
        "drain_s": round(drain_s, 3), "limit_s_without_rtt": limit_s,
        "drain_ratio": round(drain_s / max(limit_s, 1e-9), 4),
        "status_right_after_last_event_s": {"p50": round(late[len(late) // 2], 3), "max": round(late[-1], 3)},
        "drain_ended_after_flip_s": round(stamps[-1] - flipped, 2),
        "status_writes_per_cluster": round(cluster_writes / len(sizes), 2),
        "small_clusters_done_s": round(max(v for c, v in last_call.items() if c != "big") - stamps[0], 2),
        "big_done_s": round(last_call.get("big", stamps[0]) - stamps[0], 2),
        "first_call_latest_s": round(max(first_call.values()) - stamps[0], 2),
    }  # fmt: skip
    print(json.dumps(figures, indent=2))
    broken = fullest > calls_max or late[-1] > 2.0 or figures["items_twice"] > 0
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
