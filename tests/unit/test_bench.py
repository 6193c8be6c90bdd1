"""The benchmarks' own promises: what the load server sends is right, and what is made of the figures is, too."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import urllib3

from actors.actor import Cell
from actors.sim.serve import HttpServer

API = "/apis/muster.dev/v1alpha1"
Load = Callable[[str], ModuleType]


def events_of(chunks: bytes) -> list[dict[str, Any]]:
    """The events of a chunked body, each in a chunk of its own that is as long as it says."""
    found = []
    while chunks:
        size, _, chunks = chunks.partition(b"\r\n")
        length = int(size, 16)
        assert chunks[length : length + 2] == b"\r\n"
        found.append(json.loads(chunks[:length]))
        chunks = chunks[length + 2 :]
    return found


# --- the objects ------------------------------------------------------------------------------------------------------
def test_an_event_is_what_an_api_server_sends_of_a_node(bench: Load) -> None:
    nodes = bench("load.objects").Nodes([2, 3], 1_767_225_600.0)
    nodes.report(3, nodes.version[4] + 1, False, 1_767_225_610)
    (event,) = events_of(nodes.event(3))
    meta, owner = event["object"]["metadata"], event["object"]["metadata"]["ownerReferences"][0]

    assert (event["type"], meta["name"], meta["resourceVersion"]) == ("MODIFIED", "node-0000003", str(nodes.version[3]))
    assert {owner["name"], meta["labels"]["muster.dev/cluster"], event["object"]["spec"]["clusterRef"]["name"]} == {
        "c00001"
    }
    assert owner["uid"].endswith("-9000-000000000001")
    assert event["object"]["status"]["healthy"] is False
    assert len(meta["managedFields"]) == 2
    assert list(meta) == sorted(meta)


def test_events_weigh_what_the_targets_say(bench: Load) -> None:
    assert 2_300 < len(bench("load.objects").Nodes([1], 1.0).event(0)) < 2_500


def test_each_report_is_later_than_the_last_and_turns_are_dated(bench: Load) -> None:
    nodes = bench("load.objects").Nodes([1], 1_767_225_600.0)
    statuses = []
    for version, well in enumerate((True, True, False, False)):
        nodes.report(0, nodes.version[0] + version, well, 1_767_225_600)
        statuses.append(events_of(nodes.event(0))[0]["object"]["status"])
    beats = [each["lastHeartbeatTime"] for each in statuses]
    turns = [next(c for c in each["conditions"] if c["type"] == "Healthy")["lastTransitionTime"] for each in statuses]

    assert beats == sorted(set(beats))
    assert turns[0] == turns[1] < turns[2] == turns[3]
    assert list(nodes.ill) == [1]


def test_every_node_reports_once_a_round(bench: Load) -> None:
    nodes = bench("load.objects").Nodes([7, 4], 1.0)
    order = list(nodes.in_turn(22))

    assert sorted(order[:11]) == list(range(11))
    assert order[:11] == order[11:] != sorted(order[:11])


# --- the log ----------------------------------------------------------------------------------------------------------
def block(bench: Load, *versions: int) -> Any:
    lines = [b'{"type":"MODIFIED","object":{"metadata":{"resourceVersion":"%d"}}}\n' % version for version in versions]
    return bench("load.log").Block(versions[0], versions[-1], b"".join(b"%x\r\n%b\r\n" % (len(x), x) for x in lines))


def test_a_watch_goes_on_in_the_middle_of_a_block(bench: Load) -> None:
    log = bench("load.log").Log(10)
    log.append(block(bench, 11, 12, 13))
    log.append(block(bench, 14, 15))
    rest = log.open(1, 12)

    assert [event["object"]["metadata"]["resourceVersion"] for event in events_of(rest)] == ["13"]
    assert [each.last for each in log.take(1, 0.0)] == [15]


@pytest.mark.parametrize(("version", "blocks"), [(10, [13, 15]), (13, [15]), (15, [])])
def test_a_watch_begins_after_its_version(bench: Load, version: int, blocks: list[int]) -> None:
    log = bench("load.log").Log(10)
    log.append(block(bench, 11, 12, 13), block(bench, 14, 15))

    assert log.open(1, version) == b""
    assert [each.last for each in log.take(1, 0.0)] == blocks


def test_what_all_watches_have_sent_is_forgotten_and_what_one_has_not_is_kept(bench: Load) -> None:
    module = bench("load.log")
    log = module.Log(0)
    log.open(1, 0)
    for version in range(1, 2 * module.KEPT_BLOCKS + 1):
        log.append(block(bench, version))
    assert log.open(2, 0) == b""
    log.close(2)
    while blocks := log.take(1, 0.0):
        log.sent(1, len(blocks))
    log.append(block(bench, 2 * module.KEPT_BLOCKS + 1))

    assert log.open(3, module.KEPT_BLOCKS) is None
    assert log.open(3, module.KEPT_BLOCKS + 1) == b""
    assert not log.drained(0.0)


# --- over HTTP --------------------------------------------------------------------------------------------------------
@pytest.fixture
def face(bench: Load) -> Any:
    server = bench("load.server")
    return server.Face(server.Fleet([3, 4]))


@pytest.fixture
def server(face: Any) -> Iterator[HttpServer]:
    with face.serve(0, None) as server:
        yield server


def test_pages_hold_every_object_once_at_one_version(server: HttpServer) -> None:
    names, versions, token = [], set(), ""
    while True:
        page = urllib3.request("GET", f"{server.url}{API}/computenodes?limit=3&continue={token}").json()
        names += [item["metadata"]["name"] for item in page["items"]]
        versions.add(page["metadata"]["resourceVersion"])
        token = page["metadata"].get("continue", "")
        if not token:
            break

    assert names == [f"node-{number:07}" for number in range(7)]
    assert len(versions) == 1


def test_a_streamed_list_ends_with_its_bookmark_and_goes_on_as_a_watch(face: Any, server: HttpServer) -> None:
    query = "watch=1&sendInitialEvents=true&allowWatchBookmarks=true&timeoutSeconds=1"
    answer = urllib3.request("GET", f"{server.url}{API}/computenodes?{query}", preload_content=False)
    lines = iter(answer.stream())
    first = [json.loads(next(lines)) for _ in range(8)]
    face.fleet.report([5], turn=True)
    then = json.loads(next(lines))
    last = [json.loads(line) for line in lines]

    assert [each["type"] for each in first] == ["ADDED"] * 7 + ["BOOKMARK"]
    assert first[-1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert (then["type"], then["object"]["status"]["healthy"]) == ("MODIFIED", False)
    assert int(then["object"]["metadata"]["resourceVersion"]) > int(first[-1]["object"]["metadata"]["resourceVersion"])
    assert [each["type"] for each in last] == ["BOOKMARK"]


def patch(server: HttpServer, name: str, version: str | None, status: dict[str, int]) -> Any:
    body = {"status": status} | ({"metadata": {"resourceVersion": version}} if version else {})
    headers = {"Content-Type": "application/merge-patch+json"}
    return urllib3.request(
        "PATCH", f"{server.url}{API}/namespaces/default/clusters/{name}/status", json=body, headers=headers
    )


def test_a_status_is_judged_by_the_truth(face: Any, server: HttpServer) -> None:
    face.fleet.report([0], well=False)
    assert face.fleet.wrong == {0, 1}
    assert patch(server, "c00000", None, {"total": 3, "healthy": 3, "unhealthy": 0}).status == 200
    assert face.fleet.wrong == {0, 1}
    assert patch(server, "c00000", None, {"healthy": 2, "unhealthy": 1}).status == 200
    assert face.fleet.wrong == {1}
    face.fleet.report([0], well=True)
    assert face.fleet.wrong == {0, 1}
    assert [(each[1], *each[2:5]) for each in face.fleet.patches] == [(0, 3, 3, 0), (0, 3, 2, 1)]


def test_a_patch_from_an_older_version_is_a_conflict(server: HttpServer) -> None:
    version = urllib3.request("GET", f"{server.url}{API}/namespaces/default/clusters/c00001").json()["metadata"][
        "resourceVersion"
    ]

    assert patch(server, "c00001", version, {"total": 1}).status == 200
    assert patch(server, "c00001", version, {"total": 2}).status == 409


def test_a_version_that_is_forgotten_is_gone(face: Any, server: HttpServer) -> None:
    log = face.fleet.logs["computenodes"]
    answer = urllib3.request("GET", f"{server.url}{API}/computenodes?watch=1&resourceVersion={log.version - 1}")

    assert (answer.status, answer.json()["reason"]) == (410, "Expired")


# --- what is made of the figures --------------------------------------------------------------------------------------
def test_the_limit_of_a_drain_is_that_of_the_design(bench: Load) -> None:
    limit_s = bench("judging").drain_limit_s

    assert limit_s(100_000, 0.0) == 99.0
    assert limit_s(1, 0.02) == 0.02
    assert limit_s(1_001, 0.5) == 1.0 + 0.5 + 0.5


def test_status_writes_are_counted_up_to_the_one_that_says_that_all_are_queued(bench: Load) -> None:
    patches = [
        [1.0, 0, 9, 4, 5, 0], [1.1, 1, 9, 0, 9, 9], [1.2, 0, 9, 0, 9, 4], [1.3, 0, 9, 0, 9, 9], [1.4, 0, 9, 1, 8, 8],
    ]  # fmt: skip

    assert bench("judging").writes_until_queued(patches, 9) == {0: 3, 1: 1}


def test_a_quota_that_was_exceeded_and_a_node_asked_for_twice_are_broken_promises(bench: Load) -> None:
    calls = [{"mono_s": at / 100, "items": [{"uid": str(min(at, 10))}]} for at in range(12)]
    rows = {row.what: row for row in bench("judging").promises(calls, 11)}

    assert rows["fullest window of the quota"].figure == 12
    assert [row.what for row in rows.values() if row.promise and not row.met] == [
        "fullest window of the quota",
        "nodes in more than one call",
    ]


def test_a_percentile_is_a_value_that_was_measured(bench: Load) -> None:
    percentile = bench("judging").percentile

    assert [percentile([4.0, 1.0, 3.0, 2.0], share) for share in (0.25, 0.5, 0.99)] == [1.0, 2.0, 4.0]


def test_what_is_remembered_and_tapped_changes_nothing_of_the_work(
    bench: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else instructions of different work would be held against each other."""
    straight, shell = bench("straight"), bench("shell")
    made: list[Any] = []

    def operator(*given: Any) -> Any:
        made.append(straight.Operator(*given))
        return made[-1]

    monkeypatch.setattr(shell, "Operator", operator)
    monkeypatch.setattr(shell, "SLICE", 500)
    monkeypatch.setattr(shell, "LOADS", {"small": straight.Load(parents=5, children=4, per_s=500)})
    work = set()
    for mode in shell.MODES:
        shell.work(mode, "small", 2)
        cells = dict(made[-1].system.cells())
        handled = sum(int(cell.get("handled", 0)) for cell in cells.values())
        work.add((made[-1].world.clock.now_s, handled, cells["status"]["written"], cells["gateway"]["counts"]["calls"]))

    assert len(work) == 1
    assert min(work.pop()) > 1
    assert Cell._handle.__name__ == "_handle"


def test_the_report_puts_its_tables_between_the_marks(bench: Load, tmp_path: Path) -> None:
    report = bench("report")
    row = {"what": "a thing", "figure": 2.0, "unit": "s", "target": 1.0, "met": False, "note": ""}
    rows = [row | {"what": "Muster: cost", "target": None}, row | {"what": "kopf: cost", "figure": 9.0, "target": None}]
    runs = {"one": {"rows": [row]}, "peers": {"rows": rows}}
    page = tmp_path / "page.md"
    page.write_text("above\n<!-- targets -->\nold\n<!-- end of targets -->\nbelow\n")
    report.put(page, "targets", report.targets_table(runs))
    text = page.read_text()

    assert re.search(r"(?s)\Aabove\n.*a thing \| 2 s \| ≤ 1 s \| 2\.00 \| \*\*not met\*\* \| `one`.*\nbelow\n\Z", text)
    assert "old" not in text
    assert report.peers_table(runs)[-1] == "| cost | 2 s | 9 s (4.5 ×) |"


def test_the_page_of_figures_has_the_marks(bench: Load, tmp_path: Path) -> None:
    report, page = bench("report"), tmp_path / "page.md"
    page.write_text((Path(__file__).parents[2] / "docs" / "performance.md").read_text(encoding="utf-8"))
    for mark in (report.TARGETS, report.PEERS):
        report.put(page, mark, [f"new: {mark}"])

    assert page.read_text().count("new: ") == 2
