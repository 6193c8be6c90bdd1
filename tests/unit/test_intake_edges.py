"""The intake at its edges: versions compared with the right ones, deadlines that nobody else announces, nothing left behind."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from actors.core.intake import Intake
from actors.core.model import Child, Parent, ParentKey, ParentSpec, Record

HOME, AWAY = ParentKey("ns", "home"), ParentKey("ns", "away")
WALL_S = 1_750_000_000.0


def seen(
    uid: str, version: int, *, name: str = "", namespace: str = "ns", beat: str = "b0", healthy: bool | None = True,
    since: str = "", parent: ParentKey | None = HOME,
) -> Child:  # fmt: skip
    return Child("K", namespace, name or uid, uid, version, parent, healthy, since, beat)


def parent(version: int) -> Parent:
    return Parent(kind="P", key=HOME, uid="p", version=version, generation=1, spec=ParentSpec(), status={})


def told(record: Child) -> Child:
    """As it is passed on: without what names an incident where there is none."""
    return msgspec.structs.replace(record, heartbeat="", since=record.since if record.healthy is False else "")


def stamp(wall_s: float) -> str:
    return datetime.fromtimestamp(wall_s, UTC).isoformat()


def listed(*children: Child, timeout_s: float | None = None) -> Intake:
    """An intake after its list of version 100 at 0 s, its stream up, its first mail taken, and one look."""
    intake = Intake("K")
    if timeout_s is not None:
        intake.set_timeout(HOME, timeout_s, 0.0)
    intake.set_wall(0.0, WALL_S)
    intake.replace(children, 100, 0.0, refused={})
    intake.stream_up(0.0, first_attempt=True)
    intake.take(1)
    intake.tick(0.0)
    return intake


def out(intake: Intake) -> dict[str, Record | None]:
    mail = intake.take(1)
    return {} if mail is None else dict(mail.entries)


def verdicts(intake: Intake, now: float) -> dict[str, bool]:
    """With a frame at ``now``: whose silence began (True) or ended (False) since the last look."""
    intake.bookmark(0, now)
    intake.tick(now)
    found = {}
    for uid, record in out(intake).items():
        assert isinstance(record, Child)
        found[uid] = record.silent
    return found


def child(intake: Intake, uid: str) -> Child:
    record = intake.record(uid)
    assert isinstance(record, Child)
    return record


# --- what comes in ----------------------------------------------------------------------------------------------------


def test_mail_names_its_kind_and_epoch() -> None:
    """It is sorted by them where it arrives."""
    intake = listed()
    assert intake.take(5) is None
    intake.event("ADDED", seen("a", 101), 1.0)
    change = intake.take(5)
    intake.replace([seen("a", 101)], 200, 2.0, refused={})
    whole = intake.take(6)

    assert change is not None
    assert whole is not None
    assert [(mail.kind, mail.epoch, mail.replace) for mail in (change, whole)] == [("K", 5, False), ("K", 6, True)]


def test_nothing_has_been_taken_in_at_first() -> None:
    """A watch from version 0 would be the server's choice of a state, so it must be known that there is none."""
    intake = Intake("K")

    assert (intake.kind, intake.version, len(intake), intake.take(1), intake.next_s) == ("K", 0, 0, None, None)
    assert (intake.record("a"), intake.newest("a")) == (None, None)


def test_creations_and_deletions_matter() -> None:
    intake = listed(seen("a", 1))

    assert intake.event("ADDED", seen("b", 101), 1.0) is True
    assert intake.event("DELETED", seen("a", 102), 1.0) is True
    assert (intake.newest("a"), intake.newest("b")) == (None, 101)


def test_a_known_objects_version_is_compared_with_its_own() -> None:
    """Not with the newest of all: what is newer than what we hold of it is news, whoever spoke in between."""
    intake = listed(seen("a", 1), seen("b", 2), seen("c", 3))
    intake.event("MODIFIED", seen("a", 110, healthy=False), 1.0)

    assert intake.event("MODIFIED", seen("b", 105, healthy=False), 1.0) is True
    intake.refuse("c", 105, "DELETED", 1.0)
    assert out(intake)["c"] is None


def test_what_cannot_be_read_and_is_old_changes_nothing() -> None:
    """A deletion that is repeated, of what has been created again since."""
    intake = listed(seen("a", 50))
    intake.refuse("a", 50, "DELETED", 1.0)
    intake.refuse("a", 49, "DELETED", 1.0)

    assert (out(intake), len(intake)) == ({}, 1)


def test_an_older_list_does_not_take_the_version_back_unless_forced() -> None:
    """The version is where a watch resumes: taken back, the past would be replayed."""
    intake = listed(seen("a", 90))
    intake.replace([seen("a", 40, healthy=False)], 50, 1.0, refused={})
    assert (intake.version, child(intake, "a").healthy) == (100, True)

    intake.replace([seen("a", 40, healthy=False)], 50, 1.0, refused={}, force=True)
    assert (intake.version, child(intake, "a").healthy) == (50, False)


def test_three_of_one_name_follow_each_other() -> None:
    """Deleted and created anew under its name while we looked away, twice."""
    intake = listed(seen("a", 50, name="n"))
    intake.event("ADDED", seen("b", 101, name="n"), 1.0)
    intake.event("ADDED", seen("c", 102, name="n"), 1.0)

    assert out(intake) == {"a": None, "b": None, "c": told(seen("c", 102, name="n"))}
    assert len(intake) == 1


def test_namesakes_in_two_namespaces_are_two() -> None:
    intake = listed(seen("a", 50, name="n"))
    intake.event("ADDED", seen("b", 101, name="n", namespace="other"), 1.0)

    assert list(out(intake)) == ["b"]


def test_of_a_parent_the_newest_record_is_kept() -> None:
    """A watcher that was restarted gets it again."""
    intake = Intake("P")
    intake.replace([parent(5)], 100, 0.0, refused={})
    intake.take(1)
    intake.event("MODIFIED", parent(101), 1.0)
    intake.replace([parent(101)], 101, 2.0, refused={})

    assert (intake.record("p"), out(intake)) == (parent(101), {"p": parent(101)})


# --- the audit --------------------------------------------------------------------------------------------------------


def test_an_audit_knows_who_has_gone_since_it_began() -> None:
    """By deletion, by a deletion that could not be read, by a list; not those before, and nobody twice."""
    intake = listed(*(seen(uid, n + 1) for n, uid in enumerate("abcde")))
    intake.event("DELETED", seen("a", 101), 1.0)
    intake.begin_audit()
    intake.event("DELETED", seen("b", 102), 1.0)
    intake.refuse("c", 103, "DELETED", 1.0)
    intake.replace([seen("e", 5)], 200, 1.0, refused={})

    assert intake.end_audit() == {"b", "c", "d"}
    assert intake.end_audit() == set()


def test_an_audit_excuses_who_cannot_be_read_for_as_long_as_that_is_so() -> None:
    """A record that is behind because of a bad object is no loss of ours."""
    intake = listed(seen("a", 1), seen("b", 2), seen("c", 3), seen("d", 4))
    for n, uid in enumerate("abcd"):
        intake.refuse(uid, 101 + n, "MODIFIED", 1.0)
    intake.begin_audit()
    assert intake.end_audit() == {"a", "b", "c", "d"}

    intake.event("MODIFIED", seen("a", 110), 2.0)
    intake.event("MODIFIED", seen("z", 111), 2.0)
    assert intake.end_audit() == {"b", "c", "d"}
    intake.refuse("b", 112, "DELETED", 2.0)
    intake.refuse("y", 113, "DELETED", 2.0)
    assert intake.end_audit() == {"c", "d"}
    intake.replace([seen("c", 104), seen("d", 4)], 200, 3.0, refused={"d": 120})
    assert intake.end_audit() == {"d"}


# --- who is silent ----------------------------------------------------------------------------------------------------


def test_who_comes_later_has_a_deadline_of_its_own() -> None:
    """Nobody else's look announces it: the parent's other children are silent, or there are none."""
    intake = listed(timeout_s=10.0)
    intake.event("ADDED", seen("a", 101), 5.0)
    out(intake)

    assert intake.next_s == 15.0
    assert verdicts(intake, 15.0) == {"a": True}
    intake.event("ADDED", seen("b", 102), 20.0)
    out(intake)
    assert intake.next_s == 30.0
    assert verdicts(intake, 30.0) == {"b": True}, "and nothing is told of the other a second time"


def test_who_is_heard_again_has_a_new_deadline() -> None:
    intake = listed(seen("a", 1), timeout_s=10.0)
    assert verdicts(intake, 10.0) == {"a": True}
    intake.event("MODIFIED", seen("a", 101, beat="b1"), 20.0)
    assert verdicts(intake, 20.0) == {"a": False}

    assert intake.next_s == 30.0
    assert verdicts(intake, 30.0) == {"a": True}


def test_who_moves_has_a_deadline_with_the_new_parent() -> None:
    """It may be the only child there."""
    intake = listed(seen("a", 1))
    intake.set_timeout(AWAY, 30.0, 0.0)
    intake.tick(1.0)
    intake.event("MODIFIED", seen("a", 101, parent=AWAY), 5.0)
    out(intake)

    assert intake.next_s == 30.0
    assert verdicts(intake, 30.0) == {"a": True}


def test_a_turn_of_health_is_a_report_even_with_the_old_heartbeat() -> None:
    """Some agents write the two fields apart."""
    for turned in (seen("a", 101, healthy=False), seen("a", 101, since="t1")):
        intake = listed(seen("a", 1), timeout_s=10.0)
        intake.event("MODIFIED", turned, 6.0)
        out(intake)

        assert verdicts(intake, 15.9) == {}
        assert verdicts(intake, 16.0) == {"a": True}


def test_a_clock_that_is_an_hour_slow_counts_at_first_sight_only() -> None:
    """Then we hear it ourselves, and go by our own clock."""
    intake = listed(timeout_s=60.0)
    intake.event("ADDED", seen("a", 101, beat=stamp(WALL_S - 3600.0)), 1.0)
    record = out(intake)["a"]
    assert isinstance(record, Child)
    assert (record.silent, record.heartbeat) == (True, stamp(WALL_S - 3600.0))

    intake.event("MODIFIED", seen("a", 102, beat=stamp(WALL_S - 3590.0)), 11.0)
    assert verdicts(intake, 11.0) == {"a": False}
    assert verdicts(intake, 70.9) == {}
    assert verdicts(intake, 71.0) == {"a": True}


@pytest.mark.parametrize(("age_s", "silent"), [(120.0, False), (120.5, True)])
def test_a_first_report_may_be_as_old_as_timeout_and_skew(age_s: float, silent: bool) -> None:
    intake = listed(timeout_s=60.0)
    intake.event("ADDED", seen("a", 101, beat=stamp(WALL_S + 1.0 - age_s)), 1.0)

    assert child(intake, "a").silent is silent


def test_without_the_servers_time_nobody_is_old_at_first_sight() -> None:
    """A server that sends no Date header: then silence counts from when we saw it."""
    intake = Intake("K")
    intake.set_timeout(HOME, 60.0, 0.0)
    intake.replace([seen("a", 1, beat="2001-01-01T00:00:00Z")], 100, 0.0, refused={})
    intake.stream_up(0.0, first_attempt=True)
    intake.take(1)

    assert verdicts(intake, 59.0) == {}
    assert verdicts(intake, 60.0) == {"a": True}


def test_a_shorter_timeout_frees_nobody() -> None:
    intake = listed(seen("a", 1), timeout_s=60.0)
    assert verdicts(intake, 60.0) == {"a": True}
    intake.set_timeout(HOME, 30.0, 61.0)
    assert verdicts(intake, 61.0) == {}

    intake.set_timeout(HOME, 70.0, 70.0)
    assert verdicts(intake, 70.0) == {}, "due in this very instant"
    intake.set_timeout(HOME, 80.0, 71.0)
    freed = out(intake)["a"]
    assert isinstance(freed, Child)
    assert (freed.silent, freed.heartbeat) == (False, "")


def test_who_is_silent_and_is_relabelled_keeps_its_last_heartbeat() -> None:
    """The incident is named after it: another name would be another repair."""
    intake = listed(seen("a", 1), timeout_s=10.0)
    intake.event("MODIFIED", seen("a", 101, beat="last"), 5.0)
    assert verdicts(intake, 15.0) == {"a": True}
    intake.event("MODIFIED", seen("a", 102, beat="last"), 16.0)

    assert child(intake, "a").incident == "silent@last"


def test_nobody_is_judged_before_the_stream_is_up() -> None:
    """The list may take minutes."""
    intake = Intake("K")
    intake.set_timeout(HOME, 10.0, 0.0)
    intake.replace([seen("a", 1)], 100, 0.0, refused={})
    intake.take(1)

    assert verdicts(intake, 50.0) == {}
    intake.stream_up(60.0, first_attempt=True)
    assert verdicts(intake, 69.9) == {}, "the clocks start when it is up"
    assert verdicts(intake, 70.0) == {"a": True}


def test_a_resumed_watch_is_proof_only_when_its_replay_has_had_time_to_arrive() -> None:
    intake = listed(seen("a", 1), timeout_s=60.0)
    intake.tick(60.4)
    intake.stream_down(60.4)
    intake.stream_up(61.0, first_attempt=True)
    found = {}
    for now in (61.0, 61.1, 61.19, 61.2, 61.4):
        intake.tick(now)
        found[now] = list(out(intake))

    assert found == {61.0: [], 61.1: [], 61.19: [], 61.2: ["a"], 61.4: []}


@pytest.mark.parametrize(("gap_s", "due_s"), [(2.0, 60.0), (2.1, 112.1)])
def test_two_seconds_are_still_a_rotation(gap_s: float, due_s: float) -> None:
    intake = listed(seen("a", 1), timeout_s=60.0)
    intake.stream_down(50.0)
    intake.stream_up(50.0 + gap_s, first_attempt=True)

    assert verdicts(intake, due_s - 0.1) == {}
    assert verdicts(intake, due_s) == {"a": True}


# --- what is left -----------------------------------------------------------------------------------------------------


def test_nothing_is_left_of_those_who_have_gone() -> None:
    """Parents and children come and go for years."""
    intake = listed()
    for n in range(50):
        key = ParentKey("ns", f"p{n}")
        intake.set_timeout(key, 10.0 if n % 2 else None, 1.0)
        intake.event("ADDED", seen(f"u{n}", 101 + 4 * n, parent=key, namespace=f"ns{n}"), 1.0)
        if n % 3:
            intake.event("MODIFIED", seen(f"u{n}", 102 + 4 * n, parent=HOME, namespace=f"ns{n}"), 1.0)
        intake.event("DELETED", seen(f"u{n}", 103 + 4 * n, parent=HOME, namespace=f"ns{n}"), 1.0)
        intake.set_timeout(key, None, 2.0)

    assert (len(intake), len(intake._groups)) == (0, 0)


def test_a_parent_whose_timeout_ends_keeps_its_children() -> None:
    """They may get another timeout, and leave one by one."""
    intake = listed(seen("a", 1), seen("b", 2), timeout_s=10.0)
    intake.set_timeout(HOME, None, 1.0)
    intake.event("DELETED", seen("a", 101), 2.0)
    out(intake)
    intake.set_timeout(HOME, 10.0, 3.0)

    assert verdicts(intake, 10.0) == {"b": True}


def test_a_parent_whose_children_have_all_gone_keeps_its_timeout() -> None:
    """It holds for those who come."""
    intake = listed(seen("a", 1), timeout_s=10.0)
    intake.event("DELETED", seen("a", 101), 2.0)
    intake.event("ADDED", seen("b", 102), 3.0)
    out(intake)

    assert verdicts(intake, 13.0) == {"b": True}
