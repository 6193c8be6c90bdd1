"""Planted in the slot ledger (``core.quota``): calls that are not counted, or not for long enough."""

# ruff: noqa: ARG001 - a replacement keeps its original's signature, used or not

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...core.quota import Ledger, Slot
from ...gateway import BatchGatewayActor
from ...tree import System
from .planting import Bed

__all__ = ["bed"]

bed = Bed()


@bed.single(
    "quota-is-a-fixed-window", breaks="quota", at="actors.tree:Ledger", needs=("P11",),
    what="calls are counted by the window that the clock is in: twice the quota leaves across an edge",
)  # fmt: skip
def _(original: Any) -> Any:
    class FixedWindow(Ledger):
        """Begins to count anew at each full window."""

        _window = -1.0
        _calls = 0

        def free(self, now: float) -> int:
            """See ``Ledger``."""
            if self._opens_ns is None or now * 1e9 < self._opens_ns:
                return 0
            window = now // self.quota.window_s
            if window != self._window:
                self._window, self._calls = window, 0
            return self.quota.calls - self._calls

        def next_free_at(self, now: float) -> float:
            """See ``Ledger``."""
            if self._opens_ns is None or now * 1e9 < self._opens_ns:
                return super().next_free_at(now)
            return now if self.free(now) > 0 else (now // self.quota.window_s + 1) * self.quota.window_s

        def take(self, now: float, call_id: str, item_uids: tuple[str, ...], keys: tuple[str, ...] = ()) -> Slot:
            """See ``Ledger``."""
            slot = super().take(now, call_id, item_uids, keys)
            self._calls += 1
            return slot

    return FixedWindow


@bed.single(
    "slot-is-free-a-window-after-the-send", breaks="quota", at="actors.core.quota:Ledger.release",
    what="a slot is held from the send, though the call may arrive as late as its answer",
)  # fmt: skip
def _(original: Any) -> Any:
    def release(self: Ledger, call_id: str, now: float, *, unknown: bool) -> Slot:
        taken_s = self._open[call_id].taken_s
        slot: Slot = original(self, call_id, taken_s, unknown=unknown)
        return slot

    return release


@bed.single(
    "slot-is-free-at-the-answer", breaks="quota", at="actors.core.quota:Ledger.release",
    what="a slot is held until the answer, and not for the window after it",
)  # fmt: skip
def _(original: Any) -> Any:
    def release(self: Ledger, call_id: str, now: float, *, unknown: bool) -> Slot:
        hold_ns, self._hold_ns = self._hold_ns, 0
        slot: Slot = original(self, call_id, now, unknown=unknown)
        self._hold_ns = hold_ns
        return slot

    return release


@bed.single(
    "call-without-an-answer-counts-as-answered", breaks="quota", at="actors.core.quota:Ledger.release", needs=("B1", "B4"),
    what="a slot whose call timed out is held as if that call had arrived",
)  # fmt: skip
def _(original: Any) -> Any:
    def release(self: Ledger, call_id: str, now: float, *, unknown: bool) -> Slot:
        slot: Slot = original(self, call_id, now, unknown=False)
        return slot

    return release


@bed.single(
    "restart-forgets-the-open-calls", breaks="quota", at="actors.core.quota:Ledger.abandon_open", needs=("P1", "P4"),
    what="a restarted gateway begins with every open slot free",
)  # fmt: skip
def _(original: Any) -> Any:
    def abandon_open(self: Ledger, now: float) -> tuple[Slot, ...]:
        abandoned = tuple(self._open.values())
        self._open.clear()
        return abandoned

    return abandon_open


@bed.single(
    "restart-leaks-the-open-slots", breaks="drain", at="actors.core.quota:Ledger.abandon_open", needs=("P1", "P4"),
    what="slots that were open when the gateway died are never free again",
)  # fmt: skip
def _(original: Any) -> Any:
    def abandon_open(self: Ledger, now: float) -> tuple[Slot, ...]:
        return ()

    return abandon_open


@bed.single(
    "cold-start-is-skipped", breaks="quota", at="actors.core.quota:Ledger.cold_start", needs=("P6", "P7"),
    what="a new process sends at once, though the one before it may have spent the quota",
)  # fmt: skip
def _(original: Any) -> Any:
    def cold_start(self: Ledger, now: float, wait_s: float | None = None) -> None:
        original(self, now, 0.0)

    return cold_start


@bed.single(
    "ledger-dies-with-the-gateway", breaks="batch", at="actors.tree:System._gateway", needs=("P1", "P4"),
    what="each incarnation of the gateway has a ledger of its own, and knows of no call before it",
)  # fmt: skip
def _(original: Callable[[System, Any], Any]) -> Any:
    def gateway(self: System, ctx: Any) -> Any:
        settings = self.settings.gateway
        self.ledger = Ledger(settings.quota, settings.call_timeout_s, settings.lateness_s)
        return original(self, ctx)

    return gateway


@bed.single(
    "restart-knows-nothing-in-flight", breaks="batch", at="actors.core.quota:Ledger.open_items", needs=("P1", "B4"),
    what="a restarted gateway sends again at once what its dead incarnation has under way",
)  # fmt: skip
def _(original: Any) -> Any:
    def open_items(self: Ledger, now: float) -> dict[str, float]:
        return {}

    return open_items


@bed.single(
    "overdue-call-is-waited-for", breaks="drain", at="actors.gateway:BatchGatewayActor._overdue_s", needs=("B9",),
    what="a call whose end never comes keeps its slot and its items for ever",
)  # fmt: skip
def _(original: Any) -> Any:
    def overdue_s(self: BatchGatewayActor, opened: Any) -> float:
        return float(original(self, opened)) + 1e9

    return overdue_s
