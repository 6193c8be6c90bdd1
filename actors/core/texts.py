"""A child as a text of a few bytes: what its row holds beside its key, and what is known of it without making a record.

NAME and VERSION, on a line each, of who is well, says nothing else, is where its parent is, and has a UUID: nearly all. Of
anybody else (guests have no UUID) also MARK, SINCE, HEARTBEAT, NAMESPACE and UID. Further fields that matter are a line before
the UID; quiet ones follow the VERSION, so that a text without its second line is all that matters. ASCII; what is not is
escaped.
"""

from __future__ import annotations

from .model import Child, ParentKey, State
from .rows import is_uuid, uid_of

__all__ = [
    "ELIGIBLE",
    "GUEST",
    "ILL_WORDS",
    "STATES",
    "UNWELL",
    "child_of",
    "home_of",
    "is_ill",
    "mark_of",
    "packed",
    "packed_other",
    "packed_well",
    "same_matter",
    "uid_in",
]

_HEALTHY = (None, True, False)
GUEST = 2 * len(_HEALTHY)
"""Marks from here on are guests'."""
_FEW, _LINES = 2, 7
_INSTANT_MAX = 256
"""An instant has 35 characters at most (RFC 3339, nanoseconds and all). Who writes a book there gets its beginning."""


def packed_well(name: str, version: int) -> bytes:
    """The text of who is well, says nothing else, is in its parent's namespace, and has a UUID."""
    return f"{_escaped(name)}\n{version}".encode("ascii")


def home_of(parent: ParentKey | None) -> str:
    """The namespace that is understood of that parent's children."""
    return "" if parent is None else parent.namespace


def packed(child: Child, key: bytes, home: str) -> bytes:
    """The text of any child; ``home`` is the namespace that is understood. Not kept: what names no incident (``Child``)."""
    namespace, plain_uid = child.namespace, is_uuid(child.uid, key)
    fields, quiet = child.fields, child.quiet
    if child.healthy is True and not (child.silent or fields or quiet) and namespace == home and plain_uid:
        return packed_well(child.name, child.version)
    ill = child.healthy is False
    since, heartbeat = child.since if ill else "", child.heartbeat if child.silent and not ill else ""
    mark = _HEALTHY.index(child.healthy) + len(_HEALTHY) * child.silent + GUEST * child.guest
    uid = "" if plain_uid else child.uid
    text = packed_other(child.name, child.version, mark, since, heartbeat, namespace, uid)
    return _with_kept(text, fields, quiet) if fields or quiet else text


def packed_other(name: str, version: int, mark: int, since: str, heartbeat: str, namespace: str, uid: str) -> bytes:
    """The text of any other child. ``mark``: its health, 3 more if it is silent, 6 of a guest; ``uid`` "": its key tells it."""
    since, heartbeat = since[:_INSTANT_MAX], heartbeat[:_INSTANT_MAX]
    text = f"{name}\n{version}\n{mark}\n{since}\n{heartbeat}\n{namespace}\n{uid}"
    if (
        text.isascii() and "\\" not in text and text.count("\n") == _LINES - 1
    ):  # as good as always: one look instead of five
        return text.encode("ascii")
    words = (name, str(version), str(mark), since, heartbeat, namespace, uid)
    return "\n".join(map(_escaped, words)).encode("ascii")


def _with_kept(text: bytes, fields: str, quiet: str) -> bytes:
    """The text of a child of which further fields are kept."""
    name, version, rest = text.split(b"\n", 2)
    head, uid = rest.rsplit(b"\n", 1)
    kept = _escaped(fields).encode("ascii")
    return b"\n".join((name, b"%b %b" % (version, _escaped(quiet).encode("ascii")), head, kept, uid))


def child_of(kind: str, parent: ParentKey | None, key: bytes, text: bytes) -> Child:
    """The child of that text."""
    words = text.decode("ascii").split("\n")
    if b"\\" in text:
        words = [_unescaped(word) for word in words]
    if len(words) == _FEW:
        return Child(kind, home_of(parent), words[0], uid_of(key), int(words[1]), parent, True)
    name, version, how, since, heartbeat, namespace, *kept, uid = words
    mark, fields, quiet = int(how), "", ""
    if kept:
        version, _, quiet = version.partition(" ")
        fields = kept[0]
    return Child(
        kind, namespace, name, uid or uid_of(key), int(version), parent, _MARKS[mark].healthy, since, heartbeat,
        _MARKS[mark].silent, fields, quiet, mark >= GUEST,
    )  # fmt: skip


def mark_of(text: bytes) -> int:
    """The part of a text that says how the child is; see ``STATES`` and what follows it."""
    at = text.find(b"\n", text.find(b"\n") + 1) + 1
    if not at:
        return _WELL
    mark, more = text[at] - _ZERO, text[at + 1]  # two digits at most: no list of parts is made for them
    return mark if more == _NEWLINE else 10 * mark + more - _ZERO


def is_ill(text: bytes) -> bool:
    """Whether a repair may be wanted."""
    return ELIGIBLE[mark_of(text)]


def same_matter(text: bytes, other: bytes) -> bool:
    """Whether nothing differs but the version: nothing that a parent is woken for."""
    name, _, rest = text.partition(b"\n")
    other_name, _, other_rest = other.partition(b"\n")
    return name == other_name and rest.partition(b"\n")[2] == other_rest.partition(b"\n")[2]


_WELL = _HEALTHY.index(True)
_ZERO, _NEWLINE = b"0\n"
_MARKS = [
    Child("", "", "", "", 0, None, healthy, "", "", silent, "", "", guest)
    for guest in (False, True) for silent in (False, True) for healthy in _HEALTHY
]  # fmt: skip
STATES: list[State] = [child.state for child in _MARKS]
"""By mark: what such a child counts as."""
UNWELL = [child.unwell for child in _MARKS]
"""By mark: whether it is in trouble, whoever repairs it."""
ELIGIBLE = [child.eligible for child in _MARKS]
"""By mark: whether a repair may be wanted."""
ILL_WORDS = tuple(b"\n%d\n" % mark for mark, eligible in enumerate(ELIGIBLE) if eligible)
"""One of these is in the text of everybody of whom a repair may be wanted (and in some others')."""


def uid_in(key: bytes, text: bytes) -> str:
    """The uid of a row, without the rest."""
    return (
        _unescaped(text.rpartition(b"\n")[2].decode("ascii")) or uid_of(key) if text.count(b"\n") > 1 else uid_of(key)
    )


def _escaped(text: str) -> str:
    """ASCII, on one line. What an API server has is so already, but for a heartbeat that somebody invented."""
    if text.isascii() and text.isprintable() and "\\" not in text:
        return text
    return text.encode("unicode_escape").decode("ascii")


def _unescaped(text: str) -> str:
    return text.encode("ascii").decode("unicode_escape") if "\\" in text else text
