"""docs/backends.md: its adapter and its test are run as they are written there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from actors.core.builtin import MUSTER_FLEET
from actors.core.errors import SettingsError
from actors.core.operation import Capabilities
from actors.edge.backends import backend_of
from actors.edge.settings_load import load, require_backend
from actors.ops.check import checks

PAGE = Path(__file__).parents[2] / "docs" / "backends.md"
RACK = '''
class Rack:
    """A rack without machines: what the page's adapter is tested on."""

    def __init__(self, url=""):
        self.url = url
        self.uids_cycled, self.requests_count, self._next = [], 0, "ok"

    def answer_next(self, code):
        self._next = code

    def cycle(self, names, timeout_s):
        self.requests_count += 1
        code, self._next = self._next, "ok"
        if code == "ok":
            self.uids_cycled += [f"00000000-0000-4000-8000-{int(name.removeprefix('node-')):012d}" for name in names]
        return code
'''


def test_the_pages_adapter_passes_the_pages_test(tmp_path: Path) -> None:
    """What people copy from must work."""
    adapter, _, contract = re.findall(r"(?ms)^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"))
    (tmp_path / "test_power_backend.py").write_text(f"{RACK}\n{adapter}\n{contract}", encoding="utf-8")
    (command,) = re.findall(r"(?m)^(pytest .*)$", PAGE.read_text(encoding="utf-8"))
    options = ["-q", "-ra", "-p", "no:cacheprovider", "--rootdir", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", *command.split(), *options],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout[-3000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed
    assert int(passed[1]) >= 6, done.stdout[-3000:]
    assert "it declares no keys" in done.stdout


def test_the_operator_finds_the_pages_adapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the name that the page gives it, and without a backend URL."""
    page = PAGE.read_text(encoding="utf-8")
    adapter, using, _ = re.findall(r"(?ms)^```python\n(.*?)^```", page)
    (tmp_path / "power_backend.py").write_text(f"{RACK}\n{adapter}\n{using}", encoding="utf-8")
    (name,) = re.findall(r"(?m)^muster run --backend (\S+)$", page)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("RACK_URL", "http://rack")
    loaded = load({"backend": name})
    require_backend(loaded)
    made: Any = backend_of(loaded.settings, MUSTER_FLEET)  # the page's own

    assert made.capabilities == Capabilities(keys=False, batch_max=48)
    assert made._rack.url == "http://rack"
    monkeypatch.delitem(sys.modules, "power_backend")


@pytest.mark.parametrize(
    ("source", "name", "text"),
    [
        ("", "no_such_module:make", "there is no module no_such_module"),
        ("", "own:make", "there is no make in own"),
        ("make = 7", "own:make", "'int' object is not callable"),
        ("def make(url): ...", "own:make", "missing 1 required positional argument"),
        ("def make(): raise OSError('no rack')", "own:make", "OSError: no rack"),
        ("make = dict", "own:make", "found a dict, expected an adapter with send and capabilities"),
        ("class make:\n    send = print\n    capabilities = {'keys': False}", "own:make", "found a make, expected"),
    ],
)
def test_what_is_no_adapter_is_a_setting_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, name: str, text: str
) -> None:
    """Before anything starts; `check` says the same."""
    (tmp_path / "own.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "own", raising=False)
    loaded = load({"backend": name, "kubeconfig": "/no/such/file"})
    with pytest.raises(SettingsError, match=f"^backend {name}: ") as caught:
        backend_of(loaded.settings, MUSTER_FLEET)
    (line,) = (each for each in checks(loaded) if each.name == "backend")

    assert text in str(caught.value)
    assert (line.ok, line.message) == (False, str(caught.value))
    sys.modules.pop("own", None)


@pytest.mark.parametrize("name", ["", "https", "EC2", "a b:c", "module:", ":name", "module:name.more"])
def test_a_backend_is_named_by_a_word_or_a_place_in_a_module(name: str) -> None:
    with pytest.raises(SettingsError, match="backend .*expected one of http, ec2, kubernetes, none, or MODULE:NAME"):
        load({"backend": name})
