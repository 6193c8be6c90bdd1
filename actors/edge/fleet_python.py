"""A fleet that is declared in Python (``actors.fleet``), by its name: held to all that a fleet's file is held to.

It is printed as a file and read as one, so that no rule exists twice; what no file can say (``own``) is put back.
"""

from __future__ import annotations

import inspect
import re

from attrs import evolve

from ..core import declare
from ..core.errors import SettingsError
from ..core.fleet import FleetDefinition
from ..core.fleet_rules import near
from .fleet_file import FleetSource, load_fleet, parse_fleet, print_fleet
from .fleet_types import SETTINGS
from .named import is_named, named
from .settings import Settings

__all__ = ["checked", "fleet_of", "settings_of"]

_NO_WORD = re.compile(r"(?P<function>\w+)\(\) got an unexpected keyword argument '(?P<word>\w+)'")
_WHERE = re.compile(r"^fleet:\d+: ")


def fleet_of(text: str) -> FleetSource:
    """The fleet that a setting names: ``MODULE:NAME`` or ``file.py:NAME`` in Python, else a file. ``SettingsError``."""
    if text.endswith(".py"):
        raise SettingsError(f"fleet {text}: found a file of Python, expected {text}:NAME, NAME being the fleet in it")
    if not is_named(text):
        return load_fleet(text)
    try:
        found = named("fleet", text)
    except SettingsError as error:
        raise SettingsError(f"{error}{_meant(error.__cause__)}") from error
    if not isinstance(found, FleetDefinition):
        told = f"found a {type(found).__name__}, expected a fleet, as actors.fleet.fleet(…) makes it"
        raise SettingsError(f"fleet {text}: {told}")
    return FleetSource(fleet=checked(found, f"fleet {text}"), file=text, lines={})


def _meant(cause: BaseException | None) -> str:
    """The nearest word, where the declaration has one that its function does not take."""
    match = _NO_WORD.match(str(cause)) if isinstance(cause, TypeError) else None
    function = getattr(declare, match["function"], None) if match is not None else None
    return (
        near(match["word"], inspect.signature(function).parameters) if match is not None and callable(function) else ""
    )


def settings_of(fleet: FleetDefinition) -> Settings:
    """The operator's settings where nothing but this fleet says anything. ``SettingsError`` for a value that is none."""
    return Settings(**{SETTINGS[key].attribute: SETTINGS[key].read(text) for key, text in fleet.settings.items()})


def checked(fleet: FleetDefinition, name: str = "fleet") -> FleetDefinition:
    """The same fleet, if a file could say it. ``SettingsError`` with a line for each problem, which begins with ``name``."""
    try:
        read = parse_fleet(print_fleet(fleet), "fleet").fleet
    except SettingsError as error:
        lines = [_WHERE.sub("", each) for each in str(error).splitlines()]
        raise SettingsError("\n".join(f"{name}: {each}" for each in lines)) from error
    children = tuple([evolve(each, view=own.view) for each, own in zip(read.children, fleet.children, strict=True)])
    return evolve(read, own=fleet.own, children=children)
