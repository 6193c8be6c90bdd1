"""Whose a child is that is counted for all of its parents: what its object's words stand for, and in which order."""

from __future__ import annotations

import json
from typing import Any

import pytest
from attrs import evolve

from actors.core.between import between, listed, through
from actors.core.claims import PARENTS_MAX
from actors.core.decode import BadObject, Decoder
from actors.core.fleet import (
    ALL,
    ANYWHERE,
    FIRST,
    Annotation,
    ChildKind,
    FieldPath,
    FleetDefinition,
    Health,
    KindRef,
    Label,
    Mapping,
    NamespaceName,
    OwnerReference,
)
from actors.core.model import Child, ParentKey

POOL = KindRef(group="x.io", version="v1", kind="Pool", plural="pools")
SET = KindRef(group="apps", version="v1", kind="ReplicaSet", plural="replicasets")
THING = KindRef(group="x.io", version="v1", kind="Thing", plural="things")


def decoder(*mapping: Mapping, parents: str = ALL, namespaced: bool = True, fields: bool = False) -> Decoder:
    health = Health(healthy="status.ok", since="status.since" if fields else "")
    kind = ChildKind(ref=THING, mapping=mapping, health=health, parents=parents)
    return Decoder(FleetDefinition(name="f", parent=evolve(POOL, namespaced=namespaced), children=(kind,)), "Thing")


def owner(name: str, *, kind: str = "Pool", controller: bool | None = None, api: str = "x.io/v1") -> dict[str, Any]:
    return {"apiVersion": api, "kind": kind, "name": name, "uid": "o", "controller": controller}


def thing(**metadata: Any) -> bytes:
    spec = metadata.pop("spec", {})
    obj = {"metadata": {"name": "t", "namespace": "ns", "uid": "u", "resourceVersion": "7", **metadata}, "spec": spec}
    return json.dumps(obj).encode()


def named(decoder: Decoder, **metadata: Any) -> list[str]:
    """The parents that a record's parent stands for; those of an owner between as ``<OWNER>``."""
    record, claims = decoder.object(thing(**metadata))
    assert isinstance(record, Child)
    assert claims == (), "nothing is in dispute"
    found = [(key, between(key)) for key in listed(record.parent)]
    return [str(key) if owner is None else f"<{owner[0][1]}>" for key, owner in found]


def test_all_whom_the_mappings_name_are_there_in_their_order_and_once() -> None:
    reads = decoder(Label(key="pool"), Label(key="rack"), NamespaceName(), OwnerReference())

    assert named(reads, labels={"rack": "r7", "pool": "a"}) == ["ns/a", "ns/r7", "ns/ns"]
    assert named(reads, labels={"rack": "a", "pool": "a"}) == ["ns/a", "ns/ns"]
    assert named(reads, labels={"rack": "r7"}, ownerReferences=[owner("o", controller=True)]) == [
        "ns/r7", "ns/ns", "ns/o",
    ]  # fmt: skip


@pytest.mark.parametrize("fields", [False, True], ids=["plain", "any"])
def test_one_that_names_nobody_has_no_parent_and_one_of_the_first_only_has_one(fields: bool) -> None:
    record, _ = decoder(Label(key="pool"), Label(key="rack"), fields=fields).object(thing())
    first, claims = decoder(Label(key="pool"), Label(key="rack"), parents=FIRST, fields=fields).object(
        thing(labels={"pool": "a", "rack": "r"})
    )

    assert isinstance(record, Child)
    assert isinstance(first, Child)
    assert record.parent is None
    assert (first.parent, claims) == (ParentKey("ns", "a"), ("a", "r")), "as ever, and the log tells of it"


def test_annotations_and_fields_may_be_lists() -> None:
    reads = decoder(Annotation(key="pools", namespace=ANYWHERE), FieldPath(path="spec.pools"))

    assert named(reads, annotations={"pools": "b/x, y,,c/z ,"}, spec={"pools": "y,w"}) == [
        "b/x", "ns/y", "c/z", "ns/w",
    ]  # fmt: skip
    assert named(decoder(Label(key="a"), Label(key="b")), labels={"a": "x,y"}) == ["ns/x,y"], (
        "a label's value cannot be"
    )
    assert named(decoder(Annotation(key="pools"), namespaced=False), annotations={"pools": "x,y"}) == ["x", "y"]


def test_owners_that_are_no_controllers_come_last_and_only_those_of_the_parents_kind() -> None:
    reads = decoder(OwnerReference(), Label(key="pool"))
    owners = [
        owner("second"), owner("other", kind="Deployment"), owner("elsewhere", api="y.io/v1"), owner("mine", controller=True),
        owner("third", controller=False),
    ]  # fmt: skip

    assert named(reads, ownerReferences=owners, labels={"pool": "a"}) == ["ns/mine", "ns/a", "ns/second", "ns/third"]
    assert named(reads, ownerReferences=owners[:1]) == ["ns/second"], "where nobody else is named, it repairs"


def test_the_owner_of_an_owner_stands_where_its_mapping_stands() -> None:
    reads = decoder(Label(key="pool"), OwnerReference(through=SET), Label(key="rack"))
    owners = [
        owner("rs", kind="ReplicaSet", api="apps/v1", controller=True),
        owner("no", kind="ReplicaSet", api="apps/v1"),
    ]

    assert named(reads, ownerReferences=owners, labels={"pool": "a", "rack": "r"}) == ["ns/a", "<rs>", "ns/r"]
    assert named(reads, ownerReferences=owners) == ["<rs>"]


@pytest.mark.parametrize(
    "words",
    [
        {"labels": {"pool": "a", "rack": "r"}},
        {"labels": {"rack": "r"}, "annotations": {"of": "x/y"}},
        {"annotations": {"of": "x/y"}, "ownerReferences": [owner("o"), owner("p", controller=True)]},
        {"ownerReferences": [owner("o", controller=True)], "labels": {"rack": "r"}},
    ],
)
def test_the_first_of_all_is_the_one_of_first(words: dict[str, Any]) -> None:
    """Who asks for all changes nothing about who repairs."""
    mapping = (Label(key="pool"), OwnerReference(), Annotation(key="of", namespace=ANYWHERE), Label(key="rack"))
    one, _ = decoder(*mapping, parents=FIRST).object(thing(**words))

    assert isinstance(one, Child)
    assert named(decoder(*mapping), **words)[0] == str(one.parent)


def test_one_that_names_too_many_or_what_is_no_name_is_refused() -> None:
    reads = decoder(Annotation(key="pools"))
    many = [f"p{number}" for number in range(PARENTS_MAX + 1)]

    assert len(named(reads, annotations={"pools": ",".join(many[:-1])})) == PARENTS_MAX
    with pytest.raises(BadObject, match="found 17 parents, expected 16 at most"):
        reads.object(thing(annotations={"pools": ",".join(many)}))
    with pytest.raises(BadObject, match="found a parent's name of 402 characters, expected 316 at most"):
        reads.object(thing(annotations={"pools": "p," + "x" * 400}))


def test_no_word_of_an_object_is_taken_for_a_list_or_for_an_owner() -> None:
    """Whatever an annotation says, it says the name of a parent."""
    hostile = '\0\0[["a","b"]]'
    reads = decoder(Annotation(key="pools"))
    record, _ = reads.object(thing(annotations={"pools": hostile.replace(",", ";")}))

    assert isinstance(record, Child)
    assert listed(record.parent) == (ParentKey("ns", hostile.replace(",", ";")),)
    assert listed(through("ns", "o", None)) == (through("ns", "o", None),)
    assert listed(ParentKey("ns", "p")) == (ParentKey("ns", "p"),)
    assert listed(None) == ()
