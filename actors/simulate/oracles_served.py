"""Who is asked for, who is sent first, and how soon: nobody is forgotten, nobody waits for longer than is fair."""

from __future__ import annotations

import math
from collections import Counter
from functools import partial
from typing import ClassVar

from attrs import define, field

from ..core.events import ActorRestarted
from ..core.model import Child, Item, ParentKey
from ..core.ports import Call
from ..core.quota import SPACING
from ..messages import ItemAnswer, ItemsAnswered, PauseWanted, RepairsWanted
from .court import Oracle, actor_of
from .oracles_backend import why_held
from .oracles_blind import NotBlind

__all__ = ["SERVED_ORACLES"]

FAIR_TURN = 5
"""Items that a parent may have sent before it is another's turn: what fairness between parents was measured with."""
AGEING_WINDOWS = 2
"""Windows of the quota after which a second attempt counts for as much as a new failure."""
LOOK_EVERY_S = 2.0
SLACK_S = 1.0


@define(eq=False)
class _Wish:
    """``own``: items of its own parent that may leave before it, and itself; ``left``: by parent, how many wishes no longer
    waited when its time began.
    """

    item: Item
    asked_s: float
    begun_s: float = 0.0
    own: int = 0
    retries: int = 0
    left: dict[ParentKey, int] = field(factory=dict)
    sent: bool = False


class Served(Oracle):
    """What is asked is sent: within the time that the quota needs for what may rightly leave before it, and in order.

    Before an item there may leave what its own parent has asked for already, and of each other parent as much as a fair turn
    allows: however much another one asks for, now or later. A second attempt waits until it has aged; then it counts
    like a new failure, and until then it overtakes none.
    """

    name: ClassVar[str] = "served-fairly"
    promise: ClassVar[str] = "drain"

    def attend(self) -> None:
        self._wishes: dict[ParentKey, dict[str, _Wish]] = {}
        self._asked: Counter[ParentKey] = Counter()
        self._retries: Counter[ParentKey] = Counter()
        self._left: Counter[ParentKey] = Counter()
        self.stage.backend.on_send.append(self._sent)
        self.court.hear(RepairsWanted, self._wanted)
        self.court.hear(ItemsAnswered, self._answered)

    def begin_life(self) -> None:
        for memory in (self._wishes, self._asked, self._retries, self._left):
            memory.clear()

    def _wanted(self, actor: str, message: RepairsWanted) -> None:
        if actor != "gateway":
            return
        parent = message.parent
        allowed = self.court.policy(parent).in_flight_max
        if allowed is not None and len(message.items) > allowed:
            self.no(f"{parent} asks for {len(message.items)} repairs at once, {allowed} are allowed")
        before = self._wishes.pop(parent, {})
        wishes = {item.key: before.get(item.key) or _Wish(item, self.now) for item in message.items}
        self._left[parent] += sum(1 for key, wish in before.items() if key not in wishes and not wish.sent)
        if not wishes:
            return
        self._wishes[parent] = wishes
        new = [wish for wish in wishes.values() if not wish.begun_s]
        self._asked[parent] += len(new)
        self._retries[parent] += sum(1 for wish in new if wish.item.retry)
        self._begin([wish for wish in new if not wish.item.retry])
        aged_s = AGEING_WINDOWS * self.stage.settings.quota.window_s
        for wish in new:
            if wish.item.retry:
                wish.begun_s = self.now + aged_s
                self.stage.world.after(aged_s, partial(self._begin, [wish]))

    def _begin(self, wishes: list[_Wish]) -> None:
        """The time of these begins now."""
        left = dict(self._left)
        for wish in wishes:
            mine = self._wishes.get(wish.item.parent, {})
            if mine.get(wish.item.key) is not wish or wish.sent:
                continue
            wish.begun_s, wish.left, wish.retries = self.now, left, self._retries[wish.item.parent]
            wish.own = sum(1 for other in mine.values() if not other.sent)
            self.stage.world.after(self._bound_s(wish), partial(self._due, wish, self.stage.lives))

    def _bound_s(self, wish: _Wish) -> float:
        """The exact limit for what may leave before it, one window more, and what partial batches wait."""
        settings, mine = self.stage.settings, wish.item.parent
        quota = settings.quota
        own = wish.own + self._retries[mine] - wish.retries
        turns = FAIR_TURN * (math.ceil(own / FAIR_TURN) + 1)
        others = sum(
            min(turns, asked - wish.left.get(parent, 0)) for parent, asked in self._asked.items() if parent != mine
        )
        calls = math.ceil((own + others) / settings.batch_max) + 1
        at_once = int(settings.in_flight_max * quota.window_s / settings.backend_rtt_s)
        windows = math.ceil(calls / max(1, min(quota.calls, at_once))) + 1
        return windows * (quota.window_s + settings.backend_rtt_s) + 2 * SPACING * quota.window_s / quota.calls + 2.0

    def _parts(self, parent: ParentKey) -> tuple[str, ...]:
        return "backend", f"backend:{parent.name}", "operator", f"actor:{actor_of(parent)}"

    def _due(self, wish: _Wish, life: int) -> None:
        item = wish.item
        mine = self._wishes.get(item.parent, {})
        if life != self.stage.lives or mine.get(item.key) is not wish or wish.sent:
            return
        bound_s = self._bound_s(wish)
        if self.now - wish.begun_s < bound_s:
            self.stage.world.after(bound_s - (self.now - wish.begun_s) + 0.01, partial(self._due, wish, life))
            return
        if not self._goes_on(item):
            return  # the check at the dispatch takes it out
        if self.stage.calm(wish.asked_s - 1.0, *self._parts(item.parent)):
            self.exercised += 1
            waited_s = self.now - wish.begun_s
            self.no(f"{item.payload['name']} has waited {waited_s:.1f} s for a call, {bound_s:.1f} s are enough")

    def _goes_on(self, item: Item) -> bool:
        child = self.court.mirror.child(item.kind, item.uid)
        return child is not None and child.parent == item.parent and child.eligible and child.incident == item.incident

    def _sent(self, call: Call) -> None:
        self.exercised += 1
        leaving = {item.key for item in call.items}
        for item in call.items:
            wish = self._wishes.get(item.parent, {}).get(item.key)
            if wish is not None and not wish.sent:
                self._overtaken(wish, leaving)
        for item in call.items:
            wish = self._wishes.get(item.parent, {}).get(item.key)
            if wish is not None and not wish.sent:
                wish.sent = True
                self._left[item.parent] += 1

    def _overtaken(self, wish: _Wish, leaving: set[str]) -> None:
        """No older unsent incident of the same parent stays behind; and no new failure of anybody behind a second attempt."""
        if not wish.item.retry:
            for other in self._wishes[wish.item.parent].values():
                if other.item.since_s <= wish.item.since_s - 1.0 and self._stays(other, leaving):
                    self.no(f"{wish.item.payload['name']} is sent before {other.item.payload['name']}, which is older")
        elif self.now < wish.begun_s - 0.001 and self.stage.calm(wish.asked_s - 1.0, *self._parts(wish.item.parent)):
            for wishes in self._wishes.values():
                for other in wishes.values():
                    if self._stays(other, leaving):
                        name = other.item.payload["name"]
                        self.no(f"{wish.item.payload['name']}, a second attempt, is sent before {name}, which is new")

    def _stays(self, other: _Wish, leaving: set[str]) -> bool:
        """Whether that one is a new failure, could leave, and does not."""
        item = other.item
        if other.sent or item.retry or other.asked_s > self.now - 1.0 or item.key in leaving:
            return False
        if not self.stage.calm(other.asked_s - 1.0, *self._parts(item.parent)):
            return False  # who was restarted since then counts from there
        return self._goes_on(item)

    def _answered(self, _actor: str, message: ItemsAnswered) -> None:
        for parent, wishes in self._wishes.items():
            for key in message.answers:
                wish = wishes.pop(key, None)
                if wish is not None and not wish.sent:
                    self._left[parent] += 1


class AskedSoon(Oracle):
    """Whoever may be repaired is asked for within the longest debounce, but for the cooldown after an answer that it had."""

    name: ClassVar[str] = "asked-soon"
    promise: ClassVar[str] = "I5"

    def attend(self) -> None:
        self._wanted: dict[ParentKey, dict[str, Item]] = {}
        self._items: dict[str, Item] = {}
        self._answered_s: dict[tuple[ParentKey, str, str], float] = {}
        self._news_s: dict[ParentKey, float] = {}
        self._attempts: dict[tuple[ParentKey, str], int] = {}
        self.court.on_material.append(lambda parent, kind: self._news(parent))
        self.stage.listen(ActorRestarted, self._restarted)
        self.court.hear(RepairsWanted, self._wish)
        self.court.hear(ItemsAnswered, self._told)
        self.court.hear(PauseWanted, self._paused)
        self.court.every(LOOK_EVERY_S, self._look)

    def begin_life(self) -> None:
        for memory in (self._wanted, self._items, self._answered_s, self._news_s, self._attempts):
            memory.clear()

    def _news(self, parent: ParentKey) -> None:
        self._news_s[parent] = max(self.now, self._news_s.get(parent, -1.0))

    def _paused(self, _actor: str, wish: PauseWanted) -> None:
        self._news_s[wish.parent] = max(self.now, wish.until_s)  # to its end: that is news, too

    def _restarted(self, fact: ActorRestarted) -> None:
        for parent in self.court.mirror.parents:
            if actor_of(parent) == fact.actor:
                self._news(parent)

    def _wish(self, actor: str, message: RepairsWanted) -> None:
        wanted = self._wanted[message.parent] = {item.key: item for item in message.items}
        self._items.update(wanted)

    def _told(self, actor: str, message: ItemsAnswered) -> None:
        for parent, items in self._wanted.items():
            if actor_of(parent) != actor:
                continue
            for key, (answer, _) in message.answers.items():
                items.pop(key, None)
                item = self._items.get(key)  # perhaps it was withdrawn while it was under way
                if item is not None and answer is not ItemAnswer.WITHDRAWN:
                    self._answered_s[parent, item.uid, item.incident] = message.at_s
                    self._attempts[parent, item.uid] = self._attempts.get((parent, item.uid), 0) + 1
            self._news(parent)

    def _look(self) -> None:
        process = self.stage.process
        if not any(self.court.mirror.in_trouble.values()) or process is None or process.frozen:
            return
        if self.court.skipped or not self.court.all_listed:
            return
        for parent, troubled in self.court.mirror.in_trouble.items():
            if not troubled or parent not in self.court.mirror.parents:
                continue
            policy = self.court.policy(parent)
            since_s = self.now - policy.debounce_max_s - SLACK_S
            if self._news_s.get(parent, -1.0) > since_s or policy.in_flight_max is not None:
                continue
            parts = ("operator", f"actor:{actor_of(parent)}", "actor:directory", "actor:gateway", *self.court.watchers)
            waits = (
                not self.court.works(parent) or self.court.relisted_s > since_s or not self.stage.calm(since_s, *parts)
            )
            if waits or why_held(self.court, parent):
                continue
            self._judge(parent, max(policy.cooldown_s, policy.cooldown_max_s))

    def _judge(self, parent: ParentKey, cooldown_s: float) -> None:
        asked = {(item.uid, item.incident) for item in self._wanted.get(parent, {}).values()}
        for child in self.court.mirror.in_trouble[parent].values():
            self.exercised += 1
            blind = self.court.oracle(NotBlind).maybe(child.kind, self.court.policy(parent).debounce_max_s + SLACK_S)
            if blind or self._spent(parent, child):
                continue
            if (child.uid, child.incident) not in asked and self._cooled(parent, child, cooldown_s):
                self.no(f"{child.name} is in trouble and may be repaired, and {parent} does not ask for it")

    def _spent(self, parent: ParentKey, child: Child) -> bool:
        """Whether it may have had all its attempts."""
        most = self.court.policy(parent).attempts_max
        if most is None:
            return False
        told = (self.stage.status(parent) or {}).get("exhausted", ())
        return self._attempts.get((parent, child.uid), 0) >= most or any(each["name"] == child.name for each in told)

    def _cooled(self, parent: ParentKey, child: Child, cooldown_s: float) -> bool:
        answered_s = self._answered_s.get((parent, child.uid, child.incident))
        allowed_s = self.court.policy(parent).debounce_max_s + SLACK_S
        return answered_s is None or self.now > answered_s + cooldown_s + allowed_s


SERVED_ORACLES: tuple[type[Oracle], ...] = (Served, AskedSoon)
