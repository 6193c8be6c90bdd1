"""Every metric moves: facts, a fleet in virtual time, real threads and a real engine are driven until each has had two values.

The list is the table's own. Whoever adds a metric that nothing here moves has a failing test.
"""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest
from prometheus_client import Metric as Family

from actors.actor import Behaviour as Actor
from actors.actor import Cell
from actors.core import events
from actors.core.events import Fact, StatusFailed
from actors.core.model import EventNote, ParentKey, Policy, Share
from actors.core.quantity import Quota
from actors.edge.dispatcher import ThreadDispatcher
from actors.edge.settings import Settings
from actors.mailbox import using
from actors.messages import LookAgain
from actors.ops.engine import RealEngine
from actors.ops.metric_table import TABLE, Metric
from actors.ops.metrics import Metrics, families
from actors.ops.published import snapshot
from actors.sim.apiserver import ApiServerModel
from actors.sim.backend import BackendModel, Behaviour
from actors.sim.crds import crd_documents
from actors.sim.harness import SimulatedFleet
from actors.sim.serve import HttpServer
from actors.sim.serve_api import ApiServerFace
from actors.sim.serve_backend import BackendFace

Seen = dict[str, dict[tuple[str, ...], set[float]]]


def wait_for(condition: Callable[[], Any]) -> None:
    deadline_s = time.monotonic() + 30.0
    while not condition():
        assert time.monotonic() < deadline_s, "it did not happen"
        time.sleep(0.01)


class Watcher:
    """Keeps every value that each series has had."""

    def __init__(self) -> None:
        self.seen: Seen = defaultdict(lambda: defaultdict(set))

    def see(self, found: Iterable[Family]) -> None:
        for family in found:
            for sample in family.samples:
                self.seen[sample.name][tuple(sample.labels.values())].add(sample.value)

    def moved(self, metric: Metric) -> bool:
        """Whether some series of it has had two values."""
        return any(len(values) > 1 for sample in metric.samples for values in self.seen[sample].values())


def drive_facts(watcher: Watcher) -> None:
    """Each fact twice: the first makes its series, the second moves it."""
    examples = {
        "str": "x", "int": 3, "float": 0.5, "bool": True, "float | None": 0.25,
        "tuple[str, ...]": ("x",), "Mapping[str, int]": {"x": 1},
    }  # fmt: skip
    made = Metrics(version="1", workers=2, operations=["x"])
    found = [each for each in vars(events).values() if isinstance(each, type) and issubclass(each, Fact)]
    for fact_class in found:
        if fact_class is Fact:
            continue
        fact = fact_class(**{each.name: examples[str(each.type)] for each in attrs.fields(fact_class)})
        for _ in range(2):
            made(fact)
            watcher.see(made.registry.collect())
    for _ in range(2):  # what counts a class of actor by its name
        made(events.ActorCrashed(actor="cluster/a/b", incarnation=1, error="x", traceback=""))
        watcher.see(made.registry.collect())
    made(StatusFailed(parent="a", reason="x", message=""))


def drive_processes(watcher: Watcher) -> None:
    """What is the same for the whole life of a process differs between processes."""
    for version, workers in (("1", 1), ("2", 3)):
        watcher.see(Metrics(version=version, workers=workers, statistics=lambda: {"ready": 1}).registry.collect())
    watcher.seen["muster_build_info"]["1",].add(0.0)  # of the second process: it is not there
    watcher.see(Metrics(version="1", statistics=dict).registry.collect())  # nothing could be read


def drive_fleet(watcher: Watcher) -> None:
    """One fleet with a scarce quota and a backend that throttles and then fails, looked at every few milliseconds."""
    for quota in (Quota(2, 1.0), Quota(3, 1.0)):
        policy = Policy(attempts_max=1, cooldown_s=5.0)
        fleet = SimulatedFleet(
            1, quota=quota, policy=policy, batch_max=2, cold_start_s=2.0, idle_s=5.0, breaker_failures=2
        )

        def look(fleet: SimulatedFleet = fleet) -> None:
            watcher.see(families(snapshot(fleet.system, {})))

        def pass_by(seconds: float, step_s: float, look: Callable[[], None] = look, fleet: Any = fleet) -> None:
            for _ in range(int(seconds / step_s)):
                fleet.run(step_s)
                look()

        fleet.system.start()
        for _ in range(60):  # turn by turn, until every kind is listed
            fleet.world.step(0.0)
            look()
        for cluster in ("dock", "pier"):
            fleet.cluster(cluster)
            for number in range(10):
                fleet.node(f"{cluster}-{number}", cluster, healthy=number > 2)
        pass_by(1.5, 0.002)
        fleet.backend_model.behave(Behaviour("throttle", count=2, retry_after_s=2))
        pass_by(8.0, 0.05)
        for number in range(8):  # more than the valve of "dock" allows
            fleet.report(f"dock-{number}", False)
        for number in range(4, 6):  # what is still allowed of "pier" meets a backend that is down
            fleet.report(f"pier-{number}", False)
        fleet.backend_model.behave(Behaviour("error", code=500, count=4))
        pass_by(40.0, 0.1)
        directory: Any = fleet.system.refs["directory"]._actor_weakref()
        for ref in directory.children.values():
            ref.tell(LookAgain())
        valve = fleet.system.fleet_valve
        valve.share = Share(absolute=0)
        valve.look(1, 1, fleet.world.clock.now())
        look()  # while the mail waits
        fleet.run(0.0)
        look()


class Hold(Actor):
    """Keeps its worker until it is let go."""

    let_go = threading.Event()

    def on_receive(self, message: Any) -> Any:
        self.let_go.wait(30)


def drive_threads(watcher: Watcher) -> None:
    """A dispatcher that is idle, then has all workers and all threads of a pool kept."""
    dispatcher = ThreadDispatcher(workers=1, pools={"small": 1}, wedge_after_s=1.2)
    fleet = SimulatedFleet(2)

    def look() -> Mapping[str, Any]:
        found = snapshot(fleet.system, dispatcher.statistics())
        watcher.see(families(found))
        return found

    look()
    dispatcher.start()
    look()
    with using(dispatcher):
        held = Cell.start(name="cluster/a/held", factory=Hold, supervisor=None)
        other = Cell.start(name="other", factory=Hold, supervisor=None)
    held.tell("hold")
    wait_for(lambda: look()["active_workers"] == {"cluster": 1})
    other.tell("wait for a worker")
    dispatcher.after(60.0, lambda: None)
    for _ in range(3):
        dispatcher.submit("small", lambda: Hold.let_go.wait(30), lambda outcome: None)
    wait_for(lambda: float(look()["turn_oldest_s"]) > 0.0 and float(look()["workers_backlog"]) > 0)
    wait_for(lambda: look()["threads_leaked"] == 1)
    Hold.let_go.set()
    assert dispatcher.stop(10.0) == []
    look()


def drive_engine(watcher: Watcher, folder: Path) -> None:
    """The real engine on served models: what only it knows."""
    model = ApiServerModel(clock=time.time)
    for document in crd_documents():
        model.create("customresourcedefinitions.apiextensions.k8s.io", document)
    backend = BackendFace(BackendModel(calls_max=10, window_s=1.0, batch_max=100))
    with HttpServer(ApiServerFace(model, bookmark_s=0.2).handle) as server, HttpServer(backend.handle) as repairs:
        config = folder / "config"
        config.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "here",
            "clusters": [{"name": "c", "cluster": {"server": server.url}}], "users": [{"name": "u", "user": {}}],
            "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
        }))  # fmt: skip
        made = Metrics(version="1")
        engine = RealEngine(Settings(kubeconfig=str(config), backend_url=repairs.url), made)
        dropped = iter(range(1_000_000))
        made.watch_statistics(lambda: {**engine.statistics(), "log_lines_dropped": next(dropped)})
        watcher.see(made.registry.collect())
        engine.start()
        wait_for(lambda: engine.ready()[0])
        watcher.see(made.registry.collect())
        model.create("clusters.muster.dev", {
            "apiVersion": "muster.dev/v1alpha1", "kind": "Cluster", "metadata": {"name": "c", "namespace": "default"},
            "spec": {},
        }, "default")  # fmt: skip
        wait_for(lambda: dict[str, Any](engine.statistics())["watch_objects"]["Cluster"] == 1)
        for number in range(30):
            note = EventNote(type="Normal", reason="R", action="A", note="words")
            engine._writer.record_event(
                ParentKey("default", "c"), "uid", note if number else attrs.evolve(note, note="x")
            )
            watcher.see(made.registry.collect())
        engine.stop(5.0)


@pytest.fixture(scope="module")
def watcher(tmp_path_factory: pytest.TempPathFactory) -> Watcher:
    """One that has seen all of it."""
    made = Watcher()
    drive_facts(made)
    drive_processes(made)
    drive_fleet(made)
    drive_threads(made)
    drive_engine(made, tmp_path_factory.mktemp("engine"))
    return made


@pytest.mark.timeout(120)
@pytest.mark.parametrize("metric", TABLE, ids=lambda each: str(each.name))
def test_every_metric_moves(watcher: Watcher, metric: Metric) -> None:
    assert watcher.moved(metric), {name: dict(watcher.seen[name]) for name in metric.samples}


def test_every_statistic_of_the_table_is_published_and_no_other(watcher: Watcher) -> None:
    """A key that nobody fills is a metric that never appears; one that nobody reads is forgotten."""
    dispatcher = ThreadDispatcher(workers=1)
    fleet = SimulatedFleet(3)
    fleet.start()
    published = snapshot(fleet.system, dispatcher.statistics()).keys()
    elsewhere = {
        "watch_age_s",
        "watch_objects",
        "events",
        "log_lines_dropped",
        "statistics_up",
    }  # of the engine, and above it

    assert {each.statistic for each in TABLE if each.statistic} == published | elsewhere
