"""Each drill of reading finds the bugs that it is for, and nothing where there is none."""

from __future__ import annotations

import pytest

from actors.simulate.drills import DRILLS
from actors.simulate.mutants import planted
from actors.simulate.run import Run

FOUND = (
    ("old-news", "older-version-replaces-newer", "no-regress"),
    ("old-news", "list-older-than-what-was-seen-is-taken", "no-regress"),
    ("unreadable-in-a-list", "unreadable-object-counts-as-gone", "status-was-true"),
    ("silence", "silence-is-judged-without-proof", "silence-earned"),
    ("silence", "outage-does-not-restart-the-clocks", "silence-earned"),
    ("silence", "first-sight-counts-as-a-report", "old-reports-known"),
    ("storm-at-a-stuck-actor", "object-mail-is-not-coalesced", "bounded"),
    ("full-pipe", "waiting-mail-is-merged-with-a-replacement", ""),
    ("full-pipe", "replacement-loses-its-mark", ""),
    ("answer-to-the-dead", "crash-loses-answers", "answered"),
    ("answer-to-the-dead", "answers-are-forgotten", "answered"),
    ("told-to-come-back-later", "retry-after-of-the-api-server-is-ignored", "retry-after-honoured"),
    ("news-for-the-sleepy", "ordinary-mail-overtakes-object-mail", "converges"),
)


@pytest.mark.parametrize("name", sorted({name for name, _, _ in FOUND}))
def test_no_promise_is_broken(name: str) -> None:
    for seed in range(3):
        result = Run(DRILLS[name].draw(seed)).play()
        assert result.passed, result.breaches[0].line()


@pytest.mark.parametrize(("name", "mutant", "oracle"), FOUND)
def test_it_finds_what_it_is_for(name: str, mutant: str, oracle: str) -> None:
    with planted(mutant):
        results = [Run(DRILLS[name].draw(seed)).play() for seed in range(3)]
    found = [result.breaches[0] for result in results if result.breaches]
    assert len(found) >= 2
    assert not oracle or any(breach.oracle == oracle for breach in found)
