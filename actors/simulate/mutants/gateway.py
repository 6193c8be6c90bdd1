"""Planted in the gateway and its gates (``gateway``, ``core.backoff``): what leaves, and what is made of the answers."""

# ruff: noqa: ARG001 - a replacement keeps its original's signature, used or not

from __future__ import annotations

import math
from typing import Any

from attrs import evolve

from ...core.asking import Open
from ...core.backoff import Breaker, BreakerState, Pause
from ...core.errors import Refused, Throttled, Unavailable
from ...core.keys import Answers
from ...core.model import Item
from ...core.ports import ItemResult, Reply
from ...gateway import BatchGatewayActor
from ...messages import ItemAnswer
from .planting import Bed

__all__ = ["answers_are_forgotten", "bed"]

bed = Bed()


# --- the last look ----------------------------------------------------------------------------------------------------
@bed.single(
    "no-look-at-dispatch", breaks="wanted", at="actors.gateway:BatchGatewayActor._still_wanted",
    what="what was asked is sent, whatever has happened since",
)  # fmt: skip
def _(original: Any) -> Any:
    def still_wanted(self: BatchGatewayActor, item: Item) -> str:
        return ""

    return still_wanted


@bed.single(
    "look-at-dispatch-forgets-health", breaks="wanted", at="actors.gateway:BatchGatewayActor._still_wanted",
    what="an item leaves as long as its child is there, well or not",
)  # fmt: skip
def _(original: Any) -> Any:
    def still_wanted(self: BatchGatewayActor, item: Item) -> str:
        why = str(original(self, item))
        return why if why == "gone" else ""

    return still_wanted


@bed.single(
    "look-at-dispatch-forgets-the-uid", breaks="wanted", at="actors.gateway:BatchGatewayActor._still_wanted", needs=("A21",),
    what="an item leaves for a child that is gone",
)  # fmt: skip
def _(original: Any) -> Any:
    def still_wanted(self: BatchGatewayActor, item: Item) -> str:
        why = str(original(self, item))
        return "" if why == "gone" else why

    return still_wanted


@bed.single(
    "look-at-dispatch-forgets-the-incident", breaks="I3", at="actors.gateway:BatchGatewayActor._still_wanted", needs=("B11",),
    what="a child that recovered and failed again meanwhile is repaired for the incident that is over",
)  # fmt: skip
def _(original: Any) -> Any:
    def still_wanted(self: BatchGatewayActor, item: Item) -> str:
        why = str(original(self, item))
        return "" if why == "changed" else why

    return still_wanted


# --- throttle and breaker ---------------------------------------------------------------------------------------------
@bed.single(
    "throttle-does-not-pause", breaks="quota", at="actors.core.backoff:Pause.refused", needs=("B7",),
    what="a 429 costs its call, and the next one leaves at once",
)  # fmt: skip
def _(original: Any) -> Any:
    def refused(self: Pause, now: float, sent_s: float, retry_after_s: float | None) -> float:
        return 0.0

    return refused


@bed.single(
    "retry-after-of-the-backend-is-ignored", breaks="quota", at="actors.core.backoff:Pause.refused", needs=("B7",),
    what="the pause after a 429 is ours to choose, whatever the backend says",
)  # fmt: skip
def _(original: Any) -> Any:
    def refused(self: Pause, now: float, sent_s: float, retry_after_s: float | None) -> float:
        return float(original(self, now, sent_s, None))

    return refused


@bed.single(
    "throttle-fails-every-item", breaks="answer", at="actors.gateway:BatchGatewayActor._throttled", needs=("B7",),
    what="one throttle answer becomes an error for each item of its call",
)  # fmt: skip
def _(original: Any) -> Any:
    def throttled(self: BatchGatewayActor, opened: Open, error: Throttled, now: float) -> None:
        failed = {item.key: ItemResult(status="failed", message=str(error)) for item in opened.call.items}
        self._replied(opened, Reply(results=failed), now)

    return throttled


@bed.single(
    "pause-ends-for-all-at-once", breaks="quota", at="actors.core.backoff:Pause.answered", needs=("B7",),
    what="an answer to a call that left before the pause ends it",
)  # fmt: skip
def _(original: Any) -> Any:
    def answered(self: Pause, sent_s: float) -> None:
        original(self, math.inf)
        self.until_s = -math.inf

    return answered


@bed.single(
    "breaker-never-half-opens", breaks="I5", at="actors.core.backoff:Breaker.opens_at", needs=("B8",),
    what="a backend that failed for a while is never tried again",
)  # fmt: skip
def _(original: Any) -> Any:
    def opens_at(self: Breaker) -> float:
        return -math.inf if self.state is BreakerState.CLOSED else math.inf

    return opens_at


@bed.single(
    "failed-probe-is-waited-for", breaks="I5", at="actors.core.backoff:Breaker.failed", needs=("B8",),
    what="the call that tried a failing backend fails too, and its answer is awaited for ever",
)  # fmt: skip
def _(original: Any) -> Any:
    def failed(self: Breaker, call_id: str, now: float) -> bool:
        probe = self._probe
        opens = bool(original(self, call_id, now))
        self._probe = probe
        return opens

    return failed


# --- answers ----------------------------------------------------------------------------------------------------------
@bed.single(
    "partial-failure-is-success", breaks="answer", at="actors.gateway:BatchGatewayActor._replied", needs=("B5",),
    what="an answer is good news for every item that was sent, whatever it says of each",
)  # fmt: skip
def _(original: Any) -> Any:
    def replied(self: BatchGatewayActor, opened: Open, reply: Reply, now: float) -> None:
        done = {item.key: ItemResult(status="accepted") for item in opened.call.items}
        original(self, opened, evolve(reply, results=done), now)

    return replied


@bed.single(
    "partial-failure-fails-the-call", breaks="I3", at="actors.gateway:BatchGatewayActor._replied", needs=("B5",),
    what="one item that failed sends the whole call again, with those that were done",
)  # fmt: skip
def _(original: Any) -> Any:
    def replied(self: BatchGatewayActor, opened: Open, reply: Reply, now: float) -> None:
        if all(result.status == "accepted" for result in reply.results.values()):
            original(self, opened, reply, now)
        else:
            self._failed(opened, Unavailable("some items failed"), now)

    return replied


@bed.single(
    "missing-result-is-done", breaks="answer", at="actors.gateway:BatchGatewayActor._replied", needs=("B5",),
    what="an item that the answer does not mention counts as accepted",
)  # fmt: skip
def _(original: Any) -> Any:
    def replied(self: BatchGatewayActor, opened: Open, reply: Reply, now: float) -> None:
        done = {item.key: ItemResult(status="accepted") for item in opened.call.items}
        original(self, opened, evolve(reply, results={**done, **reply.results}), now)

    return replied


@bed.single(
    "throttled-item-is-failed", breaks="answer", at="actors.gateway:BatchGatewayActor._replied", needs=("B5",),
    what="an item that the backend wants later is given up until its cooldown has passed",
)  # fmt: skip
def _(original: Any) -> Any:
    def replied(self: BatchGatewayActor, opened: Open, reply: Reply, now: float) -> None:
        failed = {
            key: evolve(result, status="failed") if result.status == "throttled" else result
            for key, result in reply.results.items()
        }
        original(self, opened, evolve(reply, results=failed), now)

    return replied


@bed.single(
    "refused-batch-is-not-halved", breaks="I13", at="actors.gateway:BatchGatewayActor._refused", needs=("B6",),
    what="one item that the backend cannot take fails everybody in its call",
)  # fmt: skip
def _(original: Any) -> Any:
    def refused(self: BatchGatewayActor, opened: Open, error: Refused, now: float) -> None:
        failed = {item.key: ItemResult(status="failed", message=str(error)) for item in opened.call.items}
        self._replied(opened, Reply(results=failed), now)

    return refused


@bed.single(
    "refused-batch-is-sent-again-whole", breaks="I13", at="actors.gateway:BatchGatewayActor._refused", needs=("B6",),
    what="a call that the backend cannot take is retried as it is, for ever",
)  # fmt: skip
def _(original: Any) -> Any:
    def refused(self: BatchGatewayActor, opened: Open, error: Refused, now: float) -> None:
        self._failed(opened, error, now)

    return refused


@bed.single(
    "refused-half-counts-for-the-breaker", breaks="I13", at="actors.core.backoff:Breaker.refused_again", needs=("B6",),
    what="the search for what the backend cannot take has everybody wait, as if the backend failed",
)  # fmt: skip
def _(original: Any) -> Any:
    def refused_again(self: Breaker, call_id: str, now: float) -> bool:
        return self.failed(call_id, now)

    return refused_again


@bed.single(
    "answers-are-forgotten", breaks="answer", at="actors.core.keys:Answers.remember", needs=("P1", "P4"),
    what="a parent that asks again for what it was answered, because the answer was lost, has it sent again",
)  # fmt: skip
def answers_are_forgotten(original: Any) -> Any:
    def remember(self: Answers[Any], item: Item, answer: Any, at_s: float) -> None:
        return

    return remember


@bed.single(
    "failure-counts-as-withdrawn", breaks="I3", at="actors.gateway:BatchGatewayActor._settle", needs=("B5",),
    what="an item that failed is as if it had never been sent: no cooldown, and the same key again",
)  # fmt: skip
def _(original: Any) -> Any:
    def settle(self: BatchGatewayActor, item: Item, answer: ItemAnswer, text: str, answers: Any, now: float) -> None:
        original(self, item, ItemAnswer.WITHDRAWN if answer is ItemAnswer.FAILED else answer, text, answers, now)

    return settle


@bed.single(
    "backend-state-is-told-to-nobody", breaks="truth", at="actors.gateway:BatchGatewayActor._tell_state", needs=("B8",),
    what="the condition BackendReachable never changes",
)  # fmt: skip
def _(original: Any) -> Any:
    def tell_state(self: BatchGatewayActor, asker: Any, *, reachable: bool) -> None:
        return

    return tell_state
