"""What the reader's two files share: who listens to a reader, and how one is started. And a port where nobody does."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from actors.core.builtin import MUSTER_FLEET
from actors.core.events import Fact
from actors.core.fleet import FleetDefinition
from actors.core.model import Child, Record
from actors.core.ports import Objects, StreamChanged
from actors.edge.dispatcher import SystemClock
from actors.edge.kube import KubeClient
from actors.edge.reader import KubeReader
from actors.edge.reader_choice import ProcessReader
from actors.edge.reader_process import HUNG_S


class Listener:
    """A watcher that believes what it is told: ``held`` is its records by name; ``mail`` everything."""

    def __init__(self) -> None:
        self.by_uid: dict[str, Record] = {}
        self.mail: list[Objects | StreamChanged] = []
        self.facts: list[Fact] = []
        self.up: bool | None = None
        self.synced = False
        self.reason = ""

    def __call__(self, mail: Objects | StreamChanged) -> None:
        self.mail.append(mail)
        if isinstance(mail, StreamChanged):
            self.up, self.reason = mail.up, mail.reason
            return
        if mail.replace:
            self.by_uid, self.synced = {}, True
        for uid, record in mail.entries.items():
            if record is None:
                self.by_uid.pop(uid, None)
            else:
                self.by_uid[uid] = record

    @property
    def held(self) -> dict[str, bool | None]:
        return {record.name: record.healthy for record in list(self.by_uid.values()) if isinstance(record, Child)}

    def child(self, name: str) -> Child:
        return next(each for each in self.by_uid.values() if isinstance(each, Child) and each.name == name)

    def of(self, kind: type[Any]) -> list[Any]:
        return [each for each in [*self.facts, *self.mail] if isinstance(each, kind)]


def _write_config(path: Path, url: str) -> Path:
    path.write_text(json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": "here",
        "clusters": [{"name": "c", "cluster": {"server": url}}], "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
    }))  # fmt: skip
    return path


@pytest.fixture
def write_config() -> Callable[[Path, str], Path]:
    return _write_config


AnyReader = KubeReader | ProcessReader
Start = Callable[..., tuple[AnyReader, Listener]]


@pytest.fixture
def start(request: pytest.FixtureRequest) -> Iterator[Start]:
    """Starts a reader on a client; it is stopped at the end, and stopping is quick. Its parameter: thread or process."""
    readers: list[AnyReader] = []
    in_process = getattr(request, "param", "thread") == "process"

    def starting(
        client: KubeClient,
        namespace: str = "",
        *,
        kind: str = "ComputeNode",
        fleet: FleetDefinition = MUSTER_FLEET,
        **options: Any,
    ) -> tuple[AnyReader, Listener]:
        listener = Listener()
        facts = listener.facts.append
        hung_s = options.pop("hung_s", HUNG_S)
        reader: AnyReader
        reader = KubeReader(client, fleet, facts=facts, namespace=namespace, audit_s=None, **options)
        if in_process:
            reader = ProcessReader(
                reader, fleet, facts=facts, clock=SystemClock(), random=Random(), kubeconfig=client._kubeconfig or "",
                namespace=namespace, audit_s=None, hung_s=hung_s, **options,
            )  # fmt: skip
        readers.append(reader)
        reader.start(kind, 1, listener)
        return reader, listener

    yield starting
    for reader in readers:
        began = time.monotonic()
        reader.stop(50.0)
        assert time.monotonic() - began < 20.0  # it waits for nobody: it would have been fifty


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """Bound, and nobody listens: a connection is refused."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]
