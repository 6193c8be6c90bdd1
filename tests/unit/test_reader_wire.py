"""Frames between the operator and its readers' processes: any split gives the same ones, and garbage is named."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.core import events
from actors.core.builtin import MUSTER_FLEET
from actors.core.events import Fact, Listed, ParentDisputed, StreamDown
from actors.core.graph import graph_of, value_of
from actors.core.model import Child, ParentKey, Record
from actors.core.ports import Objects, StreamChanged
from actors.core.records import ChildRecords
from actors.edge import reader_wire
from actors.edge.reader_wire import (
    FRAME_BYTES_MAX,
    Arriving,
    Begin,
    Changed,
    Command,
    Dying,
    FrameError,
    Frames,
    Part,
    Piece,
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
UIDS = st.text(min_size=1, max_size=8)
KEYS = st.builds(ParentKey, TEXT, TEXT)
CHILDREN = st.builds(
    Child, st.just(KIND), TEXT, TEXT, UIDS, st.integers(0, 2**63), st.none() | KEYS, st.none() | st.booleans(), TEXT, TEXT,
    st.booleans(),
)  # fmt: skip


def body(frame: bytes) -> bytes:
    (found,) = Frames().feed(frame)
    return found


def parts(mail: Objects, size: int = 1_000) -> list[Part]:
    found = [report_of(body(frame)) for frame in parts_of(mail, 9, part_records=size)]
    return [each for each in found if isinstance(each, Part)]


def pieces(mail: Objects, size: int = 1_000) -> list[Piece]:
    found = [report_of(body(frame)) for frame in parts_of(mail, 9, piece_bytes=size)]
    return [each for each in found if isinstance(each, Piece)]


def listed(found: list[Piece]) -> ChildRecords:
    arriving = Arriving(KIND, Shared())
    for each in found:
        arriving.add(each)
    return arriving.records()


def kept(child: Child) -> Child:
    """As it is kept: what names no incident is not."""
    ill = child.healthy is False
    since, heartbeat = child.since if ill else "", child.heartbeat if child.silent and not ill else ""
    return msgspec.structs.replace(child, since=since, heartbeat=heartbeat)


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
            if isinstance(found, Piece):
                listed([found])
        except FrameError as error:
            words.append(str(error))

    assert all(words)


@given(
    st.lists(CHILDREN | UIDS, max_size=12, unique_by=lambda each: each if isinstance(each, str) else each.uid),
    st.integers(1, 5),
)
def test_changes_come_back_as_they_were_in_parts_of_any_size(made: list[Child | str], size: int) -> None:
    entries: dict[str, Record | None] = {each: None for each in made if isinstance(each, str)}
    entries |= {each.uid: kept(each) for each in made if isinstance(each, Child)}
    shared, read = Shared(), dict[str, Record | None]()
    for each in parts(Objects(kind=KIND, entries=entries, epoch=7), size):
        assert (each.epoch, each.version, len(each.texts) + len(each.gone) <= size) == (7, 9, True)
        read |= each.entries(KIND, shared)

    assert read == entries


@given(st.lists(CHILDREN, max_size=60, unique_by=lambda each: each.uid), st.integers(1, 3_000))
def test_a_list_comes_back_as_it_was_in_pieces_of_any_size(made: list[Child], size: int) -> None:
    """By uid, by parent, and to be gone on with: what is put and dropped afterwards is as if nothing had been sent."""
    records = ChildRecords(KIND)
    for each in made:
        records.put(each)
    found = pieces(Objects(kind=KIND, entries=records, replace=True, epoch=7), size)
    read = listed(found)

    assert {(each.epoch, each.version) for each in found} == {(7, 9)}
    assert [each.first for each in found] == [True] + [False] * (len(found) - 1)
    assert [each.last for each in found] == [False] * (len(found) - 1) + [True]
    for some in (read, records):
        some.update({"new": Child(KIND, "ns", "n", "new", 1, ParentKey("ns", "c"))})
        some.update(dict.fromkeys(each.uid for each in made[::2]))
    assert dict(read) == dict(records)
    assert {key: dict(read.of(key)) for key in parents_of(made)} == {
        key: dict(records.of(key)) for key in parents_of(made)
    }


def parents_of(made: list[Child]) -> set[ParentKey]:
    return {each.parent for each in made if each.parent is not None}


def test_an_empty_list_is_a_piece_and_empty_mail_is_nothing() -> None:
    (piece,) = pieces(Objects(kind=KIND, entries={}, replace=True))

    assert (piece.first, piece.last, dict(listed([piece]))) == (True, True, {})
    assert list(parts_of(Objects(kind=KIND, entries={}))) == []


def test_a_large_list_goes_in_many_frames_and_none_of_them_is_large() -> None:
    """One parent's children, too, may be more than a frame holds."""
    records = ChildRecords(KIND)
    for number in range(2_000):
        records.put(
            Child(
                KIND, "ns", f"n{number}", f"u{number}", number, ParentKey("ns", "c"), healthy=False, since="x" * 5_000
            )
        )
    frames = list(parts_of(Objects(kind=KIND, entries=records, replace=True), piece_bytes=20_000))

    assert len(frames) > 20
    assert max(map(len, frames)) < 60_000


def test_records_share_their_parents_across_frames() -> None:
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


def test_what_is_shared_is_bounded() -> None:
    shared = Shared(most=3)
    for number in range(100):
        assert shared.key(ParentKey("ns", str(number))) == ("ns", str(number))

    assert len(shared._keys) <= 3


@pytest.mark.parametrize(
    "change", [{"texts": []}, {"parent": [9]}, {"parent": [0, 0]}, {"keys": b"short"}, {"parents": []}]
)
def test_columns_that_do_not_fit_are_a_frame_error(change: dict[str, object]) -> None:
    (part,) = parts(Objects(kind=KIND, entries={"a": Child(KIND, "ns", "a", "a", 1, None)}))

    with pytest.raises(FrameError):
        msgspec.structs.replace(part, **change).entries(KIND, Shared())


@pytest.mark.parametrize("buckets", [[], [b"", b"", b""]])
def test_a_list_whose_rows_cannot_be_is_a_frame_error(buckets: list[bytes]) -> None:
    with pytest.raises(FrameError, match=f"a list: 3 rows in {len(buckets)} buckets"):
        listed([Piece(1, 1, True, True, [(1, None, 3, buckets)], [b""])])


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
