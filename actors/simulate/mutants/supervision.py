"""Planted in supervision: restarts that come wrongly, too often, never, or with nothing in their hands."""

# ruff: noqa: ARG001 - a replacement keeps its original's signature, used or not

from __future__ import annotations

from typing import Any

from ...actor import Cell, Monitor, Resume, _Ended
from ...core.model import ParentKey
from ...core.ports import Random
from ...core.restarts import Nursery, Verdict
from ...directory import DirectoryActor, Phase
from ...messages import Down
from .planting import Bed

__all__ = ["bed"]

bed = Bed()


# --- the directory ----------------------------------------------------------------------------------------------------
@bed.single(
    "restarted-watcher-loses-its-subscribers", breaks="restart", at="actors.directory:DirectoryActor._subscribe_all",
    needs=("P1", "P4"),
    what="a new incarnation of a watcher is not told who wants its mail",
)  # fmt: skip
def _(original: Any) -> Any:
    def subscribe_all(self: DirectoryActor, watcher: Any) -> None:
        return

    return subscribe_all


@bed.single(
    "restarted-cluster-is-not-filled", breaks="restart", at="actors.directory:DirectoryActor._resume", needs=("P1", "P4"),
    what="a new incarnation of a ClusterActor waits for records that nobody sends",
)  # fmt: skip
def _(original: Any) -> Any:
    def resume(self: DirectoryActor, name: str) -> None:
        entry = self._entries.get(name)
        if entry is not None and entry.phase in (Phase.DOWN, Phase.QUARANTINED):
            entry.phase = Phase.AWAKE
            self.ctx.tell(entry.ref, Resume())

    return resume


@bed.single(
    "nobody-is-asked-again", breaks="restart", at="actors.directory:DirectoryActor._broadcast", needs=("P1", "P4"),
    what="the directory forgets to have the parents tell a restarted gateway or StatusActor what they want",
)  # fmt: skip
def _(original: Any) -> Any:
    def broadcast(self: DirectoryActor, message: Any) -> None:
        return

    return broadcast


@bed.single(
    "restarted-directory-adopts-nobody", breaks="restart", at="actors.directory:DirectoryActor.on_start", needs=("P1", "P4"),
    what="a new incarnation of the directory starts a second actor for each parent beside the first",
)  # fmt: skip
def _(original: Any) -> Any:
    def on_start(self: DirectoryActor) -> None:
        self.ctx.children.clear()
        original(self)

    return on_start


@bed.single(
    "death-is-counted-twice", breaks="I15", at="actors.directory:DirectoryActor._down", needs=("P1", "P4"),
    what="a death that is told twice counts twice against its budget",
)  # fmt: skip
def _(original: Any) -> Any:
    def down(self: DirectoryActor, down: Down) -> None:
        entry = self._entries.get(down.name)
        if entry is not None:
            entry.died = 0
        original(self, down)

    return down


@bed.single(
    "quarantine-has-no-end", breaks="restart", at="actors.directory:DirectoryActor._release", needs=("P4",),
    what="a parent that was put aside stays there, changed or not",
)  # fmt: skip
def _(original: Any) -> Any:
    def release(self: DirectoryActor, name: str, by: str) -> None:
        return

    return release


@bed.single(
    "quarantine-is-told-to-nobody", breaks="restart", at="actors.directory:DirectoryActor._tell_condition", needs=("P4",),
    what="the status of a parent that was put aside says that all is well",
)  # fmt: skip
def _(original: Any) -> Any:
    def tell_condition(self: DirectoryActor, name: str) -> None:
        return

    return tell_condition


@bed.single(
    "one-budget-for-all-parents", breaks="I13", at="actors.core.restarts:Nursery.died", needs=("P4",),
    what="the deaths of one parent's actor are charged to all: a single poisonous parent has others put aside",
)  # fmt: skip
def _(original: Any) -> Any:
    def died(self: Nursery, name: str, now_s: float, uptime_s: float, random: Random) -> tuple[Verdict, float]:
        verdict: tuple[Verdict, float] = original(self, "everybody", now_s, uptime_s, random)
        return verdict

    return died


@bed.single(
    "deaths-escalate-instead-of-children", breaks="I13", at="actors.core.restarts:Nursery.died", needs=("P4",),
    what="a few parents that die often are taken for many that die: the process ends",
)  # fmt: skip
def _(original: Any) -> Any:
    def died(self: Nursery, name: str, now_s: float, uptime_s: float, random: Random) -> tuple[Verdict, float]:
        verdict: tuple[Verdict, float] = original(self, name, now_s, uptime_s, random)
        self._recent[-1] = now_s, f"death {len(self._recent)} of {name}"
        return verdict

    return died


@bed.single(
    "parent-wanted-while-its-actor-ends-is-forgotten", breaks="truth", at="actors.directory:DirectoryActor._wanted",
    what="a change, or a parent of the same name, that comes while the actor falls asleep or closes wakes nobody",
)  # fmt: skip
def _(original: Any) -> Any:
    def wanted(self: DirectoryActor, key: ParentKey, *, spec_changed: bool) -> None:
        original(self, key, spec_changed=spec_changed)
        for entry in self._entries.values():
            entry.wake_again = False

    return wanted


@bed.single(
    "deleted-parent-is-not-closed", breaks="I12", at="actors.directory:DirectoryActor._gone",
    what="the actor of a parent that is gone stays, and with it the children's subscriptions",
)  # fmt: skip
def _(original: Any) -> Any:
    def gone(self: DirectoryActor, key: ParentKey) -> None:
        return

    return gone


# --- the cell ---------------------------------------------------------------------------------------------------------
@bed.single(
    "poison-is-never-skipped", breaks="restart", at="actors.actor:SKIP_AFTER_DEATHS", needs=("P4",),
    what="a record that kills whoever reads it is read again by each incarnation",
)  # fmt: skip
def _(original: int) -> int:
    return original + 1_000_000


@bed.single(
    "stale-reply-is-taken", breaks="I15", at="actors.actor:Cell.on_receive", needs=("P1", "B10"),
    what="the end of a call that a dead incarnation began is handed to the new one",
)  # fmt: skip
def _(original: Any) -> Any:
    def on_receive(self: Cell, message: Any) -> Any:
        if isinstance(message, _Ended) and self.ctx is not None:
            message = _Ended(self.ctx, message.reply, message.outcome)
        return original(self, message)

    return on_receive


@bed.single(
    "control-mail-of-the-dead-is-dropped", breaks="restart", at="actors.actor:Cell.on_receive",
    redundant_with=("monitor-is-not-told-of-the-past",), needs=("P1", "P4"),
    what="what reaches an actor that is down on the control lane is gone: a death that its supervisor sleeps through",
)  # fmt: skip
def stash_is_dropped(original: Any) -> Any:
    def on_receive(self: Cell, message: Any) -> Any:
        answer = original(self, message)
        self._stash = ()
        return answer

    return on_receive


@bed.single(
    "monitor-is-not-told-of-the-past", breaks="restart", at="actors.actor:_FOR_CELL", needs=("P1", "P4"),
    what="who asks to be told of deaths does not hear that there has been one",
)  # fmt: skip
def monitor_hears_nothing(original: dict[type, Any]) -> dict[type, Any]:
    def monitor(self: Cell, message: Monitor) -> None:
        last, self.last_down = self.last_down, None
        original[Monitor](self, message)
        self.last_down = last

    return {**original, Monitor: monitor}


bed.pair(
    "death-that-nobody-saw", stash_is_dropped, monitor_hears_nothing, breaks="restart", needs=("P1", "P4"),
    what="a ClusterActor that dies while the directory is down stays down",
)  # fmt: skip
