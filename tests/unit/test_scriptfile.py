"""Scripts as files: nothing is lost on the way, and what cannot be used is refused with its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from actors.simulate.drawing import draw_script
from actors.simulate.run import Run
from actors.simulate.scriptfile import Finding, ScriptFile, ScriptFileError, dumps, load, loads

FINDING = Finding(bug="a „ghost“\nstays", fixed="2026-01-02", seed=7, oracle="no-ghosts", text="c0 is wrong")


def test_what_is_written_is_read_again() -> None:
    for seed in range(60):
        file = ScriptFile(script=draw_script(seed), finding=FINDING if seed % 2 else None)
        text = dumps(file)
        assert loads(text) == file
        assert dumps(loads(text)) == text


@pytest.mark.parametrize("seed", [2, 9, 31, 104])
def test_a_script_from_a_file_plays_the_same(seed: int, tmp_path: Path) -> None:
    path = tmp_path / "script.json"
    path.write_text(dumps(ScriptFile(script=draw_script(seed))), encoding="utf-8")
    played, again = Run(draw_script(seed)).play(), Run(load(path).script).play()
    assert played.messages > 100
    assert played.trace == again.trace


def test_each_step_has_its_line() -> None:
    script = draw_script(4)
    lines = dumps(ScriptFile(script=script)).splitlines()
    for number, step in enumerate(script.steps):
        start = lines.index('    "steps": [')
        written = json.loads(lines[start + 1 + number].rstrip(","))
        assert (written["at_s"], written["do"], tuple(written.get("args", ()))) == (step.at_s, step.do, step.args)


def test_a_setting_that_is_left_out_is_the_default() -> None:
    document = json.loads(dumps(ScriptFile(script=draw_script(4))))
    document["script"]["settings"] = {"seed": 4, "quota": "7/3s"}
    settings = loads(json.dumps(document)).script.settings
    assert (settings.quota.calls, settings.quota.window_s, settings.watch_s) == (7, 3.0, 20)


def changed(place: str, value: Any) -> str:
    """A good file's text with something else there; ``...`` takes it away."""
    document: Any = json.loads(dumps(ScriptFile(script=draw_script(4), finding=FINDING)))
    *way, last = [int(part) if part.isdigit() else part for part in place.split(".")]
    inner = document
    for part in way:
        inner = inner[part]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return json.dumps(document)


STEP = "script.steps.3"


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("format", "other", "$.format: found \"other\", expected 'muster-script'"),
        ("version", 2, "$.version: found 2, expected 1"),
        ("script", [], "$.script: expected an object"),
        ("script.seed", ..., "$.script.seed: required field missing"),
        ("script.more", 1, "$.script: extra fields found (more)"),
        ("script.seed", True, "$.script.seed: found true, expected a whole number"),
        ("script.chaos_s", "60", '$.script.chaos_s: found "60", expected a number'),
        ("script.leftover", "mess", "$.script.leftover: found 'mess', expected one of no-bookmarks"),
        ("script.faults", ["A99"], "$.script.faults[0]: there is no fault 'A99'"),
        ("script.clusters.0", ["c0", 1], "$.script.clusters[0]: "),
        ("script.settings.quota", "lots", "$.script.settings.quota: found 'lots', expected CALLS/DURATION"),
        ("script.settings.pct", 1, "$.script.settings.pct: found 1, expected true or false"),
        ("script.settings.policy.max_unhealthy", 7.5, "$.script.settings.policy.max_unhealthy: found 7.5, expected a per"),
        (f"{STEP}.at_s", "1", '$.script.steps[3].at_s: found "1", expected a number'),
        (f"{STEP}.at_s", 1e9, "$.script.steps[3].at_s: found 1000000000.0, expected 0 or more and less than chaos_s"),
        (f"{STEP}.at_s", -1, "$.script.steps[3].at_s: found -1, expected 0 or more"),
        (f"{STEP}.do", "dance", "$.script.steps[3].do: there is no verb 'dance'"),
        (f"{STEP}.fault", "A99", "$.script.steps[3].fault: there is no fault 'A99'"),
        (f"{STEP}.later", 1, "$.script.steps[3]: extra fields found (later)"),
        (STEP, {"at_s": 1.0, "do": "fail"}, "$.script.steps[3].args: found [], expected (name: 'str'): missing"),
        (STEP, {"at_s": 1.0, "do": "fail", "args": [1]}, "$.script.steps[3].args: name: found 1, expected str"),
        (STEP, {"at_s": 1.0, "do": "fail", "args": [[1]]}, "$.script.steps[3].args[0]: found [1], expected a text, a n"),
        (STEP, {"at_s": 1.0, "do": "freeze", "args": [True]}, "$.script.steps[3].args: for_s: found true, expected float"),
        ("finding.oracle", "none", "$.finding.oracle: found 'none', expected one of "),
        ("finding.seed", None, "$.finding.seed: found null, expected a whole number"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_with_its_place(place: str, value: Any, said: str) -> None:
    with pytest.raises(ScriptFileError) as refused:
        loads(changed(place, value), "some.json")
    assert str(refused.value).startswith(f"some.json: {said}")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1, column 1: Expecting value"),
        ('{"format":\n "muster-script",}', "line 2, column 18: "),
        ("[1]", "$.format: found [1], expected 'muster-script': is that a script?"),
        ('{"format": NaN}', "found NaN, expected a finite number"),
    ],
)
def test_what_is_no_script_at_all_is_refused(text: str, said: str) -> None:
    with pytest.raises(ScriptFileError) as refused:
        loads(text, "some.json")
    assert str(refused.value).startswith(f"some.json: {said}")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ScriptFileError, match=r"none\.json: cannot be read"):
        load(tmp_path / "none.json")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ScriptFileError, match=r"binary\.json: cannot be read"):
        load(tmp_path / "binary.json")
