"""Fleets: a definition and its printed form are the same, and no file that was damaged anywhere gives half a definition."""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.core.errors import SettingsError
from actors.core.fleet import (
    ALL,
    ANYWHERE,
    FIRST,
    PAYLOAD,
    STATUS_FIELDS,
    Annotation,
    ChildKind,
    ConditionIs,
    Expression,
    Field,
    FieldIn,
    FieldPath,
    FleetDefinition,
    Health,
    KindRef,
    Label,
    Lease,
    NamespaceName,
    OwnerReference,
)
from actors.core.fleet_rules import problems
from actors.core.graph import graph_of, value_of
from actors.edge.fleet_file import default_plural, parse_fleet, print_fleet

ROOT = Path(__file__).parents[2]
GOOD = yaml.safe_load((ROOT / "tests" / "fleets" / "everything.yaml").read_text(encoding="utf-8"))
SCHEMA = jsonschema.Draft202012Validator(json.loads((ROOT / "docs" / "fleet.schema.json").read_text(encoding="utf-8")))

WORDS = st.from_regex(r"[a-z][a-z0-9]{0,6}", fullmatch=True)
KINDS = st.from_regex(r"[A-Z][a-z]{0,6}", fullmatch=True)
PATHS = st.lists(WORDS, min_size=2, max_size=3).map(lambda parts: ".".join(["status", *parts]))
KEYS = WORDS | WORDS.map(lambda word: f"{word}.example.com/{word}")
HOMES = st.sampled_from(["", "pools"])
VALUES = st.lists(
    st.booleans() | st.integers(-3, 3) | WORDS, min_size=1, max_size=3, unique_by=lambda v: (type(v), v)
).map(tuple)
STATUSES = st.sampled_from([
    (("True",), ("False",)), (("False",), ("True",)), (("True", "Unknown"), ("False",)), (("True",), ()),
    (("False",), ("True", "Unknown")),
])  # fmt: skip
REFS = st.builds(
    KindRef,
    group=st.sampled_from(["", "x.io", "apps"]),
    version=st.sampled_from(["v1", "v2beta1"]),
    kind=KINDS,
    plural=WORDS,
    labels=st.sampled_from(["", "a=b", "a in (b, c),!d"]),
    fields=st.sampled_from(["", "status.phase!=Failed"]),
)
BEATS: st.SearchStrategy[str | Lease] = st.sampled_from(["", "status.beat", Lease()])
HOW = (
    PATHS
    | st.builds(lambda name, lists: ConditionIs(type=name, healthy=lists[0], unhealthy=lists[1]), KINDS, STATUSES)
    | st.builds(lambda path, values: FieldIn(path=path, healthy=values, unhealthy=None), PATHS, VALUES)
    | PATHS.map(lambda path: Expression(cel=f"object.{path} == 1"))
)
MAPPINGS = st.lists(
    st.builds(Label, key=KEYS, namespace=HOMES)
    | st.builds(Annotation, key=KEYS, namespace=st.sampled_from(["", "pools", ANYWHERE]))
    | st.builds(FieldPath, path=PATHS.map(lambda path: path.replace("status", "spec")), namespace=HOMES)
    | st.builds(NamespaceName, namespace=HOMES)
    | st.builds(OwnerReference),
    min_size=1,
    max_size=4,
    unique_by=repr,
).map(tuple)


@st.composite
def fleets(draw: st.DrawFn) -> FleetDefinition:
    kinds = draw(st.lists(KINDS, min_size=2, max_size=4, unique=True))
    parent = draw(REFS)
    children = []
    for kind in kinds[1:]:
        ref, turned = draw(REFS), draw(st.sampled_from(["", "condition", "since"]))
        health = Health(
            healthy=draw(HOW), heartbeat=draw(BEATS),
            condition="Turned" if turned == "condition" else "", since="status.turned" if turned == "since" else "",
        )  # fmt: skip
        names = draw(st.lists(WORDS, max_size=3, unique=True))
        fields = tuple(Field(name=name, path=f"extra.{name}", quiet=draw(st.booleans())) for name in names)
        plural = draw(st.sampled_from([default_plural(kind), "others"]))
        ref = KindRef(
            group=ref.group, version=ref.version, kind=kind, plural=plural, labels=ref.labels, fields=ref.fields
        )
        parents = draw(st.sampled_from([FIRST, ALL]))
        children.append(ChildKind(ref=ref, mapping=draw(MAPPINGS), health=health, fields=fields, parents=parents))
    status = {name: f"x{name}" for name in draw(st.sets(st.sampled_from(STATUS_FIELDS), max_size=3))}
    if draw(st.booleans()):
        status["kinds"] = ""
    settings = draw(st.sampled_from([{}, {"quota": "10/1s", "auditInterval": "off"}, {"batchMax": "7"}]))
    payload = draw(st.sampled_from([dict(PAYLOAD), {"a": "{name}", "b": [1, None, {"c": "{{x}}"}]}, {}]))
    return FleetDefinition(
        name=draw(WORDS), parent=KindRef(group=parent.group, version=parent.version, kind=kinds[0], plural=parent.plural),
        children=tuple(children), operation=draw(WORDS), payload=payload, status=status,
        spec=draw(st.sampled_from(["spec", "", "spec.fleet"])), settings=settings,
        status_annotation=draw(st.sampled_from(["", "fleet", "muster.dev/fleet"])),
    )  # fmt: skip


@settings(max_examples=50)
@given(fleets())
def test_a_definition_and_its_printed_form_are_the_same(fleet: FleetDefinition) -> None:
    """And so is what crosses to a reader's process or lies on a tape; and the schema takes what the loader takes."""
    if problems(fleet):  # a path that happens to lie within another, or a way that never names two
        return
    text = print_fleet(fleet, schema="fleet.schema.json")

    assert parse_fleet(text).fleet == fleet
    assert value_of(json.loads(json.dumps(graph_of(fleet)))) == fleet
    assert list(SCHEMA.iter_errors(yaml.safe_load(text))) == []


# --- damage -------------------------------------------------------------------------------------------------------------
def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if place:
        yield place
    for key, below in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(below, (*place, key))


def damaged(place: tuple[Any, ...], how: str) -> Any:
    root = copy.deepcopy(GOOD)
    *above, last = place
    below = root
    for step in above:
        below = below[step]
    if how == "gone":
        del below[last]
    elif how == "misspelt":
        below[f"{last}q"] = below.pop(last)
    else:
        below[last] = {"list": [[]], "mapping": {"nobody": {}}, "number": -7.5, "null": None}[how]
    return root


HOW_MANY = 240
ALL_DAMAGE = [
    (place, how)
    for place in places(GOOD)
    for how in ("gone", "misspelt", "list", "mapping", "number", "null")
    if not (how == "misspelt" and isinstance(place[-1], int))
]
DAMAGE = random.Random(1).sample(ALL_DAMAGE, HOW_MANY)
"""Some of all the ways, because each takes 15 ms; all of them were tried, too."""
NO_TYPE_SAYS_SO = ("settings", "repair", "unhealthy: found values", "no parentNamespace")


@pytest.mark.parametrize("part", range(4))
def test_a_damaged_file_is_refused_with_its_place_or_says_something_else_that_is_whole(part: int) -> None:
    """A file that uses everything, damaged anywhere in six ways. What the schema refuses, the loader refuses; and what the
    loader refuses by its types, the schema refuses.
    """
    refused = 0
    for place, how in DAMAGE[part::4]:
        root = damaged(place, how)
        valid = SCHEMA.is_valid(root)
        try:
            fleet = parse_fleet(str(yaml.dump(root, Dumper=yaml.CSafeDumper, sort_keys=False))).fleet
        except SettingsError as error:
            refused += 1
            lines = str(error).splitlines()
            for line in lines:
                assert re.match(r"fleet.yaml:\d+: .*(expected|did you mean|there is no such field)", line), line
                by_type = re.search(r"there is no such field|found (a list|a mapping|nothing|no )", line)
                assert not (by_type and valid) or any(word in line for word in NO_TYPE_SAYS_SO), line
        else:
            assert valid, f"{place} {how}: the schema refuses it"
            assert problems(fleet) == []
    assert refused >= 40, "of 60"
