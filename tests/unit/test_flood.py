"""The mail of a flood gathers for a moment, and only while more of it is here already."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from io import BufferedReader

import pytest

from actors.core.errors import Unreachable
from actors.core.ports import Objects, StreamChanged
from actors.edge.body import GATHER_S, Flood
from tests.unit.test_stream import Bench, bookmark, line, node

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


@pytest.fixture
def up() -> Bench:
    """A stream that has listed one node and watches."""
    bench = Bench()
    bench.next()
    bench.open()
    bench.stream.feed(line("ADDED", node("a", 1)) + b"\n" + bookmark(1, end=True) + b"\n", bench.now)
    bench.mail.clear()
    return bench


def news(bench: Bench) -> list[list[str]]:
    """The uids of each mail."""
    return [sorted(mail.entries) for mail in bench.mail if isinstance(mail, Objects)]


def test_chunks_of_one_flood_are_one_mail(up: Bench) -> None:
    up.stream.feed(line("ADDED", node("b", 2)) + b"\n", up.now, more=True)
    assert news(up) == []

    up.stream.feed(line("MODIFIED", node("a", 3, healthy=False)) + b"\n", up.now)
    assert news(up) == [["a", "b"]]


def test_what_waits_goes_before_the_end_of_its_stream_is_told(up: Bench) -> None:
    up.stream.feed(line("ADDED", node("b", 2)) + b"\n", up.now, more=True)
    up.stream.ended(up.now, Unreachable("reset"))

    assert [type(mail) for mail in up.mail] == [Objects, StreamChanged]
    assert news(up) == [["b"]]


def test_what_waits_goes_with_a_tick(up: Bench) -> None:
    up.stream.feed(line("ADDED", node("b", 2)) + b"\n", up.now, more=True)
    up.stream.tick(up.now)

    assert news(up) == [["b"]]


def test_what_waits_of_one_epoch_is_in_the_first_list_of_the_next() -> None:
    bench = Bench()
    bench.next()
    bench.open()
    bench.stream.feed(bookmark(1, end=True) + b"\n", bench.now)
    bench.stream.feed(line("ADDED", node("b", 2)) + b"\n", bench.now, more=True)
    bench.stream.close(bench.now)
    stream = bench.new_stream(2)
    stream.action(bench.now)
    bench.open()
    bench.mail.clear()
    stream.feed(line("ADDED", node("b", 2)) + b"\n" + bookmark(2, end=True) + b"\n", bench.now)

    assert news(bench) == [["b"]]
    assert [mail.replace for mail in bench.mail if isinstance(mail, Objects)] == [True]
