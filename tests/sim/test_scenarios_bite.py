"""A scenario that cannot fail shows nothing: each is played with a bug in Muster that it must find, by its own figures."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import pytest

from actors.core.asking import Open
from actors.core.backoff import Breaker
from actors.core.decode import BadObject
from actors.core.errors import Refused, Unreachable
from actors.core.stream import Stream
from actors.gateway import BatchGatewayActor
from actors.sim.apiserver import ApiServerModel
from actors.sim.reader import SimReader
from actors.simulate.mutants import MUTANTS, planted
from actors.simulate.mutants.planting import Mutant, Substitution, plant
from actors.simulate.scenarios import SCENARIOS


def _mutant(name: str, what: str, at: str, make: Any) -> Mutant:
    return Mutant(name=name, promise="truth", what=what, substitutions=(Substitution(target=at, make=make),))


def _first_list_at_zero(original: Any) -> Any:
    def list_(self: SimReader, each: Any, action: Any) -> None:
        class Cached:
            """The API server, asked for resourceVersion 0."""

            def __init__(self, api: ApiServerModel) -> None:
                self._api = api

            def list(self, resource: Any, **options: Any) -> Any:
                return self._api.list(resource, **options, resource_version="" if action.token else "0")

        api: Any = self._api
        cached: Any = Cached(api)  # for this one call it stands in for the model
        self._api = cached
        try:
            original(self, each, action)
        finally:
            self._api = api

    return list_


def _bad_line_ends_the_stream(original: Any) -> Any:
    def refuse(self: Stream, bad: BadObject) -> None:
        original(self, bad)
        self._fault = Unreachable(f"{bad.place}: {bad.why}")

    return refuse


def _breaker_never_opens(original: Any) -> Any:
    def failed(self: Breaker, call_id: str, now: float) -> bool:
        return False

    return failed


def _refusal_counts_for_all(original: Any) -> Any:
    def refused(self: BatchGatewayActor, opened: Open, error: Refused, now: float) -> None:
        original(self, opened, error, now)
        for _ in range(5):
            self._not_reached(opened.call.id, error, now)

    return refused


BITES: dict[str, tuple[str | Mutant, ...]] = {
    "ghosts-after-410": ("list-is-merged", "watcher-merges-a-list"),
    "deletion-while-the-watch-was-down": ("deletion-is-dropped",),
    "last-child-is-lost": ("watcher-merges-a-list", "expired-watch-starts-at-the-present"),
    "half-open-watch": ("half-open-stream-is-trusted-for-ever",),
    "refused-watch-is-hammered": ("refused-watch-is-retried-in-milliseconds",),
    "410-again-and-again": ("expired-watch-resumes-at-its-old-version",),
    "old-events-again": ("older-version-replaces-newer",),
    "list-older-than-what-was-seen": ("list-older-than-what-was-seen-is-taken",),
    "line-that-cannot-be-read": (
        _mutant("bad-line-ends-the-stream", "its fault is the stream's", "actors.core.stream:Stream._refuse",
                _bad_line_ends_the_stream),
    ),
    "a-flapping-node-starves-its-parent": ("debounce-has-no-longest-wait",),
    "counts-that-drift": ("changed-child-is-counted-twice", "dropped-child-is-still-counted"),
    "moved-child-counts-twice": ("moved-child-stays-with-its-old-parent",),
    "recreated-parent-is-its-predecessor": ("deleted-parent-withdraws-nothing",),
    "same-name-other-node": ("look-at-dispatch-forgets-the-uid", "deletion-is-dropped"),
    "own-write-wakes-the-controller": ("own-echo-is-a-change", "own-writes-are-unknown"),
    "heartbeats-cause-runs": ("heartbeat-is-material",),
    "status-conflict-in-a-hot-loop": ("conflict-is-retried-with-the-old-version", "conflict-is-the-end-of-it"),
    "a-call-for-each-parent": ("each-parent-is-a-call",),
    "one-throttle-answer-many-errors": ("throttle-fails-every-item", "retry-after-of-the-backend-is-ignored"),
    "quota-across-a-window-edge": ("quota-is-a-fixed-window", "slot-is-free-a-window-after-the-send"),
    "one-poisoned-item-blocks-the-batch": ("refused-batch-is-sent-again-whole", "refused-batch-is-not-halved"),
    "a-large-tenant-starves-the-small": ("first-come-first-served-across-parents",),
    "mass-failure-drains-slowly": ("each-item-is-a-call",),
    "retry-storm-after-an-outage": (
        "breaker-never-half-opens",
        _mutant("no-breaker", "it never opens", "actors.core.backoff:Breaker.failed", _breaker_never_opens),
    ),
    "repair-of-the-recovered": ("no-look-at-dispatch", "look-at-dispatch-forgets-health"),
    "part-failure-repeats-everything": ("throttled-item-is-failed", "partial-failure-is-success"),
    "second-machine-after-a-crash": ("new-key-with-each-look",),
    "quota-after-a-restart": ("cold-start-is-skipped",),
    "first-list-from-a-cache": (
        _mutant("first-list-at-0", "lists from a cache", "actors.sim.reader:SimReader._list", _first_list_at_zero),
    ),
    "new-process-acts-before-it-knows": ("cluster-acts-before-every-kind-is-listed", "cluster-acts-with-one-kind-missing"),
    "poison-object-crash-loop": ("poison-is-never-skipped",),
    "broken-parent-takes-others-along": ("one-budget-for-all-parents",),
    "silence-is-ours": ("silence-is-judged-without-proof", "outage-does-not-restart-the-clocks"),
    "everybody-fails-at-once": ("valve-holds-nothing",),
    "queue-without-end": ("object-mail-is-not-coalesced",),
    "retries-starve-behind-the-new": ("retries-do-not-age",),
    "trouble-next-door": (
        _mutant("refusal-counts-for-all", "one refusal opens the breaker", "actors.gateway:BatchGatewayActor._refused",
                _refusal_counts_for_all),
    ),
    "crash-at-every-side-effect": ("new-key-with-each-look", "cold-start-is-skipped"),
    "each-event-unobserved": ("list-is-merged",),
    "every-list-stale": ("list-older-than-what-was-seen-is-taken",),
}  # fmt: skip
"""Bugs of the registry by name, or made here where no other test has a use for them."""


def _planted(bug: str | Mutant) -> AbstractContextManager[Mutant]:
    return planted(bug) if isinstance(bug, str) else plant(bug)


def test_every_scenario_has_a_bug_that_it_finds() -> None:
    assert list(SCENARIOS) == list(BITES)
    assert {bug for bugs in BITES.values() for bug in bugs if isinstance(bug, str)} <= set(MUTANTS)


CASES = [(name, bug) for name, bugs in BITES.items() for bug in bugs]


@pytest.mark.parametrize(("name", "bug"), CASES, ids=[f"{name}-{getattr(bug, 'name', bug)}" for name, bug in CASES])
def test_a_planted_bug_breaks_the_figures(name: str, bug: str | Mutant) -> None:
    with _planted(bug):
        outcome = SCENARIOS[name].play(1)

    assert outcome.own, f"only the court has found it: {outcome.court}"
    print(f"{name}: {outcome.own[0]}")
