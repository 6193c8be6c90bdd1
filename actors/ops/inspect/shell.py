"""``muster shell``: the client. Without ``-c`` a prompt, with completion and history; with it one answer after the other.

Errors name the thing, the place, and the cure. What a person sees and what ``--json`` gives are the same answer.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from rich.console import Console

from ...core.errors import SettingsError
from ...core.quantity import parse_duration
from ..exit_codes import ExitCode
from .client import NoOperator, Told, ask, find
from .drawing import draw, plain

LEAVE = ("quit", "exit")
NAMES_FOR_S = 5.0  # a completion asks the operator for names at most so often
WATCH_MIN_S = 0.2


class Screen:
    """Where answers go: drawn on a terminal, plain elsewhere, or as JSON."""

    def __init__(self, *, as_json: bool, width: int | None = None) -> None:
        self.as_json = as_json
        self.console = Console(width=width, highlight=False) if sys.stdout.isatty() else None
        self._shown = False

    def show(self, told: Told) -> None:
        """One answer, or why there is none."""
        if self.as_json:
            print(json.dumps(told.form), flush=True)
        elif not told.ok:
            print(f"muster: {told.error}", file=sys.stderr)
            if told.cure:
                print(f"  cure: {told.cure}", file=sys.stderr)
        elif self.console is not None:
            draw(self.console, told.answer)
        else:
            print(("\n" if self._shown else "") + plain(told.answer), end="", flush=True)
            self._shown = True

    def line(self, line: Any) -> None:
        """One of several."""
        if self.as_json:
            print(json.dumps({"line": line}), flush=True)
        else:
            at = datetime.fromtimestamp(time.time() - float(line.get("ago_s", 0.0)), tz=UTC).isoformat(
                " ", "milliseconds"
            )
            text = f"{at[11:23]}Z  {line.get('actor', '')}  {line.get('message', '')}  {line.get('about', '')}"
            print("".join(letter if letter.isprintable() else " " for letter in text), flush=True)

    def clear(self) -> None:
        """Begin anew at the top, where that is possible."""
        self._shown = False
        if self.console is not None:
            self.console.clear()


class Session:
    """One operator, one screen."""

    def __init__(self, path: Path, screen: Screen) -> None:
        self.path = path
        self.screen = screen

    def do(self, text: str) -> int:
        """One command as it was typed; its exit code."""
        try:
            words = shlex.split(text, comments=True)
        except ValueError as error:
            print(f"muster: {error}: close the quotation", file=sys.stderr)
            return ExitCode.SETTINGS.value
        if not words:
            return 0
        try:
            told = ask(self.path, words, self.screen.line)
        except NoOperator as error:
            print(f"muster: {error}", file=sys.stderr)
            return ExitCode.NO_OPERATOR.value
        if told.ok and told.command == "bundle" and len(words) > 1 and words[1] != "-":
            return _write(words[1], told.answer)
        if told.ok and told.command == "bundle" and not self.screen.as_json:
            print(json.dumps(told.answer))
        else:
            self.screen.show(told)
        return told.exit_code if told.ok else ExitCode.NOT_DONE.value

    def watch(self, text: str, every_s: float) -> int:
        """The same again and again, until somebody ends it or there is no answer; the last exit code."""
        code = 0
        try:
            while code not in (ExitCode.NO_OPERATOR, ExitCode.NOT_DONE, ExitCode.SETTINGS):
                self.screen.clear()
                code = self.do(text)
                time.sleep(every_s)
        except KeyboardInterrupt:
            pass
        return code

    def talk(self) -> int:
        """The prompt, until ``quit`` or the end of the input."""
        prompt: PromptSession[str] = PromptSession(
            history=_history(), completer=Names(self.path), complete_while_typing=False
        )
        print(f"muster shell at {self.path}: `help` lists the commands, Tab completes, Ctrl-D leaves")
        code = 0
        while True:
            try:
                text = prompt.prompt("muster> ").strip()
                if text in LEAVE:
                    return code
                code = self.do(text)
            except KeyboardInterrupt:
                continue
            except EOFError:
                return code


class Names(Completer):
    """Completes commands, their options, and the names of actors, kinds and parents, as the operator knows them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._names: dict[str, Any] = {}
        self._asked_s = float("-inf")

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:
        """What the word before the cursor may become."""
        text = document.text_before_cursor
        words = text.split()
        last = "" if not words or text[-1].isspace() else words.pop()
        for name, meta in self._candidates(words, last):
            bare = name.rpartition("/")[2]  # a parent is known by its name where that is enough
            if name.startswith(last) or (last and bare.startswith(last)):
                yield Completion(name, start_position=-len(last), display_meta=meta)

    def _candidates(self, before: list[str], last: str) -> Iterable[tuple[str, str]]:
        names = self._known()
        commands = names.get("commands", {})
        if not before:
            return [(name, each["text"]) for name, each in commands.items()]
        command = commands.get(before[0])
        if command is None:
            return []
        if last.startswith("-"):
            return [(name, "") for name in command["options"]]
        place = sum(1 for word in before[1:] if not word.startswith("-"))
        if place >= len(command["places"]):
            return [(name, "") for name in command["options"]]
        values = command["places"][place]
        if values == "command":
            return [(name, each["text"]) for name, each in commands.items()]
        return [(name, "") for name in (values if isinstance(values, list) else names.get(values, []))]

    def _known(self) -> dict[str, Any]:
        if time.monotonic() - self._asked_s > NAMES_FOR_S:
            self._asked_s = time.monotonic()
            try:
                told = ask(self._path, ["names"])
            except NoOperator:
                return self._names
            if told.ok:
                self._names = told.answer
        return self._names


def _history() -> History:
    """In the user's state folder; in a pod with a read-only file system it is kept for the session."""
    base = os.environ.get("XDG_STATE_HOME", "")
    try:
        file = (Path(base) if base else Path.home() / ".local" / "state") / "muster" / "shell_history"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
    except (OSError, RuntimeError):
        return InMemoryHistory()
    return FileHistory(str(file))


def _write(file: str, answer: Any) -> int:
    try:
        with Path(file).open("x", encoding="utf-8") as out:
            json.dump(answer, out, indent=1)
    except OSError as error:
        print(
            f"muster: cannot write {file} ({error.strerror}): name a file that is not there yet, or -", file=sys.stderr
        )
        return ExitCode.NOT_DONE.value
    print(f"written: {file}", file=sys.stderr)
    return 0


@click.command("shell")
@click.option("-c", "commands", multiple=True, metavar="COMMAND", help="Do this and leave; may be given several times.")
@click.option("--json", "as_json", is_flag=True, help="Answers as JSON, one to a line.")
@click.option("--watch", "watch", metavar="SECONDS", help="The one command of -c again and again.")
@click.option(
    "--socket", "socket_path", metavar="PATH", envvar="MUSTER_SHELL_SOCKET", default="",
    help="The operator's socket; needed where several run.  [env: MUSTER_SHELL_SOCKET]",
)  # fmt: skip
def shell_command(commands: tuple[str, ...], as_json: bool, watch: str | None, socket_path: str) -> None:
    """Look inside the running operator; docs/shell.md is the manual, `shell -c help` the list of commands."""
    every_s = _seconds(watch) if watch is not None else None
    if every_s is not None and len(commands) != 1:
        raise SettingsError("--watch: wants one command: -c 'top' --watch 2")
    try:
        path = find("" if socket_path in ("auto", "off") else socket_path)
    except NoOperator as error:
        print(f"muster: {error}", file=sys.stderr)
        sys.exit(ExitCode.NO_OPERATOR.value)
    session = Session(path, Screen(as_json=as_json))
    if every_s is not None:
        sys.exit(session.watch(commands[0], every_s))
    if not commands and sys.stdin.isatty() and sys.stdout.isatty():
        sys.exit(session.talk())
    worst = 0
    try:
        for text in commands or sys.stdin:
            worst = worst or session.do(text)
    except KeyboardInterrupt:
        worst = worst or 130
    except BrokenPipeError:  # `| head` has seen enough
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  else the interpreter complains at its end
    sys.exit(worst)


def _seconds(text: str) -> float:
    """``2`` or ``2s``."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = parse_duration(text)
    if not WATCH_MIN_S <= seconds <= 3600:
        raise SettingsError(f"--watch: found {text!r}, expected from {WATCH_MIN_S:g} to 3600 seconds")
    return seconds
