"""A parent that is not known yet, because an owner stands between: the key that stands for it until somebody asks the owner.

It is a ``ParentKey`` like any other, so that it can be held, hashed and written down; its name begins with a character that no
name on an API server has.
"""

from __future__ import annotations

from .model import ParentKey

__all__ = ["between", "through"]

_MARK = "\0"


def through(namespace: str, owner: str, otherwise: ParentKey | None) -> ParentKey:
    """Stands for the owner of ``owner``; ``otherwise`` where that has none."""
    rest = "" if otherwise is None else f"{otherwise.namespace}{_MARK}{otherwise.name}"
    return ParentKey(namespace, f"{_MARK}{owner}{_MARK}{rest}")


def between(key: ParentKey | None) -> tuple[tuple[str, str], ParentKey | None] | None:
    """Namespace and name of the owner that a key stands for, and the parent to fall back on; None for a parent's own key."""
    if key is None or not key.name.startswith(_MARK):
        return None
    _, name, *rest = key.name.split(_MARK)
    return (key.namespace, name), ParentKey(rest[0], rest[1]) if len(rest) > 1 else None
