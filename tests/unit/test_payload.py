"""What a backend is told: templates, and the built-in one."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from actors.core.budget import Budget
from actors.core.builtin import MUSTER_FLEET
from actors.core.fleet import PAYLOAD, Field
from actors.core.health import Roll
from actors.core.model import Child, Now, Parent, ParentKey, ParentSpec, Policy
from actors.core.payload import compiled, payloads, words_in
from actors.core.reconcile import Children, reconcile
from actors.core.repairs import Repairs

KEY = ParentKey("pools", "p")
FIELDS = (
    Field(name="slot", path="spec.slot"),
    Field(name="load", path="status.load", quiet=True),
    Field(name="b", path="b"),
)
CHILD = Child("ComputeNode", "ns", "n", "u", 7, KEY, False, "t", fields='[12,{"x":[1]}]', quiet="[0.5]")


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{name}", "n"),
        ("{kind} {namespace}/{name} of {parentNamespace}/{parent}", "ComputeNode ns/n of pools/p"),
        ("{incident}", "unhealthy@t"),
        ("{fields.slot}", 12),
        ("i-{fields.slot}", "i-12"),
        ("{fields.load}", 0.5),
        ("{fields.b}", {"x": [1]}),
        ("at {fields.b}", 'at {"x":[1]}'),
        ("{{{name}}}", "{n}"),
        (True, True),
        (None, None),
        ([1, "{uid}", {"deep": "{name}"}], [1, "u", {"deep": "n"}]),
    ],
)
def test_a_template_is_filled(template: Any, expected: Any) -> None:
    assert compiled({"it": template}, FIELDS)(CHILD, KEY, "k") == {"key": "k", "it": expected, "uid": "u"}


def test_a_child_of_which_nothing_is_kept_has_nothing_in_its_place() -> None:
    child = Child("ComputeNode", "ns", "n", "u", 7, KEY, False)

    found = compiled({"it": "{fields.slot}", "text": "i-{fields.slot}"}, FIELDS)(child, KEY, "k")

    assert found == {"key": "k", "it": None, "text": "i-", "uid": "u"}


@pytest.mark.parametrize("word", ["nam", "fields.none", "fields", "", "{", "}"])
def test_a_word_that_is_none_is_refused(word: str) -> None:
    text = word if word in ("{", "}") else f"{{{word}}}"

    assert words_in({"a": [text]}) == [word]
    with pytest.raises(ValueError, match="expected one of name, namespace, kind"):
        compiled({"a": text}, FIELDS)


def test_the_built_in_template_gives_what_repairs_make_by_themselves() -> None:
    by_hand = Repairs("batchRepair").wanted(KEY, CHILD, 0.0, Budget(cooldown_s=1.0))

    assert by_hand is not None
    assert by_hand.payload == compiled(PAYLOAD, ())(CHILD, KEY, by_hand.key)
    assert payloads(MUSTER_FLEET) is None


def test_a_look_gives_items_the_fleets_own_payload_and_leaves_out_what_is_not_to_be_written() -> None:
    fleet = evolve(MUSTER_FLEET, payload={"host": "{name}"}, status={"kinds": "", "healthy": "ready"})
    roll = Roll(("ComputeNode", "StorageNode"), KEY)
    roll.put(CHILD)
    parent = Parent(kind="Cluster", key=KEY, uid="c", version=1, generation=1, spec=ParentSpec(), status={})
    children = Children(roll=roll, repairs=Repairs(fleet.operation))

    plan = reconcile(fleet, parent, children, Policy(), Now(1.0, 1.0))

    (item,) = plan.repairs
    assert item.payload == {"key": item.key, "host": "n", "uid": "u"}
    assert "kinds" not in plan.status
    assert plan.status["healthy"] == 0, "the names within stay"
    assert payloads(fleet) is payloads(fleet)
