"""Every thread's stack, with the actor and the message it is in: a command, and a dump for a signal.

It takes no lock that an actor could hold, and works while every worker is stuck.
"""

from __future__ import annotations

import sys
import threading
import traceback
from typing import Any

from ...actor import Cell
from .inspection import Inspection, Threads, message_in_hand, short_files
from .registry import Args, Command, Json, Level, argument

FRAMES_MAX = 40


def stacks(look: Inspection, args: Args) -> Json:
    """One entry for each thread, those in an actor first."""
    wanted = args.text("part")
    found = [each for each in every_stack(look.threads, look.clock.now()) if wanted in each["thread"] + each["actor"]]
    return {"threads": found}


def every_stack(threads: Threads, now_s: float) -> list[dict[str, Any]]:
    """Thread, actor, message, for how long, and the frames, the outermost first."""
    at_work = whose_turn(threads, now_s)
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    found = []
    for ident, frame in sys._current_frames().items():  # noqa: SLF001  documented, and the only way there is
        actor, message, for_s = at_work.get(ident, ("", "", 0.0))
        lines = [short_files(line.rstrip()) for line in traceback.format_stack(frame)[-FRAMES_MAX:]]
        found.append({
            "thread": names.get(ident, str(ident)), "actor": actor, "message": message, "for_s": for_s if actor else None,
            "stack": lines,
        })  # fmt: skip
    found.sort(key=lambda each: (not each["actor"], each["thread"]))
    return found


def whose_turn(threads: Threads, now_s: float) -> dict[int, tuple[str, str, float]]:
    """By thread: the actor whose turn it runs, the message in hand ("" between two), and for how long.

    A thread that was given up is in the turn of an incarnation that is no more: the actor may run elsewhere meanwhile.
    """
    found = {
        ident: (actor, f"{message}, given up", now_s - since_s) for ident, actor, message, since_s in threads.given_up()
    }
    for ident, mailbox in threads.at_work():
        cell = mailbox.actor
        if isinstance(cell, Cell):
            message, for_s = message_in_hand(cell, now_s)
            found[ident] = (cell.name, message, for_s)
    return found


def turns_text(threads: Threads, now_s: float) -> str:
    """For the signal, whose dump of all stacks has thread numbers only: a line for each thread that is in a turn."""
    lines = [
        f"Thread 0x{ident:016x}: {actor}, in {message or 'no message'} for {for_s:.1f} s"
        for ident, (actor, message, for_s) in whose_turn(threads, now_s).items()
    ]
    return "\n".join(["muster: whose turn each thread runs:", *(lines or ["nobody's"]), ""])


COMMANDS = (
    Command(
        name="stacks", level=Level.PASSIVE, group="what went wrong", run=stacks,
        text="Every thread's stack, with the actor and the message it is in and for how long.",
        arguments=(argument("part", "PART", "Only threads or actors with this in their name.", required=False),),
        more="SIGUSR1 writes the same to stderr, for when the shell itself cannot be had.",
    ),
)  # fmt: skip
