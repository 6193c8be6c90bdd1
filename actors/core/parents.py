"""Parents as they are kept while nobody looks: in few objects, of which a write makes only one anew, and that a large one.

Ten thousand actors that wake together write ten thousand statuses, and each comes back as a new record. Small objects of such
records would lie between those of the actors, and hold the memory around them when the actors have gone to sleep again: the
interpreter gives small objects' memory back by the megabyte. So what stays the same is kept as it first came (``_heads``), and
the version and the status are one text, which as a rule is too large to be a small object.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, MutableMapping
from typing import Any, TypeVar

from .model import Parent

__all__ = ["Parents"]

K = TypeVar("K", bound=Hashable)


class Parents(MutableMapping[K, Parent]):
    """Parents' records, each made when it is asked for. One thread writes, any may read: see ``__getitem__``."""

    __slots__ = ("_heads", "_texts")

    def __init__(self) -> None:
        self._heads: dict[K, Parent] = {}
        self._texts: dict[K, bytes] = {}

    def __getitem__(self, key: K) -> Parent:
        """The record. One that is being written meanwhile has its old version, with which nothing can be written any more."""
        text = self._texts[key]
        head = self._heads[key]
        return _made(head, int(text[: text.index(b" ")]), text)

    def __setitem__(self, key: K, parent: Parent) -> None:
        head = self._heads.get(key)
        if head is None or not _alike(head, parent):
            self._heads[key] = _made(parent, 0, _NO_STATUS)
        self._texts[key] = parent.text

    def __delitem__(self, key: K) -> None:
        del self._texts[key]
        del self._heads[key]

    def __contains__(self, key: object) -> bool:
        return key in self._texts

    def __iter__(self) -> Iterator[K]:
        """Those of this moment: one who goes through them in another thread does not meet what comes and goes meanwhile."""
        return iter(list(self._texts))

    def __len__(self) -> int:
        return len(self._texts)

    def plain(self) -> dict[str, Any]:
        """See ``graph.Plain``."""
        return {"parents": dict(self)}

    def of_plain(self, values: dict[str, Any]) -> None:
        """See ``graph.Plain``."""
        self._heads, self._texts = {}, {}
        self.update(values["parents"])


_NO_STATUS = b"0 {}"


def _alike(head: Parent, parent: Parent) -> bool:
    """Whether they differ in version and status only."""
    return (
        head.uid == parent.uid
        and head.generation == parent.generation
        and (head.spec is parent.spec or head.spec == parent.spec)
        and head.deleting == parent.deleting
        and head.fields == parent.fields
        and head.key == parent.key
        and head.kind == parent.kind
    )


def _made(head: Parent, version: int, text: bytes) -> Parent:
    return Parent(
        kind=head.kind, key=head.key, uid=head.uid, version=version, generation=head.generation, spec=head.spec,
        status=text, deleting=head.deleting, fields=head.fields,
    )  # fmt: skip
