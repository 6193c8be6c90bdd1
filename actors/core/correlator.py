"""Which Kubernetes Events leave, and under which name: client-go's correlator, with its figures.

The same words about the same object are one Event whose series counts them, whoever says so and when: the name is made from
them, so that a restarted process goes on in the Event that its predecessor made. Ever new words for one reason are thinned, and
each object has a bucket of tokens that no loop of ours can overspend.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict

from attrs import define

from .model import EventNote, ParentKey

BURST = 25
"""Requests about one object at once, as client-go allows."""
REFILL_S = 300.0
"""One more request about an object in so long, as client-go allows."""
PAUSE_S = 10.0
"""Between Events of one reason on one object with new words; the rest is dropped. Arbitrary."""
NOTE_BYTES_MAX = 1024  # events.k8s.io/v1 refuses more
_PARENTS_MAX = 4096  # as client-go keeps; the one that has been silent longest is forgotten
_SERIES_MAX = 64  # of one object, as above
_NAME_MAX = 253


@define
class Series:
    """One Event: its name, how often its words were said, and whether this process knows that it is on the server."""

    name: str
    note: str
    count: int = 1
    known: bool = False


@define
class _About:
    """What is kept of one object."""

    tokens: float
    at_s: float
    series: OrderedDict[tuple[str, str, str, str], Series]
    created_s: dict[str, float]  # reason → when new words were last let through


class Correlator:
    """Not for several threads. ``now``: seconds on our clock."""

    def __init__(self) -> None:
        self._about: OrderedDict[str, _About] = OrderedDict()
        self.dropped_count = 0

    def take(self, parent: ParentKey, uid: str, note: EventNote, now: float) -> Series | None:
        """The Event to create (count 1) or to patch; None: nothing is to be sent. A repetition is counted all the same."""
        about = self._of(uid, now)
        text = note.note.encode()[:NOTE_BYTES_MAX].decode("utf-8", "ignore")
        words = (note.type, note.reason, note.action, text)
        series = about.series.get(words)
        if series is not None:
            about.series.move_to_end(words)
            series.count += 1
        elif now - about.created_s.get(note.reason, -PAUSE_S) < PAUSE_S:
            self.dropped_count += 1
            return None
        if about.tokens < 1.0:
            self.dropped_count += 1
            return None
        about.tokens -= 1.0
        if series is None:
            series = about.series[words] = Series(_name(parent, uid, words), text)
            about.created_s[note.reason] = now
            if len(about.series) > _SERIES_MAX:
                about.series.popitem(last=False)
        return series

    def _of(self, uid: str, now: float) -> _About:
        about = self._about.get(uid)
        if about is None:
            about = self._about[uid] = _About(float(BURST), now, OrderedDict(), {})
            if len(self._about) > _PARENTS_MAX:
                self._about.popitem(last=False)
        self._about.move_to_end(uid)
        about.tokens = min(float(BURST), about.tokens + (now - about.at_s) / REFILL_S)
        about.at_s = now
        return about


def _name(parent: ParentKey, uid: str, words: tuple[str, str, str, str]) -> str:
    """As client-go's: the object's name, a dot, hexadecimal digits; but these come from what is said, not from the clock."""
    digest = hashlib.blake2b("\0".join((uid, *words)).encode(), digest_size=8).hexdigest()
    return f"{parent.name[: _NAME_MAX - 17].rstrip('-.')}.{digest}"
