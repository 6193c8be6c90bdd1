"""The intake: only what matters goes out, and whoever falls silent is found on time, by a live stream only."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from actors.core.intake import Intake
from actors.core.model import Child, Parent, ParentKey, ParentSpec

HOME, AWAY = ParentKey("ns", "home"), ParentKey("ns", "away")
WALL_S = 1_750_000_000.0


def seen(
    uid: str, version: int, *, name: str = "", beat: str = "b0", healthy: bool | None = True, since: str = "",
    parent: ParentKey | None = HOME,
) -> Child:  # fmt: skip
    return Child("K", "ns", name or uid, uid, version, parent, healthy, since, beat)


def parent(version: int, **status: Any) -> Parent:
    spec = ParentSpec()
    return Parent(kind="P", key=HOME, uid="p", version=version, generation=1, spec=spec, status=status)


def told(record: Child) -> Child:
    """As it is passed on: without what names an incident where there is none."""
    return msgspec.structs.replace(record, heartbeat="", since=record.since if record.healthy is False else "")


def stamp(wall_s: float) -> str:
    return datetime.fromtimestamp(wall_s, UTC).isoformat()


def listed(*children: Child, timeout_s: float | None = None, now: float = 0.0, beats: bool = True) -> Intake:
    """An intake after its list at ``now``, its stream up, its first mail taken."""
    intake = Intake("K", beats=beats)
    if timeout_s is not None:
        intake.set_timeout(HOME, timeout_s, now)
    intake.set_wall(now, WALL_S + now)
    intake.replace(children, 100, now, refused={})
    intake.stream_up(now, first_attempt=True)
    mail = intake.take(1)
    assert mail is not None
    assert mail.replace
    return intake


def out(intake: Intake) -> dict[str, Any]:
    mail = intake.take(1)
    return {} if mail is None else dict(mail.entries)


def silent(intake: Intake, now: float) -> set[str]:
    """Who fell silent (``uid``) or was heard again (``-uid``) by the tick at ``now``."""
    intake.tick(now)
    return {uid if record.silent else f"-{uid}" for uid, record in out(intake).items()}


# --- what matters -----------------------------------------------------------------------------------------------------


def test_a_heartbeat_that_changes_nothing_goes_nowhere() -> None:
    intake = listed(seen("a", 1))

    assert [intake.event("MODIFIED", seen("a", 101 + n, beat=f"b{n + 1}"), 1.0 + n) for n in range(10)] == [False] * 10
    assert out(intake) == {}
    assert (intake.version, intake.newest("a")) == (110, 110)


@pytest.mark.parametrize(
    "change",
    [
        {"healthy": False},
        {"healthy": None},
        {"healthy": False, "since": "x"},
        {"parent": AWAY},
        {"parent": None},
        {"healthy": False, "parent": AWAY},
    ],
)
def test_each_material_change_goes_out_once(change: dict[str, Any]) -> None:
    intake = listed(seen("a", 1))
    changed = seen("a", 101, **change)

    assert intake.event("MODIFIED", changed, 1.0) is True
    assert out(intake) == {"a": told(changed)}
    assert intake.event("MODIFIED", seen("a", 102, **change), 1.0) is False


def test_a_change_and_its_return_within_one_chunk_are_told_as_the_last() -> None:
    intake = listed(seen("a", 1))
    intake.event("MODIFIED", seen("a", 101, healthy=False), 1.0)
    intake.event("MODIFIED", seen("a", 102, healthy=True), 1.0)

    assert out(intake) == {"a": told(seen("a", 102))}


def test_old_versions_and_repetitions_change_nothing() -> None:
    intake = listed(seen("a", 50))
    intake.event("MODIFIED", seen("a", 110, healthy=False), 1.0)
    out(intake)

    for version in (110, 109, 50, 1):
        assert intake.event("MODIFIED", seen("a", version), 1.0) is False
        assert intake.event("DELETED", seen("a", version), 1.0) is False
    assert out(intake) == {}


def test_a_replayed_past_does_not_bring_back_who_is_gone() -> None:
    """A server that lags may replay the creation of something deleted since (time travel)."""
    intake = listed(seen("a", 50))
    intake.event("DELETED", seen("a", 105), 1.0)
    assert out(intake) == {"a": None}

    assert intake.event("ADDED", seen("a", 101), 2.0) is False
    assert len(intake) == 0


def test_another_uid_under_the_same_name_is_a_deletion_and_a_creation() -> None:
    intake = listed(seen("a", 50, name="n"))
    intake.event("ADDED", seen("b", 101, name="n"), 1.0)

    assert out(intake) == {"a": None, "b": told(seen("b", 101, name="n"))}
    assert intake.event("DELETED", seen("a", 102, name="n"), 1.0) is False


def test_a_list_replaces_everything_and_counts_who_is_missing() -> None:
    intake = listed(seen("a", 1), seen("b", 2), seen("c", 3, name="n"))
    done = intake.replace([seen("b", 2), seen("d", 150, name="n"), seen("e", 151)], 200, 5.0, refused={})

    mail = intake.take(1)
    assert mail is not None
    assert mail.replace
    assert set(mail.entries) == {"b", "d", "e"}
    assert (done.count, done.missing) == (3, 2)


def test_who_cannot_be_read_in_a_list_keeps_the_last_record() -> None:
    intake = listed(seen("a", 1), seen("b", 2))
    done = intake.replace([seen("b", 2)], 200, 5.0, refused={"a": 120})

    assert (done.count, done.missing) == (2, 0)
    assert intake.record("a") == told(seen("a", 1))


def test_a_deletion_that_cannot_be_read_is_a_deletion() -> None:
    intake = listed(seen("a", 1), seen("b", 2))
    intake.refuse("a", 101, "MODIFIED", 1.0)
    assert (out(intake), intake.version) == ({}, 101)
    intake.refuse("a", 102, "DELETED", 1.0)

    assert out(intake) == {"a": None}


def test_of_a_parent_every_new_version_goes_out() -> None:
    intake = Intake("P")
    intake.replace([parent(5)], 100, 0.0, refused={})
    assert intake.take(3) is not None

    assert intake.event("MODIFIED", parent(101), 1.0) is True
    assert intake.event("MODIFIED", parent(101), 1.0) is False
    assert intake.event("MODIFIED", parent(102, total=1), 1.0) is True
    assert out(intake)["p"].status == {"total": 1}


# --- who is silent ----------------------------------------------------------------------------------------------------


def test_silence_is_told_once_at_its_deadline_and_ends_with_a_report() -> None:
    intake = listed(seen("a", 1), seen("b", 2), timeout_s=60.0)
    beats = {10.0: "b1", 20.0: "b2"}
    version = 100
    table = {10.0: set(), 20.0: set(), 79.9: set(), 80.1: {"a"}, 81.0: set(), 90.0: set(), 95.0: set()}
    found = {}
    for now in table:
        version += 2
        if now in beats:
            intake.event("MODIFIED", seen("a", version, beat=beats[now]), now)
        intake.event("MODIFIED", seen("b", version + 1, beat=f"x{now}"), now)
        found[now] = silent(intake, now)
    intake.event("MODIFIED", seen("a", version + 3, beat="b3"), 96.0)

    assert found == table
    assert out(intake) == {"a": told(seen("a", version + 3, beat="b3"))}
    assert intake.next_s is not None
    assert intake.next_s <= 156.0


def test_a_silent_record_tells_the_last_heartbeat() -> None:
    """The incident is named after it, so it must be the last one, though beats themselves go nowhere."""
    intake = listed(seen("a", 1), seen("z", 2), timeout_s=10.0)
    intake.event("MODIFIED", seen("a", 101, beat="last"), 5.0)
    intake.event("MODIFIED", seen("z", 102, beat="z"), 15.0)
    intake.tick(15.1)

    record = out(intake)["a"]
    assert (record.silent, record.heartbeat, record.healthy) == (True, "last", True)
    assert record.incident == "silent@last"


def test_only_a_report_ends_a_silence() -> None:
    """Somebody labels the silent node: that is not the node speaking."""
    intake = listed(seen("a", 1), timeout_s=10.0)
    intake.bookmark(100, 10.5)
    assert silent(intake, 10.5) == {"a"}

    intake.set_timeout(AWAY, 12.0, 10.6)
    assert intake.event("MODIFIED", seen("a", 101), 11.0) is False
    assert intake.event("MODIFIED", seen("a", 102, parent=AWAY), 12.0) is True
    assert out(intake)["a"].silent is True


@pytest.mark.parametrize(("timeout_s", "verdict_s"), [(None, None), (40.0, 40.0)])
def test_who_moves_is_judged_by_the_new_parents_timeout(timeout_s: float | None, verdict_s: float | None) -> None:
    """Found by the simulator: silent under one parent, it stayed so under another that waits longer, and was repaired."""
    intake = listed(seen("a", 1), timeout_s=10.0)
    intake.set_timeout(AWAY, timeout_s, 0.0)
    intake.bookmark(100, 10.5)
    assert silent(intake, 10.5) == {"a"}

    assert intake.event("MODIFIED", seen("a", 101, parent=AWAY), 12.0) is True
    assert out(intake)["a"].silent is False
    assert intake.next_s == verdict_s


def test_who_never_reported_is_silent_after_the_timeout_from_first_sight() -> None:
    intake = listed(timeout_s=10.0)
    intake.event("ADDED", seen("a", 101, healthy=None, beat=""), 5.0)
    out(intake)
    intake.bookmark(102, 15.0)

    assert silent(intake, 14.9) == set()
    assert silent(intake, 15.0) == {"a"}


@pytest.mark.parametrize(
    ("age_s", "expected"),
    [(0.0, False), (60.0, False), (119.0, False), (121.0, True), (86400.0, True), (-3600.0, False)],
)
@pytest.mark.parametrize("timeout_first", [True, False])
def test_at_first_sight_a_report_older_than_timeout_and_skew_is_silent_at_once(
    age_s: float, expected: bool, timeout_first: bool
) -> None:
    """By the API server's clock; and whichever comes first, the list or the timeout."""
    old = seen("a", 1, beat=stamp(WALL_S + 50.0 - age_s))
    intake = listed(old, timeout_s=60.0 if timeout_first else None, now=50.0)
    if not timeout_first:
        intake.set_timeout(HOME, 60.0, 52.0)
    intake.tick(52.0)

    record = intake.record("a")
    assert isinstance(record, Child)
    assert record.silent is expected


def test_without_a_timeout_nobody_is_silent() -> None:
    intake = listed(seen("a", 1, beat="2001-01-01T00:00:00Z"))
    intake.bookmark(100, 1e9)

    assert intake.next_s is None
    assert silent(intake, 1e9) == set()


def test_a_changed_timeout_holds_at_once() -> None:
    intake = listed(seen("a", 1), timeout_s=60.0)
    intake.bookmark(100, 30.0)
    assert silent(intake, 30.0) == set()

    intake.set_timeout(HOME, 20.0, 30.0)
    assert silent(intake, 30.0) == {"a"}
    intake.set_timeout(HOME, 40.0, 31.0)
    assert silent(intake, 31.0) == {"-a"}
    intake.bookmark(100, 41.0)
    assert silent(intake, 41.0) == {"a"}
    intake.set_timeout(HOME, None, 42.0)
    assert silent(intake, 42.0) == {"-a"}
    assert silent(intake, 1e6) == set()


def test_who_moves_is_judged_by_the_new_parent() -> None:
    intake = listed(seen("a", 1), timeout_s=10.0)
    intake.set_timeout(AWAY, 30.0, 0.0)
    intake.event("MODIFIED", seen("a", 101, parent=AWAY), 5.0)
    out(intake)
    intake.bookmark(102, 31.0)

    assert silent(intake, 29.0) == set()
    assert silent(intake, 31.0) == {"a"}  # a move is not a report: the clock runs on from 0


def test_kinds_without_heartbeats_fall_silent_only_before_their_first_report() -> None:
    intake = listed(seen("a", 1, beat=""), seen("b", 2, beat="", healthy=None), timeout_s=10.0, beats=False)
    intake.bookmark(100, 50.0)

    assert silent(intake, 50.0) == {"b"}
    intake.event("MODIFIED", seen("b", 101, beat=""), 51.0)
    out(intake)
    assert silent(intake, 1000.0) == set()


# --- the stream -------------------------------------------------------------------------------------------------------


def test_a_verdict_waits_for_proof_that_the_stream_lives() -> None:
    """A half-open connection must not turn a fleet silent: a resumed watch replays what was missed."""
    intake = listed(seen("a", 1), timeout_s=60.0)

    assert (silent(intake, 60.1), intake.needs_proof(60.1)) == (set(), False)
    assert (silent(intake, 60.31), intake.needs_proof(60.31)) == (set(), True)
    intake.stream_down(60.31)
    intake.stream_up(60.35, first_attempt=True)
    assert (silent(intake, 60.4), intake.needs_proof(60.4)) == (set(), False)
    assert silent(intake, 60.56) == {"a"}


def test_a_replay_acquits() -> None:
    intake = listed(seen("a", 1), timeout_s=60.0)
    silent(intake, 60.4)
    intake.stream_down(60.4)
    intake.stream_up(60.45, first_attempt=True)
    intake.event("MODIFIED", seen("a", 101, beat="missed"), 60.46)

    assert silent(intake, 60.7) == set()
    intake.bookmark(102, 120.5)
    assert silent(intake, 120.5) == {"a"}


def test_another_childs_frame_after_the_deadline_is_proof() -> None:
    intake = listed(seen("a", 1), seen("b", 2), timeout_s=60.0)
    intake.event("MODIFIED", seen("b", 101, beat="x"), 60.2)

    assert silent(intake, 60.3) == {"a"}
    assert intake.needs_proof(61.0) is False


def test_while_the_stream_is_down_nobody_is_judged_and_afterwards_the_clocks_start_again() -> None:
    intake = listed(seen("a", 1), timeout_s=60.0)
    intake.stream_down(50.0)
    assert intake.next_s is None
    assert (silent(intake, 100.0), intake.needs_proof(100.0)) == (set(), False)
    intake.stream_up(110.0, first_attempt=False)

    intake.bookmark(101, 169.0)
    assert silent(intake, 169.0) == set()
    intake.bookmark(102, 170.1)
    assert silent(intake, 170.1) == {"a"}


@pytest.mark.parametrize(
    ("gap_s", "first_attempt", "due_s"),
    [(0.05, True, 60.0), (1.9, True, 60.0), (0.05, False, 50.05), (2.5, True, 52.5)],
)
def test_a_rotation_keeps_deadlines_and_an_outage_does_not(gap_s: float, first_attempt: bool, due_s: float) -> None:
    """Watches end every twenty seconds by agreement; were each an outage, no timeout beyond that would ever pass."""
    intake = listed(seen("a", 1), timeout_s=60.0)
    for ended_s in (20.0, 40.0):
        intake.stream_down(ended_s)
        intake.stream_up(ended_s + 0.02, first_attempt=True)
    intake.stream_down(50.0)
    intake.stream_up(50.0 + gap_s, first_attempt=first_attempt)
    due_s = due_s if due_s == 60.0 else due_s + 60.0

    intake.bookmark(101, due_s - 0.1)
    assert silent(intake, due_s - 0.1) == set()
    intake.bookmark(102, due_s + 0.1)
    assert silent(intake, due_s + 0.1) == {"a"}


def test_an_outage_does_not_acquit_who_was_silent_before() -> None:
    intake = listed(seen("a", 1), timeout_s=60.0)
    intake.bookmark(101, 61.0)
    assert silent(intake, 61.0) == {"a"}
    intake.stream_down(70.0)
    intake.replace([seen("a", 1)], 300, 200.0, refused={})
    intake.stream_up(200.0, first_attempt=False)

    mail = intake.take(1)
    assert mail is not None
    record = mail.entries["a"]
    assert isinstance(record, Child)
    assert record.silent


def test_many_deadlines_need_few_scans() -> None:
    """A beat touches no timer: one entry per parent waits, however many children beat."""
    children = [seen(f"u{n}", n + 1) for n in range(200)]
    intake = listed(*children, timeout_s=30.0)
    version = 1000
    for second in range(1, 300):
        for n in range(second % 10, 200, 10):
            version += 1
            intake.event("MODIFIED", seen(f"u{n}", version, beat=str(second)), float(second))
        assert silent(intake, float(second)) == set()

    assert len(intake._due) < 20
