"""The ``kubernetes`` package for its configuration alone.

``kubernetes.config`` names ``ApiClient``, and with that class come pydantic and what else it takes to model an API: 0.11 CPU s
of each process' start, and its memory, for something that is never called here. So while the package is imported another name
stands for the class, which gives the real one to whoever calls it. Once it is imported nobody else sees that name: who asks the
package for its client gets it.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

__all__ = ["configuration"]

_PACKAGE, _CLIENT, _CLASS = "kubernetes", "kubernetes.client", "ApiClient"
_MODULE = f"{_CLIENT}.api_client"
_KNOWN = "kubernetes.config.kube_config"
"""What only calls the class."""


def configuration() -> tuple[Any, Any]:
    """``kubernetes.config``, and an empty ``Configuration``."""
    modules: dict[str, Any] = sys.modules
    if _PACKAGE not in modules:
        modules[_MODULE] = stand_in = ModuleType(_MODULE)
        vars(stand_in)[_CLASS] = _client
        try:
            import_module("kubernetes.config")
        finally:
            if modules.get(_MODULE) is stand_in:
                del modules[_MODULE]
        _withdraw(modules, stand_in)
    return import_module("kubernetes.config"), import_module(_CLIENT).Configuration()


def _client(*args: Any, **words: Any) -> Any:
    """The real one."""
    return getattr(import_module(_MODULE), _CLASS)(*args, **words)


def _withdraw(modules: dict[str, Any], stand_in: ModuleType) -> None:
    """The lazy package asks anew; of one that is not lazy (before 37) every module gets the real class."""
    client = modules.get(_CLIENT)
    lazy = client is not None and "__getattr__" in vars(client)
    for name in [each for each in modules if each.startswith(f"{_PACKAGE}.") and each != _KNOWN]:
        held = vars(modules[name])
        if held.get("api_client") is stand_in:
            del held["api_client"]
        if held.get(_CLASS) is _client:
            if lazy and name == _CLIENT:
                del held[_CLASS]
            else:
                held[_CLASS] = getattr(import_module(_MODULE), _CLASS)
