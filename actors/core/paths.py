"""Paths of fields as people write them: ``status.phase``, ``metadata.labels['topology.kubernetes.io/zone']``.

A name that is not a plain word (letters, digits, ``_``, ``-``) stands in brackets and quotes. There are no positions in lists:
an element of a list has no name that would stay the same. Which of its elements counts, a CEL expression can say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["EXPECTED", "Path", "format_path", "parse_path"]

Path = tuple[str, ...]
EXPECTED = "a path of fields such as status.phase or metadata.labels['example.com/pool']"
_WORD = re.compile(r"[A-Za-z0-9_-]+")
_PART = re.compile(rf"(?:^|(?!^)\.)({_WORD.pattern})|\[(?:'([^'\[\]\x00-\x1f]+)'|\"([^\"\[\]\x00-\x1f]+)\")\]")
_LENGTH_MAX = 1024


def parse_path(text: str) -> Path:
    """The names, from the outside in. ``ValueError`` for anything else."""
    parts: list[str] = []
    at = 0
    while at < len(text) <= _LENGTH_MAX:
        match = _PART.match(text, at)
        if match is None or match.end() == at:
            break
        parts.append(match[1] or match[2] or match[3])
        at = match.end()
    if not parts or at != len(text):
        raise ValueError(f"found {text[:60]!r}, expected {EXPECTED}")
    return tuple(parts)


def format_path(parts: Iterable[str]) -> str:
    """The path in the shortest form that ``parse_path`` reads back."""
    text = ""
    for part in parts:
        if _WORD.fullmatch(part):
            text += f".{part}" if text else part
        else:
            quote = '"' if "'" in part else "'"
            text += f"[{quote}{part}{quote}]"
    return text
