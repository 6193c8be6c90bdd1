"""Which adapter the settings name."""

from __future__ import annotations

from collections.abc import Callable

from ..core.errors import Misconfigured, SettingsError
from ..core.fleet import FleetDefinition
from ..core.operation import PROMISED, Capabilities
from ..core.ports import Backend, Call, Reply
from .backend import HttpBackend, batch_path
from .kube import KubeClient
from .kube_backend import KubernetesBackend
from .named import named
from .settings import Settings
from .settings_load import read_token


def backend_of(settings: Settings, fleet: FleetDefinition, kube: Callable[[], KubeClient] | None = None) -> Backend:
    """The adapter. It opens no connection, but to where credentials are kept; SettingsError where it cannot be used.

    ``kube`` gives the client of the API server for an adapter that needs one; without it there is a new one.
    """
    if settings.backend == "ec2":
        from .ec2 import Ec2Backend

        return Ec2Backend(
            instance_field=settings.ec2_instance_field,
            terminate_from=settings.ec2_terminate_from,
            timeout_s=settings.backend_timeout_s,
        )
    if settings.backend == "kubernetes":
        client = KubeClient(settings.kubeconfig or None, settings.context or None) if kube is None else kube()
        return KubernetesBackend(client, fleet, settings.kubernetes_annotation)
    if settings.backend == "none":
        return NoBackend()
    if ":" in settings.backend:
        return _own(settings.backend)
    path = settings.backend_token_file
    token = (lambda: read_token(path)) if path else None
    return HttpBackend(settings.backend_url, batch_path=batch_path(fleet.operation), token=token)


class NoBackend:
    """For fleets that are counted only. A parent whose own spec has repairs switched on is told of it by its condition."""

    capabilities = PROMISED

    def send(self, call: Call) -> Reply:
        """See ``Backend``."""
        raise Misconfigured(
            "there is no backend (--backend none): name one, or leave spec.repair.enabled out", arrived=False
        )


def _own(name: str) -> Backend:
    """Somebody's own adapter, made by their own code: whatever that raises is about a setting, and keeps its cause."""
    maker = named("backend", name)
    try:
        made: Backend = maker()
    except SettingsError:
        raise
    except Exception as error:
        raise SettingsError(f"backend {name}: it cannot be made: {type(error).__name__}: {error}") from error
    if not isinstance(getattr(made, "capabilities", None), Capabilities) or not callable(getattr(made, "send", None)):
        raise SettingsError(
            f"backend {name}: found a {type(made).__name__}, expected an adapter with send and capabilities (docs/backends.md)"
        )
    return made
