"""Faults of our own process, at random and by meaning: P1 to P12; of the reader and its pipe: R1 to R3; bad timing: M1."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ..actor import Context
from ..core.model import ParentKey
from ..core.ports import Objects, StreamChanged
from ..core.records import entry_of
from ..messages import CloseUp, IdleReached, ItemsAnswered, PassivateWanted, RepairsWanted, StatusAnswered, StatusWanted
from ..sim.reader import Deliver
from .catalogue import Shape, fault
from .draw import Draw
from .faults_api import mend_all
from .process import WEDGE_AFTER_S, Injected, Strike
from .stage import CLUSTERS, RECOVER_S, Poison, Stage
from .steps import node_kind, verb

__all__ = ["MOMENTS", "heal_process", "struck"]

STATIC = {"gateway": "backend", "status": "write", "directory": "operator"}
_ACTOR_MESSAGES = {
    "watcher/Cluster": ("Objects", "StreamChanged", "SubscribeWanted", "UnsubscribeWanted", ""),
    "watcher/ComputeNode": ("Objects", "StreamChanged", "SubscribeWanted", "UnsubscribeWanted", ""),
    "watcher/StorageNode": ("Objects", "SubscribeWanted", ""),
    "cluster/": (
        "Objects", "DebounceEnded", "LookAgain", "StatusAnswered", "ItemsAnswered", "BackendState", "LastMail",
        "IdleReached", "",
    ),
    "gateway": ("RepairsWanted", "CallEnded", "DispatchDue", ""),
    "status": ("StatusWanted", "WriteEnded", "RetryDue", "EventWanted", "EventEnded", ""),
    "directory": (
        "ParentWanted", "Down", "RestartDue", "ParentGone", "PassivateWanted", "Passivated", "WatcherStarted",
        "SyncChanged", "",
    ),
}  # fmt: skip


def _deletes(message: Any) -> bool:
    return isinstance(message, Objects) and any(record is None for record in message.entries.values())


def _replaces(message: Any) -> bool:
    return isinstance(message, Objects) and message.replace


MEANINGS: dict[str, tuple[str, str, Callable[[Any], bool]]] = {
    "watcher-on-deletion": ("watcher/", "Objects", _deletes),
    "cluster-on-deletion": ("cluster/", "Objects", _deletes),
    "watcher-on-list": ("watcher/", "Objects", _replaces),
    "cluster-on-list": ("cluster/", "Objects", _replaces),
    "cluster-on-answer": ("cluster/", "ItemsAnswered", lambda message: True),
    "cluster-on-written": ("cluster/", "StatusAnswered", lambda message: True),
    "gateway-on-reply": ("gateway", "CallEnded", lambda message: True),
    "status-on-reply": ("status", "WriteEnded", lambda message: True),
    "directory-on-down": ("directory", "Down", lambda message: True),
    "directory-on-restart": ("directory", "RestartDue", lambda message: True),
    "gateway-on-wish": ("gateway", "RepairsWanted", lambda message: bool(message.items)),
    "gateway-on-withdrawal": ("gateway", "RepairsWanted", lambda message: not message.items),
}
"""Crashes by meaning: whose, of what."""

MOMENTS = ("call-sent", "call-arrived", "status-arrived", "repairs-wanted", "status-wanted", "answered", "written")
"""Where a kill -9 hurts most: between an intent and its act, and between the act and the news of it."""


def struck(stage: Stage, actor: str) -> None:
    """An actor dies, or stands still: what depends on it is impaired while it is restarted."""
    now = stage.world.clock.now()
    recent = stage.broken.deaths.setdefault(actor, [])
    recent.append(now)
    in_a_row = sum(1 for at_s in recent if now - at_s <= 240.0)
    backoff_s = min(30.0, 0.1 * 2.0 ** (in_a_row - 1))
    for part in parts_of(actor):
        stage.impair(part, now + backoff_s + 6.0)
    stage.impair(f"actor:{actor}", now + backoff_s + 6.0)
    if actor == "gateway":
        settings = stage.settings
        unknown_s = settings.call_timeout_s + settings.lateness_s
        stage.impair("backend", now + backoff_s + unknown_s + 2 * settings.quota.window_s + 6.0)


def parts_of(actor: str) -> tuple[str, ...]:
    """The parts of the world that do not work while that actor is down."""
    if actor.startswith("watcher/"):
        return (f"api:{actor.removeprefix('watcher/')}",)
    return (STATIC[actor],) if actor in STATIC else ()


@verb("strike")
def strike(stage: Stage, actor: str, message: str, where: str, nth: int, effect: int, count: int) -> None:
    """The next messages of that actor kill it."""
    if stage.probe is not None:
        stage.probe.strikes.append(Strike(actor, message, where, nth, effect, count, fault=stage.broken.fault))


@verb("strike-meaning")
def strike_meaning(stage: Stage, meaning: str, where: str, count: int) -> None:
    """The next message of that meaning kills who handles it."""
    if stage.probe is not None:
        actor, message, only = MEANINGS[meaning]
        stage.probe.strikes.append(Strike(actor, message, where, 1, 1, count, only, stage.broken.fault))


@verb("strike-after")
def strike_after(stage: Stage, first: str, second: str, node: str) -> None:
    """When ``first`` dies next, ``second`` dies of the news that the node turned: nobody may be there to see it."""
    stage.broken.after[first] = (second, node, stage.broken.fault)


def _struck_too(stage: Stage, actor: str) -> None:
    second, name, fault_id = stage.broken.after.pop(actor, ("", "", ""))
    probe = stage.probe
    if second and probe is not None:
        probe.strikes.append(Strike(second, "Objects", fault=fault_id))
        for node in [node for node in stage.truth.nodes.values() if node.name == name]:
            stage.report(name, not node.healthy, kind=node.kind)


@verb("poison-record")
def poison_record(stage: Stage, name: str, actor: str) -> None:
    """The node turns, and the record of that very version kills whoever of ``actor`` (a prefix of names) reads it."""
    for node in [node for node in stage.truth.nodes.values() if node.name == name]:
        stage.report(name, not node.healthy, kind=node_kind(name))
        stage.broken.poisons[node.uid] = Poison(name, stage.api.resource_version, actor, stage.broken.fault)


def _read(stage: Stage, actor: str, ctx: Context) -> None:
    if not stage.broken.poisons or ctx.handling is None:  # in hand is nothing where a list does not have it any more
        return
    uid, record = entry_of(*ctx.handling)
    poison = stage.broken.poisons.get(uid)
    if poison is None or record is None or record.version != poison.version or not actor.startswith(poison.actor):
        return
    urn = ctx.ref.actor_urn
    poison.deaths[urn] = poison.deaths.get(urn, 0) + 1
    struck(stage, actor)
    stage.note_fired(poison.fault)
    for heard in stage.on_poisoned:
        heard(actor, urn, record.uid)
    raise Injected(f"of reading {poison.name}")


@verb("meddle")
def meddle(stage: Stage, moment: str, count: int) -> None:
    """Somebody acts at the next such moments: labels a parent whose status is being written, has a node of a parent fail that
    falls asleep, or asks whether it may, creates a parent again whose actor is closing.
    """
    stage.broken.meddle[moment] = (count, stage.broken.fault)


def _meddled(stage: Stage, moment: str, parent: ParentKey) -> None:
    count, fault_id = stage.broken.meddle.get(moment, (0, ""))
    if not count:
        return
    stage.broken.meddle[moment] = (count - 1, fault_id)
    stage.note_fired(fault_id)
    stage.impair(f"write:{parent.name}", stage.world.clock.now() + 6.0)
    if moment == "status-wanted":
        stage.touch(CLUSTERS, parent.name, {"metadata": {"labels": {"meddled": str(count)}}})
    elif moment == "closing":
        stage.cluster(parent.name)
    else:
        for node in stage.truth.children(parent)[:1]:
            stage.report(node.name, not node.healthy, kind=node.kind)


@verb("wedge")
def wedge(stage: Stage, actor: str) -> None:
    """The next turn of that actor never ends."""
    if stage.process is not None:
        stage.process.wedge(actor, stage.broken.fault)


@verb("kill")
def kill(stage: Stage, after_s: float) -> None:
    """SIGKILL, and a new process some time later."""
    stage.impair_all(after_s)
    stage.restart(after_s)


@verb("kill-at")
def kill_at(stage: Stage, moment: str, nth: int, after_s: float) -> None:
    """SIGKILL at the n-th such moment from now on."""
    stage.broken.kill_at[moment] = (nth, after_s, stage.broken.fault)


@verb("terminate")
def terminate(stage: Stage, grace_s: float) -> None:
    """SIGTERM; the new process starts when the old one has gone."""
    stage.impair_all(grace_s)
    stage.terminate(grace_s)


@verb("freeze")
def freeze(stage: Stage, for_s: float) -> None:
    """The machine stands still: our clocks go on."""
    process = stage.process
    if process is None or process.frozen:
        return
    now = stage.world.clock.now()
    for part, until_s in list(stage.impaired_until_s.items()):
        if until_s > now:
            stage.impair(part, until_s + for_s)  # whoever was recovering does so later
    stage.impair_all(for_s)
    process.freeze()
    stage.world.after(for_s, process.thaw)


@verb("skew")
def skew(stage: Stage, seconds: float) -> None:
    """Somebody sets our wall clock."""
    stage.world.clock.skew_s = seconds


@verb("slow-threads")
def slow_threads(stage: Stage, actor: str, seconds: float, for_s: float) -> None:
    """Turns of those actors begin late: other work has the processor, a log's disk is full."""
    now = stage.world.clock.now
    until_s = now() + for_s
    stage.broken.slow = (actor, seconds, until_s)
    stage.set_holds()
    for part in ("operator", "backend", "write", *(f"api:{kind}" for kind in ("Cluster", *stage.child_kinds))):
        stage.impair(part, until_s + 10.0)


def _impair_reading(stage: Stage, kind: str, for_s: float) -> None:
    until_s = stage.world.clock.now() + for_s
    stage.impair(f"api:{kind}", until_s)
    stage.impair(f"list:{kind}", until_s)


@verb("crash-reader")
def crash_reader(stage: Stage, kind: str) -> None:
    """The reader of that kind dies, and with it all that it holds."""
    _impair_reading(stage, kind, RECOVER_S)
    mend_all(stage, kind)
    if stage.reader is not None:
        stage.reader.crash(kind)


@verb("cut-pipe")
def cut_pipe(stage: Stage, kind: str) -> None:
    """The reader's process dies while it writes its next mail: a frame is taken whole or not at all, so that one is lost."""
    _impair_reading(stage, kind, RECOVER_S)
    stage.broken.pipe_cuts[kind] = stage.broken.fault
    stage.pipe = _pipe(stage)


@verb("fill-pipe")
def fill_pipe(stage: Stage, kind: str, for_s: float) -> None:
    """The pipe is full: nothing of that kind comes through until then, and then all of it does."""
    _impair_reading(stage, kind, for_s + 10.0)
    stage.impair(f"late:{kind}", stage.world.clock.now() + for_s + 1.0)
    stage.broken.pipe_held.setdefault(kind, [])
    stage.pipe = _pipe(stage)
    stage.world.after(for_s, lambda: _flush(stage, kind))


def _flush(stage: Stage, kind: str) -> None:
    for life, mail, deliver in stage.broken.pipe_held.pop(kind, []):
        if life == stage.lives:
            deliver(mail)


def _pipe(stage: Stage) -> Callable[[str, Objects | StreamChanged, Deliver], None]:
    def pipe(kind: str, mail: Objects | StreamChanged, deliver: Deliver) -> None:
        process = stage.process
        if kind in stage.broken.pipe_held:
            stage.broken.pipe_held[kind].append((stage.lives, mail, deliver))
        elif kind in stage.broken.pipe_cuts and isinstance(mail, Objects) and process is not None:
            stage.note_fired(stage.broken.pipe_cuts.pop(kind))
            process.after(0.0, lambda: crash_reader(stage, kind))
        else:
            deliver(mail)

    return pipe


def install(stage: Stage) -> None:
    """Have a new life meet the faults that hold, and moments at which it may be killed."""
    process, probe = stage.process, stage.probe
    assert process is not None
    assert probe is not None
    stage.set_holds()
    probe.on_strike = lambda strike, actor: _on_strike(stage, strike, actor)
    probe.listen(RepairsWanted, lambda actor, message: moment(stage, "repairs-wanted") if message.items else None)
    probe.listen(StatusWanted, lambda actor, message: moment(stage, "status-wanted"))
    probe.listen(StatusWanted, lambda actor, message: _meddled(stage, "status-wanted", message.parent))
    probe.listen(IdleReached, lambda actor, message: _meddled(stage, "asking-to-sleep", _parent(actor)))
    probe.on_entry = partial(_read, stage)
    probe.listen(PassivateWanted, lambda actor, message: _meddled(stage, "falling-asleep", message.parent))
    probe.listen(CloseUp, lambda actor, message: _meddled(stage, "closing", _parent(actor)))
    probe.listen(ItemsAnswered, lambda actor, message: moment(stage, "answered"))
    probe.listen(StatusAnswered, lambda actor, message: moment(stage, "written"))


def _on_strike(stage: Stage, strike: Strike, actor: str) -> None:
    struck(stage, actor)
    if strike.where == "wedge":
        for part in (*parts_of(actor), f"actor:{actor}"):
            stage.impair(part, stage.world.clock.now() + WEDGE_AFTER_S + 10.0)
    if strike.where == "memory" or (strike.where == "wedge" and actor in STATIC):
        stage.impair_all(WEDGE_AFTER_S + 5.0)
    stage.note_fired(strike.fault)
    _struck_too(stage, actor)


def moment(stage: Stage, name: str) -> None:
    """One of ``MOMENTS`` has come; the kill itself happens once the turn is over, and before anything else."""
    due = stage.broken.kill_at.get(name)
    if due is None:
        return
    nth, after_s, fault_id = due
    if nth > 1:
        stage.broken.kill_at[name] = (nth - 1, after_s, fault_id)
        return
    del stage.broken.kill_at[name]
    process = stage.process
    if process is not None:
        stage.impair_all(after_s)
        process.alive = False
        stage.note_fired(fault_id)
        stage.world.after(0.0, lambda: stage.restart(after_s))


def _parent(actor: str) -> ParentKey:
    _, namespace, name = actor.split("/", 2)
    return ParentKey(namespace, name)


def heal_process(stage: Stage) -> None:
    """End all of these."""
    if stage.process is not None:
        stage.process.thaw()
    if stage.probe is not None:
        stage.probe.strikes.clear()
    stage.broken.kill_at.clear()
    stage.broken.meddle.clear()
    stage.broken.after.clear()
    stage.broken.poisons.clear()
    slow, seconds, until_s = stage.broken.slow
    stage.broken.slow = (slow, seconds, min(until_s, stage.world.clock.now()))  # a turn that is held runs a while later
    stage.set_holds()
    stage.broken.pipe_cuts.clear()
    for kind in list(stage.broken.pipe_held):
        _flush(stage, kind)
    stage.pipe = None
    stage.world.clock.skew_s = 0.0


# --- how they are drawn -----------------------------------------------------------------------------------------------
def _at(draw: Draw, shape: Shape) -> float:
    return draw.between(0.0, shape.chaos_s)


def _one(draw: Draw) -> tuple[str, str]:
    actor = draw.pick(tuple(_ACTOR_MESSAGES))
    return actor, draw.pick(_ACTOR_MESSAGES[actor])


def _stir(draw: Draw, shape: Shape, at_s: float) -> list[Any]:
    return [
        (at_s + draw.between(0.0, 3.0), draw.pick(("fail", "recover")), (draw.pick(shape.nodes),)) for _ in range(3)
    ]


@fault("P1", "an actor dies before, after or in the middle of a message", times=(6, 10), weight=3)
def _p1(draw: Draw, shape: Shape) -> Any:
    at_s, (actor, message) = _at(draw, shape), _one(draw)
    where = draw.pick(("before", "after", "effect", "effect"))
    hit = (at_s, "strike", (actor, message, where, draw.pick((1, 1, 2, 4)), draw.whole(1, 4), 1))
    return [hit, *_stir(draw, shape, at_s)]


@fault("P2", "an actor dies in its constructor, on_start or on_stop")
def _p2(draw: Draw, shape: Shape) -> Any:
    at_s, (actor, message) = _at(draw, shape), _one(draw)
    begin = (at_s, "strike", (actor, message, "before", 1, 1, 1))
    again = (at_s, "strike", (actor, "", draw.pick(("init", "start", "stop")), 1, 1, draw.whole(1, 2)))
    return [begin, again, *_stir(draw, shape, at_s)]


@fault("P3", "an actor dies at a moment that matters", weight=3)
def _p3(draw: Draw, shape: Shape) -> Any:
    at_s, meaning = _at(draw, shape), draw.pick(tuple(MEANINGS))
    if draw.chance(0.2):  # somebody dies, and somebody else while nobody is there to see it
        first = draw.pick(("directory", "gateway", "status", "watcher/ComputeNode"))
        second = draw.pick(("cluster/", "cluster/", "watcher/"))
        die = (at_s, "strike", (first, "", draw.pick(("before", "after")), 1, 1, 1))
        return [(at_s, "strike-after", (first, second, draw.pick(shape.nodes))), die, *_stir(draw, shape, at_s)]
    hit = (at_s, "strike-meaning", (meaning, draw.pick(("before", "after", "effect")), 1))
    more = [(at_s + 0.2, "delete-node", (draw.pick(shape.nodes),))] if "deletion" in meaning else []
    return [hit, *more, *_stir(draw, shape, at_s)]


@fault("P4", "an actor dies again and again")
def _p4(draw: Draw, shape: Shape) -> Any:
    at_s = _at(draw, shape)
    actor, count = draw.pick((
        (f"cluster/default/{draw.pick(shape.clusters)}", 8), ("cluster/", 5), ("gateway", 3), ("watcher/ComputeNode", 3),
        ("status", 3), ("directory", 3),
    ))  # fmt: skip
    hit = (at_s, "strike", (actor, "", draw.pick(("before", "after")), 1, 1, count))
    return [hit, *_stir(draw, shape, at_s), *_stir(draw, shape, at_s + 2.0)]


@fault("P5", "a thread does not come back: from an actor's message, or from a call", times=(3, 6), weight=3)
def _p5(draw: Draw, shape: Shape) -> Any:
    at_s = _at(draw, shape)
    if draw.chance(0.2):
        return [(at_s, "lose-ends", (draw.between(0.5, 10.0),)), *_stir(draw, shape, at_s)]
    actor = draw.pick(("cluster/", "cluster/", "status", "watcher/ComputeNode", "gateway", "directory"))
    return [(at_s, "wedge", (actor,)), *_stir(draw, shape, at_s)]


@fault("P6", "kill -9, anywhere and between an act and the news of it", times=(4, 7), weight=2)
def _p6(draw: Draw, shape: Shape) -> Any:
    at_s, after_s = _at(draw, shape), draw.pick((0.1, 2.0, 10.0))
    if draw.chance(0.3):
        return [(at_s, "kill", (after_s,))]
    return [(at_s, "kill-at", (draw.pick(MOMENTS), draw.whole(1, 3), after_s)), *_stir(draw, shape, at_s)]


@fault("P7", "SIGTERM at any time", times=(6, 9))
def _p7(draw: Draw, shape: Shape) -> Any:
    return [(_at(draw, shape), "terminate", (draw.pick((5.0, 30.0)),))]


@fault("P9", "clocks: the wall clock is set, the process stands still", times=(5, 8))
def _p9(draw: Draw, shape: Shape) -> Any:
    if draw.chance(0.5):
        return [(_at(draw, shape), "skew", (draw.pick((-3600.0, 3600.0, 10.0, -10.0)),))]
    return [(_at(draw, shape), "freeze", (draw.between(0.5, 40.0),))]


@fault("P10", "out of memory", times=(4, 6), weight=4)
def _p10(draw: Draw, shape: Shape) -> Any:
    at_s, (actor, message) = _at(draw, shape), _one(draw)
    return [(at_s, "strike", (actor, message, "memory", draw.pick((1, 1, 2, 4)), 1, 1)), *_stir(draw, shape, at_s)]


@fault("P11", "storms: everything fails, many parents at once, reports without end")
def _p11(draw: Draw, shape: Shape) -> Any:
    at_s, roll = _at(draw, shape), draw.whole(0, 2)
    if roll == 0:
        return [(at_s, "fail-cluster", (cluster,)) for cluster in shape.clusters]
    if roll == 1:
        return [(at_s, "create-cluster", (f"more{n}",)) for n in range(8)]
    node = draw.pick(shape.nodes)
    return [(at_s + n * 0.04, "recover" if n % 2 else "fail", (node,)) for n in range(60)]


@fault("P12", "threads that wait for other things: a blocked log, a full disk, a busy processor", times=(5, 9))
def _p12(draw: Draw, shape: Shape) -> Any:
    actor = draw.pick(("", "cluster/", "watcher/", "gateway", "status", "directory"))
    return [(_at(draw, shape), "slow-threads", (actor, draw.between(0.001, 0.6), draw.between(2.0, 30.0)))]


@fault("M1", "somebody acts at the worst moment", times=(5, 8))
def _m1(draw: Draw, shape: Shape) -> Any:
    at_s, what = _at(draw, shape), draw.pick(("status-wanted", "falling-asleep", "asking-to-sleep", "closing"))
    stir = _stir(draw, shape, at_s)
    if what == "closing":
        stir.append((at_s + 1.0, "delete-cluster", (draw.pick(shape.clusters),)))
    return [(at_s, "meddle", (what, draw.whole(1, 3))), *stir]


@fault("R1", "the reader of a kind dies", times=(5, 9))
def _r1(draw: Draw, shape: Shape) -> Any:
    return [(_at(draw, shape), "crash-reader", (draw.pick(shape.kinds),))]


@fault("R2", "the reader's pipe is cut inside a batch")
def _r2(draw: Draw, shape: Shape) -> Any:
    at_s, kind = _at(draw, shape), draw.pick(shape.kinds)
    return [(at_s, "cut-pipe", (kind,)), *_stir(draw, shape, at_s), (at_s + 1.0, "fail-cluster", (shape.clusters[0],))]


@fault("R3", "the reader's pipe is full", times=(5, 8))
def _r3(draw: Draw, shape: Shape) -> Any:
    return [(_at(draw, shape), "fill-pipe", (draw.pick(shape.kinds), draw.between(0.2, 15.0)))]
