"""The demo's script: what befalls the fleet follows from the seed alone, and something of everything does."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from actors.ops.demo_fleet import SPARED_S, Deed, Script, beat_s, timeout_s


def deeds(seed: int, count: int = 400, *, clusters: int = 8, nodes: int = 25) -> list[Deed]:
    return list(itertools.islice(Script(seed, clusters, nodes), count))


def test_the_same_seed_is_the_same_story_and_another_is_another() -> None:
    assert deeds(7) == deeds(7)
    assert deeds(7) != deeds(8)


def test_deeds_come_in_the_order_of_time() -> None:
    stamps = [deed.at_s for deed in deeds(1)]

    assert sorted(stamps) == stamps


@pytest.mark.parametrize("seed", range(5))
def test_five_seconds_see_everything(seed: int) -> None:
    """However short the demo is: failures of all clusters at once, silence, and every way of coming and going."""
    seen = {deed.do for deed in deeds(seed, clusters=3, nodes=8) if deed.at_s < 5}

    assert {"fail", "recover", "silence", "create", "delete", "move", "replace", "renew"} == seen


def test_one_rack_is_a_node_of_every_cluster_at_the_same_instant() -> None:
    first = [deed for deed in deeds(3) if deed.at_s == 0.4]

    assert 8 == len(first) == len({deed.cluster for deed in first})


@pytest.mark.parametrize("seed", range(5))
def test_no_node_fails_twice_within_the_second_that_names_its_incident(seed: int) -> None:
    failures: dict[str, float] = {}
    for deed in deeds(seed, 2000):
        if deed.do == "fail":
            assert deed.at_s - failures.get(deed.node, -SPARED_S) >= SPARED_S - 1e-9, deed
            failures[deed.node] = deed.at_s


@pytest.mark.parametrize(("clusters", "nodes"), [(1, 1), (1, 2), (2, 1)])
def test_the_smallest_fleets_do(clusters: int, nodes: int) -> None:
    assert Counter(deed.do for deed in deeds(1, 50, clusters=clusters, nodes=nodes))["fail"]


class Counted(dict[str, str]):
    """Counts how often somebody begins to look at all of it."""

    passes = 0

    def items(self) -> Any:
        self.passes += 1
        return super().items()

    def __iter__(self) -> Iterator[str]:
        self.passes += 1
        return super().__iter__()


def test_a_large_fleets_script_keeps_up_with_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Choosing what is next takes two looks at every node at most, however many clusters there are: some milliseconds.

    It chooses 20 times a second, and a look for each cluster would be a hundred times as much.
    """
    script = Script(1, 200, 100)
    script.nodes = nodes = Counted(script.nodes)
    choices = 0

    def choose() -> Callable[[float], list[Deed]]:
        nonlocal choices
        choices += 1
        return chosen()

    chosen = script._choose
    monkeypatch.setattr(script, "_choose", choose)
    for deed in script:
        if deed.at_s > 10:
            break

    assert choices > 100
    assert nodes.passes <= 2 * (choices + 9)  # and the nine that it opens with


@pytest.mark.parametrize("nodes", [1, 200, 1000, 10_000])
def test_the_timeout_leaves_room_for_a_late_heartbeat(nodes: int) -> None:
    assert timeout_s(nodes) >= 2.5 * beat_s(nodes)
    assert nodes / beat_s(nodes) <= 150
