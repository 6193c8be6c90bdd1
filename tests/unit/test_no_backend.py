"""``--backend none``: nodes are counted, nobody is repaired, and no address is asked for."""

from __future__ import annotations

import pytest

from actors.core.builtin import MUSTER_FLEET
from actors.core.errors import Misconfigured
from actors.core.ports import Call
from actors.edge.backends import backend_of
from actors.edge.fleet_file import parse_fleet
from actors.edge.settings_load import load, require_backend
from actors.ops.fleet_words import told

FLEET = """
apiVersion: config.muster.dev/v1alpha1
kind: Fleet
name: tasks
parent: {apiVersion: work.example.com/v1, kind: Task}
children:
  - apiVersion: v1
    kind: Pod
    parent: [{label: task}]
    health: {field: status.phase, healthy: [Running]}
"""


def test_it_needs_no_address_and_repairs_nobody() -> None:
    loaded = load({"backend": "none"})

    require_backend(loaded)
    assert loaded.settings.repair_enabled
    assert not loaded.settings.policy.repair_enabled
    assert not any("repair-enabled" in note for note in loaded.notes)


def test_who_asks_it_all_the_same_is_told_what_to_do() -> None:
    """A parent may have repairs switched on in its own spec."""
    backend = backend_of(load({"backend": "none"}).settings, MUSTER_FLEET)

    with pytest.raises(Misconfigured, match="name one, or leave spec.repair.enabled out") as caught:
        backend.send(Call(id="c", operation="batchRepair", items=(), timeout_s=1.0))
    assert not caught.value.arrived


def test_a_fleet_says_so_in_words() -> None:
    assert "  repair: batchRepair\n" in told(parse_fleet(FLEET).fleet)
    assert "  repair: nobody repairs\n" in told(parse_fleet(FLEET + "settings: {backend: none}\n").fleet)
