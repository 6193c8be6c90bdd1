"""What has been asked for whom: the memory that turns an eligible child into an item with a stable key.

An *attempt* belongs to one incident of one child. Its round grows only after an answered attempt plus the cooldown, never on
a transport retry, so the key stays the same for every sending of one attempt. The memory is lost with the process, and may
be: the key is derived from the object, so asking again is asking for the same.

``wanted`` only reads, so that reconcile stays pure; the runtime calls ``record`` when it executes the Plan.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping

from .keys import item_key
from .model import Child, Item, ParentKey


class _Attempt:
    __slots__ = ("answered_s", "before", "incident", "key", "round", "since_s")

    def __init__(self, item: Item, before: _Attempt | None) -> None:
        self.incident = item.incident
        self.key = item.key
        self.round: int = 0 if before is None else before.round + 1
        self.since_s = item.since_s
        self.answered_s: float | None = None
        self.before = before  # the answered round before this one, while this one has no answer


class Repairs:
    """The attempts of one parent's children."""

    def __init__(self, operation: str) -> None:
        self._operation = operation
        self._attempts: dict[str, _Attempt] = {}
        self._open: dict[str, str] = {}  # key → uid of attempts without an answer

    @property
    def open_count(self) -> int:
        """Attempts asked and not answered yet."""
        return len(self._open)

    def places(self, eligible: Mapping[str, Child]) -> int:
        """How many of the parent's places for repairs in flight are taken: by those that are asked for and not yet well, and
        by those that are well or gone while their call is still under way.
        """
        asked = sum(1 for child in eligible.values() if self.asked(child))
        return asked + sum(1 for uid in self._open.values() if uid not in eligible or not self.asked(eligible[uid]))

    def holds_place(self, uid: str) -> bool:
        """Whether a call for an earlier incident of that child is under way: one child takes one place."""
        attempt = self._attempts.get(uid)
        return attempt is not None and attempt.key in self._open

    def abandon(self, asked: Container[str]) -> int:
        """Nobody is going to answer for keys that are not in ``asked``. Returns how many they are.

        Whether they were sent is not known: they may be asked again under the same keys, which is never twice.
        """
        keys = [key for key in self._open if key not in asked]
        for key in keys:
            self.withdrawn(key)
        return len(keys)

    def wanted(self, parent: ParentKey, child: Child, now_s: float, cooldown_s: float) -> Item | None:
        """The item wanted for this eligible child now; None while an answered attempt cools down."""
        attempt = self._attempts.get(child.uid)
        round_number, since_s = 0, now_s
        if attempt is not None and attempt.incident == child.incident:
            round_number, since_s = attempt.round, attempt.since_s
            if attempt.answered_s is not None:
                if now_s < attempt.answered_s + cooldown_s:
                    return None
                round_number += 1
        key = item_key(child.uid, child.incident, round_number)
        return Item(
            operation=self._operation, key=key, kind=child.kind, uid=child.uid, incident=child.incident, parent=parent,
            payload={"key": key, "name": child.name, "namespace": child.namespace, "kind": child.kind,
                     "uid": child.uid, "cluster": parent.name},
            since_s=since_s, retry=round_number > 0, attempt=round_number + 1,
        )  # fmt: skip

    def asked(self, child: Child) -> bool:
        """Whether this incident of the child has been asked for, answered or not."""
        attempt = self._attempts.get(child.uid)
        return attempt is not None and attempt.incident == child.incident

    def cooled_at(self, child: Child, cooldown_s: float) -> float | None:
        """When the answered attempt at this incident has cooled down; None when none cools."""
        attempt = self._attempts.get(child.uid)
        if attempt is None or attempt.answered_s is None or attempt.incident != child.incident:
            return None
        return attempt.answered_s + cooldown_s

    def record(self, items: Iterable[Item]) -> None:
        """These are asked now."""
        for item in items:
            attempt = self._attempts.get(item.uid)
            if attempt is not None and attempt.key == item.key:
                continue
            if attempt is not None:
                self._open.pop(attempt.key, None)
                if attempt.incident != item.incident:
                    attempt = None
            self._attempts[item.uid] = _Attempt(item, attempt)
            self._open[item.key] = item.uid

    def answered(self, key: str, at_s: float) -> None:
        """The attempt has its answer and cools down from ``at_s``. Unknown and older keys change nothing."""
        uid = self._open.pop(key, None)
        if uid is not None:
            attempt = self._attempts[uid]
            attempt.answered_s, attempt.before = at_s, None

    def withdrawn(self, key: str) -> bool:
        """The attempt was never sent: forget it, so that the same key can be asked again.

        The rounds before it stand: a key that was executed once is answered without being executed. Whether there is one.
        """
        uid = self._open.pop(key, None)
        before = None if uid is None else self._attempts.pop(uid).before
        if uid is not None and before is not None:
            self._attempts[uid] = before
        return before is not None

    def forget(self, uid: str) -> None:
        """The child is gone."""
        attempt = self._attempts.pop(uid, None)
        if attempt is not None:
            self._open.pop(attempt.key, None)
