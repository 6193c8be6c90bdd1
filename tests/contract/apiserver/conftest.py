"""Two servers, one set of cases: the model over HTTP, always, and a real kube-apiserver where there is one.

What a case here asserts holds on both. Where they differ, the difference is in ``test_apiserver_contract_gaps.py``.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from actors.sim.serve_contract import ModelTwin, Place, RealTwin, Twin

Obj = dict[str, Any]

CRD: Obj = json.loads(Path(__file__).with_name("gadgets-crd.json").read_text(encoding="utf-8"))
NAMESPACES = "/api/v1/namespaces"


@pytest.fixture(scope="session")
def gadgets() -> Obj:
    """The definition of the kind Gadget."""
    return CRD


@pytest.fixture(scope="session", params=["model", pytest.param("real", marks=pytest.mark.cluster)])
def twin(request: pytest.FixtureRequest) -> Iterator[Twin]:
    """One of the two servers, with the kind Gadget."""
    server: Twin = ModelTwin() if request.param == "model" else RealTwin(os.environ["KUBEBUILDER_ASSETS"])
    with server:
        server.define(CRD)
        yield server


@pytest.fixture
def place(twin: Twin) -> Place:
    """An empty namespace on it."""
    name = f"contract-{uuid.uuid4().hex[:10]}"
    made = twin.wire.post(NAMESPACES, {"metadata": {"name": name}})
    assert made.code == 201, made
    return Place(twin, name)
