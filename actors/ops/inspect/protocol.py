"""What client and server say to each other: one JSON line as the request, one or more as the answer, then the end.

::

    {"v": 1, "words": ["top", "--by", "rate"]}
    {"v": 1, "ok": true, "command": "top", "exit": 0, "answer": {…}}
    {"v": 1, "ok": false, "error": "there is no actor 'clustr'", "cure": "did you mean …?"}

Lines of ``tap`` come before its answer, each as ``{"v": 1, "line": {…}}``. A connection is for one request. Within a version
fields may come, and none goes or changes its meaning.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ...core.errors import MusterError

VERSION = 1
REQUEST_MAX = 16 << 10  # bytes; a command is a line that a person types
ANSWER_MAX = 8 << 20  # bytes; `bundle` with long tracebacks is some hundred kB


class ProtocolError(MusterError):
    """That was no request, or no answer."""


def request_line(words: Sequence[str]) -> bytes:
    """A request."""
    return _line({"words": list(words)})


def answer_line(command: str, answer: Any, exit_code: int = 0) -> bytes:
    """A whole answer; an error where it is too long."""
    line = _line({"ok": True, "command": command, "exit": exit_code, "answer": answer})
    if len(line) > ANSWER_MAX:
        return error_line(
            f"the answer of {command} has {len(line)} bytes, at most {ANSWER_MAX} are sent", "ask for less: --max"
        )
    return line


def error_line(error: str, cure: str = "") -> bytes:
    """Why there is no answer."""
    return _line({"ok": False, "error": error[:4000], "cure": cure[:4000]})


def one_line(value: Any) -> bytes:
    """One of several lines."""
    return _line({"line": value})


def read_request(line: bytes) -> list[str]:
    """The words of a request; ProtocolError for anything else."""
    form = _read(line)
    words = form.get("words")
    if form.get("v") != VERSION:
        raise ProtocolError(
            f"this operator speaks version {VERSION} of the shell's protocol, not {str(form.get('v'))[:20]}"
        )
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ProtocolError('a request is {"v": 1, "words": ["…"]}')
    return words


def read_answer(line: bytes) -> dict[str, Any]:
    """One line of an answer."""
    form = _read(line)
    if form.get("v") != VERSION:
        raise ProtocolError(
            f"the operator speaks version {str(form.get('v'))[:20]} of the shell's protocol, this client {VERSION}"
        )
    return form


def _read(line: bytes) -> dict[str, Any]:
    try:
        form = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"no JSON: {error}"[:200]) from error
    if not isinstance(form, dict):
        raise ProtocolError("no JSON object")
    return form


def _line(form: dict[str, Any]) -> bytes:
    return json.dumps({"v": VERSION, **form}, default=str, separators=(",", ":")).encode() + b"\n"
