"""A script as a file: JSON that people can read, one step per line, and that says of itself which version it is.

All settings are written, the defaults too, so that a script goes on meaning the same when a default changes. A file that
cannot be used is refused in one line that names the place, such as ``$.steps[3].at_s``.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import cattrs
from attrs import field, frozen

from ..core.errors import MusterError
from ..core.model import Share
from ..core.quantity import Quota, parse_quota, parse_share
from .catalogue import CATALOGUE
from .drills import DRILLS
from .run import ORACLES
from .script import LEFTOVERS, Script
from .steps import VERBS, Argument, Step

__all__ = ["FORMAT", "VERSION", "Finding", "ScriptFile", "ScriptFileError", "dumps", "load", "loads"]

FORMAT = "muster-script"
VERSION = 1
_LINE_BY_LINE = ("settings", "clusters", "steps", "finding")
"""What gets a line for each of its entries; everything else has one line."""
T = TypeVar("T")


class ScriptFileError(MusterError, ValueError):
    """A script's text cannot be used: says where, what was found, and what is expected."""


@frozen(kw_only=True)
class Finding:
    """Why a script is kept. ``seed`` found it, before it was shrunk; ``fixed`` is a date, "" while the bug is there."""

    bug: str
    fixed: str
    seed: int
    oracle: str
    text: str
    """What the oracle said."""


@frozen(kw_only=True)
class ScriptFile:
    """What such a file holds. ``finding`` None: somebody's script, kept for nothing in particular."""

    script: Script
    finding: Finding | None = None


@frozen(kw_only=True)
class _Document:
    format: str
    version: int
    script: Script
    finding: Finding | None = field(default=None)


# --- to text ----------------------------------------------------------------------------------------------------------
def dumps(file: ScriptFile) -> str:
    """The file's text. The same for the same script, in every supported Python."""
    document: dict[str, Any] = {"format": FORMAT, "version": VERSION}
    if file.finding is not None:
        document["finding"] = _CONVERTER.unstructure(file.finding)
    document["script"] = _CONVERTER.unstructure(file.script)
    for step in document["script"]["steps"]:
        if not step["args"]:
            del step["args"]
        if not step["fault"]:
            del step["fault"]
    return _written(document, "") + "\n"


def _written(value: Any, indent: str, name: str = "script") -> str:
    if not value or not (name in _LINE_BY_LINE or name == "script"):
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    deeper = indent + "  "
    if isinstance(value, dict):
        entries = [f"{json.dumps(key)}: {_written(each, deeper, key)}" for key, each in value.items()]
        opened, closed = "{", "}"
    else:
        entries = [_written(each, deeper, "") for each in value]
        opened, closed = "[", "]"
    return f"{opened}\n{deeper}" + f",\n{deeper}".join(entries) + f"\n{indent}{closed}"


# --- from text --------------------------------------------------------------------------------------------------------
def load(path: str | Path) -> ScriptFile:
    """Read that file. ScriptFileError, which names the file and the place, when it cannot be used."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ScriptFileError(f"{path}: cannot be read: {error}") from error
    return loads(text, str(path))


def loads(text: str, name: str = "script") -> ScriptFile:
    """Read a file's text; ``name`` says in errors whose it is."""
    try:
        raw = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise ScriptFileError(f"{name}: line {error.lineno}, column {error.colno}: {error.msg}") from error
    except ScriptFileError as error:
        raise ScriptFileError(f"{name}: {error}") from error
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        found = raw.get("format") if isinstance(raw, dict) else raw
        raise ScriptFileError(f"{name}: $.format: found {_short(found)}, expected {FORMAT!r}: is that a script?")
    if raw.get("version") != VERSION:
        raise ScriptFileError(f"{name}: $.version: found {_short(raw.get('version'))}, expected {VERSION}")
    try:
        document = _CONVERTER.structure(raw, _Document)
    except (cattrs.BaseValidationError, ScriptFileError) as error:
        places = cattrs.transform_error(error, format_exception=_told)
        more = f" (and {len(places) - 1} more)" if len(places) > 1 else ""
        raise ScriptFileError(f"{name}: {_place_first(places[0])}{more}") from error
    _check(document.script, name)
    _check_finding(document.finding, name)
    return ScriptFile(script=document.script, finding=document.finding)


def _check(script: Script, name: str) -> None:
    """What the types do not say."""
    if script.leftover not in LEFTOVERS:
        known = ", ".join(sorted({each for each in LEFTOVERS if each}))
        raise ScriptFileError(
            f"{name}: $.script.leftover: found {script.leftover!r}, expected one of {known}, or nothing"
        )
    if script.drill and script.drill not in DRILLS:
        raise ScriptFileError(f"{name}: $.script.drill: there is no drill {script.drill!r}")
    for number, id_ in enumerate(script.faults):
        if id_ not in CATALOGUE:
            raise ScriptFileError(f"{name}: $.script.faults[{number}]: there is no fault {id_!r} in the catalogue")
    for number, step in enumerate(script.steps):
        place = f"{name}: $.script.steps[{number}]"
        if not 0.0 <= step.at_s < script.chaos_s:
            raise ScriptFileError(
                f"{place}.at_s: found {step.at_s}, expected 0 or more and less than chaos_s, {script.chaos_s}"
            )
        _check_step(step, place)


def _check_finding(finding: Finding | None, name: str) -> None:
    oracles = [oracle.name for oracle in ORACLES]
    if finding is not None and finding.oracle not in oracles:
        known = ", ".join(oracles)
        raise ScriptFileError(f"{name}: $.finding.oracle: found {finding.oracle!r}, expected one of {known}")


def _check_step(step: Step, place: str) -> None:
    if step.do not in VERBS:
        raise ScriptFileError(f"{place}.do: there is no verb {step.do!r}")
    if step.fault and step.fault not in CATALOGUE:
        raise ScriptFileError(f"{place}.fault: there is no fault {step.fault!r} in the catalogue")
    signature = inspect.signature(VERBS[step.do])
    hints = get_type_hints(VERBS[step.do])
    try:
        bound = signature.bind(None, *step.args)
    except TypeError as error:
        wanted = ", ".join(str(each) for each in list(signature.parameters.values())[1:])
        raise ScriptFileError(f"{place}.args: found {list(step.args)}, expected ({wanted}): {error}") from error
    for parameter, value in list(bound.arguments.items())[1:]:
        hint = hints[parameter]
        values = value if signature.parameters[parameter].kind is inspect.Parameter.VAR_POSITIONAL else (value,)
        if not all(_fits(each, hint) for each in values):
            wanted = getattr(hint, "__name__", str(hint))
            raise ScriptFileError(f"{place}.args: {parameter}: found {_short(value)}, expected {wanted}")


def _fits(value: Any, hint: Any) -> bool:
    """Whether an argument is of that type. A whole number is a number; a truth value is not."""
    if get_args(hint):
        return any(_fits(value, each) for each in get_args(hint))
    if hint in (int, float) and isinstance(value, bool):
        return False
    return isinstance(value, (int, float) if hint is float else hint)


# --- types ------------------------------------------------------------------------------------------------------------
def _refuse_constant(found: str) -> Any:
    raise ScriptFileError(f"found {found}, expected a finite number")


def _short(found: Any) -> str:
    text = json.dumps(found, default=str)
    return text if len(text) <= 60 else text[:57] + "…"


def _told(error: BaseException, type_: type | None) -> str:
    if isinstance(error, ScriptFileError):
        return str(error)
    if isinstance(error, AttributeError):  # it was asked for its keys
        return "expected an object"
    return cattrs.v.format_exception(error, type_)


def _place_first(text: str) -> str:
    what, at, place = text.rpartition(" @ ")
    return f"{place}: {what}" if at else text


def _whole(value: Any, _type: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ScriptFileError(f"found {_short(value)}, expected a whole number")
    return value


def _number(value: Any, _type: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ScriptFileError(f"found {_short(value)}, expected a number")
    return value


def _truth(value: Any, _type: Any) -> bool:
    if not isinstance(value, bool):
        raise ScriptFileError(f"found {_short(value)}, expected true or false")
    return value


def _text(value: Any, _type: Any) -> str:
    if not isinstance(value, str):
        raise ScriptFileError(f"found {_short(value)}, expected a text")
    return value


def _argument(value: Any, _type: Any) -> Argument:
    if value is not None and not isinstance(value, str | int | float):
        raise ScriptFileError(f"found {_short(value)}, expected a text, a number, true, false or null")
    return value


def _quota(value: Any, _type: Any) -> Quota:
    return _parsed(parse_quota, value)


def _share(value: Any, _type: Any) -> Share:
    return _parsed(parse_share, value)


def _parsed(parse: Callable[[Any], T], value: Any) -> T:
    try:
        return parse(value)
    except MusterError as error:
        raise ScriptFileError(str(error)) from error


def _converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True)
    for type_, hook in (
        (int, _whole),
        (float, _number),
        (bool, _truth),
        (str, _text),
        (Quota, _quota),
        (Share, _share),
    ):
        converter.register_structure_hook(type_, hook)
    converter.register_structure_hook(Argument, _argument)
    converter.register_unstructure_hook(Quota, str)
    converter.register_unstructure_hook(Share, str)
    return converter


_CONVERTER = _converter()
