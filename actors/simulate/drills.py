"""All drills: importing this registers those of each subject in ``DRILLS``."""

from __future__ import annotations

from . import drills_acting, drills_calling, drills_holding, drills_reading
from .drill import DRILLS

__all__ = ["DRILLS", "MODULES"]

MODULES = (drills_acting, drills_calling, drills_holding, drills_reading)
