"""Counts Python bytecode instructions, and calls into C, of the code that is run under it. The same on any machine.

Times differ from machine to machine and hour to hour; these counts differ only when the code does, or Python. What a C function
costs is not seen, only that it was called: a second parse of the same line is one call more, and fails the gate by that.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

from attrs import define, field

_TOOL = "muster bench"


@define
class Counted:
    """``entered``: how often each function that was asked about (by its qualified name) was entered."""

    instructions: int = 0
    c_calls: int = 0
    entered: Counter[str] = field(factory=Counter)


def counted(
    call: Callable[[], object], wanted: Callable[[CodeType], bool] = lambda _code: True, *names: str
) -> Counted:
    """What the call costs in code that is ``wanted``. C calls are those made by wanted code."""
    found = Counted()
    verdicts: dict[CodeType, bool] = {}

    def counts(code: CodeType) -> bool:
        verdict = verdicts.get(code)
        if verdict is None:
            verdict = verdicts[code] = wanted(code)
        return verdict

    if sys.version_info >= (3, 12):
        _monitored(call, found, counts, frozenset(names))
    else:
        _traced(call, found, counts, frozenset(names))
    return found


def _traced(
    call: Callable[[], object], found: Counted, counts: Callable[[CodeType], bool], names: frozenset[str]
) -> None:
    def on_call(frame: FrameType, _event: str, _arg: object) -> Any:
        code = frame.f_code
        if code.co_qualname in names:
            found.entered[code.co_qualname] += 1
        if not counts(code):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return on_opcode

    def on_opcode(_frame: FrameType, event: str, _arg: object) -> Any:
        if event == "opcode":
            found.instructions += 1
        return on_opcode

    def on_profile(frame: FrameType, event: str, _arg: object) -> None:
        if event == "c_call" and counts(frame.f_code):
            found.c_calls += 1

    before = sys.gettrace(), sys.getprofile()
    sys.setprofile(on_profile)
    sys.settrace(on_call)
    try:
        call()
    finally:
        sys.settrace(before[0])
        sys.setprofile(before[1])


def _monitored(
    call: Callable[[], object], found: Counted, counts: Callable[[CodeType], bool], names: frozenset[str]
) -> None:
    monitoring: Any = getattr(sys, "monitoring")  # noqa: B009 - Python 3.11 has none, and mypy checks for it
    events = monitoring.events

    def on_instruction(code: CodeType, _offset: int) -> Any:
        if not counts(code):
            return monitoring.DISABLE
        found.instructions += 1
        return None

    def on_start(code: CodeType, _offset: int) -> Any:
        if code.co_qualname not in names:
            return monitoring.DISABLE
        found.entered[code.co_qualname] += 1
        return None

    def on_c_return(code: CodeType, _offset: int, _callable: object, _arg: object) -> Any:
        if counts(code):
            found.c_calls += 1

    tool = next(each for each in range(6) if monitoring.get_tool(each) is None)
    monitoring.use_tool_id(tool, _TOOL)
    try:
        monitoring.register_callback(tool, events.INSTRUCTION, on_instruction)
        monitoring.register_callback(tool, events.PY_START, on_start)
        monitoring.register_callback(tool, events.CALL, lambda *_: None)
        monitoring.register_callback(tool, events.C_RETURN, on_c_return)
        monitoring.set_events(tool, events.INSTRUCTION | events.PY_START | events.CALL)
        call()
    finally:
        monitoring.set_events(tool, 0)
        monitoring.free_tool_id(tool)
        monitoring.restart_events()
