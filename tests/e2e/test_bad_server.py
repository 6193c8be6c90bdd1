"""The API server is not there, refuses, lacks a kind, or is none: named with the cure, waited for, and no reason to end."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from actors.sim.crds import crd_documents
from actors.sim.envtest import free_ports
from actors.sim.live import Api, BackendServer, Fleet, ModelServer, Operator, until

ENTRY = [str(Path(__file__).parents[2] / "supervisor.py")]
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
SOON_S = 5.0
FAST = {"cold-start": "0s", "debounce": "20ms"}


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Callable[..., Operator]]:
    """An operator with a kubeconfig for any URL, stopped after the test."""
    with ExitStack() as stack:

        def start(url: str, backend_url: str = "http://127.0.0.1:9") -> Operator:
            config = tmp_path / "kubeconfig"
            config.write_text(json.dumps({
                "apiVersion": "v1", "kind": "Config", "current-context": "here",
                "clusters": [{"name": "c", "cluster": {"server": url}}], "users": [{"name": "u", "user": {"token": "t0"}}],
                "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
            }))  # fmt: skip
            return stack.enter_context(
                Operator(ENTRY, tmp_path, kubeconfig=config, backend_url=backend_url, options=FAST)
            )

        yield start


def not_ready_because(muster: Operator, word: str) -> None:
    """It runs, is alive, and /readyz says why it is not ready: as soon as the watcher, which is asked, has heard of it, too."""

    def says_why() -> bool:
        code, answer = Api(muster.url).call("GET", "/readyz")
        assert code == 503
        return word in json.dumps(answer)

    until(says_why, SOON_S, lambda: Api(muster.url).call("GET", "/readyz"))
    assert muster.probe("/healthz") == 200


def test_an_unreachable_api_server_is_waited_for(tmp_path: Path, alone: Callable[..., Operator]) -> None:
    """In a new cluster the operator may well be up before the server is. It is no reason to end, nor to be asked twice."""
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    muster = alone(url)
    line = muster.told("stream_down", SOON_S)
    assert line["reason"] == "Unreachable"
    assert url in line["message"]
    assert "is it running, and is the address right?" in line["message"]
    not_ready_because(muster, "is it running")

    with ModelServer(tmp_path, options=["--port", str(port)]) as server:
        fleet = Fleet(Api(server.url))
        fleet.cluster("c")
        fleet.node("n", "c")
        muster.ready(10.0)
        fleet.agree(SOON_S)


@pytest.mark.parametrize(
    ("code", "reason", "words"),
    [
        (401, "Unauthorized", ("the credentials are not accepted", "renew the token")),
        (403, "Forbidden", ("allow the verb", "muster.dev", "kubectl apply -k manifests/rbac")),
    ],
)
def test_a_refusal_of_the_api_server_is_named_with_its_cure(
    tmp_path: Path, alone: Callable[..., Operator], code: int, reason: str, words: tuple[str, ...]
) -> None:
    """At the start and in the middle: permission may be taken away, and be given back, under a running operator."""
    with ModelServer(tmp_path) as server:
        fleet = Fleet(Api(server.url))
        fleet.cluster("c")
        fleet.node("n", "c")
        refuse = {"do": "answer", "code": code, "match": {"user_agent": "^muster/"}, "message": "no, says the test"}
        server.faults(refuse)
        muster = alone(server.url)
        line = muster.told("stream_down", SOON_S, reason=reason)
        for word in (server.url, str(code), "no, says the test", *words):
            assert word in line["message"]
        not_ready_because(muster, words[0])
        server.faults({"do": "clear"})
        muster.ready(10.0)
        fleet.agree(SOON_S)

        downs = len(muster.lines("stream_down"))
        server.faults(refuse, {"do": "drop", "match": {"user_agent": "^muster/"}})
        until(lambda: len(muster.lines("stream_down", reason=reason)) > 3, SOON_S, "every stream to say so")
        fleet.report("n", False)
        time.sleep(2.0)
        assert len(muster.lines("stream_down")) - downs < 60, "no hot loop"
        server.faults({"do": "clear"})
        fleet.agree(10.0)
        assert muster.lines("actor_crashed") == []
        assert muster.stop() == 0


def test_a_missing_definition_is_named_and_waited_for(tmp_path: Path, alone: Callable[..., Operator]) -> None:
    """Missing at the start, no status is written (half a fleet would be counted); removed later, its nodes are gone."""
    with ModelServer(tmp_path) as server:
        api = Api(server.url)
        definition = next(one for one in crd_documents() if one["metadata"]["name"] == "storagenodes.muster.dev")
        api.do("DELETE", f"{CRDS}/storagenodes.muster.dev")
        fleet = Fleet(api)
        fleet.cluster("c")
        fleet.node("n", "c")
        muster = alone(server.url)
        line = muster.told("stream_down", SOON_S, kind="StorageNode")
        assert line["reason"] == "KindMissing"
        assert "storagenodes" in line["message"]
        assert "kubectl apply -k manifests/crd" in line["message"]
        not_ready_because(muster, "kubectl apply -k manifests/crd")
        assert fleet.status("c") == {}

        api.do("POST", CRDS, definition)
        muster.ready(10.0)
        fleet.node("s", "c", "StorageNode")
        fleet.agree(SOON_S)
        api.do("DELETE", f"{CRDS}/storagenodes.muster.dev")
        fleet.report("n", False)  # the other kinds go on meanwhile
        until(lambda: fleet.counts()["c"][2] == 1, SOON_S, fleet.counts)
        api.do("POST", CRDS, definition)
        until(lambda: fleet.counts()["c"] == (1, 0, 1, 0), 10.0, fleet.counts)
        assert muster.lines("actor_crashed") == []


def test_what_answers_is_no_api_server(tmp_path: Path, alone: Callable[..., Operator]) -> None:
    """A wrong port, a captive portal: it answers, but not what it should."""
    with BackendServer(tmp_path) as other:
        muster = alone(other.url)

        line = muster.told("stream_down", SOON_S)

        assert other.url in line["message"]
        assert "404" in line["message"]
        not_ready_because(muster, "is not listed yet")
