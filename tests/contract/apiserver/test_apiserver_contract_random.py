"""Random writers on both servers at once: whatever they apply and patch, both servers come to the same object and owners.

Some hundred writes of three managers, drawn from fixed seeds, each sent to the model and to the real server. Both must answer
alike: code, causes, spec, status, generation, labels, finalizers, and who owns what.
"""

from __future__ import annotations

import json
import os
import random
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from actors.sim.serve_contract import Answer, ModelTwin, Place, RealTwin, Twin

Obj = dict[str, Any]
Write = Callable[[Place], Answer]

WRITES = 12
pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def places(gadgets: Obj) -> Iterator[list[Place]]:
    """A namespace of one name on each of the two servers."""
    twins: list[Twin] = [ModelTwin(), RealTwin(os.environ["KUBEBUILDER_ASSETS"])]
    name = f"random-{uuid.uuid4().hex[:8]}"
    with ExitStack() as running:
        for twin in twins:
            running.enter_context(twin).define(gadgets)
            assert twin.wire.post("/api/v1/namespaces", {"metadata": {"name": name}}).code == 201
        yield [Place(twin, name) for twin in twins]


class Writers:
    """What three managers write to one object, drawn from a seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._name = f"g{seed}"

    def writes(self) -> Iterator[tuple[str, Write]]:
        """Each write with what is to be said of it; the first is an apply, so that both servers track owners."""
        for at in range(WRITES):
            sort = self._random.choice(["apply", "apply", "tell", "merge", "merge status", "put"]) if at else "apply"
            manager = f"m{self._random.randrange(3)}"
            body = self._body(sort)
            force = sort in ("apply", "tell") and self._chance(0.4)
            yield (
                f"{sort} by {manager}, force={force}: {json.dumps(body)}",
                self._write(sort, manager, body, force=force),
            )

    def _write(self, sort: str, manager: str, body: Obj, *, force: bool) -> Write:
        path = (lambda place: place.at(self._name, "status")) if sort in ("tell", "merge status") else self._main

        def write(place: Place) -> Answer:
            if sort in ("apply", "tell"):
                query = {"force": "true"} if force else {}
                return place.wire.apply(path(place), place.gadget(self._name, **body), manager, **query)
            if sort == "put":
                known = {"resourceVersion": place.wire.get(path(place)).version}
                return place.wire.put(path(place), place.gadget(self._name, known, **body), fieldManager=manager)
            return place.wire.merge(path(place), body, fieldManager=manager)

        return write

    def _main(self, place: Place) -> str:
        return place.at(self._name)

    def _chance(self, share: float) -> bool:
        return self._random.random() < share

    def _some(self, values: str) -> list[str]:
        return self._random.sample(list(values), self._random.randint(1, len(values)))

    def _body(self, sort: str) -> Obj:
        if sort in ("tell", "merge status"):
            fields = {
                "healthy": self._chance(0.5),
                "count": self._random.randrange(3),
                "conditions": self._items("type"),
            }
            return {"status": self._drawn(fields, nulls=sort == "merge status")}
        fields = {
            "size": self._random.randrange(3),
            "mode": self._random.choice("ab"),
            "timeout": self._random.choice(["5s", "60s"]),
            "atomic": self._some("01"),
            "tags": self._some("pqrs"),
            "ports": self._items("name"),
            "free": {
                key: self._random.choice([1, "x", {"b": self._random.randrange(2)}, [1], {}])
                for key in self._some("ac")
            },
            "by": {key: self._random.randrange(2) for key in self._some("xyz")},
            "whole": {"left": self._random.randrange(2), "right": self._random.randrange(2)},
        }
        return {"spec": self._drawn(fields, nulls=sort == "merge")}

    def _items(self, key: str) -> list[Obj]:
        extra = {"status": "TF", "reason": "AB"} if key == "type" else {"number": "", "note": "xy"}
        items = []
        for name in self._some("hijk"):
            item: Obj = {key: name}
            for field, values in extra.items():
                if field == "status" or self._chance(0.5):
                    item[field] = self._random.choice(values) if values else self._random.randrange(2)
            items.append(item)
        return items

    def _drawn(self, fields: Obj, *, nulls: bool) -> Obj:
        drawn = {key: value for key, value in fields.items() if self._chance(0.4)}
        return {key: None if nulls and self._chance(0.25) else value for key, value in drawn.items()}


def shown(answer: Answer) -> Obj:
    """What both servers must agree on."""
    if answer.body.get("kind") == "Status":
        return {"refusal": answer.refusal, "causes": answer.causes}
    entries = [
        {key: value for key, value in entry.items() if key != "time"} for entry in answer.metadata["managedFields"]
    ]
    return {
        "code": answer.code,
        "spec": answer.body.get("spec"),
        "status": answer.body.get("status"),
        "generation": answer.metadata["generation"],
        "owners": sorted(entries, key=lambda entry: json.dumps(entry, sort_keys=True)),
    }


@pytest.mark.parametrize("seed", range(24))
def test_both_servers_come_to_the_same(places: list[Place], seed: int) -> None:
    told: list[str] = []
    for text, write in Writers(seed).writes():
        told.append(text)
        model, real = (json.loads(json.dumps(shown(write(place)), sort_keys=True)) for place in places)
        assert model == real, "\n".join(told)
