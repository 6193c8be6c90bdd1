"""Lists on both servers: consistency, selectors, pages and their tokens, lists of the past, and what is not served."""

from __future__ import annotations

import base64
import json

import pytest

from actors.sim.serve_contract import Place

NAMESPACES = "/api/v1/namespaces"
GADGETS = "/apis/contract.dev/v1/gadgets"


def token(version: int, start: str) -> str:
    """A continue token, as the real server writes it."""
    text = json.dumps({"v": "meta.k8s.io/v1", "rv": version, "start": f"/{start}\0"})
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def test_a_list_says_of_which_moment_it_is(place: Place) -> None:
    before = place.wire.get(place.all)
    assert (before.code, before.body["kind"], before.body["items"]) == (200, "GadgetList", [])
    made = place.make("g1", mode="a")

    after = place.wire.get(place.all)

    assert int(before.version) < int(made.version) <= int(after.version)
    assert after.body["items"] == [made.body]
    assert after.metadata["continue"] == ""
    assert "remainingItemCount" not in after.metadata


def test_objects_come_in_the_order_of_their_paths(place: Place) -> None:
    """So a-b/x comes before a/x: a slash is after a hyphen."""
    other = place.namespace + "-a"
    assert place.wire.post(NAMESPACES, {"metadata": {"name": other}}).code == 201
    for name in ("g2", "g10", "g1"):
        place.make(name)
    assert place.wire.post(place.of(other), place.gadget("g1")).code == 201

    everywhere = place.wire.get(GADGETS).body["items"]

    assert place.wire.get(place.all).names == ["g1", "g10", "g2"]
    mine = [(item["metadata"]["namespace"], item["metadata"]["name"]) for item in everywhere]
    assert [each for each in mine if each[0].startswith(place.namespace)] == [
        (other, "g1"), (place.namespace, "g1"), (place.namespace, "g10"), (place.namespace, "g2"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({"labelSelector": "tier=front"}, ["g1"]),
        ({"labelSelector": "tier!=front"}, ["g2", "g3"]),
        ({"labelSelector": "tier in (front,back)"}, ["g1", "g2"]),
        ({"labelSelector": "tier notin (front)"}, ["g2", "g3"]),
        ({"labelSelector": "tier"}, ["g1", "g2"]),
        ({"labelSelector": "!tier"}, ["g3"]),
        ({"labelSelector": "tier,zone=x"}, ["g2"]),
        ({"fieldSelector": "metadata.name=g2"}, ["g2"]),
        ({"fieldSelector": "metadata.name!=g2"}, ["g1", "g3"]),
        ({"fieldSelector": "spec.mode=b"}, ["g2"]),
        ({"fieldSelector": "spec.mode=b", "labelSelector": "tier=front"}, []),
    ],
)
def test_selectors(place: Place, query: dict[str, str], names: list[str]) -> None:
    place.make("g1", {"labels": {"tier": "front"}}, mode="a")
    place.make("g2", {"labels": {"tier": "back", "zone": "x"}}, mode="b")
    place.make("g3")

    assert place.wire.get(place.all, **query).names == names


def test_pages_are_of_one_moment(place: Place) -> None:
    for name in "abcde":
        place.make(name)
    first = place.wire.get(place.all, limit="2")
    place.make("bb")
    assert place.wire.delete(place.at("d")).code == 200
    assert place.wire.merge(place.at("e"), {"spec": {"size": 3}}).code == 200

    second = place.wire.get(place.all, limit="2", **{"continue": first.metadata["continue"]})
    third = place.wire.get(place.all, limit="2", **{"continue": second.metadata["continue"]})

    assert [*first.names, *second.names, *third.names] == list("abcde")
    assert "size" not in third.body["items"][0].get("spec", {})
    assert first.version == second.version == third.version
    assert (first.metadata["remainingItemCount"], second.metadata["remainingItemCount"]) == (3, 1)
    assert third.metadata["continue"] == ""
    assert "remainingItemCount" not in third.metadata


def test_with_selectors_nobody_knows_how_many_are_left(place: Place) -> None:
    for name in "abcd":
        place.make(name, {"labels": {"odd": str(name in "ac")}})

    first = place.wire.get(place.all, limit="1", labelSelector="odd=True")
    second = place.wire.get(place.all, limit="1", labelSelector="odd=True", **{"continue": first.metadata["continue"]})

    assert (first.names, second.names) == (["a"], ["c"])
    assert "remainingItemCount" not in first.metadata


def test_a_token_of_a_forgotten_moment_is_expired_and_offers_another(place: Place) -> None:
    for name in "abc":
        place.make(name)
    place.twin.compact(place.now())

    expired = place.wire.get(place.all, limit="1", **{"continue": token(1, "a")})
    rest = place.wire.get(place.all, limit="1", **{"continue": expired.metadata["continue"]})

    assert expired.refusal == (410, "Expired")
    assert "too old to display a consistent list" in expired.body["message"]
    assert (rest.code, rest.names, rest.metadata["remainingItemCount"]) == (200, ["b"], 1)


def test_a_list_of_the_past(place: Place) -> None:
    place.make("kept", size=1)
    place.make("gone", size=1)
    then = place.now()
    place.make("new", size=1)
    place.wire.merge(place.at("kept"), {"spec": {"size": 2}})
    place.wire.delete(place.at("gone"))

    past = place.wire.get(place.all, resourceVersion=then, resourceVersionMatch="Exact")

    assert past.version == then
    assert [(item["metadata"]["name"], item["spec"]["size"]) for item in past.body["items"]] == [
        ("gone", 1),
        ("kept", 1),
    ]


def test_a_list_no_older_than_what_one_has_seen(place: Place) -> None:
    made = place.make("g1")

    for match in ({}, {"resourceVersionMatch": "NotOlderThan"}):
        found = place.wire.get(place.all, resourceVersion=made.version, **match)
        assert found.names == ["g1"]
        assert int(found.version) >= int(made.version)


FORBIDDEN = [("FieldValueForbidden", "resourceVersionMatch")]


@pytest.mark.parametrize(
    ("query", "refusal", "causes"),
    [
        ({"resourceVersionMatch": "Exact"}, (422, "Invalid"), FORBIDDEN),
        ({"resourceVersionMatch": "Exact", "resourceVersion": "0"}, (422, "Invalid"), FORBIDDEN),
        (
            {"resourceVersionMatch": "Odd", "resourceVersion": "1"},
            (422, "Invalid"),
            [("FieldValueNotSupported", "resourceVersionMatch")],
        ),
        (
            {"resourceVersionMatch": "NotOlderThan", "continue": token(5, "a"), "limit": "1"},
            (422, "Invalid"),
            FORBIDDEN,
        ),
        ({"resourceVersion": "5", "continue": token(5, "a"), "limit": "1"}, (400, "BadRequest"), []),
        ({"continue": "nonsense", "limit": "1"}, (400, "BadRequest"), []),
        ({"resourceVersion": "abc"}, (400, "BadRequest"), []),
        ({"resourceVersion": "999999999"}, (504, "Timeout"), [("ResourceVersionTooLarge", "")]),
        ({"limit": "many"}, (400, "BadRequest"), []),
        ({"labelSelector": "a in (b"}, (400, "BadRequest"), []),
        ({"fieldSelector": "spec.size=1"}, (400, "BadRequest"), []),
        ({"sendInitialEvents": "true"}, (422, "Invalid"), [("FieldValueForbidden", "sendInitialEvents")]),
    ],
    ids=lambda value: "&".join(value) if isinstance(value, dict) else "",
)
def test_lists_that_are_refused(
    place: Place, query: dict[str, str], refusal: tuple[int, str], causes: list[tuple[str, str]]
) -> None:
    answer = place.wire.get(place.all, **query)

    assert answer.refusal == refusal
    assert answer.causes == causes
    assert answer.body["kind"] == "Status"


def test_a_list_from_the_future_says_when_to_come_again(place: Place) -> None:
    answer = place.wire.get(place.all, resourceVersion="999999999")

    assert answer.headers["retry-after"] == "1"
    assert answer.body["details"]["retryAfterSeconds"] == 1


def test_one_object(place: Place) -> None:
    made = place.make("g1")

    assert place.wire.get(place.at("g1")).body == made.body
    assert place.wire.get(place.at("g1", "status")).body == made.body
    missing = place.wire.get(place.at("g2"))
    assert missing.refusal == (404, "NotFound")
    assert missing.body["message"] == 'gadgets.contract.dev "g2" not found'
    assert missing.body["details"] == {"name": "g2", "group": "contract.dev", "kind": "gadgets"}


def test_the_list_of_a_namespace_that_is_not_there_is_empty(place: Place) -> None:
    answer = place.wire.get(place.of("nowhere"))

    assert (answer.code, answer.names) == (200, [])


@pytest.mark.parametrize(
    ("method", "path", "refusal"),
    [
        ("PUT", "{all}", (400, "BadRequest")),
        ("PATCH", "{all}", (400, "BadRequest")),
        ("PUT", NAMESPACES, (405, "MethodNotAllowed")),
        ("PATCH", NAMESPACES, (405, "MethodNotAllowed")),
        ("DELETE", NAMESPACES, (405, "MethodNotAllowed")),
        ("POST", NAMESPACES + "/default/events/x", (405, "MethodNotAllowed")),
        ("POST", "{all}/g1", (409, "AlreadyExists")),
        ("POST", "{all}/g1/status", (405, "MethodNotAllowed")),
        ("DELETE", "{all}/g1/status", (405, "MethodNotAllowed")),
        ("GET", "{all}/g1/scale", (404, "NotFound")),
        ("PUT", "{all}/g1/scale", (404, "NotFound")),
        ("GET", "{all}/g1/odd", (404, "NotFound")),
        ("GET", NAMESPACES + "/default/events/x/status", (404, "NotFound")),
        ("GET", "/apis/contract.dev/v1/nonesuch", (404, "")),
        ("GET", "/apis/contract.dev/v2/gadgets", (404, "")),
        ("GET", "/apis/odd.dev/v1/gadgets", (404, "")),
        ("POST", GADGETS, (404, "")),
        ("DELETE", GADGETS, (404, "")),
        ("GET", GADGETS + "/g1", (404, "")),
    ],
)
def test_what_is_not_served(place: Place, method: str, path: str, refusal: tuple[int, str]) -> None:
    """A kind that is not there at all is told by the code alone: there is no Status."""
    place.make("g1")
    kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
    body = None if method in ("GET", "DELETE") else place.gadget("g1")

    answer = place.wire.call(method, path.format(all=place.all), body, kind)

    assert answer.refusal == refusal
    assert (answer.body == {"text": "404 page not found\n"}) is (refusal[1] == "")
