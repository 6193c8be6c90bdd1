"""The server: one request to a connection, limits on all that a client chooses, and an answer while every worker is stuck."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from actors.edge.dispatcher import ThreadDispatcher
from actors.edge.settings import Settings
from actors.ops.inspect import server as server_module
from actors.ops.inspect import tapping
from actors.ops.inspect.client import NoOperator, Told, ask
from actors.ops.inspect.inspection import Inspection
from actors.ops.inspect.memory import Memory
from actors.ops.inspect.place import PlaceError, bind, peer, release
from actors.ops.inspect.protocol import ANSWER_MAX, REQUEST_MAX, answer_line, read_answer, request_line
from actors.ops.inspect.registry import Args, Caller
from actors.ops.inspect.server import CONNECTIONS_MAX, ShellServer
from actors.ops.inspect.stacks import turns_text
from actors.sim.harness import SimulatedFleet

Serve = Callable[..., ShellServer]


def raw(path: Path, data: bytes, *, shut: bool = False) -> bytes:
    """What comes back for these bytes until the other end hangs up."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(str(path))
        with contextlib.suppress(BrokenPipeError):
            connection.sendall(data)
            if shut:
                connection.shutdown(socket.SHUT_WR)
        got = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := connection.recv(65536):
                got += piece
        return got


def well(path: Path) -> bool:
    return ask(path, ["version"]).ok


# --- the protocol -----------------------------------------------------------------------------------------------------
def test_a_request_is_a_line_and_so_is_its_answer(operator: Any, serve: Serve) -> None:
    path = serve(operator.look).path
    line = raw(path, request_line(["health"]))
    answer = json.loads(line)

    assert line.count(b"\n") == 1
    assert {name: answer[name] for name in ("v", "ok", "command", "exit")} == {
        "v": 1, "ok": True, "command": "health", "exit": 0,
    }  # fmt: skip
    assert answer["answer"]["well"] is True


@pytest.mark.parametrize(
    ("words", "error", "cure"),
    [
        (["helth"], "there is no command 'helth'", "did you mean 'health'?"),
        ([], "no command was given", "`help` lists all"),
        (["top", "--by", "x"], "by: found 'x'", "expected one of depth, rate, handled, restarts"),
        (["top", "--max", "0"], "max: found '0'", "expected a number from 1 to 10000"),
        (["top", "--max", "nan"], "max: found 'nan'", "expected a number from 1 to 10000"),
        (["top", "--nothing"], "top has no option --nothing", "usage: top"),
        (["top", "--max"], "--max wants a value", "usage: top"),
        (["health", "x"], "'x' is one word too many", "usage: health"),
        (["show"], "show wants ACTOR", "usage: show ACTOR [PATH]"),
        (["show", "a\x1bb"], "control characters", "expected a line of text"),
        (["tap", "--for", "1h"], "for: found '1h'", "expected a duration from 100ms to 10m"),
        (["x"] * 100, "100 words", "expected at most 64"),
    ],
)
def test_what_makes_no_sense_is_answered_with_what_where_and_the_cure(
    operator: Any, serve: Serve, words: list[str], error: str, cure: str
) -> None:
    told = ask(serve(operator.look).path, words)

    assert told.ok is False
    assert error in told.error
    assert cure in told.cure


def test_an_answer_of_another_version_and_one_that_is_too_long_are_errors() -> None:
    with pytest.raises(Exception, match="speaks version 2"):
        read_answer(b'{"v": 2}')
    assert b"bytes, at most" in answer_line("x", "x" * (ANSWER_MAX + 1))


def test_a_command_that_raises_is_an_answer_and_no_death(
    operator: Any, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("dictionary changed size")

    monkeypatch.setattr(server_module, "perform", broken)
    told = ask(serve(operator.look).path, ["health"])

    assert told.error == "health failed: RuntimeError: dictionary changed size"
    assert "bug to report" in told.cure


# --- hostile clients --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "data",
    [
        b"\n", b"garbage\n", b"\xff\xfe\x00\n", b"[]\n", b"{}\n", b'{"v": 2, "words": []}\n', b'{"v": 1, "words": "top"}\n',
        b'{"v": 1, "words": [1]}\n', b"[" * 10_000 + b"\n", b'{"v": 1, "words": ["' + b"a" * 5000 + b'"]}\n',
        b'{"v": 1, "words": ["show", "__class__.__init__"]}\n', b'{"v": 1, "words": ["show", "gateway", "__class__"]}\n',
        b"GET / HTTP/1.1\r\n\r\n", b"x" * (REQUEST_MAX + 5000),
    ],
)  # fmt: skip
def test_garbage_is_refused_in_one_line_and_harms_nothing(operator: Any, serve: Serve, data: bytes) -> None:
    path = serve(operator.look).path
    answer = json.loads(raw(path, data))

    assert answer["ok"] is False
    assert answer["error"]
    assert well(path)


def test_half_a_line_and_silence_are_hung_up_on(operator: Any, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "REQUEST_S", 0.2)
    path = serve(operator.look).path

    assert raw(path, b'{"v": 1, "wor') == b""
    assert raw(path, b'{"v": 1, "wor', shut=True) == b""
    assert raw(path, b"") == b""
    assert well(path)


def test_a_hundred_connections_cost_eight_threads_and_the_rest_is_told_so(
    operator: Any, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "REQUEST_S", 1.0)
    path = serve(operator.look).path
    before = threading.active_count()
    with contextlib.ExitStack() as stack:
        held = []
        for _ in range(100):
            connection = stack.enter_context(socket.socket(socket.AF_UNIX))
            connection.connect(str(path))  # waits where the backlog is full
            connection.settimeout(10)
            held.append(connection)
        refused = 0
        for connection in held[::-1]:
            if connection.recv(4096).find(b"8 others are connected already") >= 0:
                refused += 1
            if refused == 100 - CONNECTIONS_MAX:
                break
        assert refused == 100 - CONNECTIONS_MAX
        assert threading.active_count() - before <= CONNECTIONS_MAX
    for _ in range(100):
        with contextlib.suppress(NoOperator):
            if ask(path, ["version"]).ok:
                break
        time.sleep(0.05)
    assert well(path)


def test_a_client_that_never_reads_is_given_up(operator: Any, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "WRITE_S", 0.2)
    monkeypatch.setattr(server_module, "answer_line", lambda *_: b"x" * (4 << 20) + b"\n")
    served = serve(operator.look)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(served.path))
        connection.sendall(request_line(["version"]))
        for _ in range(CONNECTIONS_MAX):  # every place comes back
            assert served._places.acquire(timeout=10)
        for _ in range(CONNECTIONS_MAX):
            served._places.release()


def test_a_tap_ends_when_its_reader_has_gone_or_does_not_read(
    operator: Any, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = serve(operator.look)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(served.path))
        connection.sendall(request_line(["tap", "--for", "10m"]))
        _until(lambda: len(tapping._taps) == len(list(operator.look.cells())))
    _until(lambda: not tapping._taps)

    monkeypatch.setattr(server_module, "WRITE_S", 0.2)
    monkeypatch.setattr(server_module, "one_line", lambda _: b"x" * (4 << 20))
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(served.path))
        connection.sendall(request_line(["tap", "--for", "10m"]))
        _until(lambda: id(operator.look.static("gateway")) in tapping._taps)
        operator.system.refs["gateway"].ask("nonsense", block=False)
        operator.world.settle()
        _until(lambda: not tapping._taps)


def test_a_tap_gives_lines_and_then_its_sums(operator: Any, serve: Serve) -> None:
    path = serve(operator.look).path
    lines: list[Any] = []
    told: list[Told] = []
    reading = threading.Thread(target=lambda: told.append(ask(path, ["tap", "--max", "2"], lines.append)))
    reading.start()
    _until(lambda: id(operator.look.static("gateway")) in tapping._taps)
    operator.fleet.report("c0-n1", False)
    operator.fleet.run(1.0)
    reading.join(10)

    assert len(lines) == 2
    assert told[0].answer["shown"] == 2


def _until(condition: Callable[[], bool]) -> None:
    until_s = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until_s, "it has not become so"
        time.sleep(0.01)


# --- who may ----------------------------------------------------------------------------------------------------------
def test_the_socket_is_closed_to_others(operator: Any, serve: Serve, folder: Path) -> None:
    path = serve(operator.look, "run/s.sock").path

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_whoever_is_neither_this_user_nor_root_gets_no_answer(
    operator: Any, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel's word is what counts; here it says another."""
    monkeypatch.setattr(server_module, "peer", lambda connection: (4242, 1))
    path = serve(operator.look).path

    assert raw(path, request_line(["version"])) == b""
    with pytest.raises(NoOperator, match="hung up without an answer"):
        ask(path, ["version"])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_another_uid_gets_no_answer_even_where_the_modes_let_it_in(operator: Any, serve: Serve, folder: Path) -> None:
    path = serve(operator.look).path
    folder.chmod(0o755)
    path.chmod(0o666)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:  # nothing but system calls from here on
        got = b"failed"
        try:
            os.setgid(65534)
            os.setuid(65534)
            got = b"answer:" + raw(path, request_line(["version"]))
        finally:
            os.write(write, got)
            os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    got = os.read(read, 4096)
    os.close(read)

    assert got == b"answer:"
    assert well(path)


def test_peer_is_who_the_kernel_says() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        assert peer(ours) == (os.geteuid(), os.getpid())
        assert struct.calcsize("3i") == 12


def test_a_client_does_not_talk_to_another_user(operator: Any, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.ops.inspect.client.peer", lambda connection: (4242, 1))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(NoOperator, match="uid 4242 answers there, which is not you"):
        ask(serve(operator.look, own_uid=0).path, ["version"])


# --- the place --------------------------------------------------------------------------------------------------------
def test_a_socket_that_a_dead_process_left_is_taken_over_and_one_that_lives_is_not(
    operator: Any, serve: Serve, folder: Path
) -> None:
    left = folder / "s.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(left))
    path = serve(operator.look).path
    assert well(path)

    with pytest.raises(PlaceError, match="another process listens at"):
        bind(path)
    assert well(path)


def test_a_file_that_is_no_socket_is_left_alone(folder: Path) -> None:
    (folder / "s.sock").write_text("mine")
    with pytest.raises(PlaceError, match="no socket"):
        bind(folder / "s.sock")

    assert (folder / "s.sock").read_text() == "mine"


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770, 0o722])
def test_a_folder_that_others_may_write_is_refused(folder: Path, mode: int) -> None:
    (folder / "run").mkdir()
    (folder / "run").chmod(mode)
    with pytest.raises(PlaceError, match=r"others may write .*chmod 700"):
        bind(folder / "run" / "s.sock")


def test_a_link_that_another_has_made_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "real").mkdir(mode=0o700)
    (folder / "link").symlink_to("real")
    bind(folder / "link" / "s.sock").close()
    (folder / "real" / "s.sock").unlink()

    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    if (folder / "link").lstat().st_uid == 0:
        os.lchown(folder / "link", 777, 777)
    with pytest.raises(PlaceError, match="is a link that uid"):
        bind(folder / "link" / "s.sock")


def test_a_folder_of_another_a_file_and_a_path_that_is_too_long_are_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "file").write_text("")
    with pytest.raises(PlaceError, match="is no folder"):
        bind(folder / "file" / "s.sock")
    with pytest.raises(PlaceError, match="longer than 100 bytes"):
        bind(folder / ("x" * 100))
    with pytest.raises(PlaceError, match="cannot make"):
        bind(folder / "a" / "b" / "s.sock")


def test_it_takes_its_socket_away_but_not_anothers(operator: Any, folder: Path) -> None:
    first = ShellServer(operator.look, folder / "s.sock")
    first.start()
    first.path.unlink()
    second = ShellServer(operator.look, folder / "s.sock")
    second.start()
    first.stop()
    assert well(second.path)
    second.stop()

    assert not second.path.exists()


def test_the_folder_goes_with_the_last_socket_in_it(folder: Path) -> None:
    """Where it was ours to choose; and another operator of this user may have its own there."""
    mine, other = folder / "run" / "a.sock", folder / "run" / "b.sock"
    sockets = [bind(mine), bind(other)]
    release(mine, mine.stat().st_ino, folder=True)
    assert not mine.exists()
    assert other.exists()

    release(other, other.stat().st_ino, folder=False)
    assert other.parent.is_dir()
    sockets.append(bind(mine))
    release(mine, mine.stat().st_ino, folder=True)
    assert not mine.parent.exists()
    for each in sockets:
        each.close()


# --- while every worker is stuck --------------------------------------------------------------------------------------
class Stuck:
    """A real dispatcher whose two workers are each in a message that does not come back."""

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.entered = threading.Semaphore(0)
        self.dispatcher = ThreadDispatcher(workers=2, wedge_after_s=3600.0)
        fleet = SimulatedFleet(seed=1)  # its ports alone: nothing of it runs
        self.system = fleet._new_system(self.dispatcher)  # real threads under simulated ports
        self.look = Inspection(
            self.system, self.dispatcher, memory=Memory(self.dispatcher.clock), settings=lambda: [("a", "b", "c")]
        )
        self.fleet = fleet

    def stick(self, message: Any = None) -> None:
        self.entered.release()
        self.let_go.wait(60)


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stuck]:
    made = Stuck()
    monkeypatch.setattr("actors.status.StatusActor.on_receive", lambda self, message: made.stick(message))
    monkeypatch.setattr("actors.gateway.BatchGatewayActor.on_receive", lambda self, message: made.stick(message))
    monkeypatch.setattr("actors.watcher.WatcherActor.on_start", lambda self: None)
    made.dispatcher.start()
    made.system.start()
    _until(lambda: len(made.system.refs) == 7 and all(s["state"] == "running" for _, s in made.system.cells()))
    for name in ("status", "gateway"):
        made.system.refs[name].tell(Settings())
    for _ in range(2):
        assert made.entered.acquire(timeout=20)
    yield made
    made.let_go.set()
    made.system.stop()
    made.dispatcher.stop()


def test_passive_commands_answer_while_every_worker_is_stuck(stuck: Stuck, serve: Serve) -> None:
    path = serve(stuck.look).path
    for name in ("health", "tree", "top", "timers", "quota", "queue", "batches", "watch-status", "config", "bundle"):
        told = ask(path, [name])

        assert told.ok, told.error
    stacks = ask(path, ["stacks"]).answer["threads"]

    assert {(each["actor"], each["message"]) for each in stacks if each["actor"]} == {
        ("status", "Settings"), ("gateway", "Settings"),
    }  # fmt: skip
    assert all("stick" in "".join(each["stack"]) for each in stacks[:2])
    hands = {each["actor"]: each["in_hand"] for each in ask(path, ["top"]).answer["top"]}
    assert hands["gateway"] == "Settings"


def test_an_actor_that_is_stuck_is_shown_from_its_snapshot(stuck: Stuck, serve: Serve) -> None:
    told = ask(serve(stuck.look).path, ["show", "gateway"])

    assert told.answer["from"] == "the last snapshot: it has not answered within 1 s"
    assert told.answer["in_hand"] == "Settings"


def test_health_says_who_is_stuck(stuck: Stuck, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.ops.inspect.looking.LONG_S", 0.0)
    from actors.ops.inspect.looking import health

    nothing = Args(values={}, caller=Caller(uid=0, pid=1))
    checks = {each["check"]: each for each in health(stuck.look, nothing).value["checks"]}

    assert checks["workers"]["ok"] is False
    assert "gateway has been in Settings for" in checks["workers"]["detail"]


def test_the_signals_text_says_whose_turn_each_thread_runs(stuck: Stuck) -> None:
    text = turns_text(stuck.dispatcher, stuck.dispatcher.clock.now())

    assert "gateway, in Settings for" in text
    assert "status, in Settings for" in text
    assert f"0x{next(iter(stuck.dispatcher.at_work()))[0]:016x}" in text
