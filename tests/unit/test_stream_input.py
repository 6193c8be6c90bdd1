"""What comes over a stream: bad input is named and left out, lines are whole, and an audit finds what was lost."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import msgspec
import pytest

from actors.core.builtin import MUSTER_FLEET
from actors.core.decode import Decoder, Page
from actors.core.errors import ApiError, Expired, Invalid, Unreachable
from actors.core.events import Fact, Listed, ObjectRefused, ParentDisputed
from actors.core.intake import Intake
from actors.core.lines import Lines
from actors.core.ports import Objects, StreamChanged
from actors.core.stream import Stream, api_error, differences


def node(name: str, version: int, *, healthy: Any = True, beat: str = "b", **metadata: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "ns", "uid": name, "resourceVersion": str(version), **metadata},
        "spec": {"clusterRef": {"name": "c"}},
        "status": {"healthy": healthy, "lastHeartbeatTime": beat},
    }


def line(type_: str, obj: dict[str, Any]) -> bytes:
    return json.dumps({"type": type_, "object": obj}).encode()


class Bench:
    """A stream that has listed ``objects`` by pages and watches from version 100."""

    def __init__(self) -> None:
        self.now = 0.0
        self.facts: list[Fact] = []
        self.mail: list[Objects | StreamChanged] = []
        self.intake = Intake("ComputeNode")
        self.stream = Stream(
            Decoder(MUSTER_FLEET, "ComputeNode"), self.intake, epoch=1, deliver=self.mail.append,
            facts=self.facts.append, random=Random(1), streamed_list=False,
        )  # fmt: skip

    def list_all(self, *objects: dict[str, Any], version: int) -> None:
        self.stream.action(self.now)
        self.stream.page(Page([msgspec.Raw(json.dumps(obj).encode()) for obj in objects], version), self.now, None)

    def synced(self, *objects: dict[str, Any]) -> Bench:
        self.list_all(*objects, version=100)
        self.stream.action(self.now)
        self.stream.opened(self.now, None)
        self.mail.clear()
        self.facts.clear()
        return self

    def of(self, kind: type[Any]) -> list[Any]:
        return [each for each in [*self.facts, *self.mail] if isinstance(each, kind)]


@pytest.mark.parametrize(
    "bad",
    [b"{", b"nonsense", b"\xff\xfe", b"[]", line("MODIFIED", node("a", 105, healthy="?")), line("WHAT", node("a", 105)),
     line("MODIFIED", node("a", 105)).replace(b"ns", b"\xc3\x28")],
)  # fmt: skip
def test_a_bad_line_is_told_and_the_stream_lives(bad: bytes) -> None:
    bench = Bench().synced(node("a", 1))
    good = line("MODIFIED", node("a", 110, healthy=False))
    bench.stream.feed(bad + b"\n" + good + b"\n", bench.now)

    assert len(bench.of(ObjectRefused)) == 1
    assert bench.of(Objects)[0].entries["a"].healthy is False
    assert not bench.stream.should_end(bench.now)


def test_a_bad_object_that_beats_is_one_piece_of_news() -> None:
    bench = Bench().synced(node("a", 1))
    for version in range(101, 200):
        bench.stream.lines([line("MODIFIED", node("a", version, healthy="?"))], bench.now)

    assert len(bench.of(ObjectRefused)) == 1
    assert bench.intake.version == 199


def test_a_bad_object_in_a_list_keeps_its_last_record() -> None:
    bench = Bench()
    bench.list_all(node("a", 1), node("b", 2), version=100)
    bench.stream.relist()
    bench.list_all(node("a", 105, healthy="?"), version=200)

    assert list(bench.of(Objects)[-1].entries) == ["a"]
    assert bench.of(Listed)[-1].missing == 1


def test_a_line_beyond_the_limit_is_left_out() -> None:
    bench = Bench().synced(node("a", 1))
    for _ in range(80):
        bench.stream.feed(b"x" * 65_536, bench.now)
    bench.stream.feed(b"x\n" + line("MODIFIED", node("a", 110, healthy=False)) + b"\n", bench.now)

    assert "longer than" in bench.of(ObjectRefused)[0].why
    assert len(bench.of(Objects)) == 1


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_lines_are_the_same_however_they_are_cut(size: int) -> None:
    text = b"one\n\ntwo\n" + b"y" * 50 + b"\nthree\nrest"
    lines, out = Lines(20), list[bytes]()
    for at in range(0, len(text), size):
        out += lines.feed(text[at : at + size])

    # A complete line that arrives whole within a chunk needs no guard; what is guarded is memory.
    assert [each for each in out if len(each) < 20] == [b"one", b"", b"two", b"three"]
    assert lines.skipped == (1 if size < 50 else 0)


def test_a_child_of_two_parents_is_told_when_it_matters() -> None:
    bench = Bench().synced(node("a", 1, labels={"muster.dev/cluster": "other"}))
    for version in (101, 102):
        bench.stream.lines(
            [line("MODIFIED", node("a", version, beat=str(version), labels={"muster.dev/cluster": "x"}))], 0.0
        )

    assert [(fact.chosen, fact.others) for fact in bench.of(ParentDisputed)] == [("x", ("c",))]


def test_all_lines_of_a_chunk_are_one_mail() -> None:
    bench = Bench().synced()
    chunk = b"\n".join(line("ADDED", node(f"n{number}", 101 + number)) for number in range(50)) + b"\n"
    bench.stream.feed(chunk, bench.now)

    assert [len(mail.entries) for mail in bench.of(Objects)] == [50]


# --- the audit --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("listed", "gone", "expected"),
    [
        ({"a": ("ns/a", 5), "b": ("ns/b", 6)}, set(), []),
        ({"a": ("ns/a", 5)}, set(), ["ns/b: not on the server, version 6 held"]),
        ({"a": ("ns/a", 7), "b": ("ns/b", 6)}, set(), ["ns/a: version 7 on the server, 5 held"]),
        ({"a": ("ns/a", 5), "b": ("ns/b", 6), "c": ("ns/c", 7)}, set(), ["ns/c: version 7 on the server, not held"]),
        ({"a": ("ns/a", 5), "b": ("ns/b", 6), "c": ("ns/c", 7)}, {"c"}, []),
    ],
)
def test_an_audit_finds_what_differs(listed: dict[str, tuple[str, int]], gone: set[str], expected: list[str]) -> None:
    bench = Bench().synced(node("a", 5), node("b", 6))

    assert differences(bench.intake, listed, 100, gone) == expected


def test_what_changed_after_the_audits_list_is_no_difference() -> None:
    bench = Bench().synced(node("a", 5))
    bench.stream.lines([line("MODIFIED", node("a", 101, beat="x")), line("ADDED", node("b", 102))], 0.0)

    assert differences(bench.intake, {"a": ("ns/a", 5)}, 100, set()) == []


def test_codes_have_their_classes() -> None:
    expected: dict[int, type[ApiError]] = {
        400: Invalid,
        410: Expired,
        418: Invalid,
        500: Unreachable,
        302: Unreachable,
    }

    assert {code: type(api_error(code, "")) for code in expected} == expected
