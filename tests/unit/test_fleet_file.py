"""A fleet's file: what it may say, and how it says what is wrong: all of it, with place, line and cure."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from actors.core.builtin import MUSTER_FLEET
from actors.core.errors import SettingsError
from actors.core.fleet import ConditionIs, FieldIn, Lease
from actors.edge.fleet_file import default_plural, load_fleet, parse_fleet, print_fleet
from actors.edge.settings_load import load

TESTS = Path(__file__).parents[1]
EVERYTHING = TESTS / "fleets" / "everything.yaml"
BROKEN = yaml.safe_load((TESTS / "fleets" / "broken.yaml").read_text(encoding="utf-8"))
HEAD = "apiVersion: config.muster.dev/v1alpha1\nkind: Fleet\nname: f\nparent: {apiVersion: x.io/v1, kind: Pool}\n"
CHILD = "children: [{apiVersion: v1, kind: Pod, parent: [{label: a}], health: {field: status.ok}}]\n"
GOOD = yaml.safe_load(EVERYTHING.read_text(encoding="utf-8"))
_STEP = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]")
_NOTHING = object()


def problems(text: str, file: str = "fleet.yaml") -> list[str]:
    with pytest.raises(SettingsError) as caught:
        parse_fleet(text, file)
    return str(caught.value).splitlines()


def changed(at: str, to: Any = _NOTHING) -> str:
    """The good file with something else at that place, or nothing."""
    root = copy.deepcopy(GOOD)
    *above, last = [int(number) if number else name for name, number in _STEP.findall(at)]
    below = root
    for step in above:
        below = below[step] if isinstance(below, list) else below.setdefault(step, {})
    if to is _NOTHING:
        del below[last]
    elif isinstance(below, list) and last == len(below):
        below.append(to)
    else:
        below[last] = copy.deepcopy(to)
    return str(yaml.dump(root, Dumper=yaml.CSafeDumper, sort_keys=False))


# --- what is wrong ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("case", BROKEN, ids=[f"{number}-{case['at']}" for number, case in enumerate(BROKEN)])
def test_a_broken_fleet_is_refused_with_place_and_cure(case: dict[str, Any]) -> None:
    text = changed(case["at"], case.get("to", _NOTHING))
    found = problems(text)

    assert [line for line in found if case["says"] in line], "\n".join(found)
    lines = text.splitlines()
    for line in found:
        match = re.fullmatch(r"fleet.yaml:(\d+): (?:([\w.\[\]?-]+): )?(.*)", line)
        assert match is not None, line
        names = re.findall(r"[\w-]+", re.sub(r"\[\d+\]", "", match[2] or ""))
        assert (
            not names or any(name in lines[int(match[1]) - 1] for name in names) or "- " in lines[int(match[1]) - 1]
        ), line


def test_all_that_is_wrong_is_said_at_once_in_the_order_of_the_lines() -> None:
    text = (
        "apiVersion: config.muster.dev/v1\n"  # 1
        "kind: Fleet\n"
        "name: f\n"
        "parent:\n"
        "  apiVersion: x.io/v1\n"
        "  kind: Pool\n"
        "  scop: Cluster\n"  # 7
        "children:\n"
        "  - apiVersion: v1\n"
        "    kind: Pod\n"
        "    parent: [{label: a}, {label: a}]\n"  # 11
        "    health: {cel: 'status.ok'}\n"  # 12
        "  - apiVersion: v1\n"
        "    kind: Pod\n"  # 14
        "    parent: []\n"  # 15
        "    health: {field: a b}\n"  # 16
        "settings:\n"
        "  quota: many\n"  # 18
    )

    found = problems(text, "there.yaml")

    assert [line.split(": ")[0] for line in found] == [f"there.yaml:{line}" for line in (1, 7, 11, 12, 14, 15, 16, 18)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["fleet.yaml:1: the file is empty, expected a fleet"]),
        ("# nothing\n", ["fleet.yaml:1: the file is empty, expected a fleet"]),
        ("[", ["fleet.yaml: no YAML: line 1, column 2: expected the node content, but found '<stream end>'"]),
        ("a: 1\n---\nb: 1\n", ["fleet.yaml: no YAML: line 2, column 1: but found another document"]),
        ("a: \x00\n", ["fleet.yaml: no YAML: unacceptable character #x0000: special characters are not allowed.*"]),
        ("a: !!python/object:os.system x\n", [".*there is no such field.*", ".*", ".*", ".*", ".*", ".*"]),
        ("- 1\n", ["fleet.yaml:1: found a list, expected a mapping with apiVersion, kind, name.*"]),
    ],
)  # fmt: skip
def test_what_is_no_fleet_at_all(text: str, expected: list[str]) -> None:
    found = problems(text)

    assert len(found) == len(expected)
    for line, pattern in zip(found, expected, strict=False):
        assert re.fullmatch(pattern if ".*" in pattern else re.escape(pattern), line), line


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("name: g\n", "fleet.yaml:6: name: found twice, first in line 3, expected it once"),
        ("? [a]\n: b\n", "fleet.yaml:6: ?: found a list as a name, expected a word"),
        ("1: b\n", "fleet.yaml:6: ?: found the number 1 as a name, expected a word: write it in quotes"),
        ("settings: &a {quota: *a}\n", "fleet.yaml:6: settings.quota: found a mapping, expected CALLS/DURATION"),
        (
            "repair: {item: {a: .nan}}\n",
            "fleet.yaml:6: repair.item.a: found the number .nan, expected a value that JSON has",
        ),
        ("repair: {item: &i {a: *i}}\n", "found more than 20000 values, or more than 32 levels of them"),
        (
            "repair: {item: {a: 99999999999999999999999}}\n",
            "repair.item.a: found the number 99999999999999999999999, expected",
        ),
    ],
)
def test_what_yaml_allows_and_a_fleet_does_not(more: str, expected: str) -> None:
    found = problems(HEAD + CHILD + more)

    assert [line for line in found if expected in line], found


def test_a_bomb_of_aliases_is_no_bomb() -> None:
    bomb = "repair:\n  item:\n    a: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"    b{n}: &a{n + 1} [{', '.join([f'*a{n}'] * 10)}]\n" for n in range(12))

    assert any("found more than 20000 values" in line for line in problems(HEAD + CHILD + bomb))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, r"fleet.yaml: the fleet's file cannot be read \(No such file or directory\): name another with --fleet"),
        (b"a: 1\nb: \xff\n", "fleet.yaml:2: found a byte that is no UTF-8, expected text: save the file as UTF-8"),
        (b"#" * (1 << 20) + b"\n", "fleet.yaml: found more than 1048576 bytes, expected a fleet's file"),
    ],
)
def test_a_file_that_cannot_be_one(tmp_path: Path, content: bytes | None, expected: str) -> None:
    file = tmp_path / "fleet.yaml"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(SettingsError, match=expected):
        load_fleet(str(file))


# --- what is right ----------------------------------------------------------------------------------------------------
def test_the_built_in_fleet_is_an_example_word_for_word() -> None:
    example = TESTS.parent / "examples" / "muster" / "fleet.yaml"

    assert load_fleet(str(example)).fleet == MUSTER_FLEET
    assert yaml.safe_load(print_fleet(MUSTER_FLEET)) == yaml.safe_load(example.read_text(encoding="utf-8"))


def test_every_field_arrives() -> None:
    source = load_fleet(str(EVERYTHING))
    node, pod, proxy, disk, link, fan = source.fleet.children

    assert source.fleet.parent.query == {"labelSelector": "shard in (a, b),!paused"}
    assert (node.ref.namespaced, node.ref.plural, proxy.ref.plural) == (False, "nodes", "proxies")
    assert node.health == attrs_health(ConditionIs(type="Ready"), Lease(namespace="kube-node-lease"))
    assert proxy.health.heartbeat == Lease()
    assert isinstance(pod.health.healthy, FieldIn)
    assert pod.health.healthy.unhealthy == ("Failed",)
    assert isinstance(disk.health.healthy, ConditionIs)
    assert disk.health.healthy.unhealthy == ("True", "Unknown")
    assert link.health.healthy == FieldIn(path="status.errors", healthy=(0, "none"))
    assert fan.health.healthy == "status.spins"
    assert [(each.name, each.quiet) for each in node.fields] == [("id", False), ("zone", False), ("load", True)]
    assert source.fleet.status == {"healthy": "ready", "total": "members", "unhealthySample": ""}
    assert source.fleet.spec == "spec.fleet"
    assert source.fleet.settings["auditInterval"] == "off", "YAML reads it as false"
    assert source.origin("quota") == f"{EVERYTHING}:{line_of('quota:')}"


def attrs_health(healthy: Any, heartbeat: Any) -> Any:
    from actors.core.fleet import Health

    return Health(healthy=healthy, heartbeat=heartbeat)


def line_of(text: str) -> int:
    lines = EVERYTHING.read_text(encoding="utf-8").splitlines()
    return next(number for number, line in enumerate(lines, 1) if line.strip().startswith(text))


@pytest.mark.parametrize("nothing", ["{}", "", "~"])
def test_a_mapping_that_needs_no_word_may_have_none(nothing: str) -> None:
    text = HEAD + "children:\n- apiVersion: v1\n  kind: Pod\n  health: {field: a}\n  heartbeat:\n    lease: " + nothing
    text += f"\n  parent:\n  - owner: {nothing}\n  - namespace: {nothing}\nrepair: {nothing}\nsettings: {nothing}\n"

    assert parse_fleet(text).fleet.children[0].health.heartbeat == Lease()


@pytest.mark.parametrize("written", ["[True]", "['True']", "[true]"])
def test_a_conditions_status_may_be_written_without_quotes(written: str) -> None:
    text = HEAD + CHILD.replace("field: status.ok", f"condition: Ready, healthy: {written}")

    assert parse_fleet(text).fleet.children[0].health.healthy == ConditionIs(type="Ready")


@pytest.mark.parametrize(
    ("kind", "plural"),
    [("Node", "nodes"), ("Proxy", "proxies"), ("Gateway", "gateways"), ("Class", "classes"), ("Mesh", "meshes"),
     ("Box", "boxes"), ("Batch", "batches"), ("Topaz", "topazes"), ("Key", "keys")],
)  # fmt: skip
def test_a_plural_that_is_left_out_is_guessed(kind: str, plural: str) -> None:
    assert default_plural(kind) == plural


# --- among the settings -----------------------------------------------------------------------------------------------
def test_a_fleets_settings_hold_where_nothing_else_says_so(tmp_path: Path) -> None:
    config = tmp_path / "muster.yaml"
    config.write_text(f"quota: 5/1s\nfleet: {EVERYTHING}\n", encoding="utf-8")

    found = load({"batch-max": "7"}, {"MUSTER_DEBOUNCE": "1s"}, str(config))

    assert found.fleet.name == "everything"
    assert str(found.settings.quota) == "5/1s"
    assert (found.settings.batch_max, found.settings.debounce_s) == (7, 1.0)
    assert found.settings.heartbeat_timeout_s == 40.0
    assert found.origins["heartbeat-timeout"] == f"{EVERYTHING}:{line_of('heartbeatTimeout:')}"
    assert found.origins["quota"] == f"{config}:1"
    assert found.settings.audit_interval_s is None


def test_a_broken_fleet_and_a_wrong_setting_are_said_together(tmp_path: Path) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text(HEAD + CHILD.replace("label", "lable"), encoding="utf-8")

    with pytest.raises(SettingsError) as caught:
        load({"fleet": str(file), "quota": "many"}, {})

    assert f"{file}:5: children[0].parent[0].lable: there is no such field: did you mean label?" in str(caught.value)
    assert "quota (flag --quota): found 'many'" in str(caught.value)


def test_settings_of_a_fleet_that_contradict_are_named_with_their_lines(tmp_path: Path) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text(HEAD + CHILD + "settings: {debounce: 10s}\n", encoding="utf-8")

    with pytest.raises(SettingsError, match=rf"debounce \({file}:6\) and debounce-max \(default\): the quiet time 10s"):
        load({"fleet": str(file)}, {})


def test_what_looks_like_a_mistake_is_noted(tmp_path: Path) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text(HEAD + CHILD + "settings: {heartbeatTimeout: 10s}\n", encoding="utf-8")

    notes = "\n".join(load({"fleet": str(file)}, {}).notes)

    assert "nothing says when a Pod's health last turned (health.turned in the fleet's file)" in notes
    assert "heartbeat-timeout is set, and no child kind has heartbeats" in notes
    assert "turned" not in "\n".join(load({}, {}).notes)
