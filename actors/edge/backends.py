"""Which adapter the settings name."""

from __future__ import annotations

from ..core.ports import Backend
from .backend import HttpBackend, batch_path
from .settings import Settings
from .settings_load import read_token


def backend_of(settings: Settings, operation: str) -> Backend:
    """The adapter. It opens no connection, but to where credentials are kept; SettingsError where it cannot be used."""
    if settings.backend == "ec2":
        from .ec2 import Ec2Backend

        return Ec2Backend(
            instance_field=settings.ec2_instance_field,
            terminate_from=settings.ec2_terminate_from,
            timeout_s=settings.backend_timeout_s,
        )
    path = settings.backend_token_file
    token = (lambda: read_token(path)) if path else None
    return HttpBackend(settings.backend_url, batch_path=batch_path(operation), token=token)
