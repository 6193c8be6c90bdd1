"""The connection to the API server: whose credentials, which server, and what its answers mean.

The ``kubernetes`` package reads the configuration (kubeconfig, in-cluster, exec plugins, token refresh) and nothing else of it
is used: requests go through one urllib3 pool with retries and redirects off, because whoever retries must be seen to. Every
failure becomes an ``ApiError`` whose message names the server, the path and the cure. A 401 or a certificate that does not
verify loads the configuration once more and tries once more: tokens and authorities rotate under a long-lived process.

Thread-safe: readers, writers and checks share one client.
"""

from __future__ import annotations

import math
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]  # typeshed leaves it out

import msgspec
import urllib3
from attrs import field, frozen
from urllib3.connection import HTTPConnection
from urllib3.exceptions import ClosedPoolError, HTTPError, MaxRetryError, NewConnectionError, SSLError
from urllib3.exceptions import TimeoutError as HTTPTimeoutError

from .. import __version__
from ..core.errors import ApiError, SettingsError, Undecodable, Unreachable
from ..core.events import RequestAnswered
from ..core.ports import Facts
from ..core.stream import api_error
from .exchange import PlainPool, TlsPool, Whole, forget_socket, sever
from .kube_package import configuration

__all__ = ["Answer", "KubeClient", "retry_after_s", "wall_s"]

CONNECT_S = 5.0
"""How long a TCP and TLS handshake may take. The kernel's own limit is minutes."""
REQUEST_S = 10.0
"""How long an ordinary request may take (``StatusWriter`` promises it)."""
USER_TIMEOUT_MS = 20_000
"""Unacknowledged data and failed keepalives end a connection after this long, below the readers' own 25 s."""
_RETRY_AFTER_MAX_S = 3600.0
_MESSAGE_MAX = 500
_BODY_MAX = 64 * 1024  # of an error's body
_SAFE = "/%!$&'()*+,;=:@-._~"  # what a path may have as it is (RFC 3986 §3.3); a % is taken to be quoting already
_AUTHORIZATION_S = 1.0
"""For how long the header of the credentials is taken to hold. The package renews a token 5 min before its end (in a pod: it
reads the file once a minute), and each look costs as much as a request does, because it makes a whole configuration."""
_OPTIONS: list[tuple[int, int, int | bytes]] = [
    *HTTPConnection.default_socket_options,
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
]
for _name, _value in (
    ("TCP_KEEPIDLE", 10),
    ("TCP_KEEPINTVL", 5),
    ("TCP_KEEPCNT", 2),
    ("TCP_USER_TIMEOUT", USER_TIMEOUT_MS),
):
    if hasattr(socket, _name):
        _OPTIONS.append((socket.IPPROTO_TCP, getattr(socket, _name), _value))


@frozen
class _Asked:
    """One request, and the text of it."""

    method: str
    path: str
    query: Mapping[str, str]
    body: object
    content_type: str
    accept: str
    timeout_s: float

    data: bytes | None = field(init=False)
    target: str = field(init=False)

    @data.default
    def _encode(self) -> bytes | None:
        return None if self.body is None else msgspec.json.encode(self.body)

    @target.default
    def _join(self) -> str:
        return quote(self.path, safe=_SAFE) + ("?" + urlencode(self.query) if self.query else "")

    @property
    def connect_s(self) -> float:
        """How long it may take to connect."""
        return min(CONNECT_S, self.timeout_s)


_Told = TypeVar("_Told", bound=Whole | urllib3.BaseHTTPResponse)
"""An answer: read to its end, or begun."""


@frozen
class Answer:
    """A good answer, read to its end. ``date``: the header, "" where there is none."""

    status: int
    body: bytes
    date: str

    @property
    def wall_s(self) -> float | None:
        """The server's own time (Unix seconds), None where it did not say."""
        return wall_s(self.date)

    def json(self) -> dict[str, Any]:
        """The body as a JSON object; ``Undecodable`` when it is none."""
        try:
            return msgspec.json.decode(self.body, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Undecodable("the API server's answer", str(error)) from error


class KubeClient:
    """Requests to one API server. ``kubeconfig`` None: ``$KUBECONFIG``, else in-cluster, else ``~/.kube/config``.

    Each request is a fact, a watch when it has begun.
    """

    def __init__(
        self,
        kubeconfig: str | Path | None = None,
        context: str | None = None,
        *,
        facts: Facts = lambda fact: None,
    ) -> None:
        """Read the configuration; ``SettingsError`` when there is none that works."""
        self._facts = facts
        self._kubeconfig = str(kubeconfig) if kubeconfig else os.environ.get("KUBECONFIG") or None
        self._context = context
        self._lock = threading.Lock()
        self._loads = 0
        self._authorized: tuple[float, dict[str, str]] = (-math.inf, {})
        self._agent = f"muster/{__version__}"
        self._load()

    @property
    def server(self) -> str:
        """The server's URL, for messages."""
        return self._server

    def close(self) -> None:
        """Close idle connections. Harmless at any time: when one has gone dead without a word, the others are dead, too."""
        self._pool.clear()

    def sever(self, thread: int) -> None:
        """Break the connection that the request of that thread (its ``get_ident``) uses, so that a blocked read returns.

        Any thread; the caller knows that the request is still under way.
        """
        sever(thread)

    # --- requests ---

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        timeout_s: float = REQUEST_S,
    ) -> Answer:
        """One request, its answer read to the end. Raises ``ApiError``. ``timeout_s`` is for each wait."""
        asked = _Asked(method, path, query or {}, body, content_type, accept, timeout_s)
        whole = self._tried(asked, self._exchange)
        return Answer(whole.status, whole.body, whole.headers.get("date", ""))

    def open(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        accept: str = "application/json",
        timeout_s: float = REQUEST_S,
    ) -> urllib3.BaseHTTPResponse:
        """One request; its good answer is still to be read, and closed, by the caller. Raises ``ApiError``.

        ``timeout_s`` is for each read (the answer's headers, then each piece of its body).
        """
        asked = _Asked(method, path, query or {}, None, "", accept, timeout_s)
        return self._tried(asked, self._begin)

    def _tried(self, asked: _Asked, send: Callable[[_Asked, dict[str, str]], _Told]) -> _Told:
        """Send it, and once more where the credentials or the pool may have been replaced meanwhile."""
        forget_socket()
        for attempt in (1, 2):
            loads = self._loads
            try:
                answer = self._timed(asked, send)
            except ClosedPoolError as error:  # another thread has just closed the idle ones; nothing was sent
                if attempt == 1:
                    continue
                raise self._unreachable(asked, error) from error
            except SSLError as error:
                if attempt == 1 and not _hung_up(error) and self._reload(loads):
                    continue
                raise self._unreachable(asked, error) from error
            except (HTTPError, OSError, ValueError) as error:
                raise self._unreachable(asked, error) from error
            if answer.status < 300:
                return answer
            refusal = answer if isinstance(answer, Whole) else _read_refusal(answer)
            if refusal.status == 401 and attempt == 1 and self._reload(loads):
                continue
            raise self._refused(asked, refusal)
        raise AssertionError("unreachable: the second attempt returns or raises")

    def _timed(self, asked: _Asked, send: Callable[[_Asked, dict[str, str]], _Told]) -> _Told:
        headers = self._headers_of(asked)
        host, began_s, code = self._host, time.monotonic(), "<error>"
        try:
            answer = send(asked, headers)
            code = str(answer.status)
            return answer
        finally:
            took_s = time.monotonic() - began_s
            self._facts(RequestAnswered(method=asked.method, host=host, code=code, seconds=took_s))

    def _headers_of(self, asked: _Asked) -> dict[str, str]:
        headers = {"Accept": asked.accept, "User-Agent": self._agent, "Accept-Encoding": "identity"}
        if asked.data is not None:
            headers["Content-Type"] = asked.content_type
        return headers | self._authorization()

    def _begin(self, asked: _Asked, headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
        return self._pool.request(
            asked.method,
            self._server + asked.target,
            body=asked.data,
            headers=headers,
            timeout=urllib3.Timeout(connect=asked.connect_s, read=asked.timeout_s),
            retries=False,
            redirect=False,
            preload_content=False,
        )

    def _exchange(self, asked: _Asked, headers: dict[str, str]) -> Whole:
        if isinstance(self._pool, urllib3.ProxyManager):
            return _read_whole(self._begin(asked, headers))
        pool = self._pool.connection_from_url(self._server)
        assert isinstance(pool, PlainPool)
        lines = [f"{asked.method} {self._base}{asked.target} HTTP/1.1", f"Host: {self._host}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        data = asked.data or b""
        if asked.data is not None:
            lines.append(f"Content-Length: {len(data)}")
        request = "\r\n".join([*lines, "\r\n"]).encode("latin-1") + data
        return pool.exchange(request, connect_s=asked.connect_s, read_s=asked.timeout_s)

    def allowed(self, verb: str, group: str, resource: str, *, subresource: str = "", namespace: str = "") -> bool:
        """Whether these credentials may do that, in ``namespace`` ("" all): a SelfSubjectAccessReview. Raises ``ApiError``."""
        attributes = {"verb": verb, "group": group, "resource": resource}
        attributes |= {"subresource": subresource} if subresource else {}
        attributes |= {"namespace": namespace} if namespace else {}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        answer = self.request("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body=review).json()
        status = answer.get("status")
        return bool(isinstance(status, dict) and status.get("allowed"))

    def server_version(self) -> str:
        """The server's version (``v1.37.2``). Raises ``ApiError``."""
        return str(self.request("GET", "/version").json().get("gitVersion", "unknown"))

    # --- credentials ---

    def _load(self) -> None:
        # Nothing else of the package is touched; importing it costs memory that a process without a cluster need not pay.
        config, settings = configuration()
        try:
            if self._kubeconfig is None and os.environ.get("KUBERNETES_SERVICE_HOST") and self._context is None:
                config.load_incluster_config(client_configuration=settings)
            else:
                config.load_kube_config(
                    config_file=self._kubeconfig,
                    context=self._context,
                    client_configuration=settings,
                    persist_config=False,
                )
        except Exception as error:
            where = self._kubeconfig or "~/.kube/config"
            raise SettingsError(
                f"no usable connection to a cluster: {where}: {type(error).__name__}: {error}; give --kubeconfig and "
                "--context, set KUBECONFIG, or run in a pod with a service account"
            ) from error
        self._settings = settings
        self._server = str(settings.host).rstrip("/")
        self._host, _, base = self._server.partition("://")[2].rpartition("@")[2].partition("/")
        self._base = f"/{base}" if base else ""
        self._pool = self._make_pool(settings)
        self._authorized = (-math.inf, {})
        self._loads += 1

    def _make_pool(self, settings: Any) -> urllib3.PoolManager:
        options: dict[str, Any] = {
            "maxsize": 32,
            "socket_options": _OPTIONS,
            "cert_reqs": "CERT_REQUIRED" if settings.verify_ssl else "CERT_NONE",
            "ca_certs": settings.ssl_ca_cert,
            "cert_file": settings.cert_file,
            "key_file": settings.key_file,
        }
        if getattr(settings, "assert_hostname", None) is not None:
            options["assert_hostname"] = settings.assert_hostname
        if getattr(settings, "tls_server_name", None):
            options["server_hostname"] = settings.tls_server_name
        parts = urlsplit(self._server)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise SettingsError(
                f"the cluster's server is {self._server!r}, expected a URL such as https://10.0.0.1:6443"
            )
        no_proxy = settings.no_proxy or ""
        if settings.proxy and not proxy_bypass_environment(parts.hostname, {"no": no_proxy}):
            pool: urllib3.PoolManager = urllib3.ProxyManager(
                settings.proxy, proxy_headers=settings.proxy_headers, **options
            )
        else:
            pool = urllib3.PoolManager(**options)
        pool.pool_classes_by_scheme = {"http": PlainPool, "https": TlsPool}
        return pool

    def _authorization(self) -> dict[str, str]:
        """The header, after the package's own refresh of whatever has expired."""
        with self._lock:
            since_s, header = self._authorized
            if time.monotonic() - since_s < _AUTHORIZATION_S:
                return header
            try:
                value = self._settings.get_api_key_with_prefix("BearerToken", alias="authorization")
            except Exception as error:
                raise Unreachable(f"{self._server}: the credentials cannot be refreshed: {error}") from error
            header = {"Authorization": value} if value else {}
            self._authorized = (time.monotonic(), header)
            return header

    def _reload(self, loads: int) -> bool:
        """Load the configuration anew, once for all who found it stale; whether it is worth another try."""
        with self._lock:
            if self._loads == loads:
                try:
                    self._load()
                except SettingsError:
                    return False
            return True

    # --- what went wrong ---

    def _unreachable(self, asked: _Asked, error: Exception) -> ApiError:
        if isinstance(error, ApiError):
            return error
        cause = error.reason if isinstance(error, MaxRetryError) and error.reason else error
        if isinstance(cause, NewConnectionError):
            what, cure = "the connection is refused", "is it running, and is the address right?"
        elif isinstance(cause, SSLError) and not _hung_up(cause):
            what, cure = f"TLS failed ({cause})", "check the certificate authority in the kubeconfig"
        elif isinstance(cause, (HTTPTimeoutError, TimeoutError)):
            what, cure = "no answer in time", "it may be overloaded, or a network drops packets"
            self.close()  # the next request would wait as long on the next one
        else:
            what, cure = f"the connection broke ({type(cause).__name__}: {cause})", "retried by itself"
        return Unreachable(f"{self._server}: {asked.method} {asked.path}: {what}; {cure}"[:_MESSAGE_MAX])

    def _refused(self, asked: _Asked, refusal: Whole) -> ApiError:
        raw, path, code = refusal.body[:_BODY_MAX], asked.path, refusal.status
        message = ""
        try:
            found = msgspec.json.decode(raw)
            message = str(found["message"]) if isinstance(found, dict) and "message" in found else ""
        except (msgspec.DecodeError, UnicodeDecodeError):
            message = raw[:200].decode("utf-8", "replace").strip()
        verb = _verb(asked.method, path, asked.query)
        cure = {
            401: "the credentials are not accepted: renew the token or certificate in the kubeconfig",
            403: f"allow the verb {verb} on {_resource(path)}: kubectl apply -k manifests/rbac",
            429: "the server asks for patience",
        }.get(code, "")
        if code == 404 and _is_kind(message, path):
            cure = "the kind is not served: kubectl apply -k manifests/crd, or see muster check for another fleet's"
        elif 300 <= code < 400:
            cure = f"it redirects to {refusal.headers.get('location', '?')}: set that address as the server"
        text = f"{self._server}: {asked.method} {path}: {code} {message or refusal.reason}".rstrip()
        wait_s = retry_after_s(refusal.headers.get("retry-after"), wall_s(refusal.headers.get("date")))
        return api_error(code, (text[:_MESSAGE_MAX] + (f"; {cure}" if cure else "")), wait_s)


def _read_whole(response: urllib3.BaseHTTPResponse) -> Whole:
    """What urllib3 has begun, read to its end."""
    try:
        body = response.read()
    except BaseException:
        response.close()
        raise
    response.release_conn()
    return _whole(response, body)


def _read_refusal(response: urllib3.BaseHTTPResponse) -> Whole:
    """A refusal is one, whatever becomes of its body."""
    try:
        body = response.read(_BODY_MAX)
    except (HTTPError, OSError, ValueError):
        body = b""
    response.close()
    return _whole(response, body)


def _whole(response: urllib3.BaseHTTPResponse, body: bytes) -> Whole:
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Whole(response.status, response.reason or "", headers, body)


def _hung_up(error: SSLError) -> bool:
    """Whether the other side went away during the handshake: an outage, which says nothing about certificates."""
    return any(isinstance(each, (ssl.SSLEOFError, ssl.SSLZeroReturnError)) for each in (error.__cause__, *error.args))


def _verb(method: str, path: str, query: Mapping[str, str]) -> str:
    if method != "GET":
        return {"POST": "create", "PUT": "update"}.get(method, method.lower())
    if query.get("watch"):
        return "watch"
    return "get" if len(_parts(path)) > 1 else "list"


def _parts(path: str) -> list[str]:
    """Plural, name and subresource of a resource path, as far as they are there."""
    parts = path.strip("/").split("/")[(2 if path.startswith("/api/") else 3) :]
    return parts[2:] if parts[:1] == ["namespaces"] and len(parts) > 2 else parts


def _resource(path: str) -> str:
    plural, _, *sub = (*_parts(path), "", "")[:3]
    group = path.split("/")[2] if path.startswith("/apis/") else ""
    return plural + (f".{group}" if group else "") + ("/" + sub[0] if sub and sub[0] else "")


def _is_kind(message: str, path: str) -> bool:
    """Whether a 404 means the kind: collections are never missing, and that is how the server words it."""
    return (
        len(_parts(path)) <= 1 or "could not find the requested resource" in message or message.startswith("404 page")
    )


def wall_s(date: str | None) -> float | None:
    """Unix seconds of an HTTP Date header."""
    if not date:
        return None
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, OverflowError):
        return None


def retry_after_s(value: str | None, server_wall_s: float | None) -> float | None:
    """Seconds of a Retry-After header (a number, or a date by the server's own clock); None for nothing or nonsense."""
    if not value:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return min(float(text), _RETRY_AFTER_MAX_S)
    until_s = wall_s(text)
    if until_s is None or server_wall_s is None:
        return None
    return min(max(0.0, until_s - server_wall_s), _RETRY_AFTER_MAX_S)
