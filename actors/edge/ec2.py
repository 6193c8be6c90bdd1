"""Repairs at Amazon EC2: ``RebootInstances`` in batches, and ``TerminateInstances`` for who has been rebooted in vain.

One call is one request. botocore's own retries are off (by default one call becomes up to five requests, which the quota would
not know of), and each request has a connection of its own, as in ``backend``: one that the server has closed meanwhile would
leave the outcome unknown for no reason.

EC2 takes all of a request or nothing, and names the instances for whose sake it refused. Those items are answered as failed,
and the others as not carried out, so that they leave again under the quota. A request with rebooting and terminating items
would be two: what the first item needs is sent, and the others leave with a later call.

EC2 honours no keys here, and counts requests when they come in: see ``Capabilities``. boto3 is an extra, and imported only
where this backend is wanted.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn, Protocol

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
from ..core.model import Item
from ..core.operation import Capabilities
from ..core.ports import Call, ItemResult, Reply

EXTRA = "muster-operator[ec2]"
REBOOT, TERMINATE = "RebootInstances", "TerminateInstances"
_BATCH_MAX = 1000  # instance ids in one request, as the API's reference has it
_CONNECT_SHARE = 0.5  # of the timeout for connecting, as much for an answer: botocore bounds steps and not their sum
_ID = re.compile(
    r"(?<![0-9A-Za-z-])i-(?:[0-9a-f]{17}|[0-9a-f]{8})(?![0-9A-Za-z-])"
)  # the long form and the one before 2016
_TEXT_MAX = 300  # characters of foreign text in a message
# What EC2 and the services before it answer to one request too many.
_THROTTLES = frozenset({
    "RequestLimitExceeded", "Throttling", "ThrottlingException", "ThrottledException", "RequestThrottled", "SlowDown",
    "RequestThrottledException", "TooManyRequestsException", "EC2ThrottledException", "BandwidthLimitExceeded",
})  # fmt: skip
_RIGHTS = frozenset({
    "AuthFailure", "UnauthorizedOperation", "InvalidClientTokenId", "SignatureDoesNotMatch", "IncompleteSignature",
    "ExpiredToken", "ExpiredTokenException", "RequestExpired", "UnrecognizedClientException", "MissingAuthenticationToken",
    "AccessDenied", "AccessDeniedException", "OptInRequired", "PendingVerification", "Blocked", "InvalidAction",
})  # fmt: skip
# Refusals that are about single instances, and name them.
_ABOUT_INSTANCES = (
    "InvalidInstanceID",
    "IncorrectInstanceState",
    "IncorrectState",
    "OperationNotPermitted",
    "UnsupportedOp",
)


class Ec2Client(Protocol):
    """What is used of botocore's client."""

    def reboot_instances(self, *, InstanceIds: list[str]) -> Mapping[str, Any]:  # noqa: N803 - the API's own word
        """Reboot them all, or raise."""

    def terminate_instances(self, *, InstanceIds: list[str]) -> Mapping[str, Any]:  # noqa: N803 - as above
        """Terminate them all, or raise; the answer names them."""


class Ec2Backend:
    """The ``Backend`` port on EC2. Any thread, many at once.

    ``instance_field`` is the path in an item's payload at which its instance is: a provider ID as Nodes have it
    (``aws:///eu-west-1a/i-0123456789abcdef0``), the bare id, or a text that has one in it. From the attempt ``terminate_from``
    at one incident on an instance is terminated; None: never. Credentials, region and endpoint are looked for where all
    of Amazon's tools look.
    """

    capabilities = Capabilities(keys=False, batch_max=_BATCH_MAX)

    def __init__(
        self, *, instance_field: str = "providerID", terminate_from: int | None = None, timeout_s: float = 10.0
    ) -> None:
        self._path = tuple(instance_field.split("."))
        self._field = instance_field
        self._terminate_from = terminate_from
        self._session = _session()
        self._clients: dict[float, Ec2Client] = {}
        self._lock = threading.Lock()
        self._now = threading.local()  # of the call of this thread: until when it may leave, and whether it has
        self.place = f"EC2 at {_endpoint(self._client(timeout_s))}"
        if self._session.get_credentials() is None:
            raise SettingsError(
                "backend ec2: found no credentials for AWS, expected them where its tools look: a role of the pod or "
                "the machine, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ~/.aws/credentials"
            )

    def send(self, call: Call) -> Reply:
        """One request. Blocks some ``call.timeout_s`` at most; raises ``BackendError`` whatever goes wrong."""
        instances, results = self._instances(call.items)
        if not instances:
            return Reply(results=results)  # nothing that EC2 could be asked for
        action = self._action(next(iter(instances.values()))[0])
        for instance, items in list(instances.items()):
            if any(self._action(item) != action for item in items):
                results |= _not_yet(instances.pop(instance), f"not sent with this {action}")
        client = self._client(call.timeout_s)
        self._now.leaves_by_s, self._now.left = time.monotonic() + call.timeout_s * _CONNECT_SHARE, False
        try:
            if action == REBOOT:
                client.reboot_instances(InstanceIds=list(instances))
                done = set(instances)
            else:
                answer = client.terminate_instances(InstanceIds=list(instances))
                done = {each["InstanceId"] for each in answer["TerminatingInstances"]}
        except BackendError:
            raise
        except Exception as error:  # noqa: BLE001 - botocore lets through what it did not expect, and each has its place in our tree
            return Reply(results=results | self._refused(action, error, instances, call.timeout_s))
        for instance in done & set(instances):
            results |= {item.key: ItemResult(status="accepted", message=action) for item in instances[instance]}
        return Reply(results=results, unknown_count=len(done - set(instances)))

    # --- items --------------------------------------------------------------------------------------------------------
    def _instances(self, items: Iterable[Item]) -> tuple[dict[str, list[Item]], dict[str, ItemResult]]:
        """Items by instance, in their order, and the results of those that name none."""
        instances: dict[str, list[Item]] = {}
        results: dict[str, ItemResult] = {}
        for item in items:
            found: Any = item.payload
            for name in self._path:
                found = found.get(name) if isinstance(found, Mapping) else None
            match = _ID.search(found) if isinstance(found, str) else None
            if match is None:
                text = f"{self._field} is {found!r:.{_TEXT_MAX}}, expected the id of an EC2 instance in it"
                results[item.key] = ItemResult(status="failed", message=text)
            else:
                instances.setdefault(match[0], []).append(item)
        return instances, results

    def _action(self, item: Item) -> str:
        stubborn = self._terminate_from is not None and item.attempt >= self._terminate_from
        return TERMINATE if stubborn else REBOOT

    # --- answers ------------------------------------------------------------------------------------------------------
    def _refused(
        self, action: str, error: Exception, instances: Mapping[str, list[Item]], timeout_s: float
    ) -> dict[str, ItemResult]:
        """The results, where EC2 names whose fault it is; else the error of our tree."""
        from botocore.exceptions import ClientError

        said = f"{self.place}: {action}"
        if not isinstance(error, ClientError):
            self._unanswered(said, error, timeout_s)
        about, meta = error.response.get("Error", {}), error.response.get("ResponseMetadata", {})
        code, text = str(about.get("Code", "")), str(about.get("Message", ""))
        status = int(meta.get("HTTPStatusCode", 0))
        said = f"{said} answered {status} {code}: {text[:_TEXT_MAX]}"
        if code in _THROTTLES or status == 429:
            raise Throttled(said, retry_after_s=_seconds(meta.get("HTTPHeaders", {}).get("retry-after"))) from error
        if status >= 500:
            raise Unavailable(said) from error
        if code in _RIGHTS:
            raise Misconfigured(f"{said}; check the credentials and that they may {action}") from error
        if 300 <= status < 400 or not code:
            raise Misconfigured(f"{said}; is this the endpoint of EC2?") from error
        named = [instance for instance in instances if instance in text] if code.startswith(_ABOUT_INSTANCES) else []
        if not named:
            raise Refused(said) from error  # the gateway sends halves apart until it stands alone
        results: dict[str, ItemResult] = {}
        for instance, items in instances.items():
            if instance in named:
                results |= {item.key: ItemResult(status="failed", message=f"{code}: {text}") for item in items}
            else:
                results |= _not_yet(items, f"refused for the sake of {', '.join(named)}"[:_TEXT_MAX])
        return results

    def _unanswered(self, said: str, error: Exception, timeout_s: float) -> NoReturn:
        from botocore import exceptions as boto
        from botocore.parsers import ResponseParserError

        text = " ".join(str(error).split())[:_TEXT_MAX] or type(error).__name__
        if isinstance(error, boto.NoCredentialsError | boto.PartialCredentialsError | boto.CredentialRetrievalError):
            raise Misconfigured(f"{said}: no credentials: {text}; nothing was sent", arrived=False) from error
        if isinstance(error, boto.EndpointConnectionError | boto.ConnectTimeoutError | boto.ProxyConnectionError):
            raise Unavailable(f"{said}: no connection: {text}; nothing was sent", arrived=False) from error
        if isinstance(error, boto.SSLError) and "CERTIFICATE_VERIFY_FAILED" in text:
            cure = "name its authority with AWS_CA_BUNDLE"
            raise Unavailable(
                f"{said}: its certificate is not trusted; {cure}; nothing was sent", arrived=False
            ) from error
        if not self._now.left:
            raise Unavailable(f"{said}: {text}; nothing was sent", arrived=False) from error
        if isinstance(error, boto.ReadTimeoutError):
            raise CallTimeout(f"{said}: no answer within {timeout_s:g} s") from error
        if isinstance(error, ResponseParserError | KeyError | TypeError):
            raise Malformed(f"{said}: the answer is not one of EC2 ({text}); is this its endpoint?") from error
        raise Unavailable(f"{said}: no whole answer: {text}") from error

    # --- the client ---------------------------------------------------------------------------------------------------
    def _client(self, timeout_s: float) -> Ec2Client:
        """One for each timeout, which is to say one: making it reads files and takes a tenth of a second."""
        with self._lock:
            if timeout_s not in self._clients:
                self._clients[timeout_s] = self._made(timeout_s)
            return self._clients[timeout_s]

    def _made(self, timeout_s: float) -> Ec2Client:
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, NoRegionError

        config = Config(
            connect_timeout=timeout_s * _CONNECT_SHARE, read_timeout=timeout_s * (1 - _CONNECT_SHARE),
            retries={"total_max_attempts": 1, "mode": "standard"}, user_agent_extra="muster",
        )  # fmt: skip
        try:
            client = self._session.client("ec2", config=config)
        except NoRegionError as error:
            raise SettingsError(
                "backend ec2: found no region, expected one in AWS_REGION, AWS_DEFAULT_REGION or ~/.aws/config"
            ) from error
        except (BotoCoreError, ValueError) as error:
            raise SettingsError(f"backend ec2: AWS is not set up: {error}") from error
        client.meta.events.register_first("before-send.ec2", self._leaving)
        client.meta.events.register_first("after-call.ec2", self._answered)
        made: Ec2Client = client
        return made

    def _leaving(self, request: Any, **_event: object) -> None:
        """On the thread of the call, when it is signed and before it is sent. Fetching credentials may have taken long."""
        if time.monotonic() > self._now.leaves_by_s:
            raise Unavailable(f"{self.place}: credentials came too late; nothing was sent", arrived=False)
        request.headers["Connection"] = "close"
        self._now.left = True

    def _answered(self, http_response: Any, model: Any, **_event: object) -> None:
        """A proxy's page is no success: botocore takes any 200 for that, of an operation that answers nothing."""
        if http_response.status_code < 300 and f"<{model.name}Response".encode() not in http_response.content:
            text = " ".join(http_response.content[:_TEXT_MAX].decode("utf-8", "replace").split())
            raise Malformed(
                f"{self.place}: {model.name} answered {http_response.status_code} with something other than "
                f"a {model.name}Response: {text!r}; is this the endpoint of EC2?"
            )


def _session() -> Any:
    try:
        import boto3
    except ImportError as error:
        raise SettingsError(f"backend ec2 needs boto3, which is not installed: pip install '{EXTRA}'") from error
    from botocore.exceptions import BotoCoreError

    try:
        return boto3.session.Session()
    except BotoCoreError as error:  # a profile that does not exist
        raise SettingsError(f"backend ec2: AWS is not set up: {error}") from error


def _endpoint(client: Any) -> str:
    return str(client.meta.endpoint_url)


def _not_yet(items: Iterable[Item], why: str) -> dict[str, ItemResult]:
    """Not carried out: they leave again with a later call."""
    return {item.key: ItemResult(status="throttled", message=why, retry_after_s=0.0) for item in items}


def _seconds(text: object) -> float | None:
    return float(text) if isinstance(text, str) and re.fullmatch(r"[0-9]{1,9}(\.[0-9]+)?", text) else None
