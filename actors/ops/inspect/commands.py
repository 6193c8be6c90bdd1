"""All commands, in the order of the manual: what the server, the client's completion and the page are made from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from ... import __version__
from . import asking, changing, explaining, looking, stacks, tapping, working
from .inspection import Inspection
from .registry import LEVELS, Answer, Args, Caller, Command, CommandError, Json, Level, Registry, argument
from .tapping import Lines

NAMES_MAX = 2000  # of each kind, for completion


def help_(_look: Inspection, args: Args) -> Json:
    """All commands, or one with its arguments."""
    name = args.text("command")
    if not name:
        rows = [{"command": each.usage, "level": each.level.value, "text": each.text} for each in REGISTRY]
        return {"commands": rows, "levels": {level.value: text for level, text in LEVELS.items()}}
    command = REGISTRY.command(name)
    arguments = [
        {"argument": each.written, "default": each.default, "text": each.text} for each in command.all_arguments
    ]
    head = {"usage": command.usage, "level": command.level.value, "text": command.text, "more": command.more}
    return {"command": head, "arguments": arguments}


def names(look: Inspection, _args: Args) -> Json:
    """What a client completes."""
    return {
        "commands": {
            each.name: {
                "text": each.text, "options": [f"--{a.name}" for a in each.all_arguments if a.option],
                "places": [a.completes or list(a.choices) for a in each.all_arguments if not a.option],
            }
            for each in REGISTRY
        },
        "actor": look.actor_names(NAMES_MAX),
        "kind": [kind.kind for kind in look.system.fleet.kinds],
        "parent": [str(key) for key in list(look.system.store.parents)[:NAMES_MAX]],
    }  # fmt: skip


def bundle(look: Inspection, args: Args) -> Json:
    """What every passive command answers, for a bug report."""
    answers: dict[str, Json] = {}
    for command in REGISTRY:
        asks = any(each.required for each in command.all_arguments)
        if command.level is Level.PASSIVE and not asks and command.name not in ("bundle", "names", "help"):
            _, own = REGISTRY.read([command.name], args.caller)
            try:
                answer = command.run(look, own)
                answers[command.name] = answer.value if isinstance(answer, Answer) else answer
            except CommandError as error:
                answers[command.name] = {"error": str(error)}
    return {"muster": __version__, "wall_s": look.clock.wall(), "answers": answers}


REGISTRY = Registry.of((
    *looking.COMMANDS,
    *working.COMMANDS[:4],
    *explaining.COMMANDS,
    *asking.COMMANDS,
    *tapping.COMMANDS,
    *working.COMMANDS[4:],
    *stacks.COMMANDS,
    Command(
        name="bundle", level=Level.PASSIVE, group="what went wrong", run=bundle,
        text="What every passive command answers, in one JSON document for a bug report. The client writes it to FILE.",
        arguments=(argument("file", "FILE", "Where the client runs; `-` or none: to its output.", required=False),),
    ),
    *changing.COMMANDS,
    Command(
        name="help", level=Level.PASSIVE, group="the shell", run=help_,
        text="All commands, or one with its arguments.",
        arguments=(argument("command", "COMMAND", required=False, completes="command"),),
    ),
    Command(
        name="names", level=Level.PASSIVE, group="the shell", run=names,
        text="What the client completes: commands, actors, kinds, parents.",
    ),
))  # fmt: skip


def perform(look: Inspection, words: Sequence[str], caller: Caller, registry: Registry = REGISTRY) -> Answer | Lines:
    """Do what these words say. CommandError where they make no sense, or may not be done here."""
    command, args = registry.read(words, caller)
    if command.level is Level.CHANGING and not look.changes:
        raise CommandError(
            f"{command.name} changes something, and this operator was started without --shell-changes",
            "start it with --shell-changes (MUSTER_SHELL_CHANGES=true), or change it by kubectl",
        )
    done = command.run(look, args)
    if isinstance(done, Answer) or hasattr(done, "take"):
        return cast("Answer | Lines", done)
    return Answer(value=done)
