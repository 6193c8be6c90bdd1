"""What many say at once: the cases that a draw seldom has (all others: ``test_intake_property``, ``test_chunks_property``)."""

from __future__ import annotations

from typing import Any

from actors.core.intake import Intake
from actors.core.model import Child, ParentKey
from actors.core.said import Said

HOME = ParentKey("ns", "home")
FIELDS = ("namespace", "name", "uid", "version", "parent", "healthy", "since", "heartbeat")


def child(name: str, version: int, **fields: Any) -> Child:
    given: dict[str, Any] = {"parent": HOME, "healthy": True, "since": "t", "heartbeat": "h", **fields}
    return Child("K", "ns", name, f"u{name}", version, **given)


def listed(*children: Child, beats: bool = True) -> Intake:
    intake = Intake("K", beats=beats)
    intake.set_timeout(HOME, 30.0, 0.0)
    intake.replace(children, 10, 0.0, refused={})
    intake.stream_up(0.0, first_attempt=True)
    intake.tick(0.0)
    intake.take(1)
    return intake


def hear(intake: Intake, now: float, *children: Child) -> list[Child]:
    """All at once; who is told of then."""
    columns: list[Any] = [["MODIFIED"] * len(children)]
    columns += [*([getattr(each, field) for each in children] for field in FIELDS), None]
    intake.hear(Said(*columns), now)
    mail = intake.take(1)
    return [] if mail is None else [each for each in mail.entries.values() if isinstance(each, Child)]


def test_who_is_ill_again_is_told_of_though_the_health_is_what_it_was() -> None:
    intake = listed(child("a", 1, healthy=False, since="t1"), child("b", 2))

    told = hear(intake, 1.0, child("a", 11, healthy=False, since="t2"), child("b", 12))

    assert [(each.name, each.since) for each in told] == [("a", "t2")]
    assert not hear(intake, 2.0, child("a", 13, healthy=False, since="t2"), child("b", 14, since="t9")), (
        "b was ill meanwhile"
    )


def test_who_has_no_health_any_more_has_a_deadline() -> None:
    """Of a kind without heartbeats: until then it had none."""
    intake = listed(child("a", 1), child("b", 2), beats=False)
    assert intake.next_s is None

    told = hear(intake, 5.0, child("a", 11, healthy=None), child("b", 12))

    assert [(each.name, each.healthy) for each in told] == [("a", None)]
    assert intake.next_s == 35.0


def test_a_name_that_is_in_two_namespaces_is_two_children() -> None:
    others = Child("K", "other", "a", "u-other", 3, HOME, True, "t", "h")
    intake = listed(child("a", 1), others)

    ill = Child("K", "other", "a", "u-other", 12, HOME, False, "t1", "h")
    told = hear(intake, 1.0, child("a", 11), ill)

    assert [(each.namespace, each.healthy) for each in told] == [("other", False)]
