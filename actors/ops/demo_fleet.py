"""The demo's users: clusters and nodes that live through the real HTTP API, and what befalls them, from one seed.

    python -m actors.ops.demo_fleet --api-url URL --clusters 8 --nodes 25 --seed 1 [--change-for 15]

What happens is a *script*: deeds with their instants, made from the seed alone and without looking at the world, so that
the same seed tells the same story however fast the machine is. Playing it is another matter: a few threads play the nodes'
agents, each sending heartbeats over a connection of its own; one plays fate. A silent node looks at itself instead of
reporting, and reports again once the backend has repaired it.

Ends with SIGTERM, SIGINT or the end of its standard input. Says ``created`` and ``quiet`` (no more deeds) on its output.
"""

from __future__ import annotations

import argparse
import heapq
import http.client
import itertools
import json
import random
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from attrs import define, frozen

from ..sim.serve import stop_requested

GROUP = "muster.dev/v1alpha1"
PLURALS = {"Cluster": "clusters", "ComputeNode": "computenodes", "StorageNode": "storagenodes"}
CLAIMS = ("reference", "label", "owner")
AGENT = "muster-demo-fleet"
THREADS = 4
BEATS_PER_S_MAX = 150.0  # what the servers take beside everything else on two cores; larger fleets beat less often
BEAT_S_MIN = 1.5
SPARED_S = 2.5  # nothing befalls a node twice within this: transition times are whole seconds, and name the incident
MASS_S = 3.0  # how long more of a cluster is down than the valve allows; then it comes back by itself

Obj = dict[str, Any]


def beat_s(nodes: int) -> float:
    """Seconds between the heartbeats of one node, in a fleet of so many."""
    return max(BEAT_S_MIN, nodes / BEATS_PER_S_MAX)


def timeout_s(nodes: int) -> int:
    """The heartbeat timeout that the clusters get: room for one heartbeat that comes late."""
    return max(4, round(2.7 * beat_s(nodes) + 0.5))


# --- the script -------------------------------------------------------------------------------------------------------
@frozen
class Deed:
    """At ``at_s`` after the beginning, ``do`` this to ``node`` (and ``cluster``, where it comes to belong)."""

    at_s: float
    do: str  # fail, recover, silence, create, delete, move, replace, renew (the cluster itself)
    node: str
    cluster: str


class Script:
    """Deeds without end, in the order of time. ``nodes`` (name → cluster) is who there is, as the script has left it."""

    def __init__(self, seed: int, clusters: int, nodes: int) -> None:
        self._random = random.Random(f"muster demo {seed}")  # noqa: S311 - a story, not a secret
        self.clusters = [f"fleet-{number:0{len(str(clusters))}}" for number in range(1, clusters + 1)]
        self._numbers = itertools.count(1)
        self.nodes: dict[str, str] = {}
        for cluster in self.clusters:
            for _ in range(nodes):
                self.nodes[self._name()] = cluster
        self._spared: dict[str, float] = {}
        self._rate_per_s = min(20.0, max(2.0, clusters * nodes / 60))

    def __iter__(self) -> Iterator[Deed]:
        later: list[tuple[float, int, Deed]] = []
        order = itertools.count()
        openings = deque([
            (0.4, self._rack), (1.0, self._mass), (1.3, self._silence), (1.5, self._move), (1.8, self._delete),
            (2.0, self._replace), (2.2, self._create), (2.4, self._renew), (2.6, self._recover),
        ])  # fmt: skip
        at_s = 0.0
        chosen: Callable[[float], list[Deed]]
        while True:
            if openings:
                at_s, chosen = openings.popleft()
            else:
                at_s += self._random.expovariate(self._rate_per_s)
                chosen = self._choose()
            for deed in chosen(at_s):
                heapq.heappush(later, (deed.at_s, next(order), deed))
            while later and later[0][0] <= at_s:
                yield heapq.heappop(later)[2]

    def _choose(self) -> Callable[[float], list[Deed]]:
        choices = (
            (40, self._fail), (12, self._silence), (10, self._recover), (8, self._rack), (8, self._move),
            (7, self._create), (7, self._delete), (5, self._replace), (2, self._renew), (1, self._mass),
        )  # fmt: skip
        weights, deeds = zip(*choices, strict=True)
        chosen: Callable[[float], list[Deed]] = self._random.choices(deeds, weights)[0]
        return chosen

    def _pick(self, at_s: float) -> str | None:
        """A node to which nothing has happened of late."""
        members = [name for name in self.nodes if self._spared.get(name, 0.0) <= at_s]
        if not members:
            return None
        name = self._random.choice(members)
        self._spared[name] = at_s + SPARED_S
        return name

    def _one(self, at_s: float, do: str) -> list[Deed]:
        name = self._pick(at_s)
        return [Deed(at_s, do, name, self.nodes[name])] if name is not None else []

    def _fail(self, at_s: float) -> list[Deed]:
        return self._one(at_s, "fail")

    def _silence(self, at_s: float) -> list[Deed]:
        return self._one(at_s, "silence")

    def _recover(self, at_s: float) -> list[Deed]:
        """It fails, and is well again before long, perhaps while its repair is queued."""
        deeds = self._one(at_s, "fail")
        return [
            *deeds,
            *(Deed(at_s + self._random.uniform(0.1, 1.5), "recover", each.node, each.cluster) for each in deeds),
        ]

    def _rack(self, at_s: float) -> list[Deed]:
        """One node of every cluster: what should be one call."""
        members: dict[str, list[str]] = {cluster: [] for cluster in self.clusters}
        for name, its in self.nodes.items():  # once for all of them: a large fleet's script must keep up with the clock
            if self._spared.get(name, 0.0) <= at_s:
                members[its].append(name)
        picked = [(self._random.choice(names), cluster) for cluster, names in members.items() if names]
        self._spared |= {name: at_s + SPARED_S for name, _ in picked}
        return [Deed(at_s, "fail", name, cluster) for name, cluster in picked]

    def _mass(self, at_s: float) -> list[Deed]:
        """Two thirds of a cluster, and back again: more than the valve lets pass (four at least, or it would not close)."""
        cluster = self._random.choice(self.clusters)
        size = sum(1 for its in self.nodes.values() if its == cluster)
        members = [name for name, its in self.nodes.items() if its == cluster and self._spared.get(name, 0.0) <= at_s]
        struck = self._random.sample(members, min(len(members), max(4, size * 2 // 3)))
        for name in struck:
            self._spared[name] = at_s + MASS_S + SPARED_S
        return [Deed(at_s, "fail", name, cluster) for name in struck] + [
            Deed(at_s + MASS_S, "recover", name, cluster) for name in struck
        ]

    def _move(self, at_s: float) -> list[Deed]:
        name = self._pick(at_s)
        others = [cluster for cluster in self.clusters if name is not None and cluster != self.nodes[name]]
        if name is None or not others:
            return []
        self.nodes[name] = self._random.choice(others)
        return [Deed(at_s, "move", name, self.nodes[name])]

    def _create(self, at_s: float) -> list[Deed]:
        cluster, name = self._random.choice(self.clusters), self._name()
        self.nodes[name] = cluster
        self._spared[name] = at_s + SPARED_S
        return [Deed(at_s, "create", name, cluster)]

    def _delete(self, at_s: float) -> list[Deed]:
        deeds = self._one(at_s, "delete")
        for deed in deeds:
            del self.nodes[deed.node]
        return deeds

    def _replace(self, at_s: float) -> list[Deed]:
        """Deleted, and created under the same name at once."""
        return self._one(at_s, "replace")

    def _renew(self, at_s: float) -> list[Deed]:
        """A cluster itself is deleted, and created under the same name; its nodes stay."""
        return [Deed(at_s, "renew", "", self._random.choice(self.clusters))]

    def _name(self) -> str:
        return f"node-{next(self._numbers):04}"


# --- the players ------------------------------------------------------------------------------------------------------
@define(eq=False)
class Agent:
    """What one node knows of itself: ``silent_from`` is its last heartbeat while it is silent, "" otherwise.

    ``unwell`` is what it last reported, or was told in the answer to a heartbeat (a repair makes it well behind its back).
    """

    name: str
    cluster: str
    kind: str
    claim: str
    due_s: float = 0.0
    silent_from: str = ""
    unwell: bool = False
    gone: bool = False


class Api:
    """An API server over plain HTTP, as a user sees it; one connection, one thread."""

    def __init__(self, url: str) -> None:
        where = urlsplit(url)
        assert where.hostname is not None
        self._connection = http.client.HTTPConnection(where.hostname, where.port, timeout=10)

    def call(self, method: str, path: str, body: Obj | None = None) -> tuple[int, Obj]:
        """One request: code and answer. OSError where there is none."""
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        headers = {"Content-Type": kind, "User-Agent": AGENT}
        try:
            self._connection.request(method, path, None if body is None else json.dumps(body).encode(), headers)
            answer = self._connection.getresponse()
            return answer.status, json.loads(answer.read())
        except (http.client.HTTPException, ValueError) as error:
            self._connection.close()
            raise OSError(f"{method} {path}: {error!r}") from error
        except OSError:
            self._connection.close()
            raise


class Fleet:
    """Plays the script. ``namespace`` must exist. Nothing raises but for bugs: what the server refuses is said on stderr."""

    def __init__(self, url: str, script: Script, *, namespace: str = "default", stop: threading.Event) -> None:
        self._url, self._script, self._namespace, self._stop = url, script, namespace, stop
        self._count = len(script.nodes)
        self._agents: dict[str, Agent] = {}
        self._uids: dict[str, str] = {}
        self._new: list[deque[Agent]] = [deque() for _ in range(THREADS)]
        self._beat_s = beat_s(self._count)
        self._mine = threading.local()

    def create(self) -> None:
        """Make all clusters and nodes; their agents begin to beat."""
        for number in range(THREADS):
            threading.Thread(target=self._beat, args=(self._new[number],), name=f"agents-{number}", daemon=True).start()
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(self._make_cluster, self._script.clusters))
            list(pool.map(self._make, list(self._script.nodes.items())))

    def play(self, for_s: float | None) -> None:
        """Deed after deed at its time, for so long; None: until asked to stop."""
        began_s = time.monotonic()
        for deed in self._script:
            if for_s is not None and deed.at_s >= for_s:
                self._stop.wait(max(0.0, began_s + for_s - time.monotonic()))
                return
            if self._stop.wait(max(0.0, began_s + deed.at_s - time.monotonic())):
                return
            try:
                self._do(deed)
            except OSError as error:
                print(f"{deed}: {error}", file=sys.stderr, flush=True)

    def _do(self, deed: Deed) -> None:
        if deed.do == "renew":
            self._ask("DELETE", self._path("Cluster", deed.cluster))
            self._make_cluster(deed.cluster)
            return
        if deed.do == "create":
            self._make((deed.node, deed.cluster))
            return
        agent = self._agents.get(deed.node)
        if agent is None:
            return  # it was deleted before it could recover
        if deed.do == "fail" and agent.unwell:
            return  # that is no transition, and a transition time that moved would be another incident
        if deed.do in ("fail", "recover"):
            self._report(agent, healthy=deed.do == "recover")
        elif deed.do == "silence":
            agent.silent_from = _now()
        elif deed.do == "move":
            agent.cluster = deed.cluster
            metadata, spec = self._claim(agent)
            self._ask("PATCH", self._path(agent.kind, agent.name), {"metadata": metadata, "spec": spec})
        else:
            agent.gone = True
            del self._agents[agent.name]
            self._ask("DELETE", self._path(agent.kind, agent.name))
            if deed.do == "replace":
                self._make((deed.node, deed.cluster))

    # --- objects ------------------------------------------------------------------------------------------------------
    def _make_cluster(self, name: str) -> None:
        spec = {"heartbeatTimeout": f"{timeout_s(self._count)}s"}
        body = {"apiVersion": GROUP, "kind": "Cluster", "metadata": {"name": name}, "spec": spec}
        self._uids[name] = self._ask("POST", self._path("Cluster"), body).get("metadata", {}).get("uid", "")

    def _make(self, node: tuple[str, str]) -> None:
        name, cluster = node
        number = int(name.rpartition("-")[2])
        kind = "StorageNode" if number % 3 == 0 else "ComputeNode"
        agent = Agent(name, cluster, kind, CLAIMS[number % len(CLAIMS)] if number % 2 else "reference")
        metadata, spec = self._claim(agent)
        body = {"apiVersion": GROUP, "kind": kind, "metadata": {"name": name, **metadata}, "spec": spec}
        self._ask("POST", self._path(kind), body)
        self._report(agent, healthy=True)
        self._agents[name] = agent
        agent.due_s = time.monotonic() + self._beat_s * (number % 97) / 97
        self._new[number % THREADS].append(agent)

    def _claim(self, agent: Agent) -> tuple[Obj, Obj]:
        """Metadata and spec that name the node's cluster, in its own one of the three ways."""
        if agent.claim == "label":
            return {"labels": {"muster.dev/cluster": agent.cluster}}, {}
        if agent.claim == "owner":
            owner = {"apiVersion": GROUP, "kind": "Cluster", "name": agent.cluster, "controller": True}
            return {"ownerReferences": [owner | {"uid": self._uids.get(agent.cluster) or "unknown"}]}, {}
        return {}, {"clusterRef": {"name": agent.cluster}}

    def _report(self, agent: Agent, *, healthy: bool) -> None:
        stamp = _now()
        agent.silent_from, agent.unwell = "", not healthy
        condition = {"type": "Healthy", "status": str(healthy), "reason": "Reported", "message": ""}
        condition["lastTransitionTime"] = stamp.partition(".")[0] + "Z"
        status = {"healthy": healthy, "lastHeartbeatTime": stamp, "conditions": [condition]}
        self._ask("PATCH", self._path(agent.kind, agent.name, "status"), {"status": status})

    # --- heartbeats ---------------------------------------------------------------------------------------------------
    def _beat(self, arriving: deque[Agent]) -> None:
        """One thread's agents, each at its time. A thread that falls behind leaves beats out; it does not send them late."""
        due: list[tuple[float, int, Agent]] = []
        order = itertools.count()
        while not self._stop.is_set():
            while arriving:
                agent = arriving.popleft()
                heapq.heappush(due, (agent.due_s, next(order), agent))
            now_s = time.monotonic()
            if not due or due[0][0] > now_s:
                self._stop.wait(min(0.05, due[0][0] - now_s) if due else 0.05)
                continue
            _, _, agent = heapq.heappop(due)
            if agent.gone:
                continue
            try:
                self._beat_once(agent)
            except OSError as error:
                if not self._stop.is_set():
                    print(f"the heartbeat of {agent.name}: {error}", file=sys.stderr, flush=True)
                    self._stop.wait(0.2)
            agent.due_s = max(agent.due_s + self._beat_s, now_s)
            heapq.heappush(due, (agent.due_s, next(order), agent))

    def _beat_once(self, agent: Agent) -> None:
        path = self._path(agent.kind, agent.name)
        if not agent.silent_from:
            _, node = self._api.call("PATCH", path + "/status", {"status": {"lastHeartbeatTime": _now()}})
            if (node.get("status") or {}).get("healthy"):
                agent.unwell = False
            return
        code, node = self._api.call("GET", path)
        status = node.get("status") or {}
        if code == 200 and str(status.get("lastHeartbeatTime")) > agent.silent_from:
            agent.silent_from, agent.unwell = "", False  # somebody has repaired it

    # --- requests -----------------------------------------------------------------------------------------------------
    @property
    def _api(self) -> Api:
        """This thread's own."""
        if not hasattr(self._mine, "api"):
            self._mine.api = Api(self._url)
        api: Api = self._mine.api
        return api

    def _ask(self, method: str, path: str, body: Obj | None = None) -> Obj:
        code, answer = self._api.call(method, path, body)
        if code >= 300:
            print(f"{method} {path}: {code} {answer.get('message', answer)}", file=sys.stderr, flush=True)
        return answer

    def _path(self, kind: str, name: str = "", subresource: str = "") -> str:
        parts = ["", "apis", GROUP, "namespaces", self._namespace, PLURALS[kind], name, subresource]
        return "/".join(parts).rstrip("/")


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def main(arguments: list[str] | None = None) -> int:
    """The command line. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m actors.ops.demo_fleet", description="The users of Muster's demo")
    parser.add_argument("--api-url", required=True)
    parser.add_argument("--clusters", type=int, default=8)
    parser.add_argument("--nodes", type=int, default=25, help="nodes per cluster")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--change-for", type=float, help="seconds of deeds; afterwards heartbeats only (default: for ever)"
    )
    chosen = parser.parse_args(arguments)
    stop = stop_requested()
    fleet = Fleet(chosen.api_url, Script(chosen.seed, chosen.clusters, chosen.nodes), stop=stop)
    fleet.create()
    print("created", flush=True)
    fleet.play(chosen.change_for)
    print("quiet", flush=True)
    stop.wait()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
