"""One seed decides everything: sizes, settings, users, faults and when they come.

Two seeds of three are a *swarm*: each switches on a random few of the faults, a random scheduler, random settings, so that
some have one trouble only, and its defence is the only thing that helps. Every third seed is a *drill*, one after the other:
a script made so that one certain defence is needed, which a swarm needs too rarely.
"""

from __future__ import annotations

from attrs import evolve

from ..core.model import Policy, Share
from ..core.operation import ALL
from ..core.quantity import Quota
from .catalogue import Shape
from .draw import Draw
from .drills import DRILLS
from .faults import CATALOGUE
from .script import KINDS, LEFTOVERS, Script
from .stage import StageSettings
from .steps import Argument, Step

__all__ = ["DRILL_EVERY", "draw_script"]

DRILL_EVERY = 3  # often enough that each drill comes within a hundred seeds, and most seeds are still free


def draw_script(seed: int, faults: tuple[str, ...] | None = None) -> Script:
    """The script of that seed. ``faults``: these and no others (the default: a drill, or a swarm of all)."""
    if faults is None and seed % DRILL_EVERY == 0:
        drills = list(DRILLS.values())
        return drills[seed // DRILL_EVERY % len(drills)].draw(seed)
    return _swarming(seed, faults)


def _swarming(seed: int, faults: tuple[str, ...] | None) -> Script:
    draw = Draw("script", seed)
    clusters = _clusters(draw)
    settings = _held(_settings(Draw("settings", seed), seed), Draw("holding", seed))
    chaos_s = float(draw.pick((40, 60, 60, 90, 120)))
    nodes = tuple(
        f"{name}-{letter}{n}" for name, compute, storage in clusters
        for letter, count in (("n", compute), ("s", storage)) for n in range(count)
    )  # fmt: skip
    shape = Shape(
        clusters=tuple(name for name, _, _ in clusters), nodes=nodes, kinds=KINDS, chaos_s=chaos_s,
        batch_calls=settings.quota.calls, window_s=settings.quota.window_s,
    )  # fmt: skip
    chosen = faults if faults is not None else _swarm(Draw("swarm", seed))
    steps = _users(Draw("users", seed), shape)
    for id_ in chosen:
        steps += CATALOGUE[id_].draw(Draw("fault", id_, seed), shape)
    end_s = chaos_s - 0.001
    steps = [evolve(step, at_s=min(step.at_s, end_s)) for step in steps]
    steps.sort(key=lambda step: step.at_s)
    timeout_s = settings.policy.heartbeat_timeout_s
    return Script(
        seed=seed,
        settings=settings,
        clusters=clusters,
        steps=tuple(steps),
        faults=chosen,
        chaos_s=chaos_s,
        beat_s=0.0 if timeout_s is None else round(timeout_s / 2.5, 3),
        cold_start_s=draw.pick((0.0, 0.0, 0.0, None)),
        leftover=draw.pick(LEFTOVERS) if faults is None else "",
    )


def _clusters(draw: Draw) -> tuple[tuple[str, int, int], ...]:
    clusters = [(f"c{n}", draw.whole(1, 5), draw.whole(0, 2)) for n in range(draw.whole(1, 4))]
    if draw.chance(0.15):  # one large tenant beside small ones
        clusters[0] = ("c0", draw.whole(20, 40), 2)
    return tuple(clusters)


def _settings(draw: Draw, seed: int) -> StageSettings:
    quiet_s = draw.pick((0.02, 0.1, 0.1, 0.3))
    policy = Policy(
        heartbeat_timeout_s=draw.pick((None, None, 8.0, 20.0)),
        debounce_quiet_s=quiet_s,
        debounce_max_s=max(quiet_s, draw.pick((0.2, 1.0, 2.0, 3.0))),
        max_unhealthy=draw.pick((Share(percent=100.0), Share(percent=100.0), Share(percent=50.0), Share(absolute=2))),
        cooldown_s=draw.pick((5.0, 15.0, 40.0)),
        in_flight_max=draw.pick((None, None, None, 2)),
    )
    timeout_s = draw.pick((2.0, 4.0, 10.0))
    return StageSettings(
        seed=seed,
        quota=Quota(draw.pick((1, 2, 3, 5, 10)), draw.pick((1.0, 2.0, 5.0, 10.0))),
        batch_max=draw.pick((1, 2, 5, 20)),
        in_flight_max=draw.pick((1, 4, 16)),
        call_timeout_s=timeout_s,
        lateness_s=draw.pick((1.0, 3.0)),
        retry_max_s=draw.pick((4.0, 15.0)),
        breaker_max_s=draw.pick((4.0, 15.0)),
        policy=policy,
        heal_after_s=draw.pick((0.5, 2.0, 4.0)),
        idle_s=draw.pick((0.0, 4.0, 15.0, 60.0)),
        api_rtt_s=draw.pick((0.002, 0.01, 0.05)),
        backend_rtt_s=draw.pick((0.01, 0.05, 0.5)),
        honours_keys=draw.chance(0.8),
        streamed_list=draw.chance(0.5),
        page_items=draw.pick((2, 5, 500)),
        watch_s=draw.pick((20, 20, 100_000)),  # the last: nothing that renews a stream heals what was lost
        pct=draw.chance(0.4),
        turn_messages_max=draw.pick((1, 2, 4, 16)),
    )


def _held(settings: StageSettings, draw: Draw) -> StageSettings:
    """What holds repairs, drawn apart so that the other settings are what they were before these came."""
    fleet_share = draw.pick((ALL,) * 7 + (Share(percent=50.0),))
    cooldown_max_s = draw.pick((0.0, 0.0, 0.0, 2.0, 4.0)) * settings.policy.cooldown_s
    policy = evolve(
        settings.policy, cooldown_max_s=cooldown_max_s, attempts_max=draw.pick((None, None, None, None, 1, 2, 3))
    )
    return evolve(settings, fleet_share=fleet_share, policy=policy)


def _swarm(draw: Draw) -> tuple[str, ...]:
    count = draw.pick((0, 1, 1, 2, 3, 5, 8, 12))
    tickets, chosen = [id_ for id_, each in CATALOGUE.items() for _ in range(each.weight)], []
    for _ in range(count):
        one = draw.pick(tickets)
        tickets = [id_ for id_ in tickets if id_ != one]
        chosen.append(one)
    return tuple(sorted(chosen, key=list(CATALOGUE).index))


def _users(draw: Draw, shape: Shape) -> list[Step]:
    """What users and nodes do by themselves: failures, births, deaths, moves, new settings."""
    steps: list[Step] = []
    at_s, pace_s = 0.0, draw.pick((0.3, 1.0, 3.0, 8.0))
    while True:
        at_s += draw.between(0.0, 2 * pace_s)
        if at_s >= shape.chaos_s or len(steps) > 150:
            return steps
        steps.append(Step(round(at_s, 3), *_act(draw, shape, len(steps))))


def _act(draw: Draw, shape: Shape, number: int) -> tuple[str, tuple[Argument, ...]]:
    node, cluster, roll = draw.pick(shape.nodes), draw.pick(shape.clusters), draw.whole(0, 99)
    by = draw.pick(("field", "label", "owner"))
    if roll < 45:
        return "fail", (node,)
    if roll < 60:
        return "recover", (node,)
    if roll < 66:
        return "delete-node", (node,)
    if roll < 76:
        return "create-node", (node, node.split("-")[0], draw.pick((True, False, None)), by)
    if roll < 80:
        return "recreate-node", (node, node.split("-")[0], draw.pick((True, False)), by)
    if roll < 84:
        return "move-node", (node, cluster)
    if roll < 86:
        return "mute-node", (node, draw.between(5.0, 40.0))
    if roll < 88:
        return "touch-cluster", (cluster, str(number))
    if roll < 89:
        return "override-valve", (cluster, draw.between(3.0, 30.0))
    if roll < 91:
        return "delete-cluster", (cluster,)
    if roll < 94:
        return "create-cluster", (cluster,)
    return "configure", (cluster, *_new_settings(draw))


def _new_settings(draw: Draw) -> tuple[Argument, ...]:
    return draw.pick((
        ("paused", True), ("paused", None), ("minHealthy", draw.whole(0, 3)),
        ("repair.maxUnhealthy", draw.pick(("100%", "50%", "20%"))), ("repair.maxUnhealthy", draw.whole(0, 4)),
        ("repair.enabled", draw.pick((True, False))), ("repair.cooldown", "10s"),
        ("heartbeatTimeout", draw.pick(("6s", "30s", None))),
        ("debounce.quiet", "50ms", "debounce.max", "1s"),
    ))  # fmt: skip
