"""What a backend does not promise, the gateway must not lean on: keys, results per item, arrivals, batches of any size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from actors.core.errors import CallTimeout, Malformed, Misconfigured, Throttled, Unavailable
from actors.core.operation import Capabilities, Counts, GatewaySettings
from actors.core.ports import Call, ItemResult, Reply
from actors.core.quantity import Quota
from actors.messages import ItemAnswer

Make = Callable[..., Any]  # makes a bench: see conftest
KEYLESS = Capabilities(keys=False)
SLOW = Capabilities(counts=Counts.COMPLETIONS, works_s=30.0)


def accept(call: Call, _number: int) -> Reply:
    return Reply(results={item.key: ItemResult(status="accepted") for item in call.items})


def first(error: Exception) -> Callable[[Call, int], Reply | Exception]:
    return lambda call, number: error if number == 1 else accept(call, number)


@pytest.mark.parametrize("error", [CallTimeout("late"), Unavailable("503"), Malformed("what?"), RuntimeError("bug")])
def test_without_keys_an_unknown_outcome_ends_the_attempt(bench: Make, error: Exception) -> None:
    """Sending it again might reboot a node twice; the parent hears that it failed, and asks anew after the cooldown."""
    b = bench(first(error), able=KEYLESS)
    items = [b.item("p", f"n{n}") for n in range(3)]
    b.ask("p", *items)
    b.world.run_for(120)

    assert [3] == b.sizes()
    answers = b.answers("p")
    assert {item.key for item in items} == set(answers)
    assert {ItemAnswer.FAILED} == {answer for answer, _ in answers.values()}
    assert all("honours no keys" in text and str(error) in text for _, text in answers.values())

    b.ask("p", *items)  # an actor that has forgotten asks for the same again
    b.world.run_for(120)
    assert [3] == b.sizes(), "its answer is remembered"

    b.ask("p", *[b.item("p", f"n{n}", round_number=1) for n in range(3)])
    b.world.run_for(120)
    assert [3, 3] == b.sizes(), "a new round is a new attempt"


@pytest.mark.parametrize(
    "error", [Unavailable("refused", arrived=False), Throttled("slow", retry_after_s=1.0), Misconfigured("403")]
)
def test_without_keys_what_was_certainly_not_carried_out_is_sent_again(bench: Make, error: Exception) -> None:
    b = bench(first(error), able=KEYLESS)
    b.ask("p", b.item("p", "n"))
    b.world.run_for(120)

    assert [1, 1] == b.sizes()
    assert {(ItemAnswer.DONE, "")} == set(b.answers("p").values())


def test_without_keys_an_item_missing_from_the_reply_is_not_sent_again(bench: Make) -> None:
    """Another that is throttled by name was not carried out, and is."""

    def script(call: Call, number: int) -> Reply:
        told = {
            item.key: ItemResult(status="throttled" if item.payload["name"] == "n1" else "accepted", retry_after_s=1.0)
            for item in call.items
            if item.payload["name"] != "n0"
        }
        return Reply(results=told) if number == 1 else accept(call, number)

    b = bench(script, able=KEYLESS)
    items = [b.item("p", f"n{n}") for n in range(3)]
    b.ask("p", *items)
    b.world.run_for(60)

    assert [["n0", "n1", "n2"], ["n1"]] == [
        [item.payload["name"] for item in call.items] for _, call in b.backend.calls
    ]
    answer, text = b.answers("p")[items[0].key]
    assert answer is ItemAnswer.FAILED
    assert "not in the reply" in text


@pytest.mark.parametrize(("able", "sizes"), [(KEYLESS, [2]), (Capabilities(), [2, 2])])
def test_what_a_dead_incarnation_had_under_way_is_sent_again_only_with_keys(
    bench: Make, able: Capabilities, sizes: list[int]
) -> None:
    """Nobody hears how that call ends."""
    b = bench(rtt_s=5.0, able=able)
    items = [b.item("p", f"n{n}") for n in range(2)]
    b.ask("p", *items)
    b.world.run_for(1.0)
    b.crash()
    b.ask("p", *items, b.item("p", "n2"), successor=True)
    b.world.run_for(120)

    names = [sorted(item.payload["name"] for item in call.items) for _, call in b.backend.calls]
    assert sizes == [len(each) for each in names if "n0" in each]
    assert any("n2" in each for each in names), "who was not in it is served"
    assert {item.key for item in items} <= set(b.answers("p"))


def test_all_or_nothing_takes_a_bare_reply_for_everything_but_what_it_names(bench: Make) -> None:
    def script(call: Call, _number: int) -> Reply:
        return Reply(results={call.items[1].key: ItemResult(status="failed", message="unheard of")})

    b = bench(script, able=Capabilities(per_item=False))
    items = [b.item("p", f"n{n}") for n in range(3)]
    b.ask("p", *items)
    b.world.run_for(60)

    assert [3] == b.sizes()
    answers = [b.answers("p")[item.key][0] for item in items]
    assert [ItemAnswer.DONE, ItemAnswer.FAILED, ItemAnswer.DONE] == answers


@pytest.mark.parametrize(("largest", "sizes"), [(None, [10, 2]), (25, [10, 2]), (4, [4, 4, 4])])
def test_no_batch_is_larger_than_the_backend_takes(bench: Make, largest: int | None, sizes: list[int]) -> None:
    """Ten by the settings."""
    b = bench(able=Capabilities(batch_max=largest))
    b.ask("p", *[b.item("p", f"n{n}") for n in range(12)])
    b.world.run_for(60)

    assert sizes == b.sizes()


@pytest.mark.parametrize("error", [CallTimeout("late"), Malformed("a proxy's page")])
def test_where_completions_count_an_unanswered_call_may_be_counted_as_late_as_its_work_can_end(
    bench: Make, error: Exception
) -> None:
    """A quota of one in 2 s: the next call waits for timeout (10) + lateness (2) + work (30) + window (2)."""
    b = bench(first(error), able=SLOW, quota=Quota(1, 2.0))
    b.ask("p", b.item("p", "n"))
    b.world.run_for(120)

    (sent_s, _), (again_s, _) = b.backend.calls
    assert 44.0 <= again_s - sent_s < 46.0


def test_where_completions_count_a_reply_starts_the_window(bench: Make) -> None:
    """What is answered is completed: no more is waited than where arrivals count."""
    b = bench(able=SLOW, quota=Quota(1, 2.0), batch_max=1, rtt_s=1.0)
    b.ask("p", b.item("p", "n0"), b.item("p", "n1"))
    b.world.run_for(60)

    (first_s, _), (second_s, _) = b.backend.calls
    assert 3.0 <= second_s - first_s < 3.1


def test_a_fresh_process_waits_for_completions_of_the_one_before(bench: Make) -> None:
    """Window (1) + timeout (10) + lateness (2) + work (30)."""
    b = bench(able=SLOW, cold_start_s=None)
    b.ask("p", b.item("p", "n"))
    b.world.run_for(60)

    ((sent_s, _),) = b.backend.calls
    assert 43.0 <= sent_s < 43.1


def test_how_long_work_may_take_is_said_where_completions_count_and_only_there() -> None:
    """Without a bound nothing could ever be sent again after a call that was lost."""
    with pytest.raises(AssertionError, match="works_s"):
        Capabilities(counts=Counts.COMPLETIONS)
    with pytest.raises(AssertionError, match="works_s"):
        Capabilities(works_s=1.0)


def test_the_defaults_change_nothing() -> None:
    settings = GatewaySettings(operation="repair", quota=Quota(10, 1.0))

    assert settings == settings.with_backend(Capabilities())
    assert settings.counted_late_s == settings.lateness_s
