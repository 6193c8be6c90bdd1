"""What watches of one kind read: a log of blocks of events, each block the bytes of many chunks.

A watch holds a place in the log and sends whole blocks. Blocks that every open watch has sent are forgotten, but for the last
few, so that a watch that ends as agreed can go on where it was; one that asks for older ones gets a 410, as from any server.
"""

from __future__ import annotations

import re
import threading
from collections import deque

from attrs import frozen

KEPT_BLOCKS = 64
_VERSION = re.compile(rb'"resourceVersion":"(\d+)"')


@frozen
class Block:
    """Chunks of events with growing versions, from ``first`` to ``last``."""

    first: int
    last: int
    data: bytes


class Log:
    """One kind's events. Its lock orders versions: whoever makes events of the kind holds it until they are appended."""

    def __init__(self, version: int) -> None:
        self.lock = threading.RLock()
        self.more = threading.Condition(self.lock)
        self.version = version
        """The newest version that a list of this kind shows, and up to which the log is complete."""
        self._blocks: deque[Block] = deque()
        self._base = 0
        self._forgotten = version
        self._places: dict[int, int] = {}

    def append(self, *blocks: Block) -> None:
        """More events."""
        with self.more:
            self._blocks.extend(blocks)
            self.version = blocks[-1].last
            self._forget()
            self.more.notify_all()

    def open(self, watch: int, version: int) -> bytes | None:
        """A watch begins after ``version``: what is left of the block that holds it; None when that is forgotten (410)."""
        with self.lock:
            if version < self._forgotten:
                return None
            place, rest = self._base, b""
            for block in self._blocks:
                if block.last > version:
                    if block.first <= version:
                        rest, place = _after(block.data, version), place + 1
                    break
                place += 1
            self._places[watch] = place
            return rest

    def take(self, watch: int, timeout_s: float) -> list[Block]:
        """The blocks that this watch has not sent yet; [] when there is none for so long."""
        with self.more:
            place = self._places[watch]
            if place == self._base + len(self._blocks) and not self.more.wait_for(
                lambda: self._places[watch] < self._base + len(self._blocks), timeout_s
            ):
                return []
            # A few at a time, so that an end that is due is not put off by a long queue.
            return [self._blocks[at - self._base] for at in self._coming(place)]

    def sent(self, watch: int, blocks: int) -> None:
        """They are in the socket."""
        with self.more:
            self._places[watch] += blocks
            self.more.notify_all()

    def close(self, watch: int) -> None:
        """The watch is over."""
        with self.more:
            self._places.pop(watch, None)
            self.more.notify_all()

    def drained(self, timeout_s: float) -> bool:
        """Wait until every open watch has sent all."""
        with self.more:
            return self.more.wait_for(
                lambda: all(place == self._base + len(self._blocks) for place in self._places.values()), timeout_s
            )

    @property
    def watches(self) -> int:
        return len(self._places)

    def _coming(self, place: int) -> range:
        return range(place, min(place + 8, self._base + len(self._blocks)))

    def _forget(self) -> None:
        kept_from = self._base + len(self._blocks) - KEPT_BLOCKS
        unsent = min(self._places.values(), default=self._base)
        while self._base < min(kept_from, unsent):
            self._forgotten = self._blocks.popleft().last
            self._base += 1


def _after(data: bytes, version: int) -> bytes:
    """The chunks of a block whose versions are greater."""
    for found in _VERSION.finditer(data):
        if int(found[1]) > version:
            event = data.rfind(
                b'{"type":', 0, found.start()
            )  # before it: the chunk's size, and the end of the one before
            return data[data.rfind(b"\n", 0, event - 2) + 1 :]
    return b""
