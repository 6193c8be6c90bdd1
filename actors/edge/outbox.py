"""What a reader's process has for the operator while the pipe is full: the newest of each object, never a queue of events.

The watch socket is always read (an API server drops slow watchers), so what comes faster than the operator takes it waits
here, one entry per object; a replacement forgets what came before it. Objects that come and go have no bound of their own:
once more wait than twice what there is, all of it is forgotten and a new list asked for, as soon as the pipe takes something
again.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from attrs import frozen

from ..core.events import Fact
from ..core.ports import Objects, StreamChanged
from ..core.records import Entries

__all__ = ["Mail", "Outbox", "Taken"]

FACTS_MAX = 1_000
"""Facts that wait; then the oldest goes. They are for people, and a thousand tell them enough."""
GONE_MAX = 10_000
"""Entries that may wait beyond twice the number of objects held. Arbitrary: a megabyte."""

Mail = Objects | StreamChanged


@frozen
class Taken:
    """All that waited: ``mail`` in order, at most a change of the stream before the objects and one after them."""

    facts: tuple[Fact, ...] = ()
    mail: tuple[Mail, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.facts or self.mail)


class Outbox:
    """Between whoever delivers (any thread; never blocked) and the one thread that writes.

    ``held``: how many objects the reader holds now. ``relist``: has it list again. Both cheap.
    """

    def __init__(
        self,
        *,
        held: Callable[[], int] = lambda: 0,
        relist: Callable[[], None] = lambda: None,
        gone_max: int = GONE_MAX,
    ) -> None:
        self._held, self._relist, self._gone_max = held, relist, gone_max
        self._ready = threading.Condition(threading.Lock())
        self._facts: deque[Fact] = deque(maxlen=FACTS_MAX)
        self._epoch = 0
        self._before: StreamChanged | None = None
        self._entries: Entries | None = None
        self._mine = False  # the first mail's entries are its sender's; copied before the first change
        self._kind = ""
        self._replace = False
        self._after: StreamChanged | None = None
        self._stale = False  # what waited was forgotten: only a replacement is of use now
        self._asked = False

    # --- who delivers -------------------------------------------------------------------------------------------------
    def tell(self, fact: Fact) -> None:
        """A fact, for the operator's log."""
        with self._ready:
            self._facts.append(fact)
            self._ready.notify()

    def put(self, mail: Mail) -> None:
        """Mail; of an older epoch than the newest seen it is nothing."""
        with self._ready:
            if mail.epoch < self._epoch:
                return
            if mail.epoch > self._epoch:
                self._epoch = mail.epoch
                self._before = self._entries = self._after = None
            if isinstance(mail, Objects):
                self._add(mail)
            elif self._entries is None:
                self._before = mail
            else:
                self._after = mail
            self._ready.notify()

    def _add(self, mail: Objects) -> None:
        if mail.replace:
            self._before, self._after = self._after or self._before, None
            self._kind, self._entries, self._replace, self._mine = mail.kind, mail.entries, True, False
            self._stale = self._asked = False
            return
        if self._stale:
            return
        if self._entries is None:
            self._kind, self._entries, self._replace, self._mine = mail.kind, mail.entries, False, False
            return
        if not self._mine:
            self._entries, self._mine = self._entries.copy(), True
        self._entries.update(mail.entries)
        waiting = len(self._entries)
        if waiting > self._gone_max and waiting > 2 * self._held() + self._gone_max:
            self._before, self._after = self._after or self._before, None
            self._entries = None
            self._stale = True

    # --- the writer ---------------------------------------------------------------------------------------------------
    def take(self, timeout_s: float) -> Taken:
        """All that waits, as soon as there is anything; empty after ``timeout_s``."""
        with self._ready:
            if not self._something():
                self._ready.wait(timeout_s)
            facts, self._facts = tuple(self._facts), deque(maxlen=FACTS_MAX)
            mail: list[Mail] = [] if self._before is None else [self._before]
            if self._entries is not None:
                mail.append(Objects(kind=self._kind, entries=self._entries, replace=self._replace, epoch=self._epoch))
            if self._after is not None:
                mail.append(self._after)
            self._before = self._entries = self._after = None
            ask, self._asked = self._stale and not self._asked, self._stale
        if ask:
            self._relist()
        return Taken(facts, tuple(mail))

    def superseded(self, epoch: int) -> bool:
        """Whether the rest of what was taken of that epoch need not be sent: a replacement waits, or another epoch began."""
        with self._ready:
            return epoch < self._epoch or (self._entries is not None and self._replace)

    def _something(self) -> bool:
        return bool(self._facts or self._before or self._after) or self._entries is not None
