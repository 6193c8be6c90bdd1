"""Planted in list and watch (``core.stream``): what is asked of the API server, and what is made of its errors."""

# ruff: noqa: ARG001 - a replacement keeps its original's signature, used or not

from __future__ import annotations

from typing import Any

from ...core.errors import ApiError
from ...core.stream import Stream
from .planting import Bed

__all__ = ["bed"]

bed = Bed()


@bed.single(
    "expired-watch-resumes-at-its-old-version", breaks="truth", at="actors.core.stream:Stream.ended", needs=("A3",),
    what="after a 410 the watch is opened again at the version that is gone, instead of listing",
)  # fmt: skip
def _(original: Any) -> Any:
    def ended(self: Stream, now: float, error: ApiError | None = None) -> None:
        listing = self._list_wanted
        original(self, now, error)
        if self._list_reason == "expired":
            self._list_wanted = listing

    return ended


@bed.single(
    "expired-watch-starts-at-the-present", breaks="truth", at="actors.core.stream:Stream.ended", needs=("A3",),
    what="after a 410 the watch begins with what is there now, as additions: what vanished meanwhile is never missed",
)  # fmt: skip
def _(original: Any) -> Any:
    def ended(self: Stream, now: float, error: ApiError | None = None) -> None:
        listing = self._list_wanted
        original(self, now, error)
        if self._list_reason == "expired" and self._list_wanted and not listing:
            self._list_wanted = False
            self.intake.version = 0

    return ended


@bed.single(
    "list-older-than-what-was-seen-is-taken", breaks="I10", at="actors.core.stream:Stream._complete", needs=("A8",),
    what="a list from a lagging API server takes the records back in time",
)  # fmt: skip
def _(original: Any) -> Any:
    def complete(self: Stream, version: int, now: float) -> None:
        if version < self.intake.version:
            self._behind_since_s = float("-inf")
        original(self, version, now)

    return complete


@bed.single(
    "streamed-list-ends-with-its-first-object", breaks="synced", at="actors.core.stream:Stream._line",
    what="a streamed list counts as complete before the bookmark that ends it",
)  # fmt: skip
def _(original: Any) -> Any:
    def line(self: Stream, line: bytes, now: float) -> None:
        original(self, line, now)
        if self._staged is not None and b'"ADDED"' in bytes(line):
            self._complete(self.intake.version or 1, now)

    return line


@bed.single(
    "refused-watch-is-retried-in-milliseconds", breaks="I17", at="actors.core.stream:BACKOFF_MAX_S", needs=("A2", "A11"),
    what="the longest pause between two attempts is taken for milliseconds: a server that is down is hammered",
)  # fmt: skip
def _(original: float) -> float:
    return original / 1000


@bed.single(
    "retry-after-of-the-api-server-is-ignored", breaks="I17", at="actors.core.stream:Stream._pause", needs=("A11",),
    what="a kind that was told when to come back comes back when its own backoff says",
)  # fmt: skip
def _(original: Any) -> Any:
    def pause(self: Stream, now: float, error: ApiError) -> None:
        error.retry_after_s = None
        original(self, now, error)

    return pause


@bed.single(
    "half-open-stream-is-trusted-for-ever", breaks="truth", at="actors.core.stream:Stream._limit_s", needs=("A13",),
    what="a watch that delivers nothing and does not end is never cut by us",
)  # fmt: skip
def _(original: Any) -> Any:
    def limit_s(self: Stream) -> float | None:
        return None

    return limit_s
