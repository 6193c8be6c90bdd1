"""The contract of the ``Backend`` port, as a class of tests to subclass.

::

    import pytest
    from actors.testing import BackendContract, Subject

    class TestMyBackend(BackendContract):
        @pytest.fixture
        def subject(self, my_service):
            return Subject(
                backend=MyBackend(my_service.url),
                executed=my_service.executed_uids,
                arrivals=my_service.calls_count,
                fail=lambda: my_service.answer_next(500),
            )

Each test gets a ``subject`` of its own: the adapter, and the service behind it, which tests may look into and have misbehave.
A fault that the service cannot be made to show is left out; its tests are skipped and say which. What the adapter declares as
its ``capabilities`` decides what is asked of it: an adapter that declares less is asked less, and treated with more care.
"""

from __future__ import annotations

import hashlib
import itertools
import time
import unittest
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import msgspec
from attrs import define, field

from ..core.errors import BackendError, CallTimeout, Malformed, Refused, Throttled, Unavailable
from ..core.keys import item_key
from ..core.model import Item, ParentKey
from ..core.operation import Capabilities
from ..core.ports import Backend, Call, Later, Reply

T = TypeVar("T")

BATCH_TRIED = 1000  # a service that takes more is not asked for more: that would test its memory
_SECONDS = 1.0  # of a throttle's wish: whole, because Retry-After is
_UNANSWERED_S = 0.4  # how long a call without an answer is waited for
_ANSWERED_S = 10.0


def an_item(number: int) -> Item:
    """A repair as the built-in fleet wants it: of node ``number``, in its first round."""
    uid, name = f"00000000-0000-4000-8000-{number:012d}", f"node-{number}"
    key = item_key(uid, "unhealthy@2026-01-01T00:00:00Z", 0)
    payload = {
        "key": key, "name": name, "namespace": "default", "kind": "ComputeNode", "uid": uid, "cluster": "contract"
    }  # fmt: skip
    return Item(
        operation="batchRepair", key=key, kind="ComputeNode", uid=uid, incident="unhealthy@2026-01-01T00:00:00Z",
        parent=ParentKey("default", "contract"), payload=payload, since_s=0.0,
    )  # fmt: skip


@define(kw_only=True)
class Subject:
    """An adapter with a service behind it, which is fresh: nothing has arrived there.

    ``executed`` tells the uids of the repairs carried out so far, in order, each as often as it was; ``arrivals`` how many
    calls have reached the service, and ``counted`` how many of them it has counted against its quota. ``item`` makes the
    n-th repair.

    The faults, None where the service has no such thing: ``throttle(seconds)`` (the next call is refused as one too many, and
    wanted again after so long), ``fail`` (the next is answered with the service's own error), ``hang`` (the next is not
    answered), ``cut`` (the next ends without an answer), ``nonsense`` (the next is answered by something else), and
    ``reject(uid)`` (from now on that one's repair is not possible). ``nowhere`` makes the same adapter for an address where
    nobody listens. ``wait`` is for adapters in virtual time, which answer ``Later``. ``batch_tried`` is the most items that
    are sent in one call.
    """

    backend: Backend
    executed: Callable[[], Iterable[str]]
    arrivals: Callable[[], int]
    counted: Callable[[], int] | None = None
    item: Callable[[int], Item] = an_item
    throttle: Callable[[float], object] | None = None
    fail: Callable[[], object] | None = None
    hang: Callable[[], object] | None = None
    cut: Callable[[], object] | None = None
    nonsense: Callable[[], object] | None = None
    reject: Callable[[str], object] | None = None
    nowhere: Callable[[], Backend] | None = None
    wait: Callable[[float], object] = time.sleep
    batch_tried: int = BATCH_TRIED
    _numbers: itertools.count[int] = field(init=False, factory=itertools.count)

    def items(self, count: int) -> tuple[Item, ...]:
        """The first so many."""
        return tuple(self.item(number) for number in range(count))

    def send(self, items: Sequence[Item], *, timeout_s: float = _ANSWERED_S, by: Backend | None = None) -> Reply:
        """One call under a fresh id, to its end."""
        name = hashlib.sha256(f"call {next(self._numbers)}".encode()).hexdigest()[:26]
        call = Call(id=name, operation=items[0].operation, items=tuple(items), timeout_s=timeout_s)
        answer = (by or self.backend).send(call)
        while isinstance(answer, Later):
            self.wait(answer.delay_s)
            answer = answer.result()
        return answer

    def error(
        self, items: Sequence[Item], *, timeout_s: float = _ANSWERED_S, by: Backend | None = None
    ) -> BackendError:
        """The error in which one call ends. AssertionError where it ends well, or in what is no ``BackendError``."""
        try:
            reply = self.send(items, timeout_s=timeout_s, by=by)
        except BackendError as error:
            return error
        except Exception as error:
            raise AssertionError(f"the adapter raised {error!r}, which is no BackendError") from error
        raise AssertionError(f"the call ended in {reply}, and there was no answer that could be understood so")


class BackendContract:
    """See the module. Give a fixture ``subject``."""

    # --- what is declared ---------------------------------------------------------------------------------------------
    def test_capabilities_are_declared_and_stay(self, subject: Subject) -> None:
        """The gateway asks once, at the start."""
        declared = subject.backend.capabilities
        assert isinstance(declared, Capabilities), f"capabilities is {declared!r}, expected a Capabilities"
        subject.send(subject.items(1))
        assert subject.backend.capabilities == declared, "capabilities changed with a call"

    # --- calls that end well ------------------------------------------------------------------------------------------
    def test_a_call_arrives_once_and_is_carried_out_once(self, subject: Subject) -> None:
        items = subject.items(1)
        reply = subject.send(items)
        assert subject.arrivals() == 1, f"one call sent, {subject.arrivals()} arrived"
        assert _executed(subject) == [items[0].uid], f"one repair asked, carried out: {_executed(subject)}"
        assert _statuses(subject, reply, items) == ["accepted"], f"it was carried out, and the reply is {reply}"

    def test_every_item_of_a_batch_has_its_own_result(self, subject: Subject) -> None:
        items = subject.items(5)
        reply = subject.send(items)
        assert subject.arrivals() == 1, f"one batch is one call; {subject.arrivals()} arrived"
        assert sorted(_executed(subject)) == sorted(item.uid for item in items), "not each item once was carried out"
        assert _statuses(subject, reply, items) == ["accepted"] * 5, f"all were carried out, and the reply is {reply}"
        assert not reply.unknown_count, "results of items that nobody sent"

    def test_the_largest_batch_is_one_call(self, subject: Subject) -> None:
        largest = subject.backend.capabilities.batch_max
        if largest is None:
            raise unittest.SkipTest("it declares no largest batch")
        items = subject.items(min(largest, subject.batch_tried))
        subject.send(items)
        assert subject.arrivals() == 1, f"a batch of {len(items)} became {subject.arrivals()} calls"
        assert len(_executed(subject)) == len(items), f"{len(items)} asked, {len(_executed(subject))} carried out"

    # --- keys ---------------------------------------------------------------------------------------------------------
    def test_a_key_is_carried_out_once_whatever_call_brings_it(self, subject: Subject) -> None:
        """It is sent again when the outcome is unknown, in whatever batch, and by another process."""
        if not subject.backend.capabilities.keys:
            raise unittest.SkipTest("it declares no keys: nothing of unknown outcome is sent again")
        first, second, third = subject.items(3)
        subject.send([first, second])
        reply = subject.send([second, third])
        assert sorted(_executed(subject)) == sorted(item.uid for item in (first, second, third)), "a key came twice"
        told = _statuses(subject, reply, [second, third])
        assert told == ["accepted"] * 2, f"a key that is known is answered as before; the reply is {reply}"

    def test_the_same_node_under_another_key_is_another_repair(self, subject: Subject) -> None:
        """The next round: it was repaired, the cooldown is over, and it is still unwell."""
        (item,) = subject.items(1)
        subject.send([item])
        subject.send([_next_round(item)])
        assert _executed(subject) == [item.uid] * 2, f"two rounds asked, carried out: {_executed(subject)}"

    # --- calls that do not --------------------------------------------------------------------------------------------
    def test_a_throttled_call_says_so_and_when(self, subject: Subject) -> None:
        """The pause is the gateway's: the adapter neither waits nor tries again."""
        _need(subject.throttle, "throttle")(_SECONDS)
        error = subject.error(subject.items(2))
        assert isinstance(error, Throttled), f"one call too many is Throttled, not {error!r}"
        wish = error.retry_after_s
        assert wish is None or abs(wish - _SECONDS) <= 1.0, f"asked for {_SECONDS:g} s, the error carries {wish}"
        _never_beneath(subject)
        assert _executed(subject) == [], "a throttled call carries nothing out"

    def test_an_error_of_the_service_leaves_the_outcome_unknown(self, subject: Subject) -> None:
        _need(subject.fail, "fail")()
        error = subject.error(subject.items(2))
        assert isinstance(error, Unavailable), f"an error of the service is Unavailable, not {error!r}"
        assert error.arrived, "it was answered, so it has arrived"
        _never_beneath(subject)

    def test_a_call_without_an_answer_ends_in_time(self, subject: Subject) -> None:
        """Else its thread and its slot of the quota are held for ever."""
        _need(subject.hang, "hang")()
        error = subject.error(subject.items(2), timeout_s=_UNANSWERED_S)
        assert isinstance(error, CallTimeout), f"no answer in time is CallTimeout, not {error!r}"
        assert error.arrived, "nobody knows that it did not arrive"
        _never_beneath(subject)

    def test_a_broken_connection_leaves_the_outcome_unknown(self, subject: Subject) -> None:
        """Libraries like to try that again: one call would become two arrivals."""
        _need(subject.cut, "cut")()
        error = subject.error(subject.items(2))
        assert isinstance(error, Unavailable | Malformed), f"a broken answer is Unavailable or Malformed, not {error!r}"
        assert error.arrived, "nobody knows that it did not arrive"
        _never_beneath(subject)

    def test_an_answer_of_something_else_is_no_success(self, subject: Subject) -> None:
        """A proxy's login page is a 200."""
        _need(subject.nonsense, "nonsense")()
        error = subject.error(subject.items(2))
        assert isinstance(error, Malformed), f"what cannot be understood is Malformed, not {error!r}"
        _never_beneath(subject)

    def test_what_never_left_has_not_arrived(self, subject: Subject) -> None:
        """Then it may be sent again at once, keys or not."""
        adapter = _need(subject.nowhere, "nowhere")()
        error = subject.error(subject.items(1), by=adapter)
        assert isinstance(error, Unavailable), f"a service that cannot be reached is Unavailable, not {error!r}"
        assert not error.arrived, "nobody listened there, so it has not arrived"

    def test_an_item_that_cannot_be_repaired_takes_nobody_along(self, subject: Subject) -> None:
        """Answered by name, or refused as a whole: then the gateway sends halves until it stands alone."""
        items = subject.items(4)
        bad = items[1]
        _need(subject.reject, "reject")(bad.uid)
        try:
            reply = subject.send(items)
        except Refused:
            assert _executed(subject) == [], "a refused call carries nothing out"
            reply = subject.send([item for item in items if item is not bad])
            assert "missing" not in _statuses(subject, reply, items[:1] + items[2:]), f"without it the reply is {reply}"
            error = subject.error([bad])
            assert isinstance(error, Refused), f"alone it is refused, not {error!r}"
            return
        _never_beneath(subject)
        assert reply.results[bad.key].status == "failed", (
            f"it cannot be repaired; its result is {reply.results[bad.key]}"
        )
        done = _executed(subject)
        for item, status in zip(items, _statuses(subject, reply, items), strict=True):
            assert (status == "accepted") == (item.uid in done), f"{item.uid} is {status}; carried out: {done}"
        left = [item for item in items if item is not bad and item.uid not in done]
        if left:
            subject.send(left)
        assert sorted(_executed(subject)) == sorted(item.uid for item in items if item is not bad)

    # --- the quota ----------------------------------------------------------------------------------------------------
    def test_an_answered_call_has_been_counted(self, subject: Subject) -> None:
        counted = _need(subject.counted, "counted")
        subject.send(subject.items(2))
        assert counted() == 1, f"one answered call, {counted()} counted"

    def test_a_call_without_an_answer_is_counted_as_declared(self, subject: Subject) -> None:
        """At its arrival; with completions it may be counted later, and the ledger waits for that."""
        counted = _need(subject.counted, "counted")
        _need(subject.hang, "hang")()
        subject.error(subject.items(2), timeout_s=_UNANSWERED_S)
        arrivals_count = subject.backend.capabilities.works_s == 0
        assert counted() in ([1] if arrivals_count else [0, 1]), f"one call without an answer, {counted()} counted"


def _executed(subject: Subject) -> list[str]:
    return list(subject.executed())


def _statuses(subject: Subject, reply: Reply, items: Sequence[Item]) -> list[str]:
    """As the gateway reads them."""
    unnamed = "missing" if subject.backend.capabilities.per_item else "accepted"
    strangers = set(reply.results) - {item.key for item in items}
    assert not strangers, f"results under keys that were not sent: {strangers}"
    told = [reply.results[item.key].status if item.key in reply.results else unnamed for item in items]
    assert set(told) <= {"accepted", "failed", "throttled", "missing"}, f"a status that does not exist: {told}"
    return told


def _never_beneath(subject: Subject) -> None:
    """Nothing below the ledger tries again."""
    assert subject.arrivals() == 1, f"one call sent, {subject.arrivals()} arrived: something beneath tries again"


def _next_round(item: Item) -> Item:
    key = item_key(item.uid, item.incident, 1)
    payload = item.payload | ({"key": key} if "key" in item.payload else {})
    return msgspec.structs.replace(item, key=key, payload=payload, retry=True)


def _need(hook: T | None, name: str) -> T:
    if hook is None:
        raise unittest.SkipTest(f"the subject has no {name}")
    return hook
