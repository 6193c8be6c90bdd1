"""The versions that matter in a bug report."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of

from .. import __version__


def versions() -> dict[str, str]:
    """Of this, of the interpreter, and of the packages that it stands on."""
    found = {"muster": __version__, "python": platform.python_version()}
    for name in ("pykka", "kubernetes", "urllib3"):
        try:
            found[name] = version_of(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found
