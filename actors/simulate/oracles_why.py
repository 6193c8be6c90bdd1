"""What the operator says of itself is true: the gate that ``why`` names, and what ``plan`` foretells.

A few moments of each run are looked at, drawn from its seed apart from everything else, so that the run itself is the same with
and without. ``converged`` is a gate, too: it is wrong where the truth says otherwise and nothing on the way is impaired.
"""

from __future__ import annotations

from random import Random
from typing import Any, ClassVar

from attrs import define

from ..core.difference import brief, differences, same
from ..core.events import ActorCrashed, Reconciled
from ..core.model import ParentKey, Plan
from ..core.ports import Call, Objects
from ..core.why import Answer
from ..insight.collector import Collector, cluster_seen
from ..messages import (
    AskAgain,
    BackendState,
    CloseUp,
    ItemsAnswered,
    RepairsWanted,
    StatusAnswered,
    StatusWanted,
)
from .court import Oracle, actor_of, counted, key_of
from .stage import NAMESPACE, Stage
from .steps import verb
from .whygates import WhyGates
from .whyworld import mail_of

__all__ = ["WHY_ORACLES", "WhyTrue"]

EVERY_S = 20.0
"""The mean time between two looks, some five in a run: all of this file costs a run a few hundredths of its time."""
AFTERWARDS_S = 100.0
"""The same once the faults are over."""
CALM_SHARE = 0.1
"""How often somebody is asked when nobody is out of order: all that can be said then is that all is well."""
NEWS_SHARE = 0.03
"""How often news are followed by a look: what lasts for milliseconds is not met otherwise."""
NEWS_WITHIN_S = 0.6
UNTIL_SHARE = 0.2
"""How often it is asked again at the very instant until which a gate is said to be shut, where that is near."""
UNTIL_MAX_S = 60.0
SLACK_S = 1.0
QUIET_MARGIN_S = 7.0
"""Beyond its agreed end a watch may live for 5 s, and a new one takes a round trip to prove itself."""
PLANS_SHARE = 0.06
"""How often news are followed by a plan."""
PLAN_WITHIN_S = 0.3
PLAN_KEPT_S = 1.0
"""How long after its look a plan is held against what is wished for and written."""
TIMES = frozenset({"lastTransitionTime"})
"""A plan is made at another second than its look."""


class WhyTrue(Oracle):
    """Whenever a parent is not converged, ``why`` names a gate; and whatever gate it names is shut in the world."""

    name: ClassVar[str] = "why-names-the-gate"
    promise: ClassVar[str] = "why"

    def attend(self) -> None:
        self.named: dict[str, int] = {}
        """How often each code was named."""
        self.world = WhyGates(self.court)
        self.world.complain = self.no
        self._collector: Collector | None = None
        self.court.on_material.append(self._material)
        self._later()

    def begin_life(self) -> None:
        self.world.forget()
        system, reader = self.stage.system, self.stage.reader
        assert system is not None
        assert reader is not None
        self._collector = Collector(system, reader.heard_s, self.stage.settings.watch_s + QUIET_MARGIN_S)

    def _later(self) -> None:
        every_s = AFTERWARDS_S if self.stage.chaos_over else EVERY_S
        self.stage.world.after(self.world.draws.expovariate(1 / every_s), self._sample)

    def _sample(self) -> None:
        self._later()
        parents, draws = sorted(self.stage.truth.parents), self.world.draws
        wrong = [key for key in parents if not self._right(key)]
        if wrong or (parents and draws.random() < CALM_SHARE):
            self.look(draws.choice(wrong or parents))

    def _material(self, parent: ParentKey, _kind: str) -> None:
        if self.world.draws.random() < NEWS_SHARE:
            within_s = self.world.draws.random() * NEWS_WITHIN_S
            self.stage.world.after(within_s, lambda: self.look(parent))

    def look(self, parent: ParentKey, child: str = "") -> None:
        """Ask, of that parent and of the child (of one in trouble, where none is named), and judge what is answered.

        Nobody is asked while there is no process, or one that stands still.
        """
        process, collector = self.stage.process, self._collector
        if process is None or process.frozen or not process.alive or collector is None:
            return
        sick = [node.name for node in self.stage.truth.children(parent) if node.healthy is not True]
        if not child and not sick:
            self._judge(collector.why(parent))
            return
        for answer in collector.both(parent, child or self.world.draws.choice(sick)):
            self._judge(answer)

    def _judge(self, answer: Answer) -> None:
        self.exercised += 1
        code = answer.first.code
        self.named[code] = self.named.get(code, 0) + 1
        wrong = self._not_converged(answer) if code == "converged" else self.world.holds(answer)
        if wrong:
            asked = f"{answer.situation.key} {answer.child}".strip()
            self.no(f"why {asked}: {code} ({answer.first.text}), but {wrong}")
        until_s = answer.first.until_s
        if (
            until_s is not None
            and self.now < until_s < self.now + UNTIL_MAX_S
            and self.world.draws.random() < UNTIL_SHARE
        ):
            self.stage.world.after(until_s - self.now, lambda: self.look(answer.situation.key))

    def _right(self, parent: ParentKey) -> bool:
        status = self.stage.status(parent) or {}
        for kind in self.stage.child_kinds:
            _, unhealthy, _ = true = self.stage.truth.history(parent, kind).now()
            if unhealthy or counted(status, kind) != true:
                return False
        return True

    def _not_converged(self, answer: Answer) -> str:
        """Why the truth says that it has not converged; "" also where that cannot be told."""
        parent = answer.situation.key
        since_s = self.now - SLACK_S
        if self.court.skipped or self.stage.broken.spoilt or self.stage.broken.poisons:
            return ""
        status = self.stage.status(parent) or {}
        for kind in self.stage.child_kinds:
            if not self.court.expected(parent, kind, since_s):
                return ""
            said = counted(status, kind)
            if not answer.child and (said is None or not self.court.possible(parent, kind, said, since_s)):
                return (
                    f"{kind} is {said} in the status, and was {self.stage.truth.history(parent, kind).since(since_s)}"
                )
        for node in self.stage.truth.children(parent):
            known = node.since_s < since_s and node.moved_s < since_s and answer.child in ("", node.name)
            if node.healthy is False and known:
                return f"{node.name} has been unhealthy since {node.since_s:.3f} s"
        return ""


@verb("ask-why")
def ask_why(stage: Stage, name: str, child: str = "") -> None:
    """Somebody asks why, of that parent and of this or one of its children, and the answers are judged."""
    for oracle in stage.run.court.oracles:
        if isinstance(oracle, WhyTrue):
            oracle.look(ParentKey(NAMESPACE, name), child)


@define(eq=False)
class _Foretold:
    """A plan, whether its look has come, and what of it is still to be heard of after that."""

    plan: Plan
    changes: bool
    asked: frozenset[str]
    looked: bool = False
    status_due: bool = False
    repairs_due: bool = False

    @property
    def keys(self) -> frozenset[str]:
        """Of the repairs that it wants."""
        return frozenset(item.key for item in self.plan.repairs)


class PlanHolds(Oracle):
    """What ``plan`` prints is what is done next: the status that is written, the repairs that are called for, nothing else.

    A plan is made at a drawn moment and held against the next look of that parent, its write and its calls. Whatever reaches
    the parent's actor meanwhile changes the question, and the plan is dropped unjudged.
    """

    name: ClassVar[str] = "plan-holds"
    promise: ClassVar[str] = "plan"

    def attend(self) -> None:
        self.foretold = 0
        """How many plans with something in them were held against what was done."""
        self._draws = Random(f"plan/{self.stage.settings.seed}")  # noqa: S311  the seed is the point
        self._collector: Collector | None = None
        self.begin_life()
        for kind in (Objects, StatusAnswered, ItemsAnswered, BackendState, AskAgain, CloseUp):
            self.court.hear(kind, self._input)
        self.court.hear(StatusWanted, self._wished)
        self.court.hear(RepairsWanted, self._told)
        self.court.on_material.append(self._material)
        self.stage.listen(Reconciled, self._looked)
        self.stage.listen(ActorCrashed, lambda fact: self._drop(fact.actor))
        self.stage.writer.on_write.append(self._written)
        self.stage.backend.on_send.append(self._sent)

    def begin_life(self) -> None:
        self._plans: dict[ParentKey, _Foretold] = {}
        self._writes: dict[ParentKey, dict[str, Any]] = {}
        self._calls: dict[ParentKey, frozenset[str]] = {}
        if self.stage.system is not None:
            self._collector = Collector(self.stage.system)

    def end_life(self) -> None:
        self._collector = None

    def _material(self, parent: ParentKey, _kind: str) -> None:
        if parent not in self._plans and self._draws.random() < PLANS_SHARE:
            self.stage.world.after(self._draws.random() * PLAN_WITHIN_S, lambda: self._foretell(parent))

    def _foretell(self, parent: ParentKey) -> None:
        process, collector = self.stage.process, self._collector
        if process is None or process.frozen or not process.alive or collector is None or parent in self._plans:
            return
        actor = collector.cluster(parent)
        if actor is None or any(mail_of(self.stage.system, name) for name in (actor_of(parent), "gateway", "status")):
            return
        cluster = cluster_seen(actor)
        if cluster.writing:
            return  # an earlier wish is on its way, as above: which of them is the plan's could not be told
        plan = actor.plan()
        if plan is None:
            return
        foretold = _Foretold(plan, not same(plan.status, actor.standing), cluster.asked)
        if cluster.debounce_s is not None:
            self._plans[parent] = foretold
        elif cluster.turned_down is None and (foretold.changes or foretold.keys != foretold.asked):
            what = brief(differences(actor.standing, plan.status))
            self.no(f"{parent}: nobody is about to look, and the plan is {what} and {len(foretold.keys)} repairs")

    # --- what comes of it ---------------------------------------------------------------------------------------------
    def _input(self, actor: str, _message: Any) -> None:
        if self._plans or self._writes or self._calls:  # nearly always there is none
            self._drop(actor)

    def _drop(self, actor: str) -> None:
        if actor.startswith("cluster/"):
            foretold = self._plans.get(key_of(actor))
            if foretold is not None and not foretold.looked:
                del self._plans[key_of(actor)]
        elif actor in ("status", "gateway"):  # what they were told is told again, or lost
            self._plans.clear()
            self._writes.clear()
            self._calls.clear()

    def _looked(self, fact: Reconciled) -> None:
        if not self._plans:  # as nearly always
            return
        parent = key_of(fact.parent)
        foretold = self._plans.get(parent)
        if foretold is None:
            return
        plan = foretold.plan
        if foretold.looked or (plan.look_again_at_s is not None and plan.look_again_at_s <= self.now):
            del self._plans[parent]  # another look, or one that time alone has made another
            return
        self.exercised += 1
        foretold.looked = True
        if fact.changed != foretold.changes:
            self.no(f"{parent}: the plan said that the status changes: {foretold.changes}; it does: {fact.changed}")
        foretold.status_due, foretold.repairs_due = foretold.changes, foretold.keys != foretold.asked
        if not foretold.status_due and not foretold.repairs_due:
            del self._plans[parent]
        else:
            self.foretold += 1
            self.stage.world.after(PLAN_KEPT_S, lambda: self._over(parent, foretold))

    def _over(self, parent: ParentKey, foretold: _Foretold) -> None:
        if self._plans.get(parent) is foretold:
            del self._plans[parent]

    def _wished(self, _actor: str, wish: StatusWanted) -> None:
        self._writes.pop(wish.parent, None)
        foretold = self._plans.get(wish.parent)
        if foretold is None or not foretold.status_due:
            return
        foretold.status_due = False
        found = differences(wish.status, foretold.plan.status, but=TIMES)
        if found:
            self.no(f"{wish.parent}: the status that is wished for is not the plan's: {brief(found)}")
        self._writes[wish.parent] = wish.status

    def _written(self, parent: ParentKey, _uid: str, _changed: bool, status: dict[str, Any]) -> None:
        wished = self._writes.pop(parent, None)
        if wished is not None and wished != status and parent in self._plans:
            self.no(f"{parent}: the status that is written is not the plan's: {brief(differences(wished, status))}")

    def _told(self, _actor: str, wish: RepairsWanted) -> None:
        self._calls.pop(wish.parent, None)
        foretold = self._plans.get(wish.parent)
        if foretold is None or not foretold.repairs_due:
            return
        foretold.repairs_due = False
        told = frozenset(item.key for item in wish.items)
        if told != foretold.keys:
            self.no(f"{wish.parent}: {len(told)} repairs are asked for, the plan has {len(foretold.keys)}")
        self._calls[wish.parent] = told

    def _sent(self, call: Call) -> None:
        for item in call.items:
            planned = self._calls.get(item.parent)
            if planned is not None and item.key not in planned:
                self.no(f"{item.parent}: {item.payload['name']} is in a call, and no plan asked for it")


WHY_ORACLES: tuple[type[Oracle], ...] = (WhyTrue, PlanHolds)
