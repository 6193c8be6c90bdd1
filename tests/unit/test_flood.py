"""The mail of a flood gathers for a moment, and only while more of it is here already."""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Iterator
from io import BufferedReader

import pytest

from actors.core.builtin import MUSTER_FLEET
from actors.core.decode import Decoder
from actors.core.errors import Unreachable
from actors.core.intake import Intake
from actors.core.ports import Objects, StreamChanged
from actors.core.stream import Stream
from actors.edge.body import GATHER_S, Flood

LARGE, SMALL = bytes(64 * 1024), bytes(2400)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, BufferedReader]]:
    """What a server writes to, and the file of a body that is read from it."""
    server, client = socket.socketpair()
    file = client.makefile("rb")
    with server, client, file:
        yield server, file


def test_a_large_piece_waits_for_more_that_is_here(pair: tuple[socket.socket, BufferedReader]) -> None:
    server, file = pair
    flood = Flood(file)
    server.send(b"more")

    assert flood.goes_on(LARGE, 0.0)


def test_nothing_waits_for_what_is_not_here(pair: tuple[socket.socket, BufferedReader]) -> None:
    _, file = pair

    assert not Flood(file).goes_on(LARGE, 0.0)


def test_what_came_alone_does_not_wait(pair: tuple[socket.socket, BufferedReader]) -> None:
    server, file = pair
    server.send(b"more")

    assert not Flood(file).goes_on(SMALL, 0.0)
    assert not Flood(None).goes_on(LARGE, 0.0)


def test_nothing_waits_longer_than_a_moment(pair: tuple[socket.socket, BufferedReader]) -> None:
    """And after it another moment begins."""
    server, file = pair
    flood = Flood(file)
    server.send(b"more")

    instants = [0.0, GATHER_S / 2, GATHER_S, GATHER_S, 1.5 * GATHER_S, 2 * GATHER_S]
    assert [flood.goes_on(LARGE, now) for now in instants] == [True, True, False, True, True, False]


def node(name: str, version: int, *, healthy: bool = True, type_: str = "ADDED") -> bytes:
    """A line of a watch."""
    obj = {
        "metadata": {"name": name, "namespace": "ns", "uid": name, "resourceVersion": str(version)},
        "spec": {"clusterRef": {"name": "c"}},
        "status": {"healthy": healthy, "lastHeartbeatTime": f"b{version}"},
    }
    return json.dumps({"type": type_, "object": obj}).encode() + b"\n"


def listed(version: int) -> bytes:
    """The line that ends a streamed list."""
    meta = {"resourceVersion": str(version), "annotations": {"k8s.io/initial-events-end": "true"}}
    return json.dumps({"type": "BOOKMARK", "object": {"metadata": meta}}).encode() + b"\n"


class Bench:
    """A stream that has listed one node and watches, at 0 s."""

    def __init__(self) -> None:
        self.mail: list[Objects | StreamChanged] = []
        self.intake = Intake("ComputeNode")
        self.stream = self.new_stream(1)
        self.stream.feed(node("a", 1) + listed(1), 0.0)
        self.mail.clear()

    def new_stream(self, epoch: int) -> Stream:
        self.stream = Stream(
            Decoder(MUSTER_FLEET, "ComputeNode"), self.intake, epoch=epoch, deliver=self.mail.append,
            facts=lambda _fact: None, random=random.Random(1),
        )  # fmt: skip
        self.stream.action(0.0)
        self.stream.opened(0.0, None)
        return self.stream

    def news(self) -> list[list[str]]:
        """The uids of each mail."""
        return [sorted(mail.entries) for mail in self.mail if isinstance(mail, Objects)]


def test_chunks_of_one_flood_are_one_mail() -> None:
    bench = Bench()
    bench.stream.feed(node("b", 2), 0.0, more=True)
    assert bench.news() == []

    bench.stream.feed(node("a", 3, healthy=False, type_="MODIFIED"), 0.0)
    assert bench.news() == [["a", "b"]]


def test_what_waits_goes_before_the_end_of_its_stream_is_told() -> None:
    bench = Bench()
    bench.stream.feed(node("b", 2), 0.0, more=True)
    bench.stream.ended(0.0, Unreachable("reset"))

    assert [type(mail) for mail in bench.mail] == [Objects, StreamChanged]
    assert bench.news() == [["b"]]


def test_what_waits_goes_with_a_tick() -> None:
    bench = Bench()
    bench.stream.feed(node("b", 2), 0.0, more=True)
    bench.stream.tick(0.0)

    assert bench.news() == [["b"]]


def test_what_waits_of_one_epoch_is_in_the_first_list_of_the_next() -> None:
    bench = Bench()
    bench.stream.feed(node("b", 2), 0.0, more=True)
    bench.stream.close(0.0)
    bench.new_stream(2)
    bench.stream.feed(node("a", 1) + node("b", 2) + listed(2), 0.0)

    assert bench.news() == [["a", "b"]]
    assert [mail.replace for mail in bench.mail if isinstance(mail, Objects)] == [True]
