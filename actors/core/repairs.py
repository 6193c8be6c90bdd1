"""What has been asked for whom: the memory that turns an eligible child into an item with a stable key.

An *attempt* belongs to one incident of one child. Its round grows only after an answered attempt plus the cooldown, never on
a transport retry, so the key stays the same for every sending of one attempt. The memory is lost with the process, and may
be: the key is derived from the object, so asking again is asking for the same. How many attempts there may be is ``budget``'s.

``wanted`` only reads, so that reconcile stays pure; the runtime calls ``record`` when it executes the Plan.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping

from .budget import Budget
from .keys import item_key
from .model import Child, Item, ParentKey


class _Attempt:
    __slots__ = ("answered_s", "before", "incident", "key", "number", "rested_s", "round", "since_s", "well_s")

    def __init__(self, item: Item, before: _Attempt | None) -> None:
        self.incident = item.incident
        self.key = item.key
        self.number = item.attempt  # within the child's budget, from 1
        if before is None:
            self.round: int = item.attempt - 1  # beyond 0 where an earlier process has made those before
        else:
            self.round = before.round + 1 if before.incident == item.incident else 0
        self.since_s = item.since_s
        self.answered_s: float | None = None
        self.before = before  # the attempt before this one, while this one has no answer
        self.well_s: float | None = None  # since when the child is seen to be well
        self.rested_s = 0.0  # how long it was, before its present trouble

    def rest_s(self, now_s: float) -> float:
        """How long the child was well after this attempt, before the trouble that it is in now."""
        return self.rested_s if self.well_s is None else now_s - self.well_s


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

    def settle(self, eligible: Mapping[str, Child], now_s: float) -> None:
        """Note who is well, and who is not any more: a budget ends by a time of health. Once before each look."""
        for uid, attempt in self._attempts.items():
            well_s = attempt.well_s
            if (uid in eligible) is (well_s is None):
                continue  # as before
            if well_s is None:
                attempt.well_s = now_s
            else:
                attempt.rested_s, attempt.well_s = now_s - well_s, None

    def exhausted(self, eligible: Mapping[str, Child], now_s: float, budget: Budget) -> dict[str, int]:
        """The uids of those that stay unwell although all attempts have been made and cooled down, with how many there were."""
        found: dict[str, int] = {}
        if budget.attempts_max is None:
            return found
        for uid, attempt in self._attempts.items():
            if attempt.number < budget.attempts_max or (child := eligible.get(uid)) is None:
                continue
            following = self._next(child, now_s, budget)
            if following is not None and following[1] > attempt.number and budget.is_spent(attempt.number):
                found[uid] = attempt.number
        for uid, child in eligible.items() if budget.spent else ():
            if uid not in self._attempts:
                number = budget.spent.get(item_key(uid, child.incident, 0), 0)
                if budget.is_spent(number):
                    found[uid] = number
        return found

    def places(self, eligible: Mapping[str, Child], exhausted: Container[str] = ()) -> int:
        """How many of the parent's places for repairs in flight are taken: by those that are asked for and not yet well nor
        ``exhausted``, and by those that are well or gone while their call is still under way.
        """
        asked = sum(1 for child in eligible.values() if self.asked(child) and child.uid not in exhausted)
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

    def _next(self, child: Child, now_s: float, budget: Budget) -> tuple[int, int, float] | None:
        """The attempt that this child is at: its round, its number, since when it is asked for. None while one cools down."""
        attempt = self._attempts.get(child.uid)
        if attempt is None:
            known = budget.spent.get(item_key(child.uid, child.incident, 0), 0) if budget.spent else 0
            return known, known + 1, now_s
        same = attempt.incident == child.incident
        if same and attempt.answered_s is None:
            return attempt.round, attempt.number, attempt.since_s
        wait_s = budget.wait_s(attempt.number)
        if same and attempt.answered_s is not None and now_s < attempt.answered_s + wait_s:
            return None
        number = attempt.number + (attempt.answered_s is not None)  # what was never answered may never have been sent
        if attempt.rest_s(now_s) >= wait_s:
            number = 1
        return (attempt.round + 1, number, attempt.since_s) if same else (0, number, now_s)

    def wanted(self, parent: ParentKey, child: Child, now_s: float, budget: Budget) -> Item | None:
        """The item wanted for this eligible child, which is not exhausted; None while an answered attempt cools down."""
        following = self._next(child, now_s, budget)
        if following is None:
            return None
        round_number, number, since_s = following
        key = item_key(child.uid, child.incident, round_number)
        return Item(
            operation=self._operation, key=key, kind=child.kind, uid=child.uid, incident=child.incident, parent=parent,
            payload={"key": key, "name": child.name, "namespace": child.namespace, "kind": child.kind,
                     "uid": child.uid, "cluster": parent.name},
            since_s=since_s, retry=round_number > 0, attempt=number,
        )  # fmt: skip

    def asked(self, child: Child) -> bool:
        """Whether this incident of the child has been asked for, answered or not."""
        attempt = self._attempts.get(child.uid)
        return attempt is not None and attempt.incident == child.incident

    def cooled_at(self, child: Child, budget: Budget) -> float | None:
        """When the answered attempt at this incident has cooled down; None when none cools."""
        attempt = self._attempts.get(child.uid)
        if attempt is None or attempt.answered_s is None or attempt.incident != child.incident:
            return None
        return attempt.answered_s + budget.wait_s(attempt.number)

    def is_last(self, child: Child, budget: Budget) -> bool:
        """Whether the child's attempt is the last of its budget: its cooldown's end is news, held or not."""
        attempt = self._attempts.get(child.uid)
        return attempt is not None and budget.is_spent(attempt.number)

    def record(self, items: Iterable[Item]) -> None:
        """These are asked now."""
        for item in items:
            attempt = self._attempts.get(item.uid)
            if attempt is not None and attempt.key == item.key:
                continue
            if attempt is not None:
                self._open.pop(attempt.key, None)
                if attempt.answered_s is None:
                    attempt = attempt.before
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

        The rounds before it stand: a key that was executed once is answered without being executed. Whether there is one at
        the same incident.
        """
        uid = self._open.pop(key, None)
        if uid is None:
            return False
        attempt = self._attempts.pop(uid)
        before = attempt.before
        if before is not None:
            self._attempts[uid] = before
        return before is not None and before.incident == attempt.incident

    def forget(self, uid: str) -> None:
        """The child is gone."""
        attempt = self._attempts.pop(uid, None)
        if attempt is not None:
            self._open.pop(attempt.key, None)
