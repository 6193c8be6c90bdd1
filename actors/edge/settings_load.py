"""Reads the settings from where people put them: a flag, a variable, the file, the fleet's file, the default; the first wins.

The origin of each value is kept, because "why does it do that?" is asked of settings more often than "what may I
write?". All that is wrong is reported at once, each problem on a line that names the setting, where it came from (the
file's with its line), what was found and what is expected. A key that the file has and the table has not is an error
with the nearest word; an unknown ``MUSTER_…`` variable is only a note, since Kubernetes itself invents such names for a
Service called ``muster``.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import Factory, frozen

from ..core.builtin import MUSTER_FLEET
from ..core.errors import SettingsError
from ..core.fleet import ConditionIs, FleetDefinition
from ..core.quantity import format_duration
from .setting import Setting
from .settings import TABLE, Settings

CONFIG_ENV = "MUSTER_CONFIG"
_FLEET = next(each for each in TABLE if each.attribute == "fleet")
_FILE_BYTES_MAX = 1 << 20  # a longer one is not a settings file
_TOKEN_BYTES_MAX = 16_384  # what servers take as one header, about
_OURS_BUT_NO_SETTING = re.compile(r"MUSTER_(CONFIG|PYTHON|TEST_.*)")
_SERVICE_LINK = re.compile(r"MUSTER_.*?(SERVICE_HOST|SERVICE_PORT.*|PORT(_[0-9]+_(TCP|UDP|SCTP).*)?)")


@frozen(kw_only=True)
class Loaded:
    """The settings, the origin of each by name (``flag --quota``, ``MUSTER_QUOTA``, ``FILE:3``, ``default``), notes, and
    the fleet.

    A note is a sentence for people about settings that are allowed but look like a mistake.
    """

    settings: Settings
    origins: Mapping[str, str] = Factory(dict)
    notes: tuple[str, ...] = ()
    fleet: FleetDefinition = MUSTER_FLEET


def load(
    flags: Mapping[str, str] | None = None, environ: Mapping[str, str] | None = None, config: str | None = None
) -> Loaded:
    """The settings from ``flags`` (by name, without dashes), ``environ`` and the file ``config`` (else $MUSTER_CONFIG).

    SettingsError with one line for each problem. Reads no files but the configuration file and the fleet's.
    """
    flags, environ = flags or {}, environ or {}
    for name in flags:
        if name not in {each.name for each in TABLE}:
            raise SettingsError(f"--{name} is no setting{_nearest(name, [each.name for each in TABLE], prefix='--')}")
    path = config if config is not None else environ.get(CONFIG_ENV, "")
    in_file, problems = _read_file(path) if path else ({}, [])
    fleet, in_fleet = _read_fleet(str(_choose(_FLEET, flags, environ, in_file)[1]), problems)
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for each in TABLE:
        origin, found = _choose(each, flags, environ, {**in_fleet, **in_file})
        origins[each.name] = origin
        if origin == "default":
            continue
        try:
            values[each.attribute] = each.read(found)
        except SettingsError as error:
            problems.append(f"{each.name} ({origin}): {error}")
    settings = Settings(**values)
    if not problems:
        problems += [_with_origins(names, text, origins) for names, text in contradictions(settings)]
    if problems:
        raise SettingsError("\n".join(problems))
    notes = (*_unknown_variables(environ), *_doubts(settings), *_fleet_doubts(fleet, settings))
    return Loaded(settings=settings, origins=origins, notes=notes, fleet=fleet)


def contradictions(settings: Settings) -> Iterator[tuple[tuple[str, ...], str]]:
    """Settings that are right one by one and wrong together: their names, and why."""
    if settings.debounce_s > settings.debounce_max_s:
        yield (
            ("debounce", "debounce-max"),
            (
                f"the quiet time {format_duration(settings.debounce_s)} is longer than the longest wait "
                f"{format_duration(settings.debounce_max_s)}: lower the first or raise the second"
            ),
        )
    if settings.batch_quiet_s > settings.backend_timeout_s:
        yield (
            ("batch-quiet", "backend-timeout"),
            "a batch would wait longer to leave than a call may take: lower the first or raise the second",
        )


def require_backend(loaded: Loaded) -> None:
    """SettingsError unless there is a backend to repair by, and its token file (where one is named) can be read."""
    settings = loaded.settings
    if settings.shadow:
        return  # nothing is sent
    if settings.backend == "http" and not settings.backend_url:
        raise SettingsError(
            "backend-url is not set: give --backend-url URL, MUSTER_BACKEND_URL or backendUrl in the configuration file"
        )
    if settings.backend_token_file:
        try:
            read_token(settings.backend_token_file)
        except (OSError, ValueError) as error:
            raise SettingsError(
                f"backend-token-file ({loaded.origins.get('backend-token-file', 'default')}): "
                f"{settings.backend_token_file}: {_reason(error)}: mount the Secret there, or name the file with the token"
            ) from error


def read_token(path: str) -> str:
    """The bearer token in that file, as it is now. OSError or ValueError where there is none (it is not in the message)."""
    with Path(path).open("rb") as file:
        raw = file.read(_TOKEN_BYTES_MAX + 1).strip()
    if not re.fullmatch(rb"[\x21-\x7e]{1,%d}" % _TOKEN_BYTES_MAX, raw):
        raise ValueError("expected one line of ASCII without spaces in it")
    return raw.decode("ascii")


# --- one place each ---------------------------------------------------------------------------------------------------
def _choose(
    each: Setting, flags: Mapping[str, str], environ: Mapping[str, str], in_file: Mapping[str, tuple[str, object]]
) -> tuple[str, object]:
    if each.name in flags:
        return f"flag {each.flag}", flags[each.name]
    if environ.get(each.env):  # an empty variable is one that was not set: manifests cannot leave one out
        return each.env, environ[each.env]
    if each.key in in_file:
        return in_file[each.key]
    return "default", each.default


def _read_file(path: str) -> tuple[dict[str, tuple[str, object]], list[str]]:
    """The file's entries by key, each with its place, and what is wrong with its keys."""
    import yaml  # only a configuration file needs it

    try:
        with Path(path).open("rb") as file:
            raw = file.read(_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise SettingsError(
            f"the configuration file {path} cannot be read ({_reason(error)}): name another with --config or "
            f"{CONFIG_ENV}"
        ) from error
    if len(raw) > _FILE_BYTES_MAX:
        raise SettingsError(
            f"the configuration file {path} is larger than {_FILE_BYTES_MAX} bytes: is it the right file?"
        )
    try:
        loader = yaml.SafeLoader(raw)
        node = loader.get_single_node()
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a reader's own complaint about characters
        raise SettingsError(f"the configuration file {path} is not YAML: {_yaml_problem(error)}") from error
    if node is None or (isinstance(node, yaml.ScalarNode) and not node.value):
        return {}, []
    if not isinstance(node, yaml.MappingNode):
        raise SettingsError(
            f"{path}:{node.start_mark.line + 1}: expected settings such as 'quota: 10/1s', one to a line"
        )
    entries: dict[str, tuple[str, object]] = {}
    problems = []
    keys = {each.key: each for each in TABLE}
    for key_node, value_node in node.value:
        place = f"{path}:{key_node.start_mark.line + 1}"
        key = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else "(no word)"
        if key not in keys:
            problems.append(f"{place}: {key!r} is no setting{_nearest(key, list(keys))}")
        elif key in entries:
            problems.append(f"{place}: {key} is given twice, first at {entries[key][0]}: remove one")
        elif not isinstance(value_node, yaml.ScalarNode):
            problems.append(
                f"{keys[key].name} ({place}): found a list or a mapping, expected {keys[key].form.expected}"
            )
        else:
            try:
                value = loader.construct_object(value_node)
            except (yaml.YAMLError, ValueError):  # such as an impossible date
                value = value_node.value
            entries[key] = (place, value)
    return entries, problems


def _read_fleet(path: str, problems: list[str]) -> tuple[FleetDefinition, dict[str, tuple[str, object]]]:
    """The fleet of that file or name ("": the built-in one), and the settings that it wants, by key."""
    if not path:
        return MUSTER_FLEET, {}
    from .fleet_python import fleet_of  # the built-in fleet needs none of it

    try:
        source = fleet_of(path)
    except SettingsError as error:
        problems += str(error).splitlines()
        return MUSTER_FLEET, {}
    return source.fleet, {key: (source.origin(key), text) for key, text in source.fleet.settings.items()}


def _yaml_problem(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
    return where + (getattr(error, "problem", None) or str(error).replace("\n", " "))


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _nearest(word: str, words: list[str], prefix: str = "") -> str:
    """A question that names the likeliest word meant, whatever its dashes and capitals; "" where none is near."""

    def bare(text: str) -> str:
        return re.sub(r"[^a-z0-9]", "", text.lower())

    by_bare = {bare(each): each for each in words}
    near = difflib.get_close_matches(bare(word), list(by_bare), n=1, cutoff=0.6)
    return f": did you mean {prefix}{by_bare[near[0]]}?" if near else ": see muster config for all of them"


def _fleet_doubts(fleet: FleetDefinition, settings: Settings) -> Iterator[str]:
    for child in fleet.children:
        health = child.health
        if not (health.condition or health.since or isinstance(health.healthy, ConditionIs)):
            yield (
                f"nothing says when a {child.ref.kind}'s health last turned (health.turned in the fleet's file): all its "
                "incidents have one name, and a backend that remembers keys may take the next for the last"
            )
    if settings.heartbeat_timeout_s is not None and not any(child.beats for child in fleet.children):
        yield "heartbeat-timeout is set, and no child kind has heartbeats: it holds only for who has never reported"


def _with_origins(names: tuple[str, ...], text: str, origins: Mapping[str, str]) -> str:
    return " and ".join(f"{name} ({origins[name]})" for name in names) + f": {text}"


def _unknown_variables(environ: Mapping[str, str]) -> Iterator[str]:
    known = [each.env for each in TABLE]
    for name in sorted(environ):
        if not name.startswith("MUSTER_") or name in known:
            continue
        if not _OURS_BUT_NO_SETTING.fullmatch(name) and not _SERVICE_LINK.fullmatch(name):
            yield f"the variable {name} is no setting and changes nothing{_nearest(name, known)}"


def _doubts(settings: Settings) -> Iterator[str]:
    if settings.cold_start_in_force_s < settings.cold_start_full_s:
        yield (
            f"cold-start {format_duration(settings.cold_start_in_force_s)} is shorter than quota window + "
            f"backend-timeout + backend-lateness = {format_duration(settings.cold_start_full_s)}: after a crash the "
            "quota may be exceeded"
        )
    if settings.backend_timeout_s >= settings.grace_s:
        yield (
            f"backend-timeout {format_duration(settings.backend_timeout_s)} is not shorter than grace "
            f"{format_duration(settings.grace_s)}: a drain may leave calls without their answers (their nodes are "
            "sent again)"
        )
    if not settings.repair_enabled and settings.backend != "none":
        yield "repair-enabled is false: nodes are counted, and repaired only where a Cluster's spec says so"
