"""Faults of the backend and of the way there: B1 to B12."""

from __future__ import annotations

from functools import partial
from typing import Any

from ..core.model import ParentKey
from ..sim.backend import Behaviour
from ..sim.network import Fate
from .catalogue import Shape, fault
from .draw import Draw
from .stage import NAMESPACE, Stage
from .steps import node_kind, verb

__all__ = ["heal_backend"]


def _impair(stage: Stage, for_s: float) -> None:
    """Until the fault is over and the last of: a breaker's pause, a call's unknown end, a retry's wait."""
    settings = stage.settings
    recover_s = settings.breaker_max_s + settings.retry_max_s + settings.call_timeout_s + settings.lateness_s
    stage.impair("backend", stage.world.clock.now() + for_s + recover_s + 2 * settings.quota.window_s)


@verb("call-fate")
def call_fate(stage: Stage, how: str, for_s: float, share: float, seconds: float) -> None:
    """Calls meet that fate on the network."""
    _impair(stage, for_s)
    seconds = min(seconds, stage.settings.lateness_s * 0.99) if how == "late" else seconds
    stage.backend.fates.append(Fate(how, stage.world.clock.now() + for_s, share, seconds, on_strike=stage.firing()))


@verb("misbehave")
def misbehave(stage: Stage, do: str, for_s: float, count: int | None, seconds: float, wish_s: int | None) -> None:
    """The backend itself behaves in one of its bad ways."""
    _impair(stage, for_s + (wish_s or 0))
    status = "throttled" if do == "partial" and seconds else "failed"
    stage.backend_model.behave(
        Behaviour(
            do=do, until_s=stage.world.clock.now() + for_s, count=count, seconds=seconds, retry_after_s=wish_s,
            status=status,
        )
    )  # fmt: skip


@verb("change-quota")
def change_quota(stage: Stage, calls: int, for_s: float) -> None:
    """The backend allows another number of calls than was agreed, and says so only by refusing."""
    _impair(stage, for_s)
    stage.backend_model.calls_max = max(1, calls)
    stage.world.after(for_s, lambda: _restore_quota(stage))


def _restore_quota(stage: Stage) -> None:
    stage.backend_model.calls_max = stage.settings.quota.calls


@verb("poison-item")
def poison_item(stage: Stage, name: str, for_s: float) -> None:
    """The backend refuses each batch in which that node is."""
    for node in list(stage.truth.nodes.values()):
        if node.name == name:
            stage.backend_model.poisoned.add(node.uid)
            stage.world.after(for_s, partial(stage.backend_model.poisoned.discard, node.uid))
            _impair(stage, for_s)


@verb("answer-twice")
def answer_twice(stage: Stage, for_s: float) -> None:
    """Each call's end is told twice."""
    stage.broken.twice_until_s = stage.world.clock.now() + for_s


@verb("lose-ends")
def lose_ends(stage: Stage, for_s: float) -> None:
    """The threads of calls that end meanwhile do not come back: whatever became of the calls, nobody is told."""
    _impair(stage, for_s)
    stage.broken.lost_until_s = stage.world.clock.now() + for_s


@verb("poison-cluster")
def poison_cluster(stage: Stage, name: str, for_s: float) -> None:
    """The backend refuses each batch in which a node of that parent is: an impairment of that parent, and of nobody else.

    (Where batches are large. Where they are small, one fresh batch after the other is refused, and the breaker stops all.)
    """
    for node in stage.truth.children(ParentKey(NAMESPACE, name)):
        stage.backend_model.poisoned.add(node.uid)
        stage.world.after(for_s, partial(stage.backend_model.poisoned.discard, node.uid))
    settings = stage.settings
    stage.impair(
        f"backend:{name}", stage.world.clock.now() + for_s + settings.breaker_max_s + settings.policy.cooldown_s
    )


@verb("stubborn")
def stubborn(stage: Stage, name: str, repairs: int) -> None:
    """That many repairs of the node do not help."""
    for node in list(stage.truth.nodes.values()):
        if node.name == name:
            stage.broken.stubborn[node.uid] = repairs
            stage.report(name, False, kind=node.kind)


@verb("flap")
def flap(stage: Stage, name: str, times: int, every_s: float) -> None:
    """The node fails and recovers by itself, again and again."""

    def turn(left: int) -> None:
        stage.report(name, left % 2 == 1, kind=node_kind(name))
        if left and not stage.chaos_over:
            stage.world.after(every_s, lambda: turn(left - 1))

    turn(2 * times)


def heal_backend(stage: Stage) -> None:
    """End all of these."""
    stage.backend.fates.clear()
    stage.backend_model.clear()
    stage.backend_model.poisoned.clear()
    stage.broken.twice_until_s = stage.broken.lost_until_s = -1.0
    _restore_quota(stage)


# --- how they are drawn -----------------------------------------------------------------------------------------------
def _at(draw: Draw, shape: Shape) -> float:
    return draw.between(0.0, shape.chaos_s)


def _fails(draw: Draw, shape: Shape, at_s: float, count: int) -> list[Any]:
    """Without repairs to send, a fault of the backend is no fault."""
    return [(max(0.0, at_s + draw.between(-1.0, 3.0)), "fail", (draw.pick(shape.nodes),)) for _ in range(count)]


def _fate(draw: Draw, shape: Shape, how: str, for_s: float, seconds: float = 0.0) -> Any:
    at_s = _at(draw, shape)
    step = (at_s, "call-fate", (how, for_s, draw.pick((0.5, 1.0)), seconds))
    return [step, *_fails(draw, shape, at_s, 4)]


def _bad(draw: Draw, shape: Shape, do: str, for_s: float, count: int | None, seconds: float, wish_s: int | None) -> Any:
    at_s = _at(draw, shape)
    return [(at_s, "misbehave", (do, for_s, count, seconds, wish_s)), *_fails(draw, shape, at_s, 4)]


@fault("B1", "the connection is refused", times=(7, 10))
def _b1(draw: Draw, shape: Shape) -> Any:
    return _fate(draw, shape, "refused", draw.between(0.5, 20.0))


@fault("B2", "a call is lost on its way", weight=3)
def _b2(draw: Draw, shape: Shape) -> Any:
    return _fate(draw, shape, "lost", draw.between(0.5, 10.0))


@fault("B3", "a call is executed, and its answer lost", weight=2)
def _b3(draw: Draw, shape: Shape) -> Any:
    if draw.chance(0.5):
        return _bad(draw, shape, draw.pick(("withhold", "cut")), draw.between(1.0, 10.0), None, 0.0, None)
    return _fate(draw, shape, "deaf", draw.between(0.5, 10.0))


@fault("B4", "a call is executed after our timeout", weight=3)
def _b4(draw: Draw, shape: Shape) -> Any:
    return _fate(draw, shape, "late", draw.between(0.5, 10.0), draw.between(0.1, 5.0))


@fault("B5", "items fail, are throttled, or are missing from the answer", times=(6, 9))
def _b5(draw: Draw, shape: Shape) -> Any:
    do = draw.pick(("partial", "partial", "missing", "unknown"))
    return _bad(draw, shape, do, draw.between(1.0, 20.0), None, draw.pick((0.0, 1.0)), draw.pick((None, 1, 5)))


@fault("B6", "one bad item has the whole batch refused", times=(5, 8))
def _b6(draw: Draw, shape: Shape) -> Any:
    at_s, node = _at(draw, shape), draw.pick(shape.nodes)
    poison = [(at_s, "poison-item", (node, draw.between(5.0, 40.0))), (at_s + 0.1, "fail", (node,))]
    return [*poison, *_fails(draw, shape, at_s, 5)]


@fault("B7", "429, and a quota that is not what was agreed", times=(5, 8))
def _b7(draw: Draw, shape: Shape) -> Any:
    if draw.chance(0.5):
        wish_s = draw.pick((None, 0, 1, 5, 20))
        return _bad(draw, shape, "throttle", draw.between(1.0, 15.0), draw.pick((1, 3, None)), 0.0, wish_s)
    at_s = _at(draw, shape)
    calls = draw.pick((max(1, shape.batch_calls // 2), 2 * shape.batch_calls, 1))
    return [(at_s, "change-quota", (calls, draw.between(5.0, 40.0))), *_fails(draw, shape, at_s, 6)]


@fault("B8", "a storm of 5xx", times=(5, 8))
def _b8(draw: Draw, shape: Shape) -> Any:
    return _bad(draw, shape, "error", draw.between(1.0, 30.0), None, 0.0, draw.pick((None, None, 2)))


@fault("B9", "slow answers", times=(5, 8))
def _b9(draw: Draw, shape: Shape) -> Any:
    if draw.chance(0.5):
        return _fate(draw, shape, "slow", draw.between(2.0, 20.0), draw.between(0.5, 9.0))
    return _bad(draw, shape, "latency", draw.between(2.0, 20.0), None, draw.between(0.2, 12.0), None)


@fault("B10", "each answer comes twice", times=(5, 8))
def _b10(draw: Draw, shape: Shape) -> Any:
    at_s = _at(draw, shape)
    return [(at_s, "answer-twice", (draw.between(5.0, 40.0),)), *_fails(draw, shape, at_s, 3)]


@fault("B11", "a node that no repair helps, or that fails again and again", times=(5, 8))
def _b11(draw: Draw, shape: Shape) -> Any:
    at_s, node = _at(draw, shape), draw.pick(shape.nodes)
    if draw.chance(0.5):
        return [(at_s, "stubborn", (node, draw.whole(1, 2)))]
    return [(at_s, "flap", (node, draw.whole(1, 6), draw.between(0.3, 6.0)))]


@fault("B12", "answers that cannot be understood, and redirects", times=(5, 9))
def _b12(draw: Draw, shape: Shape) -> Any:
    do = draw.pick(("nonsense", "redirect", "empty"))
    return _bad(draw, shape, do, draw.between(0.5, 10.0), draw.pick((1, None)), 0.0, None)
