"""Bad input of every kind, over real HTTP: a clear error that names the thing and the cure, and nothing else stops.

The operator runs as people start it, against the embedded servers. Wherever one thing goes wrong, a bystander is looked at: a
cluster beside it, whose count must follow the next change at once.
"""

from __future__ import annotations

import base64
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from actors.sim.crds import crd_documents
from actors.sim.live import Api, BackendServer, Fleet, ModelServer, Operator, until

ROOT = Path(__file__).parents[2]
ENTRY = [str(ROOT / "supervisor.py")]
SOON_S = 5.0
FAST = {
    "cold-start": "0s", "max-unhealthy": "100%", "max-unhealthy-fleet": "100%",
    "backend-timeout": "1s", "backend-lateness": "0s",
    "batch-quiet": "10ms", "debounce": "20ms",
}  # fmt: skip


class Site:
    """An API server that takes any object, a backend, and the operator between them."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        definitions = folder / "crds"
        definitions.mkdir()
        for number, document in enumerate(crd_documents()):
            for version in document["spec"]["versions"]:  # what a server of other rules, or of none, would store
                version["schema"] = {
                    "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
                }
            (definitions / f"{number}.yaml").write_text(yaml.safe_dump(document))
        self.server = stack.enter_context(ModelServer(folder, options=["--crd-dir", str(definitions)]))
        self.backend = stack.enter_context(BackendServer(folder, options=["--quota", "50/1s"]))
        self.api = Api(self.server.url)
        self.bystander = self.fleet()
        self.bystander.cluster("beside")
        self.bystander.node("n1", "beside", healthy=True)
        self.bystander.node("s1", "beside", "StorageNode", healthy=True)
        options = FAST | {"quota": "50/1s"}
        self.muster = stack.enter_context(
            Operator(ENTRY, folder, kubeconfig=self.server.kubeconfig, backend_url=self.backend.url, options=options)
        ).ready()
        self.healthy = True

    def fleet(self) -> Fleet:
        name = f"f-{uuid.uuid4().hex[:8]}"
        self.api.do("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        return Fleet(self.api, name)

    def nothing_else_stopped(self) -> None:
        self.healthy = not self.healthy
        self.bystander.report("n1", self.healthy)
        self.bystander.report("s1", self.healthy, "StorageNode")
        self.bystander.agree(SOON_S)
        assert self.muster.alive()
        assert self.muster.probe("/healthz") == 200
        assert self.muster.lines("actor_crashed") == []


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(stack, tmp_path_factory.mktemp("site"))


def status_of(fleet: Fleet, name: str, body: dict[str, Any], kind: str = "ComputeNode") -> None:
    fleet.api.merge(fleet.path(kind, name, "status"), {"status": body})


# --- objects ----------------------------------------------------------------------------------------------------------


def test_an_object_of_the_wrong_types_is_named_and_its_last_good_record_stays(site: Site) -> None:
    """The schema should have refused it; but schemas change, and a server may keep what an older one took."""
    fleet = site.fleet()
    fleet.cluster("c")
    for name in ("good", "bad"):
        fleet.node(name, "c")
    fleet.agree(SOON_S)

    status_of(fleet, "bad", {"healthy": "certainly"})
    line = site.muster.told("object_refused", SOON_S, place=f"ComputeNode {fleet.namespace}/bad")
    fleet.report("good", False)
    until(lambda: fleet.counts()["c"] == (2, 1, 1, 0), SOON_S, fleet.counts)

    assert "healthy" in line["why"]
    assert "mend the object" in line["cure"]
    site.nothing_else_stopped()
    fleet.report("bad", True)
    fleet.agree(SOON_S)


def test_objects_of_the_wrong_types_do_not_keep_the_first_list_from_completing(site: Site, tmp_path: Path) -> None:
    """At the start there is no last good record: what cannot be read is not counted, all else is."""
    fleet = site.fleet()
    fleet.cluster("c")
    fleet.node("good", "c")
    for name, spec in {"reference": {"clusterRef": "c"}, "beat": {}}.items():
        body = {"apiVersion": "muster.dev/v1alpha1", "kind": "StorageNode", "metadata": {"name": name}, "spec": spec}
        fleet.api.do("POST", fleet.path("StorageNode"), body)
    status_of(fleet, "beat", {"lastHeartbeatTime": 17}, "StorageNode")
    options = FAST | {"namespace": fleet.namespace}
    with Operator(
        ENTRY, tmp_path, kubeconfig=site.server.kubeconfig, backend_url=site.backend.url, options=options
    ) as second:
        second.ready()

        told = {name: second.told("object_refused", SOON_S, place=f"StorageNode {fleet.namespace}/{name}")
                for name in ("reference", "beat")}  # fmt: skip
        until(lambda: fleet.counts()["c"] == (1, 1, 0, 0), SOON_S, fleet.counts)
    assert "clusterRef" in told["reference"]["why"]
    assert "lastHeartbeatTime" in told["beat"]["why"]
    site.nothing_else_stopped()


def test_a_spec_that_cannot_be_read_is_told_in_its_own_status(site: Site) -> None:
    """A cluster with one bad field is still counted, by the operator's settings where its own cannot be read."""
    fleet = site.fleet()
    fleet.cluster("odd", heartbeatTimeout="soon", minHealthy=-3, repair={"maxUnhealthy": "all"}, debounce=7)
    fleet.node("n", "odd", healthy=True)

    until(lambda: fleet.counts()["odd"] == (1, 1, 0, 0), SOON_S, fleet.counts)
    ready = fleet.condition("odd", "Ready")

    assert (ready["status"], ready["reason"]) == ("False", "InvalidSpec")
    for place in ("spec.heartbeatTimeout", "spec.minHealthy", "spec.repair.maxUnhealthy", "spec.debounce"):
        assert f"{place}: found " in ready["message"]
    assert ready["message"].count("expected") >= 4
    fleet.api.merge(fleet.path("Cluster", "odd"), {
        "spec": {"heartbeatTimeout": None, "minHealthy": None, "repair": None, "debounce": None}
    })  # fmt: skip
    until(lambda: fleet.condition("odd", "Ready").get("status") == "True", SOON_S, lambda: fleet.status("odd"))
    site.nothing_else_stopped()


GARBAGE = {
    "no JSON": b"<html>502 Bad Gateway</html>\n",
    "half an object": b'{"type":"MODIFIED","object":{"metadata":\n',
    "bad UTF-8": b'{"type":"MODIFIED","object":{"metadata":{"name":"\xff\xfe","uid":"u-1","resourceVersion":"7"}}}\n',
    "JSON, no event": b"[1, 2, 3]\n",
    "an unknown event": b'{"type":"EXPLODED","object":{"metadata":{"name":"x","uid":"u-2","resourceVersion":"8"}}}\n',
    "no metadata": b'{"type":"ADDED","object":{"spec":null}}\n',
    "a version of letters": b'{"type":"ADDED","object":{"metadata":{"name":"y","uid":"u-3","resourceVersion":"new"}}}\n',
    "nested too deep": b'{"type":"ADDED","object":' + b"[" * 100_000 + b"]" * 100_000 + b"}\n",
    "an empty line": b"\n",
}


@pytest.mark.parametrize("what", GARBAGE)
def test_a_watch_line_that_is_no_event_is_skipped_and_the_stream_lives(site: Site, what: str) -> None:
    """One line is one line: it is told with its place (or with its beginning), and what follows on that connection counts."""
    time.sleep(0.25)  # the log has at most five lines a second of one kind about one thing
    before = len(site.muster.lines("object_refused"))
    downs = len(site.muster.lines("stream_down"))
    data = base64.b64encode(GARBAGE[what]).decode()
    answer = site.server.faults({"do": "line", "match": {"path": "/computenodes\\?.*watch"}, "base64": data})
    assert answer["matched"] >= 1

    site.nothing_else_stopped()

    if what != "an empty line":
        until(lambda: len(site.muster.lines("object_refused")) > before, SOON_S, "a line in the log")
        line = site.muster.lines("object_refused")[before]
        assert line["kind"] == "ComputeNode"
        assert line["place"].startswith("ComputeNode")
        assert line["why"]
        assert line["cure"]
    assert len(site.muster.lines("stream_down")) == downs


@pytest.mark.parametrize(
    "half",
    [b'{"type":"MODIFIED","object":{"api', b'{"type":"MODIFIED","object":{"x":"\xc3'],
    ids=["in a word", "in a character"],
)
def test_a_watch_line_cut_in_the_middle_is_asked_for_again(site: Site, half: bytes) -> None:
    """The half is thrown away, the stream resumes behind the last whole event, and what happened in between is not missed."""
    fleet = site.fleet()
    fleet.cluster("c")
    fleet.node("n", "c")
    fleet.agree(SOON_S)
    cut = {"do": "cut", "match": {"path": "/computenodes\\?.*watch"}, "base64": base64.b64encode(half).decode()}
    assert site.server.faults(cut)["matched"] >= 1
    fleet.report("n", False)
    fleet.delete("n")
    fleet.node("n", "c", healthy=None)

    fleet.agree(SOON_S)

    site.nothing_else_stopped()


def test_a_child_of_no_parent_is_named_and_counted_once_the_parent_is_there(site: Site) -> None:
    fleet = site.fleet()
    fleet.node("orphan", "nowhere", healthy=False)
    fleet.node("stray", "", by="label")  # names nobody at all

    line = site.muster.told("parent_missing", SOON_S, parent=f"{fleet.namespace}/nowhere")
    assert line["kind"] == "ComputeNode"
    assert "create that parent" in line["cure"]
    unnamed = site.muster.told("parent_unnamed", SOON_S, child=f"{fleet.namespace}/stray")
    assert "name its parent" in unnamed["cure"]
    assert "orphan" not in site.backend.repaired(), "nobody has asked for its repair"
    fleet.cluster("nowhere")
    fleet.agree(SOON_S)

    assert fleet.counts()["nowhere"] == (1, 0, 1, 0)
    site.nothing_else_stopped()


def test_a_child_of_two_parents_is_counted_once_and_both_are_named(site: Site) -> None:
    """The first that is there wins (owner, label, spec): in no order of events is it counted twice, or nowhere."""
    fleet = site.fleet()
    uids = {name: fleet.cluster(name)["metadata"]["uid"] for name in ("left", "middle", "right")}
    fleet.node("torn", "left", by="ref")
    fleet.api.merge(fleet.path("ComputeNode", "torn"), {"metadata": {"labels": {"muster.dev/cluster": "middle"}}})

    line = site.muster.told("parent_disputed", SOON_S, child=f"{fleet.namespace}/torn")
    fleet.agree(SOON_S)
    assert fleet.counts() == {"left": (0, 0, 0, 0), "middle": (1, 1, 0, 0), "right": (0, 0, 0, 0)}
    assert (line["chosen"], line["others"]) == ("middle", ["left"])
    assert "name the same parent" in line["cure"]

    owner = {"apiVersion": "muster.dev/v1alpha1", "kind": "Cluster", "name": "right", "uid": uids["right"]}
    fleet.api.merge(
        fleet.path("ComputeNode", "torn"), {"metadata": {"ownerReferences": [owner | {"controller": True}]}}
    )
    until(lambda: fleet.counts()["right"] == (1, 1, 0, 0), SOON_S, fleet.counts)
    fleet.agree(SOON_S)
    site.nothing_else_stopped()


def test_a_cluster_deleted_while_its_repairs_are_queued_has_none(site: Site) -> None:
    """Its nodes are nobody's then: what waits for the quota is withdrawn, and others' repairs take its place."""
    doomed, other = site.fleet(), site.fleet()
    for fleet in (doomed, other):
        fleet.cluster("c")
        for number in range(5):
            fleet.node(f"{fleet.namespace}-{number}", "c")
        fleet.agree(SOON_S)
    site.backend.faults({"do": "throttle", "retry_after_s": 2, "count": 1})
    doomed.report(f"{doomed.namespace}-0", False)
    until(lambda: site.backend.arrivals()[-1:] and site.backend.arrivals()[-1]["code"] == 429, SOON_S, "a pause")
    for fleet in (doomed, other):
        for number in range(5):
            fleet.report(f"{fleet.namespace}-{number}", False)
        fleet.agree(SOON_S)  # counting does not wait for the queue

    doomed.delete("c", "Cluster")
    wanted = {f"{other.namespace}-{number}" for number in range(5)}
    until(lambda: wanted <= set(site.backend.repaired()), 10.0, "the other cluster's repairs")
    time.sleep(0.5)

    assert not [name for name in site.backend.repaired() if name.startswith(doomed.namespace)]
    site.nothing_else_stopped()


# --- the backend ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("behaviour", "outcome", "words"),
    [
        ({"do": "nonsense"}, "malformed", ("502 Bad Gateway", "is this the URL of the batch service?")),
        ({"do": "nonsense", "body": '{"results": 7}'}, "malformed", ("is this the URL of the batch service?",)),
        (
            {"do": "redirect", "location": "http://127.0.0.1:9/else"},
            "misconfigured",
            ("http://127.0.0.1:9/else", "set the"),
        ),
    ],
    ids=["no JSON", "the wrong JSON", "a redirect"],
)
def test_a_backend_that_answers_nonsense_or_redirects_is_named(
    tmp_path: Path, behaviour: dict[str, Any], outcome: str, words: tuple[str, ...]
) -> None:
    """Counting goes on; the status says that the backend cannot be reached and why; and nothing is lost when it is mended.

    On a server of its own: the site's operator has a backend that answers, and would say so in the same status.
    """
    with ExitStack() as stack:
        server = stack.enter_context(ModelServer(tmp_path))
        fleet = Fleet(Api(server.url), "default")
        fleet.cluster("c")
        for number in range(4):
            fleet.node(f"n{number}", "c")
        backend = stack.enter_context(BackendServer(tmp_path))
        backend.faults(behaviour)
        muster = stack.enter_context(
            Operator(
                ENTRY,
                tmp_path,
                kubeconfig=server.kubeconfig,
                backend_url=backend.url,
                options=FAST,
            )
        ).ready()
        fleet.report("n0", False)
        line = muster.told("call_answered", SOON_S)
        assert line["outcome"] == outcome
        for word in (backend.url, *words):
            assert word in line["message"]

        fleet.report("n1", False)
        fleet.agree(SOON_S)
        until(
            lambda: fleet.condition("c", "BackendReachable").get("status") == "False", 10.0, lambda: fleet.status("c")
        )
        assert words[-1] in fleet.condition("c", "BackendReachable")["message"]

        backend.faults({"do": "clear"})
        until(lambda: set(backend.repaired()) == {"n0", "n1"}, 30.0, backend.arrivals)
        assert sorted(backend.repaired()) == ["n0", "n1"]
        assert muster.stop() == 0


# --- the API server ---------------------------------------------------------------------------------------------------


def test_a_status_refused_for_a_moment_is_right_soon_after(site: Site) -> None:
    """A starting kube-apiserver answers 403 until it has read its own roles. That is over in a second or two, so it must not
    cost what a missing permission costs, which is somebody's to mend."""
    fleet = site.fleet()
    fleet.cluster("c")
    fleet.node("n", "c")
    fleet.agree(SOON_S)
    path = f"/namespaces/{fleet.namespace}/clusters/c/status"
    refuse = {
        "do": "answer",
        "code": 403,
        "count": 2,
        "match": {"method": "PATCH", "path": path, "user_agent": "^muster/"},
    }
    site.server.faults(refuse)
    fleet.report("n", False)

    site.muster.told("status_failed", SOON_S, parent=f"{fleet.namespace}/c", reason="Forbidden")
    fleet.agree(10.0)

    site.nothing_else_stopped()


# --- settings ---------------------------------------------------------------------------------------------------------


def words(folder: Path, *arguments: str) -> tuple[int, str]:
    command = [sys.executable, *ENTRY, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, cwd=folder, check=False)
    assert "Traceback" not in done.stdout + done.stderr
    return done.returncode, done.stdout + done.stderr


def test_invalid_settings_are_named_all_at_once_with_what_would_do(tmp_path: Path) -> None:
    """Nobody wants to learn of five mistakes in five runs. Nothing is started, so nothing is half done."""
    (tmp_path / "muster.yaml").write_text("batchMax: many\nqouta: 5/1s\ndebounce: 100\n")

    code, said = words(
        tmp_path, "run", "--config", "muster.yaml", "--quota", "ten", "--max-unhealthy", "150%",
        "--backend-url", "ftp://backend", "--cooldown", "0s",
    )  # fmt: skip

    assert code == 2
    lines = said.splitlines()
    for name in ("'qouta' is no setting: did you mean quota", "batch-max (muster.yaml:1): found 'many'", "quota (flag"):
        assert [line for line in lines if name in line], name
    for name in ("max-unhealthy", "backend-url", "cooldown", "debounce"):
        (line,) = (line for line in lines if line.startswith(f"muster: {name} ("))
        assert ": found " in line
        assert ", expected " in line
    assert "operator_starting" not in said


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--kubeconfig", "nowhere.yaml"], ("nowhere.yaml", "give --kubeconfig")),
        (["--kubeconfig", "broken.yaml"], ("broken.yaml", "give --kubeconfig")),
        (["--context", "elsewhere"], ("elsewhere", "--context")),
        (["--backend-url", ""], ("backend-url",)),
        (["--listen", "127.0.0.1:PORT"], ("cannot listen at 127.0.0.1:PORT", "choose another --listen")),
    ],
    ids=lambda each: each[0].lstrip("-") if isinstance(each, list) else "",
)
def test_what_no_retry_can_cure_ends_it_at_once(
    site: Site, tmp_path: Path, arguments: list[str], named: tuple[str, ...]
) -> None:
    """A process that waits for a typing error to go away helps nobody: exit code 2, and the sentence that says why."""
    (tmp_path / "broken.yaml").write_text("clusters: [\n")
    taken = site.muster.url.rpartition(":")[2]
    given = {"--kubeconfig": str(site.server.kubeconfig), "--backend-url": site.backend.url, "--listen": "off"}
    given |= {arguments[0]: arguments[1].replace("PORT", taken)}

    code, said = words(tmp_path, "run", *(word for pair in given.items() for word in pair))

    assert code == 2, said
    for name in named:
        assert name.replace("PORT", taken) in " ".join(said.split())
    site.nothing_else_stopped()
