"""All faults: importing this registers those of the API server, of the backend and of our own process in ``CATALOGUE``."""

from __future__ import annotations

from . import faults_api, faults_backend, faults_process
from .catalogue import CATALOGUE, NOT_APPLICABLE

__all__ = ["CATALOGUE", "MODULES", "NOT_APPLICABLE"]

MODULES = (faults_api, faults_backend, faults_process)
