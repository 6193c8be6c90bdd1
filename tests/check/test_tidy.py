"""Rules of the house that no linter has. Each ban names its replacement; where a rule does not hold, a reason is given."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest
from attrs import frozen

ROOT = Path(__file__).parents[2]
FOLDERS = ("actors", "tests", "manifests", "docs", "bench", "examples", ".ci")
# The real world: these read clocks, start threads and open sockets, so that nothing else has to. The four modules of sim
# beside its servers run real processes and sockets for the tests.
REAL = (
    "actors/edge/*",
    "actors/ops/*",
    "actors/sim/serve*",
    "actors/sim/envtest.py",
    "actors/sim/live.py",
    "actors/sim/proxy.py",
    "actors/testing/*",
    "actors/sim/terminal.py",
)
LINES_MAX = 500  # a file that one person reads in one sitting; the model projects' ninth in ten are shorter


@frozen
class Ban:
    """``names`` (dotted; a trailing ``.*`` takes a module whole) are banned under ``actors/`` but in ``allowed``."""

    rule: str
    names: tuple[str, ...]
    instead: str
    allowed: tuple[str, ...] = REAL


def words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


BANS = (
    Ban("clock", ("time.*",), "take a core.ports.Clock; now() for intervals, wall() for what people read"),
    Ban(
        "calendar",
        ("datetime.datetime.now", "datetime.datetime.utcnow", "datetime.datetime.today", "datetime.date.today"),
        "take a core.ports.Clock and make the date from wall()",
    ),
    Ban(
        "threads",
        ("threading.*", "concurrent.*", "multiprocessing.*", "asyncio.*", "_thread.*"),
        "tell an actor; blocking work goes to the dispatcher's executor",
    ),
    Ban(
        "sockets and programs",
        words(
            "socket.* socketserver.* ssl.* select.* selectors.* http.server.* http.client.* urllib3.* urllib.request.* "
            "kubernetes.* subprocess.*"
        ),
        "define a port in core.ports and an adapter in edge",
    ),
    Ban(
        "randomness",
        words(
            "random.random random.uniform random.randint random.choice random.choices random.shuffle random.sample "
            "random.seed random.randrange random.expovariate random.gauss random.getrandbits secrets.* os.urandom "
            "uuid.uuid1 uuid.uuid4"
        ),
        "take a core.ports.Random (a random.Random with a seed in the simulation)",
    ),
    Ban("print", ("print",), "record a core.events fact; only commands print", ("actors/sim/serve*", "actors/ops/*")),
    Ban("exit", ("os._exit", "sys.exit", "os.abort"), "raise, and let the supervisor escalate", REAL),
)

# A red zone: these were longer than the limit when the limit was set. A number may only go down, and a line only go away.
LONGER: dict[str, int] = {}


def python_files() -> list[Path]:
    files = [file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py") if "__pycache__" not in file.parts]
    return [ROOT / "supervisor.py", *sorted(files)]


def text_files() -> Iterator[Path]:
    for folder in FOLDERS:
        for file in sorted((ROOT / folder).rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts and file.suffix not in (".pyc", ".png", ".gif"):
                yield file
    for file in sorted(ROOT.iterdir()):
        if file.is_file() and file.name != "LICENSE" and not file.name.startswith(".coverage"):
            yield file


def place(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def used_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every dotted name that is imported, or reached through an import, and every builtin called; with its line."""
    aliases: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for each in node.names:
                top = each.name.partition(".")[0]
                aliases[each.asname or top] = each.name if each.asname else top
                yield node.lineno, each.name
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            for each in node.names:
                aliases[each.asname or each.name] = f"{node.module}.{each.name}"
                yield node.lineno, f"{node.module}.{each.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name):
            name = dotted(node)
            head, _, rest = name.partition(".")
            if head in aliases and rest:
                yield node.lineno, f"{aliases[head]}.{rest}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.lineno, aliases.get(node.func.id, node.func.id)


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        inner = dotted(node.value)
        return f"{inner}.{node.attr}" if inner else ""
    return node.id if isinstance(node, ast.Name) else ""


def banned(name: str, ban: Ban) -> bool:
    return any(fnmatch(name, each) or (each.endswith(".*") and name == each[:-2]) for each in ban.names)


def breaches(source: str, ban: Ban) -> list[int]:
    return sorted({line for line, name in used_names(ast.parse(source)) if banned(name, ban)})


@pytest.mark.parametrize("ban", BANS, ids=lambda ban: str(ban.rule))
def test_the_package_uses_ports_instead_of(ban: Ban) -> None:
    found = [
        f"{place(file)}:{line}: {ban.rule}: {ban.instead}"
        for file in python_files()
        if place(file).startswith("actors/") and not any(fnmatch(place(file), each) for each in ban.allowed)
        for line in breaches(file.read_text(encoding="utf-8"), ban)
    ]

    assert found == []


@pytest.mark.parametrize(
    ("rule", "source"),
    [
        ("clock", "import time\ntime.monotonic()"),
        ("clock", "from time import sleep as rest"),
        ("calendar", "import datetime as d\nd.datetime.now()"),
        ("calendar", "from datetime import datetime\ndatetime.now()"),
        ("threads", "import threading"),
        ("threads", "from concurrent.futures import Executor"),
        ("sockets and programs", "import http.server"),
        ("randomness", "import random\nrandom.random()"),
        ("randomness", "from uuid import uuid4"),
        ("print", "print(1)"),
        ("exit", "import sys\nsys.exit(1)"),
    ],
)
def test_the_check_sees_what_it_is_for(rule: str, source: str) -> None:
    (ban,) = (each for each in BANS if each.rule == rule)

    assert breaches(source, ban)


def test_the_check_lets_pass_what_it_should() -> None:
    source = "from datetime import datetime\nimport random\nrandom.Random(7)\ndatetime.fromtimestamp(0)\nclock.time()\n"

    assert [ban.rule for ban in BANS if breaches(source, ban)] == []


def test_imports_are_relative_inside_the_package_and_nowhere_else() -> None:
    """So the package's name is a one-line choice, and a foreign package of that name is never half ours."""
    found = []
    for file in python_files():
        inside = place(file).startswith("actors/")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level and not inside:
                found.append(f"{place(file)}:{node.lineno}: from outside, import actors by name")
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            names += [each.name for each in node.names] if isinstance(node, ast.Import) else []
            if inside and any(name.partition(".")[0] in ("actors", "supervisor") for name in names):
                found.append(f"{place(file)}: {', '.join(names)}: inside actors/, import relatively")

    assert found == []


def test_tests_do_not_import_tests() -> None:
    """Tests are collected one by one, from no package: what two share is a fixture in conftest.py or lives in actors/sim."""
    found = [
        f"{place(file)}:{line}"
        for file in python_files()
        if place(file).startswith("tests/")
        for line, name in used_names(ast.parse(file.read_text(encoding="utf-8")))
        if name.startswith(("tests.", "conftest"))
    ]

    assert found == []


def test_files_are_short_enough_to_read() -> None:
    lengths = {place(file): len(file.read_text(encoding="utf-8").splitlines()) for file in python_files()}
    long = {name: lines for name, lines in lengths.items() if lines > LONGER.get(name, LINES_MAX)}

    assert long == {}, f"more than {LINES_MAX} lines: split by noun"


def test_the_red_zone_only_shrinks() -> None:
    lengths = {name: len((ROOT / name).read_text(encoding="utf-8").splitlines()) for name in LONGER}

    assert {name: lines for name, lines in lengths.items() if lines <= LINES_MAX} == {}, "take these off the list"


def test_no_note_to_self_is_left_behind() -> None:
    """What is not done is an issue; what is not obvious is a comment."""
    marker = re.compile(r"\b(?:TOD[O]|FIXM[E]|XX[X]|HAC[K])\b")

    assert matches(marker) == []


def test_no_path_of_one_machine_is_left_behind() -> None:
    """Nobody else has it."""
    homes = ("root", "home/[a-z]", "Users", "work", "opt/wheels")
    here = re.compile(r"(?<![\w.}])/(" + "|".join(homes) + r")(/|\b)")

    assert matches(here) == []


def test_every_suppression_says_why() -> None:
    """``# type: ignore[code]  # why`` and ``# noqa: CODE - why``: a suppression without a reason is never taken away again."""
    ignore = re.compile(r"# type: ignore(?!\[[\w, -]+\]\s+# \w)")
    noqa = re.compile(r"# noqa(?!: [A-Z]+[0-9]+(, ?[A-Z]+[0-9]+)*\W+\w)")
    found = [each for each in matches(ignore, noqa, inside=(*FOLDERS[:2], "bench")) if ".py:" in each]

    assert [each for each in found if not each.startswith("tests/check/test_tidy.py")] == []


def matches(*patterns: re.Pattern[str], inside: tuple[str, ...] = ("",)) -> list[str]:
    return [
        f"{place(file)}:{number}: {line.strip()[-100:]}"
        for file in text_files()
        if place(file).startswith(inside)
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if any(pattern.search(line) for pattern in patterns)
    ]
