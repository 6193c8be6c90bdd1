"""``kubectl muster``: which pod it takes, what it has run there, what it says where it cannot. The kubectl is a fake."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
PLUGIN = ROOT / "manifests" / "plugin" / "kubectl-muster"
FAKE = """#!/bin/sh
printf '%s\\0' "$@" >> "$CALLS"
printf '\\n' >> "$CALLS"
[ "$FAIL" != "$1" ] || exit 1
case "$*" in *"get pods"*) printf '%s' "$PODS" ;; *) exit "$CODE" ;; esac
"""


class Kubectl:
    def __init__(self, folder: Path) -> None:
        (folder / "kubectl").write_text(FAKE)
        (folder / "kubectl").chmod(0o755)
        self.folder, self.log = folder, folder / "calls"

    def __call__(
        self, *words: str, pods: str = "pod/muster-1", code: int = 0, fail: str = ""
    ) -> subprocess.CompletedProcess[str]:
        self.log.write_bytes(b"")
        path = f"{self.folder}:{os.environ['PATH']}"
        given = {"PATH": path, "CALLS": str(self.log), "PODS": pods, "CODE": str(code), "FAIL": fail}
        return subprocess.run(
            [str(PLUGIN), *words], capture_output=True, text=True, timeout=30, check=False, env={**os.environ, **given},
            stdin=subprocess.DEVNULL,
        )  # fmt: skip

    @property
    def calls(self) -> list[list[str]]:
        return [line.decode().rstrip("\0").split("\0") for line in self.log.read_bytes().split(b"\n") if line]


@pytest.fixture
def kubectl(tmp_path: Path) -> Kubectl:
    return Kubectl(tmp_path)


def test_it_finds_the_pod_by_its_labels_and_runs_the_shell_in_it(kubectl: Kubectl) -> None:
    done = kubectl("why", "default/c0", "a node's name", code=13)
    get, execute = kubectl.calls

    assert done.returncode == 13
    assert get == [
        "get", "pods", "--namespace", "muster-system", "--selector",
        "app.kubernetes.io/name=muster,app.kubernetes.io/component=operator", "--field-selector", "status.phase=Running",
        "--output", "name",
    ]  # fmt: skip
    assert execute[:-2] == [
        "exec", "--namespace", "muster-system", "--stdin", "muster-1", "--container", "operator", "--", "python",
        "supervisor.py", "shell",
    ]  # fmt: skip
    assert execute[-2] == "-c"
    assert shlex.split(execute[-1]) == ["why", "default/c0", "a node's name"]


def test_the_labels_the_container_and_the_command_are_the_manifests_own(kubectl: Kubectl) -> None:
    kubectl("health")
    get, execute = kubectl.calls
    deployment = yaml.safe_load((ROOT / "manifests" / "operator" / "deployment.yaml").read_text())
    template = deployment["spec"]["template"]
    wanted = dict(pair.split("=") for pair in get[get.index("--selector") + 1].split(","))

    assert wanted.items() <= template["metadata"]["labels"].items()
    assert get[get.index("--namespace") + 1] == deployment["metadata"]["namespace"]
    (container,) = [
        each for each in template["spec"]["containers"] if each["name"] == execute[execute.index("--container") + 1]
    ]
    assert container["command"][:2] == execute[execute.index("--") + 1 :][:2]


def test_options_are_handed_on(kubectl: Kubectl) -> None:
    kubectl("-n", "elsewhere", "-l", "a=b", "--context", "prod", "--json", "--watch", "2", "top", "--by", "rate")
    get, execute = kubectl.calls

    assert get[:5] == ["--context", "prod", "get", "pods", "--namespace"]
    assert ("elsewhere", "a=b") == (get[5], get[7])
    assert execute[execute.index("shell") :] == ["shell", "--json", "--watch", "2", "-c", "'top' '--by' 'rate' "]

    kubectl("-p", "muster-7", "tree")
    (only,) = kubectl.calls
    assert "muster-7" in only


@pytest.mark.parametrize(
    ("given", "says", "code"),
    [
        ({"pods": ""}, "no operator runs in the namespace muster-system", 11),
        (
            {"pods": "pod/a\npod/b"},
            "2 operators run in the namespace muster-system; say which with -p:\npod/a\npod/b",
            11,
        ),
        ({"fail": "get"}, "kubectl cannot list the pods of muster-system", 1),
    ],
)
def test_what_it_cannot_do_it_says(kubectl: Kubectl, given: dict[str, Any], says: str, code: int) -> None:
    done = kubectl("health", **given)

    assert done.returncode == code
    assert says in done.stderr
    assert len(kubectl.calls) == 1


@pytest.mark.parametrize("words", [["--nothing"], ["-n"], ["--watch"]])
def test_a_wrong_option_is_refused_before_anything_is_asked(kubectl: Kubectl, words: list[str]) -> None:
    assert kubectl(*words).returncode == 2
    assert kubectl.calls == []


def test_without_a_command_it_is_a_prompt(kubectl: Kubectl) -> None:
    kubectl()

    assert kubectl.calls[1][-1] == "shell"
    assert "kubectl muster health" in kubectl("--help").stdout


def test_no_word_can_break_out_of_its_quotes(kubectl: Kubectl, tmp_path: Path) -> None:
    hostile = ["show", "'; touch x; '", "$(touch x)", "`touch x`", 'a"b\\c']
    kubectl(*hostile)

    assert shlex.split(kubectl.calls[1][-1]) == hostile
    assert not (Path.cwd() / "x").exists()
