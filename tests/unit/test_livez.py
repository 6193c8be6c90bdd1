"""/livez on the real engine: it fails for a worker that nothing can free, and for no outage of anybody else."""

from __future__ import annotations

import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from actors.actor import Behaviour, Cell
from actors.core.events import ActorWedged, CallAnswered, Fact, StreamDown
from actors.edge.settings import Settings
from actors.mailbox import using
from actors.ops import engine as engine_module
from actors.ops.engine import RealEngine
from actors.ops.http import Listener

WEDGE_AFTER_S, MARGIN_S = 0.5, 0.5  # of the watchdog, and of /livez after it; the watchdog looks once a second


def wait_for(condition: Callable[[], Any], within_s: float = 30.0) -> Any:
    deadline_s = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline_s, "it did not happen"
        time.sleep(0.02)
    return found


class Indifferent(Behaviour):
    """A supervisor that leaves the dead alone."""

    def on_receive(self, message: Any) -> Any:
        pass


class Site:
    """An engine whose API server and backend are not there, and its listener."""

    def __init__(self, folder: Path, nowhere: str) -> None:
        self.let_go = threading.Event()
        self.facts: list[Fact] = []
        config = folder / "config"
        config.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "here",
            "clusters": [{"name": "c", "cluster": {"server": nowhere}}], "users": [{"name": "u", "user": {}}],
            "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
        }))  # fmt: skip
        settings = Settings(kubeconfig=str(config), backend_url=nowhere, wedge_after_s=WEDGE_AFTER_S)
        self.engine = RealEngine(settings, self.facts.append)
        self.listener = Listener(
            ("127.0.0.1", 0), alive=self.engine.alive, ready=self.engine.ready, metrics=lambda: b""
        )
        self.listener.start()
        self.engine.start()

    def livez(self) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.listener.port}/livez", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def start(self, name: str, behaviour: type[Behaviour]) -> Any:
        with using(self.engine.system.dispatcher):
            self.boss = Cell.start(name="boss", factory=Indifferent)
            return Cell.start(name=name, factory=behaviour, supervisor=self.boss)

    def seen(self, kind: type[Fact]) -> list[Any]:
        return [fact for fact in list(self.facts) if isinstance(fact, kind)]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(engine_module, "DEAF_AFTER_S", MARGIN_S)
    monkeypatch.setattr(engine_module, "TICK_S", 0.1)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        made = Site(tmp_path, f"http://127.0.0.1:{taken.getsockname()[1]}")
        yield made
        made.let_go.set()
        made.listener.stop()
        made.engine.stop(5.0)


def test_an_actor_that_never_returns_is_found_and_the_process_goes_on(site: Site) -> None:
    """The watchdog takes the thread away: one lost thread is no reason to start the process anew."""

    class Stuck(Behaviour):
        def on_receive(self, message: Any) -> Any:
            site.let_go.wait(30)

    site.start("stuck", Stuck).tell("never comes back")

    (fact,) = wait_for(lambda: site.seen(ActorWedged))
    assert (fact.actor, fact.message) == ("stuck", "str")
    assert site.engine.statistics()["threads_leaked"] == 1
    assert wait_for(lambda: site.livez() == (200, "ok\n"))


def test_a_worker_that_the_watchdog_cannot_free_fails_the_probe_by_name(site: Site) -> None:
    """An actor that hangs while it starts has no message that could be taken away from it; only a new process helps."""

    class NeverBorn(Behaviour):
        def on_start(self) -> None:
            site.let_go.wait(30)

    site.start("unborn", NeverBorn)

    wait_for(lambda: site.livez()[0] == 503)
    code, body = site.livez()
    assert code == 503
    assert "unborn has kept a worker for" in body
    site.let_go.set()
    assert wait_for(lambda: site.livez() == (200, "ok\n"))


def test_all_workers_stuck_while_nothing_ticks_is_found(site: Site) -> None:
    """The timers' thread is the watchdog's: where it stands, nothing would be found by anybody else."""

    def stand() -> None:
        site.let_go.wait(30)

    site.engine.system.dispatcher.after(0.0, stand)

    code, body = wait_for(lambda: (said := site.livez())[0] == 503 and said)
    assert code == 503
    assert "the timers have not ticked for" in body


def test_no_outage_of_others_fails_the_probe(site: Site) -> None:
    """Neither the API server nor the backend is there. A restart would change nothing, but for the load of the new lists."""
    until_s = time.monotonic() + 3 * (WEDGE_AFTER_S + MARGIN_S)
    codes = set()
    while time.monotonic() < until_s:
        codes.add(site.livez()[0])
        time.sleep(0.1)

    assert codes == {200}
    assert site.seen(StreamDown), "it has tried"
    assert site.seen(CallAnswered) == []
    assert site.engine.ready()[0] is False
