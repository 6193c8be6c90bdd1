"""Parents at rest: the same records come out as went in, and a write leaves what has not changed where it was."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from actors.core.graph import graph_of, value_of
from actors.core.masking import MASK
from actors.core.model import Parent, ParentKey, ParentSpec, status_text
from actors.core.parents import Parents
from actors.core.records import RecordStore

KEY = ParentKey("default", "blue")
STATUS = {"total": 3, "conditions": [{"type": "Ready", "status": "True"}], "é": 1.5, "big": 10**30}
BLUE = Parent(kind="Cluster", key=KEY, uid="u", version=7, generation=2, spec=ParentSpec(), status=STATUS, fields="[1]")


def kept(*records: Parent) -> Parents[ParentKey]:
    parents: Parents[ParentKey] = Parents()
    for record in records:
        parents[record.key] = record
    return parents


def test_a_record_comes_out_as_it_went_in() -> None:
    parents = kept(BLUE)
    assert (parents[KEY], parents[KEY].status, dict(parents)) == (BLUE, STATUS, {KEY: BLUE})


@pytest.mark.parametrize("changes", [
    {"version": 8}, {"status": {}}, {"version": 6, "status": {"total": 4}}, {"generation": 3}, {"uid": "v"},
    {"deleting": True}, {"fields": ""}, {"spec": ParentSpec(paused=True)}, {"kind": "Pool"}, {"key": ParentKey("", "blue")},
])  # fmt: skip
def test_each_part_of_a_newer_record_is_kept(changes: dict[str, Any]) -> None:
    newer = evolve(BLUE, **changes)
    parents: Parents[int] = Parents()
    parents[0] = BLUE
    parents[0] = newer
    assert parents[0] == newer != BLUE


def test_a_write_makes_one_new_text_and_shares_it() -> None:
    parents, others = kept(BLUE), kept(BLUE)
    uid = parents[KEY].uid
    text = status_text(8, {"total": 4})
    written = evolve(BLUE, version=8, status=text, uid="".join("u"))
    parents[KEY] = others[KEY] = written
    assert parents[KEY].text is others[KEY].text is text
    assert parents[KEY].uid is uid


def test_a_text_of_another_version_is_not_taken_for_this_ones() -> None:
    older = evolve(BLUE, status=status_text(7, STATUS))
    newer = evolve(older, version=70)
    assert (newer.text, newer) == (status_text(70, STATUS), evolve(BLUE, version=70))


def test_what_is_gone_is_gone() -> None:
    parents = kept(BLUE)
    del parents[KEY]
    assert (len(parents), KEY in parents, parents.get(KEY), list(parents)) == (0, False, None, [])
    with pytest.raises(KeyError):
        del parents[KEY]


def test_who_goes_through_them_does_not_mind_what_comes_and_goes() -> None:
    """Metrics and the shell look from threads of their own."""
    green = evolve(BLUE, key=ParentKey("default", "green"))
    store = RecordStore(("ComputeNode",))
    store.parents.update({KEY: BLUE, green.key: green})
    for key in store.parents:
        store.parents.pop(KEY, None)
        store.parents[ParentKey("new", key.name)] = BLUE
    assert len(store.parents) == 3
    assert len(store.all_parents()) == 3


def test_a_tape_holds_plain_values_and_masks_them() -> None:
    parents = kept(evolve(BLUE, status=status_text(7, {"total": 3, "password": "hunter2"})))
    form = graph_of(parents)
    assert "hunter2" not in str(form)
    assert value_of(form)[KEY] == evolve(BLUE, status={"total": 3, "password": MASK})
