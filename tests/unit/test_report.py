"""The demo's judge: each promise has a log in which it is kept, and the same log with a violation planted.

A check that cannot fail is none; so each plant must break its own promise, and no other one.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from actors.ops.report import ACCESSES, BACKEND, OBJECTS, Line, Logs, Report, Terms, judge, read_logs

OPERATOR, AGENTS = "muster/0.1.0", "muster-demo-fleet"
NAMES = ("a", "b", "c", "d", "e", "f", "g", "h")
TERMS = Terms(quota_calls=2, window_s=1.0, batch_max=3, until_s=20.0)
PROMISES = ("truth", "lanes", "no write for nothing", "quota", "batch", "wanted", "repaired once", "drain", "valve")

Obj = dict[str, Any]


class Book:
    """Writes logs as the servers do. ``beat`` and the rest stamp with the instant given; lines are sorted at the end."""

    def __init__(self) -> None:
        self.objects: list[Obj] = []
        self.accesses: list[Obj] = []
        self.arrivals: list[Obj] = []
        self.executions: list[Obj] = []

    def logs(self) -> Logs:
        logs = (self.objects, self.accesses, self.arrivals, self.executions)
        in_order = [sorted(lines, key=lambda line: float(line["mono_s"])) for lines in logs]
        return Logs(objects=in_order[0], accesses=in_order[1], arrivals=in_order[2], executions=in_order[3])

    def commit(
        self, at_s: float, type_: str, kind: str, name: str, agent: str = AGENTS, uid: str = "", **parts: Any
    ) -> None:
        line = {"mono_s": at_s, "type": type_, "kind": kind, "ns": "default", "name": name, "user_agent": agent}
        self.objects.append(line | {"uid": uid or f"uid-{name}"} | parts)

    def cluster(self, at_s: float, name: str = "fleet", **spec: Any) -> None:
        self.commit(at_s, "ADDED", "Cluster", name, spec={"heartbeatTimeout": "4s", **spec}, status=None)

    def node(self, at_s: float, name: str, cluster: str = "fleet", kind: str = "ComputeNode", uid: str = "") -> None:
        self.commit(at_s, "ADDED", kind, name, uid=uid, spec={"clusterRef": {"name": cluster}}, status=None)

    def report(
        self, at_s: float, name: str, healthy: bool = True, *, since: str = "", kind: str = "ComputeNode"
    ) -> None:
        condition = {"type": "Healthy", "status": str(healthy), "lastTransitionTime": since or f"since {healthy}"}
        status = {"healthy": healthy, "lastHeartbeatTime": f"beat {at_s}", "conditions": [condition]}
        self.commit(at_s, "MODIFIED", kind, name, status=status)

    def status(self, at_s: float, healthy: int, unhealthy: int, unknown: int = 0, *, name: str = "fleet") -> None:
        """The operator writes: a commit and a request. All nodes are of one kind."""
        counts = {
            "healthy": healthy,
            "unhealthy": unhealthy,
            "unknown": unknown,
            "total": healthy + unhealthy + unknown,
        }
        kinds = [{"kind": "ComputeNode", **counts}, {"kind": "StorageNode", **dict.fromkeys(counts, 0)}]
        self.commit(
            at_s, "MODIFIED", "Cluster", name, OPERATOR, status={**counts, "kinds": kinds, "repairing": int(at_s)}
        )
        self.write(at_s, name)

    def write(self, at_s: float, name: str = "fleet") -> None:
        path = f"/apis/muster.dev/v1alpha1/namespaces/default/clusters/{name}/status?fieldManager=muster"
        self.accesses.append({"mono_s": at_s, "method": "PATCH", "path": path, "status": 200, "user_agent": OPERATOR})

    def call(self, at_s: float, *names: str, cluster: str = "fleet", execute: bool = True, status: int = 200) -> None:
        items = [self.item(name, f"key-{name}-{at_s}", cluster) for name in names]
        self.arrivals.append({"mono_s": at_s, "status": status, "items": items})
        if execute:
            self.executions += [{"mono_s": at_s, **item} for item in items]

    @staticmethod
    def item(name: str, key: str, cluster: str = "fleet") -> Obj:
        return {
            "key": key, "name": name, "namespace": "default", "kind": "ComputeNode", "uid": f"uid-{name}",
            "cluster": cluster,
        }  # fmt: skip

    def fails_for_good(self, at_s: float, name: str) -> None:
        """Nothing is heard of it afterwards but this."""
        self.objects[:] = [line for line in self.objects if line["name"] != name or line["mono_s"] < at_s]
        self.report(at_s, name, healthy=False, since=str(at_s))

    def beats(self, from_s: float, to_s: float, *names: str) -> None:
        at_s = from_s
        while at_s <= to_s:
            for name in names:
                self.report(at_s, name)
            at_s += 1.5


def kept() -> Book:
    """Eight nodes; one fails at 5 s and is repaired; one falls silent with its last report at 8 s, and is repaired."""
    book = Book()
    book.cluster(0.0)
    for name in NAMES:
        book.node(0.1, name)
        book.report(0.2, name)
    book.status(0.5, 8, 0)
    book.beats(1.5, 20.0, "c", "d", "e", "f", "g", "h")
    book.beats(1.5, 4.9, "a")
    book.report(5.0, "a", healthy=False, since="five")
    book.status(5.2, 7, 1)
    book.call(5.25, "a")
    book.report(6.5, "a", since="six and a half")
    book.status(6.7, 8, 0)
    book.beats(8.0, 20.0, "a")
    book.beats(1.5, 7.9, "b")
    book.report(8.0, "b")
    book.status(12.4, 7, 0, 1)
    book.call(12.5, "b")
    book.beats(13.5, 20.0, "b")
    book.status(13.7, 8, 0)
    return book


def judged(book: Book, **terms: Any) -> dict[str, Line]:
    return {line.promise: line for line in report(book, **terms).lines}


def report(book: Book, **terms: Any) -> Report:
    return judge(book.logs(), evolve(TERMS, **terms))


def test_a_log_in_which_all_was_well() -> None:
    found = report(kept())

    assert found.ok
    assert PROMISES == tuple(line.promise for line in found.lines)
    assert {
        "clusters": 1,
        "nodes": 8,
        "failures": 1,
        "silences": 1,
        "calls": 2,
        "repairs": 2,
    }.items() <= found.fleet.items()


def test_the_latencies_are_from_the_commit_and_from_the_deadline() -> None:
    """The failure of ``a`` was committed at 5.0; ``b`` became silent at 8 + 4."""
    shown, asked = report(kept()).latencies

    assert (2, 0.2, 0.4, 0.4) == (shown.count, shown.p50_s, shown.p95_s, shown.max_s)
    assert (2, 0.25, 0.5, 0.5) == (asked.count, asked.p50_s, asked.p95_s, asked.max_s)


# --- one violation each -----------------------------------------------------------------------------------------------
def wrong_at_the_end(book: Book) -> None:
    """The last failure never reached the status: both the end and the lag are wrong."""
    book.fails_for_good(15.0, "c")
    book.call(15.2, "c")


def wrong_kinds(book: Book) -> None:
    """The sums are right, and one kind's share is not."""
    book.objects[-1]["status"]["kinds"][0]["healthy"] -= 1


def no_clusters(book: Book) -> None:
    """Nothing at all happened: that is no success."""
    book.objects.clear()
    book.accesses.clear()
    book.arrivals.clear()
    book.executions.clear()


def late_status(book: Book) -> None:
    """The silence showed only after five seconds (of which one is allowed beside the lag); in the end all is well."""
    for line in [*book.objects, *book.accesses]:
        line["mono_s"] = {12.4: 17.0, 13.7: 19.7}.get(line["mono_s"], line["mono_s"])
    book.objects[:] = [line for line in book.objects if line["name"] != "b" or not 13 < line["mono_s"] < 19]


def never_true(book: Book) -> None:
    """A status that was true at no instant stood for longer than allowed."""
    book.status(14.0, 3, 5)
    book.status(18.0, 8, 0)


def ghost_in_between(book: Book) -> None:
    """The status of a time long gone came back."""
    book.status(14.0, 7, 1)
    book.status(14.1, 8, 0)


def equal_write(book: Book) -> None:
    """The server commits nothing for an equal status, so only the request tells."""
    book.write(14.0)


def equal_commit(book: Book) -> None:
    """… and where it did commit one, that counts as well."""
    book.status(13.9, 8, 0)
    book.objects[-1]["status"] = next(line["status"] for line in book.objects if line["mono_s"] == 13.7)


def three_in_a_window(book: Book) -> None:
    """Quota 2 in 1 s; the third comes 0.999 s after the first."""
    for at_s in (5.6, 6.249):
        book.arrivals.append({"mono_s": at_s, "status": 200, "items": [Book.item("a", f"key-a-{5.25}")]})


def refused(book: Book) -> None:
    """The backend itself said that the quota was exceeded."""
    book.arrivals[0]["status"] = 429


def four_items(book: Book) -> None:
    """Batch 3."""
    for name in ("e", "f", "g"):
        book.report(5.1, name, healthy=False, since="five")
        book.arrivals[0]["items"].append(Book.item(name, f"key-{name}"))
        book.report(5.4, name)


def twice_in_a_call(book: Book) -> None:
    """The same node under two keys."""
    book.arrivals[0]["items"].append(Book.item("a", "another key"))


def healthy_node(book: Book) -> None:
    """It had recovered well before the call arrived."""
    book.call(7.5, "a", execute=False)


def unknown_uid(book: Book) -> None:
    """Nobody ever had it."""
    book.arrivals[0]["items"][0]["uid"] = "uid-nobody"
    book.arrivals[0]["items"].append(Book.item("a", "key-a"))


def node_that_is_gone(book: Book) -> None:
    """It was deleted a second before."""
    book.commit(15.0, "DELETED", "ComputeNode", "h")
    book.objects[:] = [line for line in book.objects if line["name"] != "h" or line["mono_s"] <= 15.0]
    book.status(15.2, 7, 0)
    book.call(16.0, "h", execute=False)


def another_clusters(book: Book) -> None:
    """The node is in need, but not of that cluster."""
    book.arrivals[0]["items"].append(Book.item("a", "key-a", "elsewhere"))
    del book.arrivals[0]["items"][0]


def executed_twice(book: Book) -> None:
    """Two keys for one incident."""
    book.call(6.3, "a")


def key_twice(book: Book) -> None:
    """A backend that honours keys does not do that, and the log says that it did."""
    book.executions.append({**book.executions[-1], "mono_s": 12.6})


def forgotten(book: Book) -> None:
    """It fails, is counted, and nobody ever asks for its repair."""
    book.fails_for_good(10.0, "c")
    book.objects[:] = [line for line in book.objects if line["name"] != "fleet" or line["mono_s"] < 10.0]
    book.accesses[:] = [line for line in book.accesses if line["mono_s"] < 10.0]
    book.status(10.2, 7, 1)
    book.status(12.4, 6, 1, 1)
    book.status(13.7, 7, 1)


def late_call(book: Book) -> None:
    """Asked for, but after longer than the debounce and the queue's turn (3 s + 1 s + 0.75 s)."""
    forgotten(book)
    book.call(15.0, "c")


def repair_of_the_many(book: Book) -> None:
    """Five of eight are down, the limit is four: three seconds later nothing may leave any more."""
    for name in NAMES[3:]:
        book.fails_for_good(14.0, name)
    book.status(14.2, 3, 5)
    book.call(18.0, "d")


PLANTS: list[tuple[Callable[[Book], None], set[str]]] = [
    (wrong_at_the_end, {"truth", "lanes"}),
    (wrong_kinds, {"truth", "lanes"}),
    (no_clusters, {"truth"}),
    (late_status, {"lanes"}),
    (never_true, {"lanes"}),
    (ghost_in_between, {"lanes"}),
    (equal_write, {"no write for nothing"}),
    (equal_commit, {"no write for nothing"}),
    (three_in_a_window, {"quota"}),
    (refused, {"quota"}),
    (four_items, {"batch"}),
    (twice_in_a_call, {"batch"}),
    (healthy_node, {"wanted"}),
    (unknown_uid, {"wanted"}),
    (node_that_is_gone, {"wanted"}),
    (another_clusters, {"wanted"}),
    (executed_twice, {"repaired once"}),
    (key_twice, {"repaired once"}),
    (forgotten, {"drain"}),
    (late_call, {"drain"}),
    (repair_of_the_many, {"valve"}),
]


@pytest.mark.parametrize(("plant", "broken"), PLANTS, ids=lambda each: each.__name__ if callable(each) else "")
def test_a_planted_violation_breaks_its_promise_and_no_other(plant: Callable[[Book], None], broken: set[str]) -> None:
    book = kept()
    plant(book)
    found = judged(book)

    assert broken == {name for name, line in found.items() if not line.ok}, [
        each for each in found.values() if not each.ok
    ]


def test_every_promise_has_a_plant() -> None:
    assert set(PROMISES) == set().union(*(broken for _, broken in PLANTS))


# --- what is no violation ---------------------------------------------------------------------------------------------
def test_a_change_in_the_last_moment_may_still_be_on_its_way() -> None:
    """A demo that is ended by Ctrl-C ends amid changes."""
    book = kept()
    book.fails_for_good(19.0, "c")
    found = judged(book)

    assert found["truth"].ok
    assert {"clusters": 1, "right": 0, "behind": 1, "wrong": 0} == found["truth"].values
    assert found["lanes"].ok


def test_what_happens_after_the_operator_was_asked_to_end_is_not_its_business() -> None:
    book = kept()
    book.report(21.0, "c", healthy=False, since="late")

    assert {"clusters": 1, "right": 1, "behind": 0, "wrong": 0} == judged(book)["truth"].values


def test_calls_exactly_a_window_apart_are_not_in_one_window() -> None:
    book = kept()
    book.arrivals.append({"mono_s": 5.75, "status": 200, "items": [Book.item("a", "key-a-5.25")]})
    book.arrivals.append({"mono_s": 6.25, "status": 200, "items": [Book.item("a", "key-a-5.25")]})

    assert 2 == judged(book)["quota"].values["fullest"]


def test_a_call_that_crossed_with_the_recovery_is_no_fault() -> None:
    """The node recovered while the call was on its way (0.3 s of the half second allowed)."""
    book = kept()
    book.call(6.8, "a", execute=False)

    assert judged(book)["wanted"].ok


def test_a_recovery_may_overtake_a_silence() -> None:
    """Silence is told up to a second after its deadline, a report at once: "8 healthy" is true of no instant after 14.0."""
    book = kept()
    book.fails_for_good(14.0, "c")
    book.status(14.2, 7, 1)
    book.call(14.2, "c")
    book.objects[:] = [line for line in book.objects if line["name"] != "d" or line["mono_s"] <= 14.0]
    book.beats(14.0, 14.0, "d")  # silent at 18.0
    book.report(18.3, "c", since="eighteen")
    book.status(18.5, 8, 0)
    book.status(18.9, 7, 0, 1)
    book.call(18.9, "d")

    assert 0.5 == judged(book)["lanes"].values["stalest_s"], "that was its first status"


def test_a_silence_that_is_told_late_is_stale_all_the_same() -> None:
    book = kept()
    late_status(book)

    assert 4.0 == judged(book)["lanes"].values["stalest_s"]


def test_a_second_failure_is_another_incident() -> None:
    book = kept()
    book.report(15.0, "a", healthy=False, since="fifteen")
    book.status(15.2, 7, 1)
    book.call(15.3, "a")
    book.report(16.4, "a", since="sixteen")
    book.objects[:] = [each for each in book.objects if each["name"] != "a" or not 15.0 < each["mono_s"] < 16.4]
    book.status(16.6, 8, 0)

    assert report(book).ok


def test_a_queue_under_a_tight_quota_may_take_its_turn() -> None:
    """Two calls of one item in 10 s: the fourth node's turn is the second window."""
    book = kept()
    forgotten(book)
    book.call(19.0, "c")

    assert not judged(book)["drain"].ok
    assert judged(book, window_s=10.0, quota_calls=1)["drain"].ok


def test_held_repairs_are_owed_from_when_the_valve_opens() -> None:
    book = kept()
    repair_of_the_many(book)
    del book.arrivals[-1], book.executions[-1]

    assert report(book).ok


def test_a_cluster_made_anew_begins_anew() -> None:
    """Its nodes are still there, and its first status is due within the bound."""
    book = kept()
    book.commit(15.0, "DELETED", "Cluster", "fleet")
    book.commit(15.1, "ADDED", "Cluster", "fleet", uid="uid-2", spec={"heartbeatTimeout": "4s"}, status=None)

    assert {"truth", "lanes"} == {name for name, line in judged(book).items() if not line.ok}

    book.status(15.4, 8, 0)

    assert report(book).ok


# --- files ------------------------------------------------------------------------------------------------------------
def test_logs_are_read_back_and_half_a_line_at_the_end_is_left_out(tmp_path: Path) -> None:
    logs = kept().logs()
    (tmp_path / OBJECTS).write_text("".join(json.dumps(each) + "\n" for each in logs.objects) + '{"mono_s": 20, "ki')
    (tmp_path / ACCESSES).write_text("".join(json.dumps(each) + "\n" for each in logs.accesses))
    backend = [{**each, "event": "arrival"} for each in logs.arrivals] + [
        {**each, "event": "execution"} for each in logs.executions
    ]
    (tmp_path / BACKEND).write_text("".join(json.dumps(each) + "\n" for each in backend))

    assert judge(logs, TERMS).ok
    assert judge(logs, TERMS) == judge(read_logs(tmp_path), TERMS)


def test_a_server_that_wrote_nothing_is_not_taken_for_a_good_one(tmp_path: Path) -> None:
    assert not judge(read_logs(tmp_path), TERMS).ok
