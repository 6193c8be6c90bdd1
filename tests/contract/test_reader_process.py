"""A kind read by a real process: whatever becomes of it, the state is right again, and nothing of it outlives anybody."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from actors.core.builtin import MUSTER_FLEET
from actors.core.events import Listed, ReaderDied, ReaderStarted, StreamDown
from actors.core.model import Child, ParentKey
from actors.core.ports import Objects, StreamChanged
from actors.edge.dispatcher import SystemClock
from actors.edge.kube import KubeClient
from actors.edge.reader import KubeReader
from actors.edge.reader_choice import ProcessReader
from actors.sim.apiserver import ApiServerModel
from actors.sim.crds import crd_documents
from actors.sim.serve import HttpServer
from actors.sim.serve_api import ApiServerFace

KIND, NODES = "ComputeNode", "computenodes.muster.dev"
Start = Callable[..., tuple[ProcessReader, Any]]
WriteConfig = Callable[[Path, str], Path]
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
END = {"k8s.io/initial-events-end": "true"}

pytestmark = pytest.mark.parametrize("start", ["process"], indirect=True)


def until(condition: Callable[[], Any], within_s: float = 30.0) -> None:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() < began + within_s, "it did not happen"
        time.sleep(0.01)


def running(pid: int) -> bool:
    """Not even as a zombie of somebody who will never ask for it: that is init's business."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Served:
    """The model API server over HTTP, changed from the inside."""

    def __init__(self, folder: Path, write_config: WriteConfig) -> None:
        self.model = ApiServerModel(clock=time.time)
        for document in crd_documents():
            self.model.create("customresourcedefinitions.apiextensions.k8s.io", document)
        self.server = HttpServer(ApiServerFace(self.model, bookmark_s=0.2).handle)
        self.server.__enter__()
        self.config = write_config(folder / "config", f"http://127.0.0.1:{self.server.port}")
        self.client = KubeClient(self.config)
        self.client.request("POST", "/api/v1/namespaces", body={"metadata": {"name": "ns"}})
        self._path = next(ref for ref in MUSTER_FLEET.kinds if ref.kind == KIND).path

    def create(self, name: str, *, healthy: bool) -> None:
        body = {"metadata": {"name": name}, "spec": {"clusterRef": {"name": "c"}}}
        body |= {"apiVersion": "muster.dev/v1alpha1", "kind": KIND}
        self.client.request("POST", self._path("ns"), body=body)
        self.report(name, healthy=healthy)

    def report(self, name: str, *, healthy: bool) -> None:
        self.client.request(
            "PATCH", self._path("ns", name) + "/status", body={"status": {"healthy": healthy}},
            content_type="application/merge-patch+json",
        )  # fmt: skip

    def delete(self, name: str) -> None:
        self.client.request("DELETE", self._path("ns", name))

    def close(self) -> None:
        self.client.close()
        self.server.__exit__(None, None, None)


@pytest.fixture
def api(tmp_path: Path, write_config: WriteConfig) -> Iterator[Served]:
    served = Served(tmp_path, write_config)
    yield served
    served.close()


def pid_of(reader: ProcessReader) -> int:
    return int(reader.statistics()[KIND]["pid"])


# --- it dies ----------------------------------------------------------------------------------------------------------
def test_killed_in_mid_stream_it_is_told_down_and_another_one_lists(api: Served, start: Start) -> None:
    api.create("a", healthy=True)
    api.create("ghost", healthy=True)
    reader, listener = start(api.client)
    until(lambda: listener.synced and listener.up)
    first = pid_of(reader)
    os.kill(first, signal.SIGKILL)
    until(lambda: listener.of(ReaderDied))
    api.delete("ghost")
    api.report("a", healthy=False)
    until(lambda: listener.held == {"a": False} and listener.up)

    (death,) = listener.of(ReaderDied)
    assert (death.pid, death.reason) == (first, "killed")
    assert "SIGKILL; usually it was out of memory" in death.message
    down = [mail for mail in listener.of(StreamChanged) if not mail.up]
    assert [(mail.reason, mail.message) for mail in down] == [("ReaderDied", death.message)]
    after = listener.mail[listener.mail.index(down[0]) + 1 :]
    assert next(mail for mail in after if isinstance(mail, Objects)).replace
    assert {mail.epoch for mail in listener.mail} == {1}
    assert pid_of(reader) != first
    assert reader.statistics()[KIND]["deaths"] == 1


def test_another_one_is_told_all_timeouts_and_starts_the_clocks_anew(api: Served, start: Start) -> None:
    api.create("a", healthy=True)
    reader, listener = start(api.client)
    reader.set_timeout(KIND, ParentKey("ns", "c"), 1.0)
    reader.set_timeout(KIND, ParentKey("ns", "other"), 5.0)
    reader.set_timeout(KIND, ParentKey("ns", "other"), None)
    until(lambda: listener.synced and listener.child("a").silent)
    count = len(listener.mail)
    os.kill(pid_of(reader), signal.SIGKILL)
    until(lambda: any(isinstance(mail, Objects) and mail.replace for mail in listener.mail[count:]))
    until(lambda: listener.child("a").silent)

    listed = next(mail for mail in listener.mail[count:] if isinstance(mail, Objects))
    (record,) = listed.entries.values()
    assert isinstance(record, Child)
    assert not record.silent, "first sight starts its clock"


def test_one_that_hangs_is_ended_and_replaced(api: Served, start: Start) -> None:
    api.create("a", healthy=True)
    reader, listener = start(api.client, hung_s=2.0)
    until(lambda: listener.synced and reader.statistics()[KIND]["synced"])
    first = pid_of(reader)
    os.kill(first, signal.SIGSTOP)
    reader.relist(KIND)  # nobody waits for it
    api.report("a", healthy=False)
    until(lambda: listener.held == {"a": False})

    assert [death.reason for death in listener.of(ReaderDied)] == ["hung"]
    assert not Path(f"/proc/{first}").exists(), "killed, and asked for"


def test_a_new_epoch_and_a_death_at_once_end_in_the_new_epoch(api: Served, start: Start) -> None:
    api.create("a", healthy=True)
    reader, listener = start(api.client)
    until(lambda: listener.synced)
    second = type(listener)()
    os.kill(pid_of(reader), signal.SIGKILL)
    reader.start(KIND, 2, second)
    until(lambda: second.synced and second.up)

    assert second.held == {"a": True}
    assert {mail.epoch for mail in second.mail} == {2}


def test_a_terminals_interrupt_and_a_polite_end_are_none_of_its_business(api: Served, start: Start) -> None:
    api.create("a", healthy=True)
    _, listener = start(api.client)
    until(lambda: listener.of(ReaderStarted))
    first = listener.of(ReaderStarted)[0].pid
    for _ in range(20):  # from its first instant on
        os.kill(first, signal.SIGINT)
        os.kill(first, signal.SIGTERM)
        time.sleep(0.02)
    until(lambda: listener.synced)
    os.kill(first, signal.SIGINT)
    api.report("a", healthy=False)
    until(lambda: listener.held == {"a": False})

    assert listener.of(ReaderDied) == []


# --- it ends ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("stopped", [False, True], ids=["alive", "stopped"])
def test_stop_leaves_neither_process_nor_thread(api: Served, start: Start, stopped: bool) -> None:
    reader, listener = start(api.client)
    until(lambda: listener.synced)
    pid = pid_of(reader)
    if stopped:
        os.kill(pid, signal.SIGSTOP)
    reader.stop(30.0)

    assert not Path(f"/proc/{pid}").exists()
    assert [each.name for each in threading.enumerate() if each.name.startswith("reader-")] == []
    assert listener.of(ReaderDied) == []
    reader.start(KIND, 2, listener)
    assert [each.name for each in threading.enumerate() if each.name.startswith("reader-")] == []


PROGRAM = """
import sys, time
from random import Random
from actors.core.builtin import MUSTER_FLEET
from actors.edge.dispatcher import SystemClock
from actors.edge.kube import KubeClient
from actors.edge.reader import KubeReader
from actors.edge.reader_choice import ProcessReader
facts, config = lambda fact: None, sys.argv[1]
thread = KubeReader(KubeClient(config), MUSTER_FLEET, facts=facts)
reader = ProcessReader(thread, MUSTER_FLEET, facts=facts, clock=SystemClock(), random=Random(), kubeconfig=config)
reader.start("ComputeNode", 1, lambda mail: print(reader.statistics()["ComputeNode"]["pid"], flush=True))
time.sleep(60)
"""


def test_it_does_not_outlive_an_operator_that_is_killed(api: Served, start: Start) -> None:
    operator = subprocess.Popen([sys.executable, "-c", PROGRAM, str(api.config)], stdout=subprocess.PIPE, text=True)
    with operator:
        assert operator.stdout is not None
        pid = int(operator.stdout.readline())
        assert running(pid)
        operator.kill()
    until(lambda: not running(pid))


# --- its pipes --------------------------------------------------------------------------------------------------------
def event(type_: str, name: str = "", version: int = 0, **more: Any) -> bytes:
    metadata: dict[str, Any] = {"resourceVersion": str(version)}
    if type_ == "BOOKMARK":
        obj: dict[str, Any] = {"metadata": metadata | {"annotations": more}}
    else:
        metadata |= {"name": name, "namespace": "ns", "uid": name}
        obj = {"metadata": metadata, "spec": {"clusterRef": {"name": "c"}}, "status": more}
    return json.dumps({"type": type_, "object": obj}).encode() + b"\n"


class Pump:
    """Answers each watch with what ``script`` yields, as fast as it is taken."""

    def __init__(self, script: Callable[[int], Iterator[bytes]]) -> None:
        self.served = 0
        self.done = threading.Event()
        self._script = script
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listening.accept()
            except OSError:
                return
            self.served += 1
            threading.Thread(target=self._serve, args=(sock, self.served), daemon=True).start()

    def _serve(self, sock: socket.socket, number: int) -> None:
        with sock:
            try:
                sock.recv(65536)
                sock.sendall(HEAD)
                for data in self._script(number):
                    sock.sendall(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            except OSError:
                pass

    def close(self) -> None:
        self.done.set()
        self._listening.close()


@pytest.fixture
def pump(
    start: Start, tmp_path: Path, write_config: WriteConfig
) -> Iterator[Callable[..., tuple[Pump, Callable[..., tuple[ProcessReader, Any]]]]]:
    made: list[Pump] = []

    def begin(script: Callable[[int], Iterator[bytes]]) -> tuple[Pump, Callable[..., tuple[ProcessReader, Any]]]:
        made.append(Pump(script))
        client = KubeClient(write_config(tmp_path / "config", made[-1].url))
        return made[-1], lambda **options: start(client, **options)

    yield begin
    for each in made:
        each.close()


def test_killed_in_the_middle_of_a_list_another_one_lists_from_the_beginning(pump: Any, start: Start) -> None:
    names = [f"n{number}" for number in range(5_000)]

    def script(number: int) -> Iterator[bytes]:
        for name in names[: 2_500 if number == 1 else None]:
            yield event("ADDED", name, 1, healthy=number > 1)
        if number > 1:
            yield event("BOOKMARK", version=100, **END)
        server.done.wait(20.0)

    server, begin = pump(script)
    reader, listener = begin()
    until(lambda: server.served == 1 and listener.of(ReaderStarted))
    time.sleep(0.3)  # somewhere in the list
    assert listener.of(Objects) == []
    os.kill(pid_of(reader), signal.SIGKILL)
    until(lambda: listener.synced)

    assert [len(mail.entries) for mail in listener.of(Objects)] == [5_000], "one replacement, however many parts"
    assert set(listener.held.values()) == {True}


def test_another_one_believes_no_list_that_is_older_than_what_was_seen(pump: Any, start: Start) -> None:
    def script(number: int) -> Iterator[bytes]:
        for name in ("a", "ghost") if number == 2 else ("a",):
            yield event("ADDED", name, 1, healthy=True)
        yield event("BOOKMARK", version={1: 100, 2: 90}.get(number, 110), **END)
        if number == 1:
            yield event("MODIFIED", "a", 105, healthy=False)
        if number != 2:
            server.done.wait(20.0)

    server, begin = pump(script)
    reader, listener = begin()
    until(lambda: listener.held == {"a": False})
    os.kill(pid_of(reader), signal.SIGKILL)
    until(lambda: len(listener.of(Listed)) == 2)

    assert server.served >= 3
    assert "the server lags" in listener.of(StreamDown)[0].message
    assert {record.name for mail in listener.of(Objects) for record in mail.entries.values()} == {"a"}


def test_while_nobody_takes_its_mail_it_reads_on_and_keeps_the_newest_only(pump: Any, start: Start) -> None:
    changes, nodes = 40_000, 50

    def script(number: int) -> Iterator[bytes]:
        for node in range(nodes):
            yield event("ADDED", f"n{node}", 1, healthy=True)
        yield event("BOOKMARK", version=100, **END)
        taken.wait(20.0)
        for first in range(0, changes, 100):
            yield b"".join(
                event("MODIFIED", f"n{change % nodes}", 101 + change, healthy=change // nodes % 2 == 0, of=change)
                for change in range(first, first + 100)
            )
        all_read.set()
        server.done.wait(20.0)

    taken, all_read, go_on = threading.Event(), threading.Event(), threading.Event()
    server, begin = pump(script)
    reader, listener = begin()
    until(lambda: listener.synced and listener.up)
    process = reader._processes[KIND]
    run = process._wishes.run
    assert run is not None
    mails: list[Objects] = []

    def slow(mail: Objects | StreamChanged) -> None:
        go_on.wait(20.0)
        run.deliver(mail)
        mails.extend([mail] if isinstance(mail, Objects) else [])

    process._wishes.run = type(run)(run.epoch, slow)
    taken.set()
    assert all_read.wait(20.0), "the socket is read, whoever sleeps"
    go_on.set()
    last = 101 + changes - 1
    until(lambda: max((record.version for record in listener.by_uid.values()), default=0) == last)

    assert sum(len(mail.entries) for mail in mails) < changes / 2
    assert {record.version for record in listener.by_uid.values()} == set(range(last - nodes + 1, last + 1))


def test_a_credential_plugin_meets_neither_pipe(api: Served, start: Start, tmp_path: Path) -> None:
    """It reads its input to the end and writes to its output, as any program may."""
    plugin = tmp_path / "plugin.py"
    plugin.write_text(
        "import json, sys; sys.stdin.read(); print(json.dumps({'apiVersion': 'client.authentication.k8s.io/v1', "
        "'kind': 'ExecCredential', 'status': {'token': 'secret'}}))"
    )
    config = json.loads(api.config.read_text())
    config["users"][0]["user"] = {
        "exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": sys.executable, "args": [str(plugin)],
                 "interactiveMode": "Never"}
    }  # fmt: skip
    other = tmp_path / "with-plugin"
    other.write_text(json.dumps(config))
    api.create("a", healthy=True)
    listener = start(api.client)[1]
    reader = ProcessReader(
        KubeReader(api.client, MUSTER_FLEET, facts=listener.facts.append), MUSTER_FLEET, facts=listener.facts.append,
        clock=SystemClock(), random=Random(), kubeconfig=str(other),
    )  # fmt: skip
    second = type(listener)()
    try:
        reader.start(KIND, 1, second)
        until(lambda: second.synced and second.held == {"a": True})
        reader.relist(KIND)
        until(lambda: len(second.of(Objects)) == 2)
    finally:
        reader.stop(20.0)


def test_a_connection_that_cannot_be_made_is_told_in_words(api: Served, start: Start, tmp_path: Path) -> None:
    facts: list[Any] = []
    missing = str(tmp_path / "nowhere")
    reader = ProcessReader(
        KubeReader(api.client, MUSTER_FLEET, facts=facts.append), MUSTER_FLEET, facts=facts.append,
        clock=SystemClock(), random=Random(), kubeconfig=missing,
    )  # fmt: skip
    mail: list[Any] = []
    try:
        reader.start(KIND, 1, mail.append)
        until(lambda: mail)
    finally:
        reader.stop(20.0)

    assert f"no usable connection to a cluster: {missing}" in mail[0].message
    assert mail[0].reason == "ReaderDied"
