"""What one setting is, and the words in which its value may be written.

A ``Setting`` is data: the flag, the environment variable, the key of the configuration file, the help text and the page
of documentation are all made from it, so that none of them can say something else. A ``Form`` reads what people write
(strings from flags and variables, YAML scalars from the file) and shows a value in the same words; what it refuses, it
refuses with what was found and what is expected, and the loader adds whose and where.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import attrs
from attrs import frozen

from ..core.errors import SettingsError
from ..core.quantity import format_duration, parse_duration, parse_quota, parse_share

METADATA = "muster.setting"


@frozen(kw_only=True)
class Form:
    """How a value is written. ``metavar`` is its place in the help, ``expected`` its range in words."""

    metavar: str
    expected: str
    parse: Callable[[object], Any]
    show: Callable[[Any], str] = str
    bare: str | None = None  # what the flag means when it is given without a value


@frozen(kw_only=True)
class Setting:
    """One setting. ``name`` is kebab case; ``default`` is as people write it ("" where there is none).

    ``spec`` names the field of the parent's spec that beats this setting, "" where there is none.
    """

    name: str
    attribute: str
    group: str
    form: Form
    default: str
    effect: str
    reason: str
    spec: str = ""

    @property
    def flag(self) -> str:
        """``--batch-max``."""
        return f"--{self.name}"

    @property
    def env(self) -> str:
        """``MUSTER_BATCH_MAX``."""
        return "MUSTER_" + self.name.upper().replace("-", "_")

    @property
    def key(self) -> str:
        """``batchMax``: the configuration file writes names as Kubernetes resources do."""
        head, *rest = self.name.split("-")
        return head + "".join(word.capitalize() for word in rest)

    def read(self, found: object) -> Any:
        """The value; SettingsError with what was found and what is expected."""
        return self.form.parse(found)

    def show(self, value: Any) -> str:
        """The value as people write it."""
        return self.form.show(value)


def setting(group: str, form: Form, default: str, *, effect: str, reason: str, spec: str = "") -> Any:
    """An attrs field that carries its own ``Setting``, but for the names, which follow from the attribute."""
    parts = {"group": group, "form": form, "default": default, "effect": effect, "reason": reason, "spec": spec}
    return attrs.field(default=form.parse(default), metadata={METADATA: parts})


def settings_of(cls: type) -> tuple[Setting, ...]:
    """The table of a class whose fields were made by ``setting``, in order. No name has the ``_s`` for seconds."""
    return tuple(
        Setting(name=each.name.removesuffix("_s").replace("_", "-"), attribute=each.name, **each.metadata[METADATA])
        for each in attrs.fields(cls)
    )


def refused(found: object, form: Form, *, masked: bool = False) -> SettingsError:
    """The one sentence for a value that cannot be used."""
    return SettingsError(f"found {'(hidden)' if masked else repr(found)}, expected {form.expected}")


# --- forms ------------------------------------------------------------------------------------------------------------
def text(metavar: str, expected: str, pattern: str = r"[^\x00-\x1f\x7f]{0,4096}") -> Form:
    """A string that matches ``pattern`` (no control characters)."""
    compiled = re.compile(pattern)

    def parse(found: object) -> str:
        if isinstance(found, str) and compiled.fullmatch(found):
            return found
        raise refused(found, form)

    form = Form(metavar=metavar, expected=expected, parse=parse)
    return form


def whole(low: int, high: int, *, off: bool = False) -> Form:
    """A whole number from ``low`` to ``high``; None for ``off`` where that is allowed."""
    expected = f"a whole number from {low} to {high}" + (", or off" if off else "")

    def parse(found: object) -> int | None:
        if off and _is_off(found):
            return None
        value = int(found) if isinstance(found, str) and re.fullmatch(r"[0-9]{1,12}", found) else found
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        raise refused(found, form)

    form = Form(
        metavar="NUMBER", expected=expected, parse=parse, show=lambda value: "off" if value is None else str(value)
    )
    return form


def duration(low: str, high: str, *, none: str = "") -> Form:
    """Seconds, from ``low`` to ``high``; None for the word ``none`` ("off" or "auto") where there is one."""
    low_s, high_s = parse_duration(low), parse_duration(high)
    expected = f"a duration from {low} to {high}" + (f", or {none}" if none else "") + " (such as 100ms, 2s, 5m, 1h30m)"

    def parse(found: object) -> float | None:
        if none and (found == none or (none == "off" and _is_off(found))):
            return None
        try:
            seconds = parse_duration(found)
        except SettingsError:
            raise refused(found, form) from None
        if low_s <= seconds <= high_s:
            return seconds
        raise refused(found, form)

    form = Form(
        metavar="DURATION",
        expected=expected,
        parse=parse,
        show=lambda value: none if value is None else format_duration(value),
    )
    return form


def yes_no() -> Form:
    """A boolean; the flag alone means true."""

    def parse(found: object) -> bool:
        if isinstance(found, bool):
            return found
        if found in ("true", "false"):
            return found == "true"
        raise refused(found, form)

    form = Form(
        metavar="true|false", expected="true or false", parse=parse, show=lambda value: str(value).lower(), bare="true"
    )
    return form


def choice(*words: str) -> Form:
    """One of the words."""

    def parse(found: object) -> str:
        if isinstance(found, str) and found in words:
            return found
        raise refused(found, form)

    form = Form(metavar="|".join(words), expected="one of " + ", ".join(words), parse=parse)
    return form


def choice_or_name(*words: str) -> Form:
    """One of the words, or something of one's own that can be imported: ``module:name``."""

    def parse(found: object) -> str:
        if isinstance(found, str) and (found in words or re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", found)):
            return found
        raise refused(found, form)

    expected = f"one of {', '.join(words)}, or MODULE:NAME such as my_backend:make"
    form = Form(metavar="|".join((*words, "MODULE:NAME")), expected=expected, parse=parse)
    return form


def share() -> Form:
    """A percentage or a count."""

    def parse(found: object) -> Any:
        try:
            value = parse_share(found)
        except SettingsError:
            raise refused(found, form) from None
        if value.absolute is not None and value.absolute > 1_000_000:
            raise refused(found, form)
        return value

    form = Form(metavar="SHARE", expected="a percentage from 0% to 100% or a count from 0 to 1000000", parse=parse)
    return form


def quota(calls_max: int, window_low: str, window_high: str) -> Form:
    """Calls in any window of a length."""
    low_s, high_s = parse_duration(window_low), parse_duration(window_high)

    def parse(found: object) -> Any:
        try:
            value = parse_quota(found)
        except SettingsError:
            raise refused(found, form) from None
        if value.calls <= calls_max and low_s <= value.window_s <= high_s:
            return value
        raise refused(found, form)

    expected = (
        f"CALLS/DURATION such as 10/1s or 100/1m (1 to {calls_max} calls, a window from {window_low} to {window_high})"
    )
    form = Form(metavar="CALLS/DURATION", expected=expected, parse=parse)
    return form


def http_url() -> Form:
    """An absolute http or https URL without credentials, query or fragment; "" for none. No trailing slash is kept."""

    def parse(found: object) -> str:
        if found == "":
            return ""
        if not isinstance(found, str) or re.search(r"[\s\x00-\x1f\x7f\\]", found):
            raise refused(found, form)
        try:
            parts = urlsplit(found)
            port = parts.port
        except ValueError:
            raise refused(found, form, masked="@" in found) from None
        if parts.username is not None or parts.password is not None:
            raise SettingsError(
                "found a URL with credentials in it (hidden), expected none there, because URLs are logged: "
                "put the token into a file and name it with --backend-token-file"
            )
        wrong = (
            parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or port == 0
        )
        if wrong:
            raise refused(found, form)
        return found.rstrip("/")

    form = Form(
        metavar="URL", expected="a URL such as http://repairs.example:8080 (http or https, no query)", parse=parse
    )
    return form


def address() -> Form:
    """Where to listen: ``HOST:PORT``, ``:PORT`` for every interface, ``[::]:PORT``; "" or off for nowhere."""

    def parse(found: object) -> str:
        if found == "" or _is_off(found):
            return ""
        if isinstance(found, str) and (match := re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^:\s\[\]]*):([0-9]{1,5})", found)):
            host, port = match[1] or "0.0.0.0", int(match[2])  # noqa: S104 - a pod's probes come from outside it
            if port <= 65535:
                return f"{host}:{port}"
        raise refused(found, form)

    form = Form(
        metavar="HOST:PORT",
        expected="HOST:PORT such as 0.0.0.0:8080 or [::]:8080 (port 0: any free one), or off",
        parse=parse,
        show=lambda value: value or "off",
    )
    return form


def socket_path() -> Form:
    """Where a Unix socket is: a path from the root, auto, or "" or off for nowhere."""

    def parse(found: object) -> str:
        if found == "" or _is_off(found):
            return ""
        if isinstance(found, str) and re.fullmatch(r"auto|/[^\x00-\x1f\x7f]{1,99}", found):
            return found
        raise refused(found, form)

    form = Form(
        metavar="PATH",
        expected="a path such as /run/muster/shell.sock (from the root, at most 100 characters), auto, or off",
        parse=parse,
        show=lambda value: value or "off",
    )
    return form


def _is_off(found: object) -> bool:
    return found == "off" or found is False  # YAML 1.1 reads the word off as false
