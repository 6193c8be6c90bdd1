"""Planted in the StatusActor: wishes that are lost, overtaken or written against each other."""

# ruff: noqa: ARG001 - a replacement keeps its original's signature, used or not

from __future__ import annotations

from typing import Any

from attrs import evolve

from ...core.errors import Conflict, Unreachable
from ...core.ports import Outcome
from ...messages import StatusWanted, WriteEnded
from ...status import StatusActor, _Lane
from .cluster import own_write_is_not_learnt
from .planting import Bed

__all__ = ["bed"]

bed = Bed()


@bed.single(
    "conflict-is-retried-with-the-old-version", breaks="truth", at="actors.status:StatusActor._ended", needs=("A10",),
    what="a patch that met a conflict is sent again as it is, for ever",
)  # fmt: skip
def _(original: Any) -> Any:
    def ended(self: StatusActor, ended: WriteEnded) -> None:
        error = ended.outcome.error
        if isinstance(error, Conflict):
            ended = evolve(ended, outcome=Outcome(None, Unreachable(str(error))))
        original(self, ended)

    return ended


@bed.single(
    "wish-during-a-write-is-dropped", breaks="truth", at="actors.status:StatusActor._wanted", needs=("A13",),
    what="a status that is wished for while an older one is being written is never written",
)  # fmt: skip
def _(original: Any) -> Any:
    def wanted(self: StatusActor, wish: StatusWanted) -> None:
        lane = self._lanes.get(wish.parent)
        if lane is None or lane.current is None:
            original(self, wish)

    return wanted


@bed.single(
    "oldest-wish-wins", breaks="truth", at="actors.status:StatusActor._wanted", needs=("A13",),
    what="of several wishes that wait for one parent, the first is written and the newer ones are dropped",
)  # fmt: skip
def _(original: Any) -> Any:
    def wanted(self: StatusActor, wish: StatusWanted) -> None:
        lane = self._lanes.get(wish.parent)
        if lane is None or lane.waiting is None:
            original(self, wish)

    return wanted


@bed.single(
    "failed-write-is-given-up", breaks="truth", at="actors.status:StatusActor._retry", needs=("A11", "A12"),
    what="a write whose way was blocked is not tried again",
)  # fmt: skip
def _(original: Any) -> Any:
    def retry(self: StatusActor, lane: _Lane, wish: StatusWanted, error: BaseException | None) -> None:
        self._failed(wish, error, None)
        if lane.waiting is None:
            del self._lanes[wish.parent]
        else:
            self._ready.append(wish.parent)

    return retry


@bed.single(
    "failed-write-is-retried-at-once", breaks="I17", at="actors.status:RETRY_MAX_S", needs=("A11",),
    what="the longest pause between two writes is taken for milliseconds: a server that is down is hammered",
)  # fmt: skip
def _(original: float) -> float:
    return original / 1000


@bed.single(
    "last-written-version-is-forgotten", breaks="no write for nothing", at="actors.status:StatusActor._written",
    redundant_with=("own-write-is-not-learnt",), needs=("A24",),
    what="a wish that waited for our own write requires the version before it",
)  # fmt: skip
def written_version_is_forgotten(original: Any) -> Any:
    def written(self: StatusActor, wish: StatusWanted, written: Any) -> None:
        original(self, wish, written)
        del self._versions[wish.parent]

    return written


bed.pair(
    "own-writes-are-unknown", own_write_is_not_learnt, written_version_is_forgotten, breaks="no write for nothing",
    needs=("A24",),
    what="until its echo comes by watch, our own write is somebody else's: written again, and in conflict",
)  # fmt: skip


@bed.single(
    "restarted-writer-is-not-told-again", breaks="truth", at="actors.cluster:ClusterActor._ask_again", needs=("P1", "P4"),
    what="what the gateway or the StatusActor has forgotten is not said again",
)  # fmt: skip
def _(original: Any) -> Any:
    def ask_again(self: Any, lost: str) -> None:
        return

    return ask_again
