"""For the tests of those who write fleets and adapters of their own.

``backend.py``: the contract of the port on which repairs leave. Subclass it, give it your adapter, and run pytest.
``fleet.py``: a fleet of one's own in virtual time. Nothing here imports pytest; the operator never imports this.
"""

from .backend import BackendContract, Subject, an_item
from .fleet import FleetWorld

__all__ = ["BackendContract", "FleetWorld", "Subject", "an_item"]
