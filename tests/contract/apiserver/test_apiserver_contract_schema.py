"""Schemas on both servers: what they refuse and say of it, what they prune, and unknown fields."""

from __future__ import annotations

from typing import Any

import pytest

from actors.sim.serve_contract import Place


def test_every_breach_is_a_cause(place: Place) -> None:
    spec = {
        "size": 11, "mode": "c", "label": "ABC", "atomic": ["1", "2", "3", "4"], "tags": ["a", "a"],
        "ports": [{"name": "a"}, {"name": "a"}], "by": {"a": "x"}, "needs": {"that": "x"},
    }  # fmt: skip

    answer = place.wire.post(place.all, place.gadget("g1", spec=spec))

    assert answer.refusal == (422, "Invalid")
    assert answer.body["message"].startswith('Gadget.contract.dev "g1" is invalid: [')
    assert answer.body["details"] | {"causes": []} == {
        "name": "g1", "group": "contract.dev", "kind": "Gadget", "causes": [],
    }  # fmt: skip
    assert answer.causes == [
        ("FieldValueDuplicate", "spec.ports[1]"),
        ("FieldValueDuplicate", "spec.tags[1]"),
        ("FieldValueInvalid", "spec.label"),
        ("FieldValueInvalid", "spec.size"),
        ("FieldValueNotSupported", "spec.mode"),
        ("FieldValueRequired", "spec.needs.this"),
        ("FieldValueTooMany", "spec.atomic"),
        ("FieldValueTypeInvalid", "spec.by.a"),
    ]


@pytest.mark.parametrize(
    ("spec", "cause", "message"),
    [
        (
            {"size": "x"}, ("FieldValueTypeInvalid", "spec.size"),
            'Invalid value: "string": spec.size in body must be of type integer: "string"',
        ),
        (
            {"size": -1}, ("FieldValueInvalid", "spec.size"),
            "Invalid value: -1: spec.size in body should be greater than or equal to 0",
        ),
        ({"label": "ABCDEF"}, ("FieldValueTooLong", "spec.label"), "Too long: may not be more than 5 bytes"),
        (
            {"label": "AB"}, ("FieldValueInvalid", "spec.label"),
            "Invalid value: \"AB\": spec.label in body should match '^[a-z]+$'",
        ),
        (
            {"mode": "c"}, ("FieldValueNotSupported", "spec.mode"),
            'Unsupported value: "c": supported values: "a", "b"',
        ),
        ({"needs": {}}, ("FieldValueRequired", "spec.needs.this"), "Required value"),
        (
            [], ("FieldValueTypeInvalid", "spec"),
            'Invalid value: "array": spec in body must be of type object: "array"',
        ),
    ],
    ids=str,
)  # fmt: skip
def test_a_breach_says_what_is_wrong(place: Place, spec: Any, cause: tuple[str, str], message: str) -> None:
    answer = place.wire.post(place.all, place.gadget("g1", spec=spec))

    assert answer.refusal == (422, "Invalid")
    assert answer.causes == [cause]
    assert answer.body["details"]["causes"][0]["message"] == message


@pytest.mark.parametrize("sub", ["", "status"])
def test_patches_are_held_to_the_schema(place: Place, sub: str) -> None:
    place.make("g1")
    patch = {"spec": {"size": "x"}} if not sub else {"status": {"at": "yesterday"}}

    answer = place.wire.merge(place.at("g1", sub), patch)

    assert answer.refusal == (422, "Invalid")
    assert answer.causes == [("FieldValueTypeInvalid", "status.at" if sub else "spec.size")]


def test_unknown_fields_are_pruned_but_where_they_may_be(place: Place) -> None:
    made = place.wire.post(place.all, place.gadget("g1", spec={"odd": 1, "free": {"any": {"thing": None}}}, odd=1))

    assert made.code == 201
    assert made.body["spec"] == {"free": {"any": {"thing": None}}, "timeout": "60s"}
    assert "odd" not in made.body


@pytest.mark.parametrize(("validation", "warned"), [("Ignore", False), ("Warn", True), ("", True)])
def test_unknown_fields_are_warned_of(place: Place, validation: str, warned: bool) -> None:
    query = {"fieldValidation": validation} if validation else {}
    made = place.wire.post(place.all, place.gadget("g1", {"odd": 1}, spec={"odd": 1}, odd=1), **query)

    expected = ", ".join(rf'299 - "unknown field \"{path}\""' for path in ("metadata.odd", "odd", "spec.odd"))
    assert made.code == 201
    assert made.headers.get("warning", "") == (expected if warned else "")


@pytest.mark.parametrize("sub", ["", "status"])
def test_unknown_fields_are_refused_where_that_is_asked_for(place: Place, sub: str) -> None:
    place.make("g1")
    body = place.gadget("g2", {"odd": 1}, spec={"odd": 1}, odd=1)

    made = place.wire.post(place.all, body, fieldValidation="Strict")
    patched = place.wire.merge(place.at("g1", sub), {sub or "spec": {"odd": 1}}, fieldValidation="Strict")

    assert made.refusal == (400, "BadRequest")
    assert made.body["message"] == (
        'Gadget in version "v1" cannot be handled as a Gadget: strict decoding error: '
        'unknown field "metadata.odd", unknown field "odd", unknown field "spec.odd"'
    )
    assert patched.refusal == (422, "Invalid")
    assert patched.causes == [("FieldValueInvalid", "patch")]
    assert patched.body["message"].endswith(f'strict decoding error: unknown field "{sub or "spec"}.odd"')
