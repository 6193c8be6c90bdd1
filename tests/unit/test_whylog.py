"""The why-log keeps what came of each cause, of the parents that were told of last, and no more than it may."""

from __future__ import annotations

import threading
import tracemalloc

import attrs

from actors.core.events import (
    ActorCrashed,
    CallAnswered,
    CallSent,
    LookDeferred,
    NewsSuppressed,
    Planned,
    Reconciled,
    RepairsExhausted,
    StatusFailed,
    StatusWritten,
    StreamUp,
)
from actors.core.whylog import ENTRIES_MAX, PARENTS_MAX, TEXT_MAX, TOLD, WhyLog, told


class Told(WhyLog):
    """On a clock that is set by hand."""

    def __init__(self) -> None:
        self.at_s = 0.0
        super().__init__(lambda: self.at_s, threading.Lock())


def deferred(parent: str, cause: str = "Node") -> LookDeferred:
    return LookDeferred(parent=parent, cause=cause, after_s=0.1)


def test_causes_stand_in_their_order_with_their_time() -> None:
    log = Told()
    facts = [
        deferred("ns/a"),
        Reconciled(parent="ns/a", cause="Node", changed=True),
        StatusWritten(parent="ns/a", version=7),
    ]
    for log.at_s, fact in enumerate(facts, start=5):
        log(fact)
    log(deferred("ns/b"))

    assert facts == [entry.fact for entry in log.history("ns/a")]
    assert [5, 6, 7] == [entry.last_s for entry in log.history("ns/a")]
    assert 1 == len(log.history("ns/b"))
    assert not log.history("ns/nobody")


def test_every_fact_that_names_a_parent_is_kept_with_it() -> None:
    """A parent's actor tells it, and would die of one that is taken for another's."""
    examples = {"str": "x", "int": 3, "float": 0.5, "bool": True, "float | None": 0.25}
    kinds = [kind for kind in TOLD if "parent" in attrs.fields_dict(kind)]
    assert RepairsExhausted in kinds
    for kind in kinds:
        log = Told()
        given = {each.name: examples[str(each.type)] for each in attrs.fields(kind)}
        fact = kind(**{**given, "parent": "ns/a"})
        log(fact)
        assert [entry.fact for entry in log.history("ns/a")] == [fact]


def test_what_repeats_itself_is_one_entry() -> None:
    log = Told()
    for log.at_s in (1.0, 2.0, 9.0):
        log(NewsSuppressed(parent="ns/a", kind="Cluster", objects=1))

    (entry,) = log.history("ns/a")
    assert (1.0, 9.0, 3) == (entry.first_s, entry.last_s, entry.times)


def test_a_call_and_its_end_are_told_to_each_parent_in_it_with_its_own_share() -> None:
    log = Told()
    log(CallSent(operation="o", call="1", items=5, parents=2, waited_s=0.0, shares={"ns/a": 2, "ns/b": 3}))
    log(CallAnswered(operation="o", call="1", outcome="answered", seconds=0.2, accepted=5))
    log(CallAnswered(operation="o", call="unknown", outcome="answered", seconds=0.2))

    sent, ended = log.history("ns/b")
    assert 3 == told(sent.fact, "ns/b")["own"]
    assert "ns/a" not in str(sent.fact)
    assert isinstance(ended.fact, CallAnswered)
    assert 2 == len(log.history("ns/a"))


def test_an_actor_is_its_parents_and_nothing_long_is_kept() -> None:
    log = Told()
    log(ActorCrashed(actor="cluster/ns/a", incarnation=1, error="e" * 1000, traceback="t" * 9000))
    log(ActorCrashed(actor="gateway", incarnation=1, error="e", traceback="t"))
    log(StatusFailed(parent="ns/a", reason="Invalid", message="m" * 5000))
    log(StreamUp(kind="Node", gap_s=0.0))

    crashed, failed = log.history("ns/a")
    assert isinstance(crashed.fact, ActorCrashed)
    assert ("", TEXT_MAX) == (crashed.fact.traceback, len(crashed.fact.error))
    assert TEXT_MAX == len(told(failed.fact, "ns/a")["message"])
    assert 1 == log.statistics()["parents"]


def test_it_is_bounded_in_entries_and_in_parents() -> None:
    log = Told()
    for number in range(3 * ENTRIES_MAX):
        log(deferred("ns/first", str(number)))
    assert [str(number) for number in range(2 * ENTRIES_MAX, 3 * ENTRIES_MAX)] == [
        str(told(entry.fact, "ns/first")["cause"]) for entry in log.history("ns/first")
    ]

    for number in range(3 * PARENTS_MAX):
        log.at_s = float(number)
        log(deferred(f"ns/{number}"))
        log(deferred("ns/first", "again"))  # so that it is not one of those that were quiet longest
        assert len(log._young) + len(log._old) <= 2 * PARENTS_MAX

    assert PARENTS_MAX <= log.statistics()["parents"]
    assert 3 * PARENTS_MAX - 1 == log.history("ns/first")[-1].last_s
    assert not log.history("ns/0")
    assert all(log.history(f"ns/{number}") for number in range(2 * PARENTS_MAX + 1, 3 * PARENTS_MAX))


def test_a_full_log_is_some_megabytes() -> None:
    log = Told()
    tracemalloc.start()
    for number in range(PARENTS_MAX):
        for each in range(ENTRIES_MAX):
            words = f"healthy {each} → {each + 1}, unhealthy {each + 1} → {each}, Ready Ready → NotAvailable"
            log(Planned(parent=f"ns/{number}", status=words, asked=each, withdrawn=0))
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert PARENTS_MAX * ENTRIES_MAX == log.statistics()["entries"]
    assert size < 10 << 20
