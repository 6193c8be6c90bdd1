"""How a parent's status is written on the API server: under other names, or in an annotation."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from actors.core.builtin import MUSTER_FLEET
from actors.core.fleet_rules import problems
from actors.core.status_wire import patch_of, place_of, status_of, subresource_of

STATUS = {"healthy": 2, "total": 3, "conditions": [{"type": "Ready", "status": "True"}]}
RENAMED = evolve(MUSTER_FLEET, status={"healthy": "ready", "kinds": ""})
NOTED = evolve(MUSTER_FLEET, status_annotation="example.com/fleet")
BOTH = evolve(RENAMED, status_annotation="example.com/fleet")


@pytest.mark.parametrize("fleet", [MUSTER_FLEET, RENAMED, NOTED, BOTH])
def test_what_is_written_is_what_is_read(fleet: Any) -> None:
    patch = patch_of(fleet, {"resourceVersion": "7"}, STATUS)

    assert patch["metadata"]["resourceVersion"] == "7"
    assert status_of(fleet, patch) == STATUS


def test_an_annotation_is_of_the_object_and_leaves_its_status_alone() -> None:
    patch = patch_of(BOTH, {"name": "c"}, STATUS)

    assert (subresource_of(BOTH), place_of(BOTH)) == ("", ("metadata", "annotations", "example.com/fleet"))
    assert patch == {
        "metadata": {
            "name": "c",
            "annotations": {
                "example.com/fleet": '{"conditions":[{"status":"True","type":"Ready"}],"ready":2,"total":3}',
            },
        }
    }


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", '"healthy"', "\\ud800"])
def test_an_annotation_that_somebody_has_spoilt_says_nothing(text: str) -> None:
    """Then the status differs from what is wished for, and is written."""
    assert status_of(NOTED, {"metadata": {"annotations": {"example.com/fleet": text}}}) == {}


@pytest.mark.parametrize(
    "found", [{}, {"metadata": {}}, {"metadata": {"annotations": None}}, {"status": {"healthy": 1}}]
)
def test_where_there_is_no_annotation_there_is_no_status(found: Any) -> None:
    assert status_of(NOTED, found) == {}


def test_a_key_that_the_api_server_would_refuse_is_named() -> None:
    (problem,) = problems(evolve(MUSTER_FLEET, status_annotation="my fleet"))

    assert problem.place == ("parent", "statusAnnotation")
    assert "found 'my fleet', expected a key such as" in problem.text
