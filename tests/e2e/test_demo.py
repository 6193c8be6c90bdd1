"""The demo as people start it: a process of its own, its servers beside it, and nobody left behind."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

SMALL = ("--seed", "1", "--clusters", "3", "--nodes", "8")
ENDS_WITHIN_S = 30.0  # it ends within some seconds; the servers are waited for on a loaded machine
PROMISES = 9


def command(*words: str) -> list[str]:
    return [sys.executable, "-c", "from actors.ops.cli import main; main()", "demo", *SMALL, *words]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Temporary files lie where the test can see them; the caller's own settings are not the demo's."""
    return {**os.environ, "TMPDIR": str(tmp_path), "MUSTER_QUOTA": "nonsense"}


def started(environment: dict[str, str], *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(*words),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )


def ended(process: subprocess.Popen[str], within_s: float = 40.0) -> tuple[str, str]:
    """What it wrote; it does not outlive its test."""
    try:
        return process.communicate(timeout=within_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise


def others(folder: Path) -> list[int]:
    """Processes whose environment names that folder: the demo's and its children's, and nobody else's."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if f"TMPDIR={folder}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:
            continue  # it ended meanwhile, or is another user's
    return found


def all_gone(folder: Path, within_s: float = 20.0) -> bool:
    until_s = time.monotonic() + within_s
    while others(folder):
        if time.monotonic() > until_s:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.slow
def test_eight_seconds_end_with_a_summary_in_which_every_promise_was_kept(
    environment: dict[str, str], tmp_path: Path
) -> None:
    process = started(environment, "--for", "8s", "--plain")
    out, err = ended(process)

    assert (0, "") == (process.returncode, err)
    assert re.search(r"kubectl --kubeconfig \S+ get mcl -w", out)
    assert PROMISES == len(re.findall(r"(?m)^    ok  ", out))
    assert len(re.findall(r"(?m)^ *\d+\.\d s  3 clusters", out)) >= 4
    assert "BROKEN" not in out
    assert all_gone(tmp_path)
    assert [] == list(tmp_path.iterdir())


@pytest.mark.long
@pytest.mark.slow
def test_as_json_there_is_nothing_but_the_document_and_logs_are_kept_on_request(
    environment: dict[str, str], tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    process = started(environment, "--for", "4s", "--json", "--keep-logs", str(kept))
    out, err = ended(process)
    document = json.loads(out)

    assert (0, "") == (process.returncode, err)
    assert "muster.dev/demo-report/v1" == document["format"]
    assert (True, 0, False) == (document["ok"], document["exitCode"], document["interrupted"])
    assert PROMISES == len(document["promises"])
    assert document["fleet"]["calls"] >= 1
    assert {"kubeconfig", "objects.jsonl", "accesses.jsonl", "backend.jsonl", "operator.jsonl"} <= {
        each.name for each in kept.iterdir()
    }


@pytest.mark.long
@pytest.mark.slow
def test_an_operator_that_breaks_the_quota_is_found_out_and_the_logs_are_kept(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """It takes 50 calls of one node a second for allowed; the backend's quota is 1."""
    lie = (
        "from actors.ops import cli, demo; load = demo.load; "
        "demo.load = lambda flags: load({**flags, 'quota': '50/1s', 'batch-max': '1'}); cli.main()"
    )
    words = [sys.executable, "-c", lie, *command("--for", "5s", "--plain", "--quota", "1/1s")[3:]]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    out, err = ended(process)

    assert (7, "") == (process.returncode, err)
    assert re.search(r"(?m)^BROKEN  quota ", out)
    assert "Please report it" in out
    (kept,) = tmp_path.iterdir()
    assert f"The logs are in {kept}" in out
    assert (kept / "backend.jsonl").stat().st_size


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: str(number.name))
def test_a_signal_midway_ends_it_with_its_summary(
    environment: dict[str, str], tmp_path: Path, number: signal.Signals
) -> None:
    """Without ``--for`` it runs until then. The whole process group gets a Ctrl-C, as at a terminal."""
    process = started(environment, "--plain")
    assert process.stdout is not None
    seen = until_calls(process)
    os.killpg(process.pid, number)
    signalled_s = time.monotonic()
    out, err = ended(process)

    assert time.monotonic() - signalled_s < ENDS_WITHIN_S
    assert (0, "") == (process.returncode, err)
    assert "BROKEN" not in out
    assert "the servers' own logs" in out, seen + out
    assert all_gone(tmp_path)
    assert [] == list(tmp_path.iterdir())


def until_calls(process: subprocess.Popen[str]) -> str:
    """Read until the first batch calls have been made."""
    assert process.stdout is not None
    seen = ""
    for text in process.stdout:
        seen += text
        if re.search(r"calls [1-9]", text):
            break
    return seen


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: str(number.name))
@pytest.mark.parametrize("after_s", [0.6, 1.0])
def test_a_signal_at_the_very_beginning_ends_it_without_a_traceback(
    environment: dict[str, str], tmp_path: Path, number: signal.Signals, after_s: float
) -> None:
    """On a busy machine it has not begun by then, and ends as any program does that is still being loaded."""
    process = started(environment, "--plain")
    time.sleep(after_s)
    os.killpg(process.pid, number)
    signalled_s = time.monotonic()
    _, err = ended(process)

    assert time.monotonic() - signalled_s < ENDS_WITHIN_S
    unbegun = (130, "muster: interrupted\n") if number == signal.SIGINT else (-number, "")
    assert (process.returncode, err) in {(0, ""), unbegun}
    assert all_gone(tmp_path)
    assert [] == list(tmp_path.iterdir())


def test_its_children_end_when_it_is_killed(environment: dict[str, str], tmp_path: Path) -> None:
    process = started(environment, "--plain")
    until_calls(process)

    assert len(others(tmp_path)) == 4

    process.kill()
    process.communicate(timeout=10)

    assert all_gone(tmp_path)


@pytest.mark.long
def test_a_server_that_ends_midway_is_reported_and_not_judged(environment: dict[str, str], tmp_path: Path) -> None:
    process = started(environment, "--plain")
    until_calls(process)
    (backend,) = (pid for pid in others(tmp_path) if b"serve_backend" in Path(f"/proc/{pid}/cmdline").read_bytes())
    os.kill(backend, signal.SIGKILL)
    out, err = ended(process)

    assert 1 == process.returncode
    assert "backend process ended before its time" in err
    assert "Traceback" not in err
    assert "the servers' own logs" not in out
    assert all_gone(tmp_path)


@pytest.mark.long
@pytest.mark.slow
def test_on_a_terminal_there_is_a_live_view(environment: dict[str, str], tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command("--for", "4s"), stdin=theirs, stdout=theirs, stderr=theirs, env={**environment, "TERM": "xterm"}
    )
    os.close(theirs)
    shown = "".join(read_all(ours))

    assert 0 == process.wait(30)
    assert "CLUSTER" in shown
    assert "calls spent in this window" in shown
    assert "default/fleet-1" in shown
    assert shown.rstrip().endswith("(its own word)")


def read_all(descriptor: int) -> Iterator[str]:
    """What comes over a pseudo-terminal until nobody holds its other end."""
    until_s = time.monotonic() + 40
    while time.monotonic() < until_s:
        if not select.select([descriptor], [], [], 1.0)[0]:
            continue
        try:
            data = os.read(descriptor, 65_536)
        except OSError:
            break
        if not data:
            break
        yield data.decode("utf-8", "replace")
    os.close(descriptor)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--for", "soon"), "expected a duration"),
        (("--for", "1s"), "at least that"),
        (("--quota", "ten"), "expected CALLS/DURATION"),
        (("--clusters", "0"), "--clusters"),
    ],
)
def test_a_wrong_word_is_refused_before_anything_starts(
    environment: dict[str, str], words: tuple[str, ...], complaint: str
) -> None:
    process = started(environment, *words)
    _, err = ended(process)

    assert 2 == process.returncode
    assert complaint in err
