"""One tree for everything that can go wrong outside; adapters translate into it at the edge and keep the cause.

::

    MusterError
    ├── SettingsError            a setting is wrong: names it, what was found, the cure
    ├── Undecodable              one object or line cannot be read: names the place
    ├── ApiError                 the API server said no or nothing
    │   ├── Conflict (409)       the object changed since we read it: wait for the newer one
    │   ├── NotFound (404)       object or kind is not there
    │   ├── Expired (410)        resourceVersion too old: list again at once, not an error of anybody
    │   ├── Invalid (422)        the server's schema refuses what we wrote
    │   ├── Unauthorized (401), Forbidden (403)
    │   ├── ApiThrottled (429)   carries retry_after_s
    │   └── Unreachable          no answer: refused, reset, timed out, 5xx
    └── BackendError             a batch call has no good answer
        ├── Throttled            429 or 503 with Retry-After: arrived, refused; carries retry_after_s
        ├── CallTimeout          no answer in time: the outcome is unknown
        ├── Unavailable          5xx, refused, reset: the outcome is unknown unless it never left
        ├── Misconfigured        a redirect, 401, 403, 404, 405: about the address or the rights, never about an item
        ├── Refused              another 4xx: the request itself, perhaps because of one item in it
        └── Malformed            an answer that cannot be understood: the outcome is unknown
"""

from __future__ import annotations


class MusterError(Exception):
    """Root of the tree. ``str()`` of each is one line for people: the thing, the place, the cure."""


class SettingsError(MusterError):
    """A setting cannot be used."""


class Undecodable(MusterError):
    """One object cannot be read; its neighbours can. ``place`` says which (kind, namespace/name or line)."""

    def __init__(self, place: str, why: str) -> None:
        super().__init__(f"{place}: {why}")
        self.place = place
        self.why = why


class ApiError(MusterError):
    """The API server refused a request or did not answer. ``retry_after_s`` is its own wish, if it had one."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Conflict(ApiError):
    """409: the object changed since it was read."""


class NotFound(ApiError):
    """404: the object or its kind is not there."""


class Expired(ApiError):
    """410: the resourceVersion is too old; list again at once."""


class Invalid(ApiError):
    """422 or 400: the server's schema refuses what was written."""


class Unauthorized(ApiError):
    """401: the credentials are not accepted."""


class Forbidden(ApiError):
    """403: the credentials are accepted and the permission is missing."""


class ApiThrottled(ApiError):
    """429: too many requests."""


class Unreachable(ApiError):
    """No usable answer: connection refused or cut, a timeout, or a 5xx."""


class BackendError(MusterError):
    """A batch call has no good answer.

    ``retry_after_s`` is the backend's own wish, if it had one; ``arrived`` is False only when the call certainly never
    left (connection refused): then nothing was executed, though its slot stays spent.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None, arrived: bool = True) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.arrived = arrived


class Throttled(BackendError):
    """The backend counted the call and refused it: no item was executed."""


class CallTimeout(BackendError):
    """No answer within the call's timeout: each item may or may not have been executed."""


class Unavailable(BackendError):
    """5xx, or the connection failed: each item may or may not have been executed."""


class Misconfigured(BackendError):
    """A redirect, 401, 403, 404 or 405: the address or the rights are wrong; no item was looked at."""


class Refused(BackendError):
    """Another 4xx: the request itself is not accepted, perhaps because of one item in it."""


class Malformed(BackendError):
    """The answer cannot be understood: each item may or may not have been executed."""
