"""The repair backend, as a model: a quota that counts arrivals, batches, keys, and every way of answering badly.

The quota is a sliding window over *arrivals*, refused ones included, because that is what the promise is about: in no
half-open window of `window_s` may more than `calls_max` calls reach the server. A call above it is answered 429 with
the time until the window has room again. Items are executed once per key, ever: a key seen before is `accepted` without
a second execution, which is what makes it safe for the operator to send again what it does not know the end of.

No clock, no thread, no socket: `arrive` is told the time, and its `Answer` says what the HTTP face is to do, and when.
"""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import attrs
import msgspec

__all__ = ["FIELDS", "Answer", "Arrival", "BackendModel", "Behaviour", "Repair", "fullest_window", "parse_quota"]

FIELDS = ("key", "name", "namespace", "kind", "uid", "cluster")


@attrs.frozen
class Repair:
    """One executed repair; the fields of the item, and `at_s` of its execution."""

    key: str
    name: str
    namespace: str
    kind: str
    uid: str
    cluster: str
    at_s: float


@attrs.frozen
class Arrival:
    """One call as it came in: `code` 0 means that it is never answered. `items` as sent (empty where unreadable)."""

    at_s: float
    key: str
    items: tuple[dict[str, Any], ...]
    code: int
    behaviour: str = ""


@attrs.frozen
class Answer:
    """What to send: after `delay_s`, in one piece or byte by byte every `pace_s`. `code` 0: never answer. -1: cut."""

    code: int
    body: bytes = b""
    headers: dict[str, str] = attrs.field(factory=dict)
    delay_s: float = 0.0
    pace_s: float = 0.0
    repairs: tuple[Repair, ...] = ()


@attrs.define
class Behaviour:
    """A way to misbehave, for the next `count` calls (None: until cleared) or until `until_s`.

    | do | effect |
    |---|---|
    | `latency` | serves, and answers `seconds` late |
    | `slow` | serves, and sends the body byte by byte, each `seconds` late |
    | `withhold` | executes, and never answers |
    | `hang` | neither executes nor answers |
    | `cut` | executes, and closes the connection instead of answering |
    | `throttle` | 429 with `retry_after_s`; executes nothing |
    | `error` | `code` (503), with `retry_after_s` where given; executes nothing |
    | `partial` | every `every`-th item gets `status` (failed, throttled), `message`, `retry_after_s`; the rest is executed |
    | `missing` | every `every`-th item is executed but left out of the results |
    | `unknown` | serves, and adds results for ids that nobody sent |
    | `nonsense` | executes nothing; 200 with `body` (default: no JSON) |
    | `redirect` | 307 to `location` |
    | `empty` | executes all; 200 without `results` |
    """

    do: str
    count: int | None = None
    until_s: float | None = None
    seconds: float = 0.0
    code: int = 503
    retry_after_s: int | None = None
    every: int = 2
    status: str = "failed"
    message: str = "asked for by a test"
    body: str = "<html>502 Bad Gateway</html>"
    location: str = "/v1/elsewhere"

    KINDS = (
        *("latency", "slow", "withhold", "hang", "cut", "throttle", "error"),
        *("partial", "missing", "unknown", "nonsense", "redirect", "empty"),
    )

    def __attrs_post_init__(self) -> None:
        if self.do not in self.KINDS:
            raise ValueError(f"no behaviour {self.do!r}; there are {', '.join(self.KINDS)}")
        if self.every < 1:
            raise ValueError("every is at least 1")


def parse_quota(text: str) -> tuple[int, float]:
    """`"10/1s"`, `"5/500ms"`, `"100/1m"` to calls and seconds. Raises ValueError."""
    calls, slash, window = text.partition("/")
    for unit, factor in (("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)):
        if slash and window.endswith(unit):
            try:
                parsed = int(calls), float(window.removesuffix(unit) or "1") * factor
            except ValueError:
                break
            if parsed[0] >= 1 and parsed[1] > 0:
                return parsed
    raise ValueError(f"not a quota: {text!r}; write CALLS/TIME, such as 10/1s")


def fullest_window(stamps_s: Iterable[float], window_s: float) -> int:
    """The largest number of stamps in any half-open window of `window_s`: what the quota is to be compared with.

    Two stamps exactly `window_s` apart are not in one window.
    """
    ordered = sorted(stamps_s)
    fullest = first = 0
    for last, stamp in enumerate(ordered):
        while stamp - ordered[first] >= window_s:
            first += 1
        fullest = max(fullest, last - first + 1)
    return fullest


class BackendModel:
    """See the module. `arrivals`, `repairs` are the logs, which grow without bound (it is a test's backend)."""

    def __init__(
        self, *, calls_max: int = 10, window_s: float = 1.0, batch_max: int = 100, fields: Sequence[str] = FIELDS
    ) -> None:  # fmt: skip
        assert calls_max >= 1
        assert window_s > 0
        assert batch_max >= 1
        self.calls_max = calls_max
        self.window_s = window_s
        self.batch_max = batch_max
        self.fields = fields
        self.arrivals: list[Arrival] = []
        self.repairs: list[Repair] = []
        self.behaviours: list[Behaviour] = []
        self.duplicates_count = 0
        """Items that came again with a key that was already executed."""
        self.honours_keys = True
        """False: it executes an item again that comes again."""
        self.poisoned: set[str] = set()
        """Uids for whose sake a whole batch is refused with 422."""
        self.on_repair: list[Callable[[Repair], None]] = []
        """Called with each repair as it is executed."""
        self._recent: deque[float] = deque()
        self._executed: set[str] = set()

    def behave(self, *behaviours: Behaviour) -> None:
        """Add behaviours; the first that is still good decides a call, together with latency where both are set."""
        self.behaviours.extend(behaviours)

    def clear(self) -> None:
        """Behave well again."""
        self.behaviours.clear()

    def fullest_window(self) -> int:
        """The most arrivals in any window so far; the quota was kept if it is at most `calls_max`."""
        return fullest_window((arrival.at_s for arrival in self.arrivals), self.window_s)

    def arrive(self, body: bytes, key: str, now_s: float) -> Answer:
        """A `POST /v1/nodes:batchRepair` arrives. `key` is its Idempotency-Key header ("" if missing)."""
        items, problem = self._parse(body)
        late, behaviour = self._behaviour(now_s)
        within_quota = self._count(now_s)
        if not within_quota:
            wait_s = self._recent[-self.calls_max] + self.window_s - now_s
            answer = self._refusal(429, f"quota of {self.calls_max} per {self.window_s:g}s exceeded", math.ceil(wait_s))
        elif problem:
            answer = self._refusal(400, problem, None)
        elif self.poisoned and any(item["uid"] in self.poisoned for item in items):
            answer = self._refusal(422, "a node of this batch cannot be repaired by this backend", None)
        else:
            answer = self._serve(items, behaviour, now_s)
        if late is not None:
            answer = attrs.evolve(answer, delay_s=answer.delay_s + late.seconds)
        name = behaviour.do if behaviour is not None else late.do if late is not None else ""
        self.arrivals.append(Arrival(now_s, key, tuple(items), max(answer.code, 0), name))
        return answer

    # --- inside ---

    def _count(self, now_s: float) -> bool:
        assert not self._recent or now_s >= self._recent[-1], "time runs forwards"
        while self._recent and now_s - self._recent[0] >= self.window_s:
            self._recent.popleft()
        self._recent.append(now_s)
        return len(self._recent) <= self.calls_max

    def _behaviour(self, now_s: float) -> tuple[Behaviour | None, Behaviour | None]:
        """The latency and the other behaviour that hold for this call."""
        late = other = None
        for one in list(self.behaviours):
            if one.count == 0 or (one.until_s is not None and now_s >= one.until_s):
                self.behaviours.remove(one)
                continue
            if one.do == "latency":
                if late is not None:
                    continue
                late = one
            elif other is not None:
                continue
            else:
                other = one
            if one.count is not None:
                one.count -= 1
        return late, other

    def _parse(self, body: bytes) -> tuple[list[dict[str, Any]], str]:
        try:
            items = msgspec.json.decode(body)["nodes"]
        except (msgspec.DecodeError, KeyError, TypeError) as error:
            return [], f"the body is not of the form {{nodes: [...]}}: {error!r}"
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            return [], "nodes is not a list of objects"
        if not items:
            return [], "nodes is empty"
        if len(items) > self.batch_max:
            return items, f"{len(items)} nodes are more than the {self.batch_max} of a batch"
        for item in items:
            for field in self.fields:
                if not isinstance(item.get(field), str):
                    return items, f"a node has no {field}: {item!r}"
        keys = [item["key"] for item in items]
        if len(set(keys)) != len(keys):
            return items, "a key is in the batch twice"
        return items, ""

    def _serve(self, items: list[dict[str, Any]], behaviour: Behaviour | None, now_s: float) -> Answer:
        do = behaviour.do if behaviour is not None else ""
        if behaviour is None:
            return self._accept(items, items, now_s)
        if do == "hang":
            return Answer(0)
        if do == "throttle":
            return self._refusal(
                429, behaviour.message, 1 if behaviour.retry_after_s is None else behaviour.retry_after_s
            )
        if do == "error":
            return self._refusal(behaviour.code, behaviour.message, behaviour.retry_after_s)
        if do == "nonsense":
            return Answer(200, behaviour.body.encode())
        if do == "redirect":
            return Answer(307, b"", {"Location": behaviour.location})
        chosen = items[behaviour.every - 1 :: behaviour.every]
        if do == "partial":
            extra: dict[str, Any] = {"status": behaviour.status, "message": behaviour.message}
            if behaviour.retry_after_s is not None:
                extra["retryAfterSeconds"] = behaviour.retry_after_s
            well = [item for item in items if item not in chosen]
            return self._accept(
                well, well, now_s, [{"key": item["key"], "uid": item["uid"], **extra} for item in chosen]
            )
        if do == "missing":
            return self._accept(items, [item for item in items if item not in chosen], now_s)
        if do == "unknown":
            strange = [{"key": f"nobody-sent-{at}", "uid": f"nobody-{at}", "status": "accepted"} for at in range(2)]
            return self._accept(items, items, now_s, strange)
        answer = self._accept(items, items, now_s)
        if do == "empty":
            return attrs.evolve(answer, body=b"{}")
        if do == "slow":
            return attrs.evolve(answer, pace_s=behaviour.seconds)
        return attrs.evolve(answer, code=-1 if do == "cut" else 0, body=b"")

    def _accept(
        self,
        items: Sequence[dict[str, Any]],
        told: Sequence[dict[str, Any]],
        now_s: float,
        more: Sequence[dict[str, Any]] = (),
    ) -> Answer:
        repairs: list[Repair] = []
        for item in items:
            if item["key"] in self._executed:
                self.duplicates_count += 1
                if self.honours_keys:
                    continue
            self._executed.add(item["key"])
            repairs.append(Repair(**{field: str(item.get(field, "")) for field in FIELDS}, at_s=now_s))
        self.repairs.extend(repairs)
        for repair in repairs:
            for executed in self.on_repair:
                executed(repair)
        results = [{"key": item["key"], "uid": item["uid"], "status": "accepted", "message": ""} for item in told]
        return Answer(200, msgspec.json.encode({"results": [*results, *more]}), repairs=tuple(repairs))

    @staticmethod
    def _refusal(code: int, message: str, retry_after_s: int | None) -> Answer:
        headers = {} if retry_after_s is None else {"Retry-After": str(max(retry_after_s, 0))}
        return Answer(code, json.dumps({"error": message}).encode(), headers)
