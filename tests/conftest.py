"""What all tests share. (Tests do not import each other; helpers of two files live here or in actors/sim.)"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

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
