"""The network that tests break: what it does to open connections and to new ones, over real sockets."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from actors.sim.proxy import Mode, TcpProxy


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that sends back what it gets."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve(connection: socket.socket) -> None:
            with connection, contextlib.suppress(ConnectionError):
                while data := connection.recv(100):
                    connection.sendall(data)

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxy(echo: int) -> Iterator[TcpProxy]:
    with TcpProxy(echo) as proxy:
        yield proxy


def connect(proxy: TcpProxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=30.0)


def answers(connection: socket.socket, text: bytes, within_s: float = 30.0) -> bool:
    """Whether ``text`` comes back; ConnectionError where the connection is gone."""
    connection.settimeout(within_s)
    connection.sendall(text)
    try:
        back = connection.recv(100)
    except TimeoutError:
        return False
    if not back:
        raise ConnectionResetError("closed")
    return back == text


def silent(connection: socket.socket, text: bytes) -> bool:
    return not answers(connection, text, 0.3)


def answers_for_ever(connection: socket.socket) -> None:
    for _ in range(20):
        answers(connection, b"again")


def test_it_passes(proxy: TcpProxy) -> None:
    with connect(proxy) as first, connect(proxy) as second:
        assert answers(first, b"one")
        assert answers(second, b"two")
        assert answers(first, b"three")
    assert proxy.connections_count == 2


def test_a_cut_resets_open_connections_and_new_ones_and_is_over_when_it_is_over(proxy: TcpProxy) -> None:
    with connect(proxy) as before:
        assert answers(before, b"one")
        proxy.mode = Mode.CUT
        with pytest.raises(ConnectionError):
            answers_for_ever(before)
    with pytest.raises(ConnectionError), connect(proxy) as during:  # the reset may come before connect has returned
        answers(during, b"three")
    proxy.mode = Mode.PASS
    with connect(proxy) as after:
        assert answers(after, b"four")
    assert proxy.connections_count == 3


def test_what_has_swallowed_once_stays_silent_and_open_and_new_connections_work(proxy: TcpProxy) -> None:
    """A hole in a stream of bytes is worse than silence: whoever resumed it would read half an event as a whole one."""
    with connect(proxy) as before:
        assert answers(before, b"one")
        proxy.mode = Mode.SWALLOW
        threading.Event().wait(0.15)  # it has looked at the mode
        assert silent(before, b"two")
        with connect(proxy) as during:
            assert silent(during, b"three")
            proxy.mode = Mode.PASS
            assert silent(before, b"four")
            assert silent(during, b"five")
        with connect(proxy) as after:
            assert answers(after, b"six")


def test_a_target_that_does_not_listen_closes_the_connection() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with (
            TcpProxy(nobody.getsockname()[1]) as proxy,
            connect(proxy) as connection,
            pytest.raises(ConnectionError),
        ):
            answers_for_ever(connection)
