"""One real kube-apiserver for all tests of this folder, prepared as a user would: with kubectl, from ``manifests/``.

The operator runs as its own ServiceAccount, under the RBAC that is shipped. Nothing collects garbage here and no namespace ever
empties, so each test has a namespace of its own and deletes what it has made.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from actors.sim.envtest import RealApiServer
from actors.sim.live import Api, BackendServer, Fleet, Operator

ROOT = Path(__file__).parents[2]
ESTABLISHED_S = 2.5  # creates of a kind are held until its definition is two seconds old


@pytest.fixture(scope="session")
def server() -> Iterator[RealApiServer]:
    """The server, with everything of ``manifests/default`` applied."""
    # Else the server itself would refuse every privileged pod, and admission would never be asked.
    with RealApiServer(Path(os.environ["KUBEBUILDER_ASSETS"]), flags=("--allow-privileged=true",)) as server:
        server.kubectl("apply", "-k", str(ROOT / "manifests" / "default"))
        server.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        time.sleep(ESTABLISHED_S)
        yield server


@pytest.fixture(scope="session")
def token(server: RealApiServer) -> str:
    """A token of the operator's own ServiceAccount."""
    return server.kubectl("create", "token", "muster", "--namespace", "muster-system", "--duration", "1h").strip()


@pytest.fixture(scope="session")
def operator_config(server: RealApiServer, token: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A kubeconfig of the operator's own ServiceAccount."""
    return server.kubeconfig_for(token, tmp_path_factory.mktemp("account") / "kubeconfig")


@pytest.fixture
def api(server: RealApiServer) -> Api:
    """The server as its administrator sees it."""
    return Api(server.kubeconfig)


@pytest.fixture
def fleet(server: RealApiServer, api: Api) -> Iterator[Fleet]:
    """An empty namespace, emptied again."""
    name = f"fleet-{uuid.uuid4().hex[:8]}"
    api.do("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    fleet = Fleet(api, name)
    yield fleet
    server.start()  # a test may have failed while it was stopped
    fleet.clear()


@pytest.fixture
def running() -> Iterator[ExitStack]:
    """What is entered here is stopped after the test."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def backend(running: ExitStack, tmp_path: Path) -> Callable[..., BackendServer]:
    """Starts a backend: ``backend("--quota", "5/2s")``."""
    return lambda *options: running.enter_context(BackendServer(tmp_path, options=options))


@pytest.fixture
def operator(running: ExitStack, tmp_path: Path, operator_config: Path) -> Callable[..., Operator]:
    """Starts an operator: ``operator(backend_url, cooldown="5s")``; ``kubeconfig`` and ``name`` of the process as well."""
    entry = [str(ROOT / "supervisor.py")]

    def start(backend_url: str, *, kubeconfig: Path | None = None, name: str = "operator", **settings: str) -> Operator:
        options: dict[str, Any] = {key.replace("_", "-"): value for key, value in settings.items()}
        config = kubeconfig or operator_config
        return running.enter_context(
            Operator(entry, tmp_path, kubeconfig=config, backend_url=backend_url, options=options, name=name)
        )

    return start
