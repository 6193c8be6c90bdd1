"""``muster new NAME``: writes a project of somebody's own: a fleet in Python, a test of it in virtual time, its manifests.

All of it is written beside its place and moved there when it is whole, so that there is never half a project.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

import click

from ..core.errors import SettingsError
from ..edge.fleet_python import fleet_of, settings_of
from ..edge.settings_load import Loaded
from .manifests_words import manifests

__all__ = ["FILES", "new_command", "write_project"]

_NAME = re.compile(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?")
FLEET = '''\
"""Which machines @NAME@ counts, what healthy means, and what the backend is told. mypy and an editor know every word."""

from typing import Annotated

from actors.fleet import (
    At,
    Fields,
    child_kind,
    condition,
    field,
    fleet,
    label,
    parent_kind,
)


class Machine(Fields, frozen=True):
    """What is kept of a machine, beyond its health: for the backend, and for a reconcile of your own."""

    slot: Annotated[str | None, At("spec.slot")] = None


FLEET = fleet(
    "@NAME@",
    parent_kind("@NAME@.example.com/v1", "Pool"),
    [
        child_kind(
            "@NAME@.example.com/v1",
            "Machine",
            parent=[label("@NAME@.example.com/pool"), field("spec.pool")],
            health=condition("Ready"),
            heartbeat="status.lastSeen",
            fields=Machine,
        ),
    ],
    operation="replace",
    item={"machine": "{name}", "slot": "{fields.slot}", "pool": "{parent}"},
    settings={"quota": "10/1s", "heartbeatTimeout": "60s", "maxUnhealthy": "50%", "cooldown": "5m"},
)
'''
TEST = '''\
"""The fleet in virtual time: the operator as it is, with a model API server and backend. A minute takes milliseconds."""

import pytest
from actors.testing import FleetWorld
from fleet import FLEET


@pytest.fixture
def world() -> FleetWorld:
    """A pool of four machines that are well. What is repaired is well again after five seconds."""
    world = FleetWorld(FLEET, heal_after_s=5.0)
    world.create("Pool", "blue")
    for number in range(4):
        spec = {"pool": "blue", "slot": f"rack-{number % 2}/{number}"}
        world.create("Machine", f"m{number}", spec=spec, healthy=True)
    world.run(5.0)
    return world


def test_machines_are_counted(world: FleetWorld) -> None:
    assert world.status("blue")["healthy"] == 4
    assert world.condition("blue", "Ready")["status"] == "True"


def test_a_sick_machine_is_repaired_and_is_well_again(world: FleetWorld) -> None:
    world.report("Machine", "m2", False)
    world.run(10.0)

    assert world.repaired == ["m2"]
    assert world.sent[0]["slot"] == "rack-0/2"
    assert world.status("blue")["healthy"] == 4


def test_a_silent_machine_is_repaired_after_the_timeout(world: FleetWorld) -> None:
    for _ in range(9):
        world.run(10.0)
        for name in ("m0", "m1", "m2"):
            world.report("Machine", name, True)

    assert world.repaired == ["m3"]


def test_when_most_fail_at_once_repairs_are_held(world: FleetWorld) -> None:
    for number in range(4):
        world.report("Machine", f"m{number}", False)
    world.run(10.0)

    assert world.repaired == []
    assert world.condition("blue", "RemediationAllowed")["reason"] == "TooManyUnhealthy"
    assert world.why("blue", "m0") == "valve"
'''
PYPROJECT = """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "@NAME@"
version = "0.1.0"
description = "A fleet for Muster"
requires-python = ">=3.11"
dependencies = ["muster-operator"]

[project.optional-dependencies]
test = ["mypy>=1.14", "pytest>=8.2"]

[tool.setuptools]
py-modules = ["fleet"]

[tool.pytest.ini_options]
pythonpath = ["."]

[tool.mypy]
strict = true
files = ["fleet.py", "test_fleet.py"]
"""
OBJECTS = """\
# For muster demo: a pool, and four machines of which one is ill.
apiVersion: @NAME@.example.com/v1
kind: Pool
metadata: {name: blue}
spec: {minHealthy: 3}
"""
MACHINE = """\
---
apiVersion: @NAME@.example.com/v1
kind: Machine
metadata: {name: m@NUMBER@}
spec: {pool: blue, slot: rack-1/@NUMBER@}
status:
  conditions:
    - {type: Ready, status: "@READY@", reason: Reported, message: "", lastTransitionTime: "2026-01-01T00:00:00Z"}
"""
KUSTOMIZATION = """\
# A component for Muster's own manifests: an overlay on manifests/operator names this folder under "components".
apiVersion: kustomize.config.k8s.io/v1alpha1
kind: Component
resources:
  # Rights and definitions: muster manifests --fleet fleet.py:FLEET --crds > manifests.yaml
  - manifests.yaml
configMapGenerator:
  - name: muster-fleet
    namespace: muster-system
    files: [fleet.py]
patches:
  - target: {kind: Deployment, name: muster}
    patch: |
      - {op: add, path: /spec/template/spec/volumes/-, value: {name: fleet, configMap: {name: muster-fleet}}}
      - {op: add, path: /spec/template/spec/containers/0/volumeMounts/-, value: {name: fleet, mountPath: /etc/muster}}
      - op: add
        path: /spec/template/spec/containers/0/env
        value: [{name: MUSTER_FLEET, value: "/etc/muster/fleet.py:FLEET"}]
"""
README = """\
# @NAME@

A fleet for Muster. `fleet.py` says what is counted and repaired; the words are those of `actors.fleet`.

```sh
pytest                                                             # in virtual time
mypy                                                               # finds a wrong word in fleet.py
muster fleet fleet.py:FLEET                                        # what it says, or all that is wrong with it
muster demo --fleet fleet.py:FLEET --objects objects.yaml --for 15s
muster plan --fleet fleet.py:FLEET                                 # what would be done now, in your kubeconfig's cluster
muster run --fleet fleet.py:FLEET --backend-url URL
```

`manifests.yaml` has the least rights that it needs and the definitions of its kinds. After a change, make it anew:

```sh
muster manifests --fleet fleet.py:FLEET --crds > manifests.yaml
```

`kustomization.yaml` is a component that puts `fleet.py` and these rights beside Muster's own manifests.
"""


def _objects() -> str:
    machines = [MACHINE.replace("@NUMBER@", str(n)).replace("@READY@", str(n != 3)) for n in range(4)]
    return OBJECTS + "".join(machines)


FILES = {
    "fleet.py": FLEET, "test_fleet.py": TEST, "pyproject.toml": PYPROJECT, "objects.yaml": _objects(),
    "kustomization.yaml": KUSTOMIZATION, "README.md": README,
}  # fmt: skip
"""What is written, by name. ``manifests.yaml`` is made from the fleet."""


def write_project(name: str, where: Path) -> Path:
    """The folder ``name`` in ``where``, with a whole project. ``SettingsError`` for a bad name, or one that is taken."""
    if not _NAME.fullmatch(name):
        told = (
            "expected a name of at most 40 lower case letters, digits and -, which begins with a letter, such as pools"
        )
        raise SettingsError(f"new {name}: found {name!r}, {told}")
    folder = where / name
    if folder.exists() or folder.is_symlink():
        raise SettingsError(
            f"new {name}: there is something of that name here, and nothing is written over: take another"
        )
    try:
        made = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=where))
    except OSError as error:
        raise SettingsError(f"new {name}: nothing can be written here: {error.strerror}") from error
    try:
        for file, text in FILES.items():
            (made / file).write_text(text.replace("@NAME@", name), encoding="utf-8")
        found = fleet_of(f"{made / 'fleet.py'}:FLEET").fleet
        loaded = Loaded(settings=settings_of(found), fleet=found)
        (made / "manifests.yaml").write_text(manifests(loaded, crds=True), encoding="utf-8")
        shutil.rmtree(made / "__pycache__", ignore_errors=True)
        made.chmod(0o755)
        made.rename(folder)
    except OSError as error:
        raise SettingsError(f"new {name}: it cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return folder


@click.command("new", short_help="Write a project of your own: a fleet in Python, a test, manifests.")
@click.argument("name")
def new_command(name: str) -> None:
    """Write a folder NAME with a working project: a fleet in Python, a test of it in virtual time, objects for the demo, and
    the manifests made from it. Nothing is written over.
    """
    write_project(name, Path())
    click.echo(f"{name}: " + ", ".join([*FILES, "manifests.yaml"]))
    click.echo(f"\n  cd {name}\n  pytest\n  muster demo --fleet fleet.py:FLEET --objects objects.yaml --for 15s")
