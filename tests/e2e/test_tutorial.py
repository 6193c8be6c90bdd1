"""docs/tutorial.md, followed word for word: its files are written and its commands run, in its order, in one folder.

Read from the page are: files (a name in bold before a block), commands (blocks of ``sh``, each with what is to be seen after it
in a block of ``text``, line by line), and what runs in the first terminal until Ctrl-C (a ``muster demo`` without an end, which
has its ``text`` after the commands of the second). Blocks of ``shell`` are not run: they install, or want a cluster.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import actors
from actors.ops.project import FILES

PAGE = (Path(__file__).parents[2] / "docs" / "tutorial.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"(?:\*\*`(?P<file>[\w.]+)`\*\*\n\n)?```(?P<kind>\w+)\n(?P<text>.*?)```", re.DOTALL)
Step = tuple[str, str]
WITHIN_S = 50.0


def steps() -> list[Step]:
    """(what, text) of each block: a file's name, or sh, or text."""
    found = [(match["file"] or match["kind"], match["text"]) for match in BLOCK.finditer(PAGE)]
    return [each for each in found if each[0] != "shell"]


def shown(expected: str, output: str) -> bool:
    """Whether each line of what is to be seen is a part of a line of the output, in that order."""
    at = 0
    for line in expected.splitlines():
        found = output.find(line.strip(), at)
        if found < 0:
            return False
        at = found + 1
    return True


@pytest.fixture
def path(tmp_path: Path) -> dict[str, str]:
    """What ``muster``, ``pytest`` and ``mypy`` are after the first chapter, and where to find the package under test."""
    folder = tmp_path / "bin"
    folder.mkdir()
    code = {
        "muster": "from actors.ops.cli import main; main()",
        "pytest": "import pytest; raise SystemExit(pytest.main())",
    }
    code["mypy"] = "from mypy.__main__ import console_entry; console_entry()"
    for name, text in code.items():
        (folder / name).write_text(f'#!/bin/sh\nexec {sys.executable} -P -c "{text}" "$@"\n', encoding="utf-8")
        (folder / name).chmod(0o755)
    root = str(Path(actors.__file__).parents[1])
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "MUSTER_"))}
    # mypy has to be told of a checkout; where the package is installed it knows, and wants to hear nothing of the place.
    checkout = {} if Path(root).name == "site-packages" else {"MYPYPATH": root}
    return kept | {
        "PATH": f"{folder}:{os.environ['PATH']}", "PYTHONPATH": root, "TMPDIR": str(tmp_path), **checkout,
    }  # fmt: skip


@pytest.mark.long
@pytest.mark.timeout(240)
@pytest.mark.skipif(shutil.which("curl") is None, reason="the page's commands want curl, which is not here")
def test_whoever_follows_the_page_sees_what_it_shows(tmp_path: Path, path: dict[str, str]) -> None:
    cwd, output, setting = tmp_path, "", ""
    first: subprocess.Popen[str] | None = None
    checked = 0
    try:
        for what, text in steps():
            if what == "sh" and "muster demo" in text and "--for" not in text:
                first = subprocess.Popen(
                    f"exec {text}", shell=True, cwd=cwd, env=path, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                    start_new_session=True,
                )  # fmt: skip
                waited_s = time.monotonic()
                while not (cwd / "logs" / "kubeconfig").exists() and time.monotonic() < waited_s + WITHIN_S:
                    time.sleep(0.1)
                time.sleep(5.0)  # as long as it takes to open a second terminal; the first repair is over then
            elif what == "sh":
                command = f"{setting}\n{text}\npwd"
                done = subprocess.run(
                    ["sh", "-c", command],
                    cwd=cwd,
                    env=path,
                    capture_output=True,
                    text=True,
                    timeout=WITHIN_S,
                    check=False,
                )
                assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
                *lines, folder = done.stdout.splitlines()
                output, cwd = "\n".join(lines), Path(folder)
                setting = next((line for line in text.splitlines() if line.startswith("API=")), setting)
            elif what == "text":
                if first is not None and text.startswith("barn: 4 repairs"):
                    os.killpg(first.pid, signal.SIGINT)
                    output, _ = first.communicate(timeout=WITHIN_S)
                    assert first.returncode == 0
                    first = None
                assert shown(text, output), f"expected:\n{text}\nfound:\n{output}"
                checked += 1
            else:
                (cwd / what).write_text(text, encoding="utf-8")
    finally:
        if first is not None and first.poll() is None:
            os.killpg(first.pid, signal.SIGKILL)
            first.communicate()

    assert checked == 7
    assert "kind: CustomResourceDefinition" in (cwd / "manifests.yaml").read_text(encoding="utf-8")


def test_the_page_is_about_the_project_that_is_written() -> None:
    """What it says of files and lines that it does not show."""
    assert "rack-1" in FILES["objects.yaml"]
    assert "maxUnhealthy" in FILES["fleet.py"]
    named = set(re.findall(r"`(\w+\.\w+)`", PAGE)) - {"ill.json", "well.json", "test_racks.py", "python.md"}
    assert named <= {*FILES, "manifests.yaml"}


def test_its_last_fleet_differs_from_the_first_by_its_rule_alone() -> None:
    (text,) = [text for what, text in steps() if what == "fleet.py"]
    made = FILES["fleet.py"].replace("@NAME@", "barn")
    before, after = made[made.index("FLEET = ") :], text[text.index("FLEET = ") :]

    assert after.replace("    reconcile=reconcile,\n", "") == before
