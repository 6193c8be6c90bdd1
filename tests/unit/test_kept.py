"""Further fields of children: from an event to a parent's roll, packed and unpacked on the way."""

from __future__ import annotations

import pytest
from attrs import evolve

from actors.core.builtin import MUSTER_FLEET
from actors.core.fleet import Field
from actors.core.health import Roll
from actors.core.intake import Intake
from actors.core.intakes import intake_of
from actors.core.kept import KeptIntake
from actors.core.model import Child, ParentKey
from actors.core.ports import Objects
from actors.core.records import ChildRecords
from actors.core.staging import Staged
from actors.edge.reader_wire import Arriving, Frames, Part, Piece, Shared, parts_of, report_of

KEY = ParentKey("ns", "p")
UID = "3d9a0a57-5a5a-4f0e-8f0e-0123456789ab"


def child(
    version: int, *, healthy: bool | None = True, fields: str = '["a"]', quiet: str = "[1]", beat: str = "h"
) -> Child:
    return Child("Node", "ns", "n", UID, version, KEY, healthy, "", beat, False, fields, quiet)


def listed(*children: Child) -> KeptIntake:
    intake = KeptIntake("Node")
    intake.replace(children, 1, 0.0, refused={})
    mail = intake.take(1)
    assert mail is not None
    return intake


def told(intake: Intake) -> list[Child]:
    mail = intake.take(1)
    return [] if mail is None else [each for each in mail.entries.values() if isinstance(each, Child)]


def test_the_intake_is_chosen_by_what_a_kind_has() -> None:
    compute, storage = MUSTER_FLEET.children
    fleet = evolve(MUSTER_FLEET, children=(evolve(compute, fields=(Field(name="a", path="a"),)), storage))

    found = [type(intake_of(fleet, kind)) for kind in ("Cluster", "ComputeNode", "StorageNode")]

    assert found == [Intake, KeptIntake, Intake]


def test_a_field_that_matters_is_news_and_a_quiet_one_is_not_but_both_go_on() -> None:
    intake = listed(child(1))

    assert intake.event("MODIFIED", child(2, fields='["b"]'), 1.0) is True
    assert [(each.fields, each.version) for each in told(intake)] == [('["b"]', 2)]
    assert intake.event("MODIFIED", child(3, fields='["b"]', quiet="[2]"), 2.0) is False
    assert [(each.quiet, each.version) for each in told(intake)] == [("[2]", 3)]
    assert intake.event("MODIFIED", child(4, fields='["b"]', quiet="[2]"), 3.0) is False
    assert told(intake) == []


def test_a_heartbeat_with_the_same_fields_wakes_nobody() -> None:
    intake = listed(child(1))

    assert intake.event("MODIFIED", child(2, beat="h2"), 1.0) is False
    assert told(intake) == []


def test_a_change_of_a_field_is_no_sign_of_life() -> None:
    """Anybody may have written it."""
    intake = listed(child(1))
    intake.set_timeout(KEY, 10.0, 0.0)
    intake.stream_up(0.0, first_attempt=True)
    intake.event("MODIFIED", child(2, fields='["b"]'), 9.0)
    told(intake)
    intake.bookmark(3, 10.5)

    intake.tick(11.0)

    assert [each.silent for each in told(intake)] == [True]


def test_a_change_of_health_brings_the_fields_along() -> None:
    intake = listed(child(1))

    assert intake.event("MODIFIED", child(2, healthy=False, quiet="[9]"), 1.0) is True
    assert [(each.healthy, each.fields, each.quiet) for each in told(intake)] == [(False, '["a"]', "[9]")]
    assert intake.event("DELETED", child(3), 2.0)
    intake.event("ADDED", child(4, fields="", quiet=""), 3.0)
    assert [(each.fields, each.quiet) for each in told(intake)] == [("", "")], "nothing of its predecessor"


@pytest.mark.parametrize("healthy", [True, False])
def test_packed_and_unpacked_they_are_the_same(healthy: bool) -> None:
    """As rows of a list, as rows put one by one, as lines of a list in the making, over the pipe."""
    one = child(1, healthy=healthy, fields='["a\\n\\\\ä"]', beat="")
    mail = listed_mail(one)

    assert list(mail.values()) == [one]
    assert list(mail) == [UID]
    records = ChildRecords("Node")
    records.put(one)
    assert records.find(UID) == one
    staged = Staged()
    staged.put("ADDED", one)
    assert list(staged.take()) == [one]


def listed_mail(one: Child) -> ChildRecords:
    intake = KeptIntake("Node")
    intake.replace([one], 1, 0.0, refused={})
    mail = intake.take(1)
    assert mail is not None
    assert isinstance(mail.entries, ChildRecords)
    arriving = Arriving("Node", Shared())
    for frame in frames_of(mail):
        piece = report_of(frame)
        assert isinstance(piece, Piece)
        arriving.add(piece)
    assert dict(arriving.records()) == {UID: one}
    (frame,) = frames_of(Objects(kind="Node", entries={UID: one}, epoch=1))
    part = report_of(frame)
    assert isinstance(part, Part)
    assert dict(part.entries("Node", Shared())) == {UID: one}
    return mail.entries


def frames_of(mail: Objects) -> list[bytes]:
    frames = Frames()
    return [frame for part in parts_of(mail) for frame in frames.feed(part)]


def test_a_roll_takes_a_quiet_change_without_a_difference() -> None:
    roll = Roll(("Node",), KEY)
    roll.put(child(1, healthy=False, beat=""))

    assert roll.put(child(2, healthy=False, beat="", quiet="[5]")) is False
    assert (roll.eligible[UID].quiet, roll.children[UID].quiet) == ("[5]", "[5]")
    assert roll.put(child(3, healthy=False, beat="", fields='["z"]')) is True
