"""For the tests of those who write adapters of their own: what Muster's own are held to.

``backend.py``: the contract of the port on which repairs leave. Subclass it, give it your adapter, and run pytest. Nothing
here imports pytest; the operator never imports this.
"""

from .backend import BackendContract, Subject, an_item

__all__ = ["BackendContract", "Subject", "an_item"]
