"""The tape's format: values and back, nothing that runs what it reads, no credentials, and lines that say what is wrong."""

from __future__ import annotations

import math
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from attrs import evolve, field, frozen

from actors.actor import Cell
from actors.core.backoff import Breaker, BreakerState
from actors.core.builtin import MUSTER_FLEET
from actors.core.closures import form_of, value_of_form
from actors.core.errors import MusterError, Throttled, Unavailable
from actors.core.graph import Decoder, Encoder, Misshapen, Unplain, graph_of, value_of
from actors.core.masking import masked_text
from actors.core.model import Child, ParentKey, Policy, Share
from actors.core.ports import Objects, Outcome, StreamChanged
from actors.core.quantity import Quota
from actors.core.tape import (
    Begun,
    Control,
    Delivered,
    Ended,
    Entry,
    Finished,
    Fired,
    Header,
    Request,
    TapeError,
    Turn,
    in_words,
    line_of,
    read,
    request_of,
)
from actors.gateway import BatchGatewayActor, GatewaySettings
from actors.messages import StatusState
from actors.tree import TreeSettings

NODE = Child("ComputeNode", "default", "n1", "uid-1", 7, ParentKey("default", "prod"), True, "2026-01-01T00:00:00Z")
HEADER = Header(
    muster="1", python="3", began_s=1.0, began_wall_s=2.0, fleet=graph_of(MUSTER_FLEET), settings=graph_of(Policy())
)


def there_and_back(value: Any) -> Any:
    return value_of(msgspec.json.decode(msgspec.json.encode(graph_of(value))))


@pytest.mark.parametrize(
    "value",
    [
        None, True, -3, 2.5, math.inf, -math.inf, "text", "", (1, ("a", 2.0)), [1, [2]], {"a": {"b": None}},
        {ParentKey("a", "b"): 1, ("x", 2): [3]}, {1, 2}, frozenset({"a"}), deque([1, 2], maxlen=3),
        OrderedDict(b=1, a=2), Counter(a=2), ParentKey("a", "b"), Share(percent=50.0), NODE, Policy(cooldown_s=2.0),
        MUSTER_FLEET, StatusState.CONFLICT, BreakerState.OPEN, Objects(kind="x", entries={"u": NODE, "v": None}, epoch=3),
        TreeSettings(policy=Policy(), gateway=GatewaySettings(operation="o", quota=Quota(10, 1.0))),
    ],
    ids=repr,
)  # fmt: skip
def test_a_value_comes_back_as_it_was(value: Any) -> None:
    again = there_and_back(value)

    assert again == value
    assert type(again) is type(value)
    if isinstance(value, dict):
        assert list(again) == list(value)


def test_an_error_comes_back_with_its_class_its_text_and_its_fields() -> None:
    again = there_and_back(Outcome(None, Throttled("slow", retry_after_s=3.0))).error

    assert type(again) is Throttled
    assert (str(again), again.retry_after_s, again.arrived) == ("slow", 3.0, True)
    assert repr(there_and_back(OSError(5, "broken"))) == repr(OSError(5, "broken"))


def test_somebody_elses_error_keeps_its_name_and_text() -> None:
    class Strange(Exception):
        pass

    again = there_and_back(Strange("what"))

    assert repr(again) == "Strange('what')"


def test_what_was_shared_is_shared_and_a_circle_closes() -> None:
    inner: list[Any] = [1]
    circle: list[Any] = [inner, inner, NODE, NODE]
    circle.append(circle)

    again = there_and_back(circle)

    assert again[0] is again[1]
    assert again[2] is again[3]
    assert again[4] is again


def test_what_has_no_form_is_named_by_where_it_is() -> None:
    lock: Any = threading.RLock()

    with pytest.raises(Unplain, match=r"^Objects\.entries: a .*Lock"):
        graph_of(Objects(kind="x", entries={"u": lock}))


@pytest.mark.parametrize(
    "form",
    [
        ["o", "os:system", {}], ["o", "actors.edge.backend:HttpBackend", {}], ["o", "actors.core.model:nothing", {}],
        ["o", "actors.core.model:enum.Enum", {}], ["x", "builtins:eval", [], {}], ["n", "subprocess:Popen", [["ls"]]],
        ["e", "actors.core.model:Policy", "X"], ["?", 1], ["=", 5], [], ["d", 5, ""], ["d", {}, "defaultdict"],
        ["m", "actors.core.model:Child", [1]], ["function", "os:system", 0, [], [], {}],
    ],
    ids=repr,
)  # fmt: skip
def test_a_form_that_names_what_it_must_not_or_is_none_is_refused(form: Any) -> None:
    with pytest.raises((Misshapen, AssertionError)):
        value_of(form)


@pytest.mark.parametrize(
    "place",
    [
        "os:system", "subprocess:Popen.__init__", "actors.core.graph:class_of", "actors.ops.cli:_leave",
        "actors.actor:Cell.nothing", "actors.actor:Context.schedule.<locals>.<genexpr>",
    ],
)  # fmt: skip
def test_code_of_other_modules_is_not_found(place: str) -> None:
    with pytest.raises(Misshapen):
        value_of_form(["function", place, 0, [], [], {}], lambda form: form)


def test_a_closure_comes_back_with_what_it_has_closed_over() -> None:
    default = (Cell.__init__.__kwdefaults__ or {})["on_death"]
    encoder, decoder = Encoder(), Decoder()
    form = form_of(default, encoder.encode)

    again = value_of_form(form, decoder.decode)

    assert form[1] == "actors.actor:Cell.<lambda>"
    assert again("reason") is None


def test_a_method_comes_back_bound_to_what_it_was_bound_to() -> None:
    draws_nothing: Any = None  # of a tape, and it is not asked here
    breaker = Breaker(3, 1.0, 2.0, random=draws_nothing)
    form = form_of(breaker.opens_at, graph_of)

    again = value_of_form(msgspec.json.decode(msgspec.json.encode(form)), value_of)

    assert again() == -math.inf
    assert form_of(5, graph_of) is None


@frozen
class _Foreign:
    at: Callable[[], None] = field(default=lambda: None)


def test_a_function_of_a_foreign_module_has_no_form() -> None:
    with pytest.raises(Unplain, match="the function"):
        form_of(_Foreign().at, graph_of)


# --- secrets ----------------------------------------------------------------------------------------------------------
SECRETS = [
    "Authorization: Bearer abcdefgh1234", "basic dXNlcjpwYXNz", "https://user:pass@host/x", "password=hunter22",
    "token: abcdef", 'api_key="abcdef"', "eyJhbGciOiJI.eyJzdWIiOiIx.c2ln", "SECRET = abcdef",
]  # fmt: skip


@pytest.mark.parametrize("text", SECRETS)
def test_a_credential_does_not_get_onto_a_tape(text: str) -> None:
    encoded = msgspec.json.encode(
        graph_of([Unavailable(text), {"message": text}, evolve(Outcome(text, None))])
    ).decode()

    assert "***" in encoded
    for secret in ("abcdef", "dXNl", "user:pass", "hunter22", "eyJzdWI"):
        assert secret not in encoded


@pytest.mark.parametrize("text", [*SECRETS, "nothing special", ""])
def test_masking_twice_is_masking_once(text: str) -> None:
    assert masked_text(masked_text(text)) == masked_text(text)


def test_a_field_with_the_name_of_a_secret_is_masked_whatever_it_holds() -> None:
    assert graph_of({"token": "abc", "client_secret": ["x"], "tokens_max": 3})[1] == {
        "token": "***", "client_secret": "***", "tokens_max": 3,
    }  # fmt: skip


def test_the_digest_of_a_request_does_not_depend_on_credentials_or_the_order_of_fields() -> None:
    one = request_of("send", {"a": 1, "why": "Bearer abcdefgh"})

    assert one == request_of("send", {"why": "Bearer 12345678", "a": 1})
    assert one != request_of("send", {"why": "Bearer 12345678", "a": 2})
    assert len(one.digest) == 16


# --- lines ------------------------------------------------------------------------------------------------------------
def test_lines_come_back_as_entries_and_a_torn_one_ends_the_tape() -> None:
    turn = Turn(
        3.0, "gateway", "CallEnded", (3.0,), (), (0.5,), (Request("after 1 s"), Request("x", "d")), ("CallSent",)
    )
    lines = [line_of(HEADER), line_of(Fired(2.0, 1)), line_of(turn), line_of(Begun(4.0, 1, None))[:-5]]

    header, entries = read(lines)

    assert header == HEADER
    assert list(entries) == [Fired(2.0, 1), turn]
    assert in_words(turn) == "gateway ← CallEnded; x [CallSent]"


def objects(*uids: str, replace: bool = False) -> Any:
    return graph_of(Objects(kind="Node", entries=dict.fromkeys(uids), replace=replace))


def stream(*, up: bool, reason: str = "") -> Any:
    return graph_of(StreamChanged(kind="Node", epoch=1, up=up, reason=reason))


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (Control(1.0, "drain"), "the process: drain"),
        (Delivered(1.0, "Node", 1, objects("a")), "reader → watcher/Node: 1 object"),
        (Delivered(1.0, "Node", 1, objects("a", "b")), "reader → watcher/Node: 2 objects"),
        (Delivered(1.0, "Node", 1, objects(replace=True)), "reader → watcher/Node: 0 objects, which are all"),
        (Delivered(1.0, "Node", 1, stream(up=True)), "reader → watcher/Node: StreamChanged up"),
        (Delivered(1.0, "Node", 1, stream(up=False, reason="Gone")), "reader → watcher/Node: StreamChanged down Gone"),
        (Fired(1.0, 7), "timer 7 fires"),
        (Begun(1.0, 3, Request("send 2 items")), "call 3 begins: send 2 items"),
        (Begun(1.0, 3, None), "call 3 begins: given up"),
        (Ended(1.0, 3, graph_of(Outcome(5, None))), "call 3 ends: well"),
        (Ended(1.0, 3, graph_of(Outcome(None, Unavailable("503")))), "call 3 ends: Unavailable: 503"),
        (Ended(1.0, 3, graph_of(Outcome(None, ValueError()))), "call 3 ends: ValueError: "),
        (Turn(1.0, "gateway", ""), "gateway ← start"),
        (
            Turn(1.0, "a", "B", requests=(Request("x"), Request("after 2 s"), Request("y")), facts=("F", "G")),
            "a ← B; x; y [F, G]",
        ),
        (Finished(1.0, "full"), "the tape ends: full"),
    ],
)
def test_an_entry_in_words(entry: Entry, words: str) -> None:
    assert in_words(entry) == words


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ([], "no tape"), ([b"hello\n"], "no tape"), ([b'{"tape": 1}\n'], "no tape"),
        ([line_of(msgspec.structs.replace(HEADER, tape=2))], "format 2"),
    ],
)  # fmt: skip
def test_what_is_no_tape_is_refused(lines: list[bytes], why: str) -> None:
    with pytest.raises(TapeError, match=why):
        read(lines)


def test_a_line_that_is_no_entry_is_named() -> None:
    _, entries = read([line_of(HEADER), line_of(Fired(1.0, 1)), b'{"t":"fired"}\n'])

    with pytest.raises(MusterError, match="entry 2 cannot be read"):
        list(entries)


# --- functions --------------------------------------------------------------------------------------------------------
def test_a_function_comes_back_with_its_defaults_and_says_where_it_is_from() -> None:
    original = BatchGatewayActor._give_back
    form = form_of(original, graph_of)
    assert form == ["function", "actors.gateway:BatchGatewayActor._give_back", 0, [], [0.0], {"retry": True}]

    again = value_of_form(form, value_of)
    found = (again.__code__, again.__defaults__, again.__kwdefaults__, again.__module__)
    assert found == (original.__code__, (0.0,), {"retry": True}, "actors.gateway")


def test_a_method_of_a_dict_comes_back_with_the_dict() -> None:
    table = {"a": 1}
    form = form_of(table.get, graph_of)

    assert form == ["method", graph_of(table), "get"]
    assert value_of_form(form, value_of)("a") == 1
    assert form_of(table.items, graph_of) is None
    assert form_of([1].pop, graph_of) is None


@pytest.mark.parametrize(
    ("form", "why"),
    [
        (["method", {"a": 1}, "items"], "a dict has no method items"),
        (["method", [1], "pop"], "a list has no method pop"),
        (["method", {"a": 1}, "nothing"], "a dict has no method nothing"),
        (["function", "actors.gateway:nothing", 0, [], [], {}], "actors.gateway:nothing: there is no such function"),
        (
            ["function", "actors.gateway:Nobody.at", 0, [], [], {}],
            "actors.gateway:Nobody.at: there is no such function",
        ),
        (["function", "actors.gateway:BatchGatewayActor._give_back", 1, [], [], {}], "there is no such function"),
        (["function", "actors.gateway:BatchGatewayActor._give_back", 0, [1], [], {}], "needs other values"),
    ],
    ids=str,
)
def test_a_function_that_is_not_here_is_refused_by_its_name(form: list[Any], why: str) -> None:
    with pytest.raises(Misshapen, match=why):
        value_of_form(form, lambda value: value)
