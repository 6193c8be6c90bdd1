"""Supervision: the arithmetic of restarts, and the supervisor that acts on it, in virtual time."""

from __future__ import annotations

import random
from typing import Any

import pytest

from actors.actor import Behaviour, Cell, Context
from actors.core.events import ActorRestarted, Escalated
from actors.core.restarts import Budget, Nursery, RestartPolicy, Verdict
from actors.mailbox import Mailbox, using
from actors.messages import StopTree
from actors.sim.world import World
from actors.supervision import ChildSpec, Supervisor

POLICY = RestartPolicy(restarts_max=3, period_s=60.0, backoff_first_s=1.0, backoff_max_s=8.0, calm_s=120.0)


class Highest:
    """Draws the upper end: the bound of each backoff shows."""

    def random(self) -> float:
        return 1.0

    def uniform(self, a: float, b: float) -> float:
        return b


def deaths(budget: Budget, *times_s: float, uptime_s: float = 0.0) -> list[tuple[Verdict, float]]:
    return [budget.died(at_s, uptime_s, Highest()) for at_s in times_s]


# --- the arithmetic ---------------------------------------------------------------------------------------------------
def test_the_backoff_doubles_up_to_its_bound() -> None:
    """One death a minute never spends the budget; the waits grow all the same."""
    waits = [wait_s for _, wait_s in deaths(Budget(POLICY), *(60.0 * n for n in range(6)))]

    assert waits == [1.0, 2.0, 4.0, 8.0, 8.0, 8.0]


def test_a_calm_spell_forgets_the_backoff() -> None:
    """S4: reset after a quiet spell."""
    budget = Budget(POLICY)
    deaths(budget, 0.0, 60.0, 120.0)

    assert budget.died(300.0, 120.0, Highest()) == (Verdict.RESTART, 1.0)
    assert budget.died(400.0, 119.9, Highest()) == (Verdict.RESTART, 2.0)


@pytest.mark.parametrize(
    ("times_s", "verdict"),
    [
        ((0.0, 1.0, 2.0), Verdict.RESTART),
        ((0.0, 1.0, 2.0, 3.0), Verdict.GIVE_UP),  # more than restarts_max
        ((0.0, 1.0, 2.0, 59.9), Verdict.GIVE_UP),
        ((0.0, 1.0, 2.0, 60.0), Verdict.RESTART),  # the first is a whole period old
    ],
)
def test_more_than_the_intensity_within_the_period_gives_up(times_s: tuple[float, ...], verdict: Verdict) -> None:
    """OTP's arithmetic, at its edges."""
    assert deaths(Budget(POLICY), *times_s)[-1][0] is verdict


def test_the_wait_is_jittered_over_the_whole_bound() -> None:
    """Full jitter: those that died together do not come back together."""
    rng = random.Random(1)
    waits = [Budget(POLICY).died(0.0, 0.0, rng)[1] for _ in range(200)]

    assert 0.0 <= min(waits) < 0.1
    assert 0.9 < max(waits) <= 1.0


def test_a_million_deaths_do_not_overflow() -> None:
    """2.0 ** 5000 would raise in the one place that must not."""
    budget = Budget(RestartPolicy(restarts_max=10**9, backoff_max_s=30.0))
    for n in range(5000):
        assert budget.died(float(n), 0.0, Highest())[1] <= 30.0


def test_children_of_a_nursery_have_budgets_of_their_own() -> None:
    """One poisonous child spends nobody else's."""
    nursery = Nursery(POLICY)
    verdicts = [nursery.died("bad", float(n), 0.0, Highest())[0] for n in range(4)]

    assert verdicts[-1] is Verdict.GIVE_UP
    assert nursery.died("good", 4.0, 0.0, Highest()) == (Verdict.RESTART, 1.0)
    assert (nursery.deaths("bad"), nursery.deaths("good"), nursery.deaths("nobody")) == (4, 1, 0)
    nursery.forget("bad")
    assert nursery.died("bad", 5.0, 0.0, Highest())[0] is Verdict.RESTART


@pytest.mark.parametrize(
    ("failing", "children", "correlated"),
    [(10, 10, False), (11, 11, True), (11, 1000, False), (200, 1000, False), (201, 1000, True), (1, 1, False)],
)
def test_failure_is_correlated_above_ten_and_above_a_fifth(failing: int, children: int, correlated: bool) -> None:
    """DESIGN §4: distinct failing children above max(10, 20 %) in 60 s."""
    nursery = Nursery(POLICY)
    for n in range(failing):
        nursery.died(f"c{n}", n / failing, 0.0, Highest())

    assert (nursery.correlated(1.0, children) is not None) is correlated
    assert nursery.correlated(61.0, children) is None


def test_a_death_of_a_minute_ago_counts_no_more() -> None:
    """As for a budget: the window is half open."""
    nursery = Nursery(POLICY)
    for n in range(11):
        nursery.died(f"c{n}", 5.0, 0.0, Highest())

    assert [11, None] == [nursery.correlated(64.9, 11), nursery.correlated(65.0, 11)]


def test_who_is_given_up_waits_for_nothing() -> None:
    """No draw is spent on it either."""
    assert deaths(Budget(POLICY), *[0.0] * (POLICY.restarts_max + 1))[-1] == (Verdict.GIVE_UP, 0.0)


def test_one_child_that_dies_a_hundred_times_is_not_correlated() -> None:
    """Distinct children count."""
    nursery = Nursery(POLICY)
    for n in range(100):
        nursery.died("bad", n / 100, 0.0, Highest())

    assert nursery.correlated(1.0, 20) is None


# --- the supervisor ---------------------------------------------------------------------------------------------------
class Part(Behaviour):
    """A child that notes its life; ``raise`` kills it, and a constructor in ``unfit`` does at once."""

    def __init__(self, ctx: Context, log: list[tuple[float, str, str]], unfit: set[str]) -> None:
        super().__init__(ctx)
        self.log = log
        self.unfit = unfit

    def note(self, what: str) -> None:
        self.log.append((self.ctx.clock.now(), self.ctx.name, what))

    def on_start(self) -> None:
        if self.ctx.name in self.unfit:
            raise RuntimeError("unfit")
        self.note("start")

    def on_receive(self, message: Any) -> Any:
        if message == "raise":
            raise ValueError("asked to")
        if message == "stop":
            self.ctx.stop()
            return
        self.note(str(message))

    def on_stop(self) -> None:
        self.note("stop")


class Wedging(World):
    """A world in which some actors' threads never come back."""

    wedged: frozenset[str] = frozenset()

    def ready(self, mailbox: Mailbox) -> None:
        if getattr(mailbox.actor, "name", "") not in self.wedged:
            super().ready(mailbox)


class Tree:
    """A supervisor over three parts."""

    def __init__(self, policy: RestartPolicy = POLICY, unfit: set[str] | None = None) -> None:
        self.world = Wedging(seed=2)
        self.log: list[tuple[float, str, str]] = []
        self.unfit = unfit or set()
        self.refs: dict[str, Any] = {}
        self.given_up: list[str] = []
        self.stopped: list[list[str]] = []
        specs = tuple(
            ChildSpec(name=name, factory=lambda ctx: Part(ctx, self.log, self.unfit), policy=policy, stop_within_s=2.0)
            for name in "abc"
        )

        def factory(ctx: Context) -> Supervisor:
            return Supervisor(
                ctx,
                specs=specs,
                started=self.refs.__setitem__,
                give_up=self.given_up.append,
                stopped=self.stopped.append,
            )

        with using(self.world):
            self.root = Cell.start(name="root", factory=factory)
        self.world.settle()

    def lives(self, name: str) -> list[str]:
        return [what for _, who, what in self.log if who == name]


def test_children_start_in_order_and_stop_in_reverse() -> None:
    """Stop order is start order backwards, one after the other; then the supervisor itself ends."""
    tree = Tree()
    assert list(tree.refs) == ["a", "b", "c"]
    tree.root.tell(StopTree())
    tree.world.run_for(1.0)

    assert [who for _, who, what in tree.log if what == "stop"] == ["c", "b", "a"]
    assert tree.stopped == [[]]
    assert not tree.root.is_alive()
    assert not any(ref.is_alive() for ref in tree.refs.values())


def test_a_child_that_does_not_stop_is_reported_and_holds_up_nobody() -> None:
    """S12: each has its time; then the next."""
    tree = Tree()
    tree.world.wedged = frozenset("b")
    tree.root.tell(StopTree())
    took_s = tree.world.run_until(lambda: bool(tree.stopped))

    assert tree.stopped == [["b"]]
    assert took_s == pytest.approx(2.0)
    assert [who for _, who, what in tree.log if what == "stop"] == ["c", "a"]


def test_only_who_died_is_restarted_and_after_its_backoff() -> None:
    """one_for_one: the siblings do not notice."""
    tree = Tree()
    tree.refs["b"].tell("raise")
    tree.refs["b"].tell("kept")
    tree.world.settle()
    assert tree.lives("b") == ["start"]
    tree.world.run_for(1.0)

    assert tree.lives("b") == ["start", "start", "kept"]
    assert tree.lives("a") == tree.lives("c") == ["start"]
    assert [fact.incarnation for fact in tree.world.seen(ActorRestarted)] == [2]
    assert tree.given_up == []


def test_a_child_that_cannot_even_start_is_tried_again_and_then_given_up() -> None:
    """A constructor that raises is a death like any other; the siblings run meanwhile, and the end has a reason."""
    tree = Tree(unfit={"b"})
    assert tree.lives("c") == ["start"]
    tree.world.run_for(60.0)

    assert len(tree.given_up) == 1
    assert "b died too often" in tree.given_up[0]
    assert "unfit" in tree.given_up[0]
    assert [fact.supervisor for fact in tree.world.seen(Escalated)] == ["root"]


def test_a_child_that_recovers_in_time_is_not_given_up() -> None:
    """The budget is for bursts; what heals heals."""
    tree = Tree(unfit={"b"})
    tree.world.run_for(0.0)
    tree.unfit.clear()
    tree.world.run_for(60.0)

    assert tree.given_up == []
    assert tree.lives("b") == ["start"]


def test_a_permanent_child_that_stops_by_itself_ends_the_system() -> None:
    """Its work would be done by nobody, silently."""
    tree = Tree()
    tree.refs["a"].tell("stop")
    tree.world.run_for(1.0)

    assert tree.given_up == ["a has stopped by itself"]


def test_stopping_while_a_child_waits_for_its_restart_does_not_revive_it() -> None:
    """Nor does its death count against the tree then."""
    tree = Tree()
    tree.refs["b"].tell("raise")
    tree.world.settle()
    tree.root.tell(StopTree())
    tree.root.tell(StopTree())  # an impatient operator
    tree.world.run_for(30.0)

    assert tree.lives("b") == ["start"]
    assert tree.stopped == [[]]
    assert tree.given_up == []


def test_a_crash_while_stopping_is_still_an_end() -> None:
    """``on_stop`` may raise: the rest of the tree must stop all the same."""
    tree = Tree()

    class Clumsy(Part):
        def on_stop(self) -> None:
            raise OSError("clumsy")

    with using(tree.world):
        clumsy = Cell.start(name="clumsy", factory=lambda ctx: Clumsy(ctx, tree.log, set()))
    clumsy.tell("raise")
    tree.refs["b"].tell("raise")
    tree.root.tell(StopTree())
    tree.world.run_for(10.0)

    assert len(tree.stopped) == 1
