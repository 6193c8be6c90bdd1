"""The API server goes away, forgets, or falls silent without a word; the backend never answers. Then everything is as if not.

The operator reaches the server through a proxy; the tests change the fleet past it.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import attrs
import pytest

from actors.sim.envtest import RealApiServer
from actors.sim.live import BackendServer, Fleet, Operator, together, until
from actors.sim.proxy import Mode, TcpProxy

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

CLUSTERS = ("c0", "c1", "c2", "c3")
NODES_EACH = 12
RETURN_S = 10.0  # truth within so long of the server's return
HALF_OPEN_S = 45.0  # … and of the silence
SHORT_AND_LONG = [20, pytest.param(60, marks=pytest.mark.slow)]


def kind_of(number: int) -> str:
    return "StorageNode" if number % 2 else "ComputeNode"


@attrs.define
class Site:
    """A fleet, the operator over it, and what lies between the operator and the server."""

    fleet: Fleet
    proxy: TcpProxy
    muster: Operator
    backend: BackendServer

    def name(self, cluster: str, number: int) -> str:
        return f"{cluster}-{number:02}"

    def change_everything(self) -> None:
        """Reports change; nodes go (all of c1's) and come again under the same names: otherwise, elsewhere, or not at all."""
        fleet = self.fleet
        for number in range(4):
            fleet.report(self.name("c0", number), False, kind_of(number))
        for number in range(8, NODES_EACH):
            fleet.delete(self.name("c0", number), kind_of(number))
        for number in range(NODES_EACH):
            fleet.delete(self.name("c1", number), kind_of(number))
        for number in range(6):
            name, kind = self.name("c2", number), kind_of(number)
            fleet.delete(name, kind)
            fleet.node(name, "c2" if number < 3 else "c3", kind, healthy=number != 1)
        fleet.delete("c3", "Cluster")
        fleet.cluster("c3")

    def restore(self) -> None:
        """A second round of changes, the other way."""
        for number in range(4):
            self.fleet.report(self.name("c0", number), True, kind_of(number))
        for number in range(NODES_EACH):
            self.fleet.node(self.name("c1", number), "c1", kind_of(number))

    def whole(self) -> None:
        """It is the same process, and no actor of it has crashed."""
        assert self.muster.alive()
        assert self.muster.probe("/healthz") == 200
        assert [line for line in self.muster.lines() if line["level"] == "error"] == []


@pytest.fixture
def site(
    server: RealApiServer,
    operator_config: Path,
    fleet: Fleet,
    operator: Callable[..., Operator],
    backend: Callable[..., BackendServer],
    running: ExitStack,
    tmp_path: Path,
) -> Site:
    port = urlsplit(server.url).port
    assert port is not None
    proxy = running.enter_context(TcpProxy(port))
    config = json.loads(operator_config.read_text())
    config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{proxy.port}"
    through = tmp_path / "through"
    through.write_text(json.dumps(config))
    for cluster in CLUSTERS:
        fleet.cluster(cluster, repair={"maxUnhealthy": "100%"})
    together(
        partial(fleet.node, f"{cluster}-{number:02}", cluster, kind_of(number))
        for cluster in CLUSTERS
        for number in range(NODES_EACH)
    )
    repairs = backend("--quota", "10/1s")
    muster = operator(
        repairs.url, kubeconfig=through, cold_start="0s", backend_timeout="2s", backend_lateness="1s",
        max_unhealthy_fleet="100%",
    )  # fmt: skip
    muster.ready()
    fleet.agree(RETURN_S)
    return Site(fleet, proxy, muster, repairs)


@pytest.mark.parametrize("outage_s", SHORT_AND_LONG)
def test_the_server_stops_and_starts_again(site: Site, server: RealApiServer, outage_s: int) -> None:
    """Every connection is refused meanwhile. A status that could not be written then must not keep the next one waiting, so the
    backend fails, too: its condition changes while there is nobody to tell."""
    site.fleet.report(site.name("c2", 0), False, kind_of(0))
    until(site.backend.repaired, 10.0, "one repair")
    site.backend.faults({"do": "error", "code": 503})
    site.fleet.report(site.name("c2", 5), False, kind_of(5))
    server.stop()
    before = site.proxy.connections_count
    time.sleep(outage_s)
    attempts = site.proxy.connections_count - before
    site.whole()
    assert site.muster.probe() != 0
    server.start()
    returned_s = time.monotonic()
    site.fleet.agree(RETURN_S)  # it may answer "storage is (re)initializing" for a second or two of these
    took_s = time.monotonic() - returned_s

    site.backend.faults({"do": "clear"})
    site.change_everything()
    changed_s = site.fleet.agree(RETURN_S)

    site.whole()
    assert took_s <= RETURN_S
    assert attempts <= 3 * (10 + outage_s), "a stream tries every few seconds, not in a loop"
    refused = len(site.muster.lines("status_failed", reason="Forbidden"))
    print(
        f"stopped for {outage_s} s: {attempts} connections meanwhile ({attempts / outage_s:.1f}/s for three streams and the "
        f"statuses); truth {took_s:.2f} s after the return, {changed_s:.2f} s after further changes; "
        f"{refused} statuses were refused while the server was starting"
    )


def test_the_connection_is_cut_and_the_server_has_forgotten(site: Site, server: RealApiServer) -> None:
    """A resume is answered with 410 because the server's own watch cache is younger than our version. What was deleted in
    between is nowhere told: only what a new list lacks shows it."""
    cut_s = 20
    site.proxy.mode = Mode.CUT
    began_s, before = time.monotonic(), site.proxy.connections_count
    site.change_everything()
    server.kill()
    server.start()
    site.restore()  # the versions grow after the restart, too
    for number in range(NODES_EACH):
        site.fleet.delete(site.name("c1", number), kind_of(number))
    time.sleep(max(0.0, began_s + cut_s - time.monotonic()))
    attempts = site.proxy.connections_count - before
    site.whole()
    lists = len(site.muster.lines("listed"))
    site.proxy.mode = Mode.PASS
    took_s = site.fleet.agree(RETURN_S)

    expired = site.muster.lines("listed", reason="expired")
    assert {line["kind"] for line in expired} == {"Cluster", "ComputeNode", "StorageNode"}
    assert site.fleet.counts()["c1"] == (0, 0, 0, 0), "no ghost"
    site.whole()
    assert attempts <= 3 * (10 + cut_s)
    assert len(site.muster.lines("listed")) - lists <= 6
    print(
        f"cut for {cut_s} s: {attempts} connections tried; then 410 and a list for each of {len(expired)} kinds, "
        f"{sum(line['missing'] for line in expired)} objects found missing; truth {took_s:.2f} s after the return"
    )


def test_open_connections_swallow_everything(site: Site) -> None:
    """Half-open: nothing arrives and nothing ends, as behind a firewall that has lost its table. New connections work, but the
    idle ones kept for later are dead as well, and so is the one that a status is to be written through."""
    time.sleep(
        21
    )  # the lists have become watches that are anew each 20 s: the silence begins right after the first renewal
    for number in range(3):  # several statuses at a time: as many idle connections
        together(partial(site.fleet.report, site.name(cluster, number), False, kind_of(number)) for cluster in CLUSTERS)
    site.fleet.agree(RETURN_S)
    until(lambda: len(site.backend.repaired()) == 3 * len(CLUSTERS), 5.0, "the repairs of these")
    time.sleep(1.0)  # nothing is left to be written: the first to use a dead connection is a stream
    site.proxy.mode = Mode.SWALLOW
    began_s = time.monotonic()
    time.sleep(0.3)  # each connection has looked at the mode
    site.proxy.mode = Mode.PASS
    before = site.proxy.connections_count
    site.change_everything()
    site.fleet.agree(HALF_OPEN_S)
    took_s = time.monotonic() - began_s

    site.whole()
    tried = site.proxy.connections_count - before
    assert took_s <= HALF_OPEN_S
    assert tried <= 60
    print(f"half-open: truth {took_s:.1f} s after the silence began; {tried} new connections")


def test_everything_is_swallowed_for_a_while(site: Site) -> None:
    """The same, and new connections are accepted but dead, too: a proxy whose server hangs."""
    silent_s = 15
    site.proxy.mode = Mode.SWALLOW
    began_s, before = time.monotonic(), site.proxy.connections_count
    site.change_everything()
    time.sleep(silent_s)
    site.proxy.mode = Mode.PASS
    site.fleet.agree(HALF_OPEN_S)
    took_s = time.monotonic() - began_s

    site.whole()
    assert took_s <= HALF_OPEN_S
    assert site.proxy.connections_count - before <= 80
    print(f"everything swallowed for {silent_s} s: truth {took_s:.1f} s after the silence began")


@pytest.mark.parametrize("silent_s", SHORT_AND_LONG)
def test_a_backend_that_never_answers_keeps_no_status_waiting_and_no_node_is_forgotten(
    site: Site, silent_s: int
) -> None:
    """Calls hang, time out and are sent again, for all that time; counting must not notice."""
    fleet, over = site.fleet, threading.Event()
    site.backend.faults({"do": "hang"})
    ill = [(cluster, number) for cluster in CLUSTERS for number in range(0, NODES_EACH, 2)]
    together(partial(fleet.report, site.name(*each), False, kind_of(each[1])) for each in ill)
    worst_s, rounds = fleet.agree(RETURN_S), 0
    until(site.backend.arrivals, 10.0, "a call")
    timer = threading.Timer(silent_s, over.set)
    timer.start()
    while not over.is_set():  # nodes come and go meanwhile
        number = 1 + 2 * (rounds % 5)
        fleet.report(site.name("c3", number), rounds % 10 >= 5, kind_of(number))
        worst_s = max(worst_s, fleet.agree(3.0))
        rounds += 1
        over.wait(0.3)
    unanswered = len(site.backend.arrivals())
    assert site.backend.repaired() == []
    site.backend.faults({"do": "clear"})
    began_s = time.monotonic()

    wanted = {
        node["metadata"]["uid"]
        for kind in ("ComputeNode", "StorageNode")
        for node in fleet.objects(kind)
        if node["status"]["healthy"] is False
    }
    until(lambda: wanted <= {each["uid"] for each in site.backend.log()["repairs"]}, 60.0, "every ill node's repair")
    took_s = time.monotonic() - began_s
    fleet.agree(RETURN_S)

    log = site.backend.log()
    repairs = [each["key"] for each in log["repairs"]]
    site.whole()
    assert len(repairs) == len(set(repairs))
    assert log["fullestWindow"] <= 10
    print(
        f"no answer for {silent_s} s: {unanswered} calls in vain, {rounds} changes of state, the slowest status "
        f"{worst_s:.2f} s; then {len(wanted)} nodes repaired within {took_s:.1f} s, fullest window {log['fullestWindow']}"
    )
