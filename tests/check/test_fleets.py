"""What people read of fleets is current: the schema, the tables, the examples."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from actors.core.fleet_rules import problems
from actors.edge.fleet_file import load_fleet
from actors.edge.fleet_schema import fleet_schema, schema_text
from actors.edge.settings_load import load
from actors.ops.fleet_page import tables
from actors.ops.manifests_words import manifests

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "docs" / "fleet.schema.json"
EXAMPLES = [*sorted(ROOT.glob("examples/*/fleet.yaml")), ROOT / "tests" / "fleets" / "everything.yaml"]


def test_the_schema_is_current() -> None:
    """muster fleet --format schema > docs/fleet.schema.json"""
    assert SCHEMA.read_text(encoding="utf-8") == schema_text()


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(fleet_schema())


def test_the_tables_are_current() -> None:
    """muster fleet --format markdown prints them."""
    page = (ROOT / "docs" / "fleets.md").read_text(encoding="utf-8")

    assert tables() in page


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: str(file.parent.name))
def test_an_example_is_right_and_its_editor_finds_the_schema(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    match = re.match(r"# yaml-language-server: \$schema=(\S+)\n", text)

    assert match is not None
    assert (file.parent / match[1]).resolve() == SCHEMA
    assert list(jsonschema.Draft202012Validator(json.loads(schema_text())).iter_errors(yaml.safe_load(text))) == []
    assert problems(load_fleet(str(file)).fleet) == []


@pytest.mark.parametrize(
    "file", [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))], ids=lambda file: str(file.name)
)
def test_every_fleet_in_the_documentation_is_right(file: Path, tmp_path: Path) -> None:
    for number, block in enumerate(re.findall(r"```yaml\n(.*?)```", file.read_text(encoding="utf-8"), re.DOTALL)):
        if "kind: Fleet\n" in block:
            path = tmp_path / f"{number}.yaml"
            path.write_text(block, encoding="utf-8")
            load_fleet(str(path))


@pytest.mark.parametrize(("example", "crds"), [("nodes", True), ("pods", True), ("machines", False)])
def test_the_manifests_of_an_example_are_current(example: str, crds: bool) -> None:
    """muster manifests --fleet fleet.yaml --crds > manifests.yaml; the kinds of examples/machines are Cluster API's."""
    folder = ROOT / "examples" / example
    loaded = load({"fleet": str(folder / "fleet.yaml")})

    assert (folder / "manifests.yaml").read_text(encoding="utf-8") == manifests(loaded, crds=crds)


def test_the_patches_that_mount_a_fleet_are_the_same_in_the_page_and_in_the_example() -> None:
    example = yaml.safe_load((ROOT / "examples" / "nodes" / "kustomization.yaml").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "fleets.md").read_text(encoding="utf-8")
    shown = next(block for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "configMapGenerator" in block)

    assert yaml.safe_load(shown).items() <= example.items()
