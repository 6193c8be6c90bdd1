"""Faults of the API server and of the way there: A1 to A24. Each verb says which part is impaired, and until when."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from ..core.errors import ApiError, ApiThrottled, Expired, Forbidden, NotFound, Unauthorized, Unreachable
from ..core.stream import WATCH_S
from ..sim.apierrors import expired
from ..sim.network import Fate
from ..sim.reader import SimReader
from .catalogue import Shape, fault
from .draw import Draw
from .stage import CLUSTERS, PLURALS, RECOVER_S, Stage
from .steps import node_kind, verb
from .truth import NodeTruth

__all__ = ["heal_api", "install"]

_VERSION = re.compile(rb'"resourceVersion":"(\d+)"')
STALE_MAX_S = 45.0
"""For how long at a time lists may be behind: after a minute a reader takes the server for one that was restored."""
_ERRORS: dict[str, Any] = {
    "missing": NotFound, "forbidden": Forbidden, "unauthorized": Unauthorized, "unavailable": Unreachable,
    "gone": Expired,
}  # fmt: skip
_GARBAGE = {
    "no-json": b'{"type":"MODIFIED","object":{"metadata":{\n',
    "no-object": b'{"type":"MODIFIED","object":[1,2,3]}\n',
    "no-metadata": b'{"type":"ADDED","object":{"spec":{}}}\n',
    "no-uid": b'{"type":"ADDED","object":{"metadata":{"name":"x","resourceVersion":"1"}}}\n',
    "no-type": b'{"object":{}}\n',
    "not-utf8": b'{"type":"ADDED","object":{"metadata":{"name":"\xff\xfe"}}}\n',
    "labels-null": b'{"type":"ADDED","object":{"metadata":{"name":"y","labels":null,"resourceVersion":"z"}}}\n',
    "number": b"17\n",
    "empty": b"\n\n",
}


def _impair(stage: Stage, kind: str, for_s: float = 0.0, recover_s: float = RECOVER_S, *, lists: bool = True) -> None:
    until_s = stage.world.clock.now() + for_s + recover_s
    stage.impair(f"api:{kind}", until_s)
    if lists:
        stage.impair(f"list:{kind}", until_s)


def _during(stage: Stage, for_s: float, every_s: float, act: Any) -> None:
    """Do it now, and again every so often until the time is over."""
    until_s = stage.world.clock.now() + for_s

    def again() -> None:
        if stage.chaos_over:
            return
        act()
        if stage.world.clock.now() + every_s < until_s:
            stage.world.after(every_s, again)

    again()


def _reader(stage: Stage, act: Any) -> None:
    if stage.reader is not None:
        act(stage.reader)


@verb("cut")
def cut(stage: Stage, kind: str, agreed: bool, part: float | None) -> None:
    _impair(stage, kind, 0.0, 10.0)
    _reader(stage, lambda reader: reader.cut(kind, agreed=agreed, part=part))


@verb("close-at-once")
def close_at_once(stage: Stage, kind: str, for_s: float) -> None:
    """The server ends each watch as soon as it is open."""
    _impair(stage, kind, for_s)
    _during(stage, for_s, 0.25, lambda: _reader(stage, lambda reader: reader.cut(kind, agreed=True)))


@verb("compact")
def compact(stage: Stage, kind: str, for_s: float) -> None:
    """History is compacted, all the time for a while, and the kind's stream breaks: to resume it is answered with 410."""
    for each in (CLUSTERS, *PLURALS):
        _impair(stage, each if each != CLUSTERS else stage.fleet.parent.kind, for_s)

    def act() -> None:
        stage.api.compact()
        _reader(stage, lambda reader: reader.cut(kind))

    _during(stage, for_s, 0.7, act)


@verb("expire")
def expire(stage: Stage, kind: str) -> None:
    """410 inside the open stream."""
    _impair(stage, kind)
    _reader(stage, lambda reader: reader.expire(kind, expired("planted: too old resource version")))


@verb("lag")
def lag(stage: Stage, kind: str, seconds: float, for_s: float) -> None:
    """That kind's changes come late; the others' do not."""
    _impair(stage, kind, for_s + seconds, 5.0)
    until_s = stage.world.clock.now() + for_s
    stage.impair(f"late:{kind}", until_s + seconds + 1.0)
    stage.broken.lags[kind] = (until_s, seconds)
    _reader(stage, stage.set_lags)
    stage.world.after(for_s, lambda: _reader(stage, stage.set_lags))


@verb("mangle")
def mangle(stage: Stage, kind: str, how: str, for_s: float) -> None:
    """``twice``: each line comes twice. ``old``: the last lines come again before new ones. ``no-bookmarks``."""
    _impair(stage, kind, for_s if how == "no-bookmarks" else 0.0, RECOVER_S if how == "no-bookmarks" else 2.0)
    stage.broken.manglings[kind] = (how, stage.world.clock.now() + for_s)


@verb("swallow")
def swallow(stage: Stage, kind: str) -> None:
    """The stream is half-open: nothing arrives, nothing ends."""
    _impair(stage, kind, stage.settings.watch_s if stage.settings.watch_s > WATCH_S else 0.0, lists=False)
    _reader(stage, lambda reader: reader.swallow(kind))


@verb("mute")
def mute(stage: Stage, kind: str, for_s: float, breaks: bool = True) -> None:
    """Requests are taken and not answered. The stream breaks, so that there are some; else it goes on to its agreed end."""
    _impair(stage, kind, for_s, RECOVER_S + 20.0)
    stage.broken.mutes[kind] = stage.world.clock.now() + for_s
    if breaks:
        _reader(stage, lambda reader: reader.cut(kind))


@verb("refuse-reads")
def refuse_reads(stage: Stage, kind: str, how: str, for_s: float, wish_s: float | None) -> None:
    """Lists and watches of that kind are refused; the open one breaks."""
    _impair(stage, kind, for_s + min(wish_s or 0.0, 66.0))
    stage.broken.refusals[kind] = (how, stage.world.clock.now() + for_s, wish_s)
    _reader(stage, lambda reader: reader.cut(kind))


@verb("refuse-writes")
def refuse_writes(stage: Stage, how: str, for_s: float, share: float, seconds: float, about: str) -> None:
    """Status writes meet that fate."""
    until_s = stage.world.clock.now() + for_s
    stage.impair("write" if not about else f"write:{about}", until_s + 40.0 + min(seconds, 3600.0))
    stage.writer.fates.append(Fate(how, until_s, share, seconds, about, on_strike=stage.firing()))


@verb("garbage")
def garbage(stage: Stage, kind: str, what: str) -> None:
    """A line that cannot be read."""
    line = _GARBAGE[what] if what != "huge" else b'{"type":"ADDED","object":{"x":"' + b"y" * 1_500_000 + b'"}}\n'
    _impair(stage, kind, 0.0, 2.0)
    _reader(stage, lambda reader: reader.feed(kind, line))


@verb("stale-lists")
def stale_lists(stage: Stage, kind: str, changes: int, for_s: float) -> None:
    """Somebody wants a new list, and it comes from a server that is so many changes behind."""
    now = stage.world.clock.now()
    _, before_s, since_s = stage.broken.stale.get(kind, (0, -1.0, now))
    since_s = since_s if before_s >= now else now
    until_s = min(now + for_s, since_s + STALE_MAX_S)  # a server that stays behind for longer has been restored
    _impair(stage, kind, for_s, RECOVER_S + 30.0)
    stage.broken.stale[kind] = (changes, until_s, since_s)
    _reader(stage, lambda reader: reader.relist(kind))


@verb("replay")
def replay(stage: Stage, kind: str, changes: int, every_s: float = 0.0) -> None:
    """The stream brings the last changes again, as after a failover to a server that is behind: all at once, or apart."""
    _impair(stage, kind, changes * every_s, 5.0)
    _reader(stage, lambda reader: reader.rewind(kind, changes, every_s))


@verb("spoil")
def spoil(stage: Stage, name: str, for_s: float) -> None:
    """A node's object becomes one that we cannot read, and stays so until somebody mends it. Only one that has been read as
    it is: what would be known of it else, nobody can say.
    """
    kind = node_kind(name)
    for node in list(stage.truth.nodes.values()):
        if node.name == name and node.uid not in stage.broken.spoilt and _read_as_it_is(stage, node):
            _impair(stage, kind, for_s)
            stage.touch(PLURALS[kind], name, {"metadata": {"labels": {"spoilt": "yes"}}})
            stage.broken.spoilt[node.uid] = stage.api.resource_version
            stage.world.after(for_s, partial(_mend, stage, node.uid))


def _read_as_it_is(stage: Stage, node: NodeTruth) -> bool:
    """Whether the reader has its last heartbeat, and the watcher its health and parent."""
    stored = stage.stored(PLURALS[node.kind], node.name)
    if stage.reader is None or stored is None:
        return False
    version = stage.reader.held(node.kind).get(node.uid, ("", "", 0))[2]
    known = stage.run.court.mirror.child(node.kind, node.uid)
    up_to_date = str(version) == stored["metadata"]["resourceVersion"] and known is not None
    return up_to_date and (known.healthy, known.parent) == (node.healthy, node.parent)


def _mend(stage: Stage, uid: str) -> None:
    if stage.broken.away_until_s > stage.world.clock.now():
        stage.world.after(1.0, lambda: _mend(stage, uid))
        return
    node = stage.truth.nodes.get(uid)
    if uid in stage.broken.spoilt:
        del stage.broken.spoilt[uid]
        if node is not None:
            stage.touch(PLURALS[node.kind], node.name, {"metadata": {"labels": {"spoilt": None}}})


@verb("away")
def away(stage: Stage, for_s: float) -> None:
    """The API server is away for everybody: for users, for nodes and for us."""
    until_s = stage.world.clock.now() + for_s
    for kind in (stage.fleet.parent.kind, *stage.child_kinds):
        _impair(stage, kind, for_s)
        _reader(stage, lambda reader, kind=kind: reader.cut(kind))
    stage.impair("write", until_s + 40.0)
    stage.writer.fates.insert(0, Fate("unavailable", until_s))
    stage.broken.away_until_s = max(stage.broken.away_until_s, until_s)


@verb("relist")
def relist(stage: Stage, kind: str, compact_after_s: float | None) -> None:
    """List again; ``compact_after_s`` later the list's moment, and so its paging token, is gone."""
    _impair(stage, kind)
    _reader(stage, lambda reader: reader.relist(kind))
    if compact_after_s is not None:
        for each in (stage.fleet.parent.kind, *stage.child_kinds):
            _impair(stage, each)
        stage.world.after(compact_after_s, stage.api.compact)


def mend_all(stage: Stage, kind: str = "") -> None:
    """Somebody mends what is spoilt (of that kind): who has never read an object cannot know of it."""
    for uid in list(stage.broken.spoilt):
        node = stage.truth.nodes.get(uid)
        if node is None or kind in ("", node.kind):
            _mend(stage, uid)


def heal_api(stage: Stage) -> None:
    """End all of these. What the operator has not recovered from yet is still impaired."""
    if stage.settings.watch_s > WATCH_S:  # no stream ends by itself: somebody must end the dead ones
        for kind in (stage.fleet.parent.kind, *stage.child_kinds):
            part = f"api:{kind}"
            stage.impaired_until_s[part] = min(stage.impaired_until_s.get(part, -1.0), stage.world.clock.now())
            _impair(stage, kind)
            _reader(stage, lambda reader, kind=kind: reader.cut(kind))
    stage.broken.away_until_s = min(stage.broken.away_until_s, stage.world.clock.now())
    mend_all(stage)
    stage.broken.lags.clear()
    stage.broken.manglings.clear()
    stage.broken.mutes.clear()
    stage.broken.refusals.clear()
    stage.broken.stale.clear()
    stage.writer.fates.clear()
    _reader(stage, stage.set_lags)


# --- how they are drawn -----------------------------------------------------------------------------------------------
def _at(draw: Draw, shape: Shape) -> float:
    return draw.between(0.0, shape.chaos_s)


@fault("A1", "watch cut in the middle of a line", times=(5, 8))
def _a1(draw: Draw, shape: Shape) -> Any:
    return [(_at(draw, shape), "cut", (draw.pick(shape.kinds), False, draw.between(0.0, 1.0)))]


@fault("A2", "each watch is ended as soon as it is open", times=(6, 11))
def _a2(draw: Draw, shape: Shape) -> Any:
    return [(_at(draw, shape), "close-at-once", (draw.pick(shape.kinds), draw.between(1.0, 15.0)))]


@fault("A3", "410 on resuming, in the stream, or again and again", times=(6, 10))
def _a3(draw: Draw, shape: Shape) -> Any:
    kind = draw.pick(shape.kinds)
    if draw.chance(0.3):
        return [(_at(draw, shape), "expire", (kind,))]
    return [(_at(draw, shape), "compact", (kind, draw.pick((0.1, 0.1, 3.0, 12.0))))]


@fault("A4", "events come twice, or old ones again", times=(5, 8))
def _a4(draw: Draw, shape: Shape) -> Any:
    return [
        (_at(draw, shape), "mangle", (draw.pick(shape.kinds), draw.pick(("twice", "old")), draw.between(5.0, 60.0)))
    ]


@fault("A5", "one kind is seconds behind the others", times=(5, 8))
def _a5(draw: Draw, shape: Shape) -> Any:
    return [(_at(draw, shape), "lag", (draw.pick(shape.kinds), draw.between(0.2, 8.0), draw.between(2.0, 30.0)))]


@fault("A6", "every change is late")
def _a6(draw: Draw, shape: Shape) -> Any:
    at_s, late_s, for_s = _at(draw, shape), draw.between(0.1, 4.0), draw.between(2.0, 20.0)
    return [(at_s, "lag", (kind, late_s, for_s)) for kind in shape.kinds]


@fault("A7", "children before their parent")
def _a7(draw: Draw, shape: Shape) -> Any:
    at_s, name = _at(draw, shape), f"late{draw.whole(0, 3)}"
    nodes = [(at_s, "create-node", (f"{name}-n{n}", name, draw.chance(0.7), "field")) for n in range(2)]
    return [*nodes, (at_s + draw.between(0.0, 10.0), "create-cluster", (name,))]


@fault("A8", "stale lists, and old events again, after a failover", times=(5, 8))
def _a8(draw: Draw, shape: Shape) -> Any:
    kind = draw.pick(shape.kinds)
    if draw.chance(0.5):
        return [(_at(draw, shape), "replay", (kind, draw.whole(1, 30), draw.pick((0.0, 0.02, 0.3))))]
    return [(_at(draw, shape), "stale-lists", (kind, draw.whole(1, 20), draw.between(1.0, 20.0)))]


@fault("A9", "no bookmarks", times=(5, 8))
def _a9(draw: Draw, shape: Shape) -> Any:
    return [(_at(draw, shape), "mangle", (draw.pick(shape.kinds), "no-bookmarks", draw.between(20.0, 200.0)))]


@fault("A10", "409, or another writer of the same object")
def _a10(draw: Draw, shape: Shape) -> Any:
    at_s, name = _at(draw, shape), draw.pick(shape.clusters)
    roll = draw.whole(0, 2)
    if roll == 0:
        return [(at_s, "refuse-writes", ("conflict", draw.between(1.0, 20.0), draw.pick((0.5, 1.0)), 0.0, name))]
    if roll == 1:
        return [(at_s + n * draw.between(0.02, 0.5), "touch-cluster", (name, str(n))) for n in range(10)]
    return [(at_s, "overwrite-status", (name,))]


@fault("A11", "429 or 503 with Retry-After, or away for everybody")
def _a11(draw: Draw, shape: Shape) -> Any:
    if draw.chance(0.25):
        return [(_at(draw, shape), "away", (draw.between(3.0, 30.0),))]
    wish_s = draw.pick((0.0, 5.0, 20.0))
    if draw.chance(0.5):
        return [(_at(draw, shape), "refuse-writes", ("throttled", draw.between(0.5, 10.0), 1.0, wish_s, ""))]
    return [(_at(draw, shape), "refuse-reads", (draw.pick(shape.kinds), "throttled", draw.between(0.5, 10.0), wish_s))]


@fault("A12", "a write fails, applied or not")
def _a12(draw: Draw, shape: Shape) -> Any:
    how = draw.pick(("unavailable", "lost", "deaf", "deaf"))
    return [(_at(draw, shape), "refuse-writes", (how, draw.between(0.5, 15.0), draw.pick((0.3, 1.0)), 0.0, ""))]


@fault("A13", "silence: half-open streams, requests without an answer, slow writes")
def _a13(draw: Draw, shape: Shape) -> Any:
    kind, roll = draw.pick(shape.kinds), draw.whole(0, 2)
    if roll == 0:
        return [(_at(draw, shape), "swallow", (kind,))]
    if roll == 1:
        return [(_at(draw, shape), "mute", (kind, draw.between(1.0, 25.0)))]
    how = draw.pick(("slow", "tardy"))
    return [(_at(draw, shape), "refuse-writes", (how, draw.between(1.0, 10.0), 1.0, draw.between(0.2, 8.0), ""))]


@fault("A14", "lines that cannot be read", times=(6, 10))
def _a14(draw: Draw, shape: Shape) -> Any:
    if draw.chance(0.4):
        at_s, node, for_s = _at(draw, shape), draw.pick(shape.nodes), draw.between(2.0, 30.0)
        listed_s = at_s + draw.between(0.2, for_s)
        return [(at_s, "spoil", (node, for_s)), (listed_s, "relist", (node_kind(node), None))]
    what = draw.pick((*_GARBAGE, *_GARBAGE, "huge"))
    return [(_at(draw, shape), "garbage", (draw.pick(shape.kinds), what))]


@fault("A15", "the kind is away for a while; the schema refuses our status")
def _a15(draw: Draw, shape: Shape) -> Any:
    if draw.chance(0.3):
        return [(_at(draw, shape), "refuse-writes", ("invalid", draw.between(1.0, 10.0), 1.0, 0.0, ""))]
    return [(_at(draw, shape), "refuse-reads", (draw.pick(shape.kinds), "missing", draw.between(0.5, 20.0), None))]


@fault("A16", "an object that is being deleted stays for its finalizer, and its writes are refused")
def _a16(draw: Draw, shape: Shape) -> Any:
    at_s, name = _at(draw, shape), draw.pick(shape.clusters)
    gone_s = at_s + draw.between(1.0, 30.0)
    return [
        (at_s, "delete-softly", (name,)),
        (at_s, "refuse-writes", ("forbidden", gone_s - at_s, 1.0, 0.0, name)),
        (gone_s, "finalize", (name,)),
        (gone_s + draw.between(0.0, 10.0), "create-cluster", (name,)),
    ]


@fault("A17", "rights are taken away and given back")
def _a17(draw: Draw, shape: Shape) -> Any:
    if draw.chance(0.4):
        return [(_at(draw, shape), "refuse-writes", ("forbidden", draw.between(1.0, 15.0), 1.0, 0.0, ""))]
    return [(_at(draw, shape), "refuse-reads", (draw.pick(shape.kinds), "forbidden", draw.between(0.5, 20.0), None))]


@fault("A18", "a burst of 401")
def _a18(draw: Draw, shape: Shape) -> Any:
    at_s, for_s = _at(draw, shape), draw.between(0.3, 5.0)
    reads = [(at_s, "refuse-reads", (kind, "unauthorized", for_s, None)) for kind in shape.kinds]
    return [*reads, (at_s, "refuse-writes", ("unauthorized", for_s, 1.0, 0.0, ""))]


@fault("A19", "a slow consumer's stream is dropped by the server")
def _a19(draw: Draw, shape: Shape) -> Any:
    at_s, kind = _at(draw, shape), draw.pick(shape.kinds)
    return [(at_s, "swallow", (kind,)), (at_s + draw.between(1.0, 8.0), "compact", (kind, 0.1))]


@fault("A20", "a paging token expires in the middle of a list", times=(5, 8))
def _a20(draw: Draw, shape: Shape) -> Any:
    return [(_at(draw, shape), "relist", (draw.pick(shape.kinds), draw.between(0.001, 0.1)))]


@fault("A21", "deleted and created again within one gap")
def _a21(draw: Draw, shape: Shape) -> Any:
    at_s, node = _at(draw, shape), draw.pick(shape.nodes)
    kind = "StorageNode" if "-s" in node else "ComputeNode"
    again = (node, node.split("-")[0], draw.pick((True, False, None)), "field")
    return [(at_s, "swallow", (kind,)), (at_s + 0.5, "recreate-node", again), (at_s + 1.0, "cut", (kind, False, None))]


@fault("A22", "deletions seen only by absence from a list")
def _a22(draw: Draw, shape: Shape) -> Any:
    at_s, node = _at(draw, shape), draw.pick(shape.nodes)
    kind = "StorageNode" if "-s" in node else "ComputeNode"
    gone = (at_s + 0.3, "delete-node", (node,))
    if draw.chance(0.3):
        kind, gone = "Cluster", (at_s + 0.3, "delete-cluster", (draw.pick(shape.clusters),))
    return [(at_s, "swallow", (kind,)), gone, (at_s + draw.between(0.5, 4.0), "compact", (kind, 0.1))]


@fault("A23", "children that move to another parent")
def _a23(draw: Draw, shape: Shape) -> Any:
    at_s = _at(draw, shape)
    return [(at_s + n * 0.05, "move-node", (draw.pick(shape.nodes), draw.pick(shape.clusters))) for n in range(3)]


@fault("A24", "our own writes come back late", times=(5, 8))
def _a24(draw: Draw, shape: Shape) -> Any:
    at_s, name = _at(draw, shape), draw.pick(shape.clusters)
    nodes = [node for node in shape.nodes if node.startswith(f"{name}-")] or list(shape.nodes)
    turns = [(at_s + draw.between(0.0, 6.0), draw.pick(("fail", "recover")), (draw.pick(nodes),)) for _ in range(5)]
    return [(at_s, "lag", ("Cluster", draw.between(0.5, 6.0), 10.0)), *turns]


def install(stage: Stage, reader: SimReader) -> None:
    """Have the reader of a new life meet the faults that hold."""
    now = stage.world.clock.now
    last: dict[str, tuple[int, list[bytes]]] = {}

    def refuse(kind: str, _action: Any) -> ApiError | None:
        how, until_s, wish_s = stage.broken.refusals.get(kind, ("", -1.0, None))
        if stage.broken.away_until_s > now():
            how, until_s = "unavailable", stage.broken.away_until_s
        refused = now() < until_s
        for heard in stage.on_read:
            heard(kind, wish_s if refused and how == "throttled" else None)
        if not refused:
            return None
        if how == "throttled":
            return ApiThrottled("429: planted", retry_after_s=wish_s)
        error: ApiError = _ERRORS[how](f"{how}: planted")
        return error

    def resumed(kind: str, asked: int, told: int) -> None:
        for heard in stage.on_resume:
            heard(kind, asked, told)

    def bent(raw: bytes) -> bytes:
        for uid, since in stage.broken.spoilt.items():
            version = _VERSION.search(raw) if uid.encode() in raw else None
            if version is not None and int(version[1]) >= since:
                return raw.replace(b'"spec":{', b'"spec":7,"was":{', 1)
        return raw

    def silent(kind: str, _action: Any) -> bool:
        return stage.broken.mutes.get(kind, -1.0) > now()

    def mangled(kind: str, stream: int, lines: list[bytes]) -> list[bytes]:
        how, until_s = stage.broken.manglings.get(kind, ("", -1.0))
        lines = [bent(line) for line in lines] if stage.broken.spoilt else lines
        if until_s <= now():
            return lines
        if how == "twice":
            return [each for line in lines for each in (line, line)]
        if how == "old":
            (of, before), last[kind] = last.get(kind, (stream, [])), (stream, lines[-5:])
            return before + lines if of == stream else lines  # what another stream brought is no part of a list
        return [line for line in lines if not line.startswith(b'{"type":"BOOKMARK"') or b"initial-events-end" in line]

    reader.fail, reader.mute, reader.mangle = refuse, silent, mangled
    reader.bend, reader.resumed = bent, resumed
    reader.staleness = lambda kind: (
        stage.broken.stale[kind][0] if stage.broken.stale.get(kind, (0, -1.0))[1] > now() else 0
    )
    mend_all(stage)
    stage.set_lags(reader)
