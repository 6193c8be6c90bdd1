"""The port's contract on the adapters that Muster ships, and what the contract says of adapters that break it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from attrs import define, evolve, field

from actors.core.errors import BackendError
from actors.core.operation import Capabilities, Counts
from actors.core.ports import Backend, Call, ItemResult, Later, Reply
from actors.edge.backend import HttpBackend
from actors.sim.backend import BackendModel, Behaviour
from actors.sim.harness import SimBackend
from actors.sim.network import StageBackend
from actors.sim.serve import HttpServer
from actors.sim.serve_backend import BackendFace
from actors.sim.world import World
from actors.testing import BackendContract, Subject


def on_model(backend: Backend, model: BackendModel, **given: Any) -> Subject:
    """A subject whose service is the model, by whatever way it is reached."""

    def next_call(do: str, **how: Any) -> Callable[[], None]:
        return lambda: model.behave(Behaviour(do, count=1, **how))

    return Subject(
        backend=backend,
        executed=lambda: [repair.uid for repair in model.repairs],
        arrivals=lambda: len(model.arrivals),
        counted=lambda: len(model.arrivals),
        throttle=lambda seconds: model.behave(Behaviour("throttle", count=1, retry_after_s=int(seconds))),
        fail=next_call("error", code=500),
        hang=next_call("hang"),
        cut=next_call("cut"),
        nonsense=next_call("nonsense"),
        reject=model.poisoned.add,
        **given,
    )


class TestHttpBackend(BackendContract):
    """The webhook's adapter, over real HTTP, against the embedded server."""

    @pytest.fixture
    def subject(self, deaf_port: int) -> Iterator[Subject]:
        model = BackendModel()
        with HttpServer(BackendFace(model).handle) as server:
            nowhere = HttpBackend(f"http://127.0.0.1:{deaf_port}")
            yield on_model(HttpBackend(server.url), model, nowhere=lambda: nowhere)


class TestSimBackend(BackendContract):
    """The simulator's, in virtual time: what holds there must hold of the real ones."""

    @pytest.fixture
    def subject(self) -> Subject:
        model, world = BackendModel(), World(1)
        return on_model(SimBackend(model, world), model, wait=world.run_for)


class TestStageBackend(BackendContract):
    """That of `muster simulate`, on a network without faults."""

    @pytest.fixture
    def subject(self) -> Subject:
        model, world = BackendModel(), World(1)
        return on_model(StageBackend(world, model, 0.02), model, wait=world.run_for)


# --- adapters that break it -------------------------------------------------------------------------------------------
@define
class Wrapped(Backend):
    """Passes on, but for what a breach changes."""

    inner: Backend
    capabilities: Capabilities = field(factory=Capabilities)
    breach: str = ""
    sent: int = 0

    def send(self, call: Call) -> Reply | Later[Reply]:
        self.sent += 1
        if self.breach == "fickle":
            self.capabilities = Capabilities(batch_max=self.sent)
        if self.breach == "in pieces":
            for item in call.items[1:]:
                self._to_end(evolve(call, items=(item,)))
            return self._to_end(evolve(call, items=call.items[:1]))
        return Later(0.0, lambda: self._kept(call))

    def _kept(self, call: Call) -> Reply:
        try:
            reply = self._to_end(call)
        except BackendError as error:
            match self.breach:
                case "tries again":
                    return self._to_end(call)
                case "raises its own":
                    raise OSError("not ours") from error
                case "waits itself":
                    error.retry_after_s = 60.0
                case "says it never left":
                    error.arrived = False
                case "says it arrived":
                    error.arrived = True
                case "takes it for well":
                    return Reply(results={item.key: ItemResult(status="accepted") for item in call.items})
            raise
        match self.breach:
            case "answers for strangers":
                reply.results["nobody"] = ItemResult(status="accepted")
            case "forgets one":
                reply.results.pop(call.items[-1].key)
            case "fails what was done":
                reply.results[call.items[0].key] = ItemResult(status="failed")
            case "a status of its own":
                reply.results[call.items[0].key] = ItemResult(status="fine")
        return reply

    def _to_end(self, call: Call) -> Reply:
        answer = self.inner.send(call)
        assert not isinstance(answer, Later)
        return answer


BREACHES = {
    "tries again": "an_error_of_the_service_leaves_the_outcome_unknown",
    "raises its own": "a_throttled_call_says_so_and_when",
    "waits itself": "a_throttled_call_says_so_and_when",
    "says it never left": "a_broken_connection_leaves_the_outcome_unknown",
    "says it arrived": "what_never_left_has_not_arrived",
    "takes it for well": "an_answer_of_something_else_is_no_success",
    "answers for strangers": "every_item_of_a_batch_has_its_own_result",
    "forgets one": "every_item_of_a_batch_has_its_own_result",
    "fails what was done": "a_call_arrives_once_and_is_carried_out_once",
    "a status of its own": "a_call_arrives_once_and_is_carried_out_once",
    "in pieces": "every_item_of_a_batch_has_its_own_result",
    "fickle": "capabilities_are_declared_and_stay",
}


@pytest.fixture
def sound(deaf_port: int) -> Iterator[tuple[Subject, BackendModel]]:
    model = BackendModel(batch_max=50)
    with HttpServer(BackendFace(model).handle) as server:
        nowhere = Wrapped(HttpBackend(f"http://127.0.0.1:{deaf_port}"))
        yield on_model(Wrapped(HttpBackend(server.url)), model, nowhere=lambda: nowhere), model


@pytest.mark.parametrize("breach", [None, *BREACHES])
def test_the_contract_names_the_breach(sound: tuple[Subject, BackendModel], breach: str | None) -> None:
    """One rule each; and the same adapter without the breach passes."""
    subject, _ = sound
    for adapter in (subject.backend, subject.nowhere() if subject.nowhere else None):
        assert isinstance(adapter, Wrapped)
        adapter.breach = breach or ""
    if breach is None:
        BackendContract().test_a_call_arrives_once_and_is_carried_out_once(subject)
        return
    with pytest.raises(AssertionError, match=r"\w{3}"):
        getattr(BackendContract(), f"test_{BREACHES[breach]}")(subject)


def test_a_service_that_forgets_keys_is_found_out(sound: tuple[Subject, BackendModel]) -> None:
    subject, model = sound
    model.honours_keys = False
    with pytest.raises(AssertionError, match="a key came twice"):
        BackendContract().test_a_key_is_carried_out_once_whatever_call_brings_it(subject)


def test_a_largest_batch_that_is_too_large_is_found_out(sound: tuple[Subject, BackendModel]) -> None:
    subject, _ = sound
    subject.backend.capabilities = Capabilities(batch_max=50)
    BackendContract().test_the_largest_batch_is_one_call(subject)
    subject.backend.capabilities = Capabilities(batch_max=51)
    with pytest.raises(BackendError, match="51 nodes are more than"):
        BackendContract().test_the_largest_batch_is_one_call(subject)


def test_a_service_that_counts_late_must_say_so(sound: tuple[Subject, BackendModel]) -> None:
    """A call without an answer that is counted at its end only is counted after the ledger has forgotten it."""
    subject, model = sound
    subject.counted = lambda: sum(arrival.code > 0 for arrival in model.arrivals)
    with pytest.raises(AssertionError, match="0 counted"):
        BackendContract().test_a_call_without_an_answer_is_counted_as_declared(subject)


def test_a_service_that_counts_late_and_says_so_is_sound(sound: tuple[Subject, BackendModel]) -> None:
    subject, model = sound
    subject.counted = lambda: sum(arrival.code > 0 for arrival in model.arrivals)
    subject.backend.capabilities = Capabilities(counts=Counts.COMPLETIONS, works_s=1.0)
    BackendContract().test_a_call_without_an_answer_is_counted_as_declared(subject)
