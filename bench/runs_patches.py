"""Status patches in bulk: what one costs the operator, and whether it is as fast as a real API server takes them."""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
from functools import partial
from pathlib import Path
from typing import Self

import urllib3

from actors.core.builtin import MUSTER_FLEET
from actors.core.model import ParentKey
from actors.edge.kube import KubeClient
from actors.edge.writer import KubeStatusWriter
from actors.sim.envtest import RealApiServer
from actors.sim.live import GROUP, Api, Fleet, together
from bench.load.handle import ROOT
from bench.process import muster
from bench.result import Bench, Row, row, run, served
from bench.runs_ingest import settled

WRITERS = 8  # as many as the operator has
ESTABLISHED_S = 2.5
"""A real server holds creates of a kind until its definition is two seconds old."""


@run
def patches(bench: Bench) -> list[Row]:
    """One change in each of 5,000 parents, each a status patch."""
    parents = bench(5_000, 1_000)
    spent, rates = [], []
    with served(f"{parents}x1") as (server, folder), muster(server.kubeconfig, folder) as subject:
        settled(server, subject)
        for word in ("storm", "heal", "storm", "heal"):
            server.tell("patches")
            cpu_s = subject.cpu_s()
            assert server.tell(word)["events"] == parents
            assert server.tell("right")["done"]
            subject.calm()
            spent.append((subject.cpu_s() - cpu_s) / parents * 1000)
            stamps = [patch[0] for patch in server.tell("patches")["patches"]]
            rates.append((len(stamps) - 1) / (stamps[-1] - stamps[0]))
    return [
        row(f"a status patch, {parents:,} at once: event, reconcile and write", spent[1:], "CPU ms", 0.4),
        row("status patches, to the load server", rates[1:], "1/s"),
    ]


@run
def patch_client(bench: Bench) -> list[Row]:
    """The client's part of a status patch, as the operator's writer has it: in this process, with nothing else in it."""
    parents = bench(5_000, 1_000)
    ref = MUSTER_FLEET.parent
    with served(f"{parents}x1") as (server, _):
        client = KubeClient(server.kubeconfig)
        writer = KubeStatusWriter(client, MUSTER_FLEET)
        spent = []
        for healthy in range(bench(4, 2)):
            status = {"total": 1, "healthy": healthy, "conditions": [_condition(each) for each in range(4)]}
            found = client.request("GET", f"/apis/{ref.api_version}/{ref.plural}").json()["items"]
            jobs = [partial(_patch, writer, each["metadata"], status) for each in found]
            cpu_s = time.process_time()
            together(jobs, WRITERS)
            spent.append((time.process_time() - cpu_s) / parents * 1000)
        client.close()
    return [
        row(f"of it the client's part: a patch sent and its answer read, {WRITERS} at once", spent[1:], "CPU ms", 0.4)
    ]


def _condition(number: int) -> dict[str, object]:
    return {"type": f"Type{number}", "status": "True", "reason": "AsExpected", "message": "", "observedGeneration": 1}


def _patch(writer: KubeStatusWriter, meta: dict[str, str], status: dict[str, object]) -> None:
    key = ParentKey(meta["namespace"], meta["name"])
    writer.patch_status(key, meta["uid"], int(meta["resourceVersion"]), status)


@run
def patches_real(bench: Bench) -> list[Row]:
    """5,000 status patches to a real kube-apiserver (KUBEBUILDER_ASSETS), beside a loop that does nothing else."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if not assets:
        return [Row("no real kube-apiserver: KUBEBUILDER_ASSETS is not set", 0, "")]
    parents = bench(5_000, 1_000)
    with tempfile.TemporaryDirectory() as name, RealApiServer(Path(assets)) as server:
        folder = Path(name)
        server.kubectl("apply", "-k", str(ROOT / "manifests" / "crd"))
        server.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        time.sleep(ESTABLISHED_S)
        fleet = Fleet(Api(server.kubeconfig))
        names = [f"c{number:05d}" for number in range(parents)]
        together([partial(fleet.cluster, name) for name in names], WRITERS)
        with _Seen(server, parents) as seen, muster(server.kubeconfig, folder) as subject:
            assert seen.all.wait(300), f"{len(seen.stamps)} of {parents} statuses were written"
            subject.calm()
            cpu_ms = subject.cpu_s() / parents * 1000
        stamps = sorted(seen.stamps.values())
        rate = (parents - 1) / (stamps[-1] - stamps[0])
        bare_rate = _bare_rate(fleet)
    return [
        Row(f"{parents:,} first statuses to a real server: its rate for a bare loop to ours", bare_rate / rate, "×", 1.1,
            note=f"{rate:,.0f} and {bare_rate:,.0f} patches/s"),
        Row("a status there, the whole start of the operator included", cpu_ms, "CPU ms"),
    ]  # fmt: skip


def _bare_rate(fleet: Fleet) -> float:
    """Patches a second of eight threads that do nothing else: the operator's own statuses, with another count in them."""
    jobs = []
    for found in fleet.objects("Cluster"):
        meta = {"resourceVersion": found["metadata"]["resourceVersion"]}
        body = {"metadata": meta, "status": found["status"] | {"total": 1, "healthy": 1}}
        jobs.append(partial(fleet.api.merge, fleet.path("Cluster", found["metadata"]["name"], "status"), body))
    began_s = time.monotonic()
    together(jobs, WRITERS)
    return len(jobs) / (time.monotonic() - began_s)


class _Seen:
    """Watches the Clusters: when each one's status first told of no nodes. ``all`` is set when every one has."""

    def __init__(self, server: RealApiServer, parents: int) -> None:
        user = json.loads(server.kubeconfig.read_text("utf-8"))["users"][0]["user"]
        pool = urllib3.PoolManager(cert_reqs="CERT_NONE")
        urllib3.disable_warnings()
        self._answer = pool.request(
            "GET", f"{server.url}{GROUP}/clusters?watch=1", preload_content=False,
            headers={"Authorization": f"Bearer {user['token']}"},
        )  # fmt: skip
        self._parents = parents
        self.stamps: dict[str, float] = {}
        self.all = threading.Event()

    def __enter__(self) -> Self:
        threading.Thread(target=self._read, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._answer.close()

    def _read(self) -> None:
        rest = b""
        for chunk in self._answer.stream(1 << 16):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                found = json.loads(line)["object"]
                if found.get("status", {}).get("total") == 0:
                    self.stamps.setdefault(found["metadata"]["name"], time.monotonic())
            if len(self.stamps) == self._parents:
                self.all.set()
                return
