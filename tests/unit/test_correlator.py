"""Which Events leave: the same words are one Event, new words are thinned, and nobody gets more than its bucket."""

from __future__ import annotations

import pytest

from actors.core import correlator
from actors.core.correlator import BURST, NOTE_BYTES_MAX, PAUSE_S, REFILL_S, Correlator, Series
from actors.core.model import EventNote, ParentKey

KEY = ParentKey("ns", "c1")


def note(text: str = "5 of 9", reason: str = "TooManyUnhealthy", kind: str = "Warning") -> EventNote:
    return EventNote(type=kind, reason=reason, action="HoldRepairs", note=text)


def said(events: Correlator, now: float, text: str = "5 of 9", *, uid: str = "u1", reason: str = "R") -> Series | None:
    return events.take(KEY, uid, note(text, reason), now)


def test_the_same_words_are_one_event_that_counts() -> None:
    events = Correlator()

    first = said(events, 0.0)
    counts = [first.count if first else 0]
    again = said(events, 5.0)

    assert first is again
    assert [*counts, again.count if again else 0] == [1, 2]


@pytest.mark.parametrize("other", [note("6 of 9"), note(reason="InvalidSpec"), note(kind="Normal")])
def test_other_words_are_another_event(other: EventNote) -> None:
    events = Correlator()

    first, second = events.take(KEY, "u1", note(), 0.0), events.take(KEY, "u1", other, PAUSE_S)

    assert first is not None
    assert second is not None
    assert first.name != second.name


def test_an_object_made_again_under_its_name_has_events_of_its_own() -> None:
    events = Correlator()

    first, second = said(events, 0.0), said(events, 0.0, uid="u2")

    assert first is not None
    assert second is not None
    assert (first.count, second.count) == (1, 1)
    assert first.name != second.name


def test_a_later_process_gives_the_same_name() -> None:
    """Its predecessor's Event is still on the server, and goes on counting."""
    first, second = said(Correlator(), 0.0), said(Correlator(), 999.0)

    assert first is not None
    assert second is not None
    assert first.name == second.name
    assert first.name.startswith("c1.")
    assert len(first.name) == len("c1.") + 16


def test_a_long_name_leaves_room_for_the_digits_and_ends_well() -> None:
    made = Correlator().take(ParentKey("", "a" * 235 + "-" * 18), "u", note(), 0.0)

    assert made is not None
    assert len(made.name) <= 253
    assert "-." not in made.name


def test_ever_new_words_for_one_reason_are_thinned() -> None:
    events = Correlator()

    sent = [second for second in range(40) if said(events, float(second), f"{second} of 40")]

    assert sent == [0, 10, 20, 30]
    assert events.dropped_count == 36


def test_new_words_for_another_reason_do_not_wait() -> None:
    events = Correlator()

    assert said(events, 0.0, reason="A")
    assert said(events, 0.0, reason="B")


def test_an_object_has_a_bucket_which_fills_slowly() -> None:
    events = Correlator()

    burst = [said(events, 0.0) for _ in range(BURST + 5)]
    too_soon, later = said(events, REFILL_S - 1.0), said(events, REFILL_S + 1.0)

    assert sum(each is not None for each in burst) == BURST
    assert events.dropped_count == 6
    assert too_soon is None
    assert later is not None
    assert later.count == BURST + 7, "what could not be sent is counted all the same"


def test_the_bucket_never_holds_more_than_the_burst() -> None:
    events = Correlator()
    said(events, 0.0)

    assert sum(said(events, 1e6) is not None for _ in range(2 * BURST)) == BURST


def test_one_objects_noise_costs_no_other_object() -> None:
    events = Correlator()
    for _ in range(2 * BURST):
        said(events, 0.0)

    assert said(events, 0.0) is None
    assert said(events, 0.0, uid="u2") is not None


def test_a_note_is_cut_where_a_character_ends() -> None:
    made = said(Correlator(), 0.0, "é" * 3000)

    assert made is not None
    assert made.note == "é" * (NOTE_BYTES_MAX // 2)


def test_memory_is_bounded_and_the_oldest_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(correlator, "_PARENTS_MAX", 2)
    monkeypatch.setattr(correlator, "_SERIES_MAX", 2)
    events = Correlator()
    for uid in ("u1", "u2", "u1", "u3"):
        said(events, 0.0, uid=uid)

    counts = {uid: made.count for uid in ("u1", "u3", "u2") if (made := said(events, 1.0, uid=uid))}
    assert counts == {"u1": 3, "u3": 2, "u2": 1}

    for number, text in enumerate(("a", "b", "a", "c")):
        said(events, 100.0 * (number + 1), text, uid="u9")
    again = {text: made.count for text in ("a", "c", "b") if (made := said(events, 1000.0, text, uid="u9"))}
    assert again == {"a": 3, "c": 2, "b": 1}
