"""Keys that stand for parents between the decoder and the intake: for one that only an owner between knows, and for several.

Each is a ``ParentKey`` like any other, so that it can be held, hashed and written down; its name begins with a character that
no name on an API server has.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from .model import ParentKey

__all__ = ["all_of", "between", "listed", "through"]

_MARK = "\0"
_LIST = "\0\0"
_decode = msgspec.json.Decoder(tuple[ParentKey, ...]).decode


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


def all_of(keys: Iterable[ParentKey]) -> ParentKey:
    """Stands for all of them, in their order; among them may be one that stands for an owner's."""
    return ParentKey("", _LIST + msgspec.json.encode(tuple(keys)).decode())


def listed(key: ParentKey | None) -> tuple[ParentKey, ...]:
    """The parents that a key stands for; a parent's own key is the only one."""
    if key is None:
        return ()
    return _decode(key.name[len(_LIST) :]) if key.name.startswith(_LIST) else (key,)
