"""Python of somebody's own, by its name in a setting: ``MODULE:NAME``, or ``path/to/file.py:NAME``.

What cannot be found is named, with the nearest name that can; what the code itself raises is told with its file and line.
"""

from __future__ import annotations

import importlib.util
import pkgutil
import re
import sys
import traceback
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from ..core.errors import SettingsError
from ..core.fleet_rules import near

__all__ = ["is_named", "named"]

_NAMED = re.compile(r"(?P<where>.+\.py|[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):(?P<name>[A-Za-z_]\w*)")


def is_named(text: str) -> bool:
    """Whether that names Python, by its looks alone."""
    return _NAMED.fullmatch(text) is not None


def named(setting: str, text: str) -> Any:
    """What that names. ``SettingsError`` that begins with ``setting`` and ``text``: what was not found, the nearest, the cure.

    Runs the module, once for each process (a file: each time): it is the caller's own code.
    """
    found = _NAMED.fullmatch(text)
    if found is None:
        raise SettingsError(f"{setting} {text}: expected MODULE:NAME or path/to/file.py:NAME")
    where, name = found["where"], found["name"]
    head = f"{setting} {text}"
    try:
        module = _of_file(head, Path(where)) if where.endswith(".py") else import_module(where)
    except SettingsError as error:
        lines = str(error).splitlines()
        raise SettingsError(
            "\n".join(each if each.startswith(head) else f"{head}: {each}" for each in lines)
        ) from error
    except ModuleNotFoundError as error:
        raise SettingsError(f"{head}: {_missing(where, error)}") from error
    except SyntaxError as error:
        raise SettingsError(f"{head}: it is no Python: {error.filename}:{error.lineno}: {error.msg}") from error
    except Exception as error:
        raise SettingsError(f"{head}: it cannot be loaded: {type(error).__name__}: {error}{_place(error)}") from error
    if not hasattr(module, name):
        names = [each for each in vars(module) if not each.startswith("_")]
        raise SettingsError(f"{head}: there is no {name} in {where}{near(name, names)}")
    return getattr(module, name)


def _of_file(head: str, path: Path) -> ModuleType:
    """The module in that file. It may import its neighbours, as a script may; but what is installed comes first."""
    if not path.is_file():
        beside = [each.name for each in path.parent.glob("*.py")] if path.parent.is_dir() else []
        raise SettingsError(f"{head}: there is no file {path}{near(path.name, beside)}")
    folder = str(path.parent.resolve())
    if folder not in sys.path:
        sys.path.append(folder)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(path.stem)
    sys.modules[path.stem] = module  # where types are looked up by the name of their module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        if before is None:
            del sys.modules[path.stem]
        else:
            sys.modules[path.stem] = before
        raise
    return module


def _missing(where: str, error: ModuleNotFoundError) -> str:
    lost = error.name or ""
    if where != lost and not where.startswith(f"{lost}."):
        return f"it imports {lost}, which is not installed{_place(error)}"
    above, _, last = lost.rpartition(".")
    paths = getattr(sys.modules.get(above), "__path__", None) if above else None
    names = [each.name for each in pkgutil.iter_modules(paths)]
    cure = "name its file instead (path/to/file.py:NAME), or put its folder on PYTHONPATH"
    return f"there is no module {lost}{near(last, names)}{'' if near(last, names) else ': ' + cure}"


def _place(error: BaseException) -> str:
    """Where in somebody's own code it was raised: the last line of it that is not Python's or the import's."""
    frames = [each for each in traceback.extract_tb(error.__traceback__) if "importlib" not in each.filename]
    ours = [each for each in frames if each.filename != __file__]
    return f" ({ours[-1].filename}:{ours[-1].lineno})" if ours else ""
