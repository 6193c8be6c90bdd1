"""The EC2 adapter against moto's server over real HTTP, with a proxy between them that shows what moto does not.

That is throttling, errors, silence. The adapter's credentials and region come from the environment, as a pod's would.
"""

from __future__ import annotations

import http.client
import json
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import boto3
import msgspec
import pytest
from attrs import define, field
from moto.server import ThreadedMotoServer

from actors.core.builtin import MUSTER_FLEET
from actors.core.errors import BackendError, Malformed, Misconfigured, Refused, SettingsError, Throttled, Unavailable
from actors.core.model import Child, Item, ParentKey
from actors.core.payload import payloads
from actors.core.ports import Reply
from actors.edge.backends import backend_of
from actors.edge.ec2 import REBOOT, TERMINATE, Ec2Backend
from actors.edge.fleet_file import load_fleet
from actors.edge.settings import Settings
from actors.edge.settings_load import load, require_backend
from actors.ops.check import checks
from actors.sim.serve import Connection, Dropped, HttpServer, Request
from actors.testing import BackendContract, Subject, an_item

ROOT = Path(__file__).parents[2]
ERROR = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<Response><Errors><Error><Code>{code}</Code><Message>{text}</Message>'
    "</Error></Errors><RequestID>of-a-test</RequestID></Response>"
)
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-1",
    "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "AWS_EC2_METADATA_DISABLED": "true",
    # What people set in their shells, and what must not count here: five requests for one call.
    "AWS_MAX_ATTEMPTS": "5", "AWS_RETRY_MODE": "standard",
}  # fmt: skip


pytestmark = pytest.mark.long  # moto takes its time


@define
class Proxy:
    """Between the adapter and moto: ``faults`` are for the next requests, one each; the logs are of all."""

    moto: tuple[str, int]
    faults: list[Any] = field(factory=list)
    requests: list[tuple[str, list[str]]] = field(factory=list)
    carried_out: list[tuple[str, str]] = field(factory=list)
    gone: set[str] = field(factory=set)
    connections: list[str] = field(factory=list)
    over: threading.Event = field(factory=threading.Event)

    def handle(self, request: Request, connection: Connection) -> None:
        form = parse_qs(request.body.decode())
        action, named = form["Action"][0], [form[name][0] for name in form if name.startswith("InstanceId.")]
        self.requests.append((action, named))
        self.connections.append(request.headers.get("connection", "kept"))
        if lost := [each for each in named if each in self.gone]:
            self.faults.append(
                (400, "InvalidInstanceID.NotFound", f"The instance IDs '{', '.join(lost)}' do not exist")
            )
        match self.faults.pop(0) if self.faults else None:
            case "hang":
                self.over.wait()
                raise Dropped
            case "cut":
                raise Dropped
            case (int(code), bytes(body)):
                connection.send(code, body, "text/xml")
            case (int(code), str(name), *more):
                headers = {"Retry-After": str(more[1])} if len(more) > 1 else {}
                body = ERROR.format(code=name, text=more[0] if more else "asked for by a test").encode()
                connection.send(code, body, "text/xml", headers)
            case _:
                code, body = self.ask_moto(request)
                self.carried_out += [(action, each) for each in named if code == 200]
                connection.send(code, body, "text/xml")

    def ask_moto(self, request: Request) -> tuple[int, bytes]:
        onward = http.client.HTTPConnection(*self.moto, timeout=10)
        headers = {name: request.headers[name] for name in ("authorization", "content-type", "x-amz-date")}
        try:
            onward.request("POST", "/", request.body, headers)
            answer = onward.getresponse()
            return answer.status, answer.read()
        finally:
            onward.close()


@define
class Cloud:
    """A region with instances, seen through the proxy."""

    proxy: Proxy
    url: str
    instances: list[str]

    def adapter(self, **given: Any) -> Ec2Backend:
        return Ec2Backend(**given)

    def item(self, number: int, **changes: Any) -> Item:
        """Of the n-th instance, as a Node names it."""
        provider = f"aws:///eu-west-1a/{self.instances[number]}"
        return msgspec.structs.replace(
            an_item(number), uid=self.instances[number], payload={"providerID": provider}, **changes
        )

    def subject(self, adapter: Ec2Backend, **given: Any) -> Subject:
        proxy = self.proxy
        return Subject(
            backend=adapter,
            executed=lambda: [instance for _, instance in proxy.carried_out],
            arrivals=lambda: len(proxy.requests),
            counted=lambda: len(proxy.requests),
            item=self.item,
            batch_tried=len(self.instances),
            **given,
        )


@pytest.fixture(scope="module")
def moto() -> Iterator[tuple[tuple[str, int], list[str]]]:
    """One region for all tests: they reboot, and what they terminate stays terminated."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    client = boto3.client(
        "ec2",
        endpoint_url=f"http://{host}:{port}",
        region_name="eu-west-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    made = client.run_instances(ImageId="ami-12345678", MinCount=20, MaxCount=20, InstanceType="t3.micro")
    yield (host, port), [each["InstanceId"] for each in made["Instances"]]
    server.stop()


@pytest.fixture(scope="module")
def session() -> boto3.session.Session:
    """Most of what a client costs is what a session has read."""
    return boto3.session.Session("test", "test", region_name="eu-west-1")


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """As in a pod that has been given credentials and a region."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.fixture
def cloud(
    moto: tuple[tuple[str, int], list[str]], session: boto3.session.Session, environment: pytest.MonkeyPatch
) -> Iterator[Cloud]:
    proxy = Proxy(moto[0])
    environment.setattr("actors.edge.ec2._session", lambda: session)
    with HttpServer(proxy.handle) as server:
        environment.setenv("AWS_ENDPOINT_URL", server.url)
        yield Cloud(proxy, server.url, list(moto[1]))
        proxy.over.set()


class TestEc2Backend(BackendContract):
    """It declares no keys, so it is asked nothing of them."""

    @pytest.fixture
    def subject(self, cloud: Cloud, monkeypatch: pytest.MonkeyPatch, deaf_port: int) -> Subject:
        fault = cloud.proxy.faults.append
        adapter = cloud.adapter()

        def nowhere() -> Ec2Backend:
            monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{deaf_port}")
            return cloud.adapter()

        return cloud.subject(
            adapter,
            throttle=lambda seconds: fault((503, "RequestLimitExceeded", "Request limit exceeded.", int(seconds))),
            fail=lambda: fault((500, "InternalError")),
            hang=lambda: fault("hang"),
            cut=lambda: fault("cut"),
            nonsense=lambda: fault((200, b"<html>welcome</html>")),
            reject=cloud.proxy.gone.add,
            nowhere=nowhere,
        )


def send(cloud: Cloud, adapter: Ec2Backend, items: list[Item]) -> Reply:
    return cloud.subject(adapter).send(items)


def told(reply: Reply, items: list[Item]) -> list[str]:
    return [reply.results[item.key].status for item in items]


# --- instances --------------------------------------------------------------------------------------------------------
def test_instances_that_ec2_does_not_know_are_answered_and_the_others_leave_again(cloud: Cloud) -> None:
    """EC2 refuses the request as a whole; a second request at once would be one that the quota has not counted."""
    cloud.instances[1:1], cloud.instances[3:3] = ["i-0000000000000dead"], ["i-0000000000000beef"]
    items = [cloud.item(number) for number in range(4)]
    adapter = cloud.adapter()
    reply = send(cloud, adapter, items)

    assert ["throttled", "failed", "throttled", "failed"] == told(reply, items)
    assert reply.results[items[0].key].retry_after_s == 0.0
    assert "InvalidInstanceID.NotFound" in reply.results[items[1].key].message
    assert len(cloud.proxy.requests) == 1
    assert cloud.proxy.carried_out == []

    left = [items[0], items[2]]
    assert ["accepted", "accepted"] == told(send(cloud, adapter, left), left)
    assert cloud.proxy.carried_out == [(REBOOT, cloud.instances[0]), (REBOOT, cloud.instances[2])]


@pytest.mark.parametrize(
    ("provider", "instance"),
    [
        ("aws:///eu-west-1a/i-0123456789abcdef0", "i-0123456789abcdef0"),
        ("i-0123456789abcdef0", "i-0123456789abcdef0"),
        ("i-01234567", "i-01234567"),
        ("i-0123456789abcdef0.eu-west-1.compute.internal", "i-0123456789abcdef0"),
        ("gce://project/zone/i-0123456789abcdef012", None),
        ("mi-0123456789abcdef0", None),
        ("", None),
        (None, None),
        (7, None),
    ],
)
def test_an_instance_is_found_in_what_nodes_have(cloud: Cloud, provider: object, instance: str | None) -> None:
    """An item that names none is answered without EC2; a call of such items alone is no request."""
    cloud.proxy.faults.append((200, b"<RebootInstancesResponse><return>true</return></RebootInstancesResponse>"))
    item = msgspec.structs.replace(cloud.item(0), payload={"spec": {"providerID": provider}})
    reply = send(cloud, cloud.adapter(instance_field="spec.providerID"), [item])

    assert cloud.proxy.requests == ([(REBOOT, [instance])] if instance else [])
    assert told(reply, [item]) == ["accepted" if instance else "failed"]
    assert (
        instance
        or f"spec.providerID is {provider!r}, expected the id of an EC2 instance" in reply.results[item.key].message
    )


def test_two_nodes_of_one_instance_are_one_reboot(cloud: Cloud) -> None:
    items = [cloud.item(0), msgspec.structs.replace(cloud.item(0), key="another")]
    reply = send(cloud, cloud.adapter(), items)

    assert told(reply, items) == ["accepted"] * 2
    assert cloud.proxy.requests == [(REBOOT, [cloud.instances[0]])]


# --- the stubborn -----------------------------------------------------------------------------------------------------
def test_from_the_nth_attempt_on_an_instance_is_terminated(cloud: Cloud) -> None:
    """One call is one request, so the two kinds leave apart, the first item's first."""
    items = [cloud.item(10, attempt=3), cloud.item(11, attempt=2), cloud.item(12, attempt=4)]
    adapter = cloud.adapter(terminate_from=3)
    reply = send(cloud, adapter, items)

    assert ["accepted", "throttled", "accepted"] == told(reply, items)
    assert cloud.proxy.requests == [(TERMINATE, [cloud.instances[10], cloud.instances[12]])]

    assert ["accepted"] == told(send(cloud, adapter, [items[1]]), [items[1]])
    assert cloud.proxy.requests[1:] == [(REBOOT, [cloud.instances[11]])]


def test_nothing_is_terminated_unless_somebody_says_so(cloud: Cloud) -> None:
    send(cloud, cloud.adapter(), [cloud.item(0, attempt=100)])

    assert [REBOOT] == [action for action, _ in cloud.proxy.requests]


def test_an_instance_that_is_missing_from_the_terminated_has_no_result(cloud: Cloud) -> None:
    """EC2 may terminate those of one zone and not of another."""
    one = f"<item><instanceId>{cloud.instances[0]}</instanceId></item><item><instanceId>i-12345678</instanceId></item>"
    body = f"<TerminateInstancesResponse><instancesSet>{one}</instancesSet></TerminateInstancesResponse>"
    cloud.proxy.faults.append((200, body.encode()))
    items = [cloud.item(0, attempt=2), cloud.item(1, attempt=2)]
    reply = send(cloud, cloud.adapter(terminate_from=2), items)

    assert {items[0].key} == set(reply.results)
    assert reply.unknown_count == 1


# --- refusals ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("fault", "kind", "wish_s", "text"),
    [
        ((503, "RequestLimitExceeded"), Throttled, None, "RequestLimitExceeded"),
        ((503, "RequestLimitExceeded", "slow", "7"), Throttled, 7.0, "RequestLimitExceeded"),
        ((400, "Throttling", "slow", "soon"), Throttled, None, "Throttling"),
        ((400, "RequestThrottled"), Throttled, None, "RequestThrottled"),
        ((429, "Odd"), Throttled, None, "429"),
        ((500, "InternalError"), Unavailable, None, "InternalError"),
        ((503, "Unavailable"), Unavailable, None, "503"),
        (
            (403, "UnauthorizedOperation", "You are not authorized"),
            Misconfigured,
            None,
            "that they may RebootInstances",
        ),
        ((401, "AuthFailure"), Misconfigured, None, "check the credentials"),
        ((400, "RequestExpired"), Misconfigured, None, "RequestExpired"),
        ((400, "InvalidInstanceID.NotFound", "of no name"), Refused, None, "of no name"),
        ((400, "InvalidParameterValue"), Refused, None, "InvalidParameterValue"),
        ((302, b""), BackendError, None, "EC2 at http://127.0.0.1"),
        ((200, b"not XML"), Malformed, None, "is this"),
        ((200, b""), Malformed, None, "is this"),
    ],
)
def test_each_refusal_has_its_place_in_the_error_tree(
    cloud: Cloud, fault: tuple[Any, ...], kind: type[BackendError], wish_s: float | None, text: str
) -> None:
    """One request, whatever AWS_MAX_ATTEMPTS says."""
    cloud.proxy.faults.append(fault)
    adapter = cloud.adapter()
    error = cloud.subject(adapter).error([cloud.item(0)])

    assert isinstance(error, kind)
    assert error.retry_after_s == wish_s
    assert error.arrived
    assert text in str(error)
    assert len(cloud.proxy.requests) == 1


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("IncorrectInstanceState", "The instance '{}' is not in a state from which it can be rebooted"),
        (
            "OperationNotPermitted",
            "The instance '{}' may not be terminated. Modify its 'disableApiTermination' attribute",
        ),
        ("InvalidInstanceID.Malformed", 'Invalid id: "{}"'),
        ("UnsupportedOperation", "{} has a hibernating operator"),
    ],
)
def test_whoever_is_named_in_a_refusal_is_answered_with_it(cloud: Cloud, code: str, text: str) -> None:
    said = text.format(cloud.instances[1])
    cloud.proxy.faults.append((400, code, said))
    items = [cloud.item(number) for number in range(3)]
    reply = send(cloud, cloud.adapter(), items)

    assert ["throttled", "failed", "throttled"] == told(reply, items)
    assert reply.results[items[1].key].message == f"{code}: {said}"


def test_each_request_has_a_connection_of_its_own(cloud: Cloud) -> None:
    """One that was kept and is closed meanwhile would fail with an unknown outcome."""
    send(cloud, cloud.adapter(), [cloud.item(0)])

    assert cloud.proxy.connections == ["close"]


def test_credentials_that_come_too_late_send_nothing(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that leaves after its time is one that the ledger has forgotten."""
    adapter = cloud.adapter()
    passed = iter((0.0, 6.0))
    monkeypatch.setattr("actors.edge.ec2.time.monotonic", lambda: next(passed, 6.0))
    error = cloud.subject(adapter).error([cloud.item(0)], timeout_s=10.0)

    assert isinstance(error, Unavailable)
    assert not error.arrived
    assert cloud.proxy.requests == []


# --- settings ---------------------------------------------------------------------------------------------------------
def test_without_boto3_the_extra_is_named(environment: pytest.MonkeyPatch) -> None:
    environment.setitem(sys.modules, "boto3", None)
    with pytest.raises(SettingsError, match=r"pip install 'muster-operator\[ec2\]'"):
        Ec2Backend()


@pytest.mark.parametrize(
    ("without", "with_", "text"),
    [
        (("AWS_REGION", "AWS_DEFAULT_REGION"), {}, "found no region, expected one in AWS_REGION"),
        (("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), {}, "found no credentials"),
        ((), {"AWS_PROFILE": "nobody"}, "nobody"),
        (("AWS_SECRET_ACCESS_KEY",), {}, "AWS_SECRET_ACCESS_KEY"),
        ((), {"AWS_ENDPOINT_URL": "no-url"}, "no-url"),
    ],
)
def test_what_is_missing_is_a_setting_error(
    environment: pytest.MonkeyPatch, without: tuple[str, ...], with_: dict[str, str], text: str
) -> None:
    """Before anything starts."""
    for name in without:
        environment.delenv(name)
    for name, value in with_.items():
        environment.setenv(name, value)
    with pytest.raises(SettingsError, match=r"^backend ec2: ") as caught:
        Ec2Backend()

    assert text in str(caught.value)


@pytest.mark.parametrize("region", ["eu-west-1", None])
def test_check_says_whether_run_would_find_what_it_needs(environment: pytest.MonkeyPatch, region: str | None) -> None:
    """Without a request, and without a backend URL."""
    if region is None:
        environment.delenv("AWS_REGION")
        environment.delenv("AWS_DEFAULT_REGION")
    loaded = load({"backend": "ec2", "kubeconfig": "/no/such/file"}, {})
    require_backend(loaded)
    (line,) = (each for each in checks(loaded) if each.name == "backend")

    assert line.ok == (region is not None)
    assert ("found no region" in line.message) == (region is None)
    assert ("docs/ec2.md" in line.cure) == (region is None)


def test_the_settings_choose_it(cloud: Cloud) -> None:
    adapter = backend_of(Settings(backend="ec2", ec2_instance_field="name", ec2_terminate_from=2), MUSTER_FLEET)
    assert isinstance(adapter, Ec2Backend)
    item = msgspec.structs.replace(cloud.item(15), payload={"name": cloud.instances[15]}, attempt=2)
    send(cloud, adapter, [item])

    assert cloud.proxy.carried_out == [(TERMINATE, cloud.instances[15])]


# --- the example ------------------------------------------------------------------------------------------------------
def test_the_examples_fleet_names_its_instances_where_the_adapter_looks(cloud: Cloud) -> None:
    """What the file says of a Node is what EC2 is asked for."""
    source = load_fleet(str(ROOT / "examples" / "ec2" / "fleet.yaml"))
    renders = payloads(source.fleet)
    assert renders is not None
    provider = f"aws:///eu-west-1a/{cloud.instances[0]}"
    node = Child(
        kind="Node", namespace="", name="n", uid="u", version=1, parent=ParentKey("", "workers"),
        fields=msgspec.json.encode([provider]).decode(),
    )  # fmt: skip
    item = msgspec.structs.replace(cloud.item(0), payload=renders["Node"](node, ParentKey("", "workers"), "k"))
    settings = source.fleet.settings
    assert settings["backend"] == "ec2"
    adapter = backend_of(Settings(backend="ec2", ec2_terminate_from=int(settings["ec2TerminateFrom"])), MUSTER_FLEET)
    assert isinstance(adapter, Ec2Backend)
    send(cloud, adapter, [item])

    assert cloud.proxy.carried_out == [(REBOOT, cloud.instances[0])]


def test_the_pages_policy_allows_what_is_called_and_no_more() -> None:
    page = (ROOT / "docs" / "ec2.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"(?ms)^ *```json\n(.*?)^ *```", page)
    (statement,) = json.loads(block)["Statement"]

    assert [f"ec2:{REBOOT}", f"ec2:{TERMINATE}"] == statement["Action"]
