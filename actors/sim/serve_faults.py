"""What tests may break in the API server: `POST /__faults`. For tests only; no client of a real server can do this.

The body is one command or a list of them, each `{"do": NAME, "match": {...}, ...}`. `match` narrows by regular
expressions (searched, not anchored) on `method`, `path` (with the query) and `user_agent`; without it everything
matches, but `/__faults`. The answer is `{"matched": N, "resourceVersion": "..."}`: N open connections or watches for
the first five commands.

| do | effect |
|---|---|
| `drop` | closes the matching open connections (those whose latest request matches) |
| `swallow` | the matching open connections stay open and never deliver or answer anything again; new ones work |
| `expire` | the matching open watches end with an in-band ERROR 410 |
| `line` | sends the raw `text` (or `base64`) on the matching open watches, as it is; end it with a newline yourself |
| `cut` | sends `text` (default: half an event) on the matching open watches, and closes them without the rest |
| `compact` | forgets all history: a resume from any older resourceVersion gets 410 |
| `answer` | answers matching requests with `code` (`retry_after_s`, `message` optional) instead of serving them |
| `pause` | matching requests are not answered until the fault ends, and then served |
| `hang` | matching requests are never answered |
| `refuse` | matching requests have their connection closed instead of an answer |
| `delay` | matching requests are served `seconds` late |
| `clear` | ends all faults of the last five kinds |

The kinds from `answer` to `delay` end after `count` requests or `for_s` seconds, where given, else with `clear`.
"""

from __future__ import annotations

import base64
import re
import threading
import time
from typing import TYPE_CHECKING, Any

import attrs
import msgspec

from .apierrors import ApiError
from .serve import Connection, Dropped, Request

if TYPE_CHECKING:
    from .serve_api import ApiServerFace

__all__ = ["Faults", "Match"]

_ON_REQUESTS = ("answer", "pause", "hang", "refuse", "delay")
_HALF_AN_EVENT = '{"type":"MODIFIED","object":{"apiVersion":"muster.dev/v1alpha1","kind":"Compu'


@attrs.frozen
class Match:
    """Which requests a fault concerns."""

    method: str = ""
    path: str = ""
    user_agent: str = ""

    def __call__(self, request: Request | None) -> bool:
        if request is None or request.path == "/__faults":
            return False
        pairs = ((self.method, request.method), (self.path, request.target), (self.user_agent, request.agent))
        return all(re.search(pattern, text) for pattern, text in pairs if pattern)


@attrs.define(eq=False)
class _Fault:
    do: str
    match: Match
    code: int = 500
    retry_after_s: int | None = None
    message: str = "asked for by a test"
    seconds: float = 0.0
    left: int | None = None
    until_s: float | None = None
    over: threading.Event = attrs.field(factory=threading.Event)

    def alive(self, now_s: float) -> bool:
        if self.until_s is not None and now_s >= self.until_s:
            self.over.set()
        return not self.over.is_set()


class Faults:
    """The faults of one server, and the connections on which they work."""

    def __init__(self, face: ApiServerFace) -> None:
        self._face = face
        self._faults: list[_Fault] = []
        self._lock = threading.Lock()
        self._open: set[Connection] = set()

    def command(self, body: bytes) -> tuple[int, dict[str, Any]]:
        """Execute the commands of a `POST /__faults`; the HTTP code and the answer."""
        try:
            commands = msgspec.json.decode(body)
            matched = [self._one(dict(one)) for one in (commands if isinstance(commands, list) else [commands])]
        except (msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
            return 400, {"error": f"not a fault: {error!r}"}
        with self._face.lock:
            return 200, {"matched": sum(matched), "resourceVersion": str(self._face.model.resource_version)}

    def before(self, request: Request, connection: Connection) -> None:
        """Called before a request is served; raises or waits as the faults want it."""
        with self._lock:
            self._open = {one for one in self._open if not one.closing}
            self._open.add(connection)
            fault = self._take(request)
        if connection.silent.is_set():
            connection.wait_for_end()
        if fault is None:
            return
        if fault.do == "answer":
            raise ApiError(fault.code, fault.message, retry_after_s=fault.retry_after_s)
        if fault.do == "refuse":
            raise Dropped
        if fault.do == "hang":
            connection.wait_for_end()
        elif fault.do == "delay":
            time.sleep(fault.seconds)
        else:
            while fault.alive(time.monotonic()) and not fault.over.wait(0.05):
                if connection.client_left():
                    raise Dropped

    def _take(self, request: Request) -> _Fault | None:
        now = time.monotonic()
        self._faults = [fault for fault in self._faults if fault.alive(now)]
        for fault in self._faults:
            if fault.match(request) and fault.left != 0:
                if fault.left is not None:
                    fault.left -= 1
                return fault
        return None

    def _one(self, command: dict[str, Any]) -> int:
        do = command.pop("do")
        match = Match(**command.pop("match", {}))
        if do in _ON_REQUESTS:
            left, for_s = command.pop("count", None), command.pop("for_s", None)
            until = None if for_s is None else time.monotonic() + for_s
            with self._lock:
                self._faults.append(_Fault(do, match, left=left, until_s=until, **command))
            return 0
        if do == "clear":
            with self._lock:
                for fault in self._faults:
                    fault.over.set()
                self._faults.clear()
            return 0
        if do == "compact":
            with self._face.lock:
                self._face.model.compact()
            return 0
        with self._lock:
            concerned = [one for one in self._open if not one.closing and match(one.request)]
        if do == "drop":
            for one in concerned:
                one.close()
        elif do == "swallow":
            for one in concerned:
                one.silent.set()
        elif do in ("expire", "line", "cut"):
            concerned = [one for one in concerned if one.watch is not None]
            for one in concerned:
                self._break_watch(do, one, command)
        else:
            raise ValueError(f"there is no fault {do!r}")
        return len(concerned)

    def _break_watch(self, do: str, connection: Connection, command: dict[str, Any]) -> None:
        watch = connection.watch
        if watch is None:
            return
        if do == "expire":
            with self._face.lock:
                watch.fail(ApiError(410, "too old resource version (asked for by a test)"))
            return
        text = str(command.get("text", _HALF_AN_EVENT))
        data = base64.b64decode(command["base64"]) if "base64" in command else text.encode()
        watch.inject(data)
        if do == "cut":
            watch.inject(None)
