"""Watches on both servers: what changes, selections, streamed lists, resuming, 410 and bookmarks."""

from __future__ import annotations

import pytest

from actors.sim.serve_contract import Place

END = {"k8s.io/initial-events-end": "true"}
STREAMED = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}


def test_every_change_in_order(place: Place) -> None:
    with place.wire.watch(place.all, resourceVersion=place.now()) as stream:
        made = place.make("g1", size=1)
        changed = place.wire.merge(place.at("g1"), {"spec": {"size": 2}})
        told = place.wire.merge(place.at("g1", "status"), {"status": {"healthy": True}})
        place.wire.delete(place.at("g1"))
        events = stream.take(4)

    assert [event["type"] for event in events] == ["ADDED", "MODIFIED", "MODIFIED", "DELETED"]
    assert [event["object"] for event in events[:3]] == [made.body, changed.body, told.body]
    last = events[3]["object"]
    assert int(last["metadata"]["resourceVersion"]) > int(told.version)
    assert last["status"] == {"healthy": True}


def test_a_write_that_changes_nothing_is_no_event(place: Place) -> None:
    made = place.make("g1", size=1)
    with place.wire.watch(place.all, resourceVersion=made.version) as stream:
        again = place.wire.merge(place.at("g1"), {"spec": {"size": 1}})
        place.make("g2")

        assert again.version == made.version
        assert stream.brief(1) == [("ADDED", "g2")]


def test_objects_join_and_leave_a_selection(place: Place) -> None:
    """One that leaves is shown as it was while it belonged, with the version of the change."""
    place.make("g1", {"labels": {"tier": "back"}})
    with place.wire.watch(place.all, resourceVersion=place.now(), labelSelector="tier=front") as stream:
        place.wire.merge(place.at("g1"), {"metadata": {"labels": {"tier": "front"}}})
        place.wire.merge(place.at("g1"), {"spec": {"size": 1}})
        left = place.wire.merge(place.at("g1"), {"metadata": {"labels": {"tier": "back"}}})
        place.wire.delete(place.at("g1"))
        place.make("g2", {"labels": {"tier": "front"}})
        place.wire.delete(place.at("g2"))
        events = stream.take(5)

    assert [(event["type"], event["object"]["metadata"]["name"]) for event in events] == [
        ("ADDED", "g1"), ("MODIFIED", "g1"), ("DELETED", "g1"), ("ADDED", "g2"), ("DELETED", "g2"),
    ]  # fmt: skip
    gone = events[2]["object"]
    assert gone["metadata"]["labels"] == {"tier": "front"}
    assert gone["metadata"]["resourceVersion"] == left.version


def test_a_watch_of_one_object(place: Place) -> None:
    with place.wire.watch(place.all, resourceVersion=place.now(), fieldSelector="metadata.name=one") as stream:
        place.make("other")
        place.make("one")
        place.wire.delete(place.at("one"))

        assert stream.brief(2) == [("ADDED", "one"), ("DELETED", "one")]


def test_a_watch_of_a_namespace_sees_no_other(place: Place) -> None:
    other = place.namespace + "-b"
    place.wire.post("/api/v1/namespaces", {"metadata": {"name": other}})
    with place.wire.watch(place.all, resourceVersion=place.now()) as stream:
        place.wire.post(place.of(other), place.gadget("elsewhere"))
        place.make("here")

        assert stream.brief(1) == [("ADDED", "here")]


@pytest.mark.parametrize("query", [{}, {"resourceVersion": "0"}])
def test_without_a_version_what_is_there_comes_first(place: Place, query: dict[str, str]) -> None:
    place.make("g1")
    place.make("g2")
    with place.wire.watch(place.all, **query) as stream:
        assert sorted(stream.brief(2)) == [("ADDED", "g1"), ("ADDED", "g2")]
        place.make("g3")
        assert stream.brief(1) == [("ADDED", "g3")]


def test_a_streamed_list_ends_with_a_bookmark(place: Place) -> None:
    made = [place.make(name).body for name in ("g1", "g2")]
    with place.wire.watch(place.all, allowWatchBookmarks="true", **STREAMED) as stream:
        events = stream.take(3)
        place.make("g3")
        further = next(event for event in stream if event["type"] != "BOOKMARK")

    assert [event["object"] for event in events[:2]] == made
    assert events[2]["type"] == "BOOKMARK"
    mark = events[2]["object"]
    assert (mark["kind"], mark["apiVersion"]) == ("Gadget", "contract.dev/v1")
    assert mark["metadata"]["annotations"] == END
    assert int(mark["metadata"]["resourceVersion"]) >= int(made[1]["metadata"]["resourceVersion"])
    assert mark.keys() == {"kind", "apiVersion", "metadata"}
    assert (further["type"], further["object"]["metadata"]["name"]) == ("ADDED", "g3")


def test_an_empty_streamed_list_is_its_bookmark(place: Place) -> None:
    with place.wire.watch(place.all, allowWatchBookmarks="true", **STREAMED) as stream:
        assert stream.take(1)[0]["object"]["metadata"]["annotations"] == END


def test_without_leave_for_bookmarks_there_is_none(place: Place) -> None:
    place.make("g1")
    with place.wire.watch(place.all, timeoutSeconds="1", **STREAMED) as stream:
        assert [event["type"] for event in stream] == ["ADDED"]


def test_a_watch_that_wants_no_beginning_has_none(place: Place) -> None:
    place.make("g1")
    query = {"sendInitialEvents": "false", "resourceVersionMatch": "NotOlderThan", "resourceVersion": "0"}
    with place.wire.watch(place.all, **query) as stream:
        place.make("g2")
        assert stream.brief(1) == [("ADDED", "g2")]


def test_a_watch_resumes_behind_what_was_seen(place: Place) -> None:
    first = place.make("g1")
    place.make("g2")
    place.wire.delete(place.at("g1"))

    with place.wire.watch(place.all, resourceVersion=first.version) as stream:
        assert stream.brief(2) == [("ADDED", "g2"), ("DELETED", "g1")]


def test_a_version_that_is_too_old_is_expired_inside_the_stream(place: Place) -> None:
    with place.wire.watch(place.all, resourceVersion="1") as stream:
        events = list(stream)

    assert [event["type"] for event in events] == ["ERROR"]
    status = events[0]["object"]
    assert (status["kind"], status["code"], status["reason"]) == ("Status", 410, "Expired")
    assert status["message"].startswith("too old resource version: 1 (")


def test_a_version_from_the_future_is_waited_for(place: Place) -> None:
    with place.wire.watch(place.all, resourceVersion="999999999", timeoutSeconds="1") as stream:
        place.make("g1")
        assert list(stream) == []


def test_a_watch_ends_when_it_was_asked_to(place: Place) -> None:
    with place.wire.watch(place.all, resourceVersion=place.now(), timeoutSeconds="1") as stream:
        place.make("g1")
        assert [event["type"] for event in stream] == ["ADDED"]


MATCH = "resourceVersionMatch"


@pytest.mark.parametrize(
    ("query", "causes"),
    [
        ({"sendInitialEvents": "true"}, [("FieldValueForbidden", MATCH)]),
        ({"sendInitialEvents": "false"}, [("FieldValueForbidden", MATCH)]),
        ({MATCH: "NotOlderThan", "resourceVersion": "1"}, [("FieldValueForbidden", MATCH)]),
        (
            {"sendInitialEvents": "true", MATCH: "Exact"},
            [("FieldValueForbidden", MATCH), ("FieldValueNotSupported", MATCH)],
        ),
        ({"continue": "x"}, [("FieldValueForbidden", MATCH)]),
    ],
)
def test_options_that_do_not_go_together(place: Place, query: dict[str, str], causes: list[tuple[str, str]]) -> None:
    answer = place.wire.get(place.all, watch="1", **query)

    assert answer.refusal == (422, "Invalid")
    assert answer.causes == causes


def test_a_version_that_is_no_number(place: Place) -> None:
    answer = place.wire.get(place.all, watch="1", resourceVersion="abc")

    assert answer.refusal == (500, "")
    assert "invalid syntax" in answer.body["message"]


def test_the_last_write_of_a_deletion_shows_what_was_stored(place: Place) -> None:
    """Who takes the last finalizer off sees his write; watchers see the object as it was before it."""
    place.make("g1", {"finalizers": ["contract.dev/a"]}, size=1)
    place.wire.delete(place.at("g1"))
    with place.wire.watch(place.all, resourceVersion=place.now()) as stream:
        answer = place.wire.merge(place.at("g1"), {"metadata": {"finalizers": None}, "spec": {"size": 2}})
        event = stream.take(1)[0]

    assert (answer.code, answer.body["spec"]["size"], "finalizers" in answer.metadata) == (200, 2, False)
    assert event["type"] == "DELETED"
    assert event["object"]["metadata"]["finalizers"] == ["contract.dev/a"]
    assert event["object"]["spec"]["size"] == 1
