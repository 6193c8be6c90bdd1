"""The log: constant event names, bounded repeats, no secrets, and never in the operator's way."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
from typing import Any

import attrs
import pytest

from actors.core import events
from actors.core.events import ActorCrashed, Fact, ObjectRefused, Reconciled, StatusFailed, StreamDown, ValveMoved
from actors.ops.logs import CURES, FIELD_CHARS_MAX, LINES_PER_SECOND, Logs, RepeatBound, event_name, in_json, masked


class StoppedClock:
    """Time that stands still unless it is moved."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def now(self) -> float:
        return self.now_s

    def wall(self) -> float:
        return 1_700_000_000.25


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Stalled(io.StringIO):
    """A pipe that nobody reads."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()

    def write(self, text: str) -> int:
        self.go_on.wait(10)
        return super().write(text)


def logged(*facts: Fact, level: str = "info", **fields: Any) -> list[dict[str, Any]]:
    stream = io.StringIO()
    logs = Logs(clock=StoppedClock(), log_format="json", level=level, stream=stream)
    logs.start()
    for fact in facts:
        logs(fact)
    if fields:
        logs.line("info", "something_happened", **fields)
    logs.close()
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def refused(kind: str = "ComputeNode", place: str = "a/b") -> ObjectRefused:
    return ObjectRefused(kind=kind, place=place, why="spec is a list")


def test_a_fact_becomes_one_line_with_a_constant_name_and_its_fields() -> None:
    assert logged(refused()) == [
        {
            "timestamp": "2023-11-14T22:13:20.250Z", "level": "warning", "event": "object_refused", "kind": "ComputeNode",
            "place": "a/b", "why": "spec is a list", "cure": CURES[ObjectRefused],
        }
    ]  # fmt: skip


def every_fact() -> list[type[Fact]]:
    return [
        each for each in vars(events).values() if isinstance(each, type) and issubclass(each, Fact) and each is not Fact
    ]


@pytest.mark.parametrize("fact_class", every_fact(), ids=lambda each: str(each.__name__))
def test_every_fact_can_be_logged(fact_class: type[Fact]) -> None:
    values = {
        "str": "x", "int": 1, "float": 0.5, "bool": True, "float | None": None,
        "tuple[str, ...]": ("x",), "Mapping[str, int]": {"x": 1},
    }  # fmt: skip
    fact = fact_class(**{each.name: values[str(each.type)] for each in attrs.fields(fact_class)})

    (line,) = logged(fact, level="debug")

    assert line["event"] == event_name(fact_class)
    assert line["level"] == fact_class.level


def test_names_are_snake_case() -> None:
    assert event_name(ActorCrashed) == "actor_crashed"


def test_quiet_facts_are_left_out_unless_asked_for() -> None:
    fact = Reconciled(parent="a/b", cause="x", changed=True)

    assert logged(fact) == []
    assert [line["event"] for line in logged(fact, level="debug")] == ["reconciled"]


def test_repeats_about_one_thing_are_bounded_and_others_are_not() -> None:
    lines = logged(*[refused(place=f"a/{i}") for i in range(100)], refused(kind="StorageNode"))

    shown = [line for line in lines if line["event"] == "object_refused"]

    assert [line["kind"] for line in shown] == ["ComputeNode"] * LINES_PER_SECOND + ["StorageNode"]
    assert lines[-1] | {"timestamp": ""} == {
        "timestamp": "", "level": "info", "event": "lines_suppressed", "of": "object_refused", "count": 95,
    }  # fmt: skip


def test_the_next_line_tells_how_many_were_left_out() -> None:
    bound = RepeatBound(limit=2)

    answers = [bound.allow("key", now_s) for now_s in (1.0, 1.1, 1.2, 1.9, 2.0, 2.1)]

    assert answers == [0, 0, None, None, 2, 0]


def test_what_was_told_is_not_summed_up_again() -> None:
    bound = RepeatBound(limit=1)
    for now_s in (1.0, 1.1, 2.0):
        bound.allow("key", now_s)

    assert bound.untold() == {}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Authorization: Bearer abcdefgh12345", "Authorization: Bearer ***"),
        ("http://user:pass@host/x", "http://***@host/x"),
        ("token=abc123def", "token=***"),
        ('{"password": "hunter2"}', '{"password": "***"}'),
        ("eyJhbGciOiJSUzI1.eyJpc3MiOiJrdWJl.c2lnbmF0dXJl", "***"),
        ("api-key: xyz", "api-key: ***"),
        ("the token was rejected", "the token was rejected"),
        ("backend-token-file: /run/token", "backend-token-file: /run/token"),
    ],
)
def test_what_looks_like_a_credential_is_masked(text: str, shown: str) -> None:
    assert masked(text) == shown


def test_fields_named_like_secrets_are_masked_whatever_they_hold() -> None:
    (line,) = logged(token="abc", nested={"client_secret": "abc", "name": "x"}, keys=["Bearer abcdefghijk"])

    assert (line["token"], line["nested"], line["keys"]) == (
        "***",
        {"client_secret": "***", "name": "x"},
        ["Bearer ***"],
    )


def test_a_long_field_is_cut() -> None:
    """And before it is searched for secrets: a search must not take longer than the text deserves."""
    (line,) = logged(text="x" * 10_000_000)

    assert len(line["text"]) == FIELD_CHARS_MAX + 1


def test_one_fact_is_one_line_whatever_is_in_it() -> None:
    """A log line that somebody else's object can break in two is a forged log line."""
    stream = io.StringIO()
    logs = Logs(clock=StoppedClock(), log_format="console", stream=stream)
    logs.start()
    logs(StreamDown(kind="Cluster", reason="x", message='a\n2026-01-01 [error] forged\r\x1b[31m "b"', retry_s=1.0))
    logs.close()

    text = stream.getvalue()

    assert text.count("\n") == 1
    assert "\x1b" not in text


def test_a_traceback_stands_below_its_line_on_a_terminal() -> None:
    stream = Terminal()
    logs = Logs(clock=StoppedClock(), stream=stream, environ={})
    logs.start()
    logs(ActorCrashed(actor="gateway", incarnation=1, error="ValueError: x", traceback="Traceback:\n  here\n"))
    logs.close()

    assert stream.getvalue().endswith("Traceback:\n  here\n")


@pytest.mark.parametrize(
    ("log_format", "stream", "environ", "expected"),
    [
        ("auto", Terminal(), {}, False),
        ("auto", io.StringIO(), {}, True),
        ("auto", Terminal(), {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, True),
        ("json", Terminal(), {}, True),
        ("console", io.StringIO(), {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, False),
    ],
)
def test_json_is_for_programs(log_format: str, stream: io.StringIO, environ: dict[str, str], expected: bool) -> None:
    assert in_json(log_format, stream, environ) is expected


@pytest.mark.parametrize("text", ["\ud800", "\x00", "ünï", "\u2028"])
def test_odd_characters_do_not_end_the_log(text: str) -> None:
    lines = logged(text=text)

    assert [line["event"] for line in lines] == ["something_happened"]


def test_a_stalled_pipe_costs_lines_and_no_time() -> None:
    """The writer is stuck; whoever records a fact must not be."""
    stream = Stalled()
    logs = Logs(clock=StoppedClock(), log_format="json", stream=stream, queue_max=10)
    logs.start()

    for i in range(1000):
        logs(StatusFailed(parent=f"a/{i}", reason="x", message=""))
    dropped = logs.statistics()["dropped"]
    stream.go_on.set()
    logs.close()

    assert isinstance(dropped, int)
    assert dropped >= 980
    assert '"event": "log_lines_dropped"' in stream.getvalue()


def test_a_closed_stream_ends_nothing() -> None:
    stream = io.StringIO()
    logs = Logs(clock=StoppedClock(), log_format="json", stream=stream)
    logs.start()
    stream.close()
    logs(ValveMoved(parent="a", closed=True, eligible=1, limit=1, total=1))
    logs.close()

    assert logs.statistics()["dropped"] != 0


def test_a_log_costs_no_rich() -> None:
    """It would be 4 MB of each operator; and who has it, or wants it later, has it."""
    code = (
        "import sys; from actors.edge.dispatcher import SystemClock; from actors.ops.logs import Logs;"
        "Logs(clock=SystemClock(), level='info', log_format='console'); assert 'rich' not in sys.modules; import rich.console;"
        "Logs(clock=SystemClock(), level='info', log_format='json'); assert sys.modules['rich'] is rich"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
