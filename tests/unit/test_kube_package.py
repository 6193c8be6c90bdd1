"""The package's configuration without its client; and its client all the same for who asks for it."""

from __future__ import annotations

import subprocess
import sys
from textwrap import dedent

SCRIPT = """
    import sys
    from actors.edge.kube_package import configuration
    config, settings = configuration()
    assert hasattr(settings, "host") and config.load_kube_config and config.load_incluster_config
    modules = [name for name in sys.modules if name.startswith("pydantic")]
    lazy = "__getattr__" in vars(sys.modules["kubernetes.client"])
    assert not (lazy and modules), modules

    from kubernetes import client, watch
    import kubernetes.client.api_client as real
    import kubernetes.config.kube_config as known
    assert isinstance(real.ApiClient, type) and client.ApiClient is real.ApiClient
    assert isinstance(known.ApiClient(), real.ApiClient)
    assert isinstance(watch.Watch()._api_client, real.ApiClient)
    class Mine(client.ApiClient): pass
    client.CoreV1Api()
    again, other = configuration()
    assert again is config and other is not settings
"""


def test_the_stand_in_is_seen_by_nobody_but_the_configuration() -> None:
    """In a process of its own: in this one the package has been imported already."""
    done = subprocess.run(
        [sys.executable, "-c", dedent(SCRIPT)], capture_output=True, text=True, check=False, timeout=60
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (0, "")
