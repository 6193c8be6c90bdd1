"""What a command of the shell is: data. The registry reads words into a call of one, the same for each way in.

To add one, write a function in a module of its own and put it into the list in ``commands``::

    def why(look: Inspection, args: Args) -> Json:
        key = look.parent_key(args.text("parent"))
        return explain(look.system, key, look.clock.now())  # plain values: dicts, lists, strings, numbers, None

    WHY = Command(
        name="why", level=Level.PASSIVE, group="a parent", run=why,
        text="Names the first gate that holds a parent (or one child) back, since when, and until when.",
        arguments=(argument("parent", "NS/NAME", completes="parent"), argument("child", "NAME", required=False)),
    )

The answer is drawn by ``drawing`` without knowing the command: a list of dicts is a table, a name that ends in ``_s`` is a
duration. A passive command must touch no actor: no tell, no ask, nothing that takes a lock that an actor holds while it works.
"""

from __future__ import annotations

import difflib
import enum
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from attrs import field, frozen

from ...core.errors import MusterError, SettingsError
from ...core.quantity import format_duration, parse_duration

Json = Any  # a JSON value: what an answer is made of
WORDS_MAX = 64  # in one command; a person types a dozen


class CommandError(MusterError):
    """A command cannot be done as asked: what, where, and ``cure``."""

    def __init__(self, what: str, cure: str = "") -> None:
        super().__init__(what)
        self.cure = cure


class Level(enum.Enum):
    """How far a command reaches. ``text`` is for people."""

    PASSIVE = "passive"
    ASKING = "asking"
    CHANGING = "changing"


LEVELS = {
    Level.PASSIVE: "Reads counters and published snapshots only: touches no actor, and answers when every worker is stuck.",
    Level.ASKING: (
        "Asks an actor through its control lane and waits for a second at most; then it answers from the last "
        "published snapshot, and says so. Nothing is changed."
    ),
    Level.CHANGING: (
        "Only where the operator was started with `--shell-changes`. Wants `--reason TEXT`; leaves a line in the log, "
        "and an Event on the parent where it concerns one."
    ),
}


@frozen(kw_only=True)
class Argument:
    """One argument: by its place, or by ``--name``. ``form``: text, number, duration or flag.

    ``completes`` names what its values are: actor, kind, parent, command, "" for anything.
    """

    name: str
    metavar: str
    text: str = ""
    form: str = "text"
    option: bool = False
    required: bool = False
    default: str = ""
    choices: tuple[str, ...] = ()
    completes: str = ""
    low: float = 0.0
    high: float = float("inf")

    @property
    def written(self) -> str:
        """As it stands in a usage line."""
        shown = f"--{self.name}" + (f" {self.metavar}" if self.form != "flag" else "") if self.option else self.metavar
        return shown if self.required else f"[{shown}]"

    def read(self, word: str) -> Any:
        """The value; CommandError with what was found and what is expected."""
        if self.choices and word not in self.choices:
            raise CommandError(f"{self.name}: found {word!r}", f"expected one of {', '.join(self.choices)}")
        if self.form == "number":
            return self._number(word)
        if self.form == "duration":
            return self._duration(word)
        if len(word) > 1024 or any(ord(letter) < 32 for letter in word):
            raise CommandError(f"{self.name}: too long, or with control characters in it", "expected a line of text")
        return word

    def _number(self, word: str) -> float:
        try:
            number = float(word)
        except ValueError:
            number = float("nan")
        if not self.low <= number <= self.high:
            raise CommandError(f"{self.name}: found {word!r}", f"expected a number from {self.low:g} to {self.high:g}")
        return int(number) if number == int(number) else number

    def _duration(self, word: str) -> float:
        try:
            seconds = parse_duration(word)
        except SettingsError:
            seconds = float("nan")
        if not self.low <= seconds <= self.high:
            low, high = format_duration(self.low), format_duration(self.high)
            raise CommandError(f"{self.name}: found {word!r}", f"expected a duration from {low} to {high}, such as 15m")
        return seconds


def argument(name: str, metavar: str, text: str = "", *, required: bool = True, **more: Any) -> Argument:
    """One by its place."""
    return Argument(name=name, metavar=metavar, text=text, required=required, **more)


def option(name: str, metavar: str = "", text: str = "", **more: Any) -> Argument:
    """One by ``--name``; without a ``metavar`` a flag."""
    form = more.pop("form", "text" if metavar else "flag")
    return Argument(name=name, metavar=metavar, text=text, option=True, form=form, **more)


MAX = option("max", "N", "At most so many rows.", form="number", default="20", low=1, high=10_000)
REASON = option("reason", "TEXT", "Why; for the log and the Event.", required=True)


@frozen(kw_only=True)
class Caller:
    """Who asks, as the kernel tells it."""

    uid: int
    pid: int

    def __str__(self) -> str:
        return f"uid {self.uid} (pid {self.pid})"


@frozen(kw_only=True)
class Args:
    """The arguments as read, by name, and who gave them."""

    values: Mapping[str, Any]
    caller: Caller
    words: tuple[str, ...] = ()

    def text(self, name: str) -> str:
        """The words given; "" where none were."""
        return str(self.values.get(name) or "")

    def number(self, name: str) -> int:
        """A whole number."""
        return int(self.values[name])

    def real(self, name: str) -> float:
        """A number, or seconds."""
        return float(self.values[name])

    def flag(self, name: str) -> bool:
        """Whether it was given."""
        return bool(self.values.get(name))


@frozen(kw_only=True)
class Answer:
    """What a command answers where more than a value is to be said: ``exit_code`` is for scripts."""

    value: Json
    exit_code: int = 0


Run = Callable[[Any, Args], Any]  # the first is an ``Inspection``


@frozen(kw_only=True)
class Command:
    """One command. ``run(inspection, args)`` gives a JSON value, an ``Answer``, or (tap alone) a ``Lines``."""

    name: str
    level: Level
    group: str
    text: str
    run: Run
    arguments: tuple[Argument, ...] = ()
    more: str = ""
    """For the manual: what a person has to know beyond ``text``."""

    @property
    def all_arguments(self) -> tuple[Argument, ...]:
        """With those that every command of its level has."""
        return (*self.arguments, REASON) if self.level is Level.CHANGING else self.arguments

    @property
    def usage(self) -> str:
        """One line."""
        return " ".join((self.name, *(each.written for each in self.all_arguments)))


@frozen
class Registry:
    """All commands by name."""

    commands: Mapping[str, Command] = field(factory=dict)

    @classmethod
    def of(cls, commands: Iterable[Command]) -> Registry:
        """A registry of these; names must differ."""
        by_name: dict[str, Command] = {}
        for each in commands:
            assert each.name not in by_name, each.name
            by_name[each.name] = each
        return cls(by_name)

    def __iter__(self) -> Iterator[Command]:
        return iter(self.commands.values())

    def command(self, name: str) -> Command:
        """The command of that name; CommandError with the nearest where there is none."""
        found = self.commands.get(name)
        if found is None:
            near = difflib.get_close_matches(name, self.commands, n=1)
            cure = f"did you mean {near[0]!r}? " if near else ""
            raise CommandError(f"there is no command {name[:60]!r}", f"{cure}`help` lists all")
        return found

    def read(self, words: Sequence[str], caller: Caller) -> tuple[Command, Args]:
        """The command and its arguments; CommandError where the words make no sense."""
        if not words:
            raise CommandError("no command was given", "`help` lists all")
        if len(words) > WORDS_MAX:
            raise CommandError(f"{len(words)} words", f"expected at most {WORDS_MAX}")
        command = self.command(words[0])
        values = _values(command, words[1:])
        return command, Args(values=values, caller=caller, words=tuple(words))


def _values(command: Command, words: Sequence[str]) -> dict[str, Any]:
    options = {f"--{each.name}": each for each in command.all_arguments if each.option}
    places = [each for each in command.all_arguments if not each.option]
    usage = f"usage: {command.usage}"
    values: dict[str, Any] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            each = options.get(name)
            if each is None:
                raise CommandError(f"{command.name} has no option {name[:60]}", usage)
            if each.form == "flag":
                values[each.name] = True
                continue
            if not equals:
                if not rest:
                    raise CommandError(f"{name} wants a value", usage)
                value = rest.pop(0)
            values[each.name] = each.read(value)
        elif places:
            each = places.pop(0)
            values[each.name] = each.read(word)
        else:
            raise CommandError(f"{command.name}: {word[:60]!r} is one word too many", usage)
    for each in command.all_arguments:
        if each.name not in values and each.form != "flag":
            if each.required:
                raise CommandError(f"{command.name} wants {each.written}", usage)
            values[each.name] = each.read(each.default) if each.default else None
    return values
