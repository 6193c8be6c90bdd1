"""What all tests share. (Tests do not import each other; helpers of two files live here or in actors/sim.)"""

from __future__ import annotations

import importlib
import importlib.util
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import settings

# A drawn example has no deadline of its own (200 ms if nobody says so): on a busy machine that is a timed assertion.
settings.register_profile("muster", deadline=None)
settings.load_profile("muster")

BENCH = Path(__file__).parents[1] / "bench"

# A shell that runs a script starts what it puts into the background with SIGINT ignored, and whoever inherits that can never be
# interrupted: the tests of Ctrl-C would wait for nothing. A handler is not inherited.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

PROGRAMS = ("etcd", "kube-apiserver", "kubectl")


def cluster_missing() -> str:
    """Why tests marked ``cluster`` cannot run here, "" when they can."""
    folder = os.environ.get("KUBEBUILDER_ASSETS", "")
    if not folder:
        return "KUBEBUILDER_ASSETS is not set: name the folder that holds " + ", ".join(PROGRAMS)
    missing = [name for name in PROGRAMS if not os.access(Path(folder) / name, os.X_OK)]
    return f"KUBEBUILDER_ASSETS={folder} does not hold {', '.join(missing)}" if missing else ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reason = cluster_missing()
    for item in items:
        if reason and item.get_closest_marker("cluster"):
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def bench() -> Callable[[str], ModuleType]:
    """Loads a module of ``bench`` by its name there: it is no part of the wheel, and the checkout is not on the path."""
    if "bench" not in sys.modules:
        file = BENCH / "__init__.py"
        spec = importlib.util.spec_from_file_location("bench", file, submodule_search_locations=[str(BENCH)])
        assert spec is not None
        assert spec.loader is not None
        sys.modules["bench"] = package = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(package)
    return lambda name: importlib.import_module(f"bench.{name}")
