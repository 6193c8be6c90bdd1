"""What the demo shows: a glance is copied from statistics and records, and drawing needs nothing but the glance."""

from __future__ import annotations

import io
from typing import Any

import pytest
from attrs import evolve
from rich.console import Console

from actors.core import events
from actors.core.model import Parent, ParentKey, ParentSpec
from actors.core.quantity import Quota
from actors.ops.view import RECENT_MAX, Glance, Row, Tally, glance, line, picture, told

QUOTA = Quota(10, 1.0)
GATEWAY = {
    "queue": {"ready": 3, "ready_retries": 1, "waiting": 2, "blocked": 1, "in_flight": 5, "oldest_wait_s": 0.7},
    "ledger": {"quota": "10/1s", "free": 6, "open": 1, "spent": 3, "cold": False},
    "calls_in_flight": 1,
}
LOOK = Glance(
    ran_s=3.0, left_s=17.0, quota=QUOTA, used=4, queued=6, oldest_s=0.7, in_flight=1, calls=5, items=33,
    rows=tuple(Row(name=f"default/fleet-{n:02}", total=25, healthy=25 - n, unhealthy=n) for n in range(20)),
    recent=("call abcdef: 8 nodes of 8 clusters, waited 0.05 s",),
)  # fmt: skip


def parent(name: str, status: dict[str, Any]) -> Parent:
    key = ParentKey("default", name)
    return Parent(kind="Cluster", key=key, uid=name, version=1, generation=1, spec=ParentSpec(), status=status)


def looked(*parents: Parent, tally: Tally | None = None, cells: dict[str, dict[str, Any]] | None = None) -> Glance:
    return glance(
        cells={"gateway": GATEWAY} if cells is None else cells, parents=parents, tally=tally or Tally(), quota=QUOTA,
        ran_s=1.0, left_s=None,
    )  # fmt: skip


def drawn(look: Glance, *, height: int = 50, width: int = 120) -> str:
    out = io.StringIO()
    Console(file=out, width=width, height=height, force_terminal=False).print(
        picture(look, height=height, hint="kubectl …")
    )
    return out.getvalue()


def condition(name: str, status: str, reason: str) -> dict[str, str]:
    return {"type": name, "status": status, "reason": reason}


def test_a_glance_has_the_counts_that_stand_in_the_statuses() -> None:
    status = {"total": 5, "healthy": 2, "unhealthy": 2, "unknown": 1, "repairing": 1}
    look = looked(parent("b", status), parent("a", {**status, "total": "many"}))

    assert ["default/a", "default/b"] == [row.name for row in look.rows]
    assert Row(name="default/b", total=5, healthy=2, unhealthy=2, unknown=1, repairing=1) == look.rows[1]
    assert (5, 4, 4, 2) == look.sums


def test_a_glance_has_the_queue_and_the_slots_of_the_quota() -> None:
    look = looked()

    assert (4, 6, 0.7, 1) == (look.used, look.queued, look.oldest_s, look.in_flight)


def test_a_glance_at_an_operator_that_has_just_begun_or_crashed_shows_nothing() -> None:
    """The statistics of a gateway that is down have no queue."""
    for cells in ({}, {"gateway": {"state": "down"}}, {"gateway": {"ledger": {"cold": True, "free": 0}}}):
        look = looked(cells=cells)

        assert (0, 0, 0.0, 0) == (look.used, look.queued, look.oldest_s, look.in_flight)


@pytest.mark.parametrize(
    ("conditions", "note"),
    [
        ([], ""),
        ([condition("Ready", "True", "Ready"), condition("RemediationAllowed", "True", "WithinLimit")], ""),
        ([condition("RemediationAllowed", "False", "TooManyUnhealthy")], "held: TooManyUnhealthy"),
        ([condition("Ready", "False", "Quarantined"), condition("RemediationAllowed", "False", "X")], "Quarantined"),
        (["nonsense"], ""),
    ],
)
def test_a_row_says_what_is_unusual(conditions: list[Any], note: str) -> None:
    assert note == looked(parent("a", {"total": 1, "conditions": conditions})).rows[0].note


def test_a_cluster_without_a_status_says_so() -> None:
    assert "not counted yet" == looked(parent("a", {})).rows[0].note


def test_facts_are_counted_and_the_last_are_kept() -> None:
    tally = Tally()
    for number in range(RECENT_MAX + 3):
        tally(events.CallSent(operation="repair", call=f"{number:06}x", items=2, parents=1, waited_s=0.1))
    tally(events.ItemsWithdrawn(operation="repair", count=4, why="recovered"))
    tally(events.ActorRestarted(actor="gateway", incarnation=2))
    tally(events.Reconciled(parent="default/a", cause="object", changed=False))
    look = looked(tally=tally)

    assert (9, 18, 4, 1) == (look.calls, look.items, look.withdrawn, look.restarts)
    assert RECENT_MAX == len(look.recent)
    assert "gateway restarted (incarnation 2)" == look.recent[-1]


@pytest.mark.parametrize(
    ("fact", "words"),
    [
        (events.CallAnswered(operation="o", call="abcdefgh", outcome="answered", seconds=0.1), ""),
        (
            events.CallAnswered(operation="o", call="abcdefgh", outcome="timeout", seconds=9.0),
            "call abcdef ended: timeout",
        ),
        (events.ValveMoved(parent="a", closed=True, eligible=6, limit=4, total=8), "a: repairs held, 6 of 8"),
        (events.ActorCrashed(actor="a", incarnation=1, error="E()", traceback="…"), "a crashed: E()"),
        (events.ActorQuarantined(actor="a", deaths=6, error="E()"), "a quarantined after 6 deaths"),
        (events.StreamDown(kind="K", reason="Refused", message="", retry_s=0.5), "K: stream down (Refused)"),
        (events.Listed(kind="K", count=7, missing=0, reason="start"), "K: listed 7"),
        (events.BackendPaused(operation="o", pause_s=1.0), "the backend throttles"),
        (events.BreakerMoved(operation="o", state="open"), "breaker is open"),
    ],
)
def test_a_fact_in_words(fact: events.Fact, words: str) -> None:
    assert words in told(fact)
    assert bool(words) == bool(told(fact))


def test_a_line_has_it_all() -> None:
    text = line(LOOK)

    for part in (
        "20 clusters",
        "500 nodes: 310 healthy, 190 unhealthy",
        "queue 6",
        "calls 5 (33 nodes)",
        "quota 4/10 in 1 s",
    ):
        assert part in text
    assert "\n" not in text


def test_the_picture_shows_clusters_quota_queue_restarts_and_facts() -> None:
    text = drawn(LOOK)

    for part in (
        "fleet-00",
        "fleet-19",
        "4 of 10",
        "6 nodes wait",
        "0 restarts",
        "call abcdef",
        "17 s left",
        "kubectl …",
    ):
        assert part in text


def test_a_low_terminal_gets_the_clusters_in_most_trouble() -> None:
    text = drawn(LOOK, height=24)

    assert len(text.splitlines()) <= 24
    assert "fleet-19" in text
    assert "fleet-00" not in text
    assert "more" in text
    assert "4 of 10" in text


@pytest.mark.parametrize(("height", "width"), [(3, 20), (10, 40), (200, 300)])
def test_it_can_be_drawn_at_any_size(height: int, width: int) -> None:
    assert drawn(LOOK, height=height, width=width)


def test_an_empty_fleet_and_an_endless_demo_can_be_drawn() -> None:
    look = evolve(LOOK, rows=(), recent=(), left_s=None)

    assert "Ctrl-C ends it" in drawn(look)
    assert "0 clusters" in line(look)


def test_names_are_shown_as_they_are() -> None:
    """Square brackets are rich's markup; a name in them must not vanish."""
    text = drawn(evolve(LOOK, rows=(Row(name="[red]x[/red]", note="[b]"),), recent=("[bold]y",)))

    assert "[red]x[/red]" in text
    assert "[bold]y" in text
