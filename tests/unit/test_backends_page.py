"""docs/backends.md: its adapter and its test are run as they are written there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "backends.md"
RACK = '''
class Rack:
    """A rack without machines: what the page's adapter is tested on."""

    def __init__(self):
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
    adapter, contract = re.findall(r"(?ms)^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"))
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
