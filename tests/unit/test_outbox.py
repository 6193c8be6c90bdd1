"""The outbox of a reader's process: newest wins, a replacement absorbs, and what waits is bounded."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from actors.core.events import Listed
from actors.core.model import Child, Record
from actors.core.ports import Objects, StreamChanged
from actors.edge.outbox import FACTS_MAX, Mail, Outbox

KIND = "ComputeNode"


def child(uid: str, version: int = 1) -> Child:
    return Child(KIND, "ns", uid, uid, version, None)


def objects(entries: dict[str, Record | None], *, replace: bool = False, epoch: int = 1) -> Objects:
    return Objects(kind=KIND, entries=entries, replace=replace, epoch=epoch)


def stream(up: bool, reason: str = "", epoch: int = 1) -> StreamChanged:
    return StreamChanged(kind=KIND, epoch=epoch, up=up, reason=reason)


def held(mails: Iterable[Mail], before: dict[str, Record] | None = None) -> dict[str, Record]:
    """What a watcher has after that mail."""
    records = dict(before or {})
    for mail in mails:
        if isinstance(mail, Objects):
            if mail.replace:
                records.clear()
            for uid, record in mail.entries.items():
                records.pop(uid, None)
                if record is not None:
                    records[uid] = record
    return records


def test_the_newest_of_each_object_is_one_mail() -> None:
    box = Outbox()
    first = objects({"a": child("a"), "b": child("b")})
    box.put(first)
    box.put(objects({"a": child("a", 2)}))
    box.put(objects({"b": None}))
    (mail,) = box.take(0).mail

    assert mail == objects({"a": child("a", 2), "b": None})
    assert first.entries == {"a": child("a"), "b": child("b")}, "the sender's own dict is not touched"
    assert not box.take(0)


def test_a_replacement_absorbs_what_came_before_it_and_takes_in_what_comes_after() -> None:
    box = Outbox()
    box.put(objects({"ghost": child("ghost")}))
    box.put(objects({"a": child("a")}, replace=True))
    box.put(objects({"a": child("a", 2), "b": child("b", 3)}))

    assert box.take(0).mail == (objects({"a": child("a", 2), "b": child("b", 3)}, replace=True),)
    box.put(objects({"a": child("a", 4)}))
    assert box.take(0).mail == (objects({"a": child("a", 4)}),)


def test_the_last_word_on_the_stream_stays_on_its_side_of_the_objects() -> None:
    box = Outbox()
    for mail in (stream(True), stream(False, "Gone"), objects({"a": child("a")}), stream(True), stream(False, "Late")):
        box.put(mail)

    assert box.take(0).mail == (stream(False, "Gone"), objects({"a": child("a")}), stream(False, "Late"))


def test_a_replacement_comes_after_the_word_that_came_before_it() -> None:
    """A watcher takes a replacement for a stream that is up."""
    box = Outbox()
    for mail in (objects({"a": child("a")}), stream(False, "Down"), objects({}, replace=True)):
        box.put(mail)

    assert box.take(0).mail == (stream(False, "Down"), objects({}, replace=True))


def test_a_new_epoch_forgets_the_old_one_and_an_old_one_is_nothing() -> None:
    box = Outbox()
    box.put(objects({"a": child("a")}))
    box.put(stream(True, epoch=2))
    box.put(objects({"b": child("b")}))

    assert box.take(0).mail == (stream(True, epoch=2),)


def test_what_comes_and_goes_is_bounded_and_ends_in_one_new_list() -> None:
    asked: list[str] = []
    box = Outbox(held=lambda: 5, relist=lambda: asked.append("list"), gone_max=100)
    for number in range(1_000):
        box.put(objects({f"n{number}": child(f"n{number}")}))
        box.put(objects({f"n{number}": None}))
    box.put(stream(True))
    assert asked == [], "a new list is of no use before somebody takes it"

    assert box.take(0).mail == (stream(True),)
    box.put(objects({"late": child("late")}))
    assert not box.take(0)
    assert asked == ["list"]
    box.put(objects({"a": child("a")}, replace=True))
    assert box.take(0).mail == (objects({"a": child("a")}, replace=True),)
    box.put(objects({"a": None}))
    assert box.take(0).mail == (objects({"a": None}),)


def test_objects_that_are_there_are_no_reason_to_forget() -> None:
    box = Outbox(held=lambda: 1_000, relist=lambda: None, gone_max=10)
    for number in range(1_000):
        box.put(objects({f"n{number}": child(f"n{number}")}))

    assert len(held(box.take(0).mail)) == 1_000


def test_facts_are_bounded_and_the_newest_stay() -> None:
    box = Outbox()
    for number in range(FACTS_MAX + 5):
        box.tell(Listed(kind=KIND, count=number, missing=0, reason="start"))
    facts = box.take(0).facts

    assert [fact.count for fact in facts if isinstance(fact, Listed)] == list(range(5, FACTS_MAX + 5))


def test_the_rest_of_a_list_is_superseded_by_another_and_by_an_epoch_only() -> None:
    box = Outbox()
    box.put(objects({"a": child("a")}, replace=True))
    box.take(0)
    box.put(objects({"a": child("a", 2)}))
    assert not box.superseded(1)
    box.put(objects({}, replace=True))
    assert box.superseded(1)
    box.take(0)
    assert not box.superseded(1)
    box.put(stream(True, epoch=2))
    assert box.superseded(1)


def test_the_writer_is_woken() -> None:
    box, taken = Outbox(), []
    writer = threading.Thread(target=lambda: taken.append(box.take(30.0)))
    writer.start()
    box.put(stream(True))
    writer.join(20.0)

    assert [each.mail for each in taken] == [(stream(True),)]


ENTRIES = st.dictionaries(st.sampled_from("abcd"), st.booleans(), max_size=3)
STEPS = st.lists(st.tuples(st.sampled_from(["put", "put", "replace", "take"]), ENTRIES), max_size=30)


@given(STEPS)
def test_whenever_it_is_emptied_the_receiver_ends_with_what_was_put(steps: list[tuple[str, dict[str, bool]]]) -> None:
    box = Outbox()
    sent: list[Objects] = []
    received: dict[str, Record] = {}
    for version, (what, entries) in enumerate(steps, 1):
        if what == "take":
            received = held(box.take(0).mail, received)
            continue
        replace = what == "replace"
        records: dict[str, Record | None] = {
            uid: child(uid, version) if there else None for uid, there in entries.items() if there or not replace
        }
        sent.append(objects(records, replace=replace))
        box.put(sent[-1])

    assert held(box.take(0).mail, received) == held(sent)
