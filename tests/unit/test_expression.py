"""CEL expressions: which fields they name, what is refused, and what they say of an object."""

from __future__ import annotations

import subprocess
import sys

import pytest

import actors.core.expression as module
from actors.core.expression import evaluator, paths_in


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("object.status.phase == 'Running'", [("status", "phase")]),
        ("object.a.b > 1 && object.a.c > object.a.b", [("a", "b"), ("a", "c")]),
        ("object.a == 1 || object.a.b == 1", [("a",)]),
        ("object.a.b == 1 || object.a == {}", [("a",)]),
        ("has(object.a.b) ? object.a.b : null", [("a", "b")]),
        ("object.list.exists(c, c.object.x == 1)", [("list",)]),
        ("object.list[0].x == 1", [("list",)]),
        ("object.labels['x.io/a.b'] == object['c'].d", [("labels", "x.io/a.b"), ("c", "d")]),
        ("object.a.startsWith('object.b') // object.c", [("a",)]),
        ("'''object''' == object.a && r'object' != \"object\"", [("a",)]),
        ("timestamp(object.a).getFullYear() > 2000", [("a",)]),
    ],
)
def test_the_fields_that_an_expression_names(text: str, paths: list[tuple[str, ...]]) -> None:
    """A field and one within it are one; nothing in a text or a comment is named."""
    assert list(paths_in(text)) == paths


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("object.status.", "is no CEL expression: at column 15: Syntax error"),
        ("object.a ==", "is no CEL expression: at column"),
        ("", "is no CEL expression"),
        ("true", "found no field of object in it"),
        ("object == {}", "found object== *{}?.*, expected the name of a field after each object"),
        ("size(object) > 1", "expected the name of a field"),
        ("object[0] == 1", r"found object\[0\], expected the name of a field"),
        ("object.f('x')", "found the function f, which CEL has not"),
        ("obj.status.ok", "found the name obj, expected fields of object: did you mean object?"),
        ("status.ok", "found the name status, expected fields of object"),
        ("object.a.startWith('x')", "found the function startWith, which CEL has not: did you mean startsWith?"),
        ("now() > timestamp(object.a)", "found the function now, which CEL has not"),
        ("object.a.exists(object, object.b)", "found object as the name of an element"),
        ("object.a == '" + "x" * 5000 + "'", "found an expression of 5014 characters, expected at most 4096"),
    ],
)
def test_an_expression_that_cannot_be_is_refused_with_its_cure(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        paths_in(text)


def verdict(text: str, *values: bytes) -> bool | None:
    paths = paths_in(text)
    assert len(paths) == len(values)
    return evaluator(text, paths)(values)


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ("object.a.b == 1", [b"1"], True),
        ("object.a.b == 1", [b"2"], False),
        ("object.a.b == 1", [b"null"], None),
        ("object.a.b == 1 || true", [b"null"], True),
        ("has(object.a.b)", [b"null"], False),
        ("has(object.a.b) ? object.a.b : null", [b"null"], None),
        ("object.a.b ? null : true", [b"true"], None),
        ("object.a[1] == 2", [b"[1]"], None),
        ("object.a > 1.5", [b"2"], True),
    ],
)
def test_what_is_not_there_is_not_known(text: str, values: list[bytes], expected: bool | None) -> None:
    assert verdict(text, *values) is expected


@pytest.mark.parametrize(
    ("text", "value", "complaint"),
    [("object.a > 1", b'"x"', "No such overload"), ("object.a", b"3", "gave '3', expected true, false or null"),
     ("1 / object.a > 0", b"0", "division by zero")],
)  # fmt: skip
def test_an_expression_that_gives_no_verdict_says_so(text: str, value: bytes, complaint: str) -> None:
    with pytest.raises(ValueError, match=f"the CEL expression for health:? .*{complaint}|{complaint}"):
        verdict(text, value)


def test_a_verdict_is_remembered_and_the_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """An evaluation costs four heartbeats."""
    monkeypatch.setattr(module, "_KNOWN_MAX", 2)
    asked: list[object] = []
    program = module._compiled("object.a == 1")

    class Counting:
        def execute(self, root: object) -> object:
            asked.append(root)
            return program.execute(root)

    monkeypatch.setattr(module, "_compiled", lambda _text: Counting())
    judge = evaluator("object.a == 1", (("a",),))

    assert [judge((value,)) for value in (b"1", b"2", b"1", b"2", b"3", b"3", b"1")] == [
        True, False, True, False, False, False, True,
    ]  # fmt: skip
    assert len(asked) == 4, "three values, and one again after the memory was full"


def test_the_librarys_own_command_line_is_not_loaded() -> None:
    """It would bring rich and prompt_toolkit into the operator."""
    program = (
        "import sys; from actors.core.expression import paths_in; paths_in('object.a == 1');"
        "print([name for name in ('rich', 'prompt_toolkit', 'typer') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)

    assert found.stdout == "[]\n"
