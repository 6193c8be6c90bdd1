"""What the simulator does to the API server model from inside: old lists, watches that travel back in time, compaction."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from actors.sim.apierrors import ApiError
from actors.sim.apiserver import ApiServerModel
from actors.sim.history import WatchCursor

Obj = dict[str, Any]

CRD: Obj = json.loads((Path(__file__).parents[1] / "contract" / "nodes-crd.json").read_text(encoding="utf-8"))
NODES = "nodes.test.dev"


@pytest.fixture
def model() -> ApiServerModel:
    made = ApiServerModel(clock=lambda: 1_700_000_000.0, history_changes_max=8)
    made.create("customresourcedefinitions.apiextensions.k8s.io", CRD)
    return made


def make(model: ApiServerModel, name: str, namespace: str = "default") -> int:
    return model.create(NODES, {"metadata": {"name": name}, "spec": {"parent": "p"}}, namespace).resource_version


def size(model: ApiServerModel, name: str, value: int) -> int:
    return model.patch(NODES, name, {"spec": {"size": value}}, "default").resource_version


def listed(model: ApiServerModel, age: int, **query: Any) -> dict[str, int | None]:
    return {
        item.obj["metadata"]["name"]: item.obj["spec"].get("size")
        for item in model.stale_list(NODES, age, **query).items
    }


def seen(cursor: WatchCursor) -> list[tuple[str, str]]:
    return [(event.type, event.obj["metadata"]["name"]) for event in cursor.poll()]


# --- lists of a server that is behind ---


def test_a_stale_list_is_what_was_there_so_many_changes_ago(model: ApiServerModel) -> None:
    make(model, "a")
    make(model, "b")
    size(model, "a", 1)
    model.delete(NODES, "b", "default")
    make(model, "b")

    assert listed(model, 0) == {"a": 1, "b": None}
    assert listed(model, 1) == {"a": 1}
    assert listed(model, 2) == {"a": 1, "b": None}
    assert listed(model, 3) == {"a": None, "b": None}
    assert listed(model, 4) == {"a": None}
    assert listed(model, 5) == listed(model, 99) == {}


def test_a_stale_list_has_the_version_of_its_moment_and_a_watch_goes_on_from_it(model: ApiServerModel) -> None:
    first = make(model, "a")
    model.create("namespaces", {"metadata": {"name": "elsewhere"}})
    make(model, "b")
    size(model, "a", 1)

    assert model.stale_list(NODES, 0).resource_version == model.resource_version
    old = model.stale_list(NODES, 2)
    assert old.resource_version == first
    assert [item.raw for item in old.items] == [
        model.list(NODES, resource_version=str(first), match="Exact").items[0].raw
    ]
    assert seen(model.watch(NODES, resource_version=str(first))) == [("ADDED", "b"), ("MODIFIED", "a")]


def test_a_stale_list_of_one_namespace(model: ApiServerModel) -> None:
    make(model, "a")
    make(model, "b", "kube-system")
    size(model, "a", 1)

    assert listed(model, 1, namespace="default") == {"a": None}
    assert listed(model, 1, namespace="kube-system") == {"b": None}


def test_changes_of_other_kinds_do_not_count(model: ApiServerModel) -> None:
    make(model, "a")
    model.create("namespaces", {"metadata": {"name": "elsewhere"}})

    assert listed(model, 1) == {}


def test_a_stale_list_is_no_older_than_the_history(model: ApiServerModel) -> None:
    make(model, "a")
    for value in range(9):
        size(model, "a", value)

    assert listed(model, 99) == {"a": 0}
    model.watch(NODES, resource_version=str(model.stale_list(NODES, 99).resource_version))
    model.compact()
    assert listed(model, 99) == {"a": 8}


def test_a_stale_list_changes_nothing(model: ApiServerModel) -> None:
    make(model, "a")
    make(model, "b")
    before = [item.raw for item in model.list(NODES).items]

    model.stale_list(NODES, 2)

    assert [item.raw for item in model.list(NODES).items] == before


# --- watches that travel back in time ---


def test_a_rewound_watch_shows_again_what_was_seen(model: ApiServerModel) -> None:
    make(model, "a")
    make(model, "b")
    now = size(model, "a", 1)

    assert seen(model.watch(NODES, resource_version=str(now), rewind_changes=0)) == []
    cursor = model.watch(NODES, resource_version=str(now), rewind_changes=2)
    model.delete(NODES, "b", "default")

    assert cursor.pending()
    assert seen(cursor) == [("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "b")]
    assert seen(cursor) == []


def test_a_rewound_watch_goes_no_further_back_than_the_history(model: ApiServerModel) -> None:
    make(model, "a")
    now = size(model, "a", 1)
    model.compact()
    size(model, "a", 2)

    cursor = model.watch(NODES, resource_version=str(now), rewind_changes=99)

    assert [event.obj["spec"]["size"] for event in cursor.poll()] == [2]


def test_what_is_there_and_then_the_past(model: ApiServerModel) -> None:
    make(model, "a")
    size(model, "a", 1)

    assert seen(model.watch(NODES, rewind_changes=1)) == [("ADDED", "a")]
    cursor = model.watch(NODES, rewind_changes=1)
    cursor.poll()

    assert seen(cursor) == [("MODIFIED", "a")]


# --- compaction ---


def test_compaction_expires_what_is_older_and_nothing_else(model: ApiServerModel) -> None:
    old = make(model, "a")
    make(model, "b")
    token = model.list(NODES, limit=1).continue_token
    now = model.resource_version

    model.compact()

    for refused in (
        lambda: model.watch(NODES, resource_version=str(old)),
        lambda: model.list(NODES, continue_token=token),
        lambda: model.list(NODES, resource_version=str(old), match="Exact"),
    ):
        with pytest.raises(ApiError) as refusal:
            refused()
        assert (refusal.value.code, refusal.value.reason) == (410, "Expired")
    assert seen(model.watch(NODES, resource_version=str(now))) == []
    first = model.list(NODES, limit=1)
    assert first.resource_version > now
    second = model.list(NODES, limit=1, continue_token=first.continue_token)
    assert [item.obj["metadata"]["name"] for item in (*first.items, *second.items)] == ["a", "b"]


def test_a_page_whose_moment_has_fallen_out_is_found_again(model: ApiServerModel) -> None:
    """Twenty other lists are begun in between, more than are kept."""
    for name in "abc":
        make(model, name)
    first = model.list(NODES, limit=1)
    size(model, "c", 1)
    for _ in range(20):
        model.list(NODES, limit=1)
        model.create("namespaces", {"metadata": {"generateName": "other-"}})

    rest = model.list(NODES, continue_token=first.continue_token)

    assert [(item.obj["metadata"]["name"], item.obj["spec"].get("size")) for item in rest.items] == [
        ("b", None),
        ("c", None),
    ]
    assert rest.resource_version == first.resource_version
