"""The default batch service over HTTP: one ``POST`` per call, and one error of our tree for everything that can go wrong.

Each call has a connection of its own, on which nothing is retried and nothing redirected: there is no pool and no retry
machinery beneath us that could turn one call into two arrivals (an HTTP library's default did), and no idle connection that
the server has closed already, whose failure would leave the outcome unknown for no reason. It costs a handshake per
call, and calls are as many as the quota.

``call.timeout_s`` bounds the call as a whole. Socket timeouts bound single reads, so a body that trickles in would never
end; a timer that shuts the connection down bounds everything (a look-up of a name excepted: after it the time left is
checked, so that nothing leaves late).
"""

from __future__ import annotations

import http.client
import math
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime

import msgspec
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, NameResolutionError, NewConnectionError
from urllib3.exceptions import TimeoutError as HTTPTimeoutError
from urllib3.util import Url, parse_url

from ..core.errors import (
    BackendError,
    CallTimeout,
    Malformed,
    Misconfigured,
    Refused,
    SettingsError,
    Throttled,
    Unavailable,
)
from ..core.operation import PROMISED
from ..core.ports import Call, ItemResult, Reply


def batch_path(operation: str) -> str:
    """Where the service takes that operation, under its URL."""
    return f"/v1/nodes:{operation}"


BATCH_PATH = batch_path("batchRepair")
BODY_MAX = 4 << 20  # bytes of an answer: 10,000 results of 400 bytes; more is not an answer to our question
_TEXT_MAX = 200  # characters of foreign text in a message: enough to recognise it
_MESSAGE_MAX = 1024  # characters of one item's message, which may end in a status
_CONNECT_SHARE = 0.5  # of the timeout for connecting: the rest must be left for an answer


class _Result(msgspec.Struct):
    status: str
    key: str = ""
    uid: str = ""
    message: str | None = None
    retryAfterSeconds: float | None = None  # noqa: N815  the wire's name


class _Answer(msgspec.Struct):
    results: list[msgspec.Raw] | None = None


class _Deadline:
    """Ends a connection when the call's time is over, whichever step it is in. ``watch`` may be called once."""

    def __init__(self, timeout_s: float) -> None:
        self._end_s = time.monotonic() + timeout_s
        self._twin: socket.socket | None = None
        self._timer: threading.Timer | None = None
        self.expired = False

    @property
    def left_s(self) -> float:
        return self._end_s - time.monotonic()

    def watch(self, sock: socket.socket) -> None:
        """From now on. A duplicate is kept, because TLS takes the socket over and a closed one cannot be shut down."""
        if self.left_s <= 0:
            self.expired = True
            sock.close()
            raise TimeoutError("connected too late")
        self._twin = sock.dup()
        self._timer = threading.Timer(self.left_s, self._expire)
        self._timer.daemon = True
        self._timer.start()

    def _expire(self) -> None:
        self.expired = True
        if self._twin is not None:
            try:
                self._twin.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # it has ended by itself

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer.join()
        if self._twin is not None:
            self._twin.close()


class _Plain(HTTPConnection):
    """A connection that hands each new socket to the deadline before anything is sent on it."""

    deadline: _Deadline

    def _new_conn(self) -> socket.socket:
        sock = super()._new_conn()
        self.deadline.watch(sock)
        return sock


class _Tls(_Plain, HTTPSConnection):
    """The same over TLS: ``HTTPSConnection`` comes next, and makes its sockets as its base does."""


class HttpBackend:
    """The ``Backend`` port on HTTP. Any thread, many at once. The wire format is in ``docs/backend-openapi.yaml``.

    ``token`` is asked for each call, so that a rotated one is used at once. ``ssl_context`` None: the system's authorities.
    Proxies of the environment are not used.
    """

    capabilities = PROMISED  # the file asks for keys and results per item, and for a quota on arrivals

    def __init__(
        self,
        url: str,
        *,
        batch_path: str = BATCH_PATH,
        headers: Mapping[str, str] | None = None,
        token: Callable[[], str] | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._url = _checked(url)
        self._path, self._target = batch_path, (self._url.path or "").rstrip("/") + batch_path
        self._place = f"POST {self._url.scheme}://{self._url.netloc}{self._target}"
        self._headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "muster"}
        self._headers |= dict(headers or {})
        self._token = token
        self._tls = ssl_context or (ssl.create_default_context() if self._url.scheme == "https" else None)

    def send(self, call: Call) -> Reply:
        """One POST. Blocks ``call.timeout_s`` at most; raises ``BackendError`` whatever goes wrong."""
        body = msgspec.json.encode(
            {"nodes": [item.payload | {"key": item.key, "uid": item.uid} for item in call.items]}
        )
        headers = self._headers | {"Idempotency-Key": call.id}
        if self._token is not None:
            try:
                headers["Authorization"] = f"Bearer {self._token()}"
            except (OSError, ValueError) as error:
                raise Unavailable(f"{self._place}: no token: {error}; nothing was sent", arrived=False) from error
        deadline = _Deadline(call.timeout_s)
        connection = self._connection(deadline, call.timeout_s)
        try:
            status, answer_headers, answer = self._exchange(connection, deadline, body, headers, call.timeout_s)
        finally:
            connection.close()
            deadline.close()
        if 200 <= status < 300:
            return self._reply(call, status, answer_headers, answer)
        raise self._refusal(status, answer_headers, answer)

    def _connection(self, deadline: _Deadline, timeout_s: float) -> _Plain | _Tls:
        host, connect_s = self._url.host or "", timeout_s * _CONNECT_SHARE
        connection: _Plain | _Tls
        if self._tls is not None:
            connection = _Tls(host, self._url.port, timeout=connect_s, ssl_context=self._tls)
        else:
            connection = _Plain(host, self._url.port, timeout=connect_s)
        connection.deadline = deadline
        return connection

    def _exchange(
        self, connection: _Plain | _Tls, deadline: _Deadline, body: bytes, headers: dict[str, str], timeout_s: float
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Connect, send, read all of the answer. Every way to fail becomes one of our errors."""
        place, connected = self._place, False
        try:
            connection.connect()
            connected = True
            connection.timeout = timeout_s  # single reads; the deadline bounds their sum
            connection.request("POST", self._target, body=body, headers=headers, preload_content=False)
            response = connection.getresponse()
            chunks, size = [], 0
            while chunk := response.read(1 << 16, decode_content=False):
                chunks.append(chunk)
                size += len(chunk)
                if size > BODY_MAX:
                    raise Malformed(f"{place}: the answer ({response.status}) is longer than {BODY_MAX >> 20} MiB")
            if deadline.expired:  # a shut connection reads like an ended body
                raise TimeoutError("the answer did not end")
            return response.status, response.headers, b"".join(chunks)
        except BackendError:
            raise
        except (HTTPError, http.client.HTTPException, OSError, ValueError) as error:
            refused = isinstance(error, NewConnectionError)  # which its library counts among the timeouts
            if deadline.expired or (isinstance(error, TimeoutError | HTTPTimeoutError) and not refused):
                raise self._late(connected, timeout_s, error) from error
            if not connected:
                raise Unavailable(f"{place}: {_cure(error)}; nothing was sent", arrived=False) from error
            if isinstance(error, http.client.HTTPException) and not isinstance(error, ConnectionError):
                raise Malformed(f"{place}: the answer is not HTTP: {_brief(error)}") from error
            raise Unavailable(f"{place}: the connection broke before the answer was whole: {_brief(error)}") from error

    def _late(self, connected: bool, timeout_s: float, error: Exception) -> BackendError:
        if not connected:
            return Unavailable(
                f"{self._place}: no connection in time: {_brief(error)}; nothing was sent", arrived=False
            )
        return CallTimeout(f"{self._place}: no whole answer within {timeout_s:g} s")

    # --- answers ------------------------------------------------------------------------------------------------------
    def _reply(self, call: Call, status: int, headers: Mapping[str, str], body: bytes) -> Reply:
        """A 2xx. Results are read one by one: a bad one is counted as unknown, and its item, missing, is retried."""
        if not body:
            if status == 204 or headers.get("Content-Length") == "0":
                return _all_accepted(call)
            raise Malformed(f"{self._place}: answered {status} with an empty body of unannounced length: cut off?")
        try:
            answer = msgspec.json.decode(body, type=_Answer)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise Malformed(
                f"{self._place}: answered {status} with something other than a batchRepair answer ({error}): "
                f"{_snippet(body)}; is this the URL of the batch service?"
            ) from error
        if answer.results is None:
            return _all_accepted(call)
        keys = {item.key for item in call.items}
        keys_by_uid = {item.uid: item.key for item in call.items}
        results: dict[str, ItemResult] = {}
        unknown_count = 0
        for raw in answer.results:
            try:
                result = msgspec.json.decode(raw, type=_Result)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                unknown_count += 1
                continue
            key = result.key if result.key in keys else keys_by_uid.get(result.uid, "")
            if not key or key in results or result.status not in {"accepted", "failed", "throttled"}:
                unknown_count += 1  # the first word on an item counts
                continue
            text = (result.message or "")[:_MESSAGE_MAX]
            results[key] = ItemResult(status=result.status, message=text, retry_after_s=result.retryAfterSeconds)
        return Reply(results=results, unknown_count=unknown_count)

    def _refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> BackendError:
        said = f"{self._place}: answered {status}"
        text = f": {_snippet(body)}" if body else ""
        retry_after = headers.get("Retry-After")
        if status == 429 or (status == 503 and retry_after is not None):
            return Throttled(said + text, retry_after_s=_retry_after_s(retry_after, headers.get("Date")))
        if status >= 500 or status in (408, 425):
            return Unavailable(said + text)
        if 300 <= status < 400:
            where = headers.get("Location", "nowhere")[:_TEXT_MAX]
            return Misconfigured(
                f"{said}, a redirect to {where}: redirects are not followed, set the backend's URL to that"
            )
        if status in (401, 403):
            return Misconfigured(f"{said}{text}; check the backend token and what it may do")
        if status in (404, 405):
            return Misconfigured(f"{said}{text}; check the backend URL, to which {self._path} is added")
        if 400 <= status < 500:
            return Refused(said + text)
        return Malformed(f"{said}, which is no answer to a POST")


def _checked(url: str) -> Url:
    try:
        parsed = parse_url(url)
    except HTTPError as error:
        raise SettingsError(f"backend URL: found {url!r}, which is no URL: {error}") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise SettingsError(f"backend URL: found {url!r}, expected http://HOST[:PORT] or https://HOST[:PORT]")
    if parsed.auth or parsed.query or parsed.fragment:
        raise SettingsError("backend URL: it must have no user, query or fragment; give credentials as a token file")
    return parsed._replace(host=parsed.host.strip("[]"))


def _all_accepted(call: Call) -> Reply:
    return Reply(results={item.key: ItemResult(status="accepted") for item in call.items})


def _retry_after_s(value: str | None, server_date: str | None) -> float | None:
    """Seconds from a Retry-After: a number, or a date (by the server's own clock where it tells it); None for garbage."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        at_s = _date_s(value)
        if at_s is None:
            return None
        here_s = _date_s(server_date)
        seconds = at_s - (time.time() if here_s is None else here_s)
        return max(0.0, seconds)
    return seconds if 0 <= seconds < math.inf else None


def _date_s(value: str | None) -> float | None:
    try:
        return parsedate_to_datetime(value or "").timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def _cure(error: Exception) -> str:
    """Why no connection came about, and what to do."""
    if isinstance(error, NameResolutionError):
        return f"the host's name cannot be resolved ({_brief(error)}); check the backend URL and DNS"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message}); name the CA that signed it"
    if isinstance(error, ssl.SSLError):
        return f"no TLS ({_brief(error)}); is https right for this port?"
    if isinstance(error, NewConnectionError):
        return f"no connection ({_brief(error)}); is the service running and reachable from here?"
    return f"no connection ({_brief(error)})"


def _brief(error: BaseException) -> str:
    """The innermost cause in a few words: what libraries wrap around it names objects and addresses."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:_TEXT_MAX]


def _snippet(body: bytes) -> str:
    return repr(" ".join(body[:_TEXT_MAX].decode("utf-8", "replace").split()))
