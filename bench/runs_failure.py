"""Failures: one, one in each parent, all at once; and the backend's log of what came of them."""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import urllib3

from bench.judging import BATCH, CALLS, drain_limit_s, percentile, promises, writes_until_queued
from bench.load.handle import ROOT, LoadServer
from bench.process import muster
from bench.result import Bench, Row, run, served
from bench.runs_ingest import settled

DEBOUNCE_S = 0.1


class BackendServer:
    """The simulated backend in a process of its own, and its log of arrivals."""

    def __init__(self, folder: Path, quota: str = f"{CALLS}/1s") -> None:
        self._log = folder / f"calls-{quota.replace('/', '-')}"
        self._read_bytes = 0
        self._arrivals: list[dict[str, Any]] = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "actors.sim.serve_backend", "--quota", quota, "--batch-max", str(BATCH),
             "--log", str(self._log)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().split()[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(10)

    def arrivals(self) -> list[dict[str, Any]]:
        """Every call that arrived. Only what is new in the log is read: the operator needs the cores more than we."""
        time.sleep(0.1)  # it flushes twenty times a second
        with self._log.open("rb") as file:
            file.seek(self._read_bytes)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._read_bytes += len(whole)
        self._arrivals += [json.loads(line) for line in whole.splitlines() if line.startswith(b'{"event":"arrival"')]
        return self._arrivals

    def wait_for(self, items: int, timeout_s: float) -> list[dict[str, Any]]:
        """The arrivals, once they hold so many items."""
        deadline = time.monotonic() + timeout_s
        while True:
            found = self.arrivals()
            if sum(len(each["items"]) for each in found) >= items:
                return found
            if time.monotonic() > deadline:
                raise TimeoutError(f"not told of {items} nodes within {timeout_s:.0f} s")
            time.sleep(0.5)


def round_trip_s(folder: Path) -> float:
    """The median time of a full call to an idle backend of the same make."""
    nodes = [
        {"key": f"k{n}", "name": f"node-{n:07}", "namespace": "default", "kind": "ComputeNode", "uid": f"u{n}",
         "cluster": "c00000"}
        for n in range(BATCH)
    ]  # fmt: skip
    with BackendServer(folder, "1000/1s") as backend:
        pool = urllib3.PoolManager(retries=False)
        times = []
        for _ in range(20):
            began_s = time.monotonic()
            answer = pool.request("POST", f"{backend.url}/v1/nodes:batchRepair", json={"nodes": nodes})
            assert answer.status == 200, answer.data[:200]
            times.append(time.monotonic() - began_s)
    return statistics.median(times)


def latencies_ms(server: LoadServer, count: int, parents: int) -> list[float]:
    """One failure or recovery after another: from its event to the status patch, less the debounce."""
    found = []
    dice = random.Random(1)
    for number in range(count):
        time.sleep(dice.uniform(0.0, 0.05))
        flip = server.tell("flip", number % parents)
        patch = server.tell("patched", number % parents, flip["at_s"], 30)
        assert patch["done"], "a failure did not reach its status within 30 s"
        found.append((patch["at_s"] - flip["at_s"] - DEBOUNCE_S) * 1000)
    return found


@run
def latency(bench: Bench) -> list[Row]:
    """One failure to its status patch, beyond the debounce, while nothing else happens."""
    with served("100x100") as (server, folder), muster(server.kubeconfig, folder) as subject:
        settled(server, subject)
        latencies_ms(server, 20, 100)
        values = latencies_ms(server, bench(300, 60), 100)
    return [
        Row("one failure to its status patch, idle: p50", percentile(values, 0.5), "ms", 3),
        Row("one failure to its status patch, idle: p99", percentile(values, 0.99), "ms", 10),
    ]


@run
def latency_busy(bench: Bench) -> list[Row]:
    """The same among 20,000 heartbeats a second."""
    with served("100x100") as (server, folder), muster(server.kubeconfig, folder) as subject:
        settled(server, subject)
        paced, began_s = server.tell("pace", 20_000)["paced"], time.monotonic()
        cpu_s = subject.cpu_s()
        time.sleep(1.0)
        values = latencies_ms(server, bench(300, 60), 100)
        end = server.tell("pace", 0)
        spent_s, wall_s = subject.cpu_s() - cpu_s, time.monotonic() - began_s
        note = f"{(end['paced'] - paced) / wall_s:,.0f} events/s were sent, {spent_s / wall_s:.0%} of a core was used"
    return [
        Row("one failure to its status patch, 20,000 events/s: p50", percentile(values, 0.5), "ms"),
        Row("one failure to its status patch, 20,000 events/s: p99", percentile(values, 0.99), "ms", 100, note=note),
    ]


@run
def merge(_bench: Bench) -> list[Row]:
    """One bad node in each of 100 parents."""
    with (
        served("100x100") as (server, folder),
        BackendServer(folder) as backend,
        muster(server.kubeconfig, folder, "--cooldown", "1h", backend_url=backend.url) as subject,
    ):
        settled(server, subject)
        server.tell("patches")
        flip = server.tell("flip-each")
        calls = backend.wait_for(100, 30)
        time.sleep(2.0)
        calls = backend.arrivals()
        late_s = max(each["mono_s"] for each in calls) - flip["at_s"]
    return [Row("one bad node in each of 100 parents", len(calls), "calls", 2, note=f"all told after {late_s:.2f} s")]


@run
def storm(bench: Bench) -> list[Row]:
    """Every node of 100 parents fails at once: the statuses, and the drain of the repairs against its limit."""
    children = bench(1000, 100)
    total = 100 * children
    with (
        served(f"100x{children}") as (server, folder),
        BackendServer(folder) as backend,
        muster(server.kubeconfig, folder, "--quota", f"{CALLS}/1s", "--batch-max", str(BATCH), "--cooldown", "1h",
               backend_url=backend.url) as subject,
    ):  # fmt: skip
        rtt_s = round_trip_s(folder)
        settled(server, subject)
        server.tell("patches")
        cpu_s = subject.cpu_s()
        flipped_s = server.tell("storm")["at_s"]
        right = server.tell("right")
        assert right["done"]
        right_cpu_s = subject.cpu_s() - cpu_s
        calls = backend.wait_for(total, 60 + 3 * total / (BATCH * CALLS))
        time.sleep(2.0)
        calls = backend.arrivals()
        patches = server.tell("patches")["patches"]
        drained_cpu_s = subject.cpu_s() - cpu_s
    stamps = sorted(each["mono_s"] for each in calls)
    limit_s = drain_limit_s(total, rtt_s)
    writes = writes_until_queued(patches, children)
    return [
        Row("storm: all statuses right", right["at_s"] - flipped_s, "s", 3, note=f"{right_cpu_s:.1f} CPU s"),
        Row("storm: backend told of all, to the limit", (stamps[-1] - flipped_s) / limit_s, "×", 1.03,
            note=f"{stamps[-1] - flipped_s:.1f} s, limit {limit_s:.1f} s at a round trip of {rtt_s * 1000:.1f} ms; "
            f"{drained_cpu_s:.1f} CPU s"),
        Row("drain of it, first call to last, to the limit", (stamps[-1] - stamps[0] + rtt_s) / limit_s, "×", 1.03),
        Row("status writes per parent until all its nodes are queued", max(writes.values()), "", 3,
            note=f"{statistics.mean(writes.values()):.1f} on the average"),
        *promises(calls, total),
    ]  # fmt: skip


@run
def fairness(bench: Bench) -> list[Row]:
    """A mass failure in which one parent has half of all nodes: the small ones do not wait for it."""
    small, big = bench((49, 4900), (19, 1900))
    with (
        served(f"{small}x100+1x{big}") as (server, folder),
        BackendServer(folder) as backend,
        muster(
            server.kubeconfig, folder, "--quota", f"{CALLS}/1s", "--cooldown", "1h", backend_url=backend.url
        ) as subject,
    ):
        settled(server, subject)
        server.tell("storm")
        calls = backend.wait_for(small * 100 + big, 120)
    last: dict[str, float] = {}
    first: dict[str, float] = {}
    for each in sorted(calls, key=lambda call: call["mono_s"]):
        for item in each["items"]:
            last[item["cluster"]] = each["mono_s"]
            first.setdefault(item["cluster"], each["mono_s"])
    began_s = min(first.values())
    name = f"c{small:05d}"
    small_s = max(at_s for cluster, at_s in last.items() if cluster != name) - began_s
    return [
        Row("first call with nodes of the last small parent", max(first.values()) - began_s, "s"),
        Row("small parents done, to the large one", small_s / (last[name] - began_s), "×",
            note=f"{small_s:.1f} s and {last[name] - began_s:.1f} s"),
    ]  # fmt: skip
