"""``run`` around an engine that does as it is told: signals, phases and their deadlines, exit codes, probes, the report."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from actors.core.errors import SettingsError
from actors.core.events import StatusWritten
from actors.core.ports import Facts
from actors.edge.settings import Settings
from actors.edge.settings_load import Loaded, load
from actors.ops.exit_codes import ExitCode
from actors.ops.run import Engine, run_operator

ROOT = Path(__file__).parents[2]


@frozen
class Gone:
    code: int
    reason: str


class FakeEngine:
    """Answers as told; remembers what it was asked, and calls ``meanwhile`` at the first wait."""

    def __init__(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        self.calls: list[str] = []
        self.ended: Gone | None = None
        self.unfinished: list[str] = []
        self.unstopped: list[str] = []
        self.drained: tuple[float, float] = (0.0, 0.0)
        self.stop_s = 0.0
        self.drain_takes_s = 0.0
        self.meanwhile = meanwhile
        self.facts: Facts = lambda fact: None

    def build(self, settings: Settings, facts: Facts) -> Engine:
        self.facts = facts
        return self

    def start(self) -> None:
        self.calls.append("start")

    def wait(self, timeout_s: float) -> Gone | None:
        if "wait" not in self.calls:
            self.calls.append("wait")
            self.meanwhile()
        time.sleep(min(timeout_s, 0.01))
        return self.ended

    def drain(self, calls_s: float, statuses_s: float) -> list[str]:
        self.calls.append("drain")
        self.drained = (calls_s, statuses_s)
        time.sleep(self.drain_takes_s)
        return self.unfinished

    def stop(self, timeout_s: float) -> list[str]:
        self.calls.append("stop")
        self.stop_s = timeout_s
        return self.unstopped

    def ready(self) -> tuple[bool, list[str]]:
        return True, []

    def alive(self) -> tuple[bool, list[str]]:
        return True, []

    def statistics(self) -> Mapping[str, object]:
        return {"slots_free": 7}

    def toggle_recording(self) -> None:
        self.calls.append("toggle")

    def inspection(self, loaded: Loaded, toggle_recording: Callable[[], None]) -> None:
        return None


def loaded(**flags: str) -> Loaded:
    given = {"backend-url": "http://a", "listen": "off", "log-format": "json"}
    return load(given | {name.replace("_", "-"): value for name, value in flags.items()}, {})


def ask(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def term() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def lines(capfd: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capfd.readouterr().err.splitlines()]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_then_stops(number: signal.Signals, capfd: pytest.CaptureFixture[str]) -> None:
    engine = FakeEngine(meanwhile=lambda: os.kill(os.getpid(), number))

    code = run_operator(loaded(), build=engine.build)

    assert code == ExitCode.OK
    assert engine.calls == ["start", "wait", "drain", "stop"]
    assert [line["event"] for line in lines(capfd)] == [
        "operator_starting", "operator_draining", "operator_drained", "operator_ended",
    ]  # fmt: skip


def test_the_phases_lie_within_the_grace() -> None:
    engine = FakeEngine(meanwhile=term)

    run_operator(loaded(grace="20s"), build=engine.build)

    assert engine.drained[0] == pytest.approx(13.0, abs=0.1)
    assert engine.drained[1] == pytest.approx(3.0, abs=0.1)
    assert engine.stop_s == pytest.approx(19.0, abs=0.1)


def test_a_late_phase_takes_from_the_next_one_and_not_from_the_kubelet() -> None:
    engine = FakeEngine(meanwhile=term)
    engine.drain_takes_s = 0.9

    run_operator(loaded(grace="1s"), build=engine.build)

    assert engine.stop_s == pytest.approx(0.1, abs=0.05)


def test_what_has_not_stopped_is_told_and_is_an_exit_code(capfd: pytest.CaptureFixture[str]) -> None:
    engine = FakeEngine(meanwhile=term)
    engine.unfinished, engine.unstopped = ["gateway: calls in flight: 2"], ["muster-backend-0"]

    code = run_operator(loaded(), build=engine.build)

    assert code == ExitCode.UNSTOPPED
    assert [line["what"] for line in lines(capfd) if line["event"] == "operator_unstopped"] == [
        "gateway: calls in flight: 2", "muster-backend-0",
    ]  # fmt: skip


def test_a_thousand_unstopped_are_told_in_few_lines(capfd: pytest.CaptureFixture[str]) -> None:
    engine = FakeEngine(meanwhile=term)
    engine.unstopped = [f"cluster/a/{i}" for i in range(1000)]

    run_operator(loaded(), build=engine.build)

    assert [line["what"] for line in lines(capfd) if line["event"] == "operator_unstopped"][-1] == "and 950 more"


@pytest.mark.parametrize("code", [ExitCode.ESCALATED, ExitCode.FATAL, ExitCode.WEDGED])
def test_the_engines_own_end_is_the_exit_code(code: ExitCode, capfd: pytest.CaptureFixture[str]) -> None:
    engine = FakeEngine()
    engine.ended = Gone(code.value, "the gateway died 6 times in 60 s")

    assert run_operator(loaded(), build=engine.build) == code
    assert engine.calls == ["start", "wait", "stop"]
    (line,) = [each for each in lines(capfd) if each["event"] == "operator_gave_up"]
    assert (line["reason"], line["level"]) == ("the gateway died 6 times in 60 s", "error")


def test_a_thread_of_the_engine_that_dies_ends_the_process(capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing restarts the timers' thread; without it the operator would look well and do nothing."""

    def die() -> None:
        raise ValueError("no more time")

    engine = FakeEngine(meanwhile=lambda: threading.Thread(target=die, name="muster-timers").start())

    assert run_operator(loaded(), build=engine.build) == ExitCode.FATAL
    (line,) = [each for each in lines(capfd) if each["event"] == "thread_died"]
    assert "ValueError: no more time" in line["traceback"]


def test_another_thread_that_dies_is_only_told() -> None:
    def die() -> None:
        raise ValueError("mine")

    def both() -> None:
        thread = threading.Thread(target=die, name="a library's")
        thread.start()
        thread.join()
        term()

    assert run_operator(loaded(), build=FakeEngine(meanwhile=both).build) == ExitCode.OK


def test_no_memory_is_fatal() -> None:
    def build(settings: Settings, facts: Facts) -> Engine:
        raise MemoryError

    assert run_operator(loaded(), build=build) == ExitCode.FATAL


def test_probes_are_answered_from_the_start_and_not_ready_while_draining(capfd: pytest.CaptureFixture[str]) -> None:
    found: dict[str, tuple[int, str]] = {}
    port = 0

    def meanwhile() -> None:
        nonlocal port
        deadline_s = time.monotonic() + 30
        while not port and time.monotonic() < deadline_s:
            match = re.search(r'"port": (\d+)', capfd.readouterr().err)
            port = int(match[1]) if match else 0
        engine.facts(StatusWritten(parent="a/b", version=1))
        found.update({path: ask(port, path) for path in ("/healthz", "/readyz", "/metrics")})
        term()

    class Draining(FakeEngine):
        def drain(self, calls_s: float, statuses_s: float) -> list[str]:
            found["draining"] = ask(port, "/readyz")
            found["alive"] = ask(port, "/healthz")
            return super().drain(calls_s, statuses_s)

    engine = Draining(meanwhile)
    run_operator(loaded(listen="127.0.0.1:0"), build=engine.build)

    assert (found["/healthz"], found["/readyz"]) == ((200, "ok\n"), (200, "ok\n"))
    assert "muster_quota_slots_free 7.0" in found["/metrics"][1]
    assert "muster_status_writes_total 1.0" in found["/metrics"][1]
    assert found["draining"] == (503, "not ok\n- draining: SIGTERM asked to end\n")
    assert found["alive"] == (200, "ok\n")


def test_a_port_that_is_taken_is_told_before_anything_starts() -> None:
    engine = FakeEngine()

    with pytest.raises(SettingsError, match="cannot listen"):
        run_operator(loaded(listen="203.0.113.1:8080"), build=engine.build)

    assert engine.calls == []


def test_settings_and_notes_are_in_the_first_lines(capfd: pytest.CaptureFixture[str]) -> None:
    run_operator(loaded(cold_start="0s"), build=FakeEngine(meanwhile=term).build)

    first, note, *_ = lines(capfd)

    assert first["settings"]["cold_start"] == "0s (flag --cold-start)"
    assert "quota" not in first["settings"], "defaults are in the documentation"
    assert (note["event"], note["level"]) == ("settings_note", "warning")


def test_handlers_are_put_back() -> None:
    before = (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT), threading.excepthook)

    run_operator(loaded(), build=FakeEngine(meanwhile=term).build)

    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT), threading.excepthook) == before


SLOW = """
import sys, time
from actors.edge.settings_load import load
from actors.ops.run import run_operator

class Slow:
    def start(self): print("started", flush=True)
    def wait(self, timeout_s): time.sleep(0.01)
    def drain(self, *_): print("draining", flush=True); time.sleep(30); return []
    def stop(self, _): return []
    def ready(self): return True, []
    alive = ready
    def statistics(self): return {}
    def inspection(self, *_): return None

sys.exit(run_operator(load({"backend-url": "http://a", "listen": "off"}), build=lambda *_: Slow()))
"""


def test_a_second_signal_ends_the_process_on_the_spot() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SLOW], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        assert child.stdout.readline() == "started\n"
        child.send_signal(signal.SIGTERM)
        assert child.stdout.readline() == "draining\n"
        child.send_signal(signal.SIGINT)
        code = child.wait(timeout=20)  # the drain would take thirty
        told = child.stderr.read()

    assert code == 130
    assert "a second SIGINT: ending at once" in told


# --- the real engine, and an API server that refuses ------------------------------------------------------------------
@pytest.fixture
def refusing() -> Iterator[tuple[str, list[int]]]:
    """A server that answers everything with the status in the list."""
    status = [404]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b'{"message": "no"}'
            self.send_response(status[0])
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", status
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(
    ("status", "told"),
    [(0, "is it running"), (401, "renew the token"), (403, "manifests/rbac"), (404, "manifests/crd"), (500, "500")],
)
def test_an_api_server_that_refuses_is_told_and_ends_nothing(
    refusing: tuple[str, list[int]], status: int, told: str, tmp_path: Path
) -> None:
    """Whoever repairs it must not have to restart us, too; and the probe tells what is to be repaired."""
    url, answers = refusing
    answers[0] = status
    config = {
        "apiVersion": "v1", "kind": "Config", "current-context": "x",
        "clusters": [{"name": "x", "cluster": {"server": url if status else "http://127.0.0.1:1"}}],
        "users": [{"name": "x", "user": {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
    }  # fmt: skip
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    flags = {"kubeconfig": str(tmp_path / "kubeconfig"), "backend-url": "http://127.0.0.1:9", "listen": "127.0.0.1:0"}
    script = (
        "import sys, json\n"
        "from actors.edge.settings_load import load\n"
        "from actors.ops.run import run_operator\n"
        "sys.exit(run_operator(load(json.loads(sys.argv[1]), {})))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, json.dumps(flags)], stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as child:
        try:
            assert child.stderr is not None
            port = json.loads(child.stderr.readline())["port"]
            deadline_s = time.monotonic() + 20
            answer = (0, "")
            while told not in answer[1] and time.monotonic() < deadline_s:
                time.sleep(0.1)
                answer = ask(port, "/readyz")
            alive = ask(port, "/healthz")
        finally:
            child.terminate()
        log = child.stderr.read()
        code = child.wait(timeout=20)

    assert answer[0] == 503
    assert told in answer[1]
    assert alive == (200, "ok\n")
    assert '"event": "stream_down"' in log
    assert code == 0


def test_sigusr2_switches_recording_and_nothing_else(capfd: pytest.CaptureFixture[str]) -> None:
    def meanwhile() -> None:
        os.kill(os.getpid(), signal.SIGUSR2)
        os.kill(os.getpid(), signal.SIGUSR2)
        threading.Timer(0.3, term).start()

    engine = FakeEngine(meanwhile)

    assert run_operator(loaded(), build=engine.build) == ExitCode.OK
    assert engine.calls == ["start", "wait", "toggle", "toggle", "drain", "stop"]
    assert signal.getsignal(signal.SIGUSR2) is signal.SIG_DFL
