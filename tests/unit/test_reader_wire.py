"""Frames between the operator and its readers' processes: any split gives the same ones, and garbage is named."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.core import events
from actors.core.events import Fact, Listed, ParentDisputed, StreamDown
from actors.core.fleet import MUSTER_FLEET
from actors.core.graph import graph_of, value_of
from actors.core.model import Child, ParentKey, Record
from actors.core.ports import Objects, StreamChanged
from actors.edge import reader_wire
from actors.edge.reader_wire import (
    FRAME_BYTES_MAX,
    Begin,
    Changed,
    Command,
    Dying,
    FrameError,
    Frames,
    Part,
    Pulse,
    Relist,
    Report,
    Setup,
    Shared,
    Timeouts,
    changed,
    command_of,
    frame_of,
    parts_of,
    report_of,
    told,
)  # fmt: skip

KIND = "ComputeNode"
TEXT = st.text(max_size=8)
KEYS = st.builds(ParentKey, TEXT, TEXT)
CHILDREN = st.builds(
    Child, st.just(KIND), TEXT, TEXT, TEXT, st.integers(0, 2**63), st.none() | KEYS, st.none() | st.booleans(), TEXT, TEXT,
    st.booleans(),
)  # fmt: skip


def body(frame: bytes) -> bytes:
    (found,) = Frames().feed(frame)
    return found


def parts(mail: Objects, size: int = 1_000) -> list[Part]:
    found = [report_of(body(frame)) for frame in parts_of(mail, size)]
    return [each for each in found if isinstance(each, Part)]


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=8), st.lists(st.integers(0, 3000), max_size=12))
def test_any_split_gives_the_same_frames(bodies: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(len(each).to_bytes(4, "big") + each for each in bodies)
    frames, found, at = Frames(), [], 0
    for cut in [*sorted(cut for cut in cuts if cut < len(stream)), len(stream)]:
        found += frames.feed(stream[at:cut])
        at = cut
    frames.end()

    assert found == bodies


@given(st.binary(min_size=2, max_size=50), st.data())
def test_an_end_within_a_frame_is_told(content: bytes, data: st.DataObject) -> None:
    frame = len(content).to_bytes(4, "big") + content
    frames = Frames()
    frames.feed(frame[: data.draw(st.integers(1, len(frame) - 1))])

    with pytest.raises(FrameError, match="into a frame"):
        frames.end()


@pytest.mark.parametrize("size", [0, FRAME_BYTES_MAX + 1, 0x7B226B69])
def test_a_length_that_no_frame_has_is_refused_before_anything_is_kept(size: int) -> None:
    with pytest.raises(FrameError, match=f"a frame of {size} bytes, expected 1 to"):
        Frames().feed(size.to_bytes(4, "big"))


@given(st.binary(max_size=60))
def test_garbage_is_a_frame_error_or_a_report(garbage: bytes) -> None:
    """Never another exception: that would be a bug of ours, told as one."""
    words = []
    for read in (report_of, command_of):
        try:
            found = read(garbage)
            if isinstance(found, Part):
                found.entries(KIND, Shared())
        except FrameError as error:
            words.append(str(error))

    assert all(words)


@given(
    st.lists(CHILDREN | TEXT, max_size=12, unique_by=lambda each: each if isinstance(each, str) else each.uid),
    st.data(),
)
def test_records_come_back_as_they_were_in_parts_of_any_size(made: list[Child | str], data: st.DataObject) -> None:
    entries: dict[str, Record | None] = {each: None for each in made if isinstance(each, str)}
    entries |= {each.uid: each for each in made if isinstance(each, Child)}
    mail = Objects(kind=KIND, entries=entries, replace=data.draw(st.booleans()), epoch=7)
    found = parts(mail, data.draw(st.integers(1, 5)))
    shared = Shared()
    read: dict[str, Record | None] = {}
    for each in found:
        read |= each.entries(KIND, shared)

    assert read == entries
    assert {(each.epoch, each.replace) for each in found} <= {(7, mail.replace)}
    if found:
        assert [each.first for each in found] == [True] + [False] * (len(found) - 1)
        assert [each.last for each in found] == [False] * (len(found) - 1) + [True]


def test_an_empty_replacement_is_a_part_and_empty_mail_is_none() -> None:
    (part,) = parts(Objects(kind=KIND, entries={}, replace=True))

    assert (part.first, part.last, part.entries(KIND, Shared())) == (True, True, {})
    assert parts(Objects(kind=KIND, entries={})) == []


def test_records_that_are_too_long_for_one_frame_go_in_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_wire, "FRAME_BYTES_MAX", 2_000)
    entries: dict[str, Record | None] = {str(n): Child(KIND, "ns", "x" * 300, str(n), n, None) for n in range(20)}
    found = parts(Objects(kind=KIND, entries=entries, replace=True))
    read: dict[str, Record | None] = {}
    for each in found:
        read |= each.entries(KIND, Shared())

    assert read == entries
    assert len(found) > 3
    assert [each.first for each in found].index(True) == 0
    assert [each.last for each in found].index(True) == len(found) - 1


def test_records_share_their_parents_and_namespaces_across_frames() -> None:
    shared = Shared()
    made: list[Child] = []
    for number in range(2):
        record = Child(KIND, "name" + "space", f"n{number}", f"u{number}", 1, ParentKey("name" + "space", "c"))
        (part,) = parts(Objects(kind=KIND, entries={record.uid: record}))
        (found,) = part.entries(KIND, shared).values()
        assert isinstance(found, Child)
        made.append(found)
    one, two = made

    assert one.parent is two.parent
    assert one.parent is not None
    assert one.namespace is two.namespace is one.parent.namespace


def test_what_is_shared_is_bounded() -> None:
    shared = Shared(most=3)
    for number in range(100):
        assert shared.key(ParentKey("ns", str(number))) == ("ns", str(number))

    assert len(shared._keys) <= 3


@pytest.mark.parametrize(
    "change", [{"name": []}, {"space": [9]}, {"parent": [9]}, {"silent": [True, False]}, {"uid": ["a", "b"]}]
)
def test_columns_that_do_not_fit_are_a_frame_error(change: dict[str, object]) -> None:
    (part,) = parts(Objects(kind=KIND, entries={"a": Child(KIND, "ns", "a", "a", 1, None)}))

    with pytest.raises(FrameError):
        msgspec.structs.replace(part, **change).entries(KIND, Shared())


def test_every_other_frame_comes_back() -> None:
    fleet = graph_of(MUSTER_FLEET)
    commands: list[Command] = [
        Setup(KIND, "/config", "", "ns", fleet, None, 20, True), Begin(3), Relist(),
        Timeouts([(ParentKey("ns", "c"), 1.5), (ParentKey("ns", "d"), None)]),
    ]  # fmt: skip
    back = [command_of(body(frame_of(each))) for each in commands]
    assert back == commands
    assert isinstance(back[0], Setup)
    assert value_of(back[0].fleet) == MUSTER_FLEET
    assert isinstance(back[3], Timeouts)
    assert isinstance(back[3].seconds[0][0], ParentKey)

    mail = StreamChanged(kind=KIND, epoch=2, up=False, reason="Forbidden", message="why")
    reports: list[Report] = [changed(mail), Pulse(5, 17, True), Dying("no kubeconfig")]
    found = [report_of(body(frame_of(each))) for each in reports]
    assert found == reports
    assert isinstance(found[0], Changed)
    assert found[0].mail(KIND) == mail


@pytest.mark.parametrize(
    "fact",
    [
        Listed(kind=KIND, count=3, missing=1, reason="start"),
        StreamDown(kind=KIND, reason="Unreachable", message="m", retry_s=0.5),
        ParentDisputed(kind=KIND, child="ns/a", chosen="x", others=("y", "z")),
    ],
)
def test_a_fact_comes_back_as_it_was(fact: Fact) -> None:
    found = report_of(body(frame_of(told(fact))))

    assert isinstance(found, reader_wire.Told)
    assert found.fact() == fact


@pytest.mark.parametrize(("name", "fields"), [("Nonsense", {}), ("Listed", {"kind": 3}), ("annotations", {})])
def test_a_fact_that_does_not_exist_is_a_frame_error(name: str, fields: dict[str, object]) -> None:
    assert not isinstance(getattr(events, "annotations", None), type)

    with pytest.raises(FrameError):
        reader_wire.Told(name, fields).fact()
