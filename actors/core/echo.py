"""Whether a new version of the parent is news, or the echo of what we have written ourselves."""

from __future__ import annotations

from collections.abc import Iterable

from .difference import same
from .model import Parent, Wish

__all__ = ["is_news", "stands"]


def stands(wish: Wish, parent: Parent) -> bool:
    """Whether that parent has the status that is wished for."""
    return parent.holds(wish) or same(wish.status, parent.status)


def is_news(old: Parent, new: Parent, *, awaited: bool, wished: Iterable[Wish], pending: bool) -> bool:
    """Whether there is anything to look at in ``new``, which is no older than ``old``.

    ``awaited``: a conflict spoke of a newer object, and this is it. ``wished``: what we have asked for and have no answer
    for, of which this may be the echo. ``pending``: whether there is such a one.
    """
    if old.generation != new.generation or old.deleting != new.deleting:
        return True
    differs = (old.spec is not new.spec and old.spec != new.spec) or old.fields != new.fields
    if new.version == old.version or differs:
        return differs
    if awaited:
        return True
    if any(stands(wish, new) for wish in wished):
        return False  # the echo of a wish came before its answer
    return pending or not same(old.status, new.status)
