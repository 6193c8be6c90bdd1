"""The reader in virtual time: the real decisions on the model API server; the same seed tells the same story."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from actors.core.builtin import MUSTER_FLEET
from actors.core.errors import Forbidden, Unreachable
from actors.core.events import Listed, ObjectRefused, StreamDown
from actors.core.lines import Line
from actors.core.model import Child, ParentKey, Record
from actors.core.ports import Objects, StreamChanged
from actors.core.reconcile import rfc3339
from actors.sim.apiserver import ApiServerModel
from actors.sim.crds import crd_documents
from actors.sim.reader import SimReader
from actors.sim.world import World

KIND, NODES, HOME = "ComputeNode", "computenodes.muster.dev", ParentKey("default", "c1")
CRDS = "customresourcedefinitions.apiextensions.k8s.io"


def silenced(mail: Objects | StreamChanged) -> set[str]:
    records = mail.entries.values() if isinstance(mail, Objects) else ()
    return {each.name for each in records if isinstance(each, Child) and each.silent}


class Bench:
    def __init__(self, seed: int = 0, *, rtt_s: float = 0.002, crds: bool = True, **options: Any) -> None:
        self.world = World(seed)
        self.api = ApiServerModel(clock=self.world.clock.wall, seed=str(seed))
        if crds:
            self.serve()
        self.reader = SimReader(self.api, MUSTER_FLEET, self.world, rtt_s=rtt_s, **options)
        self.mail: list[tuple[float, Objects | StreamChanged]] = []
        self.by_uid: dict[str, Record] = {}

    def serve(self) -> None:
        for document in crd_documents():
            self.api.create(CRDS, document)

    def start(self, epoch: int = 1) -> Bench:
        self.reader.start(KIND, epoch, self.deliver)
        self.world.run_for(1.0)
        return self

    def deliver(self, mail: Objects | StreamChanged) -> None:
        self.mail.append((self.world.clock.now(), mail))
        if isinstance(mail, Objects):
            self.by_uid = {} if mail.replace else self.by_uid
            for uid, record in mail.entries.items():
                if record is None:
                    self.by_uid.pop(uid, None)
                else:
                    self.by_uid[uid] = record

    @property
    def held(self) -> dict[str, bool | None]:
        return {each.name: each.healthy for each in self.by_uid.values() if isinstance(each, Child)}

    @property
    def silent(self) -> set[str]:
        return {each.name for each in self.by_uid.values() if isinstance(each, Child) and each.silent}

    def node(self, name: str, healthy: bool | None = True) -> None:
        self.api.create(NODES, {"metadata": {"name": name}, "spec": {"clusterRef": {"name": "c1"}}}, "default")
        if healthy is not None:
            self.report(name, healthy)

    def report(self, name: str, healthy: bool = True) -> None:
        status = {"healthy": healthy, "lastHeartbeatTime": rfc3339(self.world.clock.wall())}
        self.api.patch(NODES, name, {"status": status}, "default", "status")

    def beat(self, seconds: float, *names: str, each_s: float = 5.0) -> None:
        """Let time pass while those report."""
        end_s = self.world.clock.now() + seconds
        while self.world.clock.now() < end_s:
            self.world.run_for(min(each_s, end_s - self.world.clock.now()))
            for name in names:
                self.report(name)
        self.world.run_for(0.1)

    def truth(self) -> dict[str, bool | None]:
        items = self.api.list(NODES).items
        return {item.obj["metadata"]["name"]: item.obj.get("status", {}).get("healthy") for item in items}


@pytest.mark.parametrize("streamed_list", [True, False])
def test_it_lists_and_watches(streamed_list: bool) -> None:
    bench = Bench(streamed_list=streamed_list)
    for number in range(1200):
        bench.node(f"n{number}", healthy=None)
    bench.start()
    assert len(bench.held) == 1200

    bench.report("n7", healthy=False)
    bench.node("new")
    bench.api.delete(NODES, "n8", "default")
    bench.world.run_for(0.1)

    assert bench.held == bench.truth()
    assert [fact.count for fact in bench.world.seen(Listed)] == [1200]


def test_an_hour_of_heartbeats_is_silence_and_its_rotations_too() -> None:
    bench = Bench()
    bench.node("a")
    bench.start()
    bench.reader.set_timeout(KIND, HOME, 60.0)
    count = len(bench.mail)
    bench.beat(3600.0, "a", each_s=10.0)

    assert len(bench.mail) == count
    assert bench.world.seen(StreamDown) == []
    assert bench.reader.requests[KIND] < 3600 / 20 + 10


@pytest.mark.parametrize("others", [(), ("b",)])
def test_who_stops_is_silent_at_the_deadline_whatever_rotates(others: tuple[str, ...]) -> None:
    bench = Bench()
    for name in ("a", *others):
        bench.node(name)
    bench.start()
    bench.reader.set_timeout(KIND, HOME, 300.0)
    bench.beat(95.0, "a", *others)
    last_s = bench.world.clock.now() - 0.1
    bench.beat(250.0, *others)
    assert bench.silent == set()
    bench.beat(60.0, *others)

    (told_s,) = [at_s for at_s, mail in bench.mail if silenced(mail)]
    assert bench.silent == {"a"}
    assert 300.0 <= told_s - last_s <= 301.0


def test_after_an_outage_the_truth_is_back_within_ten_seconds_and_nobody_is_silent() -> None:
    bench = Bench()
    for name in ("a", "ghost"):
        bench.node(name)
    bench.start()
    bench.reader.set_timeout(KIND, HOME, 30.0)
    bench.reader.fail = lambda kind, action: Unreachable("down")
    bench.reader.cut(KIND)
    bench.world.run_for(60.0)
    bench.api.delete(NODES, "ghost", "default")
    bench.report("a", healthy=False)
    bench.reader.fail = lambda kind, action: None
    bench.world.run_for(10.0)

    assert bench.held == {"a": False}
    assert bench.silent == set()
    assert bench.reader.requests[KIND] < 60


def test_a_resume_after_compaction_finds_the_ghosts() -> None:
    bench = Bench()
    for name in ("a", "ghost", "again"):
        bench.node(name)
    bench.start()
    bench.reader.swallow(KIND)
    bench.api.delete(NODES, "ghost", "default")
    bench.api.delete(NODES, "again", "default")
    bench.node("again", healthy=False)
    bench.api.compact()
    bench.world.run_for(26.0)

    assert bench.held == bench.truth() == {"a": True, "again": False}
    assert [(fact.reason, fact.missing) for fact in bench.world.seen(Listed)] == [("start", 0), ("expired", 2)]


def test_a_half_open_stream_turns_nobody_silent_who_speaks() -> None:
    bench = Bench()
    for name in "ab":
        bench.node(name)
    bench.start()
    bench.reader.set_timeout(KIND, HOME, 12.0)
    for _ in range(5):
        bench.reader.swallow(KIND)
        bench.beat(14.0, "a")

    assert bench.silent == {"b"}
    assert {name for _, mail in bench.mail for name in silenced(mail)} == {"b"}


def test_a_missing_kind_and_a_refusal_are_told_and_tried_again() -> None:
    bench = Bench(crds=False).start()
    assert [(mail.up, mail.reason) for _, mail in bench.mail if isinstance(mail, StreamChanged)] == [
        (False, "KindMissing")
    ]
    bench.serve()
    bench.reader.fail = lambda kind, action: Forbidden("no")
    bench.world.run_for(10.0)
    bench.reader.fail = lambda kind, action: None
    bench.world.run_for(6.0)

    assert [(mail.up, mail.reason) for _, mail in bench.mail if isinstance(mail, StreamChanged)][-1] == (True, "")


def test_nonsense_on_the_stream_is_refused_and_the_rest_arrives() -> None:
    bench = Bench()
    bench.node("a")
    bench.start()
    bench.reader.feed(KIND, b'{"type":"MODIFIED","object":{"metadata":7}}\n\xff\n{"half')
    bench.reader.cut(KIND)
    bench.report("a", healthy=False)
    bench.world.run_for(5.0)

    assert bench.held == {"a": False}
    assert len(bench.world.seen(ObjectRefused)) == 2


def test_a_relist_and_a_new_epoch() -> None:
    bench = Bench()
    bench.node("a")
    bench.start()
    bench.reader.relist(KIND)
    bench.world.run_for(1.0)
    bench.start(2)

    assert [(mail.epoch, mail.replace) for _, mail in bench.mail if isinstance(mail, Objects)] == [
        (1, True),
        (1, True),
        (2, True),
    ]
    bench.reader.stop(1.0)
    bench.report("a", healthy=False)
    bench.world.run_for(100.0)
    assert bench.held == {"a": True}


def test_the_same_seed_tells_the_same_story() -> None:
    def story(seed: int) -> list[Any]:
        bench = Bench(seed)
        for name in "abc":
            bench.node(name)
        bench.start()
        bench.reader.set_timeout(KIND, HOME, 20.0)
        bench.reader.fail = lambda kind, action: Unreachable("x") if bench.world.random.random() < 0.5 else None
        for _ in range(5):
            bench.reader.cut(KIND)
            bench.beat(11.0, "a")
        return [(at_s, str(mail)) for at_s, mail in bench.mail]

    assert story(7) == story(7)
    assert story(7) != story(8)


def test_a_reader_that_has_crashed_believes_no_list_older_than_what_it_had_seen() -> None:
    """Found by the simulator: with its records the reader forgot how far it had been, and a lagging server took it back."""
    bench = Bench(streamed_list=False)
    bench.node("a")
    bench.start()
    bench.report("a", healthy=False)
    bench.world.run_for(1.0)
    assert bench.held == {"a": False}

    bench.reader.staleness = lambda _kind: 1
    bench.reader.crash(KIND)
    bench.world.run_for(20.0)
    assert bench.held == {"a": False}

    bench.reader.staleness = lambda _kind: 0
    bench.world.run_for(10.0)
    assert bench.held == {"a": False}
    assert len([mail for _, mail in bench.mail if isinstance(mail, Objects) and mail.replace]) == 2


# --- what the simulator's faults and oracles need of it -----------------------------------------------------------------
def test_old_changes_come_again_one_at_a_time_and_are_no_news(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench().start()
    bench.node("n1", True)
    bench.world.run_for(0.1)
    bench.report("n1", False)
    bench.world.run_for(0.1)
    mails = len(bench.mail)
    came_s: list[float] = []
    stream = bench.reader._kinds[KIND].stream
    assert stream is not None
    taken = stream.lines

    def heard(lines: Sequence[Line], now: float) -> None:
        came_s.extend(now for _ in lines)
        taken(lines, now)

    monkeypatch.setattr(stream, "lines", heard)
    bench.reader.rewind(KIND, 2, 0.5)
    bench.world.run_for(2.0)
    assert [at_s - came_s[0] for at_s in came_s] == pytest.approx([0.0, 0.5])
    assert len(bench.mail) == mails
    assert bench.held == {"n1": False}


@pytest.mark.parametrize("streamed", [True, False])
def test_an_object_that_no_list_can_show_keeps_its_record(streamed: bool) -> None:
    bench = Bench(streamed_list=streamed).start()
    bench.node("n1")
    bench.node("n2")
    bench.world.run_for(0.1)
    bench.reader.bend = lambda raw: raw.replace(b'"spec":{', b'"spec":7,"was":{') if b'"n1"' in raw else raw
    bench.reader.mangle = lambda kind, turn, lines: [bench.reader.bend(line) for line in lines]
    bench.reader.relist(KIND)
    bench.world.run_for(1.0)
    last = bench.mail[-1][1]
    assert isinstance(last, Objects)
    assert last.replace
    assert bench.held == {"n1": True, "n2": True}


def test_a_watch_goes_on_from_the_bookmark_that_ended_the_one_before() -> None:
    bench = Bench(watch_s=5)
    resumed: list[tuple[int, int]] = []
    bench.reader.resumed = lambda kind, asked, told: resumed.append((asked, told))
    bench.start()
    bench.node("n1")
    bench.world.run_for(0.1)
    for n in range(5):  # other kinds go on
        bench.api.create("storagenodes.muster.dev", {"metadata": {"name": f"s{n}"}, "spec": {}}, "default")
    newest = bench.api.resource_version
    bench.world.run_for(10.0)
    assert resumed[-1] == (newest, newest)


def test_it_says_for_how_long_a_watch_has_been_open() -> None:
    bench = Bench()
    assert bench.reader.open_for_s(KIND) is None
    bench.start()
    open_for_s = bench.reader.open_for_s(KIND)
    assert open_for_s is not None
    assert 0.9 < open_for_s <= 1.0
    bench.reader.fail = lambda kind, action: Unreachable("planted")
    bench.reader.cut(KIND)
    assert bench.reader.open_for_s(KIND) is None
